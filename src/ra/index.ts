/** Decides who gets a certificate. */
export type { EnrolmentPolicy } from './policy.ts';
export * from './registration-authority.ts';
export type { EnrolmentRequest, Validator, Verdict } from './validator.ts';
export * from './validators/one-time.ts';
export * from './validators/static-secret.ts';
export * from './validators/webhook.ts';
