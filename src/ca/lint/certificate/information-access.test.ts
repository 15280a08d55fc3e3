import { type CertificateParts, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { der, objectIdentifier, oid, sequence } from '../../../codec/index.ts';
import { informationAccess } from './information-access.ts';

const url = (text: string) => der(0x86, Buffer.from(text, 'latin1'));
const access = (...list: readonly Uint8Array[]): CertificateParts => ({
  extensions: { access: { oid: oid.authorityInfoAccess, critical: false, value: sequence(...list) } },
});

testCertificateRule(informationAccess, {
  keeps: [
    ['none', { extensions: { access: undefined } }],
    ['a responder', access(sequence(objectIdentifier(oid.ocsp), url('http://ocsp.test')))],
  ],
  breaks: [
    ['an empty list', access()],
    ['https', access(sequence(objectIdentifier(oid.caIssuers), url('https://a.test/')))],
    ['ldap', access(sequence(objectIdentifier(oid.caIssuers), url('ldap:///CN=a')))],
    ['https to a responder', access(sequence(objectIdentifier(oid.ocsp), url('https://a.test/')))],
    ['a responder by name', access(sequence(objectIdentifier(oid.ocsp), der(0x82, Buffer.from('a.test'))))],
    ['another method', access(sequence(objectIdentifier('1.2.3'), url('http://a.test/')))],
  ],
});
