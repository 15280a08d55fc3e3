import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { after, before, beforeEach, describe, test } from 'node:test';
import { z } from 'zod';
import {
  auditIn,
  certificates,
  openTestServer,
  recordsIn,
  requestOf,
  type TestServer,
} from '../../test/support/authorities-fixture.ts';
import { rootPem, tlsServer } from '../../test/support/mdm-fixture.ts';
import { heldOf } from '../../test/support/store-fixture.ts';
import { extKeyUsageExtension, oid, parseCertificationRequest } from '../codec/index.ts';
import { type ErrorCode, errorTable, PkiError } from '../errors.ts';
import { RequestLimits } from '../http/limits.ts';
import { openLog } from '../telemetry.ts';
import { type Role, roles } from './authorise.ts';
import { type AdminServer, type AdminServerOptions, adminOpenApi, openAdminServer } from './index.ts';
import { adminRoutes } from './routes.ts';
import { createAdminToken } from './tokens.ts';

const DAY_MS = 86_400_000;

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  // biome-ignore lint/suspicious/noExplicitAny: a test reads what it got.
  readonly json: any;
}

/** One request over a socket of its own. */
function ask(
  admin: AdminServer,
  method: string,
  path: string,
  {
    token,
    headers = {},
    body,
  }: { readonly token?: string; readonly headers?: Record<string, string>; readonly body?: unknown } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(
      {
        host: '127.0.0.1',
        port: admin.address.port,
        method,
        path,
        agent: false,
        headers: {
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers,
        },
      },
      (incoming) => {
        const chunks: Buffer[] = [];
        incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
        incoming.on('end', () => {
          const octets = Buffer.concat(chunks);
          const isJson =
            octets.length > 0 && String(incoming.headers['content-type']).startsWith('application/json');
          resolve({
            status: incoming.statusCode ?? 0,
            headers: incoming.headers,
            body: octets,
            json: isJson ? JSON.parse(octets.toString()) : undefined,
          });
        });
      },
    );
    outgoing.on('error', reject);
    outgoing.end(typeof body === 'string' ? body : body === undefined ? undefined : JSON.stringify(body));
  });
}

function assertError(answer: Answer, code: ErrorCode, what = ''): void {
  assert.equal(answer.status, errorTable[code].http, `${what} ${JSON.stringify(answer.json)}`);
  assert.deepEqual(Object.keys(answer.json), ['error', 'message'], what);
  assert.equal(answer.json.error, code, what);
}

let server: TestServer;
let admin: AdminServer;
let options: AdminServerOptions;
/** What the server has to complain of. */
let problems: readonly string[] = [];
const tokens = {} as Record<Role, string>;

before(async () => {
  server = await openTestServer();
  options = {
    host: '127.0.0.1',
    port: 0,
    store: server.store,
    tokens: server.store,
    ca: server.ca,
    oneTime: server.oneTime,
    health: async () => ({
      at: server.clock.now(),
      role: 'leads',
      store: 'available',
      issuers: [],
      crls: [],
      targets: [],
      ocspSigners: [],
      raCertificates: [],
      selfTests: [],
      notificationsWaiting: 0,
      revocationRequests: [{ source: 'tenant/app', backlog: 1, oldest: new Date() }],
      problems,
    }),
    challengeEndpoints: ['one-time', 'both'],
    signInLimits: new RequestLimits({
      perSource: { failures: { burst: 1000, perSecond: 1 } },
      perEndpoint: {},
    }),
    ndesPages: [
      {
        path: '/certsrv/mscep_admin',
        endpoint: 'one-time',
        caCertificate: certificates.issuing.raw,
        lifetimeMs: 3_600_000,
        encoding: 'utf-16le',
        thumbprint: 'md5',
      },
      {
        path: '/modern',
        endpoint: 'both',
        caCertificate: certificates.issuing.raw,
        lifetimeMs: 600_000,
        encoding: 'utf-8',
        thumbprint: 'sha256',
      },
    ],
    log: openLog('silent', 'admin'),
    clock: server.clock,
  };
  admin = await openAdminServer(options);
  for (const role of roles) tokens[role] = await tokenFor(role, [role]);
});
after(async () => {
  await admin.close();
  await server.close();
});

async function tokenFor(name: string, given: [Role, ...Role[]], endpoints?: string[]): Promise<string> {
  const { token } = await createAdminToken(
    server.store,
    server.clock,
    { name, roles: given, endpoints, lifetimeMs: DAY_MS },
    'operator test',
  );
  return token;
}

/** What becomes of a device that comes with this challenge. */
async function enrolWith(challengePassword: string) {
  const csr = parseCertificationRequest(await requestOf({ challengePassword }));
  return await server.ra.enrol({
    endpoint: 'one-time',
    transactionID: challengePassword,
    csr,
    challengePassword,
    source: 'test',
    receivedAt: server.clock.now(),
  });
}

/** A path of the route that could exist. */
const concrete = (path: string) =>
  path
    .replace('{endpoint}', 'one-time')
    .replace('{issuer}', 'issuing')
    .replace('{serialNumber}', 'ab')
    .replace('{id}', '999');

describe('nobody gets in', () => {
  const paths = [
    ...adminRoutes.map(({ method, path }) => [method, concrete(path)] as const),
    ['GET', '/admin/v1/openapi.json'] as const,
  ];
  const rows: readonly (readonly [name: string, field: () => string | undefined])[] = [
    ['without a token', () => undefined],
    ['with an empty one', () => 'Bearer '],
    ['with a name alone', () => 'Bearer administrator'],
    ['with a name and no secret', () => 'Bearer administrator.'],
    ['with a secret and no name', () => `Bearer ${tokens.administrator.replace(/^[^.]*/, '')}`],
    ['with another name before a right secret', () => `Bearer ${tokens.administrator.replace('a', 'b')}`],
    ['with another one’s secret', () => `Bearer administrator.${tokens.auditor.split('.')[1]}`],
    ['with one digit less', () => `Bearer ${tokens.administrator.slice(0, -1)}`],
    ['with one digit more', () => `Bearer ${tokens.administrator}A`],
    ['with the stored hash', () => `Bearer administrator.${hashOf(tokens.administrator)}`],
    ['with a right token twice', () => `Bearer ${tokens.administrator} ${tokens.administrator}`],
    ['with Basic where a bearer token belongs', () => basic(tokens.administrator)],
    ['with a name that steps out', () => "Bearer x' OR '1'='1.secret"],
    ['with a very long one', () => `Bearer ${'x'.repeat(8000)}`],
  ];
  for (const [name, field] of rows) {
    test(name, async () => {
      for (const [method, path] of paths) {
        const authorization = field();
        // There Basic belongs too; its own test is below.
        if (authorization?.startsWith('Basic') && path.includes('scep-challenge')) continue;
        const answer = await ask(admin, method, path, {
          ...(authorization === undefined ? {} : { headers: { authorization } }),
          ...(method === 'POST' ? { body: {} } : {}),
        });
        assertError(answer, 'token_refused', `${method} ${path}`);
        assert.match(String(answer.headers['www-authenticate']), /^Bearer realm=/);
      }
    });
  }

  test('with a token that has expired, or was deleted', async () => {
    const expired = await tokenFor('expired', ['administrator']);
    server.clock.offsetMs += DAY_MS + 1000;
    try {
      assertError(await ask(admin, 'GET', '/admin/v1/health', { token: expired }), 'token_refused');
    } finally {
      server.clock.offsetMs -= DAY_MS + 1000;
    }
    assert.equal((await ask(admin, 'GET', '/admin/v1/health', { token: expired })).status, 200);
    const [audit] = await auditIn(server, 1);
    assert.ok(audit);
    const { number: _, ...entry } = audit;
    await server.store.deleteAdminToken('expired', entry);
    assertError(await ask(admin, 'GET', '/admin/v1/health', { token: expired }), 'token_refused');
  });

  test('and what is tried is on record, without the secret', async () => {
    const [, secret = ''] = tokens.administrator.split('.');
    await ask(admin, 'GET', '/admin/v1/audit', { token: `nobody.${secret}` });
    const entry = (await auditIn(server)).find(({ event }) => event === 'admin.sign-in-refused');
    assert.equal(entry?.actor, 'unknown');
    assert.equal(entry?.detail.name, 'nobody');
    assert.equal(entry?.detail.source, '127.0.0.1');
    assert.ok(!JSON.stringify(await auditIn(server)).includes(secret));
  });
});

function hashOf(token: string): string {
  return createHash('sha256')
    .update(token.slice(token.indexOf('.') + 1))
    .digest('hex');
}

function basic(token: string, name = token.slice(0, token.indexOf('.'))): string {
  return `Basic ${Buffer.from(`${name}:${token.slice(token.indexOf('.') + 1)}`).toString('base64')}`;
}

describe('failed sign-ins', () => {
  test('are limited for each source, right tokens included, and the limit ends', async () => {
    let nowMs = 0;
    const limited = await openAdminServer({
      ...options,
      signInLimits: new RequestLimits(
        { perSource: { failures: { burst: 3, perSecond: 0.1 } }, perEndpoint: {} },
        () => nowMs,
      ),
    });
    try {
      const good = () => ask(limited, 'GET', '/admin/v1/health', { token: tokens.auditor });
      const bad = () => ask(limited, 'GET', '/admin/v1/health', { token: 'auditor.wrong' });
      // No token at all is no attempt.
      for (let n = 0; n < 10; n += 1)
        assert.equal((await ask(limited, 'GET', '/admin/v1/health')).status, 401);
      for (let n = 0; n < 3; n += 1) assert.equal((await bad()).status, 401);
      for (const answer of [await bad(), await good()]) {
        assertError(answer, 'rate_limited');
        assert.equal(answer.headers['retry-after'], '10');
      }
      const before = (await auditIn(server, 1000)).length;
      for (let n = 0; n < 5; n += 1) await bad();
      assert.equal((await auditIn(server, 1000)).length, before, 'the audit list does not grow meanwhile');
      nowMs += 10_000;
      assert.equal((await good()).status, 200);
    } finally {
      await limited.close();
    }
  });
});

describe('a role may do what stands in the table, and nothing else', () => {
  /** By hand, beside the table in the code: a slip in either is seen. */
  const permitted: Readonly<Record<string, readonly Role[]>> = {
    createChallenge: ['challenge-issuer', 'administrator'],
    scepChallenge: ['challenge-issuer', 'administrator'],
    listRequests: ['certificate-manager', 'auditor', 'administrator'],
    approveRequest: ['certificate-manager', 'administrator'],
    denyRequest: ['certificate-manager', 'administrator'],
    listCertificates: ['certificate-manager', 'auditor', 'administrator'],
    certificate: ['certificate-manager', 'auditor', 'administrator'],
    revokeCertificate: ['certificate-manager', 'administrator'],
    releaseCertificate: ['certificate-manager', 'administrator'],
    listAudit: ['auditor', 'administrator'],
    health: ['challenge-issuer', 'certificate-manager', 'auditor', 'monitor', 'administrator'],
  };

  test('every route stands in it', () => {
    assert.deepEqual(
      adminRoutes.map(({ operationId }) => operationId).toSorted(),
      Object.keys(permitted).toSorted(),
    );
  });

  for (const { method, path, operationId } of adminRoutes) {
    for (const role of roles) {
      const may = permitted[operationId]?.includes(role) === true;
      test(`${role} ${may ? 'may' : 'may not'} ${operationId}`, async () => {
        const answer = await ask(admin, method, concrete(path), {
          token: tokens[role],
          ...(method === 'POST' ? { body: {} } : {}),
        });
        if (may) assert.ok(![401, 403].includes(answer.status), JSON.stringify(answer.json));
        else {
          assertError(answer, 'access_denied');
          const entry = (await auditIn(server, 5)).find(({ event }) => event === 'admin.denied');
          assert.equal(entry?.actor, `token ${role}`);
        }
      });
    }
  }

  test('a word in the store that is no role gives nothing', async () => {
    const token = await tokenFor('stranger', ['root' as Role, 'constructor' as Role, '__proto__' as Role]);
    for (const { method, path } of adminRoutes)
      assertError(
        await ask(admin, method, concrete(path), { token, ...(method === 'POST' ? { body: {} } : {}) }),
        'access_denied',
      );
  });

  test('a token for some endpoints makes challenges for no other', async () => {
    const token = await tokenFor('bound', ['challenge-issuer'], ['both']);
    const create = (endpoint: string) =>
      ask(admin, 'POST', '/admin/v1/challenges', { token, body: { endpoint } });
    assertError(await create('one-time'), 'access_denied');
    assert.equal((await create('both')).status, 201);
    const page = await ask(admin, 'GET', '/certsrv/mscep_admin/', {
      headers: { authorization: basic(token) },
    });
    assertError(page, 'access_denied');
  });
});

describe('what came through a proxy, and so perhaps through the edge, is turned away', () => {
  for (const field of ['X-Forwarded-For', 'Forwarded', 'Via']) {
    test(field, async () => {
      for (const path of ['/admin/v1/health', '/certsrv/mscep_admin/', '/admin/v1/openapi.json']) {
        const answer = await ask(admin, 'GET', path, {
          token: tokens.administrator,
          headers: { [field]: '127.0.0.1' },
        });
        assertError(answer, 'path_denied');
      }
    });
  }
});

describe('the page that monitoring reads', () => {
  const mediaType = 'text/plain; version=0.0.4; charset=utf-8';
  const text = async () => '# all is counted\n';
  let forTokens: AdminServer;
  let forAll: AdminServer;
  before(async () => {
    forTokens = await openAdminServer({ ...options, metrics: { access: 'token', mediaType, text } });
    forAll = await openAdminServer({ ...options, metrics: { access: 'listener', mediaType, text } });
  });
  after(async () => {
    await forTokens.close();
    await forAll.close();
  });

  const metricsOf = (which: AdminServer, authorization?: string, headers: Record<string, string> = {}) =>
    ask(which, 'GET', '/metrics', {
      headers: { ...headers, ...(authorization === undefined ? {} : { authorization }) },
    });

  test('is not there unless it is wanted', async () => {
    assertError(await metricsOf(admin, `Bearer ${tokens.monitor}`), 'path_denied');
  });

  test('is for nobody without a bearer token', async () => {
    for (const field of [undefined, 'Bearer monitor.wrong', basic(tokens.monitor)])
      assertError(await metricsOf(forTokens, field), 'token_refused', field);
  });

  test('is for no token without a role', async () => {
    const token = await tokenFor('roleless', ['root' as Role]);
    assertError(await metricsOf(forTokens, `Bearer ${token}`), 'access_denied');
  });

  for (const role of roles)
    test(`is for ${role}, as for all who may read the health`, async () => {
      const answer = await metricsOf(forTokens, `Bearer ${tokens[role]}`);
      assert.equal(answer.status, 200);
      assert.equal(answer.headers['content-type'], mediaType);
      assert.equal(answer.headers['cache-control'], 'no-store');
      assert.equal(answer.body.toString(), '# all is counted\n');
    });

  test('is for whoever reaches the listener, if it is said so; and nothing else is', async () => {
    assert.equal((await metricsOf(forAll)).body.toString(), '# all is counted\n');
    assertError(await ask(forAll, 'GET', '/admin/v1/health'), 'token_refused');
  });

  test('is for nobody through a proxy, with a token or without', async () => {
    for (const field of ['x-forwarded-for', 'forwarded', 'via']) {
      const headers = { [field]: '127.0.0.1' };
      assertError(await metricsOf(forTokens, `Bearer ${tokens.monitor}`, headers), 'path_denied', field);
      assertError(await metricsOf(forAll, undefined, headers), 'path_denied', field);
    }
  });
});

describe('a request that is not what the route takes', () => {
  const rows: readonly (readonly [
    name: string,
    method: string,
    path: string,
    body: unknown,
    code: ErrorCode,
    message?: RegExp,
  ])[] = [
    ['no such route', 'GET', '/admin/v1/nothing', undefined, 'path_denied'],
    ['another method', 'DELETE', '/admin/v1/challenges', undefined, 'path_denied'],
    ['SCEP', 'GET', '/scep/one-time?operation=GetCACaps', undefined, 'path_denied'],
    ['no body', 'POST', '/admin/v1/challenges', undefined, 'request_malformed', /^endpoint: is missing$/],
    ['no JSON', 'POST', '/admin/v1/challenges', '{"endpoint"', 'request_malformed', /^the body is not JSON$/],
    [
      'a list',
      'POST',
      '/admin/v1/challenges',
      [],
      'request_malformed',
      /^the request: must be of type object$/,
    ],
    [
      'a field too many',
      'POST',
      '/admin/v1/challenges',
      { endpoint: 'one-time', x: 1 },
      'request_malformed',
      /x/,
    ],
    [
      'an endpoint that is not there',
      'POST',
      '/admin/v1/challenges',
      { endpoint: 'x' },
      'request_malformed',
      /“x”/,
    ],
    [
      'an endpoint without challenges',
      'POST',
      '/admin/v1/challenges',
      { endpoint: 'static' },
      'request_malformed',
    ],
    ['no minutes', 'POST', '/admin/v1/challenges', { endpoint: 'one-time', minutes: 0 }, 'request_malformed'],
    [
      'two years',
      'POST',
      '/admin/v1/challenges',
      { endpoint: 'one-time', minutes: 1_051_200 },
      'request_malformed',
    ],
    ['no name', 'POST', '/admin/v1/challenges', { endpoint: 'one-time', subject: 'x' }, 'name_malformed'],
    [
      'no alternative name',
      'POST',
      '/admin/v1/challenges',
      { endpoint: 'one-time', subjectAltName: ['x'] },
      'name_malformed',
    ],
    [
      'no purpose',
      'POST',
      '/admin/v1/challenges',
      { endpoint: 'one-time', extKeyUsage: ['all'] },
      'request_malformed',
      /clientAuth/,
    ],
    [
      'no SID',
      'POST',
      '/admin/v1/challenges',
      { endpoint: 'one-time', securityIdentifier: 'S-1' },
      'request_malformed',
    ],
    [
      'a device that steers a terminal',
      'POST',
      '/admin/v1/challenges',
      { endpoint: 'one-time', device: '\u001b[2J' },
      'request_malformed',
    ],
    [
      'a body without end',
      'POST',
      '/admin/v1/challenges',
      { endpoint: 'one-time', device: 'x'.repeat(70_000) },
      'request_too_large',
    ],
    ['too many rows', 'GET', '/admin/v1/certificates?limit=1001', undefined, 'request_malformed', /limit/],
    [
      'an unknown condition',
      'GET',
      '/admin/v1/certificates?subject=x',
      undefined,
      'request_malformed',
      /^the request: has no field “subject”$/,
    ],
    ['an unknown status', 'GET', '/admin/v1/certificates?status=x', undefined, 'request_malformed'],
    ['no serial number', 'GET', '/admin/v1/certificates/issuing/xyz', undefined, 'request_malformed'],
    [
      'a certificate that is not there',
      'GET',
      '/admin/v1/certificates/issuing/abcd',
      undefined,
      'certificate_unknown',
    ],
    [
      'the revocation of a certificate that is not there',
      'POST',
      '/admin/v1/certificates/issuing/abcd/revoke',
      { reason: 'superseded' },
      'certificate_unknown',
    ],
    [
      'a revocation without a reason',
      'POST',
      '/admin/v1/certificates/issuing/abcd/revoke',
      {},
      'request_malformed',
      /^reason: is missing: one of unspecified, keyCompromise, .*, privilegeWithdrawn$/,
    ],
    [
      'a revocation without a body',
      'POST',
      '/admin/v1/certificates/issuing/abcd/revoke',
      undefined,
      'request_malformed',
      /^reason: is missing/,
    ],
    [
      'a reason that is none',
      'POST',
      '/admin/v1/certificates/issuing/abcd/revoke',
      { reason: 'removeFromCRL' },
      'request_malformed',
      /^reason: must be one of unspecified, /,
    ],
    ['an approval of nothing', 'POST', '/admin/v1/requests/12345/approve', {}, 'request_unknown'],
    ['a denial of nothing', 'POST', '/admin/v1/requests/12345/deny', {}, 'request_unknown'],
    ['a request without number', 'POST', '/admin/v1/requests/x/deny', {}, 'request_malformed'],
    ['a URL that cannot be read', 'GET', '/admin/v1/certificates/%ff/ab', undefined, 'http_malformed'],
  ];
  for (const [name, method, path, body, code, message] of rows) {
    test(name, async () => {
      const answer = await ask(admin, method, path, {
        token: tokens.administrator,
        ...(body === undefined ? {} : { body }),
      });
      assertError(answer, code);
      if (message !== undefined) assert.match(answer.json.message, message);
    });
  }
});

test('a body of another type is refused with the type that is wanted', async () => {
  const answer = await fetch(`http://127.0.0.1:${admin.address.port}/admin/v1/challenges`, {
    method: 'POST',
    headers: { authorization: `Bearer ${tokens.administrator}`, 'content-type': 'text/plain' },
    body: '{ "endpoint": "one-time" }',
  });
  assert.equal(answer.status, 400);
  assert.match(((await answer.json()) as { message: string }).message, /Content-Type: application\/json/);
});

test('a store that does not answer is told in a word, and nothing of it', async () => {
  const broken = await openAdminServer({
    ...options,
    tokens: new Proxy(server.store, {
      get: (target, property) =>
        property === 'adminToken'
          ? () => Promise.reject(new PkiError('store_unavailable', 'disk /secret/place is full'))
          : Reflect.get(target, property),
    }),
  });
  try {
    const answer = await ask(broken, 'GET', '/admin/v1/health', { token: tokens.administrator });
    assertError(answer, 'store_unavailable');
    assert.ok(Number(answer.headers['retry-after']) > 0);
    assert.ok(!answer.body.includes('secret'));
  } finally {
    await broken.close();
  }
});

test('a no stays a no where it cannot be put on record, as on a standby', async () => {
  const standby = await openAdminServer({
    ...options,
    tokens: new Proxy(server.store, {
      get: (target, property) =>
        property === 'appendAudit'
          ? () => Promise.reject(new PkiError('store_unavailable', 'opened to be read'))
          : Reflect.get(target, property).bind(target),
    }),
  });
  try {
    assertError(
      await ask(standby, 'GET', '/admin/v1/health', { token: 'administrator.wrong' }),
      'token_refused',
    );
    assertError(
      await ask(standby, 'GET', '/admin/v1/audit', { token: tokens['challenge-issuer'] }),
      'access_denied',
    );
    assert.equal((await ask(standby, 'GET', '/admin/v1/health', { token: tokens.auditor })).status, 200);
  } finally {
    await standby.close();
  }
});

describe('challenges', () => {
  test('by the API enrol the device they are pinned to, once', async () => {
    const made = await ask(admin, 'POST', '/admin/v1/challenges', {
      token: tokens['challenge-issuer'],
      body: {
        endpoint: 'one-time',
        minutes: 5,
        device: 'printer-7',
        subject: 'CN=printer-7, O=Test',
        extKeyUsage: ['clientAuth'],
      },
    });
    assert.equal(made.status, 201, JSON.stringify(made.json));
    assert.equal(made.headers['cache-control'], 'no-store');
    const { challenge, expires } = made.json;
    assert.match(challenge, /^[0-9A-F]{40}$/);
    const leftMs = Date.parse(expires) - server.clock.now().getTime();
    assert.ok(leftMs > 4 * 60_000 && leftMs <= 5 * 60_000);

    const attempt = async (subject: string) => {
      const extensions = [extKeyUsageExtension([oid.clientAuth])];
      const csr = parseCertificationRequest(
        await requestOf({ subject, challengePassword: challenge, extensions }),
      );
      return server.ra.enrol({
        endpoint: 'one-time',
        transactionID: subject,
        csr,
        challengePassword: challenge,
        source: 'test',
        receivedAt: server.clock.now(),
      });
    };
    assert.partialDeepStrictEqual(await attempt('CN=printer-8,O=Test'), { code: 'subject_mismatch' });
    assert.equal((await attempt('CN=printer-7,O=Test')).outcome, 'issued');

    const entry = (await auditIn(server)).find(({ event }) => event === 'challenge.created');
    assert.equal(entry?.actor, 'token challenge-issuer');
    assert.partialDeepStrictEqual(entry?.detail, { device: 'printer-7', subject: 'CN=printer-7,O=Test' });
    assert.ok(!JSON.stringify(await auditIn(server)).includes(challenge));
  });

  test('are as many as are asked for: there is no cache of five', async () => {
    const answers = await Promise.all(
      Array.from({ length: 30 }, () =>
        ask(admin, 'POST', '/admin/v1/challenges', {
          token: tokens['challenge-issuer'],
          body: { endpoint: 'one-time' },
        }),
      ),
    );
    assert.equal(new Set(answers.map(({ json }) => json.challenge)).size, 30);
  });
});

describe('an MDM that sends Jamf’s event', () => {
  const event = (own: object = {}) => ({
    webhook: { webhookEvent: 'SCEPChallenge', id: 1, name: 'challenge', eventTimestamp: 1_780_000_000 },
    event: {
      scepServerUrl: 'https://scep.test/scep/one-time',
      payloadTypes: ['com.apple.security.scep'],
      ...own,
    },
  });
  const send = (path: string, body: unknown, authorization = basic(tokens['challenge-issuer'])) =>
    ask(admin, 'POST', `/admin/v1/scep-challenge/${path}`, { headers: { authorization }, body });

  test('gets none without a sign-in, for another event, another endpoint or a longer day', async () => {
    const nobody = await send('one-time', event(), basic(`${tokens['challenge-issuer']}x`));
    assertError(nobody, 'token_refused');
    assert.match(String(nobody.headers['www-authenticate']), /Bearer realm=.*Basic realm=/);
    assertError(await send('one-time', event(), basic(tokens.auditor)), 'access_denied');
    const other = { webhook: { webhookEvent: 'ComputerAdded' }, event: {} };
    assertError(await send('one-time', other), 'request_malformed');
    assertError(await send('one-time', {}), 'request_malformed');
    assertError(await send('static', event()), 'request_malformed');
    assertError(await send('one-time?minutes=1441', event()), 'request_malformed');
  });

  const devices: readonly (readonly [name: string, own: object, device: string])[] = [
    ['no device', {}, ''],
    ['a target device', { targetDevice: { serialNumber: 'C02-1', name: 'x' } }, 'C02-1'],
    ['a device', { device: { uuid: 'u', serialNumber: 'C02-2' } }, 'C02-2'],
    ['a device that steers a terminal', { device: { serialNumber: '\u001b[2J' } }, ''],
    ['a device of another shape', { targetDevice: 'C02-3' }, ''],
  ];
  for (const [name, own, device] of devices) {
    test(`gets a challenge, and nothing around it, that enrols: ${name}`, async () => {
      for (const authorization of [
        basic(tokens['challenge-issuer']),
        `Bearer ${tokens['challenge-issuer']}`,
      ]) {
        const answer = await send('one-time?minutes=5', event(own), authorization);
        assert.equal(answer.status, 200, JSON.stringify(answer.json));
        assert.equal(answer.headers['content-type'], 'text/plain; charset=utf-8');
        const challenge = answer.body.toString();
        assert.match(challenge, /^[0-9A-F]{40}$/);
        assert.equal((await enrolWith(challenge)).outcome, 'issued');
        const [entry] = await server.store.auditEntries({ event: 'challenge.', limit: 1 });
        assert.equal(entry?.detail.device, device);
        assert.equal(entry?.actor, 'token challenge-issuer');
      }
    });
  }
});

describe('the page of NDES', () => {
  const visit = (path: string, headers: Record<string, string> = {}, method = 'GET', body?: string) =>
    ask(admin, method, path, {
      headers: { authorization: basic(tokens['challenge-issuer']), ...headers },
      ...(body === undefined ? {} : { body }),
    });

  test('asks for name and password, and opens to nobody else', async () => {
    const bare = await ask(admin, 'GET', '/certsrv/mscep_admin/');
    assertError(bare, 'token_refused');
    assert.match(String(bare.headers['www-authenticate']), /^Basic realm=/);
    const refused = [
      `Bearer ${tokens['challenge-issuer']}`,
      basic(tokens['challenge-issuer'], 'administrator'),
      basic(`${tokens['challenge-issuer']}x`),
      `Basic ${Buffer.from(tokens['challenge-issuer']).toString('base64')}`,
      'Basic !',
      'NTLM TlRMTVNTUAAB',
    ];
    for (const authorization of refused)
      assertError(await visit('/certsrv/mscep_admin/', { authorization }), 'token_refused', authorization);
    const auditor = { authorization: basic(tokens.auditor) };
    assertError(await visit('/certsrv/mscep_admin/', auditor), 'access_denied');
  });

  test('makes nothing for another site, nor for who only looks whether it is there', async () => {
    const count = async () =>
      (await auditIn(server, 1000)).filter(({ event }) => event === 'challenge.created').length;
    const before = await count();
    for (const site of ['cross-site', 'same-site'])
      assertError(await visit('/certsrv/mscep_admin/', { 'sec-fetch-site': site }), 'access_denied');
    assert.equal((await visit('/certsrv/mscep_admin/', {}, 'HEAD')).status, 404);
    assert.equal(await count(), before);
    assert.equal((await visit('/certsrv/mscep_admin/', { 'sec-fetch-site': 'none' })).status, 200);
    assert.equal(await count(), before + 1);
  });

  test('is where tools look for it', async () => {
    const paths = [
      '/certsrv/mscep_admin',
      '/certsrv/mscep_admin/',
      '/CertSrv/mscep_admin/',
      '/certsrv/mscep_admin/mscep.dll',
      '/certsrv/mscep_admin/mscep.dll?operation=GetCACaps',
    ];
    for (const path of paths) assert.equal((await visit(path)).status, 200, path);
    const form = { 'content-type': 'application/x-www-form-urlencoded' };
    assert.equal((await visit('/certsrv/mscep_admin/', form, 'POST', 'operation=x')).status, 200);
  });

  test('is UTF-16LE without a mark, as NDES writes it', async () => {
    const { body, headers } = await visit('/certsrv/mscep_admin/');
    assert.equal(headers['content-type'], 'text/html; charset=utf-16le');
    assert.equal(headers['cache-control'], 'no-store');
    assert.deepEqual([...body.subarray(0, 4)], [0x3c, 0, 0x48, 0]);
  });

  // What public tools look for: a pattern, the text after a mark, the first long word of digits.
  const readers: readonly (readonly [name: string, read: (page: string) => string | undefined])[] = [
    [
      'a pattern up to the next space',
      (page) => /The enrollment challenge password is: <B> (\S*)/i.exec(page)?.[1],
    ],
    [
      'a pattern of 16 to 32 capitals and digits',
      (page) => /challenge password is: <B> ([A-Z0-9]{16,32}) <\/B>/.exec(page)?.[1],
    ],
    [
      'the part after the marks around it',
      (page) => {
        const parts = page.split('>');
        const at = parts.findIndex((part) => part.indexOf('The enrollment challenge password is: <B') === 1);
        return parts[at + 1]?.replace('</B', '').trim();
      },
    ],
    [
      'the first word that begins with sixteen digits',
      (page) => page.split(/\s+/).find((word) => /^[A-F0-9]{16}/.test(word)),
    ],
  ];
  for (const [name, read] of readers) {
    test(`is read by ${name}; each visit makes one challenge, which enrols`, async () => {
      const challenges: string[] = [];
      for (let n = 0; n < 7; n += 1) {
        const { body } = await visit('/certsrv/mscep_admin/');
        challenges.push(read(body.toString('utf16le')) ?? '');
      }
      assert.equal(new Set(challenges).size, 7);
      for (const challenge of challenges) assert.match(challenge, /^[0-9A-F]{32}$/);
      assert.equal((await enrolWith(challenges[6] ?? '')).outcome, 'issued');
    });
  }

  test('shows the thumbprint in groups of eight digits, and how long the challenge lives', async () => {
    const page = (await visit('/certsrv/mscep_admin/')).body.toString('utf16le');
    const md5 = createHash('md5').update(certificates.issuing.raw).digest('hex').toUpperCase();
    const shown = /The thumbprint \(hash value\) for the CA certificate is: <B> (.*) <\/B>/.exec(page)?.[1];
    assert.equal(shown, md5.match(/.{8}/g)?.join(' '));
    assert.match(page, /This password can be used only once and will expire within 60 minutes\./);
    const other = await visit('/modern');
    assert.equal(other.headers['content-type'], 'text/html; charset=utf-8');
    const sha256 = createHash('sha256').update(certificates.issuing.raw).digest('hex').toUpperCase();
    assert.ok(other.body.toString('utf8').includes(`<B> ${sha256.match(/.{8}/g)?.join(' ')} </B>`));
    assert.match(other.body.toString('utf8'), /within 10 minutes/);
  });

  test('hands out challenges that end with their time', async () => {
    const page = (await visit('/certsrv/mscep_admin/')).body.toString('utf16le');
    const challengePassword = /password is: <B> (\S*)/.exec(page)?.[1] ?? '';
    server.clock.offsetMs += 3_601_000;
    try {
      assert.partialDeepStrictEqual(await enrolWith(challengePassword), { code: 'challenge_expired' });
    } finally {
      server.clock.offsetMs -= 3_601_000;
    }
  });
});

describe('certificates', () => {
  const token = () => tokens['certificate-manager'];
  let serialNumber = '';
  beforeEach(async () => {
    await enrolWith(await server.challengeFor('one-time'));
    serialNumber = (await recordsIn(server))[0]?.serialNumber ?? '';
  });

  test('are listed by condition, page by page', async () => {
    const list = async (query: string) => {
      const answer = await ask(admin, 'GET', `/admin/v1/certificates${query}`, { token: token() });
      assert.equal(answer.status, 200, JSON.stringify(answer.json));
      return answer.json.certificates as { readonly id: number; readonly serialNumber: string }[];
    };
    const all = await list('');
    assert.equal(all[0]?.serialNumber, serialNumber);
    assert.ok(all.length > 1);
    const [newest] = await list('?limit=1');
    assert.equal((await list(`?limit=1&after=${newest?.id}`))[0]?.serialNumber, all[1]?.serialNumber);
    assert.deepEqual(await list('?template=absent'), []);
    const colons = serialNumber.toUpperCase().replaceAll(/(..)(?=.)/g, '$1:');
    assert.equal((await list(`?serialNumber=${colons}`)).length, 1);
    assert.ok(!('der' in (all[0] ?? {})));
  });

  test('are revoked once, on hold are released, and who did it is on record', async () => {
    const path = `/admin/v1/certificates/issuing/${serialNumber}`;
    const one = await ask(admin, 'GET', path, { token: token() });
    assert.equal(one.json.status, 'issued');
    assert.ok(one.json.der.length > 500);
    const act = async (what: string, body: object) =>
      (await ask(admin, 'POST', `${path}/${what}`, { token: token(), body })).json.status;
    assert.equal(await act('release', {}), 'not-held');
    assert.equal(await act('revoke', { reason: 'certificateHold' }), 'revoked');
    assert.equal(await act('release', {}), 'released');
    assert.equal(await act('revoke', { reason: 'keyCompromise', comment: 'lost in a train' }), 'revoked');
    assert.equal(await act('revoke', { reason: 'unspecified' }), 'already');
    const now = await ask(admin, 'GET', path, { token: token() });
    assert.partialDeepStrictEqual(now.json, { status: 'revoked', revocationReason: 'keyCompromise' });
    const [entry] = await server.store.auditEntries({ event: 'certificate.revoked', limit: 1 });
    assert.equal(entry?.actor, 'token certificate-manager');
    assert.match(entry?.text ?? '', /lost in a train/);
  });
});

describe('requests that wait', () => {
  const token = () => tokens['certificate-manager'];
  const list = async (query = '') =>
    (await ask(admin, 'GET', `/admin/v1/requests${query}`, { token: token() })).json.requests;

  test('are listed without what is sealed, and decided once', async () => {
    for (const name of ['a', 'b']) {
      const request = heldOf({
        requestID: `held-${name}`,
        replayKey: `key-${name}`,
        expiresAt: new Date(server.clock.now().getTime() + DAY_MS),
        sealed: Buffer.from('SEALED'),
      });
      const audit = { at: server.clock.now(), event: 'enrolment.held', actor: 'test', text: '' };
      await server.store.holdRequest({
        request,
        waitingMax: 10,
        audit: { ...audit, reference: '', code: '', detail: {} },
      });
    }
    const [b, a] = await list('?status=pending');
    assert.equal(b.subject, 'CN=held-b');
    assert.ok(!JSON.stringify([a, b]).includes('SEALED'));
    const decide = (id: number, what: string) =>
      ask(admin, 'POST', `/admin/v1/requests/${id}/${what}`, { token: token(), body: { comment: 'known' } });
    assert.deepEqual((await decide(a.id, 'approve')).json, { id: a.id, status: 'approved' });
    assertError(await decide(a.id, 'deny'), 'request_decided');
    assert.deepEqual((await decide(b.id, 'deny')).json, { id: b.id, status: 'denied' });
    assert.deepEqual(await list('?status=pending'), []);
    const [denied] = await list('?status=denied');
    assert.partialDeepStrictEqual(denied, { decidedBy: 'token certificate-manager', comment: 'known' });
    const [entry] = await server.store.auditEntries({ event: 'enrolment.denied', limit: 1 });
    assert.equal(entry?.actor, 'token certificate-manager');
  });
});

describe('the audit list', () => {
  const list = async (query: string) => {
    const answer = await ask(admin, 'GET', `/admin/v1/audit${query}`, { token: tokens.auditor });
    assert.equal(answer.status, 200, query);
    return answer.json.entries as { readonly number: number; readonly text: string }[];
  };

  test('is searched by the beginning of the event and by reference, and read page by page', async () => {
    for (const [event, reference, text] of [
      ['listed.first', 'LG-LISTED01', 'one'],
      ['listed.second', 'LG-LISTED02', 'two'],
      ['listed.second', 'LG-LISTED03', 'three'],
    ] as const)
      await server.store.appendAudit({
        at: server.clock.now(),
        event,
        actor: 'test',
        reference,
        code: '',
        text,
        detail: {},
      });
    const rows: readonly (readonly [query: string, texts: readonly string[]])[] = [
      ['?event=listed.', ['three', 'two', 'one']],
      ['?event=listed.second', ['three', 'two']],
      ['?event=nothing.', []],
      ['?reference=LG-LISTED02', ['two']],
      ['?reference=LG-NOBODY99', []],
      ['?event=listed.first&reference=LG-LISTED02', []],
      ['?event=listed.&limit=2', ['three', 'two']],
    ];
    for (const [query, texts] of rows)
      assert.deepEqual(
        (await list(query)).map(({ text }) => text),
        texts,
        query,
      );
    const [, second] = await list('?event=listed.&limit=2');
    assert.deepEqual(
      (await list(`?event=listed.&after=${second?.number}`)).map(({ text }) => text),
      ['one'],
    );
  });
});

describe('health', () => {
  test('is well, or names what is not', async () => {
    const health = () => ask(admin, 'GET', '/admin/v1/health', { token: tokens.auditor });
    assert.partialDeepStrictEqual((await health()).json, { status: 'ok', problems: [] });
    problems = ['the database does not answer'];
    try {
      assert.partialDeepStrictEqual((await health()).json, { status: 'alarm', problems });
    } finally {
      problems = [];
    }
  });
});

describe('the description', () => {
  test('is served to whoever is signed in, and names every route and no other', async () => {
    const answer = await ask(admin, 'GET', '/admin/v1/openapi.json', { token: tokens['challenge-issuer'] });
    assert.deepEqual(answer.json, JSON.parse(JSON.stringify(adminOpenApi())));
    const described = Object.entries(answer.json.paths as Record<string, object>).flatMap(
      ([path, operations]) => Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
    );
    assert.deepEqual(
      described.toSorted(),
      adminRoutes.map(({ method, path }) => `${method} ${path}`).toSorted(),
    );
    for (const { path, params } of adminRoutes) {
      const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      assert.deepEqual(inPath, Object.keys(params.shape), path);
    }
  });

  test('says what really comes', async () => {
    await enrolWith(await server.challengeFor('one-time'));
    const [record] = await recordsIn(server);
    const paths = [
      '/admin/v1/certificates?limit=1000',
      `/admin/v1/certificates/issuing/${record?.serialNumber}`,
      '/admin/v1/requests',
      '/admin/v1/audit?limit=1000',
      '/admin/v1/health',
    ];
    for (const path of paths) {
      const { json, status } = await ask(admin, 'GET', path, { token: tokens.administrator });
      assert.equal(status, 200, path);
      const route = adminRoutes.find(
        (item) =>
          item.method === 'GET' &&
          new RegExp(`^${item.path.replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(path.replace(/\?.*/, '')),
      );
      assert.ok(route, path);
      assert.ok(route.answer instanceof z.ZodObject);
      // Strict shapes: a field that is not described fails.
      assert.deepEqual(route.answer.safeParse(json).error?.issues, undefined, path);
    }
  });
});

test('speaks TLS with its certificate, and not plain HTTP there', async () => {
  const secure = await openAdminServer({ ...options, tls: tlsServer });
  try {
    const status = await new Promise((resolve, reject) => {
      httpsRequest(
        {
          host: '127.0.0.1',
          port: secure.address.port,
          path: '/admin/v1/health',
          ca: rootPem,
          agent: false,
          headers: { authorization: `Bearer ${tokens.auditor}` },
        },
        (incoming) => {
          incoming.resume();
          resolve(incoming.statusCode);
        },
      )
        .on('error', reject)
        .end();
    });
    assert.equal(status, 200);
    await assert.rejects(ask(secure, 'GET', '/admin/v1/health', { token: tokens.auditor }));
  } finally {
    await secure.close();
  }
  await assert.rejects(
    openAdminServer({ ...options, tls: { cert: 'x', key: 'y' } }),
    (thrown) => thrown instanceof PkiError && thrown.code === 'config_invalid',
  );
});

describe('a token is not made', () => {
  const order = { name: 'x', roles: ['auditor'], lifetimeMs: DAY_MS } as const;
  const rows = [
    ['without a name', { ...order, name: '' }],
    ['with a dot in its name', { ...order, name: 'a.b' }],
    ['with a name that is taken', { ...order, name: 'auditor' }],
    ['for no time', { ...order, lifetimeMs: 0 }],
    ['for ever', { ...order, lifetimeMs: Number.POSITIVE_INFINITY }],
  ] as const;
  for (const [name, wrong] of rows) {
    test(name, async () => {
      await assert.rejects(
        createAdminToken(server.store, server.clock, wrong, 'operator test'),
        (thrown) => thrown instanceof PkiError && thrown.code === 'request_malformed',
      );
    });
  }
});
