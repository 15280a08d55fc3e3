/** Changes inputs: octets at random, and DER by its structure. */

/** Numbers that a seed determines. */
export type Random = (below: number) => number;

/** mulberry32: quick, the same on every machine, and without a pattern between one number and the next. */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** An element of DER or BER as far as it can be made out; whatever is none is content. */
interface Node {
  tag: number;
  content: Uint8Array;
  /** If it is constructed and its content reads as elements, or wraps some as OCTET STRINGs and BIT STRINGs do. */
  children: Node[] | undefined;
  /** Octets before the children: the unused bits of a BIT STRING. */
  prefix: Uint8Array;
  /** How its length is written. */
  length: 'short' | 'indefinite' | 'non-minimal' | 'too long' | 'too short' | 'huge';
}

const DEPTH_MAX = 24;
const NODES_MAX = 2_000;
const NONE = new Uint8Array();
/** Inputs beyond this tell nothing new and cost time. */
export const INPUT_BYTES_MAX = 8_192;

/** The elements that fill `bytes`, or `undefined` if they do not. */
function elementsOf(bytes: Uint8Array, depth: number, budget: { left: number }): Node[] | undefined {
  const nodes: Node[] = [];
  for (let at = 0; at < bytes.length; ) {
    const tag = bytes[at] ?? 0;
    const first = bytes[at + 1];
    if (first === undefined || (tag & 0x1f) === 0x1f || budget.left-- <= 0) return undefined;
    let length = first;
    let start = at + 2;
    if (first > 0x84 || first === 0x80) return undefined;
    if (first > 0x80) {
      length = 0;
      for (let count = first & 0x7f; count > 0; count -= 1) length = length * 256 + (bytes[start++] ?? 0);
    }
    const end = start + length;
    if (end > bytes.length) return undefined;
    nodes.push(nodeOf(tag, bytes.subarray(start, end), depth, budget));
    at = end;
  }
  return nodes;
}

function nodeOf(tag: number, content: Uint8Array, depth: number, budget: { left: number }): Node {
  const bitString = tag === 3 && content[0] === 0;
  const prefix = bitString ? content.subarray(0, 1) : NONE;
  const wraps = (tag & 0x20) !== 0 || ((tag === 4 || bitString) && content.length > prefix.length + 1);
  const children =
    wraps && depth < DEPTH_MAX ? elementsOf(content.subarray(prefix.length), depth + 1, budget) : undefined;
  return { tag, content, children, prefix, length: 'short' };
}

function write(node: Node, out: number[]): void {
  const content: number[] = [];
  if (node.children === undefined) for (const octet of node.content) content.push(octet);
  else {
    content.push(...node.prefix);
    for (const child of node.children) write(child, content);
  }
  out.push(node.tag & 0xff);
  const { length } = content;
  switch (node.length) {
    case 'indefinite':
      out.push(0x80, ...content, 0, 0);
      return;
    case 'non-minimal':
      out.push(0x84, (length >>> 24) & 0xff, (length >>> 16) & 0xff, (length >>> 8) & 0xff, length & 0xff);
      break;
    case 'huge':
      out.push(0x84, 0x7f, 0xff, 0xff, 0xff);
      break;
    default: {
      const said = Math.max(
        0,
        length + (node.length === 'too long' ? 1 : node.length === 'too short' ? -1 : 0),
      );
      if (said < 0x80) out.push(said);
      else if (said < 0x100) out.push(0x81, said);
      else if (said < 0x10000) out.push(0x82, said >> 8, said & 0xff);
      else out.push(0x83, said >> 16, (said >> 8) & 0xff, said & 0xff);
    }
  }
  for (const octet of content) out.push(octet);
}

interface Place {
  readonly siblings: Node[];
  readonly index: number;
  readonly node: Node;
}

function placesIn(nodes: Node[], places: Place[] = []): Place[] {
  for (const [index, node] of nodes.entries()) {
    places.push({ siblings: nodes, index, node });
    if (node.children !== undefined) placesIn(node.children, places);
  }
  return places;
}

const tags = [
  1, 2, 3, 4, 5, 6, 10, 12, 19, 20, 22, 23, 24, 28, 30, 0x24, 0x30, 0x31, 0x80, 0x81, 0xa0, 0xa1, 0xa3,
];
const contents = [
  '',
  '00',
  'ff',
  '0080',
  '7f',
  '80',
  'ffffffff',
  '00ffffffff',
  '0000000000000001',
  '2a',
  '8001',
].map((hex) => Uint8Array.from(Buffer.from(hex, 'hex')));
const texts = [
  '700101000000Z',
  '491231235959Z',
  '99991231235959Z',
  '20500101000000Z',
  '1',
  '19',
  '3',
  ' ',
  '\0',
  'é',
].map((text) => new Uint8Array(Buffer.from(text, 'utf8')));
const lengths = ['indefinite', 'non-minimal', 'too long', 'too short', 'huge'] as const;

const copyOf = (node: Node): Node => ({
  ...node,
  children: node.children?.map(copyOf),
});

/** Changes the structure in one place; false if there is none. */
function restructure(nodes: Node[], donors: Node[], random: Random): boolean {
  const places = placesIn(nodes);
  const place = places[random(Math.max(1, places.length))];
  if (place === undefined) return false;
  const { siblings, index, node } = place;
  const others = random(2) === 0 ? places : placesIn(donors);
  const other = others[random(Math.max(1, others.length))]?.node ?? node;
  switch (random(11)) {
    case 0:
      siblings.splice(index, 1);
      break;
    case 1:
      siblings.splice(index, 0, copyOf(node));
      break;
    case 2:
      siblings.splice(index, 1, copyOf(other));
      break;
    case 3:
      siblings.splice(random(siblings.length + 1), 0, copyOf(other));
      break;
    case 4:
      node.tag = tags[random(tags.length)] ?? 5;
      break;
    case 5:
      node.tag ^= 1 << random(8);
      break;
    case 6:
      node.children = undefined;
      node.content = (random(2) === 0 ? contents : texts)[random(10)] ?? NONE;
      break;
    case 7:
      node.length = lengths[random(lengths.length)] ?? 'huge';
      break;
    case 8: {
      // In pieces, as Apple's devices send octet strings.
      const whole = { ...copyOf(node), length: 'short' as const };
      const tag = node.tag | 0x20;
      siblings.splice(index, 1, {
        tag,
        content: NONE,
        children: [whole],
        prefix: NONE,
        length: 'indefinite',
      });
      break;
    }
    case 9:
      siblings.splice(index, 1, ...(node.children ?? []));
      break;
    default: {
      // Many of the same, for what is quadratic.
      const many = 1 + random(1 << random(7));
      for (let count = 0; count < many; count += 1) siblings.splice(index, 0, node);
    }
  }
  return true;
}

/** Changes octets at random. */
function scramble(input: Uint8Array, donor: Uint8Array, random: Random): Uint8Array {
  const bytes = Buffer.from(input);
  const at = random(bytes.length + 1);
  const length = 1 + random(1 << random(6));
  switch (random(7)) {
    case 0:
      if (at < bytes.length) bytes[at] = (bytes[at] ?? 0) ^ (1 << random(8));
      return bytes;
    case 1:
      if (at < bytes.length) bytes[at] = random(256);
      return bytes;
    case 2:
      if (at < bytes.length) bytes[at] = (bytes[at] ?? 0) + (random(2) === 0 ? 1 : 255);
      return bytes;
    case 3:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
    case 4:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at, at + length), bytes.subarray(at)]);
    case 5: {
      const from = random(donor.length + 1);
      return Buffer.concat([bytes.subarray(0, at), donor.subarray(from, from + length), bytes.subarray(at)]);
    }
    default:
      return bytes.subarray(0, at);
  }
}

/** A changed copy of `input`; `donor` lends parts. */
export function mutate(input: Uint8Array, donor: Uint8Array, random: Random): Uint8Array {
  let bytes = input;
  if (random(4) > 0) {
    const nodes = elementsOf(input, 0, { left: NODES_MAX });
    if (nodes !== undefined) {
      const donors = elementsOf(donor, 0, { left: NODES_MAX }) ?? [];
      for (let count = 1 + random(3); count > 0; count -= 1) if (!restructure(nodes, donors, random)) break;
      const out: number[] = [];
      for (const node of nodes) {
        write(node, out);
        if (out.length > 4 * INPUT_BYTES_MAX) break;
      }
      bytes = Uint8Array.from(out);
    }
  }
  if (bytes === input || random(4) === 0)
    for (let count = 1 + random(4); count > 0; count -= 1) bytes = scramble(bytes, donor, random);
  return bytes.subarray(0, INPUT_BYTES_MAX);
}
