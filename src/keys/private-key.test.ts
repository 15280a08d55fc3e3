import assert from 'node:assert/strict';
import {
  constants,
  createSecretKey,
  generateKeyPairSync,
  type KeyObject,
  publicEncrypt,
  randomBytes,
  verify,
} from 'node:crypto';
import { describe, test } from 'node:test';
import { type KeyTransport, type SignatureAlgorithmName, signatureAlgorithms } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { privateKeyOf } from './private-key.ts';

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' });
const data = Buffer.from('to be signed');

describe('a private key in memory', () => {
  const refused: readonly (readonly [string, () => KeyObject])[] = [
    ['a public key', () => rsa.publicKey],
    ['a secret key', () => createSecretKey(randomBytes(32))],
    ['an RSASSA-PSS key', () => generateKeyPairSync('rsa-pss', { modulusLength: 2048 }).privateKey],
    ['an Ed25519 key', () => generateKeyPairSync('ed25519').privateKey],
  ];
  for (const [name, key] of refused) {
    test(`is not made of ${name}`, () => {
      assert.throws(() => privateKeyOf(key()), { code: 'key_capability' });
    });
  }

  test('shows the SubjectPublicKeyInfo of its public half', () => {
    for (const pair of [rsa, p256, p384]) {
      assert.deepEqual(
        privateKeyOf(pair.privateKey).spki,
        pair.publicKey.export({ type: 'spki', format: 'der' }),
      );
    }
  });
});

describe('sign', () => {
  const names = Object.keys(signatureAlgorithms) as SignatureAlgorithmName[];
  const pairs = { rsa, p256, p384 };

  for (const [keyName, pair] of Object.entries(pairs)) {
    for (const name of names) {
      const { keyType, digest } = signatureAlgorithms[name];
      if (keyType === pair.privateKey.asymmetricKeyType) {
        test(`${name} by a key of ${keyName} verifies`, async () => {
          const signature = await privateKeyOf(pair.privateKey).sign(name, data);
          const key = {
            key: pair.publicKey,
            padding: constants.RSA_PKCS1_PADDING,
            dsaEncoding: 'der',
          } as const;
          assert.equal(verify(digest, data, key, signature), true);
          assert.equal(verify(digest, Buffer.from('something else'), key, signature), false);
        });
      } else {
        test(`${name} does not fit a key of ${keyName}`, async () => {
          await assert.rejects(privateKeyOf(pair.privateKey).sign(name, data), { code: 'key_capability' });
        });
      }
    }
  }

  test('a digest that is too long for the modulus does not fit', async () => {
    const short = privateKeyOf(generateKeyPairSync('rsa', { modulusLength: 512 }).privateKey);
    await assert.rejects(short.sign('rsa-sha512', data), { code: 'key_capability' });
  });
});

describe('decrypt', () => {
  const key = privateKeyOf(rsa.privateKey);
  const contentKey = randomBytes(32);
  const pkcs1: KeyTransport = { name: 'rsaes-pkcs1-v1_5' };
  const transports: readonly KeyTransport[] = [
    pkcs1,
    { name: 'rsaes-oaep', digest: 'sha1' },
    { name: 'rsaes-oaep', digest: 'sha256' },
    { name: 'rsaes-oaep', digest: 'sha384' },
    { name: 'rsaes-oaep', digest: 'sha512' },
  ];
  const encrypt = (transport: KeyTransport): Buffer =>
    transport.name === 'rsaes-pkcs1-v1_5'
      ? publicEncrypt({ key: rsa.publicKey, padding: constants.RSA_PKCS1_PADDING }, contentKey)
      : publicEncrypt(
          { key: rsa.publicKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: transport.digest },
          contentKey,
        );
  const nameOf = (transport: KeyTransport) =>
    transport.name === 'rsaes-oaep' ? `${transport.name} ${transport.digest}` : transport.name;
  /** What every failure looks like, whatever its cause. */
  const unopened = (thrown: unknown) => {
    assert.ok(thrown instanceof PkiError);
    assert.deepEqual(
      [thrown.code, thrown.message, thrown.cause],
      ['scep_envelope', 'the envelope cannot be opened', undefined],
    );
    return true;
  };

  const wrongLengths: readonly (readonly [string, Buffer])[] = [
    ['empty', Buffer.alloc(0)],
    ['one octet', Buffer.alloc(1, 1)],
    ['one octet short', randomBytes(255)],
    ['one octet long', Buffer.concat([Buffer.alloc(1), randomBytes(256)])],
    ['not below the modulus', Buffer.alloc(256, 0xff)],
  ];
  for (const transport of transports) {
    for (const [name, ciphertext] of wrongLengths) {
      test(`${nameOf(transport)}: a ciphertext that is ${name} is refused`, async () => {
        await assert.rejects(key.decrypt(transport, ciphertext), unopened);
      });
    }
    test(`${nameOf(transport)} opens what it closed`, async () => {
      assert.deepEqual(await key.decrypt(transport, encrypt(transport)), contentKey);
    });
    if (transport.name === 'rsaes-oaep') {
      test(`${nameOf(transport)}: another digest and a damaged ciphertext fail alike`, async () => {
        const other: KeyTransport = {
          name: 'rsaes-oaep',
          digest: transport.digest === 'sha1' ? 'sha256' : 'sha1',
        };
        await assert.rejects(key.decrypt(transport, encrypt(other)), unopened);
        await assert.rejects(key.decrypt(transport, damaged(encrypt(transport))), unopened);
        await assert.rejects(key.decrypt(transport, encrypt(pkcs1)), unopened);
      });
    }
  }

  test('1,000 damaged PKCS #1 v1.5 ciphertexts give octets of all lengths, and no error', async () => {
    const lengths = new Set<number>();
    for (let count = 0; count < 1000; count++) {
      const ciphertext = damaged(encrypt(pkcs1));
      const opened = await key.decrypt(pkcs1, ciphertext);
      assert.ok(opened instanceof Uint8Array);
      assert.notDeepEqual(opened, contentKey);
      lengths.add(opened.length);
      // The same ciphertext gives the same octets, as a real plaintext would.
      if (count % 100 === 0) assert.deepEqual(await key.decrypt(pkcs1, ciphertext), opened);
    }
    assert.ok(lengths.size > 100, `only ${lengths.size} different lengths`);
  });

  test('a key on an elliptic curve cannot', async () => {
    await assert.rejects(privateKeyOf(p256.privateKey).decrypt(pkcs1, randomBytes(256)), {
      code: 'key_capability',
    });
  });
});

/** Changes a random octet, but the first: the number stays below the modulus. */
function damaged(ciphertext: Buffer): Buffer {
  const out = Buffer.from(ciphertext);
  const at = 1 + (randomBytes(4).readUInt32BE() % (out.length - 1));
  out.writeUInt8(out.readUInt8(at) ^ (1 + (randomBytes(1).readUInt8() % 255)), at);
  return out;
}
