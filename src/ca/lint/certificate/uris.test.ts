import { type CertificateParts, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { der, oid, sequence } from '../../../codec/index.ts';
import { uris } from './uris.ts';

const name = (value: string): CertificateParts => ({
  extensions: {
    subjectAltName: {
      oid: oid.subjectAltName,
      critical: false,
      value: sequence(der(0x86, Buffer.from(value, 'latin1'))),
    },
  },
});

testCertificateRule(uris, {
  keeps: [
    ['a URN', name('urn:device:1')],
    ['a URL', name('https://a.test:8443/b?c')],
    ['a file without a host', name('file:///a')],
    ['a tag of the Intune kind', name('IntuneDeviceId://1-2-3')],
  ],
  breaks: [
    ['nothing', name('')],
    ['a word', name('device')],
    ['a path', name('/path')],
    ['a scheme alone', name('urn:')],
    ['a scheme that begins with a digit', name('1a:b')],
    ['a reference without a scheme', name('//host/path')],
    ['no host', name('https:///path')],
    ['a port without a host', name('https://:443/')],
    ['a user without a host', name('https://user@/')],
    ['a space', name('urn:a b')],
    ['NUL', name('urn:a\0b')],
  ],
});
