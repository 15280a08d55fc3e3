/** The device: it joins its MDM and keeps the certificates that the MDM's profiles ask for. */
export { findPath, type Path, type PathOptions } from './chain.ts';
export {
  Device,
  type DeviceOptions,
  type DeviceStep,
  type EnrolmentReason,
  type Identity,
  type JoinOptions,
  joinDevice,
  openDevice,
  type ProfileResult,
  type RunOptions,
  runDevice,
  type SyncOptions,
  type SyncResult,
} from './device.ts';
export type { EnrolmentResult, EnrolmentStep, StepDurations } from './enrol.ts';
export {
  buildEnrolmentMessage,
  buildPollMessage,
  certificationRequestFor,
  type EnrolmentMessage,
  type EnrolmentMessageFields,
  protocolCertificateFor,
  type RequestedCertificate,
  transactionIDFor,
} from './enrolment-request.ts';
export {
  type DeviceEvent,
  type DeviceEventName,
  deviceEvents,
  type EventFilter,
  type EventLevel,
  EventLog,
} from './event-log.ts';
export { hResultOfHttpStatus, hResults, hResultText } from './h-result.ts';
export { HttpClient, type HttpClientOptions, systemTlsRootsAnd } from './http-client.ts';
export {
  type CheckIn,
  type DeviceProfile,
  type JoinRequest,
  MdmClient,
  type MdmClientOptions,
  type ScepProfile,
  type TrustedCertificateProfile,
} from './mdm-client.ts';
export { openPfx } from './pkcs.ts';
export {
  type AuthorityCheck,
  checkAuthority,
  findTrustedPath,
  type Trust,
  type TrustedAuthority,
} from './registration-authority.ts';
export { defaultRetryPolicy, type RetryPolicy } from './retry.ts';
export {
  type ClientIdentity,
  canBeEncryptedTo,
  type Manner,
  ScepClient,
  type ScepClientOptions,
} from './scep-client.ts';
export {
  type Capabilities,
  cipherFor,
  digestFor,
  type Exchange,
  ScepTransport,
  scepUrlOf,
} from './scep-transport.ts';
export {
  type CertificateStore,
  DeviceFolder,
  type DeviceIdentity,
  type PendingRequest,
  type Platform,
  type ProfileRecord,
  platforms,
  type ScepRecord,
} from './state.ts';
