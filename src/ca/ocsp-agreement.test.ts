import assert from 'node:assert/strict';
import { afterEach, describe, test } from 'node:test';
import { pino } from 'pino';
import {
  certificates,
  FixtureClock,
  inDays,
  issuer,
  newEcKey,
  openTestAuthorities,
  publishedCrl,
  requestOf,
  type TestAuthorities,
} from '../../test/support/authorities-fixture.ts';
import { buildOcspError, type Crl, parseCertificationRequest, parseCrl } from '../codec/index.ts';
import type { CrlKind, RevocationReason } from '../store/index.ts';
import type { Issuer } from './issuer.ts';
import { compareCrlsWithOcsp, type OcspDisagreement } from './ocsp-agreement.ts';
import { type NeverIssuedStatus, OcspResponder } from './ocsp-responder.ts';

const log = pino({ level: 'silent' });
const signerKey = await newEcKey();
const neverIssued = ['01', '7fffffffffffffff', '0badc0de0badc0de'];
const reasons: readonly RevocationReason[] = [
  'unspecified',
  'keyCompromise',
  'cACompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  'certificateHold',
  'privilegeWithdrawn',
  'aACompromise',
];

let opened: TestAuthorities | undefined;
afterEach(async () => {
  await opened?.close();
  opened = undefined;
});

/** A CA with certificates of every status, its responder, and the comparison of both ways to ask. */
async function open(never: NeverIssuedStatus, changes: Partial<Issuer> = {}) {
  const clock = new FixtureClock();
  const authorities = await openTestAuthorities({ clock, issuer: { ...issuer, ...changes } });
  opened = authorities;
  const { ra, ca, store } = authorities;
  const enrol = async (template: string, key?: typeof signerKey) =>
    await ra.enrolService({
      issuer: 'issuing',
      template,
      csr: parseCertificationRequest(await requestOf(key === undefined ? {} : { key })),
      operator: 'test',
    });
  const certificate = await enrol('ocsp-signing', signerKey);
  const signer = { certificate, key: signerKey, signatureAlgorithm: 'ecdsa-sha256' as const };
  const responder = new OcspResponder({
    issuers: [{ name: 'issuing', certificate: certificates.issuing, signer: async () => signer }],
    store,
    neverIssued: never,
    lifetimeMs: 3_600_000,
    clock,
    log,
  });
  const issue = async () => (await enrol('client-authentication')).serialNumber;
  const revoke = async (serialNumber: string, reason: RevocationReason) =>
    await ca.revoke({ issuer: 'issuing', serialNumber, reason, actor: 'test', text: '' });
  const serialNumbers = async () => [
    ...(await store.certificates({ issuer: 'issuing', limit: 1000 })).map((record) => record.serialNumber),
    ...neverIssued,
  ];
  const currentCrl = async () => parseCrl((await publishedCrl(ca)).crl);
  const release = async (serialNumber: string) =>
    await ca.release({ issuer: 'issuing', serialNumber, actor: 'test', text: '' });
  /** Every part of the CRL, in this kind. */
  const parts = async (kind: CrlKind) => {
    const latest = (await ca.publishCrls('issuing')).map((state) => state.partition);
    const records = await Promise.all(
      [...new Set(latest)].map((partition) => ca.latestCrl('issuing', partition, kind)),
    );
    return records.flatMap((record) => (record === undefined ? [] : [parseCrl(record.crl)]));
  };
  const compare = async (...crls: readonly Crl[]): Promise<OcspDisagreement[]> =>
    await compareCrlsWithOcsp({
      issuer: certificates.issuing,
      crls,
      serialNumbers: await serialNumbers(),
      ask: async (request) => (await responder.respond(request)).response,
      at: clock.now(),
    });
  const fill = async () => {
    const issued: string[] = [];
    for (let count = 0; count < reasons.length + 3; count += 1) issued.push(await issue());
    for (const [index, reason] of reasons.entries()) await revoke(issued[index] as string, reason);
    for (const serialNumber of ['4a00000000000001', '4a00000000000002']) {
      await store.reserveSerial({
        requestID: `request-of-${serialNumber}`,
        issuer: 'issuing',
        serialNumber,
        template: 'client-authentication',
        subject: 'CN=nobody',
        subjectAltName: '',
        requester: 'test',
        device: '',
        publicKeyHash: '00'.repeat(32),
        notBefore: inDays(-1),
        notAfter: inDays(30),
        crlPartition: 0,
        tbsCertificate: Uint8Array.of(1),
        reservedAt: clock.now(),
      });
      // The first is abandoned, the second stays open.
      if (serialNumber.endsWith('1')) await ca.abandonDeadIntents('at-start');
    }
    return issued;
  };
  return { issue, revoke, release, parts, currentCrl, compare, fill, serialNumbers, clock, responder };
}

describe('CRL and OCSP', () => {
  for (const never of ['unknown', 'revoked'] as const) {
    test(`agree on every serial number, whatever became of it (never issued: ${never})`, async () => {
      const { fill, compare, currentCrl, serialNumbers } = await open(never);
      await fill();
      const crl = await currentCrl();
      assert.equal(crl.revoked.length, reasons.length + 1);
      assert.ok((await serialNumbers()).length >= reasons.length + 3 + 2 + neverIssued.length);
      assert.deepEqual(await compare(crl), []);
      // Once more with answers that were signed before.
      assert.deepEqual(await compare(crl), []);
    });
  }
  test('agree over hold and release, with CRLs in parts and deltas', async () => {
    const { issue, revoke, release, parts, compare, clock } = await open('unknown', {
      crlPartitions: 3,
      deltaCrlPeriodMs: 24 * 3_600_000,
    });
    const issued: string[] = [];
    for (let count = 0; count < 12; count += 1) issued.push(await issue());
    const [first = '', second = '', third = '', ...others] = issued;
    for (const serialNumber of [first, second, ...others.slice(0, 5)])
      await revoke(serialNumber, 'certificateHold');
    const full = await parts('full');
    assert.ok(full.length >= 3);
    assert.deepEqual(await compare(...full, ...(await parts('delta'))), []);
    clock.offsetMs += 60_000;
    assert.equal(await release(first), 'released');
    await revoke(second, 'keyCompromise');
    await revoke(third, 'superseded');
    const changes = [first, second, third].toSorted();
    const ahead = await compare(...full);
    assert.deepEqual(ahead.map((one) => one.serialNumber).toSorted(), changes);
    const deltas = await parts('delta');
    assert.ok(deltas.some((crl) => crl.revoked.some((entry) => entry.reason === 'removeFromCRL')));
    assert.deepEqual(await compare(...full, ...deltas), []);
  });
  test('OCSP is ahead until the next CRL, and by nothing but the new revocation', async () => {
    const { fill, issue, revoke, compare, currentCrl, clock } = await open('unknown');
    await fill();
    const serialNumber = await issue();
    const crl = await currentCrl();
    assert.deepEqual(await compare(crl), []);
    await revoke(serialNumber, 'keyCompromise');
    const ahead = await compare(crl);
    assert.deepEqual(
      ahead.map((one) => [one.serialNumber, one.crl, one.ocsp.replace(/ \S+$/, '')]),
      [[serialNumber, 'not listed', 'revoked (keyCompromise)']],
    );
    clock.offsetMs += 1000;
    assert.deepEqual(await compare(await currentCrl()), []);
  });
});

describe('compareCrlsWithOcsp finds', () => {
  const changed = (crl: Crl, change: (entries: Crl['revoked'][number][]) => void): Crl => {
    const entries = [...crl.revoked];
    change(entries);
    return { ...crl, revoked: entries };
  };
  test('a revocation that the CRL lacks, one that it invents, another reason, another time', async () => {
    const { fill, compare, currentCrl } = await open('unknown');
    const issued = await fill();
    const crl = await currentCrl();
    const good = issued.at(-1) as string;
    const [entry] = crl.revoked;
    assert.ok(entry !== undefined);
    const rows: readonly (readonly [what: string, crl: Crl, serialNumber: string])[] = [
      ['lacks', changed(crl, (entries) => entries.shift()), entry.serialNumber],
      ['invents', changed(crl, (entries) => entries.push({ ...entry, serialNumber: good })), good],
      [
        'never issued',
        changed(crl, (entries) => entries.push({ ...entry, serialNumber: '0abcde' })),
        '0abcde',
      ],
      [
        'reason',
        changed(crl, (entries) => {
          entries[0] = {
            ...entry,
            reason: entry.reason === 'superseded' ? 'unspecified' : 'superseded',
          };
        }),
        entry.serialNumber,
      ],
      [
        'time',
        changed(crl, (entries) => {
          entries[0] = { ...entry, revocationDate: new Date(entry.revocationDate.getTime() - 1000) };
        }),
        entry.serialNumber,
      ],
    ];
    for (const [what, wrong, serialNumber] of rows) {
      assert.deepEqual(
        (await compare(wrong)).map((one) => one.serialNumber),
        [serialNumber],
        what,
      );
    }
  });
  test('a responder that cannot answer, or that answers about something else', async () => {
    const { issue, responder, clock } = await open('unknown');
    const [first, second] = [await issue(), await issue()];
    const base = { issuer: certificates.issuing, crls: [], serialNumbers: [first], at: clock.now() };
    assert.deepEqual(await compareCrlsWithOcsp({ ...base, ask: async () => buildOcspError('tryLater') }), [
      { serialNumber: first, crl: 'not listed', ocsp: 'tryLater' },
    ]);
    let kept: Uint8Array | undefined;
    await compareCrlsWithOcsp({
      ...base,
      serialNumbers: [second],
      ask: async (request) => {
        kept = (await responder.respond(request)).response;
        return kept;
      },
    });
    const [other] = await compareCrlsWithOcsp({ ...base, ask: async () => kept as Uint8Array });
    assert.match(other?.ocsp ?? '', /another certificate/);
    const [forged] = await compareCrlsWithOcsp({
      ...base,
      ask: async (request) => {
        const response = Buffer.from((await responder.respond(request)).response);
        const at = response.indexOf(Buffer.from(first, 'hex'));
        assert.ok(at > 0);
        // The last octet of the issuer's key hash, which the signature covers.
        response[at - 3] = (response[at - 3] as number) ^ 1;
        return response;
      },
    });
    assert.match(forged?.ocsp ?? '', /not signed/);
  });
});
