import {
  type CertificateParts,
  publicKeys,
  testCertificateRule,
} from '../../../../test/support/lint-fixture.ts';
import { keyUsageExtension } from '../../../codec/index.ts';
import { keyUsageFitsKey } from './key-usage-fits-key.ts';

const usage = (...bits: Parameters<typeof keyUsageExtension>[0]): CertificateParts => ({
  extensions: { keyUsage: keyUsageExtension(bits) },
});

testCertificateRule(keyUsageFitsKey, {
  keeps: [
    [
      'a curve that signs and agrees',
      { spki: publicKeys.curve, ...usage('digitalSignature', 'keyAgreement') },
    ],
  ],
  breaks: [
    ['keyEncipherment with a curve', { spki: publicKeys.curve }],
    [
      'dataEncipherment with a curve',
      { spki: publicKeys.curve, ...usage('digitalSignature', 'dataEncipherment') },
    ],
    ['keyAgreement with RSA', usage('digitalSignature', 'keyAgreement')],
  ],
});
