import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { openTestMdm } from '../../test/support/mdm-fixture.ts';
import { PkiError } from '../errors.ts';
import { parseDevices, parseUsers } from './directory.ts';
import type { OpenMdm } from './index.ts';

const malformed = (message: RegExp) => (thrown: unknown) =>
  thrown instanceof PkiError && thrown.code === 'request_malformed' && message.test(thrown.message);

const badUsers: readonly (readonly [name: string, csv: string, message: RegExp])[] = [
  ['nothing', '', /line 1: the table is empty/],
  ['blank lines alone', '\r\n\n', /empty/],
  ['an unknown field', 'userPrincipalName,password\na@b,x', /line 2: .*password/],
  ['a field twice', 'userPrincipalName,userPrincipalName\na@b,a@b', /line 1: .*twice/],
  ['no name', 'userName\nAda', /line 2: userPrincipalName/],
  ['a name without a domain', 'userPrincipalName\nada', /line 2: userPrincipalName/],
  ['a field too many', 'userPrincipalName\na@b,c', /line 2: 2 fields/],
  ['a field too few', 'userPrincipalName,userName\na@b', /line 2: 1 fields/],
  ['one user twice', 'userPrincipalName\na@b\nA@B', /line 3: the same/],
  ['a SID that is none', 'userPrincipalName,onPremisesSecurityIdentifier\na@b,S-1', /line 2: onPrem/],
  ['an id that is none', 'userPrincipalName,userId\na@b,7', /line 2: userId/],
  ['an open quotation mark', 'userPrincipalName,userName\na@b,"Ada', /line 2: a quotation mark/],
  ['text after a quotation mark', 'userPrincipalName,userName\na@b,"Ada"x', /line 2: a quotation mark/],
  ['a quotation mark in text', 'userPrincipalName,userName\na@b,A"da', /line 2: a quotation mark/],
  ['a line break in a name', 'userPrincipalName,userName\na@b,"A\nda"', /line 2: userName/],
  ['a fault after a quoted line break', 'userPrincipalName,userName\n"a@\nb",x\nc', /line 2/],
];
for (const [name, csv, message] of badUsers) {
  test(`users with ${name} are refused, and the line is named`, () => {
    assert.throws(() => parseUsers(csv), malformed(message));
  });
}

const badDevices: readonly (readonly [name: string, csv: string, message: RegExp])[] = [
  ['neither id nor number', 'imei\n123456789012345', /line 2: .*either/],
  ['both', 'deviceId,serialNumber\n0a0a0a0a-1111-4222-8333-444444444444,7', /line 2: .*either/],
  ['an IMEI that is none', 'serialNumber,imei\n7,12', /line 2: imei/],
  ['a group that is none', 'serialNumber,groups\n7,a b', /line 2: groups/],
  ['a host without a domain', 'serialNumber,fullyQualifiedDomainName\n7,host', /fullyQualified/],
];
for (const [name, csv, message] of badDevices) {
  test(`devices with ${name} are refused`, () => {
    assert.throws(() => parseDevices(csv), malformed(message));
  });
}

test('a table as Excel writes it', () => {
  const csv =
    '\uFEFFuserPrincipalName,userName,onPremisesDistinguishedName\r\n' +
    'ada@example.com,"Lovelace, Ada ""A.""","CN=Ada,DC=example,DC=com"\r\n\r\n' +
    'bob@example.com,,\r\n';
  assert.deepEqual(parseUsers(csv), [
    {
      userPrincipalName: 'ada@example.com',
      userName: 'Lovelace, Ada "A."',
      onPremisesDistinguishedName: 'CN=Ada,DC=example,DC=com',
    },
    { userPrincipalName: 'bob@example.com' },
  ]);
  assert.deepEqual(parseUsers('userPrincipalName\na@b'), [{ userPrincipalName: 'a@b' }]);
});

// --- the MDM ------------------------------------------------------------------------------------------------------------

let opened: OpenMdm;
before(async () => {
  opened = await openTestMdm();
});
after(() => opened.close());

test('a user keeps his id, and his devices follow him', async () => {
  const [ada = assert.fail()] = await opened.mdm.importUsers([{ userPrincipalName: 'ada@example.com' }]);
  await assert.rejects(
    opened.mdm.importUsers([
      { userPrincipalName: 'new@example.com' },
      { userPrincipalName: 'ADA@example.com', userId: '0c0c0c0c-1111-4222-8333-444444444444' },
    ]),
    malformed(/userId/),
  );
  assert.deepEqual(opened.mdm.users(), [ada]);
  const { token } = await opened.mdm.createEnrolmentToken({ user: ada });
  const { device } = await opened.mdm.join({
    token,
    deviceName: 'ada-1',
    platform: 'windows',
    serialNumber: '1',
  });
  const [again = assert.fail()] = await opened.mdm.importUsers([
    {
      userPrincipalName: 'Ada@example.com',
      userName: 'Ada',
      onPremisesSecurityIdentifier: 'S-1-5-21-1-2-3-4',
    },
  ]);
  assert.equal(again.userId, ada.userId);
  assert.deepEqual(opened.mdm.device(device.deviceId)?.user, again);
});

test('a device of the table joins with its own token, and no other device does', async () => {
  await opened.mdm.upsertGroup({ groupId: 'kiosk', displayName: 'Kiosks' });
  await opened.mdm.upsertGroup({ groupId: 'ruled', displayName: 'Windows', rule: { platform: 'windows' } });
  const importing = (changes: object) => opened.mdm.importDevices([{ serialNumber: 'K-1', ...changes }]);
  await assert.rejects(importing({ groups: 'absent' }), malformed(/no group absent/));
  await assert.rejects(importing({ groups: 'ruled' }), malformed(/by rule/));
  await assert.rejects(importing({ userPrincipalName: 'x@example.com' }), malformed(/no user/));
  const [made = assert.fail()] = await importing({
    groups: 'kiosk',
    userPrincipalName: 'ada@example.com',
    fullyQualifiedDomainName: 'k1.example.com',
  });
  const join = (serialNumber: string) =>
    opened.mdm.join({ token: made.token, deviceName: 'kiosk', platform: 'linux', serialNumber });
  const refused = (thrown: unknown) => thrown instanceof PkiError && thrown.code === 'token_refused';
  await assert.rejects(join('K-2'), refused);
  const { device } = await join('K-1');
  await assert.rejects(join('K-1'), refused);
  assert.equal(device.user?.userPrincipalName.toLowerCase(), 'ada@example.com');
  assert.equal(device.attributes?.fullyQualifiedDomainName, 'k1.example.com');

  await opened.mdm.upsertProfile(
    {
      kind: 'trustedCertificate',
      profileId: 'kiosk-root',
      displayName: 'Root',
      destinationStore: 'computerCertStoreRoot',
      trustedRootCertificate: rootOf(opened),
    },
    [{ intent: 'include', target: { kind: 'group', id: 'kiosk' } }],
  );
  const profileIds = (await opened.mdm.checkIn(device, [])).profiles.map(({ profileId }) => profileId);
  assert.ok(profileIds.includes('kiosk-root'));

  // A device that is there is changed by its id; what a row does not say stays.
  await opened.mdm.importDevices([{ deviceId: device.deviceId, wifiMacAddress: '00:11:22:33:44:55' }]);
  const attributes = opened.mdm.device(device.deviceId)?.attributes;
  assert.equal(attributes?.wifiMacAddress, '00:11:22:33:44:55');
  assert.equal(attributes?.fullyQualifiedDomainName, 'k1.example.com');
});

function rootOf({ mdm }: Pick<OpenMdm, 'mdm'>): string {
  const record = mdm.profiles().find(({ profile }) => profile.profileId === 'root');
  return record?.profile.kind === 'trustedCertificate'
    ? record.profile.trustedRootCertificate
    : assert.fail();
}
