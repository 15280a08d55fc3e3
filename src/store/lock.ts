/** One server a data folder. */
import { DatabaseSync } from 'node:sqlite';
import { PkiError } from '../errors.ts';

/**
 * Takes the lock of a data folder for as long as the process lives, by an exclusive transaction on a file of its own:
 * the operating system frees it however the process ends.
 *
 * @throws PkiError `store_locked` if another process holds it.
 */
export function lockDataFolder(path: string): { release(): void } {
  const db = new DatabaseSync(path, { timeout: 0 });
  try {
    db.exec('BEGIN EXCLUSIVE');
  } catch (cause) {
    db.close();
    throw new PkiError('store_locked', `another server is running on this data folder (${path} is locked)`, {
      cause,
    });
  }
  return { release: () => db.close() };
}
