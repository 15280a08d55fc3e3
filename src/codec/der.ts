/**
 * Strict DER (ITU-T X.690 §10): the only place that knows tag and length octets.
 *
 * Reading never copies: what a reader hands out are views of the bytes it was given, so that signed bytes stay as they
 * came. Writing is bottom-up: every function returns the finished octets of one element.
 */
import { PkiError } from '../errors.ts';

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
  #position = 0;

  constructor(bytes: Uint8Array, depth = 0) {
    if (depth > DEPTH_MAX) throw new PkiError('der_limit', `nested deeper than ${DEPTH_MAX} levels`);
    this.#bytes = bytes;
    this.#depth = depth;
  }

  /** Whether everything was read. */
  get done(): boolean {
    return this.#position >= this.#bytes.length;
  }

  /** The tag octet that comes next; `undefined` at the end. */
  get nextTag(): number | undefined {
    return this.#bytes[this.#position];
  }

  /** Throws unless everything was read. */
  end(): void {
    if (!this.done) throw malformed(`${this.#bytes.length - this.#position} octets follow the last element`);
  }

  /** The next element, whatever it is. */
  element(): Element {
    const bytes = this.#bytes;
    const start = this.#position;
    if (start + 2 > bytes.length) throw malformed('an element is cut off');
    const tagOctet = bytes[start] as number;
    // X.690 §8.1.2.4: tag numbers above 30 take more octets; no PKIX structure has one.
    if ((tagOctet & 0x1f) === 0x1f) throw malformed('a multi-octet tag');
    let length = bytes[start + 1] as number;
    let contentStart = start + 2;
    if (length >= 0x80) {
      const lengthOctets = length & 0x7f;
      // X.690 §10.1: the definite form, on the fewest octets.
      if (lengthOctets === 0) throw malformed('an indefinite length');
      if (lengthOctets > 4) throw malformed('a length of more than four octets');
      contentStart += lengthOctets;
      if (contentStart > bytes.length) throw malformed('a length is cut off');
      length = 0;
      for (let i = start + 2; i < contentStart; i += 1) length = length * 256 + (bytes[i] as number);
      if (length < 0x80 || length < 2 ** (8 * (lengthOctets - 1)))
        throw malformed('a length not in shortest form');
    }
    const end = contentStart + length;
    if (end > bytes.length) throw malformed('an element is longer than what holds it');
    this.#position = end;
    return { tag: tagOctet, content: bytes.subarray(contentStart, end), raw: bytes.subarray(start, end) };
  }

  /** The next element, which must have this tag octet. */
  expect(tagOctet: number): Element {
    const next = this.nextTag;
    if (next !== tagOctet) {
      throw malformed(
        `expected tag ${hexOctet(tagOctet)}, found ${next === undefined ? 'the end' : hexOctet(next)}`,
      );
    }
    return this.element();
  }

  /** The next element if it has this tag octet, else `undefined` and nothing is read. */
  optional(tagOctet: number): Element | undefined {
    return this.nextTag === tagOctet ? this.element() : undefined;
  }

  /** A reader for the content of the next element, which must have this tag octet. */
  enter(tagOctet: number = tag.sequence): DerReader {
    return new DerReader(this.expect(tagOctet).content, this.#depth + 1);
  }

  /** Like `enter`, but `undefined` and nothing is read if another tag comes. */
  enterOptional(tagOctet: number): DerReader | undefined {
    return this.nextTag === tagOctet ? this.enter(tagOctet) : undefined;
  }

  /** BOOLEAN (X.690 §11.1: TRUE is FF). */
  boolean(): boolean {
    const { content } = this.expect(tag.boolean);
    if (content.length !== 1 || (content[0] !== 0 && content[0] !== 0xff))
      throw malformed('a BOOLEAN not 00 or FF');
    return content[0] === 0xff;
  }

  /** Content octets of an INTEGER, in two's complement. */
  integer(): Uint8Array {
    const { content } = this.expect(tag.integer);
    if (content.length === 0) throw malformed('an empty INTEGER');
    if (content.length > 1) {
      const [first, second] = content as Uint8Array & { 0: number; 1: number };
      // X.690 §8.3.2: the first nine bits are not all equal.
      if ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80)) {
        throw malformed('an INTEGER not in shortest form');
      }
    }
    return content;
  }

  /** A non-negative INTEGER below 2^31: versions, counts, sizes. */
  smallInteger(): number {
    return smallNumber(this.integer());
  }

  /** OBJECT IDENTIFIER in dotted form. */
  oid(): string {
    return dottedOid(this.expect(tag.oid).content);
  }

  /** OCTET STRING, primitive. */
  octetString(): Uint8Array {
    return this.expect(tag.octetString).content;
  }

  /** BIT STRING whose bits fill whole octets, as keys and signatures do. */
  bitStringOctets(): Uint8Array {
    const { content } = this.expect(tag.bitString);
    if (content.length === 0 || content[0] !== 0)
      throw malformed('a BIT STRING that does not fill its octets');
    return content.subarray(1);
  }

  /** NULL. */
  null(): void {
    if (this.expect(tag.null).content.length !== 0) throw malformed('a NULL with content');
  }

  /** UTCTime or GeneralizedTime in the form that RFC 5280 §4.1.2.5 demands: to the second, Zulu. */
  time(): Date {
    const element = this.element();
    if (element.tag !== tag.utcTime && element.tag !== tag.generalizedTime)
      throw malformed('expected a time');
    return parseTime(element);
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

/** Bits of a named BIT STRING (KeyUsage, ReasonFlags), first bit first. */
export function namedBits(content: Uint8Array): boolean[] {
  const unused = content[0];
  if (unused === undefined || unused > 7 || (content.length === 1 && unused !== 0))
    throw malformed('a bad BIT STRING');
  const bits: boolean[] = [];
  for (let i = 0; i < (content.length - 1) * 8 - unused; i += 1) {
    bits.push((((content[1 + (i >> 3)] as number) >> (7 - (i & 7))) & 1) === 1);
  }
  return bits;
}

/** Value of a non-negative INTEGER below 2^31 from its content octets. */
export function smallNumber(content: Uint8Array): number {
  if (content.length > 4 || (content[0] as number) >= 0x80) throw malformed('an INTEGER out of range');
  return content.reduce((value, octet) => value * 256 + octet, 0);
}

const dottedCache = new Map<string, string>();

/** Dotted form of an OBJECT IDENTIFIER's content octets. */
export function dottedOid(content: Uint8Array): string {
  const key = latin1(content);
  const known = dottedCache.get(key);
  if (known !== undefined) return known;
  if (content.length === 0 || content.length > 40)
    throw malformed('an OBJECT IDENTIFIER of impossible length');
  const arcs: number[] = [];
  let arc = 0;
  let fresh = true;
  for (const octet of content) {
    // X.690 §8.19.2: an arc does not begin with 80.
    if (fresh && octet === 0x80) throw malformed('an OBJECT IDENTIFIER not in shortest form');
    arc = arc * 128 + (octet & 0x7f);
    if (arc > Number.MAX_SAFE_INTEGER / 128) throw malformed('an OBJECT IDENTIFIER arc out of range');
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
  const dotted = arcs.join('.');
  // Only a hostile sender invents identifiers without end; real traffic has a few dozen.
  if (dottedCache.size < 1000) dottedCache.set(key, dotted);
  return dotted;
}

function parseTime(element: Element): Date {
  const text = latin1(element.content);
  const short = element.tag === tag.utcTime;
  const match = (
    short ? /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/ : /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/
  ).exec(text);
  if (match === null) throw malformed('a time not of the form YYMMDDHHMMSSZ or YYYYMMDDHHMMSSZ');
  const [year, month, day, hour, minute, second] = match.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  // RFC 5280 §4.1.2.5.1: two-digit years from 50 on are 19xx.
  const fullYear = short ? (year >= 50 ? 1900 + year : 2000 + year) : year;
  const date = new Date(0);
  date.setUTCFullYear(fullYear, month - 1, day);
  date.setUTCHours(hour, minute, second);
  if (
    date.getUTCMonth() !== month - 1 ||
    date.getUTCDate() !== day ||
    hour > 23 ||
    minute > 59 ||
    second > 59
  ) {
    throw malformed('a time that does not exist');
  }
  return date;
}

// --- writing ----------------------------------------------------------------------------------------------------

/** One element from its tag octet and the parts of its content. */
export function der(tagOctet: number, ...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const lengthOctets =
    length < 0x80 ? 0 : length < 0x100 ? 1 : length < 0x10000 ? 2 : length < 0x1000000 ? 3 : 4;
  const out = Buffer.allocUnsafe(2 + lengthOctets + length);
  out[0] = tagOctet;
  let at = 2;
  if (lengthOctets === 0) out[1] = length;
  else {
    out[1] = 0x80 | lengthOctets;
    for (let shift = (lengthOctets - 1) * 8; shift >= 0; shift -= 8) {
      out[at] = (length >>> shift) & 0xff;
      at += 1;
    }
  }
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** SEQUENCE of the parts. */
export const sequence = (...parts: readonly Uint8Array[]): Uint8Array => der(tag.sequence, ...parts);

/** SET OF, in the ascending order of the encodings (X.690 §11.6). */
export function setOf(parts: readonly Uint8Array[], tagOctet: number = tag.set): Uint8Array {
  return der(tagOctet, ...[...parts].sort(Buffer.compare));
}

/** INTEGER from unsigned octets, most significant first. */
export function unsignedInteger(octets: Uint8Array): Uint8Array {
  let start = 0;
  while (start < octets.length - 1 && octets[start] === 0) start += 1;
  const value = octets.subarray(start);
  return value.length === 0
    ? der(tag.integer, Uint8Array.of(0))
    : (value[0] as number) >= 0x80
      ? der(tag.integer, Uint8Array.of(0), value)
      : der(tag.integer, value);
}

/** INTEGER from a non-negative safe integer. */
export function integer(value: number): Uint8Array {
  const hex = value.toString(16);
  return unsignedInteger(Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex'));
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

const oidCache = new Map<string, Uint8Array>();

/** OBJECT IDENTIFIER from its dotted form. */
export function objectIdentifier(dotted: string): Uint8Array {
  const known = oidCache.get(dotted);
  if (known !== undefined) return known;
  if (!/^[0-2](\.(0|[1-9]\d{0,14}))+$/.test(dotted))
    throw malformed(`“${dotted}” is not an object identifier`);
  const [first, second, ...rest] = dotted.split('.').map(Number) as [number, number, ...number[]];
  const octets: number[] = [];
  for (const arc of [first * 40 + second, ...rest]) {
    const groups = [arc % 128];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128))
      groups.unshift((left % 128) | 0x80);
    octets.push(...groups);
  }
  const encoded = der(tag.oid, Uint8Array.from(octets));
  if (oidCache.size < 1000) oidCache.set(dotted, encoded);
  return encoded;
}

/** UTF8String. */
export const utf8String = (text: string): Uint8Array => der(tag.utf8String, Buffer.from(text, 'utf8'));

/** PrintableString; the text must be of its alphabet (`isPrintable`). */
export const printableString = (text: string): Uint8Array =>
  der(tag.printableString, Buffer.from(text, 'latin1'));

/** IA5String; the text must be ASCII. */
export const ia5String = (text: string): Uint8Array => der(tag.ia5String, Buffer.from(text, 'latin1'));

/** Whether PrintableString can hold the text (X.680 §41.4). */
export const isPrintable = (text: string): boolean => /^[A-Za-z0-9 '()+,\-./:=?]*$/.test(text);

/** UTCTime through the year 2049, GeneralizedTime from 2050 on (RFC 5280 §4.1.2.5). */
export function time(date: Date): Uint8Array {
  const digits = date
    .toISOString()
    .replace(/\.\d+Z$/, 'Z')
    .replaceAll(/[-:T]/g, '');
  const year = date.getUTCFullYear();
  return year >= 1950 && year < 2050
    ? der(tag.utcTime, Buffer.from(digits.slice(2), 'latin1'))
    : der(tag.generalizedTime, Buffer.from(digits, 'latin1'));
}

/** GeneralizedTime to the second, for where no choice is given (OCSP, attributes). */
export function generalizedTime(date: Date): Uint8Array {
  const digits = date
    .toISOString()
    .replace(/\.\d+Z$/, 'Z')
    .replaceAll(/[-:T]/g, '');
  return der(tag.generalizedTime, Buffer.from(digits, 'latin1'));
}

// --- small things about octets ----------------------------------------------------------------------------------

/** Lower-case hexadecimal. */
export const hex = (octets: Uint8Array): string => bufferOf(octets).toString('hex');

/** One character an octet. */
export const latin1 = (octets: Uint8Array): string => bufferOf(octets).toString('latin1');

/** Whether both are the same octets. Not for secrets. */
export const sameOctets = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** A Buffer over the same memory. */
export function bufferOf(octets: Uint8Array): Buffer {
  return Buffer.isBuffer(octets) ? octets : Buffer.from(octets.buffer, octets.byteOffset, octets.byteLength);
}

function hexOctet(octet: number): string {
  return octet.toString(16).padStart(2, '0');
}
