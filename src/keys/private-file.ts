/** Files that only their owner may read; what is written is there whole or not at all. */
import { randomBytes } from 'node:crypto';
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { link, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type ErrorCode, PkiError } from '../errors.ts';

/** Ends the name of a file that is being written, and begins with a dot; what bears it after a crash is rubbish. */
export const DRAFT_SUFFIX = '.tmp';

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

/**
 * The text of a file; `undefined` if there is none, be it that another process has just removed it.
 *
 * @throws PkiError `unreadable`, the code of the caller's, if it is there and cannot be read.
 */
export async function readTextIfThere(path: string, unreadable: ErrorCode): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new PkiError(unreadable, `${path} cannot be read`, { cause });
  }
}

/**
 * Writes a new file, and its folder if there is none; after a crash the file is there whole or not at all, and when the
 * promise resolves it is on the disk. Only the owner can read it (on Windows the folder's access list decides). A file
 * that has this content already is left as it is, so that what was interrupted can be done again.
 *
 * @returns whether it was written now or found.
 * @throws PkiError `file_exists` if there is another file of this name, `file_unwritable` if it cannot be written.
 */
export async function writeNewFile(path: string, content: string | Uint8Array): Promise<'written' | 'found'> {
  return await throughDraft(path, content, async (draft) => {
    try {
      // A link, unlike a rename, does not replace what is there.
      await link(draft, path);
      return 'written';
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause;
      if (Buffer.compare(await readFile(path), Buffer.from(content)) === 0) return 'found';
      throw new PkiError('file_exists', `${path} exists already and is not replaced`);
    } finally {
      await rm(draft, { force: true });
    }
  });
}

/**
 * Writes a file as `writeNewFile` does, or replaces the one that is there: after a crash there is the old content or the
 * new one, never a part of either.
 *
 * @throws PkiError `file_unwritable`.
 */
export async function replaceFile(path: string, content: string | Uint8Array): Promise<void> {
  await throughDraft(path, content, (draft) => rename(draft, path));
}

async function throughDraft<T>(
  path: string,
  content: string | Uint8Array,
  place: (draft: string) => Promise<T>,
): Promise<T> {
  const folder = dirname(path);
  const draft = join(folder, `.${basename(path)}.${randomBytes(6).toString('hex')}${DRAFT_SUFFIX}`);
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const file = await open(draft, 'wx', 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    const placed = await place(draft);
    await syncFolder(folder);
    return placed;
  } catch (cause) {
    await rm(draft, { force: true }).catch(() => {});
    if (cause instanceof PkiError) throw cause;
    throw new PkiError('file_unwritable', `${path} cannot be written`, { cause });
  }
}

/** Makes the new name in the folder durable. Windows does it by itself and opens no folders. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const directory = await open(folder, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
