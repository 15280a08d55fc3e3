/** The RA's own certificates (AD CS: Exchange Enrollment Agent, CEP Encryption), issued and succeeded without an operator. */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  buildCertificationRequest,
  buildPem,
  type Certificate,
  type CertificateIdentifier,
  type CertificationRequest,
  extKeyUsageOf,
  identifies,
  type KeyUsage,
  keyUsageOf,
  oid,
  parseCertificate,
  parseCertificationRequest,
  parsePem,
  parsePublicKeyInfo,
  sameOctets,
  verifyCertificateSignature,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import {
  generateKeyFile,
  openKeyFile,
  type PrivateKey,
  readTextIfThere,
  writeNewFile,
} from '../keys/index.ts';
import type { CaStore } from '../store/index.ts';
import type { Clock, Log } from '../telemetry.ts';
import { serviceName } from './service-name.ts';

/** What an RA does with a certificate; `both` for clients that know one certificate alone. */
export type RaRole = 'signing' | 'encryption' | 'both';

/** By role: the template of its certificate, its name, and the key usage that clients look for. */
const roles = {
  signing: { template: 'ra-signing', service: 'RA Signing', keyUsage: ['digitalSignature'] },
  encryption: { template: 'ra-encryption', service: 'RA Encryption', keyUsage: ['keyEncipherment'] },
  both: { template: 'ra-combined', service: 'RA', keyUsage: ['digitalSignature', 'keyEncipherment'] },
} as const satisfies Record<
  RaRole,
  { readonly template: string; readonly service: string; readonly keyUsage: readonly KeyUsage[] }
>;

/** A certificate of the RA with its key. */
export interface RaHolder {
  readonly certificate: Certificate;
  readonly key: PrivateKey;
}

/** Certificates that came into being together, and serve together. */
export interface RaGeneration {
  /** Name of its folder. */
  readonly name: string;
  /** From then on it is the one that clients are given. */
  readonly activeFrom: Date;
  readonly signing: RaHolder;
  /** The same as `signing` if one certificate serves both roles. */
  readonly encryption: RaHolder;
}

/** What the certificates of one RA are kept with. */
export interface RaCertificatesOptions {
  /** Name of the CA in the configuration. */
  readonly issuer: string;
  readonly issuerCertificate: Certificate;
  /** Two certificates, or one for both roles. */
  readonly certificates: 'separate' | 'one';
  /** Holds nothing else; made if it is missing. */
  readonly folder: string;
  readonly passphrase: string;
  /** How long before the end of a certificate the next is made; at most half of its life. */
  readonly renewalPeriodMs: number;
  /** Has a certificate issued, in the way of all other services. */
  readonly enrol: (template: string, csr: CertificationRequest) => Promise<Certificate>;
  readonly store: Pick<CaStore, 'certificateBySerial'>;
  readonly clock: Clock;
  readonly log: Log;
}

/** How often those who serve read the folder. */
export const RA_RELOAD_MS = 60_000;
/**
 * How long a new generation waits. Meanwhile all threads and processes read it, and can open what is encrypted to it before
 * the first client can have it: all of them give it out from the same moment on.
 */
const SWITCH_AFTER_MS = 10 * RA_RELOAD_MS;
/** After a renewal that failed. */
const RENEWAL_PAUSE_MS = 60_000;
/** A generation's folder: when it becomes active, and something that makes it single. */
const NAME_SHAPE = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z-[0-9a-f]{8}$/;
const DRAFT_ENDING = '.new';

/**
 * The RA's certificates for one CA, in a folder: one sub-folder a generation, written whole or not at all. Any number of
 * threads and processes may read it; one process renews.
 *
 * Trust: who has a key of this folder reads the challenges that devices send, and answers in the RA's name; he cannot issue.
 */
export class RaCertificates {
  readonly #options: RaCertificatesOptions;
  /** By name; a key is opened once. */
  readonly #opened = new Map<string, RaGeneration>();
  /** Those that may be used, by the moment they become active, the last one last. */
  #generations: readonly RaGeneration[] = [];
  #triedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: RaCertificatesOptions) {
    this.#options = options;
  }

  /**
   * Reads the folder. What ended, was revoked or is not of this CA is passed over.
   *
   * @throws PkiError `key_locked` if a key cannot be opened, `store_unavailable`; then what was read before goes on.
   */
  async reload(): Promise<void> {
    const now = this.#options.clock.now();
    const found: RaGeneration[] = [];
    for (const name of await this.#names()) {
      const generation = await this.#open(name);
      if (generation === undefined || hasEnded(generation, now)) continue;
      if (!(await this.#isRevoked(generation))) found.push(generation);
    }
    this.#generations = found;
  }

  /** All that can be used now, as read last. */
  get generations(): readonly RaGeneration[] {
    const now = this.#options.clock.now();
    return this.#generations.filter((generation) => !hasEnded(generation, now));
  }

  /** The generation that clients are given now; `undefined` if there is none. */
  current(): RaGeneration | undefined {
    const now = this.#options.clock.now();
    const { generations } = this;
    // With nothing else to serve by, one whose time has not come is better than none.
    return generations.findLast(({ activeFrom }) => activeFrom <= now) ?? generations[0];
  }

  /**
   * The generation that a client had when it encrypted a message; the current one if nobody is named that is known.
   *
   * QUIRK embedded clients: re-encode the issuer's name, so that a serial number alone is enough to be recognised by.
   */
  ofRecipient(recipient: CertificateIdentifier | undefined): RaGeneration | undefined {
    if (recipient === undefined) return this.current();
    const { generations } = this;
    return (
      generations.find(({ encryption }) => identifies(recipient, encryption.certificate)) ??
      generations.find(({ encryption }) => namesSerialNumber(recipient, encryption.certificate)) ??
      this.current()
    );
  }

  /**
   * Makes the next generation if there is none, or if the last one nears its end; then removes what has ended. For the one
   * process that looks after the data folder; cheap if nothing is due.
   *
   * @throws PkiError what key, CA or store throw; what there is goes on serving, and the next call after a pause tries
   *   again.
   */
  async renewIfDue(): Promise<'renewed' | 'kept'> {
    const { clock, log, issuer } = this.#options;
    const now = clock.now();
    if (Math.abs(now.getTime() - this.#triedAtMs) < RENEWAL_PAUSE_MS) return 'kept';
    await this.reload();
    const newest = this.#generations.at(-1);
    if (newest !== undefined && !this.#isDue(newest, now)) return 'kept';
    this.#triedAtMs = now.getTime();
    const name = await this.#renew(now);
    this.#triedAtMs = Number.NEGATIVE_INFINITY;
    await this.reload();
    await this.#removeEnded(now);
    log.info({ issuer, generation: name }, 'the RA has new certificates');
    return 'renewed';
  }

  #isDue(generation: RaGeneration, now: Date): boolean {
    const { issuerCertificate, renewalPeriodMs } = this.#options;
    const { notBefore, notAfter } = firstToEnd(generation);
    // A certificate ends with its CA at the latest: then a new one would not last longer.
    if (notAfter >= issuerCertificate.notAfter) return false;
    const lifeMs = notAfter.getTime() - notBefore.getTime();
    return now.getTime() >= notAfter.getTime() - Math.min(renewalPeriodMs, lifeMs / 2);
  }

  /** The name of the new generation. A crash leaves a draft, which the next renewal removes. */
  async #renew(now: Date): Promise<string> {
    const { folder, certificates } = this.#options;
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await this.#removeDrafts();
    const isFirst = this.#generations.length === 0;
    const name = nameOf(isFirst ? now : new Date(now.getTime() + SWITCH_AFTER_MS));
    const draft = join(folder, `${name}${DRAFT_ENDING}`);
    // Step 1: keys and certificates, where nobody looks.
    for (const role of certificates === 'one' ? (['both'] as const) : (['signing', 'encryption'] as const))
      await this.#makeHolder(draft, role);
    // Step 2: all of it at once, in its place: from now on every reader of the folder finds the generation.
    await rename(draft, join(folder, name));
    return name;
  }

  async #makeHolder(folder: string, role: RaRole): Promise<void> {
    const { passphrase, issuerCertificate, enrol } = this.#options;
    const { template, service } = roles[role];
    const key = await generateKeyFile({ path: keyFile(folder, role), passphrase, algorithm: 'rsa-2048' });
    const csr = await buildCertificationRequest(
      {
        subject: serviceName(issuerCertificate.subject, service),
        spki: key.spki,
        extensions: [],
        signatureAlgorithm: 'rsa-sha256',
      },
      (algorithm, data) => key.sign(algorithm, data),
    );
    const certificate = await enrol(template, parseCertificationRequest(csr));
    const fault = this.#faultOf({ certificate, key }, role);
    if (fault !== undefined)
      throw new PkiError(
        'key_capability',
        `the certificate of the template “${template}” is no RA’s: ${fault}`,
      );
    await writeNewFile(certificateFile(folder, role), buildPem('CERTIFICATE', certificate.raw));
  }

  #faultOf({ certificate, key }: RaHolder, role: RaRole): string | undefined {
    const { issuerCertificate } = this.#options;
    if (!sameOctets(certificate.spki, key.spki)) return 'it belongs to another key';
    return raFaultOf(certificate, role, issuerCertificate);
  }

  async #open(name: string): Promise<RaGeneration | undefined> {
    const opened = this.#opened.get(name);
    if (opened !== undefined) return opened;
    const { certificates, folder, issuer, log } = this.#options;
    const [signing, encryption] =
      certificates === 'one'
        ? await this.#openHolder(join(folder, name), 'both').then((holder) => [holder, holder])
        : [
            await this.#openHolder(join(folder, name), 'signing'),
            await this.#openHolder(join(folder, name), 'encryption'),
          ];
    if (signing === undefined || encryption === undefined) return undefined;
    const fault =
      this.#faultOf(signing, certificates === 'one' ? 'both' : 'signing') ??
      this.#faultOf(encryption, certificates === 'one' ? 'both' : 'encryption');
    if (fault !== undefined) {
      // After the renewal of a CA with a new key this is as it should be: the next renewal makes one that fits.
      log.warn({ issuer, generation: name, fault }, 'certificates of the RA are passed over');
      return undefined;
    }
    const generation: RaGeneration = { name, activeFrom: activeFromOf(name), signing, encryption };
    this.#opened.set(name, generation);
    return generation;
  }

  /** `undefined` if it was removed at this moment. */
  async #openHolder(folder: string, role: RaRole): Promise<RaHolder | undefined> {
    const pem = await readTextIfThere(certificateFile(folder, role), 'key_locked');
    if (pem === undefined) return undefined;
    const certificate = parseCertificate(parsePem(pem, 'CERTIFICATE')[0]);
    if (certificate.notAfter <= this.#options.clock.now()) return undefined;
    const key = await openKeyFile({ path: keyFile(folder, role), passphrase: this.#options.passphrase });
    return { certificate, key };
  }

  async #isRevoked({ signing, encryption }: RaGeneration): Promise<boolean> {
    const { store, issuer } = this.#options;
    for (const { certificate } of [signing, encryption]) {
      const record = await store.certificateBySerial(issuer, certificate.serialNumber);
      if (record?.revokedAt !== undefined) return true;
    }
    return false;
  }

  /** Names of the generations, the last one to become active last. */
  async #names(): Promise<string[]> {
    return (await readFolder(this.#options.folder)).filter((name) => NAME_SHAPE.test(name)).toSorted();
  }

  async #removeDrafts(): Promise<void> {
    const { folder } = this.#options;
    for (const name of await readFolder(folder))
      if (name.endsWith(DRAFT_ENDING)) await rm(join(folder, name), { recursive: true, force: true });
  }

  async #removeEnded(now: Date): Promise<void> {
    const { folder } = this.#options;
    for (const name of await this.#names()) {
      for (const role of ['signing', 'encryption', 'both'] as const) {
        const pem = await readTextIfThere(certificateFile(join(folder, name), role), 'key_locked');
        if (pem === undefined || parseCertificate(parsePem(pem, 'CERTIFICATE')[0]).notAfter >= now) continue;
        this.#opened.delete(name);
        await rm(join(folder, name), { recursive: true, force: true });
        break;
      }
    }
  }
}

/**
 * Why clients would not take a certificate for that of an RA of this CA; `undefined` if they will.
 *
 * QUIRK Windows: refuses RA certificates without digitalSignature or keyEncipherment, or without one of the purposes
 * certificateRequestAgent and serverAuth (0x8010002c).
 */
export function raFaultOf(certificate: Certificate, role: RaRole, issuer: Certificate): string | undefined {
  // Clients verify the answer with the chain of GetCACert (RFC 8894 §4.2).
  if (!verifyCertificateSignature(certificate, issuer.spki)) return 'it is not of the endpoint’s issuing CA';
  if (parsePublicKeyInfo(certificate.spki).type !== 'rsa')
    return 'its key must be RSA: every SCEP client expects it';
  const keyUsage = keyUsageOf(certificate) ?? [];
  const missing = roles[role].keyUsage.filter((usage) => !keyUsage.includes(usage));
  if (missing.length > 0) return `it needs the key usage ${missing.join(' and ')}`;
  const purposes = extKeyUsageOf(certificate) ?? [];
  return purposes.includes(oid.certificateRequestAgent) || purposes.includes(oid.serverAuth)
    ? undefined
    : 'it needs the purpose certificateRequestAgent or serverAuth';
}

/** The certificate of a generation that ends first. */
export function firstToEnd({
  signing,
  encryption,
}: Pick<RaGeneration, 'signing' | 'encryption'>): Certificate {
  return signing.certificate.notAfter <= encryption.certificate.notAfter
    ? signing.certificate
    : encryption.certificate;
}

/** The certificates in a folder of `RaCertificates`, without their keys: for views. The last to become active is last. */
export async function listRaCertificates(
  folder: string,
): Promise<readonly { readonly activeFrom: Date; readonly certificates: readonly Certificate[] }[]> {
  const names = (await readFolder(folder)).filter((name) => NAME_SHAPE.test(name)).toSorted();
  return await Promise.all(
    names.map(async (name) => {
      const pems = await Promise.all(
        (['signing', 'encryption', 'both'] as const).map((role) =>
          readTextIfThere(certificateFile(join(folder, name), role), 'key_locked'),
        ),
      );
      const certificates = pems
        .filter((pem) => pem !== undefined)
        .map((pem) => parseCertificate(parsePem(pem, 'CERTIFICATE')[0]));
      return { activeFrom: activeFromOf(name), certificates };
    }),
  );
}

function hasEnded(generation: RaGeneration, now: Date): boolean {
  return firstToEnd(generation).notAfter <= now;
}

/** The last octets of IssuerAndSerialNumber are those of the serial number, which is random and long. */
function namesSerialNumber(recipient: CertificateIdentifier, { serialNumber }: Certificate): boolean {
  if (recipient.type !== 'issuerAndSerialNumber') return false;
  const octets = Buffer.from(serialNumber, 'hex');
  return sameOctets(recipient.raw.subarray(-octets.length), octets);
}

function nameOf(activeFrom: Date): string {
  const moment = activeFrom.toISOString().replace(/\.\d+/, '').replaceAll(/[-:]/g, '');
  return `${moment}-${randomBytes(4).toString('hex')}`;
}

function activeFromOf(name: string): Date {
  return new Date(name.replace(NAME_SHAPE, '$1-$2-$3T$4:$5:$6Z'));
}

const keyFile = (folder: string, role: RaRole) => join(folder, `${role}.key.pem`);
const certificateFile = (folder: string, role: RaRole) => join(folder, `${role}.crt.pem`);

async function readFolder(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw new PkiError('key_locked', `the folder ${folder} cannot be read`, { cause });
  }
}
