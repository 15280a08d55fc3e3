import { certificateOf, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { caBasicConstraintsExtension, parseCertificate } from '../../../codec/index.ts';
import { pathLength } from './path-length.ts';

const rootOf = (pathLength: number) =>
  parseCertificate(
    certificateOf({
      role: 'root',
      extensions: { basicConstraints: caBasicConstraintsExtension(pathLength) },
    }),
  );

testCertificateRule(pathLength, {
  keeps: [
    ['0 below 1', { role: 'ca', issuer: rootOf(1) }],
    [
      'none below 1',
      { role: 'ca', issuer: rootOf(1), extensions: { basicConstraints: caBasicConstraintsExtension() } },
    ],
    ['an end entity below 0', { issuer: rootOf(0) }],
    ['the next key of the same CA', { role: 'ca', issuer: rootOf(0), subject: rootOf(0).subject.raw }],
  ],
  breaks: [
    ['a CA below 0', { role: 'ca', issuer: rootOf(0) }],
    [
      '1 below 1',
      { role: 'ca', issuer: rootOf(1), extensions: { basicConstraints: caBasicConstraintsExtension(1) } },
    ],
    [
      '2 below 1',
      { role: 'ca', issuer: rootOf(1), extensions: { basicConstraints: caBasicConstraintsExtension(2) } },
    ],
  ],
});
