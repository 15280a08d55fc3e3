/** RFC 5280 §4.2.1.3: what the key may do. */
import { extensionValue, keyUsageExtension, oid, sameOctets } from '../../../codec/index.ts';
import type { CertificateRule } from '../rule.ts';

/** Something, and what belongs to a CA only in a CA's. */
export const keyUsage: CertificateRule = {
  name: 'key_usage',
  severity: 'error',
  citation: 'RFC 5280 §4.2.1.3; X.690 §11.2.2',
  requires:
    'keyUsage is there, has a bit set and no zero bits at its end; keyCertSign is in every CA’s, and neither it nor cRLSign in any other; encipherOnly and decipherOnly come with keyAgreement.',
  check: ({ certificate, keyUsage: usage, role }) => {
    const value = extensionValue(certificate, oid.keyUsage);
    if (value === undefined) return 'keyUsage is missing';
    if (usage.length === 0) return 'keyUsage is empty';
    if (!sameOctets(value, keyUsageExtension(usage).value)) return 'keyUsage is not DER';
    if (role !== 'end-entity' && !usage.includes('keyCertSign')) return 'a CA without keyCertSign';
    if (role === 'end-entity' && (usage.includes('keyCertSign') || usage.includes('cRLSign')))
      return 'a CA bit is set';
    return (usage.includes('encipherOnly') || usage.includes('decipherOnly')) &&
      !usage.includes('keyAgreement')
      ? 'encipherOnly or decipherOnly without keyAgreement'
      : undefined;
  },
};
