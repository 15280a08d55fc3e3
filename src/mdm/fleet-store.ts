/** What the MDM remembers of its fleet: users, groups, assignments, and the certificates that devices were given. */
import type { Migration, SqliteFile } from '../store/sqlite.ts';
import type { ComplianceMeasure, Device, DeviceAttributes, DeviceState, DeviceUser } from './device.ts';
import { type Assignment, type Group, type GroupRule, isReached, isRuledIn } from './groups.ts';
import type { RevocationReason, Standing } from './lifecycle.ts';

/** How far a revocation has come: Graph's words (`managedDeviceCertificateState.revokeStatus`). */
export type RevokeStatus = 'none' | 'pending' | 'failed' | 'revoked';

/** A certificate that a successNotification told of. */
export interface CertificateRecord {
  /** Upper-case hexadecimal. */
  readonly serialNumber: string;
  /** Name of the issuing CA, as it was notified. */
  readonly issuerName: string;
  readonly deviceId: string;
  readonly profileId: string;
  /** Version of the profile that it was made for. */
  readonly profileVersion: number;
  /** Of a user certificate. */
  readonly userId?: string;
  /** SHA-1, upper-case hexadecimal. */
  readonly thumbprint: string;
  /** What its request had to say, as `contentHashOf` sums it up. */
  readonly contentHash: string;
  readonly issuedAt: Date;
  readonly notAfter: Date;
  /** What was last asked of the CA. */
  readonly standing: Standing;
  readonly reason?: RevocationReason;
  readonly revokeStatus: RevokeStatus;
}

/** A device whose certificates are to be looked at. */
export interface DueDevice {
  readonly deviceId: string;
  /** Another with each change: `settle` does something only if nothing has changed meanwhile. */
  readonly revision: number;
}

/** The tables of this file. */
export const fleetMigration: Migration = {
  name: 'users, groups, assignments, certificates',
  sql: `
    CREATE TABLE user (
      userId TEXT PRIMARY KEY,
      userPrincipalName TEXT NOT NULL COLLATE NOCASE UNIQUE,
      body TEXT NOT NULL
    ) STRICT;
    CREATE TABLE deviceGroup (
      groupId TEXT PRIMARY KEY,
      displayName TEXT NOT NULL,
      rule TEXT
    ) STRICT;
    CREATE TABLE member (
      groupId TEXT NOT NULL REFERENCES deviceGroup ON DELETE CASCADE,
      deviceId TEXT NOT NULL REFERENCES device ON DELETE CASCADE,
      PRIMARY KEY (groupId, deviceId)
    ) STRICT;
    CREATE INDEX memberByDevice ON member (deviceId);
    CREATE TABLE assignment (
      profileId TEXT NOT NULL REFERENCES profile ON DELETE CASCADE,
      intent TEXT NOT NULL CHECK (intent IN ('include', 'exclude')),
      kind TEXT NOT NULL CHECK (kind IN ('allDevices', 'group', 'device')),
      targetId TEXT NOT NULL,
      PRIMARY KEY (profileId, kind, targetId, intent)
    ) STRICT;
    CREATE TABLE certificate (
      serialNumber TEXT NOT NULL,
      issuerName TEXT NOT NULL,
      deviceId TEXT NOT NULL REFERENCES device ON DELETE CASCADE,
      profileId TEXT NOT NULL,
      profileVersion INTEGER NOT NULL,
      userId TEXT,
      thumbprint TEXT NOT NULL,
      contentHash TEXT NOT NULL,
      issuedAt TEXT NOT NULL,
      notAfter TEXT NOT NULL,
      standing TEXT NOT NULL CHECK (standing IN ('good', 'held', 'revoked')),
      reason TEXT,
      revokeStatus TEXT NOT NULL,
      -- Since when the device uses one of a later version.
      supersededAt TEXT,
      PRIMARY KEY (serialNumber, issuerName)
    ) STRICT;
    CREATE INDEX certificateByDevice ON certificate (deviceId, profileId);
    CREATE INDEX certificateByProfile ON certificate (profileId);
    CREATE TABLE due (
      deviceId TEXT PRIMARY KEY REFERENCES device ON DELETE CASCADE,
      dueAt TEXT NOT NULL,
      revision INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX dueByTime ON due (dueAt);
  `,
};

interface CertificateRow {
  readonly serialNumber: string;
  readonly issuerName: string;
  readonly deviceId: string;
  readonly profileId: string;
  readonly profileVersion: number;
  readonly userId: string | null;
  readonly thumbprint: string;
  readonly contentHash: string;
  readonly issuedAt: string;
  readonly notAfter: string;
  readonly standing: Standing;
  readonly reason: RevocationReason | null;
  readonly revokeStatus: RevokeStatus;
  readonly supersededAt: string | null;
}

/** A certificate, and whether the device has a later one in use. */
export interface DeviceCertificate {
  readonly certificate: CertificateRecord;
  readonly succession: 'current' | 'superseded';
}

/**
 * The part of the MDM's file that says who owns what.
 *
 * Promises as those of `MdmStore`. Every change that may take a certificate's ground away marks its devices as due in the
 * same transaction, so that a crash before the revocation is asked for only delays it.
 */
export class FleetStore {
  readonly #file: SqliteFile;

  constructor(file: SqliteFile) {
    this.#file = file;
  }

  // --- users --------------------------------------------------------------------------------------------------------

  /** Stores users, all or none, over those of the same `userId`; devices of these users follow. */
  putUsers(users: readonly DeviceUser[], at: Date): Promise<void> {
    return this.#file.commit(() => {
      for (const user of users) {
        const body = JSON.stringify(user);
        this.#file.run(
          `INSERT INTO user (userId, userPrincipalName, body) VALUES (?, ?, ?)
           ON CONFLICT (userId) DO UPDATE SET userPrincipalName = excluded.userPrincipalName, body = excluded.body`,
          user.userId,
          user.userPrincipalName,
          body,
        );
        this.#file.run(`UPDATE device SET user = ? WHERE user ->> '$.userId' = ?`, body, user.userId);
      }
      this.#markDue(at, 'SELECT deviceId FROM certificate WHERE userId IS NOT NULL');
    });
  }

  /** The user of this name, in whatever case. */
  user(userPrincipalName: string): DeviceUser | undefined {
    const row = this.#file.first<{ readonly body: string }>(
      'SELECT body FROM user WHERE userPrincipalName = ?',
      userPrincipalName,
    );
    return row === undefined ? undefined : (JSON.parse(row.body) as DeviceUser);
  }

  /** Users by name, at most `limit`, from behind the one of the name `after`. */
  users(page: { readonly limit: number; readonly after?: string | undefined }): DeviceUser[] {
    return this.#file
      .all<{ readonly body: string }>(
        'SELECT body FROM user WHERE userPrincipalName > ? ORDER BY userPrincipalName LIMIT ?',
        page.after ?? '',
        page.limit,
      )
      .map((row) => JSON.parse(row.body) as DeviceUser);
  }

  // --- devices ------------------------------------------------------------------------------------------------------

  /**
   * `false` if there is no such device, or if its state does not lead to this one: `retired` leads to `wiped` alone, and
   * `wiped` nowhere.
   */
  setDeviceState(deviceId: string, state: DeviceState, at: Date): Promise<boolean> {
    return this.#changeDevice(
      deviceId,
      at,
      `UPDATE device SET state = ?2 WHERE deviceId = ?1
          AND (state IN ('enrolled', 'lost') OR state = ?2 OR (state = 'retired' AND ?2 = 'wiped'))`,
      state,
    );
  }

  /** `false` if there is no such device. `undefined` takes the user away. */
  setDeviceUser(deviceId: string, user: DeviceUser | undefined, at: Date): Promise<boolean> {
    const sql = 'UPDATE device SET user = ?2 WHERE deviceId = ?1';
    return this.#changeDevice(deviceId, at, sql, user === undefined ? null : JSON.stringify(user));
  }

  /** `false` if there is no such device. What is absent stays as it is. */
  mergeDeviceAttributes(deviceId: string, attributes: DeviceAttributes, at: Date): Promise<boolean> {
    const sql = `UPDATE device SET attributes = json_patch(coalesce(attributes, '{}'), ?2) WHERE deviceId = ?1`;
    return this.#changeDevice(deviceId, at, sql, JSON.stringify(attributes));
  }

  /** `false` if there is no such device. `undefined`: the device keeps the rules (again). */
  setNonCompliance(
    deviceId: string,
    nonCompliance: { readonly graceUntil: Date; readonly measure: ComplianceMeasure } | undefined,
    at: Date,
  ): Promise<boolean> {
    const value =
      nonCompliance === undefined
        ? null
        : JSON.stringify({
            since: at.toISOString(),
            graceUntil: nonCompliance.graceUntil.toISOString(),
            measure: nonCompliance.measure,
          });
    return this.#changeDevice(
      deviceId,
      at,
      'UPDATE device SET nonCompliance = ?2 WHERE deviceId = ?1',
      value,
    );
  }

  // --- groups and assignments -----------------------------------------------------------------------------------------

  /** Stores the group, over one of the same name; its members stay. */
  putGroup(group: Group, at: Date): Promise<void> {
    return this.#file.commit(() => {
      this.#file.run(
        `INSERT INTO deviceGroup (groupId, displayName, rule) VALUES (?, ?, ?)
         ON CONFLICT (groupId) DO UPDATE SET displayName = excluded.displayName, rule = excluded.rule`,
        group.groupId,
        group.displayName,
        group.rule === undefined ? null : JSON.stringify(group.rule),
      );
      this.#markDue(at, 'SELECT deviceId FROM certificate');
    });
  }

  group(groupId: string): Group | undefined {
    return this.groups().find((each) => each.groupId === groupId);
  }

  /** All groups, by groupId. */
  groups(): Group[] {
    return this.#file
      .all<{ readonly groupId: string; readonly displayName: string; readonly rule: string | null }>(
        'SELECT groupId, displayName, rule FROM deviceGroup ORDER BY groupId',
      )
      .map(({ groupId, displayName, rule }) => ({
        groupId,
        displayName,
        ...(rule === null ? {} : { rule: JSON.parse(rule) as GroupRule }),
      }));
  }

  /** Puts a device into a group that has no rule, or takes it out. */
  setMember(
    member: { readonly groupId: string; readonly deviceId: string; readonly membership: 'in' | 'out' },
    at: Date,
  ): Promise<void> {
    const sql =
      member.membership === 'in'
        ? 'INSERT INTO member (groupId, deviceId) VALUES (?, ?) ON CONFLICT DO NOTHING'
        : 'DELETE FROM member WHERE groupId = ? AND deviceId = ?';
    return this.#file.commit(() => {
      this.#file.run(sql, member.groupId, member.deviceId);
      this.#markDue(at, 'SELECT ?2', member.deviceId);
    });
  }

  /** Ids of the groups that the device is in. */
  groupIdsOf(device: Pick<Device, 'deviceId' | 'platform' | 'deviceName' | 'user'>): ReadonlySet<string> {
    const members = this.#file.all<{ readonly groupId: string }>(
      'SELECT groupId FROM member WHERE deviceId = ?',
      device.deviceId,
    );
    const ruled = this.groups().filter(({ rule }) => rule !== undefined && isRuledIn(rule, device));
    return new Set([...members, ...ruled].map(({ groupId }) => groupId));
  }

  /** Says whom a profile is for: this and nothing else. */
  setAssignments(profileId: string, assignments: readonly Assignment[], at: Date): Promise<void> {
    return this.#file.commit(() => {
      this.putAssignments(profileId, assignments);
      this.markDevicesOf(profileId, at);
    });
  }

  /** Adds one assignment, or takes it away. */
  changeAssignment(
    profileId: string,
    change: { readonly assignment: Assignment; readonly act: 'add' | 'remove' },
    at: Date,
  ): Promise<void> {
    const { intent, target } = change.assignment;
    const sql =
      change.act === 'add'
        ? 'INSERT INTO assignment (profileId, intent, kind, targetId) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING'
        : 'DELETE FROM assignment WHERE profileId = ? AND intent = ? AND kind = ? AND targetId = ?';
    return this.#file.commit(() => {
      this.#file.run(sql, profileId, intent, target.kind, target.kind === 'allDevices' ? '' : target.id);
      this.markDevicesOf(profileId, at);
    });
  }

  /** As `setAssignments`, within a transaction of the caller, who marks the devices. */
  putAssignments(profileId: string, assignments: readonly Assignment[]): void {
    this.#file.run('DELETE FROM assignment WHERE profileId = ?', profileId);
    for (const { intent, target } of assignments) {
      this.#file.run(
        'INSERT INTO assignment (profileId, intent, kind, targetId) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING',
        profileId,
        intent,
        target.kind,
        target.kind === 'allDevices' ? '' : target.id,
      );
    }
  }

  /** Whom a profile is for. */
  assignments(profileId: string): Assignment[] {
    return this.#file
      .all<{ readonly intent: Assignment['intent']; readonly kind: string; readonly targetId: string }>(
        'SELECT intent, kind, targetId FROM assignment WHERE profileId = ? ORDER BY intent DESC, kind, targetId',
        profileId,
      )
      .map(
        ({ intent, kind, targetId }) =>
          ({
            intent,
            target: kind === 'allDevices' ? { kind } : { kind, id: targetId },
          }) as Assignment,
      );
  }

  /** Whether the profile's assignments reach the device. */
  isAssigned(profileId: string, device: Device): boolean {
    return isReached(this.assignments(profileId), device.deviceId, this.groupIdsOf(device));
  }

  // --- certificates ---------------------------------------------------------------------------------------------------

  /** Takes down a certificate, within a transaction of the caller; the same one again changes nothing. */
  addCertificate(
    record: Omit<CertificateRecord, 'standing' | 'reason' | 'revokeStatus' | 'userId'> & {
      readonly userId?: string | undefined;
    },
  ): void {
    this.#file.run(
      `INSERT INTO certificate (serialNumber, issuerName, deviceId, profileId, profileVersion, userId, thumbprint,
         contentHash, issuedAt, notAfter, standing, revokeStatus)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'good', 'none') ON CONFLICT DO NOTHING`,
      record.serialNumber,
      record.issuerName,
      record.deviceId,
      record.profileId,
      record.profileVersion,
      record.userId ?? null,
      record.thumbprint,
      record.contentHash,
      record.issuedAt.toISOString(),
      record.notAfter.toISOString(),
    );
    // What changed while the certificate was being made must not go by it.
    this.#markDue(record.issuedAt, 'SELECT ?2', record.deviceId);
  }

  /** Certificates by device and time, at most `limit`. */
  certificates(filter: {
    readonly deviceId?: string | undefined;
    readonly limit: number;
  }): CertificateRecord[] {
    return this.#file
      .all<CertificateRow>(
        `SELECT * FROM certificate WHERE ?1 IS NULL OR deviceId = ?1 ORDER BY deviceId, issuedAt, serialNumber LIMIT ?2`,
        filter.deviceId ?? null,
        filter.limit,
      )
      .map(certificateFrom);
  }

  /** The certificates of a device that have not expired and are not revoked. */
  liveCertificates(deviceId: string, now: Date): DeviceCertificate[] {
    return this.#file
      .all<CertificateRow>(
        `SELECT * FROM certificate WHERE deviceId = ? AND notAfter > ? AND standing <> 'revoked' ORDER BY issuedAt`,
        deviceId,
        now.toISOString(),
      )
      .map((row) => ({
        certificate: certificateFrom(row),
        succession: row.supersededAt === null ? 'current' : 'superseded',
      }));
  }

  /** The certificate of this thumbprint that the device was given for the profile. */
  certificateOf(deviceId: string, profileId: string, thumbprint: string): CertificateRecord | undefined {
    const row = this.#file.first<CertificateRow>(
      'SELECT * FROM certificate WHERE deviceId = ? AND profileId = ? AND thumbprint = ?',
      deviceId,
      profileId,
      thumbprint.toUpperCase(),
    );
    return row === undefined ? undefined : certificateFrom(row);
  }

  /** Whether a successNotification has ever told of a certificate of this profile on this device. */
  hasCertificate(deviceId: string, profileId: string): boolean {
    return (
      this.#file.first(
        'SELECT 1 FROM certificate WHERE deviceId = ? AND profileId = ? LIMIT 1',
        deviceId,
        profileId,
      ) !== undefined
    );
  }

  /** The device uses this certificate: those of the profile's earlier versions are superseded. */
  supersedeBefore(certificate: CertificateRecord, at: Date): Promise<void> {
    return this.#file.commit(() => {
      const changed = this.#file.run(
        `UPDATE certificate SET supersededAt = ?1
          WHERE deviceId = ?2 AND profileId = ?3 AND profileVersion < ?4 AND supersededAt IS NULL`,
        at.toISOString(),
        certificate.deviceId,
        certificate.profileId,
        certificate.profileVersion,
      );
      if (changed > 0) this.#markDue(at, 'SELECT ?2', certificate.deviceId);
    });
  }

  /** Notes that the CA was asked: the certificate's new standing waits for the answer. */
  setStanding(
    certificate: Pick<CertificateRecord, 'serialNumber' | 'issuerName'>,
    standing: Standing,
    reason: RevocationReason | undefined,
  ): Promise<void> {
    return this.#file.commit(() => {
      this.#file.run(
        `UPDATE certificate SET standing = ?, reason = ?, revokeStatus = 'pending'
          WHERE serialNumber = ? AND issuerName = ?`,
        standing,
        reason ?? null,
        certificate.serialNumber,
        certificate.issuerName,
      );
    });
  }

  /**
   * Notes what the CA answered. The certificate, or `undefined` if it is not known here.
   *
   * An answer to an older question does not count: after a release that was asked for, `revoke` is not what is awaited.
   */
  recordRevocationResult(
    certificate: Pick<CertificateRecord, 'serialNumber' | 'issuerName'>,
    standing: Standing,
    result: 'succeeded' | 'failed',
  ): Promise<CertificateRecord | undefined> {
    const done: RevokeStatus = standing === 'good' ? 'none' : 'revoked';
    return this.#file.commit(() => {
      this.#file.run(
        `UPDATE certificate SET revokeStatus = ? WHERE serialNumber = ? AND issuerName = ? AND standing = ?`,
        result === 'succeeded' ? done : 'failed',
        certificate.serialNumber,
        certificate.issuerName,
        standing,
      );
      const row = this.#file.first<CertificateRow>(
        'SELECT * FROM certificate WHERE serialNumber = ? AND issuerName = ?',
        certificate.serialNumber,
        certificate.issuerName,
      );
      return row === undefined ? undefined : certificateFrom(row);
    });
  }

  // --- what is due ------------------------------------------------------------------------------------------------------

  /** Devices whose certificates are to be looked at by now, the longest waiting first. */
  dueDevices(now: Date, limit: number): DueDevice[] {
    return this.#file.all<DueDevice & Record<string, string | number>>(
      'SELECT deviceId, revision FROM due WHERE dueAt <= ? ORDER BY dueAt LIMIT ?',
      now.toISOString(),
      limit,
    );
  }

  /** The device was looked at; `next` is when it has to be again. Does nothing if it has changed meanwhile. */
  settle(device: DueDevice, next: Date | undefined): Promise<void> {
    return this.#file.commit(() => {
      if (next === undefined) {
        this.#file.run(
          'DELETE FROM due WHERE deviceId = ? AND revision = ?',
          device.deviceId,
          device.revision,
        );
      } else {
        this.#file.run(
          'UPDATE due SET dueAt = ? WHERE deviceId = ? AND revision = ?',
          next.toISOString(),
          device.deviceId,
          device.revision,
        );
      }
    });
  }

  /** Marks the devices that have certificates of a profile as due; within a transaction of the caller. */
  markDevicesOf(profileId: string, at: Date): void {
    this.#markDue(at, 'SELECT deviceId FROM certificate WHERE profileId = ?2', profileId);
  }

  #changeDevice(deviceId: string, at: Date, sql: string, value: string | null): Promise<boolean> {
    return this.#file.commit(() => {
      const changed = this.#file.run(sql, deviceId, value);
      if (changed > 0) this.#markDue(at, 'SELECT ?2', deviceId);
      return changed > 0;
    });
  }

  /** `devices` is SQL that selects device ids. */
  #markDue(at: Date, devices: string, parameter?: string): void {
    const parameters = parameter === undefined ? [] : [parameter];
    this.#file.run(
      `INSERT INTO due (deviceId, dueAt, revision)
       SELECT deviceId, ?1, abs(random() % 9007199254740991) FROM device WHERE deviceId IN (${devices})
       ON CONFLICT (deviceId) DO UPDATE SET dueAt = min(dueAt, excluded.dueAt), revision = excluded.revision`,
      at.toISOString(),
      ...parameters,
    );
  }
}

function certificateFrom(row: CertificateRow): CertificateRecord {
  const { userId, reason, supersededAt: _, issuedAt, notAfter, ...rest } = row;
  return {
    ...rest,
    issuedAt: new Date(issuedAt),
    notAfter: new Date(notAfter),
    ...(userId === null ? {} : { userId }),
    ...(reason === null ? {} : { reason }),
  };
}
