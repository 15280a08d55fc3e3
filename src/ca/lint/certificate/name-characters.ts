/** Characters that steer whoever shows a name. */
import type { CertificateRule } from '../rule.ts';

/** NUL, line feeds, escape sequences: whoever shows or compares a name reads them in a way of their own. */
const controlCharacter = /\p{Cc}/u;

/** A name is the same name for everybody. */
export const nameCharacters: CertificateRule = {
  name: 'name_characters',
  severity: 'error',
  citation: 'RFC 5280 §4.1.2.4; RFC 4518 §2.2',
  requires: 'No attribute of the subject, and no user principal name, holds a control character.',
  check: ({ certificate, subjectAltName }) => {
    for (const rdn of certificate.subject.rdns)
      for (const { oid: type, value } of rdn)
        if (controlCharacter.test(value)) return `attribute ${type} has a control character`;
    return subjectAltName.some(
      (name) => name.type === 'userPrincipalName' && controlCharacter.test(name.value),
    )
      ? 'the user principal name has a control character'
      : undefined;
  },
};
