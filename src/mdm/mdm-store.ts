/** What the MDM remembers: devices, profiles, and how far each profile has come on each device. */
import { PkiError } from '../errors.ts';
import { type Migration, SqliteFile } from '../store/sqlite.ts';
import type {
  ComplianceMeasure,
  Device,
  DeviceAttributes,
  DeviceState,
  DeviceUser,
  Platform,
} from './device.ts';
import { FleetStore, fleetMigration } from './fleet-store.ts';
import { type Assignment, everyDevice } from './groups.ts';
import { PkcsStore, pkcsMigration } from './pkcs-store.ts';
import type { Profile } from './profiles.ts';
import { RevocationRequests, revocationMigration } from './revocation-requests.ts';
import { UserPfxStore, userPfxMigration } from './user-pfx-store.ts';

/** A profile as it is stored. */
export interface ProfileRecord {
  readonly profile: Profile;
  /** Grows by one with each change that makes the device's certificate out of date. */
  readonly version: number;
  readonly updatedAt: Date;
}

/** A challenge that was given out. The challenge itself is not kept, only its SHA-256. */
export interface ChallengeRecord {
  readonly challengeId: string;
  readonly certificateRequestId: string;
  readonly deviceId: string;
  readonly profileId: string;
  readonly profileVersion: number;
  /** SHA-256 of the challenge's text, lower-case hexadecimal. */
  readonly challengeHash: string;
  readonly createdAt: Date;
  readonly expiresAt: Date;
}

/**
 * How far a profile has come on a device: Intune's own words (Graph `managedDeviceCertificateState.issuanceState`).
 *
 * The MDM itself sets `challengeIssued`, `challengeIssueFailed`, `challengeValidation…`, `issued`, `issueFailed` and
 * `removedFromCollection`; the device reports those of `deviceReportedStates`.
 */
export const issuanceStates = [
  'unknown',
  'challengeIssued',
  'challengeIssueFailed',
  'requestCreationFailed',
  'requestSubmitFailed',
  'challengeValidationSucceeded',
  'challengeValidationFailed',
  'issueFailed',
  'issuePending',
  'issued',
  'responseProcessingFailed',
  'responsePending',
  'enrollmentSucceeded',
  'enrollmentNotNeeded',
  'revoked',
  'removedFromCollection',
  'renewVerified',
  'installFailed',
  'installed',
  'deleteFailed',
  'deleted',
  'renewalRequested',
  'requested',
] as const;

/** One of `issuanceStates`. */
export type IssuanceState = (typeof issuanceStates)[number];

/** The states that only the device can know; it may report no other. */
export const deviceReportedStates = [
  'requestCreationFailed',
  'requestSubmitFailed',
  'responseProcessingFailed',
  'responsePending',
  'enrollmentSucceeded',
  'enrollmentNotNeeded',
  'installFailed',
  'installed',
  'deleteFailed',
  'deleted',
  'renewalRequested',
  'requested',
] as const satisfies readonly IssuanceState[];

/** What is known of one profile on one device. */
export interface ProfileState {
  readonly deviceId: string;
  readonly profileId: string;
  readonly issuanceState: IssuanceState;
  /** SHA-1 of the certificate, upper-case hexadecimal, as Intune shows it. */
  readonly thumbprint?: string;
  /** Upper-case hexadecimal. */
  readonly serialNumber?: string;
  readonly notAfter?: Date;
  /** HRESULT or the device's own number; absent while all is well. */
  readonly errorCode?: number;
  /** Number of the event in the device's event log. */
  readonly eventId?: number;
  readonly updatedAt: Date;
}

/** What changes in a `ProfileState`. An absent certificate field keeps its value; an absent `errorCode` clears it. */
export interface ProfileStateChange {
  readonly deviceId: string;
  readonly profileId: string;
  readonly issuanceState: IssuanceState;
  readonly thumbprint?: string | undefined;
  readonly serialNumber?: string | undefined;
  readonly notAfter?: Date | undefined;
  readonly errorCode?: number | undefined;
  readonly eventId?: number | undefined;
  readonly at: Date;
}

/** A successNotification, field by field as it came (Intune's names). */
export interface SuccessNotification {
  readonly transactionId: string;
  readonly certificateThumbprint: string;
  readonly certificateSerialNumber: string;
  readonly certificateExpirationDateUtc: string;
  readonly issuingCertificateAuthority: string;
  readonly callerInfo: string;
  readonly caConfiguration: string | null;
  readonly certificateAuthority: string | null;
}

/** A failureNotification, field by field as it came (Intune's names). */
export interface FailureNotification {
  readonly transactionId: string;
  readonly hResult: number;
  readonly errorDescription: string;
  readonly callerInfo: string;
}

/** A notification that was taken. */
export type NotificationRecord = {
  readonly deviceId: string;
  readonly profileId: string;
  /** SHA-256 of the DER of the certification request, lower-case hexadecimal. */
  readonly requestHash: string;
  readonly receivedAt: Date;
} & (
  | { readonly kind: 'success'; readonly notification: SuccessNotification }
  | { readonly kind: 'failure'; readonly notification: FailureNotification }
);

/** What validateRequest accepted: this request, with this challenge. */
export interface ValidationRecord {
  readonly challengeId: string;
  readonly transactionId: string;
  /** As in `NotificationRecord`. */
  readonly requestHash: string;
  readonly at: Date;
}

/** Challenges are forgotten a day after they expire: late notifications find them, the file does not grow. */
const CHALLENGE_KEPT_MS = 24 * 60 * 60 * 1000;

const migrations: readonly Migration[] = [
  {
    name: 'devices, profiles, challenges, notifications',
    sql: `
      CREATE TABLE enrolmentToken (
        tokenHash TEXT PRIMARY KEY,
        createdAt TEXT NOT NULL,
        expiresAt TEXT NOT NULL,
        usesLeft INTEGER NOT NULL CHECK (usesLeft >= 0),
        user TEXT,
        -- The one device that it serves, if it is bound to one.
        serialNumber TEXT,
        attributes TEXT,
        -- JSON array of groupId.
        groupIds TEXT NOT NULL
      ) STRICT;
      CREATE TABLE device (
        deviceId TEXT PRIMARY KEY,
        azureADDeviceId TEXT NOT NULL UNIQUE,
        deviceName TEXT NOT NULL,
        serialNumber TEXT NOT NULL,
        platform TEXT NOT NULL,
        enrolledAt TEXT NOT NULL,
        lastSyncAt TEXT,
        state TEXT NOT NULL CHECK (state IN ('enrolled', 'lost', 'retired', 'wiped')),
        user TEXT,
        attributes TEXT,
        nonCompliance TEXT,
        tokenHash TEXT NOT NULL UNIQUE,
        -- The same join again is answered with the same device: which token, and which attempt of the device.
        enrolmentTokenHash TEXT NOT NULL,
        joinHash TEXT,
        UNIQUE (enrolmentTokenHash, joinHash)
      ) STRICT;
      CREATE TABLE profile (
        profileId TEXT PRIMARY KEY,
        version INTEGER NOT NULL,
        body TEXT NOT NULL,
        updatedAt TEXT NOT NULL
      ) STRICT;
      CREATE TABLE challenge (
        challengeId TEXT PRIMARY KEY,
        certificateRequestId TEXT NOT NULL UNIQUE,
        deviceId TEXT NOT NULL REFERENCES device ON DELETE CASCADE,
        profileId TEXT NOT NULL,
        profileVersion INTEGER NOT NULL,
        challengeHash TEXT NOT NULL,
        createdAt TEXT NOT NULL,
        expiresAt TEXT NOT NULL
      ) STRICT;
      CREATE INDEX challengeByExpiry ON challenge (expiresAt);
      CREATE TABLE validation (
        challengeId TEXT NOT NULL REFERENCES challenge ON DELETE CASCADE,
        transactionId TEXT NOT NULL,
        requestHash TEXT NOT NULL,
        validatedAt TEXT NOT NULL,
        PRIMARY KEY (challengeId, transactionId, requestHash)
      ) STRICT;
      CREATE TABLE notification (
        number INTEGER PRIMARY KEY,
        kind TEXT NOT NULL CHECK (kind IN ('success', 'failure')),
        deviceId TEXT NOT NULL,
        profileId TEXT NOT NULL,
        requestHash TEXT NOT NULL,
        body TEXT NOT NULL,
        receivedAt TEXT NOT NULL,
        UNIQUE (kind, requestHash, body)
      ) STRICT;
      CREATE INDEX notificationByDevice ON notification (deviceId);
      CREATE TABLE profileState (
        deviceId TEXT NOT NULL REFERENCES device ON DELETE CASCADE,
        profileId TEXT NOT NULL,
        issuanceState TEXT NOT NULL,
        thumbprint TEXT,
        serialNumber TEXT,
        notAfter TEXT,
        errorCode INTEGER,
        eventId INTEGER,
        updatedAt TEXT NOT NULL,
        PRIMARY KEY (deviceId, profileId)
      ) STRICT;
    `,
  },
  fleetMigration,
  revocationMigration,
  pkcsMigration,
  userPfxMigration,
];

interface DeviceRow {
  readonly deviceId: string;
  readonly azureADDeviceId: string;
  readonly deviceName: string;
  readonly serialNumber: string;
  readonly platform: Platform;
  readonly enrolledAt: string;
  readonly lastSyncAt: string | null;
  readonly state: DeviceState;
  readonly user: string | null;
  readonly attributes: string | null;
  readonly nonCompliance: string | null;
}

interface ProfileRow {
  readonly version: number;
  readonly body: string;
  readonly updatedAt: string;
}

interface ProfileStateRow {
  readonly deviceId: string;
  readonly profileId: string;
  readonly issuanceState: IssuanceState;
  readonly thumbprint: string | null;
  readonly serialNumber: string | null;
  readonly notAfter: string | null;
  readonly errorCode: number | null;
  readonly eventId: number | null;
  readonly updatedAt: string;
}

const DEVICE_COLUMNS =
  'deviceId, azureADDeviceId, deviceName, serialNumber, platform, enrolledAt, lastSyncAt, state, user, attributes, nonCompliance';

/**
 * The MDM's own SQLite file.
 *
 * Every writing method resolves when its write is durable, and is one transaction. Absent is `undefined`, never an
 * error. A failed write throws PkiError `store_unavailable`.
 *
 * Trust: who can write this file can enrol devices and change profiles, and so obtain any certificate that a profile
 * names. No token and no challenge is in it, only their hashes. Who can read it has the imported PFX, whose passwords he
 * has not.
 */
export class MdmStore {
  readonly #file: SqliteFile;
  /** Users, groups, assignments, certificates. */
  readonly fleet: FleetStore;
  readonly revocationRequests: RevocationRequests;
  /** Requests for PFX. */
  readonly pkcs: PkcsStore;
  /** Imported PFX. */
  readonly userPfx: UserPfxStore;

  private constructor(file: SqliteFile) {
    this.#file = file;
    this.fleet = new FleetStore(file);
    this.revocationRequests = new RevocationRequests(file);
    this.pkcs = new PkcsStore(file);
    this.userPfx = new UserPfxStore(file);
  }

  /**
   * Opens (and creates) the file.
   *
   * @throws PkiError as `SqliteFile.open`.
   */
  static open(path: string): MdmStore {
    return new MdmStore(SqliteFile.open(path, migrations));
  }

  /** Closes the file; what was promised is written. */
  close(): void {
    this.#file.close();
  }

  // --- devices --------------------------------------------------------------------------------------------------

  /**
   * Records an enrolment token by its hash. `user`, `attributes` and `groupIds` become those of each device that joins with
   * it; with `serialNumber`, only a device that names this one can.
   */
  createEnrolmentToken(token: {
    readonly tokenHash: string;
    readonly createdAt: Date;
    readonly expiresAt: Date;
    readonly usesLeft: number;
    readonly user?: DeviceUser | undefined;
    readonly serialNumber?: string | undefined;
    readonly attributes?: DeviceAttributes | undefined;
    readonly groupIds?: readonly string[] | undefined;
  }): Promise<void> {
    return this.#write(
      `INSERT INTO enrolmentToken (tokenHash, createdAt, expiresAt, usesLeft, user, serialNumber, attributes, groupIds)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
      token.tokenHash,
      token.createdAt.toISOString(),
      token.expiresAt.toISOString(),
      token.usesLeft,
      token.user === undefined ? null : JSON.stringify(token.user),
      token.serialNumber ?? null,
      token.attributes === undefined ? null : JSON.stringify(token.attributes),
      JSON.stringify(token.groupIds ?? []),
    );
  }

  /**
   * Takes one use of the enrolment token and records the device, both or neither. `undefined` means that the token is
   * unknown, expired, used up, or meant for another serial number. A token with n uses lets exactly n devices in.
   *
   * The same `joinHash` with the same token again, before the device has checked in, takes no use: it answers with the
   * device that is there, and the device's token becomes the new one.
   */
  consumeEnrolmentToken(enrolment: {
    readonly tokenHash: string;
    readonly device: Omit<Device, 'user' | 'lastSyncAt' | 'attributes' | 'nonCompliance'>;
    readonly deviceTokenHash: string;
    /** SHA-256 of what the device names its attempt by, lower-case hexadecimal; absent: each attempt is another device. */
    readonly joinHash?: string | undefined;
  }): Promise<Device | undefined> {
    const { device, tokenHash, deviceTokenHash, joinHash } = enrolment;
    const at = device.enrolledAt.toISOString();
    return this.#file.commit(() => {
      const again =
        joinHash === undefined
          ? undefined
          : this.#file.first<{ readonly deviceId: string }>(
              `UPDATE device SET tokenHash = ?
                WHERE enrolmentTokenHash = ? AND joinHash = ? AND lastSyncAt IS NULL AND state = 'enrolled'
                  AND serialNumber = ? RETURNING deviceId`,
              deviceTokenHash,
              tokenHash,
              joinHash,
              device.serialNumber,
            );
      if (again !== undefined) return this.device(again.deviceId);
      const taken = this.#file.run(
        `UPDATE enrolmentToken SET usesLeft = usesLeft - 1
          WHERE tokenHash = ?1 AND usesLeft > 0 AND expiresAt > ?2 AND (serialNumber IS NULL OR serialNumber = ?3)
            AND NOT EXISTS (SELECT 1 FROM device WHERE enrolmentTokenHash = ?1 AND joinHash = ?4)`,
        tokenHash,
        at,
        device.serialNumber,
        joinHash ?? null,
      );
      if (taken === 0) return undefined;
      this.#file.run(
        `INSERT INTO device (deviceId, azureADDeviceId, deviceName, serialNumber, platform, enrolledAt, state, user,
           attributes, tokenHash, enrolmentTokenHash, joinHash)
         SELECT ?, ?, ?, ?, ?, ?, ?, user, attributes, ?, tokenHash, ? FROM enrolmentToken WHERE tokenHash = ?`,
        device.deviceId,
        device.azureADDeviceId,
        device.deviceName,
        device.serialNumber,
        device.platform,
        at,
        device.state,
        deviceTokenHash,
        joinHash ?? null,
        tokenHash,
      );
      this.#file.run(
        `INSERT INTO member (groupId, deviceId)
         SELECT groupId, ?1 FROM deviceGroup
          WHERE rule IS NULL
            AND groupId IN (SELECT value FROM enrolmentToken, json_each(groupIds) WHERE tokenHash = ?2)`,
        device.deviceId,
        tokenHash,
      );
      return this.device(device.deviceId);
    });
  }

  device(deviceId: string): Device | undefined {
    return deviceOf(
      this.#file.first<DeviceRow>(`SELECT ${DEVICE_COLUMNS} FROM device WHERE deviceId = ?`, deviceId),
    );
  }

  /** The device that holds the token of this hash, in whatever state it is. */
  deviceByToken(tokenHash: string): Device | undefined {
    return deviceOf(
      this.#file.first<DeviceRow>(`SELECT ${DEVICE_COLUMNS} FROM device WHERE tokenHash = ?`, tokenHash),
    );
  }

  /** Devices by time of joining; `after` is the deviceId of the last one of the page before. */
  devices(page: { readonly limit: number; readonly after?: string | undefined }): Device[] {
    return this.#file
      .all<DeviceRow>(
        `SELECT ${DEVICE_COLUMNS} FROM device
          WHERE ?1 IS NULL
             OR (enrolledAt, deviceId) > (SELECT enrolledAt, deviceId FROM device WHERE deviceId = ?1)
          ORDER BY enrolledAt, deviceId LIMIT ?2`,
        page.after ?? null,
        page.limit,
      )
      .map(deviceFrom);
  }

  recordSync(deviceId: string, at: Date): Promise<void> {
    return this.#write('UPDATE device SET lastSyncAt = ? WHERE deviceId = ?', at.toISOString(), deviceId);
  }

  // --- profiles -------------------------------------------------------------------------------------------------

  /**
   * Stores the profile under its `profileId`, over what is there. A new one is for `assignments`, or for every device; one
   * that is there keeps its own.
   */
  putProfile(record: ProfileRecord, assignments: readonly Assignment[] = everyDevice): Promise<void> {
    const { profileId } = record.profile;
    return this.#file.commit(() => {
      const isNew = this.profile(profileId) === undefined;
      this.#file.run(
        `INSERT INTO profile (profileId, version, body, updatedAt) VALUES (?, ?, ?, ?)
         ON CONFLICT (profileId) DO UPDATE SET version = excluded.version, body = excluded.body,
           updatedAt = excluded.updatedAt`,
        profileId,
        record.version,
        JSON.stringify(record.profile),
        record.updatedAt.toISOString(),
      );
      if (isNew) this.fleet.putAssignments(profileId, assignments);
      this.fleet.markDevicesOf(profileId, record.updatedAt);
    });
  }

  /** `false` if there is no such profile. Its assignments go with it. */
  deleteProfile(profileId: string, at: Date): Promise<boolean> {
    return this.#file.commit(() => {
      this.fleet.markDevicesOf(profileId, at);
      return this.#file.run('DELETE FROM profile WHERE profileId = ?', profileId) > 0;
    });
  }

  profile(profileId: string): ProfileRecord | undefined {
    const row = this.#file.first<ProfileRow>(
      'SELECT version, body, updatedAt FROM profile WHERE profileId = ?',
      profileId,
    );
    return row === undefined ? undefined : profileFrom(row);
  }

  /** All profiles, by profileId. */
  profiles(): ProfileRecord[] {
    return this.#file
      .all<ProfileRow>('SELECT version, body, updatedAt FROM profile ORDER BY profileId')
      .map(profileFrom);
  }

  /** The profiles that target the device, by profileId. */
  profilesOf(deviceId: string): ProfileRecord[] {
    const device = this.device(deviceId);
    if (device === undefined) return [];
    return this.profiles().filter(({ profile }) => this.#targets(profile, device));
  }

  /** Whether the profile exists and targets the device. */
  isTargeted(profileId: string, deviceId: string): boolean {
    const record = this.profile(profileId);
    const device = this.device(deviceId);
    return record !== undefined && device !== undefined && this.#targets(record.profile, device);
  }

  #targets(profile: Profile, device: Device): boolean {
    if (profile.platform !== undefined && profile.platform !== device.platform) return false;
    return this.fleet.isAssigned(profile.profileId, device);
  }

  // --- challenges -----------------------------------------------------------------------------------------------

  /** Records that a challenge was given out, as the new state of its profile; forgets those that expired a day ago. */
  recordChallenge(challenge: ChallengeRecord): Promise<void> {
    return this.#file.commit(() => {
      this.#file.run(
        'DELETE FROM challenge WHERE expiresAt < ?',
        new Date(challenge.createdAt.getTime() - CHALLENGE_KEPT_MS).toISOString(),
      );
      this.#file.run(
        `INSERT INTO challenge (challengeId, certificateRequestId, deviceId, profileId, profileVersion, challengeHash,
           createdAt, expiresAt) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
        challenge.challengeId,
        challenge.certificateRequestId,
        challenge.deviceId,
        challenge.profileId,
        challenge.profileVersion,
        challenge.challengeHash,
        challenge.createdAt.toISOString(),
        challenge.expiresAt.toISOString(),
      );
      this.#putState({
        deviceId: challenge.deviceId,
        profileId: challenge.profileId,
        issuanceState: 'challengeIssued',
        at: challenge.createdAt,
      });
    });
  }

  challenge(challengeId: string): ChallengeRecord | undefined {
    const row = this.#file.first<
      Omit<ChallengeRecord, 'createdAt' | 'expiresAt'> & {
        readonly createdAt: string;
        readonly expiresAt: string;
      }
    >('SELECT * FROM challenge WHERE challengeId = ?', challengeId);
    if (row === undefined) return undefined;
    return { ...row, createdAt: new Date(row.createdAt), expiresAt: new Date(row.expiresAt) };
  }

  /** Records that validateRequest said yes; once, however often it is asked. */
  recordValidation(validation: ValidationRecord): Promise<void> {
    return this.#file.commit(() => {
      const { deviceId, profileId } = this.#challengeOwner(validation.challengeId);
      const added = this.#file.run(
        `INSERT INTO validation (challengeId, transactionId, requestHash, validatedAt) VALUES (?, ?, ?, ?)
         ON CONFLICT DO NOTHING`,
        validation.challengeId,
        validation.transactionId,
        validation.requestHash,
        validation.at.toISOString(),
      );
      if (added === 0) return;
      this.#putState({
        deviceId,
        profileId,
        issuanceState: 'challengeValidationSucceeded',
        at: validation.at,
      });
    });
  }

  /** Whether validateRequest has said yes to this very request. */
  isValidated(validation: Omit<ValidationRecord, 'at'>): boolean {
    return (
      this.#file.first(
        'SELECT 1 FROM validation WHERE challengeId = ? AND transactionId = ? AND requestHash = ?',
        validation.challengeId,
        validation.transactionId,
        validation.requestHash,
      ) !== undefined
    );
  }

  // --- states ---------------------------------------------------------------------------------------------------

  /**
   * Records a notification, the state that follows from it, and the certificate that it tells of. The same notification
   * again changes nothing and is no error: who lost the answer may ask again.
   */
  recordNotification(
    notification: NotificationRecord,
    change: ProfileStateChange,
    certificate?: Parameters<FleetStore['addCertificate']>[0],
  ): Promise<void> {
    return this.#file.commit(() => {
      const added = this.#file.run(
        `INSERT INTO notification (kind, deviceId, profileId, requestHash, body, receivedAt) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT DO NOTHING`,
        notification.kind,
        notification.deviceId,
        notification.profileId,
        notification.requestHash,
        JSON.stringify(notification.notification),
        notification.receivedAt.toISOString(),
      );
      if (added === 0) return;
      this.#putState(change);
      if (certificate !== undefined) this.fleet.addCertificate(certificate);
    });
  }

  /** Records a certificate that a connector had made, and the state that follows from it; the same again changes nothing. */
  recordCertificate(
    certificate: Parameters<FleetStore['addCertificate']>[0],
    change: ProfileStateChange,
  ): Promise<void> {
    return this.#file.commit(() => {
      const { deviceId, profileId, thumbprint } = certificate;
      if (this.fleet.certificateOf(deviceId, profileId, thumbprint) !== undefined) return;
      this.fleet.addCertificate(certificate);
      this.#putState(change);
    });
  }

  /** Notifications, newest first; `deviceId` absent means those of all devices. */
  notifications(filter: {
    readonly deviceId?: string | undefined;
    readonly limit: number;
  }): NotificationRecord[] {
    return this.#file
      .all<{
        readonly kind: 'success' | 'failure';
        readonly deviceId: string;
        readonly profileId: string;
        readonly requestHash: string;
        readonly body: string;
        readonly receivedAt: string;
      }>(
        `SELECT kind, deviceId, profileId, requestHash, body, receivedAt FROM notification
          WHERE ?1 IS NULL OR deviceId = ?1 ORDER BY number DESC LIMIT ?2`,
        filter.deviceId ?? null,
        filter.limit,
      )
      .map(
        (row) =>
          ({
            kind: row.kind,
            deviceId: row.deviceId,
            profileId: row.profileId,
            requestHash: row.requestHash,
            notification: JSON.parse(row.body),
            receivedAt: new Date(row.receivedAt),
          }) as NotificationRecord,
      );
  }

  /** Records how far a profile has come on a device. */
  recordProfileState(change: ProfileStateChange): Promise<void> {
    return this.#file.commit(() => this.#putState(change));
  }

  profileState(deviceId: string, profileId: string): ProfileState | undefined {
    const row = this.#file.first<ProfileStateRow>(
      'SELECT * FROM profileState WHERE deviceId = ? AND profileId = ?',
      deviceId,
      profileId,
    );
    return row === undefined ? undefined : profileStateFrom(row);
  }

  /** States by device and profile; `deviceId` absent means those of all devices. */
  profileStates(filter: { readonly deviceId?: string | undefined; readonly limit: number }): ProfileState[] {
    return this.#file
      .all<ProfileStateRow>(
        `SELECT deviceId, profileId, issuanceState, thumbprint, serialNumber, notAfter, errorCode, eventId, updatedAt
           FROM profileState WHERE ?1 IS NULL OR deviceId = ?1 ORDER BY deviceId, profileId LIMIT ?2`,
        filter.deviceId ?? null,
        filter.limit,
      )
      .map(profileStateFrom);
  }

  #putState(change: ProfileStateChange): void {
    this.#file.run(
      `INSERT INTO profileState (deviceId, profileId, issuanceState, thumbprint, serialNumber, notAfter, errorCode,
         eventId, updatedAt) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (deviceId, profileId) DO UPDATE SET issuanceState = excluded.issuanceState,
         thumbprint = coalesce(excluded.thumbprint, thumbprint),
         serialNumber = coalesce(excluded.serialNumber, serialNumber),
         notAfter = coalesce(excluded.notAfter, notAfter),
         errorCode = excluded.errorCode, eventId = coalesce(excluded.eventId, eventId),
         updatedAt = excluded.updatedAt`,
      change.deviceId,
      change.profileId,
      change.issuanceState,
      change.thumbprint ?? null,
      change.serialNumber ?? null,
      change.notAfter?.toISOString() ?? null,
      change.errorCode ?? null,
      change.eventId ?? null,
      change.at.toISOString(),
    );
  }

  #challengeOwner(challengeId: string): { readonly deviceId: string; readonly profileId: string } {
    const owner = this.#file.first<{ readonly deviceId: string; readonly profileId: string }>(
      'SELECT deviceId, profileId FROM challenge WHERE challengeId = ?',
      challengeId,
    );
    if (owner === undefined)
      throw new PkiError('internal', 'a validation names a challenge that is not stored');
    return owner;
  }

  async #write(
    sql: string,
    ...parameters: Parameters<SqliteFile['run']> extends [string, ...infer P] ? P : never
  ) {
    await this.#change(sql, ...parameters);
  }

  #change(
    sql: string,
    ...parameters: Parameters<SqliteFile['run']> extends [string, ...infer P] ? P : never
  ): Promise<number> {
    return this.#file.commit(() => this.#file.run(sql, ...parameters));
  }
}

function deviceOf(row: DeviceRow | undefined): Device | undefined {
  return row === undefined ? undefined : deviceFrom(row);
}

function deviceFrom(row: DeviceRow): Device {
  return {
    deviceId: row.deviceId,
    azureADDeviceId: row.azureADDeviceId,
    deviceName: row.deviceName,
    serialNumber: row.serialNumber,
    platform: row.platform,
    enrolledAt: new Date(row.enrolledAt),
    state: row.state,
    ...(row.lastSyncAt === null ? {} : { lastSyncAt: new Date(row.lastSyncAt) }),
    ...(row.user === null ? {} : { user: JSON.parse(row.user) as DeviceUser }),
    ...(row.attributes === null ? {} : { attributes: JSON.parse(row.attributes) as DeviceAttributes }),
    ...(row.nonCompliance === null ? {} : { nonCompliance: nonComplianceFrom(row.nonCompliance) }),
  };
}

function nonComplianceFrom(text: string): NonNullable<Device['nonCompliance']> {
  const { since, graceUntil, measure } = JSON.parse(text) as {
    readonly since: string;
    readonly graceUntil: string;
    readonly measure: ComplianceMeasure;
  };
  return { since: new Date(since), graceUntil: new Date(graceUntil), measure };
}

function profileFrom(row: ProfileRow): ProfileRecord {
  return {
    profile: JSON.parse(row.body) as Profile,
    version: row.version,
    updatedAt: new Date(row.updatedAt),
  };
}

function profileStateFrom(row: ProfileStateRow): ProfileState {
  return {
    deviceId: row.deviceId,
    profileId: row.profileId,
    issuanceState: row.issuanceState,
    updatedAt: new Date(row.updatedAt),
    ...(row.thumbprint === null ? {} : { thumbprint: row.thumbprint }),
    ...(row.serialNumber === null ? {} : { serialNumber: row.serialNumber }),
    ...(row.notAfter === null ? {} : { notAfter: new Date(row.notAfter) }),
    ...(row.errorCode === null ? {} : { errorCode: row.errorCode }),
    ...(row.eventId === null ? {} : { eventId: row.eventId }),
  };
}
