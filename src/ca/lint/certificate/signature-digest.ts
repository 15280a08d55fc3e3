/** SP 800-131A: the digest of the signature. */
import { isOverSha1 } from '../elements.ts';
import type { CertificateRule } from '../rule.ts';

/** No collision can be made for the digest. */
export const signatureDigest: CertificateRule = {
  name: 'signature_digest',
  severity: 'error',
  citation: 'SP 800-131A Rev. 2 §3; RFC 6194 §3.2',
  requires: 'The signature is not over SHA-1, nor anything weaker.',
  check: ({ elements }) => (isOverSha1(elements.innerAlgorithm) ? 'a signature over SHA-1' : undefined),
};
