/** What every store promises about tokens of the admin API: part of the store contract. */
import assert from 'node:assert/strict';
import { describe } from 'node:test';
import type { AdminToken, PkiStore } from '../src/store/index.ts';
import { auditOf, instant } from './support/store-fixture.ts';

const tokenOf = (own: Partial<AdminToken> = {}): AdminToken => ({
  name: 'mdm',
  secretHash: 'ab'.repeat(32),
  roles: ['challenge-issuer'],
  createdAt: instant(0),
  expiresAt: instant(90),
  ...own,
});
const made = auditOf({ event: 'admin.token-created' });
const gone = auditOf({ event: 'admin.token-deleted' });

const events = async (store: PkiStore) =>
  (await store.auditEntries({ limit: 100 })).map(({ event }) => event).reverse();

/** Registers this part of the suite; `it` is a test with an empty store. */
export function adminContract(
  it: (
    title: string,
    body: (store: PkiStore, under: { reopen(): Promise<PkiStore> }) => Promise<void>,
  ) => void,
): void {
  describe('tokens of the admin API', () => {
    it('are absent without an error, and their removal leaves no trace', async (store) => {
      assert.equal(await store.adminToken('mdm'), undefined);
      assert.deepEqual(await store.adminTokens(), []);
      assert.equal(await store.deleteAdminToken('mdm', gone), 'unknown');
      assert.deepEqual(await events(store), []);
    });

    it('are there as they were given, in the order of their names, also after a new start', async (store, under) => {
      const free = tokenOf({ name: 'b', roles: ['auditor', 'certificate-manager'] });
      const bound = tokenOf({ name: 'a', endpoints: ['printers', 'kiosks'], expiresAt: instant(-1) });
      assert.equal(await store.createAdminToken(free, made), 'created');
      assert.equal(await store.createAdminToken(bound, made), 'created');
      const reopened = await under.reopen();
      assert.deepEqual(await reopened.adminTokens(), [bound, free]);
      assert.deepEqual(await reopened.adminToken('a'), bound);
      assert.deepEqual(await reopened.adminToken('b'), free);
      assert.equal(await reopened.adminToken('A'), undefined);
      assert.deepEqual(await events(reopened), ['admin.token-created', 'admin.token-created']);
    });

    it('have a name each: the first keeps it', async (store) => {
      const contenders = Array.from({ length: 4 }, (_, n) => tokenOf({ secretHash: String(n).repeat(64) }));
      const outcomes = await Promise.all(contenders.map((token) => store.createAdminToken(token, made)));
      assert.deepEqual(outcomes.toSorted(), ['created', 'taken', 'taken', 'taken']);
      assert.deepEqual(await store.adminToken('mdm'), contenders[outcomes.indexOf('created')]);
      assert.deepEqual(await events(store), ['admin.token-created']);
    });

    it('open nothing once they are removed, and the name is free again', async (store) => {
      await store.createAdminToken(tokenOf(), made);
      assert.equal(await store.deleteAdminToken('mdm', gone), 'deleted');
      assert.equal(await store.deleteAdminToken('mdm', gone), 'unknown');
      assert.equal(await store.adminToken('mdm'), undefined);
      assert.equal(await store.createAdminToken(tokenOf(), made), 'created');
      assert.deepEqual(await events(store), [
        'admin.token-created',
        'admin.token-deleted',
        'admin.token-created',
      ]);
    });
  });
}
