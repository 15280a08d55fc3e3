/** Name constraints of a CA (RFC 5280 §4.2.1.10): which names its certificates may bear. */
import { PkiError } from '../errors.ts';
import { contextConstructed, DerReader, der, derOf, readDer, sameOctets, sequence, tag } from './der.ts';
import { type Extended, type Extension, extensionValue } from './extension.ts';
import {
  buildGeneralName,
  type GeneralName,
  ipAddressOctets,
  ipAddressText,
  type Name,
  nameFromString,
  nameToString,
  parseGeneralNames,
} from './name.ts';
import { oid } from './oid.ts';

/** A part of a name space. */
export type GeneralSubtree =
  /** `example.com`: it and all below it; `.example.com`: what is below it alone. */
  | { readonly type: 'dNSName'; readonly value: string }
  /** `a@example.com`: one mailbox; `example.com`: all of one host; `.example.com`: all hosts below it. */
  | { readonly type: 'rfc822Name'; readonly value: string }
  /** 4 or 16 octets, of which the first `prefixBits` bits count. */
  | { readonly type: 'iPAddress'; readonly address: Uint8Array; readonly prefixBits: number }
  /** Names that begin with these RDNs. */
  | { readonly type: 'directoryName'; readonly name: Name }
  /** A kind that is not understood here: every name of that kind is taken for a breach. */
  | { readonly type: 'other'; readonly raw: Uint8Array };

/** Where a CA may and may not name. A kind of name that `permitted` does not mention is free. */
export interface NameConstraints {
  readonly permitted: readonly GeneralSubtree[];
  readonly excluded: readonly GeneralSubtree[];
}

/** More than any CA needs. */
const SUBTREES_MAX = 100;

/**
 * NameConstraints, critical as §4.2.1.10 demands.
 *
 * @throws PkiError `name_malformed` if there is no subtree, or one has a value that its kind cannot hold.
 */
export function nameConstraintsExtension({ permitted, excluded }: NameConstraints): Extension {
  // §4.2.1.10: an empty sequence must not be issued.
  if (permitted.length + excluded.length === 0)
    throw new PkiError('name_malformed', 'name constraints that constrain nothing');
  const subtrees = (place: number, list: readonly GeneralSubtree[]) =>
    list.length === 0
      ? []
      : [
          derOf(
            contextConstructed(place),
            list.map((subtree) => sequence(buildBase(subtree))),
          ),
        ];
  return {
    oid: oid.nameConstraints,
    critical: true,
    value: sequence(...subtrees(0, permitted), ...subtrees(1, excluded)),
  };
}

function buildBase(subtree: GeneralSubtree): Uint8Array {
  switch (subtree.type) {
    case 'iPAddress':
      return der(0x87, subtree.address, maskOf(subtree.address.length, subtree.prefixBits));
    case 'dNSName':
    case 'rfc822Name':
    case 'directoryName':
    case 'other':
      return buildGeneralName(subtree);
  }
}

function maskOf(octets: number, prefixBits: number): Uint8Array {
  return Uint8Array.from({ length: octets }, (_, index) => {
    const bits = Math.min(8, Math.max(0, prefixBits - 8 * index));
    return (0xff << (8 - bits)) & 0xff;
  });
}

/**
 * NameConstraints; `undefined` if absent.
 *
 * @throws PkiError `der_malformed`, also for a distance other than the whole subtree and for a mask with gaps.
 */
export function nameConstraintsOf(extended: Extended): NameConstraints | undefined {
  const value = extensionValue(extended, oid.nameConstraints);
  if (value === undefined) return undefined;
  return readDer(value, tag.sequence, (reader) => {
    const permitted = readSubtrees(reader.enterOptional(contextConstructed(0)));
    const excluded = readSubtrees(reader.enterOptional(contextConstructed(1)));
    if (permitted.length + excluded.length === 0)
      throw new PkiError('der_malformed', 'name constraints that constrain nothing');
    return { permitted, excluded };
  });
}

function readSubtrees(reader: DerReader | undefined): GeneralSubtree[] {
  const subtrees: GeneralSubtree[] = [];
  while (reader !== undefined && !reader.done) {
    if (subtrees.length >= SUBTREES_MAX) throw new PkiError('der_limit', `over ${SUBTREES_MAX} subtrees`);
    const inner = reader.enter(tag.sequence);
    const base = inner.raw();
    // §4.2.1.10: minimum is zero, which DER leaves out, and maximum is absent.
    inner.end();
    subtrees.push(readBase(base));
  }
  return subtrees;
}

function readBase(base: Uint8Array): GeneralSubtree {
  const element = new DerReader(base).element();
  if (element.tag === 0x87) return readRange(element.content);
  const [name] = parseGeneralNames(sequence(base));
  return name?.type === 'dNSName' || name?.type === 'rfc822Name' || name?.type === 'directoryName'
    ? (name as GeneralSubtree)
    : { type: 'other', raw: base };
}

function readRange(octets: Uint8Array): GeneralSubtree {
  if (octets.length !== 8 && octets.length !== 32)
    throw new PkiError('der_malformed', 'an address range of neither 8 nor 32 octets');
  const address = octets.subarray(0, octets.length / 2);
  const mask = octets.subarray(octets.length / 2);
  const prefixBits = [...mask]
    .map((octet) => octet.toString(2).padStart(8, '0'))
    .join('')
    .indexOf('0');
  const bits = prefixBits < 0 ? 8 * mask.length : prefixBits;
  if (!sameOctets(mask, maskOf(mask.length, bits)))
    throw new PkiError('der_malformed', 'an address mask with gaps');
  return { type: 'iPAddress', address, prefixBits: bits };
}

// --- the check ---------------------------------------------------------------------------------------------------------

/**
 * What breaks the constraints (§6.1.3 (b), (c)): the first name of a certificate that is excluded, or whose kind is
 * constrained and that lies in none of the permitted subtrees. `undefined` if nothing does.
 */
export function nameConstraintBreach(
  constraints: NameConstraints,
  { subject, subjectAltName }: { readonly subject: Name; readonly subjectAltName: readonly GeneralName[] },
): string | undefined {
  const names: GeneralName[] = [
    ...subjectAltName,
    ...(subject.rdns.length === 0 ? [] : [{ type: 'directoryName' as const, name: subject }]),
    // §4.2.1.10: constraints on mailboxes bind the emailAddress of the subject too.
    ...subject.rdns
      .flat()
      .filter((attribute) => attribute.oid === oid.emailAddress)
      .map(({ value }) => ({ type: 'rfc822Name' as const, value })),
  ];
  for (const name of names) {
    const text = () => (name.type === 'directoryName' ? nameToString(name.name) : describe(name));
    const excluded = constraints.excluded.find((subtree) => sameKind(subtree, name) && holds(subtree, name));
    if (excluded !== undefined) return `${text()} is excluded by ${generalSubtreeToString(excluded)}`;
    const permitted = constraints.permitted.filter((subtree) => sameKind(subtree, name));
    if (
      permitted.length > 0 &&
      !permitted.some((subtree) => subtree.type !== 'other' && holds(subtree, name))
    )
      return `${text()} is in no permitted name space`;
  }
  return undefined;
}

const tagOf = (name: GeneralName): number => buildGeneralName(name)[0] as number;

function sameKind(subtree: GeneralSubtree, name: GeneralName): boolean {
  return subtree.type === 'other' ? subtree.raw[0] === tagOf(name) : subtree.type === name.type;
}

/** Whether a name of the same kind lies in the subtree; what is not understood is taken to hold every name. */
function holds(subtree: GeneralSubtree, name: GeneralName): boolean {
  if (subtree.type === 'other') return true;
  if (subtree.type === 'dNSName' && name.type === 'dNSName') return holdsHost(subtree.value, name.value);
  if (subtree.type === 'rfc822Name' && name.type === 'rfc822Name')
    return holdsMailbox(subtree.value, name.value);
  if (subtree.type === 'iPAddress' && name.type === 'iPAddress') {
    const address = ipAddressOctets(name.value);
    const mask = maskOf(address.length, subtree.prefixBits);
    return (
      address.length === subtree.address.length &&
      address.every((octet, index) => ((octet ^ (subtree.address[index] ?? 0)) & (mask[index] ?? 0)) === 0)
    );
  }
  return (
    subtree.type === 'directoryName' && name.type === 'directoryName' && holdsName(subtree.name, name.name)
  );
}

function holdsHost(constraint: string, host: string): boolean {
  const [outer, inner] = [constraint.toLowerCase(), host.toLowerCase()];
  if (outer === '' || inner === outer) return true;
  return inner.endsWith(outer.startsWith('.') ? outer : `.${outer}`);
}

function holdsMailbox(constraint: string, mailbox: string): boolean {
  const at = mailbox.lastIndexOf('@');
  const host = mailbox.slice(at + 1).toLowerCase();
  const place = constraint.lastIndexOf('@');
  if (place >= 0) {
    // The part before the @ is the receiver's own and may tell upper case from lower.
    const sameLocal = constraint.slice(0, place) === mailbox.slice(0, Math.max(0, at));
    return sameLocal && constraint.slice(place + 1).toLowerCase() === host;
  }
  const outer = constraint.toLowerCase();
  return outer.startsWith('.') ? host.endsWith(outer) : host === outer;
}

/** §7.1: values are compared without regard to case and to the number of spaces. */
const folded = (value: string): string =>
  value.normalize('NFKC').trim().replaceAll(/\s+/g, ' ').toLowerCase();

function holdsName(outer: Name, inner: Name): boolean {
  return outer.rdns.every((rdn, index) => {
    const other = inner.rdns[index] ?? [];
    return (
      rdn.length === other.length &&
      rdn.every(({ oid: type, value }) =>
        other.some((attribute) => attribute.oid === type && folded(attribute.value) === folded(value)),
      )
    );
  });
}

// --- text --------------------------------------------------------------------------------------------------------------

const labels = { dNSName: 'DNS', rfc822Name: 'email' } as const;

function describe(name: GeneralName): string {
  return 'value' in name ? name.value : `a name of kind ${name.type}`;
}

/** A subtree as people write it: `DNS:example.com`, `email:.example.com`, `IP:10.0.0.0/8`, `DN:O=Example`. */
export function generalSubtreeToString(subtree: GeneralSubtree): string {
  switch (subtree.type) {
    case 'dNSName':
    case 'rfc822Name':
      return `${labels[subtree.type]}:${subtree.value}`;
    case 'iPAddress':
      return `IP:${ipAddressText(subtree.address)}/${subtree.prefixBits}`;
    case 'directoryName':
      return `DN:${nameToString(subtree.name)}`;
    case 'other':
      return 'a name space of another kind';
  }
}

/**
 * Reads the form of `generalSubtreeToString`.
 *
 * @throws PkiError `name_malformed`.
 */
export function generalSubtreeFromString(text: string): GeneralSubtree {
  const [, label, value = ''] = /^(DNS|email|IP|DN):(.+)$/s.exec(text) ?? [];
  switch (label) {
    case 'DNS':
      if (!/^\.?([A-Za-z0-9_-]+\.)*[A-Za-z0-9_-]+$/.test(value)) break;
      return { type: 'dNSName', value };
    case 'email':
      if (!/^([^\s@]+@)?\.?([A-Za-z0-9-]+\.)*[A-Za-z0-9-]+$/.test(value)) break;
      return { type: 'rfc822Name', value };
    case 'IP': {
      const [, range = '', bits] = /^([^/]+)\/(\d{1,3})$/.exec(value) ?? [];
      const address = ipAddressOctets(range);
      const prefixBits = Number(bits);
      if (!(prefixBits <= 8 * address.length)) break;
      const mask = maskOf(address.length, prefixBits);
      // What lies beyond the prefix would be forgotten: 10.1.2.3/8 is a slip of the pen.
      if (address.some((octet, index) => (octet & ~(mask[index] ?? 0) & 0xff) !== 0)) break;
      return { type: 'iPAddress', address, prefixBits };
    }
    case 'DN':
      return { type: 'directoryName', name: nameFromString(value) };
  }
  throw new PkiError(
    'name_malformed',
    `“${text}” is no name space: DNS:example.com, email:example.com, IP:10.0.0.0/8 or DN:O=Example`,
  );
}
