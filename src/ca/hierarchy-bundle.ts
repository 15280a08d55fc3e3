/** CA certificates on their way out of the ceremony: chains for servers, bundles for trust stores. */
import { createHash } from 'node:crypto';
import {
  buildCertsOnly,
  buildPem,
  type Certificate,
  commonNameOf,
  nameToString,
  sameOctets,
  verifyCertificateSignature,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { PrivateKey } from '../keys/index.ts';
import { assertIssuing, isSelfIssued } from './hierarchy.ts';

/** SHA-256 of a certificate or another file as people compare it: `AB:CD:…`. */
export function fingerprintOf(octets: Uint8Array): string {
  const digest = createHash('sha256').update(octets).digest('hex').toUpperCase();
  return (digest.match(/../g) ?? []).join(':');
}

/** Longer than any chain in the field. */
const CHAIN_LENGTH_MAX = 8;

/**
 * The chain of an issuing CA’s certificate, from it to a root, out of certificates in any order; checked like a server
 * checks it when it starts.
 *
 * @throws PkiError `chain_invalid` if no candidate signed a certificate of the chain, `key_capability` if the key does not
 *   belong to it or it is no issuing CA’s.
 */
export function chainOf(
  certificate: Certificate,
  candidates: readonly Certificate[],
  key: PrivateKey,
): Certificate[] {
  if (!sameOctets(certificate.spki, key.spki)) {
    throw new PkiError(
      'key_capability',
      `the certificate “${nameToString(certificate.subject)}” is for another key: import it where its request was made`,
    );
  }
  const chain = [certificate];
  for (let below = certificate; !(isSelfIssued(below) && verifyCertificateSignature(below, below.spki)); ) {
    const named = candidates.filter(({ subject }) => sameOctets(subject.raw, below.issuer.raw));
    const signers = named.filter((other) => verifyCertificateSignature(below, other.spki));
    // The root itself before a cross-certificate of it: the shorter chain.
    const above = signers.find(isSelfSigned) ?? signers[0];
    if (above === undefined || chain.length >= CHAIN_LENGTH_MAX) {
      throw new PkiError(
        'chain_invalid',
        `“${nameToString(below.subject)}” is signed by “${nameToString(below.issuer)}”, and ` +
          (named.length === 0
            ? `that is not among ${candidates.map(({ subject }) => `“${nameToString(subject)}”`).join(', ')}`
            : `the certificate of that name has another key (SHA-256 ${named.map(({ raw }) => fingerprintOf(raw)).join(', ')}): it is not the root that signed`),
      );
    }
    chain.push(above);
    below = above;
  }
  assertIssuing(
    certificate,
    chain.map(({ raw }) => raw),
    key,
  );
  return chain;
}

function isSelfSigned(certificate: Certificate): boolean {
  return isSelfIssued(certificate) && verifyCertificateSignature(certificate, certificate.spki);
}

/** One certificate of a bundle. */
export interface BundledCertificate {
  readonly certificate: Certificate;
  /** `root`: self-signed, for the store of trusted roots; `intermediate`: for the store of intermediate CAs. */
  readonly store: 'root' | 'intermediate';
  /** Name of its DER file. */
  readonly file: string;
  readonly fingerprint: string;
}

/** Everything that trust stores take, of the same certificates. */
export interface TrustBundle {
  readonly certificates: readonly BundledCertificate[];
  /** PEM of all, roots first. */
  readonly pem: string;
  /** PEM of the roots alone: what OpenSSL, FreeRADIUS and nginx are told to trust. */
  readonly rootsPem: string;
  /** Certs-only SignedData (`.p7b`) of all. */
  readonly p7b: Uint8Array;
}

/** Makes the bundle: roots first, each certificate once. */
export function buildTrustBundle(certificates: readonly Certificate[]): TrustBundle {
  const distinct = certificates.filter(
    (one, index) => certificates.findIndex((other) => sameOctets(one.raw, other.raw)) === index,
  );
  const bundled = [
    ...distinct.filter((one) => isSelfSigned(one)),
    ...distinct.filter((one) => !isSelfSigned(one)),
  ].map((certificate): BundledCertificate => {
    const store = isSelfSigned(certificate) ? 'root' : 'intermediate';
    const fingerprint = fingerprintOf(certificate.raw);
    const name = (commonNameOf(certificate.subject) ?? 'ca').toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');
    // Two certificates of one name differ by the first octets of the fingerprint.
    const file = `${store}-${name.replaceAll(/^-|-$/g, '')}-${fingerprint.replaceAll(':', '').slice(0, 8).toLowerCase()}.cer`;
    return { certificate, store, fingerprint, file };
  });
  const pemOf = (list: readonly BundledCertificate[]) =>
    list.map(({ certificate }) => buildPem('CERTIFICATE', certificate.raw)).join('');
  return {
    certificates: bundled,
    pem: pemOf(bundled),
    rootsPem: pemOf(bundled.filter(({ store }) => store === 'root')),
    p7b: buildCertsOnly(bundled.map(({ certificate }) => certificate.raw)),
  };
}
