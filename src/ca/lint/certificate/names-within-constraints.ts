/** RFC 5280 §6.1.3 (b), (c): names that the issuer may give. */
import { nameConstraintBreach, nameConstraintsOf } from '../../../codec/index.ts';
import type { CertificateRule } from '../rule.ts';

/** Every relying party would refuse it, and so would the issuer's own issuer. */
export const namesWithinConstraints: CertificateRule = {
  name: 'names_within_constraints',
  severity: 'error',
  citation: 'RFC 5280 §4.2.1.10, §6.1.3 (b), (c)',
  requires: 'The subject and every alternative name lie within the name constraints of the issuer.',
  check: ({ certificate, issuer, subjectAltName, role }) => {
    const constraints = role === 'root' ? undefined : nameConstraintsOf(issuer);
    return constraints && nameConstraintBreach(constraints, { subject: certificate.subject, subjectAltName });
  },
};
