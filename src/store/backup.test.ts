import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { auditOf, hex, instant, intentOf, issuedOf } from '../../test/support/store-fixture.ts';
import { verifyAuditLog } from './audit-chain.ts';
import { backupStore, CRL_NUMBER_STEP, restoreStore, verifyBackup } from './backup.ts';
import { openSqliteStore } from './pki-store.ts';

let folder: string;
let database: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leafgate-backup-'));
  database = join(folder, 'data', 'pki.sqlite');
  file = join(folder, 'backup.sqlite');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const restoring = () =>
  ({
    file,
    database: join(folder, 'restored', 'pki.sqlite'),
    existing: 'refuse',
    issuers: ['issuing'],
    at: instant(9),
    actor: 'test',
  }) as const;

async function fill(): Promise<void> {
  const store = openSqliteStore(database);
  const intent = intentOf({ requestID: 'r', serialNumber: '01' });
  await store.reserveSerial(intent);
  await store.recordCertificate(issuedOf(intent));
  await store.reserveCrlNumber('issuing');
  await store.close();
}

describe('a backup', () => {
  beforeEach(fill);

  test('is the owner’s alone, and says what it holds', async () => {
    const manifest = await backupStore(database, file, instant(1));
    assert.deepEqual(await verifyBackup(file), manifest);
    assert.equal(manifest.certificates, 1);
    assert.deepEqual(manifest.crlNumbers, { issuing: 1 });
    assert.equal(manifest.audit.number, 1);
    if (process.platform !== 'win32') assert.equal((await stat(file)).mode & 0o777, 0o600);
  });

  test('replaces no file', async () => {
    await writeFile(file, 'precious');
    await assert.rejects(backupStore(database, file, instant(1)), { code: 'backup_failed' });
    assert.equal(await readFile(file, 'utf8'), 'precious');
  });

  test('of nothing is none', async () => {
    await assert.rejects(backupStore(join(folder, 'none'), file, instant(1)), { code: 'store_unavailable' });
    await assert.rejects(stat(file), { code: 'ENOENT' });
  });

  const damages: readonly { readonly name: string; readonly damage: () => Promise<void> }[] = [
    { name: 'with an octet more', damage: () => appendFile(file, 'x') },
    { name: 'without manifest', damage: () => rm(`${file}.json`) },
    { name: 'whose manifest is no JSON', damage: () => writeFile(`${file}.json`, '{') },
    {
      name: 'whose manifest tells of other numbers',
      damage: async () => {
        const manifest = JSON.parse(await readFile(`${file}.json`, 'utf8'));
        await writeFile(`${file}.json`, JSON.stringify({ ...manifest, crlNumbers: {} }));
      },
    },
  ];
  for (const { name, damage } of damages) {
    test(`${name} is not restored`, async () => {
      await backupStore(database, file, instant(1));
      await damage();
      await assert.rejects(restoreStore(restoring()), { code: 'backup_failed' });
      await assert.rejects(stat(restoring().database), { code: 'ENOENT' });
    });
  }
});

describe('restoring', () => {
  beforeEach(async () => {
    await fill();
    await backupStore(database, file, instant(1));
  });

  test('does not touch a store that is there', async () => {
    const before = await readFile(database);
    await assert.rejects(restoreStore({ ...restoring(), database }), { code: 'backup_failed' });
    assert.deepEqual(await readFile(database), before);
  });

  test('keeps a store that it may set aside', async () => {
    const { setAside } = await restoreStore({ ...restoring(), database, existing: 'set-aside' });
    const old = new DatabaseSync(setAside ?? assert.fail('it is named'), { readOnly: true });
    assert.equal(old.prepare('SELECT count(*) AS count FROM audit_entry').get()?.count, 1);
    old.close();
  });

  test('puts it on record', async () => {
    await restoreStore(restoring());
    const store = openSqliteStore(restoring().database);
    const [entry] = await store.auditEntries({ limit: 1 });
    assert.equal(entry?.event, 'store.restored');
    assert.equal(entry.detail.takenAt, instant(1).toISOString());
    assert.equal((await store.certificateBySerial('issuing', '01'))?.status, 'issued');
    await store.close();
  });
});

test('a store restored from a backup under load repeats no serial and no CRL number', async () => {
  await fill();
  const child = spawn(
    process.execPath,
    [
      fileURLToPath(new URL('../../test/store-contract-child.ts', import.meta.url)),
      JSON.stringify({
        elsewhere: {
          module: new URL('./index.ts', import.meta.url).href,
          open: 'openPkiStore',
          argument: { sqlite: database },
        },
        job: { task: 'write', name: 'busy' },
      }),
    ],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  const lines: string[] = [];
  const reader = createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  const ended = once(child, 'close');
  const atLeast = async (count: number) => {
    while (lines.length < count) await once(reader, 'line');
  };
  try {
    await atLeast(1);
    child.stdin.end('go\n');
    await atLeast(60);
    const before = lines.length;
    const manifest = await backupStore(database, file, instant(1));
    assert.ok(manifest.certificates >= 5, 'what had resolved before is in it');
    await atLeast(before + 120);
  } finally {
    child.kill('SIGKILL');
    await ended;
  }
  const numbers = (what: string) =>
    lines.filter((line) => line.startsWith(`${what} `)).map((line) => Number(line.slice(what.length + 1)));
  const given = Math.max(...numbers('crl'));
  const { manifest } = await restoreStore(restoring());
  assert.ok((manifest.crlNumbers.busy ?? 0) < given, 'CRLs were made after the backup');
  const store = openSqliteStore(restoring().database);
  try {
    const next = await store.reserveCrlNumber('busy');
    assert.ok(next > given);
    assert.equal(next, (manifest.crlNumbers.busy ?? 0) + CRL_NUMBER_STEP + 1);
    const records = await store.certificates({ limit: 100_000 });
    assert.equal(records.length, manifest.certificates);
    const [record] = records.filter(({ status }) => status === 'revoked');
    const serialNumber = record?.serialNumber ?? hex(0);
    assert.equal(await store.reserveSerial(intentOf({ requestID: 'again', serialNumber })), 'taken');
    const found = await verifyAuditLog(store, () => true);
    assert.equal(found.result, 'whole');
    await store.appendAudit(auditOf());
  } finally {
    await store.close();
  }
});
