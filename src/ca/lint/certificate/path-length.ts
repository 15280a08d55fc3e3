/** RFC 5280 §4.2.1.9, §6.1.4 (l), (m): how many CAs may follow. */
import { basicConstraintsOf, sameOctets } from '../../../codec/index.ts';
import type { CertificateRule } from '../rule.ts';

/** A CA whose certificates could never be verified is not made. */
export const pathLength: CertificateRule = {
  name: 'path_length',
  severity: 'error',
  citation: 'RFC 5280 §4.2.1.9, §6.1.4 (l), (m)',
  requires: 'A CA stands only below one whose path length leaves room, and its own path length is smaller.',
  check: ({ certificate, issuer, role }) => {
    // A CA that certifies its own next key does not make the path longer.
    if (role !== 'ca' || sameOctets(certificate.subject.raw, issuer.subject.raw)) return undefined;
    const above = basicConstraintsOf(issuer)?.pathLength;
    if (above === undefined) return undefined;
    if (above === 0) return 'the issuer may have no CA below it';
    const own = basicConstraintsOf(certificate)?.pathLength;
    return own !== undefined && own >= above ? `path length ${own} below one of ${above}` : undefined;
  },
};
