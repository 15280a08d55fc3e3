import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { readTextIfThere, replaceFile, writeNewFile } from './private-file.ts';

const posix = process.platform !== 'win32';
let folder: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leafgate-private-'));
});
afterEach(async () => {
  for (const name of await readdir(folder)) await rm(join(folder, name), { recursive: true });
});
after(() => rm(folder, { recursive: true, force: true }));

test('a write that fails leaves what was there and no draft', async () => {
  const rows = [
    { name: 'a folder is not replaced by a file', write: replaceFile, code: 'file_unwritable' },
    { name: 'a folder is no file of the same content', write: writeNewFile, code: 'file_unwritable' },
  ];
  for (const { name, write, code } of rows) {
    const path = join(folder, 'taken');
    await mkdir(path, { recursive: true });
    await assert.rejects(write(path, 'x'), { code }, name);
    assert.ok((await stat(path)).isDirectory(), name);
    assert.deepEqual(await readdir(folder), ['taken'], name);
  }
  await writeFile(join(folder, 'file'), 'no folder');
  await assert.rejects(replaceFile(join(folder, 'file', 'x'), 'x'), { code: 'file_unwritable' });
});

test('a new file replaces none', async () => {
  const path = join(folder, 'new.pem');
  assert.equal(await writeNewFile(path, 'first'), 'written');
  await assert.rejects(writeNewFile(path, 'second'), { code: 'file_exists' });
  assert.equal(await writeNewFile(path, Buffer.from('first')), 'found');
  assert.equal(await readFile(path, 'utf8'), 'first');
  assert.deepEqual(await readdir(folder), ['new.pem']);
});

test('a file is replaced as a whole', async () => {
  const path = join(folder, 'state.json');
  await writeFile(path, 'a long old content');
  await replaceFile(path, 'new');
  assert.equal(await readFile(path, 'utf8'), 'new');
  assert.deepEqual(await readdir(folder), ['state.json']);
});

test('files and the folders that are made for them are their owner’s alone', async () => {
  for (const write of [replaceFile, writeNewFile]) {
    const path = join(folder, write.name, 'deep', 'x');
    await write(path, 'x');
    const modes = await Promise.all(
      [path, join(path, '..'), join(path, '..', '..')].map((each) => stat(each)),
    );
    assert.deepEqual(
      modes.map(({ mode }) => mode & 0o777),
      // Windows has no such bits; there the folder's access list protects the file.
      posix ? [0o600, 0o700, 0o700] : modes.map(({ mode }) => mode & 0o777),
      write.name,
    );
  }
});

test('a text is read, is not there, or cannot be read', async () => {
  await writeFile(join(folder, 'text'), 'hear ye\n');
  assert.equal(await readTextIfThere(join(folder, 'text'), 'key_locked'), 'hear ye\n');
  assert.equal(await readTextIfThere(join(folder, 'none'), 'key_locked'), undefined);
  for (const code of ['key_locked', 'device_folder'] as const)
    await assert.rejects(readTextIfThere(folder, code), { code });
});
