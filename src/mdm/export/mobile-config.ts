/** Apple's configuration profile: a property list, signed. */
import { build, type PlistValue } from 'plist';
import { buildSignedData, type Certificate, type Name, oid, type Sign } from '../../codec/index.ts';
import { PkiError } from '../../errors.ts';
import { faultsOfConfigurationProfile } from './apple-payloads.ts';
import {
  type ExportedProfile,
  type ExportedScepProfile,
  type ProfileExport,
  stableUuid,
  subjectOf,
  xmlText,
} from './exported.ts';

/** Who signs a configuration profile. */
export interface ProfileSigner {
  readonly certificate: Certificate;
  /** DER of the certificates that go along: that of the signer first, then its issuers. */
  readonly chain: readonly Uint8Array[];
  readonly sign: Sign;
}

type Dictionary = Record<string, PlistValue>;

/** Short forms that Apple names; every other attribute is written as its identifier. */
const shortNames: ReadonlyMap<string, string> = new Map([
  [oid.countryName, 'C'],
  [oid.localityName, 'L'],
  [oid.stateOrProvinceName, 'ST'],
  [oid.organizationName, 'O'],
  [oid.organizationalUnitName, 'OU'],
  [oid.commonName, 'CN'],
]);

const alternativeNameKeys = {
  rfc822Name: 'rfc822Name',
  dNSName: 'dNSName',
  uniformResourceIdentifier: 'uniformResourceIdentifier',
  userPrincipalName: 'ntPrincipalName',
} as const;

/** Bits of `Key Usage`: 1 signing, 4 encryption. */
const keyUsageBits: Readonly<Record<string, number>> = { digitalSignature: 1, keyEncipherment: 4 };

/** Before identifiers that are ours. */
const PREFIX = 'leafgate';

/**
 * Builds a configuration profile: UTF-8 of an XML property list, not signed yet. Made again for the same device it has the
 * same identifiers, so that it replaces the one before.
 *
 * @throws PkiError `profile_unresolvable` for what the format cannot say.
 */
export function buildConfigurationProfile(exported: ProfileExport): Uint8Array {
  const { device, organization, profiles } = exported;
  const identifier = `${PREFIX}.${device.deviceId}`;
  const payloads = profiles.map(
    (profile): Dictionary => ({
      PayloadIdentifier: `${identifier}.${profile.profileId}`,
      PayloadUUID: stableUuid(device.deviceId, profile.profileId),
      PayloadVersion: 1,
      PayloadDisplayName: xmlText(profile.displayName, profile.profileId),
      ...payloadOf(profile, device.deviceId),
    }),
  );
  const forUser = profiles.filter((profile) => profile.kind !== 'trustedCertificate');
  const value: Dictionary = {
    PayloadType: 'Configuration',
    PayloadVersion: 1,
    PayloadIdentifier: identifier,
    PayloadUUID: stableUuid(device.deviceId),
    PayloadDisplayName: xmlText(`Certificates of ${organization}`, 'organization'),
    PayloadOrganization: xmlText(organization, 'organization'),
    // One scope for all that is in it: a user's keychain, if everything in it is the user's.
    PayloadScope:
      forUser.length > 0 && forUser.every((profile) => profile.certificateType === 'user')
        ? 'User'
        : 'System',
    PayloadContent: payloads,
  };
  const faults = faultsOfConfigurationProfile(value);
  if (faults.length > 0)
    throw new PkiError('internal', `a configuration profile of ours: ${faults.join('; ')}`);
  return Buffer.from(`${build(value)}\n`, 'utf8');
}

/**
 * Signs a configuration profile: CMS SignedData (RFC 5652 §5) with the profile as its content, which is what devices take.
 *
 * @throws PkiError as the signer's key does.
 */
export async function signConfigurationProfile(
  profile: Uint8Array,
  { certificate, chain, sign }: ProfileSigner,
): Promise<Uint8Array> {
  return await buildSignedData(
    { content: profile, digest: 'sha256', signer: certificate, certificates: chain, attributes: [] },
    sign,
  );
}

function payloadOf(profile: ExportedProfile, deviceId: string): Dictionary {
  switch (profile.kind) {
    case 'trustedCertificate':
      return {
        PayloadType:
          profile.destinationStore === 'computerCertStoreRoot'
            ? 'com.apple.security.root'
            : 'com.apple.security.pkcs1',
        PayloadCertificateFileName: `${profile.profileId}.cer`,
        PayloadContent: Buffer.from(profile.certificate, 'base64'),
      };
    case 'pkcs12':
      return {
        PayloadType: 'com.apple.security.pkcs12',
        PayloadCertificateFileName: `${profile.profileId}.p12`,
        PayloadContent: profile.pfx,
        KeyIsExtractable: false,
        AllowAllAppsAccess: false,
        ...(profile.password === undefined ? {} : { Password: xmlText(profile.password, 'the password') }),
      };
    case 'scep':
      return { PayloadType: 'com.apple.security.scep', PayloadContent: scepOf(profile, deviceId) };
  }
}

function scepOf(profile: ExportedScepProfile, deviceId: string): Dictionary {
  const { challenge, scepServerUrls } = profile;
  const names = alternativeNamesOf(profile);
  return {
    URL: urlFor(scepServerUrls, deviceId),
    Subject: subjectArray(subjectOf(profile)),
    ...(Object.keys(names).length === 0 ? {} : { SubjectAltName: names }),
    ...(challenge === undefined ? {} : { Challenge: xmlText(challenge, 'the challenge') }),
    // Apple's default is 1024.
    Keysize: profile.keyLength,
    'Key Type': 'RSA',
    'Key Usage': profile.keyUsage.reduce((bits, usage) => bits | (keyUsageBits[usage] ?? 0), 0),
    CAFingerprint: Buffer.from(profile.caThumbprint, 'hex'),
    KeyIsExtractable: false,
    AllowAllAppsAccess: false,
  };
}

/** Apple takes one URL: each device another of those that there are, and always the same. */
function urlFor(urls: readonly string[], deviceId: string): string {
  const place = Number.parseInt(stableUuid(deviceId).slice(0, 8), 16) % Math.max(urls.length, 1);
  const url = urls[place];
  if (url === undefined) throw new PkiError('profile_unresolvable', 'the profile has no SCEP URL');
  return xmlText(url, 'the SCEP URL');
}

function subjectArray(name: Name): PlistValue[] {
  return name.rdns.map((rdn) =>
    rdn.map(({ oid: type, value }) => [shortNames.get(type) ?? type, xmlText(value, 'the subject')]),
  );
}

function alternativeNamesOf({ subjectAltName }: ExportedScepProfile): Dictionary {
  const found = new Map<string, string[]>();
  for (const name of subjectAltName) {
    const key = (alternativeNameKeys as Readonly<Record<string, string>>)[name.type];
    if (key === undefined)
      throw new PkiError('profile_unresolvable', `a configuration profile has no place for ${name.type}`);
    found.set(key, [...(found.get(key) ?? []), xmlText(name.value, name.type)]);
  }
  return Object.fromEntries(
    [...found].map(([key, values]) => [key, values.length === 1 ? (values[0] ?? '') : values]),
  );
}
