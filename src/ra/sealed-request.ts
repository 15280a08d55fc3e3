/** A request that waits, as the store holds it: encrypted, since it has a challenge in it, and bound to what people see of it. */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import {
  buildGeneralNames,
  type Certificate,
  type CertificationRequest,
  type GeneralName,
  type KeyUsage,
  type Name,
  parseCertificate,
  parseCertificationRequest,
  parseGeneralNames,
  parseName,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { HeldRequest, PendingNotification } from '../store/index.ts';
import type { Approvable } from './decide.ts';
import type { EnrolmentRequest } from './validator.ts';

/** What is needed to issue later as if the request had just come. */
export interface SealedContent {
  readonly csr: CertificationRequest;
  readonly challengePassword: string;
  readonly renews?: { readonly signer: Certificate; readonly asked: 'expressly' | 'implicitly' };
  /** What a certificate manager decides about, as the decision point has made it of the request. */
  readonly approvable: Approvable;
}

/** What is told of a sealed request in the clear, to which it is bound. */
type Label = Pick<
  HeldRequest,
  'requestID' | 'endpoint' | 'issuer' | 'template' | 'subject' | 'subjectAltName'
>;

const CIPHER = 'aes-256-gcm';
/** NIST SP 800-38D §8.2: 96 bits. */
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** The key of the seal, from a secret of the RA that serves for something else too (RFC 5869). */
export function sealKeyOf(secret: Uint8Array): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', secret, '', 'leafgate held request', 32));
}

/** Seals a request: nonce, ciphertext, tag. Whoever reads the database learns nothing from it and can change nothing in it. */
export function sealRequest(key: Uint8Array, label: Label, content: SealedContent): Uint8Array {
  return seal(key, textOf(label), JSON.stringify(written(content)));
}

/** Which request a sealed notification is of. */
type NotificationLabel = Pick<PendingNotification, 'requestID' | 'endpoint'>;

/** Seals what validators are told of, so that they can be told later by another process. */
export function sealNotification(
  key: Uint8Array,
  label: NotificationLabel,
  { csr, challengePassword, source, receivedAt }: EnrolmentRequest,
): Uint8Array {
  const clear = { csr: base64(csr.raw), challengePassword, source, receivedAt: receivedAt.getTime() };
  return seal(key, notificationTextOf(label), JSON.stringify(clear));
}

/**
 * Opens what `sealNotification` has sealed.
 *
 * @throws PkiError `key_unavailable` as `openSealedRequest`.
 */
export function openSealedNotification(
  key: Uint8Array,
  label: NotificationLabel & Pick<PendingNotification, 'sealed'>,
): Pick<EnrolmentRequest, 'csr' | 'challengePassword' | 'source' | 'receivedAt'> {
  const clear = JSON.parse(unseal(key, notificationTextOf(label), label)) as {
    readonly csr: string;
    readonly challengePassword: string;
    readonly source: string;
    readonly receivedAt: number;
  };
  return {
    ...clear,
    csr: parseCertificationRequest(octets(clear.csr)),
    receivedAt: new Date(clear.receivedAt),
  };
}

/** A word before the rest: neither kind of seal opens as the other. */
function notificationTextOf({ requestID, endpoint }: NotificationLabel): string {
  return JSON.stringify(['notification', requestID, endpoint]);
}

function seal(key: Uint8Array, label: string, clear: string): Uint8Array {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, key, nonce);
  cipher.setAAD(Buffer.from(label));
  return Buffer.concat([nonce, cipher.update(clear, 'utf8'), cipher.final(), cipher.getAuthTag()]);
}

function unseal(
  key: Uint8Array,
  label: string,
  { sealed, requestID }: { readonly sealed: Uint8Array; readonly requestID: string },
): string {
  try {
    const tagAt = sealed.length - TAG_BYTES;
    const decipher = createDecipheriv(CIPHER, key, sealed.subarray(0, NONCE_BYTES));
    decipher.setAAD(Buffer.from(label));
    decipher.setAuthTag(sealed.subarray(tagAt));
    return decipher.update(sealed.subarray(NONCE_BYTES, tagAt), undefined, 'utf8') + decipher.final('utf8');
  } catch (cause) {
    throw new PkiError(
      'key_unavailable',
      `request ${requestID} cannot be opened: the challengeHashKey is another than when it came, or the database was changed`,
      { cause },
    );
  }
}

/**
 * Opens a sealed request.
 *
 * @throws PkiError `key_unavailable` if it was sealed under another key, or it or its label were changed.
 */
export function openSealedRequest(
  key: Uint8Array,
  label: Label & { readonly sealed: Uint8Array },
): SealedContent {
  return read(JSON.parse(unseal(key, textOf(label), label)) as Written);
}

function textOf({ requestID, endpoint, issuer, template, subject, subjectAltName }: Label): string {
  return JSON.stringify([requestID, endpoint, issuer, template, subject, subjectAltName]);
}

/** The JSON inside the seal; octets in base64. */
interface Written {
  readonly csr: string;
  readonly challengePassword: string;
  readonly renews?: { readonly signer: string; readonly asked: 'expressly' | 'implicitly' };
  readonly subject: string;
  /** Empty if there are no names. */
  readonly subjectAltName: string;
  readonly securityIdentifier?: string;
  readonly keyUsage?: readonly KeyUsage[];
  readonly extKeyUsage?: readonly string[];
  readonly device: string;
  readonly ignored: readonly string[];
}

function written({ csr, challengePassword, renews, approvable }: SealedContent): Written {
  const { subject, subjectAltName, ...rest } = approvable;
  return {
    csr: base64(csr.raw),
    challengePassword,
    ...(renews === undefined ? {} : { renews: { ...renews, signer: base64(renews.signer.raw) } }),
    ...rest,
    subject: base64(subject.raw),
    subjectAltName: subjectAltName.length === 0 ? '' : base64(buildGeneralNames(subjectAltName)),
  };
}

function read({ csr, challengePassword, renews, ...approvable }: Written): SealedContent {
  const names: readonly GeneralName[] =
    approvable.subjectAltName === '' ? [] : parseGeneralNames(octets(approvable.subjectAltName));
  const subject: Name = parseName(octets(approvable.subject));
  return {
    csr: parseCertificationRequest(octets(csr)),
    challengePassword,
    ...(renews === undefined
      ? {}
      : { renews: { ...renews, signer: parseCertificate(octets(renews.signer)) } }),
    approvable: { ...approvable, subject, subjectAltName: names },
  };
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
const octets = (text: string): Uint8Array => Buffer.from(text, 'base64');
