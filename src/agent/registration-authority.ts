/** Whom a device lets enrol it: the check of what GetCACert served, before a challenge is encrypted to it. */
import {
  basicConstraintsOf,
  type Certificate,
  extKeyUsageOf,
  type Name,
  nameToString,
  oid,
  sameOctets,
  thumbprintOf,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { CaCertificates } from '../scep/index.ts';
import { findPath, type Path } from './chain.ts';
import type { HResultName } from './h-result.ts';

/** What this device trusts for one SCEP profile. */
export interface Trust {
  /** The certificate that the profile names, as its trusted-certificate profile installed it. */
  readonly ca: Certificate;
  /** Roots that profiles installed. */
  readonly roots: readonly Certificate[];
  /** Intermediates that profiles installed. */
  readonly intermediates: readonly Certificate[];
}

/** An RA that was checked. */
export interface TrustedAuthority {
  readonly authority: 'trusted';
  /** Requests are encrypted to it. */
  readonly encryption: Certificate;
  /** Those that may sign answers. */
  readonly signers: readonly Certificate[];
  /** All that was served, for building paths. */
  readonly served: readonly Certificate[];
  /** CAs among them that lead to a root of this device. */
  readonly cas: readonly Certificate[];
  /** Name of the CA that made the RA's certificate, or that is its own RA. */
  readonly issuer: Name;
}

/** What became of the check. */
export type AuthorityCheck =
  | TrustedAuthority
  | { readonly authority: 'refused'; readonly hResult: HResultName; readonly detail: string };

/** A path from a certificate to a root of this device, through the CA that the profile names. */
export function findTrustedPath(
  certificate: Certificate,
  trust: Trust,
  more: readonly Certificate[],
  at: Date,
): Path {
  return findPath(certificate, {
    anchors: trust.roots,
    intermediates: [...more, ...trust.intermediates],
    // A device may trust several roots; a SCEP server is answerable to one CA.
    through: trust.ca,
    at,
  });
}

/**
 * Checks what GetCACert served: the CA of the profile is among it, and the RA is one that this CA made.
 *
 * The thumbprint alone, which is all that Windows looks at, does not say whom the request is encrypted to: a CA certificate
 * is public, and whoever stands between could serve it with an RA certificate of its own, read the challenge and use it.
 * Nor is it enough that the CA issued that certificate, for it issues one to every device: it must be an RA's, by the
 * purpose that NDES gives its own, or a CA's.
 */
export function checkAuthority(ca: CaCertificates, trust: Trust, at: Date): AuthorityCheck {
  if (!ca.all.some((served) => sameOctets(served.raw, trust.ca.raw))) {
    const served = ca.all.map((each) => thumbprintOf(each.raw)).join(', ');
    const wanted = thumbprintOf(trust.ca.raw);
    return refused('CRYPT_E_HASH_VALUE', `the profile wants ${wanted}; GetCACert served ${served}`);
  }
  if (!isAuthority(ca.encryption)) {
    const name = nameToString(ca.encryption.subject);
    return refused(
      'SCARD_E_NO_SUCH_CERTIFICATE',
      `${name}, which requests are to be encrypted to, has neither the purpose Certificate Request Agent nor cA TRUE`,
    );
  }
  const path = findTrustedPath(ca.encryption, trust, ca.all, at);
  if (path.path === 'none') return refused(hResultNameOf(path), path.detail);
  const signers = ca.all.filter(
    (each) => isAuthority(each) && findTrustedPath(each, trust, ca.all, at).path === 'found',
  );
  const cas = signers.filter((each) => isCa(each));
  const issuer = isCa(ca.encryption) ? ca.encryption.subject : ca.encryption.issuer;
  return { authority: 'trusted', encryption: ca.encryption, signers, served: ca.all, cas, issuer };
}

/** What Windows calls the reason why there is no path. */
export function hResultNameOf(path: Extract<Path, { path: 'none' }>): HResultName {
  return path.why === 'expired' ? 'CERT_E_EXPIRED' : 'CERT_E_UNTRUSTEDROOT';
}

function refused(hResult: HResultName, detail: string): AuthorityCheck {
  return { authority: 'refused', hResult, detail };
}

function isAuthority(certificate: Certificate): boolean {
  return (
    isCa(certificate) ||
    holds(() => extKeyUsageOf(certificate)?.includes(oid.certificateRequestAgent) === true)
  );
}

function isCa(certificate: Certificate): boolean {
  return holds(() => basicConstraintsOf(certificate)?.ca === true);
}

/** Extensions that cannot be read give nothing. */
function holds(read: () => boolean): boolean {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof PkiError && cause.kind === 'malformed') return false;
    throw cause;
  }
}
