/** What an endpoint lets in, and on whose word. */
import type { SelfTestPolicy } from './self-test.ts';
import type { Validator } from './validator.ts';

/** How an endpoint renews. */
export interface RenewalPolicy {
  /** How long before its end a certificate can be renewed; the template's renewal period if absent. */
  readonly windowMs?: number;
  /** `required`: the validators must accept as well. `notNeeded`: the old certificate stands for all of them. */
  readonly challenge: 'required' | 'notNeeded';
  /** Whether the new certificate may be for the key of the old one. */
  readonly key: 'changedOrSame' | 'changed';
  /** `asBefore`: those of the old certificate. `asEnrolled`: whatever the validators let in, as at an enrolment. */
  readonly names: 'asBefore' | 'asEnrolled';
  /** How long after its renewal the old certificate is revoked; it is not if absent. */
  readonly revokeReplacedAfterMs?: number;
}

/** The policy of one endpoint. */
export interface EnrolmentPolicy {
  /** Name of the endpoint in the configuration. */
  readonly endpoint: string;
  /** Issuing CA and template of everything that this endpoint enrols. */
  readonly issuer: string;
  readonly template: string;
  /** All of them must accept; there is at least one. */
  readonly validators: readonly [Validator, ...Validator[]];
  /** Whether a certificate that was issued here can be renewed on its own word; it cannot if absent. */
  readonly renewal?: RenewalPolicy;
  /** How the server tests this endpoint; it has no way in to do so if absent. */
  readonly selfTest?: SelfTestPolicy;
}
