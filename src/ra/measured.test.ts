import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { requestOf } from '../../test/support/authorities-fixture.ts';
import { IntunePeer, json } from '../../test/support/intune-peer.ts';
import { rootPem } from '../../test/support/mdm-fixture.ts';
import { parseCertificationRequest } from '../codec/index.ts';
import { Metrics, metricsText } from '../metrics.ts';
import { openLog } from '../telemetry.ts';
import { measured } from './measured.ts';
import type { EnrolmentRequest, Validator, Verdict } from './validator.ts';
import { type IntuneValidator, intuneValidator } from './validators/intune.ts';

const request: EnrolmentRequest = await (async () => ({
  endpoint: 'devices',
  transactionID: 'secret-transaction',
  csr: parseCertificationRequest(await requestOf({ challengePassword: 'secret-challenge' })),
  challengePassword: 'secret-challenge',
  source: '192.0.2.77',
  receivedAt: new Date(),
}))();

/** Samples whose name begins so, without their buckets. */
const samplesOf = (metrics: Metrics, name: string) =>
  metricsText(metrics.counts(), [])
    .split('\n')
    .filter((line) => line.startsWith(name) && !/_(bucket|sum)\{/.test(line));

describe('a measured validator', () => {
  test('says the same, and is counted', async () => {
    const metrics = new Metrics();
    const verdicts: Verdict[] = [
      { verdict: 'refuse', code: 'challenge_unknown', detail: '' },
      { verdict: 'unreachable', detail: '' },
      { verdict: 'accept', names: 'claimed' },
    ];
    const validator = measured(
      {
        name: 'scripted',
        challengeUse: 'shared',
        validate: async (asked) => {
          assert.equal(asked, request);
          return verdicts.shift() ?? assert.fail();
        },
      },
      'devices',
      metrics,
    );
    assert.deepEqual([validator.name, validator.challengeUse], ['scripted', 'shared']);
    const said = [];
    for (let n = 0; n < 3; n += 1) said.push((await validator.validate(request)).verdict);
    assert.deepEqual(said, ['refuse', 'unreachable', 'accept']);
    const labels = 'endpoint="devices",validator="scripted",call="validate"';
    assert.deepEqual(samplesOf(metrics, 'leafgate_validator'), [
      `leafgate_validator_verdicts_total{${labels},verdict="accept"} 1`,
      `leafgate_validator_verdicts_total{${labels},verdict="refuse"} 1`,
      `leafgate_validator_verdicts_total{${labels},verdict="unreachable"} 1`,
      `leafgate_validator_duration_seconds_count{${labels}} 3`,
    ]);
  });

  test('listens to what its inner one listens to, and to nothing else', () => {
    const deaf: Validator = { name: 'deaf', challengeUse: 'none', validate: async () => assert.fail() };
    const wrapped = measured(deaf, 'devices', new Metrics());
    assert.ok(!('notifySuccess' in wrapped) && !('notifyFailure' in wrapped));
  });

  test('that breaks does so as before, and its time counts', async () => {
    const metrics = new Metrics();
    const broken = measured(
      {
        name: 'broken',
        challengeUse: 'none',
        validate: async () => assert.fail(),
        notifyFailure: async () => {
          throw new Error('it broke');
        },
      },
      'devices',
      metrics,
    );
    await assert.rejects(
      async () => broken.notifyFailure?.(request, { hResult: 1, description: '' }),
      /it broke/,
    );
    assert.deepEqual(samplesOf(metrics, 'leafgate_validator_duration'), [
      'leafgate_validator_duration_seconds_count{endpoint="devices",validator="broken",call="failureNotification"} 1',
    ]);
  });
});

describe('Intune’s result codes', () => {
  const peer = new IntunePeer();
  before(async () => {
    await peer.open();
  });
  after(() => peer.close());

  const opened = (metrics: Metrics): IntuneValidator =>
    intuneValidator({
      tenant: 'tenant.test',
      appId: 'app',
      credential: { secret: 'secret-of-the-app' },
      providerNameAndVersion: 'Leafgate/0.1.0',
      authority: peer.url,
      graph: peer.url,
      extraCa: rootPem,
      budgetMs: 4_000,
      log: openLog('silent', 'test'),
      metrics,
    });

  test('are counted verbatim, by tenant, endpoint and action', async () => {
    const metrics = new Metrics();
    const validator = opened(metrics);
    try {
      for (const code of [
        'Success',
        'ChallengeExpired',
        'ChallengeExpired',
        'InventedByMicrosoft',
        'not a word!',
      ]) {
        peer.respond = () => json(200, { code });
        await validator.validate(request);
      }
      peer.respond = () => json(404, '');
      assert.equal((await validator.validate(request)).verdict, 'unreachable');
      peer.respond = () => json(200, { code: 'Success' });
      await validator.notifyFailure?.(request, { hResult: 1, description: 'x' });
    } finally {
      await validator.close();
    }
    const line = (action: string, verdict: string, code: string, count: number) =>
      `leafgate_intune_results_total{tenant="tenant.test",endpoint="devices",action="${action}",verdict="${verdict}",code="${code}"} ${count}`;
    assert.deepEqual(samplesOf(metrics, 'leafgate_intune_results_total'), [
      line('validateRequest', 'accept', 'Success', 1),
      line('validateRequest', 'refuse', 'ChallengeExpired', 2),
      line('validateRequest', 'refuse', 'InventedByMicrosoft', 1),
      line('validateRequest', 'refuse', 'other', 1),
      line('validateRequest', 'unreachable', '', 1),
      line('failureNotification', 'accept', 'Success', 1),
    ]);
    assert.doesNotMatch(metricsText(metrics.counts(), []), /secret|192\.0\.2\.77/);
  });

  test('that nobody documents are so many and no more', async () => {
    const metrics = new Metrics();
    const validator = opened(metrics);
    try {
      for (let n = 0; n < 60; n += 1) {
        peer.respond = () => json(200, { code: `Invented${n}` });
        await validator.validate(request);
      }
      peer.respond = () => json(200, { code: 'KeyLengthMismatch' });
      await validator.validate(request);
    } finally {
      await validator.close();
    }
    const samples = samplesOf(metrics, 'leafgate_intune_results_total');
    assert.equal(samples.length, 52);
    assert.match(samples.at(-2) ?? '', /code="other"\} 10$/);
    assert.match(samples.at(-1) ?? '', /code="KeyLengthMismatch"\} 1$/);
  });
});
