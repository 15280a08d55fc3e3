/** RFC 5280 §4.2: which extensions are critical. */
import { oid } from '../../../codec/index.ts';
import type { CertificateRole } from '../certificate-under-lint.ts';
import type { CertificateRule } from '../rule.ts';

type Criticality = 'critical' | 'not critical' | 'either';

/** What the paragraph of each extension says; `CA` where it speaks of CA certificates alone. */
const table: Readonly<Record<string, Criticality | 'critical in a CA'>> = {
  // §4.2.1.1, §4.2.1.2: MUST be non-critical.
  [oid.authorityKeyIdentifier]: 'not critical',
  [oid.subjectKeyIdentifier]: 'not critical',
  // §4.2.1.3: SHOULD be critical; everybody understands it.
  [oid.keyUsage]: 'critical',
  // §4.2.1.4, §4.2.1.12: the issuer's choice.
  [oid.certificatePolicies]: 'either',
  [oid.extKeyUsage]: 'either',
  // §4.2.1.9: MUST be critical in CA certificates.
  [oid.basicConstraints]: 'critical in a CA',
  // §4.2.1.10: MUST be critical.
  [oid.nameConstraints]: 'critical',
  // §4.2.1.13, §4.2.1.15, §4.2.2.1: SHOULD be, MUST be, MUST be non-critical.
  [oid.cRLDistributionPoints]: 'not critical',
  [oid.freshestCRL]: 'not critical',
  [oid.authorityInfoAccess]: 'not critical',
};

function wanted(type: string, role: CertificateRole, hasSubject: boolean): Criticality {
  // §4.2.1.6: critical exactly if nothing else names the subject.
  if (type === oid.subjectAltName) return hasSubject ? 'not critical' : 'critical';
  // A critical extension that a relying party does not know makes the certificate useless to it.
  const row = table[type] ?? 'not critical';
  return row === 'critical in a CA' ? (role === 'end-entity' ? 'either' : 'critical') : row;
}

/** Critical where misunderstanding is dangerous, and not where it is harmless. */
export const extensionCriticality: CertificateRule = {
  name: 'extension_criticality',
  severity: 'error',
  citation: 'RFC 5280 §4.2, §4.2.1.1 to §4.2.2.1',
  requires:
    'Critical are keyUsage, nameConstraints, basicConstraints of a CA, and subjectAltName if the subject is empty; nothing else but, at choice, policies, purposes and an end entity’s basicConstraints.',
  check: ({ elements, certificate, role }) => {
    const hasSubject = certificate.subject.rdns.length > 0;
    for (const { oid: type, critical } of elements.extensions ?? []) {
      const want = wanted(type, role, hasSubject);
      if (want !== 'either' && (want === 'critical') !== (critical === 'TRUE'))
        return `extension ${type} is ${want === 'critical' ? 'not ' : ''}critical`;
    }
    return undefined;
  },
};
