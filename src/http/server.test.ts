import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import {
  certificates,
  certRepIn,
  exchange,
  messageOf,
  openTestServer,
  publishedCrl,
  requestOf,
  staticSecret,
  type TestServer,
} from '../../test/support/authorities-fixture.ts';
import { parseCertificate, parseCrl, verifyCrlSignature } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { CrlRecord } from '../store/index.ts';
import { addRepositoryDoor, type PublishedCa } from './repository.ts';
import { type HttpServer, openHttpServer } from './server.ts';

const silent = pino({ level: 'silent' });

async function withServer(
  doors: (app: FastifyInstance) => void,
  work: (base: string, server: HttpServer) => Promise<void>,
): Promise<void> {
  const server = await openHttpServer({ host: '127.0.0.1', port: 0, log: silent, doors });
  try {
    await work(`http://127.0.0.1:${server.address.port}`, server);
  } finally {
    await server.close();
  }
}

/** What a raw request is answered with. */
function raw(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.end(text, 'latin1'));
    const chunks: Buffer[] = [];
    socket.setTimeout(15_000, () => socket.destroy(new Error('no answer')));
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', reject);
    socket.on('close', () => resolve(Buffer.concat(chunks).toString('latin1')));
  });
}

describe('a shared port', () => {
  const answering = (text: string) => (app: FastifyInstance) => {
    app.get('/who', (_request, reply) => reply.send(text));
  };
  const at = { host: '127.0.0.1', log: silent } as const;

  if (process.platform === 'linux') {
    test('serves by all that joined', async () => {
      const first = await openHttpServer({ ...at, port: 0, sharing: 'first', doors: answering('first') });
      const { port } = first.address;
      const second = await openHttpServer({ ...at, port, sharing: 'shared', doors: answering('second') });
      try {
        const heard = new Set<string>();
        // The kernel chooses by the connection: of so many, each gets one.
        for (let i = 0; i < 200 && heard.size < 2; i += 1)
          heard.add((await raw(port, 'GET /who HTTP/1.0\r\n\r\n')).split('\r\n\r\n')[1] ?? '');
        assert.deepEqual([...heard].sort(), ['first', 'second']);
      } finally {
        await Promise.all([first.close(), second.close()]);
      }
    });
  }

  for (const sharing of ['alone', 'first'] as const) {
    test(`is refused to another server that comes ${sharing}`, async () => {
      const first = await openHttpServer({ ...at, port: 0, sharing: 'first', doors: answering('first') });
      try {
        await assert.rejects(
          openHttpServer({ ...at, port: first.address.port, sharing, doors: answering('stranger') }),
          { code: 'listen_failed' },
        );
      } finally {
        await first.close();
      }
    });
  }
});

describe('openHttpServer', () => {
  const failing = (app: FastifyInstance) => {
    app.get('/throws', () => {
      throw new Error('the secret is hunter2');
    });
    app.get('/rejects', async () => {
      throw new PkiError('internal', 'the secret is hunter2');
    });
    app.get('/full', async () => {
      throw new PkiError('store_unavailable', 'the disk /var/hunter2 is full');
    });
  };

  test('errors are one line of plain text without cause or stack', () =>
    withServer(failing, async (base) => {
      const rows = [
        ['/throws', 500, 'an internal error occurred\n'],
        ['/rejects', 500, 'an internal error occurred\n'],
        ['/full', 503, 'the request cannot be served now; try again\n'],
        ['/absent', 404, 'not found\n'],
      ] as const;
      for (const [path, status, text] of rows) {
        const answer = await exchange(`${base}${path}`);
        assert.equal(answer.status, status);
        assert.equal(answer.body.toString(), text);
        assert.match(answer.headers['content-type'] ?? '', /^text\/plain/);
        assert.equal(answer.headers['retry-after'] !== undefined, status === 503);
      }
    }));

  test('what is not HTTP is refused without detail', () =>
    withServer(failing, async (_base, { address }) => {
      for (const text of [
        'hello\r\n\r\n',
        'GET / HTTP/1.1\r\n\r\n',
        'GET / HTTP/9.9\r\nHost: x\r\n\r\n',
        'GET /throws HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
        'GET /%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
        `GET /${'a'.repeat(140_000)} HTTP/1.1\r\nHost: x\r\n\r\n`,
      ]) {
        const answer = await raw(address.port, text);
        assert.match(answer, /^HTTP\/1\.1 4\d\d /, text.slice(0, 40));
        assert.doesNotMatch(answer, /\.(js|ts)\b|node_modules|hunter2|HPE_|FST_/, text.slice(0, 40));
      }
    }));

  test('healthz says ok', () =>
    withServer(
      () => {},
      async (base) => {
        const answer = await exchange(`${base}/healthz`);
        assert.equal(answer.status, 200);
        assert.deepEqual(JSON.parse(answer.body.toString()), { status: 'ok' });
      },
    ));

  test('a port that is taken is listen_failed', () =>
    withServer(
      () => {},
      async (_base, { address }) => {
        await assert.rejects(
          openHttpServer({ host: '127.0.0.1', port: address.port, log: silent, doors: () => {} }),
          (thrown) => thrown instanceof PkiError && thrown.code === 'listen_failed',
        );
      },
    ));

  test('one connection too many is hung up on, until another one ends', async () => {
    const connectionsMax = 2;
    const options = { host: '127.0.0.1', port: 0, log: silent, doors: () => {}, connectionsMax };
    const server = await openHttpServer(options);
    const { port } = server.address;
    const healthz = 'GET /healthz HTTP/1.0\r\n\r\n';
    const idle = await Promise.all(
      Array.from({ length: connectionsMax }, async () => {
        const socket = connect(port, '127.0.0.1');
        // An answer says that the server has taken it.
        socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
        await once(socket, 'data');
        return socket;
      }),
    );
    try {
      assert.equal(await raw(port, healthz).catch(() => ''), '');
      idle[0]?.destroy();
      const deadline = performance.now() + 10_000;
      while (!(await raw(port, healthz).catch(() => '')).startsWith('HTTP/1.1 200 '))
        assert.ok(
          performance.now() < deadline,
          'the place of a connection that ended is not given to another',
        );
    } finally {
      for (const socket of idle) socket.destroy();
      await server.close();
    }
  });

  test('closing lets a running request end', async () => {
    let finish = () => {};
    const entered = new Promise<void>((resolveEntered) => {
      void withServer(
        (app) => {
          app.get('/slow', async () => {
            const held = new Promise<void>((resolve) => {
              finish = resolve;
            });
            resolveEntered();
            await held;
            return 'done';
          });
        },
        async (base, server) => {
          const answer = exchange(`${base}/slow`);
          await entered;
          const closed = server.close();
          finish();
          assert.equal((await answer).body.toString(), 'done');
          await closed;
          settled();
        },
      );
    });
    let settled = () => {};
    await new Promise<void>((resolve) => {
      settled = resolve;
    });
  });
});

describe('the repository', () => {
  const now = new Date('2030-01-01T00:00:00Z');
  const crl = (nextUpdate: Date): CrlRecord => ({
    issuer: 'a',
    partition: 0,
    kind: 'full',
    crlNumber: 1,
    thisUpdate: now,
    nextUpdate,
    crl: Buffer.from('crl'),
    change: 0,
  });
  const inSeconds = (seconds: number) => new Date(now.getTime() + seconds * 1000);

  const rows: readonly (readonly [name: string, nextUpdate: Date, maxAge: number])[] = [
    ['a week old CRL', inSeconds(7 * 86_400), 3600],
    ['the last hour', inSeconds(3600), 360],
    ['the last second', inSeconds(1), 0],
    ['its end', inSeconds(0), 0],
    ['after its end', inSeconds(-86_400), 0],
  ];
  for (const [name, nextUpdate, maxAge] of rows) {
    test(`${name} may be kept ${maxAge} seconds`, () => {
      const ca: PublishedCa = {
        name: 'a',
        certificate: certificates.issuing.raw,
        crl: async () => crl(nextUpdate),
      };
      return withServer(
        (app) => addRepositoryDoor(app, [ca], { now: () => now }),
        async (base) => {
          const answer = await exchange(`${base}/crl/a.crl`);
          assert.equal(answer.status, 200);
          assert.equal(answer.headers['content-type'], 'application/pkix-crl');
          assert.equal(answer.headers['cache-control'], `public, max-age=${maxAge}`);
          assert.equal(answer.headers['content-length'], '3');
          assert.equal(answer.body.toString(), 'crl');
        },
      );
    });
  }

  const files: readonly (readonly [file: string, asked: string | undefined])[] = [
    ['a.crl', '0 full'],
    ['a.delta.crl', '0 delta'],
    ['a.7.crl', '7 full'],
    ['A.12.Delta.CRL', '12 delta'],
    ['a.0.crl', undefined],
    ['a.01.crl', undefined],
    ['a.123456.crl', undefined],
    ['a.-1.crl', undefined],
    ['a.delta.7.crl', undefined],
    ['a..crl', undefined],
    ['.crl', undefined],
    ['b.crl', undefined],
    ['a%2f7.crl', undefined],
  ];
  for (const [file, asked] of files) {
    test(`/crl/${file} is ${asked ?? 'nothing'}`, () => {
      const seen: string[] = [];
      const ca: PublishedCa = {
        name: 'a',
        certificate: certificates.issuing.raw,
        crl: async (partition, kind) => {
          seen.push(`${partition} ${kind}`);
          return crl(inSeconds(60));
        },
      };
      return withServer(
        (app) => addRepositoryDoor(app, [ca], { now: () => now }),
        async (base) => {
          const { status } = await exchange(`${base}/crl/${file}`);
          assert.deepEqual([status, seen], asked === undefined ? [404, []] : [200, [asked]]);
        },
      );
    });
  }

  let server: TestServer;
  before(async () => {
    server = await openTestServer();
  });
  after(() => server.close());

  test('serves certificates, and CRLs once they are there', async () => {
    const base = `http://127.0.0.1:${server.port}`;
    const certificate = await exchange(`${base}/AIA/Issuing.crt`);
    assert.equal(certificate.headers['content-type'], 'application/pkix-cert');
    assert.equal(certificate.headers['cache-control'], 'public, max-age=86400');
    assert.equal(certificate.headers['content-length'], String(certificate.body.length));
    assert.deepEqual(parseCertificate(certificate.body).raw, certificate.body);
    assert.deepEqual(certificate.body, Buffer.from(certificates.issuing.raw));

    assert.equal((await exchange(`${base}/crl/issuing.crl`)).status, 404);
    await publishedCrl(server.ca);
    const first = await exchange(`${base}/crl/issuing.crl`);
    assert.ok(verifyCrlSignature(parseCrl(first.body), certificates.issuing.spki));
    assert.equal(parseCrl(first.body).revoked.length, 0);

    const senderNonce = randomBytes(16);
    const csr = await requestOf({ challengePassword: staticSecret });
    const certRep = await certRepIn(await server.post('static', await messageOf({ csr, senderNonce })), {
      senderNonce,
    });
    assert.equal(certRep.pkiStatus, 'SUCCESS');
    const serialNumber = certRep.certificates[0]?.serialNumber ?? '';
    await server.ca.revoke({
      issuer: 'issuing',
      serialNumber,
      reason: 'keyCompromise',
      actor: 'operator test',
      text: 'lost',
    });
    await publishedCrl(server.ca);
    const second = await exchange(`${base}/crl/issuing.crl`);
    assert.deepEqual(
      parseCrl(second.body).revoked.map((entry) => [entry.serialNumber, entry.reason]),
      [[serialNumber, 'keyCompromise']],
    );
  });

  for (const path of [
    '/crl/absent.crl',
    '/crl/root.crl',
    '/crl/issuing.crl.bak',
    '/crl/',
    '/aia/..%2fissuing.crt',
    '/aia/issuing.pem',
  ]) {
    test(`${path} is not found`, async () => {
      const answer = await exchange(`http://127.0.0.1:${server.port}${path}`);
      assert.equal(answer.status, 404);
      assert.equal(answer.body.toString(), 'not found\n');
      assert.equal(answer.headers['cache-control'], undefined);
    });
  }

  test('HEAD and conditional requests do no harm', async () => {
    const base = `http://127.0.0.1:${server.port}`;
    const head = await exchange(`${base}/aia/issuing.crt`, { method: 'HEAD' });
    assert.equal(head.status, 200);
    assert.equal(head.body.length, 0);
    assert.equal(head.headers['content-length'], String(certificates.issuing.raw.length));
    assert.equal((await exchange(`${base}/aia/issuing.crt`, { method: 'POST', body: 'x' })).status, 404);
    const conditional = await exchange(`${base}/aia/issuing.crt`, {
      headers: { 'if-modified-since': new Date().toUTCString(), range: 'bytes=0-1' },
    });
    assert.equal(conditional.status, 200);
    assert.equal(conditional.body.length, certificates.issuing.raw.length);
  });
});
