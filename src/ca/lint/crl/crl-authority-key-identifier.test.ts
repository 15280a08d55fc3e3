import { authorities, publicKeys, testCrlRule } from '../../../../test/support/lint-fixture.ts';
import { authorityKeyIdentifierExtension, keyIdentifier, oid, sequence } from '../../../codec/index.ts';
import { crlAuthorityKeyIdentifier } from './crl-authority-key-identifier.ts';

testCrlRule(crlAuthorityKeyIdentifier, {
  keeps: [],
  breaks: [
    ['none', { extensions: { authorityKeyIdentifier: undefined } }],
    [
      'that of another',
      {
        extensions: {
          authorityKeyIdentifier: authorityKeyIdentifierExtension(keyIdentifier(publicKeys.root)),
        },
      },
    ],
    [
      'no keyIdentifier',
      {
        extensions: {
          authorityKeyIdentifier: { oid: oid.authorityKeyIdentifier, critical: false, value: sequence() },
        },
      },
    ],
    ['a CA without an identifier', { issuer: { ...authorities.issuing, extensions: [] } }],
  ],
});
