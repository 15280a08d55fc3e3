/** Lints certificates and CRLs before they are signed. */
import {
  buildSigned,
  type Certificate,
  DerReader,
  type Sign,
  type SignatureAlgorithmName,
  serialNumberText,
  signatureAlgorithmIdentifier,
  tag,
} from '../../codec/index.ts';
import { PkiError } from '../../errors.ts';
import type { Effort } from '../key-policy.ts';
import { certificateRules } from './certificate/index.ts';
import { type CertificateRole, CertificateUnderLint } from './certificate-under-lint.ts';
import { crlRules } from './crl/index.ts';
import { CrlUnderLint } from './crl-under-lint.ts';
import { assertKept, type Finding, findingsOf } from './rule.ts';

export { certificateRules } from './certificate/index.ts';
export type { CertificateRole } from './certificate-under-lint.ts';
export { crlRules } from './crl/index.ts';
export type { CertificateRule, CrlRule, Finding, Rule, Severity } from './rule.ts';

/** Completes what is to be signed; a signature that means nothing, since its key was never made. */
const dummySignature = Uint8Array.of(0);

/**
 * Checks a TBSCertificate that is about to be signed, by reading back the very octets as any relying party would, with a
 * signature beside them that means nothing.
 *
 * @param tbsCertificate the octets to be signed
 * @param algorithm what they are to be signed with
 * @param role what the certificate is made for
 * @param issuer whose key is to sign; left out for a root
 * @throws PkiError `lint_failed` naming the first rule that is broken, and its citation.
 */
export function lintBeforeSigning(
  tbsCertificate: Uint8Array,
  algorithm: SignatureAlgorithmName,
  role: CertificateRole,
  issuer?: Certificate,
): void {
  const raw = buildSigned(tbsCertificate, algorithm, dummySignature);
  assertKept(certificateRules, new CertificateUnderLint(raw, role, issuer, 'quick'));
}

/** A `Sign` for `buildCertificate` that lints what it is given before the key sees it. Throws like `lintBeforeSigning`. */
export function signAfterLint(sign: Sign, role: CertificateRole, issuer?: Certificate): Sign {
  return (algorithm, tbsCertificate) => {
    lintBeforeSigning(tbsCertificate, algorithm, role, issuer);
    return sign(algorithm, tbsCertificate);
  };
}

/**
 * A `Sign` for `buildCrl` that lints what it is given before the key sees it.
 *
 * @param issuer the CA whose CRL it is
 * @throws PkiError `lint_failed` naming the first rule that is broken, and its citation.
 */
export function signCrlAfterLint(sign: Sign, issuer: Certificate): Sign {
  return (algorithm, tbsCertList) => {
    const outerAlgorithm = signatureAlgorithmIdentifier(algorithm);
    assertKept(crlRules, new CrlUnderLint(tbsCertList, outerAlgorithm, issuer));
    return sign(algorithm, tbsCertList);
  };
}

/** All that is found in a certificate that exists; `issuer` is left out for a root. */
export function lintCertificate(
  certificate: Uint8Array,
  role: CertificateRole,
  issuer?: Certificate,
  effort: Effort = 'thorough',
): Finding[] {
  return findingsOf(certificateRules, new CertificateUnderLint(certificate, role, issuer, effort));
}

/** All that is found in a CRL that exists. */
export function lintCrl(crl: Uint8Array, issuer: Certificate): Finding[] {
  const parts = partsOf(crl);
  if (parts !== undefined)
    return findingsOf(crlRules, new CrlUnderLint(parts.tbsCertList, parts.algorithm, issuer));
  // Without its parts only the first rule can be asked, and it says what is wrong.
  return findingsOf(crlRules.slice(0, 1), new CrlUnderLint(crl, dummySignature, issuer));
}

function partsOf(
  crl: Uint8Array,
): { readonly tbsCertList: Uint8Array; readonly algorithm: Uint8Array } | undefined {
  try {
    const outer = new DerReader(crl);
    const reader = outer.enter(tag.sequence);
    outer.end();
    const tbsCertList = reader.raw(tag.sequence);
    const algorithm = reader.raw(tag.sequence);
    reader.bitStringOctets();
    reader.end();
    return { tbsCertList, algorithm };
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause;
    return undefined;
  }
}

/** Serial number text for a fresh random serial: 16 octets, the first between 40 and 7f. */
export function serialNumberFrom(random: Uint8Array): string {
  const octets = Uint8Array.from(random);
  octets[0] = ((octets[0] as number) & 0x3f) | 0x40;
  return serialNumberText(octets);
}
