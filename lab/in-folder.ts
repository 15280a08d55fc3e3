/** What the lab's programs have in common: work in a folder that is gone afterwards, and an exit status. */
import { rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A file may still be being written by a process that is about to end. */
const removal = { recursive: true, force: true, maxRetries: 10 } as const;

/**
 * Does the work of a program in a temporary folder, whose name begins with `prefix`; its answer is the exit status of this
 * process, which is 1 if it throws. The folder is removed then, and also if the program is interrupted.
 */
export async function runInFolder(prefix: string, work: (folder: string) => Promise<number>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), prefix));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      rmSync(folder, removal);
      process.exit(1);
    });
  }
  try {
    process.exitCode = await work(folder);
  } catch (cause) {
    console.error(`error: ${cause instanceof Error ? cause.message : String(cause)}`);
    process.exitCode = 1;
  } finally {
    await rm(folder, removal);
  }
}
