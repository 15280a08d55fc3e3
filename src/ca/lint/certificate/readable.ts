/** What a relying party does first. */
import type { CertificateRule } from '../rule.ts';

/** The strict parser reads it. */
export const readable: CertificateRule = {
  name: 'readable',
  severity: 'error',
  citation: 'RFC 5280 §4.1',
  requires: 'A strict parser reads the certificate, its names and times, within 64 KiB.',
  fundamental: true,
  check: (subject) => {
    subject.certificate;
    return undefined;
  },
};
