/**
 * The composition root: from a configuration to parts, from parts to listeners. The only file that knows everything.
 */
import cluster, { type Worker } from 'node:cluster';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  assertIssuing,
  builtInTemplates,
  CertificateAuthority,
  type Issuer,
  signatureAlgorithmFor,
} from './ca/index.ts';
import {
  type Certificate,
  keyUsageOf,
  parseCertificate,
  parseCrl,
  parsePem,
  parsePublicKeyInfo,
  sameOctets,
  verifyCertificateSignature,
} from './codec/index.ts';
import type { Config } from './config.ts';
import { type ErrorCode, errorCodeOf, PkiError } from './errors.ts';
import {
  addRepositoryDoor,
  addScepDoor,
  type HttpServer,
  openHttpServer,
  type ScepEndpoint,
} from './http/index.ts';
import {
  assertRuntimeFit,
  clearKeyForTls,
  openKeyFile,
  type PrivateKey,
  type SigningThread,
  secretFromReference,
} from './keys/index.ts';
import type { ChallengeRecipient, ChallengeSigner, Mdm } from './mdm/index.ts';
import {
  type EnrolmentPolicy,
  OneTimeChallenges,
  RegistrationAuthority,
  staticSecretValidator,
  type Validator,
} from './ra/index.ts';
import { standardCiphers } from './scep/index.ts';
import { lockDataFolder, openPkiStore, type PkiStore } from './store/index.ts';
import { type Clock, type Log, openLog, systemClock } from './telemetry.ts';
import type { RefusalReason } from './tunnel/index.ts';

/** Name and version, as Intune sees us in `callerInfo`. */
export const PROVIDER_NAME_AND_VERSION = 'Leafgate/0.1.0';
/** How often the server looks whether a CRL is due and whether intents are dead. */
const HOUSEKEEPING_MS = 5_000;
/** A worker that lives has signed this long after its intent; what is open then is taken for the dead one's. */
const SIGNING_MS_MAX = 2_000;
/** A worker that dies at once, again and again, must not take the machine with it. */
const WORKER_PAUSE_MS = 1_000;
const CHALLENGE_HASH_KEY_CHARACTERS_MIN = 32;

type ServerConfig = NonNullable<Config['server']>;
type KeyConfig = ServerConfig['issuers'][number]['key'];

/** A running part. */
export interface Part {
  readonly name: string;
  /** Where it is reached, for people. */
  readonly addresses: readonly string[];
  close(): Promise<void>;
}

/** All parts of a configuration at work. */
export interface Running {
  readonly parts: readonly Part[];
  /** Ends the parts, last started first. */
  close(): Promise<void>;
}

/**
 * Starts every part that the configuration names, and resolves when all of them are ready to serve.
 *
 * @throws PkiError of kind `misconfigured` if a part cannot do its work; then nothing keeps running.
 */
export async function start(config: Config, clock: Clock = systemClock): Promise<Running> {
  assertRuntimeFit();
  const parts: Part[] = [];
  const close = async () => {
    for (const part of parts.toReversed()) await part.close();
  };
  try {
    if (config.mdm !== undefined && cluster.isPrimary)
      parts.push(await startMdm(config.mdm, openLog(config.log, 'mdm'), clock));
    let store: PkiStore | undefined;
    if (config.server !== undefined) {
      const started = await startServer(config.server, openLog(config.log, 'server'), clock);
      store = started.store;
      parts.push(started);
    }
    if (cluster.isPrimary) {
      if (config.edge !== undefined)
        parts.push(await startEdge(config.edge, openLog(config.log, 'edge'), clock));
      if (config.connector !== undefined) {
        parts.push(await startConnector(config.connector, store, openLog(config.log, 'connector'), clock));
      }
    }
    return { parts, close };
  } catch (cause) {
    await close();
    throw cause;
  }
}

// --- SCEP server, RA and CA --------------------------------------------------------------------------------------

/** What the commands of an administrator work with: everything but the doors. */
export interface Authorities {
  readonly store: PkiStore;
  readonly ca: CertificateAuthority;
  readonly ra: RegistrationAuthority;
  readonly oneTime: OneTimeChallenges;
  readonly issuers: readonly Issuer[];
  close(): Promise<void>;
}

/** Opens store, CA and RA. Several processes may do so on one data folder. */
export async function openAuthorities(config: ServerConfig, log: Log, clock: Clock): Promise<Authorities> {
  const store = openPkiStore(join(config.dataFolder, 'pki.sqlite'));
  try {
    const issuers: Issuer[] = [];
    const thread = signingThreadOf(config);
    for (const issuer of config.issuers) issuers.push(await openIssuer(issuer, thread));
    const ca = new CertificateAuthority({ issuers, templates: builtInTemplates, store, clock });
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
        if (choice.intune !== undefined) {
          const { intuneValidator } = await import('./ra/validators/intune.ts');
          const { extraCa, secret, ...rest } = choice.intune;
          const validator = intuneValidator({
            ...rest,
            secret: secretFromReference(secret),
            ...(extraCa === undefined ? {} : { extraCa: readFileSync(extraCa, 'utf8') }),
            providerNameAndVersion: PROVIDER_NAME_AND_VERSION,
            log,
            clock,
          });
          closers.push(() => validator.close());
          validators.push(validator);
        } else if (choice.staticSecret !== undefined) {
          validators.push(staticSecretValidator(secretFromReference(choice.staticSecret.hash)));
        } else validators.push(oneTime.validator());
      }
      const [first, ...rest] = validators;
      if (first === undefined)
        throw new PkiError('config_invalid', `endpoint ${endpoint.name} has no validator`);
      policies.push({
        endpoint: endpoint.name,
        issuer: endpoint.issuer,
        template: endpoint.template,
        validators: [first, ...rest],
      });
    }
    const ra = new RegistrationAuthority({
      ca,
      store,
      policies,
      serviceIdentity: config.serviceIdentity,
      clock,
      log,
    });
    const close = async () => {
      for (const closer of closers) await closer();
      store.close();
    };
    return { store, ca, ra, oneTime, issuers, close };
  } catch (cause) {
    store.close();
    throw cause;
  }
}

/** With a worker for each core there is no idle core to sign on. */
function signingThreadOf(config: ServerConfig): SigningThread {
  return config.workers === 1 ? 'pool' : 'calling';
}

async function openIssuer(
  config: ServerConfig['issuers'][number],
  signingThread: SigningThread,
): Promise<Issuer> {
  const chain = readChain(config.certificate);
  const certificate = parseCertificate(chain[0]);
  const key = await openKey(config.key, signingThread);
  assertIssuing(certificate, chain, key);
  return {
    name: config.name,
    certificate,
    chain,
    key,
    signatureAlgorithm: signatureAlgorithmFor(key),
    crlUrls: config.crlUrls,
    caIssuersUrls: config.caIssuersUrls,
    crlPeriodMs: config.crlPeriod,
    crlOverlapMs: config.crlOverlap,
  };
}

async function startServer(
  config: ServerConfig,
  log: Log,
  clock: Clock,
): Promise<Part & { store: PkiStore }> {
  const lock = cluster.isPrimary ? lockDataFolder(join(config.dataFolder, 'server.lock')) : undefined;
  let authorities: Authorities | undefined;
  let housekeeping: Housekeeping | undefined;
  try {
    authorities = await openAuthorities(config, log, clock);
    const { store, ca } = authorities;
    if (cluster.isPrimary) {
      // Whatever a server that died left half done is settled before the first request.
      const abandoned = await ca.abandonDeadIntents('at-start');
      if (abandoned > 0)
        log.warn({ abandoned }, 'certificates that a stopped server was signing are given up');
      for (const issuer of config.issuers) await ca.publishCrl(issuer.name);
      housekeeping = startHousekeeping(ca, config, log, clock);
    }
    const onDeath = housekeeping?.settleAfterDeath ?? (() => {});
    const serving =
      config.workers > 1 && cluster.isPrimary
        ? await startWorkers(config.workers, log, onDeath)
        : await serve(config, authorities, log, clock);
    const opened = authorities;
    return {
      name: 'SCEP server',
      addresses: [`http://${config.listen.host}:${serving.port}`],
      store,
      close: async () => {
        await housekeeping?.stop();
        await serving.close();
        await opened.close();
        lock?.release();
      },
    };
  } catch (cause) {
    await housekeeping?.stop();
    await authorities?.close();
    lock?.release();
    throw cause;
  }
}

/** Opens the listener with the SCEP and repository doors. */
async function serve(
  config: ServerConfig,
  { ca, ra, issuers }: Authorities,
  log: Log,
  clock: Clock,
): Promise<{ readonly port: number; close(): Promise<void> }> {
  const signing = await openIdentity(config.ra.signing, signingThreadOf(config));
  const encryption = await openIdentity(config.ra.encryption);
  assertRa('signing', signing, 'digitalSignature', issuers, clock);
  assertRa('encryption', encryption, 'keyEncipherment', issuers, clock);
  const endpoints = config.endpoints.map((endpoint): ScepEndpoint => {
    const issuer = ca.issuer(endpoint.issuer);
    return {
      name: endpoint.name,
      paths: endpoint.paths,
      signer: {
        certificate: signing.certificate,
        chain: [signing.certificate.raw, issuer.certificate.raw],
        sign: (algorithm, data) => signing.key.sign(algorithm, data),
      },
      encryption: {
        certificate: encryption.certificate,
        decrypt: (keyTransport, encryptedKey) => encryption.key.decrypt(keyTransport, encryptedKey),
      },
      acceptedCiphers: endpoint.dangerAllowSingleDes ? [...standardCiphers, 'des-cbc'] : standardCiphers,
      caChain: issuer.chain,
    };
  });
  const server: HttpServer = await openHttpServer({
    ...config.listen,
    log,
    doors: (app) => {
      addScepDoor(app, { endpoints, ra, clock, log });
      addRepositoryDoor(
        app,
        [
          ...issuers.map(({ name, certificate }) => ({
            name,
            certificate: certificate.raw,
            crl: () => ca.latestCrl(name),
          })),
          ...config.published.map((published) => {
            const [certificate] = readChain(published.certificate);
            return { name: published.name, certificate, crl: () => readPublishedCrl(published.crl) };
          }),
        ],
        clock,
      );
    },
  });
  return { port: server.address.port, close: () => server.close() };
}

function readPublishedCrl(path: string): { readonly crl: Uint8Array; readonly nextUpdate: Date } | undefined {
  const crl = readFileSync(path);
  return { crl, nextUpdate: parseCrl(crl).nextUpdate ?? new Date(0) };
}

interface Housekeeping {
  /** To be told at once when a worker has died: what it was signing is given up, so that its devices need not wait. */
  settleAfterDeath(): void;
  stop(): Promise<void>;
}

/** Keeps CRLs fresh and settles what dead workers left; one at a time. */
function startHousekeeping(
  ca: CertificateAuthority,
  config: ServerConfig,
  log: Log,
  clock: Clock,
): Housekeeping {
  let stopped = false;
  let running: Promise<void> = Promise.resolve();
  const settle = (moment: Parameters<CertificateAuthority['abandonDeadIntents']>[0]) => {
    running = running.then(async () => {
      if (stopped) return;
      try {
        await ca.abandonDeadIntents(moment);
        for (const issuer of config.issuers) await ca.publishCrl(issuer.name);
      } catch (cause) {
        log.error({ err: cause }, 'housekeeping failed; it is tried again');
      }
    });
  };
  const timer = setInterval(() => settle('while-running'), HOUSEKEEPING_MS);
  return {
    settleAfterDeath: () => {
      const diedAt = clock.now();
      setTimeout(() => settle({ diedAt }), SIGNING_MS_MAX).unref();
    },
    stop: async () => {
      stopped = true;
      clearInterval(timer);
      await running;
    },
  };
}

/** What a worker tells the primary, once: that it serves, or why it cannot. */
type WorkerReport = { readonly port: number } | { readonly code: ErrorCode; readonly message: string };

/**
 * Forks the workers and waits until every one of them serves; one that dies later is replaced.
 *
 * @throws PkiError with the reason of a worker that cannot serve; then none is left.
 */
async function startWorkers(
  count: number,
  log: Log,
  onDeath: () => void,
): Promise<{ readonly port: number; close(): Promise<void> }> {
  let state: 'starting' | 'serving' | 'closing' = 'starting';
  cluster.schedulingPolicy = cluster.SCHED_RR;
  const forkOne = () =>
    new Promise<number>((resolve, reject) => {
      const worker: Worker = cluster.fork();
      const { pid } = worker.process;
      worker.once('message', (report: WorkerReport) => {
        if ('port' in report) {
          log.info({ worker: worker.id, pid }, 'a worker serves');
          resolve(report.port);
        } else reject(new PkiError(report.code, report.message));
      });
      worker.once('exit', (code, signal) => {
        reject(new PkiError('internal', `a worker ended with ${signal ?? `code ${code}`} before it served`));
        if (state !== 'serving') return;
        log.error({ worker: worker.id, pid, code, signal }, 'a worker ended; another takes its place');
        onDeath();
        setTimeout(replace, WORKER_PAUSE_MS).unref();
      });
    });
  const replace = () => {
    if (state === 'serving')
      forkOne().catch((cause: unknown) => log.error({ err: cause }, 'no new worker; it is tried again'));
  };
  try {
    const [port = 0] = await Promise.all(Array.from({ length: count }, forkOne));
    state = 'serving';
    return {
      port,
      close: async () => {
        state = 'closing';
        await new Promise<void>((resolve) => cluster.disconnect(resolve));
      },
    };
  } catch (cause) {
    state = 'closing';
    // Those that are still starting would not hear a word; none of them has done anything yet.
    for (const worker of Object.values(cluster.workers ?? {})) worker?.process.kill('SIGKILL');
    throw cause;
  }
}

/** In a worker process: serves until the primary disconnects, or is gone. */
export async function serveAsWorker(config: Config): Promise<void> {
  // A terminal or a service manager signals the whole group; the primary alone decides, and lets running requests end.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {});
  let running: Running;
  try {
    running = await start(config);
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    const report: WorkerReport = { code: errorCodeOf(cause), message };
    process.send?.(report, () => process.exit(1));
    return;
  }
  const end = () => {
    running.close().then(
      () => process.exit(0),
      () => process.exit(1),
    );
  };
  // The primary may have closed meanwhile.
  if (!process.connected) return end();
  process.once('disconnect', end);
  const report: WorkerReport = { port: Number(running.parts[0]?.addresses[0]?.split(':').at(-1)) };
  process.send?.(report);
}

// --- the other parts ---------------------------------------------------------------------------------------------

async function startMdm(config: NonNullable<Config['mdm']>, log: Log, clock: Clock): Promise<Part> {
  const mdm = await openMdmOf(config, log, clock);
  return { name: 'MDM', addresses: [mdm.publicUrl], close: () => mdm.close() };
}

/**
 * Opens the stand-in for Intune without its doors, for one command of an administrator, and closes it again.
 *
 * @throws PkiError as `start` does, and whatever `work` throws.
 */
export async function withMdm<T>(
  config: NonNullable<Config['mdm']>,
  log: Log,
  clock: Clock,
  work: (mdm: Mdm) => Promise<T>,
): Promise<T> {
  const { Mdm, MdmStore } = await import('./mdm/index.ts');
  const store = MdmStore.open(config.databaseFile);
  try {
    return await work(new Mdm({ store, ...(await challengeParties(config)), clock, log }));
  } finally {
    store.close();
  }
}

async function challengeParties(config: NonNullable<Config['mdm']>): Promise<{
  readonly challengeSigner: ChallengeSigner;
  readonly challengeRecipient: ChallengeRecipient;
}> {
  const signer = await openIdentity(config.challengeSigner);
  const recipient = await openIdentity(config.challengeRecipient);
  return {
    challengeSigner: {
      certificate: signer.certificate,
      sign: (algorithm, data) => signer.key.sign(algorithm, data),
    },
    challengeRecipient: {
      certificate: recipient.certificate,
      decrypt: (keyTransport, encryptedKey) => recipient.key.decrypt(keyTransport, encryptedKey),
    },
  };
}

/** Opens the stand-in for Intune. */
export async function openMdmOf(config: NonNullable<Config['mdm']>, log: Log, clock: Clock) {
  const { openMdm } = await import('./mdm/index.ts');
  const tls =
    config.certificate === undefined || config.key === undefined
      ? undefined
      : tlsIdentity({ certificate: config.certificate, key: config.key });
  return await openMdm({
    databaseFile: config.databaseFile,
    ...config.listen,
    tls,
    publicUrl: config.publicUrl,
    tenant: config.tenant,
    applications: config.applications.map(({ appId, secret }) => ({
      appId,
      secret: secretFromReference(secret),
    })),
    ...(await challengeParties(config)),
    log,
    clock,
  });
}

async function startEdge(config: NonNullable<Config['edge']>, log: Log, clock: Clock): Promise<Part> {
  const { defaultAllowRules, openEdge } = await import('./tunnel/index.ts');
  const edge = await openEdge({
    ...(config.http === undefined ? {} : { http: config.http }),
    ...(config.https === undefined
      ? {}
      : { https: { ...config.https.listen, ...tlsIdentity(config.https) } }),
    tunnel: {
      ...config.tunnel.listen,
      ...tlsIdentity(config.tunnel),
      connectorCa: readText(config.tunnel.connectorCa),
      connectors: config.tunnel.connectors,
    },
    allow: config.allow ?? defaultAllowRules,
    log,
    clock,
  });
  const addresses: string[] = [];
  if (config.http !== undefined) addresses.push(`http://${config.http.host}:${edge.http?.port}`);
  if (config.https !== undefined) addresses.push(`https://${config.https.listen.host}:${edge.https?.port}`);
  addresses.push(`tunnel ${config.tunnel.listen.host}:${edge.tunnel.port}`);
  return { name: 'edge', addresses, close: () => edge.close() };
}

/** What a refusal of the edge is in the audit list. */
const edgeRefusalCodes: Readonly<Record<RefusalReason, ErrorCode>> = {
  path: 'path_denied',
  method: 'path_denied',
  'target-size': 'request_too_large',
  'body-size': 'request_too_large',
  malformed: 'http_malformed',
};

/** How long a start waits for the edge before it goes on without. */
const EDGE_WAIT_MS = 5_000;

async function startConnector(
  config: NonNullable<Config['connector']>,
  store: PkiStore | undefined,
  log: Log,
  clock: Clock,
): Promise<Part> {
  const { defaultAllowRules, openConnector } = await import('./tunnel/index.ts');
  const connector = openConnector({
    edge: {
      ...config.edge.address,
      servername: config.edge.servername,
      ca: readText(config.edge.ca),
    },
    identity: tlsIdentity(config),
    target: config.target,
    allow: config.allow ?? defaultAllowRules,
    // What the edge refused belongs in the audit log where there is one; elsewhere the connector logs it.
    ...(store === undefined
      ? {}
      : {
          onRefusals: async (refusals) => {
            for (const refusal of refusals) {
              await store.appendAudit({
                at: refusal.at,
                event: 'edge.refused',
                actor: 'edge',
                reference: refusal.reference,
                code: edgeRefusalCodes[refusal.reason],
                text: `${refusal.method} ${refusal.path} was not forwarded`,
                detail: { reason: refusal.reason, source: refusal.source, count: String(refusal.count) },
              });
            }
          },
        }),
    log,
    clock,
  });
  // An edge that is down now is dialled again and again; the server does not wait for it.
  await Promise.race([connector.ready, sleep(EDGE_WAIT_MS, undefined, { ref: false })]);
  if (connector.connected() === 0) log.warn({ edge: config.edge.address }, 'the edge does not answer yet');
  return {
    name: 'connector',
    addresses: [`to ${config.edge.address.host}:${config.edge.address.port}`],
    close: () => connector.close(),
  };
}

// --- files ---------------------------------------------------------------------------------------------------------

interface Identity {
  readonly certificate: Certificate;
  readonly key: PrivateKey;
}

async function openIdentity(
  config: { readonly certificate: string; readonly key: KeyConfig },
  signingThread: SigningThread = 'calling',
): Promise<Identity> {
  const certificate = parseCertificate(readChain(config.certificate)[0]);
  const key = await openKey(config.key, signingThread);
  if (!sameOctets(certificate.spki, key.spki)) {
    throw new PkiError('key_capability', `${config.key.file} is not the key of ${config.certificate}`);
  }
  return { certificate, key };
}

function assertRa(
  role: string,
  { certificate }: Identity,
  usage: 'digitalSignature' | 'keyEncipherment',
  issuers: readonly Issuer[],
  clock: Clock,
): void {
  const now = clock.now();
  if (certificate.notAfter <= now || certificate.notBefore > now) {
    throw new PkiError('key_capability', `the RA ${role} certificate is not valid now: issue a new one`);
  }
  // Clients verify the answer with the chain of GetCACert (RFC 8894 §4.2).
  if (!issuers.some((issuer) => verifyCertificateSignature(certificate, issuer.certificate.spki))) {
    throw new PkiError('key_capability', `the RA ${role} certificate is not of one of the issuing CAs`);
  }
  if (parsePublicKeyInfo(certificate.spki).type !== 'rsa') {
    throw new PkiError('key_capability', `the RA ${role} key must be RSA: every SCEP client expects it`);
  }
  if (keyUsageOf(certificate)?.includes(usage) !== true) {
    throw new PkiError('key_capability', `the RA ${role} certificate needs the key usage ${usage}`);
  }
}

async function openKey(config: KeyConfig, signingThread: SigningThread): Promise<PrivateKey> {
  return await openKeyFile(
    { path: config.file, passphrase: secretFromReference(config.passphrase) },
    signingThread,
  );
}

function readChain(path: string): [Uint8Array, ...Uint8Array[]] {
  return parsePem(readText(path), 'CERTIFICATE');
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new PkiError('config_invalid', `cannot read ${path}`, { cause });
  }
}

/** Certificate and key as Node's TLS takes them; the clear key stays in memory. */
function tlsIdentity(config: { readonly certificate: string; readonly key: KeyConfig }): {
  readonly cert: string;
  readonly key: string;
} {
  return {
    cert: readText(config.certificate),
    key: clearKeyForTls({ path: config.key.file, passphrase: secretFromReference(config.key.passphrase) }),
  };
}
