/** The corpus: one file for each target, one input in base64 on each line. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

const fileOf = (target: string) => new URL(`corpus/${target}.txt`, import.meta.url);
/** So that all of them together stay small in the repository. */
const CORPUS_BYTES_MAX = 92 * 1024;

/** The inputs of a target; none if it has no file. */
export function readCorpus(target: string): Uint8Array[] {
  const file = fileOf(target);
  if (!existsSync(file)) return [];
  return readFileSync(file, 'latin1')
    .split('\n')
    .slice(0, -1)
    .map((line) => new Uint8Array(Buffer.from(line, 'base64')));
}

/** Writes as many as fit, the first before the others. */
export function writeCorpus(target: string, inputs: readonly Uint8Array[]): void {
  let bytes = 0;
  const lines = inputs
    .map((input) => `${Buffer.from(input).toString('base64')}\n`)
    .filter((line) => {
      bytes += line.length;
      return bytes <= CORPUS_BYTES_MAX;
    });
  writeFileSync(fileOf(target), lines.join(''));
}
