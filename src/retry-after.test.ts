import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRetryAfter } from './retry-after.ts';

const now = new Date('2030-01-01T00:00:00Z');
const dayMs = 24 * 60 * 60 * 1000;

const rows: readonly (readonly [name: string, field: string | undefined, want: number | undefined])[] = [
  ['no field', undefined, undefined],
  ['no number and no date', 'soon', undefined],
  ['an empty field', '', undefined],
  ['more digits than a century has seconds', '9999999999', undefined],
  ['a part of a second', '1.5s', undefined],
  ['at once', '0', 0],
  ['seconds', '120', 120_000],
  ['a day', '86400', dayMs],
  ['more than a day', '86401', dayMs],
  ['a date to come', 'Tue, 01 Jan 2030 00:01:00 GMT', 60_000],
  ['a date that is over', 'Mon, 31 Dec 2029 23:59:59 GMT', 0],
  ['a date beyond a day', 'Fri, 04 Jan 2030 00:00:00 GMT', dayMs],
];

for (const [name, field, want] of rows)
  test(`${name}: ${field}`, () => assert.equal(parseRetryAfter(field, now), want));
