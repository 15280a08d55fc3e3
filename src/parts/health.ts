/** How a server is: the facts that a view of its health shows. No secret is among them. */
import type { CertificateAuthority } from '../ca/index.ts';
import { compareAll, type TargetState } from '../publish/index.ts';
import type { RevocationState } from '../ra/validators/intune-revocation.ts';
import type { CrlState, PkiStore } from '../store/index.ts';
import type { Clock, Log } from '../telemetry.ts';
import type { Authorities, ServerConfig } from './authorities.ts';
import { type CorrespondenceState, correspondenceOnRecord } from './correspondence.ts';
import { type EndpointView, viewEndpoints } from './endpoints.ts';
import type { Housekeeping } from './housekeeping.ts';
import { type Ocsp, openOcsp } from './ocsp.ts';
import { openTargets, publishedNow } from './publishing.ts';
import { type SelfTestResult, type SelfTests, selfTestsOnRecord } from './self-test.ts';

/** A CRL as it is served now. */
export interface CrlHealth extends Pick<CrlState, 'issuer' | 'partition' | 'kind' | 'crlNumber'> {
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  readonly ageSeconds: number;
  /** Its successor should have been made some time ago. */
  readonly overdue: boolean;
}

/** A target of publishing. */
export interface TargetHealth extends Omit<TargetState, 'holds'> {
  /** How many CRLs and certificates it is known to hold. */
  readonly objects: number;
}

/** Who signs OCSP answers for a CA. */
export interface OcspSignerHealth {
  readonly issuer: string;
  /** Absent if nobody can. */
  readonly notAfter?: Date;
}

/** A certificate that must be renewed by somebody before it ends. */
interface Ending {
  /** Absent if there is none. */
  readonly notAfter?: Date;
}

/** An issuing CA. */
export interface IssuerHealth extends Required<Ending> {
  readonly issuer: string;
}

/** The RA's certificates of an endpoint: the one that ends first. */
export interface RaHealth extends Ending {
  readonly endpoint: string;
}

/** How a server is. */
export interface ServerHealth {
  readonly at: Date;
  /** `leads`: does what one of all servers of the store does. `standby`: only reads. `beside`: is no server but looks at one. */
  readonly role: 'leads' | 'follows' | 'standby' | 'beside';
  readonly store: 'available' | 'unavailable';
  readonly issuers: readonly IssuerHealth[];
  readonly crls: readonly CrlHealth[];
  /** Known to the server that leads, and to who looks for himself. */
  readonly targets: readonly TargetHealth[];
  readonly ocspSigners: readonly OcspSignerHealth[];
  readonly raCertificates: readonly RaHealth[];
  /** How the endpoints' self-tests went: the newest of the server that leads; for all others since when it is so. */
  readonly selfTests: readonly SelfTestResult[];
  /** Certificates whose validators do not take successNotification now; known to the server that leads, and to who looks for himself. */
  readonly notificationsWaiting: number;
  /** What Intune wants revoked and has no answer of; known to the server that leads, and to who looks for himself. */
  readonly revocationRequests: readonly RevocationState[];
  /** What a person should look at, a sentence each; empty if all is well. */
  readonly problems: readonly string[];
}

/** What the facts are taken from. */
export interface HealthSources {
  readonly ca: Pick<CertificateAuthority, 'issuers' | 'overdueCrls'>;
  readonly store: Pick<PkiStore, 'crlStates'>;
  readonly ocsp: Pick<Ocsp, 'signers'> | undefined;
  /** Absent in a standby. */
  readonly housekeeping:
    | {
        role(): ServerHealth['role'];
        readonly targets: Housekeeping['targets'];
        readonly correspondence?: Housekeeping['correspondence'];
      }
    | undefined;
  readonly endpoints: () => Promise<readonly Pick<EndpointView, 'endpoint' | 'raEnds'>[]>;
  /** Absent if there are none. */
  readonly selfTests?: Pick<SelfTests, 'results'> | undefined;
  readonly clock: Clock;
}

/** Who has to renew a CA or a certificate of the RA by hand is told so long before: as the log reminds him. */
const ISSUER_ENDS_MS = 90 * 24 * 60 * 60 * 1000;
const RA_ENDS_MS = 7 * 24 * 60 * 60 * 1000;
/** A request of Intune's is done and answered in the round that fetches it. */
const ANSWERED_AFTER_MS = 10 * 60 * 1000;
/** Bound of the look at one target, and of the wait for a server's answer. */
const TARGET_MS_MAX = 30_000;
const ANSWER_MS_MAX = 5_000;

/** The health of a server. Never throws: what cannot be found out is a problem. */
export async function serverHealth(sources: HealthSources): Promise<ServerHealth> {
  const at = sources.clock.now();
  const problems: string[] = [];
  let store: ServerHealth['store'] = 'available';
  const crls = await crlsOf(sources, at).catch(() => {
    store = 'unavailable';
    problems.push('the database does not answer');
    return [];
  });
  for (const crl of crls) {
    const which = `the ${crl.kind} CRL of ${crl.issuer}${crl.partition === 0 ? '' : `, partition ${crl.partition}`}`;
    if (crl.nextUpdate <= at) problems.push(`${which} has ended: relying parties refuse every certificate`);
    else if (crl.overdue)
      problems.push(`${which} has no successor and ends at ${crl.nextUpdate.toISOString()}`);
  }
  const targets = (sources.housekeeping?.targets() ?? []).map(({ holds, ...state }) => ({
    ...state,
    objects: Object.keys(holds).length,
  }));
  for (const { target, status, since, lastError } of targets) {
    if (status === 'behind')
      problems.push(`the target ${target} is behind since ${since.toISOString()}: ${lastError?.text ?? ''}`);
  }
  const issuers = sources.ca.issuers.map(({ name, certificate: { notAfter } }) => ({
    issuer: name,
    notAfter,
  }));
  for (const { issuer, notAfter } of issuers)
    if (notAfter.getTime() - at.getTime() < ISSUER_ENDS_MS)
      problems.push(`the CA ${issuer} ends at ${notAfter.toISOString()}: renew it`);
  const raCertificates = await raCertificatesOf(sources).catch((cause: unknown) => {
    problems.push(`the certificates of the RA cannot be read: ${textOf(cause)}`);
    return [];
  });
  for (const { endpoint, notAfter } of raCertificates) {
    if (notAfter === undefined) problems.push(`the endpoint ${endpoint} has no certificates of the RA`);
    else if (notAfter.getTime() - at.getTime() < RA_ENDS_MS)
      problems.push(
        `the certificates of the RA for the endpoint ${endpoint} end at ${notAfter.toISOString()}: no device can enrol there after that`,
      );
  }
  const ocspSigners = await signersOf(sources.ocsp);
  for (const { issuer, notAfter } of ocspSigners) {
    if (notAfter === undefined) problems.push(`nobody can sign OCSP answers for ${issuer}`);
  }
  const selfTests = sources.selfTests?.results() ?? [];
  for (const { endpoint, outcome, step, detail } of selfTests) {
    if (outcome === 'fails')
      problems.push(`the self-test of endpoint ${endpoint} fails at ${step}: ${detail}`);
    else if (detail !== '') problems.push(`endpoint ${endpoint}: ${detail}`);
  }
  const { notificationsWaiting = 0, revocationRequests = [] } =
    sources.housekeeping?.correspondence?.() ?? {};
  if (notificationsWaiting > 0)
    problems.push(
      `${notificationsWaiting} certificates wait until their validators take successNotification`,
    );
  for (const { source, backlog, oldest, lastError } of revocationRequests) {
    if (lastError !== undefined)
      problems.push(
        `revocation requests of Intune (${source}): ${lastError.text}; ${backlog} wait for their answer`,
      );
    else if (oldest !== undefined && at.getTime() - oldest.getTime() > ANSWERED_AFTER_MS)
      problems.push(
        `revocation requests of Intune (${source}): ${backlog} wait for their answer since ${oldest.toISOString()}`,
      );
  }
  const role = sources.housekeeping?.role() ?? 'standby';
  return {
    at,
    role,
    store,
    issuers,
    crls,
    targets,
    ocspSigners,
    raCertificates,
    selfTests,
    notificationsWaiting,
    revocationRequests,
    problems,
  };
}

/**
 * The same as a command sees it that runs beside the server, on its machine: who leads is not known to it; it asks each
 * target what it holds, and the server whether it answers. Never throws.
 */
export async function healthBeside(
  config: ServerConfig,
  authorities: Authorities,
  log: Log,
  clock: Clock,
): Promise<ServerHealth> {
  const { ca, store } = authorities;
  const problems: string[] = [];
  const ocsp = await openOcsp(config, authorities, log, clock).catch((cause: unknown) => {
    problems.push(`OCSP cannot be served: ${textOf(cause)}`);
    return undefined;
  });
  const targets = await targetsNow(config, authorities, clock.now()).catch((cause: unknown) => {
    problems.push(`it cannot be found out what is to be published: ${textOf(cause)}`);
    return [];
  });
  const { host, port } = config.listen;
  const known = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
  const url = `http://${known.includes(':') ? `[${known}]` : known}:${port}/healthz`;
  const answers = await fetch(url, { signal: AbortSignal.timeout(ANSWER_MS_MAX) }).then(
    ...([(answer: Response) => answer.ok, () => false] as const),
  );
  if (!answers) problems.push(`the server does not answer at ${url}`);
  const nothing: CorrespondenceState = { notificationsWaiting: 0, revocationRequests: [] };
  // A database that does not answer is told of by what follows.
  const correspondence = await correspondenceOnRecord(config, authorities, clock).catch(() => nothing);
  const tested = await selfTestsOnRecord(config, store).catch(() => []);
  const housekeeping = {
    role: () => 'beside' as const,
    targets: () => targets,
    correspondence: () => correspondence,
  };
  const endpoints = () => viewEndpoints(config, clock.now());
  const selfTests = { results: () => tested };
  const health = await serverHealth({ ca, store, ocsp, housekeeping, endpoints, selfTests, clock });
  return { ...health, problems: [...problems, ...health.problems] };
}

/** What each target holds of what is to be published, asked of it now. */
async function targetsNow(config: ServerConfig, sources: Authorities, since: Date): Promise<TargetState[]> {
  const targets = await openTargets(config);
  if (targets.length === 0) return [];
  const objects = (await publishedNow(config, sources)).map(({ object }) => object);
  return await Promise.all(
    targets.map(async (target): Promise<TargetState> => {
      const looked = await compareAll(target, objects, AbortSignal.timeout(TARGET_MS_MAX));
      const wrong = looked.filter(({ outcome }) => outcome !== 'unchanged');
      const holds = looked.filter(({ outcome }) => outcome === 'unchanged');
      const text = wrong.map(({ object, text: why = 'is another' }) => `${object}: ${why}`).join('; ');
      return {
        target: target.name,
        place: target.place,
        status: wrong.length === 0 ? 'current' : 'behind',
        since,
        holds: Object.fromEntries(holds.map(({ object }) => [object, { at: since }])),
        ...(wrong.length === 0 ? {} : { lastError: { at: since, text } }),
        alarm: false,
      };
    }),
  );
}

async function raCertificatesOf({ endpoints }: HealthSources): Promise<RaHealth[]> {
  return (await endpoints()).map(({ endpoint, raEnds }) =>
    raEnds === undefined ? { endpoint } : { endpoint, notAfter: raEnds },
  );
}

function textOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

async function crlsOf({ ca, store }: HealthSources, at: Date): Promise<CrlHealth[]> {
  const overdue = await ca.overdueCrls();
  const states = await Promise.all(ca.issuers.map(({ name }) => store.crlStates(name)));
  return states.flat().map(({ issuer, partition, kind, crlNumber, thisUpdate, nextUpdate }) => ({
    issuer,
    partition,
    kind,
    crlNumber,
    thisUpdate,
    nextUpdate,
    ageSeconds: Math.floor((at.getTime() - thisUpdate.getTime()) / 1000),
    overdue: overdue.some(
      (other) => other.issuer === issuer && other.partition === partition && other.kind === kind,
    ),
  }));
}

async function signersOf(ocsp: HealthSources['ocsp']): Promise<OcspSignerHealth[]> {
  return await Promise.all(
    (ocsp?.signers ?? []).map(async ({ issuer, current }) => {
      const signer = await current().catch(() => undefined);
      return signer === undefined ? { issuer } : { issuer, notAfter: signer.certificate.notAfter };
    }),
  );
}
