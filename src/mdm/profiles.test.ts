import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  certificates,
  deviceScepProfile,
  intermediateProfile,
  rootProfile,
} from '../../test/support/mdm-fixture.ts';
import { nameFromString } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { Device } from './device.ts';
import { needsNewCertificate, parseProfile, resolveProfile, type ScepProfile } from './profiles.ts';

const device: Device = {
  deviceId: '0a0a0a0a-1111-4222-8333-444444444444',
  azureADDeviceId: '0b0b0b0b-1111-4222-8333-444444444444',
  deviceName: 'laptop-1',
  serialNumber: 'SN42',
  platform: 'windows',
  enrolledAt: new Date('2030-01-01T00:00:00Z'),
  state: 'enrolled',
};
const owned: Device = {
  ...device,
  user: {
    userId: '0c0c0c0c-1111-4222-8333-444444444444',
    userName: 'Ada Lovelace',
    userPrincipalName: 'ada@example.com',
    emailAddress: 'ada.l@example.com',
    onPremisesSecurityIdentifier: 'S-1-5-21-1111111111-2222222222-3333333333-1104',
  },
};

function scep(changes: Record<string, unknown> = {}): ScepProfile {
  const profile = parseProfile({ ...deviceScepProfile, ...changes });
  return profile.kind === 'scep' ? profile : assert.fail();
}

const uri = (name: string) => [{ sanType: 'universalResourceIdentifier', name }];
const refused = (code: string, field: RegExp) => (thrown: unknown) =>
  thrown instanceof PkiError && thrown.code === code && field.test(thrown.message);

const leaf = Buffer.from(certificates.signer.raw).toString('base64');

const importedPfxProfile = {
  kind: 'importedPfx',
  profileId: 'smime',
  displayName: 'S/MIME',
  intendedPurpose: 'smimeEncryption',
  rootCertificate: 'root',
} as const;

const invalid: readonly (readonly [name: string, value: unknown, field: RegExp])[] = [
  ['nothing', undefined, /./],
  ['null', null, /./],
  [
    'an unknown kind',
    { ...rootProfile, kind: 'wifi' },
    /^kind: one of trustedCertificate, scep, pkcs, importedPfx$/,
  ],
  ['an unknown field', { ...deviceScepProfile, ndesUrl: 'x' }, /ndesUrl/],
  ['a purpose of its own', { ...importedPfxProfile, intendedPurpose: 'mail' }, /^intendedPurpose: /],
  [
    'an imported PFX for no purpose',
    { ...importedPfxProfile, intendedPurpose: undefined },
    /^intendedPurpose: /,
  ],
  [
    'an imported PFX with a subject',
    { ...importedPfxProfile, subjectNameFormat: 'CN=x' },
    /subjectNameFormat/,
  ],
  [
    'an imported PFX under no root',
    { ...importedPfxProfile, rootCertificate: undefined },
    /^rootCertificate: /,
  ],
  ['a profileId with a path in it', { ...rootProfile, profileId: '../root' }, /profileId/],
  [
    'a certificate that is none',
    { ...rootProfile, trustedRootCertificate: 'AAAA' },
    /trustedRootCertificate/,
  ],
  ['an end entity as trusted root', { ...rootProfile, trustedRootCertificate: leaf }, /not a CA/],
  [
    'an intermediate in the root store',
    { ...intermediateProfile, destinationStore: 'computerCertStoreRoot' },
    /intermediate/,
  ],
  ['a 1024-bit key', { ...deviceScepProfile, keySize: 1024 }, /keySize/],
  ['SHA-1', { ...deviceScepProfile, hashAlgorithm: 'sha1' }, /hashAlgorithm/],
  ['no purpose', { ...deviceScepProfile, extendedKeyUsages: [] }, /extendedKeyUsages/],
  [
    'a purpose that is no identifier',
    { ...deviceScepProfile, extendedKeyUsages: [{ name: 'x', objectIdentifier: 'clientAuth' }] },
    /extendedKeyUsages/,
  ],
  ['no key usage', { ...deviceScepProfile, keyUsage: [] }, /keyUsage/],
  ['a CA’s key usage', { ...deviceScepProfile, keyUsage: ['keyCertSign'] }, /keyUsage/],
  [
    'more than 24 months',
    { ...deviceScepProfile, certificateValidityPeriodValue: 25, certificateValidityPeriodScale: 'months' },
    /certificateValidityPeriodValue/,
  ],
  ['no SCEP URL', { ...deviceScepProfile, scepServerUrls: [] }, /scepServerUrls/],
  ['an ftp URL', { ...deviceScepProfile, scepServerUrls: ['ftp://scep.example.com/'] }, /scepServerUrls/],
  [
    'a SCEP URL twice',
    { ...deviceScepProfile, scepServerUrls: ['https://a.example/x', 'https://a.example/x'] },
    /scepServerUrls: .*twice/,
  ],
  [
    'a key that cannot sign, for client authentication',
    { ...deviceScepProfile, keyUsage: ['keyEncipherment'] },
    /keyUsage: .*digitalSignature/,
  ],
  [
    'a threshold that leaves hours',
    {
      ...deviceScepProfile,
      certificateValidityPeriodValue: 30,
      certificateValidityPeriodScale: 'days',
      renewalThresholdPercentage: 1,
    },
    /renewalThresholdPercentage: .*less than a day/,
  ],
  [
    'http for Android',
    { ...deviceScepProfile, platform: 'android', scepServerUrls: ['http://scep.example.com/'] },
    /scepServerUrls: Android/,
  ],
  [
    'Windows Hello without Windows',
    { ...deviceScepProfile, keyStorageProvider: 'usePassportForWorkKspOtherwiseFail' },
    /keyStorageProvider: .*platform windows/,
  ],
  [
    'Windows Hello for a device',
    {
      ...deviceScepProfile,
      platform: 'windows',
      keyStorageProvider: 'usePassportForWorkKspOtherwiseFail',
    },
    /keyStorageProvider: .*certificateType user/,
  ],
  [
    '4096 bits in a TPM',
    {
      ...deviceScepProfile,
      platform: 'windows',
      keySize: 4096,
      keyStorageProvider: 'useTpmKspOtherwiseFail',
    },
    /keySize: .*TPM/,
  ],
  [
    'a device certificate in a user’s store',
    { ...deviceScepProfile, certificateStore: 'user' },
    /certificateStore/,
  ],
  [
    'two stores on a Mac',
    { ...deviceScepProfile, platform: 'macOS', certificateStore: 'machine' },
    /certificateStore: only Windows/,
  ],
  [
    'a user’s intermediate store on a phone',
    { ...intermediateProfile, platform: 'iOS', destinationStore: 'userCertStoreIntermediate' },
    /destinationStore/,
  ],
  [
    'a domain name on a Mac',
    { ...deviceScepProfile, platform: 'macOS', subjectNameFormat: 'CN={{FullyQualifiedDomainName}}' },
    /FullyQualifiedDomainName.* macOS/,
  ],
  [
    'an IMEI on Windows',
    { ...deviceScepProfile, platform: 'windows', subjectNameFormat: 'CN={{IMEI}}' },
    /IMEI.* windows/,
  ],
  [
    'a distinguished name inside another',
    {
      ...deviceScepProfile,
      certificateType: 'user',
      subjectNameFormat: 'CN={{OnPrem_Distinguished_Name}}',
    },
    /OnPrem_Distinguished_Name.*alone/,
  ],
  ['a threshold of 100', { ...deviceScepProfile, renewalThresholdPercentage: 100 }, /renewalThreshold/],
  ['an unknown variable', { ...deviceScepProfile, subjectNameFormat: 'CN={{Devicename}}' }, /Devicename/],
  [
    'a variable gone wrong',
    { ...deviceScepProfile, subjectNameFormat: 'CN={DeviceId}}' },
    /subjectNameFormat/,
  ],
  ['a backslash', { ...deviceScepProfile, subjectNameFormat: 'CN=a\\,b' }, /subjectNameFormat/],
  ['a name that is none', { ...deviceScepProfile, subjectNameFormat: '{{DeviceId}}' }, /subject/],
  ['an unknown attribute', { ...deviceScepProfile, subjectNameFormat: 'XX={{DeviceId}}' }, /subject/],
  [
    'a user’s variable in a device certificate',
    { ...deviceScepProfile, subjectNameFormat: 'CN={{UserPrincipalName}}' },
    /UserPrincipalName/,
  ],
  [
    'the SID in a subject',
    {
      ...deviceScepProfile,
      certificateType: 'user',
      subjectNameFormat: 'CN={{OnPremisesSecurityIdentifier}}',
    },
    /OnPremisesSecurityIdentifier/,
  ],
  [
    'the SID beside other text',
    {
      ...deviceScepProfile,
      certificateType: 'user',
      customSubjectAlternativeNames: uri('tag:x:{{OnPremisesSecurityIdentifier}}'),
    },
    /OnPremisesSecurityIdentifier/,
  ],
  [
    'a DNS name that can be none',
    {
      ...deviceScepProfile,
      customSubjectAlternativeNames: [{ sanType: 'domainNameService', name: '{{DeviceName}}..example' }],
    },
    /DNS/,
  ],
];

for (const [name, value, field] of invalid) {
  test(`parseProfile refuses ${name}`, () => {
    assert.throws(() => parseProfile(value), refused('profile_invalid', field));
  });
}

test('parseProfile takes what Intune’s console takes, with its defaults', () => {
  assert.deepEqual(parseProfile(rootProfile), rootProfile);
  assert.deepEqual(parseProfile(intermediateProfile), intermediateProfile);
  assert.deepEqual(scep(), {
    ...deviceScepProfile,
    hashAlgorithm: 'sha2',
    renewalThresholdPercentage: 20,
    keyStorageProvider: 'useTpmKspOtherwiseUseSoftwareKsp',
  });
  assert.equal(
    scep({ certificateValidityPeriodValue: 24, certificateValidityPeriodScale: 'months' }).kind,
    'scep',
  );
});

const unresolvable: readonly (readonly [name: string, changes: Record<string, unknown>, device: Device])[] = [
  ['a user certificate without a user', { certificateType: 'user' }, device],
  [
    'a user without this value',
    { certificateType: 'user', subjectNameFormat: 'CN={{EmailAddress}}' },
    { ...device, user: { userId: 'x', userPrincipalName: 'ada@example.com' } },
  ],
  ['a value that is never known', { subjectNameFormat: 'CN={{IMEI}}' }, device],
  ['an empty value', { subjectNameFormat: 'CN={{SerialNumber}}' }, { ...device, serialNumber: '' }],
  ['a device name that is no DNS label', {}, { ...device, deviceName: 'my laptop' }],
  ['a device name that adds a domain', {}, { ...device, deviceName: 'dc1.example.com,' }],
  [
    'a SID that is none',
    { certificateType: 'user', customSubjectAlternativeNames: uri('{{OnPremisesSecurityIdentifier}}') },
    { ...device, user: { userId: 'x', userPrincipalName: 'a@b', onPremisesSecurityIdentifier: 'S-1-5-x' } },
  ],
];

for (const [name, changes, target] of unresolvable) {
  test(`resolveProfile refuses ${name}`, () => {
    assert.throws(() => resolveProfile(scep(changes), target), refused('profile_unresolvable', /./));
  });
}

test('resolveProfile puts in the device’s values', () => {
  assert.deepEqual(resolveProfile(scep(), device), {
    subject: `CN=${device.deviceId},OU=laptop-1,O=Test`,
    subjectAltName: [
      { type: 'uniformResourceIdentifier', value: `IntuneDeviceId://${device.deviceId}` },
      { type: 'dNSName', value: 'laptop-1.devices.example.com' },
    ],
    keyUsage: ['digitalSignature', 'keyEncipherment'],
    extKeyUsage: ['1.3.6.1.5.5.7.3.2'],
    keyLength: 2048,
  });
});

const subjects: readonly (readonly [format: string, subject: string])[] = [
  ['CN={{DeviceId}}', `CN=${device.deviceId}`],
  ['CN={{AAD_Device_ID}}', `CN=${device.azureADDeviceId}`],
  ['CN={{AzureADDeviceId}}', `CN=${device.azureADDeviceId}`],
  ['CN={{SerialNumber}}', 'CN=SN42'],
  ['CN={{SERIALNUMBER}}', 'CN=SN42'],
  ['CN={{Device_Serial}}', 'CN=SN42'],
  ['CN={{DeviceName}}-{{SerialNumber}},O=A B,C=DE', 'CN=laptop-1-SN42,O=A B,C=DE'],
  ['E={{EmailAddress}},CN={{UserName}}', 'E=ada.l@example.com,CN=Ada Lovelace'],
  ['CN="Doe, Jane",O=Test', 'CN=Doe\\, Jane,O=Test'],
];
for (const [format, subject] of subjects) {
  test(`resolveProfile: ${format}`, () => {
    const resolved = resolveProfile(scep({ certificateType: 'user', subjectNameFormat: format }), owned);
    assert.equal(resolved.subject, subject);
  });
}

test('resolveProfile: the strong mapping of KB5014754', () => {
  const profile = scep({
    certificateType: 'user',
    customSubjectAlternativeNames: uri('{{OnPremisesSecurityIdentifier}}'),
  });
  assert.deepEqual(resolveProfile(profile, owned).subjectAltName, [
    {
      type: 'uniformResourceIdentifier',
      value: 'tag:microsoft.com,2022-09-14:sid:S-1-5-21-1111111111-2222222222-3333333333-1104',
    },
  ]);
});

test('resolveProfile: no device name adds an attribute, a path or a name', () => {
  const profile = scep({
    subjectNameFormat: 'CN={{DeviceName}},O=Test',
    customSubjectAlternativeNames: uri('https://example.com/{{DeviceName}}/x'),
  });
  const hostile = fc.string({
    unit: fc.constantFrom(...'aA0,+="\\;<># /?:@%{}é'),
    minLength: 1,
    maxLength: 20,
  });
  fc.assert(
    fc.property(fc.oneof(hostile, fc.constant('a,CN=admin'), fc.constant('a+O=Evil')), (deviceName) => {
      const resolved = resolveProfile(profile, { ...device, deviceName });
      const name = nameFromString(resolved.subject);
      assert.deepEqual(
        name.rdns.map((rdn) => rdn.map(({ value }) => value)),
        [['Test'], [deviceName]],
      );
      assert.equal(resolved.subjectAltName.length, 1);
      const { pathname, hash, search } = new URL(resolved.subjectAltName[0]?.value ?? '');
      assert.deepEqual([pathname.split('/').length, hash, search], [3, '', '']);
    }),
  );
});

test('needsNewCertificate: for what stands in the certificate, not for what stands around it', () => {
  const base = scep();
  for (const changes of [
    { displayName: 'Other' },
    { renewalThresholdPercentage: 30 },
    { scepServerUrls: ['https://b.example'] },
  ]) {
    assert.equal(needsNewCertificate(base, scep(changes)), false, JSON.stringify(changes));
  }
  for (const changes of [
    { subjectNameFormat: 'CN={{DeviceId}}' },
    { customSubjectAlternativeNames: [] },
    { certificateValidityPeriodValue: 2 },
    { extendedKeyUsages: [{ name: 'any', objectIdentifier: '1.3.6.1.5.5.7.3.4' }] },
    { keyUsage: ['digitalSignature'] },
    { keySize: 4096 },
  ]) {
    assert.equal(needsNewCertificate(base, scep(changes)), true, JSON.stringify(changes));
  }
});

const resolvedSubjects: readonly (readonly [format: string, changes: object, subject: string])[] = [
  ['CN={{IMEI}},OU={{MEID}}', { platform: 'iOS' }, 'CN=123456789012345,OU=A0000000000001'],
  ['CN={{WiFiMacAddress}}', {}, 'CN=00:11:22:33:44:55'],
  ['CN={{FullyQualifiedDomainName}}', { platform: 'windows' }, 'CN=l1.corp.example.com'],
  ['CN={{OnPremisesSamAccountName}}', { certificateType: 'user' }, 'CN=ada'],
  [
    '{{OnPrem_Distinguished_Name}}',
    { certificateType: 'user' },
    'CN=Lovelace\\, Ada,OU=Staff,DC=example,DC=com',
  ],
];
for (const [subjectNameFormat, changes, subject] of resolvedSubjects) {
  test(`${subjectNameFormat} is the directory’s value`, () => {
    const described: Device = {
      ...owned,
      user: {
        ...(owned.user ?? assert.fail()),
        onPremisesSamAccountName: 'ada',
        onPremisesDistinguishedName: 'CN=Lovelace\\, Ada,OU=Staff,DC=example,DC=com',
      },
      attributes: {
        imei: '123456789012345',
        meid: 'A0000000000001',
        wifiMacAddress: '00:11:22:33:44:55',
        fullyQualifiedDomainName: 'l1.corp.example.com',
      },
    };
    assert.equal(resolveProfile(scep({ subjectNameFormat, ...changes }), described).subject, subject);
    assert.throws(
      () => resolveProfile(scep({ subjectNameFormat, ...changes }), owned),
      refused('profile_unresolvable', /has no value/),
    );
  });
}

test('the SID is the user’s in a user certificate, and the computer account’s in a device certificate', () => {
  const customSubjectAlternativeNames = uri('{{OnPremisesSecurityIdentifier}}');
  const joined = { ...owned, attributes: { onPremisesSecurityIdentifier: 'S-1-5-21-9-9-9-1001' } };
  const sid = (certificateType: 'user' | 'device') =>
    resolveProfile(scep({ certificateType, customSubjectAlternativeNames }), joined).subjectAltName[0]?.value;
  assert.equal(sid('device'), 'tag:microsoft.com,2022-09-14:sid:S-1-5-21-9-9-9-1001');
  assert.equal(
    sid('user'),
    'tag:microsoft.com,2022-09-14:sid:S-1-5-21-1111111111-2222222222-3333333333-1104',
  );
  assert.throws(
    () => resolveProfile(scep({ customSubjectAlternativeNames }), owned),
    refused('profile_unresolvable', /has no value/),
  );
});

test('an imported PFX for another purpose is another certificate', () => {
  const profile = parseProfile(importedPfxProfile);
  const changed = (changes: object) =>
    needsNewCertificate(profile, parseProfile({ ...importedPfxProfile, ...changes }));
  assert.equal(changed({ intendedPurpose: 'smimeSigning' }), true);
  assert.equal(changed({ displayName: 'Mail', rootCertificate: 'other' }), false);
});
