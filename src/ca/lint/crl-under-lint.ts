/** A CRL as the rules see it: what was encoded, and who is to sign it. */
import {
  type Certificate,
  contextConstructed,
  DerReader,
  type Element,
  hex,
  oid,
  tag,
} from '../../codec/index.ts';
import { type ExtensionElement, faultOfTime, readExtensionElements } from './elements.ts';

/** The fields of a TBSCertList (RFC 5280 §5.1.2) as they are encoded. */
export interface CrlElements {
  /** Content of the INTEGER; absent for version 1. */
  readonly version?: Uint8Array;
  /** DER of both AlgorithmIdentifiers. */
  readonly innerAlgorithm: Uint8Array;
  readonly outerAlgorithm: Uint8Array;
  readonly issuer: Uint8Array;
  readonly thisUpdate: Element;
  readonly nextUpdate?: Element;
  /** Content of revokedCertificates; absent if the field is. */
  readonly entries?: Uint8Array;
  /** Absent if the field is. */
  readonly extensions?: readonly ExtensionElement[];
}

/** The first fault of each kind in the entries. */
export interface EntryFaults {
  readonly serialNumber?: string;
  readonly date?: string;
  readonly extension?: string;
}

/** One CRL. Its entries are walked over once, and none is kept. Getters throw what the codec throws. */
export class CrlUnderLint {
  readonly issuer: Certificate;
  readonly #tbsCertList: Uint8Array;
  readonly #outerAlgorithm: Uint8Array;
  #elements: CrlElements | undefined;
  #entryFaults: EntryFaults | undefined;

  /** `outerAlgorithm` is the AlgorithmIdentifier that stands, or is to stand, beside the signature. */
  constructor(tbsCertList: Uint8Array, outerAlgorithm: Uint8Array, issuer: Certificate) {
    this.#tbsCertList = tbsCertList;
    this.#outerAlgorithm = outerAlgorithm;
    this.issuer = issuer;
  }

  /** What is encoded. */
  get elements(): CrlElements {
    this.#elements ??= readElements(this.#tbsCertList, this.#outerAlgorithm);
    return this.#elements;
  }

  /** What is wrong with the entries. */
  get entryFaults(): EntryFaults {
    this.#entryFaults ??= faultsOfEntries(this.elements.entries, this.isDelta);
    return this.#entryFaults;
  }

  /** Whether it lists only what changed since a base CRL (§5.2.4). */
  get isDelta(): boolean {
    return this.extension(oid.deltaCRLIndicator) !== undefined;
  }

  /** An extension as it is encoded; `undefined` if it is absent. */
  extension(type: string): ExtensionElement | undefined {
    return this.elements.extensions?.find((extension) => extension.oid === type);
  }
}

function readElements(tbsCertList: Uint8Array, outerAlgorithm: Uint8Array): CrlElements {
  const outer = new DerReader(tbsCertList);
  const reader = outer.enter(tag.sequence);
  outer.end();
  const version = reader.optional(tag.integer)?.content;
  const innerAlgorithm = reader.raw(tag.sequence);
  const issuer = reader.raw(tag.sequence);
  const thisUpdate = reader.element();
  const nextUpdate = reader.optional(tag.utcTime) ?? reader.optional(tag.generalizedTime);
  const entries = reader.optional(tag.sequence)?.content;
  const wrapper = reader.enterOptional(contextConstructed(0));
  const extensions = wrapper === undefined ? undefined : readExtensionElements(wrapper.enter(tag.sequence));
  wrapper?.end();
  reader.end();
  return {
    ...(version === undefined ? {} : { version }),
    innerAlgorithm,
    outerAlgorithm,
    issuer,
    thisUpdate,
    ...(nextUpdate === undefined ? {} : { nextUpdate }),
    ...(entries === undefined ? {} : { entries }),
    ...(extensions === undefined ? {} : { extensions }),
  };
}

/** §4.1.2.2: at most 20 octets. */
const SERIAL_OCTETS_MAX = 20;

function faultsOfEntries(entries: Uint8Array | undefined, isDelta: boolean): EntryFaults {
  if (entries === undefined) return {};
  const faults: { serialNumber?: string; date?: string; extension?: string } = {};
  const list = new DerReader(entries);
  // Most entries share few dates and few reasons: octets that were found good are not looked at again.
  let goodExtensions = '';
  while (!list.done) {
    const entry = list.enter(tag.sequence);
    const serialNumber = entry.integer();
    if ((serialNumber[0] as number) >= 0x80 || serialNumber.length > SERIAL_OCTETS_MAX)
      faults.serialNumber ??= `serial number ${hex(serialNumber)}`;
    const date = entry.element();
    const fault = faultOfTime('a revocation date', date);
    if (fault !== undefined) faults.date ??= fault;
    if (entry.done) continue;
    const { raw, content } = entry.expect(tag.sequence);
    entry.end();
    const text = hex(raw);
    if (text === goodExtensions) continue;
    const extensionFault = faultOfEntryExtensions(readExtensionElements(new DerReader(content)), isDelta);
    if (extensionFault === undefined) goodExtensions = text;
    else faults.extension ??= extensionFault;
  }
  return faults;
}

/** Why a certificate can be revoked (§5.3.1): 0 is said by leaving the reason out, 7 does not exist, 8 is for deltas. */
const reasonCodes: ReadonlySet<number> = new Set([1, 2, 3, 4, 5, 6, 9, 10]);
const REMOVE_FROM_CRL = 8;

function faultOfEntryExtensions(
  extensions: readonly ExtensionElement[],
  isDelta: boolean,
): string | undefined {
  if (extensions.length === 0) return 'an entry with an empty list of extensions';
  const seen = new Set<string>();
  for (const { oid: type, critical, value } of extensions) {
    if (seen.has(type)) return `an entry with extension ${type} twice`;
    seen.add(type);
    if (critical !== 'left out') return `an entry with extension ${type} marked ${critical}`;
    const reader = new DerReader(value);
    if (type === oid.reasonCode) {
      const content = reader.content(tag.enumerated);
      const code = content.length === 1 ? (content[0] as number) : -1;
      if (!reasonCodes.has(code) && !(isDelta && code === REMOVE_FROM_CRL))
        return `an entry with reason ${hex(content)}`;
    } else if (type === oid.invalidityDate) {
      // §5.3.2: GeneralizedTime whatever the year, otherwise as in §4.1.2.5.2.
      if (!/^\d{14}Z$/.test(Buffer.from(reader.content(tag.generalizedTime)).toString('latin1')))
        return 'an entry with an invalidity date not of the form YYYYMMDDHHMMSSZ';
    } else return `an entry with extension ${type}`;
    reader.end();
  }
  return undefined;
}
