/** What must survive a crash: the contract of the PKI store, on SQLite and on PostgreSQL. */
export { type AuditVerification, appendCheckpoint, assertWhole, verifyAuditLog } from './audit-chain.ts';
export { type BackupManifest, backupStore, CRL_NUMBER_STEP, restoreStore, verifyBackup } from './backup.ts';
export type {
  AcceptedEnrolment,
  AdminToken,
  AdminTokenStore,
  AuditChain,
  AuditCheckpoint,
  AuditEntry,
  AuditStore,
  CaStore,
  CertificateCriteria,
  CertificateFilter,
  CertificateIntent,
  CertificateRecord,
  CertificateStatus,
  ChainedAuditEntry,
  ChallengeRecord,
  CrlBase,
  CrlEntry,
  CrlKind,
  CrlRecord,
  CrlState,
  EnrolmentRecord,
  HeldRecord,
  HeldRequest,
  HeldRequestStore,
  HeldStatus,
  IssuanceLimit,
  PendingNotification,
  PkiStore,
  PruneCounts,
  RaStore,
  Replaced,
  RetentionRule,
  RevocationReason,
  RevocationRequest,
  RevocationRequestStore,
  SerialNumber,
  StoredAuditEntry,
  StoreLead,
  StoreLeadership,
} from './contract.ts';
export { lockDataFolder } from './lock.ts';
export { openPkiStore, type PkiDatabase, type StoreAccess } from './open.ts';
export type { PostgresDatabase } from './postgres-pool.ts';
export { type Migration, SqliteFile } from './sqlite.ts';
