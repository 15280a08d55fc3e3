import { type CertificateParts, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { extKeyUsageExtension, integer, nullValue, oid } from '../../../codec/index.ts';
import { ocspNoCheck } from './ocsp-no-check.ts';

const noCheck = (value: Uint8Array, purpose: string): CertificateParts => ({
  extensions: {
    extKeyUsage: extKeyUsageExtension([purpose]),
    more: { oid: oid.ocspNoCheck, critical: false, value },
  },
});

testCertificateRule(ocspNoCheck, {
  keeps: [['a responder', noCheck(nullValue, oid.ocspSigning)]],
  breaks: [
    ['a client', noCheck(nullValue, oid.clientAuth)],
    ['something other than NULL', noCheck(integer(0), oid.ocspSigning)],
  ],
});
