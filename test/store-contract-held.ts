/** What every store promises about requests that wait for a certificate manager: part of the store contract. */
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import type { HeldRequest, PkiStore } from '../src/store/index.ts';
import { auditOf, claimOf, heldOf, instant, intentOf, issuedOf } from './support/store-fixture.ts';

const hold = (store: PkiStore, request: HeldRequest, waitingMax = 100) =>
  store.holdRequest({ request, waitingMax, audit: auditOf({ event: 'enrolment.held' }) });

const decide = (
  store: PkiStore,
  id: number,
  status: 'approved' | 'denied' = 'approved',
  at = instant(1),
  by = 'manager',
) =>
  store.decideRequest({
    id,
    status,
    at,
    by,
    comment: `a ${status} one`,
    audit: auditOf({ event: `enrolment.${status}`, actor: by }),
  });

const events = async (store: PkiStore) =>
  (await store.auditEntries({ limit: 100 })).map(({ event }) => event).reverse();

/** Registers this part of the suite; `it` is a test with an empty store. */
export function heldContract(
  it: (
    title: string,
    body: (store: PkiStore, under: { reopen(): Promise<PkiStore> }) => Promise<void>,
  ) => void,
): void {
  describe('held requests', () => {
    it('are absent without an error', async (store) => {
      assert.equal(await store.heldRequest({ id: 1 }), undefined);
      assert.equal(await store.heldRequest({ requestID: 'r' }), undefined);
      assert.deepEqual(await store.heldRequests({ limit: 10 }), []);
      assert.equal(await decide(store, 1), 'unknown');
      assert.deepEqual(await events(store), []);
    });

    it('are there as they were given, with their claim, also after a new start', async (store, under) => {
      const request = heldOf({ requestID: 'r', replayKey: 'k' });
      assert.equal(await hold(store, request), 'held');
      const want = { ...request, id: 1, status: 'pending' };
      const reopened = await under.reopen();
      const found = await reopened.heldRequest({ requestID: 'r' });
      assert.deepEqual(found && { ...found, sealed: Buffer.from(found.sealed) }, want);
      const {
        requestID,
        endpoint,
        replayKey,
        transactionID,
        publicKeyHash,
        requestHash,
        device,
        acceptedAt,
      } = request;
      assert.deepEqual(await reopened.enrolment('intune', 'k'), {
        ...{ requestID, endpoint, replayKey, transactionID, publicKeyHash, requestHash, device, acceptedAt },
      });
      assert.deepEqual(await events(reopened), ['enrolment.held']);
    });

    it('are found by endpoint, transaction and key, and by nothing less', async (store) => {
      await hold(store, heldOf({ requestID: 'r', replayKey: 'k', transactionID: 't' }));
      await hold(
        store,
        heldOf({ requestID: 'newer', replayKey: 'l', transactionID: 't', signerKeyHash: 'key of r' }),
      );
      const find = (endpoint: string, transactionID: string, signerKeyHash: string) =>
        store.heldRequest({ endpoint, transactionID, signerKeyHash });
      assert.equal((await find('intune', 't', 'key of r'))?.requestID, 'newer');
      assert.equal(await find('other', 't', 'key of r'), undefined);
      assert.equal(await find('intune', 'u', 'key of r'), undefined);
      assert.equal(await find('intune', 't', 'key of another'), undefined);
    });

    it('are held once, however often they come', async (store) => {
      const request = heldOf({ requestID: 'r', replayKey: 'k' });
      assert.deepEqual(await Promise.all([hold(store, request), hold(store, request)]), ['held', 'held']);
      assert.equal((await store.heldRequests({ limit: 10 })).length, 1);
      assert.deepEqual(await events(store), ['enrolment.held']);
    });

    it('need a free claim: of two with one challenge exactly one is held', async (store) => {
      const outcomes = await Promise.all([
        hold(store, heldOf({ requestID: 'a', replayKey: 'k' })),
        hold(store, heldOf({ requestID: 'b', replayKey: 'k' })),
      ]);
      assert.deepEqual(outcomes.sort(), ['claimed', 'held']);
      assert.equal((await store.heldRequests({ limit: 10 })).length, 1);
      assert.equal(
        await store.reserveSerial(
          intentOf({ requestID: 'c', serialNumber: '01' }),
          claimOf({ requestID: 'c', replayKey: 'k' }),
        ),
        'claimed',
      );
    });

    it('can be made of a claim that is there', async (store) => {
      await store.reserveSerial(
        intentOf({ requestID: 'r', serialNumber: '01' }),
        claimOf({ requestID: 'r', replayKey: 'k' }),
      );
      await store.abandonIntents({ issuer: 'issuing', reservedBefore: instant(1), at: instant(1) });
      assert.equal(await hold(store, heldOf({ requestID: 'r', replayKey: 'k' })), 'held');
    });

    it('are no more than may wait, of each endpoint', async (store) => {
      const one = (requestID: string, own: Partial<HeldRequest> = {}) =>
        hold(store, heldOf({ requestID, replayKey: requestID, ...own }), 2);
      assert.deepEqual([await one('a'), await one('b'), await one('c')], ['held', 'held', 'full']);
      assert.equal(await store.enrolment('intune', 'c'), undefined, 'no claim is left behind');
      assert.equal(await one('d', { endpoint: 'other' }), 'held');
      await decide(store, 1);
      assert.equal(await one('e'), 'held', 'a decided one waits no more');
      assert.equal(await one('f'), 'full');
      assert.equal(await one('g', { acceptedAt: instant(31) }), 'held', 'nor does an expired one');
    });

    it('are decided exactly once', async (store) => {
      await hold(store, heldOf({ requestID: 'r', replayKey: 'k' }));
      const outcomes = await Promise.all([
        decide(store, 1, 'approved', instant(1), 'anna'),
        decide(store, 1, 'denied', instant(1), 'ben'),
        decide(store, 1, 'denied', instant(1), 'cleo'),
      ]);
      assert.deepEqual(outcomes.toSorted(), ['already', 'already', 'decided']);
      const by = ['anna', 'ben', 'cleo'][outcomes.indexOf('decided')];
      const { status, decidedBy, decidedAt, comment } = (await store.heldRequest({ id: 1 })) ?? {};
      const want = by === 'anna' ? 'approved' : 'denied';
      assert.deepEqual(
        { status, decidedBy, decidedAt, comment },
        { status: want, decidedBy: by, decidedAt: instant(1), comment: `a ${want} one` },
      );
      assert.deepEqual(await events(store), ['enrolment.held', `enrolment.${want}`]);
    });

    it('cannot be decided once they expired', async (store) => {
      await hold(store, heldOf({ requestID: 'r', replayKey: 'k' }));
      assert.equal(await decide(store, 1, 'approved', instant(30)), 'expired');
      assert.equal((await store.heldRequest({ id: 1 }))?.status, 'pending');
      assert.equal(await decide(store, 1, 'approved', new Date(instant(30).getTime() - 1)), 'decided');
    });

    it('are listed by status, newest first, page by page', async (store) => {
      for (const requestID of ['a', 'b', 'c', 'd'])
        await hold(store, heldOf({ requestID, replayKey: requestID }));
      await hold(store, heldOf({ requestID: 'e', replayKey: 'e', endpoint: 'other' }));
      await decide(store, 1, 'approved');
      await decide(store, 2, 'approved');
      await decide(store, 3, 'denied');
      const intent = intentOf({ requestID: 'a', serialNumber: '01' });
      await store.reserveSerial(intent);
      const ids = async (filter: Omit<Parameters<PkiStore['heldRequests']>[0], 'limit'>, limit = 10) =>
        (await store.heldRequests({ ...filter, limit })).map(({ id, status }) => `${id} ${status}`);
      assert.deepEqual(await ids({ status: 'approved' }), ['2 approved', '1 approved'], 'an intent is none');
      await store.recordCertificate(issuedOf(intent));
      assert.deepEqual(await ids({}), ['5 pending', '4 pending', '3 denied', '2 approved', '1 issued']);
      assert.deepEqual(await ids({ status: 'pending' }), ['5 pending', '4 pending']);
      assert.deepEqual(await ids({ status: 'pending', endpoint: 'other' }), ['5 pending']);
      assert.deepEqual(await ids({ status: 'approved' }), ['2 approved']);
      assert.deepEqual(await ids({ status: 'issued' }), ['1 issued']);
      assert.deepEqual(await ids({ status: 'denied' }), ['3 denied']);
      assert.deepEqual(await ids({ after: 4 }, 2), ['3 denied', '2 approved']);
      assert.deepEqual(await ids({}, 0), []);
    });

    it('are pruned when nothing of them counts any more, an approval never before its certificate', async (store) => {
      const rule = { expiredBefore: instant(100), auditBefore: instant(0) };
      for (const [requestID, expiresAt] of [
        ['expired', instant(30)],
        ['waiting', instant(101)],
        ['denied', instant(101)],
        ['uncollected', instant(101)],
        ['issued', instant(101)],
        ['gone', instant(101)],
      ] as const)
        await hold(store, heldOf({ requestID, replayKey: requestID, expiresAt }));
      await decide(store, 3, 'denied');
      for (const id of [4, 5, 6]) await decide(store, id, 'approved');
      for (const [requestID, serialNumber, notAfter] of [
        ['issued', '05', instant(200)],
        ['gone', '06', instant(50)],
      ] as const) {
        const intent = intentOf({ requestID, serialNumber, notAfter });
        await store.reserveSerial(intent);
        await store.recordCertificate(issuedOf(intent));
      }
      const counts = { certificates: 1, challenges: 0, auditEntries: 0 };
      assert.deepEqual(await store.prunable(rule), { ...counts, enrolments: 0, heldRequests: 3 });
      assert.deepEqual(await store.prune(rule), { ...counts, enrolments: 4, heldRequests: 3 });
      assert.deepEqual(
        (await store.heldRequests({ limit: 10 })).map(({ requestID }) => requestID),
        ['issued', 'waiting'],
      );
      assert.equal(await store.heldRequest({ requestID: 'gone' }), undefined);
      assert.notEqual(await store.enrolment('intune', 'waiting'), undefined);
    });
  });

  describe('the issuance limit', () => {
    const limit = { certificatesMax: 2, notAfterLater: instant(40) };
    const reserve = (store: PkiStore, name: string, own: Parameters<typeof intentOf>[0] | object = {}) =>
      store.reserveSerial(
        intentOf({ requestID: name, serialNumber: Buffer.from(name).toString('hex'), device: 'd', ...own }),
        claimOf({ requestID: name, replayKey: name }),
        'process',
        limit,
      );

    it('holds for requests of one instant', async (store) => {
      const outcomes = await Promise.all(['a', 'b', 'c', 'd', 'e', 'f'].map((name) => reserve(store, name)));
      assert.deepEqual(outcomes.toSorted(), [
        ...['limited', 'limited', 'limited', 'limited'],
        ...['reserved', 'reserved'],
      ]);
      assert.equal((await store.certificates({ limit: 10 })).length, 2);
      const refused = ['a', 'b', 'c', 'd', 'e', 'f'].find((_, index) => outcomes[index] === 'limited') ?? '';
      assert.equal(await store.enrolment('intune', refused), undefined, 'no claim is left behind');
    });

    it('counts what is good of this device and template, and nothing else', async (store) => {
      assert.equal(await reserve(store, 'a'), 'reserved');
      assert.equal(await reserve(store, 'b', { device: 'another' }), 'reserved');
      assert.equal(await reserve(store, 'c', { template: 'another' }), 'reserved');
      assert.equal(await reserve(store, 'd', { notAfter: instant(40) }), 'reserved');
      assert.equal(await reserve(store, 'e'), 'reserved');
      assert.equal(await reserve(store, 'f'), 'limited');
      await store.recordCertificate(issuedOf(intentOf({ requestID: 'a', serialNumber: '61', device: 'd' })));
      assert.equal(await reserve(store, 'f'), 'limited');
      await store.revoke({
        issuer: 'issuing',
        serialNumber: '61',
        reason: 'superseded',
        at: instant(2),
        audit: auditOf(),
      });
      assert.equal(await reserve(store, 'f'), 'reserved');
      assert.equal(await reserve(store, 'f'), 'claimed', 'the same once more is no second one');
      await store.abandonIntents({ issuer: 'issuing', reservedBefore: instant(1), at: instant(1) });
      assert.equal(await reserve(store, 'g'), 'reserved');
    });
  });
}
