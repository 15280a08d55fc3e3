import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join as pathOf } from 'node:path';
import { test } from 'node:test';
import { certificates as authorities, issuer } from '../../test/support/authorities-fixture.ts';
import {
  application,
  certificates,
  intermediateProfile,
  keys,
  MovableClock,
  openTestMdm,
  rootPem,
  rootProfile,
  type TestKey,
  temporaryFolder,
  tenant as tenantId,
  testCertificate,
  tlsServer,
} from '../../test/support/mdm-fixture.ts';
import { builtInTemplates, CertificateAuthority } from '../ca/index.ts';
import {
  buildEnvelopedData,
  buildPkcs12,
  nameToString,
  parseCertificate,
  sameOctets,
} from '../codec/index.ts';
import { importRole } from '../mdm/access-tokens.ts';
import type { OpenMdm } from '../mdm/index.ts';
import { type ImportedPfx, importPfx, PfxConnector, PkcsQueue } from '../pfx/index.ts';
import { RegistrationAuthority } from '../ra/index.ts';
import { openPkiStore } from '../store/index.ts';
import { openLog, systemClock } from '../telemetry.ts';
import { type Device, joinDevice, type SyncResult } from './device.ts';

const log = openLog('silent', 'test');
const secret = randomBytes(24).toString('base64url');
const base64 = (octets: Uint8Array) => Buffer.from(octets).toString('base64');

const trusted = (profileId: string, raw: Uint8Array, destinationStore: string) => ({
  kind: 'trustedCertificate',
  profileId,
  displayName: profileId,
  trustedRootCertificate: base64(raw),
  destinationStore,
});
const pkcsProfile = {
  kind: 'pkcs',
  profileId: 'pkcs',
  displayName: 'S/MIME',
  certificateType: 'device',
  subjectNameFormat: 'CN={{DeviceId}},O=Test',
  customSubjectAlternativeNames: [
    { sanType: 'universalResourceIdentifier', name: 'IntuneDeviceId://{{DeviceId}}' },
  ],
  keyUsage: ['digitalSignature'],
  extendedKeyUsages: [{ name: 'Client Authentication', objectIdentifier: '1.3.6.1.5.5.7.3.2' }],
  certificationAuthorityName: 'issuing',
  certificateTemplateName: 'client-authentication',
  rootCertificate: 'pki-issuing',
};

const importer = { appId: 'bbbbbbbb-0000-4000-8000-000000000001', secret: 'importer', roles: [importRole] };

interface Tenant {
  readonly mdm: OpenMdm;
  readonly device: Device;
  readonly folder: string;
  readonly round: PfxConnector['round'];
  readonly ra: RegistrationAuthority;
}

/** An MDM with a PKCS profile alone, a CA, a connector, and a device that has joined. */
async function withTenant(run: (tenant: Tenant) => Promise<void>): Promise<void> {
  const parent = await temporaryFolder();
  const mdm = await openTestMdm({
    tls: tlsServer,
    clock: new MovableClock(),
    pkcsConnectors: [{ name: 'connector-1', secret }],
    applications: [application, importer],
  });
  const store = await openPkiStore({ sqlite: pathOf(parent.path, 'pki.sqlite') });
  const queue = new PkcsQueue({ url: mdm.publicUrl, secret, extraCa: rootPem });
  try {
    for (const profileId of ['device-certificate', 'intermediate', 'root'])
      await mdm.mdm.deleteProfile(profileId);
    await mdm.mdm.upsertProfile(trusted('pki-root', authorities.root.raw, 'computerCertStoreRoot'));
    await mdm.mdm.upsertProfile(
      trusted('pki-issuing', authorities.issuing.raw, 'computerCertStoreIntermediate'),
    );
    await mdm.mdm.upsertProfile(pkcsProfile);
    const clock = systemClock;
    const ca = new CertificateAuthority({ issuers: [issuer], templates: builtInTemplates, store, clock });
    const holding = { sealKey: randomBytes(32), expiresAfterMs: 1, waitingMax: 0 };
    const ra = new RegistrationAuthority({
      ca,
      store,
      policies: [],
      serviceIdentity: 'LAB\\ra',
      clock,
      log,
      holding,
    });
    const connector = new PfxConnector({
      queue,
      ra,
      requester: 'LAB\\svc-pfx',
      issuer: 'issuing',
      chain: [authorities.issuing, authorities.root],
      templates: [{ name: 'client-authentication', archival: 'none' }],
      importKeys: [{ name: 'import-key', decrypt: keys.other.decrypt }],
      form: 'modern',
      log,
    });
    const folder = pathOf(parent.path, 'device');
    const { token } = await mdm.mdm.createEnrolmentToken();
    const device = await joinDevice({
      deviceName: 'laptop',
      platform: 'linux',
      serialNumber: 'S-1',
      folder,
      mdmUrl: mdm.publicUrl,
      mdmCaPem: rootPem,
      token,
    });
    await run({ mdm, device, folder, ra, round: () => connector.round() });
  } finally {
    queue.close();
    await store.close();
    await mdm.close();
    await parent.remove();
  }
}

function outcomeOf(result: SyncResult, profileId = 'pkcs'): string | undefined {
  assert.ok(result.outcome === 'completed', JSON.stringify(result));
  return result.profiles.find((each) => each.profileId === profileId)?.outcome;
}

const stateOf = ({ mdm }: OpenMdm, profileId = 'pkcs') =>
  mdm.profileStates().find((each) => each.profileId === profileId)?.issuanceState;

test('a PKCS profile ends with a key and a certificate on the device', () =>
  withTenant(async ({ mdm, device, folder, round }) => {
    assert.equal(outcomeOf(await device.sync()), 'pending');
    assert.equal(outcomeOf(await device.sync()), 'pending');
    assert.equal(stateOf(mdm), 'issuePending');
    assert.equal((await round()).delivered, 1);
    assert.equal(stateOf(mdm), 'issued');
    assert.equal(outcomeOf(await device.sync()), 'installed');
    assert.equal(stateOf(mdm), 'installed');

    const [identity] = await device.identities();
    assert.ok(identity !== undefined);
    assert.equal(nameToString(identity.certificate.subject), `CN=${device.identity.deviceId},O=Test`);
    assert.deepEqual(
      identity.chain.map(({ raw }) => nameToString(parseCertificate(raw).subject)),
      [authorities.issuing, authorities.root].map(({ subject }) => nameToString(subject)),
    );
    const pem = await readFile(identity.keyPath, 'utf8');
    assert.match(pem, /^-----BEGIN ENCRYPTED PRIVATE KEY-----/);
    const passphrase = (await readFile(identity.keyPassphrasePath, 'utf8')).trim();
    const spki = createPublicKey(createPrivateKey({ key: pem, passphrase })).export({
      format: 'der',
      type: 'spki',
    });
    assert.ok(sameOctets(spki, identity.certificate.spki));
    assert.deepEqual(
      (await device.events.read({ ids: [40009, 40010, 40011] })).map(({ id }) => id),
      [40011, 40009],
    );

    // It is kept, nothing is made again, and the MDM has no PFX any more.
    assert.equal(outcomeOf(await device.sync()), 'kept');
    assert.deepEqual(await round(), { delivered: 0, withdrawn: 0, refused: 0, postponed: 0 });
    assert.deepEqual((await readdir(pathOf(folder, 'keys'))).length, 1);
    const [certificate] = mdm.mdm.certificates();
    assert.equal(certificate?.serialNumber, identity.certificate.serialNumber.toUpperCase());

    // The lifecycle of the device is that of its certificate.
    await mdm.mdm.setDeviceState(device.identity.deviceId, 'retired');
    assert.equal(outcomeOf(await device.sync()), 'removed');
    assert.deepEqual(await readdir(pathOf(folder, 'keys')), []);
    assert.equal(mdm.mdm.certificates()[0]?.standing, 'revoked');
  }));

test('a changed profile brings another key, and a refusal shows', () =>
  withTenant(async ({ mdm, device, round }) => {
    await device.sync();
    await device.sync();
    await round();
    await device.sync();
    const [first] = await device.identities();
    await mdm.mdm.upsertProfile({ ...pkcsProfile, subjectNameFormat: 'CN={{DeviceName}},O=Test' });
    assert.equal(outcomeOf(await device.sync()), 'pending');
    await round();
    assert.equal(outcomeOf(await device.sync()), 'installed');
    const [second] = await device.identities();
    assert.ok(first !== undefined && second !== undefined);
    assert.equal(nameToString(second.certificate.subject), 'CN=laptop,O=Test');
    assert.equal(sameOctets(first.certificate.spki, second.certificate.spki), false);

    await mdm.mdm.upsertProfile({ ...pkcsProfile, certificateTemplateName: 'web-server' });
    await device.sync();
    assert.equal((await round()).refused, 1);
    assert.equal(stateOf(mdm), 'issueFailed');
  }));

test('a PFX that is not for the device, or of a CA that it does not trust, is refused', () =>
  withTenant(async ({ mdm, device, folder }) => {
    await device.sync();
    await device.sync();
    const delivery = await device.folder.delivery();
    assert.ok(delivery !== undefined);
    const password = 'password';
    // Of a root that no profile names; otherwise as it should be.
    const pfx = await buildPkcs12({
      privateKey: createPrivateKey(keys.tls.pem).export({ format: 'der', type: 'pkcs8' }),
      certificate: certificates.tls,
      chain: [certificates.root],
      password,
      form: 'modern',
    });
    const sealed = (recipient: typeof delivery.certificate, content: Uint8Array) =>
      base64(
        buildEnvelopedData({
          content,
          recipient,
          cipher: 'aes-256-cbc',
          keyTransport: { name: 'rsaes-oaep', digest: 'sha256' },
        }),
      );
    const facts = {
      thumbprint: 'A'.repeat(40),
      serialNumber: 'A1',
      issuerName: 'CN=Other',
      notAfter: certificates.tls.notAfter,
    };
    const rows = [
      ['not for the device', certificates.recipient, password, /cannot be opened/],
      ['under another password', delivery.certificate, 'other', /does not agree/],
      ['of another CA', delivery.certificate, password, /is not signed by/],
    ] as const;
    for (const [name, recipient, said, why] of rows) {
      const [task] = await mdm.mdm.pkcs.take(1);
      assert.ok(task !== undefined, name);
      await mdm.mdm.pkcs.upload(
        task,
        {
          encryptedPfxBlob: sealed(recipient, pfx),
          encryptedPfxPassword: sealed(recipient, Buffer.from(said)),
        },
        { ...facts, thumbprint: randomBytes(20).toString('hex').toUpperCase() },
      );
      await mdm.mdm.pkcs.acknowledge(task, 'delivered');
      assert.equal(outcomeOf(await device.sync()), 'failed', name);
      const [event] = (await device.events.read({ ids: [40010] })).slice(-1);
      assert.match(event?.message ?? '', why, name);
      assert.deepEqual(await readdir(pathOf(folder, 'keys')), [], name);
      assert.equal(stateOf(mdm), 'installFailed', name);
      // A change of the profile asks anew.
      await mdm.mdm.upsertProfile({
        ...pkcsProfile,
        subjectNameFormat: `CN={{DeviceId}},OU=${said}${rows.findIndex((row) => row[0] === name)}`,
      });
      await device.sync();
    }
  }));

const importedProfile = {
  kind: 'importedPfx',
  profileId: 'smime',
  displayName: 'S/MIME encryption',
  intendedPurpose: 'smimeEncryption',
  rootCertificate: 'intermediate',
};

/** A tenant in which PFX are imported for the user of the device, under another CA than the connector's. */
const withImports = (
  run: (
    tenant: Tenant & {
      /** Imports one, as `leafgate pfx import` does. */
      readonly imports: (
        key: TestKey,
        name: string,
        changes?: Partial<ImportedPfx>,
      ) => Promise<Awaited<ReturnType<typeof importPfx>>>;
      readonly outcome: () => Promise<string | undefined>;
      readonly state: () => string | undefined;
    },
  ) => Promise<void>,
) =>
  withTenant(async (tenant) => {
    const { mdm } = tenant.mdm;
    await mdm.deleteProfile('pkcs');
    for (const profile of [rootProfile, intermediateProfile, importedProfile])
      await mdm.upsertProfile(profile);
    const [ada] = await mdm.importUsers([
      { userPrincipalName: 'ada@example.com' },
      { userPrincipalName: 'bob@example.com' },
    ]);
    await mdm.setDeviceUser(tenant.device.identity.deviceId, ada);
    await run({
      ...tenant,
      outcome: async () => outcomeOf(await tenant.device.sync(), 'smime'),
      state: () => stateOf(tenant.mdm, 'smime'),
      imports: async (key, name, changes = {}) => {
        const certificate = await testCertificate({
          subject: `CN=${name}`,
          key,
          kind: 'other',
          issuer: { certificate: certificates.issuing, key: keys.issuing },
        });
        const pfx = await buildPkcs12({
          privateKey: createPrivateKey(key.pem).export({ format: 'der', type: 'pkcs8' }),
          certificate,
          chain: [certificates.issuing],
          password: 'of the PFX',
          form: 'legacy',
        });
        return await importPfx(
          {
            pfx,
            password: 'of the PFX',
            userPrincipalName: 'ada@example.com',
            intendedPurpose: 'smimeEncryption',
            providerName: 'file',
            keyName: 'import-key',
            publicKey: keys.other.spki,
            importedAt: new Date(),
            ...changes,
          },
          {
            graph: tenant.mdm.publicUrl,
            authority: tenant.mdm.publicUrl,
            tenant: tenantId,
            ...importer,
            extraCa: rootPem,
          },
        );
      },
    });
  });

test('an imported PFX is opened on the device of its user, and goes when it is deleted', () =>
  withImports(async ({ mdm, device, folder, round, imports, outcome, state }) => {
    assert.equal(await outcome(), undefined, 'there is nothing for the user yet');
    assert.equal(state(), 'unknown');
    await imports(keys.device, 'for signing', { intendedPurpose: 'smimeSigning' });
    await imports(keys.device, 'for Bob', { userPrincipalName: 'bob@example.com' });
    assert.equal(await outcome(), undefined);

    const certificate = await imports(keys.device, 'Ada');
    assert.equal(await outcome(), 'pending');
    assert.equal(await outcome(), 'pending');
    assert.equal(state(), 'issuePending');
    assert.equal((await round()).delivered, 1);
    assert.equal(state(), 'issued');
    assert.equal(await outcome(), 'installed');
    assert.equal(state(), 'installed');

    const [identity] = await device.identities();
    assert.ok(identity !== undefined && sameOctets(identity.certificate.raw, certificate.raw));
    const key = await device.privateKey('smime');
    assert.ok(key !== undefined && sameOctets(key.spki, certificate.spki));
    const [shown] = mdm.mdm.profileStates().filter(({ profileId }) => profileId === 'smime');
    assert.equal(shown?.serialNumber, certificate.serialNumber.toUpperCase());
    assert.equal(await outcome(), 'kept');
    assert.equal((await round()).delivered, 0);

    // What was imported is not this device's alone, and no CA of ours has made it: nothing asks for its revocation.
    assert.deepEqual(mdm.mdm.certificates(), []);

    const user = mdm.mdm.user('ada@example.com');
    assert.ok(user !== undefined);
    const id = { userId: user.userId, thumbprint: shown?.thumbprint ?? '' };
    assert.equal(await mdm.mdm.importedPfx.delete(id), true);
    assert.equal(await outcome(), 'removed');
    assert.equal(state(), 'deleted');
    assert.deepEqual(await readdir(pathOf(folder, 'keys')), []);
    assert.equal(mdm.mdm.revocationBacklog(), 0);
  }));

test('the next imported PFX takes the place of the one before', () =>
  withImports(async ({ device, round, imports, outcome }) => {
    await imports(keys.device, 'Ada');
    await outcome();
    await outcome();
    await round();
    assert.equal(await outcome(), 'installed');
    const next = await imports(keys.signer, 'Ada again');
    assert.equal(await outcome(), 'pending');
    assert.equal((await device.identities()).length, 1, 'the one before is there until then');
    assert.equal((await round()).delivered, 1);
    assert.equal(await outcome(), 'installed');
    const [identity] = await device.identities();
    assert.ok(identity !== undefined && sameOctets(identity.certificate.raw, next.raw));
  }));

for (const [name, part] of [
  ['is unassigned', ({ mdm }: OpenMdm) => mdm.setAssignments('smime', [])],
  ['is retired', async ({ mdm }: OpenMdm) => mdm.setDeviceState(mdm.devices()[0]?.deviceId ?? '', 'retired')],
  [
    'comes to another user',
    async ({ mdm }: OpenMdm) =>
      mdm.setDeviceUser(mdm.devices()[0]?.deviceId ?? '', mdm.user('bob@example.com')),
  ],
  [
    'comes to another user who has one too',
    async ({ mdm }: OpenMdm, imports: (name: string) => Promise<unknown>) => {
      await imports('bob@example.com');
      await mdm.setDeviceUser(mdm.devices()[0]?.deviceId ?? '', mdm.user('bob@example.com'));
    },
  ],
] as const) {
  test(`a device that ${name} gives the imported PFX up at once`, () =>
    withImports(async ({ mdm, folder, round, imports, outcome }) => {
      await imports(keys.device, 'Ada');
      await outcome();
      await outcome();
      await round();
      assert.equal(await outcome(), 'installed');
      await part(mdm, (userPrincipalName) => imports(keys.signer, 'Bob', { userPrincipalName }));
      assert.equal(await outcome(), 'removed');
      assert.deepEqual(await readdir(pathOf(folder, 'keys')), []);
    }));
}

test('an imported PFX under no root of the device is refused, and one that does not open shows', () =>
  withImports(async ({ mdm, folder, round, imports, outcome, state }) => {
    await mdm.mdm.upsertProfile({ ...importedProfile, rootCertificate: 'pki-issuing' });
    await imports(keys.device, 'Ada');
    await outcome();
    await outcome();
    await round();
    assert.equal(await outcome(), 'failed');
    assert.equal(state(), 'installFailed');
    assert.deepEqual(await readdir(pathOf(folder, 'keys')), []);

    await mdm.mdm.upsertProfile(importedProfile);
    assert.equal(await outcome(), 'installed', 'it waited for the mended profile');
    await imports(keys.signer, 'Ada again', { keyName: 'unknown' });
    await outcome();
    assert.equal((await round()).refused, 1);
    assert.equal(state(), 'issueFailed');
    const [shown] = mdm.mdm.profileStates().filter(({ profileId }) => profileId === 'smime');
    assert.equal(shown?.errorCode, 0x80070056);
  }));

test('a device that is lost gets no imported PFX', () =>
  withImports(async ({ mdm, device, round, imports, outcome }) => {
    await imports(keys.device, 'Ada');
    await outcome();
    await outcome();
    await mdm.mdm.setDeviceState(device.identity.deviceId, 'lost');
    assert.equal((await round()).delivered, 0);
    await outcome();
    assert.deepEqual(await device.identities(), []);
    await mdm.mdm.setDeviceState(device.identity.deviceId, 'enrolled');
    await outcome();
    assert.equal((await round()).delivered, 1);
    assert.equal(await outcome(), 'installed');
  }));
