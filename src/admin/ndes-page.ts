/** NDES's page for administrators, `mscep_admin`: what tools read challenges from that know nothing else. */
import { createHash } from 'node:crypto';

/** How a page is written. */
export interface NdesPageForm {
  /** QUIRK NDES: it writes UTF-16LE without a byte order mark, and tools decode it as that. */
  readonly encoding: 'utf-16le' | 'utf-8';
  /** Of the CA's certificate. NDES shows MD5. */
  readonly thumbprint: 'md5' | 'sha1' | 'sha256';
}

/**
 * The page with a challenge. Words, spaces and marks around thumbprint and challenge are NDES's, because tools look for
 * them; the thumbprint stands in groups of eight digits, so that the challenge is the only long word of digits.
 */
export function buildNdesPage(
  { encoding, thumbprint }: NdesPageForm,
  {
    caCertificate,
    challenge,
    minutes,
  }: {
    readonly caCertificate: Uint8Array;
    readonly challenge: string;
    readonly minutes: number;
  },
): { readonly contentType: string; readonly body: Buffer } {
  const digest = createHash(thumbprint).update(caCertificate).digest('hex').toUpperCase();
  const html = [
    '<HTML><Head><Title>Network Device Enrollment Service</Title></Head><Body>',
    `<P> The thumbprint (hash value) for the CA certificate is: <B> ${digest.replace(/(.{8})(?=.)/g, '$1 ')} </B>`,
    `<P> The enrollment challenge password is: <B> ${challenge} </B>`,
    `<P> This password can be used only once and will expire within ${minutes} minutes.`,
    '</Body></HTML>',
    '',
  ].join('\r\n');
  return {
    contentType: `text/html; charset=${encoding}`,
    body: Buffer.from(html, encoding === 'utf-8' ? 'utf8' : 'utf16le'),
  };
}
