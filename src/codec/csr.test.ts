import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  assertRefused,
  clientKey,
  deviceKey,
  encoded,
  generalNames,
  name,
  specimens,
  type Tree,
  treeOf,
} from '../../test/support/codec-fixture.ts';
import {
  buildCertificationRequest,
  buildExtensions,
  buildName,
  type CertificationRequest,
  der,
  extKeyUsageExtension,
  extKeyUsageOf,
  hex,
  integer,
  keyUsageExtension,
  keyUsageOf,
  objectIdentifier,
  oid,
  parseCertificationRequest,
  printableString,
  sequence,
  subjectAltNameExtension,
  subjectAltNameOf,
  tag,
  utf8String,
  verifyCertificationRequest,
} from './index.ts';

const octets = (text: string): Uint8Array => Buffer.from(text.replaceAll(' ', ''), 'hex');
const attribute = (identifier: string, ...values: Uint8Array[]): Uint8Array =>
  sequence(objectIdentifier(identifier), der(tag.set, ...values));
const challenge = attribute(oid.challengePassword, printableString('a'));
const extensions = attribute(
  oid.extensionRequest,
  buildExtensions([keyUsageExtension(['digitalSignature'])]),
);

/** The specimen request with these attributes, or with other parts changed; its signature no longer matters. */
function having(...attributes: Uint8Array[]): Uint8Array {
  return changed((fields) => fields.splice(3, 1, treeOf(der(0xa0, ...attributes))));
}
function changed(change: (fields: Tree[], outer: Tree[]) => void): Uint8Array {
  const root = treeOf(specimens.request);
  const outer = root.children as Tree[];
  change((outer[0] as Tree).children as Tree[], outer);
  return encoded(root);
}

describe('parseCertificationRequest refuses', () => {
  const rows: readonly (readonly [what: string, bytes: Uint8Array, message: RegExp])[] = [
    ['version 1', changed((fields) => fields.splice(0, 1, treeOf(integer(1)))), /not v1\(0\)/],
    [
      'a negative version',
      changed((fields) => fields.splice(0, 1, treeOf(octets('0201ff')))),
      /out of range/,
    ],
    ['no version', changed((fields) => fields.splice(0, 1)), /expected tag 02/],
    ['no key', changed((fields) => fields.splice(2, 1)), /expected tag 30/],
    [
      'attributes as a SET',
      changed((fields) => fields.splice(3, 1, treeOf(der(tag.set)))),
      /follow the last/,
    ],
    ['attributes twice', changed((fields) => fields.push(fields[3] as Tree)), /follow the last/],
    ['two challengePasswords', having(challenge, challenge), /two challengePassword/],
    [
      'a challengePassword of two values',
      having(attribute(oid.challengePassword, printableString('a'), printableString('b'))),
      /follow the last/,
    ],
    ['a challengePassword of no value', having(attribute(oid.challengePassword)), /cut off/],
    [
      'a challengePassword that is no string',
      having(attribute(oid.challengePassword, integer(1))),
      /not a string/,
    ],
    [
      'a challengePassword that is not UTF-8',
      having(attribute(oid.challengePassword, octets('0c01ff'))),
      /not UTF-8/,
    ],
    ['two extensionRequests', having(extensions, extensions), /two extensionRequest/],
    [
      'two extensionRequests by two identifiers',
      having(extensions, attribute(oid.microsoftCertificateExtensions, sequence())),
      /two extensionRequest/,
    ],
    [
      'an extensionRequest of two values',
      having(attribute(oid.extensionRequest, sequence(), sequence())),
      /follow the last/,
    ],
    ['an extensionRequest of no value', having(attribute(oid.extensionRequest)), /expected tag 30/],
    [
      'an extension twice',
      having(
        attribute(oid.extensionRequest, buildExtensions([keyUsageExtension([]), keyUsageExtension([])])),
      ),
      /occurs twice/,
    ],
    ['an attribute without values', having(sequence(objectIdentifier('1.2.3'))), /expected tag 31/],
    [
      'an attribute of three parts',
      having(sequence(objectIdentifier('1.2.3'), der(tag.set), der(tag.set))),
      /follow the last/,
    ],
    [
      'more than 32 attributes',
      having(...new Array<Uint8Array>(33).fill(attribute('1.2.3', integer(1)))),
      /over 32/,
    ],
    [
      'a signature with unused bits',
      changed((_, outer) => outer.splice(2, 1, treeOf(octets('03020180')))),
      /does not fill/,
    ],
    [
      'more than 64 KiB',
      having(attribute('1.2.3', der(tag.octetString, new Uint8Array(70_000)))),
      /over 65536/,
    ],
  ];
  for (const [what, bytes, message] of rows) {
    test(what, () => {
      const error = assertRefused(() => parseCertificationRequest(bytes), ['csr_malformed'], what);
      assert.match(error.message, message);
    });
  }
});

describe('parseCertificationRequest reads', () => {
  test('the specimen, and proves possession of its key', () => {
    const request = parseCertificationRequest(specimens.request);
    assert.equal(request.raw, specimens.request);
    assert.equal(hex(request.subject.raw), hex(name.raw));
    assert.equal(hex(request.spki), hex(deviceKey.spki));
    assert.equal(request.challengePassword, 'one-time secret *');
    assert.deepEqual(keyUsageOf(request), ['digitalSignature']);
    assert.deepEqual(extKeyUsageOf(request), [oid.clientAuth]);
    assert.equal(subjectAltNameOf(request).length, generalNames.length);
    assert.equal(verifyCertificationRequest(request), true);
    assert.equal(verifyCertificationRequest(request), true, 'the verdict is kept');
  });

  const challenges: readonly (readonly [what: string, value: Uint8Array, have: string])[] = [
    ['PrintableString', printableString('abc'), 'abc'],
    ['UTF8String', utf8String('Schlüssel'), 'Schlüssel'],
    ['IA5String', der(tag.ia5String, Buffer.from('a@b')), 'a@b'],
    ['BMPString', der(tag.bmpString, octets('00e4')), 'ä'],
    ['T61String', der(tag.t61String, octets('e4')), 'ä'],
    ['the empty string', printableString(''), ''],
  ];
  for (const [what, value, have] of challenges) {
    test(`a challenge as ${what}`, () => {
      const request = parseCertificationRequest(having(attribute(oid.challengePassword, value)));
      assert.equal(request.challengePassword, have);
      assert.deepEqual(request.extensions, []);
    });
  }

  test('attributes in any order, known or not', () => {
    const unknown = attribute('1.3.6.1.4.1.311.13.2.3', utf8String('10.0'));
    for (const list of [
      [unknown, challenge, extensions],
      [extensions, challenge, unknown],
      [unknown, unknown, extensions, challenge],
    ]) {
      const request = parseCertificationRequest(having(...list));
      assert.equal(request.challengePassword, 'a');
      assert.deepEqual(keyUsageOf(request), ['digitalSignature']);
    }
  });

  test('no attributes, present or absent', () => {
    for (const bytes of [having(), changed((fields) => fields.pop())]) {
      const request = parseCertificationRequest(bytes);
      assert.equal('challengePassword' in request, false);
      assert.deepEqual(request.extensions, []);
    }
  });
});

describe('verifyCertificationRequest', () => {
  const request = parseCertificationRequest(specimens.request);
  /** A request is judged once, so every forgery is an object of its own. */
  const forged = (change: Partial<CertificationRequest>): CertificationRequest => ({ ...request, ...change });

  test('says no to any change', () => {
    const info = Uint8Array.from(request.certificationRequestInfo);
    info[info.length - 1] = (info[info.length - 1] as number) ^ 1;
    assert.equal(verifyCertificationRequest(forged({ certificationRequestInfo: info })), false);
    assert.equal(verifyCertificationRequest(forged({ spki: clientKey.spki })), false);
    assert.equal(verifyCertificationRequest(forged({ signature: octets('3006020101020101') })), false);
    assert.equal(verifyCertificationRequest(forged({ signature: octets('') })), false);
    assert.equal(
      verifyCertificationRequest(forged({ signatureAlgorithm: { oid: oid.ecdsaWithSHA512 } })),
      false,
    );
    assert.equal(
      verifyCertificationRequest(forged({ signatureAlgorithm: { oid: oid.sha256WithRSAEncryption } })),
      false,
    );
  });
  test('refuses what it does not know', () => {
    const md5 = forged({ signatureAlgorithm: { oid: oid.md5WithRSAEncryption } });
    assertRefused(() => verifyCertificationRequest(md5), ['algorithm_unsupported'], 'MD5');
    assertRefused(
      () => verifyCertificationRequest(forged({ spki: sequence() })),
      ['algorithm_unsupported'],
      'no key',
    );
  });
});

test('what is built is read', async () => {
  const fields = fc.record(
    {
      subject: fc
        .array(fc.string({ unit: 'binary', minLength: 1 }), { maxLength: 3 })
        .map((values) => buildName(values.map((value) => [{ oid: oid.commonName, value }]))),
      spki: fc.constantFrom(clientKey.spki, deviceKey.spki),
      challengePassword: fc.string({ unit: 'binary' }),
      extensions: fc.subarray([
        subjectAltNameExtension(generalNames, name),
        keyUsageExtension(['keyEncipherment']),
        extKeyUsageExtension([oid.clientAuth]),
      ]),
      signatureAlgorithm: fc.constantFrom('rsa-sha256' as const, 'ecdsa-sha256' as const),
    },
    { requiredKeys: ['subject', 'spki', 'extensions', 'signatureAlgorithm'] },
  );
  await fc.assert(
    fc.asyncProperty(fields, fc.uint8Array({ maxLength: 80 }), async (want, signature) => {
      const have = parseCertificationRequest(await buildCertificationRequest(want, async () => signature));
      assert.equal(hex(have.subject.raw), hex(want.subject.raw));
      assert.equal(hex(have.spki), hex(want.spki));
      assert.equal(have.challengePassword, want.challengePassword);
      assert.deepEqual(
        have.extensions.map((extension) => [extension.oid, extension.critical, hex(extension.value)]),
        want.extensions.map((extension) => [extension.oid, extension.critical, hex(extension.value)]),
      );
      assert.equal(hex(have.signature), hex(signature));
    }),
    { numRuns: 1_000 },
  );
});

test('what is built and signed verifies, with RSA and with ECDSA', async () => {
  for (const [key, algorithms] of [
    [clientKey, ['rsa-sha1', 'rsa-sha256', 'rsa-sha384', 'rsa-sha512']],
    [deviceKey, ['ecdsa-sha256', 'ecdsa-sha384', 'ecdsa-sha512']],
  ] as const) {
    for (const signatureAlgorithm of algorithms) {
      const fields = { subject: name, spki: key.spki, extensions: [], signatureAlgorithm };
      const request = parseCertificationRequest(await buildCertificationRequest(fields, key.sign));
      assert.equal(verifyCertificationRequest(request), true, signatureAlgorithm);
    }
  }
});
