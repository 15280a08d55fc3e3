/** RFC 5280 §4.2.1.12: purposes. */
import { extensionValue, oid } from '../../../codec/index.ts';
import type { CertificateRule } from '../rule.ts';

/** Named purposes: whoever may do anything may one day be a domain controller. */
export const extendedKeyUsage: CertificateRule = {
  name: 'extended_key_usage',
  severity: 'error',
  citation: 'RFC 5280 §4.2.1.12',
  requires:
    'extKeyUsage lists purposes, each once; an end entity has it, and anyExtendedKeyUsage is not in it.',
  check: ({ certificate, role, extKeyUsage: purposes }) => {
    if (purposes.length === 0)
      return role === 'end-entity' || extensionValue(certificate, oid.extKeyUsage) !== undefined
        ? 'extKeyUsage is missing'
        : undefined;
    if (new Set(purposes).size < purposes.length) return 'a purpose is listed twice';
    return role === 'end-entity' && purposes.includes(oid.anyExtendedKeyUsage)
      ? 'anyExtendedKeyUsage is listed'
      : undefined;
  },
};
