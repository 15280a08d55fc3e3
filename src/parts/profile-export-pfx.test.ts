import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../../test/support/mdm-fixture.ts';
import { MdmStore } from '../mdm/mdm-store.ts';
import { PfxOrders } from '../mdm/pfx-orders.ts';
import { systemClock as clock, openLog } from '../telemetry.ts';
import { newPfxPassword, PfxFetcher } from './profile-export-pfx.ts';

const MINUTE_MS = 60_000;

test('a PFX is wanted as long as it is waited for, and a minute for its file', async () => {
  const folder = await temporaryFolder();
  const store = MdmStore.open(join(folder.path, 'mdm.db'));
  try {
    const pfxOrders = new PfxOrders({ store: store.pkcs, clock, log: openLog('silent', 'test') });
    const waited: string[] = [];
    const onWait = (profileId: string) => void waited.push(profileId);
    const fetcher = new PfxFetcher({ mdm: { pfxOrders }, waitMs: 1000, onWait, clock });
    const order = { userId: randomUUID(), thumbprint: 'AB'.repeat(20), lastModifiedDateTime: '' };
    const wish = { deviceId: randomUUID(), profileId: 'mail', profileVersion: 1, order };
    const beginMs = clock.now().getTime();
    await assert.rejects(fetcher.pfxFor(wish), { code: 'pfx_not_made' });
    assert.deepEqual(waited, ['mail']);
    const [request] = store.pkcs.open(10);
    assert.equal(request?.state, 'requested');
    const wantedMs = (request.wantedUntil?.getTime() ?? 0) - beginMs;
    assert.ok(wantedMs >= MINUTE_MS && wantedMs <= MINUTE_MS + 2000, `${wantedMs} ms`);
    await fetcher.giveUp();
    assert.equal(store.pkcs.request(request.requestId)?.state, 'withdrawn');
    await assert.rejects(fetcher.kept(), { code: 'pfx_lease_over' });
  } finally {
    store.close();
    await folder.remove();
  }
});

test('passwords are never the same, and long enough', () => {
  for (const [password, form] of [
    ['in the file', /^[A-Za-z0-9_-]{43}$/],
    ['asked', /^[a-hj-km-np-z2-9]{4}(-[a-hj-km-np-z2-9]{4}){4}$/],
  ] as const) {
    const made = Array.from({ length: 50 }, () => newPfxPassword({ password }));
    for (const each of made) assert.match(each, form);
    assert.equal(new Set(made).size, made.length);
  }
});
