/**
 * What the SCEP door takes: from one source, at one endpoint, and at all when more comes than can be served.
 *
 * Each thread and each worker process counts for itself. Work and memory for a request are constant, whoever sends it.
 */
import { isIPv6 } from 'node:net';
import type { ErrorCode } from '../errors.ts';

/** So many at once, and so many more each second. */
export interface Rate {
  readonly burst: number;
  readonly perSecond: number;
}

/** The limits of one endpoint; what is absent is not limited. */
export interface EndpointLimits {
  readonly perSource: {
    /** Requests that were refused for what only a guess or a mistake sends: see `isFailure`. */
    readonly failures?: Rate | undefined;
    readonly requests?: Rate | undefined;
  };
  readonly perEndpoint: { readonly requests?: Rate | undefined };
}

/** Refusals that a source is slowed down for: wrong challenges, and ciphertexts that do not open. */
const failures: ReadonlySet<ErrorCode> = new Set([
  'challenge_missing',
  'challenge_unknown',
  'challenge_invalid',
  'challenge_expired',
  'challenge_reused',
  'challenge_foreign',
  // One and the same for all that goes wrong behind the encryption, and so is what it costs.
  'scep_envelope',
  'csr_signature',
  // What cannot be opened of a GetCert or GetCRL is told as what does not exist.
  'certificate_unknown',
]);

/** Whether a refusal counts against its source. */
export function isFailure(code: ErrorCode): boolean {
  return failures.has(code);
}

/** Sources that are remembered at once, some 200 octets each. Whoever has more addresses than that gains nothing new. */
const SOURCES_MAX = 10_000;

/** Tokens at a moment; they may be fewer than none, because what is at work is counted when it ends. */
interface Bucket {
  tokens: number;
  atMs: number;
}

/** Token buckets by key, each full at first. A bucket that is full again need not be remembered. */
class Buckets {
  readonly #rate: Rate;
  /** In the order of their last use. */
  readonly #buckets = new Map<string, Bucket>();

  constructor(rate: Rate) {
    this.#rate = rate;
  }

  /** Milliseconds until the key has a token; 0 if it has one. */
  waitMs(key: string, nowMs: number): number {
    const bucket = this.#buckets.get(key);
    if (bucket === undefined) return 0;
    const tokens = this.#tokensAt(bucket, nowMs);
    return tokens >= 1 ? 0 : Math.ceil(((1 - tokens) / this.#rate.perSecond) * 1000);
  }

  /** Takes a token, if need be one that is owed. */
  take(key: string, nowMs: number): void {
    const { burst } = this.#rate;
    const bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      if (this.#buckets.size >= SOURCES_MAX) {
        const [oldest] = this.#buckets.keys();
        if (oldest !== undefined) this.#buckets.delete(oldest);
      }
      this.#buckets.set(key, { tokens: burst - 1, atMs: nowMs });
      return;
    }
    this.#buckets.delete(key);
    bucket.tokens = Math.max(-burst, this.#tokensAt(bucket, nowMs) - 1);
    bucket.atMs = nowMs;
    this.#buckets.set(key, bucket);
  }

  #tokensAt(bucket: Bucket, nowMs: number): number {
    const { burst, perSecond } = this.#rate;
    return Math.min(burst, bucket.tokens + ((nowMs - bucket.atMs) / 1000) * perSecond);
  }
}

/**
 * What limits know a sender by. RFC 4291 §2.5.4: a subscriber has at least a network of 64 bits to itself, so of an
 * IPv6 address only that much counts.
 */
export function sourceKey(address: string): string {
  if (!address.includes(':')) return address;
  const embedded = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (embedded !== undefined) return embedded;
  const [plain = ''] = address.split('%', 1);
  if (!isIPv6(plain)) return address;
  const [head = '', tail] = plain.split('::');
  const groups = head === '' ? [] : head.split(':');
  const missing = tail === undefined ? 0 : 8 - groups.length - (tail === '' ? 0 : tail.split(':').length);
  const whole = [...groups, ...new Array<string>(missing).fill('0'), ...(tail ?? '').split(':')];
  return `${whole
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`;
}

const ENDPOINT = '';

/** The limits of one endpoint at work. A source is a `sourceKey`. */
export class RequestLimits {
  readonly #nowMs: () => number;
  readonly #failures: Buckets | undefined;
  readonly #requests: Buckets | undefined;
  readonly #all: Buckets | undefined;

  /** @param nowMs a clock that never goes back */
  constructor({ perSource, perEndpoint }: EndpointLimits, nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
    this.#failures = perSource.failures && new Buckets(perSource.failures);
    this.#requests = perSource.requests && new Buckets(perSource.requests);
    this.#all = perEndpoint.requests && new Buckets(perEndpoint.requests);
  }

  /** Counts a request and answers 0; or, if it is one too many, the milliseconds after which to come again. */
  admit(source: string): number {
    const nowMs = this.#nowMs();
    const waitMs = Math.max(
      this.#failures?.waitMs(source, nowMs) ?? 0,
      this.#requests?.waitMs(source, nowMs) ?? 0,
      this.#all?.waitMs(ENDPOINT, nowMs) ?? 0,
    );
    if (waitMs > 0) return waitMs;
    this.#requests?.take(source, nowMs);
    this.#all?.take(ENDPOINT, nowMs);
    return 0;
  }

  /** Counts a refusal for which `isFailure`. */
  recordFailure(source: string): void {
    this.#failures?.take(source, this.#nowMs());
  }
}

/** Who waits longer than this, or would have to, is sent away: his client may have given up by the time of an answer. */
const WAIT_MS_MAX = 400;
/** Of that, as much as one source may fill: whoever floods the door leaves the other half of the queue to others. */
const SOURCE_WAIT_MS_MAX = WAIT_MS_MAX / 2;
/** Bounds the memory of those who wait, whatever the measured time says. */
const QUEUE_MAX = 512;
/**
 * Requests that are begun in one turn of the event loop, with one to two milliseconds of cryptography each: enough to
 * share one commit, few enough that what arrives meanwhile is looked at within some hundredths of a second.
 */
const STARTS_PER_TURN = 8;
/** Requests at work; most of them then wait for a validator. */
const WORKING_MAX = 512;
/** How often the queue is looked at while as many are at work as may be. */
const BLOCKED_TURN_MS = 25;
/** Before anything was measured. */
const FIRST_STEP_MS = 2;
/** Weight of a turn in the measured time. */
const STEP_WEIGHT = 0.1;

/** A connection, as far as it matters whether anybody still waits at its end. */
export interface Connection {
  readonly destroyed: boolean;
}

/** What became of a request that waited: its turn has come, it waited too long, or its sender has gone. */
export type Entry = 'enter' | 'refused' | 'gone';

interface Waiting {
  readonly source: string;
  readonly connection: Connection;
  readonly sinceMs: number;
  readonly resolve: (entry: Entry) => void;
}

/**
 * Lets in what can be served soon, and sends away the rest before any cryptography is spent on it.
 *
 * Without a queue, requests would pile up in the sockets and all be served late. Here each turn of the event loop begins
 * a few, the others wait in a queue, and the queue is kept as short as its measured pace allows: what is let in is
 * answered in about the same time under any load, and the rest learns at once to come later. A source is a `sourceKey`.
 */
export class Admission {
  readonly #nowMs: () => number;
  readonly #queue: Waiting[] = [];
  /** How many of each source wait; only of those that do. */
  readonly #waitingOf = new Map<string, number>();
  #startsThisTurn = 0;
  #working = 0;
  #turn: NodeJS.Immediate | NodeJS.Timeout | undefined;
  /** Measured time from one start to the next while others wait. */
  #stepMs = FIRST_STEP_MS;
  /** When the last turn that left others waiting began how many. */
  #measuring: { readonly atMs: number; readonly starts: number } | undefined;

  /** @param nowMs a clock that never goes back */
  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /** Whether a request of this source would be sent away now. */
  refuses(source: string): boolean {
    const waiting = this.#queue.length;
    return (
      waiting >= QUEUE_MAX ||
      waiting * this.#stepMs > WAIT_MS_MAX ||
      (this.#waitingOf.get(source) ?? 0) * this.#stepMs > SOURCE_WAIT_MS_MAX
    );
  }

  /** Lets a request in, at once or when its turn comes. Whoever is let in must `leave`. */
  enter(source: string, connection: Connection): 'enter' | Promise<Entry> {
    if (this.#queue.length === 0 && this.#mayStart()) {
      this.#start();
      this.#schedule();
      return 'enter';
    }
    return new Promise((resolve) => {
      this.#queue.push({ source, connection, sinceMs: this.#nowMs(), resolve });
      this.#waitingOf.set(source, (this.#waitingOf.get(source) ?? 0) + 1);
      this.#schedule();
    });
  }

  /** The answer of a request that was let in is ready. */
  leave(): void {
    this.#working -= 1;
  }

  #mayStart(): boolean {
    return this.#startsThisTurn < STARTS_PER_TURN && this.#working < WORKING_MAX;
  }

  #start(): void {
    this.#startsThisTurn += 1;
    this.#working += 1;
  }

  #schedule(): void {
    const onTurn = () => this.#onTurn();
    this.#turn ??= this.#working < WORKING_MAX ? setImmediate(onTurn) : setTimeout(onTurn, BLOCKED_TURN_MS);
  }

  #onTurn(): void {
    this.#turn = undefined;
    this.#startsThisTurn = 0;
    if (this.#queue.length === 0) {
      this.#measuring = undefined;
      return;
    }
    const nowMs = this.#nowMs();
    this.#measure(nowMs);
    for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
      const entry = this.#entryOf(next, nowMs);
      if (entry === 'wait') break;
      this.#queue.shift();
      this.#forget(next.source);
      if (entry === 'enter') this.#start();
      next.resolve(entry);
    }
    if (this.#queue.length === 0) this.#measuring = undefined;
    else if (this.#startsThisTurn > 0) this.#measuring = { atMs: nowMs, starts: this.#startsThisTurn };
    if (this.#queue.length > 0 || this.#startsThisTurn > 0) this.#schedule();
  }

  #entryOf(next: Waiting, nowMs: number): Entry | 'wait' {
    if (next.connection.destroyed) return 'gone';
    // The pace was better when this one came.
    if (nowMs - next.sinceMs > WAIT_MS_MAX) return 'refused';
    return this.#mayStart() ? 'enter' : 'wait';
  }

  #measure(nowMs: number): void {
    if (this.#measuring === undefined || this.#working >= WORKING_MAX) return;
    const { atMs, starts } = this.#measuring;
    this.#stepMs += STEP_WEIGHT * ((nowMs - atMs) / starts - this.#stepMs);
  }

  #forget(source: string): void {
    const left = (this.#waitingOf.get(source) ?? 1) - 1;
    if (left === 0) this.#waitingOf.delete(source);
    else this.#waitingOf.set(source, left);
  }
}
