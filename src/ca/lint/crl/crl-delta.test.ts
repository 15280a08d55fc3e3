import { testCrlRule } from '../../../../test/support/lint-fixture.ts';
import { crlDistributionPointsExtension, type Extension, integer, oid } from '../../../codec/index.ts';
import { crlDelta } from './crl-delta.ts';

const base = (number: number): Extension => ({
  oid: oid.deltaCRLIndicator,
  critical: true,
  value: integer(number),
});

testCrlRule(crlDelta, {
  keeps: [
    ['a delta that comes with its base', { extensions: { more: base(7) } }],
    ['a delta to an older CRL', { extensions: { more: base(6) } }],
  ],
  breaks: [
    ['a delta to a newer CRL', { extensions: { more: base(8) } }],
    ['a delta without a number', { extensions: { crlNumber: undefined, more: base(1) } }],
    [
      'a delta that points to deltas',
      {
        extensions: {
          more: base(6),
          freshest: { ...crlDistributionPointsExtension(['http://a.test/']), oid: oid.freshestCRL },
        },
      },
    ],
  ],
});
