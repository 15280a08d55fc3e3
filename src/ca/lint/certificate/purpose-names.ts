/** RFC 9525, RFC 8550: where relying parties look for the name. */
import { oid } from '../../../codec/index.ts';
import type { CertificateRule } from '../rule.ts';

/** A name that stands in the subject alone is not found any more. */
export const purposeNames: CertificateRule = {
  name: 'purpose_names',
  severity: 'warning',
  citation: 'RFC 9525 §2; RFC 8550 §3',
  requires:
    'A server’s certificate has a dNSName or iPAddress, one for S/MIME an rfc822Name: nobody looks into the subject for them.',
  check: ({ role, extKeyUsage, subjectAltName }) => {
    if (role !== 'end-entity') return undefined;
    const has = (...types: readonly string[]) => subjectAltName.some(({ type }) => types.includes(type));
    if (extKeyUsage.includes(oid.serverAuth) && !has('dNSName', 'iPAddress'))
      return 'a server without a dNSName or iPAddress';
    if (extKeyUsage.includes(oid.emailProtection) && !has('rfc822Name', 'other'))
      return 'S/MIME without an rfc822Name';
    return undefined;
  },
};
