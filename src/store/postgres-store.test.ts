import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { storeContract } from '../../test/store-contract.ts';
import { startPostgres, type TestPostgres } from '../../test/support/postgres-fixture.ts';
import { auditOf, intentOf, issuedOf } from '../../test/support/store-fixture.ts';
import {
  buildCertificate,
  buildPem,
  caBasicConstraintsExtension,
  type GeneralName,
  nameFromString,
  subjectAltNameExtension,
} from '../codec/index.ts';
import { privateKeyOf } from '../keys/index.ts';
import type { PkiStore } from './contract.ts';
import { openPkiStore } from './open.ts';
import type { PostgresDatabase } from './postgres-pool.ts';

let server: TestPostgres;
before(async () => {
  server = await startPostgres();
});
after(() => server.remove());

const open = (postgres: PostgresDatabase) => openPkiStore({ postgres });

storeContract('PostgreSQL', async () => {
  const postgres = await server.newDatabase();
  let current: PkiStore = await open(postgres);
  return {
    store: current,
    elsewhere: {
      module: new URL('./index.ts', import.meta.url).href,
      open: 'openPkiStore',
      argument: { postgres },
    },
    run: (sql) => server.run(postgres, sql),
    reopen: async () => {
      await current.close();
      current = await open(postgres);
      return current;
    },
    close: () => current.close(),
  };
});

describe('the schema', () => {
  test('is brought up once by many that open at once', async () => {
    const postgres = await server.newDatabase();
    const stores = await Promise.all(Array.from({ length: 6 }, () => open(postgres)));
    await Promise.all(stores.map((store) => store.appendAudit(auditOf())));
    assert.equal((await stores[0]?.auditHead())?.number, 6);
    for (const store of stores) await store.close();
  });

  test('of a newer version is refused, and left as it is', async () => {
    const postgres = await server.newDatabase();
    await (await open(postgres)).close();
    await server.run(postgres, "INSERT INTO migration VALUES (99, 'of tomorrow', '')");
    await assert.rejects(open(postgres), { code: 'store_newer' });
    await server.run(postgres, 'DELETE FROM migration WHERE number = 99');
    await (await open(postgres)).close();
  });

  test('that is complete is not written to: a read-only standby opens and reads', async () => {
    const postgres = await server.newDatabase();
    const active = await open(postgres);
    await active.appendAudit(auditOf({ event: 'before' }));
    await server.run(postgres, `ALTER DATABASE ${postgres.database} SET default_transaction_read_only = on`);
    const standby = await open(postgres);
    assert.deepEqual(
      (await standby.auditEntries({ limit: 2 })).map(({ event }) => event),
      ['before'],
    );
    await assert.rejects(standby.appendAudit(auditOf()), { code: 'store_read_only' });
    await standby.close();
    await active.close();
  });

  test('is not made by who opens it to be read', async () => {
    const postgres = await server.newDatabase();
    await assert.rejects(openPkiStore({ postgres }, 'read'), { code: 'store_older' });
    await (await open(postgres)).close();
    await server.run(postgres, "INSERT INTO migration VALUES (99, 'of tomorrow', '')");
    await assert.rejects(openPkiStore({ postgres }, 'read'), { code: 'store_newer' });
  });

  test('is not made in a database that would lose what it commits', async () => {
    const postgres = await server.newDatabase();
    await server.run(postgres, `ALTER DATABASE ${postgres.database} SET synchronous_commit = off`);
    await assert.rejects(open(postgres), { code: 'store_not_durable', message: /synchronous_commit/ });
  });
});

test('a NUL that a device sends is stored as a replacement character', async () => {
  const store = await open(await server.newDatabase());
  const intent = intentOf({ requestID: 'r', serialNumber: '01', subject: 'CN=a\0b' });
  await store.reserveSerial(intent);
  await store.recordCertificate(issuedOf(intent, { text: 'a\0b' }));
  assert.equal((await store.certificateBySerial('issuing', '01'))?.subject, 'CN=a\u{FFFD}b');
  await store.close();
});

test('the audit log cannot be changed, not even by who owns the database', async () => {
  const postgres = await server.newDatabase();
  const store = await open(postgres);
  await store.appendAudit(auditOf());
  for (const sql of ['DELETE FROM audit_entry', "UPDATE audit_entry SET text = ''", 'TRUNCATE audit_entry'])
    await assert.rejects(server.run(postgres, sql), /append-only/, sql);
  assert.equal((await store.auditEntries({ limit: 10 })).length, 1);
  await store.close();
});

test('the lead is lost with the database’s session, and known to be; then it can be taken again', async () => {
  const postgres = await server.newDatabase();
  const [first, second] = [await open(postgres), await open(postgres)];
  const lead = await first.takeLead();
  assert.equal(await lead?.isHeld(), true);
  await server.run(
    postgres,
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'leafgate lead'",
  );
  assert.equal(await lead?.isHeld(), false);
  const next = await second.takeLead();
  assert.equal(await next?.isHeld(), true);
  assert.equal(await lead?.isHeld(), false);
  await server.stop();
  try {
    assert.equal(await next?.isHeld(), false);
    await assert.rejects(first.takeLead(), { code: 'store_unavailable' });
  } finally {
    await server.start();
  }
  assert.equal(await (await first.takeLead())?.isHeld(), true);
  await first.close();
  await second.close();
});

test('a database that goes is not available, and is used again when it is back', async () => {
  const postgres = await server.newDatabase();
  const store = await open(postgres);
  const [early, late] = [
    intentOf({ requestID: 'early', serialNumber: '01' }),
    intentOf({ requestID: 'late', serialNumber: '02' }),
  ];
  await store.reserveSerial(early);
  await store.recordCertificate(issuedOf(early));
  await server.stop();
  try {
    // Several, so that connections which were open and such as are to be opened both fail.
    for (let count = 0; count < 12; count++) {
      await assert.rejects(store.reserveSerial(late), { code: 'store_unavailable' });
      await assert.rejects(store.certificateBySerial('issuing', '01'), { code: 'store_unavailable' });
    }
  } finally {
    await server.start();
  }
  assert.equal((await store.certificateBySerial('issuing', '01'))?.status, 'issued');
  assert.equal(await store.reserveSerial(late), 'reserved');
  await store.recordCertificate(issuedOf(late));
  assert.equal((await store.auditHead()).number, 2);
  await store.close();
});

describe('TLS', () => {
  const validity = { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 86_400_000) };
  const newKey = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
  const ca = { name: nameFromString('CN=databases of the test'), key: newKey() };

  /** PEM of a CA's certificate, or of one that it issued for the names. */
  async function certify(key: KeyObject, names?: readonly GeneralName[]): Promise<string> {
    const subject = names === undefined ? ca.name : nameFromString('CN=database');
    const certificate = await buildCertificate(
      {
        ...validity,
        serialNumber: names === undefined ? '01' : '02',
        signatureAlgorithm: 'ecdsa-sha256',
        issuer: ca.name,
        subject,
        spki: privateKeyOf(key).spki,
        extensions:
          names === undefined ? [caBasicConstraintsExtension()] : [subjectAltNameExtension(names, subject)],
      },
      privateKeyOf(ca.key).sign,
    );
    return buildPem('CERTIFICATE', certificate);
  }
  const pem = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'pem' }).toString();

  let encrypted: TestPostgres;
  let rootPem: string;
  before(async () => {
    rootPem = await certify(ca.key);
    encrypted = await startPostgres();
  });
  after(() => encrypted?.remove());

  /** How the session that looks is encrypted. */
  const isEncrypted = async (postgres: PostgresDatabase) => {
    await encrypted.run(
      postgres,
      "CREATE TABLE seen AS SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'leafgate'",
    );
    await encrypted.run(
      postgres,
      'DO $$ BEGIN ASSERT (SELECT bool_and(ssl) AND count(*) > 0 FROM seen); END $$',
    );
  };

  test('to a server whose certificate our CA made for its address', async () => {
    const key = newKey();
    await encrypted.encrypt(await certify(key, [{ type: 'iPAddress', value: '127.0.0.1' }]), pem(key));
    const postgres = { ...(await encrypted.newDatabase()), ca: rootPem };
    const store = await open(postgres);
    await store.appendAudit(auditOf());
    const lead = await store.takeLead();
    assert.equal(await lead?.isHeld(), true);
    await isEncrypted(postgres);
    await store.close();
  });

  const refusals: readonly {
    readonly name: string;
    readonly names: readonly GeneralName[];
    readonly trusts: () => Promise<string>;
    readonly says: RegExp;
  }[] = [
    {
      name: 'of a CA that is not ours',
      names: [{ type: 'iPAddress', value: '127.0.0.1' }],
      trusts: async () => {
        const other = newKey();
        const subject = nameFromString('CN=another CA');
        const raw = await buildCertificate(
          {
            ...validity,
            serialNumber: '03',
            signatureAlgorithm: 'ecdsa-sha256',
            issuer: subject,
            subject,
            spki: privateKeyOf(other).spki,
            extensions: [caBasicConstraintsExtension()],
          },
          privateKeyOf(other).sign,
        );
        return buildPem('CERTIFICATE', raw);
      },
      says: /certificate/,
    },
    {
      name: 'that names another host',
      names: [{ type: 'dNSName', value: 'localhost' }],
      trusts: async () => rootPem,
      says: /127\.0\.0\.1/,
    },
  ];
  for (const { name, names, trusts, says } of refusals) {
    test(`is refused to a server with a certificate ${name}`, async () => {
      const key = newKey();
      await encrypted.encrypt(await certify(key, names), pem(key));
      const postgres = { ...(await encrypted.newDatabase()), ca: await trusts() };
      await assert.rejects(open(postgres), { code: 'store_unavailable', message: says });
    });
  }

  test('is refused to a server that speaks none', async () => {
    const postgres = { ...(await server.newDatabase()), ca: rootPem };
    await assert.rejects(open(postgres), { code: 'store_unavailable', message: /SSL/ });
  });
});
