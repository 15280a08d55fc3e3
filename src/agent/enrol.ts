/** One enrolment, from the profile to the certificate in its store (RFC 8894 §3). */
import {
  basicConstraintsOf,
  type Certificate,
  keyUsageOf,
  nameFromString,
  nameToString,
  sameOctets,
  thumbprintOf,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { KeyAlgorithm, PrivateKey } from '../keys/index.ts';
import { type CertRep, parseCertRep, readPkiMessage } from '../scep/index.ts';
import type { Clock } from '../telemetry.ts';
import { buildEnrolmentMessage, buildPollMessage, certificationRequestFor } from './enrolment-request.ts';
import type { DeviceEventName, EventDetail, EventLog } from './event-log.ts';
import { type HResultName, hResults, hResultText } from './h-result.ts';
import type { HttpClient } from './http-client.ts';
import type { ReportedState, ScepProfile } from './mdm-client.ts';
import {
  checkAuthority,
  findTrustedPath,
  hResultNameOf,
  type Trust,
  type TrustedAuthority,
} from './registration-authority.ts';
import { type Attempt, type RetryPolicy, withRetries } from './retry.ts';
import { type Capabilities, cipherFor, digestFor, type Exchange, ScepTransport } from './scep-transport.ts';
import type { DeviceFolder, PendingRequest, ScepRecord } from './state.ts';

/** Steps that an enrolment takes, in the order of a first one. */
export type EnrolmentStep = 'GetCACert' | 'key' | 'request' | 'install';

/** How long the steps took that were taken, in milliseconds; waiting between attempts is part of them. */
export type StepDurations = Readonly<Partial<Record<EnrolmentStep, number>>>;

/** What an enrolment came to. */
export type EnrolmentResult =
  | {
      readonly outcome: 'installed';
      readonly certificate: Certificate;
      /** From the issuing CA up to the root. */
      readonly chain: readonly Certificate[];
      readonly transactionID: string;
      /** Times that the message was sent. */
      readonly attempts: number;
      readonly eventId: number;
      readonly durationsMs: StepDurations;
    }
  | {
      /** `failed`: nothing is kept, the next check-in begins anew. `pending`: the request is kept and sent again then. */
      readonly outcome: 'failed' | 'pending';
      readonly issuanceState: ReportedState;
      readonly hResult: number;
      readonly eventId: number;
      readonly detail: string;
      /** When the server asked to be asked again, if it did. */
      readonly retryAt?: Date | undefined;
      readonly durationsMs: StepDurations;
    };

/** What an enrolment needs. */
export interface EnrolmentOptions {
  /** Locked by the caller. */
  readonly folder: DeviceFolder;
  readonly profile: ScepProfile;
  /** `undefined` if the certificate that the profile names is not on the device. */
  readonly trust: Trust | undefined;
  /** A request for this profile that was left under way. */
  readonly pending: PendingRequest | undefined;
  readonly http: HttpClient;
  readonly events: EventLog;
  readonly retry: RetryPolicy;
  readonly clock: Clock;
  readonly signal?: AbortSignal | undefined;
  /** Called when a step has ended. */
  readonly onStep?: ((step: EnrolmentStep, durationMs: number) => void) | undefined;
}

/** Why an enrolment ends without a certificate. */
interface Stop {
  readonly outcome: 'failed' | 'pending';
  readonly event: DeviceEventName;
  readonly issuanceState: ReportedState;
  readonly hResult: number;
  readonly detail: string;
  readonly retryAfterMs?: number | undefined;
  readonly facts?: EventDetail;
}

/** A message and what its answer is checked against. */
type Sent = Pick<PendingRequest, 'message' | 'transactionID' | 'senderNonce'>;

/** A SCEP server that answered, and whom requests go to. */
interface Initialized {
  readonly transports: readonly ScepTransport[];
  readonly capabilities: Capabilities;
  readonly authority: TrustedAuthority;
}

/** A certificate that passed every check. */
interface Accepted {
  readonly path: readonly Certificate[];
  readonly attempts: number;
}

/** What Windows shows for a request that it takes on. */
const ACCEPTED = '0x2ab0003';
/** KeyProtection of the ClientCertificateInstall CSP: software. A TPM would be 1. */
const KEY_PROTECTION = '0x3';

/**
 * Enrols, or takes up what an earlier run had begun.
 *
 * A request that was made is kept, with its key, before it is first sent, and is sent again octet for octet until there is
 * an answer: a server that has seen it gives the certificate that it already made, however often the network or this
 * process breaks down in between. What the server signed as FAILURE, and any answer that does not pass the checks, ends the
 * request and its key; the next check-in brings a new challenge.
 *
 * @throws the signal's reason if it is aborted: the request is kept. PkiError `device_folder`, or what the file system
 *   throws, if the folder cannot be written.
 */
export async function enrol(options: EnrolmentOptions): Promise<EnrolmentResult> {
  return await new Enrolment(options).run();
}

class Enrolment {
  readonly #options: EnrolmentOptions;
  readonly #durationsMs: Partial<Record<EnrolmentStep, number>> = {};

  constructor(options: EnrolmentOptions) {
    this.#options = options;
  }

  async run(): Promise<EnrolmentResult> {
    const { profile, events } = this.#options;
    const node = `./Device/Vendor/MSFT/ClientCertificateInstall/SCEP/${profile.profileId}/Install/Enroll`;
    await events.write(
      'execAccepted',
      `SCEP: CspExecute for UniqueId: (${profile.profileId}) NodePath: (${node}) KeyProtection: (${KEY_PROTECTION}) Result: (${ACCEPTED}).`,
      { profileId: profile.profileId, version: profile.version },
    );
    const resumable = await this.#resumable();
    const initialized = await this.#timed('GetCACert', () => this.#initialize(resumable !== undefined));
    if ('outcome' in initialized) {
      return await this.#end(resumable === undefined ? initialized : { ...initialized, outcome: 'pending' });
    }

    if (resumable !== undefined) {
      const result = await this.#resume(resumable, initialized);
      if (result !== undefined) return result;
    }
    const request = await this.#timed('key', () => this.#create(initialized));
    if ('outcome' in request) return await this.#end(request);
    return await this.#submit(request.pending, request.key, initialized);
  }

  // --- a request from an earlier run --------------------------------------------------------------------------------------

  /** The request that was left under way, unless it is of another version of the profile or has outlived its signer. */
  async #resumable(): Promise<PendingRequest | undefined> {
    const { folder, profile, pending, clock } = this.#options;
    if (pending === undefined) return undefined;
    if (pending.version === profile.version && pending.notAfter > clock.now()) return pending;
    await folder.removeRequest(profile.profileId);
    return undefined;
  }

  /** Sends it again. `undefined` if that is of no use but a fresh challenge allows another request. */
  async #resume(pending: PendingRequest, initialized: Initialized): Promise<EnrolmentResult | undefined> {
    const { folder, profile, events } = this.#options;
    const { transactionID, keyFile } = pending;
    await events.write(
      'requestResumed',
      'SCEP: A certificate request from before is sent again, with the same key and transaction.',
      { profileId: profile.profileId, transactionID, madeAt: pending.createdAt.toISOString() },
    );
    const key = await folder.openKey(keyFile).catch((cause: unknown) => {
      if (cause instanceof PkiError && cause.code === 'key_locked') return cause;
      throw cause;
    });
    if (!(key instanceof PkiError)) {
      const result = await this.#submit(pending, key, initialized);
      if (result.outcome !== 'failed' || profile.challenge === undefined) return result;
      return undefined;
    }
    await folder.removeRequest(profile.profileId);
    if (profile.challenge !== undefined) return undefined;
    return await this.#end(this.#failed('requestCreationFailed', 'NTE_FAIL', key.message));
  }

  // --- GetCACaps, GetCACert -----------------------------------------------------------------------------------------------

  async #initialize(resuming: boolean): Promise<Initialized | Stop> {
    const { profile, trust, http, signal, clock } = this.#options;
    if (profile.challenge === undefined && !resuming) {
      return this.#failed('requestCreationFailed', 'E_FAIL', 'the check-in brought no challenge');
    }
    if (trust === undefined) {
      return this.#failed(
        'requestCreationFailed',
        'CERT_E_UNTRUSTEDROOT',
        `the trusted certificate of profile ${profile.rootCertificate}, which the SCEP profile names, is not on the device`,
      );
    }
    if (thumbprintOf(trust.ca.raw) !== profile.caThumbprint) {
      return this.#failed(
        'requestCreationFailed',
        'CRYPT_E_HASH_VALUE',
        `the profile wants ${profile.caThumbprint}; its trusted certificate is ${thumbprintOf(trust.ca.raw)}`,
      );
    }
    let transports: ScepTransport[];
    try {
      // Windows shuffles its list: devices spread over the servers, each of which can serve any of them.
      transports = shuffled(profile.scepServerUrls).map((url) => new ScepTransport(url, http, signal));
    } catch (cause) {
      if (!(cause instanceof PkiError)) throw cause;
      return this.#initializeFailed(hResults.E_FAIL.value, cause.message, profile.scepServerUrls.join(' '));
    }
    const answers = await withRetries(
      this.#options.retry,
      ({ deadline }) =>
        walk(transports, deadline, async (transport) => {
          const capabilities = await transport.capabilities();
          if (capabilities.exchange !== 'answered') return capabilities;
          const ca = await transport.caCertificates();
          if (ca.exchange !== 'answered') return ca;
          return { exchange: 'answered', value: { capabilities: capabilities.value, ca: ca.value } };
        }),
      { signal, onPause: (pause) => this.#onPause('GetCACert', pause) },
    );
    if (answers.attempts === 'exhausted') {
      const { hResult, detail, transport } = answers.reason;
      return {
        ...this.#initializeFailed(hResult, detail, transport.url.href),
        retryAfterMs: answers.retryAfterMs,
      };
    }
    const { transport, exchange } = answers.value;
    if (exchange.exchange === 'unusable') {
      return this.#initializeFailed(exchange.hResult, exchange.detail, transport.url.href);
    }
    const { capabilities, ca } = exchange.value;
    const authority = checkAuthority(ca, trust, clock.now());
    if (authority.authority === 'refused') {
      return this.#failed('requestCreationFailed', authority.hResult, authority.detail, {
        url: transport.url.href,
      });
    }
    // The one that has just answered goes first.
    const others = transports.filter((each) => each !== transport);
    return { transports: [transport, ...others], capabilities, authority };
  }

  // --- key and request ----------------------------------------------------------------------------------------------------

  /** Makes the key and the message and keeps both, before anybody sees them. */
  async #create(
    initialized: Initialized,
  ): Promise<{ readonly pending: PendingRequest; readonly key: PrivateKey } | Stop> {
    const { folder, profile, clock, events } = this.#options;
    const { challenge } = profile;
    if (challenge === undefined) {
      return this.#failed('requestCreationFailed', 'E_FAIL', 'the check-in brought no challenge');
    }
    const now = clock.now();
    const algorithm: KeyAlgorithm = `rsa-${profile.keyLength}`;
    try {
      const { keyFile, key } = await folder.createKey(algorithm);
      const message = await buildEnrolmentMessage({
        key,
        csr: await certificationRequestFor(profile, key, challenge),
        recipient: initialized.authority.encryption,
        cipher: cipherFor(initialized.capabilities),
        digest: digestFor(initialized.capabilities),
        now,
      });
      const pending: PendingRequest = {
        profileId: profile.profileId,
        version: profile.version,
        keyFile,
        createdAt: now,
        ...message,
      };
      await folder.putRequest(pending);
      const url = initialized.transports[0]?.url.href;
      await events.write(
        'requestGenerated',
        `SCEP: Certificate request generated successfully. Enhanced Key Usage: (${profile.extKeyUsage.join('+')}), NDES URL: (${url}), KSP Setting: (${KEY_PROTECTION}), Store Location: (0x1).`,
        {
          profileId: profile.profileId,
          transactionID: message.transactionID,
          url,
          subject: profile.subject,
          keyLength: profile.keyLength,
          cipher: cipherFor(initialized.capabilities),
          digest: digestFor(initialized.capabilities),
        },
      );
      return { pending, key };
    } catch (cause) {
      if (!(cause instanceof PkiError) || cause.code === 'device_folder') throw cause;
      return this.#failed('requestCreationFailed', 'NTE_FAIL', cause.message);
    }
  }

  // --- PKIOperation -------------------------------------------------------------------------------------------------------

  /** Sends the request, however often, and ends it: installed, failed, or kept. */
  async #submit(
    pending: PendingRequest,
    key: PrivateKey,
    initialized: Initialized,
  ): Promise<EnrolmentResult> {
    const { folder, profile } = this.#options;
    const accepted = await this.#timed('request', () => this.#exchange(pending, key, initialized));
    if ('outcome' in accepted) {
      if (accepted.outcome === 'failed') await folder.removeRequest(profile.profileId);
      return await this.#end({
        ...accepted,
        facts: { transactionID: pending.transactionID, ...accepted.facts },
      });
    }
    return await this.#timed('install', () => this.#install(pending, accepted));
  }

  /**
   * A device that hears PENDING asks again by CertPoll (RFC 8894 §3.3.3). A later run begins with the PKCSReq again, octet
   * for octet, which a server that knows it answers alike: one message to keep over a crash.
   */
  async #exchange(
    pending: PendingRequest,
    key: PrivateKey,
    initialized: Initialized,
  ): Promise<Accepted | Stop> {
    const { retry, signal } = this.#options;
    const { transports, capabilities } = initialized;
    const first: Sent = pending;
    let next = first;
    const outcome = await withRetries(
      retry,
      async ({ deadline }): Promise<Attempt<CertRep | Stop, Stop>> => {
        const answer = await walk(transports, deadline, (transport) =>
          transport.pkiOperation(next.message, capabilities),
        );
        if (answer.attempt === 'again') {
          const { hResult, detail, transport } = answer.reason;
          const facts = { url: transport.url.href };
          const reason = { ...this.#notSent(hResult, detail), facts, outcome: 'pending' } as const;
          return { attempt: 'again', reason, retryAfterMs: answer.retryAfterMs };
        }
        const { transport, exchange } = answer.value;
        if (exchange.exchange === 'unusable') {
          const stop = this.#notSent(exchange.hResult, exchange.detail);
          return { attempt: 'done', value: { ...stop, facts: { url: transport.url.href } } };
        }
        const certRep = await this.#read(exchange.value, next, key, initialized.authority);
        if (!('pkiStatus' in certRep)) return { attempt: 'done', value: certRep };
        if (certRep.pkiStatus === 'PENDING') {
          next = await this.#pollFor(pending, key, initialized);
          return { attempt: 'again', reason: undecided };
        }
        // A server that does not find it by CertPoll may know the request itself.
        if (certRep.pkiStatus === 'FAILURE' && certRep.failInfo === 'badCertId' && next !== first) {
          next = first;
          return { attempt: 'again', reason: undecided };
        }
        return { attempt: 'done', value: certRep };
      },
      { signal, onPause: (pause) => this.#onPause('PKIOperation', pause) },
    );
    if (outcome.attempts === 'exhausted') return { ...outcome.reason, retryAfterMs: outcome.retryAfterMs };
    const certRep = outcome.value;
    if ('outcome' in certRep) return certRep;
    switch (certRep.pkiStatus) {
      case 'PENDING':
        return undecided;
      case 'FAILURE':
        return this.#refusedByServer(certRep);
      case 'SUCCESS':
        return this.#accept(certRep.certificates, key, initialized.authority, outcome.count);
    }
  }

  async #pollFor(pending: PendingRequest, key: PrivateKey, initialized: Initialized): Promise<Sent> {
    const { capabilities, authority } = initialized;
    return await buildPollMessage({
      transactionID: pending.transactionID,
      subject: nameFromString(this.#options.profile.subject),
      authority,
      signer: readPkiMessage(pending.message).signer,
      key,
      cipher: cipherFor(capabilities),
      digest: digestFor(capabilities),
    });
  }

  /** An answer counts only if an RA that was checked signed it, for this transaction and this nonce. */
  async #read(
    body: Uint8Array,
    { transactionID, senderNonce }: Sent,
    key: PrivateKey,
    authority: TrustedAuthority,
  ): Promise<CertRep | Stop> {
    try {
      return await parseCertRep(body, {
        signers: authority.signers,
        transactionID,
        senderNonce,
        decrypt: key.decrypt,
      });
    } catch (cause) {
      if (!(cause instanceof PkiError) || cause.kind !== 'malformed') throw cause;
      const name = cause.code === 'scep_signature' ? 'TRUST_E_CERT_SIGNATURE' : 'CRYPT_E_ASN1_BADTAG';
      return this.#failed('responseProcessingFailed', name, cause.message);
    }
  }

  #refusedByServer(failure: Extract<CertRep, { pkiStatus: 'FAILURE' }>): Stop {
    const said = failure.failInfoText ?? 'the server gave no text';
    return {
      ...this.#failed(
        'requestSubmitFailed',
        'E_FAIL',
        `the SCEP server answered FAILURE, ${failure.failInfo}: ${said}`,
      ),
      facts: { failInfo: failure.failInfo, failInfoText: failure.failInfoText },
    };
  }

  // --- checks, then installation ------------------------------------------------------------------------------------------

  /** The certificate must be for our key, a device's and not a CA's, and lead to a root through the CA of the profile. */
  #accept(
    certificates: readonly Certificate[],
    key: PrivateKey,
    authority: TrustedAuthority,
    attempts: number,
  ): Accepted | Stop {
    const { trust, clock } = this.#options;
    const refuse = (name: HResultName, detail: string) =>
      this.#failed('responseProcessingFailed', name, detail);
    const leaf = certificates.find((certificate) => sameOctets(certificate.spki, key.spki));
    if (leaf === undefined) {
      const names = certificates.map((certificate) => nameToString(certificate.subject)).join('; ');
      return refuse(
        'NTE_BAD_PUBLIC_KEY',
        `no certificate of the answer is for the key of the request: ${names || 'none came'}`,
      );
    }
    if (mayActAsCa(leaf))
      return refuse('E_FAIL', 'the answer holds a CA certificate for the key of the request');
    if (trust === undefined) throw new PkiError('internal', 'an answer without trust');
    const path = findTrustedPath(leaf, trust, [...certificates, ...authority.served], clock.now());
    if (path.path === 'none') return refuse(hResultNameOf(path), path.detail);
    return { path: path.certificates, attempts };
  }

  /** Certificates first, then the record that makes them count, then the request goes. */
  async #install(pending: PendingRequest, accepted: Accepted): Promise<EnrolmentResult> {
    const { folder, profile, events } = this.#options;
    const [leaf, ...chain] = accepted.path;
    if (leaf === undefined) throw new PkiError('internal', 'a path without a certificate');
    // The root is there already: only a trusted-certificate profile can bring one.
    for (const intermediate of chain.slice(0, -1)) await folder.putCertificate('intermediate', intermediate);
    await folder.putCertificate('my', leaf);
    const record: ScepRecord = {
      kind: 'scep',
      profileId: profile.profileId,
      version: profile.version,
      displayName: profile.displayName,
      thumbprint: thumbprintOf(leaf.raw),
      keyFile: pending.keyFile,
      serialNumber: leaf.serialNumber,
      notBefore: leaf.notBefore,
      notAfter: leaf.notAfter,
      renewalThresholdPercentage: profile.renewalThresholdPercentage,
      chain: chain.map((certificate) => thumbprintOf(certificate.raw)),
      transactionID: pending.transactionID,
    };
    await folder.putProfile(record);
    await folder.removeRequest(profile.profileId);
    const eventId = await events.write(
      'certificateInstalled',
      `SCEP: Certificate installed successfully. Thumbprint: (${record.thumbprint}), Issuer: (${nameToString(leaf.issuer)}).`,
      {
        profileId: profile.profileId,
        transactionID: pending.transactionID,
        thumbprint: record.thumbprint,
        serialNumber: leaf.serialNumber,
        notAfter: leaf.notAfter.toISOString(),
      },
    );
    return {
      outcome: 'installed',
      certificate: leaf,
      chain,
      transactionID: pending.transactionID,
      attempts: accepted.attempts,
      eventId,
      durationsMs: this.#durationsMs,
    };
  }

  // --- ends ---------------------------------------------------------------------------------------------------------------

  /** Event 32: an enrolment that is over. */
  #failed(issuanceState: ReportedState, name: HResultName, detail: string, facts: EventDetail = {}): Stop {
    return {
      outcome: 'failed',
      event: 'enrolFailed',
      issuanceState,
      hResult: hResults[name].value,
      detail,
      facts,
    };
  }

  /** Event 32 for want of an answer, or of one that is SCEP. */
  #notSent(hResult: number, detail: string): Stop {
    return { outcome: 'failed', event: 'enrolFailed', issuanceState: 'requestSubmitFailed', hResult, detail };
  }

  /** Event 307: not even GetCACaps and GetCACert got an answer that could be used. */
  #initializeFailed(hResult: number, detail: string, url: string): Stop {
    const issuanceState = 'requestSubmitFailed';
    return { outcome: 'failed', event: 'initializeFailed', issuanceState, hResult, detail, facts: { url } };
  }

  async #end(stop: Stop): Promise<EnrolmentResult> {
    const { profile, events, clock } = this.#options;
    const { outcome, issuanceState, hResult, detail, retryAfterMs } = stop;
    const kept = outcome === 'pending' ? ' The request is kept and sent again at the next check-in.' : '';
    const message = `${headlines[stop.event] ?? 'SCEP:'} Result: (${hResultText(hResult)}) ${sentence(detail)}${kept}`;
    const eventId = await events.write(stop.event, message, {
      profileId: profile.profileId,
      hResult: `0x${hResult.toString(16).padStart(8, '0')}`,
      ...stop.facts,
    });
    return {
      outcome,
      issuanceState,
      hResult,
      eventId,
      detail,
      ...(retryAfterMs === undefined ? {} : { retryAt: new Date(clock.now().getTime() + retryAfterMs) }),
      durationsMs: this.#durationsMs,
    };
  }

  async #onPause(
    operation: string,
    pause: { readonly delayMs: number; readonly count: number; readonly reason: { readonly detail: string } },
  ): Promise<void> {
    await this.#options.events.write(
      'retryLater',
      `SCEP: ${operation} is tried again in ${Math.ceil(pause.delayMs / 1000)} s. Attempt ${pause.count}: ${pause.reason.detail}`,
      { profileId: this.#options.profile.profileId, attempts: pause.count, delayMs: pause.delayMs },
    );
  }

  async #timed<T>(step: EnrolmentStep, work: () => Promise<T>): Promise<T> {
    const begin = performance.now();
    try {
      return await work();
    } finally {
      const durationMs = performance.now() - begin;
      this.#durationsMs[step] = (this.#durationsMs[step] ?? 0) + durationMs;
      this.#options.onStep?.(step, durationMs);
    }
  }
}

/** How Windows begins these events. */
const headlines: Readonly<Partial<Record<DeviceEventName, string>>> = {
  enrolFailed: 'SCEP: Certificate enroll failed.',
  initializeFailed: 'SCEP: Failed to Initialize SCEP enrollment with NDES Server.',
  retryLater: 'SCEP: The server has not decided about the certificate request.',
};

/** PENDING, whatever the number of times that was asked. */
const undecided: Stop = {
  outcome: 'pending',
  event: 'retryLater',
  issuanceState: 'responsePending',
  hResult: hResults.S_OK.value,
  detail: 'the SCEP server answered PENDING',
};

function sentence(text: string): string {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`;
}

/** Asks the servers of a profile in turn until one answers, at least one of them and no further one after the deadline. */
async function walk<T>(
  transports: readonly ScepTransport[],
  deadline: number,
  ask: (transport: ScepTransport) => Promise<Exchange<T>>,
): Promise<
  Attempt<
    {
      readonly transport: ScepTransport;
      readonly exchange: Exclude<Exchange<T>, { exchange: 'unavailable' }>;
    },
    { readonly hResult: number; readonly detail: string; readonly transport: ScepTransport }
  >
> {
  type Unusable = Extract<Exchange<T>, { exchange: 'unusable' }>;
  type Unavailable = Extract<Exchange<T>, { exchange: 'unavailable' }>;
  let unusable: { readonly transport: ScepTransport; readonly exchange: Unusable } | undefined;
  let unavailable: { readonly transport: ScepTransport; readonly exchange: Unavailable } | undefined;
  for (const transport of transports) {
    const exchange = await ask(transport);
    if (exchange.exchange === 'answered') return { attempt: 'done', value: { transport, exchange } };
    if (exchange.exchange === 'unusable') unusable ??= { transport, exchange };
    else unavailable ??= { transport, exchange };
    if (performance.now() > deadline) break;
  }
  if (unavailable !== undefined) {
    const { hResult, detail, retryAfterMs } = unavailable.exchange;
    return { attempt: 'again', reason: { hResult, detail, transport: unavailable.transport }, retryAfterMs };
  }
  if (unusable !== undefined) return { attempt: 'done', value: unusable };
  throw new PkiError('internal', 'a profile without a server');
}

function shuffled<T>(values: readonly T[]): T[] {
  return values
    .map((value) => ({ value, rank: Math.random() }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ value }) => value);
}

/** Extensions that cannot be read count as a yes: what is doubtful is not installed. */
function mayActAsCa(certificate: Certificate): boolean {
  try {
    return (
      basicConstraintsOf(certificate)?.ca === true ||
      keyUsageOf(certificate)?.includes('keyCertSign') === true
    );
  } catch (cause) {
    if (cause instanceof PkiError && cause.kind === 'malformed') return true;
    throw cause;
  }
}
