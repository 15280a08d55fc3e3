/** Certificate revocation lists (RFC 5280 §5). */
import { PkiError } from '../errors.ts';
import {
  type AlgorithmIdentifier,
  publicKeyOf,
  readAlgorithmIdentifier,
  type SignatureAlgorithmName,
  signatureAlgorithmIdentifier,
  signatureAlgorithmOf,
  verifySignature,
} from './algorithm.ts';
import { buildSerialNumber, buildSigned, type Sign, sameAlgorithm, serialNumberText } from './certificate.ts';
import { contextConstructed, DerReader, der, derOf, integer, sequence, tag, time } from './der.ts';
import { buildExtension, buildExtensions, type Extension, readExtensions } from './extension.ts';
import { type Name, parseName } from './name.ts';
import { oid } from './oid.ts';

/** CRLReason values (§5.3.1); 7 is not used. */
export const revocationReasons = {
  unspecified: 0,
  keyCompromise: 1,
  cACompromise: 2,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
  certificateHold: 6,
  privilegeWithdrawn: 9,
  aACompromise: 10,
} as const;

/** Name of a CRLReason. */
export type RevocationReasonName = keyof typeof revocationReasons;

/** One revoked certificate. */
export interface RevokedCertificate {
  /** Lower-case hexadecimal. */
  readonly serialNumber: string;
  readonly revocationDate: Date;
  readonly reason: RevocationReasonName;
}

/** What a CRL is built from. */
export interface CrlFields {
  readonly signatureAlgorithm: SignatureAlgorithmName;
  readonly issuer: Name;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  readonly revoked: Iterable<RevokedCertificate>;
  readonly extensions: readonly Extension[];
}

/** Builds and signs a version 2 CRL. */
export async function buildCrl(fields: CrlFields, sign: Sign): Promise<Uint8Array> {
  const entries: Uint8Array[] = [];
  for (const { serialNumber, revocationDate, reason } of fields.revoked) {
    const parts = [buildSerialNumber(serialNumber), time(revocationDate)];
    // §5.3.1: unspecified is said by leaving the extension out.
    if (reason !== 'unspecified') parts.push(reasonExtensions[reason]);
    entries.push(derOf(tag.sequence, parts));
  }
  const tbs = sequence(
    integer(1),
    signatureAlgorithmIdentifier(fields.signatureAlgorithm),
    fields.issuer.raw,
    time(fields.thisUpdate),
    time(fields.nextUpdate),
    // §5.1.2.6: absent, not empty, when nothing is revoked.
    ...(entries.length === 0 ? [] : [derOf(tag.sequence, entries)]),
    // §5.1.2.7: absent, not empty.
    ...(fields.extensions.length === 0
      ? []
      : [der(contextConstructed(0), buildExtensions(fields.extensions))]),
  );
  return buildSigned(tbs, fields.signatureAlgorithm, await sign(fields.signatureAlgorithm, tbs));
}

/** crlEntryExtensions by reason: the same few octets for every entry. */
const reasonExtensions = Object.fromEntries(
  Object.entries(revocationReasons).map(([name, code]) => {
    const value = der(tag.enumerated, Uint8Array.of(code));
    return [name, sequence(buildExtension({ oid: oid.reasonCode, critical: false, value }))];
  }),
) as Readonly<Record<RevocationReasonName, Uint8Array>>;

/** A parsed CRL; parts are views of `raw`. */
export interface Crl {
  readonly raw: Uint8Array;
  readonly tbsCertList: Uint8Array;
  readonly issuer: Name;
  readonly thisUpdate: Date;
  readonly nextUpdate?: Date;
  readonly revoked: readonly RevokedCertificate[];
  readonly extensions: readonly Extension[];
  readonly signatureAlgorithm: AlgorithmIdentifier;
  readonly signature: Uint8Array;
}

/**
 * Reads one DER CRL that fills `raw`.
 *
 * @throws PkiError `crl_malformed`, with the cause in the message.
 */
export function parseCrl(raw: Uint8Array): Crl {
  try {
    return readCrl(raw);
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause;
    throw new PkiError('crl_malformed', `CRL: ${cause.message}`, { cause });
  }
}

function readCrl(raw: Uint8Array): Crl {
  const outer = new DerReader(raw);
  const list = outer.enter(tag.sequence);
  outer.end();
  const tbsCertList = list.raw(tag.sequence);
  const signatureAlgorithm = readAlgorithmIdentifier(list);
  const signature = list.bitStringOctets();
  list.end();

  const reader = new DerReader(tbsCertList, 1).enter(tag.sequence);
  // §5.1.2.1: extensions are there, so the version is v2(1).
  if (reader.smallInteger() !== 1) throw new PkiError('der_malformed', 'the version is not v2(1)');
  const innerAlgorithm = readAlgorithmIdentifier(reader);
  if (!sameAlgorithm(signatureAlgorithm, innerAlgorithm)) {
    throw new PkiError('der_malformed', 'the two signature algorithms differ');
  }
  const issuer = parseName(reader.raw(tag.sequence));
  const thisUpdate = reader.time();
  const hasNextUpdate = reader.nextTag === tag.utcTime || reader.nextTag === tag.generalizedTime;
  const nextUpdate = hasNextUpdate ? reader.time() : undefined;
  const entries = reader.enterOptional(tag.sequence);
  const revoked: RevokedCertificate[] = [];
  while (entries !== undefined && !entries.done) revoked.push(readEntry(entries.enter(tag.sequence)));
  const wrapper = reader.enterOptional(contextConstructed(0));
  const extensions = wrapper === undefined ? [] : readExtensions(wrapper.enter(tag.sequence));
  wrapper?.end();
  reader.end();
  return {
    raw,
    tbsCertList,
    issuer,
    thisUpdate,
    ...(nextUpdate === undefined ? {} : { nextUpdate }),
    revoked,
    extensions,
    signatureAlgorithm,
    signature,
  };
}

function readEntry(entry: DerReader): RevokedCertificate {
  const serialNumber = serialNumberText(entry.integer());
  const revocationDate = entry.time();
  if (entry.done) return { serialNumber, revocationDate, reason: 'unspecified' };
  const extensions = readExtensions(entry.enter(tag.sequence));
  entry.end();
  let reason: RevocationReasonName = 'unspecified';
  for (const extension of extensions) {
    if (extension.oid === oid.reasonCode) reason = readReason(extension.value);
    // §5.3: a CRL with a critical entry extension that is not understood MUST NOT be used.
    else if (extension.critical)
      throw new PkiError('der_malformed', `an entry with critical extension ${extension.oid}`);
  }
  return { serialNumber, revocationDate, reason };
}

const reasonByCode = new Map(
  Object.entries(revocationReasons).map(([name, code]) => [code as number, name as RevocationReasonName]),
);

function readReason(value: Uint8Array): RevocationReasonName {
  const reader = new DerReader(value);
  const code = reader.content(tag.enumerated);
  reader.end();
  const reason = code.length === 1 ? reasonByCode.get(code[0] as number) : undefined;
  if (reason === undefined) throw new PkiError('der_malformed', 'an unknown CRLReason');
  return reason;
}

/**
 * Whether the key in `issuerSpki` signed the CRL.
 *
 * @throws PkiError `algorithm_unsupported`.
 */
export function verifyCrlSignature(crl: Crl, issuerSpki: Uint8Array): boolean {
  return verifySignature(
    signatureAlgorithmOf(crl.signatureAlgorithm),
    publicKeyOf(issuerSpki),
    crl.tbsCertList,
    crl.signature,
  );
}
