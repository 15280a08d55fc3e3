/** RFC 5280 §4.2.1.6: mail addresses. */
import type { CertificateRule } from '../rule.ts';

/** Local part and host, without a name before it or angle brackets around it. */
export const mailboxes: CertificateRule = {
  name: 'mailboxes',
  severity: 'error',
  citation: 'RFC 5280 §4.2.1.6; RFC 5321 §4.1.2',
  requires: 'An rfc822Name is an ASCII mailbox: local@host.',
  // That it is ASCII is seen where it is read.
  check: ({ subjectAltName }) => {
    for (const name of subjectAltName)
      if (name.type === 'rfc822Name' && !/^[^@\s<>]+@[^@\s<>]+$/.test(name.value))
        return `“${name.value}” is no mailbox`;
    return undefined;
  },
};
