import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import {
  bitString,
  buildAlgorithmIdentifier,
  der,
  nullValue,
  oid,
  sequence,
  tag,
  unsignedInteger,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { judgeKey } from './key-policy.ts';
import { builtInTemplates, type CertificateTemplate } from './template.ts';

const client = builtInTemplates.find(({ name }) => name === 'client-authentication') as CertificateTemplate;
const web = builtInTemplates.find(({ name }) => name === 'web-server') as CertificateTemplate;

/** SubjectPublicKeyInfo of RSA numbers as they are given: no key needs to exist for them. */
function rsaSpki(modulus: bigint, exponent: bigint): Uint8Array {
  const number = (value: bigint) => {
    const digits = value.toString(16);
    return unsignedInteger(Buffer.from(digits.padStart(digits.length + (digits.length % 2), '0'), 'hex'));
  };
  return sequence(
    buildAlgorithmIdentifier({ oid: oid.rsaEncryption, parameters: nullValue }),
    bitString(sequence(number(modulus), number(exponent))),
  );
}

const smallPrimes = [3n, 5n, 7n, 11n, 13n, 17n, 19n, 23n, 29n, 31n, 37n, 41n, 43n, 47n];

/** An odd number of exactly so many bits that no small prime divides. */
function oddNumber(bits: number): bigint {
  const octets = randomBytes(Math.ceil(bits / 8));
  let value = BigInt.asUintN(bits, BigInt(`0x${octets.toString('hex')}`)) | (1n << BigInt(bits - 1)) | 1n;
  while (smallPrimes.some((prime) => value % prime === 0n)) value -= 2n;
  return value;
}

const E = 65_537n;
const spkiOf = (pair: { readonly publicKey: { export(options: object): unknown } }) =>
  pair.publicKey.export({ format: 'der', type: 'spki' }) as Uint8Array;
const p256 = spkiOf(generateKeyPairSync('ec', { namedCurve: 'P-256' }));
const p384 = spkiOf(generateKeyPairSync('ec', { namedCurve: 'P-384' }));
const p521 = spkiOf(generateKeyPairSync('ec', { namedCurve: 'P-521' }));
const secp256k1 = spkiOf(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }));
const ed25519 = spkiOf(generateKeyPairSync('ed25519'));

describe('judgeKey', () => {
  const refused: readonly (readonly [
    name: string,
    code: string,
    spki: Uint8Array,
    template?: CertificateTemplate,
  ])[] = [
    ['RSA-512', 'key_size_mismatch', rsaSpki(oddNumber(512), E)],
    ['RSA-1024', 'key_size_mismatch', rsaSpki(oddNumber(1024), E)],
    ['RSA-2047', 'key_size_mismatch', rsaSpki(oddNumber(2047), E)],
    ['RSA-8193', 'key_size_mismatch', rsaSpki(oddNumber(8193), E)],
    ['RSA-16384', 'key_size_mismatch', rsaSpki(oddNumber(16_384), E)],
    [
      'RSA-2048 where 3072 is wanted',
      'key_size_mismatch',
      rsaSpki(oddNumber(2048), E),
      { ...client, rsaBitsMin: 3072 },
    ],
    ['the modulus zero', 'key_size_mismatch', rsaSpki(0n, E)],
    ['an even modulus', 'key_weak', rsaSpki(oddNumber(2048) - 1n, E)],
    ['the exponent 0', 'key_weak', rsaSpki(oddNumber(2048), 0n)],
    ['the exponent 1', 'key_weak', rsaSpki(oddNumber(2048), 1n)],
    ['the exponent 3', 'key_weak', rsaSpki(oddNumber(2048), 3n)],
    ['the exponent 65535', 'key_weak', rsaSpki(oddNumber(2048), 65_535n)],
    ['the exponent 65536', 'key_weak', rsaSpki(oddNumber(2048), 65_536n)],
    ['the exponent 65538', 'key_weak', rsaSpki(oddNumber(2048), 65_538n)],
    ...smallPrimes.map(
      (prime) =>
        [`a modulus that ${prime} divides`, 'key_weak', rsaSpki(prime * oddNumber(2048), E)] as const,
    ),
    ['P-256 where RSA alone is allowed', 'key_algorithm', p256],
    ['P-384 where RSA alone is allowed', 'key_algorithm', p384],
    ['P-521, which no template lists', 'key_algorithm', p521, web],
    ['another curve', 'key_algorithm', secp256k1, web],
    ['Ed25519', 'key_algorithm', ed25519, web],
    [
      'RSA where curves alone are allowed',
      'key_algorithm',
      rsaSpki(oddNumber(2048), E),
      { ...web, keyAlgorithms: ['P-256'] },
    ],
    [
      'RSASSA-PSS',
      'key_algorithm',
      sequence(buildAlgorithmIdentifier({ oid: '1.2.840.113549.1.1.10' }), bitString(Uint8Array.of(0x30, 0))),
    ],
  ];
  for (const [name, code, spki, template = client] of refused) {
    test(`refuses ${name}`, () => {
      const verdict = judgeKey(spki, template);
      assert.equal(verdict.verdict, 'refuse');
      assert.equal(verdict.verdict === 'refuse' && verdict.code, code, JSON.stringify(verdict));
    });
  }

  const accepted: readonly (readonly [name: string, spki: Uint8Array, template?: CertificateTemplate])[] = [
    ['RSA-2048', rsaSpki(oddNumber(2048), E)],
    ['RSA-2056', rsaSpki(oddNumber(2056), E)],
    ['RSA-3072', rsaSpki(oddNumber(3072), E)],
    ['RSA-8192', rsaSpki(oddNumber(8192), E)],
    ['a large exponent', rsaSpki(oddNumber(2048), (1n << 255n) + 1n)],
    ['P-256', p256, web],
    ['P-384', p384, web],
  ];
  for (const [name, spki, template = client] of accepted) {
    test(`takes ${name}`, () => assert.deepEqual(judgeKey(spki, template), { verdict: 'accept' }));
  }

  const unreadable: readonly (readonly [name: string, spki: Uint8Array])[] = [
    ['nothing', Uint8Array.of()],
    ['half a key', p256.subarray(0, 40)],
    ['an exponent of 33 octets', rsaSpki(oddNumber(2048), (1n << 256n) + 1n)],
    [
      'a negative modulus',
      sequence(
        buildAlgorithmIdentifier({ oid: oid.rsaEncryption, parameters: nullValue }),
        bitString(
          sequence(der(tag.integer, Buffer.alloc(256, 0x81)), unsignedInteger(Buffer.from([1, 0, 1]))),
        ),
      ),
    ],
    [
      'a third number',
      sequence(
        buildAlgorithmIdentifier({ oid: oid.rsaEncryption, parameters: nullValue }),
        bitString(
          sequence(unsignedInteger(randomBytes(256)), unsignedInteger(Buffer.from([1, 0, 1])), nullValue),
        ),
      ),
    ],
  ];
  for (const [name, spki] of unreadable) {
    test(`cannot read ${name}`, () => {
      assert.throws(
        () => judgeKey(spki, client),
        (thrown) => thrown instanceof PkiError && thrown.code === 'der_malformed',
      );
    });
  }
});
