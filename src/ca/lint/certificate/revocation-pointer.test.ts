import { testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { nullValue, oid } from '../../../codec/index.ts';
import { revocationPointer } from './revocation-pointer.ts';

testCertificateRule(revocationPointer, {
  keeps: [
    [
      'a responder with id-pkix-ocsp-nocheck',
      { extensions: { crl: undefined, more: { oid: oid.ocspNoCheck, critical: false, value: nullValue } } },
    ],
  ],
  breaks: [
    ['none', { extensions: { crl: undefined } }],
    ['none in a CA', { role: 'ca', extensions: { crl: undefined } }],
  ],
});
