/** The loop of the fuzzer: change an input, run it, keep it if it reached something new. */
import type { Random } from './mutate.ts';
import { mutate } from './mutate.ts';

/** What takes inputs. It may throw or reject only with what `isExpected`. */
export type Target = (input: Uint8Array) => unknown;

/** How often each branch ran, by an index. The engine clears it. */
export interface Coverage {
  readonly counters: Uint8Array;
  /** How many of them are in use. */
  count(): number;
}

/** An input that must not have failed as it did. */
export interface Crash {
  readonly input: Uint8Array;
  readonly cause: unknown;
}

/** Like AFL: once, twice, three times, 4 to 7, 8 to 15, 16 to 31, 32 to 127, more. */
function bucketOf(hits: number): number {
  if (hits < 4) return 1 << (hits - 1);
  if (hits < 8) return 8;
  if (hits < 16) return 16;
  if (hits < 32) return 32;
  return hits < 128 ? 64 : 128;
}

/** An input with the branches that it reached, and how often. */
interface Kept {
  readonly input: Uint8Array;
  /** Nothing was thrown. */
  readonly accepted: boolean;
  readonly features: Uint32Array;
}

/** Inputs that between them reach everything that was ever reached. */
export class Fuzzer {
  readonly #target: Target;
  readonly #isExpected: (thrown: unknown) => boolean;
  readonly #coverage: Coverage;
  readonly #random: Random;
  /** Bits of buckets seen, for each counter. */
  readonly #seen: Uint8Array;
  readonly #kept: Kept[] = [];
  #executions = 0;
  #slowestMs = 0;

  constructor(options: {
    readonly target: Target;
    readonly isExpected: (thrown: unknown) => boolean;
    readonly coverage: Coverage;
    readonly random: Random;
  }) {
    this.#target = options.target;
    this.#isExpected = options.isExpected;
    this.#coverage = options.coverage;
    this.#random = options.random;
    this.#seen = new Uint8Array(options.coverage.counters.length);
  }

  get executions(): number {
    return this.#executions;
  }

  get slowestMs(): number {
    return this.#slowestMs;
  }

  /** Branches that were reached. */
  get branches(): number {
    return this.#seen.reduce((sum, bits) => sum + (bits === 0 ? 0 : 1), 0);
  }

  get corpusSize(): number {
    return this.#kept.length;
  }

  /** What the kept inputs take in memory, roughly. */
  get corpusBytes(): number {
    return this.#kept.reduce((sum, { input, features }) => sum + input.length + features.byteLength, 0);
  }

  /** Runs one input, and keeps it if it reaches anything new. */
  async run(input: Uint8Array): Promise<Crash | undefined> {
    const { counters } = this.#coverage;
    counters.fill(0, 0, this.#coverage.count());
    this.#executions += 1;
    let accepted = false;
    const startMs = performance.now();
    try {
      const result = this.#target(input);
      if (result instanceof Promise) await result;
      accepted = true;
    } catch (cause) {
      if (!this.#isExpected(cause)) return { input: Uint8Array.from(input), cause };
    }
    this.#slowestMs = Math.max(this.#slowestMs, performance.now() - startMs);
    let isNew = false;
    const count = this.#coverage.count();
    for (let index = 0; index < count; index += 1) {
      const hits = counters[index] ?? 0;
      if (hits === 0) continue;
      const bucket = bucketOf(hits);
      const seen = this.#seen[index] ?? 0;
      if ((seen & bucket) !== 0) continue;
      this.#seen[index] = seen | bucket;
      isNew = true;
    }
    // The first one is kept in any case: there must be something to change.
    if (isNew || this.#kept.length === 0)
      this.#kept.push({ input: Uint8Array.from(input), accepted, features: this.#features() });
    return undefined;
  }

  /** Changes one of the inputs that were kept, and runs it. */
  async step(): Promise<Crash | undefined> {
    return await this.run(this.next());
  }

  /** The next input: one that was kept, changed. */
  next(): Uint8Array {
    const random = this.#random;
    const { length } = this.#kept;
    // Half of the time one of the newest: what they reached has been looked at least.
    const newest = Math.max(1, Math.ceil(length / 8));
    const index = random(2) === 0 ? length - 1 - random(newest) : random(Math.max(1, length));
    const chosen = this.#kept[index]?.input ?? new Uint8Array();
    const donor = this.#kept[random(Math.max(1, length))]?.input ?? new Uint8Array();
    return mutate(chosen, donor, random);
  }

  /**
   * Of the kept inputs as many as reach all branches as often as all of them do: first those that are right, as they go
   * deepest, and the smaller before the larger.
   */
  minimized(): Uint8Array[] {
    const covered = new Set<number>();
    return this.#kept
      .toSorted((a, b) => Number(b.accepted) - Number(a.accepted) || a.input.length - b.input.length)
      .filter(({ features }) => {
        const before = covered.size;
        for (const feature of features) covered.add(feature);
        return covered.size > before;
      })
      .map(({ input }) => input);
  }

  #features(): Uint32Array {
    const features: number[] = [];
    const { counters } = this.#coverage;
    const count = this.#coverage.count();
    for (let index = 0; index < count; index += 1) {
      const hits = counters[index] ?? 0;
      if (hits > 0) features.push(index * 256 + bucketOf(hits));
    }
    return Uint32Array.from(features);
  }
}
