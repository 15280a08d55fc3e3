/** RFC 5280 §4.1.2.2: the serial numbers of entries. */
import type { CrlRule } from '../rule.ts';

/** Those of certificates. */
export const crlEntrySerials: CrlRule = {
  name: 'crl_entry_serials',
  severity: 'error',
  citation: 'RFC 5280 §4.1.2.2, §5.1.2.6',
  requires: 'The serial number of each entry is not negative and has at most 20 octets.',
  check: ({ entryFaults }) => entryFaults.serialNumber,
};
