import { type CertificateParts, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { der, oid, sequence } from '../../../codec/index.ts';
import { dnsNames } from './dns-names.ts';

const name = (value: string): CertificateParts => ({
  extensions: {
    subjectAltName: {
      oid: oid.subjectAltName,
      critical: false,
      value: sequence(der(0x82, Buffer.from(value, 'latin1'))),
    },
  },
});

testCertificateRule(dnsNames, {
  keeps: [
    ['a wildcard', name('*.a.test')],
    ['one label', name('laptop')],
    ['an underscore', name('my_host.test')],
    ['a label of 63 characters', name(`${'a'.repeat(63)}.test`)],
    ['an A-label', name('xn--bcher-kva.test')],
  ],
  breaks: [
    ['nothing', name('')],
    ['a dot', name('.')],
    ['an empty label', name('a..b')],
    ['a hyphen in front', name('-a.test')],
    ['a hyphen at the end', name('a-.test')],
    ['a space', name('a b.test')],
    ['the root label', name('a.test.')],
    ['a star alone', name('*')],
    ['a star below the top', name('*.test')],
    ['two stars', name('*.test.*')],
    ['a star within', name('a.*.test')],
    ['a star in a label', name('*a.test')],
    ['a path', name('a/b')],
    ['an umlaut', name('ä.test')],
    ['a label of 64 characters', name(`${'a'.repeat(64)}.test`)],
    ['255 characters', name(`${'a.'.repeat(127)}a`)],
  ],
});
