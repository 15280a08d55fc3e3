import { testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { der } from '../../../codec/index.ts';
import { uniqueIdentifiers } from './unique-identifiers.ts';

testCertificateRule(uniqueIdentifiers, {
  keeps: [],
  breaks: [
    ['issuerUniqueID', { more: [der(0x81, Uint8Array.of(0, 1))] }],
    ['subjectUniqueID', { more: [der(0x82, Uint8Array.of(0, 1))] }],
    ['both', { more: [der(0x81, Uint8Array.of(0, 1)), der(0x82, Uint8Array.of(0, 1))] }],
  ],
});
