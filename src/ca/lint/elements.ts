/** The elements of certificates and CRLs as they are encoded, where a rule asks for more than the parser keeps. */
import {
  DerReader,
  type Element,
  latin1,
  readAlgorithmIdentifier,
  sameOctets,
  signatureAlgorithmIdentifier,
  signatureAlgorithmOf,
  tag,
} from '../../codec/index.ts';

/** One extension as it is encoded. */
export interface ExtensionElement {
  readonly oid: string;
  /** DER leaves FALSE out, being the default (X.690 §11.5). */
  readonly critical: 'left out' | 'FALSE' | 'TRUE';
  /** DER inside the OCTET STRING. */
  readonly value: Uint8Array;
}

/** Reads Extensions, whatever is in them and however often. Throws PkiError `der_malformed`. */
export function readExtensionElements(reader: DerReader): ExtensionElement[] {
  const extensions: ExtensionElement[] = [];
  while (!reader.done) {
    const inner = reader.enter(tag.sequence);
    const oid = inner.oid();
    const critical = inner.nextTag !== tag.boolean ? 'left out' : inner.boolean() ? 'TRUE' : 'FALSE';
    extensions.push({ oid, critical, value: inner.octetString() });
    inner.end();
  }
  return extensions;
}

/** What is wrong with a list of extensions: RFC 5280 §4.2 and §5.2 say the same of it. */
export function faultOfExtensions(extensions: readonly ExtensionElement[]): string | undefined {
  if (extensions.length === 0) return 'an empty list of extensions';
  for (const [index, { oid, critical }] of extensions.entries()) {
    if (critical === 'FALSE') return `extension ${oid} spells out that it is not critical`;
    for (let other = 0; other < index; other += 1)
      if (extensions[other]?.oid === oid) return `extension ${oid} occurs twice`;
  }
  return undefined;
}

/** What is wrong with a time: RFC 5280 §4.1.2.5 and §5.1.2.4 to §5.1.2.6 say the same of it. */
export function faultOfTime(name: string, { tag: tagOctet, content }: Element): string | undefined {
  const text = latin1(content);
  if (tagOctet === tag.utcTime)
    return /^\d{12}Z$/.test(text) ? undefined : `${name} is not of the form YYMMDDHHMMSSZ`;
  if (tagOctet !== tag.generalizedTime || !/^\d{14}Z$/.test(text))
    return `${name} is not of the form YYYYMMDDHHMMSSZ`;
  return text < '2050' ? `${name} lies before 2050 and is no UTCTime` : undefined;
}

/** What is wrong with the algorithm of a signature, inside and outside of what is signed. */
export function faultOfSignatureAlgorithm(
  inner: Uint8Array,
  outer: Uint8Array,
  issuerKey: 'rsa' | 'ec' | 'other',
): string | undefined {
  if (!sameOctets(inner, outer)) return 'the two signature algorithms differ';
  const row = signatureAlgorithmOf(readAlgorithmIdentifier(new DerReader(inner)));
  if (!sameOctets(inner, signatureAlgorithmIdentifier(row.name)))
    return row.keyType === 'rsa' ? 'RSA without its NULL parameters' : 'ECDSA with parameters';
  return row.keyType === issuerKey ? undefined : `${row.name} is not made with the issuer’s key`;
}

/** Whether a signature is over SHA-1. Throws PkiError `algorithm_unsupported` for what is weaker still. */
export function isOverSha1(algorithm: Uint8Array): boolean {
  return signatureAlgorithmOf(readAlgorithmIdentifier(new DerReader(algorithm))).digest === 'sha1';
}
