/**
 * Every algorithm that Leafgate uses, in one table a kind. Callers receive the resolved row, never a name that something
 * below would have to switch on.
 */
import { createPublicKey, type KeyObject, verify } from 'node:crypto';
import { PkiError } from '../errors.ts';
import {
  bufferOf,
  DerReader,
  hex,
  nullValue,
  objectIdentifier,
  readDer,
  sameOctets,
  sequence,
  tag,
} from './der.ts';
import { oid } from './oid.ts';
import { Recent } from './recent.ts';

/** AlgorithmIdentifier (RFC 5280 §4.1.1.2) as it came. */
export interface AlgorithmIdentifier {
  readonly oid: string;
  /** DER of the parameters; absent if there are none. */
  readonly parameters?: Uint8Array;
}

/** Digests, by Node's name. MD5 is known only to be refused. */
export type DigestName = 'sha1' | 'sha256' | 'sha384' | 'sha512';

/** Signature schemes. `rsa-sha1` is read and mirrored in SCEP messages, never used in a certificate or CRL. */
export type SignatureAlgorithmName =
  | 'rsa-sha1'
  | 'rsa-sha256'
  | 'rsa-sha384'
  | 'rsa-sha512'
  | 'ecdsa-sha256'
  | 'ecdsa-sha384'
  | 'ecdsa-sha512';

/**
 * Content ciphers of EnvelopedData. Single DES can be read and written, but is in no default: RFC 8894 §2.9 forbids it,
 * and whoever serves a client that knows nothing else must ask for it by name.
 */
export type CipherName = 'aes-128-cbc' | 'aes-192-cbc' | 'aes-256-cbc' | 'des-ede3-cbc' | 'des-cbc';

/** How the content key travels to an RSA recipient. */
export type KeyTransport =
  | { readonly name: 'rsaes-pkcs1-v1_5' }
  | { readonly name: 'rsaes-oaep'; readonly digest: DigestName };

/** One digest. */
export interface Digest {
  readonly name: DigestName;
  readonly oid: string;
}

/** One signature scheme. */
export interface SignatureAlgorithm {
  readonly name: SignatureAlgorithmName;
  readonly oid: string;
  readonly keyType: 'rsa' | 'ec';
  readonly digest: DigestName;
}

/** One content cipher. */
export interface Cipher {
  readonly name: CipherName;
  readonly oid: string;
  readonly keyBytes: number;
  readonly ivBytes: number;
}

/** Digests by name. */
export const digests: Readonly<Record<DigestName, Digest>> = {
  sha1: { name: 'sha1', oid: oid.sha1 },
  sha256: { name: 'sha256', oid: oid.sha256 },
  sha384: { name: 'sha384', oid: oid.sha384 },
  sha512: { name: 'sha512', oid: oid.sha512 },
};

/** Signature schemes by name. */
export const signatureAlgorithms: Readonly<Record<SignatureAlgorithmName, SignatureAlgorithm>> = {
  'rsa-sha1': { name: 'rsa-sha1', oid: oid.sha1WithRSAEncryption, keyType: 'rsa', digest: 'sha1' },
  'rsa-sha256': { name: 'rsa-sha256', oid: oid.sha256WithRSAEncryption, keyType: 'rsa', digest: 'sha256' },
  'rsa-sha384': { name: 'rsa-sha384', oid: oid.sha384WithRSAEncryption, keyType: 'rsa', digest: 'sha384' },
  'rsa-sha512': { name: 'rsa-sha512', oid: oid.sha512WithRSAEncryption, keyType: 'rsa', digest: 'sha512' },
  'ecdsa-sha256': { name: 'ecdsa-sha256', oid: oid.ecdsaWithSHA256, keyType: 'ec', digest: 'sha256' },
  'ecdsa-sha384': { name: 'ecdsa-sha384', oid: oid.ecdsaWithSHA384, keyType: 'ec', digest: 'sha384' },
  'ecdsa-sha512': { name: 'ecdsa-sha512', oid: oid.ecdsaWithSHA512, keyType: 'ec', digest: 'sha512' },
};

/** Content ciphers by name. */
export const ciphers: Readonly<Record<CipherName, Cipher>> = {
  'aes-128-cbc': { name: 'aes-128-cbc', oid: oid.aes128Cbc, keyBytes: 16, ivBytes: 16 },
  'aes-192-cbc': { name: 'aes-192-cbc', oid: oid.aes192Cbc, keyBytes: 24, ivBytes: 16 },
  'aes-256-cbc': { name: 'aes-256-cbc', oid: oid.aes256Cbc, keyBytes: 32, ivBytes: 16 },
  'des-ede3-cbc': { name: 'des-ede3-cbc', oid: oid.desEde3Cbc, keyBytes: 24, ivBytes: 8 },
  'des-cbc': { name: 'des-cbc', oid: oid.desCbc, keyBytes: 8, ivBytes: 8 },
};

const digestByOid = new Map(Object.values(digests).map((row) => [row.oid, row]));
const signatureByOid = new Map(Object.values(signatureAlgorithms).map((row) => [row.oid, row]));
const cipherByOid = new Map(Object.values(ciphers).map((row) => [row.oid, row]));

/** Reads the next element as AlgorithmIdentifier. */
export function readAlgorithmIdentifier(reader: DerReader): AlgorithmIdentifier {
  const inner = reader.enter(tag.sequence);
  const algorithm = inner.oid();
  if (inner.done) return { oid: algorithm };
  const parameters = inner.nextTag === tag.null ? readNull(inner) : inner.raw();
  inner.end();
  return { oid: algorithm, parameters };
}

function readNull(reader: DerReader): Uint8Array {
  reader.null();
  return nullValue;
}

/** Whether the parameters are absent or NULL: RSA and the digests have been written both ways from the beginning. */
function hasNoParameters({ parameters }: AlgorithmIdentifier): boolean {
  return parameters === undefined || sameOctets(parameters, nullValue);
}

/** Builds an AlgorithmIdentifier. */
export function buildAlgorithmIdentifier(algorithm: AlgorithmIdentifier): Uint8Array {
  return algorithm.parameters === undefined
    ? sequence(objectIdentifier(algorithm.oid))
    : sequence(objectIdentifier(algorithm.oid), algorithm.parameters);
}

/**
 * The digest that an AlgorithmIdentifier names.
 *
 * @throws PkiError `algorithm_unsupported` for MD5 and everything unknown, and for parameters (RFC 5754 §2: none).
 */
export function digestOf(algorithm: AlgorithmIdentifier): Digest {
  const row = digestByOid.get(algorithm.oid);
  if (row === undefined || !hasNoParameters(algorithm)) throw unsupported('digest', algorithm.oid);
  return row;
}

/**
 * The content cipher that an AlgorithmIdentifier names, and its initialisation vector (RFC 3565 §2.1, RFC 3370 §5.1).
 *
 * @throws PkiError `algorithm_unsupported` for RC2 and everything unknown; `cms_malformed` for a bad vector.
 */
export function cipherOf(algorithm: AlgorithmIdentifier): {
  readonly cipher: Cipher;
  readonly iv: Uint8Array;
} {
  const cipher = cipherByOid.get(algorithm.oid);
  if (cipher === undefined) throw unsupported('content cipher', algorithm.oid);
  if (algorithm.parameters === undefined)
    throw new PkiError('cms_malformed', 'the cipher has no initialisation vector');
  const reader = new DerReader(algorithm.parameters);
  const iv = reader.octetString();
  reader.end();
  if (iv.length !== cipher.ivBytes)
    throw new PkiError('cms_malformed', 'an initialisation vector of wrong length');
  return { cipher, iv };
}

/**
 * The signature scheme of a certificate, CSR or CRL.
 *
 * @throws PkiError `algorithm_unsupported` for MD5, RSASSA-PSS and everything unknown, and for parameters (RFC 4055 §5,
 *   RFC 5758 §3.2: none).
 */
export function signatureAlgorithmOf(algorithm: AlgorithmIdentifier): SignatureAlgorithm {
  const row = signatureByOid.get(algorithm.oid);
  if (row === undefined || !hasNoParameters(algorithm))
    throw unsupported('signature algorithm', algorithm.oid);
  return row;
}

/**
 * The signature scheme of a CMS SignerInfo: RFC 3370 §3.2 names RSA without its digest, others name both.
 *
 * @throws PkiError `algorithm_unsupported`.
 */
export function signerAlgorithmOf(signature: AlgorithmIdentifier, digest: Digest): SignatureAlgorithm {
  if (signature.oid === oid.rsaEncryption && hasNoParameters(signature))
    return signatureAlgorithms[`rsa-${digest.name}`];
  const row = signatureAlgorithmOf(signature);
  // RFC 5652 §5.3: both fields must agree, or an attacker could choose the weaker of the two.
  if (row.digest !== digest.name) throw unsupported('pair of digest and signature algorithm', signature.oid);
  return row;
}

/** AlgorithmIdentifier of a signature scheme: NULL parameters for RSA (RFC 4055 §5), none for ECDSA (RFC 5758 §3.2). */
export function signatureAlgorithmIdentifier(name: SignatureAlgorithmName): Uint8Array {
  const row = signatureAlgorithms[name];
  return buildAlgorithmIdentifier(
    row.keyType === 'rsa' ? { oid: row.oid, parameters: nullValue } : { oid: row.oid },
  );
}

/**
 * How a KeyTransRecipientInfo carries its key (RFC 3370 §4.2.1, RFC 3560).
 *
 * @throws PkiError `algorithm_unsupported` for anything but PKCS #1 v1.5 and OAEP with one digest and no label.
 */
export function keyTransportOf(algorithm: AlgorithmIdentifier): KeyTransport {
  if (algorithm.oid === oid.rsaEncryption && hasNoParameters(algorithm)) return { name: 'rsaes-pkcs1-v1_5' };
  if (algorithm.oid !== oid.rsaesOaep) throw unsupported('key transport', algorithm.oid);
  // RFC 4055 §4.1: everything has a default, and every default is SHA-1.
  // QUIRK Windows: encrypts by OAEP, with the defaults left out (windows-oaep).
  if (algorithm.parameters === undefined) return { name: 'rsaes-oaep', digest: 'sha1' };
  return readDer(algorithm.parameters, tag.sequence, (reader) => {
    const hash = reader.enterOptional(0xa0);
    const digest = hash === undefined ? digests.sha1 : digestOf(readAlgorithmIdentifier(hash));
    hash?.end();
    const mask = reader.enterOptional(0xa1);
    const maskDigest = mask === undefined ? digests.sha1 : maskDigestOf(readAlgorithmIdentifier(mask));
    mask?.end();
    const source = reader.enterOptional(0xa2);
    if (source !== undefined) {
      // The only label in use is the empty one, whose explicit form some libraries write.
      const label = readAlgorithmIdentifier(source);
      source.end();
      if (label.oid !== oid.pSpecified || hex(label.parameters ?? Uint8Array.of()) !== '0400') {
        throw unsupported('OAEP label', label.oid);
      }
    }
    if (maskDigest.name !== digest.name) throw unsupported('pair of OAEP digests', digest.oid);
    return { name: 'rsaes-oaep', digest: digest.name };
  });
}

function maskDigestOf(algorithm: AlgorithmIdentifier): Digest {
  if (algorithm.oid !== oid.mgf1 || algorithm.parameters === undefined)
    throw unsupported('OAEP mask', algorithm.oid);
  const reader = new DerReader(algorithm.parameters);
  const inner = readAlgorithmIdentifier(reader);
  reader.end();
  return digestOf(inner);
}

/** AlgorithmIdentifier of a key transport. */
export function keyTransportIdentifier(transport: KeyTransport): Uint8Array {
  if (transport.name === 'rsaes-pkcs1-v1_5') {
    return buildAlgorithmIdentifier({ oid: oid.rsaEncryption, parameters: nullValue });
  }
  const digest = buildAlgorithmIdentifier({ oid: digests[transport.digest].oid, parameters: nullValue });
  const parameters =
    // RFC 4055 §4.1: defaults are not encoded.
    transport.digest === 'sha1'
      ? sequence()
      : sequence(explicit(0, digest), explicit(1, sequence(objectIdentifier(oid.mgf1), digest)));
  return sequence(objectIdentifier(oid.rsaesOaep), parameters);
}

function explicit(n: number, inner: Uint8Array): Uint8Array {
  const out = sequence(inner);
  out[0] = 0xa0 | n;
  return out;
}

/** What a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7) holds. */
export type PublicKeyInfo =
  | {
      readonly type: 'rsa';
      readonly modulus: Uint8Array;
      readonly bits: number;
      /** Without leading zeros. */
      readonly exponentOctets: Uint8Array;
      readonly exponent: bigint;
    }
  | { readonly type: 'ec'; readonly curve: 'P-256' | 'P-384' | 'P-521'; readonly bits: number }
  | { readonly type: 'other'; readonly oid: string };

const curves: Readonly<
  Record<string, { readonly curve: 'P-256' | 'P-384' | 'P-521'; readonly bits: number }>
> = {
  [oid.prime256v1]: { curve: 'P-256', bits: 256 },
  [oid.secp384r1]: { curve: 'P-384', bits: 384 },
  [oid.secp521r1]: { curve: 'P-521', bits: 521 },
};

/**
 * Reads a SubjectPublicKeyInfo for key policy.
 *
 * @throws PkiError `der_malformed`.
 */
export function parsePublicKeyInfo(spki: Uint8Array): PublicKeyInfo {
  return readDer(spki, tag.sequence, (reader) => {
    const algorithm = readAlgorithmIdentifier(reader);
    const key = reader.bitStringOctets();
    if (algorithm.oid === oid.rsaEncryption) {
      return readDer(key, tag.sequence, (rsa): PublicKeyInfo => {
        const modulus = unsigned(rsa.integer());
        const exponent = unsigned(rsa.integer());
        if (exponent.length > 32)
          throw new PkiError('der_malformed', 'an RSA exponent of more than 32 octets');
        const bits = modulus.length * 8 - Math.clz32(modulus[0] as number) + 24;
        return {
          type: 'rsa',
          modulus,
          bits,
          exponentOctets: exponent,
          exponent: BigInt(`0x${bufferOf(exponent).toString('hex')}`),
        };
      });
    }
    if (algorithm.oid === oid.ecPublicKey && algorithm.parameters !== undefined) {
      const parameters = new DerReader(algorithm.parameters);
      const row = parameters.nextTag === tag.oid ? curves[parameters.oid()] : undefined;
      // RFC 5480 §2.2: an uncompressed point on the named curve; the library checks that it lies on it.
      if (row !== undefined) return { type: 'ec', ...row };
    }
    return { type: 'other', oid: algorithm.oid };
  });
}

function unsigned(content: Uint8Array): Uint8Array {
  if ((content[0] as number) >= 0x80)
    throw new PkiError('der_malformed', 'a negative number in a public key');
  return content[0] === 0 && content.length > 1 ? content.subarray(1) : content;
}

/**
 * An RSA key goes in by its two numbers, which we read anyway: the library's reader of DER, which tries all kinds of keys
 * in turn, takes twice as long.
 */
function loadPublicKey(spki: Uint8Array): KeyObject {
  const info = parsePublicKeyInfo(spki);
  if (info.type !== 'rsa') return createPublicKey({ key: bufferOf(spki), format: 'der', type: 'spki' });
  const base64url = (octets: Uint8Array) => bufferOf(octets).toString('base64url');
  const key = { kty: 'RSA', n: base64url(info.modulus), e: base64url(info.exponentOctets) };
  return createPublicKey({ key, format: 'jwk' });
}

/** A message's key is used three times within a few milliseconds, while others are on their way. */
const RECENT_KEYS = 64;
const recentKeys = new Recent<KeyObject>(RECENT_KEYS);

/**
 * Node's key for a SubjectPublicKeyInfo. The last few are kept, because loading a key costs half as much as verifying
 * with it, and a message's key verifies the message and the request and encrypts the answer.
 *
 * @throws PkiError `algorithm_unsupported` if the key is of a kind, or on a curve point, that cannot be used.
 */
export function publicKeyOf(spki: Uint8Array): KeyObject {
  try {
    return recentKeys.of(spki, loadPublicKey);
  } catch (cause) {
    throw new PkiError('algorithm_unsupported', 'the public key cannot be used', { cause });
  }
}

/** Whether `signature` over `data` verifies. A key of another type than the scheme's is simply a no. */
export function verifySignature(
  algorithm: SignatureAlgorithm,
  key: KeyObject,
  data: Uint8Array,
  signature: Uint8Array,
): boolean {
  if (key.asymmetricKeyType !== algorithm.keyType) return false;
  return verify(algorithm.digest, data, key, signature);
}

/** OpenSSL's default provider has no single DES; triple DES with one key three times is the same function. */
export function nodeCipherOf(cipher: Cipher, key: Uint8Array): [name: string, key: Uint8Array] {
  return cipher.name === 'des-cbc' ? ['des-ede3-cbc', Buffer.concat([key, key, key])] : [cipher.name, key];
}

/** Algorithms that are known only to be refused; who reads of one should read its name. */
const refusedNames: Readonly<Record<string, string>> = {
  [oid.md5]: 'MD5',
  [oid.md5WithRSAEncryption]: 'RSA with MD5',
  [oid.rc2Cbc]: 'RC2',
};

function unsupported(what: string, identifier: string): PkiError {
  const name = refusedNames[identifier];
  const named = name === undefined ? identifier : `${name} (${identifier})`;
  return new PkiError('algorithm_unsupported', `${what} ${named} is not supported`);
}
