/** Third-party programs that judge Leafgate from outside. */

export { enrolWithCertmonger } from './certmonger.ts';
export type { Enrolled, EnrolmentResult, EnrolmentTask, KeyAlgorithm } from './client-session.ts';
export { clients, type ScepClient } from './clients.ts';
export { ensureThirdParty, type ThirdParty, versionsOf } from './debian.ts';
export {
  authenticate,
  type RevocationCheck,
  type SupplicantResult,
  startRadius,
} from './freeradius.ts';
export { enrolWithMicromdm } from './micromdm.ts';
export { startNginx } from './nginx.ts';
export { enrolWithStrongSwan } from './strongswan.ts';
export { type LintFinding, type LintReport, type LintResult, zlint } from './zlint.ts';
