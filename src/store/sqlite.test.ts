import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { PkiError } from '../errors.ts';
import { lockDataFolder } from './lock.ts';
import { type Migration, SqliteFile } from './sqlite.ts';

const posix = process.platform !== 'win32';
const migrations: readonly Migration[] = [
  { name: 'first', sql: 'CREATE TABLE word (word TEXT PRIMARY KEY) STRICT' },
  { name: 'second', sql: "INSERT INTO word VALUES ('second'); CREATE TABLE other (n INTEGER) STRICT" },
];
const words = (file: SqliteFile) =>
  file.all<{ word: string }>('SELECT word FROM word ORDER BY word').map((row) => row.word);
const insert = (file: SqliteFile, word: string) => file.run('INSERT INTO word VALUES (?)', word);

let folder: string;
let count = 0;
const newPath = () => join(folder, `${count++}`, 'test.db');

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leafgate-sqlite-'));
});
after(() => rm(folder, { recursive: true, force: true }));

describe('opening', () => {
  test('refuses a file of a newer schema, and leaves it as it is', () => {
    const path = newPath();
    SqliteFile.open(path, migrations).close();
    assert.throws(() => SqliteFile.open(path, migrations.slice(0, 1)), {
      code: 'store_newer',
      message: /schema 2/,
    });
    const file = SqliteFile.open(path, migrations);
    assert.deepEqual(words(file), ['second']);
    file.close();
  });

  test('refuses what is no database', async () => {
    const path = join(folder, 'text.db');
    await writeFile(path, 'this is some text and certainly no database\n'.repeat(100));
    assert.throws(() => SqliteFile.open(path, migrations), { code: 'store_unavailable' });
    assert.match(await readFile(path, 'utf8'), /^this is some text/);
  });

  test('refuses a path that leads through a file', async () => {
    const path = join(folder, 'file');
    await writeFile(path, '');
    assert.throws(() => SqliteFile.open(join(path, 'test.db'), migrations), { code: 'store_unavailable' });
  });

  test('undoes a step that fails, and those before it', () => {
    const path = newPath();
    assert.throws(
      () => SqliteFile.open(path, [...migrations, { name: 'broken', sql: 'CREATE TABLE word (n)' }]),
      {
        code: 'store_unavailable',
      },
    );
    const file = SqliteFile.open(path, [{ name: 'first', sql: 'CREATE TABLE word (word TEXT) STRICT' }]);
    assert.deepEqual(words(file), []);
    file.close();
  });

  test('runs each step once, in order, and keeps its name', () => {
    const path = newPath();
    SqliteFile.open(path, migrations.slice(0, 1)).close();
    SqliteFile.open(path, migrations).close();
    const file = SqliteFile.open(path, migrations);
    assert.deepEqual(words(file), ['second']);
    assert.deepEqual(
      file
        .all<{ number: number; name: string }>('SELECT number, name FROM migration ORDER BY number')
        .map((row) => ({ ...row })),
      [
        { number: 1, name: 'first' },
        { number: 2, name: 'second' },
      ],
    );
    file.close();
  });

  if (posix) {
    test('makes folder and files for the owner alone', async () => {
      const path = newPath();
      const file = SqliteFile.open(path, migrations);
      await file.commit(() => insert(file, 'one'));
      const modes = await Promise.all(
        [join(path, '..'), path, `${path}-wal`, `${path}-shm`].map(
          async (name) => (await stat(name)).mode & 0o777,
        ),
      );
      assert.deepEqual(modes, [0o700, 0o600, 0o600, 0o600]);
      file.close();
    });
  }

  if (posix) {
    test('leaves the mode of a file that exists', async () => {
      const path = newPath();
      SqliteFile.open(path, migrations).close();
      await chmod(path, 0o640);
      SqliteFile.open(path, migrations).close();
      assert.equal((await stat(path)).mode & 0o777, 0o640);
    });
  }

  test('writes ahead, and leaves the sync of a commit to the thread pool', () => {
    const file = SqliteFile.open(newPath(), migrations);
    assert.equal(file.first<{ journal_mode: string }>('PRAGMA journal_mode')?.journal_mode, 'wal');
    assert.equal(file.first<{ synchronous: number }>('PRAGMA synchronous')?.synchronous, 1);
    file.close();
  });

  test('by several processes at once brings the schema up once', async () => {
    const path = newPath();
    const script = `
      const { SqliteFile } = await import(${JSON.stringify(new URL('./sqlite.ts', import.meta.url).href)});
      const file = SqliteFile.open(${JSON.stringify(path)}, ${JSON.stringify(migrations)});
      await file.commit(() => file.run('INSERT INTO word VALUES (?)', String(process.pid)));
      file.close();`;
    const children = Array.from({ length: 4 }, () =>
      spawn(process.execPath, ['--input-type=module', '--eval', script], {
        stdio: ['ignore', 'ignore', 'inherit'],
      }),
    );
    const codes = await Promise.all(children.map(async (child) => (await once(child, 'close'))[0]));
    assert.deepEqual(codes, [0, 0, 0, 0]);
    const file = SqliteFile.open(path, migrations);
    assert.deepEqual(words(file), [...children.map((child) => String(child.pid)), 'second'].sort());
    file.close();
  });
});

describe('opening to read', () => {
  test('refuses a file that is not there, and makes none', async () => {
    const path = newPath();
    assert.throws(() => SqliteFile.open(path, migrations, 'read'), { code: 'store_unavailable' });
    await assert.rejects(stat(path), { code: 'ENOENT' });
  });

  test('refuses a schema that lacks steps, or has unknown ones, and changes neither', () => {
    const path = newPath();
    SqliteFile.open(path, migrations.slice(0, 1)).close();
    assert.throws(() => SqliteFile.open(path, migrations, 'read'), { code: 'store_older' });
    SqliteFile.open(path, migrations).close();
    assert.throws(() => SqliteFile.open(path, migrations.slice(0, 1), 'read'), { code: 'store_newer' });
  });

  test('takes no write, and reads on', async () => {
    const path = newPath();
    SqliteFile.open(path, migrations).close();
    const file = SqliteFile.open(path, migrations, 'read');
    const work = () => file.run("INSERT INTO word VALUES ('third')");
    await assert.rejects(file.commit(work), { code: 'store_read_only' });
    await assert.rejects(file.write(work), { code: 'store_read_only' });
    await file.durable();
    assert.deepEqual(words(file), ['second']);
    file.close();
    await assert.rejects(file.commit(work), { code: 'store_unavailable', message: /closed/ });
  });
});

describe('a group commit', () => {
  const withFile = (title: string, body: (file: SqliteFile, path: string) => Promise<void>) => {
    test(title, async () => {
      const path = newPath();
      const file = SqliteFile.open(path, migrations.slice(0, 1));
      try {
        await body(file, path);
      } finally {
        file.close();
      }
    });
  };

  withFile('undoes the work that throws, and not its neighbours', async (file) => {
    const results = await Promise.allSettled([
      file.commit(() => insert(file, 'a')),
      file.commit(() => {
        insert(file, 'b');
        throw new PkiError('lint_failed', 'on purpose');
      }),
      file.commit(() => {
        insert(file, 'c');
        return 'answer';
      }),
      file.commit(() => insert(file, 'a')),
      file.commit(() => {
        insert(file, 'd');
        return (undefined as unknown as { missing: string }).missing;
      }),
      file.commit(() => insert(file, 'e')),
    ]);
    assert.deepEqual(
      results.map((result) =>
        result.status === 'fulfilled' ? result.value : (result.reason.code ?? result.reason.name),
      ),
      [1, 'lint_failed', 'answer', 'store_unavailable', 'TypeError', 1],
    );
    assert.deepEqual(words(file), ['a', 'c', 'e']);
    await file.commit(() => insert(file, 'f'));
    assert.deepEqual(words(file), ['a', 'c', 'e', 'f']);
  });

  withFile('is one transaction for all that came together', async (file, path) => {
    const other = new DatabaseSync(path);
    const seen = () => (other.prepare('SELECT count(*) AS n FROM word').get() as { n: number }).n;
    const during: number[] = [];
    await Promise.all(
      Array.from({ length: 100 }, (_, index) =>
        file.commit(() => {
          insert(file, `${index}`);
          during.push(seen());
        }),
      ),
    );
    assert.deepEqual(new Set(during), new Set([0]), 'another connection saw a part of the group');
    assert.equal(seen(), 100);
    other.close();
  });

  withFile('runs its works in the order in which they came', async (file) => {
    const order: number[] = [];
    await Promise.all(Array.from({ length: 20 }, (_, index) => file.commit(() => order.push(index))));
    assert.deepEqual(
      order,
      Array.from({ length: 20 }, (_, index) => index),
    );
  });

  withFile('waits for another connection without stopping the thread', async (file, path) => {
    const other = new DatabaseSync(path);
    other.exec("BEGIN IMMEDIATE; INSERT INTO word VALUES ('theirs')");
    let resolved = false;
    const commit = file
      .commit(() => insert(file, 'ours'))
      .then(() => {
        resolved = true;
      });
    let turns = 0;
    for (const until = performance.now() + 300; performance.now() < until; turns++) await pause(5);
    assert.equal(resolved, false);
    assert.ok(turns > 5, `the thread had only ${turns} turns`);
    other.exec('COMMIT');
    await commit;
    assert.deepEqual(words(file), ['ours', 'theirs']);
    other.close();
  });

  withFile('is finished by close, which refuses what comes later', async (file, path) => {
    const last = file.commit(() => insert(file, 'last'));
    file.close();
    assert.equal(await last, 1);
    await assert.rejects(
      file.commit(() => insert(file, 'late')),
      { code: 'store_unavailable' },
    );
    assert.throws(() => words(file), { code: 'store_unavailable' });
    const again = SqliteFile.open(path, migrations.slice(0, 1));
    assert.deepEqual(words(again), ['last']);
    again.close();
  });

  withFile('that cannot be written refuses all, and the next is free to work', async (file, path) => {
    // A trigger stands for a disk that is full: it fails in COMMIT's place, for whatever is inserted.
    const other = new DatabaseSync(path);
    other.exec("CREATE TRIGGER full BEFORE INSERT ON word BEGIN SELECT raise(ROLLBACK, 'disk full'); END");
    const results = await Promise.allSettled(['a', 'b'].map((word) => file.commit(() => insert(file, word))));
    for (const result of results) {
      assert.equal(result.status === 'rejected' && result.reason.code, 'store_unavailable');
    }
    other.exec('DROP TRIGGER full');
    other.close();
    await file.commit(() => insert(file, 'c'));
    assert.deepEqual(words(file), ['c']);
  });
});

describe('the lock of a data folder', () => {
  test('is held by one at a time', () => {
    const path = join(folder, 'data', 'server.lock');
    const lock = lockDataFolder(path);
    assert.throws(() => lockDataFolder(path), { code: 'store_locked' });
    lock.release();
    lockDataFolder(path).release();
  });

  test('goes with the process that held it', async () => {
    const path = join(folder, 'killed', 'server.lock');
    const script = `
      const { lockDataFolder } = await import(${JSON.stringify(new URL('./lock.ts', import.meta.url).href)});
      globalThis.lock = lockDataFolder(${JSON.stringify(path)});
      console.log('locked');
      setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const exit = once(child, 'close');
    await once(child.stdout, 'data');
    assert.throws(() => lockDataFolder(path), { code: 'store_locked' });
    child.kill('SIGKILL');
    await exit;
    lockDataFolder(path).release();
  });

  test('cannot be where no file can be', async () => {
    const path = join(folder, 'plain');
    await writeFile(path, '');
    assert.throws(() => lockDataFolder(join(path, 'server.lock')), { code: 'store_unavailable' });
  });
});

describe('a write that need not outlive a power failure', () => {
  test('resolves before the sync that a commit of the same group waits for', async () => {
    const file = SqliteFile.open(newPath(), migrations);
    const order: string[] = [];
    await Promise.all([
      file.commit(() => insert(file, 'commit')).then(() => order.push('commit')),
      file.write(() => insert(file, 'write')).then(() => order.push('write')),
    ]);
    assert.deepEqual(order, ['write', 'commit']);
    await file.durable();
    assert.deepEqual(words(file), ['commit', 'second', 'write']);
    file.close();
  });

  test('is there after the file was closed at once', async () => {
    const path = newPath();
    const file = SqliteFile.open(path, migrations);
    const written = file.write(() => insert(file, 'write'));
    file.close();
    await written;
    const again = SqliteFile.open(path, migrations);
    assert.deepEqual(words(again), ['second', 'write']);
    again.close();
  });
});

test('a disk that is full refuses what comes, keeps what was, and serves again when there is room', async () => {
  const file = SqliteFile.open(newPath(), migrations);
  // A file that may not grow answers as a full disk does: SQLITE_FULL.
  const room = (pages: number) => file.statement(`PRAGMA max_page_count = ${pages}`).get();
  room(20);
  const kept: string[] = ['second'];
  let refused: unknown;
  for (let count = 0; refused === undefined && count < 100; count++) {
    const word = `${count} `.padEnd(2000, 'x');
    try {
      await file.commit(() => insert(file, word));
      kept.push(word);
    } catch (cause) {
      refused = cause;
    }
  }
  assert.ok(refused instanceof PkiError);
  assert.equal(refused.code, 'store_unavailable');
  assert.match(refused.message, /full/);
  assert.ok(kept.length > 5);
  assert.deepEqual(words(file), kept.toSorted());
  // One that is too large does not take its neighbours with it.
  const big = 'y'.repeat(50_000);
  await assert.rejects(
    file.write(() => insert(file, big)),
    { code: 'store_unavailable' },
  );
  room(10_000);
  await file.commit(() => insert(file, big));
  assert.deepEqual(words(file), [...kept, big].toSorted());
  file.close();
});
