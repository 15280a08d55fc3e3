/** RFC 8813 §3, RFC 3279 §2.3: what a key of its kind can do. */
import type { CertificateRule } from '../rule.ts';

/** Bits that the key has no algorithm for. */
export const keyUsageFitsKey: CertificateRule = {
  name: 'key_usage_fits_key',
  severity: 'error',
  citation: 'RFC 8813 §3; RFC 3279 §2.3.1',
  requires: 'A key on a curve has neither keyEncipherment nor dataEncipherment, an RSA key no keyAgreement.',
  check: ({ publicKey, keyUsage }) => {
    if (publicKey.type === 'ec')
      return keyUsage.includes('keyEncipherment') || keyUsage.includes('dataEncipherment')
        ? 'a key on an elliptic curve enciphers nothing'
        : undefined;
    return publicKey.type === 'rsa' && keyUsage.includes('keyAgreement')
      ? 'an RSA key agrees on nothing'
      : undefined;
  },
};
