import assert from 'node:assert/strict';
import { test } from 'node:test';
import { oid } from '../../codec/index.ts';
import { type AskedChallenge, challengeOrderOf } from './challenge-order.ts';

const HOUR_MS = 3_600_000;
const YEAR_MS = 366 * 24 * HOUR_MS;
const sid = 'S-1-5-21-1004336348-1177238915-682003330-512';
const asked = (more: Partial<AskedChallenge> = {}): AskedChallenge => ({
  endpoint: 'one-time',
  lifetimeMs: HOUR_MS,
  ...more,
});

const refused: readonly (readonly [name: string, more: Partial<AskedChallenge>, message: RegExp])[] = [
  ['no time', { lifetimeMs: 0 }, /at most a year/],
  ['a time before now', { lifetimeMs: -1 }, /at most a year/],
  ['a time that is no number', { lifetimeMs: Number.NaN }, /at most a year/],
  ['more than a year', { lifetimeMs: YEAR_MS + 1 }, /at most a year/],
  ['a device of 257 characters', { device: 'x'.repeat(257) }, /at most 256 characters/],
  ['a device that controls a terminal', { device: 'a\u001b[2J' }, /none that controls a terminal/],
  ['a security identifier that is none', { securityIdentifier: 'S-1-x' }, /is not a security identifier/],
  ['a purpose that is none', { extKeyUsage: ['client'] }, /“client” is neither/],
  ['a purpose by a name that all objects have', { extKeyUsage: ['toString'] }, /“toString” is neither/],
];
for (const [name, more, message] of refused)
  test(`${name} is refused`, () =>
    assert.throws(() => challengeOrderOf(asked(more)), { code: 'request_malformed', message }));

test('a subject that is no name is refused', () =>
  assert.throws(() => challengeOrderOf(asked({ subject: 'printer-7' })), { code: 'name_malformed' }));

test('what is not asked for is not pinned', () =>
  assert.deepEqual(challengeOrderOf(asked()), {
    endpoint: 'one-time',
    device: '',
    lifetimeMs: HOUR_MS,
    pinned: {},
  }));

test('what is asked for is pinned in the form of requests', () =>
  assert.deepEqual(
    challengeOrderOf(
      asked({
        device: 'x'.repeat(256),
        lifetimeMs: YEAR_MS,
        octets: 16,
        subject: 'cn=printer-7, o=Test',
        subjectAltName: ['DNS:printer-7.example', 'IP:192.0.2.7'],
        extKeyUsage: ['clientAuth', '1.2.3.4'],
        securityIdentifier: sid,
      }),
    ),
    {
      endpoint: 'one-time',
      device: 'x'.repeat(256),
      lifetimeMs: YEAR_MS,
      octets: 16,
      pinned: {
        subject: 'CN=printer-7,O=Test',
        subjectAltName: 'DNS:printer-7.example, IP:192.0.2.7',
        extKeyUsage: [oid.clientAuth, '1.2.3.4'],
        securityIdentifier: sid,
      },
    },
  ));
