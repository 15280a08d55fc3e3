/** How a server is: the facts that a view of its health shows. No secret is among them. */
import type { CertificateAuthority } from '../ca/index.ts';
import type { TargetState } from '../publish/index.ts';
import type { CrlState, PkiStore } from '../store/index.ts';
import type { Clock } from '../telemetry.ts';
import type { Housekeeping } from './housekeeping.ts';
import type { Ocsp } from './ocsp.ts';
import type { SelfTestResult, SelfTests } from './self-test.ts';

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

/** How a server is. */
export interface ServerHealth {
  readonly at: Date;
  /** `leads`: does what one of all servers of the store does. `standby`: only reads. */
  readonly role: 'leads' | 'follows' | 'standby';
  readonly store: 'available' | 'unavailable';
  readonly crls: readonly CrlHealth[];
  /** Known to the server that leads alone. */
  readonly targets: readonly TargetHealth[];
  readonly ocspSigners: readonly OcspSignerHealth[];
  /** How the endpoints' self-tests went; known to the server that leads alone. */
  readonly selfTests: readonly SelfTestResult[];
  /** What a person should look at, a sentence each; empty if all is well. */
  readonly problems: readonly string[];
}

/** What the facts are taken from. */
export interface HealthSources {
  readonly ca: Pick<CertificateAuthority, 'issuers' | 'overdueCrls'>;
  readonly store: Pick<PkiStore, 'crlStates'>;
  readonly ocsp: Pick<Ocsp, 'signers'> | undefined;
  /** Absent in a standby. */
  readonly housekeeping: Pick<Housekeeping, 'role' | 'targets'> | undefined;
  /** Absent if there are none. */
  readonly selfTests?: Pick<SelfTests, 'results'> | undefined;
  readonly clock: Clock;
}

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
  const role = sources.housekeeping?.role() ?? 'standby';
  return { at, role, store, crls, targets, ocspSigners, selfTests, problems };
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
