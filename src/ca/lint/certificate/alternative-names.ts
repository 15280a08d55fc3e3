/** RFC 5280 §4.2.1.6: the list of alternative names. */
import { oid } from '../../../codec/index.ts';
import type { CertificateRule } from '../rule.ts';

/** A list of no names says nothing, and some readers trip over it. */
export const alternativeNames: CertificateRule = {
  name: 'alternative_names',
  severity: 'error',
  citation: 'RFC 5280 §4.2.1.6',
  requires: 'A subjectAltName holds at least one name, and none that is empty.',
  check: (subject) => {
    const names = subject.subjectAltName;
    if (names.length === 0)
      return subject.extension(oid.subjectAltName) === undefined ? undefined : 'no name at all';
    for (const name of names) {
      if (name.type === 'other') continue;
      const isEmpty = name.type === 'directoryName' ? name.name.rdns.length === 0 : name.value === '';
      if (isEmpty) return `an empty ${name.type}`;
    }
    return undefined;
  },
};
