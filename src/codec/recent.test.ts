import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Recent } from './recent.ts';

const octets = (...values: number[]) => Uint8Array.from(values);

describe('what was made of some octets', () => {
  test('is made once, and again after another has taken its place', () => {
    const made: number[] = [];
    const recent = new Recent<number>(4);
    const of = (value: number) =>
      recent.of(octets(0, 0, value), () => {
        made.push(value);
        return value * 10;
      });
    assert.deepEqual([of(1), of(2), of(1), of(2)], [10, 20, 10, 20]);
    assert.deepEqual(made, [1, 2]);
    // 5 has the place of 1.
    assert.deepEqual([of(5), of(1), of(2)], [50, 10, 20]);
    assert.deepEqual(made, [1, 2, 5, 1]);
  });

  test('is told apart by every octet, and by their number', () => {
    const recent = new Recent<string>(1);
    const rows = [octets(), octets(0), octets(0, 0), octets(0, 1), octets(1, 0), octets(1, 0, 0)];
    for (const row of rows)
      assert.equal(
        recent.of(row, () => row.join()),
        row.join(),
      );
    assert.equal(
      recent.of(octets(1, 0, 0), () => 'anew'),
      '1,0,0',
    );
  });

  test('does not change with the octets, of which a copy is the key', () => {
    const recent = new Recent<string>(16);
    const key = octets(1, 2, 3);
    assert.equal(
      recent.of(key, () => 'first'),
      'first',
    );
    key[2] = 9;
    assert.equal(
      recent.of(key, () => 'second'),
      'second',
    );
    assert.equal(
      recent.of(octets(1, 2, 3), () => 'third'),
      'first',
    );
  });

  test('is not kept if making it failed', () => {
    const recent = new Recent<string>(4);
    const fail = () => {
      throw new Error('not this time');
    };
    assert.throws(() => recent.of(octets(1), fail), /not this time/);
    assert.equal(
      recent.of(octets(1), () => 'now'),
      'now',
    );
  });
});
