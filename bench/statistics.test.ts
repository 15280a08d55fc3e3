import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compare } from './statistics.ts';

const series = (length: number, of: (index: number) => number) =>
  Float64Array.from({ length }, (_, index) => of(index));

test('equal samples differ by nothing', () => {
  const sample = series(100, (index) => index % 10);
  const { medians, welchT, mannWhitneyZ } = compare(sample, sample);
  assert.deepEqual(medians, [5, 5]);
  assert.equal(welchT, 0);
  assert.ok(Math.abs(mannWhitneyZ) < 1e-9);
});

test('a shift of less than the spread is found in many values', () => {
  const spread = (index: number) => ((index * 7919) % 1000) / 1000;
  const { welchT, mannWhitneyZ } = compare(
    series(2000, (index) => spread(index) + 0.1),
    series(2000, spread),
  );
  assert.ok(welchT > 4.5, `t = ${welchT}`);
  assert.ok(mannWhitneyZ > 4.5, `z = ${mannWhitneyZ}`);
});

test('the order of the samples is the sign', () => {
  const [low, high] = [series(50, (index) => index), series(50, (index) => index + 100)];
  assert.ok(compare(low, high).welchT < 0 && compare(low, high).mannWhitneyZ < -8);
  assert.ok(compare(high, low).mannWhitneyZ > 8);
});

test('U by hand', () => {
  // U of (1, 3) over (2, 2) is 0 + 2; half of what is possible, so z = 0.
  assert.equal(
    compare(
      series(2, (index) => 1 + 2 * index),
      series(2, () => 2),
    ).mannWhitneyZ,
    0,
  );
});
