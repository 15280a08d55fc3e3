import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { assertRefused, encoded, specimens, type Tree, treeOf } from '../../test/support/codec-fixture.ts';
import {
  berLimits,
  der,
  hex,
  joinOctetStrings,
  normalizeBer,
  octetString,
  parseEnvelopedData,
  parseSignedData,
  sequence,
  tag,
} from './index.ts';

const octets = (text: string): Uint8Array => Buffer.from(text.replaceAll(' ', ''), 'hex');

describe('joinOctetStrings refuses', () => {
  for (const [what, piece] of [
    ['nothing', ''],
    ['another type', '020101'],
    ['a piece that is constructed', '2403040101'],
    ['a piece that is cut off', '0402 01'],
    ['a piece with something after it', '040101 00'],
    ['a piece whose length is not in shortest form', '04810101'],
  ] as const) {
    test(what, () => {
      assertRefused(() => joinOctetStrings([octets('040107'), octets(piece)]), ['der_malformed'], what);
    });
  }
  test('and joins what is right', () => {
    assert.equal(hex(joinOctetStrings([octets('040107'), octets('0400'), octets('04020809')])), '070809');
    assert.equal(joinOctetStrings([]).length, 0);
  });
});

describe('the limits', () => {
  const open = (inner: Uint8Array): Uint8Array =>
    Buffer.concat([Uint8Array.of(0x30, 0x80), inner, Uint8Array.of(0, 0)]);

  test('size', () => {
    const limits = { ...berLimits, sizeBytesMax: 10 };
    assert.equal(normalizeBer(sequence(new Uint8Array([4, 6, 0, 0, 0, 0, 0, 0])), limits).length, 10);
    assertRefused(
      () => normalizeBer(sequence(octetString(new Uint8Array(7))), limits),
      ['der_limit'],
      'eleven',
    );
    assertRefused(
      () => normalizeBer(new Uint8Array(2 * 1024 * 1024 + 1)),
      ['der_limit'],
      'more than two mebibytes',
    );
  });

  test('depth, the same for DER and BER', () => {
    const limits = { ...berLimits, depthMax: 3 };
    const three = sequence(sequence(sequence(octetString(octets('')))));
    assert.equal(normalizeBer(three, limits), three);
    assert.equal(hex(normalizeBer(open(open(open(octetString(octets(''))))), limits)), hex(three));
    assertRefused(() => normalizeBer(sequence(three), limits), ['der_limit'], 'DER');
    assertRefused(() => normalizeBer(open(three), limits), ['der_limit'], 'BER');
  });

  test('elements, of BER alone', () => {
    const limits = { ...berLimits, elementsMax: 5 };
    const four = new Array<Uint8Array>(4).fill(octetString(octets('')));
    assert.equal(hex(normalizeBer(open(Buffer.concat(four)), limits)), hex(sequence(...four)));
    assertRefused(
      () => normalizeBer(open(Buffer.concat([...four, octets('0400')])), limits),
      ['der_limit'],
      'six',
    );
    const many = sequence(...four, ...four);
    assert.equal(normalizeBer(many, limits), many);
  });
});

describe('DER', () => {
  for (const [kind, bytes] of Object.entries(specimens)) {
    test(`${kind}: the very same array comes back`, () => assert.equal(normalizeBer(bytes), bytes));
  }
  test('any DER comes back as it is', () => {
    fc.assert(
      fc.property(trees, (tree) => {
        const bytes = encoded(tree);
        assert.equal(normalizeBer(bytes), bytes);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('BER becomes DER', () => {
  test('any re-encoding of any DER', () => {
    fc.assert(
      fc.property(trees, fc.infiniteStream(fc.nat(255)), (tree, chance) => {
        const draw = drawFrom(chance);
        const ber = reencoded(tree, draw);
        assert.equal(hex(normalizeBer(ber)), hex(encoded(tree)), hex(ber));
      }),
      { numRuns: 5_000 },
    );
  });

  for (const kind of ['signedData', 'envelopedData', 'certificate', 'request', 'crl'] as const) {
    test(`any re-encoding of the ${kind}`, () => {
      const tree = treeOf(specimens[kind]);
      let changed = 0;
      fc.assert(
        fc.property(fc.infiniteStream(fc.nat(255)), (chance) => {
          const ber = reencoded(tree, drawFrom(chance));
          if (hex(ber) !== hex(specimens[kind])) changed += 1;
          assert.equal(hex(normalizeBer(ber)), hex(specimens[kind]));
        }),
        { numRuns: 300 },
      );
      assert.ok(changed > 250, `${changed} re-encodings differed`);
    });
  }

  test('SignedData and EnvelopedData are read alike in any encoding', () => {
    const signedData = parseSignedData(specimens.signedData);
    const enveloped = parseEnvelopedData(specimens.envelopedData);
    const withPieces = treeOf(specimens.envelopedData);
    cutEncryptedContent(withPieces);
    fc.assert(
      fc.property(fc.infiniteStream(fc.nat(255)), (chance) => {
        const draw = drawFrom(chance);
        assert.deepEqual(parseSignedData(reencoded(treeOf(specimens.signedData), draw)), signedData);
        assert.deepEqual(parseEnvelopedData(reencoded(treeOf(specimens.envelopedData), draw)), enveloped);
        assert.deepEqual(parseEnvelopedData(reencoded(withPieces, draw)), enveloped);
      }),
      { numRuns: 200 },
    );
  });
});

/** RFC 5652 §6.1: encryptedContent is [0] IMPLICIT OCTET STRING; in pieces it becomes constructed. */
function cutEncryptedContent(node: Tree): void {
  for (const child of node.children ?? []) {
    if (child.tag === 0x80 && child.content.length > 64) {
      Object.assign(child, {
        tag: 0xa0,
        children: [
          treeOf(octetString(child.content.subarray(0, 100))),
          treeOf(octetString(child.content.subarray(100))),
        ],
      });
    } else cutEncryptedContent(child);
  }
}

/** Any tree of definite, minimal elements without a string in pieces. */
const { tree: trees } = fc.letrec<{ tree: Tree }>((tie) => ({
  tree: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.record({
      tag: fc.constantFrom<number>(
        tag.octetString,
        tag.octetString,
        tag.integer,
        tag.oid,
        tag.utf8String,
        0x80,
        0x82,
      ),
      content: fc.oneof(fc.uint8Array({ maxLength: 20 }), fc.uint8Array({ minLength: 120, maxLength: 300 })),
      children: fc.constant(undefined),
    }),
    fc.record({
      tag: fc.constantFrom<number>(tag.sequence, tag.set, 0xa0, 0xa3),
      content: fc.constant(new Uint8Array()),
      children: fc.array(tie('tree'), { maxLength: 5 }),
    }),
  ),
}));

type Draw = (below: number) => number;

function drawFrom(chance: Iterator<number>): Draw {
  return (below) => (chance.next().value as number) % below;
}

/** The tree in one of the many ways of BER. */
function reencoded(tree: Tree, draw: Draw): Uint8Array {
  if (tree.children !== undefined)
    return framed(
      tree.tag,
      tree.children.map((child) => reencoded(child, draw)),
      draw,
    );
  if (tree.tag === tag.octetString && draw(2) === 0) return inPieces(tree.content, 3, draw);
  return Buffer.concat([Uint8Array.of(tree.tag), anyLength(tree.content.length, draw), tree.content]);
}

function inPieces(content: Uint8Array, levelsLeft: number, draw: Draw): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < content.length; ) {
    const piece = content.subarray(at, at + 1 + draw(200));
    at += piece.length;
    parts.push(
      levelsLeft > 0 && draw(4) === 0
        ? inPieces(piece, levelsLeft - 1, draw)
        : Buffer.concat([Uint8Array.of(tag.octetString), anyLength(piece.length, draw), piece]),
    );
  }
  if (draw(4) === 0) parts.push(octetString(new Uint8Array()));
  return framed(0x24, parts, draw);
}

function framed(tagOctet: number, parts: readonly Uint8Array[], draw: Draw): Uint8Array {
  const content = Buffer.concat(parts);
  return draw(2) === 0
    ? Buffer.concat([Uint8Array.of(tagOctet, 0x80), content, Uint8Array.of(0, 0)])
    : Buffer.concat([Uint8Array.of(tagOctet), anyLength(content.length, draw), content]);
}

/** The length in shortest form or with up to as many zeros before it as four octets allow. */
function anyLength(length: number, draw: Draw): Uint8Array {
  const shortest = der(0x04, new Uint8Array(length)).subarray(1, -length || undefined);
  const digits = shortest.length === 1 ? shortest : shortest.subarray(1);
  const zeros = draw(5 - digits.length);
  if (draw(2) === 0) return shortest;
  return Uint8Array.of(0x80 | (digits.length + zeros), ...new Uint8Array(zeros), ...digits);
}
