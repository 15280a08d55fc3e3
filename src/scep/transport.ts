/** How SCEP messages travel in HTTP (RFC 8894 §4): operations, the query, and the base64 of GET. */
import { PkiError } from '../errors.ts';

/** Operations of §4.1. */
export const operations = ['GetCACaps', 'GetCACert', 'GetNextCACert', 'PKIOperation'] as const;

/** One operation. */
export type Operation = (typeof operations)[number];

/** Content types of answers (§4.2, §4.7). */
export const contentTypes = {
  capabilities: 'text/plain',
  caCertificate: 'application/x-x509-ca-cert',
  caAndRaCertificates: 'application/x-x509-ca-ra-cert',
  nextCaCertificates: 'application/x-x509-next-ca-cert',
  pkiMessage: 'application/x-pki-message',
} as const;

/** What a SCEP query says. */
export interface ScepQuery {
  /** Absent if the query names none. */
  readonly operation?: string;
  /** Percent-decoded and nothing else: `+` stays `+`. */
  readonly message?: string;
}

/**
 * Reads the raw query. The usual form decoder would turn `+` into a space and break the base64 of clients that do not
 * escape it: apple-unescaped-base64, padding-missing (QUIRK Apple, Cisco). Never throws: what cannot be decoded stays as it is.
 */
export function parseScepQuery(query: string): ScepQuery {
  const found: { operation?: string; message?: string } = {};
  for (const pair of query.split('&')) {
    const equals = pair.indexOf('=');
    const name = (equals < 0 ? pair : pair.slice(0, equals)).toLowerCase();
    const value = equals < 0 ? '' : percentDecoded(pair.slice(equals + 1));
    if (name === 'operation') found.operation ??= value;
    else if (name === 'message') found.message ??= value;
  }
  return found;
}

function percentDecoded(text: string): string {
  return text.replaceAll(/%([0-9A-Fa-f]{2})/g, (_, octet: string) =>
    String.fromCharCode(Number.parseInt(octet, 16)),
  );
}

/** The operation in the RFC's spelling; case is forgiven. `undefined` for an unknown one. */
export function operationOf(query: ScepQuery): Operation | undefined {
  const wanted = query.operation?.toLowerCase();
  return operations.find((operation) => operation.toLowerCase() === wanted);
}

/**
 * The octets of a GET PKIOperation's `message`.
 *
 * DEVIATION RFC 8894 §4.1: spaces that were `+`, line breaks, missing padding, the URL-safe alphabet and a second escaping
 * are forgiven. QUIRK proxies: they decode a query as a form (plus-as-space) or escape it once more (escaped-twice).
 * QUIRK strongSwan: it breaks the base64 into lines (base64-in-lines).
 *
 * @throws PkiError `scep_body` if it is not base64 even so.
 */
export function decodeMessageParameter(message: string): Uint8Array {
  const base64 = percentDecoded(message)
    .replaceAll(/[\r\n\t]/g, '')
    .replaceAll(/[ -]/g, '+')
    .replaceAll('_', '/')
    .replace(/=+$/, '');
  if (!/^[A-Za-z0-9+/]+$/.test(base64) || base64.length % 4 === 1) {
    throw new PkiError('scep_body', 'the message parameter is not base64');
  }
  return Buffer.from(base64, 'base64');
}

/** The request target of a GET PKIOperation, for clients: base64, then percent-escaped (§4.1). */
export function buildMessageQuery(message: Uint8Array): string {
  return `operation=PKIOperation&message=${encodeURIComponent(Buffer.from(message).toString('base64'))}`;
}
