import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  deviceScepProfile,
  joinedDevice,
  keys,
  MovableClock,
  openTestMdm,
  requestFor,
  temporaryFolder,
} from '../../test/support/mdm-fixture.ts';
import { PkiError } from '../errors.ts';
import type { Device, DeviceState, NonCompliance, OpenMdm } from './index.ts';
import { entitlementOf, entitlementOfDevice, revocationActionFor, type Standing } from './lifecycle.ts';
import { MdmStore } from './mdm-store.ts';
import { successNotification, validateRequest } from './validation-service.ts';

const now = new Date('2030-01-01T00:00:00Z');
const HOUR_MS = 3_600_000;
const overdue = (measure: NonCompliance['measure'], graceUntil = now): NonCompliance => ({
  since: new Date(now.getTime() - HOUR_MS),
  graceUntil,
  measure,
});
const later = new Date(now.getTime() + 1);

const ofDevices: readonly (readonly [
  name: string,
  device: Pick<Device, 'state' | 'nonCompliance'>,
  want: Standing,
])[] = [
  ['wiped', { state: 'wiped' }, 'revoked'],
  ['retired', { state: 'retired' }, 'revoked'],
  ['lost', { state: 'lost' }, 'held'],
  ['enrolled', { state: 'enrolled' }, 'good'],
  [
    'non-compliant within its grace period',
    { state: 'enrolled', nonCompliance: overdue('revoke', later) },
    'good',
  ],
  ['overdue, to be held', { state: 'enrolled', nonCompliance: overdue('hold') }, 'held'],
  ['overdue, to be revoked', { state: 'enrolled', nonCompliance: overdue('revoke') }, 'revoked'],
  ['lost and overdue', { state: 'lost', nonCompliance: overdue('revoke') }, 'revoked'],
  ['lost within its grace period', { state: 'lost', nonCompliance: overdue('revoke', later) }, 'held'],
  ['retired and overdue to be held', { state: 'retired', nonCompliance: overdue('hold') }, 'revoked'],
];
for (const [name, device, want] of ofDevices) {
  test(`certificates of a device that is ${name} are ${want}`, () => {
    const { standing, reason } = entitlementOfDevice(device, now);
    assert.equal(standing, want);
    assert.equal(reason === undefined, want === 'good');
  });
}

const user = { userId: 'a', userPrincipalName: 'a@example.com' };
const facts = {
  device: { state: 'enrolled', user } as const,
  assignment: 'targeted',
  succession: 'current',
} as const;
const ofCertificates: readonly (readonly [
  name: string,
  facts: Parameters<typeof entitlementOf>[0],
  reason: string | undefined,
])[] = [
  ['of a profile that is gone', { ...facts, assignment: 'not targeted' }, 'privilegeWithdrawn'],
  ['of another user', { ...facts, userId: 'b' }, 'affiliationChanged'],
  ['of a user who is gone', { ...facts, device: { state: 'enrolled' }, userId: 'a' }, 'affiliationChanged'],
  ['that has a successor', { ...facts, succession: 'superseded' }, 'superseded'],
  [
    'of a lost device and a profile that is gone',
    { ...facts, device: { state: 'lost' }, assignment: 'not targeted' },
    'privilegeWithdrawn',
  ],
  ['of a lost device', { ...facts, device: { state: 'lost' } }, 'certificateHold'],
  ['of its user', { ...facts, userId: 'a' }, undefined],
  ['of the device itself', facts, undefined],
];
for (const [name, given, reason] of ofCertificates) {
  test(`a certificate ${name}: ${reason ?? 'good'}`, () => {
    assert.equal(entitlementOf(given, now).reason, reason);
  });
}

test('nothing leads back from revoked', () => {
  const table = (['good', 'held', 'revoked'] as const).map((from) =>
    (['good', 'held', 'revoked'] as const).map((to) => revocationActionFor(from, to)),
  );
  assert.deepEqual(table, [
    [undefined, 'hold', 'revoke'],
    ['release', undefined, 'revoke'],
    [undefined, undefined, undefined],
  ]);
});

// --- the MDM ------------------------------------------------------------------------------------------------------------

const clock = new MovableClock();
let opened: OpenMdm;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
before(async () => {
  folder = await temporaryFolder();
  opened = await openTestMdm({ clock, databaseFile: join(folder.path, 'mdm.db') });
});
after(async () => {
  await opened.close();
  await folder.remove();
});

const issuer = 'CN=Test Issuing CA,O=Test';

/** Gives a device that has a challenge a certificate, as the RA tells of it. */
async function certify(profile: Parameters<typeof requestFor>[0]) {
  const certificateRequest = Buffer.from(await requestFor(profile, {}, keys.device)).toString('base64');
  const transactionId = randomBytes(8).toString('hex');
  const asked = { transactionId, certificateRequest, callerInfo: 'test' };
  const parts = opened.mdm.validationService;
  assert.equal((await validateRequest(parts, asked)).code, 'Success');
  const certificate = {
    certificateThumbprint: randomBytes(20).toString('hex'),
    certificateSerialNumber: randomBytes(16).toString('hex').toUpperCase(),
    certificateExpirationDateUtc: new Date(clock.now().getTime() + 300 * 24 * HOUR_MS).toISOString(),
  };
  const answer = await successNotification(parts, {
    ...asked,
    ...certificate,
    issuingCertificateAuthority: issuer,
    caConfiguration: null,
    certificateAuthority: null,
  });
  return { answer, ...certificate };
}

async function certifiedDevice(name: string) {
  const { device, deviceToken, profile } = await joinedDevice(opened, name);
  const { answer, certificateSerialNumber, certificateThumbprint } = await certify(profile);
  assert.equal(answer.code, 'Success');
  return {
    deviceId: device.deviceId,
    deviceToken,
    device,
    serialNumber: certificateSerialNumber,
    thumbprint: certificateThumbprint,
    profile,
  };
}

const requestsFor = async (serialNumber: string) =>
  (await opened.mdm.revocationRequests({ limit: 1000 }))
    .filter((each) => each.serialNumber === serialNumber)
    .map(({ action, reason }) => (reason === undefined ? action : `${action} ${reason}`));

/** Answers what waits for a certificate, as the connector does. */
async function answerAll(serialNumber: string): Promise<void> {
  for (const request of await opened.mdm.revocationRequests({ limit: 1000 })) {
    if (request.serialNumber !== serialNumber) continue;
    const { requestContext } = request;
    assert.equal(
      await opened.mdm.recordRevocationResult({ requestContext, succeeded: true, errorCode: 'None' }),
      true,
    );
  }
}

const refused = (code: string) => (thrown: unknown) => thrown instanceof PkiError && thrown.code === code;

test('nothing is revoked of a device that changes nothing', async () => {
  const { serialNumber, deviceId } = await certifiedDevice('quiet');
  await opened.mdm.setDeviceState(deviceId, 'enrolled');
  assert.deepEqual(await requestsFor(serialNumber), []);
});

for (const state of ['retired', 'wiped'] as const satisfies readonly DeviceState[]) {
  test(`a device that is ${state} loses its certificates, once, and its state shows it`, async () => {
    const { serialNumber, deviceId } = await certifiedDevice(state);
    await opened.mdm.setDeviceState(deviceId, state);
    await opened.mdm.enforceLifecycle();
    assert.deepEqual(await requestsFor(serialNumber), ['revoke cessationOfOperation']);
    assert.equal(opened.mdm.certificates(deviceId)[0]?.revokeStatus, 'pending');
    await answerAll(serialNumber);
    assert.deepEqual(await requestsFor(serialNumber), []);
    assert.equal(opened.mdm.certificates(deviceId)[0]?.revokeStatus, 'revoked');
    assert.equal(opened.mdm.profileStates(deviceId)[0]?.issuanceState, 'revoked');
    await assert.rejects(opened.mdm.setDeviceState(deviceId, 'enrolled'), refused('device_unknown'));
    await assert.rejects(opened.mdm.setDeviceState(deviceId, 'lost'), refused('device_unknown'));
  });
}

test('a lost device: hold, no challenge, no validation; found: release', async () => {
  const { serialNumber, deviceId, deviceToken, profile } = await certifiedDevice('lost');
  await opened.mdm.setDeviceState(deviceId, 'lost');
  assert.deepEqual(await requestsFor(serialNumber), ['hold certificateHold']);
  const checkIn = await opened.mdm.checkIn(opened.mdm.authenticate(deviceToken), []);
  assert.equal(checkIn.state, 'lost');
  assert.equal(checkIn.profiles.length, 3);
  assert.equal(
    checkIn.profiles.some((each) => 'challenge' in each),
    false,
  );
  const late = Buffer.from(await requestFor(profile)).toString('base64');
  const verdict = await validateRequest(opened.mdm.validationService, {
    transactionId: 'late',
    certificateRequest: late,
    callerInfo: 'test',
  });
  assert.equal(verdict.code, 'BadDeviceIdInChallenge');
  await answerAll(serialNumber);
  await opened.mdm.setDeviceState(deviceId, 'enrolled');
  assert.deepEqual(await requestsFor(serialNumber), ['release']);
  await answerAll(serialNumber);
  assert.equal(opened.mdm.certificates(deviceId)[0]?.revokeStatus, 'none');
  assert.equal(opened.mdm.certificates(deviceId)[0]?.standing, 'good');
});

test('non-compliance: nothing within the grace period, then hold; compliant again: release', async () => {
  const { serialNumber, deviceId } = await certifiedDevice('lax');
  await assert.rejects(
    opened.mdm.setNonCompliant(deviceId, { graceMs: -1, measure: 'hold' }),
    refused('request_malformed'),
  );
  await assert.rejects(
    opened.mdm.setNonCompliant('x', { graceMs: 0, measure: 'hold' }),
    refused('device_unknown'),
  );
  await opened.mdm.setNonCompliant(deviceId, { graceMs: HOUR_MS, measure: 'hold' });
  assert.deepEqual(await requestsFor(serialNumber), []);
  clock.offsetMs += HOUR_MS + 1;
  try {
    // Whoever fetches requests need not wait for a timer.
    assert.deepEqual(await requestsFor(serialNumber), ['hold certificateHold']);
    await opened.mdm.setCompliant(deviceId);
    assert.deepEqual(await requestsFor(serialNumber), ['hold certificateHold', 'release']);
  } finally {
    clock.offsetMs = 0;
  }
});

test('compliant again within the grace period: nothing was ever asked for', async () => {
  const { serialNumber, deviceId } = await certifiedDevice('mended');
  await opened.mdm.setNonCompliant(deviceId, { graceMs: HOUR_MS, measure: 'revoke' });
  await opened.mdm.setCompliant(deviceId);
  clock.offsetMs += 2 * HOUR_MS;
  assert.deepEqual(await requestsFor(serialNumber), []);
  clock.offsetMs = 0;
});

test('revoked for non-compliance: another certificate when it complies again, not before', async () => {
  const { serialNumber, deviceId, device, thumbprint } = await certifiedDevice('strict');
  const [{ profileVersion, notAfter } = assert.fail()] = opened.mdm.certificates(deviceId);
  const installed = [{ profileId: 'device-certificate', version: profileVersion, thumbprint, notAfter }];
  const challenge = async () =>
    (await opened.mdm.checkIn(opened.mdm.device(device.deviceId) ?? assert.fail(), installed)).profiles.some(
      (each) => 'challenge' in each,
    );
  assert.equal(await challenge(), false);
  await opened.mdm.setNonCompliant(deviceId, { graceMs: 0, measure: 'revoke' });
  assert.deepEqual(await requestsFor(serialNumber), ['revoke privilegeWithdrawn']);
  assert.equal(await challenge(), false);
  await opened.mdm.setCompliant(deviceId);
  assert.deepEqual(await requestsFor(serialNumber), ['revoke privilegeWithdrawn']);
  assert.equal(await challenge(), true);
});

test('a profile that is taken away revokes its certificates alone', async () => {
  const profileId = 'second-certificate';
  await opened.mdm.upsertProfile({ ...deviceScepProfile, profileId });
  const { serialNumber, deviceId, device } = await certifiedDevice('unassigned');
  const { profiles } = await opened.mdm.checkIn(device, []);
  const second = profiles.find((each) => each.profileId === profileId);
  const given = await certify(
    second?.kind === 'scep' ? { ...second, challenge: second.challenge ?? '' } : assert.fail(),
  );
  await opened.mdm.excludeDevice(profileId, deviceId);
  assert.deepEqual(await requestsFor(given.certificateSerialNumber), ['revoke privilegeWithdrawn']);
  assert.deepEqual(await requestsFor(serialNumber), []);
  // Taken back: what is revoked stays revoked.
  await opened.mdm.includeDevice(profileId, deviceId);
  assert.deepEqual(await requestsFor(given.certificateSerialNumber), ['revoke privilegeWithdrawn']);
  await opened.mdm.deleteProfile(profileId);
  assert.deepEqual(await requestsFor(serialNumber), []);
});

test('groups: leaving one, a rule that holds no more, and a deleted profile revoke', async () => {
  const profileId = 'staff-certificate';
  await opened.mdm.upsertGroup({ groupId: 'staff', displayName: 'Staff' });
  await opened.mdm.upsertGroup({ groupId: 'linux', displayName: 'Linux', rule: { platform: 'linux' } });
  const assignments = [
    { intent: 'include', target: { kind: 'group', id: 'staff' } },
    { intent: 'include', target: { kind: 'group', id: 'linux' } },
  ];
  await opened.mdm.upsertProfile({ ...deviceScepProfile, profileId }, assignments);
  await opened.mdm.setAssignments(profileId, assignments.slice(0, 1));
  const certified = async (deviceName: string) => {
    const { device } = await joinedDevice(opened, deviceName);
    await opened.mdm.setMember('staff', device.deviceId, 'in');
    const { profiles } = await opened.mdm.checkIn(device, []);
    const profile = profiles.find((each) => each.profileId === profileId);
    const given = await certify(
      profile?.kind === 'scep' ? { ...profile, challenge: profile.challenge ?? '' } : assert.fail(),
    );
    return { deviceId: device.deviceId, serialNumber: given.certificateSerialNumber };
  };
  const one = await certified('one');
  const two = await certified('two');
  await opened.mdm.setMember('staff', one.deviceId, 'out');
  assert.deepEqual(await requestsFor(one.serialNumber), ['revoke privilegeWithdrawn']);
  assert.deepEqual(await requestsFor(two.serialNumber), []);

  await opened.mdm.setAssignments(profileId, assignments.slice(1));
  assert.deepEqual(await requestsFor(two.serialNumber), []);
  await opened.mdm.upsertGroup({ groupId: 'linux', displayName: 'Linux', rule: { platform: 'macOS' } });
  assert.deepEqual(await requestsFor(two.serialNumber), ['revoke privilegeWithdrawn']);

  await opened.mdm.upsertGroup({ groupId: 'linux', displayName: 'Linux', rule: { platform: 'linux' } });
  const three = await certified('three');
  await opened.mdm.deleteProfile(profileId);
  assert.deepEqual(await requestsFor(three.serialNumber), ['revoke privilegeWithdrawn']);
});

test('a changed profile revokes the old certificate when the new one is in use, not before', async () => {
  const profileId = 'changing';
  const profile = { ...deviceScepProfile, profileId };
  await opened.mdm.upsertProfile(profile);
  const { device } = await joinedDevice(opened, 'changing');
  const scep = async () => {
    const { profiles } = await opened.mdm.checkIn(device, []);
    const found = profiles.find((each) => each.profileId === profileId);
    return found?.kind === 'scep' ? { ...found, challenge: found.challenge ?? '' } : assert.fail();
  };
  const old = await certify(await scep());
  await opened.mdm.upsertProfile({ ...profile, certificateValidityPeriodValue: 2 });
  assert.deepEqual(await requestsFor(old.certificateSerialNumber), []);
  const fresh = await certify(await scep());
  assert.deepEqual(await requestsFor(old.certificateSerialNumber), []);
  const thumbprint = fresh.certificateThumbprint;
  await opened.mdm.report(device, { profileId, issuanceState: 'installed', thumbprint });
  assert.deepEqual(await requestsFor(old.certificateSerialNumber), ['revoke superseded']);
  assert.deepEqual(await requestsFor(fresh.certificateSerialNumber), []);
  // Another name, threshold or URL: nothing is superseded.
  await opened.mdm.upsertProfile({
    ...profile,
    certificateValidityPeriodValue: 2,
    displayName: 'Other',
    renewalThresholdPercentage: 30,
    scepServerUrls: ['https://scep2.example.com/scep/devices'],
  });
  const renewed = await certify(await scep());
  await opened.mdm.report(device, {
    profileId,
    issuanceState: 'installed',
    thumbprint: renewed.certificateThumbprint,
  });
  assert.deepEqual(await requestsFor(fresh.certificateSerialNumber), []);
  await opened.mdm.deleteProfile(profileId);
});

test('a device that was retired after its check-in gets no certificate any more', async () => {
  const { device, profile } = await joinedDevice(opened, 'raced');
  await opened.mdm.setDeviceState(device.deviceId, 'retired');
  const certificateRequest = Buffer.from(await requestFor(profile)).toString('base64');
  const asked = { transactionId: 'raced', certificateRequest, callerInfo: 'test' };
  assert.equal((await validateRequest(opened.mdm.validationService, asked)).code, 'BadDeviceIdInChallenge');
});

test('answers: unknown and repeated ones change nothing, a failure that passes is asked again', async () => {
  const { serialNumber, deviceId } = await certifiedDevice('answers');
  await opened.mdm.setDeviceState(deviceId, 'wiped');
  const [request = assert.fail()] = (await opened.mdm.revocationRequests({ limit: 1000 })).filter(
    (each) => each.serialNumber === serialNumber,
  );
  const { requestContext } = request;
  const answer = (fields: object) =>
    opened.mdm.recordRevocationResult({ requestContext, succeeded: true, errorCode: 'None', ...fields });
  assert.equal(await answer({ requestContext: 'unknown' }), false);
  assert.equal(await answer({ succeeded: false, errorCode: 'ServiceTooBusyException' }), false);
  assert.equal(await answer({ succeeded: false, errorCode: '4101' }), false);
  assert.deepEqual(await requestsFor(serialNumber), ['revoke cessationOfOperation']);
  assert.equal(await answer({ succeeded: false, errorCode: 'CertificateNotFoundError' }), true);
  assert.equal(opened.mdm.certificates(deviceId)[0]?.revokeStatus, 'failed');
  assert.equal(await answer({}), false);
  assert.equal(opened.mdm.certificates(deviceId)[0]?.revokeStatus, 'failed');
});

test('a process that dies between a change and its consequence only delays it', async () => {
  const { serialNumber, deviceId } = await certifiedDevice('crashed');
  const other = MdmStore.open(join(folder.path, 'mdm.db'));
  assert.equal(await other.fleet.setDeviceState(deviceId, 'retired', clock.now()), true);
  assert.equal(
    other.revocationRequests.waiting({ limit: 1000 }).some((each) => each.serialNumber === serialNumber),
    false,
  );
  // It dies after the request, too: the next one asks for the same again, which is one request.
  await other.revocationRequests.add(
    { serialNumber, issuerName: issuer, action: 'revoke', reason: 'cessationOfOperation' },
    clock.now(),
  );
  other.close();
  assert.equal(await opened.mdm.enforceLifecycle(), 1);
  assert.equal(await opened.mdm.enforceLifecycle(), 0);
  assert.deepEqual(await requestsFor(serialNumber), ['revoke cessationOfOperation']);
});

test('requests are filtered by issuer and limited', async () => {
  for (const each of ['A', 'B', 'C']) {
    await opened.mdm.requestRevocation({ serialNumber: each, issuerName: 'CN=Other', action: 'revoke' });
    await opened.mdm.requestRevocation({ serialNumber: each, issuerName: 'CN=Other', action: 'revoke' });
  }
  const serials = async (filter: { readonly issuerName?: string; readonly limit: number }) =>
    (await opened.mdm.revocationRequests(filter)).map((each) => each.serialNumber);
  assert.deepEqual(await serials({ issuerName: 'CN=Nobody', limit: 9 }), []);
  assert.deepEqual(await serials({ issuerName: 'CN=Other', limit: 9 }), ['A', 'B', 'C']);
  assert.deepEqual(await serials({ issuerName: 'CN=Other', limit: 2 }), ['A', 'B']);
  assert.ok(opened.mdm.revocationBacklog() >= 3);
});
