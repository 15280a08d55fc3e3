/** RFC 5280 §4.2.1.13: where revocation is to be found. */
import { extensionValue, oid } from '../../../codec/index.ts';
import type { CertificateRule } from '../rule.ts';

/** Whoever relies on a certificate must be able to ask whether it still holds. */
export const revocationPointer: CertificateRule = {
  name: 'revocation_pointer',
  severity: 'error',
  citation: 'RFC 5280 §4.2.1.13; RFC 6960 §4.2.2.2.1',
  requires:
    'cRLDistributionPoints is there, but in the certificate of a root or of an OCSP responder with id-pkix-ocsp-nocheck.',
  check: ({ certificate, role }) =>
    role === 'root' ||
    extensionValue(certificate, oid.cRLDistributionPoints) !== undefined ||
    extensionValue(certificate, oid.ocspNoCheck) !== undefined
      ? undefined
      : 'no CRL distribution point',
};
