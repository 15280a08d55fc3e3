import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import { Metrics } from '../metrics.ts';
import { WeakUse } from './weak-use.ts';

test('the first use of a day is logged, for each endpoint and algorithm, and no further one', () => {
  const lines: Record<string, unknown>[] = [];
  const log = pino({ base: null }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  let now = new Date('2026-03-01T23:59:00Z');
  const metrics = new Metrics();
  const use = new WeakUse(log, { now: () => now }, metrics);
  use.note('a', []);
  assert.deepEqual(lines, []);
  for (let count = 0; count < 5; count += 1) use.note('a', ['sha1', 'des3']);
  use.note('b', ['sha1']);
  const seen = () =>
    lines
      .splice(0)
      .map(({ endpoint, algorithm, messagesOfLastDay }) => [endpoint, algorithm, messagesOfLastDay]);
  assert.deepEqual(seen(), [
    ['a', 'sha1', undefined],
    ['a', 'des3', undefined],
    ['b', 'sha1', undefined],
  ]);
  now = new Date('2026-03-02T00:00:00Z');
  use.note('a', ['sha1']);
  use.note('a', ['sha1']);
  assert.deepEqual(seen(), [['a', 'sha1', 5]]);
  assert.deepEqual(metrics.counts().leafgate_weak_algorithm_messages_total, [
    [['a', 'sha1'], [7]],
    [['a', 'des3'], [5]],
    [['b', 'sha1'], [1]],
  ]);
});
