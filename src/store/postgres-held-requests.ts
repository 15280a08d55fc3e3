/** Requests that wait for a certificate manager, in PostgreSQL: a part of `postgres-store.ts`. */
import type {
  AcceptedEnrolment,
  AuditEntry,
  HeldRecord,
  HeldRequestName,
  HeldRequestStore,
} from './contract.ts';
import type { PostgresPool, PostgresSession, PostgresValue } from './postgres-pool.ts';
import { type HeldRow, heldRecord, heldValues, undecidable } from './rows.ts';

type Hold = Parameters<HeldRequestStore['holdRequest']>[0];
type Filter = Parameters<HeldRequestStore['heldRequests']>[0];
type Deciding = Parameters<HeldRequestStore['decideRequest']>[0];

/** What this part needs of the store, inside a transaction. */
interface Writes {
  /** Whether the claim was free. */
  readonly insertEnrolment: (session: PostgresSession, enrolment: AcceptedEnrolment) => Promise<boolean>;
  readonly appendAudit: (session: PostgresSession, entry: AuditEntry) => Promise<void>;
}

const HELD = `
  SELECT held.id, held."requestID", held.endpoint, held."replayKey", held."transactionID", held."signerKeyHash",
    held.issuer, held.template, held.subject, held."subjectAltName", held.sealed,
    held."expiresAt", held."decidedAt", held."decidedBy", held.comment, enrolment."publicKeyHash",
    enrolment."requestHash", enrolment.device, enrolment."acceptedAt",
    CASE WHEN held.status = 'approved' AND certificate.id IS NOT NULL THEN 'issued' ELSE held.status END AS status
  FROM held_request AS held
  JOIN enrolment ON enrolment.endpoint = held.endpoint AND enrolment."replayKey" = held."replayKey"
    AND enrolment."requestID" = held."requestID"
  LEFT JOIN certificate ON certificate."requestID" = held."requestID" AND certificate."isAbandoned" = 0
    AND certificate.status <> 'intent'`;

/** The held requests of one database. */
export class PostgresHeldRequests implements Omit<HeldRequestStore, 'appendAudit' | 'auditEntries'> {
  readonly #pool: PostgresPool;
  readonly #writes: Writes;

  constructor(pool: PostgresPool, writes: Writes) {
    this.#pool = pool;
    this.#writes = writes;
  }

  async holdRequest({ request, waitingMax, audit }: Hold): Promise<'held' | 'claimed' | 'full'> {
    const { requestID, endpoint, replayKey } = request;
    return await this.#pool.transact(async (session) => {
      const there = 'SELECT 1 FROM held_request WHERE "requestID" = $1';
      if ((await session.first(there, requestID)) !== undefined) return 'held';
      const waiting = await session.first<{ count: number }>(
        `SELECT count(*) AS count FROM held_request
         WHERE endpoint = $1 AND status = 'pending' AND "expiresAt" > $2`,
        endpoint,
        request.acceptedAt.getTime(),
      );
      if ((waiting?.count ?? 0) >= waitingMax) return 'full';
      if (!(await this.#writes.insertEnrolment(session, request))) {
        const own = await session.first(
          'SELECT 1 FROM enrolment WHERE endpoint = $1 AND "replayKey" = $2 AND "requestID" = $3',
          endpoint,
          replayKey,
          requestID,
        );
        if (own === undefined) return 'claimed';
      }
      const inserted = await session.run(
        `INSERT INTO held_request ("requestID", endpoint, "replayKey", "transactionID", "signerKeyHash", issuer, template,
           subject, "subjectAltName", sealed, "expiresAt", status)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'pending') ON CONFLICT DO NOTHING`,
        ...heldValues(request),
      );
      if (inserted > 0) await this.#writes.appendAudit(session, audit);
      return 'held';
    });
  }

  async heldRequest(name: HeldRequestName): Promise<HeldRecord | undefined> {
    const [condition, values]: readonly [string, readonly PostgresValue[]] =
      'id' in name
        ? ['held.id = $1', [name.id]]
        : 'requestID' in name
          ? ['held."requestID" = $1', [name.requestID]]
          : [
              'held.endpoint = $1 AND held."transactionID" = $2 AND held."signerKeyHash" = $3',
              [name.endpoint, name.transactionID, name.signerKeyHash],
            ];
    const sql = `${HELD} WHERE ${condition} ORDER BY held.id DESC LIMIT 1`;
    const row = await this.#pool.first<HeldRow>(sql, ...values);
    return row && heldRecord(row);
  }

  async heldRequests({ status, endpoint, after, limit }: Filter): Promise<HeldRecord[]> {
    const isIssued = `(held.status = 'approved' AND certificate.id IS NOT NULL)`;
    const values: PostgresValue[] = [Math.max(0, limit)];
    const conditions = ['TRUE'];
    if (status === 'issued') conditions.push(isIssued);
    else if (status !== undefined) conditions.push(`held.status = $${values.push(status)}`);
    if (status === 'approved') conditions.push(`NOT ${isIssued}`);
    if (endpoint !== undefined) conditions.push(`held.endpoint = $${values.push(endpoint)}`);
    if (after !== undefined) conditions.push(`held.id < $${values.push(after)}`);
    const rows = await this.#pool.all<HeldRow>(
      `${HELD} WHERE ${conditions.join(' AND ')} ORDER BY held.id DESC LIMIT $1`,
      ...values,
    );
    return rows.map(heldRecord);
  }

  async decideRequest(decision: Deciding): Promise<'decided' | 'already' | 'expired' | 'unknown'> {
    const { id, status, at, by, comment, audit } = decision;
    return await this.#pool.transact(async (session) => {
      const row = await session.first<{ status: string; expiresAt: number }>(
        'SELECT status, "expiresAt" FROM held_request WHERE id = $1 FOR UPDATE',
        id,
      );
      const why = undecidable(row, at);
      if (why !== undefined) return why;
      await session.run(
        'UPDATE held_request SET status = $1, "decidedAt" = $2, "decidedBy" = $3, comment = $4 WHERE id = $5',
        status,
        at.getTime(),
        by,
        comment,
        id,
      );
      await this.#writes.appendAudit(session, audit);
      return 'decided';
    });
  }
}
