/** Secrets by reference: the configuration says where they are, never what they are. */
import { readFileSync, statSync } from 'node:fs';
import { PkiError } from '../errors.ts';

/**
 * The secret behind `file:PATH` or `env:NAME`, without the line feed that ends a file.
 *
 * @throws PkiError `key_locked` if it is missing, empty, or in a file that others may read.
 */
export function secretFromReference(reference: string): string {
  const colon = reference.indexOf(':');
  const place = reference.slice(colon + 1);
  const secret = reference.startsWith('env:') ? process.env[place] : readSecretFile(place);
  if (secret === undefined || secret === '')
    throw new PkiError('key_locked', `the secret ${reference} is missing or empty`);
  return secret;
}

function readSecretFile(path: string): string {
  try {
    if (process.platform !== 'win32' && (statSync(path).mode & 0o077) !== 0) {
      throw new PkiError('key_locked', `the secret ${path} is open to others; set its mode to 600`);
    }
    return readFileSync(path, 'utf8').replace(/\r?\n$/, '');
  } catch (cause) {
    if (cause instanceof PkiError) throw cause;
    throw new PkiError('key_locked', `the secret ${path} cannot be read`, { cause });
  }
}
