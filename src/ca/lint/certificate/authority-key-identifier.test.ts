import { authorities, publicKeys, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { authorityKeyIdentifierExtension, der, keyIdentifier, oid, sequence } from '../../../codec/index.ts';
import { authorityKeyIdentifier } from './authority-key-identifier.ts';

const identifier = (value: Uint8Array) => ({
  extensions: { authorityKeyIdentifier: { oid: oid.authorityKeyIdentifier, critical: false, value } },
});
const own = der(0x80, keyIdentifier(publicKeys.issuing));
const issuer = der(0xa1, der(0xa4, authorities.root.subject.raw));
const serialNumber = der(0x82, Uint8Array.of(1));

testCertificateRule(authorityKeyIdentifier, {
  keeps: [
    ['issuer and serial number too', identifier(sequence(own, issuer, serialNumber))],
    [
      'the root’s own',
      {
        role: 'root',
        extensions: {
          authorityKeyIdentifier: authorityKeyIdentifierExtension(keyIdentifier(publicKeys.root)),
        },
      },
    ],
  ],
  breaks: [
    ['none', { extensions: { authorityKeyIdentifier: undefined } }],
    ['none in a CA', { role: 'ca', extensions: { authorityKeyIdentifier: undefined } }],
    [
      'that of another',
      {
        extensions: {
          authorityKeyIdentifier: authorityKeyIdentifierExtension(keyIdentifier(publicKeys.root)),
        },
      },
    ],
    [
      'that of another in a root',
      {
        role: 'root',
        extensions: {
          authorityKeyIdentifier: authorityKeyIdentifierExtension(keyIdentifier(publicKeys.issuing)),
        },
      },
    ],
    ['no keyIdentifier', identifier(sequence(issuer, serialNumber))],
    ['an empty one', identifier(sequence())],
    ['an issuer without a serial number', identifier(sequence(own, issuer))],
    ['a serial number without an issuer', identifier(sequence(own, serialNumber))],
  ],
});
