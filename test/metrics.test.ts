/** Metrics of a real server: sums over its threads or its worker processes, for whom they are meant, under the names that are documented. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { freePort } from '../lab/ports.ts';
import { openTenant, type Tenant } from '../lab/tenant.ts';
import { metricTable } from '../src/metrics.ts';
import { readPage } from '../tools/markdown.ts';
import { repositoryText } from '../tools/repository.ts';
import { leafgate } from './support/cli-fixture.ts';
import { startServerProcess, TestDevice, type TestServerProcess, until } from './support/server-fixture.ts';

/** So many that they do not all meet the same worker. */
const JUNK = 30;
const DEVICES = 4;
const WORKERS = 3;

let folder: string;
let tenant: Tenant;
const running: TestServerProcess[] = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leafgate-metrics-'));
  tenant = await openTenant(folder, { ports: 'any', progress: () => {}, issuingKey: 'rsa-2048' });
});
after(async () => {
  for (const { part } of running) await part.kill();
  await rm(folder, { recursive: true, force: true });
});

/** One request over a connection of its own. */
function ask(
  url: string,
  {
    method = 'GET',
    headers = {},
    body = '',
  }: { method?: string; headers?: Record<string, string>; body?: string } = {},
): Promise<{ readonly status: number; readonly type: string; readonly text: string }> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(url, { method, headers, agent: false }, (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('error', reject);
      incoming.on('end', () =>
        resolve({
          status: incoming.statusCode ?? 0,
          type: incoming.headers['content-type'] ?? '',
          text: Buffer.concat(chunks).toString(),
        }),
      );
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

/** A server with an admin API, and how its metrics are read. */
async function start(name: string, changes: object) {
  const port = await freePort();
  const server = await startServerProcess(tenant, name, {
    ...changes,
    admin: { listen: `127.0.0.1:${port}` },
  });
  running.push(server);
  const made = await leafgate(
    ...['admin', 'token', 'create', 'prometheus', '--role', 'monitor', '--config', server.config, '--json'],
  );
  const { token } = JSON.parse(made) as { readonly token: string };
  const url = `http://127.0.0.1:${port}/metrics`;
  const authorization = `Bearer ${token}`;
  const scrape = async () => {
    const answer = await ask(url, { headers: { authorization } });
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.type, 'text/plain; version=0.0.4; charset=utf-8');
    return samplesIn(answer.text);
  };
  return { server, url, scrape, authorization };
}

/** Values by name and labels, as they stand; whatever is not of the format fails. */
function samplesIn(text: string): ReadonlyMap<string, number> {
  assert.ok(text.endsWith('\n'));
  const samples = new Map<string, number>();
  for (const line of text.slice(0, -1).split('\n')) {
    if (/^# (HELP [a-z_]+ .+|TYPE [a-z_]+ (counter|gauge|histogram))$/.test(line)) continue;
    const [, series = '', value = ''] =
      /^([a-z_]+(?:\{(?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)+\})?) (\S+)$/.exec(line) ?? [];
    assert.notEqual(series, '', line);
    assert.ok(!samples.has(series), `twice: ${line}`);
    assert.ok(Number.isFinite(Number(value)), line);
    samples.set(series, Number(value));
  }
  return samples;
}

const operations = (messageType: string, outcome: string, code = '') =>
  `leafgate_pki_operations_total{endpoint="static",message_type="${messageType}",outcome="${outcome}",code="${code}"}`;
const issued = operations('PKCSReq', 'issued');
const junk = operations('', 'refused', 'scep_body');

/** Nonsense of many senders, and devices that enrol. */
async function use({ base }: TestServerProcess): Promise<void> {
  await Promise.all(
    Array.from({ length: JUNK }, async () => {
      const { status } = await ask(`${base}/scep/static?operation=PKIOperation`, {
        method: 'POST',
        body: 'junk',
      });
      assert.equal(status, 400);
    }),
  );
  for (const device of await TestDevice.make(tenant, base, DEVICES))
    assert.ok('serialNumber' in (await device.enrol(base)));
}

function assertCounted(samples: ReadonlyMap<string, number>): void {
  assert.equal(samples.get(issued), DEVICES);
  assert.equal(samples.get(junk), JUNK);
  const operation = 'leafgate_pki_operation_duration_seconds';
  assert.equal(samples.get(`${operation}_count{endpoint="static"}`), DEVICES + JUNK);
  assert.equal(samples.get(`${operation}_bucket{endpoint="static",le="+Inf"}`), DEVICES + JUNK);
  const verdicts = [...samples].filter(([series]) =>
    series.startsWith('leafgate_validator_verdicts_total{endpoint="static"'),
  );
  assert.deepEqual(
    verdicts.map(([series, value]) => [/verdict="(\w+)"/.exec(series)?.[1], value]),
    [
      ['accept', DEVICES],
      ['refuse', 0],
      ['unreachable', 0],
    ],
  );
}

describe('a server on threads', () => {
  let started: Awaited<ReturnType<typeof start>>;
  before(async () => {
    started = await start('threads', { threads: WORKERS });
  });

  test('tells nobody without a token, and nobody on the listener of the devices', async () => {
    const { url, server, authorization } = started;
    assert.equal((await ask(url)).status, 401);
    assert.equal((await ask(url, { headers: { authorization: 'Bearer prometheus.wrong' } })).status, 401);
    assert.equal(
      (await ask(url, { headers: { authorization, 'x-forwarded-for': '192.0.2.1' } })).status,
      404,
    );
    for (let n = 0; n < JUNK; n += 1)
      assert.equal((await ask(`${server.base}/metrics`, { headers: { authorization } })).status, 404);
  });

  test('sums what all of them counted', async () => {
    const idle = await started.scrape();
    assert.equal(idle.get(issued), 0, 'shown before the first');
    assert.equal(idle.get(junk), undefined);
    await use(started.server);
    assertCounted(await started.scrape());
    assertCounted(await started.scrape());
  });

  test('tells its health as numbers', async () => {
    const samples = await started.scrape();
    assert.equal(samples.get('leafgate_leads'), 1);
    assert.equal(samples.get('leafgate_database_available'), 1);
    const inADay = Date.now() / 1000 + 86_400;
    for (const series of [
      'leafgate_ca_not_after_timestamp_seconds{issuer="issuing"}',
      'leafgate_ra_not_after_timestamp_seconds{endpoint="static"}',
      'leafgate_crl_next_update_timestamp_seconds{issuer="issuing",partition="0",kind="full"}',
    ])
      assert.ok((samples.get(series) ?? 0) > inADay, series);
  });

  test('serves the metrics that are documented, and no other', async () => {
    const { url, authorization } = started;
    const { text } = await ask(url, { headers: { authorization } });
    const served = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, kind]) => [name, kind]);
    const page = readPage(repositoryText('docs/metrics.md'));
    const documented = page.rows.flatMap(([cell = '', kind]) => {
      const name = /^`(leafgate_\w+)`$/.exec(cell)?.[1];
      return name === undefined ? [] : [[name, kind]];
    });
    assert.ok(documented.length > 20);
    assert.deepEqual(served.toSorted(), documented.toSorted());
    // What is counted stands under one of these names, with the labels that are documented.
    for (const series of samplesIn(text).keys()) {
      const [, name = '', labels = ''] = /^(\w+)(?:\{(.*)\})?$/.exec(series) ?? [];
      const family = Object.hasOwn(metricTable, name) ? name : name.replace(/_(bucket|sum|count)$/, '');
      const row: { readonly labels: readonly string[] } | undefined =
        metricTable[family as keyof typeof metricTable];
      assert.ok(row, series);
      const found = [...labels.matchAll(/([a-z_]+)="/g)]
        .map(([, label]) => label)
        .filter((label) => label !== 'le');
      assert.deepEqual(found, row.labels, series);
    }
  });

  test('the rules of the document name metrics and labels that there are', () => {
    const [, rules = ''] = /```yaml\n(groups:[\s\S]*?)```/.exec(repositoryText('docs/metrics.md')) ?? [];
    const selectors = [...rules.matchAll(/(leafgate_\w+?)(?:_bucket)?(?:\{([^}]*)\})?(?=[\s[)]|$)/gm)];
    assert.ok(selectors.length > 20);
    for (const [, name = '', matchers = ''] of selectors) {
      assert.ok(Object.hasOwn(metricTable, name), name);
      const { labels }: { readonly labels: readonly string[] } =
        metricTable[name as keyof typeof metricTable];
      for (const [, label = ''] of matchers.matchAll(/([a-z_]+)=/g))
        assert.ok(labels.includes(label), `${name} ${label}`);
    }
  });
});

test('a server on processes sums what all of them counted, also those that died', async () => {
  const { server, scrape } = await start('processes', { workers: WORKERS });
  await use(server);
  assertCounted(await scrape());
  const serving = () =>
    [...server.log().matchAll(/"pid":(\d+),"msg":"a worker serves"/g)].map(([, pid]) => Number(pid));
  assert.equal(serving().length, WORKERS);
  for (const pid of serving()) {
    const before = serving().length;
    process.kill(pid, 'SIGKILL');
    await until('another takes its place', () => serving().length > before);
    assertCounted(await scrape());
  }
  const [device] = await TestDevice.make(tenant, server.base, 1);
  assert.ok(device && 'serialNumber' in (await device.enrol(server.base)));
  assert.equal((await scrape()).get(issued), DEVICES + 1, 'the new ones count on');
});

test('a listener may be open to all who reach it, and is still closed to what was forwarded', async () => {
  const port = await freePort();
  const server = await startServerProcess(tenant, 'open', {
    admin: { listen: `127.0.0.1:${port}`, metrics: 'listener' },
  });
  running.push(server);
  const url = `http://127.0.0.1:${port}/metrics`;
  const answer = await ask(url);
  assert.equal(answer.status, 200);
  assert.equal(samplesIn(answer.text).get('leafgate_leads'), 1);
  assert.equal((await ask(url, { headers: { via: '1.1 proxy' } })).status, 404);
  assert.equal((await ask(url, { method: 'POST' })).status, 404);
  assert.equal((await ask(`http://127.0.0.1:${port}/admin/v1/health`)).status, 401, 'and nothing else');
});
