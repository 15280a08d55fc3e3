import { type CertificateParts, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import {
  extKeyUsageExtension,
  type GeneralName,
  nameFromString,
  oid,
  subjectAltNameExtension,
} from '../../../codec/index.ts';
import { purposeNames } from './purpose-names.ts';

const named = (purpose: string, ...names: readonly GeneralName[]): CertificateParts => ({
  extensions: {
    extKeyUsage: extKeyUsageExtension([purpose]),
    subjectAltName: names.length === 0 ? undefined : subjectAltNameExtension(names, nameFromString('CN=a')),
  },
});

testCertificateRule(purposeNames, {
  keeps: [
    ['a server by its address', named(oid.serverAuth, { type: 'iPAddress', value: '192.0.2.1' })],
    ['a client without names', named(oid.clientAuth)],
    ['S/MIME with a mailbox', named(oid.emailProtection, { type: 'rfc822Name', value: 'a@b.test' })],
  ],
  breaks: [
    ['a server without names', named(oid.serverAuth)],
    [
      'a server by a URI',
      named(oid.serverAuth, { type: 'uniformResourceIdentifier', value: 'https://a.test/' }),
    ],
    ['S/MIME without names', named(oid.emailProtection)],
    ['S/MIME with a host', named(oid.emailProtection, { type: 'dNSName', value: 'a.test' })],
  ],
});
