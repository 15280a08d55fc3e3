/**
 * Crash run: the server is killed again and again under a load of enrolments, and then everything that it ever answered
 * is held against what its store says. `node lab/crash.ts --kills 50` makes a long one.
 */
import { readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { parse, stringify } from 'yaml';
import {
  type Certificate,
  commonNameOf,
  hex,
  oid,
  parseCertificate,
  parseCrl,
  parsePem,
  sameOctets,
  verifyCertificateSignature,
  verifyCrlSignature,
} from '../src/codec/index.ts';
import { type Config, readConfig } from '../src/config.ts';
import { openAuthorities } from '../src/parts/authorities.ts';
import { parseCaCertificates, parseCertRep } from '../src/scep/index.ts';
import { type CertificateRecord, openPkiStore, type StoredAuditEntry } from '../src/store/index.ts';
import { openLog, systemClock } from '../src/telemetry.ts';
import { demand } from './checks.ts';
import { runInFolder } from './in-folder.ts';
import { launchPart, type PartProcess } from './processes.ts';
import { pseudoRandom } from './pseudo-random.ts';
import { type PreparedRequest, prepareRequests } from './requests.ts';
import { openTenant, type Tenant } from './tenant.ts';

/** What is to happen. */
export interface CrashOptions {
  readonly tenant: Tenant;
  /** Processes that serve; the one that starts them does not count. */
  readonly workers: number;
  /** What dies: the server (of several processes the primary, on which the others depend), or one of its workers. */
  readonly victim: 'server' | 'worker';
  readonly enrolments: number;
  readonly kills: number;
  /** Devices that enrol at the same time. */
  readonly clients: number;
  /** Decides the moments of the kills, as far as a clock and a scheduler let it. */
  readonly seed: number;
}

/** One device's request: sent, octet for octet, until there is a certificate. */
export interface CrashRequest {
  readonly url: string;
  readonly commonName: string;
  readonly spki: Uint8Array;
}

/** What is left behind for the judgement. */
export interface Evidence {
  readonly issuer: Certificate;
  readonly requests: readonly CrashRequest[];
  /** Every certificate that any answer brought, by the place of its request; each request is sent once more at the end. */
  readonly delivered: readonly { readonly request: number; readonly certificate: Uint8Array }[];
  /** Answers that no device may get, however the server died. */
  readonly oddities: readonly string[];
  /** Everything that the store has of certificates. */
  readonly records: readonly CertificateRecord[];
  /** Its audit entries of `certificate.issued`. */
  readonly audit: readonly StoredAuditEntry[];
  /** DER, as the restarted server serves it. */
  readonly crl: Uint8Array;
  /** Numbers of the CRLs that were served, in the order of time. */
  readonly crlNumbers: readonly number[];
  /** What `PRAGMA integrity_check` says. */
  readonly integrity: string;
}

/** What happened. */
export interface CrashRun {
  readonly evidence: Evidence;
  readonly kills: number;
  /** Kills of those that hit a server that was still starting. */
  readonly startUpKills: number;
  /** Requests that broke, or were told to come back. */
  readonly retries: number;
  /** Requests that got no answer and no end of their connection. */
  readonly timeouts: number;
  /** Certificates that were being signed when their process died. */
  readonly abandoned: number;
  /** Certificates that were on record when the process died, and were delivered by its successor. */
  readonly recovered: number;
  readonly seconds: number;
}

/** A request and its answer take milliseconds; a device that waited for so long takes the connection for dead. */
const ANSWER_MS_MAX = 10_000;
/** No device may be without its certificate for longer, however often the server dies meanwhile. */
const REQUEST_MS_MAX = 120_000;
/** Workers notice that their primary is gone, and the primary that a worker is. */
const PROCESS_MS_MAX = 30_000;
/** Real devices wait for seconds; a test's must not. */
const RETRY_PAUSE_MS = 80;
const POLL_MS = 2;
/** A kill comes up to so much later than the answer that it waits for: between any two steps of the next ones. */
const KILL_DELAY_MS = 20;
/** Of so many requests, one is sent twice at once: a device that does not wait for its first answer. */
const TWIN_EVERY = 5;
const HOUR_MS = 3_600_000;
const ENDPOINTS = ['one-time', 'static'] as const;

/**
 * Makes a load, kills, and gathers the evidence.
 *
 * @throws Error if the server does not come back, a worker outlives its primary, or a request stays without an answer.
 */
export async function crashRun(options: CrashOptions): Promise<CrashRun> {
  const begin = performance.now();
  const { tenant, enrolments } = options;
  const random = pseudoRandom(options.seed);
  const { path, config } = await writeServerConfig(options);
  const challenges = await createChallenges(config, Math.ceil(enrolments / 2));
  const victim = await Victim.start(options, path, random);
  try {
    const load = await Load.prepare(options, challenges, random);
    const failure = new AbortController();
    const doings = [
      load.enrolAll('with-twins', failure.signal),
      killAgainAndAgain(victim, load, options, random, failure.signal),
    ];
    await Promise.all(doings).catch(async (cause: unknown) => {
      // Neither goes on without the other.
      failure.abort(cause);
      await Promise.allSettled(doings);
      throw cause;
    });
    // One more, of all processes, when nothing is under way; then every device asks once more.
    const kills = victim.killedAt.length + victim.startUpKills;
    const { startUpKills } = victim;
    await victim.restart();
    await load.enrolAll('once', failure.signal);
    const crl = await victim.noteCrl();
    await victim.stop();

    const database = join(config.dataFolder, 'pki.sqlite');
    const [issuing] = parsePem(await readFile(tenant.chainFile, 'utf8'), 'CERTIFICATE');
    const evidence: Evidence = {
      issuer: parseCertificate(issuing),
      requests: load.requests,
      delivered: load.delivered,
      oddities: [...load.oddities, ...victim.oddities],
      ...(await readStore(database)),
      crl,
      crlNumbers: victim.crlNumbers,
      integrity: integrityOf(database),
    };
    return {
      evidence,
      kills,
      startUpKills,
      retries: load.retries,
      timeouts: load.timeouts,
      abandoned: recordsOf(evidence).filter(({ status }) => status === 'abandoned').length,
      recovered: countRecovered(evidence.audit, load.delivered, victim.killedAt),
      seconds: (performance.now() - begin) / 1000,
    };
  } finally {
    await victim.kill();
  }
}

/** Spreads the kills over the run: each waits for a number of answers, and then for a moment of its own. */
async function killAgainAndAgain(
  victim: Victim,
  load: Load,
  options: CrashOptions,
  random: () => number,
  signal: AbortSignal,
): Promise<void> {
  for (let count = 0; count < options.kills; count += 1) {
    const threshold = Math.floor((0.9 * options.enrolments * (count + random())) / options.kills);
    while (load.answered.size < threshold) await sleep(POLL_MS, undefined, { signal });
    await sleep(KILL_DELAY_MS * random(), undefined, { signal });
    await (options.victim === 'server' ? victim.restart() : victim.killWorker());
  }
}

// --- the load --------------------------------------------------------------------------------------------------------

/** Devices that want their certificates, whatever becomes of the server. */
class Load {
  readonly requests: readonly CrashRequest[];
  readonly delivered: { request: number; certificate: Uint8Array; at: number }[] = [];
  readonly answered = new Set<number>();
  readonly oddities: string[] = [];
  retries = 0;
  timeouts = 0;
  readonly #prepared: readonly PreparedRequest[];
  readonly #signers: readonly Certificate[];
  readonly #clients: number;
  readonly #random: () => number;

  private constructor(
    requests: readonly CrashRequest[],
    prepared: readonly PreparedRequest[],
    signers: readonly Certificate[],
    clients: number,
    random: () => number,
  ) {
    this.requests = requests;
    this.#prepared = prepared;
    this.#signers = signers;
    this.#clients = clients;
    this.#random = random;
  }

  /** Builds the requests: with a one-time challenge each, and with the static secret. */
  static async prepare(
    { tenant, enrolments, clients }: CrashOptions,
    challenges: readonly string[],
    random: () => number,
  ): Promise<Load> {
    const served = await caCertificates(`${baseOf(tenant)}/scep/static`);
    const secrets = Array.from({ length: enrolments - challenges.length }, () => tenant.staticSecret);
    const prepared = await prepareRequests(enrolments, served.encryption, [...challenges, ...secrets]);
    const requests = prepared.map(({ commonName, key }, index): CrashRequest => {
      const endpoint = ENDPOINTS[index < challenges.length ? 0 : 1];
      return {
        url: `${baseOf(tenant)}/scep/${endpoint}?operation=PKIOperation`,
        commonName,
        spki: key.spki,
      };
    });
    return new Load(requests, prepared, served.all, clients, random);
  }

  /** Sends all requests, in an order of chance, by so many devices at a time. */
  async enrolAll(copies: 'with-twins' | 'once', signal: AbortSignal): Promise<void> {
    const order = this.requests
      .map((_, index) => ({ index, rank: this.#random() }))
      .sort((a, b) => a.rank - b.rank)
      .map(({ index }) => index);
    const client = async () => {
      for (let index = order.shift(); index !== undefined; index = order.shift()) {
        const count = copies === 'with-twins' && index % TWIN_EVERY === 0 ? 2 : 1;
        const request = index;
        await Promise.all(Array.from({ length: count }, () => this.#enrol(request, signal)));
      }
    };
    await Promise.all(Array.from({ length: this.#clients }, client));
  }

  /** Sends one request, the same octets again and again, until it is answered for good. */
  async #enrol(index: number, signal: AbortSignal): Promise<void> {
    const [request, sent] = [this.requests[index], this.#prepared[index]];
    if (request === undefined || sent === undefined) throw new Error(`there is no request ${index}`);
    const { commonName } = request;
    const deadline = performance.now() + REQUEST_MS_MAX;
    while (performance.now() < deadline) {
      const answer = await post(request.url, sent.body);
      if (answer !== 'broken' && answer !== 'timeout') {
        if (answer.status === 200) return await this.#read(index, commonName, sent, answer.body);
        if (answer.status !== 503) this.oddities.push(`${commonName}: HTTP ${answer.status}`);
      }
      this.retries += 1;
      if (answer === 'timeout') this.timeouts += 1;
      await sleep(RETRY_PAUSE_MS * (1 + Math.random()), undefined, { signal });
    }
    throw new Error(`${commonName} has no answer after ${REQUEST_MS_MAX / 1000} s`);
  }

  async #read(index: number, commonName: string, sent: PreparedRequest, body: Uint8Array): Promise<void> {
    const certRep = await parseCertRep(body, {
      signers: this.#signers,
      transactionID: sent.transactionID,
      senderNonce: sent.senderNonce,
      decrypt: (transport, encryptedKey) => sent.key.decrypt(transport, encryptedKey),
    });
    const [certificate] = certRep.pkiStatus === 'SUCCESS' ? certRep.certificates : [];
    if (certificate === undefined) this.oddities.push(`${commonName}: ${JSON.stringify(certRep)}`);
    else this.delivered.push({ request: index, certificate: certificate.raw, at: Date.now() });
    this.answered.add(index);
  }
}

// --- the victim ------------------------------------------------------------------------------------------------------

/** The server that is killed and comes back. */
class Victim {
  readonly killedAt: number[] = [];
  readonly crlNumbers: number[] = [];
  readonly oddities: string[] = [];
  startUpKills = 0;
  readonly #tenant: Tenant;
  readonly #launch: () => ReturnType<typeof launchPart>;
  readonly #random: () => number;
  #startUpMs = 0;
  #server: PartProcess;

  private constructor(
    tenant: Tenant,
    launch: () => ReturnType<typeof launchPart>,
    random: () => number,
    server: PartProcess,
  ) {
    this.#tenant = tenant;
    this.#launch = launch;
    this.#random = random;
    this.#server = server;
  }

  static async start(options: CrashOptions, config: string, random: () => number): Promise<Victim> {
    const { tenant, victim, workers } = options;
    const launch = () => launchPart(`crash-${victim}-${workers}`, config, tenant.folder);
    const begin = performance.now();
    const server = launch();
    await server.ready;
    const started = new Victim(tenant, launch, random, server);
    started.#startUpMs = performance.now() - begin;
    return started;
  }

  /** Kills the server and starts it again; every second time, it is killed once more while it starts. */
  async restart(): Promise<void> {
    const orphans = workersOf(this.#server.logFile);
    await this.kill();
    this.killedAt.push(Date.now());
    if (this.killedAt.length % 2 === 0) {
      this.#server = this.#launch();
      await sleep(this.#startUpMs * this.#random());
      await this.kill();
      this.startUpKills += 1;
    }
    const server = this.#launch();
    this.#server = server;
    // That it starts shows that lock and port are free, whatever the orphans are still about.
    await server.ready;
    await untilEnded(orphans);
    await this.noteCrl();
  }

  /** Kills one of the processes that serve; the primary has to see to the rest. */
  async killWorker(): Promise<void> {
    const workers = workersOf(this.#server.logFile);
    const pid = workers[Math.floor(this.#random() * workers.length)];
    // None is left when one was killed before the one before it was replaced.
    if (pid === undefined) return await this.#untilWorkerServes().then(() => this.killWorker());
    process.kill(pid, 'SIGKILL');
    this.killedAt.push(Date.now());
    await untilEnded([pid]);
  }

  async #untilWorkerServes(): Promise<void> {
    const deadline = performance.now() + PROCESS_MS_MAX;
    while (workersOf(this.#server.logFile).length === 0) {
      demand(performance.now() < deadline, 'no worker took the place of the dead ones');
      await sleep(RETRY_PAUSE_MS);
    }
  }

  /** The CRL that is served now. */
  async noteCrl(): Promise<Uint8Array> {
    const answer = await fetch(`${baseOf(this.#tenant)}/crl/issuing.crl`);
    demand(answer.ok, `the CRL: HTTP ${answer.status}`);
    const crl = new Uint8Array(await answer.arrayBuffer());
    this.crlNumbers.push(numberOf(crl));
    return crl;
  }

  async kill(): Promise<void> {
    await this.#server.kill();
  }

  /** Asks all processes to end, as a terminal or a service manager does; the primary alone is to take it to heart. */
  async stop(): Promise<void> {
    const fallen = fallenIn(this.#server.logFile);
    for (const pid of workersOf(this.#server.logFile)) process.kill(pid, 'SIGTERM');
    await this.#server.stop();
    const { code, signal } = await this.#server.ended;
    if (code !== 0) this.oddities.push(`asked to end, the server ended with ${signal ?? `status ${code}`}`);
    if (fallenIn(this.#server.logFile) !== fallen) this.oddities.push('asked to end, a worker fell');
  }
}

/** How many workers fell that nobody had asked to end, by the log. */
function fallenIn(logFile: string): number {
  return readFileSync(logFile, 'utf8').split('"a worker ended').length - 1;
}

/** Pids of the workers that a server brought up and that have not ended since, by its log. */
function workersOf(logFile: string): number[] {
  const pids = new Set<number>();
  for (const line of readFileSync(logFile, 'utf8').split('\n')) {
    if (!line.startsWith('{')) continue;
    const { msg, pid } = JSON.parse(line) as { readonly msg: string; readonly pid?: number };
    if (pid !== undefined && msg === 'a worker serves') pids.add(pid);
  }
  return [...pids].filter(isAlive);
}

async function untilEnded(pids: readonly number[]): Promise<void> {
  const deadline = performance.now() + PROCESS_MS_MAX;
  for (const pid of pids) {
    while (isAlive(pid)) {
      demand(performance.now() < deadline, `process ${pid} does not end`);
      await sleep(POLL_MS);
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  if (process.platform !== 'linux') return true;
  // An orphan's entry may stay for a while after its end, until somebody takes note of it.
  try {
    return !/^\d+ \(.*\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}

function numberOf(crl: Uint8Array): number {
  const extension = parseCrl(crl).extensions.find((each) => each.oid === oid.crlNumber);
  demand(extension !== undefined, 'the CRL has no number');
  // A DER INTEGER whose length fits one octet.
  return Number.parseInt(hex(extension.value.subarray(2)), 16);
}

// --- judgement -------------------------------------------------------------------------------------------------------

/**
 * What the evidence says against the server; nothing if it kept its promises: no serial number is used twice, no
 * signature lacks its record, and every device that retries has its certificate, one and the same.
 */
export function violationsIn(evidence: Evidence): string[] {
  const { issuer, requests, records, oddities, integrity } = evidence;
  const found: string[] = [...oddities];
  const bySerial = new Map<string, CertificateRecord>();
  for (const record of records) {
    if (bySerial.has(record.serialNumber))
      found.push(`serial number ${record.serialNumber} is on record twice`);
    bySerial.set(record.serialNumber, record);
    if (record.status === 'intent') found.push(`${record.serialNumber} is still an intent`);
  }
  const issuedTo = Map.groupBy(
    records.filter(({ status }) => status === 'issued'),
    ({ subject }) => subject,
  );
  const deliveredTo = Map.groupBy(evidence.delivered, ({ request }) => request);
  requests.forEach(({ commonName, spki }, index) => {
    const certificates = (deliveredTo.get(index) ?? []).map(({ certificate }) => certificate);
    const [first] = certificates;
    if (first === undefined) {
      found.push(`${commonName} has no certificate`);
      return;
    }
    if (certificates.length < 2) found.push(`${commonName} was not answered a second time`);
    if (certificates.some((certificate) => !sameOctets(certificate, first)))
      found.push(`${commonName} was given two certificates`);
    for (const certificate of certificates) {
      const { serialNumber, subject, spki: certified, issuer: by } = parseCertificate(certificate);
      const record = bySerial.get(serialNumber);
      if (record?.status !== 'issued')
        found.push(`${commonName} was given ${serialNumber}, which is ${record?.status ?? 'not on record'}`);
      else if (record.certificate === undefined || !sameOctets(record.certificate, certificate))
        found.push(`${commonName} was given another ${serialNumber} than the one on record`);
      if (commonNameOf(subject) !== commonName || !sameOctets(certified, spki))
        found.push(`${commonName} was given somebody else’s certificate`);
      if (
        !sameOctets(by.raw, issuer.subject.raw) ||
        !verifyCertificateSignature(parseCertificate(certificate), issuer.spki)
      ) {
        found.push(`${serialNumber} is not signed by the issuing CA`);
      }
    }
    const live = issuedTo.get(subjectOf(commonName))?.length ?? 0;
    if (live !== 1) found.push(`${commonName} has ${live} live certificates on record`);
  });
  found.push(...violationsInAudit(evidence), ...violationsInCrls(evidence));
  if (integrity !== 'ok') found.push(`integrity_check: ${integrity}`);
  return found;
}

/** Each issued certificate has one entry, and nothing else has one. */
function violationsInAudit({ audit, records }: Evidence): string[] {
  const entries = Map.groupBy(audit, ({ detail }) => detail.serialNumber ?? '');
  const signed = records.filter(({ status }) => status === 'issued' || status === 'revoked');
  const found: string[] = [];
  for (const { serialNumber } of signed) {
    const count = entries.get(serialNumber)?.length ?? 0;
    if (count !== 1) found.push(`${serialNumber} has ${count} entries certificate.issued`);
    entries.delete(serialNumber);
  }
  for (const serialNumber of entries.keys())
    found.push(`${serialNumber} was not issued and has an entry certificate.issued`);
  return found;
}

/** Abandoned and revoked serial numbers are on the CRL, and no others. */
function violationsInCrls({ crl: raw, crlNumbers, records, issuer }: Evidence): string[] {
  const found: string[] = [];
  const crl = parseCrl(raw);
  if (!verifyCrlSignature(crl, issuer.spki)) found.push('the CRL is not signed by the issuing CA');
  const listed = new Set(crl.revoked.map(({ serialNumber }) => serialNumber));
  for (const { serialNumber, status } of records) {
    const mustBe = status === 'abandoned' || status === 'revoked';
    if (mustBe && !listed.has(serialNumber)) found.push(`${serialNumber} is ${status} and not on the CRL`);
    if (!mustBe && listed.has(serialNumber)) found.push(`${serialNumber} is ${status} and on the CRL`);
    listed.delete(serialNumber);
  }
  for (const serialNumber of listed) found.push(`${serialNumber} is on the CRL and not on record`);
  if (crlNumbers.some((number, index) => number < (crlNumbers[index - 1] ?? 0)))
    found.push(`CRL numbers went back: ${crlNumbers.join(', ')}`);
  return found;
}

// --- what it is made of ----------------------------------------------------------------------------------------------

function baseOf(tenant: Tenant): string {
  return `http://127.0.0.1:${tenant.ports.server}`;
}

/** The tenant's server alone, without the tunnel and the MDM. */
async function writeServerConfig(
  options: CrashOptions,
): Promise<{ readonly path: string; readonly config: NonNullable<Config['server']> }> {
  const { tenant, workers, victim } = options;
  const raw = parse(await readFile(tenant.configs.server, 'utf8')) as {
    server: { workers: number; endpoints: { readonly name: string }[] };
    connector?: unknown;
  };
  delete raw.connector;
  raw.server.workers = workers;
  raw.server.endpoints = raw.server.endpoints.filter(({ name }) =>
    (ENDPOINTS as readonly string[]).includes(name),
  );
  const path = join(tenant.folder, 'server', `crash-${victim}-${workers}.yaml`);
  await writeFile(path, stringify(raw), { mode: 0o600 });
  const { server } = readConfig(path);
  if (server === undefined) throw new Error('the tenant has no server');
  return { path, config: server };
}

async function createChallenges(config: NonNullable<Config['server']>, count: number): Promise<string[]> {
  const authorities = await openAuthorities(config, openLog('warn', 'lab'), systemClock);
  try {
    const order = { endpoint: 'one-time', pinned: {}, device: '', lifetimeMs: HOUR_MS };
    const made = await Promise.all(Array.from({ length: count }, () => authorities.oneTime.create(order)));
    return made.map(({ challenge }) => challenge);
  } finally {
    await authorities.close();
  }
}

async function caCertificates(url: string) {
  const answer = await fetch(`${url}?operation=GetCACert`);
  return parseCaCertificates(
    new Uint8Array(await answer.arrayBuffer()),
    answer.headers.get('content-type') ?? '',
  );
}

/** One answer, whole; `broken` if the connection ended before it. */
async function post(
  url: string,
  body: Uint8Array,
): Promise<{ readonly status: number; readonly body: Uint8Array } | 'timeout' | 'broken'> {
  try {
    const answer = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/x-pki-message' },
      body: body as Uint8Array<ArrayBuffer>,
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    });
    return { status: answer.status, body: new Uint8Array(await answer.arrayBuffer()) };
  } catch (cause) {
    return cause instanceof DOMException && cause.name === 'TimeoutError' ? 'timeout' : 'broken';
  }
}

async function readStore(database: string): Promise<Pick<Evidence, 'records' | 'audit'>> {
  const store = await openPkiStore({ sqlite: database });
  try {
    const limit = Number.MAX_SAFE_INTEGER;
    return {
      records: await store.certificates({ limit }),
      audit: await store.auditEntries({ event: 'certificate.issued', limit }),
    };
  } finally {
    await store.close();
  }
}

function integrityOf(database: string): string {
  const db = new DatabaseSync(database, { readOnly: true });
  try {
    const rows = db.prepare('PRAGMA integrity_check').all() as { readonly integrity_check: string }[];
    return rows.map((row) => row.integrity_check).join('; ');
  } finally {
    db.close();
  }
}

function recordsOf({ requests, records }: Evidence): CertificateRecord[] {
  const subjects = new Set(requests.map(({ commonName }) => subjectOf(commonName)));
  return records.filter(({ subject }) => subjects.has(subject));
}

/** The subject that `prepareRequests` asks for. */
function subjectOf(commonName: string): string {
  return `CN=${commonName},O=Load`;
}

/** Certificates that a process recorded and its successor delivered. */
function countRecovered(
  audit: readonly StoredAuditEntry[],
  delivered: readonly { readonly certificate: Uint8Array; readonly request: number; readonly at: number }[],
  killedAt: readonly number[],
): number {
  const issuedAt = new Map(audit.map(({ at, detail }) => [detail.serialNumber, at.getTime()]));
  const first = new Map(delivered.toReversed().map((each) => [each.request, each]));
  return [...first.values()].filter(({ certificate, at }) => {
    const issued = issuedAt.get(parseCertificate(certificate).serialNumber) ?? Number.POSITIVE_INFINITY;
    return killedAt.some((killed) => issued < killed && killed < at);
  }).length;
}

/** One line about a run. */
export function summaryOf(run: CrashRun): string {
  const { evidence, kills, startUpKills, retries, timeouts, abandoned, recovered, seconds } = run;
  return [
    `${evidence.requests.length} enrolments`,
    `${kills} kills (${startUpKills} during start-up)`,
    `${retries} retries, ${timeouts} of them after a timeout`,
    `${abandoned} abandoned`,
    `${recovered} recovered`,
    `${seconds.toFixed(1)} s`,
  ].join(', ');
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      kills: { type: 'string', default: '50' },
      enrolments: { type: 'string', default: '2000' },
      clients: { type: 'string', default: '12' },
      seed: { type: 'string', default: String(Date.now() % 2 ** 32) },
    },
  });
  await runInFolder('leafgate-crash-', async (folder) => {
    let status = 0;
    console.log(`seed ${values.seed}`);
    const tenant = await openTenant(folder, { ports: 'any', progress: () => {}, issuingKey: 'rsa-2048' });
    for (const [workers, victim] of [
      [1, 'server'],
      [2, 'server'],
      [2, 'worker'],
    ] as const) {
      const run = await crashRun({
        tenant,
        workers,
        victim,
        enrolments: Number(values.enrolments),
        kills: Number(values.kills),
        clients: Number(values.clients),
        seed: Number(values.seed),
      });
      const violations = violationsIn(run.evidence);
      console.log(
        `${workers === 1 ? 'one process' : `${workers} workers`}, ${victim} dies: ${summaryOf(run)}`,
      );
      for (const violation of violations) console.log(`  FAIL  ${violation}`);
      if (violations.length > 0) status = 1;
    }
    return status;
  });
}
