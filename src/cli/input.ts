/** What commands read besides their configuration: files that the operator names. */
import { readFileSync } from 'node:fs';
import { PkiError } from '../errors.ts';

/**
 * The octets of a file.
 *
 * @throws PkiError `command_invalid` if it cannot be read.
 */
export function fileOctets(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    const { code = 'unknown' } = cause as { readonly code?: string };
    throw new PkiError('command_invalid', `cannot read ${path} (${code})`, { cause });
  }
}

/** The text of a file, taken as UTF-8. Throws as `fileOctets`. */
export function fileText(path: string): string {
  return fileOctets(path).toString('utf8');
}
