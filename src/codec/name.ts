/** Distinguished names (RFC 5280 §4.1.2.4) and their text form (RFC 4514). */
import { PkiError } from '../errors.ts';
import {
  bufferOf,
  DerReader,
  der,
  derOf,
  hex,
  ia5String,
  isPrintable,
  latin1,
  objectIdentifier,
  printableString,
  readDer,
  sequence,
  tag,
  utf8String,
  utf8Text,
} from './der.ts';
import { oid } from './oid.ts';

/** One attribute of a name. */
export interface AttributeTypeAndValue {
  readonly oid: string;
  readonly value: string;
}

/** A name, most significant RDN first as it is encoded; `raw` is the DER that comparisons use. */
export interface Name {
  readonly raw: Uint8Array;
  readonly rdns: readonly (readonly AttributeTypeAndValue[])[];
}

/** More RDNs than any directory nests. */
const RDNS_MAX = 64;
/** More attributes than any RDN has. */
const RDN_ATTRIBUTES_MAX = 16;

/** Keywords of RFC 4514 §3 and those that administrators write; the first of an identifier is the one we print. */
const keywords: readonly (readonly [keyword: string, identifier: string])[] = [
  ['CN', oid.commonName],
  ['SN', oid.surname],
  ['SERIALNUMBER', oid.serialNumber],
  ['C', oid.countryName],
  ['L', oid.localityName],
  ['ST', oid.stateOrProvinceName],
  ['S', oid.stateOrProvinceName],
  ['STREET', oid.streetAddress],
  ['O', oid.organizationName],
  ['OU', oid.organizationalUnitName],
  ['T', oid.title],
  ['TITLE', oid.title],
  ['GN', oid.givenName],
  ['G', oid.givenName],
  ['DC', oid.domainComponent],
  ['UID', oid.userId],
  ['E', oid.emailAddress],
  ['EMAILADDRESS', oid.emailAddress],
];
const oidByKeyword = new Map(keywords);
const keywordByOid = new Map([...keywords].reverse().map(([keyword, identifier]) => [identifier, keyword]));

/**
 * Reads a Name.
 *
 * DEVIATION X.690 §11.6: the attributes of an RDN are not in ascending order with all clients; `raw` keeps theirs.
 *
 * @throws PkiError `der_malformed`, `der_limit`.
 */
export function parseName(raw: Uint8Array): Name {
  const outer = new DerReader(raw);
  const reader = outer.enter(tag.sequence);
  outer.end();
  const rdns: AttributeTypeAndValue[][] = [];
  while (!reader.done) {
    if (rdns.length >= RDNS_MAX) throw new PkiError('der_limit', `a name of more than ${RDNS_MAX} RDNs`);
    rdns.push(readRdn(reader.enter(tag.set)));
  }
  return { raw, rdns };
}

function readRdn(set: DerReader): AttributeTypeAndValue[] {
  const rdn: AttributeTypeAndValue[] = [];
  do {
    if (rdn.length >= RDN_ATTRIBUTES_MAX)
      throw new PkiError('der_limit', `an RDN of more than ${RDN_ATTRIBUTES_MAX} attributes`);
    const attribute = set.enter(tag.sequence);
    rdn.push({ oid: attribute.oid(), value: attribute.text() });
    attribute.end();
  } while (!set.done);
  return rdn;
}

/**
 * Builds a Name from its RDNs, most significant first. It is the Name that `parseName` would read: the attributes of an
 * RDN stand in the order of their encodings.
 *
 * @throws PkiError `name_malformed` for a value that its attribute cannot hold, `der_malformed` for a bad identifier.
 */
export function buildName(rdns: readonly (readonly AttributeTypeAndValue[])[]): Name {
  const encoded = rdns.map((rdn) =>
    rdn
      .map((attribute) => ({
        attribute,
        der: sequence(objectIdentifier(attribute.oid), attributeValue(attribute)),
      }))
      .sort((a, b) => Buffer.compare(a.der, b.der)),
  );
  return {
    raw: derOf(
      tag.sequence,
      encoded.map((rdn) =>
        derOf(
          tag.set,
          rdn.map((each) => each.der),
        ),
      ),
    ),
    rdns: encoded.map((rdn) => rdn.map((each) => each.attribute)),
  };
}

/** RFC 5280 §4.1.2.4 wants PrintableString or UTF8String; two attributes have a type of their own. */
function attributeValue({ oid: type, value }: AttributeTypeAndValue): Uint8Array {
  if (type === oid.domainComponent || type === oid.emailAddress) {
    // RFC 5280 §7.3, §7.5: international domain names and mailboxes travel in their ASCII form.
    if (!/^\p{ASCII}*$/u.test(value)) throw new PkiError('name_malformed', `“${value}” is not ASCII`);
    return ia5String(value);
  }
  if ((type === oid.countryName || type === oid.serialNumber) && isPrintable(value))
    return printableString(value);
  // A lone surrogate has no UTF-8 form: it would be written as another character.
  if (!value.isWellFormed()) throw new PkiError('name_malformed', `“${value}” is not well-formed Unicode`);
  return utf8String(value);
}

/** Text of the next element: `reader.text()`. */
export function directoryString(reader: DerReader): string {
  return reader.text();
}

/** The name as RFC 4514 writes it: least significant RDN first, `CN=laptop,O=Example`. */
export function nameToString(name: Name): string {
  return [...name.rdns]
    .reverse()
    .map((rdn) =>
      rdn.map(({ oid: type, value }) => `${keywordByOid.get(type) ?? type}=${escaped(value)}`).join('+'),
    )
    .join(',');
}

function escaped(value: string): string {
  return value
    .replaceAll(/[\\",+;<>]/g, '\\$&')
    .replaceAll(/\p{Cc}/gu, (control) =>
      [...Buffer.from(control, 'utf8')].map((octet) => `\\${octet.toString(16).padStart(2, '0')}`).join(''),
    )
    .replace(/^[ #]|(?<=.) $/gs, '\\$&');
}

/** An attribute's type up to its value; the dotted form is checked by whoever encodes it. */
const attributeType = / *([A-Za-z][A-Za-z0-9-]*|\d+(?:\.\d+)+) *= */y;

/**
 * Reads the text form: least significant RDN first, `CN=laptop,O=Example`; quoted values as in RFC 2253 are taken too.
 * The empty text is the empty name.
 *
 * DEVIATION RFC 4514 §2.4: a value in hexadecimal BER (`#04024869`) is refused, and a dotted type takes plain text: what
 * an administrator writes is text, and an empty value is a mistake.
 *
 * @throws PkiError `name_malformed` naming the place.
 */
export function nameFromString(text: string): Name {
  const rdns: AttributeTypeAndValue[][] = [];
  let rdn: AttributeTypeAndValue[] = [];
  let at = 0;
  const fail = (what: string) => new PkiError('name_malformed', `“${text}”, character ${at + 1}: ${what}`);
  while (at < text.length) {
    if (rdns.length >= RDNS_MAX || rdn.length >= RDN_ATTRIBUTES_MAX) throw fail('too many attributes');
    attributeType.lastIndex = at;
    const type = attributeType.exec(text);
    if (type === null) throw fail('expected an attribute such as CN=');
    const keyword = (type[1] as string).toUpperCase();
    const dotted = /^\d/.test(keyword);
    const identifier = dotted ? keyword : oidByKeyword.get(keyword);
    if (identifier === undefined) throw fail(`unknown attribute ${keyword}`);
    if (dotted && !isObjectIdentifier(keyword)) throw fail(`${keyword} is not an object identifier`);
    at += type[0].length;
    if (text[at] === '#') throw fail('a # at the beginning must be escaped');
    const value = readValue(text, at);
    if (typeof value === 'string') throw fail(value);
    if (value.text === '') throw fail('an empty value');
    rdn.push({ oid: identifier, value: value.text });
    at = value.end;
    const separator = text[at];
    if (separator !== '+') {
      rdns.unshift(rdn);
      rdn = [];
    }
    if (separator === undefined) return buildName(rdns);
    if (!/[,;+]/.test(separator)) throw fail('expected a separator');
    at += 1;
    if (at >= text.length) throw fail('the name ends with a separator');
  }
  return buildName(rdns);
}

function isObjectIdentifier(dotted: string): boolean {
  try {
    objectIdentifier(dotted);
    return true;
  } catch {
    return false;
  }
}

/** A value from `start` to the next separator outside quotes and escapes, or what is wrong with it. */
function readValue(text: string, start: number): { readonly text: string; readonly end: number } | string {
  const octets: number[] = [];
  let at = start;
  let quoted = false;
  // Spaces at the end do not count unless they are escaped or quoted (RFC 4514 §2.4).
  let significantLength = 0;
  if (text[at] === '"') {
    quoted = true;
    at += 1;
  }
  for (; at < text.length; ) {
    const character = String.fromCodePoint(text.codePointAt(at) as number);
    if (quoted && character === '"') {
      at += 1;
      while (text[at] === ' ') at += 1;
      quoted = false;
      break;
    }
    if (!quoted && /[,;+]/.test(character)) break;
    if (character === '\\') {
      const pair = text.slice(at + 1, at + 3);
      if (/^[0-9A-Fa-f]{2}$/.test(pair)) {
        octets.push(Number.parseInt(pair, 16));
        at += 3;
      } else {
        // RFC 4514 §3: anything else after a backslash is no escape, and dropping the backslash would change the name.
        if (!/^[\\",+;<>=# ]/.test(pair)) return 'a backslash that escapes nothing';
        octets.push(pair.charCodeAt(0));
        at += 2;
      }
      significantLength = octets.length;
      continue;
    }
    if (!character.isWellFormed()) return 'half a surrogate pair';
    octets.push(...Buffer.from(character, 'utf8'));
    if (character !== ' ' || quoted) significantLength = octets.length;
    at += character.length;
  }
  if (quoted) return 'a quote that does not end';
  try {
    return { text: utf8Text(Uint8Array.from(octets.slice(0, significantLength))), end: at };
  } catch {
    return 'hexadecimal pairs that are not UTF-8';
  }
}

/** The first common name, if there is one. */
export function commonNameOf(name: Name): string | undefined {
  for (const rdn of name.rdns)
    for (const { oid: type, value } of rdn) if (type === oid.commonName) return value;
  return undefined;
}

/** An identity in subjectAltName (RFC 5280 §4.2.1.6). */
export type GeneralName =
  | {
      readonly type:
        | 'dNSName'
        | 'rfc822Name'
        | 'uniformResourceIdentifier'
        | 'iPAddress'
        | 'userPrincipalName';
      readonly value: string;
    }
  | { readonly type: 'directoryName'; readonly name: Name }
  | { readonly type: 'other'; readonly raw: Uint8Array };

/** More names than any certificate needs. */
const GENERAL_NAMES_MAX = 100;

/**
 * Reads GeneralNames.
 *
 * @throws PkiError `der_malformed` also if there is none (RFC 5280 §4.2.1.6: at least one), `der_limit`.
 */
export function parseGeneralNames(bytes: Uint8Array): GeneralName[] {
  return readDer(bytes, tag.sequence, (reader) => {
    const names: GeneralName[] = [];
    while (!reader.done) {
      if (names.length >= GENERAL_NAMES_MAX)
        throw new PkiError('der_limit', `over ${GENERAL_NAMES_MAX} names`);
      names.push(readGeneralName(reader));
    }
    if (names.length === 0) throw new PkiError('der_malformed', 'a list of no names');
    return names;
  });
}

function readGeneralName(reader: DerReader): GeneralName {
  const element = reader.element();
  switch (element.tag) {
    case 0x81:
      return { type: 'rfc822Name', value: asciiText(element.content) };
    case 0x82:
      return { type: 'dNSName', value: asciiText(element.content) };
    case 0x86:
      return { type: 'uniformResourceIdentifier', value: asciiText(element.content) };
    case 0x87:
      return { type: 'iPAddress', value: ipAddressText(element.content) };
    case 0xa4:
      return { type: 'directoryName', name: parseName(element.content) };
    case 0xa0: {
      const inner = new DerReader(element.content);
      if (inner.oid() === oid.microsoftUserPrincipalName) {
        const value = inner.enter(0xa0);
        inner.end();
        const userPrincipalName = value.text();
        value.end();
        return { type: 'userPrincipalName', value: userPrincipalName };
      }
      return { type: 'other', raw: element.raw };
    }
    case 0xa3: // x400Address
    case 0xa5: // ediPartyName
    case 0x88: // registeredID
      return { type: 'other', raw: element.raw };
    default:
      throw new PkiError('der_malformed', 'a name of no kind that RFC 5280 §4.2.1.6 knows');
  }
}

/** IA5String without control characters: a NUL in the middle ends a name for some readers and not for others. */
function asciiText(octets: Uint8Array): string {
  const text = latin1(octets);
  if (!/^[\x20-\x7e]*$/.test(text)) throw new PkiError('der_malformed', 'a name that is not printable ASCII');
  return text;
}

/** Builds GeneralNames in the order given. Throws like `buildGeneralName`. */
export function buildGeneralNames(names: readonly GeneralName[]): Uint8Array {
  return derOf(tag.sequence, names.map(buildGeneralName));
}

/**
 * Builds one GeneralName.
 *
 * @throws PkiError `name_malformed` for a value that its kind cannot hold.
 */
export function buildGeneralName(name: GeneralName): Uint8Array {
  switch (name.type) {
    case 'rfc822Name':
      return der(0x81, asciiOctets(name.value));
    case 'dNSName':
      return der(0x82, asciiOctets(name.value));
    case 'uniformResourceIdentifier':
      return der(0x86, asciiOctets(name.value));
    case 'iPAddress':
      return der(0x87, ipAddressOctets(name.value));
    case 'userPrincipalName':
      if (!name.value.isWellFormed())
        throw new PkiError('name_malformed', `“${name.value}” is not well-formed Unicode`);
      return der(0xa0, objectIdentifier(oid.microsoftUserPrincipalName), der(0xa0, utf8String(name.value)));
    case 'directoryName':
      return der(0xa4, name.name.raw);
    case 'other':
      return name.raw;
  }
}

function asciiOctets(text: string): Uint8Array {
  // RFC 5280 §7: international names travel in their ASCII form (A-labels, percent escapes).
  if (!/^[\x20-\x7e]+$/.test(text)) throw new PkiError('name_malformed', `“${text}” is not printable ASCII`);
  return Buffer.from(text, 'latin1');
}

/** Text of an address of 4 or 16 octets. Throws PkiError `der_malformed` for another length. */
export function ipAddressText(octets: Uint8Array): string {
  if (octets.length === 4) return octets.join('.');
  if (octets.length !== 16) throw new PkiError('der_malformed', 'an IP address of neither 4 nor 16 octets');
  const groups = (bufferOf(octets).toString('hex').match(/.{4}/g) ?? []).map((group) =>
    group.replace(/^0+(?=.)/, ''),
  );
  return groups.join(':');
}

/** The 4 or 16 octets of an address as people write it (RFC 4291 §2.2). Throws PkiError `name_malformed`. */
export function ipAddressOctets(text: string): Uint8Array {
  const four = /^(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})$/.exec(text);
  if (four !== null) {
    const octets = four.slice(1).map(Number);
    if (octets.every((octet) => octet < 256)) return Uint8Array.from(octets);
  }
  const [head = '', tail, ...more] = text.split('::');
  const groups = (part: string) => (part === '' ? [] : part.split(':'));
  const missing = tail === undefined ? 0 : 8 - groups(head).length - groups(tail).length;
  const all = [
    ...groups(head),
    ...Array.from({ length: Math.max(0, missing) }, () => '0'),
    ...groups(tail ?? ''),
  ];
  // RFC 4291 §2.2: “::” stands for one or more groups.
  const shortened = tail === undefined || missing > 0;
  if (
    !shortened ||
    more.length > 0 ||
    all.length !== 8 ||
    !all.every((group) => /^[0-9A-Fa-f]{1,4}$/.test(group))
  ) {
    throw new PkiError('name_malformed', `“${text}” is not an IP address`);
  }
  return Buffer.from(all.map((group) => group.padStart(4, '0')).join(''), 'hex');
}

const generalNameLabels = {
  dNSName: 'DNS',
  rfc822Name: 'email',
  uniformResourceIdentifier: 'URI',
  iPAddress: 'IP',
  userPrincipalName: 'UPN',
} as const;

/** The names as people read them: `DNS:a.example, URI:urn:x`. Two different lists never read the same. */
export function generalNamesToString(names: readonly GeneralName[]): string {
  return names
    .map((name) => {
      if (name.type === 'directoryName') return `DN:${nameToString(name.name).replaceAll(', ', ',\\20')}`;
      if (name.type === 'other') return `other:${hex(name.raw)}`;
      return `${generalNameLabels[name.type]}:${name.value.replaceAll(/[\\,]/g, '\\$&')}`;
    })
    .join(', ');
}

/**
 * Reads one name in the form of `generalNamesToString`: `DNS:a.example`.
 *
 * @throws PkiError `name_malformed`.
 */
export function generalNameFromString(text: string): GeneralName {
  for (const [type, label] of Object.entries(generalNameLabels)) {
    if (text.startsWith(`${label}:`)) {
      const value = text.slice(label.length + 1).replaceAll(/\\(.)/gs, '$1');
      if (value === '') throw new PkiError('name_malformed', `“${text}” is empty`);
      return { type: type as keyof typeof generalNameLabels, value };
    }
  }
  throw new PkiError('name_malformed', `“${text}”: expected DNS:, email:, URI:, IP: or UPN:`);
}
