/** The PKI store on SQLite: certificates, enrolments, challenges, CRLs and the audit log in one file. */
import type { SQLInputValue } from 'node:sqlite';
import { setImmediate } from 'node:timers/promises';
import { PkiError } from '../errors.ts';
import { auditContent, chainStart, contentHash, contentValues, entryHash } from './audit-chain.ts';
import type {
  AcceptedEnrolment,
  AdminToken,
  AuditCheckpoint,
  AuditEntry,
  CertificateCriteria,
  CertificateFilter,
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
import { SqliteHeldRequests } from './held-requests.ts';
import { lockDataFolder } from './lock.ts';
import { pkiMigrations } from './migrations.ts';
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
import { SqliteFile } from './sqlite.ts';

/**
 * Opens the store; to be written to, it makes file (mode 0600) and folder (0700) if need be.
 *
 * @throws PkiError `store_newer`, `store_older` or `store_unavailable`, as `SqliteFile.open`.
 */
export function openSqliteStore(path: string, access: 'read' | 'write' = 'write'): PkiStore {
  return new SqlitePkiStore(SqliteFile.open(path, pkiMigrations, access), path);
}

const CERTIFICATE = `
  SELECT id, issuer, serialNumber, requestID, status, template, subject, subjectAltName, requester, device,
    publicKeyHash, notBefore, notAfter, reservedAt, revokedAt, revocationReason, releasedAt, crlPartition, thumbprint,
    body.certificate
  FROM certificate LEFT JOIN certificate_body AS body ON body.certificateID = certificate.id`;

/** The newest entries before this number. */
interface AuditPage {
  readonly before: number;
  readonly limit: number;
}

type CrlEntriesScope = Parameters<PkiStore['crlEntries']>[0];

const CRL_STATE = `issuer, crlPartition AS partition, kind, crlNumber, thisUpdate, nextUpdate, change, baseCrlNumber,
  baseThisUpdate, baseNextUpdate, baseChange`;

/** Some ten milliseconds' reading. */
const CRL_PAGE_ROWS = 5_000;

/** Left out of the index over the events. */
const COMMONEST_EVENT = 'certificate.issued';

const AUDIT_HEAD = 'SELECT number, hash FROM audit_entry ORDER BY number DESC LIMIT 1';

const AUDIT_ENTRY = 'SELECT number, at, event, actor, reference, code, text, detail FROM audit_entry';

/**
 * Everything expected (a taken serial, a busy request) leaves the transaction as a value and is thrown outside of it:
 * an exception inside would make the whole group of commits run again, one by one.
 */
class SqlitePkiStore implements PkiStore {
  readonly #file: SqliteFile;
  readonly #held: SqliteHeldRequests;
  /** Locked by who has the lead: the operating system frees it however the process ends. */
  readonly #leadLock: string;
  #lead: StoreLead | undefined;

  constructor(file: SqliteFile, path: string) {
    this.#file = file;
    this.#held = new SqliteHeldRequests(file, {
      insertEnrolment: (enrolment) => this.#insertEnrolment(enrolment),
      insertAudit: (entry) => this.#insertAudit(entry),
    });
    this.#leadLock = `${path}.lead`;
  }

  async close(): Promise<void> {
    await this.#lead?.release();
    this.#file.close();
  }

  async takeLead(): Promise<StoreLead | undefined> {
    let lock: ReturnType<typeof lockDataFolder> | undefined;
    try {
      lock = lockDataFolder(this.#leadLock);
    } catch (cause) {
      if (cause instanceof PkiError && cause.code === 'store_locked') return undefined;
      throw cause;
    }
    const lead: StoreLead = {
      isHeld: async () => lock !== undefined,
      release: async () => {
        lock?.release();
        lock = undefined;
      },
    };
    this.#lead = lead;
    return lead;
  }

  // --- audit ------------------------------------------------------------------------------------------------------

  async appendAudit(entry: AuditEntry): Promise<void> {
    await this.#file.commit(() => this.#insertAudit(entry));
  }

  async auditEntries(filter: {
    readonly event?: string;
    readonly reference?: string;
    readonly after?: number;
    readonly limit: number;
  }): Promise<StoredAuditEntry[]> {
    const page = { before: filter.after ?? Number.MAX_SAFE_INTEGER, limit: Math.max(0, filter.limit) };
    const rows =
      filter.reference !== undefined
        ? this.#auditByReference(filter.reference, filter.event ?? '', page)
        : filter.event !== undefined && filter.event !== ''
          ? this.#auditByEvent(filter.event, page)
          : this.#file.all<AuditRow>(
              `${AUDIT_ENTRY} WHERE number < ? ORDER BY number DESC LIMIT ?`,
              page.before,
              page.limit,
            );
    return rows.map(auditEntry);
  }

  #auditByReference(reference: string, event: string, { before, limit }: AuditPage): AuditRow[] {
    // The index holds only entries that have a reference, and SQLite must see that this is all that we want.
    const which = reference === '' ? "reference = ''" : "reference = ? AND reference <> ''";
    const parameters = reference === '' ? [] : [reference];
    return this.#file.all<AuditRow>(
      `${AUDIT_ENTRY} WHERE ${which} AND event >= ? AND event < ? AND number < ? ORDER BY number DESC LIMIT ?`,
      ...parameters,
      event,
      afterPrefix(event),
      before,
      limit,
    );
  }

  /**
   * There are few events and many entries: find the events first, then the newest entries of each, by the index, which
   * leaves out the commonest event (SQLite must see that this is all that we want of it).
   */
  #auditByEvent(prefix: string, { before, limit }: AuditPage): AuditRow[] {
    const end = afterPrefix(prefix);
    const rows = COMMONEST_EVENT.startsWith(prefix)
      ? this.#file.all<AuditRow>(
          `${AUDIT_ENTRY} WHERE event = '${COMMONEST_EVENT}' AND number < ? ORDER BY number DESC LIMIT ?`,
          before,
          limit,
        )
      : [];
    const indexed = `event <> '${COMMONEST_EVENT}' AND event`;
    let event = this.#file.first<{ event: string }>(
      `SELECT event FROM audit_entry WHERE ${indexed} >= ? AND event < ? ORDER BY event LIMIT 1`,
      prefix,
      end,
    )?.event;
    while (event !== undefined) {
      rows.push(
        ...this.#file.all<AuditRow>(
          `${AUDIT_ENTRY} WHERE ${indexed} = ? AND number < ? ORDER BY number DESC LIMIT ?`,
          event,
          before,
          limit,
        ),
      );
      event = this.#file.first<{ event: string }>(
        `SELECT event FROM audit_entry WHERE ${indexed} > ? AND event < ? ORDER BY event LIMIT 1`,
        event,
        end,
      )?.event;
    }
    return rows.sort((a, b) => b.number - a.number).slice(0, limit);
  }

  /** Inside the transaction of what it tells of: SQLite lets one process write at a time, so the chain has no forks. */
  #insertAudit(entry: AuditEntry): void {
    const content = auditContent(entry);
    const head = this.#file.first<{ number: number; hash: Uint8Array }>(AUDIT_HEAD) ?? chainStart;
    const number = head.number + 1;
    this.#file.run(
      `INSERT INTO audit_entry (number, at, event, actor, reference, code, text, detail, hash)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      number,
      ...contentValues(content),
      entryHash(head.hash, number, contentHash(content)),
    );
  }

  async auditHead(): Promise<{ readonly number: number; readonly hash: Uint8Array }> {
    return this.#file.first<{ number: number; hash: Uint8Array }>(AUDIT_HEAD) ?? chainStart;
  }

  async auditStart(): Promise<{ readonly number: number; readonly hash: Uint8Array }> {
    const sql = 'SELECT number, hash FROM audit_start ORDER BY number DESC LIMIT 1';
    return this.#file.first<{ number: number; hash: Uint8Array }>(sql) ?? chainStart;
  }

  async auditChain(page: { readonly after: number; readonly limit: number }): Promise<ChainedAuditEntry[]> {
    return this.#file
      .all<AuditRow & { readonly hash: Uint8Array }>(
        `SELECT number, at, event, actor, reference, code, text, detail, hash FROM audit_entry
         WHERE number > ? ORDER BY number LIMIT ?`,
        page.after,
        page.limit,
      )
      .map(chainedEntry);
  }

  async auditCheckpoints(): Promise<AuditCheckpoint[]> {
    return this.#file
      .all<CheckpointRow>(
        'SELECT number, hash, at, signer, algorithm, signature FROM audit_checkpoint ORDER BY number',
      )
      .map(checkpointOf);
  }

  async recordCheckpoint(checkpoint: AuditCheckpoint): Promise<void> {
    await this.#file.commit(() =>
      this.#file.run(
        `INSERT INTO audit_checkpoint (number, hash, at, signer, algorithm, signature) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT DO NOTHING`,
        ...checkpointValues(checkpoint),
      ),
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
    const work = () => this.#reserve(intent, claim, limit);
    const outcome = await (survives === 'machine' ? this.#file.commit(work) : this.#file.write(work));
    return reservationOf(outcome, intent);
  }

  /** The claim first, then the certificate; whatever stands in its way leaves no claim behind. */
  #reserve(
    intent: CertificateIntent,
    claim: AcceptedEnrolment | undefined,
    limit: IssuanceLimit | undefined,
  ): 'reserved' | 'taken' | 'busy' | 'claimed' | 'limited' {
    if (claim !== undefined && !this.#insertEnrolment(claim)) return 'claimed';
    const outcome =
      limit !== undefined && this.#isAtLimit(intent, limit) ? 'limited' : this.#insertIntent(intent);
    if (outcome !== 'reserved' && claim !== undefined) {
      this.#file.run(
        'DELETE FROM enrolment WHERE endpoint = ? AND replayKey = ?',
        claim.endpoint,
        claim.replayKey,
      );
      if (claim.replaces !== undefined) this.#deleteReplacement(claim.requestID);
      if (claim.notification !== undefined) this.#deleteNotification(claim.requestID);
    }
    return outcome;
  }

  /** One process writes at a time, so nobody reserves between the count and the intent. */
  #isAtLimit({ device, template }: CertificateIntent, limit: IssuanceLimit): boolean {
    const row = this.#file.first<{ count: number }>(
      `SELECT count(*) AS count FROM certificate
       WHERE device = ? AND device <> '' AND template = ? AND status IN ('intent', 'issued') AND notAfter > ?`,
      device,
      template,
      limit.notAfterLater.getTime(),
    );
    return (row?.count ?? 0) >= limit.certificatesMax;
  }

  #insertIntent(intent: CertificateIntent): 'reserved' | 'taken' | 'busy' {
    const { requestID } = intent;
    const inserted = this.#file.first<{ id: number }>(
      `INSERT INTO certificate (issuer, serialNumber, requestID, status, template, subject, subjectAltName, requester,
         device, publicKeyHash, notBefore, notAfter, reservedAt, crlPartition)
       VALUES (?, ?, ?, 'intent', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id`,
      ...intentValues(intent),
    );
    if (inserted === undefined) {
      const live = 'SELECT 1 FROM certificate WHERE requestID = ? AND isAbandoned = 0';
      return this.#file.first(live, requestID) === undefined ? 'taken' : 'busy';
    }
    this.#file.run(
      'INSERT INTO certificate_body (certificateID, tbsCertificate) VALUES (?, ?)',
      inserted.id,
      intent.tbsCertificate,
    );
    return 'reserved';
  }

  async recordCertificate(issued: {
    readonly issuer: string;
    readonly serialNumber: SerialNumber;
    readonly certificate: Uint8Array;
    readonly thumbprint: string;
    readonly audit: AuditEntry;
  }): Promise<void> {
    const recorded = await this.#file.commit(() => {
      const row = this.#file.first<{ id: number }>(
        `UPDATE certificate SET status = 'issued' WHERE issuer = ? AND serialNumber = ? AND status = 'intent'
         RETURNING id`,
        issued.issuer,
        issued.serialNumber,
      );
      if (row === undefined) return false;
      this.#file.run(
        `UPDATE certificate_body SET tbsCertificate = NULL, thumbprint = ?, certificate = ?
         WHERE certificateID = ?`,
        issued.thumbprint,
        issued.certificate,
        row.id,
      );
      this.#insertAudit(issued.audit);
      return true;
    });
    assertRecorded(recorded ? 'recorded' : 'no-intent', issued);
  }

  abandonIntents(rule: {
    readonly issuer: string;
    readonly reservedBefore: Date;
    readonly at: Date;
  }): Promise<SerialNumber[]> {
    return this.#file.commit(() => {
      const which = "issuer = ? AND status = 'intent' AND reservedAt <= ?";
      const parameters = [rule.issuer, rule.reservedBefore.getTime()];
      // Most often there is none, and then nothing has changed.
      if (this.#file.first(`SELECT 1 FROM certificate WHERE ${which}`, ...parameters) === undefined)
        return [];
      const rows = this.#file.all<{ serialNumber: SerialNumber }>(
        `UPDATE certificate SET status = 'abandoned', isAbandoned = 1, revokedAt = ?,
           revocationReason = 'cessationOfOperation', change = ?
         WHERE ${which} RETURNING serialNumber`,
        rule.at.getTime(),
        this.#nextChange(rule.issuer),
        ...parameters,
      );
      return rows.map((row) => row.serialNumber);
    });
  }

  async certificateBySerial(
    issuer: string,
    serialNumber: SerialNumber,
  ): Promise<CertificateRecord | undefined> {
    const row = this.#file.first<CertificateRow>(
      `${CERTIFICATE} WHERE issuer = ? AND serialNumber = ?`,
      issuer,
      serialNumber,
    );
    return row && certificateRecord(row);
  }

  async certificateByRequest(requestID: string): Promise<CertificateRecord | undefined> {
    const row = this.#file.first<CertificateRow>(
      `${CERTIFICATE} WHERE requestID = ? AND isAbandoned = 0`,
      requestID,
    );
    if (row !== undefined && row.status !== 'intent') await this.#file.durable();
    return row && certificateRecord(row);
  }

  async certificates(filter: CertificateFilter): Promise<CertificateRecord[]> {
    const { where, parameters } = conditionsOf(filter);
    return this.#file
      .all<CertificateRow>(
        `${CERTIFICATE} ${where} AND (id < ? OR ? IS NULL) ORDER BY id DESC LIMIT ?`,
        ...parameters,
        filter.after ?? null,
        filter.after ?? null,
        Math.max(0, filter.limit),
      )
      .map(certificateRecord);
  }

  async countCertificates(criteria: CertificateCriteria): Promise<number> {
    const { where, parameters } = conditionsOf(criteria);
    // The body is large and lies apart: it is read only for what it alone knows.
    const body =
      criteria.thumbprint === undefined
        ? ''
        : 'JOIN certificate_body AS body ON body.certificateID = certificate.id';
    const row = this.#file.first<{ count: number }>(
      `SELECT count(*) AS count FROM certificate ${body} ${where}`,
      ...parameters,
    );
    return row?.count ?? 0;
  }

  // --- revocation -------------------------------------------------------------------------------------------------

  revoke(revocation: {
    readonly issuer: string;
    readonly serialNumber: SerialNumber;
    readonly reason: RevocationReason;
    readonly at: Date;
    readonly audit: AuditEntry;
  }): Promise<'revoked' | 'already' | 'unknown'> {
    return this.#file.commit(() => {
      const row = this.#statusOf(revocation.issuer, revocation.serialNumber);
      if (row === undefined || row.status === 'intent') return 'unknown';
      const isHeld = row.status === 'revoked' && row.revocationReason === 'certificateHold';
      if (row.status !== 'issued' && !(isHeld && revocation.reason !== 'certificateHold')) return 'already';
      this.#file.run(
        `UPDATE certificate SET status = 'revoked', revokedAt = coalesce(revokedAt, ?), revocationReason = ?,
           change = ?
         WHERE id = ?`,
        revocation.at.getTime(),
        revocation.reason,
        this.#nextChange(revocation.issuer),
        row.id,
      );
      this.#insertAudit(revocation.audit);
      return 'revoked';
    });
  }

  release(release: {
    readonly issuer: string;
    readonly serialNumber: SerialNumber;
    readonly at: Date;
    readonly audit: AuditEntry;
  }): Promise<'released' | 'not-held' | 'unknown'> {
    return this.#file.commit(() => {
      const row = this.#statusOf(release.issuer, release.serialNumber);
      if (row === undefined || row.status === 'intent') return 'unknown';
      if (row.status !== 'revoked' || row.revocationReason !== 'certificateHold') return 'not-held';
      this.#file.run(
        `UPDATE certificate SET status = 'issued', revokedAt = NULL, revocationReason = NULL, releasedAt = ?,
           change = ?
         WHERE id = ?`,
        release.at.getTime(),
        this.#nextChange(release.issuer),
        row.id,
      );
      this.#insertAudit(release.audit);
      return 'released';
    });
  }

  #statusOf(
    issuer: string,
    serialNumber: SerialNumber,
  ): Pick<CertificateRow, 'id' | 'status' | 'revocationReason'> | undefined {
    return this.#file.first(
      'SELECT id, status, revocationReason FROM certificate WHERE issuer = ? AND serialNumber = ?',
      issuer,
      serialNumber,
    );
  }

  /** Takes the next number for a change of status. Only inside a transaction that makes the change. */
  #nextChange(issuer: string): number {
    const row = this.#file.first<{ change: number }>(
      `INSERT INTO issuer_counter (issuer, change) VALUES (?, 1)
       ON CONFLICT DO UPDATE SET change = change + 1 RETURNING change`,
      issuer,
    );
    if (row === undefined)
      throw new PkiError('internal', 'a change was numbered and the number not returned');
    return row.change;
  }

  crlEntries(scope: CrlEntriesScope): AsyncIterable<readonly CrlEntry[]> {
    return scope.changedAfter === undefined
      ? this.#revokedEntries(scope)
      : this.#changedEntries(scope, scope.changedAfter);
  }

  /** Page by page, with time for other work between them. */
  async *#revokedEntries({ issuer, partition, validAt }: CrlEntriesScope): AsyncIterable<CrlEntry[]> {
    let last = '';
    for (;;) {
      const rows = this.#file.all<CrlEntryRow>(
        `SELECT serialNumber, revokedAt AS at, revocationReason AS reason
         FROM certificate INDEXED BY certificate_revoked
         WHERE issuer = ? AND crlPartition = ? AND revokedAt IS NOT NULL AND notAfter >= ? AND serialNumber > ?
         ORDER BY serialNumber LIMIT ${CRL_PAGE_ROWS}`,
        issuer,
        partition,
        validAt.getTime(),
        last,
      );
      yield rows.map(crlEntry);
      if (rows.length < CRL_PAGE_ROWS) return;
      last = rows.at(-1)?.serialNumber ?? '';
      await setImmediate();
    }
  }

  /** At once, since a certificate that changes meanwhile would come twice or not at all; deltas are short. */
  async *#changedEntries(
    { issuer, partition, validAt }: CrlEntriesScope,
    changedAfter: number,
  ): AsyncIterable<CrlEntry[]> {
    yield this.#file
      .all<CrlEntryRow>(
        `SELECT serialNumber, coalesce(revokedAt, releasedAt) AS at,
           coalesce(revocationReason, 'removeFromCRL') AS reason
         FROM certificate INDEXED BY certificate_changed
         WHERE issuer = ? AND crlPartition = ? AND change > ? AND notAfter >= ? ORDER BY change`,
        issuer,
        partition,
        changedAfter,
        validAt.getTime(),
      )
      .map(crlEntry);
  }

  async latestChange(issuer: string, partition: number): Promise<number> {
    const row = this.#file.first<{ change: number | null }>(
      `SELECT max(change) AS change FROM certificate INDEXED BY certificate_changed
       WHERE issuer = ? AND crlPartition = ? AND change IS NOT NULL`,
      issuer,
      partition,
    );
    return row?.change ?? 0;
  }

  async reserveCrlNumber(issuer: string): Promise<number> {
    const row = await this.#file.commit(() =>
      this.#file.first<{ crlNumber: number }>(
        `INSERT INTO issuer_counter (issuer, crlNumber) VALUES (?, 1)
         ON CONFLICT DO UPDATE SET crlNumber = crlNumber + 1 RETURNING crlNumber`,
        issuer,
      ),
    );
    if (row === undefined) throw new PkiError('internal', 'a CRL number was reserved and not returned');
    return row.crlNumber;
  }

  async recordCrl(crl: CrlRecord): Promise<void> {
    await this.#file.commit(() => {
      this.#file.run(
        `INSERT INTO crl (issuer, crlPartition, kind, crlNumber, thisUpdate, nextUpdate, change, baseCrlNumber,
           baseThisUpdate, baseNextUpdate, baseChange, crl)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET crlNumber = excluded.crlNumber, thisUpdate = excluded.thisUpdate,
           nextUpdate = excluded.nextUpdate, change = excluded.change, baseCrlNumber = excluded.baseCrlNumber,
           baseThisUpdate = excluded.baseThisUpdate, baseNextUpdate = excluded.baseNextUpdate,
           baseChange = excluded.baseChange, crl = excluded.crl
         WHERE excluded.crlNumber > crl.crlNumber`,
        ...crlValues(crl),
      );
      // A CRL that another program made before this store existed counts too.
      this.#file.run(
        `INSERT INTO issuer_counter (issuer, crlNumber) VALUES (?, ?)
         ON CONFLICT DO UPDATE SET crlNumber = max(crlNumber, excluded.crlNumber)`,
        crl.issuer,
        crl.crlNumber,
      );
    });
  }

  async latestCrl(issuer: string, partition: number, kind: CrlKind): Promise<CrlRecord | undefined> {
    const row = this.#file.first<CrlStateRow & { readonly crl: Uint8Array }>(
      `SELECT ${CRL_STATE}, crl FROM crl WHERE issuer = ? AND crlPartition = ? AND kind = ?`,
      issuer,
      partition,
      kind,
    );
    return row && { ...crlState(row), crl: row.crl };
  }

  async crlStates(issuer: string): Promise<CrlState[]> {
    return this.#file
      .all<CrlStateRow>(
        `SELECT ${CRL_STATE} FROM crl WHERE issuer = ? ORDER BY crlPartition, kind DESC`,
        issuer,
      )
      .map(crlState);
  }

  // --- enrolments and challenges ----------------------------------------------------------------------------------

  async enrolment(endpoint: string, replayKey: string): Promise<EnrolmentRecord | undefined> {
    const row = this.#file.first<EnrolmentRow>(
      `SELECT requestID, endpoint, replayKey, transactionID, publicKeyHash, requestHash, device, acceptedAt,
         notifiedAt
       FROM enrolment WHERE endpoint = ? AND replayKey = ?`,
      endpoint,
      replayKey,
    );
    return row && enrolmentRecord(row);
  }

  /** Whether the claim was free. */
  #insertEnrolment(enrolment: AcceptedEnrolment): boolean {
    const inserted = this.#file.run(
      `INSERT INTO enrolment (requestID, endpoint, replayKey, transactionID, publicKeyHash, requestHash, device,
         acceptedAt)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
      ...enrolmentValues(enrolment),
    );
    if (inserted > 0 && enrolment.replaces !== undefined) {
      const { issuer, serialNumber, revokeAfterMs } = enrolment.replaces;
      this.#file.run(
        'INSERT INTO replacement (requestID, issuer, serialNumber, revokeAfterMs) VALUES (?, ?, ?, ?)',
        enrolment.requestID,
        issuer,
        serialNumber,
        revokeAfterMs,
      );
    }
    if (inserted > 0 && enrolment.notification !== undefined) {
      const { sealed, dueAt } = enrolment.notification;
      this.#file.run(
        'INSERT INTO notification (requestID, endpoint, replayKey, sealed, dueAt) VALUES (?, ?, ?, ?, ?)',
        enrolment.requestID,
        enrolment.endpoint,
        enrolment.replayKey,
        sealed,
        dueAt.getTime(),
      );
    }
    return inserted > 0;
  }

  async notificationsDue({
    at,
    limit,
  }: Parameters<PkiStore['notificationsDue']>[0]): Promise<PendingNotification[]> {
    return this.#file.all<PendingNotification>(
      'SELECT requestID, endpoint, replayKey, sealed FROM notification WHERE dueAt <= ? ORDER BY dueAt LIMIT ?',
      at.getTime(),
      limit,
    );
  }

  async postponeNotification(requestID: string, dueAt: Date): Promise<void> {
    await this.#file.commit(() =>
      this.#file.run('UPDATE notification SET dueAt = ? WHERE requestID = ?', dueAt.getTime(), requestID),
    );
  }

  async forgetNotification(requestID: string): Promise<void> {
    await this.#file.commit(() => this.#deleteNotification(requestID));
  }

  #deleteNotification(requestID: string): void {
    this.#file.run('DELETE FROM notification WHERE requestID = ?', requestID);
  }

  async replacementsDue({
    at,
    limit,
  }: Parameters<PkiStore['replacementsDue']>[0]): Promise<(Replaced & { readonly requestID: string })[]> {
    return this.#file.all<Replaced & { readonly requestID: string }>(
      `SELECT requestID, issuer, serialNumber FROM replacement AS old WHERE EXISTS (
         SELECT 1 FROM certificate WHERE certificate.requestID = old.requestID AND isAbandoned = 0
           AND status = 'issued' AND reservedAt <= ? - revokeAfterMs
       ) AND NOT EXISTS (SELECT 1 FROM notification WHERE notification.requestID = old.requestID) LIMIT ?`,
      at.getTime(),
      limit,
    );
  }

  async forgetReplaced(requestID: string): Promise<void> {
    await this.#file.commit(() => this.#deleteReplacement(requestID));
  }

  #deleteReplacement(requestID: string): void {
    this.#file.run('DELETE FROM replacement WHERE requestID = ?', requestID);
  }

  async recordNotified(
    enrolment: Pick<AcceptedEnrolment, 'endpoint' | 'replayKey'>,
    at: Date,
  ): Promise<void> {
    const { endpoint, replayKey } = enrolment;
    const changed = await this.#file.commit(() => {
      this.#file.run(
        `DELETE FROM notification WHERE requestID =
           (SELECT requestID FROM enrolment WHERE endpoint = ? AND replayKey = ?)`,
        endpoint,
        replayKey,
      );
      return this.#file.run(
        'UPDATE enrolment SET notifiedAt = coalesce(notifiedAt, ?) WHERE endpoint = ? AND replayKey = ?',
        at.getTime(),
        endpoint,
        replayKey,
      );
    });
    if (changed === 0) throw new PkiError('internal', 'there is no such enrolment');
  }

  // --- what an MDM wants revoked ----------------------------------------------------------------------------------

  async keepRevocationRequests(requests: readonly RevocationRequest[]): Promise<void> {
    await this.#file.commit(() => {
      for (const request of requests)
        this.#file.run(
          `INSERT INTO revocation_request (source, contextHash, requestContext, serialNumber, issuerName, action,
             reason, receivedAt)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
          ...revocationRequestValues(request),
        );
    });
  }

  async revocationRequests({
    source,
    limit,
  }: Parameters<PkiStore['revocationRequests']>[0]): Promise<RevocationRequest[]> {
    const rows = this.#file.all<RevocationRequestRow>(
      `SELECT source, requestContext, serialNumber, issuerName, action, reason, receivedAt FROM revocation_request
       WHERE source = ? ORDER BY id LIMIT ?`,
      source,
      limit,
    );
    if (rows.length > 0) await this.#file.durable();
    return rows.map(revocationRequest);
  }

  async forgetRevocationRequests(source: string, requestContexts: readonly string[]): Promise<void> {
    await this.#file.commit(() => {
      for (const requestContext of requestContexts)
        this.#file.run(
          'DELETE FROM revocation_request WHERE source = ? AND contextHash = ?',
          source,
          contextHashOf(requestContext),
        );
    });
  }

  async revocationBacklog(source: string): Promise<{ readonly count: number; readonly oldest?: Date }> {
    const row = this.#file.first<{ readonly count: number; readonly oldest: number | null }>(
      'SELECT count(*) AS count, min(receivedAt) AS oldest FROM revocation_request WHERE source = ?',
      source,
    );
    return revocationBacklog(row);
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
    const created = await this.#file.commit(() =>
      this.#file.run(
        `INSERT INTO challenge (challengeHash, endpoint, expiresAt, pinned, device, createdAt)
         VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
        ...challengeValues(challenge),
      ),
    );
    if (created === 0) throw new PkiError('internal', 'a challenge was made twice');
  }

  async challenge(challengeHash: string): Promise<ChallengeRecord | undefined> {
    const row = this.#file.first<ChallengeRow>(
      `SELECT challengeHash, endpoint, expiresAt, pinned, device, createdAt FROM challenge WHERE challengeHash = ?`,
      challengeHash,
    );
    return row && challengeRecord(row);
  }

  // --- admin tokens -----------------------------------------------------------------------------------------------

  async createAdminToken(token: AdminToken, audit: AuditEntry): Promise<'created' | 'taken'> {
    return await this.#file.commit(() => {
      const created = this.#file.run(
        `INSERT INTO admin_token (name, secretHash, roles, endpoints, createdAt, expiresAt)
         VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
        ...adminTokenValues(token),
      );
      if (created === 0) return 'taken';
      this.#insertAudit(audit);
      return 'created';
    });
  }

  async adminToken(name: string): Promise<AdminToken | undefined> {
    const row = this.#file.first<AdminTokenRow>(`${ADMIN_TOKEN} WHERE name = ?`, name);
    return row && adminTokenRecord(row);
  }

  async adminTokens(): Promise<AdminToken[]> {
    return this.#file.all<AdminTokenRow>(`${ADMIN_TOKEN} ORDER BY name`).map(adminTokenRecord);
  }

  async deleteAdminToken(name: string, audit: AuditEntry): Promise<'deleted' | 'unknown'> {
    return await this.#file.commit(() => {
      if (this.#file.run('DELETE FROM admin_token WHERE name = ?', name) === 0) return 'unknown';
      this.#insertAudit(audit);
      return 'deleted';
    });
  }

  // --- upkeep -----------------------------------------------------------------------------------------------------

  async prunable(rule: RetentionRule): Promise<PruneCounts> {
    const count = (sql: string, ...parameters: SQLInputValue[]) =>
      this.#file.first<{ count: number }>(`SELECT count(*) AS count FROM ${sql}`, ...parameters)?.count ?? 0;
    const expiredBefore = rule.expiredBefore.getTime();
    const start = this.#pruneTo(rule);
    return {
      certificates: count(`certificate ${PRUNABLE_CERTIFICATE}`, expiredBefore),
      enrolments: count(`enrolment ${PRUNABLE_ENROLMENT}`, expiredBefore),
      challenges: count(`challenge ${PRUNABLE_CHALLENGE}`, expiredBefore),
      heldRequests: count(`held_request ${PRUNABLE_HELD_REQUEST}`, expiredBefore),
      auditEntries: start === undefined ? 0 : count('audit_entry WHERE number <= ?', start.number),
    };
  }

  async prune(rule: RetentionRule): Promise<PruneCounts> {
    const expiredBefore = rule.expiredBefore.getTime();
    const certificates = await this.#inBatches(() => {
      const ids = `SELECT id FROM certificate ${PRUNABLE_CERTIFICATE} ORDER BY id LIMIT ${PRUNE_ROWS}`;
      this.#file.run(`DELETE FROM certificate_body WHERE certificateID IN (${ids})`, expiredBefore);
      this.#file.run(
        `DELETE FROM replacement WHERE (issuer, serialNumber) IN
           (SELECT issuer, serialNumber FROM certificate WHERE id IN (${ids}))`,
        expiredBefore,
      );
      // An approval without its certificate would be good for another one.
      this.#file.run(
        `DELETE FROM held_request WHERE requestID IN (SELECT requestID FROM certificate WHERE id IN (${ids}))`,
        expiredBefore,
      );
      return this.#file.run(`DELETE FROM certificate WHERE id IN (${ids})`, expiredBefore);
    });
    const heldRequests = await this.#inBatches(() =>
      this.#file.run(
        `DELETE FROM held_request WHERE id IN
           (SELECT id FROM held_request ${PRUNABLE_HELD_REQUEST} LIMIT ${PRUNE_ROWS})`,
        expiredBefore,
      ),
    );
    const enrolments = await this.#inBatches(() => {
      this.#file.run(
        `DELETE FROM notification WHERE requestID IN
           (SELECT requestID FROM enrolment ${PRUNABLE_ENROLMENT} LIMIT ${PRUNE_ROWS})`,
        expiredBefore,
      );
      return this.#file.run(
        `DELETE FROM enrolment WHERE id IN (SELECT id FROM enrolment ${PRUNABLE_ENROLMENT} LIMIT ${PRUNE_ROWS})`,
        expiredBefore,
      );
    });
    const challenges = await this.#inBatches(() =>
      this.#file.run(
        `DELETE FROM challenge WHERE challengeHash IN
           (SELECT challengeHash FROM challenge ${PRUNABLE_CHALLENGE} LIMIT ${PRUNE_ROWS})`,
        expiredBefore,
      ),
    );
    const start = this.#pruneTo(rule);
    if (start !== undefined) {
      await this.#file.commit(() => {
        this.#file.run('INSERT INTO audit_start (number, hash) VALUES (?, ?)', start.number, start.hash);
        this.#file.run('DELETE FROM audit_start WHERE number < ?', start.number);
        this.#file.run('DELETE FROM audit_checkpoint WHERE number <= ?', start.number);
      });
    }
    // Also what an interrupted run has left.
    const { number } = await this.auditStart();
    const auditEntries = await this.#inBatches(() =>
      this.#file.run(
        `DELETE FROM audit_entry WHERE number IN
           (SELECT number FROM audit_entry WHERE number <= ? ORDER BY number LIMIT ${PRUNE_ROWS})`,
        number,
      ),
    );
    return { certificates, enrolments, challenges, heldRequests, auditEntries };
  }

  /** The last audit entry that the rule lets go; `undefined` if there is none. */
  #pruneTo({ auditBefore }: RetentionRule): { number: number; hash: Uint8Array } | undefined {
    return this.#file.first(
      `SELECT number, hash FROM audit_entry
       WHERE number = (SELECT max(number) - 1 FROM audit_checkpoint WHERE at < ?)
         AND number > (SELECT coalesce(max(number), 0) FROM audit_start)`,
      auditBefore.getTime(),
    );
  }

  async #inBatches(remove: () => number): Promise<number> {
    let sum = 0;
    for (;;) {
      const removed = await this.#file.commit(remove);
      sum += removed;
      if (removed < PRUNE_ROWS) return sum;
    }
  }

  async resumeAfterRestore(restore: Parameters<PkiStore['resumeAfterRestore']>[0]): Promise<void> {
    await this.#file.commit(() => {
      for (const issuer of restore.issuers) {
        this.#file.run(
          `INSERT INTO issuer_counter (issuer, crlNumber) VALUES (?, ?)
           ON CONFLICT DO UPDATE SET crlNumber = crlNumber + excluded.crlNumber`,
          issuer,
          restore.crlNumberStep,
        );
        this.#file.run("DELETE FROM crl WHERE issuer = ? AND kind = 'delta'", issuer);
        this.#file.run('UPDATE crl SET nextUpdate = thisUpdate WHERE issuer = ?', issuer);
      }
      this.#insertAudit(restore.audit);
    });
  }
}

/** Rows that are pruned in one transaction: some ten milliseconds. */
const PRUNE_ROWS = 1_000;

const PRUNABLE_CERTIFICATE = `WHERE notAfter < ? AND (revokedAt IS NULL OR EXISTS (
  SELECT 1 FROM crl
  WHERE crl.issuer = certificate.issuer AND crl.crlPartition = certificate.crlPartition AND kind = 'full'
    AND crl.thisUpdate > certificate.notAfter))`;

const PRUNABLE_ENROLMENT = `WHERE acceptedAt < ? AND NOT EXISTS (
  SELECT 1 FROM certificate WHERE certificate.requestID = enrolment.requestID AND isAbandoned = 0)
  AND NOT EXISTS (SELECT 1 FROM held_request WHERE held_request.requestID = enrolment.requestID)`;

const PRUNABLE_HELD_REQUEST = `WHERE coalesce(decidedAt, expiresAt) < ? AND NOT EXISTS (
  SELECT 1 FROM certificate WHERE certificate.requestID = held_request.requestID AND isAbandoned = 0)`;

const ADMIN_TOKEN = 'SELECT name, secretHash, roles, endpoints, createdAt, expiresAt FROM admin_token';
const PRUNABLE_CHALLENGE = 'WHERE expiresAt < ?';

/** How each status is found; the rare ones by an index or a small table. */
const statusCondition: Readonly<Record<CertificateStatus, string>> = {
  intent: "status = 'intent' AND status = ?",
  issued: 'status = ?',
  revoked: 'revokedAt IS NOT NULL AND status = ?',
  abandoned: 'revokedAt IS NOT NULL AND status = ?',
};

/** The conditions of a search, from WHERE on. */
function conditionsOf(criteria: CertificateCriteria): {
  readonly where: string;
  readonly parameters: readonly SQLInputValue[];
} {
  const conditions: string[] = ['TRUE'];
  const parameters: SQLInputValue[] = [];
  const must = (condition: string, ...values: (string | Date | undefined)[]) => {
    if (values.includes(undefined)) return;
    conditions.push(condition);
    parameters.push(...values.map((value) => (value instanceof Date ? value.getTime() : (value ?? null))));
  };
  // A unary plus keeps SQLite from an index in which half of all rows would match. A serial number is found by its
  // index if the issuer is named.
  must(criteria.serialNumber === undefined ? '+issuer = ?' : 'issuer = ?', criteria.issuer);
  must('serialNumber = ?', criteria.serialNumber);
  must('+template = ?', criteria.template);
  must('+requester = ?', criteria.requester);
  must(criteria.device === '' ? '+device = ?' : "device = ? AND device <> ''", criteria.device);
  if (criteria.status !== undefined) must(statusCondition[criteria.status], criteria.status);
  const pattern =
    criteria.nameContains === undefined
      ? undefined
      : `%${criteria.nameContains.replaceAll(/[\\%_]/g, '\\$&')}%`;
  must("(subject LIKE ? ESCAPE '\\' OR subjectAltName LIKE ? ESCAPE '\\')", pattern, pattern);
  must('body.thumbprint = ?', criteria.thumbprint);
  must('reservedAt >= ?', criteria.reservedFrom);
  must('reservedAt < ?', criteria.reservedBefore);
  must('+notAfter >= ?', criteria.notAfterFrom);
  must('+notAfter < ?', criteria.notAfterBefore);
  return { where: `WHERE ${conditions.join(' AND ')}`, parameters };
}
