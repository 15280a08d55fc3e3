import { testCertificateRule } from '../../../../test/support/lint-fixture.ts';
import { der, objectIdentifier, octetString, oid, sequence, setOf, tag } from '../../../codec/index.ts';
import { readable } from './readable.ts';

testCertificateRule(readable, {
  keeps: [],
  breaks: [
    ['a month that does not exist', { notAfter: der(tag.utcTime, Buffer.from('301301000000Z')) }],
    [
      'a name that is not UTF-8',
      {
        subject: sequence(
          setOf([sequence(objectIdentifier(oid.commonName), der(tag.utf8String, Uint8Array.of(0xc3)))]),
        ),
      },
    ],
    ['an RDN of nothing', { subject: sequence(setOf([])) }],
    [
      'over 64 KiB',
      { extensions: { more: { oid: '1.2.3', critical: false, value: octetString(Buffer.alloc(65_536)) } } },
    ],
  ],
});
