import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import {
  certificates,
  clientAuth,
  ecKey,
  MovableClock,
  openTestMdm,
  rsaKey,
  type TestKey,
  testCertificate,
} from '../../test/support/mdm-fixture.ts';
import type { Device } from './device.ts';
import type { OpenMdm } from './http.ts';
import { LEASE_MS, type PkcsTask, withdrawn } from './pkcs-requests.ts';

const clock = new MovableClock();
const DAY_MS = 24 * 60 * 60 * 1000;
const recipient = Buffer.from(certificates.recipient.raw).toString('base64');
const thumbprint = 'A1'.repeat(20);
const pfx = { encryptedPfxBlob: 'AAAA', encryptedPfxPassword: 'BBBB' };
const certificate = {
  thumbprint,
  serialNumber: '0A',
  issuerName: 'CN=Test Issuing CA,O=Test',
  notAfter: new Date(2 ** 42),
};

const made = {
  kind: 'pkcs',
  profileId: 'made',
  displayName: 'Made by the connector',
  certificateType: 'user',
  subjectNameFormat: 'CN={{UserPrincipalName}}',
  keyUsage: ['digitalSignature'],
  extendedKeyUsages: [{ name: 'Client Authentication', objectIdentifier: clientAuth }],
  certificationAuthorityName: 'issuing',
  certificateTemplateName: 'client-authentication',
  rootCertificate: 'intermediate',
} as const;
const imported = {
  kind: 'importedPfx',
  profileId: 'imported',
  displayName: 'Imported',
  intendedPurpose: 'smimeEncryption',
  rootCertificate: 'intermediate',
} as const;

let opened: OpenMdm;
let device: Device;
let devices = 0;

const importPfx = (named = thumbprint, startsDaysAgo = 10) =>
  opened.mdm.importedPfx.import({
    thumbprint: named,
    intendedPurpose: 'smimeEncryption',
    userPrincipalName: `ada-${devices}@example.com`,
    startDateTime: new Date(clock.now().getTime() - startsDaysAgo * DAY_MS),
    expirationDateTime: new Date(clock.now().getTime() + 10 * DAY_MS),
    providerName: 'provider',
    keyName: 'key',
    paddingScheme: 'oaepSha512',
    encryptedPfxBlob: 'AAAA',
    encryptedPfxPassword: 'AAAA',
  });
const userId = () => device.user?.userId ?? '';

before(async () => {
  opened = await openTestMdm({ clock });
});
after(() => opened.close());
beforeEach(async () => {
  devices += 1;
  const { mdm } = opened;
  const names = [`ada-${devices}@example.com`, `eve-${devices}@example.com`];
  const [ada] = await mdm.importUsers(names.map((userPrincipalName) => ({ userPrincipalName })));
  const claims = { deviceName: `pc-${devices}`, platform: 'iOS', serialNumber: `S-${devices}` } as const;
  device = await mdm.addDevice(claims, { user: ada });
  for (const profile of [made, imported]) await mdm.upsertProfile(profile);
  await importPfx();
  await mdm.pkcs.nameRecipient(device.deviceId, recipient);
});

const checkIn = async (profileId: string): Promise<string | undefined> => {
  const { mdm } = opened;
  const { profiles } = await mdm.checkIn(mdm.device(device.deviceId) ?? device, []);
  const profile = profiles.find((each) => each.profileId === profileId);
  return profile !== undefined && 'pfx' in profile ? profile.pfx : undefined;
};

/** Of this test's device, the tasks of a profile. Its requests are known by what a connector got first. */
const requestIds = new Map<string, string>();
async function take(): Promise<PkcsTask[]> {
  const tasks = await opened.mdm.pkcs.take(100);
  for (const task of tasks)
    if ('deviceId' in task && task.deviceId === device.deviceId)
      requestIds.set(task.action === 'issue' ? 'made' : 'imported', task.requestId);
  return tasks;
}
async function actionsOf(profileId: string): Promise<string[]> {
  const tasks = await take();
  const requestId = requestIds.get(profileId);
  return tasks.filter((task) => task.requestId === requestId).map(({ action }) => action);
}
const ticketOf = (profileId: string, attempt = 1) => ({
  requestId: requestIds.get(profileId) ?? '',
  attempt,
});

const first: readonly (readonly [profileId: string, action: string])[] = [
  ['made', 'issue'],
  ['imported', 'deliver'],
];

describe('a request whose connector has died', () => {
  const changes: readonly (readonly [
    name: string,
    change: () => Promise<unknown>,
    made: string,
    imported: string,
  ])[] = [
    ['is given to the next one, if all is as it was', async () => {}, 'issue', 'deliver'],
    [
      'is withdrawn, if the device has got another user',
      () => opened.mdm.setDeviceUser(device.deviceId, opened.mdm.user(`eve-${devices}@example.com`)),
      'withdraw',
      'withdraw',
    ],
    [
      'is withdrawn, if the device has lost its user',
      () => opened.mdm.setDeviceUser(device.deviceId, undefined),
      'withdraw',
      'withdraw',
    ],
    [
      'is withdrawn, if the device is retired',
      () => opened.mdm.setDeviceState(device.deviceId, 'retired'),
      'withdraw',
      'withdraw',
    ],
    [
      'is withdrawn, if the profile is not for the device any more',
      async () => {
        await opened.mdm.excludeDevice('made', device.deviceId);
        await opened.mdm.excludeDevice('imported', device.deviceId);
      },
      'withdraw',
      'withdraw',
    ],
    [
      'is withdrawn, if its PFX was deleted',
      () => opened.mdm.importedPfx.delete({ userId: userId(), thumbprint }),
      'issue',
      'withdraw',
    ],
    ['is withdrawn, if its PFX was imported anew', () => importPfx(), 'issue', 'withdraw'],
    ['is withdrawn, if a newer PFX was imported', () => importPfx('B2'.repeat(20), 1), 'issue', 'withdraw'],
    [
      'is withdrawn, if the profile is for another purpose now',
      () => opened.mdm.upsertProfile({ ...imported, intendedPurpose: 'smimeSigning' }),
      'issue',
      'withdraw',
    ],
  ];
  for (const [name, change, madeNow, importedNow] of changes)
    test(name, async () => {
      for (const [profileId] of first) assert.equal(await checkIn(profileId), 'pending');
      const tasks = await take();
      for (const [profileId, action] of first)
        assert.deepEqual(
          tasks.filter(({ requestId }) => requestId === requestIds.get(profileId)).map((task) => task.action),
          [action],
        );
      clock.offsetMs += 1000;
      await change();
      clock.offsetMs += LEASE_MS;
      const again = await take();
      const actionOf = (profileId: string) =>
        again.find(({ requestId }) => requestId === ticketOf(profileId).requestId)?.action;
      assert.equal(actionOf('made'), madeNow);
      assert.equal(actionOf('imported'), importedNow);
    });
});

test('a PFX is for nobody before the connector says that its key is forgotten', async () => {
  assert.equal(await checkIn('imported'), 'pending');
  assert.deepEqual(await actionsOf('imported'), ['deliver']);
  const ticket = ticketOf('imported');
  await assert.rejects(opened.mdm.pkcs.acknowledge(ticket, 'delivered'), { code: 'pfx_lease_over' });
  await opened.mdm.pkcs.upload(ticket, pfx, certificate);
  assert.equal(await checkIn('imported'), 'pending');
  await opened.mdm.pkcs.acknowledge(ticket, 'delivered');
  assert.equal(await checkIn('imported'), 'ready');
  assert.deepEqual(opened.mdm.certificates(device.deviceId), [], 'it is not this device’s to revoke');
});

describe('a connector that is late', () => {
  const rows: readonly (readonly [name: string, attempt: number])[] = [
    ['has no say about what another one has taken', 1],
    ['and none about what nobody has taken yet', 3],
  ];
  for (const [name, attempt] of rows)
    test(name, async () => {
      await checkIn('imported');
      assert.deepEqual(await actionsOf('imported'), ['deliver']);
      clock.offsetMs += LEASE_MS + 1;
      assert.deepEqual(await actionsOf('imported'), ['deliver']);
      const ticket = ticketOf('imported', attempt);
      const over = { code: 'pfx_lease_over' };
      const stale = { ...certificate, thumbprint: 'C3'.repeat(20) };
      await assert.rejects(opened.mdm.pkcs.upload(ticket, pfx, stale), over);
      await opened.mdm.pkcs.fail(ticket, 'pfx_unopened');
      assert.equal(await checkIn('imported'), 'pending');
      await opened.mdm.pkcs.upload(ticketOf('imported', 2), pfx, certificate);
      for (const outcome of ['delivered', 'withdrawn'] as const) {
        await assert.rejects(opened.mdm.pkcs.acknowledge(ticket, outcome), over);
        assert.equal(await checkIn('imported'), 'pending');
      }
      await opened.mdm.pkcs.acknowledge(ticketOf('imported', 2), 'delivered');
      assert.equal(await checkIn('imported'), 'ready');
    });

  test('and none when its lease is over, though nobody else has it', async () => {
    await checkIn('imported');
    assert.deepEqual(await actionsOf('imported'), ['deliver']);
    clock.offsetMs += LEASE_MS;
    await assert.rejects(opened.mdm.pkcs.upload(ticketOf('imported'), pfx, certificate), {
      code: 'pfx_lease_over',
    });
  });
});

test('a device whose PFX was deleted before it fetched it gets none', async () => {
  await checkIn('imported');
  assert.deepEqual(await actionsOf('imported'), ['deliver']);
  await opened.mdm.pkcs.upload(ticketOf('imported'), pfx, certificate);
  await opened.mdm.pkcs.acknowledge(ticketOf('imported'), 'delivered');
  await opened.mdm.importedPfx.delete({ userId: userId(), thumbprint });
  assert.equal(await checkIn('imported'), undefined);
  clock.offsetMs += LEASE_MS + 1;
  assert.deepEqual(await actionsOf('imported'), ['withdraw']);
});

test('nobody dies on a request for ever', async () => {
  await checkIn('imported');
  for (let attempt = 1; attempt <= 20; attempt += 1) {
    assert.deepEqual(await actionsOf('imported'), ['deliver'], `attempt ${attempt}`);
    clock.offsetMs += LEASE_MS + 1;
  }
  assert.deepEqual(await actionsOf('imported'), []);
  assert.deepEqual(await actionsOf('imported'), ['withdraw']);
});

describe('nothing is encrypted to', () => {
  const rows: readonly (readonly [name: string, key: TestKey])[] = [
    ['a short key', rsaKey(1024)],
    ['a key that can only sign', ecKey()],
  ];
  for (const [name, key] of rows)
    test(name, async () => {
      const { raw } = await testCertificate({ subject: 'CN=delivery', key, kind: 'other' });
      const named = opened.mdm.pkcs.nameRecipient(device.deviceId, Buffer.from(raw).toString('base64'));
      await assert.rejects(named, { code: 'request_malformed', message: /RSA of 2048 bits/ });
    });

  test('a certificate that is not for encryption', async () => {
    const ca = await testCertificate({ subject: 'CN=CA', key: rsaKey(), kind: 'ca' });
    await assert.rejects(
      opened.mdm.pkcs.nameRecipient(device.deviceId, Buffer.from(ca.raw).toString('base64')),
      { code: 'request_malformed', message: /not for encryption/ },
    );
  });

  test('what is no certificate', async () => {
    await assert.rejects(opened.mdm.pkcs.nameRecipient(device.deviceId, 'AAAA'), {
      code: 'request_malformed',
    });
  });
});

/** Brings the imported PFX as far as the device's next check-in. */
async function bring(): Promise<void> {
  assert.equal(await checkIn('imported'), 'pending');
  assert.deepEqual(await actionsOf('imported'), ['deliver']);
  await opened.mdm.pkcs.upload(ticketOf('imported'), pfx, certificate);
  await opened.mdm.pkcs.acknowledge(ticketOf('imported'), 'delivered');
  assert.equal(await checkIn('imported'), 'ready');
}

test('a PFX for a key that the device had before is given up, and made for the new one', async () => {
  await bring();
  const before = ticketOf('imported').requestId;
  const other = Buffer.from(certificates.tls.raw).toString('base64');
  await opened.mdm.pkcs.nameRecipient(device.deviceId, other);
  assert.equal(await checkIn('imported'), 'pending');
  clock.offsetMs += LEASE_MS + 1;
  const tasks = await take();
  assert.equal(tasks.find(({ requestId }) => requestId === before)?.action, 'withdraw');
  const after = tasks.find(({ requestId }) => requestId === ticketOf('imported').requestId);
  assert.equal(after?.action === 'deliver' ? after.recipient : after?.action, other);
});

test('a PFX that was imported anew is not given in its old form', async () => {
  await bring();
  clock.offsetMs += 1000;
  await importPfx();
  assert.equal(await checkIn('imported'), 'pending');
});

test('a PFX stays until the device has installed it, and no other', async () => {
  await bring();
  const { mdm } = opened;
  await mdm.pkcs.installed(device.deviceId, 'imported', 'C3'.repeat(20));
  assert.equal(await checkIn('imported'), 'ready');
  await mdm.pkcs.installed(device.deviceId, 'imported', thumbprint.toLowerCase());
  assert.equal(await checkIn('imported'), 'pending', 'it is not kept for a second time');
});

test('a request that is withdrawn keeps no PFX', () => {
  const request = {
    requestId: 'r',
    deviceId: 'd',
    profileId: 'p',
    profileVersion: 1,
    state: 'issued',
    order: { userId: 'u', thumbprint, lastModifiedDateTime: '' },
    recipient,
    createdAt: clock.now(),
    pfx,
  } as const;
  const now = clock.now();
  for (const [attempt, state] of [
    [0, 'withdrawn'],
    [1, 'withdrawing'],
  ] as const) {
    const after = withdrawn({ ...request, attempt }, now);
    assert.deepEqual([after.state, after.pfx], [state, undefined]);
  }
});

test('a device that breaks the rules gets no PFX that was imported', async () => {
  await opened.mdm.setDeviceState(device.deviceId, 'lost');
  assert.equal(await checkIn('imported'), 'none');
  assert.deepEqual(await actionsOf('imported'), []);
});
