import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, generateKeyPairSync, verify } from 'node:crypto';
import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { generateKeyFile, type KeyAlgorithm, openKeyFile } from './file-key.ts';

const posix = process.platform !== 'win32';
const passphrase = 'correct horse';
let folder: string;
let good: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leafgate-keys-'));
  good = join(folder, 'good.pem');
  await generateKeyFile({ path: good, passphrase, algorithm: 'p-256' });
});
after(() => rm(folder, { recursive: true, force: true }));

describe('openKeyFile refuses', () => {
  const rows: readonly {
    readonly name: string;
    readonly passphrase?: string;
    readonly prepare?: (path: string) => Promise<unknown>;
    readonly code?: string;
    readonly message: RegExp;
  }[] = [
    { name: 'a wrong passphrase', passphrase: 'correct hors', message: /passphrase is wrong/ },
    { name: 'an empty passphrase', passphrase: '', message: /passphrase is wrong/ },
    { name: 'a missing file', prepare: (path) => rm(path), message: /does not exist/ },
    {
      name: 'a folder',
      prepare: async (path) => {
        await rm(path);
        await mkdir(path, { mode: 0o700 });
      },
      message: posix ? /is not a file/ : /is not a file|cannot be read/,
    },
    {
      name: 'an empty file',
      prepare: (path) => writeFile(path, ''),
      message: /not an encrypted PKCS #8 key/,
    },
    {
      name: 'a clear key',
      prepare: (path) =>
        writeFile(
          path,
          generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
            type: 'pkcs8',
            format: 'pem',
          }),
        ),
      message: /openssl pkcs8 -topk8/,
    },
    {
      name: 'a damaged file',
      prepare: async (path) => {
        const text = await readFile(path, 'utf8');
        await writeFile(path, text.slice(0, text.length / 2));
      },
      message: /passphrase is wrong or the file is damaged/,
    },
    {
      name: 'a huge file',
      prepare: async (path) => writeFile(path, (await readFile(path, 'utf8')).padEnd(70_000, '\n')),
      message: /too large/,
    },
    {
      name: 'a key that is neither RSA nor EC',
      prepare: (path) =>
        writeFile(
          path,
          generateKeyPairSync('ed25519').privateKey.export({
            type: 'pkcs8',
            format: 'pem',
            cipher: 'aes-256-cbc',
            passphrase,
          }),
        ),
      code: 'key_capability',
      message: /must be RSA or EC/,
    },
    ...(posix
      ? [0o640, 0o620, 0o604, 0o601, 0o644].map((mode) => ({
          name: `mode ${mode.toString(8)}`,
          prepare: (path: string) => chmod(path, mode),
          message: new RegExp(`mode 0${mode.toString(8)}\\): chmod 600 `),
        }))
      : []),
  ];
  rows.forEach((row, index) => {
    test(row.name, async () => {
      const path = join(folder, `refused-${index}.pem`);
      await copyFile(good, path);
      await row.prepare?.(path);
      await assert.rejects(
        openKeyFile({ path, passphrase: row.passphrase ?? passphrase }),
        (thrown: Error) => {
          assert.equal((thrown as { code?: unknown }).code, row.code ?? 'key_locked');
          assert.match(thrown.message, row.message);
          assert.ok(!thrown.message.includes(passphrase));
          return true;
        },
      );
    });
  });
});

describe('generateKeyFile', () => {
  test('does not replace a file, and leaves nothing beside it', async () => {
    const path = join(folder, 'once', 'key.pem');
    await mkdir(join(folder, 'once'));
    await writeFile(path, 'mine');
    await assert.rejects(generateKeyFile({ path, passphrase, algorithm: 'p-256' }), { code: 'key_exists' });
    assert.equal(await readFile(path, 'utf8'), 'mine');
    assert.deepEqual(await readdir(join(folder, 'once')), ['key.pem']);
  });

  test('of many at once exactly one writes', async () => {
    const path = join(folder, 'race', 'key.pem');
    const results = await Promise.allSettled(
      Array.from({ length: 8 }, () => generateKeyFile({ path, passphrase, algorithm: 'p-256' })),
    );
    const [written, ...others] = results.filter((result) => result.status === 'fulfilled');
    assert.equal(others.length, 0);
    for (const result of results) {
      if (result.status === 'rejected') assert.equal(result.reason.code, 'key_exists');
    }
    assert.deepEqual((await openKeyFile({ path, passphrase })).spki, written?.value.spki);
    assert.deepEqual(await readdir(join(folder, 'race')), ['key.pem']);
  });

  test('says that a folder cannot be written', async () => {
    const path = join(good, 'key.pem');
    await assert.rejects(generateKeyFile({ path, passphrase, algorithm: 'p-256' }), {
      code: 'key_locked',
      message: /cannot be written/,
    });
  });

  for (const [name, unusable] of [
    ['empty', ''],
    ['longer than OpenSSL reads', 'é'.repeat(513)],
  ] as const) {
    test(`refuses a passphrase that is ${name}`, async () => {
      const path = join(folder, 'unwritten.pem');
      await assert.rejects(generateKeyFile({ path, passphrase: unusable, algorithm: 'p-256' }), {
        code: 'key_locked',
      });
      await assert.rejects(stat(path), { code: 'ENOENT' });
    });
  }

  test('takes the longest passphrase', async () => {
    const file = { path: join(folder, 'long.pem'), passphrase: 'é'.repeat(512) };
    const made = await generateKeyFile({ ...file, algorithm: 'p-256' });
    assert.deepEqual((await openKeyFile(file)).spki, made.spki);
  });

  const algorithms: Readonly<Record<KeyAlgorithm, object>> = {
    'rsa-2048': { modulusLength: 2048, publicExponent: 65537n },
    'rsa-3072': { modulusLength: 3072, publicExponent: 65537n },
    'rsa-4096': { modulusLength: 4096, publicExponent: 65537n },
    'p-256': { namedCurve: 'prime256v1' },
    'p-384': { namedCurve: 'secp384r1' },
  };
  for (const [algorithm, details] of Object.entries(algorithms) as [KeyAlgorithm, object][]) {
    test(`makes a key of ${algorithm}, encrypted and private, that opens and signs`, async () => {
      const path = join(folder, 'new', algorithm, 'key.pem');
      const made = await generateKeyFile({ path, passphrase, algorithm });
      const pem = await readFile(path, 'utf8');
      assert.match(pem, /^-----BEGIN ENCRYPTED PRIVATE KEY-----\n/);
      assert.deepEqual(createPrivateKey({ key: pem, passphrase }).asymmetricKeyDetails, details);
      if (posix) {
        assert.equal((await stat(path)).mode & 0o777, 0o600);
        assert.equal((await stat(join(folder, 'new', algorithm))).mode & 0o777, 0o700);
      }
      const opened = await openKeyFile({ path, passphrase });
      assert.deepEqual(opened.spki, made.spki);
      const data = Buffer.from('signed');
      const signature = await opened.sign(algorithm.startsWith('rsa') ? 'rsa-sha256' : 'ecdsa-sha256', data);
      const publicKey = createPublicKey({ key: Buffer.from(made.spki), format: 'der', type: 'spki' });
      assert.ok(verify('sha256', data, publicKey, signature));
    });
  }
});
