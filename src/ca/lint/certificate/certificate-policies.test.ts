import { type CertificateParts, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { integer, objectIdentifier, oid, sequence } from '../../../codec/index.ts';
import { certificatePolicies } from './certificate-policies.ts';

const policies = (...list: readonly string[]): CertificateParts => ({
  extensions: {
    more: {
      oid: oid.certificatePolicies,
      critical: false,
      value: sequence(...list.map((policy) => sequence(objectIdentifier(policy)))),
    },
  },
});

testCertificateRule(certificatePolicies, {
  keeps: [['two policies', policies('1.2.3', '1.2.4')]],
  breaks: [
    ['an empty list', policies()],
    ['a policy twice', policies('1.2.3', '1.2.3')],
    [
      'what is no policy',
      {
        extensions: { more: { oid: oid.certificatePolicies, critical: false, value: sequence(integer(1)) } },
      },
    ],
  ],
});
