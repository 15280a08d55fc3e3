/** RFC 5280 §4.2.1.9: who is a CA. */
import {
  basicConstraintsOf,
  caBasicConstraintsExtension,
  endEntityBasicConstraintsExtension,
  extensionValue,
  oid,
  sameOctets,
} from '../../../codec/index.ts';
import type { CertificateRule } from '../rule.ts';

/** A template never makes a CA, and a ceremony makes nothing else. */
export const basicConstraints: CertificateRule = {
  name: 'basic_constraints',
  severity: 'error',
  citation: 'RFC 5280 §4.2.1.9; X.690 §11.5',
  requires:
    'basicConstraints is there; cA is TRUE in a CA’s certificate, and left out with the path length in every other.',
  check: ({ certificate, role }) => {
    const constraints = basicConstraintsOf(certificate);
    const value = extensionValue(certificate, oid.basicConstraints);
    if (constraints === undefined || value === undefined) return 'basicConstraints is missing';
    if (role === 'end-entity') {
      if (constraints.ca) return 'cA is TRUE';
      return sameOctets(value, endEntityBasicConstraintsExtension().value)
        ? undefined
        : 'basicConstraints of an end entity is not empty';
    }
    if (!constraints.ca) return 'cA is not TRUE';
    return sameOctets(value, caBasicConstraintsExtension(constraints.pathLength).value)
      ? undefined
      : 'basicConstraints is not DER';
  },
};
