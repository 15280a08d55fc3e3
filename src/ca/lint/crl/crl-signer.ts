/** RFC 5280 §6.3.3 (f): who may sign a CRL. */
import { keyUsageOf } from '../../../codec/index.ts';
import type { CrlRule } from '../rule.ts';

/** A CRL by anybody else is not looked at. */
export const crlSigner: CrlRule = {
  name: 'crl_signer',
  severity: 'error',
  citation: 'RFC 5280 §4.2.1.3, §6.3.3 (f)',
  requires: 'The certificate of whoever signs has cRLSign.',
  check: ({ issuer }) =>
    keyUsageOf(issuer)?.includes('cRLSign') === false ? 'the signer has no cRLSign' : undefined,
};
