/** RFC 5280 §5.2.1: whose key signs. */
import { authorityKeyIdentifierOf, oid, sameOctets, subjectKeyIdentifierOf } from '../../../codec/index.ts';
import type { CrlRule } from '../rule.ts';

/** The signer is found by it where a CA has had several keys. */
export const crlAuthorityKeyIdentifier: CrlRule = {
  name: 'crl_authority_key_identifier',
  severity: 'error',
  citation: 'RFC 5280 §5.2.1',
  requires: 'authorityKeyIdentifier has the keyIdentifier of the CA’s certificate.',
  check: (subject) => {
    const extension = subject.extension(oid.authorityKeyIdentifier);
    const identifier =
      extension && authorityKeyIdentifierOf({ extensions: [{ ...extension, critical: false }] });
    if (identifier === undefined) return 'the authority key identifier is missing';
    const expected = subjectKeyIdentifierOf(subject.issuer);
    return expected !== undefined && sameOctets(identifier, expected)
      ? undefined
      : 'the authority key identifier is not the CA’s';
  },
};
