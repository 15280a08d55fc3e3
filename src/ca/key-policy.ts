/** Which public keys may be certified. */
import { hex, type PublicKeyInfo, parsePublicKeyInfo } from '../codec/index.ts';
import type { ErrorCode } from '../errors.ts';
import type { CertificateTemplate } from './template.ts';

/** No client makes larger ones, and verifying them costs the server dearly. */
const RSA_BITS_MAX = 8192;
/** A modulus that one of these divides was made by a broken generator. */
const SMALL_PRIMES = [3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47] as const;
/** One long division serves for all of them. */
const SMALL_PRIMES_PRODUCT = SMALL_PRIMES.reduce((product, prime) => product * BigInt(prime), 1n);

/** A key that may be certified, or why it may not. */
export type KeyVerdict =
  | { readonly verdict: 'accept' }
  | {
      readonly verdict: 'refuse';
      readonly code: Extract<ErrorCode, `key_${string}`>;
      readonly detail: string;
    };

/** Judges the key of a SubjectPublicKeyInfo by a template. Throws PkiError `der_malformed`. */
export function judgeKey(spki: Uint8Array, template: CertificateTemplate): KeyVerdict {
  const key = parsePublicKeyInfo(spki);
  switch (key.type) {
    case 'rsa':
      if (!template.keyAlgorithms.includes('rsa'))
        return refuse('key_algorithm', 'RSA is not in the template');
      return judgeRsa(key, template.rsaBitsMin);
    case 'ec':
      return (template.keyAlgorithms as readonly string[]).includes(key.curve)
        ? { verdict: 'accept' }
        : refuse('key_algorithm', `${key.curve} is not in the template`);
    case 'other':
      return refuse('key_algorithm', `a key of type ${key.oid}`);
  }
}

function judgeRsa(key: Extract<PublicKeyInfo, { type: 'rsa' }>, bitsMin: number): KeyVerdict {
  if (key.bits < bitsMin || key.bits > RSA_BITS_MAX) {
    return refuse(
      'key_size_mismatch',
      `RSA-${key.bits}; the template wants ${bitsMin} to ${RSA_BITS_MAX} bits`,
    );
  }
  // FIPS 186-5 §5.4: e is odd, above 2^16 and below 2^256.
  if (key.exponent <= 65_536n || key.exponent % 2n === 0n)
    return refuse('key_weak', `exponent ${key.exponent}`);
  if (((key.modulus.at(-1) ?? 0) & 1) === 0) return refuse('key_weak', 'the modulus is even');
  const rest = BigInt(`0x${hex(key.modulus)}`) % SMALL_PRIMES_PRODUCT;
  const factor = SMALL_PRIMES.find((prime) => rest % BigInt(prime) === 0n);
  return factor === undefined
    ? { verdict: 'accept' }
    : refuse('key_weak', `the modulus is divisible by ${factor}`);
}

function refuse(code: Extract<ErrorCode, `key_${string}`>, detail: string): KeyVerdict {
  return { verdict: 'refuse', code, detail };
}
