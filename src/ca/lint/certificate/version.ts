/** RFC 5280 §4.1.2.1: the version. */
import { hex } from '../../../codec/index.ts';
import type { CertificateRule } from '../rule.ts';

/** Version 3, since there are extensions. */
export const version: CertificateRule = {
  name: 'version',
  severity: 'error',
  citation: 'RFC 5280 §4.1.2.1',
  requires: 'The version is 3.',
  check: ({ elements }) =>
    elements.version !== undefined && hex(elements.version) === '020102' ? undefined : 'the version is not 3',
};
