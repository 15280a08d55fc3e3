/** Certificate revocation lists (RFC 5280 §5). */
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
import { buildSerialNumber, buildSigned, type Sign, sameAlgorithm, serialNumberText } from './certificate.ts';
import {
  contextConstructed,
  contextPrimitive,
  DerReader,
  der,
  derHeader,
  derOf,
  generalizedTime,
  hex,
  integer,
  readDer,
  sequence,
  tag,
  time,
} from './der.ts';
import {
  buildExtensions,
  crlDistributionPointsExtension,
  type Extended,
  type Extension,
  extensionValue,
  readExtensions,
} from './extension.ts';
import { buildGeneralName, type Name, parseGeneralNames, parseName } from './name.ts';
import { oid } from './oid.ts';

/** CRLReason values (§5.3.1) that a certificate can be revoked for; 7 is not used. */
export const revocationReasons = {
  unspecified: 0,
  keyCompromise: 1,
  cACompromise: 2,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
  certificateHold: 6,
  privilegeWithdrawn: 9,
  aACompromise: 10,
} as const;

/** Name of a CRLReason that a certificate can be revoked for. */
export type RevocationReasonName = keyof typeof revocationReasons;

/** CRLReason values of entries: a delta CRL also says of a certificate that it is revoked no longer. */
const entryReasons = { ...revocationReasons, removeFromCRL: 8 } as const;

/** Name of a CRLReason; `removeFromCRL` stands in delta CRLs alone (§5.3.1). */
export type EntryReasonName = keyof typeof entryReasons;

/** One entry of a CRL. */
export interface RevokedCertificate {
  /** Lower-case hexadecimal, at most 20 octets. */
  readonly serialNumber: string;
  readonly revocationDate: Date;
  readonly reason: EntryReasonName;
  /** Since when the key is known or believed to be compromised (§5.3.2). */
  readonly invalidityDate?: Date;
}

/** What a CRL is built from. */
export interface CrlFields {
  readonly signatureAlgorithm: SignatureAlgorithmName;
  readonly issuer: Name;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  /** The entries in their order: at once, or page by page from where they are kept. */
  readonly revoked: Iterable<RevokedCertificate> | AsyncIterable<Iterable<RevokedCertificate>>;
  readonly extensions: readonly Extension[];
}

/**
 * Builds and signs a version 2 CRL. Holds the octets of the entries, twice while it signs, and no entry as an object:
 * a million of them fit anywhere.
 *
 * @throws PkiError `der_malformed` for a serial number or a date that has no encoding, and what `sign` throws.
 */
export async function buildCrl(fields: CrlFields, sign: Sign): Promise<Uint8Array> {
  const tbs = await buildTbsCertList(fields);
  return buildSigned(tbs, fields.signatureAlgorithm, await sign(fields.signatureAlgorithm, tbs));
}

async function buildTbsCertList(fields: CrlFields): Promise<Uint8Array> {
  const entries = new EntryWriter();
  if (Symbol.asyncIterator in fields.revoked) {
    for await (const page of fields.revoked) for (const entry of page) entries.write(entry);
  } else {
    for (const entry of fields.revoked) entries.write(entry);
  }
  return derOf(tag.sequence, [
    integer(1),
    signatureAlgorithmIdentifier(fields.signatureAlgorithm),
    fields.issuer.raw,
    time(fields.thisUpdate),
    time(fields.nextUpdate),
    // §5.1.2.6: absent, not empty, when nothing is revoked.
    ...(entries.length === 0 ? [] : [derHeader(tag.sequence, entries.length), ...entries.chunks()]),
    // §5.1.2.7: absent, not empty.
    ...(fields.extensions.length === 0
      ? []
      : [der(contextConstructed(0), buildExtensions(fields.extensions))]),
  ]);
}

/** RFC 5280 §4.1.2.2: at most 20 octets. */
const serialNumberForm = /^(?:[0-9a-f]{2}){1,20}$/;
const CHUNK_BYTES = 1 << 20;
/** More than an entry takes: 2 + 23 for the serial, 17 for the date, 2 + 14 + 30 for both extensions. */
const ENTRY_BYTES_MAX = 128;
const DAY_MS = 86_400_000;

/** Writes entries into chunks, in the order that they come. */
class EntryWriter {
  readonly #full: Uint8Array[] = [];
  #chunk = Buffer.allocUnsafe(4096);
  /** Octets in `#chunk`. */
  #at = 0;
  /** Octets in all. */
  length = 0;
  /** By the day: tag, length and the digits of the date. Revocations crowd on few days. */
  readonly #dates = new Map<number, Uint8Array>();

  chunks(): Uint8Array[] {
    return [...this.#full, this.#chunk.subarray(0, this.#at)];
  }

  write({ serialNumber, revocationDate, reason, invalidityDate }: RevokedCertificate): void {
    if (this.#at + ENTRY_BYTES_MAX > this.#chunk.length) {
      this.#full.push(this.#chunk.subarray(0, this.#at));
      this.#chunk = Buffer.allocUnsafe(CHUNK_BYTES);
      this.#at = 0;
    }
    const start = this.#at;
    // Every entry is shorter than 128 octets: its length is one octet, and is known at the end.
    this.#chunk[start] = tag.sequence;
    this.#at += 2;
    this.#serialNumber(serialNumber);
    this.#time(revocationDate);
    // §5.3.1: unspecified is said by leaving the extension out.
    if (invalidityDate !== undefined) this.#octets(entryExtensions(reason, invalidityDate));
    else if (reason !== 'unspecified') this.#octets(reasonExtensions[reason]);
    this.#chunk[start + 1] = this.#at - start - 2;
    this.length += this.#at - start;
  }

  #octets(octets: Uint8Array): void {
    this.#chunk.set(octets, this.#at);
    this.#at += octets.length;
  }

  #serialNumber(text: string): void {
    if (!serialNumberForm.test(text))
      throw new PkiError('der_malformed', `“${text}” is not a serial number of at most 20 octets`);
    // Zero octets in front: not in shortest form as it stands.
    if (text.startsWith('00')) {
      this.#octets(buildSerialNumber(text));
      return;
    }
    const chunk = this.#chunk;
    const length = text.length / 2;
    const sign = text >= '8' ? 1 : 0;
    chunk[this.#at] = tag.integer;
    chunk[this.#at + 1] = length + sign;
    if (sign === 1) chunk[this.#at + 2] = 0;
    chunk.write(text, this.#at + 2 + sign, 'hex');
    this.#at += 2 + sign + length;
  }

  #time(date: Date): void {
    const ms = date.getTime();
    const day = Math.floor(ms / DAY_MS);
    let head = this.#dates.get(day);
    if (head === undefined) {
      head = time(new Date(day * DAY_MS)).subarray(0, -'hhmmssZ'.length);
      this.#dates.set(day, head);
    }
    this.#octets(head);
    const seconds = Math.floor((ms - day * DAY_MS) / 1000);
    this.#twoDigits(Math.floor(seconds / 3600));
    this.#twoDigits(Math.floor(seconds / 60) % 60);
    this.#twoDigits(seconds % 60);
    this.#chunk[this.#at] = 0x5a; // Z
    this.#at += 1;
  }

  #twoDigits(number: number): void {
    this.#chunk[this.#at] = 0x30 + Math.floor(number / 10);
    this.#chunk[this.#at + 1] = 0x30 + (number % 10);
    this.#at += 2;
  }
}

function entryExtensions(reason: EntryReasonName, invalidityDate?: Date): Uint8Array {
  return buildExtensions([
    ...(reason === 'unspecified'
      ? []
      : [
          {
            oid: oid.reasonCode,
            critical: false,
            value: der(tag.enumerated, Uint8Array.of(entryReasons[reason])),
          },
        ]),
    // §5.3.2: GeneralizedTime, whatever the year.
    ...(invalidityDate === undefined
      ? []
      : [{ oid: oid.invalidityDate, critical: false, value: generalizedTime(invalidityDate) }]),
  ]);
}

/** crlEntryExtensions by reason: the same few octets for every entry. */
const reasonExtensions = Object.fromEntries(
  (Object.keys(entryReasons) as EntryReasonName[])
    .filter((reason) => reason !== 'unspecified')
    .map((reason) => [reason, entryExtensions(reason)]),
) as Readonly<Record<EntryReasonName, Uint8Array>>;

// --- extensions of CRLs -------------------------------------------------------------------------------------------

/**
 * DeltaCRLIndicator (§5.2.4), critical: what stands in the CRL is what has changed since the CRL of this number in the
 * same scope.
 */
export function deltaCrlIndicatorExtension(baseCrlNumber: number): Extension {
  return { oid: oid.deltaCRLIndicator, critical: true, value: integer(baseCrlNumber) };
}

/** FreshestCRL (§4.2.1.15, §5.2.6): where the delta CRLs are, in a full CRL or in a certificate. */
export function freshestCrlExtension(urls: readonly string[]): Extension {
  return { ...crlDistributionPointsExtension(urls), oid: oid.freshestCRL };
}

/** The part of an issuer's certificates that a CRL speaks of. */
export interface CrlScope {
  /** URLs of the distribution point; a certificate of the scope names one of them. Empty: no point is named. */
  readonly urls: readonly string[];
  /** The only kind of certificates that it lists; absent: all. */
  readonly onlyContains?: 'userCerts' | 'cACerts' | 'attributeCerts';
}

/** IssuingDistributionPoint (§5.2.5), critical. */
export function issuingDistributionPointExtension(scope: CrlScope): Extension {
  const names = scope.urls.map((value) => buildGeneralName({ type: 'uniformResourceIdentifier', value }));
  const kind = scope.onlyContains === undefined ? undefined : onlyContainsTags[scope.onlyContains];
  return {
    oid: oid.issuingDistributionPoint,
    critical: true,
    value: sequence(
      ...(names.length === 0 ? [] : [der(contextConstructed(0), derOf(contextConstructed(0), names))]),
      ...(kind === undefined ? [] : [der(kind, Uint8Array.of(0xff))]),
    ),
  };
}

const onlyContainsTags = {
  userCerts: contextPrimitive(1),
  cACerts: contextPrimitive(2),
  attributeCerts: contextPrimitive(5),
} as const;

/** Microsoft’s Next CRL Publish: when the successor will be there, for caches that ask before nextUpdate. */
export function nextCrlPublishExtension(at: Date): Extension {
  return { oid: oid.microsoftNextCrlPublish, critical: false, value: time(at) };
}

/** CRLNumber (§5.2.3); `undefined` if absent. Throws PkiError `der_malformed`, also beyond 2^53. */
export function crlNumberOf(crl: Extended): number | undefined {
  return numberIn(crl, oid.crlNumber);
}

/** BaseCRLNumber of a delta CRL (§5.2.4); `undefined` for a full one. Throws PkiError `der_malformed`, also beyond 2^53. */
export function baseCrlNumberOf(crl: Extended): number | undefined {
  return numberIn(crl, oid.deltaCRLIndicator);
}

function numberIn(crl: Extended, identifier: string): number | undefined {
  const value = extensionValue(crl, identifier);
  if (value === undefined) return undefined;
  const reader = new DerReader(value);
  const content = reader.integer();
  reader.end();
  const number = Number(`0x${hex(content)}`);
  if ((content[0] as number) >= 0x80 || !Number.isSafeInteger(number))
    throw new PkiError('der_malformed', 'a CRL number out of range');
  return number;
}

/** When the successor will be published, as Microsoft’s extension says; `undefined` if absent. Throws PkiError `der_malformed`. */
export function nextCrlPublishOf(crl: Extended): Date | undefined {
  const value = extensionValue(crl, oid.microsoftNextCrlPublish);
  if (value === undefined) return undefined;
  const reader = new DerReader(value);
  const at = reader.time();
  reader.end();
  return at;
}

/**
 * URLs in CRLDistributionPoints (§4.2.1.13), of every point that covers all reasons and names no other CRL issuer;
 * empty if absent. Throws PkiError `der_malformed`.
 */
export function crlDistributionPointsOf(certificate: Extended): string[] {
  return distributionPointUrls(extensionValue(certificate, oid.cRLDistributionPoints));
}

/** URLs in FreshestCRL, as `crlDistributionPointsOf`. Throws PkiError `der_malformed`. */
export function freshestCrlOf(extended: Extended): string[] {
  return distributionPointUrls(extensionValue(extended, oid.freshestCRL));
}

function distributionPointUrls(value: Uint8Array | undefined): string[] {
  if (value === undefined) return [];
  return readDer(value, tag.sequence, (points) => {
    const urls: string[] = [];
    while (!points.done) {
      const point = points.enter(tag.sequence);
      const named = readDistributionPointName(point);
      const whole = point.done;
      while (!point.done) point.skip();
      if (whole) urls.push(...named);
    }
    return urls;
  });
}

/** The URLs of DistributionPointName, if that comes next. */
function readDistributionPointName(reader: DerReader): string[] {
  const wrapper = reader.enterOptional(contextConstructed(0));
  if (wrapper === undefined) return [];
  const choice = wrapper.element();
  wrapper.end();
  // nameRelativeToCRLIssuer [1] is no URL.
  if (choice.tag === contextConstructed(1)) return [];
  if (choice.tag !== contextConstructed(0))
    throw new PkiError('der_malformed', 'a distribution point name of no known form');
  return parseGeneralNames(derOf(tag.sequence, [choice.content])).flatMap((name) =>
    name.type === 'uniformResourceIdentifier' ? [name.value] : [],
  );
}

/**
 * IssuingDistributionPoint (§5.2.5); `undefined` if absent: the CRL speaks of all certificates of its issuer.
 *
 * @throws PkiError `der_malformed`, also for a CRL that is indirect or limited to some reasons, which nobody here can
 *   use.
 */
export function issuingDistributionPointOf(crl: Extended): CrlScope | undefined {
  const value = extensionValue(crl, oid.issuingDistributionPoint);
  if (value === undefined) return undefined;
  return readDer(value, tag.sequence, (reader) => {
    const urls = readDistributionPointName(reader);
    let onlyContains: CrlScope['onlyContains'];
    while (!reader.done) {
      const flag = reader.element();
      const kind = (['userCerts', 'cACerts', 'attributeCerts'] as const).find(
        (name) => onlyContainsTags[name] === flag.tag,
      );
      if (kind === undefined)
        throw new PkiError('der_malformed', 'a CRL that is indirect or limited to some reasons');
      // X.690 §11.5: a FALSE, being the default, is not written. §5.2.5: at most one of them is TRUE.
      if (onlyContains !== undefined || flag.content.length !== 1 || flag.content[0] !== 0xff)
        throw new PkiError('der_malformed', 'a bad flag in issuingDistributionPoint');
      onlyContains = kind;
    }
    return onlyContains === undefined ? { urls } : { urls, onlyContains };
  });
}

// --- reading ------------------------------------------------------------------------------------------------------

/** A parsed CRL; parts are views of `raw`. */
export interface Crl {
  readonly raw: Uint8Array;
  readonly tbsCertList: Uint8Array;
  readonly issuer: Name;
  readonly thisUpdate: Date;
  readonly nextUpdate?: Date;
  readonly revoked: readonly RevokedCertificate[];
  readonly extensions: readonly Extension[];
  readonly signatureAlgorithm: AlgorithmIdentifier;
  readonly signature: Uint8Array;
}

/**
 * Reads one DER CRL that fills `raw`.
 *
 * @throws PkiError `crl_malformed`, with the cause in the message.
 */
export function parseCrl(raw: Uint8Array): Crl {
  try {
    return readCrl(raw);
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause;
    throw new PkiError('crl_malformed', `CRL: ${cause.message}`, { cause });
  }
}

/** The extensions of CRLs that RFC 5280 §5.2 marks critical. */
const understood: ReadonlySet<string> = new Set([oid.deltaCRLIndicator, oid.issuingDistributionPoint]);

function readCrl(raw: Uint8Array): Crl {
  const outer = new DerReader(raw);
  const list = outer.enter(tag.sequence);
  outer.end();
  const tbsCertList = list.raw(tag.sequence);
  const signatureAlgorithm = readAlgorithmIdentifier(list);
  const signature = list.bitStringOctets();
  list.end();

  const reader = new DerReader(tbsCertList, 1).enter(tag.sequence);
  // §5.1.2.1: extensions are there, so the version is v2(1).
  if (reader.smallInteger() !== 1) throw new PkiError('der_malformed', 'the version is not v2(1)');
  const innerAlgorithm = readAlgorithmIdentifier(reader);
  if (!sameAlgorithm(signatureAlgorithm, innerAlgorithm)) {
    throw new PkiError('der_malformed', 'the two signature algorithms differ');
  }
  const issuer = parseName(reader.raw(tag.sequence));
  const thisUpdate = reader.time();
  const hasNextUpdate = reader.nextTag === tag.utcTime || reader.nextTag === tag.generalizedTime;
  const nextUpdate = hasNextUpdate ? reader.time() : undefined;
  const entries = reader.enterOptional(tag.sequence);
  const wrapper = reader.enterOptional(contextConstructed(0));
  const extensions = wrapper === undefined ? [] : readExtensions(wrapper.enter(tag.sequence));
  wrapper?.end();
  reader.end();
  // §5.2: a CRL with a critical extension that is not understood MUST NOT be used.
  const strange = extensions.find((each) => each.critical && !understood.has(each.oid));
  if (strange !== undefined) throw new PkiError('der_malformed', `critical extension ${strange.oid}`);
  issuingDistributionPointOf({ extensions });
  const kind = baseCrlNumberOf({ extensions }) === undefined ? 'full' : 'delta';
  const revoked: RevokedCertificate[] = [];
  while (entries !== undefined && !entries.done) revoked.push(readEntry(entries.enter(tag.sequence), kind));
  return {
    raw,
    tbsCertList,
    issuer,
    thisUpdate,
    ...(nextUpdate === undefined ? {} : { nextUpdate }),
    revoked,
    extensions,
    signatureAlgorithm,
    signature,
  };
}

function readEntry(entry: DerReader, kind: 'full' | 'delta'): RevokedCertificate {
  const serialNumber = serialNumberText(entry.integer());
  const revocationDate = entry.time();
  if (entry.done) return { serialNumber, revocationDate, reason: 'unspecified' };
  const extensions = readExtensions(entry.enter(tag.sequence));
  entry.end();
  let reason: EntryReasonName = 'unspecified';
  let invalidityDate: Date | undefined;
  for (const extension of extensions) {
    if (extension.oid === oid.reasonCode) reason = readReason(extension.value);
    // §5.3: a CRL with a critical entry extension that is not understood MUST NOT be used.
    else if (extension.oid === oid.invalidityDate) invalidityDate = readInvalidityDate(extension.value);
    else if (extension.critical)
      throw new PkiError('der_malformed', `an entry with critical extension ${extension.oid}`);
  }
  // §5.3.1: only a delta CRL takes something off a list.
  if (reason === 'removeFromCRL' && kind === 'full')
    throw new PkiError('der_malformed', 'removeFromCRL in a CRL that is no delta');
  return {
    serialNumber,
    revocationDate,
    reason,
    ...(invalidityDate === undefined ? {} : { invalidityDate }),
  };
}

const reasonByCode = new Map(
  Object.entries(entryReasons).map(([name, code]) => [code as number, name as EntryReasonName]),
);

function readInvalidityDate(value: Uint8Array): Date {
  const reader = new DerReader(value);
  if (reader.nextTag !== tag.generalizedTime)
    throw new PkiError('der_malformed', 'an invalidityDate that is no GeneralizedTime');
  const at = reader.time();
  reader.end();
  return at;
}

function readReason(value: Uint8Array): EntryReasonName {
  const reader = new DerReader(value);
  const code = reader.content(tag.enumerated);
  reader.end();
  const reason = code.length === 1 ? reasonByCode.get(code[0] as number) : undefined;
  if (reason === undefined) throw new PkiError('der_malformed', 'an unknown CRLReason');
  return reason;
}

/**
 * Whether the key in `issuerSpki` signed the CRL.
 *
 * @throws PkiError `algorithm_unsupported`.
 */
export function verifyCrlSignature(crl: Crl, issuerSpki: Uint8Array): boolean {
  return verifySignature(
    signatureAlgorithmOf(crl.signatureAlgorithm),
    publicKeyOf(issuerSpki),
    crl.tbsCertList,
    crl.signature,
  );
}
