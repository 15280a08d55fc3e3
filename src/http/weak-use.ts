/** Who still uses weak algorithms: counted for each endpoint and day, so that an administrator knows what he can refuse. */
import type { Metrics } from '../metrics.ts';
import type { WeakAlgorithm } from '../scep/index.ts';
import type { Clock, Log } from '../telemetry.ts';

/**
 * Counts messages that used an algorithm which an endpoint may refuse. The first one of a day (UTC) is logged, with the
 * number of the day before that had any; no further one is. Each thread counts for itself.
 */
export class WeakUse {
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #metrics: Metrics;
  readonly #counts = new Map<string, { day: number; messages: number }>();

  constructor(log: Log, clock: Clock, metrics: Metrics) {
    this.#log = log;
    this.#clock = clock;
    this.#metrics = metrics;
  }

  /** Counts one message. Never throws. */
  note(endpoint: string, used: readonly WeakAlgorithm[]): void {
    for (const algorithm of used) {
      this.#metrics.count('leafgate_weak_algorithm_messages_total', { endpoint, algorithm });
      const key = `${endpoint} ${algorithm}`;
      const day = Math.floor(this.#clock.now().getTime() / DAY_MS);
      const count = this.#counts.get(key);
      if (count?.day === day) {
        count.messages += 1;
        continue;
      }
      this.#counts.set(key, { day, messages: 1 });
      const before = count === undefined ? {} : { messagesOfLastDay: count.messages };
      // Nothing is wrong: nearly every client uses PKCS #1 v1.5, and each endpoint takes what its configuration permits.
      this.#log.info({ endpoint, algorithm, ...before }, 'a client uses a weak algorithm');
    }
  }
}

const DAY_MS = 24 * 60 * 60 * 1000;
