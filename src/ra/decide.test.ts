import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  clientTemplate,
  newEcKey,
  newRsaKey,
  type RequestFields,
  requestOf,
} from '../../test/support/authorities-fixture.ts';
import type { CertificateTemplate } from '../ca/index.ts';
import {
  type CertificationRequest,
  caBasicConstraintsExtension,
  der,
  type Extension,
  extKeyUsageExtension,
  type GeneralName,
  keyUsageExtension,
  nameFromString,
  nameToString,
  octetString,
  oid,
  parseCertificationRequest,
  sequence,
  subjectAltNameExtension,
  utf8String,
} from '../codec/index.ts';
import { decide } from './decide.ts';
import type { Verdict } from './validator.ts';

const accept: Verdict = { verdict: 'accept', names: 'vouched' };
const claimed: Verdict = { verdict: 'accept', names: 'claimed' };
const refuse: Verdict = { verdict: 'refuse', code: 'challenge_expired', detail: 'too late' };
const otherRefuse: Verdict = { verdict: 'refuse', code: 'device_unknown', detail: 'who' };
const unreachable: Verdict = { verdict: 'unreachable', detail: 'no route' };

const request = async (fields: RequestFields = {}) => parseCertificationRequest(await requestOf(fields));
const good = await request();
const subject = nameFromString('CN=device-1,O=Test');
const names = (...list: GeneralName[]): RequestFields => ({
  extensions: [subjectAltNameExtension(list, subject)],
});
const extension = (identifier: string, value: Uint8Array, critical = false): Extension => ({
  oid: identifier,
  critical,
  value,
});

describe('verdicts combine with AND, and none is a no', () => {
  const rows: readonly (readonly [name: string, verdicts: readonly Verdict[], want: object])[] = [
    ['none', [], { decision: 'refuse', code: 'template_denied' }],
    ['one yes', [accept], { decision: 'approve' }],
    ['two yes', [accept, accept], { decision: 'approve' }],
    ['one no', [refuse], { decision: 'refuse', code: 'challenge_expired', detail: 'too late' }],
    ['yes, no', [accept, refuse], { decision: 'refuse', code: 'challenge_expired' }],
    ['no, yes', [refuse, accept], { decision: 'refuse', code: 'challenge_expired' }],
    ['the first no counts', [otherRefuse, refuse], { decision: 'refuse', code: 'device_unknown' }],
    ['unreachable', [unreachable], { decision: 'postpone', detail: 'no route' }],
    ['yes, unreachable', [accept, unreachable], { decision: 'postpone' }],
    ['unreachable, yes', [unreachable, accept], { decision: 'postpone' }],
    ['a no is final though another cannot be asked', [unreachable, refuse], { decision: 'refuse' }],
    ['yes, unreachable, no', [accept, unreachable, refuse], { decision: 'refuse' }],
    ['something else', [{ verdict: 'maybe' } as unknown as Verdict], { decision: 'refuse' }],
    ['yes, something else', [accept, { verdict: 'maybe' } as unknown as Verdict], { decision: 'refuse' }],
    ['something else, yes', [{ verdict: 'Accept' } as unknown as Verdict, accept], { decision: 'refuse' }],
    ['an empty object', [{} as Verdict], { decision: 'refuse', code: 'template_denied' }],
  ];
  for (const [name, verdicts, want] of rows) {
    test(name, () => assert.partialDeepStrictEqual(decide(clientTemplate, good, verdicts), want));
  }
});

describe('what is asked lies within the template, or is refused', () => {
  const everything: CertificateTemplate = {
    ...clientTemplate,
    keyAlgorithms: ['rsa', 'P-256'],
    extKeyUsage: [oid.clientAuth, oid.serverAuth],
    keyUsage: ['digitalSignature', 'keyEncipherment'],
  };
  const rows: readonly (readonly [
    name: string,
    code: string,
    fields: () => Promise<RequestFields> | RequestFields,
    template?: CertificateTemplate,
  ])[] = [
    ['RSA-1024', 'key_size_mismatch', async () => ({ key: await newRsaKey(1024) })],
    ['a key on a curve', 'key_algorithm', async () => ({ key: await newEcKey() })],
    ['no subject', 'subject_missing', () => ({ subject: '' })],
    ['no subjectAltName', 'san_missing', () => ({}), { ...clientTemplate, subjectAltName: 'required' }],
    ['an address', 'san_mismatch', () => names({ type: 'iPAddress', value: '192.0.2.1' })],
    [
      'a directory name',
      'san_mismatch',
      () => names({ type: 'directoryName', name: nameFromString('CN=administrator') }),
    ],
    [
      'a name of another kind behind a good one',
      'san_mismatch',
      () => names({ type: 'dNSName', value: 'a.test' }, { type: 'other', raw: der(0x88, Uint8Array.of(42)) }),
    ],
    ['another purpose', 'eku_mismatch', () => ({ extensions: [extKeyUsageExtension([oid.serverAuth])] })],
    [
      'another purpose beside the right one',
      'eku_mismatch',
      () => ({ extensions: [extKeyUsageExtension([oid.clientAuth, oid.codeSigning])] }),
    ],
    [
      'any purpose',
      'eku_mismatch',
      () => ({ extensions: [extKeyUsageExtension([oid.anyExtendedKeyUsage])] }),
    ],
    [
      'the RA’s own purpose',
      'eku_mismatch',
      () => ({ extensions: [extKeyUsageExtension([oid.certificateRequestAgent])] }),
      everything,
    ],
    [
      'only bits beyond the template',
      'key_usage_mismatch',
      () => ({ extensions: [keyUsageExtension(['keyCertSign', 'cRLSign'])] }),
    ],
    ['no bits', 'key_usage_mismatch', () => ({ extensions: [keyUsageExtension([])] })],
    [
      'an unreadable subjectAltName',
      'der_malformed',
      () => ({ extensions: [extension(oid.subjectAltName, Uint8Array.of(0x30, 1))] }),
    ],
    [
      'an empty subjectAltName',
      'der_malformed',
      () => ({ extensions: [extension(oid.subjectAltName, sequence())] }),
    ],
    [
      'an unreadable extKeyUsage',
      'der_malformed',
      () => ({ extensions: [extension(oid.extKeyUsage, utf8String(oid.clientAuth))] }),
    ],
    ['an empty extKeyUsage', 'der_malformed', () => ({ extensions: [extKeyUsageExtension([])] })],
    [
      'an unreadable keyUsage',
      'der_malformed',
      () => ({ extensions: [extension(oid.keyUsage, octetString(Uint8Array.of(0x80)))] }),
    ],
    [
      'a hundred and one names',
      'der_limit',
      () =>
        names(...Array.from({ length: 101 }, (_, n) => ({ type: 'dNSName', value: `a${n}.test` }) as const)),
    ],
  ];
  for (const [name, code, fields, template = clientTemplate] of rows) {
    test(`${name} is ${code}`, async () => {
      assert.partialDeepStrictEqual(decide(template, await request(await fields()), [accept]), {
        decision: 'refuse',
        code,
      });
    });
  }

  test('a proof of possession that fails is csr_signature, whatever the validators say', async () => {
    const octets = Buffer.from(await requestOf({}));
    octets[octets.length - 1] = (octets.at(-1) as number) ^ 1;
    assert.partialDeepStrictEqual(decide(clientTemplate, parseCertificationRequest(octets), [accept]), {
      decision: 'refuse',
      code: 'csr_signature',
    });
  });

  test('a subject that has no proper encoding is refused, not thrown', async () => {
    // RFC 5280 §7.5: a mailbox travels in ASCII; here it comes as UTF8String.
    const info = await request();
    const mailbox: CertificationRequest = {
      ...info,
      subject: { raw: info.subject.raw, rdns: [[{ oid: oid.emailAddress, value: 'ä@test' }]] },
    };
    assert.partialDeepStrictEqual(decide(clientTemplate, mailbox, [accept]), {
      decision: 'refuse',
      code: 'name_malformed',
    });
  });
});

describe('names that Windows maps to an account need a validator’s word', () => {
  const accounts: readonly GeneralName[] = [
    { type: 'userPrincipalName', value: 'administrator@test' },
    { type: 'uniformResourceIdentifier', value: 'tag:microsoft.com,2022-09-14:sid:S-1-5-21-1-2-3-500' },
    { type: 'uniformResourceIdentifier', value: 'TAG:Microsoft.com,2022-09-14:sid:S-1-5-21-1-2-3-500' },
  ];
  for (const account of accounts) {
    test(`${'value' in account ? account.value : ''}`, async () => {
      const csr = await request(names({ type: 'dNSName', value: 'a.test' }, account));
      assert.partialDeepStrictEqual(decide(clientTemplate, csr, [claimed]), {
        decision: 'refuse',
        code: 'san_mismatch',
      });
      assert.equal(decide(clientTemplate, csr, [accept]).decision, 'approve');
      assert.equal(decide(clientTemplate, csr, [claimed, accept]).decision, 'approve');
    });
  }
});

describe('what is approved', () => {
  test('is the request’s own, within the template', async () => {
    const san: GeneralName[] = [
      { type: 'dNSName', value: 'device-1.test' },
      { type: 'rfc822Name', value: 'device-1@test' },
    ];
    const decision = decide(
      clientTemplate,
      await request({
        extensions: [
          subjectAltNameExtension(san, subject),
          keyUsageExtension(['digitalSignature', 'keyEncipherment', 'keyCertSign']),
          extKeyUsageExtension([oid.clientAuth, oid.clientAuth]),
        ],
      }),
      [
        { ...accept, device: '' },
        { ...claimed, device: 'device-1' },
        { ...claimed, device: 'device-2' },
      ],
    );
    assert.equal(decision.decision, 'approve');
    assert.equal(nameToString(decision.subject), 'CN=device-1,O=Test');
    assert.deepEqual(decision.subjectAltName, san);
    assert.deepEqual(decision.keyUsage, ['digitalSignature']);
    assert.deepEqual(decision.extKeyUsage, [oid.clientAuth]);
    assert.deepEqual(decision.ignored, ['keyEncipherment', 'keyCertSign']);
    assert.equal(decision.device, '');
  });

  test('has no parts that were not asked for', async () => {
    const decision = decide(clientTemplate, good, [accept]);
    assert.equal(decision.decision, 'approve');
    assert.deepEqual(decision.subjectAltName, []);
    assert.ok(!('keyUsage' in decision) && !('extKeyUsage' in decision));
    assert.equal(decision.device, '');
    assert.deepEqual(decision.ignored, []);
  });

  test('names every extension that is dropped', async () => {
    const dropped = [
      caBasicConstraintsExtension(),
      extension(oid.microsoftSecurityIdentifier, octetString(Buffer.from('S-1-5-21-1-2-3-500'))),
      extension(oid.nameConstraints, sequence(), true),
      extension('1.3.6.1.4.1.311.20.2', utf8String('User')),
      extension('1.3.6.1.4.1.311.21.7', sequence()),
      extension(oid.certificatePolicies, sequence()),
      extension('1.2.3.4.5', Uint8Array.of(5, 0), true),
    ];
    const decision = decide(clientTemplate, await request({ extensions: dropped }), [accept]);
    assert.equal(decision.decision, 'approve');
    assert.deepEqual(
      decision.ignored,
      dropped.map(({ oid: identifier }) => identifier),
    );
  });

  test('is built anew: the subject has the string types of RFC 5280, whatever the client wrote', async () => {
    const raw = Buffer.from(good.subject.raw);
    // UTF8String (0c) becomes TeletexString (14), which RFC 5280 §4.1.2.4 forbids in new certificates.
    const teletex = Buffer.from(raw.map((octet) => (octet === 0x0c ? 0x14 : octet)));
    const decision = decide(clientTemplate, { ...good, subject: { ...good.subject, raw: teletex } }, [
      accept,
    ]);
    assert.equal(decision.decision, 'approve');
    assert.deepEqual(Buffer.from(decision.subject.raw), raw);
    assert.notEqual(decision.subject.raw, good.subject.raw);
  });
});
