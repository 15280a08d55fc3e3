/**
 * The BER that real SCEP clients send, turned into DER before anything else looks at it.
 *
 * Apple, Bouncy Castle and PAN-OS send indefinite lengths and constructed OCTET STRINGs (X.690 §8.1.3.6, §8.7). Values
 * that are DER already keep every octet, so that signed parts (always DER: RFC 5652 §5.4) stay as they came.
 */
import { PkiError } from '../errors.ts';
import { DerReader, derOf, tag } from './der.ts';

/** Bounds on what is worth normalising. */
export interface BerLimits {
  readonly sizeBytesMax: number;
  readonly depthMax: number;
  /** Of a message that is not DER already, since only such a message costs memory here. */
  readonly elementsMax: number;
}

/** More than any client sends: the largest SCEP message seen in the field is below 64 KiB and has a few hundred elements. */
export const berLimits: BerLimits = { sizeBytesMax: 2 * 1024 * 1024, depthMax: 32, elementsMax: 20_000 };

/**
 * Answers the DER form of one BER element that fills `bytes`; the same array if it is DER already.
 *
 * DER is recognised in one pass that allocates nothing. Otherwise every level of nesting copies its content once:
 * the work grows with size times depth, both of which are bounded.
 *
 * @throws PkiError `der_malformed` if it is not BER, `der_limit` if it exceeds `limits`.
 */
export function normalizeBer(bytes: Uint8Array, limits: BerLimits = berLimits): Uint8Array {
  if (bytes.length > limits.sizeBytesMax) {
    throw new PkiError('der_limit', `${bytes.length} octets; at most ${limits.sizeBytesMax} are read`);
  }
  if (derElements(bytes, 0, bytes.length, limits.depthMax) === 1) return bytes;
  const scan: Scan = { bytes, limits, elements: 0 };
  const { end, element } = readElement(scan, 0, bytes.length, 0);
  if (end !== bytes.length) throw malformed(`${bytes.length - end} octets follow the element`);
  return element ?? bytes;
}

/**
 * How many elements fill the octets from `start` to `end`, if their tags and lengths, and those of all elements in
 * them, are as DER has them and no string is in pieces; -1 for anything else, be it BER, malformed or too deep.
 */
function derElements(bytes: Uint8Array, start: number, end: number, depthLeft: number): number {
  if (depthLeft < 0) return -1;
  let count = 0;
  let at = start;
  while (at < end) {
    if (at + 2 > end) return -1;
    const tagOctet = bytes[at] as number;
    if (isReservedTag(tagOctet) || isConstructedString(tagOctet)) return -1;
    let length = bytes[at + 1] as number;
    at += 2;
    if (length >= 0x80) {
      const lengthOctets = length & 0x7f;
      if (lengthOctets === 0 || lengthOctets > 4 || at + lengthOctets > end || bytes[at] === 0) return -1;
      length = 0;
      for (const contentStart = at + lengthOctets; at < contentStart; at += 1)
        length = length * 256 + (bytes[at] as number);
      if (length < 0x80) return -1;
    }
    if (length > end - at) return -1;
    if ((tagOctet & 0x20) !== 0 && derElements(bytes, at, at + length, depthLeft - 1) < 0) return -1;
    at += length;
    count += 1;
  }
  return count;
}

interface Scan {
  readonly bytes: Uint8Array;
  readonly limits: BerLimits;
  elements: number;
}

/** Where an element ends, and its DER form if that differs from what stands in the input. */
interface Normalized {
  readonly end: number;
  readonly element: Uint8Array | undefined;
}

function readElement(scan: Scan, start: number, limit: number, depth: number): Normalized {
  const { bytes, limits } = scan;
  scan.elements += 1;
  if (scan.elements > limits.elementsMax)
    throw new PkiError('der_limit', `more than ${limits.elementsMax} elements`);
  if (depth > limits.depthMax)
    throw new PkiError('der_limit', `nested deeper than ${limits.depthMax} levels`);
  if (start + 2 > limit) throw malformed('an element is cut off');
  const tagOctet = bytes[start] as number;
  if (isReservedTag(tagOctet)) throw malformed('a multi-octet or reserved tag');
  const constructed = (tagOctet & 0x20) !== 0;
  const firstLength = bytes[start + 1] as number;
  if (firstLength === 0x80) {
    if (!constructed) throw malformed('an indefinite length on a primitive element');
    const { end, parts } = readUntilEndOfContents(scan, start + 2, limit, depth);
    return { end, element: rebuild(tagOctet, parts) };
  }
  let contentStart = start + 2;
  let length = firstLength;
  let shortest = true;
  if (firstLength > 0x80) {
    const lengthOctets = firstLength & 0x7f;
    if (lengthOctets > 4) throw malformed('a length of more than four octets');
    contentStart += lengthOctets;
    if (contentStart > limit) throw malformed('a length is cut off');
    length = 0;
    for (let i = start + 2; i < contentStart; i += 1) length = length * 256 + (bytes[i] as number);
    // X.690 §10.1: what DER would have written.
    shortest = length >= 0x80 && bytes[start + 2] !== 0;
  }
  const end = contentStart + length;
  if (end > limit) throw malformed('an element is longer than what holds it');
  if (!constructed) {
    return { end, element: shortest ? undefined : derOf(tagOctet, [bytes.subarray(contentStart, end)]) };
  }
  const parts: Uint8Array[] = [];
  let changed = !shortest || isConstructedString(tagOctet);
  for (let at = contentStart; at < end; ) {
    const child = readElement(scan, at, end, depth + 1);
    parts.push(child.element ?? bytes.subarray(at, child.end));
    changed ||= child.element !== undefined;
    at = child.end;
  }
  return { end, element: changed ? rebuild(tagOctet, parts) : undefined };
}

function readUntilEndOfContents(
  scan: Scan,
  start: number,
  limit: number,
  depth: number,
): { readonly end: number; readonly parts: readonly Uint8Array[] } {
  const { bytes } = scan;
  const parts: Uint8Array[] = [];
  for (let at = start; ; ) {
    if (at + 2 > limit) throw malformed('the end-of-contents octets are missing');
    if (bytes[at] === 0 && bytes[at + 1] === 0) return { end: at + 2, parts };
    const child = readElement(scan, at, limit, depth + 1);
    parts.push(child.element ?? bytes.subarray(at, child.end));
    at = child.end;
  }
}

/** Tag numbers above 30, which no PKIX structure has, and the tag of the end-of-contents octets. */
function isReservedTag(tagOctet: number): boolean {
  return (tagOctet & 0x1f) === 0x1f || (tagOctet & 0xdf) === 0;
}

/** Strings that BER may cut into pieces and that occur in CMS; the other string types never come constructed. */
function isConstructedString(tagOctet: number): boolean {
  return tagOctet === (tag.octetString | 0x20);
}

function rebuild(tagOctet: number, parts: readonly Uint8Array[]): Uint8Array {
  return isConstructedString(tagOctet)
    ? derOf(tag.octetString, parts.map(octetsOfPiece))
    : derOf(tagOctet, parts);
}

/**
 * Content of the pieces of a constructed OCTET STRING, each a primitive OCTET STRING in DER.
 *
 * @throws PkiError `der_malformed` if a piece is anything else.
 */
export function joinOctetStrings(pieces: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(pieces.map(octetsOfPiece));
}

/** X.690 §8.7.3.2: the pieces are OCTET STRINGs and nothing else. */
function octetsOfPiece(piece: Uint8Array): Uint8Array {
  const reader = new DerReader(piece);
  const octets = reader.octetString();
  reader.end();
  return octets;
}

function malformed(message: string): PkiError {
  return new PkiError('der_malformed', message);
}
