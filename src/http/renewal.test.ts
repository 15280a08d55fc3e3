import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  auditIn,
  FixtureClock as Clock,
  certificates,
  DAY_MS,
  type EndpointName,
  enrolAt,
  enrolled,
  exchange,
  type FixtureClock,
  inDays,
  issuer,
  keys,
  type MessageFields,
  type MessageSigner,
  newRsaKey,
  openTestServer,
  type RequestFields,
  recordsIn,
  requestOf,
  selfSigned,
  staticSecret,
  type TestServer,
} from '../../test/support/authorities-fixture.ts';
import { failureMoments, StoreFailures } from '../../test/support/failing-store.ts';
import { createIssuing } from '../ca/index.ts';
import {
  buildCertificate,
  type Certificate,
  type GeneralName,
  generalNamesToString,
  nameFromString,
  nameToString,
  parseCertificate,
  parseCertificationRequest,
  securityIdentifierOf,
  subjectAltNameExtension,
  subjectAltNameOf,
  verifyCertificateSignature,
} from '../codec/index.ts';
import type { ErrorCode } from '../errors.ts';
import type { RenewalPolicy } from '../ra/index.ts';
import { buildIssuerAndSubject } from '../scep/index.ts';

const byCertificate: RenewalPolicy = { challenge: 'notNeeded', key: 'changedOrSame', names: 'asBefore' };
const byBoth: RenewalPolicy = { ...byCertificate, challenge: 'required' };
const dialects = ['RenewalReq', 'PKCSReq'] as const;
type Dialect = (typeof dialects)[number];

/** Within the template's renewal period of a certificate that is issued now. */
const IN_WINDOW_MS = 340 * DAY_MS;
/** A key that devices renew to. */
const freshKey = await newRsaKey();

const dns = (value: string): GeneralName => ({ type: 'dNSName', value });
const upn = (value: string): GeneralName => ({ type: 'userPrincipalName', value });
const alternatively = (...names: readonly GeneralName[]): RequestFields => ({
  extensions: [subjectAltNameExtension(names, nameFromString('CN=x'))],
});

let transactions = 0;
function freshTransaction(): string {
  transactions += 1;
  return `transaction ${transactions}`;
}

/** Runs a test on a server of its own; its clock begins now. */
async function withServer(
  options: Parameters<typeof openTestServer>[0],
  body: (server: TestServer, clock: FixtureClock) => Promise<void>,
): Promise<void> {
  const clock = new Clock();
  const server = await openTestServer({ clock, ...options });
  try {
    await body(server, clock);
  } finally {
    await server.close();
  }
}

/** Asks for a new certificate, signed with an old one. */
async function renewAt(
  server: TestServer,
  messageType: Dialect,
  signer: MessageSigner,
  fields: RequestFields = {},
  more: MessageFields & { readonly endpoint?: EndpointName } = {},
) {
  const csr = await requestOf({ key: freshKey, ...fields });
  const { endpoint = 'static', ...message } = more;
  return await enrolAt(server, endpoint, {
    csr,
    messageType,
    signer,
    transactionID: freshTransaction(),
    ...message,
  });
}

/** Asserts that nothing was issued, and why: by the reference in the answer. */
async function assertRefused(
  server: TestServer,
  code: ErrorCode,
  act: () => ReturnType<typeof renewAt>,
): Promise<void> {
  const before = (await recordsIn(server)).length;
  const certRep = await act();
  assert.equal(certRep.pkiStatus, 'FAILURE', JSON.stringify(certRep));
  assert.equal(certRep.failInfo, 'badRequest');
  const [, reference] = /\((LG-[A-Z0-9]{8})\)$/.exec(certRep.failInfoText ?? '') ?? [];
  const [entry] = await auditIn(server, 1);
  assert.deepEqual([entry?.code, entry?.reference], [code, reference]);
  assert.equal((await recordsIn(server)).length, before);
}

function certificateIn(certRep: Awaited<ReturnType<typeof renewAt>>): Certificate {
  assert.equal(certRep.pkiStatus, 'SUCCESS', JSON.stringify(certRep));
  assert.equal(certRep.certificates.length, 1);
  return certRep.certificates[0] as Certificate;
}

/** A certificate that says what another one says, but for some parts, signed by whoever. */
async function imitated(
  original: Certificate,
  own: { readonly issuer?: string; readonly spki?: Uint8Array },
): Promise<Certificate> {
  const { serialNumber, notBefore, notAfter, subject, spki, extensions } = original;
  const raw = await buildCertificate(
    {
      ...{ serialNumber, notBefore, notAfter, subject, spki, extensions },
      issuer: original.issuer,
      signatureAlgorithm: 'rsa-sha256',
      ...(own.issuer === undefined ? {} : { issuer: nameFromString(own.issuer) }),
      ...(own.spki === undefined ? {} : { spki: own.spki }),
    },
    keys.other.signs,
  );
  return parseCertificate(raw);
}

for (const dialect of dialects) {
  describe(`renewal by ${dialect}`, () => {
    /** What is done to a device before it renews, what it then asks for, and why it does not get it. */
    const rows: readonly (readonly [
      name: string,
      code: Readonly<Record<Dialect, ErrorCode>> | ErrorCode,
      act: (
        server: TestServer,
        old: MessageSigner,
        clock: FixtureClock,
      ) => Promise<{ readonly signer?: MessageSigner; readonly fields?: RequestFields } | undefined>,
      policy?: Partial<RenewalPolicy>,
    ])[] = [
      [
        'a revoked certificate',
        'renewal_revoked',
        async ({ ca }, { certificate }) => {
          const { serialNumber } = certificate;
          await ca.revoke({
            issuer: 'issuing',
            serialNumber,
            reason: 'keyCompromise',
            actor: 'a',
            text: 't',
          });
          return undefined;
        },
      ],
      [
        'a certificate on hold',
        'renewal_held',
        async ({ ca }, { certificate }) => {
          const { serialNumber } = certificate;
          await ca.revoke({
            issuer: 'issuing',
            serialNumber,
            reason: 'certificateHold',
            actor: 'a',
            text: 't',
          });
          return undefined;
        },
      ],
      [
        'an expired certificate',
        'renewal_expired',
        async (_server, { certificate }, clock) => {
          clock.offsetMs = certificate.notAfter.getTime() - Date.now();
          return undefined;
        },
      ],
      [
        'a certificate that has long to live',
        'renewal_early',
        async (_server, _old, clock) => {
          clock.offsetMs = 0;
          return undefined;
        },
      ],
      [
        'a certificate before the window that is configured',
        'renewal_early',
        async () => undefined,
        { windowMs: 10 * DAY_MS },
      ],
      ['another subject', 'renewal_names', async () => ({ fields: { subject: 'CN=device-2,O=Test' } })],
      [
        'the same subject, and more',
        'renewal_names',
        async () => ({ fields: { subject: 'CN=device-1,OU=Admins,O=Test' } }),
      ],
      ['another name', 'renewal_names', async () => ({ fields: alternatively(dns('other.test')) })],
      [
        'the same name, and a user’s',
        'renewal_names',
        async () => ({ fields: alternatively(dns('device-1.test'), upn('admin@test')) }),
      ],
      [
        'a throw-away certificate of the same name',
        { RenewalReq: 'renewal_foreign', PKCSReq: 'challenge_missing' },
        async () => ({ signer: await selfSigned(keys.device, 'CN=device-1,O=Test') }),
      ],
      [
        'the certificate of another CA',
        { RenewalReq: 'renewal_foreign', PKCSReq: 'challenge_missing' },
        async (_server, { certificate }) => ({
          signer: { key: keys.device, certificate: await imitated(certificate, { issuer: 'CN=Other CA' }) },
        }),
      ],
      [
        'a forged certificate with our name and number, for a key of the forger',
        'renewal_foreign',
        async (_server, { certificate }) => ({
          signer: { key: keys.other, certificate: await imitated(certificate, { spki: keys.other.spki }) },
        }),
      ],
      [
        'the very content of a certificate of ours, signed by another',
        'renewal_foreign',
        async (_server, { certificate, key }) => ({
          signer: { key, certificate: await imitated(certificate, {}) },
        }),
      ],
      [
        'a certificate that our key has signed and no record knows',
        'renewal_foreign',
        async () => ({ signer: { key: keys.raSigning, certificate: certificates.raSigning } }),
      ],
      [
        'a certificate of another template',
        'renewal_template',
        async ({ ra }) => {
          const csr = await requestOf({ ...alternatively(dns('server.test')), key: keys.other });
          const certificate = await ra.enrolService({
            issuer: 'issuing',
            template: 'vpn-ipsec',
            csr: parseCertificationRequest(csr),
            operator: 'test',
          });
          return { signer: { key: keys.other, certificate } };
        },
      ],
      [
        'the old key, where a new one is wanted',
        'renewal_same_key',
        async () => ({ fields: { key: keys.device } }),
        { key: 'changed' },
      ],
      [
        'a key that is too short',
        'key_size_mismatch',
        async () => ({ fields: { key: await newRsaKey(1024) } }),
      ],
      ['no challenge, where one is wanted', 'challenge_missing', async () => undefined, byBoth],
      [
        'a wrong challenge, where one is wanted',
        'challenge_unknown',
        async () => ({ fields: { challengePassword: 'not the secret at all' } }),
        byBoth,
      ],
      [
        'a challenge with a revoked certificate',
        'renewal_revoked',
        async ({ ca }, { certificate }) => {
          const { serialNumber } = certificate;
          await ca.revoke({ issuer: 'issuing', serialNumber, reason: 'superseded', actor: 'a', text: 't' });
          return { fields: { challengePassword: staticSecret } };
        },
        byBoth,
      ],
      [
        'a challenge and another subject',
        'renewal_names',
        async () => ({ fields: { challengePassword: staticSecret, subject: 'CN=device-2,O=Test' } }),
        byBoth,
      ],
    ];
    for (const [name, code, act, policy] of rows) {
      test(`refuses ${name}`, () =>
        withServer({ renewal: { ...byCertificate, ...policy } }, async (server, clock) => {
          const old = await enrolled(server, alternatively(dns('device-1.test')));
          clock.offsetMs = IN_WINDOW_MS;
          const { signer = old, fields } = (await act(server, old, clock)) ?? {};
          await assertRefused(server, typeof code === 'string' ? code : code[dialect], () =>
            renewAt(server, dialect, signer, fields),
          );
        }));
    }

    test('refuses everything on an endpoint that does not renew', () =>
      withServer({}, async (server, clock) => {
        const old = await enrolled(server);
        clock.offsetMs = IN_WINDOW_MS;
        await assertRefused(server, dialect === 'RenewalReq' ? 'renewal_denied' : 'challenge_missing', () =>
          renewAt(server, dialect, old),
        );
        if (dialect === 'RenewalReq') return;
        // With a challenge it is an enrolment, whoever signs.
        certificateIn(await renewAt(server, dialect, old, { challengePassword: staticSecret }));
      }));

    test('gives the names of the old certificate for a new key, and for the old one', () =>
      withServer({ renewal: byCertificate }, async (server, clock) => {
        const names = [dns('device-1.test'), dns('alias.test')];
        const old = await enrolled(server, alternatively(...names));
        clock.offsetMs = IN_WINDOW_MS;
        const asked: readonly RequestFields[] = [
          alternatively(...names),
          alternatively(...names.toReversed()),
          // What is left out stays as it was.
          {},
          { subject: '' },
          { key: old.key },
        ];
        for (const fields of asked) {
          const renewed = certificateIn(await renewAt(server, dialect, old, fields));
          assert.notEqual(renewed.serialNumber, old.certificate.serialNumber);
          assert.equal(nameToString(renewed.subject), 'CN=device-1,O=Test');
          assert.equal(
            generalNamesToString(subjectAltNameOf(renewed)),
            generalNamesToString(subjectAltNameOf(old.certificate)),
          );
          assert.deepEqual(renewed.spki, (fields.key ?? freshKey).spki);
          assert.ok(verifyCertificateSignature(renewed, certificates.issuing.spki));
          assert.ok(renewed.notAfter > old.certificate.notAfter);
        }
        assert.equal((await recordsIn(server)).length, 1 + asked.length);
      }));

    test('the same request sent again gets the same certificate, at once and later', () =>
      withServer({ renewal: byCertificate }, async (server, clock) => {
        const old = await enrolled(server);
        clock.offsetMs = IN_WINDOW_MS;
        const transactionID = freshTransaction();
        const answers = await Promise.all(
          Array.from({ length: 4 }, () => renewAt(server, dialect, old, {}, { transactionID })),
        );
        answers.push(await renewAt(server, dialect, old));
        const serials = new Set(answers.map((answer) => certificateIn(answer).serialNumber));
        assert.equal(serials.size, 1);
        // The new one renews in its turn, when its time has come.
        const renewed = { key: freshKey, certificate: certificateIn(answers[0] as never) };
        await assertRefused(server, 'renewal_early', () => renewAt(server, dialect, renewed));
        clock.offsetMs += IN_WINDOW_MS;
        certificateIn(await renewAt(server, dialect, renewed));
        await assertRefused(server, 'renewal_expired', () => renewAt(server, dialect, old));
      }));

    test('a certificate of the key that the CA had before is renewed under the new one', async () => {
      const previous = await createIssuing(
        { certificate: certificates.root, key: keys.root },
        keys.other.spki,
        certificates.issuing.subject,
        { notBefore: inDays(-60), notAfter: inDays(1000) },
        { crlUrls: ['http://pki.test/crl/root.crl'], caIssuersUrls: ['http://pki.test/aia/root.crt'] },
      );
      const furtherIssuers = [
        { ...issuer, name: 'issuing-1', certificate: previous, chain: [previous.raw], key: keys.other },
      ];
      await withServer({ renewal: byCertificate, furtherIssuers }, async (server, clock) => {
        const csr = parseCertificationRequest(await requestOf({}));
        const order = { template: 'client-authentication', csr, operator: 'test' };
        const certificate = await server.ra.enrolService({ issuer: 'issuing-1', ...order });
        clock.offsetMs = IN_WINDOW_MS;
        const renewed = certificateIn(await renewAt(server, dialect, { key: keys.device, certificate }));
        assert.ok(verifyCertificateSignature(renewed, certificates.issuing.spki));
      });
    });

    test('with a challenge, the validator is asked and told as at an enrolment', () =>
      withServer({ renewal: byBoth }, async (server, clock) => {
        const { scripted } = server;
        scripted.verdict = { verdict: 'accept', names: 'vouched', device: 'device of Intune' };
        const fields = { ...alternatively(upn('user@test')), challengePassword: 'first' };
        const old = await enrolled(server, fields, 'scripted');
        clock.offsetMs = IN_WINDOW_MS;
        const again = (challengePassword: string) =>
          renewAt(server, dialect, old, { challengePassword }, { endpoint: 'scripted' });
        await assertRefused(server, 'challenge_missing', () => again(''));
        await assertRefused(server, 'challenge_reused', () => again('first'));
        scripted.verdict = { verdict: 'refuse', code: 'challenge_expired', detail: '' };
        await assertRefused(server, 'challenge_expired', () => again('second'));
        assert.equal(scripted.succeeded.length, 1);
        scripted.verdict = { verdict: 'accept', names: 'vouched' };
        const renewed = certificateIn(await again('third'));
        assert.deepEqual(
          scripted.succeeded.map(({ certificate }) => certificate.serialNumber),
          [old.certificate.serialNumber, renewed.serialNumber],
        );
        assert.equal(generalNamesToString(subjectAltNameOf(renewed)), 'UPN:user@test');
        const record = await server.store.certificateBySerial('issuing', renewed.serialNumber);
        assert.equal(record?.device, 'device of Intune');
        // A validator that cannot be reached is never a yes.
        scripted.verdict = { verdict: 'unreachable', detail: '' };
        assert.equal((await again('fourth')).pkiStatus, 'HTTP');
      }));

    test('by certificate alone, device, names and SID are what is on record', () =>
      withServer({ renewal: byCertificate }, async (server, clock) => {
        const sid = 'S-1-5-21-1-2-3-1104';
        const { challenge } = await server.oneTime.create({
          endpoint: 'one-time',
          pinned: { subjectAltName: 'UPN:user@test', securityIdentifier: sid },
          device: 'laptop 7',
          lifetimeMs: DAY_MS,
        });
        const fields = { ...alternatively(upn('user@test')), challengePassword: challenge };
        const old = await enrolled(server, fields, 'one-time');
        assert.equal(securityIdentifierOf(old.certificate), sid);
        clock.offsetMs = IN_WINDOW_MS;
        // The challenge of old stands in the request still, and says nothing any more.
        for (const challengePassword of ['', challenge]) {
          const renewed = certificateIn(
            await renewAt(server, dialect, old, { challengePassword }, { endpoint: 'one-time' }),
          );
          assert.equal(securityIdentifierOf(renewed), sid);
          assert.equal(generalNamesToString(subjectAltNameOf(renewed)), 'UPN:user@test');
          const record = await server.store.certificateBySerial('issuing', renewed.serialNumber);
          assert.equal(record?.device, 'laptop 7');
        }
      }));

    test('waits for a certificate manager, and the old certificate must hold when it ends', () =>
      withServer({ renewal: { ...byBoth, revokeReplacedAfterMs: DAY_MS } }, async (server, clock) => {
        const old = await enrolled(server);
        clock.offsetMs = IN_WINDOW_MS;
        const transactionID = freshTransaction();
        const request = { endpoint: 'manual', transactionID } as const;
        const poll = async () =>
          await enrolAt(server, 'manual', {
            csr: buildIssuerAndSubject({ issuer: old.certificate.issuer, subject: old.certificate.subject }),
            messageType: 'CertPoll',
            signer: old,
            transactionID,
          });
        assert.equal((await renewAt(server, dialect, old, {}, request)).pkiStatus, 'PENDING');
        assert.equal((await poll()).pkiStatus, 'PENDING');
        const [held] = await server.store.heldRequests({ limit: 1 });
        const at = clock.now();
        const audit = {
          at,
          event: 'enrolment.approved',
          actor: 'manager',
          reference: '',
          code: '',
          text: '',
          detail: {},
        };
        const decision = { status: 'approved', at, by: 'manager', comment: '', audit } as const;
        await server.store.decideRequest({ id: held?.id ?? 0, ...decision });
        const { serialNumber } = old.certificate;
        const which = { issuer: 'issuing', serialNumber, actor: 'test', text: '' };
        await server.ca.revoke({ ...which, reason: 'certificateHold' });
        await assertRefused(server, 'renewal_held', poll);
        await server.ca.release(which);
        const renewed = certificateIn(await poll());
        assert.deepEqual(renewed.spki, freshKey.spki);
        assert.equal(certificateIn(await poll()).serialNumber, renewed.serialNumber);
        clock.offsetMs += DAY_MS + 60_000;
        assert.equal(await server.ra.revokeReplaced(), 1);
        assert.equal((await server.store.certificateBySerial('issuing', serialNumber))?.status, 'revoked');
      }));

    test('new names are the validators’ to give, and nobody else’s', () =>
      withServer({ renewal: { ...byBoth, names: 'asEnrolled' } }, async (server, clock) => {
        const { scripted } = server;
        const old = await enrolled(server, { challengePassword: 'first' }, 'scripted');
        clock.offsetMs = IN_WINDOW_MS;
        const ask = (challengePassword: string, names: readonly GeneralName[]) =>
          renewAt(
            server,
            dialect,
            old,
            { subject: 'CN=device-9', ...alternatively(...names), challengePassword },
            { endpoint: 'scripted' },
          );
        scripted.verdict = { verdict: 'accept', names: 'claimed' };
        await assertRefused(server, 'san_mismatch', () => ask('second', [upn('admin@test')]));
        const renewed = certificateIn(await ask('third', [dns('device-9.test')]));
        assert.equal(nameToString(renewed.subject), 'CN=device-9');
        assert.equal(generalNamesToString(subjectAltNameOf(renewed)), 'DNS:device-9.test');
      }));

    test('a store that cannot be read is 503, and decides nothing', async () => {
      const failures = new StoreFailures();
      await withServer({ renewal: byCertificate, storeOf: failures.wrap }, async (server, clock) => {
        const old = await enrolled(server);
        clock.offsetMs = IN_WINDOW_MS;
        failures.plan('certificateBySerial', 'not persisted');
        const answer = await renewAt(server, dialect, old);
        assert.equal(answer.pkiStatus === 'HTTP' && answer.status, 503);
        assert.equal(failures.pending, 0);
        certificateIn(await renewAt(server, dialect, old));
      });
    });
  });
}

describe('what a renewal replaces', () => {
  const revokeReplacedAfterMs = 7 * DAY_MS;
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'leafgate-renewal-'));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  test('is revoked after the delay, also by a server that was started since', async () => {
    const renewal = { ...byCertificate, revokeReplacedAfterMs };
    const clock = new Clock();
    let old: MessageSigner | undefined;
    await withServer({ renewal, folder, clock }, async (server) => {
      old = await enrolled(server);
      clock.offsetMs = IN_WINDOW_MS;
      certificateIn(await renewAt(server, 'RenewalReq', old));
      assert.equal(await server.ra.revokeReplaced(), 0);
      // Until then it can be used, and renewed once more.
      certificateIn(await renewAt(server, 'PKCSReq', old, { key: keys.other }));
    });
    const { serialNumber = '' } = old?.certificate ?? {};
    clock.offsetMs += revokeReplacedAfterMs + 60_000;
    await withServer({ renewal, folder, clock }, async (server) => {
      const statusOf = async () => (await server.store.certificateBySerial('issuing', serialNumber))?.status;
      assert.equal(await statusOf(), 'issued');
      assert.equal(await server.ra.revokeReplaced(), 2);
      assert.equal(await server.ra.revokeReplaced(), 0);
      const record = await server.store.certificateBySerial('issuing', serialNumber);
      assert.deepEqual([record?.status, record?.revocationReason], ['revoked', 'superseded']);
      const others = (await recordsIn(server)).filter((other) => other.serialNumber !== serialNumber);
      assert.deepEqual(
        others.map(({ status }) => status),
        ['issued', 'issued'],
      );
      await assertRefused(server, 'renewal_revoked', () =>
        renewAt(server, 'RenewalReq', old as MessageSigner),
      );
    });
  });

  test('is not revoked where that is not configured, nor for an enrolment', () =>
    withServer({ renewal: byCertificate }, async (server, clock) => {
      const old = await enrolled(server);
      clock.offsetMs = IN_WINDOW_MS;
      certificateIn(await renewAt(server, 'RenewalReq', old));
      await enrolled(server, { key: keys.other });
      clock.offsetMs += 10 * revokeReplacedAfterMs;
      assert.equal(await server.ra.revokeReplaced(), 0);
    }));

  test('is revoked once, however often it is begun', async () => {
    const failures = new StoreFailures();
    const renewal = { ...byCertificate, revokeReplacedAfterMs };
    await withServer({ renewal, storeOf: failures.wrap }, async (server, clock) => {
      const old = await enrolled(server);
      clock.offsetMs = IN_WINDOW_MS;
      certificateIn(await renewAt(server, 'RenewalReq', old));
      clock.offsetMs += revokeReplacedAfterMs + 60_000;
      for (const write of ['revoke', 'forgetReplaced'] as const) {
        for (const moment of failureMoments) {
          failures.plan(write, moment);
          await assert.rejects(server.ra.revokeReplaced(), { code: 'store_unavailable' });
        }
      }
      assert.equal(failures.pending, 0);
      assert.equal(await server.ra.revokeReplaced(), 0);
      const revoked = (await auditIn(server)).filter(({ event }) => event === 'certificate.revoked');
      assert.equal(revoked.length, 1);
    });
  });

  test('stays while the new certificate is withheld', () =>
    withServer({ renewal: { ...byBoth, revokeReplacedAfterMs } }, async (server, clock) => {
      const { scripted } = server;
      const old = await enrolled(server, { challengePassword: 'first' }, 'scripted');
      clock.offsetMs = IN_WINDOW_MS;
      scripted.success = { verdict: 'unreachable', detail: '' };
      const fields = { challengePassword: 'second' };
      const answer = await renewAt(server, 'RenewalReq', old, fields, { endpoint: 'scripted' });
      assert.equal(answer.pkiStatus, 'HTTP');
      clock.offsetMs += revokeReplacedAfterMs + 60_000;
      assert.equal(await server.ra.revokeReplaced(), 0);
    }));
});

describe('GetCACaps', () => {
  const keywords = async (renewal?: RenewalPolicy) => {
    let body = '';
    await withServer(renewal === undefined ? {} : { renewal }, async (server) => {
      body = (await exchange(`${server.url('static')}?operation=GetCACaps`)).body.toString();
    });
    return body.split('\n');
  };

  test('offers Renewal where an endpoint renews, and nowhere else', async () => {
    assert.ok((await keywords(byCertificate)).includes('Renewal'));
    assert.ok(!(await keywords()).includes('Renewal'));
  });
});
