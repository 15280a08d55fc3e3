/** Certificates, requests and keys in words. */
import {
  type AlgorithmIdentifier,
  basicConstraintsOf,
  type Certificate,
  type CertificationRequest,
  type Crl,
  type Extended,
  extKeyUsageOf,
  generalNamesToString,
  keyUsageOf,
  nameToString,
  oid,
  parsePublicKeyInfo,
  sameOctets,
  subjectAltNameOf,
  thumbprintOf,
} from '../../codec/index.ts';
import { attempt, oidName } from './ber-tree.ts';
import type { Findings } from './findings.ts';

/** A part of what was read: its facts in their order, and its parts. */
export interface Section {
  readonly title: string;
  readonly facts: readonly (readonly [name: string, value: string])[];
  readonly sections?: readonly Section[];
}

/** Facts without those that are absent. */
export function factsOf(
  facts: readonly (readonly [name: string, value: string | undefined])[],
): readonly (readonly [string, string])[] {
  return facts.filter((fact): fact is readonly [string, string] => fact[1] !== undefined);
}

/** A public key: `RSA 2048 bits`, `EC P-256`. */
function describeKey(spki: Uint8Array): string {
  const info = attempt(() => parsePublicKeyInfo(spki));
  if (info === undefined) return 'unreadable';
  if (info.type === 'rsa') return `RSA ${info.bits} bits, exponent ${info.exponent}`;
  return info.type === 'ec' ? `EC ${info.curve}` : oidName(info.oid);
}

/** Adds what is wrong with a key that shall be used. */
export function judgeKey(spki: Uint8Array, findings: Findings, whose: string): void {
  const info = attempt(() => parsePublicKeyInfo(spki));
  if (info?.type === 'rsa' && info.bits < 2048) findings.add('weakKey', `${whose}: ${info.bits} bits`);
}

/** An algorithm by name. */
const describeAlgorithm = ({ oid: dotted }: AlgorithmIdentifier): string => oidName(dotted);

function wishes(extended: Extended): readonly (readonly [string, string | undefined])[] {
  const joined = (list: readonly string[] | undefined) => list?.join(', ');
  const constraints = attempt(() => basicConstraintsOf(extended));
  const names = attempt(() => subjectAltNameOf(extended)) ?? [];
  return [
    ['key usage', joined(attempt(() => keyUsageOf(extended)))],
    ['purposes', joined(attempt(() => extKeyUsageOf(extended))?.map(oidName))],
    ['alternative names', names.length === 0 ? undefined : generalNamesToString(names)],
    ['CA', constraints?.ca === true ? `yes${pathLength(constraints.pathLength)}` : undefined],
    [
      'extensions',
      joined(
        extended.extensions.map(
          ({ oid: dotted, critical }) => `${oidName(dotted)}${critical ? ' (critical)' : ''}`,
        ),
      ) || undefined,
    ],
  ];
}

const pathLength = (length: number | undefined): string =>
  length === undefined ? '' : `, path length ${length}`;

/** A certificate. */
export function describeCertificate(certificate: Certificate, title: string): Section {
  const { subject, issuer, serialNumber, notBefore, notAfter, spki, signatureAlgorithm, raw } = certificate;
  return {
    title,
    facts: factsOf([
      ['subject', nameToString(subject) || '(empty)'],
      ['issuer', sameOctets(subject.raw, issuer.raw) ? 'itself' : nameToString(issuer)],
      ['serial number', serialNumber],
      ['valid', `${notBefore.toISOString()} to ${notAfter.toISOString()}`],
      ['key', describeKey(spki)],
      ['signed by', describeAlgorithm(signatureAlgorithm)],
      ...wishes(certificate),
      ['SHA-1 thumbprint', thumbprintOf(raw)],
    ]),
  };
}

/** Adds what is odd about any certificate. */
export function judgeCertificate(certificate: Certificate, now: Date, findings: Findings): void {
  const subject = nameToString(certificate.subject);
  if (certificate.notAfter < certificate.notBefore) findings.add('validityOrder', subject);
  else if (certificate.notAfter < now)
    findings.add('certificateExpired', `${subject}: since ${certificate.notAfter.toISOString()}`);
  else if (certificate.notBefore > now)
    findings.add('certificateExpired', `${subject}: not before ${certificate.notBefore.toISOString()}`);
  if (
    certificate.extensions.some(
      ({ oid: dotted, critical }) => critical && dotted === oid.authorityKeyIdentifier,
    )
  )
    findings.add('criticalAki', subject);
  judgeKey(certificate.spki, findings, subject);
}

/** A certification request, without its challenge. */
export function describeRequest(request: CertificationRequest): readonly (readonly [string, string])[] {
  return factsOf([
    ['subject', nameToString(request.subject) || '(empty)'],
    ['key', describeKey(request.spki)],
    ['signed by', describeAlgorithm(request.signatureAlgorithm)],
    ...wishes(request),
  ]);
}

/** A CRL. */
export function describeCrl(crl: Crl, title: string): Section {
  return {
    title,
    facts: factsOf([
      ['issuer', nameToString(crl.issuer)],
      ['this update', crl.thisUpdate.toISOString()],
      ['next update', crl.nextUpdate?.toISOString()],
      ['revoked', String(crl.revoked.length)],
      ['signed by', describeAlgorithm(crl.signatureAlgorithm)],
    ]),
  };
}
