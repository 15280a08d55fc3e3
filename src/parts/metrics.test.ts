import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Metrics } from '../metrics.ts';
import type { ServerHealth } from './health.ts';
import { metricsOf } from './metrics.ts';

const at = new Date('2030-01-01T00:00:00Z');
const AT = at.getTime() / 1000;
const later = (seconds: number) => new Date(at.getTime() + seconds * 1000);

const health: ServerHealth = {
  at,
  role: 'leads',
  store: 'available',
  issuers: [{ issuer: 'devices', notAfter: later(10) }],
  crls: [
    {
      issuer: 'devices',
      partition: 3,
      kind: 'delta',
      crlNumber: 7,
      thisUpdate: later(-60),
      nextUpdate: later(60),
      ageSeconds: 60,
      overdue: true,
    },
  ],
  targets: [{ target: 'web', place: 'secret-place', status: 'behind', since: at, objects: 4, alarm: true }],
  ocspSigners: [{ issuer: 'devices' }],
  raCertificates: [{ endpoint: 'windows', notAfter: later(20) }, { endpoint: 'new' }],
  selfTests: [
    {
      endpoint: 'windows',
      url: 'http://secret-place',
      at,
      durationMs: 1500,
      outcome: 'fails',
      reach: 'enrolled',
      step: 'PKCSReq',
      detail: 'a sentence',
      succeededAt: later(-900),
    },
    { endpoint: 'new', url: '', at, durationMs: 5, outcome: 'works', reach: 'answered', detail: '' },
  ],
  notificationsWaiting: 2,
  revocationRequests: [
    { source: 't/a', backlog: 3, oldest: later(-7200), lastError: { at, text: 'HTTP 401' } },
    { source: 't/b', backlog: 0, succeededAt: at },
  ],
  problems: ['one', 'two'],
};

const samples = async (of: ServerHealth) => {
  const text = metricsOf({ metrics: new Metrics(), elsewhere: async () => [], health: async () => of });
  return (await text()).split('\n').filter((line) => /^leafgate_(?!build_info)/.test(line));
};

describe('the health as numbers', () => {
  test('has each of its facts', async () => {
    assert.deepEqual(await samples(health), [
      'leafgate_problems 2',
      'leafgate_leads 1',
      'leafgate_database_available 1',
      'leafgate_notifications_waiting 2',
      'leafgate_revocation_requests_waiting{source="t/a"} 3',
      'leafgate_revocation_requests_waiting{source="t/b"} 0',
      `leafgate_revocation_requests_oldest_timestamp_seconds{source="t/a"} ${AT - 7200}`,
      `leafgate_revocation_requests_success_timestamp_seconds{source="t/b"} ${AT}`,
      'leafgate_revocation_requests_failing{source="t/a"} 1',
      'leafgate_revocation_requests_failing{source="t/b"} 0',
      'leafgate_self_test_success{endpoint="windows"} 0',
      'leafgate_self_test_success{endpoint="new"} 1',
      `leafgate_self_test_run_timestamp_seconds{endpoint="windows"} ${AT}`,
      `leafgate_self_test_run_timestamp_seconds{endpoint="new"} ${AT}`,
      `leafgate_self_test_success_timestamp_seconds{endpoint="windows"} ${AT - 900}`,
      'leafgate_self_test_duration_seconds{endpoint="windows"} 1.5',
      'leafgate_self_test_duration_seconds{endpoint="new"} 0.005',
      `leafgate_ra_not_after_timestamp_seconds{endpoint="windows"} ${AT + 20}`,
      'leafgate_ra_not_after_timestamp_seconds{endpoint="new"} 0',
      `leafgate_ca_not_after_timestamp_seconds{issuer="devices"} ${AT + 10}`,
      'leafgate_ocsp_signer_not_after_timestamp_seconds{issuer="devices"} 0',
      `leafgate_crl_this_update_timestamp_seconds{issuer="devices",partition="3",kind="delta"} ${AT - 60}`,
      `leafgate_crl_next_update_timestamp_seconds{issuer="devices",partition="3",kind="delta"} ${AT + 60}`,
      'leafgate_crl_overdue{issuer="devices",partition="3",kind="delta"} 1',
      'leafgate_publish_target_state{target="web",state="unknown"} 0',
      'leafgate_publish_target_state{target="web",state="current"} 0',
      'leafgate_publish_target_state{target="web",state="behind"} 1',
      'leafgate_publish_target_alarm{target="web"} 1',
      'leafgate_publish_target_objects{target="web"} 4',
    ]);
  });

  test('of a server that does not lead says nothing of what it cannot know', async () => {
    const said = await samples({ ...health, role: 'follows', store: 'unavailable' });
    assert.ok(said.includes('leafgate_leads 0') && said.includes('leafgate_database_available 0'));
    assert.deepEqual(
      said.filter((line) => /notifications|revocation_requests|self_test/.test(line)),
      [],
    );
  });
});

test('who asks while it is gathered gets the same; who asks afterwards gets it anew', async () => {
  const metrics = new Metrics();
  const other = new Metrics();
  const gate = Promise.withResolvers<void>();
  let gathered = 0;
  const text = metricsOf({
    metrics,
    elsewhere: async () => {
      gathered += 1;
      await gate.promise;
      return [other.counts()];
    },
    health: async () => health,
  });
  const both = [text(), text()];
  for (const counting of [metrics, other])
    counting.count('leafgate_pkcs_rounds_total', { outcome: 'worked' });
  gate.resolve();
  const [first, second] = await Promise.all(both);
  assert.equal(first, second);
  assert.equal(gathered, 1);
  assert.match(first ?? '', /^leafgate_pkcs_rounds_total\{outcome="worked"\} 2$/m);
  assert.match(first ?? '', /^leafgate_build_info\{version="\d+\.\d+\.\d+",node="v\d+[^"]*"\} 1$/m);
  await text();
  assert.equal(gathered, 2);
});
