/**
 * BER (ITU-T X.690) read as far as it goes: for people who look at a message that no parser takes.
 *
 * Nothing that is decided rests on it; what decides is read by the strict codec alone.
 */
import { dottedOid, hex, latin1, oid, smallNumber, tag, utf8Text } from '../../codec/index.ts';
import { PkiError } from '../../errors.ts';

/** What is not as DER has it, with where it was first seen. */
export type BerFlaw = 'cut' | 'indefinite' | 'longLength' | 'pieces' | 'tag' | 'trailing' | 'limit';

/** One element. A cut one holds what there is of it. */
export interface BerNode {
  readonly tag: number;
  /** Where it begins in the input. */
  readonly start: number;
  /** Octets that its length says its content has; `undefined` if the length is indefinite. */
  readonly announcedBytes: number | undefined;
  /** Tag, length and content, and the end-of-contents octets of an indefinite length. */
  readonly raw: Uint8Array;
  readonly content: Uint8Array;
  /** Elements inside; empty if primitive. */
  readonly children: readonly BerNode[];
}

/** A tree, and what is odd about its encoding. */
export interface BerTree {
  /** Absent if not even one element begins. */
  readonly root?: BerNode;
  readonly flaws: ReadonlyMap<BerFlaw, { readonly at: number; readonly detail: string }>;
}

const DEPTH_MAX = 32;
const NODES_MAX = 20_000;

/** Reads the first element and all in it. Never throws; work and depth are bounded. */
export function readBerTree(bytes: Uint8Array): BerTree {
  const scan: Scan = { bytes, flaws: new Map(), nodes: 0 };
  if (bytes.length === 0) return { flaws: scan.flaws };
  const root = readNode(scan, 0, bytes.length, 0);
  if (root === undefined) return { flaws: scan.flaws };
  const rest = bytes.length - root.raw.length;
  if (rest > 0) flaw(scan, 'trailing', root.raw.length, `${rest} octets follow the message`);
  return { root, flaws: scan.flaws };
}

interface Scan {
  readonly bytes: Uint8Array;
  readonly flaws: Map<BerFlaw, { readonly at: number; readonly detail: string }>;
  nodes: number;
}

function flaw(scan: Scan, kind: BerFlaw, at: number, detail: string): void {
  if (!scan.flaws.has(kind)) scan.flaws.set(kind, { at, detail });
}

function readNode(scan: Scan, start: number, limit: number, depth: number): BerNode | undefined {
  const { bytes } = scan;
  scan.nodes += 1;
  if (scan.nodes > NODES_MAX || depth > DEPTH_MAX) {
    flaw(scan, 'limit', start, 'deeper, or of more elements, than any real message');
    return undefined;
  }
  const tagOctet = bytes[start] as number;
  if ((tagOctet & 0x1f) === 0x1f || (tagOctet & 0xdf) === 0) {
    flaw(scan, 'tag', start, `tag 0x${tagOctet.toString(16).padStart(2, '0')} at octet ${start}`);
    return undefined;
  }
  const first = bytes[start + 1];
  let contentStart = start + 2;
  let announcedBytes: number | undefined = first;
  if (first === undefined || start + 2 > limit) {
    flaw(scan, 'cut', start, `it ends at octet ${limit}, before the length of an element`);
    announcedBytes = 0;
    contentStart = limit;
  } else if (first === 0x80) {
    flaw(scan, 'indefinite', start, `first at octet ${start}`);
    announcedBytes = undefined;
  } else if (first > 0x80) {
    const lengthOctets = first & 0x7f;
    announcedBytes = 0;
    for (let i = 0; i < lengthOctets; i += 1)
      announcedBytes = announcedBytes * 256 + (bytes[start + 2 + i] ?? 0);
    contentStart = Math.min(start + 2 + lengthOctets, limit);
    if (start + 2 + lengthOctets > limit)
      flaw(scan, 'cut', start, `it ends at octet ${limit}, within the length of an element`);
    if (announcedBytes < 0x80 || bytes[start + 2] === 0)
      flaw(scan, 'longLength', start, `a length at octet ${start} is not in its shortest form`);
  }
  const end = announcedBytes === undefined ? limit : contentStart + announcedBytes;
  if (end > limit) {
    flaw(
      scan,
      'cut',
      start,
      `an element says that it has ${announcedBytes} octets, and ${limit - contentStart} are there`,
    );
  }
  const children: BerNode[] = [];
  let at = contentStart;
  let contentEnd = Math.min(end, limit);
  if ((tagOctet & 0x20) !== 0) {
    if (tagOctet === (tag.octetString | 0x20)) flaw(scan, 'pieces', start, `first at octet ${start}`);
    while (at < contentEnd) {
      if (announcedBytes === undefined && bytes[at] === 0 && bytes[at + 1] === 0) {
        contentEnd = at;
        at += 2;
        break;
      }
      const child = readNode(scan, at, contentEnd, depth + 1);
      if (child === undefined) {
        at = contentEnd;
        break;
      }
      children.push(child);
      at += child.raw.length;
    }
    if (announcedBytes === undefined && at >= limit && contentEnd === limit)
      flaw(scan, 'cut', start, 'an element of indefinite length has no end');
  } else at = contentEnd;
  const rawEnd = announcedBytes === undefined ? at : contentEnd;
  return {
    tag: tagOctet,
    start,
    announcedBytes,
    raw: bytes.subarray(start, rawEnd),
    content: bytes.subarray(contentStart, contentEnd),
    children,
  };
}

/** The element at a place; `undefined` if there is none. */
export const childOf = (node: BerNode | undefined, index: number): BerNode | undefined =>
  node?.children[index];

/** The first element inside that has this tag octet. */
export const childWithTag = (node: BerNode | undefined, tagOctet: number): BerNode | undefined =>
  node?.children.find((child) => child.tag === tagOctet);

/** OBJECT IDENTIFIER in dotted form; `undefined` for anything else. */
export function oidOf(node: BerNode | undefined): string | undefined {
  return node?.tag === tag.oid ? attempt(() => dottedOid(node.content)) : undefined;
}

/** A small INTEGER; `undefined` for anything else. */
export function numberOf(node: BerNode | undefined): number | undefined {
  return node?.tag === tag.integer ? attempt(() => smallNumber(node.content)) : undefined;
}

/** Octets of an OCTET STRING, or of one that is implicitly tagged, in one piece or several. */
export function octetsOf(node: BerNode | undefined): Uint8Array | undefined {
  if (node === undefined) return undefined;
  if ((node.tag & 0x20) === 0) return node.content;
  return Buffer.concat(node.children.map((piece) => octetsOf(piece) ?? Uint8Array.of()));
}

/** The text of any string type; `undefined` for anything else. */
export function textOf(node: BerNode | undefined): string | undefined {
  switch (node?.tag) {
    case tag.printableString:
    case tag.ia5String:
    case tag.t61String:
    case tag.visibleString:
      return latin1(node.content);
    case tag.utf8String:
      return attempt(() => utf8Text(node.content));
    case tag.bmpString:
      return node.content.length % 2 === 0
        ? Buffer.from(node.content).swap16().toString('utf16le')
        : undefined;
    default:
      return undefined;
  }
}

const tagNames: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(tag).map(([name, octet]) => [octet, name]),
);

/** What an element is, for a sentence: `an octetString`. */
export const kindOf = (node: BerNode): string =>
  tagNames[node.tag] ?? `tag 0x${node.tag.toString(16).padStart(2, '0')}`;

const oidNames: ReadonlyMap<string, string> = new Map(
  Object.entries(oid).map(([name, dotted]) => [dotted, name]),
);

/** An identifier by the name that its document gives it, else dotted. */
export const oidName = (dotted: string | undefined): string =>
  dotted === undefined ? 'unreadable' : (oidNames.get(dotted) ?? dotted);

/** Hexadecimal, shortened in the middle of what is long. */
export function shortHex(octets: Uint8Array, bytesMax = 32): string {
  return octets.length <= bytesMax
    ? hex(octets)
    : `${hex(octets.subarray(0, bytesMax))}… (${octets.length} octets)`;
}

/** What `read` gives, or `undefined` if the octets break a standard. */
export function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof PkiError) return undefined;
    throw cause;
  }
}
