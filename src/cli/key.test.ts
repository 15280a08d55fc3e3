import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  nameToString,
  parseCertificationRequest,
  parsePem,
  verifyCertificationRequest,
} from '../codec/index.ts';

const program = fileURLToPath(new URL('../../bin/leafgate.js', import.meta.url));
let folder: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leafgate-key-'));
});
after(() => rm(folder, { recursive: true, force: true }));

/** Runs `leafgate key …` in the folder. */
function key(...args: readonly string[]) {
  return new Promise<{ readonly status: number; readonly out: string; readonly err: string }>((resolve) => {
    const env = { ...process.env, LEAFGATE_TEST_PASSPHRASE: 'correct horse', LEAFGATE_TEST_WRONG: 'guess' };
    execFile(process.execPath, [program, 'key', ...args], { cwd: folder, env }, (error, out, err) =>
      resolve({ status: error === null ? 0 : 1, out, err }),
    );
  });
}

const passphrase = ['--passphrase', 'env:LEAFGATE_TEST_PASSPHRASE'] as const;

describe('leafgate key', () => {
  const refused: readonly (readonly [string, readonly string[], RegExp])[] = [
    ['no place', ['generate'], /either --file with --passphrase, or --module/],
    ['a file without passphrase', ['generate', '--file', 'k.pem'], /either --file/],
    ['two places', ['generate', '--file', 'k.pem', ...passphrase, '--module', 'm.so'], /either --file/],
    [
      'a token without name',
      ['generate', '--module', 'm.so', '--label', 'l', '--pin', 'env:P'],
      /--token, --serial, or both/,
    ],
    ['a secret in the clear', ['generate', '--file', 'k.pem', '--passphrase', 'horse'], /a reference/],
    ['an unknown algorithm', ['generate', '--algorithm', 'dsa'], /Allowed choices/],
  ];
  for (const [name, args, message] of refused) {
    test(`refuses ${name}`, async () => {
      const { status, err } = await key(...args);
      assert.equal(status, 1);
      assert.match(err, message);
    });
  }

  test('makes a key, requests for it, and checks it', async () => {
    const made = await key('generate', '--algorithm', 'p-256', '--file', 'k.pem', ...passphrase, '--json');
    assert.equal(made.status, 0, made.err);
    const facts = JSON.parse(made.out) as Record<string, string>;
    assert.equal(facts.algorithm, 'p-256');
    const [spki] = parsePem(facts.publicKey ?? '', 'PUBLIC KEY');

    const requested = await key('request', 'CN=RA,O=Test', 'ra.csr', '--file', 'k.pem', ...passphrase);
    assert.equal(requested.status, 0, requested.err);
    const [der] = parsePem(await readFile(join(folder, 'ra.csr'), 'utf8'), 'CERTIFICATE REQUEST');
    const csr = parseCertificationRequest(der);
    assert.ok(verifyCertificationRequest(csr));
    assert.deepEqual(Buffer.from(csr.spki), Buffer.from(spki));
    assert.equal(nameToString(csr.subject), 'CN=RA,O=Test');

    const mdm = (use: string, reference: string) => ({
      mdm: {
        listen: '127.0.0.1:0',
        databaseFile: 'mdm.sqlite',
        tenant: 't',
        applications: [{ appId: 'a', secret: 'env:S' }],
        challengeSigner: { certificate: 'none.pem', key: { file: 'k.pem', passphrase: reference } },
        challengeRecipient: { certificate: 'none.pem', key: { file: use, passphrase: reference } },
      },
    });
    const config = join(folder, 'leafgate.yaml');
    await writeFile(config, JSON.stringify(mdm('k.pem', 'env:LEAFGATE_TEST_PASSPHRASE')));
    const checked = await key('check', '--config', config, '--json');
    assert.equal(checked.status, 1);
    const rows = JSON.parse(checked.out) as Record<string, string>[];
    assert.deepEqual(
      rows.map(({ key: name, use, code }) => [name, use, code]),
      [
        ['mdm.challengeSigner.key', 'sign', 'config_invalid'],
        // It is on a curve.
        ['mdm.challengeRecipient.key', 'decrypt', 'key_capability'],
      ],
    );

    await writeFile(config, JSON.stringify(mdm('k.pem', 'env:LEAFGATE_TEST_WRONG')));
    const locked = await key('check', '--config', config);
    assert.equal(locked.status, 1);
    assert.match(locked.out, /the passphrase is wrong/);
    assert.ok(!`${locked.out}${locked.err}`.includes('guess'));
  });
});
