import { authorities, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { nameFromString, sequence } from '../../../codec/index.ts';
import { issuerName } from './issuer-name.ts';

testCertificateRule(issuerName, {
  keeps: [],
  breaks: [
    ['another issuer', { issuerName: authorities.root.subject.raw }],
    [
      'the issuer in another string type',
      {
        issuerName: Buffer.from(
          Buffer.from(authorities.issuing.subject.raw).toString('latin1').replaceAll('\x0c', '\x13'),
          'latin1',
        ),
      },
    ],
    ['an empty issuer', { issuerName: sequence() }],
    [
      'an empty issuer below a CA without a name',
      { issuerName: sequence(), issuer: { ...authorities.issuing, subject: nameFromString('') } },
    ],
    ['a root that names another', { role: 'root', issuerName: authorities.issuing.subject.raw }],
  ],
});
