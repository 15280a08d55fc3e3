/** Waiting and trying again: exponential, jittered, bounded in number and in time. */
import { setTimeout as sleep } from 'node:timers/promises';

/** How often and how long a device tries. */
export interface RetryPolicy {
  /** Attempts after the first one. Windows' default for SCEP is 3. */
  readonly retryCount: number;
  /** The first pause; each further one is twice as long. */
  readonly firstDelayMs: number;
  /** No pause of our own choice is longer. */
  readonly delayMsMax: number;
  /** From the first attempt on; no attempt begins later. What is left undone is taken up at the next check-in. */
  readonly durationMsMax: number;
}

/**
 * Five attempts within two minutes carry a device over a restart of a server. Windows waits five minutes between its own;
 * here the check-in is what brings a device back after a longer outage.
 */
export const defaultRetryPolicy: RetryPolicy = {
  retryCount: 5,
  firstDelayMs: 1000,
  delayMsMax: 30_000,
  durationMsMax: 120_000,
};

/** What one attempt came to. */
export type Attempt<T, Again> =
  | { readonly attempt: 'done'; readonly value: T }
  /** It may be made again, after `retryAfterMs` at the earliest if the server named a time. */
  | { readonly attempt: 'again'; readonly reason: Again; readonly retryAfterMs?: number | undefined };

/** What all attempts came to. */
export type Attempts<T, Again> =
  | { readonly attempts: 'done'; readonly value: T; readonly count: number }
  /** The policy is used up; `retryAfterMs` if the server named a time. */
  | {
      readonly attempts: 'exhausted';
      readonly reason: Again;
      readonly count: number;
      readonly retryAfterMs?: number | undefined;
    };

/** A pause that is about to be made. */
export interface Pause<Again> {
  readonly delayMs: number;
  readonly reason: Again;
  /** Attempts made so far. */
  readonly count: number;
}

/** One round of attempts. */
export interface Round {
  /** From 1 on. */
  readonly count: number;
  /** When no further attempt may begin, as `performance.now()` counts. */
  readonly deadline: number;
}

/**
 * Makes attempts until one is done or the policy is used up.
 *
 * A time that the server names (Retry-After) is kept to: the pause is at least that long, and if that is later than the
 * policy allows, no further attempt is made now.
 *
 * @throws what an attempt throws; the signal's reason once it is aborted.
 */
export async function withRetries<T, Again>(
  policy: RetryPolicy,
  attempt: (round: Round) => Promise<Attempt<T, Again>>,
  options: {
    readonly signal?: AbortSignal | undefined;
    readonly onPause?: (pause: Pause<Again>) => Promise<void>;
  } = {},
): Promise<Attempts<T, Again>> {
  const deadline = performance.now() + policy.durationMsMax;
  for (let count = 1; ; count += 1) {
    options.signal?.throwIfAborted();
    const outcome = await attempt({ count, deadline });
    if (outcome.attempt === 'done') return { attempts: 'done', value: outcome.value, count };
    const { reason, retryAfterMs } = outcome;
    const delayMs = Math.max(pauseMs(policy, count), retryAfterMs ?? 0);
    if (count > policy.retryCount || performance.now() + delayMs > deadline) {
      return {
        attempts: 'exhausted',
        reason,
        count,
        ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      };
    }
    await options.onPause?.({ delayMs, reason, count });
    await pause(delayMs, options.signal);
  }
}

/** Waits; an abort ends it with the signal's own reason, which Node would wrap. */
async function pause(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(delayMs, undefined, { ...(signal === undefined ? {} : { signal }) });
  } catch (cause) {
    signal?.throwIfAborted();
    throw cause;
  }
}

/** Doubling, between half and the whole of it: devices that failed together must not come back together. */
function pauseMs(policy: RetryPolicy, count: number): number {
  const whole = Math.min(policy.firstDelayMs * 2 ** (count - 1), policy.delayMsMax);
  return Math.round(whole * (0.5 + Math.random() / 2));
}
