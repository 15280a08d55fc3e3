/** What every store promises about revocation, holds, CRLs and the search for certificates: part of the store contract. */
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import type {
  CertificateCriteria,
  CertificateIntent,
  CrlEntry,
  CrlRecord,
  PkiStore,
  RevocationReason,
} from '../src/store/index.ts';
import { auditOf, instant, intentOf, issuedOf } from './support/store-fixture.ts';

/** Everything that a CRL of the issuer lists. */
export async function entriesOf(
  store: PkiStore,
  issuer: string,
  validAt: Date,
  more: { readonly partition?: number; readonly changedAfter?: number } = {},
): Promise<CrlEntry[]> {
  const entries: CrlEntry[] = [];
  for await (const page of store.crlEntries({ issuer, partition: 0, validAt, ...more }))
    entries.push(...page);
  return entries;
}

async function issue(store: PkiStore, own: Partial<CertificateIntent> & { readonly serialNumber: string }) {
  const intent = intentOf({ requestID: `${own.issuer ?? ''} ${own.serialNumber}`, ...own });
  assert.equal(await store.reserveSerial(intent), 'reserved');
  await store.recordCertificate(issuedOf(intent));
  return intent;
}

const revoke = (store: PkiStore, serialNumber: string, reason: RevocationReason, at = instant(5)) =>
  store.revoke({
    issuer: 'issuing',
    serialNumber,
    reason,
    at,
    audit: auditOf({ event: 'certificate.revoked', reference: serialNumber }),
  });

const release = (store: PkiStore, serialNumber: string, at = instant(6)) =>
  store.release({
    issuer: 'issuing',
    serialNumber,
    at,
    audit: auditOf({ event: 'certificate.released', reference: serialNumber }),
  });

/** Registers this part of the suite; `it` is a test with an empty store. */
export function revocationContract(
  it: (title: string, body: (store: PkiStore) => Promise<void>) => void,
): void {
  describe('hold and release', () => {
    for (const [what, serialNumber, reason, want] of [
      ['a serial that nobody has', '02', undefined, 'unknown'],
      ['an intent', '0a', undefined, 'unknown'],
      ['a certificate that is good', '01', undefined, 'not-held'],
      ['one revoked for good', '01', 'keyCompromise', 'not-held'],
    ] as const) {
      it(`release answers ${want} to ${what}, and writes nothing`, async (store) => {
        await issue(store, { serialNumber: '01' });
        await store.reserveSerial(intentOf({ requestID: 'intent', serialNumber: '0a' }));
        if (reason !== undefined) await revoke(store, serialNumber, reason);
        const was = await store.certificateBySerial('issuing', serialNumber);
        const change = await store.latestChange('issuing', 0);
        const earlier = (await store.auditEntries({ limit: 10 })).length;
        assert.equal(await release(store, serialNumber), want);
        assert.deepEqual(await store.certificateBySerial('issuing', serialNumber), was);
        assert.equal(await store.latestChange('issuing', 0), change);
        assert.equal((await store.auditEntries({ limit: 10 })).length, earlier);
      });
    }

    it('a certificate on hold is released once, and is as good as before', async (store) => {
      await issue(store, { serialNumber: '01' });
      const { id } = (await store.certificateBySerial('issuing', '01')) ?? assert.fail();
      assert.equal(await revoke(store, '01', 'certificateHold'), 'revoked');
      assert.equal(await revoke(store, '01', 'certificateHold', instant(7)), 'already');
      assert.deepEqual((await store.certificateBySerial('issuing', '01'))?.revokedAt, instant(5));
      assert.equal(await release(store, '01'), 'released');
      assert.equal(await release(store, '01'), 'not-held');
      const record = (await store.certificateBySerial('issuing', '01')) ?? assert.fail();
      assert.deepEqual(
        [record.id, record.status, record.revokedAt, record.revocationReason, record.releasedAt],
        [id, 'issued', undefined, undefined, instant(6)],
      );
      assert.deepEqual(
        (await store.auditEntries({ event: 'certificate.', limit: 10 })).map(({ event }) => event),
        ['certificate.released', 'certificate.revoked'],
      );
      // And may be held or revoked again.
      assert.equal(await revoke(store, '01', 'superseded', instant(8)), 'revoked');
      assert.deepEqual(await entriesOf(store, 'issuing', instant(5)), [
        { serialNumber: '01', at: instant(8), reason: 'superseded' },
      ]);
    });

    it('a certificate on hold can be revoked for good, since the hold began', async (store) => {
      await issue(store, { serialNumber: '01' });
      await revoke(store, '01', 'certificateHold');
      assert.equal(await revoke(store, '01', 'keyCompromise', instant(9)), 'revoked');
      assert.equal(await revoke(store, '01', 'certificateHold', instant(10)), 'already');
      assert.equal(await release(store, '01'), 'not-held');
      assert.deepEqual(await entriesOf(store, 'issuing', instant(5)), [
        { serialNumber: '01', at: instant(5), reason: 'keyCompromise' },
      ]);
    });

    it('an abandoned certificate is neither revoked nor released', async (store) => {
      await store.reserveSerial(intentOf({ requestID: 'r', serialNumber: '01' }));
      await store.abandonIntents({ issuer: 'issuing', reservedBefore: instant(1), at: instant(2) });
      assert.equal(await revoke(store, '01', 'keyCompromise'), 'already');
      assert.equal(await release(store, '01'), 'not-held');
    });

    it('of many callers at once, one releases', async (store) => {
      await issue(store, { serialNumber: '01' });
      await revoke(store, '01', 'certificateHold');
      const outcomes = await Promise.all(Array.from({ length: 20 }, () => release(store, '01')));
      assert.equal(outcomes.filter((outcome) => outcome === 'released').length, 1);
      assert.equal((await store.auditEntries({ event: 'certificate.released', limit: 50 })).length, 1);
    });
  });

  describe('partitions and changes', () => {
    it('each partition has entries and changes of its own, along one line', async (store) => {
      await issue(store, { serialNumber: '01', crlPartition: 1 });
      await issue(store, { serialNumber: '02', crlPartition: 2 });
      await issue(store, { serialNumber: '03', crlPartition: 2 });
      await revoke(store, '01', 'superseded');
      await revoke(store, '02', 'keyCompromise');
      const [first, second] = [
        await store.latestChange('issuing', 1),
        await store.latestChange('issuing', 2),
      ];
      assert.ok(first > 0 && second > first);
      assert.equal(await store.latestChange('issuing', 0), 0);
      assert.equal(await store.latestChange('other', 1), 0);
      await revoke(store, '03', 'unspecified');
      assert.ok((await store.latestChange('issuing', 2)) > second);
      assert.equal(await store.latestChange('issuing', 1), first);
      const serials = async (partition: number) =>
        (await entriesOf(store, 'issuing', instant(5), { partition })).map((entry) => entry.serialNumber);
      assert.deepEqual([await serials(0), await serials(1), await serials(2)], [[], ['01'], ['02', '03']]);
      assert.equal((await store.certificateBySerial('issuing', '03'))?.crlPartition, 2);
    });

    it('a delta has what changed after the base: once each, as it is now', async (store) => {
      for (const serialNumber of ['01', '02', '03', '04', '05']) await issue(store, { serialNumber });
      await revoke(store, '01', 'certificateHold');
      await revoke(store, '02', 'certificateHold');
      await revoke(store, '03', 'superseded');
      const base = await store.latestChange('issuing', 0);
      assert.deepEqual(await entriesOf(store, 'issuing', instant(5), { changedAfter: base }), []);
      await release(store, '01');
      await revoke(store, '02', 'keyCompromise', instant(7));
      await revoke(store, '04', 'certificateHold', instant(8));
      await release(store, '04', instant(9));
      await revoke(store, '04', 'certificateHold', instant(10));
      const delta = await entriesOf(store, 'issuing', instant(5), { changedAfter: base });
      assert.deepEqual(
        delta.toSorted((a, b) => (a.serialNumber < b.serialNumber ? -1 : 1)),
        [
          { serialNumber: '01', at: instant(6), reason: 'removeFromCRL' },
          { serialNumber: '02', at: instant(5), reason: 'keyCompromise' },
          { serialNumber: '04', at: instant(10), reason: 'certificateHold' },
        ],
      );
      assert.deepEqual(
        await entriesOf(store, 'issuing', instant(5), { changedAfter: base, partition: 1 }),
        [],
      );
      assert.deepEqual(await entriesOf(store, 'issuing', instant(400), { changedAfter: base }), []);
      // A full CRL says nothing of those that are good again.
      assert.deepEqual(
        (await entriesOf(store, 'issuing', instant(5))).map(({ serialNumber, reason }) => [
          serialNumber,
          reason,
        ]),
        [
          ['02', 'keyCompromise'],
          ['03', 'superseded'],
          ['04', 'certificateHold'],
        ],
      );
    });

    it('abandoned certificates are changes too', async (store) => {
      const base = await store.latestChange('issuing', 3);
      for (const serialNumber of ['01', '02'])
        await store.reserveSerial(intentOf({ requestID: serialNumber, serialNumber, crlPartition: 3 }));
      await store.abandonIntents({ issuer: 'issuing', reservedBefore: instant(1), at: instant(2) });
      const delta = await entriesOf(store, 'issuing', instant(5), { changedAfter: base, partition: 3 });
      assert.deepEqual(delta.map(({ serialNumber }) => serialNumber).sort(), ['01', '02']);
    });

    it('whoever sees a change sees all before it', async (store) => {
      const serials = Array.from({ length: 60 }, (_, index) => `10${index + 10}`);
      await Promise.all(serials.map((serialNumber) => issue(store, { serialNumber })));
      let finished = false;
      const work = Promise.all(serials.map((serialNumber) => revoke(store, serialNumber, 'superseded'))).then(
        () => {
          finished = true;
        },
      );
      while (!finished) {
        const change = await store.latestChange('issuing', 0);
        const listed = await entriesOf(store, 'issuing', instant(5));
        assert.ok(listed.length >= change, `change ${change}, but ${listed.length} entries`);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      await work;
      assert.equal(await store.latestChange('issuing', 0), serials.length);
      const changedAfter = serials.length - 7;
      assert.equal((await entriesOf(store, 'issuing', instant(5), { changedAfter })).length, 7);
    });
  });

  describe('many entries', () => {
    it('come page by page, in order, none twice and none left out', async (store) => {
      const count = 12_000;
      const serials = Array.from({ length: count }, (_, index) => (0x100000 + index).toString(16));
      // In portions: on a slow machine the last of all would wait for a connection for longer than anybody does.
      for (let from = 0; from < count; from += 500) {
        await Promise.all(
          serials
            .slice(from, from + 500)
            .map((serialNumber) =>
              store.reserveSerial(
                intentOf({ requestID: serialNumber, serialNumber, tbsCertificate: Buffer.of(0) }),
              ),
            ),
        );
      }
      await store.abandonIntents({ issuer: 'issuing', reservedBefore: instant(1), at: instant(2) });
      assert.deepEqual(
        (await entriesOf(store, 'issuing', instant(5))).map(({ serialNumber }) => serialNumber),
        serials,
      );
      const delta = await entriesOf(store, 'issuing', instant(5), { changedAfter: 0 });
      assert.equal(new Set(delta.map(({ serialNumber }) => serialNumber)).size, count);
      assert.equal(delta.length, count);
    });
  });

  describe('states of CRLs', () => {
    const record = (own: Partial<CrlRecord>): CrlRecord => ({
      issuer: 'issuing',
      partition: 0,
      kind: 'full',
      crlNumber: 1,
      thisUpdate: instant(1),
      nextUpdate: instant(8),
      change: 3,
      crl: Buffer.from('crl'),
      ...own,
    });
    const base = { crlNumber: 4, thisUpdate: instant(1), nextUpdate: instant(8), change: 3 };

    it('are kept by partition and kind, a delta with its base', async (store) => {
      assert.deepEqual(await store.crlStates('issuing'), []);
      const rows = [
        record({ partition: 2, kind: 'delta', crlNumber: 7, base, crl: Buffer.from('2d') }),
        record({ partition: 2, crlNumber: 5, crl: Buffer.from('2f') }),
        record({ kind: 'delta', crlNumber: 6, base, crl: Buffer.from('0d') }),
        record({ crlNumber: 4, crl: Buffer.from('0f') }),
      ];
      for (const row of rows) await store.recordCrl(row);
      // Of a lower number: all of them stay.
      for (const row of rows) await store.recordCrl({ ...row, crlNumber: 3, crl: Buffer.from('older') });
      await store.recordCrl(record({ issuer: 'other' }));
      assert.deepEqual(
        await store.crlStates('issuing'),
        rows.toReversed().map(({ crl: _octets, ...state }) => state),
      );
      for (const row of rows) {
        const latest = await store.latestCrl('issuing', row.partition, row.kind);
        assert.deepEqual({ ...latest, crl: Buffer.from(latest?.crl ?? []) }, row);
      }
      assert.equal(await store.latestCrl('issuing', 1, 'full'), undefined);
      assert.equal(await store.reserveCrlNumber('issuing'), 8);
      // A full CRL and a delta that were made together share a number.
      await store.recordCrl(record({ crlNumber: 9 }));
      await store.recordCrl(record({ kind: 'delta', crlNumber: 9, base }));
      assert.deepEqual(
        (await store.crlStates('issuing')).map(({ crlNumber }) => crlNumber),
        [9, 9, 5, 7],
      );
    });
  });

  describe('search', () => {
    it('finds by every criterion, counts, and turns pages', async (store) => {
      const make = (serialNumber: string, own: Partial<CertificateIntent>) =>
        issue(store, { serialNumber, subject: 'CN=x', subjectAltName: '', device: '', ...own });
      await make('01', { issuer: 'other', reservedAt: instant(1), notAfter: instant(100) });
      await make('01', { requester: 'operator', reservedAt: instant(2), notAfter: instant(200) });
      await make('02', { template: 'user', subject: 'CN=50%_Off\\,O=Lab', reservedAt: instant(3) });
      await make('03', { device: 'd', subjectAltName: 'DNS:Laptop.test', reservedAt: instant(4) });
      await revoke(store, '03', 'superseded');
      await store.reserveSerial(
        intentOf({ requestID: 'i', serialNumber: '04', device: '', subject: '', reservedAt: instant(5) }),
      );
      const thumbprint = (await store.certificateBySerial('issuing', '02'))?.thumbprint ?? assert.fail();
      const rows: readonly (readonly [criteria: CertificateCriteria, ids: number[]])[] = [
        [{}, [5, 4, 3, 2, 1]],
        [{ issuer: 'issuing' }, [5, 4, 3, 2]],
        [{ serialNumber: '01' }, [2, 1]],
        [{ serialNumber: '01', issuer: 'other' }, [1]],
        [{ serialNumber: '01', issuer: 'absent' }, []],
        [{ requester: 'operator' }, [2]],
        [{ template: 'user' }, [3]],
        [{ device: 'd' }, [4]],
        [{ status: 'issued' }, [3, 2, 1]],
        [{ status: 'revoked', device: 'd' }, [4]],
        [{ status: 'revoked', template: 'user' }, []],
        [{ nameContains: 'laptop.' }, [4]],
        [{ nameContains: '50%_oFF\\' }, [3]],
        [{ nameContains: '50_%' }, []],
        [{ nameContains: '%' }, [3]],
        [{ thumbprint }, [3]],
        [{ thumbprint: thumbprint.toLowerCase() }, []],
        [{ thumbprint, template: 'device' }, []],
        [{ reservedFrom: instant(2), reservedBefore: instant(4) }, [3, 2]],
        [{ notAfterBefore: instant(200) }, [1]],
        [{ notAfterFrom: instant(200), notAfterBefore: instant(365) }, [2]],
        [{ issuer: 'issuing', status: 'issued', reservedBefore: instant(3) }, [2]],
      ];
      for (const [criteria, ids] of rows) {
        const what = JSON.stringify(criteria);
        const found = await store.certificates({ ...criteria, limit: 10 });
        assert.deepEqual(
          found.map(({ id }) => id),
          ids,
          what,
        );
        assert.equal(await store.countCertificates(criteria), ids.length, what);
        const paged: number[] = [];
        let after: number | undefined;
        do {
          const page = await store.certificates({
            ...criteria,
            limit: 1,
            ...(after !== undefined && { after }),
          });
          after = page[0]?.id;
          if (after !== undefined) paged.push(after);
        } while (after !== undefined);
        assert.deepEqual(paged, ids, `${what} page by page`);
      }
    });

    it('turns the pages of the audit log', async (store) => {
      for (const event of ['a.1', 'b.1', 'a.2', 'certificate.issued', 'a.1'])
        await store.appendAudit(auditOf({ event, reference: event === 'b.1' ? '' : 'r' }));
      const rows: readonly (readonly [filter: Parameters<PkiStore['auditEntries']>[0], numbers: number[]])[] =
        [
          [{ limit: 2 }, [5, 4]],
          [{ limit: 2, after: 4 }, [3, 2]],
          [{ limit: 10, after: 1 }, []],
          [{ event: 'a.', limit: 10, after: 5 }, [3, 1]],
          [{ event: 'certificate.', limit: 10, after: 5 }, [4]],
          [{ event: 'certificate.', limit: 10, after: 4 }, []],
          [{ reference: 'r', limit: 2, after: 5 }, [4, 3]],
          [{ reference: '', limit: 2, after: 2 }, []],
        ];
      for (const [filter, numbers] of rows) {
        const found = await store.auditEntries(filter);
        assert.deepEqual(
          found.map(({ number }) => number),
          numbers,
          JSON.stringify(filter),
        );
      }
    });
  });
}
