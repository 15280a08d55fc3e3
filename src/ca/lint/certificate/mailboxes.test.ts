import { type CertificateParts, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { der, oid, sequence } from '../../../codec/index.ts';
import { mailboxes } from './mailboxes.ts';

const name = (value: string): CertificateParts => ({
  extensions: {
    subjectAltName: {
      oid: oid.subjectAltName,
      critical: false,
      value: sequence(der(0x81, Buffer.from(value, 'latin1'))),
    },
  },
});

testCertificateRule(mailboxes, {
  keeps: [
    ['a mailbox', name('a.b+c@d.test')],
    ['a host of one label', name('a@b')],
  ],
  breaks: [
    ['nothing', name('')],
    ['no host', name('a')],
    ['an at sign', name('@')],
    ['an empty host', name('a@')],
    ['an empty local part', name('@b')],
    ['two at signs', name('a@b@c')],
    ['a space', name('a b@c')],
    ['brackets', name('<a@b.test>')],
    ['a letter beyond ASCII', name('ä@b.test')],
  ],
});
