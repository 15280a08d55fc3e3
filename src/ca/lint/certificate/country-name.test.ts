import { type CertificateParts, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { buildName, oid } from '../../../codec/index.ts';
import { countryName } from './country-name.ts';

const subject = (value: string, type: string = oid.commonName): CertificateParts => ({
  subject: buildName([[{ oid: type, value }]]).raw,
});

testCertificateRule(countryName, {
  keeps: [['a country', subject('CH', oid.countryName)]],
  breaks: [
    ['a country by its name', subject('Switzerland', oid.countryName)],
    ['a country in small letters', subject('ch', oid.countryName)],
    ['one letter', subject('C', oid.countryName)],
    ['digits', subject('41', oid.countryName)],
  ],
});
