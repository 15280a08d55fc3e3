import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { leafgate, newSite } from '../../test/support/cli-fixture.ts';
import { parseConfig } from '../config.ts';
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
