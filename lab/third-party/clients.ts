/** The SCEP clients by name, for a run over all of them. */
import { enrolWithLeafgate } from '../our-client.ts';
import { enrolWithCertmonger } from './certmonger.ts';
import type { EnrolmentResult, EnrolmentTask, KeyAlgorithm } from './client-session.ts';
import type { ThirdParty } from './debian.ts';
import { enrolWithMicromdm } from './micromdm.ts';
import { enrolWithStrongSwan } from './strongswan.ts';

/** A client, and what is known of it. */
export interface ScepClient {
  /** As `versionsOf` calls it; our own has none. */
  readonly version?: string;
  /** Encrypts with single DES whatever the server offers. */
  readonly singleDes?: true;
  /** Keys that it is tried with besides RSA-2048. */
  readonly keys: readonly KeyAlgorithm[];
  /** Enrols, or renews, as its user would; a refusal is `ok: false`, never an exception. */
  readonly enrol: (thirdParty: ThirdParty, task: EnrolmentTask) => Promise<EnrolmentResult>;
}

/** All that are tried. */
export const clients: Readonly<Record<string, ScepClient>> = {
  'strongSwan pki 5.9': {
    version: 'strongSwan pki',
    keys: ['rsa-3072', 'rsa-4096'],
    enrol: enrolWithStrongSwan,
  },
  'strongSwan pki 6': {
    version: 'strongSwan 6 pki',
    keys: ['rsa-3072', 'rsa-4096'],
    enrol: (thirdParty, task) => enrolWithStrongSwan(thirdParty, task, 'pki6'),
  },
  'micromdm scepclient': {
    version: 'micromdm scepclient',
    singleDes: true,
    keys: ['rsa-3072'],
    enrol: enrolWithMicromdm,
  },
  certmonger: { version: 'certmonger', keys: ['rsa-3072', 'rsa-4096'], enrol: enrolWithCertmonger },
  'leafgate scep': {
    keys: ['rsa-3072', 'rsa-4096', 'p-256', 'p-384'],
    enrol: (_, task) => enrolWithLeafgate(task),
  },
};
