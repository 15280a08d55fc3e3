/** RFC 5280 §4.2.1.4: policies. */
import { oid, readDer, tag } from '../../../codec/index.ts';
import type { CertificateRule } from '../rule.ts';

/** A list of policies, each named once. */
export const certificatePolicies: CertificateRule = {
  name: 'certificate_policies',
  severity: 'error',
  citation: 'RFC 5280 §4.2.1.4',
  requires: 'certificatePolicies lists policies, at least one, each once.',
  check: (subject) => {
    const extension = subject.extension(oid.certificatePolicies);
    if (extension === undefined) return undefined;
    return readDer(extension.value, tag.sequence, (reader) => {
      const policies: string[] = [];
      while (!reader.done) policies.push(reader.enter(tag.sequence).oid());
      if (policies.length === 0) return 'a list of no policies';
      return new Set(policies).size < policies.length ? 'a policy is listed twice' : undefined;
    });
  },
};
