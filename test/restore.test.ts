/**
 * A backup that is taken from a real server under load, and restored by command: the CA continues, repeats no serial number
 * and no CRL number, and its log is whole. With two issuing CAs.
 * On PostgreSQL, whose own tools copy and bring back, what `leafgate restore` does after them.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { openTenant, type Tenant } from '../lab/tenant.ts';
import { createIssuing } from '../src/ca/index.ts';
import { buildPem, crlNumberOf, nameFromString, parseCertificate, parsePem } from '../src/codec/index.ts';
import { generateKeyFile, openKeyFile } from '../src/keys/index.ts';
import { openPkiStore, type PkiDatabase } from '../src/store/index.ts';
import { startPostgres, type TestPostgres } from './support/postgres-fixture.ts';
import { crlAt, databaseConfig, startServerProcess, TestDevice, until } from './support/server-fixture.ts';
import { auditOf } from './support/store-fixture.ts';

const program = fileURLToPath(new URL('../bin/leafgate.js', import.meta.url));
const leafgate = async (...words: string[]) =>
  (await promisify(execFile)(process.execPath, [program, ...words])).stdout;
const ISSUERS = ['issuing', 'second'] as const;
const STEP = 1_048_576;
/** Devices that enrol when the backup has been taken. */
const AFTER_BACKUP = 15;

let folder: string;
let tenant: Tenant;
let postgres: TestPostgres | undefined;
let issuers: object[];

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leafgate-restore-'));
  tenant = await openTenant(folder, { ports: 'any', progress: () => {}, issuingKey: 'rsa-2048' });
  issuers = await addIssuer();
});
after(async () => {
  await postgres?.remove();
  await rm(folder, { recursive: true, force: true });
});

/** The issuing CAs of the tenant and a second one, signed by the same root. */
async function addIssuer(): Promise<object[]> {
  const offline = join(folder, 'offline-root');
  const rootPem = await readFile(tenant.rootFile, 'utf8');
  const root = {
    certificate: parseCertificate(parsePem(rootPem, 'CERTIFICATE')[0]),
    key: await openKeyFile({
      path: join(offline, 'root.key.pem'),
      passphrase: (await readFile(join(offline, 'root.passphrase'), 'utf8')).trimEnd(),
    }),
  };
  const server = join(folder, 'server');
  const key = await generateKeyFile({
    path: join(server, 'second.key.pem'),
    passphrase: 'a passphrase of the test',
    algorithm: 'p-256',
  });
  await writeFile(join(server, 'second.passphrase'), 'a passphrase of the test', { mode: 0o600 });
  const now = Math.floor(Date.now() / 1000) * 1000;
  const urls = {
    crlUrls: ['http://pki.test/crl/second.crl'],
    caIssuersUrls: ['http://pki.test/aia/second.crt'],
  };
  const issuing = await createIssuing(
    root,
    key.spki,
    nameFromString('CN=Second Issuing CA,O=Test'),
    { notBefore: new Date(now - 2 * 86_400_000), notAfter: new Date(now + 1000 * 86_400_000) },
    { crlUrls: ['http://pki.test/crl/root.crl'], caIssuersUrls: ['http://pki.test/aia/root.crt'] },
  );
  await writeFile(join(server, 'second.pem'), buildPem('CERTIFICATE', issuing.raw) + rootPem);
  const raw = parse(await readFile(tenant.configs.server, 'utf8')) as { server: { issuers: object[] } };
  return [
    ...raw.server.issuers,
    {
      name: 'second',
      certificate: 'second.pem',
      key: { file: 'second.key.pem', passphrase: 'file:second.passphrase' },
      ...urls,
    },
  ];
}

/** What a server had given out when it was stopped. */
interface Given {
  readonly serials: readonly string[];
  readonly crlNumbers: Readonly<Record<string, number>>;
}

const crlNumbersAt = async (base: string): Promise<Record<string, number>> =>
  Object.fromEntries(
    await Promise.all(
      ISSUERS.map(async (name) => [name, crlNumberOf(await crlAt(base, name)) ?? 0] as const),
    ),
  );

/**
 * Runs a server under load, calls `backup` in the middle, lets the server go on issuing and revoking, and stops it.
 */
async function underLoad(
  name: string,
  changes: object,
  database: PkiDatabase,
  backup: (config: string) => Promise<void>,
): Promise<Given> {
  const server = await startServerProcess(tenant, name, { ...changes, issuers });
  try {
    const devices = await TestDevice.make(tenant, server.base, 60);
    const serials: string[] = [];
    const waiting = [...devices];
    let backedUp: Promise<void> | undefined;
    const client = async () => {
      for (let device = waiting.shift(); device !== undefined; device = waiting.shift()) {
        const answer = await device.enrol(server.base);
        assert.ok('serialNumber' in answer, JSON.stringify(answer));
        serials.push(answer.serialNumber);
        if (serials.length >= 20 && backedUp === undefined) {
          backedUp = backup(server.config);
        }
        // The load lasts as long as the backup, and some come after it.
        await sleep(100);
        if (waiting.length < AFTER_BACKUP) await backedUp;
      }
    };
    await Promise.all(Array.from({ length: 6 }, client));
    await backedUp;
    // CRLs that the backup does not know.
    const numbers = await crlNumbersAt(server.base);
    const store = await openPkiStore(database);
    try {
      for (const serialNumber of serials.slice(-3)) {
        const { issuing = 0 } = await crlNumbersAt(server.base);
        const revocation = { issuer: 'issuing', serialNumber, reason: 'superseded', at: new Date() } as const;
        assert.equal(
          await store.revoke({ ...revocation, audit: auditOf({ event: 'certificate.revoked' }) }),
          'revoked',
        );
        await until(
          'a CRL of the revocation',
          async () => ((await crlNumbersAt(server.base)).issuing ?? 0) > issuing,
        );
      }
    } finally {
      await store.close();
    }
    const crlNumbers = await crlNumbersAt(server.base);
    assert.ok((crlNumbers.issuing ?? 0) > (numbers.issuing ?? 0));
    return { serials, crlNumbers };
  } finally {
    await server.part.kill();
  }
}

/** A server on the restored store goes on: nothing that was given comes again. */
async function assertContinues(
  name: string,
  changes: object,
  database: PkiDatabase,
  given: Given,
): Promise<void> {
  const server = await startServerProcess(tenant, name, { ...changes, issuers });
  try {
    const numbers = await crlNumbersAt(server.base);
    for (const issuer of ISSUERS) {
      const [now, then] = [numbers[issuer] ?? 0, given.crlNumbers[issuer] ?? 0];
      assert.ok(now > then && now > STEP, `${issuer}: CRL number ${now} after ${then}`);
    }
    const serials: string[] = [];
    for (const device of await TestDevice.make(tenant, server.base, 10)) {
      const answer = await device.enrol(server.base);
      assert.ok('serialNumber' in answer, JSON.stringify(answer));
      serials.push(answer.serialNumber);
    }
    assert.equal(new Set([...given.serials, ...serials]).size, given.serials.length + serials.length);
    assert.match(
      await leafgate('audit', 'verify', '--config', server.config),
      /entries up to number \d+ .* are whole/,
    );
  } finally {
    await server.part.stop();
  }
  const store = await openPkiStore(database);
  try {
    const records = await store.certificates({ limit: 10_000 });
    assert.equal(new Set(records.map(({ serialNumber }) => serialNumber)).size, records.length);
    assert.equal((await store.auditEntries({ event: 'store.restored', limit: 5 })).length, 1);
  } finally {
    await store.close();
  }
}

test('a SQLite store: backup under load, restore by command, and the CA continues', async () => {
  const data = join(folder, 'server', 'data-loaded');
  const database = { sqlite: join(data, 'pki.sqlite') };
  const file = join(folder, 'backup.sqlite');
  let config = '';
  const given = await underLoad('loaded', {}, database, async (path) => {
    config = path;
    await leafgate('backup', file, '--config', path);
  });
  const manifest = JSON.parse(await readFile(`${file}.json`, 'utf8')) as {
    certificates: number;
    crlNumbers: Record<string, number>;
  };
  assert.ok(manifest.certificates >= 20 && manifest.certificates < given.serials.length);
  assert.ok((manifest.crlNumbers.issuing ?? 0) < (given.crlNumbers.issuing ?? 0));
  await leafgate('restore', file, '--set-aside', '--config', config);
  await assertContinues('loaded', {}, database, given);
});

test('a PostgreSQL store that is back at an earlier moment: leafgate restore, and the CA continues', async () => {
  postgres = await startPostgres();
  const source = await postgres.newDatabase();
  const database = { postgres: source };
  const changes = { database: await databaseConfig(tenant, source) };
  let config = '';
  const given = await underLoad('shared', changes, database, async (path) => {
    config = path;
  });
  // In the place of pg_dump and pg_restore: the counters and CRLs as they were before anything was issued.
  await postgres.run(source, 'UPDATE issuer_counter SET "crlNumber" = 1');
  await postgres.run(source, 'DELETE FROM crl');
  await leafgate('restore', '--config', config);
  await assertContinues('shared', changes, database, given);
});
