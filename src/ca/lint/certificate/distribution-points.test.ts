import { type CertificateParts, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { crlDistributionPointsExtension, der, nameFromString, oid, sequence } from '../../../codec/index.ts';
import { distributionPoints } from './distribution-points.ts';

const url = (text: string) => der(0x86, Buffer.from(text, 'latin1'));
const fullName = (...names: readonly Uint8Array[]) => der(0xa0, der(0xa0, ...names));
const points = (...list: readonly Uint8Array[]): CertificateParts => ({
  extensions: { crl: { oid: oid.cRLDistributionPoints, critical: false, value: sequence(...list) } },
});

testCertificateRule(distributionPoints, {
  keeps: [
    ['two URLs', points(sequence(fullName(url('http://a.test/1.crl'), url('http://b.test:8080/1.crl'))))],
    [
      'two points',
      points(sequence(fullName(url('http://a.test/1.crl'))), sequence(fullName(url('http://192.0.2.1/')))),
    ],
    [
      'a delta CRL',
      {
        extensions: {
          more: { ...crlDistributionPointsExtension(['http://a.test/d.crl']), oid: oid.freshestCRL },
        },
      },
    ],
    ['none', { extensions: { crl: undefined } }],
  ],
  breaks: [
    ['no point', points()],
    ['a point of no URL', points(sequence(fullName()))],
    ['a point of nothing', points(sequence())],
    ['a point of reasons alone', points(sequence(der(0x81, Uint8Array.of(1, 0x40))))],
    [
      'a point for some reasons',
      points(sequence(fullName(url('http://a.test/')), der(0x81, Uint8Array.of(1, 0x40)))),
    ],
    ['a relative name', points(sequence(der(0xa0, der(0xa1))))],
    ['https', points(sequence(fullName(url('https://a.test/1.crl'))))],
    ['ldap', points(sequence(fullName(url('ldap:///CN=a'))))],
    ['ldap as the second URL', points(sequence(fullName(url('http://a.test/'), url('ldap://a.test/CN=a'))))],
    ['no host', points(sequence(fullName(url('http:///1.crl'))))],
    ['a space', points(sequence(fullName(url('http://a.test/a b'))))],
    ['a letter beyond ASCII', points(sequence(fullName(url('http://a.test/ä'))))],
    ['a directory name', points(sequence(fullName(der(0xa4, nameFromString('CN=a').raw))))],
    [
      'ldap to a delta CRL',
      {
        extensions: { more: { ...crlDistributionPointsExtension(['ldap://a.test/']), oid: oid.freshestCRL } },
      },
    ],
  ],
});
