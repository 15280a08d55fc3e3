/** The client's half of RFC 8894: every message that a client sends, and from a CertRep to a certificate or CRL. */
import {
  buildCertificate,
  buildEnvelopedData,
  buildSignedData,
  type Certificate,
  type CipherName,
  type Decrypt,
  type DigestName,
  identifies,
  type KeyTransport,
  keyUsageOf,
  type Name,
  openEnvelopedData,
  openPasswordEnvelopedData,
  parseCertificate,
  parseEnvelopedData,
  parsePublicKeyInfo,
  parseSignedData,
  type Sign,
  sameOctets,
  verifySigner,
} from '../codec/index.ts';
import { type FailInfo, PkiError } from '../errors.ts';
import {
  buildAttributes,
  buildIssuerAndSerialNumber,
  buildIssuerAndSubject,
  failInfoOf,
  failInfoTextOf,
  type IssuerAndSerialNumber,
  type IssuerAndSubject,
  type MessageType,
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
    all.find((certificate) => keyUsageOf(certificate) === undefined) ??
    // DEVIATION RFC 5280 §4.2.1.3: a single certificate is encrypted to whatever it says that it may be used for.
    // QUIRK micromdm scepserver: the CA is its own RA (RFC 8894 §4.2.1.1), decrypts, and has only keyCertSign.
    (all.length === 1 ? all[0] : undefined);
  if (encryption === undefined) {
    throw new PkiError('key_capability', 'no certificate of GetCACert may be used for keyEncipherment');
  }
  return { encryption, all };
}

/** What a client chooses for a message, whatever is in it. */
export interface ClientMessageFields {
  /** The certificate that signs: self-signed with the new key, or an older certificate of the client. */
  readonly signer: Certificate;
  /** The RA's certificate for encryption, which is of an RSA key. */
  readonly recipient: Certificate;
  readonly transactionID: string;
  /** 16 fresh random octets (§3.2.1.5). */
  readonly senderNonce: Uint8Array;
  readonly digest: DigestName;
  readonly cipher: CipherName;
  /** RSAES-PKCS1-v1_5 if absent: what every server can open (§3.1 names none). */
  readonly keyTransport?: KeyTransport;
}

/** A request for a certificate. */
export interface PkcsReqFields extends ClientMessageFields {
  /** DER of the certification request. */
  readonly csr: Uint8Array;
  /** PKCSReq if absent. A RenewalReq is signed by the certificate that it replaces (§3.3.1.2). */
  readonly messageType?: 'PKCSReq' | 'RenewalReq';
}

/** Builds a PKCSReq or RenewalReq (§3.3.1). Throws PkiError `algorithm_unsupported` if recipient or digest do not fit. */
export async function buildPkcsReq(fields: PkcsReqFields, sign: Sign): Promise<Uint8Array> {
  return await buildClientMessage(fields.messageType ?? 'PKCSReq', fields.csr, fields, sign);
}

/** Builds a CertPoll (§3.3.3) for a request that waits, of the same transactionID. Throws as `buildPkcsReq`. */
export async function buildCertPoll(
  fields: ClientMessageFields & { readonly request: IssuerAndSubject },
  sign: Sign,
): Promise<Uint8Array> {
  return await buildClientMessage('CertPoll', buildIssuerAndSubject(fields.request), fields, sign);
}

/** Builds a GetCert or GetCRL (§3.3.4). Throws as `buildPkcsReq`. */
export async function buildInquiry(
  messageType: 'GetCert' | 'GetCRL',
  fields: ClientMessageFields & { readonly about: IssuerAndSerialNumber },
  sign: Sign,
): Promise<Uint8Array> {
  return await buildClientMessage(messageType, buildIssuerAndSerialNumber(fields.about), fields, sign);
}

async function buildClientMessage(
  messageType: MessageType,
  content: Uint8Array,
  fields: ClientMessageFields,
  sign: Sign,
): Promise<Uint8Array> {
  const { signer, recipient, transactionID, senderNonce, digest, cipher } = fields;
  const { keyTransport = { name: 'rsaes-pkcs1-v1_5' } } = fields;
  return await buildSignedData(
    {
      content: buildEnvelopedData({ content, recipient, cipher, keyTransport }),
      digest,
      signer,
      certificates: [signer.raw],
      attributes: buildAttributes({ messageType, transactionID, senderNonce }),
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
      signatureAlgorithm: selfSignatureOf(fields.spki),
      issuer: fields.subject,
      extensions: [],
    },
    sign,
  );
  return parseCertificate(raw);
}

/** What a client signs with its own key, beside messages: certification requests and throw-away certificates. */
export function selfSignatureOf(spki: Uint8Array): 'rsa-sha256' | 'ecdsa-sha256' | 'ecdsa-sha384' {
  const key = parsePublicKeyInfo(spki);
  if (key.type !== 'ec') return 'rsa-sha256';
  return key.curve === 'P-256' ? 'ecdsa-sha256' : 'ecdsa-sha384';
}

/** What a CertRep says. */
export type CertRep =
  | {
      readonly pkiStatus: 'SUCCESS';
      readonly certificates: readonly Certificate[];
      /** DER of each CRL: the answer to a GetCRL. */
      readonly crls: readonly Uint8Array[];
    }
  | { readonly pkiStatus: 'FAILURE'; readonly failInfo: FailInfo; readonly failInfoText?: string }
  | { readonly pkiStatus: 'PENDING' };

/** What a client checks a CertRep against. */
export interface CertRepExpectation {
  /** Certificates that may sign the answer: those of GetCACert. */
  readonly signers: readonly Certificate[];
  readonly transactionID: string;
  readonly senderNonce: Uint8Array;
  readonly decrypt: Decrypt;
  /** The challenge of the request, under which the answer to a key that cannot be encrypted to is encrypted (§3.1). */
  readonly password?: string;
  /**
   * Whether an answer must return the nonce; `required` if absent. Without it an old answer of this transaction can be
   * played back: only for a server that is known to leave it out.
   */
  readonly recipientNonce?: 'required' | 'dangerOptional';
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
  const excused = recipientNonce === undefined && expected.recipientNonce === 'dangerOptional';
  if (!excused && (recipientNonce === undefined || !sameOctets(recipientNonce, expected.senderNonce))) {
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
  const enveloped = parseEnvelopedData(signedData.content);
  const { password } = expected;
  const content =
    enveloped.recipients.length === 0 && password !== undefined
      ? await openPasswordEnvelopedData(enveloped, password)
      : await openEnvelopedData(enveloped, expected.decrypt);
  const { certificates, crls } = parseSignedData(content);
  return { pkiStatus, certificates, crls };
}
