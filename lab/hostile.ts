/**
 * Hostile devices: they hold what a device may hold (a challenge that was made for it, or that they stole) and ask for
 * something that they must not get.
 */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import type { Device } from '../src/agent/index.ts';
import {
  buildCertificationRequest,
  buildSignedData,
  type Certificate,
  extKeyUsageExtension,
  type GeneralName,
  type KeyUsage,
  keyUsageExtension,
  nameFromString,
  oid,
  parseSignedData,
  subjectAltNameExtension,
} from '../src/codec/index.ts';
import { readConfig } from '../src/config.ts';
import { type PrivateKey, privateKeyOf } from '../src/keys/index.ts';
import type { Mdm } from '../src/mdm/index.ts';
import { withMdm } from '../src/parts/mdm.ts';
import {
  buildAttributes,
  buildPkcsReq,
  buildSelfSigned,
  type CertRep,
  type MessageType,
  parseCaCertificates,
  parseCertRep,
} from '../src/scep/index.ts';
import { openLog } from '../src/telemetry.ts';
import { SCEP_PROFILE } from './fleet.ts';
import type { Tenant } from './tenant.ts';

/** What a challenge was made for: a request that says anything else is to be refused. */
export interface Order {
  readonly challenge: string;
  readonly subject: string;
  readonly subjectAltName: readonly GeneralName[];
  readonly keyUsage: readonly KeyUsage[];
  readonly extKeyUsage: readonly string[];
}

/** A fresh challenge for a device, as its next check-in would bring it; `minutesAgo` lets it be an old one. */
export async function orderFor(tenant: Tenant, device: Device, minutesAgo = 0): Promise<Order> {
  const { mdm: config } = readConfig(tenant.configs.mdm);
  if (config === undefined) throw new Error('the tenant has no MDM');
  const clock = { now: () => new Date(Date.now() - minutesAgo * 60_000) };
  return await withMdm(config, openLog('silent', 'lab'), clock, (mdm) =>
    orderIn(mdm, device.folder.identity.deviceId, SCEP_PROFILE),
  );
}

/** The same of an MDM that is open. */
export async function orderIn(mdm: Mdm, deviceId: string, profileId: string): Promise<Order> {
  const known = mdm.device(deviceId);
  if (known === undefined) throw new Error('the MDM does not know the device');
  const { profiles } = await mdm.checkIn(known, []);
  const profile = profiles.find((each) => each.profileId === profileId);
  if (profile?.kind !== 'scep' || profile.challenge === undefined)
    throw new Error('the device gets no challenge');
  const { challenge, subject, subjectAltName, keyUsage, extKeyUsage } = profile;
  return { challenge, subject, subjectAltName, keyUsage, extKeyUsage };
}

/** A fresh RSA key. */
export function newKey(bits = 2048): PrivateKey {
  return privateKeyOf(generateKeyPairSync('rsa', { modulusLength: bits }).privateKey);
}

/** A request as it goes over the wire, and what reads its answer. */
export interface Shot {
  readonly transactionID: string;
  readonly body: Uint8Array;
  readonly read: (answer: Uint8Array) => Promise<CertRep>;
}

/** Builds the request that an order stands for, with this key; a hostile device changes the order first. */
export async function aim(tenant: Tenant, order: Order, key: PrivateKey): Promise<Shot> {
  return await load(await caCertificates(tenant.urls.scep), order, key);
}

/** The same for a server whose GetCACert was read before. What is empty in the order is absent from the request. */
export async function load(served: CaCertificates, order: Order, key: PrivateKey): Promise<Shot> {
  const sign: PrivateKey['sign'] = (algorithm, data) => key.sign(algorithm, data);
  const subject = nameFromString(order.subject);
  const csr = await buildCertificationRequest(
    {
      subject,
      spki: key.spki,
      challengePassword: order.challenge,
      extensions: [
        ...(order.keyUsage.length === 0 ? [] : [keyUsageExtension(order.keyUsage)]),
        ...(order.extKeyUsage.length === 0 ? [] : [extKeyUsageExtension(order.extKeyUsage)]),
        ...(order.subjectAltName.length === 0
          ? []
          : [subjectAltNameExtension(order.subjectAltName, subject)]),
      ],
      signatureAlgorithm: 'rsa-sha256',
    },
    sign,
  );
  const signer = await signerFor(key);
  const transactionID = randomBytes(16).toString('hex');
  const senderNonce = randomBytes(16);
  const body = await buildPkcsReq(
    {
      csr,
      signer,
      recipient: served.encryption,
      transactionID,
      senderNonce,
      digest: 'sha256',
      cipher: 'aes-128-cbc',
    },
    sign,
  );
  return { transactionID, body, read: reader(served.all, key, transactionID, senderNonce) };
}

/** The same request under another messageType: its content is moved into a message of that type and signed anew. */
export async function relabel(
  tenant: Tenant,
  shot: Shot,
  key: PrivateKey,
  messageType: MessageType,
): Promise<Shot> {
  const served = await caCertificates(tenant.urls.scep);
  const { content } = parseSignedData(shot.body);
  const signer = await signerFor(key);
  const transactionID = randomBytes(16).toString('hex');
  const senderNonce = randomBytes(16);
  const body = await buildSignedData(
    {
      content,
      digest: 'sha256',
      signer,
      certificates: [signer.raw],
      attributes: buildAttributes({ messageType, transactionID, senderNonce }),
    },
    (algorithm, data) => key.sign(algorithm, data),
  );
  return { transactionID, body, read: reader(served.all, key, transactionID, senderNonce) };
}

/** Sends a request through the edge and reads the answer. @throws Error if it is not a CertRep. */
export async function fire(tenant: Tenant, shot: Shot): Promise<CertRep> {
  const answer = await fetch(`${tenant.urls.scep}/pkiclient.exe?operation=PKIOperation`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-pki-message' },
    body: Buffer.from(shot.body),
  });
  if (!answer.ok) throw new Error(`HTTP ${answer.status}: ${await answer.text()}`);
  return await shot.read(new Uint8Array(await answer.arrayBuffer()));
}

/** Purposes beyond those of the order. */
export const serverAuthToo = [oid.clientAuth, oid.serverAuth];

/** What a SCEP server answers to GetCACert. */
export type CaCertificates = ReturnType<typeof parseCaCertificates>;

/** Asks a SCEP server for its certificates. @throws Error if nothing is there. */
export async function caCertificates(url: string): Promise<CaCertificates> {
  const answer = await fetch(`${url}?operation=GetCACert&message=default`);
  return parseCaCertificates(
    new Uint8Array(await answer.arrayBuffer()),
    answer.headers.get('content-type') ?? '',
  );
}

async function signerFor(key: PrivateKey): Promise<Certificate> {
  const now = Math.floor(Date.now() / 1000) * 1000;
  return await buildSelfSigned(
    {
      subject: nameFromString('CN=SCEP Protocol Certificate'),
      spki: key.spki,
      notBefore: new Date(now - 3_600_000),
      notAfter: new Date(now + 86_400_000),
    },
    (algorithm, data) => key.sign(algorithm, data),
  );
}

function reader(
  signers: readonly Certificate[],
  key: PrivateKey,
  transactionID: string,
  senderNonce: Uint8Array,
): Shot['read'] {
  return (answer) =>
    parseCertRep(answer, {
      signers,
      transactionID,
      senderNonce,
      decrypt: (transport, encryptedKey) => key.decrypt(transport, encryptedKey),
    });
}
