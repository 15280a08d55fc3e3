/** A thread that serves beside the main one, on the same port. Loaded by `node:worker_threads` alone. */
import { parentPort, workerData } from 'node:worker_threads';
import { errorCodeOf, PkiError } from '../errors.ts';
import { Metrics } from '../metrics.ts';
import { type LogLevel, openLog, systemClock } from '../telemetry.ts';
import { openAuthorities, type ServerConfig } from './authorities.ts';
import { serve } from './serving.ts';
import { COUNTS_MESSAGE, END_MESSAGE, type WorkerReport } from './workers.ts';

/** What the thread is started with. */
export interface ThreadData {
  readonly config: ServerConfig;
  readonly logLevel: LogLevel;
}

/** Serves until it is asked to end. */
async function serveAsThread(): Promise<void> {
  if (parentPort === null) throw new PkiError('internal', 'this module is a thread and no program');
  const port = parentPort;
  const { config, logLevel } = workerData as ThreadData;
  const log = openLog(logLevel, 'server');
  const report = (what: WorkerReport) => port.postMessage(what);
  try {
    const metrics = new Metrics();
    const authorities = await openAuthorities(config, log, systemClock, metrics);
    const serving = await serve(config, authorities, 'shared', log, systemClock, metrics);
    const end = async () => {
      try {
        await serving.close();
        await authorities.close();
      } finally {
        port.close();
      }
    };
    port.on('message', (message) => {
      if (message === COUNTS_MESSAGE) report({ counts: metrics.counts() });
      if (message === END_MESSAGE) void end();
    });
    report({ port: serving.port });
  } catch (cause) {
    report({ code: errorCodeOf(cause), message: cause instanceof Error ? cause.message : String(cause) });
    port.close();
  }
}

await serveAsThread();
