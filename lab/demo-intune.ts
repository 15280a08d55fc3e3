/**
 * `npm run demo:intune`: a tenant whose Intune is the stand-in, over HTTPS and with a token endpoint of its own: each of
 * Intune's refusals, what it is told of a certificate, and what becomes of one that it does not take.
 */
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { rmSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Device } from '../src/agent/index.ts';
import { nameFromString, thumbprintOf } from '../src/codec/index.ts';
import { readConfig } from '../src/config.ts';
import { privateKeyOf } from '../src/keys/index.ts';
import {
  buildChallenge,
  type ChallengePayload,
  type ChallengeSigner,
  parseChallenge,
} from '../src/mdm/index.ts';
import { openIdentity } from '../src/parts/identity.ts';
import { buildSelfSigned, type CertRep } from '../src/scep/index.ts';
import { Checks, demand } from './checks.ts';
import { leafgateJson } from './command.ts';
import { asMdmAdministrator, deviceNamed, SCEP_PROFILE } from './fleet.ts';
import { aim, fire, newKey, type Order, orderFor, orderIn, type Shot, serverAuthToo } from './hostile.ts';
import { failingCodes, type HostileIntune, startHostileIntune } from './hostile-intune.ts';
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

const folder = await mkdtemp(join(tmpdir(), 'leafgate-demo-intune-'));
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
    process.exit(1);
  });
}
try {
  process.exitCode = await runIn(folder);
} catch (cause) {
  console.error(`error: ${cause instanceof Error ? cause.message : String(cause)}`);
  process.exitCode = 1;
} finally {
  await rm(folder, { recursive: true, force: true, maxRetries: 10 });
}
