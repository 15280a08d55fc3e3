/** The one decision point: from a request and what the validators said to a yes or a no. Pure. */
import { type CertificateTemplate, judgeKey } from '../ca/index.ts';
import {
  buildName,
  type CertificationRequest,
  extKeyUsageOf,
  type GeneralName,
  type KeyUsage,
  keyUsageOf,
  type Name,
  oid,
  subjectAltNameOf,
  verifyCertificationRequest,
} from '../codec/index.ts';
import { type ErrorCode, PkiError } from '../errors.ts';
import type { Verdict } from './validator.ts';

/** What was decided. */
export type Decision =
  | {
      readonly decision: 'approve';
      readonly subject: Name;
      readonly subjectAltName: readonly GeneralName[];
      readonly keyUsage?: readonly KeyUsage[];
      readonly extKeyUsage?: readonly string[];
      readonly device: string;
      /** What the request asked for beyond the template and does not get: extensions, bits of keyUsage; for the log. */
      readonly ignored: readonly string[];
    }
  | { readonly decision: 'refuse'; readonly code: ErrorCode; readonly detail: string }
  /** A validator could not be asked: nothing was decided, and the device may try again. */
  | { readonly decision: 'postpone'; readonly detail: string };

/** Extensions of a request that are read; everything else in it is dropped. */
const readExtensions: readonly string[] = [oid.subjectAltName, oid.keyUsage, oid.extKeyUsage];

/**
 * Decides. Default deny: there must be a verdict, every verdict must accept, and what is asked must lie within the
 * template. Checks combine with AND; the first that fails gives the reason. A request with a part that cannot be read
 * is refused with the code of what is wrong with it.
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

  if (csr.subject.rdns.length === 0 && template.subject === 'required') {
    return refuse('subject_missing', 'the template wants a subject');
  }
  const subjectAltName = subjectAltNameOf(csr);
  if (subjectAltName.length === 0 && template.subjectAltName === 'required') {
    return refuse('san_missing', 'the template wants a subjectAltName');
  }
  const types: readonly string[] = template.subjectAltNameTypes;
  const foreign = subjectAltName.find((name) => !types.includes(name.type));
  if (foreign !== undefined) return refuse('san_mismatch', `${foreign.type} is not in the template`);

  // Windows maps these to an account (KB5014754): whoever may claim them may sign in as anybody.
  const vouched = verdicts.some((verdict) => verdict.verdict === 'accept' && verdict.names === 'vouched');
  if (!vouched && subjectAltName.some(namesAnAccount)) {
    return refuse('san_mismatch', 'a user principal name or SID that no validator vouches for');
  }

  const purposes = extKeyUsageOf(csr);
  const askedPurposes = purposes && [...new Set(purposes)];
  const beyond = askedPurposes?.find((purpose) => !template.extKeyUsage.includes(purpose));
  if (beyond !== undefined) return refuse('eku_mismatch', `purpose ${beyond} is not in the template`);
  const askedUsage = keyUsageOf(csr);
  const keyUsage = askedUsage?.filter((bit) => template.keyUsage.includes(bit));
  if (keyUsage?.length === 0)
    return refuse('key_usage_mismatch', 'nothing of the asked key usage is in the template');

  return {
    decision: 'approve',
    // Built anew from its values: no octet of the request gets into a certificate unread.
    subject: buildName(csr.subject.rdns),
    subjectAltName,
    ...(keyUsage === undefined ? {} : { keyUsage }),
    ...(askedPurposes === undefined ? {} : { extKeyUsage: askedPurposes }),
    device: devices.find((device) => device !== undefined) ?? '',
    ignored: [
      ...csr.extensions.map((extension) => extension.oid).filter((type) => !readExtensions.includes(type)),
      ...(askedUsage ?? []).filter((bit) => !template.keyUsage.includes(bit)),
    ],
  };
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
