/** The two tiers: a root that signs issuing CAs and is then locked away, and what is asked of both. */
import { randomBytes } from 'node:crypto';
import {
  authorityInfoAccessExtension,
  authorityKeyIdentifierExtension,
  basicConstraintsOf,
  buildCertificate,
  buildCrl,
  type Certificate,
  caBasicConstraintsExtension,
  crlDistributionPointsExtension,
  crlNumberExtension,
  keyIdentifier,
  keyUsageExtension,
  keyUsageOf,
  type Name,
  nameToString,
  parseCertificate,
  parsePublicKeyInfo,
  type SignatureAlgorithmName,
  sameOctets,
  subjectKeyIdentifierExtension,
  subjectKeyIdentifierOf,
  verifyCertificateSignature,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { PrivateKey } from '../keys/index.ts';
import { serialNumberFrom } from './lint.ts';

/** The scheme that a CA signs with: by its key, with a digest of matching strength. */
export function signatureAlgorithmFor(key: PrivateKey): SignatureAlgorithmName {
  const info = parsePublicKeyInfo(key.spki);
  if (info.type === 'rsa') return 'rsa-sha256';
  if (info.type === 'ec' && info.curve === 'P-256') return 'ecdsa-sha256';
  if (info.type === 'ec' && info.curve === 'P-384') return 'ecdsa-sha384';
  throw new PkiError('key_capability', 'a CA key is RSA, P-256 or P-384');
}

/** When a CA certificate begins and ends. */
export interface Validity {
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** Makes the self-signed certificate of a root CA (RFC 5280 §4.2.1.9: no path length, the root decides nothing below). */
export async function createRoot(key: PrivateKey, subject: Name, validity: Validity): Promise<Certificate> {
  const identifier = keyIdentifier(key.spki);
  const raw = await buildCertificate(
    {
      serialNumber: serialNumberFrom(randomBytes(16)),
      signatureAlgorithm: signatureAlgorithmFor(key),
      issuer: subject,
      ...validity,
      subject,
      spki: key.spki,
      extensions: [
        caBasicConstraintsExtension(),
        keyUsageExtension(['keyCertSign', 'cRLSign']),
        subjectKeyIdentifierExtension(identifier),
      ],
    },
    (algorithm, data) => key.sign(algorithm, data),
  );
  return parseCertificate(raw);
}

/** An offline root at work: its certificate and its key. */
export interface Root {
  readonly certificate: Certificate;
  readonly key: PrivateKey;
}

/** Where relying parties find the root's CRL and certificate. */
export interface RootUrls {
  readonly crlUrls: readonly string[];
  readonly caIssuersUrls: readonly string[];
}

/** Makes the certificate of an issuing CA below a root: it may sign end entities and CRLs, but no further CA. */
export async function createIssuing(
  root: Root,
  spki: Uint8Array,
  subject: Name,
  validity: Validity,
  urls: RootUrls,
): Promise<Certificate> {
  const raw = await buildCertificate(
    {
      serialNumber: serialNumberFrom(randomBytes(16)),
      signatureAlgorithm: signatureAlgorithmFor(root.key),
      issuer: root.certificate.subject,
      ...validity,
      subject,
      spki,
      extensions: [
        caBasicConstraintsExtension(0),
        keyUsageExtension(['keyCertSign', 'cRLSign', 'digitalSignature']),
        subjectKeyIdentifierExtension(keyIdentifier(spki)),
        authorityKeyIdentifierExtension(keyIdentifier(root.certificate.spki)),
        crlDistributionPointsExtension(urls.crlUrls),
        authorityInfoAccessExtension(urls.caIssuersUrls),
      ],
    },
    (algorithm, data) => root.key.sign(algorithm, data),
  );
  return parseCertificate(raw);
}

/** Signs the root's CRL: long-lived, since its key is brought out only for ceremonies. */
export async function createRootCrl(
  root: Root,
  crlNumber: number,
  period: { readonly thisUpdate: Date; readonly nextUpdate: Date },
): Promise<Uint8Array> {
  return await buildCrl(
    {
      signatureAlgorithm: signatureAlgorithmFor(root.key),
      issuer: root.certificate.subject,
      ...period,
      revoked: [],
      extensions: [
        authorityKeyIdentifierExtension(keyIdentifier(root.certificate.spki)),
        crlNumberExtension(crlNumber),
      ],
    },
    (algorithm, data) => root.key.sign(algorithm, data),
  );
}

/**
 * Checks that an issuing CA can do its work: its key is the certificate's, the chain leads to a root by good
 * signatures, and it is not the root itself, whose key must not be on a running server.
 *
 * @throws PkiError `key_capability` with what is wrong and what to use.
 */
export function assertIssuing(certificate: Certificate, chain: readonly Uint8Array[], key: PrivateKey): void {
  const fail = (message: string) => new PkiError('key_capability', message);
  if (!sameOctets(certificate.spki, key.spki)) throw fail('the CA’s key does not belong to its certificate');
  if (sameOctets(certificate.issuer.raw, certificate.subject.raw)) {
    throw fail(
      'this is a root certificate: keep the root offline, and let it sign an issuing CA for the server',
    );
  }
  const keyUsage = keyUsageOf(certificate) ?? [];
  // RFC 5280 §4.2.1.3: without these bits nobody may take its certificates and CRLs.
  if (!isCa(certificate) || !keyUsage.includes('keyCertSign') || !keyUsage.includes('cRLSign')) {
    throw fail('the certificate is not a CA’s: it needs cA TRUE, keyCertSign and cRLSign');
  }
  if (subjectKeyIdentifierOf(certificate) === undefined)
    throw fail('the CA’s certificate has no key identifier');
  const [first, ...issuers] = chain.map(parseCertificate);
  if (first === undefined || !sameOctets(first.raw, certificate.raw))
    throw fail('the chain begins with another CA');
  let below = first;
  for (const [index, above] of issuers.entries()) {
    if (!sameOctets(below.issuer.raw, above.subject.raw) || !verifyCertificateSignature(below, above.spki)) {
      throw fail('the chain is broken: a certificate is not signed by the next one');
    }
    if (!isCa(above)) throw fail(`the chain is broken: “${nameToString(above.subject)}” is not a CA`);
    // RFC 5280 §4.2.1.9: how many CAs may follow before the end entity.
    const pathLength = basicConstraintsOf(above)?.pathLength ?? Number.POSITIVE_INFINITY;
    if (index + 1 > pathLength) {
      throw fail(`“${nameToString(above.subject)}” allows ${pathLength} CAs below it; the chain has more`);
    }
    below = above;
  }
  if (!sameOctets(below.issuer.raw, below.subject.raw) || !verifyCertificateSignature(below, below.spki))
    throw fail('the chain does not end at a root');
}

/** RFC 5280 §6.1.4 (k), (n): cA is TRUE, and KeyUsage, where it stands, has keyCertSign. */
function isCa(certificate: Certificate): boolean {
  return (
    basicConstraintsOf(certificate)?.ca === true && keyUsageOf(certificate)?.includes('keyCertSign') !== false
  );
}
