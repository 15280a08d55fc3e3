import { testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { nameFromString, sequence, subjectAltNameExtension } from '../../../codec/index.ts';
import { subjectName } from './subject-name.ts';

const critical = subjectAltNameExtension([{ type: 'dNSName', value: 'a.test' }], nameFromString(''));

testCertificateRule(subjectName, {
  keeps: [
    [
      'no subject with a critical subjectAltName',
      { subject: sequence(), extensions: { subjectAltName: critical } },
    ],
  ],
  breaks: [
    ['no subject beside a subjectAltName that is not critical', { subject: sequence() }],
    ['no subject at all', { subject: sequence(), extensions: { subjectAltName: undefined } }],
    ['a CA without a subject', { role: 'ca', subject: sequence(), extensions: { subjectAltName: critical } }],
    ['a root without a subject', { role: 'root', subject: sequence() }],
  ],
});
