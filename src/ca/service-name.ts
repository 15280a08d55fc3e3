/** Names of the CA's own services: its OCSP responder, its RA. */
import { buildName, commonNameOf, type Name, oid } from '../codec/index.ts';

/** RFC 5280 appendix A.1. */
const COMMON_NAME_CHARACTERS_MAX = 64;

/** The CA's name with a common name that says what the certificate is for: `Example Issuing CA OCSP`. */
export function serviceName(issuer: Name, service: string): Name {
  const suffix = ` ${service}`;
  const commonName = [...(commonNameOf(issuer) ?? 'CA')]
    .slice(0, COMMON_NAME_CHARACTERS_MAX - suffix.length)
    .join('');
  const others = issuer.rdns.filter((rdn) => rdn.every((attribute) => attribute.oid !== oid.commonName));
  return buildName([...others, [{ oid: oid.commonName, value: `${commonName}${suffix}` }]]);
}
