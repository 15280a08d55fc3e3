/** Keys in encrypted PKCS #8 files (RFC 5958), mode 0600. */
import { createPrivateKey, generateKeyPair, type KeyObject } from 'node:crypto';
import { link, mkdir, open, readFile, stat, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { PkiError } from '../errors.ts';
import { type PrivateKey, privateKeyOf } from './private-key.ts';

/** Kinds of keys that can be made. */
export type KeyAlgorithm = 'rsa-2048' | 'rsa-3072' | 'rsa-4096' | 'p-256' | 'p-384';

/** A key file and what opens it. */
export interface KeyFile {
  readonly path: string;
  readonly passphrase: string;
}

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
 * Makes a key and writes its file, whole or not at all; the folder is made with mode 0700. Never overwrites.
 *
 * @throws PkiError `key_locked` if the file exists or cannot be written.
 */
export async function generateKeyFile(
  file: KeyFile & { readonly algorithm: KeyAlgorithm },
): Promise<PrivateKey> {
  const key = await newKey(file.algorithm);
  const pem = key.export({
    type: 'pkcs8',
    format: 'pem',
    cipher: 'aes-256-cbc',
    passphrase: file.passphrase,
  });
  await writeNewFile(file.path, pem);
  return privateKeyOf(key);
}

async function writeNewFile(path: string, content: string | Buffer): Promise<void> {
  const folder = dirname(path);
  const draft = `${path}.${process.pid}.new`;
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const file = await open(draft, 'wx', 0o600);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    try {
      // A link, unlike a rename, does not replace what is there.
      await link(draft, path);
    } finally {
      await unlink(draft);
    }
    const directory = await open(folder, 'r');
    await directory.sync();
    await directory.close();
  } catch (cause) {
    const exists = (cause as NodeJS.ErrnoException).code === 'EEXIST';
    throw new PkiError(
      'key_locked',
      exists ? `${path} exists already and is not replaced` : `${path} cannot be written`,
      {
        cause,
      },
    );
  }
}

/**
 * Opens a key file.
 *
 * @throws PkiError `key_locked` if it is missing, readable by others, not a PKCS #8 key, or the passphrase is wrong.
 */
export async function openKeyFile(file: KeyFile): Promise<PrivateKey> {
  let pem: string;
  try {
    await assertPrivate(file.path);
    pem = await readFile(file.path, 'utf8');
  } catch (cause) {
    if (cause instanceof PkiError) throw cause;
    throw new PkiError('key_locked', `the key file ${file.path} cannot be read`, { cause });
  }
  if (!pem.includes('BEGIN ENCRYPTED PRIVATE KEY')) {
    throw new PkiError('key_locked', `${file.path} is not an encrypted PKCS #8 key`);
  }
  try {
    return privateKeyOf(createPrivateKey({ key: pem, format: 'pem', passphrase: file.passphrase }));
  } catch {
    // The cause is left out: OpenSSL's text may differ between a wrong passphrase and a damaged file.
    throw new PkiError('key_locked', `${file.path}: the passphrase is wrong or the file is damaged`);
  }
}

/** Throws PkiError `key_locked` if group or others may do anything with the file. */
async function assertPrivate(path: string): Promise<void> {
  const { mode } = await stat(path);
  // Windows has no such bits; there the folder's access list protects the file.
  if (process.platform !== 'win32' && (mode & 0o077) !== 0) {
    throw new PkiError(
      'key_locked',
      `${path} is open to others (mode ${(mode & 0o777).toString(8)}); set it to 600`,
    );
  }
}
