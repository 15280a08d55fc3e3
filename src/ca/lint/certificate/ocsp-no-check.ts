/** RFC 6960 §4.2.2.2.1: responders that need no revocation check. */
import { extensionValue, nullValue, oid, sameOctets } from '../../../codec/index.ts';
import type { CertificateRule } from '../rule.ts';

/** Whoever had it without being a responder could not be revoked. */
export const ocspNoCheck: CertificateRule = {
  name: 'ocsp_no_check',
  severity: 'error',
  citation: 'RFC 6960 §4.2.2.2.1',
  requires: 'id-pkix-ocsp-nocheck is NULL, and only in the certificate of an OCSP responder.',
  check: ({ certificate, extKeyUsage }) => {
    const value = extensionValue(certificate, oid.ocspNoCheck);
    if (value === undefined) return undefined;
    if (!sameOctets(value, nullValue)) return 'id-pkix-ocsp-nocheck is not NULL';
    return extKeyUsage.includes(oid.ocspSigning) ? undefined : 'id-pkix-ocsp-nocheck without OCSPSigning';
  },
};
