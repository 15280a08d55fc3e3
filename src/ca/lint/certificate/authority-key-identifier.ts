/** RFC 5280 §4.2.1.1: whose key signs. */
import {
  authorityKeyIdentifierOf,
  contextConstructed,
  contextPrimitive,
  extensionValue,
  oid,
  readDer,
  sameOctets,
  subjectKeyIdentifierOf,
  tag,
} from '../../../codec/index.ts';
import type { CertificateRule } from '../rule.ts';

/** The path is built by it where a CA has had several keys. */
export const authorityKeyIdentifier: CertificateRule = {
  name: 'authority_key_identifier',
  severity: 'error',
  citation: 'RFC 5280 §4.2.1.1',
  requires:
    'authorityKeyIdentifier has the keyIdentifier of the issuer’s certificate (a root may leave it out), and issuer and serial number both or not at all.',
  check: ({ certificate, issuer, role }) => {
    const value = extensionValue(certificate, oid.authorityKeyIdentifier);
    if (value === undefined) return role === 'root' ? undefined : 'authorityKeyIdentifier is missing';
    const identifier = authorityKeyIdentifierOf(certificate);
    const expected = subjectKeyIdentifierOf(issuer);
    if (identifier === undefined) return 'authorityKeyIdentifier has no keyIdentifier';
    if (expected === undefined || !sameOctets(identifier, expected))
      return 'the authority key identifier is not the issuer’s';
    const { hasIssuer, hasSerial } = readDer(value, tag.sequence, (reader) => {
      reader.skip(contextPrimitive(0));
      return {
        hasIssuer: reader.optional(contextConstructed(1)) !== undefined,
        hasSerial: reader.optional(contextPrimitive(2)) !== undefined,
      };
    });
    return hasIssuer === hasSerial
      ? undefined
      : 'authorityCertIssuer and authorityCertSerialNumber go together';
  },
};
