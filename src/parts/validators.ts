/** The validators that an endpoint names, as the RA takes them. */
import type { Config } from '../config.ts';
import { PkiError } from '../errors.ts';
import { secretFromReference } from '../keys/index.ts';
import type { Metrics } from '../metrics.ts';
import type { OneTimeChallenges, Validator } from '../ra/index.ts';
import { manualApprovalValidator, staticSecretValidator, webhookValidator } from '../ra/index.ts';
import type { IntuneConnection } from '../ra/validators/intune-service.ts';
import type { Clock, Log } from '../telemetry.ts';
import { readText, tlsIdentity } from './identity.ts';

/** Name and version, as Intune sees us in `callerInfo`. */
export const PROVIDER_NAME_AND_VERSION = 'Leafgate/0.1.0';

/** One entry of an endpoint's `validators`. */
export type ValidatorChoice = NonNullable<Config['server']>['endpoints'][number]['validators'][number];

/** The `intune` of an endpoint's `validators`. */
export type IntuneChoice = NonNullable<ValidatorChoice['intune']>;

/**
 * The connection to Intune that a validator names.
 *
 * @throws PkiError `config_invalid` if a secret or a file cannot be read.
 */
export function intuneConnectionOf(choice: IntuneChoice): IntuneConnection {
  const { tenant, appId, cloud, authority, graph, intuneResource, extraCa, timeout } = choice;
  return {
    tenant,
    appId,
    credential: intuneCredentialOf(choice),
    cloud,
    authority,
    graph,
    intuneResource,
    ...(extraCa === undefined ? {} : { extraCa: readText(extraCa) }),
    timeoutMs: timeout,
  };
}

function intuneCredentialOf({ secret, clientCertificate }: IntuneChoice): IntuneConnection['credential'] {
  if (secret !== undefined) return { secret: secretFromReference(secret) };
  if (clientCertificate === undefined)
    throw new PkiError('config_invalid', 'the intune validator has neither a secret nor a certificate');
  const { cert, key } = tlsIdentity(clientCertificate);
  return { certificate: cert, privateKey: key };
}

/** What validators share. */
export interface ValidatorSurroundings {
  readonly oneTime: OneTimeChallenges;
  /** Gets what ends the connections of those that hold some. */
  readonly closers: (() => Promise<void>)[];
  readonly log: Log;
  readonly clock: Clock;
  readonly metrics: Metrics;
}

/**
 * Opens one validator.
 *
 * @throws PkiError `config_invalid` if a secret or a file cannot be read, or the validator does not take it.
 */
export async function openValidator(
  choice: ValidatorChoice,
  { oneTime, closers, log, clock, metrics }: ValidatorSurroundings,
): Promise<Validator> {
  if (choice.oneTime !== undefined) return oneTime.validator();
  if (choice.manualApproval !== undefined) return manualApprovalValidator;
  if (choice.staticSecret !== undefined) {
    const { hash, previousHash } = choice.staticSecret;
    return staticSecretValidator([
      secretFromReference(hash),
      ...(previousHash === undefined ? [] : [secretFromReference(previousHash)]),
    ]);
  }
  if (choice.webhook !== undefined) {
    const { secret, extraCa, clientCertificate, timeout, budget, ...rest } = choice.webhook;
    const validator = webhookValidator({
      ...rest,
      secret: secretFromReference(secret),
      ...(extraCa === undefined ? {} : { extraCa: readText(extraCa) }),
      ...(clientCertificate === undefined ? {} : { clientCertificate: tlsIdentity(clientCertificate) }),
      timeoutMs: timeout,
      budgetMs: budget,
      log,
      clock,
    });
    closers.push(() => validator.close());
    return validator;
  }
  if (choice.intune !== undefined) {
    const { intuneValidator } = await import('../ra/validators/intune.ts');
    const validator = intuneValidator({
      ...intuneConnectionOf(choice.intune),
      providerNameAndVersion: PROVIDER_NAME_AND_VERSION,
      budgetMs: choice.intune.budget,
      log,
      clock,
      metrics,
    });
    closers.push(() => validator.close());
    return validator;
  }
  // A kind that is not known here must never be taken for another one.
  throw new PkiError('config_invalid', 'a validator of a kind that is not known');
}
