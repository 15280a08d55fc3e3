/** The built-in stand-in for Intune. */
export type { ApplicationRegistration } from './access-tokens.ts';
export {
  buildChallenge,
  CHALLENGE_LIFETIME_MS,
  type ChallengePayload,
  type ChallengeReading,
  type ChallengeRecipient,
  type ChallengeSigner,
  parseChallenge,
} from './challenges.ts';
export {
  type ComplianceMeasure,
  complianceMeasures,
  type Device,
  type DeviceAttributes,
  type DeviceState,
  type DeviceUser,
  deviceStates,
  type NonCompliance,
  type Platform,
  platforms,
} from './device.ts';
export type { DeviceProfile, InstalledCertificate, PfxSource } from './device-profiles.ts';
export { type DeviceRow, parseDevices, parseUsers, type UserRow } from './directory.ts';
export type { CertificateRecord, RevokeStatus } from './fleet-store.ts';
export type { Assignment, Group, GroupRule } from './groups.ts';
export { type MdmOptions, type OpenMdm, openMdm } from './http.ts';
export {
  type CheckIn,
  type JoinRequest,
  Mdm,
  type ProfileReport,
} from './mdm.ts';
export {
  deviceReportedStates,
  type FailureNotification,
  type IssuanceState,
  issuanceStates,
  MdmStore,
  type NotificationRecord,
  type ProfileRecord,
  type ProfileState,
  type SuccessNotification,
} from './mdm-store.ts';
export type { PfxFetcher, PfxOrderState, PfxOrders } from './pfx-orders.ts';
export type { PkcsConnector } from './pkcs-door.ts';
export { PkcsRequests, type PkcsTask } from './pkcs-requests.ts';
export { type EncryptedPfx, isImported, type PkcsRequest, type PkcsRequestState } from './pkcs-store.ts';
export { type ProfileStatus, profileStatusOf } from './profile-state.ts';
export {
  type CertificateProfile,
  type PkcsProfile,
  type Profile,
  parseProfile,
  type ResolvedScepProfile,
  resolveProfile,
  type ScepProfile,
  type TrustedCertificateProfile,
  validityMs,
} from './profiles.ts';
export { type ResultCode, resultCodes } from './result-codes.ts';
export type {
  RevocationOrder,
  RevocationRequest,
  RevocationResult,
} from './revocation-requests.ts';
