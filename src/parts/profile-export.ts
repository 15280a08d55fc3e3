/** The profiles of a device of the built-in MDM as a file for another device management. */
import { readFileSync } from 'node:fs';
import type { Config } from '../config.ts';
import { PkiError } from '../errors.ts';
import { secretFromReference } from '../keys/index.ts';
import {
  buildConfigurationProfile,
  buildJsonExport,
  buildSyncml,
  type ExportedIdentity,
  type ExportedProfile,
  type ProfileExport,
  signConfigurationProfile,
} from '../mdm/export/index.ts';
import type { Clock, Log } from '../telemetry.ts';
import { openIdentity, readChain } from './identity.ts';
import { withMdm } from './mdm.ts';

/** Forms of an export. */
export const exportFormats = ['mobileconfig', 'syncml', 'json'] as const;

/** What is exported, and how. */
export interface ExportOrder {
  readonly deviceId: string;
  readonly format: (typeof exportFormats)[number];
  /** `unsigned`: a configuration profile that other tools sign, or that an MDM delivers. */
  readonly signature: 'signed' | 'unsigned';
  readonly organization: string;
  /** A PFX that goes along: its file, and the reference to its password. */
  readonly pkcs12?: { readonly file: string; readonly password?: string };
}

/** A file, and the profiles that are not in it. */
export interface ExportedFile {
  readonly file: Uint8Array;
  /** profileIds of PKCS profiles: their PFX is encrypted to a key that Leafgate’s own agent alone has. */
  readonly leftOut: readonly string[];
}

/**
 * Builds the file. It holds challenges, which are secrets. The device counts as checked in: its challenges are made anew.
 *
 * @throws PkiError `device_unknown`, `profile_unresolvable`, `config_invalid` if it shall be signed and nothing can sign.
 */
export async function exportProfiles(
  config: NonNullable<Config['mdm']>,
  order: ExportOrder,
  log: Log,
  clock: Clock,
): Promise<ExportedFile> {
  const leftOut: string[] = [];
  const exported = await withMdm(config, log, clock, async (mdm): Promise<ProfileExport> => {
    const device = mdm.device(order.deviceId);
    if (device?.state !== 'enrolled')
      throw new PkiError('device_unknown', `no enrolled device ${order.deviceId}`);
    const { profiles } = await mdm.checkIn(device, []);
    const given: ExportedProfile[] = [];
    for (const profile of profiles) {
      if (profile.kind === 'failed')
        throw new PkiError(profile.error, `${profile.profileId} cannot be made out for ${device.deviceId}`);
      if (profile.kind === 'pkcs' || profile.kind === 'importedPfx') leftOut.push(profile.profileId);
      else given.push(profile);
    }
    return {
      device: { deviceId: device.deviceId, deviceName: device.deviceName },
      organization: order.organization,
      profiles: [...given, ...identityOf(order)],
    };
  });
  return { file: await fileOf(config, order, exported), leftOut };
}

async function fileOf(
  config: NonNullable<Config['mdm']>,
  order: ExportOrder,
  exported: ProfileExport,
): Promise<Uint8Array> {
  switch (order.format) {
    case 'json':
      return Buffer.from(buildJsonExport(exported), 'utf8');
    case 'syncml':
      return Buffer.from(buildSyncml(exported), 'utf8');
    case 'mobileconfig': {
      const profile = buildConfigurationProfile(exported);
      if (order.signature === 'unsigned') return profile;
      if (config.profileSigner === undefined)
        throw new PkiError(
          'config_invalid',
          'nothing signs profiles: add mdm.profileSigner, or say --unsigned',
        );
      const { certificate, key } = await openIdentity(config.profileSigner, 'sign');
      return await signConfigurationProfile(profile, {
        certificate,
        chain: readChain(config.profileSigner.certificate),
        sign: (algorithm, data) => key.sign(algorithm, data),
      });
    }
  }
}

function identityOf({ pkcs12 }: ExportOrder): ExportedIdentity[] {
  if (pkcs12 === undefined) return [];
  let pfx: Uint8Array;
  try {
    pfx = readFileSync(pkcs12.file);
  } catch (cause) {
    throw new PkiError('config_invalid', `cannot read ${pkcs12.file}`, { cause });
  }
  return [
    {
      kind: 'pkcs12',
      profileId: 'identity',
      displayName: 'Identity',
      certificateType: 'device',
      pfx,
      ...(pkcs12.password === undefined ? {} : { password: secretFromReference(pkcs12.password) }),
    },
  ];
}
