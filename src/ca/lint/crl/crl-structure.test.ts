import { crlEntry, daysFromNow, testCrlRule } from '../../../../test/support/lint-fixture.ts';
import { integer, objectIdentifier, oid, sequence, time } from '../../../codec/index.ts';
import { crlStructure } from './crl-structure.ts';

testCrlRule(crlStructure, {
  keeps: [],
  breaks: [
    ['an entry without a date', { entries: [sequence(integer(1))] }],
    [
      'an entry with something after its extensions',
      { entries: [sequence(integer(1), time(daysFromNow(-1)), sequence(), integer(1))] },
    ],
    [
      'an entry extension without a value',
      { entries: [crlEntry({ extensions: [sequence(objectIdentifier(oid.reasonCode))] })] },
    ],
    ['no issuer', { issuerName: integer(1) }],
    ['an entry that is a number', { entries: [integer(1)] }],
  ],
});
