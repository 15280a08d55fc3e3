/** The MDM itself, without its doors: what an administrator, a device and the validation service can ask of it. */
import { randomUUID } from 'node:crypto';
import { thumbprintOf } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { Clock, Log } from '../telemetry.ts';
import { randomToken, tokenHashOf } from './access-tokens.ts';
import {
  buildChallenge,
  CHALLENGE_LIFETIME_MS,
  type ChallengeRecipient,
  type ChallengeSigner,
  challengeHashOf,
} from './challenges.ts';
import type { Device, DeviceState, DeviceUser, Platform } from './device.ts';
import type {
  deviceReportedStates,
  MdmStore,
  NotificationRecord,
  ProfileRecord,
  ProfileState,
} from './mdm-store.ts';
import {
  needsNewCertificate,
  type Profile,
  parseProfile,
  type ResolvedScepProfile,
  resolveProfile,
  type ScepProfile,
  type TrustedCertificateProfile,
  trustedCertificateOf,
  validityMs,
} from './profiles.ts';
import type { ValidationServiceParts } from './validation-service.ts';

/** What an MDM is made of. */
export interface MdmParts {
  readonly store: MdmStore;
  /** Makes challenges. */
  readonly challengeSigner: ChallengeSigner;
  /** Reads them: the validation service's own key, which is RSA. */
  readonly challengeRecipient: ChallengeRecipient;
  readonly clock: Clock;
  readonly log: Log;
}

/** What a device says of itself when it joins. */
export interface JoinRequest {
  /** An enrolment token. */
  readonly token: string;
  readonly deviceName: string;
  readonly platform: Platform;
  readonly serialNumber: string;
}

/** What the device says it has of a profile. */
export interface InstalledCertificate {
  readonly profileId: string;
  /** Version of the profile that it was made for. */
  readonly version: number;
  /** SHA-1, hexadecimal. */
  readonly thumbprint: string;
  readonly notBefore?: Date | undefined;
  readonly notAfter: Date;
}

/** A profile as the device receives it. */
export type DeviceProfile =
  | {
      readonly kind: 'trustedCertificate';
      readonly profileId: string;
      readonly version: number;
      readonly displayName: string;
      readonly destinationStore: TrustedCertificateProfile['destinationStore'];
      /** Base64 of DER. */
      readonly certificate: string;
      /** SHA-1, upper-case hexadecimal. */
      readonly thumbprint: string;
    }
  | ({
      readonly kind: 'scep';
      readonly profileId: string;
      readonly version: number;
      readonly displayName: string;
    } & ResolvedScepProfile &
      Pick<
        ScepProfile,
        | 'certificateType'
        | 'hashAlgorithm'
        | 'keyStorageProvider'
        | 'certificateValidityPeriodValue'
        | 'certificateValidityPeriodScale'
        | 'renewalThresholdPercentage'
        | 'scepServerUrls'
      > & {
        /** profileId of the trusted certificate that must stand behind the SCEP server. */
        readonly rootCertificate: string;
        /** SHA-1 of that certificate, upper-case hexadecimal, as Windows calls it. */
        readonly caThumbprint: string;
        /** Present exactly if the device needs a certificate now; good once, for an hour. */
        readonly challenge?: string;
        readonly challengeExpiresAt?: Date;
      })
  | {
      /** A profile that cannot be made out for this device; the administrator sees `challengeIssueFailed`. */
      readonly kind: 'failed';
      readonly profileId: string;
      readonly version: number;
      readonly displayName: string;
      readonly error: 'profile_unresolvable' | 'profile_not_assigned';
    };

/** What a check-in answers. Profiles that are absent are to be removed from the device, with their certificates. */
export interface CheckIn {
  readonly deviceId: string;
  readonly state: DeviceState;
  /** Roots first, then intermediates, then SCEP profiles: the order to install in. */
  readonly profiles: readonly DeviceProfile[];
}

/** How far a profile has come, as the device sees it. */
export interface ProfileReport {
  readonly profileId: string;
  readonly issuanceState: (typeof deviceReportedStates)[number];
  readonly thumbprint?: string | undefined;
  readonly serialNumber?: string | undefined;
  readonly notAfter?: Date | undefined;
  readonly errorCode?: number | undefined;
  readonly eventId?: number | undefined;
}

/** A day: how long an enrolment token lives unless something else is said. */
const ENROLMENT_TOKEN_LIFETIME_MS = 24 * 60 * 60 * 1000;
const ENROLMENT_TOKEN_LIFETIME_MS_MAX = 365 * ENROLMENT_TOKEN_LIFETIME_MS;
const PAGE = 1000;

/**
 * The built-in stand-in for Intune.
 *
 * The methods of the first part are for the administrator, who is trusted: who can call them can obtain any certificate
 * that the CA's templates permit. Those of the second part are for a device that the door has authenticated.
 */
export class Mdm {
  readonly #store: MdmStore;
  readonly #parts: MdmParts;

  constructor(parts: MdmParts) {
    this.#parts = parts;
    this.#store = parts.store;
  }

  /** What the functions of `validation-service.ts` work with. */
  get validationService(): ValidationServiceParts {
    return {
      store: this.#store,
      challengeSigner: this.#parts.challengeSigner.certificate,
      recipient: this.#parts.challengeRecipient,
      clock: this.#parts.clock,
    };
  }

  // --- for the administrator ----------------------------------------------------------------------------------------

  /**
   * Makes a token that lets `uses` devices join (one, unless said otherwise). It is shown once and stored as a hash.
   * `user` becomes the user of each of these devices.
   *
   * @throws PkiError `request_malformed` for a count or a lifetime that makes no sense.
   */
  async createEnrolmentToken(
    options: {
      readonly uses?: number | undefined;
      readonly lifetimeMs?: number | undefined;
      readonly user?: DeviceUser | undefined;
    } = {},
  ): Promise<{ readonly token: string; readonly expiresAt: Date }> {
    const { uses = 1, lifetimeMs = ENROLMENT_TOKEN_LIFETIME_MS, user } = options;
    if (
      !Number.isSafeInteger(uses) ||
      uses < 1 ||
      !(lifetimeMs > 0 && lifetimeMs <= ENROLMENT_TOKEN_LIFETIME_MS_MAX)
    ) {
      throw new PkiError('request_malformed', 'uses: at least 1; lifetime: above 0, at most a year');
    }
    const token = randomToken();
    const createdAt = this.#parts.clock.now();
    const expiresAt = new Date(createdAt.getTime() + lifetimeMs);
    await this.#store.createEnrolmentToken({
      tokenHash: tokenHashOf(token),
      createdAt,
      expiresAt,
      usesLeft: uses,
      user,
    });
    return { token, expiresAt };
  }

  /** Devices by time of joining, at most 1,000; `after` is the deviceId of the last of the page before. */
  devices(page: { readonly limit?: number | undefined; readonly after?: string | undefined } = {}): Device[] {
    return this.#store.devices({ limit: Math.min(page.limit ?? PAGE, PAGE), after: page.after });
  }

  device(deviceId: string): Device | undefined {
    return this.#store.device(deviceId);
  }

  /**
   * Retires or wipes a device: from now on it gets no profile, and no request of it validates.
   *
   * @throws PkiError `device_unknown` also for an attempt to enrol a device again that was retired or wiped.
   */
  async setDeviceState(deviceId: string, state: DeviceState): Promise<void> {
    const changed = await this.#store.setDeviceState(deviceId, state);
    if (!changed) throw new PkiError('device_unknown', `no device ${deviceId} that can become ${state}`);
    this.#parts.log.info({ deviceId, state }, 'device state set');
  }

  /**
   * Says whom the device belongs to; `undefined` for nobody. Challenges that were made for another user become void.
   *
   * @throws PkiError `device_unknown`.
   */
  async setDeviceUser(deviceId: string, user: DeviceUser | undefined): Promise<void> {
    const changed = await this.#store.setDeviceUser(deviceId, user);
    if (!changed) throw new PkiError('device_unknown', `no device ${deviceId}`);
  }

  /**
   * Creates the profile, or changes the one with the same profileId; all devices are targeted. Its version grows if
   * devices need a new certificate.
   *
   * @throws PkiError `profile_invalid` naming the field.
   */
  async upsertProfile(value: unknown): Promise<ProfileRecord> {
    const profile = parseProfile(value);
    if (profile.kind === 'scep') this.#trustedProfile(profile);
    const before = this.#store.profile(profile.profileId);
    if (before !== undefined && before.profile.kind !== profile.kind) {
      throw new PkiError('profile_invalid', `kind: ${profile.profileId} is a ${before.profile.kind} profile`);
    }
    const grows = before === undefined || needsNewCertificate(before.profile, profile);
    const record = {
      profile,
      version: (before?.version ?? 0) + (grows ? 1 : 0),
      updatedAt: this.#parts.clock.now(),
    };
    await this.#store.putProfile(record);
    this.#parts.log.info({ profileId: profile.profileId, version: record.version }, 'profile stored');
    return record;
  }

  /**
   * Deletes a profile.
   *
   * @throws PkiError `profile_not_assigned` if there is none; `profile_invalid` if a SCEP profile refers to it.
   */
  async deleteProfile(profileId: string): Promise<void> {
    const referrer = this.#store
      .profiles()
      .find(({ profile }) => profile.kind === 'scep' && profile.rootCertificate === profileId);
    if (referrer !== undefined) {
      throw new PkiError('profile_invalid', `${referrer.profile.profileId} refers to ${profileId}`);
    }
    if (!(await this.#store.deleteProfile(profileId))) {
      throw new PkiError('profile_not_assigned', `no profile ${profileId}`);
    }
  }

  profiles(): ProfileRecord[] {
    return this.#store.profiles();
  }

  /**
   * Takes a device out of a profile's assignment: it loses the profile at its next check-in, and a challenge that it
   * still holds no longer validates.
   *
   * @throws PkiError `profile_not_assigned` or `device_unknown`.
   */
  async excludeDevice(profileId: string, deviceId: string): Promise<void> {
    await this.#setExclusion(profileId, deviceId, 'excluded');
    await this.#store.recordProfileState({
      deviceId,
      profileId,
      issuanceState: 'removedFromCollection',
      at: this.#parts.clock.now(),
    });
  }

  /**
   * Takes a device back into a profile's assignment.
   *
   * @throws PkiError `profile_not_assigned` or `device_unknown`.
   */
  async includeDevice(profileId: string, deviceId: string): Promise<void> {
    await this.#setExclusion(profileId, deviceId, 'included');
  }

  /** How far profiles have come, at most 1,000; of all devices, or of one. */
  profileStates(deviceId?: string): ProfileState[] {
    return this.#store.profileStates({ deviceId, limit: PAGE });
  }

  /** Notifications, newest first, at most 1,000; of all devices, or of one. */
  notifications(deviceId?: string): NotificationRecord[] {
    return this.#store.notifications({ deviceId, limit: PAGE });
  }

  // --- for a device ---------------------------------------------------------------------------------------------------

  /**
   * Lets a device join. The device token is shown once and stored as a hash.
   *
   * @throws PkiError `token_refused`.
   */
  async join(request: JoinRequest): Promise<{ readonly device: Device; readonly deviceToken: string }> {
    const device: Device = {
      deviceId: randomUUID(),
      azureADDeviceId: randomUUID(),
      deviceName: request.deviceName,
      serialNumber: request.serialNumber,
      platform: request.platform,
      enrolledAt: this.#parts.clock.now(),
      state: 'enrolled',
    };
    const deviceToken = randomToken();
    const joined = await this.#store.consumeEnrolmentToken({
      tokenHash: tokenHashOf(request.token),
      device,
      deviceTokenHash: tokenHashOf(deviceToken),
    });
    if (!joined)
      throw new PkiError('token_refused', 'an enrolment token that is unknown, expired or used up');
    this.#parts.log.info({ deviceId: device.deviceId, platform: device.platform }, 'device joined');
    return { device: this.#store.device(device.deviceId) ?? device, deviceToken };
  }

  /**
   * The device that a device token belongs to, in whatever state.
   *
   * @throws PkiError `token_refused`.
   */
  authenticate(deviceToken: string): Device {
    const device = this.#store.deviceByToken(tokenHashOf(deviceToken));
    if (device === undefined) throw new PkiError('token_refused', 'an unknown device token');
    return device;
  }

  /**
   * The profiles of the device. A SCEP profile carries a challenge if the device does not report a certificate of the
   * profile's version that is valid and not due for renewal. What the device reports is believed: it can only harm
   * itself.
   */
  async checkIn(device: Device, installed: readonly InstalledCertificate[]): Promise<CheckIn> {
    await this.#store.recordSync(device.deviceId, this.#parts.clock.now());
    if (device.state !== 'enrolled') return { deviceId: device.deviceId, state: device.state, profiles: [] };
    const records = this.#store
      .profilesOf(device.deviceId)
      .sort((a, b) => rankOf(a.profile) - rankOf(b.profile));
    const profiles: DeviceProfile[] = [];
    for (const record of records) {
      const { profile } = record;
      profiles.push(
        profile.kind === 'trustedCertificate'
          ? trustedCertificateForDevice(profile, record.version)
          : await this.#scepForDevice(device, profile, record.version, installed),
      );
    }
    return { deviceId: device.deviceId, state: device.state, profiles };
  }

  /**
   * Takes down what the device says of a profile: one that exists, or that the device had before it was deleted.
   *
   * @throws PkiError `profile_not_assigned`.
   */
  async report(device: Device, report: ProfileReport): Promise<void> {
    const known =
      this.#store.profile(report.profileId) !== undefined ||
      this.profileStates(device.deviceId).some(({ profileId }) => profileId === report.profileId);
    if (!known) throw new PkiError('profile_not_assigned', `a report on an unknown profile`);
    const { thumbprint, serialNumber, ...rest } = report;
    await this.#store.recordProfileState({
      deviceId: device.deviceId,
      ...rest,
      thumbprint: thumbprint?.toUpperCase(),
      serialNumber: serialNumber?.toUpperCase(),
      at: this.#parts.clock.now(),
    });
  }

  async #scepForDevice(
    device: Device,
    profile: ScepProfile,
    version: number,
    installed: readonly InstalledCertificate[],
  ): Promise<DeviceProfile> {
    const { profileId, displayName } = profile;
    // Intune fails a SCEP profile whose trusted-certificate profile does not target the same devices.
    if (!this.#store.isTargeted(profile.rootCertificate, device.deviceId)) {
      return this.#failed(device, profile, version, 'profile_not_assigned');
    }
    let resolved: ResolvedScepProfile;
    try {
      resolved = resolveProfile(profile, device);
    } catch (cause) {
      if (!(cause instanceof PkiError) || cause.code !== 'profile_unresolvable') throw cause;
      this.#parts.log.warn(
        { deviceId: device.deviceId, profileId, reason: cause.message },
        'profile unresolvable',
      );
      return this.#failed(device, profile, version, 'profile_unresolvable');
    }
    const challenge = this.#needsCertificate(profile, version, installed)
      ? await this.#createChallenge(device, profile, version, resolved)
      : {};
    return {
      kind: 'scep',
      profileId,
      version,
      displayName,
      certificateType: profile.certificateType,
      ...resolved,
      hashAlgorithm: profile.hashAlgorithm,
      keyStorageProvider: profile.keyStorageProvider,
      certificateValidityPeriodValue: profile.certificateValidityPeriodValue,
      certificateValidityPeriodScale: profile.certificateValidityPeriodScale,
      renewalThresholdPercentage: profile.renewalThresholdPercentage,
      scepServerUrls: profile.scepServerUrls,
      rootCertificate: profile.rootCertificate,
      caThumbprint: thumbprintOf(trustedCertificateOf(this.#trustedProfile(profile)).raw),
      ...challenge,
    };
  }

  async #failed(
    device: Device,
    profile: ScepProfile,
    version: number,
    error: 'profile_unresolvable' | 'profile_not_assigned',
  ): Promise<DeviceProfile> {
    await this.#store.recordProfileState({
      deviceId: device.deviceId,
      profileId: profile.profileId,
      issuanceState: 'challengeIssueFailed',
      at: this.#parts.clock.now(),
    });
    return { kind: 'failed', profileId: profile.profileId, version, displayName: profile.displayName, error };
  }

  #needsCertificate(
    profile: ScepProfile,
    version: number,
    installed: readonly InstalledCertificate[],
  ): boolean {
    const now = this.#parts.clock.now().getTime();
    return !installed.some((certificate) => {
      if (certificate.profileId !== profile.profileId || certificate.version !== version) return false;
      const notAfter = certificate.notAfter.getTime();
      const lifetime =
        certificate.notBefore === undefined
          ? validityMs(profile)
          : notAfter - certificate.notBefore.getTime();
      return notAfter - now > (lifetime * profile.renewalThresholdPercentage) / 100;
    });
  }

  /** A fresh challenge, recorded before it is given out. */
  async #createChallenge(
    device: Device,
    profile: ScepProfile,
    version: number,
    resolved: ResolvedScepProfile,
  ): Promise<{ readonly challenge: string; readonly challengeExpiresAt: Date }> {
    const createdAt = this.#parts.clock.now();
    const expiresAt = new Date(createdAt.getTime() + CHALLENGE_LIFETIME_MS);
    const ids = { challengeId: randomUUID(), certificateRequestId: randomUUID() };
    const challenge = await buildChallenge(
      {
        version: 1,
        ...ids,
        deviceId: device.deviceId,
        ...(profile.certificateType === 'user' && device.user !== undefined
          ? { userId: device.user.userId }
          : {}),
        profileId: profile.profileId,
        subject: resolved.subject,
        subjectAltName: [...resolved.subjectAltName],
        keyUsage: [...resolved.keyUsage],
        extKeyUsage: [...resolved.extKeyUsage],
        keyLength: resolved.keyLength,
        createdAt,
        expiresAt,
      },
      this.#parts.challengeSigner,
      this.#parts.challengeRecipient.certificate,
    );
    await this.#store.recordChallenge({
      ...ids,
      deviceId: device.deviceId,
      profileId: profile.profileId,
      profileVersion: version,
      challengeHash: challengeHashOf(challenge),
      createdAt,
      expiresAt,
    });
    return { challenge, challengeExpiresAt: expiresAt };
  }

  #trustedProfile(profile: ScepProfile): TrustedCertificateProfile {
    const record = this.#store.profile(profile.rootCertificate);
    if (record?.profile.kind !== 'trustedCertificate') {
      throw new PkiError('profile_invalid', 'rootCertificate: no trusted-certificate profile of this id');
    }
    return record.profile;
  }

  async #setExclusion(
    profileId: string,
    deviceId: string,
    assignment: 'excluded' | 'included',
  ): Promise<void> {
    if (this.#store.profile(profileId) === undefined) {
      throw new PkiError('profile_not_assigned', `no profile ${profileId}`);
    }
    if (this.#store.device(deviceId) === undefined)
      throw new PkiError('device_unknown', `no device ${deviceId}`);
    await this.#store.setExclusion({ profileId, deviceId, assignment });
    this.#parts.log.info({ profileId, deviceId, assignment }, 'assignment set');
  }
}

/** Order of installation: a chain is verified from its root, and a certificate from its chain. */
function rankOf(profile: Profile): number {
  if (profile.kind === 'scep') return 2;
  return profile.destinationStore === 'computerCertStoreRoot' ? 0 : 1;
}

function trustedCertificateForDevice(profile: TrustedCertificateProfile, version: number): DeviceProfile {
  return {
    kind: 'trustedCertificate',
    profileId: profile.profileId,
    version,
    displayName: profile.displayName,
    destinationStore: profile.destinationStore,
    certificate: profile.trustedRootCertificate,
    thumbprint: thumbprintOf(trustedCertificateOf(profile).raw),
  };
}
