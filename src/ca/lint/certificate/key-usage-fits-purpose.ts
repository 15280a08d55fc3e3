/** RFC 5280 §4.2.1.12: key usages that are consistent with a purpose. */
import { type KeyUsage, oid } from '../../../codec/index.ts';
import type { CertificateRule } from '../rule.ts';

/** By purpose: of these bits at least one. */
const table: Readonly<Record<string, readonly KeyUsage[]>> = {
  [oid.serverAuth]: ['digitalSignature', 'keyEncipherment', 'keyAgreement'],
  [oid.clientAuth]: ['digitalSignature', 'keyAgreement'],
  [oid.codeSigning]: ['digitalSignature'],
  [oid.emailProtection]: ['digitalSignature', 'nonRepudiation', 'keyEncipherment', 'keyAgreement'],
  [oid.timeStamping]: ['digitalSignature', 'nonRepudiation'],
  [oid.ocspSigning]: ['digitalSignature', 'nonRepudiation'],
};

/** A purpose that the key usage rules out makes the certificate useless for it. */
export const keyUsageFitsPurpose: CertificateRule = {
  name: 'key_usage_fits_purpose',
  severity: 'error',
  citation: 'RFC 5280 §4.2.1.12',
  requires: 'For each purpose, keyUsage has one of the bits that the standard lists with it.',
  check: ({ role, keyUsage, extKeyUsage }) => {
    // In a CA's certificate the purposes are those of the certificates below it.
    if (role !== 'end-entity') return undefined;
    for (const purpose of extKeyUsage)
      if (table[purpose]?.some((bit) => keyUsage.includes(bit)) === false)
        return `keyUsage rules out purpose ${purpose}`;
    return undefined;
  },
};
