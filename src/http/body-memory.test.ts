import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import {
  certRepIn,
  endpointPaths,
  exchange,
  messageOf,
  openTestServer,
  requestOf,
  staticSecret,
  type TestServer,
} from '../../test/support/authorities-fixture.ts';
import { BodyMemory } from './body-memory.ts';

const MIB = 1024 * 1024;
const path = `${endpointPaths.static[0]}?operation=PKIOperation`;

let server: TestServer;
before(async () => {
  server = await openTestServer();
});
after(() => server.close());

/** A POST of two MiB whose last octet never comes; `from` is who the connector says it is. */
async function hoard(from: string): Promise<{ readonly socket: Socket; readonly answer: Promise<string> }> {
  const socket = connect(server.port, '127.0.0.1');
  socket.on('error', () => {});
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  const answer = once(socket, 'close').then(() => Buffer.concat(chunks).toString('latin1'));
  await once(socket, 'connect');
  socket.write(
    `POST ${path} HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: ${from}\r\nContent-Length: ${2 * MIB}\r\n\r\n`,
  );
  socket.write(Buffer.alloc(2 * MIB - 1));
  return { socket, answer };
}

/** Waits for something that happens at the other end of a socket. */
async function until(holds: () => boolean, what: string): Promise<void> {
  for (let turn = 0; !holds(); turn += 1) {
    assert.ok(turn < 1000, what);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function enrol(from: string): Promise<string> {
  const senderNonce = randomBytes(16);
  const csr = await requestOf({ challengePassword: staticSecret });
  const transactionID = randomBytes(8).toString('hex');
  const body = await messageOf({ csr, senderNonce, transactionID });
  const url = `${server.url('static')}?operation=PKIOperation`;
  const answer = await exchange(url, { method: 'POST', body, headers: { 'x-forwarded-for': from } });
  if (answer.status !== 200) return `${answer.status} ${answer.headers['retry-after']}`;
  return (await certRepIn(answer, { senderNonce, transactionID })).pkiStatus;
}

describe('the memory of bodies', () => {
  /** A request whose body is there, held until `end`. */
  const held = (memory: BodyMemory, source: string, bytes: number, bytesMax = 2 * MIB) => {
    const request = Object.assign(new PassThrough(), { headers: {} });
    request.end(Buffer.alloc(bytes));
    const ended = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<string>();
    const outcome = memory.hold(request as unknown as IncomingMessage, source, bytesMax, async (body) => {
      begun.resolve(`${body.length} octets`);
      await ended.promise;
      return `${body.length} octets`;
    });
    void outcome.then(begun.resolve);
    return { begun: begun.promise, outcome, end: ended.resolve };
  };

  test('of one source and of all is bounded, and is free again', async () => {
    const memory = new BodyMemory();
    const holds = [];
    for (const source of ['a', 'b', 'c', 'd']) {
      for (let count = 0; count < 8; count += 1) {
        const hold = held(memory, source, 2 * MIB);
        assert.equal(await hold.begun, `${2 * MIB} octets`, `${source} ${count}`);
        holds.push(hold);
      }
      assert.equal(await held(memory, source, 1).begun, 'no memory', source);
    }
    assert.equal(await held(memory, 'e', 1).begun, 'no memory');
    for (const { end, outcome } of holds) {
      end();
      assert.equal(await outcome, `${2 * MIB} octets`);
    }
    for (const source of ['a', 'e']) {
      const hold = held(memory, source, 2 * MIB);
      assert.equal(await hold.begun, `${2 * MIB} octets`, source);
      hold.end();
    }
  });

  test('is not used by a body that says itself that it is too long', async () => {
    const request = Object.assign(new PassThrough(), { headers: { 'content-length': `${2 * MIB + 1}` } });
    const outcome = new BodyMemory().hold(
      request as unknown as IncomingMessage,
      'a',
      2 * MIB,
      async () => 'a body',
    );
    const early = new Promise((resolve) => setTimeout(resolve, 5000, 'it is waited for').unref());
    assert.equal(await Promise.race([outcome, early]), 'too large');
    assert.equal(request.listenerCount('data'), 0);
  });

  test('takes bodies of up to the limit, and gives back what was refused or broken off', async () => {
    const memory = new BodyMemory();
    for (let count = 0; count < 100; count += 1) {
      assert.equal(await held(memory, 'a', 2 * MIB + 1).outcome, 'too large');
      const request = Object.assign(new PassThrough(), { headers: {} });
      request.write(Buffer.alloc(MIB));
      const outcome = memory.hold(request as unknown as IncomingMessage, 'a', 2 * MIB, async () => 'a body');
      await new Promise(setImmediate);
      request.destroy();
      assert.equal(await outcome, 'gone');
      const fails = held(memory, 'a', 0);
      assert.equal(await fails.begun, '0 octets');
      fails.end();
    }
  });
});

describe('at the door', () => {
  test('who hoards is told to come back, and others are served', async () => {
    const hoards = await Promise.all(Array.from({ length: 10 }, () => hoard('198.51.100.1')));
    const turnedAway: string[] = [];
    for (const { answer } of hoards) void answer.then((text) => text !== '' && turnedAway.push(text));
    try {
      await until(() => turnedAway.length >= 2, `${turnedAway.length} of 10 were turned away`);
      for (const text of turnedAway) {
        assert.match(text, /^HTTP\/1\.1 503 /);
        assert.match(text, /\r\nretry-after: (?:[5-9]|1\d)\r\n/i);
        assert.match(text, /\r\nconnection: close\r\n/i);
      }
      assert.equal(await enrol('203.0.113.1'), 'SUCCESS');
    } finally {
      for (const { socket } of hoards) socket.destroy();
    }
  });

  test('the memory of who was answered is free again', async () => {
    const whole = Buffer.alloc(2 * MIB);
    const url = `${server.url('static')}?operation=PKIOperation`;
    for (let count = 0; count < 20; count += 1) {
      const { status } = await exchange(url, { method: 'POST', body: whole });
      assert.equal(status, 400, `body ${count}`);
    }
  });

  test('a body that comes octet by octet is read as one', async () => {
    const senderNonce = randomBytes(16);
    const body = await messageOf({ csr: await requestOf({ challengePassword: staticSecret }), senderNonce });
    const socket = connect({ port: server.port, host: '127.0.0.1', noDelay: true });
    await once(socket, 'connect');
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    const closed = once(socket, 'close');
    socket.write(
      `POST ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n` +
        `${[...body].map((octet) => `1\r\n${String.fromCharCode(octet)}\r\n`).join('')}0\r\n\r\n`,
      'latin1',
    );
    await closed;
    const whole = Buffer.concat(chunks);
    const answer = { status: 200, headers: {}, body: whole.subarray(whole.indexOf('\r\n\r\n') + 4) };
    assert.equal((await certRepIn(answer, { senderNonce })).pkiStatus, 'SUCCESS');
  });
});
