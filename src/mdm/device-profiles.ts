/** The profiles of a device as it receives them: names filled in, a challenge or a PFX where it needs a certificate. */
import { randomUUID } from 'node:crypto';
import { thumbprintOf } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { Clock, Log } from '../telemetry.ts';
import {
  buildChallenge,
  CHALLENGE_LIFETIME_MS,
  type ChallengeRecipient,
  type ChallengeSigner,
  challengeHashOf,
} from './challenges.ts';
import type { Device } from './device.ts';
import { type ImportedPfx, orderOf } from './imported-pfx.ts';
import { isEntitled } from './lifecycle.ts';
import type { IssuanceState, MdmStore } from './mdm-store.ts';
import type { PkcsRequests, PkcsWish } from './pkcs-requests.ts';
import type { EncryptedPfx } from './pkcs-store.ts';
import {
  type CertificateProfile,
  type IdentityProfile,
  type ImportedPfxProfile,
  type PkcsProfile,
  type Profile,
  type ResolvedScepProfile,
  resolveProfile,
  type ScepProfile,
  type TrustedCertificateProfile,
  trustedCertificateOf,
  validityMs,
} from './profiles.ts';
import { contentHashOf } from './validation-service.ts';

/** Whom PFX are asked of. */
export type PfxSource = Pick<PkcsRequests, 'hasRecipient' | 'pfxFor'>;

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

/** How far the PFX of a profile is. */
type PfxProgress = {
  /**
   * `recipientWanted`: the device is to name a certificate to encrypt to. `pending`: a connector has been asked. `ready`:
   * here it is. `none`: the device has what it needs, or may not have it.
   */
  readonly pfx: 'recipientWanted' | 'pending' | 'ready' | 'none';
} & Partial<EncryptedPfx>;

/** A profile that brings a PFX, as the device receives it. */
type PfxForDevice = PfxProgress & {
  readonly profileId: string;
  readonly version: number;
  readonly displayName: string;
  readonly certificateType: PkcsProfile['certificateType'];
  /** profileId of the trusted certificate that the certificate must lead through. */
  readonly rootCertificate: string;
};

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
  | ({ readonly kind: 'pkcs' } & PfxForDevice & Pick<PkcsProfile, 'renewalThresholdPercentage'>)
  | ({ readonly kind: 'importedPfx' } & PfxForDevice & Pick<ImportedPfxProfile, 'intendedPurpose'>)
  | {
      /** A profile that cannot be made out for this device; the administrator sees `challengeIssueFailed`. */
      readonly kind: 'failed';
      readonly profileId: string;
      readonly version: number;
      readonly displayName: string;
      readonly error: 'profile_unresolvable' | 'profile_not_assigned';
    };

/** What profiles are made out from. */
export interface DeviceProfilesParts {
  readonly store: MdmStore;
  readonly challengeSigner: ChallengeSigner;
  readonly challengeRecipient: ChallengeRecipient;
  readonly importedPfx: ImportedPfx;
  readonly pfxSource: PfxSource;
  readonly clock: Clock;
  readonly log: Log;
}

/** How long a certificate is taken to live whose profile does not say it, from a device that does not either. */
const YEAR_MS = 365 * 24 * 60 * 60 * 1000;

/** States of a PFX that was asked for, and is not on its device. */
const onTheWay: ReadonlySet<IssuanceState> = new Set([
  'challengeIssueFailed',
  'issuePending',
  'issueFailed',
  'issued',
  'installFailed',
]);

/** Makes out the profiles of devices. */
export class DeviceProfiles {
  readonly #store: MdmStore;
  readonly #parts: DeviceProfilesParts;

  constructor(parts: DeviceProfilesParts) {
    this.#parts = parts;
    this.#store = parts.store;
  }

  /**
   * All profiles that target a device, in the order to install them in. What cannot be made out is told as such, to the
   * device and in the state of the profile.
   *
   * @throws PkiError `store_unavailable`.
   */
  async madeOutFor(device: Device, installed: readonly InstalledCertificate[]): Promise<DeviceProfile[]> {
    const records = this.#store
      .profilesOf(device.deviceId)
      .sort((a, b) => rankOf(a.profile) - rankOf(b.profile));
    const profiles: DeviceProfile[] = [];
    for (const { profile, version } of records) {
      const made =
        profile.kind === 'trustedCertificate'
          ? trustedCertificateForDevice(profile, version)
          : await this.#identityForDevice(device, profile, version, installed);
      if (made !== undefined) profiles.push(made);
    }
    return profiles;
  }

  /** A profile that brings a certificate with its key, made out for the device; `undefined` if there is nothing to bring. */
  async #identityForDevice(
    device: Device,
    profile: IdentityProfile,
    version: number,
    installed: readonly InstalledCertificate[],
  ): Promise<DeviceProfile | undefined> {
    // Intune fails a SCEP profile whose trusted-certificate profile does not target the same devices; here, any such profile.
    if (!this.#store.isTargeted(profile.rootCertificate, device.deviceId)) {
      return this.#failed(device, profile, version, 'profile_not_assigned');
    }
    if (profile.kind === 'importedPfx')
      return this.#importedPfxForDevice(device, profile, version, installed);
    let resolved: ResolvedScepProfile;
    try {
      resolved = resolveProfile(profile, device);
    } catch (cause) {
      if (!(cause instanceof PkiError) || cause.code !== 'profile_unresolvable') throw cause;
      const { deviceId } = device;
      const { profileId } = profile;
      this.#parts.log.warn({ deviceId, profileId, reason: cause.message }, 'profile unresolvable');
      return this.#failed(device, profile, version, 'profile_unresolvable');
    }
    const isDue =
      isEntitled(device, this.#parts.clock.now()) &&
      this.#needsCertificate(device, { profile, version, resolved }, installed);
    const need = isDue ? 'due' : 'none';
    return profile.kind === 'scep'
      ? this.#scepForDevice(device, profile, version, resolved, need)
      : this.#pkcsForDevice(device, profile, version, resolved, need);
  }

  async #scepForDevice(
    device: Device,
    profile: ScepProfile,
    version: number,
    resolved: ResolvedScepProfile,
    need: 'due' | 'none',
  ): Promise<DeviceProfile> {
    const challenge = need === 'due' ? await this.#createChallenge(device, profile, version, resolved) : {};
    return {
      kind: 'scep',
      profileId: profile.profileId,
      version,
      displayName: profile.displayName,
      certificateType: profile.certificateType,
      ...resolved,
      hashAlgorithm: profile.hashAlgorithm,
      keyStorageProvider: profile.keyStorageProvider,
      certificateValidityPeriodValue: profile.certificateValidityPeriodValue,
      certificateValidityPeriodScale: profile.certificateValidityPeriodScale,
      renewalThresholdPercentage: profile.renewalThresholdPercentage,
      scepServerUrls: profile.scepServerUrls,
      rootCertificate: profile.rootCertificate,
      caThumbprint: thumbprintOf(trustedCertificateOf(trustedProfileOf(this.#store, profile)).raw),
      ...challenge,
    };
  }

  async #pkcsForDevice(
    device: Device,
    profile: PkcsProfile,
    version: number,
    resolved: ResolvedScepProfile,
    need: 'due' | 'none',
  ): Promise<DeviceProfile> {
    const { kind, profileId, displayName, rootCertificate, certificateType } = profile;
    const { renewalThresholdPercentage, certificationAuthorityName, certificateTemplateName } = profile;
    const userId = certificateType === 'user' ? device.user?.userId : undefined;
    const wish: PkcsWish = {
      deviceId: device.deviceId,
      profileId,
      profileVersion: version,
      order: { ...resolved, certificationAuthorityName, certificateTemplateName },
      ...(userId === undefined ? {} : { userId }),
    };
    const head = { kind, profileId, version, displayName, rootCertificate, certificateType };
    return {
      ...head,
      renewalThresholdPercentage,
      ...(await this.#pfxFor(need === 'due' ? wish : undefined)),
    };
  }

  async #importedPfxForDevice(
    device: Device,
    profile: ImportedPfxProfile,
    version: number,
    installed: readonly InstalledCertificate[],
  ): Promise<DeviceProfile | undefined> {
    const { kind, profileId, displayName, rootCertificate, intendedPurpose } = profile;
    const { deviceId, user } = device;
    const has = installed.find((certificate) => certificate.profileId === profileId);
    const due = this.#parts.importedPfx.dueFor(user, intendedPurpose, has?.thumbprint);
    if (due === 'none') {
      await this.#recordNothingToBring(deviceId, profileId);
      return undefined;
    }
    const wish: PkcsWish | undefined =
      due === 'kept' || !isEntitled(device, this.#parts.clock.now())
        ? undefined
        : { deviceId, profileId, profileVersion: version, userId: due.userId, order: orderOf(due) };
    const head = { kind, profileId, version, displayName, rootCertificate, intendedPurpose };
    return { ...head, certificateType: 'user', ...(await this.#pfxFor(wish)) };
  }

  /** The PFX that a device is wished, as far as it is; absent, it needs none or may not have it. */
  async #pfxFor(wish: PkcsWish | undefined): Promise<PfxProgress> {
    if (wish === undefined) return { pfx: 'none' };
    const { pfxSource } = this.#parts;
    if (!pfxSource.hasRecipient(wish.deviceId)) return { pfx: 'recipientWanted' };
    const pfx = await pfxSource.pfxFor(wish);
    if (pfx === 'failed') return { pfx: 'none' };
    return pfx === 'pending' ? { pfx } : { pfx: 'ready', ...pfx };
  }

  /** Nothing was imported that the device could have: `unknown`, or `removedFromCollection` if it was on its way. */
  async #recordNothingToBring(deviceId: string, profileId: string): Promise<void> {
    const before = this.#store.profileState(deviceId, profileId)?.issuanceState;
    // What the device has installed it deletes, and says so.
    if (before !== undefined && !onTheWay.has(before)) return;
    const issuanceState = before === undefined ? 'unknown' : 'removedFromCollection';
    await this.#store.recordProfileState({ deviceId, profileId, issuanceState, at: this.#parts.clock.now() });
  }

  async #failed(
    device: Device,
    profile: IdentityProfile,
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
    device: Device,
    wanted: {
      readonly profile: CertificateProfile;
      readonly version: number;
      readonly resolved: ResolvedScepProfile;
    },
    installed: readonly InstalledCertificate[],
  ): boolean {
    const { profile, version, resolved } = wanted;
    const now = this.#parts.clock.now().getTime();
    return !installed.some((certificate) => {
      if (certificate.profileId !== profile.profileId || certificate.version !== version) return false;
      const known = this.#store.fleet.certificateOf(
        device.deviceId,
        profile.profileId,
        certificate.thumbprint,
      );
      // The directory may give another name by now: Intune, too, enrols again for another subject or alternative name.
      if (known !== undefined && known.contentHash !== contentHashOf(resolved)) return false;
      if (known?.standing === 'revoked') return false;
      const notAfter = certificate.notAfter.getTime();
      const lifetime =
        certificate.notBefore === undefined
          ? profile.kind === 'scep'
            ? validityMs(profile)
            : YEAR_MS
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
}

/**
 * The trusted certificate that a profile's certificate must lead through.
 *
 * @throws PkiError `profile_invalid` if there is none.
 */
export function trustedProfileOf(store: MdmStore, profile: IdentityProfile): TrustedCertificateProfile {
  const record = store.profile(profile.rootCertificate);
  if (record?.profile.kind !== 'trustedCertificate') {
    throw new PkiError('profile_invalid', 'rootCertificate: no trusted-certificate profile of this id');
  }
  return record.profile;
}

/** Order of installation: a chain is verified from its root, and a certificate from its chain. */
function rankOf(profile: Profile): number {
  // A PFX may keep whoever fetches it waiting; a challenge, which lives for an hour, is made afterwards.
  if (profile.kind !== 'trustedCertificate') return profile.kind === 'scep' ? 3 : 2;
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
