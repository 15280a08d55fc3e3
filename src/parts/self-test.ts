/** A device of the server's own that enrols at each endpoint, so that a fault is known before a device is. */
import { generateKeyPair, randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import {
  buildEnrolmentMessage,
  certificationRequestFor,
  checkAuthority,
  findTrustedPath,
  HttpClient,
  protocolCertificateFor,
  ScepClient,
  systemTlsRootsAnd,
  type Trust,
  type TrustedAuthority,
} from '../agent/index.ts';
import { type Name, nameToString, parseCertificate, sameOctets } from '../codec/index.ts';
import { errorTable, PkiError } from '../errors.ts';
import { type PrivateKey, privateKeyOf } from '../keys/index.ts';
import {
  createSelfTestChallenge,
  refusedSelfTestSubject,
  selfTestSubject,
  selfTestTemplate,
} from '../ra/index.ts';
import type { CertRep } from '../scep/index.ts';
import type { AuditEntry, StoredAuditEntry } from '../store/index.ts';
import type { Clock, Log } from '../telemetry.ts';
import { type Authorities, enrolsItself, type ServerConfig } from './authorities.ts';
import { readText } from './identity.ts';

/** Steps of a test, in their order. */
export type SelfTestStep =
  | 'GetCACaps'
  | 'GetCACert'
  | 'RA certificates'
  | 'PKCSReq'
  | 'certificate'
  | 'revocation';

/** How a test went. No secret is in it. */
export interface SelfTestResult {
  readonly endpoint: string;
  readonly url: string;
  readonly at: Date;
  readonly durationMs: number;
  readonly outcome: 'works' | 'fails';
  /**
   * How far it goes when all is well: `enrolled`, a certificate was issued and revoked, after Intune, if it is asked here,
   * has refused a wrong challenge; `refused`, a wrong challenge was refused for the right reason, and no more; `answered`, CA and RA certificates are in order, and more cannot be tested.
   */
  readonly reach: 'enrolled' | 'refused' | 'answered';
  /** Where it failed. */
  readonly step?: SelfTestStep;
  /** What was wrong, or what will be soon; empty if nothing. */
  readonly detail: string;
  /** When the RA certificate that ends first does so. */
  readonly raEnds?: Date;
  /** Of tests by schedule: when the newest one that worked began. */
  readonly succeededAt?: Date;
}

/** What a test works with. */
export type SelfTestMeans = Pick<Authorities, 'ca' | 'store' | 'oneTime'>;

type EndpointConfig = ServerConfig['endpoints'][number];

/** For one exchange: far above a good answer, below the patience of a device. */
const EXCHANGE_TIMEOUT_MS = 30_000;
/** RA certificates that end within this time should have been renewed. */
const RA_WARNING_MS = 7 * 24 * 60 * 60 * 1000;
const CHALLENGE_OCTETS = 20;
/** How long after the start of a server its endpoints may be out of reach before that is a failure, and how often it is tried. */
const START_PATIENCE_MS = 10_000;
const START_PAUSE_MS = 500;

/** What went wrong, and where. */
class Failure extends Error {
  readonly step: SelfTestStep;
  constructor(step: SelfTestStep, message: string) {
    super(message);
    this.step = step;
  }
}

/**
 * Where an endpoint is tested: at the public URL, or at the listener.
 *
 * @param port of the listener, which may differ from the configured one
 */
export function selfTestUrl(
  config: ServerConfig,
  endpoint: EndpointConfig,
  port = config.listen.port,
): string {
  const { host } = config.listen;
  const local = `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
  return `${(config.selfTest?.publicUrl ?? local).replace(/\/+$/, '')}${endpoint.paths[0] ?? ''}`;
}

/**
 * Tests one endpoint by its URL, as a device would. Where the endpoint tests itself it really enrols, for a certificate of
 * no use to anybody, which is revoked at once; the key is never stored. Elsewhere, and first of all at an endpoint of
 * Intune's, a wrong challenge must be refused.
 *
 * Never throws.
 */
export async function testEndpoint(
  config: ServerConfig,
  endpoint: EndpointConfig,
  url: string,
  means: SelfTestMeans,
  { clock, log, signal }: { readonly clock: Clock; readonly log: Log; readonly signal?: AbortSignal },
): Promise<SelfTestResult> {
  const at = clock.now();
  const startMs = performance.now();
  const reach = enrolsItself(config, endpoint)
    ? 'enrolled'
    : // A request that asks for no challenge would wait for a person instead of being refused.
      endpoint.validators.every(({ manualApproval }) => manualApproval !== undefined)
      ? 'answered'
      : 'refused';
  const result = (rest: Pick<SelfTestResult, 'outcome' | 'step' | 'detail' | 'raEnds'>): SelfTestResult => ({
    endpoint: endpoint.name,
    url,
    at,
    durationMs: Math.round(performance.now() - startMs),
    reach,
    ...rest,
  });
  let raEnds: Date | undefined;
  const extraCa = config.selfTest?.extraCa;
  let http: HttpClient | undefined;
  try {
    http = new HttpClient({
      timeoutMs: EXCHANGE_TIMEOUT_MS,
      ...(extraCa === undefined ? {} : { tlsRoots: systemTlsRootsAnd([readText(extraCa)]) }),
    });
    const client = await step('GetCACaps', async () => {
      const opened = new ScepClient({
        url,
        http: http as HttpClient,
        ...(signal === undefined ? {} : { signal }),
      });
      await opened.capabilities();
      return opened;
    });
    const served = await step('GetCACert', () => client.caCertificates());
    const trust = trustOf(means, endpoint);
    const authority = checkAuthority(served, trust, at);
    if (authority.authority === 'refused') throw new Failure('RA certificates', authority.detail);
    raEnds = new Date(
      Math.min(...[authority.encryption, ...authority.signers].map(({ notAfter }) => notAfter.getTime())),
    );
    // Intune itself is asked by a wrong challenge alone: it makes right ones for its devices.
    if (reach === 'refused' || (reach === 'enrolled' && asksIntune(endpoint)))
      await beRefused(endpoint, client, authority, means, clock);
    if (reach === 'enrolled') await enrolAndRevoke(endpoint, client, authority, trust, means, clock);
    const detail =
      raEnds.getTime() - at.getTime() < RA_WARNING_MS
        ? `an RA certificate ends at ${raEnds.toISOString()}`
        : '';
    return result({ outcome: 'works', detail, raEnds });
  } catch (cause) {
    const failed = cause instanceof Failure ? cause : undefined;
    // What is not expected goes into the log whole; the result is for people.
    if (failed === undefined && signal?.aborted !== true)
      log.error({ err: cause, endpoint: endpoint.name }, 'a self-test broke');
    return result({
      outcome: 'fails',
      step: failed?.step ?? 'GetCACaps',
      detail: failed?.message ?? 'the self-test itself broke; see the log',
      ...(raEnds === undefined ? {} : { raEnds }),
    });
  } finally {
    http?.close();
  }
}

/** Runs a step; what it throws becomes its failure. */
async function step<T>(name: SelfTestStep, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof Failure) throw cause;
    if (!(cause instanceof PkiError)) throw cause;
    throw new Failure(name, `${cause.code}: ${cause.message}`);
  }
}

/** As `step` for the request itself: where the server's answer has a reference, the failure tells what is behind it. */
async function ask<T>(store: SelfTestMeans['store'], work: () => Promise<T>): Promise<T> {
  return await step('PKCSReq', async () => {
    try {
      return await work();
    } catch (cause) {
      const behind = cause instanceof PkiError ? await behindReference(cause.message, store) : undefined;
      throw behind === undefined ? cause : new Failure('PKCSReq', wordsOf(behind));
    }
  });
}

/** What a device of this endpoint would trust. */
function trustOf({ ca }: SelfTestMeans, { issuer }: EndpointConfig): Trust {
  const { certificate, chain } = ca.issuer(issuer);
  const certificates = chain.map((raw) => parseCertificate(raw));
  const root = certificates.at(-1) ?? certificate;
  return { ca: certificate, roots: [root], intermediates: certificates };
}

const asksIntune = ({ validators }: EndpointConfig): boolean =>
  validators.some(({ intune }) => intune !== undefined);

interface Attempt {
  readonly key: PrivateKey;
  readonly certRep: CertRep;
}

async function request(
  subject: Name,
  client: ScepClient,
  authority: TrustedAuthority,
  challenge: string,
  clock: Clock,
): Promise<Attempt> {
  const { privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: 2048 });
  const key = privateKeyOf(privateKey);
  const csr = await certificationRequestFor(
    {
      subject: nameToString(subject),
      subjectAltName: [],
      keyUsage: [...selfTestTemplate.keyUsage],
      extKeyUsage: [...selfTestTemplate.extKeyUsage],
    },
    key,
    challenge,
  );
  const now = clock.now();
  const message = await buildEnrolmentMessage({
    key,
    csr,
    recipient: authority.encryption,
    ...(await client.manner()),
    now,
  });
  const identity = { certificate: await protocolCertificateFor(key, now), key };
  return { key, certRep: await client.send(message, identity, authority) };
}

async function enrolAndRevoke(
  endpoint: EndpointConfig,
  client: ScepClient,
  authority: TrustedAuthority,
  trust: Trust,
  { ca, store, oneTime }: SelfTestMeans,
  clock: Clock,
): Promise<void> {
  const { key, certRep } = await ask(store, async () => {
    const { challenge } = await createSelfTestChallenge(oneTime, endpoint.name);
    return await request(selfTestSubject(endpoint.name), client, authority, challenge, clock);
  });
  if (certRep.pkiStatus !== 'SUCCESS') {
    const why = certRep.pkiStatus === 'FAILURE' ? await reasonOf(certRep, store) : undefined;
    throw new Failure(
      'PKCSReq',
      `${certRep.pkiStatus} instead of a certificate${why === undefined ? '' : `: ${wordsOf(why)}`}`,
    );
  }
  const certificate = certRep.certificates.find(({ spki }) => sameOctets(spki, key.spki));
  if (certificate === undefined) throw new Failure('certificate', 'none of the certificates is for the key');
  // First of all: whatever else is wrong with it, nobody shall have it.
  await step('revocation', async () => {
    const revoked = await ca.revoke({
      issuer: endpoint.issuer,
      serialNumber: certificate.serialNumber,
      reason: 'cessationOfOperation',
      actor: 'self-test',
      text: `self-test of ${endpoint.name}`,
    });
    if (revoked === 'unknown') throw new Failure('revocation', 'the CA does not know the certificate');
  });
  if (!sameOctets(certificate.subject.raw, selfTestSubject(endpoint.name).raw))
    throw new Failure('certificate', `it is for ${nameToString(certificate.subject)}`);
  const path = findTrustedPath(certificate, trust, authority.served, clock.now());
  if (path.path === 'none') throw new Failure('certificate', path.detail);
}

async function beRefused(
  endpoint: EndpointConfig,
  client: ScepClient,
  authority: TrustedAuthority,
  { store }: SelfTestMeans,
  clock: Clock,
): Promise<void> {
  const challenge = randomBytes(CHALLENGE_OCTETS).toString('hex');
  // Whoever cannot ask Intune, because its secret has expired, answers 503, and the step fails.
  const subject = refusedSelfTestSubject(endpoint.name);
  const { certRep } = await ask(store, () => request(subject, client, authority, challenge, clock));
  if (certRep.pkiStatus !== 'FAILURE')
    throw new Failure('PKCSReq', `a wrong challenge was answered with ${certRep.pkiStatus}`);
  const why = await reasonOf(certRep, store);
  const code = why?.code;
  const isRight =
    code !== undefined &&
    (code.startsWith('challenge_') ||
      // Others than Intune have words of their own for it.
      (!asksIntune(endpoint) && errorTable[code as keyof typeof errorTable]?.kind === 'refused'));
  if (!isRight)
    throw new Failure(
      'PKCSReq',
      `a wrong challenge was refused for another reason: ${why === undefined ? certRep.failInfo : wordsOf(why)}`,
    );
}

/** What is behind a refusal: the device is told a reference, and the audit list has the rest. */
async function reasonOf(
  { failInfoText = '' }: Extract<CertRep, { pkiStatus: 'FAILURE' }>,
  store: SelfTestMeans['store'],
): Promise<StoredAuditEntry | undefined> {
  return await step('PKCSReq', () => behindReference(failInfoText, store));
}

/** Throws PkiError `store_unavailable`. */
async function behindReference(
  text: string,
  store: SelfTestMeans['store'],
): Promise<StoredAuditEntry | undefined> {
  const [reference] = /LG-[A-Z2-7]{8}/.exec(text) ?? [];
  return reference === undefined ? undefined : (await store.auditEntries({ reference, limit: 1 }))[0];
}

function wordsOf({ code, reference, text, detail: { detail = '' } }: StoredAuditEntry): string {
  return `${code}: ${detail === '' ? text : detail} (${reference})`;
}

// --- on record ------------------------------------------------------------------------------------------------------

/** Prefix of the events of self-tests in the audit list; there is one for each change of what is found at an endpoint. */
const EVENT = 'self-test.';
/** Changes are few: so many hold what was last of every endpoint. */
const CHANGES_MAX = 1000;

/** What is found, without what differs each time: references and marks of calls stand in brackets. */
function findingOf({ outcome, step: failedAt, detail }: SelfTestResult): string {
  return `${outcome} ${failedAt ?? ''} ${detail.split(' (', 1)[0]}`;
}

function entryOf(result: SelfTestResult, before: SelfTestResult | undefined): AuditEntry {
  const { endpoint, url, at, durationMs, outcome, reach, step: failedAt = '', detail, raEnds } = result;
  return {
    at,
    event: `${EVENT}${outcome}`,
    actor: 'self-test',
    reference: '',
    code: '',
    text:
      outcome === 'fails'
        ? `the self-test of ${endpoint} fails at ${failedAt}`
        : `the self-test of ${endpoint} works${before?.outcome === 'fails' ? ' again' : ''}`,
    detail: {
      endpoint,
      url,
      reach,
      step: failedAt,
      detail,
      durationMs: String(durationMs),
      raEnds: raEnds?.toISOString() ?? '',
    },
  };
}

/**
 * What the self-tests by schedule found, as the audit list has it for whoever is not the server that leads: for each endpoint
 * that is tested the result that it has had since `at`.
 *
 * @throws PkiError `store_unavailable`.
 */
export async function selfTestsOnRecord(
  { selfTest, endpoints }: Pick<ServerConfig, 'selfTest' | 'endpoints'>,
  store: Pick<SelfTestMeans['store'], 'auditEntries'>,
): Promise<SelfTestResult[]> {
  if (selfTest === undefined) return [];
  const entries = await store.auditEntries({ event: EVENT, limit: CHANGES_MAX });
  return endpoints.flatMap(({ name }): SelfTestResult[] => {
    if (selfTest.endpoints?.includes(name) === false) return [];
    // The newest first.
    const entry = entries.find(({ detail }) => detail.endpoint === name);
    if (entry === undefined) return [];
    const { url = '', reach, step: failedAt = '', detail = '', durationMs, raEnds = '' } = entry.detail;
    return [
      {
        endpoint: name,
        url,
        at: entry.at,
        durationMs: Number(durationMs),
        outcome: entry.event === `${EVENT}works` ? 'works' : 'fails',
        reach: reach as SelfTestResult['reach'],
        ...(failedAt === '' ? {} : { step: failedAt as SelfTestStep }),
        detail,
        ...(raEnds === '' ? {} : { raEnds: new Date(raEnds) }),
      },
    ];
  });
}

// --- by schedule ----------------------------------------------------------------------------------------------------

/** The tests that a server runs by itself. */
export interface SelfTests {
  /** The newest result of each endpoint that this server has tested. */
  results(): readonly SelfTestResult[];
  stop(): Promise<void>;
}

/**
 * Tests the endpoints now and then every `server.selfTest.every`, while this server has the lead, one after the other. Each
 * failure is an alarm in the log.
 */
export function startSelfTests(options: {
  readonly config: ServerConfig;
  readonly means: SelfTestMeans;
  /** Of the listener. */
  readonly port: number;
  readonly role: () => 'leads' | 'follows';
  readonly log: Log;
  readonly clock: Clock;
}): SelfTests {
  const { config, means, port, role, log, clock } = options;
  const { selfTest } = config;
  const results = new Map<string, SelfTestResult>();
  /** What the audit list says last of each endpoint; unknown until it was read. */
  let recorded: Map<string, SelfTestResult> | undefined;
  const stopping = new AbortController();
  let running: Promise<void> | undefined;

  const record = async (result: SelfTestResult) => {
    recorded ??= new Map(
      (await selfTestsOnRecord(config, means.store)).map((known) => [known.endpoint, known]),
    );
    const before = recorded.get(result.endpoint);
    if (before !== undefined && findingOf(before) === findingOf(result)) return;
    await means.store.appendAudit(entryOf(result, before));
    recorded.set(result.endpoint, result);
  };
  // A server that starts may be there before its connector has reached the edge.
  const patientUntilMs = performance.now() + START_PATIENCE_MS;
  const test = async (endpoint: EndpointConfig): Promise<SelfTestResult> => {
    const url = selfTestUrl(config, endpoint, port);
    const { signal } = stopping;
    for (;;) {
      const result = await testEndpoint(config, endpoint, url, means, { clock, log, signal });
      const isEarly = result.step === 'GetCACaps' && performance.now() < patientUntilMs;
      if (!isEarly || signal.aborted) return result;
      await sleep(START_PAUSE_MS, undefined, { signal }).catch(() => {});
    }
  };
  const round = async () => {
    if (role() !== 'leads') {
      // What another server finds out now is not known here.
      results.clear();
      recorded = undefined;
      return;
    }
    for (const endpoint of config.endpoints) {
      if (stopping.signal.aborted) return;
      if (selfTest?.endpoints?.includes(endpoint.name) === false) continue;
      const result = await test(endpoint);
      if (stopping.signal.aborted) return;
      const succeededAt = result.outcome === 'works' ? result.at : results.get(endpoint.name)?.succeededAt;
      results.set(endpoint.name, { ...result, ...(succeededAt === undefined ? {} : { succeededAt }) });
      if (result.outcome === 'fails')
        log.error({ selfTest: result }, 'ALARM: the self-test of an endpoint fails; devices will, too');
      else if (result.detail !== '')
        log.warn({ selfTest: result }, 'a self-test worked, and found something');
      else log.info({ selfTest: result }, 'a self-test worked');
      await record(result).catch((cause: unknown) =>
        log.error({ err: cause, endpoint: endpoint.name }, 'a self-test cannot be put on record'),
      );
    }
  };
  const look = () => {
    running ??= round()
      .catch((cause: unknown) => {
        log.error({ err: cause }, 'self-tests broke; they are tried again');
      })
      .finally(() => {
        running = undefined;
      });
  };
  look();
  const timer = setInterval(look, selfTest?.every ?? 0);
  return {
    results: () => [...results.values()],
    stop: async () => {
      clearInterval(timer);
      stopping.abort();
      await running;
    },
  };
}
