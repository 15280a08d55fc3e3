/** What every store promises about notifications and revocation requests: part of the store contract. */
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import type { PkiStore } from '../src/store/index.ts';
import { claimOf, instant, intentOf, issuedOf } from './support/store-fixture.ts';

const sealed = Uint8Array.of(1, 2, 3);
const due = async (store: PkiStore, seconds: number, limit = 10) =>
  (await store.notificationsDue({ at: instant(seconds), limit })).map(({ requestID }) => requestID);

async function issued(store: PkiStore, requestID: string, serialNumber: string, seconds: number) {
  const intent = intentOf({ requestID, serialNumber });
  const claim = claimOf({
    requestID,
    replayKey: requestID,
    notification: { sealed, dueAt: instant(seconds) },
  });
  assert.equal(await store.reserveSerial(intent, claim), 'reserved');
  await store.recordCertificate(issuedOf(intent));
  return claim;
}

/** Registers this part of the suite; `it` is a test with an empty store. */
export function toldContract(
  it: (
    title: string,
    body: (store: PkiStore, under: { reopen(): Promise<PkiStore> }) => Promise<void>,
  ) => void,
): void {
  describe('notifications', () => {
    it('are due in their order until they were taken, and after a new start', async (store, under) => {
      const claim = await issued(store, 'late', '01', 20);
      await issued(store, 'early', '02', 10);
      assert.deepEqual(await due(store, 9), []);
      assert.deepEqual(await due(store, 20), ['early', 'late']);
      assert.deepEqual(await due(store, 20, 1), ['early']);
      const reopened = await under.reopen();
      const [first] = await reopened.notificationsDue({ at: instant(10), limit: 10 });
      assert.equal(first?.endpoint, claim.endpoint);
      assert.equal(first.replayKey, 'early');
      assert.deepEqual(Buffer.from(first.sealed), Buffer.from(sealed));
      await reopened.recordNotified(claim, instant(30));
      assert.deepEqual(await due(reopened, 99), ['early']);
      await reopened.postponeNotification('early', instant(50));
      await reopened.postponeNotification('nobody', instant(50));
      assert.deepEqual(await due(reopened, 49), []);
      assert.deepEqual(await due(reopened, 50), ['early']);
      await reopened.forgetNotification('early');
      await reopened.forgetNotification('early');
      assert.deepEqual(await due(reopened, 99), []);
    });

    it('are on record with their claim, or not at all', async (store) => {
      await issued(store, 'first', '01', 10);
      const notification = { sealed, dueAt: instant(10) };
      const other = intentOf({ requestID: 'second', serialNumber: '01' });
      assert.equal(
        await store.reserveSerial(other, claimOf({ requestID: 'second', replayKey: 'second', notification })),
        'taken',
      );
      const same = intentOf({ requestID: 'third', serialNumber: '03' });
      assert.equal(
        await store.reserveSerial(same, claimOf({ requestID: 'third', replayKey: 'first', notification })),
        'claimed',
      );
      assert.deepEqual(await due(store, 99), ['first']);
    });
  });

  describe('revocation requests', () => {
    const request = (requestContext: string, source = 'a') => ({
      source,
      requestContext,
      serialNumber: '0A',
      issuerName: 'CN=x',
      action: 'revoke' as const,
      reason: 'superseded' as const,
      receivedAt: instant(1),
    });
    const contexts = async (store: PkiStore, limit = 10) =>
      (await store.revocationRequests({ source: 'a', limit })).map(({ requestContext }) => requestContext);

    it('are kept once, by source, until they are forgotten', async (store, under) => {
      assert.deepEqual(await store.revocationBacklog('a'), { count: 0 });
      await store.keepRevocationRequests([]);
      const long = 'x'.repeat(10_000);
      await store.keepRevocationRequests([
        request('one'),
        request(long),
        request('one'),
        request('one', 'b'),
      ]);
      await store.keepRevocationRequests([{ ...request('one'), serialNumber: 'FF' }]);
      const reopened = await under.reopen();
      assert.deepEqual(await contexts(reopened), ['one', long]);
      assert.deepEqual(await contexts(reopened, 1), ['one']);
      assert.deepEqual(
        { ...(await reopened.revocationRequests({ source: 'b', limit: 1 }))[0] },
        request('one', 'b'),
      );
      assert.deepEqual(await reopened.revocationBacklog('a'), { count: 2, oldest: instant(1) });
      await reopened.forgetRevocationRequests('a', ['one', 'nothing', long]);
      assert.deepEqual(await contexts(reopened), []);
      assert.deepEqual(await reopened.revocationBacklog('b'), { count: 1, oldest: instant(1) });
    });
  });
}
