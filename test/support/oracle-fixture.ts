/** Envelopes that are put together by hand, and answers without what is another each time: for tests of decryption oracles. */
import assert from 'node:assert/strict';
import { constants, createCipheriv, createPublicKey, publicEncrypt, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { buildEnvelopedData, type Certificate, type KeyTransport } from '../../src/codec/index.ts';
import type { PaddingFile } from '../vectors/rsa-padding/generate.ts';
import type { HttpAnswer } from './authorities-fixture.ts';
import { encoded, nodesOf, treeOf } from './codec-fixture.ts';

/** Length of every RSA key here. */
export const MODULUS_BYTES = 256;

/** The files of `test/vectors/rsa-padding`, by name. */
export const paddingFileNames = ['pkcs1-v1_5.json', 'oaep-sha1.json', 'oaep-sha256.json'] as const;

/** Reads one of them. */
export function paddingFile(name: (typeof paddingFileNames)[number]): PaddingFile {
  return JSON.parse(readFileSync(new URL(`../vectors/rsa-padding/${name}`, import.meta.url), 'utf8'));
}

/** The key transport that a file of vectors is about. */
export function keyTransportIn({ scheme, digest }: PaddingFile): KeyTransport {
  return scheme === 'rsaes-oaep' ? { name: scheme, digest: digest ?? 'sha1' } : { name: scheme };
}

/** RSA over a block that is padded already, or wrongly, or not at all. */
export function encryptBlock(recipient: Certificate, block: Uint8Array): Buffer {
  const key = createPublicKey({ key: Buffer.from(recipient.spki), format: 'der', type: 'spki' });
  return publicEncrypt({ key, padding: constants.RSA_NO_PADDING }, block);
}

/** Content under AES-128-CBC; without padding its length must be a multiple of 16. */
export function encryptContent(
  content: Uint8Array,
  contentKey: Uint8Array,
  iv: Uint8Array,
  padding: 'padded' | 'as it is' = 'padded',
): Buffer {
  const cipher = createCipheriv('aes-128-cbc', contentKey, iv);
  cipher.setAutoPadding(padding === 'padded');
  return Buffer.concat([cipher.update(content), cipher.final()]);
}

/** An EnvelopedData with AES-128-CBC, in which nothing need fit together. */
export function envelopeWith(parts: {
  readonly recipient: Certificate;
  readonly encryptedKey: Uint8Array;
  readonly encryptedContent: Uint8Array;
  readonly iv: Uint8Array;
  readonly keyTransport: KeyTransport;
}): Uint8Array {
  const { recipient, keyTransport } = parts;
  const content = randomBytes(48);
  const tree = treeOf(buildEnvelopedData({ content, recipient, cipher: 'aes-128-cbc', keyTransport }));
  const nodes = nodesOf(tree);
  const keyNode = nodes.find((node) => node.tag === 4 && node.content.length === MODULUS_BYTES);
  const ivNode = nodes.find((node) => node.tag === 4 && node.content.length === 16);
  const contentNode = nodes.find((node) => node.tag === 0x80);
  assert.ok(keyNode !== undefined && ivNode !== undefined && contentNode !== undefined);
  keyNode.content = parts.encryptedKey;
  ivNode.content = parts.iv;
  contentNode.content = parts.encryptedContent;
  return encoded(tree);
}

/** The answer with everything blanked that is another each time: date, signature, nonce and reference. */
export function comparable({ status, headers, body }: HttpAnswer): string {
  const { date: _date, ...rest } = headers;
  const tree = treeOf(body);
  const nodes = nodesOf(tree);
  const signature = nodes.findLast((node) => node.tag === 4 && node.content.length === MODULUS_BYTES);
  assert.ok(signature !== undefined);
  signature.content = Buffer.alloc(MODULUS_BYTES);
  const senderNonceOid = Buffer.from('6086480186f845010905', 'hex');
  const attribute = nodes.find((node) =>
    Buffer.from(node.children?.[0]?.content ?? []).equals(senderNonceOid),
  );
  const nonce = attribute?.children?.[1]?.children?.[0];
  assert.equal(nonce?.content.length, 16);
  if (nonce !== undefined) nonce.content = Buffer.alloc(16);
  const text = JSON.stringify([status, rest, Buffer.from(encoded(tree)).toString('latin1')]);
  assert.match(text, /LG-[A-Z0-9]{8}/);
  return text.replace(/LG-[A-Z0-9]{8}/, 'LG-');
}
