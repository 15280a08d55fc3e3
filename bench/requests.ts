/** Prebuilt PKCSReqs for a SCEP server: each is a whole request of its own, from a pool of client keys. */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import {
  buildCertificationRequest,
  type Certificate,
  nameFromString,
  subjectAltNameExtension,
} from '../src/codec/index.ts';
import { type PrivateKey, privateKeyOf } from '../src/keys/index.ts';
import { buildPkcsReq, buildSelfSigned } from '../src/scep/index.ts';

/** One request and what its sender remembers. */
export interface PreparedRequest {
  readonly body: Uint8Array;
  readonly transactionID: string;
  readonly senderNonce: Uint8Array;
  readonly commonName: string;
  readonly key: PrivateKey;
}

/** RSA-2048 keys of clients; the server cannot tell that they come again. */
const KEYS = 16;
const DAY_MS = 86_400_000;

/**
 * Builds requests, each with its own CSR, subject, subjectAltName, content key, nonce, transaction and signatures:
 * RSA-2048, SHA-256, AES-128, as a current client does. `challenges`: one for all, or one for each.
 */
export async function prepareRequests(
  count: number,
  recipient: Certificate,
  challenges: string | readonly string[],
): Promise<PreparedRequest[]> {
  const clients = await Promise.all(
    Array.from({ length: KEYS }, async () => {
      const key = privateKeyOf(generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey);
      const now = Math.floor(Date.now() / 1000) * 1000;
      const signer = await buildSelfSigned(
        {
          subject: nameFromString('CN=SCEP Protocol Certificate'),
          spki: key.spki,
          notBefore: new Date(now - DAY_MS),
          notAfter: new Date(now + DAY_MS),
        },
        (algorithm, data) => key.sign(algorithm, data),
      );
      return { key, signer };
    }),
  );
  const run = randomBytes(4).toString('hex');
  const prepared: PreparedRequest[] = [];
  for (let i = 0; i < count; i += 1) {
    const client = clients[i % clients.length];
    if (client === undefined) break;
    const { key, signer } = client;
    const sign: PrivateKey['sign'] = (algorithm, data) => key.sign(algorithm, data);
    const commonName = `device-${run}-${i}`;
    const subject = nameFromString(`CN=${commonName},O=Load`);
    const csr = await buildCertificationRequest(
      {
        subject,
        spki: key.spki,
        challengePassword: typeof challenges === 'string' ? challenges : (challenges[i] ?? ''),
        extensions: [
          subjectAltNameExtension([{ type: 'dNSName', value: `${commonName}.load.test` }], subject),
        ],
        signatureAlgorithm: 'rsa-sha256',
      },
      sign,
    );
    const transactionID = `${run}-${i}`;
    const senderNonce = randomBytes(16);
    const body = await buildPkcsReq(
      { csr, signer, recipient, transactionID, senderNonce, digest: 'sha256', cipher: 'aes-128-cbc' },
      sign,
    );
    prepared.push({ body, transactionID, senderNonce, commonName, key });
  }
  return prepared;
}
