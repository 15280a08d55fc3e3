import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { secretFromReference } from './secret.ts';

const variable = 'LEAFGATE_TEST_SECRET';
let folder: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leafgate-secret-'));
});
after(async () => {
  delete process.env[variable];
  await rm(folder, { recursive: true, force: true });
});

describe('secretFromReference', () => {
  for (const reference of [
    '',
    'hunter2',
    'file:',
    'env:',
    'vault:key',
    ' env:HOME',
    'https://example.test/x',
  ]) {
    test(`refuses '${reference}' and does not repeat it`, () => {
      assert.throws(() => secretFromReference(reference), {
        code: 'config_invalid',
        message: 'a secret is given as a reference: file:PATH or env:NAME',
      });
    });
  }

  test('refuses a missing file, a folder, and an unset or empty variable', () => {
    delete process.env[variable];
    const rows = [`file:${join(folder, 'missing')}`, `file:${folder}`, `env:${variable}`];
    for (const reference of rows) assert.throws(() => secretFromReference(reference), { code: 'key_locked' });
    process.env[variable] = '';
    assert.throws(() => secretFromReference(`env:${variable}`), { code: 'key_locked' });
  });

  for (const [name, content] of [
    ['empty', ''],
    ['only a line feed', '\n'],
    ['only a byte order mark', '\uFEFF'],
    ['only a byte order mark and a line feed', '\uFEFF\r\n'],
  ] as const) {
    test(`refuses a file that is ${name}`, async () => {
      const path = join(folder, 'empty');
      await writeFile(path, content, { mode: 0o600 });
      assert.throws(() => secretFromReference(`file:${path}`), {
        code: 'key_locked',
        message: /missing or empty/,
      });
    });
  }

  if (process.platform !== 'win32') {
    for (const mode of [0o640, 0o604, 0o644]) {
      test(`refuses a file of mode ${mode.toString(8)}`, async () => {
        const path = join(folder, `open-${mode}`);
        await writeFile(path, 'hunter2\n');
        await chmod(path, mode);
        assert.throws(
          () => secretFromReference(`file:${path}`),
          (thrown: Error & { code?: string }) =>
            thrown.code === 'key_locked' && !thrown.message.includes('hunter2'),
        );
      });
    }
  }

  for (const [name, content, want] of [
    ['a line feed', 'hunter2\n', 'hunter2'],
    ['a carriage return and a line feed', 'hunter2\r\n', 'hunter2'],
    ['nothing', 'hunter2', 'hunter2'],
    ['two line feeds, of which one belongs to it', 'hunter2\n\n', 'hunter2\n'],
    ['spaces, which belong to it', ' hunter 2 ', ' hunter 2 '],
    ['nothing, and begins with a byte order mark', '\uFEFFhunter2', 'hunter2'],
    ['a line feed, and begins with a byte order mark', '\uFEFFhunter2\r\n', 'hunter2'],
    ['one byte order mark of two, which belongs to it', '\uFEFF\uFEFFhunter2\uFEFF', '\uFEFFhunter2\uFEFF'],
  ] as const) {
    test(`reads a file that ends with ${name}`, async () => {
      const path = join(folder, 'secret');
      await writeFile(path, content, { mode: 0o600 });
      assert.equal(secretFromReference(`file:${path}`), want);
    });
  }

  test('reads a variable as it is', () => {
    process.env[variable] = 'hunter2\n';
    assert.equal(secretFromReference(`env:${variable}`), 'hunter2\n');
  });
});
