/** What a device asks for: key, certification request and PKIMessage, each made by a function of its own. */
import { createHash, randomBytes } from 'node:crypto';
import {
  buildCertificationRequest,
  type Certificate,
  type CipherName,
  type DigestName,
  type Extension,
  extKeyUsageExtension,
  type GeneralName,
  hex,
  type KeyTransport,
  keyUsageExtension,
  type Name,
  nameFromString,
  subjectAltNameExtension,
} from '../codec/index.ts';
import type { PrivateKey } from '../keys/index.ts';
import { buildCertPoll, buildPkcsReq, buildSelfSigned, selfSignatureOf } from '../scep/index.ts';
import type { ScepProfile } from './mdm-client.ts';
import type { TrustedAuthority } from './registration-authority.ts';

/** What a SCEP profile says about the request itself. */
export type RequestedCertificate = Pick<ScepProfile, 'subject' | 'keyUsage' | 'extKeyUsage'> & {
  readonly subjectAltName: readonly GeneralName[];
};

/** A PKIMessage and what its answer is checked against. */
export interface EnrolmentMessage {
  readonly transactionID: string;
  readonly senderNonce: Uint8Array;
  /** DER, as it is sent. */
  readonly message: Uint8Array;
  /** The certificate that signed it ends then. */
  readonly notAfter: Date;
}

/** RFC 8894 §3.2.1.5. */
const NONCE_BYTES = 16;
const HOUR_MS = 60 * 60 * 1000;
/** The certificate that signs the request begins a day ago: the clock of a new device may be wrong by hours. */
const BACKDATE_MS = 24 * HOUR_MS;
/** … and lasts as long as an administrator may take over a request that waits for approval. */
const LIFETIME_MS = 30 * 24 * HOUR_MS;

/**
 * Builds the certification request that a profile asks for, word for word: the validation service compares it with the
 * challenge.
 *
 * @throws PkiError `name_malformed` if the profile's subject cannot be read.
 */
export async function certificationRequestFor(
  profile: RequestedCertificate,
  key: PrivateKey,
  challenge: string | undefined,
): Promise<Uint8Array> {
  const subject = nameFromString(profile.subject);
  const extensions: Extension[] = [];
  if (profile.keyUsage.length > 0) extensions.push(keyUsageExtension(profile.keyUsage));
  if (profile.extKeyUsage.length > 0) extensions.push(extKeyUsageExtension(profile.extKeyUsage));
  if (profile.subjectAltName.length > 0)
    extensions.push(subjectAltNameExtension(profile.subjectAltName, subject));
  return await buildCertificationRequest(
    {
      subject,
      spki: key.spki,
      extensions,
      signatureAlgorithm: selfSignatureOf(key.spki),
      ...(challenge === undefined ? {} : { challengePassword: challenge }),
    },
    key.sign,
  );
}

/**
 * The throw-away certificate that a first request is signed with (RFC 8894 §2.3): self-signed, with the key of the
 * request.
 *
 * QUIRK Windows: its subject is always this one and not that of the request, which §2.3 leaves open.
 */
export async function protocolCertificateFor(key: PrivateKey, now: Date): Promise<Certificate> {
  return await buildSelfSigned(
    {
      subject: nameFromString('CN=SCEP Protocol Certificate'),
      spki: key.spki,
      notBefore: new Date(now.getTime() - BACKDATE_MS),
      notAfter: new Date(now.getTime() + LIFETIME_MS),
    },
    key.sign,
  );
}

/**
 * The transactionID of a key: SHA-256 of its SubjectPublicKeyInfo. RFC 8894 §3.2.1.1 wants it unique for each transaction,
 * and a key of this device serves one.
 */
export function transactionIDFor(spki: Uint8Array): string {
  return hex(createHash('sha256').update(spki).digest());
}

/**
 * Builds a CertPoll (RFC 8894 §3.3.3) with a fresh nonce for a request that waits.
 *
 * @param fields.signer what signed the request, with its key: the server finds the request by both
 */
export async function buildPollMessage(fields: {
  readonly transactionID: string;
  /** Subject of the request. */
  readonly subject: Name;
  readonly authority: Pick<TrustedAuthority, 'encryption' | 'issuer'>;
  readonly signer: Certificate;
  readonly key: PrivateKey;
  readonly cipher: CipherName;
  readonly digest: DigestName;
  readonly keyTransport?: KeyTransport;
}): Promise<Pick<EnrolmentMessage, 'transactionID' | 'senderNonce' | 'message'>> {
  const { subject, authority, key, ...rest } = fields;
  const senderNonce = randomBytes(NONCE_BYTES);
  const request = { issuer: authority.issuer, subject };
  const message = await buildCertPoll(
    { ...rest, recipient: authority.encryption, senderNonce, request },
    key.sign,
  );
  return { transactionID: fields.transactionID, senderNonce, message };
}

/** What a message is built from. */
export interface EnrolmentMessageFields {
  readonly key: PrivateKey;
  /** DER of the certification request. */
  readonly csr: Uint8Array;
  /** The RA's certificate for encryption. It must be verified: the message tells its holder the challenge. */
  readonly recipient: Certificate;
  readonly cipher: CipherName;
  readonly digest: DigestName;
  /** RSAES-PKCS1-v1_5 if absent. */
  readonly keyTransport?: KeyTransport;
  readonly now: Date;
  /** The certificate that is renewed, which signs with its own key; a throw-away one of `key` if absent. */
  readonly renews?: {
    readonly certificate: Certificate;
    readonly key: PrivateKey;
    readonly messageType: 'PKCSReq' | 'RenewalReq';
  };
}

/** Builds a PKCSReq or RenewalReq (RFC 8894 §3.3.1) with a fresh nonce. */
export async function buildEnrolmentMessage(fields: EnrolmentMessageFields): Promise<EnrolmentMessage> {
  const { key, csr, recipient, cipher, digest, keyTransport, now, renews } = fields;
  const signer = renews?.certificate ?? (await protocolCertificateFor(key, now));
  const transactionID = transactionIDFor(key.spki);
  const senderNonce = randomBytes(NONCE_BYTES);
  const message = await buildPkcsReq(
    {
      csr,
      signer,
      recipient,
      transactionID,
      senderNonce,
      digest,
      cipher,
      messageType: renews?.messageType ?? 'PKCSReq',
      ...(keyTransport === undefined ? {} : { keyTransport }),
    },
    (renews?.key ?? key).sign,
  );
  return { transactionID, senderNonce, message, notAfter: signer.notAfter };
}
