/** RFC 5280 §4.1.2.2: the serial number. */
import type { CertificateRule } from '../rule.ts';

/** The standard's upper bound, with its sign octet. */
const OCTETS_MAX = 20;
/** Eight octets of random bits and one that keeps the number positive. */
const OCTETS_MIN = 9;

/** Positive, not too long, and long enough for 64 random bits. */
export const serialNumber: CertificateRule = {
  name: 'serial_number',
  severity: 'error',
  citation: 'RFC 5280 §4.1.2.2; CA/Browser Forum Baseline Requirements §7.1',
  requires: 'The serial number is positive, has at most 20 octets, and room for 64 random bits.',
  check: ({ elements }) => {
    const octets = elements.serialNumber;
    if ((octets[0] ?? 0) >= 0x80) return 'the serial number is negative';
    return octets.length < OCTETS_MIN || octets.length > OCTETS_MAX
      ? `the serial number has ${octets.length} octets`
      : undefined;
  },
};
