/** Rows of the PKI store as both databases hold them, and the values that the contract makes of them. */
import { hash } from 'node:crypto';
import { PkiError } from '../errors.ts';
import type {
  AcceptedEnrolment,
  AdminToken,
  AuditCheckpoint,
  CertificateIntent,
  CertificateRecord,
  CertificateStatus,
  ChainedAuditEntry,
  ChallengeRecord,
  CrlEntry,
  CrlKind,
  CrlRecord,
  CrlState,
  EnrolmentRecord,
  HeldRecord,
  HeldRequest,
  RevocationReason,
  RevocationRequest,
  SerialNumber,
  StoredAuditEntry,
} from './contract.ts';

/** A certificate beside its body. Times are milliseconds since 1970 UTC, here and below. */
export interface CertificateRow {
  readonly id: number;
  readonly issuer: string;
  readonly serialNumber: SerialNumber;
  readonly requestID: string;
  readonly status: CertificateStatus;
  readonly template: string;
  readonly subject: string;
  readonly subjectAltName: string;
  readonly requester: string;
  readonly device: string;
  readonly publicKeyHash: string;
  readonly notBefore: number;
  readonly notAfter: number;
  readonly reservedAt: number;
  readonly revokedAt: number | null;
  readonly revocationReason: RevocationReason | null;
  readonly releasedAt: number | null;
  readonly crlPartition: number;
  readonly thumbprint: string | null;
  readonly certificate: Uint8Array | null;
}

/** An enrolment. */
export interface EnrolmentRow extends Omit<EnrolmentRecord, 'acceptedAt' | 'notifiedAt'> {
  readonly acceptedAt: number;
  readonly notifiedAt: number | null;
}

/** A held request beside its claim. */
export interface HeldRow
  extends Omit<HeldRecord, 'acceptedAt' | 'expiresAt' | 'decidedAt' | 'decidedBy' | 'comment'> {
  readonly acceptedAt: number;
  readonly expiresAt: number;
  readonly decidedAt: number | null;
  readonly decidedBy: string | null;
  readonly comment: string | null;
}

/** A challenge; `pinned` is JSON. */
export interface ChallengeRow extends Omit<ChallengeRecord, 'expiresAt' | 'createdAt' | 'pinned'> {
  readonly expiresAt: number;
  readonly createdAt: number;
  readonly pinned: string;
}

/** A token of the admin API; the lists are JSON. */
export interface AdminTokenRow {
  readonly name: string;
  readonly secretHash: string;
  readonly roles: string;
  readonly endpoints: string | null;
  readonly createdAt: number;
  readonly expiresAt: number;
}

/** An audit entry; `detail` is JSON. */
export interface AuditRow extends Omit<StoredAuditEntry, 'at' | 'detail'> {
  readonly at: number;
  readonly detail: string;
}

/** A CRL without its octets. */
export interface CrlStateRow {
  readonly issuer: string;
  readonly partition: number;
  readonly kind: CrlKind;
  readonly crlNumber: number;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  readonly change: number;
  readonly baseCrlNumber: number | null;
  readonly baseThisUpdate: number | null;
  readonly baseNextUpdate: number | null;
  readonly baseChange: number | null;
}

/** A line of a CRL. */
export interface CrlEntryRow {
  readonly serialNumber: SerialNumber;
  readonly at: number;
  readonly reason: CrlEntry['reason'];
}

/** A checkpoint of the audit log. */
export interface CheckpointRow extends Omit<AuditCheckpoint, 'at'> {
  readonly at: number;
}

/** RFC 5280 §4.1.2.2: at most 20 octets. */
const serialNumberForm = /^(?:[0-9a-f]{2}){1,20}$/;

/** Two forms of one serial number would be two rows. Throws PkiError `internal`. */
export function assertSerialNumber(serialNumber: string): void {
  if (!serialNumberForm.test(serialNumber))
    throw new PkiError('internal', `the serial number '${serialNumber}' is not in its canonical form`);
}

/** What a reservation came to, outside of its transaction. Throws PkiError `enrolment_busy`. */
export function reservationOf<T extends string>(
  outcome: T,
  { requestID }: Pick<CertificateIntent, 'requestID'>,
): Exclude<T, 'busy'> {
  if (outcome === 'busy')
    throw new PkiError('enrolment_busy', `request ${requestID} has a certificate, or one is being made`);
  return outcome as Exclude<T, 'busy'>;
}

/** Nobody gets what is not on record. Throws PkiError `enrolment_busy`. */
export function assertRecorded(
  outcome: 'recorded' | 'no-intent',
  { serialNumber, issuer }: { readonly serialNumber: SerialNumber; readonly issuer: string },
): void {
  if (outcome === 'no-intent')
    throw new PkiError(
      'enrolment_busy',
      `serial number ${serialNumber} of ${issuer} is no live intent: it was abandoned meanwhile`,
    );
}

/** The columns of `audit_checkpoint`: number, hash, at, signer, algorithm, signature. */
export function checkpointValues({ number, hash, at, signer, algorithm, signature }: AuditCheckpoint) {
  return [number, hash, at.getTime(), signer, algorithm, signature] as const;
}

/**
 * The columns of `certificate` that a reservation knows, but for its status: issuer, serialNumber, requestID, template,
 * subject, subjectAltName, requester, device, publicKeyHash, notBefore, notAfter, reservedAt, crlPartition.
 */
export function intentValues(intent: CertificateIntent) {
  return [
    intent.issuer,
    intent.serialNumber,
    intent.requestID,
    intent.template,
    intent.subject,
    intent.subjectAltName,
    intent.requester,
    intent.device,
    intent.publicKeyHash,
    intent.notBefore.getTime(),
    intent.notAfter.getTime(),
    intent.reservedAt.getTime(),
    intent.crlPartition,
  ] as const;
}

/**
 * The columns of `enrolment` that a claim knows: requestID, endpoint, replayKey, transactionID, publicKeyHash,
 * requestHash, device, acceptedAt.
 */
export function enrolmentValues(enrolment: AcceptedEnrolment) {
  return [
    enrolment.requestID,
    enrolment.endpoint,
    enrolment.replayKey,
    enrolment.transactionID,
    enrolment.publicKeyHash,
    enrolment.requestHash,
    enrolment.device,
    enrolment.acceptedAt.getTime(),
  ] as const;
}

/**
 * The columns of `crl`: issuer, crlPartition, kind, crlNumber, thisUpdate, nextUpdate, change, baseCrlNumber,
 * baseThisUpdate, baseNextUpdate, baseChange, crl.
 */
export function crlValues({ base, ...crl }: CrlRecord) {
  return [
    crl.issuer,
    crl.partition,
    crl.kind,
    crl.crlNumber,
    crl.thisUpdate.getTime(),
    crl.nextUpdate.getTime(),
    crl.change,
    base?.crlNumber ?? null,
    base?.thisUpdate.getTime() ?? null,
    base?.nextUpdate.getTime() ?? null,
    base?.change ?? null,
    crl.crl,
  ] as const;
}

/** The columns of `challenge`: challengeHash, endpoint, expiresAt, pinned, device, createdAt. */
export function challengeValues(challenge: ChallengeRecord) {
  return [
    challenge.challengeHash,
    challenge.endpoint,
    challenge.expiresAt.getTime(),
    JSON.stringify(challenge.pinned),
    challenge.device,
    challenge.createdAt.getTime(),
  ] as const;
}

/** The columns of `admin_token`: name, secretHash, roles, endpoints, createdAt, expiresAt. */
export function adminTokenValues(token: AdminToken) {
  return [
    token.name,
    token.secretHash,
    JSON.stringify(token.roles),
    token.endpoints === undefined ? null : JSON.stringify(token.endpoints),
    token.createdAt.getTime(),
    token.expiresAt.getTime(),
  ] as const;
}

/**
 * The columns of `revocation_request`: source, contextHash, requestContext, serialNumber, issuerName, action, reason,
 * receivedAt.
 */
export function revocationRequestValues(request: RevocationRequest) {
  return [
    request.source,
    contextHashOf(request.requestContext),
    request.requestContext,
    request.serialNumber,
    request.issuerName,
    request.action,
    request.reason,
    request.receivedAt.getTime(),
  ] as const;
}

/**
 * The columns of `held_request`: requestID, endpoint, replayKey, transactionID, signerKeyHash, issuer, template, subject,
 * subjectAltName, sealed, expiresAt.
 */
export function heldValues(request: HeldRequest) {
  return [
    request.requestID,
    request.endpoint,
    request.replayKey,
    request.transactionID,
    request.signerKeyHash,
    request.issuer,
    request.template,
    request.subject,
    request.subjectAltName,
    request.sealed,
    request.expiresAt.getTime(),
  ] as const;
}

/** Why a request cannot be decided about; `undefined` if it can. */
export function undecidable(
  row: { readonly status: string; readonly expiresAt: number } | undefined,
  at: Date,
): 'unknown' | 'already' | 'expired' | undefined {
  if (row === undefined) return 'unknown';
  if (row.status !== 'pending') return 'already';
  return row.expiresAt <= at.getTime() ? 'expired' : undefined;
}

/** The first string that sorts after all that begin with `prefix`: U+10FFFF is in no event. */
export function afterPrefix(prefix: string): string {
  return `${prefix}\u{10FFFF}`;
}

/** The certificate of a row. */
export function certificateRecord(row: CertificateRow): CertificateRecord {
  const { certificate, thumbprint, revokedAt, revocationReason, releasedAt, ...rest } = row;
  return {
    ...rest,
    notBefore: new Date(row.notBefore),
    notAfter: new Date(row.notAfter),
    reservedAt: new Date(row.reservedAt),
    ...(certificate !== null && thumbprint !== null && { certificate, thumbprint }),
    ...(revokedAt !== null &&
      revocationReason !== null && { revokedAt: new Date(revokedAt), revocationReason }),
    ...(releasedAt !== null && { releasedAt: new Date(releasedAt) }),
  };
}

/** The enrolment of a row. */
export function enrolmentRecord({ notifiedAt, ...row }: EnrolmentRow): EnrolmentRecord {
  const record = { ...row, acceptedAt: new Date(row.acceptedAt) };
  return notifiedAt === null ? record : { ...record, notifiedAt: new Date(notifiedAt) };
}

/** A request of `revocation_request`. */
export interface RevocationRequestRow extends Omit<RevocationRequest, 'receivedAt'> {
  readonly receivedAt: number;
}

/** The revocation request of a row. */
export function revocationRequest(row: RevocationRequestRow): RevocationRequest {
  return { ...row, receivedAt: new Date(row.receivedAt) };
}

/** The backlog of a row. */
export function revocationBacklog(
  row: { readonly count: number; readonly oldest: number | null } | undefined,
): { readonly count: number; readonly oldest?: Date } {
  const { count = 0, oldest = null } = row ?? {};
  return oldest === null ? { count } : { count, oldest: new Date(oldest) };
}

/** By what a revocation request is found: SHA-256 of its mark, lower-case hexadecimal. */
export function contextHashOf(requestContext: string): string {
  return hash('sha256', requestContext, 'hex');
}

/** The held request of a row. */
export function heldRecord({ decidedAt, decidedBy, comment, ...row }: HeldRow): HeldRecord {
  return {
    ...row,
    acceptedAt: new Date(row.acceptedAt),
    expiresAt: new Date(row.expiresAt),
    ...(decidedAt !== null && { decidedAt: new Date(decidedAt) }),
    ...(decidedBy !== null && { decidedBy }),
    ...(comment !== null && { comment }),
  };
}

/** The token of a row. */
export function adminTokenRecord({ endpoints, ...row }: AdminTokenRow): AdminToken {
  return {
    ...row,
    roles: JSON.parse(row.roles) as AdminToken['roles'],
    ...(endpoints !== null && { endpoints: JSON.parse(endpoints) as readonly string[] }),
    createdAt: new Date(row.createdAt),
    expiresAt: new Date(row.expiresAt),
  };
}

/** The challenge of a row. */
export function challengeRecord(row: ChallengeRow): ChallengeRecord {
  return {
    ...row,
    expiresAt: new Date(row.expiresAt),
    createdAt: new Date(row.createdAt),
    pinned: JSON.parse(row.pinned),
  };
}

/** The state of a CRL of a row. */
export function crlState(row: CrlStateRow): CrlState {
  const { baseCrlNumber, baseThisUpdate, baseNextUpdate, baseChange } = row;
  return {
    issuer: row.issuer,
    partition: row.partition,
    kind: row.kind,
    crlNumber: row.crlNumber,
    thisUpdate: new Date(row.thisUpdate),
    nextUpdate: new Date(row.nextUpdate),
    change: row.change,
    ...(baseCrlNumber !== null &&
      baseThisUpdate !== null &&
      baseNextUpdate !== null &&
      baseChange !== null && {
        base: {
          crlNumber: baseCrlNumber,
          thisUpdate: new Date(baseThisUpdate),
          nextUpdate: new Date(baseNextUpdate),
          change: baseChange,
        },
      }),
  };
}

/** The line of a CRL of a row. */
export function crlEntry({ serialNumber, at, reason }: CrlEntryRow): CrlEntry {
  return { serialNumber, at: new Date(at), reason };
}

/** The audit entry of a row. */
export function auditEntry(row: AuditRow): StoredAuditEntry {
  return { ...row, at: new Date(row.at), detail: JSON.parse(row.detail) };
}

/** The audit entry of a row, with its link. */
export function chainedEntry({
  detail,
  ...row
}: AuditRow & { readonly hash: Uint8Array }): ChainedAuditEntry {
  return { ...row, at: new Date(row.at), detailJson: detail };
}

/** The checkpoint of a row. */
export function checkpointOf(row: CheckpointRow): AuditCheckpoint {
  return { ...row, at: new Date(row.at) };
}
