import { testCrlRule } from '../../../../test/support/lint-fixture.ts';
import { crlEntries } from './crl-entries.ts';

testCrlRule(crlEntries, {
  keeps: [['no list', { entries: undefined }]],
  breaks: [['an empty list', { entries: [] }]],
});
