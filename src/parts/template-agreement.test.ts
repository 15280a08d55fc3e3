import assert from 'node:assert/strict';
import { test } from 'node:test';
import { deviceScepProfile, rootProfile } from '../../test/support/mdm-fixture.ts';
import { parseProfile } from '../mdm/index.ts';
import { disagreementsOf } from './template-agreement.ts';

type Server = Parameters<typeof disagreementsOf>[1];

const server = {
  endpoints: [{ name: 'devices', paths: ['/scep/devices'], template: 'client-authentication' }],
  templates: [],
} as unknown as Server;
const withTemplate = (changes: object): Server =>
  ({
    endpoints: [{ name: 'devices', paths: ['/scep/devices'], template: 'own' }],
    templates: [{ name: 'own', extend: 'client-authentication', ...changes }],
  }) as unknown as Server;
const serverAuth = { name: 'Server Authentication', objectIdentifier: '1.3.6.1.5.5.7.3.1' };

const rows: readonly (readonly [name: string, profile: object, server: Server, fault: RegExp | undefined])[] =
  [
    [
      'a usage that the template has not',
      { keyUsage: ['digitalSignature'] },
      withTemplate({ keyUsage: ['keyEncipherment'] }),
      /^keyUsage: .*“own” disagree: it gives keyEncipherment$/,
    ],
    [
      'another purpose',
      { extendedKeyUsages: [...deviceScepProfile.extendedKeyUsages, serverAuth] },
      server,
      /^extendedKeyUsages: .*Server Authentication/,
    ],
    ['a key that is too short', {}, withTemplate({ rsaBitsMin: 3072 }), /^keySize: .*3072/],
    ['a key of the wrong kind', {}, withTemplate({ keyAlgorithms: ['P-256'] }), /^keySize: .*no RSA/],
    [
      'a longer life',
      { certificateValidityPeriodValue: 2 },
      server,
      /^certificateValidityPeriodValue: .*so long/,
    ],
    [
      'a name that is not taken',
      {},
      withTemplate({ subjectAltNameTypes: ['dNSName'] }),
      /^customSubjectAlternativeNames: .*universalResourceIdentifier/,
    ],
    ['what it gives', {}, server, undefined],
    [
      'another server',
      { scepServerUrls: ['https://scep.example.com/scep/devices2'], certificateValidityPeriodValue: 2 },
      server,
      undefined,
    ],
    [
      'an endpoint in the form of NDES',
      {
        scepServerUrls: ['https://scep.example.com/scep/devices/pkiclient.exe'],
        certificateValidityPeriodValue: 2,
      },
      server,
      /^certificateValidityPeriodValue/,
    ],
  ];
for (const [name, changes, against, fault] of rows) {
  test(`a profile that asks for ${name}: ${fault === undefined ? 'agrees' : 'disagrees'}`, () => {
    const [found, ...others] = disagreementsOf(parseProfile({ ...deviceScepProfile, ...changes }), against);
    if (fault === undefined) assert.equal(found, undefined);
    else assert.match(found ?? 'nothing', fault);
    assert.deepEqual(others, []);
  });
}

test('a trusted certificate asks for nothing', () => {
  assert.deepEqual(disagreementsOf(parseProfile(rootProfile), server), []);
});
