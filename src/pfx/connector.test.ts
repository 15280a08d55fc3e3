import assert from 'node:assert/strict';
import { constants, createPrivateKey, publicEncrypt, randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { type FastifyError, type FastifyInstance, fastify } from 'fastify';
import { certificates as authorities, issuer } from '../../test/support/authorities-fixture.ts';
import { keys, MovableClock, rootPem, testCertificate, tlsServer } from '../../test/support/mdm-fixture.ts';
import { builtInTemplates, CertificateAuthority } from '../ca/index.ts';
import {
  buildPkcs12,
  type Decrypt,
  hex,
  nameToString,
  openEnvelopedData,
  parseEnvelopedData,
  parsePkcs12,
  publicKeyOf,
  subjectAltNameOf,
  thumbprintOf,
} from '../codec/index.ts';
import { errorCodeOf, errorTable, PkiError } from '../errors.ts';
import { orderOf } from '../mdm/imported-pfx.ts';
import { addPkcsDoor } from '../mdm/pkcs-door.ts';
import { LEASE_MS, PkcsRequests, type PkcsWish } from '../mdm/pkcs-requests.ts';
import { type EncryptedPfx, type PkcsOrder, PkcsStore, pkcsMigration } from '../mdm/pkcs-store.ts';
import { paddingSchemes, type UserPfxCertificate } from '../mdm/user-pfx-store.ts';
import { RegistrationAuthority } from '../ra/index.ts';
import { openPkiStore, type PkiStore } from '../store/index.ts';
import { SqliteFile } from '../store/sqlite.ts';
import { openLog, systemClock } from '../telemetry.ts';
import { openArchived } from './archive.ts';
import { type Archive, PfxConnector, type PfxConnectorOptions, type PfxTemplate } from './connector.ts';
import { PkcsQueue } from './pkcs-queue.ts';

const secret = randomBytes(24).toString('base64url');
const log = openLog('silent', 'pfx');
const clock = new MovableClock();
const recipient = await testCertificate({ subject: 'CN=delivery', key: keys.device, kind: 'other' });
const recovery = [
  await testCertificate({ subject: 'CN=Recovery A', key: keys.recipient, kind: 'other' }),
  await testCertificate({ subject: 'CN=Recovery B', key: keys.other, kind: 'other' }),
] as const;

let folder: string;
let store: PkiStore;
let ra: RegistrationAuthority;
let file: SqliteFile;
let requests: PkcsRequests;
let app: FastifyInstance;
let url: string;
let isWanted = true;
/** What an administrator has imported. */
let importedPfx: UserPfxCertificate | undefined;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leafgate-pfx-'));
  store = await openPkiStore({ sqlite: join(folder, 'pki.sqlite') });
  const ca = new CertificateAuthority({
    issuers: [issuer],
    templates: builtInTemplates,
    store,
    clock: systemClock,
  });
  ra = new RegistrationAuthority({
    ca,
    store,
    policies: [],
    serviceIdentity: 'LAB\\ra',
    clock: systemClock,
    log,
    holding: { sealKey: randomBytes(32), expiresAfterMs: 1, waitingMax: 0 },
  });
  file = SqliteFile.open(join(folder, 'mdm.sqlite'), [
    { name: 'devices', sql: 'CREATE TABLE device (deviceId TEXT PRIMARY KEY) STRICT;' },
    pkcsMigration,
  ]);
  requests = new PkcsRequests({
    store: new PkcsStore(file),
    isWanted: () => isWanted,
    importedPfx: () => importedPfx,
    onState: async () => {},
    clock,
    log,
  });
  app = fastify({ https: tlsServer, forceCloseConnections: true }) as unknown as FastifyInstance;
  app.setErrorHandler((error: FastifyError, _request, reply) => {
    const code = errorCodeOf(error);
    return reply.code(errorTable[code].http).send({ error: code, message: errorTable[code].text });
  });
  addPkcsDoor(app, requests, [{ name: 'connector-1', secret }], () => deviceId);
  await app.listen({ host: '127.0.0.1', port: 0 });
  url = `https://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
});

after(async () => {
  await app.close();
  file.close();
  await store.close();
  await rm(folder, { recursive: true, force: true });
});

let deviceId: string;
beforeEach(async () => {
  isWanted = true;
  importedPfx = undefined;
  deviceId = randomUUID();
  await file.commit(() => {
    file.run('DELETE FROM pkcsRequest');
    file.run('INSERT INTO device (deviceId) VALUES (?)', deviceId);
  });
  await requests.nameRecipient(deviceId, Buffer.from(recipient.raw).toString('base64'));
});

function wish(changes: Partial<PkcsOrder> = {}): PkcsWish & { readonly order: PkcsOrder } {
  return {
    deviceId,
    profileId: 'pkcs',
    profileVersion: 1,
    order: {
      certificationAuthorityName: 'issuing',
      certificateTemplateName: 'client-authentication',
      subject: `CN=${deviceId},O=Test`,
      subjectAltName: [{ type: 'uniformResourceIdentifier', value: `IntuneDeviceId://${deviceId}` }],
      keyUsage: ['digitalSignature'],
      extKeyUsage: ['1.3.6.1.5.5.7.3.2'],
      keyLength: 2048,
      ...changes,
    },
  };
}

type Queue = PfxConnectorOptions['queue'];

/** A connector, whose way to the MDM `through` may break; and its queue, to be closed. */
function connector(
  options: {
    readonly through?: (queue: Queue) => Partial<Queue>;
    readonly token?: string;
    readonly templates?: readonly PfxTemplate[];
    readonly archive?: Archive;
    readonly decrypt?: Decrypt;
  } = {},
) {
  const real = new PkcsQueue({ url, secret: options.token ?? secret, extraCa: rootPem });
  const queue: Queue = {
    take: (max) => real.take(max),
    upload: (upload) => real.upload(upload),
    acknowledge: (ticket, outcome) => real.acknowledge(ticket, outcome),
    fail: (ticket, error) => real.fail(ticket, error),
  };
  const made = new PfxConnector({
    queue: { ...queue, ...options.through?.(queue) },
    ra,
    requester: 'LAB\\svc-pfx',
    issuer: 'issuing',
    chain: [authorities.issuing, authorities.root],
    templates: options.templates ?? [{ name: 'client-authentication', archival: 'none' }],
    importKeys: [{ name: 'import-key', decrypt: options.decrypt ?? keys.recipient.decrypt }],
    form: 'modern',
    archive: options.archive,
    log,
  });
  return { round: () => made.round(), close: () => real.close() };
}

const opensWith =
  (key: typeof keys.device): Decrypt =>
  (keyTransport, encryptedKey) =>
    key.decrypt(keyTransport, encryptedKey);

async function openPfx(pfx: EncryptedPfx) {
  const opened = async (text: string) =>
    await openEnvelopedData(parseEnvelopedData(Buffer.from(text, 'base64')), opensWith(keys.device));
  const password = Buffer.from(await opened(pfx.encryptedPfxPassword)).toString('utf8');
  return await parsePkcs12(await opened(pfx.encryptedPfxBlob), password);
}

/** What became of each taking of the newest request of the device. */
async function fates(attempts: number): Promise<string[]> {
  const found: string[] = [];
  const newest = new PkcsStore(file).newest(deviceId, 'pkcs');
  for (let n = 1; n <= attempts; n += 1)
    found.push(await ra.serviceCertificate(`pfx-${newest?.requestId}-${n}`));
  return found;
}

const nothing = { delivered: 0, withdrawn: 0, refused: 0, postponed: 0 };
const dead = new Promise<never>(() => {});

describe('a request is not served', () => {
  test('to a connector with another token', async () => {
    await requests.pfxFor(wish());
    const { round, close } = connector({ token: 'other' });
    await assert.rejects(round, { code: 'token_refused' });
    close();
    assert.deepEqual(await fates(1), ['none']);
  });

  const rows: [name: string, order: Partial<PkcsOrder>, code: string][] = [
    ['a template that is not the connector’s', { certificateTemplateName: 'ra-signing' }, 'template_denied'],
    ['another issuing CA', { certificationAuthorityName: 'other' }, 'template_denied'],
    ['a purpose beyond the template', { extKeyUsage: ['1.3.6.1.5.5.7.3.3'] }, 'eku_mismatch'],
  ];
  for (const [name, order, code] of rows) {
    test(name, async () => {
      await requests.pfxFor(wish(order));
      const { round, close } = connector();
      assert.deepEqual(await round(), { ...nothing, refused: 1 });
      close();
      assert.equal(new PkcsStore(file).newest(deviceId, 'pkcs')?.error, code);
      assert.equal(await requests.pfxFor(wish(order)), 'failed');
      assert.deepEqual(await fates(1), ['none']);
    });
  }

  test('to a recipient that nothing can be encrypted to', async () => {
    await assert.rejects(requests.nameRecipient(deviceId, 'AAAA'), { code: 'request_malformed' });
  });

  test('twice at a time: while one connector has it, no other gets it', async () => {
    await requests.pfxFor(wish());
    assert.equal((await requests.take(10)).length, 1);
    assert.deepEqual(await requests.take(10), []);
    clock.offsetMs += LEASE_MS + 1;
    assert.equal((await requests.take(10))[0]?.attempt, 2);
  });
});

test('a device gets one PFX that it alone can open', async () => {
  assert.equal(await requests.pfxFor(wish()), 'pending');
  const { round, close } = connector();
  assert.deepEqual(await round(), { ...nothing, delivered: 1 });
  assert.deepEqual(await round(), nothing);
  close();
  const pfx = await requests.pfxFor(wish());
  assert.ok(typeof pfx === 'object');
  const { certificate, chain } = await openPfx(pfx);
  assert.equal(nameToString(certificate.subject), `CN=${deviceId},O=Test`);
  assert.deepEqual(subjectAltNameOf(certificate), wish().order.subjectAltName);
  assert.deepEqual(
    chain.map(({ raw }) => hex(raw)),
    [authorities.issuing, authorities.root].map(({ raw }) => hex(raw)),
  );
  await assert.rejects(
    openEnvelopedData(parseEnvelopedData(Buffer.from(pfx.encryptedPfxBlob, 'base64')), opensWith(keys.other)),
    { code: 'scep_envelope' },
  );
  // It is deleted at the MDM once the device has it, and not by word of another certificate.
  await requests.installed(deviceId, 'pkcs', 'A'.repeat(40));
  assert.ok(typeof (await requests.pfxFor(wish())) === 'object');
  await requests.installed(deviceId, 'pkcs', thumbprintOf(certificate.raw).toLowerCase());
  const delivered = new PkcsStore(file).newest(deviceId, 'pkcs');
  assert.equal(delivered?.state, 'delivered');
  assert.equal(delivered?.pfx, undefined);
});

describe('a connector dies', () => {
  const deaths: [
    name: string,
    through: (queue: Queue) => Partial<Queue>,
    fates: readonly string[],
    then: Partial<typeof nothing>,
  ][] = [
    [
      'before it brought the PFX: its certificate is revoked, and another one is made',
      () => ({ upload: () => dead }),
      ['revoked', 'issued'],
      { delivered: 1 },
    ],
    [
      'as the MDM had the PFX: the same one is delivered',
      (queue) => ({
        upload: async (upload) => {
          await queue.upload(upload);
          return await dead;
        },
      }),
      ['issued', 'none'],
      { delivered: 1 },
    ],
    [
      'before it said that the key is gone: the same one is delivered',
      () => ({ acknowledge: () => dead }),
      ['issued', 'none'],
      { delivered: 1 },
    ],
  ];
  for (const [name, through, expected, then] of deaths) {
    test(name, async () => {
      await requests.pfxFor(wish());
      let isThere = false;
      const first = connector({
        through: (queue) => {
          const broken = through(queue);
          const [verb] = Object.keys(broken) as [keyof Queue];
          const act = broken[verb] as (...values: unknown[]) => Promise<never>;
          return {
            [verb]: (...values: unknown[]) => {
              isThere = true;
              return act(...values);
            },
          };
        },
      });
      const dying = first.round();
      dying.catch(() => {});
      while (!isThere) await new Promise((resolve) => setTimeout(resolve, 10));
      // The rest of the exchange that it died in.
      await new Promise((resolve) => setTimeout(resolve, 100));
      const second = connector();
      assert.deepEqual(await second.round(), nothing, 'the lease holds');
      assert.equal(
        await requests.pfxFor(wish()),
        'pending',
        'nothing is given out before it is acknowledged',
      );
      clock.offsetMs += LEASE_MS + 1;
      assert.deepEqual(await second.round(), { ...nothing, ...then });
      first.close();
      second.close();
      assert.deepEqual(await fates(2), expected);
      const pfx = await requests.pfxFor(wish());
      assert.ok(typeof pfx === 'object');
      await openPfx(pfx);
    });
  }

  test('one that comes too late revokes what it made', async () => {
    await requests.pfxFor(wish());
    const slow = connector({
      through: (queue) => ({
        upload: async (upload) => {
          clock.offsetMs += LEASE_MS + 1;
          await queue.upload(upload);
        },
      }),
    });
    assert.deepEqual(await slow.round(), { ...nothing, postponed: 1 });
    assert.deepEqual(await fates(1), ['revoked']);
    assert.deepEqual(await slow.round(), { ...nothing, postponed: 1 });
    slow.close();
    const quick = connector();
    assert.deepEqual(await quick.round(), { ...nothing, delivered: 1 });
    quick.close();
    assert.deepEqual(await fates(3), ['revoked', 'revoked', 'issued']);
  });

  test('and nobody wants the request any more: no certificate of it stays good', async () => {
    await requests.pfxFor(wish());
    let isThere = false;
    const first = connector({
      through: () => ({
        upload: () => {
          isThere = true;
          return dead;
        },
      }),
    });
    first.round().catch(() => {});
    while (!isThere) await new Promise((resolve) => setTimeout(resolve, 10));
    isWanted = false;
    clock.offsetMs += LEASE_MS + 1;
    const second = connector();
    assert.deepEqual(await second.round(), { ...nothing, withdrawn: 1 });
    first.close();
    second.close();
    assert.deepEqual(await fates(1), ['revoked']);
    assert.equal(new PkcsStore(file).newest(deviceId, 'pkcs')?.state, 'withdrawn');
  });
});

describe('a key is archived', () => {
  test('never without recovery certificates', () => {
    assert.throws(() => connector({ templates: [{ name: 'client-authentication', archival: 'required' }] }), {
      code: 'config_invalid',
    });
  });

  test('where its template says so, for both recovery keys together', async () => {
    const kept = new Map<string, Uint8Array>();
    const archive: Archive = {
      recovery,
      put: async (id, sealed) => void kept.set(id, sealed),
      remove: async (id) => void kept.delete(id),
    };
    const { round, close } = connector({
      templates: [{ name: 'client-authentication', archival: 'required' }],
      archive,
    });
    await requests.pfxFor(wish());
    assert.deepEqual(await round(), { ...nothing, delivered: 1 });
    close();
    const pfx = await requests.pfxFor(wish());
    assert.ok(typeof pfx === 'object');
    const { certificate, privateKey } = await openPfx(pfx);
    const [sealed] = kept.values();
    assert.ok(sealed !== undefined && kept.size === 1);
    const [a, b, neither] = [keys.recipient, keys.other, keys.device].map(opensWith) as [
      Decrypt,
      Decrypt,
      Decrypt,
    ];
    for (const hands of [
      [a, a],
      [b, b],
      [a, neither],
      [neither, b],
    ] as const)
      await assert.rejects(openArchived(sealed, hands), { code: 'pfx_unopened' });
    for (const hands of [
      [a, b],
      [b, a],
    ] as const) {
      const { pkcs12 } = await openArchived(sealed, hands);
      assert.equal(hex(pkcs12.certificate.raw), hex(certificate.raw));
      assert.equal(hex(pkcs12.privateKey), hex(privateKey));
    }
  });

  test('and not where the archive cannot be written: nothing is delivered', async () => {
    const archive: Archive = {
      recovery,
      put: async () => {
        throw new Error('disk full');
      },
      remove: async () => {},
    };
    const { round, close } = connector({
      templates: [{ name: 'client-authentication', archival: 'required' }],
      archive,
    });
    await requests.pfxFor(wish());
    assert.deepEqual(await round(), { ...nothing, postponed: 1 });
    close();
    assert.deepEqual(await fates(1), ['revoked']);
    assert.equal(await requests.pfxFor(wish()), 'pending');
  });
});

describe('an imported PFX', () => {
  const password = 'Import-1 ~!';
  const certificate = recovery[1];

  /** What Graph was given: the PFX as it is, and its password encrypted to the connector. */
  async function imported(
    changes: Partial<UserPfxCertificate> & { readonly said?: string; readonly to?: typeof keys.other } = {},
  ): Promise<UserPfxCertificate> {
    const { said = password, to = keys.recipient, ...rest } = changes;
    const pfx = await buildPkcs12({
      privateKey: createPrivateKey(keys.other.pem).export({ format: 'der', type: 'pkcs8' }),
      certificate,
      chain: [],
      password,
      form: 'legacy',
    });
    const { paddingScheme = 'oaepSha512' } = rest;
    const encrypted = publicEncrypt(
      {
        key: publicKeyOf(to.spki),
        padding: constants.RSA_PKCS1_OAEP_PADDING,
        oaepHash: paddingScheme.replace('oaepSha', 'sha'),
      },
      Buffer.from(said, 'ascii'),
    );
    const at = clock.now();
    return {
      userId: randomUUID(),
      thumbprint: thumbprintOf(certificate.raw),
      intendedPurpose: 'smimeEncryption',
      userPrincipalName: 'ada@example.com',
      startDateTime: certificate.notBefore,
      expirationDateTime: certificate.notAfter,
      providerName: 'Microsoft Software Key Storage Provider',
      keyName: 'import-key',
      paddingScheme,
      encryptedPfxBlob: Buffer.from(pfx).toString('base64'),
      encryptedPfxPassword: encrypted.toString('base64'),
      createdDateTime: at,
      lastModifiedDateTime: at,
      ...rest,
    };
  }

  const importedWish = (pfx: UserPfxCertificate): PkcsWish => ({
    deviceId,
    profileId: 'pkcs',
    profileVersion: 1,
    userId: pfx.userId,
    order: orderOf(pfx),
  });

  const refusals: [name: string, changes: Parameters<typeof imported>[0], code: string][] = [
    ['whose password is encrypted to a key that is not here', { keyName: 'other' }, 'pfx_unopened'],
    ['whose password is encrypted to another key of that name', { to: keys.tls }, 'pfx_unopened'],
    ['that its password does not open', { said: 'other' }, 'pkcs12_password'],
    ['of another certificate than is said', { thumbprint: 'AB'.repeat(20) }, 'pfx_unopened'],
    ['that is no PFX', { encryptedPfxBlob: 'AAAA' }, 'pkcs12_malformed'],
  ];
  for (const [name, changes, code] of refusals) {
    test(`${name} is refused`, async () => {
      importedPfx = await imported(changes);
      const wished = importedWish(importedPfx);
      await requests.pfxFor(wished);
      const { round, close } = connector();
      assert.deepEqual(await round(), { ...nothing, refused: 1 });
      close();
      const newest = new PkcsStore(file).newest(deviceId, 'pkcs');
      assert.equal(newest?.error, code);
      assert.equal(newest.pfx, undefined);
      assert.equal(await requests.pfxFor(wished), 'failed');
      // Imported once more, it is tried at once.
      const later = { ...importedPfx, lastModifiedDateTime: new Date(clock.now().getTime() + 1) };
      assert.equal(await requests.pfxFor(importedWish(later)), 'pending');
    });
  }

  test('whose password is encrypted otherwise than is said is refused', async () => {
    importedPfx = { ...(await imported({ paddingScheme: 'oaepSha256' })), paddingScheme: 'oaepSha512' };
    await requests.pfxFor(importedWish(importedPfx));
    const { round, close } = connector();
    assert.deepEqual(await round(), { ...nothing, refused: 1 });
    close();
  });

  for (const paddingScheme of paddingSchemes) {
    test(`reaches the device alone, as it is; its password by ${paddingScheme}`, async () => {
      importedPfx = await imported({ paddingScheme });
      const wished = importedWish(importedPfx);
      assert.equal(await requests.pfxFor(wished), 'pending');
      const { round, close } = connector();
      assert.deepEqual(await round(), { ...nothing, delivered: 1 });
      assert.deepEqual(await round(), nothing);
      close();
      const pfx = await requests.pfxFor(wished);
      assert.ok(typeof pfx === 'object');
      const opened = await openPfx(pfx);
      assert.equal(hex(opened.certificate.raw), hex(certificate.raw));
      const blob = Buffer.from(importedPfx.encryptedPfxBlob, 'base64');
      const inside = await openEnvelopedData(
        parseEnvelopedData(Buffer.from(pfx.encryptedPfxBlob, 'base64')),
        opensWith(keys.device),
      );
      assert.ok(blob.equals(inside), 'the octets that were imported');
      await assert.rejects(
        openEnvelopedData(
          parseEnvelopedData(Buffer.from(pfx.encryptedPfxPassword, 'base64')),
          opensWith(keys.other),
        ),
        { code: 'scep_envelope' },
      );
      assert.deepEqual(await fates(1), ['none'], 'the CA is not asked');
      const [entry] = await store.auditEntries({ event: 'pfx.delivered', limit: 1 });
      assert.equal(entry?.detail.importedFor, 'ada@example.com');
      assert.equal(entry.detail.device, deviceId);
      assert.equal(entry.detail.recipient, thumbprintOf(recipient.raw));
    });
  }

  for (const code of ['key_unavailable', 'config_invalid'] as const)
    test(`stays asked for while the connector’s key cannot be used (${code})`, async () => {
      importedPfx = await imported();
      const wished = importedWish(importedPfx);
      await requests.pfxFor(wished);
      let fault: PkiError | undefined = new PkiError(code, 'the key is out of reach');
      const { round, close } = connector({
        decrypt: async (keyTransport, encryptedKey) => {
          if (fault !== undefined) throw fault;
          return await keys.recipient.decrypt(keyTransport, encryptedKey);
        },
      });
      assert.deepEqual(await round(), { ...nothing, postponed: 1 });
      assert.equal(await requests.pfxFor(wished), 'pending');
      fault = undefined;
      clock.offsetMs += LEASE_MS + 1;
      assert.deepEqual(await round(), { ...nothing, delivered: 1 });
      close();
    });

  for (const [name, taken, withdrawn] of [
    ['that was deleted meanwhile is brought to nobody', 0, 0],
    ['that was deleted as a connector died on it is brought to nobody', 1, 1],
  ] as const)
    test(name, async () => {
      importedPfx = await imported();
      await requests.pfxFor(importedWish(importedPfx));
      assert.equal((await requests.take(taken)).length, taken);
      clock.offsetMs += LEASE_MS + 1;
      importedPfx = undefined;
      const { round, close } = connector();
      assert.deepEqual(await round(), { ...nothing, withdrawn });
      close();
      assert.equal(new PkcsStore(file).newest(deviceId, 'pkcs')?.state, 'withdrawn');
    });

  test('whose connector dies before its delivery is on record is asked for again', async () => {
    importedPfx = await imported();
    const wished = importedWish(importedPfx);
    await requests.pfxFor(wished);
    let isThere = false;
    const first = connector({
      through: (queue) => ({
        upload: async (upload) => {
          await queue.upload(upload);
          isThere = true;
          return await dead;
        },
      }),
    });
    first.round().catch(() => {});
    while (!isThere) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal(await requests.pfxFor(wished), 'pending', 'nothing is given out before it is acknowledged');
    clock.offsetMs += LEASE_MS + 1;
    const second = connector();
    assert.deepEqual(await second.round(), { ...nothing, withdrawn: 1 });
    assert.equal(await requests.pfxFor(wished), 'pending');
    assert.deepEqual(await second.round(), { ...nothing, delivered: 1 });
    first.close();
    second.close();
    assert.ok(typeof (await requests.pfxFor(wished)) === 'object');
  });
});
