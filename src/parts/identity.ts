/** Files of a configuration as values: certificates, chains, keys. */
import { readFileSync } from 'node:fs';
import { type Certificate, parseCertificate, parsePem, sameOctets } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import {
  clearKeyForTls,
  describePlace,
  type FilePlace,
  type KeyPlace,
  type KeyUse,
  openKey,
  type PrivateKey,
  secretFromReference,
} from '../keys/index.ts';

/** A certificate and the key that belongs to it. */
export interface Identity {
  readonly certificate: Certificate;
  readonly key: PrivateKey;
}

/**
 * Opens a certificate file and its key.
 *
 * @throws PkiError `key_capability` if they do not belong together, `config_invalid` if a file cannot be read; as
 *   `openKey` besides.
 */
export async function openIdentity(
  config: { readonly certificate: string; readonly key: KeyPlace },
  use: KeyUse,
): Promise<Identity> {
  const certificate = parseCertificate(readChain(config.certificate)[0]);
  const key = await openKey(config.key, use);
  if (!sameOctets(certificate.spki, key.spki)) {
    throw new PkiError(
      'key_capability',
      `${describePlace(config.key)} is not the key of ${config.certificate}`,
    );
  }
  return { certificate, key };
}

/** The certificates of a PEM file, in its order. Throws PkiError `config_invalid` if it cannot be read. */
export function readChain(path: string): [Uint8Array, ...Uint8Array[]] {
  return parsePem(readText(path), 'CERTIFICATE');
}

/** A file's text. Throws PkiError `config_invalid` if it cannot be read. */
export function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new PkiError('config_invalid', `cannot read ${path}`, { cause });
  }
}

/** Certificate and key as Node's TLS takes them; the clear key stays in memory. */
export function tlsIdentity(config: { readonly certificate: string; readonly key: FilePlace }): {
  readonly cert: string;
  readonly key: string;
} {
  return {
    cert: readText(config.certificate),
    key: clearKeyForTls({ path: config.key.file, passphrase: secretFromReference(config.key.passphrase) }),
  };
}
