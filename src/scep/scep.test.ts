import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  certificates,
  defaultSigner,
  envelopeOf,
  keys,
  type MessageFields,
  messageOf,
  newEcKey,
  newRsaKey,
  requestOf,
  selfSigned,
} from '../../test/support/authorities-fixture.ts';
import { encoded, nodesOf, treeOf } from '../../test/support/codec-fixture.ts';
import {
  type Attribute,
  buildCertsOnly,
  buildSignedData,
  type CipherName,
  type DigestName,
  type KeyTransport,
  nameToString,
  objectIdentifier,
  octetString,
  oid,
  parseEnvelopedData,
  parseSignedData,
  printableString,
  sameOctets,
  signedAttributeOf,
  utf8String,
} from '../codec/index.ts';
import { type ErrorCode, errorTable, type FailInfo, PkiError } from '../errors.ts';
import { type CertRepExpectation, parseCaCertificates, parseCertRep } from './client.ts';
import { buildAttributes, failInfos, messageTypes, nonceOf } from './message.ts';
import {
  type AnswerSigner,
  answerNonceBytes,
  buildFailure,
  buildSuccess,
  openPkcsReq,
  readPkiMessage,
  verifyPkiMessage,
} from './server.ts';
import { refusedByDefault, type WeakAlgorithm } from './weak-algorithms.ts';

const nonce = Buffer.from('00112233445566778899aabbccddeeff', 'hex');
const csr = await requestOf({ challengePassword: 'challenge' });
const decrypt = (transport: KeyTransport, encryptedKey: Uint8Array) =>
  keys.raEncryption.decrypt(transport, encryptedKey);
const answerSigner: AnswerSigner = {
  certificate: certificates.raSigning,
  chain: [certificates.raSigning.raw, certificates.issuing.raw],
  sign: keys.raSigning.signs,
};

/** Signs as the default signer does, but with another key. */
const impostor = await selfSigned(keys.other);
/** A request that was read, and the answer to it. */
const request = verifyPkiMessage(readPkiMessage(await messageOf({ csr, senderNonce: nonce })));
const opened = await openPkcsReq(request, decrypt, refusedByDefault);
const success = await buildSuccess(request, opened, certificates.issuing.raw, answerSigner, randomBytes(16));

/** Asserts that a promise or a function ends in a PkiError with this code. */
async function refusedAs(code: ErrorCode, act: () => unknown): Promise<PkiError> {
  try {
    await act();
  } catch (thrown) {
    assert.ok(thrown instanceof PkiError, String(thrown));
    assert.equal(thrown.code, code, thrown.message);
    return thrown;
  }
  return assert.fail(`was taken instead of refused as ${code}`);
}

/** The attributes of a PKCSReq with some replaced, left out (`undefined`) or added. */
function attributesWith(changes: Readonly<Record<string, readonly Uint8Array[] | undefined>>): Attribute[] {
  const usual = buildAttributes({
    messageType: 'PKCSReq',
    transactionID: 'transaction-1',
    senderNonce: nonce,
  });
  const kept = usual.filter((attribute) => !(attribute.oid in changes));
  const changed = Object.entries(changes).flatMap(([type, values]) =>
    values === undefined ? [] : [{ oid: type, values }],
  );
  return [...kept, ...changed];
}

/** A copy in which every occurrence of some octets is replaced by as many others. */
function replaced(bytes: Uint8Array, from: string, to: string): Uint8Array {
  assert.equal(from.length, to.length);
  const text = Buffer.from(bytes).toString('latin1');
  assert.ok(text.includes(from), `there is no ${from}`);
  return Buffer.from(text.replaceAll(from, to), 'latin1');
}

/** A message in which an object identifier is replaced by another. */
function withIdentifier(message: Uint8Array, from: string, to: string): Uint8Array {
  const tree = treeOf(message);
  const wanted = objectIdentifier(from).subarray(2);
  const found = nodesOf(tree).filter((node) => node.tag === 6 && sameOctets(node.content, wanted));
  assert.ok(found.length > 0, `${from} does not occur`);
  for (const node of found) node.content = objectIdentifier(to).subarray(2);
  return encoded(tree);
}

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = Buffer.from(bytes);
  const place = at < 0 ? copy.length + at : at;
  copy[place] = (copy[place] as number) ^ 1;
  return copy;
}

describe('readPkiMessage refuses what no answer can be built for', () => {
  const foreign = { certificates: [certificates.issuing.raw] };
  const rows: readonly (readonly [name: string, message: () => Promise<Uint8Array> | Uint8Array])[] = [
    ['nothing', () => Uint8Array.of()],
    ['text', () => Buffer.from('operation=PKIOperation')],
    ['a bare request', () => csr],
    ['a bare envelope', () => envelopeOf({ csr })],
    ['a message without signer', () => buildCertsOnly([certificates.issuing.raw])],
    ['an octet behind the end', async () => Buffer.concat([await messageOf({ csr }), Uint8Array.of(0)])],
    ['one octet too few', async () => (await messageOf({ csr })).subarray(0, -1)],
    ['no certificate', () => messageOf({ csr, certificates: [] })],
    ['only the certificate of another', () => messageOf({ csr, ...foreign })],
    ['no attributes of SCEP', () => messageOf({ csr, attributes: [] })],
    [
      'no transactionID',
      () => messageOf({ csr, attributes: attributesWith({ [oid.scepTransactionID]: undefined }) }),
    ],
    [
      'a transactionID without value',
      () => messageOf({ csr, attributes: attributesWith({ [oid.scepTransactionID]: [] }) }),
    ],
    [
      'a transactionID with two values',
      () =>
        messageOf({
          csr,
          attributes: attributesWith({
            [oid.scepTransactionID]: [printableString('a'), printableString('b')],
          }),
        }),
    ],
    [
      'a transactionID that is an OCTET STRING',
      () =>
        messageOf({
          csr,
          attributes: attributesWith({ [oid.scepTransactionID]: [octetString(Buffer.from('a'))] }),
        }),
    ],
    ['an empty transactionID', () => messageOf({ csr, transactionID: '' })],
    ['a transactionID of 256 characters', () => messageOf({ csr, transactionID: 'a'.repeat(256) })],
    ['a transactionID with a line feed', () => messageOf({ csr, transactionID: 'a\nb' })],
    ['a transactionID with NUL', () => messageOf({ csr, transactionID: 'a\0b' })],
    [
      'a transactionID beyond ASCII',
      () =>
        messageOf({
          csr,
          attributes: attributesWith({ [oid.scepTransactionID]: [utf8String('transäction')] }),
        }),
    ],
    ...[oid.scepTransactionID, oid.scepMessageType, oid.scepSenderNonce, oid.messageDigest].map(
      (type) =>
        [
          `attribute ${type} twice`,
          async () => {
            const tree = treeOf(await messageOf({ csr }));
            const wanted = objectIdentifier(type).subarray(2);
            const attributes = nodesOf(tree).find((node) => node.tag === 0xa0 && node.children?.length === 5);
            const attribute = attributes?.children?.find((node) =>
              sameOctets(node.children?.[0]?.content ?? Uint8Array.of(), wanted),
            );
            assert.ok(attribute !== undefined);
            attributes?.children?.push(attribute);
            return encoded(tree);
          },
        ] as const,
    ),
    [
      'two signers',
      async () => {
        const tree = treeOf(await messageOf({ csr }));
        const signers = tree.children?.[1]?.children?.[0]?.children?.at(-1);
        assert.equal(signers?.tag, 0x31);
        signers.children?.push(signers.children[0] as never);
        return encoded(tree);
      },
    ],
  ];
  for (const [name, message] of rows) {
    test(name, async () => {
      const bytes = await message();
      await refusedAs('scep_body', () => readPkiMessage(bytes));
    });
  }
});

describe('verifyPkiMessage', () => {
  const rows: readonly (readonly [
    name: string,
    code: ErrorCode,
    message: () => Promise<Uint8Array> | Uint8Array,
  ])[] = [
    ['a changed signature', 'scep_signature', async () => flipped(await messageOf({ csr }), -1)],
    [
      'a changed transactionID',
      'scep_signature',
      async () => replaced(await messageOf({ csr }), 'transaction-1', 'transaction-2'),
    ],
    [
      'changed content',
      'scep_signature',
      async () => {
        const envelope = envelopeOf({ csr });
        const message = Buffer.from(await messageOf({ envelope }));
        const at = message.indexOf(envelope);
        assert.ok(at > 0);
        return flipped(message, at + envelope.length - 1);
      },
    ],
    [
      'a certificate of the same name and number over another key',
      'scep_signature',
      () => messageOf({ csr, certificates: [impostor.certificate.raw] }),
    ],
    [
      'no messageType',
      'scep_attributes',
      () => messageOf({ csr, attributes: attributesWith({ [oid.scepMessageType]: undefined }) }),
    ],
    ['an empty senderNonce', 'scep_attributes', () => messageOf({ csr, senderNonce: Uint8Array.of() })],
    ['a senderNonce of 65 octets', 'scep_attributes', () => messageOf({ csr, senderNonce: randomBytes(65) })],
    [
      'a senderNonce that is text',
      'der_malformed',
      () => messageOf({ csr, attributes: attributesWith({ [oid.scepSenderNonce]: [utf8String('nonce')] }) }),
    ],
    [
      'a senderNonce with two values',
      'cms_malformed',
      () =>
        messageOf({
          csr,
          attributes: attributesWith({ [oid.scepSenderNonce]: [octetString(nonce), octetString(nonce)] }),
        }),
    ],
    [
      'MD5',
      'algorithm_unsupported',
      async () => withIdentifier(await messageOf({ csr, digest: 'sha1' }), oid.sha1, oid.md5),
    ],
    [
      'an unknown digest',
      'algorithm_unsupported',
      async () => withIdentifier(await messageOf({ csr, digest: 'sha1' }), oid.sha1, '1.2.3.4'),
    ],
  ];
  for (const [name, code, message] of rows) {
    test(`refuses ${name}`, async () => {
      const received = readPkiMessage(await message());
      await refusedAs(code, () => verifyPkiMessage(received));
    });
  }

  // Only the PrintableString of the decimal number itself is a message type.
  const noTypes: readonly (readonly [name: string, value: Uint8Array, code?: ErrorCode])[] = [
    ['a space behind', printableString('19 ')],
    ['a space before', printableString(' 19')],
    ['a zero before', printableString('019')],
    ['a sign', printableString('+19')],
    ['a fraction', printableString('19.0')],
    ['an exponent', printableString('19e0')],
    ['hexadecimal', printableString('0x13')],
    ['nothing', printableString('')],
    ['NUL behind', printableString('19\0')],
    ['its name', printableString('PKCSReq')],
    ['a name that every object has', printableString('toString')],
    ['a UTF8String', utf8String('19'), 'der_malformed'],
    ['digits of another script', utf8String('1９'), 'der_malformed'],
    ['an INTEGER', Uint8Array.of(2, 1, 19), 'der_malformed'],
    ['an OCTET STRING', octetString(Buffer.from('19')), 'der_malformed'],
    ['an IA5String', Uint8Array.of(0x16, 2, 0x31, 0x39), 'der_malformed'],
    ['a BMPString', Uint8Array.of(0x1e, 4, 0, 0x31, 0, 0x39), 'der_malformed'],
  ];
  for (const [name, value, code] of noTypes) {
    test(`knows no messageType with ${name}`, async () => {
      const received = readPkiMessage(
        await messageOf({ csr, attributes: attributesWith({ [oid.scepMessageType]: [value] }) }),
      );
      if (code === undefined) assert.equal(verifyPkiMessage(received).messageType, undefined);
      else await refusedAs(code, () => verifyPkiMessage(received));
    });
  }
  for (const [name, number] of Object.entries(messageTypes)) {
    test(`knows ${name}`, async () => {
      const received = readPkiMessage(
        await messageOf({
          csr,
          attributes: attributesWith({ [oid.scepMessageType]: [printableString(String(number))] }),
        }),
      );
      assert.equal(verifyPkiMessage(received).messageType, name);
    });
  }

  test('takes a message without senderNonce, and one without content', async () => {
    const attributes = attributesWith({ [oid.scepSenderNonce]: undefined });
    assert.equal(
      verifyPkiMessage(readPkiMessage(await messageOf({ csr, attributes }))).senderNonce,
      undefined,
    );
    assert.equal(
      verifyPkiMessage(readPkiMessage(await messageOf({ envelope: undefined }))).pkcsPKIEnvelope,
      undefined,
    );
  });
});

describe('openPkcsReq', () => {
  const open = async (fields: MessageFields, refused: ReadonlySet<WeakAlgorithm> = refusedByDefault) =>
    openPkcsReq(verifyPkiMessage(readPkiMessage(await messageOf(fields))), decrypt, refused);

  test('refuses single DES, and takes it where it is asked for', async () => {
    await refusedAs('algorithm_refused', () => open({ csr, cipher: 'des-cbc' }));
    const opened = await open({ csr, cipher: 'des-cbc' }, new Set());
    assert.equal(opened.cipher, 'des-cbc');
  });

  const unopenable: readonly (readonly [
    name: string,
    fields: () => Promise<MessageFields> | MessageFields,
  ])[] = [
    ['no content', () => ({ envelope: undefined })],
    ['empty content', () => ({ envelope: Uint8Array.of() })],
    ['text', () => ({ envelope: Buffer.from('text') })],
    ['a request in the clear', () => ({ envelope: csr })],
    ['SignedData inside', () => ({ envelope: buildCertsOnly([certificates.issuing.raw]) })],
    ['nothing inside', () => ({ csr: Uint8Array.of() })],
    ['text inside', () => ({ csr: Buffer.from('not a certification request') })],
    ['a request cut off inside', () => ({ csr: csr.subarray(0, -1) })],
    ['an octet behind the request', () => ({ csr: Buffer.concat([csr, Uint8Array.of(0)]) })],
    ['an envelope for another key', () => ({ csr, recipient: certificates.raSigning })],
  ];
  for (const [name, fields] of unopenable) {
    test(`refuses ${name} without a word`, async () => {
      const { message } = await refusedAs('scep_envelope', async () => open(await fields()));
      assert.equal(message, 'the envelope cannot be opened');
    });
  }

  test('a request that is not signed by its key reads like an envelope that cannot be opened', async () => {
    for (const changed of [
      flipped(csr, -1),
      replaced(csr, 'device-1', 'device-2'),
      // The same for a scheme that we do not know: it stands in the ciphertext.
      withIdentifier(csr, oid.sha256WithRSAEncryption, oid.md5WithRSAEncryption),
    ]) {
      await refusedAs('csr_signature', () => open({ csr: changed }));
    }
    const { text, failInfo, http } = errorTable.csr_signature;
    const opaque = errorTable.scep_envelope;
    assert.deepEqual([text, failInfo, http], [opaque.text, opaque.failInfo, opaque.http]);
  });

  test('refuses a sender that no answer could be encrypted to, and does not even decrypt', async () => {
    const onCurve = await selfSigned(await newEcKey());
    const withoutChallenge = await requestOf({});
    const short = await selfSigned(await newRsaKey(1024));
    const longTransport: KeyTransport = { name: 'rsaes-oaep', digest: 'sha512' };
    const message = verifyPkiMessage(
      readPkiMessage(await messageOf({ csr, signer: short, keyTransport: longTransport })),
    );
    await refusedAs('answer_unencryptable', () =>
      openPkcsReq(message, () => assert.fail('was asked to decrypt'), refusedByDefault),
    );
    const itsOwn = await requestOf({ key: onCurve.key });
    await refusedAs('answer_unencryptable', () => open({ csr: itsOwn, signer: onCurve }));
    await refusedAs('answer_unencryptable', () => open({ csr: withoutChallenge, signer: onCurve }));
    assert.equal((await open({ csr, signer: short })).cipher, 'aes-128-cbc');
  });

  test('a key that cannot be reached is no fault of the message', async () => {
    const message = verifyPkiMessage(readPkiMessage(await messageOf({ csr })));
    await refusedAs('key_unavailable', () =>
      openPkcsReq(
        message,
        () => Promise.reject(new PkiError('key_unavailable', 'the token is gone')),
        refusedByDefault,
      ),
    );
  });

  const ciphers: readonly CipherName[] = ['aes-128-cbc', 'aes-192-cbc', 'aes-256-cbc', 'des-ede3-cbc'];
  const digestNames: readonly DigestName[] = ['sha1', 'sha256', 'sha384', 'sha512'];
  const transports: readonly KeyTransport[] = [
    { name: 'rsaes-pkcs1-v1_5' },
    ...digestNames.map((digest) => ({ name: 'rsaes-oaep', digest }) as const),
  ];

  test('parse(build(PKCSReq)) is what was built', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.string({
          minLength: 1,
          maxLength: 255,
          unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)),
        }),
        fc.uint8Array({ minLength: 1, maxLength: 64 }),
        fc.constantFrom(...digestNames),
        fc.constantFrom(...ciphers),
        fc.constantFrom(...transports),
        async (transactionID, senderNonce, digest, cipher, keyTransport) => {
          const fields = { csr, transactionID, senderNonce, digest, cipher, keyTransport };
          const message = verifyPkiMessage(readPkiMessage(await messageOf(fields)));
          assert.equal(message.messageType, 'PKCSReq');
          assert.equal(message.transactionID, transactionID);
          assert.equal(message.digest, digest);
          assert.deepEqual(Buffer.from(message.senderNonce ?? []), Buffer.from(senderNonce));
          assert.deepEqual(message.signer.raw, defaultSigner.certificate.raw);
          const opened = await openPkcsReq(message, decrypt, refusedByDefault);
          assert.deepEqual(Buffer.from(opened.csr.raw), Buffer.from(csr));
          assert.deepEqual([opened.cipher, opened.keyTransport], [cipher, keyTransport]);
        },
      ),
      { numRuns: 60 },
    );
  });

  test('the answer to an elliptic-curve key is encrypted under the challenge, and opened by nothing else', async () => {
    for (const newKey of [newEcKey, () => newEcKey('P-384')]) {
      const signer = await selfSigned(await newKey());
      const challengePassword = 'a challenge for one device';
      const request = await requestOf({ key: signer.key, challengePassword });
      for (const digest of ['sha256', 'sha384', 'sha512'] as const) {
        for (const cipher of ciphers) {
          for (const keyTransport of [transports[0], transports[2]] as const) {
            const fields = { csr: request, signer, digest, cipher, senderNonce: nonce };
            const message = verifyPkiMessage(
              readPkiMessage(
                await messageOf(keyTransport === undefined ? fields : { ...fields, keyTransport }),
              ),
            );
            const answered = await openPkcsReq(message, decrypt, refusedByDefault);
            const body = await buildSuccess(
              message,
              answered,
              certificates.issuing.raw,
              answerSigner,
              randomBytes(16),
            );
            const enveloped = parseEnvelopedData(parseSignedData(body).content as Uint8Array);
            assert.deepEqual([enveloped.recipients, enveloped.cipher.name], [[], cipher]);
            const reading = (password?: string) =>
              parseCertRep(body, {
                ...expectation({ decrypt: signer.key.decrypt }),
                ...(password === undefined ? {} : { password }),
              });
            const certRep = await reading(challengePassword);
            assert.equal(certRep.pkiStatus, 'SUCCESS');
            assert.deepEqual(certRep.certificates[0]?.raw, certificates.issuing.raw);
            await refusedAs('scep_envelope', () => reading('another challenge'));
            await refusedAs('scep_envelope', () => reading());
          }
        }
      }
    }
  });

  test('another device’s envelope under a key on a curve brings nothing that is encrypted under its challenge', async () => {
    const thief = await selfSigned(await newEcKey());
    const message = await messageOf({ csr, transactionID: 'stolen' });
    const envelope = parseSignedData(message).content;
    const { message: why } = await refusedAs('answer_unencryptable', () => open({ envelope, signer: thief }));
    assert.match(why, /not the key of the request/);
    // The RA lets a RenewalReq pass only for a certificate that it has on record.
    const attributes = buildAttributes({ messageType: 'RenewalReq', transactionID: '1', senderNonce: nonce });
    assert.equal((await open({ envelope, signer: thief, attributes })).password, 'challenge');
  });

  test('what an endpoint refuses is refused by name, and nothing else', async () => {
    const overSha1 = await requestOf({ challengePassword: 'challenge', signatureAlgorithm: 'rsa-sha1' });
    const oaep: KeyTransport = { name: 'rsaes-oaep', digest: 'sha1' };
    const rows: readonly (readonly [
      refused: WeakAlgorithm,
      bad: MessageFields,
      good: MessageFields,
      named: RegExp,
    ])[] = [
      ['sha1', { csr, digest: 'sha1' }, { csr, keyTransport: oaep }, /SHA-1/],
      ['sha1', { csr: overSha1 }, { csr }, /SHA-1/],
      ['des3', { csr, cipher: 'des-ede3-cbc' }, { csr, cipher: 'aes-128-cbc' }, /triple DES/],
      ['des', { csr, cipher: 'des-cbc' }, { csr, cipher: 'des-ede3-cbc' }, /single DES/],
      ['pkcs1v15', { csr }, { csr, keyTransport: oaep }, /PKCS1/],
    ];
    for (const [algorithm, bad, good, named] of rows) {
      const { message } = await refusedAs('algorithm_refused', () => open(bad, new Set([algorithm])));
      assert.match(message, named);
      assert.ok(await open(good, new Set([algorithm])));
      assert.ok(await open(bad, new Set()));
    }
  });

  test('an answer has as many octets of nonce as its request', async () => {
    for (const length of [1, 8, 16, 32, 64]) {
      const message = readPkiMessage(await messageOf({ csr, senderNonce: randomBytes(length) }));
      assert.equal(answerNonceBytes(message), length);
    }
    const attributes = buildAttributes({ messageType: 'PKCSReq', transactionID: '1' });
    assert.equal(answerNonceBytes(readPkiMessage(await messageOf({ csr, attributes }))), 16);
  });

  describe('the answer is written as the request was', () => {
    for (const digest of digestNames) {
      for (const cipher of ciphers) {
        for (const keyTransport of transports) {
          const named = keyTransport.name === 'rsaes-oaep' ? `OAEP ${keyTransport.digest}` : 'PKCS #1';
          test(`${digest}, ${cipher}, ${named}`, async () => {
            const message = verifyPkiMessage(
              readPkiMessage(await messageOf({ csr, digest, cipher, keyTransport, senderNonce: nonce })),
            );
            const opened = await openPkcsReq(message, decrypt, refusedByDefault);
            const fresh = randomBytes(16);
            const body = await buildSuccess(message, opened, certificates.issuing.raw, answerSigner, fresh);
            const answer = parseSignedData(body);
            const envelope = parseEnvelopedData(answer.content as Uint8Array);
            assert.equal(envelope.cipher.name, cipher);
            assert.deepEqual(envelope.recipients[0]?.keyTransport, keyTransport);
            assert.equal(verifyPkiMessage(readPkiMessage(body)).digest, digest);
            const [signerInfo] = answer.signerInfos;
            assert.ok(signerInfo !== undefined);
            assert.deepEqual(Buffer.from(nonceOf(signerInfo, 'senderNonce') ?? []), fresh);
            assert.deepEqual(Buffer.from(nonceOf(signerInfo, 'recipientNonce') ?? []), nonce);
            const certRep = await parseCertRep(body, expectation());
            assert.equal(certRep.pkiStatus, 'SUCCESS');
            assert.deepEqual(
              certRep.certificates.map((certificate) => nameToString(certificate.subject)),
              [nameToString(certificates.issuing.subject)],
            );
          });
        }
      }
    }
  });
});

function expectation(changes: Partial<CertRepExpectation> = {}): CertRepExpectation {
  return {
    signers: [certificates.raSigning],
    transactionID: 'transaction-1',
    senderNonce: nonce,
    decrypt: (transport, encryptedKey) => keys.device.decrypt(transport, encryptedKey),
    ...changes,
  };
}

describe('CertRep', () => {
  for (const failInfo of Object.keys(failInfos) as FailInfo[]) {
    for (const failInfoText of [undefined, 'no, ünd why (LG-ABC)']) {
      test(`parse(build(FAILURE ${failInfo}, ${failInfoText})) is what was built`, async () => {
        const failure = { failInfo, ...(failInfoText === undefined ? {} : { failInfoText }) };
        const body = await buildFailure(request, failure, answerSigner, randomBytes(16));
        assert.deepEqual(await parseCertRep(body, expectation()), { pkiStatus: 'FAILURE', ...failure });
        // §3.3.2.2: no envelope.
        assert.equal(parseSignedData(body).content?.length, 0);
      });
    }
  }

  test('a message that was not verified yet can be refused, without its nonce if that is broken', async () => {
    const cases: readonly (readonly [MessageFields, number | undefined])[] = [
      [{ csr, senderNonce: nonce, digest: 'sha512' }, 16],
      [{ csr, senderNonce: randomBytes(65) }, undefined],
      [{ csr, attributes: attributesWith({ [oid.scepSenderNonce]: undefined }) }, undefined],
    ];
    for (const [fields, nonceBytes] of cases) {
      const received = readPkiMessage(await messageOf(fields));
      const body = await buildFailure(
        received,
        { failInfo: 'badMessageCheck' },
        answerSigner,
        randomBytes(16),
      );
      const answer = readPkiMessage(body);
      assert.equal(verifyPkiMessage(answer).messageType, 'CertRep');
      assert.equal(verifyPkiMessage(answer).digest, 'sha256');
      assert.equal(nonceOf(answer.signerInfo, 'recipientNonce')?.length, nonceBytes);
    }
  });

  test('carries the attributes of §3.2.1 and no other', () => {
    const [signerInfo] = parseSignedData(success).signerInfos;
    assert.deepEqual(
      signerInfo?.signedAttrs?.attributes.map((attribute) => attribute.oid).sort(),
      [
        oid.contentType,
        oid.messageDigest,
        oid.scepMessageType,
        oid.scepPkiStatus,
        oid.scepRecipientNonce,
        oid.scepSenderNonce,
        oid.scepTransactionID,
      ].sort(),
    );
    assert.deepEqual(signerInfo && signedAttributeOf(signerInfo, oid.scepMessageType), printableString('3'));
  });

  /** An answer of the right signer with attributes of our choice. */
  const answerWith = (
    changes: Readonly<Record<string, readonly Uint8Array[] | undefined>>,
    content?: Uint8Array,
  ) =>
    buildSignedData(
      {
        content,
        digest: 'sha256',
        signer: certificates.raSigning,
        certificates: [certificates.raSigning.raw],
        attributes: [
          ...buildAttributes({
            messageType: 'CertRep',
            transactionID: 'transaction-1',
            pkiStatus: 'FAILURE',
            failInfo: 'badRequest',
            senderNonce: randomBytes(16),
            recipientNonce: nonce,
          }).filter((attribute) => !(attribute.oid in changes)),
          ...Object.entries(changes).flatMap(([type, values]) =>
            values === undefined ? [] : [{ oid: type, values }],
          ),
        ],
      },
      keys.raSigning.signs,
    );

  const refused: readonly (readonly [
    name: string,
    code: ErrorCode,
    body: () => Promise<Uint8Array> | Uint8Array,
    changes?: Partial<CertRepExpectation>,
  ])[] = [
    ['a changed answer', 'scep_signature', () => flipped(success, -1)],
    ['a signer that was not served', 'scep_signature', () => success, { signers: [certificates.issuing] }],
    ['nobody to expect', 'scep_signature', () => success, { signers: [] }],
    ['no signer', 'scep_signature', () => buildCertsOnly([certificates.issuing.raw])],
    ['another transaction', 'scep_attributes', () => success, { transactionID: 'transaction-2' }],
    ['an old answer', 'scep_attributes', () => success, { senderNonce: randomBytes(16) }],
    ['no recipientNonce', 'scep_attributes', () => answerWith({ [oid.scepRecipientNonce]: undefined })],
    [
      'the request instead of an answer',
      'scep_attributes',
      () =>
        messageOf({
          csr,
          senderNonce: nonce,
          signer: { key: keys.raSigning, certificate: certificates.raSigning },
        }),
    ],
    ['no pkiStatus', 'scep_attributes', () => answerWith({ [oid.scepPkiStatus]: undefined })],
    [
      'an undefined pkiStatus',
      'scep_attributes',
      () => answerWith({ [oid.scepPkiStatus]: [printableString('1')] }),
    ],
    [
      'a pkiStatus with a zero',
      'scep_attributes',
      () => answerWith({ [oid.scepPkiStatus]: [printableString('00')] }),
    ],
    ['no failInfo', 'scep_attributes', () => answerWith({ [oid.scepFailInfo]: undefined })],
    [
      'an undefined failInfo',
      'scep_attributes',
      () => answerWith({ [oid.scepFailInfo]: [printableString('5')] }),
    ],
    [
      'SUCCESS without envelope',
      'scep_envelope',
      () => answerWith({ [oid.scepPkiStatus]: [printableString('0')] }),
    ],
    ['an envelope for another', 'scep_envelope', () => success, { decrypt }],
  ];
  for (const [name, code, body, changes] of refused) {
    test(`parseCertRep refuses ${name}`, async () => {
      const bytes = await body();
      await refusedAs(code, () => parseCertRep(bytes, expectation(changes)));
    });
  }

  test('parseCertRep does without recipientNonce only where that is asked for, and never with a wrong one', async () => {
    const lax = { recipientNonce: 'dangerOptional' } as const;
    const body = await answerWith({ [oid.scepRecipientNonce]: undefined });
    assert.equal((await parseCertRep(body, expectation(lax))).pkiStatus, 'FAILURE');
    await refusedAs('scep_attributes', () =>
      parseCertRep(success, expectation({ ...lax, senderNonce: randomBytes(16) })),
    );
  });

  test('parseCertRep reads PENDING', async () => {
    const body = await answerWith({ [oid.scepPkiStatus]: [printableString('3')] });
    assert.deepEqual(await parseCertRep(body, expectation()), { pkiStatus: 'PENDING' });
  });
});

describe('parseCaCertificates', () => {
  const { raSigning, raEncryption, issuing, root } = certificates;
  const served = (...list: readonly (typeof root)[]) =>
    buildCertsOnly(list.map((certificate) => certificate.raw));

  test('finds the one to encrypt to by its KeyUsage, wherever it stands', () => {
    for (const list of [
      [raSigning, raEncryption, issuing, root],
      [root, issuing, raEncryption, raSigning],
    ]) {
      const found = parseCaCertificates(served(...list), 'application/x-x509-ca-ra-cert');
      assert.deepEqual(found.encryption.raw, raEncryption.raw);
      assert.equal(found.all.length, 4);
    }
  });

  test('takes a single certificate', () => {
    const found = parseCaCertificates(raEncryption.raw, 'application/x-x509-ca-cert; charset=binary');
    assert.deepEqual(found.encryption.raw, raEncryption.raw);
  });

  test('takes one without KeyUsage if there is no better', () => {
    const found = parseCaCertificates(defaultSigner.certificate.raw, 'application/x-x509-ca-cert');
    assert.deepEqual(found.encryption.raw, defaultSigner.certificate.raw);
  });

  test('refuses a list in which none may be used for encryption', async () => {
    await refusedAs('key_capability', () => parseCaCertificates(served(raSigning, issuing), 'x'));
    await refusedAs('cms_malformed', () => parseCaCertificates(raEncryption.raw, 'x'));
    await refusedAs('certificate_malformed', () =>
      parseCaCertificates(served(raEncryption), 'application/x-x509-ca-cert'),
    );
  });
});
