/** Every fault of an RSA padding, sent to the SCEP door: one answer for all of them. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import {
  certificates,
  certRepIn,
  type MessageSigner,
  messageOf,
  openTestServer,
  recordsIn,
  requestOf,
  smallSigner,
  staticSecret,
  type TestServer,
} from '../../test/support/authorities-fixture.ts';
import {
  comparable,
  encryptBlock,
  encryptContent,
  envelopeWith,
  keyTransportIn,
  paddingFile,
  paddingFileNames,
} from '../../test/support/oracle-fixture.ts';
import { type PaddingVector, paddingFiles } from '../../test/vectors/rsa-padding/generate.ts';
import { buildDigestInfo } from '../keys/rsa-padding.ts';
import { parseCertRep } from '../scep/index.ts';

let server: TestServer;
let signer: MessageSigner;
before(async () => {
  server = await openTestServer();
  signer = await smallSigner();
});
after(() => server.close());

const recipient = certificates.raEncryption;
const senderNonce = Buffer.alloc(16, 0x33);
const iv = randomBytes(16);

/** What all wrong ones of all files were answered so far. */
const seen = new Map<string, string>();

test('the vectors are what their generator makes, and each has one form', () => {
  for (const [name, file] of Object.entries(paddingFiles())) {
    const read = paddingFile(name as (typeof paddingFileNames)[number]);
    assert.deepEqual(read, JSON.parse(JSON.stringify(file)), name);
    assert.equal(new Set(read.vectors.map((vector) => vector.name)).size, read.vectors.length);
    for (const { name: title, block, ciphertext } of read.vectors)
      assert.ok((block === undefined) !== (ciphertext === undefined), title);
  }
  assert.deepEqual(Object.keys(paddingFiles()).sort(), [...paddingFileNames].sort());
});

for (const name of paddingFileNames) {
  const file = paddingFile(name);
  const contentKey = Buffer.from(file.contentKey, 'hex');
  const keyTransport = keyTransportIn(file);

  async function answerTo(vector: PaddingVector, content: Uint8Array, transactionID: string) {
    const encryptedKey =
      vector.ciphertext === undefined
        ? encryptBlock(recipient, Buffer.from(vector.block ?? '', 'hex'))
        : Buffer.from(vector.ciphertext, 'hex');
    const encryptedContent = encryptContent(content, contentKey, iv);
    const envelope = envelopeWith({ recipient, encryptedKey, encryptedContent, iv, keyTransport });
    return await server.post('static', await messageOf({ envelope, signer, transactionID, senderNonce }));
  }

  describe(name, () => {
    for (const vector of file.vectors) {
      test(`${vector.name} is ${vector.result}`, async () => {
        const csr = await requestOf({ challengePassword: staticSecret });
        if (vector.result === 'valid') {
          const transactionID = `${name} ${vector.name}`;
          const answer = await answerTo(vector, csr, transactionID);
          assert.equal(
            (await certRepIn(answer, { signer, senderNonce, transactionID })).pkiStatus,
            'SUCCESS',
          );
          // With the right key and content that is no request it is one of the others.
          seen.set(
            comparable(await answerTo(vector, buildDigestInfo('sha256', randomBytes(32)), 'oracle')),
            'content that is no request',
          );
        } else {
          const before = (await recordsIn(server)).length;
          seen.set(comparable(await answerTo(vector, csr, 'oracle')), vector.name);
          assert.equal((await recordsIn(server)).length, before);
        }
        assert.equal(seen.size, 1, `${[...seen.values()].join(' and ')} are told apart`);
      });
    }
  });
}

test('that one answer is badMessageCheck, and says no more', async () => {
  const envelope = envelopeWith({
    recipient,
    encryptedKey: randomBytes(256).fill(0, 0, 1),
    encryptedContent: randomBytes(64),
    iv,
    keyTransport: { name: 'rsaes-pkcs1-v1_5' },
  });
  const answer = await server.post(
    'static',
    await messageOf({ envelope, signer, transactionID: 'oracle', senderNonce }),
  );
  assert.deepEqual([...seen.keys()], [comparable(answer)]);
  const certRep = await parseCertRep(answer.body, {
    signers: [certificates.raSigning],
    transactionID: 'oracle',
    senderNonce,
    decrypt: () => Promise.reject(new Error('there is nothing to decrypt')),
  });
  assert.ok(certRep.pkiStatus === 'FAILURE');
  assert.equal(certRep.failInfo, 'badMessageCheck');
  assert.match(certRep.failInfoText ?? '', /^the message could not be opened \(LG-\w{8}\)$/);
});
