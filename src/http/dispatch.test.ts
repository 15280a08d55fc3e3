import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import {
  auditIn,
  certificates,
  certRepIn,
  DAY_MS,
  type EndpointName,
  enrolled,
  envelopeOf,
  FixtureClock,
  type HttpAnswer,
  keys,
  type MessageFields,
  type MessageSigner,
  messageOf,
  newRsaKey,
  openTestServer,
  publishedCrl,
  recordsIn,
  requestOf,
  selfSigned,
  staticSecret,
  type TestServer,
} from '../../test/support/authorities-fixture.ts';
import {
  integer,
  nameFromString,
  octetString,
  oid,
  openEnvelopedData,
  parseCertificationRequest,
  parseCrl,
  parseEnvelopedData,
  parseSignedData,
  printableString,
  sequence,
  tag,
  utf8String,
  verifyCrlSignature,
} from '../codec/index.ts';
import type { ErrorCode } from '../errors.ts';
import {
  buildAttributes,
  buildIssuerAndSerialNumber,
  buildIssuerAndSubject,
  type CertRep,
  type MessageType,
} from '../scep/index.ts';

const clock = new FixtureClock();
let server: TestServer;
/** Two devices with certificates of this CA. */
let device: MessageSigner;
let other: MessageSigner;

before(async () => {
  server = await openTestServer({
    clock,
    renewal: { challenge: 'notNeeded', key: 'changedOrSame', names: 'asBefore', windowMs: 365 * DAY_MS },
  });
  device = await enrolled(server, { key: keys.device });
  other = await enrolled(server, { key: keys.other });
});
after(() => server.close());

/** Sends a message and reads the CertRep, whatever it says. */
async function ask(
  messageType: MessageType,
  content: Uint8Array,
  fields: MessageFields & { readonly endpoint?: EndpointName } = {},
): Promise<CertRep & { readonly answer: HttpAnswer }> {
  const { endpoint = 'static', ...rest } = fields;
  const senderNonce = randomBytes(16);
  const message = { csr: content, messageType, signer: device, senderNonce, ...rest };
  const answer = await server.post(endpoint, await messageOf(message));
  assert.equal(answer.status, 200, answer.body.toString());
  return { ...(await certRepIn(answer, message)), answer };
}

/** The text of a FAILURE without its reference, and the code that the reference leads to. */
async function refusalIn(certRep: CertRep): Promise<readonly [failInfo: string, text: string, code: string]> {
  assert.equal(certRep.pkiStatus, 'FAILURE', JSON.stringify(certRep));
  const [, text = '', reference] = /^(.*) \((LG-[A-Z0-9]{8})\)$/.exec(certRep.failInfoText ?? '') ?? [];
  const [entry] = await auditIn(server, 1);
  assert.equal(entry?.reference, reference);
  return [certRep.failInfo, text, entry?.code ?? ''];
}

describe('messageType', () => {
  const printable = (octets: Uint8Array) => Uint8Array.of(tag.printableString, octets.length, ...octets);
  const ascii = (text: string) => printable(Buffer.from(text, 'latin1'));
  const unsupported = 'message_type_unsupported';
  const unreadable = 'der_malformed';

  /** Values of the attribute, and the code of the refusal: none of them is taken for 17 or 19. */
  const rows: (readonly [
    name: string,
    values: readonly Uint8Array[] | undefined,
    code: ErrorCode | RegExp,
  ])[] = [];
  for (let octet = 0; octet < 256; octet += 1) {
    rows.push([`the octet ${octet}`, [printable(Uint8Array.of(octet))], /^(message_type_unsupported|der_)/]);
    const decimal = String(octet);
    const known: Readonly<Record<string, ErrorCode>> = {
      20: 'certificate_unknown',
      21: 'certificate_unknown',
      22: 'certificate_unknown',
    };
    if (decimal !== '17' && decimal !== '19')
      rows.push([`the number ${octet}`, [ascii(decimal)], known[decimal] ?? unsupported]);
  }
  const odd = [
    '',
    '019',
    '0019',
    '+19',
    '-19',
    '19 ',
    ' 19',
    '1 9',
    '19.',
    '19.0',
    '1e1',
    '0x13',
    '13h',
    '19\0',
  ];
  const long = ['191', '1919', '19,17', '19\r\n', '4294967315', '18446744073709551635', '9'.repeat(100)];
  const words = ['PKCSReq', 'RenewalReq', 'pkcsreq', 'XIX'];
  for (const text of [...odd, ...long, ...words]) rows.push([`“${text}”`, [ascii(text)], /./]);
  rows.push(
    ['19 as UTF8String', [utf8String('19')], unreadable],
    ['19 as IA5String', [Uint8Array.of(0x16, 2, 0x31, 0x39)], unreadable],
    ['19 as INTEGER', [integer(19)], unreadable],
    ['19 as OCTET STRING', [octetString(Buffer.from('19'))], unreadable],
    ['19 in a SEQUENCE', [sequence(printableString('19'))], unreadable],
    ['19 and an octet behind it', [Buffer.concat([printableString('19'), Uint8Array.of(0)])], /./],
    ['19 twice', [printableString('19'), printableString('19')], 'cms_malformed'],
    ['19 and 3', [printableString('19'), printableString('3')], 'cms_malformed'],
    ['no value', [], 'cms_malformed'],
    ['no attribute', undefined, 'scep_attributes'],
  );

  /** A request that either of the two types gets a certificate for. */
  const send = async (name: string, values: readonly Uint8Array[] | undefined) => {
    const senderNonce = randomBytes(16);
    const transactionID = `type ${name}`.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 200);
    const usual = buildAttributes({ messageType: 'PKCSReq', transactionID, senderNonce });
    const attributes = [
      ...usual.filter((attribute) => attribute.oid !== oid.scepMessageType),
      ...(values === undefined ? [] : [{ oid: oid.scepMessageType, values }]),
    ];
    const csr = await requestOf({ challengePassword: staticSecret });
    const message = await messageOf({ attributes, signer: device, envelope: envelopeOf({ csr }) });
    const answer = await server.post('static', message);
    return { answer, read: () => certRepIn(answer, { senderNonce, transactionID, signer: device }) };
  };

  test('PKCSReq and RenewalReq alone lead to a certificate; every other value has its answer', async () => {
    const issuedBefore = (await recordsIn(server)).length;
    for (const [name, values, code] of rows) {
      const { answer, read } = await send(name, values);
      if (answer.status === 400) {
        // The attributes as a whole could not be read, so that there is no transactionID to answer to.
        assert.match(answer.body.toString(), /^no PKIMessage/, name);
        continue;
      }
      assert.equal(answer.status, 200, name);
      const certRep = await read();
      assert.equal(certRep.pkiStatus, 'FAILURE', name);
      const [entry] = await auditIn(server, 1);
      if (typeof code === 'string') assert.equal(entry?.code, code, name);
      else assert.match(entry?.code ?? '', code, name);
    }
    assert.equal((await recordsIn(server)).length, issuedBefore, 'something was issued');
    for (const type of ['17', '19']) {
      const { read } = await send(type, [ascii(type)]);
      assert.equal((await read()).pkiStatus, 'SUCCESS', type);
    }
    assert.equal((await recordsIn(server)).length, issuedBefore + 1, 'the same request, by either type');
  });
});

describe('CertPoll', () => {
  const asked = () =>
    buildIssuerAndSubject({
      issuer: certificates.issuing.subject,
      subject: nameFromString('CN=device-1,O=Test'),
    });

  test('without a request that waits is badCertId', async () => {
    for (const endpoint of ['static', 'manual'] as const) {
      const certRep = await ask('CertPoll', asked(), { endpoint, transactionID: 'never seen' });
      assert.deepEqual(await refusalIn(certRep), [
        'badCertId',
        'no certificate matches the identifier',
        'certificate_unknown',
      ]);
    }
  });

  test('gets PENDING until the request is approved, and then its certificate, once', async () => {
    const transactionID = 'waits';
    const csr = await requestOf({ key: keys.other });
    const first = await selfSigned(keys.other);
    const fields = { endpoint: 'manual', signer: first, transactionID } as const;
    const issuedBefore = (await recordsIn(server)).length;
    const pending = await ask('PKCSReq', csr, fields);
    assert.equal(pending.pkiStatus, 'PENDING');
    assert.equal(parseSignedData(pending.answer.body).content?.length ?? 0, 0, 'there is an envelope');
    // What is in the envelope decides nothing (§4.4), and says nothing of anybody else’s.
    for (const content of [asked(), csr, Uint8Array.of(), randomBytes(32)])
      assert.equal((await ask('CertPoll', content, fields)).pkiStatus, 'PENDING');
    const stranger = await selfSigned(await newRsaKey());
    for (const wrong of [
      { ...fields, signer: stranger },
      { ...fields, transactionID: 'other' },
      { ...fields, endpoint: 'asked' as const },
    ]) {
      const [failInfo] = await refusalIn(await ask('CertPoll', asked(), wrong));
      assert.equal(failInfo, 'badCertId');
    }
    assert.equal((await recordsIn(server)).length, issuedBefore);
    const [held] = await server.store.heldRequests({ limit: 1 });
    assert.ok(held);
    await server.store.decideRequest({
      id: held.id,
      status: 'approved',
      at: clock.now(),
      by: 'manager',
      comment: '',
      audit: {
        at: clock.now(),
        event: 'enrolment.approved',
        actor: 'manager',
        reference: '',
        code: '',
        text: '',
        detail: {},
      },
    });
    const serials = new Set<string>();
    for (let time = 0; time < 3; time += 1) {
      const certRep = await ask('CertPoll', asked(), fields);
      assert.equal(certRep.pkiStatus, 'SUCCESS', JSON.stringify(certRep));
      const [certificate] = certRep.certificates;
      assert.deepEqual(certificate?.spki, parseCertificationRequest(csr).spki);
      serials.add(certificate?.serialNumber ?? '');
    }
    assert.equal(serials.size, 1);
    assert.equal((await recordsIn(server)).length, issuedBefore + 1);
  });

  test('without an envelope, or in a cipher that is refused, has an answer', async () => {
    const none = await ask('CertPoll', asked(), { envelope: undefined });
    assert.equal((await refusalIn(none))[2], 'scep_envelope');
    const weak = await ask('CertPoll', asked(), { cipher: 'des-cbc' });
    assert.equal((await refusalIn(weak))[0], 'badAlg');
  });
});

describe('GetCert and GetCRL', () => {
  const about = (serialNumber: string, issuer = certificates.issuing.subject) =>
    buildIssuerAndSerialNumber({ issuer, serialNumber });
  const numberOf = ({ certificate }: MessageSigner) => certificate.serialNumber;
  /** A device whose certificate is revoked, held or expired. */
  const spoilt = async (reason: 'keyCompromise' | 'certificateHold') => {
    const signer = await enrolled(server, { key: await newRsaKey() });
    const serialNumber = numberOf(signer);
    await server.ca.revoke({ issuer: 'issuing', serialNumber, reason, actor: 'test', text: '' });
    return signer;
  };

  test('GetCert shows a device with a certificate any certificate of the same CA', async () => {
    for (const wanted of [device, other]) {
      const certRep = await ask('GetCert', about(numberOf(wanted)));
      assert.equal(certRep.pkiStatus, 'SUCCESS');
      assert.deepEqual(
        certRep.certificates.map(({ raw }) => Buffer.from(raw)),
        [Buffer.from(wanted.certificate.raw)],
      );
    }
  });

  test('GetCRL gives the CRL that the certificate would stand in', async () => {
    const revoked = await spoilt('keyCompromise');
    await publishedCrl(server.ca);
    for (const wanted of [numberOf(device), numberOf(revoked)]) {
      const { answer } = await ask('GetCRL', about(wanted));
      const envelope = parseEnvelopedData(parseSignedData(answer.body).content as Uint8Array);
      const content = await openEnvelopedData(envelope, (transport, key) =>
        device.key.decrypt(transport, key),
      );
      const { certificates: enclosed, crls } = parseSignedData(content);
      assert.deepEqual([enclosed.length, crls.length], [0, 1]);
      const crl = parseCrl(crls[0] as Uint8Array);
      assert.ok(verifyCrlSignature(crl, certificates.issuing.spki));
      assert.ok(crl.revoked.some(({ serialNumber }) => serialNumber === numberOf(revoked)));
    }
  });

  test('a CRL that is too long for it is not served this way', async () => {
    const newest = await publishedCrl(server.ca);
    await server.store.recordCrl({ ...newest, crlNumber: 1_000_000, crl: randomBytes(1024 * 1024 + 1) });
    try {
      const certRep = await ask('GetCRL', about(numberOf(device)));
      assert.deepEqual((await refusalIn(certRep)).slice(0, 1), ['badCertId']);
      assert.equal((await auditIn(server, 1))[0]?.code, 'crl_unserved');
    } finally {
      await server.store.recordCrl({ ...newest, crlNumber: 1_000_001 });
    }
  });

  const strangers: readonly (readonly [name: string, fields: () => Promise<MessageFields>])[] = [
    ['a throw-away signer', async () => ({ signer: await selfSigned(keys.device) })],
    [
      'a throw-away signer of our name',
      async () => ({ signer: await selfSigned(keys.device, 'CN=Test Issuing CA,O=Test') }),
    ],
    [
      'a certificate of ours that no record knows',
      async () => ({ signer: { key: keys.raSigning, certificate: certificates.raSigning } }),
    ],
    ['a revoked certificate', async () => ({ signer: await spoilt('keyCompromise') })],
    ['a certificate on hold', async () => ({ signer: await spoilt('certificateHold') })],
  ];
  const questions: readonly (readonly [name: string, content: () => Promise<Uint8Array> | Uint8Array])[] = [
    ['an unknown number', () => about('0123456789abcdef')],
    [
      'a negative number',
      () => Buffer.from(sequence(certificates.issuing.subject.raw, Uint8Array.of(2, 1, 0xff))),
    ],
    ['another CA', () => about(numberOf(device), nameFromString('CN=Other CA'))],
    ['the root', () => about(certificates.issuing.serialNumber, certificates.root.subject)],
    ['nothing', () => Uint8Array.of()],
    ['noise', () => randomBytes(48)],
    ['a certification request', () => requestOf({ challengePassword: staticSecret })],
    ['a certificate', () => device.certificate.raw],
    [
      'an IssuerAndSubject',
      () => buildIssuerAndSubject({ issuer: certificates.issuing.subject, subject: nameFromString('CN=x') }),
    ],
    ['an octet behind it', () => Buffer.concat([about(numberOf(device)), Uint8Array.of(0)])],
  ];
  const sealed: readonly (readonly [name: string, fields: MessageFields])[] = [
    ['an envelope for another key', { recipient: certificates.raSigning }],
  ];
  for (const messageType of ['GetCert', 'GetCRL'] as const) {
    const uniform = ['badCertId', 'no certificate matches the identifier', 'certificate_unknown'] as const;
    for (const [name, fields] of strangers) {
      test(`${messageType} is answered to ${name} as if there were nothing`, async () => {
        const certRep = await ask(messageType, about(numberOf(device)), await fields());
        assert.deepEqual(await refusalIn(certRep), uniform);
      });
    }
    for (const [name, content] of questions) {
      test(`${messageType} about ${name} is answered as any other that finds nothing`, async () => {
        assert.deepEqual(await refusalIn(await ask(messageType, await content())), uniform);
      });
    }
    for (const [name, fields] of sealed) {
      test(`${messageType} in ${name} is answered alike`, async () => {
        const certRep = await ask(messageType, about(numberOf(device)), fields);
        assert.deepEqual(await refusalIn(certRep), uniform);
      });
    }
  }

  test('GetCert does not show what was revoked: it may never have been delivered', async () => {
    const revoked = await spoilt('keyCompromise');
    const certRep = await ask('GetCert', about(numberOf(revoked)));
    assert.equal((await refusalIn(certRep))[2], 'certificate_unknown');
  });

  test('who asks with an expired certificate is a stranger', async () => {
    clock.offsetMs = 366 * DAY_MS;
    try {
      const certRep = await ask('GetCert', about(numberOf(other)));
      assert.equal((await refusalIn(certRep))[2], 'certificate_unknown');
    } finally {
      clock.offsetMs = 0;
    }
  });
});
