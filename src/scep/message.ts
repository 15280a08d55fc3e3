/** The words of SCEP (RFC 8894 §3.2.1): message types, statuses, failure reasons and the attributes that carry them. */
import {
  type Attribute,
  buildSerialNumber,
  DerReader,
  directoryString,
  latin1,
  type Name,
  octetString,
  oid,
  parseName,
  printableString,
  readDer,
  type SignerInfo,
  sequence,
  serialNumberText,
  signedAttributeOf,
  tag,
  utf8String,
} from '../codec/index.ts';
import { type FailInfo, PkiError } from '../errors.ts';

/** messageType (§3.2.1.2). `UpdateReq` is of the drafts only; it is known so that it can be refused by name. */
export const messageTypes = {
  CertRep: 3,
  RenewalReq: 17,
  UpdateReq: 18,
  PKCSReq: 19,
  CertPoll: 20,
  GetCert: 21,
  GetCRL: 22,
} as const;

/** Name of a messageType. */
export type MessageType = keyof typeof messageTypes;

/** pkiStatus (§3.2.1.3). */
export const pkiStatuses = { SUCCESS: 0, FAILURE: 2, PENDING: 3 } as const;

/** Name of a pkiStatus. */
export type PkiStatus = keyof typeof pkiStatuses;

/** failInfo (§3.2.1.4). */
export const failInfos: Readonly<Record<FailInfo, number>> = {
  badAlg: 0,
  badMessageCheck: 1,
  badRequest: 2,
  badTime: 3,
  badCertId: 4,
};

/** A transactionID is a hash or a counter in every client; longer ones are noise. */
const TRANSACTION_ID_CHARACTERS_MAX = 255;
/** §3.2.1.5 says 16 octets; clients send 8 to 32. */
const NONCE_BYTES_MAX = 64;

function attributes(message: string): PkiError {
  return new PkiError('scep_attributes', message);
}

/**
 * The name of a number that §3.2.1 writes as a decimal PrintableString. Exactly that: what another reader might take for
 * a number too (another string type, a sign, zeros, spaces, digits of another script) has no name here.
 */
function decimalName<Names extends string>(
  value: Uint8Array,
  table: Readonly<Record<Names, number>>,
): Names | undefined {
  const reader = new DerReader(value);
  const decimal = latin1(reader.content(tag.printableString));
  reader.end();
  for (const [name, number] of Object.entries(table)) if (decimal === String(number)) return name as Names;
  return undefined;
}

function text(value: Uint8Array): string {
  const reader = new DerReader(value);
  const read = directoryString(reader);
  reader.end();
  return read;
}

/** transactionID (§3.2.1.1), which every message must have. Throws PkiError `scep_attributes`. */
export function transactionIDOf(signerInfo: SignerInfo): string {
  const value = signedAttributeOf(signerInfo, oid.scepTransactionID);
  if (value === undefined) throw attributes('there is no transactionID');
  const transactionID = text(value);
  if (!/^[\x20-\x7e]+$/.test(transactionID) || transactionID.length > TRANSACTION_ID_CHARACTERS_MAX) {
    throw attributes('the transactionID is empty, too long or not printable');
  }
  return transactionID;
}

/** The messageType by name; `undefined` for a value that RFC 8894 does not define. Throws PkiError `scep_attributes`. */
export function messageTypeOf(signerInfo: SignerInfo): MessageType | undefined {
  const value = signedAttributeOf(signerInfo, oid.scepMessageType);
  if (value === undefined) throw attributes('there is no messageType');
  return decimalName(value, messageTypes);
}

/** The pkiStatus of a CertRep. Throws PkiError `scep_attributes`. */
export function pkiStatusOf(signerInfo: SignerInfo): PkiStatus {
  const value = signedAttributeOf(signerInfo, oid.scepPkiStatus);
  const status = value === undefined ? undefined : decimalName(value, pkiStatuses);
  if (status === undefined) throw attributes('there is no pkiStatus, or an undefined one');
  return status;
}

/** The failInfo of a CertRep with status FAILURE. Throws PkiError `scep_attributes`. */
export function failInfoOf(signerInfo: SignerInfo): FailInfo {
  const value = signedAttributeOf(signerInfo, oid.scepFailInfo);
  const failInfo = value === undefined ? undefined : decimalName(value, failInfos);
  if (failInfo === undefined) throw attributes('there is no failInfo, or an undefined one');
  return failInfo;
}

/** failInfoText (§3.2.1.4); `undefined` if absent. */
export function failInfoTextOf(signerInfo: SignerInfo): string | undefined {
  const value = signedAttributeOf(signerInfo, oid.scepFailInfoText);
  return value === undefined ? undefined : text(value);
}

/** A nonce (§3.2.1.5); `undefined` if absent. Throws PkiError `scep_attributes`. */
export function nonceOf(
  signerInfo: SignerInfo,
  which: 'senderNonce' | 'recipientNonce',
): Uint8Array | undefined {
  const value = signedAttributeOf(
    signerInfo,
    which === 'senderNonce' ? oid.scepSenderNonce : oid.scepRecipientNonce,
  );
  if (value === undefined) return undefined;
  const reader = new DerReader(value);
  const nonce = reader.octetString();
  reader.end();
  if (nonce.length === 0 || nonce.length > NONCE_BYTES_MAX)
    throw attributes(`a ${which} of ${nonce.length} octets`);
  return nonce;
}

/** What a message says of itself. */
export interface MessageAttributes {
  readonly messageType: MessageType;
  readonly transactionID: string;
  readonly senderNonce?: Uint8Array;
  readonly recipientNonce?: Uint8Array;
  readonly pkiStatus?: PkiStatus;
  readonly failInfo?: FailInfo;
  readonly failInfoText?: string;
}

/** The attributes as CMS carries them: numbers as decimal PrintableStrings (§3.2.1). */
export function buildAttributes(message: MessageAttributes): Attribute[] {
  const decimal = (identifier: string, number: number): Attribute => ({
    oid: identifier,
    values: [printableString(String(number))],
  });
  const list: Attribute[] = [
    decimal(oid.scepMessageType, messageTypes[message.messageType]),
    { oid: oid.scepTransactionID, values: [printableString(message.transactionID)] },
  ];
  if (message.pkiStatus !== undefined) list.push(decimal(oid.scepPkiStatus, pkiStatuses[message.pkiStatus]));
  if (message.failInfo !== undefined) list.push(decimal(oid.scepFailInfo, failInfos[message.failInfo]));
  if (message.failInfoText !== undefined) {
    list.push({ oid: oid.scepFailInfoText, values: [utf8String(message.failInfoText)] });
  }
  if (message.senderNonce !== undefined) {
    list.push({ oid: oid.scepSenderNonce, values: [octetString(message.senderNonce)] });
  }
  if (message.recipientNonce !== undefined) {
    list.push({ oid: oid.scepRecipientNonce, values: [octetString(message.recipientNonce)] });
  }
  return list;
}

/** What a CertPoll asks for (§3.3.3): the issuer and the subject of a certificate that is not made yet. */
export interface IssuerAndSubject {
  readonly issuer: Name;
  readonly subject: Name;
}

/** Reads an IssuerAndSubject. Throws PkiError `der_malformed`, `der_limit`, `name_malformed`. */
export function parseIssuerAndSubject(bytes: Uint8Array): IssuerAndSubject {
  return readDer(bytes, tag.sequence, (reader) => ({
    issuer: parseName(reader.raw(tag.sequence)),
    subject: parseName(reader.raw(tag.sequence)),
  }));
}

/** DER of an IssuerAndSubject. */
export function buildIssuerAndSubject({ issuer, subject }: IssuerAndSubject): Uint8Array {
  return sequence(issuer.raw, subject.raw);
}

/** What GetCert and GetCRL ask about (§3.3.4; RFC 5652 §10.2.4): a certificate by its issuer and number. */
export interface IssuerAndSerialNumber {
  readonly issuer: Name;
  /** As in `Certificate`. */
  readonly serialNumber: string;
}

/** Reads an IssuerAndSerialNumber. Throws PkiError `der_malformed`, `der_limit`, `name_malformed`. */
export function parseIssuerAndSerialNumber(bytes: Uint8Array): IssuerAndSerialNumber {
  return readDer(bytes, tag.sequence, (reader) => ({
    issuer: parseName(reader.raw(tag.sequence)),
    serialNumber: serialNumberText(reader.integer()),
  }));
}

/** DER of an IssuerAndSerialNumber. Throws PkiError `der_malformed` if the number is none. */
export function buildIssuerAndSerialNumber({ issuer, serialNumber }: IssuerAndSerialNumber): Uint8Array {
  return sequence(issuer.raw, buildSerialNumber(serialNumber));
}
