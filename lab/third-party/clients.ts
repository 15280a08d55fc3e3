/** The third-party SCEP clients by name, for a run over all of them. */
import { enrolWithCertmonger } from './certmonger.ts';
import type { EnrolmentResult, EnrolmentTask } from './client-session.ts';
import type { ThirdParty } from './debian.ts';
import { enrolWithMicromdm } from './micromdm.ts';
import { enrolWithStrongSwan } from './strongswan.ts';

/** Each enrols as its user would; a refusal is `ok: false`, never an exception. */
export const clients: Readonly<
  Record<string, (thirdParty: ThirdParty, task: EnrolmentTask) => Promise<EnrolmentResult>>
> = {
  'strongSwan pki': enrolWithStrongSwan,
  'strongSwan 6 pki': (thirdParty, task) => enrolWithStrongSwan(thirdParty, task, 'pki6'),
  'micromdm scepclient': enrolWithMicromdm,
  certmonger: enrolWithCertmonger,
};
