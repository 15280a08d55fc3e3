import assert from 'node:assert/strict';
import { request as httpsRequest } from 'node:https';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';
import {
  application,
  certificates,
  joinedDevice,
  keys,
  MovableClock,
  openTestMdm,
  requestFor,
  rootPem,
  tenant,
  testCertificate,
  tlsServer,
} from '../../test/support/mdm-fixture.ts';
import { buildPem } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { OpenMdm } from './index.ts';

const clock = new MovableClock();
let opened: OpenMdm;
before(async () => {
  opened = await openTestMdm({ clock });
});
after(() => opened.close());

interface Answer {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: what a server answers is looked at field by field
  readonly body: any;
  readonly headers: Headers;
}

async function call(path: string, init: RequestInit = {}): Promise<Answer> {
  const url = path.startsWith('http') ? path : `${opened.publicUrl}${path}`;
  const response = await fetch(url, { redirect: 'error', ...init });
  const text = await response.text();
  return {
    status: response.status,
    body: text === '' ? undefined : JSON.parse(text),
    headers: response.headers,
  };
}

const post = (path: string, body: unknown, headers: Record<string, string> = {}) =>
  call(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json; charset=utf-8', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });

// --- devices ----------------------------------------------------------------------------------------------------------

const joining = { deviceName: 'laptop', platform: 'linux', serialNumber: 'SN1' };

test('a device joins, checks in and reports', async () => {
  const { token } = await opened.mdm.createEnrolmentToken();
  const joined = await post('/enrolment', { ...joining, token });
  assert.equal(joined.status, 201);
  assert.deepEqual(Object.keys(joined.body).sort(), [
    'azureADDeviceId',
    'deviceId',
    'deviceName',
    'deviceToken',
  ]);
  const authorization = `Bearer ${joined.body.deviceToken}`;
  const first = await post('/checkin', {}, { authorization });
  assert.equal(first.status, 200);
  assert.deepEqual(
    first.body.profiles.map(({ profileId }: { profileId: string }) => profileId),
    ['root', 'intermediate', 'device-certificate'],
  );
  const scep = first.body.profiles[2];
  assert.equal(scep.version, 1);
  assert.deepEqual(scep.scepServerUrls, ['https://scep.example.com/scep/devices']);
  assert.match(scep.challenge, /^[A-Za-z0-9+/=]+$/);
  assert.ok(Date.parse(scep.challengeExpiresAt) > Date.now());
  const reported = await post(
    '/report',
    {
      profileId: scep.profileId,
      issuanceState: 'installed',
      thumbprint: 'ab'.repeat(20),
      serialNumber: '01',
      notAfter: '2031-01-01T00:00:00Z',
      eventId: 39,
    },
    { authorization },
  );
  assert.equal(reported.status, 204);
  assert.equal(opened.mdm.profileStates(joined.body.deviceId)[0]?.issuanceState, 'installed');
  const has = {
    profileId: scep.profileId,
    version: scep.version,
    thumbprint: 'AB'.repeat(20),
    notBefore: new Date().toISOString(),
    notAfter: new Date(Date.now() + 1e10).toISOString(),
  };
  const second = await post('/checkin', { installed: [has] }, { authorization });
  assert.equal(second.body.profiles[2].challenge, undefined);
});

const badJoins: readonly (readonly [name: string, body: unknown, status: number, error: string])[] = [
  ['no JSON', '{', 400, 'request_malformed'],
  ['an empty body', '', 400, 'request_malformed'],
  ['an array', [], 400, 'request_malformed'],
  ['prototype pollution', '{"__proto__":{"token":"x"}}', 400, 'request_malformed'],
  ['an unknown field', { ...joining, token: 'x', user: 'admin' }, 400, 'request_malformed'],
  ['a control character', { ...joining, token: 'x', deviceName: 'a\nb' }, 400, 'request_malformed'],
  ['a long name', { ...joining, token: 'x', deviceName: 'a'.repeat(65) }, 400, 'request_malformed'],
  ['an unknown platform', { ...joining, token: 'x', platform: 'os2' }, 400, 'request_malformed'],
  ['an unknown token', { ...joining, token: 'x' }, 401, 'token_refused'],
  ['2 MiB', { ...joining, token: 'x'.repeat(2 * 1024 * 1024) }, 413, 'request_too_large'],
];
for (const [name, body, status, error] of badJoins) {
  test(`POST /enrolment with ${name}: ${status} ${error}`, async () => {
    const answer = await post('/enrolment', body);
    assert.equal(answer.status, status);
    assert.equal(answer.body.error, error);
    assert.deepEqual(Object.keys(answer.body), ['error', 'message']);
  });
}

test('check-in and report need the device’s own token', async () => {
  const { token } = await opened.mdm.createEnrolmentToken();
  const { device, deviceToken } = await joinedDevice(opened, 'tokens');
  const intune = await accessToken(`${intuneResource}//.default`);
  for (const authorization of [
    '',
    'Bearer',
    'Bearer x',
    `Basic ${deviceToken}`,
    `Bearer ${token}`,
    `Bearer ${intune}`,
  ]) {
    for (const path of ['/checkin', '/report']) {
      const answer = await post(path, {}, { authorization });
      assert.equal(answer.status, 401, `${path} ${authorization}`);
      assert.equal(answer.body.error, 'token_refused');
    }
  }
  const authorization = `Bearer ${deviceToken}`;
  const forged = { profileId: 'device-certificate', issuanceState: 'challengeValidationSucceeded' };
  assert.equal((await post('/report', forged, { authorization })).status, 400);
  assert.equal((await post('/checkin', { installed: [{}] }, { authorization })).status, 400);
  assert.equal(opened.mdm.profileStates(device.deviceId)[0]?.issuanceState, 'challengeIssued');
});

test('other paths and methods are 404, in JSON', async () => {
  for (const [method, path] of [
    ['GET', '/'],
    ['GET', '/enrolment'],
    ['GET', '/checkin'],
    ['POST', '/devices'],
    ['GET', '/v1.0/users'],
    ['DELETE', '/report'],
  ] as const) {
    const answer = await call(path, { method });
    assert.equal(answer.status, 404, path);
    assert.equal(answer.body.error, 'path_denied');
  }
});

test('a path that cannot be decoded is 400 in our words, without the path', async () => {
  const answer = await call('/checkin/%');
  assert.equal(answer.status, 400);
  assert.equal(answer.body.error, 'http_malformed');
  assert.doesNotMatch(JSON.stringify(answer.body), /%/);
});

test('a request that is not HTTP gets no stack trace', async () => {
  const socket = connect(opened.address.port, '127.0.0.1');
  socket.end('\x16\x03\x01garbage\r\n\r\n');
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  const answer = Buffer.concat(chunks).toString();
  assert.match(answer, /^HTTP\/1.1 400 /);
  assert.doesNotMatch(answer, /at .*\.(ts|js)|node_modules/);
});

// --- Entra ------------------------------------------------------------------------------------------------------------

const intuneResource = 'https://api.manage.microsoft.com';
const credentials = () => ({
  grant_type: 'client_credentials',
  client_id: application.appId,
  client_secret: application.secret,
  scope: `${intuneResource}//.default`,
});

const tokenPath = `/${tenant}/oauth2/v2.0/token`;
const askToken = (fields: Record<string, string>, path = tokenPath) =>
  call(path, { method: 'POST', body: new URLSearchParams(fields) });

async function accessToken(scope: string): Promise<string> {
  const answer = await askToken({ ...credentials(), scope });
  assert.equal(answer.status, 200);
  return answer.body.access_token;
}

const { grant_type: _grant, ...noGrant } = credentials();
const { scope: _scope, ...noScope } = credentials();
const tokenRefusals: readonly (readonly [
  name: string,
  fields: Record<string, string>,
  status: number,
  error: string,
  number: number,
])[] = [
  ['a wrong secret', { ...credentials(), client_secret: 'wrong' }, 401, 'invalid_client', 7000215],
  ['an empty secret', { ...credentials(), client_secret: '' }, 401, 'invalid_client', 7000215],
  ['an unknown application', { ...credentials(), client_id: tenant }, 400, 'unauthorized_client', 700016],
  ['a single slash', { ...credentials(), scope: `${intuneResource}/.default` }, 400, 'invalid_scope', 70011],
  ['another scope', { ...credentials(), scope: 'openid' }, 400, 'invalid_scope', 70011],
  ['no scope', noScope, 400, 'invalid_request', 900144],
  ['no grant type', noGrant, 400, 'invalid_request', 900144],
  ['another grant', { ...credentials(), grant_type: 'password' }, 400, 'unsupported_grant_type', 70003],
];
for (const [name, fields, status, error, number] of tokenRefusals) {
  test(`the token endpoint refuses ${name}: ${error}`, async () => {
    const answer = await askToken(fields);
    assert.equal(answer.status, status);
    assert.equal(answer.body.error, error);
    assert.deepEqual(answer.body.error_codes, [number]);
    assert.match(answer.body.error_description, new RegExp(`^AADSTS${number}: `));
    assert.doesNotMatch(JSON.stringify(answer.body), new RegExp(application.secret.replace('.', '\\.')));
  });
}

test('the token endpoint refuses another tenant, and bodies that are no form', async () => {
  const other = await askToken(credentials(), '/other/oauth2/v2.0/token');
  assert.deepEqual([other.status, other.body.error_codes], [400, [90002]]);
  assert.equal((await call('/other/v2.0/.well-known/openid-configuration')).status, 400);
  assert.equal((await post(tokenPath, [credentials()])).status, 400);
});

test('openid-configuration names what MSAL asks for', async () => {
  const { body } = await call(`/${tenant}/v2.0/.well-known/openid-configuration`);
  assert.equal(body.issuer, `${opened.publicUrl}/${tenant}/v2.0`);
  assert.equal(body.token_endpoint, `${opened.publicUrl}${tokenPath}`);
});

// --- Graph and Intune -------------------------------------------------------------------------------------------------

const discovery = '/v1.0/servicePrincipals/appId=0000000a-0000-0000-c000-000000000000/endpoints';
const graphToken = () => accessToken(`${opened.publicUrl}/.default`);
const intuneToken = () => accessToken(`${intuneResource}//.default`);

async function action(
  name: string,
  body: unknown,
  headers: Record<string, string> = { 'api-version': '2018-02-20' },
): Promise<Answer> {
  const { body: found } = await call(discovery, {
    headers: { authorization: `Bearer ${await graphToken()}` },
  });
  const service = found.value.find(
    ({ providerName }: { providerName: string }) => providerName === 'ScepRequestValidationFEService',
  );
  return post(`${service.uri}/ScepActions/${name}`, body, {
    authorization: `Bearer ${await intuneToken()}`,
    ...headers,
  });
}

const inner = { transactionId: 't', certificateRequest: 'AAAA', callerInfo: 'test' };

test('a token opens its own audience alone, for an hour, unchanged', async () => {
  const gateway =
    '/RACerts/ScepRequestValidationFEService/Gateway/StatelessScepRequestValidationService/ScepActions/validateRequest';
  const ask = async (token: string) => {
    const authorization = `Bearer ${token}`;
    return {
      graph: (await call(discovery, { headers: { authorization } })).status,
      intune: (await post(gateway, { request: inner }, { authorization, 'api-version': '2018-02-20' }))
        .status,
    };
  };
  const { deviceToken } = await joinedDevice(opened, 'audience');
  const [graph, intune] = [await graphToken(), await intuneToken()];
  assert.deepEqual(await ask(graph), { graph: 200, intune: 401 });
  assert.deepEqual(await ask(intune), { graph: 401, intune: 200 });
  const [claims = '', mac = ''] = intune.split('.');
  const forged = Buffer.from(Buffer.from(claims, 'base64url').toString().replace('intune', 'graph'));
  for (const token of [
    'x',
    deviceToken,
    claims,
    `${claims}.`,
    `.${mac}`,
    `${claims}.${mac}.`,
    `${forged.toString('base64url')}.${mac}`,
    `${claims}.${graph.split('.')[1]}`,
  ]) {
    assert.deepEqual(await ask(token), { graph: 401, intune: 401 }, token);
  }
  clock.offsetMs += 60 * 60 * 1000;
  assert.deepEqual(await ask(graph), { graph: 401, intune: 401 });
  assert.deepEqual(await ask(intune), { graph: 401, intune: 401 });
  clock.offsetMs -= 60 * 60 * 1000;
});

test('SCEP actions need their api-version as a header', async () => {
  for (const headers of [{}, { 'api-version': '2018-02-21' }]) {
    const answer = await action('validateRequest', { request: inner }, headers as Record<string, string>);
    assert.equal(answer.status, 400);
    assert.equal(answer.body.error.code, 'BadRequest');
  }
});

const success = {
  ...inner,
  certificateThumbprint: 'AB'.repeat(20),
  certificateSerialNumber: '0A',
  certificateExpirationDateUtc: '2031-02-03T04:05:06.000Z',
  issuingCertificateAuthority: 'CN=Test',
};
const failure = { ...inner, hResult: -2146893792, errorDescription: 'x' };

const badBodies: readonly (readonly [name: string, action: string, body: unknown])[] = [
  ['no wrapper', 'validateRequest', inner],
  ['an unknown field', 'validateRequest', { request: { ...inner, more: 1 } }],
  ['no transactionId', 'validateRequest', { request: { ...inner, transactionId: '' } }],
  [
    'a thumbprint that is none',
    'successNotification',
    { notification: { ...success, certificateThumbprint: 'AB' } },
  ],
  [
    'a serial number with colons',
    'successNotification',
    { notification: { ...success, certificateSerialNumber: '0A:0B' } },
  ],
  [
    'a date without milliseconds',
    'successNotification',
    { notification: { ...success, certificateExpirationDateUtc: '2031-02-03T04:05:06Z' } },
  ],
  [
    'a date that is none',
    'successNotification',
    { notification: { ...success, certificateExpirationDateUtc: '2031-22-03T04:05:06.000Z' } },
  ],
  ['no issuer', 'successNotification', { notification: { ...success, issuingCertificateAuthority: '' } }],
  ['an hResult in text', 'failureNotification', { notification: { ...failure, hResult: '0x80090020' } }],
  ['33 bits', 'failureNotification', { notification: { ...failure, hResult: 0x1_0000_0000 } }],
  ['an empty description', 'failureNotification', { notification: { ...failure, errorDescription: '' } }],
  [
    'a long description',
    'failureNotification',
    { notification: { ...failure, errorDescription: 'x'.repeat(256) } },
  ],
];
for (const [name, actionName, body] of badBodies) {
  test(`${actionName} with ${name}: 400`, async () => {
    const answer = await action(actionName, body);
    assert.equal(answer.status, 400);
    assert.equal(answer.body.error.code, 'BadRequest');
  });
}

test('validateRequest, successNotification, failureNotification over the wire', async () => {
  const { device, profile } = await joinedDevice(opened, 'wire');
  const certificateRequest = Buffer.from(await requestFor(profile)).toString('base64');
  const garbage = await action('validateRequest', { request: inner });
  assert.equal(garbage.status, 200);
  assert.equal(garbage.body.code, 'CertificateRequestDecodingFailed');
  const validated = await action('validateRequest', { request: { ...inner, certificateRequest } });
  assert.deepEqual(validated.body, { code: 'Success', errorDescription: '' });
  const issued = await action('successNotification', {
    notification: { ...success, certificateRequest, caConfiguration: null, certificateAuthority: 'ca' },
  });
  assert.deepEqual(issued.body, { code: 'Success', errorDescription: '' });
  const failed = await action('failureNotification', { notification: { ...failure, certificateRequest } });
  assert.deepEqual(failed.body, { code: 'Success', errorDescription: '' });
  assert.deepEqual(
    opened.mdm.notifications(device.deviceId).map(({ kind }) => kind),
    ['failure', 'success'],
  );
});

test('a key that is away is 503 with Retry-After, in Intune’s shape, and no answer', async () => {
  const away = await openTestMdm({
    clock,
    challengeRecipient: {
      certificate: certificates.recipient,
      decrypt: () => Promise.reject(new PkiError('key_unavailable', 'slot 3 of the token is empty')),
    },
  });
  try {
    const { profile } = await joinedDevice(away, 'away');
    const certificateRequest = Buffer.from(await requestFor(profile)).toString('base64');
    const { access_token } = (await askToken(credentials(), `${away.publicUrl}${tokenPath}`)).body;
    const answer = await post(
      `${away.publicUrl}/RACerts/ScepRequestValidationFEService/Gateway/StatelessScepRequestValidationService/ScepActions/validateRequest`,
      { request: { ...inner, certificateRequest } },
      { authorization: `Bearer ${access_token}`, 'api-version': '2018-02-20' },
    );
    assert.equal(answer.status, 503);
    assert.equal(answer.headers.get('retry-after'), '10');
    assert.equal(answer.body.error.code, 'InternalError');
    assert.doesNotMatch(JSON.stringify(answer.body), /slot 3/);
  } finally {
    await away.close();
  }
});

// --- listening --------------------------------------------------------------------------------------------------------

test('an address in use, or a TLS key that is none, is said so', async () => {
  await assert.rejects(
    openTestMdm({ port: opened.address.port }),
    (thrown) => thrown instanceof PkiError && thrown.code === 'listen_failed',
  );
  await assert.rejects(
    openTestMdm({ tls: { cert: rootPem, key: 'none' } }),
    (thrown) => thrown instanceof PkiError && thrown.code === 'config_invalid',
  );
  assert.throws(
    () => opened.renewTls(tlsServer),
    (thrown) => thrown instanceof PkiError && thrown.code === 'config_invalid',
  );
});

test('HTTPS: served with the certificate given, and with its successor', async () => {
  const secure = await openTestMdm({ tls: tlsServer });
  const ask = () =>
    new Promise<{ status: number | undefined; peer: string }>((resolve, reject) => {
      httpsRequest(`${secure.publicUrl}/`, { ca: rootPem, agent: false }, (response) => {
        const peer = (response.socket as import('node:tls').TLSSocket).getPeerCertificate().fingerprint256;
        response.resume().on('end', () => resolve({ status: response.statusCode, peer }));
      })
        .on('error', reject)
        .end();
    });
  try {
    assert.match(secure.publicUrl, /^https:\/\/127\.0\.0\.1:\d+$/);
    const first = await ask();
    assert.equal(first.status, 404);
    const successor = await testCertificate({
      subject: 'CN=mdm 2',
      key: keys.tls,
      kind: 'tls',
      issuer: { certificate: certificates.root, key: keys.root },
    });
    secure.renewTls({ cert: buildPem('CERTIFICATE', successor.raw), key: keys.tls.pem });
    const second = await ask();
    assert.equal(second.status, 404);
    assert.notEqual(second.peer, first.peer);
  } finally {
    await secure.close();
  }
});
