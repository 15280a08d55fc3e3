/** Certificate templates: what the CA puts into a certificate, whatever was asked. The words are those of AD CS. */
import { type KeyUsage, oid } from '../codec/index.ts';

/** Kinds of identities a template may let into subjectAltName. */
export type SubjectAltNameType =
  | 'dNSName'
  | 'rfc822Name'
  | 'uniformResourceIdentifier'
  | 'iPAddress'
  | 'userPrincipalName';

/** One template. */
export interface CertificateTemplate {
  readonly name: string;
  /** As views show it. */
  readonly displayName: string;
  readonly validityDays: number;
  /** How far notBefore lies in the past, for devices whose clock is behind. */
  readonly backdateMs: number;
  /** KeyUsage bits: all that a certificate may have, and what it has if nothing less is asked. */
  readonly keyUsage: readonly KeyUsage[];
  /** Purposes: all that a certificate may have, and what it has if nothing less is asked. */
  readonly extKeyUsage: readonly string[];
  readonly keyAlgorithms: readonly ('rsa' | 'P-256' | 'P-384')[];
  readonly rsaBitsMin: number;
  /** What the request may name in subjectAltName; everything else is refused. */
  readonly subjectAltNameTypes: readonly SubjectAltNameType[];
  readonly subjectAltName: 'required' | 'optional';
  readonly subject: 'required' | 'optional';
  /** id-pkix-ocsp-nocheck (RFC 6960 §4.2.2.2.1) is added; AD CS: `CT_FLAG_ADD_OCSP_NOCHECK`. */
  readonly ocspNoCheck?: true;
}

const HOUR_MS = 60 * 60 * 1000;
/** AD CS: the clock skew that a CA allows its clients. */
const BACKDATE_MS = 10 * 60 * 1000;

/**
 * The built-in templates.
 *
 * Client authentication is back-dated by a day: Windows clocks are up to nine hours slow while a device is set up, and
 * a certificate that is not valid yet cannot be installed.
 */
export const builtInTemplates: readonly CertificateTemplate[] = [
  {
    name: 'client-authentication',
    displayName: 'Client Authentication',
    validityDays: 365,
    backdateMs: 24 * HOUR_MS,
    // RFC 5280 §4.2.1.12: clientAuth goes with digitalSignature. Profiles often ask for keyEncipherment too; it is dropped.
    keyUsage: ['digitalSignature'],
    extKeyUsage: [oid.clientAuth],
    keyAlgorithms: ['rsa'],
    rsaBitsMin: 2048,
    subjectAltNameTypes: ['dNSName', 'rfc822Name', 'uniformResourceIdentifier', 'userPrincipalName'],
    subjectAltName: 'optional',
    subject: 'required',
  },
  {
    name: 'web-server',
    displayName: 'Web Server',
    // Two years, as AD CS has it; a private CA is not bound by the shorter limits of public ones.
    validityDays: 730,
    backdateMs: BACKDATE_MS,
    keyUsage: ['digitalSignature', 'keyEncipherment'],
    extKeyUsage: [oid.serverAuth],
    keyAlgorithms: ['rsa', 'P-256', 'P-384'],
    rsaBitsMin: 2048,
    subjectAltNameTypes: ['dNSName', 'iPAddress'],
    subjectAltName: 'required',
    subject: 'optional',
  },
  {
    // AD CS: “Exchange Enrollment Agent (Offline request)”.
    name: 'ra-signing',
    displayName: 'RA Signing',
    validityDays: 730,
    backdateMs: BACKDATE_MS,
    keyUsage: ['digitalSignature'],
    // QUIRK Windows: refuses RA certificates without this purpose or serverAuth (0x8010002c).
    extKeyUsage: [oid.certificateRequestAgent],
    keyAlgorithms: ['rsa'],
    rsaBitsMin: 2048,
    subjectAltNameTypes: [],
    subjectAltName: 'optional',
    subject: 'required',
  },
  {
    // AD CS: “CEP Encryption”.
    name: 'ra-encryption',
    displayName: 'RA Encryption',
    validityDays: 730,
    backdateMs: BACKDATE_MS,
    keyUsage: ['keyEncipherment'],
    extKeyUsage: [oid.certificateRequestAgent],
    keyAlgorithms: ['rsa'],
    rsaBitsMin: 2048,
    subjectAltNameTypes: [],
    subjectAltName: 'optional',
    subject: 'required',
  },
  {
    // AD CS: “OCSP Response Signing”, with its two weeks: such a certificate is not checked for revocation.
    name: 'ocsp-signing',
    displayName: 'OCSP Response Signing',
    validityDays: 14,
    backdateMs: BACKDATE_MS,
    keyUsage: ['digitalSignature'],
    extKeyUsage: [oid.ocspSigning],
    keyAlgorithms: ['rsa', 'P-256', 'P-384'],
    rsaBitsMin: 2048,
    subjectAltNameTypes: [],
    subjectAltName: 'optional',
    subject: 'required',
    ocspNoCheck: true,
  },
];
