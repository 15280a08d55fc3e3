/** What every key provider gives, and the one over a key that is in memory. */
import { constants, createPublicKey, type KeyObject, privateDecrypt, sign } from 'node:crypto';
import { type KeyTransport, type SignatureAlgorithmName, signatureAlgorithms } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { unopened } from './rsa-padding.ts';

/** A private key. Both verbs promise, so that a token or a vault fits. */
export interface PrivateKey {
  /** DER SubjectPublicKeyInfo of its public half. */
  readonly spki: Uint8Array;
  /**
   * Signs; the digest is part of the algorithm. ECDSA signatures come as DER (RFC 3279 §2.2.3).
   *
   * @throws PkiError `key_capability` if the algorithm does not fit the key, `key_unavailable` if it cannot be reached.
   */
  sign(algorithm: SignatureAlgorithmName, data: Uint8Array): Promise<Uint8Array>;
  /**
   * Opens an encrypted content key. Bad PKCS #1 v1.5 padding is rejected implicitly: it yields random octets of random
   * length, and no error (RFC 3218 §2.3.2). Every other failure is one and the same.
   *
   * @throws PkiError `scep_envelope`, or `key_capability` if the key is not RSA, or `key_unavailable`.
   */
  decrypt(keyTransport: KeyTransport, encryptedKey: Uint8Array): Promise<Uint8Array>;
}

/**
 * The key of a KeyObject. It works on the calling thread: to hand a signature to the thread pool costs a sixth more, and
 * decryption has no other form in Node. Several processes use several cores.
 *
 * @throws PkiError `key_capability` if it is not a private key, or neither of RSA nor on an elliptic curve.
 */
export function privateKeyOf(key: KeyObject): PrivateKey {
  const type = key.asymmetricKeyType;
  if (key.type !== 'private' || (type !== 'rsa' && type !== 'ec')) {
    throw new PkiError(
      'key_capability',
      `a ${key.type} key of type ${type} cannot be used: it must be RSA or EC`,
    );
  }
  const modulusBytes = (key.asymmetricKeyDetails?.modulusLength ?? 0) / 8;
  return {
    spki: createPublicKey(key).export({ type: 'spki', format: 'der' }),
    sign: async (name, data) => {
      const algorithm = signatureAlgorithms[name];
      if (algorithm.keyType !== type) {
        throw new PkiError('key_capability', `a key of type ${type} cannot sign by ${name}`);
      }
      try {
        return sign(algorithm.digest, data, key);
      } catch (cause) {
        // RFC 8017 §9.2: a short modulus has no room for a long digest.
        throw new PkiError('key_capability', `this key cannot sign by ${name}`, { cause });
      }
    },
    decrypt: async (transport, encryptedKey) => {
      if (type !== 'rsa') throw new PkiError('key_capability', `a key of type ${type} cannot decrypt`);
      // RFC 8017 §7.1.2, §7.2.2: the ciphertext is exactly as long as the modulus. OpenSSL would take a shorter one.
      if (encryptedKey.length !== modulusBytes) throw unopened();
      try {
        return transport.name === 'rsaes-pkcs1-v1_5'
          ? privateDecrypt({ key, padding: constants.RSA_PKCS1_PADDING }, encryptedKey)
          : privateDecrypt(
              { key, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: transport.digest },
              encryptedKey,
            );
      } catch {
        throw unopened();
      }
    },
  };
}
