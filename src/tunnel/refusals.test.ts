import assert from 'node:assert/strict';
import { test } from 'node:test';
import { buildRefusals, parseRefusals, REFUSALS_MAX, REPORT_BYTES_MAX, RefusalLedger } from './refusals.ts';

const at = new Date('2026-03-01T10:00:00.000Z');
const refused = { at, reason: 'path', method: 'GET', target: '/admin', source: '192.0.2.1' } as const;
const row = {
  at: '2026-03-01T10:00:00.000Z',
  reason: 'path',
  method: 'GET',
  path: '/admin',
  source: '192.0.2.1',
  count: 3,
  reference: 'LG-ABC234XY',
};
const bytes = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));

test('equal refusals are one row with one reference', () => {
  const ledger = new RefusalLedger();
  const first = ledger.record(refused);
  const second = ledger.record({ ...refused, at: new Date(0) });
  const other = ledger.record({ ...refused, source: '192.0.2.2' });
  assert.match(first.reference, /^LG-[A-Z2-7]{8}$/);
  assert.equal(second.reference, first.reference);
  assert.notEqual(other.reference, first.reference);
  assert.deepEqual(ledger.take(), [
    {
      at,
      reason: 'path',
      method: 'GET',
      path: '/admin',
      source: '192.0.2.1',
      count: 2,
      reference: first.reference,
    },
    other,
  ]);
  assert.deepEqual(ledger.take(), []);
});

test('a path is written down without its query, short, and printable', () => {
  const ledger = new RefusalLedger();
  const path = (target: string) => ledger.record({ ...refused, target }).path;
  assert.equal(path('/scep/x?message=secret'), '/scep/x');
  assert.equal(path(`/${'a'.repeat(500)}`), `/${'a'.repeat(119)}`);
  assert.equal(path('/a\x1b[31m\u00e9'), '/a?[31m?');
  assert.equal(path(''), '-');
});

test('what has no room left is counted in one row', () => {
  const ledger = new RefusalLedger();
  for (let number = 0; number < 10_000; number += 1) ledger.record({ ...refused, target: `/${number}` });
  const rows = ledger.take();
  assert.equal(rows.length, REFUSALS_MAX);
  const { reference, ...overflow } = rows.at(-1) ?? assert.fail();
  assert.match(reference, /^LG-/);
  assert.deepEqual(overflow, {
    at,
    reason: 'path',
    method: '-',
    path: '-',
    source: '-',
    count: 10_000 - REFUSALS_MAX + 1,
  });
});

test('a full report of the longest rows is read back', () => {
  const ledger = new RefusalLedger();
  for (let number = 0; number < 1_000; number += 1) {
    ledger.record({
      at,
      reason: 'target-size',
      method: 'UNSUBSCRIBE',
      target: `/${number}${'"'.repeat(200)}`,
      source: '2001:db8:1111:2222:3333:4444:5555:6666',
    });
  }
  const rows = ledger.take();
  const report = Buffer.from(buildRefusals(rows));
  assert.ok(report.length <= REPORT_BYTES_MAX);
  assert.deepEqual(parseRefusals(report), rows);
});

const droppedRows: { name: string; report: Uint8Array }[] = [
  { name: 'nothing', report: new Uint8Array() },
  { name: 'not JSON', report: new TextEncoder().encode('[{') },
  { name: 'not UTF-8', report: Uint8Array.of(0x5b, 0x22, 0xff, 0x22, 0x5d) },
  { name: 'no list', report: bytes(row) },
  { name: 'empty list', report: bytes([]) },
  { name: 'null row', report: bytes([null]) },
  { name: 'too many rows', report: bytes(Array.from({ length: REFUSALS_MAX + 1 }, () => row)) },
  { name: 'too many bytes', report: Buffer.concat([bytes([row]), Buffer.alloc(REPORT_BYTES_MAX, ' ')]) },
  { name: 'one bad row among good ones', report: bytes([row, { ...row, count: 0 }]) },
  { name: 'further key', report: bytes([{ ...row, actor: 'ca' }]) },
  { name: 'missing key', report: bytes([{ ...row, reference: undefined }]) },
  { name: 'other key', report: bytes([{ ...row, reference: undefined, actor: 'ca' }]) },
  { name: 'date in words', report: bytes([{ ...row, at: 'yesterday' }]) },
  { name: 'impossible date', report: bytes([{ ...row, at: '2026-13-01T10:00:00.000Z' }]) },
  { name: 'unknown reason', report: bytes([{ ...row, reason: 'certificate.issued' }]) },
  { name: 'method with a line break', report: bytes([{ ...row, method: 'GET\n' }]) },
  { name: 'long method', report: bytes([{ ...row, method: 'A'.repeat(33) }]) },
  { name: 'path with an escape', report: bytes([{ ...row, path: '/\u001b[2J' }]) },
  { name: 'path with a line break at the end', report: bytes([{ ...row, path: '/a\n' }]) },
  { name: 'long path', report: bytes([{ ...row, path: `/${'a'.repeat(120)}` }]) },
  { name: 'source is a name', report: bytes([{ ...row, source: 'ca.example.com' }]) },
  { name: 'long source', report: bytes([{ ...row, source: `fe80::1%${'a'.repeat(60)}` }]) },
  { name: 'count is text', report: bytes([{ ...row, count: '3' }]) },
  { name: 'count is a fraction', report: bytes([{ ...row, count: 0.5 }]) },
  { name: 'reference of another form', report: bytes([{ ...row, reference: 'LG-ABC01OXY' }]) },
];

for (const { name, report } of droppedRows) {
  test(`drops a report: ${name}`, () => assert.equal(parseRefusals(report), undefined));
}

test('reads a report', () => {
  assert.deepEqual(parseRefusals(bytes([row, { ...row, source: '-', method: '-', path: '-' }])), [
    { ...row, at },
    { ...row, at, source: '-', method: '-', path: '-' },
  ]);
});
