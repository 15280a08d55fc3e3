import assert from 'node:assert/strict';
import { afterEach, describe, test } from 'node:test';
import {
  FixtureClock,
  type FixtureOptions,
  newEcKey,
  openTestAuthorities,
  recordsIn,
  requestOf,
  type TestAuthorities,
} from '../../test/support/authorities-fixture.ts';
import { StoreFailures } from '../../test/support/failing-store.ts';
import { parseCertificate, parseCertificationRequest } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { Outcome } from './registration-authority.ts';
import type { Verdict } from './validator.ts';

const MINUTE_MS = 60_000;
const silent: Verdict = { verdict: 'unreachable', detail: 'HTTP 503' };
const taken: Verdict = { verdict: 'accept', names: 'vouched' };
const refused: Verdict = { verdict: 'refuse', code: 'validator_refused', detail: 'ChallengeExpired' };

const opened: TestAuthorities[] = [];
async function open(options: FixtureOptions = {}): Promise<TestAuthorities> {
  const authorities = await openTestAuthorities(options);
  opened.push(authorities);
  return authorities;
}
afterEach(async () => {
  for (const authorities of opened.splice(0).reverse()) await authorities.close();
});

async function enrol({ ra, clock }: TestAuthorities, transactionID = 'transaction-1'): Promise<Outcome> {
  const csr = parseCertificationRequest(await requestOf({ challengePassword: 'the-challenge' }));
  return await ra.enrol({
    endpoint: 'scripted',
    transactionID,
    csr,
    challengePassword: 'the-challenge',
    source: '192.0.2.1',
    receivedAt: clock.now(),
  });
}

function assertWithheld(outcome: Outcome): void {
  assert.equal(
    outcome.outcome === 'unavailable' && outcome.code,
    'notification_failed',
    JSON.stringify(outcome),
  );
}

/** How many certificates are counted as revoked before their devices had them. */
const withheld = ({ metrics }: TestAuthorities) =>
  metrics.counts().leafgate_certificates_withheld_total?.map(([[issuer], [count]]) => [issuer, count]);

const statuses = async (authorities: TestAuthorities) =>
  (await recordsIn(authorities)).map(({ status }) => status);

describe('a validator that does not answer successNotification', () => {
  test('keeps the certificate back, unrevoked; the device that asks again gets it', async () => {
    const authorities = await open();
    const { scripted, clock } = authorities;
    scripted.success = silent;
    assertWithheld(await enrol(authorities));
    clock.offsetMs += 30 * MINUTE_MS;
    assertWithheld(await enrol(authorities));
    assert.deepEqual(await statuses(authorities), ['issued']);
    scripted.success = taken;
    const outcome = await enrol(authorities, 'another-name-for-it');
    assert.equal(outcome.outcome, 'issued');
    assert.equal(scripted.validated.length, 1);
    // It is told of the transaction that it has validated.
    assert.deepEqual(
      scripted.succeeded.map(({ request }) => request.transactionID),
      ['transaction-1', 'transaction-1', 'transaction-1'],
    );
    assert.equal(await authorities.ra.notifications.tellPending(), 0);
    assert.equal(scripted.succeeded.length, 3);
  });

  test('is told again without the device, which then gets it at once', async () => {
    const authorities = await open();
    const { scripted, clock, ra } = authorities;
    scripted.success = silent;
    assertWithheld(await enrol(authorities));
    assert.equal(await ra.notifications.tellPending(), 0);
    assert.equal(scripted.succeeded.length, 1, 'not while the device waits');
    clock.offsetMs += 2 * MINUTE_MS;
    assert.equal(await ra.notifications.tellPending(), 1);
    assert.equal(await ra.notifications.tellPending(), 0, 'and again a while later');
    clock.offsetMs += 2 * MINUTE_MS;
    scripted.success = taken;
    assert.equal(await ra.notifications.tellPending(), 0);
    const told = scripted.succeeded.map(({ request, certificate }) => [
      request.transactionID,
      request.challengePassword,
      Buffer.from(request.csr.raw).toString('base64').slice(0, 40),
      certificate.serialNumber,
    ]);
    assert.equal(told.length, 3);
    assert.deepEqual(told[2], told[0]);
    assert.equal((await enrol(authorities)).outcome, 'issued');
    assert.equal(scripted.succeeded.length, 3);
  });

  test('for an hour: then the certificate is revoked, and the device refused', async () => {
    const authorities = await open();
    const { scripted, clock, ra } = authorities;
    scripted.success = silent;
    assertWithheld(await enrol(authorities));
    clock.offsetMs += 59 * MINUTE_MS;
    assert.equal(await ra.notifications.tellPending(), 1);
    assert.deepEqual(await statuses(authorities), ['issued']);
    assert.deepEqual(withheld(authorities), [['issuing', 0]]);
    clock.offsetMs += 2 * MINUTE_MS;
    scripted.success = taken;
    assert.equal(await ra.notifications.tellPending(), 0);
    assert.deepEqual(await statuses(authorities), ['revoked']);
    assert.deepEqual(withheld(authorities), [['issuing', 1]]);
    const outcome = await enrol(authorities);
    assert.equal(outcome.outcome === 'refused' && outcome.code, 'certificate_revoked');
    const told = scripted.succeeded.length;
    clock.offsetMs += 100 * MINUTE_MS;
    assert.equal(await ra.notifications.tellPending(), 0);
    assert.equal(scripted.succeeded.length, told);
    assert.deepEqual(withheld(authorities), [['issuing', 1]], 'once');
  });

  test('and then says no: the certificate is revoked at once', async () => {
    const authorities = await open();
    const { scripted, clock, ra } = authorities;
    scripted.success = silent;
    assertWithheld(await enrol(authorities));
    clock.offsetMs += 2 * MINUTE_MS;
    scripted.success = refused;
    assert.equal(await ra.notifications.tellPending(), 0);
    assert.deepEqual(await statuses(authorities), ['revoked']);
  });

  test('a device that comes in the last minutes gets nothing: another server may be revoking', async () => {
    const authorities = await open();
    const { scripted, clock } = authorities;
    scripted.success = silent;
    assertWithheld(await enrol(authorities));
    clock.offsetMs += 56 * MINUTE_MS;
    scripted.success = taken;
    assertWithheld(await enrol(authorities));
    assert.deepEqual(await statuses(authorities), ['revoked']);
  });
});

describe('a notification survives', () => {
  test('a process that ended between the certificate and the notification', async () => {
    const failures = new StoreFailures();
    const clock = new FixtureClock();
    const first = await open({ clock, storeOf: failures.wrap });
    // Nobody hears of it, and nothing is tidied up: as if the process had been killed.
    first.scripted.success = () => {
      throw new PkiError('internal', 'killed');
    };
    assert.notEqual((await enrol(first)).outcome, 'issued');
    assert.deepEqual(await statuses(first), ['issued']);
    const second = await open({ clock, folder: first.folder });
    clock.offsetMs += 2 * MINUTE_MS;
    assert.equal(await second.ra.notifications.tellPending(), 0);
    assert.equal(second.scripted.succeeded.length, 1);
    assert.equal(second.scripted.succeeded[0]?.request.challengePassword, 'the-challenge');
    const outcome = await enrol(second);
    assert.equal(outcome.outcome, 'issued');
    assert.equal(second.scripted.validated.length, 0, 'it is not asked twice');
  });

  test('a store that cannot write down that it was taken: it is told again, and never lost', async () => {
    const failures = new StoreFailures();
    const authorities = await open({ storeOf: failures.wrap });
    const { scripted, clock, ra } = authorities;
    failures.plan('recordNotified', 'not persisted');
    const outcome = await enrol(authorities);
    assert.equal(outcome.outcome === 'unavailable' && outcome.code, 'store_unavailable');
    clock.offsetMs += 2 * MINUTE_MS;
    assert.equal(await ra.notifications.tellPending(), 0);
    assert.equal(scripted.succeeded.length, 2);
    assert.equal((await enrol(authorities)).outcome, 'issued');
  });

  test('a store that cannot revoke what was refused: it is revoked the next time', async () => {
    const failures = new StoreFailures();
    const authorities = await open({ storeOf: failures.wrap });
    const { scripted, clock, ra } = authorities;
    scripted.success = refused;
    failures.plan('revoke', 'not persisted');
    await enrol(authorities);
    assert.deepEqual(await statuses(authorities), ['issued']);
    clock.offsetMs += 2 * MINUTE_MS;
    await ra.notifications.tellPending();
    assert.deepEqual(await statuses(authorities), ['revoked']);
  });
});

test('the challenge of what waits is not in the clear in the store', async () => {
  const authorities = await open();
  authorities.scripted.success = silent;
  await enrol(authorities);
  const [pending] = await authorities.store.notificationsDue({
    at: new Date(authorities.clock.now().getTime() + 2 * MINUTE_MS),
    limit: 10,
  });
  assert.ok(pending !== undefined);
  assert.ok(!Buffer.from(pending.sealed).toString('latin1').includes('the-challenge'));
});

test('another key with the challenge of a certificate that waits gets nothing', async () => {
  const authorities = await open();
  authorities.scripted.success = silent;
  assertWithheld(await enrol(authorities));
  const csr = parseCertificationRequest(
    await requestOf({ challengePassword: 'the-challenge', key: await newEcKey() }),
  );
  const outcome = await authorities.ra.enrol({
    endpoint: 'scripted',
    transactionID: 'transaction-1',
    csr,
    challengePassword: 'the-challenge',
    source: '192.0.2.1',
    receivedAt: authorities.clock.now(),
  });
  assert.equal(outcome.outcome === 'refused' && outcome.code, 'challenge_reused');
});

test('endpoints whose validators want to hear nothing write nothing down', async () => {
  const authorities = await open();
  const challengePassword = await authorities.challengeFor('one-time');
  const csr = parseCertificationRequest(await requestOf({ challengePassword }));
  const outcome = await authorities.ra.enrol({
    endpoint: 'one-time',
    transactionID: 't',
    csr,
    challengePassword,
    source: '',
    receivedAt: authorities.clock.now(),
  });
  assert.ok(outcome.outcome === 'issued' && parseCertificate(outcome.certificate).serialNumber !== '');
  const later = new Date(authorities.clock.now().getTime() + 1000 * MINUTE_MS);
  assert.deepEqual(await authorities.store.notificationsDue({ at: later, limit: 10 }), []);
});
