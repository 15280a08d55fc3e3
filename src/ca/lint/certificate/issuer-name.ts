/** RFC 5280 §4.1.2.4: the issuer. */
import { sameOctets } from '../../../codec/index.ts';
import type { CertificateRule } from '../rule.ts';

/** A chain is built by comparing names; many compare octets. */
export const issuerName: CertificateRule = {
  name: 'issuer_name',
  severity: 'error',
  citation: 'RFC 5280 §4.1.2.4, §6.1.3 (a)(4)',
  requires: 'The issuer is not empty, and is the subject of the issuing certificate octet for octet.',
  check: ({ certificate, issuer }) => {
    if (certificate.issuer.rdns.length === 0) return 'the issuer is empty';
    return sameOctets(certificate.issuer.raw, issuer.subject.raw)
      ? undefined
      : 'the issuer is not the CA’s subject';
  },
};
