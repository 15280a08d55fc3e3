import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { describe, test } from 'node:test';
import { assertRefused, clientKey, deviceKey, specimens } from '../../test/support/codec-fixture.ts';
import type { ErrorCode } from '../errors.ts';
import {
  type AlgorithmIdentifier,
  bitString,
  buildAlgorithmIdentifier,
  cipherOf,
  ciphers,
  DerReader,
  der,
  digestOf,
  digests,
  hex,
  integer,
  keyTransportIdentifier,
  keyTransportOf,
  nullValue,
  objectIdentifier,
  octetString,
  oid,
  parsePublicKeyInfo,
  publicKeyOf,
  readAlgorithmIdentifier,
  sequence,
  signatureAlgorithmIdentifier,
  signatureAlgorithmOf,
  signatureAlgorithms,
  signerAlgorithmOf,
  tag,
  unsignedInteger,
  verifySignature,
} from './index.ts';

const octets = (text: string): Uint8Array => Buffer.from(text.replaceAll(' ', ''), 'hex');
const read = (bytes: Uint8Array): AlgorithmIdentifier => readAlgorithmIdentifier(new DerReader(bytes));
const sha1 = sequence(objectIdentifier(oid.sha1), nullValue);
const sha256 = sequence(objectIdentifier(oid.sha256), nullValue);
const mgf1 = (digest: Uint8Array): Uint8Array => sequence(objectIdentifier(oid.mgf1), digest);
const oaep = (...fields: Uint8Array[]): AlgorithmIdentifier => ({
  oid: oid.rsaesOaep,
  parameters: sequence(...fields),
});

describe('readAlgorithmIdentifier refuses', () => {
  for (const [what, bytes] of [
    ['no identifier', '3000'],
    ['NULL alone', '3002 0500'],
    ['NULL with content', '3006 06012a 050100'],
    ['two parameters', '3007 06012a 0500 0500'],
    ['parameters cut off', '3005 06012a 3001'],
    ['a SET', '3103 06012a'],
  ] as const) {
    test(what, () => void assertRefused(() => read(octets(bytes)), ['der_malformed'], what));
  }
});

describe('algorithms refused', () => {
  const parameters = octets('020101');
  const rows: readonly (readonly [what: string, act: () => unknown, code?: ErrorCode])[] = [
    ['digest MD5', () => digestOf({ oid: oid.md5 })],
    ['a digest with parameters', () => digestOf({ oid: oid.sha256, parameters })],
    ['a signature in place of a digest', () => digestOf({ oid: oid.sha256WithRSAEncryption })],
    ['signature MD5 with RSA', () => signatureAlgorithmOf({ oid: oid.md5WithRSAEncryption })],
    [
      'signature RSASSA-PSS',
      () => signatureAlgorithmOf({ oid: '1.2.840.113549.1.1.10', parameters: sequence() }),
    ],
    ['signature Ed25519', () => signatureAlgorithmOf({ oid: '1.3.101.112' })],
    [
      'a signature with parameters',
      () => signatureAlgorithmOf({ oid: oid.sha256WithRSAEncryption, parameters }),
    ],
    ['plain RSA in a certificate', () => signatureAlgorithmOf({ oid: oid.rsaEncryption })],
    [
      'a signer whose digests differ',
      () => signerAlgorithmOf({ oid: oid.sha1WithRSAEncryption }, digests.sha256),
    ],
    [
      'a signer by RSA with parameters',
      () => signerAlgorithmOf({ oid: oid.rsaEncryption, parameters }, digests.sha256),
    ],
    ['cipher RC2', () => cipherOf({ oid: oid.rc2Cbc, parameters: octetString(new Uint8Array(8)) })],
    ['cipher AES-GCM', () => cipherOf({ oid: '2.16.840.1.101.3.4.1.46', parameters: sequence() })],
    ['a cipher without vector', () => cipherOf({ oid: oid.aes128Cbc }), 'cms_malformed'],
    [
      'a cipher with a short vector',
      () => cipherOf({ oid: oid.aes128Cbc, parameters: octetString(new Uint8Array(8)) }),
      'cms_malformed',
    ],
    [
      'a cipher with a long vector',
      () => cipherOf({ oid: oid.desEde3Cbc, parameters: octetString(new Uint8Array(16)) }),
      'cms_malformed',
    ],
    [
      'a cipher with NULL for a vector',
      () => cipherOf({ oid: oid.aes128Cbc, parameters: nullValue }),
      'der_malformed',
    ],
    ['key transport by Diffie-Hellman', () => keyTransportOf({ oid: '1.2.840.113549.1.9.16.3.5' })],
    ['key transport with parameters', () => keyTransportOf({ oid: oid.rsaEncryption, parameters })],
    ['OAEP with NULL', () => keyTransportOf({ oid: oid.rsaesOaep, parameters: nullValue }), 'der_malformed'],
    ['OAEP with MD5', () => keyTransportOf(oaep(der(0xa0, sequence(objectIdentifier(oid.md5)))))],
    ['OAEP with two digests', () => keyTransportOf(oaep(der(0xa0, sha256)))],
    ['OAEP with two digests, the other way round', () => keyTransportOf(oaep(der(0xa1, mgf1(sha256))))],
    [
      'OAEP with another mask',
      () => keyTransportOf(oaep(der(0xa1, sequence(objectIdentifier('1.2.3'), sha1)))),
    ],
    [
      'OAEP with a mask of no digest',
      () => keyTransportOf(oaep(der(0xa1, sequence(objectIdentifier(oid.mgf1))))),
    ],
    [
      'OAEP with a label',
      () => keyTransportOf(oaep(der(0xa2, sequence(objectIdentifier(oid.pSpecified), octets('040161'))))),
    ],
    [
      'OAEP with a label of no value',
      () => keyTransportOf(oaep(der(0xa2, sequence(objectIdentifier(oid.pSpecified))))),
    ],
    ['OAEP with a fourth field', () => keyTransportOf(oaep(der(0xa3, octets('020101')))), 'der_malformed'],
    [
      'OAEP out of order',
      () => keyTransportOf(oaep(der(0xa1, mgf1(sha1)), der(0xa0, sha1))),
      'der_malformed',
    ],
    [
      'OAEP with two digests in one field',
      () => keyTransportOf(oaep(der(0xa0, sha1, sha1))),
      'der_malformed',
    ],
  ];
  for (const [what, act, code] of rows) {
    test(what, () => void assertRefused(act, [code ?? 'algorithm_unsupported'], what));
  }
});

describe('algorithms taken', () => {
  for (const row of Object.values(digests)) {
    test(row.name, () => {
      assert.equal(digestOf({ oid: row.oid }), row);
      assert.equal(digestOf({ oid: row.oid, parameters: nullValue }), row);
    });
  }
  for (const row of Object.values(signatureAlgorithms)) {
    test(row.name, () => {
      const built = read(signatureAlgorithmIdentifier(row.name));
      assert.equal(signatureAlgorithmOf(built), row);
      assert.equal(built.parameters !== undefined, row.keyType === 'rsa', 'NULL for RSA, nothing for ECDSA');
      assert.equal(signerAlgorithmOf(built, digests[row.digest]), row);
      if (row.keyType === 'rsa')
        assert.equal(signerAlgorithmOf({ oid: oid.rsaEncryption }, digests[row.digest]), row);
    });
  }
  for (const row of Object.values(ciphers)) {
    test(row.name, () => {
      const parameters = octetString(new Uint8Array(row.ivBytes).fill(1));
      const read_ = cipherOf(read(buildAlgorithmIdentifier({ oid: row.oid, parameters })));
      assert.equal(read_.cipher, row);
      assert.equal(read_.iv.length, row.ivBytes);
    });
  }
  for (const transport of [
    { name: 'rsaes-pkcs1-v1_5' },
    { name: 'rsaes-oaep', digest: 'sha1' },
    { name: 'rsaes-oaep', digest: 'sha256' },
    { name: 'rsaes-oaep', digest: 'sha512' },
  ] as const) {
    test(JSON.stringify(transport), () => {
      assert.deepEqual(keyTransportOf(read(keyTransportIdentifier(transport))), transport);
    });
  }
  test('OAEP without parameters', () => {
    assert.deepEqual(keyTransportOf({ oid: oid.rsaesOaep }), { name: 'rsaes-oaep', digest: 'sha1' });
  });
});

describe('parsePublicKeyInfo', () => {
  const rsa = (modulus: Uint8Array, exponent: Uint8Array, ...more: Uint8Array[]): Uint8Array =>
    sequence(
      sequence(objectIdentifier(oid.rsaEncryption), nullValue),
      bitString(sequence(modulus, exponent, ...more)),
    );
  const modulus = unsignedInteger(new Uint8Array(256).fill(0xc1));
  const exponent = integer(65537);

  const refusals: readonly (readonly [what: string, spki: Uint8Array])[] = [
    ['a negative modulus', rsa(octets('0201ff'), exponent)],
    ['a negative exponent', rsa(modulus, octets('0201ff'))],
    ['an empty modulus', rsa(octets('0200'), exponent)],
    ['an empty exponent', rsa(modulus, octets('0200'))],
    ['a modulus not in shortest form', rsa(octets('02020001'), exponent)],
    ['an exponent of 33 octets', rsa(modulus, unsignedInteger(new Uint8Array(33).fill(1)))],
    ['no exponent', sequence(sequence(objectIdentifier(oid.rsaEncryption)), bitString(sequence(modulus)))],
    ['a third number', rsa(modulus, exponent, integer(1))],
    [
      'a key that is no SEQUENCE',
      sequence(sequence(objectIdentifier(oid.rsaEncryption)), bitString(octets('0500'))),
    ],
    [
      'a key with unused bits',
      sequence(sequence(objectIdentifier(oid.rsaEncryption)), der(tag.bitString, octets('0480'))),
    ],
    ['no key', sequence(sequence(objectIdentifier(oid.rsaEncryption)))],
    ['no algorithm', sequence(bitString(octets('00')))],
    [
      'something after the key',
      sequence(sequence(objectIdentifier(oid.ecPublicKey)), bitString(octets('04')), nullValue),
    ],
  ];
  for (const [what, spki] of refusals) {
    test(`refuses ${what}`, () =>
      void assertRefused(() => parsePublicKeyInfo(spki), ['der_malformed'], what));
  }

  const sizes: readonly (readonly [
    what: string,
    modulus: Uint8Array,
    exponent: Uint8Array,
    bits: number,
    value: bigint,
  ])[] = [
    ['2048 bits', modulus, exponent, 2048, 65537n],
    ['2047 bits', unsignedInteger(new Uint8Array(256).fill(0x7f)), integer(3), 2047, 3n],
    ['2041 bits', unsignedInteger(Uint8Array.of(1, ...new Uint8Array(255))), integer(3), 2041, 3n],
    ['one bit', integer(1), integer(1), 1, 1n],
    ['modulus 0', integer(0), exponent, 0, 65537n],
    ['exponent 0', modulus, integer(0), 2048, 0n],
    [
      'an exponent of 32 octets',
      modulus,
      unsignedInteger(new Uint8Array(32).fill(0xff)),
      2048,
      2n ** 256n - 1n,
    ],
  ];
  for (const [what, modulusValue, exponentValue, bits, value] of sizes) {
    test(`reads ${what}`, () => {
      const key = parsePublicKeyInfo(rsa(modulusValue, exponentValue));
      assert.ok(key.type === 'rsa');
      assert.deepEqual([key.bits, key.exponent], [bits, value]);
    });
  }

  test('agrees with node on generated keys', () => {
    for (const modulusLength of [1024, 1032, 2048]) {
      const { publicKey } = generateKeyPairSync('rsa', { modulusLength });
      const key = parsePublicKeyInfo(publicKey.export({ format: 'der', type: 'spki' }));
      assert.ok(key.type === 'rsa');
      assert.equal(key.bits, publicKey.asymmetricKeyDetails?.modulusLength);
      assert.equal(key.exponent, publicKey.asymmetricKeyDetails?.publicExponent);
      assert.equal(Buffer.from(key.modulus).toString('base64url'), publicKey.export({ format: 'jwk' }).n);
    }
    for (const [namedCurve, bits] of [
      ['P-256', 256],
      ['P-384', 384],
      ['P-521', 521],
    ] as const) {
      const { publicKey } = generateKeyPairSync('ec', { namedCurve });
      const key = parsePublicKeyInfo(publicKey.export({ format: 'der', type: 'spki' }));
      assert.deepEqual(key, { type: 'ec', curve: namedCurve, bits });
    }
    const { publicKey } = generateKeyPairSync('ed25519');
    assert.deepEqual(parsePublicKeyInfo(publicKey.export({ format: 'der', type: 'spki' })), {
      type: 'other',
      oid: '1.3.101.112',
    });
  });

  test('a curve that is not named, or not known, is other', () => {
    for (const parameters of [nullValue, sequence(integer(1)), objectIdentifier('1.3.132.0.10')]) {
      const spki = sequence(
        sequence(objectIdentifier(oid.ecPublicKey), parameters),
        bitString(octets('0400')),
      );
      assert.deepEqual(parsePublicKeyInfo(spki), { type: 'other', oid: oid.ecPublicKey });
    }
    const spki = sequence(sequence(objectIdentifier(oid.ecPublicKey)), bitString(octets('0400')));
    assert.deepEqual(parsePublicKeyInfo(spki), { type: 'other', oid: oid.ecPublicKey });
  });
});

describe('publicKeyOf', () => {
  for (const [what, spki] of [
    ['nothing', octets('')],
    ['no key', sequence()],
    ['a point that is not on the curve', offCurve(specimens.ecPublicKey)],
    ['an unknown algorithm', sequence(sequence(objectIdentifier('1.2.3')), bitString(octets('00')))],
  ] as const) {
    test(`refuses ${what}, every time`, () => {
      assertRefused(() => publicKeyOf(spki), ['algorithm_unsupported'], what);
      assertRefused(() => publicKeyOf(spki), ['algorithm_unsupported'], what);
    });
  }
  test('answers the key that the octets hold, and the same for the same array', () => {
    const key = publicKeyOf(clientKey.spki);
    assert.ok(key.equals(createPublicKey(clientKey.privateKey)));
    assert.equal(publicKeyOf(clientKey.spki), key);
    assert.ok(publicKeyOf(Uint8Array.from(clientKey.spki)).equals(key));
    assert.ok(!publicKeyOf(deviceKey.spki).equals(key));
  });

  function offCurve(spki: Uint8Array): Uint8Array {
    const copy = Uint8Array.from(spki);
    copy[copy.length - 1] = (copy[copy.length - 1] as number) ^ 1;
    return copy;
  }
});

describe('verifySignature', () => {
  const data = Buffer.from('data');
  test('says no to a key of another type, and to any damage', async () => {
    const rsaKey = publicKeyOf(clientKey.spki);
    const ecKey = publicKeyOf(deviceKey.spki);
    const rsaSignature = await clientKey.sign('rsa-sha256', data);
    const ecSignature = await deviceKey.sign('ecdsa-sha256', data);
    const { 'rsa-sha256': rsa, 'rsa-sha512': rsa512, 'ecdsa-sha256': ecdsa } = signatureAlgorithms;
    assert.equal(verifySignature(rsa, rsaKey, data, rsaSignature), true);
    assert.equal(verifySignature(ecdsa, ecKey, data, ecSignature), true);
    assert.equal(verifySignature(rsa, ecKey, data, ecSignature), false);
    assert.equal(verifySignature(ecdsa, rsaKey, data, rsaSignature), false);
    assert.equal(verifySignature(rsa512, rsaKey, data, rsaSignature), false);
    assert.equal(verifySignature(rsa, rsaKey, Buffer.from('date'), rsaSignature), false);
    for (const bad of [
      octets(''),
      octets('00'),
      rsaSignature.subarray(1),
      Uint8Array.of(...rsaSignature, 0),
    ]) {
      assert.equal(verifySignature(rsa, rsaKey, data, bad), false);
      assert.equal(verifySignature(ecdsa, ecKey, data, bad), false);
    }
  });
  test('tells RSA-PSS keys from RSA keys', () => {
    const { publicKey } = generateKeyPairSync('rsa-pss', { modulusLength: 1024 });
    assert.equal(
      verifySignature(signatureAlgorithms['rsa-sha256'], publicKey, data, new Uint8Array(128)),
      false,
    );
  });
  test('hexadecimal of a built identifier', () => {
    assert.equal(hex(signatureAlgorithmIdentifier('ecdsa-sha256')), '300a06082a8648ce3d040302');
    assert.equal(hex(signatureAlgorithmIdentifier('rsa-sha256')), '300d06092a864886f70d01010b0500');
    assert.equal(
      hex(keyTransportIdentifier({ name: 'rsaes-oaep', digest: 'sha1' })),
      '300d06092a864886f70d0101073000',
    );
  });
});
