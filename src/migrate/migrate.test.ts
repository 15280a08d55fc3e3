import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { parse as parseYaml } from 'yaml';
import { parseConfig } from '../config.ts';
import { PkiError } from '../errors.ts';
import {
  buildExpiryTable,
  buildMigrationReport,
  buildProposedConfiguration,
  decodeWindowsText,
  type NdesSettings,
  ndesSettingsOf,
  parseIssuedDump,
  parseRegistryFile,
  parseTemplateDump,
  planMigration,
} from './index.ts';

const vector = (name: string) => readFileSync(new URL(`../../test/vectors/ndes/${name}`, import.meta.url));
const textOf = (name: string) => decodeWindowsText(vector(name));
const settingsOf = (name: string) => ndesSettingsOf(parseRegistryFile(textOf(name)));
const templates = parseTemplateDump(textOf('certutil-template.txt'));
const issued = parseIssuedDump(textOf('certutil-view.txt'));
const now = new Date('2026-12-01T00:00:00Z');

function refuses(work: () => unknown, why: RegExp): void {
  assert.throws(work, (thrown) => {
    assert.ok(thrown instanceof PkiError, String(thrown));
    assert.equal(thrown.code, 'config_invalid');
    assert.match(thrown.message, why);
    return true;
  });
}

interface Proposal {
  readonly templates: Record<string, unknown>[];
  readonly endpoints: { name: string; paths: string[]; template: string; validators: object[] }[];
}

/** Plans, and lets the configuration's own parser judge. */
function planOf(settings: NdesSettings, dumps = templates) {
  const plan = planMigration(settings, dumps, issued, now);
  const yaml = buildProposedConfiguration(plan);
  const config = parseConfig(yaml, '/nowhere').server ?? assert.fail('no server');
  const { server } = parseYaml(yaml) as { server: Proposal };
  const notesOf = (about: string) =>
    plan.notes.filter((note) => note.about === about).map(({ kind, text }) => `${kind}: ${text}`);
  return { plan, config, server, notesOf };
}

describe('Windows text', () => {
  const utf16 = Buffer.from('a\r\nü\r\n', 'utf16le');
  for (const [name, bytes] of [
    ['UTF-16LE with a mark', Buffer.concat([Buffer.of(0xff, 0xfe), utf16])],
    ['UTF-16LE without one', utf16],
    ['UTF-8', Buffer.from('a\r\nü\r\n')],
    ['UTF-8 with a mark', Buffer.from('\u{feff}a\nü\n')],
  ] as const)
    test(name, () => assert.equal(decodeWindowsText(bytes), 'a\nü\n'));
  test('of another code page is refused', () =>
    refuses(() => decodeWindowsText(Buffer.from('a\nü\n', 'latin1')), /neither UTF-16 nor UTF-8/));
});

describe('a registry export', () => {
  test('with text, numbers, escapes and data over several lines', () => {
    const values = parseRegistryFile(textOf('intune.reg'));
    const of = (name: string) => values.find((value) => value.name === name)?.data;
    assert.equal(of('Configuration'), 'pki01.corp.contoso.example\\Contoso Issuing CA 1');
    assert.equal(of('EnforcePassword'), 1);
    assert.equal(of('PasswordVDir'), 'CertSrv/mscep_admin');
    assert.equal(of(''), 'NDES\\Policy "module"');
  });
  test('with every kind of data', () => {
    const head = 'Windows Registry Editor Version 5.00\n\n[HKEY_LOCAL_MACHINE\\X]\n';
    const data = (text: string) => parseRegistryFile(`${head}${text}\n`).map((value) => value.data);
    assert.deepEqual(data('"a\\"b"="c\\\\d"'), ['c\\d']);
    assert.deepEqual(data('"a"=dword:ffffffff'), [0xffff_ffff]);
    assert.deepEqual(data('"a"=hex:01,02,\\\n  03'), [Buffer.of(1, 2, 3)]);
    assert.deepEqual(data('"a"=hex(7):61,00,00,00,62,00,00,00,00,00'), [['a', 'b']]);
    assert.deepEqual(data('"a"=-'), []);
    assert.deepEqual(data('; nothing'), []);
  });
  const head = 'Windows Registry Editor Version 5.00\n';
  for (const [name, text, why] of [
    ['another file', 'hello', /not a registry export/],
    ['nothing', '', /not a registry export/],
    ['a value outside of a key', `${head}"a"=dword:1`, /line 2: a value outside/],
    ['a line that is nothing', `${head}[X]\nhello`, /line 3: neither/],
    ['half a string', `${head}[X]\n"a"="b`, /line 3: data/],
    ['a number that is too long', `${head}[X]\n"a"=dword:123456789`, /line 3: data/],
    ['odd hexadecimal', `${head}[X]\n"a"=hex:1`, /line 3: data/],
    ['data that does not end', `${head}[X]\n"a"=hex:01,\\`, /^$|data|neither/],
  ] as const)
    test(`refuses ${name}`, () => {
      if (name === 'data that does not end')
        assert.deepEqual(parseRegistryFile(text)[0]?.data, Buffer.of(1), 'the file ended');
      else refuses(() => parseRegistryFile(text), why);
    });
});

describe('the settings of NDES', () => {
  test('with Intune’s policy module', () => {
    const settings = settingsOf('intune.reg');
    assert.equal(settings.policyModule, 'NDESPolicy');
    assert.equal(settings.challenge, 'single');
    assert.deepEqual(new Set(Object.values(settings.templates)), new Set(['ContosoDeviceSCEP']));
    assert.deepEqual(settings.unknown, [
      'HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Cryptography\\MSCEP\\HiddenSetting',
    ]);
  });
  test('are NDES’s defaults where nothing stands', () => {
    const key = 'HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Cryptography\\MSCEP';
    const settings = ndesSettingsOf([{ key, name: 'UseSinglePassword', data: 1 }]);
    assert.deepEqual(settings, {
      templates: {
        signature: 'IPSECIntermediateOffline',
        encryption: 'IPSECIntermediateOffline',
        generalPurpose: 'IPSECIntermediateOffline',
      },
      challenge: 'shared',
      passwordMax: 5,
      passwordValidityMinutes: 60,
      passwordLength: 8,
      passwordPath: 'CertSrv/mscep_admin',
      unknown: [],
    });
    refuses(
      () => ndesSettingsOf([{ key, name: 'PasswordMax', data: 'five' }]),
      /PasswordMax is not a number/,
    );
    refuses(
      () => ndesSettingsOf([{ key, name: 'SignatureTemplate', data: 1 }]),
      /SignatureTemplate is not text/,
    );
    refuses(() => ndesSettingsOf([{ key: `${key}2`, name: 'x', data: 1 }]), /no value of NDES/);
  });
});

describe('a dump of templates', () => {
  test('reads as it is shown', () => {
    const [device, ipsec, signature] = templates;
    assert.deepEqual(device, {
      commonName: 'ContosoDeviceSCEP',
      friendlyName: 'Contoso Device (SCEP)',
      oid: '1.3.6.1.4.1.311.21.8.1111111.2222222.3333333.4444444.5555555.77.8888888.9999999',
      schemaVersion: 2,
      majorVersion: 100,
      minorVersion: 12,
      extKeyUsage: ['1.3.6.1.5.5.7.3.2', '1.3.6.1.4.1.311.20.2.1'],
      keyUsageBits: 0xa0,
      keyBitsMin: 2048,
      raSignatures: 0,
      enrollmentFlags: 2,
      subjectNameFlags: 1,
      privateKeyFlags: 0x101_0010,
      generalFlags: 0x2_0241,
      validity: '2 Years',
      renewal: '6 Weeks',
    });
    assert.equal(ipsec?.keyBitsMin, 1024);
    assert.equal(signature?.keyAlgorithm, 'ECDSA_P256');
    assert.equal(signature?.subjectNameFlags, 0x4a00_0000);
  });
  test('refuses what is none', () => {
    refuses(() => parseTemplateDump('CertUtil: -Template command FAILED'), /no template/);
    refuses(() => parseTemplateDump('  Template[0]:\n  TemplatePropFriendlyName = x\n'), /without/);
  });
});

describe('a view of issued certificates', () => {
  test('as text, in American', () => {
    assert.deepEqual(
      issued.map(({ requestID, disposition }) => [requestID, disposition]),
      [
        [17, 20],
        [18, 20],
        [19, 20],
        [20, 21],
        [1, 20],
      ],
    );
    assert.deepEqual(issued[1], {
      requestID: 18,
      requester: 'CONTOSO\\svc-ndes',
      commonName: '=laptop-18',
      serialNumber: '6100000012aabbccddeeff0011000000000012',
      template: '1.3.6.1.4.1.311.21.8.1111111.2222222.3333333.4444444.5555555.77.8888888.9999999',
      notAfter: new Date('2027-12-03T13:05:00Z'),
      disposition: 20,
    });
    assert.equal(issued[2]?.notAfter.toISOString(), '2028-06-20T00:00:00.000Z');
  });
  test('as CSV, in German', () => {
    const rows = parseIssuedDump(textOf('certutil-view.csv'));
    assert.deepEqual(
      rows.map(({ commonName, notAfter }) => [commonName, notAfter.toISOString()]),
      [
        ['laptop-17', '2028-01-15T09:30:00.000Z'],
        ['the "second", laptop', '2027-12-03T13:05:00.000Z'],
      ],
    );
  });
  const csv = (date: string, header = 'RequestID,NotAfter,CertificateTemplate') => `${header}\n1,${date},X\n`;
  for (const [name, date, order, want] of [
    ['ISO', '2027-02-03 04:05', undefined, '2027-02-03T04:05:00.000Z'],
    ['with points', '03.02.2027 04:05', undefined, '2027-02-03T04:05:00.000Z'],
    ['midnight', '2/3/2027 12:05 AM', undefined, '2027-02-03T00:05:00.000Z'],
    ['noon', '2/3/2027 12:05 PM', undefined, '2027-02-03T12:05:00.000Z'],
    ['as it is said', '03/02/2027 04:05', 'dmy', '2027-02-03T04:05:00.000Z'],
    ['without a time', '02/03/27', 'mdy', '2027-02-03T00:00:00.000Z'],
  ] as const)
    test(`dates: ${name}`, () =>
      assert.equal(parseIssuedDump(csv(date), order)[0]?.notAfter.toISOString(), want));
  for (const [name, text, why] of [
    ['nothing', '', /no certificate/],
    ['a header alone', 'RequestID,NotAfter,CertificateTemplate\n', /no certificate/],
    ['no date of expiry', csv('1', 'RequestID,Foo,CertificateTemplate'), /no column notafter/],
    ['a date of two readings', csv('03/02/2027 04:05'), /two ways/],
    ['a date that there is not', csv('31.02.2027 04:05'), /is no date/],
    ['no date at all', csv('15.01.2027').replace('15.01.2027', 'soon'), /two ways|no date/],
    ['a number that is none', csv('15.01.2027').replace('1,15', 'x,15'), /no number/],
  ] as const)
    test(`refuses ${name}`, () => refuses(() => parseIssuedDump(text), why));
});

describe('the proposal', () => {
  test('for Intune: one endpoint at NDES’s URL, and what is lost is said', () => {
    const { plan, config, server, notesOf } = planOf(settingsOf('intune.reg'));
    assert.deepEqual(
      server.endpoints.map(({ name, paths, template }) => [name, paths[0], template]),
      [['ndes', '/certsrv/mscep/mscep.dll', 'contosodevicescep']],
    );
    assert.deepEqual(Object.keys(server.endpoints[0]?.validators[0] ?? {}), ['intune']);
    assert.equal(config.issuers[0]?.name, 'contoso-issuing-ca-1');
    const [template] = server.templates;
    assert.deepEqual(template?.extKeyUsage, ['1.3.6.1.5.5.7.3.2']);
    assert.deepEqual(template?.keyUsage, ['digitalSignature', 'keyEncipherment']);
    assert.equal(template?.validity, '730d');
    assert.equal(template?.renewalPeriod, '42d');
    assert.equal(template?.approval, undefined);
    assert.partialDeepStrictEqual(template, { templateInformation: { majorVersion: 100, minorVersion: 12 } });
    const notes = notesOf('template ContosoDeviceSCEP').join('\n');
    assert.match(notes, /notCarried: the purpose Certificate Request Agent/);
    assert.match(notes, /notCarried: exportable keys/);
    assert.match(notes, /notCarried: approval by a certificate manager/);
    assert.match(notesOf('NDES').join('\n'), /todo: the policy module NDESPolicy.*\n.*HiddenSetting/);
    assert.deepEqual(
      plan.certificates.map(({ commonName, templateName, byNdes }) => [commonName, templateName, byNdes]),
      [
        ['=laptop-18', 'ContosoDeviceSCEP', true],
        ['laptop-17', 'ContosoDeviceSCEP', true],
        ['web01.corp.contoso.example', 'WebServer', false],
      ],
    );
  });

  test('for three templates: three endpoints, NDES’s page, and weaknesses that stay behind', () => {
    const { config, server, notesOf } = planOf(settingsOf('plain.reg'));
    assert.deepEqual(
      server.endpoints.map(({ name, paths, template }) => [name, paths[0], template]),
      [
        ['ndes', '/certsrv/mscep/mscep.dll', 'ipsecintermediateoffline'],
        ['contososignature', '/scep/contososignature', 'contososignature'],
        ['contosoencryption', '/scep/contosoencryption', 'contosoencryption'],
      ],
    );
    assert.equal(config.admin?.ndesPages[0]?.path, '/certsrv/mscep_admin');
    assert.equal(config.admin?.ndesPages[0]?.challengeLifetime, 30 * 60_000);
    assert.equal(server.templates[0]?.rsaBitsMin, 2048);
    assert.match(notesOf('template IPSECIntermediateOffline').join(), /keys of 1024 bits are refused/);
    assert.deepEqual(server.templates[1]?.keyAlgorithms, ['P-256']);
    assert.deepEqual(server.templates[1]?.keyUsage, ['digitalSignature', 'keyEncipherment']);
    assert.equal(server.templates[1]?.securityIdentifier, 'never');
    assert.equal(server.templates[1]?.validity, '10h');
    const notes = notesOf('template ContosoSignature').join('\n');
    for (const lost of [
      /archival/,
      /1 signature/,
      /names come from Active Directory/,
      /“6 Wochen”/,
      /digitalSignature is added/,
    ])
      assert.match(notes, lost);
    assert.match(notesOf('template ContosoEncryption').join(), /todo: is not in the dump/);
    assert.match(notesOf('NDES').join(), /PasswordMax \(100\)/);
  });

  const base = settingsOf('plain.reg');
  for (const [name, challenge, validator] of [
    ['no password at all lets nobody in', 'none', 'manualApproval'],
    ['one password for all', 'shared', 'staticSecret'],
    ['a password each', 'single', 'oneTime'],
  ] as const)
    test(name, () => {
      const { server, notesOf } = planOf({ ...base, challenge });
      for (const endpoint of server.endpoints)
        assert.deepEqual(Object.keys(endpoint.validators[0] ?? {}), [validator]);
      if (challenge !== 'single') assert.ok(notesOf('NDES').length > 0);
    });

  const plain = templates[1] ?? assert.fail();
  for (const [name, change] of [
    ['no purpose', { extKeyUsage: [] }],
    ['any purpose', { extKeyUsage: ['2.5.29.37.0'] }],
    ['OCSP signing', { extKeyUsage: ['1.3.6.1.5.5.7.3.9'] }],
    ['a CA', { generalFlags: 0x80, keyUsageBits: 0x06 }],
    ['an algorithm of long ago', { keyAlgorithm: 'DSA' }],
    ['approval', { enrollmentFlags: 2 }],
    ['a validity of no length', { validity: '0 Years', renewal: '' }],
    [
      'a name of other letters',
      { commonName: 'IPSECIntermediateOffline', friendlyName: 'Zertifikat für “Geräte”' },
    ],
  ] as const)
    test(`a template with ${name} gives a configuration that is accepted`, () => {
      const { notesOf, server } = planOf(base, [{ ...plain, ...change }]);
      const purposes = server.templates[0]?.extKeyUsage as string[];
      assert.ok(!purposes.includes('2.5.29.37.0') && !purposes.includes('1.3.6.1.5.5.7.3.9'));
      if (name === 'approval') assert.equal(server.templates[0]?.approval, 'certificateManager');
      else if (!name.startsWith('a name')) assert.ok(notesOf('template IPSECIntermediateOffline').length > 0);
    });

  test('templates and CAs of strange names have names that configurations take', () => {
    const strange = { ...base, templates: { signature: 'Ñdes', encryption: 'ndes', generalPurpose: '证书' } };
    const { config } = planOf({ ...strange, caConfiguration: 'host\\Prüf-CA №1' });
    assert.equal(new Set(config.templates.map(({ name }) => name)).size, 3);
    assert.equal(new Set(config.endpoints.map(({ name }) => name)).size, 3);
    assert.equal(config.issuers[0]?.name, 'pruf-ca-no1');
  });
});

test('the documents say what is lost and what expires when; a name is no formula', () => {
  const { plan } = planOf(settingsOf('intune.reg'));
  const report = buildMigrationReport(plan, now);
  assert.match(report, /## What could not be carried over\n\n- \*\*template ContosoDeviceSCEP\*\*/);
  assert.match(report, /\| 2027-12 \| 1 \| 0 \|\n\| 2028-01 \| 1 \| 0 \|\n\| 2028-06 \| 0 \| 1 \|/);
  assert.match(report, /The last of NDES’s ends on 2028-01-15/);
  assert.match(report, /The last of all ends on 2028-06-20/);
  const table = buildExpiryTable(plan).split('\r\n');
  assert.equal(table[0], 'expires,common name,serial number,template,enrolled by,requester');
  assert.match(table[1] ?? '', /^2027-12-03T13:05:00\.000Z,'=laptop-18,/);
  assert.equal(table.length, 5);
  assert.match(
    buildMigrationReport({ ...plan, certificates: [], notes: [] }, now),
    /Nothing\.[\s\S]*None is valid/,
  );
});
