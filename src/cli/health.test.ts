import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { leafgate, newSite } from '../../test/support/cli-fixture.ts';
import { parseConfig } from '../config.ts';
import { openAuthorities } from '../parts/authorities.ts';
import type { ServerHealth } from '../parts/index.ts';
import { type ServerPart, startServer } from '../parts/index.ts';
import { openLog, systemClock } from '../telemetry.ts';

let folder: string;
let config: string;
let running: ServerPart | undefined;

before(async () => {
  ({ folder, config } = await newSite());
  // The command asks the server by the port of the configuration.
  const port = await new Promise<number>((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
  const changed = JSON.parse(readFileSync(config, 'utf8')) as { server: Record<string, unknown> };
  Object.assign(changed.server, {
    listen: `127.0.0.1:${port}`,
    threads: 1,
    publish: { targets: [{ name: 'web', folder: 'web' }], urlCheck: 'off' },
  });
  writeFileSync(config, JSON.stringify(changed));
});
after(async () => {
  await running?.close();
  await rm(folder, { recursive: true, force: true });
});

/** What the command says, and the exit status that it leaves. */
async function health(...words: string[]): Promise<{ readonly out: string; readonly status: number }> {
  const before = process.exitCode;
  process.exitCode = 0;
  try {
    const out = await leafgate('health', '--config', config, ...words);
    return { out, status: Number(process.exitCode) };
  } finally {
    process.exitCode = before;
  }
}

const asked = async () => {
  const { out, status } = await health('--json');
  return { facts: JSON.parse(out) as ServerHealth, status };
};

test('without its server, the exit status is 1, and it says why', async () => {
  const { facts, status } = await asked();
  assert.equal(status, 1);
  assert.match(facts.problems.join(), /the server does not answer at http:\/\/127\.0\.0\.1:\d+\/healthz/);
  assert.deepEqual(facts.crls, []);
});

test('beside a server that is well, it shows all that there is, and the exit status is 0', async () => {
  const { server } = parseConfig(readFileSync(config, 'utf8'), folder);
  assert.ok(server !== undefined);
  running = await startServer(server, openLog('silent', 'test'), systemClock);
  let { facts, status } = await asked();
  for (let tries = 0; tries < 100 && facts.targets[0]?.status !== 'current'; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    ({ facts, status } = await asked());
  }
  assert.deepEqual([facts.problems, status], [[], 0]);
  assert.partialDeepStrictEqual(facts, {
    role: 'beside',
    store: 'available',
    issuers: [{ issuer: 'issuing' }],
    crls: [{ issuer: 'issuing', kind: 'full', crlNumber: 1, overdue: false }],
    targets: [{ target: 'web', status: 'current' }],
    raCertificates: [{ endpoint: 'one-time' }, { endpoint: 'static' }],
  });
  assert.equal((await running.health()).role, 'leads');
  const { out } = await health();
  for (const line of [/^full CRL 1 of issuing +current/m, /^target web +current/m, /^all is well$/m])
    assert.match(out, line);
});

test('a target that holds something else is a problem', async () => {
  writeFileSync(join(folder, 'web', 'issuing.crl'), 'something else');
  const { facts, status } = await asked();
  assert.equal(status, 1);
  assert.match(facts.problems.join(), /the target web is behind since .*issuing\.crl/);
  assert.match((await health()).out, /^problem: the target web is behind/m);
});

test('what the server that leads has put on record is shown beside it: a self-test that fails, requests of Intune that wait', async () => {
  const changed = JSON.parse(readFileSync(config, 'utf8')) as {
    server: { selfTest?: object; endpoints: object[] };
  };
  const intune = { tenant: 'Contoso.Example', appId: 'app', secret: 'file:intune.secret', revocation: {} };
  changed.server.selfTest = { endpoints: ['static'] };
  changed.server.endpoints.push({
    ...changed.server.endpoints[0],
    name: 'intune',
    paths: ['/scep/intune'],
    validators: [{ intune }],
  });
  writeFileSync(config, JSON.stringify(changed));
  writeFileSync(join(folder, 'intune.secret'), 'secret', { mode: 0o600 });
  const { server } = parseConfig(readFileSync(config, 'utf8'), folder);
  assert.ok(server !== undefined);
  const { store, close } = await openAuthorities(server, openLog('silent', 'test'), systemClock);
  const detail = {
    endpoint: 'static',
    url: 'http://scep.test/scep/static',
    reach: 'enrolled',
    step: 'PKCSReq',
    detail: 'key_unavailable: the token is locked',
    durationMs: '7',
    raEnds: '',
  };
  const at = new Date('2030-01-01T00:00:00Z');
  const audit = { at, actor: 'self-test', reference: '', code: '', text: '', detail };
  await store.appendAudit({ ...audit, event: 'self-test.fails' });
  await store.keepRevocationRequests([
    {
      source: 'contoso.example/app',
      requestContext: 'x',
      serialNumber: '0a',
      issuerName: 'CN=Nobody',
      action: 'revoke',
      reason: 'unspecified',
      receivedAt: new Date(Date.now() - 11 * 60_000),
    },
  ]);
  try {
    const { facts, status } = await asked();
    assert.equal(status, 1);
    assert.match(
      facts.problems.join('\n'),
      /the self-test of endpoint static fails at PKCSReq: key_unavailable: the token is locked\n.*Intune \(contoso\.example\/app\): 1 wait for their answer since /,
    );
    const { out } = await health();
    assert.match(out, /^self-test of static +fails at PKCSReq since 2030-01-01 00:00Z$/m);
    assert.match(out, /^Intune, revocation for contoso\.example\/app +1 wait since /m);
    await store.appendAudit({
      ...audit,
      event: 'self-test.works',
      detail: { ...detail, step: '', detail: '' },
    });
    await store.forgetRevocationRequests('contoso.example/app', ['x']);
    const well = (await health()).out;
    assert.match(well, /^self-test of static +works since /m);
    assert.match(well, /^Intune, revocation for contoso\.example\/app +nothing waits$/m);
    assert.doesNotMatch(well, /problem: .*(self-test|Intune)/);
  } finally {
    await close();
  }
});
