/** RFC 5280 §5.1.2.6: the dates of entries. */
import type { CrlRule } from '../rule.ts';

/** One way to write each instant. */
export const crlEntryDates: CrlRule = {
  name: 'crl_entry_dates',
  severity: 'error',
  citation: 'RFC 5280 §5.1.2.6, §5.1.2.4',
  requires:
    'The date of each entry is UTCTime through 2049 and GeneralizedTime from 2050 on, without fractions.',
  check: ({ entryFaults }) => entryFaults.date,
};
