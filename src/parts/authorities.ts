/** Store, CA and RA of a configuration, without any door. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  type ApprovalSigner,
  assertIssuing,
  CertificateAuthority,
  type Issuer,
  resolveTemplates,
  signatureAlgorithmFor,
} from '../ca/index.ts';
import { parseCertificate } from '../codec/index.ts';
import type { Config } from '../config.ts';
import { PkiError } from '../errors.ts';
import { openKey, secretFromReference } from '../keys/index.ts';
import { Metrics } from '../metrics.ts';
import {
  type EnrolmentPolicy,
  measured,
  OneTimeChallenges,
  RegistrationAuthority,
  type RenewalPolicy,
  sealKeyOf,
  selfTestPolicy,
  selfTestTemplate,
  type Validator,
} from '../ra/index.ts';
import { openPkiStore, type PkiDatabase, type PkiStore } from '../store/index.ts';
import type { Clock, Log } from '../telemetry.ts';
import { openIdentity, readChain } from './identity.ts';
import { assertRootIsOffline } from './root-offline.ts';
import { openValidator } from './validators.ts';

const CHALLENGE_HASH_KEY_CHARACTERS_MIN = 32;

/** The SCEP server's part of a configuration. */
export type ServerConfig = NonNullable<Config['server']>;

/** What the commands of an administrator work with: everything but the doors. */
export interface Authorities {
  readonly store: PkiStore;
  readonly ca: CertificateAuthority;
  readonly ra: RegistrationAuthority;
  readonly oneTime: OneTimeChallenges;
  readonly issuers: readonly Issuer[];
  close(): Promise<void>;
}

/**
 * Where a configuration keeps its store.
 *
 * @throws PkiError `config_invalid` if a secret or a file cannot be read.
 */
export function databaseOf({ database, dataFolder }: ServerConfig): PkiDatabase {
  if (database === undefined) return { sqlite: join(dataFolder, 'pki.sqlite') };
  const { password, ca, ...rest } = database.postgres;
  return {
    postgres: {
      ...rest,
      ...(password === undefined ? {} : { password: secretFromReference(password) }),
      ...(ca === undefined ? {} : { ca: readFileSync(ca, 'utf8') }),
    },
  };
}

/** Opens store, CA and RA. Several processes may do so on one data folder. A program that nobody watches needs no `metrics`. */
export async function openAuthorities(
  config: ServerConfig,
  log: Log,
  clock: Clock,
  metrics: Metrics = new Metrics(),
): Promise<Authorities> {
  assertRootIsOffline(config);
  const store = await openPkiStore(databaseOf(config), config.standby ? 'read' : 'write');
  try {
    const issuers: Issuer[] = [];
    const { approvalSigning, authorizedSigners = approvalSigning?.certificate } = config.ra;
    for (const issuer of config.issuers) issuers.push(await openIssuer(issuer));
    const ca = new CertificateAuthority({
      issuers,
      templates: [
        ...resolveTemplates(config.templates).templates,
        ...(config.selfTest === undefined ? [] : [selfTestTemplate]),
      ],
      store,
      clock,
      ...(authorizedSigners === undefined
        ? {}
        : { raCertificates: readChain(authorizedSigners).map(parseCertificate) }),
    });
    const hashKey = secretFromReference(config.ra.challengeHashKey);
    if (hashKey.length < CHALLENGE_HASH_KEY_CHARACTERS_MIN) {
      throw new PkiError(
        'config_invalid',
        `server.ra.challengeHashKey: at least ${CHALLENGE_HASH_KEY_CHARACTERS_MIN} characters`,
      );
    }
    const oneTime = new OneTimeChallenges({ store, hashKey: Buffer.from(hashKey), clock });
    const closers: (() => Promise<void>)[] = [];
    const policies: EnrolmentPolicy[] = [];
    for (const endpoint of config.endpoints) {
      // Both exist, or the endpoint could never issue.
      ca.issuer(endpoint.issuer);
      ca.template(endpoint.template);
      const validators: Validator[] = [];
      for (const choice of endpoint.validators) {
        const validator = await openValidator(choice, { oneTime, closers, log, clock, metrics });
        validators.push(measured(validator, endpoint.name, metrics));
      }
      const [first, ...rest] = validators;
      if (first === undefined)
        throw new PkiError('config_invalid', `endpoint ${endpoint.name} has no validator`);
      policies.push({
        endpoint: endpoint.name,
        issuer: endpoint.issuer,
        template: endpoint.template,
        validators: [first, ...rest],
        ...(endpoint.renewal === undefined ? {} : { renewal: renewalPolicy(endpoint.renewal) }),
        ...(enrolsItself(config, endpoint) ? { selfTest: selfTestPolicy(oneTime, endpoint.name) } : {}),
      });
    }
    const ra = new RegistrationAuthority({
      ca,
      store,
      policies,
      serviceIdentity: config.serviceIdentity,
      mode: config.standby ? 'standby' : 'issuing',
      clock,
      log,
      metrics,
      holding: {
        sealKey: sealKeyOf(Buffer.from(hashKey)),
        expiresAfterMs: config.approval.expiresAfter,
        waitingMax: config.approval.waitingMax,
      },
      ...(approvalSigning === undefined ? {} : { approvalSigner: approvalSignerOf(approvalSigning) }),
    });
    const close = async () => {
      for (const closer of closers) await closer();
      await store.close();
    };
    return { store, ca, ra, oneTime, issuers, close };
  } catch (cause) {
    await store.close();
    throw cause;
  }
}

/**
 * Whether an endpoint is tested by a certificate of its own. At an endpoint of Intune's too: Intune makes challenges for its
 * devices alone, so that it is asked about a wrong one; all that comes after its yes is tested by the self-test's.
 */
export function enrolsItself(
  { selfTest }: ServerConfig,
  { name }: ServerConfig['endpoints'][number],
): boolean {
  return selfTest !== undefined && selfTest.endpoints?.includes(name) !== false;
}

function renewalPolicy({
  window,
  revokeReplacedAfter,
  ...rest
}: NonNullable<ServerConfig['endpoints'][number]['renewal']>): RenewalPolicy {
  return {
    ...rest,
    ...(window === undefined ? {} : { windowMs: window }),
    ...(revokeReplacedAfter === undefined ? {} : { revokeReplacedAfterMs: revokeReplacedAfter }),
  };
}

/** Opened by the first that signs: commands that approve nothing need no key of the RA. */
function approvalSignerOf(
  config: NonNullable<ServerConfig['ra']['approvalSigning']>,
): () => Promise<ApprovalSigner> {
  let opened: Promise<ApprovalSigner> | undefined;
  const open = async (): Promise<ApprovalSigner> => {
    const { certificate, key } = await openIdentity(config, 'sign');
    return { certificate, sign: (algorithm, data) => key.sign(algorithm, data) };
  };
  return async () => {
    opened ??= open();
    try {
      return await opened;
    } catch (cause) {
      // A token that is back is asked again.
      opened = undefined;
      throw cause;
    }
  };
}

async function openIssuer(config: ServerConfig['issuers'][number]): Promise<Issuer> {
  const chain = readChain(config.certificate);
  const certificate = parseCertificate(chain[0]);
  const key = await openKey(config.key, 'sign');
  assertIssuing(certificate, chain, key);
  return {
    name: config.name,
    certificate,
    chain,
    key,
    intentSurvives: key.exportable ? 'process' : 'machine',
    signatureAlgorithm: signatureAlgorithmFor(key),
    crlUrls: config.crlUrls,
    caIssuersUrls: config.caIssuersUrls,
    ...(config.ocspUrls === undefined ? {} : { ocspUrls: config.ocspUrls }),
    crlPeriodMs: config.crlPeriod,
    crlOverlapMs: config.crlOverlap,
    ...(config.deltaCrlPeriod === undefined ? {} : { deltaCrlPeriodMs: config.deltaCrlPeriod }),
    ...(config.crlAtRevocation === undefined ? {} : { crlAtRevocation: config.crlAtRevocation }),
    crlPartitions: config.crlPartitions,
  };
}
