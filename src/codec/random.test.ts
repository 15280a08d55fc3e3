import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { hex } from './der.ts';
import { randomOctets } from './random.ts';

describe('random octets', () => {
  test('are as many as asked for, and never the same again', () => {
    const seen = new Set<string>();
    for (let i = 0; i < 2_000; i += 1) {
      const octets = randomOctets(16);
      assert.equal(octets.length, 16);
      seen.add(hex(octets));
    }
    assert.equal(seen.size, 2_000);
  });

  test('are the caller’s own: what is drawn later does not change them', () => {
    const first = randomOctets(256);
    const kept = hex(first);
    for (let i = 0; i < 100; i += 1) randomOctets(256).fill(0xff);
    assert.equal(hex(first), kept);
  });

  test('are spread evenly', () => {
    const counts = new Uint32Array(256);
    for (let i = 0; i < 4_096; i += 1)
      for (const octet of randomOctets(64)) counts[octet] = (counts[octet] ?? 0) + 1;
    // 1,024 expected of each; ten standard deviations either way.
    assert.ok(
      Math.min(...counts) > 704 && Math.max(...counts) < 1_344,
      `${Math.min(...counts)} to ${Math.max(...counts)}`,
    );
  });
});
