/** Intune's SCEP validation service: says whether a certification request is the one that its challenge was made for. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { Certificate } from '../codec/index.ts';
import {
  type CertificationRequest,
  commonNameOf,
  extKeyUsageOf,
  type GeneralName,
  generalNamesToString,
  keyUsageOf,
  nameToString,
  parseCertificationRequest,
  parsePublicKeyInfo,
  subjectAltNameOf,
  verifyCertificationRequest,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { Clock } from '../telemetry.ts';
import {
  CHALLENGE_LIFETIME_MS,
  type ChallengePayload,
  type ChallengeRecipient,
  challengeHashOf,
  parseChallenge,
} from './challenges.ts';
import type { CertificateRecord } from './fleet-store.ts';
import { entitlementOfDevice } from './lifecycle.ts';
import type { FailureNotification, MdmStore, ProfileStateChange, SuccessNotification } from './mdm-store.ts';
import type { ResolvedScepProfile } from './profiles.ts';
import { type ResultCode, resultCodes } from './result-codes.ts';

/** An answer as it goes over the wire. HTTP 200 carries any of them; only `Success` is a yes. */
export interface ServiceAnswer {
  readonly code: ResultCode;
  /** For the log of the caller; empty on success. */
  readonly errorDescription: string;
}

/** What the validation service works with. */
export interface ValidationServiceParts {
  readonly store: MdmStore;
  /** Whose challenges are believed. */
  readonly challengeSigner: Certificate;
  readonly recipient: ChallengeRecipient;
  readonly clock: Clock;
}

/** validateRequest, as Intune names its fields. */
export interface ValidateRequest {
  readonly transactionId: string;
  /** Base64 of the DER of the PKCS #10 request. */
  readonly certificateRequest: string;
  readonly callerInfo: string;
}

/** A successNotification on the wire. */
export interface SuccessNotificationRequest extends SuccessNotification {
  readonly certificateRequest: string;
}

/** A failureNotification on the wire. */
export interface FailureNotificationRequest extends FailureNotification {
  readonly certificateRequest: string;
}

/** A challenge may have been made this much in our future: the clocks of two hosts of one service. */
const CLOCK_SKEW_MS = 5 * 60 * 1000;

/**
 * Judges a request. A challenge whose own checks pass but whose request fails is remembered as
 * `challengeValidationFailed` of its device and profile.
 *
 * One-time use is not asked for: Intune does not document it, and a device that lost the answer sends the same request
 * again. It is the RA that lets one challenge serve one key.
 *
 * @throws PkiError `key_unavailable`, `store_unavailable`: the caller must not take this for an answer.
 */
export async function validateRequest(
  parts: ValidationServiceParts,
  request: ValidateRequest,
): Promise<ServiceAnswer> {
  // 1. decode, 2. challenge present, 3. its signature, 4. decryption, 5. payload
  const opened = await openRequest(parts, request.certificateRequest);
  if (opened.code !== 'Success') return answerOf([opened.code]);
  const { csr, payload } = opened;

  // 6. timestamps, 7. who and what for, 8. what the request says. All are made, whatever the first ones say.
  const failed = [
    ...timestampFaults(payload, parts.clock.now()),
    ...recordFaults(parts.store, payload),
    ...targetFaults(parts.store, payload, parts.clock.now()),
    ...foreignFaults(parts.store, csr, payload),
    ...requestFaults(csr, payload),
  ];
  const at = parts.clock.now();
  if (failed.length > 0) {
    if (parts.store.device(payload.deviceId) !== undefined) {
      await parts.store.recordProfileState({
        deviceId: payload.deviceId,
        profileId: payload.profileId,
        issuanceState: 'challengeValidationFailed',
        at,
      });
    }
    return answerOf(failed);
  }
  await parts.store.recordValidation({
    challengeId: payload.challengeId,
    transactionId: request.transactionId,
    requestHash: requestHashOf(csr),
    at,
  });
  return answerOf([]);
}

/**
 * Takes note that a certificate was made, before the caller delivers it. Refused if validateRequest had not accepted this
 * very request, or if the device was retired or the profile withdrawn since: the caller then withholds the certificate.
 * Expiry is not asked again, for validation was in time. The same notification again is answered the same.
 *
 * Intune's own checks at this point are not documented; these are ours.
 *
 * @throws PkiError as `validateRequest`.
 */
export async function successNotification(
  parts: ValidationServiceParts,
  request: SuccessNotificationRequest,
): Promise<ServiceAnswer> {
  return await takeNotification(parts, request, (payload) => {
    const failed = targetFaults(parts.store, payload, parts.clock.now());
    if (failed.length > 0) return failed;
    const { certificateRequest: _, ...notification } = request;
    const certificate = {
      thumbprint: request.certificateThumbprint.toUpperCase(),
      serialNumber: request.certificateSerialNumber.toUpperCase(),
      notAfter: new Date(request.certificateExpirationDateUtc),
    };
    return {
      outcome: { kind: 'success', notification },
      change: { issuanceState: 'issued', ...certificate },
      certificate: { ...certificate, issuerName: request.issuingCertificateAuthority },
    };
  });
}

/**
 * Takes note that no certificate was made for a request that validateRequest had accepted.
 *
 * @throws PkiError as `validateRequest`.
 */
export async function failureNotification(
  parts: ValidationServiceParts,
  request: FailureNotificationRequest,
): Promise<ServiceAnswer> {
  return await takeNotification(parts, request, () => {
    const { certificateRequest: _, ...notification } = request;
    return {
      outcome: { kind: 'failure', notification },
      change: { issuanceState: 'issueFailed', errorCode: request.hResult },
    };
  });
}

/** What a notification says. */
interface Taken {
  readonly outcome:
    | { readonly kind: 'success'; readonly notification: SuccessNotification }
    | { readonly kind: 'failure'; readonly notification: FailureNotification };
  readonly change: Omit<ProfileStateChange, 'deviceId' | 'profileId' | 'at'>;
  readonly certificate?: Pick<CertificateRecord, 'serialNumber' | 'issuerName' | 'thumbprint' | 'notAfter'>;
}

/** Opens the request again, and writes down what `take` makes of it, or answers the faults that it finds. */
async function takeNotification(
  parts: ValidationServiceParts,
  request: { readonly transactionId: string; readonly certificateRequest: string },
  take: (payload: ChallengePayload) => readonly ResultCode[] | Taken,
): Promise<ServiceAnswer> {
  const opened = await openValidated(parts, request);
  if (opened.code !== 'Success') return answerOf([opened.code]);
  const { csr, payload } = opened;
  const taken = take(payload);
  if (!('outcome' in taken)) return answerOf(taken);
  const { deviceId, profileId, challengeId, userId } = payload;
  const at = parts.clock.now();
  const { certificate } = taken;
  await parts.store.recordNotification(
    { deviceId, profileId, requestHash: requestHashOf(csr), receivedAt: at, ...taken.outcome },
    { deviceId, profileId, at, ...taken.change },
    certificate && {
      ...certificate,
      deviceId,
      profileId,
      profileVersion: parts.store.challenge(challengeId)?.profileVersion ?? 0,
      userId,
      contentHash: contentHashOf(payload),
      issuedAt: at,
    },
  );
  return answerOf([]);
}

/** SHA-256, lower-case hexadecimal, of what a request must say: equal exactly if the same request would do. */
export function contentHashOf(expected: Omit<ResolvedScepProfile, 'keyLength'>): string {
  const { subject, subjectAltName, keyUsage, extKeyUsage } = expected;
  const names = subjectAltName.map(({ type, value }) => [type, value]);
  return createHash('sha256')
    .update(JSON.stringify([subject, names, keyUsage, extKeyUsage]), 'utf8')
    .digest('hex');
}

// --- opening ----------------------------------------------------------------------------------------------------------

type OpenedRequest =
  | { readonly code: 'Success'; readonly csr: CertificationRequest; readonly payload: ChallengePayload }
  | { readonly code: Exclude<ResultCode, 'Success'> };

async function openRequest(
  parts: ValidationServiceParts,
  certificateRequest: string,
): Promise<OpenedRequest> {
  const csr = decodeRequest(certificateRequest);
  if (csr === undefined) return { code: 'CertificateRequestDecodingFailed' };
  const challenge = csr.challengePassword;
  if (challenge === undefined || challenge === '') return { code: 'ChallengePasswordMissing' };
  const reading = await parseChallenge(challenge, parts.challengeSigner, parts.recipient);
  if (reading.code !== 'Success') return reading;
  const { payload } = reading;
  // CMS has octets that its signature does not cover. The challenge that was given out is known exactly, so another
  // encoding of it is as foreign as another challenge.
  const record = parts.store.challenge(payload.challengeId);
  if (record !== undefined && !sameHash(record.challengeHash, challengeHashOf(challenge))) {
    return { code: 'SignatureValidationFailed' };
  }
  return { code: 'Success', csr, payload };
}

async function openValidated(
  parts: ValidationServiceParts,
  request: { readonly transactionId: string; readonly certificateRequest: string },
): Promise<OpenedRequest> {
  const opened = await openRequest(parts, request.certificateRequest);
  if (opened.code !== 'Success') return opened;
  const validated = parts.store.isValidated({
    challengeId: opened.payload.challengeId,
    transactionId: request.transactionId,
    requestHash: requestHashOf(opened.csr),
  });
  return validated ? opened : { code: 'BadCertificateRequestIdInChallenge' };
}

function decodeRequest(certificateRequest: string): CertificationRequest | undefined {
  const der = Buffer.from(certificateRequest, 'base64');
  if (der.toString('base64') !== certificateRequest) return undefined;
  try {
    const csr = parseCertificationRequest(der);
    return verifyCertificationRequest(csr) ? csr : undefined;
  } catch (cause) {
    if (cause instanceof PkiError && cause.kind === 'malformed') return undefined;
    throw cause;
  }
}

function sameHash(a: string, b: string): boolean {
  return timingSafeEqual(Buffer.from(a, 'hex'), Buffer.from(b, 'hex'));
}

function requestHashOf(csr: CertificationRequest): string {
  return createHash('sha256').update(csr.raw).digest('hex');
}

function answerOf(failed: readonly ResultCode[]): ServiceAnswer {
  const [code] = failed;
  if (code === undefined) return { code: 'Success', errorDescription: '' };
  return { code, errorDescription: failed.map((each) => `${each}: ${resultCodes[each]}`).join('; ') };
}

// --- checks: each answers the codes that it finds, none if all is well ---------------------------------------------------

function timestampFaults(payload: ChallengePayload, now: Date): ResultCode[] {
  const created = payload.createdAt.getTime();
  const expires = payload.expiresAt.getTime();
  const faults: ResultCode[] = [];
  if (
    created > now.getTime() + CLOCK_SKEW_MS ||
    expires <= created ||
    expires - created > CHALLENGE_LIFETIME_MS
  ) {
    faults.push('ChallengeInvalidTimestamp');
  }
  if (expires <= now.getTime()) faults.push('ChallengeExpired');
  return faults;
}

function recordFaults(store: MdmStore, payload: ChallengePayload): ResultCode[] {
  const record = store.challenge(payload.challengeId);
  const known =
    record !== undefined &&
    record.certificateRequestId === payload.certificateRequestId &&
    record.deviceId === payload.deviceId &&
    record.profileId === payload.profileId;
  return known ? [] : ['BadCertificateRequestIdInChallenge'];
}

function targetFaults(store: MdmStore, payload: ChallengePayload, now: Date): ResultCode[] {
  const device = store.device(payload.deviceId);
  const faults: ResultCode[] = [];
  if (device === undefined || entitlementOfDevice(device, now).standing !== 'good')
    faults.push('BadDeviceIdInChallenge');
  if (payload.userId !== undefined && device?.user?.userId !== payload.userId)
    faults.push('BadUserIdInChallenge');
  if (!store.isTargeted(payload.profileId, payload.deviceId)) {
    faults.push('ScepProfileNoLongerTargetedToTheClient');
  }
  return faults;
}

/** Another device's challenge: the request names a device of this tenant, and not the one that the challenge is for. */
function foreignFaults(store: MdmStore, csr: CertificationRequest, payload: ChallengePayload): ResultCode[] {
  const named = commonNameOf(csr.subject);
  if (named === undefined || named === payload.deviceId) return [];
  return store.device(named) === undefined ? [] : ['BadCertificateRequestIdInChallenge'];
}

/**
 * Compares what the request says with what the challenge expects; the answer lists every difference, in the order of the
 * checks, and is empty if there is none.
 *
 * How strictly Intune compares is not documented but for the subject, which it compares as text. Here the subject must be
 * the same RFC 4514 text, and names, usages and purposes the same sets of texts: one more is as wrong as one less.
 */
export function requestFaults(
  csr: CertificationRequest,
  expected: Pick<ChallengePayload, 'subject' | 'subjectAltName' | 'keyUsage' | 'extKeyUsage' | 'keyLength'>,
): ResultCode[] {
  const faults: ResultCode[] = [];
  const subject = nameToString(csr.subject);
  if (subject === '' && expected.subject !== '') faults.push('SubjectNameMissing');
  else if (subject !== expected.subject) faults.push('SubjectNameMismatch');

  const subjectAltName = readExtension(() => subjectAltNameOf(csr).map(nameText));
  if (subjectAltName?.length === 0 && expected.subjectAltName.length > 0)
    faults.push('SubjectAltNameMissing');
  else if (!sameSet(subjectAltName, expected.subjectAltName.map(nameText)))
    faults.push('SubjectAltNameMismatch');

  if (
    !sameSet(
      readExtension(() => keyUsageOf(csr) ?? []),
      expected.keyUsage,
    )
  )
    faults.push('KeyUsageMismatch');

  const extKeyUsage = readExtension(() => extKeyUsageOf(csr) ?? []);
  if (extKeyUsage?.length === 0 && expected.extKeyUsage.length > 0) faults.push('EnhancedKeyUsageMissing');
  else if (!sameSet(extKeyUsage, expected.extKeyUsage)) faults.push('EnhancedKeyUsageMismatch');

  const key = readExtension(() => parsePublicKeyInfo(csr.spki));
  if (key?.type !== 'rsa' || key.bits !== expected.keyLength) faults.push('KeyLengthMismatch');
  return faults;
}

function nameText(name: GeneralName): string {
  return generalNamesToString([name]);
}

/** What was read; `undefined`, which equals nothing, if it cannot be. */
function readExtension<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof PkiError && cause.kind === 'malformed') return undefined;
    throw cause;
  }
}

/** Whether both hold the same texts, each once. */
function sameSet(have: readonly string[] | undefined, want: readonly string[]): boolean {
  if (have?.length !== want.length) return false;
  const wanted = [...want].sort();
  return [...have].sort().every((text, index) => text === wanted[index]);
}
