/** RFC 5280 §5.1.2.3: the issuer. */
import { sameOctets } from '../../../codec/index.ts';
import type { CrlRule } from '../rule.ts';

/** A relying party finds the signer by its name. */
export const crlIssuerName: CrlRule = {
  name: 'crl_issuer_name',
  severity: 'error',
  citation: 'RFC 5280 §5.1.2.3, §6.3.3 (b)',
  requires: 'The issuer is the subject of the CA’s certificate octet for octet, and not empty.',
  check: ({ elements, issuer }) => {
    if (issuer.subject.rdns.length === 0) return 'the issuer is empty';
    return sameOctets(elements.issuer, issuer.subject.raw) ? undefined : 'the issuer is not the CA’s subject';
  },
};
