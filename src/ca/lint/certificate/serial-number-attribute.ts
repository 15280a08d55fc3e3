/** RFC 5280 appendix A.1: the attribute serialNumber. */
import { isPrintable, oid } from '../../../codec/index.ts';
import type { CertificateRule } from '../rule.ts';

/** Makers of devices put into serial numbers what they like; the certificate is good all the same. */
export const serialNumberAttribute: CertificateRule = {
  name: 'serial_number_attribute',
  severity: 'warning',
  citation: 'RFC 5280 appendix A.1 (X520SerialNumber)',
  requires: 'The attribute serialNumber holds only what a PrintableString can.',
  check: ({ certificate }) =>
    certificate.subject.rdns.some((rdn) =>
      rdn.some(({ oid: type, value }) => type === oid.serialNumber && !isPrintable(value)),
    )
      ? 'the attribute serialNumber is not printable'
      : undefined,
};
