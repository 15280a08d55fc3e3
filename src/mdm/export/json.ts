/** Profiles for any other MDM, as JSON whose fields have plain names. */
import type { ExportedProfile, ProfileExport } from './exported.ts';

/** Version of the form: it grows when a field changes its meaning. */
const FORM_VERSION = 1;

/** Builds the JSON text. Octets are base64, instants ISO 8601. */
export function buildJsonExport({ device, organization, profiles }: ProfileExport): string {
  const document = {
    form: 'leafgate-profiles',
    version: FORM_VERSION,
    organization,
    device,
    profiles: profiles.map(plain),
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

function plain(profile: ExportedProfile): object {
  return profile.kind === 'pkcs12'
    ? { ...profile, pfx: Buffer.from(profile.pfx).toString('base64') }
    : profile;
}
