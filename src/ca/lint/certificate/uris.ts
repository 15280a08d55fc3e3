/** RFC 5280 §4.2.1.6: URIs. */
import type { CertificateRule } from '../rule.ts';

/** RFC 3986 §3.1: a scheme; and after it something. */
const absolute = /^[A-Za-z][A-Za-z0-9+.-]*:[^\s]+$/;
/** RFC 5280 §4.2.1.6: where there is an authority, it has a host. */
const withoutHost = /^[A-Za-z][A-Za-z0-9+.-]*:\/\/([^/?#]*@)?(:\d*)?([/?#]|$)/;
/** RFC 8089 §2: a file has a host or none. */
const mayLackHost = /^file:/i;

/** A URI means the same wherever it is read. */
export const uris: CertificateRule = {
  name: 'uris',
  severity: 'error',
  citation: 'RFC 5280 §4.2.1.6; RFC 3986 §4.3',
  requires: 'A uniformResourceIdentifier is absolute: it has a scheme, a part after it, and a host after //.',
  check: ({ subjectAltName }) => {
    for (const name of subjectAltName) {
      if (name.type !== 'uniformResourceIdentifier') continue;
      if (!absolute.test(name.value)) return `“${name.value}” is not an absolute URI`;
      if (withoutHost.test(name.value) && !mayLackHost.test(name.value)) return `“${name.value}” has no host`;
    }
    return undefined;
  },
};
