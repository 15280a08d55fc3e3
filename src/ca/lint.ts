/** The rules that a certificate must keep before it is signed. */
import {
  authorityKeyIdentifierOf,
  basicConstraintsOf,
  type Certificate,
  extensionValue,
  extKeyUsageOf,
  keyUsageOf,
  nullValue,
  oid,
  parseCertificate,
  parsePublicKeyInfo,
  readAlgorithmIdentifier,
  readDer,
  sameOctets,
  serialNumberText,
  subjectAltNameOf,
  subjectKeyIdentifierOf,
  tag,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';

/** One rule: a name, where it stands, and what breaks it. */
interface Rule {
  readonly name: string;
  readonly citation: string;
  /** The finding, or `undefined` if the rule is kept. */
  readonly check: (certificate: Certificate, issuer: Certificate) => string | undefined;
}

const rules: readonly Rule[] = [
  {
    name: 'serial_number',
    citation: 'RFC 5280 §4.1.2.2: positive and at most 20 octets; CA practice: at least 64 random bits',
    check: ({ serialNumber }) => {
      if (serialNumber.startsWith('-')) return 'the serial number is negative';
      // An octet of zeros goes before a first octet from 80 on, and it counts.
      const octets =
        serialNumber.length / 2 + (Number.parseInt(serialNumber.slice(0, 2), 16) >= 0x80 ? 1 : 0);
      return octets < 9 || octets > 20 ? `the serial number has ${octets} octets` : undefined;
    },
  },
  {
    name: 'issuer_matches',
    citation:
      'RFC 5280 §4.1.2.4, §6.1.3 (a)(4): the issuer is the subject of the issuing certificate, octet for octet',
    check: (certificate, issuer) =>
      sameOctets(certificate.issuer.raw, issuer.subject.raw)
        ? undefined
        : 'the issuer is not the CA’s subject',
  },
  {
    name: 'validity',
    citation: 'RFC 5280 §4.1.2.5; a certificate does not outlive its issuer',
    check: (certificate, issuer) => {
      if (certificate.notBefore >= certificate.notAfter) return 'notBefore is not before notAfter';
      if (certificate.notAfter > issuer.notAfter) return 'notAfter is after the issuer’s';
      return undefined;
    },
  },
  {
    name: 'public_key',
    citation: 'RFC 3279 §2.3.1, RFC 5480 §2.1.1: NULL parameters with RSA, a named curve with EC',
    check: ({ spki }) => {
      const { oid: algorithm, parameters } = readDer(spki, tag.sequence, (reader) => {
        const identifier = readAlgorithmIdentifier(reader);
        reader.bitStringOctets();
        return identifier;
      });
      if (algorithm === oid.rsaEncryption)
        return parameters !== undefined && sameOctets(parameters, nullValue)
          ? undefined
          : 'an RSA key with parameters other than NULL';
      return parsePublicKeyInfo(spki).type === 'other' ? `a key of type ${algorithm}` : undefined;
    },
  },
  {
    name: 'subject_or_alternative',
    citation: 'RFC 5280 §4.1.2.6: an empty subject needs a critical subjectAltName',
    check: (certificate) => {
      if (certificate.subject.rdns.length > 0) return undefined;
      const extension = certificate.extensions.find((candidate) => candidate.oid === oid.subjectAltName);
      return extension?.critical === true ? undefined : 'no subject and no critical subjectAltName';
    },
  },
  {
    name: 'name_lengths',
    citation:
      'RFC 5280 appendix A.1: upper bounds (common name 64, organisation 64, unit 64, country 2); no control characters',
    check: (certificate) => {
      const bounds: Readonly<Record<string, number>> = {
        [oid.commonName]: 64,
        [oid.organizationName]: 64,
        [oid.organizationalUnitName]: 64,
        [oid.localityName]: 128,
        [oid.stateOrProvinceName]: 128,
        [oid.serialNumber]: 64,
      };
      for (const { oid: type, value } of certificate.subject.rdns.flat()) {
        const bound = bounds[type];
        if (value === '') return `attribute ${type} is empty`;
        if (controlCharacter.test(value)) return `attribute ${type} has a control character`;
        if (bound !== undefined && [...value].length > bound)
          return `attribute ${type} is longer than ${bound}`;
        if (type === oid.countryName && !/^[A-Z]{2}$/.test(value))
          return 'the country is not two capital letters';
      }
      return undefined;
    },
  },
  {
    name: 'alternative_names',
    citation: 'RFC 5280 §4.2.1.6: at least one name; DNS names in the preferred syntax',
    check: (certificate) => {
      const names = subjectAltNameOf(certificate);
      if (names.length === 0 && extensionValue(certificate, oid.subjectAltName) !== undefined)
        return 'no name at all';
      for (const name of names) {
        if (name.type === 'dNSName' && !isDnsName(name.value)) return `“${name.value}” is not a DNS name`;
        if (name.type === 'rfc822Name' && !/^[^@\s]+@[^@\s]+$/.test(name.value))
          return `“${name.value}” is no mailbox`;
        if (name.type === 'uniformResourceIdentifier' && !/^[A-Za-z][A-Za-z0-9+.-]*:./.test(name.value)) {
          return `“${name.value}” is not an absolute URI`;
        }
        // Nothing gives it a form; what follows a NUL or a line feed is read by some and not by others.
        if (name.type === 'userPrincipalName' && (controlCharacter.test(name.value) || name.value === ''))
          return 'the user principal name is empty or has a control character';
      }
      return undefined;
    },
  },
  {
    name: 'key_identifiers',
    citation: 'RFC 5280 §4.2.1.1, §4.2.1.2: the authority’s identifier is the issuer’s',
    check: (certificate, issuer) => {
      const authority = authorityKeyIdentifierOf(certificate);
      const expected = subjectKeyIdentifierOf(issuer);
      if (authority === undefined || expected === undefined) return 'a key identifier is missing';
      if (subjectKeyIdentifierOf(certificate) === undefined) return 'the subject key identifier is missing';
      return sameOctets(authority, expected) ? undefined : 'the authority key identifier is not the issuer’s';
    },
  },
  {
    name: 'basic_constraints',
    citation: 'RFC 5280 §4.2.1.9: keyCertSign and cA go together; a template never makes a CA',
    check: (certificate) => {
      const constraints = basicConstraintsOf(certificate);
      if (constraints === undefined) return 'basicConstraints is missing';
      return constraints.ca ? 'cA is TRUE' : undefined;
    },
  },
  {
    name: 'key_usage',
    citation:
      'RFC 5280 §4.2.1.3: at least one bit; CA bits belong to CAs. RFC 8813 §3: bits that fit the key',
    check: (certificate) => {
      const usage = keyUsageOf(certificate) ?? [];
      if (usage.length === 0) return 'keyUsage is empty';
      if (usage.some((bit) => bit === 'keyCertSign' || bit === 'cRLSign')) return 'a CA bit is set';
      const enciphers = usage.some((bit) => bit === 'keyEncipherment' || bit === 'dataEncipherment');
      return enciphers && parsePublicKeyInfo(certificate.spki).type === 'ec'
        ? 'a key on an elliptic curve enciphers nothing'
        : undefined;
    },
  },
  {
    name: 'extended_key_usage',
    citation: 'RFC 5280 §4.2.1.12: named purposes, never anyExtendedKeyUsage',
    check: (certificate) => {
      const purposes = extKeyUsageOf(certificate) ?? [];
      if (purposes.length === 0) return 'extKeyUsage is missing';
      return purposes.includes(oid.anyExtendedKeyUsage) ? 'anyExtendedKeyUsage is listed' : undefined;
    },
  },
  {
    name: 'revocation_pointer',
    citation: 'RFC 5280 §4.2.1.13: whoever relies on a certificate must find its CRL',
    check: (certificate) =>
      extensionValue(certificate, oid.cRLDistributionPoints) === undefined
        ? 'no CRL distribution point'
        : undefined,
  },
];

/** NUL, line feeds, escape sequences: whoever shows or compares a name reads them in a way of their own. */
const controlCharacter = /\p{Cc}/u;

/** Letters, digits, hyphens, and one star as the whole first label (RFC 5890 §2.3.1, RFC 9525 §6.3). */
function isDnsName(text: string): boolean {
  const labels = text.split('.');
  const [first, ...rest] = labels;
  const isLabel = (label: string) => /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/.test(label);
  return (
    text.length <= 253 && (first === '*' ? rest.length > 1 : isLabel(first ?? '')) && rest.every(isLabel)
  );
}

/**
 * Checks a TBSCertificate that is about to be signed, by reading it back as any relying party would.
 *
 * @param tbsCertificate the octets to be signed
 * @param dummy completes the TBSCertificate to a certificate with a signature that means nothing
 * @throws PkiError `lint_failed` naming the rule and its citation.
 */
export function lintBeforeSigning(
  tbsCertificate: Uint8Array,
  dummy: (tbsCertificate: Uint8Array) => Uint8Array,
  issuer: Certificate,
): void {
  const certificate = readBack('readable', () => parseCertificate(dummy(tbsCertificate)));
  for (const rule of rules) {
    const finding = readBack(rule.name, () => rule.check(certificate, issuer));
    if (finding !== undefined)
      throw new PkiError('lint_failed', `${rule.name}: ${finding} (${rule.citation})`);
  }
}

/** What a relying party could not even read has failed too. */
function readBack<T>(rule: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause;
    throw new PkiError('lint_failed', `${rule}: ${cause.message}`, { cause });
  }
}

/** Serial number text for a fresh random serial: 16 octets, the first between 40 and 7f. */
export function serialNumberFrom(random: Uint8Array): string {
  const octets = Uint8Array.from(random);
  octets[0] = ((octets[0] as number) & 0x3f) | 0x40;
  return serialNumberText(octets);
}
