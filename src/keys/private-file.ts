/** Files that only their owner may read. */
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { PkiError } from '../errors.ts';

/** No key and no secret is larger; a wrong path may be. */
const PRIVATE_FILE_BYTES_MAX = 65_536;

/**
 * The text of a file, if nobody but its owner may touch it.
 *
 * @throws PkiError `key_locked` if it is missing, unreadable, no plain file, larger than 64 KiB, or open to others.
 */
export function readPrivateFile(path: string): string {
  let descriptor: number | undefined;
  try {
    // One descriptor for both: what is read is what was checked.
    descriptor = openSync(path, 'r');
    const stat = fstatSync(descriptor);
    if (!stat.isFile()) throw new PkiError('key_locked', `${path} is not a file`);
    if (stat.size > PRIVATE_FILE_BYTES_MAX) throw new PkiError('key_locked', `${path} is too large`);
    // Windows has no such bits; there the folder's access list protects the file.
    if (process.platform !== 'win32' && (stat.mode & 0o077) !== 0) {
      const mode = (stat.mode & 0o777).toString(8).padStart(4, '0');
      throw new PkiError('key_locked', `${path} is open to others (mode ${mode}): chmod 600 ${path}`);
    }
    return readFileSync(descriptor, 'utf8');
  } catch (cause) {
    if (cause instanceof PkiError) throw cause;
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
    throw new PkiError('key_locked', missing ? `${path} does not exist` : `${path} cannot be read`, {
      cause,
    });
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}
