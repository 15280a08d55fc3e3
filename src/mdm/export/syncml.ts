/** Windows: SyncML for the ClientCertificateInstall and RootCATrustedCertificates CSPs. */
import { type Name, oid } from '../../codec/index.ts';
import { PkiError } from '../../errors.ts';
import {
  type ExportedIdentity,
  type ExportedProfile,
  type ExportedScepProfile,
  type ExportedTrustedCertificate,
  type ProfileExport,
  stableUuid,
  subjectOf,
  xmlText,
} from './exported.ts';
import { faultsOfNodes, type NodeValue } from './windows-nodes.ts';

/** AlternativeNameType of CertEnroll, which `SubjectAlternativeNames` names kinds by. */
const alternativeNameTypes: Readonly<Record<string, number>> = {
  rfc822Name: 2,
  dNSName: 3,
  uniformResourceIdentifier: 7,
  userPrincipalName: 11,
};

/** X.500 keywords of CertStrToName; every other attribute is written as its identifier. */
const keywords: ReadonlyMap<string, string> = new Map([
  [oid.commonName, 'CN'],
  [oid.serialNumber, 'SERIALNUMBER'],
  [oid.countryName, 'C'],
  [oid.localityName, 'L'],
  [oid.stateOrProvinceName, 'S'],
  [oid.organizationName, 'O'],
  [oid.organizationalUnitName, 'OU'],
  [oid.domainComponent, 'DC'],
  [oid.emailAddress, 'E'],
]);

const keyUsageBits: Readonly<Record<string, number>> = { digitalSignature: 0x80, keyEncipherment: 0x20 };
const periods = { days: 'Days', months: 'Months', years: 'Years' } as const;
/** Values of KeyProtection, and of KeyLocation of PFXCertInstall. 2 is the TPM where there is one, else software. */
const keyPlaces = {
  useTpmKspOtherwiseFail: 1,
  useTpmKspOtherwiseUseSoftwareKsp: 2,
  useSoftwareKsp: 3,
} as const;
/** More a TPM of a PC does not hold: Intune takes longer keys for the software provider alone. */
const TPM_KEY_BITS_MAX = 2048;

/**
 * Builds one SyncML body: the trusted certificates first, then each certificate in an `Atomic` of its own, as Microsoft
 * demands. For an MDM that takes SyncML (“custom configuration”).
 *
 * @param earlier `deleted`: before each certificate the device deletes what an earlier body of the same profile installed,
 *   with its key. Else the device refuses a second `Add`.
 * @throws PkiError `profile_unresolvable` for what the format cannot say.
 */
export function buildSyncml(
  { device, profiles }: ProfileExport,
  earlier: 'kept' | 'deleted' = 'kept',
): string {
  const ids = { next: 1 };
  const commands = inOrder(profiles).map((profile) => {
    const nodes = nodesOf(profile, device.deviceId);
    const faults = faultsOfNodes(nodes);
    if (faults.length > 0)
      throw new PkiError('profile_unresolvable', `${profile.profileId}: ${faults.join('; ')}`);
    if (profile.kind === 'trustedCertificate') return nodes.map((node) => command(node, ids)).join('');
    // Outside of the Atomic, where it may fail: there may be nothing to delete.
    const deletion =
      earlier === 'deleted'
        ? command({ verb: 'Delete', path: installationOf(profile, device.deviceId) }, ids)
        : '';
    const atomic = takeId(ids);
    const adds = nodes.map((node) => command(node, ids)).join('');
    return deletion + element('Atomic', element('CmdID', atomic) + adds);
  });
  return `<SyncML xmlns="SYNCML:SYNCML1.2">${element('SyncBody', `${commands.join('')}<Final/>`)}</SyncML>\n`;
}

/** Trusted certificates first. */
function inOrder(profiles: readonly ExportedProfile[]): ExportedProfile[] {
  const rank = ({ kind }: ExportedProfile) => (kind === 'trustedCertificate' ? 0 : 1);
  return [...profiles].sort((a, b) => rank(a) - rank(b));
}

function nodesOf(profile: ExportedProfile, deviceId: string): NodeValue[] {
  switch (profile.kind) {
    case 'trustedCertificate':
      return [trustedCertificateNode(profile)];
    case 'scep':
      return scepNodes(profile, deviceId);
    case 'pkcs12':
      return pfxNodes(profile, deviceId);
  }
}

function trustedCertificateNode(profile: ExportedTrustedCertificate): NodeValue {
  const store = {
    computerCertStoreRoot: './Device/Vendor/MSFT/RootCATrustedCertificates/Root',
    computerCertStoreIntermediate: './Device/Vendor/MSFT/RootCATrustedCertificates/CA',
    userCertStoreIntermediate: './User/Vendor/MSFT/RootCATrustedCertificates/CA',
  }[profile.destinationStore];
  return {
    verb: 'Add',
    path: `${store}/${profile.thumbprint.toUpperCase()}/EncodedCertificate`,
    format: 'b64',
    data: profile.certificate,
  };
}

function scepNodes(profile: ExportedScepProfile, deviceId: string): NodeValue[] {
  const base = installationOf(profile, deviceId);
  if (profile.challenge === undefined)
    throw new PkiError('profile_unresolvable', `${profile.profileId}: Windows needs a challenge`);
  const install = (name: string, format: 'chr' | 'int', data: string): NodeValue => ({
    verb: 'Add',
    path: `${base}/Install/${name}`,
    format,
    data,
  });
  const names = alternativeNames(profile);
  return [
    { verb: 'Add', path: base, format: 'node' },
    install('ServerURL', 'chr', profile.scepServerUrls.join(';')),
    install('Challenge', 'chr', Buffer.from(profile.challenge, 'utf8').toString('base64')),
    install('EKUMapping', 'chr', profile.extKeyUsage.join('+')),
    install(
      'KeyUsage',
      'int',
      String(profile.keyUsage.reduce((bits, usage) => bits | (keyUsageBits[usage] ?? 0), 0)),
    ),
    install('SubjectName', 'chr', x500String(subjectOf(profile))),
    ...(names === '' ? [] : [install('SubjectAlternativeNames', 'chr', names)]),
    install('KeyProtection', 'int', String(keyPlaceOf(profile))),
    install('KeyLength', 'int', String(profile.keyLength)),
    install('HashAlgorithm', 'chr', 'SHA-2'),
    install('CAThumbprint', 'chr', profile.caThumbprint.toUpperCase()),
    install('ValidPeriod', 'chr', periods[profile.certificateValidityPeriodScale]),
    install('ValidPeriodUnits', 'int', String(profile.certificateValidityPeriodValue)),
    { verb: 'Exec', path: `${base}/Install/Enroll` },
  ];
}

function pfxNodes(profile: ExportedIdentity, deviceId: string): NodeValue[] {
  const base = installationOf(profile, deviceId);
  const place =
    (profile.keyLength ?? 0) > TPM_KEY_BITS_MAX
      ? keyPlaces.useSoftwareKsp
      : keyPlaces.useTpmKspOtherwiseUseSoftwareKsp;
  if (profile.password === undefined)
    throw new PkiError(
      'profile_unresolvable',
      `${profile.profileId}: Windows asks nobody for the password of a PFX; it must be in the file`,
    );
  const node = (name: string, format: string, data: string): NodeValue => ({
    verb: 'Add',
    path: `${base}/${name}`,
    format,
    data,
  });
  return [
    node('KeyLocation', 'int', String(place)),
    node('PFXCertPassword', 'chr', profile.password),
    // 0: in the clear. Only the MDM itself can encrypt it to the device's certificate.
    node('PFXCertPasswordEncryptionType', 'int', '0'),
    node('PFXKeyExportable', 'bool', 'false'),
    node('PFXCertBlob', 'chr', Buffer.from(profile.pfx).toString('base64')),
  ];
}

/** The node of the certificate: always the same for the same profile on the same device. */
function installationOf(
  { kind, profileId, certificateType, certificateStore }: ExportedScepProfile | ExportedIdentity,
  deviceId: string,
): string {
  const store = certificateStore ?? (certificateType === 'user' ? 'user' : 'machine');
  const root = store === 'user' ? './User' : './Device';
  const csp = kind === 'scep' ? 'SCEP' : 'PFXCertInstall';
  return `${root}/Vendor/MSFT/ClientCertificateInstall/${csp}/${stableUuid(deviceId, profileId)}`;
}

function keyPlaceOf({ profileId, keyStorageProvider, keyLength }: ExportedScepProfile): number {
  // Value 4 wants the name of the container, which Windows Hello for Business chose on the device itself.
  if (keyStorageProvider === 'usePassportForWorkKspOtherwiseFail')
    throw new PkiError(
      'profile_unresolvable',
      `${profileId}: only the MDM that set up Windows Hello for Business can name its container`,
    );
  if (keyLength <= TPM_KEY_BITS_MAX) return keyPlaces[keyStorageProvider];
  if (keyStorageProvider === 'useTpmKspOtherwiseFail')
    throw new PkiError('profile_unresolvable', `${profileId}: a TPM has no keys of ${keyLength} bits`);
  return keyPlaces.useSoftwareKsp;
}

/** Windows' own text form of a name: in the order of the encoding, and a value that needs it in quotation marks. */
function x500String(name: Name): string {
  const quoted = (value: string) =>
    /^\s|\s$|[",=+;<>#\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
  return name.rdns
    .map((rdn) =>
      rdn.map(({ oid: type, value }) => `${keywords.get(type) ?? type}=${quoted(value)}`).join('+'),
    )
    .join(',');
}

function alternativeNames({ profileId, subjectAltName }: ExportedScepProfile): string {
  return subjectAltName
    .map(({ type, value }) => {
      const kind = alternativeNameTypes[type];
      // Nothing in the CSP's form escapes its two separators: such a name would become two.
      if (kind === undefined || /[;+]/.test(value))
        throw new PkiError(
          'profile_unresolvable',
          `${profileId}: Windows cannot be told of ${type} “${value}”`,
        );
      return `${kind}+${value}`;
    })
    .join(';');
}

// --- XML ------------------------------------------------------------------------------------------------------------

function takeId(ids: { next: number }): string {
  const id = String(ids.next);
  ids.next += 1;
  return id;
}

function command({ verb, path, format, data }: NodeValue, ids: { next: number }): string {
  const target = element('Target', element('LocURI', escaped(path)));
  const meta =
    format === undefined ? '' : element('Meta', `<Format xmlns="syncml:metinf">${escaped(format)}</Format>`);
  const value = data === undefined ? '' : element('Data', escaped(data));
  return element(verb, element('CmdID', takeId(ids)) + element('Item', target + meta + value));
}

/** `content` is XML already. */
function element(name: string, content: string): string {
  return `<${name}>${content}</${name}>`;
}

function escaped(text: string): string {
  return xmlText(text, 'the profile')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}
