import { certificateOf, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { nameConstraintsExtension, nameFromString, parseCertificate } from '../../../codec/index.ts';
import { namesWithinConstraints } from './names-within-constraints.ts';

const constrained = (constraints: Parameters<typeof nameConstraintsExtension>[0]) =>
  parseCertificate(
    certificateOf({ role: 'ca', extensions: { more: nameConstraintsExtension(constraints) } }),
  );

testCertificateRule(namesWithinConstraints, {
  keeps: [
    [
      'names that are permitted',
      { issuer: constrained({ permitted: [{ type: 'dNSName', value: 'test' }], excluded: [] }) },
    ],
    [
      'names that are not excluded',
      { issuer: constrained({ permitted: [], excluded: [{ type: 'dNSName', value: 'other.test' }] }) },
    ],
  ],
  breaks: [
    [
      'a host that is not permitted',
      { issuer: constrained({ permitted: [{ type: 'dNSName', value: 'other.test' }], excluded: [] }) },
    ],
    [
      'a host that is excluded',
      { issuer: constrained({ permitted: [], excluded: [{ type: 'dNSName', value: 'test' }] }) },
    ],
    [
      'a subject that is not permitted',
      {
        issuer: constrained({
          permitted: [{ type: 'directoryName', name: nameFromString('O=Other') }],
          excluded: [],
        }),
      },
    ],
    [
      'a CA that is not permitted',
      {
        role: 'ca',
        issuer: constrained({
          permitted: [{ type: 'directoryName', name: nameFromString('O=Other') }],
          excluded: [],
        }),
      },
    ],
  ],
});
