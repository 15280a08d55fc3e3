/** The client's half of RFC 8894: from a certification request to a PKCSReq, and from a CertRep to a certificate. */
import {
  buildCertificate,
  buildEnvelopedData,
  buildSignedData,
  type Certificate,
  type CipherName,
  type Decrypt,
  type DigestName,
  identifies,
  keyUsageOf,
  type Name,
  openEnvelopedData,
  parseCertificate,
  parseEnvelopedData,
  parseSignedData,
  type Sign,
  sameOctets,
  verifySigner,
} from '../codec/index.ts';
import { type FailInfo, PkiError } from '../errors.ts';
import {
  buildAttributes,
  failInfoOf,
  failInfoTextOf,
  messageTypeOf,
  nonceOf,
  pkiStatusOf,
  transactionIDOf,
} from './message.ts';

/** What GetCACert gave, sorted by role. */
export interface CaCertificates {
  /** The RA (or CA) certificate that requests are encrypted to. */
  readonly encryption: Certificate;
  /** Everything that was served, in its order. */
  readonly all: readonly Certificate[];
}

/**
 * Reads the answer to GetCACert (§4.2): one certificate, or a degenerate SignedData with RA and CA certificates.
 *
 * @throws PkiError `cms_malformed`, `certificate_malformed`, or `key_capability` if none can be encrypted to.
 */
export function parseCaCertificates(body: Uint8Array, contentType: string): CaCertificates {
  const all = contentType.startsWith('application/x-x509-ca-cert')
    ? [parseCertificate(body)]
    : parseSignedData(body).certificates;
  // A certificate without KeyUsage may be used for anything (RFC 5280 §4.2.1.3); one that says it can encipher is preferred.
  const encryption =
    all.find((certificate) => keyUsageOf(certificate)?.includes('keyEncipherment') === true) ??
    all.find((certificate) => keyUsageOf(certificate) === undefined);
  if (encryption === undefined) {
    throw new PkiError('key_capability', 'no certificate of GetCACert may be used for keyEncipherment');
  }
  return { encryption, all };
}

/** What a client chooses for its request. */
export interface PkcsReqFields {
  /** DER of the certification request. */
  readonly csr: Uint8Array;
  /** The certificate that signs: self-signed with the new key, or an older certificate of the client. */
  readonly signer: Certificate;
  readonly recipient: Certificate;
  readonly transactionID: string;
  /** 16 fresh random octets (§3.2.1.5). */
  readonly senderNonce: Uint8Array;
  readonly digest: DigestName;
  readonly cipher: CipherName;
}

/** Builds a PKCSReq (§3.3.1). */
export async function buildPkcsReq(fields: PkcsReqFields, sign: Sign): Promise<Uint8Array> {
  const envelope = buildEnvelopedData({
    content: fields.csr,
    recipient: fields.recipient,
    cipher: fields.cipher,
    keyTransport: { name: 'rsaes-pkcs1-v1_5' },
  });
  return await buildSignedData(
    {
      content: envelope,
      digest: fields.digest,
      signer: fields.signer,
      certificates: [fields.signer.raw],
      attributes: buildAttributes({
        messageType: 'PKCSReq',
        transactionID: fields.transactionID,
        senderNonce: fields.senderNonce,
      }),
    },
    sign,
  );
}

/** The self-signed certificate that a client without one signs its first request with (§2.3). */
export async function buildSelfSigned(
  fields: {
    readonly subject: Name;
    readonly spki: Uint8Array;
    readonly notBefore: Date;
    readonly notAfter: Date;
  },
  sign: Sign,
): Promise<Certificate> {
  const raw = await buildCertificate(
    {
      ...fields,
      serialNumber: '01',
      signatureAlgorithm: 'rsa-sha256',
      issuer: fields.subject,
      extensions: [],
    },
    sign,
  );
  return parseCertificate(raw);
}

/** What a CertRep says. */
export type CertRep =
  | { readonly pkiStatus: 'SUCCESS'; readonly certificates: readonly Certificate[] }
  | { readonly pkiStatus: 'FAILURE'; readonly failInfo: FailInfo; readonly failInfoText?: string }
  | { readonly pkiStatus: 'PENDING' };

/** What a client checks a CertRep against. */
export interface CertRepExpectation {
  /** Certificates that may sign the answer: those of GetCACert. */
  readonly signers: readonly Certificate[];
  readonly transactionID: string;
  readonly senderNonce: Uint8Array;
  readonly decrypt: Decrypt;
}

/**
 * Reads a CertRep (§3.3.2) and checks that it answers this request.
 *
 * @throws PkiError `scep_signature` if it is not signed by an expected certificate, `scep_attributes` if it answers
 *   another transaction, `scep_envelope` if it cannot be opened, `cms_malformed`.
 */
export async function parseCertRep(body: Uint8Array, expected: CertRepExpectation): Promise<CertRep> {
  const signedData = parseSignedData(body);
  const [signerInfo] = signedData.signerInfos;
  if (signerInfo === undefined) throw new PkiError('scep_signature', 'the answer is not signed');
  const signer = expected.signers.find((candidate) => identifies(signerInfo.sid, candidate));
  if (signer === undefined || !verifySigner(signedData, signerInfo, signer)) {
    throw new PkiError('scep_signature', 'the answer is not signed by a certificate of GetCACert');
  }
  if (messageTypeOf(signerInfo) !== 'CertRep')
    throw new PkiError('scep_attributes', 'the answer is not a CertRep');
  if (transactionIDOf(signerInfo) !== expected.transactionID) {
    throw new PkiError('scep_attributes', 'the answer belongs to another transaction');
  }
  // §3.2.1.5: without this check an old answer could be played back.
  const recipientNonce = nonceOf(signerInfo, 'recipientNonce');
  if (recipientNonce === undefined || !sameOctets(recipientNonce, expected.senderNonce)) {
    throw new PkiError('scep_attributes', 'the answer does not return the nonce');
  }
  const pkiStatus = pkiStatusOf(signerInfo);
  if (pkiStatus === 'PENDING') return { pkiStatus };
  if (pkiStatus === 'FAILURE') {
    const failInfoText = failInfoTextOf(signerInfo);
    return {
      pkiStatus,
      failInfo: failInfoOf(signerInfo),
      ...(failInfoText === undefined ? {} : { failInfoText }),
    };
  }
  if (signedData.content === undefined) throw new PkiError('scep_envelope', 'the answer has no envelope');
  const content = await openEnvelopedData(parseEnvelopedData(signedData.content), expected.decrypt);
  return { pkiStatus, certificates: parseSignedData(content).certificates };
}
