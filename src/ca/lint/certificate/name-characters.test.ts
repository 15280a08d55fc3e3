import { type CertificateParts, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { buildName, nameFromString, oid, subjectAltNameExtension } from '../../../codec/index.ts';
import { nameCharacters } from './name-characters.ts';

const subject = (value: string, type: string = oid.commonName): CertificateParts => ({
  subject: buildName([[{ oid: type, value }]]).raw,
});
const userPrincipalName = (value: string): CertificateParts => ({
  extensions: {
    subjectAltName: subjectAltNameExtension([{ type: 'userPrincipalName', value }], nameFromString('CN=a')),
  },
});

testCertificateRule(nameCharacters, {
  keeps: [
    ['letters of all the world', subject('Łódź 東京 \u200d')],
    ['a user principal name', userPrincipalName('jürgen@a.test')],
  ],
  breaks: [
    ['NUL', subject('administrator\0.evil.test')],
    ['a line feed', subject('a\nb')],
    ['DEL', subject('a\u007f')],
    ['an escape sequence', subject('\u009b31m', oid.title)],
    ['NUL in a user principal name', userPrincipalName('a\0@b')],
  ],
});
