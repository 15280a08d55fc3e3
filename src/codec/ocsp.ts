/** The Online Certificate Status Protocol (RFC 6960): requests, responses, and when a response may be believed. */
import { hash } from 'node:crypto';
import { PkiError } from '../errors.ts';
import {
  type AlgorithmIdentifier,
  buildAlgorithmIdentifier,
  type DigestName,
  digestOf,
  digests,
  publicKeyOf,
  readAlgorithmIdentifier,
  type SignatureAlgorithmName,
  signatureAlgorithmOf,
  verifySignature,
} from './algorithm.ts';
import {
  buildSerialNumber,
  buildSigned,
  type Certificate,
  parseCertificate,
  type Sign,
  serialNumberText,
  verifyCertificateSignature,
} from './certificate.ts';
import { type RevocationReasonName, revocationReasons } from './crl.ts';
import {
  contextConstructed,
  contextPrimitive,
  DerReader,
  der,
  derOf,
  generalizedTime,
  hex,
  nullValue,
  objectIdentifier,
  octetString,
  readDer,
  sameOctets,
  sequence,
  tag,
} from './der.ts';
import {
  buildExtensions,
  type Extension,
  extensionValue,
  extKeyUsageOf,
  keyIdentifier,
  readExtensions,
} from './extension.ts';
import type { Name } from './name.ts';
import { oid } from './oid.ts';

/** Which certificate is asked about (§4.1.1). */
export interface CertID {
  /** `undefined` for a digest that is not known: then nobody can tell which CA is meant. */
  readonly hashAlgorithm: DigestName | undefined;
  /** Digest over the DER of the issuer's name. */
  readonly issuerNameHash: Uint8Array;
  /** Digest over the issuer's key: the content of its BIT STRING without the octet of unused bits. */
  readonly issuerKeyHash: Uint8Array;
  /** Canonical text, as `serialNumberText` makes it. */
  readonly serialNumber: string;
  /** DER, as it came: an answer repeats it octet for octet, since clients compare it so. */
  readonly raw: Uint8Array;
}

/** A parsed request. The signature that it may have is not looked at: §4.1.2 leaves it open who may sign one. */
export interface OcspRequest {
  /** At least one. */
  readonly certIDs: readonly CertID[];
  /** 1 to 128 octets (RFC 9654 §2.1); absent if the client takes an answer that was signed before. */
  readonly nonce?: Uint8Array;
}

/** What can be said about a certificate (§2.2). */
export type OcspCertStatus =
  | { readonly status: 'good' }
  | { readonly status: 'unknown' }
  | {
      readonly status: 'revoked';
      readonly revocationTime: Date;
      readonly revocationReason: RevocationReasonName;
    };

/** The answer about one certificate (§4.2.1). */
export interface OcspSingleResponse {
  readonly certID: CertID;
  readonly certStatus: OcspCertStatus;
  readonly thisUpdate: Date;
  /** Absent: newer information is there at any time. RFC 5019 §2.2.4 wants it. */
  readonly nextUpdate?: Date;
}

/** Answers without a body, by their codes (§4.2.1; 4 is not used). */
export const ocspErrors = {
  malformedRequest: 1,
  internalError: 2,
  tryLater: 3,
  sigRequired: 5,
  unauthorized: 6,
} as const;

/** Name of an answer without a body. */
export type OcspErrorName = keyof typeof ocspErrors;

/** What a successful response is built from. */
export interface OcspResponseFields {
  /** SubjectPublicKeyInfo of the signer; the responder is named by its key. */
  readonly signerSpki: Uint8Array;
  readonly signatureAlgorithm: SignatureAlgorithmName;
  readonly producedAt: Date;
  readonly responses: readonly OcspSingleResponse[];
  readonly extensions: readonly Extension[];
  /** DER; the delegated signer's certificate, unless the CA itself signs. */
  readonly certificates: readonly Uint8Array[];
}

/** A parsed successful response; parts are views of `raw`. */
export interface BasicOcspResponse {
  readonly raw: Uint8Array;
  readonly tbsResponseData: Uint8Array;
  /** SHA-1 of the signer's key; absent if it is named by its subject. */
  readonly responderKeyHash?: Uint8Array;
  /** DER of the signer's subject; absent if it is named by its key. */
  readonly responderName?: Uint8Array;
  readonly producedAt: Date;
  readonly responses: readonly OcspSingleResponse[];
  readonly extensions: readonly Extension[];
  readonly nonce?: Uint8Array;
  readonly certificates: readonly Certificate[];
  readonly signatureAlgorithm: AlgorithmIdentifier;
  readonly signature: Uint8Array;
}

/** A parsed response. */
export type OcspResponse =
  | { readonly responseStatus: OcspErrorName }
  | { readonly responseStatus: 'successful'; readonly basic: BasicOcspResponse };

/** Real requests name one certificate and have about a hundred octets; a signed one carries a chain. */
const REQUEST_BYTES_MAX = 16 * 1024;
/** As many as an answer of reasonable size can speak of. */
const CERT_IDS_MAX = 32;
/** RFC 5280 §4.1.2.2 allows 20; old CAs have issued longer ones, and asking about one is no error. */
const SERIAL_NUMBER_BYTES_MAX = 64;
/** RFC 9654 §2.1. */
const NONCE_BYTES_MAX = 128;
/** An answer with a chain of certificates has a few kilobytes. */
const RESPONSE_BYTES_MAX = 256 * 1024;
const RESPONSES_MAX = 1024;

/** Extensions of a request that are heeded, or that allow what we answer anyway (§4.4.3: the basic response). */
const knownRequestExtensions: ReadonlySet<string> = new Set([oid.ocspNonce, oid.ocspResponse]);

// --- requests ---------------------------------------------------------------------------------------------------------

/**
 * Reads one DER OCSPRequest that fills `raw`.
 *
 * @throws PkiError `ocsp_malformed`, with the cause in the message; also for a nonce of no or more than 128 octets
 *   (RFC 9654 §2.1: a responder MUST reject it so) and for a critical extension that is not known (§4.4).
 */
export function parseOcspRequest(raw: Uint8Array): OcspRequest {
  return asOcspMalformed('OCSP request', () => readRequest(raw));
}

function readRequest(raw: Uint8Array): OcspRequest {
  if (raw.length > REQUEST_BYTES_MAX) throw new PkiError('der_limit', `over ${REQUEST_BYTES_MAX} octets`);
  return readDer(raw, tag.sequence, (outer) => {
    const reader = outer.enter(tag.sequence);
    const signature = outer.enterOptional(contextConstructed(0));
    signature?.skip(tag.sequence);
    signature?.end();

    readVersion(reader);
    const requestor = reader.enterOptional(contextConstructed(1));
    requestor?.skip();
    requestor?.end();
    const list = reader.enter(tag.sequence);
    const certIDs: CertID[] = [];
    while (!list.done) {
      if (certIDs.length >= CERT_IDS_MAX)
        throw new PkiError('der_limit', `over ${CERT_IDS_MAX} certificates`);
      const request = list.enter(tag.sequence);
      certIDs.push(readCertID(request));
      refuseUnknownCritical(readWrappedExtensions(request, 0));
      request.end();
    }
    if (certIDs.length === 0) throw new PkiError('der_malformed', 'it names no certificate');
    const extensions = readWrappedExtensions(reader, 2);
    reader.end();
    refuseUnknownCritical(extensions);
    const nonce = readNonce(extensions);
    return { certIDs, ...(nonce === undefined ? {} : { nonce }) };
  });
}

/** DEVIATION X.690 §11.5: a version that is written out though it is the default is taken; it changes nothing. */
function readVersion(reader: DerReader): void {
  const version = reader.enterOptional(contextConstructed(0));
  if (version !== undefined && version.smallInteger() !== 0)
    throw new PkiError('der_malformed', 'a version other than v1(0)');
  version?.end();
}

function readWrappedExtensions(reader: DerReader, n: number): Extension[] {
  const wrapper = reader.enterOptional(contextConstructed(n));
  if (wrapper === undefined) return [];
  const extensions = readExtensions(wrapper.enter(tag.sequence));
  wrapper.end();
  return extensions;
}

/** §4.4: what is not known is passed over, unless it is critical. */
function refuseUnknownCritical(extensions: readonly Extension[]): void {
  const unknown = extensions.find(
    (extension) => extension.critical && !knownRequestExtensions.has(extension.oid),
  );
  if (unknown !== undefined) throw new PkiError('der_malformed', `critical extension ${unknown.oid}`);
}

function readNonce(extensions: readonly Extension[]): Uint8Array | undefined {
  const value = extensionValue({ extensions }, oid.ocspNonce);
  if (value === undefined) return undefined;
  const reader = new DerReader(value);
  const nonce = reader.octetString();
  reader.end();
  if (nonce.length === 0 || nonce.length > NONCE_BYTES_MAX)
    throw new PkiError('der_malformed', `a nonce of ${nonce.length} octets`);
  return nonce;
}

function readCertID(reader: DerReader): CertID {
  const raw = reader.raw(tag.sequence);
  return readDer(raw, tag.sequence, (inner) => {
    const hashAlgorithm = digestNameOf(readAlgorithmIdentifier(inner));
    const issuerNameHash = inner.octetString();
    const issuerKeyHash = inner.octetString();
    const serialNumber = inner.integer();
    if (serialNumber.length > SERIAL_NUMBER_BYTES_MAX)
      throw new PkiError('der_limit', `a serial number of ${serialNumber.length} octets`);
    return {
      hashAlgorithm,
      issuerNameHash,
      issuerKeyHash,
      serialNumber: serialNumberText(serialNumber),
      raw,
    };
  });
}

function digestNameOf(algorithm: AlgorithmIdentifier): DigestName | undefined {
  try {
    return digestOf(algorithm).name;
  } catch {
    return undefined;
  }
}

/** Who issued: the two things that a CertID has digests of. */
export interface CertIDIssuer {
  readonly subject: Name;
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
}

/**
 * Digests over name and key of an issuer, as a CertID has them.
 *
 * @throws PkiError `der_malformed` if the key is not a SubjectPublicKeyInfo.
 */
export function issuerHashes(
  issuer: CertIDIssuer,
  hashAlgorithm: DigestName,
): { readonly issuerNameHash: Uint8Array; readonly issuerKeyHash: Uint8Array } {
  const key = readDer(issuer.spki, tag.sequence, (reader) => {
    reader.skip(tag.sequence);
    return reader.bitStringOctets();
  });
  return {
    issuerNameHash: hash(hashAlgorithm, issuer.subject.raw, 'buffer'),
    issuerKeyHash: hash(hashAlgorithm, key, 'buffer'),
  };
}

/**
 * The CertID of a certificate.
 *
 * @throws PkiError `der_malformed` for a serial number that is not canonical.
 */
export function buildCertID(issuer: CertIDIssuer, serialNumber: string, hashAlgorithm: DigestName): CertID {
  const hashes = issuerHashes(issuer, hashAlgorithm);
  const raw = sequence(
    buildAlgorithmIdentifier({ oid: digests[hashAlgorithm].oid, parameters: nullValue }),
    octetString(hashes.issuerNameHash),
    octetString(hashes.issuerKeyHash),
    buildSerialNumber(serialNumber),
  );
  return { hashAlgorithm, ...hashes, serialNumber, raw };
}

/** Builds an unsigned OCSPRequest. */
export function buildOcspRequest({ certIDs, nonce }: OcspRequest): Uint8Array {
  return sequence(
    sequence(
      derOf(
        tag.sequence,
        certIDs.map(({ raw }) => sequence(raw)),
      ),
      ...(nonce === undefined
        ? []
        : [der(contextConstructed(2), buildExtensions([ocspNonceExtension(nonce)]))]),
    ),
  );
}

// --- extensions -------------------------------------------------------------------------------------------------------

/** The nonce, of a request or repeated in its answer (§4.4.1; RFC 9654 §2.1: not critical). */
export function ocspNonceExtension(nonce: Uint8Array): Extension {
  return { oid: oid.ocspNonce, critical: false, value: octetString(nonce) };
}

/** Says that serial numbers which were never issued are answered as revoked (§4.4.8). */
export function extendedRevokeExtension(): Extension {
  return { oid: oid.ocspExtendedRevoke, critical: false, value: nullValue };
}

/** In a responder's certificate: it is not to be checked for revocation while it lasts (§4.2.2.2.1). */
export function ocspNoCheckExtension(): Extension {
  return { oid: oid.ocspNoCheck, critical: false, value: nullValue };
}

// --- responses --------------------------------------------------------------------------------------------------------

/** An OCSPResponse that is an error: unsigned, and three octets of content. */
export function buildOcspError(name: OcspErrorName): Uint8Array {
  return sequence(der(tag.enumerated, Uint8Array.of(ocspErrors[name])));
}

/** Builds and signs a successful OCSPResponse with a BasicOCSPResponse (§4.2.1). */
export async function buildOcspResponse(fields: OcspResponseFields, sign: Sign): Promise<Uint8Array> {
  const tbs = sequence(
    // §4.2.2.3 allows either choice; by key needs no agreement on names and is the shorter (RFC 5019 §2.2.1).
    der(contextConstructed(2), octetString(keyIdentifier(fields.signerSpki))),
    // RFC 5019 §2.2.4, RFC 5280 §4.1.2.5.2: no fractional seconds.
    generalizedTime(fields.producedAt),
    derOf(tag.sequence, fields.responses.map(buildSingleResponse)),
    ...(fields.extensions.length === 0
      ? []
      : [der(contextConstructed(1), buildExtensions(fields.extensions))]),
  );
  const signed = buildSigned(tbs, fields.signatureAlgorithm, await sign(fields.signatureAlgorithm, tbs));
  return sequence(
    der(tag.enumerated, Uint8Array.of(0)),
    der(
      contextConstructed(0),
      sequence(objectIdentifier(oid.ocspBasic), octetString(withCertificates(signed, fields.certificates))),
    ),
  );
}

/** BasicOCSPResponse is SIGNED{…} with one more part, the certificates. */
function withCertificates(signed: Uint8Array, certificates: readonly Uint8Array[]): Uint8Array {
  if (certificates.length === 0) return signed;
  const parts = new DerReader(signed).content(tag.sequence);
  return sequence(parts, der(contextConstructed(0), derOf(tag.sequence, certificates)));
}

function buildSingleResponse(response: OcspSingleResponse): Uint8Array {
  return sequence(
    response.certID.raw,
    buildCertStatus(response.certStatus),
    generalizedTime(response.thisUpdate),
    ...(response.nextUpdate === undefined
      ? []
      : [der(contextConstructed(0), generalizedTime(response.nextUpdate))]),
  );
}

function buildCertStatus(certStatus: OcspCertStatus): Uint8Array {
  switch (certStatus.status) {
    case 'good':
      return der(contextPrimitive(0));
    case 'unknown':
      return der(contextPrimitive(2));
    case 'revoked': {
      const { revocationTime, revocationReason } = certStatus;
      const time = generalizedTime(revocationTime);
      // RFC 5280 §5.3.1: unspecified is said by leaving it out, as in the CRL.
      if (revocationReason === 'unspecified') return der(contextConstructed(1), time);
      const code = Uint8Array.of(revocationReasons[revocationReason]);
      return der(contextConstructed(1), time, der(contextConstructed(0), der(tag.enumerated, code)));
    }
  }
}

/**
 * Reads one DER OCSPResponse that fills `raw`. Says nothing of whether it may be believed: see `verifyOcspResponse`.
 *
 * @throws PkiError `ocsp_malformed`, with the cause in the message.
 */
export function parseOcspResponse(raw: Uint8Array): OcspResponse {
  return asOcspMalformed('OCSP response', () => readResponse(raw));
}

const errorByCode = new Map<number, OcspErrorName>(
  Object.entries(ocspErrors).map(([name, code]) => [code, name as OcspErrorName]),
);
const reasonByCode = new Map<number, RevocationReasonName>(
  Object.entries(revocationReasons).map(([name, code]) => [code, name as RevocationReasonName]),
);

function readEnumerated(reader: DerReader): number {
  const content = reader.content(tag.enumerated);
  if (content.length !== 1) throw new PkiError('der_malformed', 'an ENUMERATED out of range');
  return content[0] as number;
}

function readResponse(raw: Uint8Array): OcspResponse {
  if (raw.length > RESPONSE_BYTES_MAX) throw new PkiError('der_limit', `over ${RESPONSE_BYTES_MAX} octets`);
  return readDer(raw, tag.sequence, (reader) => {
    const code = readEnumerated(reader);
    if (code !== 0) {
      const responseStatus = errorByCode.get(code);
      if (responseStatus === undefined) throw new PkiError('der_malformed', 'an unknown responseStatus');
      return { responseStatus };
    }
    const wrapper = reader.enter(contextConstructed(0));
    const responseBytes = wrapper.enter(tag.sequence);
    wrapper.end();
    const responseType = responseBytes.oid();
    if (responseType !== oid.ocspBasic) throw new PkiError('der_malformed', `response type ${responseType}`);
    const basic = readBasicResponse(responseBytes.octetString());
    responseBytes.end();
    return { responseStatus: 'successful', basic };
  });
}

function readBasicResponse(raw: Uint8Array): BasicOcspResponse {
  return readDer(raw, tag.sequence, (outer) => {
    const tbsResponseData = outer.raw(tag.sequence);
    const signatureAlgorithm = readAlgorithmIdentifier(outer);
    const signature = outer.bitStringOctets();
    const certificates: Certificate[] = [];
    const wrapper = outer.enterOptional(contextConstructed(0));
    const list = wrapper?.enter(tag.sequence);
    wrapper?.end();
    while (list !== undefined && !list.done) certificates.push(parseCertificate(list.raw(tag.sequence)));
    return { ...readResponseData(tbsResponseData), raw, signatureAlgorithm, signature, certificates };
  });
}

function readResponseData(
  tbsResponseData: Uint8Array,
): Omit<BasicOcspResponse, 'raw' | 'signatureAlgorithm' | 'signature' | 'certificates'> {
  return readDer(tbsResponseData, tag.sequence, (reader) => {
    readVersion(reader);
    const responder = readResponderID(reader);
    const producedAt = readGeneralizedTime(reader);
    const list = reader.enter(tag.sequence);
    const responses: OcspSingleResponse[] = [];
    while (!list.done) {
      if (responses.length >= RESPONSES_MAX) throw new PkiError('der_limit', `over ${RESPONSES_MAX} answers`);
      responses.push(readSingleResponse(list.enter(tag.sequence)));
    }
    const extensions = readWrappedExtensions(reader, 1);
    refuseUnknownCritical(extensions);
    const nonce = readNonce(extensions);
    return {
      tbsResponseData,
      ...responder,
      producedAt,
      responses,
      extensions,
      ...(nonce === undefined ? {} : { nonce }),
    };
  });
}

function readResponderID(
  reader: DerReader,
): { responderKeyHash: Uint8Array } | { responderName: Uint8Array } {
  const byName = reader.enterOptional(contextConstructed(1));
  if (byName !== undefined) {
    const responderName = byName.raw(tag.sequence);
    byName.end();
    return { responderName };
  }
  const byKey = reader.enter(contextConstructed(2));
  const responderKeyHash = byKey.octetString();
  byKey.end();
  return { responderKeyHash };
}

function readSingleResponse(reader: DerReader): OcspSingleResponse {
  const certID = readCertID(reader);
  const certStatus = readCertStatus(reader);
  const thisUpdate = readGeneralizedTime(reader);
  const wrapper = reader.enterOptional(contextConstructed(0));
  const nextUpdate = wrapper === undefined ? undefined : readGeneralizedTime(wrapper);
  wrapper?.end();
  refuseUnknownCritical(readWrappedExtensions(reader, 1));
  reader.end();
  return { certID, certStatus, thisUpdate, ...(nextUpdate === undefined ? {} : { nextUpdate }) };
}

function readCertStatus(reader: DerReader): OcspCertStatus {
  const revoked = reader.enterOptional(contextConstructed(1));
  if (revoked !== undefined) {
    const revocationTime = readGeneralizedTime(revoked);
    const wrapper = revoked.enterOptional(contextConstructed(0));
    const revocationReason =
      wrapper === undefined ? 'unspecified' : reasonByCode.get(readEnumerated(wrapper));
    wrapper?.end();
    revoked.end();
    if (revocationReason === undefined) throw new PkiError('der_malformed', 'an unknown CRLReason');
    return { status: 'revoked', revocationTime, revocationReason };
  }
  const { tag: tagOctet, content } = reader.element();
  if (content.length > 0) throw new PkiError('der_malformed', 'a NULL with content');
  if (tagOctet === contextPrimitive(0)) return { status: 'good' };
  if (tagOctet === contextPrimitive(2)) return { status: 'unknown' };
  throw new PkiError('der_malformed', 'an unknown CertStatus');
}

/** §4.2.2.1: every time is a GeneralizedTime, in the form of RFC 5280 §4.1.2.5.2. */
function readGeneralizedTime(reader: DerReader): Date {
  if (reader.nextTag !== tag.generalizedTime) throw new PkiError('der_malformed', 'expected GeneralizedTime');
  return reader.time();
}

// --- belief -----------------------------------------------------------------------------------------------------------

/**
 * Whether a response may be believed about certificates of `issuer` (§3.2, §4.2.2.2): the issuer signed it itself, or a
 * responder whose certificate it issued for that purpose, is in the response and is valid `at` that time. Says nothing
 * of thisUpdate, nextUpdate or the nonce: they are the caller's, who knows what was asked.
 *
 * @throws PkiError `algorithm_unsupported`.
 */
export function verifyOcspResponse(response: BasicOcspResponse, issuer: Certificate, at: Date): boolean {
  const signer = [issuer, ...response.certificates].find(
    (candidate) =>
      isResponder(response, candidate) && (candidate === issuer || isDelegate(candidate, issuer, at)),
  );
  return (
    signer !== undefined &&
    verifySignature(
      signatureAlgorithmOf(response.signatureAlgorithm),
      publicKeyOf(signer.spki),
      response.tbsResponseData,
      response.signature,
    )
  );
}

function isResponder(response: BasicOcspResponse, { subject, spki }: Certificate): boolean {
  return response.responderKeyHash === undefined
    ? response.responderName !== undefined && sameOctets(response.responderName, subject.raw)
    : sameOctets(response.responderKeyHash, keyIdentifier(spki));
}

/** §4.2.2.2: issued directly by the CA in question, and with id-kp-OCSPSigning. */
function isDelegate(candidate: Certificate, issuer: Certificate, at: Date): boolean {
  return (
    sameOctets(candidate.issuer.raw, issuer.subject.raw) &&
    extKeyUsageOf(candidate)?.includes(oid.ocspSigning) === true &&
    candidate.notBefore <= at &&
    at <= candidate.notAfter &&
    verifyCertificateSignature(candidate, issuer.spki)
  );
}

/** Text that is the same for two CertIDs exactly if they are the same octet for octet. */
export function certIDText({ raw }: CertID): string {
  return hex(raw);
}

function asOcspMalformed<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause;
    throw new PkiError('ocsp_malformed', `${what}: ${cause.message}`, { cause });
  }
}
