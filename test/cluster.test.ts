/**
 * Several servers on one PostgreSQL: one does what needs doing once, and another takes over when it dies. A standby, which
 * only reads, serves what is there. A primary whose database takes no more writes is unavailable and lives on.
 */
import assert from 'node:assert/strict';
import { chmod, cp, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { openTenant, type Tenant } from '../lab/tenant.ts';
import {
  buildCertID,
  buildOcspRequest,
  crlNumberOf,
  parseCertificate,
  parseOcspResponse,
  parsePem,
} from '../src/codec/index.ts';
import { backupStore, openPkiStore, type PkiStore } from '../src/store/index.ts';
import { startPostgres, type TestPostgres } from './support/postgres-fixture.ts';
import {
  crlAt,
  databaseConfig,
  startServerProcess,
  TestDevice,
  type TestServerProcess,
  until,
} from './support/server-fixture.ts';
import { auditOf } from './support/store-fixture.ts';

/** Longer than two looks of the housekeeping: what another server would do twice would be done by then. */
const TWO_LOOKS_MS = 12_000;
const ISSUER = 'issuing';

let folder: string;
let tenant: Tenant;
let postgres: TestPostgres;
const running: TestServerProcess[] = [];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leafgate-cluster-'));
  [tenant, postgres] = await Promise.all([
    openTenant(folder, { ports: 'any', progress: () => {}, issuingKey: 'rsa-2048' }),
    startPostgres(),
  ]);
});
after(async () => {
  for (const { part } of running) await part.kill();
  await postgres?.remove();
  await rm(folder, { recursive: true, force: true });
});

async function start(name: string, changes: object): Promise<TestServerProcess> {
  const server = await startServerProcess(tenant, name, { ...changes });
  running.push(server);
  return server;
}

/** Revokes a certificate beside the servers, which have to see it. */
async function revoke(store: PkiStore, serialNumber: string): Promise<void> {
  const outcome = await store.revoke({
    issuer: ISSUER,
    serialNumber,
    reason: 'keyCompromise',
    at: new Date(),
    audit: auditOf({ event: 'certificate.revoked' }),
  });
  assert.equal(outcome, 'revoked');
}

function serialOf(answer: Awaited<ReturnType<TestDevice['enrol']>>): string {
  assert.ok('serialNumber' in answer, JSON.stringify(answer));
  return answer.serialNumber;
}

const published = async (name: string): Promise<string[]> =>
  await readdir(join(folder, 'server', `published-${name}`)).catch(() => []);

test('two servers on one database: one makes the CRLs, and when it is killed the other does', async () => {
  const database = await postgres.newDatabase();
  const changes = { database: await databaseConfig(tenant, database) };
  const store = await openPkiStore({ postgres: database });
  try {
    const first = await start('first', changes);
    const second = await start('second', changes);
    assert.match(second.log(), /another server looks after the store/);
    assert.doesNotMatch(first.log(), /another server looks after the store/);
    const numberAt = async ({ base }: TestServerProcess) => crlNumberOf(await crlAt(base, ISSUER)) ?? 0;
    assert.equal(await numberAt(first), 1);
    assert.equal(await numberAt(second), 1, 'one CRL for both');

    // Both issue; the same request at the other server gets the same certificate.
    const devices = await TestDevice.make(tenant, first.base, 6);
    const serials: string[] = [];
    for (const [index, device] of devices.entries()) {
      const [own, other] = index % 2 === 0 ? [first, second] : [second, first];
      serials.push(serialOf(await device.enrol(own.base)));
      assert.equal(serialOf(await device.enrol(other.base)), serials.at(-1));
    }
    assert.equal(new Set(serials).size, devices.length);

    await revoke(store, serials[0] as string);
    await until('the revocation is in a CRL', async () => (await numberAt(second)) > 1);
    await sleep(TWO_LOOKS_MS);
    assert.equal(await numberAt(second), 2, 'one server made one CRL of one revocation');
    assert.notDeepEqual(await published('first'), []);
    assert.deepEqual(await published('second'), [], 'one server publishes');

    await first.part.kill();
    await revoke(store, serials[1] as string);
    await until('the other server has taken over', async () => (await numberAt(second)) > 2);
    assert.match(second.log(), /this server looks after the store now/);
    const crl = await crlAt(second.base, ISSUER);
    assert.equal(crlNumberOf(crl), 3);
    assert.deepEqual(crl.revoked.map(({ serialNumber }) => serialNumber).sort(), serials.slice(0, 2).sort());
    await until('it publishes', async () => (await published('second')).length > 0);

    // The first comes back and finds its place taken.
    const again = await start('first', changes);
    assert.equal(again.log().match(/another server looks after the store/g)?.length, 1);
    assert.equal(serialOf(await (devices[2] as TestDevice).enrol(again.base)), serials[2]);

    // The database goes and comes back: whoever leads then, there is one, and numbers grow.
    await postgres.stop();
    assert.deepEqual(await (devices[3] as TestDevice).enrol(second.base), { status: 503 });
    await sleep(TWO_LOOKS_MS);
    await postgres.start();
    await revoke(store, serials[4] as string);
    await until('a CRL after the outage', async () => (await numberAt(again)) > 3);
    assert.equal(serialOf(await (devices[3] as TestDevice).enrol(second.base)), serials[3]);
    const found = await crlAt(again.base, ISSUER);
    assert.equal(found.revoked.length, 3);
    await again.part.stop();
    await second.part.stop();
  } finally {
    await store.close();
  }
});

/** What a server says by OCSP of a certificate: its status, or that of the whole answer. */
async function ocspAt(base: string, serialNumber: string): Promise<string> {
  const [raw] = parsePem(await readFile(tenant.chainFile, 'utf8'), 'CERTIFICATE');
  const certIDs = [buildCertID(parseCertificate(raw), serialNumber, 'sha1')];
  const answer = await fetch(`${base}/ocsp`, {
    method: 'POST',
    headers: { 'content-type': 'application/ocsp-request' },
    body: buildOcspRequest({ certIDs }) as Uint8Array<ArrayBuffer>,
  });
  const response = parseOcspResponse(new Uint8Array(await answer.arrayBuffer()));
  if (response.responseStatus !== 'successful') return response.responseStatus;
  return response.basic.responses.map(({ certStatus }) => certStatus.status).join();
}

/** What a standby must do: show everything, issue nothing, and say so in a way that devices come back. */
async function assertStandby(
  { base, log }: TestServerProcess,
  issued: readonly string[],
  device: TestDevice,
): Promise<void> {
  assert.match(log(), /a standby: it shows what is there, and issues nothing/);
  const crl = await crlAt(base, ISSUER);
  assert.deepEqual(
    crl.revoked.map(({ serialNumber }) => serialNumber),
    issued.slice(0, 1),
  );
  for (const path of [
    `/aia/${ISSUER}.crt`,
    '/scep/static?operation=GetCACert',
    '/scep/static?operation=GetCACaps',
  ])
    assert.equal((await fetch(`${base}${path}`)).status, 200, path);
  assert.equal(await ocspAt(base, issued[0] as string), 'revoked');
  assert.equal(await ocspAt(base, issued[1] as string), 'good');
  assert.deepEqual(await device.enrol(base), { status: 503 });
  // Longer than a look of the housekeeping, which it does not have.
  await sleep(6_000);
  assert.deepEqual(await device.enrol(base), { status: 503 });
  assert.doesNotMatch(log(), /"level":50/);
}

/** Two certificates, the first of them revoked and in the CRL. */
async function issueTwo(server: TestServerProcess, store: PkiStore, devices: readonly TestDevice[]) {
  const issued: string[] = [];
  for (const device of devices.slice(0, 2)) issued.push(serialOf(await device.enrol(server.base)));
  await revoke(store, issued[0] as string);
  await until('the CRL has it', async () => (await crlAt(server.base, ISSUER)).revoked.length === 1);
  return issued;
}

describe('a standby', () => {
  test('on a PostgreSQL database that takes no writes', async () => {
    const database = await postgres.newDatabase();
    const changes = { database: await databaseConfig(tenant, database) };
    const store = await openPkiStore({ postgres: database });
    const primary = await start('primary', changes);
    const devices = await TestDevice.make(tenant, primary.base, 3);
    const issued = await issueTwo(primary, store, devices);
    const head = await store.auditHead();
    await store.close();
    await primary.part.stop();
    await postgres.run(
      database,
      `ALTER DATABASE ${database.database} SET default_transaction_read_only = on`,
    );
    // Keys of OCSP signers are of their host: the standby gets those of the primary with the rest of its folder.
    await cp(join(folder, 'server', 'data-primary'), join(folder, 'server', 'data-standby'), {
      recursive: true,
    });
    const standby = await start('standby', { ...changes, standby: true });
    await assertStandby(standby, issued, devices[2] as TestDevice);
    await standby.part.stop();
    const after = await openPkiStore({ postgres: database }, 'read');
    assert.deepEqual(await after.auditHead(), head, 'it wrote nothing');
    await after.close();
  });

  test('on a copy of a SQLite file, in which it leaves no trace', async () => {
    const primary = await start('solo', {});
    const data = join(folder, 'server', 'data-solo');
    const store = await openPkiStore({ sqlite: join(data, 'pki.sqlite') });
    const devices = await TestDevice.make(tenant, primary.base, 3);
    const issued = await issueTwo(primary, store, devices);
    await store.close();
    const copy = join(folder, 'server', 'data-copy');
    await cp(join(data, 'ocsp'), join(copy, 'ocsp'), { recursive: true });
    const file = join(copy, 'pki.sqlite');
    await backupStore(join(data, 'pki.sqlite'), file, new Date());
    await primary.part.stop();
    const [before, names] = [await readFile(file), (await readdir(copy)).toSorted()];
    await chmod(file, 0o400);
    await chmod(copy, 0o500);
    try {
      const standby = await start('copy', { standby: true });
      await assertStandby(standby, issued, devices[2] as TestDevice);
      await standby.part.stop();
    } finally {
      await chmod(copy, 0o700);
    }
    assert.deepEqual((await readdir(copy)).toSorted(), names);
    assert.ok(before.equals(await readFile(file)));
  });

  test('does not start on a database that has no schema', async () => {
    const database = await postgres.newDatabase();
    const changes = { database: await databaseConfig(tenant, database), standby: true };
    await assert.rejects(start('early', changes), /the database belongs to an older version|has schema 0/);
  });
});

test('a primary whose database takes no more writes is unavailable, and works again when it does', async () => {
  const database = await postgres.newDatabase();
  const server = await start('fallen', { database: await databaseConfig(tenant, database) });
  const [first, second] = await TestDevice.make(tenant, server.base, 2);
  assert.ok(first !== undefined && second !== undefined);
  const serial = serialOf(await first.enrol(server.base));
  const writes = async (allowed: 'on' | 'off') => {
    const { database: name } = database;
    await postgres.run(
      database,
      `BEGIN READ WRITE; ALTER DATABASE ${name} SET default_transaction_read_only = ${allowed}; COMMIT`,
    );
    // Sessions keep what they began with.
    await postgres.run(
      database,
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${name}' AND pid <> pg_backend_pid()`,
    );
  };
  await writes('on');
  assert.deepEqual(await second.enrol(server.base), { status: 503 });
  assert.equal(crlNumberOf(await crlAt(server.base, ISSUER)), 1);
  await sleep(TWO_LOOKS_MS);
  assert.deepEqual(await second.enrol(server.base), { status: 503 });
  await writes('off');
  serialOf(await second.enrol(server.base));
  assert.equal(serialOf(await first.enrol(server.base)), serial);
  await server.part.stop();
});
