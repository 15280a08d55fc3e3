import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Admission, type Entry, isFailure, RequestLimits, sourceKey } from './limits.ts';

describe('a source', () => {
  const rows: readonly (readonly [address: string, key: string])[] = [
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::9', '2001:db8:1:2::/64'],
    ['2001:0DB8:0001:0002::9', '2001:db8:1:2::/64'],
    ['2001:db8::', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['1::2:3:4:5:6:7', '1:0:2:3::/64'],
    ['not:an:address', 'not:an:address'],
    ['-', '-'],
  ];
  for (const [address, key] of rows)
    test(`${address} is ${key}`, () => assert.equal(sourceKey(address), key));
});

describe('limits of a source', () => {
  const at = { ms: 0 };
  const limitsOf = (limits: ConstructorParameters<typeof RequestLimits>[0]) => {
    at.ms = 0;
    return new RequestLimits(limits, () => at.ms);
  };

  test('failures slow down their source and no other', () => {
    const limits = limitsOf({ perSource: { failures: { burst: 3, perSecond: 0.5 } }, perEndpoint: {} });
    for (let count = 0; count < 3; count += 1) {
      assert.equal(limits.admit('a'), 0);
      limits.recordFailure('a');
    }
    assert.equal(limits.admit('a'), 2_000);
    assert.equal(limits.admit('b'), 0);
    at.ms = 1_500;
    assert.equal(limits.admit('a'), 500);
    at.ms = 2_000;
    assert.equal(limits.admit('a'), 0);
    limits.recordFailure('a');
    assert.equal(limits.admit('a'), 2_000);
    at.ms = 3_600_000;
    for (let count = 0; count < 3; count += 1) limits.recordFailure('a');
    assert.ok(limits.admit('a') > 0, 'an hour of quiet saved up more than a burst');
  });

  test('what was at work together counts too, though no further than a burst', () => {
    const limits = limitsOf({ perSource: { failures: { burst: 10, perSecond: 1 } }, perEndpoint: {} });
    for (let count = 0; count < 1_000; count += 1) limits.recordFailure('a');
    assert.equal(limits.admit('a'), 11_000);
  });

  test('requests that succeed never meet the limit of failures', () => {
    const limits = limitsOf({ perSource: { failures: { burst: 1, perSecond: 1 } }, perEndpoint: {} });
    for (let count = 0; count < 10_000; count += 1) assert.equal(limits.admit('nat'), 0);
  });

  test('requests of a source, and of all together', () => {
    const limits = limitsOf({
      perSource: { requests: { burst: 2, perSecond: 1 } },
      perEndpoint: { requests: { burst: 3, perSecond: 10 } },
    });
    assert.deepEqual(
      ['a', 'a', 'a', 'b', 'b', 'c'].map((source) => limits.admit(source)),
      [0, 0, 1_000, 0, 100, 100],
    );
    at.ms = 100;
    assert.equal(limits.admit('c'), 0);
    assert.equal(limits.admit('a'), 900);
  });

  test('more sources than are remembered cost no more memory, and the oldest is forgotten', () => {
    const limits = limitsOf({ perSource: { failures: { burst: 1, perSecond: 0.001 } }, perEndpoint: {} });
    for (let count = 0; count < 10_001; count += 1) limits.recordFailure(`source ${count}`);
    assert.equal(limits.admit('source 0'), 0);
    assert.ok(limits.admit('source 1') > 0);
    assert.ok(limits.admit('source 10000') > 0);
  });

  test('wrong challenges count, and what does not open; what policy says of a good one does not', () => {
    for (const code of [
      'challenge_unknown',
      'challenge_invalid',
      'scep_envelope',
      'csr_signature',
      'certificate_unknown',
    ] as const)
      assert.ok(isFailure(code), code);
    for (const code of ['template_denied', 'store_unavailable', 'internal'] as const)
      assert.ok(!isFailure(code), code);
  });
});

describe('admission', () => {
  const connection = { destroyed: false };
  const turn = () => new Promise((resolve) => setImmediate(resolve));

  /** Lets all in and notes what became of them, in order. */
  function crowd(
    admission: Admission,
    count: number,
    source = 'a',
    line: { destroyed: boolean } = connection,
  ) {
    const entries: Entry[] = [];
    for (let index = 0; index < count; index += 1) {
      const entering = admission.enter(source, line);
      if (typeof entering === 'string') entries.push(entering);
      else void entering.then((entry) => entries.push(entry));
    }
    return entries;
  }

  test('lets in at once while there is no queue', () => {
    const admission = new Admission();
    for (let count = 0; count < 8; count += 1) assert.equal(admission.enter('a', connection), 'enter');
    assert.notEqual(admission.enter('a', connection), 'enter');
    assert.equal(admission.refuses('a'), false);
  });

  test('begins a few a turn, first come, first served', async () => {
    const admission = new Admission();
    const entries = crowd(admission, 20);
    assert.equal(entries.length, 8);
    await turn();
    assert.equal(entries.length, 16);
    await turn();
    assert.deepEqual(new Set(entries), new Set(['enter']));
    assert.equal(entries.length, 20);
  });

  test('turns away by the measured pace, and one source before the others', async () => {
    const at = { ms: 0 };
    const admission = new Admission(() => at.ms);
    // At first 2 ms each: 200 ms are 100 that wait, 400 ms are 200.
    crowd(admission, 8 + 101);
    assert.equal(admission.refuses('a'), true);
    assert.equal(admission.refuses('b'), false);
    crowd(admission, 100, 'b');
    assert.equal(admission.refuses('c'), true);
    // Eight a turn of 2 ms: it turns out to be quicker than was thought.
    for (let count = 0; count < 12; count += 1) {
      await turn();
      at.ms += 2;
    }
    const waiting = 201 - 12 * 8;
    crowd(admission, 201 - waiting, 'c');
    assert.equal(admission.refuses('d'), false);
  });

  test('who waited too long is turned away, who has gone is passed over', async () => {
    const at = { ms: 0 };
    const admission = new Admission(() => at.ms);
    crowd(admission, 8);
    const gone = crowd(admission, 3, 'a', { destroyed: true });
    const late = crowd(admission, 9);
    at.ms = 399;
    await turn();
    assert.deepEqual(gone, ['gone', 'gone', 'gone']);
    assert.equal(late.length, 8);
    at.ms = 401;
    await turn();
    assert.equal(late.at(-1), 'refused');
    assert.equal(admission.refuses('a'), false);
  });

  test('however many are at work, a bounded number waits and no more begin', async () => {
    const admission = new Admission();
    const working = crowd(admission, 512);
    while (working.length < 512) await turn();
    const entries = crowd(admission, 1);
    for (let count = 0; count < 5; count += 1) await turn();
    assert.deepEqual(entries, []);
    admission.leave();
    while (entries.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.deepEqual(entries, ['enter']);
  });
});
