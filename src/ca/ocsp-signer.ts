/** Delegated OCSP signers (RFC 6960 §4.2.2.2): short-lived certificates and their keys, renewed without an operator. */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import {
  buildCertificationRequest,
  buildPem,
  type Certificate,
  type CertificationRequest,
  extensionValue,
  extKeyUsageOf,
  oid,
  parseCertificate,
  parseCertificationRequest,
  parsePem,
  parsePublicKeyInfo,
  type SignatureAlgorithmName,
  sameOctets,
  verifyCertificateSignature,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import {
  generateKeyFile,
  type KeyAlgorithm,
  openKeyFile,
  type PrivateKey,
  readTextIfThere,
  replaceFile,
} from '../keys/index.ts';
import type { CaStore } from '../store/index.ts';
import type { Clock, Log } from '../telemetry.ts';
import { signatureAlgorithmFor } from './hierarchy.ts';
import { serviceName } from './service-name.ts';

/** Who signs OCSP answers for a CA. */
export interface OcspSigner {
  readonly certificate: Certificate;
  readonly key: PrivateKey;
  readonly signatureAlgorithm: SignatureAlgorithmName;
}

/** Where the keys of signers come from. */
export type OcspKeys =
  /** The signers make them, one for each certificate, encrypted with the passphrase. */
  | { readonly passphrase: string }
  /** One key that is there, in a token or a vault: each certificate is for it. */
  | { readonly key: PrivateKey }
  /** The same, with a certificate that an operator renews. */
  | { readonly key: PrivateKey; readonly certificateFile: string };

/** What the signers of one CA are kept with. */
export interface OcspSignersOptions {
  /** Name of the CA in the configuration. */
  readonly issuer: string;
  readonly issuerCertificate: Certificate;
  /** Certificates, and the keys that the signers made; for this host alone. Made if it is missing. */
  readonly folder: string;
  readonly keys: OcspKeys;
  /** Has a certificate issued for OCSP signing, in the way of all other services. */
  readonly enrol: (csr: CertificationRequest) => Promise<Certificate>;
  readonly store: Pick<CaStore, 'certificateBySerial'>;
  readonly clock: Clock;
  readonly log: Log;
}

/** Another thread or process may have renewed; and an operator may have revoked. */
const RELOAD_MS = 60_000;
/** While there is no signer, every request would read the folder. */
const RETRY_MS = 2_000;
/** How often an operator is reminded of a certificate that he has to renew. */
const REMINDER_MS = 24 * 60 * 60 * 1000;
/** After a renewal that failed. */
const RENEWAL_PAUSE_MS = 60_000;

/**
 * The signers of one CA in a folder. Any number of threads and processes may read it; one process renews.
 *
 * Trust: who has a key of this folder can call any certificate of this CA good until the key's certificate ends, since
 * it is not checked for revocation (RFC 6960 §4.2.2.2.1): therefore it is short-lived.
 */
export class OcspSigners {
  readonly #options: OcspSignersOptions;
  /** What certificates end in, here. Those for a key that is there have another ending: the key may change its place. */
  readonly #certificateEnding: string;
  /** By file name without ending; a key is opened once. */
  readonly #known = new Map<string, OcspSigner>();
  #current: OcspSigner | undefined;
  #readAtMs = Number.NEGATIVE_INFINITY;
  #triedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: OcspSignersOptions) {
    this.#options = options;
    this.#certificateEnding = 'key' in options.keys ? PLACED_CERTIFICATE_ENDING : CERTIFICATE_ENDING;
  }

  /**
   * The signer with the longest life, or `undefined` if none is valid now.
   *
   * @throws PkiError `key_locked` if a key cannot be opened, `key_capability` if an operator's certificate cannot be used,
   *   `store_unavailable`.
   */
  async current(): Promise<OcspSigner | undefined> {
    const now = this.#options.clock.now();
    const ageMs = Math.abs(now.getTime() - this.#readAtMs);
    const isValid = this.#current !== undefined && isValidAt(this.#current.certificate, now);
    if (ageMs >= (isValid ? RELOAD_MS : RETRY_MS)) await this.#read(now);
    return this.#current !== undefined && isValidAt(this.#current.certificate, now)
      ? this.#current
      : undefined;
  }

  /**
   * Makes a new key, unless it has one that stays, and has its certificate issued if there is no signer, or the one there
   * is has lived half of its life; then removes what has ended. For the one process that looks after the data folder;
   * cheap if nothing is due. A certificate that an operator renews is only reminded of.
   *
   * @throws PkiError what key, CA or store throw; the signer that there is goes on signing, and the next call after a
   *   pause tries again.
   */
  async renewIfDue(): Promise<'renewed' | 'kept'> {
    const { clock, log, issuer } = this.#options;
    const now = clock.now();
    const current = await this.current();
    if (current !== undefined && !this.#isDue(current.certificate, now)) return 'kept';
    if ('certificateFile' in this.#options.keys) {
      if (Math.abs(now.getTime() - this.#triedAtMs) < REMINDER_MS) return 'kept';
      this.#triedAtMs = now.getTime();
      const { certificateFile } = this.#options.keys;
      const notAfter = current?.certificate.notAfter;
      log.warn({ issuer, certificateFile, notAfter }, 'the certificate for OCSP signing must be renewed');
      return 'kept';
    }
    if (Math.abs(now.getTime() - this.#triedAtMs) < RENEWAL_PAUSE_MS) return 'kept';
    this.#triedAtMs = now.getTime();
    const certificate = await this.#renew();
    this.#triedAtMs = Number.NEGATIVE_INFINITY;
    await this.#read(now);
    await this.#removeEnded(now);
    log.info({ issuer, notAfter: certificate.notAfter }, 'a new certificate signs OCSP answers');
    return 'renewed';
  }

  #isDue({ notBefore, notAfter }: Certificate, now: Date): boolean {
    // A certificate ends with its CA at the latest: then a new one would not last longer.
    if (notAfter >= this.#options.issuerCertificate.notAfter) return false;
    return now.getTime() >= (notBefore.getTime() + notAfter.getTime()) / 2;
  }

  async #renew(): Promise<Certificate> {
    const { folder, keys, issuer, issuerCertificate, enrol } = this.#options;
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await this.#removeUnfinished();
    // Step 1: the key. A crash from here on leaves a key without certificate, which the next renewal removes.
    const path = join(folder, `${issuer}.${randomBytes(8).toString('hex')}`);
    const key =
      'key' in keys
        ? keys.key
        : await generateKeyFile({
            path: `${path}${KEY_ENDING}`,
            passphrase: keys.passphrase,
            algorithm: keyAlgorithmFor(issuerCertificate.spki),
          });
    // Step 2: the certificate.
    const csr = await buildCertificationRequest(
      {
        subject: serviceName(issuerCertificate.subject, 'OCSP'),
        spki: key.spki,
        extensions: [],
        signatureAlgorithm: signatureAlgorithmFor(key),
      },
      (algorithm, data) => key.sign(algorithm, data),
    );
    const certificate = await enrol(parseCertificationRequest(csr));
    this.#assertFit(certificate, key);
    // Step 3: its file, whole or not at all: from now on every reader of the folder finds the pair.
    await replaceFile(`${path}${this.#certificateEnding}`, buildPem('CERTIFICATE', certificate.raw));
    return certificate;
  }

  /** What the template must give, or relying parties refuse every answer. */
  #assertFit(certificate: Certificate, key: PrivateKey): void {
    const fault = this.#faultOf(certificate, key);
    if (fault !== undefined)
      throw new PkiError('key_capability', `the certificate for OCSP signing cannot be used: ${fault}`);
  }

  #faultOf(certificate: Certificate, key: PrivateKey): string | undefined {
    const { issuerCertificate } = this.#options;
    if (!sameOctets(certificate.spki, key.spki)) return 'it belongs to another key';
    // RFC 6960 §4.2.2.2: issued directly by the CA that it answers for.
    if (
      !sameOctets(certificate.issuer.raw, issuerCertificate.subject.raw) ||
      !verifyCertificateSignature(certificate, issuerCertificate.spki)
    ) {
      return 'it is not of this CA';
    }
    if (extKeyUsageOf(certificate)?.includes(oid.ocspSigning) !== true)
      return 'its purpose is not OCSP signing';
    // §4.2.2.2.1: else a relying party would ask the responder whether the responder is revoked.
    return extensionValue(certificate, oid.ocspNoCheck) === undefined
      ? 'it has no id-pkix-ocsp-nocheck'
      : undefined;
  }

  async #read(now: Date): Promise<void> {
    this.#readAtMs = now.getTime();
    let best: OcspSigner | undefined;
    const { keys } = this.#options;
    const signers =
      'certificateFile' in keys
        ? [await this.#openCertified(keys)]
        : await Promise.all((await this.#names(this.#certificateEnding)).map((name) => this.#open(name)));
    for (const signer of signers) {
      if (signer === undefined || !isValidAt(signer.certificate, now)) continue;
      if (best !== undefined && best.certificate.notAfter >= signer.certificate.notAfter) continue;
      if (!(await this.#isRevoked(signer.certificate))) best = signer;
    }
    this.#current = best;
  }

  /** Relying parties do not check it, so we do: a signer that an operator has revoked signs no more. */
  async #isRevoked({ serialNumber }: Certificate): Promise<boolean> {
    const record = await this.#options.store.certificateBySerial(this.#options.issuer, serialNumber);
    return record?.revokedAt !== undefined;
  }

  /** Read anew each time: the operator puts the next one in its place. */
  async #openCertified({
    key,
    certificateFile,
  }: Extract<OcspKeys, { readonly certificateFile: string }>): Promise<OcspSigner> {
    const pem = await readTextIfThere(certificateFile, 'key_locked');
    if (pem === undefined) throw new PkiError('key_locked', `${certificateFile} is not there`);
    const certificate = parseCertificate(parsePem(pem, 'CERTIFICATE')[0]);
    this.#assertFit(certificate, key);
    return { certificate, key, signatureAlgorithm: signatureAlgorithmFor(key) };
  }

  async #open(name: string): Promise<OcspSigner | undefined> {
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    const { folder, keys, issuer, log } = this.#options;
    const pem = await readTextIfThere(join(folder, `${name}${this.#certificateEnding}`), 'key_locked');
    if (pem === undefined) return undefined;
    const certificate = parseCertificate(parsePem(pem, 'CERTIFICATE')[0]);
    if (certificate.notAfter <= this.#options.clock.now()) return undefined;
    const key =
      'key' in keys
        ? keys.key
        : await openKeyFile({ path: join(folder, `${name}${KEY_ENDING}`), passphrase: keys.passphrase });
    const fault = this.#faultOf(certificate, key);
    if (fault !== undefined) {
      // After the renewal of a CA with a new key this is as it should be: the next renewal makes one that fits.
      log.warn({ issuer, serialNumber: certificate.serialNumber, fault }, 'an OCSP signer is passed over');
      return undefined;
    }
    const signer = { certificate, key, signatureAlgorithm: signatureAlgorithmFor(key) };
    this.#known.set(name, signer);
    return signer;
  }

  /** Names of this CA's files, without their ending. */
  async #names(ending: string): Promise<string[]> {
    const { folder, issuer } = this.#options;
    let files: string[];
    try {
      files = await readdir(folder);
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw new PkiError('key_locked', `the folder ${folder} cannot be read`, { cause });
    }
    const shape = /^([a-z0-9-]+)\.[0-9a-f]{16}$/;
    return files
      .filter((file) => file.endsWith(ending))
      .map((file) => file.slice(0, -ending.length))
      .filter((name) => shape.exec(name)?.[1] === issuer);
  }

  /** Keys whose certificate was never written. */
  async #removeUnfinished(): Promise<void> {
    const finished = new Set(await this.#names(CERTIFICATE_ENDING));
    for (const name of await this.#names(KEY_ENDING)) {
      if (!finished.has(name)) await this.#remove(name);
    }
  }

  async #removeEnded(now: Date): Promise<void> {
    for (const name of await this.#names(this.#certificateEnding)) {
      const pem = await readTextIfThere(
        join(this.#options.folder, `${name}${this.#certificateEnding}`),
        'key_locked',
      );
      if (pem !== undefined && parseCertificate(parsePem(pem, 'CERTIFICATE')[0]).notAfter < now)
        await this.#remove(name);
    }
  }

  async #remove(name: string): Promise<void> {
    this.#known.delete(name);
    const path = join(this.#options.folder, name);
    // The certificate first: a certificate without key would be an error to every reader.
    for (const ending of [this.#certificateEnding, KEY_ENDING]) {
      await unlink(`${path}${ending}`).catch((cause: NodeJS.ErrnoException) => {
        if (cause.code !== 'ENOENT') throw cause;
      });
    }
  }
}

const KEY_ENDING = '.key.pem';
const CERTIFICATE_ENDING = '.crt.pem';
const PLACED_CERTIFICATE_ENDING = '.placed.crt.pem';

function isValidAt({ notBefore, notAfter }: Certificate, at: Date): boolean {
  return notBefore <= at && at <= notAfter;
}

/** A key of the CA's own kind: who verifies the CA's signatures verifies the responder's. RSA of the quickest size. */
function keyAlgorithmFor(issuerSpki: Uint8Array): KeyAlgorithm {
  const info = parsePublicKeyInfo(issuerSpki);
  if (info.type !== 'ec') return 'rsa-2048';
  return info.curve === 'P-256' ? 'p-256' : 'p-384';
}
