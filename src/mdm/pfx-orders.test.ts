import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import {
  certificates,
  clientAuth,
  joinedDevice,
  MovableClock,
  openTestMdm,
  temporaryFolder,
} from '../../test/support/mdm-fixture.ts';
import { openLog } from '../telemetry.ts';
import type { Device } from './device.ts';
import type { PfxSource } from './device-profiles.ts';
import type { OpenMdm } from './http.ts';
import { MdmStore } from './mdm-store.ts';
import { PfxOrders } from './pfx-orders.ts';
import { LEASE_MS } from './pkcs-requests.ts';

const clock = new MovableClock();
const recipient = Buffer.from(certificates.recipient.raw).toString('base64');
const pfx = { encryptedPfxBlob: 'AAAA', encryptedPfxPassword: 'BBBB' };
const issuerName = 'CN=Test Issuing CA,O=Test';
let opened: OpenMdm;
let device: Device;
let devices = 0;

before(async () => {
  opened = await openTestMdm({ clock });
  await opened.mdm.upsertProfile({
    kind: 'pkcs',
    profileId: 'pkcs',
    displayName: 'PKCS',
    certificateType: 'device',
    subjectNameFormat: 'CN={{DeviceId}}',
    keyUsage: ['digitalSignature'],
    extendedKeyUsages: [{ name: 'Client Authentication', objectIdentifier: clientAuth }],
    certificationAuthorityName: 'issuing',
    certificateTemplateName: 'client-authentication',
    rootCertificate: 'intermediate',
  });
});
after(() => opened.close());
beforeEach(async () => {
  devices += 1;
  ({ device } = await joinedDevice(opened, `pc-${devices}`));
  // What a test leaves open does not stand in the way of the next one.
  clock.offsetMs += LEASE_MS + 1;
  await take();
});

const order = async (lifetimeMs = 60_000): Promise<string> => {
  let requestId = '';
  const pfxSource: PfxSource = {
    hasRecipient: () => true,
    pfxFor: async (wish) => {
      const wantedUntil = new Date(clock.now().getTime() + lifetimeMs);
      requestId = await opened.mdm.pfxOrders.order(wish, { recipient, wantedUntil });
      return 'pending';
    },
  };
  const { profiles } = await opened.mdm.fetchingFrom(pfxSource).checkIn(device, []);
  assert.equal(profiles.find(({ profileId }) => profileId === 'pkcs')?.kind, 'pkcs');
  return requestId;
};
const take = () => opened.mdm.pkcs.take(100);
const tasksOf = async (requestId: string) =>
  (await take()).filter((task) => task.requestId === requestId).map(({ action }) => action);

/** What a connector brings for the order. */
async function bring(requestId: string): Promise<string> {
  assert.deepEqual(await tasksOf(requestId), ['issue']);
  const thumbprint = requestId.replaceAll('-', '').toUpperCase().padEnd(40, '0');
  const certificate = { thumbprint, serialNumber: thumbprint, issuerName, notAfter: new Date(2 ** 42) };
  await opened.mdm.pkcs.upload({ requestId, attempt: 1 }, pfx, certificate);
  assert.deepEqual(opened.mdm.pfxOrders.state(requestId), { state: 'open' });
  await opened.mdm.pkcs.acknowledge({ requestId, attempt: 1 }, 'delivered');
  return thumbprint;
}
const standingOf = (thumbprint: string) =>
  opened.mdm.certificates(device.deviceId).find((each) => each.thumbprint === thumbprint);

test('one that is given up before a connector had it asks nothing of any', async () => {
  const requestId = await order();
  await opened.mdm.pfxOrders.giveUp(requestId);
  assert.deepEqual(opened.mdm.pfxOrders.state(requestId), { state: 'over' });
  assert.deepEqual(await tasksOf(requestId), []);
  await assert.rejects(opened.mdm.pfxOrders.fetched(requestId), { code: 'pfx_lease_over' });
});

test('one that is given up while a connector works on it is withdrawn when the lease is over', async () => {
  const requestId = await order();
  assert.deepEqual(await tasksOf(requestId), ['issue']);
  await opened.mdm.pfxOrders.giveUp(requestId);
  assert.deepEqual(await tasksOf(requestId), []);
  clock.offsetMs += LEASE_MS + 1;
  assert.deepEqual(await tasksOf(requestId), ['withdraw']);
});

test('one that nobody fetches in time is withdrawn, and its certificate counts as revoked', async () => {
  const requestId = await order(LEASE_MS);
  const thumbprint = await bring(requestId);
  assert.deepEqual(opened.mdm.pfxOrders.state(requestId), { state: 'here', pfx });
  assert.equal(standingOf(thumbprint)?.standing, 'good');
  clock.offsetMs += LEASE_MS + 1;
  assert.deepEqual(await tasksOf(requestId), ['withdraw']);
  await opened.mdm.pkcs.acknowledge({ requestId, attempt: 1 }, 'withdrawn');
  assert.equal(standingOf(thumbprint)?.standing, 'revoked');
  assert.equal(standingOf(thumbprint)?.revokeStatus, 'revoked');
  assert.deepEqual(opened.mdm.pfxOrders.state(requestId), { state: 'over' });
});

test('one that is given up between upload and acknowledgement is withdrawn, not acknowledged', async () => {
  const requestId = await order();
  assert.deepEqual(await tasksOf(requestId), ['issue']);
  const thumbprint = 'AB'.repeat(20);
  const certificate = { thumbprint, serialNumber: '0B', issuerName, notAfter: new Date(2 ** 42) };
  await opened.mdm.pkcs.upload({ requestId, attempt: 1 }, pfx, certificate);
  await opened.mdm.pfxOrders.giveUp(requestId);
  await assert.rejects(opened.mdm.pkcs.acknowledge({ requestId, attempt: 1 }, 'delivered'), {
    code: 'pfx_lease_over',
  });
  assert.deepEqual(opened.mdm.pfxOrders.state(requestId), { state: 'over' });
  clock.offsetMs += LEASE_MS + 1;
  assert.deepEqual(await tasksOf(requestId), ['withdraw']);
});

test('one whose time was over before it was kept is not fetched', async () => {
  const requestId = await order(LEASE_MS);
  await bring(requestId);
  clock.offsetMs += LEASE_MS + 1;
  assert.deepEqual(await tasksOf(requestId), ['withdraw']);
  await assert.rejects(opened.mdm.pfxOrders.fetched(requestId), { code: 'pfx_lease_over' });
  await opened.mdm.pkcs.acknowledge({ requestId, attempt: 1 }, 'withdrawn');
  await assert.rejects(opened.mdm.pfxOrders.fetched(requestId), { code: 'pfx_lease_over' });
});

test('one that was fetched leaves no PFX in the file', async () => {
  const folder = await temporaryFolder();
  const store = MdmStore.open(join(folder.path, 'mdm.db'));
  try {
    const orders = new PfxOrders({ store: store.pkcs, clock, log: openLog('silent', 'test') });
    const wish = { deviceId: randomUUID(), profileId: 'p', profileVersion: 1 };
    const wantedUntil = new Date(clock.now().getTime() + LEASE_MS);
    const importedOrder = { userId: randomUUID(), thumbprint: 'AB'.repeat(20), lastModifiedDateTime: '' };
    const requestId = await orders.order({ ...wish, order: importedOrder }, { recipient, wantedUntil });
    assert.deepEqual(store.pkcs.request(requestId)?.wantedUntil, wantedUntil);
    await store.pkcs.change(requestId, (request) => ({ ...request, state: 'issued', pfx }));
    assert.deepEqual(store.pkcs.request(requestId)?.pfx, pfx);
    await orders.fetched(requestId);
    assert.equal(store.pkcs.request(requestId)?.state, 'delivered');
    assert.equal(store.pkcs.request(requestId)?.pfx, undefined);
  } finally {
    store.close();
    await folder.remove();
  }
});

test('one that the CA refuses says why', async () => {
  const requestId = await order();
  await take();
  await opened.mdm.pkcs.fail({ requestId, attempt: 1 }, 'template_not_allowed');
  assert.deepEqual(opened.mdm.pfxOrders.state(requestId), { state: 'over', error: 'template_not_allowed' });
});

test('one that was fetched leaves no PFX, and its certificate is the device’s', async () => {
  const requestId = await order(LEASE_MS);
  const thumbprint = await bring(requestId);
  await opened.mdm.pfxOrders.fetched(requestId);
  await opened.mdm.pfxOrders.giveUp(requestId);
  assert.deepEqual(opened.mdm.pfxOrders.state(requestId), { state: 'over' });
  clock.offsetMs += LEASE_MS + 1;
  assert.deepEqual(await tasksOf(requestId), []);
  assert.equal(standingOf(thumbprint)?.standing, 'good');
  await opened.mdm.setDeviceState(device.deviceId, 'retired');
  assert.equal(standingOf(thumbprint)?.standing, 'revoked');
});

test('orders and the device’s own request leave each other alone', async () => {
  const { deviceId } = device;
  const ownProgress = async () => {
    const { profiles } = await opened.mdm.checkIn(device, []);
    const profile = profiles.find(({ profileId }) => profileId === 'pkcs');
    return profile?.kind === 'pkcs' ? profile.pfx : undefined;
  };
  const first = await order();
  assert.equal(await ownProgress(), 'recipientWanted');
  await opened.mdm.pkcs.nameRecipient(deviceId, recipient);
  assert.equal(await ownProgress(), 'pending');
  const second = await order();
  assert.equal(await ownProgress(), 'pending');
  const mine = (await take()).filter((task) => task.action === 'issue' && task.deviceId === deviceId);
  assert.equal(mine.length, 3);
  for (const requestId of [first, second])
    assert.deepEqual(opened.mdm.pfxOrders.state(requestId), { state: 'open' });
});
