/** The PKI store of a configuration, on whichever database it is. */
import type { PkiStore } from './contract.ts';
import { openSqliteStore } from './pki-store.ts';
import type { PostgresDatabase } from './postgres-pool.ts';

/** Where the store is: a file of this machine, or a PostgreSQL database. */
export type PkiDatabase = { readonly sqlite: string } | { readonly postgres: PostgresDatabase };

/** What may be done to a store: `read` never writes, not even its schema, and every write is `store_unavailable`. */
export type StoreAccess = 'read' | 'write';

/**
 * Opens the store; to be written to, it also brings its schema up to date.
 *
 * @throws PkiError `store_newer`, `store_unavailable`, `store_not_durable`; `store_older` if it is to be read and lacks
 *   steps; `store_driver` if the part that speaks to PostgreSQL is not installed.
 */
export async function openPkiStore(database: PkiDatabase, access: StoreAccess = 'write'): Promise<PkiStore> {
  if ('sqlite' in database) return openSqliteStore(database.sqlite, access);
  const { openPostgresStore } = await import('./postgres-store.ts');
  return await openPostgresStore(database.postgres, access);
}
