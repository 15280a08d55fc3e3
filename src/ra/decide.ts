/** The one decision point: from a request and what the validators said to a yes, a no or a question to a person. Pure. */
import { type CertificateTemplate, judgeKey, judgeNames } from '../ca/index.ts';
import {
  buildName,
  type CertificationRequest,
  extKeyUsageOf,
  type GeneralName,
  generalNamesToString,
  type KeyUsage,
  keyUsageOf,
  type Name,
  nameToString,
  oid,
  subjectAltNameOf,
  verifyCertificationRequest,
} from '../codec/index.ts';
import { type ErrorCode, PkiError } from '../errors.ts';
import type { DirectoryEntry, Verdict } from './validator.ts';

/** What a certificate may say, as it was made of a request and of what the validators said. */
export interface Approvable {
  readonly subject: Name;
  readonly subjectAltName: readonly GeneralName[];
  readonly securityIdentifier?: string;
  readonly keyUsage?: readonly KeyUsage[];
  readonly extKeyUsage?: readonly string[];
  readonly device: string;
  /**
   * What the request asked for beyond the template and does not get: extensions, bits of keyUsage, attributes of the
   * subject, names that the template takes from elsewhere; for the log.
   */
  readonly ignored: readonly string[];
}

/** What was decided. */
export type Decision =
  | ({ readonly decision: 'approve' } & Approvable)
  /** Nothing speaks against it, and a certificate manager has to say yes. */
  | ({ readonly decision: 'hold' } & Approvable)
  | { readonly decision: 'refuse'; readonly code: ErrorCode; readonly detail: string }
  /** A validator could not be asked: nothing was decided, and the device may try again. */
  | { readonly decision: 'postpone'; readonly detail: string };

/** Extensions of a request that are read; everything else in it is dropped. */
const readExtensions: readonly string[] = [oid.subjectAltName, oid.keyUsage, oid.extKeyUsage];

/**
 * Decides. Default deny: there must be a verdict, every verdict must accept, and what is asked must lie within the
 * template. Checks combine with AND; the first that fails gives the reason. A request with a part that cannot be read
 * is refused with the code of what is wrong with it. What a person has to approve is held, and only when all else is
 * well: nobody is asked about what could not be issued.
 */
export function decide(
  template: CertificateTemplate,
  csr: CertificationRequest,
  verdicts: readonly Verdict[],
): Decision {
  try {
    return decideReadable(template, csr, verdicts);
  } catch (cause) {
    if (!(cause instanceof PkiError) || cause.kind !== 'malformed') throw cause;
    return refuse(cause.code, cause.message);
  }
}

function decideReadable(
  template: CertificateTemplate,
  csr: CertificationRequest,
  verdicts: readonly Verdict[],
): Decision {
  const refusal = verdicts.find((verdict) => verdict.verdict === 'refuse');
  if (refusal !== undefined) return refuse(refusal.code, refusal.detail);
  const unreachable = verdicts.find((verdict) => verdict.verdict === 'unreachable');
  if (unreachable !== undefined) return { decision: 'postpone', detail: unreachable.detail };
  const devices = verdicts.flatMap((verdict) => (verdict.verdict === 'accept' ? [verdict.device] : []));
  if (devices.length === 0) return refuse('template_denied', 'no validator was asked');
  if (devices.length < verdicts.length) return refuse('internal', 'a validator said neither yes nor no');

  if (!verifyCertificationRequest(csr)) return refuse('csr_signature', 'proof of possession failed');
  const key = judgeKey(csr.spki, template);
  if (key.verdict === 'refuse') return refuse(key.code, key.detail);

  const ignored: string[] = [];
  const names = namesFor(template, csr, verdicts, ignored);
  if ('decision' in names) return names;
  const { subject, subjectAltName, securityIdentifier } = names;
  const judged = judgeNames(template, subject, subjectAltName);
  if (judged.verdict === 'refuse') return refuse(judged.code, judged.detail);

  const purposes = extKeyUsageOf(csr);
  const askedPurposes = purposes && [...new Set(purposes)];
  const beyond = askedPurposes?.find((purpose) => !template.extKeyUsage.includes(purpose));
  if (beyond !== undefined) return refuse('eku_mismatch', `purpose ${beyond} is not in the template`);
  const askedUsage = keyUsageOf(csr);
  const keyUsage = askedUsage?.filter((bit) => template.keyUsage.includes(bit));
  if (keyUsage?.length === 0)
    return refuse('key_usage_mismatch', 'nothing of the asked key usage is in the template');

  ignored.push(
    ...csr.extensions.map((extension) => extension.oid).filter((type) => !readExtensions.includes(type)),
    ...(askedUsage ?? []).filter((bit) => !template.keyUsage.includes(bit)),
  );
  // AD CS: “CA certificate manager approval” of the template; or a validator of the endpoint says so.
  const asksPerson =
    template.approval === 'certificateManager' ||
    verdicts.some((verdict) => verdict.verdict === 'accept' && verdict.approval === 'certificateManager');
  return {
    decision: asksPerson ? 'hold' : 'approve',
    subject,
    subjectAltName,
    ...(securityIdentifier === undefined ? {} : { securityIdentifier }),
    ...(keyUsage === undefined ? {} : { keyUsage }),
    ...(askedPurposes === undefined ? {} : { extKeyUsage: askedPurposes }),
    device: devices.find((device) => device !== undefined) ?? '',
    ignored,
  };
}

type Accept = Extract<Verdict, { verdict: 'accept' }>;

/** Who the certificate names: each part from where the template takes it. */
function namesFor(
  template: CertificateTemplate,
  csr: CertificationRequest,
  verdicts: readonly Verdict[],
  ignored: string[],
): Decision | Pick<Approvable, 'subject' | 'subjectAltName' | 'securityIdentifier'> {
  const accepts = verdicts.filter((verdict): verdict is Accept => verdict.verdict === 'accept');
  // A part that cannot be read is an attempt or a fault, also where nobody would use it.
  const asked = { subject: csr.subject, subjectAltName: subjectAltNameOf(csr) };
  const known = directoryOf(accepts, asked);

  // --- the subject
  const { subjectFrom, subjectFixed, subjectAttributes } = template;
  const source =
    subjectFrom === 'request' ? asked.subject : subjectFrom === 'directory' ? known.subject : subjectFixed;
  if (source === undefined && template.subject === 'required')
    return refuse('identity_unvouched', 'no validator says what the subject is');
  const attributes = (source?.rdns ?? []).map((rdn) =>
    rdn.filter(({ oid: type }) => {
      const given = subjectAttributes.includes(type);
      if (!given) ignored.push(`subject ${type}`);
      return given;
    }),
  );
  // Built anew from its values: no octet of the request gets into a certificate unread.
  const subject = buildName(attributes.filter((rdn) => rdn.length > 0));
  if (
    subjectFrom !== 'request' &&
    asked.subject.rdns.length > 0 &&
    nameToString(asked.subject) !== nameToString(subject)
  )
    ignored.push('subject');

  // --- the subjectAltName
  const { subjectAltNameFrom, subjectAltNameFixed } = template;
  const subjectAltName =
    subjectAltNameFrom === 'request'
      ? asked.subjectAltName
      : subjectAltNameFrom === 'directory'
        ? (known.subjectAltName ?? [])
        : subjectAltNameFixed;
  if (
    subjectAltNameFrom === 'directory' &&
    known.subjectAltName === undefined &&
    template.subjectAltName === 'required'
  )
    return refuse('identity_unvouched', 'no validator says what the subjectAltName is');
  if (
    asked.subjectAltName.length > 0 &&
    generalNamesToString(asked.subjectAltName) !== generalNamesToString(subjectAltName)
  )
    ignored.push('subjectAltName');
  // Windows maps these to an account (KB5014754): whoever may claim them may sign in as anybody.
  const vouched = subjectAltNameFrom !== 'request' || accepts.some((accept) => accept.names === 'vouched');
  if (!vouched && subjectAltName.some(namesAnAccount))
    return refuse('san_mismatch', 'a user principal name or SID that no validator vouches for');

  // --- the SID: what a validator says, or what stands in a URI that one has vouched for; never the request's extension
  const sids = new Set([...known.securityIdentifiers, ...subjectAltName.flatMap(sidIn)]);
  if (sids.size > 1) return refuse('identity_unvouched', `different SIDs: ${[...sids].join(', ')}`);
  const [securityIdentifier] = sids;
  if (template.securityIdentifier === 'never' || securityIdentifier === undefined) {
    return template.securityIdentifier === 'required'
      ? refuse('identity_unvouched', 'no validator says what the SID is')
      : { subject, subjectAltName };
  }
  return { subject, subjectAltName, securityIdentifier };
}

/** What the validators together know; of each name, what the first of them says. */
function directoryOf(
  accepts: readonly Accept[],
  asked: { readonly subject: Name; readonly subjectAltName: readonly GeneralName[] },
): Omit<DirectoryEntry, 'securityIdentifier'> & { readonly securityIdentifiers: readonly string[] } {
  const entries = accepts.flatMap(({ directory }): DirectoryEntry[] =>
    directory === undefined ? [] : [directory === 'as-requested' ? asked : directory],
  );
  const subject = entries.find((entry) => entry.subject !== undefined)?.subject;
  const subjectAltName = entries.find((entry) => entry.subjectAltName !== undefined)?.subjectAltName;
  return {
    ...(subject === undefined ? {} : { subject }),
    ...(subjectAltName === undefined ? {} : { subjectAltName }),
    securityIdentifiers: entries.flatMap((entry) => entry.securityIdentifier ?? []),
  };
}

/** KB5014754: a SID as a URI, for CAs that cannot make the extension. */
function sidIn(name: GeneralName): string[] {
  if (name.type !== 'uniformResourceIdentifier') return [];
  const [, sid] = /^tag:microsoft\.com,2022-09-14:sid:(.+)$/i.exec(name.value) ?? [];
  return sid === undefined ? [] : [sid];
}

function namesAnAccount(name: GeneralName): boolean {
  return (
    name.type === 'userPrincipalName' ||
    (name.type === 'uniformResourceIdentifier' && /^tag:microsoft\.com,/i.test(name.value))
  );
}

function refuse(code: ErrorCode, detail: string): Decision {
  return { decision: 'refuse', code, detail };
}
