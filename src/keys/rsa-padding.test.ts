import assert from 'node:assert/strict';
import {
  constants,
  createHash,
  createPublicKey,
  generateKeyPairSync,
  privateDecrypt,
  publicDecrypt,
  publicEncrypt,
  randomBytes,
  sign,
} from 'node:crypto';
import { describe, test } from 'node:test';
import type { DigestName } from '../codec/index.ts';
import { buildDigestInfo, openOaep, openPkcs1v15, syntheticPlaintext } from './rsa-padding.ts';
import { assertImplicitRejection } from './self-test.ts';

const pair = generateKeyPairSync('rsa', { modulusLength: 2048 });
const secret = randomBytes(32);
const digestNames: readonly DigestName[] = ['sha1', 'sha256', 'sha384', 'sha512'];
const raw = (ciphertext: Uint8Array) =>
  privateDecrypt({ key: pair.privateKey, padding: constants.RSA_NO_PADDING }, ciphertext);
const encryptRaw = (block: Uint8Array) =>
  publicEncrypt({ key: pair.publicKey, padding: constants.RSA_NO_PADDING }, block);

/** A block as RFC 8017 §7.2.1 builds it, then changed. */
function block(change: (octets: Buffer) => void, message: Uint8Array = Buffer.from('content key')): Buffer {
  const octets = Buffer.alloc(256, 0x5a);
  octets.set([0, 2]);
  octets.writeUInt8(0, 255 - message.length);
  octets.set(message, 256 - message.length);
  change(octets);
  return octets;
}

describe('openPkcs1v15', () => {
  const rejected: readonly (readonly [string, (octets: Buffer) => void])[] = [
    ['does not begin with zero', (octets) => octets.writeUInt8(1, 0)],
    ['is a signature’s', (octets) => octets.writeUInt8(1, 1)],
    ['is of an unknown kind', (octets) => octets.writeUInt8(0x82, 1)],
    ['has no zero after the padding', (octets) => octets.fill(0x5a, 2)],
    ['has no padding', (octets) => octets.writeUInt8(0, 2)],
    ['has seven octets of padding', (octets) => octets.writeUInt8(0, 9)],
    ['is zero throughout', (octets) => octets.fill(0)],
  ];
  for (const [name, change] of rejected) {
    test(`gives the synthetic plaintext for a block that ${name}`, () => {
      const bytes = block(change);
      const ciphertext = randomBytes(256);
      const opened = openPkcs1v15(bytes, ciphertext, secret);
      assert.deepEqual(opened, Uint8Array.from(syntheticPlaintext(secret, ciphertext)));
      assert.deepEqual(openPkcs1v15(bytes, ciphertext, secret), opened);
      assert.notDeepEqual(opened, openPkcs1v15(bytes, randomBytes(256), secret));
      assert.notDeepEqual(opened, openPkcs1v15(bytes, ciphertext, randomBytes(32)));
    });
  }

  for (const length of [0, 1, 16, 32, 244, 245]) {
    test(`opens a message of ${length} octets`, () => {
      const message = randomBytes(length);
      const bytes = block(() => {}, message);
      assert.deepEqual(Buffer.from(openPkcs1v15(bytes, randomBytes(256), secret)), message);
    });
  }

  test('a message may begin with zero: the first zero ends the padding', () => {
    const message = Buffer.from([0, 0, 7]);
    assert.deepEqual(
      Buffer.from(
        openPkcs1v15(
          block(() => {}, message),
          randomBytes(256),
          secret,
        ),
      ),
      message,
    );
  });

  test('passes the self-test of the runtime', () => {
    assertImplicitRejection(pair.publicKey, (ciphertext) =>
      openPkcs1v15(raw(ciphertext), ciphertext, secret),
    );
  });

  test('rejects with octets of all lengths', () => {
    const lengths = new Set<number>();
    for (let count = 0; count < 2000; count += 1)
      lengths.add(syntheticPlaintext(secret, randomBytes(256)).length);
    assert.ok(Math.max(...lengths) <= 245);
    assert.ok(lengths.size > 200, `only ${lengths.size} different lengths`);
  });
});

describe('openOaep', () => {
  for (const digest of digestNames) {
    const encrypt = (message: Uint8Array) =>
      publicEncrypt(
        { key: pair.publicKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: digest },
        message,
      );
    test(`${digest}: opens what OpenSSL closed`, () => {
      for (const message of [Buffer.alloc(0), Buffer.alloc(1), randomBytes(32), randomBytes(100)]) {
        assert.deepEqual(Buffer.from(openOaep(raw(encrypt(message)), digest)), message);
      }
    });
    test(`${digest}: every damaged octet is one and the same failure`, () => {
      const good = raw(encrypt(randomBytes(32)));
      for (let index = 0; index < good.length; index += 1) {
        const bad = Buffer.from(good);
        bad.writeUInt8(bad.readUInt8(index) ^ 1, index);
        assert.throws(() => openOaep(bad, digest), {
          code: 'scep_envelope',
          message: 'the envelope cannot be opened',
        });
      }
    });
    test(`${digest}: a block that is too short for it fails alike`, () => {
      assert.throws(() => openOaep(Buffer.alloc(32), digest), { code: 'scep_envelope' });
    });
  }
});

describe('buildDigestInfo', () => {
  for (const digest of digestNames) {
    test(`${digest}: is what OpenSSL signs`, () => {
      const data = Buffer.from('to be signed');
      const signature = sign(digest, data, pair.privateKey);
      const info = publicDecrypt(
        { key: createPublicKey(pair.privateKey), padding: constants.RSA_PKCS1_PADDING },
        signature,
      );
      assert.deepEqual(Buffer.from(buildDigestInfo(digest, createHash(digest).update(data).digest())), info);
    });
  }

  test('a raw block encrypts and decrypts to itself', () => {
    const bytes = block(() => {});
    assert.deepEqual(raw(encryptRaw(bytes)), bytes);
  });
});
