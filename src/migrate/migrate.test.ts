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
  caSettingsOf,
  connectorSettingsOf,
  decodeWindowsText,
  type NdesInventory,
  type NdesSettings,
  ndesSettingsOf,
  parseIssuedDump,
  parseRegistryFile,
  parseTemplateDump,
  planMigration,
} from './index.ts';
import { periodDays } from './period.ts';

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
  readonly issuers: Record<string, unknown>[];
  readonly templates: Record<string, unknown>[];
  readonly endpoints: { name: string; paths: string[]; template: string; validators: object[] }[];
}

/** Plans, and lets the configuration's own parser judge. */
function planOf(settings: NdesSettings, dumps = templates, more: Partial<NdesInventory> = {}) {
  const plan = planMigration({ ndes: settings, cas: [], templates: dumps, issued, ...more }, now);
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
  test('without end is refused', () =>
    refuses(() => decodeWindowsText(new Uint8Array(128 * 1024 * 1024 + 1)), /longer than 128 MiB.*csv/));
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
    assert.equal(settings.isIntune, true);
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
      isIntune: false,
      renewsAnySubject: false,
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
  test('with the module’s name in its value, and all that real servers have beside it', () => {
    const settings = settingsOf('german.reg');
    assert.equal(settings.policyModule, 'NDESPolicy.OTA.1');
    assert.equal(settings.isIntune, true);
    assert.equal(settings.renewsAnySubject, true);
    assert.equal(settings.passwordMax, 100);
    assert.deepEqual(settings.unknown, []);
  });
  const root = 'HKLM\\SOFTWARE\\Microsoft\\Cryptography\\MSCEP';
  for (const [name, data, want, isIntune] of [
    ['an empty value of Policy is no module', '', undefined, false],
    ['a module of somebody else', 'Example.Policy.1', 'Example.Policy.1', false],
    ['a name that only begins alike', 'NDESPolicyOfOurs.1', 'NDESPolicyOfOurs.1', false],
  ] as const)
    test(name, () => {
      const settings = ndesSettingsOf([{ key: `${root}\\Modules`, name: 'Policy', data }]);
      assert.equal(settings.policyModule, want);
      assert.equal(settings.isIntune, isIntune);
    });
});

describe('the settings of the CA', () => {
  const root = 'HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\CertSvc\\Configuration';
  test('with periods, URLs in lists over several lines, and flags', () => {
    const values = parseRegistryFile(textOf('ca.reg'));
    assert.deepEqual(caSettingsOf(values), [
      {
        name: 'Contoso Issuing CA 1',
        serverDnsName: 'pki01.corp.contoso.example',
        validityDaysMax: 365,
        crlPeriodDays: 14,
        deltaCrlPeriodDays: 1,
        clockSkewMinutes: 15,
        crlUrls: [
          'ldap:///CN=Contoso Issuing CA 1,CN=pki01,CN=CDP,CN=Public Key Services,CN=Services,%6%10',
          'http://pki.contoso.example/crl/Contoso Issuing CA 1.crl',
        ],
        caIssuersUrls: [
          'ldap:///CN=Contoso Issuing CA 1,CN=AIA,CN=Public Key Services,CN=Services,%6%11',
          'http://pki.contoso.example/aia/pki01.corp.contoso.example_Contoso Issuing CA 1.crt',
        ],
        ocspUrls: ['http://ocsp.contoso.example/ocsp'],
        subjectTemplate: [
          'EMail',
          'CommonName',
          'OrganizationalUnit',
          'Organization',
          'Locality',
          'State',
          'DomainComponent',
          'Country',
          'DeviceSerialNumber',
        ],
        takesAnySubjectAltName: true,
      },
    ]);
  });
  test('of a control set by number, without deltas, with another policy module', () => {
    const key = 'HKLM\\SYSTEM\\ControlSet001\\Services\\CertSvc\\Configuration\\My CA';
    assert.deepEqual(
      caSettingsOf([
        { key, name: 'CRLDeltaPeriod', data: 'Days' },
        { key, name: 'CRLDeltaPeriodUnits', data: 0 },
        { key, name: 'CAServerName', data: '' },
        { key: `${key}\\PolicyModules`, name: 'Active', data: 'Example.Policy' },
        { key: `${key}\\PolicyModules\\Example.Policy`, name: 'EditFlags', data: 0x11014e },
      ]),
      [
        {
          name: 'My CA',
          crlUrls: [],
          caIssuersUrls: [],
          ocspUrls: [],
          takesAnySubjectAltName: false,
          policyModule: 'Example.Policy',
        },
      ],
    );
  });
  test('are none where the export has none; the key above is no CA', () => {
    assert.deepEqual(caSettingsOf(parseRegistryFile(textOf('intune.reg'))), []);
    assert.deepEqual(caSettingsOf([{ key: root, name: 'Active', data: 'x' }]), []);
  });
});

test('Intune’s connector is there if its key is', () => {
  assert.deepEqual(connectorSettingsOf(parseRegistryFile(textOf('intune-connector.reg'))), {
    writesSecurityIdentifier: true,
  });
  const key = 'HKLM\\SOFTWARE\\Microsoft\\MicrosoftIntune\\PFXCertificateConnector';
  assert.deepEqual(connectorSettingsOf([{ key, name: 'EnableSidSecurityExtension', data: 0 }]), {
    writesSecurityIdentifier: false,
  });
  assert.deepEqual(connectorSettingsOf([{ key: `${key}\\CAService`, name: 'x', data: 0 }]), {
    writesSecurityIdentifier: false,
  });
  assert.equal(connectorSettingsOf([{ key: `${key}2`, name: 'x', data: 0 }]), undefined);
  assert.equal(connectorSettingsOf(parseRegistryFile(textOf('intune.reg'))), undefined);
});

describe('periods, in the languages of Windows', () => {
  for (const [shown, want] of [
    ['2 Years', 730],
    ['1 Year', 365],
    ['3 Jahre', 1095],
    ['6 Wochen', 42],
    ['18 Monate', 540],
    ['12 Stunden', 0.5],
    ['5 Tage', 5],
    ['2 années', 730],
    ['2 ans', 730],
    ['6 semaines', 42],
    ['3 mois', 90],
    ['4 jours', 4],
    ['2 años', 730],
    ['6 días', 6],
    ['2 anni', 730],
    ['6 settimane', 42],
    ['24 ore', 1],
    ['2 anos', 730],
    ['2 jaar', 730],
    ['6 weken', 42],
    ['0 Years', undefined],
    ['101 Years', undefined],
    ['1,5 Jahre', undefined],
    ['2 Monde', undefined],
    ['Years', undefined],
    ['', undefined],
    ['2 Years ago', undefined],
  ] as const)
    test(`“${shown}”`, () => assert.equal(periodDays(shown), want));
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
      certificatePolicies: [],
      supersedes: [],
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
  const tree = '1.3.6.1.4.1.311.21.8.2222222.1111111.3333333.4444444.5555555.12';
  test('reads as it is shown in German, where only the properties’ names are English', () => {
    const [device, older, ipsec, ...others] = parseTemplateDump(textOf('certutil-template-de.txt'));
    assert.deepEqual(others, []);
    assert.deepEqual(device, {
      commonName: 'MusterGeräteSCEP',
      friendlyName: 'Muster Geräte (SCEP)',
      oid: `${tree}.1234567.7654321`,
      schemaVersion: 4,
      majorVersion: 100,
      minorVersion: 31,
      extKeyUsage: ['1.3.6.1.5.5.7.3.2', '2.5.29.37.0'],
      certificatePolicies: [`${tree}.1.401`, '1.3.6.1.4.1.99999.1.2'],
      supersedes: ['MusterGeraeteAlt', 'IPSECIntermediateOffline'],
      keyUsageBits: 0xa0,
      keyBitsMin: 1024,
      keyAlgorithm: 'RSA',
      raSignatures: 0,
      enrollmentFlags: 0x4008,
      subjectNameFlags: 1,
      privateKeyFlags: 0x506_1051,
      generalFlags: 0x2_0241,
      validity: '3 Jahre',
      renewal: '6 Wochen',
    });
    assert.deepEqual(older?.extKeyUsage, ['1.3.6.1.5.5.7.3.2'], 'of the application policies');
    assert.equal(ipsec?.schemaVersion, 1);
    assert.equal(ipsec?.generalFlags, 0x1_0251);
  });
  test('reads the objects of the directory as well', () => {
    const [signature, ipsec, ...others] = parseTemplateDump(textOf('certutil-dstemplate.txt'));
    assert.deepEqual(others, []);
    assert.deepEqual(signature, {
      commonName: 'MusterSignatur',
      friendlyName: 'Muster Signatur',
      oid: `${tree}.3333333.4444444`,
      schemaVersion: 3,
      majorVersion: 100,
      minorVersion: 2,
      extKeyUsage: ['1.3.6.1.5.5.7.3.2', '1.3.6.1.4.1.311.20.2.2'],
      certificatePolicies: ['1.3.6.1.4.1.99999.1.3'],
      supersedes: ['MusterAltA', 'MusterAltB'],
      keyUsageBits: 0x80,
      keyBitsMin: 384,
      keyAlgorithm: 'ECDSA_P384',
      raSignatures: 0,
      enrollmentFlags: 0x20,
      subjectNameFlags: 0xa600_0000,
      privateKeyFlags: 0x506_0000,
      generalFlags: 0x2_0260,
      validity: '2 Years',
      renewal: '6 Weeks',
    });
    assert.equal(ipsec?.schemaVersion, 1, 'which such objects do not say');
    assert.equal(ipsec?.keyBitsMin, 0);
    assert.equal(ipsec?.keyAlgorithm, undefined);
  });
  test('refuses what is none', () => {
    refuses(() => parseTemplateDump('CertUtil: -Template command FAILED'), /no template/);
    refuses(() => parseTemplateDump('  Template[0]:\n  TemplatePropFriendlyName = x\n'), /no template/);
    refuses(() => parseTemplateDump('  Template[0]:\n  TemplatePropCommonName = \n'), /without/);
    refuses(() => parseTemplateDump('[X]\n  cn = ""\n  pKIExpirationPeriod = "1 Years"\n'), /without cn/);
    refuses(
      () => parseTemplateDump('  TemplatePropCommonName = Short\n  TemplatePropFriendlyName = Short\n'),
      /no validity of template Short.*-v/,
    );
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
      notBefore: new Date('2025-12-03T13:05:00Z'),
      notAfter: new Date('2027-12-03T13:05:00Z'),
      disposition: 20,
    });
    assert.equal(issued[3]?.notBefore, undefined, 'the dump does not show it');
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
  test('as text in German: the schema tells the columns, whose names may have colons', () => {
    const rows = parseIssuedDump(textOf('certutil-view-de.txt'));
    assert.deepEqual(
      rows.map(({ requestID, disposition }) => [requestID, disposition]),
      [
        [5, 20],
        [6, 20],
        [120, 20],
        [121, 20],
        [122, 20],
        [123, 21],
      ],
    );
    assert.deepEqual(rows[2], {
      requestID: 120,
      requester: 'MUSTER\\svc-ndes',
      commonName: 'büro: laptop-3',
      serialNumber: '4a0000007800',
      template: '1.3.6.1.4.1.311.21.8.2222222.1111111.3333333.4444444.5555555.12.1234567.7654321',
      notBefore: new Date('2025-04-03T09:30:00Z'),
      notAfter: new Date('2027-04-03T09:30:00Z'),
      disposition: 20,
    });
    assert.equal(rows[0]?.template, 'EnrollmentAgentOffline', 'without its friendly name');
    assert.equal(rows[3]?.commonName, '', 'EMPTY');
  });
  test('as CSV with headings of another language, in the order of the documented command', () => {
    const rows = parseIssuedDump(textOf('certutil-view-de.csv'));
    assert.deepEqual(
      rows.map(({ requestID, commonName, notBefore, disposition }) => [
        requestID,
        commonName,
        notBefore?.toISOString(),
        disposition,
      ]),
      [
        [120, 'büro, laptop-3', '2025-04-03T09:30:00.000Z', 20],
        [121, '', '2026-01-12T08:00:00.000Z', 20],
      ],
    );
  });
  test('all columns and hexadecimal beside them (-v): what was issued goes before what was asked', () => {
    const row = (number: number, issuedName: string) => [
      `Row ${number}:`,
      '  Request ID: EMPTY',
      '  Request Common Name: "asked"',
      '  Issued Request ID: 0x9',
      `  Issued Common Name: ${issuedName}`,
      '0000    32 00 30 00                                        2.0.',
      '  Certificate Template: "Machine"',
      '  Certificate Effective Date: 8/17/2025 6:25 PM GMT',
      '  Certificate Expiration Date: 8/17/2026 6:25 PM GMT',
      '  Request Disposition: EMPTY',
      '',
    ];
    const rows = parseIssuedDump([...row(1, 'EMPTY'), ...row(2, '"issued"')].join('\n'));
    assert.deepEqual(rows[0], {
      requestID: 9,
      requester: '',
      commonName: 'asked',
      serialNumber: '',
      template: 'Machine',
      notBefore: new Date('2025-08-17T18:25:00Z'),
      notAfter: new Date('2026-08-17T18:25:00Z'),
    });
    assert.equal(rows[1]?.commonName, 'issued');
  });
  test('CSV: English headings count in any order, others only in the documented number', () => {
    const cells = '"20","X","15.01.2027","15.01.2026","ab","name","me","7"';
    const header =
      'Disposition,CertificateTemplate,NotAfter,NotBefore,SerialNumber,CommonName,RequesterName,RequestID';
    const [row] = parseIssuedDump(`${header}\n${cells}\n`);
    assert.equal(row?.requestID, 7);
    assert.equal(row?.serialNumber, 'ab');
    const nine = 'a1,a2,a3,a4,a5,a6,a7,a8,a9\n7,me,name,ab,15.01.2026,15.01.2027,X,20,more\n';
    refuses(() => parseIssuedDump(nine), /no column/);
  });
  test('CSV with cells over several lines', () => {
    const text =
      'RequestID,NotAfter,CertificateTemplate,Binary\n7,2027-01-15,X,"-----BEGIN\nAAAA\n-----END"\n';
    assert.equal(parseIssuedDump(`${text}8,2027-01-16,X,""\n`).length, 2);
    refuses(() => parseIssuedDump(`${text}8,2027-01-16,X\n`), /line 5: 3 cells below a heading of 4/);
  });
  const csv = (date: string, header = 'RequestID,NotAfter,CertificateTemplate') => `${header}\n1,${date},X\n`;
  for (const [name, date, order, want] of [
    ['ISO', '2027-02-03 04:05', undefined, '2027-02-03T04:05:00.000Z'],
    ['with points', '03.02.2027 04:05', undefined, '2027-02-03T04:05:00.000Z'],
    ['midnight', '2/23/2027 12:05 AM', undefined, '2027-02-23T00:05:00.000Z'],
    ['noon', '2/23/2027 12:05 PM', undefined, '2027-02-23T12:05:00.000Z'],
    ['noon in Australia', '23/02/2027 12:05 PM', undefined, '2027-02-23T12:05:00.000Z'],
    ['a narrow space', '2/23/2027 1:05\u202fPM', undefined, '2027-02-23T13:05:00.000Z'],
    ['marks of direction', '\u200e23\u200e/02\u200e/2027 13:05', undefined, '2027-02-23T13:05:00.000Z'],
    ['Hungarian', '2027. 02. 23. 13:05', undefined, '2027-02-23T13:05:00.000Z'],
    ['Dutch', '23-2-2027 13:05', undefined, '2027-02-23T13:05:00.000Z'],
    ['Finnish', '3.2.2027 13.05', undefined, '2027-02-03T13:05:00.000Z'],
    ['with seconds, in GMT', '2/23/2027 1:05 PM 10.123s GMT', undefined, '2027-02-23T13:05:00.000Z'],
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
    ['a date of two readings with a half day', csv('2/3/2027 12:05 PM'), /two ways/],
    ['a date of two readings with points in the time', csv('03/02/2027 04.05'), /two ways/],
    ['a year of another calendar', csv('15/01/2570 04:05'), /is no date/],
    ['headings of another language in another number', csv('15.01.2027', 'Eins,Zwei,Drei'), /no column/],
    ['a row without a cell', `${csv('15.01.2027')}2,15.01.2027\n`, /line 3: 2 cells below a heading of 3/],
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
    assert.equal(config.issuers[0]?.name, 'issuing', 'not the old CA’s name');
    assert.equal(config.selfTest?.every, 15 * 60_000);
    assert.match(notesOf('CA').join('\n'), /NDES asked pki01\.corp\.contoso\.example.Contoso Issuing CA 1;/);
    const [template] = server.templates;
    assert.deepEqual(template?.extKeyUsage, ['1.3.6.1.5.5.7.3.2']);
    assert.deepEqual(template?.keyUsage, ['digitalSignature', 'keyEncipherment']);
    assert.equal(template?.validity, '730d');
    assert.equal(template?.renewalPeriod, '42d');
    assert.equal(template?.approval, undefined);
    assert.partialDeepStrictEqual(template, { templateInformation: { majorVersion: 100, minorVersion: 12 } });
    const notes = notesOf('template ContosoDeviceSCEP').join('\n');
    assert.match(notes, /notCarried: the purpose 1\.3\.6\.1\.4\.1\.311\.20\.2\.1, Certificate Request Agent/);
    assert.match(notes, /notCarried: exportable keys/);
    assert.match(notes, /notCarried: approval by a certificate manager/);
    assert.match(notesOf('NDES').join('\n'), /todo: the policy module NDESPolicy has Intune judge/);
    assert.match(notesOf('NDES').join('\n'), /notCarried: the registry value .*HiddenSetting/);
    assert.match(notesOf('CA').join('\n'), /todo: its registry is not among the exports/);
    assert.deepEqual(server.endpoints[0]?.validators, [
      {
        intune: {
          tenant: 'TENANT',
          appId: 'APP-ID',
          secret: 'file:intune.secret',
          revocation: { every: '5m' },
        },
      },
    ]);
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
      /“6 Wochen” is no shorter than the validity: a tenth of it, 1h/,
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

  test('for a CA whose settings are known: what it does to certificates, and what is dangerous in it', () => {
    const cas = caSettingsOf(parseRegistryFile(textOf('ca.reg')));
    const { plan, server, notesOf } = planOf(settingsOf('intune.reg'), templates, { cas });
    assert.equal(server.templates[0]?.validity, '365d');
    assert.equal(server.templates[0]?.backdate, '15m');
    assert.match(
      notesOf('template ContosoDeviceSCEP').join('\n'),
      /changed: it says 730d, and the CA’s ValidityPeriod has always shortened that to 365d/,
    );
    assert.equal(server.issuers[0]?.crlPeriod, '14d');
    assert.equal(server.issuers[0]?.deltaCrlPeriod, '1d');
    const notes = notesOf('CA').join('\n');
    assert.match(notes, /notCarried: EDITF_ATTRIBUTESUBJECTALTNAME2 is set/);
    assert.match(notes, /todo: SubjectTemplate is EMail, .*DeviceSerialNumber/);
    assert.doesNotMatch(notes, /not among the exports/);
    assert.equal(plan.remainder.crlUrls.length, 2);
    const report = buildMigrationReport(plan, now);
    for (const url of [
      ...plan.remainder.crlUrls,
      ...plan.remainder.caIssuersUrls,
      ...plan.remainder.ocspUrls,
    ])
      assert.ok(report.includes(`\`${url}\``), url);
  });

  const [ca = assert.fail()] = caSettingsOf(parseRegistryFile(textOf('ca.reg')));
  for (const [name, change, want] of [
    [
      'of another name',
      { name: 'Other CA' },
      /the exports have “Other CA”: export the registry of the right/,
    ],
    [
      'with another policy module',
      { policyModule: 'Example.Policy' },
      /policy module Example\.Policy is not/,
    ],
    ['with deltas that live as long as CRLs', { deltaCrlPeriodDays: 14 }, /without deltas/],
  ] as const)
    test(`for a CA ${name}`, () => {
      const { notesOf, server } = planOf(settingsOf('intune.reg'), templates, {
        cas: [{ ...ca, ...change }],
      });
      assert.match(notesOf('CA').join('\n'), want);
      assert.equal(
        server.issuers[0]?.deltaCrlPeriod,
        name === 'with another policy module' ? '1d' : undefined,
      );
    });
  test('for a CA that NDES does not name: the only one of the exports', () => {
    const { caConfiguration: _, ...settings } = settingsOf('intune.reg');
    const { notesOf, server } = planOf(settings, templates, { cas: [ca] });
    assert.equal(server.issuers[0]?.crlPeriod, '14d');
    assert.match(notesOf('CA').join('\n'), /todo: NDES’s registry does not name the CA/);
    assert.match(notesOf('CA').join('\n'), /changed: NDES asked Contoso Issuing CA 1;/);
  });
  test('for the usual subjects says nothing about them, nor of the usual clock', () => {
    const usual = { ...ca, subjectTemplate: ca.subjectTemplate?.slice(0, 8) ?? [], clockSkewMinutes: 10 };
    const { notesOf, server } = planOf(settingsOf('intune.reg'), templates, { cas: [usual] });
    assert.doesNotMatch(notesOf('CA').join('\n'), /SubjectTemplate/);
    assert.equal(server.templates[0]?.backdate, undefined);
  });

  test('from German exports: every oddity of the template is named, older templates are counted', () => {
    const { plan, server, notesOf } = planOf(
      settingsOf('german.reg'),
      parseTemplateDump(textOf('certutil-template-de.txt')),
      {
        issued: parseIssuedDump(textOf('certutil-view-de.txt')),
        connector: connectorSettingsOf(parseRegistryFile(textOf('intune-connector.reg'))),
      },
    );
    assert.equal(server.endpoints.length, 1, 'names of templates that differ in case alone are one');
    const [template] = server.templates;
    assert.equal(template?.name, 'mustergeratescep');
    assert.equal(template?.validity, '1095d');
    assert.equal(template?.renewalPeriod, '42d');
    assert.deepEqual(template?.extKeyUsage, ['1.3.6.1.5.5.7.3.2']);
    const notes = notesOf('template MusterGeräteSCEP').join('\n');
    for (const said of [
      /notCarried: the purpose 2\.5\.29\.37\.0, any purpose/,
      /notCarried: archival/,
      /notCarried: exportable keys/,
      /notCarried: key attestation/,
      /notCarried: RSASSA-PSS/,
      /notCarried: publishing certificates in Active Directory/,
      /notCarried: issuance policies \([0-9.]+\.1\.401, 1\.3\.6\.1\.4\.1\.99999\.1\.2\)/,
      /changed: keys of 1024 bits are refused/,
      /changed: its certificates do not say where their CRL is/,
      /kept: it supersedes MusterGeraeteAlt, IPSECIntermediateOffline/,
      /kept: validity 1095d, renewal in the last 42d; keys rsa from 2048 bits/,
    ])
      assert.match(notes, said);
    assert.doesNotMatch(notes, /Active Directory, by which|version 1/);
    assert.match(notesOf('NDES').join('\n'), /DisableRenewalSubjectNameMatch/);
    const connector = notesOf('Intune connector').join('\n');
    assert.match(connector, /notCarried: PKCS profiles/);
    assert.match(connector, /changed: EnableSidSecurityExtension/);
    assert.doesNotMatch(connector, /not the one that/);
    assert.deepEqual(
      plan.certificates.map(({ requestID, templateName, byNdes }) => [requestID, templateName, byNdes]),
      [
        [121, 'MusterGeraeteAlt', true],
        [5, 'EnrollmentAgentOffline', false],
        [6, 'CEPEncryption', false],
        [120, 'MusterGeräteSCEP', true],
        [122, 'Machine', false],
      ],
    );
    assert.deepEqual(plan.certificates[3]?.renewalDue, new Date('2026-11-08T09:30:00Z'));
    assert.deepEqual(
      plan.remainder.raCertificates.map(({ requestID }) => requestID),
      [5, 6],
    );
    const report = buildMigrationReport(plan, now);
    assert.match(report, /CEPEncryption, 4a00000006aa, ends on \*\*2027-02-02\*\*/);
    // One was due before the day of the plan: it counts for that day's month.
    assert.match(report, /\| 2026-12 \| 2 \| 0 \| 0 \|\n\| 2027-01 \| 0 \| 1 \| 0 \|/);
  });

  test('of an elliptic curve, from a directory’s objects: its bits are not RSA’s', () => {
    const dumps = parseTemplateDump(textOf('certutil-dstemplate.txt'));
    const names = {
      signature: 'mustersignatur',
      encryption: 'MusterSignatur',
      generalPurpose: 'MusterSignatur',
    };
    const { server, notesOf } = planOf({ ...settingsOf('plain.reg'), templates: names }, dumps);
    assert.deepEqual(server.templates[0]?.keyAlgorithms, ['P-384']);
    assert.equal(server.templates[0]?.rsaBitsMin, 2048);
    assert.deepEqual(server.templates[0]?.keyUsage, ['digitalSignature']);
    const notes = notesOf('template MusterSignatur').join('\n');
    assert.doesNotMatch(notes, /bits are refused/);
    assert.match(notes, /changed: its names come from Active Directory/);
  });

  test('of version 1, superseded by another: both are said', () => {
    const { server, notesOf } = planOf(
      {
        ...settingsOf('plain.reg'),
        templates: { signature: 'x', encryption: 'x', generalPurpose: 'IPSECIntermediateOffline' },
      },
      parseTemplateDump(textOf('certutil-template-de.txt')),
    );
    const notes = notesOf('template IPSECIntermediateOffline').join('\n');
    assert.match(notes, /notCarried: it is of version 1/);
    assert.match(notes, /notCarried: exportable keys/);
    assert.match(notes, /todo: MusterGeräteSCEP supersedes it/);
    assert.doesNotMatch(
      notes,
      /Active Directory, by which/,
      'its general flags say that the request names it',
    );
    assert.equal(server.templates[0]?.templateInformation, undefined);
  });

  test('a connector without its policy module is another NDES’s', () => {
    const { notesOf } = planOf(settingsOf('plain.reg'), templates, {
      connector: { writesSecurityIdentifier: false },
    });
    const notes = notesOf('Intune connector').join('\n');
    assert.match(notes, /todo: .*not the one that Intune’s devices ask/);
    assert.doesNotMatch(notes, /EnableSid/);
  });

  test('a policy module of somebody else points to the webhook', () => {
    const settings = { ...settingsOf('plain.reg'), policyModule: 'Example.Policy.1', isIntune: false };
    assert.match(planOf(settings).notesOf('NDES').join('\n'), /Example\.Policy\.1 is not Intune’s.*webhook/);
  });

  for (const [name, change, said, unsaid] of [
    ['no size of keys', { keyBitsMin: 0 }, /todo: the dump does not show the size/, /are refused/],
    ['a size that is enough', { keyBitsMin: 3072 }, /kept: .*rsa from 3072 bits/, /are refused|the size/],
    [
      'names of the directory, whatever the general flags of version 2 say',
      { schemaVersion: 2, subjectNameFlags: 0x4a00_0000, generalFlags: 0x2_0241 },
      /changed: its names come from Active Directory/,
      /version 1/,
    ],
    ['key attestation required', { privateKeyFlags: 0x2000 }, /notCarried: key attestation/, /PSS/],
  ] as const)
    test(`of a template with ${name} it says so`, () => {
      const dump = { ...(templates[0] ?? assert.fail()), ...change };
      const notes = planOf(settingsOf('intune.reg'), [dump])
        .notesOf(`template ${dump.commonName}`)
        .join('\n');
      assert.match(notes, said);
      assert.doesNotMatch(notes, unsaid);
    });

  const plain = templates[1] ?? assert.fail();
  for (const [name, change] of [
    ['no purpose', { extKeyUsage: [] }],
    ['no size of keys', { keyBitsMin: 0 }],
    ['keys of more bits than anybody has', { keyBitsMin: 16_384 }],
    ['a curve that is not served', { keyAlgorithm: 'ECDH_P521', keyBitsMin: 521 }],
    ['a period of a language that is not known', { validity: '2 años luz', renewal: '6 週' }],
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

  test('templates of strange names have names that configurations take', () => {
    const strange = { ...base, templates: { signature: 'Ñdes', encryption: 'ndes', generalPurpose: '证书' } };
    const { config } = planOf({ ...strange, caConfiguration: 'host' });
    assert.equal(new Set(config.templates.map(({ name }) => name)).size, 3);
    assert.equal(new Set(config.endpoints.map(({ name }) => name)).size, 3);
  });
});

test('the documents say what is lost and what expires when; a name is no formula', () => {
  const { plan } = planOf(settingsOf('intune.reg'));
  const report = buildMigrationReport(plan, now);
  assert.match(report, /## What could not be carried over\n\n- \*\*template ContosoDeviceSCEP\*\*/);
  assert.match(
    report,
    /\| 2027-12 \| 0 \| 1 \| 0 \|\n\| 2028-01 \| 0 \| 1 \| 0 \|\n\| 2028-06 \| 0 \| 0 \| 1 \|/,
  );
  assert.match(report, /\n## What must go on at the old CA\n\n- Publish/);
  assert.match(report, /last certificate of NDES’s templates ends on \*\*2028-01-15\*\*/);
  assert.match(report, /Publish its CRLs until \*\*2028-06-20\*\*/);
  const table = buildExpiryTable(plan).split('\r\n');
  assert.equal(table[0], 'expires,due for renewal,common name,serial number,template,enrolled by,requester');
  assert.match(table[1] ?? '', /^2027-12-03T13:05:00\.000Z,2027-07-10T13:05:00\.000Z,'=laptop-18,/);
  assert.equal(table.length, 5);
  assert.match(
    buildMigrationReport({ ...plan, certificates: [], notes: [] }, now),
    /Nothing\.[\s\S]*The exports show none that is valid on 2026-12-01/,
  );
});
