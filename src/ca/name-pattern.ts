/** Patterns for names in subjectAltName: anchored at both ends, with stars that know what a label is, never a regular expression. */
import { ipAddressOctets } from '../codec/index.ts';
import { PkiError } from '../errors.ts';

/** Kinds of identities a template may let into subjectAltName. */
export const subjectAltNameTypes = [
  'dNSName',
  'rfc822Name',
  'uniformResourceIdentifier',
  'iPAddress',
  'userPrincipalName',
] as const;

/** One of them. */
export type SubjectAltNameType = (typeof subjectAltNameTypes)[number];

/** A pattern. */
export interface NamePattern {
  /** As it was written. */
  readonly text: string;
  /** Whether it covers the whole of a value. */
  readonly matches: (value: string) => boolean;
}

/** Names are short; what is longer is matched by nothing. A URI with a long path is the longest. */
const VALUE_CHARACTERS_MAX = 2048;
const PATTERN_CHARACTERS_MAX = 255;

/**
 * Reads a pattern. It covers the whole value, and letters of either case are the same but in a URI.
 *
 * - `dNSName`: labels by labels. `*` is one or more letters, digits, hyphens or underscores within one label; `**` as the
 *   first label is one or more labels. No star matches a wildcard name: `\*` as the first label does, and nothing else.
 * - `rfc822Name`, `userPrincipalName`: `local@domain`, the domain as above; `*` in the local part is any run of characters
 *   but `@`, quotes, spaces and control characters.
 * - `uniformResourceIdentifier`: `*` is a run of RFC 3986's unreserved characters (letters, digits, `-._~`), so that it
 *   crosses neither a slash nor a colon, `@`, `?` or `#`.
 * - `iPAddress`: an address, or a block as `192.0.2.0/24` or `2001:db8::/32`.
 *
 * @returns the pattern, or what is wrong with the text.
 */
export function namePatternOf(
  type: SubjectAltNameType,
  text: string,
): { readonly pattern: NamePattern } | { readonly fault: string } {
  if (text === '' || text.length > PATTERN_CHARACTERS_MAX)
    return { fault: `1 to ${PATTERN_CHARACTERS_MAX} characters` };
  const read = readers[type](text);
  if (typeof read === 'string') return { fault: read };
  return {
    pattern: { text, matches: (value) => value.length <= VALUE_CHARACTERS_MAX && read(value) },
  };
}

/** Answers what tells whether a value fits, or what is wrong with the text. */
type Reader = (text: string) => Matcher | string;
type Matcher = NamePattern['matches'];

const readers: Readonly<Record<SubjectAltNameType, Reader>> = {
  dNSName: domainPattern,
  rfc822Name: mailboxPattern,
  userPrincipalName: mailboxPattern,
  uniformResourceIdentifier: (text) => {
    if (!/^[\x21-\x7e]+$/.test(text)) return 'a URI is printable ASCII';
    // RFC 3986 §3.1: a scheme is what a reader goes by; it must not be the requester's choice.
    if (!/^[A-Za-z][A-Za-z0-9+.-]*:/.test(text)) return 'begin with a scheme and a colon';
    if (text.includes('**')) return 'one star at a place';
    const parts = text.split('*');
    return (value) => matchesGlob(parts, value, isUnreserved);
  },
  iPAddress: addressPattern,
};

const isUnreserved = (character: string): boolean => /^[A-Za-z0-9._~-]$/.test(character);
const isLabelCharacter = (character: string): boolean => /^[a-z0-9_-]$/.test(character);
const isLocalCharacter = (character: string): boolean => !/^[\p{C}\p{Z}@"<>(),;:\\[\]*]$/u.test(character);

function domainPattern(text: string): Matcher | string {
  const wanted = text.toLowerCase().split('.');
  if (!wanted.every((label, place) => isLabelPattern(label, place, wanted.length)))
    return 'labels of letters, digits, hyphens and stars, with ** or \\* only as the first of several';
  const [first = '', ...rest] = wanted;
  const globs = rest.map((label) => label.split('*'));
  return (value) => {
    const labels = value.toLowerCase().split('.');
    const inFront = labels.length - rest.length;
    const head = labels.slice(0, inFront);
    const tail = labels.slice(inFront);
    if (inFront < 1 || (inFront > 1 && first !== '**')) return false;
    const begins =
      first === '**'
        ? head.every((label) => matchesGlob(['', ''], label, isLabelCharacter))
        : first === '\\*'
          ? head[0] === '*'
          : matchesGlob(first.split('*'), head[0] ?? '', isLabelCharacter);
    return begins && globs.every((glob, place) => matchesGlob(glob, tail[place] ?? '', isLabelCharacter));
  };
}

function isLabelPattern(label: string, place: number, count: number): boolean {
  if (label === '**' || label === '\\*') return place === 0 && count > 1;
  return /^[a-z0-9_*-]{1,63}$/.test(label) && !label.includes('**');
}

function mailboxPattern(text: string): Matcher | string {
  const at = text.indexOf('@');
  const local = text.slice(0, at).toLowerCase();
  if (at < 1 || [...local].some((character) => character !== '*' && !isLocalCharacter(character)))
    return 'a local part, an @ and a domain';
  if (local.includes('**')) return 'one star at a place';
  const domain = domainPattern(text.slice(at + 1));
  if (typeof domain === 'string') return domain;
  const parts = local.split('*');
  return (value) => {
    const place = value.indexOf('@');
    return (
      place > 0 &&
      matchesGlob(parts, value.slice(0, place).toLowerCase(), isLocalCharacter) &&
      domain(value.slice(place + 1))
    );
  };
}

/**
 * Whether a text is these parts with a run of one or more characters of a class between each two of them.
 *
 * The parts are looked for from the left, each at the first place where it fits: the usual way for globs, with work that
 * grows with the product of both lengths at worst.
 */
function matchesGlob(
  parts: readonly string[],
  text: string,
  isOfClass: (character: string) => boolean,
): boolean {
  const [first = '', ...more] = parts;
  if (more.length === 0) return text === first;
  if (!text.startsWith(first)) return false;
  let at = first.length;
  for (const [index, part] of more.entries()) {
    const last = index === more.length - 1;
    const found = last ? Math.max(text.length - part.length, at + 1) : text.indexOf(part, at + 1);
    if (found < 0 || text.slice(found, found + part.length) !== part) return false;
    if (last && found + part.length !== text.length) return false;
    const run = text.slice(at, found);
    // A part that fits further right would make the run longer, never other: what is in it now would still be in it.
    if (run === '' || ![...run].every(isOfClass)) return false;
    at = found + part.length;
  }
  return true;
}

function addressPattern(text: string): Matcher | string {
  const [address = '', prefix, ...more] = text.split('/');
  const wanted = addressBits(address);
  const length =
    prefix === undefined ? wanted?.length : /^\d{1,3}$/.test(prefix) ? Number(prefix) : undefined;
  if (wanted === undefined || length === undefined || length > wanted.length || more.length > 0)
    return 'an address, or a block such as 192.0.2.0/24';
  if (/1/.test(wanted.slice(length))) return `the block of ${address} begins elsewhere`;
  return (value) => {
    const bits = addressBits(value);
    return bits?.length === wanted.length && bits.slice(0, length) === wanted.slice(0, length);
  };
}

/** The bits of an address, one character each; `undefined` if it is none. */
function addressBits(text: string): string | undefined {
  try {
    return [...ipAddressOctets(text)].map((octet) => octet.toString(2).padStart(8, '0')).join('');
  } catch (cause) {
    if (cause instanceof PkiError) return undefined;
    throw cause;
  }
}
