/** Manual approval: lets a request through to a person, and to no certificate without one. */
import type { Validator } from '../validator.ts';

/**
 * The validator that an endpoint names. It accepts every request on condition that a certificate manager approves it. Who
 * approves vouches for the names: they are what he is shown. It knows no directory.
 */
export const manualApprovalValidator: Validator = {
  name: 'manual-approval',
  challengeUse: 'none',
  validate: async () => ({ verdict: 'accept', names: 'vouched', approval: 'certificateManager' }),
};
