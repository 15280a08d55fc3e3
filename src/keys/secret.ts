/** Secrets by reference: the configuration says where they are, never what they are. */
import { PkiError } from '../errors.ts';
import { readPrivateFile } from './private-file.ts';

/**
 * The secret behind `file:PATH` or `env:NAME`, without the one line feed that ends a file, and without the byte order mark
 * that editors on Windows put before UTF-8: nobody sees it, and whoever is shown such a secret calls it wrong.
 *
 * @throws PkiError `key_locked` if it is missing, empty, or in a file that others may read; `config_invalid` if the
 *   reference has neither form (it may be the secret itself, so the message does not repeat it).
 */
export function secretFromReference(reference: string): string {
  const [, scheme, place] = /^(file|env):(.+)$/s.exec(reference) ?? [];
  if (place === undefined) {
    throw new PkiError('config_invalid', 'a secret is given as a reference: file:PATH or env:NAME');
  }
  const secret =
    scheme === 'env' ? process.env[place] : readPrivateFile(place).replace(/^\uFEFF|\r?\n$/g, '');
  if (secret === undefined || secret === '') {
    throw new PkiError('key_locked', `the secret ${reference} is missing or empty`);
  }
  return secret;
}
