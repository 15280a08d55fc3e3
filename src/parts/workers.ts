/** Several workers that serve the same port: processes, or threads of this process. */
import cluster from 'node:cluster';
import { Worker } from 'node:worker_threads';
import { type ErrorCode, PkiError } from '../errors.ts';
import { type Counts, sumOf } from '../metrics.ts';
import type { Log } from '../telemetry.ts';

/** A worker that dies at once, again and again, must not take the machine with it. */
const WORKER_PAUSE_MS = 1_000;
/** How long a worker is waited for that is asked what it has counted: far below the patience of monitoring. */
const COUNTS_MS_MAX = 2_000;

/** What a worker tells: once, that it serves or why it cannot; then, whenever it is asked, what it has counted so far. */
export type WorkerReport =
  | { readonly port: number }
  | { readonly code: ErrorCode; readonly message: string }
  | { readonly counts: Counts };

/** A worker as whoever launched it sees it. */
export interface LaunchedWorker {
  /** For the log. */
  readonly identity: Readonly<Record<string, unknown>>;
  onReport(listener: (report: WorkerReport) => void): void;
  /** Called once, with the reason in a few words. */
  onEnd(listener: (reason: string) => void): void;
  /** Asks what it has counted; it reports that. */
  askCounts(): void;
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

/** Workers at work. */
export interface RunningWorkers {
  readonly port: number;
  /**
   * What all workers have counted since the start, with what is known of those that died: sums never shrink. A worker that
   * does not answer soon is shown as it was the last time.
   */
  counts(): Promise<readonly Counts[]>;
  close(): Promise<void>;
}

/**
 * Launches the workers and waits until every one of them serves; one that dies later is replaced.
 *
 * @throws PkiError with the reason of a worker that cannot serve; then none is left.
 */
export async function startWorkers(options: WorkersOptions): Promise<RunningWorkers> {
  const { log } = options;
  let state: 'starting' | 'serving' | 'closing' = 'starting';
  const living = new Map<LaunchedWorker, Promise<void>>();
  const counted = new WorkerCounts();
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
        } else if ('counts' in report) counted.note(worker, report.counts);
        else reject(new PkiError(report.code, report.message));
      });
      worker.onEnd((reason) => {
        living.delete(worker);
        counted.bury(worker);
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
      counts: () => counted.all(living.keys()),
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

/** What workers have counted, as far as it is known here. */
class WorkerCounts {
  /** Of those that live. */
  readonly #latest = new Map<LaunchedWorker, Counts>();
  /** Of those that do not any more, added up. */
  #ofTheDead: Counts = {};
  /** Who waits for a worker's answer. */
  readonly #waiting = new Map<LaunchedWorker, Set<() => void>>();

  note(worker: LaunchedWorker, counts: Counts): void {
    this.#latest.set(worker, counts);
    this.#wake(worker);
  }

  bury(worker: LaunchedWorker): void {
    this.#ofTheDead = sumOf(this.#ofTheDead, this.#latest.get(worker) ?? {});
    this.#latest.delete(worker);
    this.#wake(worker);
  }

  /** Asks the workers, and waits until each has answered, has ended, or has had its time. */
  async all(workers: Iterable<LaunchedWorker>): Promise<readonly Counts[]> {
    await Promise.all(Array.from(workers, (worker) => this.#ask(worker)));
    return [this.#ofTheDead, ...this.#latest.values()];
  }

  async #ask(worker: LaunchedWorker): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiting = this.#waiting.get(worker) ?? new Set();
    this.#waiting.set(worker, waiting.add(resolve));
    const timer = setTimeout(resolve, COUNTS_MS_MAX);
    worker.askCounts();
    await promise;
    clearTimeout(timer);
    waiting.delete(resolve);
  }

  #wake(worker: LaunchedWorker): void {
    for (const resolve of this.#waiting.get(worker) ?? []) resolve();
    this.#waiting.delete(worker);
  }
}

/** Launches this program once more as a process that shares the primary's port. */
export function launchProcess(): LaunchedWorker {
  cluster.schedulingPolicy = cluster.SCHED_RR;
  const worker = cluster.fork();
  return {
    identity: { worker: worker.id, pid: worker.process.pid },
    onReport: (listener) => worker.on('message', listener),
    onEnd: (listener) => worker.once('exit', (code, signal) => listener(signal ?? `code ${code}`)),
    // One that is about to end is not there to hear it.
    askCounts: () => worker.send(COUNTS_MESSAGE, () => {}),
    end: () => worker.disconnect(),
    kill: () => worker.process.kill('SIGKILL'),
  };
}

/** What a worker is asked; it asks nothing. */
export const COUNTS_MESSAGE = 'counts';
/** What a thread is told at its end. */
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
    onReport: (listener) => thread.on('message', listener),
    onEnd: (listener) => thread.once('exit', (code) => listener(failure ?? `code ${code}`)),
    askCounts: () => thread.postMessage(COUNTS_MESSAGE),
    end: () => thread.postMessage(END_MESSAGE),
    kill: () => void thread.terminate(),
  };
}
