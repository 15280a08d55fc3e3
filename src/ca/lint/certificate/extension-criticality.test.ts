import { testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import {
  authorityInfoAccessExtension,
  authorityKeyIdentifierExtension,
  caBasicConstraintsExtension,
  crlDistributionPointsExtension,
  endEntityBasicConstraintsExtension,
  extKeyUsageExtension,
  keyUsageExtension,
  nameFromString,
  nullValue,
  oid,
  sequence,
  subjectAltNameExtension,
  subjectKeyIdentifierExtension,
} from '../../../codec/index.ts';
import { extensionCriticality } from './extension-criticality.ts';

const names = subjectAltNameExtension([{ type: 'dNSName', value: 'a.test' }], nameFromString('CN=a'));

testCertificateRule(extensionCriticality, {
  keeps: [
    [
      'critical purposes',
      { extensions: { extKeyUsage: { ...extKeyUsageExtension([oid.timeStamping]), critical: true } } },
    ],
    [
      'basicConstraints of an end entity that is not critical',
      { extensions: { basicConstraints: { ...endEntityBasicConstraintsExtension(), critical: false } } },
    ],
    [
      'a critical subjectAltName without a subject',
      { subject: sequence(), extensions: { subjectAltName: { ...names, critical: true } } },
    ],
    ['what no reader knows', { extensions: { more: { oid: '1.2.3', critical: false, value: nullValue } } }],
  ],
  breaks: [
    [
      'a keyUsage that is not',
      { extensions: { keyUsage: { ...keyUsageExtension(['digitalSignature']), critical: false } } },
    ],
    [
      'basicConstraints of a CA that is not',
      {
        role: 'ca',
        extensions: { basicConstraints: { ...caBasicConstraintsExtension(0), critical: false } },
      },
    ],
    [
      'basicConstraints of a root that is not',
      {
        role: 'root',
        extensions: { basicConstraints: { ...caBasicConstraintsExtension(), critical: false } },
      },
    ],
    [
      'nameConstraints that are not',
      { role: 'ca', extensions: { more: { oid: oid.nameConstraints, critical: false, value: sequence() } } },
    ],
    [
      'a critical subjectAltName beside a subject',
      { extensions: { subjectAltName: { ...names, critical: true } } },
    ],
    ['no subject beside a subjectAltName that is not critical', { subject: sequence() }],
    [
      'a critical subjectKeyIdentifier',
      {
        extensions: {
          subjectKeyIdentifier: { ...subjectKeyIdentifierExtension(Buffer.alloc(20)), critical: true },
        },
      },
    ],
    [
      'a critical authorityKeyIdentifier',
      {
        extensions: {
          authorityKeyIdentifier: { ...authorityKeyIdentifierExtension(Buffer.alloc(20)), critical: true },
        },
      },
    ],
    [
      'a critical authorityInfoAccess',
      { extensions: { access: { ...authorityInfoAccessExtension(['http://a.test/']), critical: true } } },
    ],
    [
      'a critical cRLDistributionPoints',
      { extensions: { crl: { ...crlDistributionPointsExtension(['http://a.test/']), critical: true } } },
    ],
    [
      'a critical freshestCRL',
      {
        extensions: {
          more: {
            ...crlDistributionPointsExtension(['http://a.test/']),
            oid: oid.freshestCRL,
            critical: true,
          },
        },
      },
    ],
    [
      'a critical extension that no reader knows',
      { extensions: { more: { oid: '1.2.3', critical: true, value: nullValue } } },
    ],
  ],
});
