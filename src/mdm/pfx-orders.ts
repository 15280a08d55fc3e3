/** PFX that are ordered once, for somebody who fetches them in a device's place: an export. */
import { randomUUID } from 'node:crypto';
import { PkiError } from '../errors.ts';
import type { Clock, Log } from '../telemetry.ts';
import { type PkcsWish, withdrawn } from './pkcs-requests.ts';
import type { EncryptedPfx, PkcsRequest, PkcsStore } from './pkcs-store.ts';

/** How far an order has come. `over`: nobody will bring it any more; `error` is our code, if the CA refused. */
export type PfxOrderState =
  | { readonly state: 'open' }
  | { readonly state: 'here'; readonly pfx: EncryptedPfx }
  | { readonly state: 'over'; readonly error?: string };

/** Whom a PFX is made for, and until when it is wanted. */
export interface PfxFetcher {
  /** Base64 of the DER of a certificate; its key is the fetcher's own. */
  readonly recipient: string;
  /** Later nobody fetches it: a connector then lets no certificate of it stay good. */
  readonly wantedUntil: Date;
}

/**
 * Orders beside the requests of the device itself, which they leave as they are.
 *
 * Promise: connectors work on them as on any other request. An order ends with a PFX that was fetched, or with no good
 * certificate: also if whoever ordered it dies.
 */
export class PfxOrders {
  readonly #parts: { readonly store: PkcsStore; readonly clock: Clock; readonly log: Log };

  constructor(parts: { readonly store: PkcsStore; readonly clock: Clock; readonly log: Log }) {
    this.#parts = parts;
  }

  /** Asks the connectors. Answers the requestId. */
  async order(wish: PkcsWish, { recipient, wantedUntil }: PfxFetcher): Promise<string> {
    const { store, clock, log } = this.#parts;
    const requestId = randomUUID();
    await store.put({
      requestId,
      ...wish,
      state: 'requested',
      attempt: 0,
      recipient,
      wantedUntil,
      createdAt: clock.now(),
    });
    const { deviceId, profileId } = wish;
    log.info({ requestId, deviceId, profileId, wantedUntil }, 'PFX ordered for an export');
    return requestId;
  }

  state(requestId: string): PfxOrderState {
    const request = this.#parts.store.request(requestId);
    switch (request?.state) {
      case 'requested':
      case 'uploaded':
        return { state: 'open' };
      case 'issued':
        return request.pfx === undefined ? { state: 'over' } : { state: 'here', pfx: request.pfx };
      default:
        return { state: 'over', ...(request?.error === undefined ? {} : { error: request.error }) };
    }
  }

  /**
   * It was fetched, and is kept elsewhere: the PFX is deleted.
   *
   * @throws PkiError `pfx_lease_over` if it is not wanted any more: its certificate is, or will be, revoked.
   */
  async fetched(requestId: string): Promise<void> {
    const { store, clock } = this.#parts;
    const after = await store.change(requestId, ({ pfx: _, ...request }) =>
      request.state === 'issued' ? { ...request, state: 'delivered', endedAt: clock.now() } : undefined,
    );
    if (after?.state !== 'delivered')
      throw new PkiError('pfx_lease_over', `PFX order ${requestId} is not wanted any more`);
  }

  /** Nobody fetches it. What was made for it is revoked by a connector; one that was fetched stays as it is. */
  async giveUp(requestId: string): Promise<void> {
    const { store, clock } = this.#parts;
    const isOpen = ({ state }: PkcsRequest) =>
      state === 'requested' || state === 'uploaded' || state === 'issued';
    await store.change(requestId, (request) =>
      isOpen(request) ? withdrawn(request, clock.now()) : undefined,
    );
  }
}
