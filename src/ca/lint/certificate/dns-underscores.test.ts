import { type CertificateParts, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { der, oid, sequence } from '../../../codec/index.ts';
import { dnsUnderscores } from './dns-underscores.ts';

const name = (value: string): CertificateParts => ({
  extensions: {
    subjectAltName: {
      oid: oid.subjectAltName,
      critical: false,
      value: sequence(der(0x82, Buffer.from(value, 'latin1'))),
    },
  },
});

testCertificateRule(dnsUnderscores, {
  keeps: [['a hyphen', name('my-host.test')]],
  breaks: [
    ['an underscore', name('my_host.test')],
    ['an underscore in front', name('_sip.test')],
  ],
});
