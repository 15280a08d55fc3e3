/** One server a data folder. */
import { DatabaseSync } from 'node:sqlite';
import { PkiError } from '../errors.ts';
import { createDatabaseFile, isBusy } from './sqlite.ts';

/**
 * Takes the lock of a data folder for as long as the process lives, by an exclusive transaction on a file of its own:
 * the operating system frees it however the process ends. The folder is made if it is missing.
 *
 * @throws PkiError `store_locked` if another process holds it; `store_unavailable` if the file cannot be made.
 */
export function lockDataFolder(path: string): { release(): void } {
  let db: DatabaseSync | undefined;
  try {
    createDatabaseFile(path);
    db = new DatabaseSync(path, { timeout: 0 });
    db.exec('BEGIN EXCLUSIVE');
  } catch (cause) {
    db?.close();
    if (!isBusy(cause)) {
      throw new PkiError('store_unavailable', `the lock file ${path} cannot be used`, { cause });
    }
    throw new PkiError('store_locked', `another server is running on this data folder (${path} is locked)`, {
      cause,
    });
  }
  const held = db;
  return { release: () => held.close() };
}
