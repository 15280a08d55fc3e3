import { type CertificateParts, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { buildName, oid } from '../../../codec/index.ts';
import { serialNumberAttribute } from './serial-number-attribute.ts';

const subject = (value: string, type: string = oid.commonName): CertificateParts => ({
  subject: buildName([[{ oid: type, value }]]).raw,
});

testCertificateRule(serialNumberAttribute, {
  keeps: [
    ['letters and digits', subject('ABC-123', oid.serialNumber)],
    ['an underscore elsewhere', subject('a_b')],
  ],
  breaks: [
    ['an underscore', subject('ABC_123', oid.serialNumber)],
    ['an umlaut', subject('Ä1', oid.serialNumber)],
  ],
});
