/** What a certificate manager does: looks at requests that wait, and decides about them. Needs no key. */
import { PkiError } from '../errors.ts';
import type { HeldRecord, HeldRequestStore } from '../store/index.ts';
import { newReference } from '../telemetry.ts';

/** A certificate manager's decision. */
export interface PersonalDecision {
  /** The number of the request, as lists show it. */
  readonly id: number;
  readonly status: 'approved' | 'denied';
  /** Who decides, for the audit list. */
  readonly by: string;
  /** Why; goes into the audit list, and never to the device. */
  readonly comment: string;
  readonly at: Date;
}

/**
 * Decides about a request that waits. The server does what follows from it when the device asks next: it issues, or says
 * no.
 *
 * @throws PkiError `request_unknown`; `request_decided` if there is a decision already or it expired; `store_unavailable`.
 */
export async function decideAbout(store: HeldRequestStore, decision: PersonalDecision): Promise<HeldRecord> {
  const { id, status, by, comment, at } = decision;
  const held = await store.heldRequest({ id });
  if (held === undefined) throw new PkiError('request_unknown', `there is no request ${id}`);
  const { requestID, endpoint, transactionID, template, subject, subjectAltName, device } = held;
  const outcome = await store.decideRequest({
    ...decision,
    audit: {
      at,
      event: `enrolment.${status}`,
      actor: by,
      reference: status === 'denied' ? newReference() : '',
      code: status === 'denied' ? 'approval_denied' : '',
      text: comment === '' ? `${status} by ${by}` : `${status} by ${by}: ${comment}`,
      detail: {
        request: String(id),
        requestID,
        endpoint,
        transactionID,
        template,
        subject,
        subjectAltName,
        device,
      },
    },
  });
  const decided = (await store.heldRequest({ id })) ?? held;
  if (outcome === 'decided') return decided;
  if (outcome === 'unknown') throw new PkiError('request_unknown', `there is no request ${id}`);
  throw new PkiError(
    'request_decided',
    outcome === 'expired'
      ? `request ${id} expired at ${held.expiresAt.toISOString()}`
      : `request ${id} is ${decided.status}, by ${decided.decidedBy ?? 'nobody'}`,
  );
}
