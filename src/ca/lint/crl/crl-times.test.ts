import { daysFromNow, testCrlRule } from '../../../../test/support/lint-fixture.ts';
import { der, generalizedTime, tag, time, utf8String } from '../../../codec/index.ts';
import { crlTimes } from './crl-times.ts';

testCrlRule(crlTimes, {
  keeps: [['a distant nextUpdate', { nextUpdate: time(new Date('2050-01-01T00:00:00Z')) }]],
  breaks: [
    ['UTCTime without seconds', { thisUpdate: der(tag.utcTime, Buffer.from('2611220000Z')) }],
    ['UTCTime of another zone', { thisUpdate: der(tag.utcTime, Buffer.from('261122000000+0100')) }],
    ['GeneralizedTime before 2050', { nextUpdate: generalizedTime(daysFromNow(30)) }],
    [
      'GeneralizedTime with a fraction',
      { nextUpdate: der(tag.generalizedTime, Buffer.from('20510101000000.5Z')) },
    ],
    ['GeneralizedTime without Zulu', { nextUpdate: der(tag.generalizedTime, Buffer.from('20510101000000')) }],
    ['a text', { thisUpdate: utf8String('20510101000000Z') }],
  ],
});
