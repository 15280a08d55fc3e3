/** How far a profile has come on a device: what may follow on what. */

import type { Standing } from './lifecycle.ts';
import type { deviceReportedStates, IssuanceState } from './mdm-store.ts';

/** Words of the service and the RA that a device's own failure only echoes. */
const verdicts: ReadonlySet<IssuanceState> = new Set(['challengeValidationFailed', 'issueFailed']);

/** What a device says when its request came to nothing. */
const echoes: ReadonlySet<IssuanceState> = new Set([
  'requestSubmitFailed',
  'responseProcessingFailed',
  'responsePending',
]);

/** What a device says when it gives a certificate up. */
const removals: ReadonlySet<IssuanceState> = new Set(['deleted', 'deleteFailed']);

/**
 * Whether a device's report replaces the state that is there.
 *
 * - After `revoked` and `removedFromCollection` only the removal counts, or a new certificate that was notified.
 * - What the validation service or the RA refused stays visible: that the device saw a failure adds nothing, and that it
 *   has a certificate installed counts only if the RA has notified it.
 *
 * @param standing of the certificate that the report names, if a successNotification told of it
 */
export function isOverwritten(
  present: IssuanceState | undefined,
  reported: (typeof deviceReportedStates)[number],
  standing: Standing | undefined,
): boolean {
  if (present === undefined) return true;
  const isOurs = standing !== undefined && standing !== 'revoked';
  if (present === 'revoked' || present === 'removedFromCollection') {
    return removals.has(reported) || (reported === 'installed' && isOurs);
  }
  if (!verdicts.has(present)) return true;
  return reported === 'installed' ? isOurs : !echoes.has(reported);
}

/** Graph's summary of a profile on a device, as a console shows it. */
export type ProfileStatus = 'pending' | 'succeeded' | 'error' | 'revoked' | 'notApplicable';

/** See `ProfileStatus`. */
export function profileStatusOf(state: IssuanceState): ProfileStatus {
  switch (state) {
    case 'installed':
    case 'enrollmentSucceeded':
    case 'enrollmentNotNeeded':
    case 'renewVerified':
      return 'succeeded';
    case 'revoked':
      return 'revoked';
    case 'removedFromCollection':
    case 'deleted':
      return 'notApplicable';
    case 'challengeIssueFailed':
    case 'requestCreationFailed':
    case 'requestSubmitFailed':
    case 'challengeValidationFailed':
    case 'issueFailed':
    case 'responseProcessingFailed':
    case 'installFailed':
    case 'deleteFailed':
      return 'error';
    default:
      return 'pending';
  }
}
