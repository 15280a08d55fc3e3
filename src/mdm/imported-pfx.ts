/** PFX that an administrator imports for users: taken in, deleted, and chosen for their devices. */
import { PkiError } from '../errors.ts';
import type { Clock, Log } from '../telemetry.ts';
import type { DeviceUser } from './device.ts';
import type { ImportedPfxOrder } from './pkcs-store.ts';
import type { IntendedPurpose } from './profiles.ts';
import type { ListedUserPfx, UserPfxCertificate, UserPfxId, UserPfxStore } from './user-pfx-store.ts';

/** A PFX as its importer describes it. */
export type PfxImport = Omit<UserPfxCertificate, 'userId' | 'createdDateTime' | 'lastModifiedDateTime'>;

/** What `ImportedPfx` works with. */
export interface ImportedPfxParts {
  readonly store: UserPfxStore;
  /** The user of this name, in whatever case. */
  readonly user: (userPrincipalName: string) => DeviceUser | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

/** More than anybody's mail has had: each check-in of a device looks through those of its user. */
const PFX_OF_A_USER_MAX = 1000;

/**
 * The imported PFX.
 *
 * Trust: nothing here can open one, so that what the importer says of it is believed; the connector looks into it before any
 * device gets it. A PFX has no protection here but its own password.
 */
export class ImportedPfx {
  readonly #parts: ImportedPfxParts;

  constructor(parts: ImportedPfxParts) {
    this.#parts = parts;
  }

  /**
   * Takes a PFX in for a user. The same certificate once more replaces what is there, for who lost the answer asks again.
   *
   * @throws PkiError `request_malformed` if there is no such user, he has as many as may be, or its certificate ends before it
   *   begins.
   */
  async import(imported: PfxImport): Promise<UserPfxCertificate> {
    const { store, clock, log } = this.#parts;
    const { userPrincipalName, thumbprint, intendedPurpose } = imported;
    const user = this.#parts.user(userPrincipalName);
    if (user === undefined)
      throw new PkiError('request_malformed', `userPrincipalName: no user ${userPrincipalName}`);
    if (imported.expirationDateTime <= imported.startDateTime)
      throw new PkiError('request_malformed', 'expirationDateTime: not after startDateTime');
    const now = clock.now();
    const { userId } = user;
    const others = store.certificates({ userId, limit: PFX_OF_A_USER_MAX });
    if (others.length >= PFX_OF_A_USER_MAX && store.certificate({ userId, thumbprint }) === undefined)
      throw new PkiError(
        'request_malformed',
        `userPrincipalName: has ${PFX_OF_A_USER_MAX} imported PFX; delete old ones`,
      );
    const stored = await store.put({ ...imported, userId, createdDateTime: now, lastModifiedDateTime: now });
    log.info({ userId, thumbprint, intendedPurpose }, 'PFX imported');
    return stored;
  }

  certificate(id: UserPfxId): UserPfxCertificate | undefined {
    return this.#parts.store.certificate(id);
  }

  /** Imported PFX, at most `limit`; of all users, or of one. */
  certificates(filter: { readonly userId?: string | undefined; readonly limit: number }): ListedUserPfx[] {
    return this.#parts.store.certificates(filter);
  }

  /** Deletes one: the user's devices lose it at their next check-in. `false` if there is none. */
  async delete(id: UserPfxId): Promise<boolean> {
    const isDeleted = await this.#parts.store.delete(id);
    if (isDeleted) this.#parts.log.info({ ...id }, 'imported PFX deleted');
    return isDeleted;
  }

  /**
   * What a profile for this purpose brings to a device of the user: the PFX whose certificate began last, of those that are
   * valid. `kept`: the device has what it should have. `none`: there is nothing for it, and what it has it gives up.
   *
   * A device whose PFX was deleted, or was another user's, gives it up first, and gets what takes its place at the next
   * check-in. One that has expired stays for as long as nothing takes its place: it still opens what was encrypted to it.
   *
   * @param installed SHA-1 of the certificate that the device has of the profile
   */
  dueFor(
    user: DeviceUser | undefined,
    purpose: IntendedPurpose,
    installed: string | undefined,
  ): ListedUserPfx | 'kept' | 'none' {
    if (user === undefined) return 'none';
    const now = this.#parts.clock.now();
    const candidates = this.#parts.store
      .certificates({ userId: user.userId, limit: PFX_OF_A_USER_MAX })
      .filter(({ intendedPurpose }) => intendedPurpose === purpose);
    const has = installed?.toUpperCase();
    if (has !== undefined && !candidates.some(({ thumbprint }) => thumbprint === has)) return 'none';
    const [current] = candidates
      .filter(({ startDateTime, expirationDateTime }) => startDateTime <= now && now < expirationDateTime)
      .sort(
        (a, b) =>
          newerFirst(a.startDateTime, b.startDateTime) || newerFirst(a.createdDateTime, b.createdDateTime),
      );
    if (current === undefined) return has === undefined ? 'none' : 'kept';
    return current.thumbprint === has ? 'kept' : current;
  }
}

function newerFirst(a: Date, b: Date): number {
  return b.getTime() - a.getTime();
}

/** What a connector is asked for so that a device gets the PFX. */
export function orderOf({ userId, thumbprint, lastModifiedDateTime }: ListedUserPfx): ImportedPfxOrder {
  return { userId, thumbprint, lastModifiedDateTime: lastModifiedDateTime.toISOString() };
}
