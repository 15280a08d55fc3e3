/** Whether two samples of times are of the same distribution. */

/** Two samples compared. */
export interface Comparison {
  readonly medians: readonly [number, number];
  /** Welch's t of the samples without their slowest tenth: what a busy machine adds is in that. */
  readonly welchT: number;
  /** Mann-Whitney's U, standardised; of a normal distribution if both samples are of the same one. */
  readonly mannWhitneyZ: number;
}

/** Compares two samples of at least ten. */
export function compare(a: Float64Array, b: Float64Array): Comparison {
  const [sortedA, sortedB] = [a.toSorted(), b.toSorted()];
  return {
    medians: [middle(sortedA), middle(sortedB)],
    welchT: welchT(trimmed(sortedA), trimmed(sortedB)),
    mannWhitneyZ: mannWhitneyZ(sortedA, sortedB),
  };
}

function middle(sorted: Float64Array): number {
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

function trimmed(sorted: Float64Array): Float64Array {
  return sorted.subarray(0, Math.ceil(sorted.length * 0.9));
}

function welchT(a: Float64Array, b: Float64Array): number {
  const mean = (values: Float64Array) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [meanA, meanB] = [mean(a), mean(b)];
  const errorOf = (values: Float64Array, about: number) =>
    values.reduce((sum, value) => sum + (value - about) ** 2, 0) / (values.length - 1) / values.length;
  return (meanA - meanB) / Math.sqrt(errorOf(a, meanA) + errorOf(b, meanB));
}

/** By counting, for each value of `a`, the values of `b` below it. Equal values count half. */
function mannWhitneyZ(sortedA: Float64Array, sortedB: Float64Array): number {
  let u = 0;
  let below = 0;
  let notAbove = 0;
  for (const value of sortedA) {
    while (below < sortedB.length && (sortedB[below] ?? 0) < value) below += 1;
    while (notAbove < sortedB.length && (sortedB[notAbove] ?? 0) <= value) notAbove += 1;
    u += (below + notAbove) / 2;
  }
  const [m, n] = [sortedA.length, sortedB.length];
  return (u - (m * n) / 2) / Math.sqrt((m * n * (m + n + 1)) / 12);
}
