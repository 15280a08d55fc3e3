import { testCrlRule } from '../../../../test/support/lint-fixture.ts';
import {
  crlNumberExtension,
  der,
  type Extension,
  integer,
  nullValue,
  objectIdentifier,
  octetString,
  oid,
  sequence,
  tag,
} from '../../../codec/index.ts';
import { crlExtensions } from './crl-extensions.ts';

const unknown: Extension = { oid: '1.2.3', critical: false, value: nullValue };

testCrlRule(crlExtensions, {
  keeps: [
    ['what no reader knows', { extensions: { more: unknown } }],
    [
      'a critical deltaCRLIndicator',
      { extensions: { more: { oid: oid.deltaCRLIndicator, critical: true, value: integer(1) } } },
    ],
  ],
  breaks: [
    ['no extensions', { hasExtensions: false }],
    ['one extension twice', { extensions: { more: crlNumberExtension(8) } }],
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
      'a deltaCRLIndicator that is not critical',
      { extensions: { more: { oid: oid.deltaCRLIndicator, critical: false, value: integer(1) } } },
    ],
    [
      'an issuingDistributionPoint that is not critical',
      { extensions: { more: { oid: oid.issuingDistributionPoint, critical: false, value: sequence() } } },
    ],
    ['a critical cRLNumber', { extensions: { crlNumber: { ...crlNumberExtension(7), critical: true } } }],
    ['a critical extension that no reader knows', { extensions: { more: { ...unknown, critical: true } } }],
  ],
});
