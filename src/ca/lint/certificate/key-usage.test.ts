import { type CertificateParts, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { der, keyUsageExtension, oid, tag } from '../../../codec/index.ts';
import { keyUsage } from './key-usage.ts';

const usage = (...bits: Parameters<typeof keyUsageExtension>[0]): CertificateParts => ({
  extensions: { keyUsage: keyUsageExtension(bits) },
});

testCertificateRule(keyUsage, {
  keeps: [
    ['encipherOnly with keyAgreement', usage('keyAgreement', 'encipherOnly')],
    ['a CA that signs certificates only', { role: 'ca', ...usage('keyCertSign') }],
  ],
  breaks: [
    ['none', { extensions: { keyUsage: undefined } }],
    ['no bit', usage()],
    ['keyCertSign', usage('digitalSignature', 'keyCertSign')],
    ['cRLSign', usage('digitalSignature', 'cRLSign')],
    ['encipherOnly alone', usage('digitalSignature', 'encipherOnly')],
    ['decipherOnly alone', usage('digitalSignature', 'decipherOnly')],
    [
      'zero bits at the end',
      {
        extensions: {
          keyUsage: { oid: oid.keyUsage, critical: true, value: der(tag.bitString, Uint8Array.of(0, 0x80)) },
        },
      },
    ],
    [
      'a bit that has no name',
      {
        extensions: {
          keyUsage: {
            oid: oid.keyUsage,
            critical: true,
            value: der(tag.bitString, Uint8Array.of(6, 0x80, 0x40)),
          },
        },
      },
    ],
    ['a CA without keyCertSign', { role: 'ca', ...usage('cRLSign') }],
    ['a CA without it', { role: 'ca', extensions: { keyUsage: undefined } }],
  ],
});
