/** What the SCEP door counts of what comes in. */
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import {
  enrolAt,
  type FixtureOptions,
  openTestServer,
  requestOf,
  staticSecret,
  type TestServer,
} from '../../test/support/authorities-fixture.ts';

const opened: TestServer[] = [];
async function open(options: FixtureOptions = {}): Promise<TestServer> {
  const server = await openTestServer(options);
  opened.push(server);
  return server;
}
afterEach(async () => {
  for (const server of opened.splice(0)) await server.close();
});

/** What was counted more than 0 times, as `endpoint message_type outcome code`. */
function operationsIn({ metrics }: TestServer): Record<string, number> {
  const rows = metrics.counts().leafgate_pki_operations_total ?? [];
  return Object.fromEntries(
    rows.flatMap(([values, [count = 0]]) => (count === 0 ? [] : [[values.join(' '), count]])),
  );
}
const measuredIn = ({ metrics }: TestServer) =>
  (metrics.counts().leafgate_pki_operation_duration_seconds ?? []).reduce(
    (sum, [, numbers]) => sum + numbers.slice(0, -1).reduce((all, one) => all + one, 0),
    0,
  );

test('each message is counted once, by what became of it', async () => {
  const server = await open();
  const csr = await requestOf({ challengePassword: staticSecret });
  assert.equal((await enrolAt(server, 'static', { csr, digest: 'sha1' })).pkiStatus, 'SUCCESS');
  const wrong = await requestOf({ challengePassword: 'wrong' });
  assert.equal((await enrolAt(server, 'static', { csr: wrong, transactionID: 't2' })).pkiStatus, 'FAILURE');
  assert.equal(
    (await enrolAt(server, 'manual', { csr: await requestOf({}), transactionID: 't3' })).pkiStatus,
    'PENDING',
  );
  server.scripted.verdict = { verdict: 'unreachable', detail: '' };
  const asked = await requestOf({ challengePassword: 'c' });
  assert.equal((await enrolAt(server, 'scripted', { csr: asked, transactionID: 't4' })).pkiStatus, 'HTTP');
  // Signed by nobody, or no message at all.
  assert.equal((await server.post('static', Buffer.from('junk'))).status, 400);
  assert.deepEqual(operationsIn(server), {
    'static PKCSReq issued ': 1,
    'static PKCSReq refused challenge_unknown': 1,
    'manual PKCSReq pending ': 1,
    'scripted PKCSReq unavailable validator_unreachable': 1,
    'static  refused scep_body': 1,
  });
  assert.equal(measuredIn(server), 5);
  assert.deepEqual(server.metrics.counts().leafgate_weak_algorithm_messages_total?.slice(0, 1), [
    [['static', 'sha1'], [1]],
  ]);
});

test('who is turned away is counted, and not as an operation that took time', async () => {
  const requests = { burst: 2, perSecond: 0.001 };
  const server = await open({ limits: { perSource: { requests }, perEndpoint: {} } });
  const statuses = [];
  for (let n = 0; n < 5; n += 1) statuses.push((await server.post('static', Buffer.from('junk'))).status);
  assert.deepEqual(statuses, [400, 400, 429, 429, 429]);
  assert.deepEqual(operationsIn(server), {
    'static  refused scep_body': 2,
    'static  turned_away rate_limited': 3,
  });
  assert.equal(measuredIn(server), 2);
});

test('a visit that is no PKIOperation is not counted', async () => {
  const server = await open();
  for (const query of ['', '?operation=GetCACaps', '?operation=GetCACert', '?operation=Nonsense'])
    await fetch(`${server.url('static')}${query}`);
  assert.deepEqual(operationsIn(server), {});
  assert.equal(measuredIn(server), 0);
});
