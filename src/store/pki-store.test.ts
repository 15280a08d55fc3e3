import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { storeContract } from '../../test/store-contract.ts';
import { auditOf } from '../../test/support/store-fixture.ts';
import type { PkiStore } from './contract.ts';
import { openSqliteStore } from './pki-store.ts';

storeContract('SQLite', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'leafgate-store-'));
  const path = join(folder, 'data', 'pki.db');
  let current: PkiStore = openSqliteStore(path);
  return {
    store: current,
    elsewhere: {
      module: new URL('./index.ts', import.meta.url).href,
      open: 'openPkiStore',
      argument: { sqlite: path },
    },
    run: async (sql) => {
      const db = new DatabaseSync(path);
      db.exec(sql);
      db.close();
    },
    reopen: async () => {
      await current.close();
      current = openSqliteStore(path);
      return current;
    },
    close: async () => {
      await current.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
});

test('the audit log cannot be changed, not even by who holds the file', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'leafgate-store-'));
  const path = join(folder, 'pki.db');
  const store = openSqliteStore(path);
  try {
    await store.appendAudit(auditOf());
    const db = new DatabaseSync(path);
    for (const sql of ['DELETE FROM audit_entry', "UPDATE audit_entry SET text = ''"]) {
      assert.throws(() => db.exec(sql), /append-only/);
    }
    db.close();
    assert.equal((await store.auditEntries({ limit: 10 })).length, 1);
  } finally {
    await store.close();
    await rm(folder, { recursive: true, force: true });
  }
});
