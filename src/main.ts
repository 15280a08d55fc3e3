/**
 * The composition root: from a configuration to parts at work.
 */
import cluster from 'node:cluster';
import type { Config } from './config.ts';
import { errorCodeOf } from './errors.ts';
import { assertRuntimeFit } from './keys/index.ts';
import {
  COUNTS_MESSAGE,
  type Part,
  type ServerPart,
  startConnector,
  startEdge,
  startMdm,
  startServer,
  type WorkerReport,
} from './parts/index.ts';
import type { PkiStore } from './store/index.ts';
import { type Clock, openLog, systemClock } from './telemetry.ts';

/** All parts of a configuration at work. */
export interface Running {
  readonly parts: readonly Part[];
  /** The SCEP server, which is among them; absent if the configuration has none. */
  readonly server?: ServerPart | undefined;
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
    let server: ServerPart | undefined;
    let store: PkiStore | undefined;
    if (config.server !== undefined) {
      server = await startServer(config.server, openLog(config.log, 'server'), clock);
      // A standby takes no audit entries: its connector logs what the edge refused.
      store = config.server.standby ? undefined : server.store;
      parts.push(server);
    }
    if (cluster.isPrimary) {
      if (config.edge !== undefined)
        parts.push(await startEdge(config.edge, openLog(config.log, 'edge'), clock));
      if (config.connector !== undefined) {
        parts.push(await startConnector(config.connector, store, openLog(config.log, 'connector'), clock));
      }
    }
    return { parts, server, close };
  } catch (cause) {
    await close();
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
  process.on('message', (message) => {
    const counts = running.server?.counts();
    if (message !== COUNTS_MESSAGE || counts === undefined) return;
    const report: WorkerReport = { counts };
    // The primary may be gone before it hears.
    process.send?.(report, () => {});
  });
  const report: WorkerReport = { port: Number(running.parts[0]?.addresses[0]?.split(':').at(-1)) };
  process.send?.(report);
}
