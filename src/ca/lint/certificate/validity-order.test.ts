import { daysFromNow, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { time } from '../../../codec/index.ts';
import { validityOrder } from './validity-order.ts';

testCertificateRule(validityOrder, {
  keeps: [],
  breaks: [
    ['an end before the beginning', { notBefore: time(daysFromNow(2)), notAfter: time(daysFromNow(1)) }],
    ['an end at the beginning', { notBefore: time(daysFromNow(1)), notAfter: time(daysFromNow(1)) }],
  ],
});
