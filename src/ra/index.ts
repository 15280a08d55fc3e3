/** Decides who gets a certificate. */
export { decideAbout, type PersonalDecision } from './approval.ts';
export { measured } from './measured.ts';
export type { EnrolmentPolicy, RenewalPolicy } from './policy.ts';
export * from './registration-authority.ts';
export { sealKeyOf } from './sealed-request.ts';
export * from './self-test.ts';
export type { EnrolmentRequest, Validator, Verdict } from './validator.ts';
export * from './validators/challenge-order.ts';
export * from './validators/manual-approval.ts';
export * from './validators/one-time.ts';
export * from './validators/static-secret.ts';
export * from './validators/webhook.ts';
