/** Valid objects of every kind that the codec reads, and ways to damage them. */
import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import {
  authorityInfoAccessExtension,
  authorityKeyIdentifierExtension,
  buildCertificate,
  buildCertificationRequest,
  buildCrl,
  buildEnvelopedData,
  buildExtensions,
  buildGeneralNames,
  buildPem,
  buildSignedData,
  type CertificateFields,
  caBasicConstraintsExtension,
  crlDistributionPointsExtension,
  crlNumberExtension,
  derOf,
  extKeyUsageExtension,
  type GeneralName,
  keyIdentifier,
  keyUsageExtension,
  nameFromString,
  octetString,
  oid,
  parseCertificate,
  printableString,
  type Sign,
  signatureAlgorithms,
  subjectAltNameExtension,
  subjectKeyIdentifierExtension,
} from '../../src/codec/index.ts';
import { type ErrorCode, PkiError } from '../../src/errors.ts';

// --- keys -----------------------------------------------------------------------------------------------------------

const pems: Readonly<Record<'client' | 'ra' | 'device', string>> = JSON.parse(
  readFileSync(new URL('../vectors/codec/keys.json', import.meta.url), 'utf8'),
);

/** A committed throw-away key. */
export interface SpecimenKey {
  readonly privateKey: KeyObject;
  readonly spki: Uint8Array;
  readonly sign: Sign;
}

function specimenKey(pem: string): SpecimenKey {
  const privateKey = createPrivateKey(pem);
  return {
    privateKey,
    spki: createPublicKey(privateKey).export({ format: 'der', type: 'spki' }),
    sign: async (algorithm, data) => sign(signatureAlgorithms[algorithm].digest, data, privateKey),
  };
}

/** RSA 2048. */
export const clientKey = specimenKey(pems.client);
/** RSA 2048. */
export const raKey = specimenKey(pems.ra);
/** P-256. */
export const deviceKey = specimenKey(pems.device);

// --- one valid object of every kind -----------------------------------------------------------------------------------

/** A name with everything: two attributes in one RDN, a printable country, text beyond ASCII. */
export const name = nameFromString('CN=laptop-0001+UID=7,OU=Geräte,O=Example Lab,DC=lab,DC=test,C=CH');

/** GeneralNames of every kind that is read, and one that is not. */
export const generalNames: readonly GeneralName[] = [
  { type: 'dNSName', value: 'laptop.lab.test' },
  { type: 'rfc822Name', value: 'laptop@lab.test' },
  { type: 'uniformResourceIdentifier', value: 'urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8' },
  { type: 'iPAddress', value: '192.0.2.1' },
  { type: 'iPAddress', value: '2001:db8:0:0:0:0:0:1' },
  { type: 'userPrincipalName', value: 'läptop@lab.test' },
  { type: 'directoryName', name },
  { type: 'other', raw: derOf(0x88, [Uint8Array.of(0x2a, 3, 4)]) },
];

/** Fields of the specimen certificate. */
export const certificateFields: CertificateFields = {
  serialNumber: '5fa1b2c3d4e5f60718293a4b5c6d7e8f',
  signatureAlgorithm: 'rsa-sha256',
  issuer: nameFromString('CN=Lab Issuing CA,O=Example Lab,C=CH'),
  notBefore: new Date('2026-01-01T00:00:00Z'),
  notAfter: new Date('2051-12-31T23:59:59Z'),
  subject: name,
  spki: clientKey.spki,
  extensions: [
    keyUsageExtension(['digitalSignature', 'keyEncipherment', 'keyCertSign']),
    extKeyUsageExtension([oid.clientAuth, oid.serverAuth]),
    caBasicConstraintsExtension(3),
    subjectKeyIdentifierExtension(keyIdentifier(clientKey.spki)),
    authorityKeyIdentifierExtension(keyIdentifier(raKey.spki)),
    subjectAltNameExtension(generalNames, name),
    crlDistributionPointsExtension(['http://crl.lab.test/ca.crl']),
    authorityInfoAccessExtension(['http://aia.lab.test/ca.crt']),
  ],
};

const certificate = await buildCertificate(certificateFields, raKey.sign);
const recipient = parseCertificate(
  await buildCertificate({ ...certificateFields, spki: raKey.spki, serialNumber: '02' }, raKey.sign),
);

const request = await buildCertificationRequest(
  {
    subject: name,
    spki: deviceKey.spki,
    challengePassword: 'one-time secret *',
    extensions: [
      subjectAltNameExtension(generalNames, name),
      keyUsageExtension(['digitalSignature']),
      extKeyUsageExtension([oid.clientAuth]),
    ],
    signatureAlgorithm: 'ecdsa-sha256',
  },
  deviceKey.sign,
);

const envelopedData = buildEnvelopedData({
  content: request,
  recipient,
  cipher: 'aes-256-cbc',
  keyTransport: { name: 'rsaes-oaep', digest: 'sha256' },
});

/** DER of one valid object of every kind; each has every optional part. */
export const specimens = {
  certificate,
  request,
  crl: await buildCrl(
    {
      signatureAlgorithm: 'rsa-sha256',
      issuer: name,
      thisUpdate: new Date('2026-02-01T00:00:00Z'),
      nextUpdate: new Date('2026-02-08T00:00:00Z'),
      revoked: [
        { serialNumber: '01', revocationDate: new Date('2026-01-15T10:20:30Z'), reason: 'keyCompromise' },
        { serialNumber: 'ff01', revocationDate: new Date('2026-01-16T10:20:30Z'), reason: 'unspecified' },
      ],
      extensions: [crlNumberExtension(300), authorityKeyIdentifierExtension(keyIdentifier(raKey.spki))],
    },
    raKey.sign,
  ),
  envelopedData,
  signedData: await buildSignedData(
    {
      content: envelopedData,
      digest: 'sha256',
      signer: parseCertificate(certificate),
      certificates: [certificate, recipient.raw],
      attributes: [
        { oid: oid.scepMessageType, values: [printableString('19')] },
        { oid: oid.scepTransactionID, values: [printableString('6A1D3A50C5B5A5E2')] },
        { oid: oid.scepSenderNonce, values: [octetString(new Uint8Array(16).fill(7))] },
      ],
    },
    clientKey.sign,
  ),
  name: name.raw,
  generalNames: buildGeneralNames(generalNames),
  rsaPublicKey: clientKey.spki,
  ecPublicKey: deviceKey.spki,
  extensions: buildExtensions(certificateFields.extensions),
} as const;

/** The recipient of `specimens.envelopedData`; its key is `raKey`. */
export const specimenRecipient = recipient;

/** Two certificates with text around them. */
export const pem = `Subject: a comment\n${buildPem('CERTIFICATE', certificate)}\n${buildPem('CERTIFICATE', recipient.raw)}`;

// --- what came of it --------------------------------------------------------------------------------------------------

/** Asserts that `act` throws a PkiError with one of these codes and no other thing. */
export function assertRefused(act: () => unknown, codes: readonly ErrorCode[], what: string): PkiError {
  try {
    act();
  } catch (thrown) {
    assert.ok(thrown instanceof PkiError, `${what}: threw ${String(thrown)}`);
    assert.ok(codes.includes(thrown.code), `${what}: ${thrown.code} (${thrown.message})`);
    return thrown;
  }
  return assert.fail(`${what}: was taken`);
}

/** The value of `act`; `undefined` if it threw a PkiError with one of these codes. Anything else it throws goes on. */
export function valueUnlessRefused<T>(act: () => T, codes: readonly ErrorCode[]): T | undefined {
  try {
    return act();
  } catch (thrown) {
    if (thrown instanceof PkiError && codes.includes(thrown.code)) return undefined;
    throw thrown;
  }
}

// --- damage -----------------------------------------------------------------------------------------------------------

/** One change of octets; `at` counts round the end. */
export interface Edit {
  readonly how: 'set' | 'flip' | 'insert' | 'remove' | 'cut';
  readonly at: number;
  readonly octet: number;
}

/** Octets that mean something in DER, more often than chance would have it. */
const telling = [
  0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x24, 0x30, 0x31, 0x7f, 0x80, 0x81, 0x84, 0xa0, 0xa3, 0xff,
];

/** One to four changes. */
export const edits: fc.Arbitrary<readonly Edit[]> = fc.array(
  fc.record({
    how: fc.constantFrom('set', 'set', 'set', 'flip', 'flip', 'insert', 'remove', 'cut'),
    at: fc.nat(1_000_000),
    octet: fc.oneof(fc.constantFrom(...telling), fc.nat(255)),
  }),
  { minLength: 1, maxLength: 4 },
);

/** A changed copy. */
export function edited(bytes: Uint8Array, changes: readonly Edit[]): Uint8Array {
  let octets = Buffer.from(bytes);
  for (const { how, at, octet } of changes) {
    if (octets.length === 0) break;
    const place = at % octets.length;
    const before = octets.subarray(0, place);
    if (how === 'set') octets[place] = octet;
    else if (how === 'flip') octets[place] = (octets[place] as number) ^ (1 << (octet & 7));
    else if (how === 'insert') octets = Buffer.concat([before, Uint8Array.of(octet), octets.subarray(place)]);
    else if (how === 'remove') octets = Buffer.concat([before, octets.subarray(place + 1)]);
    else octets = before;
  }
  return octets;
}

/** An element that can be changed and written again. */
export interface Tree {
  tag: number;
  content: Uint8Array;
  children: Tree[] | undefined;
}

/** Takes DER apart; constructed elements have children, and everything else content. */
export function treeOf(bytes: Uint8Array): Tree {
  const [tree, ...more] = treesOf(bytes);
  assert.ok(tree !== undefined && more.length === 0);
  return tree;
}

function treesOf(bytes: Uint8Array): Tree[] {
  const trees: Tree[] = [];
  for (let at = 0; at < bytes.length; ) {
    const tagOctet = bytes[at] as number;
    let length = bytes[at + 1] as number;
    at += 2;
    if (length >= 0x80) {
      const octets = length & 0x7f;
      length = bytes.subarray(at, at + octets).reduce((value, octet) => value * 256 + octet, 0);
      at += octets;
    }
    const content = bytes.subarray(at, at + length);
    at += length;
    const constructed = (tagOctet & 0x20) !== 0;
    trees.push({ tag: tagOctet, content, children: constructed ? treesOf(content) : undefined });
  }
  return trees;
}

/** The elements of a tree, outermost first. */
export function nodesOf(tree: Tree): Tree[] {
  return [tree, ...(tree.children ?? []).flatMap(nodesOf)];
}

/** DER of a tree. */
export function encoded(tree: Tree): Uint8Array {
  return derOf(tree.tag, tree.children === undefined ? [tree.content] : tree.children.map(encoded));
}

/** One change of structure: whatever it does, the lengths around it are right again. */
export interface Restructuring {
  readonly how: 'remove' | 'repeat' | 'retag' | 'refill' | 'shorten' | 'lengthen' | 'swap' | 'wrap';
  readonly at: number;
  readonly octet: number;
  readonly content: Uint8Array;
}

/** One to three changes of structure. */
export const restructurings: fc.Arbitrary<readonly Restructuring[]> = fc.array(
  fc.record({
    how: fc.constantFrom('remove', 'repeat', 'retag', 'refill', 'shorten', 'lengthen', 'swap', 'wrap'),
    at: fc.nat(1_000_000),
    octet: fc.oneof(fc.constantFrom(...telling), fc.nat(255)),
    content: fc.uint8Array({ maxLength: 12 }),
  }),
  { minLength: 1, maxLength: 3 },
);

/** DER with changed structure. */
export function restructured(bytes: Uint8Array, changes: readonly Restructuring[]): Uint8Array {
  const root = treeOf(bytes);
  for (const { how, at, octet, content } of changes) {
    const nodes = nodesOf(root);
    const node = nodes[at % nodes.length] as Tree;
    const siblings = nodes.find((other) => other.children?.includes(node) === true)?.children;
    const place = siblings?.indexOf(node) ?? 0;
    if (how === 'remove') siblings?.splice(place, 1);
    else if (how === 'repeat') siblings?.splice(place, 0, treeOf(encoded(node)));
    else if (how === 'swap') siblings?.splice(place, 1, ...siblings.splice(place + 1, 1), node);
    else if (how === 'retag') node.tag = octet;
    else if (how === 'refill') Object.assign(node, { content, children: undefined });
    else if (how === 'shorten') replaceContent(node, (whole) => whole.subarray(0, -1));
    else if (how === 'lengthen') replaceContent(node, (whole) => Uint8Array.of(...whole, octet));
    else Object.assign(node, { tag: 0x30, children: [{ ...node }] });
  }
  return encoded(root);
}

function replaceContent(node: Tree, change: (content: Uint8Array) => Uint8Array): void {
  const whole = node.children === undefined ? node.content : Buffer.concat(node.children.map(encoded));
  node.content = change(whole);
  node.children = undefined;
}
