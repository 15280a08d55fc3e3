/** The profiles of a device of the built-in MDM as a file for another device management. */
import { readFileSync } from 'node:fs';
import { parsePkcs12 } from '../codec/index.ts';
import type { Config } from '../config.ts';
import { PkiError } from '../errors.ts';
import { secretFromReference } from '../keys/index.ts';
import {
  buildConfigurationProfile,
  buildJsonExport,
  buildSyncml,
  type ExportedIdentity,
  type ExportedProfile,
  type ExportedScepProfile,
  type ExportedTrustedCertificate,
  type ProfileExport,
  type ProfileSigner,
  signConfigurationProfile,
} from '../mdm/export/index.ts';
import type { Device, Mdm } from '../mdm/index.ts';
import type { Clock, Log } from '../telemetry.ts';
import { openIdentity, readChain } from './identity.ts';
import { withMdm } from './mdm.ts';
import {
  newPfxPassword,
  nothingImported,
  PfxFetcher,
  type PfxPacking,
  type PfxProfile,
  packedFor,
} from './profile-export-pfx.ts';

/** Forms of an export. */
export const exportFormats = ['mobileconfig', 'syncml', 'json'] as const;

/** What is exported, and how. */
export interface ExportOrder {
  readonly deviceId: string;
  readonly format: (typeof exportFormats)[number];
  /** `unsigned`: a configuration profile that other tools sign, or that an MDM delivers. */
  readonly signature: 'signed' | 'unsigned';
  readonly organization: string;
  /**
   * `left out`: profiles that bring a PFX are not in the file. Else how long connectors may take to make them, in
   * milliseconds; and how they are packed, by default as the newest and the oldest of the systems of the format take it.
   */
  readonly pfx:
    | 'left out'
    | {
        readonly waitMs: number;
        readonly password: PfxPacking['password'];
        readonly form?: PfxPacking['form'];
      };
  /** SyncML: `deleted`, the device first deletes what an earlier file of the same profiles installed. */
  readonly earlier: 'kept' | 'deleted';
  /** A PFX that goes along: its file, and the reference to its password. */
  readonly pkcs12?: { readonly file: string; readonly password?: string };
}

/** Who takes the file, and who hears how far it is. */
export interface ExportDoors {
  /** Writes the file, whole or not at all: what is ordered for it is given up if this throws. */
  readonly write: (file: Uint8Array) => Promise<void>;
  /** Hears of each profile whose PFX a connector is asked for. */
  readonly onWait?: (profileId: string) => void;
}

/** What is in the file, and what is not. */
export interface Exported {
  /** In the order of installation. */
  readonly profiles: readonly Pick<ExportedProfile, 'kind' | 'profileId'>[];
  /** Profiles that bring a PFX, if they are left out. */
  readonly leftOut: readonly string[];
  /** Profiles for imported PFX that have nothing to bring to the device, and why; for people. */
  readonly missing: readonly { readonly profileId: string; readonly why: string }[];
  /** Keys with their certificates that were made for this file, or imported. */
  readonly identities: readonly ExportedIdentity[];
  /** The password of these, if it is not in the file. A secret. */
  readonly password?: string;
}

/**
 * Makes the file and writes it. It holds challenges and keys, which are secrets. The device counts as checked in: its
 * challenges are made anew, after the keys.
 *
 * A key for the file is made by a connector, encrypted to a key of this process that is made for it, and packed anew under a
 * password of this file. If the file cannot be written, no certificate of such a key stays good. A PFX that was imported comes
 * by the same way; nothing is ordered of a CA for it, and nothing revoked.
 *
 * @throws PkiError `device_unknown`, `profile_unresolvable`, `profile_not_assigned`; `config_invalid` if it shall be signed
 *   and nothing can sign; `pfx_not_made` and the CA's own code if a connector does not bring a PFX; as `write` does.
 */
export async function exportProfiles(
  config: NonNullable<Config['mdm']>,
  order: ExportOrder,
  doors: ExportDoors,
  log: Log,
  clock: Clock,
): Promise<Exported> {
  // What can be wrong with the order itself comes first: nothing is made for it then.
  const signer =
    order.format === 'mobileconfig' && order.signature === 'signed' ? await signerOf(config) : undefined;
  const along = await identityOf(order);
  return await withMdm(config, log, clock, async (mdm) => {
    const device = mdm.device(order.deviceId);
    if (device?.state !== 'enrolled')
      throw new PkiError('device_unknown', `no enrolled device ${order.deviceId}`);
    const { waitMs } = order.pfx === 'left out' ? { waitMs: 0 } : order.pfx;
    const fetcher = new PfxFetcher({ mdm, waitMs, onWait: doors.onWait ?? (() => {}), clock });
    try {
      const made = await profilesOf(mdm, device, order, fetcher, clock);
      const profiles = [...made.profiles, ...along];
      if (profiles.length === 0)
        throw new PkiError('profile_not_assigned', `no profile of ${device.deviceId} can be in the file`);
      await doors.write(
        await fileOf(order, signer, {
          device: { deviceId: device.deviceId, deviceName: device.deviceName },
          organization: order.organization,
          profiles,
        }),
      );
      await fetcher.kept();
      return { ...made.exported, profiles: profiles.map(({ kind, profileId }) => ({ kind, profileId })) };
    } catch (cause) {
      await fetcher.giveUp();
      throw cause;
    }
  });
}

/** Checks the device in, and fetches in its place. */
async function profilesOf(
  mdm: Mdm,
  device: Device,
  order: ExportOrder,
  fetcher: PfxFetcher,
  clock: Clock,
): Promise<{ readonly profiles: readonly ExportedProfile[]; readonly exported: Omit<Exported, 'profiles'> }> {
  const source =
    order.pfx === 'left out' ? { hasRecipient: () => false, pfxFor: () => neverAsked() } : fetcher;
  const { profiles } = await mdm.fetchingFrom(source).checkIn(device, []);
  const missing = nothingImported(mdm, device, profiles, clock.now());
  const stores = new Map(
    mdm
      .profiles()
      .map(({ profile }) => [
        profile.profileId,
        'certificateStore' in profile ? profile.certificateStore : undefined,
      ]),
  );
  const trusted: ExportedTrustedCertificate[] = [];
  const scep: ExportedScepProfile[] = [];
  const pfx: PfxProfile[] = [];
  for (const profile of profiles) {
    const { profileId } = profile;
    if (profile.kind === 'failed')
      throw new PkiError(profile.error, `${profileId} cannot be made out for ${device.deviceId}`);
    if (profile.kind === 'trustedCertificate') trusted.push(profile);
    else if (profile.kind === 'scep' ? profile.challenge === undefined : profile.pfx === 'none')
      throw new PkiError(
        'profile_unresolvable',
        `${profileId}: the device may have no certificate now, because it breaks the rules`,
      );
    else if (profile.kind === 'scep') scep.push({ ...profile, ...storeOf(stores.get(profileId)) });
    else pfx.push(profile);
  }
  if (order.pfx === 'left out') {
    const leftOut = pfx.map(({ profileId }) => profileId);
    return { profiles: [...trusted, ...scep], exported: { leftOut, missing, identities: [] } };
  }
  const packing = { form: formFor(order.format), ...order.pfx, now: clock.now() };
  const secret = newPfxPassword(packing);
  const identities: ExportedIdentity[] = [];
  for (const profile of pfx) {
    const unpacked = await fetcher.unpacked(profile);
    try {
      const packed = await packedFor(profile, unpacked, trusted, { ...packing, secret });
      identities.push({ ...packed.identity, ...storeOf(stores.get(profile.profileId)) });
      trusted.push(...packed.intermediates);
    } finally {
      unpacked.privateKey.fill(0);
    }
  }
  return {
    profiles: [...trusted, ...identities, ...scep],
    exported: {
      leftOut: [],
      missing,
      identities,
      ...(packing.password === 'asked' && identities.length > 0 ? { password: secret } : {}),
    },
  };
}

const storeOf = (certificateStore: 'user' | 'machine' | undefined) =>
  certificateStore === undefined ? {} : { certificateStore };

/**
 * Every version of Apple's systems and of Windows reads the legacy form, and many read no other. Nothing is lost by it: the
 * password beside it is for who has the file, and one that is asked for is random.
 */
function formFor(format: ExportOrder['format']): PfxPacking['form'] {
  return format === 'json' ? 'modern' : 'legacy';
}

function neverAsked(): never {
  throw new PkiError('internal', 'a PFX was asked for that is left out');
}

async function signerOf(config: NonNullable<Config['mdm']>): Promise<ProfileSigner> {
  if (config.profileSigner === undefined)
    throw new PkiError('config_invalid', 'nothing signs profiles: add mdm.profileSigner, or say --unsigned');
  const { certificate, key } = await openIdentity(config.profileSigner, 'sign');
  return {
    certificate,
    chain: readChain(config.profileSigner.certificate),
    sign: (algorithm, data) => key.sign(algorithm, data),
  };
}

async function fileOf(
  { format, earlier }: ExportOrder,
  signer: ProfileSigner | undefined,
  exported: ProfileExport,
): Promise<Uint8Array> {
  switch (format) {
    case 'json':
      return Buffer.from(buildJsonExport(exported), 'utf8');
    case 'syncml':
      return Buffer.from(buildSyncml(exported, earlier), 'utf8');
    case 'mobileconfig': {
      const profile = buildConfigurationProfile(exported);
      return signer === undefined ? profile : await signConfigurationProfile(profile, signer);
    }
  }
}

/** The administrator's own PFX. One that does not open would be refused by the device, without saying why. */
async function identityOf({ pkcs12 }: ExportOrder): Promise<ExportedIdentity[]> {
  if (pkcs12 === undefined) return [];
  let pfx: Uint8Array;
  try {
    pfx = readFileSync(pkcs12.file);
  } catch (cause) {
    throw new PkiError('config_invalid', `cannot read ${pkcs12.file}`, { cause });
  }
  const password = pkcs12.password === undefined ? undefined : secretFromReference(pkcs12.password);
  await assertOpens(pkcs12.file, pfx, password);
  return [
    {
      kind: 'pkcs12',
      // No profile has a dot in its id.
      profileId: 'file.pkcs12',
      displayName: 'Identity',
      certificateType: 'device',
      pfx,
      ...(password === undefined ? {} : { password }),
    },
  ];
}

async function assertOpens(file: string, pfx: Uint8Array, password: string | undefined): Promise<void> {
  try {
    (await parsePkcs12(pfx, password ?? '')).privateKey.fill(0);
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause;
    // Devices read more than we do; and without a password the device asks for it.
    const passes =
      cause.code === 'algorithm_unsupported' || (password === undefined && cause.code === 'pkcs12_password');
    if (!passes) throw new PkiError(cause.code, `${file}: ${cause.message}`, { cause });
  }
}
