import { testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { extKeyUsageExtension, oid } from '../../../codec/index.ts';
import { extendedKeyUsage } from './extended-key-usage.ts';

testCertificateRule(extendedKeyUsage, {
  keeps: [
    [
      'a CA for two purposes',
      { role: 'ca', extensions: { extKeyUsage: extKeyUsageExtension([oid.clientAuth, oid.serverAuth]) } },
    ],
    [
      'a CA for any purpose',
      { role: 'ca', extensions: { extKeyUsage: extKeyUsageExtension([oid.anyExtendedKeyUsage]) } },
    ],
  ],
  breaks: [
    ['none', { extensions: { extKeyUsage: undefined } }],
    ['an empty list', { extensions: { extKeyUsage: extKeyUsageExtension([]) } }],
    ['an empty list in a CA', { role: 'ca', extensions: { extKeyUsage: extKeyUsageExtension([]) } }],
    [
      'any purpose',
      { extensions: { extKeyUsage: extKeyUsageExtension([oid.clientAuth, oid.anyExtendedKeyUsage]) } },
    ],
    [
      'a purpose twice',
      { extensions: { extKeyUsage: extKeyUsageExtension([oid.clientAuth, oid.clientAuth]) } },
    ],
  ],
});
