/** RFC 5280 §4.1.2.5: beginning and end. */
import type { CertificateRule } from '../rule.ts';

/** It begins before it ends. */
export const validityOrder: CertificateRule = {
  name: 'validity_order',
  severity: 'error',
  citation: 'RFC 5280 §4.1.2.5',
  requires: 'notBefore lies before notAfter.',
  check: ({ certificate }) =>
    certificate.notBefore < certificate.notAfter ? undefined : 'notBefore is not before notAfter',
};
