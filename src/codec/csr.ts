/** Certification requests (RFC 2986) with the attributes of PKCS #9 (RFC 2985) that SCEP uses. */
import { PkiError } from '../errors.ts';
import {
  type AlgorithmIdentifier,
  publicKeyOf,
  readAlgorithmIdentifier,
  type SignatureAlgorithmName,
  signatureAlgorithmOf,
  verifySignature,
} from './algorithm.ts';
import { buildSigned, type Sign } from './certificate.ts';
import {
  contextConstructed,
  DerReader,
  der,
  integer,
  isPrintable,
  objectIdentifier,
  printableString,
  sequence,
  setOf,
  tag,
  utf8String,
} from './der.ts';
import { buildExtensions, type Extension, readExtensions } from './extension.ts';
import { type Name, parseName } from './name.ts';
import { oid } from './oid.ts';

/** A parsed request. Every part is a view of `raw`. */
export interface CertificationRequest {
  readonly raw: Uint8Array;
  /** What the signature covers, as it came. */
  readonly certificationRequestInfo: Uint8Array;
  readonly subject: Name;
  /** DER SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  /** The challengePassword attribute; absent if there is none. */
  readonly challengePassword?: string;
  /** What the extensionRequest attribute asks for: wishes, never orders. */
  readonly extensions: readonly Extension[];
  readonly signatureAlgorithm: AlgorithmIdentifier;
  readonly signature: Uint8Array;
}

/** Intune's challenge makes requests of some 3 KiB; nothing real comes near this. */
const REQUEST_BYTES_MAX = 64 * 1024;
/** Clients send two to six attributes. */
const ATTRIBUTES_MAX = 32;

/**
 * Reads one DER certification request that fills `raw`. Its signature is not checked here.
 *
 * @throws PkiError `csr_malformed`, with the cause in the message.
 */
export function parseCertificationRequest(raw: Uint8Array): CertificationRequest {
  try {
    return readRequest(raw);
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause;
    throw new PkiError('csr_malformed', `certification request: ${cause.message}`, { cause });
  }
}

function readRequest(raw: Uint8Array): CertificationRequest {
  if (raw.length > REQUEST_BYTES_MAX) throw new PkiError('der_limit', `over ${REQUEST_BYTES_MAX} octets`);
  const outer = new DerReader(raw);
  const request = outer.enter(tag.sequence);
  outer.end();
  const certificationRequestInfo = request.raw(tag.sequence);
  const signatureAlgorithm = readAlgorithmIdentifier(request);
  const signature = request.bitStringOctets();
  request.end();

  const reader = new DerReader(certificationRequestInfo, 1).enter(tag.sequence);
  // RFC 2986 §4.1: the version is 0.
  if (reader.smallInteger() !== 0) throw new PkiError('der_malformed', 'the version is not v1(0)');
  const subject = parseName(reader.raw(tag.sequence));
  const spki = reader.raw(tag.sequence);
  // DEVIATION RFC 2986 §4.1: the attributes are not OPTIONAL, but some clients leave the empty set out.
  const attributes = reader.enterOptional(contextConstructed(0));
  reader.end();
  return {
    raw,
    certificationRequestInfo,
    subject,
    spki,
    ...(attributes === undefined ? { extensions: [] } : readAttributes(attributes)),
    signatureAlgorithm,
    signature,
  };
}

// QUIRK strongSwan: the attributes are not in the ascending order of DER; the order is not checked, and the signature is
// verified over the octets as they came (strongswan-attribute-order).
function readAttributes(reader: DerReader): Pick<CertificationRequest, 'challengePassword' | 'extensions'> {
  let challengePassword: string | undefined;
  let extensions: readonly Extension[] | undefined;
  for (let count = 0; !reader.done; count += 1) {
    if (count >= ATTRIBUTES_MAX) throw new PkiError('der_limit', `over ${ATTRIBUTES_MAX} attributes`);
    const attribute = reader.enter(tag.sequence);
    const type = attribute.oid();
    const values = attribute.enter(tag.set);
    attribute.end();
    if (type === oid.challengePassword) {
      // RFC 2985 §5.4.1: SINGLE VALUE. Two would let two readers see two different challenges.
      if (challengePassword !== undefined)
        throw new PkiError('der_malformed', 'two challengePassword attributes');
      challengePassword = values.text();
      values.end();
    } else if (type === oid.extensionRequest || type === oid.microsoftCertificateExtensions) {
      // QUIRK Windows: CertEnroll names the same attribute by Microsoft's own identifier.
      if (extensions !== undefined) throw new PkiError('der_malformed', 'two extensionRequest attributes');
      extensions = readExtensions(values.enter(tag.sequence));
      values.end();
    }
  }
  return { ...(challengePassword === undefined ? {} : { challengePassword }), extensions: extensions ?? [] };
}

const verdicts = new WeakMap<CertificationRequest, boolean>();

/**
 * Proof of possession (RFC 2986 §3 step 3): whether the request is signed by the key that it carries. The verdict of
 * a parsed request is kept, so that each party on its way may ask again.
 *
 * @throws PkiError `algorithm_unsupported`.
 */
export function verifyCertificationRequest(request: CertificationRequest): boolean {
  const known = verdicts.get(request);
  if (known !== undefined) return known;
  const verdict = verifySignature(
    signatureAlgorithmOf(request.signatureAlgorithm),
    publicKeyOf(request.spki),
    request.certificationRequestInfo,
    request.signature,
  );
  verdicts.set(request, verdict);
  return verdict;
}

/** What a client puts into its request. */
export interface CertificationRequestFields {
  readonly subject: Name;
  readonly spki: Uint8Array;
  readonly challengePassword?: string;
  readonly extensions: readonly Extension[];
  readonly signatureAlgorithm: SignatureAlgorithmName;
}

/** Builds and signs a certification request. */
export async function buildCertificationRequest(
  fields: CertificationRequestFields,
  sign: Sign,
): Promise<Uint8Array> {
  const attributes: Uint8Array[] = [];
  if (fields.challengePassword !== undefined) {
    // RFC 2985 §5.4.1: PrintableString where it suffices, else UTF8String.
    const text = fields.challengePassword;
    const value = isPrintable(text) ? printableString(text) : utf8String(text);
    attributes.push(sequence(objectIdentifier(oid.challengePassword), der(tag.set, value)));
  }
  if (fields.extensions.length > 0) {
    const value = buildExtensions(fields.extensions);
    attributes.push(sequence(objectIdentifier(oid.extensionRequest), der(tag.set, value)));
  }
  const info = sequence(
    integer(0),
    fields.subject.raw,
    fields.spki,
    setOf(attributes, contextConstructed(0)),
  );
  return buildSigned(info, fields.signatureAlgorithm, await sign(fields.signatureAlgorithm, info));
}
