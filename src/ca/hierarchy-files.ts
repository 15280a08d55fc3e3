/** Files of a ceremony: written whole or not at all, readable by their owner alone, and never replaced by mistake. */
import { randomUUID } from 'node:crypto';
import { link, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { PkiError } from '../errors.ts';

/**
 * Writes a new file; after a crash it is there whole or not at all, and when the promise resolves it is on the disk. A
 * file that has this content already is left as it is, so that an interrupted ceremony can be run again.
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
 * Replaces a file: after a crash there is the old content or the new one. For what is meant to change: the root’s state
 * and its newest CRL.
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
  const draft = `${path}.${randomUUID()}.new`;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const file = await open(draft, 'wx', 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    const placed = await place(draft);
    await syncFolder(dirname(path));
    return placed;
  } catch (cause) {
    await rm(draft, { force: true }).catch(() => {});
    if (cause instanceof PkiError) throw cause;
    throw new PkiError('file_unwritable', `${path} cannot be written`, { cause });
  }
}

/** Makes the new name durable. Windows does it by itself and opens no folders. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const directory = await open(folder, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
