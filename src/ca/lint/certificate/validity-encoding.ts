/** RFC 5280 §4.1.2.5: how times are written. */
import { faultOfTime } from '../elements.ts';
import type { CertificateRule } from '../rule.ts';

/** One way to write each instant. */
export const validityEncoding: CertificateRule = {
  name: 'validity_encoding',
  severity: 'error',
  citation: 'RFC 5280 §4.1.2.5, §4.1.2.5.1, §4.1.2.5.2',
  requires:
    'Times are UTCTime through 2049 and GeneralizedTime from 2050 on, to the second, in Zulu, without fractions.',
  check: ({ elements }) =>
    faultOfTime('notBefore', elements.notBefore) ?? faultOfTime('notAfter', elements.notAfter),
};
