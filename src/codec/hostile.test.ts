/** Whatever the octets are, every parser answers or throws a PkiError of its documented codes, in bounded time. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  assertRefused,
  edited,
  edits,
  nodesOf,
  pem,
  restructured,
  restructurings,
  specimens,
  treeOf,
  valueUnlessRefused,
} from '../../test/support/codec-fixture.ts';
import { type ErrorCode, PkiError } from '../errors.ts';
import {
  authorityKeyIdentifierOf,
  basicConstraintsOf,
  type Certificate,
  type CertificationRequest,
  type Crl,
  commonNameOf,
  der,
  type EnvelopedData,
  type Extended,
  extKeyUsageOf,
  type GeneralName,
  generalNamesToString,
  keyIdentifier,
  keyUsageOf,
  type Name,
  nameFromString,
  nameToString,
  normalizeBer,
  octetString,
  parseCertificate,
  parseCertificationRequest,
  parseCrl,
  parseEnvelopedData,
  parseGeneralNames,
  parseName,
  parsePem,
  parsePublicKeyInfo,
  parseSignedData,
  readDer,
  readExtensions,
  type SignedData,
  sequence,
  signedAttributeOf,
  signerCertificateOf,
  subjectAltNameOf,
  subjectKeyIdentifierOf,
  tag,
  thumbprintOf,
  verifyCertificateSignature,
  verifyCertificationRequest,
  verifyCrlSignature,
  verifySigner,
} from './index.ts';

/** A parser, a valid input, what it may throw, and everything that may be asked of a value that it gave. */
interface Subject {
  readonly specimen: Uint8Array;
  readonly codes: readonly ErrorCode[];
  readonly parse: (bytes: Uint8Array) => unknown;
  /** Runs every reader of the value; each may throw what a reader documents. */
  readonly use: (value: never) => void;
}

const readerCodes: readonly ErrorCode[] = [
  'der_malformed',
  'der_limit',
  'cms_malformed',
  'algorithm_unsupported',
];
const quietly = (...acts: readonly (() => unknown)[]): void => {
  for (const act of acts) valueUnlessRefused(act, readerCodes);
};

function useName(value: Name): void {
  nameToString(value);
  commonNameOf(value);
}

function useGeneralNames(names: readonly GeneralName[]): void {
  generalNamesToString(names);
}

function useExtended(extended: Extended): void {
  quietly(
    () => keyUsageOf(extended),
    () => extKeyUsageOf(extended),
    () => useGeneralNames(subjectAltNameOf(extended)),
    () => basicConstraintsOf(extended),
    () => subjectKeyIdentifierOf(extended),
    () => authorityKeyIdentifierOf(extended),
  );
}

function useKey(spki: Uint8Array): void {
  quietly(
    () => usePublicKey(parsePublicKeyInfo(spki)),
    () => keyIdentifier(spki),
  );
}

function usePublicKey(key: ReturnType<typeof parsePublicKeyInfo>): void {
  if (key.type !== 'other') assert.ok(Number.isSafeInteger(key.bits) && key.bits >= 0, `${key.bits} bits`);
}

const subjects: Readonly<Record<string, Subject>> = {
  parseCertificate: {
    specimen: specimens.certificate,
    codes: ['certificate_malformed'],
    parse: parseCertificate,
    use: (certificate: Certificate) => {
      useName(certificate.issuer);
      useName(certificate.subject);
      useExtended(certificate);
      useKey(certificate.spki);
      thumbprintOf(certificate.raw);
      quietly(() =>
        assert.equal(typeof verifyCertificateSignature(certificate, certificate.spki), 'boolean'),
      );
    },
  },
  parseCertificationRequest: {
    specimen: specimens.request,
    codes: ['csr_malformed'],
    parse: parseCertificationRequest,
    use: (request: CertificationRequest) => {
      useName(request.subject);
      useExtended(request);
      useKey(request.spki);
      quietly(() => assert.equal(typeof verifyCertificationRequest(request), 'boolean'));
    },
  },
  parseCrl: {
    specimen: specimens.crl,
    codes: ['crl_malformed'],
    parse: parseCrl,
    use: (crl: Crl) => {
      useName(crl.issuer);
      useExtended(crl);
      quietly(() => assert.equal(typeof verifyCrlSignature(crl, specimens.rsaPublicKey), 'boolean'));
    },
  },
  parseSignedData: {
    specimen: specimens.signedData,
    codes: ['cms_malformed', 'der_limit', 'algorithm_unsupported'],
    parse: parseSignedData,
    use: (signedData: SignedData) => {
      for (const signerInfo of signedData.signerInfos) {
        quietly(
          () => signerCertificateOf(signedData, signerInfo),
          ...(signerInfo.signedAttrs?.attributes ?? []).map(
            (attribute) => () => signedAttributeOf(signerInfo, attribute.oid),
          ),
          ...signedData.certificates.map(
            (certificate) => () =>
              assert.equal(typeof verifySigner(signedData, signerInfo, certificate), 'boolean'),
          ),
        );
      }
    },
  },
  parseEnvelopedData: {
    specimen: specimens.envelopedData,
    codes: ['cms_malformed', 'der_limit', 'algorithm_unsupported'],
    parse: parseEnvelopedData,
    use: (enveloped: EnvelopedData) => assert.equal(enveloped.iv.length, enveloped.cipher.ivBytes),
  },
  parseName: {
    specimen: specimens.name,
    codes: ['der_malformed', 'der_limit'],
    parse: parseName,
    use: useName,
  },
  parseGeneralNames: {
    specimen: specimens.generalNames,
    codes: ['der_malformed', 'der_limit'],
    parse: parseGeneralNames,
    use: useGeneralNames,
  },
  'parsePublicKeyInfo of RSA': {
    specimen: specimens.rsaPublicKey,
    codes: ['der_malformed', 'der_limit'],
    parse: parsePublicKeyInfo,
    use: usePublicKey,
  },
  'parsePublicKeyInfo of EC': {
    specimen: specimens.ecPublicKey,
    codes: ['der_malformed', 'der_limit'],
    parse: parsePublicKeyInfo,
    use: usePublicKey,
  },
  readExtensions: {
    specimen: specimens.extensions,
    codes: ['der_malformed', 'der_limit'],
    parse: (bytes) => readDer(bytes, tag.sequence, readExtensions),
    use: (extensions: Extended['extensions']) => useExtended({ extensions }),
  },
  normalizeBer: {
    specimen: specimens.signedData,
    codes: ['der_malformed', 'der_limit'],
    parse: (bytes) => normalizeBer(bytes),
    // What it answers is DER: there is nothing left to do.
    use: (bytes: Uint8Array) => assert.equal(normalizeBer(bytes), bytes),
  },
};

/** Parses and uses the value; anything but a documented PkiError goes on to the test. */
function attempt(subject: Subject, bytes: Uint8Array): void {
  const value = valueUnlessRefused(() => subject.parse(bytes), subject.codes);
  if (value !== undefined) subject.use(value as never);
}

const RUNS = 20_000;

for (const [parser, subject] of Object.entries(subjects)) {
  describe(parser, () => {
    test('the specimen is taken', () => {
      subject.use(subject.parse(subject.specimen) as never);
    });

    test('is refused when it is cut off, wherever that is', () => {
      for (let end = 0; end < subject.specimen.length; end += 1) {
        assertRefused(() => subject.parse(subject.specimen.subarray(0, end)), subject.codes, `cut at ${end}`);
      }
    });

    test('is refused with anything after it', () => {
      for (const octet of [0x00, 0x05, 0x30, 0xff]) {
        const longer = Uint8Array.of(...subject.specimen, octet);
        assertRefused(() => subject.parse(longer), subject.codes, `followed by ${octet}`);
      }
      assertRefused(
        () => subject.parse(Uint8Array.of(...subject.specimen, 0, 0)),
        subject.codes,
        'followed by the end of contents',
      );
    });

    test('is refused when the outermost element is anything else', () => {
      for (let tagOctet = 0; tagOctet < 256; tagOctet += 1) {
        if (tagOctet === subject.specimen[0]) continue;
        const other = Uint8Array.from(subject.specimen);
        other[0] = tagOctet;
        if (parser === 'normalizeBer') attempt(subject, other);
        else assertRefused(() => subject.parse(other), subject.codes, `tag ${tagOctet}`);
      }
    });

    test('is refused for every length that is not DER, except by the normaliser', () => {
      const body = treeOf(subject.specimen);
      const content = Buffer.concat((body.children ?? []).map((child) => der(child.tag, contentOf(child))));
      const forms: Readonly<Record<string, Uint8Array>> = {
        'padded with a zero': Buffer.concat([
          Uint8Array.of(body.tag, 0x83, 0, content.length >> 8, content.length & 0xff),
          content,
        ]),
        'on four octets': Buffer.concat([
          Uint8Array.of(body.tag, 0x84, 0, 0, content.length >> 8, content.length & 0xff),
          content,
        ]),
        indefinite: Buffer.concat([Uint8Array.of(body.tag, 0x80), content, Uint8Array.of(0, 0)]),
      };
      for (const [form, bytes] of Object.entries(forms)) {
        if (/normalizeBer|SignedData|EnvelopedData/.test(parser)) {
          assert.deepEqual(subject.parse(bytes), subject.parse(subject.specimen), form);
        } else assertRefused(() => subject.parse(bytes), subject.codes, form);
      }
    });

    test('is refused for lengths that no input has', () => {
      for (const length of [
        [0xff],
        [0x85, 0, 0, 0, 0, 1],
        [0x88, 1, 0, 0, 0, 0, 0, 0, 0],
        [0x84, 0xff, 0xff, 0xff, 0xff],
        [0x84, 0x7f, 0xff, 0xff, 0xff],
        [0xfe, ...new Array(126).fill(0xff)],
      ]) {
        const bytes = Uint8Array.of(subject.specimen[0] as number, ...length, 2, 1, 1);
        assertRefused(() => subject.parse(bytes), subject.codes, `length ${length.join(' ')}`);
      }
    });

    test('is refused at once for 100 000 levels of nesting', { timeout: 10_000 }, () => {
      for (const [what, bomb] of Object.entries(bombs)) {
        assertRefused(() => subject.parse(bomb), subject.codes, what);
      }
    });

    test(`survives ${RUNS} changes of octets`, () => {
      fc.assert(
        fc.property(edits, (changes) => attempt(subject, edited(subject.specimen, changes))),
        { numRuns: RUNS },
      );
    });

    test('survives changes of structure with correct lengths', () => {
      fc.assert(
        fc.property(restructurings, (changes) => attempt(subject, restructured(subject.specimen, changes))),
        { numRuns: RUNS / 4 },
      );
    });

    test('survives any octets', () => {
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => attempt(subject, bytes)),
        { numRuns: RUNS / 4 },
      );
    });
  });
}

function contentOf(node: ReturnType<typeof treeOf>): Uint8Array {
  return node.children === undefined
    ? node.content
    : Buffer.concat(node.children.map((child) => der(child.tag, contentOf(child))));
}

/** Elements in elements, by every way of nesting. */
const LEVELS = 100_000;
const bombs: Readonly<Record<string, Uint8Array>> = {
  'indefinite SEQUENCEs': Buffer.alloc(2 * LEVELS, Buffer.of(0x30, 0x80)),
  'indefinite SEQUENCEs that end': Buffer.concat([
    Buffer.alloc(2 * LEVELS, Buffer.of(0x30, 0x80)),
    Buffer.alloc(2 * LEVELS),
  ]),
  'indefinite OCTET STRINGs that end': Buffer.concat([
    Buffer.alloc(2 * LEVELS, Buffer.of(0x24, 0x80)),
    Buffer.alloc(2 * LEVELS),
  ]),
  'definite SEQUENCEs': nested(LEVELS, 0x30),
  'definite [0]': nested(LEVELS, 0xa0),
};

function nested(levels: number, tagOctet: number): Uint8Array {
  const bytes = Buffer.alloc(6 * levels);
  for (let level = 0; level < levels; level += 1) {
    bytes[6 * level] = tagOctet;
    bytes[6 * level + 1] = 0x84;
    bytes.writeUInt32BE(6 * (levels - level - 1), 6 * level + 2);
  }
  return bytes;
}

describe('depth inside a valid frame', () => {
  // The parser enters these places, or keeps them unread; neither may recurse without bound.
  const deep = nested(2_000, 0x30);
  for (const [place, bytes] of Object.entries({
    'algorithm parameters': sequence(
      sequence(der(tag.oid, Uint8Array.of(0x2a, 3)), deep),
      der(tag.bitString, Uint8Array.of(0)),
    ),
    'a general name': sequence(der(0xa0, der(tag.oid, Uint8Array.of(0x2a, 3)), deep)),
    'a value of a name': sequence(der(tag.set, sequence(der(tag.oid, Uint8Array.of(0x2a, 3)), deep))),
  })) {
    test(place, () => {
      for (const subject of Object.values(subjects)) attempt(subject, bytes);
    });
  }
});

describe('time', () => {
  const size = 2 * 1024 * 1024;
  const messages: Readonly<Record<string, Uint8Array>> = {
    'tiny indefinite OCTET STRINGs': frame(
      Buffer.alloc(size - 64, Buffer.of(0x24, 0x80, 0x04, 0x00, 0x00, 0x00)),
    ),
    'tiny OCTET STRINGs in one constructed string': frame(
      der(0x24, Buffer.alloc(size - 64, Buffer.of(0x04, 0x00))),
    ),
    'a long string under thirty levels of constructed strings': frame(
      wrapped(30, 0x24, octetString(Buffer.alloc(size - 512))),
    ),
    'empty SEQUENCEs': frame(Buffer.alloc(size - 64, Buffer.of(0x30, 0x00))),
    'empty SEQUENCEs under thirty levels': frame(
      wrapped(30, 0x30, Buffer.alloc(size - 512, Buffer.of(0x30, 0x00))),
    ),
    'ends of contents': frame(Buffer.alloc(size - 64)),
  };
  for (const [what, bytes] of Object.entries(messages)) {
    for (const [parser, subject] of Object.entries(subjects)) {
      test(`${parser} spends little on ${what}`, () => {
        assert.ok(bytes.length <= size && bytes.length > size - 1024, `${bytes.length} octets`);
        const begin = process.hrtime.bigint();
        valueUnlessRefused(() => subject.parse(bytes), subject.codes);
        const seconds = Number(process.hrtime.bigint() - begin) / 1e9;
        assert.ok(seconds < 3, `${seconds} s`);
      });
    }
  }

  test('the work on nested strings grows with the size, not with its square', () => {
    const limits = { sizeBytesMax: 2 ** 30, depthMax: 32, elementsMax: 10_000_000 };
    const secondsFor = (octets: number): number => {
      const bytes = frame(wrapped(28, 0x24, Buffer.alloc(octets, Buffer.of(0x04, 0x01, 0x61))));
      let best = Number.POSITIVE_INFINITY;
      for (let round = 0; round < 3; round += 1) {
        const begin = process.hrtime.bigint();
        normalizeBer(bytes, limits);
        best = Math.min(best, Number(process.hrtime.bigint() - begin) / 1e9);
      }
      return best;
    };
    secondsFor(30_000);
    const small = secondsFor(60_000);
    const large = secondsFor(960_000);
    // Sixteen times the octets: linear work takes about 16 times as long, quadratic work 256 times.
    assert.ok(large < 100 * small + 0.1, `${small} s, then ${large} s`);
  });

  function frame(content: Uint8Array): Uint8Array {
    return Buffer.concat([Uint8Array.of(0x30, 0x80), content, Uint8Array.of(0, 0)]);
  }

  function wrapped(levels: number, tagOctet: number, content: Uint8Array): Uint8Array {
    let bytes = content;
    for (let level = 0; level < levels; level += 1) bytes = der(tagOctet, bytes);
    return bytes;
  }
});

describe('text', () => {
  test('nameFromString takes any text or throws name_malformed', () => {
    const pieces = fc.constantFrom(
      'CN',
      'cn',
      'OU',
      '1.2.3',
      '=',
      ',',
      '+',
      ';',
      '"',
      '\\',
      '\\20',
      '\\ff',
      ' ',
      '#',
      'é',
      '😀',
      '\ud800',
      '\0',
    );
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc
        .array(fc.oneof(pieces, fc.string({ maxLength: 3 })), { maxLength: 20 })
        .map((parts) => parts.join('')),
    );
    fc.assert(
      fc.property(text, (input) => {
        const value = valueUnlessRefused(() => nameFromString(input), ['name_malformed']);
        if (value !== undefined) assert.deepEqual(parseName(value.raw), value);
      }),
      { numRuns: RUNS },
    );
  });

  test('parsePem takes any text or throws pem_malformed', () => {
    fc.assert(
      fc.property(edits, (changes) => {
        const text = Buffer.from(edited(Buffer.from(pem, 'latin1'), changes)).toString('latin1');
        const blocks = valueUnlessRefused(() => parsePem(text, 'CERTIFICATE'), ['pem_malformed']);
        for (const block of blocks ?? []) attempt(subjects.parseCertificate as Subject, block);
      }),
      { numRuns: RUNS / 4 },
    );
  });

  test('nameFromString is done with a megabyte in a few seconds', { timeout: 10_000 }, () => {
    for (const text of [
      `CN=${'a'.repeat(1e6)}`,
      `CN=${'\\2c'.repeat(3e5)}`,
      `CN=${' '.repeat(1e6)}x`,
      ' '.repeat(1e6),
      '1.'.repeat(5e5),
      `${'CN=a,'.repeat(2e5)}CN=b`,
      `${'CN=a+'.repeat(2e5)}CN=b`,
      'CN="'.repeat(2e5),
    ]) {
      valueUnlessRefused(() => nameFromString(text), ['name_malformed']);
    }
  });
});

test('every damage that the parsers are tried with does change something', () => {
  // Guards the properties above against edits that leave everything as it was.
  const changed = fc
    .sample(edits, 200)
    .filter((changes) => !same(specimens.certificate, edited(specimens.certificate, changes)));
  const moved = fc
    .sample(restructurings, 200)
    .filter((changes) => !same(specimens.certificate, restructured(specimens.certificate, changes)));
  assert.ok(changed.length > 150, `${changed.length} of 200`);
  assert.ok(moved.length > 100, `${moved.length} of 200`);
  assert.ok(nodesOf(treeOf(specimens.certificate)).length > 50);
  assert.throws(
    () => parseCertificate(edited(specimens.certificate, [{ how: 'cut', at: 9, octet: 0 }])),
    PkiError,
  );

  function same(a: Uint8Array, b: Uint8Array): boolean {
    return Buffer.compare(a, b) === 0;
  }
});
