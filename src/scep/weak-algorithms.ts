/** Algorithms that some clients still need and an endpoint may refuse, in one table. */
import type { CipherName, DigestName, KeyTransport } from '../codec/index.ts';
import { PkiError } from '../errors.ts';

/** What an endpoint may be told to refuse. */
const refusableAlgorithms = ['sha1', 'des3', 'pkcs1v15'] as const;

/** A refusable algorithm, or single DES, which is refused unless an endpoint is told to take it (RFC 8894 §2.9). */
export type WeakAlgorithm = (typeof refusableAlgorithms)[number] | 'des';

/** What an endpoint refuses; every endpoint has one. */
export type RefusedAlgorithms = ReadonlySet<WeakAlgorithm>;

/** What an endpoint refuses that is told nothing. */
export const refusedByDefault: RefusedAlgorithms = new Set<WeakAlgorithm>(['des']);

/** How a message was made, as far as an endpoint may mind. */
export interface MessageManner {
  /** Of the message's signature. */
  readonly digest: DigestName;
  readonly cipher: CipherName;
  readonly keyTransport: KeyTransport;
}

const names: Readonly<Record<WeakAlgorithm, string>> = {
  sha1: 'a signature over SHA-1',
  des3: 'triple DES',
  pkcs1v15: 'key transport by RSAES-PKCS1-v1_5',
  des: 'single DES',
};

/**
 * The weak algorithms of a message. SHA-1 counts in signatures alone: in OAEP (RFC 8017 §7.1) nobody who finds a
 * collision gains by it.
 */
export function weakAlgorithmsIn({ digest, cipher, keyTransport }: MessageManner): readonly WeakAlgorithm[] {
  const found: WeakAlgorithm[] = [];
  if (digest === 'sha1') found.push('sha1');
  if (cipher === 'des-ede3-cbc') found.push('des3');
  if (cipher === 'des-cbc') found.push('des');
  if (keyTransport.name === 'rsaes-pkcs1-v1_5') found.push('pkcs1v15');
  return found;
}

/** Throws PkiError `algorithm_refused`, by name, if any of them is refused. */
export function assertNotRefused(used: readonly WeakAlgorithm[], refused: RefusedAlgorithms): void {
  const found = used.filter((algorithm) => refused.has(algorithm));
  if (found.length > 0)
    throw new PkiError(
      'algorithm_refused',
      `this endpoint refuses ${found.map((algorithm) => names[algorithm]).join(', ')}`,
    );
}

/** Keywords of GetCACaps that an endpoint with these refusals must not list (RFC 8894 §3.5.2). */
export function refusedCapabilities(refused: RefusedAlgorithms): ('SHA-1' | 'DES3')[] {
  return [
    ...(refused.has('sha1') ? (['SHA-1'] as const) : []),
    ...(refused.has('des3') ? (['DES3'] as const) : []),
  ];
}
