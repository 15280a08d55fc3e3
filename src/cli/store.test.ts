import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { appendFile, chmod, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { leafgate, newSite } from '../../test/support/cli-fixture.ts';
import { auditOf, challengeOf, intentOf, issuedOf } from '../../test/support/store-fixture.ts';
import { PkiError } from '../errors.ts';
import { CRL_NUMBER_STEP, lockDataFolder, openPkiStore, type PkiStore } from '../store/index.ts';

let folder: string;
let config: string;
let database: string;
let backup: string;

beforeEach(async () => {
  ({ folder, config } = await newSite());
  database = join(folder, 'data', 'pki.sqlite');
  backup = join(folder, 'backup.sqlite');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const withConfig = (...words: string[]) => leafgate(...words, '--config', config);
const json = async <T>(...words: string[]) => JSON.parse(await withConfig(...words, '--json')) as T;
const rejectsWith = (code: string, message: RegExp) => (thrown: unknown) =>
  thrown instanceof PkiError && thrown.code === code && message.test(thrown.message);

async function inStore<T>(work: (store: PkiStore) => Promise<T>): Promise<T> {
  const store = await openPkiStore({ sqlite: database });
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

/** Certificates 01 to 05, long expired, with the CRL number 7 and a challenge that nobody used. */
const fill = () =>
  inStore(async (store) => {
    const past = { notBefore: new Date('2020-01-01'), notAfter: new Date('2021-01-01') };
    for (let number = 1; number <= 5; number += 1) {
      const intent = intentOf({ requestID: `r${number}`, serialNumber: `0${number}`, ...past });
      await store.reserveSerial(intent);
      await store.recordCertificate(issuedOf(intent));
    }
    for (let number = 1; number <= 7; number += 1) await store.reserveCrlNumber('issuing');
    await store.createChallenge(challengeOf({ challengeHash: 'h', expiresAt: new Date('2021-01-01') }));
  });

interface Manifest {
  readonly certificates: number;
  readonly crlNumbers: Record<string, number>;
  readonly sha256: string;
}

describe('leafgate backup', () => {
  beforeEach(fill);

  test('copies and says what it holds, to people and to machines', async () => {
    const manifest = await json<Manifest & { file: string }>('backup', backup);
    assert.equal(manifest.file, backup);
    assert.equal(manifest.certificates, 5);
    assert.deepEqual(manifest.crlNumbers, { issuing: 7 });
    const { file: _, ...written } = manifest;
    assert.deepEqual(JSON.parse(await readFile(`${backup}.json`, 'utf8')), written);
    assert.match(await withConfig('backup', `${backup}-2`), /^certificates: +5$/m);
  });

  test('replaces neither a file nor a manifest', async () => {
    for (const name of [backup, `${backup}.json`]) {
      await writeFile(name, 'precious');
      await assert.rejects(withConfig('backup', backup), rejectsWith('backup_failed', /replaces nothing/));
      assert.equal(await readFile(name, 'utf8'), 'precious');
      await rm(name);
    }
  });

  test('of PostgreSQL says what to do instead', async () => {
    const raw = JSON.parse(await readFile(config, 'utf8'));
    raw.server.database = { postgres: { host: 'db.test', database: 'pki', user: 'leafgate' } };
    await writeFile(config, JSON.stringify(raw));
    await assert.rejects(
      withConfig('backup', backup),
      rejectsWith('backup_failed', /pg_dump --format=custom --host=db\.test .*--file=.* pki$/),
    );
    await assert.rejects(withConfig('restore', backup), rejectsWith('backup_failed', /pg_restore/));
  });
});

describe('leafgate restore', () => {
  beforeEach(async () => {
    await fill();
    await withConfig('backup', backup);
  });

  test('refuses a database that is there, and sets it aside if it may', async () => {
    const before = await readFile(database);
    await assert.rejects(withConfig('restore', backup), rejectsWith('backup_failed', /pki\.sqlite exists/));
    assert.ok(before.equals(await readFile(database)));
    await inStore((store) => store.appendAudit(auditOf({ event: 'lost' })));
    const restored = await json<Manifest & { setAside: string }>('restore', backup, '--set-aside');
    assert.equal(restored.certificates, 5);
    const old = new DatabaseSync(restored.setAside, { readOnly: true });
    assert.equal(old.prepare("SELECT count(*) AS n FROM audit_entry WHERE event = 'lost'").get()?.n, 1);
    old.close();
    await inStore(async (store) => {
      assert.equal(await store.reserveCrlNumber('issuing'), 7 + CRL_NUMBER_STEP + 1);
      assert.equal((await store.auditEntries({ limit: 1 }))[0]?.event, 'store.restored');
      assert.deepEqual(await store.auditEntries({ event: 'lost', limit: 1 }), []);
    });
  });

  test('refuses while a server runs on the folder', async () => {
    const lock = lockDataFolder(join(folder, 'data', 'server.lock'));
    try {
      await assert.rejects(
        withConfig('restore', backup, '--set-aside'),
        rejectsWith('store_locked', /another server/),
      );
    } finally {
      lock.release();
    }
  });

  const damaged: readonly { name: string; damage: () => Promise<void>; code: string; says: RegExp }[] = [
    {
      name: 'a backup with an octet more',
      damage: () => appendFile(backup, 'x'),
      code: 'backup_failed',
      says: /is not the file that its manifest describes/,
    },
    {
      name: 'a backup without its manifest',
      damage: () => rm(`${backup}.json`),
      code: 'backup_failed',
      says: /manifest .* cannot be read/,
    },
    {
      name: 'a backup that is not there',
      damage: () => rm(backup),
      code: 'backup_failed',
      says: /cannot be read/,
    },
    {
      name: 'a backup of a newer version',
      damage: async () => {
        await chmod(backup, 0o600);
        const db = new DatabaseSync(backup);
        db.exec("INSERT INTO migration VALUES (99, 'of tomorrow', '2040-01-01T00:00:00.000Z')");
        const { count } = db.prepare('SELECT count(*) AS count FROM migration').get() as { count: number };
        db.close();
        const manifest = JSON.parse(await readFile(`${backup}.json`, 'utf8'));
        const octets = await readFile(backup);
        const sha256 = createHash('sha256').update(octets).digest('hex');
        const changed = { ...manifest, schema: count, sizeBytes: octets.length, sha256 };
        await writeFile(`${backup}.json`, JSON.stringify(changed));
      },
      code: 'store_newer',
      says: /schema \d+; this program knows less/,
    },
  ];
  for (const { name, damage, code, says } of damaged) {
    test(`takes nothing from ${name}`, async () => {
      await rm(database);
      await damage();
      await assert.rejects(withConfig('restore', backup), rejectsWith(code, says));
      await assert.rejects(stat(database), { code: 'ENOENT' });
    });
  }

  test('wants to be told which file', async () => {
    await rm(database);
    await assert.rejects(withConfig('restore'), rejectsWith('backup_failed', /which file/));
  });
});

describe('leafgate prune', () => {
  beforeEach(fill);

  test('counts, removes when told to, and puts it on record', async () => {
    const counts = { certificates: 5, enrolments: 0, challenges: 1, heldRequests: 0, auditEntries: 0 };
    assert.deepEqual(await json('prune'), { ...counts, removed: false });
    assert.match(await withConfig('prune'), /nothing was removed; --delete does it/);
    await inStore(async (store) => assert.equal(await store.countCertificates({}), 5));
    assert.deepEqual(await json('prune', '--delete'), { ...counts, removed: true });
    await inStore(async (store) => {
      assert.equal(await store.countCertificates({}), 0);
      const [entry] = await store.auditEntries({ limit: 1 });
      assert.deepEqual([entry?.event, entry?.detail.certificates], ['store.pruned', '5']);
    });
  });

  test('leaves what is not old enough', async () => {
    assert.deepEqual(await json('prune', '--delete', '--expired-days', '36500'), {
      certificates: 0,
      enrolments: 0,
      challenges: 0,
      heldRequests: 0,
      auditEntries: 0,
      removed: true,
    });
  });
});

describe('leafgate export', () => {
  beforeEach(fill);
  const target = () => join(folder, 'export.jsonl');

  test('writes every certificate and every audit entry, a line each', async () => {
    const facts = await json<Record<string, unknown>>('export', target());
    const text = await readFile(target(), 'utf8');
    const lines = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as { type: string; serialNumber?: string; number?: number });
    assert.deepEqual(facts, {
      file: target(),
      certificates: 5,
      auditEntries: 5,
      octets: Buffer.byteLength(text),
    });
    assert.deepEqual(
      lines.map(({ type, serialNumber, number }) => `${type} ${serialNumber ?? number}`),
      [5, 4, 3, 2, 1]
        .map((number) => `certificate 0${number}`)
        .concat([1, 2, 3, 4, 5].map((n) => `audit ${n}`)),
    );
    if (process.platform !== 'win32') assert.equal((await stat(target())).mode & 0o777, 0o600);
  });

  test('replaces nothing', async () => {
    await writeFile(target(), 'precious');
    await assert.rejects(withConfig('export', target()), rejectsWith('backup_failed', /replaces nothing/));
    assert.equal(await readFile(target(), 'utf8'), 'precious');
  });
});

describe('leafgate audit verify', () => {
  beforeEach(fill);

  test('says that the log is whole', async () => {
    assert.match(
      await withConfig('audit', 'verify'),
      /^5 entries up to number 5 and 0 checkpoints are whole/,
    );
    assert.deepEqual(await json('audit', 'verify'), { result: 'whole', entries: 5, checkpoints: 0, last: 5 });
  });

  test('names the first damaged entry', async () => {
    const db = new DatabaseSync(database);
    db.exec('DROP TRIGGER audit_entry_is_final');
    db.exec("UPDATE audit_entry SET actor = 'nobody' WHERE number = 3");
    db.close();
    await assert.rejects(withConfig('audit', 'verify'), rejectsWith('audit_damaged', /\b3\b/));
  });
});
