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
  /**
   * The part of the issuer's CRLs that will list the certificate if it is revoked (RFC 5280 §5.2.5): its
   * cRLDistributionPoints names it, so it never changes. 0 where CRLs are not divided.
   */
  readonly crlPartition: number;
  /** The exact TBSCertificate that is about to be signed. */
  readonly tbsCertificate: Uint8Array;
  readonly reservedAt: Date;
}

/** A certificate, or the intent of one, as the store knows it. */
export interface CertificateRecord extends Omit<CertificateIntent, 'tbsCertificate'> {
  /** Place in the order of reservation, from 1 (AD CS: Request ID). */
  readonly id: number;
  readonly status: CertificateStatus;
  /** DER; absent for `intent` and `abandoned`. */
  readonly certificate?: Uint8Array;
  /** SHA-1 of the DER, upper-case hexadecimal, as Windows and Intune show it; absent like `certificate`. */
  readonly thumbprint?: string;
  /** When it was revoked or abandoned; absent otherwise, as is the reason (of `abandoned`: `cessationOfOperation`). */
  readonly revokedAt?: Date;
  readonly revocationReason?: RevocationReason;
  /** When it was last released from hold; absent if it never was. */
  readonly releasedAt?: Date;
}

/** Which certificates are meant; all given parts must match. From is inclusive, before is not. */
export interface CertificateCriteria {
  readonly issuer?: string;
  readonly status?: CertificateStatus;
  readonly device?: string;
  readonly template?: string;
  readonly requester?: string;
  /** Occurs in subject or subjectAltName; the case of ASCII letters does not matter. */
  readonly nameContains?: string;
  readonly serialNumber?: SerialNumber;
  /** As in `CertificateRecord`. Nothing is indexed by it: the search reads every certificate. */
  readonly thumbprint?: string;
  readonly reservedFrom?: Date;
  readonly reservedBefore?: Date;
  readonly notAfterFrom?: Date;
  readonly notAfterBefore?: Date;
}

/** Which certificates a view shows. */
export interface CertificateFilter extends CertificateCriteria {
  /** At most this many, newest first. */
  readonly limit: number;
  /** Only those reserved before the one with this `id`: the next page begins after the last row of this one. */
  readonly after?: number;
}

/** One row of a CRL. */
export interface CrlEntry {
  readonly serialNumber: SerialNumber;
  /** When it was revoked or abandoned; of `removeFromCRL`, when it was released. */
  readonly at: Date;
  /** `removeFromCRL` stands in deltas alone. */
  readonly reason: RevocationReason | 'removeFromCRL';
}

/** All that is revoked in a partition, or what has changed since another CRL. */
export type CrlKind = 'full' | 'delta';

/** What a delta CRL is based on: a full one, as it was when the first delta was based on it. */
export interface CrlBase {
  readonly crlNumber: number;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  /** `latestChange` of the partition, read before the number was reserved and the entries were read. */
  readonly change: number;
}

/** What is known of a signed CRL beside its octets. */
export interface CrlState extends CrlBase {
  readonly issuer: string;
  readonly partition: number;
  readonly kind: CrlKind;
  /** Of a delta, and only of a delta. */
  readonly base?: CrlBase;
}

/** A signed CRL, as it was published. */
export interface CrlRecord extends CrlState {
  readonly crl: Uint8Array;
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
  /** The newest entries first; all given parts must match (`event` by prefix, `after`: older than that number). */
  auditEntries(filter: {
    readonly event?: string;
    readonly reference?: string;
    readonly after?: number;
    readonly limit: number;
  }): Promise<StoredAuditEntry[]>;
}

/** An audit entry with its link in the chain of hashes. */
export interface ChainedAuditEntry extends Omit<StoredAuditEntry, 'detail'> {
  /** `detail` exactly as it is stored, and hashed. */
  readonly detailJson: string;
  /** SHA-256 over the previous entry's hash, the number and the content; `audit-chain.ts` says how. */
  readonly hash: Uint8Array;
}

/** A signature over the hash of an entry, and by it over all before. */
export interface AuditCheckpoint {
  readonly number: number;
  readonly hash: Uint8Array;
  readonly at: Date;
  /** Name of the key that signed. */
  readonly signer: string;
  /** Name of the signature algorithm. */
  readonly algorithm: string;
  readonly signature: Uint8Array;
}

/**
 * The chain behind the audit log. Numbers are consecutive from 1, in the order of the commits, across all processes: an
 * append takes its turn at the end of its transaction.
 */
export interface AuditChain {
  /** The newest entry's number and hash; 0 and 32 zero octets before the first. */
  auditHead(): Promise<{ readonly number: number; readonly hash: Uint8Array }>;
  /** The newest entry that was pruned; 0 and 32 zero octets if none was. */
  auditStart(): Promise<{ readonly number: number; readonly hash: Uint8Array }>;
  /** The oldest entries with a number above `after`, in order. */
  auditChain(page: { readonly after: number; readonly limit: number }): Promise<ChainedAuditEntry[]>;
  /** All that were not pruned, in order. */
  auditCheckpoints(): Promise<AuditCheckpoint[]>;
  recordCheckpoint(checkpoint: AuditCheckpoint): Promise<void>;
}

/** How many certificates of a template a device may have. */
export interface IssuanceLimit {
  readonly certificatesMax: number;
  /** Those count that are being made or good, and whose notAfter is later. */
  readonly notAfterLater: Date;
}

/** What the CA remembers. */
export interface CaStore extends AuditStore {
  /**
   * Reserves the serial number and records the intent, and with it the claim of the enrolment that it serves, in one
   * transaction: either both are on record or neither. Exactly one caller ever gets `reserved` for a serial of an issuer,
   * and exactly one for the pair of endpoint and replayKey of a claim.
   *
   * `taken`: the serial is; choose another. `claimed`: another enrolment holds the replayKey; read it and compare.
   * `limited`: the device of the intent has as many certificates of its template as the limit says; however many ask in
   * one instant, and in whatever processes, no more are reserved. None of the three has written anything.
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
    limit?: IssuanceLimit,
  ): Promise<'reserved' | 'taken' | 'claimed' | 'limited'>;
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
   *
   * One on hold can be revoked for another reason. It keeps the date of the hold: since then nobody could rely on it
   * (X.509 §9.5.2.2).
   */
  revoke(revocation: {
    readonly issuer: string;
    readonly serialNumber: SerialNumber;
    readonly reason: RevocationReason;
    readonly at: Date;
    readonly audit: AuditEntry;
  }): Promise<'revoked' | 'already' | 'unknown'>;
  /**
   * Releases a certificate from `certificateHold`, the one reason that can be taken back (RFC 5280 §5.3.1): it is
   * `issued` again. Records the audit entry in the same transaction. `not-held`: it is not on hold. `unknown`: there is
   * no such certificate. Both have written nothing.
   */
  release(release: {
    readonly issuer: string;
    readonly serialNumber: SerialNumber;
    readonly at: Date;
    readonly audit: AuditEntry;
  }): Promise<'released' | 'not-held' | 'unknown'>;
  /** How many certificates meet the criteria; as slow as `certificates`. */
  countCertificates(criteria: CertificateCriteria): Promise<number>;
  /**
   * What a CRL lists, page by page, no certificate twice: of the issuer's partition, certificates whose notAfter is not
   * before `validAt`. RFC 5280 §3.3 keeps an entry until one CRL issued after the certificate's expiry has listed it:
   * pass the thisUpdate of the previous CRL, or now if there is none.
   *
   * Without `changedAfter` everything that is revoked or abandoned, by serial; with it, for a delta, everything whose
   * status has changed since that change, in any order, `removeFromCRL` if it is good now.
   *
   * Sees every change that had resolved when the first page was asked for, and perhaps later ones.
   */
  crlEntries(scope: {
    readonly issuer: string;
    readonly partition: number;
    readonly validAt: Date;
    readonly changedAfter?: number;
  }): AsyncIterable<readonly CrlEntry[]>;
  /**
   * The number of the latest change of status (revoked, released, abandoned) in a partition of the issuer; 0 if there
   * was none. Changes are numbered along one line for all partitions of an issuer, and become visible in that order; so
   * who has seen a number has seen every change up to it. Tells whether a new CRL is due.
   */
  latestChange(issuer: string, partition: number): Promise<number>;
  /**
   * A CRL number that nobody got before, from 1; numbers only grow (RFC 5280 §5.2.3), also beyond any recorded one. A
   * crash before `recordCrl` leaves a gap, which is allowed.
   */
  reserveCrlNumber(issuer: string): Promise<number>;
  /**
   * Keeps a signed CRL in place of one of the same issuer, partition and kind with a lower number; does nothing if a
   * higher number is already there.
   */
  recordCrl(crl: CrlRecord): Promise<void>;
  /** The recorded CRL with the highest number. */
  latestCrl(issuer: string, partition: number, kind: CrlKind): Promise<CrlRecord | undefined>;
  /** What `latestCrl` would answer for every partition and kind, without the octets; by partition, full before delta. */
  crlStates(issuer: string): Promise<CrlState[]>;
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
  /** The certificate that is to be revoked so long after the new one was reserved; see `replacementsDue`. */
  readonly replaces?: Replaced & { readonly revokeAfterMs: number };
  /** What the validators are to be told of the certificate before anybody gets it; see `notificationsDue`. */
  readonly notification?: {
    /** The request, sealed by the RA: it holds a challenge. */
    readonly sealed: Uint8Array;
    /** From then on it is told, or told again, if nobody has done so. */
    readonly dueAt: Date;
  };
}

/** A certificate that another one has taken the place of. */
export interface Replaced {
  readonly issuer: string;
  readonly serialNumber: SerialNumber;
}

/** A stored enrolment. */
export interface EnrolmentRecord extends Omit<AcceptedEnrolment, 'replaces' | 'notification'> {
  /**
   * When every validator that wants it had taken successNotification, or had been told that the request was denied; absent
   * until then.
   */
  readonly notifiedAt?: Date;
}

/** A request that waits for a certificate manager, with its claim. */
export interface HeldRequest extends AcceptedEnrolment {
  /** Issuing CA and template that it is for. */
  readonly issuer: string;
  readonly template: string;
  /** What the certificate would name, as in `CertificateIntent`, for who decides. */
  readonly subject: string;
  readonly subjectAltName: string;
  /** SHA-256 of the SubjectPublicKeyInfo that the device signed its message with, lower-case hexadecimal. */
  readonly signerKeyHash: string;
  /** The request itself and what the validators said, sealed by the RA: it holds a challenge. */
  readonly sealed: Uint8Array;
  /** From then on it can be decided no more. */
  readonly expiresAt: Date;
}

/** Where a held request stands; `issued` once an approved one has a certificate. */
export type HeldStatus = 'pending' | 'approved' | 'denied' | 'issued';

/** A held request as the store knows it. */
export interface HeldRecord extends HeldRequest {
  /** Place in the order of arrival, from 1: how people name it. */
  readonly id: number;
  readonly status: HeldStatus;
  /** When, by whom and why it was decided; absent until then. */
  readonly decidedAt?: Date;
  readonly decidedBy?: string;
  readonly comment?: string;
}

/** Which held request is meant. */
export type HeldRequestName =
  | { readonly requestID: string }
  | { readonly id: number }
  | { readonly endpoint: string; readonly transactionID: string; readonly signerKeyHash: string };

/** Requests that wait for a certificate manager, and those that he has decided about. */
export interface HeldRequestStore extends AuditStore {
  /**
   * Holds a request: its claim, the request and the audit entry are on record, or nothing is. `held` also if it is on
   * record already, with nothing written. `claimed`: another enrolment has the replayKey. `full`: `waitingMax` requests of
   * the endpoint, or about as many where several servers hold at once, wait at the time of the claim.
   */
  holdRequest(hold: {
    readonly request: HeldRequest;
    readonly waitingMax: number;
    readonly audit: AuditEntry;
  }): Promise<'held' | 'claimed' | 'full'>;
  /** One held request, of several that fit the newest. Waits until what it answers is on disk: a device is told. */
  heldRequest(name: HeldRequestName): Promise<HeldRecord | undefined>;
  /** Newest first; all given parts must match, `after`: older than that `id`. `pending` ones may have expired. */
  heldRequests(filter: {
    readonly status?: HeldStatus;
    readonly endpoint?: string;
    readonly after?: number;
    readonly limit: number;
  }): Promise<HeldRecord[]>;
  /**
   * Decides about a pending request, and records the audit entry in the same transaction. Exactly one decision about a
   * request is ever `decided`. `already`: there is one. `expired`: it has waited too long. `unknown`: there is no such
   * request. None of the three has written anything.
   */
  decideRequest(decision: {
    readonly id: number;
    readonly status: 'approved' | 'denied';
    readonly at: Date;
    readonly by: string;
    readonly comment: string;
    readonly audit: AuditEntry;
  }): Promise<'decided' | 'already' | 'expired' | 'unknown'>;
}

/** A successNotification that is still to be taken. */
export interface PendingNotification extends Pick<AcceptedEnrolment, 'requestID' | 'endpoint' | 'replayKey'> {
  readonly sealed: Uint8Array;
}

/** What an MDM wants revoked, as it came; the words are the MDM's. */
export interface RevocationRequest {
  /** Which connection it came by; the connector's own word. */
  readonly source: string;
  /** The MDM's mark of the request, given back with the result. Unique for a source. */
  readonly requestContext: string;
  readonly serialNumber: string;
  readonly issuerName: string;
  readonly action: 'revoke' | 'hold' | 'release';
  /** Of `revoke` alone. */
  readonly reason: RevocationReason;
  readonly receivedAt: Date;
}

/** Revocation requests that an MDM has handed over and has no result of yet. */
export interface RevocationRequestStore {
  /** Records what is not on record yet. */
  keepRevocationRequests(requests: readonly RevocationRequest[]): Promise<void>;
  /** The oldest of a source. Waits until what it answers is on disk. */
  revocationRequests(filter: {
    readonly source: string;
    readonly limit: number;
  }): Promise<RevocationRequest[]>;
  /** Forgets those whose result the MDM has taken. */
  forgetRevocationRequests(source: string, requestContexts: readonly string[]): Promise<void>;
  /** How many there are of a source, and since when; no `oldest` if there is none. */
  revocationBacklog(source: string): Promise<{ readonly count: number; readonly oldest?: Date }>;
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
export interface RaStore extends HeldRequestStore, RevocationRequestStore {
  /** The enrolment that holds `replayKey` on `endpoint`. */
  enrolment(endpoint: string, replayKey: string): Promise<EnrolmentRecord | undefined>;
  /**
   * Records that every validator was told what became of the enrolment; the first time stays. Its notification is due no
   * more.
   *
   * @throws PkiError `internal` if there is no such enrolment.
   */
  recordNotified(enrolment: Pick<AcceptedEnrolment, 'endpoint' | 'replayKey'>, at: Date): Promise<void>;
  /**
   * Certificates whose successor is issued, neither revoked nor on hold, and not kept back for a notification, and whose time
   * is up: they are to be revoked and then forgotten here. What a claim replaces survives what the claim survives.
   */
  replacementsDue(moment: {
    readonly at: Date;
    readonly limit: number;
  }): Promise<(Replaced & { readonly requestID: string })[]>;
  /** Forgets what the enrolment replaces: it is revoked. */
  forgetReplaced(requestID: string): Promise<void>;
  /** Notifications that are due, the longest due first, whatever became of their requests. */
  notificationsDue(moment: { readonly at: Date; readonly limit: number }): Promise<PendingNotification[]>;
  /** It is due at another time; does nothing if there is no such notification. */
  postponeNotification(requestID: string, dueAt: Date): Promise<void>;
  /** Forgets it: nobody will be told. */
  forgetNotification(requestID: string): Promise<void>;
  /**
   * Records a one-time challenge.
   *
   * @throws PkiError `internal` if its hash is there already: challenges must be random.
   */
  createChallenge(challenge: ChallengeRecord): Promise<void>;
  /** A challenge by its hash, whether expired or not. */
  challenge(challengeHash: string): Promise<ChallengeRecord | undefined>;
}

/** What opens the admin API to a person or a program; only the hash of its secret is stored. */
export interface AdminToken {
  /** Who signs in by it, as audit entries name the actor; unique. */
  readonly name: string;
  /** SHA-256 of the secret, lower-case hexadecimal. */
  readonly secretHash: string;
  /** Names of roles; the admin API says what each may do. */
  readonly roles: readonly string[];
  /** The endpoints that it may make challenges for; all if absent. */
  readonly endpoints?: readonly string[];
  readonly createdAt: Date;
  /** From then on it opens nothing. */
  readonly expiresAt: Date;
}

/** Who may sign in to the admin API. Who can write here can make himself an administrator. */
export interface AdminTokenStore extends AuditStore {
  /** Records a token and the audit entry in one transaction. `taken`: the name is; nothing was written. */
  createAdminToken(token: AdminToken, audit: AuditEntry): Promise<'created' | 'taken'>;
  /** A token by its name, whether expired or not. */
  adminToken(name: string): Promise<AdminToken | undefined>;
  /** All of them, by name. */
  adminTokens(): Promise<AdminToken[]>;
  /** Removes a token and records the audit entry in one transaction. `unknown`: nothing was written. */
  deleteAdminToken(name: string, audit: AuditEntry): Promise<'deleted' | 'unknown'>;
}

/** What may go from a store. */
export interface RetentionRule {
  /**
   * Certificates whose notAfter is before it, if a CRL issued after that has listed what is revoked (RFC 5280 §3.3);
   * claims from before it whose certificate is gone; challenges that expired before it; held requests without a
   * certificate that were decided, or expired undecided, before it.
   */
  readonly expiredBefore: Date;
  /** Audit entries before the newest checkpoint that was signed before it; the checkpoint's own entry stays. */
  readonly auditBefore: Date;
}

/** How much a rule takes, or would take. */
export interface PruneCounts {
  readonly certificates: number;
  readonly enrolments: number;
  readonly challenges: number;
  readonly heldRequests: number;
  readonly auditEntries: number;
}

/** What an operator does to a store. */
export interface StoreUpkeep {
  /** What `prune` would take now; of enrolments, those whose certificate is gone already. */
  prunable(rule: RetentionRule): Promise<PruneCounts>;
  /** Removes what the rule lets go, in many small transactions: it can be interrupted and run again. */
  prune(rule: RetentionRule): Promise<PruneCounts>;
  /**
   * Makes a store that was restored from a backup fit to go on: the CRL numbers of the issuers grow by `crlNumberStep`,
   * beyond any that were given after the backup; the CRLs on record count as due, deltas are forgotten; the audit entry is
   * recorded in the same transaction.
   */
  resumeAfterRestore(restore: {
    readonly issuers: readonly string[];
    readonly crlNumberStep: number;
    readonly audit: AuditEntry;
  }): Promise<void>;
}

/** The lead among the servers of a store, in one server's hands. */
export interface StoreLead {
  /** Whether it still is; once it is not, it never is again. Waits for the database a few seconds at most; never throws. */
  isHeld(): Promise<boolean>;
  /** Gives it back. A second call does nothing; never throws. */
  release(): Promise<void>;
}

/** Who of several servers does what needs doing once: at most one of them has the lead. */
export interface StoreLeadership {
  /**
   * Takes the lead; `undefined` if it is taken. It ends with `release`, with the process however that ends, and with the
   * connection to the database: then another server can take it.
   *
   * It spares work and is no fence: who has lost it may notice seconds later, and what it writes meanwhile counts.
   * Whatever must not happen twice is kept from it by the other promises of this contract.
   *
   * @throws PkiError `store_unavailable`.
   */
  takeLead(): Promise<StoreLead | undefined>;
}

/** Everything that a server remembers, in one place. */
export interface PkiStore
  extends CaStore,
    RaStore,
    AdminTokenStore,
    AuditChain,
    StoreUpkeep,
    StoreLeadership {
  /** Finishes what is being written and lets the store go. A second call does nothing. */
  close(): Promise<void>;
}
