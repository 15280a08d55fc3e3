import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  assertRefused,
  certificateFields,
  clientKey,
  deviceKey,
  encoded,
  nodesOf,
  raKey,
  specimens,
  type Tree,
  treeOf,
} from '../../test/support/codec-fixture.ts';
import {
  buildCertificate,
  buildName,
  buildSerialNumber,
  buildSigned,
  buildTbsCertificate,
  type CertificateFields,
  DerReader,
  der,
  hex,
  integer,
  nameFromString,
  nameToString,
  octetString,
  oid,
  parseCertificate,
  sameAlgorithm,
  sequence,
  serialNumberText,
  tag,
  thumbprintOf,
  utf8String,
  verifyCertificateSignature,
} from './index.ts';

const octets = (text: string): Uint8Array => Buffer.from(text.replaceAll(' ', ''), 'hex');

/** The specimen certificate with one part of its TBSCertificate changed; its signature no longer matters. */
function changed(change: (fields: Tree[], outer: Tree[]) => void): Uint8Array {
  const root = treeOf(specimens.certificate);
  const outer = root.children as Tree[];
  change((outer[0] as Tree).children as Tree[], outer);
  return encoded(root);
}
const leaf = (bytes: Uint8Array): Tree => treeOf(bytes);
const field = {
  version: 0,
  serialNumber: 1,
  signature: 2,
  issuer: 3,
  validity: 4,
  subject: 5,
  spki: 6,
  extensions: 7,
};

describe('parseCertificate refuses', () => {
  const rows: readonly (readonly [what: string, bytes: Uint8Array, message: RegExp])[] = [
    [
      'version 1 with extensions',
      changed((fields) => fields.splice(field.version, 1)),
      /extensions need version 3/,
    ],
    [
      'version 2 with extensions',
      changed((fields) => fields.splice(field.version, 1, leaf(der(0xa0, integer(1))))),
      /extensions need version 3/,
    ],
    [
      'version 2 with no extension in the field',
      changed((fields) => {
        fields[field.version] = leaf(der(0xa0, integer(1)));
        fields[field.extensions] = leaf(der(0xa3, sequence()));
      }),
      /extensions need version 3/,
    ],
    [
      'a version of two numbers',
      changed((fields) => fields.splice(field.version, 1, leaf(der(0xa0, integer(2), integer(2))))),
      /follow the last/,
    ],
    [
      'a version that is no number',
      changed((fields) => fields.splice(field.version, 1, leaf(der(0xa0, octets('0500'))))),
      /expected tag 02/,
    ],
    [
      'an empty serial number',
      changed((fields) => fields.splice(field.serialNumber, 1, leaf(octets('0200')))),
      /empty INTEGER/,
    ],
    [
      'another algorithm inside',
      changed((fields) =>
        fields.splice(field.signature, 1, leaf(sequence(octets('06092a864886f70d01010c0500')))),
      ),
      /signature algorithms differ/,
    ],
    [
      'other parameters inside',
      changed((fields) =>
        fields.splice(field.signature, 1, leaf(sequence(octets('06092a864886f70d01010b')))),
      ),
      /signature algorithms differ/,
    ],
    [
      'an issuer that is no name',
      changed((fields) => fields.splice(field.issuer, 1, leaf(sequence(octets('0500'))))),
      /expected tag 31/,
    ],
    ['one date', changed((fields) => fields[field.validity]?.children?.pop()), /cut off/],
    [
      'three dates',
      changed((fields) =>
        fields[field.validity]?.children?.push(leaf(der(tag.utcTime, Buffer.from('260101000000Z')))),
      ),
      /follow the last/,
    ],
    [
      'a date that is text',
      changed((fields) => fields[field.validity]?.children?.splice(0, 1, leaf(utf8String('260101000000Z')))),
      /expected a time/,
    ],
    ['no key', changed((fields) => fields.splice(field.spki, 1)), /expected tag 30/],
    [
      'two lists of extensions in one field',
      changed((fields) => {
        const wrapper = fields[field.extensions] as Tree;
        wrapper.children?.push(wrapper.children[0] as Tree);
      }),
      /follow the last/,
    ],
    [
      'extensions twice',
      changed((fields) => fields.push(fields[field.extensions] as Tree)),
      /follow the last/,
    ],
    ['an unknown field', changed((fields) => fields.push(leaf(octets('a400')))), /follow the last/],
    [
      'a unique identifier after the extensions',
      changed((fields) => fields.push(leaf(octets('8101 00')))),
      /follow the last/,
    ],
    [
      'a signature with unused bits',
      changed((_, outer) => outer.splice(2, 1, leaf(octets('03020180')))),
      /does not fill/,
    ],
    ['a fourth part', changed((_, outer) => outer.push(leaf(octets('0500')))), /follow the last/],
    [
      'a megabyte',
      changed((fields) =>
        fields.splice(field.subject, 1, leaf(sequence(octetString(new Uint8Array(70_000))))),
      ),
      /over 65536/,
    ],
  ];
  for (const [what, bytes, message] of rows) {
    test(what, () => {
      const error = assertRefused(() => parseCertificate(bytes), ['certificate_malformed'], what);
      assert.match(error.message, message);
    });
  }
});

describe('parseCertificate reads', () => {
  test('every field of the specimen, as views of its octets', () => {
    const certificate = parseCertificate(specimens.certificate);
    assert.equal(certificate.raw, specimens.certificate);
    assert.equal(certificate.version, 3);
    assert.equal(certificate.serialNumber, certificateFields.serialNumber);
    assert.equal(hex(certificate.issuer.raw), hex(certificateFields.issuer.raw));
    assert.equal(hex(certificate.subject.raw), hex(certificateFields.subject.raw));
    assert.deepEqual(certificate.notBefore, certificateFields.notBefore);
    assert.deepEqual(certificate.notAfter, certificateFields.notAfter);
    assert.equal(hex(certificate.spki), hex(certificateFields.spki));
    assert.equal(certificate.signatureAlgorithm.oid, oid.sha256WithRSAEncryption);
    assert.deepEqual(
      certificate.extensions.map((extension) => [extension.oid, extension.critical, hex(extension.value)]),
      certificateFields.extensions.map((extension) => [
        extension.oid,
        extension.critical,
        hex(extension.value),
      ]),
    );
    assert.equal(
      hex(certificate.issuerAndSerialNumber),
      hex(sequence(certificate.issuer.raw, der(tag.integer, octets(certificate.serialNumber)))),
    );
    for (const view of [
      certificate.tbsCertificate,
      certificate.spki,
      certificate.signature,
      certificate.subject.raw,
    ]) {
      assert.equal(view.buffer, specimens.certificate.buffer);
    }
    assert.equal(
      thumbprintOf(certificate.raw),
      createHash('sha1').update(specimens.certificate).digest('hex').toUpperCase(),
    );
  });

  test('unique identifiers, which are passed over', () => {
    const with2 = changed((fields) =>
      fields.splice(field.extensions, 0, leaf(octets('8102 0001')), leaf(octets('8202 0002'))),
    );
    assert.equal(parseCertificate(with2).serialNumber, certificateFields.serialNumber);
  });

  test('the same from a Buffer, from a Uint8Array and from the middle of either', () => {
    const want = parseCertificate(Uint8Array.from(specimens.certificate));
    const padded = Buffer.concat([octets('ffff'), specimens.certificate, octets('ff')]);
    const inside = padded.subarray(2, -1);
    for (const bytes of [
      specimens.certificate,
      inside,
      new Uint8Array(inside.buffer, inside.byteOffset, inside.length),
    ]) {
      const have = parseCertificate(bytes);
      assert.equal(hex(have.tbsCertificate), hex(want.tbsCertificate));
      assert.deepEqual(have.subject.rdns, want.subject.rdns);
      assert.equal(have.serialNumber, want.serialNumber);
    }
  });
});

describe('serial numbers', () => {
  for (const [content, text] of [
    ['00', '00'],
    ['01', '01'],
    ['7f', '7f'],
    ['0080', '80'],
    ['00ff', 'ff'],
    ['ff', '-01'],
    ['80', '-80'],
    ['ff7f', '-81'],
    ['8000', '-8000'],
    ['0100', '0100'],
  ] as const) {
    test(`${content} is ${text}`, () => {
      assert.equal(serialNumberText(octets(content)), text);
      if (!text.startsWith('-')) assert.equal(hex(new DerReader(buildSerialNumber(text)).integer()), content);
    });
  }
  for (const text of ['', '0', 'abc', 'AB', '0x01', '-01', ' 01', '01 ', '01zz', 'zz']) {
    test(`“${text}” is none`, () => {
      assertRefused(() => buildSerialNumber(text), ['der_malformed'], text);
      assertRefused(
        () => buildTbsCertificate({ ...certificateFields, serialNumber: text }),
        ['der_malformed'],
        text,
      );
    });
  }
  test('two numbers never have the same text', () => {
    fc.assert(
      fc.property(fc.bigInt(-(2n ** 70n), 2n ** 70n), (value) => {
        const bits = BigInt((value < 0n ? -value - 1n : value).toString(2).length + 1);
        const length = (bits + 7n) / 8n;
        const digits = BigInt.asUintN(Number(length * 8n), value)
          .toString(16)
          .padStart(Number(length) * 2, '0');
        const text = serialNumberText(octets(digits));
        assert.equal(text.startsWith('-') ? -BigInt(`0x${text.slice(1)}`) : BigInt(`0x${text}`), value);
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('what is built is read', () => {
  const names = fc
    .array(
      fc.record({
        oid: fc.constantFrom(oid.commonName, oid.organizationName),
        value: fc.string({ unit: 'binary' }),
      }),
      {
        maxLength: 3,
      },
    )
    .map((attributes) => buildName(attributes.map((attribute) => [attribute])));
  const dates = fc
    .date({
      min: new Date('1900-01-01T00:00:00Z'),
      max: new Date('9999-12-31T23:59:59Z'),
      noInvalidDate: true,
    })
    .map((date) => new Date(Math.floor(date.getTime() / 1000) * 1000));
  const fields: fc.Arbitrary<CertificateFields> = fc.record({
    serialNumber: fc
      .uint8Array({ minLength: 1, maxLength: 20 })
      .map((serial) => hex(Uint8Array.of(1, ...serial))),
    signatureAlgorithm: fc.constantFrom('rsa-sha256', 'rsa-sha512', 'ecdsa-sha256', 'ecdsa-sha384'),
    issuer: names,
    notBefore: dates,
    notAfter: dates,
    subject: names,
    spki: fc.constantFrom(clientKey.spki, deviceKey.spki),
    extensions: fc.subarray([...certificateFields.extensions]),
  });

  test('certificates', async () => {
    await fc.assert(
      fc.asyncProperty(fields, fc.uint8Array({ minLength: 1, maxLength: 80 }), async (want, signature) => {
        const have = parseCertificate(await buildCertificate(want, async () => signature));
        assert.equal(have.version, 3);
        assert.equal(have.serialNumber, want.serialNumber);
        assert.equal(nameToString(have.issuer), nameToString(want.issuer));
        assert.equal(nameToString(have.subject), nameToString(want.subject));
        assert.deepEqual([have.notBefore, have.notAfter], [want.notBefore, want.notAfter]);
        assert.equal(hex(have.spki), hex(want.spki));
        assert.equal(hex(have.signature), hex(signature));
        assert.deepEqual(
          have.extensions.map((extension) => [extension.oid, extension.critical, hex(extension.value)]),
          want.extensions.map((extension) => [extension.oid, extension.critical, hex(extension.value)]),
        );
        assert.equal(hex(have.tbsCertificate), hex(buildTbsCertificate(want)));
      }),
      { numRuns: 1_000 },
    );
  });

  test('a certificate without extensions has no field for them', async () => {
    const bytes = await buildCertificate({ ...certificateFields, extensions: [] }, raKey.sign);
    assert.deepEqual(parseCertificate(bytes).extensions, []);
    assert.equal(
      nodesOf(treeOf(bytes)).some((node) => node.tag === 0xa3),
      false,
    );
  });

  test('nothing is added to what stands in the fields', () => {
    const fieldTags = treeOf(buildTbsCertificate(certificateFields)).children?.map((node) => node.tag);
    assert.deepEqual(fieldTags, [0xa0, 0x02, 0x30, 0x30, 0x30, 0x30, 0x30, 0xa3]);
  });
});

describe('verifyCertificateSignature', () => {
  test('says yes to the key that signed, no to others and to any changed bit', () => {
    const certificate = parseCertificate(specimens.certificate);
    assert.equal(verifyCertificateSignature(certificate, raKey.spki), true);
    assert.equal(verifyCertificateSignature(certificate, clientKey.spki), false);
    assert.equal(verifyCertificateSignature(certificate, deviceKey.spki), false);
    const end = certificate.tbsCertificate.length;
    for (let at = end - 5; at < end; at += 1) {
      const tbs = Uint8Array.from(certificate.tbsCertificate);
      tbs[at] = (tbs[at] as number) ^ 0x10;
      const forged = { ...certificate, tbsCertificate: tbs };
      assert.equal(verifyCertificateSignature(forged, raKey.spki), false);
    }
  });
  test('refuses an algorithm that it does not know, and a key that is none', () => {
    const certificate = parseCertificate(specimens.certificate);
    const pss = { ...certificate, signatureAlgorithm: { oid: '1.2.840.113549.1.1.10' } };
    assertRefused(() => verifyCertificateSignature(pss, raKey.spki), ['algorithm_unsupported'], 'PSS');
    assertRefused(
      () => verifyCertificateSignature(certificate, octets('3000')),
      ['algorithm_unsupported'],
      'no key',
    );
  });
  test('the outer algorithm is the one that is used', async () => {
    const tbs = buildTbsCertificate({ ...certificateFields, signatureAlgorithm: 'rsa-sha512' });
    const signed = buildSigned(tbs, 'rsa-sha512', await raKey.sign('rsa-sha512', tbs));
    assert.equal(verifyCertificateSignature(parseCertificate(signed), raKey.spki), true);
    assertRefused(
      () => parseCertificate(buildSigned(tbs, 'rsa-sha256', octets('00'))),
      ['certificate_malformed'],
      'two algorithms',
    );
  });
});

test('sameAlgorithm', () => {
  assert.equal(sameAlgorithm({ oid: '1.2' }, { oid: '1.2' }), true);
  assert.equal(
    sameAlgorithm({ oid: '1.2', parameters: octets('0500') }, { oid: '1.2', parameters: octets('0500') }),
    true,
  );
  assert.equal(sameAlgorithm({ oid: '1.2' }, { oid: '1.3' }), false);
  assert.equal(sameAlgorithm({ oid: '1.2' }, { oid: '1.2', parameters: octets('0500') }), false);
  assert.equal(
    sameAlgorithm({ oid: '1.2', parameters: octets('020101') }, { oid: '1.2', parameters: octets('0500') }),
    false,
  );
});

test('a name in a certificate keeps the octets that it came with', async () => {
  // Two encodings of the same text are two names: chains are built by octets.
  const raw = sequence(der(tag.set, sequence(octets('0603550403'), der(tag.t61String, Buffer.from('a')))));
  const issuer = { raw, rdns: nameFromString('CN=a').rdns };
  const certificate = parseCertificate(await buildCertificate({ ...certificateFields, issuer }, raKey.sign));
  assert.equal(hex(certificate.issuer.raw), hex(raw));
  assert.deepEqual(certificate.issuer.rdns, issuer.rdns);
});
