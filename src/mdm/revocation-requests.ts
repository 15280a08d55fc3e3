/** What the CA is asked to do with certificates, until it has answered: Intune's `caRevocationRequest`. */
import { randomUUID } from 'node:crypto';
import type { Migration, SqliteFile } from '../store/sqlite.ts';
import type { RevocationAction, RevocationReason } from './lifecycle.ts';

/** What is asked of the CA. */
export interface RevocationOrder {
  /** Upper-case hexadecimal. */
  readonly serialNumber: string;
  /** Name of the issuing CA, as it was notified. */
  readonly issuerName: string;
  /** `hold` and `release` are ours: a real Intune asks for `revoke` alone. */
  readonly action: RevocationAction;
  /** Absent for a release. Intune names none. */
  readonly reason?: RevocationReason | undefined;
}

/** An order that waits for its answer. */
export interface RevocationRequest extends RevocationOrder {
  /** Names the request; the connector sends it back as it came. */
  readonly requestContext: string;
  readonly requestedAt: Date;
}

/** Intune's words and numbers for a failure that another try may mend. */
const retryableErrors: ReadonlySet<string> = new Set([
  'RetryableServiceException',
  'ServiceUnavailableException',
  'ServiceTooBusyException',
  'AuthenticationException',
  '4100',
  '4101',
  '4102',
  '4103',
]);

/** What the connector answered. */
export interface RevocationResult {
  readonly requestContext: string;
  readonly succeeded: boolean;
  /** Intune's word or number for it; `None` if it succeeded. */
  readonly errorCode: string;
  readonly errorMessage?: string | undefined;
}

/** The table of this file. */
export const revocationMigration: Migration = {
  name: 'revocation requests',
  sql: `
    CREATE TABLE revocationRequest (
      number INTEGER PRIMARY KEY,
      requestContext TEXT NOT NULL UNIQUE,
      serialNumber TEXT NOT NULL,
      issuerName TEXT NOT NULL,
      action TEXT NOT NULL CHECK (action IN ('revoke', 'hold', 'release')),
      reason TEXT,
      requestedAt TEXT NOT NULL,
      answeredAt TEXT,
      succeeded INTEGER,
      errorCode TEXT,
      errorMessage TEXT
    ) STRICT;
    CREATE INDEX revocationRequestWaiting ON revocationRequest (issuerName, number) WHERE answeredAt IS NULL;
    CREATE INDEX revocationRequestByCertificate ON revocationRequest (serialNumber, issuerName, number);
  `,
};

interface Row {
  readonly requestContext: string;
  readonly serialNumber: string;
  readonly issuerName: string;
  readonly action: RevocationAction;
  readonly reason: RevocationReason | null;
  readonly requestedAt: string;
}

/** The queue. Promises as those of `MdmStore`. */
export class RevocationRequests {
  readonly #file: SqliteFile;

  constructor(file: SqliteFile) {
    this.#file = file;
  }

  /** Adds a request, unless the last one for this certificate asks for the same and has not failed. */
  add(order: RevocationOrder, at: Date): Promise<void> {
    return this.#file.commit(() => {
      const last = this.#file.first<{ readonly action: string; readonly succeeded: number | null }>(
        `SELECT action, succeeded FROM revocationRequest WHERE serialNumber = ? AND issuerName = ?
          ORDER BY number DESC LIMIT 1`,
        order.serialNumber,
        order.issuerName,
      );
      if (last?.action === order.action && last.succeeded !== 0) return;
      this.#file.run(
        `INSERT INTO revocationRequest (requestContext, serialNumber, issuerName, action, reason, requestedAt)
         VALUES (?, ?, ?, ?, ?, ?)`,
        randomUUID(),
        order.serialNumber,
        order.issuerName,
        order.action,
        order.reason ?? null,
        at.toISOString(),
      );
    });
  }

  /**
   * Requests that wait, oldest first; `issuerName` absent means those of all CAs. The same are given out again until they are
   * answered: Intune documents no lease, and who revokes does so idempotently.
   */
  waiting(filter: { readonly issuerName?: string | undefined; readonly limit: number }): RevocationRequest[] {
    return this.#file
      .all<Row>(
        `SELECT requestContext, serialNumber, issuerName, action, reason, requestedAt FROM revocationRequest
          WHERE answeredAt IS NULL AND (?1 IS NULL OR issuerName = ?1) ORDER BY number LIMIT ?2`,
        filter.issuerName ?? null,
        filter.limit,
      )
      .map(requestFrom);
  }

  /** How many wait. */
  backlog(): number {
    const row = this.#file.first<{ readonly count: number }>(
      'SELECT count(*) AS count FROM revocationRequest WHERE answeredAt IS NULL',
    );
    return row?.count ?? 0;
  }

  /**
   * Takes an answer down, the first one for each request. The request that was answered; `undefined` if it is not known, or
   * was answered before. A failure that another try may mend leaves the request waiting.
   */
  async answer(result: RevocationResult, at: Date): Promise<RevocationRequest | undefined> {
    if (!result.succeeded && retryableErrors.has(result.errorCode)) return undefined;
    return await this.#file.commit(() => {
      const row = this.#file.first<Row>(
        `UPDATE revocationRequest SET answeredAt = ?, succeeded = ?, errorCode = ?, errorMessage = ?
          WHERE requestContext = ? AND answeredAt IS NULL
         RETURNING requestContext, serialNumber, issuerName, action, reason, requestedAt`,
        at.toISOString(),
        result.succeeded ? 1 : 0,
        result.errorCode,
        result.errorMessage ?? null,
        result.requestContext,
      );
      return row === undefined ? undefined : requestFrom(row);
    });
  }
}

function requestFrom(row: Row): RevocationRequest {
  const { reason, requestedAt, ...rest } = row;
  return { ...rest, requestedAt: new Date(requestedAt), ...(reason === null ? {} : { reason }) };
}
