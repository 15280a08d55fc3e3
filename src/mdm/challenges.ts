/** The challenge: what a certification request must say, sealed so that the device carries it and cannot read it. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import {
  buildEnvelopedData,
  buildSignedData,
  type Certificate,
  type Decrypt,
  keyUsages,
  openEnvelopedData,
  parseEnvelopedData,
  parseSignedData,
  type Sign,
  verifySignedData,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';

/** Intune's challenges live 60 minutes. */
export const CHALLENGE_LIFETIME_MS = 60 * 60 * 1000;

/** Larger than a challenge with 100 alternative names; what is longer is not looked at. */
const CHALLENGE_CHARACTERS_MAX = 48 * 1024;

const instant = z.iso.datetime().transform((text) => new Date(text));

const challengePayload = z.strictObject({
  version: z.literal(1),
  challengeId: z.guid(),
  certificateRequestId: z.guid(),
  deviceId: z.guid(),
  /** Absent in a device certificate's challenge. */
  userId: z.string().optional(),
  profileId: z.string(),
  /** RFC 4514 string. */
  subject: z.string(),
  subjectAltName: z.array(
    z.strictObject({
      type: z.enum(['dNSName', 'rfc822Name', 'uniformResourceIdentifier', 'iPAddress', 'userPrincipalName']),
      value: z.string(),
    }),
  ),
  keyUsage: z.array(z.enum(keyUsages)),
  extKeyUsage: z.array(z.string()),
  /** Bits of the RSA modulus. */
  keyLength: z.int(),
  createdAt: instant,
  expiresAt: instant,
});

/** What stands inside a challenge. */
export type ChallengePayload = z.output<typeof challengePayload>;

/** Who makes challenges. */
export interface ChallengeSigner {
  readonly certificate: Certificate;
  readonly sign: Sign;
}

/** Who reads challenges: the validation service. Its key is RSA. */
export interface ChallengeRecipient {
  readonly certificate: Certificate;
  readonly decrypt: Decrypt;
}

/**
 * Builds the challenge: the payload encrypted to the validation service, then signed by the challenge signer; base64
 * without line breaks, which a PKCS #9 challengePassword takes as a PrintableString.
 */
export async function buildChallenge(
  payload: ChallengePayload,
  signer: ChallengeSigner,
  recipient: Certificate,
): Promise<string> {
  const enveloped = buildEnvelopedData({
    content: Buffer.from(JSON.stringify(payload), 'utf8'),
    recipient,
    cipher: 'aes-256-cbc',
    keyTransport: { name: 'rsaes-oaep', digest: 'sha256' },
  });
  const signed = await buildSignedData(
    // The reader knows the signer's certificate; leaving it out keeps GET URLs short.
    { content: enveloped, digest: 'sha256', signer: signer.certificate, certificates: [], attributes: [] },
    signer.sign,
  );
  return Buffer.from(signed).toString('base64');
}

/** A challenge that was read, or Intune's code for why it was not. */
export type ChallengeReading =
  | { readonly code: 'Success'; readonly payload: ChallengePayload }
  | {
      readonly code:
        | 'ChallengeDecodingError'
        | 'SignatureValidationFailed'
        | 'ChallengeDecryptionError'
        | 'ChallengeDeserializationError';
    };

/**
 * Reads a challenge: decode, verify the signature, decrypt, read the payload; nothing is decrypted that the signer did
 * not sign. Times and what it says are not judged here.
 *
 * @throws PkiError `key_unavailable` if the recipient's key cannot be used now.
 */
export async function parseChallenge(
  challenge: string,
  signerCertificate: Certificate,
  recipient: ChallengeRecipient,
): Promise<ChallengeReading> {
  const signed = readOr(() => parseSignedData(decodeBase64(challenge)));
  if (signed?.content === undefined) return { code: 'ChallengeDecodingError' };
  const { content } = signed;

  if (readOr(() => verifySignedData(signed, signerCertificate)) !== true) {
    return { code: 'SignatureValidationFailed' };
  }

  const enveloped = readOr(() => parseEnvelopedData(content));
  if (enveloped === undefined) return { code: 'ChallengeDecryptionError' };
  let opened: Uint8Array;
  try {
    opened = await openEnvelopedData(enveloped, recipient.decrypt);
  } catch (cause) {
    if (cause instanceof PkiError && cause.kind === 'malformed') return { code: 'ChallengeDecryptionError' };
    throw cause;
  }

  const payload = challengePayload.safeParse(parseJson(opened));
  return payload.success
    ? { code: 'Success', payload: payload.data }
    : { code: 'ChallengeDeserializationError' };
}

/** SHA-256 of a challenge's text, lower-case hexadecimal: what the store knows it by. */
export function challengeHashOf(challenge: string): string {
  return createHash('sha256').update(challenge, 'utf8').digest('hex');
}

/** What `read` answers, or `undefined` where the bytes or their algorithms are not ours. */
function readOr<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof PkiError && cause.kind === 'malformed') return undefined;
    throw cause;
  }
}

/** One text for one value: no line breaks, no other alphabet, no stray bits. Throws PkiError `cms_malformed`. */
function decodeBase64(text: string): Uint8Array {
  const bytes = text.length > CHALLENGE_CHARACTERS_MAX ? Buffer.alloc(0) : Buffer.from(text, 'base64');
  if (bytes.length === 0 || bytes.toString('base64') !== text) {
    throw new PkiError('cms_malformed', 'the challenge is not base64');
  }
  return bytes;
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
}
