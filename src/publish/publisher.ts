/** Keeps every target up to date: publishes what changes, tries again until it is there, and raises an alarm in time. */
import { PkiError } from '../errors.ts';
import type { Clock, Log } from '../telemetry.ts';
import { cacheControlOf, type PublishedObject } from './objects.ts';
import { publishAll, sha256Of, type Target } from './target.ts';

/** What a publisher takes. */
export interface PublisherOptions {
  readonly targets: readonly Target[];
  /** Everything that is to be published, as it is now, the most urgent first; asked before each attempt. */
  readonly objects: () => Promise<readonly PublishedObject[]>;
  /** How long a target may be behind before the alarm is raised. */
  readonly alarmAfterMs: number;
  readonly log: Log;
  readonly clock: Clock;
  readonly pace?: Partial<Pace>;
}

/** How often things are done. */
export interface Pace {
  /** Between looks at whether anything changed. */
  readonly passMs: number;
  /** After this long a target is asked again whether it still holds what it was given. */
  readonly recheckMs: number;
  /** After the first failure; each further one doubles it. */
  readonly retryMs: number;
  readonly retryMsMax: number;
  /** Bound of one attempt with all its objects. */
  readonly attemptMs: number;
}

const defaultPace: Pace = {
  passMs: 60_000,
  recheckMs: 3_600_000,
  retryMs: 1000,
  retryMsMax: 300_000,
  attemptMs: 120_000,
};

/** How it stands with one target. */
export interface TargetState {
  readonly target: string;
  readonly place: string;
  /** `unknown`: not tried yet. `behind`: the last attempt failed in part or whole; it is tried again. */
  readonly status: 'unknown' | 'current' | 'behind';
  /** Since when. */
  readonly since: Date;
  /** What it is known to hold, by name. */
  readonly holds: Readonly<Record<string, { readonly number?: bigint; readonly at: Date }>>;
  /** When the first of these ends, so that relying parties refuse: nothing is known if absent. */
  readonly endsAt?: Date;
  /** The last failure, also when it has passed. */
  readonly lastError?: { readonly at: Date; readonly text: string };
  /** Whether the alarm was raised and the target is still behind. */
  readonly alarm: boolean;
}

/** What a loop knows of an object that its target holds. */
interface Held {
  readonly sha256: string;
  readonly cacheControl: string;
  readonly number?: bigint;
  readonly nextUpdate?: Date;
  readonly at: Date;
}

/**
 * Publishes to every target, each in a loop of its own, so that one that is slow or down holds up no other. One publisher
 * for a cluster: two would not undo each other's work, but do it twice.
 */
export class Publisher {
  readonly #loops: readonly TargetLoop[];

  /** Begins at once. */
  constructor(options: PublisherOptions) {
    this.#loops = options.targets.map((target) => new TargetLoop(target, options));
  }

  /** Something changed: tries every target now, and does not wait for it. */
  wake(): void {
    for (const loop of this.#loops) loop.wake();
  }

  /** How it stands with each target, in the order of the configuration. */
  state(): TargetState[] {
    return this.#loops.map((loop) => loop.state());
  }

  /** Ends the loops; what they are writing is given up. */
  async close(): Promise<void> {
    await Promise.all(this.#loops.map((loop) => loop.close()));
  }
}

class TargetLoop {
  readonly #target: Target;
  readonly #options: PublisherOptions;
  readonly #pace: Pace;
  readonly #ending = new AbortController();
  readonly #running: Promise<void>;
  readonly #held = new Map<string, Held>();
  #status: TargetState['status'] = 'unknown';
  #since: Date;
  #lastError: TargetState['lastError'];
  #alarmedAt: Date | undefined;
  #wakes = 0;
  #endWait: () => void = () => {};

  constructor(target: Target, options: PublisherOptions) {
    this.#target = target;
    this.#options = options;
    this.#pace = { ...defaultPace, ...options.pace };
    this.#since = options.clock.now();
    this.#running = this.#run();
  }

  wake(): void {
    this.#wakes += 1;
    this.#endWait();
  }

  state(): TargetState {
    const endsAt = this.#endsAt();
    return {
      target: this.#target.name,
      place: this.#target.place,
      status: this.#status,
      since: this.#since,
      holds: Object.fromEntries(
        [...this.#held].map(([name, { number, at }]) => [
          name,
          { at, ...(number === undefined ? {} : { number }) },
        ]),
      ),
      ...(endsAt === undefined ? {} : { endsAt }),
      ...(this.#lastError === undefined ? {} : { lastError: this.#lastError }),
      alarm: this.#alarmedAt !== undefined,
    };
  }

  async close(): Promise<void> {
    this.#ending.abort();
    this.#endWait();
    await this.#running;
  }

  async #run(): Promise<void> {
    let failures = 0;
    while (!this.#ending.signal.aborted) {
      const wakes = this.#wakes;
      const fault = await this.#attempt();
      if (this.#ending.signal.aborted) return;
      failures = fault === undefined ? 0 : failures + 1;
      this.#note(fault);
      if (wakes === this.#wakes) await this.#wait(this.#pauseMs(failures));
    }
  }

  /** One attempt to bring everything there. Answers what is wrong, if anything is. */
  async #attempt(): Promise<string | undefined> {
    const { clock, log, objects } = this.#options;
    const signal = AbortSignal.any([this.#ending.signal, AbortSignal.timeout(this.#pace.attemptMs)]);
    try {
      const now = clock.now();
      const wanted = new Map(
        (await objects()).map((object) => [object, { ...wantedOf(object, now), at: now }] as const),
      );
      const due = [...wanted.keys()].filter((object) => this.#isDue(object, wanted.get(object), now));
      const faults: string[] = [];
      for (const publication of await publishAll(this.#target, due, now, signal)) {
        const [object, held] = [...wanted].find(([{ name }]) => name === publication.object) ?? [];
        if (publication.outcome === 'failed') faults.push(publication.text ?? '');
        else if (object !== undefined && held !== undefined) {
          this.#held.set(object.name, held);
          if (publication.outcome === 'published') {
            const number = object.number === undefined ? {} : { number: String(object.number) };
            log.info({ target: this.#target.name, object: object.name, ...number }, 'published');
          }
        }
      }
      return faults.length === 0 ? undefined : faults.join('; ');
    } catch (cause) {
      // What to publish cannot be said now (the store), or an invariant broke; the loop must outlive both.
      if (!(cause instanceof PkiError)) log.error({ err: cause }, 'publishing failed');
      return cause instanceof Error ? cause.message : String(cause);
    }
  }

  #isDue(object: PublishedObject, wanted: Held | undefined, now: Date): boolean {
    const held = this.#held.get(object.name);
    return (
      held === undefined ||
      held.sha256 !== wanted?.sha256 ||
      held.cacheControl !== wanted.cacheControl ||
      now.getTime() - held.at.getTime() >= this.#pace.recheckMs
    );
  }

  #note(fault: string | undefined): void {
    const { clock, log } = this.#options;
    const now = clock.now();
    const names = { target: this.#target.name, place: this.#target.place };
    if (fault === undefined) {
      if (this.#status === 'behind')
        log.info({ ...names, behindSince: this.#since }, 'the publication target is up to date again');
      if (this.#status !== 'current') this.#since = now;
      this.#status = 'current';
      this.#alarmedAt = undefined;
      return;
    }
    if (this.#status !== 'behind') {
      log.warn({ ...names, fault }, 'publishing failed; it is tried again');
      this.#status = 'behind';
      this.#since = now;
    }
    this.#lastError = { at: now, text: fault };
    if (now.getTime() < this.#alarmAt()) return;
    this.#alarmedAt = now;
    const endsAt = this.#endsAt();
    log.error(
      {
        ...names,
        fault,
        behindSince: this.#since,
        ...(endsAt === undefined ? {} : { endsAt }),
        alarm: 'publish',
      },
      'ALARM: a publication target is behind; when the CRL that it serves ends, certificates are refused',
    );
  }

  /** When the alarm is due, in milliseconds: as configured, but never later than half-way to the end of what is served. */
  #alarmAt(): number {
    const { alarmAfterMs } = this.#options;
    if (this.#alarmedAt !== undefined) return this.#alarmedAt.getTime() + alarmAfterMs;
    const since = this.#since.getTime();
    const leftMs = (this.#endsAt()?.getTime() ?? Number.POSITIVE_INFINITY) - since;
    return since + Math.min(alarmAfterMs, Math.max(0, leftMs / 2));
  }

  #endsAt(): Date | undefined {
    const ends = [...this.#held.values()].flatMap(({ nextUpdate }) => nextUpdate?.getTime() ?? []);
    return ends.length === 0 ? undefined : new Date(Math.min(...ends));
  }

  #pauseMs(failures: number): number {
    if (failures === 0) return this.#pace.passMs;
    const { retryMs, retryMsMax } = this.#pace;
    // Spread, so that targets on one service do not come back all at once.
    const backoffMs = Math.min(retryMsMax, retryMs * 2 ** (failures - 1)) * (0.75 + Math.random() / 2);
    const toAlarmMs = this.#alarmAt() - this.#options.clock.now().getTime();
    return Math.min(backoffMs, Math.max(retryMs, toAlarmMs));
  }

  #wait(pauseMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, pauseMs);
      this.#endWait = () => {
        clearTimeout(timer);
        resolve();
      };
      if (this.#ending.signal.aborted) this.#endWait();
    });
  }
}

function wantedOf(object: PublishedObject, now: Date): Omit<Held, 'at'> {
  return {
    sha256: sha256Of(object.bytes),
    cacheControl: cacheControlOf(object, now),
    ...(object.number === undefined ? {} : { number: object.number }),
    ...(object.nextUpdate === undefined ? {} : { nextUpdate: object.nextUpdate }),
  };
}
