import assert from 'node:assert/strict';
import { test } from 'node:test';
import { freePort } from '../../../lab/ports.ts';
import { IntunePeer, json, type PeerReply, tokenFor } from '../../../test/support/intune-peer.ts';
import {
  application,
  certificates,
  keys,
  openTestMdm,
  rootPem,
  tenant,
  tlsServer,
} from '../../../test/support/mdm-fixture.ts';
import { buildPem } from '../../codec/index.ts';
import type { ApplicationRegistration } from '../../mdm/index.ts';
import { checkIntune, type IntuneCheckOptions, type IntuneCheckResult } from './intune-check.ts';

async function check(url: string, changes: Partial<IntuneCheckOptions> = {}): Promise<IntuneCheckResult[]> {
  const results = await checkIntune({
    tenant,
    appId: application.appId,
    credential: { secret: application.secret },
    authority: url,
    graph: url,
    extraCa: rootPem,
    timeoutMs: 2000,
    providerNameAndVersion: 'Leafgate/test',
    revocation: 'wanted',
    ...changes,
  });
  assert.ok(!JSON.stringify(results).includes(application.secret));
  for (const { outcome, mend } of results) assert.equal(mend !== '', outcome === 'failed');
  return results;
}

const outcomes = (results: readonly IntuneCheckResult[]) =>
  results.map(({ step, outcome }) => `${step}: ${outcome}`).join(', ');

const afterSignIn =
  'permission of Intune: skipped, permission of Graph: skipped, discovery: skipped, validation service: skipped, revocation service: skipped';

const registrations: readonly (readonly [
  name: string,
  registration: Partial<ApplicationRegistration>,
  changes: Partial<IntuneCheckOptions>,
  outcomes: string,
  mend: RegExp,
])[] = [
  [
    'a wrong secret',
    {},
    { credential: { secret: 'wrong' } },
    `sign-in: failed, ${afterSignIn}`,
    /Value of the client secret/,
  ],
  [
    'an expired secret',
    { secretEnds: new Date(0) },
    {},
    `sign-in: failed, ${afterSignIn}`,
    /has expired.*New client secret/,
  ],
  [
    'an unknown application',
    {},
    { appId: tenant },
    `sign-in: failed, ${afterSignIn}`,
    /Application \(client\) ID/,
  ],
  ['an unknown tenant', {}, { tenant: 'other.example' }, `sign-in: failed, ${afterSignIn}`, /tenant/i],
  ['another cloud', {}, { cloud: 'usGov' }, `sign-in: failed, ${afterSignIn}`, /Set `cloud`/],
  [
    'a certificate authority that nobody trusts',
    {},
    { extraCa: undefined },
    `sign-in: failed, ${afterSignIn}`,
    /leads to no CA that this server trusts.*extraCa/,
  ],
  [
    'no consent for Intune',
    { roles: ['Application.Read.All'] },
    {},
    'sign-in: ok, permission of Intune: failed, permission of Graph: ok, discovery: ok, validation service: failed, revocation service: failed',
    /API permissions.*Intune.*scep_challenge_provider.*Grant admin consent/,
  ],
  [
    'no consent for Graph',
    { roles: ['scep_challenge_provider'] },
    {},
    'sign-in: ok, permission of Intune: ok, permission of Graph: failed, discovery: failed, validation service: skipped, revocation service: skipped',
    /Microsoft Graph.*Application\.Read\.All.*Grant admin consent/,
  ],
];
for (const [name, registration, changes, want, mend] of registrations) {
  test(`stand-in: ${name}`, async () => {
    const mdm = await openTestMdm({ tls: tlsServer, applications: [{ ...application, ...registration }] });
    try {
      const results = await check(mdm.publicUrl, changes);
      assert.equal(outcomes(results), want);
      assert.match(results.find(({ outcome }) => outcome === 'failed')?.mend ?? '', mend);
    } finally {
      await mdm.close();
    }
  });
}

test('who does not answer is named, with what is in the way', async () => {
  const port = await freePort();
  const peer = await new IntunePeer().open();
  peer.respondFirst = (path) => (path.endsWith('/endpoints') ? 'hang' : undefined);
  const silences: readonly (readonly [
    name: string,
    url: string,
    changes: Partial<IntuneCheckOptions>,
    step: string,
    detail: RegExp,
    mend: RegExp,
  ])[] = [
    [
      'nobody there',
      `https://127.0.0.1:${port}`,
      {},
      'sign-in',
      new RegExp(`^token: ECONNREFUSED from https://127\\.0\\.0\\.1:${port}$`),
      /TCP 443/,
    ],
    [
      'a name that cannot be there (RFC 2606 §2)',
      'https://login.invalid',
      {},
      'sign-in',
      /^token: E[A-Z_]+ from https:\/\/login\.invalid$/,
      /DNS/,
    ],
    [
      'a certificate that nobody trusts',
      peer.url,
      { extraCa: undefined },
      'sign-in',
      /^token: [A-Z_]+ from https/,
      /extraCa/,
    ],
    ['a Graph that hangs', peer.url, { timeoutMs: 300 }, 'discovery', /^timeout from https/, /TCP 443/],
  ];
  try {
    for (const [name, url, changes, step, detail, mend] of silences) {
      const failed = (await check(url, changes)).find(({ outcome }) => outcome === 'failed');
      assert.equal(failed?.step, step, name);
      assert.match(failed.detail, detail, name);
      assert.match(failed.mend, mend, name);
    }
  } finally {
    await peer.close();
  }
});

test('a tenant that Entra does not know is told by Entra’s number, though it is asked for its metadata alone', async () => {
  const mdm = await openTestMdm({ tls: tlsServer });
  try {
    const [signIn] = await check(mdm.publicUrl, { tenant: 'other.example' });
    assert.match(signIn?.detail ?? '', /^token: HTTP 400 [a-z_]+ AADSTS90002$/);
    assert.match(signIn?.mend ?? '', /^The tenant is not found/);
  } finally {
    await mdm.close();
  }
});

test('an application with a certificate: it is told when that ends', async () => {
  const peer = await new IntunePeer().open();
  try {
    const [signIn] = await check(peer.url, {
      credential: {
        certificate: buildPem('CERTIFICATE', certificates.signer.raw),
        privateKey: keys.signer.pem,
      },
    });
    assert.equal(signIn?.outcome, 'ok');
    assert.ok(signIn.detail.endsWith(`ends at ${certificates.signer.notAfter.toISOString()}`), signIn.detail);
  } finally {
    await peer.close();
  }
});

test('stand-in: all is well, with and without revocation; no request of anybody is touched', async () => {
  const mdm = await openTestMdm({ tls: tlsServer });
  try {
    await mdm.mdm.requestRevocation({ serialNumber: '0A', issuerName: 'CN=Somebody', action: 'revoke' });
    const results = await check(mdm.publicUrl);
    assert.equal(
      outcomes(results),
      'sign-in: ok, permission of Intune: ok, permission of Graph: ok, discovery: ok, validation service: ok, revocation service: ok',
    );
    assert.match(
      results[4]?.detail ?? '',
      /CertificateRequestDecodingFailed as it should \(client-request-id /,
    );
    assert.equal(mdm.mdm.revocationBacklog(), 1);
    assert.equal((await check(mdm.publicUrl, { revocation: 'unwanted' })).length, 5);
  } finally {
    await mdm.close();
  }
});

const peers: readonly (readonly [
  name: string,
  first: (path: string, body: string) => PeerReply | undefined,
  call: PeerReply,
  failed: string,
  mend: RegExp,
])[] = [
  [
    'a tenant without Intune',
    (path) => (path.endsWith('/endpoints') ? json(200, { value: [] }) : undefined),
    json(200, {}),
    'discovery',
    /no Intune licence/,
  ],
  [
    'a service that is not well',
    () => undefined,
    json(500, { error: { code: 'InternalError' } }),
    'validation service',
    /Service health/,
  ],
  [
    'a service that takes no token',
    () => undefined,
    json(401, ''),
    'validation service',
    /Grant admin consent/,
  ],
  [
    'a secret that has expired',
    (path) =>
      path.endsWith('/token')
        ? json(401, {
            error: 'invalid_client',
            error_description: 'AADSTS7000222: The provided client secret keys are expired.',
          })
        : undefined,
    json(200, {}),
    'sign-in',
    /has expired/,
  ],
  [
    'a number that we do not know',
    (path) =>
      path.endsWith('/token')
        ? json(400, { error: 'invalid_request', error_description: 'AADSTS999999: something new' })
        : undefined,
    json(200, {}),
    'sign-in',
    /Look AADSTS999999 up/,
  ],
  [
    'a token without roles',
    (path) =>
      path.endsWith('/token')
        ? json(200, { token_type: 'Bearer', expires_in: 3600, access_token: tokenFor('x', []) })
        : undefined,
    json(200, { code: 'Unknown' }),
    'permission of Intune',
    /Grant admin consent/,
  ],
];
for (const [name, first, call, failed, mend] of peers) {
  test(`peer: ${name}`, async () => {
    const peer = await new IntunePeer().open();
    peer.respondFirst = first;
    peer.respond = () => call;
    try {
      const result = (await check(peer.url)).find(({ outcome }) => outcome === 'failed');
      assert.equal(result?.step, failed);
      assert.match(result.mend, mend);
    } finally {
      await peer.close();
    }
  });
}
