import { authorities, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { time } from '../../../codec/index.ts';
import { validityWithinIssuer } from './validity-within-issuer.ts';

testCertificateRule(validityWithinIssuer, {
  keeps: [['the end of the issuer', { notAfter: time(authorities.issuing.notAfter) }]],
  breaks: [
    ['a second more', { notAfter: time(new Date(authorities.issuing.notAfter.getTime() + 1000)) }],
    [
      'a CA that outlives its root',
      { role: 'ca', notAfter: time(new Date(authorities.root.notAfter.getTime() + 1000)) },
    ],
  ],
});
