/** The device's folder: who it is, its keys, its certificate stores, and what it is in the middle of. */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import { buildPem, type Certificate, parseCertificate, parsePem, thumbprintOf } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import {
  DRAFT_SUFFIX,
  generateKeyFile,
  importKeyFile,
  type KeyAlgorithm,
  openKeyFile,
  type PrivateKey,
  readTextIfThere,
  replaceFile,
} from '../keys/index.ts';

/** Kinds of device, in the MDM's words. */
export const platforms = ['windows', 'macOS', 'iOS', 'android', 'linux'] as const;

/** One of `platforms`. */
export type Platform = (typeof platforms)[number];

/** A profileId becomes a part of file names, so its alphabet is checked here whatever the MDM says. */
export const profileId = z.string().regex(/^[A-Za-z0-9-]{1,64}$/, 'letters, digits and hyphens, at most 64');
const thumbprint = z.string().regex(/^[0-9A-F]{40}$/);
const keyFile = z.string().regex(/^[0-9a-f]{32}\.pem$/);
const instant = z.iso.datetime().transform((text) => new Date(text));
const base64 = z.base64().transform((text): Uint8Array => Buffer.from(text, 'base64'));

const deviceIdentity = z.object({
  deviceId: z.guid(),
  azureADDeviceId: z.guid(),
  deviceName: z.string(),
  platform: z.enum(platforms),
  serialNumber: z.string(),
  /** `https://host:port` of the MDM, without trailing slash. */
  mdmUrl: z.string(),
  joinedAt: instant,
});

/** Who the device is. */
export type DeviceIdentity = z.output<typeof deviceIdentity>;

/** The certificate stores, as `certlm.msc` shows them: Personal, Trusted Root, Intermediate Certification Authorities. */
const certificateStores = ['my', 'root', 'intermediate'] as const;

/** One of `certificateStores`. */
export type CertificateStore = (typeof certificateStores)[number];

/** What a profile brought that gives the device a key with its certificate. */
const identityFields = {
  profileId,
  version: z.int(),
  displayName: z.string(),
  /** Of the leaf, which is in `my`. */
  thumbprint,
  /** Name of the private key's file in `keys/`. */
  keyFile,
  serialNumber: z.string(),
  notBefore: instant,
  notAfter: instant,
  /** From the issuing CA up to the root, which is the last. */
  chain: z.array(thumbprint).min(1),
};

const profileRecord = z.discriminatedUnion('kind', [
  z.object({
    kind: z.literal('trustedCertificate'),
    profileId,
    version: z.int(),
    displayName: z.string(),
    store: z.enum(['root', 'intermediate']),
    thumbprint,
  }),
  z.object({
    kind: z.literal('scep'),
    ...identityFields,
    renewalThresholdPercentage: z.int(),
    transactionID: z.string(),
  }),
  z.object({ kind: z.enum(['pkcs', 'importedPfx']), ...identityFields }),
]);

/** What a profile brought to this device. */
export type ProfileRecord = z.output<typeof profileRecord>;

/** What a SCEP profile brought. */
export type ScepRecord = Extract<ProfileRecord, { kind: 'scep' }>;

/** What came in a PFX. */
export type PfxRecord = Exclude<ProfileRecord, { kind: 'trustedCertificate' | 'scep' }>;

/** A certificate of the device's own, with its key, whichever way it came. */
export type IdentityRecord = ScepRecord | PfxRecord;

/** Whether the profile brought a certificate of the device's own. */
export function isIdentity(record: ProfileRecord): record is IdentityRecord {
  return record.kind !== 'trustedCertificate';
}

/** What a trusted-certificate profile brought. */
export type TrustedCertificateRecord = Extract<ProfileRecord, { kind: 'trustedCertificate' }>;

const enrolmentRequest = z.object({
  profileId,
  version: z.int(),
  keyFile,
  transactionID: z.string(),
  senderNonce: base64,
  /** The PKIMessage, octet for octet as it is sent, however often. */
  message: base64,
  createdAt: instant,
  /** The throw-away certificate in the message ends then, and with it the request. */
  notAfter: instant,
});

/** A request that was made and not yet answered for good. It holds the challenge, encrypted to the RA. */
export type PendingRequest = z.output<typeof enrolmentRequest>;

const profileReport = z.object({
  profileId,
  issuanceState: z.string(),
  thumbprint: thumbprint.optional(),
  serialNumber: z.string().optional(),
  notAfter: instant.optional(),
  errorCode: z.int().optional(),
  eventId: z.int().optional(),
});

/** What the MDM is still to be told of a profile. */
export type UnsentReport = z.output<typeof profileReport>;

/** Bits of a mode that let others than the owner in. */
const OTHERS = 0o077;

/**
 * The folder of one device.
 *
 * ```
 * device.json          who it is
 * join-id              names the attempt to join, until it was answered    secret
 * device-token         bearer token for the MDM                            secret
 * key-passphrase       encrypts the private keys                           secret
 * delivery.pem         whom keys are encrypted to that come from elsewhere: a certificate of this device's own making
 * delivery.key.pem     its private key, encrypted PKCS #8                  secret
 * mdm-ca.pem           the root that the MDM's TLS certificate leads to, if it is not one of the system's
 * keys/                private keys, encrypted PKCS #8                     secret
 * certificates/my|root|intermediate/<thumbprint>.pem
 * profiles/<profileId>.json      what a profile brought
 * requests/<profileId>.json      a request that is under way
 * reports.json         what the MDM is still to be told
 * events.jsonl         the event log
 * lock                 held by the process that changes the folder
 * ```
 *
 * A key in a file is the last resort of a device: whoever is root here, or has a backup of the folder, has the key and its
 * passphrase. A TPM or a PKCS #11 token is the better place. From here, too, a key never leaves the folder.
 *
 * Promises: a file is written whole or not at all. Records are the truth: a certificate or key that no record names does
 * not count and is swept away, so that a crash between any two writes leaves nothing behind. Folders have mode 0700, files
 * mode 0600. One process at a time changes the folder; it holds `lock()`.
 */
export class DeviceFolder {
  readonly path: string;
  readonly identity: DeviceIdentity;
  /** PEM of the root for the MDM; `undefined` if the system's are to be used. */
  readonly mdmCaPem: string | undefined;
  readonly #deviceToken: string;
  readonly #keyPassphrase: string;

  private constructor(
    path: string,
    parts: {
      readonly identity: DeviceIdentity;
      readonly mdmCaPem: string | undefined;
      readonly deviceToken: string;
      readonly keyPassphrase: string;
    },
  ) {
    this.path = path;
    this.identity = parts.identity;
    this.mdmCaPem = parts.mdmCaPem;
    this.#deviceToken = parts.deviceToken;
    this.#keyPassphrase = parts.keyPassphrase;
  }

  /**
   * Makes the sub-folders, so that a full disk or a wrong mode shows before a token is spent, and the name of the attempt to
   * join, which stays until one has been answered.
   *
   * @throws PkiError `device_folder` if there is a device already.
   */
  static async prepare(path: string): Promise<{ readonly joinId: string }> {
    await makeFolders(path);
    if ((await readdir(path)).includes('device.json')) {
      throw new PkiError('device_folder', `${path} holds a device already`);
    }
    await replaceFile(join(path, 'reports.json'), '[]\n');
    // Made here and never opened but by SQLite: closing another descriptor of it would drop a lock that is held.
    await replaceFile(join(path, 'lock'), '');
    const joinIdPath = join(path, 'join-id');
    if ((await readTextIfThere(joinIdPath, 'device_folder')) === undefined) {
      await replaceFile(joinIdPath, `${randomBytes(32).toString('base64url')}\n`);
    }
    return { joinId: await readSecret(joinIdPath) };
  }

  /** Writes down who the device has become; `device.json` comes last and makes it so. */
  static async create(
    path: string,
    parts: {
      readonly identity: DeviceIdentity;
      readonly deviceToken: string;
      readonly mdmCaPem?: string | undefined;
    },
  ): Promise<DeviceFolder> {
    const { identity, deviceToken, mdmCaPem } = parts;
    const keyPassphrase = randomBytes(32).toString('base64url');
    await replaceFile(join(path, 'device-token'), `${deviceToken}\n`);
    await replaceFile(join(path, 'key-passphrase'), `${keyPassphrase}\n`);
    if (mdmCaPem !== undefined) await replaceFile(join(path, 'mdm-ca.pem'), mdmCaPem);
    await replaceFile(join(path, 'device.json'), json(identity));
    await rm(join(path, 'join-id'), { force: true });
    return new DeviceFolder(path, { identity, deviceToken, keyPassphrase, mdmCaPem });
  }

  /**
   * Opens the folder of a device that has joined.
   *
   * @throws PkiError `device_folder` if it holds none, is damaged, or shows its secrets to others.
   */
  static async open(path: string): Promise<DeviceFolder> {
    const identity = await readJson(join(path, 'device.json'), deviceIdentity);
    if (identity === undefined) throw new PkiError('device_folder', `${path} holds no device: join first`);
    await makeFolders(path);
    return new DeviceFolder(path, {
      identity,
      mdmCaPem: await readTextIfThere(join(path, 'mdm-ca.pem'), 'device_folder'),
      deviceToken: await readSecret(join(path, 'device-token')),
      keyPassphrase: await readSecret(join(path, 'key-passphrase')),
    });
  }

  /** Proves to the MDM that this is the device: who has it can obtain the device's certificates. */
  get deviceToken(): string {
    return this.#deviceToken;
  }

  /** Path of the file with the passphrase of every private key of this device. */
  get keyPassphrasePath(): string {
    return join(this.path, 'key-passphrase');
  }

  /**
   * Takes the folder for this process; `undefined` if another process, or another part of this one, has it. The system
   * gives it back when the process dies.
   */
  lock(): { readonly release: () => void } | undefined {
    // SQLite's file locks hold between processes and within one, on every system, and leave nothing stale.
    const database = new DatabaseSync(join(this.path, 'lock'), { timeout: 0 });
    try {
      database.exec('BEGIN EXCLUSIVE');
    } catch (cause) {
      database.close();
      if ((cause as { readonly errcode?: number }).errcode === SQLITE_BUSY) return undefined;
      throw new PkiError('device_folder', `${this.path}: the lock file cannot be used`, { cause });
    }
    return { release: () => database.close() };
  }

  // --- keys -------------------------------------------------------------------------------------------------------------

  /**
   * Makes a private key; nothing keeps it yet but its file.
   *
   * @throws PkiError `key_locked` if its file cannot be written.
   */
  async createKey(algorithm: KeyAlgorithm): Promise<{ readonly keyFile: string; readonly key: PrivateKey }> {
    const keyFile = `${randomBytes(16).toString('hex')}.pem`;
    const key = await generateKeyFile({
      path: this.keyPath(keyFile),
      passphrase: this.#keyPassphrase,
      algorithm,
    });
    return { keyFile, key };
  }

  /**
   * Writes down a private key that came from elsewhere; nothing keeps it yet but its file.
   *
   * @param pkcs8 DER in the clear; the caller overwrites it
   * @throws PkiError `key_locked`, `key_capability`.
   */
  async importKey(pkcs8: Uint8Array): Promise<string> {
    const keyFile = `${randomBytes(16).toString('hex')}.pem`;
    await importKeyFile({ path: this.keyPath(keyFile), passphrase: this.#keyPassphrase }, pkcs8);
    return keyFile;
  }

  /** Whom keys from elsewhere are encrypted to; `undefined` before `createDelivery`. Throws PkiError `key_locked`. */
  async delivery(): Promise<{ readonly certificate: Certificate; readonly key: PrivateKey } | undefined> {
    const text = await readTextIfThere(join(this.path, 'delivery.pem'), 'device_folder');
    if (text === undefined) return undefined;
    const certificate = parseCertificate(parsePem(text, 'CERTIFICATE')[0]);
    return { certificate, key: await openKeyFile(this.#deliveryKey()) };
  }

  /** Makes the key for `delivery` and, with `certify`, its certificate. The certificate comes last and makes it count. */
  async createDelivery(certify: (key: PrivateKey) => Promise<Certificate>): Promise<Certificate> {
    const file = this.#deliveryKey();
    // One that is there has no certificate: a crash came between.
    await rm(file.path, { force: true });
    const certificate = await certify(await generateKeyFile({ ...file, algorithm: 'rsa-2048' }));
    await replaceFile(join(this.path, 'delivery.pem'), buildPem('CERTIFICATE', certificate.raw));
    return certificate;
  }

  #deliveryKey() {
    return { path: join(this.path, 'delivery.key.pem'), passphrase: this.#keyPassphrase };
  }

  /** @throws PkiError `key_locked` if the file is missing, damaged or readable by others. */
  openKey(keyFile: string): Promise<PrivateKey> {
    return openKeyFile({ path: this.keyPath(keyFile), passphrase: this.#keyPassphrase });
  }

  keyPath(keyFile: string): string {
    return join(this.path, 'keys', keyFile);
  }

  // --- certificates -----------------------------------------------------------------------------------------------------

  certificatePath(store: CertificateStore, thumbprint: string): string {
    return join(this.path, 'certificates', store, `${thumbprint}.pem`);
  }

  async putCertificate(store: CertificateStore, certificate: Certificate): Promise<void> {
    const path = this.certificatePath(store, thumbprintOf(certificate.raw));
    await replaceFile(path, buildPem('CERTIFICATE', certificate.raw));
  }

  /** A certificate of a store; `undefined` if it is not there, or not what its name says. */
  async certificate(store: CertificateStore, thumbprint: string): Promise<Certificate | undefined> {
    const text = await readTextIfThere(this.certificatePath(store, thumbprint), 'device_folder');
    if (text === undefined) return undefined;
    try {
      const certificate = parseCertificate(parsePem(text, 'CERTIFICATE')[0]);
      return thumbprintOf(certificate.raw) === thumbprint ? certificate : undefined;
    } catch (cause) {
      if (cause instanceof PkiError) return undefined;
      throw cause;
    }
  }

  // --- records ----------------------------------------------------------------------------------------------------------

  /** What all profiles brought, by profileId. */
  async profiles(): Promise<ProfileRecord[]> {
    return await this.#all('profiles', profileRecord);
  }

  async putProfile(record: ProfileRecord): Promise<void> {
    await replaceFile(join(this.path, 'profiles', `${record.profileId}.json`), json(record));
  }

  async removeProfile(id: string): Promise<void> {
    await rm(join(this.path, 'profiles', `${profileId.parse(id)}.json`), { force: true });
  }

  /** Requests under way, by profileId. */
  async requests(): Promise<PendingRequest[]> {
    return await this.#all('requests', enrolmentRequest);
  }

  async putRequest(request: PendingRequest): Promise<void> {
    await replaceFile(
      join(this.path, 'requests', `${request.profileId}.json`),
      json({
        ...request,
        senderNonce: Buffer.from(request.senderNonce).toString('base64'),
        message: Buffer.from(request.message).toString('base64'),
      }),
    );
  }

  async removeRequest(id: string): Promise<void> {
    await rm(join(this.path, 'requests', `${profileId.parse(id)}.json`), { force: true });
  }

  /** What the MDM is still to be told, oldest first; one report a profile, since only the last one counts. */
  async reports(): Promise<UnsentReport[]> {
    return (await readJson(join(this.path, 'reports.json'), z.array(profileReport))) ?? [];
  }

  async putReports(reports: readonly UnsentReport[]): Promise<void> {
    await replaceFile(join(this.path, 'reports.json'), json(reports));
  }

  /**
   * Deletes keys and certificates that no record names, and what a crash left half written. Only for who holds the lock,
   * and not while an enrolment is between its key and its request.
   */
  async sweep(): Promise<void> {
    const records = await this.profiles();
    const identities = records.filter(isIdentity);
    const trusted = records.filter((record) => record.kind === 'trustedCertificate');
    const trustedIn = (store: CertificateStore) =>
      trusted.filter((record) => record.store === store).map((record) => record.thumbprint);
    const pem = (thumbprints: readonly string[]) => new Set(thumbprints.map((each) => `${each}.pem`));
    await this.#keepOnly(
      'keys',
      new Set([...identities, ...(await this.requests())].map((record) => record.keyFile)),
    );
    await this.#keepOnly(join('certificates', 'my'), pem(identities.map((record) => record.thumbprint)));
    await this.#keepOnly(join('certificates', 'root'), pem(trustedIn('root')));
    await this.#keepOnly(
      join('certificates', 'intermediate'),
      pem([...trustedIn('intermediate'), ...identities.flatMap((record) => record.chain.slice(0, -1))]),
    );
    for (const folder of ['.', 'profiles', 'requests']) {
      await this.#remove(folder, (name) => name.endsWith(DRAFT_SUFFIX));
    }
  }

  /**
   * Deletes the key that keys from elsewhere are encrypted to. Only for who holds the lock.
   */
  async removeDelivery(): Promise<void> {
    // The certificate is what makes the key count.
    await rm(join(this.path, 'delivery.pem'), { force: true });
    await rm(this.#deliveryKey().path, { force: true });
  }

  /**
   * Deletes all that the device has but its event log: keys first, then who it is, then the rest. Only for who holds the
   * lock, and after `sweep`; the folder holds no device afterwards.
   */
  async erase(): Promise<void> {
    await this.removeDelivery();
    for (const folder of ['keys', 'requests', 'profiles', 'certificates']) {
      await rm(join(this.path, folder), { recursive: true, force: true });
    }
    for (const name of ['device.json', 'device-token', 'key-passphrase', 'mdm-ca.pem', 'reports.json']) {
      await rm(join(this.path, name), { force: true });
    }
  }

  #keepOnly(folder: string, names: ReadonlySet<string>): Promise<void> {
    return this.#remove(folder, (name) => !names.has(name));
  }

  async #remove(folder: string, unwanted: (name: string) => boolean): Promise<void> {
    for (const name of await readdir(join(this.path, folder))) {
      if (unwanted(name)) await rm(join(this.path, folder, name), { force: true });
    }
  }

  async #all<S extends z.ZodType>(folder: string, schema: S): Promise<z.output<S>[]> {
    const names = (await readdir(join(this.path, folder))).filter((name) => name.endsWith('.json')).sort();
    const found: z.output<S>[] = [];
    for (const name of names) {
      const record = await readJson(join(this.path, folder, name), schema);
      if (record !== undefined) found.push(record);
    }
    return found;
  }
}

async function makeFolders(path: string): Promise<void> {
  const folders = [
    'keys',
    'profiles',
    'requests',
    ...certificateStores.map((store) => join('certificates', store)),
  ];
  for (const folder of folders) await mkdir(join(path, folder), { recursive: true, mode: 0o700 });
}

/** Result code of a lock that someone else holds. */
const SQLITE_BUSY = 5;

function json(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

async function readJson<S extends z.ZodType>(path: string, schema: S): Promise<z.output<S> | undefined> {
  const text = await readTextIfThere(path, 'device_folder');
  if (text === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Falls to the schema, which refuses `undefined`. The parser's own message may quote the file.
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new PkiError(
    'device_folder',
    `${path} is damaged: ${parsed.error.issues[0]?.path.join('.') || 'not JSON'}`,
  );
}

async function readSecret(path: string): Promise<string> {
  const text = await readTextIfThere(path, 'device_folder');
  if (text === undefined) throw new PkiError('device_folder', `${path} is missing`);
  // Windows has no such mode; there the folder's ACL protects the file.
  if (process.platform !== 'win32' && ((await stat(path)).mode & OTHERS) !== 0) {
    throw new PkiError('device_folder', `${path} can be read by others: set its mode to 0600`);
  }
  return text.trim();
}
