/** Certificate templates: what the CA puts into a certificate, whatever was asked. The words are those of AD CS. */
import { type GeneralName, type KeyUsage, type Name, oid, type TemplateInformation } from '../codec/index.ts';
import type { NamePattern, SubjectAltNameType } from './name-pattern.ts';

export { type SubjectAltNameType, subjectAltNameTypes } from './name-pattern.ts';

/** Kinds of keys that a template may certify. */
export const keyAlgorithms = ['rsa', 'P-256', 'P-384'] as const;

/** One of them. */
export type TemplateKeyAlgorithm = (typeof keyAlgorithms)[number];

/**
 * Who says what a name is: the `request` (AD CS: “Supply in the request”), the `directory`, which is what a validator
 * vouches for (“Build from this Active Directory information”), or the template itself (`fixed`).
 */
export type NameSource = 'request' | 'directory' | 'fixed';

/** One template. */
export interface CertificateTemplate {
  readonly name: string;
  /** As views show it. */
  readonly displayName: string;
  readonly validityMs: number;
  /** The end of the validity in which a certificate is to be renewed, and does not count for the issuance limit. */
  readonly renewalPeriodMs: number;
  /** How far notBefore lies in the past, for devices whose clock is behind. */
  readonly backdateMs: number;
  readonly keyAlgorithms: readonly TemplateKeyAlgorithm[];
  readonly rsaBitsMin: number;
  /** KeyUsage bits: all that a certificate may have. */
  readonly keyUsage: readonly KeyUsage[];
  /** What it has if nothing is asked; all of `keyUsage` if absent. */
  readonly keyUsageDefault?: readonly KeyUsage[];
  /** Purposes, dotted: all that a certificate may have. */
  readonly extKeyUsage: readonly string[];
  /** What it has if nothing is asked; all of `extKeyUsage` if absent. */
  readonly extKeyUsageDefault?: readonly string[];
  readonly subjectFrom: NameSource;
  readonly subject: 'required' | 'optional';
  /** Attribute types, dotted, that a subject may have; others are dropped. */
  readonly subjectAttributes: readonly string[];
  /** The subject itself, if it is `fixed`. */
  readonly subjectFixed?: Name;
  readonly subjectAltNameFrom: NameSource;
  readonly subjectAltName: 'required' | 'optional';
  /** What subjectAltName may name; everything else is refused. */
  readonly subjectAltNameTypes: readonly SubjectAltNameType[];
  /** Of a type that stands here, a value must fit one of the patterns; of any other it is free. */
  readonly subjectAltNamePatterns: Readonly<Partial<Record<SubjectAltNameType, readonly NamePattern[]>>>;
  /** The names themselves, if they are `fixed`. */
  readonly subjectAltNameFixed: readonly GeneralName[];
  /**
   * Microsoft's security extension with the SID of the account: only ever what a validator vouches for. `required`: no
   * certificate without one.
   */
  readonly securityIdentifier: 'never' | 'ifKnown' | 'required';
  /** OCSP-nocheck (RFC 6960 §4.2.2.2.1): relying parties do not ask whether the responder's certificate is revoked. */
  readonly ocspNoCheck: boolean;
  /** Microsoft's template extension, for relying parties that decide by it; none if absent. */
  readonly information?: TemplateInformation;
  /** Certificates of this template that a device may have before their renewal period; any number if absent. */
  readonly certificatesPerDeviceMax?: number;
  /** `certificateManager`: a person decides about every request (AD CS: “CA certificate manager approval”). */
  readonly approval: 'none' | 'certificateManager';
  /** `required`: what the RA approved bears its signature (AD CS: “This number of authorized signatures”: one). */
  readonly raSignature: 'none' | 'required';
}

const HOUR_MS = 60 * 60 * 1000;
const DAY_MS = 24 * HOUR_MS;
/** AD CS: the clock skew that a CA allows its clients. */
const BACKDATE_MS = 10 * 60 * 1000;

/** What AD CS lets into a subject (its SubjectTemplate), and the older names of its attributes. */
const customaryAttributes: readonly string[] = [
  oid.commonName,
  oid.surname,
  oid.serialNumber,
  oid.countryName,
  oid.localityName,
  oid.stateOrProvinceName,
  oid.streetAddress,
  oid.organizationName,
  oid.organizationalUnitName,
  oid.title,
  oid.givenName,
  oid.domainComponent,
  oid.userId,
  oid.emailAddress,
  // QUIRK Cisco IOS: names itself by these two.
  oid.unstructuredName,
  oid.unstructuredAddress,
];

/** What a template has that says nothing else: a year, a strong key, a name of the request's choice, no purpose. */
export const plainTemplate: CertificateTemplate = {
  name: '',
  displayName: '',
  validityMs: 365 * DAY_MS,
  // AD CS: six weeks of a year.
  renewalPeriodMs: 42 * DAY_MS,
  backdateMs: BACKDATE_MS,
  keyAlgorithms: ['rsa', 'P-256', 'P-384'],
  rsaBitsMin: 2048,
  keyUsage: ['digitalSignature'],
  extKeyUsage: [],
  subjectFrom: 'request',
  subject: 'required',
  subjectAttributes: customaryAttributes,
  subjectAltNameFrom: 'request',
  subjectAltName: 'optional',
  subjectAltNameTypes: [],
  subjectAltNamePatterns: {},
  subjectAltNameFixed: [],
  securityIdentifier: 'never',
  ocspNoCheck: false,
  approval: 'none',
  raSignature: 'none',
};

/**
 * The built-in templates.
 *
 * Client authentication is back-dated by a day: Windows clocks are up to nine hours slow while a device is set up, and
 * a certificate that is not valid yet cannot be installed.
 */
export const builtInTemplates: readonly CertificateTemplate[] = [
  {
    // AD CS: “Workstation Authentication”.
    ...plainTemplate,
    name: 'client-authentication',
    displayName: 'Client Authentication',
    backdateMs: 24 * HOUR_MS,
    // RFC 5280 §4.2.1.12: clientAuth goes with digitalSignature. Profiles often ask for keyEncipherment too; it is dropped.
    extKeyUsage: [oid.clientAuth],
    keyAlgorithms: ['rsa'],
    subjectAltNameTypes: ['dNSName', 'rfc822Name', 'uniformResourceIdentifier', 'userPrincipalName'],
    securityIdentifier: 'ifKnown',
  },
  {
    // AD CS: “User Signature Only”.
    ...plainTemplate,
    name: 'client-authentication-user',
    displayName: 'Client Authentication (User)',
    backdateMs: 24 * HOUR_MS,
    extKeyUsage: [oid.clientAuth],
    keyAlgorithms: ['rsa'],
    // A user is mapped by these; a subject alone maps to nobody.
    subjectAltName: 'required',
    subjectAltNameTypes: ['rfc822Name', 'uniformResourceIdentifier', 'userPrincipalName'],
    securityIdentifier: 'ifKnown',
  },
  {
    ...plainTemplate,
    name: 'web-server',
    displayName: 'Web Server',
    // Two years, as AD CS has it; a private CA is not bound by the shorter limits of public ones.
    validityMs: 730 * DAY_MS,
    keyUsage: ['digitalSignature', 'keyEncipherment'],
    extKeyUsage: [oid.serverAuth],
    subject: 'optional',
    subjectAltName: 'required',
    subjectAltNameTypes: ['dNSName', 'iPAddress'],
  },
  {
    // AD CS: “Exchange Enrollment Agent (Offline request)”.
    ...plainTemplate,
    name: 'ra-signing',
    displayName: 'RA Signing',
    validityMs: 730 * DAY_MS,
    // QUIRK Windows: refuses RA certificates without this purpose or serverAuth (0x8010002c).
    extKeyUsage: [oid.certificateRequestAgent],
    keyAlgorithms: ['rsa'],
  },
  {
    // AD CS: “CEP Encryption”.
    ...plainTemplate,
    name: 'ra-encryption',
    displayName: 'RA Encryption',
    validityMs: 730 * DAY_MS,
    keyUsage: ['keyEncipherment'],
    extKeyUsage: [oid.certificateRequestAgent],
    keyAlgorithms: ['rsa'],
  },
  {
    // For clients that know one certificate of the server and no RA.
    ...plainTemplate,
    name: 'ra-combined',
    displayName: 'RA Signing and Encryption',
    validityMs: 730 * DAY_MS,
    keyUsage: ['digitalSignature', 'keyEncipherment'],
    extKeyUsage: [oid.certificateRequestAgent],
    keyAlgorithms: ['rsa'],
  },
  {
    // AD CS: “OCSP Response Signing”: two weeks, renewed two days before the end.
    ...plainTemplate,
    name: 'ocsp-signing',
    displayName: 'OCSP Response Signing',
    validityMs: 14 * DAY_MS,
    renewalPeriodMs: 2 * DAY_MS,
    // RFC 6960 §4.2.2.2: who signs answers for a CA says so by this purpose.
    extKeyUsage: [oid.ocspSigning],
    ocspNoCheck: true,
  },
  {
    // AD CS: “IPSec (Offline request)”.
    ...plainTemplate,
    name: 'vpn-ipsec',
    displayName: 'VPN and IPsec',
    // RFC 4945 §5.1.3.2, §5.1.3.12. Older gateways look for iKEIntermediate; it is given to who asks for it.
    extKeyUsage: [oid.ipsecIKE, oid.clientAuth, oid.iKEIntermediate],
    extKeyUsageDefault: [oid.ipsecIKE, oid.clientAuth],
    subjectAltNameTypes: ['dNSName', 'rfc822Name', 'iPAddress'],
  },
  {
    // AD CS: “Domain Controller Authentication”.
    ...plainTemplate,
    name: 'domain-controller',
    displayName: 'Domain Controller Authentication',
    keyUsage: ['digitalSignature', 'keyEncipherment'],
    extKeyUsage: [oid.clientAuth, oid.serverAuth, oid.smartcardLogon],
    subjectFrom: 'directory',
    subject: 'optional',
    subjectAltNameFrom: 'directory',
    subjectAltName: 'required',
    subjectAltNameTypes: ['dNSName'],
  },
  {
    // AD CS: “Kerberos Authentication”. RFC 4556 §3.2.4: clients that check the KDC look for its purpose.
    ...plainTemplate,
    name: 'kerberos-authentication',
    displayName: 'Kerberos Authentication',
    keyUsage: ['digitalSignature', 'keyEncipherment'],
    extKeyUsage: [oid.clientAuth, oid.serverAuth, oid.smartcardLogon, oid.pkinitKDC],
    subjectFrom: 'directory',
    subject: 'optional',
    subjectAltNameFrom: 'directory',
    subjectAltName: 'required',
    subjectAltNameTypes: ['dNSName'],
  },
  {
    // AD CS: “Exchange User”. Mail is encrypted to it: to the address that the directory has, and by RSA.
    ...plainTemplate,
    name: 'smime',
    displayName: 'S/MIME',
    keyUsage: ['digitalSignature', 'keyEncipherment'],
    extKeyUsage: [oid.emailProtection],
    keyAlgorithms: ['rsa'],
    subjectFrom: 'directory',
    subject: 'optional',
    subjectAltNameFrom: 'directory',
    subjectAltName: 'required',
    subjectAltNameTypes: ['rfc822Name'],
  },
];
