/** RFC 5280 §5.3: the extensions of entries. */
import type { CrlRule } from '../rule.ts';

/** Reasons that exist, and nothing that a relying party may not know. */
export const crlEntryExtensions: CrlRule = {
  name: 'crl_entry_extensions',
  severity: 'error',
  citation: 'RFC 5280 §5.3, §5.3.1, §5.3.2',
  requires:
    'An entry has no extensions but reasonCode (1 to 6, 9, 10; in a delta CRL also 8) and invalidityDate (without fractions), each once and not critical.',
  check: ({ entryFaults }) => entryFaults.extension,
};
