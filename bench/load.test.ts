import assert from 'node:assert/strict';
import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { buildRecords, type LoadSample, parseRecords, percentile, replay, replayInChild } from './load.ts';

const HOST = '127.0.0.1';

async function listen(context: TestContext, server: Server): Promise<number> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
  context.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

const serveHttp = (context: TestContext, listener: RequestListener) =>
  listen(context, createServer(listener));

/** A server that answers the same bytes to whatever comes. */
const serveBytes = (context: TestContext, answer: string) =>
  listen(
    context,
    createTcpServer((socket) => {
      socket.on('data', () => socket.write(answer));
    }),
  );

const bodies = (count: number, bytes = 10) =>
  Array.from({ length: count }, (_, index) => Buffer.from(String(index).padStart(bytes, '0')));

describe('a server that is no good', () => {
  test('nobody listens: the run fails', async (context) => {
    const closed = createTcpServer();
    const port = await listen(context, closed);
    await new Promise((resolve) => closed.close(resolve));
    const options = { host: HOST, port, path: '/', connections: 2, requests: bodies(4) };
    await assert.rejects(replay(options), /ECONNREFUSED/);
    await assert.rejects(replayInChild(options), /load generator failed: .*ECONNREFUSED/);
  });

  for (const [name, answer, message] of [
    ['no HTTP', 'hello\r\n\r\n', /not HTTP/],
    ['no length', 'HTTP/1.1 200 OK\r\n\r\nabc', /no length/],
    ['a bad chunk', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n', /without a length/],
    ['two answers', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nabc', /more bytes/],
  ] as const) {
    test(`${name}: the run fails`, async (context) => {
      const port = await serveBytes(context, answer);
      await assert.rejects(
        replay({ host: HOST, port, path: '/', connections: 1, requests: bodies(2) }),
        message,
      );
    });
  }

  test('no answer: the run fails at its bound', async (context) => {
    const port = await listen(context, createTcpServer());
    const options = { host: HOST, port, path: '/', connections: 1, requests: bodies(1), stallTimeoutMs: 200 };
    await assert.rejects(replay(options), /no answer for 200 ms/);
  });

  test('broken connections are counted, and their requests not sent again', async (context) => {
    const seen: string[] = [];
    const port = await serveHttp(context, (request, response) => {
      let text = '';
      request.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
      request.on('end', () => {
        seen.push(text);
        if (Number(text) % 5 === 0) request.socket.destroy();
        else response.end('ok');
      });
    });
    const result = await replay({ host: HOST, port, path: '/', connections: 3, requests: bodies(20) });
    assert.equal(result.broken, 4);
    assert.deepEqual(result.statuses, { 200: 16 });
    assert.equal(new Set(seen).size, 20);
    assert.equal(seen.length, 20);
  });
});

describe('a load', () => {
  test('sends each body once, keeps connections, and gives each its own answer', async (context) => {
    const seen: string[] = [];
    const ports = new Set<number | undefined>();
    const port = await serveHttp(context, (request, response) => {
      ports.add(request.socket.remotePort);
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const body = Buffer.concat(chunks);
        seen.push(`${request.method} ${request.url} ${request.headers['content-type']} ${body.toString()}`);
        response.statusCode = Number(body.toString()) % 4 === 0 ? 500 : 200;
        // A length for some, chunks for others; and more than fits into one read.
        if (Number(body.toString()) % 2 === 0)
          response.end(Buffer.concat([body, Buffer.alloc(100_000, 'x')]));
        else {
          response.write(body);
          setImmediate(() => response.end(Buffer.alloc(100_000, 'x')));
        }
      });
    });
    const answers: LoadSample[] = [];
    const result = await replay({
      host: HOST,
      port,
      path: '/scep?operation=PKIOperation',
      connections: 4,
      requests: bodies(40),
      sampleEvery: 10,
      onResponse: (answer) => answers.push(answer),
    });
    assert.equal(ports.size, 4);
    assert.deepEqual(
      seen.sort(),
      bodies(40).map(
        (body) => `POST /scep?operation=PKIOperation application/x-pki-message ${body.toString()}`,
      ),
    );
    assert.deepEqual(result.statuses, { 200: 30, 500: 10 });
    assert.equal(result.requests, 40);
    assert.equal(result.broken, 0);
    assert.deepEqual(
      result.samples.map(({ index }) => index),
      [0, 10, 20, 30],
    );
    assert.equal(answers.length, 40);
    for (const { index, status, body } of answers) {
      assert.equal(body.length, 100_010);
      assert.equal(Number(body.subarray(0, 10).toString()), index);
      assert.equal(status, index % 4 === 0 ? 500 : 200);
    }
    assert.ok(result.seconds > 0 && result.perSecond > 0 && result.generatorCpuMs > 0);
    assert.ok(result.p50Ms > 0 && result.p50Ms <= result.p99Ms && result.p99Ms <= result.maxMs);
  });

  test('goes on after a server that closes each connection', async (context) => {
    const port = await serveHttp(context, (_, response) => {
      response.setHeader('Connection', 'close');
      response.end('bye');
    });
    const result = await replay({ host: HOST, port, path: '/', connections: 2, requests: bodies(10) });
    assert.deepEqual(result.statuses, { 200: 10 });
    assert.equal(result.broken, 0);
  });

  test('of GET requests has no body', async (context) => {
    const seen: string[] = [];
    const port = await serveHttp(context, (request, response) => {
      seen.push(`${request.method} ${request.headers['content-type']} ${request.headers['content-length']}`);
      response.end();
    });
    const requests = Array.from({ length: 3 }, () => Buffer.alloc(0));
    await replay({ host: HOST, port, path: '/', connections: 8, method: 'GET', requests });
    assert.deepEqual(seen, Array(3).fill('GET undefined undefined'));
  });

  test('in a child measures the same and brings the samples home', async (context) => {
    const port = await serveHttp(context, (request, response) => {
      request.pipe(response);
    });
    const requests = bodies(9, 5000);
    const result = await replayInChild({
      host: HOST,
      port,
      path: '/',
      connections: 2,
      requests,
      sampleEvery: 4,
    });
    assert.deepEqual(result.statuses, { 200: 9 });
    assert.deepEqual(
      result.samples.map(({ index, body }) => [index, body.toString()]),
      [0, 4, 8].map((index) => [index, requests[index]?.toString()]),
    );
  });
});

describe('records', () => {
  test('cut anywhere are refused, unless a record ends there', () => {
    const bytes = buildRecords([Buffer.from('abc'), Buffer.from('defgh')]);
    for (let length = 1; length < bytes.length; length += 1) {
      if (length === 7) continue;
      assert.throws(() => parseRecords(bytes.subarray(0, length)), /records end within/, `${length} octets`);
    }
  });

  test('come back as they were', () => {
    const records = [Buffer.from('abc'), Buffer.alloc(0), Buffer.alloc(70_000, 7)];
    assert.deepEqual(parseRecords(buildRecords(records)), records);
    assert.deepEqual(parseRecords(Buffer.alloc(0)), []);
  });
});

describe('a percentile', () => {
  const hundred = Float64Array.from({ length: 100 }, (_, index) => index + 1);
  for (const [name, values, share, want] of [
    ['of nothing is 0', new Float64Array(), 0.5, 0],
    ['of one value is that value', Float64Array.of(7), 0.99, 7],
    ['median of an even number is the lower', Float64Array.of(1, 2, 3, 4), 0.5, 2],
    ['99th of 1 to 100', hundred, 0.99, 99],
    ['the whole is the largest', hundred, 1, 100],
  ] as const) {
    test(name, () => assert.equal(percentile(values, share), want));
  }
});
