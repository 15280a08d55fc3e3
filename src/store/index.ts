/** What must survive a crash: the contract of the PKI store and its implementation on SQLite. */
export type {
  AcceptedEnrolment,
  AuditEntry,
  AuditStore,
  CaStore,
  CertificateFilter,
  CertificateIntent,
  CertificateRecord,
  CertificateStatus,
  ChallengeRecord,
  CrlRecord,
  EnrolmentRecord,
  PkiStore,
  RaStore,
  RevocationReason,
  RevokedEntry,
  SerialNumber,
  StoredAuditEntry,
} from './contract.ts';
export { lockDataFolder } from './lock.ts';
export { openPkiStore } from './pki-store.ts';
export { type Migration, SqliteFile } from './sqlite.ts';
