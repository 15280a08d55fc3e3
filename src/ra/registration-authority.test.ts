import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, test } from 'node:test';
import {
  auditIn,
  type EndpointName,
  type FixtureOptions,
  issuer,
  keys,
  newEcKey,
  openTestAuthorities,
  publishedCrl,
  type RequestFields,
  recordsIn,
  requestOf,
  staticSecret,
  type TestAuthorities,
} from '../../test/support/authorities-fixture.ts';
import { StoreFailures } from '../../test/support/failing-store.ts';
import {
  basicConstraintsOf,
  caBasicConstraintsExtension,
  type Extension,
  extKeyUsageOf,
  keyUsageExtension,
  keyUsageOf,
  nameFromString,
  nameToString,
  octetString,
  oid,
  parseCertificate,
  parseCertificationRequest,
  parseCrl,
  sequence,
  subjectAltNameExtension,
  subjectAltNameOf,
  utf8String,
} from '../codec/index.ts';
import { type ErrorCode, PkiError } from '../errors.ts';
import type { Outcome } from './registration-authority.ts';
import type { Verdict } from './validator.ts';

let opened: TestAuthorities | undefined;
async function open(options: FixtureOptions = {}): Promise<TestAuthorities> {
  opened = await openTestAuthorities(options);
  return opened;
}
afterEach(async () => {
  await opened?.close();
  opened = undefined;
});

interface Sent extends RequestFields {
  readonly endpoint?: string;
  readonly transactionID?: string;
}

/** One request at the RA, as the SCEP door hands it over. */
async function enrol({ ra, clock }: TestAuthorities, sent: Sent): Promise<Outcome> {
  const { endpoint = 'scripted', transactionID = 'transaction-1', ...fields } = sent;
  return await ra.enrol({
    endpoint,
    transactionID,
    csr: parseCertificationRequest(await requestOf(fields)),
    challengePassword: fields.challengePassword ?? '',
    source: '192.0.2.1',
    receivedAt: clock.now(),
  });
}

function certificateIn(outcome: Outcome) {
  assert.equal(outcome.outcome, 'issued', JSON.stringify(outcome));
  return parseCertificate(outcome.certificate);
}

/** Asserts that an outcome is a refusal with this code, and that the audit list knows its reference. */
async function assertRefused(authorities: TestAuthorities, outcome: Outcome, code: ErrorCode): Promise<void> {
  assert.equal(outcome.outcome, 'refused', JSON.stringify(outcome));
  assert.equal(outcome.code, code);
  const [entry, ...more] = await authorities.store.auditEntries({ reference: outcome.reference, limit: 10 });
  assert.deepEqual(more, []);
  assert.equal(entry?.event, 'enrolment.refused');
  assert.equal(entry.code, code);
}

describe('a one-time challenge serves one request', () => {
  const endpoint: EndpointName = 'one-time';

  test('the same request again gets the same certificate, even after the challenge ended', async () => {
    const authorities = await open();
    const challengePassword = await authorities.challengeFor(endpoint);
    const sent = { endpoint, challengePassword };
    const first = certificateIn(await enrol(authorities, sent));
    assert.equal(certificateIn(await enrol(authorities, sent)).serialNumber, first.serialNumber);
    // A device that lost the answer may begin a transaction of its own (RFC 8894 §5.2).
    const again = await enrol(authorities, { ...sent, transactionID: 'transaction-2' });
    assert.equal(certificateIn(again).serialNumber, first.serialNumber);
    authorities.clock.offsetMs += 2 * 3_600_000;
    assert.equal(certificateIn(await enrol(authorities, sent)).serialNumber, first.serialNumber);
    assert.equal((await recordsIn(authorities)).length, 1);
  });

  test('twenty copies at once get one certificate', async () => {
    const authorities = await open();
    const challengePassword = await authorities.challengeFor(endpoint);
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        enrol(authorities, { endpoint, challengePassword, transactionID: `transaction-${n % 2}` }),
      ),
    );
    assert.equal(new Set(outcomes.map((outcome) => certificateIn(outcome).serialNumber)).size, 1);
    assert.equal((await recordsIn(authorities)).length, 1);
  });

  test('twenty copies at once ask the validator once', async () => {
    const authorities = await open();
    const { scripted } = authorities;
    const sent = { challengePassword: 'x' };
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => enrol(authorities, sent)));
    assert.equal(new Set(outcomes.map((outcome) => certificateIn(outcome).serialNumber)).size, 1);
    assert.equal(scripted.validated.length, 1);
    assert.equal(scripted.succeeded.length, 1);
  });

  test('twenty keys at once get one certificate, and nineteen a refusal', async () => {
    const authorities = await open();
    const challengePassword = await authorities.challengeFor(endpoint);
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, n) =>
        enrol(authorities, { endpoint, challengePassword, subject: `CN=device-${n}` }),
      ),
    );
    const refused = outcomes.filter(({ outcome }) => outcome === 'refused');
    assert.equal(refused.length, 19);
    for (const outcome of refused) await assertRefused(authorities, outcome, 'challenge_reused');
    assert.equal((await recordsIn(authorities)).length, 1);
  });

  const others: readonly (readonly [name: string, code: ErrorCode, sent: Sent])[] = [
    ['another key', 'challenge_reused', { key: keys.other }],
    ['the same key with another subject', 'challenge_reused', { subject: 'CN=device-2,O=Test' }],
    [
      'the same key with another extension',
      'challenge_reused',
      { extensions: [keyUsageExtension(['digitalSignature'])] },
    ],
    ['another endpoint', 'challenge_unknown', { endpoint: 'both' }],
    ['another endpoint with a secret of its own', 'challenge_unknown', { endpoint: 'static' }],
  ];
  for (const [name, code, sent] of others) {
    test(`once used, it does not serve ${name}`, async () => {
      const authorities = await open();
      const challengePassword = await authorities.challengeFor(endpoint);
      certificateIn(await enrol(authorities, { endpoint, challengePassword }));
      await assertRefused(
        authorities,
        await enrol(authorities, { endpoint, challengePassword, ...sent }),
        code,
      );
      assert.equal((await recordsIn(authorities)).length, 1);
      if (code === 'challenge_reused') {
        const told = sent.key === undefined ? /^request \w+ asked for something else$/ : /with another key$/;
        assert.match((await auditIn(authorities))[0]?.detail.detail ?? '', told);
      }
    });
  }

  test('refused, it is not spent', async () => {
    const authorities = await open();
    const challengePassword = await authorities.challengeFor(endpoint);
    const key = await newEcKey();
    await assertRefused(
      authorities,
      await enrol(authorities, { endpoint, challengePassword, key }),
      'key_algorithm',
    );
    certificateIn(await enrol(authorities, { endpoint, challengePassword }));
  });

  test('expired, it serves nobody', async () => {
    const authorities = await open();
    const challengePassword = await authorities.challengeFor(endpoint);
    authorities.clock.offsetMs += 3_600_000;
    await assertRefused(
      authorities,
      await enrol(authorities, { endpoint, challengePassword }),
      'challenge_expired',
    );
    assert.deepEqual(await recordsIn(authorities), []);
  });

  test('a revoked certificate is not given out again', async () => {
    const authorities = await open();
    const sent = { endpoint, challengePassword: await authorities.challengeFor(endpoint) };
    const { serialNumber } = certificateIn(await enrol(authorities, sent));
    await authorities.ca.revoke({
      issuer: 'issuing',
      serialNumber,
      reason: 'keyCompromise',
      actor: 'operator test',
      text: 'lost',
    });
    await assertRefused(authorities, await enrol(authorities, sent), 'certificate_revoked');
    assert.equal((await recordsIn(authorities)).length, 1);
  });
});

describe('a static secret serves many', () => {
  const sent = { endpoint: 'static', challengePassword: staticSecret };

  test('the same transaction gets the same certificate, a new one a new certificate', async () => {
    const authorities = await open();
    const first = certificateIn(await enrol(authorities, sent));
    assert.equal(certificateIn(await enrol(authorities, sent)).serialNumber, first.serialNumber);
    const second = certificateIn(await enrol(authorities, { ...sent, transactionID: 'transaction-2' }));
    assert.notEqual(second.serialNumber, first.serialNumber);
    const other = certificateIn(await enrol(authorities, { ...sent, key: keys.other }));
    assert.equal(new Set([first, second, other].map(({ serialNumber }) => serialNumber)).size, 3);
    // Another endpoint is another world, though the secret is the same.
    const legacy = certificateIn(await enrol(authorities, { ...sent, endpoint: 'legacy' }));
    assert.notEqual(legacy.serialNumber, first.serialNumber);
    assert.equal((await recordsIn(authorities)).length, 4);
  });

  test('twenty copies at once get one certificate', async () => {
    const authorities = await open();
    const outcomes = await Promise.all(Array.from({ length: 20 }, () => enrol(authorities, sent)));
    assert.equal(new Set(outcomes.map((outcome) => certificateIn(outcome).serialNumber)).size, 1);
  });

  test('one transaction serves one request', async () => {
    const authorities = await open();
    certificateIn(await enrol(authorities, sent));
    for (const changed of [{ subject: 'CN=device-2' }, { challengePassword: 'a guess of twelve' }]) {
      const outcome = await enrol(authorities, { ...sent, ...changed });
      await assertRefused(authorities, outcome, 'challenge_reused');
    }
    assert.equal((await recordsIn(authorities)).length, 1);
  });

  test('no challenge, an empty one and a wrong one are refused', async () => {
    const authorities = await open();
    await assertRefused(authorities, await enrol(authorities, { endpoint: 'static' }), 'challenge_missing');
    const wrong = await enrol(authorities, { ...sent, challengePassword: 'correct-horse-battery-stable' });
    await assertRefused(authorities, wrong, 'challenge_unknown');
    assert.deepEqual(await recordsIn(authorities), []);
  });
});

describe('validators', () => {
  test('an endpoint without policy enrols nobody', async () => {
    const authorities = await open();
    for (const endpoint of ['', 'absent', '__proto__', 'Scripted']) {
      const outcome = await enrol(authorities, { endpoint, challengePassword: 'x' });
      await assertRefused(authorities, outcome, 'template_denied');
    }
    assert.deepEqual(authorities.scripted.validated, []);
  });

  test('all of an endpoint’s must accept', async () => {
    const authorities = await open();
    const { scripted } = authorities;
    const challengePassword = await authorities.challengeFor('both');
    const sent = { endpoint: 'both', challengePassword };
    scripted.verdict = { verdict: 'refuse', code: 'device_unknown', detail: 'no such device' };
    await assertRefused(authorities, await enrol(authorities, sent), 'device_unknown');
    scripted.verdict = { verdict: 'unreachable', detail: 'no route' };
    const postponed = await enrol(authorities, sent);
    assert.equal(postponed.outcome === 'unavailable' && postponed.code, 'validator_unreachable');
    scripted.verdict = { verdict: 'accept', names: 'vouched' };
    const wrong = await enrol(authorities, { ...sent, challengePassword: 'A'.repeat(40) });
    await assertRefused(authorities, wrong, 'challenge_unknown');
    // The scripted one had accepted what came to nothing.
    assert.equal(scripted.failed.length, 1);
    assert.deepEqual(await recordsIn(authorities), []);
    certificateIn(await enrol(authorities, sent));
    assert.equal((await recordsIn(authorities)).length, 1);
  });

  test('are told the request as it came', async () => {
    const authorities = await open();
    certificateIn(await enrol(authorities, { challengePassword: 'the challenge', transactionID: 'tx' }));
    const [asked] = authorities.scripted.validated;
    assert.equal(asked?.transactionID, 'tx');
    assert.equal(asked.challengePassword, 'the challenge');
    assert.equal(asked.endpoint, 'scripted');
    assert.equal(nameToString(asked.csr.subject), 'CN=device-1,O=Test');
  });

  const throwing: readonly (readonly [name: string, act: () => Verdict | Promise<Verdict>, want: object])[] =
    [
      [
        'an Error',
        () => {
          throw new Error('broken');
        },
        { outcome: 'refused', code: 'internal' },
      ],
      ['what is no error', () => Promise.reject('accept'), { outcome: 'refused', code: 'internal' }],
      [
        'an unavailable world',
        () => Promise.reject(new PkiError('validator_unreachable', 'no route')),
        { outcome: 'unavailable', code: 'validator_unreachable' },
      ],
    ];
  for (const [name, act, want] of throwing) {
    test(`one that throws ${name} has not accepted`, async () => {
      const authorities = await open();
      const { scripted } = authorities;
      scripted.verdict = act;
      assert.partialDeepStrictEqual(await enrol(authorities, { challengePassword: 'x' }), want);
      assert.deepEqual(await recordsIn(authorities), []);
      scripted.verdict = { verdict: 'accept', names: 'vouched' };
      certificateIn(await enrol(authorities, { challengePassword: 'x' }));
    });
  }

  const noVerdicts: readonly unknown[] = [
    undefined,
    null,
    {},
    true,
    'accept',
    { verdict: true },
    { verdict: 'accepted' },
    { accept: true },
  ];
  for (const value of noVerdicts) {
    test(`one that answers ${JSON.stringify(value)} has not accepted`, async () => {
      const authorities = await open();
      authorities.scripted.verdict = () => value as Verdict;
      const outcome = await enrol(authorities, { challengePassword: 'x' });
      assert.equal(outcome.outcome, 'refused');
      assert.deepEqual(await recordsIn(authorities), []);
    });
  }

  test('an unreachable one decides nothing, and nothing is spent', async () => {
    const authorities = await open();
    const { scripted } = authorities;
    scripted.verdict = { verdict: 'unreachable', detail: 'HTTP 503 of the service' };
    const outcome = await enrol(authorities, { challengePassword: 'x' });
    assert.equal(outcome.outcome === 'unavailable' && outcome.code, 'validator_unreachable');
    const [entry] = await auditIn(authorities);
    assert.equal(entry?.event, 'enrolment.unavailable');
    assert.equal(entry.detail.detail, 'HTTP 503 of the service');
    assert.deepEqual(scripted.failed, []);
    scripted.verdict = { verdict: 'accept', names: 'vouched', device: 'device-42' };
    certificateIn(await enrol(authorities, { challengePassword: 'x' }));
    assert.equal((await recordsIn(authorities))[0]?.device, 'device-42');
    assert.equal(scripted.validated.length, 2);
  });
});

describe('notifications', () => {
  test('a certificate whose validator refuses is withheld, revoked and on the next CRL', async () => {
    const authorities = await open();
    const verdict = { verdict: 'refuse', code: 'validator_refused', detail: 'code 17' } as const;
    const { scripted, ca } = authorities;
    const before = await publishedCrl(ca);
    scripted.success = verdict;
    const outcome = await enrol(authorities, { challengePassword: 'x' });
    assert.equal(outcome.outcome === 'unavailable' && outcome.code, 'notification_failed');
    assert.ok(!('certificate' in outcome));
    const [record] = await recordsIn(authorities);
    assert.equal(record?.status, 'revoked');
    assert.equal(record.revocationReason, 'cessationOfOperation');
    const [refusal, revocation, issued] = await auditIn(authorities);
    assert.deepEqual(
      [refusal?.event, revocation?.event, issued?.event],
      ['enrolment.unavailable', 'certificate.revoked', 'certificate.issued'],
    );
    assert.equal(refusal?.detail.detail, `scripted: ${verdict.detail}`);
    const crl = await publishedCrl(ca);
    assert.ok(crl.crlNumber > before.crlNumber);
    assert.deepEqual(
      parseCrl(crl.crl).revoked.map(({ serialNumber }) => serialNumber),
      [record.serialNumber],
    );
    // The same request does not get it later either.
    scripted.success = { verdict: 'accept', names: 'vouched' };
    await assertRefused(
      authorities,
      await enrol(authorities, { challengePassword: 'x' }),
      'certificate_revoked',
    );
  });

  test('a success is told once, before the certificate is given out', async () => {
    const authorities = await open();
    const { scripted } = authorities;
    const recorded: string[] = [];
    scripted.success = async () => {
      recorded.push(...(await recordsIn(authorities)).map(({ status }) => status));
      return { verdict: 'accept', names: 'vouched' };
    };
    const certificate = certificateIn(await enrol(authorities, { challengePassword: 'x' }));
    assert.deepEqual(recorded, ['issued']);
    await enrol(authorities, { challengePassword: 'x' });
    assert.equal(scripted.succeeded.length, 1);
    assert.equal(scripted.succeeded[0]?.certificate.serialNumber, certificate.serialNumber);
  });

  test('a success that throws withholds the certificate', async () => {
    const authorities = await open();
    const { scripted } = authorities;
    scripted.success = () => {
      throw new Error('broken');
    };
    const outcome = await enrol(authorities, { challengePassword: 'x' });
    assert.equal(outcome.outcome, 'refused');
    scripted.success = { verdict: 'accept', names: 'vouched' };
    certificateIn(await enrol(authorities, { challengePassword: 'x' }));
    assert.equal((await recordsIn(authorities)).length, 1);
  });

  test('a revocation that fails withholds all the same', async () => {
    const failures = new StoreFailures();
    const authorities = await open({ storeOf: failures.wrap });
    authorities.scripted.success = { verdict: 'refuse', code: 'validator_refused', detail: '' };
    failures.plan('revoke', 'not persisted');
    const outcome = await enrol(authorities, { challengePassword: 'x' });
    assert.equal(outcome.outcome === 'unavailable' && outcome.code, 'store_unavailable');
    // Asked again, the validator says no again, and this time it is revoked.
    const again = await enrol(authorities, { challengePassword: 'x' });
    assert.equal(again.outcome === 'unavailable' && again.code, 'notification_failed');
    assert.equal((await recordsIn(authorities))[0]?.status, 'revoked');
  });

  test('a failure of the CA is told with NTE_FAIL', async () => {
    const authorities = await open({
      issuer: {
        ...issuer,
        key: { ...keys.issuing, sign: () => Promise.reject(new PkiError('key_unavailable', 'token gone')) },
      },
    });
    const outcome = await enrol(authorities, { challengePassword: 'x' });
    assert.equal(outcome.outcome === 'unavailable' && outcome.code, 'key_unavailable');
    assert.deepEqual(authorities.scripted.failed, [
      { hResult: 0x80090020, description: 'the request cannot be served now; try again' },
    ]);
    assert.deepEqual(authorities.scripted.succeeded, []);
  });

  test('a refusal of policy is told to those that had accepted, and to nobody else', async () => {
    const authorities = await open();
    const { scripted } = authorities;
    const key = await newEcKey();
    await assertRefused(
      authorities,
      await enrol(authorities, { challengePassword: 'x', key }),
      'key_algorithm',
    );
    assert.deepEqual(scripted.failed, [
      { hResult: 0x80094012, description: 'the key algorithm is not permitted' },
    ]);
    const unreadable = { oid: oid.subjectAltName, critical: false, value: Uint8Array.of(1) };
    const outcome = await enrol(authorities, { challengePassword: 'y', extensions: [unreadable] });
    await assertRefused(authorities, outcome, 'der_malformed');
    assert.equal(scripted.failed.length, 2);
    scripted.verdict = { verdict: 'refuse', code: 'challenge_expired', detail: '' };
    await assertRefused(
      authorities,
      await enrol(authorities, { challengePassword: 'z' }),
      'challenge_expired',
    );
    assert.equal(scripted.failed.length, 2);
  });

  test('a failure that cannot be told changes no answer', async () => {
    const authorities = await open();
    authorities.scripted.failure = () => {
      throw new Error('the service is gone');
    };
    const key = await newEcKey();
    await assertRefused(
      authorities,
      await enrol(authorities, { challengePassword: 'x', key }),
      'key_algorithm',
    );
    assert.ok(authorities.logged.some((line) => line.includes('failureNotification failed')));
  });
});

describe('whatever the request asks for', () => {
  const extension = (identifier: string, value: Uint8Array, critical = false): Extension => ({
    oid: identifier,
    critical,
    value,
  });
  const greedy: readonly Extension[] = [
    caBasicConstraintsExtension(),
    keyUsageExtension(['digitalSignature', 'keyCertSign', 'cRLSign']),
    // Another account’s identity.
    extension(
      oid.microsoftSecurityIdentifier,
      sequence(octetString(Buffer.from('S-1-5-21-1111111111-2222222222-3333333333-500'))),
    ),
    extension(oid.nameConstraints, sequence(), true),
    // AD CS templates by name and by number, application policies, a policy.
    extension('1.3.6.1.4.1.311.20.2', utf8String('DomainController')),
    extension('1.3.6.1.4.1.311.21.7', sequence()),
    extension('1.3.6.1.4.1.311.21.10', sequence()),
    extension(oid.certificatePolicies, sequence()),
    extension(oid.subjectKeyIdentifier, octetString(Buffer.alloc(20, 1))),
    extension(oid.authorityKeyIdentifier, sequence()),
    extension(oid.cRLDistributionPoints, sequence()),
    extension(oid.authorityInfoAccess, sequence()),
    extension('1.2.3.4.5.6', Uint8Array.of(5, 0), true),
    subjectAltNameExtension([{ type: 'dNSName', value: 'device-1.test' }], nameFromString('CN=a')),
  ];

  test('the certificate has the template’s extensions and no other', async () => {
    const authorities = await open();
    const certificate = certificateIn(
      await enrol(authorities, { challengePassword: 'x', extensions: greedy }),
    );
    assert.deepEqual(basicConstraintsOf(certificate), { ca: false });
    assert.deepEqual(keyUsageOf(certificate), ['digitalSignature']);
    assert.deepEqual(extKeyUsageOf(certificate), [oid.clientAuth]);
    assert.deepEqual(subjectAltNameOf(certificate), [{ type: 'dNSName', value: 'device-1.test' }]);
    assert.deepEqual(
      certificate.extensions.map(({ oid: type }) => type),
      [
        oid.basicConstraints,
        oid.keyUsage,
        oid.extKeyUsage,
        oid.subjectAltName,
        oid.subjectKeyIdentifier,
        oid.authorityKeyIdentifier,
        oid.cRLDistributionPoints,
        oid.authorityInfoAccess,
      ],
    );
    const octets = Buffer.from(certificate.raw);
    assert.equal(octets.indexOf('S-1-5-21'), -1);
    assert.equal(octets.indexOf(Buffer.alloc(20, 1)), -1);
    assert.ok(authorities.logged.some((line) => line.includes(oid.microsoftSecurityIdentifier)));
  });
});

describe('what is written down', () => {
  test('is never a challenge or a secret: not in the database, not in the log', async () => {
    const authorities = await open();
    const { folder, scripted, logged } = authorities;
    const challenges: string[] = [staticSecret];
    const send = async (sent: Sent) => {
      if (sent.challengePassword !== undefined) challenges.push(sent.challengePassword);
      return await enrol(authorities, sent);
    };
    const oneTime = await authorities.challengeFor('one-time');
    await send({ endpoint: 'one-time', challengePassword: oneTime });
    await send({ endpoint: 'one-time', challengePassword: oneTime, key: keys.other });
    await send({ endpoint: 'one-time', challengePassword: 'a-guess-at-a-one-time-challenge' });
    await send({ endpoint: 'static', challengePassword: staticSecret });
    await send({ endpoint: 'static', challengePassword: 'a-guess-at-the-static-secret' });
    await send({ challengePassword: 'accepted-by-the-validator' });
    scripted.verdict = { verdict: 'refuse', code: 'challenge_expired', detail: 'ChallengeExpired' };
    await send({ challengePassword: 'refused-by-the-validator' });
    scripted.verdict = () => {
      throw new Error('broken');
    };
    await send({ challengePassword: 'choked-on-by-the-validator' });
    scripted.verdict = { verdict: 'accept', names: 'vouched' };
    scripted.success = { verdict: 'unreachable', detail: '' };
    await send({ challengePassword: 'withheld-by-the-validator' });
    await send({ challengePassword: 'refused-by-the-lint', subject: `CN=${'a'.repeat(65)}` });
    assert.ok((await auditIn(authorities)).length >= 10);
    assert.equal(challenges.length, 11);

    const files = readdirSync(folder).filter((name) => name.startsWith('pki.sqlite'));
    assert.ok(files.includes('pki.sqlite-wal'));
    for (const challenge of challenges) {
      const forms = [
        challenge,
        Buffer.from(challenge).toString('base64').replace(/=+$/, ''),
        Buffer.from(challenge).toString('base64url'),
        Buffer.from(challenge).toString('hex'),
        Buffer.from(challenge, 'utf16le').toString('latin1'),
      ];
      for (const form of forms) {
        for (const file of files) {
          const at = readFileSync(join(folder, file)).indexOf(form, 0, 'latin1');
          assert.equal(at, -1, `${challenge} stands in ${file} at ${at}`);
        }
        assert.ok(!logged.some((line) => line.includes(form)), `${challenge} stands in the log`);
      }
    }
    // The search does find what is there.
    assert.ok(files.some((file) => readFileSync(join(folder, file)).includes('CN=device-1,O=Test')));
  });

  test('is what an operator looks for, and no more of a stranger’s words than tells a device', async () => {
    const authorities = await open();
    authorities.scripted.verdict = { verdict: 'refuse', code: 'device_unknown', detail: 'BadDeviceId' };
    const subject = `CN=device-1,OU=${'x'.repeat(5000)}`;
    const outcome = await enrol(authorities, { challengePassword: 'x', subject });
    await assertRefused(authorities, outcome, 'device_unknown');
    const [entry] = await auditIn(authorities);
    assert.equal(entry?.actor, 'TEST\\svc-ra');
    assert.partialDeepStrictEqual(entry.detail, {
      endpoint: 'scripted',
      transactionID: 'transaction-1',
      source: '192.0.2.1',
      detail: 'BadDeviceId',
    });
    assert.match(entry.detail.publicKeyHash ?? '', /^[0-9a-f]{64}$/);
    assert.equal(entry.detail.subject?.length, 256);
    assert.ok(entry.detail.subject?.startsWith('CN=device-1,OU=xxx'));
  });

  test('if the audit list cannot be written, nothing is decided', async () => {
    const failures = new StoreFailures();
    const authorities = await open({ storeOf: failures.wrap });
    const { ra, scripted } = authorities;
    scripted.verdict = { verdict: 'refuse', code: 'device_unknown', detail: '' };
    const want = { outcome: 'unavailable', code: 'store_unavailable', reference: '' };
    failures.plan('appendAudit', 'not persisted');
    assert.deepEqual(await enrol(authorities, { challengePassword: 'x' }), want);
    failures.plan('appendAudit', 'not persisted');
    assert.deepEqual(await enrol(authorities, { endpoint: 'absent' }), want);
    failures.plan('appendAudit', 'not persisted');
    const context = { endpoint: 'scripted', transactionID: 't', source: '' };
    assert.deepEqual(await ra.refuse('scep_signature', '', context), want);
    assert.ok(authorities.logged.some((line) => line.includes('the audit log cannot be written')));
  });
});

describe('enrolService', () => {
  const order = async (template: string, fields: RequestFields = {}) => ({
    issuer: 'issuing',
    template,
    operator: 'operator test',
    csr: parseCertificationRequest(await requestOf(fields)),
  });
  const dns = subjectAltNameExtension([{ type: 'dNSName', value: 'scep.test' }], nameFromString('CN=a'));

  test('issues on an operator’s word, within the template', async () => {
    const authorities = await open();
    const { ra } = authorities;
    const certificate = await ra.enrolService(await order('web-server', { extensions: [dns] }));
    assert.deepEqual(extKeyUsageOf(certificate), [oid.serverAuth]);
    const [record] = await recordsIn(authorities);
    assert.equal(record?.requester, 'operator test');
  });

  const refused: readonly (readonly [
    name: string,
    code: ErrorCode,
    template: string,
    fields: RequestFields,
  ])[] = [
    ['no name where one must be', 'san_missing', 'web-server', {}],
    ['an unknown template', 'template_denied', 'absent', {}],
    ['names where none may be', 'san_mismatch', 'ra-signing', { extensions: [dns] }],
    [
      'an unreadable extension',
      'der_malformed',
      'ra-signing',
      { extensions: [{ ...dns, value: Uint8Array.of(0) }] },
    ],
  ];
  for (const [name, code, template, fields] of refused) {
    test(`refuses ${name}`, async () => {
      const authorities = await open();
      const ordered = await order(template, fields);
      await assert.rejects(
        authorities.ra.enrolService(ordered),
        (thrown) => thrown instanceof PkiError && thrown.code === code,
      );
      assert.deepEqual(await recordsIn(authorities), []);
    });
  }
});
