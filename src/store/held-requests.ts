/** Requests that wait for a certificate manager, in SQLite: a part of `pki-store.ts`. */
import type {
  AcceptedEnrolment,
  AuditEntry,
  HeldRecord,
  HeldRequestName,
  HeldRequestStore,
} from './contract.ts';
import { type HeldRow, heldRecord, heldValues, undecidable } from './rows.ts';
import type { SqliteFile } from './sqlite.ts';

type Hold = Parameters<HeldRequestStore['holdRequest']>[0];
type Filter = Parameters<HeldRequestStore['heldRequests']>[0];
type Deciding = Parameters<HeldRequestStore['decideRequest']>[0];

/** What this part needs of the store, inside a transaction. */
interface Writes {
  /** Whether the claim was free. */
  readonly insertEnrolment: (enrolment: AcceptedEnrolment) => boolean;
  readonly insertAudit: (entry: AuditEntry) => void;
}

const HELD = `
  SELECT held.id, held.requestID, held.endpoint, held.replayKey, held.transactionID, held.signerKeyHash, held.issuer,
    held.template, held.subject, held.subjectAltName, held.sealed, held.expiresAt, held.decidedAt,
    held.decidedBy, held.comment, enrolment.publicKeyHash, enrolment.requestHash, enrolment.device,
    enrolment.acceptedAt,
    CASE WHEN held.status = 'approved' AND certificate.id IS NOT NULL THEN 'issued' ELSE held.status END AS status
  FROM held_request AS held
  JOIN enrolment ON enrolment.endpoint = held.endpoint AND enrolment.replayKey = held.replayKey
    AND enrolment.requestID = held.requestID
  LEFT JOIN certificate ON certificate.requestID = held.requestID AND certificate.isAbandoned = 0
    AND certificate.status <> 'intent'`;

/** The held requests of one file. */
export class SqliteHeldRequests implements Omit<HeldRequestStore, 'appendAudit' | 'auditEntries'> {
  readonly #file: SqliteFile;
  readonly #writes: Writes;

  constructor(file: SqliteFile, writes: Writes) {
    this.#file = file;
    this.#writes = writes;
  }

  holdRequest({ request, waitingMax, audit }: Hold): Promise<'held' | 'claimed' | 'full'> {
    const { requestID, endpoint, replayKey } = request;
    return this.#file.commit(() => {
      const there = 'SELECT 1 FROM held_request WHERE requestID = ?';
      if (this.#file.first(there, requestID) !== undefined) return 'held';
      const waiting = this.#file.first<{ count: number }>(
        `SELECT count(*) AS count FROM held_request WHERE endpoint = ? AND status = 'pending' AND expiresAt > ?`,
        endpoint,
        request.acceptedAt.getTime(),
      );
      if ((waiting?.count ?? 0) >= waitingMax) return 'full';
      const own = 'SELECT 1 FROM enrolment WHERE endpoint = ? AND replayKey = ? AND requestID = ?';
      if (
        !this.#writes.insertEnrolment(request) &&
        this.#file.first(own, endpoint, replayKey, requestID) === undefined
      )
        return 'claimed';
      this.#file.run(
        `INSERT INTO held_request (requestID, endpoint, replayKey, transactionID, signerKeyHash, issuer, template,
           subject, subjectAltName, sealed, expiresAt, status)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending')`,
        ...heldValues(request),
      );
      this.#writes.insertAudit(audit);
      return 'held';
    });
  }

  async heldRequest(name: HeldRequestName): Promise<HeldRecord | undefined> {
    const [condition, parameters] =
      'id' in name
        ? ['held.id = ?', [name.id]]
        : 'requestID' in name
          ? ['held.requestID = ?', [name.requestID]]
          : [
              'held.endpoint = ? AND held.transactionID = ? AND held.signerKeyHash = ?',
              [name.endpoint, name.transactionID, name.signerKeyHash],
            ];
    const sql = `${HELD} WHERE ${condition} ORDER BY held.id DESC LIMIT 1`;
    const row = this.#file.first<HeldRow>(sql, ...parameters);
    if (row !== undefined) await this.#file.durable();
    return row && heldRecord(row);
  }

  async heldRequests({ status, endpoint, after, limit }: Filter): Promise<HeldRecord[]> {
    const isIssued = `(held.status = 'approved' AND certificate.id IS NOT NULL)`;
    const conditions = [
      'TRUE',
      ...(status === undefined
        ? []
        : status === 'issued'
          ? [isIssued]
          : [`held.status = '${status}'`, ...(status === 'approved' ? [`NOT ${isIssued}`] : [])]),
      ...(endpoint === undefined ? [] : ['held.endpoint = ?']),
      ...(after === undefined ? [] : ['held.id < ?']),
    ];
    return this.#file
      .all<HeldRow>(
        `${HELD} WHERE ${conditions.join(' AND ')} ORDER BY held.id DESC LIMIT ?`,
        ...[endpoint, after].filter((value) => value !== undefined),
        Math.max(0, limit),
      )
      .map(heldRecord);
  }

  decideRequest(decision: Deciding): Promise<'decided' | 'already' | 'expired' | 'unknown'> {
    const { id, status, at, by, comment, audit } = decision;
    return this.#file.commit(() => {
      const row = this.#file.first<{ status: string; expiresAt: number }>(
        'SELECT status, expiresAt FROM held_request WHERE id = ?',
        id,
      );
      const why = undecidable(row, at);
      if (why !== undefined) return why;
      this.#file.run(
        'UPDATE held_request SET status = ?, decidedAt = ?, decidedBy = ?, comment = ? WHERE id = ?',
        status,
        at.getTime(),
        by,
        comment,
        id,
      );
      this.#writes.insertAudit(audit);
      return 'decided';
    });
  }
}
