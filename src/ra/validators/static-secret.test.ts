import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { requestOf } from '../../../test/support/authorities-fixture.ts';
import { parseCertificationRequest } from '../../codec/index.ts';
import { PkiError } from '../../errors.ts';
import type { Validator } from '../validator.ts';
import { hashStaticSecret, staticSecretValidator } from './static-secret.ts';

const secret = 'correct-horse-battery';
const hash = await hashStaticSecret(secret);
const csr = parseCertificationRequest(await requestOf({}));

const ask = (validator: Validator, challengePassword: string) =>
  validator.validate({
    endpoint: 'static',
    transactionID: 'transaction-1',
    csr,
    challengePassword,
    source: 'test',
    receivedAt: new Date(),
  });

describe('hashStaticSecret', () => {
  test('salts, and does not contain the secret', async () => {
    assert.match(hash, /^scrypt:[A-Za-z0-9_-]{22}:[A-Za-z0-9_-]{43}$/);
    assert.notEqual(await hashStaticSecret(secret), hash);
    assert.ok(!hash.includes(secret));
    assert.ok(!hash.includes(Buffer.from(secret).toString('base64url')));
  });

  test('refuses what can be guessed', async () => {
    for (const short of ['', 'a', 'eleven char']) {
      await assert.rejects(
        hashStaticSecret(short),
        (thrown) => thrown instanceof PkiError && thrown.code === 'config_invalid',
      );
    }
    await hashStaticSecret('twelve chars');
  });
});

describe('staticSecretValidator', () => {
  test('refuses a hash that is none, and does not repeat it', () => {
    const [, salt = '', digest = ''] = hash.split(':');
    for (const bad of [
      '',
      secret,
      'scrypt',
      'scrypt::',
      `scrypt:${salt}`,
      `scrypt:${salt}:`,
      `scrypt::${digest}`,
      `scrypt:${salt}:${digest}:`,
      `scrypt:${salt}:${digest.slice(1)}`,
      `scrypt:${salt.slice(1)}:${digest}`,
      `SCRYPT:${salt}:${digest}`,
      `argon2:${salt}:${digest}`,
    ]) {
      assert.throws(
        () => staticSecretValidator([bad]),
        (thrown) =>
          thrown instanceof PkiError &&
          thrown.code === 'config_invalid' &&
          (bad.length < 8 || !thrown.message.includes(bad)),
      );
    }
  });

  test('takes the secret and nothing else, before and after it was right once', async () => {
    const validator = staticSecretValidator([hash]);
    const rounds = [
      [secret.slice(1), `${secret}x`],
      ['', secret.toUpperCase()],
    ];
    for (const [round, wrong] of rounds.entries()) {
      for (const guess of wrong) {
        assert.deepEqual(
          await ask(validator, guess),
          { verdict: 'refuse', code: 'challenge_unknown', detail: 'wrong static secret' },
          `round ${round}: ${guess}`,
        );
      }
      assert.deepEqual(await ask(validator, secret), { verdict: 'accept', names: 'claimed' });
    }
    assert.equal(validator.challengeUse, 'shared');
  });

  test('many wrong guesses at once wait in line, and the line has an end', async () => {
    const validator = staticSecretValidator([hash], { atOnceMax: 1, waitingMax: 1 });
    // Once it was right, the secret needs no turn.
    assert.equal((await ask(validator, secret)).verdict, 'accept');
    const guesses = Array.from({ length: 6 }, (_, n) => ask(validator, `wrong guess ${n}`));
    assert.equal((await ask(validator, secret)).verdict, 'accept');
    const verdicts = await Promise.all(guesses);
    const count = (verdict: string) => verdicts.filter((each) => each.verdict === verdict).length;
    assert.equal(count('unreachable'), 6 - 1 - 1);
    assert.equal(count('refuse'), 2);
    // The line is empty again.
    assert.equal((await ask(validator, 'another wrong guess')).verdict, 'refuse');
  });

  test('devices that come at once after a start are all served', async () => {
    const validator = staticSecretValidator([hash]);
    const verdicts = await Promise.all(Array.from({ length: 60 }, () => ask(validator, secret)));
    assert.ok(verdicts.every(({ verdict }) => verdict === 'accept'));
  });

  test('of another endpoint has a secret of its own', async () => {
    const otherSecret = 'another-battery-staple';
    const one = staticSecretValidator([hash]);
    const other = staticSecretValidator([await hashStaticSecret(otherSecret)]);
    // Twice: before and after each was right once.
    for (let round = 0; round < 2; round += 1) {
      assert.equal((await ask(one, otherSecret)).verdict, 'refuse');
      assert.equal((await ask(other, secret)).verdict, 'refuse');
      assert.equal((await ask(one, secret)).verdict, 'accept');
      assert.equal((await ask(other, otherSecret)).verdict, 'accept');
    }
  });

  test('takes the old secret beside the new one while devices change over', async () => {
    const next = 'the-secret-of-tomorrow';
    assert.throws(
      () => staticSecretValidator([hash, `${hash}x:`]),
      (thrown) => thrown instanceof PkiError && thrown.code === 'config_invalid',
    );
    const validator = staticSecretValidator([await hashStaticSecret(next), hash]);
    for (let round = 0; round < 2; round += 1) {
      assert.equal((await ask(validator, `${secret}${next}`)).verdict, 'refuse');
      assert.equal((await ask(validator, secret)).verdict, 'accept');
      assert.equal((await ask(validator, next)).verdict, 'accept');
    }
  });
});
