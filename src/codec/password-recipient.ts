/** PasswordRecipientInfo (RFC 5652 §6.2.4): a content key under a password, for recipients whose key cannot encrypt. */
import { createCipheriv, createDecipheriv, pbkdf2, randomBytes } from 'node:crypto';
import { PkiError } from '../errors.ts';
import {
  buildAlgorithmIdentifier,
  type Cipher,
  type CipherName,
  cipherOf,
  ciphers,
  type DigestName,
  nodeCipherOf,
  readAlgorithmIdentifier,
} from './algorithm.ts';
import {
  contextConstructed,
  DerReader,
  der,
  integer,
  nullValue,
  objectIdentifier,
  octetString,
  readDer,
  sequence,
  tag,
} from './der.ts';
import { oid } from './oid.ts';

/** What a PasswordRecipientInfo says; the password alone is missing. */
export interface PasswordRecipient {
  /** Digest of the HMAC that PBKDF2 (RFC 8018 §5.2) works with. */
  readonly prf: DigestName;
  readonly salt: Uint8Array;
  readonly iterations: number;
  /** The cipher that wraps, by RFC 3211 §2.3. */
  readonly cipher: Cipher;
  readonly iv: Uint8Array;
  readonly encryptedKey: Uint8Array;
}

/**
 * Some 30 ms of a core for each guess at a password. Challenges that are made for one request have 160 random bits and
 * would need none of it; this is for secrets that a person chose.
 */
export const PBKDF2_ITERATIONS = 100_000;
/** The sender chooses the number and the reader does the work: about a third of a second at the most. */
export const PBKDF2_ITERATIONS_MAX = 1_000_000;
const SALT_BYTES = 16;
const SALT_BYTES_MAX = 1024;
/** RFC 3211 §2.3.1: a length octet and three check octets stand before the key. */
const WRAP_HEADER_BYTES = 4;

/** The HMACs that PBKDF2 works with (RFC 8018 §B.1.1, §B.1.2). */
export const prfOids: Readonly<Record<DigestName, string>> = {
  sha1: oid.hmacWithSHA1,
  sha256: oid.hmacWithSHA256,
  sha384: oid.hmacWithSHA384,
  sha512: oid.hmacWithSHA512,
};

/**
 * Reads the [3] of a RecipientInfo.
 *
 * @throws PkiError `der_malformed`; `der_limit` for more than `PBKDF2_ITERATIONS_MAX` iterations; `algorithm_unsupported`
 *   for anything but PBKDF2 and id-alg-PWRI-KEK over a block cipher that we know.
 */
export function parsePasswordRecipient(bytes: Uint8Array): PasswordRecipient {
  return readDer(bytes, contextConstructed(3), (reader) => {
    reader.smallInteger();
    const derivation = reader.enterOptional(contextConstructed(0));
    if (derivation === undefined) throw unsupported('a key without derivation');
    const derivationOid = derivation.oid();
    if (derivationOid !== oid.pbkdf2) throw unsupported(`key derivation ${derivationOid}`);
    const parameters = readPbkdf2(derivation.enter(tag.sequence));
    derivation.end();
    const wrap = readAlgorithmIdentifier(reader);
    if (wrap.oid !== oid.pwriKek || wrap.parameters === undefined)
      throw unsupported(`key encryption ${wrap.oid}`);
    const inner = new DerReader(wrap.parameters);
    const { cipher, iv } = cipherOf(readAlgorithmIdentifier(inner));
    inner.end();
    if (parameters.keyBytes !== undefined && parameters.keyBytes !== cipher.keyBytes)
      throw unsupported(`a derived key of ${parameters.keyBytes} octets for ${cipher.name}`);
    const encryptedKey = reader.octetString();
    reader.end();
    const { prf, salt, iterations } = parameters;
    return { prf, salt, iterations, cipher, iv, encryptedKey };
  });
}

/**
 * PBKDF2-params (RFC 8018 §A.2); `keyBytes` is absent where they do not say it.
 *
 * @throws PkiError `der_malformed`; `der_limit` for more than `PBKDF2_ITERATIONS_MAX` iterations or a huge salt;
 *   `algorithm_unsupported`.
 */
export function readPbkdf2(reader: DerReader): {
  readonly prf: DigestName;
  readonly salt: Uint8Array;
  readonly iterations: number;
  readonly keyBytes: number | undefined;
} {
  const salt = reader.octetString();
  if (salt.length > SALT_BYTES_MAX) throw new PkiError('der_limit', `a salt of ${salt.length} octets`);
  const iterations = reader.smallInteger();
  if (iterations < 1 || iterations > PBKDF2_ITERATIONS_MAX)
    throw new PkiError('der_limit', `${iterations} iterations of PBKDF2; at most ${PBKDF2_ITERATIONS_MAX}`);
  const keyBytes = reader.nextTag === tag.integer ? reader.smallInteger() : undefined;
  // RFC 8018 §A.2: HMAC-SHA-1 is the default.
  const prfOid = reader.done ? oid.hmacWithSHA1 : readAlgorithmIdentifier(reader).oid;
  reader.end();
  const prf = (Object.keys(prfOids) as DigestName[]).find((name) => prfOids[name] === prfOid);
  if (prf === undefined) throw unsupported(`pseudorandom function ${prfOid}`);
  return { prf, salt, iterations, keyBytes };
}

/**
 * The content key.
 *
 * @param password taken as UTF-8
 * @throws PkiError `scep_envelope`, one and the same for a wrong password and a damaged key.
 */
export async function openPasswordRecipient(
  recipient: PasswordRecipient,
  password: string,
): Promise<Uint8Array> {
  const { cipher, iv, encryptedKey } = recipient;
  // RFC 3211 §2.3.2: two blocks at least; the length octet bounds it from above.
  if (
    encryptedKey.length < 2 * cipher.ivBytes ||
    encryptedKey.length > WRAP_HEADER_BYTES + 255 + cipher.ivBytes ||
    encryptedKey.length % cipher.ivBytes !== 0
  )
    throw unopened();
  const key = await derivedKey(recipient, password);
  return unwrapped(cipher, key, iv, encryptedKey);
}

/**
 * Builds the [3] of a RecipientInfo.
 *
 * @param key the content key, 3 to 255 octets
 * @param password taken as UTF-8
 */
export async function buildPasswordRecipient(
  key: Uint8Array,
  password: string,
  cipherName: CipherName,
): Promise<Uint8Array> {
  const cipher = ciphers[cipherName];
  const salt = randomBytes(SALT_BYTES);
  const iv = randomBytes(cipher.ivBytes);
  const derivation = { prf: 'sha256', salt, iterations: PBKDF2_ITERATIONS, cipher } as const;
  const kek = await derivedKey(derivation, password);
  const encryptedKey = wrapped(cipher, kek, iv, key);
  return der(
    contextConstructed(3),
    integer(0),
    der(
      contextConstructed(0),
      // [0] IMPLICIT: the content of an AlgorithmIdentifier without its own tag.
      objectIdentifier(oid.pbkdf2),
      sequence(
        octetString(salt),
        integer(derivation.iterations),
        buildAlgorithmIdentifier({ oid: prfOids[derivation.prf], parameters: nullValue }),
      ),
    ),
    buildAlgorithmIdentifier({
      oid: oid.pwriKek,
      parameters: buildAlgorithmIdentifier({ oid: cipher.oid, parameters: octetString(iv) }),
    }),
    octetString(encryptedKey),
  );
}

function derivedKey(
  { prf, salt, iterations, cipher }: Pick<PasswordRecipient, 'prf' | 'salt' | 'iterations' | 'cipher'>,
  password: string,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    // On the thread pool: the loop of a server must not stand still for it.
    pbkdf2(Buffer.from(password, 'utf8'), salt, iterations, cipher.keyBytes, prf, (failure, key) => {
      if (failure === null) resolve(key);
      else reject(failure);
    });
  });
}

/** RFC 3211 §2.3.1: length, three check octets, key and padding go through CBC twice; the chain is not broken between. */
function wrapped(cipher: Cipher, kek: Uint8Array, iv: Uint8Array, key: Uint8Array): Uint8Array {
  const blocks = Math.max(2, Math.ceil((WRAP_HEADER_BYTES + key.length) / cipher.ivBytes));
  const block = randomBytes(blocks * cipher.ivBytes);
  block[0] = key.length;
  for (let index = 0; index < 3; index += 1) block[1 + index] = ~(key[index] as number);
  block.set(key, WRAP_HEADER_BYTES);
  const encryption = createCipheriv(...nodeCipherOf(cipher, kek), iv).setAutoPadding(false);
  const inner = encryption.update(block);
  return encryption.update(inner);
}

/** RFC 3211 §2.3.2. */
function unwrapped(cipher: Cipher, kek: Uint8Array, iv: Uint8Array, encryptedKey: Uint8Array): Uint8Array {
  const size = cipher.ivBytes;
  const decrypted = (vector: Uint8Array, octets: Uint8Array) =>
    createDecipheriv(...nodeCipherOf(cipher, kek), vector)
      .setAutoPadding(false)
      .update(octets);
  const end = encryptedKey.length;
  // The vector of the outer layer is the last block of the inner one, which the last two outer blocks give.
  const last = decrypted(
    encryptedKey.subarray(end - 2 * size, end - size),
    encryptedKey.subarray(end - size),
  );
  const inner = decrypted(last, encryptedKey);
  const block = decrypted(iv, inner);
  const [length = 0] = block;
  let bad = Number(length < 3 || length > block.length - WRAP_HEADER_BYTES);
  for (let index = 0; index < 3; index += 1)
    bad |= (block[1 + index] as number) ^ (block[WRAP_HEADER_BYTES + index] as number) ^ 0xff;
  if (bad !== 0) throw unopened();
  return block.subarray(WRAP_HEADER_BYTES, WRAP_HEADER_BYTES + length);
}

function unopened(): PkiError {
  return new PkiError('scep_envelope', 'the envelope cannot be opened');
}

function unsupported(what: string): PkiError {
  return new PkiError('algorithm_unsupported', `${what} is not supported`);
}
