/**
 * Makes the vectors beside it: `node test/vectors/rsa-padding/generate.ts` writes them again, octet for octet the same.
 *
 * A vector is an encoded message block, before RSA, so that it fits any key of 2048 bits: whoever tests encrypts it without
 * padding. Where the fault is in the ciphertext itself, the vector is that. Nothing of src/ is used here.
 */
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';

/** One vector. Exactly one of `block` and `ciphertext` is there, in hexadecimal. */
export interface PaddingVector {
  readonly name: string;
  readonly block?: string;
  readonly ciphertext?: string;
  /** `valid`: opens to the content key of the file. */
  readonly result: 'valid' | 'invalid';
}

/** One file of vectors. */
export interface PaddingFile {
  readonly comment: string;
  readonly rfc: string;
  readonly scheme: 'rsaes-pkcs1-v1_5' | 'rsaes-oaep';
  /** Digest of OAEP, for MGF1 too. */
  readonly digest?: 'sha1' | 'sha256';
  readonly contentKey: string;
  readonly vectors: readonly PaddingVector[];
}

const MODULUS_BYTES = 256;
const CONTENT_KEY = stream('content key', 16);

/** Octets without a zero that a label determines. */
function stream(label: string, length: number): Buffer {
  const blocks: Buffer[] = [];
  for (let counter = 0; counter * 32 < length; counter += 1)
    blocks.push(createHash('sha256').update(`${label} ${counter}`).digest());
  return Buffer.concat(blocks)
    .subarray(0, length)
    .map((octet) => (octet === 0 ? 0x5a : octet)) as Buffer;
}

const hex = (octets: Uint8Array): string => Buffer.from(octets).toString('hex');
const filled = (length: number, octet: number): Buffer => Buffer.alloc(length, octet);

// --- PKCS #1 v1.5 (RFC 8017 §7.2.1) ---------------------------------------------------------------------------------

/** 00 02 PS 00 M, then changed. */
function pkcs1(message: Buffer = CONTENT_KEY, change: (block: Buffer) => void = () => {}): string {
  const padding = stream('padding', MODULUS_BYTES - 3 - message.length);
  const block = Buffer.concat([Buffer.of(0, 2), padding, Buffer.of(0), message]);
  change(block);
  return hex(block);
}

const SEPARATOR = MODULUS_BYTES - 1 - CONTENT_KEY.length;

function pkcs1Vectors(): PaddingVector[] {
  const valid = (name: string, block: string): PaddingVector => ({ name, block, result: 'valid' });
  const bad = (name: string, block: string): PaddingVector => ({ name, block, result: 'invalid' });
  const at = (index: number, value: number) =>
    pkcs1(CONTENT_KEY, (block) => {
      block[index] = value;
    });
  return [
    valid('as it should be', pkcs1()),
    valid('padding of 01', pkcs1(CONTENT_KEY, (block) => block.fill(1, 2, SEPARATOR))),
    valid('padding of FF', pkcs1(CONTENT_KEY, (block) => block.fill(0xff, 2, SEPARATOR))),
    ...[1, 2, 3, 0x41, 0x7f].map((octet) => bad(`first octet ${octet}`, at(0, octet))),
    ...[0, 1, 3, 0x17, 0x82, 0xfe, 0xff].map((octet) => bad(`block type ${octet}`, at(1, octet))),
    bad('the first two octets swapped', pkcs1(CONTENT_KEY, (block) => block.set([2, 0]))),
    bad('the first two octets 41 17, as ROBOT asks', pkcs1(CONTENT_KEY, (block) => block.set([0x41, 0x17]))),
    bad(
      'a signature’s block: type 1, padding of FF',
      pkcs1(CONTENT_KEY, (block) => block.fill(0xff, 2, SEPARATOR).writeUInt8(1, 1)),
    ),
    ...[0, 1, 2, 3, 4, 5, 6, 7].map((length) =>
      bad(`padding of ${length} octets`, at(2 + length, 0)),
    ),
    bad('padding of eight octets, so that the message is too long', at(10, 0)),
    ...[32, 100, 128, SEPARATOR - 2, SEPARATOR - 1].map((index) => bad(`a zero at ${index} in the padding`, at(index, 0))),
    bad('no zero behind the padding', at(SEPARATOR, 7)),
    bad(
      'no zero at all behind the type',
      pkcs1(CONTENT_KEY, (block) => block.fill(0x5a, 2)),
    ),
    bad(
      'the zero in the last place: an empty message',
      pkcs1(Buffer.alloc(0)),
    ),
    ...[1, 8, 15, 17, 24, 32, 48, 200, 245].map((length) =>
      bad(`a message of ${length} octets`, pkcs1(stream('another message', length))),
    ),
    bad('another content key', pkcs1(stream('another content key', 16))),
    bad('the content key and a zero behind it', pkcs1(Buffer.concat([CONTENT_KEY, Buffer.of(0)]))),
    bad('the content key and a zero before it', pkcs1(Buffer.concat([Buffer.of(0), CONTENT_KEY]))),
    bad('a premaster secret of TLS 1.2', pkcs1(Buffer.concat([Buffer.of(3, 3), stream('tls', 46)]))),
    bad('the message in the reversed order of octets', hex(Buffer.from(pkcs1(), 'hex').reverse().fill(0, 0, 1))),
    bad('no padding: zeros and the content key', hex(Buffer.concat([filled(240, 0), CONTENT_KEY]))),
    bad('zeros', hex(filled(MODULUS_BYTES, 0))),
    bad('zeros and 02', hex(Buffer.concat([Buffer.of(0, 2), filled(254, 0)]))),
    bad('00 and FF', hex(Buffer.concat([Buffer.of(0), filled(255, 0xff)]))),
    bad('00 02 and FF', hex(Buffer.concat([Buffer.of(0, 2), filled(254, 0xff)]))),
    bad('an OAEP block', oaep('sha256')),
    ...ciphertextVectors(),
  ];
}

/** Ciphertexts that are wrong whatever they open to. */
function ciphertextVectors(): PaddingVector[] {
  const bad = (name: string, ciphertext: Uint8Array): PaddingVector => ({
    name,
    ciphertext: hex(ciphertext),
    result: 'invalid',
  });
  const noise = Buffer.concat([Buffer.of(0), stream('noise', MODULUS_BYTES - 1)]);
  return [
    bad('no ciphertext', Buffer.alloc(0)),
    bad('a ciphertext of one octet', Buffer.of(2)),
    bad('a ciphertext one octet too short', noise.subarray(1)),
    bad('a ciphertext one octet too long', Buffer.concat([Buffer.of(0), noise])),
    bad('a ciphertext twice as long', Buffer.concat([noise, noise])),
    bad('the ciphertext 0', filled(MODULUS_BYTES, 0)),
    bad('the ciphertext 1', Buffer.concat([filled(MODULUS_BYTES - 1, 0), Buffer.of(1)])),
    bad('the ciphertext 2^2048 − 1, beyond every modulus', filled(MODULUS_BYTES, 0xff)),
    bad('noise', noise),
  ];
}

// --- OAEP (RFC 8017 §7.1.1) -----------------------------------------------------------------------------------------

type Digest = 'sha1' | 'sha256';

interface OaepParts {
  readonly first?: number;
  readonly seed?: Buffer;
  readonly label?: string;
  readonly message?: Buffer;
  /** Digest of MGF1, if it is another. */
  readonly mgf?: Digest;
  /** Changes lHash, PS, 01 and message, before they are masked. */
  readonly change?: (data: Buffer) => void;
}

function mgf1(digest: Digest, seed: Uint8Array, length: number): Buffer {
  const blocks: Buffer[] = [];
  for (let counter = 0; blocks.length * 20 < length; counter += 1)
    blocks.push(createHash(digest).update(seed).update(Buffer.of(0, 0, 0, counter)).digest());
  return Buffer.concat(blocks).subarray(0, length);
}

const xor = (a: Buffer, b: Buffer): Buffer => Buffer.from(a.map((octet, index) => octet ^ (b[index] ?? 0)));

function oaep(digest: Digest, parts: OaepParts = {}): string {
  const { first = 0, label = '', message = CONTENT_KEY, mgf = digest, change = () => {} } = parts;
  const labelHash = createHash(digest).update(label).digest();
  const seed = parts.seed ?? stream('seed', labelHash.length);
  const dataBytes = MODULUS_BYTES - 1 - labelHash.length;
  const padding = Buffer.alloc(dataBytes - labelHash.length - 1 - message.length);
  const data = Buffer.concat([labelHash, padding, Buffer.of(1), message]);
  change(data);
  const maskedData = xor(data, mgf1(mgf, seed, dataBytes));
  const maskedSeed = xor(seed, mgf1(mgf, maskedData, labelHash.length));
  return hex(Buffer.concat([Buffer.of(first), maskedSeed, maskedData]));
}

function oaepVectors(digest: Digest): PaddingVector[] {
  const bytes = createHash(digest).digest().length;
  const valid = (name: string, parts: OaepParts = {}): PaddingVector => ({
    name,
    block: oaep(digest, parts),
    result: 'valid',
  });
  const bad = (name: string, parts: OaepParts): PaddingVector => ({
    name,
    block: oaep(digest, parts),
    result: 'invalid',
  });
  const other: Digest = digest === 'sha1' ? 'sha256' : 'sha1';
  const separator = MODULUS_BYTES - 1 - bytes - 1 - CONTENT_KEY.length;
  const set = (index: number, value: number) => (data: Buffer) => {
    data[index] = value;
  };
  const flip = (index: number) => (data: Buffer) => {
    data[index] = (data[index] ?? 0) ^ 1;
  };
  return [
    valid('as it should be'),
    valid('a seed of zeros', { seed: filled(bytes, 0) }),
    valid('a seed of FF', { seed: filled(bytes, 0xff) }),
    ...[1, 2, 0x40, 0x7f].map((first) => bad(`first octet ${first}, as Manger asks`, { first })),
    bad('first octet 1 and nothing else right', { first: 1, change: (data) => data.fill(0xaa) }),
    ...[0, 1, bytes / 2, bytes - 1].map((index) => bad(`lHash wrong at ${index}`, { change: flip(index) })),
    bad('lHash of zeros', { change: (data) => data.fill(0, 0, bytes) }),
    bad('lHash of another label', { label: 'label' }),
    ...[bytes, bytes + 1, bytes + 50, separator - 1].map((index) =>
      bad(`the padding is not zero at ${index}`, { change: set(index, 2) }),
    ),
    bad('padding of FF', { change: (data) => data.fill(0xff, bytes, separator) }),
    bad('01 too early: the message is too long', { change: set(separator - 1, 1) }),
    bad('01 at the very beginning of the padding', { change: set(bytes, 1) }),
    ...[0, 2, 0x80, 0xff].map((octet) => bad(`${octet} in place of 01`, { change: set(separator, octet) })),
    bad('padding to the end, and no 01', { change: (data) => data.fill(0, bytes) }),
    bad('01 in the last place: an empty message', { message: Buffer.alloc(0) }),
    ...[1, 15, 17, 24, 32, 100].map((length) =>
      bad(`a message of ${length} octets`, { message: stream('another message', length) }),
    ),
    bad('another content key', { message: stream('another content key', 16) }),
    bad('MGF1 with another digest', { mgf: other }),
    bad('zeros before they are masked', { change: (data) => data.fill(0) }),
    bad('FF before they are masked', { change: (data) => data.fill(0xff) }),
    { name: 'OAEP with another digest', block: oaep(other), result: 'invalid' },
    { name: 'zeros', block: hex(filled(MODULUS_BYTES, 0)), result: 'invalid' },
    { name: '00 and FF', block: hex(Buffer.concat([Buffer.of(0), filled(255, 0xff)])), result: 'invalid' },
    { name: 'a block of PKCS #1 v1.5', block: pkcs1(), result: 'invalid' },
    ...ciphertextVectors(),
  ];
}

/** What the files hold, by their names. */
export function paddingFiles(): Readonly<Record<string, PaddingFile>> {
  const common = { contentKey: hex(CONTENT_KEY) };
  return {
    'pkcs1-v1_5.json': {
      comment: 'Blocks of RSAES-PKCS1-v1_5 for a modulus of 2048 bits: right ones, and every classical fault.',
      rfc: 'RFC 8017 §7.2; Bleichenbacher 1998, ROBOT 2017',
      scheme: 'rsaes-pkcs1-v1_5',
      ...common,
      vectors: pkcs1Vectors(),
    },
    ...Object.fromEntries(
      (['sha1', 'sha256'] as const).map((digest): [string, PaddingFile] => [
        `oaep-${digest}.json`,
        {
          comment: 'Blocks of RSAES-OAEP for a modulus of 2048 bits: right ones, and every classical fault.',
          rfc: 'RFC 8017 §7.1; Manger 2001',
          scheme: 'rsaes-oaep',
          digest,
          ...common,
          vectors: oaepVectors(digest),
        },
      ]),
    ),
  };
}

if (import.meta.main) {
  for (const [name, file] of Object.entries(paddingFiles()))
    writeFileSync(new URL(name, import.meta.url), `${JSON.stringify(file, undefined, 2)}\n`);
}
