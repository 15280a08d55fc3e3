import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { assertRefused, clientKey, generalNames, name, specimens } from '../../test/support/codec-fixture.ts';
import type { ErrorCode } from '../errors.ts';
import {
  authorityInfoAccessExtension,
  authorityKeyIdentifierExtension,
  authorityKeyIdentifierOf,
  basicConstraintsOf,
  bitString,
  booleanTrue,
  buildExtension,
  buildExtensions,
  caBasicConstraintsExtension,
  crlDistributionPointsExtension,
  crlNumberExtension,
  DerReader,
  der,
  type Extended,
  type Extension,
  endEntityBasicConstraintsExtension,
  extensionValue,
  extKeyUsageExtension,
  extKeyUsageOf,
  hex,
  integer,
  type KeyUsage,
  keyIdentifier,
  keyUsageExtension,
  keyUsageOf,
  keyUsages,
  nameFromString,
  objectIdentifier,
  octetString,
  oid,
  readDer,
  readExtensions,
  sequence,
  subjectAltNameExtension,
  subjectAltNameOf,
  subjectKeyIdentifierExtension,
  subjectKeyIdentifierOf,
  tag,
  utf8String,
} from './index.ts';

const octets = (text: string): Uint8Array => Buffer.from(text.replaceAll(' ', ''), 'hex');
const read = (bytes: Uint8Array): Extension[] => readDer(bytes, tag.sequence, readExtensions);
const having = (identifier: string, value: Uint8Array): Extended => ({
  extensions: [{ oid: identifier, critical: false, value }],
});

describe('readExtensions refuses', () => {
  const id = objectIdentifier(oid.keyUsage);
  const value = octetString(octets('03020780'));
  const rows: readonly (readonly [what: string, extensions: Uint8Array, code?: ErrorCode])[] = [
    ['one twice', sequence(sequence(id, value), sequence(id, booleanTrue, value))],
    ['one without value', sequence(sequence(id))],
    ['one without identifier', sequence(sequence(value))],
    ['one with two values', sequence(sequence(id, value, value))],
    ['critical after the value', sequence(sequence(id, value, booleanTrue))],
    ['critical twice', sequence(sequence(id, booleanTrue, booleanTrue, value))],
    ['critical as 01', sequence(sequence(id, octets('010101'), value))],
    ['a value that is no OCTET STRING', sequence(sequence(id, octets('03020780')))],
    ['a value in pieces', sequence(sequence(id, der(0x24, value)))],
    ['a SET in place of one', sequence(der(tag.set, id, value))],
    [
      'more than a hundred',
      sequence(...Array.from({ length: 101 }, (_, arc) => sequence(objectIdentifier(`1.2.${arc}`), value))),
      'der_limit',
    ],
  ];
  for (const [what, extensions, code] of rows) {
    test(what, () => void assertRefused(() => read(extensions), [code ?? 'der_malformed'], what));
  }
});

describe('readers refuse', () => {
  const rows: readonly (readonly [
    what: string,
    reader: (extended: Extended) => unknown,
    string,
    Uint8Array,
    ErrorCode?,
  ])[] = [
    ['keyUsage that is no BIT STRING', keyUsageOf, oid.keyUsage, octets('040100')],
    ['keyUsage with something after it', keyUsageOf, oid.keyUsage, octets('03020780 0500')],
    ['keyUsage with unused bits that are set', keyUsageOf, oid.keyUsage, octets('030207ff')],
    ['keyUsage without its first octet', keyUsageOf, oid.keyUsage, octets('0300')],
    ['keyUsage of a thousand bits', keyUsageOf, oid.keyUsage, bitString(new Uint8Array(125)), 'der_limit'],
    ['empty keyUsage extension', keyUsageOf, oid.keyUsage, octets('')],
    ['extKeyUsage without purposes', extKeyUsageOf, oid.extKeyUsage, octets('3000')],
    ['extKeyUsage with text', extKeyUsageOf, oid.extKeyUsage, sequence(utf8String('clientAuth'))],
    ['extKeyUsage that is a purpose', extKeyUsageOf, oid.extKeyUsage, objectIdentifier(oid.clientAuth)],
    ['subjectAltName without names', subjectAltNameOf, oid.subjectAltName, octets('3000')],
    ['subjectAltName that is a name', subjectAltNameOf, oid.subjectAltName, octets('820161')],
    ['basicConstraints that is a BOOLEAN', basicConstraintsOf, oid.basicConstraints, booleanTrue],
    ['basicConstraints with TRUE as 01', basicConstraintsOf, oid.basicConstraints, octets('3003010101')],
    [
      'basicConstraints in wrong order',
      basicConstraintsOf,
      oid.basicConstraints,
      sequence(integer(1), booleanTrue),
    ],
    [
      'basicConstraints with a negative length',
      basicConstraintsOf,
      oid.basicConstraints,
      octets('30060101ff0201ff'),
    ],
    [
      'basicConstraints with three fields',
      basicConstraintsOf,
      oid.basicConstraints,
      sequence(booleanTrue, integer(1), integer(1)),
    ],
    [
      'subjectKeyIdentifier that is a SEQUENCE',
      subjectKeyIdentifierOf,
      oid.subjectKeyIdentifier,
      octets('3000'),
    ],
    [
      'subjectKeyIdentifier with something after it',
      subjectKeyIdentifierOf,
      oid.subjectKeyIdentifier,
      octets('040101 00'),
    ],
    [
      'authorityKeyIdentifier that is an OCTET STRING',
      authorityKeyIdentifierOf,
      oid.authorityKeyIdentifier,
      octets('040101'),
    ],
    [
      'authorityKeyIdentifier that is cut off',
      authorityKeyIdentifierOf,
      oid.authorityKeyIdentifier,
      octets('3004 8001 01'),
    ],
  ];
  for (const [what, reader, identifier, value, code] of rows) {
    test(
      what,
      () => void assertRefused(() => reader(having(identifier, value)), [code ?? 'der_malformed'], what),
    );
  }
  test('a key without its identifier', () => {
    for (const spki of ['', '3000', '3003 020101', '3006 3000 03020780']) {
      assertRefused(() => keyIdentifier(octets(spki)), ['der_malformed'], spki);
    }
  });
});

describe('builders refuse', () => {
  const rows: readonly (readonly [what: string, act: () => unknown, ErrorCode])[] = [
    [
      'a distribution point that is not ASCII',
      () => crlDistributionPointsExtension(['http://crl.łab.test']),
      'name_malformed',
    ],
    [
      'an issuer address that is not ASCII',
      () => authorityInfoAccessExtension(['http://aia.läb.test']),
      'name_malformed',
    ],
    [
      'an address with a line feed',
      () => crlDistributionPointsExtension(['http://crl.lab.test\n']),
      'name_malformed',
    ],
    ['no address', () => authorityInfoAccessExtension(['']), 'name_malformed'],
    ['a negative CRL number', () => crlNumberExtension(-1), 'der_malformed'],
    ['a negative path length', () => caBasicConstraintsExtension(-1), 'der_malformed'],
    ['half a path length', () => caBasicConstraintsExtension(0.5), 'der_malformed'],
    ['a purpose that is no identifier', () => extKeyUsageExtension(['clientAuth']), 'der_malformed'],
  ];
  for (const [what, act, code] of rows) test(what, () => void assertRefused(act, [code], what));
});

describe('what is built is read', () => {
  test('extensions', () => {
    const dotted = fc
      .array(fc.nat(2000), { minLength: 1, maxLength: 5 })
      .map((arcs) => `1.2.${arcs.join('.')}`);
    const lists = fc.uniqueArray(
      fc.record(
        { oid: dotted, critical: fc.boolean(), value: fc.uint8Array({ maxLength: 40 }) },
        { noNullPrototype: true },
      ),
      { selector: (extension) => extension.oid, maxLength: 8 },
    );
    fc.assert(
      fc.property(lists, (extensions) => {
        const have = read(buildExtensions(extensions)).map((extension) => ({
          ...extension,
          value: hex(extension.value),
        }));
        assert.deepEqual(
          have,
          extensions.map((extension) => ({ ...extension, value: hex(extension.value) })),
        );
      }),
      { numRuns: 1_000 },
    );
  });
  test('keyUsage, every combination', () => {
    for (let bits = 0; bits < 512; bits += 1) {
      const usages = keyUsages.filter((_, index) => ((bits >> index) & 1) === 1);
      assert.deepEqual(keyUsageOf({ extensions: [keyUsageExtension(usages)] }), usages);
    }
  });
  test('keyUsage with zero bits at its end, as old clients write it', () => {
    assert.deepEqual(keyUsageOf(having(oid.keyUsage, octets('030200a0'))), [
      'digitalSignature',
      'keyEncipherment',
    ]);
    assert.deepEqual(keyUsageOf(having(oid.keyUsage, octets('0303070080'))), ['decipherOnly']);
  });
  test('the rest', () => {
    const identifier = octets('0102030405060708');
    const extensions: Extension[] = [
      extKeyUsageExtension([oid.clientAuth, oid.emailProtection]),
      subjectAltNameExtension(generalNames, name),
      caBasicConstraintsExtension(0),
      subjectKeyIdentifierExtension(identifier),
      authorityKeyIdentifierExtension(identifier),
    ];
    const extended = { extensions: read(buildExtensions(extensions)) };
    assert.deepEqual(extKeyUsageOf(extended), [oid.clientAuth, oid.emailProtection]);
    assert.equal(subjectAltNameOf(extended).length, generalNames.length);
    assert.deepEqual(basicConstraintsOf(extended), { ca: true, pathLength: 0 });
    assert.equal(hex(subjectKeyIdentifierOf(extended) ?? octets('')), hex(identifier));
    assert.equal(hex(authorityKeyIdentifierOf(extended) ?? octets('')), hex(identifier));
    assert.deepEqual(basicConstraintsOf({ extensions: [caBasicConstraintsExtension()] }), { ca: true });
    assert.deepEqual(basicConstraintsOf({ extensions: [endEntityBasicConstraintsExtension()] }), {
      ca: false,
    });
  });
  test('what is absent', () => {
    const none = { extensions: [] };
    assert.equal(keyUsageOf(none), undefined);
    assert.equal(extKeyUsageOf(none), undefined);
    assert.deepEqual(subjectAltNameOf(none), []);
    assert.equal(basicConstraintsOf(none), undefined);
    assert.equal(subjectKeyIdentifierOf(none), undefined);
    assert.equal(authorityKeyIdentifierOf(none), undefined);
    assert.equal(extensionValue(none, oid.keyUsage), undefined);
  });
  test('authorityKeyIdentifier with issuer and serial number, and without identifier', () => {
    const issuer = der(0xa1, der(0xa4, name.raw));
    assert.equal(
      authorityKeyIdentifierOf(having(oid.authorityKeyIdentifier, sequence(issuer, octets('820101')))),
      undefined,
    );
    const whole = sequence(octets('800155'), issuer, octets('820101'));
    assert.equal(
      hex(authorityKeyIdentifierOf(having(oid.authorityKeyIdentifier, whole)) ?? octets('')),
      '55',
    );
  });
});

describe('encodings', () => {
  const rows: readonly (readonly [what: string, extension: Extension, critical: boolean, value: string])[] = [
    [
      'keyUsage',
      keyUsageExtension(['digitalSignature', 'keyEncipherment'] satisfies KeyUsage[]),
      true,
      '030205a0',
    ],
    ['extKeyUsage', extKeyUsageExtension([oid.clientAuth]), false, '300a06082b06010505070302'],
    ['end entity', endEntityBasicConstraintsExtension(), true, '3000'],
    ['CA', caBasicConstraintsExtension(), true, '30030101ff'],
    ['CA with path length', caBasicConstraintsExtension(1), true, '30060101ff020101'],
    ['CRL number', crlNumberExtension(255), false, '020200ff'],
    [
      'distribution points',
      crlDistributionPointsExtension(['u:a', 'u:b']),
      false,
      '3010 300e a00c a00a 8603753a61 8603753a62',
    ],
    [
      'authority information',
      authorityInfoAccessExtension(['u:a']),
      false,
      '3011 300f 06082b06010505073002 8603753a61',
    ],
    [
      'a name beside a subject',
      subjectAltNameExtension([{ type: 'dNSName', value: 'a' }], name),
      false,
      '3003 820161',
    ],
    [
      'a name without a subject',
      subjectAltNameExtension([{ type: 'dNSName', value: 'a' }], nameFromString('')),
      true,
      '3003 820161',
    ],
  ];
  for (const [what, extension, critical, value] of rows) {
    test(what, () => {
      assert.equal(hex(extension.value), value.replaceAll(' ', ''));
      assert.equal(extension.critical, critical);
    });
  }
  test('critical is written only if it is TRUE', () => {
    const value = octets('05');
    assert.equal(
      hex(buildExtension({ oid: '1.2.3', critical: true, value })),
      '300a 06022a03 0101ff 040105'.replaceAll(' ', ''),
    );
    assert.equal(
      hex(buildExtension({ oid: '1.2.3', critical: false, value })),
      '3007 06022a03 040105'.replaceAll(' ', ''),
    );
  });
  test('the key identifier is over the key alone', () => {
    const reader = new DerReader(clientKey.spki).enter();
    reader.skip();
    const want = createHash('sha1').update(reader.bitStringOctets()).digest('hex');
    assert.equal(hex(keyIdentifier(specimens.rsaPublicKey)), want);
  });
});
