import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmod, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { certificates, temporaryFolder } from '../../test/support/mdm-fixture.ts';
import { thumbprintOf } from '../codec/index.ts';
import { DeviceFolder, type PendingRequest, type ScepRecord } from './state.ts';

const identity = {
  deviceId: 'a0a0a0a0-0000-4000-8000-000000000001',
  azureADDeviceId: 'a0a0a0a0-0000-4000-8000-000000000002',
  deviceName: 'laptop',
  platform: 'linux',
  serialNumber: 'S1',
  mdmUrl: 'https://127.0.0.1:1',
  joinedAt: new Date('2026-01-02T03:04:05.000Z'),
} as const;

const rootThumbprint = thumbprintOf(certificates.root.raw);
const issuingThumbprint = thumbprintOf(certificates.issuing.raw);
const leafThumbprint = thumbprintOf(certificates.tls.raw);

function scepRecord(keyFile: string): ScepRecord {
  return {
    kind: 'scep',
    profileId: 'device-certificate',
    version: 1,
    displayName: 'Device certificate',
    thumbprint: leafThumbprint,
    keyFile,
    serialNumber: '0a',
    notBefore: new Date(0),
    notAfter: new Date(1000),
    renewalThresholdPercentage: 20,
    chain: [issuingThumbprint, rootThumbprint],
    transactionID: 't',
  };
}

function pendingRequest(profileId: string, keyFile: string): PendingRequest {
  return {
    profileId,
    version: 3,
    keyFile,
    transactionID: 'abc',
    senderNonce: Buffer.from([1, 2, 3]),
    message: Buffer.from([0, 255, 128]),
    createdAt: new Date(5000),
    notAfter: new Date(6000),
  };
}

async function inDevice(run: (folder: DeviceFolder) => Promise<void>): Promise<void> {
  const parent = await temporaryFolder();
  const path = join(parent.path, 'device');
  try {
    await DeviceFolder.prepare(path);
    await run(await DeviceFolder.create(path, { identity, deviceToken: 'token-token-token' }));
  } finally {
    await parent.remove();
  }
}

async function modesBelow(path: string, found: [string, number][] = []): Promise<[string, number][]> {
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const inner = join(path, entry.name);
    found.push([inner, (await stat(inner)).mode & 0o777]);
    if (entry.isDirectory()) await modesBelow(inner, found);
  }
  return found;
}

test('folders that cannot be used are refused by name', async (t) => {
  const rows: { name: string; spoil: (path: string) => Promise<void>; message: RegExp }[] = [
    {
      name: 'no device',
      spoil: (path) => rm(join(path, 'device.json')),
      message: /holds no device: join first/,
    },
    {
      name: 'not JSON',
      spoil: (path) => writeFile(join(path, 'device.json'), '{'),
      message: /device\.json is damaged/,
    },
    {
      name: 'a field of another kind',
      spoil: (path) => writeFile(join(path, 'device.json'), JSON.stringify({ ...identity, deviceId: 'x' })),
      message: /device\.json is damaged: deviceId/,
    },
    { name: 'no token', spoil: (path) => rm(join(path, 'device-token')), message: /device-token is missing/ },
    {
      name: 'a token for all to read',
      spoil: (path) => chmod(join(path, 'device-token'), 0o644),
      message: /device-token can be read by others/,
    },
    {
      name: 'a passphrase for the group',
      spoil: (path) => chmod(join(path, 'key-passphrase'), 0o640),
      message: /key-passphrase can be read by others/,
    },
  ];
  for (const { name, spoil, message } of rows) {
    await t.test(name, () =>
      inDevice(async ({ path }) => {
        await spoil(path);
        await assert.rejects(DeviceFolder.open(path), { code: 'device_folder', message });
      }),
    );
  }
});

test('a damaged record is named and not passed over', () =>
  inDevice(async (folder) => {
    await writeFile(join(folder.path, 'profiles', 'p1.json'), '{"kind":"scep"}');
    await assert.rejects(folder.profiles(), { code: 'device_folder', message: /p1\.json is damaged/ });
  }));

test('a folder holds one device', () =>
  inDevice(async ({ path }) => {
    await assert.rejects(DeviceFolder.prepare(path), {
      code: 'device_folder',
      message: /holds a device already/,
    });
  }));

test('an id that would leave the folder removes nothing', () =>
  inDevice(async (folder) => {
    await assert.rejects(folder.removeProfile('../device'));
    await assert.rejects(folder.removeRequest('a/b'));
    assert.deepEqual((await DeviceFolder.open(folder.path)).identity, identity);
  }));

test('what is written is read back', () =>
  inDevice(async (folder) => {
    const { keyFile, key } = await folder.createKey('rsa-2048');
    await folder.putProfile(scepRecord(keyFile));
    await folder.putRequest(pendingRequest('other', keyFile));
    await folder.putReports([{ profileId: 'p', issuanceState: 'installed', notAfter: new Date(9000) }]);
    const again = await DeviceFolder.open(folder.path);
    assert.deepEqual(again.identity, identity);
    assert.equal(again.deviceToken, 'token-token-token');
    assert.deepEqual(await again.profiles(), [scepRecord(keyFile)]);
    assert.deepEqual(await again.requests(), [pendingRequest('other', keyFile)]);
    assert.deepEqual(await again.reports(), [
      { profileId: 'p', issuanceState: 'installed', notAfter: new Date(9000) },
    ]);
    assert.deepEqual((await again.openKey(keyFile)).spki, key.spki);
    await again.removeProfile('device-certificate');
    await again.removeRequest('other');
    assert.deepEqual([await again.profiles(), await again.requests()], [[], []]);
  }));

test('everything is its owner’s alone, and keys are encrypted', () =>
  inDevice(async (folder) => {
    const { keyFile } = await folder.createKey('rsa-2048');
    await folder.putCertificate('root', certificates.root);
    await folder.putProfile(scepRecord(keyFile));
    await folder.putRequest(pendingRequest('p1', keyFile));
    folder.lock()?.release();
    const modes = await modesBelow(folder.path);
    assert.ok(modes.length > 12);
    for (const [path, mode] of modes) {
      const isFolder = (await stat(path)).isDirectory();
      assert.equal(mode, isFolder ? 0o700 : 0o600, path);
    }
    assert.match(await readFile(folder.keyPath(keyFile), 'utf8'), /^-----BEGIN ENCRYPTED PRIVATE KEY-----/);
  }));

test('each device has a passphrase of its own', async () => {
  const passphrases = new Set<string>();
  for (let n = 0; n < 3; n += 1) {
    await inDevice(async (folder) => {
      passphrases.add(await readFile(folder.keyPassphrasePath, 'utf8'));
    });
  }
  assert.equal(passphrases.size, 3);
});

test('a certificate counts only under its own thumbprint', () =>
  inDevice(async (folder) => {
    await folder.putCertificate('root', certificates.root);
    assert.deepEqual((await folder.certificate('root', rootThumbprint))?.raw, certificates.root.raw);
    assert.equal(await folder.certificate('my', rootThumbprint), undefined);
    const pem = await readFile(folder.certificatePath('root', rootThumbprint), 'utf8');
    await writeFile(folder.certificatePath('root', issuingThumbprint), pem);
    assert.equal(await folder.certificate('root', issuingThumbprint), undefined);
    await writeFile(folder.certificatePath('root', rootThumbprint), 'rubbish');
    assert.equal(await folder.certificate('root', rootThumbprint), undefined);
  }));

test('a sweep keeps what records name, and nothing else', () =>
  inDevice(async (folder) => {
    const kept = await folder.createKey('rsa-2048');
    const pending = await folder.createKey('rsa-2048');
    await folder.createKey('rsa-2048');
    for (const store of ['my', 'root', 'intermediate'] as const) {
      for (const certificate of [
        certificates.root,
        certificates.issuing,
        certificates.tls,
        certificates.signer,
      ]) {
        await folder.putCertificate(store, certificate);
      }
    }
    await folder.putProfile(scepRecord(kept.keyFile));
    await folder.putRequest(pendingRequest('other', pending.keyFile));
    await folder.putProfile({
      kind: 'trustedCertificate',
      profileId: 'root',
      version: 1,
      displayName: 'Root',
      store: 'root',
      thumbprint: rootThumbprint,
    });
    await writeFile(join(folder.path, 'profiles', '.p1.json.0011.tmp'), 'half');
    await folder.sweep();
    const names = async (...path: string[]) => (await readdir(join(folder.path, ...path))).sort();
    assert.deepEqual(await names('keys'), [kept.keyFile, pending.keyFile].sort());
    assert.deepEqual(await names('certificates', 'my'), [`${leafThumbprint}.pem`]);
    assert.deepEqual(await names('certificates', 'root'), [`${rootThumbprint}.pem`]);
    assert.deepEqual(await names('certificates', 'intermediate'), [`${issuingThumbprint}.pem`]);
    assert.deepEqual(await names('profiles'), ['device-certificate.json', 'root.json']);
    assert.deepEqual(await names('requests'), ['other.json']);
    assert.ok((await names()).includes('device-token'));
  }));

test('one at a time has the lock, in this process and among others', () =>
  inDevice(async (folder) => {
    const lock = folder.lock();
    assert.ok(lock !== undefined);
    assert.equal(folder.lock(), undefined);
    assert.equal((await DeviceFolder.open(folder.path)).lock(), undefined);
    const program = `
      import { DeviceFolder } from ${JSON.stringify(new URL('./state.ts', import.meta.url).href)};
      const lock = (await DeviceFolder.open(process.argv[1])).lock();
      console.log(lock === undefined ? 'busy' : 'free');
      if (process.argv[2] === 'hold') setInterval(() => {}, 1000);
    `;
    const start = (...more: string[]) =>
      spawn(process.execPath, ['--input-type=module', '--eval', program, folder.path, ...more], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
    const said = (child: ReturnType<typeof start>) =>
      new Promise<string>((resolve) => child.stdout?.once('data', (data) => resolve(String(data).trim())));
    assert.equal(await said(start()), 'busy');
    lock.release();
    const holder = start('hold');
    assert.equal(await said(holder), 'free');
    assert.equal(folder.lock(), undefined);
    const ended = new Promise((resolve) => holder.once('exit', resolve));
    holder.kill('SIGKILL');
    await ended;
    const again = folder.lock();
    assert.ok(again !== undefined, 'a dead process holds nothing');
    again.release();
    assert.deepEqual(
      (await readdir(folder.path)).filter((name) => name.startsWith('lock')),
      ['lock'],
    );
  }));
