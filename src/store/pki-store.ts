/** The PKI store on SQLite: certificates, enrolments, challenges, CRLs and the audit log in one file. */
import type { SQLInputValue } from 'node:sqlite';
import { PkiError } from '../errors.ts';
import type {
  AcceptedEnrolment,
  AuditEntry,
  CertificateFilter,
  CertificateIntent,
  CertificateRecord,
  CertificateStatus,
  ChallengeRecord,
  CrlRecord,
  EnrolmentRecord,
  PkiStore,
  RevocationReason,
  RevokedEntry,
  SerialNumber,
  StoredAuditEntry,
} from './contract.ts';
import { pkiMigrations } from './migrations.ts';
import { SqliteFile } from './sqlite.ts';

/**
 * Opens the store, making file (mode 0600) and folder (0700) if need be.
 *
 * @throws PkiError `store_newer` or `store_unavailable`, as `SqliteFile.open`.
 */
export function openPkiStore(path: string): PkiStore {
  return new SqlitePkiStore(SqliteFile.open(path, pkiMigrations));
}

interface CertificateRow {
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
  readonly thumbprint: string | null;
  readonly certificate: Uint8Array | null;
}

interface EnrolmentRow extends Omit<EnrolmentRecord, 'acceptedAt' | 'notifiedAt'> {
  readonly acceptedAt: number;
  readonly notifiedAt: number | null;
}

interface ChallengeRow extends Omit<ChallengeRecord, 'expiresAt' | 'createdAt' | 'pinned'> {
  readonly expiresAt: number;
  readonly createdAt: number;
  readonly pinned: string;
}

interface AuditRow extends Omit<StoredAuditEntry, 'at' | 'detail'> {
  readonly at: number;
  readonly detail: string;
}

const CERTIFICATE = `
  SELECT issuer, serialNumber, requestID, status, template, subject, subjectAltName, requester, device, publicKeyHash,
    notBefore, notAfter, reservedAt, revokedAt, revocationReason, thumbprint, body.certificate
  FROM certificate LEFT JOIN certificate_body AS body ON body.certificateID = certificate.id`;

/** Left out of the index over the events. */
const COMMONEST_EVENT = 'certificate.issued';

const AUDIT_ENTRY = 'SELECT number, at, event, actor, reference, code, text, detail FROM audit_entry';

/** RFC 5280 §4.1.2.2: at most 20 octets. */
const serialNumberForm = /^(?:[0-9a-f]{2}){1,20}$/;

/**
 * Everything expected (a taken serial, a busy request) leaves the transaction as a value and is thrown outside of it:
 * an exception inside would make the whole group of commits run again, one by one.
 */
class SqlitePkiStore implements PkiStore {
  readonly #file: SqliteFile;

  constructor(file: SqliteFile) {
    this.#file = file;
  }

  async close(): Promise<void> {
    this.#file.close();
  }

  // --- audit ------------------------------------------------------------------------------------------------------

  async appendAudit(entry: AuditEntry): Promise<void> {
    await this.#file.commit(() => this.#insertAudit(entry));
  }

  async auditEntries(filter: {
    readonly event?: string;
    readonly reference?: string;
    readonly limit: number;
  }): Promise<StoredAuditEntry[]> {
    const limit = Math.max(0, filter.limit);
    const rows =
      filter.reference !== undefined
        ? this.#auditByReference(filter.reference, filter.event ?? '', limit)
        : filter.event !== undefined && filter.event !== ''
          ? this.#auditByEvent(filter.event, limit)
          : this.#file.all<AuditRow>(`${AUDIT_ENTRY} ORDER BY number DESC LIMIT ?`, limit);
    return rows.map((row) => ({ ...row, at: new Date(row.at), detail: JSON.parse(row.detail) }));
  }

  #auditByReference(reference: string, event: string, limit: number): AuditRow[] {
    // The index holds only entries that have a reference, and SQLite must see that this is all that we want.
    const which = reference === '' ? "reference = ''" : "reference = ? AND reference <> ''";
    const parameters = reference === '' ? [] : [reference];
    return this.#file.all<AuditRow>(
      `${AUDIT_ENTRY} WHERE ${which} AND event >= ? AND event < ? ORDER BY number DESC LIMIT ?`,
      ...parameters,
      event,
      afterPrefix(event),
      limit,
    );
  }

  /**
   * There are few events and many entries: find the events first, then the newest entries of each, by the index, which
   * leaves out the commonest event (SQLite must see that this is all that we want of it).
   */
  #auditByEvent(prefix: string, limit: number): AuditRow[] {
    const end = afterPrefix(prefix);
    const rows = COMMONEST_EVENT.startsWith(prefix)
      ? this.#file.all<AuditRow>(
          `${AUDIT_ENTRY} WHERE event = '${COMMONEST_EVENT}' ORDER BY number DESC LIMIT ?`,
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
          `${AUDIT_ENTRY} WHERE ${indexed} = ? ORDER BY number DESC LIMIT ?`,
          event,
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

  #insertAudit(entry: AuditEntry): void {
    this.#file.run(
      'INSERT INTO audit_entry (at, event, actor, reference, code, text, detail) VALUES (?, ?, ?, ?, ?, ?, ?)',
      entry.at.getTime(),
      entry.event,
      entry.actor,
      entry.reference,
      entry.code,
      entry.text,
      JSON.stringify(entry.detail),
    );
  }

  // --- certificates -----------------------------------------------------------------------------------------------

  async reserveSerial(
    intent: CertificateIntent,
    claim?: AcceptedEnrolment,
    survives: 'process' | 'machine' = 'process',
  ): Promise<'reserved' | 'taken' | 'claimed'> {
    if (!serialNumberForm.test(intent.serialNumber)) {
      throw new PkiError(
        'internal',
        `the serial number '${intent.serialNumber}' is not in its canonical form`,
      );
    }
    const work = () => this.#reserve(intent, claim);
    const outcome = await (survives === 'machine' ? this.#file.commit(work) : this.#file.write(work));
    if (outcome === 'busy') {
      throw new PkiError(
        'enrolment_busy',
        `request ${intent.requestID} has a certificate, or one is being made`,
      );
    }
    return outcome;
  }

  /** The claim first, then the certificate; whatever stands in its way leaves no claim behind. */
  #reserve(
    intent: CertificateIntent,
    claim: AcceptedEnrolment | undefined,
  ): 'reserved' | 'taken' | 'busy' | 'claimed' {
    const { issuer, serialNumber, requestID } = intent;
    if (claim !== undefined && !this.#insertEnrolment(claim)) return 'claimed';
    const inserted = this.#file.first<{ id: number }>(
      `INSERT INTO certificate (issuer, serialNumber, requestID, status, template, subject, subjectAltName, requester,
         device, publicKeyHash, notBefore, notAfter, reservedAt)
       VALUES (?, ?, ?, 'intent', ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id`,
      issuer,
      serialNumber,
      requestID,
      intent.template,
      intent.subject,
      intent.subjectAltName,
      intent.requester,
      intent.device,
      intent.publicKeyHash,
      intent.notBefore.getTime(),
      intent.notAfter.getTime(),
      intent.reservedAt.getTime(),
    );
    if (inserted === undefined) {
      if (claim !== undefined) {
        this.#file.run(
          'DELETE FROM enrolment WHERE endpoint = ? AND replayKey = ?',
          claim.endpoint,
          claim.replayKey,
        );
      }
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
    if (!recorded) {
      throw new PkiError(
        'enrolment_busy',
        `serial number ${issued.serialNumber} of ${issued.issuer} is no live intent: it was abandoned meanwhile`,
      );
    }
  }

  abandonIntents(rule: {
    readonly issuer: string;
    readonly reservedBefore: Date;
    readonly at: Date;
  }): Promise<SerialNumber[]> {
    return this.#file.commit(() => {
      const rows = this.#file.all<{ serialNumber: SerialNumber }>(
        `UPDATE certificate SET status = 'abandoned', isAbandoned = 1, revokedAt = ?,
           revocationReason = 'cessationOfOperation'
         WHERE issuer = ? AND status = 'intent' AND reservedAt <= ?
         RETURNING serialNumber`,
        rule.at.getTime(),
        rule.issuer,
        rule.reservedBefore.getTime(),
      );
      if (rows.length > 0) this.#countRevocations(rule.issuer, rows.length);
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
    const conditions: string[] = [];
    const parameters: SQLInputValue[] = [];
    const must = (condition: string, value: string | undefined) => {
      if (value === undefined) return;
      conditions.push(condition);
      parameters.push(value);
    };
    // A unary plus keeps SQLite from an index in which half of all rows would match.
    must('+issuer = ?', filter.issuer);
    must('+template = ?', filter.template);
    must(filter.device === '' ? '+device = ?' : "device = ? AND device <> ''", filter.device);
    if (filter.status !== undefined) must(statusCondition[filter.status], filter.status);
    const where = conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`;
    return this.#file
      .all<CertificateRow>(
        `${CERTIFICATE} ${where} ORDER BY id DESC LIMIT ?`,
        ...parameters,
        Math.max(0, filter.limit),
      )
      .map(certificateRecord);
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
      const changed = this.#file.run(
        `UPDATE certificate SET status = 'revoked', revokedAt = ?, revocationReason = ?
         WHERE issuer = ? AND serialNumber = ? AND status = 'issued'`,
        revocation.at.getTime(),
        revocation.reason,
        revocation.issuer,
        revocation.serialNumber,
      );
      if (changed === 0) {
        const row = this.#file.first<{ status: CertificateStatus }>(
          'SELECT status FROM certificate WHERE issuer = ? AND serialNumber = ?',
          revocation.issuer,
          revocation.serialNumber,
        );
        return row === undefined || row.status === 'intent' ? 'unknown' : 'already';
      }
      this.#countRevocations(revocation.issuer, 1);
      this.#insertAudit(revocation.audit);
      return 'revoked';
    });
  }

  #countRevocations(issuer: string, count: number): void {
    this.#file.run(
      `INSERT INTO issuer_counter (issuer, revocationCount) VALUES (?, ?)
       ON CONFLICT DO UPDATE SET revocationCount = revocationCount + excluded.revocationCount`,
      issuer,
      count,
    );
  }

  async revokedEntries(issuer: string, validAt: Date): Promise<RevokedEntry[]> {
    return this.#file
      .all<{ serialNumber: SerialNumber; revokedAt: number; reason: RevocationReason }>(
        `SELECT serialNumber, revokedAt, revocationReason AS reason
         FROM certificate INDEXED BY certificate_revoked
         WHERE issuer = ? AND revokedAt IS NOT NULL AND notAfter >= ? ORDER BY serialNumber`,
        issuer,
        validAt.getTime(),
      )
      .map((row) => ({
        serialNumber: row.serialNumber,
        revokedAt: new Date(row.revokedAt),
        reason: row.reason,
      }));
  }

  async revocationCount(issuer: string): Promise<number> {
    const row = this.#file.first<{ revocationCount: number }>(
      'SELECT revocationCount FROM issuer_counter WHERE issuer = ?',
      issuer,
    );
    return row?.revocationCount ?? 0;
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
        `INSERT INTO crl (issuer, crlNumber, thisUpdate, nextUpdate, revocationCount, crl) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET crlNumber = excluded.crlNumber, thisUpdate = excluded.thisUpdate,
           nextUpdate = excluded.nextUpdate, revocationCount = excluded.revocationCount, crl = excluded.crl
         WHERE excluded.crlNumber > crl.crlNumber`,
        crl.issuer,
        crl.crlNumber,
        crl.thisUpdate.getTime(),
        crl.nextUpdate.getTime(),
        crl.revocationCount,
        crl.crl,
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

  async latestCrl(issuer: string): Promise<CrlRecord | undefined> {
    const row = this.#file.first<
      Omit<CrlRecord, 'thisUpdate' | 'nextUpdate'> & { thisUpdate: number; nextUpdate: number }
    >(
      'SELECT issuer, crlNumber, thisUpdate, nextUpdate, revocationCount, crl FROM crl WHERE issuer = ?',
      issuer,
    );
    return row && { ...row, thisUpdate: new Date(row.thisUpdate), nextUpdate: new Date(row.nextUpdate) };
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
    if (row === undefined) return undefined;
    const { notifiedAt, ...rest } = row;
    const record = { ...rest, acceptedAt: new Date(row.acceptedAt) };
    return notifiedAt === null ? record : { ...record, notifiedAt: new Date(notifiedAt) };
  }

  /** Whether the claim was free. */
  #insertEnrolment(enrolment: AcceptedEnrolment): boolean {
    const inserted = this.#file.run(
      `INSERT INTO enrolment (requestID, endpoint, replayKey, transactionID, publicKeyHash, requestHash, device,
         acceptedAt)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
      enrolment.requestID,
      enrolment.endpoint,
      enrolment.replayKey,
      enrolment.transactionID,
      enrolment.publicKeyHash,
      enrolment.requestHash,
      enrolment.device,
      enrolment.acceptedAt.getTime(),
    );
    return inserted > 0;
  }

  async recordNotified(
    enrolment: Pick<AcceptedEnrolment, 'endpoint' | 'replayKey'>,
    at: Date,
  ): Promise<void> {
    const changed = await this.#file.commit(() =>
      this.#file.run(
        'UPDATE enrolment SET notifiedAt = coalesce(notifiedAt, ?) WHERE endpoint = ? AND replayKey = ?',
        at.getTime(),
        enrolment.endpoint,
        enrolment.replayKey,
      ),
    );
    if (changed === 0) throw new PkiError('internal', 'there is no such enrolment');
  }

  async createChallenge(challenge: ChallengeRecord): Promise<void> {
    const created = await this.#file.commit(() =>
      this.#file.run(
        `INSERT INTO challenge (challengeHash, endpoint, expiresAt, pinned, device, createdAt)
         VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
        challenge.challengeHash,
        challenge.endpoint,
        challenge.expiresAt.getTime(),
        JSON.stringify(challenge.pinned),
        challenge.device,
        challenge.createdAt.getTime(),
      ),
    );
    if (created === 0) throw new PkiError('internal', 'a challenge was made twice');
  }

  async challenge(challengeHash: string): Promise<ChallengeRecord | undefined> {
    const row = this.#file.first<ChallengeRow>(
      `SELECT challengeHash, endpoint, expiresAt, pinned, device, createdAt FROM challenge WHERE challengeHash = ?`,
      challengeHash,
    );
    return (
      row && {
        ...row,
        expiresAt: new Date(row.expiresAt),
        createdAt: new Date(row.createdAt),
        pinned: JSON.parse(row.pinned),
      }
    );
  }
}

/** How each status is found; the rare ones by an index or a small table. */
const statusCondition: Readonly<Record<CertificateStatus, string>> = {
  intent: "status = 'intent' AND status = ?",
  issued: 'status = ?',
  revoked: 'revokedAt IS NOT NULL AND status = ?',
  abandoned: 'revokedAt IS NOT NULL AND status = ?',
};

/** The first string that sorts after all that begin with `prefix`: U+10FFFF is in no event. */
function afterPrefix(prefix: string): string {
  return `${prefix}\u{10FFFF}`;
}

function certificateRecord(row: CertificateRow): CertificateRecord {
  const { certificate, thumbprint, revokedAt, revocationReason, ...rest } = row;
  return {
    ...rest,
    notBefore: new Date(row.notBefore),
    notAfter: new Date(row.notAfter),
    reservedAt: new Date(row.reservedAt),
    ...(certificate !== null && thumbprint !== null && { certificate, thumbprint }),
    ...(revokedAt !== null &&
      revocationReason !== null && { revokedAt: new Date(revokedAt), revocationReason }),
  };
}
