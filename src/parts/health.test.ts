import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  DAY_MS,
  FixtureClock,
  openTestAuthorities,
  publishedCrl,
} from '../../test/support/authorities-fixture.ts';
import type { TargetState } from '../publish/index.ts';
import { serverHealth } from './health.ts';

const endpoints = async () => [{ endpoint: 'one-time', raEnds: new Date('2090-01-01T00:00:00Z') }];
const target = (status: TargetState['status']): TargetState => ({
  target: 'web',
  place: 'folder web',
  status,
  since: new Date('2030-01-01T00:00:00Z'),
  holds: { 'issuing.crl': { number: 1n, at: new Date() } },
  lastError: { at: new Date(), text: 'the disk is full' },
  alarm: false,
});

test('the health of a server: what is well, what is old, what is behind, and what cannot be known', async () => {
  const clock = new FixtureClock();
  const { ca, store, close } = await openTestAuthorities({ clock });
  const nobody = { issuer: 'issuing', current: async () => undefined };
  try {
    await publishedCrl(ca);
    const leading = { role: () => 'leads' as const, targets: () => [target('current')] };
    const well = await serverHealth({ ca, store, ocsp: undefined, housekeeping: leading, endpoints, clock });
    assert.deepEqual([well.role, well.store, well.problems], ['leads', 'available', []]);
    assert.deepEqual(
      well.crls.map(({ issuer, crlNumber, overdue }) => [issuer, crlNumber, overdue]),
      [['issuing', 1, false]],
    );
    assert.equal(well.targets[0]?.objects, 1);
    assert.deepEqual(
      [well.issuers.map(({ issuer }) => issuer), well.raCertificates.map(({ endpoint }) => endpoint)],
      [['issuing'], ['one-time']],
    );
    // What travels as JSON holds no bigint.
    JSON.stringify(well);

    clock.offsetMs = 7.4 * DAY_MS;
    const behind = { role: () => 'leads' as const, targets: () => [target('behind')] };
    const old = await serverHealth({
      ca,
      store,
      ocsp: { signers: [nobody] },
      housekeeping: behind,
      endpoints,
      clock,
    });
    assert.ok((old.crls[0]?.ageSeconds ?? 0) > 7.3 * 86_400);
    assert.match(
      old.problems.join(),
      /has no successor and ends at.*web is behind since 2030.*disk is full.*nobody can sign OCSP answers for issuing/,
    );

    clock.offsetMs = 9 * DAY_MS;
    const ended = await serverHealth({
      ca,
      store,
      ocsp: undefined,
      housekeeping: undefined,
      endpoints,
      clock,
    });
    assert.equal(ended.role, 'standby');
    assert.match(ended.problems.join(), /has ended: relying parties refuse/);
  } finally {
    await close();
  }
  const gone = await serverHealth({ ca, store, ocsp: undefined, housekeeping: undefined, endpoints, clock });
  assert.deepEqual([gone.store, gone.problems], ['unavailable', ['the database does not answer']]);
});
