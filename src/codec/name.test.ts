import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { assertRefused } from '../../test/support/codec-fixture.ts';
import type { ErrorCode } from '../errors.ts';
import {
  type AttributeTypeAndValue,
  buildGeneralName,
  buildGeneralNames,
  buildName,
  commonNameOf,
  der,
  type GeneralName,
  generalNameFromString,
  generalNamesToString,
  hex,
  type Name,
  nameFromString,
  nameToString,
  objectIdentifier,
  oid,
  parseGeneralNames,
  parseName,
  sequence,
  setOf,
  tag,
  utf8String,
} from './index.ts';

describe('nameFromString refuses', () => {
  const rows: readonly (readonly [what: string, text: string, message?: RegExp])[] = [
    ['no attribute', 'laptop', /expected an attribute/],
    ['no equals sign', 'CN', /expected an attribute/],
    ['an unknown attribute', 'XX=a', /unknown attribute XX/],
    ['a bad identifier', '9.9.9=a', /9\.9\.9 is not an object identifier/],
    ['an identifier of one arc', '1=a', /expected an attribute/],
    ['an identifier with a leading zero', '2.05=a', /not an object identifier/],
    ['an empty value', 'CN=', /an empty value/],
    ['an empty value in the middle', 'CN=,O=a', /an empty value/],
    ['a value of spaces', 'CN=   ', /an empty value/],
    ['an empty quoted value', 'CN=""', /an empty value/],
    ['a comma at the end', 'CN=a,', /ends with a separator/],
    ['a plus at the end', 'CN=a+', /ends with a separator/],
    ['two commas', 'CN=a,,O=b', /expected an attribute/],
    ['a comma at the beginning', ',CN=a', /expected an attribute/],
    ['a quote that does not end', 'CN="a', /a quote that does not end/],
    ['something after a quote', 'CN="a"b', /expected a separator/],
    ['something after a quote, as if it were a comma', 'CN="a"xO=b', /expected a separator/],
    ['a backslash at the end', 'CN=a\\', /a backslash that escapes nothing/],
    ['a backslash before a letter', 'CN=LAB\\user', /a backslash that escapes nothing/],
    ['half a hexadecimal pair', 'CN=a\\4', /a backslash that escapes nothing/],
    ['a backslash before an emoji', 'CN=\\😀', /a backslash that escapes nothing/],
    ['pairs that are not UTF-8', 'CN=\\ff', /not UTF-8/],
    ['a domain with a user in it', 'CN=LAB\\admin', /not UTF-8/],
    ['a value in hexadecimal BER', 'CN=#04024869', /must be escaped/],
    ['half a surrogate pair', 'CN=\ud800', /surrogate/],
    ['a country that cannot be ASCII in a domain component', 'DC=ünïcode', /not ASCII/],
    ['a mailbox that a careless encoder would turn into another', 'E=łukasz@lab.test', /not ASCII/],
    ['a line feed between attributes', 'CN=a,\nO=b', /expected an attribute/],
    ['too many attributes', new Array(65).fill('CN=a').join(','), /too many/],
    ['too many attributes in one RDN', new Array(17).fill('CN=a').join('+'), /too many/],
    ['nothing but spaces', '   ', /expected an attribute/],
  ];
  for (const [what, text, message] of rows) {
    test(what, () => {
      const error = assertRefused(() => nameFromString(text), ['name_malformed'], text);
      assert.match(error.message, message ?? /./);
    });
  }
});

describe('nameFromString reads', () => {
  const cn = (value: string) => [[{ oid: oid.commonName, value }]];
  const rows: readonly (readonly [text: string, rdns: Name['rdns']])[] = [
    ['', []],
    ['CN=a', cn('a')],
    ['cn=a', cn('a')],
    ['2.5.4.3=a', cn('a')],
    [' CN = a ', cn('a')],
    ['CN=a b', cn('a b')],
    ['CN=a=b', cn('a=b')],
    ['CN=a\\,b', cn('a,b')],
    ['CN=a\\2Cb', cn('a,b')],
    ['CN=\\c3\\a9', cn('é')],
    ['CN=\\E2\\82\\AC uro', cn('€ uro')],
    ['CN="a, b"', cn('a, b')],
    ['CN="a\\"b"', cn('a"b')],
    ['CN="a" ', cn('a')],
    ['CN=\\ a\\ ', cn(' a ')],
    ['CN=\\20', cn(' ')],
    ['CN=" "', cn(' ')],
    ['CN=\\#1', cn('#1')],
    ['CN=a#1', cn('a#1')],
    ['CN=\\\\', cn('\\')],
    ['CN=\u00a0a', cn('\u00a0a')],
    ['CN=😀', cn('😀')],
    ['CN=a,O=b', [[{ oid: oid.organizationName, value: 'b' }], [{ oid: oid.commonName, value: 'a' }]]],
    ['CN=a; O=b', [[{ oid: oid.organizationName, value: 'b' }], [{ oid: oid.commonName, value: 'a' }]]],
    [
      'CN=a + UID=b',
      [
        [
          { oid: oid.commonName, value: 'a' },
          { oid: oid.userId, value: 'b' },
        ],
      ],
    ],
    ['S=a', [[{ oid: oid.stateOrProvinceName, value: 'a' }]]],
    ['EMAILADDRESS=a@b', [[{ oid: oid.emailAddress, value: 'a@b' }]]],
  ];
  for (const [text, rdns] of rows) test(`“${text}”`, () => assert.deepEqual(nameFromString(text).rdns, rdns));

  test('the order that RFC 4514 §2.1 reverses', () => {
    const name = nameFromString('CN=a,OU=b,DC=c');
    const types = parseName(name.raw).rdns.map(([attribute]) => attribute?.oid);
    assert.deepEqual(types, [oid.domainComponent, oid.organizationalUnitName, oid.commonName]);
    assert.equal(nameToString(name), 'CN=a,OU=b,DC=c');
    assert.equal(commonNameOf(name), 'a');
    assert.equal(commonNameOf(nameFromString('O=a')), undefined);
  });
});

describe('buildName', () => {
  test('picks the string type by attribute', () => {
    // The value is one octet, so its tag is the third octet from the end.
    const types = (text: string): number | undefined => nameFromString(text).raw.at(-3);
    assert.equal(types('CN=a'), tag.utf8String);
    assert.equal(types('C=a'), tag.printableString);
    assert.equal(types('SERIALNUMBER=a'), tag.printableString);
    assert.equal(types('SERIALNUMBER=*'), tag.utf8String);
    assert.equal(types('DC=a'), tag.ia5String);
    assert.equal(types('E=@'), tag.ia5String);
  });

  const refusals: readonly (readonly [what: string, attribute: AttributeTypeAndValue, ErrorCode])[] = [
    ['a domain component beyond ASCII', { oid: oid.domainComponent, value: 'ü' }, 'name_malformed'],
    ['a mailbox beyond Latin-1', { oid: oid.emailAddress, value: 'ł@x' }, 'name_malformed'],
    ['half a surrogate pair', { oid: oid.commonName, value: '\udc00' }, 'name_malformed'],
    ['half a surrogate pair in a mailbox', { oid: oid.emailAddress, value: '\udc00' }, 'name_malformed'],
    ['a bad identifier', { oid: '1.40', value: 'a' }, 'der_malformed'],
  ];
  for (const [what, attribute, code] of refusals) {
    test(`refuses ${what}`, () => void assertRefused(() => buildName([[attribute]]), [code], what));
  }
});

test('parseName refuses what is larger than a name', () => {
  const attribute = sequence(objectIdentifier(oid.commonName), utf8String('a'));
  const rdn = setOf([attribute]);
  assert.equal(parseName(sequence(...new Array(64).fill(rdn))).rdns.length, 64);
  assertRefused(() => parseName(sequence(...new Array(65).fill(rdn))), ['der_limit'], 'RDNs');
  assert.equal(parseName(sequence(setOf(new Array(16).fill(attribute)))).rdns[0]?.length, 16);
  assertRefused(() => parseName(sequence(setOf(new Array(17).fill(attribute)))), ['der_limit'], 'attributes');
});

// --- properties -----------------------------------------------------------------------------------------------------

const wellFormed = fc.oneof(
  fc.string({ unit: 'binary', minLength: 1, maxLength: 12 }),
  fc
    .array(
      fc.constantFrom(
        ' ',
        '#',
        '\\',
        '"',
        ',',
        '+',
        ';',
        '<',
        '>',
        '=',
        'a',
        'é',
        '😀',
        '\0',
        '\u2028',
        '\uFEFF',
      ),
      {
        minLength: 1,
        maxLength: 6,
      },
    )
    .map((characters) => characters.join('')),
);
const asciiOnly = fc.string({ unit: 'binary-ascii', minLength: 1, maxLength: 12 });
const attributes: fc.Arbitrary<AttributeTypeAndValue> = fc.oneof(
  fc.record(
    {
      oid: fc.constantFrom(
        oid.commonName,
        oid.countryName,
        oid.serialNumber,
        oid.userId,
        oid.title,
        '1.2.3.4',
        '2.999.5',
      ),
      value: wellFormed,
    },
    { noNullPrototype: true },
  ),
  fc.record(
    { oid: fc.constantFrom(oid.domainComponent, oid.emailAddress), value: asciiOnly },
    { noNullPrototype: true },
  ),
);
const rdnLists = fc.array(fc.array(attributes, { minLength: 1, maxLength: 4 }), { maxLength: 5 });

describe('names', () => {
  test('what is built is read, to the same value', () => {
    fc.assert(
      fc.property(rdnLists, (rdns) => {
        const name = buildName(rdns);
        assert.deepEqual(parseName(name.raw), name);
        const sorted = (list: Name['rdns']) =>
          list.map((rdn) => rdn.map((each) => JSON.stringify(each)).sort());
        assert.deepEqual(sorted(name.rdns), sorted(rdns), 'nothing is lost or added');
      }),
      { numRuns: 3_000 },
    );
  });
  test('the attributes of an RDN are a SET OF: their order is that of their encodings', () => {
    const one = { oid: oid.commonName, value: 'b' };
    const other = { oid: oid.commonName, value: 'a' };
    const encodings = [one, other].map((attribute) =>
      sequence(objectIdentifier(attribute.oid), utf8String(attribute.value)),
    );
    for (const rdn of [
      [one, other],
      [other, one],
    ]) {
      const name = buildName([rdn]);
      assert.deepEqual(name.rdns, [[other, one]]);
      assert.equal(hex(name.raw), hex(sequence(setOf(encodings))));
    }
  });
  test('what is written as text is read, to the same octets', () => {
    fc.assert(
      fc.property(rdnLists, (rdns) => {
        const name = parseName(buildName(rdns).raw);
        const text = nameToString(name);
        const again = nameFromString(text);
        assert.deepEqual(again.rdns, name.rdns, text);
        assert.equal(hex(again.raw), hex(name.raw));
      }),
      { numRuns: 3_000 },
    );
  });
  test('two names never have the same text', () => {
    fc.assert(
      fc.property(rdnLists, rdnLists, (one, other) => {
        const [a, b] = [parseName(buildName(one).raw), parseName(buildName(other).raw)];
        assert.equal(nameToString(a) === nameToString(b), hex(a.raw) === hex(b.raw));
      }),
      { numRuns: 2_000 },
    );
  });
  test('a text in quotes or hexadecimal pairs is the same name', () => {
    fc.assert(
      fc.property(wellFormed, (value) => {
        const plain = hex(buildName([[{ oid: oid.commonName, value }]]).raw);
        const pairs = hex(Buffer.from(value, 'utf8')).replaceAll(/../g, '\\$&');
        assert.equal(hex(nameFromString(`CN=${pairs}`).raw), plain);
        assert.equal(hex(nameFromString(`CN="${value.replaceAll(/["\\]/g, '\\$&')}"`).raw), plain);
      }),
      { numRuns: 2_000 },
    );
  });
});

// --- general names ----------------------------------------------------------------------------------------------------

const octets = (text: string): Uint8Array => Buffer.from(text.replaceAll(' ', ''), 'hex');

describe('parseGeneralNames refuses', () => {
  const rows: readonly (readonly [what: string, name: Uint8Array])[] = [
    ['dNSName beyond ASCII', der(0x82, octets('e4'))],
    ['dNSName with a NUL', der(0x82, Buffer.from('good.test\0.evil.test'))],
    ['rfc822Name with a line feed', der(0x81, Buffer.from('a@lab.test\n'))],
    ['URI with a DEL', der(0x86, octets('7f'))],
    ['constructed dNSName', der(0xa2, der(0x16, Buffer.from('a')))],
    ['IP address of three octets', der(0x87, octets('7f0000'))],
    ['IP address with a mask', der(0x87, octets('7f000001ffffff00'))],
    ['IP address of no octets', der(0x87)],
    ['directoryName that is no name', der(0xa4, octets('0500'))],
    ['directoryName primitive', der(0x84, sequence())],
    ['otherName without identifier', der(0xa0)],
    ['UPN without value', der(0xa0, objectIdentifier(oid.microsoftUserPrincipalName))],
    ['UPN not wrapped', der(0xa0, objectIdentifier(oid.microsoftUserPrincipalName), utf8String('a'))],
    [
      'UPN of two values',
      der(
        0xa0,
        objectIdentifier(oid.microsoftUserPrincipalName),
        der(0xa0, utf8String('a'), utf8String('b')),
      ),
    ],
    [
      'UPN that is no string',
      der(0xa0, objectIdentifier(oid.microsoftUserPrincipalName), der(0xa0, octets('020101'))),
    ],
    ['an unknown kind', der(0x89, octets('61'))],
    ['a universal type', utf8String('a')],
  ];
  for (const [what, name] of rows) {
    test(what, () => void assertRefused(() => parseGeneralNames(sequence(name)), ['der_malformed'], what));
  }
  test('no names', () => void assertRefused(() => parseGeneralNames(sequence()), ['der_malformed'], 'none'));
  test('more than a hundred names', () => {
    const name = der(0x82, Buffer.from('a'));
    assert.equal(parseGeneralNames(sequence(...new Array(100).fill(name))).length, 100);
    assertRefused(() => parseGeneralNames(sequence(...new Array(101).fill(name))), ['der_limit'], '101');
  });
});

describe('buildGeneralName refuses', () => {
  const rows: readonly GeneralName[] = [
    { type: 'dNSName', value: '' },
    { type: 'dNSName', value: 'münchen.test' },
    { type: 'dNSName', value: 'a\0b' },
    { type: 'rfc822Name', value: 'a@lab.test\n' },
    { type: 'uniformResourceIdentifier', value: 'urn:ł' },
    { type: 'userPrincipalName', value: '\ud800' },
    ...[
      '',
      '1.2.3',
      '1.2.3.4.5',
      '256.1.1.1',
      '01.2.3.4',
      '1.2.3.4 ',
      ':::',
      '1::2::3',
      '1:2:3:4:5:6:7',
      '1:2:3:4:5:6:7:8:9',
      '1:2:3:4::5:6:7:8',
      '12345::',
      'g::',
      '::1.2.3.4',
      '1:',
      ':1',
    ].map((value) => ({ type: 'iPAddress', value }) as const),
  ];
  for (const name of rows) {
    test(
      JSON.stringify(name),
      () => void assertRefused(() => buildGeneralName(name), ['name_malformed'], ''),
    );
  }
});

describe('generalNameFromString', () => {
  for (const text of ['', 'a', 'DNS', 'dns:a', 'DNS:', 'XYZ:a', 'DN:CN=a', 'other:00']) {
    test(`refuses “${text}”`, () =>
      void assertRefused(() => generalNameFromString(text), ['name_malformed'], text));
  }
  test('reads what generalNamesToString writes', () => {
    fc.assert(
      fc.property(generalNames, (name) => {
        if (name.type === 'directoryName' || name.type === 'other') return;
        assert.deepEqual(generalNameFromString(generalNamesToString([name])), { ...name });
      }),
    );
  });
});

const printable = fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 20 });
const generalNames: fc.Arbitrary<GeneralName> = fc.oneof(
  fc.record({
    type: fc.constantFrom('dNSName', 'rfc822Name', 'uniformResourceIdentifier'),
    value: printable,
  }),
  fc.record({ type: fc.constant('userPrincipalName'), value: wellFormed }),
  fc.record({ type: fc.constant('iPAddress'), value: fc.ipV4() }),
  fc.record({
    type: fc.constant('iPAddress'),
    value: fc
      .array(fc.nat(0xffff), { minLength: 8, maxLength: 8 })
      .map((groups) => groups.map((group) => group.toString(16)).join(':')),
  }),
  fc.record({
    type: fc.constant('directoryName'),
    name: rdnLists.map((rdns) => parseName(buildName(rdns).raw)),
  }),
  fc.record({
    type: fc.constant('other'),
    raw: fc.uint8Array({ minLength: 1, maxLength: 8 }).map((content) => Uint8Array.from(der(0x88, content))),
  }),
) as fc.Arbitrary<GeneralName>;
const plain = (names: readonly GeneralName[]): unknown =>
  names.map((name) =>
    name.type === 'directoryName'
      ? hex(name.name.raw)
      : name.type === 'other'
        ? hex(name.raw)
        : [name.type, name.value],
  );

describe('general names', () => {
  const lists = fc.array(generalNames, { minLength: 1, maxLength: 6 });
  test('what is built is read', () => {
    fc.assert(
      fc.property(lists, (names) =>
        assert.deepEqual(plain(parseGeneralNames(buildGeneralNames(names))), plain(names)),
      ),
      { numRuns: 2_000 },
    );
  });
  test('two lists never read the same', () => {
    const near = fc
      .tuple(lists, lists)
      .chain(([one, other]) =>
        fc.constantFrom(
          [one, other] as const,
          [one, [...one, ...other]] as const,
          [one, one.toReversed()] as const,
        ),
      );
    fc.assert(
      fc.property(near, ([one, other]) =>
        assert.equal(
          generalNamesToString(one) === generalNamesToString(other),
          JSON.stringify(plain(one)) === JSON.stringify(plain(other)),
        ),
      ),
      { numRuns: 3_000 },
    );
  });
  test('a value cannot pass for two', () => {
    const two: GeneralName[] = [
      { type: 'dNSName', value: 'a' },
      { type: 'dNSName', value: 'b' },
    ];
    for (const value of ['a, DNS:b', 'a\\, DNS:b', 'a\\\\, DNS:b']) {
      assert.notEqual(generalNamesToString([{ type: 'dNSName', value }]), generalNamesToString(two));
    }
    assert.equal(generalNamesToString(two), 'DNS:a, DNS:b');
  });
  test('IPv6 in short form', () => {
    for (const [text, long] of [
      ['::', '0:0:0:0:0:0:0:0'],
      ['::1', '0:0:0:0:0:0:0:1'],
      ['1::', '1:0:0:0:0:0:0:0'],
      ['2001:DB8::1', '2001:db8:0:0:0:0:0:1'],
      ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
    ] as const) {
      assert.deepEqual(parseGeneralNames(buildGeneralNames([{ type: 'iPAddress', value: text }])), [
        { type: 'iPAddress', value: long },
      ]);
    }
  });
});
