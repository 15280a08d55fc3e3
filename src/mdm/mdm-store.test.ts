import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  deviceScepProfile,
  joinedDevice,
  openTestMdm,
  temporaryFolder,
} from '../../test/support/mdm-fixture.ts';
import { PkiError } from '../errors.ts';
import { MdmStore } from './mdm-store.ts';

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
before(async () => {
  folder = await temporaryFolder();
});
after(() => folder.remove());

const createdAt = new Date('2030-01-01T00:00:00Z');
const enrolment = (tokenHash: string, enrolledAt = createdAt) => ({
  tokenHash,
  deviceTokenHash: randomUUID(),
  device: {
    deviceId: randomUUID(),
    azureADDeviceId: randomUUID(),
    deviceName: 'd',
    serialNumber: 's',
    platform: 'linux' as const,
    enrolledAt,
    state: 'enrolled' as const,
  },
});

test('an enrolment token lets in exactly as many as it says, however many come at once', async () => {
  const store = MdmStore.open(join(folder.path, 'tokens.db'));
  const expiresAt = new Date('2030-01-02T00:00:00Z');
  await store.createEnrolmentToken({ tokenHash: 'token', createdAt, expiresAt, usesLeft: 3 });
  assert.equal(await store.consumeEnrolmentToken(enrolment('unknown')), undefined);
  assert.equal(await store.consumeEnrolmentToken(enrolment('token', expiresAt)), undefined);
  const answers = await Promise.all(
    Array.from({ length: 20 }, () => store.consumeEnrolmentToken(enrolment('token'))),
  );
  assert.equal(answers.filter(Boolean).length, 3);
  assert.equal(store.devices({ limit: 100 }).length, 3);
  store.close();
});

test('two processes share one token', async () => {
  const path = join(folder.path, 'shared.db');
  const stores = [MdmStore.open(path), MdmStore.open(path)];
  const expiresAt = new Date('2030-01-02T00:00:00Z');
  await stores[0]?.createEnrolmentToken({ tokenHash: 'token', createdAt, expiresAt, usesLeft: 1 });
  const answers = await Promise.all(stores.map((store) => store.consumeEnrolmentToken(enrolment('token'))));
  assert.equal(answers.filter((device) => device !== undefined).length, 1);
  for (const store of stores) store.close();
});

test('a device that failed to be recorded gives its use of the token back', async () => {
  const store = MdmStore.open(join(folder.path, 'back.db'));
  const expiresAt = new Date('2030-01-02T00:00:00Z');
  await store.createEnrolmentToken({ tokenHash: 'token', createdAt, expiresAt, usesLeft: 2 });
  const first = enrolment('token');
  assert.equal((await store.consumeEnrolmentToken(first))?.deviceId, first.device.deviceId);
  await assert.rejects(
    store.consumeEnrolmentToken({ ...enrolment('token'), deviceTokenHash: first.deviceTokenHash }),
    (thrown) => thrown instanceof PkiError && thrown.code === 'store_unavailable',
  );
  assert.notEqual(await store.consumeEnrolmentToken(enrolment('token')), undefined);
  store.close();
});

test('pages of devices hold each device once, also those of one instant', async () => {
  const store = MdmStore.open(join(folder.path, 'pages.db'));
  const expiresAt = new Date('2031-01-02T00:00:00Z');
  await store.createEnrolmentToken({ tokenHash: 'token', createdAt, expiresAt, usesLeft: 25 });
  for (let count = 0; count < 25; count += 1) await store.consumeEnrolmentToken(enrolment('token'));
  const seen = new Set<string>();
  let last: string | undefined;
  for (let pages = 0; pages < 10; pages += 1) {
    const page = store.devices({ limit: 4, after: last });
    for (const { deviceId } of page) seen.add(deviceId);
    last = page.at(-1)?.deviceId ?? last;
  }
  assert.equal(seen.size, 25);
  store.close();
});

test('a wiped device does not come back, a retired one can still be wiped', async () => {
  const store = MdmStore.open(join(folder.path, 'states.db'));
  const expiresAt = new Date('2031-01-02T00:00:00Z');
  await store.createEnrolmentToken({ tokenHash: 'token', createdAt, expiresAt, usesLeft: 1 });
  const { device, ...rest } = enrolment('token');
  await store.consumeEnrolmentToken({ device, ...rest });
  assert.equal(await store.fleet.setDeviceState('unknown', 'wiped', createdAt), false);
  assert.equal(await store.fleet.setDeviceState(device.deviceId, 'retired', createdAt), true);
  assert.equal(await store.fleet.setDeviceState(device.deviceId, 'enrolled', createdAt), false);
  assert.equal(await store.fleet.setDeviceState(device.deviceId, 'wiped', createdAt), true);
  assert.equal(store.device(device.deviceId)?.state, 'wiped');
  store.close();
});

test('challenges are forgotten a day after they expired, and no sooner', async () => {
  const store = MdmStore.open(join(folder.path, 'challenges.db'));
  await store.createEnrolmentToken({
    tokenHash: 'token',
    createdAt,
    expiresAt: new Date('2031-01-02T00:00:00Z'),
    usesLeft: 1,
  });
  const { device, ...rest } = enrolment('token');
  await store.consumeEnrolmentToken({ device, ...rest });
  const challenge = (id: string, hours: number) => ({
    challengeId: id,
    certificateRequestId: randomUUID(),
    deviceId: device.deviceId,
    profileId: deviceScepProfile.profileId,
    profileVersion: 1,
    challengeHash: 'hash',
    createdAt: new Date(createdAt.getTime() + hours * 3_600_000),
    expiresAt: new Date(createdAt.getTime() + (hours + 1) * 3_600_000),
  });
  await store.recordChallenge(challenge('first', 0));
  await store.recordValidation({ challengeId: 'first', transactionId: 't', requestHash: 'r', at: createdAt });
  await store.recordChallenge(challenge('second', 25));
  assert.deepEqual(store.challenge('first'), {
    ...challenge('first', 0),
    certificateRequestId: store.challenge('first')?.certificateRequestId,
  });
  await store.recordChallenge(challenge('third', 25.1));
  assert.equal(store.challenge('first'), undefined);
  assert.equal(store.isValidated({ challengeId: 'first', transactionId: 't', requestHash: 'r' }), false);
  assert.notEqual(store.challenge('second'), undefined);
  store.close();
});

test('what was promised is there after a restart; tokens and challenges are not', async () => {
  const databaseFile = join(folder.path, 'restart.db');
  const first = await openTestMdm({ databaseFile });
  const { device, deviceToken, profile } = await joinedDevice(first, 'laptop');
  await first.mdm.excludeDevice('root', device.deviceId);
  await first.close();
  const file = await readFile(databaseFile);
  assert.ok(file.includes(device.deviceId));
  assert.ok(!file.includes(deviceToken) && !file.includes(profile.challenge.slice(0, 64)));
  const second = await openTestMdm({ databaseFile });
  assert.equal(second.mdm.authenticate(deviceToken).deviceId, device.deviceId);
  assert.equal(second.mdm.profiles().find((record) => record.profile.profileId === 'root')?.version, 1);
  assert.ok(!(await second.mdm.checkIn(device, [])).profiles.some(({ profileId }) => profileId === 'root'));
  await second.close();
});
