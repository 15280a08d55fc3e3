import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Attempt, type Pause, type RetryPolicy, withRetries } from './retry.ts';

const policy: RetryPolicy = { retryCount: 5, firstDelayMs: 8, delayMsMax: 20, durationMsMax: 60_000 };
const again = { attempt: 'again', reason: 'not yet' } as const;

/** Makes the attempts and notes the pauses. */
async function run(more: Partial<RetryPolicy>, attempt: (count: number) => Attempt<string, string>) {
  const pauses: Pause<string>[] = [];
  const outcome = await withRetries({ ...policy, ...more }, async ({ count }) => attempt(count), {
    onPause: async (pause) => void pauses.push(pause),
  });
  return { outcome, pauses };
}

test('gives up after as many retries as the policy allows, and says why', async () => {
  const { outcome, pauses } = await run({ retryCount: 3 }, () => again);
  assert.deepEqual(outcome, { attempts: 'exhausted', reason: 'not yet', count: 4 });
  assert.equal(pauses.length, 3);
});

test('no retries means one attempt', async () => {
  const { outcome, pauses } = await run({ retryCount: 0 }, () => again);
  assert.deepEqual([outcome.attempts, outcome.count, pauses.length], ['exhausted', 1, 0]);
});

test('begins no attempt after the time is over', async () => {
  const { outcome } = await run(
    { firstDelayMs: 40_000, delayMsMax: 40_000, durationMsMax: 10_000 },
    () => again,
  );
  assert.deepEqual([outcome.attempts, outcome.count], ['exhausted', 1]);
});

test('a time that the server names beyond the policy ends it at once, and is handed on', async () => {
  const { outcome, pauses } = await run({}, () => ({ ...again, retryAfterMs: 3_600_000 }));
  assert.deepEqual(outcome, { attempts: 'exhausted', reason: 'not yet', count: 1, retryAfterMs: 3_600_000 });
  assert.deepEqual(pauses, []);
});

test('a time that the server names is the least that is waited', async () => {
  const begin = performance.now();
  const { pauses } = await run({}, (count) =>
    count === 1 ? { ...again, retryAfterMs: 60 } : { attempt: 'done', value: 'yes' },
  );
  assert.deepEqual(
    pauses.map(({ delayMs }) => delayMs),
    [60],
  );
  assert.ok(performance.now() - begin >= 50);
});

test('pauses double up to the longest, between half and the whole of it', async () => {
  const wholes = [8, 16, 20, 20, 20];
  for (let n = 0; n < 20; n += 1) {
    const { pauses } = await run({}, () => again);
    assert.equal(pauses.length, wholes.length);
    pauses.forEach(({ delayMs, count, reason }, index) => {
      const whole = wholes[index] ?? 0;
      assert.ok(delayMs >= whole / 2 && delayMs <= whole, `${delayMs} of ${whole}`);
      assert.deepEqual([count, reason], [index + 1, 'not yet']);
    });
  }
});

test('ends with the first that is done', async () => {
  const { outcome } = await run({}, (count) =>
    count < 3 ? again : { attempt: 'done', value: `attempt ${count}` },
  );
  assert.deepEqual(outcome, { attempts: 'done', value: 'attempt 3', count: 3 });
});

test('what an attempt throws is not tried again', async () => {
  let count = 0;
  const failing = withRetries(policy, async () => {
    count += 1;
    throw new Error('broken world');
  });
  await assert.rejects(failing, /broken world/);
  assert.equal(count, 1);
});

test('an abort ends the pause', async () => {
  const abort = new AbortController();
  const waiting = withRetries({ ...policy, firstDelayMs: 50_000, delayMsMax: 50_000 }, async () => again, {
    signal: abort.signal,
    onPause: async () => {
      setTimeout(() => abort.abort(new Error('enough')), 5);
    },
  });
  await assert.rejects(waiting, /enough/);
});
