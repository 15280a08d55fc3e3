/** RFC 5280 §4.2.1.2, RFC 7093: the name of the key. */
import { hash } from 'node:crypto';
import { keyIdentifier, readDer, sameOctets, subjectKeyIdentifierOf, tag } from '../../../codec/index.ts';
import type { CertificateRule } from '../rule.ts';

/** RFC 7093 §2: the leftmost 160 bits. */
const TRUNCATED_OCTETS = 20;

/** Whether it is one of the names that RFC 7093 §2 gives a key; other CAs make theirs so. */
function isTruncatedDigest(identifier: Uint8Array, spki: Uint8Array): boolean {
  const key = readDer(spki, tag.sequence, (reader) => {
    reader.skip(tag.sequence);
    return reader.bitStringOctets();
  });
  return ['sha256', 'sha384', 'sha512'].some(
    (digest) =>
      sameOctets(identifier, hash(digest, key, 'buffer').subarray(0, TRUNCATED_OCTETS)) ||
      sameOctets(identifier, hash(digest, spki, 'buffer')),
  );
}

/** The key's own name, not another key's. */
export const subjectKeyIdentifier: CertificateRule = {
  name: 'subject_key_identifier',
  severity: 'error',
  citation: 'RFC 5280 §4.2.1.2; RFC 7093 §2',
  requires: 'subjectKeyIdentifier is there, and is a digest of the certificate’s own key.',
  check: ({ certificate, elements }) => {
    const identifier = subjectKeyIdentifierOf(certificate);
    if (identifier === undefined) return 'the subject key identifier is missing';
    return sameOctets(identifier, keyIdentifier(elements.spki)) ||
      isTruncatedDigest(identifier, elements.spki)
      ? undefined
      : 'the subject key identifier is not the key’s';
  },
};
