/** X.509 certificates (RFC 5280 §4). */
import { hash } from 'node:crypto';
import { PkiError } from '../errors.ts';
import {
  type AlgorithmIdentifier,
  publicKeyOf,
  readAlgorithmIdentifier,
  type SignatureAlgorithmName,
  signatureAlgorithmIdentifier,
  signatureAlgorithmOf,
  verifySignature,
} from './algorithm.ts';
import {
  bitString,
  contextConstructed,
  contextPrimitive,
  DerReader,
  der,
  hex,
  integer,
  sameOctets,
  sequence,
  tag,
  time,
  unsignedInteger,
} from './der.ts';
import { buildExtensions, type Extension, readExtensions } from './extension.ts';
import { type Name, parseName } from './name.ts';

/** A parsed certificate. Every part is a view of `raw`; signatures are checked over `tbsCertificate` as it came. */
export interface Certificate {
  readonly raw: Uint8Array;
  readonly tbsCertificate: Uint8Array;
  /** 1 or 3. */
  readonly version: number;
  /** Lower-case hexadecimal of the INTEGER's content octets without a leading sign octet. */
  readonly serialNumber: string;
  /** DER of issuer and serialNumber as CMS writes them in IssuerAndSerialNumber (RFC 5652 §10.2.4). */
  readonly issuerAndSerialNumber: Uint8Array;
  readonly issuer: Name;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly subject: Name;
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  readonly extensions: readonly Extension[];
  readonly signatureAlgorithm: AlgorithmIdentifier;
  readonly signature: Uint8Array;
}

/** Larger than any certificate that a device or a CA has. */
const CERTIFICATE_BYTES_MAX = 64 * 1024;

/**
 * Reads one DER certificate that fills `raw`.
 *
 * @throws PkiError `certificate_malformed`, with the cause in the message.
 */
export function parseCertificate(raw: Uint8Array): Certificate {
  try {
    return readCertificate(raw);
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause;
    throw new PkiError('certificate_malformed', `certificate: ${cause.message}`, { cause });
  }
}

function readCertificate(raw: Uint8Array): Certificate {
  if (raw.length > CERTIFICATE_BYTES_MAX)
    throw new PkiError('der_limit', `over ${CERTIFICATE_BYTES_MAX} octets`);
  const outer = new DerReader(raw);
  const certificate = outer.enter(tag.sequence);
  outer.end();
  const tbsCertificate = certificate.raw(tag.sequence);
  const signatureAlgorithm = readAlgorithmIdentifier(certificate);
  const signature = certificate.bitStringOctets();
  certificate.end();

  const reader = new DerReader(tbsCertificate, 1).enter(tag.sequence);
  const version = readVersion(reader);
  const serialNumber = reader.integer();
  const innerAlgorithm = readAlgorithmIdentifier(reader);
  const issuer = parseName(reader.raw(tag.sequence));
  const validity = reader.enter(tag.sequence);
  const notBefore = validity.time();
  const notAfter = validity.time();
  validity.end();
  const subject = parseName(reader.raw(tag.sequence));
  const spki = reader.raw(tag.sequence);
  // §4.1.2.8: unique identifiers are obsolete; they are passed over.
  if (reader.nextTag === contextPrimitive(1)) reader.skip();
  if (reader.nextTag === contextPrimitive(2)) reader.skip();
  const wrapper = reader.enterOptional(contextConstructed(3));
  const extensions = wrapper === undefined ? [] : readExtensions(wrapper.enter(tag.sequence));
  wrapper?.end();
  reader.end();

  if (wrapper !== undefined && version !== 3)
    throw new PkiError('der_malformed', 'extensions need version 3');
  // §4.1.1.2: both signature fields name the same algorithm.
  if (!sameAlgorithm(signatureAlgorithm, innerAlgorithm)) {
    throw new PkiError('der_malformed', 'the two signature algorithms differ');
  }
  return {
    raw,
    tbsCertificate,
    version,
    serialNumber: serialNumberText(serialNumber),
    issuerAndSerialNumber: sequence(issuer.raw, der(tag.integer, serialNumber)),
    issuer,
    notBefore,
    notAfter,
    subject,
    spki,
    extensions,
    signatureAlgorithm,
    signature,
  };
}

function readVersion(reader: DerReader): number {
  const wrapper = reader.enterOptional(contextConstructed(0));
  if (wrapper === undefined) return 1;
  const version = wrapper.smallInteger() + 1;
  wrapper.end();
  if (version !== 2 && version !== 3) throw new PkiError('der_malformed', `certificate version ${version}`);
  return version;
}

const none = Uint8Array.of();

/** Whether two AlgorithmIdentifiers are the same octet for octet. */
export function sameAlgorithm(a: AlgorithmIdentifier, b: AlgorithmIdentifier): boolean {
  return a.oid === b.oid && sameOctets(a.parameters ?? none, b.parameters ?? none);
}

/**
 * The canonical text of a serial number from its INTEGER content octets: lower-case hexadecimal, two digits an octet. A
 * negative one, which RFC 5280 §4.1.2.2 forbids and old CAs have issued, is its magnitude after a minus sign.
 */
export function serialNumberText(content: Uint8Array): string {
  const first = content[0] as number;
  if (first >= 0x80) {
    const magnitude = ((1n << BigInt(8 * content.length)) - BigInt(`0x${hex(content)}`)).toString(16);
    return `-${magnitude.length % 2 === 0 ? magnitude : `0${magnitude}`}`;
  }
  return hex(first === 0 && content.length > 1 ? content.subarray(1) : content);
}

/**
 * INTEGER of a serial number from its canonical text.
 *
 * @throws PkiError `der_malformed` if the text is not lower-case hexadecimal, two digits an octet.
 */
export function buildSerialNumber(text: string): Uint8Array {
  const octets = Buffer.from(text, 'hex');
  // Reading hexadecimal stops without a word where it ends: the certificate would bear another number.
  if (octets.length === 0 || hex(octets) !== text)
    throw new PkiError('der_malformed', `“${text}” is not a serial number`);
  return unsignedInteger(octets);
}

/** What a certificate is built from. Nothing is added: what stands here is what is signed. */
export interface CertificateFields {
  /** Lower-case hexadecimal, two digits an octet. */
  readonly serialNumber: string;
  readonly signatureAlgorithm: SignatureAlgorithmName;
  readonly issuer: Name;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly subject: Name;
  readonly spki: Uint8Array;
  readonly extensions: readonly Extension[];
}

/**
 * The TBSCertificate (§4.1.2), version 3.
 *
 * @throws PkiError `der_malformed` for a serial number or a date that has no encoding.
 */
export function buildTbsCertificate(fields: CertificateFields): Uint8Array {
  return sequence(
    der(contextConstructed(0), integer(2)),
    buildSerialNumber(fields.serialNumber),
    signatureAlgorithmIdentifier(fields.signatureAlgorithm),
    fields.issuer.raw,
    sequence(time(fields.notBefore), time(fields.notAfter)),
    fields.subject.raw,
    fields.spki,
    // §4.1.2.9: absent, not empty.
    ...(fields.extensions.length === 0
      ? []
      : [der(contextConstructed(3), buildExtensions(fields.extensions))]),
  );
}

/** SIGNED{…}: what was signed, by which algorithm, and the signature (§4.1.1). For certificates, requests and CRLs. */
export function buildSigned(
  toBeSigned: Uint8Array,
  algorithm: SignatureAlgorithmName,
  signature: Uint8Array,
): Uint8Array {
  return sequence(toBeSigned, signatureAlgorithmIdentifier(algorithm), bitString(signature));
}

/** Signs octets with one private key by a named algorithm. */
export type Sign = (algorithm: SignatureAlgorithmName, data: Uint8Array) => Promise<Uint8Array>;

/** Builds and signs a whole certificate: for roots, tests and set-up. The CA has its own order of steps. */
export async function buildCertificate(fields: CertificateFields, sign: Sign): Promise<Uint8Array> {
  const tbs = buildTbsCertificate(fields);
  return buildSigned(tbs, fields.signatureAlgorithm, await sign(fields.signatureAlgorithm, tbs));
}

/**
 * Whether the key in `issuerSpki` made the certificate's signature. Says nothing of names, time or purpose.
 *
 * @throws PkiError `algorithm_unsupported`.
 */
export function verifyCertificateSignature(certificate: Certificate, issuerSpki: Uint8Array): boolean {
  return verifySignature(
    signatureAlgorithmOf(certificate.signatureAlgorithm),
    publicKeyOf(issuerSpki),
    certificate.tbsCertificate,
    certificate.signature,
  );
}

/** SHA-1 of the DER in upper-case hexadecimal, as Windows and Intune show it. A name, not a protection. */
export function thumbprintOf(certificate: Uint8Array): string {
  return hash('sha1', certificate, 'hex').toUpperCase();
}
