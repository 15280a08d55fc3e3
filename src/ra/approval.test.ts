/** Requests that wait for a certificate manager, from the device's message to the certificate or the no. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, test } from 'node:test';
import { pino } from 'pino';
import {
  auditIn,
  clientTemplate,
  DAY_MS,
  type EndpointName,
  type FixtureKey,
  type FixtureOptions,
  keys,
  openTestAuthorities,
  recordsIn,
  requestOf,
  type TestAuthorities,
} from '../../test/support/authorities-fixture.ts';
import { type CertificateTemplate, resolveTemplates } from '../ca/index.ts';
import {
  type Extension,
  nameFromString,
  nameToString,
  oid,
  parseCertificate,
  parseCertificationRequest,
  subjectAltNameExtension,
} from '../codec/index.ts';
import { type ErrorCode, PkiError } from '../errors.ts';
import { decideAbout } from './approval.ts';
import { decide } from './decide.ts';
import { type Outcome, RegistrationAuthority } from './registration-authority.ts';
import { sealKeyOf } from './sealed-request.ts';
import { manualApprovalValidator } from './validators/manual-approval.ts';

interface Sent {
  readonly endpoint?: EndpointName;
  readonly challengePassword?: string;
  readonly transactionID?: string;
  readonly subject?: string;
  readonly key?: FixtureKey;
  readonly signerKey?: FixtureKey;
  readonly extensions?: readonly Extension[];
}

const requests = new Map<string, Uint8Array>();

/** A device that keeps its request and sends it again and again. */
async function enrol({ ra, clock }: TestAuthorities, sent: Sent = {}): Promise<Outcome> {
  const {
    endpoint = 'asked',
    transactionID = 'transaction-1',
    challengePassword,
    subject,
    key,
    signerKey,
  } = sent;
  const fields = {
    ...(challengePassword === undefined ? {} : { challengePassword }),
    ...(subject === undefined ? {} : { subject }),
    ...(key === undefined ? {} : { key }),
    ...(sent.extensions === undefined ? {} : { extensions: sent.extensions }),
  };
  const name = JSON.stringify([challengePassword, subject, key === keys.other, sent.extensions?.length]);
  const csr = requests.get(name) ?? (await requestOf(fields));
  requests.set(name, csr);
  return await ra.enrol({
    endpoint,
    transactionID,
    csr: parseCertificationRequest(csr),
    challengePassword: challengePassword ?? '',
    ...(signerKey === undefined ? {} : { signerSpki: signerKey.spki }),
    source: 'test',
    receivedAt: clock.now(),
  });
}

function poll(
  { ra }: TestAuthorities,
  asked: {
    readonly endpoint?: EndpointName;
    readonly transactionID?: string;
    readonly key?: FixtureKey;
  } = {},
): Promise<Outcome> {
  const { endpoint = 'asked', transactionID = 'transaction-1', key = keys.device } = asked;
  return ra.poll({ endpoint, transactionID, signerSpki: key.spki, source: 'test' });
}

const manage = (
  { store, clock }: TestAuthorities,
  status: 'approved' | 'denied',
  id = 1,
  comment = 'because',
) => decideAbout(store, { id, status, by: 'operator anna', comment, at: clock.now() });

const codeOf = (outcome: Outcome) => ('code' in outcome ? outcome.code : outcome.outcome);

function certificateIn(outcome: Outcome) {
  assert.equal(outcome.outcome, 'issued', JSON.stringify(outcome));
  return parseCertificate(outcome.certificate);
}

async function assertPending(authorities: TestAuthorities, outcome: Outcome): Promise<void> {
  assert.equal(outcome.outcome, 'pending', JSON.stringify(outcome));
  assert.deepEqual(await recordsIn(authorities), [], 'nothing is made before somebody said yes');
}

async function withAuthorities(
  work: (authorities: TestAuthorities) => Promise<void>,
  options: FixtureOptions = {},
): Promise<void> {
  const authorities = await openTestAuthorities(options);
  try {
    await work(authorities);
  } finally {
    await authorities.close();
  }
}

/** The fixture's template, changed by a configuration. */
function templatesWith(change: Record<string, unknown>): readonly CertificateTemplate[] {
  const { templates, faults } = resolveTemplates([
    { name: clientTemplate.name, extend: clientTemplate.name, ...change },
  ]);
  assert.deepEqual(faults, []);
  return templates;
}

const sent = { challengePassword: 'the challenge' };

describe('decide', () => {
  const accept = { verdict: 'accept', names: 'vouched' } as const;
  const [plain = clientTemplate] = templatesWith({}).filter(({ name }) => name === clientTemplate.name);
  const managed =
    templatesWith({ approval: 'certificateManager' }).find(({ name }) => name === plain.name) ?? plain;
  const rows = [
    [
      'refuses what a validator refuses',
      managed,
      [accept, { verdict: 'refuse', code: 'challenge_unknown', detail: '' }],
      'refuse',
    ],
    [
      'refuses when only a refusing one asks a person',
      plain,
      [{ verdict: 'refuse', code: 'key_weak', detail: '' }],
      'refuse',
    ],
    ['postpones what cannot be asked', managed, [accept, { verdict: 'unreachable', detail: '' }], 'postpone'],
    ['refuses without any validator', managed, [], 'refuse'],
    ['holds for a template', managed, [accept], 'hold'],
    [
      'holds for one validator of two',
      plain,
      [accept, { ...accept, approval: 'certificateManager' }],
      'hold',
    ],
    ['approves where nobody is to be asked', plain, [accept], 'approve'],
  ] as const;
  for (const [name, template, verdicts, want] of rows) {
    test(name, async () => {
      const csr = parseCertificationRequest(await requestOf({}));
      assert.equal(decide(template, csr, verdicts).decision, want);
    });
  }
});

describe('a request that is held', () => {
  test('gets nothing, however often it comes and whoever polls', () =>
    withAuthorities(async (authorities) => {
      for (let count = 0; count < 3; count += 1) {
        await assertPending(authorities, await enrol(authorities, sent));
        await assertPending(authorities, await poll(authorities));
      }
      assert.equal((await authorities.store.heldRequests({ limit: 10 })).length, 1);
      assert.equal(authorities.scripted.validated.length, 1, 'validators are asked once');
      assert.deepEqual(
        (await auditIn(authorities)).map(({ event }) => event),
        ['enrolment.held'],
        'waiting is no news',
      );
    }));

  test('has spent its challenge: another key or another wish with it is refused', () =>
    withAuthorities(async (authorities) => {
      await enrol(authorities, sent);
      for (const changed of [{ key: keys.other }, { subject: 'CN=somebody-else' }])
        assert.equal(codeOf(await enrol(authorities, { ...sent, ...changed })), 'challenge_reused');
      assert.equal((await authorities.store.heldRequests({ limit: 10 })).length, 1);
    }));

  for (const [name, asked] of [
    ['with another key', { key: keys.other }],
    ['of another transaction', { transactionID: 'transaction-2' }],
    ['at another endpoint', { endpoint: 'manual' }],
    ['at an endpoint where nobody is asked', { endpoint: 'one-time' }],
  ] as const) {
    test(`is not shown to a poll ${name}, approved or not`, () =>
      withAuthorities(async (authorities) => {
        await enrol(authorities, sent);
        assert.equal(codeOf(await poll(authorities, asked)), 'certificate_unknown');
        await manage(authorities, 'approved');
        assert.equal(codeOf(await poll(authorities, asked)), 'certificate_unknown');
        assert.deepEqual(await recordsIn(authorities), []);
      }));
  }

  test('is shown to the key that signed the message, and not to that of the certificate', () =>
    withAuthorities(async (authorities) => {
      await enrol(authorities, { ...sent, signerKey: keys.other });
      assert.equal(codeOf(await poll(authorities)), 'certificate_unknown');
      assert.equal((await poll(authorities, { key: keys.other })).outcome, 'pending');
    }));

  test('is not held if a validator refuses it, or it could not be issued', () =>
    withAuthorities(async (authorities) => {
      authorities.scripted.verdict = { verdict: 'refuse', code: 'challenge_unknown', detail: '' };
      assert.equal(codeOf(await enrol(authorities, sent)), 'challenge_unknown');
      authorities.scripted.verdict = { verdict: 'unreachable', detail: '' };
      assert.equal(codeOf(await enrol(authorities, sent)), 'validator_unreachable');
      authorities.scripted.verdict = { verdict: 'accept', names: 'vouched' };
      const long = { ...sent, subject: `CN=${'a'.repeat(65)}` };
      assert.equal(codeOf(await enrol(authorities, long)), 'subject_mismatch');
      assert.equal(codeOf(await enrol(authorities)), 'challenge_missing', 'the other validator wants one');
      assert.deepEqual(await authorities.store.heldRequests({ limit: 10 }), []);
    }));

  test('is one of no more than may wait', () =>
    withAuthorities(
      async (authorities) => {
        const one = (transactionID: string) => enrol(authorities, { endpoint: 'manual', transactionID });
        assert.equal((await one('a')).outcome, 'pending');
        assert.equal((await one('b')).outcome, 'pending');
        const third = await one('c');
        assert.equal(third.outcome === 'unavailable' && third.code, 'approval_queue_full');
        assert.equal((await one('a')).outcome, 'pending', 'who waits goes on waiting');
        await manage(authorities, 'denied', 1);
        assert.equal((await one('c')).outcome, 'pending');
      },
      { waitingMax: 2 },
    ));

  test('lies in no database in the clear, and can be changed by nobody', () =>
    withAuthorities(async (authorities) => {
      await enrol(authorities, { challengePassword: 'a-challenge-to-be-kept' });
      const held = await authorities.store.heldRequest({ id: 1 });
      assert.ok(held !== undefined && held.sealed.length > 500);
      assert.equal(Buffer.from(held.sealed).includes('a-challenge-to-be-kept'), false);
      assert.equal(authorities.logged.join('').includes('a-challenge-to-be-kept'), false);
      const database = new DatabaseSync(join(authorities.folder, 'pki.sqlite'));
      database.exec("UPDATE held_request SET subject = 'CN=harmless'");
      database.close();
      await manage(authorities, 'approved');
      assert.equal(codeOf(await poll(authorities)), 'key_unavailable');
      assert.deepEqual(await recordsIn(authorities), []);
    }));
});

describe('a request that is denied', () => {
  test('is refused with a code of its own, and its validators are told once', () =>
    withAuthorities(async (authorities) => {
      await enrol(authorities, sent);
      await manage(authorities, 'denied', 1, 'not our device');
      const references = new Set<string>();
      for (const outcome of [
        await poll(authorities),
        await enrol(authorities, sent),
        await poll(authorities),
      ]) {
        assert.equal(outcome.outcome === 'refused' && outcome.code, 'approval_denied');
        const [entry] = await authorities.store.auditEntries({
          reference: 'reference' in outcome ? outcome.reference : '',
          limit: 1,
        });
        assert.match(entry?.detail.detail ?? '', /^request 1, by operator anna: not our device$/);
        references.add(entry?.reference ?? '');
      }
      assert.equal(references.size, 3);
      assert.deepEqual(authorities.scripted.failed, [
        { hResult: 0x80094014, description: 'the request was denied' },
      ]);
      assert.deepEqual(await recordsIn(authorities), []);
      const [decision] = await authorities.store.auditEntries({ event: 'enrolment.denied', limit: 5 });
      assert.equal(decision?.actor, 'operator anna');
      assert.equal(decision?.code, 'approval_denied');
      assert.match(decision?.reference ?? '', /^LG-/);
    }));

  test('cannot be approved, nor the other way round, and an unknown one neither', () =>
    withAuthorities(async (authorities) => {
      const fault = (code: ErrorCode) => (thrown: unknown) =>
        thrown instanceof PkiError && thrown.code === code;
      await assert.rejects(manage(authorities, 'approved'), fault('request_unknown'));
      await enrol(authorities, sent);
      await enrol(authorities, { challengePassword: 'second' });
      await manage(authorities, 'denied', 1);
      await assert.rejects(manage(authorities, 'approved', 1), fault('request_decided'));
      await manage(authorities, 'approved', 2);
      await assert.rejects(manage(authorities, 'denied', 2), fault('request_decided'));
      await assert.rejects(manage(authorities, 'denied', 3), fault('request_unknown'));
      assert.equal(codeOf(await enrol(authorities, sent)), 'approval_denied');
    }));
});

describe('a request that nobody decides about', () => {
  test('expires: it is refused, and cannot be approved any more', () =>
    withAuthorities(async (authorities) => {
      await enrol(authorities, sent);
      authorities.clock.offsetMs += 30 * DAY_MS - 60_000;
      await assertPending(authorities, await poll(authorities));
      authorities.clock.offsetMs += 120_000;
      assert.equal(codeOf(await poll(authorities)), 'approval_expired');
      assert.equal(codeOf(await enrol(authorities, sent)), 'approval_expired');
      await assert.rejects(
        manage(authorities, 'approved'),
        (thrown) => thrown instanceof PkiError && thrown.code === 'request_decided',
      );
      assert.deepEqual(await recordsIn(authorities), []);
    }));
});

describe('a request that is approved', () => {
  for (const [name, ask] of [
    ['at the next poll', poll],
    ['when it is sent again', (authorities: TestAuthorities) => enrol(authorities, sent)],
  ] as const) {
    test(`gets one certificate ${name}, as it was held, and the same one ever after`, () =>
      withAuthorities(async (authorities) => {
        await enrol(authorities, sent);
        // What is said of it later changes nothing: it was validated when it came.
        authorities.scripted.verdict = { verdict: 'refuse', code: 'challenge_expired', detail: '' };
        await manage(authorities, 'approved');
        const certificate = certificateIn(await ask(authorities));
        assert.equal(nameToString(certificate.subject), 'CN=device-1,O=Test');
        for (const outcome of [await poll(authorities), await enrol(authorities, sent)])
          assert.equal(certificateIn(outcome).serialNumber, certificate.serialNumber);
        const records = await recordsIn(authorities);
        assert.deepEqual(
          records.map(({ serialNumber, status }) => [serialNumber, status]),
          [[certificate.serialNumber, 'issued']],
        );
        assert.equal((await authorities.store.heldRequest({ id: 1 }))?.status, 'issued');
        // The validator hears of it as if the request had just come.
        assert.equal(authorities.scripted.succeeded.length, 1);
        assert.equal(authorities.scripted.succeeded[0]?.request.challengePassword, 'the challenge');
        const [issued] = await authorities.store.auditEntries({ event: 'certificate.issued', limit: 1 });
        assert.equal(issued?.detail.approvedBy, 'operator anna');
      }));
  }

  test('gets one certificate when many ask at once', () =>
    withAuthorities(async (authorities) => {
      await enrol(authorities, sent);
      await manage(authorities, 'approved');
      const outcomes = await Promise.all(
        Array.from({ length: 12 }, (_, n) => (n % 2 === 0 ? poll(authorities) : enrol(authorities, sent))),
      );
      assert.equal(new Set(outcomes.map((outcome) => certificateIn(outcome).serialNumber)).size, 1);
      assert.equal((await recordsIn(authorities)).length, 1);
    }));

  test('gets one certificate from two servers', () =>
    withAuthorities(async (first) => {
      await enrol(first, sent);
      await manage(first, 'approved');
      const second = await openTestAuthorities({ folder: first.folder });
      const outcomes = await Promise.all(
        Array.from({ length: 8 }, (_, n) => (n % 2 === 0 ? poll(first) : poll(second))),
      );
      const issued = outcomes.filter(({ outcome }) => outcome === 'issued');
      assert.ok(issued.length > 0);
      assert.equal(new Set(issued.map((outcome) => certificateIn(outcome).serialNumber)).size, 1);
      for (const outcome of outcomes)
        assert.ok(
          outcome.outcome === 'issued' || codeOf(outcome) === 'enrolment_busy',
          JSON.stringify(outcome),
        );
      assert.equal((await recordsIn(first)).filter(({ status }) => status !== 'abandoned').length, 1);
      await second.close();
    }));

  test('is not issued again once its certificate was revoked', () =>
    withAuthorities(async (authorities) => {
      await enrol(authorities, sent);
      await manage(authorities, 'approved');
      const { serialNumber } = certificateIn(await poll(authorities));
      await authorities.ca.revoke({
        issuer: 'issuing',
        serialNumber,
        reason: 'keyCompromise',
        actor: 'operator anna',
        text: '',
      });
      assert.equal(codeOf(await poll(authorities)), 'certificate_revoked');
      assert.equal(codeOf(await enrol(authorities, sent)), 'certificate_revoked');
      assert.equal((await recordsIn(authorities)).length, 1);
    }));

  test('is still bound by the template as it is now', () =>
    withAuthorities(async (authorities) => {
      await enrol(authorities, sent);
      await manage(authorities, 'approved');
      const stricter = await openTestAuthorities({
        folder: authorities.folder,
        templates: templatesWith({ rsaBitsMin: 4096 }),
      });
      assert.equal(codeOf(await poll(stricter)), 'key_size_mismatch');
      assert.deepEqual(await recordsIn(authorities), []);
      await stricter.close();
      certificateIn(await poll(authorities));
    }));
});

describe('an endpoint that asks a person and nobody else', () => {
  test('issues by the template that was approved, also if it enrols for another one since', () =>
    withAuthorities(async (authorities) => {
      await enrol(authorities, { endpoint: 'manual' });
      await manage(authorities, 'approved');
      const { ca, store, clock } = authorities;
      const changed = new RegistrationAuthority({
        ca,
        store,
        clock,
        policies: [
          {
            endpoint: 'manual',
            issuer: 'issuing',
            template: 'vpn-ipsec',
            validators: [manualApprovalValidator],
          },
        ],
        serviceIdentity: 'ra',
        log: pino({ level: 'silent' }),
        holding: {
          sealKey: sealKeyOf(Buffer.alloc(32, 'hash key')),
          expiresAfterMs: DAY_MS,
          waitingMax: 1,
        },
      });
      certificateIn(await poll({ ...authorities, ra: changed }, { endpoint: 'manual' }));
      assert.deepEqual(
        (await recordsIn(authorities)).map(({ template }) => template),
        [clientTemplate.name],
      );
    }));

  test('wants no challenge, and lets nothing through by itself', () =>
    withAuthorities(async (authorities) => {
      const ask = { endpoint: 'manual' } as const;
      await assertPending(authorities, await enrol(authorities, ask));
      await assertPending(
        authorities,
        await enrol(authorities, { ...ask, ...sent, transactionID: 'another' }),
      );
      await manage(authorities, 'approved');
      certificateIn(await poll(authorities, ask));
    }));

  test('shows the names that are approved, and gives no others', () =>
    withAuthorities(async (authorities) => {
      const extensions = [
        subjectAltNameExtension(
          [{ type: 'userPrincipalName', value: 'anna@corp.example' }],
          nameFromString('CN=x'),
        ),
        { oid: oid.microsoftSecurityIdentifier, critical: false, value: Uint8Array.of(0x30, 0) },
      ];
      await assertPending(authorities, await enrol(authorities, { endpoint: 'manual', extensions }));
      const held = await authorities.store.heldRequest({ id: 1 });
      assert.deepEqual(
        [held?.subject, held?.subjectAltName],
        ['CN=device-1,O=Test', 'UPN:anna@corp.example'],
      );
      await manage(authorities, 'approved');
      const certificate = certificateIn(await poll(authorities, { endpoint: 'manual' }));
      assert.equal(
        certificate.extensions.some((extension) => extension.oid === oid.microsoftSecurityIdentifier),
        false,
      );
    }));
});

describe('a template that wants a person', () => {
  const templates = templatesWith({ approval: 'certificateManager' });
  test('holds at any endpoint', () =>
    withAuthorities(
      async (authorities) => {
        const ask = { endpoint: 'scripted', ...sent } as const;
        await assertPending(authorities, await enrol(authorities, ask));
        await manage(authorities, 'approved');
        certificateIn(await poll(authorities, { endpoint: 'scripted' }));
      },
      { templates },
    ));

  test('holds a claim that a server without the wish has left behind', () =>
    withAuthorities(async (authorities) => {
      const folder = { folder: authorities.folder };
      authorities.scripted.success = { verdict: 'accept', names: 'vouched' };
      const dying = await openTestAuthorities({
        ...folder,
        storeOf: (store) =>
          new Proxy(store, {
            get: (target, property) =>
              property === 'recordCertificate'
                ? () => Promise.reject(new PkiError('store_unavailable', 'planned'))
                : Reflect.get(target, property, target).bind(target),
          }),
      });
      const ask = { endpoint: 'scripted', ...sent } as const;
      assert.equal(codeOf(await enrol(dying, ask)), 'store_unavailable');
      await dying.ca.abandonDeadIntents('at-start');
      await dying.close();
      const managed = await openTestAuthorities({ ...folder, templates });
      assert.equal((await enrol(managed, ask)).outcome, 'pending');
      assert.equal((await enrol(managed, ask)).outcome, 'pending');
      await manage(managed, 'approved');
      certificateIn(await enrol(managed, ask));
      await managed.close();
    }));

  test('takes an operator’s order for his approval', () =>
    withAuthorities(
      async (authorities) => {
        await authorities.ra.enrolService({
          issuer: 'issuing',
          template: clientTemplate.name,
          csr: parseCertificationRequest(await requestOf({})),
          operator: 'operator anna',
        });
        const [issued] = await authorities.store.auditEntries({ event: 'certificate.issued', limit: 1 });
        assert.equal(issued?.detail.approvedBy, 'operator anna');
      },
      { templates },
    ));
});

describe('a renewal that a person has to approve', () => {
  const renewal = {
    challenge: 'notNeeded',
    key: 'changedOrSame',
    names: 'asBefore',
    windowMs: 400 * DAY_MS,
    revokeReplacedAfterMs: 1,
  } as const;
  const templates = templatesWith({ approval: 'certificateManager' });

  /** A device with a certificate, and a server that asks a person about its renewal. */
  async function withRenewal(
    work: (managed: TestAuthorities, ask: () => Promise<Outcome>, old: string) => Promise<void>,
  ): Promise<void> {
    await withAuthorities(async (authorities) => {
      const old = certificateIn(await enrol(authorities, { endpoint: 'scripted', ...sent }));
      const managed = await openTestAuthorities({ folder: authorities.folder, templates, renewal });
      const csr = parseCertificationRequest(await requestOf({ key: keys.other }));
      const ask = () =>
        managed.ra.enrol({
          endpoint: 'scripted',
          transactionID: 'renewal',
          csr,
          challengePassword: '',
          renews: { signer: old, asked: 'expressly' },
          signerSpki: old.spki,
          source: 'test',
          receivedAt: managed.clock.now(),
        });
      await work(managed, ask, old.serialNumber);
      await managed.close();
    });
  }
  const pollFor = (authorities: TestAuthorities, key = keys.device) =>
    poll(authorities, { endpoint: 'scripted', transactionID: 'renewal', key });

  test('waits, is asked for with the old key, and replaces nothing before it is approved', () =>
    withRenewal(async (managed, ask, old) => {
      assert.equal((await ask()).outcome, 'pending');
      assert.equal((await ask()).outcome, 'pending');
      assert.equal((await pollFor(managed)).outcome, 'pending');
      assert.equal(codeOf(await pollFor(managed, keys.other)), 'certificate_unknown');
      managed.clock.offsetMs += 60_000;
      assert.equal(await managed.ra.revokeReplaced(), 0);
      await manage(managed, 'approved');
      const renewed = certificateIn(await pollFor(managed));
      assert.deepEqual(Buffer.from(renewed.spki), Buffer.from(keys.other.spki));
      assert.equal(certificateIn(await pollFor(managed)).serialNumber, renewed.serialNumber);
      managed.clock.offsetMs += 60_000;
      assert.equal(await managed.ra.revokeReplaced(), 1);
      const statuses = (await recordsIn(managed)).map(({ serialNumber, status }) => [serialNumber, status]);
      assert.deepEqual(statuses, [
        [renewed.serialNumber, 'issued'],
        [old, 'revoked'],
      ]);
    }));

  test('is not made once the old certificate was revoked, approved or not', () =>
    withRenewal(async (managed, ask, old) => {
      await ask();
      await manage(managed, 'approved');
      const { issuer } = (await recordsIn(managed))[0] ?? assert.fail('no certificate');
      const how = { issuer, serialNumber: old, actor: 'operator anna', text: '' };
      await managed.ca.revoke({ ...how, reason: 'keyCompromise' });
      assert.equal(codeOf(await pollFor(managed)), 'renewal_revoked');
      assert.equal(codeOf(await ask()), 'renewal_revoked');
      assert.equal((await recordsIn(managed)).length, 1);
    }));
});
