/** A PKCS profile from end to end: MDM, server with its connector as a process, device; and a server that is killed. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  asMdmAdministrator,
  assignPkcsProfile,
  assignProfiles,
  deviceNamed,
  PKCS_PROFILE,
  SCEP_PROFILE,
} from '../lab/fleet.ts';
import { type PartProcess, startPart } from '../lab/processes.ts';
import { openTenant, type Tenant } from '../lab/tenant.ts';
import { nameToString, sameOctets } from '../src/codec/index.ts';
import { readConfig } from '../src/config.ts';
import { type Running, start } from '../src/main.ts';
import { MdmStore, type PkcsRequest } from '../src/mdm/index.ts';
import { LEASE_MS } from '../src/mdm/pkcs-requests.ts';
import { openPkiStore } from '../src/store/index.ts';
import type { Clock } from '../src/telemetry.ts';

const WAIT_MS_MAX = 60_000;

/** The clock of the MDM, whose leases are not waited for. */
const clock: Clock & { offsetMs: number } = {
  offsetMs: 0,
  now() {
    return new Date(Date.now() + this.offsetMs);
  },
};

let folder: string;
let tenant: Tenant;
let mdm: Running;
let server: PartProcess;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leafgate-pkcs-'));
  tenant = await openTenant(folder, { ports: 'any', progress: () => {}, issuingKey: 'rsa-2048' });
  mdm = await start({ ...readConfig(tenant.configs.mdm), log: 'silent' }, clock);
  server = await startPart('server', tenant.configs.server, folder);
  await assignProfiles(tenant);
  // There is no edge here that SCEP could go through.
  await asMdmAdministrator(tenant, (opened) => opened.deleteProfile(SCEP_PROFILE));
});
after(async () => {
  await server?.stop();
  await mdm?.close();
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
});

async function request(deviceId: string): Promise<PkcsRequest | undefined> {
  const { mdm: config } = readConfig(tenant.configs.mdm);
  const store = MdmStore.open(config?.databaseFile ?? '');
  try {
    return store.pkcs.newest(deviceId, PKCS_PROFILE);
  } finally {
    store.close();
  }
}

async function until(deviceId: string, what: string, holds: (seen: PkcsRequest) => boolean): Promise<void> {
  const deadline = Date.now() + WAIT_MS_MAX;
  for (;;) {
    const seen = await request(deviceId);
    if (seen !== undefined && holds(seen)) return;
    assert.ok(Date.now() < deadline, `${what}: ${JSON.stringify(seen?.state)}`);
    await sleep(5);
  }
}

/** What the CA has for the device by the connector: the status of each certificate. */
async function certificatesOf(deviceId: string): Promise<string[]> {
  const store = await openPkiStore({ sqlite: join(folder, 'server', 'data', 'pki.sqlite') }, 'read');
  try {
    const found = await store.certificates({ device: deviceId, limit: 100 });
    return found.filter(({ requestID }) => requestID.startsWith('pfx-')).map(({ status }) => status);
  } finally {
    await store.close();
  }
}

async function deviceWithProfile(name: string) {
  const device = await deviceNamed(tenant, name);
  const { deviceId } = device.identity;
  await assignPkcsProfile(tenant, deviceId);
  const outcome = async () => {
    const result = await device.sync();
    assert.ok(result.outcome === 'completed', JSON.stringify(result));
    return result.profiles.find(({ profileId }) => profileId === PKCS_PROFILE)?.outcome;
  };
  // It names whom to encrypt to; then the MDM asks its connectors.
  assert.equal(await outcome(), 'pending');
  assert.equal(await outcome(), 'pending');
  return { device, deviceId, outcome };
}

test('a device has its key and certificate by PKCS at the end', async () => {
  const { device, deviceId, outcome } = await deviceWithProfile('first');
  await until(deviceId, 'the connector has worked', ({ state }) => state === 'issued');
  assert.equal(await outcome(), 'installed');
  const identity = (await device.identities()).find(({ profileId }) => profileId === PKCS_PROFILE);
  assert.ok(identity !== undefined);
  assert.equal(nameToString(identity.certificate.subject), `CN=${deviceId},OU=PKCS,O=LAB`);
  const key = await device.privateKey(PKCS_PROFILE);
  assert.ok(key !== undefined && sameOctets(key.spki, identity.certificate.spki));
  assert.deepEqual(await certificatesOf(deviceId), ['issued']);
  const states = await asMdmAdministrator(tenant, async (opened) => opened.profileStates(deviceId));
  assert.equal(states.find(({ profileId }) => profileId === PKCS_PROFILE)?.issuanceState, 'installed');
});

test('a server that is killed over a request leaves one good certificate, which its device has', async () => {
  const { deviceId, outcome, device } = await deviceWithProfile('second');
  await until(deviceId, 'the connector has taken it', ({ attempt }) => attempt > 0);
  await server.kill();
  clock.offsetMs += LEASE_MS + 1;
  server = await startPart('server', tenant.configs.server, folder);
  await until(deviceId, 'the connector has worked', ({ state }) => state === 'issued');
  assert.equal(await outcome(), 'installed');
  const [identity] = (await device.identities()).filter(({ profileId }) => profileId === PKCS_PROFILE);
  assert.ok(identity !== undefined);
  const statuses = await certificatesOf(deviceId);
  assert.equal(statuses.filter((status) => status === 'issued').length, 1, statuses.join());
});
