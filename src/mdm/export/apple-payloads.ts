/**
 * What Apple publishes about the payloads that we write: the key names, types and values of `TopLevel`,
 * `CommonPayloadKeys`, `com.apple.security.scep`, `com.apple.security.root`, `com.apple.security.pkcs1` and
 * `com.apple.security.pkcs12` in the repository apple/device-management, folder `mdm/profiles`.
 */

/** What a value must be. */
export interface ValueRule {
  readonly type: 'string' | 'integer' | 'boolean' | 'data' | 'array' | 'dictionary';
  readonly presence: 'required' | 'optional';
  readonly values?: readonly (string | number)[];
  readonly minimum?: number;
  readonly fits?: RegExp;
}

type Rules = Readonly<Record<string, ValueRule>>;

const required = (type: ValueRule['type'], more: Partial<ValueRule> = {}): ValueRule => ({
  type,
  presence: 'required',
  ...more,
});
const optional = (type: ValueRule['type'], more: Partial<ValueRule> = {}): ValueRule => ({
  type,
  presence: 'optional',
  ...more,
});

const uuid = /^[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}$/i;
const common: Rules = {
  PayloadIdentifier: required('string', { fits: /^[A-Za-z0-9.-]+$/ }),
  PayloadUUID: required('string', { fits: uuid }),
  PayloadVersion: required('integer', { values: [1] }),
  PayloadDescription: optional('string'),
  PayloadDisplayName: optional('string'),
  PayloadOrganization: optional('string'),
};
const certificate: Rules = {
  ...common,
  PayloadCertificateFileName: optional('string'),
  PayloadContent: required('data'),
};

/** The rules by PayloadType; `scep` stands for the dictionary within a SCEP payload. */
export const payloadRules = {
  Configuration: {
    ...common,
    PayloadType: required('string', { values: ['Configuration'] }),
    PayloadContent: required('array'),
    PayloadRemovalDisallowed: optional('boolean'),
    PayloadScope: optional('string', { values: ['System', 'User'] }),
  },
  'com.apple.security.root': { ...certificate, PayloadType: required('string') },
  'com.apple.security.pkcs1': { ...certificate, PayloadType: required('string') },
  'com.apple.security.pkcs12': {
    ...certificate,
    PayloadType: required('string'),
    Password: optional('string'),
    AllowAllAppsAccess: optional('boolean'),
    KeyIsExtractable: optional('boolean'),
  },
  'com.apple.security.scep': {
    ...common,
    PayloadType: required('string'),
    PayloadContent: required('dictionary'),
  },
  scep: {
    URL: required('string', { fits: /^https?:\/\// }),
    Name: optional('string'),
    Subject: optional('array'),
    Challenge: optional('string'),
    Keysize: optional('integer', { values: [1024, 2048, 4096] }),
    'Key Type': optional('string', { values: ['RSA'] }),
    'Key Usage': optional('integer', { values: [0, 1, 4, 5] }),
    CAFingerprint: optional('data'),
    Retries: optional('integer', { minimum: 0 }),
    RetryDelay: optional('integer', { minimum: 0 }),
    SubjectAltName: optional('dictionary'),
    KeyIsExtractable: optional('boolean'),
    AllowAllAppsAccess: optional('boolean'),
  },
} as const satisfies Record<string, Rules>;

const alternativeNames: readonly string[] = [
  'rfc822Name',
  'dNSName',
  'uniformResourceIdentifier',
  'ntPrincipalName',
];

/** What breaks Apple's rules in a configuration profile, as the property list reads; empty if nothing does. */
export function faultsOfConfigurationProfile(profile: unknown): string[] {
  if (!isDictionary(profile)) return ['the profile: not a dictionary'];
  const faults = faultsOf(profile, payloadRules.Configuration, 'profile');
  const payloads = Array.isArray(profile.PayloadContent) ? profile.PayloadContent : [];
  const identifiers = new Set<unknown>([profile.PayloadIdentifier]);
  const uuids = new Set<unknown>([profile.PayloadUUID]);
  for (const [index, payload] of payloads.entries()) {
    const place = `PayloadContent.${index}`;
    if (!isDictionary(payload)) {
      faults.push(`${place}: not a dictionary`);
      continue;
    }
    faults.push(...faultsOfPayload(payload, place));
    // Apple: the identifier is unique within the profile, the UUID everywhere.
    if (identifiers.has(payload.PayloadIdentifier))
      faults.push(`${place}.PayloadIdentifier: is there already`);
    if (uuids.has(payload.PayloadUUID)) faults.push(`${place}.PayloadUUID: is there already`);
    identifiers.add(payload.PayloadIdentifier);
    uuids.add(payload.PayloadUUID);
  }
  return faults;
}

function faultsOfPayload(payload: Readonly<Record<string, unknown>>, place: string): string[] {
  const type = payload.PayloadType;
  if (typeof type !== 'string' || !type.startsWith('com.apple.') || !Object.hasOwn(payloadRules, type))
    return [`${place}.PayloadType: not known here`];
  const faults = faultsOf(payload, payloadRules[type as keyof typeof payloadRules], place);
  if (type !== 'com.apple.security.scep' || !isDictionary(payload.PayloadContent)) return faults;
  const scep = payload.PayloadContent;
  const inner = `${place}.PayloadContent`;
  faults.push(...faultsOf(scep, payloadRules.scep, inner));
  if (scep.Subject !== undefined && !isSubject(scep.Subject))
    faults.push(`${inner}.Subject: an array of arrays of pairs of strings`);
  if (isDictionary(scep.SubjectAltName)) {
    for (const [key, value] of Object.entries(scep.SubjectAltName)) {
      const one = Array.isArray(value) ? value : [value];
      if (!alternativeNames.includes(key)) faults.push(`${inner}.SubjectAltName.${key}: not a key`);
      else if (one.length === 0 || !one.every((name) => typeof name === 'string'))
        faults.push(`${inner}.SubjectAltName.${key}: a string or an array of strings`);
    }
  }
  return faults;
}

function faultsOf(dictionary: Readonly<Record<string, unknown>>, rules: Rules, place: string): string[] {
  const faults = Object.keys(dictionary)
    .filter((key) => !Object.hasOwn(rules, key))
    .map((key) => `${place}.${key}: not a key`);
  for (const [key, rule] of Object.entries(rules)) {
    const value = dictionary[key];
    if (value === undefined) {
      if (rule.presence === 'required') faults.push(`${place}.${key}: required`);
    } else if (!isOfType(value, rule.type)) faults.push(`${place}.${key}: not of type ${rule.type}`);
    else if (rule.values !== undefined && !rule.values.includes(value as string | number))
      faults.push(`${place}.${key}: one of ${rule.values.join(', ')}`);
    else if (rule.minimum !== undefined && (value as number) < rule.minimum)
      faults.push(`${place}.${key}: at least ${rule.minimum}`);
    else if (rule.fits !== undefined && !rule.fits.test(value as string))
      faults.push(`${place}.${key}: not of the form ${rule.fits.source}`);
  }
  return faults;
}

function isOfType(value: unknown, type: ValueRule['type']): boolean {
  switch (type) {
    case 'string':
      return typeof value === 'string';
    case 'integer':
      return Number.isSafeInteger(value);
    case 'boolean':
      return typeof value === 'boolean';
    case 'data':
      return value instanceof Uint8Array && value.length > 0;
    case 'array':
      return Array.isArray(value);
    case 'dictionary':
      return isDictionary(value);
  }
}

function isDictionary(value: unknown): value is Readonly<Record<string, unknown>> {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof Uint8Array) &&
    !(value instanceof Date)
  );
}

function isSubject(value: unknown): boolean {
  return (
    Array.isArray(value) &&
    value.every(
      (rdn) =>
        Array.isArray(rdn) &&
        rdn.length > 0 &&
        rdn.every(
          (pair) =>
            Array.isArray(pair) && pair.length === 2 && pair.every((item) => typeof item === 'string'),
        ),
    )
  );
}
