import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, afterEach, before, describe, test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import {
  certificates,
  ecKey,
  MovableClock,
  rootPem,
  temporaryFolder,
  testCertificate,
  testRequest,
  tlsServer,
} from '../../../test/support/mdm-fixture.ts';
import { buildPem, nameToString, parseCertificationRequest, thumbprintOf } from '../../codec/index.ts';
import { PkiError } from '../../errors.ts';
import type { EnrolmentRequest } from '../validator.ts';
import { type WebhookValidator, type WebhookValidatorOptions, webhookValidator } from './webhook.ts';

const secret = 'a webhook secret of 32 characters or more';
const challenge = 'CHALLENGE-of-the-device';
const key = ecKey();
const der = await testRequest(key, {
  subject: 'CN=mac-7,O=Test',
  subjectAltName: [
    { type: 'dNSName', value: 'mac-7.test' },
    { type: 'userPrincipalName', value: 'ada@test' },
  ],
  extKeyUsage: ['1.3.6.1.5.5.7.3.2'],
  challengePassword: challenge,
});
const request: EnrolmentRequest = {
  endpoint: 'jamf',
  transactionID: 'transaction-1',
  csr: parseCertificationRequest(der),
  challengePassword: challenge,
  source: '192.0.2.1',
  receivedAt: new Date(),
};

const logged: string[] = [];
const log = pino({ level: 'debug' }, { write: (line: string) => void logged.push(line) });

/** What the service was sent. */
interface Question {
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
  // biome-ignore lint/suspicious/noExplicitAny: a test reads what it sent.
  readonly json: any;
  /** Common name of the client certificate. */
  readonly client: string | undefined;
}

let server: Server;
let url: string;
let asked: Question[] = [];
let answer: (question: Question, response: ServerResponse) => void;

const reply = (response: ServerResponse, body: unknown, status = 200, type = 'application/json') =>
  response
    .writeHead(status, { 'content-type': type })
    .end(typeof body === 'string' ? body : JSON.stringify(body));

before(async () => {
  server = createServer(
    { ...tlsServer, ca: rootPem, requestCert: true, rejectUnauthorized: false },
    async (incoming, response) => {
      const body = await text(incoming);
      const peer = (incoming.socket as TLSSocket).getPeerCertificate();
      const { headers } = incoming;
      const question = { headers, body, json: JSON.parse(body), client: peer?.subject?.CN?.toString() };
      asked.push(question);
      answer(question, response);
    },
  );
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/scep`;
});
after(() => {
  server.closeAllConnections();
  server.close();
});

const opened: WebhookValidator[] = [];
afterEach(async () => {
  asked = [];
  for (const validator of opened.splice(0)) await validator.close();
});

function open(options: Partial<WebhookValidatorOptions> = {}): WebhookValidator {
  const validator = webhookValidator({ url, secret, extraCa: rootPem, log, ...options });
  opened.push(validator);
  return validator;
}

describe('a webhook is refused', () => {
  const rows: readonly (readonly [name: string, options: Partial<WebhookValidatorOptions>, fault: RegExp])[] =
    [
      ['over plain HTTP', { url: 'http://127.0.0.1/scep' }, /must be https/],
      ['without a URL', { url: 'scep' }, /must be https/],
      ['with a short secret', { secret: secret.slice(0, 31) }, /at least 32/],
      [
        'with a client certificate that is none',
        { clientCertificate: { cert: 'x', key: 'y' } },
        /client certificate/,
      ],
    ];
  for (const [name, options, fault] of rows) {
    test(name, () => {
      assert.throws(
        () => open(options),
        (thrown) =>
          thrown instanceof PkiError &&
          thrown.code === 'config_invalid' &&
          fault.test(thrown.message) &&
          !thrown.message.includes(secret.slice(0, 31)),
      );
    });
  }
});

describe('anything but a well-formed yes is', () => {
  const accept = ({ json }: Question) => ({ id: json.id, decision: 'accept' });
  type Row = readonly [name: string, detail: RegExp, answer: typeof answer];
  const unreachable: readonly Row[] = [
    ['HTTP 204', /^HTTP 204/, (_, response) => response.writeHead(204).end()],
    ['HTTP 201 with a yes', /^HTTP 201/, (question, response) => reply(response, accept(question), 201)],
    ['HTTP 400 with a yes', /^HTTP 400/, (question, response) => reply(response, accept(question), 400)],
    ['HTTP 401', /^HTTP 401/, (_, response) => reply(response, {}, 401)],
    ['HTTP 403', /^HTTP 403/, (_, response) => reply(response, {}, 403)],
    ['HTTP 500', /^HTTP 500/, (_, response) => reply(response, { error: 'x' }, 500)],
    [
      'a redirect to a yes',
      /^HTTP 307/,
      (_, response) => response.writeHead(307, { location: `${url}/elsewhere` }).end(),
    ],
    [
      'a yes as text',
      /^not JSON/,
      (question, response) => reply(response, accept(question), 200, 'text/plain'),
    ],
    ['no JSON', /^not JSON/, (_, response) => reply(response, '{"decision":"accept"')],
    ['nothing', /^not JSON/, (_, response) => reply(response, '')],
    ['null', /^malformed answer/, (_, response) => reply(response, 'null')],
    ['true', /^malformed answer/, (_, response) => reply(response, 'true')],
    ['a list', /^malformed answer/, (question, response) => reply(response, [accept(question)])],
    [
      'a yes without the question’s id',
      /^malformed answer: id/,
      (_, response) => reply(response, { decision: 'accept' }),
    ],
    [
      'a yes to another question',
      /^the answer to another question/,
      (_, response) => reply(response, { id: 'another', decision: 'accept' }),
    ],
    [
      'a refusal of another question',
      /^the answer to another question/,
      (_, response) => reply(response, { id: 'another', decision: 'refuse' }),
    ],
    ...['yes', 'Accept', 'noted', '', true, 1, null].map(
      (decision): Row => [
        `the decision ${JSON.stringify(decision)}`,
        /^malformed answer: decision/,
        ({ json }, response) => reply(response, { id: json.id, decision }),
      ],
    ),
    [
      'a yes with a field that is not known',
      /^malformed answer/,
      (question, response) => reply(response, { ...accept(question), allow: true }),
    ],
    [
      'a yes that vouches in other words',
      /^malformed answer: names/,
      (question, response) => reply(response, { ...accept(question), names: 'all' }),
    ],
    [
      'a device with a line break',
      /^malformed answer: device/,
      (question, response) => reply(response, { ...accept(question), device: 'a\nb' }),
    ],
    [
      'a SID that is none',
      /^malformed answer: directory/,
      (question, response) =>
        reply(response, { ...accept(question), directory: { securityIdentifier: 'S-1-5-x' } }),
    ],
    [
      'a subject that is no name',
      /^malformed answer: directory/,
      (question, response) => reply(response, { ...accept(question), directory: { subject: 'mac-7' } }),
    ],
    [
      'an address that is none',
      /^malformed answer: directory/,
      (question, response) =>
        reply(response, { ...accept(question), directory: { subjectAltName: ['IP:x'] } }),
    ],
    [
      'an answer without end',
      /^response too large/,
      (question, response) => reply(response, { ...accept(question), device: 'x'.repeat(70_000) }),
    ],
    ['a connection that is cut', /^ECONNRESET/, (_, response) => response.destroy()],
  ];
  for (const [name, detail, behaviour] of unreachable) {
    test(`unreachable: ${name}`, async () => {
      answer = behaviour;
      const verdict = await open().validate(request);
      assert.equal(verdict.verdict, 'unreachable');
      assert.match('detail' in verdict ? verdict.detail : '', detail);
      assert.ok(asked.every(({ headers }) => headers['content-type'] === 'application/json'));
    });
  }

  test('unreachable: silence, after the time that it has', async () => {
    answer = () => {};
    const verdict = await open({ timeoutMs: 200 }).validate(request);
    assert.partialDeepStrictEqual(verdict, { verdict: 'unreachable' });
    assert.match('detail' in verdict ? verdict.detail : '', /^timeout/);
    assert.equal(asked.length, 1, 'what may have been heard is not said again');
  });

  test('unreachable: a server that nobody vouches for', async () => {
    const verdict = await open({ extraCa: undefined }).validate(request);
    assert.equal(verdict.verdict, 'unreachable');
    assert.equal(asked.length, 0);
  });

  test('a refusal, with its reason for the audit list', async () => {
    answer = ({ json }, response) =>
      reply(response, { id: json.id, decision: 'refuse', reason: 'not enrolled' });
    const verdict = await open().validate(request);
    assert.partialDeepStrictEqual(verdict, { verdict: 'refuse', code: 'validator_refused' });
    assert.equal(
      'detail' in verdict && verdict.detail,
      `not enrolled (webhook question ${asked[0]?.json.id})`,
    );
  });
});

describe('a question', () => {
  test('says what is asked for, and is signed over time and body', async () => {
    answer = ({ json }, response) => reply(response, { id: json.id, decision: 'accept' });
    const clock = new MovableClock();
    assert.deepEqual(await open({ clock }).validate(request), { verdict: 'accept', names: 'claimed' });
    const [question] = asked;
    assert.ok(question);
    const { id, certificationRequest, publicKeyHash, ...rest } = question.json;
    assert.match(id, /^[0-9a-f-]{36}$/);
    assert.equal(certificationRequest, buildPem('CERTIFICATE REQUEST', der));
    assert.match(publicKeyHash, /^[0-9a-f]{64}$/);
    assert.deepEqual(rest, {
      version: 1,
      type: 'validate',
      endpoint: 'jamf',
      transactionID: 'transaction-1',
      challenge,
      subject: nameToString(request.csr.subject),
      subjectAltName: ['DNS:mac-7.test', 'UPN:ada@test'],
      extKeyUsage: ['1.3.6.1.5.5.7.3.2'],
    });
    const timestamp = question.headers['leafgate-timestamp'];
    assert.ok(Math.abs(Number(timestamp) - clock.now().getTime() / 1000) < 60);
    const mac = createHmac('sha256', secret).update(`${timestamp}.${question.body}`).digest('hex');
    assert.equal(question.headers['leafgate-signature'], `v1=${mac}`);
    assert.equal(question.client, undefined);
  });

  test('is repeated while the service says that it cannot now, under the same id', async () => {
    answer = ({ json }, response) =>
      asked.length < 3
        ? response.writeHead(503, { 'retry-after': '0' }).end()
        : reply(response, { id: json.id, decision: 'accept' });
    assert.equal((await open().validate(request)).verdict, 'accept');
    assert.equal(asked.length, 3);
    assert.equal(new Set(asked.map(({ json }) => json.id)).size, 1);
  });

  test('is not repeated for ever', async () => {
    answer = (_, response) => response.writeHead(429, { 'retry-after': '0' }).end();
    assert.equal((await open().validate(request)).verdict, 'unreachable');
    assert.equal(asked.length, 3);
  });

  test('shows the client certificate', async () => {
    answer = ({ json }, response) => reply(response, { id: json.id, decision: 'accept' });
    const clientKey = ecKey();
    const certificate = await testCertificate({ subject: 'CN=leafgate', key: clientKey, kind: 'other' });
    const clientCertificate = { cert: buildPem('CERTIFICATE', certificate.raw), key: clientKey.pem };
    await open({ clientCertificate }).validate(request);
    assert.equal(asked[0]?.client, 'leafgate');
  });

  test('leaves neither secret nor challenge in the log', async () => {
    answer = ({ json }, response) => reply(response, { id: json.id, decision: 'accept' });
    logged.length = 0;
    await open().validate(request);
    answer = (_, response) => reply(response, `{"${challenge}": "${secret}"}`);
    const verdict = await open().validate(request);
    assert.equal(verdict.verdict, 'unreachable');
    assert.ok(logged.length > 0);
    for (const line of [...logged, JSON.stringify(verdict)]) {
      assert.ok(!line.includes(secret) && !line.includes(challenge), line);
    }
  });

  test('one challenge serves one key, unless it is said that many share it', () => {
    assert.equal(open().challengeUse, 'single');
    assert.equal(open({ challengeUse: 'shared' }).challengeUse, 'shared');
  });
});

describe('a yes', () => {
  test('vouches for names, device and SID', async () => {
    answer = ({ json }, response) =>
      reply(response, {
        id: json.id,
        decision: 'accept',
        device: 'mac-7',
        names: 'vouched',
        directory: {
          subject: 'CN=mac-7',
          subjectAltName: ['DNS:mac-7.test', 'UPN:ada@test'],
          securityIdentifier: 'S-1-5-21-1-2-3-1104',
        },
      });
    const verdict = await open().validate(request);
    assert.partialDeepStrictEqual(verdict, {
      verdict: 'accept',
      names: 'vouched',
      device: 'mac-7',
      directory: {
        subjectAltName: [
          { type: 'dNSName', value: 'mac-7.test' },
          { type: 'userPrincipalName', value: 'ada@test' },
        ],
        securityIdentifier: 'S-1-5-21-1-2-3-1104',
      },
    });
    const { directory } = verdict as Extract<typeof verdict, { verdict: 'accept' }>;
    assert.ok(typeof directory === 'object' && directory.subject !== undefined);
    assert.equal(nameToString(directory.subject), 'CN=mac-7');
  });

  test('may say that the request names what the service knows', async () => {
    answer = ({ json }, response) =>
      reply(response, { id: json.id, decision: 'accept', names: 'vouched', directory: 'as-requested' });
    assert.deepEqual(await open().validate(request), {
      verdict: 'accept',
      names: 'vouched',
      directory: 'as-requested',
    });
  });
});

describe('notifications', () => {
  test('are not sent unless they are asked for', () => {
    const validator = open();
    assert.equal(validator.notifySuccess, undefined);
    assert.equal(validator.notifyFailure, undefined);
  });

  test('of success must be taken, or the certificate is withheld', async () => {
    const validator = open({ notifications: 'outcome' });
    for (const wrong of [{ decision: 'accept' }, { decision: 'refuse' }, {}]) {
      answer = ({ json }, response) => reply(response, { id: json.id, ...wrong });
      const verdict = await validator.notifySuccess?.(request, certificates.tls);
      assert.equal(verdict?.verdict, 'unreachable', JSON.stringify(wrong));
    }
    asked = [];
    answer = ({ json }, response) => reply(response, { id: json.id, decision: 'noted' });
    const verdict = await validator.notifySuccess?.(request, certificates.tls);
    assert.equal(verdict?.verdict, 'accept');
    assert.partialDeepStrictEqual(asked[0]?.json, {
      type: 'notify',
      outcome: 'issued',
      transactionID: 'transaction-1',
      certificate: {
        serialNumber: certificates.tls.serialNumber,
        thumbprint: thumbprintOf(certificates.tls.raw),
        pem: buildPem('CERTIFICATE', certificates.tls.raw),
      },
    });
    assert.ok(!asked[0]?.body.includes(challenge));
  });

  test('of failure say why, and whatever becomes of them is no matter', async () => {
    const validator = open({ notifications: 'outcome' });
    answer = (_, response) => reply(response, 'no');
    await validator.notifyFailure?.(request, { hResult: 0x80094012, description: 'no' });
    assert.partialDeepStrictEqual(asked[0]?.json, {
      type: 'notify',
      outcome: 'failed',
      failure: { hResult: 0x80094012, description: 'no' },
    });
  });
});

describe('the receiver in docs/examples', () => {
  let child: ChildProcess;
  let receiverUrl = '';
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;

  before(async () => {
    folder = await temporaryFolder();
    const path = (name: string) => join(folder.path, name);
    await writeFile(path('cert.pem'), tlsServer.cert);
    await writeFile(path('key.pem'), tlsServer.key);
    await writeFile(
      path('devices.json'),
      JSON.stringify({ [challenge]: { device: 'mac-7', subject: nameToString(request.csr.subject) } }),
    );
    const script = fileURLToPath(new URL('../../../docs/examples/webhook-receiver.mjs', import.meta.url));
    child = spawn(process.execPath, [script], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: {
        WEBHOOK_SECRET: secret,
        TLS_CERT: path('cert.pem'),
        TLS_KEY: path('key.pem'),
        DEVICES: path('devices.json'),
        PORT: '0',
      },
    });
    assert.ok(child.stdout);
    const [line] = await once(child.stdout, 'data');
    receiverUrl = `https://127.0.0.1:${/\d+\s*$/.exec(String(line))?.[0].trim()}/`;
  });
  after(async () => {
    child.kill();
    await folder.remove();
  });

  test('accepts the challenge that it knows, with the subject that belongs to it', async () => {
    const validator = open({ url: receiverUrl, notifications: 'outcome' });
    assert.deepEqual(await validator.validate(request), {
      verdict: 'accept',
      names: 'claimed',
      device: 'mac-7',
    });
    assert.equal((await validator.notifySuccess?.(request, certificates.tls))?.verdict, 'accept');
  });

  test('refuses another challenge, another subject, another secret and an old question', async () => {
    const validator = open({ url: receiverUrl });
    const refused = { verdict: 'refuse', code: 'validator_refused' };
    for (const challengePassword of ['other', 'constructor', '__proto__'])
      assert.partialDeepStrictEqual(await validator.validate({ ...request, challengePassword }), refused);
    const csr = parseCertificationRequest(await testRequest(key, { subject: 'CN=other' }));
    assert.partialDeepStrictEqual(await validator.validate({ ...request, csr }), refused);
    const forger = open({ url: receiverUrl, secret: `${secret}!` });
    assert.match(JSON.stringify(await forger.validate(request)), /unreachable.*HTTP 401/);
    const clock = new MovableClock();
    clock.offsetMs = -301_000;
    const old = open({ url: receiverUrl, clock });
    assert.match(JSON.stringify(await old.validate(request)), /unreachable.*HTTP 401/);
  });
});
