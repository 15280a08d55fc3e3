/**
 * `npm run demo:intune`: a tenant whose Intune is the stand-in, over HTTPS and with a token endpoint of its own: each of
 * Intune's refusals, what it is told of a certificate, and what becomes of one that it does not take.
 */
import { execFile } from 'node:child_process';
import { createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { parse as parsePlist } from 'plist';
import { validateXML } from 'xmllint-wasm';
import type { Device } from '../src/agent/index.ts';
import { buildPem, nameFromString, parseCrl, parsePem, thumbprintOf } from '../src/codec/index.ts';
import { readConfig } from '../src/config.ts';
import { privateKeyOf } from '../src/keys/index.ts';
import { faultsOfConfigurationProfile } from '../src/mdm/export/index.ts';
import {
  buildChallenge,
  type ChallengePayload,
  type ChallengeSigner,
  parseChallenge,
} from '../src/mdm/index.ts';
import { openIdentity } from '../src/parts/identity.ts';
import { buildSelfSigned, type CertRep } from '../src/scep/index.ts';
import { Checks, demand } from './checks.ts';
import { leafgate, leafgateJson } from './command.ts';
import { asMdmAdministrator, deviceNamed, SCEP_PROFILE } from './fleet.ts';
import { aim, fire, newKey, type Order, orderFor, orderIn, type Shot, serverAuthToo } from './hostile.ts';
import { failingCodes, type HostileIntune, rewrite, startHostileIntune } from './hostile-intune.ts';
import { runInFolder } from './in-folder.ts';
import { bringUp } from './start.ts';
import { openTenant, type Tenant } from './tenant.ts';

interface CertificateRow {
  readonly serialNumber: string;
  readonly thumbprint: string;
  readonly status: string;
}

/** What `leafgate explain LG-…` says, as far as it is looked at here. */
interface Explained {
  readonly entry: { readonly code: string; readonly detail: Readonly<Record<string, string>> };
  readonly cause?: string;
  readonly mend?: string;
}

/** What the parts of the demo work with. */
interface Demo {
  readonly checks: Checks;
  readonly tenant: Tenant;
  readonly hostile: HostileIntune;
  readonly device: Device;
}

/** What takes a retry or a round of housekeeping happens within this. */
const SOON_MS_MAX = 60_000;
const POLL_MS = 500;

async function runIn(folder: string): Promise<0 | 1> {
  // Made before its parts are started: the hostile Intune takes the stand-in's place in their configuration.
  const progress = (text: string) => console.log(`  ${text}`);
  const tenant = await openTenant(folder, { ports: 'any', progress });
  const hostile = await startHostileIntune(tenant, 1, {});
  const secret = randomBytes(32).toString('base64url');
  for (const part of ['mdm', 'server'])
    await writeFile(join(folder, part, 'pfx.secret'), secret, { mode: 0o600 });
  await makeImportKey(folder);
  await rewrite(tenant.configs.mdm, (config) => {
    const { mdm } = config as { readonly mdm: Record<string, unknown> & { readonly applications: object[] } };
    mdm.profileSigner = { certificate: mdm.certificate, key: mdm.key };
    mdm.applications.push({ ...IMPORTER, secret: 'file:importer.secret' });
    mdm.pkcsConnectors = [{ name: 'pfx-1', secret: 'file:pfx.secret' }];
  });
  await rewrite(tenant.configs.server, (config) => {
    const { server } = config as {
      readonly server: Record<string, unknown> & {
        readonly endpoints: { readonly validators: { readonly intune?: Record<string, unknown> }[] }[];
      };
    };
    server.pfx = {
      mdm: tenant.urls.mdm,
      extraCa: 'chain.pem',
      secret: 'file:pfx.secret',
      requester: PFX_REQUESTER,
      issuer: 'issuing',
      templates: [{ name: 'client-authentication' }],
      importKeys: [
        { name: IMPORT_KEY, key: { file: 'import.key.pem', passphrase: 'file:import.passphrase' } },
      ],
      every: '1s',
    };
    for (const { validators } of server.endpoints)
      for (const { intune } of validators) if (intune !== undefined) intune.revocation = { every: '1s' };
  });
  try {
    const { running } = await bringUp(folder, 'any');
    try {
      const demo: Demo = {
        checks: new Checks(),
        tenant,
        hostile,
        device: await deviceNamed(tenant, 'laptop-1'),
      };
      await proveSuccess(demo);
      await proveRefusals(demo);
      await proveWithholding(demo);
      await proveLifecycle(demo);
      await proveExports(demo);
      await provePkcs(demo);
      await proveExportedPfx(demo);
      await proveImportedPfx(demo);
      return demo.checks.conclude();
    } finally {
      await running.stop();
    }
  } finally {
    await hostile.close();
  }
}

async function certificates(tenant: Tenant): Promise<CertificateRow[]> {
  return await leafgateJson<CertificateRow[]>(
    ...['ca', 'list', '--config', tenant.configs.server, '--limit', '1000'],
  );
}

/** Asks until the answer is there. @throws Error with what is missing. */
async function until<T>(missing: string, ask: () => Promise<T | undefined>): Promise<T> {
  const deadline = performance.now() + SOON_MS_MAX;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    demand(performance.now() < deadline, missing);
    await sleep(POLL_MS);
  }
}

/** Sends a message, and the same again while the server says that it cannot answer now. */
async function answerTo(tenant: Tenant, shot: Shot): Promise<CertRep> {
  return await until('the server has no answer', () => fire(tenant, shot).catch(() => undefined));
}

// --- success ------------------------------------------------------------------------------------------------------

async function proveSuccess({ checks, tenant, hostile, device }: Demo): Promise<void> {
  const [identity] = await device.identities();
  if (identity === undefined) throw new Error('the first device has no certificate');
  const thumbprint = thumbprintOf(identity.certificate.raw);
  checks.section('The first certificate, as Intune saw it');
  await checks.check('the server got its tokens over HTTPS, and found the service by discovery', async () => {
    const [tokens, found] = [hostile.count('token', 'calls'), hostile.count('discovery', 'calls')];
    demand(tokens > 0 && found > 0, `${tokens} tokens, ${found} discoveries`);
    return `${tokens} tokens, ${found} discovery`;
  });
  await checks.check('validateRequest, then successNotification, each answered Success', async () => {
    const seen = hostile.told.map(({ call, answer }) => `${call} ${answer}`);
    demand(seen.join() === 'validateRequest Success,successNotification Success', seen.join(', '));
    demand(hostile.told[1]?.thumbprint === thumbprint, 'of another certificate');
    return thumbprint;
  });
  await checks.check('Intune’s record of the device says so too', async () => {
    const { deviceId } = device.folder.identity;
    return await asMdmAdministrator(tenant, async (mdm) => {
      const [notification] = mdm.notifications(deviceId);
      const state = mdm.profileStates(deviceId).find(({ profileId }) => profileId === SCEP_PROFILE);
      demand(notification?.kind === 'success', 'there is no notification');
      demand(state?.thumbprint === thumbprint, `the state names ${state?.thumbprint}`);
      return state.issuanceState;
    });
  });
}

// --- refusal ------------------------------------------------------------------------------------------------------

/** A refusal: the code, and the request or the state that provokes it; without one the hostile Intune says it. */
type Provocation = readonly [code: string, what: string, shot: () => Promise<Shot>];

async function proveRefusals(demo: Demo): Promise<void> {
  const { checks, tenant, hostile } = demo;
  const before = (await certificates(tenant)).length;
  const real = await provocations(demo);
  const refused = async (code: string, shot: Shot) => {
    const answer = await fire(tenant, shot);
    demand(answer.pkiStatus === 'FAILURE', `it was answered ${answer.pkiStatus}`);
    const reference = /LG-\w+/.exec(answer.failInfoText ?? '')?.[0] ?? '';
    const explained = await leafgateJson<Explained>(
      ...['explain', reference, '--config', tenant.configs.server],
    );
    const { entry, cause = '', mend = '' } = explained;
    demand(
      JSON.stringify(entry.detail).includes(code),
      `the audit list says ${JSON.stringify(entry.detail)}`,
    );
    demand(cause !== '' && mend !== '', `${entry.code} is not explained`);
    return `${entry.code}, ${reference}: ${cause}`;
  };

  checks.section('Intune’s refusals, provoked: refused, audited, explained');
  for (const [code, what, shot] of real) {
    await checks.check(`${code}: ${what}`, async () => {
      const aimed = await shot();
      const said = await refused(code, aimed);
      const told = hostile.told.filter(({ transactionId }) => transactionId === aimed.transactionID);
      demand(told.length === 1 && told[0]?.answer === code, 'the stand-in did not say so');
      return said;
    });
  }

  checks.section('… and those that no device can provoke through this server: the hostile Intune says them');
  const rest = failingCodes.filter((code) => !real.some(([provoked]) => provoked === code));
  for (const code of rest) {
    await checks.check(code, async () => {
      const shot = await aim(tenant, await orderFor(tenant, demo.device), newKey());
      hostile.answerNext('validateRequest', code);
      return await refused(code, shot);
    });
  }
  await asMdmAdministrator(tenant, (mdm) => mdm.deleteProfile(USER_PROFILE));
  await checks.check(
    'all failing codes of Intune’s list were seen, and no certificate was made',
    async () => {
      const after = (await certificates(tenant)).length;
      demand(after === before, `${after - before} certificates`);
      demand(failingCodes.length === 24, `${failingCodes.length} codes`);
      return `${real.length} provoked, ${rest.length} said`;
    },
  );
}

async function provocations({ tenant, device }: Demo): Promise<readonly Provocation[]> {
  const other = await deviceNamed(tenant, 'laptop-2');
  const key = newKey();
  const changed =
    (change: (order: Order) => Partial<Order>, signingKey = () => key) =>
    async () => {
      const order = await orderFor(tenant, device);
      return await aim(tenant, { ...order, ...change(order) }, signingKey());
    };
  const after = (name: string, withdraw: (deviceId: string) => Promise<void>) => async () => {
    const gone = await deviceNamed(tenant, name);
    const order = await orderFor(tenant, gone);
    await withdraw(gone.folder.identity.deviceId);
    return await aim(tenant, order, key);
  };
  const forged = (forge: (payload: ChallengePayload, parties: Parties) => Promise<string>) => async () => {
    const order = await orderFor(tenant, device);
    const challenge = await withParties(tenant, async (parties) => {
      const reading = await parseChallenge(order.challenge, parties.signer.certificate, parties.recipient);
      if (reading.code !== 'Success') throw new Error(`the challenge cannot be read: ${reading.code}`);
      return await forge(reading.payload, parties);
    });
    return await aim(tenant, { ...order, challenge }, key);
  };

  return [
    [
      'ChallengeDecodingError',
      'a challenge of the device’s own making',
      changed(() => ({ challenge: Buffer.from('let me in').toString('base64') })),
    ],
    [
      'SignatureValidationFailed',
      'a challenge that a stranger signed',
      forged(async (payload, { recipient }) =>
        buildChallenge(payload, await stranger(), recipient.certificate),
      ),
    ],
    [
      'ChallengeDecryptionError',
      'a challenge that is encrypted to a stranger',
      forged(async (payload, { signer }) => buildChallenge(payload, signer, (await stranger()).certificate)),
    ],
    [
      'ChallengeDeserializationError',
      'a challenge of a version that is not known',
      forged((payload, { signer, recipient }) =>
        buildChallenge({ ...payload, version: 99 as 1 }, signer, recipient.certificate),
      ),
    ],
    [
      'ChallengeInvalidTimestamp',
      'a challenge from the future',
      async () => aim(tenant, await orderFor(tenant, device, -30), key),
    ],
    [
      'ChallengeExpired',
      'a challenge that is 61 minutes old',
      async () => aim(tenant, await orderFor(tenant, device, 61), key),
    ],
    [
      'BadCertificateRequestIdInChallenge',
      'another device’s challenge',
      async () => {
        const { challenge } = await orderFor(tenant, device);
        return await aim(tenant, { ...(await orderFor(tenant, other)), challenge }, key);
      },
    ],
    [
      'BadDeviceIdInChallenge',
      'a device that was retired meanwhile',
      after('laptop-3', (deviceId) =>
        asMdmAdministrator(tenant, (mdm) => mdm.setDeviceState(deviceId, 'retired')),
      ),
    ],
    [
      'BadUserIdInChallenge',
      'a device that was given to another user meanwhile',
      () => handedOn(tenant, other),
    ],
    [
      'ScepProfileNoLongerTargetedToTheClient',
      'a device that the profile was taken from meanwhile',
      after('laptop-4', (deviceId) =>
        asMdmAdministrator(tenant, (mdm) => mdm.excludeDevice(SCEP_PROFILE, deviceId)),
      ),
    ],
    ['SubjectNameMissing', 'no subject', changed(() => ({ subject: '' }))],
    ['SubjectNameMismatch', 'another subject', changed(() => ({ subject: 'CN=domain-controller,O=LAB' }))],
    ['SubjectAltNameMissing', 'no subject alternative name', changed(() => ({ subjectAltName: [] }))],
    [
      'SubjectAltNameMismatch',
      'another subject alternative name',
      changed(() => ({ subjectAltName: [{ type: 'userPrincipalName', value: 'administrator@lab.test' }] })),
    ],
    [
      'KeyUsageMismatch',
      'another key usage',
      changed(() => ({ keyUsage: ['digitalSignature', 'nonRepudiation'] })),
    ],
    ['EnhancedKeyUsageMissing', 'no extended key usage', changed(() => ({ extKeyUsage: [] }))],
    [
      'EnhancedKeyUsageMismatch',
      'a larger extended key usage',
      changed(() => ({ extKeyUsage: serverAuthToo })),
    ],
    [
      'KeyLengthMismatch',
      'a larger key',
      changed(
        () => ({}),
        () => newKey(3072),
      ),
    ],
  ];
}

/** Who makes challenges in the tenant, and who reads them. */
interface Parties {
  readonly signer: ChallengeSigner;
  readonly recipient: Parameters<typeof parseChallenge>[2];
}

async function withParties<T>(tenant: Tenant, work: (parties: Parties) => Promise<T>): Promise<T> {
  const { mdm } = readConfig(tenant.configs.mdm);
  if (mdm === undefined) throw new Error('the tenant has no MDM');
  const signer = await openIdentity(mdm.challengeSigner, 'sign');
  const recipient = await openIdentity(mdm.challengeRecipient, 'decrypt');
  return await work({
    signer: { certificate: signer.certificate, sign: (algorithm, data) => signer.key.sign(algorithm, data) },
    recipient: {
      certificate: recipient.certificate,
      decrypt: (transport, encryptedKey) => recipient.key.decrypt(transport, encryptedKey),
    },
  });
}

/** Somebody of whom the tenant knows nothing. */
async function stranger(): Promise<ChallengeSigner> {
  const key = privateKeyOf(generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey);
  const certificate = await buildSelfSigned(
    {
      subject: nameFromString('CN=challenge-signer'),
      spki: key.spki,
      notBefore: new Date(Date.now() - 3_600_000),
      notAfter: new Date(Date.now() + 3_600_000),
    },
    (algorithm, data) => key.sign(algorithm, data),
  );
  return { certificate, sign: (algorithm, data) => key.sign(algorithm, data) };
}

const USER_PROFILE = 'scep-user';

/** A request with a challenge that was made for the user before. */
async function handedOn(tenant: Tenant, device: Device): Promise<Shot> {
  const { deviceId } = device.folder.identity;
  const userNamed = (name: string) => ({ userId: randomUUID(), userPrincipalName: `${name}@lab.test` });
  const order = await asMdmAdministrator(tenant, async (mdm) => {
    const known = mdm.profiles().find(({ profile }) => profile.profileId === SCEP_PROFILE);
    await mdm.setDeviceUser(deviceId, userNamed('ada'));
    await mdm.upsertProfile({
      ...known?.profile,
      profileId: USER_PROFILE,
      displayName: 'LAB user certificate',
      certificateType: 'user',
      subjectNameFormat: 'CN={{UserPrincipalName}},O=LAB',
    });
    const made = await orderIn(mdm, deviceId, USER_PROFILE);
    await mdm.setDeviceUser(deviceId, userNamed('grace'));
    return made;
  });
  return await aim(tenant, order, newKey());
}

// --- withholding --------------------------------------------------------------------------------------------------

async function proveWithholding({ checks, tenant, hostile, device }: Demo): Promise<void> {
  const shot = async () => await aim(tenant, await orderFor(tenant, device), newKey());
  const recordOf = async (thumbprint: string) =>
    (await certificates(tenant)).find((row) => row.thumbprint === thumbprint);

  checks.section('A hostile Intune');
  await checks.check('a certificate that Intune does not take is withheld and revoked', async () => {
    const aimed = await shot();
    hostile.answerNext('successNotification', 'NotOnAnyList');
    const answer = await answerTo(tenant, aimed);
    demand(answer.pkiStatus === 'FAILURE', `it was answered ${answer.pkiStatus}`);
    const { thumbprint = '' } =
      hostile.told.findLast(({ transactionId }) => transactionId === aimed.transactionID) ?? {};
    return await until('it is not revoked', async () => {
      const row = await recordOf(thumbprint);
      return row?.status === 'revoked' ? `${row.serialNumber}, revoked` : undefined;
    });
  });
  await checks.check('a service that moved, and spells its name in another way, is found again', async () => {
    const found = hostile.count('discovery', 'mixedCase');
    hostile.move();
    hostile.spoil({ mixedCase: 100 });
    const answer = await answerTo(tenant, await shot());
    hostile.spoil({});
    demand(answer.pkiStatus === 'SUCCESS', `it was answered ${answer.pkiStatus}`);
    demand(hostile.count('discovery', 'mixedCase') > found, 'nobody asked where it is');
    return undefined;
  });
  for (const fault of ['unauthorized', 'throttled', 'failedBefore', 'cutAfter'] as const) {
    await checks.check(
      `${fault}, and nothing works: no certificate; when it is over, there is one`,
      async () => {
        const aimed = await shot();
        const before = (await certificates(tenant)).length;
        hostile.spoil({ [fault]: 100 });
        const refused = await fire(tenant, aimed).then(
          (answer) => answer.pkiStatus,
          (cause: Error) => cause.message.slice(0, 8),
        );
        hostile.spoil({});
        demand(refused === 'HTTP 503', `it was answered ${refused}`);
        demand((await certificates(tenant)).length === before, 'a certificate was made');
        const answer = await answerTo(tenant, aimed);
        demand(answer.pkiStatus === 'SUCCESS', `later it was answered ${answer.pkiStatus}`);
        return undefined;
      },
    );
  }
}

// --- lifecycle ----------------------------------------------------------------------------------------------------

/** What an administrator does with a device, and what relying parties see of its certificate then. */
const changes: readonly (readonly [
  what: string,
  command: (deviceId: string) => readonly string[],
  seen: 'revoked' | 'on hold' | 'good',
])[] = [
  ['retire', (deviceId) => ['retire', deviceId], 'revoked'],
  ['wipe', (deviceId) => ['wipe', deviceId], 'revoked'],
  ['unassign', (deviceId) => ['assign', SCEP_PROFILE, '--all', '--not-device', deviceId], 'revoked'],
  ['non-compliance', (deviceId) => ['non-compliant', deviceId, '--measure', 'revoke'], 'revoked'],
  ['loss', (deviceId) => ['lost', deviceId], 'on hold'],
];

async function proveLifecycle({ checks, tenant, hostile }: Demo): Promise<void> {
  const devices = new Map<
    string,
    { readonly deviceId: string; readonly serial: string; readonly file: string }
  >();
  const mdm = (...command: readonly string[]) => leafgate('mdm', ...command, '--config', tenant.configs.mdm);

  checks.section('What becomes of a device: its certificate is revoked, in the CRL and by OCSP');
  await checks.check(`${changes.length} devices enrol, and their certificates are good`, async () => {
    for (const [what] of changes) {
      const device = await deviceNamed(tenant, `to-${what}`);
      const [identity] = await until('it gets no certificate', async () => {
        await device.sync();
        const identities = await device.identities();
        return identities.length === 0 ? undefined : identities;
      });
      if (identity === undefined) throw new Error('there is no identity');
      const { certificate } = identity;
      const file = join(tenant.folder, `to-${what}.pem`);
      await writeFile(file, buildPem('CERTIFICATE', certificate.raw));
      devices.set(what, {
        deviceId: device.folder.identity.deviceId,
        serial: certificate.serialNumber,
        file,
      });
      await untilSeen(tenant, file, certificate.serialNumber, 'good');
    }
    return undefined;
  });
  // Each request comes twice, and some come again after they were answered.
  hostile.spoil({ duplicated: 100, failedBefore: 15, throttled: 10 });
  for (const [what, command, seen] of changes) {
    await checks.check(`${what}: ${seen}`, async () => {
      const { deviceId, serial, file } = devices.get(what) ?? { deviceId: '', serial: '', file: '' };
      await mdm(...command(deviceId));
      return await untilSeen(tenant, file, serial, seen);
    });
  }
  await checks.check('found again: good', async () => {
    const { deviceId, serial, file } = devices.get('loss') ?? { deviceId: '', serial: '', file: '' };
    await mdm('found', deviceId);
    return await untilSeen(tenant, file, serial, 'good');
  });
  hostile.spoil({});
  await checks.check(
    'each request came more than once, and Intune has an answer to all of them',
    async () => {
      const twice = hostile.count('downloadRevocationRequests', 'duplicated');
      demand(twice > 0, 'no answer was doubled');
      await until('requests wait still', async () => {
        const rows = await leafgateJson<object[]>(...['mdm', 'revocations', '--config', tenant.configs.mdm]);
        return rows.length > 0 ? undefined : rows;
      });
      return `${hostile.count('uploadRevocationResults', 'calls')} uploads`;
    },
  );
}

/** Waits until CRL and OCSP both say so. */
async function untilSeen(
  tenant: Tenant,
  file: string,
  serialNumber: string,
  wanted: 'revoked' | 'on hold' | 'good',
): Promise<string> {
  let seen = '';
  return await until(`CRL and OCSP do not say ${wanted}`, async () => {
    const crl = await crlStatus(tenant, serialNumber);
    const ocsp = await ocspStatus(tenant, file);
    seen = `CRL: ${crl}, OCSP: ${ocsp}`;
    return crl === wanted && ocsp === wanted ? seen : undefined;
  }).catch((cause: Error) => {
    throw new Error(`${cause.message}: ${seen}`);
  });
}

async function crlStatus(tenant: Tenant, serialNumber: string): Promise<string> {
  const answer = await fetch(tenant.urls.crl);
  demand(answer.ok, `the CRL: HTTP ${answer.status}`);
  const { revoked } = parseCrl(new Uint8Array(await answer.arrayBuffer()));
  const entry = revoked.find((one) => one.serialNumber === serialNumber);
  if (entry === undefined) return 'good';
  return entry.reason === 'certificateHold' ? 'on hold' : 'revoked';
}

async function ocspStatus(tenant: Tenant, file: string): Promise<string> {
  const { stdout } = await promisify(execFile)('openssl', [
    ...['ocsp', '-url', tenant.urls.ocsp, '-CAfile', tenant.rootFile, '-verify_other', tenant.chainFile],
    ...['-issuer', tenant.chainFile, '-cert', file],
  ]);
  const [, status = 'no status'] = /: (good|revoked|unknown)$/m.exec(stdout) ?? [];
  return status === 'revoked' && /Reason: certificateHold/.test(stdout) ? 'on hold' : status;
}

// --- exports ------------------------------------------------------------------------------------------------------

async function proveExports({ checks, tenant, device }: Demo): Promise<void> {
  const at = (name: string) => join(tenant.folder, name);
  const exported = async (format: string, name: string) => {
    await leafgate(
      ...['mdm', 'export', device.folder.identity.deviceId, '--format', format, '--output', at(name)],
      ...['--config', tenant.configs.mdm],
    );
    return at(name);
  };
  const openssl = promisify(execFile);

  checks.section('The device’s profiles, for real operating systems');
  await checks.check(
    '.mobileconfig: openssl verifies its signature, and it reads as Apple documents it',
    async () => {
      const signed = await exported('mobileconfig', 'laptop.mobileconfig');
      const plist = at('laptop.plist');
      for (const command of ['cms', 'smime']) {
        await openssl('openssl', [
          ...[command, '-verify', '-inform', 'DER', '-in', signed, '-out', plist],
          ...['-CAfile', tenant.rootFile, '-purpose', 'any'],
        ]);
      }
      const profile = parsePlist(await readFile(plist, 'utf8')) as unknown as {
        readonly PayloadContent: readonly {
          readonly PayloadType: string;
          readonly PayloadContent: Record<string, unknown>;
        }[];
      };
      const faults = faultsOfConfigurationProfile(profile);
      demand(faults.length === 0, faults.join('; '));
      const types = profile.PayloadContent.map(({ PayloadType }) =>
        PayloadType.replace('com.apple.security.', ''),
      );
      demand(types.join() === 'root,pkcs1,scep', types.join());
      const scep = profile.PayloadContent.at(-1)?.PayloadContent;
      demand(scep?.URL === tenant.urls.scep, `the URL is ${scep?.URL}`);
      demand(typeof scep.Challenge === 'string' && scep.Challenge.length > 100, 'it has no challenge');
      return types.join(', ');
    },
  );
  await checks.check('… and one that was changed does not verify', async () => {
    const bytes = await readFile(at('laptop.mobileconfig'));
    const place = bytes.indexOf('PayloadIdentifier');
    demand(place > 0, 'there is nothing to change');
    bytes[place] = 0x71;
    await writeFile(at('changed.mobileconfig'), bytes);
    const said = await openssl('openssl', [
      ...['cms', '-verify', '-inform', 'DER', '-in', at('changed.mobileconfig')],
      ...['-CAfile', tenant.rootFile, '-purpose', 'any'],
    ]).then(
      () => 'verified',
      () => 'refused',
    );
    demand(said === 'refused', said);
    return said;
  });
  await checks.check('SyncML keeps the schema, one without a Format does not', async () => {
    const xml = await readFile(await exported('syncml', 'laptop.xml'), 'utf8');
    const { valid, errors } = await judgeSyncml(xml);
    demand(valid, errors.map(({ message }) => message).join('; '));
    const without = xml.replace(/<Meta>.*?<\/Meta>/, '');
    demand(without !== xml && !(await judgeSyncml(without)).valid, 'the schema lets everything pass');
    const nodes = [...xml.matchAll(/<LocURI>/g)].length;
    demand(nodes > 10, `${nodes} nodes`);
    return `${nodes} nodes`;
  });
  await checks.check('JSON has the same challenge-bearing profile', async () => {
    const json = JSON.parse(await readFile(await exported('json', 'laptop.json'), 'utf8')) as {
      readonly profiles: readonly { readonly kind: string; readonly challenge?: string }[];
    };
    const kinds = json.profiles.map(({ kind }) => kind);
    demand(
      json.profiles.some(({ kind, challenge }) => kind === 'scep' && challenge !== undefined),
      kinds.join(),
    );
    return kinds.join(', ');
  });
}

/** What the schema says of a body. */
async function judgeSyncml(contents: string) {
  const schema = (name: string) => readFile(new URL(`./schemas/${name}`, import.meta.url), 'utf8');
  return await validateXML({
    xml: { fileName: 'profiles.xml', contents },
    schema: { fileName: 'syncml.xsd', contents: await schema('syncml.xsd') },
    preload: { fileName: 'syncml-meta.xsd', contents: await schema('syncml-meta.xsd') },
  });
}

// --- PKCS ---------------------------------------------------------------------------------------------------------

const PFX_REQUESTER = 'LAB\\svc-leafgate-pfx';
const PKCS_PROFILE = 'pkcs-device';

async function provePkcs({ checks, tenant, device }: Demo): Promise<void> {
  checks.section('A PKCS profile: the connector makes the key, the device alone can open it');
  await checks.check('the device gets key and certificate, which belong together', async () => {
    await asMdmAdministrator(tenant, async (mdm) => {
      const known = mdm.profiles().find(({ profile }) => profile.profileId === SCEP_PROFILE)?.profile;
      if (known?.kind !== 'scep') throw new Error('there is no SCEP profile');
      await mdm.upsertProfile({
        kind: 'pkcs',
        profileId: PKCS_PROFILE,
        displayName: 'LAB PKCS certificate',
        certificateType: 'device',
        subjectNameFormat: 'CN={{DeviceId}},OU=PKCS,O=LAB',
        keyUsage: known.keyUsage,
        extendedKeyUsages: known.extendedKeyUsages,
        certificationAuthorityName: 'issuing',
        certificateTemplateName: 'client-authentication',
        rootCertificate: 'root',
      });
    });
    const identity = await until('it gets none', async () => {
      await device.sync();
      return (await device.identities()).find(({ profileId }) => profileId === PKCS_PROFILE);
    });
    const { certificate, chain, keyPath, keyPassphrasePath } = identity;
    const key = createPrivateKey({
      key: await readFile(keyPath, 'utf8'),
      passphrase: (await readFile(keyPassphrasePath, 'utf8')).trim(),
    });
    const spki = createPublicKey(key).export({ type: 'spki', format: 'der' });
    demand(spki.equals(certificate.spki), 'the key is of another certificate');
    const file = (name: string) => join(tenant.folder, name);
    await writeFile(file('pkcs.pem'), buildPem('CERTIFICATE', certificate.raw));
    await writeFile(file('pkcs-chain.pem'), chain.map((one) => buildPem('CERTIFICATE', one.raw)).join(''));
    const { stdout } = await promisify(execFile)('openssl', [
      ...['verify', '-x509_strict', '-purpose', 'sslclient', '-CAfile', tenant.rootFile],
      ...['-untrusted', file('pkcs-chain.pem'), file('pkcs.pem')],
    ]);
    return `${certificate.serialNumber}, openssl verify: ${stdout.trim().split(': ').at(-1)}`;
  });
  await checks.check('the audit list has the delivery, by the connector’s own name', async () => {
    const [entry] = await leafgateJson<{ readonly actor: string; readonly detail: Record<string, string> }[]>(
      ...['audit', 'list', '--config', tenant.configs.server, '--event', 'pfx.delivered'],
    );
    demand(entry?.actor === PFX_REQUESTER, `the actor is ${entry?.actor}`);
    return `${entry.actor}, ${entry.detail.requestID}`;
  });
}

/** For a device that has no agent: the connector makes the key, and it is in the file. */
async function proveExportedPfx({ checks, tenant }: Demo): Promise<void> {
  const at = (name: string) => join(tenant.folder, name);
  const openssl = async (...words: string[]) => (await promisify(execFile)('openssl', words)).stdout;
  const { deviceId } = await leafgateJson<{ readonly deviceId: string }>(
    ...['mdm', 'add-device', 'phone', '--platform', 'iOS', '--config', tenant.configs.mdm],
  );
  const exported = async (format: string, name: string, ...more: string[]) => {
    const words = ['mdm', 'export', deviceId, '--format', format, '--output', at(name), ...more];
    await leafgate(...words, '--config', tenant.configs.mdm);
    return at(name);
  };
  const written: string[] = [];
  /** By OpenSSL alone: the key in the PFX is its certificate's, which leads to the root. */
  const judge = async (pfx: Uint8Array, password: string, name: string) => {
    await writeFile(at(`${name}.p12`), pfx);
    await writeFile(at(`${name}.password`), password, { mode: 0o600 });
    const pem = await openssl(
      ...['pkcs12', '-in', at(`${name}.p12`), '-noenc', '-passin', `file:${at(`${name}.password`)}`],
    );
    await writeFile(at(`${name}.pem`), pem, { mode: 0o600 });
    const [ofKey, ofCertificate] = [
      await openssl('pkey', '-in', at(`${name}.pem`), '-pubout'),
      await openssl('x509', '-in', at(`${name}.pem`), '-noout', '-pubkey'),
    ];
    demand(ofKey === ofCertificate, 'the key is of another certificate');
    await openssl(
      ...['verify', '-x509_strict', '-purpose', 'sslclient', '-CAfile', tenant.rootFile],
      ...['-untrusted', tenant.chainFile, at(`${name}.pem`)],
    );
    const subject = await openssl('x509', '-in', at(`${name}.pem`), '-noout', '-subject');
    demand(subject.includes(deviceId), `its subject is ${subject}`);
    const serial = (await openssl('x509', '-in', at(`${name}.pem`), '-noout', '-serial')).trim();
    demand(!written.includes(serial), 'it is in another file, too');
    written.push(serial);
    return serial.replace('serial=', '');
  };

  checks.section('… and for a device without an agent, in its file');
  await checks.check('.mobileconfig: com.apple.security.pkcs12 opens with its Password', async () => {
    const file = await exported('mobileconfig', 'phone.mobileconfig');
    const plist = at('phone.plist');
    await openssl(
      ...['smime', '-verify', '-inform', 'DER', '-in', file, '-out', plist, '-CAfile', tenant.rootFile],
      ...['-purpose', 'any'],
    );
    const profile = parsePlist(await readFile(plist, 'utf8')) as unknown as {
      readonly PayloadContent: readonly {
        readonly PayloadType: string;
        readonly PayloadContent: Uint8Array;
        readonly Password?: string;
      }[];
    };
    const faults = faultsOfConfigurationProfile(profile);
    demand(faults.length === 0, faults.join('; '));
    const payload = profile.PayloadContent.find(
      ({ PayloadType }) => PayloadType === 'com.apple.security.pkcs12',
    );
    if (payload?.Password === undefined) throw new Error('there is no PFX with its password');
    return await judge(payload.PayloadContent, payload.Password, 'phone-apple');
  });
  await checks.check('SyncML: PFXCertInstall keeps the schema, PFXCertBlob opens', async () => {
    const xml = await readFile(await exported('syncml', 'phone.xml', '--replace'), 'utf8');
    const { valid, errors } = await judgeSyncml(xml);
    demand(valid, errors.map(({ message }) => message).join('; '));
    const dataOf = (node: string) =>
      new RegExp(`/PFXCertInstall/[^/]+/${node}</LocURI></Target><Meta>.*?</Meta><Data>(.*?)</Data>`).exec(
        xml,
      )?.[1];
    const [blob, password] = [dataOf('PFXCertBlob'), dataOf('PFXCertPassword')];
    if (blob === undefined || password === undefined) throw new Error('there is no PFX with its password');
    return await judge(Buffer.from(blob, 'base64'), password, 'phone-windows');
  });
  await checks.check('JSON: pfx opens with its password', async () => {
    const { profiles } = JSON.parse(await readFile(await exported('json', 'phone.json'), 'utf8')) as {
      readonly profiles: readonly {
        readonly kind: string;
        readonly pfx: string;
        readonly password: string;
      }[];
    };
    const found = profiles.find(({ kind }) => kind === 'pkcs12');
    if (found === undefined) throw new Error('there is no PFX');
    return await judge(Buffer.from(found.pfx, 'base64'), found.password, 'phone-json');
  });
  await checks.check('… and when the device is wiped, all three certificates are revoked', async () => {
    await leafgate('mdm', 'wipe', deviceId, '--config', tenant.configs.mdm);
    return await until('they stay good', async () => {
      const serials = written.map((text) => text.replace('serial=', '').toLowerCase());
      const statuses = await Promise.all(serials.map((serial) => crlStatus(tenant, serial)));
      return statuses.every((status) => status === 'revoked') ? statuses.join(', ') : undefined;
    });
  });
}

// --- imported PFX -------------------------------------------------------------------------------------------------

const IMPORT_KEY = 'PFXEncryptionKey';
const IMPORTED_PROFILE = 'smime-encryption';
const IMPORTER = {
  appId: '22222222-3333-4444-8555-666666666666',
  roles: ['DeviceManagementConfiguration.ReadWrite.All'],
};

/** The key that passwords of PFX are encrypted to: its private half is the server's alone, its public half the importer's. */
async function makeImportKey(folder: string): Promise<void> {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const passphrase = randomBytes(24).toString('base64url');
  const pem = privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase });
  const secret = (...path: string[]) => [join(folder, ...path), { mode: 0o600 }] as const;
  for (const [[path, mode], text] of [
    [secret('server', 'import.key.pem'), pem],
    [secret('server', 'import.passphrase'), passphrase],
    [secret('import-public.pem'), publicKey.export({ type: 'spki', format: 'pem' })],
    [secret('mdm', 'importer.secret'), randomBytes(24).toString('base64url')],
  ] as const)
    await writeFile(path, text, mode);
}

async function proveImportedPfx({ checks, tenant, hostile, device }: Demo): Promise<void> {
  const file = (name: string) => join(tenant.folder, name);
  const openssl = async (...words: string[]) => await promisify(execFile)('openssl', words);
  const { deviceId } = device.folder.identity;
  const outcome = async () => {
    await device.sync();
    return (await device.identities()).find(({ profileId }) => profileId === IMPORTED_PROFILE);
  };
  checks.section('An imported PFX: a person’s key for mail, made elsewhere, on that person’s device');
  await checks.check('`leafgate pfx import` gives it to the stand-in as it does to Intune', async () => {
    // A CA for mail and its PFX, all by OpenSSL.
    await openssl(
      ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=LAB Mail CA'],
      ...['-keyout', file('mail-ca.key'), '-out', file('mail-ca.pem')],
    );
    await openssl(
      ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', '-subj', '/CN=Ada Lovelace'],
      ...['-addext', 'extendedKeyUsage=emailProtection', '-addext', 'basicConstraints=critical,CA:FALSE'],
      ...['-CA', file('mail-ca.pem'), '-CAkey', file('mail-ca.key')],
      ...['-keyout', file('ada.key'), '-out', file('ada.pem')],
    );
    await writeFile(file('ada.password'), randomBytes(18).toString('base64url'), { mode: 0o600 });
    await openssl(
      ...['pkcs12', '-export', '-inkey', file('ada.key'), '-in', file('ada.pem'), '-out', file('ada.p12')],
      ...['-passout', `file:${file('ada.password')}`],
    );
    await asMdmAdministrator(tenant, async (mdm) => {
      const [ada] = await mdm.importUsers([{ userPrincipalName: 'ada@lab.test' }]);
      await mdm.setDeviceUser(deviceId, ada);
      const [root = new Uint8Array()] = parsePem(await readFile(file('mail-ca.pem'), 'utf8'), 'CERTIFICATE');
      await mdm.upsertProfile({
        kind: 'trustedCertificate',
        profileId: 'mail-root',
        displayName: 'LAB Mail CA',
        trustedRootCertificate: Buffer.from(root).toString('base64'),
        destinationStore: 'computerCertStoreRoot',
      });
      await mdm.upsertProfile({
        kind: 'importedPfx',
        profileId: IMPORTED_PROFILE,
        displayName: 'LAB mail',
        intendedPurpose: 'smimeEncryption',
        rootCertificate: 'mail-root',
      });
    });
    const imported = await leafgateJson<{ readonly thumbprint: string }>(
      ...['pfx', 'import', file('ada.p12'), '--password', `file:${file('ada.password')}`],
      ...['--user', 'ada@lab.test', '--purpose', 'smimeEncryption'],
      ...['--public-key', file('import-public.pem'), '--key-name', IMPORT_KEY],
      ...['--tenant', tenant.tenantId, '--app-id', IMPORTER.appId],
      ...['--secret', `file:${file(join('mdm', 'importer.secret'))}`],
      // The stand-in's own name in this tenant: see `startHostileIntune`.
      ...['--graph', hostile.url, '--authority', hostile.url, '--extra-ca', tenant.rootFile],
    );
    return imported.thumbprint;
  });
  await checks.check('the device opens with it what OpenSSL encrypted to its certificate', async () => {
    const { keyPath, keyPassphrasePath } = await until('it gets none', outcome);
    await writeFile(file('mail.txt'), 'Do you read me?');
    await openssl(
      ...['cms', '-encrypt', '-aes256', '-in', file('mail.txt'), '-out', file('mail.eml'), file('ada.pem')],
    );
    const { stdout } = await openssl(
      ...['cms', '-decrypt', '-in', file('mail.eml')],
      ...['-inkey', keyPath, '-passin', `file:${keyPassphrasePath}`],
    );
    demand(stdout.trim() === 'Do you read me?', `it reads ${stdout}`);
    return stdout.trim();
  });
  await checks.check('deleted in the MDM, it goes from the device', async () => {
    const [listed] = await leafgateJson<{ readonly thumbprint: string }[]>(
      ...['mdm', 'imported-pfx', '--config', tenant.configs.mdm],
    );
    await leafgate(
      ...['mdm', 'remove-imported-pfx', 'ada@lab.test', listed?.thumbprint ?? ''],
      ...['--config', tenant.configs.mdm],
    );
    demand((await outcome()) === undefined, 'it is still there');
    return await asMdmAdministrator(tenant, async (mdm) => {
      const state = mdm.profileStates(deviceId).find(({ profileId }) => profileId === IMPORTED_PROFILE);
      demand(state?.issuanceState === 'deleted', `the state is ${state?.issuanceState}`);
      return state.issuanceState;
    });
  });
}

await runInFolder('leafgate-demo-intune-', runIn);
