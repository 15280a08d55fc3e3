/** Which header fields pass a proxy. */

/** Header fields by lower-case name. */
export type Headers = Record<string, string | string[]>;

/**
 * Fields that belong to one connection and not to the message (RFC 9110 §7.6.1), `host`, because the target is
 * configured and not chosen by the client, and `expect`, which the edge answers itself.
 */
const hopByHop = new Set([
  'connection',
  'expect',
  'host',
  'http2-settings',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** What proxies write about where a request came from. From a client it is a claim that nobody checked. */
const forwardingClaim = /^(?:forwarded|via|x-forwarded.*|x-real-ip|x-client-ip|true-client-ip)$/;

/** The fields that travel on: without hop-by-hop fields, pseudo-fields and what `Connection` names. */
export function endToEndHeaders(headers: Readonly<Record<string, string | string[] | undefined>>): Headers {
  const connection = String(headers.connection ?? '').toLowerCase();
  const named = new Set(connection.split(',').map((name) => name.trim()));
  const kept: Headers = {};
  for (const [name, value] of Object.entries(headers)) {
    if (value === undefined || name.startsWith(':') || hopByHop.has(name) || named.has(name)) continue;
    kept[name] = value;
  }
  return kept;
}

/**
 * The end-to-end fields of a request from outside, with the edge's own word on where it came from in place of the
 * client's. The target may log that word; it must not authorise by it.
 */
export function forwardedHeaders(
  headers: Readonly<Record<string, string | string[] | undefined>>,
  from: { readonly source: string; readonly scheme: 'http' | 'https' },
): Headers {
  const kept: Headers = {};
  for (const [name, value] of Object.entries(endToEndHeaders(headers))) {
    // Servers that turn names into variables cannot tell X_Forwarded_For from X-Forwarded-For: no underscores.
    if (!forwardingClaim.test(name) && !name.includes('_')) kept[name] = value;
  }
  kept['x-forwarded-for'] = from.source;
  kept['x-forwarded-proto'] = from.scheme;
  return kept;
}
