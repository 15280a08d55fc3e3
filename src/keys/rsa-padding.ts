/**
 * RSA padding outside the token: what is built before a raw signature, and what is opened after a raw decryption.
 *
 * Opening is written in constant shape: no branch and no index depends on a secret octet, and only the length of what
 * comes out differs. JavaScript promises no constant time; what it leaks is far below what a network or a token's own
 * error would.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import {
  type DigestName,
  digests,
  nullValue,
  objectIdentifier,
  octetString,
  sequence,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';

/** DigestInfo (RFC 8017 §9.2, step 2): what CKM_RSA_PKCS signs. */
export function buildDigestInfo(name: DigestName, digest: Uint8Array): Uint8Array {
  return sequence(sequence(objectIdentifier(digests[name].oid), nullValue), octetString(digest));
}

/** RFC 8017 §7.2.2: 00, 02, at least eight octets that are not zero, and 00 stand before the message. */
const PKCS1_OVERHEAD_BYTES = 11;

/** Candidates for the length of a synthetic plaintext. One of them is short enough but for a chance of 2^-128. */
const LENGTH_CANDIDATES = 128;

/**
 * Octets of random length that a ciphertext opens to if its padding is bad. The same secret and ciphertext give the
 * same octets, as a real plaintext would; who has not the secret cannot tell them from one.
 *
 * @param secret 32 octets that nobody outside knows
 */
export function syntheticPlaintext(secret: Uint8Array, ciphertext: Uint8Array): Uint8Array {
  const { octets, length } = synthetic(secret, ciphertext);
  return octets.subarray(octets.length - length);
}

function synthetic(
  secret: Uint8Array,
  ciphertext: Uint8Array,
): { readonly octets: Uint8Array; readonly length: number } {
  const key = createHmac('sha256', secret).update(ciphertext).digest();
  const lengthMax = ciphertext.length - PKCS1_OVERHEAD_BYTES;
  const mask = 2 ** (32 - Math.clz32(lengthMax)) - 1;
  const candidates = expand(key, 'length', LENGTH_CANDIDATES * 2);
  let length = 0;
  for (let index = 0; index < LENGTH_CANDIDATES; index += 1) {
    const candidate = candidates.readUInt16BE(index * 2) & mask;
    length = select(isBelow(candidate, lengthMax + 1), candidate, length);
  }
  return { octets: expand(key, 'message', ciphertext.length), length };
}

function expand(key: Uint8Array, label: string, length: number): Buffer {
  const blocks: Buffer[] = [];
  for (let counter = 0; counter * 32 < length; counter += 1) {
    blocks.push(createHmac('sha256', key).update(label).update(Uint8Array.of(counter)).digest());
  }
  return Buffer.concat(blocks).subarray(0, length);
}

/**
 * Opens a PKCS #1 v1.5 block with implicit rejection: bad padding yields `syntheticPlaintext` and no error. Both
 * results are computed each time, and one of them is chosen without a branch.
 *
 * @param block the raw decryption of `ciphertext`; both are as long as the modulus
 */
export function openPkcs1v15(block: Uint8Array, ciphertext: Uint8Array, secret: Uint8Array): Uint8Array {
  const rejected = synthetic(secret, ciphertext);
  let zeroAt = 0;
  let found = 0;
  for (let index = 2; index < block.length; index += 1) {
    const first = isEqual(octet(block, index), 0) & ~found & 1;
    zeroAt = select(first, index, zeroAt);
    found |= first;
  }
  const good = isEqual(octet(block, 0), 0) & isEqual(octet(block, 1), 2) & found & isBelow(9, zeroAt);
  const out = new Uint8Array(block.length);
  for (let index = 0; index < block.length; index += 1) {
    out[index] = select(good, octet(block, index), octet(rejected.octets, index));
  }
  const length = select(good, block.length - 1 - zeroAt, rejected.length);
  return out.subarray(out.length - length);
}

/**
 * Opens an OAEP block (RFC 8017 §7.1.2, step 3), with the digest for MGF1 too and an empty label. All checks are made
 * before any of them tells (Manger 2001).
 *
 * @param block the raw decryption, as long as the modulus
 * @throws PkiError `scep_envelope`, one and the same for every cause.
 */
export function openOaep(block: Uint8Array, digest: DigestName): Uint8Array {
  const labelHash = createHash(digest).digest();
  const digestBytes = labelHash.length;
  // A key that is too short for the digest can have been given no such message.
  if (block.length < 2 * digestBytes + 2) throw unopened();
  const maskedSeed = block.subarray(1, 1 + digestBytes);
  const maskedData = block.subarray(1 + digestBytes);
  const seed = xor(maskedSeed, mask(digest, maskedData, digestBytes));
  const data = xor(maskedData, mask(digest, seed, maskedData.length));
  let bad = octet(block, 0) | Number(!timingSafeEqual(data.subarray(0, digestBytes), labelHash));
  let oneAt = 0;
  let found = 0;
  for (let index = digestBytes; index < data.length; index += 1) {
    const value = octet(data, index);
    const first = isEqual(value, 1) & ~found & 1;
    oneAt = select(first, index, oneAt);
    found |= first;
    bad |= select(found, 0, value);
  }
  if ((bad | (found ^ 1)) !== 0) throw unopened();
  return data.subarray(oneAt + 1);
}

/** MGF1 (RFC 8017 §B.2.1). */
function mask(digest: DigestName, seed: Uint8Array, length: number): Buffer {
  const blocks: Buffer[] = [];
  let bytes = 0;
  for (let counter = 0; bytes < length; counter += 1) {
    const block = createHash(digest)
      .update(seed)
      .update(Uint8Array.of(0, 0, counter >> 8, counter & 0xff))
      .digest();
    blocks.push(block);
    bytes += block.length;
  }
  return Buffer.concat(blocks).subarray(0, length);
}

function xor(a: Uint8Array, b: Uint8Array): Uint8Array {
  return a.map((value, index) => value ^ octet(b, index));
}

/** The octet at a place that is inside. */
const octet = (octets: Uint8Array, index: number): number => octets[index] as number;
/** 1 or 0, for numbers from 0 to 2^30. */
const isBelow = (a: number, b: number): number => ((a - b) >> 31) & 1;
const isEqual = (a: number, b: number): number => (((a ^ b) - 1) >> 31) & 1;
/** `a` if the choice is 1, `b` if it is 0. */
const select = (choice: number, a: number, b: number): number => (a & -choice) | (b & (choice - 1));

/** One answer for every cause, and without the cause: what tells two failures apart is a decryption oracle. */
export function unopened(): PkiError {
  return new PkiError('scep_envelope', 'the envelope cannot be opened');
}
