/** How a server tests its own endpoints: the one subject, the one template and the one kind of challenge that a self-test has. */
import { type CertificateTemplate, plainTemplate } from '../ca/index.ts';
import { type Name, nameFromString, sameOctets } from '../codec/index.ts';
import type { EnrolmentRequest, Validator } from './validator.ts';
import type { OneTimeChallenges, ToldChallenge } from './validators/one-time.ts';

/** How an endpoint tests itself. */
export interface SelfTestPolicy {
  readonly template: string;
  readonly validator: Validator;
  /** DER of the subject that leads here. */
  readonly subject: Uint8Array;
}

/** As long as one test may take. */
const CHALLENGE_LIFETIME_MS = 2 * 60 * 1000;
const MINUTE_MS = 60 * 1000;
/**
 * The purpose of a self-test's certificate. Below the arc of examples (ITU-T X.660), which no relying party takes; without
 * any purpose the certificate would be good for all of them (RFC 5280 §4.2.1.12).
 */
const SELF_TEST_PURPOSE = '2.999.1';

/** What a self-test gets: for an hour, for no purpose that anybody takes, with no name but its own. It is revoked at once. */
export const selfTestTemplate: CertificateTemplate = {
  ...plainTemplate,
  name: 'leafgate-self-test',
  displayName: 'Self-test of an endpoint',
  validityMs: 60 * MINUTE_MS,
  renewalPeriodMs: 10 * MINUTE_MS,
  keyAlgorithms: ['rsa'],
  extKeyUsage: [SELF_TEST_PURPOSE],
};

/** The subject of an endpoint's self-test. */
export function selfTestSubject(endpoint: string): Name {
  return nameFromString(`CN=Leafgate self-test,OU=${endpoint}`);
}

/** The subject of a request that an endpoint's self-test wants refused: nothing but its challenge leads anywhere. */
export function refusedSelfTestSubject(endpoint: string): Name {
  return nameFromString(`CN=Leafgate self-test (wrong challenge),OU=${endpoint}`);
}

/** Endpoints have names of letters, digits and hyphens: no challenge of a device can be of this one, or the other way round. */
const bookEntryOf = (endpoint: string) => `self-test:${endpoint}`;

/**
 * Makes the challenge of one self-test: good for two minutes, for one key, for the self-test's subject at this endpoint.
 *
 * @throws PkiError `store_unavailable`.
 */
export async function createSelfTestChallenge(
  oneTime: OneTimeChallenges,
  endpoint: string,
): Promise<ToldChallenge> {
  return await oneTime.create({
    endpoint: bookEntryOf(endpoint),
    device: 'Leafgate self-test',
    pinned: { subject: `CN=Leafgate self-test,OU=${endpoint}`, extKeyUsage: [SELF_TEST_PURPOSE] },
    lifetimeMs: CHALLENGE_LIFETIME_MS,
  });
}

/** What the RA decides an endpoint's self-tests by. */
export function selfTestPolicy(oneTime: OneTimeChallenges, endpoint: string): SelfTestPolicy {
  const validator = oneTime.validator();
  return {
    template: selfTestTemplate.name,
    subject: selfTestSubject(endpoint).raw,
    validator: {
      name: 'self-test',
      challengeUse: 'single',
      validate: (request) => validator.validate({ ...request, endpoint: bookEntryOf(endpoint) }),
    },
  };
}

/**
 * Whether a request is a self-test's. Whoever says so gains nothing: such a request is decided by the self-test's challenge
 * alone, and the most that comes of it is the self-test's certificate.
 */
export function isSelfTest(policy: SelfTestPolicy, { csr, renews }: EnrolmentRequest): boolean {
  return renews === undefined && sameOctets(csr.subject.raw, policy.subject);
}
