/** What the MDM remembers of profiles that bring a PFX: whom it is encrypted to, and the requests that a connector works on. */
import type { Migration, SqliteFile } from '../store/sqlite.ts';
import type { ResolvedScepProfile } from './profiles.ts';
import type { UserPfxId } from './user-pfx-store.ts';

/**
 * How far a request has come.
 *
 * `requested`: a connector is to make the key. `uploaded`: the encrypted PFX is here, and the connector has not yet said
 * that the key is forgotten. `issued`: it waits for its device. `delivered`: the device has installed it. `withdrawing`:
 * nobody wants it any more, and a connector is to see to it that no certificate of it stays good. `withdrawn` and `failed`
 * are ends.
 */
export type PkcsRequestState =
  | 'requested'
  | 'uploaded'
  | 'issued'
  | 'delivered'
  | 'withdrawing'
  | 'withdrawn'
  | 'failed';

/** What the connector is to order of the CA. */
export interface PkcsOrder extends ResolvedScepProfile {
  /** Name of the issuing CA. */
  readonly certificationAuthorityName: string;
  readonly certificateTemplateName: string;
}

/** Which imported PFX the connector is to hand on. */
export interface ImportedPfxOrder extends UserPfxId {
  /** The same certificate, imported once more, is another order. ISO 8601. */
  readonly lastModifiedDateTime: string;
}

/** Whether an order is for an imported PFX; else it is for a key that the connector makes. */
export function isImported(order: PkcsOrder | ImportedPfxOrder): order is ImportedPfxOrder {
  return 'thumbprint' in order;
}

/** A PFX as the connector delivers it: both parts are CMS EnvelopedData, base64. Nobody but the recipient can open them. */
export interface EncryptedPfx {
  readonly encryptedPfxBlob: string;
  readonly encryptedPfxPassword: string;
}

/** The certificate in it. */
export interface PkcsCertificate {
  /** SHA-1, upper-case hexadecimal. */
  readonly thumbprint: string;
  /** Upper-case hexadecimal. */
  readonly serialNumber: string;
  readonly issuerName: string;
  readonly notAfter: Date;
}

/** One request for a key and a certificate, in a PFX. */
export interface PkcsRequest {
  /** GUID. */
  readonly requestId: string;
  readonly deviceId: string;
  readonly profileId: string;
  readonly profileVersion: number;
  /** Of a user's certificate: whom it is for. */
  readonly userId?: string;
  readonly state: PkcsRequestState;
  /** How often a connector has taken it; each time it may have made a key and a certificate. */
  readonly attempt: number;
  readonly order: PkcsOrder | ImportedPfxOrder;
  /** Base64 of the DER of the certificate that the PFX is encrypted to. */
  readonly recipient: string;
  readonly createdAt: Date;
  /** Until then it is the connector's that took it; absent before it was taken. */
  readonly leaseUntil?: Date;
  readonly pfx?: EncryptedPfx;
  readonly certificate?: PkcsCertificate;
  /** Our code of the refusal that it failed by. */
  readonly error?: string;
  readonly endedAt?: Date;
  /** Of a request that somebody fetches in the device's place: nobody does so later. */
  readonly wantedUntil?: Date;
}

/** The tables of this file. */
export const pkcsMigration: Migration = {
  name: 'PKCS requests',
  sql: `
    CREATE TABLE pkcsRecipient (
      deviceId TEXT PRIMARY KEY REFERENCES device ON DELETE CASCADE,
      certificate TEXT NOT NULL
    ) STRICT;
    CREATE TABLE pkcsRequest (
      requestId TEXT PRIMARY KEY,
      deviceId TEXT NOT NULL,
      profileId TEXT NOT NULL,
      state TEXT NOT NULL,
      createdAt TEXT NOT NULL,
      body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX pkcsRequestByDevice ON pkcsRequest (deviceId, profileId, createdAt);
    CREATE INDEX pkcsRequestByState ON pkcsRequest (state, createdAt)
      WHERE state IN ('requested', 'uploaded', 'issued', 'withdrawing');
  `,
};

interface Row {
  readonly body: string;
}

/** The tables for PKCS profiles, in the MDM's file. What is written is durable when the promise resolves. */
export class PkcsStore {
  readonly #file: SqliteFile;

  constructor(file: SqliteFile) {
    this.#file = file;
  }

  /** Whom keys for the device are encrypted to: base64 of a certificate's DER; `undefined` before it has named one. */
  recipient(deviceId: string): string | undefined {
    return this.#file.first<{ readonly certificate: string }>(
      'SELECT certificate FROM pkcsRecipient WHERE deviceId = ?',
      deviceId,
    )?.certificate;
  }

  /** Names the recipient, in place of the one before. */
  putRecipient(deviceId: string, certificate: string): Promise<void> {
    return this.#file.commit(() => {
      this.#file.run(
        `INSERT INTO pkcsRecipient (deviceId, certificate) VALUES (?, ?)
         ON CONFLICT (deviceId) DO UPDATE SET certificate = excluded.certificate`,
        deviceId,
        certificate,
      );
    });
  }

  request(requestId: string): PkcsRequest | undefined {
    const row = this.#file.first<Row>('SELECT body FROM pkcsRequest WHERE requestId = ?', requestId);
    return row === undefined ? undefined : requestFrom(row);
  }

  /** The newest request for a profile on a device, of those that the device itself fetches. */
  newest(deviceId: string, profileId: string): PkcsRequest | undefined {
    const row = this.#file.first<Row>(
      `SELECT body FROM pkcsRequest WHERE deviceId = ? AND profileId = ? AND body ->> '$.wantedUntil' IS NULL
        ORDER BY createdAt DESC, rowid DESC LIMIT 1`,
      deviceId,
      profileId,
    );
    return row === undefined ? undefined : requestFrom(row);
  }

  /** Requests that are not at an end, oldest first. */
  open(limit: number): PkcsRequest[] {
    return this.#file
      .all<Row>(
        `SELECT body FROM pkcsRequest WHERE state IN ('requested', 'uploaded', 'issued', 'withdrawing')
          ORDER BY createdAt, rowid LIMIT ?`,
        limit,
      )
      .map(requestFrom);
  }

  /** Records a request that stands beside all others. */
  put(request: PkcsRequest): Promise<void> {
    return this.#file.commit(() => this.#put(request));
  }

  /**
   * Records a new request after `before`, which `change` brings to an end in the same transaction (see `change`). Nothing is
   * written if `before` is not the newest of its profile and device any more.
   */
  add(
    request: PkcsRequest,
    before: PkcsRequest | undefined,
    change: (request: PkcsRequest) => PkcsRequest | undefined,
  ): Promise<void> {
    return this.#file.commit(() => {
      const newest = this.newest(request.deviceId, request.profileId);
      if (newest?.requestId !== before?.requestId) return;
      const after = newest === undefined ? undefined : change(newest);
      if (after !== undefined) this.#put(after);
      this.#put(request);
    });
  }

  /**
   * Changes one request: `change` sees it as it is and answers what it becomes, or `undefined` to leave it. Answers what is
   * there afterwards. `change` must depend on nothing else, for it may run twice.
   */
  change(
    requestId: string,
    change: (request: PkcsRequest) => PkcsRequest | undefined,
  ): Promise<PkcsRequest | undefined> {
    return this.#file.commit(() => {
      const before = this.request(requestId);
      const after = before === undefined ? undefined : change(before);
      if (after !== undefined) this.#put(after);
      return after ?? before;
    });
  }

  #put(request: PkcsRequest): void {
    this.#file.run(
      `INSERT INTO pkcsRequest (requestId, deviceId, profileId, state, createdAt, body) VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT (requestId) DO UPDATE SET state = excluded.state, body = excluded.body`,
      request.requestId,
      request.deviceId,
      request.profileId,
      request.state,
      request.createdAt.toISOString(),
      JSON.stringify(request),
    );
  }
}

function requestFrom({ body }: Row): PkcsRequest {
  const request = JSON.parse(body) as Record<string, unknown>;
  const date = (name: string, from: Record<string, unknown>) =>
    typeof from[name] === 'string' ? { [name]: new Date(from[name]) } : {};
  const certificate = request.certificate as Record<string, unknown> | undefined;
  return {
    ...request,
    ...date('createdAt', request),
    ...date('leaseUntil', request),
    ...date('endedAt', request),
    ...date('wantedUntil', request),
    ...(certificate === undefined
      ? {}
      : { certificate: { ...certificate, ...date('notAfter', certificate) } }),
  } as unknown as PkcsRequest;
}
