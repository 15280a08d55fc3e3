/** Extensions of certificates, requests and CRLs (RFC 5280 §4.2, §5.2). */
import { hash } from 'node:crypto';
import { PkiError } from '../errors.ts';
import {
  booleanTrue,
  DerReader,
  der,
  derOf,
  integer,
  latin1,
  namedBitString,
  namedBits,
  objectIdentifier,
  octetString,
  readDer,
  sequence,
  tag,
} from './der.ts';
import { buildGeneralName, buildGeneralNames, type GeneralName, parseGeneralNames } from './name.ts';
import { oid } from './oid.ts';

/** One extension; `value` is the DER inside the OCTET STRING. */
export interface Extension {
  readonly oid: string;
  readonly critical: boolean;
  readonly value: Uint8Array;
}

/** Anything that carries extensions: a certificate, a certification request, a CRL. */
export interface Extended {
  readonly extensions: readonly Extension[];
}

/** KeyUsage bits in the order of RFC 5280 §4.2.1.3. */
export const keyUsages = [
  'digitalSignature',
  'nonRepudiation',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
  'encipherOnly',
  'decipherOnly',
] as const;

/** One KeyUsage bit. */
export type KeyUsage = (typeof keyUsages)[number];

/** More extensions than any certificate has. */
const EXTENSIONS_MAX = 100;

/**
 * Reads Extensions from the content of the SEQUENCE.
 *
 * @throws PkiError `der_malformed` also if one occurs twice (RFC 5280 §4.2).
 */
export function readExtensions(reader: DerReader): Extension[] {
  const extensions: Extension[] = [];
  while (!reader.done) {
    if (extensions.length >= EXTENSIONS_MAX)
      throw new PkiError('der_limit', `over ${EXTENSIONS_MAX} extensions`);
    const inner = reader.enter(tag.sequence);
    const identifier = inner.oid();
    // DEVIATION RFC 5280 §4.2: an explicit critical FALSE is not DER, but old clients write it; it changes nothing.
    const critical = inner.nextTag === tag.boolean ? inner.boolean() : false;
    const value = inner.octetString();
    inner.end();
    if (extensions.some((other) => other.oid === identifier))
      throw new PkiError('der_malformed', `extension ${identifier} occurs twice`);
    extensions.push({ oid: identifier, critical, value });
  }
  return extensions;
}

/** Builds the Extensions SEQUENCE, which must not be empty (RFC 5280 §4.1.2.9): leave it out instead. */
export function buildExtensions(extensions: readonly Extension[]): Uint8Array {
  return derOf(tag.sequence, extensions.map(buildExtension));
}

/** Builds one Extension. */
export function buildExtension({ oid: identifier, critical, value }: Extension): Uint8Array {
  return critical
    ? sequence(objectIdentifier(identifier), booleanTrue, octetString(value))
    : sequence(objectIdentifier(identifier), octetString(value));
}

/** The value of an extension; `undefined` if it is absent. */
export function extensionValue(extended: Extended, identifier: string): Uint8Array | undefined {
  return extended.extensions.find((extension) => extension.oid === identifier)?.value;
}

// --- readers, by extension ---------------------------------------------------------------------------------------

/** KeyUsage (§4.2.1.3); `undefined` if absent. Throws PkiError `der_malformed`. */
export function keyUsageOf(extended: Extended): KeyUsage[] | undefined {
  const value = extensionValue(extended, oid.keyUsage);
  if (value === undefined) return undefined;
  const reader = new DerReader(value);
  const bits = namedBits(reader.content(tag.bitString));
  reader.end();
  return keyUsages.filter((_, index) => bits[index] === true);
}

/** Purposes in ExtKeyUsage (§4.2.1.12), dotted; `undefined` if absent. Throws PkiError `der_malformed`. */
export function extKeyUsageOf(extended: Extended): string[] | undefined {
  const value = extensionValue(extended, oid.extKeyUsage);
  if (value === undefined) return undefined;
  return readDer(value, tag.sequence, (reader) => {
    const purposes: string[] = [];
    while (!reader.done) purposes.push(reader.oid());
    if (purposes.length === 0) throw new PkiError('der_malformed', 'an empty extKeyUsage');
    return purposes;
  });
}

/** SubjectAltName (§4.2.1.6); empty if absent. Throws PkiError `der_malformed`. */
export function subjectAltNameOf(extended: Extended): GeneralName[] {
  const value = extensionValue(extended, oid.subjectAltName);
  return value === undefined ? [] : parseGeneralNames(value);
}

/** BasicConstraints (§4.2.1.9); `undefined` if absent. Throws PkiError `der_malformed`. */
export function basicConstraintsOf(
  extended: Extended,
): { readonly ca: boolean; readonly pathLength?: number } | undefined {
  const value = extensionValue(extended, oid.basicConstraints);
  if (value === undefined) return undefined;
  return readDer(value, tag.sequence, (reader) => {
    const ca = reader.nextTag === tag.boolean ? reader.boolean() : false;
    return reader.done ? { ca } : { ca, pathLength: reader.smallInteger() };
  });
}

/** SubjectKeyIdentifier (§4.2.1.2); `undefined` if absent. Throws PkiError `der_malformed`. */
export function subjectKeyIdentifierOf(extended: Extended): Uint8Array | undefined {
  const value = extensionValue(extended, oid.subjectKeyIdentifier);
  if (value === undefined) return undefined;
  const reader = new DerReader(value);
  const identifier = reader.octetString();
  reader.end();
  return identifier;
}

/** keyIdentifier of AuthorityKeyIdentifier (§4.2.1.1); `undefined` if absent. Throws PkiError `der_malformed`. */
export function authorityKeyIdentifierOf(extended: Extended): Uint8Array | undefined {
  const value = extensionValue(extended, oid.authorityKeyIdentifier);
  if (value === undefined) return undefined;
  return readDer(value, tag.sequence, (reader) => {
    const identifier = reader.nextTag === 0x80 ? reader.content() : undefined;
    while (!reader.done) reader.skip();
    return identifier;
  });
}

/** The SID in Microsoft's security extension (KB5014754); `undefined` if absent. Throws PkiError `der_malformed`. */
export function securityIdentifierOf(extended: Extended): string | undefined {
  const value = extensionValue(extended, oid.microsoftSecurityIdentifier);
  if (value === undefined) return undefined;
  return readDer(value, tag.sequence, (reader) => {
    const otherName = reader.enter(0xa0);
    if (otherName.oid() !== oid.microsoftObjectSid) throw new PkiError('der_malformed', 'no object SID');
    const wrapped = otherName.enter(0xa0);
    otherName.end();
    const sid = latin1(wrapped.octetString());
    wrapped.end();
    return sid;
  });
}

/** What Microsoft's template extension says: which template, by its identifier, in which version. */
export interface TemplateInformation {
  readonly oid: string;
  readonly majorVersion: number;
  readonly minorVersion: number;
}

/** Microsoft's template extension; `undefined` if absent. Throws PkiError `der_malformed`. */
export function templateInformationOf(extended: Extended): TemplateInformation | undefined {
  const value = extensionValue(extended, oid.microsoftTemplateInformation);
  if (value === undefined) return undefined;
  return readDer(value, tag.sequence, (reader) => ({
    oid: reader.oid(),
    majorVersion: reader.smallInteger(),
    minorVersion: reader.smallInteger(),
  }));
}

// --- builders, by extension --------------------------------------------------------------------------------------

/** KeyUsage, critical as §4.2.1.3 advises. */
export function keyUsageExtension(usages: readonly KeyUsage[]): Extension {
  return {
    oid: oid.keyUsage,
    critical: true,
    value: namedBitString(keyUsages.map((usage) => usages.includes(usage))),
  };
}

/** ExtKeyUsage, not critical as every CA in the field has it. */
export function extKeyUsageExtension(purposes: readonly string[]): Extension {
  return { oid: oid.extKeyUsage, critical: false, value: sequence(...purposes.map(objectIdentifier)) };
}

/** SubjectAltName; critical exactly if the subject is empty (§4.2.1.6). */
export function subjectAltNameExtension(
  names: readonly GeneralName[],
  subject: { readonly rdns: readonly unknown[] },
): Extension {
  return { oid: oid.subjectAltName, critical: subject.rdns.length === 0, value: buildGeneralNames(names) };
}

/** BasicConstraints of a CA (§4.2.1.9), critical. */
export function caBasicConstraintsExtension(pathLength?: number): Extension {
  return {
    oid: oid.basicConstraints,
    critical: true,
    value: pathLength === undefined ? sequence(booleanTrue) : sequence(booleanTrue, integer(pathLength)),
  };
}

/** BasicConstraints of an end entity: cA FALSE, written as the empty SEQUENCE. */
export function endEntityBasicConstraintsExtension(): Extension {
  return { oid: oid.basicConstraints, critical: true, value: sequence() };
}

/**
 * SHA-1 over the key's BIT STRING content (§4.2.1.2 method 1): a name for the key, not a protection.
 *
 * @throws PkiError `der_malformed`.
 */
export function keyIdentifier(spki: Uint8Array): Uint8Array {
  return readDer(spki, tag.sequence, (reader) => {
    reader.skip(tag.sequence);
    return hash('sha1', reader.bitStringOctets(), 'buffer');
  });
}

/** SubjectKeyIdentifier. */
export function subjectKeyIdentifierExtension(identifier: Uint8Array): Extension {
  return { oid: oid.subjectKeyIdentifier, critical: false, value: octetString(identifier) };
}

/** AuthorityKeyIdentifier with the key's identifier alone. */
export function authorityKeyIdentifierExtension(identifier: Uint8Array): Extension {
  return { oid: oid.authorityKeyIdentifier, critical: false, value: sequence(der(0x80, identifier)) };
}

/** CRLDistributionPoints: one point with all URLs (§4.2.1.13). Throws PkiError `name_malformed` for one not ASCII. */
export function crlDistributionPointsExtension(urls: readonly string[]): Extension {
  const point = sequence(der(0xa0, der(0xa0, ...urls.map(uniformResourceIdentifier))));
  return { oid: oid.cRLDistributionPoints, critical: false, value: sequence(point) };
}

/**
 * AuthorityInfoAccess (§4.2.2.1): where the issuer's certificate is, and where its OCSP responder answers.
 *
 * @throws PkiError `name_malformed` for a URL that is not ASCII.
 */
export function authorityInfoAccessExtension(
  caIssuersUrls: readonly string[],
  ocspUrls: readonly string[] = [],
): Extension {
  const describe = (method: string) => (url: string) =>
    sequence(objectIdentifier(method), uniformResourceIdentifier(url));
  return {
    oid: oid.authorityInfoAccess,
    critical: false,
    value: sequence(...ocspUrls.map(describe(oid.ocsp)), ...caIssuersUrls.map(describe(oid.caIssuers))),
  };
}

const uniformResourceIdentifier = (url: string): Uint8Array =>
  buildGeneralName({ type: 'uniformResourceIdentifier', value: url });

/** Microsoft's security extension ([MS-WCCE] §2.2.2.7.7.4): the account that the certificate maps to, by its SID. */
export function securityIdentifierExtension(sid: string): Extension {
  const value = der(0xa0, octetString(Buffer.from(sid, 'latin1')));
  return {
    oid: oid.microsoftSecurityIdentifier,
    critical: false,
    value: sequence(der(0xa0, objectIdentifier(oid.microsoftObjectSid), value)),
  };
}

/** Microsoft's template extension ([MS-WCCE] §2.2.2.7.7.2). Throws PkiError `der_malformed` for a bad identifier. */
export function templateInformationExtension(information: TemplateInformation): Extension {
  return {
    oid: oid.microsoftTemplateInformation,
    critical: false,
    value: sequence(
      objectIdentifier(information.oid),
      integer(information.majorVersion),
      integer(information.minorVersion),
    ),
  };
}

/** CRLNumber (§5.2.3). */
export function crlNumberExtension(number: number): Extension {
  return { oid: oid.crlNumber, critical: false, value: integer(number) };
}
