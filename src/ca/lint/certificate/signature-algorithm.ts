/** RFC 5280 §4.1.1.2, §4.1.2.3: the algorithm of the signature. */
import { parsePublicKeyInfo } from '../../../codec/index.ts';
import { faultOfSignatureAlgorithm } from '../elements.ts';
import type { CertificateRule } from '../rule.ts';

/** Named twice alike, encoded as its document says, and one that the issuer's key can make. */
export const signatureAlgorithm: CertificateRule = {
  name: 'signature_algorithm',
  severity: 'error',
  citation: 'RFC 5280 §4.1.1.2, §4.1.2.3; RFC 4055 §5; RFC 5758 §3.2',
  requires:
    'Both signature fields are the same octet for octet, with NULL parameters for RSA and none for ECDSA, and fit the issuer’s key.',
  check: ({ elements, issuer }) =>
    faultOfSignatureAlgorithm(
      elements.innerAlgorithm,
      elements.outerAlgorithm,
      parsePublicKeyInfo(issuer.spki).type,
    ),
};
