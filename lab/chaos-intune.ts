/**
 * Devices by the thousand enrol at a server whose Intune is hostile and which is killed meanwhile; then every certificate
 * that reached a device, and every one that did not, is held against what the stand-in and the store have on record.
 */
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseCrl, thumbprintOf } from '../src/codec/index.ts';
import { readConfig } from '../src/config.ts';
import type { PrivateKey } from '../src/keys/index.ts';
import { type Mdm, MdmStore } from '../src/mdm/index.ts';
import { type CertificateRecord, openPkiStore } from '../src/store/index.ts';
import { demand } from './checks.ts';
import { asMdmAdministrator, assignProfiles, SCEP_PROFILE } from './fleet.ts';
import { type CaCertificates, caCertificates, load, newKey, orderIn, type Shot } from './hostile.ts';
import {
  type HostileIntune,
  type Percentages,
  rewrite,
  startHostileIntune,
  type Told,
} from './hostile-intune.ts';
import { type PartProcess, startPart } from './processes.ts';
import { pseudoRandom } from './pseudo-random.ts';
import type { Tenant } from './tenant.ts';

/** What is to happen. */
export interface ChaosOptions {
  readonly tenant: Tenant;
  readonly enrolments: number;
  /** Devices that enrol at the same time. */
  readonly clients: number;
  readonly kills: number;
  /** Decides the faults and the moments of the kills, as far as clocks and a scheduler let it. */
  readonly seed: number;
  readonly percentages: Percentages;
  /** Told how far it is, every few seconds. */
  readonly progress: (text: string) => void;
}

/** What a device has seen. */
export interface ChaosDevice {
  readonly deviceId: string;
  /** `quits`: it gives up at the first answer that is no certificate, and never comes back. */
  readonly patience: 'keeps trying' | 'quits';
  /** Whatever any answer brought, in the order of time. */
  readonly delivered: readonly {
    readonly transactionId: string;
    readonly thumbprint: string;
    /** As `performance.now()` counts. */
    readonly at: number;
  }[];
}

/** What is left behind for the judgement. */
export interface ChaosEvidence {
  readonly devices: readonly ChaosDevice[];
  /** Every answer that the server was given, in the order of time. */
  readonly told: readonly Told[];
  /** Transactions that the stand-in has validated. */
  readonly validated: readonly string[];
  /** Its successNotifications. */
  readonly notified: readonly { readonly transactionId: string; readonly thumbprint: string }[];
  /** What the store has of this run. */
  readonly records: readonly Pick<CertificateRecord, 'serialNumber' | 'status' | 'device' | 'thumbprint'>[];
  /** Serial numbers on the CRL that the server serves. */
  readonly revoked: readonly string[];
  /** Answers that no device may get. */
  readonly oddities: readonly string[];
}

/** What happened. */
export interface ChaosRun {
  readonly evidence: ChaosEvidence;
  readonly violations: readonly string[];
  readonly hostile: HostileIntune;
  readonly kills: number;
  /** Certificates that were signed and of which Intune had not heard when the server was killed. */
  readonly unheardAtKill: number;
  /** Messages that were sent again, by what the one before came to. */
  readonly retries: Readonly<Record<'broken' | 'told to come back' | 'refused', number>>;
  readonly seconds: number;
}

/** Longer than the budget of all that the server asks Intune. */
const ANSWER_MS_MAX = 100_000;
/** No device that keeps trying may be without its certificate for longer. */
const DEVICE_MS_MAX = 300_000;
/** What is still under way when the load is over has so long to end well. */
const SETTLE_MS_MAX = 120_000;
const SETTLE_POLL_MS = 1000;
/** Real devices wait for minutes; a test's must not. */
const RETRY_PAUSE_MS = 150;
/** A kill comes up to so much later than the notification that it waits for: before its effect, or after. */
const KILL_DELAY_MS = 40;
const POLL_MS = 5;
const PROGRESS_MS = 5000;
/** Of so many devices, one gives up at the first fault. */
const QUITTER_EVERY = 12;
/** RSA-2048 keys of devices; the server cannot tell that they come again. */
const KEYS = 16;
const TEMPLATE = 'client-authentication';

/**
 * Makes the load, kills, waits until nothing is under way, and judges.
 *
 * @throws Error if a part does not come up, or a device that keeps trying has no certificate after minutes.
 */
export async function chaosRun(options: ChaosOptions): Promise<ChaosRun> {
  const begin = performance.now();
  const { tenant, seed, percentages } = options;
  await assignProfiles(tenant);
  const hostile = await startHostileIntune(tenant, seed, percentages);
  // The server alone: what is between it and its devices is tried elsewhere.
  await rewrite(tenant.configs.server, (config) => {
    delete config.connector;
  });
  const parts: Pick<PartProcess, 'stop'>[] = [];
  try {
    parts.push(await startPart('mdm', tenant.configs.mdm, tenant.folder));
    const victim = new Victim(tenant, hostile, await startServer(tenant));
    parts.push(victim);
    return await asMdmAdministrator(tenant, async (mdm) => {
      const fleet = await Fleet.join(mdm, options);
      await abreast(fleet, victim, options);
      hostile.spoil({});
      await fleet.askAgain(options.clients);
      const { evidence, violations } = await settled(tenant, fleet, hostile);
      return {
        evidence,
        violations,
        hostile,
        kills: options.kills,
        unheardAtKill: victim.unheard,
        retries: fleet.retries,
        seconds: (performance.now() - begin) / 1000,
      };
    });
  } finally {
    for (const part of parts.toReversed()) await part.stop();
    await hostile.close();
  }
}

/** The load and the kills side by side; neither goes on without the other. */
async function abreast(fleet: Fleet, victim: Victim, options: ChaosOptions): Promise<void> {
  const { enrolments, kills, seed, progress } = options;
  const random = pseudoRandom(seed + 1);
  const failure = new AbortController();
  const timer = setInterval(
    () => progress(`${fleet.ended} of ${enrolments} devices, ${victim.kills} of ${kills} kills`),
    PROGRESS_MS,
  );
  const killing = async () => {
    for (let count = 0; count < kills; count += 1) {
      const threshold = Math.floor((0.8 * enrolments * (count + random())) / kills);
      while (fleet.ended < threshold) await sleep(POLL_MS, undefined, { signal: failure.signal });
      await victim.restart(KILL_DELAY_MS * random());
    }
  };
  const doings = [fleet.enrolAll(options.clients, failure.signal), killing()];
  try {
    await Promise.all(doings);
  } catch (cause) {
    failure.abort(cause);
    await Promise.allSettled(doings);
    throw cause;
  } finally {
    clearInterval(timer);
  }
}

// --- the server -------------------------------------------------------------------------------------------------------

/** The server, which dies and comes back. */
class Victim {
  kills = 0;
  unheard = 0;
  readonly #tenant: Tenant;
  readonly #hostile: HostileIntune;
  #server: PartProcess;

  constructor(tenant: Tenant, hostile: HostileIntune, server: PartProcess) {
    this.#tenant = tenant;
    this.#hostile = hostile;
    this.#server = server;
  }

  /** Kills it while it tells of a certificate, and starts it again. */
  async restart(delayMs: number): Promise<void> {
    await Promise.race([this.#hostile.arrival('successNotification'), sleep(5000)]);
    await sleep(delayMs);
    await this.#server.kill();
    this.kills += 1;
    const heard = thumbprintsHeard(this.#hostile.told);
    for (const { status, thumbprint = '' } of await recordsOf(this.#tenant))
      if (status === 'issued' && !heard.has(thumbprint)) this.unheard += 1;
    this.#server = await startServer(this.#tenant);
  }

  async stop(): Promise<void> {
    await this.#server.stop();
  }
}

function startServer(tenant: Tenant): Promise<PartProcess> {
  return startPart('server', tenant.configs.server, tenant.folder);
}

// --- the devices ------------------------------------------------------------------------------------------------------

interface FleetDevice extends ChaosDevice {
  readonly delivered: ChaosDevice['delivered'][number][];
  /** The message that got the certificate. */
  last?: Shot;
}

/** Devices that want their certificates. */
class Fleet {
  readonly devices: readonly FleetDevice[];
  readonly oddities: string[] = [];
  readonly retries = { broken: 0, 'told to come back': 0, refused: 0 };
  ended = 0;
  readonly #mdm: Mdm;
  readonly #url: string;
  readonly #served: CaCertificates;
  readonly #keys: readonly PrivateKey[];

  private constructor(
    mdm: Mdm,
    url: string,
    served: CaCertificates,
    devices: readonly FleetDevice[],
    keys: readonly PrivateKey[],
  ) {
    this.#mdm = mdm;
    this.#url = url;
    this.#served = served;
    this.#keys = keys;
    this.devices = devices;
  }

  static async join(mdm: Mdm, { tenant, enrolments, progress }: ChaosOptions): Promise<Fleet> {
    progress(`${enrolments} devices join`);
    const { token } = await mdm.createEnrolmentToken({ uses: enrolments, lifetimeMs: 3_600_000 });
    const devices: FleetDevice[] = [];
    for (let number = 1; number <= enrolments; number += 1) {
      const { device } = await mdm.join({
        token,
        deviceName: `chaos-${number}`,
        platform: 'windows',
        serialNumber: `CHAOS-${number}`,
      });
      devices.push({
        deviceId: device.deviceId,
        patience: number % QUITTER_EVERY === 0 ? 'quits' : 'keeps trying',
        delivered: [],
      });
    }
    const url = `http://127.0.0.1:${tenant.ports.server}${new URL(tenant.urls.scep).pathname}`;
    const keys = Array.from({ length: Math.min(KEYS, enrolments) }, () => newKey());
    return new Fleet(mdm, url, await caCertificates(url), devices, keys);
  }

  async enrolAll(clients: number, signal: AbortSignal): Promise<void> {
    await this.#byTurns(clients, async (device, key) => {
      await this.#enrol(device, key, signal);
      this.ended += 1;
    });
  }

  /** Every device that has its certificate sends its message once more, octet for octet. */
  async askAgain(clients: number): Promise<void> {
    await this.#byTurns(clients, async (device) => {
      if (device.last === undefined) return;
      const deadline = performance.now() + DEVICE_MS_MAX;
      while ((await this.#send(device, device.last)) === 'again') {
        demand(performance.now() < deadline, `${device.deviceId} is told to come back, again and again`);
        await pause();
      }
    });
  }

  async #byTurns(clients: number, work: (device: FleetDevice, key: PrivateKey) => Promise<void>) {
    const waiting = [...this.devices.entries()];
    const client = async () => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        const [number, device] = next;
        const key = this.#keys[number % this.#keys.length];
        if (key !== undefined) await work(device, key);
      }
    };
    await Promise.all(Array.from({ length: clients }, client));
  }

  /** One device: a challenge and a message, the same again until it is answered, and a new challenge after a no. */
  async #enrol(device: FleetDevice, key: PrivateKey, signal: AbortSignal): Promise<void> {
    const deadline = performance.now() + DEVICE_MS_MAX;
    while (performance.now() < deadline) {
      const order = await orderIn(this.#mdm, device.deviceId, SCEP_PROFILE);
      const shot = await load(this.#served, order, key);
      for (;;) {
        const answer = await this.#send(device, shot);
        if (answer === 'certificate') return;
        if (device.patience === 'quits') return;
        await pause(signal);
        if (answer === 'refused') break;
        demand(performance.now() < deadline, `${device.deviceId} is told to come back, again and again`);
      }
    }
    throw new Error(`${device.deviceId} has no certificate after ${DEVICE_MS_MAX / 1000} s`);
  }

  async #send(device: FleetDevice, shot: Shot): Promise<'certificate' | 'refused' | 'again'> {
    const answer = await post(`${this.#url}?operation=PKIOperation`, shot.body);
    if (answer === undefined) {
      this.retries.broken += 1;
      return 'again';
    }
    if (answer.status !== 200) {
      if (answer.status !== 503 && answer.status !== 429)
        this.oddities.push(`${device.deviceId}: HTTP ${answer.status}`);
      this.retries['told to come back'] += 1;
      return 'again';
    }
    const certRep = await shot.read(answer.body);
    const [certificate] = certRep.pkiStatus === 'SUCCESS' ? certRep.certificates : [];
    if (certificate === undefined) {
      if (certRep.pkiStatus !== 'FAILURE') this.oddities.push(`${device.deviceId}: ${certRep.pkiStatus}`);
      this.retries.refused += 1;
      return 'refused';
    }
    device.delivered.push({
      transactionId: shot.transactionID,
      thumbprint: thumbprintOf(certificate.raw),
      at: performance.now(),
    });
    device.last = shot;
    return 'certificate';
  }
}

async function pause(signal?: AbortSignal): Promise<void> {
  await sleep(RETRY_PAUSE_MS * (1 + Math.random()), undefined, signal === undefined ? {} : { signal });
}

async function post(
  url: string,
  body: Uint8Array,
): Promise<{ readonly status: number; readonly body: Uint8Array } | undefined> {
  try {
    const answer = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/x-pki-message' },
      body: Buffer.from(body),
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    });
    return { status: answer.status, body: new Uint8Array(await answer.arrayBuffer()) };
  } catch {
    return undefined;
  }
}

// --- judgement --------------------------------------------------------------------------------------------------------

/** Gathers evidence until it says nothing against the server, or nothing more is to be hoped for. */
async function settled(
  tenant: Tenant,
  fleet: Fleet,
  hostile: HostileIntune,
): Promise<{ readonly evidence: ChaosEvidence; readonly violations: readonly string[] }> {
  const deadline = performance.now() + SETTLE_MS_MAX;
  for (;;) {
    const evidence: ChaosEvidence = {
      devices: fleet.devices,
      oddities: fleet.oddities,
      told: hostile.told,
      ...(await standInsRecords(tenant)),
      records: await recordsOf(tenant),
      revoked: await crlOf(tenant),
    };
    const violations = violationsIn(evidence);
    if (violations.length === 0 || performance.now() > deadline) return { evidence, violations };
    await sleep(SETTLE_POLL_MS);
  }
}

/**
 * What the evidence says against the server; nothing if it kept its promises: no certificate reaches a device without
 * validateRequest and successNotification, each with Success; one that Intune does not know is revoked; every device that
 * keeps trying has one, and no more than one.
 */
export function violationsIn(evidence: ChaosEvidence): string[] {
  const { devices, records, told, oddities } = evidence;
  const found = [...oddities];
  const byThumbprint = new Map(records.map((record) => [record.thumbprint, record]));
  const live = Map.groupBy(
    records.filter(({ status }) => status === 'issued'),
    ({ device }) => device,
  );
  const saidYes = told.filter(({ answer }) => answer === 'Success');
  const validatedAt = firstBy(saidYes, 'validateRequest', ({ transactionId }) => transactionId);
  const notifiedAt = firstBy(saidYes, 'successNotification', ({ thumbprint }) => thumbprint ?? '');
  const validated = new Set(evidence.validated);
  const known = new Set(evidence.notified.map(({ thumbprint }) => thumbprint));
  const reached = new Set<string>();

  for (const { deviceId, patience, delivered } of devices) {
    for (const { transactionId, thumbprint, at } of delivered) {
      reached.add(thumbprint);
      const blame = (what: string) => found.push(`${deviceId} got ${thumbprint}: ${what}`);
      if (!((validatedAt.get(transactionId) ?? Number.POSITIVE_INFINITY) < at))
        blame('the server had not been told that the request is valid');
      if (!validated.has(transactionId)) blame('Intune has not validated it');
      if (!((notifiedAt.get(thumbprint) ?? Number.POSITIVE_INFINITY) < at))
        blame('the server had not been told that successNotification was taken');
      if (!known.has(thumbprint)) blame('Intune does not know it');
      const record = byThumbprint.get(thumbprint);
      if (record?.status !== 'issued') blame(`it is ${record?.status ?? 'not on record'}`);
      else if (record.device !== deviceId) blame(`it is ${record.device}’s`);
    }
    const different = new Set(delivered.map(({ thumbprint }) => thumbprint)).size;
    if (different > 1) found.push(`${deviceId} got ${different} certificates`);
    if (patience === 'keeps trying' && different === 0) found.push(`${deviceId} has no certificate`);
    if (patience === 'keeps trying' && delivered.length === 1)
      found.push(`${deviceId} was not answered a second time`);
    const alive = live.get(deviceId)?.length ?? 0;
    if (alive > 1) found.push(`${deviceId} has ${alive} live certificates on record`);
  }

  const serials = new Set<string>();
  const onCrl = new Set(evidence.revoked);
  for (const { serialNumber, status, thumbprint = '' } of records) {
    if (serials.has(serialNumber)) found.push(`${serialNumber} is on record twice`);
    serials.add(serialNumber);
    if (status === 'intent') found.push(`${serialNumber} is still an intent`);
    if (status === 'issued' && !known.has(thumbprint))
      found.push(`${serialNumber} is neither known to Intune nor revoked`);
    // One whose device went away may have been let out; one that Intune was not seen to take may not.
    if (status === 'issued' && !reached.has(thumbprint) && !notifiedAt.has(thumbprint))
      found.push(`${serialNumber} is withheld and not revoked`);
    if ((status === 'revoked' || status === 'abandoned') !== onCrl.has(serialNumber))
      found.push(`${serialNumber} is ${status} and ${onCrl.has(serialNumber) ? '' : 'not '}on the CRL`);
  }
  const counted = Map.groupBy(evidence.notified, ({ thumbprint }) => thumbprint);
  for (const [thumbprint, { length }] of counted) {
    if (length > 1) found.push(`Intune has ${length} notifications of ${thumbprint}`);
    if (!byThumbprint.has(thumbprint)) found.push(`Intune knows ${thumbprint}, which was never signed`);
  }
  return found;
}

/** When something was first said, by what it was said about. */
function firstBy(
  told: readonly Told[],
  call: Told['call'],
  about: (one: Told) => string,
): Map<string, number> {
  const first = new Map<string, number>();
  for (const one of told) {
    if (one.call === call && !first.has(about(one))) first.set(about(one), one.at);
  }
  return first;
}

/** Certificates of which the server has been told that Intune knows them. */
function thumbprintsHeard(told: readonly Told[]): Set<string> {
  const yes = told.filter(({ call, answer }) => call === 'successNotification' && answer === 'Success');
  return new Set(yes.map(({ thumbprint = '' }) => thumbprint));
}

// --- records ----------------------------------------------------------------------------------------------------------

async function recordsOf(tenant: Tenant): Promise<CertificateRecord[]> {
  const store = await openPkiStore({ sqlite: join(tenant.folder, 'server', 'data', 'pki.sqlite') });
  try {
    return await store.certificates({ template: TEMPLATE, limit: Number.MAX_SAFE_INTEGER });
  } finally {
    await store.close();
  }
}

async function standInsRecords(tenant: Tenant): Promise<Pick<ChaosEvidence, 'validated' | 'notified'>> {
  const { mdm } = readConfig(tenant.configs.mdm);
  if (mdm === undefined) throw new Error('the tenant has no MDM');
  const store = MdmStore.open(mdm.databaseFile);
  const db = new DatabaseSync(mdm.databaseFile, { readOnly: true });
  try {
    const rows = db.prepare('SELECT transactionId FROM validation').all() as { transactionId: string }[];
    return {
      validated: rows.map(({ transactionId }) => transactionId),
      notified: store.notifications({ limit: Number.MAX_SAFE_INTEGER }).flatMap((record) =>
        record.kind === 'success'
          ? [
              {
                transactionId: record.notification.transactionId,
                thumbprint: record.notification.certificateThumbprint.toUpperCase(),
              },
            ]
          : [],
      ),
    };
  } finally {
    db.close();
    store.close();
  }
}

async function crlOf(tenant: Tenant): Promise<string[]> {
  const answer = await fetch(`http://127.0.0.1:${tenant.ports.server}/crl/issuing.crl`);
  demand(answer.ok, `the CRL: HTTP ${answer.status}`);
  const { revoked } = parseCrl(new Uint8Array(await answer.arrayBuffer()));
  return revoked.map(({ serialNumber }) => serialNumber);
}
