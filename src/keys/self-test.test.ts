import assert from 'node:assert/strict';
import { constants, generateKeyPairSync, privateDecrypt, randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import { assertImplicitRejection, assertRuntimeFit } from './self-test.ts';

const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const honest = (ciphertext: Uint8Array) =>
  privateDecrypt({ key: privateKey, padding: constants.RSA_PKCS1_PADDING }, ciphertext);
/** Whether a ciphertext is damaged, as a bad runtime would find out. */
const isDamaged = (ciphertext: Uint8Array) => honest(ciphertext).toString() !== '0123456789abcdef';

describe('the self-test', () => {
  const rows: readonly (readonly [string, (ciphertext: Uint8Array) => Uint8Array, RegExp])[] = [
    [
      'refuses the padding',
      () => {
        throw new Error('not supported');
      },
      /refuses PKCS #1 v1.5/,
    ],
    ['opens everything to random octets', () => randomBytes(16), /decrypts PKCS #1 v1.5 wrongly/],
    ['gives the ciphertext back', (ciphertext) => ciphertext, /decrypts PKCS #1 v1.5 wrongly/],
    [
      'throws at bad padding',
      (ciphertext) => {
        if (isDamaged(ciphertext)) throw new Error('bad padding');
        return honest(ciphertext);
      },
      /decryption oracle/,
    ],
    [
      'gives nothing at bad padding',
      (ciphertext) => (isDamaged(ciphertext) ? new Uint8Array() : honest(ciphertext)),
      /decryption oracle/,
    ],
    [
      'does not look at the ciphertext',
      () => Buffer.from('0123456789abcdef'),
      /decrypts PKCS #1 v1.5 wrongly/,
    ],
  ];
  for (const [name, decrypt, message] of rows) {
    test(`finds a runtime unfit that ${name}`, () => {
      assert.throws(() => assertImplicitRejection(publicKey, decrypt), { code: 'runtime_unfit', message });
    });
  }

  test('says which Node.js to use', () => {
    assert.throws(() => assertImplicitRejection(publicKey, () => new Uint8Array()), {
      message: /^Node\.js \d.* with OpenSSL .*; use Node\.js 24 or newer$/,
    });
  });

  test('finds this runtime fit', () => {
    assertImplicitRejection(publicKey, honest);
    assertRuntimeFit();
  });
});
