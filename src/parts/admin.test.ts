/** The admin API as a part of the server: on its own listener, and nowhere else. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { leafgate, newSite } from '../../test/support/cli-fixture.ts';
import { adminRoutes } from '../admin/routes.ts';
import { parseConfig } from '../config.ts';
import { PkiError } from '../errors.ts';
import { openLog, systemClock } from '../telemetry.ts';
import { type AllowRule, defaultAllowRules, openConnector, openEdge } from '../tunnel/index.ts';
import { startServer } from './server.ts';

const log = openLog('silent', 'test');
const pem = (name: string) =>
  readFileSync(new URL(`../../test/vectors/tunnel/${name}.pem`, import.meta.url), 'utf8');

let folder: string;
let config: string;
let running: Awaited<ReturnType<typeof startServer>>;
let token: string;
/** Ports of the SCEP server and of the admin API. */
const ports = { scep: 0, admin: 0 };

/** Status line and all that follows, of one request over a socket of its own. */
async function speak(port: number, method: string, path: string, headers: Record<string, string> = {}) {
  const socket = connect(port, '127.0.0.1');
  const fields = Object.entries({ Host: 'x', Connection: 'close', 'Content-Length': '0', ...headers });
  socket.write(
    `${method} ${path} HTTP/1.1\r\n${fields.map((field) => field.join(': ')).join('\r\n')}\r\n\r\n`,
  );
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(socket, 'close');
  const text = Buffer.concat(chunks).toString('latin1');
  return { status: Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1]), text };
}

const bearer = () => ({ Authorization: `Bearer ${token}` });
const basic = () => ({
  Authorization: `Basic ${Buffer.from(token.replace('.', ':')).toString('base64')}`,
});

/** All that the admin API serves, with the sign-in that opens it. */
const everything = () => [
  ...adminRoutes.map(({ method, path }) => ({
    method,
    path: path.replace('{issuer}', 'issuing').replace('{serialNumber}', 'ab').replace('{id}', '1'),
    headers: { ...bearer(), 'Content-Type': 'application/json' },
  })),
  { method: 'GET', path: '/admin/v1/openapi.json', headers: bearer() },
  { method: 'GET', path: '/certsrv/mscep_admin/', headers: basic() },
  { method: 'GET', path: '/CertSrv/mscep_admin/mscep.dll', headers: basic() },
  { method: 'POST', path: '/certsrv/mscep_admin', headers: basic() },
];

before(async () => {
  ({ folder, config } = await newSite());
  const text = readFileSync(config, 'utf8');
  const changed = JSON.parse(text) as { server: Record<string, unknown> };
  Object.assign(changed.server, {
    threads: 2,
    admin: { listen: '127.0.0.1:0', ndesPages: [{ endpoint: 'one-time' }] },
  });
  const { server } = parseConfig(JSON.stringify(changed), folder);
  assert.ok(server);
  running = await startServer(server, log, systemClock);
  const [scep = '', admin = ''] = running.addresses;
  assert.match(admin, /^admin API http:\/\/127\.0\.0\.1:\d+$/);
  ports.scep = Number(scep.split(':').at(-1));
  ports.admin = Number(admin.split(':').at(-1));
  const made = await leafgate(
    ...['admin', 'token', 'create', 'chief', '--role', 'administrator', '--config', config, '--json'],
  );
  ({ token } = JSON.parse(made) as { readonly token: string });
});
after(async () => {
  await running.close();
  await rm(folder, { recursive: true, force: true });
});

test('the listener of the admin API serves it, and no SCEP', async () => {
  for (const { method, path, headers } of everything()) {
    const { status, text } = await speak(ports.admin, method, path, headers);
    assert.ok([200, 400, 404].includes(status), `${path}: ${text}`);
    assert.doesNotMatch(text, /path_denied/, path);
  }
  const page = await speak(ports.admin, 'GET', '/certsrv/mscep_admin/', basic());
  assert.equal(page.status, 200);
  for (const path of ['/scep/one-time?operation=GetCACaps', '/crl/issuing.crl', '/ocsp', '/healthz'])
    assert.match((await speak(ports.admin, 'GET', path, bearer())).text, /path_denied/, path);
});

test('health is what the description says, of the server that serves it', async () => {
  const { text } = await speak(ports.admin, 'GET', '/admin/v1/health', bearer());
  const answer = JSON.parse(text.slice(text.indexOf('\r\n\r\n')));
  const [described] = adminRoutes.filter(({ operationId }) => operationId === 'health');
  assert.deepEqual(described?.answer.safeParse(answer).error?.issues, undefined);
  assert.partialDeepStrictEqual(answer, {
    role: 'leads',
    issuers: [{ issuer: 'issuing' }],
    crls: [{ issuer: 'issuing', overdue: false }],
    raCertificates: [{ endpoint: 'one-time' }, { endpoint: 'static' }],
  });
});

test('the listener of the devices serves nothing of it, on none of its threads', async () => {
  const { status } = await speak(ports.scep, 'GET', '/scep/one-time?operation=GetCACaps');
  assert.equal(status, 200);
  for (const { method, path, headers } of everything()) {
    for (let n = 0; n < 4; n += 1)
      assert.equal((await speak(ports.scep, method, path, headers)).status, 404, `${method} ${path}`);
  }
});

describe('the edge lets nothing of it pass', () => {
  /** As wide as rules can be. */
  const anything: readonly AllowRule[] = ['/scep/*', '/admin/*', '/certsrv/*'].map((path) => ({
    name: path,
    methods: ['GET', 'POST'],
    path,
    requestTargetBytesMax: 65_536,
    bodyBytesMax: 2 * 1024 * 1024,
  }));
  const rows = [
    { name: 'by the usual rules', allow: defaultAllowRules, target: 'scep', passes: 200 },
    { name: 'if its rules let everything through', allow: anything, target: 'scep', passes: 200 },
    // The configuration refuses that; here it is done all the same.
    { name: 'if the connector leads to the admin API', allow: anything, target: 'admin', passes: 404 },
    { name: 'by the usual rules to the admin API', allow: defaultAllowRules, target: 'admin', passes: 404 },
  ] as const;
  for (const { name, allow, target, passes } of rows) {
    test(name, async () => {
      const edge = await openEdge({
        http: { host: '127.0.0.1', port: 0 },
        tunnel: {
          host: '127.0.0.1',
          port: 0,
          cert: pem('edge.cert'),
          key: pem('edge.key'),
          connectorCa: pem('ca.cert'),
          connectors: ['connector-1'],
        },
        allow,
        log,
        clock: systemClock,
      });
      const connector = openConnector({
        edge: { host: '127.0.0.1', port: edge.tunnel.port, servername: 'edge.test', ca: pem('ca.cert') },
        identity: { cert: pem('connector-1.cert'), key: pem('connector-1.key') },
        target: `http://127.0.0.1:${ports[target]}`,
        allow,
        log,
        clock: systemClock,
      });
      try {
        await connector.ready;
        for (let n = 0; n < 100 && edge.connectors().length === 0; n += 1) await pause(20);
        const port = edge.http?.port ?? 0;
        const scep = await speak(port, 'GET', '/scep/one-time?operation=GetCACaps');
        assert.equal(scep.status, passes, 'the tunnel is there');
        for (const { method, path, headers } of everything()) {
          const { status, text } = await speak(port, method, path, headers);
          assert.equal(status, 404, `${method} ${path}: ${text}`);
          assert.doesNotMatch(text.replaceAll('\0', ''), /challenge password|expires|issuers/, path);
        }
      } finally {
        await connector.close();
        await edge.close();
      }
    });
  }
});

describe('leafgate admin token', () => {
  const run = (...words: string[]) => leafgate('admin', 'token', ...words, '--config', config);

  test('makes none without a role, with one that is none, for an endpoint that is not there', async () => {
    await assert.rejects(run('create', 'x'), /required option '--role/);
    await assert.rejects(run('create', 'x', '--role', 'root'), /Allowed choices are challenge-issuer/);
    for (const words of [
      ['x', '--role', 'auditor', '--endpoint', 'absent'],
      ['X', '--role', 'auditor'],
      ['chief', '--role', 'auditor'],
      ['x', '--role', 'auditor', '--days', '99999'],
    ])
      await assert.rejects(run('create', ...words), PkiError, words.join(' '));
    await assert.rejects(run('delete', 'x'), PkiError);
  });

  test('makes one with several roles that opens at once, lists it without its secret, deletes it', async () => {
    const made = await run(
      'create',
      'mdm',
      '--role',
      'auditor',
      'challenge-issuer',
      '--endpoint',
      'one-time',
      '--json',
    );
    const { token: secret } = JSON.parse(made) as { readonly token: string };
    const health = () => speak(ports.admin, 'GET', '/admin/v1/health', { Authorization: `Bearer ${secret}` });
    assert.equal((await health()).status, 200);
    const listed = JSON.parse(await run('list', '--json')) as { readonly name: string }[];
    assert.partialDeepStrictEqual(listed, [
      { name: 'chief', roles: ['administrator'] },
      { name: 'mdm', roles: ['auditor', 'challenge-issuer'], endpoints: ['one-time'] },
    ]);
    const [, word = 'x'] = secret.split('.');
    assert.ok(!JSON.stringify(listed).includes(word));
    assert.equal(await run('delete', 'mdm'), 'mdm: deleted\n');
    assert.equal((await health()).status, 401);
    const audit = JSON.parse(await leafgate('audit', 'list', '--json', '--config', config)) as {
      readonly event: string;
      readonly actor: string;
    }[];
    for (const event of ['admin.token-created', 'admin.token-deleted'])
      assert.match(audit.find((entry) => entry.event === event)?.actor ?? '', /^operator /);
  });
});
