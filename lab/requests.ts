/** Prebuilt PKCSReqs for a SCEP server: each is a whole request of its own, from a pool of client keys. */
import { generateKeyPair, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import {
  buildCertificationRequest,
  buildSignedData,
  type Certificate,
  nameFromString,
  subjectAltNameExtension,
} from '../src/codec/index.ts';
import { type PrivateKey, privateKeyOf } from '../src/keys/index.ts';
import { buildAttributes, buildPkcsReq, buildSelfSigned } from '../src/scep/index.ts';

/** One request and what its sender remembers. */
export interface PreparedRequest {
  readonly body: Uint8Array;
  readonly transactionID: string;
  readonly senderNonce: Uint8Array;
  readonly commonName: string;
  readonly key: PrivateKey;
}

/** More than the server keeps in mind: it cannot tell that they come again. */
const KEYS_MAX = 192;
/** RSA-2048 keys of clients, made once. */
const keys: PrivateKey[] = [];
const DAY_MS = 86_400_000;

/** A client's key, and the certificate that it signs its messages under. */
interface Client {
  readonly key: PrivateKey;
  readonly signer: Certificate;
}

async function clientOf(key: PrivateKey): Promise<Client> {
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
}

/** PKCSReqs around envelopes that are there already, of one client. */
export async function signEnvelopes(envelopes: readonly Uint8Array[]): Promise<Uint8Array[]> {
  const [own] = await clientKeys(1);
  if (own === undefined) throw new Error('there are no keys');
  const { key, signer } = await clientOf(own);
  const messages: Uint8Array[] = [];
  for (const content of envelopes) {
    const attributes = buildAttributes({
      messageType: 'PKCSReq',
      transactionID: randomBytes(16).toString('hex'),
      senderNonce: randomBytes(16),
    });
    messages.push(
      await buildSignedData(
        { content, digest: 'sha256', signer, certificates: [signer.raw], attributes },
        (algorithm, data) => key.sign(algorithm, data),
      ),
    );
  }
  return messages;
}

/** So many client keys as a run needs, up to a bound. */
export async function clientKeys(count: number): Promise<readonly PrivateKey[]> {
  const missing = Math.max(0, Math.min(count, KEYS_MAX) - keys.length);
  const pairs = Array.from({ length: missing }, () =>
    promisify(generateKeyPair)('rsa', { modulusLength: 2048 }),
  );
  for (const { privateKey } of await Promise.all(pairs)) keys.push(privateKeyOf(privateKey));
  return keys;
}

/** A certification request for a device of this name, with a DNS name. */
export function certificationRequestOf(
  key: PrivateKey,
  commonName: string,
  challengePassword?: string,
): Promise<Uint8Array> {
  const subject = nameFromString(`CN=${commonName},O=Load`);
  return buildCertificationRequest(
    {
      subject,
      spki: key.spki,
      ...(challengePassword === undefined ? {} : { challengePassword }),
      extensions: [subjectAltNameExtension([{ type: 'dNSName', value: `${commonName}.load.test` }], subject)],
      signatureAlgorithm: 'rsa-sha256',
    },
    (algorithm, data) => key.sign(algorithm, data),
  );
}

/**
 * Builds requests, each with its own CSR, subject, subjectAltName, content key, nonce, transaction and signatures:
 * RSA-2048, SHA-256, AES-128, as a current client does. `challenges`: one for all, or one for each. With fewer
 * `certificationRequests` than requests the same ones come again, each time in a transaction of its own.
 */
export async function prepareRequests(
  count: number,
  recipient: Certificate,
  challenges: string | readonly string[],
  certificationRequests = count,
): Promise<PreparedRequest[]> {
  const clients = await Promise.all((await clientKeys(count)).map(clientOf));
  const run = randomBytes(4).toString('hex');
  const csrs: Uint8Array[] = [];
  const prepared: PreparedRequest[] = [];
  for (let i = 0; i < count; i += 1) {
    const which = i % certificationRequests;
    const client = clients[which % clients.length];
    if (client === undefined) break;
    const { key, signer } = client;
    const sign: PrivateKey['sign'] = (algorithm, data) => key.sign(algorithm, data);
    const commonName = `device-${run}-${which}`;
    csrs[which] ??= await certificationRequestOf(
      key,
      commonName,
      typeof challenges === 'string' ? challenges : (challenges[i] ?? ''),
    );
    const csr = csrs[which];
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
