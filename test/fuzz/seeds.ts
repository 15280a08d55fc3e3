/** Inputs to begin with: the vectors of the codec, and messages that our own two halves would send each other. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import {
  buildCertID,
  buildCertsOnly,
  buildEnvelopedData,
  buildOcspError,
  buildOcspRequest,
  buildOcspResponse,
  buildSignedData,
  parseCertificate,
} from '../../src/codec/index.ts';
import { buildAttributes, capabilitiesOf, clientProfiles } from '../../src/scep/index.ts';
import { clientKey, deviceKey, raKey, specimenRecipient, specimens } from '../support/codec-fixture.ts';
import { encryptContent, envelopeWith } from '../support/oracle-fixture.ts';

type Seeds = readonly Uint8Array[];

/** The inputs of a file of vectors, right ones and wrong ones. */
function vectors(name: string): Seeds {
  const text = readFileSync(new URL(`../vectors/codec/${name}.json`, import.meta.url), 'utf8');
  const file = JSON.parse(text) as { vectors: { base64?: string; hex?: string }[] };
  return file.vectors.map(({ base64, hex }) =>
    base64 === undefined ? Buffer.from(hex ?? '', 'hex') : Buffer.from(base64, 'base64'),
  );
}

const signer = parseCertificate(specimens.certificate);

/** An envelope whose content key is not encrypted at all, as the targets take it. */
function openEnvelope(content: Uint8Array): Uint8Array {
  const contentKey = randomBytes(16);
  const iv = randomBytes(16);
  return envelopeWith({
    recipient: specimenRecipient,
    encryptedKey: contentKey,
    encryptedContent: encryptContent(content, contentKey, iv),
    iv,
    keyTransport: { name: 'rsaes-pkcs1-v1_5' },
  });
}

async function message(
  attributes: Parameters<typeof buildAttributes>[0],
  content: Uint8Array | undefined,
): Promise<Uint8Array> {
  return await buildSignedData(
    {
      content,
      digest: 'sha256',
      signer,
      certificates: [signer.raw],
      attributes: buildAttributes(attributes),
    },
    clientKey.sign,
  );
}

async function requests(): Promise<Seeds> {
  const nonce = randomBytes(16);
  const inside = openEnvelope(specimens.request);
  const types = ['PKCSReq', 'RenewalReq', 'CertPoll', 'GetCert', 'GetCRL', 'UpdateReq'] as const;
  return await Promise.all([
    ...types.map((messageType) =>
      message({ messageType, transactionID: 'fuzz', senderNonce: nonce }, inside),
    ),
    message({ messageType: 'PKCSReq', transactionID: 'fuzz', senderNonce: nonce }, specimens.envelopedData),
    message({ messageType: 'PKCSReq', transactionID: 'fuzz', senderNonce: nonce }, undefined),
  ]);
}

async function answers(): Promise<Seeds> {
  const common = {
    messageType: 'CertRep',
    transactionID: 'fuzz',
    senderNonce: randomBytes(16),
    recipientNonce: new Uint8Array(16),
  } as const;
  const certificates = buildCertsOnly([specimens.certificate], [specimens.crl]);
  return [
    ...(await Promise.all([
      message({ ...common, pkiStatus: 'SUCCESS' }, openEnvelope(certificates)),
      message(
        { ...common, pkiStatus: 'FAILURE', failInfo: 'badRequest', failInfoText: 'no' },
        Uint8Array.of(),
      ),
      message({ ...common, pkiStatus: 'PENDING' }, undefined),
    ])),
    certificates,
    Buffer.from(capabilitiesOf(clientProfiles.standard).join('\n')),
  ];
}

/** Queries as clients write them. */
function queries(messages: Seeds): Seeds {
  const base64 = Buffer.from(messages[0] ?? '').toString('base64');
  return [
    'operation=GetCACaps',
    'operation=GetCACert&message=CA-Ident',
    'OPERATION=getcacert',
    'operation=PKIOperation&message=',
    `operation=PKIOperation&message=${base64.slice(0, 400)}`,
    `operation=PKIOperation&message=${encodeURIComponent(base64.slice(0, 400))}`,
    'operation=%50KIOperation&message=AQID%0A&x=y',
    'message=AQI&operation=GetNextCACert',
  ].map((text) => Buffer.from(text));
}

async function ocspResponses(): Promise<Seeds> {
  const issuer = { subject: specimenRecipient.subject, spki: raKey.spki };
  const certID = buildCertID(issuer, '0102', 'sha1');
  const thisUpdate = new Date('2026-02-01T00:00:00Z');
  const nextUpdate = new Date('2026-02-02T00:00:00Z');
  const revokedAt = new Date('2026-01-15T10:20:30Z');
  const answer = await buildOcspResponse(
    {
      signatureAlgorithm: 'ecdsa-sha256',
      signerSpki: deviceKey.spki,
      extensions: [],
      producedAt: thisUpdate,
      responses: [
        { certID, certStatus: { status: 'good' }, thisUpdate, nextUpdate },
        {
          certID,
          certStatus: { status: 'revoked', revocationTime: revokedAt, revocationReason: 'keyCompromise' },
          thisUpdate,
          nextUpdate,
        },
        { certID, certStatus: { status: 'unknown' }, thisUpdate, nextUpdate },
      ],
      certificates: [specimens.certificate],
    },
    deviceKey.sign,
  );
  return [answer, buildOcspError('malformedRequest'), buildOcspError('tryLater')];
}

/** The inputs of one target. */
export async function seedsOf(target: string): Promise<Seeds> {
  switch (target) {
    case 'der':
      return [...vectors('ber'), ...vectors('name'), specimens.certificate, specimens.generalNames];
    case 'certificate':
      return [...vectors('certificate'), specimens.certificate];
    case 'crl':
      return [specimens.crl];
    case 'csr':
      return [...vectors('certification-request'), specimens.request];
    case 'cms':
      return [
        ...vectors('signed-data'),
        ...vectors('enveloped-data'),
        specimens.signedData,
        specimens.envelopedData,
        buildEnvelopedData({
          content: specimens.request,
          recipient: specimenRecipient,
          cipher: 'aes-256-cbc',
          keyTransport: { name: 'rsaes-oaep', digest: 'sha256' },
        }),
      ];
    case 'scep-server':
      return await requests();
    case 'scep-client':
      return await answers();
    case 'scep-query':
      return queries(await requests());
    case 'ocsp-request': {
      const issuer = { subject: specimenRecipient.subject, spki: raKey.spki };
      const certIDs = [buildCertID(issuer, '0102', 'sha1'), buildCertID(issuer, 'ff', 'sha256')];
      return [buildOcspRequest({ certIDs }), buildOcspRequest({ certIDs, nonce: randomBytes(32) })];
    }
    case 'ocsp-response':
      return await ocspResponses();
    default:
      return [];
  }
}
