/** RFC 5280 §5.1.2.6: the list of revoked certificates. */
import type { CrlRule } from '../rule.ts';

/** A list of nothing is left out; some readers refuse the empty one. */
export const crlEntries: CrlRule = {
  name: 'crl_entries',
  severity: 'error',
  citation: 'RFC 5280 §5.1.2.6',
  requires: 'revokedCertificates is left out if nothing is revoked.',
  check: ({ elements }) =>
    elements.entries?.length === 0 ? 'an empty list of revoked certificates' : undefined,
};
