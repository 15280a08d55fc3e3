import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { pino } from 'pino';
import {
  certificates,
  exchange,
  FixtureClock,
  type HttpAnswer,
  newEcKey,
  openTestAuthorities,
  requestOf,
  type TestAuthorities,
} from '../../test/support/authorities-fixture.ts';
import { OcspResponder } from '../ca/index.ts';
import {
  buildCertID,
  buildOcspRequest,
  hex,
  type OcspErrorName,
  parseCertificationRequest,
  parseOcspResponse,
  verifyOcspResponse,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { Metrics } from '../metrics.ts';
import { addOcspDoor, addScepDoor, type HttpServer, openHttpServer } from './index.ts';

const logged: string[] = [];
const log = pino({ level: 'debug' }, { write: (line: string) => void logged.push(line) });
const LIFETIME_MS = 3_600_000;
const clock = new FixtureClock();
let authorities: TestAuthorities;
let server: HttpServer;
let base: string;
let serialNumber: string;
/** What the next requests are answered with, if not by the responder. */
let trouble: (() => never) | undefined;

before(async () => {
  authorities = await openTestAuthorities({ clock });
  const key = await newEcKey();
  const enrol = async (template: string, signerKey?: typeof key) =>
    await authorities.ra.enrolService({
      issuer: 'issuing',
      template,
      csr: parseCertificationRequest(await requestOf(signerKey === undefined ? {} : { key: signerKey })),
      operator: 'test',
    });
  const certificate = await enrol('ocsp-signing', key);
  serialNumber = (await enrol('client-authentication')).serialNumber;
  const signer = { certificate, key, signatureAlgorithm: 'ecdsa-sha256' as const };
  const responder = new OcspResponder({
    issuers: [{ name: 'issuing', certificate: certificates.issuing, signer: async () => signer }],
    store: authorities.store,
    neverIssued: 'unknown',
    lifetimeMs: LIFETIME_MS,
    clock,
    log,
  });
  server = await openHttpServer({
    host: '127.0.0.1',
    port: 0,
    log,
    doors: (app) => {
      // Beside the SCEP door, which has its own ideas of bodies.
      addScepDoor(app, { endpoints: [], ra: authorities.ra, clock, log, metrics: new Metrics() });
      addOcspDoor(app, {
        responder: {
          respond: async (request) => {
            trouble?.();
            return await responder.respond(request);
          },
        },
        clock,
        log,
      });
    },
  });
  base = `http://127.0.0.1:${server.address.port}`;
});
after(async () => {
  await server.close();
  await authorities.close();
});

const requestFor = (serial: string, nonce?: Uint8Array) =>
  buildOcspRequest({
    certIDs: [buildCertID(certificates.issuing, serial, 'sha1')],
    ...(nonce === undefined ? {} : { nonce }),
  });
const base64 = (octets: Uint8Array) => Buffer.from(octets).toString('base64');
const post = (body: Uint8Array | string, headers: Record<string, string> = {}) =>
  exchange(`${base}/ocsp`, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/ocsp-request', ...headers },
  });

/** What holds for every answer of the door; answers the status of the certificate, or the error. */
function told({ status, headers, body }: HttpAnswer): string {
  assert.equal(status, 200);
  assert.equal(headers['content-type'], 'application/ocsp-response');
  assert.equal(headers['content-length'], String(body.length));
  assert.equal(headers['transfer-encoding'], undefined);
  const response = parseOcspResponse(body);
  if (response.responseStatus !== 'successful') {
    assert.equal(headers['cache-control'], 'no-store');
    return response.responseStatus;
  }
  assert.equal(verifyOcspResponse(response.basic, certificates.issuing, clock.now()), true);
  return response.basic.responses[0]?.certStatus.status ?? '';
}

/** A request whose base64 has each of the three digits that URLs encode, and two slashes in a row. */
function requestWithOddDigits(): { readonly text: string; readonly octets: Uint8Array } {
  for (let octetCount = 8; octetCount < 12; octetCount += 1) {
    for (let number = 0; number < 2000; number += 1) {
      const octets = requestFor(`7fffffffff${number.toString(16).padStart(octetCount * 2 - 10, '0')}`);
      const text = base64(octets);
      if (text.includes('+') && text.includes('//') && text.endsWith('=')) return { text, octets };
    }
  }
  return assert.fail('no such request');
}

describe('POST', () => {
  test('answers', async () => {
    const answer = await post(requestFor(serialNumber));
    assert.equal(told(answer), 'good');
    assert.equal(answer.headers['cache-control'], 'no-store');
    assert.equal(told(await post(requestFor('0badc0de'))), 'unknown');
  });
  for (const contentType of ['text/plain', 'application/json', 'none of your business', '']) {
    test(`with content type “${contentType}”`, async () => {
      assert.equal(told(await post(requestFor(serialNumber), { 'content-type': contentType })), 'good');
    });
  }
  test('with a slash behind the path, in capitals', async () => {
    const body = requestFor(serialNumber);
    for (const path of ['/ocsp/', '/OCSP'])
      assert.equal(told(await exchange(`${base}${path}`, { method: 'POST', body })), 'good', path);
  });
  const refused: readonly (readonly [what: string, body: Uint8Array | string])[] = [
    ['nothing', ''],
    ['a form', 'a=b'],
    ['base64', base64(requestFor('01'))],
    ['16 KiB and an octet', new Uint8Array(16 * 1024 + 1)],
    ['a megabyte', new Uint8Array(1024 * 1024)],
  ];
  for (const [what, body] of refused) {
    test(`refuses ${what}`, async () => {
      assert.equal(told(await post(body)), 'malformedRequest');
    });
  }
});

describe('GET', () => {
  test('answers, with every digit plain or encoded', async () => {
    const { text, octets } = requestWithOddDigits();
    const encodings: readonly (readonly [what: string, encoded: string])[] = [
      ['plain', text],
      ['encoded', encodeURIComponent(text)],
      ['encoded in small letters', encodeURIComponent(text).replace(/%../g, (code) => code.toLowerCase())],
      ['only the plus encoded', text.replaceAll('+', '%2B')],
      ['only the slash encoded', text.replaceAll('/', '%2F')],
      ['without padding', text.replace(/=+$/, '')],
      ['with a query', `${text}?x=1`],
    ];
    const want = parseOcspResponse((await post(octets)).body);
    assert.ok(want.responseStatus === 'successful');
    for (const [what, encoded] of encodings) {
      const answer = await exchange(`${base}/ocsp/${encoded}`);
      assert.equal(told(answer), 'unknown', what);
      const have = parseOcspResponse(answer.body);
      assert.ok(have.responseStatus === 'successful');
      assert.equal(
        have.basic.responses[0]?.certID.serialNumber,
        want.basic.responses[0]?.certID.serialNumber,
        what,
      );
    }
  });
  test('may be kept, as RFC 5019 §6.2 says', async () => {
    const url = `${base}/ocsp/${encodeURIComponent(base64(requestFor(serialNumber)))}`;
    const answer = await exchange(url);
    assert.equal(told(answer), 'good');
    const response = parseOcspResponse(answer.body);
    assert.ok(response.responseStatus === 'successful');
    const [single] = response.basic.responses;
    const { headers } = answer;
    assert.equal(headers['last-modified'], single?.thisUpdate.toUTCString());
    assert.equal(headers.expires, single?.nextUpdate?.toUTCString());
    assert.equal(headers.etag, `"${createHash('sha256').update(answer.body).digest('hex')}"`);
    assert.equal(headers['cache-control'], 'max-age=600, public, no-transform, must-revalidate');
    assert.ok(headers.date !== undefined);
    // Asked again, it need not be sent again.
    const again = await exchange(url, { headers: { 'if-none-match': headers.etag ?? '' } });
    assert.equal(again.status, 304);
    assert.equal(again.body.length, 0);
    assert.equal(again.headers.etag, headers.etag);
    assert.equal(told(await exchange(url, { headers: { 'if-none-match': '"another"' } })), 'good');
  });
  test('may not be kept with a nonce, or if there is no such certificate', async () => {
    for (const request of [requestFor(serialNumber, new Uint8Array(32).fill(9)), requestFor('0badc0de')]) {
      const answer = await exchange(`${base}/ocsp/${encodeURIComponent(base64(request))}`);
      assert.equal(answer.headers['cache-control'], 'no-store');
      for (const name of ['etag', 'expires', 'last-modified'] as const)
        assert.equal(answer.headers[name], undefined, name);
      assert.match(told(answer), /^(good|unknown)$/);
    }
  });
  const refused: readonly (readonly [what: string, encoded: string])[] = [
    ['nothing', ''],
    ['base64url', base64(requestFor('01')).replaceAll('+', '-').replaceAll('/', '_').concat('-_')],
    ['a stranger among the digits', `${base64(requestFor('01')).slice(0, 20)}!`],
    ['base64 of nothing', 'AAAA'],
    ['encoded text', '%00%01'],
    ['over 4096 digits', 'A'.repeat(4097)],
    ['a path', '../crl'],
  ];
  for (const [what, encoded] of refused) {
    test(`refuses ${what}`, async () => {
      const answer = await raw(`GET /ocsp/${encoded} HTTP/1.0\r\n\r\n`);
      assert.match(answer.head, /^HTTP\/1\.1 200 /);
      assert.deepEqual(parseOcspResponse(answer.body), { responseStatus: 'malformedRequest' });
    });
  }
  test('whatever cannot even be decoded is refused without a page', async () => {
    const answer = await raw('GET /ocsp/%zz HTTP/1.0\r\n\r\n');
    assert.doesNotMatch(answer.head, /html/i);
    assert.doesNotMatch(answer.body.toString('latin1'), /<|\bat /);
  });
});

test('HTTP/1.0 without Host', async () => {
  const body = requestFor(serialNumber);
  const byGet = await raw(`GET /ocsp/${encodeURIComponent(base64(body))} HTTP/1.0\r\n\r\n`);
  const byPost = await raw(`POST /ocsp HTTP/1.0\r\ncontent-length: ${body.length}\r\n\r\n`, body);
  for (const { head, body: octets } of [byGet, byPost]) {
    assert.match(head, /^HTTP\/1\.1 200 /);
    assert.match(head, new RegExp(`^content-length: ${octets.length}\r?$`, 'im'));
    assert.doesNotMatch(head, /chunked/i);
    assert.equal(parseOcspResponse(octets).responseStatus, 'successful');
  }
  assert.equal(hex(byGet.body), hex(byPost.body));
});

describe('what breaks inside', () => {
  const rows: readonly (readonly [what: string, failure: Error, want: OcspErrorName])[] = [
    ['a bug', new TypeError('the secret is hunter2'), 'internalError'],
    ['a fault of ours', new PkiError('internal', 'the secret is hunter2'), 'internalError'],
    ['a fault of the request', new PkiError('ocsp_malformed', 'the secret is hunter2'), 'malformedRequest'],
  ];
  for (const [what, failure, want] of rows) {
    test(what, async () => {
      trouble = () => {
        throw failure;
      };
      try {
        for (const answer of [
          await post(requestFor(serialNumber)),
          await exchange(`${base}/ocsp/${encodeURIComponent(base64(requestFor(serialNumber)))}`),
        ]) {
          assert.equal(told(answer), want);
          assert.doesNotMatch(answer.body.toString('latin1'), /hunter2/);
        }
      } finally {
        trouble = undefined;
      }
    });
  }
});

/** A whole exchange as octets, so that nothing is added to it. */
function raw(
  head: string,
  body: Uint8Array = Uint8Array.of(),
): Promise<{ readonly head: string; readonly body: Buffer }> {
  return new Promise((resolve, reject) => {
    const socket = connect(server.address.port, '127.0.0.1', () => {
      socket.write(head, 'latin1');
      socket.write(body);
    });
    const chunks: Buffer[] = [];
    socket.setTimeout(15_000, () => socket.destroy(new Error('no answer')));
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', reject);
    socket.on('close', () => {
      const whole = Buffer.concat(chunks);
      const at = whole.indexOf('\r\n\r\n');
      resolve({ head: whole.subarray(0, at).toString('latin1'), body: whole.subarray(at + 4) });
    });
  });
}
