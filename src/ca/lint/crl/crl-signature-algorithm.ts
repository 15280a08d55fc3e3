/** RFC 5280 §5.1.1.2, §5.1.2.2: the algorithm of the signature. */
import { parsePublicKeyInfo } from '../../../codec/index.ts';
import { faultOfSignatureAlgorithm } from '../elements.ts';
import type { CrlRule } from '../rule.ts';

/** Named twice alike, encoded as its document says, and one that the issuer's key can make. */
export const crlSignatureAlgorithm: CrlRule = {
  name: 'crl_signature_algorithm',
  severity: 'error',
  citation: 'RFC 5280 §5.1.1.2, §5.1.2.2; RFC 4055 §5; RFC 5758 §3.2',
  requires:
    'Both signature fields are the same octet for octet, with NULL parameters for RSA and none for ECDSA, and fit the issuer’s key.',
  check: ({ elements, issuer }) =>
    faultOfSignatureAlgorithm(
      elements.innerAlgorithm,
      elements.outerAlgorithm,
      parsePublicKeyInfo(issuer.spki).type,
    ),
};
