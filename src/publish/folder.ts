/** A folder that a web server of your own serves. */
import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { PkiError } from '../errors.ts';
import { readCrlFacts } from './objects.ts';
import { sha256Of, type Target } from './target.ts';

/** The web server runs under another account; all of this is public. */
const MODE = 0o644;
const TEMPORARY_SUFFIX = '.leafgate-tmp';
/** No write takes so long: what is older was left by a crash. */
const TEMPORARY_AGE_MS_MAX = 3_600_000;

/**
 * A folder as a target; made if it is not there. A file is replaced by renaming, so that a reader gets the old octets or
 * the new ones, whole; it is on the disk when `replace` resolves. Two programs that write there at the same moment may
 * overtake each other: let one server publish to a folder.
 */
export function folderTarget({ name, folder }: { readonly name: string; readonly folder: string }): Target {
  const failing = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (cause) {
      if (cause instanceof PkiError) throw cause;
      throw new PkiError('publish_failed', `${name}: ${cause instanceof Error ? cause.message : cause}`, {
        cause,
      });
    }
  };
  const read = (file: string, signal: AbortSignal) =>
    failing(async () => {
      try {
        return await readFile(join(folder, file), { signal });
      } catch (cause) {
        if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        throw cause;
      }
    });
  return {
    name,
    place: folder,
    read,
    held: async (file, signal) => {
      const bytes = await read(file, signal);
      if (bytes === undefined) return undefined;
      const facts = file.endsWith('.crl') ? factsOf(bytes) : {};
      return { sha256: sha256Of(bytes), ...facts };
    },
    replace: (object, _held, signal) =>
      failing(async () => {
        await mkdir(folder, { recursive: true, mode: 0o755 });
        await removeLeftovers(folder);
        const temporary = join(
          folder,
          `.${object.name}.${randomBytes(6).toString('hex')}${TEMPORARY_SUFFIX}`,
        );
        try {
          const file = await open(temporary, 'wx', MODE);
          try {
            await file.writeFile(object.bytes, { signal });
            // Whatever the umask says, the web server must be able to read it.
            await file.chmod(MODE);
            await file.sync();
          } finally {
            await file.close();
          }
          await rename(temporary, join(folder, object.name));
        } catch (cause) {
          await rm(temporary, { force: true });
          throw cause;
        }
        await syncFolder(folder);
        return 'replaced' as const;
      }),
  };
}

/** A file that is no CRL, whoever put it there, has no number that could hold up ours. */
function factsOf(bytes: Uint8Array): { readonly number?: bigint; readonly nextUpdate?: Date } {
  try {
    const { crlNumber, nextUpdate } = readCrlFacts(bytes);
    return {
      ...(crlNumber === undefined ? {} : { number: crlNumber }),
      ...(nextUpdate === undefined ? {} : { nextUpdate }),
    };
  } catch {
    return {};
  }
}

async function removeLeftovers(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!name.startsWith('.') || !name.endsWith(TEMPORARY_SUFFIX)) continue;
    const path = join(folder, name);
    const age = Date.now() - ((await stat(path).catch(() => undefined))?.mtimeMs ?? Date.now());
    if (age > TEMPORARY_AGE_MS_MAX) await rm(path, { force: true });
  }
}

/** The rename itself must reach the disk. Windows cannot open folders; there the file system's journal has to do. */
async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
