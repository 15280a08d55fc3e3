import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { leafgate, newSite } from '../../test/support/cli-fixture.ts';
import {
  application,
  certificates,
  deviceScepProfile,
  intermediateProfile,
  keys,
  rootProfile,
  tenant,
} from '../../test/support/mdm-fixture.ts';
import { buildPem } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { MdmStore } from '../mdm/index.ts';
import { openLog, systemClock } from '../telemetry.ts';

let folder: string;
let config: string;
const path = (name: string) => join(folder, name);
const write = (name: string, text: string) => {
  writeFileSync(path(name), text, { mode: 0o600 });
  return path(name);
};
const mdm = (...words: string[]) => leafgate('mdm', ...words, '--config', config);
const json = async (...words: string[]) => JSON.parse(await mdm(...words, '--json'));

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leafgate-cli-mdm-'));
  const identity = (name: 'signer' | 'recipient') => {
    const passphrase = `passphrase of ${name}`;
    const key = createPrivateKey(keys[name].pem);
    write(`${name}.pem`, buildPem('CERTIFICATE', certificates[name].raw));
    write(
      `${name}.key.pem`,
      String(key.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase })),
    );
    write(`${name}.passphrase`, passphrase);
    return {
      certificate: `${name}.pem`,
      key: { file: `${name}.key.pem`, passphrase: `file:${name}.passphrase` },
    };
  };
  write('application.secret', application.secret);
  config = write(
    'leafgate.yaml',
    JSON.stringify({
      mdm: {
        listen: '127.0.0.1:0',
        databaseFile: 'mdm.sqlite',
        tenant,
        applications: [{ appId: application.appId, secret: 'file:application.secret' }],
        challengeSigner: identity('signer'),
        challengeRecipient: identity('recipient'),
      },
    }),
  );
  for (const profile of [rootProfile, intermediateProfile, deviceScepProfile]) {
    await mdm('profile', write('profile.json', JSON.stringify(profile)));
  }
});
after(() => rm(folder, { recursive: true, force: true }));

const rejectsWith = (code: string, message: RegExp) => (thrown: unknown) =>
  thrown instanceof PkiError && thrown.code === code && message.test(thrown.message);

test('what is wrong in a file is named', async () => {
  await assert.rejects(
    mdm('import-users', path('absent.csv')),
    rejectsWith('command_invalid', /absent\.csv/),
  );
  await assert.rejects(
    mdm('import-users', write('users.csv', 'userPrincipalName\nada')),
    rejectsWith('request_malformed', /line 2: userPrincipalName/),
  );
  await assert.rejects(mdm('profile', write('bad.json', '{')), rejectsWith('command_invalid', /not JSON/));
  const contradiction = { ...deviceScepProfile, keyUsage: ['keyEncipherment'] };
  await assert.rejects(
    mdm('profile', write('bad.json', JSON.stringify(contradiction))),
    rejectsWith('profile_invalid', /keyUsage: key usage and purposes disagree/),
  );
  await assert.rejects(mdm('token', '--group', 'absent'), rejectsWith('request_malformed', /no group/));
  await assert.rejects(mdm('token', '--user', 'x@y'), rejectsWith('request_malformed', /no user/));
  await assert.rejects(mdm('wipe', 'absent'), rejectsWith('device_unknown', /absent/));
  await assert.rejects(
    mdm('assign', 'device-certificate', '--nobody', '--all'),
    rejectsWith('command_invalid', /nobody/),
  );
  await assert.rejects(
    mdm('remove-profile', 'root-absent'),
    rejectsWith('profile_not_assigned', /root-absent/),
  );
});

test('a profile that the server’s template disagrees with is not stored', async () => {
  const site = await newSite();
  try {
    const storing = (profile: object, ...more: string[]) =>
      mdm('profile', write('profile.json', JSON.stringify(profile)), ...more);
    const profile = {
      ...deviceScepProfile,
      profileId: 'disagreeing',
      scepServerUrls: ['https://scep.example.com/scep/static'],
      certificateValidityPeriodValue: 2,
    };
    await assert.rejects(
      storing(profile, '--server', site.config),
      rejectsWith('profile_invalid', /certificateValidityPeriodValue: .*“client-authentication” disagree/),
    );
    await assert.rejects(
      storing(profile, '--server', config),
      rejectsWith('config_invalid', /no `server` part/),
    );
    assert.equal(
      (await json('profiles')).some((row: { profileId: string }) => row.profileId === 'disagreeing'),
      false,
    );
    await storing({ ...profile, certificateValidityPeriodValue: 1 }, '--server', site.config);
    assert.equal(await mdm('remove-profile', 'disagreeing'), 'disagreeing: deleted\n');
  } finally {
    await rm(site.folder, { recursive: true, force: true });
  }
});

test('a fleet by command: users, groups, tokens, assignments, lost and found', async () => {
  assert.equal(
    await mdm('import-users', write('users.csv', 'userPrincipalName,userName\nada@example.com,Ada')),
    '1 users\n',
  );
  assert.equal((await json('users'))[0].userName, 'Ada');
  await mdm('group', 'staff', '--name', 'Staff');
  await mdm('group', 'macs', '--platform', 'macOS');
  assert.deepEqual(
    (await json('groups')).map((row: { groupId: string; rule: string }) => [row.groupId, row.rule]),
    [
      ['macs', '{"platform":"macOS"}'],
      ['staff', ''],
    ],
  );
  const csv = write('devices.csv', 'serialNumber,userPrincipalName,groups\nSN-1,ada@example.com,staff\n');
  const [{ token }] = await json('import-devices', csv);
  assert.match((await json('token', '--user', 'ada@example.com', '--group', 'staff')).token, /^.{16}/);

  const store = MdmStore.open(path('mdm.sqlite'));
  const { Mdm } = await import('../mdm/index.ts');
  const opened = new Mdm({
    store,
    challengeSigner: { certificate: certificates.signer, sign: keys.signer.sign },
    challengeRecipient: { certificate: certificates.recipient, decrypt: keys.recipient.decrypt },
    clock: systemClock,
    log: openLog('silent', 'mdm'),
  });
  try {
    const { device } = await opened.join({
      token,
      deviceName: 'mac-1',
      platform: 'macOS',
      serialNumber: 'SN-1',
    });
    const { deviceId } = device;
    const state = () => store.device(deviceId);
    const targeted = () => store.isTargeted('device-certificate', deviceId);
    assert.equal(state()?.user?.userName, 'Ada');
    assert.equal(targeted(), true);
    await mdm('assign', 'device-certificate', '--group', 'staff', '--not-group', 'macs');
    assert.equal(targeted(), false);
    await mdm('assign', 'device-certificate', '--group', 'staff');
    assert.equal(targeted(), true);
    await mdm('member', 'staff', deviceId, '--remove');
    assert.equal(targeted(), false);
    await mdm('member', 'staff', deviceId);
    assert.equal(targeted(), true);
    await mdm('assign', 'device-certificate', '--nobody');
    assert.equal(targeted(), false);
    assert.deepEqual(await json('assign', 'device-certificate'), []);
    await mdm('lost', deviceId);
    assert.equal(state()?.state, 'lost');
    await mdm('found', deviceId);
    assert.equal(state()?.state, 'enrolled');
    await mdm('non-compliant', deviceId, '--grace-hours', '2', '--measure', 'revoke');
    assert.equal(state()?.nonCompliance?.measure, 'revoke');
    await mdm('compliant', deviceId);
    assert.equal(state()?.nonCompliance, undefined);
    await mdm('retire', deviceId);
    await assert.rejects(mdm('found', deviceId), rejectsWith('device_unknown', /enrolled/));
    await mdm('wipe', deviceId);
    assert.equal(state()?.state, 'wiped');
    assert.deepEqual(await json('certificates'), []);
    assert.deepEqual(await json('revocations'), []);
  } finally {
    store.close();
  }
});

test('imported PFX are listed without what is in them, and deleted', async () => {
  const store = MdmStore.open(path('mdm.sqlite'));
  const user = store.fleet.user('ada@example.com');
  assert.ok(user !== undefined);
  const at = new Date('2026-01-01T00:00:00Z');
  const thumbprint = 'AB'.repeat(20);
  await store.userPfx.put({
    userId: user.userId,
    thumbprint,
    intendedPurpose: 'wifi',
    userPrincipalName: user.userPrincipalName,
    startDateTime: at,
    expirationDateTime: new Date('2036-01-01T00:00:00Z'),
    providerName: 'provider',
    keyName: 'import-key',
    paddingScheme: 'oaepSha512',
    encryptedPfxBlob: 'QkxPQg==',
    encryptedPfxPassword: 'UEFTUw==',
    createdDateTime: at,
    lastModifiedDateTime: at,
  });
  store.close();
  const [listed, ...others] = await json('imported-pfx', '--user', 'Ada@example.com');
  assert.deepEqual(others, []);
  assert.equal(listed.thumbprint, thumbprint);
  assert.equal(listed.intendedPurpose, 'wifi');
  assert.equal(JSON.stringify(listed).includes('encryptedPfx'), false);
  assert.match(await mdm('imported-pfx'), new RegExp(thumbprint));

  await assert.rejects(
    mdm('remove-imported-pfx', 'ada@example.com', 'CD'.repeat(20)),
    rejectsWith('request_malformed', /has no PFX/),
  );
  await assert.rejects(
    mdm('imported-pfx', '--user', 'nobody@example.com'),
    rejectsWith('request_malformed', /no user nobody/),
  );
  await mdm('remove-imported-pfx', 'ada@example.com', thumbprint.toLowerCase());
  assert.deepEqual(await json('imported-pfx'), []);
});

test('a device without an agent is taken in, and its profiles are exported as a file', async () => {
  await assert.rejects(
    mdm('add-device', 'phone\n', '--platform', 'iOS'),
    rejectsWith('request_malformed', /deviceName/),
  );
  await assert.rejects(
    mdm('add-device', 'phone', '--platform', 'iOS', '--user', 'x@y'),
    rejectsWith('request_malformed', /no user/),
  );
  const { deviceId } = await json('add-device', 'phone', '--platform', 'iOS', '--serial', 'F2L');
  const [device] = (await json('devices')).filter((row: { deviceId: string }) => row.deviceId === deviceId);
  assert.deepEqual([device.deviceName, device.platform, device.serialNumber], ['phone', 'iOS', 'F2L']);
  await mdm('assign', 'device-certificate', '--all');
  const exported = (format: string, ...more: string[]) =>
    mdm('export', deviceId, '--format', format, '--output', path('exported'), ...more);
  const wrong: readonly (readonly [why: RegExp, format: string, ...more: string[]])[] = [
    [/--replace/, 'json', '--replace'],
    [/--unsigned/, 'json', '--unsigned'],
    [/--ask-password/, 'syncml', '--ask-password'],
    [/--pkcs12-password/, 'json', '--pkcs12-password', 'env:X'],
    [/--without-pfx/, 'json', '--without-pfx', '--ask-password'],
    [/cannot write/, 'json', '--output', path('leafgate.yaml/file')],
  ];
  for (const [why, format, ...more] of wrong)
    await assert.rejects(exported(format, ...more), rejectsWith('command_invalid', why));
  assert.match(
    await exported('syncml', '--replace'),
    /exported: syncml for .*: root, intermediate, device-certificate\nits challenges .* for an hour/,
  );
  const text = readFileSync(path('exported'), 'utf8');
  assert.match(text, /<Delete>/);
  assert.match(text, /SCEP/);
  const mail = {
    kind: 'importedPfx',
    profileId: 'mail',
    displayName: 'Mail',
    intendedPurpose: 'smimeEncryption',
    rootCertificate: 'root',
  };
  await mdm('profile', write('mail.json', JSON.stringify(mail)));
  assert.match(await exported('json'), /^mail: not in the file: the device has no user$/m);
  await mdm('assign', 'mail', '--nobody');
});

test('a device is shown with its user and whether it keeps the rules', async () => {
  const { deviceId, deviceName } = (await json('devices'))[0];
  const csv = `deviceId,userPrincipalName\n${deviceId},ada@example.com\n`;
  assert.equal(await mdm('import-devices', write('devices.csv', csv)), '1 devices changed\n');
  const shown = async () =>
    (await mdm('devices')).split('\n').find((line) => line.includes(`  ${deviceName}  `)) ?? '';
  assert.match(await shown(), /ada@example\.com +\w+ +compliant$/);
  await mdm('non-compliant', deviceId, '--grace-hours', '72', '--measure', 'revoke');
  assert.match(await shown(), /non-compliant: revoke from 20/);
  await mdm('compliant', deviceId);
  assert.match(await shown(), / +compliant$/);
});
