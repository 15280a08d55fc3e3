/** RFC 1034 §3.5: underscores are not of the preferred syntax. */
import type { CertificateRule } from '../rule.ts';

/** Windows lets hosts be named so, and their owners want certificates all the same. */
export const dnsUnderscores: CertificateRule = {
  name: 'dns_underscores',
  severity: 'warning',
  citation: 'RFC 5280 §4.2.1.6; RFC 1034 §3.5',
  requires: 'A dNSName holds no underscore.',
  check: ({ subjectAltName }) => {
    for (const name of subjectAltName)
      if (name.type === 'dNSName' && name.value.includes('_')) return `“${name.value}” has an underscore`;
    return undefined;
  },
};
