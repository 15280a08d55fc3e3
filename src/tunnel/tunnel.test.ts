/** Edge and connector together, over real sockets: device - edge - (relay) - connector - target. */
import assert from 'node:assert/strict';
import { randomBytes, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import {
  Agent,
  createServer as createHttpServer,
  type IncomingHttpHeaders,
  type RequestListener,
  request,
} from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { type ConnectionOptions, createServer as createTlsServer, connect as dialTls } from 'node:tls';
import { openLog, systemClock } from '../telemetry.ts';
import {
  type AllowRule,
  type Connector,
  type ConnectorOptions,
  defaultAllowRules,
  type EdgeOptions,
  openConnector,
  openEdge,
  type Refusal,
} from './index.ts';
import { TUNNEL_ALPN } from './sockets.ts';

const log = openLog('silent', 'test');
const everywhere: AllowRule = {
  name: 'everywhere',
  methods: ['GET', 'POST'],
  path: '/admin/*',
  requestTargetBytesMax: 1_000,
  bodyBytesMax: 1_000,
};

// --- what passes ----------------------------------------------------------------------------------------------------

test('a GET with a 40 KB query arrives as it was sent', async (t) => {
  const rig = await startRig(t);
  const message = `MIIa+/b%2Bc%2F%3D%3d%0D%0A==&x=${'aB+/'.repeat(10_000)}`;
  const target = `/certsrv/mscep/mscep.dll/pkiclient.exe?operation=PKIOperation&message=${message}`;
  const answer = await ask(rig.httpPort, target);
  assert.equal(answer.status, 200);
  assert.equal(rig.seen.at(-1)?.target, target);
});

test('the largest request target that a rule can allow arrives', async (t) => {
  const rig = await startRig(t);
  for (const character of ['A', '~']) {
    const target = `/scep?message=${character.repeat(65_536 - 14)}`;
    assert.equal((await ask(rig.httpPort, target)).status, 200);
    assert.equal(rig.seen.at(-1)?.target, target);
  }
});

test('a POST carries bytes both ways with Content-Length', async (t) => {
  const rig = await startRig(t, { target: echo });
  const body = randomBytes(5_000);
  const answer = await ask(rig.httpPort, '/scep?operation=PKIOperation', {
    body,
    headers: { 'content-type': 'application/x-pki-message' },
  });
  assert.equal(answer.status, 200);
  assert.deepEqual(answer.body, body);
  assert.equal(answer.headers['content-length'], '5000');
  assert.equal(answer.headers['transfer-encoding'], undefined);
  assert.equal(rig.seen.at(-1)?.headers['content-type'], 'application/x-pki-message');
  assert.equal(rig.seen.at(-1)?.headers['content-length'], '5000');
});

test('a chunked POST arrives whole', async (t) => {
  const rig = await startRig(t, { target: echo });
  const body = randomBytes(200_000);
  const answer = await ask(rig.httpPort, '/scep', { body, headers: { 'transfer-encoding': 'chunked' } });
  assert.deepEqual(answer.body, body);
});

test('the largest body that the rule allows passes', async (t) => {
  const rig = await startRig(t, { target: echo });
  const body = randomBytes(2 * 1024 * 1024);
  const answer = await ask(rig.httpPort, '/scep', { body });
  assert.deepEqual(answer.body, body);
});

test('an answer without a length gets one', async (t) => {
  const rig = await startRig(t, {
    target: (_request, response) => {
      response.write('a');
      setTimeout(() => response.end('b'), 20);
    },
  });
  const answer = await ask(rig.httpPort, '/scep');
  assert.equal(answer.body.toString(), 'ab');
  assert.equal(answer.headers['content-length'], '2');
});

test('a large answer without a length is passed on as it comes', async (t) => {
  const crl = randomBytes(5_000_000);
  const rig = await startRig(t, {
    target: (_request, response) => {
      response.write(crl.subarray(0, 3_000_000));
      response.end(crl.subarray(3_000_000));
    },
  });
  const answer = await ask(rig.httpPort, '/crl/root.crl');
  assert.ok(answer.body.equals(crl));
});

test('304 has no body and no length', async (t) => {
  const rig = await startRig(t, {
    target: (_request, response) => {
      response.writeHead(304, { etag: '"1"' }).end();
    },
  });
  const answer = await ask(rig.httpPort, '/crl/root.crl', { headers: { 'if-none-match': '"1"' } });
  assert.equal(answer.status, 304);
  assert.equal(answer.headers.etag, '"1"');
  assert.equal(answer.headers['content-length'], undefined);
  assert.equal(rig.seen.at(-1)?.headers['if-none-match'], '"1"');
});

test('fifty requests at once each get their own answer', async (t) => {
  const rig = await startRig(t, { target: echo });
  const bodies = Array.from({ length: 50 }, () => randomBytes(20_000));
  const answers = await Promise.all(bodies.map((body) => ask(rig.httpPort, '/scep', { body })));
  assert.deepEqual(
    answers.map(({ body }) => body.toString('hex')),
    bodies.map((body) => body.toString('hex')),
  );
});

test('an HTTP/1.0 client without Host gets an answer with a length, then the end', async (t) => {
  const rig = await startRig(t);
  const answer = await speak(rig.httpPort, 'GET /scep?operation=GetCACaps HTTP/1.0\r\n\r\n');
  assert.match(answer, /^HTTP\/1\.1 200 OK\r\n/);
  assert.match(answer, /\r\ncontent-length: 2\r\n/i);
  assert.ok(answer.endsWith('\r\n\r\nok'));
});

test('a connection is kept for the next request, also after a refusal', async (t) => {
  const rig = await startRig(t);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  const ports = new Set<number | undefined>();
  for (const [target, status] of [
    ['/scep', 200],
    ['/admin', 404],
    ['/scep', 200],
  ] as const) {
    const answer = await ask(rig.httpPort, target, { agent });
    assert.equal(answer.status, status);
    ports.add(answer.localPort);
  }
  assert.equal(ports.size, 1);
});

test('Expect: 100-continue is answered for what is allowed, and only then', async (t) => {
  const rig = await startRig(t, { target: echo });
  const head = (path: string) =>
    `POST ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n`;
  const allowed = await speak(rig.httpPort, head('/scep'), async (socket, received) => {
    await until(() => received().includes('100 Continue'));
    socket.write('hi');
  });
  assert.match(allowed, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\nhi$/);
  const denied = await speak(rig.httpPort, head('/admin'), async (socket, received) => {
    await until(() => received().includes('not found'));
    socket.end();
  });
  assert.match(denied, /^HTTP\/1\.1 404 /);
});

test('an offer to upgrade is ignored, and not passed on', async (t) => {
  const rig = await startRig(t);
  const answer = await speak(
    rig.httpPort,
    'GET /scep HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n',
  );
  assert.match(answer, /^HTTP\/1\.1 200 /);
  const { headers } = rig.seen.at(-1) ?? assert.fail();
  assert.equal(headers.upgrade, undefined);
  assert.equal(headers['http2-settings'], undefined);
});

test('where a request came from is the word of the edge; the host is the word of the connector', async (t) => {
  const rig = await startRig(t);
  await ask(rig.httpPort, '/scep', {
    headers: {
      host: 'admin.internal',
      'x-forwarded-for': '10.9.9.9',
      'x-forwarded-proto': 'https',
      forwarded: 'for=10.9.9.9',
      'user-agent': 'device',
    },
  });
  const { headers } = rig.seen.at(-1) ?? assert.fail();
  assert.equal(headers['x-forwarded-for'], '127.0.0.1');
  assert.equal(headers['x-forwarded-proto'], 'http');
  assert.equal(headers.forwarded, undefined);
  assert.equal(headers.host, `127.0.0.1:${rig.targetPort}`);
  assert.equal(headers['user-agent'], 'device');
});

test('HTTPS: TLS 1.2 and 1.3, no client certificate asked for, renewal without a break', async (t) => {
  const rig = await startRig(t, { edge: { https: { host: '127.0.0.1', port: 0, ...identity('front') } } });
  const port = rig.edge.https?.port ?? assert.fail();
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const shown = await askTls(port, { minVersion: version, maxVersion: version });
    assert.equal(shown.protocol, version);
    assert.equal(shown.fingerprint, fingerprint('front'));
    assert.match(shown.answer, /^HTTP\/1\.1 200 /);
    assert.equal(rig.seen.at(-1)?.headers['x-forwarded-proto'], 'https');
  }
  assert.throws(() => rig.edge.replaceCertificate({ cert: pem('front.cert'), key: pem('edge.key') }), {
    code: 'key_capability',
  });
  assert.equal((await askTls(port, {})).fingerprint, fingerprint('front'));
  rig.edge.replaceCertificate(identity('front-renewed'));
  assert.equal((await askTls(port, {})).fingerprint, fingerprint('front-renewed'));
});

// --- what does not pass ---------------------------------------------------------------------------------------------

const scepHead = 'HTTP/1.1\r\nHost: x\r\nConnection: close\r\n';
const deniedRows: { name: string; bytes: string; status: number }[] = [
  { name: 'encoded slash', bytes: `GET /scep%2f..%2fadmin ${scepHead}\r\n`, status: 404 },
  { name: 'dot segments', bytes: `GET /scep/../admin ${scepHead}\r\n`, status: 404 },
  { name: 'encoded dot segments', bytes: `GET /scep/%2e%2e/admin ${scepHead}\r\n`, status: 404 },
  { name: 'double slash', bytes: `GET //scep ${scepHead}\r\n`, status: 404 },
  { name: 'backslash', bytes: `GET /scep\\..\\admin ${scepHead}\r\n`, status: 404 },
  { name: 'absolute form', bytes: `GET http://127.0.0.1/scep ${scepHead}\r\n`, status: 404 },
  { name: 'asterisk form', bytes: `OPTIONS * ${scepHead}\r\n`, status: 404 },
  { name: 'CONNECT', bytes: `CONNECT 127.0.0.1:22 ${scepHead}\r\n`, status: 404 },
  { name: 'fragment', bytes: `GET /scep#/../admin ${scepHead}\r\n`, status: 404 },
  { name: 'NDES challenge page', bytes: `GET /certsrv/mscep_admin/ ${scepHead}\r\n`, status: 404 },
  { name: 'admin API', bytes: `GET /api/v1/certificates ${scepHead}\r\n`, status: 404 },
  { name: 'root', bytes: `GET / ${scepHead}\r\n`, status: 404 },
  {
    name: 'reserved path',
    bytes: `POST /.leafgate/refusals ${scepHead}Content-Length: 2\r\n\r\n[]`,
    status: 404,
  },
  { name: 'PUT', bytes: `PUT /scep ${scepHead}Content-Length: 0\r\n\r\n`, status: 404 },
  { name: 'HEAD', bytes: `HEAD /crl/root.crl ${scepHead}\r\n`, status: 404 },
  { name: 'POST to a CRL', bytes: `POST /crl/root.crl ${scepHead}Content-Length: 0\r\n\r\n`, status: 404 },
  { name: 'over-long target', bytes: `GET /scep?message=${'A'.repeat(66_000)} ${scepHead}\r\n`, status: 414 },
  { name: 'huge target', bytes: `GET /scep?message=${'A'.repeat(200_000)} ${scepHead}\r\n`, status: 431 },
  { name: 'huge field', bytes: `GET /scep ${scepHead}X: ${'A'.repeat(70_000)}\r\n\r\n`, status: 400 },
  { name: 'too many fields', bytes: `GET /scep ${scepHead}${'X: y\r\n'.repeat(65)}\r\n`, status: 400 },
  { name: 'GET with a body', bytes: `GET /scep ${scepHead}Content-Length: 2\r\n\r\nhi`, status: 413 },
  {
    name: 'GET with chunks',
    bytes: `GET /scep ${scepHead}Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n`,
    status: 413,
  },
  { name: 'no Host in HTTP/1.1', bytes: 'GET /scep HTTP/1.1\r\nConnection: close\r\n\r\n', status: 400 },
  { name: 'not HTTP', bytes: '\x16\x03\x01\x02\x00\x01\x00', status: 400 },
  { name: 'bare line feeds', bytes: 'GET /scep HTTP/1.1\nHost: x\n\n', status: 400 },
  {
    name: 'smuggling: Content-Length and Transfer-Encoding',
    bytes: `POST /scep ${scepHead}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /admin HTTP/1.1\r\nHost: x\r\n\r\n`,
    status: 400,
  },
  {
    name: 'smuggling: Transfer-Encoding and Content-Length',
    bytes: `POST /scep ${scepHead}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\nGET /admin HTTP/1.1\r\nHost: x\r\n\r\n`,
    status: 400,
  },
  {
    name: 'smuggling: two lengths',
    bytes: `POST /scep ${scepHead}Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc`,
    status: 400,
  },
  {
    name: 'smuggling: another coding in front',
    bytes: `POST /scep ${scepHead}Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n`,
    status: 400,
  },
  {
    name: 'smuggling: another coding behind',
    bytes: `POST /scep ${scepHead}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`,
    status: 400,
  },
  {
    name: 'smuggling: blank before the colon',
    bytes: `POST /scep ${scepHead}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`,
    status: 400,
  },
  {
    name: 'smuggling: chunks in HTTP/1.0',
    bytes: 'POST /scep HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    status: 400,
  },
];

test('denied requests reach no target and get one sentence', async (t) => {
  const rig = await startRig(t);
  for (const { name, bytes, status } of deniedRows) {
    await t.test(name, async () => {
      const answer = await speak(rig.httpPort, bytes);
      assert.equal(Number(answer.split(' ')[1]), status, answer);
      const [head = '', body = ''] = answer.split('\r\n\r\n');
      if (name !== 'no Host in HTTP/1.1' && name !== 'HEAD') {
        assert.match(body, /^[a-zA-Z ]+ \(LG-[A-Z2-7]{8}\)\n$/);
        assert.match(head, new RegExp(`\r\ncontent-length: ${body.length}(\r\n|$)`, 'i'));
      }
    });
  }
  assert.deepEqual(rig.seen, []);
  // None of it has hurt the connection to the connector.
  assert.equal((await ask(rig.httpPort, '/scep')).status, 200);
});

test('odd but legal header fields hurt nobody', async (t) => {
  const rig = await startRig(t);
  const oddities = [
    'User-Agent: caf\xe9',
    'TE: trailers',
    'X: ',
    'Cookie: a\r\nCookie: b',
    'Content-Length: 0',
    'Connection: content-length',
    'X|Y: z',
    ':path: /admin',
  ];
  for (const field of oddities) {
    const answer = await speak(rig.httpPort, `GET /scep ${scepHead}${field}\r\n\r\n`);
    assert.match(answer, /^HTTP\/1\.1 (200|400) /, field);
  }
  assert.equal(rig.edge.connectors().length, 1);
  assert.equal((await ask(rig.httpPort, '/scep')).status, 200);
  assert.ok(rig.seen.every(({ target }) => target === '/scep'));
});

test('a body over the limit is answered 413, declared or not', async (t) => {
  const rig = await startRig(t, { target: echo });
  const body = randomBytes(2 * 1024 * 1024 + 1);
  const declared = await ask(rig.httpPort, '/scep', { body });
  assert.equal(declared.status, 413);
  const chunked = await ask(rig.httpPort, '/scep', { body, headers: { 'transfer-encoding': 'chunked' } });
  assert.equal(chunked.status, 413);
  assert.match(chunked.body.toString(), /^the request is too large \(LG-[A-Z2-7]{8}\)\n$/);
});

test('the connector refuses what the edge would let through', async (t) => {
  const rig = await startRig(t, { edge: { allow: [...defaultAllowRules, everywhere] } });
  const answer = await ask(rig.httpPort, '/admin/api');
  assert.equal(answer.status, 404);
  assert.equal(answer.body.toString(), 'not found\n');
  const large = { ...everywhere, path: '/scep/*', bodyBytesMax: 10_000_000 };
  const other = await startRig(t, { target: echo, edge: { allow: [large] } });
  for (const headers of [{}, { 'transfer-encoding': 'chunked' }]) {
    const refused = await ask(other.httpPort, '/scep', { body: randomBytes(3_000_000), headers });
    assert.equal(refused.status, 413);
  }
  assert.deepEqual(rig.seen, []);
});

test('a bad configuration does not start', async () => {
  const edge = { ...edgeOptions(), allow: [{ ...everywhere, path: '/*' }] };
  await assert.rejects(openEdge(edge), { code: 'config_invalid' });
  const noCa = edgeOptions();
  await assert.rejects(openEdge({ ...noCa, tunnel: { ...noCa.tunnel, connectorCa: '' } }), {
    code: 'config_invalid',
  });
  const mixed = { ...noCa.tunnel, key: pem('front.key') };
  await assert.rejects(openEdge({ ...noCa, tunnel: mixed }), { code: 'key_capability' });
  await assert.rejects(openEdge({ ...noCa, http: { host: '192.0.2.1', port: 1 } }), {
    code: 'listen_failed',
  });
  const connector = connectorOptions({ edgePort: 1, targetPort: 1 });
  for (const bad of [
    { target: 'http://192.0.2.1' },
    { edge: { ...connector.edge, ca: '' } },
    { allow: [{ ...everywhere, path: '/*' }] },
  ]) {
    assert.throws(() => openConnector({ ...connector, ...bad }), { code: 'config_invalid' });
  }
});

// --- who may connect ------------------------------------------------------------------------------------------------

for (const name of ['connector-foreign', 'connector-not-listed', 'connector-server-only']) {
  test(`the edge refuses ${name}`, async (t) => {
    const rig = await startRig(t, { connector: { identity: identity(name) }, wait: 'not' });
    assert.equal(await Promise.race([rig.connector.ready.then(() => 'up'), pause(700, 'down')]), 'down');
    assert.equal(rig.connector.connected(), 0);
    assert.deepEqual(rig.edge.connectors(), []);
    assert.equal((await ask(rig.httpPort, '/scep')).status, 503);
  });
}

test('the edge refuses a connection without a certificate', async (t) => {
  const rig = await startRig(t);
  const tunnel = { port: rig.edge.tunnel.port, ca: pem('ca.cert'), servername: 'edge.test' };
  for (const options of [
    { ...tunnel, ALPNProtocols: [TUNNEL_ALPN] },
    { ...tunnel, ...identity('connector-2'), ALPNProtocols: [TUNNEL_ALPN], maxVersion: 'TLSv1.2' as const },
    { ...tunnel, ...identity('connector-2'), ALPNProtocols: ['h2'] },
    { ...tunnel, ...identity('connector-2') },
  ]) {
    const socket = dialTls({ host: '127.0.0.1', ...options });
    socket.on('error', () => {});
    socket.resume();
    await new Promise((resolve) => socket.once('close', resolve));
  }
  assert.deepEqual(rig.edge.connectors(), ['connector-1']);
});

for (const name of ['edge-foreign', 'edge-other-name', 'connector-1']) {
  test(`the connector refuses an edge that shows ${name}`, async (t) => {
    const edge = edgeOptions();
    const rig = await startRig(t, {
      edge: { tunnel: { ...edge.tunnel, ...identity(name) } },
      wait: 'not',
    });
    assert.equal(await Promise.race([rig.connector.ready.then(() => 'up'), pause(700, 'down')]), 'down');
    assert.deepEqual(rig.edge.connectors(), []);
  });
}

test('the connector refuses a server that is not an edge', async (t) => {
  const server = createTlsServer({ ...identity('edge') }, (socket) => socket.on('error', () => {}).resume());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const connector = openConnector(
    connectorOptions({ edgePort: (server.address() as AddressInfo).port, targetPort: 1 }),
  );
  assert.equal(await Promise.race([connector.ready.then(() => 'up'), pause(700, 'down')]), 'down');
  await connector.close();
  await assert.rejects(connector.ready, { code: 'tunnel_unavailable' });
});

test('new certificates are used from the next connection on', async (t) => {
  const rig = await startRig(t);
  rig.edge.replaceTunnelCertificate(identity('edge'));
  rig.connector.replaceCertificate(identity('connector-2'));
  assert.deepEqual(rig.edge.connectors(), ['connector-1']);
  rig.relay.cut();
  await until(() => rig.edge.connectors().join() === 'connector-2');
  assert.equal((await ask(rig.httpPort, '/scep')).status, 200);
});

test('two connectors share the work, and one is enough', async (t) => {
  const rig = await startRig(t);
  const second = openConnector({
    ...connectorOptions({ edgePort: rig.edge.tunnel.port, targetPort: rig.targetPort }),
    identity: identity('connector-2'),
  });
  t.after(() => second.close());
  await until(() => rig.edge.connectors().length === 2);
  assert.deepEqual(rig.edge.connectors(), ['connector-1', 'connector-2']);
  await rig.connector.close();
  await until(() => rig.edge.connectors().length === 1);
  assert.equal((await ask(rig.httpPort, '/scep')).status, 200);
});

// --- when something breaks ------------------------------------------------------------------------------------------

test('without a connector: 503, try again', async (t) => {
  const edge = await openEdge(edgeOptions());
  t.after(() => edge.close());
  const answer = await ask(edge.http?.port ?? 0, '/scep');
  assert.equal(answer.status, 503);
  assert.ok(Number(answer.headers['retry-after']) > 0);
  assert.equal(answer.body.toString(), 'the service is not connected; try again\n');
});

test('without a target: 503, try again', async (t) => {
  const rig = await startRig(t);
  await rig.stopTarget();
  const answer = await ask(rig.httpPort, '/scep');
  assert.equal(answer.status, 503);
  assert.ok(Number(answer.headers['retry-after']) > 0);
});

test('a connection that is cut in mid-request: an answer, not a hang', async (t) => {
  const rig = await startRig(t, { target: () => {} });
  for (const options of [{}, { body: randomBytes(500_000) }]) {
    await rig.connector.ready;
    await until(() => rig.connector.connected() === 1 && rig.edge.connectors().length === 1);
    const before = rig.seen.length;
    const answer = ask(rig.httpPort, '/scep', options);
    await until(() => rig.seen.length > before);
    rig.relay.cut();
    assert.equal((await answer).status, 503);
    await until(() => rig.connector.connected() === 0);
  }
});

test('a connection that falls silent in mid-request is found by pings, on both ends', async (t) => {
  const rig = await startRig(t, {
    target: () => {},
    edge: { pingMs: 200 },
    connector: { pingMs: 200 },
  });
  const answer = ask(rig.httpPort, '/scep');
  await until(() => rig.seen.length === 1);
  rig.relay.freeze();
  assert.equal((await answer).status, 503);
  await until(() => rig.connector.connected() === 0 && rig.edge.connectors().length === 0);
  rig.relay.thaw();
  await until(() => rig.connector.connected() === 1 && rig.edge.connectors().length === 1);
});

test('a silent but healthy connection stays', async (t) => {
  const rig = await startRig(t, { edge: { pingMs: 50 }, connector: { pingMs: 50 } });
  await pause(600);
  assert.equal(rig.relay.dialled(), 1);
  assert.equal((await ask(rig.httpPort, '/scep')).status, 200);
});

test('an answer that breaks off is never taken for the whole', async (t) => {
  for (const headers of [{ 'content-length': '1000' }, {}]) {
    for (const bytes of [10, 2_000_000]) {
      const rig = await startRig(t, {
        target: (_request, response) => {
          response.writeHead(200, bytes > 1000 ? {} : headers);
          response.write(randomBytes(bytes));
          setTimeout(() => response.destroy(), 100);
        },
      });
      const answer = await ask(rig.httpPort, '/scep').catch(() => undefined);
      assert.ok(answer === undefined || answer.status === 503);
    }
  }
});

test('a slow target: 504 from the edge', async (t) => {
  const rig = await startRig(t, { target: () => {}, edge: { timeoutMs: 300 } });
  assert.equal((await ask(rig.httpPort, '/scep')).status, 504);
  assert.equal((await ask(rig.httpPort, '/scep', { body: randomBytes(100) })).status, 504);
});

test('a slow target: 504 from the connector', async (t) => {
  const rig = await startRig(t, { target: () => {}, connector: { timeoutMs: 300 } });
  assert.equal((await ask(rig.httpPort, '/scep')).status, 504);
});

test('an answer that stands still is cut off', async (t) => {
  const rig = await startRig(t, {
    target: (_request, response) => {
      response.writeHead(200, { 'content-length': '100' }).write('a');
    },
    edge: { timeoutMs: 300 },
  });
  await assert.rejects(ask(rig.httpPort, '/scep'), { code: 'ECONNRESET' });
});

test('a request that breaks off is never taken for the whole', async (t) => {
  const ended: boolean[] = [];
  const rig = await startRig(t, {
    target: (request) => {
      request.resume();
      request.once('close', () => ended.push(request.complete));
    },
  });
  for (const framing of ['Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n', 'Content-Length: 100\r\n\r\nhi']) {
    const before = rig.seen.length;
    const socket = connect(rig.httpPort, '127.0.0.1', () => socket.write(`POST /scep ${scepHead}${framing}`));
    await until(() => rig.seen.length > before);
    socket.destroy();
    await until(() => ended.length > before);
  }
  assert.deepEqual(ended, [false, false]);
});

test('when the device leaves, the target is told', async (t) => {
  const left = Promise.withResolvers<void>();
  const rig = await startRig(t, {
    target: (_request, response) => void response.once('close', left.resolve),
  });
  const socket = connect(rig.httpPort, '127.0.0.1', () => socket.write(`GET /scep ${scepHead}\r\n`));
  await until(() => rig.seen.length === 1);
  socket.destroy();
  await left.promise;
});

test('too many requests at once: 429, try again', async (t) => {
  const waiting: (() => void)[] = [];
  const rig = await startRig(t, {
    target: (_request, response) => void waiting.push(() => response.end('ok')),
    edge: { inFlightMax: 2 },
  });
  const first = [ask(rig.httpPort, '/scep'), ask(rig.httpPort, '/scep')];
  await until(() => waiting.length === 2);
  const refused = await ask(rig.httpPort, '/scep');
  assert.equal(refused.status, 429);
  assert.ok(Number(refused.headers['retry-after']) > 0);
  for (const answer of waiting) answer();
  assert.deepEqual(
    (await Promise.all(first)).map(({ status }) => status),
    [200, 200],
  );
  const next = ask(rig.httpPort, '/scep');
  await until(() => waiting.length === 3);
  waiting[2]?.();
  assert.equal((await next).status, 200);
});

test('devices that do not read their answers do not stop others', async (t) => {
  const crl = randomBytes(16_000_000);
  const rig = await startRig(t, {
    target: (request, response) => {
      response.end(request.url === '/scep' ? 'ok' : crl);
    },
  });
  const lazy = Array.from({ length: 24 }, () => {
    const socket = connect(rig.httpPort, '127.0.0.1', () =>
      socket.write(`GET /crl/root.crl ${scepHead}\r\n`),
    );
    return socket.pause();
  });
  await until(() => rig.seen.length === 24);
  for (let number = 0; number < 20; number += 1) {
    assert.equal((await ask(rig.httpPort, '/scep')).status, 200);
  }
  for (const socket of lazy) socket.destroy();
});

test('the connector comes back after the edge was restarted', async (t) => {
  const rig = await startRig(t);
  await rig.edge.close();
  await until(() => rig.connector.connected() === 0);
  const edge = await openEdge(edgeOptions());
  t.after(() => edge.close());
  rig.relay.lead(edge.tunnel.port);
  await until(() => edge.connectors().length === 1);
  assert.equal((await ask(edge.http?.port ?? 0, '/scep')).status, 200);
});

test('closing lets running requests end', async (t) => {
  for (const side of ['edge', 'connector'] as const) {
    let answer = () => {};
    const rig = await startRig(t, {
      target: (_request, response) => {
        answer = () => response.end('late');
      },
    });
    const running = ask(rig.httpPort, '/scep');
    await until(() => rig.seen.length === 1);
    const closed = rig[side].close();
    await pause(200);
    answer();
    assert.equal((await running).body.toString(), 'late');
    await closed;
  }
});

test('a connector holds as many connections as it is told to', async (t) => {
  const rig = await startRig(t, { connector: { connections: 3 } });
  await until(() => rig.connector.connected() === 3);
  assert.deepEqual(rig.edge.connectors(), ['connector-1']);
});

// --- refusals -------------------------------------------------------------------------------------------------------

test('refusals arrive at the connector with the reference that the client was told', async (t) => {
  const rig = await startRig(t, { edge: { refusalReportMs: 100 } });
  const denied = await ask(rig.httpPort, '/certsrv/mscep_admin/?secret=1');
  await ask(rig.httpPort, '/certsrv/mscep_admin/?secret=2');
  await speak(rig.httpPort, `CONNECT 127.0.0.1:22 ${scepHead}\r\n`);
  await speak(rig.httpPort, 'nonsense\r\n\r\n');
  await until(() => rig.refusals.reduce((sum, { count }) => sum + count, 0) === 4);
  const page = rig.refusals.filter(({ path }) => path === '/certsrv/mscep_admin/');
  const first = page[0] ?? assert.fail();
  assert.equal(denied.body.toString(), `not found (${first.reference})\n`);
  assert.equal(first.reason, 'path');
  assert.equal(first.method, 'GET');
  assert.equal(first.source, '127.0.0.1');
  assert.ok(Math.abs(Date.now() - first.at.getTime()) < 60_000);
  assert.equal(
    page.reduce((sum, { count }) => sum + count, 0),
    2,
  );
  const others = rig.refusals
    .filter(({ path }) => path === '-')
    .map(({ reason, method }) => [reason, method]);
  assert.deepEqual(others.sort(), [
    ['malformed', '-'],
    ['method', 'CONNECT'],
  ]);
});

test('refusals wait for a connector, and for its acknowledgement', async (t) => {
  const edge = await openEdge({ ...edgeOptions(), refusalReportMs: 50 });
  t.after(() => edge.close());
  const denied = await ask(edge.http?.port ?? 0, '/admin');
  await pause(200);
  const reported: (readonly Refusal[])[] = [];
  const connector = openConnector({
    ...connectorOptions({ edgePort: edge.tunnel.port, targetPort: 1 }),
    onRefusals: async (refusals) => {
      reported.push(refusals);
      if (reported.length === 1) throw new Error('the audit log is full');
    },
  });
  t.after(() => connector.close());
  await until(() => reported.length === 2);
  await pause(700);
  assert.equal(reported.length, 2);
  assert.deepEqual(reported[0], reported[1]);
  assert.equal(denied.body.toString(), `not found (${reported[1]?.[0]?.reference})\n`);
});

test('the connector takes no report that an edge does not send, and none too often', async (t) => {
  // An edge gone bad: it has the edge's key and says what it likes.
  const sessions: ReturnType<typeof connectHttp2>[] = [];
  const server = createTlsServer(
    { ...identity('edge'), ca: pem('ca.cert'), requestCert: true, ALPNProtocols: [TUNNEL_ALPN] },
    (socket) => {
      sessions.push(connectHttp2('http://x', { createConnection: () => socket }).on('error', () => {}));
    },
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const taken: Refusal[] = [];
  const connector = openConnector({
    ...connectorOptions({ edgePort: (server.address() as AddressInfo).port, targetPort: 1 }),
    onRefusals: (refusals) => void taken.push(...refusals),
  });
  t.after(async () => {
    await connector.close();
    server.close();
  });
  await connector.ready;
  const send = (body: string) =>
    new Promise<number>((resolve) => {
      const stream = (sessions[0] ?? assert.fail()).request({
        ':method': 'POST',
        ':path': '/.leafgate/refusals',
      });
      stream.on('error', () => {});
      stream.once('response', (head) => resolve(head[':status'] ?? 0));
      stream.once('close', () => resolve(0));
      stream.end(body);
    });
  const row = { at: new Date(), reason: 'path', method: 'GET', path: '/', source: '-', count: 1 };
  const good = JSON.stringify([{ ...row, reference: 'LG-AAAAAAAA' }]);
  assert.equal(await send('[]'), 400);
  assert.equal(
    await send(JSON.stringify([{ ...row, reference: 'LG-AAAAAAAA', event: 'certificate.issued' }])),
    400,
  );
  assert.equal(await send(' '.repeat(1_000_000)), 0);
  assert.deepEqual(taken, []);
  assert.equal(await send(good), 204);
  assert.equal(await send(good), 429);
  assert.equal(taken.length, 1);
});

// --- the rig --------------------------------------------------------------------------------------------------------

function pem(name: string): string {
  return readFileSync(new URL(`../../test/vectors/tunnel/${name}.pem`, import.meta.url), 'utf8');
}

function identity(name: string): { cert: string; key: string } {
  return { cert: pem(`${name}.cert`), key: pem(`${name}.key`) };
}

function fingerprint(name: string): string {
  return new X509Certificate(pem(`${name}.cert`)).fingerprint256;
}

function edgeOptions(): EdgeOptions {
  return {
    http: { host: '127.0.0.1', port: 0 },
    tunnel: {
      host: '127.0.0.1',
      port: 0,
      ...identity('edge'),
      connectorCa: pem('ca.cert'),
      connectors: ['connector-1', 'connector-2'],
    },
    allow: defaultAllowRules,
    log,
    clock: systemClock,
  };
}

function connectorOptions(ports: { edgePort: number; targetPort: number }): ConnectorOptions {
  return {
    edge: { host: '127.0.0.1', port: ports.edgePort, servername: 'edge.test', ca: pem('ca.cert') },
    identity: identity('connector-1'),
    target: `http://127.0.0.1:${ports.targetPort}`,
    allow: defaultAllowRules,
    connections: 1,
    reconnectMsMin: 50,
    reconnectMsMax: 200,
    log,
    clock: systemClock,
  };
}

/** All parts, connected; everything is closed when the test ends. */
async function startRig(
  t: TestContext,
  options: {
    target?: RequestListener;
    edge?: Partial<EdgeOptions>;
    connector?: Partial<ConnectorOptions>;
    wait?: 'not';
  } = {},
) {
  const seen: { target: string; headers: IncomingHttpHeaders }[] = [];
  const refusals: Refusal[] = [];
  const target = createHttpServer({ maxHeaderSize: 131_072 }, (request, response) => {
    seen.push({ target: request.url ?? '', headers: request.headers });
    (options.target ?? sayOk)(request, response);
  });
  target.listen(0, '127.0.0.1');
  await once(target, 'listening');
  const targetPort = (target.address() as AddressInfo).port;

  const edge = await openEdge({ ...edgeOptions(), ...options.edge });
  const relay = await openRelay(edge.tunnel.port);
  const connector: Connector = openConnector({
    ...connectorOptions({ edgePort: relay.port, targetPort }),
    onRefusals: (rows) => void refusals.push(...rows),
    ...options.connector,
  });
  const stopTarget = async () => {
    target.closeAllConnections();
    await new Promise((resolve) => target.close(resolve));
  };
  t.after(async () => {
    relay.cut();
    await stopTarget();
    await Promise.all([connector.close(), edge.close()]);
    relay.close();
  });
  if (options.wait !== 'not') await until(() => edge.connectors().length === 1);
  return { seen, refusals, targetPort, edge, relay, connector, stopTarget, httpPort: edge.http?.port ?? 0 };
}

const sayOk: RequestListener = (_request, response) => {
  response.end('ok');
};

const echo: RequestListener = (request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => response.end(Buffer.concat(chunks)));
};

/** A network between connector and edge that can be cut and can fall silent. */
async function openRelay(edgePort: number) {
  const sockets = new Set<Socket>();
  let leadsTo = edgePort;
  let dialled = 0;
  let frozen = false;
  const server = createTcpServer((near) => {
    dialled += 1;
    const far = connect(leadsTo, '127.0.0.1');
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from.setNoDelay());
      from.on('data', (bytes) => frozen || to.write(bytes));
      from.on('error', () => {});
      from.once('close', () => {
        sockets.delete(from);
        if (!frozen) to.destroy();
      });
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    port: (server.address() as AddressInfo).port,
    dialled: () => dialled,
    cut,
    freeze: () => {
      frozen = true;
    },
    thaw: () => {
      frozen = false;
      cut();
    },
    lead: (port: number) => {
      leadsTo = port;
    },
    close: () => {
      cut();
      server.close();
    },
  };
}

/** One request as an ordinary client makes it. */
function ask(
  port: number,
  path: string,
  options: { body?: Buffer; headers?: Record<string, string>; agent?: Agent } = {},
): Promise<{ status: number; headers: IncomingHttpHeaders; body: Buffer; localPort: number | undefined }> {
  const { body, headers, agent } = options;
  return new Promise((resolve, reject) => {
    const asked = request({
      host: '127.0.0.1',
      port,
      path,
      method: body === undefined ? 'GET' : 'POST',
      headers: { ...headers },
      agent: agent ?? false,
    });
    asked.on('error', reject);
    asked.on('response', (response) => {
      const chunks: Buffer[] = [];
      const localPort = asked.socket?.localPort;
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body: Buffer.concat(chunks),
          localPort,
        });
      });
    });
    asked.end(body);
  });
}

/** Says exactly these bytes (Latin-1) and hears what comes back until the end. */
async function speak(
  port: number,
  bytes: string,
  then: (socket: Socket, received: () => string) => Promise<void> = async () => {},
): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  let received = '';
  socket.on('data', (chunk) => {
    received += chunk.toString('latin1');
  });
  socket.on('error', () => {});
  const closed = once(socket, 'close');
  socket.write(Buffer.from(bytes, 'latin1'));
  await then(socket, () => received);
  await closed;
  return received;
}

/** One request over TLS, and what the server showed of itself. */
async function askTls(port: number, options: ConnectionOptions) {
  const socket = dialTls({
    host: '127.0.0.1',
    port,
    ca: pem('ca.cert'),
    servername: 'scep.test',
    ...options,
  });
  await once(socket, 'secureConnect');
  const shown = {
    protocol: socket.getProtocol(),
    fingerprint: socket.getPeerX509Certificate()?.fingerprint256,
  };
  socket.write(`GET /scep ${scepHead}\r\n`);
  let answer = '';
  for await (const chunk of socket) answer += String(chunk);
  return { ...shown, answer };
}

/** Waits until something is so; at most ten seconds. */
async function until(condition: () => boolean): Promise<void> {
  const giveUpAtMs = Date.now() + 10_000;
  while (!condition()) {
    assert.ok(Date.now() < giveUpAtMs, `waited in vain for ${condition}`);
    await pause(10);
  }
}
