import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { nameToString, oid } from '../codec/index.ts';
import { namePatternOf } from './name-pattern.ts';
import { builtInTemplates, type SubjectAltNameType } from './template.ts';
import { needsDirectory, resolveTemplates, type TemplateDefinition } from './template-definition.ts';

const extended = (changes: Partial<TemplateDefinition>): TemplateDefinition => ({
  name: 'own',
  extend: 'client-authentication',
  ...changes,
});

describe('contradictions are found', () => {
  const rows: readonly (readonly [
    name: string,
    key: string,
    text: RegExp,
    definition: TemplateDefinition,
  ])[] = [
    ['a template that is not there', 'extend', /no template “absent”/, extended({ extend: 'absent' })],
    ['itself', 'extend', /no template “own”/, extended({ extend: 'own' })],
    ['no purpose', 'extKeyUsage', /at least one purpose/, { name: 'own' }],
    ['any purpose', 'extKeyUsage', /any purpose/, extended({ extKeyUsage: ['2.5.29.37.0'] })],
    [
      'a purpose that is none',
      'extKeyUsage',
      /“clientAuthentication” is neither/,
      extended({ extKeyUsage: ['clientAuthentication'] }),
    ],
    [
      'a purpose with a bad identifier',
      'extKeyUsage',
      /“9.9.9” is neither/,
      extended({ extKeyUsage: ['9.9.9'] }),
    ],
    [
      'key usage against purpose',
      'keyUsage',
      /clientAuth needs digitalSignature or keyAgreement/,
      extended({ keyUsage: ['keyEncipherment'] }),
    ],
    [
      'a default that leaves the purpose without its bit',
      'keyUsage',
      /clientAuth needs/,
      extended({ keyUsage: ['digitalSignature', 'keyEncipherment'], keyUsageDefault: ['keyEncipherment'] }),
    ],
    [
      'a CA’s bits',
      'keyUsage',
      /keyCertSign are a CA’s/,
      extended({ keyUsage: ['digitalSignature', 'keyCertSign'] }),
    ],
    [
      'key usage beyond its ceiling',
      'keyUsageDefault',
      /nonRepudiation is beyond/,
      extended({ keyUsageDefault: ['digitalSignature', 'nonRepudiation'] }),
    ],
    [
      'a purpose beyond its ceiling',
      'extKeyUsageDefault',
      /serverAuth is beyond/,
      extended({ extKeyUsageDefault: ['serverAuth'] }),
    ],
    [
      'enciphering alone with keys that encipher nothing',
      'keyUsage',
      /elliptic curve/,
      { name: 'own', extKeyUsage: ['serverAuth'], keyUsage: ['keyEncipherment'] },
    ],
    [
      'names wanted and none allowed',
      'subjectAltNameTypes',
      /none is allowed/,
      extended({ subjectAltName: 'required', subjectAltNameTypes: [] }),
    ],
    ['nobody named', 'subject', /must be required/, extended({ subject: 'optional' })],
    [
      'a renewal period as long as the validity',
      'renewalPeriod',
      /as long as/,
      extended({ validity: 1000, renewalPeriod: 1000 }),
    ],
    [
      'a pattern for a kind that is not allowed',
      'subjectAltNamePatterns',
      /iPAddress is not in/,
      extended({ subjectAltNamePatterns: { iPAddress: ['192.0.2.0/24'] } }),
    ],
    [
      'a pattern that is none',
      'subjectAltNamePatterns',
      /dNSName “a\.\*\*”/,
      extended({ subjectAltNamePatterns: { dNSName: ['a.**'] } }),
    ],
    [
      'no pattern for a kind',
      'subjectAltNamePatterns',
      /no pattern/,
      extended({ subjectAltNamePatterns: { dNSName: [] } }),
    ],
    ['a fixed subject that is missing', 'subjectFixed', /missing/, extended({ subjectFrom: 'fixed' })],
    ['a subject that does not count', 'subjectFixed', /counts only/, extended({ subjectFixed: 'CN=a' })],
    [
      'a fixed subject that is none',
      'subjectFixed',
      /expected an attribute/,
      extended({ subjectFrom: 'fixed', subjectFixed: 'a' }),
    ],
    [
      'a fixed subject that the template forbids',
      'subjectFixed',
      /longer than 64/,
      extended({ subjectFrom: 'fixed', subjectFixed: `CN=${'a'.repeat(65)}` }),
    ],
    [
      'fixed names of a kind that is not allowed',
      'subjectAltNameFixed',
      /iPAddress is not in/,
      extended({ subjectAltNameFrom: 'fixed', subjectAltNameFixed: ['IP:192.0.2.1'] }),
    ],
    [
      'fixed names that are missing',
      'subjectAltNameFixed',
      /missing/,
      extended({ subjectAltNameFrom: 'fixed' }),
    ],
    [
      'an attribute that nobody knows',
      'subjectAttributes',
      /unknown attribute/,
      extended({ subjectAttributes: ['XYZ'] }),
    ],
    ['nocheck for a client', 'ocspNoCheck', /ocspSigning alone/, extended({ ocspNoCheck: true })],
    [
      'an identifier that is none',
      'templateInformation',
      /not an object identifier/,
      extended({ templateInformation: { oid: '9.9', majorVersion: 1, minorVersion: 0 } }),
    ],
  ];
  for (const [name, key, text, definition] of rows) {
    test(name, () => {
      const { faults } = resolveTemplates([definition]);
      const [fault] = faults;
      assert.equal(fault?.key, key, JSON.stringify(faults));
      assert.match(fault.text, text);
      assert.equal(fault.index, 0);
    });
  }

  test('a name twice', () => {
    const { faults } = resolveTemplates([extended({}), extended({})]);
    assert.deepEqual(
      faults.map(({ index, key }) => [index, key]),
      [[1, 'name']],
    );
  });
});

describe('what is resolved', () => {
  const of = (name: string, ...definitions: TemplateDefinition[]) => {
    const { templates, faults } = resolveTemplates(definitions);
    assert.deepEqual(faults, []);
    const template = templates.find((item) => item.name === name);
    assert.ok(template);
    return template;
  };

  test('without definitions: what is built in, unchanged and without fault', () => {
    assert.deepEqual(resolveTemplates([]).templates, builtInTemplates);
    const again = builtInTemplates.map(({ name }) => ({ name: `own-${name}`, extend: name }));
    assert.deepEqual(resolveTemplates(again).faults, []);
  });

  test('what is not said is as in the template that is extended', () => {
    const [base] = builtInTemplates;
    assert.deepEqual(of('own', extended({})), { ...base, name: 'own', displayName: 'own' });
  });

  test('a definition may extend one before it, and replace one that is built in', () => {
    const definitions = [
      { name: 'client-authentication', extend: 'client-authentication', validity: 90 * 86_400_000 },
      extended({ displayName: 'Kiosks', subjectFrom: 'fixed', subjectFixed: 'CN=kiosk,O=Example' }),
    ] as const;
    const own = of('own', ...definitions);
    assert.equal(own.validityMs, 90 * 86_400_000);
    assert.equal(nameToString(own.subjectFixed ?? assert.fail()), 'CN=kiosk,O=Example');
    assert.equal(resolveTemplates(definitions).templates.length, builtInTemplates.length + 1);
  });

  test('subject and names may both be fixed', () => {
    const own = of(
      'own',
      extended({
        subjectFrom: 'fixed',
        subjectFixed: 'CN=kiosk',
        subjectAltNameFrom: 'fixed',
        subjectAltNameFixed: ['DNS:kiosk.example'],
      }),
    );
    assert.deepEqual(own.subjectAltNameFixed, [{ type: 'dNSName', value: 'kiosk.example' }]);
  });

  test('a new ceiling is its own default; a template’s identifier is not inherited', () => {
    const first: TemplateDefinition = {
      name: 'first',
      extend: 'vpn-ipsec',
      templateInformation: { oid: '1.3.6.1.4.1.99999.1', majorVersion: 100, minorVersion: 2 },
    };
    assert.deepEqual(of('first', first).extKeyUsageDefault, [oid.ipsecIKE, oid.clientAuth]);
    assert.equal(of('first', first).information?.minorVersion, 2);
    const own = of('own', first, extended({ extend: 'first', extKeyUsage: ['iKEIntermediate'] }));
    assert.equal(own.extKeyUsageDefault, undefined);
    assert.deepEqual(own.extKeyUsage, [oid.iKEIntermediate]);
    assert.equal(own.information, undefined);
  });

  test('which templates need a directory', () => {
    assert.deepEqual(
      builtInTemplates.filter(needsDirectory).map(({ name }) => name),
      ['domain-controller', 'kerberos-authentication', 'smime'],
    );
    assert.ok(needsDirectory(of('own', extended({ securityIdentifier: 'required' }))));
  });
});

describe('patterns', () => {
  const rows: readonly (readonly [
    type: SubjectAltNameType,
    pattern: string,
    fits: readonly string[],
    not: readonly string[],
  ])[] = [
    [
      'dNSName',
      '*.corp.example',
      ['a.corp.example', 'A.Corp.EXAMPLE', 'a-1.corp.example'],
      [
        'corp.example',
        '.corp.example',
        'a.b.corp.example',
        'a.corp.example.evil',
        'xa.corp-example',
        '*.corp.example',
        'a.corp.example.',
      ],
    ],
    [
      'dNSName',
      'web-*-eu.corp.example',
      ['web-1-eu.corp.example', 'web-a-eu-eu.corp.example'],
      ['web--eu.corp.example', 'web-1-us.corp.example', 'web-1.x-eu.corp.example'],
    ],
    [
      'dNSName',
      '**.corp.example',
      ['a.corp.example', 'a.b.c.corp.example'],
      ['corp.example', '*.corp.example', 'a..corp.example', 'corp.example.evil'],
    ],
    [
      'dNSName',
      '\\*.corp.example',
      ['*.corp.example'],
      ['a.corp.example', '*.a.corp.example', '\\*.corp.example'],
    ],
    ['dNSName', 'a.example', ['a.example'], ['b.example', 'a.example.', 'aa.example']],
    [
      'rfc822Name',
      '*@corp.example',
      ['a.b@corp.example', 'A@CORP.example'],
      ['@corp.example', 'a@b@corp.example', 'a@x.corp.example', '"a"@corp.example'],
    ],
    [
      'userPrincipalName',
      'adm-*@**.corp.example',
      ['adm-jo@eu.corp.example'],
      ['jo@eu.corp.example', 'adm-jo@corp.example', 'adm-j o@eu.corp.example'],
    ],
    [
      'uniformResourceIdentifier',
      'https://*.corp.example/d/*',
      ['https://a.corp.example/d/7'],
      [
        'https://evil.test/.corp.example/d/7',
        'https://evil.test#.corp.example/d/7',
        'https://u:p@x.corp.example/d/7',
        'https://a.corp.example/d/7/8',
        'https://a.corp.example/d/',
      ],
    ],
    [
      'uniformResourceIdentifier',
      'IntuneDeviceId://*',
      ['IntuneDeviceId://6ba7b810-9dad'],
      ['intunedeviceid://6ba7', 'IntuneDeviceId://a?b'],
    ],
    ['iPAddress', '192.0.2.0/24', ['192.0.2.1', '192.0.2.255'], ['192.0.3.1', '2001:db8:0:0:0:0:0:1']],
    ['iPAddress', '2001:db8::/32', ['2001:db8:1:0:0:0:0:1'], ['2001:db9:0:0:0:0:0:1', '32.1.13.184']],
    ['iPAddress', '192.0.2.7', ['192.0.2.7'], ['192.0.2.8']],
  ];
  for (const [type, text, fits, not] of rows) {
    test(`${type} ${text}`, () => {
      const read = namePatternOf(type, text);
      assert.ok('pattern' in read, JSON.stringify(read));
      for (const value of fits) assert.ok(read.pattern.matches(value), value);
      for (const value of not) assert.ok(!read.pattern.matches(value), value);
    });
  }

  const wrong: readonly (readonly [type: SubjectAltNameType, pattern: string])[] = [
    ['dNSName', ''],
    ['dNSName', '**'],
    ['dNSName', 'a.**.example'],
    ['dNSName', 'a.\\*.example'],
    ['dNSName', '.example'],
    ['dNSName', 'a b.example'],
    ['dNSName', '(a+)+.example'],
    ['dNSName', 'a'.repeat(256)],
    ['rfc822Name', 'corp.example'],
    ['rfc822Name', '**@corp.example'],
    ['uniformResourceIdentifier', '*://corp.example'],
    ['uniformResourceIdentifier', 'https://**'],
    ['iPAddress', '192.0.2.1/24'],
    ['iPAddress', '192.0.2.0/33'],
    ['iPAddress', '192.0.2.*'],
  ];
  for (const [type, text] of wrong) {
    test(`${type} “${text.slice(0, 30)}” is none`, () => assert.ok('fault' in namePatternOf(type, text)));
  }

  test('a value made to be slow is not', () => {
    const read = namePatternOf('uniformResourceIdentifier', `a:${'*a'.repeat(120)}*b`);
    assert.ok('pattern' in read);
    const startMs = performance.now();
    assert.equal(read.pattern.matches(`a:${'a'.repeat(2000)}`), false);
    assert.ok(performance.now() - startMs < 2000);
  });
});
