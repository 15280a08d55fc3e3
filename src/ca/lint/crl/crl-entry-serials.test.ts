import { crlEntry, testCrlRule } from '../../../../test/support/lint-fixture.ts';
import { der, integer, tag, unsignedInteger } from '../../../codec/index.ts';
import { crlEntrySerials } from './crl-entry-serials.ts';

testCrlRule(crlEntrySerials, {
  keeps: [
    ['20 octets', { entries: [crlEntry({ serialNumber: unsignedInteger(Buffer.alloc(20, 0x7f)) })] }],
    ['zero, which old CAs have issued', { entries: [crlEntry({ serialNumber: integer(0) })] }],
  ],
  breaks: [
    [
      '21 octets',
      { entries: [crlEntry({}), crlEntry({ serialNumber: unsignedInteger(Buffer.alloc(21, 1)) })] },
    ],
    ['a negative one', { entries: [crlEntry({ serialNumber: der(tag.integer, Uint8Array.of(0x80)) })] }],
  ],
});
