import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { XMLParser } from 'fast-xml-parser';
import { parse } from 'plist';
import { certificates, keys, rootProfile } from '../../../test/support/mdm-fixture.ts';
import { parseSignedData, thumbprintOf, verifySignedData } from '../../codec/index.ts';
import { PkiError } from '../../errors.ts';
import {
  buildConfigurationProfile,
  buildJsonExport,
  buildSyncml,
  type ExportedIdentity,
  type ExportedScepProfile,
  type ExportedTrustedCertificate,
  faultsOfConfigurationProfile,
  faultsOfNodes,
  type NodeValue,
  type ProfileExport,
  signConfigurationProfile,
} from './index.ts';

const device = { deviceId: 'f2b6a2f0-7d0e-4f0c-9f43-0c8f8d8a1c01', deviceName: 'laptop' };
const root: ExportedTrustedCertificate = {
  kind: 'trustedCertificate',
  profileId: 'root',
  displayName: 'Root',
  destinationStore: 'computerCertStoreRoot',
  certificate: rootProfile.trustedRootCertificate,
  thumbprint: thumbprintOf(certificates.root.raw),
};
const intermediate: ExportedTrustedCertificate = {
  ...root,
  profileId: 'intermediate',
  destinationStore: 'computerCertStoreIntermediate',
  certificate: Buffer.from(certificates.issuing.raw).toString('base64'),
  thumbprint: thumbprintOf(certificates.issuing.raw),
};
const challenge = 'A+/=<&>"\'0';
const scep: ExportedScepProfile = {
  kind: 'scep',
  profileId: 'device-certificate',
  displayName: 'Device <certificate> & more',
  certificateType: 'device',
  subject: 'CN=laptop & <Söhne>,OU=a\\,b,O=Example',
  subjectAltName: [
    { type: 'dNSName', value: 'laptop.example.com' },
    { type: 'dNSName', value: 'laptop2.example.com' },
    { type: 'userPrincipalName', value: 'ann@example.com' },
  ],
  keyUsage: ['digitalSignature', 'keyEncipherment'],
  extKeyUsage: ['1.3.6.1.5.5.7.3.2', '1.3.6.1.5.5.7.3.4'],
  keyLength: 2048,
  keyStorageProvider: 'useTpmKspOtherwiseFail',
  certificateValidityPeriodValue: 1,
  certificateValidityPeriodScale: 'years',
  renewalThresholdPercentage: 20,
  scepServerUrls: ['https://scep.example.com/scep/devices?a=1&b=2'],
  caThumbprint: intermediate.thumbprint,
  challenge,
};
const identity: ExportedIdentity = {
  kind: 'pkcs12',
  profileId: 'identity',
  displayName: 'Identity',
  certificateType: 'user',
  pfx: Uint8Array.of(0x30, 0x03, 2, 1, 3),
  password: 'p<&ss',
};
const all: ProfileExport = {
  device,
  organization: 'Example & Sons',
  profiles: [root, intermediate, scep, identity],
};

type Dictionary = Record<string, unknown>;

function configurationProfile(exported: ProfileExport): Dictionary & { PayloadContent: Dictionary[] } {
  const text = Buffer.from(buildConfigurationProfile(exported)).toString('utf8');
  return parse(text) as Dictionary & { PayloadContent: Dictionary[] };
}

function refusesUnresolvable(work: () => unknown, why: RegExp): void {
  assert.throws(work, (thrown) => {
    assert.ok(thrown instanceof PkiError);
    assert.equal(thrown.code, 'profile_unresolvable');
    assert.match(thrown.message, why);
    return true;
  });
}

describe('a configuration profile', () => {
  test('reads as what was exported, and keeps Apple’s rules', () => {
    const profile = configurationProfile(all);
    assert.deepEqual(faultsOfConfigurationProfile(profile), []);
    assert.equal(profile.PayloadScope, 'System');
    assert.equal(profile.PayloadOrganization, 'Example & Sons');
    const [first, second, third, fourth] = profile.PayloadContent;
    assert.equal(first?.PayloadType, 'com.apple.security.root');
    assert.deepEqual(Buffer.from(first?.PayloadContent as Uint8Array), Buffer.from(certificates.root.raw));
    assert.equal(second?.PayloadType, 'com.apple.security.pkcs1');
    assert.equal(third?.PayloadType, 'com.apple.security.scep');
    assert.equal(third?.PayloadDisplayName, 'Device <certificate> & more');
    const { CAFingerprint, ...inner } = (third?.PayloadContent ?? {}) as Dictionary;
    assert.equal(
      Buffer.from(CAFingerprint as Uint8Array)
        .toString('hex')
        .toUpperCase(),
      intermediate.thumbprint,
    );
    assert.deepEqual(inner, {
      URL: 'https://scep.example.com/scep/devices?a=1&b=2',
      // As it is encoded: the most significant first.
      Subject: [[['O', 'Example']], [['OU', 'a,b']], [['CN', 'laptop & <Söhne>']]],
      SubjectAltName: {
        dNSName: ['laptop.example.com', 'laptop2.example.com'],
        ntPrincipalName: 'ann@example.com',
      },
      Challenge: challenge,
      Keysize: 2048,
      'Key Type': 'RSA',
      'Key Usage': 5,
      KeyIsExtractable: false,
      AllowAllAppsAccess: false,
    });
    assert.equal(fourth?.PayloadType, 'com.apple.security.pkcs12');
    assert.equal(fourth?.Password, 'p<&ss');
    assert.deepEqual(Buffer.from(fourth?.PayloadContent as Uint8Array), Buffer.from(identity.pfx));
  });

  test('made again it replaces the one before; another device’s does not', () => {
    assert.deepEqual(configurationProfile(all), configurationProfile(all));
    const other = configurationProfile({ ...all, device: { ...device, deviceId: 'other' } });
    assert.notEqual(other.PayloadUUID, configurationProfile(all).PayloadUUID);
    assert.notEqual(
      other.PayloadContent[0]?.PayloadUUID,
      configurationProfile(all).PayloadContent[0]?.PayloadUUID,
    );
  });

  test('is the user’s if all of its certificates are', () => {
    const profile = configurationProfile({ ...all, profiles: [root, identity] });
    assert.equal(profile.PayloadScope, 'User');
  });

  test('signed it verifies, and a changed octet does not', async () => {
    const profile = buildConfigurationProfile(all);
    const signed = await signConfigurationProfile(profile, {
      certificate: certificates.signer,
      chain: [certificates.signer.raw],
      sign: keys.signer.sign,
    });
    const read = parseSignedData(signed);
    assert.deepEqual(Buffer.from(read.content ?? []), Buffer.from(profile));
    assert.deepEqual(
      read.certificates.map(({ raw }) => Buffer.from(raw)),
      [Buffer.from(certificates.signer.raw)],
    );
    assert.equal(verifySignedData(read, certificates.signer), true);
    assert.equal(verifySignedData(read, certificates.recipient), false);
    const damaged = Buffer.from(signed);
    const place = damaged.indexOf('Example &amp; Sons');
    assert.ok(place > 0);
    damaged.writeUInt8(0x45 ^ 1, place);
    assert.equal(verifySignedData(parseSignedData(damaged), certificates.signer), false);
  });

  const refused: readonly (readonly [name: string, profile: ExportedScepProfile, why: RegExp])[] = [
    ['no URL', { ...scep, scepServerUrls: [] }, /no SCEP URL/],
    ['a control character', { ...scep, displayName: 'a\u0000b' }, /XML/],
    ['half of a surrogate pair', { ...scep, challenge: '\ud800' }, /XML/],
    ['a subject that is none', { ...scep, subject: 'nothing' }, /subject/],
  ];
  for (const [name, profile, why] of refused)
    test(`refuses ${name}`, () =>
      refusesUnresolvable(() => buildConfigurationProfile({ ...all, profiles: [profile] }), why));
});

describe('Apple’s rules', () => {
  type Change = (profile: Dictionary, scepPayload: Dictionary, inner: Dictionary) => void;
  const broken: readonly (readonly [name: string, change: Change, fault: RegExp])[] = [
    ['an unknown key', (_, payload) => (payload.Nonsense = 1), /Nonsense: not a key/],
    ['an unknown key within', (_, __, inner) => (inner['Key Length'] = 2048), /Key Length: not a key/],
    ['a missing URL', (_, __, inner) => delete inner.URL, /URL: required/],
    ['a key size that there is not', (_, __, inner) => (inner.Keysize = 3072), /Keysize: one of/],
    ['a key size as text', (_, __, inner) => (inner.Keysize = '2048'), /Keysize: not of type integer/],
    ['a key usage that there is not', (_, __, inner) => (inner['Key Usage'] = 2), /Key Usage: one of/],
    [
      'a fingerprint as text',
      (_, __, inner) => (inner.CAFingerprint = 'AB'),
      /CAFingerprint: not of type data/,
    ],
    ['retries below none', (_, __, inner) => (inner.Retries = -1), /Retries: at least 0/],
    ['a flat subject', (_, __, inner) => (inner.Subject = [['CN', 'x']]), /Subject: an array/],
    ['an unknown kind of name', (_, __, inner) => (inner.SubjectAltName = { iPAddress: '::1' }), /iPAddress/],
    ['names as numbers', (_, __, inner) => (inner.SubjectAltName = { dNSName: [1] }), /dNSName: a string/],
    ['a PayloadVersion of two', (_, payload) => (payload.PayloadVersion = 2), /PayloadVersion: one of 1/],
    ['a UUID that is none', (_, payload) => (payload.PayloadUUID = '1'), /PayloadUUID: not of the form/],
    [
      'an identifier twice',
      (profile, payload) => (payload.PayloadIdentifier = profile.PayloadIdentifier),
      /already/,
    ],
    ['a type that is not known', (_, payload) => (payload.PayloadType = 'com.apple.mdm'), /not known/],
    ['a scope that there is not', (profile) => (profile.PayloadScope = 'All'), /PayloadScope: one of/],
    ['a profile without payloads', (profile) => delete profile.PayloadContent, /PayloadContent: required/],
  ];
  for (const [name, change, fault] of broken)
    test(`catch ${name}`, () => {
      const profile = configurationProfile(all);
      const payload = profile.PayloadContent[2] ?? {};
      change(profile, payload, payload.PayloadContent as Dictionary);
      assert.match(faultsOfConfigurationProfile(profile).join('\n'), fault);
    });
  test('catch what is no dictionary', () => {
    assert.equal(faultsOfConfigurationProfile([]).length, 1);
    assert.equal(faultsOfConfigurationProfile(null).length, 1);
  });
});

interface Item {
  readonly CmdID: string;
  readonly Item: {
    readonly Target: { readonly LocURI: string };
    readonly Meta?: { readonly Format: { readonly '#text': string; readonly '@_xmlns': string } };
    readonly Data?: string;
  };
}

/** The commands of a body in their order, by the eyes of another parser. */
function commandsIn(text: string): {
  readonly plain: NodeValue[];
  readonly atomic: NodeValue[][];
  ids: string[];
} {
  const reader = new XMLParser({
    ignoreAttributes: false,
    parseTagValue: false,
    trimValues: false,
    preserveOrder: false,
    isArray: (name) => ['Add', 'Atomic', 'Exec'].includes(name),
  });
  const { SyncML } = reader.parse(text) as {
    SyncML: {
      '@_xmlns': string;
      SyncBody: { Add?: Item[]; Atomic?: { CmdID: string; Add: Item[]; Exec?: Item[] }[]; Final: '' };
    };
  };
  assert.equal(SyncML['@_xmlns'], 'SYNCML:SYNCML1.2');
  assert.equal(SyncML.SyncBody.Final, '');
  const ids: string[] = [];
  const nodeOf = (verb: 'Add' | 'Exec', { CmdID, Item: item }: Item): NodeValue => {
    ids.push(CmdID);
    if (item.Meta !== undefined) assert.equal(item.Meta.Format['@_xmlns'], 'syncml:metinf');
    return {
      verb,
      path: item.Target.LocURI,
      ...(item.Meta === undefined ? {} : { format: item.Meta.Format['#text'] }),
      ...(item.Data === undefined ? {} : { data: item.Data }),
    };
  };
  const plain = (SyncML.SyncBody.Add ?? []).map((item) => nodeOf('Add', item));
  const atomic = (SyncML.SyncBody.Atomic ?? []).map((block) => {
    ids.push(block.CmdID);
    return [
      ...block.Add.map((item) => nodeOf('Add', item)),
      ...(block.Exec ?? []).map((item) => nodeOf('Exec', item)),
    ];
  });
  return { plain, atomic, ids };
}

const dataOf = (nodes: readonly NodeValue[], name: string) =>
  nodes.find(({ path }) => path.endsWith(`/${name}`))?.data;

describe('SyncML', () => {
  test('reads as what was exported, and keeps Microsoft’s rules', () => {
    const { plain, atomic, ids } = commandsIn(buildSyncml(all));
    assert.equal(new Set(ids).size, ids.length, 'a CmdID is used twice');
    assert.deepEqual(
      plain.map(({ path }) => path),
      [
        `./Device/Vendor/MSFT/RootCATrustedCertificates/Root/${root.thumbprint}/EncodedCertificate`,
        `./Device/Vendor/MSFT/RootCATrustedCertificates/CA/${intermediate.thumbprint}/EncodedCertificate`,
      ],
    );
    assert.equal(plain[0]?.data, root.certificate);
    const [scepNodes = [], pfxNodes = []] = atomic;
    assert.equal(atomic.length, 2);
    assert.deepEqual(faultsOfNodes(scepNodes), []);
    assert.deepEqual(faultsOfNodes(pfxNodes), []);
    for (const node of plain) assert.deepEqual(faultsOfNodes([node]), []);
    assert.equal(Buffer.from(dataOf(scepNodes, 'Challenge') ?? '', 'base64').toString('utf8'), challenge);
    assert.equal(dataOf(scepNodes, 'SubjectName'), 'O=Example,OU="a,b",CN="laptop & <Söhne>"');
    assert.equal(
      dataOf(scepNodes, 'SubjectAlternativeNames'),
      '3+laptop.example.com;3+laptop2.example.com;11+ann@example.com',
    );
    assert.equal(dataOf(scepNodes, 'KeyUsage'), '160');
    assert.equal(dataOf(scepNodes, 'KeyProtection'), '1');
    assert.equal(dataOf(scepNodes, 'EKUMapping'), '1.3.6.1.5.5.7.3.2+1.3.6.1.5.5.7.3.4');
    assert.equal(dataOf(scepNodes, 'CAThumbprint'), intermediate.thumbprint);
    assert.equal(dataOf(scepNodes, 'ServerURL'), 'https://scep.example.com/scep/devices?a=1&b=2');
    assert.equal(dataOf(scepNodes, 'ValidPeriod'), 'Years');
    assert.equal(scepNodes.at(-1)?.verb, 'Exec');
    assert.match(pfxNodes[0]?.path ?? '', /^\.\/User\//);
    assert.equal(dataOf(pfxNodes, 'PFXCertPassword'), 'p<&ss');
    assert.equal(pfxNodes.at(-1)?.data, Buffer.from(identity.pfx).toString('base64'));
  });

  const refused: readonly (readonly [name: string, profile: ExportedScepProfile, why: RegExp])[] = [
    ['no challenge', (({ challenge: _, ...rest }) => rest)(scep), /needs a challenge/],
    ['no URL', { ...scep, scepServerUrls: [] }, /ServerURL/],
    ['a separator in a URL', { ...scep, scepServerUrls: ['https://a/;x'] }, /ServerURL/],
    ['a thumbprint that is none', { ...scep, caThumbprint: 'AB' }, /CAThumbprint/],
    [
      'a key that Windows has not',
      { ...scep, keyLength: 3072, keyStorageProvider: 'useSoftwareKsp' },
      /KeyLength/,
    ],
    ['a key that no TPM has', { ...scep, keyLength: 4096 }, /TPM/],
    [
      'Windows Hello for Business',
      { ...scep, keyStorageProvider: 'usePassportForWorkKspOtherwiseFail' },
      /container/,
    ],
    ['no purpose', { ...scep, extKeyUsage: [] }, /EKUMapping/],
    [
      'a name with a separator',
      { ...scep, subjectAltName: [{ type: 'uniformResourceIdentifier', value: 'x:a;11+root@example.com' }] },
      /cannot be told/,
    ],
    ['a control character', { ...scep, scepServerUrls: ['https://a/\u0001'] }, /XML/],
  ];
  for (const [name, profile, why] of refused)
    test(`refuses ${name}`, () =>
      refusesUnresolvable(() => buildSyncml({ ...all, profiles: [profile] }), why));

  test('refuses a PFX whose password somebody would have to be asked for', () => {
    const { password: _, ...asked } = identity;
    refusesUnresolvable(() => buildSyncml({ ...all, profiles: [asked] }), /asks nobody/);
  });

  const places: readonly (readonly [
    name: string,
    profile: ExportedScepProfile | ExportedIdentity,
    node: string,
    value: string,
  ])[] = [
    ['a key in the TPM', { ...scep, keyLength: 2048 }, 'KeyProtection', '1'],
    [
      'a key in the TPM if there is one',
      { ...scep, keyStorageProvider: 'useTpmKspOtherwiseUseSoftwareKsp' },
      'KeyProtection',
      '2',
    ],
    [
      'a key that no TPM has',
      { ...scep, keyLength: 4096, keyStorageProvider: 'useTpmKspOtherwiseUseSoftwareKsp' },
      'KeyProtection',
      '3',
    ],
    ['a PFX', identity, 'KeyLocation', '2'],
    ['a PFX whose key no TPM has', { ...identity, keyLength: 4096 }, 'KeyLocation', '3'],
  ];
  for (const [name, profile, node, value] of places)
    test(`${name}: ${node} is ${value}`, () => {
      const [nodes = []] = commandsIn(buildSyncml({ ...all, profiles: [profile] })).atomic;
      assert.equal(dataOf(nodes, node), value);
    });

  test('a user’s certificate goes to the machine’s store if its profile says so', () => {
    const profile = { ...identity, certificateStore: 'machine' } as const;
    const [nodes = []] = commandsIn(buildSyncml({ ...all, profiles: [profile] })).atomic;
    assert.match(nodes[0]?.path ?? '', /^\.\/Device\//);
  });

  test('to replace an earlier file, the device deletes what that installed before it adds', () => {
    const text = buildSyncml(all, 'deleted');
    const deletions = [
      ...text.matchAll(/<Delete>.*?<LocURI>(.*?)<\/LocURI>.*?<\/Delete><Atomic>(.*?)<\/Atomic>/g),
    ];
    assert.equal(deletions.length, 2);
    for (const [, path = '', atomic = ''] of deletions) {
      assert.match(
        path,
        /^\.\/(Device|User)\/Vendor\/MSFT\/ClientCertificateInstall\/(SCEP|PFXCertInstall)\/[0-9A-F-]{36}$/,
      );
      assert.ok(atomic.includes(`<LocURI>${path}/`), 'it deletes something else');
    }
    assert.equal(buildSyncml(all).includes('Delete'), false);
  });

  test('trusted certificates come first, wherever they stand', () => {
    assert.equal(
      buildSyncml({ ...all, profiles: [scep, root] }).indexOf('<Add>'),
      '<SyncML xmlns="SYNCML:SYNCML1.2"><SyncBody>'.length,
    );
  });

  test('refuses a root for a user’s store', () =>
    assert.deepEqual(
      faultsOfNodes([
        {
          verb: 'Add',
          path: `./User/Vendor/MSFT/RootCATrustedCertificates/Root/${root.thumbprint}/EncodedCertificate`,
          format: 'b64',
          data: root.certificate,
        },
      ]).length,
      1,
    ));
});

describe('Microsoft’s rules', () => {
  const good = () => commandsIn(buildSyncml(all)).atomic[0] ?? [];
  const without = (nodes: NodeValue[], name: string) => nodes.filter(({ path }) => !path.endsWith(name));
  const withData = (nodes: NodeValue[], name: string, data: string) =>
    nodes.map((node) => (node.path.endsWith(name) ? { ...node, data } : node));
  const broken: readonly (readonly [
    name: string,
    nodes: (good: NodeValue[]) => NodeValue[],
    fault: RegExp,
  ])[] = [
    ['nothing', () => [], /not a node/],
    ['no Enroll', (nodes) => without(nodes, '/Enroll'), /Enroll: required/],
    ['no UniqueID', (nodes) => nodes.slice(1), /UniqueID: required/],
    ['Enroll before the end', (nodes) => [...nodes.slice(-1), ...nodes.slice(0, -1)], /must be the last/],
    ['a node twice', (nodes) => [...nodes.slice(0, 2), ...nodes.slice(1)], /twice/],
    ['a key usage without its bits', (nodes) => withData(nodes, '/KeyUsage', '1'), /KeyUsage/],
    ['too many retries', (nodes) => withData(nodes, '/KeyProtection', '5'), /KeyProtection/],
    [
      'a container without a name',
      (nodes) => withData(nodes, '/KeyProtection', '4'),
      /4 needs Install\/ContainerName/,
    ],
    [
      'an unknown node',
      (nodes) => nodes.map((node) => ({ ...node, path: node.path.replace('/KeyUsage', '/KeyUse') })),
      /not a node/,
    ],
    [
      'a wrong format',
      (nodes) => nodes.map((node) => (node.format === 'int' ? { ...node, format: 'chr' } : node)),
      /of format int/,
    ],
  ];
  for (const [name, change, fault] of broken)
    test(`catch ${name}`, () => assert.match(faultsOfNodes(change(good())).join('\n'), fault));
});

test('the JSON has all profiles, with octets as base64', () => {
  const read = JSON.parse(buildJsonExport(all)) as { form: string; version: number; profiles: Dictionary[] };
  assert.equal(read.form, 'leafgate-profiles');
  assert.equal(read.version, 1);
  assert.deepEqual(
    read.profiles.map(({ profileId }) => profileId),
    ['root', 'intermediate', 'device-certificate', 'identity'],
  );
  assert.equal(read.profiles[2]?.challenge, challenge);
  assert.equal(read.profiles[3]?.pfx, Buffer.from(identity.pfx).toString('base64'));
});
