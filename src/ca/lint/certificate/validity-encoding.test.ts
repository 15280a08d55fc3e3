import { daysFromNow, testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { der, generalizedTime, tag, time, utf8String } from '../../../codec/index.ts';
import { validityEncoding } from './validity-encoding.ts';

testCertificateRule(validityEncoding, {
  keeps: [
    ['the last second of UTCTime', { notAfter: time(new Date('2049-12-31T23:59:59Z')) }],
    ['the first second of GeneralizedTime', { notAfter: time(new Date('2050-01-01T00:00:00Z')) }],
    ['no well-defined end', { notAfter: der(tag.generalizedTime, Buffer.from('99991231235959Z')) }],
  ],
  breaks: [
    ['UTCTime without seconds', { notBefore: der(tag.utcTime, Buffer.from('2611220000Z')) }],
    ['UTCTime of another zone', { notBefore: der(tag.utcTime, Buffer.from('261122000000+0100')) }],
    ['GeneralizedTime before 2050', { notAfter: generalizedTime(daysFromNow(30)) }],
    [
      'GeneralizedTime with a fraction',
      { notAfter: der(tag.generalizedTime, Buffer.from('20510101000000.5Z')) },
    ],
    ['GeneralizedTime without Zulu', { notAfter: der(tag.generalizedTime, Buffer.from('20510101000000')) }],
    ['a text', { notAfter: utf8String('20510101000000Z') }],
  ],
});
