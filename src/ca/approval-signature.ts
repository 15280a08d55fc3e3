/**
 * The RA's yes as a signature: what a template with `raSignature: required` wants beside the minted approval. So the CA
 * need not believe the host that the RA runs on; it believes a key.
 *
 * The RA signs, as CMS SignedData (RFC 5652) with its enrolment agent's key, the DER of
 *
 *     SEQUENCE { version INTEGER (1), requestID UTF8String, issuer UTF8String, template UTF8String,
 *       requester UTF8String, device UTF8String, approvedBy [0] UTF8String OPTIONAL,
 *       certificationRequest SEQUENCE, subject Name, subjectAltName [1] GeneralNames OPTIONAL,
 *       securityIdentifier [2] UTF8String OPTIONAL, keyUsage [3] SEQUENCE OF UTF8String OPTIONAL,
 *       extKeyUsage [4] SEQUENCE OF OBJECT IDENTIFIER OPTIONAL }
 *
 * with explicit tags. The CA builds the same octets from what it is about to issue and compares; it parses none of them. The
 * requestID makes a signature good for one certificate.
 */
import {
  buildGeneralNames,
  buildSignedData,
  type Certificate,
  contextConstructed,
  der,
  extKeyUsageOf,
  integer,
  keyUsageOf,
  objectIdentifier,
  oid,
  parseSignedData,
  type Sign,
  sameOctets,
  sequence,
  utf8String,
  verifySignedData,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { Approval } from './approved-request.ts';

/** Who signs for the RA. */
export interface ApprovalSigner {
  readonly certificate: Certificate;
  readonly sign: Sign;
}

/**
 * Signs what the RA has approved: the CMS SignedData for `Approval.raSignature`.
 *
 * @throws PkiError `key_unavailable`.
 */
export async function signApproval(approval: Approval, signer: ApprovalSigner): Promise<Uint8Array> {
  const { certificate, sign } = signer;
  return await buildSignedData(
    {
      content: contentOf(approval),
      digest: 'sha256',
      signer: certificate,
      certificates: [certificate.raw],
      attributes: [],
    },
    sign,
  );
}

/**
 * Verifies the signature of an approval: it is over all of it, by one of `signers`, which is valid now and an enrolment
 * agent. Answers whose it is.
 *
 * @throws PkiError `ra_signature`.
 */
export function approvalSigner(approval: Approval, signers: readonly Certificate[], now: Date): Certificate {
  const { raSignature } = approval;
  if (raSignature === undefined) throw new PkiError('ra_signature', 'the RA has not signed the approval');
  const signer = signedBy(raSignature, contentOf(approval), signers);
  if (now < signer.notBefore || now >= signer.notAfter)
    throw new PkiError('ra_signature', `the RA certificate ${signer.serialNumber} is not valid now`);
  // AD CS: an enrolment agent is whose certificate has this purpose.
  if (extKeyUsageOf(signer)?.includes(oid.certificateRequestAgent) !== true)
    throw new PkiError('ra_signature', `${signer.serialNumber} is no certificate of an enrolment agent`);
  // RFC 5280 §4.2.1.3: a key that verifies signatures on other data says so.
  if (keyUsageOf(signer)?.includes('digitalSignature') !== true)
    throw new PkiError('ra_signature', `the RA certificate ${signer.serialNumber} is not for signatures`);
  return signer;
}

function signedBy(
  raSignature: Uint8Array,
  content: Uint8Array,
  signers: readonly Certificate[],
): Certificate {
  try {
    const signedData = parseSignedData(raSignature);
    if (signedData.content === undefined || !sameOctets(signedData.content, content))
      throw new PkiError('ra_signature', 'the RA has signed something else');
    const signer = signers.find((certificate) => verifySignedData(signedData, certificate));
    if (signer !== undefined) return signer;
  } catch (cause) {
    if (!(cause instanceof PkiError) || cause.code === 'ra_signature') throw cause;
    throw new PkiError('ra_signature', `the signature cannot be read: ${cause.message}`, { cause });
  }
  throw new PkiError('ra_signature', 'not the signature of an RA that the configuration names');
}

function contentOf(approval: Approval): Uint8Array {
  const { approvedBy, subjectAltName, securityIdentifier, keyUsage, extKeyUsage } = approval;
  const optional = (n: number, value: Uint8Array | undefined) =>
    value === undefined ? [] : [der(contextConstructed(n), value)];
  return sequence(
    integer(1),
    ...[approval.requestID, approval.issuer, approval.template, approval.requester, approval.device].map(
      utf8String,
    ),
    ...optional(0, approvedBy === undefined ? undefined : utf8String(approvedBy)),
    approval.csr.raw,
    approval.subject.raw,
    ...optional(1, subjectAltName.length === 0 ? undefined : buildGeneralNames(subjectAltName)),
    ...optional(2, securityIdentifier === undefined ? undefined : utf8String(securityIdentifier)),
    ...optional(3, keyUsage && sequence(...keyUsage.map(utf8String))),
    ...optional(4, extKeyUsage && sequence(...extKeyUsage.map(objectIdentifier))),
  );
}
