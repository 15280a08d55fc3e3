/** RFC 5280 §5.1: the fields. */
import type { CrlRule } from '../rule.ts';

/** The fields are there, in their order. */
export const crlStructure: CrlRule = {
  name: 'crl_structure',
  severity: 'error',
  citation: 'RFC 5280 §5.1; X.690 §10',
  requires: 'The CRL is DER, with the fields of TBSCertList in their order and nothing after them.',
  fundamental: true,
  check: (subject) => {
    subject.elements;
    subject.entryFaults;
    return undefined;
  },
};
