import { crlEntry, daysFromNow, testCrlRule } from '../../../../test/support/lint-fixture.ts';
import { der, generalizedTime, tag, time } from '../../../codec/index.ts';
import { crlEntryDates } from './crl-entry-dates.ts';

testCrlRule(crlEntryDates, {
  keeps: [['a date from 2050 on', { entries: [crlEntry({ date: time(new Date('2050-01-01T00:00:00Z')) })] }]],
  breaks: [
    [
      'a fraction',
      { entries: [crlEntry({ date: der(tag.generalizedTime, Buffer.from('20510101000000.5Z')) })] },
    ],
    [
      'GeneralizedTime before 2050',
      { entries: [crlEntry({}), crlEntry({ date: generalizedTime(daysFromNow(-1)) })] },
    ],
    [
      'UTCTime without seconds',
      { entries: [crlEntry({ date: der(tag.utcTime, Buffer.from('2611220000Z')) })] },
    ],
  ],
});
