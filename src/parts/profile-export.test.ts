import assert from 'node:assert/strict';
import { createPrivateKey } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { parse } from 'plist';
import { certificates, keys } from '../../test/support/authorities-fixture.ts';
import {
  clientAuth,
  deviceScepProfile,
  intermediateProfile,
  certificates as mdmCertificates,
  keys as mdmKeys,
  rootProfile,
  type TestKey,
  testCertificate,
} from '../../test/support/mdm-fixture.ts';
import {
  buildEnvelopedData,
  buildPem,
  buildPkcs12,
  type Certificate,
  nameToString,
  parseCertificate,
  parsePkcs12,
  parseSignedData,
  thumbprintOf,
  verifySignedData,
} from '../codec/index.ts';
import { type Config, parseConfig } from '../config.ts';
import { faultsOfConfigurationProfile } from '../mdm/export/index.ts';
import { systemClock } from '../telemetry.ts';
import { withMdm } from './mdm.ts';
import { type Exported, type ExportOrder, exportProfiles } from './profile-export.ts';

const log = pino({ level: 'silent' });
const issuing = { certificate: mdmCertificates.issuing, key: mdmKeys.issuing };
const leaf = await testCertificate({
  subject: 'CN=leaf',
  key: mdmKeys.other,
  kind: 'other',
  issuer: issuing,
});
const foreign = await testCertificate({ subject: 'CN=leaf', key: mdmKeys.other, kind: 'other' });
const pkcsProfile = {
  kind: 'pkcs',
  profileId: 'pkcs',
  displayName: 'PKCS',
  certificateType: 'device',
  subjectNameFormat: 'CN={{DeviceId}}',
  keyUsage: ['digitalSignature'],
  extendedKeyUsages: [{ name: 'Client Authentication', objectIdentifier: clientAuth }],
  certificationAuthorityName: 'issuing',
  certificateTemplateName: 'client-authentication',
  rootCertificate: 'root',
};

function pfxOf(key: TestKey, certificate: Certificate, password: string): Promise<Uint8Array> {
  const privateKey = createPrivateKey(key.pem).export({ type: 'pkcs8', format: 'der' });
  const chain = [mdmCertificates.issuing, mdmCertificates.root];
  return buildPkcs12({ privateKey, certificate, chain, password, form: 'modern' });
}

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
  await write('nothing.p12', Uint8Array.of(0x30, 0x00));
  await write('identity.p12', await pfxOf(mdmKeys.other, leaf, 'p12 password'));
  await write('identity.password', 'p12 password');
  await write('other.password', 'another password');
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
  pfx: { waitMs: 30_000, password: 'in the file' },
  earlier: 'kept',
  ...changes,
});
async function made(
  changes?: Partial<ExportOrder>,
  of = config,
): Promise<Exported & { readonly file: Uint8Array }> {
  let file: Uint8Array | undefined;
  const write = async (written: Uint8Array) => {
    file = written;
  };
  const exported = await exportProfiles(of, order(changes), { write }, log, systemClock);
  return { ...exported, file: file ?? assert.fail('nothing was written') };
}

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

describe('a profile that brings a PFX', () => {
  before(() =>
    withMdm(config, log, systemClock, async (mdm) => {
      await mdm.upsertProfile(pkcsProfile);
      // The device has no certificate of the CA between.
      await mdm.excludeDevice('device-certificate', deviceId);
      await mdm.excludeDevice('intermediate', deviceId);
    }),
  );
  after(() =>
    withMdm(config, log, systemClock, async (mdm) => {
      await mdm.deleteProfile('pkcs');
      await mdm.includeDevice('device-certificate', deviceId);
      await mdm.includeDevice('intermediate', deviceId);
    }),
  );

  /** A connector’s turn: takes the order that comes, and brings the certificate, encrypted to whoever asked, or to another. */
  const connector = (certificate: Certificate, recipient: 'asked' | 'another') =>
    withMdm(config, log, systemClock, async (mdm) => {
      for (let turn = 0; turn < 200; turn += 1) {
        const task = (await mdm.pkcs.take(1)).find(({ action }) => action === 'issue');
        if (task?.action !== 'issue') {
          await sleep(50);
          continue;
        }
        const password = 'of the connector';
        const to =
          recipient === 'asked'
            ? parseCertificate(Buffer.from(task.recipient, 'base64'))
            : mdmCertificates.recipient;
        const sealed = (content: Uint8Array) =>
          Buffer.from(
            buildEnvelopedData({
              content,
              recipient: to,
              cipher: 'aes-256-cbc',
              keyTransport: { name: 'rsaes-oaep', digest: 'sha256' },
            }),
          ).toString('base64');
        await mdm.pkcs.upload(
          task,
          {
            encryptedPfxBlob: sealed(await pfxOf(mdmKeys.other, certificate, password)),
            encryptedPfxPassword: sealed(Buffer.from(password)),
          },
          {
            thumbprint: thumbprintOf(certificate.raw),
            serialNumber: certificate.serialNumber.toUpperCase(),
            issuerName: nameToString(certificate.issuer),
            notAfter: certificate.notAfter,
          },
        );
        await mdm.pkcs.acknowledge(task, 'delivered');
        return task.requestId;
      }
      return assert.fail('nothing was ordered');
    });
  /** What the next connector is asked to do. */
  const asked = () =>
    withMdm(config, log, systemClock, async (mdm) => (await mdm.pkcs.take(10)).map(({ action }) => action));

  test('nobody brings it in time: a clear error, no file, and nothing is left to do', async () => {
    const waits: string[] = [];
    let isWritten = false;
    await assert.rejects(
      exportProfiles(
        config,
        order({ pfx: { waitMs: 300, password: 'in the file' } }),
        {
          write: async () => {
            isWritten = true;
          },
          onWait: (profileId) => waits.push(profileId),
        },
        log,
        systemClock,
      ),
      { code: 'pfx_not_made', message: /pkcs within 0 seconds/ },
    );
    assert.deepEqual(waits, ['pkcs']);
    assert.equal(isWritten, false);
    assert.deepEqual(await asked(), []);
  });

  test('without a signer nothing is ordered', async () => {
    await assert.rejects(made({}, withoutSigner), { code: 'config_invalid', message: /profileSigner/ });
    assert.deepEqual(await asked(), []);
  });

  const refused: readonly (readonly [
    name: string,
    certificate: Certificate,
    recipient: 'asked' | 'another',
    code: string,
  ])[] = [
    ['a certificate that leads to no root of the device', foreign, 'asked', 'pfx_unopened'],
    ['a PFX for somebody else', leaf, 'another', 'pfx_unopened'],
  ];
  for (const [name, certificate, recipient, code] of refused)
    test(`${name} is refused, and withdrawn`, async () => {
      const bringing = connector(certificate, recipient);
      await assert.rejects(made(), { code });
      assert.deepEqual(await stateOf(await bringing), 'withdrawing');
    });
  const stateOf = async (requestId: string) => {
    const { MdmStore } = await import('../mdm/index.ts');
    const store = MdmStore.open(config.databaseFile);
    try {
      return store.pkcs.request(requestId)?.state;
    } finally {
      store.close();
    }
  };

  test('a refusal of the CA is told by its own name', async () => {
    const refusing = withMdm(config, log, systemClock, async (mdm) => {
      for (let turn = 0; turn < 200; turn += 1) {
        const [task] = await mdm.pkcs.take(1);
        if (task?.action === 'issue') return mdm.pkcs.fail(task, 'subject_mismatch');
        await sleep(50);
      }
      return assert.fail('nothing was ordered');
    });
    await assert.rejects(made(), { code: 'subject_mismatch', message: /^pkcs:/ });
    await refusing;
  });

  test('a file that cannot be written leaves no good certificate', async () => {
    const bringing = connector(leaf, 'asked');
    const write = async () => {
      throw new Error('the disk is full');
    };
    await assert.rejects(exportProfiles(config, order(), { write }, log, systemClock), /disk is full/);
    assert.equal(await stateOf(await bringing), 'withdrawing');
  });

  const formats: readonly (readonly [format: ExportOrder['format'], isLegacy: boolean])[] = [
    ['mobileconfig', true],
    ['json', false],
  ];
  for (const [format, isLegacy] of formats)
    test(`${format}: it is in the file, packed anew, with the CA between beside it`, async () => {
      const bringing = connector(leaf, 'asked');
      const { file, identities, leftOut, password } = await made({ format });
      const requestId = await bringing;
      assert.equal(await stateOf(requestId), 'delivered');
      assert.equal(password, undefined);
      assert.deepEqual(leftOut, []);
      const [identity] = identities;
      assert.ok(identity?.password !== undefined && identity.password !== 'of the connector');
      assert.equal(identity.thumbprint, thumbprintOf(leaf.raw));
      const opened = await parsePkcs12(identity.pfx, identity.password);
      assert.deepEqual(Buffer.from(opened.certificate.raw), Buffer.from(leaf.raw));
      assert.deepEqual(opened.chain, []);
      // OID of pbeWithSHAAnd3-KeyTripleDES-CBC, RFC 7292 appendix C.
      const tripleDes = Buffer.from('2a864886f70d010c0103', 'hex');
      assert.equal(Buffer.from(identity.pfx).includes(tripleDes), isLegacy);
      const intermediate = Buffer.from(mdmCertificates.issuing.raw);
      if (format === 'json') {
        const { profiles } = JSON.parse(Buffer.from(file).toString('utf8'));
        assert.deepEqual(
          profiles.map(({ kind, profileId }: Record<string, string>) => [kind, profileId]),
          [
            ['trustedCertificate', 'root'],
            ['trustedCertificate', 'pkcs.issuer-1'],
            ['pkcs12', 'pkcs'],
          ],
        );
        assert.equal(profiles[1].certificate, intermediate.toString('base64'));
        assert.equal(profiles[2].pfx, Buffer.from(identity.pfx).toString('base64'));
        return;
      }
      const profile = parse(Buffer.from(parseSignedData(file).content ?? []).toString('utf8'));
      assert.deepEqual(faultsOfConfigurationProfile(profile), []);
      const { PayloadContent } = profile as { PayloadContent: Record<string, unknown>[] };
      assert.deepEqual(
        PayloadContent.map(({ PayloadType }) => PayloadType),
        ['com.apple.security.root', 'com.apple.security.pkcs1', 'com.apple.security.pkcs12'],
      );
      assert.deepEqual(Buffer.from(PayloadContent[1]?.PayloadContent as Uint8Array), intermediate);
      assert.equal(PayloadContent[2]?.Password, identity.password);
    });

  test('its password can stay out of the file', async () => {
    const bringing = connector(leaf, 'asked');
    const { file, identities, password } = await made({ pfx: { waitMs: 30_000, password: 'asked' } });
    await bringing;
    assert.match(password ?? '', /^([a-z2-9]{4}-){4}[a-z2-9]{4}$/);
    assert.equal(Buffer.from(file).includes(password ?? ''), false);
    assert.equal(identities[0]?.password, undefined);
    await parsePkcs12(identities[0]?.pfx ?? new Uint8Array(), password ?? '');
  });

  test('left out, it is named, and nothing is ordered, also for a device that names whom to encrypt to', async () => {
    await withMdm(config, log, systemClock, (mdm) =>
      mdm.pkcs.nameRecipient(deviceId, Buffer.from(mdmCertificates.recipient.raw).toString('base64')),
    );
    const { leftOut, identities } = await made({ pfx: 'left out' });
    assert.deepEqual(leftOut, ['pkcs']);
    assert.deepEqual(identities, []);
    assert.equal((await asked()).includes('issue'), false);
  });
});

test('what cannot be exported is refused', async () => {
  await assert.rejects(made({ deviceId: 'absent' }), { code: 'device_unknown' });
  await assert.rejects(made({}, withoutSigner), { code: 'config_invalid', message: /profileSigner/ });
  const along = (file: string, password?: string) =>
    made({
      pkcs12: {
        file: join(folder, file),
        ...(password === undefined ? {} : { password: `file:${join(folder, password)}` }),
      },
    });
  await assert.rejects(along('absent.p12'), { code: 'config_invalid' });
  await assert.rejects(along('nothing.p12'), { code: 'pkcs12_malformed' });
  await assert.rejects(along('identity.p12', 'other.password'), { code: 'pkcs12_password' });
  // The device asks for it.
  await along('identity.p12');
  await withMdm(config, log, systemClock, (mdm) =>
    mdm.setNonCompliant(deviceId, { graceMs: 0, measure: 'hold' }),
  );
  await assert.rejects(made(), { code: 'profile_unresolvable', message: /breaks the rules/ });
  await withMdm(config, log, systemClock, (mdm) => mdm.setDeviceState(deviceId, 'retired'));
  await assert.rejects(made(), { code: 'device_unknown' });
});
