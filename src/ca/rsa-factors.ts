/** Arithmetic on RSA moduli: finds the factors that a broken generator leaves within reach. */

/** SP 800-56B Rev. 2 §6.4.2.2 (plausibility test): no factor smaller than 752. */
const QUICK_FACTOR_MAX = 751;
const THOROUGH_FACTOR_MAX = 65_535;
/** Products up to here are exact as numbers, and their remainders are quick to take apart. */
const CHUNK_MAX = 2n ** 48n;

/** Primes whose product is one divisor; a long number is divided by the product once, and the remainder by each. */
interface Chunk {
  readonly product: bigint;
  readonly primes: readonly number[];
}

function oddPrimesUpTo(max: number): number[] {
  const composite = new Uint8Array(max + 1);
  const primes: number[] = [];
  for (let candidate = 3; candidate <= max; candidate += 2) {
    if (composite[candidate] === 1) continue;
    primes.push(candidate);
    for (let multiple = candidate * candidate; multiple <= max; multiple += 2 * candidate)
      composite[multiple] = 1;
  }
  return primes;
}

function chunksOf(primes: readonly number[]): Chunk[] {
  const chunks: { product: bigint; primes: number[] }[] = [];
  let last: { product: bigint; primes: number[] } | undefined;
  for (const prime of primes) {
    const product = (last?.product ?? 1n) * BigInt(prime);
    if (last === undefined || product > CHUNK_MAX) {
      last = { product: BigInt(prime), primes: [prime] };
      chunks.push(last);
    } else {
      last.product = product;
      last.primes.push(prime);
    }
  }
  return chunks;
}

const quickPrimes = oddPrimesUpTo(QUICK_FACTOR_MAX);
const quickChunks = chunksOf(quickPrimes);
const quickProduct = quickChunks.reduce((product, chunk) => product * chunk.product, 1n);
/** Made when first asked for: only audits and ceremonies look so far. */
let thoroughChunks: readonly Chunk[] | undefined;

/** How far to look: at every issuance, or when there is time (`leafgate ca audit`, ceremonies). */
export type Effort = 'quick' | 'thorough';

/** The smallest prime factor below 752 (`quick`) or below 65536 (`thorough`) of an odd modulus, if it has one. */
export function smallFactorOf(modulus: bigint, effort: Effort): number | undefined {
  // One long division; the rest works on a number half as long.
  const rest = modulus % quickProduct;
  const small = factorIn(quickChunks, rest);
  if (small !== undefined || effort === 'quick') return small;
  thoroughChunks ??= chunksOf(oddPrimesUpTo(THOROUGH_FACTOR_MAX).filter((prime) => prime > QUICK_FACTOR_MAX));
  return factorIn(thoroughChunks, modulus);
}

function factorIn(chunks: readonly Chunk[], value: bigint): number | undefined {
  for (const { product, primes } of chunks) {
    const remainder = Number(value % product);
    for (const prime of primes) if (remainder % prime === 0) return prime;
  }
  return undefined;
}

/** CA/Browser Forum Baseline Requirements §6.1.1.3: 100 rounds. Each further one costs some 40 ns. */
const FERMAT_ROUNDS: Readonly<Record<Effort, number>> = { quick: 100, thorough: 10_000 };

/**
 * Numbers that squares tell apart well: of all differences, one in some 1600 looks like a square to every one of them.
 * A row says which remainders squares have.
 */
const squareSieve = [64, 63, 65, 11, 17, 19, 23, 31].map((base) => {
  const isSquare = new Uint8Array(base);
  for (let root = 0; root < base; root += 1) isSquare[(root * root) % base] = 1;
  return { base, isSquare };
});
const sieveProduct = BigInt(squareSieve.reduce((product, { base }) => product * base, 1));

/**
 * Fermat's method (CVE-2022-26320): the factors if they lie so close together that their mean is within 100
 * (`quick`) or 10000 (`thorough`) of the modulus's root.
 *
 * It looks for a and b with n = a² − b². Whether a² − n is a square is first asked of its remainders by small bases, in
 * machine numbers; the long root is taken of the few that pass.
 */
export function closeFactorsOf(modulus: bigint, effort: Effort): readonly [bigint, bigint] | undefined {
  const floor = integerRoot(modulus);
  const start = floor * floor === modulus ? floor : floor + 1n;
  // Both are below 2^44: exact as numbers.
  const startRest = Number(start % sieveProduct);
  const modulusRest = Number(modulus % sieveProduct);
  const sieve = squareSieve.map(({ base, isSquare }) => ({
    base,
    isSquare,
    a: startRest % base,
    n: modulusRest % base,
  }));
  for (let round = 0; round < FERMAT_ROUNDS[effort]; round += 1) {
    let passes = true;
    for (const { base, isSquare, a, n } of sieve) {
      const sum = (a + round) % base;
      if (isSquare[(sum * sum + base - n) % base] === 0) {
        passes = false;
        break;
      }
    }
    if (!passes) continue;
    const a = start + BigInt(round);
    const difference = a * a - modulus;
    const b = integerRoot(difference);
    if (b * b === difference) return [a - b, a + b];
  }
  return undefined;
}

/** The integer part of the square root. */
export function integerRoot(value: bigint): bigint {
  return rootOf(value, value.toString(16).length * 4);
}

/** The root of the upper half gives half of the root's bits, and one step of Newton's method the rest. */
function rootOf(value: bigint, bitsMax: number): bigint {
  if (bitsMax <= 52) return BigInt(Math.floor(Math.sqrt(Number(value))));
  const half = Math.floor(bitsMax / 4);
  const shift = BigInt(half);
  // One more than the upper half's, so that it is too large, and by less than 2^half; then Newton's step is too large by
  // a few at most, however many leading zeros the hexadecimal text hid.
  const guess = (rootOf(value >> (2n * shift), bitsMax - 2 * half) + 1n) << shift;
  let root = (guess + value / guess) >> 1n;
  while (root * root > value) root -= 1n;
  return root;
}

/** What 65537 generates modulo a prime; primes of which it generates everything say nothing and are left out. */
const rocaSieve = quickPrimes
  .filter((prime) => prime <= 167)
  .map((prime) => {
    const generated = new Uint8Array(prime);
    let size = 0;
    for (let power = 1; generated[power] === 0; power = (power * 65_537) % prime) {
      generated[power] = 1;
      size += 1;
    }
    return { prime, generated, says: size < prime - 1 };
  })
  .filter(({ says }) => says);
const rocaProduct = rocaSieve.reduce((product, { prime }) => product * BigInt(prime), 1n);
const rocaChunks = chunksOf(rocaSieve.map(({ prime }) => prime));
const generatedBy = new Map(rocaSieve.map(({ prime, generated }) => [prime, generated]));

/**
 * Whether a modulus bears the mark of CVE-2017-15361 (ROCA): the primes of that generator are k·M + 65537^a mod M with M
 * the product of the first primes, and so is their product a power of 65537 modulo each of them. Other moduli pass for
 * one by chance in some two hundred million.
 */
export function hasRocaMark(modulus: bigint): boolean {
  const rest = modulus % rocaProduct;
  return rocaChunks.every(({ product, primes }) => {
    const remainder = Number(rest % product);
    return primes.every((prime) => generatedBy.get(prime)?.[remainder % prime] === 1);
  });
}
