/** RFC 5280 §4.2.1.6, RFC 5890, RFC 9525: DNS names. */
import type { CertificateRule } from '../rule.ts';

/** RFC 1034 §3.1, without the root label. */
const CHARACTERS_MAX = 253;
/** RFC 5890 §2.3.1; the underscore has a rule of its own. */
const label = /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/;

/** Letters, digits, hyphens, and one star as the whole first label (RFC 9525 §6.3). */
function isDnsName(text: string): boolean {
  const [first = '', ...rest] = text.split('.');
  return (
    text.length <= CHARACTERS_MAX &&
    (first === '*' ? rest.length > 1 : label.test(first)) &&
    rest.every((each) => label.test(each))
  );
}

/** Names that a resolver would take. */
export const dnsNames: CertificateRule = {
  name: 'dns_names',
  severity: 'error',
  citation: 'RFC 5280 §4.2.1.6; RFC 1034 §3.5; RFC 5890 §2.3.1; RFC 9525 §6.3',
  requires:
    'A dNSName has labels of 1 to 63 letters, digits and inner hyphens, 253 characters in all; a star stands alone as the first of three labels or more.',
  check: ({ subjectAltName }) => {
    for (const name of subjectAltName)
      if (name.type === 'dNSName' && !isDnsName(name.value)) return `“${name.value}” is not a DNS name`;
    return undefined;
  },
};
