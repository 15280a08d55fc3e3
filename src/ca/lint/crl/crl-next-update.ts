/** RFC 5280 §5.1.2.5: until when the CRL counts. */
import { DerReader } from '../../../codec/index.ts';
import type { CrlRule } from '../rule.ts';

/** Without it nobody knows that a newer one is overdue. */
export const crlNextUpdate: CrlRule = {
  name: 'crl_next_update',
  severity: 'error',
  citation: 'RFC 5280 §5.1.2.5',
  requires: 'nextUpdate is there, and lies after thisUpdate.',
  check: ({ elements: { thisUpdate, nextUpdate } }) => {
    if (nextUpdate === undefined) return 'nextUpdate is missing';
    return new DerReader(thisUpdate.raw).time() < new DerReader(nextUpdate.raw).time()
      ? undefined
      : 'nextUpdate is not after thisUpdate';
  },
};
