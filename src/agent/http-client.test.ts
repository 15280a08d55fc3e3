import assert from 'node:assert/strict';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { test } from 'node:test';
import { keys, rootPem, testCertificate, tlsServer } from '../../test/support/mdm-fixture.ts';
import { buildPem } from '../codec/index.ts';
import { hResults } from './h-result.ts';
import { HttpClient, type HttpClientOptions, type HttpRequest } from './http-client.ts';

async function withServer(
  listener: RequestListener,
  run: (url: URL) => Promise<void>,
  tls?: { readonly cert: string; readonly key: string },
): Promise<void> {
  const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  try {
    await run(new URL(`${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}/path?query`));
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

async function send(url: URL, more: Partial<HttpRequest> = {}, options: Partial<HttpClientOptions> = {}) {
  const client = new HttpClient({ timeoutMs: 10_000, ...options });
  try {
    return await client.send({ method: 'GET', url, answerBytesMax: 1000, ...more });
  } finally {
    client.close();
  }
}

/** A port that nothing listens on. */
async function closedPort(): Promise<number> {
  const server = createTcpServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const failures: readonly {
  readonly name: string;
  readonly listener?: RequestListener;
  readonly options?: Partial<HttpClientOptions>;
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly hResult: keyof typeof hResults;
}[] = [
  {
    name: 'no answer in time',
    listener: () => {},
    options: { timeoutMs: 50 },
    hResult: 'ERROR_WINHTTP_TIMEOUT',
  },
  {
    name: 'half an answer in time',
    listener: (_, response) => {
      response.writeHead(200, { 'content-length': '10' });
      response.write('12345');
    },
    options: { timeoutMs: 50 },
    hResult: 'ERROR_WINHTTP_TIMEOUT',
  },
  {
    name: 'the connection ends',
    listener: (request) => request.socket.destroy(),
    hResult: 'ERROR_WINHTTP_CONNECTION_ERROR',
  },
  {
    name: 'the connection ends in the middle',
    listener: (request, response) => {
      response.writeHead(200, { 'content-length': '10' });
      response.write('12345', () => request.socket.destroy());
    },
    hResult: 'ERROR_WINHTTP_CONNECTION_ERROR',
  },
  {
    name: 'an answer that is too long',
    listener: (_, response) => response.end('x'.repeat(1001)),
    hResult: 'ERROR_WINHTTP_INVALID_SERVER_RESPONSE',
  },
  {
    name: 'an answer that is not HTTP',
    listener: (request) => request.socket.end('SSH-2.0-nobody\r\n'),
    hResult: 'ERROR_WINHTTP_INVALID_SERVER_RESPONSE',
  },
  { name: 'a TLS server whose root is not trusted', tls: tlsServer, hResult: 'ERROR_WINHTTP_SECURE_FAILURE' },
  {
    name: 'a TLS server of another root than the pinned one',
    tls: tlsServer,
    options: {
      tlsRoots: [
        buildPem(
          'CERTIFICATE',
          (await testCertificate({ subject: 'CN=Other', key: keys.other, kind: 'ca' })).raw,
        ),
      ],
    },
    hResult: 'ERROR_WINHTTP_SECURE_FAILURE',
  },
];

for (const { name, listener, options, tls, hResult } of failures) {
  test(`no answer: ${name}`, () =>
    withServer(
      listener ?? ((_, response) => response.end('never')),
      async (url) => {
        const answer = await send(url, {}, options);
        assert.equal(answer.answer, 'none');
        assert.equal(answer.answer === 'none' && answer.hResult, hResults[hResult].value);
      },
      tls,
    ));
}

test('no answer: nobody listens, and the detail names the cause', async () => {
  const answer = await send(new URL(`http://127.0.0.1:${await closedPort()}/`));
  assert.deepEqual(answer, {
    answer: 'none',
    hResult: hResults.ERROR_WINHTTP_CANNOT_CONNECT.value,
    detail: 'ECONNREFUSED',
  });
});

test('no answer: another scheme', async () => {
  assert.equal((await send(new URL('ftp://127.0.0.1/'))).answer, 'none');
});

test('a redirect is not followed', async () => {
  let elsewhere = 0;
  await withServer(
    () => {
      elsewhere += 1;
    },
    async (other) => {
      await withServer(
        (_, response) => response.writeHead(302, { location: other.href }).end(),
        async (url) => {
          const answer = await send(url);
          assert.equal(answer.answer === 'response' && answer.status, 302);
          assert.equal(answer.answer === 'response' && answer.location, other.href);
        },
      );
    },
  );
  assert.equal(elsewhere, 0);
});

test('sends method, headers and body with its length; reads status, type and body', async () => {
  await withServer(
    (request, response) => {
      const { method, url, headers } = request;
      const chunks: Buffer[] = [];
      request.on('data', (chunk) => chunks.push(chunk));
      request.on('end', () => {
        const said = { method, url, own: headers['x-own'], length: headers['content-length'] };
        response.writeHead(201, { 'content-type': 'Text/Plain; charset=utf-8', 'retry-after': '7' });
        response.end(JSON.stringify({ ...said, body: Buffer.concat(chunks).toString('hex') }));
      });
    },
    async (url) => {
      const answer = await send(
        url,
        { method: 'POST', headers: { 'x-own': 'yes' }, body: Buffer.from([0, 255]) },
        { tlsRoots: [rootPem] },
      );
      assert.ok(answer.answer === 'response');
      assert.equal(answer.status, 201);
      assert.equal(answer.contentType, 'text/plain');
      assert.equal(answer.retryAfterMs, 7000);
      assert.deepEqual(JSON.parse(Buffer.from(answer.body).toString()), {
        method: 'POST',
        url: '/path?query',
        own: 'yes',
        length: '2',
        body: '00ff',
      });
    },
    tlsServer,
  );
});

test('Retry-After is read, and may be absent or nonsense', () =>
  withServer(
    (request, response) => response.writeHead(503, { 'retry-after': request.url?.slice(1) ?? '' }).end(),
    async (url) => {
      for (const [field, want] of [
        ['120', 120_000],
        ['soon', undefined],
      ] as const) {
        const answer = await send(new URL(field, url));
        assert.ok(answer.answer === 'response');
        assert.equal(answer.retryAfterMs, want);
      }
    },
  ));

test('an abort ends a request that is under way, and one that has not begun', () =>
  withServer(
    () => {},
    async (url) => {
      const abort = new AbortController();
      const sending = send(url, { signal: abort.signal });
      setTimeout(() => abort.abort(new Error('enough')), 20);
      await assert.rejects(sending, /enough/);
      await assert.rejects(send(url, { signal: abort.signal }), /enough/);
    },
  ));
