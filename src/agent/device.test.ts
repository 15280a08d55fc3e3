import assert from 'node:assert/strict';
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join as pathOf } from 'node:path';
import { test } from 'node:test';
import {
  certificates,
  deviceScepProfile,
  MovableClock,
  openTestMdm,
  rootPem,
  temporaryFolder,
  tlsServer,
} from '../../test/support/mdm-fixture.ts';
import { issuing, openTestScepServer, root, type TestScepServer } from '../../test/support/scep-fixture.ts';
import { nameToString, parseCertificationRequest, sameOctets, thumbprintOf } from '../codec/index.ts';
import type { OpenMdm } from '../mdm/index.ts';
import { successNotification, validateRequest } from '../mdm/validation-service.ts';
import {
  type Device,
  enrolmentReasonFor,
  joinDevice,
  openDevice,
  runDevice,
  type SyncResult,
} from './device.ts';
import type { RetryPolicy } from './retry.ts';

const DAY_MS = 24 * 60 * 60 * 1000;
const retry: RetryPolicy = { retryCount: 1, firstDelayMs: 1, delayMsMax: 5, durationMsMax: 60_000 };
const laptop = { deviceName: 'laptop', platform: 'linux', serialNumber: 'S-1' } as const;

/** An MDM with the three profiles, a SCEP server that they point to, an empty folder. */
interface Tenant {
  readonly mdm: OpenMdm;
  readonly scep: TestScepServer;
  readonly folder: string;
  readonly clock: MovableClock;
  readonly join: (more?: Partial<Parameters<typeof joinDevice>[0]>) => Promise<Device>;
}

async function withTenant(
  run: (tenant: Tenant) => Promise<void>,
  options: { readonly scepTls?: typeof tlsServer } = {},
): Promise<void> {
  const parent = await temporaryFolder();
  const clock = new MovableClock();
  const mdm = await openTestMdm({ tls: tlsServer, clock });
  const scep = await openTestScepServer(options.scepTls);
  const folder = pathOf(parent.path, 'device');
  try {
    await mdm.mdm.upsertProfile({ ...deviceScepProfile, scepServerUrls: [scep.url] });
    await run({
      mdm,
      scep,
      folder,
      clock,
      join: async (more) =>
        joinDevice({
          ...laptop,
          folder,
          mdmUrl: mdm.publicUrl,
          mdmCaPem: rootPem,
          token: more?.token ?? (await mdm.mdm.createEnrolmentToken()).token,
          retry,
          clock,
          ...more,
        }),
    });
  } finally {
    await scep.close();
    await mdm.close();
    await parent.remove();
  }
}

function completed(result: SyncResult) {
  assert.equal(result.outcome, 'completed', JSON.stringify(result));
  if (result.outcome !== 'completed') throw new Error('unreachable');
  return result;
}

/** `profileId: outcome` of each profile. */
function outcomes(result: SyncResult): Record<string, string> {
  return Object.fromEntries(completed(result).profiles.map(({ profileId, outcome }) => [profileId, outcome]));
}

const allKept = { root: 'kept', intermediate: 'kept', 'device-certificate': 'kept' };
const allInstalled = { root: 'installed', intermediate: 'installed', 'device-certificate': 'installed' };

const filesIn = async (...path: string[]) => (await readdir(pathOf(...path))).sort();

// --- joining ---------------------------------------------------------------------------------------------------------------

test('a token that is wrong is refused, and the folder can be used with a good one', () =>
  withTenant(async ({ join, folder }) => {
    await assert.rejects(join({ token: 'x'.repeat(43) }), { code: 'token_refused' });
    await assert.rejects(openDevice(folder), { code: 'device_folder', message: /join first/ });
    assert.equal((await join()).identity.deviceName, 'laptop');
  }));

test('an MDM whose certificate leads elsewhere gets no token', () =>
  withTenant(async ({ mdm, join }) => {
    const { token } = await mdm.mdm.createEnrolmentToken();
    await assert.rejects(join({ token, mdmCaPem: undefined }), {
      code: 'server_unreachable',
      message: /TLS connection failed.*\(0x80072f8f\)/,
    });
    await join({ token });
  }));

test('URLs and roots that cannot be used are refused before the token is spent', () =>
  withTenant(async ({ mdm, join }) => {
    const { token } = await mdm.mdm.createEnrolmentToken();
    for (const mdmUrl of ['http://mdm.example.com', 'ftp://127.0.0.1', 'mdm', '']) {
      await assert.rejects(join({ token, mdmUrl }), { code: 'config_invalid' }, mdmUrl);
    }
    await assert.rejects(join({ token, mdmCaPem: 'not PEM' }), { code: 'config_invalid' });
    await join({ token });
  }));

test('what the MDM will not take is named', () =>
  withTenant(async ({ join }) => {
    await assert.rejects(join({ deviceName: 'x'.repeat(65) }), {
      code: 'server_answer',
      message: /HTTP 400, application\/json: request_malformed, /,
    });
  }));

test('a folder that holds a device is not joined again, and no token is spent', () =>
  withTenant(async ({ mdm, join }) => {
    await join();
    const { token } = await mdm.mdm.createEnrolmentToken();
    await assert.rejects(join({ token }), { code: 'device_folder', message: /holds a device already/ });
    assert.equal(mdm.mdm.devices().length, 1);
  }));

// --- one check-in ----------------------------------------------------------------------------------------------------------

test('joins, checks in, enrols, installs, reports; the next check-in has nothing to do', () =>
  withTenant(async ({ mdm, scep, folder, join }) => {
    const joined = await join();
    const [known] = mdm.mdm.devices();
    assert.equal(known?.deviceId, joined.identity.deviceId);
    assert.deepEqual(
      [known?.deviceName, known?.platform, known?.serialNumber],
      [laptop.deviceName, laptop.platform, laptop.serialNumber],
    );

    const steps: string[] = [];
    const device = await openDevice(folder, { retry });
    const result = completed(
      await device.sync({ onStep: ({ step, profileId }) => steps.push([step, profileId].join(' ').trim()) }),
    );
    assert.deepEqual(outcomes(result), allInstalled);
    assert.deepEqual(steps, [
      'check-in',
      'trusted certificate root',
      'trusted certificate intermediate',
      'GetCACert device-certificate',
      'key device-certificate',
      'request device-certificate',
      'install device-certificate',
    ]);
    const scepResult = result.profiles.find(({ kind }) => kind === 'scep');
    assert.equal(scepResult?.kind === 'scep' && 'reason' in scepResult && scepResult.reason, 'none yet');

    // What the device can show.
    const [identity, ...more] = await device.identities();
    assert.ok(identity !== undefined && more.length === 0);
    assert.deepEqual(
      identity.chain.map((each) => each.raw),
      [issuing.certificate.raw, root.certificate.raw],
    );
    const key = await device.privateKey('device-certificate');
    assert.ok(key !== undefined && sameOctets(key.spki, identity.certificate.spki));
    assert.equal(await device.privateKey('root'), undefined);

    const thumbprint = thumbprintOf(identity.certificate.raw);
    assert.deepEqual(await filesIn(folder, 'certificates', 'my'), [`${thumbprint}.pem`]);
    assert.deepEqual(await filesIn(folder, 'certificates', 'root'), [
      `${thumbprintOf(certificates.root.raw)}.pem`,
    ]);
    assert.deepEqual(await filesIn(folder, 'certificates', 'intermediate'), [
      `${thumbprintOf(certificates.issuing.raw)}.pem`,
    ]);
    for (const name of await readdir(folder, { recursive: true })) {
      const found = await stat(pathOf(folder, name));
      assert.equal(found.mode & 0o777, found.isDirectory() ? 0o700 : 0o600, name);
    }

    // What the administrator sees, at the device and at the MDM.
    assert.deepEqual(
      (await device.events.read()).map(({ id }) => id),
      [40001, 40002, 40002, 306, 36, 39],
    );
    // Reported states are those of profiles whose certificates the device has; 'issued' would come from the RA.
    const states = mdm.mdm.profileStates(device.identity.deviceId);
    assert.deepEqual(
      states.map(({ profileId, issuanceState }) => [profileId, issuanceState]),
      [
        ['device-certificate', 'installed'],
        ['intermediate', 'installed'],
        ['root', 'installed'],
      ],
    );
    assert.deepEqual(
      [states[0]?.thumbprint, states[0]?.serialNumber, states[0]?.notAfter, states[0]?.eventId],
      [thumbprint, identity.certificate.serialNumber.toUpperCase(), identity.certificate.notAfter, 39],
    );

    // The request is the one that the challenge was made for.
    const [transaction] = scep.transactions;
    const verdict = await validateRequest(mdm.mdm.validationService, {
      transactionId: transaction?.transactionID ?? '',
      certificateRequest: Buffer.from(transaction?.csr ?? []).toString('base64'),
      callerInfo: 'test',
    });
    assert.deepEqual(verdict, { code: 'Success', errorDescription: '' });

    const requests = scep.requests.length;
    assert.deepEqual(outcomes(await device.sync()), allKept);
    assert.equal(scep.requests.length, requests, 'the SCEP server is not asked for nothing');
    assert.deepEqual(await filesIn(folder, 'certificates', 'my'), [`${thumbprint}.pem`]);
  }));

test('a SCEP server with TLS is trusted because a profile installed its root', () =>
  withTenant(
    async ({ scep, join }) => {
      assert.match(scep.url, /^https:/);
      assert.deepEqual(outcomes(await (await join()).sync()), allInstalled);
    },
    { scepTls: tlsServer },
  ));

test('a refusal is told to the MDM, and the next check-in enrols with a new challenge', () =>
  withTenant(async ({ mdm, scep, join }) => {
    const device = await join();
    scep.behaviour.pkiOperation = () => ({
      answer: 'failure',
      failInfo: 'badRequest',
      failInfoText: 'the subject is not the one that the challenge was made for (LG-ABCDEFGH)',
    });
    assert.equal(outcomes(await device.sync())['device-certificate'], 'failed');
    const [state] = mdm.mdm.profileStates(device.identity.deviceId);
    assert.deepEqual(
      [state?.issuanceState, state?.eventId, state?.errorCode],
      ['requestSubmitFailed', 32, 0x80004005],
    );
    const [event] = await device.events.read({ ids: [32] });
    assert.match(event?.message ?? '', /LG-ABCDEFGH/);

    scep.behaviour.pkiOperation = () => ({ answer: 'issue' });
    assert.equal(outcomes(await device.sync())['device-certificate'], 'installed');
    const [first, second] = scep.transactions;
    assert.notEqual(first?.transactionID, second?.transactionID);
    assert.equal(mdm.mdm.profileStates(device.identity.deviceId)[0]?.issuanceState, 'installed');
  }));

test('the wrong CA in a profile is event 32, “hash value is not correct”', () =>
  withTenant(async ({ scep, join }) => {
    scep.behaviour.served = scep.behaviour.served.filter((each) => each !== issuing.certificate);
    const device = await join();
    assert.equal(outcomes(await device.sync())['device-certificate'], 'failed');
    const [event] = await device.events.read({ ids: [32] });
    assert.match(event?.message ?? '', /The hash value is not correct\. \(0x80091007\)/);
  }));

// --- in time ---------------------------------------------------------------------------------------------------------------

test('renews in time, with a new key, and takes the old certificate and key away', () =>
  withTenant(async ({ folder, join }) => {
    const device = await join();
    await device.sync();
    const [before] = await device.identities();
    const record = (await device.folder.profiles()).find((each) => each.kind === 'scep');
    assert.ok(record?.kind === 'scep');
    // The CAs of the test last a day only, so the certificate is made to look old instead of moving the clock.
    await device.folder.putProfile({
      ...record,
      notBefore: new Date(Date.now() - 25 * DAY_MS),
      notAfter: new Date(Date.now() + 6 * DAY_MS),
    });
    const result = completed(await device.sync());
    const renewed = result.profiles.find(({ kind }) => kind === 'scep');
    assert.equal(renewed?.outcome, 'installed');
    assert.equal(renewed?.kind === 'scep' && 'reason' in renewed && renewed.reason, 'renewal');
    const [after, ...more] = await device.identities();
    assert.equal(more.length, 0);
    assert.ok(before !== undefined && after !== undefined);
    assert.ok(!sameOctets(before.certificate.spki, after.certificate.spki));
    assert.deepEqual(await filesIn(folder, 'keys'), [after.keyPath.slice(pathOf(folder, 'keys').length + 1)]);
    assert.deepEqual(await filesIn(folder, 'certificates', 'my'), [
      `${thumbprintOf(after.certificate.raw)}.pem`,
    ]);
  }));

test('a renewal that fails leaves the certificate that is still good', () =>
  withTenant(async ({ scep, join }) => {
    const device = await join();
    await device.sync();
    const [before] = await device.identities();
    const record = (await device.folder.profiles()).find((each) => each.kind === 'scep');
    assert.ok(record?.kind === 'scep');
    await device.folder.putProfile({
      ...record,
      notBefore: new Date(Date.now() - 25 * DAY_MS),
      notAfter: new Date(Date.now() + 6 * DAY_MS),
    });
    for (const answer of [
      { answer: 'http', status: 503 },
      { answer: 'failure', failInfo: 'badRequest' },
    ] as const) {
      scep.behaviour.pkiOperation = () => answer;
      assert.notEqual(outcomes(await device.sync())['device-certificate'], 'installed');
      const [after] = await device.identities();
      assert.deepEqual(after?.certificate.raw, before?.certificate.raw);
      assert.ok((await device.privateKey('device-certificate')) !== undefined);
    }
  }));

test('a changed profile brings a new certificate', () =>
  withTenant(async ({ mdm, scep, join }) => {
    const device = await join();
    await device.sync();
    await mdm.mdm.upsertProfile({
      ...deviceScepProfile,
      scepServerUrls: [scep.url],
      subjectNameFormat: 'CN={{DeviceId}},O=Changed',
    });
    const result = completed(await device.sync());
    const changed = result.profiles.find(({ kind }) => kind === 'scep');
    assert.equal(changed?.kind === 'scep' && 'reason' in changed && changed.reason, 'changed profile');
    assert.equal(changed?.outcome, 'installed');
    assert.equal((await device.identities()).length, 1);
  }));

test('whether a certificate is due', async (t) => {
  const record = { version: 1, notBefore: new Date(0), notAfter: new Date(100 * DAY_MS) };
  const rows: [string, number, number, string | undefined][] = [
    ['at the beginning', 0, 1, undefined],
    ['just before the threshold', 79.9, 1, undefined],
    ['at the threshold', 80, 1, 'renewal'],
    ['after its end', 101, 1, 'renewal'],
    ['of another version', 0, 2, 'changed profile'],
  ];
  for (const [name, days, version, want] of rows) {
    await t.test(name, () => {
      const profile = { version, renewalThresholdPercentage: 20 };
      assert.equal(enrolmentReasonFor(record, profile, new Date(days * DAY_MS)), want);
    });
  }
});

// --- what goes away --------------------------------------------------------------------------------------------------------

test('a profile that is withdrawn takes its certificate, key and request along', () =>
  withTenant(async ({ mdm, folder, join }) => {
    const device = await join();
    await device.sync();
    await mdm.mdm.excludeDevice('device-certificate', device.identity.deviceId);
    assert.deepEqual(outcomes(await device.sync()), {
      'device-certificate': 'removed',
      root: 'kept',
      intermediate: 'kept',
    });
    assert.deepEqual(await device.identities(), []);
    assert.deepEqual(await filesIn(folder, 'keys'), []);
    assert.deepEqual(await filesIn(folder, 'certificates', 'my'), []);
    assert.equal((await filesIn(folder, 'certificates', 'root')).length, 1);
    assert.equal((await device.events.read({ ids: [40004] })).length, 1);
    const [state] = mdm.mdm.profileStates(device.identity.deviceId);
    assert.deepEqual([state?.profileId, state?.issuanceState], ['device-certificate', 'deleted']);
  }));

test('a request under way is dropped with its profile', () =>
  withTenant(async ({ mdm, scep, folder, join }) => {
    const device = await join();
    scep.behaviour.pkiOperation = () => ({ answer: 'http', status: 503 });
    assert.equal(outcomes(await device.sync())['device-certificate'], 'pending');
    assert.equal((await filesIn(folder, 'keys')).length, 1);
    await mdm.mdm.excludeDevice('device-certificate', device.identity.deviceId);
    await device.sync();
    assert.deepEqual(await filesIn(folder, 'requests'), []);
    assert.deepEqual(await filesIn(folder, 'keys'), []);
  }));

test('a device that is retired loses everything that the MDM gave it', () =>
  withTenant(async ({ mdm, folder, join }) => {
    const device = await join();
    await device.sync();
    await mdm.mdm.setDeviceState(device.identity.deviceId, 'retired');
    const result = completed(await device.sync());
    assert.equal(result.state, 'retired');
    assert.deepEqual(new Set(Object.values(outcomes(result))), new Set(['removed']));
    for (const store of ['my', 'root', 'intermediate']) {
      assert.deepEqual(await filesIn(folder, 'certificates', store), [], store);
    }
    assert.deepEqual(await filesIn(folder, 'keys'), []);
  }));

test('a device that is wiped keeps nothing but its event log, and stops', () =>
  withTenant(async ({ mdm, folder, join, clock }) => {
    const device = await join();
    await device.sync();
    assert.equal((await device.identities()).length, 1);
    await mdm.mdm.setDeviceState(device.identity.deviceId, 'wiped');
    const states: string[] = [];
    await runDevice(folder, {
      intervalMs: 5,
      signal: new AbortController().signal,
      retry,
      clock,
      onSync: (result) => states.push(completed(result).state),
    });
    assert.deepEqual(states, ['wiped']);
    assert.deepEqual(await filesIn(folder), ['events.jsonl', 'lock']);
    assert.equal((await device.events.read({ ids: [40013] })).length, 1);
    await assert.rejects(openDevice(folder), { code: 'device_folder', message: /join first/ });
    // What it last reported stands: nothing is left on it.
    const reported = mdm.mdm.profileStates(device.identity.deviceId);
    assert.equal(
      reported.find(({ profileId }) => profileId === 'device-certificate')?.issuanceState,
      'deleted',
    );
    assert.notEqual((await join()).identity.deviceId, device.identity.deviceId);
  }));

test('a device that is retired says so once, and stops', () =>
  withTenant(async ({ mdm, folder, join, clock }) => {
    const device = await join();
    await device.sync();
    await mdm.mdm.setDeviceState(device.identity.deviceId, 'retired');
    const options = { intervalMs: 5, signal: new AbortController().signal, retry, clock };
    await runDevice(folder, options);
    await runDevice(folder, options);
    assert.equal((await device.events.read({ ids: [40012] })).length, 1);
    assert.deepEqual(await filesIn(folder, 'keys'), []);
  }));

test('a lost device keeps what it has, and goes on when it is found', () =>
  withTenant(async ({ mdm, join }) => {
    const device = await join();
    await device.sync();
    const { deviceId } = device.identity;
    await mdm.mdm.setDeviceState(deviceId, 'lost');
    const lost = completed(await device.sync());
    assert.equal(lost.state, 'lost');
    assert.deepEqual(outcomes(lost), allKept);
    assert.equal((await device.identities()).length, 1);
    await mdm.mdm.setDeviceState(deviceId, 'enrolled');
    assert.deepEqual(outcomes(await device.sync()), allKept);
  }));

test('a device whose answer to joining was lost joins again as itself, and no use of the token is lost', () =>
  withTenant(async ({ mdm, folder, join }) => {
    const { token } = await mdm.mdm.createEnrolmentToken();
    // Hands the request on and drops the answer.
    const proxy = createServer((request, response) => {
      const onward = httpsRequest(
        `${mdm.publicUrl}${request.url}`,
        { method: 'POST', headers: { 'content-type': 'application/json' }, ca: rootPem },
        (answer) => {
          answer.resume();
          answer.on('end', () => response.destroy());
        },
      );
      request.pipe(onward);
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = proxy.address() as AddressInfo;
      await assert.rejects(join({ token, mdmUrl: `http://127.0.0.1:${port}` }), {
        code: 'server_unreachable',
      });
    } finally {
      proxy.close();
    }
    const [joined] = mdm.mdm.devices();
    assert.deepEqual((await filesIn(folder)).includes('join-id'), true);
    const device = await join({ token });
    assert.equal(device.identity.deviceId, joined?.deviceId);
    assert.deepEqual((await filesIn(folder)).includes('join-id'), false);
    assert.deepEqual(outcomes(await device.sync()), allInstalled);
    assert.equal(mdm.mdm.devices().length, 1);
  }));

test('another name in the directory brings another certificate, and the old one is deleted', () =>
  withTenant(async ({ mdm, scep, folder, join }) => {
    const user = { userId: '0c0c0c0c-1111-4222-8333-444444444444', userPrincipalName: 'ada@example.com' };
    const profileId = 'user-certificate';
    await mdm.mdm.upsertProfile({
      ...deviceScepProfile,
      profileId,
      certificateType: 'user',
      subjectNameFormat: 'CN={{UserPrincipalName}}',
      scepServerUrls: [scep.url],
    });
    const device = await join({ token: (await mdm.mdm.createEnrolmentToken({ user })).token });
    await device.sync();
    assert.equal((await filesIn(folder, 'keys')).length, 2);
    const lastSubject = () =>
      nameToString(parseCertificationRequest(scep.transactions.at(-1)?.csr ?? assert.fail()).subject);
    assert.equal(lastSubject(), 'CN=ada@example.com');
    // What the RA does: it tells the MDM of the certificate.
    const identity = (await device.identities()).find((each) => each.profileId === profileId);
    const spki = Buffer.from(identity?.certificate.spki ?? assert.fail());
    const { csr, transactionID } =
      scep.transactions.find((each) => spki.equals(each.spki)) ?? assert.fail('no transaction');
    const asked = {
      transactionId: transactionID,
      certificateRequest: Buffer.from(csr).toString('base64'),
      callerInfo: 'test',
    };
    assert.equal((await validateRequest(mdm.mdm.validationService, asked)).code, 'Success');
    const told = await successNotification(mdm.mdm.validationService, {
      ...asked,
      certificateThumbprint: thumbprintOf(identity?.certificate.raw ?? assert.fail()),
      certificateSerialNumber: identity?.certificate.serialNumber ?? '',
      certificateExpirationDateUtc: identity?.notAfter.toISOString() ?? '',
      issuingCertificateAuthority: 'CN=CA',
      caConfiguration: null,
      certificateAuthority: null,
    });
    assert.equal(told.code, 'Success');
    assert.equal(outcomes(await device.sync())[profileId], 'kept');
    await mdm.mdm.importUsers([{ ...user, userPrincipalName: 'countess@example.com' }]);
    await device.sync();
    assert.equal(lastSubject(), 'CN=countess@example.com');
    assert.equal((await filesIn(folder, 'keys')).length, 2);
  }));

// --- what breaks -----------------------------------------------------------------------------------------------------------

test('without its MDM nothing changes', () =>
  withTenant(async ({ mdm, folder, join }) => {
    const device = await join();
    await device.sync();
    const before = await filesIn(folder, 'certificates', 'my');
    await mdm.close();
    const result = await device.sync();
    assert.equal(result.outcome, 'unreachable');
    assert.equal(result.outcome === 'unreachable' && result.eventId, 40005);
    assert.deepEqual(await filesIn(folder, 'certificates', 'my'), before);
    assert.equal((await device.identities()).length, 1);
  }));

test('a device that the MDM does not know is refused and keeps what it has', () =>
  withTenant(async ({ folder, join }) => {
    await (await join()).sync();
    await writeFile(pathOf(folder, 'device-token'), `${'x'.repeat(43)}\n`);
    const device = await openDevice(folder);
    assert.equal((await device.sync()).outcome, 'refused');
    assert.equal((await device.identities()).length, 1);
  }));

for (const [what, place] of [
  ['key', ['keys']],
  ['certificate', ['certificates', 'my']],
] as const) {
  test(`a ${what} that is lost is made good`, () =>
    withTenant(async ({ join }) => {
      const device = await join();
      await device.sync();
      for (const name of await filesIn(device.folder.path, ...place))
        await rm(pathOf(device.folder.path, ...place, name));
      const result = completed(await device.sync());
      assert.equal(outcomes(result)['device-certificate'], 'installed');
      const [identity] = await device.identities();
      const key = await device.privateKey('device-certificate');
      assert.ok(
        identity !== undefined && key !== undefined && sameOctets(key.spki, identity.certificate.spki),
      );
    }));
}

test('a crash after the installation, before the request was cleared away, enrols no second time', () =>
  withTenant(async ({ scep, join }) => {
    const device = await join();
    await device.sync();
    const record = (await device.folder.profiles()).find((each) => each.kind === 'scep');
    assert.ok(record?.kind === 'scep');
    await device.folder.putRequest({
      profileId: record.profileId,
      version: record.version,
      keyFile: record.keyFile,
      transactionID: record.transactionID,
      senderNonce: Buffer.alloc(16),
      message: Buffer.from('m'),
      createdAt: new Date(),
      notAfter: new Date(Date.now() + DAY_MS),
    });
    const sent = scep.requests.length;
    assert.deepEqual(outcomes(await device.sync()), allKept);
    assert.equal(scep.requests.length, sent);
    assert.deepEqual(await device.folder.requests(), []);
  }));

test('a crash in the middle of a check-in is made good by the next, with the same transaction', () =>
  withTenant(async ({ mdm, scep, folder, join }) => {
    const device = await join();
    const crash = new AbortController();
    scep.behaviour.pkiOperation = () => {
      setImmediate(() => crash.abort(new Error('the process died')));
      return { answer: 'lose' };
    };
    await assert.rejects(device.sync({ signal: crash.signal }), /the process died/);
    scep.behaviour.pkiOperation = () => ({ answer: 'issue' });
    const again = await openDevice(folder, { retry });
    const result = completed(await again.sync());
    const scepResult = result.profiles.find(({ kind }) => kind === 'scep');
    assert.equal(scepResult?.outcome, 'installed');
    assert.equal(scepResult?.kind === 'scep' && 'reason' in scepResult && scepResult.reason, 'resumed');
    assert.equal(new Set(scep.transactions.map(({ transactionID }) => transactionID)).size, 1);
    assert.equal(mdm.mdm.profileStates(again.identity.deviceId)[0]?.issuanceState, 'installed');
  }));

test('reports that could not be sent are sent at the next check-in', async () => {
  const parent = await temporaryFolder();
  const scep = await openTestScepServer();
  const profile = { ...deviceScepProfile, scepServerUrls: [scep.url] };
  const databaseFile = pathOf(parent.path, 'mdm.db');
  const first = await openTestMdm({ databaseFile });
  let second: OpenMdm | undefined;
  try {
    await first.mdm.upsertProfile(profile);
    const { token } = await first.mdm.createEnrolmentToken();
    const folder = pathOf(parent.path, 'device');
    const device = await joinDevice({ ...laptop, folder, mdmUrl: first.publicUrl, token, retry });
    let closing: Promise<void> | undefined;
    scep.behaviour.pkiOperation = () => {
      closing ??= first.close();
      return { answer: 'issue' };
    };
    assert.equal(outcomes(await device.sync())['device-certificate'], 'installed');
    await closing;
    assert.equal((await device.folder.reports()).length, 3);

    second = await openTestMdm({ databaseFile, port: first.address.port });
    await second.mdm.upsertProfile(profile);
    assert.deepEqual(outcomes(await device.sync()), allKept);
    assert.deepEqual(await device.folder.reports(), []);
    const states = second.mdm.profileStates(device.identity.deviceId);
    assert.deepEqual(
      states.map(({ issuanceState }) => issuanceState),
      ['installed', 'installed', 'installed'],
    );
  } finally {
    await second?.close();
    await scep.close();
    await parent.remove();
  }
});

test('two at once: the second leaves the folder alone', () =>
  withTenant(async ({ folder, join }) => {
    const device = await join();
    const [first, second] = await Promise.all([device.sync(), (await openDevice(folder)).sync()]);
    assert.deepEqual([first.outcome, second.outcome], ['completed', 'busy']);
    assert.equal((await device.sync()).outcome, 'completed', 'the lock is free again');
  }));

test('a check-in that was aborted before it began touches nothing', () =>
  withTenant(async ({ join }) => {
    const device = await join();
    await assert.rejects(device.sync({ signal: AbortSignal.abort(new Error('enough')) }), /enough/);
    assert.equal((await device.sync()).outcome, 'completed');
  }));

// --- an MDM that is faulty or newer ----------------------------------------------------------------------------------------

/** Answers every check-in with this. */
async function withFaultyMdm(
  answer: unknown,
  run: (device: Device) => Promise<void>,
  onReport: () => void = () => {},
): Promise<void> {
  await withTenant(async ({ join, folder }) => {
    await (await join()).sync();
    const server = createServer((request, response) => {
      request.resume();
      if (request.url === '/report') onReport();
      response.writeHead(request.url === '/report' ? 204 : 200, { 'content-type': 'application/json' });
      response.end(request.url === '/report' ? undefined : JSON.stringify(answer));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const file = pathOf(folder, 'device.json');
      const identity = JSON.parse(await readFile(file, 'utf8'));
      const { port } = server.address() as AddressInfo;
      await writeFile(file, JSON.stringify({ ...identity, mdmUrl: `http://127.0.0.1:${port}` }));
      await run(await openDevice(folder, { retry }));
    } finally {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  });
}

const head = { profileId: 'extra', version: 1, displayName: 'Extra' };

for (const [name, answer] of [
  ['no object', []],
  ['no profiles', { state: 'enrolled' }],
  ['an unknown state', { state: 'sold', profiles: [] }],
  [
    'a profile without an id',
    { state: 'enrolled', profiles: [{ kind: 'scep', version: 1, displayName: 'x' }] },
  ],
  [
    'an id that leaves the folder',
    { state: 'enrolled', profiles: [{ ...head, kind: 'scep', profileId: '../../x' }] },
  ],
] as const) {
  test(`a check-in that cannot be read removes nothing: ${name}`, () =>
    withFaultyMdm(answer, async (device) => {
      assert.equal((await device.sync()).outcome, 'unreachable');
      assert.equal((await device.identities()).length, 1);
      assert.equal((await device.events.read({ ids: [40005] })).length, 1);
    }));
}

const tls = certificates.tls.raw;
for (const [name, profile, detail] of [
  ['not DER', { certificate: 'AAAA', thumbprint: '0'.repeat(40) }, /certificate/],
  [
    'another thumbprint',
    { certificate: Buffer.from(root.certificate.raw).toString('base64'), thumbprint: '0'.repeat(40) },
    /its thumbprint is not the one of the profile/,
  ],
  [
    'no CA',
    { certificate: Buffer.from(tls).toString('base64'), thumbprint: thumbprintOf(tls) },
    /it is not a CA’s certificate/,
  ],
  [
    'an intermediate as root',
    {
      certificate: Buffer.from(issuing.certificate.raw).toString('base64'),
      thumbprint: thumbprintOf(issuing.certificate.raw),
    },
    /an intermediate does not belong into the root store/,
  ],
] as const) {
  test(`a trusted certificate is refused: ${name}`, () =>
    withFaultyMdm(
      {
        state: 'enrolled',
        profiles: [
          { ...head, kind: 'trustedCertificate', destinationStore: 'computerCertStoreRoot', ...profile },
        ],
      },
      async (device) => {
        const result = completed(await device.sync());
        const extra = result.profiles.find(({ profileId }) => profileId === 'extra');
        assert.equal(extra?.outcome, 'failed');
        assert.match(extra !== undefined && 'detail' in extra ? extra.detail : '', detail);
        assert.equal((await device.events.read({ ids: [40003] })).length, 1);
        assert.deepEqual(await filesIn(device.folder.path, 'certificates', 'root'), []);
      },
    ));
}

test('a crash while it reports loses no report', async () => {
  const crash = new AbortController();
  const reports = ['device-certificate', 'intermediate', 'root'];
  let taken = 0;
  await withFaultyMdm(
    { state: 'enrolled', profiles: [] },
    async (device) => {
      await assert.rejects(device.sync({ signal: crash.signal }), /the process died/);
      const unsent = (await device.folder.reports()).map(({ profileId }) => profileId);
      assert.deepEqual(unsent.sort(), reports);
      taken = 0;
      assert.equal((await device.sync()).outcome, 'completed');
      assert.equal(taken, reports.length);
      assert.deepEqual(await device.folder.reports(), []);
    },
    () => {
      taken += 1;
      if (!crash.signal.aborted) crash.abort(new Error('the process died'));
    },
  );
});

test('what is not understood does not keep the rest from being done', () =>
  withFaultyMdm(
    {
      state: 'enrolled',
      profiles: [
        { ...head, kind: 'wifi', ssid: 'x' },
        { ...head, profileId: 'tostring', kind: 'toString' },
        { ...head, profileId: 'broken', kind: 'scep' },
        { ...head, profileId: 'unresolvable', kind: 'failed', error: 'profile_unresolvable' },
        {
          ...head,
          profileId: 'newroot',
          kind: 'trustedCertificate',
          destinationStore: 'computerCertStoreRoot',
          certificate: Buffer.from(root.certificate.raw).toString('base64'),
          thumbprint: thumbprintOf(root.certificate.raw),
          fieldOfTheFuture: true,
        },
      ],
    },
    async (device) => {
      const result = completed(await device.sync());
      const { extra, tostring, broken, unresolvable, newroot } = outcomes(result);
      assert.deepEqual(
        [extra, tostring, broken, unresolvable, newroot],
        ['failed', 'failed', 'failed', 'failed', 'installed'],
      );
      assert.equal((await device.events.read({ ids: [40007] })).length, 4);
    },
  ));

// --- running ---------------------------------------------------------------------------------------------------------------

test('runs until it is told to stop', () =>
  withTenant(async ({ folder, join }) => {
    await join();
    const stop = new AbortController();
    const results: string[] = [];
    await runDevice(folder, {
      intervalMs: 5,
      signal: stop.signal,
      retry,
      onSync: (result) => {
        results.push(outcomes(result)['device-certificate'] ?? '');
        if (results.length === 3) stop.abort();
      },
    });
    assert.deepEqual(results, ['installed', 'kept', 'kept']);
  }));

test('stops in the middle of a check-in, and keeps what is under way', () =>
  withTenant(async ({ scep, folder, join }) => {
    const device = await join();
    const stop = new AbortController();
    scep.behaviour.pkiOperation = () => {
      stop.abort();
      return { answer: 'http', status: 503 };
    };
    await runDevice(folder, { intervalMs: 5, signal: stop.signal, retry });
    assert.equal((await device.folder.requests()).length, 1);
    const lock = device.folder.lock();
    assert.ok(lock !== undefined, 'the lock is free');
    lock.release();
  }));

test('a folder without a device cannot run', async () => {
  const parent = await temporaryFolder();
  try {
    await assert.rejects(runDevice(parent.path, { intervalMs: 5, signal: new AbortController().signal }), {
      code: 'device_folder',
    });
  } finally {
    await parent.remove();
  }
});
