/** PFX for an export: fetched from the MDM in the device's place, opened, and packed for the device. */
import { generateKeyPair, randomBytes, randomInt } from 'node:crypto';
import { promisify } from 'node:util';
import { findTrustedPath, openPfx } from '../agent/index.ts';
import {
  buildPkcs12,
  type Certificate,
  nameFromString,
  type Pkcs12,
  type Pkcs12Fields,
  parseCertificate,
  parsePublicKeyInfo,
  sameOctets,
  thumbprintOf,
} from '../codec/index.ts';
import { errorTable, PkiError } from '../errors.ts';
import { type PrivateKey, privateKeyOf } from '../keys/index.ts';
import type { ExportedIdentity, ExportedTrustedCertificate } from '../mdm/export/index.ts';
import {
  type Device,
  type DeviceProfile,
  type EncryptedPfx,
  isImported,
  type Mdm,
  type PfxSource,
} from '../mdm/index.ts';
import { buildSelfSigned } from '../scep/index.ts';
import type { Clock } from '../telemetry.ts';

/** How PFX are to be packed. */
export interface PfxPacking {
  /** `modern` is AES-256 with SHA-256, `legacy` Triple DES with SHA-1. */
  readonly form: Pkcs12Fields['form'];
  /** `in the file`: the file opens its PFX. `asked`: the device asks its user, whom somebody has told. */
  readonly password: 'in the file' | 'asked';
}

/** What a fetcher works with. */
export interface PfxFetcherOptions {
  readonly mdm: Pick<Mdm, 'pfxOrders'>;
  /** How long a connector may take for all of them, in milliseconds. */
  readonly waitMs: number;
  /** Hears of each PFX that is waited for. */
  readonly onWait: (profileId: string) => void;
  readonly clock: Clock;
}

/** A profile that brings a PFX, as it is checked in. */
export type PfxProfile = Extract<DeviceProfile, { readonly pfx: string }>;

/** What is ordered of a connector. */
type Wish = Parameters<PfxSource['pfxFor']>[0];

/** Long enough for keys of connectors, which have 4096 bits at the most. */
const KEY_BITS = 3072;
const POLL_MS = 250;
/** Between the PFX and the file that it is in: whoever is killed there has not fetched it. */
const WRITING_MS = 60_000;
const DAY_MS = 24 * 60 * 60 * 1000;
/** For nobody to type. */
const PASSWORD_BYTES = 32;
/** What nobody confuses when he types it: 98 bits, which the 2,048 rounds of the legacy form do not have to stretch. */
const TYPED_ALPHABET = 'abcdefghjkmnpqrstuvwxyz23456789';
const TYPED_GROUPS = 5;
const TYPED_GROUP = 4;
/** More than anybody has. */
const PFX_OF_A_USER_MAX = 1000;

const generate = promisify(generateKeyPair);

/**
 * Whoever fetches PFX in a device's place.
 *
 * Promise: its key is made for one export, in the memory of this process alone. Each PFX that it orders is either `kept`, or
 * given up with its certificate: by `giveUp`, or when the time is over, if this process dies.
 */
export class PfxFetcher implements PfxSource {
  readonly #options: PfxFetcherOptions;
  readonly #deadline: number;
  readonly #requestIds: string[] = [];
  #recipient: Promise<{ readonly key: PrivateKey; readonly certificate: Certificate }> | undefined;

  /** The time that connectors may take runs from now. */
  constructor(options: PfxFetcherOptions) {
    this.#options = options;
    this.#deadline = performance.now() + options.waitMs;
  }

  hasRecipient(): boolean {
    return true;
  }

  /**
   * Orders a PFX and waits until it is here.
   *
   * @throws PkiError `pfx_not_made` if nobody brings it; the CA's own code if it refuses.
   */
  async pfxFor(wish: Wish): Promise<EncryptedPfx> {
    const { mdm, onWait, waitMs, clock } = this.#options;
    const { profileId } = wish;
    const leftMs = Math.max(this.#deadline - performance.now(), 0);
    const wantedUntil = new Date(clock.now().getTime() + leftMs + WRITING_MS);
    onWait(profileId);
    const { certificate } = await this.#ownRecipient();
    const recipient = Buffer.from(certificate.raw).toString('base64');
    const requestId = await mdm.pfxOrders.order(wish, { recipient, wantedUntil });
    this.#requestIds.push(requestId);
    for (;;) {
      const order = mdm.pfxOrders.state(requestId);
      if (order.state === 'here') return order.pfx;
      if (order.state === 'over') throw refusalOf(wish, order.error);
      if (performance.now() >= this.#deadline)
        throw new PkiError(
          'pfx_not_made',
          `no connector brought the PFX of ${profileId} within ${Math.round(waitMs / 1000)} seconds`,
        );
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  /**
   * Opens a PFX that is here. The caller overwrites the key.
   *
   * @throws PkiError `pfx_unopened` if it is not encrypted to this export; as `parsePkcs12` besides.
   */
  async unpacked({ profileId, encryptedPfxBlob, encryptedPfxPassword }: PfxProfile): Promise<Pkcs12> {
    const { key } = await this.#ownRecipient();
    const encrypted = {
      profileId,
      encryptedPfxBlob: Buffer.from(encryptedPfxBlob ?? '', 'base64'),
      encryptedPfxPassword: Buffer.from(encryptedPfxPassword ?? '', 'base64'),
    };
    return await openPfx(encrypted, key);
  }

  /**
   * All that was fetched is kept elsewhere by now: the MDM deletes it.
   *
   * @throws PkiError `pfx_lease_over` if it came too late: what was fetched is revoked, and must not be used.
   */
  async kept(): Promise<void> {
    for (const requestId of this.#requestIds) await this.#options.mdm.pfxOrders.fetched(requestId);
  }

  /** Nothing that was ordered is used: a connector lets no certificate of it stay good. */
  async giveUp(): Promise<void> {
    for (const requestId of this.#requestIds) await this.#options.mdm.pfxOrders.giveUp(requestId);
  }

  /** Made when it is first needed: most files hold no PFX. */
  #ownRecipient() {
    this.#recipient ??= newRecipient(this.#options.clock);
    return this.#recipient;
  }
}

/** Whom the PFX of one export are encrypted to: a key that is nowhere else, and a name for it. */
async function newRecipient(clock: Clock) {
  const { privateKey } = await generate('rsa', { modulusLength: KEY_BITS });
  const key = privateKeyOf(privateKey);
  const now = clock.now();
  const certificate = await buildSelfSigned(
    {
      subject: nameFromString('CN=Export,OU=PFX delivery'),
      spki: key.spki,
      notBefore: now,
      notAfter: new Date(now.getTime() + DAY_MS),
    },
    (algorithm, data) => key.sign(algorithm, data),
  );
  return { key, certificate };
}

function refusalOf({ profileId, order }: Wish, error: string | undefined): PkiError {
  const code = (Object.keys(errorTable) as (keyof typeof errorTable)[]).find((known) => known === error);
  const imported = isImported(order);
  if (code === undefined) {
    const changing = imported ? 'device, profile or what is imported' : 'device or profile';
    return new PkiError('pfx_not_made', `${profileId}: ${changing} have changed while it was waited for`);
  }
  const refusal = imported ? 'connector refused the imported PFX' : 'connector, or the CA, refused';
  return new PkiError(code, `${profileId}: the ${refusal}: ${errorTable[code].text}`);
}

/**
 * The profiles for imported PFX that a check-in left out, because they have nothing to bring to the device; and why.
 *
 * @param checkedIn what the check-in answered
 */
export function nothingImported(
  mdm: Pick<Mdm, 'profilesOf' | 'importedPfx'>,
  { deviceId, user }: Device,
  checkedIn: readonly DeviceProfile[],
  now: Date,
): { readonly profileId: string; readonly why: string }[] {
  const isLeftOut = (profileId: string) => !checkedIn.some((each) => each.profileId === profileId);
  return mdm.profilesOf(deviceId).flatMap(({ profile }) => {
    if (profile.kind !== 'importedPfx' || !isLeftOut(profile.profileId)) return [];
    const { profileId, intendedPurpose } = profile;
    if (user === undefined) return [{ profileId, why: 'the device has no user' }];
    const imported = mdm.importedPfx
      .certificates({ userId: user.userId, limit: PFX_OF_A_USER_MAX })
      .filter((each) => each.intendedPurpose === intendedPurpose);
    const what = `for ${intendedPurpose} is imported for ${user.userPrincipalName}`;
    if (imported.length === 0) return [{ profileId, why: `nothing ${what}` }];
    const hasEnded = imported.every(({ expirationDateTime }) => expirationDateTime <= now);
    return [{ profileId, why: `what ${what} ${hasEnded ? 'has ended' : 'is not valid now'}` }];
  });
}

/** A password for the PFX of one file. */
export function newPfxPassword({ password }: Pick<PfxPacking, 'password'>): string {
  if (password === 'in the file') return randomBytes(PASSWORD_BYTES).toString('base64url');
  const letter = () => TYPED_ALPHABET[randomInt(TYPED_ALPHABET.length)];
  const group = () => Array.from({ length: TYPED_GROUP }, letter).join('');
  return Array.from({ length: TYPED_GROUPS }, group).join('-');
}

/**
 * Packs a PFX for a device: the key and its certificate alone, as Apple wants it; the CAs above that are no profile of the
 * device yet become trusted intermediate certificates.
 *
 * @param trusted the trusted certificates of the device, with that of the profile's `rootCertificate` among them
 * @throws PkiError `pfx_unopened` if the certificate does not lead through that one to a root of the device.
 */
export async function packedFor(
  profile: PfxProfile,
  unpacked: Pkcs12,
  trusted: readonly ExportedTrustedCertificate[],
  packing: PfxPacking & { readonly secret: string; readonly now: Date },
): Promise<{
  readonly identity: ExportedIdentity;
  readonly intermediates: readonly ExportedTrustedCertificate[];
}> {
  const { profileId, displayName, certificateType, rootCertificate } = profile;
  const { privateKey, certificate, chain, friendlyName = displayName.slice(0, 64) } = unpacked;
  const known = trusted.map((each) => ({
    ...each,
    parsed: parseCertificate(Buffer.from(each.certificate, 'base64')),
  }));
  const through = known.find((each) => each.profileId === rootCertificate);
  if (through === undefined) throw new PkiError('pfx_unopened', `${profileId}: nothing is to be trusted`);
  const inStore = (isRoot: boolean) =>
    known
      .filter(({ destinationStore }) => (destinationStore === 'computerCertStoreRoot') === isRoot)
      .map(({ parsed }) => parsed);
  // Whoever knows the recipient can encrypt to it: only this says who made the key.
  const path = findTrustedPath(
    certificate,
    { ca: through.parsed, roots: inStore(true), intermediates: inStore(false) },
    chain,
    packing.now,
  );
  if (path.path === 'none') throw new PkiError('pfx_unopened', `${profileId}: ${path.detail}`);
  const key = parsePublicKeyInfo(certificate.spki);
  const pfx = await buildPkcs12({
    privateKey,
    certificate,
    chain: [],
    friendlyName,
    password: packing.secret,
    form: packing.form,
  });
  return {
    identity: {
      kind: 'pkcs12',
      profileId,
      displayName,
      certificateType,
      pfx,
      thumbprint: thumbprintOf(certificate.raw),
      serialNumber: certificate.serialNumber.toUpperCase(),
      notAfter: certificate.notAfter,
      ...(key.type === 'rsa' ? { keyLength: key.bits } : {}),
      ...(packing.password === 'asked' ? {} : { password: packing.secret }),
    },
    intermediates: path.certificates
      .slice(1, -1)
      .filter((each) => !known.some(({ parsed }) => sameOctets(parsed.raw, each.raw)))
      .map((each, index) => ({
        kind: 'trustedCertificate',
        // No profile has a dot in its id.
        profileId: `${profileId}.issuer-${index + 1}`,
        displayName: `Issuer of ${displayName}`,
        destinationStore:
          certificateType === 'user' ? 'userCertStoreIntermediate' : 'computerCertStoreIntermediate',
        certificate: Buffer.from(each.raw).toString('base64'),
        thumbprint: thumbprintOf(each.raw),
      })),
  };
}
