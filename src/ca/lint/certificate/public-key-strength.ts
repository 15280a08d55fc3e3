/** The key policy, asked of what is about to be signed. */
import { findingOfKey } from '../../key-policy.ts';
import type { CertificateRule } from '../rule.ts';

/** No key gets past the policy, whichever way its certificate was asked for. */
export const publicKeyStrength: CertificateRule = {
  name: 'public_key_strength',
  severity: 'error',
  citation: 'the key policy below',
  requires: 'The key keeps every rule of the key policy.',
  check: ({ elements, effort }) => {
    const finding = findingOfKey(elements.spki, effort);
    return finding === undefined ? undefined : `${finding.rule.name}: ${finding.detail}`;
  },
};
