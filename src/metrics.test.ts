import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Metrics, metricsText, metricTable, sumOf } from './metrics.ts';

const operation = (endpoint: string) => ({ endpoint, message_type: 'PKCSReq', outcome: 'issued', code: '' });
const linesOf = (text: string, name: string) => text.split('\n').filter((line) => line.startsWith(name));

describe('names of metrics', () => {
  for (const [name, { kind, labels, help }] of Object.entries(metricTable)) {
    test(name, () => {
      assert.match(name, /^leafgate_[a-z]+(_[a-z]+)*$/);
      // Prometheus' own conventions: a counter is a total, and units are base units.
      assert.equal(name.endsWith('_total'), kind === 'counter');
      if (kind === 'histogram') assert.match(name, /_seconds$/);
      assert.equal(new Set<string>(labels).size, labels.length);
      for (const label of labels) assert.match(label, /^[a-z]+(_[a-z]+)*$/);
      assert.match(help, /^[\p{L}\d].*\.$/u);
    });
  }
});

describe('instruments', () => {
  test('count each set of labels for itself', () => {
    const metrics = new Metrics();
    metrics.count('leafgate_pki_operations_total', operation('a'), 0);
    metrics.count('leafgate_pki_operations_total', operation('b'));
    metrics.count('leafgate_pki_operations_total', operation('b'), 2);
    assert.deepEqual(linesOf(metricsText(metrics.counts(), []), 'leafgate_pki_operations_total'), [
      'leafgate_pki_operations_total{endpoint="a",message_type="PKCSReq",outcome="issued",code=""} 0',
      'leafgate_pki_operations_total{endpoint="b",message_type="PKCSReq",outcome="issued",code=""} 3',
    ]);
  });

  test('put durations into buckets, each with all that is below it', () => {
    const metrics = new Metrics();
    const name = 'leafgate_pki_operation_duration_seconds';
    for (const ms of [0, 5, 5.001, 200, 61_000, 3_600_000]) metrics.observe(name, { endpoint: 'a' }, ms);
    const lines = linesOf(metricsText(metrics.counts(), []), name);
    const atMost = (bound: string) =>
      lines
        .find((line) => line.includes(`le="${bound}"`))
        ?.split(' ')
        .at(-1);
    assert.deepEqual(
      ['0.005', '0.01', '0.1', '0.25', '60', '+Inf'].map((bound) => atMost(bound)),
      ['2', '3', '3', '4', '4', '6'],
    );
    assert.deepEqual(lines.slice(-2), [
      `${name}_sum{endpoint="a"} 3661.210001`,
      `${name}_count{endpoint="a"} 6`,
    ]);
  });

  test('give what was counted so far, which does not change when they count on', () => {
    const metrics = new Metrics();
    metrics.count('leafgate_pkcs_rounds_total', { outcome: 'worked' });
    const counts = metrics.counts();
    metrics.count('leafgate_pkcs_rounds_total', { outcome: 'worked' });
    assert.deepEqual(counts.leafgate_pkcs_rounds_total, [[['worked'], [1]]]);
    // As it comes out of a channel between processes.
    assert.deepEqual(JSON.parse(JSON.stringify(counts)), counts);
  });

  test('have room for so many label values and no more, and lose no count', () => {
    const metrics = new Metrics();
    for (let n = 0; n < 5_000; n += 1) metrics.count('leafgate_pki_operations_total', operation(`e${n}`));
    metrics.count('leafgate_pki_operations_total', operation('e7'));
    const rows = metrics.counts().leafgate_pki_operations_total ?? [];
    assert.ok(rows.length <= 2_001, `${rows.length} series`);
    assert.equal(
      rows.reduce((sum, [, [count = 0]]) => sum + count, 0),
      5_001,
    );
    assert.deepEqual(rows.at(-1)?.[0], ['other', 'other', 'other', 'other']);
    assert.deepEqual(rows[7], [['e7', 'PKCSReq', 'issued', ''], [2]]);
  });
});

test('counts of several places are added up, whatever each of them has', () => {
  const [one, two, three] = [new Metrics(), new Metrics(), new Metrics()];
  one.count('leafgate_pki_operations_total', operation('a'));
  two.count('leafgate_pki_operations_total', operation('b'));
  two.count('leafgate_pki_operations_total', operation('a'), 5);
  two.observe('leafgate_pki_operation_duration_seconds', { endpoint: 'a' }, 7);
  three.observe('leafgate_pki_operation_duration_seconds', { endpoint: 'a' }, 8);
  const before = JSON.stringify([one.counts(), two.counts()]);
  const sum = sumOf(one.counts(), {}, two.counts(), three.counts());
  assert.deepEqual(sum.leafgate_pki_operations_total, [
    [['a', 'PKCSReq', 'issued', ''], [6]],
    [['b', 'PKCSReq', 'issued', ''], [1]],
  ]);
  const [[, numbers = []] = []] = sum.leafgate_pki_operation_duration_seconds ?? [];
  assert.equal(numbers[1], 2, 'both in the second bucket');
  assert.equal(numbers.at(-1)?.toFixed(6), '0.015000');
  assert.equal(JSON.stringify([one.counts(), two.counts()]), before);
  assert.deepEqual(sumOf(), {});
});

test('the text has every metric of the table, and escapes what would end a label', () => {
  const labels = { version: 'a\\b"c\nd', node: 'v26' };
  const text = metricsText({}, [{ name: 'leafgate_build_info', labels, value: 1 }]);
  assert.deepEqual(
    linesOf(text, '# TYPE').map((line) => line.split(' ')[2]),
    Object.keys(metricTable),
  );
  assert.deepEqual(linesOf(text, 'leafgate_'), [
    String.raw`leafgate_build_info{version="a\\b\"c\nd",node="v26"} 1`,
  ]);
  assert.ok(text.endsWith('\n') && !text.includes('\n\n'));
});
