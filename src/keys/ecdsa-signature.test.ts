import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, sign, verify } from 'node:crypto';
import { describe, test } from 'node:test';
import { buildEcdsaSignature, curveBytes, digestForCurve } from './ecdsa-signature.ts';

describe('buildEcdsaSignature', () => {
  for (const length of [0, 63, 65, 96]) {
    test(`refuses ${length} octets for a curve of 32`, () => {
      assert.throws(() => buildEcdsaSignature(new Uint8Array(length), 32), { code: 'key_unavailable' });
    });
  }

  const rows: readonly (readonly [string, string, string, string])[] = [
    ['small numbers lose their zeros', '01'.padStart(64, '0'), '7f'.padStart(64, '0'), '300602010102017f'],
    [
      'a high bit gets a zero',
      '80'.padStart(64, '0'),
      'ff'.repeat(32),
      `302702020080022100${'ff'.repeat(32)}`,
    ],
  ];
  for (const [name, r, s, want] of rows) {
    test(name, () => {
      assert.equal(Buffer.from(buildEcdsaSignature(Buffer.from(r + s, 'hex'), 32)).toString('hex'), want);
    });
  }

  for (const [curve, numberBytes] of Object.entries(curveBytes)) {
    test(`${curve}: OpenSSL verifies 200 of them`, () => {
      const pair = generateKeyPairSync('ec', { namedCurve: curve });
      for (let count = 0; count < 200; count += 1) {
        const data = Buffer.from(`message ${count}`);
        const rs = sign('sha256', data, { key: pair.privateKey, dsaEncoding: 'ieee-p1363' });
        assert.ok(verify('sha256', data, pair.publicKey, buildEcdsaSignature(rs, numberBytes)));
      }
    });
  }
});

test('a digest is cut to the curve, never lengthened', () => {
  const digest = createHash('sha512').update('x').digest();
  assert.deepEqual(digestForCurve(digest, 32), digest.subarray(0, 32));
  assert.deepEqual(digestForCurve(digest.subarray(0, 20), 32), digest.subarray(0, 20));
});
