/** Revokes what Intune wants revoked, by its contract for third-party CAs. */
import { randomUUID } from 'node:crypto';
import type { CertificateAuthority } from '../../ca/index.ts';
import { nameToString } from '../../codec/index.ts';
import { PkiError } from '../../errors.ts';
import type { RevocationReason, RevocationRequest, RevocationRequestStore } from '../../store/index.ts';
import { type Clock, type Log, systemClock } from '../../telemetry.ts';
import { deadlineIn } from './https-client.ts';
import {
  fieldOf,
  type IntuneConnection,
  IntuneService,
  jsonOf,
  reasonOf,
  statusOf,
  Unreachable,
} from './intune-service.ts';

/** What a revocation connector takes. */
export interface IntuneRevocationOptions extends IntuneConnection {
  readonly ca: Pick<
    CertificateAuthority,
    'issuer' | 'issuers' | 'certificate' | 'revoke' | 'release' | 'publishCrls'
  >;
  readonly store: RevocationRequestStore;
  /** The issuing CAs whose certificates Intune may have revoked, by their names in the configuration. */
  readonly issuers: readonly string[];
  /** Service identity that revokes, for the audit list. */
  readonly actor: string;
  readonly log: Log;
}

/** How a connector is. */
export interface RevocationState {
  /** `tenant/appId`. */
  readonly source: string;
  /** Requests that Intune has handed over and has no result of. */
  readonly backlog: number;
  /** Since when the oldest of them waits. */
  readonly oldest?: Date;
  /** When Intune last answered everything that it was asked. */
  readonly succeededAt?: Date;
  /** Why it does not now; absent if it does. */
  readonly lastError?: { readonly at: Date; readonly text: string };
}

/** Fetches revocation requests, does them, and says so. */
export interface IntuneRevocation {
  readonly source: string;
  /**
   * One round: does what is on record, asks for more until there is none, and answers each request once its revocation is
   * committed and the CRLs that list it are made. What fails is on record and done by a later round; a request that comes
   * twice changes nothing the second time. One round at a time; never throws.
   */
  work(): Promise<RevocationState>;
  /** @throws PkiError `store_unavailable`. */
  state(): Promise<RevocationState>;
  close(): void;
}

/** Of one page: the contract allows 500. */
const REQUESTS_MAX = 100;
/** Pages of one round, so that a service which hands out the same ones for ever does not keep it. */
const PAGES_MAX = 50;
/** Refused uploads of one round: enough to find a few results among a page's. */
const REFUSALS_MAX = 30;
/** Bound of one call with all its retries. */
const BUDGET_MS = 60_000;
/** Marks of requests are opaque and short; what is longer is not kept. */
const CONTEXT_CHARACTERS_MAX = 16 * 1024;
const TEXT_CHARACTERS_MAX = 1024;

/** Reasons that a stand-in may name; Intune names none. A CA's own are for people alone. */
const reasons: ReadonlySet<unknown> = new Set<RevocationReason>([
  'unspecified',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  'privilegeWithdrawn',
]);

/** Intune's words for what became of a request. */
type ErrorCode = 'None' | 'ParameterDataInvalidError' | 'CertificateNotFoundError' | 'ConflictError';

/** What became of a request, and the CA whose CRLs have to say so. */
interface Done {
  /** The certificate, as requests name it. */
  readonly about: string;
  readonly result: Result;
  readonly touched?: string;
}

/** What one round has to remember. */
interface Round {
  /** Marks of requests that stay on record. */
  readonly leftOver: Set<string>;
  /** What they are about. Later requests about the same stay, too: all of them come again, in their order. */
  readonly unsettled: Set<string>;
  /** How many more uploads may be refused before the rest is left over. */
  refusalsMax: number;
  /** The first thing that went wrong and did not end the round. */
  failure?: unknown;
}

interface Result {
  readonly requestContext: string;
  readonly succeeded: boolean;
  readonly errorCode: ErrorCode;
  readonly errorMessage: string | null;
}

/**
 * A revocation connector. It is for one process of all: who has the lead among the servers of a store.
 *
 * @throws PkiError `config_invalid` as `IntuneService`.
 */
export function intuneRevocation(options: IntuneRevocationOptions): IntuneRevocation {
  return new Connector(options);
}

class Connector implements IntuneRevocation {
  readonly source: string;
  readonly #options: IntuneRevocationOptions;
  readonly #clock: Clock;
  readonly #service: IntuneService;
  /** Names of the CAs as Intune was told them (`issuingCertificateAuthority`), with those who bear them. */
  readonly #issuers = new Map<string, readonly string[]>();
  #succeededAt: Date | undefined;
  #lastError: { readonly at: Date; readonly text: string } | undefined;

  constructor(options: IntuneRevocationOptions) {
    this.source = `${options.tenant}/${options.appId}`.toLowerCase();
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#service = new IntuneService(options);
    const nameOf = (issuer: string) => nameToString(options.ca.issuer(issuer).certificate.subject);
    for (const issuer of options.issuers) {
      const name = nameOf(issuer);
      // A CA keeps its name when it gets a new key: certificates of both are asked for under it.
      const bearers = options.ca.issuers.filter((other) => nameOf(other.name) === name);
      this.#issuers.set(
        name,
        bearers.map((bearer) => bearer.name),
      );
    }
  }

  close(): void {
    this.#service.close();
  }

  async state(): Promise<RevocationState> {
    const { count, oldest } = await this.#options.store.revocationBacklog(this.source);
    return {
      source: this.source,
      backlog: count,
      ...(oldest === undefined ? {} : { oldest }),
      ...(this.#succeededAt === undefined ? {} : { succeededAt: this.#succeededAt }),
      ...(this.#lastError === undefined ? {} : { lastError: this.#lastError }),
    };
  }

  async work(): Promise<RevocationState> {
    const { log } = this.#options;
    const { source } = this;
    const round: Round = { leftOver: new Set(), unsettled: new Set(), refusalsMax: REFUSALS_MAX };
    try {
      // What is left of an earlier round, or of a process that ended, comes first.
      await this.#settle(round);
      for (const issuerName of this.#issuers.keys()) await this.#fetch(issuerName, round);
      if (round.failure !== undefined) throw round.failure;
      this.#succeededAt = this.#clock.now();
      this.#lastError = undefined;
    } catch (cause) {
      const text = reasonOf(cause);
      this.#lastError = { at: this.#clock.now(), text };
      log.warn({ source, reason: text }, 'Intune’s revocation requests: it is tried again');
    }
    const state = await this.state().catch(
      (): RevocationState => ({
        source,
        backlog: 0,
        lastError: { at: this.#clock.now(), text: 'the store does not answer' },
      }),
    );
    if (state.backlog > 0) log.warn(state, 'revocation requests wait for their answer to Intune');
    return state;
  }

  /** Asks for requests of one CA until there are no more. */
  async #fetch(issuerName: string, round: Round): Promise<void> {
    const seen = new Set<string>();
    for (let page = 0; page < PAGES_MAX; page += 1) {
      const requests = await this.#download(issuerName);
      const fresh = requests.filter(({ requestContext }) => !seen.has(requestContext));
      for (const { requestContext } of fresh) seen.add(requestContext);
      // On disk before anything is done: nothing says that Intune hands a request out twice.
      await this.#options.store.keepRevocationRequests(fresh);
      await this.#settle(round);
      if (requests.length < REQUESTS_MAX || fresh.length === 0) return;
    }
  }

  async #download(issuerName: string): Promise<RevocationRequest[]> {
    const { body } = await this.#call('downloadRevocationRequests', {
      downloadParameters: { maxRequests: REQUESTS_MAX, issuerName },
    });
    const listed = fieldOf(body, 'value');
    if (!Array.isArray(listed)) throw new Unreachable('service', 'downloadRevocationRequests: no list');
    const receivedAt = this.#clock.now();
    return listed.flatMap((item: unknown): RevocationRequest[] => {
      const request = this.#requestIn(item, receivedAt);
      // Another connector's, or of no use: who asks for it later still finds it.
      if (request === undefined)
        this.#options.log.warn(
          { source: this.source, issuerName },
          'a revocation request that is not for us',
        );
      return request === undefined ? [] : [request];
    });
  }

  #requestIn(item: unknown, receivedAt: Date): RevocationRequest | undefined {
    const requestContext = textIn(item, 'requestContext', CONTEXT_CHARACTERS_MAX);
    const serialNumber = textIn(item, 'serialNumber', TEXT_CHARACTERS_MAX);
    const issuerName = textIn(item, 'issuerName', TEXT_CHARACTERS_MAX);
    if (requestContext === undefined || serialNumber === undefined || issuerName === undefined)
      return undefined;
    if (!this.#issuers.has(issuerName)) return undefined;
    const asked = fieldOf(item, 'action');
    const action = asked === 'hold' || asked === 'release' ? asked : 'revoke';
    const named = fieldOf(item, 'reason');
    const reason = reasons.has(named) ? (named as RevocationReason) : 'unspecified';
    return { source: this.source, requestContext, serialNumber, issuerName, action, reason, receivedAt };
  }

  /**
   * Does what is on record, oldest first, and tells Intune. What cannot be told stays on record and is left over for the next
   * round: one result that Intune does not take, or one CA whose key is out of reach, keeps nobody else's waiting.
   */
  async #settle(round: Round): Promise<void> {
    const { ca, store } = this.#options;
    for (let page = 0; page < PAGES_MAX; page += 1) {
      const limit = REQUESTS_MAX + round.leftOver.size;
      const known = await store.revocationRequests({ source: this.source, limit });
      const requests = known.filter(({ requestContext }) => !round.leftOver.has(requestContext));
      if (requests.length === 0) return;
      const done: Done[] = [];
      for (const request of requests) done.push(await this.#act(request));
      // A revocation that nobody can see is none: the lists first, and then the answer.
      const unlisted = new Set<string>();
      for (const issuer of new Set(done.flatMap(({ touched }) => (touched === undefined ? [] : [touched]))))
        await ca.publishCrls(issuer).catch((cause: unknown) => {
          unlisted.add(issuer);
          round.failure ??= cause;
        });
      const isListed = ({ touched }: Done) => touched === undefined || !unlisted.has(touched);
      leaveOver(
        done.filter((each) => !isListed(each)),
        round,
      );
      await this.#answer(done.filter(isListed), round);
    }
  }

  /** Tells Intune what became of requests; where it does not take some together, in halves, to find the one. */
  async #answer(done: readonly Done[], round: Round): Promise<void> {
    const isBlocked = ({ about }: Done) => round.unsettled.has(about);
    leaveOver(done.filter(isBlocked), round);
    const answered = done.filter((each) => !isBlocked(each));
    if (answered.length === 0) return;
    const results = answered.map(({ result }) => result);
    if ((await this.#upload(results)) === 'taken') {
      const contexts = results.map(({ requestContext }) => requestContext);
      await this.#options.store.forgetRevocationRequests(this.source, contexts);
      return;
    }
    round.failure ??= new Unreachable('service', 'uploadRevocationResults: the results were not taken');
    round.refusalsMax -= 1;
    if (answered.length === 1 || round.refusalsMax <= 0) {
      leaveOver(answered, round);
      return;
    }
    const half = Math.ceil(answered.length / 2);
    await this.#answer(answered.slice(0, half), round);
    await this.#answer(answered.slice(half), round);
  }

  /** Throws Unreachable if it cannot be known whether they were taken. */
  async #upload(results: readonly Result[]): Promise<'taken' | 'refused'> {
    const { status, body } = await this.#call('uploadRevocationResults', { results });
    // HTTP 400: it has read them, and one of them is not to its liking.
    if (status === 400) return 'refused';
    return fieldOf(body, 'value') === true ? 'taken' : 'refused';
  }

  /** Does one request; a store that fails ends the round, and nothing of it is answered. */
  async #act(request: RevocationRequest): Promise<Done> {
    const { log } = this.#options;
    const { requestContext, serialNumber, issuerName, action } = request;
    const octets = serialOctetsOf(serialNumber);
    const result = (errorCode: ErrorCode, errorMessage: string | null, touched?: string): Done => ({
      about: `${issuerName} ${octets ?? serialNumber}`,
      result: { requestContext, succeeded: errorCode === 'None', errorCode, errorMessage },
      ...(touched === undefined ? {} : { touched }),
    });
    if (octets === undefined) return result('ParameterDataInvalidError', 'no serial number of hexadecimal');
    for (const issuer of this.#issuers.get(issuerName) ?? []) {
      const outcome = await this.#change(request, issuer, octets);
      if (outcome === 'unknown') continue;
      log.info(
        { source: this.source, issuer, serialNumber: octets, action, outcome },
        'Intune’s wish is done',
      );
      return outcome === 'not-held'
        ? result('ConflictError', 'not on hold', issuer)
        : result('None', null, issuer);
    }
    return result('CertificateNotFoundError', 'this CA has issued no certificate of this serial number');
  }

  /** `already` is as good as done: the request may be here again because its answer was lost. */
  async #change(
    { requestContext, action, reason }: RevocationRequest,
    issuer: string,
    serialNumber: string,
  ): Promise<'done' | 'already' | 'not-held' | 'unknown'> {
    const { ca, actor } = this.#options;
    const text = `asked for by Intune, tenant and application ${this.source}, request ${requestContext.slice(0, 64)}`;
    const which = { issuer, serialNumber, actor, text };
    if (action === 'release') {
      const outcome = await ca.release(which);
      if (outcome !== 'not-held') return outcome === 'released' ? 'done' : outcome;
      return (await ca.certificate(issuer, serialNumber))?.status === 'issued' ? 'already' : outcome;
    }
    const outcome = await ca.revoke({ ...which, reason: action === 'hold' ? 'certificateHold' : reason });
    return outcome === 'revoked' ? 'done' : outcome;
  }

  /** Throws Unreachable for every status but 200, and 400 of an upload. */
  async #call(name: string, body: unknown): Promise<{ readonly status: number; readonly body: unknown }> {
    const activityId = randomUUID();
    try {
      const response = await this.#service.post({
        service: 'pkiConnector',
        path: `CertificateAuthorityRequests/${name}`,
        body,
        activityId,
        deadline: deadlineIn(BUDGET_MS),
      });
      const { status } = response;
      if (status !== 200 && !(status === 400 && name === 'uploadRevocationResults'))
        throw new Unreachable('service', `${name}: ${statusOf(response)}`);
      return { status, body: jsonOf(response.body) };
    } catch (cause) {
      if (cause instanceof PkiError) throw cause;
      throw new Unreachable('service', `${reasonOf(cause)} (client-request-id ${activityId})`);
    }
  }
}

function leaveOver(done: readonly Done[], round: Round): void {
  for (const { about, result } of done) {
    round.leftOver.add(result.requestContext);
    round.unsettled.add(about);
  }
}

function textIn(item: unknown, name: string, charactersMax: number): string | undefined {
  const text = fieldOf(item, name);
  return typeof text === 'string' && text !== '' && text.length <= charactersMax ? text : undefined;
}

/** A serial number as the store writes it, from the forms in which people and programs write hexadecimal. */
function serialOctetsOf(text: string): string | undefined {
  const digits = text.replace(/^0x/i, '').replaceAll(/[\s:]/g, '').toLowerCase();
  // RFC 5280 §4.1.2.2: at most 20 octets.
  if (!/^[0-9a-f]{1,40}$/.test(digits)) return undefined;
  return digits.length % 2 === 0 ? digits : `0${digits}`;
}
