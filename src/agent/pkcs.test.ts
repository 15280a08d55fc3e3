import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join as pathOf } from 'node:path';
import { test } from 'node:test';
import { certificates as authorities, issuer } from '../../test/support/authorities-fixture.ts';
import {
  certificates,
  keys,
  MovableClock,
  openTestMdm,
  rootPem,
  temporaryFolder,
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
import type { OpenMdm } from '../mdm/index.ts';
import { PfxConnector, PkcsQueue } from '../pfx/index.ts';
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

function outcomeOf(result: SyncResult): string | undefined {
  assert.ok(result.outcome === 'completed', JSON.stringify(result));
  return result.profiles.find(({ profileId }) => profileId === 'pkcs')?.outcome;
}

const stateOf = ({ mdm }: OpenMdm) =>
  mdm.profileStates().find(({ profileId }) => profileId === 'pkcs')?.issuanceState;

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
