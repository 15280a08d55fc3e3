/** A certificate as the rules see it: what was encoded, what a relying party reads, and who is to sign it. */
import {
  type Certificate,
  contextConstructed,
  contextPrimitive,
  DerReader,
  type Element,
  extKeyUsageOf,
  type GeneralName,
  type KeyUsage,
  keyUsageOf,
  type PublicKeyInfo,
  parseCertificate,
  parsePublicKeyInfo,
  subjectAltNameOf,
  tag,
} from '../../codec/index.ts';
import type { Effort } from '../key-policy.ts';
import { type ExtensionElement, readExtensionElements } from './elements.ts';

/** What a certificate is made for. Services (RA, OCSP) are end entities; a root signs itself. */
export type CertificateRole = 'end-entity' | 'ca' | 'root';

/** The fields of a TBSCertificate (RFC 5280 §4.1) as they are encoded. */
export interface CertificateElements {
  /** Content of `[0]`; absent for version 1. */
  readonly version?: Uint8Array;
  /** Content of the INTEGER. */
  readonly serialNumber: Uint8Array;
  /** DER of both AlgorithmIdentifiers. */
  readonly innerAlgorithm: Uint8Array;
  readonly outerAlgorithm: Uint8Array;
  readonly issuer: Uint8Array;
  readonly notBefore: Element;
  readonly notAfter: Element;
  readonly subject: Uint8Array;
  readonly spki: Uint8Array;
  readonly hasUniqueIdentifier: boolean;
  /** Absent if the field is. */
  readonly extensions?: readonly ExtensionElement[];
}

/** One certificate, read as far as the rules ask, and each part once. Getters throw what the codec throws. */
export class CertificateUnderLint {
  readonly raw: Uint8Array;
  readonly role: CertificateRole;
  readonly effort: Effort;
  readonly #issuer: Certificate | undefined;
  #elements: CertificateElements | undefined;
  #certificate: Certificate | undefined;
  #publicKey: PublicKeyInfo | undefined;
  #keyUsage: readonly KeyUsage[] | undefined;
  #extKeyUsage: readonly string[] | undefined;
  #subjectAltName: readonly GeneralName[] | undefined;

  /** `issuer` is left out for a root. */
  constructor(raw: Uint8Array, role: CertificateRole, issuer: Certificate | undefined, effort: Effort) {
    this.raw = raw;
    this.role = role;
    this.effort = effort;
    this.#issuer = issuer;
  }

  /** What is encoded. */
  get elements(): CertificateElements {
    this.#elements ??= readElements(this.raw);
    return this.#elements;
  }

  /** What a relying party reads. */
  get certificate(): Certificate {
    this.#certificate ??= parseCertificate(this.raw);
    return this.#certificate;
  }

  /** The certificate of whoever signs; a root's is its own. */
  get issuer(): Certificate {
    return this.#issuer ?? this.certificate;
  }

  get publicKey(): PublicKeyInfo {
    this.#publicKey ??= parsePublicKeyInfo(this.elements.spki);
    return this.#publicKey;
  }

  /** Empty if there is none. */
  get keyUsage(): readonly KeyUsage[] {
    this.#keyUsage ??= keyUsageOf(this.certificate) ?? [];
    return this.#keyUsage;
  }

  /** Empty if there is none. */
  get extKeyUsage(): readonly string[] {
    this.#extKeyUsage ??= extKeyUsageOf(this.certificate) ?? [];
    return this.#extKeyUsage;
  }

  /** Empty if there is none. */
  get subjectAltName(): readonly GeneralName[] {
    this.#subjectAltName ??= subjectAltNameOf(this.certificate);
    return this.#subjectAltName;
  }

  /** An extension as it is encoded; `undefined` if it is absent. */
  extension(oid: string): ExtensionElement | undefined {
    return this.elements.extensions?.find((extension) => extension.oid === oid);
  }
}

function readElements(raw: Uint8Array): CertificateElements {
  const outer = new DerReader(raw);
  const certificate = outer.enter(tag.sequence);
  outer.end();
  const reader = certificate.enter(tag.sequence);
  const outerAlgorithm = certificate.raw(tag.sequence);
  certificate.bitStringOctets();
  certificate.end();

  const version = reader.optional(contextConstructed(0))?.content;
  const serialNumber = reader.integer();
  const innerAlgorithm = reader.raw(tag.sequence);
  const issuer = reader.raw(tag.sequence);
  const validity = reader.enter(tag.sequence);
  const notBefore = validity.element();
  const notAfter = validity.element();
  validity.end();
  const subject = reader.raw(tag.sequence);
  const spki = reader.raw(tag.sequence);
  const issuerUniqueID = reader.optional(contextPrimitive(1));
  const subjectUniqueID = reader.optional(contextPrimitive(2));
  const wrapper = reader.enterOptional(contextConstructed(3));
  const extensions = wrapper === undefined ? undefined : readExtensionElements(wrapper.enter(tag.sequence));
  wrapper?.end();
  reader.end();
  return {
    ...(version === undefined ? {} : { version }),
    serialNumber,
    innerAlgorithm,
    outerAlgorithm,
    issuer,
    notBefore,
    notAfter,
    subject,
    spki,
    hasUniqueIdentifier: issuerUniqueID !== undefined || subjectUniqueID !== undefined,
    ...(extensions === undefined ? {} : { extensions }),
  };
}
