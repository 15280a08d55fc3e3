import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { certificates, keys } from '../../test/support/mdm-fixture.ts';
import { parseSignedData } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { buildChallenge, type ChallengePayload, parseChallenge } from './challenges.ts';

const payload: ChallengePayload = {
  version: 1,
  challengeId: randomUUID(),
  certificateRequestId: randomUUID(),
  deviceId: randomUUID(),
  profileId: 'p',
  subject: 'CN=secret-subject',
  subjectAltName: [{ type: 'dNSName', value: 'a.example' }],
  keyUsage: ['digitalSignature'],
  extKeyUsage: ['1.3.6.1.5.5.7.3.2'],
  keyLength: 2048,
  createdAt: new Date('2030-01-01T00:00:00Z'),
  expiresAt: new Date('2030-01-01T01:00:00Z'),
};
const signer = { certificate: certificates.signer, sign: keys.signer.sign };
const recipient = { certificate: certificates.recipient, decrypt: keys.recipient.decrypt };

test('parseChallenge: any text is read or named, never thrown', async () => {
  const text = fc.oneof(
    fc.string({ maxLength: 200 }),
    fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes).toString('base64')),
  );
  await fc.assert(
    fc.asyncProperty(text, async (challenge) => {
      const { code } = await parseChallenge(challenge, certificates.signer, recipient);
      assert.equal(code, 'ChallengeDecodingError');
    }),
  );
});

test('parseChallenge: a text of 64 KiB is not looked at', async () => {
  const { code } = await parseChallenge('A'.repeat(64 * 1024), certificates.signer, recipient);
  assert.equal(code, 'ChallengeDecodingError');
});

test('parseChallenge: nothing is decrypted that the signer did not sign', async () => {
  const challenge = await buildChallenge(
    payload,
    { certificate: certificates.signer, sign: keys.other.sign },
    certificates.recipient,
  );
  const decrypt = () => assert.fail('the key was used');
  const { code } = await parseChallenge(challenge, certificates.signer, { ...recipient, decrypt });
  assert.equal(code, 'SignatureValidationFailed');
});

test('parseChallenge: a key that is away is thrown and not answered', async () => {
  const challenge = await buildChallenge(payload, signer, certificates.recipient);
  const decrypt = () => Promise.reject(new PkiError('key_unavailable', 'away'));
  await assert.rejects(
    parseChallenge(challenge, certificates.signer, { ...recipient, decrypt }),
    (thrown) => thrown instanceof PkiError && thrown.code === 'key_unavailable',
  );
});

test('parseChallenge reads what buildChallenge built; nobody else can', async () => {
  for (const each of [payload, { ...payload, userId: randomUUID(), subjectAltName: [] }]) {
    const challenge = await buildChallenge(each, signer, certificates.recipient);
    assert.match(challenge, /^[A-Za-z0-9+/]+=*$/);
    assert.deepEqual(await parseChallenge(challenge, certificates.signer, recipient), {
      code: 'Success',
      payload: each,
    });
    // Intune's own are some 8,000 characters; URLs of GET requests must stay below 40 KB.
    assert.ok(challenge.length < 4000, `${challenge.length}`);
    const { content } = parseSignedData(Buffer.from(challenge, 'base64'));
    assert.ok(content !== undefined && !Buffer.from(content).includes('secret-subject'));
  }
});
