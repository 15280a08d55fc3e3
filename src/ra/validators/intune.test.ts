import assert from 'node:assert/strict';
import { constants, createHash, createPublicKey, verify } from 'node:crypto';
import { after, afterEach, before, test } from 'node:test';
import { pino } from 'pino';
import {
  IntunePeer,
  json,
  type PeerReply,
  type PeerRequest,
  tokenFor,
} from '../../../test/support/intune-peer.ts';
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
  testRequest,
  tlsServer,
} from '../../../test/support/mdm-fixture.ts';
import { buildPem, parseCertificationRequest, thumbprintOf } from '../../codec/index.ts';
import { PkiError } from '../../errors.ts';
import type { OpenMdm } from '../../mdm/index.ts';
import { Metrics } from '../../metrics.ts';
import type { EnrolmentRequest } from '../validator.ts';
import { type IntuneValidator, type IntuneValidatorOptions, intuneValidator } from './intune.ts';
import { intuneClouds } from './intune-service.ts';

const intuneResource = 'https://api.manage.microsoft.com';
const transactionID = 'D5F7A8';
const logged: string[] = [];
const log = pino({ level: 'debug' }, { write: (line: string) => void logged.push(line) });
const accepted = { verdict: 'accept', names: 'vouched', directory: 'as-requested' };
const opened: IntuneValidator[] = [];
afterEach(async () => {
  for (const validator of opened.splice(0)) await validator.close();
});

function validatorFor(url: string, options: Partial<IntuneValidatorOptions> = {}): IntuneValidator {
  const validator = intuneValidator({
    tenant,
    appId: application.appId,
    credential: { secret: application.secret },
    providerNameAndVersion: 'Leafgate/0.1.0',
    authority: url,
    graph: url,
    extraCa: rootPem,
    log,
    ...options,
  });
  opened.push(validator);
  return validator;
}

function enrolmentFor(der: Uint8Array): EnrolmentRequest {
  const csr = parseCertificationRequest(der);
  return {
    endpoint: 'devices',
    transactionID,
    csr,
    challengePassword: csr.challengePassword ?? '',
    source: '192.0.2.1',
    receivedAt: new Date(),
  };
}

// --- against the built-in MDM, over HTTPS -------------------------------------------------------------------------------

const clock = new MovableClock();
let mdm: OpenMdm;
before(async () => {
  mdm = await openTestMdm({ tls: tlsServer, clock });
});
after(() => mdm.close());

const mapped: readonly (readonly [
  name: string,
  code: string,
  detail: string,
  change: (joined: Awaited<ReturnType<typeof joinedDevice>>) => Promise<Uint8Array>,
])[] = [
  [
    'no challenge',
    'challenge_missing',
    'ChallengePasswordMissing',
    ({ profile }) => requestFor(profile, { challengePassword: undefined }),
  ],
  [
    'a password',
    'challenge_invalid',
    'ChallengeDecodingError',
    ({ profile }) => requestFor(profile, { challengePassword: 'x' }),
  ],
  [
    'another device’s challenge',
    'challenge_foreign',
    'BadCertificateRequestIdInChallenge',
    async ({ profile }) => {
      const other = await joinedDevice(mdm, 'other');
      return requestFor(profile, { challengePassword: other.profile.challenge });
    },
  ],
  [
    'no subject',
    'subject_missing',
    'SubjectNameMissing',
    ({ profile }) => requestFor(profile, { subject: '' }),
  ],
  [
    'no names',
    'san_missing',
    'SubjectAltNameMissing',
    ({ profile }) => requestFor(profile, { subjectAltName: [] }),
  ],
  [
    'one name less',
    'san_mismatch',
    'SubjectAltNameMismatch',
    ({ profile }) => requestFor(profile, { subjectAltName: profile.subjectAltName.slice(1) }),
  ],
  [
    'no key usage',
    'key_usage_mismatch',
    'KeyUsageMismatch',
    ({ profile }) => requestFor(profile, { keyUsage: [] }),
  ],
  [
    'no purpose',
    'eku_mismatch',
    'EnhancedKeyUsageMissing',
    ({ profile }) => requestFor(profile, { extKeyUsage: [] }),
  ],
  [
    'another purpose',
    'eku_mismatch',
    'EnhancedKeyUsageMismatch',
    ({ profile }) => requestFor(profile, { extKeyUsage: ['1.3.6.1.5.5.7.3.1'] }),
  ],
  [
    'a retired device',
    'device_unknown',
    'BadDeviceIdInChallenge',
    async ({ device, profile }) => {
      await mdm.mdm.setDeviceState(device.deviceId, 'retired');
      return requestFor(profile);
    },
  ],
  [
    'a withdrawn profile',
    'profile_not_assigned',
    'ScepProfileNoLongerTargetedToTheClient',
    async ({ device, profile }) => {
      await mdm.mdm.excludeDevice(profile.profileId, device.deviceId);
      return requestFor(profile);
    },
  ],
];
for (const [name, code, detail, change] of mapped) {
  test(`MDM: ${name} is refused as ${code}`, async () => {
    const request = enrolmentFor(await change(await joinedDevice(mdm, 'refused')));
    const verdict = await validatorFor(mdm.publicUrl).validate(request);
    assert.equal(verdict.verdict, 'refuse');
    if (verdict.verdict !== 'refuse') return;
    assert.equal(verdict.code, code);
    assert.match(verdict.detail, new RegExp(`^${detail} \\(client-request-id [0-9a-f-]{36}\\)$`));
  });
}

test('MDM: an hour later the challenge is refused as expired', async () => {
  const request = enrolmentFor(await requestFor((await joinedDevice(mdm, 'late')).profile));
  clock.offsetMs += 60 * 60 * 1000;
  const verdict = await validatorFor(mdm.publicUrl).validate(request);
  clock.offsetMs -= 60 * 60 * 1000;
  assert.equal(verdict.verdict === 'refuse' && verdict.code, 'challenge_expired');
});

test('MDM: a certificate that nobody validated is not taken note of', async () => {
  const request = enrolmentFor(await requestFor((await joinedDevice(mdm, 'skipped')).profile));
  const verdict = await validatorFor(mdm.publicUrl).notifySuccess?.(request, certificates.issuing);
  assert.equal(verdict?.verdict === 'refuse' && verdict.code, 'challenge_foreign');
});

test('MDM: validate, then notify; the MDM knows the certificate', async () => {
  const { device, profile } = await joinedDevice(mdm, 'good');
  const request = enrolmentFor(await requestFor(profile));
  const validator = validatorFor(mdm.publicUrl);
  assert.equal(validator.name, 'intune');
  assert.equal(validator.challengeUse, 'single');
  assert.deepEqual(await validator.validate(request), accepted);
  assert.deepEqual(await validator.notifySuccess?.(request, certificates.issuing), {
    verdict: 'accept',
    names: 'vouched',
    directory: 'as-requested',
  });
  const [record] = mdm.mdm.notifications(device.deviceId);
  assert.deepEqual(record?.notification, {
    transactionId: transactionID,
    certificateThumbprint: thumbprintOf(certificates.issuing.raw),
    certificateSerialNumber: certificates.issuing.serialNumber.toUpperCase(),
    certificateExpirationDateUtc: certificates.issuing.notAfter.toISOString(),
    issuingCertificateAuthority: 'CN=Test Root,O=Test',
    callerInfo: 'Leafgate/0.1.0',
    caConfiguration: null,
    certificateAuthority: null,
  });
  await validator.notifyFailure?.(request, { hResult: 0x80090020, description: '  ' });
  await validator.notifyFailure?.(request, { hResult: -2146893792, description: 'y'.repeat(300) });
  assert.deepEqual(
    mdm.mdm
      .notifications(device.deviceId)
      .map(({ notification }) => notification)
      .slice(0, 2),
    [
      {
        transactionId: transactionID,
        hResult: -2146893792,
        errorDescription: 'y'.repeat(255),
        callerInfo: 'Leafgate/0.1.0',
      },
      {
        transactionId: transactionID,
        hResult: 0x80090020,
        errorDescription: 'no description',
        callerInfo: 'Leafgate/0.1.0',
      },
    ],
  );
});

test('MDM: a restart takes its tokens; the validator asks for new ones', async () => {
  const first = await openTestMdm({ tls: tlsServer });
  const { port } = first.address;
  const validator = validatorFor(first.publicUrl);
  const { profile } = await joinedDevice(first, 'restart');
  assert.equal((await validator.validate(enrolmentFor(await requestFor(profile)))).verdict, 'accept');
  await first.close();
  const second = await openTestMdm({ tls: tlsServer, port });
  const again = await joinedDevice(second, 'restart');
  const verdict = await validator.validate(enrolmentFor(await requestFor(again.profile)));
  await second.close();
  assert.deepEqual(verdict, accepted);
});

test('MDM: a wrong secret, tenant or resource never accepts, and the log keeps no secret', async () => {
  const { profile } = await joinedDevice(mdm, 'wrong');
  const der = await requestFor(profile);
  for (const [options, detail] of [
    [{ credential: { secret: 'wrong-secret-value' } }, /^token: invalid_client AADSTS7000215 /],
    [{ appId: tenant }, /^token: unauthorized_client AADSTS700016 /],
    [{ tenant: 'other' }, /^token: /],
    [{ intuneResource: 'https://api.manage.microsoft.us' }, /^token: invalid_scope AADSTS70011 /],
    [{ extraCa: undefined }, /^token: /],
  ] as const) {
    const verdict = await validatorFor(mdm.publicUrl, options).validate(enrolmentFor(der));
    assert.equal(verdict.verdict, 'unreachable');
    assert.match(verdict.verdict === 'unreachable' ? verdict.detail : '', detail);
  }
  const all = logged.join('');
  assert.ok(logged.length > 0);
  for (const secret of [
    application.secret,
    'wrong-secret-value',
    profile.challenge,
    Buffer.from(der).toString('base64'),
  ]) {
    assert.ok(!all.includes(secret.slice(0, 40)), secret.slice(0, 20));
  }
});

test('a base URL that is not https is refused at once', () => {
  for (const field of ['authority', 'graph', 'intuneResource'] as const) {
    for (const url of ['http://127.0.0.1:1', 'nonsense']) {
      assert.throws(
        () => validatorFor('https://127.0.0.1:1', { [field]: url }),
        (thrown) => thrown instanceof PkiError && thrown.code === 'config_invalid',
      );
    }
  }
});

// --- against a peer that misbehaves -------------------------------------------------------------------------------------

/** A peer that answers from lists. */
class Peer extends IntunePeer {
  /** Replies to SCEP actions, in order; the last one is repeated. */
  replies: PeerReply[] = [];
  /** Replies to discovery, in order; none left means the right one. */
  discoveries: PeerReply[] = [];
  tokens: PeerReply[] = [];

  constructor() {
    super();
    this.respondFirst = (path) => {
      if (path.endsWith('/token')) return this.tokens.shift();
      return path.endsWith('/endpoints') ? this.discoveries.shift() : undefined;
    };
    this.respond = () => (this.replies.length > 1 ? this.replies.shift() : this.replies[0]) ?? json(404, '');
  }

  actions(): PeerRequest[] {
    return this.seen.filter(({ path }) => path.includes('/ScepActions/'));
  }
}

let request: EnrolmentRequest;
before(async () => {
  request = enrolmentFor(
    await testRequest(keys.device, { subject: 'CN=x', challengePassword: 'the-challenge' }),
  );
});

async function withPeer(
  setUp: (peer: Peer) => void,
  act: (peer: Peer, validator: IntuneValidator) => Promise<void>,
  options: Partial<IntuneValidatorOptions> = {},
): Promise<void> {
  const peer = await new Peer().open();
  setUp(peer);
  try {
    await act(peer, validatorFor(peer.url, options));
  } finally {
    await peer.close();
  }
}

const success = json(200, { code: 'Success', errorDescription: '' });

test('whoever answers in Intune’s place cannot make up ever more names of counters', async () => {
  const metrics = new Metrics();
  const made = ['toString', ...Array.from({ length: 60 }, (_, index) => `Made_Up_${index}`)];
  const codes = [
    'ChallengeExpired',
    'no word at all',
    'x'.repeat(65),
    ...made,
    'ChallengeExpired',
    'Made_Up_0',
  ];
  await withPeer(
    (peer) => {
      peer.replies = codes.map((code) => json(200, { code, errorDescription: '' }));
    },
    async (_, validator) => {
      for (const code of codes) {
        const verdict = await validator.validate(request);
        const expected = code === 'ChallengeExpired' ? 'challenge_expired' : 'validator_refused';
        assert.equal(verdict.verdict === 'refuse' ? verdict.code : verdict.verdict, expected, code);
      }
    },
    { metrics },
  );
  const counted = (metrics.counts().leafgate_intune_results_total ?? []).map(
    ([values, [count]]) => [values.at(-1), count] as const,
  );
  // Intune's own word, fifty others, and one name for the rest.
  assert.equal(counted.length, 52);
  assert.deepEqual(
    counted.filter(([, count]) => count !== 1),
    [
      ['ChallengeExpired', 2],
      ['other', 2 + made.length - 50],
      ['Made_Up_0', 2],
    ],
  );
});

const misbehaviours: readonly (readonly [
  name: string,
  reply: PeerReply,
  verdict: 'refuse' | 'unreachable',
  detail: RegExp,
  calls: number,
])[] = [
  ['HTTP 200 with an unknown code', json(200, { code: 'NewlyInvented' }), 'refuse', /^NewlyInvented /, 1],
  ['HTTP 200 with the code Unknown', json(200, { code: 'Unknown' }), 'refuse', /^Unknown /, 1],
  ['HTTP 200 with “success” in small letters', json(200, { code: 'success' }), 'refuse', /^success /, 1],
  ['HTTP 200 with a name of Object’s', json(200, { code: 'constructor' }), 'refuse', /^constructor /, 1],
  [
    'HTTP 200 with a code that quotes us',
    json(200, { code: 'the-challenge was wrong' }),
    'refuse',
    /^a code that is not a word /,
    1,
  ],
  [
    'HTTP 200 without a code',
    json(200, { errorDescription: 'Success' }),
    'unreachable',
    /^HTTP 200 without a result code/,
    1,
  ],
  ['HTTP 200 with a code that is no text', json(200, { code: ['Success'] }), 'unreachable', /without/, 1],
  ['HTTP 200 with the text Success', json(200, '"Success"'), 'unreachable', /without/, 1],
  ['HTTP 200 with garbage', json(200, '<html>Success</html>'), 'unreachable', /without/, 1],
  ['HTTP 200 with nothing', json(200, ''), 'unreachable', /without/, 1],
  ['HTTP 204', json(204, ''), 'unreachable', /^HTTP 204/, 1],
  ['HTTP 201 with Success', json(201, { code: 'Success' }), 'unreachable', /^HTTP 201/, 1],
  ['HTTP 400 with a refusal', json(400, { code: 'ChallengeExpired' }), 'unreachable', /^HTTP 400/, 1],
  ['HTTP 302', json(302, '', { location: 'https://127.0.0.1:1/' }), 'unreachable', /^HTTP 302/, 1],
  ['HTTP 401, and again with a fresh token', json(401, ''), 'unreachable', /^HTTP 401/, 2],
  ['HTTP 403', json(403, ''), 'unreachable', /^HTTP 403/, 1],
  ['HTTP 404', json(404, ''), 'unreachable', /^HTTP 404/, 1],
  ['HTTP 429 for ever', json(429, '', { 'retry-after': '0' }), 'unreachable', /^HTTP 429/, 3],
  [
    'HTTP 500',
    json(500, { error: { code: 'InternalError', message: 'the-challenge' } }),
    'unreachable',
    /^HTTP 500 InternalError \(/,
    1,
  ],
  [
    'HTTP 503 with Success',
    json(503, { code: 'Success' }, { 'retry-after': '0' }),
    'unreachable',
    /^HTTP 503/,
    3,
  ],
  ['a dropped connection', 'drop', 'unreachable', /^ECONNRESET/, 3],
  ['no answer', 'hang', 'unreachable', /^timeout/, 1],
  ['half an answer', 'hang in the middle', 'unreachable', /^timeout/, 1],
  ['an endless answer', json(200, 'x'.repeat(2 * 1024 * 1024)), 'unreachable', /^response too large/, 1],
];
for (const [name, reply, want, detail, calls] of misbehaviours) {
  test(`peer: ${name}: ${want}`, async () => {
    await withPeer(
      (peer) => {
        peer.replies = [reply];
      },
      async (peer, validator) => {
        const from = logged.length;
        const verdict = await validator.validate(request);
        assert.equal(verdict.verdict, want);
        assert.match(verdict.detail, detail);
        if (verdict.verdict === 'refuse') assert.equal(verdict.code, 'validator_refused');
        assert.equal(peer.actions().length, calls);
        const line = logged.slice(from).join('');
        assert.ok(line.includes(transactionID) && !line.includes('the-challenge'));
      },
      { timeoutMs: 1000 },
    );
  });
}

test('peer: 429, 503 and a reset pass; Retry-After is honoured', async () => {
  for (const passes of [
    () => json(429, '', { 'retry-after': '1' }),
    () => json(503, '', { 'retry-after': new Date(Date.now() + 2500).toUTCString() }),
    () => 'drop' as const,
  ]) {
    const passing = passes();
    await withPeer(
      (peer) => {
        peer.replies = [passing, success];
      },
      async (peer, validator) => {
        const started = performance.now();
        assert.deepEqual(await validator.validate(request), accepted);
        assert.equal(peer.actions().length, 2);
        if (passing !== 'drop') assert.ok(performance.now() - started >= 900);
        // One call, one activity id, also when it is repeated.
        assert.equal(new Set(peer.actions().map(({ headers }) => headers['client-request-id'])).size, 1);
      },
    );
  }
});

test('peer: a pause beyond the budget is not waited for', async () => {
  await withPeer(
    (peer) => {
      peer.replies = [json(429, '', { 'retry-after': '3600' }), success];
    },
    async (peer, validator) => {
      const verdict = await validator.validate(request);
      assert.equal(verdict.verdict, 'unreachable');
      assert.equal(peer.actions().length, 1);
    },
  );
});

test('peer: the budget bounds token, discovery and call together', async () => {
  for (const setUp of [
    (peer: Peer) => {
      peer.tokens = ['hang', 'hang', 'hang'];
    },
    (peer: Peer) => {
      peer.discoveries = ['hang', 'hang'];
    },
    (peer: Peer) => {
      peer.replies = [json(503, '')];
    },
  ]) {
    await withPeer(
      setUp,
      async (_peer, validator) => {
        const started = performance.now();
        const verdict = await validator.validate(request);
        assert.equal(verdict.verdict, 'unreachable');
        assert.ok(performance.now() - started < 5000);
      },
      { budgetMs: 1400 },
    );
  }
});

test('peer: exact path, headers and body', async () => {
  await withPeer(
    (peer) => {
      peer.replies = [success];
    },
    async (peer, validator) => {
      await validator.validate(request);
      await validator.notifySuccess?.(request, certificates.issuing);
      const [validated, notified] = peer.actions();
      assert.equal(validated?.path, '/scep/ScepActions/validateRequest');
      assert.equal(validated?.method, 'POST');
      assert.equal(validated?.headers['content-type'], 'application/json; charset=utf-8');
      assert.equal(validated?.headers['api-version'], '2018-02-20');
      assert.equal(validated?.headers.authorization, `Bearer ${tokenFor(`${intuneResource}//.default`)}`);
      assert.match(
        String(validated?.headers['client-request-id']),
        /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
      );
      assert.notEqual(validated?.headers['client-request-id'], notified?.headers['client-request-id']);
      assert.deepEqual(JSON.parse(validated?.body ?? ''), {
        request: {
          transactionId: transactionID,
          certificateRequest: Buffer.from(request.csr.raw).toString('base64'),
          callerInfo: 'Leafgate/0.1.0',
        },
      });
      assert.equal(notified?.path, '/scep/ScepActions/successNotification');
      const discovery = peer.seen.find(({ path }) => path.endsWith('/endpoints'));
      assert.equal(
        discovery?.path,
        '/v1.0/servicePrincipals/appId=0000000a-0000-0000-c000-000000000000/endpoints',
      );
      assert.equal(discovery?.headers.authorization, `Bearer ${tokenFor(`${peer.url}/.default`)}`);
      const tokens = peer.seen.filter(({ path }) => path.endsWith('/token'));
      assert.equal(tokens.length, 2);
      const form = new URLSearchParams(tokens[0]?.body);
      assert.equal(form.get('grant_type'), 'client_credentials');
      assert.equal(form.get('client_secret'), application.secret);
    },
  );
});

test('peer: many at a time share one discovery and one token of each kind', async () => {
  await withPeer(
    (peer) => {
      peer.replies = [success];
    },
    async (peer, validator) => {
      const verdicts = await Promise.all(Array.from({ length: 20 }, () => validator.validate(request)));
      assert.ok(verdicts.every(({ verdict }) => verdict === 'accept'));
      assert.equal(peer.actions().length, 20);
      assert.equal(peer.seen.filter(({ path }) => path.endsWith('/endpoints')).length, 1);
      assert.equal(peer.seen.filter(({ path }) => path.endsWith('/token')).length, 2);
    },
  );
});

test('peer: discovery is asked again after a day, a 401, 404, 410, a redirect, a 5xx and no response, not after a 400', async () => {
  const movable = new MovableClock();
  await withPeer(
    () => {},
    async (peer, validator) => {
      const asked = async (reply: PeerReply) => {
        peer.replies = [reply];
        await validator.validate(request);
        return peer.seen.filter(({ path }) => path.endsWith('/endpoints')).length;
      };
      assert.equal(await asked(success), 1);
      assert.equal(await asked(success), 1);
      assert.equal(await asked(json(400, '')), 1);
      let expected = 1;
      // Asked at once, and the answer, which says the same, is remembered.
      for (const status of [401, 404, 410, 308]) {
        expected += 1;
        assert.equal(await asked(json(status, '')), expected, String(status));
        assert.equal(await asked(success), expected, String(status));
      }
      // Somebody was there: the next request asks.
      for (const reply of [json(500, ''), 'drop'] as const) {
        assert.equal(await asked(reply), expected);
        expected += 1;
        assert.equal(await asked(success), expected);
      }
      movable.offsetMs += 24 * 60 * 60 * 1000;
      assert.equal(await asked(success), expected + 1);
    },
    { clock: movable },
  );
});

const moves: readonly (readonly [name: string, reply: PeerReply | 'nobody'])[] = [
  ['answers 401', json(401, '')],
  ['answers 404', json(404, '')],
  ['answers 410', json(410, '')],
  ['redirects', json(302, '', { location: 'https://127.0.0.1:1/' })],
  ['is gone from the DNS', 'nobody'],
];
for (const [name, reply] of moves) {
  test(`peer: a scale unit that ${name}: the request goes to the new one at once`, async () => {
    const newUnit = await new Peer().open();
    newUnit.replies = [success];
    try {
      await withPeer(
        (peer) => {
          const at = (uri: string) =>
            json(200, { value: [{ providerName: 'scepREQUESTvalidationFEService', uri }] });
          // A name that cannot be there (RFC 2606 §2).
          const old = reply === 'nobody' ? 'https://unit.invalid/old' : `${peer.url}/old`;
          peer.discoveries = [at(old), at(`${newUnit.url}/new`)];
          if (reply !== 'nobody') peer.replies = [reply];
        },
        async (_peer, validator) => {
          assert.deepEqual(await validator.validate(request), accepted);
          assert.equal(newUnit.actions()[0]?.path, '/new/ScepActions/validateRequest');
          assert.deepEqual(await validator.validate(request), accepted);
          assert.equal(newUnit.actions().length, 2);
        },
      );
    } finally {
      await newUnit.close();
    }
  });
}

test('peer: a certificate in the place of a secret: the assertion names it and is signed by its key', async () => {
  const credential = {
    certificate: buildPem('CERTIFICATE', certificates.signer.raw),
    privateKey: keys.signer.pem,
  };
  await withPeer(
    (peer) => {
      peer.replies = [success];
    },
    async (peer, validator) => {
      assert.deepEqual(await validator.validate(request), accepted);
      const [asked] = peer.seen.filter(({ path }) => path.endsWith('/token'));
      const form = new URLSearchParams(asked?.body);
      assert.equal(form.get('client_secret'), null);
      assert.equal(
        form.get('client_assertion_type'),
        'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      );
      const [head = '', claims = '', signature = ''] = (form.get('client_assertion') ?? '').split('.');
      const header = JSON.parse(Buffer.from(head, 'base64url').toString()) as Record<string, string>;
      assert.equal(
        header['x5t#S256'],
        createHash('sha256').update(certificates.signer.raw).digest('base64url'),
      );
      const said = JSON.parse(Buffer.from(claims, 'base64url').toString()) as Record<string, string>;
      assert.equal(said.iss, application.appId);
      const key = createPublicKey({
        key: Buffer.from(certificates.signer.spki),
        format: 'der',
        type: 'spki',
      });
      const padding =
        header.alg === 'PS256' ? { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 } : {};
      assert.ok(
        verify(
          'sha256',
          Buffer.from(`${head}.${claims}`),
          { key, ...padding },
          Buffer.from(signature, 'base64url'),
        ),
        String(header.alg),
      );
      const secretPart = keys.signer.pem.split('\n')[5] ?? '';
      assert.ok(secretPart.length > 20 && !logged.join('').includes(secretPart));
    },
    { credential },
  );
});

test('a certificate that cannot be read is refused at once', () => {
  assert.throws(
    () => validatorFor('https://127.0.0.1:1', { credential: { certificate: 'x', privateKey: '' } }),
    (thrown) => thrown instanceof PkiError && thrown.code === 'config_invalid',
  );
});

test('a cloud is one word; no URL of another one is left', () => {
  for (const [cloud, urls] of Object.entries(intuneClouds)) {
    for (const url of Object.values(urls)) assert.equal(new URL(url).origin, url, cloud);
    if (cloud !== 'public') assert.ok(!Object.values(urls).some((url) => url.endsWith('.com')), cloud);
  }
});

const badDiscoveries: readonly (readonly [name: string, reply: PeerReply])[] = [
  ['an empty list', json(200, { value: [] })],
  ['no list', json(200, {})],
  ['garbage', json(200, '<html>')],
  ['null in the list', json(200, { value: [null, 1, 'x'] })],
  ['another service alone', json(200, { value: [{ providerName: 'Other', uri: 'https://127.0.0.1:1/' }] })],
  [
    'an http address',
    json(200, { value: [{ providerName: 'ScepRequestValidationFEService', uri: 'http://127.0.0.1:1/' }] }),
  ],
  ['no address', json(200, { value: [{ providerName: 'ScepRequestValidationFEService' }] })],
  ['HTTP 403', json(403, { error: { code: 'Authorization_RequestDenied' } })],
];
for (const [name, reply] of badDiscoveries) {
  test(`peer: discovery with ${name}: unreachable, and asked again next time`, async () => {
    await withPeer(
      (peer) => {
        peer.discoveries = [reply];
        peer.replies = [success];
      },
      async (peer, validator) => {
        const verdict = await validator.validate(request);
        assert.equal(verdict.verdict, 'unreachable');
        assert.match(verdict.verdict === 'unreachable' ? verdict.detail : '', /^service discovery: /);
        assert.equal(peer.actions().length, 0);
        assert.equal((await validator.validate(request)).verdict, 'accept');
      },
    );
  });
}

test('peer: serviceName serves where providerName is absent', async () => {
  await withPeer(
    (peer) => {
      peer.replies = [success];
      peer.discoveries = [
        json(200, {
          value: [
            { serviceName: 'screqx' },
            { serviceName: 'ScepRequestValidationFEService', uri: `${peer.url}/named` },
          ],
        }),
      ];
    },
    async (peer, validator) => {
      assert.equal((await validator.validate(request)).verdict, 'accept');
      assert.equal(peer.actions()[0]?.path, '/named/ScepActions/validateRequest');
    },
  );
});

test('peer: a token answer that is none is unreachable', async () => {
  for (const reply of [
    json(200, '<html>'),
    json(200, {}),
    json(400, { error: 'invalid_client', error_description: `AADSTS7000222: ${application.secret}` }),
    'drop' as const,
  ]) {
    await withPeer(
      (peer) => {
        peer.tokens = [reply, reply, reply];
        peer.replies = [success];
      },
      async (peer, validator) => {
        const verdict = await validator.validate(request);
        assert.equal(verdict.verdict, 'unreachable');
        assert.ok(!JSON.stringify(verdict).includes(application.secret));
        assert.equal(peer.actions().length, 0);
      },
    );
  }
  assert.ok(!logged.join('').includes(application.secret));
});

test('peer: nobody there is unreachable, for validate and for notify; notifyFailure stays silent', async () => {
  const peer = await new Peer().open();
  await peer.close();
  const validator = validatorFor(peer.url);
  assert.equal((await validator.validate(request)).verdict, 'unreachable');
  assert.equal((await validator.notifySuccess?.(request, certificates.issuing))?.verdict, 'unreachable');
  await validator.notifyFailure?.(request, { hResult: -1, description: 'x' });
});
