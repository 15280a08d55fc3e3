import { testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import {
  der,
  type Extension,
  keyUsageExtension,
  nullValue,
  objectIdentifier,
  octetString,
  sequence,
  tag,
} from '../../../codec/index.ts';
import { extensions } from './extensions.ts';

const unknown: Extension = { oid: '1.2.3', critical: false, value: nullValue };

testCertificateRule(extensions, {
  keeps: [['what no reader knows', { extensions: { more: unknown } }]],
  breaks: [
    ['no extensions', { hasExtensions: false }],
    ['one extension twice', { extensions: { more: keyUsageExtension(['digitalSignature']) } }],
    ['what no reader knows, twice', { extensions: { one: unknown, two: unknown } }],
    [
      'a criticality that is spelled out',
      {
        extensions: {
          more: sequence(
            objectIdentifier('1.2.3'),
            der(tag.boolean, Uint8Array.of(0)),
            octetString(nullValue),
          ),
        },
      },
    ],

    [
      'an empty list',
      {
        extensions: {
          basicConstraints: undefined,
          keyUsage: undefined,
          extKeyUsage: undefined,
          subjectAltName: undefined,
          subjectKeyIdentifier: undefined,
          authorityKeyIdentifier: undefined,
          crl: undefined,
          access: undefined,
        },
      },
    ],
  ],
});
