import { testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { der, integer, tag, unsignedInteger } from '../../../codec/index.ts';
import { serialNumber } from './serial-number.ts';

testCertificateRule(serialNumber, {
  keeps: [
    ['the shortest', { serialNumber: unsignedInteger(Buffer.alloc(9, 1)) }],
    ['the longest', { serialNumber: unsignedInteger(Buffer.alloc(20, 0x7f)) }],
    ['19 octets and a sign octet', { serialNumber: unsignedInteger(Buffer.alloc(19, 0xff)) }],
  ],
  breaks: [
    ['zero', { serialNumber: integer(0) }],
    ['a short serial', { serialNumber: unsignedInteger(Buffer.alloc(8, 1)) }],
    ['a long serial', { serialNumber: unsignedInteger(Buffer.alloc(21, 1)) }],
    ['20 octets that need a 21st', { serialNumber: unsignedInteger(Buffer.alloc(20, 0xff)) }],
    ['a negative serial', { serialNumber: der(tag.integer, Buffer.alloc(16, 0x80)) }],
  ],
});
