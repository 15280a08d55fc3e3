/** RFC 5280 §4.1.2.8: what was meant for names that are used again. */
import type { CertificateRule } from '../rule.ts';

/** Names are not used again. */
export const uniqueIdentifiers: CertificateRule = {
  name: 'unique_identifiers',
  severity: 'error',
  citation: 'RFC 5280 §4.1.2.8',
  requires: 'There is neither issuerUniqueID nor subjectUniqueID.',
  check: ({ elements }) => (elements.hasUniqueIdentifier ? 'a unique identifier' : undefined),
};
