/** Several workers that serve the same port: processes, or threads of this process. */
import cluster from 'node:cluster';
import { Worker } from 'node:worker_threads';
import { type ErrorCode, PkiError } from '../errors.ts';
import type { Log } from '../telemetry.ts';

/** A worker that dies at once, again and again, must not take the machine with it. */
const WORKER_PAUSE_MS = 1_000;

/** What a worker tells, once: that it serves, or why it cannot. */
export type WorkerReport = { readonly port: number } | { readonly code: ErrorCode; readonly message: string };

/** A worker as whoever launched it sees it. */
export interface LaunchedWorker {
  /** For the log. */
  readonly identity: Readonly<Record<string, unknown>>;
  onReport(listener: (report: WorkerReport) => void): void;
  /** Called once, with the reason in a few words. */
  onEnd(listener: (reason: string) => void): void;
  /** Asks it to let running requests end, and then to end itself. */
  end(): void;
  kill(): void;
}

/** What the workers are started with. */
export interface WorkersOptions {
  readonly count: number;
  readonly launch: () => LaunchedWorker;
  readonly log: Log;
  /** Called when a worker died that nobody had asked to. */
  readonly onDeath: () => void;
}

/**
 * Launches the workers and waits until every one of them serves; one that dies later is replaced.
 *
 * @throws PkiError with the reason of a worker that cannot serve; then none is left.
 */
export async function startWorkers(
  options: WorkersOptions,
): Promise<{ readonly port: number; close(): Promise<void> }> {
  const { log } = options;
  let state: 'starting' | 'serving' | 'closing' = 'starting';
  const living = new Map<LaunchedWorker, Promise<void>>();
  const startOne = () =>
    new Promise<number>((resolve, reject) => {
      const worker = options.launch();
      const { identity } = worker;
      const ended = Promise.withResolvers<void>();
      living.set(worker, ended.promise);
      worker.onReport((report) => {
        if ('port' in report) {
          log.info(identity, 'a worker serves');
          resolve(report.port);
        } else reject(new PkiError(report.code, report.message));
      });
      worker.onEnd((reason) => {
        living.delete(worker);
        ended.resolve();
        reject(new PkiError('internal', `a worker ended with ${reason} before it served`));
        if (state !== 'serving') return;
        log.error({ ...identity, reason }, 'a worker ended; another takes its place');
        options.onDeath();
        setTimeout(replace, WORKER_PAUSE_MS).unref();
      });
    });
  const replace = () => {
    if (state === 'serving')
      startOne().catch((cause: unknown) => log.error({ err: cause }, 'no new worker; it is tried again'));
  };
  try {
    const [port = 0] = await Promise.all(Array.from({ length: options.count }, startOne));
    state = 'serving';
    return {
      port,
      close: async () => {
        state = 'closing';
        for (const worker of living.keys()) worker.end();
        await Promise.all(living.values());
      },
    };
  } catch (cause) {
    state = 'closing';
    // Those that are still starting would not hear a word; none of them has done anything yet.
    for (const worker of living.keys()) worker.kill();
    throw cause;
  }
}

/** Launches this program once more as a process that shares the primary's port. */
export function launchProcess(): LaunchedWorker {
  cluster.schedulingPolicy = cluster.SCHED_RR;
  const worker = cluster.fork();
  return {
    identity: { worker: worker.id, pid: worker.process.pid },
    onReport: (listener) => worker.once('message', listener),
    onEnd: (listener) => worker.once('exit', (code, signal) => listener(signal ?? `code ${code}`)),
    end: () => worker.disconnect(),
    kill: () => worker.process.kill('SIGKILL'),
  };
}

/** What a thread is asked; it asks nothing. */
export const END_MESSAGE = 'end';

/** Launches a module as a thread of this process; `data` is what it finds as `workerData`. */
export function launchThread(module: URL, data: unknown): LaunchedWorker {
  const thread = new Worker(module, { workerData: data });
  let failure: string | undefined;
  thread.on('error', (cause) => {
    failure = cause instanceof Error ? cause.message : String(cause);
  });
  return {
    identity: { thread: thread.threadId },
    onReport: (listener) => thread.once('message', listener),
    onEnd: (listener) => thread.once('exit', (code) => listener(failure ?? `code ${code}`)),
    end: () => thread.postMessage(END_MESSAGE),
    kill: () => void thread.terminate(),
  };
}
