import { type CertificateParts, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { der, oid, sequence } from '../../../codec/index.ts';
import { nameConstraints } from './name-constraints.ts';

const subtree = sequence(der(0x82, Buffer.from('a.test')));
const constraints = (value: Uint8Array): CertificateParts => ({
  role: 'ca',
  extensions: { more: { oid: oid.nameConstraints, critical: true, value } },
});

testCertificateRule(nameConstraints, {
  keeps: [
    ['a CA', constraints(sequence(der(0xa0, subtree)))],
    ['a CA with both lists', constraints(sequence(der(0xa0, subtree), der(0xa1, subtree)))],
  ],
  breaks: [
    ['an end entity', { ...constraints(sequence(der(0xa0, subtree))), role: 'end-entity' }],
    ['nothing', constraints(sequence())],
    ['an empty list', constraints(sequence(der(0xa0)))],
    ['an empty second list', constraints(sequence(der(0xa0, subtree), der(0xa1)))],
    [
      'a minimum',
      constraints(
        sequence(der(0xa0, sequence(der(0x82, Buffer.from('a.test')), der(0x80, Uint8Array.of(0))))),
      ),
    ],
    [
      'a maximum',
      constraints(
        sequence(der(0xa1, sequence(der(0x82, Buffer.from('a.test')), der(0x81, Uint8Array.of(3))))),
      ),
    ],
    ['a third list', constraints(sequence(der(0xa0, subtree), der(0xa2, subtree)))],
  ],
});
