import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  certificates,
  keys,
  type MessageSigner,
  newEcKey,
  newRsaKey,
  requestOf,
  selfSigned,
} from '../../test/support/authorities-fixture.ts';
import {
  type CipherName,
  type DigestName,
  type KeyTransport,
  nameFromString,
  nameToString,
  parseEnvelopedData,
  parseSignedData,
  signatureAlgorithmOf,
  verifyCertificateSignature,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { buildCertPoll, buildInquiry, buildPkcsReq, parseCertRep } from './client.ts';
import { parseIssuerAndSubject } from './message.ts';
import {
  type AnswerSigner,
  buildCrlSuccess,
  buildSuccess,
  openInquiry,
  openPkcsReq,
  readCertPoll,
  readPkiMessage,
  verifyPkiMessage,
} from './server.ts';
import { refusedByDefault } from './weak-algorithms.ts';

const digests: readonly DigestName[] = ['sha1', 'sha256', 'sha384', 'sha512'];
const ciphers: readonly CipherName[] = ['aes-128-cbc', 'aes-192-cbc', 'aes-256-cbc', 'des-ede3-cbc'];
const transports: readonly KeyTransport[] = [
  { name: 'rsaes-pkcs1-v1_5' },
  ...digests.map((digest) => ({ name: 'rsaes-oaep', digest }) as const),
];
const clients: Readonly<Record<string, MessageSigner>> = {
  'RSA 2048': await selfSigned(await newRsaKey()),
  'P-256': await selfSigned(await newEcKey()),
  'P-384': await selfSigned(await newEcKey('P-384')),
};
const senderNonce = Buffer.from('0123456789abcdef0123456789abcdef', 'hex');
const challengePassword = 'a challenge for one device';
const answerSigner: AnswerSigner = {
  certificate: certificates.raSigning,
  chain: [certificates.raSigning.raw],
  sign: keys.raSigning.signs,
};
const decrypt = (transport: KeyTransport, encryptedKey: Uint8Array) =>
  keys.raEncryption.decrypt(transport, encryptedKey);
const fieldsOf = (client: MessageSigner) => ({
  signer: client.certificate,
  recipient: certificates.raEncryption,
  transactionID: 'transaction-1',
  senderNonce,
  digest: 'sha256' as const,
  cipher: 'aes-128-cbc' as const,
});
const expectedBy = (client: MessageSigner) => ({
  signers: [certificates.raSigning],
  transactionID: 'transaction-1',
  senderNonce,
  decrypt: client.key.decrypt,
  password: challengePassword,
});

describe('a request there and its certificate back', () => {
  for (const [name, client] of Object.entries(clients)) {
    const onCurve = name.startsWith('P-');
    test(`${name}: every digest, cipher and key transport`, async () => {
      const csr = await requestOf({ key: client.key, challengePassword });
      let count = 0;
      for (const digest of digests) {
        for (const cipher of ciphers) {
          // The answer to a key on a curve has no key transport to be written alike.
          for (const keyTransport of onCurve ? transports.slice(0, 2) : transports) {
            const row = `${digest} ${cipher} ${JSON.stringify(keyTransport)}`;
            const fields = { ...fieldsOf(client), csr, digest, cipher, keyTransport };
            const built = buildPkcsReq(fields, client.key.signs);
            if (onCurve && digest === 'sha1') {
              await assert.rejects(built, { code: 'algorithm_unsupported' }, row);
              continue;
            }
            const message = verifyPkiMessage(readPkiMessage(await built));
            assert.deepEqual([message.messageType, message.digest], ['PKCSReq', digest], row);
            const opened = await openPkcsReq(message, decrypt, refusedByDefault);
            assert.deepEqual([opened.cipher, opened.keyTransport], [cipher, keyTransport], row);
            assert.deepEqual(Buffer.from(opened.csr.raw), Buffer.from(csr), row);
            const { raw } = certificates.issuing;
            const body = await buildSuccess(message, opened, raw, answerSigner, senderNonce);
            const enveloped = parseEnvelopedData(parseSignedData(body).content ?? Uint8Array.of());
            assert.equal(enveloped.cipher.name, cipher, row);
            assert.deepEqual(enveloped.recipients[0]?.keyTransport, onCurve ? undefined : keyTransport, row);
            const certRep = await parseCertRep(body, expectedBy(client));
            assert.ok(certRep.pkiStatus === 'SUCCESS', row);
            assert.deepEqual(
              certRep.certificates.map((each) => each.raw),
              [raw],
              row,
            );
            count += 1;
          }
        }
      }
      assert.equal(count, onCurve ? 24 : 80);
    });
  }

  test('a challenge does not help against an RSA envelope, nor a key against one under a challenge', async () => {
    const { 'RSA 2048': rsa, 'P-256': curve } = clients as Record<string, MessageSigner>;
    assert.ok(rsa !== undefined && curve !== undefined);
    for (const [client, other] of [
      [rsa, curve],
      [curve, rsa],
    ] as const) {
      const csr = await requestOf({ key: client.key, challengePassword });
      const message = verifyPkiMessage(
        readPkiMessage(await buildPkcsReq({ ...fieldsOf(client), csr }, client.key.signs)),
      );
      const opened = await openPkcsReq(message, decrypt, refusedByDefault);
      const body = await buildSuccess(message, opened, certificates.root.raw, answerSigner, senderNonce);
      const { password: _, ...withoutPassword } = expectedBy(other);
      const wrong = client === rsa ? expectedBy(other) : withoutPassword;
      await assert.rejects(parseCertRep(body, wrong), (thrown) => thrown instanceof PkiError);
    }
  });
});

describe('messages of a client', () => {
  const client = clients['RSA 2048'] as MessageSigner;

  test('a RenewalReq is a PKCSReq of another type', async () => {
    const csr = await requestOf({ key: client.key });
    const fields = { ...fieldsOf(client), csr, messageType: 'RenewalReq' } as const;
    const message = verifyPkiMessage(readPkiMessage(await buildPkcsReq(fields, client.key.signs)));
    assert.equal(message.messageType, 'RenewalReq');
    const opened = await openPkcsReq(message, decrypt, refusedByDefault);
    assert.deepEqual(Buffer.from(opened.csr.raw), Buffer.from(csr));
  });

  test('a CertPoll names issuer and subject, and shows them to the RA alone', async () => {
    const request = { issuer: certificates.issuing.subject, subject: nameFromString('CN=device-1,O=Test') };
    const bytes = await buildCertPoll({ ...fieldsOf(client), request }, client.key.signs);
    assert.ok(!Buffer.from(bytes).includes('device-1'));
    const message = verifyPkiMessage(readPkiMessage(bytes));
    assert.equal(message.messageType, 'CertPoll');
    assert.equal(readCertPoll(message, refusedByDefault).cipher, 'aes-128-cbc');
    const enveloped = parseEnvelopedData(message.pkcsPKIEnvelope ?? Uint8Array.of());
    const { encryptedKey, keyTransport } = enveloped.recipients[0] ?? assert.fail();
    const { createDecipheriv } = await import('node:crypto');
    const cipher = createDecipheriv('aes-128-cbc', await decrypt(keyTransport, encryptedKey), enveloped.iv);
    const read = parseIssuerAndSubject(
      Buffer.concat([cipher.update(enveloped.encryptedContent), cipher.final()]),
    );
    assert.equal(nameToString(read.subject), 'CN=device-1,O=Test');
    assert.equal(nameToString(read.issuer), nameToString(request.issuer));
  });

  for (const messageType of ['GetCert', 'GetCRL'] as const) {
    test(`a ${messageType} names a certificate`, async () => {
      const about = { issuer: certificates.issuing.subject, serialNumber: 'c0ffee' };
      const bytes = await buildInquiry(messageType, { ...fieldsOf(client), about }, client.key.signs);
      const message = verifyPkiMessage(readPkiMessage(bytes));
      assert.equal(message.messageType, messageType);
      const opened = await openInquiry(message, decrypt, refusedByDefault);
      assert.deepEqual(
        [nameToString(opened.about.issuer), opened.about.serialNumber],
        [nameToString(about.issuer), about.serialNumber],
      );
      const crl = await parseCertRep(
        await buildCrlSuccess(message, opened, certificates.root.raw, answerSigner, senderNonce),
        expectedBy(client),
      );
      assert.ok(crl.pkiStatus === 'SUCCESS');
      assert.deepEqual([crl.certificates.length, crl.crls.length], [0, 1]);
    });
    test(`a ${messageType} or CertPoll that is signed on a curve is refused before it is opened`, async () => {
      const signer = clients['P-256'] as MessageSigner;
      const about = { issuer: certificates.issuing.subject, serialNumber: '01' };
      const message = verifyPkiMessage(
        readPkiMessage(await buildInquiry(messageType, { ...fieldsOf(signer), about }, signer.key.signs)),
      );
      await assert.rejects(
        openInquiry(message, () => assert.fail('was asked to decrypt'), refusedByDefault),
        {
          code: 'answer_unencryptable',
        },
      );
      assert.throws(() => readCertPoll(message, refusedByDefault), { code: 'answer_unencryptable' });
    });
  }

  test('a throw-away certificate is signed as its key can', () => {
    const want = {
      'RSA 2048': 'rsa-sha256',
      'P-256': 'ecdsa-sha256',
      'P-384': 'ecdsa-sha384',
    };
    for (const [name, { certificate }] of Object.entries(clients)) {
      assert.equal(
        signatureAlgorithmOf(certificate.signatureAlgorithm).name,
        want[name as keyof typeof want],
      );
      assert.ok(verifyCertificateSignature(certificate, certificate.spki), name);
    }
  });
});
