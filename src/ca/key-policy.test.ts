import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync, randomBytes } from 'node:crypto';
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
import { findingOfKey, judgeKey, keyRules } from './key-policy.ts';
import { integerRoot } from './rsa-factors.ts';
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
const isWithoutSmallFactors = (value: bigint) => primesBelow65536.every((prime) => value % prime !== 0n);
const primesBelow65536 = (() => {
  const composite = new Uint8Array(65_536);
  const primes: bigint[] = [];
  for (let candidate = 2; candidate < 65_536; candidate += 1) {
    if (composite[candidate] === 1) continue;
    primes.push(BigInt(candidate));
    for (let multiple = candidate * candidate; multiple < 65_536; multiple += candidate)
      composite[multiple] = 1;
  }
  return primes;
})();

/** A modulus of 2048 bits that nothing in the rules divides. */
function soundNumber(bits = 2048): bigint {
  let value = oddNumber(bits);
  while (!isWithoutSmallFactors(value)) value -= 2n;
  return value;
}

/** 2048 bits, of which the prime is the smallest factor. */
function multipleOf(prime: bigint): bigint {
  let cofactor = (1n << 2048n) / prime;
  while (primesBelow65536.some((small) => small < prime && cofactor % small === 0n)) cofactor -= 1n;
  return prime * cofactor;
}

/** The product of two primes whose mean lies so many steps beyond its root. */
function closePrimes(rounds: bigint): bigint {
  const random = BigInt(`0x${randomBytes(128).toString('hex')}`) | (3n << 1022n) | 1n;
  const middle = BigInt.asUintN(1024, random);
  // (m + d)(m - d) = m² - d², and its root lies d² / 2m below m.
  let distance = integerRoot(2n * middle * rounds) & ~1n;
  for (;;) {
    const product = (middle + distance) * (middle - distance);
    if (isWithoutSmallFactors(product)) return product;
    distance -= 2n;
  }
}

/** What the chip of CVE-2017-15361 would make: k·M + 65537^a mod M, twice, with M the product of the first 126 primes. */
function rocaModulus(): bigint {
  const M = primesBelow65536.slice(0, 126).reduce((product, prime) => product * prime, 1n);
  const candidate = () => {
    let power = 1n;
    for (let exponent = randomBytes(2).readUInt16BE() + 1; exponent > 0; exponent -= 1)
      power = (power * E) % M;
    for (let k = (3n << 1022n) / M + BigInt(randomBytes(2).readUInt16BE()); ; k += 1n)
      if (isWithoutSmallFactors(k * M + power)) return k * M + power;
  };
  return candidate() * candidate();
}

const jwk = (key: Record<string, string>) =>
  createPublicKey({ key, format: 'jwk' }).export({ format: 'der', type: 'spki' });
const rfc9500P256 = jwk({
  kty: 'EC',
  crv: 'P-256',
  x: 'QiVI-I-3gv-17KN0RFLHKh5Vj71vc75eSOkyMsxFxbE',
  y: 'bEzRDEy41bihcTnpSILImSVymTQl9BQZq36QpCpJQnI',
});
const rfc9500Rsa = jwk({
  kty: 'RSA',
  n: [
    'sPnoGUOnrpiSqt4XynxA-HRP7S-BSObI6qJ7fQAVSPtRkqsotWxQYLEYzNEx5ZSHTGypibVsJylvCfuToDTfMul8b_CZjP2Ob0Ld',
    'pYrNH6l5hvFE89FU1nZQF15oVLOpUgA7wGiHuEVawrGfey92UE68mOyUVXGweJIVDdxqdMoPvNNUl86BU02vlBiESxOuox-dWmuV',
    'V7vfYZ79Toh_LUK43YvJh-rhv4nKuF7iHjVjBd9sB6iDjj70HFldzOQ9r8SRI-9NirupPTkF5AKNe6kUhKJ1luB7S27ZkvB3tSTT',
    '3P593VVJvnzOjaA1z6Cz-4-eRvcysqhrRgFlwI9TEw',
  ].join(''),
  e: 'AQAB',
});
const spkiOf = (pair: { readonly publicKey: { export(options: object): unknown } }) =>
  pair.publicKey.export({ format: 'der', type: 'spki' }) as Uint8Array;
const p256 = spkiOf(generateKeyPairSync('ec', { namedCurve: 'P-256' }));
const p384 = spkiOf(generateKeyPairSync('ec', { namedCurve: 'P-384' }));
const p521 = spkiOf(generateKeyPairSync('ec', { namedCurve: 'P-521' }));
const secp256k1 = spkiOf(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }));
/** P-256 with one bit of y turned. */
const offCurve = Buffer.from(p256);
offCurve[offCurve.length - 1] = (offCurve.at(-1) ?? 0) ^ 1;
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
    ['RSA-2049', 'key_size_mismatch', rsaSpki(oddNumber(2049), E)],
    ['RSA-3076', 'key_size_mismatch', rsaSpki(oddNumber(3076), E)],
    [
      'RSA-1024 whatever the template says',
      'key_size_mismatch',
      rsaSpki(oddNumber(1024), E),
      { ...client, rsaBitsMin: 1024 },
    ],
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
      (prime) => [`a modulus that ${prime} divides`, 'key_weak', rsaSpki(multipleOf(prime), E)] as const,
    ),
    ['a modulus that 751 divides', 'key_weak', rsaSpki(multipleOf(751n), E)],
    ['two primes side by side', 'key_weak', rsaSpki(closePrimes(2n), E)],
    ['the mark of ROCA', 'key_weak', rsaSpki(rocaModulus(), E)],
    ['the RSA key of RFC 9500', 'key_weak', rfc9500Rsa],
    ['the P-256 key of RFC 9500', 'key_weak', rfc9500P256, web],
    ['a point beside the curve', 'key_weak', offCurve, web],
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
    ['RSA-2048', rsaSpki(soundNumber(2048), E)],
    ['an RSA key as libraries make it', spkiOf(generateKeyPairSync('rsa', { modulusLength: 2048 }))],
    ['RSA-2056', rsaSpki(soundNumber(2056), E)],
    ['RSA-3072', rsaSpki(soundNumber(3072), E)],
    ['RSA-8192', rsaSpki(soundNumber(8192), E)],
    ['a large exponent', rsaSpki(soundNumber(2048), (1n << 255n) + 1n)],
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

describe('findingOfKey', () => {
  const broken: readonly (readonly [rule: string, name: string, spki: Uint8Array])[] = [
    ['key_kind', 'Ed25519', ed25519],
    ['rsa_size', 'RSA-1024', rsaSpki(oddNumber(1024), E)],
    ['rsa_exponent', 'the exponent 3', rsaSpki(soundNumber(), 3n)],
    ['known_key', 'the RSA key of RFC 9500', rfc9500Rsa],
    ['known_key', 'the P-256 key of RFC 9500', rfc9500P256],
    ['rsa_small_factors', 'an even modulus', rsaSpki(oddNumber(2048) - 1n, E)],
    ['rsa_small_factors', 'the factor 751', rsaSpki(multipleOf(751n), E)],
    ['rsa_roca', 'the mark of ROCA', rsaSpki(rocaModulus(), E)],
    ['rsa_close_primes', 'primes a few steps apart', rsaSpki(closePrimes(1n), E)],
    ['rsa_close_primes', 'primes 90 steps apart', rsaSpki(closePrimes(90n), E)],
    ['ec_point', 'a point beside the curve', offCurve],
  ];
  for (const [rule, name, spki] of broken) {
    test(`${rule}: finds ${name}, also when asked again`, () => {
      assert.equal(findingOfKey(spki)?.rule.name, rule);
      assert.equal(findingOfKey(spki)?.rule.name, rule);
      assert.equal(findingOfKey(spki, 'thorough')?.rule.name, rule);
    });
  }

  const thorough: readonly (readonly [rule: string, name: string, spki: Uint8Array])[] = [
    ['rsa_small_factors', 'the factor 757', rsaSpki(multipleOf(757n), E)],
    ['rsa_small_factors', 'the factor 65521', rsaSpki(multipleOf(65_521n), E)],
    ['rsa_close_primes', 'primes 9000 steps apart', rsaSpki(closePrimes(9000n), E)],
  ];
  for (const [rule, name, spki] of thorough) {
    test(`${rule}: finds ${name} when it may take its time`, () => {
      assert.equal(findingOfKey(spki), undefined);
      assert.equal(findingOfKey(spki, 'thorough')?.rule.name, rule);
    });
  }

  test('every rule is broken by some key here', () => {
    assert.deepEqual(
      [...new Set(broken.map(([rule]) => rule))].sort(),
      keyRules.map(({ name }) => name).sort(),
    );
  });

  test('finds nothing in P-521, which a template may allow', () => {
    assert.equal(findingOfKey(p521, 'thorough'), undefined);
    assert.deepEqual(judgeKey(p521, { ...web, keyAlgorithms: ['P-521'] as never }), { verdict: 'accept' });
  });

  test('keeps no key of a message in memory', () => {
    const message = Buffer.concat([Buffer.alloc(1000), p384]);
    const view = message.subarray(1000);
    assert.equal(findingOfKey(view), undefined);
    view.set(offCurve.subarray(0, 10));
    assert.throws(() => findingOfKey(view), PkiError);
  });
});
