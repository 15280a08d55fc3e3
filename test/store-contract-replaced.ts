/** What every store promises about certificates that a renewal has replaced: part of the store contract. */
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import type { PkiStore } from '../src/store/index.ts';
import { auditOf, claimOf, heldOf, instant, intentOf, issuedOf } from './support/store-fixture.ts';

const DAY_MS = 86_400_000;
const replaces = { issuer: 'issuing', serialNumber: '0a', revokeAfterMs: DAY_MS };
const after = (ms: number) => new Date(instant(0).getTime() + ms);

/** The numbers of what is to be revoked at a moment. */
const due = async (store: PkiStore, at: Date, limit = 10) =>
  (await store.replacementsDue({ at, limit })).map(({ serialNumber }) => serialNumber);

/** A certificate that takes the place of another. */
async function renewed(store: PkiStore, requestID: string, serialNumber: string, old = '0a'): Promise<void> {
  const intent = intentOf({ requestID, serialNumber, reservedAt: instant(0) });
  const claim = claimOf({ requestID, replayKey: requestID, replaces: { ...replaces, serialNumber: old } });
  assert.equal(await store.reserveSerial(intent, claim), 'reserved');
  await store.recordCertificate(issuedOf(intent));
}

/** Registers this part of the suite; `it` is a test with an empty store. */
export function replacedContract(
  it: (
    title: string,
    body: (store: PkiStore, under: { reopen(): Promise<PkiStore> }) => Promise<void>,
  ) => void,
): void {
  describe('replaced certificates', () => {
    it('are due when their time is up, once, and after a new start', async (store, under) => {
      assert.deepEqual(await due(store, after(10 * DAY_MS)), []);
      await renewed(store, 'r', '01');
      assert.deepEqual(await due(store, after(DAY_MS - 1)), []);
      const reopened = await under.reopen();
      const [found] = await reopened.replacementsDue({ at: after(DAY_MS), limit: 10 });
      assert.deepEqual({ ...found }, { requestID: 'r', issuer: 'issuing', serialNumber: '0a' });
      await reopened.forgetReplaced('r');
      assert.deepEqual(await due(reopened, after(10 * DAY_MS)), []);
      await reopened.forgetReplaced('r');
    });

    it('are not due without a good successor', async (store) => {
      const late = after(10 * DAY_MS);
      await store.reserveSerial(
        intentOf({ requestID: 'intent', serialNumber: '01', reservedAt: instant(0) }),
        claimOf({ requestID: 'intent', replayKey: 'a', replaces }),
      );
      assert.deepEqual(await due(store, late), []);
      await store.abandonIntents({ issuer: 'issuing', reservedBefore: late, at: late });
      assert.deepEqual(await due(store, late), []);
      await renewed(store, 'revoked', '02', '0b');
      const revocation = { issuer: 'issuing', serialNumber: '02', at: instant(1), audit: auditOf({}) };
      await store.revoke({ ...revocation, reason: 'certificateHold' });
      assert.deepEqual(await due(store, late), []);
      await store.release(revocation);
      assert.deepEqual(await due(store, late), ['0b']);
      await store.revoke({ ...revocation, reason: 'keyCompromise' });
      assert.deepEqual(await due(store, late), []);
    });

    it('are not due while the successor is kept back for a notification', async (store) => {
      const intent = intentOf({ requestID: 'kept', serialNumber: '01', reservedAt: instant(0) });
      const notification = { sealed: Uint8Array.of(1), dueAt: instant(1) };
      const claim = claimOf({ requestID: 'kept', replayKey: 'kept', replaces, notification });
      await store.reserveSerial(intent, claim);
      await store.recordCertificate(issuedOf(intent));
      assert.deepEqual(await due(store, after(10 * DAY_MS)), []);
      await store.recordNotified(claim, instant(2));
      assert.deepEqual(await due(store, after(10 * DAY_MS)), ['0a']);
    });

    it('stay as they are if the claim is not made', async (store) => {
      await renewed(store, 'first', '01');
      const again = (requestID: string, serialNumber: string, replayKey: string) =>
        store.reserveSerial(
          intentOf({ requestID, serialNumber, reservedAt: instant(0) }),
          claimOf({ requestID, replayKey, replaces: { ...replaces, serialNumber: '0c' } }),
        );
      assert.equal(await again('second', '02', 'first'), 'claimed');
      assert.equal(await again('second', '01', 'free'), 'taken');
      assert.equal(await again('second', '02', 'free'), 'reserved');
      await store.recordCertificate(issuedOf(intentOf({ requestID: 'second', serialNumber: '02' })));
      assert.deepEqual((await due(store, after(DAY_MS))).sort(), ['0a', '0c']);
      assert.equal((await due(store, after(DAY_MS), 1)).length, 1);
    });

    it('are remembered with a request that waits', async (store) => {
      const request = heldOf({ requestID: 'r', replayKey: 'k', replaces });
      const audit = auditOf({});
      assert.equal(await store.holdRequest({ request, waitingMax: 10, audit }), 'held');
      assert.deepEqual(await due(store, after(10 * DAY_MS)), []);
      await store.reserveSerial(intentOf({ requestID: 'r', serialNumber: '01', reservedAt: instant(0) }));
      await store.recordCertificate(issuedOf(intentOf({ requestID: 'r', serialNumber: '01' })));
      assert.deepEqual(await due(store, after(DAY_MS)), ['0a']);
    });
  });
}
