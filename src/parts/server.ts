/** The SCEP server as a part: doors, RA, CA and store, on the threads and processes that the configuration gives it. */
import cluster from 'node:cluster';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { type Counts, Metrics } from '../metrics.ts';
import { lockDataFolder, type PkiStore } from '../store/index.ts';
import { type Clock, type Log, type LogLevel, systemClock } from '../telemetry.ts';
import { openAdmin } from './admin.ts';
import { signAuditLog } from './audit-signer.ts';
import { type Authorities, openAuthorities, type ServerConfig } from './authorities.ts';
import { openCorrespondence } from './correspondence.ts';
import { viewEndpoints } from './endpoints.ts';
import { type ServerHealth, serverHealth } from './health.ts';
import { type Housekeeping, startHousekeeping } from './housekeeping.ts';
import { metricsOf } from './metrics.ts';
import { openOcsp } from './ocsp.ts';
import type { Part } from './part.ts';
import { type RunningPfx, startPfx } from './pfx.ts';
import { startPublishing } from './publishing.ts';
import { openRaUpkeep, raPlacesOf } from './ra-identities.ts';
import { type SelfTests, startSelfTests } from './self-test.ts';
import { serve } from './serving.ts';
import type { ThreadData } from './thread.ts';
import { launchProcess, launchThread, startWorkers } from './workers.ts';

/** What takes requests, wherever it runs. */
interface Serving {
  readonly port: number;
  /** What was counted in other threads and processes. */
  counts(): Promise<readonly Counts[]>;
  close(): Promise<void>;
}

/** The SCEP server at work. */
export interface ServerPart extends Part {
  readonly store: PkiStore;
  /** How it is now; never throws. In the primary process alone there is all of it. */
  health(): Promise<ServerHealth>;
  /** What was counted on this thread. */
  counts(): Counts;
}

/**
 * Starts the SCEP server. In a worker process it serves; in the primary it looks after the store as well.
 *
 * @throws PkiError of kind `misconfigured` if it cannot do its work; then nothing keeps running.
 */
export async function startServer(config: ServerConfig, log: Log, clock: Clock): Promise<ServerPart> {
  // A standby writes nothing, not even a lock: its data folder may be one that cannot be written.
  const lock =
    cluster.isPrimary && !config.standby ? lockDataFolder(join(config.dataFolder, 'server.lock')) : undefined;
  const metrics = new Metrics();
  let authorities: Authorities | undefined;
  let housekeeping: Housekeeping | undefined;
  let admin: Awaited<ReturnType<typeof openAdmin>>;
  let selfTests: SelfTests | undefined;
  let pfx: RunningPfx | undefined;
  let serving: Serving | undefined;
  try {
    authorities = await openAuthorities(config, log, clock, metrics);
    const opened = authorities;
    const { store, ca, ra, issuers } = opened;
    if (config.standby) log.info('a standby: it shows what is there, and issues nothing');
    const ocsp = cluster.isPrimary ? await openOcsp(config, opened, log, clock) : undefined;
    // Whatever a server that died left half done is settled before the first request.
    if (cluster.isPrimary && !config.standby) {
      const raUpkeep = openRaUpkeep(config, opened, log, clock);
      housekeeping = await startHousekeeping({
        ca,
        ra,
        store,
        sharing: config.database === undefined ? 'alone' : 'shared',
        renewOwn: async () => {
          await ocsp?.renewSigners();
          await raUpkeep.renewIfDue();
        },
        publish: (moment) => startPublishing(config, opened, moment, log, clock),
        signAudit: () => signAuditLog(store, issuers, clock.now()),
        correspond: await openCorrespondence(config, opened, log, clock),
        log,
        clock,
      });
    }
    const endpoints = () => viewEndpoints(config, clock.now());
    const health = () => serverHealth({ ca, store, ocsp, housekeeping, endpoints, selfTests, clock });
    const elsewhere = async () => (await serving?.counts()) ?? [];
    const views = { health, metricsText: metricsOf({ metrics, elsewhere, health }) };
    if (cluster.isPrimary) admin = await openAdmin(config, opened, views, log, clock);
    const onDeath = housekeeping?.settleAfterDeath ?? (() => {});
    const serves =
      config.workers > 1 && cluster.isPrimary
        ? await startWorkers({ count: config.workers, launch: launchProcess, log, onDeath })
        : await serveOnThreads(config, authorities, onDeath, log, clock, metrics);
    serving = serves;
    if (config.pfx !== undefined && housekeeping !== undefined)
      pfx = await startPfx(config.pfx, opened, log, metrics);
    const keeper = housekeeping;
    if (config.selfTest !== undefined && keeper !== undefined)
      selfTests = startSelfTests({
        config,
        means: opened,
        port: serves.port,
        role: () => keeper.role(),
        log,
        clock,
      });
    return {
      name: 'SCEP server',
      addresses: [
        `http://${config.listen.host}:${serves.port}`,
        ...(admin === undefined ? [] : [`admin API ${admin.url}`]),
      ],
      store,
      health,
      counts: () => metrics.counts(),
      close: async () => {
        await pfx?.stop();
        await selfTests?.stop();
        await admin?.close();
        await housekeeping?.stop();
        await serves.close();
        await opened.close();
        lock?.release();
      },
    };
  } catch (cause) {
    await pfx?.stop();
    await admin?.close();
    await housekeeping?.stop();
    await authorities?.close();
    lock?.release();
    throw cause;
  }
}

/** Serves on this thread and on as many others as there are cores for. */
async function serveOnThreads(
  config: ServerConfig,
  authorities: Authorities,
  onDeath: () => void,
  log: Log,
  clock: Clock,
  metrics: Metrics,
): Promise<Serving> {
  const others = threadsOf(config, clock) - 1;
  if (others === 0) {
    const alone = await serve(config, authorities, 'alone', log, clock, metrics);
    return { ...alone, counts: async () => [] };
  }
  const here = await serve(config, authorities, 'first', log, clock, metrics);
  const data: ThreadData = {
    config: { ...config, listen: { ...config.listen, port: here.port } },
    logLevel: log.level as LogLevel,
  };
  // The published package has its modules compiled.
  const module = new URL(import.meta.url.endsWith('.ts') ? './thread.ts' : './thread.js', import.meta.url);
  try {
    const elsewhere = await startWorkers({
      count: others,
      launch: () => launchThread(module, data),
      log,
      onDeath,
    });
    return {
      port: here.port,
      counts: () => elsewhere.counts(),
      close: async () => {
        await Promise.all([here.close(), elsewhere.close()]);
      },
    };
  } catch (cause) {
    await here.close();
    throw cause;
  }
}

/**
 * A worker process has one thread, since there are others of it; Linux alone spreads one port over several listeners. A
 * PKCS #11 module is the process's: a thread that starts it again would end the sessions of the others.
 */
function threadsOf(config: ServerConfig, clock: Clock): number {
  if (config.workers > 1 || process.platform !== 'linux') return 1;
  const { issuers, endpoints, ocsp, ra } = config;
  const ofRa = endpoints.flatMap((endpoint) => Object.values(raPlacesOf(config, endpoint) ?? {}));
  const ofApproval = ra.approvalSigning === undefined ? [] : [ra.approvalSigning];
  const keys = [...issuers, ...ofRa, ...ofApproval, ...(ocsp?.signers ?? [])].map(({ key }) => key);
  if (keys.some((key) => 'pkcs11' in key)) return 1;
  // A clock of the caller's own cannot be taken along into a thread.
  return clock === systemClock ? (config.threads ?? availableParallelism()) : 1;
}
