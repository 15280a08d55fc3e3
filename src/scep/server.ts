/** The server's half of RFC 8894: from the octets of a PKIMessage to a request, and from an outcome to a CertRep. */
import {
  buildCertsOnly,
  buildEnvelopedData,
  buildPasswordEnvelopedData,
  buildSignedData,
  type Certificate,
  type CertificationRequest,
  type CipherName,
  ciphers,
  type Decrypt,
  type DigestName,
  digestOf,
  type EnvelopedData,
  type KeyTransport,
  openEnvelopedData,
  parseCertificationRequest,
  parseEnvelopedData,
  parsePublicKeyInfo,
  parseSignedData,
  type Sign,
  type SignedData,
  type SignerInfo,
  sameOctets,
  signatureAlgorithmOf,
  signerCertificateOf,
  verifyCertificationRequest,
  verifySigner,
} from '../codec/index.ts';
import { type FailInfo, PkiError } from '../errors.ts';
import {
  buildAttributes,
  type IssuerAndSerialNumber,
  type MessageType,
  messageTypeOf,
  nonceOf,
  type PkiStatus,
  parseIssuerAndSerialNumber,
  transactionIDOf,
} from './message.ts';
import { assertNotRefused, type RefusedAlgorithms, weakAlgorithmsIn } from './weak-algorithms.ts';

/** A message that could be read as far as an answer needs it. Nothing in it is verified yet. */
export interface ReceivedMessage {
  readonly signedData: SignedData;
  readonly signerInfo: SignerInfo;
  /** The certificate that the client signed with, and to which an answer is encrypted. */
  readonly signer: Certificate;
  readonly transactionID: string;
}

/** A message whose signature is good: its sender holds the key of `signer`. That alone proves no identity. */
export interface PkiMessage extends ReceivedMessage {
  /** `undefined` for a value that RFC 8894 does not define. */
  readonly messageType: MessageType | undefined;
  /** DEVIATION RFC 8894 §3.2.1.5: clients that send none are served; they get no recipientNonce (nonce-missing). */
  readonly senderNonce?: Uint8Array;
  /** The client's digest; the answer uses the same. */
  readonly digest: DigestName;
  /** pkcsPKIEnvelope; absent if the message has no content. */
  readonly pkcsPKIEnvelope?: Uint8Array;
}

/**
 * Reads a pkiMessage (§3.2).
 *
 * @throws PkiError `scep_body` if it is not a SignedData with one signer, the signer's certificate and a transactionID:
 *   then no answer of the protocol can be built.
 */
export function readPkiMessage(bytes: Uint8Array): ReceivedMessage {
  try {
    const signedData = parseSignedData(bytes);
    const [signerInfo, ...more] = signedData.signerInfos;
    if (signerInfo === undefined || more.length > 0)
      throw new PkiError('scep_body', 'not exactly one signer');
    // §2.3: the certificate MUST be in the message. Its key need not be that of the request.
    // QUIRK Windows: signs with a key that it throws away (windows-throw-away-signer).
    const signer = signerCertificateOf(signedData, signerInfo);
    if (signer === undefined)
      throw new PkiError('scep_body', 'the signer’s certificate is not in the message');
    return { signedData, signerInfo, signer, transactionID: transactionIDOf(signerInfo) };
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause;
    throw new PkiError('scep_body', `not a PKIMessage: ${cause.message}`, { cause });
  }
}

/**
 * Verifies the signature and reads the attributes (§3.2.1).
 *
 * @throws PkiError `scep_signature`, `scep_attributes`, `algorithm_unsupported`.
 */
export function verifyPkiMessage(received: ReceivedMessage): PkiMessage {
  const { signedData, signerInfo, signer } = received;
  const digest = digestOf(signerInfo.digestAlgorithm).name;
  if (!verifySigner(signedData, signerInfo, signer)) {
    throw new PkiError('scep_signature', 'the signature does not verify with the enclosed certificate');
  }
  const messageType = messageTypeOf(signerInfo);
  const senderNonce = nonceOf(signerInfo, 'senderNonce');
  return {
    ...received,
    messageType,
    digest,
    ...(senderNonce === undefined ? {} : { senderNonce }),
    ...(signedData.content === undefined ? {} : { pkcsPKIEnvelope: signedData.content }),
  };
}

/** How a client encrypted its message: the answer is encrypted alike. */
export interface EnvelopeManner {
  readonly cipher: CipherName;
  readonly keyTransport: KeyTransport;
  /** For a client whose key cannot be encrypted to (§3.1): the answer is encrypted under the challenge that came with it. */
  readonly password?: string;
}

/** The certification request of a PKCSReq or RenewalReq, its signature verified. */
export interface OpenedRequest extends EnvelopeManner {
  readonly csr: CertificationRequest;
}

/** The certificate that a GetCert or GetCRL asks about. */
export interface OpenedInquiry extends EnvelopeManner {
  readonly about: IssuerAndSerialNumber;
}

/**
 * Opens the pkcsPKIEnvelope of a PKCSReq or RenewalReq (§3.2.2, §3.3.1) and checks the proof of possession.
 *
 * Whatever goes wrong from the decryption to the signature of the request is told without detail, because the sender
 * chooses the ciphertext and watches the answer: who puts pieces of another device's message into one of his own would
 * learn what is in them from knowing whether they still read as a request. The signature belongs to it because nobody
 * can put together one that verifies; `csr_signature` has the same public text as `scep_envelope`.
 *
 * @throws PkiError `scep_envelope`, `csr_signature`; `algorithm_unsupported` and `algorithm_refused` for what stands in
 *   the clear; `answer_unencryptable`; `key_unavailable`.
 */
export async function openPkcsReq(
  message: PkiMessage,
  decrypt: Decrypt,
  refused: RefusedAlgorithms,
): Promise<OpenedRequest> {
  const { enveloped, ...manner } = readEnvelope(message, refused, 'may hold a secret');
  const content = await openEnvelopedData(enveloped, decrypt);
  let csr: CertificationRequest;
  try {
    csr = parseCertificationRequest(content);
  } catch {
    throw new PkiError('scep_envelope', 'the envelope cannot be opened');
  }
  if (!provesPossession(csr)) throw new PkiError('csr_signature', 'proof of possession failed');
  // From here on the request is known to be the sender's own: what is wrong with it may be told.
  if (digestOfSignature(csr) === 'sha1') assertNotRefused(['sha1'], refused);
  if (parsePublicKeyInfo(message.signer.spki).type === 'rsa') return { csr, ...manner };
  // Who sends another device's envelope under a key of his own must get nothing that is encrypted under its challenge: he
  // could try secrets against it. A RenewalReq succeeds only if its signer is on record, which the RA looks up.
  if (message.messageType !== 'RenewalReq' && !sameOctets(csr.spki, message.signer.spki))
    throw new PkiError(
      'answer_unencryptable',
      'the key of the sender cannot be encrypted to, and is not the key of the request',
    );
  const { challengePassword: password = '' } = csr;
  if (password === '')
    throw new PkiError(
      'answer_unencryptable',
      'the key of the sender cannot be encrypted to, and the request has no challengePassword',
    );
  return { csr, ...manner, password };
}

/**
 * Opens the pkcsPKIEnvelope of a GetCert or GetCRL (§3.3.4).
 *
 * What cannot be opened or read is answered as what does not exist. These messages hold no signature of their own, so
 * that a piece of another device's message might be made to read as one: the answer must not tell.
 *
 * @throws PkiError `certificate_unknown`; `algorithm_unsupported` as `openPkcsReq`; `key_unavailable`.
 */
export async function openInquiry(
  message: PkiMessage,
  decrypt: Decrypt,
  refused: RefusedAlgorithms,
): Promise<OpenedInquiry> {
  const { enveloped, ...manner } = readEnvelope(message, refused, 'no secret');
  try {
    return { about: parseIssuerAndSerialNumber(await openEnvelopedData(enveloped, decrypt)), ...manner };
  } catch (cause) {
    if (cause instanceof PkiError && cause.kind !== 'malformed') throw cause;
    throw new PkiError('certificate_unknown', 'the envelope does not name a certificate');
  }
}

/**
 * How a CertPoll is to be answered (§3.3.3). Its envelope stays closed: what is in it decides nothing, since a request
 * is found by its transactionID and key (§4.4), and whoever has one that waits could otherwise learn from PENDING or
 * FAILURE what pieces of another device's message read as.
 *
 * @throws PkiError `scep_envelope` if there is none; `algorithm_unsupported` as `openPkcsReq`.
 */
export function readCertPoll(message: PkiMessage, refused: RefusedAlgorithms): EnvelopeManner {
  const { cipher, keyTransport } = readEnvelope(message, refused, 'no secret');
  return { cipher, keyTransport };
}

/** Octets of a digest. */
const digestBytes: Readonly<Record<DigestName, number>> = { sha1: 20, sha256: 32, sha384: 48, sha512: 64 };
/** RFC 8017 §7.2: what RSAES-PKCS1-v1_5 adds at least. */
const PKCS1_PADDING_BYTES = 11;

/**
 * Before anything is issued: who signs with an RSA key that is too short could not be given his certificate, nor who signs
 * with another key unless the message may hold a secret to encrypt it under (§3.1).
 */
function assertAnswerable(
  { signer }: PkiMessage,
  { cipher, keyTransport }: EnvelopeManner,
  secret: 'may hold a secret' | 'no secret',
): void {
  const key = parsePublicKeyInfo(signer.spki);
  if (key.type === 'ec' && secret === 'may hold a secret') return;
  // RFC 8017 §7.1: OAEP adds two digests and two octets.
  const paddingBytes =
    keyTransport.name === 'rsaes-oaep' ? 2 * digestBytes[keyTransport.digest] + 2 : PKCS1_PADDING_BYTES;
  if (key.type !== 'rsa' || key.modulus.length < ciphers[cipher].keyBytes + paddingBytes)
    throw new PkiError('answer_unencryptable', 'no answer can be encrypted to the key of the sender');
}

function digestOfSignature(csr: CertificationRequest): DigestName {
  return signatureAlgorithmOf(csr.signatureAlgorithm).digest;
}

function provesPossession(csr: CertificationRequest): boolean {
  try {
    return verifyCertificationRequest(csr);
  } catch (cause) {
    if (cause instanceof PkiError) return false;
    throw cause;
  }
}

/** Reads what stands in the clear, before any key is used. */
function readEnvelope(
  message: PkiMessage,
  refused: RefusedAlgorithms,
  secret: 'may hold a secret' | 'no secret',
): EnvelopeManner & { readonly enveloped: EnvelopedData } {
  const enveloped = parseEnvelope(message);
  const manner = {
    cipher: enveloped.cipher.name,
    keyTransport: enveloped.recipients[0]?.keyTransport ?? ({ name: 'rsaes-pkcs1-v1_5' } as const),
  };
  assertNotRefused(weakAlgorithmsIn({ digest: message.digest, ...manner }), refused);
  assertAnswerable(message, manner, secret);
  return { enveloped, ...manner };
}

function parseEnvelope(message: PkiMessage): EnvelopedData {
  if (message.pkcsPKIEnvelope === undefined)
    throw new PkiError('scep_envelope', 'the envelope cannot be opened');
  try {
    return parseEnvelopedData(message.pkcsPKIEnvelope);
  } catch (cause) {
    if (cause instanceof PkiError && cause.code === 'algorithm_unsupported') throw cause;
    throw new PkiError('scep_envelope', 'the envelope cannot be opened');
  }
}

/** The RA's identity towards clients: the certificate and key that sign every answer. */
export interface AnswerSigner {
  readonly certificate: Certificate;
  /** DER of what goes with the answer: the signer's certificate and its issuers. */
  readonly chain: readonly Uint8Array[];
  /** DER of what follows the issued certificate in its envelope; nothing if absent. */
  readonly enclosed?: readonly Uint8Array[];
  /** What an answer without an envelope has for content; `empty` if absent. */
  readonly withoutEnvelope?: 'empty' | 'absent';
  readonly sign: Sign;
}

/** SUCCESS (§3.3.2.1): the certificate, encrypted to the client as the client encrypted its request. */
export async function buildSuccess(
  message: PkiMessage,
  manner: EnvelopeManner,
  certificate: Uint8Array,
  signer: AnswerSigner,
  senderNonce: Uint8Array,
): Promise<Uint8Array> {
  // QUIRK Apple: pairs its key with the first certificate, whatever it is: the leaf stands first, and alone
  // (apple-leaf-alone).
  // QUIRK Cisco: requires the CA's certificate beside it.
  const content = buildCertsOnly([certificate, ...(signer.enclosed ?? [])]);
  return await buildSuccessWith(content, message, manner, signer, senderNonce);
}

/** SUCCESS to a GetCRL (§3.3.4): the CRL, and no certificate. */
export async function buildCrlSuccess(
  message: PkiMessage,
  manner: EnvelopeManner,
  crl: Uint8Array,
  signer: AnswerSigner,
  senderNonce: Uint8Array,
): Promise<Uint8Array> {
  return await buildSuccessWith(buildCertsOnly([], [crl]), message, manner, signer, senderNonce);
}

async function buildSuccessWith(
  content: Uint8Array,
  message: PkiMessage,
  { cipher, keyTransport, password }: EnvelopeManner,
  signer: AnswerSigner,
  senderNonce: Uint8Array,
): Promise<Uint8Array> {
  const envelope =
    password === undefined
      ? buildEnvelopedData({ content, recipient: message.signer, cipher, keyTransport })
      : await buildPasswordEnvelopedData({ content, password, cipher });
  return await buildCertRep(message, { pkiStatus: 'SUCCESS', senderNonce }, envelope, signer);
}

/** PENDING (§3.3.2.3): no envelope; the client polls with the same transactionID. */
export async function buildPending(
  message: PkiMessage,
  signer: AnswerSigner,
  senderNonce: Uint8Array,
): Promise<Uint8Array> {
  return await buildCertRep(message, { pkiStatus: 'PENDING', senderNonce }, undefined, signer);
}

/** FAILURE (§3.3.2.2): no envelope; `failInfoText` must not say more than anyone may know. */
export async function buildFailure(
  received: ReceivedMessage | PkiMessage,
  failure: { readonly failInfo: FailInfo; readonly failInfoText?: string },
  signer: AnswerSigner,
  senderNonce: Uint8Array,
): Promise<Uint8Array> {
  return await buildCertRep(received, { pkiStatus: 'FAILURE', ...failure, senderNonce }, undefined, signer);
}

async function buildCertRep(
  request: ReceivedMessage | PkiMessage,
  status: {
    readonly pkiStatus: PkiStatus;
    readonly failInfo?: FailInfo;
    readonly failInfoText?: string;
    readonly senderNonce: Uint8Array;
  },
  pkcsPKIEnvelope: Uint8Array | undefined,
  signer: AnswerSigner,
): Promise<Uint8Array> {
  const recipientNonce = recipientNonceFor(request);
  return await buildSignedData(
    {
      // DEVIATION RFC 8894 §3.3.2.2, §3.3.2.3: FAILURE and PENDING have empty content instead of none.
      // QUIRK certmonger: takes an answer without eContent for an unreadable one and asks again; other servers have
      // answered like this for years (certmonger-refused).
      content: pkcsPKIEnvelope ?? (signer.withoutEnvelope === 'absent' ? undefined : Uint8Array.of()),
      // A request that was refused for its digest is answered in the digest that every client must have (§2.9).
      digest: 'digest' in request ? request.digest : 'sha256',
      signer: signer.certificate,
      certificates: signer.chain,
      attributes: buildAttributes({
        messageType: 'CertRep',
        transactionID: request.transactionID,
        ...status,
        ...(recipientNonce === undefined ? {} : { recipientNonce }),
      }),
    },
    signer.sign,
  );
}

/**
 * §3.2.1.5 says 16 octets; a client that sends more or fewer gets as many: nonce-of-8-octets, nonce-of-32-octets
 * (QUIRK clients with nonces of 8 to 32 octets).
 */
const NONCE_BYTES = 16;

/** How many octets the senderNonce of an answer has: as many as the client's. */
export function answerNonceBytes(request: ReceivedMessage): number {
  return recipientNonceFor(request)?.length ?? NONCE_BYTES;
}

/** §3.2.1.5: the client's senderNonce, given back. */
function recipientNonceFor(request: ReceivedMessage): Uint8Array | undefined {
  try {
    return nonceOf(request.signerInfo, 'senderNonce');
  } catch {
    return undefined;
  }
}
