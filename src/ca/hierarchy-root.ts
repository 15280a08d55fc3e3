/**
 * The offline root: a folder with its certificates, its state and its encrypted key. The folder is on no server; who can
 * write it and open the key can make any CA that this root’s relying parties trust.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import {
  basicConstraintsOf,
  buildPem,
  type Certificate,
  type CertificationRequest,
  commonNameOf,
  type Name,
  type NameConstraints,
  nameToString,
  parseCertificate,
  parsePublicKeyInfo,
  type RevocationReasonName,
  sameOctets,
  verifyCertificationRequest,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { type KeyAlgorithm, type PrivateKey, replaceFile, writeNewFile } from '../keys/index.ts';
import { lockDataFolder } from '../store/index.ts';
import type { Clock } from '../telemetry.ts';
import {
  createCross,
  createIssuing,
  createRoot,
  createRootCrl,
  newSerialNumber,
  type RootUrls,
  type Validity,
} from './hierarchy.ts';

/** The file that makes a folder the root’s. */
export const ROOT_STATE_FILE = 'root.json';

/** Where a key of the root is, as whoever opens it understands it; never a secret. */
export type KeyReference = Readonly<Record<string, unknown>>;

const timestamp = z.iso.datetime();
const entrySchema = z.strictObject({
  serialNumber: z.string().regex(/^([0-9a-f]{2})+$/),
  purpose: z.enum(['root', 'issuing', 'new-with-old', 'old-with-new']),
  /** Number of the root key that signs. */
  key: z.int().min(1),
  subject: z.string(),
  reservedAt: timestamp,
  /** SHA-256 of the request in hexadecimal; issuing CAs only. */
  requestSha256: z.string().optional(),
  /** Name of its file in the folder. */
  file: z.string().regex(/^[a-z0-9-]+\.pem$/),
  /** DER in base64; absent as long as the serial number is only reserved. */
  certificate: z.base64().optional(),
  revokedAt: timestamp.optional(),
  reason: z.string().optional(),
});
const stateSchema = z.strictObject({
  format: z.literal(1),
  /** The last CRL number that was reserved; of all keys together. */
  crlNumber: z.int().min(0),
  keys: z
    .array(
      z.strictObject({
        number: z.int().min(1),
        reference: z.record(z.string(), z.unknown()),
        crlUrls: z.array(z.string()),
        caIssuersUrls: z.array(z.string()),
      }),
    )
    .min(1),
  entries: z.array(entrySchema).min(1),
});
type State = z.output<typeof stateSchema>;
type StateEntry = z.output<typeof entrySchema>;

/** One certificate in the root’s index. */
export interface RootEntry {
  readonly serialNumber: string;
  readonly purpose: StateEntry['purpose'];
  readonly key: number;
  readonly subject: string;
  readonly reservedAt: Date;
  readonly requestSha256?: string;
  /** Path of its PEM file. */
  readonly file: string;
  /** Absent if the program ended between reserving the serial number and recording the certificate. */
  readonly certificate?: Certificate;
  readonly revoked?: { readonly at: Date; readonly reason: RevocationReasonName };
}

/** One key of the root with its newest certificate. */
export interface RootKey {
  readonly number: number;
  readonly reference: KeyReference;
  readonly urls: RootUrls;
  readonly certificate: Certificate;
}

/** What the root is made with. */
export interface RootFields {
  readonly folder: string;
  readonly key: PrivateKey;
  readonly reference: KeyReference;
  readonly subject: Name;
  readonly validity: Validity;
  readonly pathLength?: number;
  readonly urls: RootUrls;
  readonly clock: Clock;
}

/** What the operator decides about an issuing CA; its name and key are the request’s. */
export interface IssuingWish {
  readonly validity: Validity;
  /** 0 for a CA that signs end entities alone. */
  readonly pathLength: number;
  readonly nameConstraints?: NameConstraints;
  /** `first`: a CA that this root does not know; `renewal`: a known name, by its old key or a new one. */
  readonly occasion: 'first' | 'renewal';
}

/** What the root is about to sign: shown to the operator, then given to `signIssuing`. */
export interface IssuingPlan extends IssuingWish {
  readonly request: CertificationRequest;
  readonly keyAlgorithm: KeyAlgorithm;
  readonly urls: RootUrls;
  readonly issuer: Certificate;
}

/** Certificates of a root’s change to a new key (RFC 4210 §4.4). */
export interface RootKeyChange {
  readonly root: Certificate;
  /** The new key under the old one’s signature: for who trusts the old root alone. */
  readonly newWithOld: Certificate;
  /** The old key under the new one’s signature: for who trusts the new root alone. */
  readonly oldWithNew: Certificate;
}

/**
 * Makes a root in a folder that has none. The key exists already; the folder may hold its file.
 *
 * @throws PkiError `root_folder` if the folder is a root’s already, `file_exists`, `file_unwritable`, `key_capability`.
 */
export async function createRootFolder(fields: RootFields): Promise<OfflineRoot> {
  const { folder, key, subject, validity, clock } = fields;
  caKeyAlgorithmOf(key.spki);
  assertValidity(validity);
  if (commonNameOf(subject) === undefined) throw refused('a root has a common name: CN=…');
  const lock = lockRoot(folder);
  try {
    if (existsSync(join(folder, ROOT_STATE_FILE)))
      throw new PkiError('root_folder', `${folder} holds a root already; it is not replaced`);
    const serialNumber = newSerialNumber();
    const limits = fields.pathLength === undefined ? {} : { pathLength: fields.pathLength };
    const certificate = await createRoot(key, subject, validity, { ...limits, serialNumber });
    const root = new OfflineRoot(folder, lock, clock, {
      format: 1,
      crlNumber: 0,
      keys: [{ number: 1, reference: { ...fields.reference }, ...urlsOf(fields.urls) }],
      entries: [
        {
          serialNumber,
          purpose: 'root',
          key: 1,
          subject: nameToString(subject),
          reservedAt: clock.now().toISOString(),
          file: 'root-1.pem',
          certificate: base64(certificate.raw),
        },
      ],
    });
    await root.save();
    return root;
  } catch (cause) {
    lock.release();
    throw cause;
  }
}

/**
 * Opens a root’s folder for one command: nobody else can until it is closed. Files of certificates that a command which
 * was killed did not get to write are written.
 *
 * @throws PkiError `root_folder` if it is missing, damaged, of a newer version, or in use.
 */
export async function openRootFolder(folder: string, clock: Clock): Promise<OfflineRoot> {
  const path = join(folder, ROOT_STATE_FILE);
  if (!existsSync(path))
    throw new PkiError('root_folder', `${folder} holds no root: there is no ${ROOT_STATE_FILE}`);
  const lock = lockRoot(folder);
  try {
    const root = new OfflineRoot(folder, lock, clock, readState(path));
    await root.save();
    return root;
  } catch (cause) {
    lock.release();
    throw cause;
  }
}

function readState(path: string): State {
  let raw: unknown;
  try {
    raw = JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw new PkiError('root_folder', `${path} cannot be read, or is no JSON`, { cause });
  }
  const parsed = stateSchema.safeParse(raw);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new PkiError('root_folder', `${path} is damaged at ${issue?.path.join('.')}: ${issue?.message}`);
}

function lockRoot(folder: string): { release(): void } {
  try {
    return lockDataFolder(join(folder, 'root.lock'));
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause;
    const text = cause.code === 'store_locked' ? 'another command works in it' : 'it cannot be written';
    throw new PkiError('root_folder', `${folder}: ${text}`, { cause });
  }
}

/**
 * Refuses paths inside a root’s folder: a server that could read the root’s key would make it an online key.
 *
 * @throws PkiError `key_capability`.
 */
export function assertNotInRootFolder(paths: readonly string[]): void {
  for (const path of paths) {
    for (let place = resolve(path); ; place = dirname(place)) {
      if (existsSync(join(place, ROOT_STATE_FILE))) {
        throw new PkiError(
          'key_capability',
          `${path} is in the folder of an offline root (${place}): no server may reach it. ` +
            'Move the folder to a medium that is locked away, and keep the server’s files elsewhere',
        );
      }
      if (dirname(place) === place) break;
    }
  }
}

/**
 * A root that is open for one command. Every act that signs reserves its number in the state file first: no number is
 * used twice, whenever the program ends.
 */
export class OfflineRoot {
  readonly folder: string;
  readonly #lock: { release(): void };
  readonly #clock: Clock;
  #state: State;
  #closed = false;

  /** For `createRootFolder` and `openRootFolder`. */
  constructor(folder: string, lock: { release(): void }, clock: Clock, state: State) {
    this.folder = folder;
    this.#lock = lock;
    this.#clock = clock;
    this.#state = state;
  }

  /** Everything that this root signed or was about to sign, oldest first. */
  get entries(): RootEntry[] {
    return this.#state.entries.map((entry) => ({
      serialNumber: entry.serialNumber,
      purpose: entry.purpose,
      key: entry.key,
      subject: entry.subject,
      reservedAt: new Date(entry.reservedAt),
      ...(entry.requestSha256 === undefined ? {} : { requestSha256: entry.requestSha256 }),
      file: join(this.folder, entry.file),
      ...(entry.certificate === undefined ? {} : { certificate: certificateOf(entry.certificate) }),
      ...(entry.revokedAt === undefined
        ? {}
        : {
            revoked: { at: new Date(entry.revokedAt), reason: entry.reason as RevocationReasonName },
          }),
    }));
  }

  /** The root’s keys, oldest first, each with its newest certificate. */
  get keys(): RootKey[] {
    return this.#state.keys.map(({ number, reference, crlUrls, caIssuersUrls }) => {
      // An entry without a certificate was reserved by a command that was killed.
      const certificate = this.entries.findLast(
        (entry) => entry.purpose === 'root' && entry.key === number && entry.certificate !== undefined,
      )?.certificate;
      if (certificate === undefined)
        throw new PkiError('root_folder', `the root’s key ${number} has no certificate`);
      return { number, reference, urls: { crlUrls, caIssuersUrls }, certificate };
    });
  }

  /** The key that signs now. */
  get current(): RootKey {
    return this.keys.at(-1) as RootKey;
  }

  /** The last CRL number that was reserved; 0 before the first. */
  get crlNumber(): number {
    return this.#state.crlNumber;
  }

  /**
   * Checks a request and what is wished for it, without changing anything.
   *
   * @throws PkiError `root_refused` with the reason and the way out.
   */
  planIssuing(request: CertificationRequest, wish: IssuingWish): IssuingPlan {
    const { certificate: issuer, urls } = this.current;
    if (!verifyCertificationRequest(request))
      throw refused(
        'the signature of the request does not verify: it was altered on its way; fetch it again and compare its hash',
      );
    const keyAlgorithm = caKeyAlgorithmOf(request.spki);
    const subject = nameToString(request.subject);
    if (commonNameOf(request.subject) === undefined)
      throw refused(`the request’s subject “${subject}” has no common name`);
    for (const { certificate } of this.keys) {
      if (sameOctets(certificate.spki, request.spki)) throw refused('the request has the root’s own key');
      if (sameOctets(certificate.subject.raw, request.subject.raw))
        throw refused('the request has the root’s own name');
    }
    this.#assertOccasion(request, subject, wish.occasion);
    assertValidity(wish.validity);
    if (wish.validity.notAfter > issuer.notAfter) {
      throw refused(
        `the issuing CA would outlive the root, which ends at ${issuer.notAfter.toISOString()}: ask for less, or renew the root first`,
      );
    }
    const pathLength = basicConstraintsOf(issuer)?.pathLength ?? Number.POSITIVE_INFINITY;
    if (wish.pathLength + 1 > pathLength)
      throw refused(
        `the root’s path length ${pathLength} leaves no room for a CA of path length ${wish.pathLength}`,
      );
    return { ...wish, request, keyAlgorithm, urls, issuer };
  }

  #assertOccasion(request: CertificationRequest, subject: string, occasion: IssuingWish['occasion']): void {
    const requestSha256 = sha256(request.raw);
    const issued = this.entries.filter(
      (entry) => entry.purpose === 'issuing' && entry.certificate !== undefined,
    );
    const signed = issued.find((entry) => entry.requestSha256 === requestSha256);
    if (signed !== undefined && (occasion === 'first' || signed.revoked !== undefined)) {
      throw refused(
        `this request was signed already, on ${signed.reservedAt.toISOString()} as serial number ${signed.serialNumber}: ` +
          `${signed.revoked === undefined ? `the certificate is ${signed.file}` : 'the certificate is revoked; make a request with a new key'}`,
      );
    }
    const sameKey = issued.filter(
      ({ certificate }) => certificate !== undefined && sameOctets(certificate.spki, request.spki),
    );
    const compromised = sameKey.find(
      ({ revoked }) => revoked?.reason === 'keyCompromise' || revoked?.reason === 'cACompromise',
    );
    if (compromised !== undefined)
      throw refused(
        `the key of serial number ${compromised.serialNumber} was revoked as compromised: make a new one`,
      );
    const sameName = issued.filter(
      ({ certificate }) =>
        certificate !== undefined && sameOctets(certificate.subject.raw, request.subject.raw),
    );
    if (
      sameKey.some(
        ({ certificate }) =>
          certificate !== undefined && !sameOctets(certificate.subject.raw, request.subject.raw),
      )
    )
      throw refused('the request has the key of an issuing CA of another name: make a key for each');
    const known = sameKey[0] ?? sameName[0];
    if (occasion === 'first' && known !== undefined) {
      throw refused(
        `“${subject}” is an issuing CA of this root already (serial number ${known.serialNumber}): say that this is a renewal, or ask with another name and key`,
      );
    }
    if (occasion === 'renewal' && known === undefined)
      throw refused(`there is nothing to renew: this root never signed “${subject}”`);
  }

  /**
   * Signs what was planned: reserves the serial number, signs, records, writes the file.
   *
   * @throws PkiError `key_capability` if the key is not the root’s, `root_refused` if it was signed meanwhile.
   */
  async signIssuing(plan: IssuingPlan, key: PrivateKey): Promise<Certificate> {
    const current = this.current;
    assertKeyOf(current, key);
    this.planIssuing(plan.request, plan);
    const serialNumber = newSerialNumber();
    await this.#reserve({
      serialNumber,
      purpose: 'issuing',
      key: current.number,
      subject: nameToString(plan.request.subject),
      requestSha256: sha256(plan.request.raw),
      file: `issuing-${serialNumber}.pem`,
    });
    const certificate = await createIssuing(
      { certificate: current.certificate, key },
      plan.request.spki,
      plan.request.subject,
      plan.validity,
      current.urls,
      {
        serialNumber,
        pathLength: plan.pathLength,
        ...(plan.nameConstraints === undefined ? {} : { nameConstraints: plan.nameConstraints }),
      },
    );
    await this.#record([certificate]);
    return certificate;
  }

  /**
   * Marks a certificate of this root as revoked; the next CRL names it. Durable when it resolves.
   *
   * @throws PkiError `root_refused` for a serial number that this root never signed or that is revoked already.
   */
  async revoke(
    serialNumber: string,
    reason: Exclude<RevocationReasonName, 'certificateHold'>,
  ): Promise<RootEntry> {
    const wanted = serialNumber.toLowerCase().replaceAll(/[:\s]/g, '');
    const entry = this.entries.find((other) => other.serialNumber === wanted);
    if (entry === undefined) throw refused(`this root signed no certificate with serial number ${wanted}`);
    // RFC 5280 §6.1: a trust anchor is not revoked by itself; whoever trusts it must be told.
    if (entry.purpose === 'root')
      throw refused(
        'a root cannot revoke itself: remove it from every trust store, and revoke what it signed',
      );
    if (entry.revoked !== undefined)
      throw refused(
        `${wanted} was revoked already, on ${entry.revoked.at.toISOString()} (${entry.revoked.reason})`,
      );
    const revokedAt = wholeSecond(this.#clock.now()).toISOString();
    await this.#save({
      ...this.#state,
      entries: this.#state.entries.map((other) =>
        other.serialNumber === wanted ? { ...other, revokedAt, reason } : other,
      ),
    });
    return this.entries.find((other) => other.serialNumber === wanted) as RootEntry;
  }

  /**
   * Signs the CRL of one of the root’s keys, with all that is revoked under this key’s name, and keeps it in the folder.
   *
   * @throws PkiError `key_capability` if the key is not that one.
   */
  async signCrl(
    rootKey: RootKey,
    key: PrivateKey,
    period: { readonly thisUpdate: Date; readonly nextUpdate: Date },
  ): Promise<{ readonly crl: Uint8Array; readonly crlNumber: number; readonly file: string }> {
    assertKeyOf(rootKey, key);
    // RFC 5280 §5.2.3: numbers only grow. The number is on the disk before the signature is made.
    const crlNumber = this.#state.crlNumber + 1;
    await this.#save({ ...this.#state, crlNumber });
    const names = new Map(this.keys.map(({ number, certificate }) => [number, certificate.subject.raw]));
    const revoked = this.entries.flatMap((entry) => {
      const issuer = names.get(entry.key);
      // Two keys of one name are one CRL issuer (RFC 5280 §5): each of their CRLs has the entries of both.
      if (
        entry.revoked === undefined ||
        issuer === undefined ||
        !sameOctets(issuer, rootKey.certificate.subject.raw)
      )
        return [];
      return [
        { serialNumber: entry.serialNumber, revocationDate: entry.revoked.at, reason: entry.revoked.reason },
      ];
    });
    const crl = await createRootCrl({ certificate: rootKey.certificate, key }, crlNumber, period, revoked);
    const file = join(this.folder, `root-${rootKey.number}.crl`);
    await replaceFile(file, crl);
    return { crl, crlNumber, file };
  }

  /**
   * A further certificate for the key that signs now, with the same name: what the key signed is valid under both.
   *
   * @throws PkiError `key_capability` if the key is not the root’s.
   */
  async renewWithSameKey(key: PrivateKey, validity: Validity): Promise<Certificate> {
    const { number, certificate: old } = this.current;
    assertKeyOf(this.current, key);
    assertValidity(validity);
    const pathLength = basicConstraintsOf(old)?.pathLength;
    const serialNumber = newSerialNumber();
    const times = this.entries.filter((entry) => entry.purpose === 'root' && entry.key === number).length;
    await this.#reserve({
      serialNumber,
      purpose: 'root',
      key: number,
      subject: nameToString(old.subject),
      file: `root-${number}-renewed-${times}.pem`,
    });
    const limits = pathLength === undefined ? {} : { pathLength };
    const certificate = await createRoot(key, old.subject, validity, { ...limits, serialNumber });
    await this.#record([certificate]);
    return certificate;
  }

  /**
   * Changes to a new key, and makes the two cross-certificates (RFC 4210 §4.4). From then on the new key signs; the old
   * one signs only its own CRL.
   *
   * @throws PkiError `key_capability` if the old key is not the root’s, `root_refused` if the new one is not new.
   */
  async renewWithNewKey(
    oldKey: PrivateKey,
    next: Pick<RootFields, 'key' | 'reference' | 'validity' | 'urls'> & { readonly subject?: Name },
  ): Promise<RootKeyChange> {
    const old = this.current;
    assertKeyOf(old, oldKey);
    caKeyAlgorithmOf(next.key.spki);
    assertValidity(next.validity);
    if (
      this.entries.some(
        ({ certificate }) => certificate !== undefined && sameOctets(certificate.spki, next.key.spki),
      )
    )
      throw refused('the new key is in use already: make a new one');
    const subject = next.subject ?? old.certificate.subject;
    const pathLength = basicConstraintsOf(old.certificate)?.pathLength;
    // RFC 5280 §6.1.4 (l): under its own name a cross-certificate does not count; under another one it does.
    if (pathLength !== undefined && pathLength < 2 && !sameOctets(subject.raw, old.certificate.subject.raw))
      throw refused(
        `the old root’s path length ${pathLength} leaves no room for a root of another name: keep the name`,
      );
    const limits = pathLength === undefined ? {} : { pathLength };
    const number = old.number + 1;
    const serials = { root: newSerialNumber(), newWithOld: newSerialNumber(), oldWithNew: newSerialNumber() };
    const text = nameToString(subject);
    const oldText = nameToString(old.certificate.subject);
    await this.#reserve(
      { serialNumber: serials.root, purpose: 'root', key: number, subject: text, file: `root-${number}.pem` },
      {
        serialNumber: serials.newWithOld,
        purpose: 'new-with-old',
        key: old.number,
        subject: text,
        file: `root-${number}-with-${old.number}.pem`,
      },
      {
        serialNumber: serials.oldWithNew,
        purpose: 'old-with-new',
        key: number,
        subject: oldText,
        file: `root-${old.number}-with-${number}.pem`,
      },
    );
    const root = await createRoot(next.key, subject, next.validity, {
      ...limits,
      serialNumber: serials.root,
    });
    // RFC 4210 §4.4.1: both end no later than the old certificate, whose key nobody has to trust from then on.
    const notAfter = new Date(Math.min(+old.certificate.notAfter, +root.notAfter));
    const newWithOld = await createCross(
      { certificate: old.certificate, key: oldKey },
      root,
      { notBefore: root.notBefore, notAfter },
      old.urls,
      { ...limits, serialNumber: serials.newWithOld },
    );
    const oldWithNew = await createCross(
      { certificate: root, key: next.key },
      old.certificate,
      { notBefore: old.certificate.notBefore, notAfter },
      next.urls,
      { ...limits, serialNumber: serials.oldWithNew },
    );
    await this.#record([root, newWithOld, oldWithNew], {
      number,
      reference: { ...next.reference },
      ...urlsOf(next.urls),
    });
    return { root, newWithOld, oldWithNew };
  }

  /** Lets the next command in; a second time it does nothing. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#lock.release();
  }

  /** Writes the state, and the file of each certificate that has none yet. */
  async save(): Promise<void> {
    await this.#save(this.#state);
  }

  async #reserve(...entries: readonly Omit<StateEntry, 'reservedAt'>[]): Promise<void> {
    const reservedAt = this.#clock.now().toISOString();
    const fresh = entries.map((entry) => ({ ...entry, reservedAt }));
    // What a killed command reserved and never signed keeps its serial number; its file name is free.
    await this.#save({ ...this.#state, entries: [...this.#state.entries, ...fresh] });
  }

  async #record(certificates: readonly Certificate[], key?: State['keys'][number]): Promise<void> {
    const bySerial = new Map(certificates.map(({ serialNumber, raw }) => [serialNumber, base64(raw)]));
    await this.#save({
      ...this.#state,
      keys: key === undefined ? this.#state.keys : [...this.#state.keys, key],
      entries: this.#state.entries.map((entry) => {
        const certificate = bySerial.get(entry.serialNumber);
        return certificate === undefined ? entry : { ...entry, certificate };
      }),
    });
  }

  async #save(state: State): Promise<void> {
    await replaceFile(join(this.folder, ROOT_STATE_FILE), `${JSON.stringify(state, null, 2)}\n`);
    this.#state = state;
    for (const { certificate, file } of state.entries) {
      if (certificate !== undefined)
        await writeNewFile(
          join(this.folder, file),
          buildPem('CERTIFICATE', Buffer.from(certificate, 'base64')),
        );
    }
  }
}

/**
 * The kind of a CA’s key.
 *
 * @throws PkiError `key_capability` for a kind that no CA here has.
 */
export function caKeyAlgorithmOf(spki: Uint8Array): KeyAlgorithm {
  const info = parsePublicKeyInfo(spki);
  if (info.type === 'ec' && (info.curve === 'P-256' || info.curve === 'P-384'))
    return info.curve === 'P-256' ? 'p-256' : 'p-384';
  // FIPS 186-5 §5.4: e is odd, above 2^16 and below 2^256.
  if (info.type === 'rsa' && info.exponent > 65_536n && info.exponent % 2n === 1n) {
    if (info.bits === 2048 || info.bits === 3072 || info.bits === 4096) return `rsa-${info.bits}`;
  }
  throw new PkiError('key_capability', 'a CA key is RSA of 2048, 3072 or 4096 bits, P-256 or P-384');
}

function assertKeyOf(rootKey: RootKey, key: PrivateKey): void {
  if (!sameOctets(rootKey.certificate.spki, key.spki))
    throw new PkiError(
      'key_capability',
      `this is not key ${rootKey.number} of the root: its certificate has another one`,
    );
}

function assertValidity({ notBefore, notAfter }: Validity): void {
  if (!(notBefore < notAfter)) throw refused('the certificate would end before it begins');
}

const urlsOf = ({ crlUrls, caIssuersUrls }: RootUrls) => ({
  crlUrls: [...crlUrls],
  caIssuersUrls: [...caIssuersUrls],
});

const refused = (message: string): PkiError => new PkiError('root_refused', message);
const base64 = (octets: Uint8Array): string => Buffer.from(octets).toString('base64');
const certificateOf = (text: string): Certificate => parseCertificate(Buffer.from(text, 'base64'));
const sha256 = (octets: Uint8Array): string => createHash('sha256').update(octets).digest('hex');

/** X.509 dates have no fractions of a second. */
function wholeSecond(date: Date): Date {
  return new Date(Math.floor(+date / 1000) * 1000);
}
