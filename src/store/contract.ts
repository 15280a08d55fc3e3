/**
 * What must survive a crash, and what a store promises about it.
 *
 * Durability: a promise of a writing method resolves only when the write survives a crash of the process and of the
 * machine; `reserveSerial` says what it promises instead. What survives is a prefix of what was written: no write
 * outlives a crash that an earlier one does not. Atomicity: each method is one transaction. Concurrency: several processes may use one store; a method that
 * says "exactly one" holds across them. Absence is `undefined`, never an error. Nobody retries inside: a failed write
 * throws PkiError `store_unavailable` and has written nothing, or (a crash during commit) everything.
 * Reads see every write that has resolved. Those that may see more, and lead to an answer for a device, say that they
 * wait until it is on disk.
 *
 * Trust: who can write here can obtain any certificate of the configured templates (by inserting challenges) and can
 * hide revocations. Protect the file as you protect the CA. No private key and no clear challenge is stored.
 */

/** Lower-case hexadecimal of the serial number's octets, two digits an octet (RFC 5280 §4.1.2.2). */
export type SerialNumber = string;

/** Life of a certificate in the store. */
export type CertificateStatus =
  /** Serial reserved and content recorded; a signature may or may not exist. */
  | 'intent'
  | 'issued'
  | 'revoked'
  /** An intent whose process died. Its serial stays used, and it is listed in the CRL. */
  | 'abandoned';

/** CRLReason of RFC 5280 §5.3.1 (the value 7 does not exist). */
export type RevocationReason =
  | 'unspecified'
  | 'keyCompromise'
  | 'cACompromise'
  | 'affiliationChanged'
  | 'superseded'
  | 'cessationOfOperation'
  | 'certificateHold'
  | 'privilegeWithdrawn'
  | 'aACompromise';

/** What the CA writes down before it signs. */
export interface CertificateIntent {
  /**
   * The RA's request that this certificate answers; at most one certificate a request. A time-ordered identifier
   * (UUID version 7, RFC 9562 §5.7) keeps its index cheap in a large store.
   */
  readonly requestID: string;
  /** Name of the issuing CA in the configuration. */
  readonly issuer: string;
  readonly serialNumber: SerialNumber;
  readonly template: string;
  /** RFC 4514 string, for views and search. */
  readonly subject: string;
  /** The subjectAltName as people read it (`DNS:a, URI:b`); empty if there is none. */
  readonly subjectAltName: string;
  /** Service identity on whose word the CA issues (AD CS: "Requester Name"). */
  readonly requester: string;
  /** The device that asked, as far as the RA knows it; empty if it does not. */
  readonly device: string;
  /** SHA-256 of the SubjectPublicKeyInfo, lower-case hexadecimal. */
  readonly publicKeyHash: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** The exact TBSCertificate that is about to be signed. */
  readonly tbsCertificate: Uint8Array;
  readonly reservedAt: Date;
}

/** A certificate, or the intent of one, as the store knows it. */
export interface CertificateRecord extends Omit<CertificateIntent, 'tbsCertificate'> {
  readonly status: CertificateStatus;
  /** DER; absent for `intent` and `abandoned`. */
  readonly certificate?: Uint8Array;
  /** SHA-1 of the DER, upper-case hexadecimal, as Windows and Intune show it; absent like `certificate`. */
  readonly thumbprint?: string;
  /** When it was revoked or abandoned; absent otherwise, as is the reason (of `abandoned`: `cessationOfOperation`). */
  readonly revokedAt?: Date;
  readonly revocationReason?: RevocationReason;
}

/** Which certificates a view shows; all given parts must match. */
export interface CertificateFilter {
  readonly issuer?: string;
  readonly status?: CertificateStatus;
  readonly device?: string;
  readonly template?: string;
  /** At most this many, newest first. */
  readonly limit: number;
}

/** One row of a CRL. */
export interface RevokedEntry {
  readonly serialNumber: SerialNumber;
  readonly revokedAt: Date;
  readonly reason: RevocationReason;
}

/** A signed CRL, as it was published. */
export interface CrlRecord {
  readonly issuer: string;
  readonly crlNumber: number;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  readonly crl: Uint8Array;
  /** `revocationCount` of the issuer when the CRL's entries were read. */
  readonly revocationCount: number;
}

/** One event that an auditor will ask for. Never holds a secret, a challenge or a key. */
export interface AuditEntry {
  readonly at: Date;
  /** What happened, dotted: `enrolment.issued`, `enrolment.refused`, `certificate.revoked`, `edge.refused`, … */
  readonly event: string;
  /** Who caused it: a service identity, `edge`, or an operator. */
  readonly actor: string;
  /** Short reference that a refused client was given (`LG-…`); empty if none was. */
  readonly reference: string;
  /** Error code of a refusal; empty for a success. */
  readonly code: string;
  /** One sentence for a person. */
  readonly text: string;
  /** Further facts: transactionID, endpoint, device, serialNumber, … */
  readonly detail: Readonly<Record<string, string>>;
}

/** An audit entry with its place in the log. */
export interface StoredAuditEntry extends AuditEntry {
  readonly number: number;
}

/** The append-only audit log. */
export interface AuditStore {
  /** Appends one entry. */
  appendAudit(entry: AuditEntry): Promise<void>;
  /** The newest entries first; all given parts must match (`event` by prefix). */
  auditEntries(filter: {
    readonly event?: string;
    readonly reference?: string;
    readonly limit: number;
  }): Promise<StoredAuditEntry[]>;
}

/** What the CA remembers. */
export interface CaStore extends AuditStore {
  /**
   * Reserves the serial number and records the intent, and with it the claim of the enrolment that it serves, in one
   * transaction: either both are on record or neither. Exactly one caller ever gets `reserved` for a serial of an issuer,
   * and exactly one for the pair of endpoint and replayKey of a claim.
   *
   * `taken`: the serial is; choose another. `claimed`: another enrolment holds the replayKey; read it and compare.
   *
   * `survives` is what the record outlives when the promise resolves. `process`, the default, is enough for a key in
   * this process's memory: a power failure that takes the intent takes the signature too, because a certificate leaves
   * the CA only after `recordCertificate`, which is durable and nothing before it is less so. A key outside this machine
   * (a token on the network, a vault) may have signed and its signature may live on: it needs `machine`.
   *
   * @throws PkiError `enrolment_busy` if the request already has a certificate or a live intent; `internal` if the
   *   serial is not lower-case hexadecimal of 1 to 20 octets.
   */
  reserveSerial(
    intent: CertificateIntent,
    claim?: AcceptedEnrolment,
    survives?: 'process' | 'machine',
  ): Promise<'reserved' | 'taken' | 'claimed'>;
  /**
   * Completes an intent with its signature; records the audit entry in the same transaction.
   *
   * @throws PkiError `enrolment_busy` if there is no such intent (any more): it was abandoned meanwhile, its serial is
   *   in the CRL, and the signature must not leave the CA. Nothing was written.
   */
  recordCertificate(issued: {
    readonly issuer: string;
    readonly serialNumber: SerialNumber;
    readonly certificate: Uint8Array;
    readonly thumbprint: string;
    readonly audit: AuditEntry;
  }): Promise<void>;
  /**
   * Marks every intent of the issuer that was reserved at or before `reservedBefore` as abandoned, and frees its request
   * for a new certificate. For the start of a server and for its housekeeping. Answers the serials.
   */
  abandonIntents(rule: {
    readonly issuer: string;
    readonly reservedBefore: Date;
    readonly at: Date;
  }): Promise<SerialNumber[]>;
  certificateBySerial(issuer: string, serialNumber: SerialNumber): Promise<CertificateRecord | undefined>;
  /**
   * The live certificate of a request: `issued`, `revoked`, or an `intent` that is being worked on. Waits until what it
   * answers is on disk: the certificate goes to a device.
   */
  certificateByRequest(requestID: string): Promise<CertificateRecord | undefined>;
  /** For views and search. A filter that matches little may read every row: about a second for two million. */
  certificates(filter: CertificateFilter): Promise<CertificateRecord[]>;
  /**
   * Revokes an issued certificate and records the audit entry in the same transaction. `already`: it is revoked or
   * abandoned. `unknown`: there is no such certificate, or it is not signed yet. Both have written nothing.
   */
  revoke(revocation: {
    readonly issuer: string;
    readonly serialNumber: SerialNumber;
    readonly reason: RevocationReason;
    readonly at: Date;
    readonly audit: AuditEntry;
  }): Promise<'revoked' | 'already' | 'unknown'>;
  /**
   * Everything that a full CRL of `issuer` lists: revoked and abandoned certificates whose notAfter is not before
   * `validAt`; by serial. RFC 5280 §3.3 keeps an entry until one CRL issued after the certificate's expiry has listed
   * it: pass the thisUpdate of the previous CRL, or now if there is none.
   */
  revokedEntries(issuer: string, validAt: Date): Promise<RevokedEntry[]>;
  /** Certificates of the issuer ever revoked or abandoned; it only grows. Tells whether a new CRL is due. */
  revocationCount(issuer: string): Promise<number>;
  /**
   * A CRL number that nobody got before, from 1; numbers only grow (RFC 5280 §5.2.3), also beyond any recorded one. A
   * crash before `recordCrl` leaves a gap, which is allowed.
   */
  reserveCrlNumber(issuer: string): Promise<number>;
  /** Keeps a signed CRL in place of one with a lower number; does nothing if a higher number is already there. */
  recordCrl(crl: CrlRecord): Promise<void>;
  /** The recorded CRL with the highest number. */
  latestCrl(issuer: string): Promise<CrlRecord | undefined>;
}

/** An enrolment that the RA has accepted: its claim on a challenge. Refused ones are audit entries only. */
export interface AcceptedEnrolment {
  readonly requestID: string;
  readonly endpoint: string;
  /** What makes the enrolment single: a hash over the one-time challenge, or over transactionID and key. */
  readonly replayKey: string;
  readonly transactionID: string;
  /** SHA-256 of the SubjectPublicKeyInfo, lower-case hexadecimal. */
  readonly publicKeyHash: string;
  /** SHA-256 of the CertificationRequestInfo, lower-case hexadecimal. */
  readonly requestHash: string;
  readonly device: string;
  readonly acceptedAt: Date;
}

/** A stored enrolment. */
export interface EnrolmentRecord extends AcceptedEnrolment {
  /** When every validator that wants it had taken successNotification; absent until then. */
  readonly notifiedAt?: Date;
}

/** A one-time challenge; only its keyed hash is stored. */
export interface ChallengeRecord {
  /** HMAC-SHA-256 of the challenge, lower-case hexadecimal. */
  readonly challengeHash: string;
  readonly endpoint: string;
  readonly expiresAt: Date;
  /** What the request must say; an absent part is free within the template. */
  readonly pinned: {
    /** RFC 4514 string. */
    readonly subject?: string;
    /** As in `CertificateIntent.subjectAltName`. */
    readonly subjectAltName?: string;
    readonly extKeyUsage?: readonly string[];
    /** SID of the account that the certificate is to be mapped to; the request says nothing of it. */
    readonly securityIdentifier?: string;
  };
  /** Free text of the operator: the device it is for. */
  readonly device: string;
  readonly createdAt: Date;
}

/** What the RA remembers. */
export interface RaStore extends AuditStore {
  /** The enrolment that holds `replayKey` on `endpoint`. */
  enrolment(endpoint: string, replayKey: string): Promise<EnrolmentRecord | undefined>;
  /**
   * Records that every validator took successNotification; the first time stays.
   *
   * @throws PkiError `internal` if there is no such enrolment.
   */
  recordNotified(enrolment: Pick<AcceptedEnrolment, 'endpoint' | 'replayKey'>, at: Date): Promise<void>;
  /**
   * Records a one-time challenge.
   *
   * @throws PkiError `internal` if its hash is there already: challenges must be random.
   */
  createChallenge(challenge: ChallengeRecord): Promise<void>;
  /** A challenge by its hash, whether expired or not. */
  challenge(challengeHash: string): Promise<ChallengeRecord | undefined>;
}

/** Everything that a server remembers, in one place. */
export interface PkiStore extends CaStore, RaStore {
  /** Finishes what is being written and lets the store go. A second call does nothing. */
  close(): Promise<void>;
}
