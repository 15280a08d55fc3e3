import { daysFromNow, testCrlRule } from '../../../../test/support/lint-fixture.ts';
import { time } from '../../../codec/index.ts';
import { crlNextUpdate } from './crl-next-update.ts';

testCrlRule(crlNextUpdate, {
  keeps: [],
  breaks: [
    ['none', { nextUpdate: undefined }],
    ['one at thisUpdate', { nextUpdate: time(daysFromNow(-1)) }],
    ['one before thisUpdate', { nextUpdate: time(daysFromNow(-2)) }],
  ],
});
