import { testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { integer, objectIdentifier, octetString, oid, sequence } from '../../../codec/index.ts';
import { structure } from './structure.ts';

testCertificateRule(structure, {
  keeps: [],
  breaks: [
    ['a field after the extensions', { hasExtensions: false, more: [integer(1)] }],
    ['no key', { spki: integer(1) }],
    ['a validity of one time', { notAfter: Uint8Array.of() }],
    ['an extension without a value', { extensions: { more: sequence(objectIdentifier(oid.freshestCRL)) } }],
    [
      'an extension with something after its value',
      {
        extensions: {
          more: sequence(objectIdentifier(oid.freshestCRL), octetString(Uint8Array.of()), integer(1)),
        },
      },
    ],
    ['an element longer than what holds it', { subject: Uint8Array.of(0x30, 0x20, 0) }],
  ],
});
