/** Before a device has its certificate the validators that want to know must have heard of it: this tells them. */
import type { CertificateAuthority } from '../ca/index.ts';
import { type Certificate, parseCertificate } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { Metrics } from '../metrics.ts';
import type {
  AcceptedEnrolment,
  CertificateRecord,
  EnrolmentRecord,
  PendingNotification,
  RaStore,
} from '../store/index.ts';
import type { Clock, Log } from '../telemetry.ts';
import type { EnrolmentPolicy } from './policy.ts';
import { openSealedNotification, sealNotification } from './sealed-request.ts';
import type { EnrolmentRequest, Validator, Verdict } from './validator.ts';

/** What notifications are told with. */
export interface SuccessNotificationsOptions {
  readonly ca: Pick<CertificateAuthority, 'certificateOf' | 'revoke'>;
  readonly store: RaStore;
  /** The validators of an endpoint; none if it is configured no more. */
  readonly validatorsOf: (endpoint: string) => readonly Validator[];
  /** Names of the CAs whose certificates are counted when they are withheld. */
  readonly issuers: readonly string[];
  /** Seals in the store what has to be told; `sealKeyOf`. */
  readonly sealKey: Uint8Array;
  /** The name that certificates are revoked under. */
  readonly serviceIdentity: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics?: Metrics | undefined;
}

/** Notifications that are told again in one round. */
const NOTIFICATIONS_AT_ONCE_MAX = 50;
/** How many of them are under way at a time: a service that hangs costs a round its patience once, not fifty times. */
const NOTIFICATIONS_SIDE_BY_SIDE = 10;
/** Whoever enrols tells the validators at once, and has by then, or has not: longer than a validator takes. */
const NOTIFICATION_FIRST_MS = 45 * 1000;
/** Then so often until it is given up. */
const NOTIFICATION_PAUSE_MS = 30 * 1000;
/**
 * A certificate that the validators do not hear of is revoked. A challenge of Intune's lives an hour: a device that comes
 * later brings another one. A device is told nothing new in the last minutes, in which another server may be revoking.
 */
const NOTIFY_WITHIN_MS = 60 * 60 * 1000;
const NOTIFY_DEVICE_WITHIN_MS = 55 * 60 * 1000;

/** Tells validators of certificates, now or later, and revokes what they do not take. */
export class SuccessNotifications {
  readonly #options: SuccessNotificationsOptions;

  constructor(options: SuccessNotificationsOptions) {
    this.#options = options;
    for (const issuer of options.issuers)
      options.metrics?.count('leafgate_certificates_withheld_total', { issuer }, 0);
  }

  /** What has to be told although this process may end before it has: in the same write as the claim. */
  dueAfter(
    { validators }: EnrolmentPolicy,
    { requestID, endpoint, acceptedAt }: AcceptedEnrolment,
    request: EnrolmentRequest,
  ): Pick<AcceptedEnrolment, 'notification'> {
    if (!validators.some(listensForSuccess)) return {};
    return {
      notification: {
        sealed: sealNotification(this.#options.sealKey, { requestID, endpoint }, request),
        dueAt: new Date(acceptedAt.getTime() + NOTIFICATION_FIRST_MS),
      },
    };
  }

  /**
   * A request that is on record is about to get its certificate: what is due may have been postponed far, and is not now.
   *
   * @throws PkiError `store_unavailable`.
   */
  async expect({ validators }: EnrolmentPolicy, requestID: string): Promise<void> {
    const { store, clock } = this.#options;
    if (validators.some(listensForSuccess))
      await store.postponeNotification(requestID, new Date(clock.now().getTime() + NOTIFICATION_FIRST_MS));
  }

  /**
   * Tells the validators of a certificate, unless they know, and says why its device may not have it, if so. What they refuse
   * is revoked; while they do not answer, `tellPending` goes on telling.
   *
   * @param madeAt when the certificate was made
   * @throws PkiError `store_unavailable`.
   */
  async tell(
    policy: EnrolmentPolicy,
    enrolment: EnrolmentRecord,
    request: EnrolmentRequest,
    certificate: Certificate,
    madeAt: Date,
  ): Promise<string | undefined> {
    const { store, clock } = this.#options;
    const listeners = policy.validators.filter(listensForSuccess);
    if (listeners.length === 0 || enrolment.notifiedAt !== undefined) return undefined;
    if (clock.now().getTime() - madeAt.getTime() >= NOTIFY_DEVICE_WITHIN_MS) {
      await this.#withhold(policy.issuer, certificate, 'nobody took successNotification in time');
      return 'too late to tell the validators';
    }
    // The transaction that they have validated, whatever the device calls it when it asks again.
    const told = { ...request, transactionID: enrolment.transactionID };
    const refusal = await this.#tellAll(listeners, told, certificate, policy.issuer);
    if (refusal !== undefined) return `${refusal.validator}: ${refusal.detail}`;
    await store.recordNotified(enrolment, clock.now());
    return undefined;
  }

  /**
   * Tells validators of certificates that wait for it, since they did not answer or the server stopped, and says how many
   * still wait of those that it looked at. What a validator refuses, or does not take within an hour of its request, is
   * revoked: nobody has it. Each step is on record before the next, so that a crash repeats one and loses none.
   *
   * @throws PkiError `store_unavailable`; the rest is done the next time.
   */
  async tellPending(): Promise<number> {
    const { store, clock } = this.#options;
    const due = await store.notificationsDue({ at: clock.now(), limit: NOTIFICATIONS_AT_ONCE_MAX });
    let waiting = 0;
    const next = async (): Promise<void> => {
      for (let one = due.shift(); one !== undefined; one = due.shift())
        if ((await this.#tellAgain(one)) === 'waits') waiting += 1;
    };
    await Promise.all(Array.from({ length: NOTIFICATIONS_SIDE_BY_SIDE }, next));
    return waiting;
  }

  async #tellAgain(pending: PendingNotification): Promise<'settled' | 'waits'> {
    const { ca, store, clock, log } = this.#options;
    const { requestID, endpoint, replayKey } = pending;
    const enrolment = await store.enrolment(endpoint, replayKey);
    const record = await ca.certificateOf(requestID);
    const nowMs = clock.now().getTime();
    const postpone = (pauseMs: number) =>
      store.postponeNotification(requestID, new Date(nowMs + Math.max(NOTIFICATION_PAUSE_MS, pauseMs)));
    if (record?.status === 'issued' && enrolment?.requestID === requestID) {
      const certificate = certificateIn(record);
      if (nowMs - record.reservedAt.getTime() >= NOTIFY_WITHIN_MS) {
        await this.#withhold(record.issuer, certificate, 'nobody took successNotification in time');
        log.error({ requestID, endpoint }, 'a certificate that no validator was told of is revoked');
      } else {
        const told = await this.#tellThis(pending, enrolment, certificate, record.issuer);
        if (told === 'told') {
          await store.recordNotified(enrolment, clock.now());
          log.info({ requestID, endpoint }, 'the validators know now; the device gets it when it asks again');
          return 'settled';
        }
        if (told === 'waits') {
          await postpone(0);
          return 'waits';
        }
      }
    } else if (enrolment !== undefined && (record === undefined || record.status === 'intent')) {
      // Accepted, but not signed yet: it may wait for a person, or come again. Looked at the less the longer it is so.
      await postpone((nowMs - enrolment.acceptedAt.getTime()) / 10);
      return 'settled';
    }
    await store.forgetNotification(requestID);
    return 'settled';
  }

  async #tellThis(
    pending: PendingNotification,
    enrolment: EnrolmentRecord,
    certificate: Certificate,
    issuer: string,
  ): Promise<'told' | 'withheld' | 'waits'> {
    // An endpoint that is configured no more may be again: until then nobody can be told.
    const listeners = this.#options.validatorsOf(enrolment.endpoint).filter(listensForSuccess);
    if (listeners.length === 0) return 'waits';
    try {
      const request: EnrolmentRequest = {
        endpoint: enrolment.endpoint,
        transactionID: enrolment.transactionID,
        ...openSealedNotification(this.#options.sealKey, pending),
      };
      const refusal = await this.#tellAll(listeners, request, certificate, issuer);
      return refusal === undefined ? 'told' : refusal.verdict === 'refuse' ? 'withheld' : 'waits';
    } catch (cause) {
      this.#options.log.error({ err: cause, requestID: enrolment.requestID }, 'a notification failed');
      return 'waits';
    }
  }

  /** Tells all; the first that does not take it ends it, and its no, which is definite, revokes. */
  async #tellAll(
    listeners: readonly Validator[],
    request: EnrolmentRequest,
    certificate: Certificate,
    issuer: string,
  ): Promise<(Exclude<Verdict, { verdict: 'accept' }> & { readonly validator: string }) | undefined> {
    for (const validator of listeners) {
      const verdict = await validator.notifySuccess?.(request, certificate);
      if (verdict === undefined || verdict.verdict === 'accept') continue;
      if (verdict.verdict === 'refuse')
        await this.#withhold(issuer, certificate, `${validator.name} did not take successNotification`);
      return { ...verdict, validator: validator.name };
    }
    return undefined;
  }

  async #withhold(issuer: string, { serialNumber }: Certificate, why: string): Promise<void> {
    const { ca, serviceIdentity, metrics } = this.#options;
    const outcome = await ca.revoke({
      issuer,
      serialNumber,
      reason: 'cessationOfOperation',
      actor: serviceIdentity,
      text: `withheld: ${why}`,
    });
    if (outcome === 'revoked') metrics?.count('leafgate_certificates_withheld_total', { issuer });
  }
}

function listensForSuccess({ notifySuccess }: Validator): boolean {
  return notifySuccess !== undefined;
}

/**
 * The certificate of a record that has one.
 *
 * @throws PkiError `internal` if it has none: an issued one always does.
 */
export function certificateIn(record: CertificateRecord): Certificate {
  if (record.certificate === undefined)
    throw new PkiError('internal', 'an issued certificate is not on record');
  return parseCertificate(record.certificate);
}
