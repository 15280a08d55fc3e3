/** From a certificate up to a trusted root (RFC 5280 §6.1), as far as a device needs it: no policies, no revocation. */
import {
  basicConstraintsOf,
  type Certificate,
  keyUsageOf,
  nameToString,
  oid,
  sameOctets,
  signatureAlgorithmOf,
  verifyCertificateSignature,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';

/** What a path is sought from. */
export interface PathOptions {
  /** Certificates that may stand between, of whatever origin: only signatures make them count. */
  readonly intermediates: readonly Certificate[];
  /** Roots that are trusted because a profile installed them. */
  readonly anchors: readonly Certificate[];
  /** A certificate that must be part of the path; any path will do if absent. */
  readonly through?: Certificate | undefined;
  readonly at: Date;
}

/** A path, or why there is none. */
export type Path =
  /** From the certificate itself to the anchor, both included. */
  | { readonly path: 'found'; readonly certificates: readonly Certificate[] }
  | { readonly path: 'none'; readonly why: 'untrusted' | 'expired'; readonly detail: string };

/** A leaf, its root and up to four CAs between them. */
const CERTIFICATES_MAX = 6;
/** More than any honest set of certificates needs, and an end to one that was made to be walked for ever. */
const SIGNATURES_MAX = 64;

/** Extensions that this code, or the use of a SCEP certificate, takes account of (RFC 5280 §6.1.4 (n), (o)). */
const processed = new Set<string>([
  oid.basicConstraints,
  oid.keyUsage,
  oid.extKeyUsage,
  oid.subjectAltName,
  oid.subjectKeyIdentifier,
  oid.authorityKeyIdentifier,
]);

interface Search extends PathOptions {
  signaturesLeft: number;
  /** Of the longest path that was tried: the most telling reason. */
  failure: { readonly why: 'untrusted' | 'expired'; readonly detail: string; readonly depth: number };
}

/**
 * Seeks a path: each certificate is within its validity, names the next as issuer and is signed by it; each issuer is a
 * CA that may sign certificates and has no more CAs below it than it allows; the last one is an anchor.
 *
 * Signatures with SHA-1 do not count, and an anchor's own signature is not asked (RFC 5280 §6.1: it is trusted as it is).
 */
export function findPath(certificate: Certificate, options: PathOptions): Path {
  const search: Search = {
    ...options,
    signaturesLeft: SIGNATURES_MAX,
    failure: { why: 'untrusted', detail: 'no path was found', depth: 0 },
  };
  const certificates = extend([certificate], search);
  if (certificates !== undefined) return { path: 'found', certificates };
  const { why, detail } = search.failure;
  return { path: 'none', why, detail };
}

function extend(path: readonly Certificate[], search: Search): readonly Certificate[] | undefined {
  const last = path.at(-1) as Certificate;
  const fault = faultOf(last, path.slice(0, -1), search.at);
  if (fault !== undefined) return fail(search, path, fault.why, fault.detail);
  if (search.anchors.some((anchor) => sameOctets(anchor.raw, last.raw))) {
    const { through } = search;
    if (through === undefined || path.some((each) => sameOctets(each.raw, through.raw))) return path;
    return fail(search, path, 'untrusted', `the chain does not lead through ${nameOf(through)}`);
  }
  if (path.length >= CERTIFICATES_MAX) return fail(search, path, 'untrusted', 'the chain is too long');
  const candidates = [...search.anchors, ...search.intermediates].filter(
    (candidate) =>
      // RFC 5280 §6.1.3 (a)(4). Names are compared octet for octet, as every CA repeats its own.
      sameOctets(candidate.subject.raw, last.issuer.raw) &&
      !path.some((each) => sameOctets(each.raw, candidate.raw)),
  );
  if (candidates.length === 0) {
    const what = sameOctets(last.subject.raw, last.issuer.raw)
      ? `the root ${nameOf(last)} is not trusted here`
      : `the issuer ${nameToString(last.issuer)} of ${nameOf(last)} is not at hand`;
    return fail(search, path, 'untrusted', what);
  }
  for (const candidate of candidates) {
    if (!isSignedBy(last, candidate, search)) {
      fail(search, path, 'untrusted', `${nameOf(last)} is not signed by ${nameOf(candidate)}`);
      continue;
    }
    const found = extend([...path, candidate], search);
    if (found !== undefined) return found;
  }
  return undefined;
}

function isSignedBy(certificate: Certificate, issuer: Certificate, search: Search): boolean {
  search.signaturesLeft -= 1;
  if (search.signaturesLeft < 0) return false;
  try {
    if (signatureAlgorithmOf(certificate.signatureAlgorithm).digest === 'sha1') return false;
    return verifyCertificateSignature(certificate, issuer.spki);
  } catch (cause) {
    if (cause instanceof PkiError && cause.code === 'algorithm_unsupported') return false;
    throw cause;
  }
}

/** What is wrong with a certificate in its place, with `below` under it; `undefined` if nothing. */
function faultOf(
  certificate: Certificate,
  below: readonly Certificate[],
  at: Date,
): { readonly why: 'untrusted' | 'expired'; readonly detail: string } | undefined {
  const untrusted = (what: string) =>
    ({ why: 'untrusted', detail: `${nameOf(certificate)} ${what}` }) as const;
  if (at < certificate.notBefore || at > certificate.notAfter) {
    const validity = `${certificate.notBefore.toISOString()} to ${certificate.notAfter.toISOString()}`;
    return {
      why: 'expired',
      detail: `${nameOf(certificate)} is valid from ${validity}; it is ${at.toISOString()} here`,
    };
  }
  // RFC 5280 §4.2: what is critical and not understood MUST be refused.
  const unknown = certificate.extensions.find(
    (extension) => extension.critical && !processed.has(extension.oid),
  );
  if (unknown !== undefined)
    return untrusted(`has the critical extension ${unknown.oid}, which is not understood here`);
  if (below.length === 0) return undefined;
  const constraints = readOr(() => basicConstraintsOf(certificate));
  if (constraints?.ca !== true) return untrusted('is not a CA’s certificate');
  const usage = readOr(() => keyUsageOf(certificate) ?? 'any');
  if (usage !== 'any' && usage?.includes('keyCertSign') !== true)
    return untrusted('may not sign certificates');
  // §4.2.1.9: the number of CAs between it and the end entity; self-issued ones do not count.
  const between = below.slice(1).filter((each) => !sameOctets(each.subject.raw, each.issuer.raw)).length;
  if (constraints.pathLength !== undefined && between > constraints.pathLength) {
    return untrusted(`allows ${constraints.pathLength} CAs below it, not ${between}`);
  }
  return undefined;
}

/** What was read; `undefined` where the extension itself is malformed. */
function readOr<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof PkiError && cause.kind === 'malformed') return undefined;
    throw cause;
  }
}

function fail(
  search: Search,
  path: readonly Certificate[],
  why: 'untrusted' | 'expired',
  detail: string,
): undefined {
  if (path.length > search.failure.depth) search.failure = { why, detail, depth: path.length };
  return undefined;
}

function nameOf(certificate: Certificate): string {
  return (
    nameToString(certificate.subject) || `the certificate with serial number ${certificate.serialNumber}`
  );
}
