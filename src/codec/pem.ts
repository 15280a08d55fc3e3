/** Textual encodings (RFC 7468). */
import { PkiError } from '../errors.ts';
import { bufferOf } from './der.ts';

/** Labels in use here. */
export type PemLabel =
  | 'CERTIFICATE'
  | 'CERTIFICATE REQUEST'
  | 'X509 CRL'
  | 'ENCRYPTED PRIVATE KEY'
  | 'PRIVATE KEY'
  | 'PUBLIC KEY';

/**
 * The DER of every block with this label, in order; other blocks and text between them are passed over (RFC 7468 §2).
 *
 * @throws PkiError `pem_malformed` if there is no such block, or one is not closed or not base64.
 */
export function parsePem(text: string, label: PemLabel): [Uint8Array, ...Uint8Array[]] {
  const begin = `-----BEGIN ${label}-----`;
  const end = `-----END ${label}-----`;
  const blocks: Uint8Array[] = [];
  for (let at = text.indexOf(begin); at >= 0; at = text.indexOf(begin, at)) {
    const stop = text.indexOf(end, at);
    if (stop < 0) throw new PkiError('pem_malformed', `a ${label} block is not closed`);
    const base64 = text.slice(at + begin.length, stop).replaceAll(/\s/g, '');
    const octets = Buffer.from(base64, 'base64');
    // Reading base64 passes over whatever is none, so the text is made again to see whether it all counted.
    if (octets.length === 0 || octets.toString('base64') !== base64)
      throw new PkiError('pem_malformed', `a ${label} block is not base64`);
    blocks.push(octets);
    at = stop + end.length;
  }
  const [first, ...rest] = blocks;
  if (first === undefined) throw new PkiError('pem_malformed', `there is no ${label} block`);
  return [first, ...rest];
}

/** One block, 64 characters a line, with a line feed at its end. */
export function buildPem(label: PemLabel, der: Uint8Array): string {
  const lines =
    bufferOf(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}
