import { type CertificateParts, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { buildName, nameFromString, oid } from '../../../codec/index.ts';
import { nameLengths } from './name-lengths.ts';

const subject = (value: string, type: string = oid.commonName): CertificateParts => ({
  subject: buildName([[{ oid: type, value }]]).raw,
});

testCertificateRule(nameLengths, {
  keeps: [
    [
      'the bounds',
      {
        subject: nameFromString(
          `CN=${'ä'.repeat(64)},L=${'l'.repeat(128)},ST=${'s'.repeat(128)},O=${'o'.repeat(64)}`,
        ).raw,
      },
    ],
    ['64 characters of two code units each', subject('𝔸'.repeat(64))],
    ['a long street', subject('s'.repeat(300), oid.streetAddress)],
  ],
  breaks: [
    ['a common name of 65 characters', subject('a'.repeat(65))],
    ['an organisation of 65 characters', subject('a'.repeat(65), oid.organizationName)],
    ['a unit of 65 characters', subject('a'.repeat(65), oid.organizationalUnitName)],
    ['a locality of 129 characters', subject('a'.repeat(129), oid.localityName)],
    ['a state of 129 characters', subject('a'.repeat(129), oid.stateOrProvinceName)],
    ['a serial number of 65 characters', subject('a'.repeat(65), oid.serialNumber)],
    ['a title of 65 characters', subject('a'.repeat(65), oid.title)],
    ['a domain component of 64 characters', subject('a'.repeat(64), oid.domainComponent)],
    ['a mail address of 256 characters', subject('a'.repeat(256), oid.emailAddress)],
    ['an empty attribute', subject('')],
  ],
});
