/** The MDM itself, without its doors: what an administrator, a device and the validation service can ask of it. */
import { randomUUID } from 'node:crypto';
import { PkiError } from '../errors.ts';
import type { Clock, Log } from '../telemetry.ts';
import { randomToken, tokenHashOf } from './access-tokens.ts';
import type { ChallengeRecipient, ChallengeSigner } from './challenges.ts';
import {
  type ComplianceMeasure,
  claimPattern,
  type Device,
  type DeviceState,
  type DeviceUser,
  type Platform,
} from './device.ts';
import {
  type DeviceProfile,
  DeviceProfiles,
  type InstalledCertificate,
  type PfxSource,
  trustedProfileOf,
} from './device-profiles.ts';
import { attributesIn, type DeviceRow, type UserRow } from './directory.ts';
import type { CertificateRecord } from './fleet-store.ts';
import {
  type Assignment,
  assignment as assignmentSchema,
  type Group,
  group as groupSchema,
} from './groups.ts';
import { ImportedPfx, orderOf } from './imported-pfx.ts';
import { entitlementOf, isEntitled, revocationActionFor } from './lifecycle.ts';
import type {
  deviceReportedStates,
  MdmStore,
  NotificationRecord,
  ProfileRecord,
  ProfileState,
} from './mdm-store.ts';
import { PfxOrders } from './pfx-orders.ts';
import { PkcsRequests } from './pkcs-requests.ts';
import { isImported, type PkcsRequest } from './pkcs-store.ts';
import { isOverwritten } from './profile-state.ts';
import { needsNewCertificate, parseProfile } from './profiles.ts';
import type { RevocationOrder, RevocationRequest, RevocationResult } from './revocation-requests.ts';
import { contentHashOf, type ValidationServiceParts } from './validation-service.ts';

/** What an MDM is made of. */
export interface MdmParts {
  readonly store: MdmStore;
  /** Makes challenges. */
  readonly challengeSigner: ChallengeSigner;
  /** Reads them: the validation service's own key, which is RSA. */
  readonly challengeRecipient: ChallengeRecipient;
  /** Whom PFX are asked of at a check-in; the device's own requests if absent. */
  readonly pfxSource?: PfxSource;
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
  /** Names this attempt to join: who lost the answer asks again with the same one, and is the same device. */
  readonly joinId?: string | undefined;
}

/** What a check-in answers. Profiles that are absent are to be removed from the device, with their certificates. */
export interface CheckIn {
  readonly deviceId: string;
  readonly state: DeviceState;
  /** Roots first, then intermediates, then what leads to them: the order to install in. */
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
/** A year. */
const GRACE_MS_MAX = ENROLMENT_TOKEN_LIFETIME_MS_MAX;
const PAGE = 1000;
/** HRESULT: what AD CS reports when its policy says no. */
const CERTSRV_E_TEMPLATE_DENIED = 0x80094012;
/** HRESULT of ERROR_INVALID_PASSWORD: what Windows reports of a PFX that does not open. */
const PFX_UNOPENED = 0x80070056;

/**
 * The built-in stand-in for Intune.
 *
 * The methods of the first part are for the administrator, who is trusted: who can call them can obtain any certificate
 * that the CA's templates permit. Those of the second part are for a device that the door has authenticated.
 */
export class Mdm {
  readonly #store: MdmStore;
  readonly #parts: MdmParts;
  readonly #deviceProfiles: DeviceProfiles;

  /** PFX that were imported for users. */
  readonly importedPfx: ImportedPfx;
  /** Requests for PFX, which a connector works on. */
  readonly pkcs: PkcsRequests;
  /** Requests for PFX that somebody fetches in a device's place. */
  readonly pfxOrders: PfxOrders;

  constructor(parts: MdmParts) {
    this.#parts = parts;
    this.#store = parts.store;
    this.importedPfx = new ImportedPfx({
      store: parts.store.userPfx,
      user: (userPrincipalName) => this.user(userPrincipalName),
      clock: parts.clock,
      log: parts.log,
    });
    this.pkcs = new PkcsRequests({
      store: parts.store.pkcs,
      isWanted: (request) => this.#isWanted(request),
      importedPfx: (order) => this.importedPfx.certificate(order),
      onState: (request) => this.#hearPkcs(request),
      clock: parts.clock,
      log: parts.log,
    });
    this.pfxOrders = new PfxOrders({ store: parts.store.pkcs, clock: parts.clock, log: parts.log });
    this.#deviceProfiles = new DeviceProfiles({
      ...parts,
      importedPfx: this.importedPfx,
      pfxSource: parts.pfxSource ?? this.pkcs,
    });
  }

  /** The same MDM for somebody who fetches PFX in a device's place: check-ins ask `pfxSource` for them. */
  fetchingFrom(pfxSource: PfxSource): Mdm {
    return new Mdm({ ...this.#parts, pfxSource });
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
   * `user` becomes the user of each of these devices, and `groupIds` its groups; with `serialNumber`, only the device of
   * this number can join, with what the directory knows of it.
   *
   * @throws PkiError `request_malformed` for a count or a lifetime that makes no sense, or a group that cannot have members.
   */
  async createEnrolmentToken(
    options: {
      readonly uses?: number | undefined;
      readonly lifetimeMs?: number | undefined;
      readonly user?: DeviceUser | undefined;
      readonly groupIds?: readonly string[] | undefined;
      readonly serialNumber?: string | undefined;
      readonly attributes?: Device['attributes'] | undefined;
    } = {},
  ): Promise<{ readonly token: string; readonly expiresAt: Date }> {
    const { uses = 1, lifetimeMs = ENROLMENT_TOKEN_LIFETIME_MS, ...rest } = options;
    if (
      !Number.isSafeInteger(uses) ||
      uses < 1 ||
      !(lifetimeMs > 0 && lifetimeMs <= ENROLMENT_TOKEN_LIFETIME_MS_MAX)
    ) {
      throw new PkiError('request_malformed', 'uses: at least 1; lifetime: above 0, at most a year');
    }
    for (const groupId of rest.groupIds ?? []) this.#staticGroup(groupId);
    const token = randomToken();
    const createdAt = this.#parts.clock.now();
    const expiresAt = new Date(createdAt.getTime() + lifetimeMs);
    await this.#store.createEnrolmentToken({
      tokenHash: tokenHashOf(token),
      createdAt,
      expiresAt,
      usesLeft: uses,
      ...rest,
    });
    return { token, expiresAt };
  }

  /**
   * Takes users over from a directory. A user who is known by name keeps his id; his devices follow his new attributes.
   *
   * @throws PkiError `request_malformed` if a name is that of another user already: nothing is taken then.
   */
  async importUsers(rows: readonly UserRow[]): Promise<DeviceUser[]> {
    const users = rows.map(({ userId, ...row }): DeviceUser => {
      const known = this.#store.fleet.user(row.userPrincipalName);
      if (userId !== undefined && known !== undefined && known.userId !== userId.toLowerCase()) {
        throw new PkiError('request_malformed', `userId: ${row.userPrincipalName} has another one`);
      }
      return { userId: userId?.toLowerCase() ?? known?.userId ?? randomUUID(), ...row };
    });
    await this.#store.fleet.putUsers(users, this.#parts.clock.now());
    await this.enforceLifecycle();
    return users;
  }

  /** The user of this name, in whatever case. */
  user(userPrincipalName: string): DeviceUser | undefined {
    return this.#store.fleet.user(userPrincipalName);
  }

  users(
    page: { readonly limit?: number | undefined; readonly after?: string | undefined } = {},
  ): DeviceUser[] {
    return this.#store.fleet.users({ limit: page.limit ?? PAGE, after: page.after });
  }

  /**
   * Takes devices over from a directory or an inventory: a row with `deviceId` changes a device that has joined, and leaves as
   * it is what the row does not say; one with `serialNumber` makes an enrolment token that lets only the device of that number join, and gives it what the row says.
   * A serial number alone proves nothing, so that no device gets a user by claiming one.
   *
   * @throws PkiError `request_malformed`, `device_unknown`: what comes before in the list is taken.
   */
  async importDevices(
    rows: readonly DeviceRow[],
    options: { readonly lifetimeMs?: number | undefined } = {},
  ): Promise<{ readonly serialNumber: string; readonly token: string; readonly expiresAt: Date }[]> {
    const prepared = rows.map((row) => ({
      row,
      user: row.userPrincipalName === undefined ? undefined : this.#knownUser(row.userPrincipalName),
      groupIds: (row.groups ?? '').split(';').filter((groupId) => groupId !== ''),
    }));
    for (const { row, groupIds } of prepared) {
      for (const groupId of groupIds) this.#staticGroup(groupId);
      if (row.deviceId !== undefined) this.#knownDevice(row.deviceId);
    }
    const tokens: { readonly serialNumber: string; readonly token: string; readonly expiresAt: Date }[] = [];
    const at = this.#parts.clock.now();
    for (const { row, user, groupIds } of prepared) {
      const attributes = attributesIn(row);
      if (row.serialNumber !== undefined) {
        const { serialNumber } = row;
        const made = await this.createEnrolmentToken({
          ...options,
          user,
          groupIds,
          serialNumber,
          attributes,
        });
        tokens.push({ serialNumber, ...made });
      } else if (row.deviceId !== undefined) {
        const { deviceId } = row;
        await this.#store.fleet.mergeDeviceAttributes(deviceId, attributes, at);
        if (user !== undefined) await this.#store.fleet.setDeviceUser(deviceId, user, at);
        for (const groupId of groupIds) {
          await this.#store.fleet.setMember({ groupId, deviceId, membership: 'in' }, at);
        }
      }
    }
    await this.enforceLifecycle();
    return tokens;
  }

  /**
   * Takes in a device that has no agent, so that files can be exported for it. Nobody has its token: it never checks in by itself.
   *
   * @throws PkiError `request_malformed` for a name, a number or a group that cannot be.
   */
  async addDevice(
    claims: Pick<JoinRequest, 'deviceName' | 'platform' | 'serialNumber'>,
    place: {
      readonly user?: DeviceUser | undefined;
      readonly groupIds?: readonly string[] | undefined;
    } = {},
  ): Promise<Device> {
    for (const field of ['deviceName', 'serialNumber'] as const)
      if (!claimPattern.test(claims[field]))
        throw new PkiError(
          'request_malformed',
          `${field}: 1 to 64 characters, none of them a control character`,
        );
    const { token } = await this.createEnrolmentToken(place);
    return (await this.join({ token, ...claims })).device;
  }

  /** Devices by time of joining, at most 1,000; `after` is the deviceId of the last of the page before. */
  devices(page: { readonly limit?: number | undefined; readonly after?: string | undefined } = {}): Device[] {
    return this.#store.devices({ limit: Math.min(page.limit ?? PAGE, PAGE), after: page.after });
  }

  device(deviceId: string): Device | undefined {
    return this.#store.device(deviceId);
  }

  /**
   * Retires or wipes a device, which revokes its certificates; says that it is lost, which puts them on hold; or that it was
   * found. No request of a device that is not `enrolled` validates.
   *
   * @throws PkiError `device_unknown` also for an attempt to bring back a device that was retired or wiped.
   */
  async setDeviceState(deviceId: string, state: DeviceState): Promise<void> {
    const changed = await this.#store.fleet.setDeviceState(deviceId, state, this.#parts.clock.now());
    if (!changed) {
      const is = this.#store.device(deviceId)?.state;
      const why =
        is === undefined ? `no device ${deviceId}` : `${deviceId} is ${is}, and cannot become ${state}`;
      throw new PkiError('device_unknown', why);
    }
    this.#parts.log.info({ deviceId, state }, 'device state set');
    await this.enforceLifecycle();
  }

  /**
   * Says whom the device belongs to; `undefined` for nobody. Challenges that were made for another user become void, and
   * certificates of another user are revoked.
   *
   * @throws PkiError `device_unknown`.
   */
  async setDeviceUser(deviceId: string, user: DeviceUser | undefined): Promise<void> {
    const changed = await this.#store.fleet.setDeviceUser(deviceId, user, this.#parts.clock.now());
    if (!changed) throw new PkiError('device_unknown', `no device ${deviceId}`);
    await this.enforceLifecycle();
  }

  /**
   * Says that a device breaks the rules. When `graceMs` have passed, its certificates are held or revoked and it gets no
   * other; until then nothing happens. Said again, the time runs anew.
   *
   * @throws PkiError `device_unknown`; `request_malformed` for a time that makes no sense.
   */
  async setNonCompliant(
    deviceId: string,
    options: { readonly graceMs: number; readonly measure: ComplianceMeasure },
  ): Promise<void> {
    const { graceMs, measure } = options;
    if (!(graceMs >= 0 && graceMs <= GRACE_MS_MAX)) {
      throw new PkiError('request_malformed', 'grace: from none to a year');
    }
    const at = this.#parts.clock.now();
    const graceUntil = new Date(at.getTime() + graceMs);
    const changed = await this.#store.fleet.setNonCompliance(deviceId, { graceUntil, measure }, at);
    if (!changed) throw new PkiError('device_unknown', `no device ${deviceId}`);
    this.#parts.log.info({ deviceId, graceUntil, measure }, 'device is not compliant');
    await this.enforceLifecycle();
  }

  /**
   * Says that a device keeps the rules. Held certificates are released; for revoked ones it gets others.
   *
   * @throws PkiError `device_unknown`.
   */
  async setCompliant(deviceId: string): Promise<void> {
    const changed = await this.#store.fleet.setNonCompliance(deviceId, undefined, this.#parts.clock.now());
    if (!changed) throw new PkiError('device_unknown', `no device ${deviceId}`);
    this.#parts.log.info({ deviceId }, 'device is compliant');
    await this.enforceLifecycle();
  }

  // --- groups and assignments: for the administrator ----------------------------------------------------------------------

  /**
   * Creates a group, or changes the one with the same groupId.
   *
   * @throws PkiError `request_malformed` naming the field.
   */
  async upsertGroup(value: unknown): Promise<Group> {
    const parsed = groupSchema.safeParse(value);
    if (!parsed.success) {
      const issue = parsed.error.issues[0];
      throw new PkiError('request_malformed', `${issue?.path.join('.') || 'group'}: ${issue?.message}`);
    }
    await this.#store.fleet.putGroup(parsed.data, this.#parts.clock.now());
    await this.enforceLifecycle();
    return parsed.data;
  }

  groups(): Group[] {
    return this.#store.fleet.groups();
  }

  /**
   * Puts a device into a group, or takes it out.
   *
   * @throws PkiError `device_unknown`; `request_malformed` for a group that is absent or has its members by rule.
   */
  async setMember(groupId: string, deviceId: string, membership: 'in' | 'out'): Promise<void> {
    this.#staticGroup(groupId);
    this.#knownDevice(deviceId);
    await this.#store.fleet.setMember({ groupId, deviceId, membership }, this.#parts.clock.now());
    await this.enforceLifecycle();
  }

  /**
   * Says whom a profile is for: this and nothing else. Devices that it does not target any more lose it, and their
   * certificates of it are revoked.
   *
   * @throws PkiError `profile_not_assigned` if there is no such profile; `request_malformed`.
   */
  async setAssignments(profileId: string, value: unknown): Promise<void> {
    const assignments = this.#assignmentsIn(value);
    this.#knownProfile(profileId);
    await this.#store.fleet.setAssignments(profileId, assignments, this.#parts.clock.now());
    this.#parts.log.info({ profileId, assignments: assignments.length }, 'assignments set');
    await this.enforceLifecycle();
  }

  /** Whom a profile is for. */
  assignments(profileId: string): Assignment[] {
    return this.#store.fleet.assignments(profileId);
  }

  /**
   * Creates the profile, for the devices of `assignments` or for all; or changes the one with the same profileId, which
   * keeps its assignments. Its version grows if devices need a new certificate.
   *
   * @throws PkiError `profile_invalid` naming the field; `request_malformed` for assignments.
   */
  async upsertProfile(value: unknown, assignments?: unknown): Promise<ProfileRecord> {
    const profile = parseProfile(value);
    const targets = assignments === undefined ? undefined : this.#assignmentsIn(assignments);
    if (profile.kind !== 'trustedCertificate') trustedProfileOf(this.#store, profile);
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
    await this.#store.putProfile(record, targets);
    this.#parts.log.info({ profileId: profile.profileId, version: record.version }, 'profile stored');
    await this.enforceLifecycle();
    return record;
  }

  /**
   * Deletes a profile: devices lose it at their next check-in, and their certificates of it are revoked.
   *
   * @throws PkiError `profile_not_assigned` if there is none; `profile_invalid` if another profile refers to it.
   */
  async deleteProfile(profileId: string): Promise<void> {
    const referrer = this.#store
      .profiles()
      .find(({ profile }) => profile.kind !== 'trustedCertificate' && profile.rootCertificate === profileId);
    if (referrer !== undefined) {
      throw new PkiError('profile_invalid', `${referrer.profile.profileId} refers to ${profileId}`);
    }
    if (!(await this.#store.deleteProfile(profileId, this.#parts.clock.now()))) {
      throw new PkiError('profile_not_assigned', `no profile ${profileId}`);
    }
    await this.enforceLifecycle();
  }

  profiles(): ProfileRecord[] {
    return this.#store.profiles();
  }

  /** The profiles that target the device, by profileId. */
  profilesOf(deviceId: string): ProfileRecord[] {
    return this.#store.profilesOf(deviceId);
  }

  /**
   * Takes a device out of a profile's assignment: it loses the profile at its next check-in, a challenge that it still
   * holds no longer validates, and its certificates of the profile are revoked.
   *
   * @throws PkiError `profile_not_assigned` or `device_unknown`.
   */
  async excludeDevice(profileId: string, deviceId: string): Promise<void> {
    await this.#setExclusion(profileId, deviceId, 'add');
    await this.#store.recordProfileState({
      deviceId,
      profileId,
      issuanceState: 'removedFromCollection',
      at: this.#parts.clock.now(),
    });
  }

  /**
   * Takes back that a device was taken out. What was revoked stays so: the device gets another certificate.
   *
   * @throws PkiError `profile_not_assigned` or `device_unknown`.
   */
  async includeDevice(profileId: string, deviceId: string): Promise<void> {
    await this.#setExclusion(profileId, deviceId, 'remove');
  }

  /** How far profiles have come, at most 1,000; of all devices, or of one. */
  profileStates(deviceId?: string): ProfileState[] {
    return this.#store.profileStates({ deviceId, limit: PAGE });
  }

  /** Certificates that were given to devices, at most 1,000; of all devices, or of one. */
  certificates(deviceId?: string): CertificateRecord[] {
    return this.#store.fleet.certificates({ deviceId, limit: PAGE });
  }

  /** Notifications, newest first, at most 1,000; of all devices, or of one. */
  notifications(deviceId?: string): NotificationRecord[] {
    return this.#store.notifications({ deviceId, limit: PAGE });
  }

  // --- lifecycle --------------------------------------------------------------------------------------------------------

  /**
   * Asks for what follows from the changes up to now, and from grace periods that have run out: certificates revoked, put on
   * hold, released. Changes call it themselves; whoever answers the revocation connector calls it too.
   *
   * A request that was made twice, by a crash or by two processes, is one for `requestRevocation`.
   *
   * @returns how many requests were made
   * @throws PkiError `store_unavailable`: what is left is done by the next call.
   */
  async enforceLifecycle(): Promise<number> {
    let requests = 0;
    for (;;) {
      const due = this.#store.fleet.dueDevices(this.#parts.clock.now(), PAGE);
      for (const device of due) {
        const made = await this.#enforce(device.deviceId);
        requests += made;
        await this.#store.fleet.settle(device, this.#nextLookAt(device.deviceId));
      }
      if (due.length < PAGE) return requests;
    }
  }

  /** Makes the requests for one device's certificates. */
  async #enforce(deviceId: string): Promise<number> {
    const now = this.#parts.clock.now();
    const device = this.#store.device(deviceId);
    if (device === undefined) return 0;
    let requests = 0;
    for (const { certificate, succession } of this.#store.fleet.liveCertificates(deviceId, now)) {
      const { profileId, userId, serialNumber, issuerName } = certificate;
      const assignment = this.#store.isTargeted(profileId, deviceId) ? 'targeted' : 'not targeted';
      const { standing, reason } = entitlementOf({ device, userId, assignment, succession }, now);
      const action = revocationActionFor(certificate.standing, standing);
      if (action === undefined) continue;
      // The request first: made twice it is one, forgotten it would be none.
      await this.requestRevocation({ serialNumber, issuerName, action, reason });
      await this.#store.fleet.setStanding(certificate, standing, reason);
      this.#parts.log.info({ deviceId, profileId, serialNumber, action, reason }, 'revocation asked for');
      requests += 1;
    }
    return requests;
  }

  /** The end of a grace period that still runs. */
  #nextLookAt(deviceId: string): Date | undefined {
    const graceUntil = this.#store.device(deviceId)?.nonCompliance?.graceUntil;
    return graceUntil !== undefined && graceUntil > this.#parts.clock.now() ? graceUntil : undefined;
  }

  /**
   * Puts a certificate of any origin on the list that the revocation connector fetches; once, however often it is asked.
   * For a certificate of a device, `setDeviceState` and its like do it.
   *
   * @throws PkiError `store_unavailable`.
   */
  async requestRevocation(order: RevocationOrder): Promise<void> {
    await this.#store.revocationRequests.add(order, this.#parts.clock.now());
  }

  /** What the revocation connector is to do, oldest first: grace periods that have run out by now are in it. */
  async revocationRequests(filter: {
    readonly issuerName?: string | undefined;
    readonly limit: number;
  }): Promise<RevocationRequest[]> {
    await this.enforceLifecycle();
    return this.#store.revocationRequests.waiting(filter);
  }

  /** How many requests the revocation connector has not answered. */
  revocationBacklog(): number {
    return this.#store.revocationRequests.backlog();
  }

  /**
   * Takes down what the revocation connector answered: the certificate's `revokeStatus`, and `revoked` as the state of the
   * profile on the device if this is its certificate. `false` if nothing changes: the request is not known, was answered before, or is to be tried
   * again.
   */
  async recordRevocationResult(answer: RevocationResult): Promise<boolean> {
    const at = this.#parts.clock.now();
    const request = await this.#store.revocationRequests.answer(answer, at);
    if (request === undefined) return false;
    const standing = ({ revoke: 'revoked', hold: 'held', release: 'good' } as const)[request.action];
    const result = answer.succeeded ? 'succeeded' : 'failed';
    const certificate = await this.#store.fleet.recordRevocationResult(request, standing, result);
    if (certificate === undefined || !answer.succeeded || standing !== 'revoked') return true;
    const { deviceId, profileId, serialNumber } = certificate;
    const state = this.#store.profileState(deviceId, profileId);
    if (state?.serialNumber !== serialNumber || state.issuanceState === 'deleted') return true;
    await this.#store.recordProfileState({ deviceId, profileId, issuanceState: 'revoked', at });
    return true;
  }

  // --- for a device ---------------------------------------------------------------------------------------------------

  /**
   * Lets a device join. The device token is shown once and stored as a hash. The same token and `joinId` again, until the
   * device has checked in, is the same device with another device token: for who lost the answer.
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
      joinHash: request.joinId === undefined ? undefined : tokenHashOf(request.joinId),
    });
    if (joined === undefined) {
      throw new PkiError(
        'token_refused',
        'an enrolment token that is unknown, expired, used up or of another device',
      );
    }
    this.#parts.log.info({ deviceId: joined.deviceId, platform: joined.platform }, 'device joined');
    return { device: joined, deviceToken };
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
   * The profiles of the device; one for imported PFX is left out if there is nothing for its user. A SCEP profile carries a
   * challenge if the device does not report a certificate of the profile's version that is valid, not due for renewal, not
   * revoked, and says what the profile says by now. What the device reports is believed: it can only harm itself. A lost
   * device, and one that broke the rules for too long, keeps what it has and gets no challenge.
   */
  async checkIn(device: Device, installed: readonly InstalledCertificate[]): Promise<CheckIn> {
    await this.#store.recordSync(device.deviceId, this.#parts.clock.now());
    const { state } = device;
    if (state === 'retired' || state === 'wiped') return { deviceId: device.deviceId, state, profiles: [] };
    const profiles = await this.#deviceProfiles.madeOutFor(device, installed);
    return { deviceId: device.deviceId, state, profiles };
  }

  /**
   * Takes down what the device says of a profile: one that exists, or that the device had before it was deleted.
   *
   * @throws PkiError `profile_not_assigned`.
   */
  async report(device: Device, report: ProfileReport): Promise<void> {
    const { deviceId } = device;
    const { profileId, thumbprint } = report;
    const state = this.#store.profileState(deviceId, profileId);
    if (state === undefined && this.#store.profile(profileId) === undefined) {
      throw new PkiError('profile_not_assigned', `a report on an unknown profile`);
    }
    const certificate =
      thumbprint === undefined ? undefined : this.#store.fleet.certificateOf(deviceId, profileId, thumbprint);
    const isNotified = this.#store.fleet.hasCertificate(deviceId, profileId);
    if (isOverwritten(state?.issuanceState, report.issuanceState, certificate?.standing)) {
      const { issuanceState, errorCode, eventId } = report;
      // What the validation service and the RA said of a certificate is known; the device adds its own part alone.
      const facts = isNotified
        ? {
            thumbprint: certificate?.thumbprint,
            serialNumber: certificate?.serialNumber,
            notAfter: certificate?.notAfter,
          }
        : {
            thumbprint: thumbprint?.toUpperCase(),
            serialNumber: report.serialNumber?.toUpperCase(),
            notAfter: report.notAfter,
          };
      await this.#store.recordProfileState({
        deviceId,
        profileId,
        issuanceState,
        errorCode,
        eventId,
        ...facts,
        at: this.#parts.clock.now(),
      });
    }
    if (thumbprint !== undefined && report.issuanceState === 'installed') {
      await this.pkcs.installed(deviceId, profileId, thumbprint);
    }
    if (certificate !== undefined && report.issuanceState === 'installed') {
      // Intune revokes what a changed SCEP profile replaces, and leaves PKCS certificates alone.
      if (this.#store.profile(profileId)?.profile.kind === 'scep') {
        await this.#store.fleet.supersedeBefore(certificate, this.#parts.clock.now());
      }
      await this.enforceLifecycle();
    }
  }

  /** Whether a request for a PFX is still to end with a certificate on its device. */
  #isWanted(request: PkcsRequest): boolean {
    if (request.wantedUntil !== undefined && request.wantedUntil <= this.#parts.clock.now()) return false;
    const { deviceId, profileId, profileVersion, userId, order } = request;
    const device = this.#store.device(deviceId);
    const record = this.#store.profile(profileId);
    if (device === undefined || !isEntitled(device, this.#parts.clock.now())) return false;
    if (userId !== undefined && device.user?.userId !== userId) return false;
    if (record?.version !== profileVersion || !this.#store.isTargeted(profileId, deviceId)) return false;
    if (!isImported(order) || record.profile.kind !== 'importedPfx') return true;
    const due = this.importedPfx.dueFor(device.user, record.profile.intendedPurpose, undefined);
    return typeof due === 'object' && JSON.stringify(orderOf(due)) === JSON.stringify(order);
  }

  /** What a step of a request for a PFX means for its profile on the device. */
  async #hearPkcs(request: PkcsRequest): Promise<void> {
    const { deviceId, profileId, profileVersion, userId, state, order, certificate } = request;
    const at = this.#parts.clock.now();
    if (this.#store.device(deviceId) === undefined) return;
    if (state === 'issued' && certificate !== undefined) {
      const { thumbprint, serialNumber, issuerName, notAfter } = certificate;
      const facts = { deviceId, profileId, thumbprint, serialNumber, notAfter };
      const change = { ...facts, issuanceState: 'issued', at } as const;
      // An imported certificate is not this device's: it is on others as well, and whoever issued it revokes it.
      if (isImported(order)) await this.#store.recordProfileState(change);
      else
        await this.#store.recordCertificate(
          { ...facts, profileVersion, userId, issuerName, contentHash: contentHashOf(order), issuedAt: at },
          change,
        );
    } else if (state === 'withdrawn' && certificate !== undefined && !isImported(order)) {
      // The connector has revoked it, for it was made for the request; an imported one was not.
      await this.#store.fleet.setStanding(certificate, 'revoked', 'cessationOfOperation');
      await this.#store.fleet.recordRevocationResult(certificate, 'revoked', 'succeeded');
    } else if (state === 'requested') {
      await this.#store.recordProfileState({ deviceId, profileId, issuanceState: 'issuePending', at });
    } else if (state === 'failed') {
      const errorCode = isImported(order) ? PFX_UNOPENED : CERTSRV_E_TEMPLATE_DENIED;
      await this.#store.recordProfileState({
        deviceId,
        profileId,
        issuanceState: 'issueFailed',
        errorCode,
        at,
      });
    }
  }

  async #setExclusion(profileId: string, deviceId: string, act: 'add' | 'remove'): Promise<void> {
    this.#knownProfile(profileId);
    this.#knownDevice(deviceId);
    const assignment: Assignment = { intent: 'exclude', target: { kind: 'device', id: deviceId } };
    await this.#store.fleet.changeAssignment(profileId, { assignment, act }, this.#parts.clock.now());
    this.#parts.log.info({ profileId, deviceId, exclusion: act }, 'assignment set');
    await this.enforceLifecycle();
  }

  #assignmentsIn(value: unknown): Assignment[] {
    const parsed = assignmentSchema.array().max(500).safeParse(value);
    if (!parsed.success) {
      const issue = parsed.error.issues[0];
      throw new PkiError('request_malformed', `assignments.${issue?.path.join('.')}: ${issue?.message}`);
    }
    for (const { target } of parsed.data) {
      if (target.kind === 'group' && this.#store.fleet.group(target.id) === undefined) {
        throw new PkiError('request_malformed', `assignments: no group ${target.id}`);
      }
      if (target.kind === 'device') this.#knownDevice(target.id);
    }
    return parsed.data;
  }

  #staticGroup(groupId: string): void {
    const found = this.#store.fleet.group(groupId);
    if (found === undefined) throw new PkiError('request_malformed', `no group ${groupId}`);
    if (found.rule !== undefined) {
      throw new PkiError('request_malformed', `group ${groupId} has its members by rule`);
    }
  }

  #knownDevice(deviceId: string): void {
    if (this.#store.device(deviceId) === undefined) {
      throw new PkiError('device_unknown', `no device ${deviceId}`);
    }
  }

  #knownProfile(profileId: string): void {
    if (this.#store.profile(profileId) === undefined) {
      throw new PkiError('profile_not_assigned', `no profile ${profileId}`);
    }
  }

  #knownUser(userPrincipalName: string): DeviceUser {
    const user = this.#store.fleet.user(userPrincipalName);
    if (user === undefined) throw new PkiError('request_malformed', `no user ${userPrincipalName}`);
    return user;
  }
}
