import { hash } from 'node:crypto';
import { publicKeys, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { keyIdentifier, subjectKeyIdentifierExtension } from '../../../codec/index.ts';
import { subjectKeyIdentifier } from './subject-key-identifier.ts';

testCertificateRule(subjectKeyIdentifier, {
  keeps: [
    [
      'SHA-256 over the key, cut',
      {
        extensions: {
          subjectKeyIdentifier: subjectKeyIdentifierExtension(
            hash('sha256', publicKeys.device.subarray(24), 'buffer').subarray(0, 20),
          ),
        },
      },
    ],
    [
      'SHA-256 over all of it',
      {
        extensions: {
          subjectKeyIdentifier: subjectKeyIdentifierExtension(hash('sha256', publicKeys.device, 'buffer')),
        },
      },
    ],
  ],
  breaks: [
    ['none', { extensions: { subjectKeyIdentifier: undefined } }],
    ['none in a CA', { role: 'ca', extensions: { subjectKeyIdentifier: undefined } }],
    [
      'that of another',
      {
        extensions: {
          subjectKeyIdentifier: subjectKeyIdentifierExtension(keyIdentifier(publicKeys.issuing)),
        },
      },
    ],
    [
      'an empty one',
      { extensions: { subjectKeyIdentifier: subjectKeyIdentifierExtension(Uint8Array.of()) } },
    ],
  ],
});
