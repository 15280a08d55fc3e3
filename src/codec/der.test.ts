import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { assertRefused } from '../../test/support/codec-fixture.ts';
import type { ErrorCode } from '../errors.ts';
import {
  bitString,
  booleanTrue,
  DerReader,
  der,
  derOf,
  dottedOid,
  generalizedTime,
  hex,
  integer,
  namedBitString,
  namedBits,
  nullValue,
  objectIdentifier,
  octetString,
  oid,
  readDer,
  sameOctets,
  sequence,
  setOf,
  smallNumber,
  tag,
  time,
  unsignedInteger,
} from './index.ts';

const octets = (text: string): Uint8Array => Buffer.from(text.replaceAll(' ', ''), 'hex');
const reader = (text: string): DerReader => new DerReader(octets(text));

/** Reads one value that fills the input. */
const readings = {
  element: (input) => input.element(),
  raw: (input) => input.raw(),
  boolean: (input) => input.boolean(),
  integer: (input) => input.integer(),
  smallInteger: (input) => input.smallInteger(),
  oid: (input) => input.oid(),
  octetString: (input) => input.octetString(),
  bitStringOctets: (input) => input.bitStringOctets(),
  namedBits: (input) => namedBits(input.content(tag.bitString)),
  null: (input) => input.null(),
  text: (input) => input.text(),
  time: (input) => input.time(),
  enter: (input) => input.enter(),
} satisfies Record<string, (input: DerReader) => unknown>;

describe('DerReader refuses', () => {
  const rows: readonly (readonly [keyof typeof readings, what: string, input: string, code?: ErrorCode])[] = [
    ['element', 'nothing', ''],
    ['element', 'a tag alone', '30'],
    ['element', 'a length cut off', '3082 01'],
    ['element', 'a content cut off', '3002 05'],
    ['element', 'an indefinite length', '3080 0000'],
    ['element', 'a length of 127 in two octets', `30817f ${'00'.repeat(127)}`],
    ['element', 'a length of 255 in three octets', `308200ff ${'00'.repeat(255)}`],
    ['element', 'a length on five octets', '308500000000 01 00'],
    ['element', 'the reserved length', '30ff'],
    ['element', 'a length of four gibibytes', '3084ffffffff'],
    ['element', 'a multi-octet tag', '1f8101 00'],
    ['element', 'the end of contents', '0000'],
    ['element', 'the end of contents, constructed', '2000'],
    ['raw', 'the end of contents', '0000'],
    ['boolean', 'another tag', '020101'],
    ['boolean', 'no octet', '0100'],
    ['boolean', 'two octets', '0102ffff'],
    ['boolean', 'TRUE as 01', '010101'],
    ['integer', 'another tag', '0a0101'],
    ['integer', 'no octet', '0200'],
    ['integer', 'a needless 00', '02020001'],
    ['integer', 'a needless 00 before 7F', '0202007f'],
    ['integer', 'a needless FF', '0202ff80'],
    ['integer', 'a needless FF before FF', '0202ffff'],
    ['smallInteger', 'a negative number', '0201ff'],
    ['smallInteger', '2^31', '02050080000000'],
    ['oid', 'another tag', '0d0103'],
    ['oid', 'no octet', '0600'],
    ['oid', 'a first arc that begins with 80', '06028001'],
    ['oid', 'a later arc that begins with 80', '0603550480'],
    ['oid', 'an arc that does not end', '0603550483'],
    ['oid', 'an arc beyond 2^53', '060955a0808080808080 00'],
    ['oid', 'an arc of 128 bits', '061255 8380808080808080808080808080808080 00'],
    ['oid', 'forty-one octets', `0629${'55'.repeat(41)}`],
    ['octetString', 'another tag', '0c0161'],
    ['octetString', 'the constructed form', '2403040161'],
    ['bitStringOctets', 'no octet', '0300'],
    ['bitStringOctets', 'unused bits', '03020700'],
    ['bitStringOctets', 'the constructed form', '230403020000'],
    ['namedBits', 'no octet', '0300'],
    ['namedBits', 'eight unused bits', '03020800'],
    ['namedBits', 'unused bits of nothing', '030101'],
    ['namedBits', 'unused bits that are set', '030207c0'],
    ['namedBits', 'sixty-five bits', '030a07 000000000000000080', 'der_limit'],
    ['null', 'content', '050100'],
    ['null', 'another tag', '0400'],
    ['text', 'an INTEGER', '020101'],
    ['text', 'UTF-8 cut off', '0c01c3'],
    ['text', 'UTF-8 in overlong form', '0c02c0af'],
    ['text', 'a surrogate in UTF-8', '0c03eda080'],
    ['text', 'UTF-8 beyond Unicode', '0c04f4908080'],
    ['text', 'a BMPString of odd length', '1e03004100'],
    ['text', 'a high surrogate alone', '1e02d83d'],
    ['text', 'a low surrogate alone', '1e02de00'],
    ['text', 'a PrintableString beyond ASCII', '1301e4'],
    ['text', 'an IA5String beyond ASCII', '1601e4'],
    ['text', 'a VisibleString beyond ASCII', '1a01e4'],
    ['text', 'a constructed UTF8String', '2c030c0161'],
    ['enter', 'a SET', '3100'],
  ];
  for (const [method, what, input, code] of rows) {
    test(`${method}: ${what}`, () => {
      assertRefused(() => readings[method](reader(input)), [code ?? 'der_malformed'], input);
    });
  }
});

describe('DerReader.time refuses', () => {
  const utcTimes = [
    '2601010000Z',
    '260101000000',
    '260101000000+0000',
    '260101000000z',
    '260101000000.0Z',
    '26010100000 Z',
    '26010100000:Z',
    '26010100000/Z',
    '260001000000Z',
    '261301000000Z',
    '260100000000Z',
    '260132000000Z',
    '260230000000Z',
    '260229000000Z',
    '260431000000Z',
    '260101240000Z',
    '260101006000Z',
    '260101000060Z',
    '20260101000000Z',
    '-60101000000Z',
    '',
    'Z',
  ];
  const generalizedTimes = [
    '202601010000Z',
    '20260101000000',
    '20260101000000.5Z',
    '20260101000000,5Z',
    '20260101000000+0100',
    '260101000000Z',
    '20260230000000Z',
    '19000229000000Z',
    '21000229000000Z',
    '20260101240000Z',
    '20260101000060Z',
    '2026010100000００Z',
    '+2026010100000Z',
  ];
  for (const [type, texts] of [
    [tag.utcTime, utcTimes],
    [tag.generalizedTime, generalizedTimes],
  ] as const) {
    for (const text of texts) {
      test(`${type === tag.utcTime ? 'UTCTime' : 'GeneralizedTime'} “${text}”`, () => {
        assertRefused(
          () => new DerReader(der(type, Buffer.from(text, 'utf8'))).time(),
          ['der_malformed'],
          text,
        );
      });
    }
  }
  test('a string that looks like a time', () => {
    assertRefused(
      () => new DerReader(der(tag.ia5String, Buffer.from('260101000000Z'))).time(),
      ['der_malformed'],
      '',
    );
  });
});

describe('DerReader reads', () => {
  const rows: readonly (readonly [keyof typeof readings, input: string, have: unknown])[] = [
    ['boolean', '010100', false],
    ['boolean', '0101ff', true],
    ['smallInteger', '020100', 0],
    ['smallInteger', '02020080', 128],
    ['smallInteger', '02047fffffff', 2 ** 31 - 1],
    ['oid', '0603550403', '2.5.4.3'],
    ['oid', '060127', '0.39'],
    ['oid', '060128', '1.0'],
    ['oid', '06014f', '1.39'],
    ['oid', '060150', '2.0'],
    ['oid', '06028837', '2.999'],
    ['oid', '0609558fffffffffffff7f', `2.5.${Number.MAX_SAFE_INTEGER}`],
    ['text', '0c00', ''],
    ['text', '0c04f09f9880', '😀'],
    ['text', '0c04efbbbf61', '\uFEFFa'],
    ['text', '13012a', '*'],
    ['text', '1401fc', 'ü'],
    ['text', '1e0400fc0061', 'üa'],
    ['text', '1e04d83dde00', '😀'],
    ['namedBits', '030205a0', [true, false, true]],
    ['namedBits', '030200a0', [true, false, true, false, false, false, false, false]],
    ['namedBits', '030100', []],
  ];
  for (const [method, input, have] of rows) {
    test(`${method} ${input}`, () => {
      const input2 = reader(input);
      assert.deepEqual(readings[method](input2), have);
      input2.end();
    });
  }

  const times: readonly (readonly [number, text: string, iso: string])[] = [
    [tag.utcTime, '491231235959Z', '2049-12-31T23:59:59.000Z'],
    [tag.utcTime, '500101000000Z', '1950-01-01T00:00:00.000Z'],
    [tag.utcTime, '000229120000Z', '2000-02-29T12:00:00.000Z'],
    [tag.utcTime, '991231235959Z', '1999-12-31T23:59:59.000Z'],
    [tag.generalizedTime, '20500101000000Z', '2050-01-01T00:00:00.000Z'],
    [tag.generalizedTime, '20260101000000Z', '2026-01-01T00:00:00.000Z'],
    [tag.generalizedTime, '99991231235959Z', '9999-12-31T23:59:59.000Z'],
    [tag.generalizedTime, '00000229000000Z', '0000-02-29T00:00:00.000Z'],
    [tag.generalizedTime, '00490101000000Z', '0049-01-01T00:00:00.000Z'],
  ];
  for (const [type, text, iso] of times) {
    test(`time ${text}`, () => {
      assert.equal(new DerReader(der(type, Buffer.from(text))).time().toISOString(), iso);
    });
  }

  test('elements in order, as views of the input', () => {
    const input = octets('020105 3003 0c0161 0500');
    const outer = new DerReader(input);
    assert.equal(outer.nextTag, tag.integer);
    assert.equal(outer.optional(tag.set), undefined);
    assert.deepEqual(outer.optional(tag.integer)?.content, octets('05'));
    const element = outer.expect(tag.sequence);
    assert.equal(element.raw.buffer, input.buffer);
    assert.deepEqual(
      [element.tag, element.raw, element.content],
      [0x30, octets('30030c0161'), octets('0c0161')],
    );
    assert.equal(outer.enterOptional(tag.sequence), undefined);
    assert.equal(outer.done, false);
    assertRefused(() => outer.end(), ['der_malformed'], 'an element is left');
    outer.skip(tag.null);
    assert.equal(outer.done, true);
    assert.equal(outer.nextTag, undefined);
    outer.end();
    assertRefused(() => outer.element(), ['der_malformed'], 'nothing is left');
  });

  test('nothing beyond the element that was entered', () => {
    const inner = reader('3003 020105 020106').enter();
    assert.deepEqual(inner.integer(), octets('05'));
    assert.equal(inner.done, true);
    assert.equal(inner.nextTag, undefined);
    assertRefused(() => inner.integer(), ['der_malformed'], 'the sibling');
    const short = reader('3002 0201 05').enter();
    assertRefused(() => short.integer(), ['der_malformed'], 'an element that reaches beyond its holder');
  });

  test('thirty-two levels and not one more', () => {
    let level = new DerReader(octets('3000'));
    let bytes: Uint8Array = octets('');
    for (let depth = 0; depth < 33; depth += 1) bytes = sequence(bytes);
    level = new DerReader(bytes);
    for (let depth = 0; depth < 32; depth += 1) level = level.enter();
    assertRefused(() => level.enter(), ['der_limit'], 'the thirty-third');
  });

  test('readDer wants all of it read', () => {
    assertRefused(() => readDer(octets('3003020105'), tag.sequence, () => 1), ['der_malformed'], 'inside');
    assertRefused(() => readDer(octets('30000500'), tag.sequence, () => 1), ['der_malformed'], 'after');
    assert.equal(
      readDer(octets('3000'), tag.sequence, () => 1),
      1,
    );
  });
});

describe('loose values', () => {
  test('smallNumber refuses what is no small number', () => {
    for (const content of ['', '80', 'ffffffff', '0000000001']) {
      assertRefused(() => smallNumber(octets(content)), ['der_malformed'], content);
    }
  });
  test('dottedOid refuses what is no identifier', () => {
    for (const content of ['', '80', '5580', '55'.repeat(41)]) {
      assertRefused(() => dottedOid(octets(content)), ['der_malformed'], content);
    }
  });
  test('dottedOid tells identifiers apart whose hashes agree', () => {
    // 31 * 0x55 + 0x04 = 31 * 0x54 + 0x23
    assert.equal(dottedOid(octets('5504')), '2.5.4');
    assert.equal(dottedOid(octets('5423')), '2.4.35');
    assert.equal(dottedOid(octets('5504')), '2.5.4');
  });
  test('dottedOid keeps answering when a sender invents identifiers without end', () => {
    for (let arc = 0; arc < 5_000; arc += 1) {
      const dotted = `1.3.6.1.4.1.99999.${arc}`;
      assert.equal(dottedOid(objectIdentifier(dotted).subarray(2)), dotted);
    }
    for (const dotted of Object.values(oid))
      assert.equal(dottedOid(objectIdentifier(dotted).subarray(2)), dotted);
  });
  test('sameOctets', () => {
    assert.equal(sameOctets(octets('0102'), octets('0102')), true);
    assert.equal(sameOctets(octets('0102'), octets('010200')), false);
    assert.equal(sameOctets(octets('0102'), octets('0103')), false);
  });
});

describe('writing refuses', () => {
  const rows: readonly (readonly [what: string, act: () => unknown])[] = [
    ['an identifier of one arc', () => objectIdentifier('1')],
    ['no identifier', () => objectIdentifier('')],
    ['a first arc of 3', () => objectIdentifier('3.1')],
    ['a second arc of 40 under 0', () => objectIdentifier('0.40')],
    ['a second arc of 40 under 1', () => objectIdentifier('1.40.1')],
    ['an arc with a leading zero', () => objectIdentifier('1.02')],
    ['a negative arc', () => objectIdentifier('1.-2')],
    ['an arc beyond 2^53', () => objectIdentifier('2.5.9007199254740992')],
    ['a second arc that passes 2^53 with its first', () => objectIdentifier('2.9007199254740991')],
    ['more octets than are read', () => objectIdentifier(`2.5${'.300'.repeat(20)}`)],
    ['a trailing dot', () => objectIdentifier('1.2.')],
    ['a line feed', () => objectIdentifier('1.2\n')],
    ['a negative integer', () => integer(-1)],
    ['a fraction', () => integer(1.5)],
    ['an integer beyond 2^53', () => integer(2 ** 53)],
    ['not a number', () => integer(Number.NaN)],
    ['an invalid date', () => time(new Date(Number.NaN))],
    ['a date in the year 10000', () => time(new Date('+010000-01-01T00:00:00Z'))],
    ['a date before the year 0', () => generalizedTime(new Date('-000001-12-31T23:59:59Z'))],
  ];
  for (const [what, act] of rows) test(what, () => void assertRefused(act, ['der_malformed'], what));
});

describe('writing', () => {
  const rows: readonly (readonly [what: string, have: Uint8Array, want: string])[] = [
    ['a length of 127', der(4, new Uint8Array(127)).subarray(0, 3), '047f00'],
    ['a length of 128', der(4, new Uint8Array(128)).subarray(0, 4), '04818000'],
    ['a length of 255', der(4, new Uint8Array(255)).subarray(0, 4), '0481ff00'],
    ['a length of 256', der(4, new Uint8Array(256)).subarray(0, 5), '0482010000'],
    ['a length of 65536', der(4, new Uint8Array(65536)).subarray(0, 6), '048301000000'],
    ['a length of 16777216', der(4, new Uint8Array(16777216)).subarray(0, 7), '04840100000000'],
    ['0', integer(0), '020100'],
    ['127', integer(127), '02017f'],
    ['128', integer(128), '02020080'],
    ['256', integer(256), '02020100'],
    ['2^53 - 1', integer(2 ** 53 - 1), '02071fffffffffffff'],
    ['unsigned nothing', unsignedInteger(octets('')), '020100'],
    ['unsigned zeros', unsignedInteger(octets('0000')), '020100'],
    ['unsigned 0080', unsignedInteger(octets('0080')), '02020080'],
    ['unsigned 00007f', unsignedInteger(octets('00007f')), '02017f'],
    ['TRUE', booleanTrue, '0101ff'],
    ['NULL', nullValue, '0500'],
    ['BIT STRING', bitString(octets('aa')), '030200aa'],
    ['no named bits', namedBitString([false, false]), '030100'],
    ['nine named bits', namedBitString([...new Array(8).fill(false), true]), '0303070080'],
    [
      'SET OF, shorter first',
      setOf([octets('020101'), octets('0400'), octets('020100')]),
      '3108 020100 020101 0400',
    ],
    ['2.999', objectIdentifier('2.999'), '06028837'],
    [
      'the end of 2049',
      time(new Date('2049-12-31T23:59:59.999Z')),
      hex(der(tag.utcTime, Buffer.from('491231235959Z'))),
    ],
    [
      'the beginning of 2050',
      time(new Date('2050-01-01T00:00:00Z')),
      hex(der(tag.generalizedTime, Buffer.from('20500101000000Z'))),
    ],
    [
      'the end of 1949',
      time(new Date('1949-12-31T23:59:59Z')),
      hex(der(tag.generalizedTime, Buffer.from('19491231235959Z'))),
    ],
    [
      'the year 33',
      time(new Date('0033-04-03T15:00:00Z')),
      hex(der(tag.generalizedTime, Buffer.from('00330403150000Z'))),
    ],
  ];
  for (const [what, have, want] of rows) test(what, () => assert.equal(hex(have), want.replaceAll(' ', '')));

  test('a list too long for arguments', () => {
    const parts = new Array<Uint8Array>(300_000).fill(octetString(Uint8Array.of(1)));
    assert.equal(derOf(tag.sequence, parts).length, 5 + 900_000);
  });
});

describe('what is written is read', () => {
  const arcs = fc.oneof(fc.nat(200), fc.maxSafeNat());
  const dottedOids = fc
    .oneof(
      fc.tuple(fc.constantFrom(0, 1), fc.nat(39), fc.array(arcs, { maxLength: 4 })),
      fc.tuple(fc.constant(2), fc.oneof(fc.nat(200), fc.nat()), fc.array(arcs, { maxLength: 4 })),
    )
    .map(([first, second, rest]) => [first, second, ...rest].join('.'));

  test('object identifiers', () => {
    fc.assert(
      fc.property(dottedOids, (dotted) =>
        assert.equal(new DerReader(objectIdentifier(dotted)).oid(), dotted),
      ),
      { numRuns: 2_000 },
    );
  });
  test('integers', () => {
    fc.assert(
      fc.property(fc.nat(2 ** 31 - 1), (value) =>
        assert.equal(new DerReader(integer(value)).smallInteger(), value),
      ),
    );
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 40 }), (value) => {
        const content = new DerReader(unsignedInteger(value)).integer();
        assert.equal(BigInt(`0x${hex(content)}`), BigInt(`0x${hex(value)}`));
        assert.ok((content[0] as number) < 0x80);
      }),
    );
  });
  test('named bits', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { maxLength: 30 }), (bits) => {
        const read = namedBits(new DerReader(namedBitString(bits)).content(tag.bitString));
        assert.deepEqual(read, bits.slice(0, bits.lastIndexOf(true) + 1));
      }),
    );
  });
  test('times', () => {
    const dates = fc.date({
      min: new Date('0000-01-01T00:00:00Z'),
      max: new Date('9999-12-31T23:59:59Z'),
      noInvalidDate: true,
    });
    fc.assert(
      fc.property(dates, (date) => {
        const second = Math.floor(date.getTime() / 1000) * 1000;
        assert.equal(new DerReader(time(date)).time().getTime(), second);
        assert.equal(new DerReader(generalizedTime(date)).time().getTime(), second);
      }),
      { numRuns: 2_000 },
    );
  });
  test('elements of any size', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 70_000 }),
        fc.constantFrom(0x04, 0x30, 0xa0),
        (size, tagOctet) => {
          const content = new Uint8Array(size).fill(7);
          const element = new DerReader(der(tagOctet, content)).element();
          assert.equal(element.tag, tagOctet);
          assert.ok(sameOctets(element.content, content));
        },
      ),
    );
  });
});
