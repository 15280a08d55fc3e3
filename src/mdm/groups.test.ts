import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { openTestMdm } from '../../test/support/mdm-fixture.ts';
import { PkiError } from '../errors.ts';
import { type Assignment, type GroupRule, group, isReached, isRuledIn } from './groups.ts';
import type { OpenMdm } from './index.ts';

const deviceId = '0a0a0a0a-1111-4222-8333-444444444444';
const device = {
  deviceId,
  deviceName: 'lab-7',
  platform: 'windows',
  user: { userId: 'u', userPrincipalName: 'Ada@Example.com' },
} as const;

const rules: readonly (readonly [name: string, rule: GroupRule, want: boolean])[] = [
  ['another platform', { platform: 'linux' }, false],
  ['another prefix', { deviceNamePrefix: 'office-' }, false],
  ['another domain', { userPrincipalNameSuffix: '@example.org' }, false],
  ['one part that does not hold', { platform: 'windows', deviceNamePrefix: 'office-' }, false],
  ['its platform', { platform: 'windows' }, true],
  [
    'all of it',
    { platform: 'windows', deviceNamePrefix: 'lab-', userPrincipalNameSuffix: '@example.COM' },
    true,
  ],
];
for (const [name, rule, want] of rules) {
  test(`a rule for ${name}: ${want ? 'in' : 'out'}`, () => assert.equal(isRuledIn(rule, device), want));
}

test('a device without a user is in no group of users', () => {
  const { user: _, ...ownerless } = device;
  assert.equal(isRuledIn({ userPrincipalNameSuffix: 'example.com' }, ownerless), false);
});

test('a group without a rule that says something is refused', () => {
  for (const rule of [{}, { platform: 'beos' }, { os: 'linux' }]) {
    assert.equal(group.safeParse({ groupId: 'g', displayName: 'G', rule }).success, false);
  }
});

const of = (intent: Assignment['intent'], target: Assignment['target']): Assignment => ({ intent, target });
const all = { kind: 'allDevices' } as const;
const inGroup = { kind: 'group', id: 'g' } as const;
const reached: readonly (readonly [name: string, assignments: readonly Assignment[], want: boolean])[] = [
  ['nobody', [], false],
  ['another group', [of('include', { kind: 'group', id: 'other' })], false],
  ['another device', [of('include', { kind: 'device', id: 'x' })], false],
  ['all but its group', [of('include', all), of('exclude', inGroup)], false],
  [
    'its group but not itself',
    [of('include', inGroup), of('exclude', { kind: 'device', id: deviceId })],
    false,
  ],
  [
    'itself, and all are excluded',
    [of('include', { kind: 'device', id: deviceId }), of('exclude', all)],
    false,
  ],
  ['all', [of('include', all)], true],
  ['its group', [of('include', inGroup)], true],
  ['itself', [of('include', { kind: 'device', id: deviceId })], true],
  ['all but another group', [of('include', all), of('exclude', { kind: 'group', id: 'other' })], true],
];
for (const [name, assignments, want] of reached) {
  test(`a profile for ${name}: ${want ? 'reaches' : 'does not reach'} the device`, () => {
    assert.equal(isReached(assignments, deviceId, new Set(['g'])), want);
  });
}

let opened: OpenMdm;
before(async () => {
  opened = await openTestMdm();
});
after(() => opened.close());

test('assignments name what exists', async () => {
  const refused = (code: string) => (thrown: unknown) => thrown instanceof PkiError && thrown.code === code;
  const assigning = (target: object) =>
    opened.mdm.setAssignments('device-certificate', [{ intent: 'include', target }]);
  await assert.rejects(assigning({ kind: 'group', id: 'absent' }), refused('request_malformed'));
  await assert.rejects(assigning({ kind: 'device', id: deviceId }), refused('device_unknown'));
  await assert.rejects(assigning({ kind: 'user', id: 'x' }), refused('request_malformed'));
  await assert.rejects(opened.mdm.setAssignments('absent', []), refused('profile_not_assigned'));
  await assert.rejects(
    opened.mdm.upsertGroup({ groupId: 'a b', displayName: 'x' }),
    refused('request_malformed'),
  );
  await assert.rejects(opened.mdm.setMember('absent', deviceId, 'in'), refused('request_malformed'));
  await assert.rejects(
    opened.mdm.createEnrolmentToken({ groupIds: ['absent'] }),
    refused('request_malformed'),
  );
  assert.deepEqual(opened.mdm.assignments('device-certificate'), [{ intent: 'include', target: all }]);
});

test('a profile for one platform targets no other', async () => {
  const record = opened.mdm.profiles().find(({ profile }) => profile.profileId === 'root');
  await opened.mdm.upsertProfile({
    ...(record?.profile ?? assert.fail()),
    profileId: 'windows-root',
    platform: 'windows',
  });
  const has = async (platform: 'windows' | 'linux') => {
    const { token } = await opened.mdm.createEnrolmentToken();
    const { device: joined } = await opened.mdm.join({ token, deviceName: 'x', platform, serialNumber: 'x' });
    const { profiles } = await opened.mdm.checkIn(joined, []);
    return profiles.some(({ profileId }) => profileId === 'windows-root');
  };
  assert.equal(await has('linux'), false);
  assert.equal(await has('windows'), true);
});
