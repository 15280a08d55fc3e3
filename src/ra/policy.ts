/** What an endpoint lets in, and on whose word. */
import type { RenewalPolicy } from './renewal.ts';
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
  /** Whether a certificate that was issued here can be renewed on its own word; it cannot if absent. */
  readonly renewal?: RenewalPolicy;
}
