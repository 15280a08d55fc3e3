/** Renewal: whether a certificate that a device has already speaks for its request. */
import type { CertificateAuthority, CertificateTemplate } from '../ca/index.ts';
import {
  buildName,
  type Certificate,
  type CertificationRequest,
  generalNamesToString,
  type Name,
  nameToString,
  sameOctets,
  securityIdentifierOf,
  subjectAltNameOf,
} from '../codec/index.ts';
import { type ErrorCode, PkiError } from '../errors.ts';
import type { CertificateRecord } from '../store/index.ts';
import type { EnrolmentPolicy, RenewalPolicy } from './policy.ts';
import type { EnrolmentRequest, Verdict } from './validator.ts';

/** A certificate that may be renewed by a request. */
export interface Renewal {
  readonly policy: RenewalPolicy;
  /** The old certificate as the store knows it, and its content: from there, and not from the request. */
  readonly record: CertificateRecord;
  readonly certificate: Certificate;
}

/** A no, with its reason. */
export interface NoRenewal {
  readonly code: ErrorCode;
  readonly detail: string;
}

/**
 * Whether the request renews a certificate. `undefined`: it is an enrolment like any other, for which the validators
 * alone decide; so is a PKCSReq that is signed with the certificate of another CA.
 *
 * One that is signed with a certificate in this CA's name is a renewal where the endpoint renews, and nothing else: if the
 * certificate does not hold, a challenge does not help (RFC 8894 §2.3: client authentication by a certificate that the
 * CA has issued).
 *
 * @throws PkiError `store_unavailable`.
 */
export async function judgeRenewal(
  ca: CertificateAuthority,
  policy: EnrolmentPolicy,
  request: EnrolmentRequest,
  now: Date,
): Promise<Renewal | NoRenewal | undefined> {
  const { signer, asked } = request.renews ?? {};
  if (signer === undefined) return undefined;
  const { renewal } = policy;
  if (renewal === undefined)
    return asked === 'expressly' ? no('renewal_denied', 'the endpoint does not renew') : undefined;
  const names = namesakes(ca, policy.issuer, signer.issuer);
  if (names.length === 0 && asked === 'implicitly') return undefined;

  const record = await ownRecord(ca, names, signer);
  if (record === undefined) return no('renewal_foreign', `not a certificate of “${policy.issuer}”`);
  const fault = faultOf(record, now);
  if (fault !== undefined) return fault;
  const template = ca.template(policy.template);
  if (record.template !== template.name)
    return no('renewal_template', `${record.serialNumber} is of template “${record.template}”`);
  const windowMs = renewal.windowMs ?? template.renewalPeriodMs;
  const opensAt = new Date(record.notAfter.getTime() - windowMs);
  if (now < opensAt)
    return no('renewal_early', `${record.serialNumber} can be renewed from ${opensAt.toISOString()}`);
  if (renewal.key === 'changed' && sameOctets(request.csr.spki, signer.spki))
    return no('renewal_same_key', `the request has the key of ${record.serialNumber}`);
  return judgeNames(template, request.csr, { policy: renewal, record, certificate: signer });
}

function judgeNames(
  template: CertificateTemplate,
  csr: CertificationRequest,
  renewal: Renewal,
): Renewal | NoRenewal {
  if (renewal.policy.names === 'asEnrolled') return renewal;
  try {
    return asksOtherNames(template, csr, renewal.certificate)
      ? no('renewal_names', `asked for ${nameToString(csr.subject)}; ${sanText(csr)}`)
      : renewal;
  } catch (cause) {
    if (!(cause instanceof PkiError) || cause.kind !== 'malformed') throw cause;
    return no(cause.code, cause.message);
  }
}

/**
 * The template that a renewal is decided by: names that stay as they were come from the old certificate, as others come
 * from the directory, and not from the request.
 */
export function templateFor(
  template: CertificateTemplate,
  renewal: Renewal | undefined,
): CertificateTemplate {
  if (renewal?.policy.names !== 'asBefore') return template;
  const { subjectFrom, subjectAltNameFrom } = template;
  return {
    ...template,
    subjectFrom: subjectFrom === 'fixed' ? 'fixed' : 'directory',
    subjectAltNameFrom: subjectAltNameFrom === 'fixed' ? 'fixed' : 'directory',
  };
}

/** What the old certificate says for the request: the RA has vouched for its names before, and knows its device. */
export function verdictOf({ record, certificate, policy }: Renewal): Verdict {
  const securityIdentifier = securityIdentifierOf(certificate);
  return {
    verdict: 'accept',
    // It speaks for the names that it has, and not for others.
    names: policy.names === 'asBefore' ? 'vouched' : 'claimed',
    directory: {
      subject: certificate.subject,
      subjectAltName: subjectAltNameOf(certificate),
      ...(securityIdentifier === undefined ? {} : { securityIdentifier }),
    },
    ...(record.device === '' ? {} : { device: record.device }),
  };
}

/**
 * Whether `certificate` is one that a CA by the name of the endpoint's has issued, and holds now: proof of who asks.
 *
 * @throws PkiError `store_unavailable`.
 */
export async function isOwnAndGood(
  ca: CertificateAuthority,
  issuer: string,
  certificate: Certificate,
  now: Date,
): Promise<boolean> {
  const record = await ownRecord(ca, namesakes(ca, issuer, certificate.issuer), certificate);
  return record !== undefined && faultOf(record, now) === undefined;
}

/**
 * The endpoint's CA and those of the same subject, if that is `name`: after a renewal with a new key the CA goes on under
 * a second entry of the configuration, and what the first one issued is still its own (RFC 5280 §3.2: a name is a CA).
 */
export function namesakes(ca: CertificateAuthority, issuer: string, name: Name): readonly string[] {
  const subject = ca.issuer(issuer).certificate.subject.raw;
  if (!sameOctets(subject, name.raw)) return [];
  return ca.issuers
    .filter(({ certificate }) => sameOctets(certificate.subject.raw, subject))
    .map((namesake) => namesake.name);
}

/** What is on record of a certificate, octet for octet: whatever else bears our name and such a number is forged. */
async function ownRecord(
  ca: CertificateAuthority,
  issuers: readonly string[],
  certificate: Certificate,
): Promise<CertificateRecord | undefined> {
  for (const issuer of issuers) {
    const record = await ca.certificate(issuer, certificate.serialNumber);
    if (record?.certificate !== undefined && sameOctets(record.certificate, certificate.raw)) return record;
  }
  return undefined;
}

function faultOf(record: CertificateRecord, now: Date): NoRenewal | undefined {
  const { serialNumber, status, revocationReason, notBefore, notAfter } = record;
  if (status !== 'issued')
    return revocationReason === 'certificateHold'
      ? no('renewal_held', `${serialNumber} is on hold`)
      : no('renewal_revoked', `${serialNumber} is ${status}: ${revocationReason ?? 'no reason'}`);
  if (now < notBefore || now >= notAfter)
    return no(
      'renewal_expired',
      `${serialNumber} is valid from ${notBefore.toISOString()} to ${notAfter.toISOString()}`,
    );
  return undefined;
}

/**
 * Whether the request names somebody else. A part that it leaves out stays as it was; what the template drops from every
 * request, and what it takes from elsewhere, is not asked.
 */
function asksOtherNames(
  { subjectFrom, subjectAttributes, subjectAltNameFrom }: CertificateTemplate,
  csr: CertificationRequest,
  old: Certificate,
): boolean {
  const given = csr.subject.rdns.map((rdn) => rdn.filter(({ oid }) => subjectAttributes.includes(oid)));
  const subject = nameToString(buildName(given.filter((rdn) => rdn.length > 0)));
  if (subjectFrom === 'request' && subject !== '' && subject !== nameToString(old.subject)) return true;
  const asked = subjectAltNameOf(csr);
  return subjectAltNameFrom === 'request' && asked.length > 0 && sanText(csr) !== sanText(old);
}

/** In an order of its own: the order of names says nothing. */
function sanText(extended: Pick<CertificationRequest, 'extensions'>): string {
  return subjectAltNameOf(extended)
    .map((name) => generalNamesToString([name]))
    .sort()
    .join(', ');
}

function no(code: ErrorCode, detail: string): NoRenewal {
  return { code, detail };
}
