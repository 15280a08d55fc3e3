import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { application, joinedDevice, openTestMdm, tenant } from '../../test/support/mdm-fixture.ts';
import { directoryRole, importRole } from './access-tokens.ts';
import type { OpenMdm } from './index.ts';

const directory = { appId: 'cccccccc-0000-4000-8000-000000000001', secret: 'hr', roles: [directoryRole] };
const importer = { appId: 'cccccccc-0000-4000-8000-000000000002', secret: 'pfx', roles: [importRole] };

let opened: OpenMdm;
before(async () => {
  opened = await openTestMdm({ applications: [application, directory, importer] });
});
after(() => opened.close());

async function tokenOf({ appId, secret }: typeof application): Promise<string> {
  const scope = `${opened.publicUrl}/.default`;
  const form = { grant_type: 'client_credentials', client_id: appId, client_secret: secret, scope };
  const answer = await fetch(`${opened.publicUrl}/${tenant}/oauth2/v2.0/token`, {
    method: 'POST',
    body: new URLSearchParams(form),
  });
  return ((await answer.json()) as { readonly access_token: string }).access_token;
}

async function call(path: string, body?: unknown, app: typeof application | undefined = directory) {
  const answer = await fetch(`${opened.publicUrl}/directory/${path}`, {
    method: body === undefined ? 'GET' : 'POST',
    headers: {
      authorization: `Bearer ${app === undefined ? 'none' : await tokenOf(app)}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  // biome-ignore lint/suspicious/noExplicitAny: what a server answers is looked at field by field
  return { status: answer.status, headers: answer.headers, body: (await answer.json()) as any };
}

const ada = { userPrincipalName: 'ada@example.com', onPremisesSecurityIdentifier: 'S-1-5-21-1-2-3-4' };

test('nobody but the directory comes in', async () => {
  for (const app of [application, importer])
    for (const [path, body] of [
      ['users', undefined],
      ['users', { users: [ada] }],
      ['devices', undefined],
      ['devices', { devices: [{ serialNumber: 'S-1' }] }],
    ] as const)
      assert.equal((await call(path, body, app)).status, 403, `${app.appId} ${path}`);
  const answer = await fetch(`${opened.publicUrl}/directory/users`);
  assert.equal(answer.status, 401);
  assert.deepEqual(opened.mdm.users(), []);
});

const refusals: readonly (readonly [name: string, path: string, body: unknown, message: RegExp])[] = [
  ['no rows', 'users', {}, /^users: /],
  ['a user without a name', 'users', { users: [{ userName: 'Ada' }] }, /^users\.0\.userPrincipalName: /],
  ['a user twice', 'users', { users: [ada, { userPrincipalName: 'ADA@example.com' }] }, /^users: the same/],
  ['a SID that is none', 'users', { users: [{ ...ada, onPremisesSecurityIdentifier: '1' }] }, /a SID/],
  ['a field that is not known', 'users', { users: [{ ...ada, admin: true }] }, /admin/],
  ['a device without a name', 'devices', { devices: [{}] }, /either deviceId or serialNumber/],
  ['a device twice', 'devices', { devices: [{ serialNumber: 'S' }, { serialNumber: 'S' }] }, /the same/],
  ['an unknown group', 'devices', { devices: [{ serialNumber: 'S', groups: 'absent' }] }, /no group absent/],
  ['tokens for ever', 'devices', { devices: [{ serialNumber: 'S' }], hours: 1e9 }, /^hours: /],
];
for (const [name, path, body, message] of refusals)
  test(`${name}: refused by name, and nothing is taken`, async () => {
    const answer = await call(path, body);
    assert.equal(answer.status, 400);
    assert.match(answer.body.error.message, message);
    assert.deepEqual(opened.mdm.users(), []);
  });

test('users and devices come in, and are changed', async () => {
  const first = await call('users', { users: [ada] });
  assert.equal(first.status, 200);
  const { userId } = first.body.users[0];
  const again = await call('users', { users: [{ ...ada, userName: 'Ada Lovelace' }] });
  assert.equal(again.body.users[0].userId, userId);
  assert.deepEqual((await call('users')).body.users, [{ ...ada, userId, userName: 'Ada Lovelace' }]);

  const { device } = await joinedDevice(opened, 'there');
  const answer = await call('devices', {
    devices: [
      { serialNumber: 'S-1', userPrincipalName: 'ada@example.com' },
      { deviceId: device.deviceId, userPrincipalName: 'ada@example.com', imei: '123456789012345' },
    ],
    hours: 1,
  });
  assert.equal(answer.headers.get('cache-control'), 'no-store');
  assert.equal(answer.body.changed, 1);
  const [{ serialNumber, token, expiresAt }] = answer.body.tokens;
  assert.equal(serialNumber, 'S-1');
  assert.ok(Math.abs(Date.parse(expiresAt) - Date.now() - 3_600_000) < 60_000);
  const joined = await opened.mdm.join({ token, deviceName: 'new', platform: 'iOS', serialNumber });
  assert.equal(joined.device.user?.userId, userId);
  const listed = (await call('devices')).body.devices;
  assert.deepEqual(
    listed.map((each: { readonly deviceName: string }) => each.deviceName),
    ['there', 'new'],
  );
  assert.equal(listed[0].attributes.imei, '123456789012345');
  assert.equal(JSON.stringify(listed).includes('token'), false);
  assert.equal((await call(`devices?after=${device.deviceId}`)).body.devices.length, 1);

  await call('users', { users: [{ userPrincipalName: 'bob@example.com' }] });
  const behind = (await call('users?after=ADA@example.com')).body.users;
  assert.deepEqual(
    behind.map((user: { readonly userPrincipalName: string }) => user.userPrincipalName),
    ['bob@example.com'],
  );
});

test('a listing has one beginning', async () => {
  for (const path of ['users?after=a&after=b', 'devices?after=a&after=b', 'devices?limit=5'])
    assert.equal((await call(path)).status, 400, path);
});
