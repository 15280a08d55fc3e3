/** RFC 5280 §4.1: the fields. */
import type { CertificateRule } from '../rule.ts';

/** The fields are there, in their order. */
export const structure: CertificateRule = {
  name: 'structure',
  severity: 'error',
  citation: 'RFC 5280 §4.1; X.690 §10',
  requires:
    'The certificate is DER, with the fields of TBSCertificate in their order and nothing after them.',
  fundamental: true,
  check: (subject) => {
    subject.elements;
    return undefined;
  },
};
