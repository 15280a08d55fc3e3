import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { pino } from 'pino';
import {
  certRepIn,
  exchange,
  type HttpAnswer,
  keys,
  messageOf,
  openTestServer,
  recordsIn,
  requestOf,
  smallSigner,
  staticSecret,
  type TestServer,
} from '../../test/support/authorities-fixture.ts';
import { Gate } from './gate.ts';
import { Admission } from './limits.ts';

const connection = { destroyed: false };

describe('a gate', () => {
  const lines: string[] = [];
  const log = pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) });

  test('turns away with a time that differs, and tells the log once', async () => {
    const admission = new Admission();
    const gate = new Gate('static', undefined, admission, log);
    for (let count = 0; count < 8 + 201; count += 1) void admission.enter(`source ${count}`, connection);
    const seconds = new Set<number>();
    for (let count = 0; count < 200; count += 1) {
      const turnedAway = gate.check('192.0.2.1');
      assert.equal(turnedAway?.code, 'overloaded');
      seconds.add(turnedAway?.retryAfterSeconds ?? 0);
    }
    assert.ok(seconds.size > 5, 'all would come back together');
    assert.ok(Math.min(...seconds) >= 5 && Math.max(...seconds) <= 20);
    assert.equal(lines.length, 1);
    assert.match(lines[0] ?? '', /"endpoint":"static".*"source":"192\.0\.2\.1"/);
  });

  test('lets the next one in, whatever becomes of the work', async () => {
    const limits = { perSource: { failures: { burst: 1, perSecond: 0.01 } }, perEndpoint: {} };
    const gate = new Gate('static', limits, new Admission(), log);
    const fails = gate.pass('a', connection, () => Promise.reject(new Error('broken')));
    await assert.rejects(fails, /broken/);
    assert.equal(gate.check('a'), undefined);
    const refused = await gate.pass('a', connection, async () => ({ refused: 'challenge_invalid' as const }));
    assert.deepEqual(refused, { refused: 'challenge_invalid' });
    assert.equal(gate.check('a')?.code, 'rate_limited');
    assert.equal(gate.check('b'), undefined);
  });
});

describe('at the door', () => {
  const BURST = 5;
  let server: TestServer;
  before(async () => {
    server = await openTestServer({
      limits: { perSource: { failures: { burst: BURST, perSecond: 0.01 } }, perEndpoint: {} },
    });
  });
  after(() => server.close());

  /** One request of a device at this address, as the connector hands it on. */
  async function ask(
    address: string,
    challengePassword: string,
    method: 'GET' | 'POST' = 'POST',
    message?: Uint8Array,
  ): Promise<HttpAnswer> {
    const octets =
      message ??
      (await messageOf({
        csr: await requestOf({ challengePassword }),
        transactionID: randomBytes(8).toString('hex'),
      }));
    const headers = { 'x-forwarded-for': address };
    const url = `${server.url('static')}?operation=PKIOperation`;
    return method === 'POST'
      ? await exchange(url, { method, body: octets, headers })
      : await exchange(`${url}&message=${encodeURIComponent(Buffer.from(octets).toString('base64'))}`, {
          headers,
        });
  }

  for (const method of ['POST', 'GET'] as const) {
    test(`wrong challenges slow down who sends them, and nobody else (${method})`, async () => {
      const guesser = `198.51.100.${method.length}`;
      for (let count = 0; count < BURST; count += 1)
        assert.equal((await ask(guesser, `guess ${count}`, method)).status, 200);
      const before = (await recordsIn(server)).length;
      const answer = await ask(guesser, staticSecret, method);
      assert.equal(answer.status, 429);
      assert.match(answer.headers['retry-after'] ?? '', /^[1-9]\d{0,2}$/);
      assert.equal(answer.body.toString(), 'too many requests; try again later\n');
      assert.equal((await recordsIn(server)).length, before);
      assert.equal((await ask('198.51.100.200', staticSecret, method)).status, 200);
      assert.equal((await recordsIn(server)).length, before + 1);
    });
  }

  test('messages that do not open count like wrong challenges', async () => {
    for (let count = 0; count < BURST; count += 1) {
      const message = await messageOf({ envelope: Buffer.from('3003020101', 'hex') });
      assert.equal((await ask('203.0.113.9', '', 'POST', message)).status, 200);
    }
    assert.equal((await ask('203.0.113.9', staticSecret)).status, 429);
  });

  test('a fleet behind one address enrols unhindered', async () => {
    for (let count = 0; count < 4 * BURST; count += 1)
      assert.equal((await ask('203.0.113.50', staticSecret)).status, 200);
  });

  test('one who is limited still gets the CA’s certificates', async () => {
    for (let count = 0; count < BURST; count += 1) await ask('203.0.113.10', 'guess');
    assert.equal((await ask('203.0.113.10', staticSecret)).status, 429);
    const headers = { 'x-forwarded-for': '203.0.113.10' };
    const url = `${server.url('static')}?operation=GetCACert`;
    assert.equal((await exchange(url, { headers })).status, 200);
  });

  test('of a crowd each gets a certificate or is told to come back, and nothing that was begun is lost', async () => {
    const signer = await smallSigner();
    const crowd = await Promise.all(
      Array.from({ length: 200 }, async (_, index) => {
        const csr = await requestOf({
          key: keys.device,
          challengePassword: staticSecret,
          subject: `CN=crowd ${index}`,
        });
        const fields = { csr, signer, transactionID: `crowd-${index}`, senderNonce: randomBytes(16) };
        return { ...fields, message: await messageOf(fields) };
      }),
    );
    const before = (await recordsIn(server)).length;
    const answers = await Promise.all(
      crowd.map(async (each) => {
        const answer = await server.post('static', each.message);
        if (answer.status === 200) assert.equal((await certRepIn(answer, each)).pkiStatus, 'SUCCESS');
        else {
          assert.equal(answer.status, 503);
          assert.match(answer.headers['retry-after'] ?? '', /^\d+$/);
        }
        return answer.status;
      }),
    );
    const issued = answers.filter((status) => status === 200).length;
    assert.ok(issued > 0);
    assert.equal((await recordsIn(server)).length, before + issued);
    // Later all of them come again, one after another: each has its certificate, and none has two.
    for (const each of crowd)
      assert.equal((await certRepIn(await server.post('static', each.message), each)).pkiStatus, 'SUCCESS');
    assert.equal((await recordsIn(server)).length, before + crowd.length);
  });
});
