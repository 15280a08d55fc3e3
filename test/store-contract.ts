/**
 * What every implementation of `src/store/contract.ts` must do: one suite, run on each of them.
 *
 * It uses nothing but the contract, so that a test which passes on one database and fails on another has found a
 * difference that the rest of the program would meet.
 */
import assert from 'node:assert/strict';
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { PkiError } from '../src/errors.ts';
import {
  type CertificateFilter,
  type CertificateRecord,
  type CertificateStatus,
  type CrlEntry,
  openPkiStore,
  type PkiStore,
  type RevocationReason,
  type StoreLead,
} from '../src/store/index.ts';
import { adminContract } from './store-contract-admin.ts';
import type { ChildTask, Spoils } from './store-contract-child.ts';
import { heldContract } from './store-contract-held.ts';
import { replacedContract } from './store-contract-replaced.ts';
import { entriesOf, revocationContract } from './store-contract-revocation.ts';
import { toldContract } from './store-contract-told.ts';
import { upkeepContract } from './store-contract-upkeep.ts';
import {
  auditOf,
  certificateBytes,
  challengeOf,
  claimOf,
  type Elsewhere,
  heldOf,
  hex,
  instant,
  intentOf,
  issuedOf,
} from './support/store-fixture.ts';

/** A store that a test has for itself. */
export interface StoreUnderTest {
  readonly store: PkiStore;
  readonly elsewhere: Elsewhere;
  /** Closes the store and opens it again, on the same data. */
  reopen(): Promise<PkiStore>;
  /** Runs SQL beside the store, as who owns the database. */
  run(sql: string): Promise<void>;
  /** Closes the store and removes its data. */
  close(): Promise<void>;
}

/** Registers the suite for one implementation; `open` makes an empty store. */
export function storeContract(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(`store contract: ${name}`, () => {
    /** A test with an empty store. */
    const it = (title: string, body: (store: PkiStore, under: StoreUnderTest) => Promise<void>) => {
      test(title, async () => {
        const under = await open();
        try {
          await body(under.store, under);
        } finally {
          await under.close();
        }
      });
    };

    describe('absence', () => {
      it('is undefined, empty or zero, and never an error', async (store) => {
        assert.equal(await store.certificateBySerial('issuing', '01'), undefined);
        assert.equal(await store.certificateByRequest('request'), undefined);
        assert.deepEqual(await store.certificates({ limit: 10 }), []);
        assert.deepEqual(await entriesOf(store, 'issuing', instant(0)), []);
        assert.equal(await store.latestChange('issuing', 0), 0);
        assert.equal(await store.latestCrl('issuing', 0, 'full'), undefined);
        assert.equal(await store.enrolment('intune', 'replay'), undefined);
        assert.equal(await store.challenge('hash'), undefined);
        assert.deepEqual(await store.auditEntries({ limit: 10 }), []);
      });
    });

    describe('reserveSerial', () => {
      for (const [what, serialNumber] of [
        ['empty', ''],
        ['in upper case', 'AB'],
        ['of half an octet', 'abc'],
        ['not hexadecimal', 'zz'],
        ['of 21 octets', '01'.repeat(21)],
        ['followed by a line feed', '01\n'],
      ] as const) {
        it(`refuses a serial that is ${what}`, async (store) => {
          const intent = intentOf({ requestID: 'r', serialNumber });
          await rejects(store.reserveSerial(intent, claimOf({ requestID: 'r', replayKey: 'k' })), 'internal');
          assert.deepEqual(await store.certificates({ limit: 10 }), []);
          assert.equal(await store.enrolment('intune', 'k'), undefined);
        });
      }

      it('records the intent as it was given', async (store) => {
        const intent = intentOf({ requestID: 'r', serialNumber: 'ff'.repeat(20) });
        assert.equal(await store.reserveSerial(intent), 'reserved');
        const { tbsCertificate, ...given } = intent;
        assert.deepEqual(await store.certificateBySerial('issuing', intent.serialNumber), {
          id: 1,
          ...given,
          status: 'intent',
        });
        assert.deepEqual(await store.certificateByRequest('r'), { id: 1, ...given, status: 'intent' });
        assert.deepEqual(await entriesOf(store, 'issuing', instant(0)), []);
      });

      it('gives a serial away once, and writes nothing the second time', async (store) => {
        await store.reserveSerial(intentOf({ requestID: 'first', serialNumber: '01' }));
        assert.equal(
          await store.reserveSerial(
            intentOf({ requestID: 'second', serialNumber: '01' }),
            claimOf({ requestID: 'second', replayKey: 'k' }),
          ),
          'taken',
        );
        assert.equal((await store.certificateBySerial('issuing', '01'))?.requestID, 'first');
        assert.equal(await store.certificateByRequest('second'), undefined);
        assert.equal(await store.enrolment('intune', 'k'), undefined);
      });

      it('keeps the serials of each issuer apart', async (store) => {
        const reserve = (issuer: string) =>
          store.reserveSerial(intentOf({ issuer, requestID: issuer, serialNumber: '01' }));
        assert.deepEqual([await reserve('a'), await reserve('b')], ['reserved', 'reserved']);
        assert.equal((await store.certificateBySerial('b', '01'))?.requestID, 'b');
      });

      for (const status of ['intent', 'issued', 'revoked'] as const) {
        it(`refuses a request whose certificate is ${status}, and leaves the serial free`, async (store) => {
          await certificateIn(store, status, { requestID: 'r', serialNumber: '01' });
          await rejects(
            store.reserveSerial(
              intentOf({ requestID: 'r', serialNumber: '02' }),
              claimOf({ requestID: 'r', replayKey: 'k' }),
            ),
            'enrolment_busy',
          );
          assert.equal(await store.certificateBySerial('issuing', '02'), undefined);
          assert.equal(await store.enrolment('intune', 'k'), undefined);
          assert.equal(
            await store.reserveSerial(intentOf({ requestID: 'other', serialNumber: '02' })),
            'reserved',
          );
        });
      }

      it('takes a request whose intent was abandoned', async (store) => {
        await certificateIn(store, 'abandoned', { requestID: 'r', serialNumber: '01' });
        assert.equal(await store.certificateByRequest('r'), undefined);
        assert.equal(
          await store.reserveSerial(intentOf({ requestID: 'r', serialNumber: '01' })),
          'taken',
          'its serial stays used',
        );
        assert.equal(await store.reserveSerial(intentOf({ requestID: 'r', serialNumber: '02' })), 'reserved');
        assert.equal((await store.certificateByRequest('r'))?.serialNumber, '02');
        assert.equal((await store.certificateBySerial('issuing', '01'))?.status, 'abandoned');
      });

      it('records the claim with the intent', async (store) => {
        const claim = claimOf({ requestID: 'r', replayKey: 'k' });
        await store.reserveSerial(intentOf({ requestID: 'r', serialNumber: '01' }), claim);
        assert.deepEqual(await store.enrolment('intune', 'k'), claim);
        assert.equal(await store.enrolment('other', 'k'), undefined);
        assert.equal(await store.enrolment('intune', 'K'), undefined);
      });

      it('lets one claim hold a replayKey, and writes nothing for the second', async (store) => {
        const first = claimOf({ requestID: 'first', replayKey: 'k' });
        await store.reserveSerial(intentOf({ requestID: 'first', serialNumber: '01' }), first);
        assert.equal(
          await store.reserveSerial(
            intentOf({ requestID: 'second', serialNumber: '02' }),
            claimOf({ requestID: 'second', replayKey: 'k' }),
          ),
          'claimed',
        );
        assert.deepEqual(await store.enrolment('intune', 'k'), first);
        assert.equal(await store.certificateByRequest('second'), undefined);
        assert.equal(await store.certificateBySerial('issuing', '02'), undefined);
      });

      it('keeps the replayKeys of each endpoint apart', async (store) => {
        for (const [index, endpoint] of ['a', 'b'].entries()) {
          const outcome = await store.reserveSerial(
            intentOf({ requestID: endpoint, serialNumber: hex(index) }),
            claimOf({ requestID: endpoint, replayKey: 'k', endpoint }),
          );
          assert.equal(outcome, 'reserved');
        }
        assert.equal((await store.enrolment('b', 'k'))?.requestID, 'b');
      });

      it('of many callers at once, one gets the serial and one the claim', async (store) => {
        const callers = Array.from({ length: 40 }, (_, index) => `caller-${index}`);
        const serials = await Promise.all(
          callers.map((requestID) => store.reserveSerial(intentOf({ requestID, serialNumber: '01' }))),
        );
        assert.deepEqual(tally(serials), { reserved: 1, taken: 39 });
        const claims = await Promise.all(
          callers.map((caller, index) =>
            store.reserveSerial(
              intentOf({ requestID: `${caller} again`, serialNumber: `02${hex(index)}` }),
              claimOf({ requestID: `${caller} again`, replayKey: 'k' }),
            ),
          ),
        );
        assert.deepEqual(tally(claims), { reserved: 1, claimed: 39 });
        const requests = await Promise.allSettled(
          callers.map((_, index) =>
            store.reserveSerial(intentOf({ requestID: 'one', serialNumber: `03${hex(index)}` })),
          ),
        );
        assert.deepEqual(tally(requests.map((result) => result.status)), { fulfilled: 1, rejected: 39 });
        assert.equal((await store.certificates({ limit: 200 })).length, 3);
      });

      it('fails for one without touching its neighbours', async (store) => {
        await store.reserveSerial(intentOf({ requestID: 'busy', serialNumber: '00' }));
        await store.recordCertificate(issuedOf(intentOf({ requestID: 'busy', serialNumber: '00' })));
        const results = await Promise.allSettled([
          store.reserveSerial(intentOf({ requestID: 'left', serialNumber: '01' })),
          // Is refused after it has begun to write.
          store.reserveSerial(
            intentOf({ requestID: 'busy', serialNumber: '02' }),
            claimOf({ requestID: 'busy', replayKey: 'new' }),
          ),
          store.reserveSerial(intentOf({ requestID: 'right', serialNumber: '04' })),
          store.appendAudit(auditOf({ event: 'neighbour' })),
        ]);
        assert.deepEqual(
          results.map((result) => result.status),
          ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
        );
        const serials = (await store.certificates({ limit: 10 })).map((record) => record.serialNumber);
        assert.deepEqual(serials.sort(), ['00', '01', '04']);
        assert.equal(await store.enrolment('intune', 'new'), undefined);
        assert.equal((await store.auditEntries({ event: 'neighbour', limit: 10 })).length, 1);
      });
    });

    describe('recordCertificate', () => {
      it('completes the intent and audits it', async (store) => {
        const intent = intentOf({ requestID: 'r', serialNumber: '01' });
        await store.reserveSerial(intent);
        const issued = issuedOf(intent, { reference: 'LG-1' });
        await store.recordCertificate(issued);
        const { tbsCertificate, ...given } = intent;
        const want: CertificateRecord = {
          id: 1,
          ...given,
          status: 'issued',
          certificate: new Uint8Array(issued.certificate),
          thumbprint: issued.thumbprint,
        };
        assert.deepEqual(plain(await store.certificateBySerial('issuing', '01')), want);
        assert.deepEqual(plain(await store.certificateByRequest('r')), want);
        assert.deepEqual(await store.auditEntries({ limit: 10 }), [{ number: 1, ...issued.audit }]);
      });

      for (const status of ['unknown', 'issued', 'revoked', 'abandoned'] as const) {
        it(`refuses a serial that is ${status}, and audits nothing`, async (store) => {
          const own = { requestID: 'r', serialNumber: '01' };
          if (status !== 'unknown') await certificateIn(store, status, own);
          const earlier = (await store.auditEntries({ limit: 10 })).length;
          const was = await store.certificateBySerial('issuing', '01');
          await rejects(
            store.recordCertificate({ ...issuedOf(intentOf(own)), certificate: Buffer.from('another') }),
            'enrolment_busy',
          );
          assert.deepEqual(await store.certificateBySerial('issuing', '01'), was);
          assert.equal((await store.auditEntries({ limit: 10 })).length, earlier);
        });
      }
    });

    describe('abandonIntents', () => {
      it('gives up what was reserved up to the moment, of that issuer, and nothing else', async (store) => {
        await store.reserveSerial(
          intentOf({ requestID: 'before', serialNumber: '01', reservedAt: instant(1) }),
        );
        await store.reserveSerial(intentOf({ requestID: 'at', serialNumber: '02', reservedAt: instant(2) }));
        await store.reserveSerial(
          intentOf({
            requestID: 'after',
            serialNumber: '03',
            reservedAt: new Date(instant(2).getTime() + 1),
          }),
        );
        await store.reserveSerial(
          intentOf({ requestID: 'other', serialNumber: '04', reservedAt: instant(1), issuer: 'other' }),
        );
        await certificateIn(store, 'issued', { requestID: 'issued', serialNumber: '05' });
        const rule = { issuer: 'issuing', reservedBefore: instant(2), at: instant(3) };
        assert.deepEqual((await store.abandonIntents(rule)).sort(), ['01', '02']);
        assert.deepEqual(
          (await store.certificates({ limit: 10 })).map((record) => [record.requestID, record.status]),
          [
            ['issued', 'issued'],
            ['other', 'intent'],
            ['after', 'intent'],
            ['at', 'abandoned'],
            ['before', 'abandoned'],
          ],
        );
        const { revokedAt, revocationReason, certificate } =
          (await store.certificateBySerial('issuing', '01')) ?? assert.fail('it stays on record');
        assert.deepEqual(
          [revokedAt, revocationReason, certificate],
          [instant(3), 'cessationOfOperation', undefined],
        );
        assert.deepEqual(await entriesOf(store, 'issuing', instant(3)), [
          { serialNumber: '01', at: instant(3), reason: 'cessationOfOperation' },
          { serialNumber: '02', at: instant(3), reason: 'cessationOfOperation' },
        ]);
        const change = await store.latestChange('issuing', 0);
        assert.ok(change > 0);
        assert.deepEqual(await store.abandonIntents({ ...rule, at: instant(4) }), []);
        assert.equal(await store.latestChange('issuing', 0), change);
        assert.deepEqual((await store.certificateBySerial('issuing', '01'))?.revokedAt, instant(3));
      });
    });

    describe('revoke', () => {
      const revocation = {
        issuer: 'issuing',
        serialNumber: '01',
        reason: 'keyCompromise',
        at: instant(5),
        audit: auditOf({ event: 'certificate.revoked' }),
      } as const;

      for (const [status, want] of [
        [undefined, 'unknown'],
        ['intent', 'unknown'],
        ['revoked', 'already'],
        ['abandoned', 'already'],
      ] as const) {
        it(`answers ${want} to a serial that is ${status ?? 'unused'}, and writes nothing`, async (store) => {
          if (status !== undefined)
            await certificateIn(store, status, { requestID: 'r', serialNumber: '01' });
          const was = await store.certificateBySerial('issuing', '01');
          const earlier = (await store.auditEntries({ limit: 10 })).length;
          const count = await store.latestChange('issuing', 0);
          assert.equal(await store.revoke(revocation), want);
          assert.deepEqual(await store.certificateBySerial('issuing', '01'), was);
          assert.equal((await store.auditEntries({ limit: 10 })).length, earlier);
          assert.equal(await store.latestChange('issuing', 0), count);
        });
      }

      it('revokes an issued certificate and audits it', async (store) => {
        await certificateIn(store, 'issued', { requestID: 'r', serialNumber: '01' });
        await certificateIn(store, 'issued', { requestID: 's', serialNumber: '01', issuer: 'other' });
        const was = await store.certificateBySerial('issuing', '01');
        assert.equal(await store.revoke(revocation), 'revoked');
        assert.deepEqual(await store.certificateBySerial('issuing', '01'), {
          ...was,
          status: 'revoked',
          revokedAt: instant(5),
          revocationReason: 'keyCompromise',
        });
        assert.equal((await store.certificateByRequest('r'))?.status, 'revoked');
        assert.equal((await store.certificateBySerial('other', '01'))?.status, 'issued');
        const { number, ...audit } =
          (await store.auditEntries({ limit: 1 }))[0] ?? assert.fail('it is audited');
        assert.deepEqual(audit, revocation.audit);
        assert.deepEqual(
          [await store.latestChange('issuing', 0), await store.latestChange('other', 0)],
          [1, 0],
        );
      });

      it('keeps every reason', async (store) => {
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
        await Promise.all(
          reasons.map(async (reason, index) => {
            const serialNumber = `0${index}`;
            await certificateIn(store, 'issued', { requestID: reason, serialNumber });
            await store.revoke({ ...revocation, serialNumber, reason });
          }),
        );
        assert.deepEqual(
          (await entriesOf(store, 'issuing', instant(5))).map((entry) => entry.reason),
          reasons,
        );
      });

      it('of many callers at once, one revokes', async (store) => {
        await certificateIn(store, 'issued', { requestID: 'r', serialNumber: '01' });
        const outcomes = await Promise.all(Array.from({ length: 20 }, () => store.revoke(revocation)));
        assert.deepEqual(tally(outcomes), { revoked: 1, already: 19 });
        assert.equal(await store.latestChange('issuing', 0), 1);
        assert.equal((await store.auditEntries({ event: 'certificate.revoked', limit: 50 })).length, 1);
      });
    });

    describe('crlEntries', () => {
      it('lists what is revoked or abandoned and valid at the moment, by serial', async (store) => {
        const make = (serialNumber: string, status: CertificateStatus, more: object = {}) =>
          certificateIn(store, status, { requestID: `request ${serialNumber}`, serialNumber, ...more });
        await make('ff', 'revoked');
        await make('00ff', 'revoked');
        await make('0a', 'abandoned');
        await make('0b', 'issued');
        await make('0c', 'intent');
        await make('0d', 'revoked', { notAfter: instant(30) });
        await make('0e', 'revoked', { notAfter: new Date(instant(30).getTime() - 1) });
        await make('0f', 'revoked', { issuer: 'other' });
        const serials = async (validAt: Date) =>
          (await entriesOf(store, 'issuing', validAt)).map((entry) => entry.serialNumber);
        // RFC 5280 §4.1.2.5: notAfter is the last moment of validity.
        assert.deepEqual(await serials(instant(30)), ['00ff', '0a', '0d', 'ff']);
        assert.deepEqual(await serials(instant(10)), ['00ff', '0a', '0d', '0e', 'ff']);
        assert.deepEqual(await serials(instant(400)), []);
        assert.deepEqual(await entriesOf(store, 'other', instant(0)), [
          { serialNumber: '0f', at: instant(2), reason: 'superseded' },
        ]);
      });
    });

    describe('CRLs', () => {
      const crl = {
        issuer: 'issuing',
        partition: 0,
        kind: 'full',
        thisUpdate: instant(1),
        nextUpdate: instant(8),
        change: 3,
      } as const;

      it('are numbered from one, for each issuer', async (store) => {
        assert.deepEqual(
          [
            await store.reserveCrlNumber('a'),
            await store.reserveCrlNumber('a'),
            await store.reserveCrlNumber('b'),
          ],
          [1, 2, 1],
        );
      });

      it('never share a number', async (store) => {
        const numbers = await Promise.all(Array.from({ length: 50 }, () => store.reserveCrlNumber('a')));
        assert.deepEqual(
          numbers.sort((x, y) => x - y),
          Array.from({ length: 50 }, (_, index) => index + 1),
        );
      });

      it('are kept by the highest number', async (store) => {
        const second = { ...crl, crlNumber: 2, crl: Buffer.from('second\0') };
        await store.recordCrl(second);
        await store.recordCrl({ ...crl, crlNumber: 1, crl: Buffer.from('first') });
        assert.deepEqual(plain(await store.latestCrl('issuing', 0, 'full')), plain(second));
        const third = {
          issuer: 'issuing',
          partition: 0,
          kind: 'full' as const,
          crlNumber: 3,
          thisUpdate: instant(2),
          nextUpdate: instant(9),
          change: 4,
          crl: Buffer.from('third'),
        };
        await store.recordCrl(third);
        assert.deepEqual(plain(await store.latestCrl('issuing', 0, 'full')), plain(third));
        assert.equal(await store.latestCrl('other', 0, 'full'), undefined);
      });

      it('are numbered beyond one that another program made', async (store) => {
        await store.recordCrl({ ...crl, crlNumber: 4711, crl: Buffer.from('old') });
        assert.equal(await store.reserveCrlNumber('issuing'), 4712);
        await store.recordCrl({ ...crl, crlNumber: 12, crl: Buffer.from('older') });
        assert.equal(await store.reserveCrlNumber('issuing'), 4713);
      });

      it('and revocations are counted apart', async (store) => {
        await store.reserveCrlNumber('issuing');
        assert.equal(await store.latestChange('issuing', 0), 0);
        await certificateIn(store, 'revoked', { requestID: 'r', serialNumber: '01' });
        assert.equal(await store.latestChange('issuing', 0), 1);
        assert.equal(await store.reserveCrlNumber('issuing'), 2);
        assert.equal(await store.latestChange('issuing', 0), 1);
      });
    });

    revocationContract(it);
    upkeepContract(name, it);
    heldContract(it);
    replacedContract(it);
    toldContract(it);
    adminContract(it);

    describe('the lead', () => {
      it('is one server’s at a time, and another’s once it is given back', async (store, { elsewhere }) => {
        const other = await openPkiStore(elsewhere.argument);
        try {
          const first = await store.takeLead();
          assert.equal(await first?.isHeld(), true);
          assert.equal(await store.takeLead(), undefined);
          assert.equal(await other.takeLead(), undefined);
          await first?.release();
          await first?.release();
          assert.equal(await first?.isHeld(), false);
          const second = await other.takeLead();
          assert.equal(await second?.isHeld(), true);
          assert.equal(await store.takeLead(), undefined);
        } finally {
          await other.close();
        }
        // It went with the store that had it.
        assert.notEqual(await store.takeLead(), undefined);
      });

      it('of a process that is killed is free for the next', async (store, { elsewhere }) => {
        const child = await startChild(elsewhere, { task: 'lead' });
        try {
          child.go();
          assert.equal(await child.nextLine(), 'leads', child.complaint());
          assert.equal(await store.takeLead(), undefined);
          const follower = await startChild(elsewhere, { task: 'lead' });
          follower.go();
          assert.equal(await follower.nextLine(), 'follows', follower.complaint());
          await follower.ended();
        } finally {
          child.kill();
          await child.ended();
        }
        let lead: StoreLead | undefined;
        for (let tries = 0; lead === undefined && tries < 200; tries += 1) {
          lead = await store.takeLead();
          if (lead === undefined) await sleep(50);
        }
        assert.equal(await lead?.isHeld(), true);
      });
    });

    describe('opened to be read', () => {
      it('shows what is there and what comes, and takes no write', async (store, { elsewhere }) => {
        const intent = intentOf({ requestID: 'r', serialNumber: '01' });
        await store.reserveSerial(intent);
        await store.recordCertificate(issuedOf(intent));
        const reader = await openPkiStore(elsewhere.argument, 'read');
        try {
          assert.equal((await reader.certificateByRequest('r'))?.status, 'issued');
          await rejects(reader.appendAudit(auditOf()), 'store_read_only');
          await rejects(reader.reserveCrlNumber('issuing'), 'store_read_only');
          await rejects(
            reader.reserveSerial(intentOf({ requestID: 's', serialNumber: '02' })),
            'store_read_only',
          );
          await store.appendAudit(auditOf({ event: 'later' }));
          assert.equal((await reader.auditEntries({ limit: 1 }))[0]?.event, 'later');
        } finally {
          await reader.close();
        }
        assert.equal(await store.reserveCrlNumber('issuing'), 1);
      });
    });

    describe('certificates', () => {
      let under: StoreUnderTest;
      before(async () => {
        under = await open();
        const make = (serialNumber: string, status: CertificateStatus, more: object) =>
          certificateIn(under.store, status, { requestID: serialNumber, serialNumber, device: '', ...more });
        await make('01', 'issued', { device: 'd1' });
        await make('02', 'revoked', { device: 'd1' });
        await make('03', 'issued', { template: 'user' });
        await make('04', 'abandoned', { issuer: 'other' });
        await make('05', 'revoked', { issuer: 'other', device: 'd1' });
        await make('06', 'intent', { device: 'd2' });
        await make('07', 'issued', { issuer: 'other', device: 'd2', template: 'user' });
      });
      after(() => under.close());

      const rows: readonly {
        readonly name: string;
        readonly filter: Omit<CertificateFilter, 'limit'> & { limit?: number };
        readonly want: readonly string[];
      }[] = [
        { name: 'nothing', filter: {}, want: ['07', '06', '05', '04', '03', '02', '01'] },
        { name: 'a limit', filter: { limit: 2 }, want: ['07', '06'] },
        { name: 'a limit of zero', filter: { limit: 0 }, want: [] },
        { name: 'a limit below zero', filter: { limit: -1 }, want: [] },
        { name: 'an issuer', filter: { issuer: 'other' }, want: ['07', '05', '04'] },
        { name: 'an unknown issuer', filter: { issuer: 'nobody' }, want: [] },
        { name: 'a device', filter: { device: 'd1' }, want: ['05', '02', '01'] },
        { name: 'no device', filter: { device: '' }, want: ['04', '03'] },
        { name: 'a template', filter: { template: 'user' }, want: ['07', '03'] },
        { name: 'intent', filter: { status: 'intent' }, want: ['06'] },
        { name: 'issued', filter: { status: 'issued' }, want: ['07', '03', '01'] },
        { name: 'revoked', filter: { status: 'revoked' }, want: ['05', '02'] },
        { name: 'abandoned', filter: { status: 'abandoned' }, want: ['04'] },
        { name: 'status and limit', filter: { status: 'revoked', limit: 1 }, want: ['05'] },
        {
          name: 'everything',
          filter: { issuer: 'other', status: 'issued', device: 'd2', template: 'user' },
          want: ['07'],
        },
        {
          name: 'everything but one',
          filter: { issuer: 'issuing', status: 'issued', device: 'd2', template: 'user' },
          want: [],
        },
      ];
      for (const { name, filter, want } of rows) {
        test(`are found by ${name}, newest first`, async () => {
          const found = await under.store.certificates({ limit: 100, ...filter });
          assert.deepEqual(
            found.map((record) => record.serialNumber),
            want,
          );
          for (const record of found) {
            assert.deepEqual(
              record,
              await under.store.certificateBySerial(record.issuer, record.serialNumber),
            );
          }
        });
      }
    });

    describe('the audit log', () => {
      let under: StoreUnderTest;
      before(async () => {
        under = await open();
        for (const [event, reference] of [
          ['enrolment.issued', ''],
          ['enrolment.refused', 'LG-1'],
          ['enrolment', ''],
          ['enrolments.counted', 'LG-2'],
          ['certificate.revoked', 'LG-1'],
          ['enrolment.issued', ''],
          ['Enrolment.issued', ''],
        ] as const) {
          await under.store.appendAudit(auditOf({ event, reference }));
        }
      });
      after(() => under.close());

      const rows: readonly {
        readonly name: string;
        readonly filter: { event?: string; reference?: string; limit?: number };
        readonly want: readonly number[];
      }[] = [
        { name: 'everything', filter: {}, want: [7, 6, 5, 4, 3, 2, 1] },
        { name: 'a limit', filter: { limit: 2 }, want: [7, 6] },
        { name: 'a limit of zero', filter: { limit: 0 }, want: [] },
        { name: 'a limit below zero', filter: { limit: -5, event: 'e' }, want: [] },
        { name: 'an event', filter: { event: 'enrolment.issued' }, want: [6, 1] },
        { name: 'a prefix', filter: { event: 'enrolment' }, want: [6, 4, 3, 2, 1] },
        { name: 'a prefix with its dot', filter: { event: 'enrolment.' }, want: [6, 2, 1] },
        { name: 'a prefix and a limit', filter: { event: 'enrolment', limit: 3 }, want: [6, 4, 3] },
        { name: 'an empty prefix', filter: { event: '', limit: 1 }, want: [7] },
        { name: 'a prefix in another case', filter: { event: 'ENROL' }, want: [] },
        { name: 'what SQL takes for any text', filter: { event: '%' }, want: [] },
        { name: 'what SQL takes for any character', filter: { event: 'enrolment_' }, want: [] },
        { name: 'a reference', filter: { reference: 'LG-1' }, want: [5, 2] },
        { name: 'the start of a reference', filter: { reference: 'LG-' }, want: [] },
        { name: 'a reference and a limit', filter: { reference: 'LG-1', limit: 1 }, want: [5] },
        { name: 'no reference', filter: { reference: '', event: 'enrolment.' }, want: [6, 1] },
        { name: 'a reference and a prefix', filter: { reference: 'LG-1', event: 'enrol' }, want: [2] },
        {
          name: 'a reference of another event',
          filter: { reference: 'LG-2', event: 'certificate' },
          want: [],
        },
      ];
      for (const { name, filter, want } of rows) {
        test(`answers ${name}, newest first`, async () => {
          assert.deepEqual(
            (await under.store.auditEntries({ limit: 100, ...filter })).map((entry) => entry.number),
            want,
          );
        });
      }

      it('keeps an entry as it was', async (store) => {
        const entry = auditOf({
          code: 'challenge_reused',
          text: 'Ω\n"quoted"',
          detail: { 'a b': 'Zoë\0', c: '' },
        });
        await store.appendAudit(entry);
        await store.appendAudit(auditOf({ detail: {} }));
        const [second, first] = await store.auditEntries({ limit: 2 });
        assert.deepEqual(first, { number: 1, ...entry });
        assert.deepEqual(second?.detail, {});
      });
    });

    describe('enrolments and challenges', () => {
      it('an enrolment is notified once', async (store) => {
        const claim = claimOf({ requestID: 'r', replayKey: 'k' });
        await store.reserveSerial(intentOf({ requestID: 'r', serialNumber: '01' }), claim);
        assert.equal((await store.enrolment('intune', 'k'))?.notifiedAt, undefined);
        await store.recordNotified(claim, instant(1));
        await store.recordNotified(claim, instant(2));
        assert.deepEqual((await store.enrolment('intune', 'k'))?.notifiedAt, instant(1));
      });

      it('an unknown enrolment cannot be notified', async (store) => {
        await rejects(
          store.recordNotified({ endpoint: 'intune', replayKey: 'nobody' }, instant(1)),
          'internal',
        );
      });

      it('a challenge is kept as it was, also after it expired', async (store) => {
        const pinned = challengeOf({ challengeHash: 'h1', expiresAt: instant(-1000) });
        const free = challengeOf({ challengeHash: 'h2', pinned: {}, device: '' });
        await store.createChallenge(pinned);
        await store.createChallenge(free);
        assert.deepEqual(await store.challenge('h1'), pinned);
        assert.deepEqual(await store.challenge('h2'), free);
        assert.equal(await store.challenge('H1'), undefined);
      });

      it('a challenge is not made twice', async (store) => {
        const first = challengeOf({ challengeHash: 'h' });
        await store.createChallenge(first);
        await rejects(
          store.createChallenge(challengeOf({ challengeHash: 'h', device: 'thief' })),
          'internal',
        );
        assert.deepEqual(await store.challenge('h'), first);
      });
    });

    describe('life and death', () => {
      it('everything is there after the store was opened again', async (store, under) => {
        for (const status of ['intent', 'issued', 'revoked', 'abandoned'] as const) {
          await certificateIn(store, status, { requestID: status, serialNumber: hex(status) });
        }
        await store.reserveSerial(
          intentOf({ requestID: 'claimed', serialNumber: '01' }),
          claimOf({ requestID: 'claimed', replayKey: 'k' }),
        );
        await store.recordNotified({ endpoint: 'intune', replayKey: 'k' }, instant(1));
        await store.createChallenge(challengeOf({ challengeHash: 'h' }));
        const crlNumber = await store.reserveCrlNumber('issuing');
        await store.recordCrl({
          issuer: 'issuing',
          partition: 0,
          kind: 'full',
          crlNumber,
          thisUpdate: instant(1),
          nextUpdate: instant(2),
          change: 2,
          crl: Buffer.from('crl'),
        });
        const see = async (seen: PkiStore) => ({
          certificates: await seen.certificates({ limit: 100 }),
          revoked: await entriesOf(seen, 'issuing', instant(0)),
          count: await seen.latestChange('issuing', 0),
          enrolment: await seen.enrolment('intune', 'k'),
          challenge: await seen.challenge('h'),
          crl: await seen.latestCrl('issuing', 0, 'full'),
          audit: await seen.auditEntries({ limit: 100 }),
        });
        const was = await see(store);
        assert.equal(was.certificates.length, 5);
        const reopened = await under.reopen();
        assert.deepEqual(await see(reopened), was);
        assert.equal(await reopened.reserveCrlNumber('issuing'), crlNumber + 1);
        assert.equal(
          await reopened.reserveSerial(intentOf({ requestID: 'late', serialNumber: '01' })),
          'taken',
        );
      });

      it('what is being written when the store closes is finished, what comes later is refused', async (store, under) => {
        const last = store.appendAudit(auditOf({ event: 'last' }));
        const reopening = under.reopen();
        await last;
        await rejects(store.appendAudit(auditOf({ event: 'too late' })), 'store_unavailable');
        const entries = await (await reopening).auditEntries({ limit: 10 });
        assert.deepEqual(
          entries.map((entry) => entry.event),
          ['last'],
        );
      });

      it('of several processes exactly one wins each race', async (store, under) => {
        const rounds = 120;
        for (let round = 0; round < rounds; round++) {
          const intent = intentOf({ requestID: `parent-${round}`, serialNumber: `02${hex(round)}` });
          void store.reserveSerial(intent);
          if (round === rounds - 1)
            await store.reserveSerial({ ...intent, requestID: 'x', serialNumber: 'ff' });
        }
        await Promise.all(
          Array.from({ length: rounds }, (_, round) =>
            store.recordCertificate(
              issuedOf(intentOf({ requestID: `parent-${round}`, serialNumber: `02${hex(round)}` })),
            ),
          ),
        );
        await Promise.all(
          Array.from({ length: rounds }, (_, round) =>
            store.holdRequest({
              request: heldOf({ requestID: `held-${round}`, replayKey: `held-${round}` }),
              waitingMax: rounds,
              audit: auditOf(),
            }),
          ),
        );
        const children = await Promise.all(
          ['one', 'two', 'three'].map((child) =>
            startChild(under.elsewhere, { task: 'race', name: child, rounds }),
          ),
        );
        const spoils = await Promise.all(
          children.map(async (child) => {
            child.go();
            const line = await child.nextLine();
            await child.ended();
            return JSON.parse(line ?? assert.fail(child.complaint())) as Spoils;
          }),
        );
        const everyRound = Array.from({ length: rounds }, (_, round) => round);
        const together = (of: keyof Spoils) => spoils.flatMap((won) => won[of]).sort((x, y) => x - y);
        assert.deepEqual(together('serials'), everyRound);
        assert.deepEqual(together('claims'), everyRound);
        assert.deepEqual(together('decisions'), everyRound);
        assert.deepEqual(together('limits'), everyRound);
        assert.deepEqual(together('revocations'), everyRound);
        assert.deepEqual(
          together('crlNumbers'),
          Array.from({ length: rounds * 3 }, (_, index) => index + 1),
        );
        assert.equal(await store.latestChange('issuing', 0), rounds);
        assert.equal((await entriesOf(store, 'issuing', instant(1))).length, rounds);
        for (const won of spoils) {
          assert.ok(won.serials.length > 0, 'each process must have had a chance, or this was no race');
        }
      });

      it('what has resolved survives the process that is killed', async (_, under) => {
        const child = await startChild(under.elsewhere, { task: 'write', name: 'victim' });
        child.go();
        const lines: string[] = [];
        while (lines.length < 75) lines.push((await child.nextLine()) ?? assert.fail(child.complaint()));
        child.kill();
        for (let line = await child.nextLine(); line !== undefined; line = await child.nextLine()) {
          lines.push(line);
        }
        await child.ended();

        const store = await under.reopen();
        const promised: Readonly<Record<string, (round: number) => Promise<void>>> = {
          reserved: async (round) => {
            assert.equal((await store.enrolment('intune', `victim-${round}`))?.requestID, `victim-${round}`);
            assert.ok(await store.certificateByRequest(`victim-${round}`));
          },
          issued: async (round) => {
            const intent = intentOf({ requestID: `victim-${round}`, serialNumber: `03${hex(round)}` });
            const record = await store.certificateByRequest(`victim-${round}`);
            assert.deepEqual(plain(record)?.certificate, new Uint8Array(certificateBytes(intent)));
          },
          notified: async (round) =>
            assert.deepEqual((await store.enrolment('intune', `victim-${round}`))?.notifiedAt, instant(2)),
          revoked: async (round) =>
            assert.equal((await store.certificateBySerial('issuing', `03${hex(round)}`))?.status, 'revoked'),
          challenge: async (round) => assert.ok(await store.challenge(`victim-${round}`)),
          held: async (round) => assert.ok(await store.heldRequest({ requestID: `held-victim-${round}` })),
          approved: async (round) => {
            const held = await store.heldRequest({ requestID: `held-victim-${round}` });
            assert.equal(held?.status, 'approved');
          },
          crl: async (crlNumber) =>
            assert.ok(((await store.latestCrl('victim', 0, 'full'))?.crlNumber ?? 0) >= crlNumber),
        };
        for (const line of lines) {
          const [what = '', number] = line.split(' ');
          await (promised[what] ?? assert.fail(`the child printed '${line}'`))(Number(number));
        }
        // What had not resolved is there as a whole or not at all.
        for (let round = 0; round <= lines.length; round++) {
          const requestID = `victim-${round}`;
          const record = await store.certificateByRequest(requestID);
          assert.equal((await store.enrolment('intune', requestID)) === undefined, record === undefined);
          assert.deepEqual(
            (await store.auditEntries({ reference: requestID, limit: 10 })).map((entry) => entry.event),
            record === undefined || record.status === 'intent'
              ? []
              : record.status === 'issued'
                ? ['enrolment.issued']
                : ['certificate.revoked', 'enrolment.issued'],
          );
        }
        // So are held requests, with their claims.
        for (let round = 0; round <= lines.length; round++) {
          const requestID = `held-victim-${round}`;
          const held = await store.heldRequest({ requestID });
          assert.equal((await store.enrolment('intune', requestID)) === undefined, held === undefined);
          assert.deepEqual(
            (await store.auditEntries({ reference: requestID, limit: 10 })).map((entry) => entry.event),
            held === undefined
              ? []
              : held.status === 'pending'
                ? ['enrolment.held']
                : ['enrolment.approved', 'enrolment.held'],
          );
        }
        assert.ok(lines.some((line) => line.startsWith('crl ')));
        const last = Math.max(
          ...lines.filter((line) => line.startsWith('crl ')).map((line) => Number(line.slice(4))),
        );
        assert.ok((await store.reserveCrlNumber('victim')) > last);
      });
    });

    test('does what a model in memory does', async () => {
      const under = await open();
      try {
        let store = under.store;
        let run = 0;
        await fc.assert(
          fc.asyncProperty(fc.array(operation, { minLength: 1, maxLength: 25 }), async (operations) => {
            // One store for all runs, so that a fault of one that shows later is found too.
            const model = new Model(`run${run++}`);
            for (const one of operations) {
              if (one.do === 'reopen') store = await under.reopen();
              else await model.apply(store, one);
            }
            await model.compare(store);
          }),
          { numRuns: 60 },
        );
      } finally {
        await under.close();
      }
    });
  });
}

// --- small change -------------------------------------------------------------------------------------------------

async function rejects(promise: Promise<unknown>, code: PkiError['code']): Promise<void> {
  await assert.rejects(promise, (thrown) => {
    assert.ok(thrown instanceof PkiError, String(thrown));
    assert.equal(thrown.code, code);
    return true;
  });
}

function tally(values: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1;
  return counts;
}

/** Buffer and Uint8Array of the same octets are the same to the contract. */
function plain<T extends object>(value: T | undefined): T | undefined {
  return (
    value &&
    (Object.fromEntries(
      Object.entries(value).map(([key, item]) => [
        key,
        item instanceof Uint8Array ? new Uint8Array(item) : item,
      ]),
    ) as T)
  );
}

/** Brings a certificate into a state by the way that leads there. */
async function certificateIn(
  store: PkiStore,
  status: CertificateStatus,
  own: Parameters<typeof intentOf>[0],
): Promise<void> {
  const intent = intentOf(own);
  assert.equal(await store.reserveSerial(intent), 'reserved');
  if (status === 'intent') return;
  if (status === 'abandoned') {
    const rule = { issuer: intent.issuer, reservedBefore: intent.reservedAt, at: instant(2) };
    assert.ok((await store.abandonIntents(rule)).includes(intent.serialNumber));
    return;
  }
  await store.recordCertificate(issuedOf(intent));
  if (status === 'issued') return;
  const { issuer, serialNumber } = intent;
  const revocation = {
    issuer,
    serialNumber,
    reason: 'superseded',
    at: instant(2),
    audit: auditOf(),
  } as const;
  assert.equal(await store.revoke(revocation), 'revoked');
}

// --- other processes ----------------------------------------------------------------------------------------------

interface Child {
  /** The next line that it printed; `undefined` when it has ended. */
  nextLine(): Promise<string | undefined>;
  /** Lets it begin. */
  go(): void;
  kill(): void;
  ended(): Promise<void>;
  /** What it said on standard error. */
  complaint(): string;
}

/** Starts a child and resolves when it has opened the store. */
async function startChild(elsewhere: Elsewhere, job: ChildTask): Promise<Child> {
  const script = fileURLToPath(new URL('./store-contract-child.ts', import.meta.url));
  const child: ChildProcessByStdio<Writable, Readable, Readable> = spawn(
    process.execPath,
    [script, JSON.stringify({ elsewhere, job })],
    { stdio: ['pipe', 'pipe', 'pipe'] },
  );
  const exit = once(child, 'close');
  let complaint = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint += text;
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const nextLine = async () => {
    const next = await lines.next();
    return next.done === true ? undefined : next.value;
  };
  assert.equal(await nextLine(), 'ready', complaint);
  return {
    nextLine,
    go: () => child.stdin.end('go\n'),
    kill: () => child.kill('SIGKILL'),
    ended: async () => {
      await exit;
    },
    complaint: () => complaint,
  };
}

// --- the model ----------------------------------------------------------------------------------------------------

type Operation =
  | {
      readonly do: 'reserve';
      readonly serial: number;
      readonly request: number;
      readonly claim: number | null;
    }
  | { readonly do: 'record'; readonly serial: number }
  | { readonly do: 'abandon'; readonly reservedBefore: number }
  | { readonly do: 'revoke'; readonly serial: number }
  | { readonly do: 'reserveCrlNumber' }
  | { readonly do: 'recordCrl'; readonly crlNumber: number }
  | { readonly do: 'reopen' };

const small = fc.integer({ min: 0, max: 4 });
const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('reserve' as const),
      serial: small,
      request: small,
      claim: fc.option(small),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('record' as const), serial: small }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('abandon' as const), reservedBefore: small }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('revoke' as const), serial: small }) },
  { weight: 2, arbitrary: fc.constant({ do: 'reserveCrlNumber' as const }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('recordCrl' as const),
      crlNumber: fc.integer({ min: 1, max: 12 }),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ do: 'reopen' as const }) },
);

interface ModelCertificate {
  readonly request: number;
  status: CertificateStatus;
}

/** The contract once more, as simply as it can be said. `reservedAt` is `instant(serial)`. */
class Model {
  readonly #name: string;
  readonly #certificates = new Map<number, ModelCertificate>();
  /** replayKey -> request. */
  readonly #claims = new Map<number, number>();
  #crlNumber = 0;
  #latestCrl = 0;
  #revocations = 0;

  constructor(name: string) {
    this.#name = name;
  }

  async apply(store: PkiStore, one: Exclude<Operation, { do: 'reopen' }>): Promise<void> {
    switch (one.do) {
      case 'reserve': {
        const want = this.#reserve(one.serial, one.request, one.claim);
        const requestID = this.#own(one.request);
        const claim =
          one.claim === null
            ? undefined
            : claimOf({ requestID, replayKey: this.#own(one.claim), endpoint: this.#name });
        assert.equal(await answerOf(store.reserveSerial(this.#intent(one.serial, one.request), claim)), want);
        return;
      }
      case 'record': {
        const certificate = this.#certificates.get(one.serial);
        const want = certificate?.status === 'intent' ? undefined : 'enrolment_busy';
        if (certificate?.status === 'intent') certificate.status = 'issued';
        assert.equal(await answerOf(store.recordCertificate(issuedOf(this.#intent(one.serial, 0)))), want);
        return;
      }
      case 'abandon': {
        const want: string[] = [];
        for (const [serial, certificate] of this.#certificates) {
          if (certificate.status !== 'intent' || serial > one.reservedBefore) continue;
          certificate.status = 'abandoned';
          want.push(hex(serial));
        }
        // All of them are one change.
        if (want.length > 0) this.#revocations++;
        const rule = { issuer: this.#name, reservedBefore: instant(one.reservedBefore), at: instant(9) };
        assert.deepEqual((await store.abandonIntents(rule)).sort(), want.sort());
        return;
      }
      case 'revoke': {
        const certificate = this.#certificates.get(one.serial);
        const status = certificate?.status ?? 'intent';
        if (certificate !== undefined && status === 'issued') {
          certificate.status = 'revoked';
          this.#revocations++;
        }
        const got = await store.revoke({
          issuer: this.#name,
          serialNumber: hex(one.serial),
          reason: 'cessationOfOperation',
          at: instant(9),
          audit: auditOf({ event: 'certificate.revoked', reference: `${this.#name}-${one.serial}` }),
        });
        assert.equal(
          got,
          { intent: 'unknown', issued: 'revoked', revoked: 'already', abandoned: 'already' }[status],
        );
        return;
      }
      case 'reserveCrlNumber':
        this.#crlNumber++;
        assert.equal(await store.reserveCrlNumber(this.#name), this.#crlNumber);
        return;
      case 'recordCrl':
        this.#crlNumber = Math.max(this.#crlNumber, one.crlNumber);
        this.#latestCrl = Math.max(this.#latestCrl, one.crlNumber);
        await store.recordCrl({
          issuer: this.#name,
          partition: 0,
          kind: 'full',
          crlNumber: one.crlNumber,
          thisUpdate: instant(0),
          nextUpdate: instant(1),
          change: this.#revocations,
          crl: Buffer.from(`${one.crlNumber}`),
        });
        return;
    }
  }

  #reserve(serial: number, request: number, claim: number | null): string {
    if (claim !== null && this.#claims.has(claim)) return 'claimed';
    const live = [...this.#certificates.values()].some(
      (certificate) => certificate.request === request && certificate.status !== 'abandoned',
    );
    if (live) return 'enrolment_busy';
    if (this.#certificates.has(serial)) return 'taken';
    if (claim !== null) {
      this.#claims.set(claim, request);
    }
    this.#certificates.set(serial, { request, status: 'intent' });
    return 'reserved';
  }

  /** Everything that can be seen of this run. */
  async compare(store: PkiStore): Promise<void> {
    const listed: CrlEntry[] = [];
    for (let serial = 0; serial <= 4; serial++) {
      const certificate = this.#certificates.get(serial);
      const record = await store.certificateBySerial(this.#name, hex(serial));
      assert.equal(record?.status, certificate?.status);
      assert.equal(record?.requestID, certificate && this.#own(certificate.request));
      const signed = certificate?.status === 'issued' || certificate?.status === 'revoked';
      assert.equal(record?.certificate !== undefined, signed);
      if (certificate?.status === 'revoked' || certificate?.status === 'abandoned') {
        listed.push({ serialNumber: hex(serial), at: instant(9), reason: 'cessationOfOperation' });
      }
      const revocations = await store.auditEntries({ reference: `${this.#name}-${serial}`, limit: 10 });
      assert.equal(revocations.length, certificate?.status === 'revoked' ? 1 : 0);
    }
    assert.deepEqual(await entriesOf(store, this.#name, instant(9)), listed);
    assert.equal(await store.latestChange(this.#name, 0), this.#revocations);
    for (let request = 0; request <= 4; request++) {
      const live = [...this.#certificates].find(
        ([, certificate]) => certificate.request === request && certificate.status !== 'abandoned',
      );
      assert.equal(
        (await store.certificateByRequest(this.#own(request)))?.serialNumber,
        live && hex(live[0]),
      );
      const holder = this.#claims.get(request);
      assert.equal(
        (await store.enrolment(this.#name, this.#own(request)))?.requestID,
        holder === undefined ? undefined : this.#own(holder),
      );
    }
    assert.equal((await store.latestCrl(this.#name, 0, 'full'))?.crlNumber ?? 0, this.#latestCrl);
    assert.equal(
      (await store.certificates({ issuer: this.#name, limit: 100 })).length,
      this.#certificates.size,
    );
  }

  #own(number: number): string {
    return `${this.#name}-${number}`;
  }

  #intent(serial: number, request: number) {
    return intentOf({
      issuer: this.#name,
      requestID: this.#own(request),
      serialNumber: hex(serial),
      reservedAt: instant(serial),
    });
  }
}

/** What a promise resolves to, or the code of what it throws. */
async function answerOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    return await promise;
  } catch (thrown) {
    if (thrown instanceof PkiError) return thrown.code;
    throw thrown;
  }
}
