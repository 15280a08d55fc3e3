/** CA practice: nothing outlives its issuer. */
import type { CertificateRule } from '../rule.ts';

/** After the issuer's end no path leads to it, and no CRL is signed for it. */
export const validityWithinIssuer: CertificateRule = {
  name: 'validity_within_issuer',
  severity: 'error',
  citation: 'RFC 5280 §6.1.3 (a)(2)',
  requires: 'notAfter is not after the issuer’s.',
  check: ({ certificate, issuer }) =>
    certificate.notAfter > issuer.notAfter ? 'notAfter is after the issuer’s' : undefined,
};
