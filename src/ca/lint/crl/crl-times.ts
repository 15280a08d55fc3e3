/** RFC 5280 §5.1.2.4, §5.1.2.5: how times are written. */
import { faultOfTime } from '../elements.ts';
import type { CrlRule } from '../rule.ts';

/** One way to write each instant. */
export const crlTimes: CrlRule = {
  name: 'crl_times',
  severity: 'error',
  citation: 'RFC 5280 §5.1.2.4, §5.1.2.5',
  requires:
    'Times are UTCTime through 2049 and GeneralizedTime from 2050 on, to the second, in Zulu, without fractions.',
  check: ({ elements }) =>
    faultOfTime('thisUpdate', elements.thisUpdate) ??
    (elements.nextUpdate === undefined ? undefined : faultOfTime('nextUpdate', elements.nextUpdate)),
};
