/** The course of a request for a PFX: made at a check-in, worked on by a connector, fetched by its device. */
import { randomUUID } from 'node:crypto';
import { keyUsageOf, parseCertificate, parsePublicKeyInfo } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { Clock, Log } from '../telemetry.ts';
import {
  type EncryptedPfx,
  type ImportedPfxOrder,
  isImported,
  type PkcsCertificate,
  type PkcsOrder,
  type PkcsRequest,
  type PkcsRequestState,
  type PkcsStore,
} from './pkcs-store.ts';
import type { UserPfxCertificate } from './user-pfx-store.ts';

/** What a profile is to bring to a device. */
export interface PkcsWish {
  readonly deviceId: string;
  readonly profileId: string;
  readonly profileVersion: number;
  /** Of a user's certificate. */
  readonly userId?: string;
  readonly order: PkcsOrder | ImportedPfxOrder;
}

/** What the connector is to do. */
export type PkcsTask =
  /** `issue`: make a key, and have it certified. */
  | {
      readonly action: 'issue';
      readonly requestId: string;
      readonly attempt: number;
      readonly deviceId: string;
      readonly order: PkcsOrder;
      readonly recipient: string;
      readonly leaseMs: number;
    }
  /** `deliver`: hand on a PFX that was imported. */
  | {
      readonly action: 'deliver';
      readonly requestId: string;
      readonly attempt: number;
      readonly deviceId: string;
      readonly imported: UserPfxCertificate;
      readonly recipient: string;
      readonly leaseMs: number;
    }
  /** `acknowledge`: the PFX is here; say that its key is forgotten. `withdraw`: let no certificate of it stay good. */
  | {
      readonly action: 'acknowledge' | 'withdraw';
      readonly requestId: string;
      readonly attempt: number;
      readonly leaseMs: number;
    };

/** What `PkcsRequests` works with. */
export interface PkcsParts {
  readonly store: PkcsStore;
  /** Whether the request is still wanted: the device is enrolled, and the profile targets it in this version. */
  readonly isWanted: (request: PkcsRequest) => boolean;
  /** The PFX that an order names; `undefined` if it was deleted. */
  readonly importedPfx: (order: ImportedPfxOrder) => UserPfxCertificate | undefined;
  /** Hears of each step, after it is on record; it may hear twice. */
  readonly onState: (request: PkcsRequest) => Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
}

/** Far more than a key of 4096 bits, a signature and an upload take. */
export const LEASE_MS = 5 * 60 * 1000;
/** A request that a connector died on so often is not tried again. */
const ATTEMPTS_MAX = 20;
/** A refusal is asked again after an hour: an administrator may have mended it. */
const RETRY_AFTER_MS = 60 * 60 * 1000;
/** How many open requests are looked at for one download. */
const LOOKED_AT_MAX = 2000;
const RECIPIENT_BITS_MIN = 2048;

const openStates: readonly PkcsRequestState[] = ['requested', 'uploaded', 'issued'];

/**
 * The requests for PFX: of keys and certificates that a connector makes, and of imported ones.
 *
 * Promise: a request ends with one PFX at most in its device; what a connector made before it died is named to the next
 * one by `attempt`, which counts every time that the request was given away. Nothing here can open a PFX.
 */
export class PkcsRequests {
  readonly #parts: PkcsParts;

  constructor(parts: PkcsParts) {
    this.#parts = parts;
  }

  // --- for a device -------------------------------------------------------------------------------------------------

  /** Whether the device has named a certificate to encrypt to. */
  hasRecipient(deviceId: string): boolean {
    return this.#parts.store.recipient(deviceId) !== undefined;
  }

  /**
   * Names the certificate that keys for the device are encrypted to.
   *
   * @throws PkiError `request_malformed` if it is none of an RSA key of 2048 bits and up that may be encrypted to.
   */
  async nameRecipient(deviceId: string, certificate: string): Promise<void> {
    try {
      const parsed = parseCertificate(Buffer.from(certificate, 'base64'));
      const key = parsePublicKeyInfo(parsed.spki);
      if (key.type !== 'rsa' || key.bits < RECIPIENT_BITS_MIN) throw new Error('not RSA of 2048 bits and up');
      if (keyUsageOf(parsed)?.includes('keyEncipherment') === false) throw new Error('not for encryption');
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : '';
      throw new PkiError('request_malformed', `certificate: ${why}`, { cause });
    }
    await this.#parts.store.putRecipient(deviceId, certificate);
  }

  /**
   * The PFX for the device if there is one; else sees to it that a connector is asked. For a device that needs a certificate.
   * `failed`: CA or connector refused, and it is too early to ask again.
   */
  async pfxFor(wish: PkcsWish): Promise<EncryptedPfx | 'pending' | 'failed'> {
    const { store, clock } = this.#parts;
    const recipient = store.recipient(wish.deviceId);
    if (recipient === undefined) return 'pending';
    const now = clock.now();
    const newest = store.newest(wish.deviceId, wish.profileId);
    const isFor = (request: PkcsRequest) =>
      request.profileVersion === wish.profileVersion &&
      request.recipient === recipient &&
      JSON.stringify(request.order) === JSON.stringify(wish.order);
    if (newest !== undefined && isFor(newest)) {
      if (newest.state === 'issued' && newest.pfx !== undefined) return newest.pfx;
      if (openStates.includes(newest.state)) return 'pending';
      if (newest.state === 'failed' && now.getTime() - (newest.endedAt?.getTime() ?? 0) < RETRY_AFTER_MS)
        return 'failed';
    }
    const request: PkcsRequest = {
      requestId: randomUUID(),
      ...wish,
      state: 'requested',
      attempt: 0,
      recipient,
      createdAt: now,
    };
    await store.add(request, newest, (before) =>
      openStates.includes(before.state) ? withdrawn(before, now) : undefined,
    );
    await this.#heard(request);
    return 'pending';
  }

  /** The device has installed the certificate: the PFX that waited for it is deleted. */
  async installed(deviceId: string, profileId: string, thumbprint: string): Promise<void> {
    const { store, clock } = this.#parts;
    const newest = store.newest(deviceId, profileId);
    if (newest?.state !== 'issued' || newest.certificate?.thumbprint !== thumbprint.toUpperCase()) return;
    await store.change(newest.requestId, ({ pfx: _, ...request }) =>
      request.state === 'issued' ? { ...request, state: 'delivered', endedAt: clock.now() } : undefined,
    );
  }

  // --- for a connector ----------------------------------------------------------------------------------------------

  /** Gives away up to `max` requests. Each is this connector's alone until its lease ends. */
  async take(max: number): Promise<PkcsTask[]> {
    const { store, clock, isWanted, importedPfx } = this.#parts;
    const tasks: PkcsTask[] = [];
    for (const found of store.open(LOOKED_AT_MAX)) {
      if (tasks.length >= max) break;
      const now = clock.now();
      const source = isImported(found.order) ? importedPfx(found.order) : found.order;
      const unwanted = openStates.includes(found.state) && (source === undefined || !isWanted(found));
      if (found.state === 'issued' && !unwanted) continue;
      let isTaken = false;
      const taken = await store.change(found.requestId, (request) => {
        isTaken = false;
        // It may have gone on since it was read.
        if (request.state !== found.state || (request.leaseUntil ?? now) > now) return undefined;
        const next = unwanted ? withdrawn(request, now) : request;
        if (next.state === 'withdrawn') return next;
        if (next.state === 'requested' && next.attempt >= ATTEMPTS_MAX) return withdrawn(next, now);
        isTaken = true;
        return {
          ...next,
          attempt: next.state === 'requested' ? next.attempt + 1 : next.attempt,
          leaseUntil: new Date(now.getTime() + LEASE_MS),
        };
      });
      if (taken !== undefined && isTaken) tasks.push(taskOf(taken, source));
    }
    return tasks;
  }

  /**
   * Takes in a PFX; the same once more is taken as the first time.
   *
   * @throws PkiError `pfx_lease_over` if the request is not, or no longer, this attempt's: the certificate must be revoked.
   */
  async upload(
    ticket: { readonly requestId: string; readonly attempt: number },
    pfx: EncryptedPfx,
    certificate: PkcsCertificate,
  ): Promise<void> {
    const { store, clock } = this.#parts;
    const now = clock.now();
    const after = await store.change(ticket.requestId, (request) =>
      request.state === 'requested' && request.attempt === ticket.attempt && (request.leaseUntil ?? now) > now
        ? { ...request, state: 'uploaded', pfx, certificate }
        : undefined,
    );
    const isHere =
      after !== undefined &&
      (after.state === 'uploaded' || after.state === 'issued') &&
      after.attempt === ticket.attempt &&
      after.certificate?.thumbprint === certificate.thumbprint;
    if (!isHere) throw leaseOver(ticket.requestId);
  }

  /**
   * The connector has done its part: the key is forgotten and the device may have the PFX, or no certificate is good.
   *
   * @throws PkiError `pfx_lease_over` if the request is not in that state.
   */
  async acknowledge(
    ticket: { readonly requestId: string; readonly attempt: number },
    outcome: 'delivered' | 'withdrawn',
  ): Promise<void> {
    const { store, clock } = this.#parts;
    const to = outcome === 'delivered' ? 'issued' : 'withdrawn';
    // One that was uploaded can be withdrawn too: somebody has revoked its certificate meanwhile.
    const from: readonly PkcsRequestState[] = to === 'issued' ? ['uploaded'] : ['withdrawing', 'uploaded'];
    const after = await store.change(ticket.requestId, (request) => {
      if (!from.includes(request.state) || request.attempt !== ticket.attempt) return undefined;
      if (to === 'issued') return { ...request, state: to };
      const { pfx: _, ...rest } = request;
      return { ...rest, state: to, endedAt: clock.now() };
    });
    const isDone = after !== undefined && after.state === to && after.attempt === ticket.attempt;
    if (!isDone) throw leaseOver(ticket.requestId);
    await this.#heard(after);
  }

  /** It is refused for good: the request is at an end. One that has gone on meanwhile stays as it is. */
  async fail(ticket: { readonly requestId: string; readonly attempt: number }, error: string): Promise<void> {
    const { store, clock } = this.#parts;
    const after = await store.change(ticket.requestId, (request) =>
      request.state === 'requested' && request.attempt === ticket.attempt
        ? { ...request, state: 'failed', error, endedAt: clock.now() }
        : undefined,
    );
    if (after?.state === 'failed') await this.#heard(after);
  }

  async #heard(request: PkcsRequest): Promise<void> {
    const { requestId, deviceId, profileId, state, attempt } = request;
    this.#parts.log.info({ requestId, deviceId, profileId, state, attempt }, 'PKCS request');
    await this.#parts.onState(request);
  }
}

/** Nobody wants the request any more. If no connector has had it, that is the end of it. */
export function withdrawn({ pfx: _, ...request }: PkcsRequest, now: Date): PkcsRequest {
  return request.attempt === 0
    ? { ...request, state: 'withdrawn', endedAt: now }
    : { ...request, state: 'withdrawing' };
}

function taskOf(
  { requestId, attempt, state, deviceId, recipient }: PkcsRequest,
  source: PkcsOrder | UserPfxCertificate | undefined,
): PkcsTask {
  const ticket = { requestId, attempt, leaseMs: LEASE_MS };
  if (state === 'uploaded') return { action: 'acknowledge', ...ticket };
  if (state !== 'requested' || source === undefined) return { action: 'withdraw', ...ticket };
  if (!('thumbprint' in source)) return { action: 'issue', ...ticket, deviceId, order: source, recipient };
  return { action: 'deliver', ...ticket, deviceId, imported: source, recipient };
}

function leaseOver(requestId: string): PkiError {
  return new PkiError(
    'pfx_lease_over',
    `PKCS request ${requestId} is not, or no longer, in this connector’s hands`,
  );
}
