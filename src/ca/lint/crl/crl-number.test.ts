import { testCrlRule } from '../../../../test/support/lint-fixture.ts';
import { der, type Extension, integer, oid, tag, unsignedInteger, utf8String } from '../../../codec/index.ts';
import { crlNumber } from './crl-number.ts';

const number = (value: Uint8Array): Extension => ({ oid: oid.crlNumber, critical: false, value });

testCrlRule(crlNumber, {
  keeps: [
    ['the longest', { extensions: { crlNumber: number(unsignedInteger(Buffer.alloc(20, 0x7f))) } }],
    ['zero', { extensions: { crlNumber: number(integer(0)) } }],
  ],
  breaks: [
    ['none', { extensions: { crlNumber: undefined } }],
    ['a negative one', { extensions: { crlNumber: number(der(tag.integer, Uint8Array.of(0xff))) } }],
    ['21 octets', { extensions: { crlNumber: number(unsignedInteger(Buffer.alloc(21, 1))) } }],
    ['a text', { extensions: { crlNumber: number(utf8String('7')) } }],
  ],
});
