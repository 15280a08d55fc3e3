/** RFC 5280 §5.1.2.1: the version. */
import { hex } from '../../../codec/index.ts';
import type { CrlRule } from '../rule.ts';

/** Version 2, since there are extensions. */
export const crlVersion: CrlRule = {
  name: 'crl_version',
  severity: 'error',
  citation: 'RFC 5280 §5.1.2.1',
  requires: 'The version is v2(1).',
  check: ({ elements }) =>
    elements.version !== undefined && hex(elements.version) === '01' ? undefined : 'the version is not v2(1)',
};
