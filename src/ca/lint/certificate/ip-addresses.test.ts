import { type CertificateParts, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { der, oid, sequence } from '../../../codec/index.ts';
import { ipAddresses } from './ip-addresses.ts';

const alternative = (value: Uint8Array): CertificateParts => ({
  extensions: { subjectAltName: { oid: oid.subjectAltName, critical: false, value } },
});

testCertificateRule(ipAddresses, {
  keeps: [
    ['16 octets', alternative(sequence(der(0x87, Buffer.alloc(16, 1))))],
    ['no subjectAltName', { extensions: { subjectAltName: undefined } }],
  ],
  breaks: [
    ['nothing', alternative(sequence(der(0x87)))],
    ['5 octets', alternative(sequence(der(0x87, Buffer.alloc(5, 1))))],
    ['an address with a mask', alternative(sequence(der(0x87, Buffer.alloc(8, 1))))],
    ['an address as text', alternative(sequence(der(0x87, Buffer.from('192.0.2.1'))))],
    [
      'the second of two',
      alternative(sequence(der(0x87, Buffer.alloc(4, 1)), der(0x87, Buffer.alloc(3, 1)))),
    ],
  ],
});
