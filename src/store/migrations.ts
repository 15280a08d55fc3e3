/**
 * The schema of the PKI database as steps that are only ever added to: a step that was released is never edited.
 *
 * Two rules keep a store of ten million certificates quick. An index whose keys are random (a serial, a hash) costs a
 * page of its own for every row, so there are only the ones that uniqueness needs. And what is large (DER) lies apart
 * from what is searched. Times are milliseconds since 1970 UTC.
 */
import type { Migration } from './sqlite.ts';

/** The steps, in order. */
export const pkiMigrations: readonly Migration[] = [
  {
    name: 'audit log',
    sql: `
      CREATE TABLE audit_entry (
        number    INTEGER PRIMARY KEY,
        at        INTEGER NOT NULL,
        event     TEXT NOT NULL,
        actor     TEXT NOT NULL,
        reference TEXT NOT NULL,
        code      TEXT NOT NULL,
        text      TEXT NOT NULL,
        detail    TEXT NOT NULL, -- JSON
        hash      BLOB NOT NULL  -- of this entry and all before it
      ) STRICT;
      -- The commonest event is found from the end of the log and costs no page of an index.
      CREATE INDEX audit_entry_event ON audit_entry (event) WHERE event <> 'certificate.issued';
      CREATE INDEX audit_entry_reference ON audit_entry (reference) WHERE reference <> '';

      -- What was pruned: the number and the hash of the last entry that went.
      CREATE TABLE audit_start (
        number INTEGER PRIMARY KEY,
        hash   BLOB NOT NULL
      ) STRICT;

      CREATE TABLE audit_checkpoint (
        number    INTEGER PRIMARY KEY,
        hash      BLOB NOT NULL,
        at        INTEGER NOT NULL,
        signer    TEXT NOT NULL,
        algorithm TEXT NOT NULL,
        signature BLOB NOT NULL
      ) STRICT;

      CREATE TRIGGER audit_entry_is_kept BEFORE DELETE ON audit_entry
        WHEN OLD.number > (SELECT coalesce(max(number), 0) FROM audit_start)
        BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
      CREATE TRIGGER audit_entry_is_final BEFORE UPDATE ON audit_entry
        BEGIN SELECT raise(ABORT, 'the audit log is append-only'); END;
    `,
  },
  {
    name: 'certificates',
    sql: `
      CREATE TABLE certificate (
        id               INTEGER PRIMARY KEY,
        issuer           TEXT NOT NULL,
        serialNumber     TEXT NOT NULL,
        requestID        TEXT NOT NULL,
        status           TEXT NOT NULL CHECK (status IN ('intent', 'issued', 'revoked', 'abandoned')),
        template         TEXT NOT NULL,
        subject          TEXT NOT NULL,
        subjectAltName   TEXT NOT NULL,
        requester        TEXT NOT NULL,
        device           TEXT NOT NULL,
        publicKeyHash    TEXT NOT NULL,
        notBefore        INTEGER NOT NULL,
        notAfter         INTEGER NOT NULL,
        reservedAt       INTEGER NOT NULL,
        revokedAt        INTEGER,
        revocationReason TEXT,
        releasedAt       INTEGER,
        crlPartition     INTEGER NOT NULL,
        change           INTEGER, -- number of the latest change of status after it was issued
        isAbandoned      INTEGER NOT NULL DEFAULT 0
      ) STRICT;
      CREATE UNIQUE INDEX certificate_serialNumber ON certificate (issuer, serialNumber);
      -- By a column of its own: an index over the status would be written again when the certificate is recorded.
      CREATE UNIQUE INDEX certificate_requestID ON certificate (requestID) WHERE isAbandoned = 0;
      -- Nearly empty.
      CREATE INDEX certificate_intent ON certificate (issuer) WHERE status = 'intent';
      CREATE INDEX certificate_device ON certificate (device) WHERE device <> '';
      CREATE INDEX certificate_status ON certificate (status) WHERE revokedAt IS NOT NULL;
      -- Holds all that a CRL needs, in its order, so that making one reads nothing else.
      CREATE INDEX certificate_revoked
        ON certificate (issuer, crlPartition, serialNumber, notAfter, revokedAt, revocationReason)
        WHERE revokedAt IS NOT NULL;
      -- For deltas. Grows at its end.
      CREATE INDEX certificate_changed ON certificate (issuer, crlPartition, change) WHERE change IS NOT NULL;

      -- What is about to be signed, then in its place the certificate, which contains it. An abandoned one stays.
      CREATE TABLE certificate_body (
        certificateID  INTEGER PRIMARY KEY,
        tbsCertificate BLOB,
        thumbprint     TEXT,
        certificate    BLOB -- DER
      ) STRICT;
    `,
  },
  {
    name: 'CRLs',
    sql: `
      CREATE TABLE issuer_counter (
        issuer    TEXT PRIMARY KEY,
        crlNumber INTEGER NOT NULL DEFAULT 0,
        change    INTEGER NOT NULL DEFAULT 0
      ) STRICT, WITHOUT ROWID;

      CREATE TABLE crl (
        issuer         TEXT NOT NULL,
        crlPartition   INTEGER NOT NULL,
        kind           TEXT NOT NULL CHECK (kind IN ('full', 'delta')),
        crlNumber      INTEGER NOT NULL,
        thisUpdate     INTEGER NOT NULL,
        nextUpdate     INTEGER NOT NULL,
        change         INTEGER NOT NULL,
        baseCrlNumber  INTEGER, -- these four: of a delta
        baseThisUpdate INTEGER,
        baseNextUpdate INTEGER,
        baseChange     INTEGER,
        crl            BLOB NOT NULL, -- DER
        PRIMARY KEY (issuer, crlPartition, kind)
      ) STRICT;
    `,
  },
  {
    name: 'enrolments and challenges',
    sql: `
      -- Found by its claim alone. A table that is its own index would be dearer: its random pages hold fewer rows and
      -- would be written twice, for the claim and for the notification.
      CREATE TABLE enrolment (
        id            INTEGER PRIMARY KEY,
        endpoint      TEXT NOT NULL,
        replayKey     TEXT NOT NULL,
        requestID     TEXT NOT NULL,
        transactionID TEXT NOT NULL,
        publicKeyHash TEXT NOT NULL,
        requestHash   TEXT NOT NULL,
        device        TEXT NOT NULL,
        acceptedAt    INTEGER NOT NULL,
        notifiedAt    INTEGER
      ) STRICT;
      CREATE UNIQUE INDEX enrolment_replayKey ON enrolment (endpoint, replayKey);

      CREATE TABLE challenge (
        challengeHash TEXT PRIMARY KEY,
        endpoint      TEXT NOT NULL,
        expiresAt     INTEGER NOT NULL,
        pinned        TEXT NOT NULL, -- JSON
        device        TEXT NOT NULL,
        createdAt     INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;

      -- What a renewal is to revoke; gone when it has. Nearly empty.
      CREATE TABLE replacement (
        requestID     TEXT PRIMARY KEY,
        issuer        TEXT NOT NULL,
        serialNumber  TEXT NOT NULL,
        revokeAfterMs INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;

      -- What validators are still to be told; gone when they were. Nearly empty.
      CREATE TABLE notification (
        requestID TEXT PRIMARY KEY,
        endpoint  TEXT NOT NULL,
        replayKey TEXT NOT NULL,
        sealed    BLOB NOT NULL,
        dueAt     INTEGER NOT NULL
      ) STRICT;
      CREATE INDEX notification_dueAt ON notification (dueAt);

      -- What an MDM wants revoked; gone when it has the result. Its mark can be long: it is found by a hash.
      CREATE TABLE revocation_request (
        id             INTEGER PRIMARY KEY,
        source         TEXT NOT NULL,
        contextHash    TEXT NOT NULL,
        requestContext TEXT NOT NULL,
        serialNumber   TEXT NOT NULL,
        issuerName     TEXT NOT NULL,
        action         TEXT NOT NULL,
        reason         TEXT NOT NULL,
        receivedAt     INTEGER NOT NULL
      ) STRICT;
      CREATE UNIQUE INDEX revocation_request_context ON revocation_request (source, contextHash);
    `,
  },
  {
    name: 'held requests',
    sql: `
      -- What its claim says stands in the enrolment. Whether an approved one is issued, the certificate says.
      CREATE TABLE held_request (
        id             INTEGER PRIMARY KEY,
        requestID      TEXT NOT NULL,
        endpoint       TEXT NOT NULL,
        replayKey      TEXT NOT NULL,
        transactionID  TEXT NOT NULL,
        signerKeyHash  TEXT NOT NULL,
        issuer         TEXT NOT NULL,
        template       TEXT NOT NULL,
        subject        TEXT NOT NULL,
        subjectAltName TEXT NOT NULL,
        sealed         BLOB NOT NULL,
        expiresAt      INTEGER NOT NULL,
        status         TEXT NOT NULL CHECK (status IN ('pending', 'approved', 'denied')),
        decidedAt      INTEGER,
        decidedBy      TEXT,
        comment        TEXT
      ) STRICT;
      CREATE UNIQUE INDEX held_request_requestID ON held_request (requestID);
      CREATE INDEX held_request_transactionID ON held_request (endpoint, transactionID, signerKeyHash);
      CREATE INDEX held_request_pending ON held_request (endpoint, expiresAt) WHERE status = 'pending';
    `,
  },
  {
    name: 'admin tokens',
    sql: `
      CREATE TABLE admin_token (
        name       TEXT PRIMARY KEY,
        secretHash TEXT NOT NULL,
        roles      TEXT NOT NULL, -- JSON
        endpoints  TEXT,          -- JSON
        createdAt  INTEGER NOT NULL,
        expiresAt  INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;
    `,
  },
];
