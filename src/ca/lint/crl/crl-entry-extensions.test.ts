import { crlEntry, daysFromNow, reasonCode, testCrlRule } from '../../../../test/support/lint-fixture.ts';
import { der, generalizedTime, integer, oid, tag, time } from '../../../codec/index.ts';
import { crlEntryExtensions } from './crl-entry-extensions.ts';

const delta = { extensions: { more: { oid: oid.deltaCRLIndicator, critical: true, value: integer(3) } } };

testCrlRule(crlEntryExtensions, {
  keeps: [
    [
      'every reason',
      { entries: [1, 2, 3, 4, 5, 6, 9, 10].map((code) => crlEntry({ extensions: [reasonCode(code)] })) },
    ],
    ['removeFromCRL in a delta', { ...delta, entries: [crlEntry({ extensions: [reasonCode(8)] })] }],
    [
      'an invalidity date',
      {
        entries: [
          crlEntry({
            extensions: [
              reasonCode(1),
              { oid: oid.invalidityDate, critical: false, value: generalizedTime(daysFromNow(-9)) },
            ],
          }),
        ],
      },
    ],
  ],
  breaks: [
    ['unspecified spelled out', { entries: [crlEntry({ extensions: [reasonCode(0)] })] }],
    ['reason 7', { entries: [crlEntry({ extensions: [reasonCode(7)] })] }],
    ['reason 11', { entries: [crlEntry({ extensions: [reasonCode(11)] })] }],
    ['removeFromCRL in a full CRL', { entries: [crlEntry({ extensions: [reasonCode(8)] })] }],
    [
      'a reason that is an INTEGER',
      { entries: [crlEntry({ extensions: [{ ...reasonCode(1), value: integer(1) }] })] },
    ],
    ['a critical reason', { entries: [crlEntry({ extensions: [{ ...reasonCode(1), critical: true }] })] }],
    ['a reason twice', { entries: [crlEntry({ extensions: [reasonCode(1), reasonCode(1)] })] }],
    ['an empty list', { entries: [crlEntry({ extensions: [] })] }],
    [
      'an extension that no reader knows',
      { entries: [crlEntry({ extensions: [{ oid: '1.2.3', critical: false, value: integer(1) }] })] },
    ],
    [
      'an invalidity date with a fraction',
      {
        entries: [
          crlEntry({
            extensions: [
              {
                oid: oid.invalidityDate,
                critical: false,
                value: der(tag.generalizedTime, Buffer.from('20260101000000.5Z')),
              },
            ],
          }),
        ],
      },
    ],
    [
      'an invalidity date in UTCTime',
      {
        entries: [
          crlEntry({
            extensions: [{ oid: oid.invalidityDate, critical: false, value: time(daysFromNow(-9)) }],
          }),
        ],
      },
    ],
    [
      'the last entry of many',
      {
        entries: [
          ...Array.from({ length: 50 }, () => crlEntry({ extensions: [reasonCode(4)] })),
          crlEntry({ extensions: [reasonCode(7)] }),
        ],
      },
    ],
  ],
});
