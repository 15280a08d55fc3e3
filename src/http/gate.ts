/** The gate before the SCEP door: turns away what is one too many, before anything is spent on it. */
import { randomInt } from 'node:crypto';
import type { ErrorCode } from '../errors.ts';
import type { Log } from '../telemetry.ts';
import { type Admission, type Connection, type EndpointLimits, isFailure, RequestLimits } from './limits.ts';

/** A request that is not let in. */
export interface TurnedAway {
  readonly code: Extract<ErrorCode, 'rate_limited' | 'overloaded'>;
  readonly retryAfterSeconds: number;
}

/** Those who are sent away together must not come back together. */
const OVERLOADED_RETRY_AFTER_SECONDS = [5, 20] as const;
/** A flood must not fill the log: what is turned away is counted and told once in so long. */
const LOG_INTERVAL_MS = 10_000;

/** The gate of one endpoint. A source is a `sourceKey`. */
export class Gate {
  readonly #endpoint: string;
  readonly #limits: RequestLimits | undefined;
  readonly #admission: Admission;
  readonly #log: Log;
  readonly #turnedAway = { rate_limited: 0, overloaded: 0 };
  #loggedAtMs = Number.NEGATIVE_INFINITY;

  /** @param admission one for all endpoints that this thread serves */
  constructor(endpoint: string, limits: EndpointLimits | undefined, admission: Admission, log: Log) {
    this.#endpoint = endpoint;
    this.#limits = limits && new RequestLimits(limits);
    this.#admission = admission;
    this.#log = log;
  }

  /** Counts a request by its head; answers why it may not come in, if so. */
  check(source: string): TurnedAway | undefined {
    const waitMs = this.#limits?.admit(source) ?? 0;
    if (waitMs > 0) return this.#turnAway('rate_limited', source, Math.ceil(waitMs / 1000));
    return this.#admission.refuses(source) ? this.#overloaded(source) : undefined;
  }

  /** Does the work when its turn has come, and counts its failure; or answers that its turn did not come in time. */
  async pass<Answer extends { readonly refused?: ErrorCode }>(
    source: string,
    connection: Connection,
    work: () => Promise<Answer>,
  ): Promise<Answer | TurnedAway> {
    const entering = this.#admission.enter(source, connection);
    const entry = typeof entering === 'string' ? entering : await entering;
    if (entry !== 'enter') return this.#overloaded(source);
    try {
      const answer = await work();
      if (answer.refused !== undefined && isFailure(answer.refused)) this.#limits?.recordFailure(source);
      return answer;
    } finally {
      this.#admission.leave();
    }
  }

  /** Counts a request for whose body there is no memory. */
  noMemory(source: string): TurnedAway {
    return this.#overloaded(source);
  }

  #overloaded(source: string): TurnedAway {
    return this.#turnAway('overloaded', source, randomInt(...OVERLOADED_RETRY_AFTER_SECONDS));
  }

  #turnAway(code: TurnedAway['code'], source: string, retryAfterSeconds: number): TurnedAway {
    this.#turnedAway[code] += 1;
    const nowMs = performance.now();
    if (nowMs - this.#loggedAtMs >= LOG_INTERVAL_MS) {
      this.#loggedAtMs = nowMs;
      this.#log.warn(
        { endpoint: this.#endpoint, ...this.#turnedAway, source, code },
        'requests are turned away; the last one came from this source',
      );
    }
    return { code, retryAfterSeconds };
  }
}
