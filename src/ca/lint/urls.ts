/** URLs that relying parties fetch from. */
import { contextPrimitive, type Element, latin1 } from '../../codec/index.ts';

const UNIFORM_RESOURCE_IDENTIFIER = contextPrimitive(6);
/** RFC 7230 §2.7.1 and RFC 3986 §3.2: a host, and printable ASCII without spaces. */
const httpUrl = /^http:\/\/[A-Za-z0-9[][A-Za-z0-9.:[\]-]*(\/[\x21-\x7e]*)?$/;

/**
 * What is wrong with a location of CRLs, certificates or an OCSP responder (RFC 5280 §4.2.1.13, §4.2.2.1). Other schemes
 * are allowed there and reach hardly anybody: ldap stops at the firewall, and https asks for what it is to deliver.
 */
export function faultOfUrl({ tag, content }: Element): string | undefined {
  if (tag !== UNIFORM_RESOURCE_IDENTIFIER) return 'a location that is no URL';
  const url = latin1(content);
  return httpUrl.test(url) ? undefined : `“${url.replaceAll(/[^\x20-\x7e]/g, '?')}” is no http URL`;
}
