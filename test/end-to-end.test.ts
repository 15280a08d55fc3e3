/** A device and everything that it meets, over real sockets: MDM, edge, connector, SCEP server, RA, CA. */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { asMdmAdministrator, assignProfiles, SCEP_PROFILE } from '../lab/fleet.ts';
import { aim, fire, newKey, orderFor } from '../lab/hostile.ts';
import { type PartProcess, startPart } from '../lab/processes.ts';
import { openTenant, type Tenant } from '../lab/tenant.ts';
import {
  type Device,
  deviceEvents,
  hResults,
  type Identity,
  joinDevice,
  openDevice,
  type ProfileResult,
  type RetryPolicy,
  type SyncResult,
} from '../src/agent/index.ts';
import { createRoot } from '../src/ca/index.ts';
import {
  type Certificate,
  extKeyUsageOf,
  generalNamesToString,
  nameFromString,
  nameToString,
  oid,
  parseCertificate,
  parsePem,
  sameOctets,
  subjectAltNameOf,
  thumbprintOf,
  verifyCertificateSignature,
} from '../src/codec/index.ts';
import { readConfig } from '../src/config.ts';
import { type Running, start } from '../src/main.ts';
import type { ProfileState, SuccessNotification } from '../src/mdm/index.ts';
import { openPkiStore, type PkiStore } from '../src/store/index.ts';
import type { Clock } from '../src/telemetry.ts';

const DAY_MS = 86_400_000;
/** For what takes a second on an idle machine. */
const WAIT_MS_MAX = 60_000;

/** The clock of the MDM and of the devices; edge and server are processes of their own and keep the machine's. */
class MovableClock implements Clock {
  offsetMs = 0;
  now(): Date {
    return new Date(Date.now() + this.offsetMs);
  }
}
const clock = new MovableClock();

/** Tries until somebody mends what is broken. */
const patient: RetryPolicy = {
  retryCount: 10_000,
  firstDelayMs: 50,
  delayMsMax: 200,
  durationMsMax: WAIT_MS_MAX,
};
const impatient: RetryPolicy = { ...patient, retryCount: 1 };

let folder: string;
let tenant: Tenant;
let issuing: Certificate;
let root: Certificate;
let mdm: Running;
let edge: PartProcess;
let server: PartProcess;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leafgate-end-to-end-'));
  tenant = await openTenant(folder, { ports: 'any', progress: () => {}, issuingKey: 'rsa-2048' });
  const [issuingDer, rootDer = issuingDer] = parsePem(
    await readFile(tenant.chainFile, 'utf8'),
    'CERTIFICATE',
  );
  issuing = parseCertificate(issuingDer);
  root = parseCertificate(rootDer);
  mdm = await start({ ...readConfig(tenant.configs.mdm), log: 'silent' }, clock);
  edge = await startPart('edge', tenant.configs.edge, folder);
  server = await startPart('server', tenant.configs.server, folder);
  await assignProfiles(tenant);
});
after(async () => {
  await server?.stop();
  await edge?.stop();
  await mdm?.close();
  await rm(folder, { recursive: true, force: true });
});

// --- what the tests ask ------------------------------------------------------------------------------------------------

const deviceFolder = (name: string) => join(folder, 'devices', name);

async function newDevice(name: string): Promise<Device> {
  const { token } = await asMdmAdministrator(tenant, (admin) => admin.createEnrolmentToken());
  return await joinDevice({
    folder: deviceFolder(name),
    mdmUrl: tenant.urls.mdm,
    mdmCaPem: await readFile(tenant.rootFile, 'utf8'),
    token,
    deviceName: name,
    platform: 'linux',
    serialNumber: `SN-${name}`,
    clock,
    retry: patient,
  });
}

/** A device that joined before: what it knows, it knows from its folder. */
const device = (name: string, retry = patient) => openDevice(deviceFolder(name), { clock, retry });

function profilesOf(result: SyncResult): readonly ProfileResult[] {
  assert.equal(result.outcome, 'completed', JSON.stringify(result));
  return result.outcome === 'completed' ? result.profiles : [];
}

const outcomesOf = (result: SyncResult) =>
  profilesOf(result).map(({ profileId, outcome }) => `${profileId} ${outcome}`);

function scepResultOf(result: SyncResult, profileId = SCEP_PROFILE): ProfileResult {
  const found = profilesOf(result).find((each) => each.profileId === profileId);
  assert.ok(found, `no result for ${profileId}`);
  return found;
}

async function identityOf(owner: Device): Promise<Identity> {
  const [identity, ...more] = await owner.identities();
  assert.ok(identity, 'the device has no certificate');
  assert.equal(more.length, 0);
  return identity;
}

/** What stands in the CA's database, beside the running server. */
async function inStore<T>(read: (store: PkiStore) => Promise<T>): Promise<T> {
  const store = await openPkiStore({ sqlite: join(folder, 'server', 'data', 'pki.sqlite') });
  try {
    return await read(store);
  } finally {
    await store.close();
  }
}

const issuedTo = ({ identity }: Device) =>
  inStore((store) => store.certificates({ device: identity.deviceId, limit: 100 }));
const certificateCount = () => inStore(async (store) => (await store.certificates({ limit: 1000 })).length);

async function stateOf(owner: Device, profileId = SCEP_PROFILE): Promise<ProfileState> {
  const states = await asMdmAdministrator(tenant, async (admin) =>
    admin.profileStates(owner.identity.deviceId),
  );
  const state = states.find((each) => each.profileId === profileId);
  assert.ok(state, `the MDM has no state of ${profileId}`);
  return state;
}

/** What the RA told the MDM of this device's certificates, newest first. */
async function successesOf(owner: Device): Promise<SuccessNotification[]> {
  const records = await asMdmAdministrator(tenant, async (admin) =>
    admin.notifications(owner.identity.deviceId),
  );
  return records.flatMap(({ notification }) =>
    'certificateThumbprint' in notification ? [notification] : [],
  );
}

const eventIdsOf = async (owner: Device) => (await owner.events.read()).map(({ id }) => id);

/** The MDM and the CA know this certificate as the device has it. */
async function assertKnownEverywhere(owner: Device, { certificate }: Identity): Promise<void> {
  const thumbprint = thumbprintOf(certificate.raw);
  const serialNumber = certificate.serialNumber.toUpperCase();
  const state = await stateOf(owner);
  assert.deepEqual(
    [state.issuanceState, state.thumbprint, state.serialNumber, state.notAfter],
    ['installed', thumbprint, serialNumber, certificate.notAfter],
  );
  const [success] = await successesOf(owner);
  assert.deepEqual(
    [success?.certificateThumbprint, success?.certificateSerialNumber, success?.issuingCertificateAuthority],
    [thumbprint, serialNumber, nameToString(issuing.subject)],
  );
  const record = await inStore((store) => store.certificateBySerial('issuing', certificate.serialNumber));
  assert.equal(record?.status, 'issued');
  assert.equal(record.device, owner.identity.deviceId);
  assert.ok(record.certificate !== undefined && sameOctets(record.certificate, certificate.raw));
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + WAIT_MS_MAX;
  while (!(await holds())) {
    assert.ok(performance.now() < deadline, `it did not come to pass: ${what}`);
    await sleep(20);
  }
}

// --- what happens, in this order -----------------------------------------------------------------------------------------

test('a device joins, and its first check-in brings root, intermediate and its own certificate', async () => {
  const joined = await newDevice('first');
  const result = await joined.sync();
  assert.deepEqual(outcomesOf(result), [
    'root installed',
    'intermediate installed',
    `${SCEP_PROFILE} installed`,
  ]);
  const identity = await identityOf(joined);
  const { certificate, chain } = identity;
  assert.deepEqual(
    chain.map((each) => thumbprintOf(each.raw)),
    [issuing, root].map((each) => thumbprintOf(each.raw)),
  );
  assert.ok(verifyCertificateSignature(certificate, issuing.spki));
  assert.ok(sameOctets(certificate.issuer.raw, issuing.subject.raw));
  const { deviceId } = joined.identity;
  assert.equal(nameToString(certificate.subject), `CN=${deviceId},O=LAB`);
  assert.equal(
    generalNamesToString(subjectAltNameOf(certificate)),
    `DNS:first.lab.test, URI:IntuneDeviceId://${deviceId}`,
  );
  assert.deepEqual(extKeyUsageOf(certificate), [oid.clientAuth]);
  const key = await joined.privateKey(SCEP_PROFILE);
  assert.ok(key !== undefined && sameOctets(key.spki, certificate.spki), 'the device has the key');
  await assertKnownEverywhere(joined, identity);
  const { execAccepted, requestGenerated, certificateInstalled } = deviceEvents;
  assert.deepEqual((await eventIdsOf(joined)).slice(-3), [
    execAccepted.id,
    requestGenerated.id,
    certificateInstalled.id,
  ]);
});

test('the second check-in does nothing new', async () => {
  const opened = await device('first');
  const before = await identityOf(opened);
  const [count, events] = [await certificateCount(), await eventIdsOf(opened)];
  const result = await opened.sync();
  assert.deepEqual(outcomesOf(result), ['root kept', 'intermediate kept', `${SCEP_PROFILE} kept`]);
  assert.ok(sameOctets((await identityOf(opened)).certificate.raw, before.certificate.raw));
  assert.equal(await certificateCount(), count);
  assert.equal((await successesOf(opened)).length, 1);
  assert.deepEqual(await eventIdsOf(opened), events);
});

test('over a restart of the server nothing is lost, and the connector is back', async () => {
  await server.stop();
  assert.deepEqual(await server.ended, { code: 0, signal: null });
  server = await startPart('server', tenant.configs.server, folder);
  const opened = await device('first');
  assert.deepEqual(outcomesOf(await opened.sync()).slice(-1), [`${SCEP_PROFILE} kept`]);
  await assertKnownEverywhere(opened, await identityOf(opened));
  const another = await newDevice('second');
  assert.equal(scepResultOf(await another.sync()).outcome, 'installed');
  await assertKnownEverywhere(another, await identityOf(another));
});

test('at its renewal threshold a certificate is replaced, with a new key', async () => {
  const opened = await device('first');
  const old = await identityOf(opened);
  await asMdmAdministrator(tenant, async (admin) => {
    const record = admin.profiles().find(({ profile }) => profile.profileId === SCEP_PROFILE);
    assert.ok(record);
    const { version } = await admin.upsertProfile({ ...record.profile, renewalThresholdPercentage: 99 });
    assert.equal(version, record.version, 'another threshold alone makes no certificate old');
  });
  // The certificate lives for a year and a day: not due as long as more than 99 % are left, and due after four days.
  assert.equal(scepResultOf(await opened.sync()).outcome, 'kept');
  clock.offsetMs = 4 * DAY_MS;
  const result = scepResultOf(await opened.sync());
  clock.offsetMs = 0;
  assert.equal(result.outcome, 'installed');
  assert.equal('reason' in result && result.reason, 'renewal');
  const renewed = await identityOf(opened);
  assert.notEqual(renewed.certificate.serialNumber, old.certificate.serialNumber);
  assert.ok(!sameOctets(renewed.certificate.spki, old.certificate.spki), 'the key is a new one');
  assert.ok(sameOctets(renewed.certificate.subject.raw, old.certificate.subject.raw));
  await assertKnownEverywhere(opened, renewed);
  assert.equal((await successesOf(opened)).length, 2);
  assert.deepEqual(
    (await issuedTo(opened)).map(({ status }) => status),
    ['issued', 'issued'],
    'the old certificate is good until its end',
  );
  // One key and one certificate are left on the device.
  assert.equal((await readdir(join(opened.folder.path, 'keys'))).length, 1);
  assert.equal((await readdir(join(opened.folder.path, 'certificates', 'my'))).length, 1);
  assert.equal(scepResultOf(await opened.sync()).outcome, 'kept');
});

test('without the edge a device gives up for now and says so; the next check-in succeeds', async () => {
  const count = await certificateCount();
  await edge.stop();
  assert.deepEqual(await edge.ended, { code: 0, signal: null });
  await newDevice('third');
  const opened = await device('third', impatient);
  const result = scepResultOf(await opened.sync());
  assert.equal(result.outcome, 'failed');
  assert.equal('eventId' in result && result.eventId, deviceEvents.initializeFailed.id);
  const state = await stateOf(opened);
  assert.equal(state.issuanceState, 'requestSubmitFailed');
  assert.equal(state.errorCode, hResults.ERROR_WINHTTP_CANNOT_CONNECT.value);
  assert.equal(state.eventId, deviceEvents.initializeFailed.id);
  assert.equal(await certificateCount(), count);
  edge = await startPart('edge', tenant.configs.edge, folder);
  await until(
    'the connector is back',
    async () => (await fetch(`${tenant.urls.scep}?operation=GetCACaps`)).ok,
  );
  const later = await device('third');
  assert.equal(scepResultOf(await later.sync()).outcome, 'installed');
  await assertKnownEverywhere(later, await identityOf(later));
});

test('an edge that comes back while a device tries is found by the same check-in', async () => {
  await newDevice('fourth');
  // An edge without a connector asks devices to stay away for longer than a test likes: theirs comes back first.
  const opened = await device('fourth', { ...patient, firstDelayMs: 4000, delayMsMax: 4000 });
  await edge.kill();
  const syncing = opened.sync();
  await until('the device tries again', async () =>
    (await eventIdsOf(opened)).includes(deviceEvents.retryLater.id),
  );
  edge = await startPart('edge', tenant.configs.edge, folder);
  assert.equal(scepResultOf(await syncing).outcome, 'installed');
  await assertKnownEverywhere(opened, await identityOf(opened));
  assert.equal((await issuedTo(opened)).length, 1);
});

test('a server that is killed while a device enrols costs it nothing but time', async () => {
  const opened = await newDevice('fifth');
  let killed: Promise<void> | undefined;
  const syncing = opened.sync({
    onStep: ({ step }) => {
      // The request is about to be sent: it finds a dying server, a dead one, or one that has just recorded it.
      if (step === 'key') killed = server.kill();
    },
  });
  await until('the server is killed', async () => killed !== undefined);
  await killed;
  server = await startPart('server', tenant.configs.server, folder);
  assert.equal(scepResultOf(await syncing).outcome, 'installed');
  await assertKnownEverywhere(opened, await identityOf(opened));
  assert.equal((await issuedTo(opened)).filter(({ status }) => status === 'issued').length, 1);
});

test('a retired device is refused, with the challenge that it still holds, and loses its certificate', async () => {
  const opened = await device('second');
  const order = await orderFor(tenant, opened);
  await asMdmAdministrator(tenant, (admin) => admin.setDeviceState(opened.identity.deviceId, 'retired'));
  const count = await certificateCount();
  const answer = await fire(tenant, await aim(tenant, order, newKey()));
  assert.equal(answer.pkiStatus, 'FAILURE');
  const { failInfo, failInfoText = '' } = answer.pkiStatus === 'FAILURE' ? answer : {};
  assert.equal(failInfo, 'badRequest');
  const reference = /LG-\w+/.exec(failInfoText)?.[0] ?? 'none';
  const [entry] = await inStore((store) => store.auditEntries({ reference, limit: 1 }));
  assert.equal(entry?.code, 'device_unknown');
  assert.match(entry.detail.detail ?? '', /^BadDeviceIdInChallenge/);
  assert.equal(await certificateCount(), count);
  const result = await opened.sync();
  assert.equal(result.outcome === 'completed' && result.state, 'retired');
  assert.deepEqual(new Set(profilesOf(result).map(({ outcome }) => outcome)), new Set(['removed']));
  assert.deepEqual(await opened.identities(), []);
  assert.deepEqual(await readdir(join(opened.folder.path, 'keys')), []);
});

test('a SCEP server whose CA is not the one of the profile is not trusted: event 32', async () => {
  const foreign = await createRoot(newKey(), nameFromString('CN=Foreign Root CA'), {
    notBefore: root.notBefore,
    notAfter: root.notAfter,
  });
  await asMdmAdministrator(tenant, async (admin) => {
    await admin.upsertProfile({
      kind: 'trustedCertificate',
      profileId: 'foreign-root',
      displayName: 'Foreign Root CA',
      trustedRootCertificate: Buffer.from(foreign.raw).toString('base64'),
      destinationStore: 'computerCertStoreRoot',
    });
    const record = admin.profiles().find(({ profile }) => profile.profileId === SCEP_PROFILE);
    assert.ok(record);
    await admin.upsertProfile({
      ...record.profile,
      profileId: 'scep-foreign',
      displayName: 'Certificate by way of a foreign CA',
      rootCertificate: 'foreign-root',
    });
  });
  const opened = await device('first');
  const count = await certificateCount();
  const result = await opened.sync();
  assert.equal(scepResultOf(result, 'foreign-root').outcome, 'installed');
  const refused = scepResultOf(result, 'scep-foreign');
  assert.equal(refused.outcome, 'failed');
  assert.equal('hResult' in refused && refused.hResult, hResults.CRYPT_E_HASH_VALUE.value);
  assert.equal('eventId' in refused && refused.eventId, 32);
  const [event] = (await opened.events.read({ ids: [32] })).slice(-1);
  assert.match(
    event?.message ?? '',
    /enroll failed\. Result: \(The hash value is not correct\. \(0x80091007\)\)/,
  );
  assert.match(event?.message ?? '', new RegExp(thumbprintOf(foreign.raw)));
  const state = await stateOf(opened, 'scep-foreign');
  assert.deepEqual(
    [state.issuanceState, state.errorCode, state.eventId],
    ['requestCreationFailed', hResults.CRYPT_E_HASH_VALUE.value, 32],
  );
  assert.equal(await certificateCount(), count, 'nothing was asked of the server');
  assert.equal(scepResultOf(result).outcome, 'kept', 'the other certificate is as it was');
});

test('each certificate has one audit entry, and none was made that nobody has', async () => {
  const { issued, entries } = await inStore(async (store) => ({
    issued: (await store.certificates({ status: 'issued', limit: 1000 })).map(
      ({ serialNumber }) => serialNumber,
    ),
    entries: (await store.auditEntries({ event: 'certificate.issued', limit: 1000 })).map(
      ({ detail }) => detail.serialNumber,
    ),
  }));
  assert.deepEqual(issued.toSorted(), entries.toSorted());
  // Edge and MDM, the OCSP responder, the RA's two and its one for clients that know one; six of five devices, one of
  // which renewed.
  assert.equal(issued.length, 6 + 6);
});
