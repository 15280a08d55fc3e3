/** Keys in encrypted PKCS #8 files (RFC 5958), mode 0600. */
import { createPrivateKey, generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';
import { PkiError } from '../errors.ts';
import { readPrivateFile, writeNewFile } from './private-file.ts';
import { type PrivateKey, privateKeyOf } from './private-key.ts';

/** Kinds of keys that can be made. */
export type KeyAlgorithm = 'rsa-2048' | 'rsa-3072' | 'rsa-4096' | 'p-256' | 'p-384';

/** A key file and what opens it. */
export interface KeyFile {
  readonly path: string;
  /** 1 to 1024 octets of UTF-8: OpenSSL writes files with a longer one that it cannot read. */
  readonly passphrase: string;
}

const PASSPHRASE_BYTES_MAX = 1024;

const generate = promisify(generateKeyPair);

async function newKey(algorithm: KeyAlgorithm): Promise<KeyObject> {
  switch (algorithm) {
    case 'rsa-2048':
    case 'rsa-3072':
    case 'rsa-4096':
      return (await generate('rsa', { modulusLength: Number(algorithm.slice(4)) })).privateKey;
    case 'p-256':
      return (await generate('ec', { namedCurve: 'P-256' })).privateKey;
    case 'p-384':
      return (await generate('ec', { namedCurve: 'P-384' })).privateKey;
  }
}

/**
 * Makes a key and writes its file, whole or not at all; a missing folder is made with mode 0700. Never overwrites.
 * When it resolves, the file survives a crash of the machine.
 *
 * @throws PkiError `key_exists` if there is a file already; `key_locked` if it cannot be written or the passphrase
 *   cannot be used.
 */
export async function generateKeyFile(
  file: KeyFile & { readonly algorithm: KeyAlgorithm },
): Promise<PrivateKey> {
  assertPassphrase(file);
  return await writeKey(file, await newKey(file.algorithm));
}

/**
 * Writes the file of a key that came from elsewhere, under the promises of `generateKeyFile`.
 *
 * @param pkcs8 DER PKCS #8 in the clear; the caller overwrites it
 * @throws PkiError as `generateKeyFile`, and `key_capability` if it is no key of RSA or on a curve.
 */
export async function importKeyFile(file: KeyFile, pkcs8: Uint8Array): Promise<PrivateKey> {
  assertPassphrase(file);
  let key: KeyObject;
  try {
    key = createPrivateKey({
      key: Buffer.from(pkcs8.buffer, pkcs8.byteOffset, pkcs8.byteLength),
      format: 'der',
      type: 'pkcs8',
    });
  } catch {
    // The library's own message may quote the key.
    throw new PkiError('key_capability', 'the imported key cannot be read');
  }
  return await writeKey(file, key);
}

function assertPassphrase({ path, passphrase }: KeyFile): void {
  const passphraseBytes = Buffer.byteLength(passphrase);
  if (passphraseBytes === 0 || passphraseBytes > PASSPHRASE_BYTES_MAX) {
    throw new PkiError('key_locked', `${path}: the passphrase must have 1 to ${PASSPHRASE_BYTES_MAX} octets`);
  }
}

async function writeKey({ path, passphrase }: KeyFile, key: KeyObject): Promise<PrivateKey> {
  const pem = key.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase });
  const opened = privateKeyOf(key);
  try {
    await writeNewFile(path, pem);
  } catch (cause) {
    throw cause instanceof PkiError && cause.code === 'file_exists'
      ? new PkiError('key_exists', `${path} exists already and is not replaced`, { cause })
      : new PkiError('key_locked', `the key file ${path} cannot be written`, { cause });
  }
  return opened;
}

/**
 * Opens a key file.
 *
 * @throws PkiError `key_locked` if it is missing, open to group or others, not an encrypted PKCS #8 key, or the
 *   passphrase is wrong; `key_capability` if it holds a key that is neither RSA nor EC.
 */
export async function openKeyFile(file: KeyFile): Promise<PrivateKey> {
  return privateKeyOf(readKeyFile(file));
}

/**
 * The key of a file as clear PKCS #8 PEM, which is what Node's TLS takes. It stays in memory and is never written.
 *
 * @throws PkiError as `openKeyFile`.
 */
export function clearKeyForTls(file: KeyFile): string {
  return readKeyFile(file).export({ type: 'pkcs8', format: 'pem' }).toString();
}

function readKeyFile(file: KeyFile): KeyObject {
  const pem = readPrivateFile(file.path);
  if (!pem.includes('-----BEGIN ENCRYPTED PRIVATE KEY-----')) {
    throw new PkiError(
      'key_locked',
      `${file.path} is not an encrypted PKCS #8 key; convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW`,
    );
  }
  try {
    return createPrivateKey({ key: pem, format: 'pem', passphrase: file.passphrase });
  } catch {
    // The cause is left out: OpenSSL's text may differ between a wrong passphrase and a damaged file.
    throw new PkiError('key_locked', `${file.path}: the passphrase is wrong or the file is damaged`);
  }
}
