import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  openTestScepServer,
  ra,
  type ScepAnswer,
  type TestScepServer,
} from '../../test/support/scep-fixture.ts';
import { hResultOfHttpStatus, hResults, hResultText } from './h-result.ts';
import { HttpClient } from './http-client.ts';
import { cipherFor, digestFor, ScepTransport, scepUrlOf } from './scep-transport.ts';

async function withTransport(
  run: (transport: ScepTransport, server: TestScepServer) => Promise<void>,
): Promise<void> {
  const server = await openTestScepServer();
  const http = new HttpClient({ timeoutMs: 10_000 });
  try {
    await run(new ScepTransport(server.url, http), server);
  } finally {
    http.close();
    await server.close();
  }
}

const html = { 'content-type': 'text/html; charset=utf-8' };

test('URLs: Windows’ suffix is added where NDES’s name ends the path', async (t) => {
  const rows: [string, string][] = [
    ['https://h/certsrv/mscep/mscep.dll', 'https://h/certsrv/mscep/mscep.dll/pkiclient.exe'],
    ['https://h/certsrv/mscep/MSCEP.DLL/', 'https://h/certsrv/mscep/MSCEP.DLL/pkiclient.exe'],
    ['https://h/certsrv/mscep/mscep.dll/pkiclient.exe', 'https://h/certsrv/mscep/mscep.dll/pkiclient.exe'],
    ['http://h:8080/scep/devices', 'http://h:8080/scep/devices'],
    ['https://h/scep?tenant=1#x', 'https://h/scep'],
    ['https://h/nomscep.dll', 'https://h/nomscep.dll'],
  ];
  for (const [given, want] of rows) await t.test(given, () => assert.equal(scepUrlOf(given).href, want));
  for (const bad of ['ftp://h/scep', 'mscep.dll', '', 'javascript:0']) {
    await t.test(`refused: ${bad}`, () => assert.throws(() => scepUrlOf(bad), { code: 'server_answer' }));
  }
});

test('what is offered decides cipher and digest, and nothing makes them weak', async (t) => {
  const rows: [string, string[], string, string][] = [
    ['nothing', [], 'des-ede3-cbc', 'sha1'],
    ['an old NDES', ['POSTPKIOperation', 'SHA-1', 'DES3'], 'des-ede3-cbc', 'sha1'],
    ['AES and SHA-256', ['AES', 'SHA-256'], 'aes-128-cbc', 'sha256'],
    ['SCEPStandard alone', ['SCEPStandard'], 'aes-128-cbc', 'sha256'],
    ['SHA-512 alone is not SHA-256', ['SHA-512', 'AES'], 'aes-128-cbc', 'sha1'],
    ['DES and MD5, by someone between', ['DES', 'MD5'], 'des-ede3-cbc', 'sha1'],
    ['another case is another word', ['aes', 'sha-256'], 'des-ede3-cbc', 'sha1'],
  ];
  for (const [name, offered, cipher, digest] of rows) {
    await t.test(name, () => {
      const capabilities = new Set(offered);
      assert.deepEqual([cipherFor(capabilities), digestFor(capabilities)], [cipher, digest]);
    });
  }
});

const spoilt: readonly {
  readonly name: string;
  readonly answer: Extract<ScepAnswer, { answer: 'http' }>;
  readonly exchange: 'unavailable' | 'unusable';
  readonly hResult: number;
  readonly detail: RegExp;
  readonly retryAfterMs?: number;
}[] = [
  {
    name: 'a sign-in page',
    answer: {
      answer: 'http',
      status: 200,
      headers: html,
      body: '<html><head><TITLE>\nSign in</TITLE></head>',
    },
    exchange: 'unusable',
    hResult: hResults.ERROR_WINHTTP_INVALID_SERVER_RESPONSE.value,
    detail: /^HTTP 200, a web page titled “Sign in”: a sign-in page, a proxy or the server’s own error page/,
  },
  {
    name: 'a page without a title',
    answer: { answer: 'http', status: 403, headers: html, body: '<h1>403.16' },
    exchange: 'unusable',
    hResult: 0x80190193,
    detail: /^HTTP 403, a web page: /,
  },
  {
    name: 'not found',
    answer: { answer: 'http', status: 404, body: 'nothing here' },
    exchange: 'unusable',
    hResult: 0x80190194,
    detail: /^HTTP 404, an answer of type text\/plain: nothing here$/,
  },
  {
    name: 'a redirect',
    answer: { answer: 'http', status: 302, headers: { location: 'https://login.example.com/?x=secret' } },
    exchange: 'unusable',
    hResult: 0x8019012e,
    detail: /^HTTP 302, a redirect to https:\/\/login\.example\.com, which is not followed$/,
  },
  {
    name: 'another content type',
    answer: { answer: 'http', status: 200, headers: { 'content-type': 'application/json' }, body: '{}' },
    exchange: 'unusable',
    hResult: hResults.ERROR_WINHTTP_INVALID_SERVER_RESPONSE.value,
    detail: /^HTTP 200, an answer of type application\/json$/,
  },
  {
    name: 'no content type',
    answer: { answer: 'http', status: 200, headers: {}, body: 'x' },
    exchange: 'unusable',
    hResult: hResults.ERROR_WINHTTP_INVALID_SERVER_RESPONSE.value,
    detail: /without content type$/,
  },
  {
    name: 'service unavailable, with a time',
    answer: { answer: 'http', status: 503, headers: { 'retry-after': '9' } },
    exchange: 'unavailable',
    hResult: 0x801901f7,
    detail: /^HTTP 503/,
    retryAfterMs: 9000,
  },
  {
    name: 'a web page with 503',
    answer: { answer: 'http', status: 503, headers: html, body: '<title>Service Unavailable</title>' },
    exchange: 'unavailable',
    hResult: 0x801901f7,
    detail: /^HTTP 503, a web page titled “Service Unavailable”/,
  },
  ...[408, 429, 502, 504].map((status) => ({
    name: `status ${status}`,
    answer: { answer: 'http', status } as const,
    exchange: 'unavailable' as const,
    hResult: hResultOfHttpStatus(status),
    detail: new RegExp(`^HTTP ${status}`),
  })),
];

for (const { name, answer, exchange, hResult, detail, retryAfterMs } of spoilt) {
  test(`instead of SCEP: ${name}`, () =>
    withTransport(async (transport, { behaviour }) => {
      behaviour.getCaCert = answer;
      behaviour.pkiOperation = () => answer;
      const got = [
        await transport.caCertificates(),
        await transport.pkiOperation(Buffer.from('m'), new Set()),
        await transport.pkiOperation(Buffer.from('m'), new Set(['SCEPStandard'])),
      ];
      for (const each of got) {
        if (each.exchange === 'answered') throw new Error('taken for an answer');
        assert.equal(each.exchange, exchange);
        assert.equal(each.hResult, hResult);
        assert.match(each.detail, detail);
        assert.equal(each.exchange === 'unavailable' ? each.retryAfterMs : undefined, retryAfterMs);
      }
    }));
}

test('certificates that cannot be read are of no use', () =>
  withTransport(async (transport, { behaviour }) => {
    behaviour.getCaCert = {
      answer: 'http',
      status: 200,
      headers: { 'content-type': 'application/x-x509-ca-cert' },
      body: 'not DER',
    };
    const got = await transport.caCertificates();
    assert.equal(got.exchange, 'unusable');
    assert.equal(got.exchange === 'unusable' && got.hResult, hResults.CRYPT_E_ASN1_BADTAG.value);
  }));

test('no certificate to encrypt to has Windows’ own number', () =>
  withTransport(async (transport, { behaviour }) => {
    behaviour.served = behaviour.served.slice(1);
    const got = await transport.caCertificates();
    assert.equal(got.exchange === 'unusable' && got.hResult, 0x8010002c);
  }));

for (const status of [400, 403, 404, 405, 501]) {
  test(`a server without GetCACaps (${status}) has no capabilities`, () =>
    withTransport(async (transport, { behaviour }) => {
      behaviour.capabilities = status;
      assert.deepEqual(await transport.capabilities(), { exchange: 'answered', value: new Set() });
    }));
}

test('capabilities that say to come back are not taken for none', () =>
  withTransport(async (transport, { behaviour }) => {
    behaviour.capabilities = 503;
    assert.equal((await transport.capabilities()).exchange, 'unavailable');
  }));

test('asks as Windows does, at Windows’ URL', () =>
  withTransport(async (transport, { requests }) => {
    assert.ok((await transport.capabilities()).exchange === 'answered');
    const ca = await transport.caCertificates();
    assert.ok(ca.exchange === 'answered');
    assert.deepEqual(ca.value.encryption.raw, ra.certificate.raw);
    assert.equal(ca.value.all.length, 3);
    assert.deepEqual(
      requests.map(({ method, target }) => [method, target]),
      [
        ['GET', '/certsrv/mscep/mscep.dll/pkiclient.exe?operation=GetCACaps&message=default'],
        ['GET', '/certsrv/mscep/mscep.dll/pkiclient.exe?operation=GetCACert&message=default'],
      ],
    );
  }));

test('the message goes by POST where that is offered, else by GET, and arrives octet for octet', () =>
  withTransport(async (transport, { behaviour, pkiOperations }) => {
    behaviour.pkiOperation = () => ({
      answer: 'http',
      status: 200,
      headers: { 'content-type': 'application/x-pki-message' },
      body: 'answer',
    });
    // Every octet, so that base64 has each of its characters.
    const message = Buffer.from(Array.from({ length: 256 }, (_, octet) => (octet * 7) & 0xff));
    for (const offered of [['POSTPKIOperation'], ['SCEPStandard'], ['AES', 'SHA-256'], []]) {
      const answer = await transport.pkiOperation(message, new Set(offered));
      assert.equal(answer.exchange === 'answered' && Buffer.from(answer.value).toString(), 'answer');
    }
    const sent = pkiOperations();
    assert.deepEqual(
      sent.map(({ method, contentType }) => [method, contentType]),
      [
        ['POST', 'application/x-pki-message'],
        ['POST', 'application/x-pki-message'],
        ['GET', undefined],
        ['GET', undefined],
      ],
    );
    for (const request of sent) assert.deepEqual(Buffer.from(request.message), message);
    assert.match(sent[2]?.target ?? '', /\?operation=PKIOperation&message=[A-Za-z0-9%]+$/);
  }));

test('HRESULTs are written as administrators search for them', () => {
  assert.equal(hResultText(0x80091007), 'The hash value is not correct. (0x80091007)');
  assert.equal(
    hResultText(hResultOfHttpStatus(404)),
    'The server answered with HTTP status 404. (0x80190194)',
  );
  assert.equal(hResultText(0x12345), 'Unknown error. (0x00012345)');
});
