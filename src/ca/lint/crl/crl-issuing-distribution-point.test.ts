import { testCrlRule } from '../../../../test/support/lint-fixture.ts';
import { der, nameFromString, oid, sequence } from '../../../codec/index.ts';
import { crlIssuingDistributionPoint } from './crl-issuing-distribution-point.ts';

const url = (text: string) => der(0x86, Buffer.from(text, 'latin1'));
const fullName = (...names: readonly Uint8Array[]) => der(0xa0, der(0xa0, ...names));
const users = der(0x81, Uint8Array.of(0xff));
const cas = der(0x82, Uint8Array.of(0xff));
const scope = (...fields: readonly Uint8Array[]) => ({
  extensions: { more: { oid: oid.issuingDistributionPoint, critical: true, value: sequence(...fields) } },
});

testCrlRule(crlIssuingDistributionPoint, {
  keeps: [
    ['a URL', scope(fullName(url('http://a.test/1.crl')))],
    ['a URL, for users', scope(fullName(url('http://a.test/1.crl')), users)],
    ['for CAs', scope(cas)],
  ],
  breaks: [
    ['nothing', scope()],
    ['https', scope(fullName(url('https://a.test/1.crl')))],
    ['a directory name', scope(fullName(der(0xa4, nameFromString('CN=a').raw)))],
    ['for users and for CAs', scope(users, cas)],
    ['for users, spelled out that it is not', scope(der(0x81, Uint8Array.of(0)))],
    ['some reasons', scope(der(0x83, Uint8Array.of(1, 0x40)))],
    ['an indirect CRL', scope(der(0x84, Uint8Array.of(0xff)))],
  ],
});
