/** The device: joins, then keeps itself as its MDM wants it. */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  basicConstraintsOf,
  buildPem,
  type Certificate,
  nameToString,
  parseCertificate,
  sameOctets,
  thumbprintOf,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { PrivateKey } from '../keys/index.ts';
import { type Clock, systemClock } from '../telemetry.ts';
import { type EnrolmentResult, type EnrolmentStep, enrol } from './enrol.ts';
import { EventLog } from './event-log.ts';
import { hResults } from './h-result.ts';
import { HTTP_TIMEOUT_MS, HttpClient, systemTlsRootsAnd } from './http-client.ts';
import {
  type CheckIn,
  type DeviceProfile,
  type InstalledCertificate,
  type JoinRequest,
  MdmClient,
  mdmUrlOf,
  type PfxProfile,
  type ProfileReport,
  type ReportedState,
  type ScepProfile,
  type TrustedCertificateProfile,
} from './mdm-client.ts';
import { installPfx, newDelivery } from './pkcs.ts';
import type { Trust } from './registration-authority.ts';
import { defaultRetryPolicy, type RetryPolicy } from './retry.ts';
import {
  DeviceFolder,
  type DeviceIdentity,
  type IdentityRecord,
  isIdentity,
  type ProfileRecord,
  type ScepRecord,
  type TrustedCertificateRecord,
} from './state.ts';

/** What a device works with. */
export interface DeviceOptions {
  readonly clock?: Clock | undefined;
  /** For SCEP; `defaultRetryPolicy` if absent. */
  readonly retry?: RetryPolicy | undefined;
}

/** What joining takes. */
export interface JoinOptions extends DeviceOptions, JoinRequest {
  /** Made if absent; must hold no device yet. */
  readonly folder: string;
  /** `https://host:port`. */
  readonly mdmUrl: string;
  /** PEM of the one root that the MDM's TLS certificate must lead to; those of the system if absent. */
  readonly mdmCaPem?: string | undefined;
}

/** A step that has ended, for whoever watches. */
export interface DeviceStep {
  readonly step: 'check-in' | 'trusted certificate' | EnrolmentStep;
  /** Absent at the check-in. */
  readonly profileId?: string;
  readonly durationMs: number;
}

/** Why a SCEP profile needed a certificate; `requested` if only the MDM knows. */
export type EnrolmentReason = 'none yet' | 'changed profile' | 'renewal' | 'resumed' | 'requested';

/** What a check-in did with one profile. */
export type ProfileResult = {
  readonly profileId: string;
  readonly displayName: string;
} & (
  | {
      readonly kind: 'trustedCertificate';
      readonly outcome: 'kept' | 'installed';
      readonly store: 'root' | 'intermediate';
      readonly thumbprint: string;
    }
  | {
      readonly kind: IdentityRecord['kind'];
      readonly outcome: 'kept';
      readonly thumbprint: string;
      readonly notAfter: Date;
    }
  | ({ readonly kind: 'scep'; readonly reason: EnrolmentReason } & EnrolmentResult)
  /** A connector is at work on it. */
  | { readonly kind: PfxProfile['kind']; readonly outcome: 'pending' }
  | {
      readonly kind: PfxProfile['kind'];
      readonly outcome: 'installed';
      readonly certificate: Certificate;
      readonly eventId: number;
    }
  /** Not in the check-in any more: its certificate and key are gone. */
  | { readonly kind: ProfileRecord['kind']; readonly outcome: 'removed'; readonly thumbprint: string }
  /** A trusted certificate that was refused, a profile that the MDM could not make out, or of a kind not known here. */
  | {
      readonly kind: 'trustedCertificate' | PfxProfile['kind'] | 'failed' | 'unknown';
      readonly outcome: 'failed';
      readonly detail: string;
      readonly eventId: number;
    }
);

/** What became of one check-in. */
export type SyncResult =
  | {
      readonly outcome: 'completed';
      readonly state: CheckIn['state'];
      /** In the order in which they were worked on. */
      readonly profiles: readonly ProfileResult[];
      readonly checkInMs: number;
      readonly durationMs: number;
    }
  /** `refused`: the MDM does not know this device. `unreachable`: no answer, or none that can be used. Nothing changed. */
  | {
      readonly outcome: 'unreachable' | 'refused';
      readonly detail: string;
      readonly eventId: number;
      readonly checkInMs: number;
    }
  /** Another process works on this folder. */
  | { readonly outcome: 'busy' };

/** How to watch or end what is going on. */
export interface SyncOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onStep?: ((step: DeviceStep) => void) | undefined;
}

/** A certificate that the device can show, with its key. */
export interface Identity {
  readonly profileId: string;
  readonly displayName: string;
  readonly certificate: Certificate;
  /** From the issuing CA up to the root. */
  readonly chain: readonly Certificate[];
  readonly notAfter: Date;
  /** Encrypted PKCS #8 PEM. */
  readonly keyPath: string;
  /** File with the passphrase of `keyPath`. */
  readonly keyPassphrasePath: string;
}

/**
 * Lets a device join its MDM. The folder is made and tried first, for the token is good only once. Who lost the answer calls
 * this again, with the same folder and token.
 *
 * @throws PkiError `device_folder` if there is a device already, `config_invalid`, `token_refused`, `server_unreachable`,
 *   `server_answer`.
 */
export async function joinDevice(options: JoinOptions): Promise<Device> {
  const { folder: path, mdmCaPem, token, deviceName, platform, serialNumber } = options;
  const mdmUrl = mdmUrlOf(options.mdmUrl);
  const clock = options.clock ?? systemClock;
  const { joinId } = await DeviceFolder.prepare(path);
  const mdm = new MdmClient({ url: mdmUrl, caPem: mdmCaPem });
  try {
    const joined = await mdm.join({ token, deviceName, platform, serialNumber, joinId });
    const { deviceId, azureADDeviceId } = joined;
    const identity = {
      deviceId,
      azureADDeviceId,
      deviceName: joined.deviceName,
      platform,
      serialNumber,
      mdmUrl,
      joinedAt: clock.now(),
    };
    const folder = await DeviceFolder.create(path, { identity, deviceToken: joined.deviceToken, mdmCaPem });
    const device = new Device(folder, options);
    await device.events.write('joined', `MDM: The device joined ${mdmUrl} as ${deviceName}.`, {
      deviceId,
      mdmUrl,
    });
    return device;
  } finally {
    mdm.close();
  }
}

/**
 * Opens a device that has joined.
 *
 * @throws PkiError `device_folder`.
 */
export async function openDevice(folder: string, options: DeviceOptions = {}): Promise<Device> {
  return new Device(await DeviceFolder.open(folder), options);
}

/** How a device is kept running. */
export interface RunOptions extends DeviceOptions, SyncOptions {
  /** Between check-ins, a tenth more or less at random; less if a server asked to be asked again sooner. */
  readonly intervalMs: number;
  readonly signal: AbortSignal;
  readonly onSync?: ((result: SyncResult) => void) | undefined;
}

/** However soon a server wants to be asked again. */
const PAUSE_MS_MIN = 1000;

/**
 * Checks in again and again until the signal is aborted, or the MDM has retired or wiped the device, then resolves.
 *
 * @throws PkiError `device_folder`, and whatever the file system throws: a device that cannot write must not go on.
 */
export async function runDevice(folder: string, options: RunOptions): Promise<void> {
  const { signal, intervalMs } = options;
  const device = await openDevice(folder, options);
  try {
    while (!signal.aborted) {
      const result = await device.sync(options);
      options.onSync?.(result);
      if (result.outcome === 'completed' && isGone(result.state)) return;
      await sleep(pauseMs(result, intervalMs, device.clock.now()), undefined, { signal });
    }
  } catch (cause) {
    if (!signal.aborted) throw cause;
  }
}

function pauseMs(result: SyncResult, intervalMs: number, now: Date): number {
  const jittered = intervalMs * (0.9 + Math.random() / 5);
  const profiles = result.outcome === 'completed' ? result.profiles : [];
  const asked = profiles.flatMap((profile) =>
    profile.outcome === 'pending' && profile.kind === 'scep' && profile.retryAt !== undefined
      ? [profile.retryAt.getTime() - now.getTime()]
      : [],
  );
  return Math.max(Math.min(jittered, ...asked), Math.min(PAUSE_MS_MIN, intervalMs));
}

/** One device in its folder. */
export class Device {
  readonly folder: DeviceFolder;
  readonly events: EventLog;
  readonly clock: Clock;
  readonly #retry: RetryPolicy;

  constructor(folder: DeviceFolder, options: DeviceOptions) {
    this.folder = folder;
    this.clock = options.clock ?? systemClock;
    this.events = new EventLog(folder.path, this.clock);
    this.#retry = options.retry ?? defaultRetryPolicy;
  }

  get identity(): DeviceIdentity {
    return this.folder.identity;
  }

  /**
   * One check-in: says what the device has, removes what it shall not have any more, installs trusted certificates, gets
   * the certificates that are missing, out of date or due, and reports.
   *
   * What happens is in the result and in the event log; a step that fails does not keep the others from being made.
   *
   * @throws the signal's reason if it is aborted: what is under way is taken up by the next check-in. PkiError
   *   `device_folder`, and whatever the file system throws.
   */
  async sync(options: SyncOptions = {}): Promise<SyncResult> {
    options.signal?.throwIfAborted();
    const lock = this.folder.lock();
    if (lock === undefined) return { outcome: 'busy' };
    const { mdmUrl } = this.identity;
    const mdm = new MdmClient({ url: mdmUrl, caPem: this.folder.mdmCaPem, signal: options.signal });
    try {
      await this.folder.sweep();
      await this.events.rotate();
      return await this.#sync(mdm, options);
    } finally {
      mdm.close();
      lock.release();
    }
  }

  /** Certificates that the device has for itself, with where their keys are. */
  async identities(): Promise<Identity[]> {
    const identities: Identity[] = [];
    for (const record of await this.folder.profiles()) {
      if (!isIdentity(record)) continue;
      const certificate = await this.folder.certificate('my', record.thumbprint);
      if (certificate === undefined) continue;
      const chain: Certificate[] = [];
      for (const thumbprint of record.chain) {
        const issuer =
          (await this.folder.certificate('intermediate', thumbprint)) ??
          (await this.folder.certificate('root', thumbprint));
        if (issuer !== undefined) chain.push(issuer);
      }
      identities.push({
        profileId: record.profileId,
        displayName: record.displayName,
        certificate,
        chain,
        notAfter: record.notAfter,
        keyPath: this.folder.keyPath(record.keyFile),
        keyPassphrasePath: this.folder.keyPassphrasePath,
      });
    }
    return identities;
  }

  /**
   * The private key of the certificate that a profile brought; `undefined` if it brought none.
   *
   * @throws PkiError `key_locked`.
   */
  async privateKey(profileId: string): Promise<PrivateKey | undefined> {
    const record = (await this.folder.profiles()).find((each) => each.profileId === profileId);
    return record !== undefined && isIdentity(record) ? await this.folder.openKey(record.keyFile) : undefined;
  }

  async #sync(mdm: MdmClient, options: SyncOptions): Promise<SyncResult> {
    const begin = performance.now();
    // Step 1: say what is there, learn what shall be there.
    let checkIn: CheckIn;
    try {
      checkIn = await mdm.checkIn(this.folder.deviceToken, await this.#installed());
    } catch (cause) {
      const checkInMs = performance.now() - begin;
      if (!(cause instanceof PkiError) || cause.kind === 'misconfigured') throw cause;
      const eventId = await this.events.write('checkInFailed', `MDM: The check-in failed. ${cause.message}`, {
        code: cause.code,
      });
      const outcome = cause.code === 'token_refused' ? 'refused' : 'unreachable';
      return { outcome, detail: cause.message, eventId, checkInMs };
    }
    const checkInMs = performance.now() - begin;
    options.onStep?.({ step: 'check-in', durationMs: checkInMs });
    const { profiles } = checkIn;

    // Step 2: remove what is not there any more.
    const results = await this.#removeOthers(new Set(profiles.map((profile) => profile.profileId)));
    // Step 3: trusted certificates, roots first. A certificate is verified against them.
    for (const profile of inOrder(profiles)) {
      if (profile.kind === 'trustedCertificate') results.push(await this.#trust(profile, options));
      else if ('error' in profile) results.push(await this.#notApplied(profile));
    }
    // Step 4: certificates of the device's own.
    const http = new HttpClient({ timeoutMs: HTTP_TIMEOUT_MS, tlsRoots: await this.#tlsRoots() });
    try {
      for (const profile of profiles) {
        if (profile.kind === 'scep') results.push(await this.#scep(profile, http, options));
        else if ('pfx' in profile) results.push(await this.#pfx(profile, mdm));
      }
    } finally {
      http.close();
    }
    // Step 5: delete the keys and certificates that were replaced, then tell the MDM.
    await this.folder.sweep();
    if (isGone(checkIn.state)) await this.folder.removeDelivery();
    await this.#report(mdm, results);
    // Step 6: of a device that is wiped nothing is left to check in with.
    if (isGone(checkIn.state)) await this.#leave(checkIn.state, results.length);
    return {
      outcome: 'completed',
      state: checkIn.state,
      profiles: results,
      checkInMs,
      durationMs: performance.now() - begin,
    };
  }

  /** Says in the log what the MDM has done to the device, and does what is left to do. */
  async #leave(state: 'retired' | 'wiped', removed: number): Promise<void> {
    if (state === 'wiped') {
      await this.folder.erase();
      await this.events.write('deviceWiped', 'MDM: The device was wiped; all that it had is deleted.', {
        removed,
      });
    } else if (removed > 0) {
      await this.events.write(
        'deviceRetired',
        'MDM: The device was retired; what its profiles brought is deleted.',
        { removed },
      );
    }
  }

  /** Certificates of the device's own that are whole: a leaf without its key, or the reverse, is as good as none. */
  async #installed(): Promise<InstalledCertificate[]> {
    const installed: InstalledCertificate[] = [];
    for (const record of await this.folder.profiles()) {
      if (!isIdentity(record) || !(await this.#isWhole(record))) continue;
      const { profileId, version, thumbprint, notBefore, notAfter } = record;
      installed.push({ profileId, version, thumbprint, notBefore, notAfter });
    }
    return installed;
  }

  async #isWhole(record: IdentityRecord): Promise<boolean> {
    if ((await this.folder.certificate('my', record.thumbprint)) === undefined) return false;
    return await readFile(this.folder.keyPath(record.keyFile)).then(
      () => true,
      () => false,
    );
  }

  async #removeOthers(assigned: ReadonlySet<string>): Promise<ProfileResult[]> {
    const removed: ProfileResult[] = [];
    for (const request of await this.folder.requests()) {
      if (!assigned.has(request.profileId)) await this.folder.removeRequest(request.profileId);
    }
    for (const record of await this.folder.profiles()) {
      if (assigned.has(record.profileId)) continue;
      const { kind, profileId, displayName, thumbprint } = record;
      await this.folder.removeProfile(profileId);
      await this.events.write(
        'certificateRemoved',
        `MDM: Profile ${displayName} is not assigned any more; its certificate was removed. Thumbprint: (${thumbprint}).`,
        { profileId, thumbprint },
      );
      removed.push({ kind, profileId, displayName, outcome: 'removed', thumbprint });
    }
    if (removed.length > 0) await this.folder.sweep();
    return removed;
  }

  async #trust(profile: TrustedCertificateProfile, options: SyncOptions): Promise<ProfileResult> {
    const begin = performance.now();
    const { kind, profileId, displayName, thumbprint } = profile;
    const store = profile.destinationStore === 'computerCertStoreRoot' ? 'root' : 'intermediate';
    const before = (await this.folder.profiles()).find((record) => record.profileId === profileId);
    const isKept =
      before?.kind === kind &&
      before.version === profile.version &&
      before.thumbprint === thumbprint &&
      before.store === store &&
      (await this.folder.certificate(store, thumbprint)) !== undefined;
    if (isKept) return { kind, profileId, displayName, outcome: 'kept', store, thumbprint };

    const certificate = trustedCertificateIn(profile);
    if (typeof certificate === 'string') {
      const message = `MDM: The trusted certificate of profile ${displayName} was refused: ${certificate}.`;
      const eventId = await this.events.write('trustedCertificateRefused', message, {
        profileId,
        thumbprint,
      });
      return { kind, profileId, displayName, outcome: 'failed', detail: certificate, eventId };
    }
    await this.folder.putCertificate(store, certificate);
    const record: TrustedCertificateRecord = {
      kind,
      profileId,
      version: profile.version,
      displayName,
      store,
      thumbprint,
    };
    await this.folder.putProfile(record);
    const name = nameToString(certificate.subject);
    await this.events.write(
      'trustedCertificateInstalled',
      `MDM: Trusted certificate installed. Subject: (${name}), Thumbprint: (${thumbprint}), Store: (${store}).`,
      { profileId, thumbprint, store },
    );
    options.onStep?.({ step: 'trusted certificate', profileId, durationMs: performance.now() - begin });
    return { kind, profileId, displayName, outcome: 'installed', store, thumbprint };
  }

  async #notApplied(profile: Extract<DeviceProfile, { error: string }>): Promise<ProfileResult> {
    const { kind, profileId, displayName, error } = profile;
    const message = `MDM: Profile ${displayName} cannot be applied: ${error}.`;
    const eventId = await this.events.write('profileNotApplied', message, { profileId, error });
    return { kind, profileId, displayName, outcome: 'failed', detail: error, eventId };
  }

  async #scep(profile: ScepProfile, http: HttpClient, options: SyncOptions): Promise<ProfileResult> {
    const { kind, profileId, displayName } = profile;
    const records = await this.folder.profiles();
    const record = records.find(
      (each): each is ScepRecord => each.kind === 'scep' && each.profileId === profileId,
    );
    const pending = await this.#pendingRequest(profileId, record);
    const need =
      record === undefined || !(await this.#isWhole(record))
        ? 'none yet'
        : enrolmentReasonFor(record, profile, this.clock.now());
    if (
      need === undefined &&
      pending === undefined &&
      profile.challenge === undefined &&
      record !== undefined
    ) {
      return kept(profile, record);
    }
    const result = await enrol({
      folder: this.folder,
      profile,
      trust: await this.#trustFor(profile, records),
      pending,
      http,
      events: this.events,
      retry: this.#retry,
      clock: this.clock,
      signal: options.signal,
      onStep: (step, durationMs) => options.onStep?.({ step, profileId, durationMs }),
    });
    const reason = pending?.version === profile.version ? 'resumed' : (need ?? 'requested');
    return { kind, profileId, displayName, reason, ...result };
  }

  /** Takes the PFX that a connector brought, or sees to it that one can be brought. */
  async #pfx(profile: PfxProfile, mdm: MdmClient): Promise<ProfileResult> {
    const { kind, profileId, displayName, pfx } = profile;
    const records = await this.folder.profiles();
    const delivery = await this.folder.delivery();
    if (pfx === 'ready' && delivery !== undefined) {
      const trust = await this.#trustFor(profile, records);
      const installed = await installPfx({
        folder: this.folder,
        profile,
        trust,
        events: this.events,
        clock: this.clock,
      });
      return { kind, profileId, displayName, ...installed };
    }
    if (pfx === 'recipientWanted' || pfx === 'ready') {
      const certificate =
        delivery?.certificate ??
        (await this.folder.createDelivery((key) =>
          newDelivery(key, this.identity.deviceId, this.clock.now()),
        ));
      try {
        await mdm.nameRecipient(this.folder.deviceToken, certificate.raw);
      } catch (cause) {
        if (!(cause instanceof PkiError) || cause.kind === 'misconfigured') throw cause;
        const message = `MDM: The key for profile ${displayName} cannot be asked for. ${cause.message}`;
        const eventId = await this.events.write('profileNotApplied', message, {
          profileId,
          code: cause.code,
        });
        return { kind, profileId, displayName, outcome: 'failed', detail: cause.message, eventId };
      }
      const message = `PFX: A key and certificate were asked for. Profile: (${displayName}).`;
      await this.events.write('pfxAwaited', message, { profileId });
    }
    const record = records.find((each) => each.profileId === profileId);
    return record !== undefined && isIdentity(record) && pfx === 'none'
      ? kept(profile, record)
      : { kind, profileId, displayName, outcome: 'pending' };
  }

  /** A request under way. One whose certificate is on record already was only not cleared away before a crash. */
  async #pendingRequest(profileId: string, record: ScepRecord | undefined) {
    const pending = (await this.folder.requests()).find((request) => request.profileId === profileId);
    if (pending === undefined || pending.keyFile !== record?.keyFile) return pending;
    await this.folder.removeRequest(profileId);
    return undefined;
  }

  async #trustFor(
    profile: ScepProfile | PfxProfile,
    records: readonly ProfileRecord[],
  ): Promise<Trust | undefined> {
    const named = records.find((record) => record.profileId === profile.rootCertificate);
    if (named?.kind !== 'trustedCertificate') return undefined;
    const ca = await this.folder.certificate(named.store, named.thumbprint);
    if (ca === undefined) return undefined;
    return {
      ca,
      roots: await this.#trusted('root', records),
      intermediates: await this.#trusted('intermediate', records),
    };
  }

  /** What profiles put into a store. A file there that no record names is not trusted. */
  async #trusted(store: 'root' | 'intermediate', records: readonly ProfileRecord[]): Promise<Certificate[]> {
    const certificates: Certificate[] = [];
    for (const record of records) {
      if (record.kind !== 'trustedCertificate' || record.store !== store) continue;
      const certificate = await this.folder.certificate(store, record.thumbprint);
      if (certificate !== undefined) certificates.push(certificate);
    }
    return certificates;
  }

  /** For SCEP over HTTPS, as Windows does it: the system's roots, and those that profiles brought. */
  async #tlsRoots(): Promise<string[]> {
    const roots = await this.#trusted('root', await this.folder.profiles());
    const { mdmCaPem } = this.folder;
    return systemTlsRootsAnd([
      ...roots.map((root) => buildPem('CERTIFICATE', root.raw)),
      ...(mdmCaPem === undefined ? [] : [mdmCaPem]),
    ]);
  }

  /** Sends what has changed, and what could not be sent before. A report that the MDM will not take is dropped. */
  async #report(mdm: MdmClient, results: readonly ProfileResult[]): Promise<void> {
    const fresh = results.flatMap(reportOf);
    const unsent = (await this.folder.reports()).filter(
      (report) => !fresh.some((newer) => newer.profileId === report.profileId),
    );
    const all = [...unsent, ...fresh];
    if (all.length === 0) return;
    // Kept first: what a crash or an outage prevents is said at the next check-in.
    await this.folder.putReports(all);
    const left = [...all];
    for (const report of all) {
      try {
        await mdm.report(this.folder.deviceToken, report);
      } catch (cause) {
        if (!(cause instanceof PkiError)) throw cause;
        if (cause.code !== 'server_answer') break;
      }
      left.shift();
    }
    await this.folder.putReports(left);
  }
}

/** Whether the MDM has nothing more for the device, for good. */
function isGone(state: CheckIn['state']): state is 'retired' | 'wiped' {
  return state === 'retired' || state === 'wiped';
}

/** Roots before intermediates; the rest as it came. */
function inOrder(profiles: readonly DeviceProfile[]): DeviceProfile[] {
  const rank = (profile: DeviceProfile) =>
    profile.kind === 'trustedCertificate' && profile.destinationStore === 'computerCertStoreRoot' ? 0 : 1;
  return [...profiles].sort((a, b) => rank(a) - rank(b));
}

/** The certificate of a profile, or why it is not installed. */
function trustedCertificateIn(profile: TrustedCertificateProfile): Certificate | string {
  let certificate: Certificate;
  try {
    certificate = parseCertificate(profile.certificate);
    if (basicConstraintsOf(certificate)?.ca !== true) return 'it is not a CA’s certificate';
  } catch (cause) {
    if (cause instanceof PkiError) return cause.message;
    throw cause;
  }
  if (thumbprintOf(certificate.raw) !== profile.thumbprint)
    return 'its thumbprint is not the one of the profile';
  // An intermediate in a root store would make a chain end early, and servers refuse it (IIS: 403.16).
  const isSelfIssued = sameOctets(certificate.subject.raw, certificate.issuer.raw);
  if (profile.destinationStore === 'computerCertStoreRoot' && !isSelfIssued) {
    return 'an intermediate does not belong into the root store';
  }
  return certificate;
}

/** Whether a certificate must be replaced, and why; `undefined` if it is good for now. */
export function enrolmentReasonFor(
  record: Pick<ScepRecord, 'version' | 'notBefore' | 'notAfter'>,
  profile: Pick<ScepProfile, 'version' | 'renewalThresholdPercentage'>,
  now: Date,
): 'changed profile' | 'renewal' | undefined {
  if (record.version !== profile.version) return 'changed profile';
  const lifetimeMs = record.notAfter.getTime() - record.notBefore.getTime();
  const remainingMs = record.notAfter.getTime() - now.getTime();
  return remainingMs <= (lifetimeMs * profile.renewalThresholdPercentage) / 100 ? 'renewal' : undefined;
}

/** The device has what the profile is to bring. */
function kept(
  { kind, profileId, displayName }: ScepProfile | PfxProfile,
  { thumbprint, notAfter }: IdentityRecord,
): ProfileResult {
  return { kind, profileId, displayName, outcome: 'kept', thumbprint, notAfter };
}

/** What the MDM is told of a result: what changed, or went wrong. */
function reportOf(result: ProfileResult): ProfileReport[] {
  const { profileId } = result;
  switch (result.outcome) {
    case 'kept':
      return [];
    case 'removed':
      return [{ profileId, issuanceState: 'deleted' satisfies ReportedState, thumbprint: result.thumbprint }];
    case 'installed': {
      const issuanceState: ReportedState = 'installed';
      if (result.kind === 'trustedCertificate')
        return [{ profileId, issuanceState, thumbprint: result.thumbprint }];
      const { certificate, eventId } = result;
      return [
        {
          profileId,
          issuanceState,
          thumbprint: thumbprintOf(certificate.raw),
          serialNumber: certificate.serialNumber,
          notAfter: certificate.notAfter,
          eventId,
        },
      ];
    }
    case 'pending':
    case 'failed': {
      if (result.kind === 'scep') {
        const { issuanceState, hResult, eventId } = result;
        return [{ profileId, issuanceState, errorCode: hResult, eventId }];
      }
      // The MDM knows that it waits for the connector, and what it could not make out.
      if (result.outcome === 'pending' || result.kind === 'failed' || result.kind === 'unknown') return [];
      const { eventId } = result;
      return [{ profileId, issuanceState: 'installFailed', errorCode: hResults.E_FAIL.value, eventId }];
    }
  }
}
