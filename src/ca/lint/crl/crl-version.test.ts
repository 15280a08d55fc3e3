import { testCrlRule } from '../../../../test/support/lint-fixture.ts';
import { integer } from '../../../codec/index.ts';
import { crlVersion } from './crl-version.ts';

testCrlRule(crlVersion, {
  keeps: [],
  breaks: [
    ['version 1', { version: undefined }],
    ['version 1 spelled out', { version: integer(0) }],
    ['version 3', { version: integer(2) }],
  ],
});
