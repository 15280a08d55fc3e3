/** What an endpoint lets in, and on whose word. */
import type { Validator } from './validator.ts';

/** The policy of one endpoint. */
export interface EnrolmentPolicy {
  /** Name of the endpoint in the configuration. */
  readonly endpoint: string;
  /** Issuing CA and template of everything that this endpoint enrols. */
  readonly issuer: string;
  readonly template: string;
  /** All of them must accept; there is at least one. */
  readonly validators: readonly [Validator, ...Validator[]];
}
