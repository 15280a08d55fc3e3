/** RFC 5280 §5.2.3: the number. */
import { DerReader, oid } from '../../../codec/index.ts';
import type { CrlRule } from '../rule.ts';

/** The standard's upper bound. */
const OCTETS_MAX = 20;

/** Relying parties tell by it which of two CRLs is newer. */
export const crlNumber: CrlRule = {
  name: 'crl_number',
  severity: 'error',
  citation: 'RFC 5280 §5.2.3',
  requires: 'cRLNumber is there, not negative, with at most 20 octets.',
  check: (subject) => {
    const extension = subject.extension(oid.crlNumber);
    if (extension === undefined) return 'cRLNumber is missing';
    const reader = new DerReader(extension.value);
    const number = reader.integer();
    reader.end();
    if ((number[0] as number) >= 0x80) return 'cRLNumber is negative';
    return number.length > OCTETS_MAX ? `cRLNumber has ${number.length} octets` : undefined;
  },
};
