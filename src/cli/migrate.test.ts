import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const binary = fileURLToPath(new URL('../../bin/leafgate.js', import.meta.url));
const vectors = fileURLToPath(new URL('../../test/vectors/ndes/', import.meta.url));
const run = promisify(execFile);

describe('leafgate migrate ndes', () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'leafgate-migrate-'));
    for (const name of readdirSync(vectors)) copyFileSync(join(vectors, name), join(folder, name));
  });
  after(() => rmSync(folder, { recursive: true }));

  const leafgate = async (...args: string[]) =>
    await run(process.execPath, [binary, ...args], { cwd: folder });
  const fails = async (why: RegExp, ...args: string[]) =>
    await assert.rejects(leafgate('migrate', 'ndes', ...args), (thrown: Error & { stderr?: string }) => {
      assert.match(thrown.stderr ?? '', why);
      assert.doesNotMatch(thrown.stderr ?? '', /\n\s+at /, 'no stack trace');
      return true;
    });
  const registry = ['--registry', 'intune.reg', 'ca.reg', '--registry', 'intune-connector.reg'];
  const templates = ['--templates', 'certutil-template.txt'];

  test('writes a configuration that config check accepts, a report and a table', async () => {
    const { stdout } = await leafgate(
      ...['migrate', 'ndes', ...registry, ...templates, '--issued', 'certutil-view.txt', '-o', 'out'],
    );
    assert.match(stdout, /not carried over: +\d/);
    assert.match(stdout, /to fill in or decide: +\d/);
    assert.deepEqual(readdirSync(join(folder, 'out')).sort(), [
      'certificates.csv',
      'leafgate.yaml',
      'report.md',
    ]);
    const check = await leafgate('config', 'check', '--config', 'out/leafgate.yaml');
    assert.match(check.stdout, /valid: server/);
    const report = readFileSync(join(folder, 'out/report.md'), 'utf8');
    assert.match(report, /shortened that to 365d/, 'of the CA’s registry');
    assert.match(report, /EnableSidSecurityExtension/, 'of the connector’s');
    await fails(/cannot make the folder out; it must be a new one/, ...registry, ...templates, '-o', 'out');
  });

  test('gives the plan as JSON', async () => {
    const { stdout } = await leafgate(
      ...['migrate', 'ndes', ...registry, ...templates, '-o', 'json', '--json'],
    );
    const plan = JSON.parse(stdout) as {
      notes: unknown[];
      certificates: unknown[];
      remainder: { crlUrls: string[] };
    };
    assert.ok(plan.notes.length > 5);
    assert.deepEqual(plan.certificates, [], 'without --issued');
    assert.equal(plan.remainder.crlUrls.length, 2);
  });

  test('names the file that it cannot read, and writes nothing', async () => {
    writeFileSync(join(folder, 'oem.txt'), Buffer.from('Vorlage für Geräte', 'latin1'));
    writeFileSync(join(folder, 'short.txt'), '  TemplatePropCommonName = X\n');
    await fails(/cannot read none\.reg \(ENOENT\)/, '--registry', 'none.reg', ...templates, '-o', 'bad');
    await fails(/oem\.txt: .*PowerShell/, ...registry, '--templates', 'oem.txt', '-o', 'bad');
    await fails(
      /short\.txt: .*no validity of template X/,
      ...registry,
      '--templates',
      'short.txt',
      '-o',
      'bad',
    );
    await fails(/ca\.reg: .*no template/, ...registry, '--templates', 'ca.reg', '-o', 'bad');
    await fails(/no value of NDES/, '--registry', 'ca.reg', ...templates, '-o', 'bad');
    assert.ok(!readdirSync(folder).includes('bad'));
  });
});
