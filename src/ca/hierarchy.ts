/** The two tiers: a root that signs issuing CAs and is then locked away, and what is asked of both. */
import { randomBytes } from 'node:crypto';
import {
  authorityInfoAccessExtension,
  authorityKeyIdentifierExtension,
  basicConstraintsOf,
  buildCertificate,
  buildCertificationRequest,
  buildCrl,
  type Certificate,
  caBasicConstraintsExtension,
  crlDistributionPointsExtension,
  crlNumberExtension,
  type KeyUsage,
  keyIdentifier,
  keyUsageExtension,
  keyUsageOf,
  type Name,
  type NameConstraints,
  nameConstraintBreach,
  nameConstraintsExtension,
  nameConstraintsOf,
  nameToString,
  parseCertificate,
  parsePublicKeyInfo,
  type RevokedCertificate,
  type SignatureAlgorithmName,
  sameOctets,
  subjectAltNameOf,
  subjectKeyIdentifierExtension,
  subjectKeyIdentifierOf,
  verifyCertificateSignature,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { PrivateKey } from '../keys/index.ts';
import { serialNumberFrom, signAfterLint, signCrlAfterLint } from './lint/index.ts';

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

/** What a CA certificate may say besides; everything absent is left out. */
export interface CaLimits {
  /** How many CAs may follow below it (RFC 5280 §4.2.1.9). */
  readonly pathLength?: number;
  /** Where it may name (RFC 5280 §4.2.1.10). */
  readonly nameConstraints?: NameConstraints;
  /** Lower-case hexadecimal, recorded before; a fresh random one if absent. */
  readonly serialNumber?: string;
}

/**
 * An issuing CA’s request to its root (RFC 2986). It asks to be a CA; what it may do is the root’s decision.
 *
 * @throws PkiError `key_capability` if the key is no CA’s.
 */
export async function newIssuingRequest(key: PrivateKey, subject: Name): Promise<Uint8Array> {
  return await buildCertificationRequest(
    {
      subject,
      spki: key.spki,
      signatureAlgorithm: signatureAlgorithmFor(key),
      extensions: [
        caBasicConstraintsExtension(0),
        keyUsageExtension(['keyCertSign', 'cRLSign', 'digitalSignature']),
      ],
    },
    (algorithm, data) => key.sign(algorithm, data),
  );
}

/** A serial number for a CA certificate: 126 random bits. */
export const newSerialNumber = (): string => serialNumberFrom(randomBytes(16));

/**
 * Makes the self-signed certificate of a root CA. Without a path length the root decides nothing below it. Name
 * constraints would not bind it: validation begins with the trust anchor's name and key alone (RFC 5280 §6.1.1 (d)).
 */
export async function createRoot(
  key: PrivateKey,
  subject: Name,
  validity: Validity,
  limits: Omit<CaLimits, 'nameConstraints'> = {},
): Promise<Certificate> {
  const identifier = keyIdentifier(key.spki);
  const raw = await buildCertificate(
    {
      serialNumber: limits.serialNumber ?? newSerialNumber(),
      signatureAlgorithm: signatureAlgorithmFor(key),
      issuer: subject,
      ...validity,
      subject,
      spki: key.spki,
      extensions: [
        caBasicConstraintsExtension(limits.pathLength),
        keyUsageExtension(['keyCertSign', 'cRLSign']),
        subjectKeyIdentifierExtension(identifier),
      ],
    },
    signAfterLint((algorithm, data) => key.sign(algorithm, data), 'root'),
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

/**
 * Makes the certificate of an issuing CA below a root: it may sign end entities and CRLs, and no further CA unless the
 * limits give it a longer path.
 */
export async function createIssuing(
  root: Root,
  spki: Uint8Array,
  subject: Name,
  validity: Validity,
  urls: RootUrls,
  limits: CaLimits = {},
): Promise<Certificate> {
  return await certifyCa(root, spki, subject, validity, urls, { pathLength: 0, ...limits }, [
    'keyCertSign',
    'cRLSign',
    'digitalSignature',
  ]);
}

/**
 * Makes a cross-certificate: one root’s name and key under the signature of another, so that who trusts only one of them
 * follows the other too (RFC 4210 §4.4: “new with old” and “old with new”).
 */
export async function createCross(
  root: Root,
  other: Certificate,
  validity: Validity,
  urls: RootUrls,
  limits: CaLimits = {},
): Promise<Certificate> {
  return await certifyCa(root, other.spki, other.subject, validity, urls, limits, ['keyCertSign', 'cRLSign']);
}

async function certifyCa(
  root: Root,
  spki: Uint8Array,
  subject: Name,
  validity: Validity,
  urls: RootUrls,
  limits: CaLimits,
  usage: readonly KeyUsage[],
): Promise<Certificate> {
  const { nameConstraints } = limits;
  const raw = await buildCertificate(
    {
      serialNumber: limits.serialNumber ?? newSerialNumber(),
      signatureAlgorithm: signatureAlgorithmFor(root.key),
      issuer: root.certificate.subject,
      ...validity,
      subject,
      spki,
      extensions: [
        caBasicConstraintsExtension(limits.pathLength),
        keyUsageExtension(usage),
        subjectKeyIdentifierExtension(keyIdentifier(spki)),
        authorityKeyIdentifierExtension(keyIdentifier(root.certificate.spki)),
        ...(nameConstraints === undefined ? [] : [nameConstraintsExtension(nameConstraints)]),
        crlDistributionPointsExtension(urls.crlUrls),
        authorityInfoAccessExtension(urls.caIssuersUrls),
      ],
    },
    signAfterLint((algorithm, data) => root.key.sign(algorithm, data), 'ca', root.certificate),
  );
  return parseCertificate(raw);
}

/** Signs the root's CRL: long-lived, since its key is brought out only for ceremonies. */
export async function createRootCrl(
  root: Root,
  crlNumber: number,
  period: { readonly thisUpdate: Date; readonly nextUpdate: Date },
  revoked: readonly RevokedCertificate[] = [],
): Promise<Uint8Array> {
  return await buildCrl(
    {
      signatureAlgorithm: signatureAlgorithmFor(root.key),
      issuer: root.certificate.subject,
      ...period,
      revoked,
      extensions: [
        authorityKeyIdentifierExtension(keyIdentifier(root.certificate.spki)),
        crlNumberExtension(crlNumber),
      ],
    },
    signCrlAfterLint((algorithm, data) => root.key.sign(algorithm, data), root.certificate),
  );
}

/**
 * Checks that an issuing CA can do its work: its key is the certificate's, the chain leads to a root by good
 * signatures, and it is not the root itself, whose key must not be on a running server.
 *
 * @throws PkiError `key_capability` with what is wrong and what to use.
 */
export function assertIssuing(certificate: Certificate, chain: readonly Uint8Array[], key: PrivateKey): void {
  if (!sameOctets(certificate.spki, key.spki))
    throw new PkiError('key_capability', 'the CA’s key does not belong to its certificate');
  assertIssuingChain(certificate, chain);
}

/**
 * Checks that a certificate can follow that of an issuing CA: it is an issuing CA's itself, with a chain to a root, and it
 * has another key or lasts longer.
 *
 * @throws PkiError `key_capability` with what is wrong.
 */
export function assertSuccessor(
  certificate: Certificate,
  chain: readonly Uint8Array[],
  current: { readonly name: string; readonly certificate: Certificate },
): void {
  assertIssuingChain(certificate, chain);
  if (
    sameOctets(certificate.spki, current.certificate.spki) &&
    certificate.notAfter <= current.certificate.notAfter
  )
    throw new PkiError(
      'key_capability',
      `the next certificate of the CA “${current.name}” is neither of a new key nor good for longer`,
    );
}

function assertIssuingChain(certificate: Certificate, chain: readonly Uint8Array[]): void {
  const fail = (message: string) => new PkiError('key_capability', message);
  // A cross-certificate of a root is self-issued too, and one under a root of another name has the key of some root.
  if (isSelfIssued(certificate) || isRootKey(certificate, chain)) {
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
  let casBelow = 0;
  const names = [{ subject: first.subject, subjectAltName: subjectAltNameOf(first) }];
  for (const above of issuers) {
    if (!sameOctets(below.issuer.raw, above.subject.raw) || !verifyCertificateSignature(below, above.spki)) {
      throw fail('the chain is broken: a certificate is not signed by the next one');
    }
    if (!isCa(above)) throw fail(`the chain is broken: “${nameToString(above.subject)}” is not a CA`);
    // RFC 5280 §4.2.1.9, §6.1.4 (l): how many CAs may follow before the end entity; self-issued ones do not count.
    if (!isSelfIssued(below)) casBelow += 1;
    const pathLength = basicConstraintsOf(above)?.pathLength ?? Number.POSITIVE_INFINITY;
    if (casBelow > pathLength) {
      throw fail(`“${nameToString(above.subject)}” allows ${pathLength} CAs below it; the chain has more`);
    }
    // RFC 5280 §6.1.3 (b), (c). The trust anchor’s own constraints bind nobody (§6.1.1 (d)), but keeping them harms none.
    const constraints = nameConstraintsOf(above);
    for (const name of constraints === undefined ? [] : names) {
      const breach = nameConstraintBreach(constraints as NameConstraints, name);
      if (breach !== undefined)
        throw fail(`the name constraints of “${nameToString(above.subject)}” forbid the chain: ${breach}`);
    }
    if (!isSelfIssued(above)) names.push({ subject: above.subject, subjectAltName: subjectAltNameOf(above) });
    below = above;
  }
  if (!isSelfIssued(below) || !verifyCertificateSignature(below, below.spki))
    throw fail('the chain does not end at a root');
}

/** RFC 5280 §3.2: issuer and subject are one name; the key may be another one. */
export function isSelfIssued(certificate: Certificate): boolean {
  return sameOctets(certificate.issuer.raw, certificate.subject.raw);
}

function isRootKey({ spki }: Certificate, chain: readonly Uint8Array[]): boolean {
  return chain.map(parseCertificate).some((other) => isSelfIssued(other) && sameOctets(other.spki, spki));
}

/** RFC 5280 §6.1.4 (k), (n): cA is TRUE, and KeyUsage, where it stands, has keyCertSign. */
function isCa(certificate: Certificate): boolean {
  return (
    basicConstraintsOf(certificate)?.ca === true && keyUsageOf(certificate)?.includes('keyCertSign') !== false
  );
}
