/** What the MDM sends to devices: profiles for trusted certificates, SCEP, PKCS and imported PFX. */
import { z } from 'zod';
import {
  basicConstraintsOf,
  type Certificate,
  type GeneralName,
  type KeyUsage,
  nameFromString,
  nameToString,
  parseCertificate,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { type Device, type DeviceUser, type Platform, platforms } from './device.ts';

const profileId = z.string().regex(/^[A-Za-z0-9-]{1,64}$/, 'letters, digits and hyphens, at most 64');
const displayName = z.string().min(1).max(200);
/** The kind of device that the profile is made for; it targets no other. Absent: any kind. */
const platform = z.enum(platforms).optional();

const trustedCertificateProfile = z
  .strictObject({
    kind: z.literal('trustedCertificate'),
    profileId,
    displayName,
    platform,
    /** Base64 of the DER of one CA certificate. */
    trustedRootCertificate: z.base64().max(64 * 1024),
    /** Where the device puts it. A root goes into a root store, an intermediate never does. */
    destinationStore: z.enum([
      'computerCertStoreRoot',
      'computerCertStoreIntermediate',
      'userCertStoreIntermediate',
    ]),
  })
  .refine(
    (profile) =>
      profile.destinationStore !== 'userCertStoreIntermediate' ||
      (profile.platform ?? 'windows') === 'windows',
    { path: ['destinationStore'], message: 'only Windows has a store for the user' },
  );

/** Puts one CA certificate on the device. A two-tier PKI takes two: the root and the intermediate. */
export type TrustedCertificateProfile = z.infer<typeof trustedCertificateProfile>;

const subjectAlternativeName = z.strictObject({
  sanType: z.enum(['domainNameService', 'emailAddress', 'userPrincipalName', 'universalResourceIdentifier']),
  /** Text with variables. */
  name: z.string().min(1).max(1024),
});

const scepFields = z.strictObject({
  kind: z.literal('scep'),
  profileId,
  displayName,
  platform,
  /** Whose certificate it is. Variables that name the user work in `user` profiles alone. */
  certificateType: z.enum(['device', 'user']),
  /** `CN={{DeviceId}},O=Example`: RFC 4514 text with variables. */
  subjectNameFormat: z.string().min(1).max(1024),
  /** Graph permits 500; a certificate with more than 100 names is of no use. */
  customSubjectAlternativeNames: z.array(subjectAlternativeName).max(100).default([]),
  keyUsage: z
    .array(z.enum(['digitalSignature', 'keyEncipherment']))
    .min(1)
    .refine((usages) => new Set(usages).size === usages.length, 'names a usage twice'),
  /** Bits of the RSA modulus. Intune also offers 1024, which is refused everywhere by now. */
  keySize: z.union([z.literal(2048), z.literal(4096)], '2048 or 4096'),
  /** SHA-256 and up. Intune also offers `sha1`, which is not offered here. */
  hashAlgorithm: z.literal('sha2').default('sha2'),
  extendedKeyUsages: z
    .array(
      z.strictObject({
        name: z.string().max(200),
        objectIdentifier: z
          .string()
          .regex(/^[0-2](\.(0|[1-9]\d{0,15})){1,20}$/, 'a dotted object identifier'),
      }),
    )
    .min(1)
    .max(50)
    .refine(
      (usages) => new Set(usages.map((usage) => usage.objectIdentifier)).size === usages.length,
      'names a purpose twice',
    ),
  certificateValidityPeriodValue: z.int().min(1),
  certificateValidityPeriodScale: z.enum(['days', 'months', 'years']),
  /** Per cent of the lifetime that is left when the device renews. */
  renewalThresholdPercentage: z.int().min(1).max(99).default(20),
  keyStorageProvider: z
    .enum([
      'useTpmKspOtherwiseUseSoftwareKsp',
      'useTpmKspOtherwiseFail',
      'usePassportForWorkKspOtherwiseFail',
      'useSoftwareKsp',
    ])
    .default('useTpmKspOtherwiseUseSoftwareKsp'),
  /** Whose store the certificate goes to, on Windows; that of `certificateType` if absent. */
  certificateStore: z.enum(['user', 'machine']).optional(),
  /** The device goes through them in an order of its own until one answers. */
  scepServerUrls: z
    .array(z.url({ protocol: /^https?$/ }).max(1024))
    .min(1, 'a SCEP profile needs the URL of a SCEP server')
    .max(20)
    .refine((urls) => new Set(urls).size === urls.length, 'names a URL twice'),
  /** profileId of the trusted-certificate profile whose certificate the device must find behind the URL. */
  rootCertificate: profileId,
});

const scepProfile = scepFields.superRefine((profile, context) => {
  for (const { field, why } of contradictionsIn(profile)) {
    context.addIssue({ code: 'custom', path: [field], message: why });
  }
});

/** Lets the device get a certificate by SCEP. Field names and words are those of Intune's Graph resource. */
export type ScepProfile = z.infer<typeof scepProfile>;

/** id-kp-clientAuth, RFC 5280 §4.2.1.12. */
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';
/** Devices check in once in eight hours; a threshold that leaves less than a day would be missed by one that is off at night. */
const RENEWAL_WINDOW_DAYS_MIN = 1;

/** Fields that cannot both be meant, each with what is wrong; what one field alone shows is in the schema. */
function* contradictionsIn(
  profile: z.infer<typeof scepFields>,
): Generator<{ readonly field: keyof ScepProfile; readonly why: string }> {
  const days = validityDays(profile);
  if (days > VALIDITY_DAYS_MAX) {
    yield { field: 'certificateValidityPeriodValue', why: 'more than 24 months' };
  }
  const window = (days * profile.renewalThresholdPercentage) / 100;
  if (window < RENEWAL_WINDOW_DAYS_MIN) {
    yield {
      field: 'renewalThresholdPercentage',
      why: `${profile.renewalThresholdPercentage} % of this validity is less than a day: a device would miss it`,
    };
  }
  const purposes = profile.extendedKeyUsages.map((usage) => usage.objectIdentifier);
  // TLS 1.3 (RFC 8446 §4.4.2.2) and every EAP-TLS client sign; a key that only encrypts cannot authenticate.
  if (purposes.includes(CLIENT_AUTH) && !profile.keyUsage.includes('digitalSignature')) {
    yield {
      field: 'keyUsage',
      why: 'key usage and purposes disagree: Client Authentication needs digitalSignature',
    };
  }
  yield* contradictionsOfPlatform(profile);
  const wanted = profile.certificateType === 'user' ? 'user' : 'machine';
  if (profile.certificateStore === 'user' && wanted === 'machine') {
    yield { field: 'certificateStore', why: 'a device certificate does not belong into the store of a user' };
  }
}

function* contradictionsOfPlatform(
  profile: z.infer<typeof scepFields>,
): Generator<{ readonly field: keyof ScepProfile; readonly why: string }> {
  const { platform: kind, keyStorageProvider, keySize } = profile;
  if (kind === 'android' && profile.scepServerUrls.some((url) => !url.startsWith('https:'))) {
    yield { field: 'scepServerUrls', why: 'Android devices take https alone' };
  }
  if (keyStorageProvider === 'usePassportForWorkKspOtherwiseFail') {
    if (kind !== 'windows') {
      yield { field: 'keyStorageProvider', why: 'Windows Hello for Business needs platform windows' };
    }
    if (profile.certificateType !== 'user') {
      yield { field: 'keyStorageProvider', why: 'Windows Hello for Business needs certificateType user' };
    }
    if (keySize !== 2048) {
      yield { field: 'keySize', why: 'Windows Hello for Business has keys of 2048 bits alone' };
    }
  }
  if (kind === 'windows' && keySize === 4096 && keyStorageProvider === 'useTpmKspOtherwiseFail') {
    yield { field: 'keySize', why: 'a TPM has no keys of 4096 bits: take useSoftwareKsp, or 2048' };
  }
  if (profile.certificateStore !== undefined && kind !== undefined && kind !== 'windows') {
    yield { field: 'certificateStore', why: 'only Windows has a store for the machine and one for the user' };
  }
}

const pkcsProfile = z.strictObject({
  kind: z.literal('pkcs'),
  profileId,
  displayName,
  platform,
  certificateType: scepFields.shape.certificateType,
  subjectNameFormat: scepFields.shape.subjectNameFormat,
  customSubjectAlternativeNames: scepFields.shape.customSubjectAlternativeNames,
  keyUsage: scepFields.shape.keyUsage,
  /** Intune leaves it to the template; the connector makes a key of this many bits. */
  keySize: scepFields.shape.keySize.default(2048),
  extendedKeyUsages: scepFields.shape.extendedKeyUsages,
  renewalThresholdPercentage: scepFields.shape.renewalThresholdPercentage,
  certificateStore: scepFields.shape.certificateStore,
  /** Host name of the CA, as Intune has it; for people alone. */
  certificationAuthority: z.string().max(253).optional(),
  /** Name of the issuing CA in the connector's configuration. */
  certificationAuthorityName: z.string().min(1).max(100),
  /** Name of the template there. It says how long the certificate lives. */
  certificateTemplateName: z.string().min(1).max(100),
  /** profileId of the trusted-certificate profile that the certificate must lead through. */
  rootCertificate: profileId,
});

/**
 * Gives the device a key and a certificate that a connector has made for it. Field names and words are those of Intune's
 * Graph resource.
 */
export type PkcsProfile = z.infer<typeof pkcsProfile>;

/** What Graph calls the uses of an imported PFX (`userPfxIntendedPurpose`). */
export const intendedPurposes = ['unassigned', 'smimeEncryption', 'smimeSigning', 'vpn', 'wifi'] as const;

/** One of `intendedPurposes`. */
export type IntendedPurpose = (typeof intendedPurposes)[number];

const importedPfxProfile = z.strictObject({
  kind: z.literal('importedPfx'),
  profileId,
  displayName,
  platform,
  /** The device gets that PFX of its user which was imported for this purpose. */
  intendedPurpose: z.enum(intendedPurposes),
  /** As in a PKCS profile. Intune has no such field: its devices take whatever was imported. */
  rootCertificate: profileId,
});

/** Gives the device a key and a certificate that an administrator has imported for its user. */
export type ImportedPfxProfile = z.infer<typeof importedPfxProfile>;

/** A profile whose certificate is made out for the device or its user: it says what is to stand in it. */
export type CertificateProfile = ScepProfile | PkcsProfile;

/** A profile that brings a certificate with its key, whichever way. */
export type IdentityProfile = CertificateProfile | ImportedPfxProfile;

/** A profile of any kind. */
export type Profile = TrustedCertificateProfile | IdentityProfile;

const schemas = {
  trustedCertificate: trustedCertificateProfile,
  scep: scepProfile,
  pkcs: pkcsProfile,
  importedPfx: importedPfxProfile,
} as const satisfies Record<Profile['kind'], z.ZodType>;

/** Intune's own ceiling: 24 months, counted generously in days. */
const VALIDITY_DAYS_MAX = 732;
const DAYS = { days: 1, months: 30.5, years: 366 } as const;

function validityDays(
  profile: Pick<ScepProfile, 'certificateValidityPeriodValue' | 'certificateValidityPeriodScale'>,
): number {
  return profile.certificateValidityPeriodValue * DAYS[profile.certificateValidityPeriodScale];
}

/** About how long a certificate of this profile lives, in milliseconds: what a renewal threshold is a part of. */
export function validityMs(profile: ScepProfile): number {
  return validityDays(profile) * 24 * 60 * 60 * 1000;
}

/** An identity in a profile: those kinds of GeneralName that a profile can ask for. */
export type ProfileName = Extract<GeneralName, { readonly value: string }>;

/** A SCEP profile made out for one device: what its certification request must say, exactly. */
export interface ResolvedScepProfile {
  /** RFC 4514 string, as `nameToString` prints it. */
  readonly subject: string;
  readonly subjectAltName: readonly ProfileName[];
  readonly keyUsage: readonly KeyUsage[];
  /** Dotted identifiers. */
  readonly extKeyUsage: readonly string[];
  /** Bits of the RSA modulus. */
  readonly keyLength: number;
}

// --- variables ------------------------------------------------------------------------------------------------------

/** Where a variable's value comes from. */
interface Variable {
  readonly of: 'device' | 'user' | 'either';
  /** Kinds of device that have it; any if absent. */
  readonly platforms?: readonly Platform[];
  readonly value: (device: Device, certificateType: ScepProfile['certificateType']) => string | undefined;
}

const imei: Variable = {
  of: 'device',
  platforms: ['iOS', 'android'],
  value: (device) => device.attributes?.imei,
};
const ofDevice = (value: (device: Device) => string | undefined): Variable => ({ of: 'device', value });
const ofUser = (value: (user: DeviceUser) => string | undefined): Variable => ({
  of: 'user',
  value: ({ user }) => (user === undefined ? undefined : value(user)),
});

/**
 * Intune's variables, in its spellings.
 *
 * Trust: `DeviceName` and `SerialNumber` are what the device said of itself. A certificate that must prove which device
 * this is uses `DeviceId` or `AAD_Device_ID`. The rest is the administrator's word, or the directory's.
 */
const variables: ReadonlyMap<string, Variable> = new Map<string, Variable>([
  ['DeviceId', ofDevice((device) => device.deviceId)],
  ['AAD_Device_ID', ofDevice((device) => device.azureADDeviceId)],
  ['AzureADDeviceId', ofDevice((device) => device.azureADDeviceId)],
  ['DeviceName', ofDevice((device) => device.deviceName)],
  ['SerialNumber', ofDevice((device) => device.serialNumber)],
  ['SERIALNUMBER', ofDevice((device) => device.serialNumber)],
  ['Device_Serial', ofDevice((device) => device.serialNumber)],
  ['Device_IMEI', imei],
  ['IMEI', imei],
  ['IMEINumber', imei],
  ['MEID', { ...imei, value: (device) => device.attributes?.meid }],
  ['WiFiMacAddress', ofDevice((device) => device.attributes?.wifiMacAddress)],
  [
    'FullyQualifiedDomainName',
    {
      of: 'device',
      platforms: ['windows'],
      value: (device) => device.attributes?.fullyQualifiedDomainName,
    },
  ],
  ['UserName', ofUser((user) => user.userName)],
  ['UserPrincipalName', ofUser((user) => user.userPrincipalName)],
  ['EmailAddress', ofUser((user) => user.emailAddress)],
  ['OnPrem_Distinguished_Name', ofUser((user) => user.onPremisesDistinguishedName)],
  ['OnPremisesSamAccountName', ofUser((user) => user.onPremisesSamAccountName)],
  [
    'OnPremisesSecurityIdentifier',
    {
      of: 'either',
      value: ({ user, attributes }, certificateType) =>
        (certificateType === 'user' ? user : attributes)?.onPremisesSecurityIdentifier,
    },
  ],
]);

/** The variable that stands for a whole URI, KB5014754's strong mapping, and has no place anywhere else. */
const SECURITY_IDENTIFIER = 'OnPremisesSecurityIdentifier';
/** The variable that stands for a whole subject. */
const DISTINGUISHED_NAME = 'OnPrem_Distinguished_Name';

/** Splits `CN={{DeviceId}},O=x` into literals and variable names, in turn; literals stand at even places. */
function splitFormat(format: string): string[] {
  return format.split(/\{\{([^{}]*)\}\}/);
}

/** Whom a certificate is made out for. */
interface Owner {
  readonly device: Device;
  readonly certificateType: ScepProfile['certificateType'];
}

/** Puts the device's values in; `encode` makes each fit its place, so that a value can never add a part of its own. */
function substitute(format: string, owner: Owner, encode: (value: string) => string): string {
  const { device, certificateType } = owner;
  return splitFormat(format)
    .map((part, index) => {
      if (index % 2 === 0) return part;
      const value = variables.get(part)?.value(device, certificateType);
      if (value === undefined || value === '') {
        throw new PkiError('profile_unresolvable', `{{${part}}} has no value for device ${device.deviceId}`);
      }
      return encode(value);
    })
    .join('');
}

/** RFC 4514 §2.4, and spaces at either end: the whole value is one attribute value or a part of one. */
function escapeRdnValue(value: string): string {
  return value
    .replaceAll(/[\\",+;<>#=]/g, '\\$&')
    .replaceAll(/^ +| +$/g, (spaces) => '\\ '.repeat(spaces.length));
}

/**
 * Makes a SCEP profile out for a device.
 *
 * @throws PkiError `profile_unresolvable` if a variable has no value, or one that does not fit its place.
 */
export function resolveProfile(profile: CertificateProfile, device: Device): ResolvedScepProfile {
  if (profile.certificateType === 'user' && device.user === undefined) {
    throw new PkiError('profile_unresolvable', `device ${device.deviceId} has no user`);
  }
  const owner: Owner = { device, certificateType: profile.certificateType };
  // The directory's distinguished name is a whole subject; every other value is one attribute or a part of one.
  const encode = profile.subjectNameFormat === `{{${DISTINGUISHED_NAME}}}` ? asIs : escapeRdnValue;
  let subject: string;
  try {
    subject = nameToString(nameFromString(substitute(profile.subjectNameFormat, owner, encode)));
  } catch (cause) {
    if (cause instanceof PkiError && cause.code === 'name_malformed') {
      throw new PkiError('profile_unresolvable', `subjectNameFormat: ${cause.message}`, { cause });
    }
    throw cause;
  }
  return {
    subject,
    subjectAltName: profile.customSubjectAlternativeNames.map((san) => resolveName(san, owner)),
    keyUsage: profile.keyUsage,
    extKeyUsage: profile.extendedKeyUsages.map((usage) => usage.objectIdentifier),
    keyLength: profile.keySize,
  };
}

const asIs = (value: string) => value;

function resolveName(san: ScepProfile['customSubjectAlternativeNames'][number], owner: Owner): ProfileName {
  switch (san.sanType) {
    case 'domainNameService':
      return {
        type: 'dNSName',
        value: fitting(
          substitute(san.name, owner, asIs),
          /^(?!.{254})([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$/i,
          'a DNS name',
        ),
      };
    case 'emailAddress':
      return {
        type: 'rfc822Name',
        value: fitting(
          substitute(san.name, owner, asIs),
          /^[!#-'*+\--9=?A-Z^-~]{1,64}@[a-z0-9.-]{1,253}$/i,
          'an e-mail address',
        ),
      };
    case 'userPrincipalName':
      return {
        type: 'userPrincipalName',
        value: fitting(
          substitute(san.name, owner, asIs),
          /^[^@\s\p{C}]{1,256}@[^@\s\p{C}]{1,256}$/u,
          'a user principal name',
        ),
      };
    case 'universalResourceIdentifier':
      return { type: 'uniformResourceIdentifier', value: resolveUri(san.name, owner) };
  }
}

function resolveUri(format: string, owner: Owner): string {
  if (format === `{{${SECURITY_IDENTIFIER}}}`) {
    const identifier = fitting(substitute(format, owner, asIs), /^S-1-\d{1,15}(-\d{1,10}){1,15}$/, 'a SID');
    return `tag:microsoft.com,2022-09-14:sid:${identifier}`;
  }
  // Values are percent-encoded, so that a device's name cannot add a path or another scheme.
  return fitting(
    substitute(format, owner, encodeURIComponent),
    /^[a-z][a-z0-9+.-]*:[\w\-.~:/?#[\]@!$&'()*+,;=%]+$/i,
    'a URI',
  );
}

function fitting(value: string, pattern: RegExp, what: string): string {
  if (!pattern.test(value)) throw new PkiError('profile_unresolvable', `“${value}” is not ${what}`);
  return value;
}

// --- validation -----------------------------------------------------------------------------------------------------

/**
 * Reads a profile. Formats and certificates are tried out, so that what is accepted here can only fail later for want of
 * a value.
 *
 * @throws PkiError `profile_invalid` naming the field.
 */
export function parseProfile(value: unknown): Profile {
  const kind = (value as { readonly kind?: unknown } | null)?.kind;
  const known = Object.entries(schemas).find(([name]) => name === kind);
  if (known === undefined)
    throw new PkiError('profile_invalid', `kind: one of ${Object.keys(schemas).join(', ')}`);
  const parsed = known[1].safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const why = (issue?.message ?? 'not valid').replace(
      /^Invalid input: expected (\w+), received undefined$/,
      'is missing',
    );
    throw new PkiError('profile_invalid', `${issue?.path.join('.') || 'profile'}: ${why}`);
  }
  const profile = parsed.data;
  if (profile.kind === 'trustedCertificate') trustedCertificateOf(profile);
  else if (profile.kind !== 'importedPfx') checkFormats(profile);
  return profile;
}

/**
 * The certificate of a trusted-certificate profile.
 *
 * @throws PkiError `profile_invalid` if it is no CA certificate or of the wrong kind for its store.
 */
export function trustedCertificateOf(profile: TrustedCertificateProfile): Certificate {
  const invalid = (why: string, cause?: unknown) =>
    new PkiError('profile_invalid', `trustedRootCertificate: ${why}`, { cause });
  let certificate: Certificate;
  try {
    certificate = parseCertificate(Buffer.from(profile.trustedRootCertificate, 'base64'));
  } catch (cause) {
    throw invalid('not a certificate', cause);
  }
  if (basicConstraintsOf(certificate)?.ca !== true) throw invalid('not a CA certificate');
  const selfIssued = Buffer.from(certificate.subject.raw).equals(certificate.issuer.raw);
  // An intermediate in a root store makes Windows and IIS refuse client certificates (HTTP 403.16).
  if (profile.destinationStore === 'computerCertStoreRoot' && !selfIssued) {
    throw invalid('an intermediate does not belong into computerCertStoreRoot');
  }
  return certificate;
}

/** A device that has a value for everything, to try formats on. */
const sampleDevice: Device = {
  deviceId: '00000000-0000-4000-8000-000000000001',
  azureADDeviceId: '00000000-0000-4000-8000-000000000002',
  deviceName: 'sample',
  serialNumber: 'SAMPLE1',
  platform: 'windows',
  enrolledAt: new Date(0),
  state: 'enrolled',
  user: {
    userId: '00000000-0000-4000-8000-000000000003',
    userName: 'sample',
    userPrincipalName: 'sample@example.com',
    emailAddress: 'sample@example.com',
    onPremisesSecurityIdentifier: 'S-1-5-21-1-2-3-4',
    onPremisesDistinguishedName: 'CN=sample,DC=example,DC=com',
    onPremisesSamAccountName: 'sample',
  },
  attributes: {
    imei: '000000000000000',
    meid: '00000000000000',
    wifiMacAddress: '00:00:00:00:00:00',
    fullyQualifiedDomainName: 'sample.example.com',
    onPremisesSecurityIdentifier: 'S-1-5-21-1-2-3-5',
  },
};

function checkFormats(profile: CertificateProfile): void {
  const formats = [
    { field: 'subjectNameFormat', format: profile.subjectNameFormat, place: 'subject' },
    ...profile.customSubjectAlternativeNames.map((san, index) => ({
      field: `customSubjectAlternativeNames.${index}.name`,
      format: san.name,
      place: san.sanType,
    })),
  ];
  for (const { field, format, place } of formats) checkFormat(profile, field, format, place);
  try {
    resolveProfile(profile, sampleDevice);
  } catch (cause) {
    if (cause instanceof PkiError && cause.kind !== 'bug') {
      throw new PkiError('profile_invalid', `subject or alternative names: ${cause.message}`, { cause });
    }
    throw cause;
  }
}

function variableNames(format: string): string[] {
  return splitFormat(format).filter((_, index) => index % 2 === 1);
}

function checkFormat(profile: CertificateProfile, field: string, format: string, place: string): void {
  const invalid = (why: string) => new PkiError('profile_invalid', `${field}: ${why}`);
  const literals = splitFormat(format).filter((_, index) => index % 2 === 0);
  // Intune permits none of these as literal text of a subject; braces are always a variable gone wrong.
  if (literals.some((literal) => (place === 'subject' ? /[{}\\|;]/ : /[{}]/).test(literal))) {
    throw invalid('a literal { } \\ | or ; is not permitted');
  }
  for (const name of variableNames(format)) {
    const variable = variables.get(name);
    if (variable === undefined) throw invalid(`{{${name}}} is not a variable`);
    if (variable.of === 'user' && profile.certificateType === 'device') {
      throw invalid(`{{${name}}} needs certificateType user`);
    }
    if (profile.platform !== undefined && variable.platforms?.includes(profile.platform) === false) {
      throw invalid(`{{${name}}} does not exist on ${profile.platform}`);
    }
    if (name === DISTINGUISHED_NAME && (place !== 'subject' || format !== `{{${DISTINGUISHED_NAME}}}`)) {
      throw invalid(`{{${name}}} stands alone, as the whole subject`);
    }
    if (
      name === SECURITY_IDENTIFIER &&
      (place !== 'universalResourceIdentifier' || format !== `{{${SECURITY_IDENTIFIER}}}`)
    ) {
      throw invalid(`{{${name}}} stands alone in a universalResourceIdentifier`);
    }
  }
}

/**
 * Whether a change of profile makes certificates of the old one out of date. Intune enrols again for another subject,
 * alternative name, validity or purpose, and not for another name, threshold or URL. Key usage, key size and key storage
 * are counted in, since a certificate or key of the old kind would break the new profile.
 */
export function needsNewCertificate(before: Profile, after: Profile): boolean {
  return JSON.stringify(certificateFields(before)) !== JSON.stringify(certificateFields(after));
}

function certificateFields(profile: Profile): unknown {
  if (profile.kind === 'trustedCertificate')
    return [profile.trustedRootCertificate, profile.destinationStore];
  if (profile.kind === 'importedPfx') return [profile.intendedPurpose];
  if (profile.kind === 'pkcs') {
    const { certificateType, subjectNameFormat, customSubjectAlternativeNames, keyUsage, keySize } = profile;
    return [
      [certificateType, subjectNameFormat, customSubjectAlternativeNames, keyUsage, keySize],
      profile.extendedKeyUsages.map((usage) => usage.objectIdentifier),
      profile.certificateStore,
      profile.certificationAuthorityName,
      profile.certificateTemplateName,
    ];
  }
  // Root certificate and hash are not in it: they matter to the way of enrolling, not to what is enrolled.
  return [
    profile.certificateType,
    profile.subjectNameFormat,
    profile.customSubjectAlternativeNames,
    profile.keyUsage,
    profile.keySize,
    profile.extendedKeyUsages.map((usage) => usage.objectIdentifier),
    profile.certificateValidityPeriodValue,
    profile.certificateValidityPeriodScale,
    profile.keyStorageProvider,
    profile.certificateStore,
  ];
}
