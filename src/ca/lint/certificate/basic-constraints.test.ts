import { type CertificateParts, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import {
  caBasicConstraintsExtension,
  endEntityBasicConstraintsExtension,
  oid,
} from '../../../codec/index.ts';
import { basicConstraints } from './basic-constraints.ts';

const bytes = (...octets: readonly number[]) => Uint8Array.from(octets);
const encoded = (value: Uint8Array): CertificateParts => ({
  extensions: { basicConstraints: { oid: oid.basicConstraints, critical: true, value } },
});

testCertificateRule(basicConstraints, {
  keeps: [
    [
      'a CA without a path length',
      { role: 'ca', extensions: { basicConstraints: caBasicConstraintsExtension() } },
    ],
  ],
  breaks: [
    ['none', { extensions: { basicConstraints: undefined } }],
    ['cA TRUE', { extensions: { basicConstraints: caBasicConstraintsExtension() } }],
    ['cA TRUE without CAs below', { extensions: { basicConstraints: caBasicConstraintsExtension(0) } }],
    ['cA FALSE spelled out', encoded(bytes(0x30, 3, 1, 1, 0))],
    ['a path length without cA', encoded(bytes(0x30, 3, 2, 1, 0))],
    ['something after the path length', encoded(bytes(0x30, 6, 2, 1, 0, 2, 1, 0))],
    ['a CA without it', { role: 'ca', extensions: { basicConstraints: undefined } }],
    [
      'a CA that is none',
      { role: 'ca', extensions: { basicConstraints: endEntityBasicConstraintsExtension() } },
    ],
    [
      'a root that is none',
      { role: 'root', extensions: { basicConstraints: endEntityBasicConstraintsExtension() } },
    ],
    ['a negative path length', { role: 'ca', ...encoded(bytes(0x30, 6, 1, 1, 0xff, 2, 1, 0xff)) }],
  ],
});
