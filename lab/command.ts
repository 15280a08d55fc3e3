/** Runs the product's own command line, as an administrator would. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const program = fileURLToPath(new URL('../bin/leafgate.js', import.meta.url));

/** Standard output of `leafgate …`. @throws Error with what it said if its exit status is not 0. */
export async function leafgate(...args: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [program, ...args], {
    maxBuffer: 64 * 1024 * 1024,
  });
  return stdout;
}

/** The same with `--json`, parsed. */
export async function leafgateJson<T>(...args: readonly string[]): Promise<T> {
  return JSON.parse(await leafgate(...args, '--json')) as T;
}
