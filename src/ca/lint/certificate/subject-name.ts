/** RFC 5280 §4.1.2.6: the subject. */
import { oid } from '../../../codec/index.ts';
import type { CertificateRule } from '../rule.ts';

/** Somebody is named, in one place or the other. */
export const subjectName: CertificateRule = {
  name: 'subject_name',
  severity: 'error',
  citation: 'RFC 5280 §4.1.2.6, §4.2.1.6',
  requires: 'A CA has a subject; another certificate without one has a critical subjectAltName.',
  check: (subject) => {
    if (subject.certificate.subject.rdns.length > 0) return undefined;
    if (subject.role !== 'end-entity') return 'a CA without a subject';
    return subject.extension(oid.subjectAltName)?.critical === 'TRUE'
      ? undefined
      : 'no subject and no critical subjectAltName';
  },
};
