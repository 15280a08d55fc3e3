import { testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { integer } from '../../../codec/index.ts';
import { version } from './version.ts';

testCertificateRule(version, {
  keeps: [],
  breaks: [
    ['version 1', { version: undefined }],
    ['version 1 spelled out', { version: integer(0) }],
    ['version 2', { version: integer(1) }],
    ['version 4', { version: integer(3) }],
  ],
});
