import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import {
  certificates,
  deviceScepProfile,
  intermediateProfile,
  joinedDevice,
  MovableClock,
  openTestMdm,
} from '../../test/support/mdm-fixture.ts';
import { thumbprintOf } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { DeviceProfile, InstalledCertificate, OpenMdm } from './index.ts';

const DAY_MS = 24 * 60 * 60 * 1000;
const clock = new MovableClock();
let opened: OpenMdm;
before(async () => {
  opened = await openTestMdm({ clock });
});
after(() => opened.close());

const refused = (code: string) => (thrown: unknown) => thrown instanceof PkiError && thrown.code === code;
const scepOf = (profiles: readonly DeviceProfile[]) => {
  const profile = profiles.find(({ profileId }) => profileId === deviceScepProfile.profileId);
  return profile?.kind === 'scep' ? profile : assert.fail('no SCEP profile');
};

test('an enrolment token serves once, in time, and never as a device token', async () => {
  const join = (token: string) =>
    opened.mdm.join({ token, deviceName: 'd', platform: 'linux', serialNumber: '1' });
  const { token } = await opened.mdm.createEnrolmentToken();
  assert.throws(() => opened.mdm.authenticate(token), refused('token_refused'));
  const { deviceToken } = await join(token);
  await assert.rejects(join(token), refused('token_refused'));
  await assert.rejects(join(deviceToken), refused('token_refused'));
  for (const options of [{ uses: 0 }, { uses: 1.5 }, { lifetimeMs: 0 }, { lifetimeMs: Number.NaN }]) {
    await assert.rejects(opened.mdm.createEnrolmentToken(options), refused('request_malformed'));
  }
  const late = await opened.mdm.createEnrolmentToken({ lifetimeMs: 1000, uses: 5 });
  clock.offsetMs += 1001;
  await assert.rejects(join(late.token), refused('token_refused'));
  clock.offsetMs -= 1001;
  await join(late.token);
});

test('a check-in answers root, intermediate, SCEP, in this order', async () => {
  const { device, profile } = await joinedDevice(opened, 'order');
  const { profiles, state } = await opened.mdm.checkIn(device, []);
  assert.equal(state, 'enrolled');
  assert.deepEqual(
    profiles.map(({ kind, profileId }) => [kind, profileId]),
    [
      ['trustedCertificate', 'root'],
      ['trustedCertificate', 'intermediate'],
      ['scep', 'device-certificate'],
    ],
  );
  assert.equal(profile.caThumbprint, thumbprintOf(certificates.issuing.raw));
  assert.equal(profile.rootCertificate, 'intermediate');
  assert.equal(profile.subject, `CN=${device.deviceId},OU=order,O=Test`);
  assert.notEqual(opened.mdm.device(device.deviceId)?.lastSyncAt, undefined);
});

const now = Date.now();
const days = (count: number) => new Date(now + count * DAY_MS);
const installed = { profileId: 'device-certificate', version: 1, thumbprint: 'AB'.repeat(20) };

const needs: readonly (readonly [
  name: string,
  has: readonly InstalledCertificate[],
  challenge: 'challenge' | 'none',
])[] = [
  ['nothing', [], 'challenge'],
  ['a certificate of another profile', [{ ...installed, profileId: 'x', notAfter: days(300) }], 'challenge'],
  ['a certificate of an older version', [{ ...installed, version: 0, notAfter: days(300) }], 'challenge'],
  ['an expired one', [{ ...installed, notBefore: days(-300), notAfter: days(-1) }], 'challenge'],
  ['one with 10 % left', [{ ...installed, notBefore: days(-90), notAfter: days(10) }], 'challenge'],
  ['one with 20 % left', [{ ...installed, notBefore: days(-80), notAfter: days(20) }], 'challenge'],
  ['one with 25 % left', [{ ...installed, notBefore: days(-75), notAfter: days(25) }], 'none'],
  ['a month left of a year, no notBefore', [{ ...installed, notAfter: days(30) }], 'challenge'],
  ['half a year left, no notBefore', [{ ...installed, notAfter: days(180) }], 'none'],
];
for (const [name, has, want] of needs) {
  test(`a device that has ${name} gets: ${want}`, async () => {
    const { device } = await joinedDevice(opened, 'needs');
    const { challenge, challengeExpiresAt } = scepOf((await opened.mdm.checkIn(device, has)).profiles);
    assert.equal(challenge !== undefined, want === 'challenge');
    assert.equal(challengeExpiresAt !== undefined, want === 'challenge');
  });
}

test('each check-in makes a new challenge', async () => {
  const { device, profile } = await joinedDevice(opened, 'fresh');
  const again = scepOf((await opened.mdm.checkIn(device, [])).profiles);
  assert.notEqual(again.challenge, profile.challenge);
});

test('an excluded device loses the profile, and gets it back', async () => {
  const { device } = await joinedDevice(opened, 'excluded');
  const profileIds = async () =>
    (await opened.mdm.checkIn(device, [])).profiles.map(({ profileId }) => profileId);
  await opened.mdm.excludeDevice('device-certificate', device.deviceId);
  assert.deepEqual(await profileIds(), ['root', 'intermediate']);
  assert.equal(opened.mdm.profileStates(device.deviceId)[0]?.issuanceState, 'removedFromCollection');
  await opened.mdm.includeDevice('device-certificate', device.deviceId);
  assert.deepEqual(await profileIds(), ['root', 'intermediate', 'device-certificate']);
  // Its trusted certificate must target the device too.
  await opened.mdm.excludeDevice('intermediate', device.deviceId);
  const failed = (await opened.mdm.checkIn(device, [])).profiles.at(-1);
  assert.deepEqual(failed?.kind === 'failed' ? failed.error : failed?.kind, 'profile_not_assigned');
  await assert.rejects(opened.mdm.excludeDevice('x', device.deviceId), refused('profile_not_assigned'));
  await assert.rejects(opened.mdm.excludeDevice('root', 'x'), refused('device_unknown'));
});

test('a retired device is told so and gets no profile', async () => {
  const { device, deviceToken } = await joinedDevice(opened, 'retired');
  await opened.mdm.setDeviceState(device.deviceId, 'retired');
  assert.deepEqual(await opened.mdm.checkIn(opened.mdm.authenticate(deviceToken), []), {
    deviceId: device.deviceId,
    state: 'retired',
    profiles: [],
  });
  await assert.rejects(opened.mdm.setDeviceState(device.deviceId, 'enrolled'), refused('device_unknown'));
});

test('a profile that cannot be made out fails alone, and the administrator sees it', async () => {
  await opened.mdm.upsertProfile({
    ...deviceScepProfile,
    profileId: 'imei',
    subjectNameFormat: 'CN={{IMEI}}',
  });
  const { device } = await joinedDevice(opened, 'imei-less');
  const { profiles } = await opened.mdm.checkIn(device, []);
  assert.equal(scepOf(profiles).challenge?.length === 0, false);
  const failed = profiles.find(({ profileId }) => profileId === 'imei');
  assert.equal(failed?.kind === 'failed' ? failed.error : failed?.kind, 'profile_unresolvable');
  const state = opened.mdm.profileStates(device.deviceId).find(({ profileId }) => profileId === 'imei');
  assert.equal(state?.issuanceState, 'challengeIssueFailed');
  await opened.mdm.deleteProfile('imei');
});

test('profiles: versions grow with what devices must renew; references must hold', async () => {
  const profile = { ...deviceScepProfile, profileId: 'versions' };
  assert.equal((await opened.mdm.upsertProfile(profile)).version, 1);
  assert.equal((await opened.mdm.upsertProfile({ ...profile, displayName: 'Renamed' })).version, 1);
  assert.equal((await opened.mdm.upsertProfile({ ...profile, subjectNameFormat: 'CN=x' })).version, 2);
  await assert.rejects(
    opened.mdm.upsertProfile({ ...profile, rootCertificate: 'absent' }),
    refused('profile_invalid'),
  );
  await assert.rejects(
    opened.mdm.upsertProfile({ ...profile, rootCertificate: 'device-certificate' }),
    refused('profile_invalid'),
  );
  await assert.rejects(
    opened.mdm.upsertProfile({ ...intermediateProfile, profileId: 'versions' }),
    refused('profile_invalid'),
  );
  await assert.rejects(opened.mdm.deleteProfile('intermediate'), refused('profile_invalid'));
  await opened.mdm.deleteProfile('versions');
  await assert.rejects(opened.mdm.deleteProfile('versions'), refused('profile_not_assigned'));
});

test('a report keeps what is known of the certificate and clears an old error', async () => {
  const { device } = await joinedDevice(opened, 'reports');
  const profileId = 'device-certificate';
  const report = (fields: object) =>
    opened.mdm.report(device, { profileId, issuanceState: 'installed', ...fields });
  await report({ issuanceState: 'installFailed', errorCode: -5, eventId: 32, thumbprint: 'ab'.repeat(20) });
  assert.equal(opened.mdm.profileStates(device.deviceId)[0]?.errorCode, -5);
  await report({ eventId: 39 });
  const [state] = opened.mdm.profileStates(device.deviceId);
  assert.equal(state?.issuanceState, 'installed');
  assert.equal(state?.errorCode, undefined);
  assert.equal(state?.eventId, 39);
  assert.equal(state?.thumbprint, 'AB'.repeat(20));
  await assert.rejects(
    opened.mdm.report(device, { profileId: 'no-such', issuanceState: 'installed' }),
    refused('profile_not_assigned'),
  );
});
