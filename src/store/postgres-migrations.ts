/**
 * The schema of the PKI database on PostgreSQL: the same tables, columns and meanings as in `migrations.ts`, step by step,
 * with this database's types. Statements are parted by an empty line. Names keep their capitals, hence the quotes; what is
 * sorted or searched by prefix compares octets (`COLLATE "C"`), whatever the locale of the database.
 */
import type { Migration } from './sqlite.ts';

/** The steps, in order. */
export const postgresMigrations: readonly Migration[] = [
  {
    name: 'audit log',
    sql: `
      CREATE TABLE audit_entry (
        number    BIGINT PRIMARY KEY,
        at        BIGINT NOT NULL,
        event     TEXT COLLATE "C" NOT NULL,
        actor     TEXT NOT NULL,
        reference TEXT COLLATE "C" NOT NULL,
        code      TEXT NOT NULL,
        text      TEXT NOT NULL,
        detail    TEXT NOT NULL,
        hash      BYTEA NOT NULL
      )

      CREATE INDEX audit_entry_event ON audit_entry (event, number) WHERE event <> 'certificate.issued'

      CREATE INDEX audit_entry_reference ON audit_entry (reference) WHERE reference <> ''

      CREATE TABLE audit_start (
        number BIGINT PRIMARY KEY,
        hash   BYTEA NOT NULL
      )

      CREATE TABLE audit_checkpoint (
        number    BIGINT PRIMARY KEY,
        hash      BYTEA NOT NULL,
        at        BIGINT NOT NULL,
        signer    TEXT NOT NULL,
        algorithm TEXT NOT NULL,
        signature BYTEA NOT NULL
      )

      CREATE FUNCTION audit_entry_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF TG_OP = 'DELETE' AND OLD.number <= (SELECT coalesce(max(number), 0) FROM audit_start) THEN
          RETURN OLD;
        END IF;
        RAISE EXCEPTION 'the audit log is append-only';
      END $$

      CREATE TRIGGER audit_entry_is_kept BEFORE DELETE OR UPDATE ON audit_entry
        FOR EACH ROW EXECUTE FUNCTION audit_entry_is_kept()

      CREATE TRIGGER audit_entry_is_never_emptied BEFORE TRUNCATE ON audit_entry
        FOR EACH STATEMENT EXECUTE FUNCTION audit_entry_is_kept()
    `,
  },
  {
    name: 'certificates',
    sql: `
      CREATE TABLE certificate (
        id                 BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        issuer             TEXT COLLATE "C" NOT NULL,
        "serialNumber"     TEXT COLLATE "C" NOT NULL,
        "requestID"        TEXT COLLATE "C" NOT NULL,
        status             TEXT NOT NULL CHECK (status IN ('intent', 'issued', 'revoked', 'abandoned')),
        template           TEXT NOT NULL,
        subject            TEXT NOT NULL,
        "subjectAltName"   TEXT NOT NULL,
        requester          TEXT NOT NULL,
        device             TEXT COLLATE "C" NOT NULL,
        "publicKeyHash"    TEXT NOT NULL,
        "notBefore"        BIGINT NOT NULL,
        "notAfter"         BIGINT NOT NULL,
        "reservedAt"       BIGINT NOT NULL,
        "revokedAt"        BIGINT,
        "revocationReason" TEXT,
        "releasedAt"       BIGINT,
        "crlPartition"     INTEGER NOT NULL,
        change             BIGINT,
        "isAbandoned"      INTEGER NOT NULL DEFAULT 0
      )

      CREATE UNIQUE INDEX "certificate_serialNumber" ON certificate (issuer, "serialNumber")

      CREATE UNIQUE INDEX "certificate_requestID" ON certificate ("requestID") WHERE "isAbandoned" = 0

      CREATE INDEX certificate_intent ON certificate (issuer) WHERE status = 'intent'

      CREATE INDEX certificate_device ON certificate (device) WHERE device <> ''

      CREATE INDEX certificate_revoked ON certificate (issuer, "crlPartition", "serialNumber")
        WHERE "revokedAt" IS NOT NULL

      CREATE INDEX certificate_changed ON certificate (issuer, "crlPartition", change) WHERE change IS NOT NULL

      CREATE TABLE certificate_body (
        "certificateID"  BIGINT PRIMARY KEY,
        "tbsCertificate" BYTEA,
        thumbprint       TEXT,
        certificate      BYTEA
      )
    `,
  },
  {
    name: 'CRLs',
    sql: `
      CREATE TABLE issuer_counter (
        issuer      TEXT COLLATE "C" PRIMARY KEY,
        "crlNumber" BIGINT NOT NULL DEFAULT 0,
        change      BIGINT NOT NULL DEFAULT 0
      )

      CREATE TABLE crl (
        issuer           TEXT COLLATE "C" NOT NULL,
        "crlPartition"   INTEGER NOT NULL,
        kind             TEXT NOT NULL CHECK (kind IN ('full', 'delta')),
        "crlNumber"      BIGINT NOT NULL,
        "thisUpdate"     BIGINT NOT NULL,
        "nextUpdate"     BIGINT NOT NULL,
        change           BIGINT NOT NULL,
        "baseCrlNumber"  BIGINT,
        "baseThisUpdate" BIGINT,
        "baseNextUpdate" BIGINT,
        "baseChange"     BIGINT,
        crl              BYTEA NOT NULL,
        PRIMARY KEY (issuer, "crlPartition", kind)
      )
    `,
  },
  {
    name: 'enrolments and challenges',
    sql: `
      CREATE TABLE enrolment (
        endpoint        TEXT COLLATE "C" NOT NULL,
        "replayKey"     TEXT COLLATE "C" NOT NULL,
        "requestID"     TEXT NOT NULL,
        "transactionID" TEXT NOT NULL,
        "publicKeyHash" TEXT NOT NULL,
        "requestHash"   TEXT NOT NULL,
        device          TEXT NOT NULL,
        "acceptedAt"    BIGINT NOT NULL,
        "notifiedAt"    BIGINT,
        PRIMARY KEY (endpoint, "replayKey")
      )

      CREATE TABLE challenge (
        "challengeHash" TEXT COLLATE "C" PRIMARY KEY,
        endpoint        TEXT NOT NULL,
        "expiresAt"     BIGINT NOT NULL,
        pinned          TEXT NOT NULL,
        device          TEXT NOT NULL,
        "createdAt"     BIGINT NOT NULL
      )

      CREATE TABLE replacement (
        "requestID"     TEXT COLLATE "C" PRIMARY KEY,
        issuer          TEXT NOT NULL,
        "serialNumber"  TEXT NOT NULL,
        "revokeAfterMs" BIGINT NOT NULL
      )

      CREATE TABLE notification (
        "requestID" TEXT COLLATE "C" PRIMARY KEY,
        endpoint    TEXT NOT NULL,
        "replayKey" TEXT NOT NULL,
        sealed      BYTEA NOT NULL,
        "dueAt"     BIGINT NOT NULL
      )

      CREATE INDEX "notification_dueAt" ON notification ("dueAt")

      CREATE TABLE revocation_request (
        id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        source           TEXT NOT NULL,
        "contextHash"    TEXT COLLATE "C" NOT NULL,
        "requestContext" TEXT NOT NULL,
        "serialNumber"   TEXT NOT NULL,
        "issuerName"     TEXT NOT NULL,
        action           TEXT NOT NULL,
        reason           TEXT NOT NULL,
        "receivedAt"     BIGINT NOT NULL,
        UNIQUE (source, "contextHash")
      )
    `,
  },
  {
    name: 'held requests',
    sql: `
      CREATE TABLE held_request (
        id               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        "requestID"      TEXT COLLATE "C" NOT NULL,
        endpoint         TEXT COLLATE "C" NOT NULL,
        "replayKey"      TEXT COLLATE "C" NOT NULL,
        "transactionID"  TEXT COLLATE "C" NOT NULL,
        "signerKeyHash"  TEXT COLLATE "C" NOT NULL,
        issuer           TEXT NOT NULL,
        template         TEXT NOT NULL,
        subject          TEXT NOT NULL,
        "subjectAltName" TEXT NOT NULL,
        sealed           BYTEA NOT NULL,
        "expiresAt"      BIGINT NOT NULL,
        status           TEXT NOT NULL CHECK (status IN ('pending', 'approved', 'denied')),
        "decidedAt"      BIGINT,
        "decidedBy"      TEXT,
        comment          TEXT
      )

      CREATE UNIQUE INDEX "held_request_requestID" ON held_request ("requestID")

      CREATE INDEX "held_request_transactionID" ON held_request (endpoint, "transactionID", "signerKeyHash")

      CREATE INDEX held_request_pending ON held_request (endpoint, "expiresAt") WHERE status = 'pending'
    `,
  },
  {
    name: 'admin tokens',
    sql: `
      CREATE TABLE admin_token (
        name         TEXT COLLATE "C" PRIMARY KEY,
        "secretHash" TEXT NOT NULL,
        roles        TEXT NOT NULL,
        endpoints    TEXT,
        "createdAt"  BIGINT NOT NULL,
        "expiresAt"  BIGINT NOT NULL
      )
    `,
  },
];
