import { authorities, testCrlRule } from '../../../../test/support/lint-fixture.ts';
import { nameFromString, sequence } from '../../../codec/index.ts';
import { crlIssuerName } from './crl-issuer-name.ts';

testCrlRule(crlIssuerName, {
  keeps: [],
  breaks: [
    ['another issuer', { issuerName: authorities.root.subject.raw }],
    ['an empty issuer', { issuerName: sequence() }],
    [
      'a CA without a name',
      { issuerName: sequence(), issuer: { ...authorities.issuing, subject: nameFromString('') } },
    ],
  ],
});
