/** The PKI store on PostgreSQL: the contract for several servers on one database. */
import { PkiError } from '../errors.ts';
import { auditContent, chainStart, contentHash, contentValues } from './audit-chain.ts';
import type {
  AcceptedEnrolment,
  AdminToken,
  AuditCheckpoint,
  AuditEntry,
  CertificateCriteria,
  CertificateFilter,
  CertificateIntent,
  CertificateRecord,
  ChainedAuditEntry,
  ChallengeRecord,
  CrlEntry,
  CrlKind,
  CrlRecord,
  CrlState,
  EnrolmentRecord,
  HeldRecord,
  IssuanceLimit,
  PendingNotification,
  PkiStore,
  PruneCounts,
  Replaced,
  RetentionRule,
  RevocationReason,
  RevocationRequest,
  SerialNumber,
  StoredAuditEntry,
  StoreLead,
} from './contract.ts';
import { PostgresHeldRequests } from './postgres-held-requests.ts';
import { postgresMigrations } from './postgres-migrations.ts';
import {
  type PostgresDatabase,
  PostgresPool,
  type PostgresSession,
  type PostgresValue,
} from './postgres-pool.ts';
import {
  type AdminTokenRow,
  type AuditRow,
  adminTokenRecord,
  adminTokenValues,
  afterPrefix,
  assertRecorded,
  assertSerialNumber,
  auditEntry,
  type CertificateRow,
  type ChallengeRow,
  type CheckpointRow,
  type CrlEntryRow,
  type CrlStateRow,
  certificateRecord,
  chainedEntry,
  challengeRecord,
  challengeValues,
  checkpointOf,
  checkpointValues,
  contextHashOf,
  crlEntry,
  crlState,
  crlValues,
  type EnrolmentRow,
  enrolmentRecord,
  enrolmentValues,
  intentValues,
  type RevocationRequestRow,
  reservationOf,
  revocationBacklog,
  revocationRequest,
  revocationRequestValues,
} from './rows.ts';

/**
 * Opens the store in a database that exists.
 *
 * @throws PkiError as `PostgresPool.open`.
 */
export async function openPostgresStore(
  database: PostgresDatabase,
  access: 'read' | 'write' = 'write',
): Promise<PkiStore> {
  return new PostgresPkiStore(await PostgresPool.open(database, postgresMigrations, access));
}

const CERTIFICATE = `
  SELECT id, issuer, "serialNumber", "requestID", status, template, subject, "subjectAltName", requester, device,
    "publicKeyHash", "notBefore", "notAfter", "reservedAt", "revokedAt", "revocationReason",
    "releasedAt", "crlPartition", thumbprint,
    body.certificate
  FROM certificate LEFT JOIN certificate_body AS body ON body."certificateID" = certificate.id`;

type CrlEntriesScope = Parameters<PkiStore['crlEntries']>[0];

const CRL_STATE = `issuer, "crlPartition" AS partition, kind, "crlNumber", "thisUpdate", "nextUpdate", change,
  "baseCrlNumber", "baseThisUpdate", "baseNextUpdate", "baseChange"`;

/** Lines of a CRL that are fetched at once. */
const CRL_PAGE_ROWS = 20_000;

const AUDIT_ENTRY = 'SELECT number, at, event, actor, reference, code, text, detail FROM audit_entry';

/** Seed of the advisory locks under which a device's certificates are counted: the octets of `leaflimt`. */
const LIMIT_LOCK = '7810756221277400436';

/** Advisory lock under which audit entries are appended, one transaction at a time: the octets of `leafaudi`. */
const AUDIT_LOCK = '7810756221093635177';

/**
 * Promises that hold across processes stand on unique indexes (`ON CONFLICT`) and on the locks of updated rows, in
 * PostgreSQL's default isolation: a statement that had to wait sees what the winner committed. Rows are locked in one
 * order: enrolment, certificate, counter, audit log. What is visible has been flushed, so reads wait for nothing; only
 * intents are visible earlier, and they are no answer for a device.
 */
class PostgresPkiStore implements PkiStore {
  readonly #pool: PostgresPool;
  readonly #held: PostgresHeldRequests;

  constructor(pool: PostgresPool) {
    this.#pool = pool;
    this.#held = new PostgresHeldRequests(pool, { insertEnrolment, appendAudit });
  }

  close(): Promise<void> {
    return this.#pool.close();
  }

  takeLead(): Promise<StoreLead | undefined> {
    return this.#pool.takeLead();
  }

  // --- audit ------------------------------------------------------------------------------------------------------

  async appendAudit(entry: AuditEntry): Promise<void> {
    await this.#pool.transact((session) => appendAudit(session, entry));
  }

  async auditEntries(filter: {
    readonly event?: string;
    readonly reference?: string;
    readonly after?: number;
    readonly limit: number;
  }): Promise<StoredAuditEntry[]> {
    const where = new Conditions();
    if (filter.reference !== undefined) {
      where.must('reference = ?', filter.reference);
      // The index holds only entries that have a reference, and PostgreSQL must see that this is all that we want.
      if (filter.reference !== '') where.must("reference <> ''");
    }
    if (filter.event !== undefined && filter.event !== '') {
      where.must('event >= ?', filter.event);
      where.must('event < ?', afterPrefix(filter.event));
    }
    if (filter.after !== undefined) where.must('number < ?', filter.after);
    const rows = await this.#pool.all<AuditRow>(
      `${AUDIT_ENTRY} ${where.sql} ORDER BY number DESC LIMIT ${where.next}`,
      ...where.values,
      Math.max(0, filter.limit),
    );
    return rows.map(auditEntry);
  }

  async auditHead(): Promise<{ readonly number: number; readonly hash: Uint8Array }> {
    return await this.#link('audit_entry');
  }

  async auditStart(): Promise<{ readonly number: number; readonly hash: Uint8Array }> {
    return await this.#link('audit_start');
  }

  async #link(table: 'audit_entry' | 'audit_start') {
    const sql = `SELECT number, hash FROM ${table} ORDER BY number DESC LIMIT 1`;
    return (await this.#pool.first<{ number: number; hash: Uint8Array }>(sql)) ?? chainStart;
  }

  async auditChain(page: { readonly after: number; readonly limit: number }): Promise<ChainedAuditEntry[]> {
    const rows = await this.#pool.all<AuditRow & { readonly hash: Uint8Array }>(
      `SELECT number, at, event, actor, reference, code, text, detail, hash FROM audit_entry
       WHERE number > $1 ORDER BY number LIMIT $2`,
      page.after,
      page.limit,
    );
    return rows.map(chainedEntry);
  }

  async auditCheckpoints(): Promise<AuditCheckpoint[]> {
    const rows = await this.#pool.all<CheckpointRow>(
      'SELECT number, hash, at, signer, algorithm, signature FROM audit_checkpoint ORDER BY number',
    );
    return rows.map(checkpointOf);
  }

  async recordCheckpoint(checkpoint: AuditCheckpoint): Promise<void> {
    await this.#pool.run(
      `INSERT INTO audit_checkpoint (number, hash, at, signer, algorithm, signature)
       VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`,
      ...checkpointValues(checkpoint),
    );
  }

  // --- certificates -----------------------------------------------------------------------------------------------

  async reserveSerial(
    intent: CertificateIntent,
    claim?: AcceptedEnrolment,
    survives: 'process' | 'machine' = 'process',
    limit?: IssuanceLimit,
  ): Promise<'reserved' | 'taken' | 'claimed' | 'limited'> {
    assertSerialNumber(intent.serialNumber);
    const outcome = await this.#pool.transact((session) => reserve(session, intent, claim, limit), survives);
    return reservationOf(outcome, intent);
  }

  async recordCertificate(issued: {
    readonly issuer: string;
    readonly serialNumber: SerialNumber;
    readonly certificate: Uint8Array;
    readonly thumbprint: string;
    readonly audit: AuditEntry;
  }): Promise<void> {
    const recorded = await this.#pool.transact(async (session) => {
      const changed = await session.run(
        `WITH issued AS (
           UPDATE certificate SET status = 'issued' WHERE issuer = $1 AND "serialNumber" = $2 AND status = 'intent'
           RETURNING id
         )
         UPDATE certificate_body SET "tbsCertificate" = NULL, thumbprint = $3, certificate = $4
         FROM issued WHERE "certificateID" = issued.id`,
        issued.issuer,
        issued.serialNumber,
        issued.thumbprint,
        issued.certificate,
      );
      if (changed === 0) return false;
      await appendAudit(session, issued.audit);
      return true;
    });
    assertRecorded(recorded ? 'recorded' : 'no-intent', issued);
  }

  async abandonIntents(rule: {
    readonly issuer: string;
    readonly reservedBefore: Date;
    readonly at: Date;
  }): Promise<SerialNumber[]> {
    return await this.#pool.transact(async (session) => {
      // In one order, so that two that abandon do not wait for each other.
      const intents = await session.all<{ id: number }>(
        `SELECT id FROM certificate WHERE issuer = $1 AND status = 'intent' AND "reservedAt" <= $2
         ORDER BY id FOR UPDATE`,
        rule.issuer,
        rule.reservedBefore.getTime(),
      );
      if (intents.length === 0) return [];
      const rows = await session.all<{ serialNumber: SerialNumber }>(
        `UPDATE certificate SET status = 'abandoned', "isAbandoned" = 1, "revokedAt" = $1,
           "revocationReason" = 'cessationOfOperation', change = $2
         WHERE id = ANY($3::bigint[]) RETURNING "serialNumber"`,
        rule.at.getTime(),
        await nextChange(session, rule.issuer),
        `{${intents.map(({ id }) => id).join(',')}}`,
      );
      return rows.map((row) => row.serialNumber);
    });
  }

  async certificateBySerial(
    issuer: string,
    serialNumber: SerialNumber,
  ): Promise<CertificateRecord | undefined> {
    const row = await this.#pool.first<CertificateRow>(
      `${CERTIFICATE} WHERE issuer = $1 AND "serialNumber" = $2`,
      issuer,
      serialNumber,
    );
    return row && certificateRecord(row);
  }

  async certificateByRequest(requestID: string): Promise<CertificateRecord | undefined> {
    const row = await this.#pool.first<CertificateRow>(
      `${CERTIFICATE} WHERE "requestID" = $1 AND "isAbandoned" = 0`,
      requestID,
    );
    return row && certificateRecord(row);
  }

  async certificates(filter: CertificateFilter): Promise<CertificateRecord[]> {
    const where = conditionsOf(filter);
    if (filter.after !== undefined) where.must('id < ?', filter.after);
    const rows = await this.#pool.all<CertificateRow>(
      `${CERTIFICATE} ${where.sql} ORDER BY id DESC LIMIT ${where.next}`,
      ...where.values,
      Math.max(0, filter.limit),
    );
    return rows.map(certificateRecord);
  }

  async countCertificates(criteria: CertificateCriteria): Promise<number> {
    const where = conditionsOf(criteria);
    const row = await this.#pool.first<{ count: number }>(
      `SELECT count(*) AS count FROM certificate
       LEFT JOIN certificate_body AS body ON body."certificateID" = certificate.id ${where.sql}`,
      ...where.values,
    );
    return row?.count ?? 0;
  }

  // --- revocation -------------------------------------------------------------------------------------------------

  async revoke(revocation: {
    readonly issuer: string;
    readonly serialNumber: SerialNumber;
    readonly reason: RevocationReason;
    readonly at: Date;
    readonly audit: AuditEntry;
  }): Promise<'revoked' | 'already' | 'unknown'> {
    return await this.#pool.transact(async (session) => {
      const row = await lockStatus(session, revocation);
      if (row === undefined || row.status === 'intent') return 'unknown';
      const isHeld = row.status === 'revoked' && row.revocationReason === 'certificateHold';
      if (row.status !== 'issued' && !(isHeld && revocation.reason !== 'certificateHold')) return 'already';
      await session.run(
        `UPDATE certificate SET status = 'revoked', "revokedAt" = coalesce("revokedAt", $1), "revocationReason" = $2,
           change = $3
         WHERE id = $4`,
        revocation.at.getTime(),
        revocation.reason,
        await nextChange(session, revocation.issuer),
        row.id,
      );
      await appendAudit(session, revocation.audit);
      return 'revoked';
    });
  }

  async release(release: {
    readonly issuer: string;
    readonly serialNumber: SerialNumber;
    readonly at: Date;
    readonly audit: AuditEntry;
  }): Promise<'released' | 'not-held' | 'unknown'> {
    return await this.#pool.transact(async (session) => {
      const row = await lockStatus(session, release);
      if (row === undefined || row.status === 'intent') return 'unknown';
      if (row.status !== 'revoked' || row.revocationReason !== 'certificateHold') return 'not-held';
      await session.run(
        `UPDATE certificate SET status = 'issued', "revokedAt" = NULL, "revocationReason" = NULL, "releasedAt" = $1,
           change = $2
         WHERE id = $3`,
        release.at.getTime(),
        await nextChange(session, release.issuer),
        row.id,
      );
      await appendAudit(session, release.audit);
      return 'released';
    });
  }

  crlEntries(scope: CrlEntriesScope): AsyncIterable<readonly CrlEntry[]> {
    return scope.changedAfter === undefined
      ? this.#revokedEntries(scope)
      : this.#changedEntries(scope, scope.changedAfter);
  }

  async *#revokedEntries({ issuer, partition, validAt }: CrlEntriesScope): AsyncIterable<CrlEntry[]> {
    let last = '';
    for (;;) {
      const rows = await this.#pool.all<CrlEntryRow>(
        `SELECT "serialNumber", "revokedAt" AS at, "revocationReason" AS reason FROM certificate
         WHERE issuer = $1 AND "crlPartition" = $2 AND "revokedAt" IS NOT NULL AND "notAfter" >= $3
           AND "serialNumber" > $4
         ORDER BY "serialNumber" LIMIT ${CRL_PAGE_ROWS}`,
        issuer,
        partition,
        validAt.getTime(),
        last,
      );
      yield rows.map(crlEntry);
      if (rows.length < CRL_PAGE_ROWS) return;
      last = rows.at(-1)?.serialNumber ?? '';
    }
  }

  /** At once, since a certificate that changes meanwhile would come twice or not at all; deltas are short. */
  async *#changedEntries(
    { issuer, partition, validAt }: CrlEntriesScope,
    changedAfter: number,
  ): AsyncIterable<CrlEntry[]> {
    const rows = await this.#pool.all<CrlEntryRow>(
      `SELECT "serialNumber", coalesce("revokedAt", "releasedAt") AS at,
         coalesce("revocationReason", 'removeFromCRL') AS reason
       FROM certificate
       WHERE issuer = $1 AND "crlPartition" = $2 AND change > $3 AND "notAfter" >= $4 ORDER BY change`,
      issuer,
      partition,
      changedAfter,
      validAt.getTime(),
    );
    yield rows.map(crlEntry);
  }

  async latestChange(issuer: string, partition: number): Promise<number> {
    const row = await this.#pool.first<{ change: number | null }>(
      `SELECT max(change) AS change FROM certificate
       WHERE issuer = $1 AND "crlPartition" = $2 AND change IS NOT NULL`,
      issuer,
      partition,
    );
    return row?.change ?? 0;
  }

  async reserveCrlNumber(issuer: string): Promise<number> {
    const row = await this.#pool.first<{ crlNumber: number }>(
      `INSERT INTO issuer_counter (issuer, "crlNumber") VALUES ($1, 1)
       ON CONFLICT (issuer) DO UPDATE SET "crlNumber" = issuer_counter."crlNumber" + 1 RETURNING "crlNumber"`,
      issuer,
    );
    if (row === undefined) throw new PkiError('internal', 'a CRL number was reserved and not returned');
    return row.crlNumber;
  }

  async recordCrl(crl: CrlRecord): Promise<void> {
    await this.#pool.transact(async (session) => {
      await session.run(
        `INSERT INTO crl (issuer, "crlPartition", kind, "crlNumber", "thisUpdate", "nextUpdate", change, "baseCrlNumber",
           "baseThisUpdate", "baseNextUpdate", "baseChange", crl)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (issuer, "crlPartition", kind) DO UPDATE SET "crlNumber" = excluded."crlNumber",
           "thisUpdate" = excluded."thisUpdate", "nextUpdate" = excluded."nextUpdate", change = excluded.change,
           "baseCrlNumber" = excluded."baseCrlNumber", "baseThisUpdate" = excluded."baseThisUpdate",
           "baseNextUpdate" = excluded."baseNextUpdate", "baseChange" = excluded."baseChange", crl = excluded.crl
         WHERE excluded."crlNumber" > crl."crlNumber"`,
        ...crlValues(crl),
      );
      // A CRL that another program made before this store existed counts too.
      await session.run(
        `INSERT INTO issuer_counter (issuer, "crlNumber") VALUES ($1, $2)
         ON CONFLICT (issuer)
         DO UPDATE SET "crlNumber" = greatest(issuer_counter."crlNumber", excluded."crlNumber")`,
        crl.issuer,
        crl.crlNumber,
      );
    });
  }

  async latestCrl(issuer: string, partition: number, kind: CrlKind): Promise<CrlRecord | undefined> {
    const row = await this.#pool.first<CrlStateRow & { readonly crl: Uint8Array }>(
      `SELECT ${CRL_STATE}, crl FROM crl WHERE issuer = $1 AND "crlPartition" = $2 AND kind = $3`,
      issuer,
      partition,
      kind,
    );
    return row && { ...crlState(row), crl: row.crl };
  }

  async crlStates(issuer: string): Promise<CrlState[]> {
    const rows = await this.#pool.all<CrlStateRow>(
      `SELECT ${CRL_STATE} FROM crl WHERE issuer = $1 ORDER BY "crlPartition", kind DESC`,
      issuer,
    );
    return rows.map(crlState);
  }

  // --- enrolments and challenges ----------------------------------------------------------------------------------

  async enrolment(endpoint: string, replayKey: string): Promise<EnrolmentRecord | undefined> {
    const row = await this.#pool.first<EnrolmentRow>(
      `SELECT "requestID", endpoint, "replayKey", "transactionID", "publicKeyHash", "requestHash", device,
         "acceptedAt", "notifiedAt"
       FROM enrolment WHERE endpoint = $1 AND "replayKey" = $2`,
      endpoint,
      replayKey,
    );
    return row && enrolmentRecord(row);
  }

  async recordNotified(
    enrolment: Pick<AcceptedEnrolment, 'endpoint' | 'replayKey'>,
    at: Date,
  ): Promise<void> {
    const changed = await this.#pool.run(
      `WITH told AS (
         UPDATE enrolment SET "notifiedAt" = coalesce("notifiedAt", $1) WHERE endpoint = $2 AND "replayKey" = $3
         RETURNING "requestID"
       ), forgotten AS (DELETE FROM notification USING told WHERE notification."requestID" = told."requestID")
       SELECT 1 FROM told`,
      at.getTime(),
      enrolment.endpoint,
      enrolment.replayKey,
    );
    if (changed === 0) throw new PkiError('internal', 'there is no such enrolment');
  }

  async replacementsDue({
    at,
    limit,
  }: Parameters<PkiStore['replacementsDue']>[0]): Promise<(Replaced & { readonly requestID: string })[]> {
    return await this.#pool.all<Replaced & { readonly requestID: string }>(
      `SELECT "requestID", issuer, "serialNumber" FROM replacement AS old WHERE EXISTS (
         SELECT 1 FROM certificate WHERE certificate."requestID" = old."requestID" AND "isAbandoned" = 0
           AND status = 'issued' AND "reservedAt" <= $1::bigint - "revokeAfterMs"
       ) AND NOT EXISTS (SELECT 1 FROM notification WHERE notification."requestID" = old."requestID") LIMIT $2`,
      at.getTime(),
      limit,
    );
  }

  async forgetReplaced(requestID: string): Promise<void> {
    await this.#pool.run('DELETE FROM replacement WHERE "requestID" = $1', requestID);
  }

  async notificationsDue({
    at,
    limit,
  }: Parameters<PkiStore['notificationsDue']>[0]): Promise<PendingNotification[]> {
    return await this.#pool.all<PendingNotification>(
      `SELECT "requestID", endpoint, "replayKey", sealed FROM notification
       WHERE "dueAt" <= $1 ORDER BY "dueAt" LIMIT $2`,
      at.getTime(),
      limit,
    );
  }

  async postponeNotification(requestID: string, dueAt: Date): Promise<void> {
    await this.#pool.run(
      'UPDATE notification SET "dueAt" = $1 WHERE "requestID" = $2',
      dueAt.getTime(),
      requestID,
    );
  }

  async forgetNotification(requestID: string): Promise<void> {
    await this.#pool.run('DELETE FROM notification WHERE "requestID" = $1', requestID);
  }

  // --- what an MDM wants revoked ----------------------------------------------------------------------------------

  async keepRevocationRequests(requests: readonly RevocationRequest[]): Promise<void> {
    await this.#pool.transact(async (session) => {
      for (const request of requests)
        await session.run(
          `INSERT INTO revocation_request (source, "contextHash", "requestContext", "serialNumber", "issuerName",
             action, reason, "receivedAt")
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING`,
          ...revocationRequestValues(request),
        );
    });
  }

  async revocationRequests({
    source,
    limit,
  }: Parameters<PkiStore['revocationRequests']>[0]): Promise<RevocationRequest[]> {
    const rows = await this.#pool.all<RevocationRequestRow>(
      `SELECT source, "requestContext", "serialNumber", "issuerName", action, reason, "receivedAt" FROM revocation_request
       WHERE source = $1 ORDER BY id LIMIT $2`,
      source,
      limit,
    );
    return rows.map(revocationRequest);
  }

  async forgetRevocationRequests(source: string, requestContexts: readonly string[]): Promise<void> {
    await this.#pool.transact(async (session) => {
      for (const requestContext of requestContexts)
        await session.run(
          'DELETE FROM revocation_request WHERE source = $1 AND "contextHash" = $2',
          source,
          contextHashOf(requestContext),
        );
    });
  }

  async revocationBacklog(source: string): Promise<{ readonly count: number; readonly oldest?: Date }> {
    return revocationBacklog(
      await this.#pool.first<{ readonly count: number; readonly oldest: number | null }>(
        'SELECT count(*) AS count, min("receivedAt") AS oldest FROM revocation_request WHERE source = $1',
        source,
      ),
    );
  }

  holdRequest(hold: Parameters<PkiStore['holdRequest']>[0]): Promise<'held' | 'claimed' | 'full'> {
    return this.#held.holdRequest(hold);
  }

  heldRequest(name: Parameters<PkiStore['heldRequest']>[0]): Promise<HeldRecord | undefined> {
    return this.#held.heldRequest(name);
  }

  heldRequests(filter: Parameters<PkiStore['heldRequests']>[0]): Promise<HeldRecord[]> {
    return this.#held.heldRequests(filter);
  }

  decideRequest(
    decision: Parameters<PkiStore['decideRequest']>[0],
  ): Promise<'decided' | 'already' | 'expired' | 'unknown'> {
    return this.#held.decideRequest(decision);
  }

  async createChallenge(challenge: ChallengeRecord): Promise<void> {
    const created = await this.#pool.run(
      `INSERT INTO challenge ("challengeHash", endpoint, "expiresAt", pinned, device, "createdAt")
       VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`,
      ...challengeValues(challenge),
    );
    if (created === 0) throw new PkiError('internal', 'a challenge was made twice');
  }

  async challenge(challengeHash: string): Promise<ChallengeRecord | undefined> {
    const row = await this.#pool.first<ChallengeRow>(
      `SELECT "challengeHash", endpoint, "expiresAt", pinned, device, "createdAt" FROM challenge
       WHERE "challengeHash" = $1`,
      challengeHash,
    );
    return row && challengeRecord(row);
  }

  // --- admin tokens -----------------------------------------------------------------------------------------------

  async createAdminToken(token: AdminToken, audit: AuditEntry): Promise<'created' | 'taken'> {
    return await this.#pool.transact(async (session) => {
      const created = await session.run(
        `INSERT INTO admin_token (name, "secretHash", roles, endpoints, "createdAt", "expiresAt")
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`,
        ...adminTokenValues(token),
      );
      if (created === 0) return 'taken';
      await appendAudit(session, audit);
      return 'created';
    });
  }

  async adminToken(name: string): Promise<AdminToken | undefined> {
    const row = await this.#pool.first<AdminTokenRow>(`${ADMIN_TOKEN} WHERE name = $1`, name);
    return row && adminTokenRecord(row);
  }

  async adminTokens(): Promise<AdminToken[]> {
    return (await this.#pool.all<AdminTokenRow>(`${ADMIN_TOKEN} ORDER BY name`)).map(adminTokenRecord);
  }

  async deleteAdminToken(name: string, audit: AuditEntry): Promise<'deleted' | 'unknown'> {
    return await this.#pool.transact(async (session) => {
      if ((await session.run('DELETE FROM admin_token WHERE name = $1', name)) === 0) return 'unknown';
      await appendAudit(session, audit);
      return 'deleted';
    });
  }

  // --- upkeep -----------------------------------------------------------------------------------------------------

  async prunable(rule: RetentionRule): Promise<PruneCounts> {
    const count = async (sql: string, value: number) =>
      (await this.#pool.first<{ count: number }>(`SELECT count(*) AS count FROM ${sql}`, value))?.count ?? 0;
    const expiredBefore = rule.expiredBefore.getTime();
    const start = await this.#pruneTo(rule);
    return {
      certificates: await count(`certificate ${PRUNABLE_CERTIFICATE}`, expiredBefore),
      enrolments: await count(`enrolment ${PRUNABLE_ENROLMENT}`, expiredBefore),
      challenges: await count(`challenge ${PRUNABLE_CHALLENGE}`, expiredBefore),
      heldRequests: await count(`held_request ${PRUNABLE_HELD_REQUEST}`, expiredBefore),
      auditEntries: start === undefined ? 0 : await count('audit_entry WHERE number <= $1', start.number),
    };
  }

  async prune(rule: RetentionRule): Promise<PruneCounts> {
    const expiredBefore = rule.expiredBefore.getTime();
    const certificates = await this.#inBatches(
      `WITH pruned AS (
         DELETE FROM certificate WHERE id IN
           (SELECT id FROM certificate ${PRUNABLE_CERTIFICATE} ORDER BY id LIMIT ${PRUNE_ROWS})
         RETURNING id, "requestID", issuer, "serialNumber"
       ), replacements AS (
         DELETE FROM replacement USING pruned
         WHERE replacement.issuer = pruned.issuer AND replacement."serialNumber" = pruned."serialNumber"
       ), approvals AS (
         -- An approval without its certificate would be good for another one.
         DELETE FROM held_request USING pruned WHERE held_request."requestID" = pruned."requestID"
       )
       DELETE FROM certificate_body USING pruned WHERE "certificateID" = pruned.id`,
      expiredBefore,
    );
    const heldRequests = await this.#inBatches(
      `DELETE FROM held_request WHERE id IN
         (SELECT id FROM held_request ${PRUNABLE_HELD_REQUEST} LIMIT ${PRUNE_ROWS})`,
      expiredBefore,
    );
    const enrolments = await this.#inBatches(
      `WITH pruned AS (
         SELECT endpoint, "replayKey", "requestID" FROM enrolment ${PRUNABLE_ENROLMENT} LIMIT ${PRUNE_ROWS}
       ), notifications AS (
         DELETE FROM notification USING pruned WHERE notification."requestID" = pruned."requestID"
       )
       DELETE FROM enrolment WHERE (endpoint, "replayKey") IN (SELECT endpoint, "replayKey" FROM pruned)`,
      expiredBefore,
    );
    const challenges = await this.#inBatches(
      `DELETE FROM challenge WHERE "challengeHash" IN
         (SELECT "challengeHash" FROM challenge ${PRUNABLE_CHALLENGE} LIMIT ${PRUNE_ROWS})`,
      expiredBefore,
    );
    const start = await this.#pruneTo(rule);
    if (start !== undefined) {
      await this.#pool.transact(async (session) => {
        await session.run('INSERT INTO audit_start (number, hash) VALUES ($1, $2)', start.number, start.hash);
        await session.run('DELETE FROM audit_start WHERE number < $1', start.number);
        await session.run('DELETE FROM audit_checkpoint WHERE number <= $1', start.number);
      });
    }
    // Also what an interrupted run has left.
    const { number } = await this.auditStart();
    const auditEntries = await this.#inBatches(
      `DELETE FROM audit_entry WHERE number IN
         (SELECT number FROM audit_entry WHERE number <= $1 ORDER BY number LIMIT ${PRUNE_ROWS})`,
      number,
    );
    return { certificates, enrolments, challenges, heldRequests, auditEntries };
  }

  /** The last audit entry that the rule lets go; `undefined` if there is none. */
  async #pruneTo({
    auditBefore,
  }: RetentionRule): Promise<{ readonly number: number; readonly hash: Uint8Array } | undefined> {
    return await this.#pool.first(
      `SELECT number, hash FROM audit_entry
       WHERE number = (SELECT max(number) - 1 FROM audit_checkpoint WHERE at < $1)
         AND number > (SELECT coalesce(max(number), 0) FROM audit_start)`,
      auditBefore.getTime(),
    );
  }

  async #inBatches(sql: string, value: number): Promise<number> {
    let sum = 0;
    for (;;) {
      const removed = await this.#pool.run(sql, value);
      sum += removed;
      if (removed < PRUNE_ROWS) return sum;
    }
  }

  async resumeAfterRestore(restore: Parameters<PkiStore['resumeAfterRestore']>[0]): Promise<void> {
    await this.#pool.transact(async (session) => {
      for (const issuer of restore.issuers) {
        await session.run(
          `INSERT INTO issuer_counter (issuer, "crlNumber") VALUES ($1, $2)
           ON CONFLICT (issuer)
           DO UPDATE SET "crlNumber" = issuer_counter."crlNumber" + excluded."crlNumber"`,
          issuer,
          restore.crlNumberStep,
        );
        await session.run("DELETE FROM crl WHERE issuer = $1 AND kind = 'delta'", issuer);
        await session.run('UPDATE crl SET "nextUpdate" = "thisUpdate" WHERE issuer = $1', issuer);
      }
      await appendAudit(session, restore.audit);
    });
  }
}

/** Rows that are pruned in one transaction. */
const PRUNE_ROWS = 1_000;

const PRUNABLE_CERTIFICATE = `WHERE "notAfter" < $1 AND ("revokedAt" IS NULL OR EXISTS (
  SELECT 1 FROM crl
  WHERE crl.issuer = certificate.issuer AND crl."crlPartition" = certificate."crlPartition" AND kind = 'full'
    AND crl."thisUpdate" > certificate."notAfter"))`;

const PRUNABLE_ENROLMENT = `WHERE "acceptedAt" < $1 AND NOT EXISTS (
  SELECT 1 FROM certificate WHERE certificate."requestID" = enrolment."requestID" AND "isAbandoned" = 0)
  AND NOT EXISTS (SELECT 1 FROM held_request WHERE held_request."requestID" = enrolment."requestID")`;

const PRUNABLE_HELD_REQUEST = `WHERE coalesce("decidedAt", "expiresAt") < $1 AND NOT EXISTS (
  SELECT 1 FROM certificate WHERE certificate."requestID" = held_request."requestID" AND "isAbandoned" = 0)`;

const ADMIN_TOKEN = 'SELECT name, "secretHash", roles, endpoints, "createdAt", "expiresAt" FROM admin_token';
const PRUNABLE_CHALLENGE = 'WHERE "expiresAt" < $1';

/** The claim first, then the certificate; whatever stands in its way leaves no claim behind. */
async function reserve(
  session: PostgresSession,
  intent: CertificateIntent,
  claim: AcceptedEnrolment | undefined,
  limit: IssuanceLimit | undefined,
): Promise<'reserved' | 'taken' | 'busy' | 'claimed' | 'limited'> {
  if (claim !== undefined && !(await insertEnrolment(session, claim))) return 'claimed';
  const outcome =
    limit !== undefined && (await isAtLimit(session, intent, limit))
      ? 'limited'
      : await insertIntent(session, intent);
  if (outcome !== 'reserved' && claim !== undefined) {
    await session.run(
      'DELETE FROM enrolment WHERE endpoint = $1 AND "replayKey" = $2',
      claim.endpoint,
      claim.replayKey,
    );
    if (claim.replaces !== undefined)
      await session.run('DELETE FROM replacement WHERE "requestID" = $1', claim.requestID);
    if (claim.notification !== undefined)
      await session.run('DELETE FROM notification WHERE "requestID" = $1', claim.requestID);
  }
  return outcome;
}

/** Whether the claim was free. */
async function insertEnrolment(session: PostgresSession, claim: AcceptedEnrolment): Promise<boolean> {
  const claimed = await session.run(
    `INSERT INTO enrolment ("requestID", endpoint, "replayKey", "transactionID", "publicKeyHash", "requestHash", device,
       "acceptedAt")
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING`,
    ...enrolmentValues(claim),
  );
  if (claimed > 0 && claim.replaces !== undefined) {
    const { issuer, serialNumber, revokeAfterMs } = claim.replaces;
    await session.run(
      `INSERT INTO replacement ("requestID", issuer, "serialNumber", "revokeAfterMs") VALUES ($1, $2, $3, $4)`,
      claim.requestID,
      issuer,
      serialNumber,
      revokeAfterMs,
    );
  }
  if (claimed > 0 && claim.notification !== undefined) {
    const { sealed, dueAt } = claim.notification;
    await session.run(
      'INSERT INTO notification ("requestID", endpoint, "replayKey", sealed, "dueAt") VALUES ($1, $2, $3, $4, $5)',
      claim.requestID,
      claim.endpoint,
      claim.replayKey,
      sealed,
      dueAt.getTime(),
    );
  }
  return claimed > 0;
}

/** Who counts the certificates of one device waits for whoever else does, until that one's intent can be seen. */
async function isAtLimit(
  session: PostgresSession,
  { device, template }: CertificateIntent,
  limit: IssuanceLimit,
): Promise<boolean> {
  await session.all(
    'SELECT pg_advisory_xact_lock(hashtextextended($1, $2::bigint))',
    `${template}\n${device}`,
    LIMIT_LOCK,
  );
  const row = await session.first<{ count: number }>(
    `SELECT count(*) AS count FROM certificate
     WHERE device = $1 AND device <> '' AND template = $2 AND status IN ('intent', 'issued') AND "notAfter" > $3`,
    device,
    template,
    limit.notAfterLater.getTime(),
  );
  return (row?.count ?? 0) >= limit.certificatesMax;
}

async function insertIntent(
  session: PostgresSession,
  intent: CertificateIntent,
): Promise<'reserved' | 'taken' | 'busy'> {
  const reserved = await session.run(
    `WITH reserved AS (
       INSERT INTO certificate (issuer, "serialNumber", "requestID", status, template, subject, "subjectAltName",
         requester, device, "publicKeyHash", "notBefore", "notAfter", "reservedAt", "crlPartition")
       VALUES ($1, $2, $3, 'intent', $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT DO NOTHING RETURNING id
     )
     INSERT INTO certificate_body ("certificateID", "tbsCertificate") SELECT id, $14::bytea FROM reserved`,
    ...intentValues(intent),
    intent.tbsCertificate,
  );
  if (reserved > 0) return 'reserved';
  const live = await session.first(
    'SELECT 1 FROM certificate WHERE "requestID" = $1 AND "isAbandoned" = 0',
    intent.requestID,
  );
  return live === undefined ? 'taken' : 'busy';
}

/** The status of a certificate, which nobody else changes until the transaction ends. */
async function lockStatus(
  session: PostgresSession,
  { issuer, serialNumber }: { readonly issuer: string; readonly serialNumber: SerialNumber },
): Promise<Pick<CertificateRow, 'id' | 'status' | 'revocationReason'> | undefined> {
  return await session.first(
    `SELECT id, status, "revocationReason" FROM certificate WHERE issuer = $1 AND "serialNumber" = $2 FOR UPDATE`,
    issuer,
    serialNumber,
  );
}

/** Takes the next number for a change of status; the counter's row stays locked, so changes show in their order. */
async function nextChange(session: PostgresSession, issuer: string): Promise<number> {
  const row = await session.first<{ change: number }>(
    `INSERT INTO issuer_counter (issuer, change) VALUES ($1, 1)
     ON CONFLICT (issuer) DO UPDATE SET change = issuer_counter.change + 1 RETURNING change`,
    issuer,
  );
  if (row === undefined) throw new PkiError('internal', 'a change was numbered and the number not returned');
  return row.change;
}

/**
 * The last write of a transaction: from here to its end no other transaction can append. The hash is made in the
 * database, as `entryHash` says, because only there the entry before is known for certain.
 */
async function appendAudit(session: PostgresSession, entry: AuditEntry): Promise<void> {
  const content = auditContent(entry);
  await session.all('SELECT pg_advisory_xact_lock($1::bigint)', AUDIT_LOCK);
  // A statement of its own, so that it sees what was committed while we waited for the lock.
  await session.run(
    `INSERT INTO audit_entry (number, at, event, actor, reference, code, text, detail, hash)
     SELECT head.number + 1, $1, $2, $3, $4, $5, $6, $7, sha256(head.hash || int8send(head.number + 1) || $8::bytea)
     FROM (
       (SELECT number, hash FROM audit_entry ORDER BY number DESC LIMIT 1)
       UNION ALL SELECT 0, $9::bytea
       ORDER BY number DESC LIMIT 1
     ) AS head`,
    ...contentValues(content),
    contentHash(content),
    chainStart.hash,
  );
}

/** Conditions of a search that must all hold; `?` stands for the value. */
class Conditions {
  readonly values: PostgresValue[] = [];
  readonly #conditions: string[] = [];

  must(condition: string, ...values: PostgresValue[]): void {
    let numbered = condition;
    for (const value of values) {
      numbered = numbered.replace('?', this.next);
      this.values.push(value);
    }
    this.#conditions.push(numbered);
  }

  /** Placeholder of the next value. */
  get next(): string {
    return `$${this.values.length + 1}`;
  }

  get sql(): string {
    return this.#conditions.length === 0 ? '' : `WHERE ${this.#conditions.join(' AND ')}`;
  }
}

function conditionsOf(criteria: CertificateCriteria): Conditions {
  const where = new Conditions();
  const equal = {
    issuer: criteria.issuer,
    '"serialNumber"': criteria.serialNumber,
    template: criteria.template,
    requester: criteria.requester,
    device: criteria.device,
    status: criteria.status,
    'body.thumbprint': criteria.thumbprint,
  };
  for (const [column, value] of Object.entries(equal)) {
    if (value !== undefined) where.must(`${column} = ?`, value);
  }
  // The index holds only certificates of a device.
  if (criteria.device !== undefined && criteria.device !== '') where.must("device <> ''");
  if (criteria.nameContains !== undefined) {
    const text = criteria.nameContains.replaceAll(/[\\%_]/g, '\\$&');
    const pattern = `%${text.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase())}%`;
    // In the C collation `lower` knows ASCII alone, as SQLite's LIKE does.
    const matches = (column: string) => `lower(${column} COLLATE "C") LIKE ?`;
    where.must(`(${matches('subject')} OR ${matches('"subjectAltName"')})`, pattern, pattern);
  }
  if (criteria.reservedFrom !== undefined) where.must('"reservedAt" >= ?', criteria.reservedFrom.getTime());
  if (criteria.reservedBefore !== undefined)
    where.must('"reservedAt" < ?', criteria.reservedBefore.getTime());
  if (criteria.notAfterFrom !== undefined) where.must('"notAfter" >= ?', criteria.notAfterFrom.getTime());
  if (criteria.notAfterBefore !== undefined) where.must('"notAfter" < ?', criteria.notAfterBefore.getTime());
  return where;
}
