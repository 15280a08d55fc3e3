import { type CertificateParts, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { der, nameFromString, objectIdentifier, oid, sequence, utf8String } from '../../../codec/index.ts';
import { alternativeNames } from './alternative-names.ts';

const alternative = (value: Uint8Array): CertificateParts => ({
  extensions: { subjectAltName: { oid: oid.subjectAltName, critical: false, value } },
});

testCertificateRule(alternativeNames, {
  keeps: [
    ['no subjectAltName', { extensions: { subjectAltName: undefined } }],
    ['a directory name', alternative(sequence(der(0xa4, nameFromString('CN=a').raw)))],
    ['a name of another kind', alternative(sequence(der(0x88, Uint8Array.of(0x2a, 3))))],
  ],
  breaks: [
    ['no name', alternative(sequence())],
    ['an empty DNS name', alternative(sequence(der(0x82)))],
    ['an empty mailbox', alternative(sequence(der(0x81)))],
    ['an empty URI', alternative(sequence(der(0x86)))],
    ['an empty directory name', alternative(sequence(der(0xa4, sequence())))],
    [
      'an empty user principal name',
      alternative(
        sequence(der(0xa0, objectIdentifier(oid.microsoftUserPrincipalName), der(0xa0, utf8String('')))),
      ),
    ],
    ['a kind that does not exist', alternative(sequence(der(0x89, Uint8Array.of(1))))],
  ],
});
