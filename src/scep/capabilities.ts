/** GetCACaps (RFC 8894 §3.5). */

/**
 * What this server can do, in the keywords of §3.5.2.
 *
 * QUIRK strongSwan 5.9: reads the keywords as numbers instead of bits and takes AES for supported only if SHA-384 is
 * listed too; the keyword is not in the RFC and every other client ignores it.
 */
export const serverCapabilities = [
  'AES',
  'DES3',
  'POSTPKIOperation',
  'SCEPStandard',
  'SHA-1',
  'SHA-256',
  'SHA-384',
  'SHA-512',
] as const;

/** A keyword that every endpoint may list. */
export type Capability = (typeof serverCapabilities)[number];

/** The same in the RFC's words alone. */
export const rfcCapabilities: readonly Capability[] = serverCapabilities.filter(
  (keyword) => keyword !== 'SHA-384',
);

/** The body of the answer: one keyword a line. */
export function buildCapabilities(keywords: readonly string[]): string {
  return keywords.map((keyword) => `${keyword}\n`).join('');
}

/** The keywords of an answer; unknown ones are kept, since §3.5.2 lets a client ignore them. */
export function parseCapabilities(body: string): ReadonlySet<string> {
  return new Set(
    body
      .split(/\r?\n/)
      .map((line) => line.trim())
      .filter((line) => line !== ''),
  );
}
