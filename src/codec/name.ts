/** Distinguished names (RFC 5280 §4.1.2.4) and their text form (RFC 4514). */
import { PkiError } from '../errors.ts';
import {
  bufferOf,
  DerReader,
  der,
  hex,
  ia5String,
  isPrintable,
  latin1,
  objectIdentifier,
  printableString,
  readDer,
  sequence,
  setOf,
  tag,
  utf8String,
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
 * @throws PkiError `der_malformed`.
 */
export function parseName(raw: Uint8Array): Name {
  const rdns = readDer(raw, tag.sequence, (reader) => {
    const list: AttributeTypeAndValue[][] = [];
    while (!reader.done) {
      if (list.length >= RDNS_MAX) throw new PkiError('der_limit', `a name of more than ${RDNS_MAX} RDNs`);
      const set = reader.enter(tag.set);
      const rdn: AttributeTypeAndValue[] = [];
      while (!set.done) {
        const attribute = set.enter(tag.sequence);
        rdn.push({ oid: attribute.oid(), value: directoryString(attribute) });
        attribute.end();
      }
      if (rdn.length === 0) throw new PkiError('der_malformed', 'an empty RDN');
      list.push(rdn);
    }
    return list;
  });
  return { raw, rdns };
}

/** Builds a Name from its RDNs, most significant first. */
export function buildName(rdns: readonly (readonly AttributeTypeAndValue[])[]): Name {
  const raw = sequence(
    ...rdns.map((rdn) =>
      setOf(rdn.map((attribute) => sequence(objectIdentifier(attribute.oid), attributeValue(attribute)))),
    ),
  );
  return { raw, rdns };
}

/** RFC 5280 §4.1.2.4 wants PrintableString or UTF8String; two attributes have a type of their own. */
function attributeValue({ oid: type, value }: AttributeTypeAndValue): Uint8Array {
  if (type === oid.domainComponent || type === oid.emailAddress) return ia5String(value);
  if ((type === oid.countryName || type === oid.serialNumber) && isPrintable(value))
    return printableString(value);
  return utf8String(value);
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Text of the next element, which is a DirectoryString, an IA5String or a VisibleString.
 *
 * @throws PkiError `der_malformed` if it is not text.
 */
export function directoryString(reader: DerReader): string {
  const { tag: type, content } = reader.element();
  switch (type) {
    case tag.utf8String:
      try {
        return strictUtf8.decode(content);
      } catch (cause) {
        throw new PkiError('der_malformed', 'a UTF8String that is not UTF-8', { cause });
      }
    case tag.printableString:
    case tag.ia5String:
    case tag.visibleString:
      if (content.some((octet) => octet >= 0x80))
        throw new PkiError('der_malformed', 'a string that is not ASCII');
      return latin1(content);
    case tag.t61String:
      return latin1(content);
    case tag.bmpString: {
      if (content.length % 2 !== 0) throw new PkiError('der_malformed', 'a BMPString of odd length');
      return Buffer.from(content).swap16().toString('utf16le');
    }
    default:
      throw new PkiError('der_malformed', 'a value that is not a string');
  }
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
    .replace(/^[ #]/, '\\$&')
    .replace(/ $/, '\\ ');
}

/**
 * Reads the text form: least significant RDN first, `CN=laptop,O=Example`; quoted values as in RFC 2253 are taken too.
 *
 * @throws PkiError `name_malformed` naming the place.
 */
export function nameFromString(text: string): Name {
  const rdns: AttributeTypeAndValue[][] = [];
  let rdn: AttributeTypeAndValue[] = [];
  let at = 0;
  const fail = (what: string) => new PkiError('name_malformed', `“${text}”, character ${at + 1}: ${what}`);
  while (at < text.length) {
    const type = /^\s*([A-Za-z][A-Za-z0-9-]*|\d+(?:\.\d+)+)\s*=\s*/.exec(text.slice(at));
    if (type === null) throw fail('expected an attribute such as CN=');
    const keyword = (type[1] as string).toUpperCase();
    const identifier = /^\d/.test(keyword) ? keyword : oidByKeyword.get(keyword);
    if (identifier === undefined) throw fail(`unknown attribute ${keyword}`);
    at += type[0].length;
    const value = readValue(text, at);
    if (value === undefined) throw fail('a quote or an escape that does not end');
    if (value.text === '') throw fail('an empty value');
    rdn.push({ oid: identifier, value: value.text });
    at = value.end;
    const separator = text[at];
    if (separator !== '+') {
      rdns.unshift(rdn);
      rdn = [];
    }
    if (separator === undefined) return buildName(rdns);
    at += 1;
    if (at >= text.length) throw fail('the name ends with a separator');
  }
  return buildName(rdns);
}

/** A value from `start` to the next separator outside quotes and escapes. */
function readValue(text: string, start: number): { readonly text: string; readonly end: number } | undefined {
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
        if (pair === '') return undefined;
        octets.push(...Buffer.from(pair[0] as string, 'utf8'));
        at += 2;
      }
      significantLength = octets.length;
      continue;
    }
    octets.push(...Buffer.from(character, 'utf8'));
    if (character !== ' ' || quoted) significantLength = octets.length;
    at += character.length;
  }
  if (quoted) return undefined;
  return { text: Buffer.from(octets.slice(0, significantLength)).toString('utf8'), end: at };
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
 * @throws PkiError `der_malformed`, `der_limit`.
 */
export function parseGeneralNames(bytes: Uint8Array): GeneralName[] {
  return readDer(bytes, tag.sequence, (reader) => {
    const names: GeneralName[] = [];
    while (!reader.done) {
      if (names.length >= GENERAL_NAMES_MAX)
        throw new PkiError('der_limit', `over ${GENERAL_NAMES_MAX} names`);
      names.push(readGeneralName(reader));
    }
    return names;
  });
}

function readGeneralName(reader: DerReader): GeneralName {
  const element = reader.element();
  const text = () => {
    if (element.content.some((octet) => octet >= 0x80))
      throw new PkiError('der_malformed', 'a name that is not ASCII');
    return latin1(element.content);
  };
  switch (element.tag) {
    case 0x81:
      return { type: 'rfc822Name', value: text() };
    case 0x82:
      return { type: 'dNSName', value: text() };
    case 0x86:
      return { type: 'uniformResourceIdentifier', value: text() };
    case 0x87:
      return { type: 'iPAddress', value: ipAddressText(element.content) };
    case 0xa4:
      return { type: 'directoryName', name: parseName(element.content) };
    case 0xa0: {
      const inner = new DerReader(element.content);
      if (inner.oid() === oid.microsoftUserPrincipalName) {
        const value = inner.enter(0xa0);
        inner.end();
        const userPrincipalName = directoryString(value);
        value.end();
        return { type: 'userPrincipalName', value: userPrincipalName };
      }
      return { type: 'other', raw: element.raw };
    }
    default:
      return { type: 'other', raw: element.raw };
  }
}

/** Builds GeneralNames in the order given. */
export function buildGeneralNames(names: readonly GeneralName[]): Uint8Array {
  return sequence(...names.map(buildGeneralName));
}

/** Builds one GeneralName. */
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

function ipAddressText(octets: Uint8Array): string {
  if (octets.length === 4) return octets.join('.');
  if (octets.length !== 16) throw new PkiError('der_malformed', 'an IP address of neither 4 nor 16 octets');
  const groups = (bufferOf(octets).toString('hex').match(/.{4}/g) ?? []).map((group) =>
    group.replace(/^0+(?=.)/, ''),
  );
  return groups.join(':');
}

function ipAddressOctets(text: string): Uint8Array {
  const four = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
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
  if (more.length > 0 || all.length !== 8 || !all.every((group) => /^[0-9A-Fa-f]{1,4}$/.test(group))) {
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
      const value = text.slice(label.length + 1).replaceAll(/\\(.)/g, '$1');
      return { type: type as keyof typeof generalNameLabels, value };
    }
  }
  throw new PkiError('name_malformed', `“${text}”: expected DNS:, email:, URI:, IP: or UPN:`);
}
