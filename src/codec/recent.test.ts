import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Recent } from './recent.ts';

const octets = (...values: number[]) => Uint8Array.from(values);

describe('what was made of some octets', () => {
  test('is made once, and again only after others have taken its place', () => {
    const made: number[] = [];
    const recent = new Recent<number>(2);
    const of = (value: number) =>
      recent.of(octets(value, 255), ([first = 0]) => {
        made.push(first);
        return first * 10;
      });
    assert.deepEqual([of(1), of(2), of(1)], [10, 20, 10]);
    assert.deepEqual(made, [1, 2]);
    // 2 was asked for longest ago.
    assert.deepEqual([of(3), of(1), of(2)], [30, 10, 20]);
    assert.deepEqual(made, [1, 2, 3, 2]);
  });

  test('does not change with the octets, of which a copy is the key', () => {
    const recent = new Recent<string>(4);
    const key = octets(1, 2, 3);
    assert.equal(
      recent.of(key, () => 'first'),
      'first',
    );
    key[0] = 9;
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
