/**
 * Strict DER (ITU-T X.690 §10): the only place that knows tag and length octets.
 *
 * Reading never copies: what a reader hands out are views of the bytes it was given, so that signed bytes stay as they
 * came. Writing is bottom-up: every function returns the finished octets of one element.
 */
import { PkiError } from '../errors.ts';
import { oid } from './oid.ts';

/** Tag octets of the universal types that PKIX uses; constructed types carry bit 6. */
export const tag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  sequence: 0x30,
  set: 0x31,
  printableString: 0x13,
  t61String: 0x14,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  visibleString: 0x1a,
  universalString: 0x1c,
  bmpString: 0x1e,
} as const;

/** Tag octet of `[n] IMPLICIT` over a primitive type. */
export const contextPrimitive = (n: number): number => 0x80 | n;
/** Tag octet of `[n] EXPLICIT`, or of `[n] IMPLICIT` over a constructed type. */
export const contextConstructed = (n: number): number => 0xa0 | n;

/** Deeper nesting than any PKIX structure has (a CMS message with its certificates needs 14). */
const DEPTH_MAX = 32;

/** One element as it stands in the input. */
export interface Element {
  readonly tag: number;
  /** The content octets. */
  readonly content: Uint8Array;
  /** Tag, length and content octets. */
  readonly raw: Uint8Array;
}

function malformed(message: string): PkiError {
  return new PkiError('der_malformed', message);
}

/**
 * Reads the elements of one constructed value in order. Every method throws PkiError `der_malformed` if what stands
 * there is not what was asked for, or not in distinguished form, and `der_limit` if it is nested too deeply.
 */
export class DerReader {
  readonly #bytes: Uint8Array;
  readonly #depth: number;
  readonly #end: number;
  /** Where the next element begins; the one read last ends here. */
  #position: number;
  /** Where the element read last begins, and where its content begins. */
  #start = 0;
  #contentStart = 0;

  /** Reads the octets from `start` to `end`, which lie `depth` levels below the outermost element. */
  constructor(bytes: Uint8Array, depth = 0, start = 0, end = bytes.length) {
    if (depth > DEPTH_MAX) throw new PkiError('der_limit', `nested deeper than ${DEPTH_MAX} levels`);
    this.#bytes = bytes;
    this.#depth = depth;
    this.#end = end;
    this.#position = start;
  }

  /** Whether everything was read. */
  get done(): boolean {
    return this.#position >= this.#end;
  }

  /** The tag octet that comes next; `undefined` at the end. */
  get nextTag(): number | undefined {
    return this.#position < this.#end ? this.#bytes[this.#position] : undefined;
  }

  /** Throws unless everything was read. */
  end(): void {
    if (!this.done) throw malformed(`${this.#end - this.#position} octets follow the last element`);
  }

  /** The next element, whatever it is. */
  element(): Element {
    const tagOctet = this.#next();
    return { tag: tagOctet, content: this.#content(), raw: this.#raw() };
  }

  /** The next element, which must have this tag octet. */
  expect(tagOctet: number): Element {
    this.#expect(tagOctet);
    return { tag: tagOctet, content: this.#content(), raw: this.#raw() };
  }

  /** The next element if it has this tag octet, else `undefined` and nothing is read. */
  optional(tagOctet: number): Element | undefined {
    return this.nextTag === tagOctet ? this.element() : undefined;
  }

  /** Tag, length and content octets of the next element, which must have this tag octet if one is given. */
  raw(tagOctet?: number): Uint8Array {
    if (tagOctet === undefined) this.#next();
    else this.#expect(tagOctet);
    return this.#raw();
  }

  /** Content octets of the next element, which must have this tag octet if one is given. */
  content(tagOctet?: number): Uint8Array {
    if (tagOctet === undefined) this.#next();
    else this.#expect(tagOctet);
    return this.#content();
  }

  /** Steps over the next element, which must have this tag octet if one is given. */
  skip(tagOctet?: number): void {
    if (tagOctet === undefined) this.#next();
    else this.#expect(tagOctet);
  }

  /** A reader for the content of the next element, which must have this tag octet. */
  enter(tagOctet: number = tag.sequence): DerReader {
    this.#expect(tagOctet);
    return new DerReader(this.#bytes, this.#depth + 1, this.#contentStart, this.#position);
  }

  /** Like `enter`, but `undefined` and nothing is read if another tag comes. */
  enterOptional(tagOctet: number): DerReader | undefined {
    return this.nextTag === tagOctet ? this.enter(tagOctet) : undefined;
  }

  /** BOOLEAN (X.690 §11.1: TRUE is FF). */
  boolean(): boolean {
    this.#expect(tag.boolean);
    const octet = this.#bytes[this.#contentStart];
    if (this.#position - this.#contentStart !== 1 || (octet !== 0 && octet !== 0xff)) {
      throw malformed('a BOOLEAN not 00 or FF');
    }
    return octet === 0xff;
  }

  /** Content octets of an INTEGER, in two's complement. */
  integer(): Uint8Array {
    this.#expect(tag.integer);
    const length = this.#position - this.#contentStart;
    if (length === 0) throw malformed('an empty INTEGER');
    if (length > 1) {
      const first = this.#bytes[this.#contentStart];
      const negative = (this.#bytes[this.#contentStart + 1] as number) >= 0x80;
      // X.690 §8.3.2: the first nine bits are not all equal.
      if (first === (negative ? 0xff : 0)) throw malformed('an INTEGER not in shortest form');
    }
    return this.#content();
  }

  /** A non-negative INTEGER below 2^31: versions, counts, sizes. */
  smallInteger(): number {
    return smallNumber(this.integer());
  }

  /** OBJECT IDENTIFIER in dotted form. */
  oid(): string {
    this.#expect(tag.oid);
    return dottedOidAt(this.#bytes, this.#contentStart, this.#position);
  }

  /** OCTET STRING, primitive. */
  octetString(): Uint8Array {
    return this.content(tag.octetString);
  }

  /** BIT STRING whose bits fill whole octets, as keys and signatures do. */
  bitStringOctets(): Uint8Array {
    this.#expect(tag.bitString);
    if (this.#position === this.#contentStart || this.#bytes[this.#contentStart] !== 0)
      throw malformed('a BIT STRING that does not fill its octets');
    return this.#bytes.subarray(this.#contentStart + 1, this.#position);
  }

  /** NULL. */
  null(): void {
    this.#expect(tag.null);
    if (this.#position !== this.#contentStart) throw malformed('a NULL with content');
  }

  /**
   * DirectoryString, IA5String or VisibleString.
   *
   * DEVIATION X.680 §41.4: PrintableString is taken with any ASCII character, `@`, `*` and `_` being common in it, and
   * T61String is read as Latin-1, which is what it holds wherever it is still written.
   */
  text(): string {
    const tagOctet = this.#next();
    return textAt(this.#bytes, this.#contentStart, this.#position, tagOctet);
  }

  /**
   * UTCTime or GeneralizedTime in the form that RFC 5280 §4.1.2.5 demands: to the second, Zulu.
   *
   * DEVIATION RFC 5280 §4.1.2.5: GeneralizedTime is taken for years before 2050 too; its form is as strict as ever.
   */
  time(): Date {
    const tagOctet = this.#next();
    if (tagOctet !== tag.utcTime && tagOctet !== tag.generalizedTime) throw malformed('expected a time');
    return timeAt(this.#bytes, this.#contentStart, this.#position, tagOctet);
  }

  #raw(): Uint8Array {
    return this.#bytes.subarray(this.#start, this.#position);
  }

  #content(): Uint8Array {
    return this.#bytes.subarray(this.#contentStart, this.#position);
  }

  #expect(tagOctet: number): void {
    const next = this.nextTag;
    if (next !== tagOctet) {
      throw malformed(
        `expected tag ${hexOctet(tagOctet)}, found ${next === undefined ? 'the end' : hexOctet(next)}`,
      );
    }
    this.#next();
  }

  /** Steps over one element and answers its tag octet. */
  #next(): number {
    const bytes = this.#bytes;
    const start = this.#position;
    if (start + 2 > this.#end) throw malformed('an element is cut off');
    const tagOctet = bytes[start] as number;
    // X.690 §8.1.2.4: tag numbers above 30 take more octets; no PKIX structure has one.
    if ((tagOctet & 0x1f) === 0x1f) throw malformed('a multi-octet tag');
    // X.690 §8.1.5, X.680 §8.4: universal 0 is for the end of contents, which distinguished encodings do not have.
    if ((tagOctet & 0xdf) === 0) throw malformed('a reserved tag');
    let length = bytes[start + 1] as number;
    let contentStart = start + 2;
    if (length >= 0x80) {
      const lengthOctets = length & 0x7f;
      // X.690 §10.1: the definite form, on the fewest octets.
      if (lengthOctets === 0) throw malformed('an indefinite length');
      if (lengthOctets > 4) throw malformed('a length of more than four octets');
      contentStart += lengthOctets;
      if (contentStart > this.#end) throw malformed('a length is cut off');
      length = 0;
      for (let i = start + 2; i < contentStart; i += 1) length = length * 256 + (bytes[i] as number);
      if (length < 0x80 || bytes[start + 2] === 0) throw malformed('a length not in shortest form');
    }
    if (length > this.#end - contentStart) throw malformed('an element is longer than what holds it');
    this.#start = start;
    this.#contentStart = contentStart;
    this.#position = contentStart + length;
    return tagOctet;
  }
}

/** Reads one element that fills `bytes`, and hands a reader of its content to `read`, which must read all of it. */
export function readDer<T>(bytes: Uint8Array, tagOctet: number, read: (reader: DerReader) => T): T {
  const outer = new DerReader(bytes);
  const inner = outer.enter(tagOctet);
  outer.end();
  const value = read(inner);
  inner.end();
  return value;
}

/** More bits than any named BIT STRING of PKIX defines. */
const NAMED_BITS_MAX = 64;

/**
 * Bits of a named BIT STRING (KeyUsage, ReasonFlags), first bit first.
 *
 * DEVIATION X.690 §11.2.2: zero bits at the end are taken; old clients write all bits that they know of.
 *
 * @throws PkiError `der_malformed`, `der_limit`.
 */
export function namedBits(content: Uint8Array): boolean[] {
  const unused = content[0];
  if (unused === undefined || unused > 7 || (content.length === 1 && unused !== 0))
    throw malformed('a bad BIT STRING');
  const length = (content.length - 1) * 8 - unused;
  if (length > NAMED_BITS_MAX) throw new PkiError('der_limit', `over ${NAMED_BITS_MAX} named bits`);
  // X.690 §11.2.1: unused bits are zero.
  if (((content[content.length - 1] as number) & ((1 << unused) - 1)) !== 0)
    throw malformed('a BIT STRING whose unused bits are not zero');
  const bits: boolean[] = [];
  for (let i = 0; i < length; i += 1) {
    bits.push((((content[1 + (i >> 3)] as number) >> (7 - (i & 7))) & 1) === 1);
  }
  return bits;
}

/** Value of a non-negative INTEGER below 2^31 from its content octets. */
export function smallNumber(content: Uint8Array): number {
  if (content.length === 0 || content.length > 4 || (content[0] as number) >= 0x80)
    throw malformed('an INTEGER out of range');
  let value = 0;
  for (const octet of content) value = value * 256 + octet;
  return value;
}

/** Longer than any identifier that is registered; longer ones only cost time. */
const OID_BYTES_MAX = 40;
/** Only a hostile sender invents identifiers without end; real traffic has a few dozen. */
const OIDS_KEPT_MAX = 1000;

/** Dotted forms by a hash of the content octets. What is in it is never displaced, so that noise cannot slow it down. */
const dottedByHash = new Map<number, { readonly content: Uint8Array; readonly dotted: string }>();

/**
 * Dotted form of an OBJECT IDENTIFIER's content octets.
 *
 * @throws PkiError `der_malformed` also for an arc above 2^53, which no registered identifier but those made from a
 *   UUID has.
 */
export function dottedOid(content: Uint8Array): string {
  return dottedOidAt(content, 0, content.length);
}

function dottedOidAt(bytes: Uint8Array, start: number, end: number): string {
  if (end === start || end - start > OID_BYTES_MAX)
    throw malformed('an OBJECT IDENTIFIER of impossible length');
  let hash = 0;
  for (let i = start; i < end; i += 1) hash = (Math.imul(hash, 31) + (bytes[i] as number)) | 0;
  const kept = dottedByHash.get(hash);
  if (kept !== undefined && sameAt(kept.content, bytes, start, end)) return kept.dotted;
  const dotted = decodeOid(bytes, start, end);
  if (kept === undefined && dottedByHash.size < OIDS_KEPT_MAX)
    // A copy, and not `slice`: of a Buffer that is a view, which would keep the whole message in memory.
    dottedByHash.set(hash, { content: Uint8Array.from(bytes.subarray(start, end)), dotted });
  return dotted;
}

function sameAt(content: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  if (content.length !== end - start) return false;
  for (let i = 0; i < content.length; i += 1) if (content[i] !== bytes[start + i]) return false;
  return true;
}

function decodeOid(bytes: Uint8Array, start: number, end: number): string {
  const arcs: number[] = [];
  let arc = 0;
  let fresh = true;
  for (let i = start; i < end; i += 1) {
    const octet = bytes[i] as number;
    // X.690 §8.19.2: an arc does not begin with 80.
    if (fresh && octet === 0x80) throw malformed('an OBJECT IDENTIFIER not in shortest form');
    arc = arc * 128 + (octet & 0x7f);
    if (arc > Number.MAX_SAFE_INTEGER) throw malformed('an OBJECT IDENTIFIER arc out of range');
    fresh = octet < 0x80;
    if (fresh) {
      if (arcs.length === 0) {
        const first = Math.min(2, Math.floor(arc / 40));
        arcs.push(first, arc - first * 40);
      } else arcs.push(arc);
      arc = 0;
    }
  }
  if (!fresh) throw malformed('an OBJECT IDENTIFIER is cut off');
  return arcs.join('.');
}

function timeAt(bytes: Uint8Array, start: number, end: number, tagOctet: number): Date {
  const short = tagOctet === tag.utcTime;
  const zulu = end - 1;
  if (end - start !== (short ? 13 : 15) || bytes[zulu] !== 0x5a || !areDigits(bytes, start, zulu))
    throw malformed('a time not of the form YYMMDDHHMMSSZ or YYYYMMDDHHMMSSZ');
  const lastDigits = twoDigits(bytes, zulu - 12);
  // RFC 5280 §4.1.2.5.1: two-digit years from 50 on are 19xx.
  const century = short ? (lastDigits >= 50 ? 19 : 20) : twoDigits(bytes, start);
  const year = century * 100 + lastDigits;
  const month = twoDigits(bytes, zulu - 10);
  const day = twoDigits(bytes, zulu - 8);
  const hour = twoDigits(bytes, zulu - 6);
  const minute = twoDigits(bytes, zulu - 4);
  const second = twoDigits(bytes, zulu - 2);
  const date = new Date(Date.UTC(year, month - 1, day, hour, minute, second));
  // Date.UTC takes the years 0 to 99 for 1900 to 1999.
  if (year < 100) date.setUTCFullYear(year, month - 1, day);
  // A day that its month does not have falls into another month.
  if (date.getUTCMonth() !== month - 1 || hour > 23 || minute > 59 || second > 59)
    throw malformed('a time that does not exist');
  return date;
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * The text that these octets encode in UTF-8.
 *
 * @throws PkiError `der_malformed` if they are not UTF-8.
 */
export function utf8Text(octets: Uint8Array): string {
  try {
    return strictUtf8.decode(octets);
  } catch (cause) {
    throw new PkiError('der_malformed', 'a UTF8String that is not UTF-8', { cause });
  }
}

function textAt(bytes: Uint8Array, start: number, end: number, tagOctet: number): string {
  switch (tagOctet) {
    case tag.utf8String:
      if (!isAsciiAt(bytes, start, end)) return utf8Text(bytes.subarray(start, end));
      break;
    case tag.printableString:
    case tag.ia5String:
    case tag.visibleString:
      if (!isAsciiAt(bytes, start, end)) throw malformed('a string that is not ASCII');
      break;
    case tag.t61String:
      break;
    case tag.bmpString: {
      if ((end - start) % 2 !== 0) throw malformed('a BMPString of odd length');
      const text = Buffer.from(bytes.subarray(start, end)).swap16().toString('utf16le');
      // QUIRK Windows: writes characters beyond the BMP as surrogate pairs; half a pair is no character for anyone.
      if (!text.isWellFormed()) throw malformed('a BMPString with half a surrogate pair');
      return text;
    }
    default:
      throw malformed('a value that is not a string');
  }
  return bufferOf(bytes).toString('latin1', start, end);
}

function isAsciiAt(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i += 1) if ((bytes[i] as number) >= 0x80) return false;
  return true;
}

function areDigits(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i += 1) {
    const octet = bytes[i] as number;
    if (octet < 0x30 || octet > 0x39) return false;
  }
  return true;
}

function twoDigits(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) - 0x30) * 10 + (bytes[at + 1] as number) - 0x30;
}

// --- writing ----------------------------------------------------------------------------------------------------

/** One element from its tag octet and the parts of its content. */
export function der(tagOctet: number, ...parts: readonly Uint8Array[]): Uint8Array {
  return derOf(tagOctet, parts);
}

/** Like `der`, for lists of any length: the entries of a CRL are too many to be passed as arguments. */
export function derOf(tagOctet: number, parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const out = Buffer.allocUnsafe(headerLength(length) + length);
  let at = writeHeader(out, tagOctet, length);
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Tag and length octets of an element whose content, of `length` octets, is written elsewhere. */
export function derHeader(tagOctet: number, length: number): Uint8Array {
  const out = Buffer.allocUnsafe(headerLength(length));
  writeHeader(out, tagOctet, length);
  return out;
}

function headerLength(length: number): number {
  return length < 0x80 ? 2 : length < 0x100 ? 3 : length < 0x10000 ? 4 : length < 0x1000000 ? 5 : 6;
}

/** Answers where the content begins. */
function writeHeader(out: Buffer, tagOctet: number, length: number): number {
  out[0] = tagOctet;
  const lengthOctets = headerLength(length) - 2;
  if (lengthOctets === 0) {
    out[1] = length;
    return 2;
  }
  out[1] = 0x80 | lengthOctets;
  let at = 2;
  for (let shift = (lengthOctets - 1) * 8; shift >= 0; shift -= 8) {
    out[at] = (length >>> shift) & 0xff;
    at += 1;
  }
  return at;
}

/** SEQUENCE of the parts. */
export const sequence = (...parts: readonly Uint8Array[]): Uint8Array => derOf(tag.sequence, parts);

/** SET OF, in the ascending order of the encodings (X.690 §11.6). */
export function setOf(parts: readonly Uint8Array[], tagOctet: number = tag.set): Uint8Array {
  return derOf(tagOctet, parts.length < 2 ? parts : [...parts].sort(Buffer.compare));
}

/** INTEGER from unsigned octets, most significant first. */
export function unsignedInteger(octets: Uint8Array): Uint8Array {
  let start = 0;
  while (start < octets.length - 1 && octets[start] === 0) start += 1;
  const value = start === 0 ? octets : octets.subarray(start);
  return value.length === 0
    ? der(tag.integer, Uint8Array.of(0))
    : (value[0] as number) >= 0x80
      ? der(tag.integer, Uint8Array.of(0), value)
      : der(tag.integer, value);
}

/**
 * INTEGER from a non-negative safe integer.
 *
 * @throws PkiError `der_malformed` for any other number.
 */
export function integer(value: number): Uint8Array {
  if (!Number.isSafeInteger(value) || value < 0) throw malformed(`${value} is not a non-negative integer`);
  if (value < 0x80) return der(tag.integer, Uint8Array.of(value));
  const digits = value.toString(16);
  return unsignedInteger(Buffer.from(digits.length % 2 === 0 ? digits : `0${digits}`, 'hex'));
}

/** OCTET STRING. */
export const octetString = (octets: Uint8Array): Uint8Array => der(tag.octetString, octets);

/** BIT STRING that fills its octets. */
export const bitString = (octets: Uint8Array): Uint8Array => der(tag.bitString, Uint8Array.of(0), octets);

/** Named BIT STRING without trailing zero bits (X.690 §11.2.2). */
export function namedBitString(bits: readonly boolean[]): Uint8Array {
  const length = bits.lastIndexOf(true) + 1;
  const octets = new Uint8Array(Math.ceil(length / 8));
  for (let i = 0; i < length; i += 1) {
    if (bits[i] === true) octets[i >> 3] = (octets[i >> 3] as number) | (0x80 >> (i & 7));
  }
  return der(tag.bitString, Uint8Array.of(octets.length * 8 - length), octets);
}

/** BOOLEAN TRUE; FALSE is never written, being every default that PKIX has. */
export const booleanTrue: Uint8Array = Uint8Array.of(tag.boolean, 1, 0xff);

/** NULL. */
export const nullValue: Uint8Array = Uint8Array.of(tag.null, 0);

const encodedByDotted = new Map<string, Uint8Array>();

/**
 * OBJECT IDENTIFIER from its dotted form.
 *
 * @throws PkiError `der_malformed` if it is not one that `DerReader.oid` would read.
 */
export function objectIdentifier(dotted: string): Uint8Array {
  const kept = encodedByDotted.get(dotted);
  if (kept !== undefined) return kept;
  const encoded = encodeOid(dotted);
  if (encodedByDotted.size < OIDS_KEPT_MAX) encodedByDotted.set(dotted, encoded);
  return encoded;
}

function encodeOid(dotted: string): Uint8Array {
  const fail = () => malformed(`“${dotted}” is not an object identifier`);
  if (!/^[0-2](\.(0|[1-9]\d{0,15}))+$/.test(dotted)) throw fail();
  const [first, second, ...rest] = dotted.split('.').map(Number) as [number, number, ...number[]];
  // X.690 §8.19.4: below the first two roots there are 40 arcs.
  if (first < 2 && second >= 40) throw fail();
  const octets: number[] = [];
  for (const arc of [first * 40 + second, ...rest]) {
    if (!Number.isSafeInteger(arc)) throw fail();
    const groups = [arc % 128];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128))
      groups.unshift((left % 128) | 0x80);
    octets.push(...groups);
  }
  if (octets.length > OID_BYTES_MAX) throw fail();
  return der(tag.oid, Uint8Array.from(octets));
}

// Every identifier that Leafgate knows is found without decoding, whatever a hostile sender puts into the cache later.
for (const dotted of Object.values(oid)) dottedOid(objectIdentifier(dotted).subarray(2));

/** UTF8String. */
export const utf8String = (text: string): Uint8Array => der(tag.utf8String, Buffer.from(text, 'utf8'));

/** PrintableString; the text must be of its alphabet (`isPrintable`). */
export const printableString = (text: string): Uint8Array =>
  der(tag.printableString, Buffer.from(text, 'latin1'));

/** IA5String; the text must be ASCII. */
export const ia5String = (text: string): Uint8Array => der(tag.ia5String, Buffer.from(text, 'latin1'));

/** Whether PrintableString can hold the text (X.680 §41.4). */
export const isPrintable = (text: string): boolean => /^[A-Za-z0-9 '()+,\-./:=?]*$/.test(text);

/**
 * UTCTime through the year 2049, GeneralizedTime from 2050 on (RFC 5280 §4.1.2.5); parts of a second are dropped.
 *
 * @throws PkiError `der_malformed` for a date outside the years 0 to 9999.
 */
export function time(date: Date): Uint8Array {
  const year = date.getUTCFullYear();
  const digits = timeDigits(date);
  return year >= 1950 && year < 2050
    ? der(tag.utcTime, Buffer.from(digits.slice(2), 'latin1'))
    : der(tag.generalizedTime, Buffer.from(digits, 'latin1'));
}

/** GeneralizedTime to the second, for where no choice is given (OCSP, attributes). Throws like `time`. */
export function generalizedTime(date: Date): Uint8Array {
  return der(tag.generalizedTime, Buffer.from(timeDigits(date), 'latin1'));
}

function timeDigits(date: Date): string {
  const year = date.getUTCFullYear();
  if (!(year >= 0 && year <= 9999)) throw malformed('a date that has no place in a certificate');
  return `${String(year).padStart(4, '0')}${pair(date.getUTCMonth() + 1)}${pair(date.getUTCDate())}${pair(
    date.getUTCHours(),
  )}${pair(date.getUTCMinutes())}${pair(date.getUTCSeconds())}Z`;
}

function pair(number: number): string {
  return number < 10 ? `0${number}` : String(number);
}

// --- small things about octets ----------------------------------------------------------------------------------

/** Lower-case hexadecimal. */
export const hex = (octets: Uint8Array): string => bufferOf(octets).toString('hex');

/** One character an octet. */
export const latin1 = (octets: Uint8Array): string => bufferOf(octets).toString('latin1');

/** Whether both are the same octets. Not for secrets. */
export const sameOctets = (a: Uint8Array, b: Uint8Array): boolean =>
  a === b || (a.length === b.length && Buffer.compare(a, b) === 0);

/** A Buffer over the same memory. */
export function bufferOf(octets: Uint8Array): Buffer {
  return Buffer.isBuffer(octets) ? octets : Buffer.from(octets.buffer, octets.byteOffset, octets.byteLength);
}

function hexOctet(octet: number): string {
  return octet.toString(16).padStart(2, '0');
}
