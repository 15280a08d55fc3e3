/** An imported PFX in exports, from end to end: MDM, server with its connector, importer, and the files that are written. */
import assert from 'node:assert/strict';
import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { parse as parsePlist } from 'plist';
import {
  asMdmAdministrator,
  assignPkcsProfile,
  assignProfiles,
  PKCS_PROFILE,
  SCEP_PROFILE,
} from '../lab/fleet.ts';
import { rewrite } from '../lab/hostile-intune.ts';
import { openTenant, type Tenant } from '../lab/tenant.ts';
import {
  buildCertificate,
  buildPkcs12,
  type Certificate,
  caBasicConstraintsExtension,
  keyUsageExtension,
  nameFromString,
  type Pkcs12,
  parseCertificate,
  parsePkcs12,
  parseSignedData,
  thumbprintOf,
} from '../src/codec/index.ts';
import { readConfig } from '../src/config.ts';
import { type Running, start } from '../src/main.ts';
import { faultsOfConfigurationProfile } from '../src/mdm/export/index.ts';
import { MdmStore } from '../src/mdm/index.ts';
import { LEASE_MS } from '../src/mdm/pkcs-requests.ts';
import {
  type Exported,
  type ExportOrder,
  exportFormats,
  exportProfiles,
} from '../src/parts/profile-export.ts';
import { importPfx } from '../src/pfx/index.ts';
import { openPkiStore } from '../src/store/index.ts';
import { MovableClock, rsaKey, type TestKey } from './support/mdm-fixture.ts';

const DAY_MS = 24 * 60 * 60 * 1000;
const WAIT_MS = 60_000;
/** Of the MDM, whose leases are not waited for, and of the exports. */
const clock = new MovableClock();
const orders: string[] = [];
/** Takes down what is ordered of connectors. */
const log = pino({}, { write: (line: string) => orders.push(...orderedIn(line)) });
const ada = 'ada@lab.test';
const importer = { appId: '22222222-3333-4444-8555-666666666666', secret: 'secret of the importer' };
const keys = { root: rsaKey(), issuing: rsaKey(), ada: rsaKey(), stranger: rsaKey() };

/** A certificate whose life is told in days from now. */
async function certificate(
  name: string,
  key: TestKey,
  kind: 'ca' | 'person',
  by: { readonly certificate?: Certificate; readonly key: TestKey },
  [from, to]: readonly [from: number, to: number] = [-10, 10],
): Promise<Certificate> {
  const subject = nameFromString(name);
  const der = await buildCertificate(
    {
      serialNumber: Buffer.from(`${name}${from}`).toString('hex').slice(0, 32),
      signatureAlgorithm: 'rsa-sha256',
      issuer: by.certificate?.subject ?? subject,
      notBefore: new Date(Date.now() + from * DAY_MS),
      notAfter: new Date(Date.now() + to * DAY_MS),
      subject,
      spki: key.spki,
      extensions:
        kind === 'ca'
          ? [caBasicConstraintsExtension(), keyUsageExtension(['keyCertSign', 'cRLSign'])]
          : [keyUsageExtension(['keyEncipherment'])],
    },
    by.key.sign,
  );
  return parseCertificate(der);
}

const mailRoot = await certificate('CN=Mail Root', keys.root, 'ca', { key: keys.root });
const byRoot = { certificate: mailRoot, key: keys.root };
const mailIssuing = await certificate('CN=Mail CA', keys.issuing, 'ca', byRoot);
const byIssuing = { certificate: mailIssuing, key: keys.issuing };
const mail = await certificate('CN=Ada', keys.ada, 'person', byIssuing);
const ended = await certificate('CN=Ada', keys.ada, 'person', byIssuing, [-9, -1]);
const strange = await certificate('CN=Ada', keys.ada, 'person', { key: keys.stranger });

let folder: string;
let tenant: Tenant;
let config: NonNullable<ReturnType<typeof readConfig>['mdm']>;
let running: Running[] = [];
let importKey: Uint8Array;
let deviceId: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leafgate-imported-export-'));
  tenant = await openTenant(folder, { ports: 'any', progress: () => {}, issuingKey: 'rsa-2048' });
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  importKey = publicKey.export({ type: 'spki', format: 'der' });
  const passphrase = 'passphrase of the import key';
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase });
  const secrets = [
    ['server/import.key.pem', pem],
    ['server/import.passphrase', passphrase],
    ['mdm/importer.secret', importer.secret],
  ] as const;
  for (const [name, text] of secrets) await writeFile(join(folder, name), text, { mode: 0o600 });
  await rewrite(tenant.configs.mdm, (config) => {
    const { mdm } = config as { readonly mdm: Record<string, unknown> };
    mdm.profileSigner = { certificate: mdm.certificate, key: mdm.key };
    const roles = ['DeviceManagementConfiguration.ReadWrite.All'];
    mdm.applications = [{ appId: importer.appId, secret: 'file:importer.secret', roles }];
  });
  await rewrite(tenant.configs.server, (config) => {
    const { server } = config as { readonly server: { readonly pfx: Record<string, unknown> } };
    const key = { file: 'import.key.pem', passphrase: 'file:import.passphrase' };
    server.pfx.importKeys = [{ name: 'import-key', key }];
  });
  config = readConfig(tenant.configs.mdm).mdm ?? assert.fail('no mdm');
  for (const name of ['mdm', 'server'] as const)
    running = [await start({ ...readConfig(tenant.configs[name]), log: 'silent' }, clock), ...running];
  deviceId = await asMdmAdministrator(tenant, async (mdm) => {
    const trusted = Buffer.from(mailRoot.raw).toString('base64');
    await mdm.upsertProfile({
      kind: 'trustedCertificate',
      profileId: 'mail-root',
      displayName: 'Mail Root',
      trustedRootCertificate: trusted,
      destinationStore: 'computerCertStoreRoot',
    });
    await mdm.upsertProfile({
      kind: 'importedPfx',
      profileId: 'mail',
      displayName: 'Mail',
      intendedPurpose: 'smimeEncryption',
      rootCertificate: 'mail-root',
    });
    await mdm.importUsers([{ userPrincipalName: ada }]);
    const device = { deviceName: 'phone', platform: 'iOS', serialNumber: 'F2L' } as const;
    return (await mdm.addDevice(device, { user: mdm.user(ada) })).deviceId;
  });
});
after(async () => {
  for (const part of running) await part.close();
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
});
/** Certificates that a device may have of our CA; no export of an imported PFX adds one, or revokes one. */
let issued = 0;
afterEach(async () => {
  assert.deepEqual(await ofTheConnector(), new Array(issued).fill('issued'));
  await asMdmAdministrator(tenant, async (mdm) => {
    const standings = mdm
      .certificates(deviceId)
      .map(({ standing, revokeStatus }) => [standing, revokeStatus]);
    assert.deepEqual(standings, new Array(issued).fill(['good', 'none']));
    for (const pfx of mdm.importedPfx.certificates({ limit: 100 })) await mdm.importedPfx.delete(pfx);
  });
});

function orderedIn(line: string): string[] {
  const { msg, requestId } = JSON.parse(line) as { readonly msg: string; readonly requestId?: string };
  return msg === 'PFX ordered for an export' && requestId !== undefined ? [requestId] : [];
}

/** What the CA has by the connector: the status of each certificate. */
async function ofTheConnector(): Promise<string[]> {
  const store = await openPkiStore({ sqlite: join(folder, 'server', 'data', 'pki.sqlite') }, 'read');
  try {
    const found = await store.certificates({ limit: 1000 });
    return found.filter(({ requestID }) => requestID.startsWith('pfx-')).map(({ status }) => status);
  } finally {
    await store.close();
  }
}

/** The newest order, as the MDM has it. */
function order() {
  const store = MdmStore.open(config.databaseFile);
  try {
    return store.pkcs.request(orders.at(-1) ?? '') ?? assert.fail('nothing was ordered');
  } finally {
    store.close();
  }
}

async function untilOrderIs(state: string): Promise<void> {
  clock.offsetMs += LEASE_MS + 1;
  const deadline = Date.now() + WAIT_MS;
  while (order().state !== state) {
    assert.ok(Date.now() < deadline, `the order is ${order().state}, not ${state}`);
    await sleep(50);
  }
}

/** An importer's work: the PFX, with its password encrypted to the connector, goes to the MDM as it goes to Graph. */
async function imported(
  leaf: Certificate,
  changes: Partial<Parameters<typeof importPfx>[0]> & { readonly privateKey?: Uint8Array } = {},
): Promise<void> {
  const { privateKey = pkcs8Of(keys.ada), ...rest } = changes;
  const password = 'of the importer';
  const chain = [mailIssuing];
  await importPfx(
    {
      pfx: await buildPkcs12({ privateKey, certificate: leaf, chain, password, form: 'modern' }),
      password,
      userPrincipalName: ada,
      intendedPurpose: 'smimeEncryption',
      providerName: 'provider',
      keyName: 'import-key',
      publicKey: importKey,
      importedAt: new Date(),
      ...rest,
    },
    {
      graph: tenant.urls.mdm,
      authority: tenant.urls.mdm,
      tenant: tenant.tenantId,
      ...importer,
      extraCa: await readFile(tenant.rootFile, 'utf8'),
    },
  );
}

function pkcs8Of({ pem }: TestKey): Buffer {
  return createPrivateKey(pem).export({ type: 'pkcs8', format: 'der' });
}

async function exported(
  changes: Partial<ExportOrder> = {},
  onFile: (file: Uint8Array) => void = () => {},
): Promise<Exported & { readonly file: Uint8Array; readonly waits: readonly string[] }> {
  const waits: string[] = [];
  const written: Uint8Array[] = [];
  const made = await exportProfiles(
    config,
    {
      deviceId,
      format: 'json',
      signature: 'signed',
      organization: 'Example',
      pfx: { waitMs: WAIT_MS, password: 'in the file' },
      earlier: 'kept',
      ...changes,
    },
    {
      write: async (file) => {
        onFile(file);
        written.push(file);
      },
      onWait: (profileId) => waits.push(profileId),
    },
    log,
    clock,
  );
  const [file, ...more] = written;
  assert.ok(file !== undefined && more.length === 0);
  return { ...made, file, waits };
}

describe('nothing that was imported can be in the file: it is said why, the rest is there, and nobody is asked', () => {
  const rows: [name: string, prepare: () => Promise<void>, why: RegExp][] = [
    ['nothing was imported for the user', async () => {}, /nothing .* imported for ada@lab\.test/],
    [
      'only for another purpose',
      () => imported(mail, { intendedPurpose: 'vpn' }),
      /nothing for smimeEncryption is imported for ada@lab\.test/,
    ],
    ['it has ended', () => imported(ended), /what .* imported for ada@lab\.test has ended/],
    [
      'the device has no user',
      () => asMdmAdministrator(tenant, (mdm) => mdm.setDeviceUser(deviceId, undefined)),
      /the device has no user/,
    ],
  ];
  afterEach(() => asMdmAdministrator(tenant, (mdm) => mdm.setDeviceUser(deviceId, mdm.user(ada))));
  for (const [name, prepare, why] of rows)
    test(name, async () => {
      await prepare();
      const { profiles, missing, leftOut, identities, waits } = await exported();
      assert.deepEqual(profiles, [{ kind: 'trustedCertificate', profileId: 'mail-root' }]);
      assert.deepEqual(
        missing.map(({ profileId }) => profileId),
        ['mail'],
      );
      assert.match(missing[0]?.why ?? '', why);
      assert.deepEqual([leftOut, identities, waits], [[], [], []]);
      assert.deepEqual(orders, []);
    });
});

describe('what was imported is no good: nothing is written, and the order comes to its end', () => {
  const rows: [name: string, prepare: () => Promise<void>, message: RegExp, state: string][] = [
    [
      'its password is encrypted to a key that the connector has not',
      () => imported(mail, { keyName: 'another' }),
      /^mail: the connector refused the imported PFX: the PFX cannot be opened$/,
      'failed',
    ],
    [
      'its password is encrypted to another key of that name',
      () => imported(mail, { publicKey: keys.stranger.spki }),
      /^mail: the connector refused the imported PFX/,
      'failed',
    ],
    [
      'it leads to no root of the device',
      () => imported(strange),
      /^mail: the root .*CN=Ada.* is not trusted/,
      'withdrawn',
    ],
    [
      'it has ended, other than its importer said',
      async () => {
        await imported(ended);
        await asMdmAdministrator(tenant, async (mdm) => {
          const [listed] = mdm.importedPfx.certificates({ limit: 1 });
          const pfx = listed && mdm.importedPfx.certificate(listed);
          assert.ok(pfx !== undefined);
          await mdm.importedPfx.import({ ...pfx, expirationDateTime: new Date(Date.now() + DAY_MS) });
        });
      },
      /^mail: .*CN=Ada.* is valid from /,
      'withdrawn',
    ],
  ];
  for (const [name, prepare, message, state] of rows)
    test(name, async () => {
      await prepare();
      const written: Uint8Array[] = [];
      await assert.rejects(
        exported({}, (file) => written.push(file)),
        { code: 'pfx_unopened', message },
      );
      assert.deepEqual(written, []);
      await untilOrderIs(state);
      assert.equal(order().pfx, undefined);
    });

  test('the device breaks the rules', async () => {
    await imported(mail);
    const before = orders.length;
    await asMdmAdministrator(tenant, (mdm) => mdm.setNonCompliant(deviceId, { graceMs: 0, measure: 'hold' }));
    await assert.rejects(exported(), { code: 'profile_unresolvable', message: /^mail: .*breaks the rules/ });
    await asMdmAdministrator(tenant, (mdm) => mdm.setCompliant(deviceId));
    assert.equal(orders.length, before);
  });

  test('the file cannot be written; what was imported is there for the next one', async () => {
    await imported(mail);
    const full = () => {
      throw new Error('the disk is full');
    };
    await assert.rejects(exported({}, full), /disk is full/);
    await untilOrderIs('withdrawn');
    const { identities } = await exported();
    assert.equal(identities[0]?.thumbprint, thumbprintOf(mail.raw));
  });
});

/** The PFX in a file, opened by what stands beside it. */
const readers: Record<ExportOrder['format'], (file: Uint8Array) => Promise<Pkcs12>> = {
  mobileconfig: async (file) => {
    const profile = parsePlist(Buffer.from(parseSignedData(file).content ?? []).toString('utf8'));
    assert.deepEqual(faultsOfConfigurationProfile(profile), []);
    const { PayloadContent, PayloadScope } = profile as {
      readonly PayloadContent: Record<string, unknown>[];
      readonly PayloadScope: string;
    };
    assert.equal(PayloadScope, 'User');
    assert.deepEqual(
      PayloadContent.map(({ PayloadType }) => PayloadType),
      ['com.apple.security.root', 'com.apple.security.pkcs1', 'com.apple.security.pkcs12'],
    );
    const { PayloadContent: pfx, Password } = PayloadContent[2] ?? {};
    return await parsePkcs12(pfx as Uint8Array, String(Password));
  },
  syncml: async (file) => {
    const text = Buffer.from(file).toString('utf8');
    const node = (name: string) =>
      new RegExp(
        `\\./User/Vendor/MSFT/ClientCertificateInstall/PFXCertInstall/[^/<]+/${name}<.*?<Data>([^<]*)</Data>`,
      ).exec(text)?.[1] ?? assert.fail(`there is no ${name}`);
    return await parsePkcs12(Buffer.from(node('PFXCertBlob'), 'base64'), node('PFXCertPassword'));
  },
  json: async (file) => {
    const { profiles } = JSON.parse(Buffer.from(file).toString('utf8'));
    assert.deepEqual(
      profiles.map(({ kind, profileId }: Record<string, string>) => [kind, profileId]),
      [
        ['trustedCertificate', 'mail-root'],
        ['trustedCertificate', 'mail.issuer-1'],
        ['pkcs12', 'mail'],
      ],
    );
    assert.equal(profiles[1].certificate, Buffer.from(mailIssuing.raw).toString('base64'));
    const { pfx, password } = profiles[2];
    assert.notEqual(password, 'of the importer');
    return await parsePkcs12(Buffer.from(pfx, 'base64'), password);
  },
};
for (const format of exportFormats)
  test(`${format}: what was imported is in the file, under a password of the file`, async () => {
    await imported(mail);
    const { file, profiles, identities, missing, waits } = await exported({ format });
    const { certificate: leaf, privateKey, chain } = await readers[format](file);
    assert.deepEqual(Buffer.from(leaf.raw), Buffer.from(mail.raw));
    assert.deepEqual(Buffer.from(privateKey), pkcs8Of(keys.ada));
    assert.deepEqual(chain, []);
    assert.deepEqual(
      profiles.map(({ profileId }) => profileId),
      ['mail-root', 'mail.issuer-1', 'mail'],
    );
    assert.deepEqual(
      identities.map(({ profileId, thumbprint, certificateType }) => [
        profileId,
        thumbprint,
        certificateType,
      ]),
      [['mail', thumbprintOf(mail.raw), 'user']],
    );
    assert.deepEqual([missing, waits], [[], ['mail']]);
    // The MDM has no copy that could be fetched once more.
    assert.equal(order().state, 'delivered');
    assert.equal(order().pfx, undefined);
  });

test('its password can stay out of the file', async () => {
  await imported(mail);
  const { file, identities, password } = await exported({ pfx: { waitMs: WAIT_MS, password: 'asked' } });
  assert.ok(password !== undefined && !Buffer.from(file).includes(password));
  await parsePkcs12(identities[0]?.pfx ?? new Uint8Array(), password);
});

test('left out, it is named, and nothing is ordered', async () => {
  await imported(mail);
  const before = orders.length;
  const { leftOut, missing, profiles } = await exported({ pfx: 'left out' });
  assert.deepEqual([leftOut, missing], [['mail'], []]);
  assert.deepEqual(profiles, [{ kind: 'trustedCertificate', profileId: 'mail-root' }]);
  assert.equal(orders.length, before);
});

test('one that our own CA has issued stays good when its file is given up', async () => {
  await assignProfiles(tenant);
  await asMdmAdministrator(tenant, (mdm) => mdm.deleteProfile(SCEP_PROFILE));
  await assignPkcsProfile(tenant, deviceId);
  const { identities } = await exported();
  issued = 1;
  assert.deepEqual(
    identities.map(({ profileId }) => profileId),
    [PKCS_PROFILE],
  );
  const { privateKey, certificate: leaf } = await parsePkcs12(
    identities[0]?.pfx ?? new Uint8Array(),
    identities[0]?.password ?? '',
  );
  const another = await asMdmAdministrator(tenant, async (mdm) => {
    const { profile } =
      mdm.profiles().find((each) => each.profile.profileId === 'mail') ?? assert.fail('no profile');
    await mdm.upsertProfile({ ...profile, rootCertificate: 'root' });
    const device = { deviceName: 'tablet', platform: 'iOS', serialNumber: 'F2M' } as const;
    return await mdm.addDevice(device, { user: mdm.user(ada) });
  });
  await imported(leaf, { privateKey });
  const full = () => {
    throw new Error('the disk is full');
  };
  await assert.rejects(exported({ deviceId: another.deviceId }, full), /disk is full/);
  await untilOrderIs('withdrawn');
});
