import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, test } from 'node:test';
import { MovableClock, openTestMdm, requestFor } from '../../test/support/mdm-fixture.ts';
import type { DeviceProfile, OpenMdm } from './index.ts';
import { successNotification, validateRequest } from './validation-service.ts';

const clock = new MovableClock();
let opened: OpenMdm;
before(async () => {
  opened = await openTestMdm({ clock });
});
after(() => opened.close());

async function post(path: string, body: object, token?: string) {
  const response = await fetch(`${opened.publicUrl}${path}`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  return { status: response.status, body: text === '' ? {} : JSON.parse(text) };
}

const claims = { deviceName: 'laptop', platform: 'linux', serialNumber: 'SN1' };
const newJoinId = () => randomBytes(24).toString('base64url');

test('joining again with the same joinId is the same device, until it has checked in', async () => {
  const { token } = await opened.mdm.createEnrolmentToken();
  const joinId = newJoinId();
  const join = (changes: object = {}) => post('/enrolment', { ...claims, token, joinId, ...changes });
  const first = await join();
  assert.equal(first.status, 201);

  const others: readonly (readonly [name: string, changes: object, status: number])[] = [
    ['without a joinId', { joinId: undefined }, 401],
    ['with another joinId', { joinId: newJoinId() }, 401],
    ['with another token', { token: 'x' }, 401],
    ['as another device', { serialNumber: 'SN2' }, 401],
    ['with a joinId that can be guessed', { joinId: '1' }, 400],
  ];
  for (const [name, changes, status] of others) assert.equal((await join(changes)).status, status, name);

  const again = await join();
  assert.equal(again.status, 201);
  assert.equal(again.body.deviceId, first.body.deviceId);
  assert.equal(again.body.azureADDeviceId, first.body.azureADDeviceId);
  assert.equal((await post('/checkin', {}, first.body.deviceToken)).status, 401);
  assert.equal((await post('/checkin', {}, again.body.deviceToken)).status, 200);

  // Now the device has its answer: whoever repeats it is somebody else.
  assert.equal((await join()).status, 401);
  assert.equal((await post('/checkin', {}, again.body.deviceToken)).status, 200);
  assert.equal(opened.mdm.devices().length, 1);
});

test('a repetition takes no use of a token, and one that came after the token expired is answered', async () => {
  const { token } = await opened.mdm.createEnrolmentToken({ uses: 2, lifetimeMs: 60_000 });
  const joinId = newJoinId();
  const ids = new Set<string>();
  for (const answer of await Promise.all(
    Array.from({ length: 5 }, () => post('/enrolment', { ...claims, token, joinId })),
  )) {
    assert.equal(answer.status, 201);
    ids.add(answer.body.deviceId);
  }
  assert.equal(ids.size, 1);
  assert.equal((await post('/enrolment', { ...claims, token, joinId: newJoinId() })).status, 201);
  assert.equal((await post('/enrolment', { ...claims, token, joinId: newJoinId() })).status, 401);
  clock.offsetMs += 61_000;
  assert.equal((await post('/enrolment', { ...claims, token, joinId })).status, 201);
  clock.offsetMs = 0;
});

test('a device that was retired before its first check-in cannot join as itself', async () => {
  const { token } = await opened.mdm.createEnrolmentToken({ uses: 5 });
  const joinId = newJoinId();
  const { body } = await post('/enrolment', { ...claims, token, joinId });
  await opened.mdm.setDeviceState(body.deviceId, 'retired');
  assert.equal((await post('/enrolment', { ...claims, token, joinId })).status, 401);
});

// --- reports ----------------------------------------------------------------------------------------------------------

const profileId = 'device-certificate';

async function joined() {
  const { token } = await opened.mdm.createEnrolmentToken();
  const { body } = await post('/enrolment', { ...claims, token });
  const checkIn = await post('/checkin', {}, body.deviceToken);
  const profile = checkIn.body.profiles.find((each: DeviceProfile) => each.profileId === profileId);
  const state = () => opened.mdm.profileStates(body.deviceId).find((each) => each.profileId === profileId);
  const report = (fields: object) => post('/report', { profileId, ...fields }, body.deviceToken);
  return { deviceId: body.deviceId as string, profile, state, report };
}

const asked = async (profile: Parameters<typeof requestFor>[0], changes: object = {}) => ({
  transactionId: 'T',
  certificateRequest: Buffer.from(await requestFor(profile, changes)).toString('base64'),
  callerInfo: 'test',
});

test('a report does not hide what the validation service said', async () => {
  const { profile, state, report } = await joined();
  const verdict = await validateRequest(
    opened.mdm.validationService,
    await asked(profile, { subject: 'CN=else' }),
  );
  assert.equal(verdict.code, 'SubjectNameMismatch');
  for (const issuanceState of ['requestSubmitFailed', 'responseProcessingFailed', 'installed']) {
    assert.equal((await report({ issuanceState, thumbprint: 'AB'.repeat(20) })).status, 204);
    assert.equal(state()?.issuanceState, 'challengeValidationFailed');
    assert.equal(state()?.thumbprint, undefined);
  }
});

test('a report changes nothing about the certificate that the RA told of', async () => {
  const { deviceId, profile, state, report } = await joined();
  const request = await asked(profile);
  assert.equal((await validateRequest(opened.mdm.validationService, request)).code, 'Success');
  const thumbprint = 'CD'.repeat(20);
  const told = await successNotification(opened.mdm.validationService, {
    ...request,
    certificateThumbprint: thumbprint,
    certificateSerialNumber: 'AA01',
    certificateExpirationDateUtc: '2099-01-01T00:00:00.000Z',
    issuingCertificateAuthority: 'CN=CA',
    caConfiguration: null,
    certificateAuthority: null,
  });
  assert.equal(told.code, 'Success');
  const lie = {
    thumbprint: 'EF'.repeat(20),
    serialNumber: '0666',
    notAfter: '2031-01-01T00:00:00Z',
    eventId: 39,
  };
  await report({ issuanceState: 'installed', ...lie });
  const known = () => {
    const { thumbprint: print, serialNumber, notAfter } = state() ?? assert.fail();
    return [print, serialNumber, notAfter?.toISOString()];
  };
  assert.deepEqual(known(), [thumbprint, 'AA01', '2099-01-01T00:00:00.000Z']);
  await report({ issuanceState: 'installed', ...lie, thumbprint });
  assert.equal(state()?.issuanceState, 'installed');
  assert.deepEqual(known(), [thumbprint, 'AA01', '2099-01-01T00:00:00.000Z']);

  // What is revoked is what the RA told of, whatever the device says.
  await opened.mdm.setDeviceState(deviceId, 'retired');
  const requests = await opened.mdm.revocationRequests({ limit: 100 });
  assert.deepEqual(
    requests.map(({ serialNumber, issuerName }) => [serialNumber, issuerName]),
    [['AA01', 'CN=CA']],
  );
  const [{ requestContext } = assert.fail()] = requests;
  await opened.mdm.recordRevocationResult({ requestContext, succeeded: true, errorCode: 'None' });
  await report({ issuanceState: 'installed', thumbprint });
  assert.equal(state()?.issuanceState, 'revoked');
  await report({ issuanceState: 'deleted', thumbprint });
  assert.equal(state()?.issuanceState, 'deleted');
});
