/** What every store promises about its audit chain, retention and restored backups: part of the store contract. */
import assert from 'node:assert/strict';
import { generateKeyPairSync, sign, verify } from 'node:crypto';
import { describe } from 'node:test';
import {
  type AuditVerification,
  appendCheckpoint,
  assertWhole,
  type PkiStore,
  verifyAuditLog,
} from '../src/store/index.ts';
import { auditOf, challengeOf, claimOf, instant, intentOf, issuedOf } from './support/store-fixture.ts';

const { publicKey, privateKey } = generateKeyPairSync('ed25519');

const checkpoint = (store: PkiStore, at = instant(1)) =>
  appendCheckpoint(store, {
    at,
    signer: 'auditor',
    algorithm: 'ed25519',
    sign: async (content) => sign(null, content, privateKey),
  });

const verifyLog = (store: PkiStore) =>
  verifyAuditLog(store, ({ signature }, content) => verify(null, content, publicKey, signature));

/** Switches the triggers off that keep who merely mistypes from changing the log. */
const unguarded: Readonly<Record<string, readonly string[]>> = {
  SQLite: ['DROP TRIGGER audit_entry_is_kept', 'DROP TRIGGER audit_entry_is_final'],
  PostgreSQL: ['ALTER TABLE audit_entry DISABLE TRIGGER ALL'],
};

/** Registers this part of the suite; `it` is a test with an empty store. */
export function upkeepContract(
  name: string,
  it: (
    title: string,
    body: (store: PkiStore, under: { run(sql: string): Promise<void> }) => Promise<void>,
  ) => void,
): void {
  describe('the audit chain', () => {
    /** Ten entries, a checkpoint after the sixth. */
    const fill = async (store: PkiStore) => {
      for (let number = 1; number <= 10; number++) {
        await store.appendAudit(auditOf({ event: `event.${number}`, text: `Zoë \0 ${number}` }));
        if (number === 6) await checkpoint(store);
      }
    };

    it('is whole as it was written, over all that is hard to write', async (store) => {
      assert.deepEqual(await verifyLog(store), { result: 'whole', entries: 0, checkpoints: 0, last: 0 });
      assert.equal(await checkpoint(store), undefined);
      await fill(store);
      await store.appendAudit(auditOf({ text: '\ud800', detail: { '\ud800': '\0', __proto__: 'x' } }));
      assert.deepEqual(await verifyLog(store), { result: 'whole', entries: 11, checkpoints: 1, last: 11 });
      assert.equal((await checkpoint(store))?.number, 11);
      assert.equal(await checkpoint(store), undefined);
    });

    it('has no gap and no fork when many append at once', async (store) => {
      await Promise.all(Array.from({ length: 50 }, () => store.appendAudit(auditOf())));
      assert.deepEqual(await verifyLog(store), { result: 'whole', entries: 50, checkpoints: 0, last: 50 });
    });

    const rows: readonly {
      readonly name: string;
      readonly sql: readonly string[];
      readonly want: Omit<Extract<AuditVerification, { result: 'damaged' }>, 'result'>;
    }[] = [
      {
        name: 'a changed text',
        sql: ["UPDATE audit_entry SET text = 'no' WHERE number = 4"],
        want: { number: 4, reason: 'changed' },
      },
      {
        name: 'a changed time',
        sql: ['UPDATE audit_entry SET at = at + 1 WHERE number = 8'],
        want: { number: 8, reason: 'changed' },
      },
      {
        name: 'a detail that means the same',
        sql: ["UPDATE audit_entry SET detail = detail || ' ' WHERE number = 2"],
        want: { number: 2, reason: 'changed' },
      },
      {
        name: 'a changed hash',
        sql: [
          'UPDATE audit_entry SET hash = (SELECT hash FROM audit_entry WHERE number = 1) WHERE number = 3',
        ],
        want: { number: 3, reason: 'changed' },
      },
      {
        name: 'a row that is gone',
        sql: ['DELETE FROM audit_entry WHERE number = 5'],
        want: { number: 5, reason: 'missing' },
      },
      {
        name: 'a first row that is gone',
        sql: ['DELETE FROM audit_entry WHERE number = 1'],
        want: { number: 1, reason: 'missing' },
      },
      {
        name: 'an end that is cut off, checkpoint and all before it',
        sql: ['DELETE FROM audit_entry WHERE number > 5'],
        want: { number: 6, reason: 'missing' },
      },
      {
        name: 'two rows that changed places',
        sql: [
          'UPDATE audit_entry SET number = 99 WHERE number = 7',
          'UPDATE audit_entry SET number = 7 WHERE number = 8',
          'UPDATE audit_entry SET number = 8 WHERE number = 99',
        ],
        want: { number: 7, reason: 'changed' },
      },
      {
        name: 'a checkpoint moved to another entry',
        sql: ['UPDATE audit_checkpoint SET number = 7'],
        want: { number: 7, reason: 'checkpoint signature' },
      },
      {
        name: 'a checkpoint whose time was changed',
        sql: ['UPDATE audit_checkpoint SET at = at + 1'],
        want: { number: 6, reason: 'checkpoint signature' },
      },
      {
        name: 'a beginning said to be pruned',
        sql: [
          'INSERT INTO audit_start SELECT number, hash FROM audit_entry WHERE number = 3',
          'DELETE FROM audit_entry WHERE number <= 3',
        ],
        want: { number: 4, reason: 'beginning not signed' },
      },
    ];
    for (const { name: what, sql, want } of rows) {
      it(`shows ${what}`, async (store, under) => {
        await fill(store);
        for (const one of [...(unguarded[name] ?? []), ...sql]) await under.run(one);
        const found = await verifyLog(store);
        assert.deepEqual(found, { result: 'damaged', ...want });
        assert.throws(() => assertWhole(found), {
          code: 'audit_damaged',
          message: new RegExp(`audit entry ${want.number}:`),
        });
      });
    }
  });

  describe('prune', () => {
    const everything = { expiredBefore: instant(1000), auditBefore: instant(1000) };
    const nothing = { certificates: 0, enrolments: 0, challenges: 0, heldRequests: 0, auditEntries: 0 };

    it('takes nothing of a store that needs all it has', async (store) => {
      const intent = intentOf({ requestID: 'r', serialNumber: '01' });
      await store.reserveSerial(intent, claimOf({ requestID: 'r', replayKey: 'k' }));
      await store.recordCertificate(issuedOf(intent));
      await store.createChallenge(challengeOf({ challengeHash: 'h', expiresAt: instant(2) }));
      await checkpoint(store, instant(2));
      const rule = { expiredBefore: instant(2), auditBefore: instant(2) };
      assert.deepEqual(await store.prunable(rule), nothing);
      assert.deepEqual(await store.prune(rule), nothing);
      assert.equal((await store.certificateBySerial('issuing', '01'))?.status, 'issued');
    });

    it('takes what is expired, and a revoked one only when a later CRL has listed it', async (store) => {
      for (const serialNumber of ['01', '02', '03']) {
        const notAfter = serialNumber === '03' ? instant(2000) : instant(30);
        const intent = intentOf({ requestID: serialNumber, serialNumber, notAfter });
        await store.reserveSerial(intent, claimOf({ requestID: serialNumber, replayKey: serialNumber }));
        await store.recordCertificate(issuedOf(intent));
      }
      await store.revoke({
        issuer: 'issuing',
        serialNumber: '02',
        reason: 'superseded',
        at: instant(5),
        audit: auditOf(),
      });
      await store.createChallenge(challengeOf({ challengeHash: 'old', expiresAt: instant(10) }));
      await store.createChallenge(challengeOf({ challengeHash: 'new', expiresAt: instant(2000) }));
      assert.deepEqual(await store.prunable(everything), { ...nothing, certificates: 1, challenges: 1 });
      assert.deepEqual(await store.prune(everything), {
        ...nothing,
        certificates: 1,
        enrolments: 1,
        challenges: 1,
      });
      assert.equal(await store.certificateBySerial('issuing', '01'), undefined);
      assert.equal(await store.enrolment('intune', '01'), undefined);
      assert.equal(await store.challenge('old'), undefined);
      assert.notEqual(await store.challenge('new'), undefined);
      assert.notEqual(await store.enrolment('intune', '02'), undefined);
      assert.equal((await store.certificateBySerial('issuing', '02'))?.status, 'revoked');
      await store.recordCrl({
        issuer: 'issuing',
        partition: 0,
        kind: 'full',
        crlNumber: 1,
        thisUpdate: instant(31),
        nextUpdate: instant(38),
        change: 1,
        crl: Buffer.from('crl'),
      });
      assert.deepEqual(await store.prune(everything), { ...nothing, certificates: 1, enrolments: 1 });
      assert.deepEqual(
        (await store.certificates({ limit: 10 })).map((record) => record.serialNumber),
        ['03'],
      );
    });

    it('takes many', async (store) => {
      const count = 2_100;
      await Promise.all(
        Array.from({ length: count }, (_, index) =>
          store.createChallenge(challengeOf({ challengeHash: `h${index}`, expiresAt: instant(1) })),
        ),
      );
      assert.equal((await store.prune(everything)).challenges, count);
      assert.deepEqual(await store.prunable(everything), nothing);
    });

    it('takes the audit log up to a checkpoint; the rest is verified as before', async (store) => {
      for (let number = 1; number <= 9; number++) {
        await store.appendAudit(auditOf({ event: `event.${number}` }));
        if (number % 3 === 0) await checkpoint(store, instant(number));
      }
      const rule = { ...everything, auditBefore: instant(7) };
      assert.deepEqual(await store.prunable(rule), { ...nothing, auditEntries: 5 });
      assert.deepEqual(await store.prune(rule), { ...nothing, auditEntries: 5 });
      assert.deepEqual(await store.prune(rule), nothing);
      assert.deepEqual(
        (await store.auditEntries({ limit: 10 })).map((entry) => entry.number),
        [9, 8, 7, 6],
      );
      assert.deepEqual(await verifyLog(store), { result: 'whole', entries: 4, checkpoints: 2, last: 9 });
      await store.appendAudit(auditOf());
      assert.equal((await store.auditHead()).number, 10);
    });
  });

  it('a restored store gives CRL numbers far from those it gave', async (store) => {
    for (let count = 0; count < 3; count++) await store.reserveCrlNumber('issuing');
    const crl = {
      issuer: 'issuing',
      partition: 0,
      crlNumber: 3,
      thisUpdate: instant(1),
      nextUpdate: instant(8),
      change: 0,
      crl: Buffer.from('crl'),
    };
    await store.recordCrl({ ...crl, kind: 'full' });
    await store.recordCrl({ ...crl, kind: 'delta', base: { ...crl, change: 0 } });
    const audit = auditOf({ event: 'store.restored' });
    await store.resumeAfterRestore({ issuers: ['issuing', 'new'], crlNumberStep: 1000, audit });
    assert.equal(await store.reserveCrlNumber('issuing'), 1004);
    assert.equal(await store.reserveCrlNumber('new'), 1001);
    assert.deepEqual((await store.latestCrl('issuing', 0, 'full'))?.nextUpdate, instant(1), 'it is due');
    assert.equal(await store.latestCrl('issuing', 0, 'delta'), undefined);
    assert.deepEqual(
      (await store.auditEntries({ limit: 2 })).map((entry) => entry.event),
      ['store.restored'],
    );
  });
}
