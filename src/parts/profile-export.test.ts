import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pino } from 'pino';
import { parse } from 'plist';
import { certificates, keys } from '../../test/support/authorities-fixture.ts';
import { deviceScepProfile, intermediateProfile, rootProfile } from '../../test/support/mdm-fixture.ts';
import { buildPem, parseSignedData, verifySignedData } from '../codec/index.ts';
import { type Config, parseConfig } from '../config.ts';
import { faultsOfConfigurationProfile } from '../mdm/export/index.ts';
import { systemClock } from '../telemetry.ts';
import { withMdm } from './mdm.ts';
import { type ExportOrder, exportProfiles } from './profile-export.ts';

const log = pino({ level: 'silent' });
let folder: string;
let deviceId: string;
let config: NonNullable<Config['mdm']>;
let withoutSigner: NonNullable<Config['mdm']>;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leafgate-profile-export-'));
  const write = (name: string, text: string | Uint8Array) =>
    writeFile(join(folder, name), text, { mode: 0o600 });
  const identity = async (name: string, { keyObject }: (typeof keys)['issuing'], raw: Uint8Array) => {
    const passphrase = `passphrase of ${name}`;
    const pem = keyObject.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase });
    await write(`${name}.key.pem`, String(pem));
    await write(`${name}.passphrase`, passphrase);
    await write(`${name}.pem`, buildPem('CERTIFICATE', raw));
    return {
      certificate: `${name}.pem`,
      key: { file: `${name}.key.pem`, passphrase: `file:${name}.passphrase` },
    };
  };
  await write('app.secret', 'secret of the application');
  await write('identity.p12', Uint8Array.of(0x30, 0x00));
  await write('identity.password', 'p12 password');
  const mdm = {
    listen: '127.0.0.1:0',
    databaseFile: 'mdm.db',
    tenant: 'tenant',
    applications: [{ appId: 'app', secret: 'file:app.secret' }],
    challengeSigner: await identity('signer', keys.raSigning, certificates.raSigning.raw),
    challengeRecipient: await identity('recipient', keys.raEncryption, certificates.raEncryption.raw),
  };
  const parsed = (part: object) =>
    parseConfig(JSON.stringify({ mdm: part }), folder).mdm ?? assert.fail('no mdm');
  withoutSigner = parsed(mdm);
  config = parsed({ ...mdm, profileSigner: mdm.challengeSigner });
  deviceId = await withMdm(config, log, systemClock, async (opened) => {
    for (const profile of [rootProfile, intermediateProfile, deviceScepProfile])
      await opened.upsertProfile(profile);
    const { token } = await opened.createEnrolmentToken();
    const joining = { token, deviceName: 'laptop', platform: 'macOS', serialNumber: 'SN1' } as const;
    return (await opened.join(joining)).device.deviceId;
  });
});
after(() => rm(folder, { recursive: true, force: true }));

const order = (changes: Partial<ExportOrder> = {}): ExportOrder => ({
  deviceId,
  format: 'mobileconfig',
  signature: 'signed',
  organization: 'Example',
  ...changes,
});
const made = (changes?: Partial<ExportOrder>, of = config) =>
  exportProfiles(of, order(changes), log, systemClock);

test('a device’s profiles become a signed configuration profile, with a challenge and a PFX', async () => {
  const pkcs12 = {
    file: join(folder, 'identity.p12'),
    password: `file:${join(folder, 'identity.password')}`,
  };
  const { file, leftOut } = await made({ pkcs12 });
  assert.deepEqual(leftOut, []);
  const signed = parseSignedData(file);
  assert.equal(verifySignedData(signed, certificates.raSigning), true);
  const profile = parse(Buffer.from(signed.content ?? []).toString('utf8'));
  assert.deepEqual(faultsOfConfigurationProfile(profile), []);
  const { PayloadContent } = profile as { PayloadContent: Record<string, unknown>[] };
  assert.deepEqual(
    PayloadContent.map(({ PayloadType }) => PayloadType),
    [
      'com.apple.security.root',
      'com.apple.security.pkcs1',
      'com.apple.security.scep',
      'com.apple.security.pkcs12',
    ],
  );
  const scep = PayloadContent[2]?.PayloadContent as { Challenge: string; Subject: string[][][] };
  assert.ok(scep.Challenge.length > 100);
  assert.ok(scep.Subject.flat().some(([type, value]) => type === 'CN' && value === deviceId));
  assert.equal(PayloadContent[3]?.Password, 'p12 password');
});

test('every format has all profiles, and a new challenge each time', async () => {
  const read = async () => JSON.parse(Buffer.from((await made({ format: 'json' })).file).toString('utf8'));
  const [first, second] = [await read(), await read()];
  assert.equal(first.profiles.length, 3);
  assert.notEqual(first.profiles[2].challenge, second.profiles[2].challenge);
  const syncml = Buffer.from((await made({ format: 'syncml' })).file).toString('utf8');
  assert.equal(syncml.match(/EncodedCertificate/g)?.length, 2);
  assert.match(syncml, /Install\/Enroll/);
  const unsigned = Buffer.from((await made({ signature: 'unsigned' }, withoutSigner)).file).toString('utf8');
  assert.match(unsigned, /^<\?xml/);
});

test('what cannot be exported is refused', async () => {
  await assert.rejects(made({ deviceId: 'absent' }), { code: 'device_unknown' });
  await assert.rejects(made({}, withoutSigner), { code: 'config_invalid', message: /profileSigner/ });
  await assert.rejects(made({ pkcs12: { file: join(folder, 'absent.p12') } }), { code: 'config_invalid' });
  await withMdm(config, log, systemClock, (mdm) => mdm.setDeviceState(deviceId, 'retired'));
  await assert.rejects(made(), { code: 'device_unknown' });
});
