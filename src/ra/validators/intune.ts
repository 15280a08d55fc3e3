/** Asks Intune, by its third-party CA contract, whether a request is the one that its challenge was made for. */
import { randomUUID } from 'node:crypto';
import type { ConfidentialClientApplication, INetworkModule, NetworkRequestOptions } from '@azure/msal-node';
import { type Certificate, nameToString, thumbprintOf } from '../../codec/index.ts';
import { type ErrorCode, PkiError } from '../../errors.ts';
import { type Clock, type Log, systemClock } from '../../telemetry.ts';
import type { EnrolmentRequest, Validator, Verdict } from '../validator.ts';
import { type Deadline, deadlineIn, HttpsClient, type HttpsResponse, NoResponse } from './https-client.ts';

/** What the Intune validator takes. */
export interface IntuneValidatorOptions {
  /** GUID or domain name of the tenant. */
  readonly tenant: string;
  /** Client id of the app registration; it holds `scep_challenge_provider` and Graph `Application.Read.All`. */
  readonly appId: string;
  /** Client secret of the app registration. */
  readonly secret: string;
  /** `callerInfo` of every call: `Leafgate/0.1.0`. */
  readonly providerNameAndVersion: string;
  /** Default `https://login.microsoftonline.com`. */
  readonly authority?: string | undefined;
  /** Default `https://graph.microsoft.com`: resource and address in one. */
  readonly graph?: string | undefined;
  /** Default `https://api.manage.microsoft.com`: a name for tokens; the address comes by discovery. */
  readonly intuneResource?: string | undefined;
  /** PEM certificates to trust beside the system's own, for a stand-in or an inspecting proxy. */
  readonly extraCa?: string | undefined;
  /** Bound of one HTTP attempt; default 30 s. */
  readonly timeoutMs?: number | undefined;
  /** Bound of one validate or notify with all its calls and retries; default 40 s. */
  readonly budgetMs?: number | undefined;
  readonly log: Log;
  readonly clock?: Clock | undefined;
}

/** A validator that holds connections. */
export interface IntuneValidator extends Validator {
  /** Ends its connections. */
  close(): Promise<void>;
}

const TIMEOUT_MS = 30_000;
/** Validate and notify together stay below the 85 s after which Entra application proxy gives up. */
const BUDGET_MS = 40_000;
/** The service moves between scale units now and then. */
const DISCOVERY_LIFETIME_MS = 24 * 60 * 60 * 1000;
/** Intune's own application id, whose endpoints Graph lists. */
const INTUNE_APP_ID = '0000000a-0000-0000-c000-000000000000';
const PROVIDER = 'ScepRequestValidationFEService';
/** A header of Intune's API, not a query parameter. */
const API_VERSION = '2018-02-20';
const ERROR_DESCRIPTION_CHARACTERS_MAX = 255;

/** What each of Intune's result codes is in our error table. A code that is not here is `validator_refused`. */
const errorCodes: Readonly<Record<string, ErrorCode>> = {
  ChallengePasswordMissing: 'challenge_missing',
  ChallengeDeserializationError: 'challenge_invalid',
  ChallengeDecryptionError: 'challenge_invalid',
  ChallengeDecodingError: 'challenge_invalid',
  ChallengeInvalidTimestamp: 'challenge_invalid',
  SignatureValidationFailed: 'challenge_invalid',
  ChallengeExpired: 'challenge_expired',
  SubjectNameMissing: 'subject_missing',
  SubjectNameMismatch: 'subject_mismatch',
  SubjectAltNameMissing: 'san_missing',
  SubjectAltNameMismatch: 'san_mismatch',
  KeyUsageMismatch: 'key_usage_mismatch',
  KeyLengthMismatch: 'key_size_mismatch',
  EnhancedKeyUsageMissing: 'eku_mismatch',
  EnhancedKeyUsageMismatch: 'eku_mismatch',
  ScepProfileNoLongerTargetedToTheClient: 'profile_not_assigned',
  BadCertificateRequestIdInChallenge: 'challenge_foreign',
  BadDeviceIdInChallenge: 'device_unknown',
  BadUserIdInChallenge: 'challenge_foreign',
};

/**
 * A validator that asks Intune, or whatever speaks its contract.
 *
 * Promise: it accepts on HTTP 200 with the code `Success` and on nothing else. Every other code refuses; every failure to
 * get a code is `unreachable`. Calls are repeated where Intune permits it (see `HttpsClient.send`); the same request may
 * be validated and notified twice. Neither the secret nor challenge, request or answer is logged or put into a verdict.
 *
 * @throws PkiError `config_invalid` if a base URL is not https.
 */
export function intuneValidator(options: IntuneValidatorOptions): IntuneValidator {
  const { log, budgetMs = BUDGET_MS } = options;
  const client = new HttpsClient({ extraCa: options.extraCa, timeoutMs: options.timeoutMs ?? TIMEOUT_MS });
  const service = new ScepActions(options, client);

  const act = async (action: string, transactionID: string, body: unknown): Promise<Verdict> => {
    const activityId = randomUUID();
    const verdict = await verdictOf(
      () => service.post(action, body, activityId, deadlineIn(budgetMs)),
      activityId,
    );
    const fields = { action, transactionID, activityId, ...verdict };
    if (verdict.verdict === 'accept') log.debug(fields, 'Intune accepts');
    else if (verdict.verdict === 'refuse') log.info(fields, 'Intune refuses');
    else log.warn(fields, 'Intune gives no answer');
    return verdict;
  };

  return {
    name: 'intune',
    challengeUse: 'single',
    validate: (request) =>
      act('validateRequest', request.transactionID, { request: commonFields(request, options) }),
    notifySuccess: (request, certificate) =>
      act('successNotification', request.transactionID, {
        notification: { ...commonFields(request, options), ...certificateFields(certificate) },
      }),
    notifyFailure: async (request, failure) => {
      await act('failureNotification', request.transactionID, {
        notification: {
          ...commonFields(request, options),
          hResult: failure.hResult,
          errorDescription: errorDescriptionOf(failure.description),
        },
      });
    },
    close: async () => client.close(),
  };
}

function commonFields(request: EnrolmentRequest, options: IntuneValidatorOptions) {
  return {
    transactionId: request.transactionID,
    // The request byte for byte as it was in the envelope: Intune takes the challenge out of it itself.
    certificateRequest: Buffer.from(request.csr.raw).toString('base64'),
    callerInfo: options.providerNameAndVersion,
  };
}

function certificateFields(certificate: Certificate) {
  return {
    certificateThumbprint: thumbprintOf(certificate.raw),
    certificateSerialNumber: certificate.serialNumber.toUpperCase(),
    certificateExpirationDateUtc: certificate.notAfter.toISOString(),
    issuingCertificateAuthority: nameToString(certificate.issuer),
    // Handed back in revocation requests; the serial number and the issuer suffice to find a certificate.
    caConfiguration: null,
    certificateAuthority: null,
  };
}

/** Intune wants at least one character and at most 255. */
function errorDescriptionOf(description: string): string {
  return description.trim().slice(0, ERROR_DESCRIPTION_CHARACTERS_MAX) || 'no description';
}

/** Why there is no answer, in words that are fit for log and audit. */
class Unreachable extends Error {}

async function verdictOf(post: () => Promise<HttpsResponse>, activityId: string): Promise<Verdict> {
  try {
    const code = resultCodeOf(await post());
    if (code === 'Success') return { verdict: 'accept', names: 'vouched', directory: 'as-requested' };
    return {
      verdict: 'refuse',
      code: Object.hasOwn(errorCodes, code) ? (errorCodes[code] ?? 'validator_refused') : 'validator_refused',
      detail: `${code} (client-request-id ${activityId})`,
    };
  } catch (cause) {
    const reason =
      cause instanceof Unreachable || cause instanceof PkiError
        ? cause.message
        : cause instanceof NoResponse
          ? cause.reason
          : `unexpected ${cause instanceof Error ? cause.name : typeof cause}`;
    return { verdict: 'unreachable', detail: `${reason} (client-request-id ${activityId})` };
  }
}

/** The code of an answer. Only HTTP 200 carries one. */
function resultCodeOf(response: HttpsResponse): string {
  const body = jsonOf(response.body);
  if (response.status !== 200) {
    throw new Unreachable(
      `HTTP ${response.status}${suffixOf(wordOf(fieldOf(fieldOf(body, 'error'), 'code')))}`,
    );
  }
  const code = fieldOf(body, 'code');
  if (typeof code !== 'string' || code === '') throw new Unreachable('HTTP 200 without a result code');
  // A code that is no plain word may quote what we sent; it is a refusal all the same.
  return wordOf(code) ?? 'a code that is not a word';
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

/** The value if it is a plain word such as `ChallengeExpired`: what others send is not quoted unless it is. */
function wordOf(value: unknown): string | undefined {
  return typeof value === 'string' && /^[A-Za-z0-9_.-]{1,64}$/.test(value) ? value : undefined;
}

function suffixOf(word: string | undefined): string {
  return word === undefined ? '' : ` ${word}`;
}

// --- the service ------------------------------------------------------------------------------------------------------

/** Intune's SCEP actions: finds the service by discovery and calls it with a fresh enough token. */
class ScepActions {
  readonly #client: HttpsClient;
  readonly #clock: Clock;
  readonly #graph: string;
  readonly #graphScope: string;
  readonly #intuneScope: string;
  readonly #tokens: Tokens;
  #endpoint: { readonly uri: string; readonly foundAt: number } | undefined;
  #discovery: Promise<string> | undefined;

  constructor(options: IntuneValidatorOptions, client: HttpsClient) {
    this.#client = client;
    this.#clock = options.clock ?? systemClock;
    this.#graph = baseUrlOf('graph', options.graph ?? 'https://graph.microsoft.com');
    this.#graphScope = `${this.#graph}/.default`;
    // The double slash is real: the resource's own name ends in a slash.
    const resource = baseUrlOf(
      'intuneResource',
      options.intuneResource ?? 'https://api.manage.microsoft.com',
    );
    this.#intuneScope = `${resource}//.default`;
    this.#tokens = new Tokens(options, client);
  }

  /** Calls one action. Throws Unreachable or NoResponse if there is no response at all. */
  async post(action: string, body: unknown, activityId: string, deadline: Deadline): Promise<HttpsResponse> {
    const uri = await this.#discover(deadline);
    try {
      const response = await this.#withToken(this.#intuneScope, deadline, (token) =>
        this.#client.send(
          {
            method: 'POST',
            url: `${uri}/ScepActions/${action}`,
            headers: {
              authorization: `Bearer ${token}`,
              'content-type': 'application/json; charset=utf-8',
              accept: 'application/json',
              'api-version': API_VERSION,
              'client-request-id': activityId,
            },
            body: JSON.stringify(body),
          },
          deadline,
        ),
      );
      if (response.status === 404 || response.status === 410 || response.status >= 500)
        this.#endpoint = undefined;
      return response;
    } catch (cause) {
      // No response: perhaps the service has moved.
      if (cause instanceof NoResponse) this.#endpoint = undefined;
      throw cause;
    }
  }

  /** Where the service is: from memory for a day, else from Graph; many that ask at a time share one question. */
  async #discover(deadline: Deadline): Promise<string> {
    const now = this.#clock.now().getTime();
    if (this.#endpoint !== undefined && now - this.#endpoint.foundAt < DISCOVERY_LIFETIME_MS) {
      return this.#endpoint.uri;
    }
    this.#discovery ??= this.#askGraph(deadline)
      .then((uri) => {
        this.#endpoint = { uri, foundAt: now };
        return uri;
      })
      .finally(() => {
        this.#discovery = undefined;
      });
    return before(deadline, this.#discovery);
  }

  async #askGraph(deadline: Deadline): Promise<string> {
    const response = await this.#withToken(this.#graphScope, deadline, (token) =>
      this.#client.send(
        {
          method: 'GET',
          url: `${this.#graph}/v1.0/servicePrincipals/appId=${INTUNE_APP_ID}/endpoints`,
          headers: {
            authorization: `Bearer ${token}`,
            accept: 'application/json',
            'client-request-id': randomUUID(),
          },
        },
        deadline,
      ),
    );
    const body = jsonOf(response.body);
    if (response.status !== 200) {
      const word = wordOf(fieldOf(fieldOf(body, 'error'), 'code'));
      throw new Unreachable(`service discovery: HTTP ${response.status}${suffixOf(word)}`);
    }
    const listed = fieldOf(body, 'value');
    const endpoints: readonly unknown[] = Array.isArray(listed) ? listed : [];
    const named = (field: string) => (endpoint: unknown) =>
      String(fieldOf(endpoint, field)).toLowerCase() === PROVIDER.toLowerCase();
    const uri = fieldOf(endpoints.find(named('providerName')) ?? endpoints.find(named('serviceName')), 'uri');
    // The token for Intune goes to this address: never in the clear.
    if (typeof uri !== 'string' || !URL.canParse(uri) || new URL(uri).protocol !== 'https:') {
      throw new Unreachable(`service discovery: no https endpoint of ${PROVIDER}`);
    }
    return uri.replace(/\/+$/, '');
  }

  /** Sends with a token; a token that the service does not take (HTTP 401) is replaced once. */
  async #withToken(
    scope: string,
    deadline: Deadline,
    send: (token: string) => Promise<HttpsResponse>,
  ): Promise<HttpsResponse> {
    const response = await send(await this.#tokens.token(scope, 'cached', deadline));
    if (response.status !== 401) return response;
    return send(await this.#tokens.token(scope, 'fresh', deadline));
  }
}

/** Throws PkiError `config_invalid`. */
function baseUrlOf(name: string, url: string): string {
  if (!URL.canParse(url) || new URL(url).protocol !== 'https:') {
    throw new PkiError('config_invalid', `${name} of the Intune validator must be an https URL`);
  }
  return url.replace(/\/+$/, '');
}

/** What `promise` brings, unless the deadline comes first. The promise itself goes on: others may wait for it. */
async function before<T>(deadline: Deadline, promise: Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => reject(new NoResponse('timeout')),
    Math.max(0, deadline - performance.now()),
  );
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

// --- tokens -----------------------------------------------------------------------------------------------------------

/** Access tokens by client credentials. MSAL keeps them until shortly before they expire. */
class Tokens {
  readonly #options: IntuneValidatorOptions;
  readonly #client: HttpsClient;
  readonly #authority: string;
  readonly #asked = new Map<string, Promise<string>>();
  #application: Promise<ConfidentialClientApplication> | undefined;

  constructor(options: IntuneValidatorOptions, client: HttpsClient) {
    this.#options = options;
    this.#client = client;
    this.#authority = baseUrlOf('authority', options.authority ?? 'https://login.microsoftonline.com');
  }

  /** A token for the scope; those who ask at a time share one question. Throws Unreachable or NoResponse. */
  async token(scope: string, freshness: 'cached' | 'fresh', deadline: Deadline): Promise<string> {
    const key = `${freshness} ${scope}`;
    let asked = this.#asked.get(key);
    if (asked === undefined) {
      asked = this.#ask(scope, freshness).finally(() => this.#asked.delete(key));
      this.#asked.set(key, asked);
    }
    return before(deadline, asked);
  }

  async #ask(scope: string, freshness: 'cached' | 'fresh'): Promise<string> {
    try {
      this.#application ??= this.#open();
      const application = await this.#application;
      const result = await application.acquireTokenByClientCredential({
        scopes: [scope],
        skipCache: freshness === 'fresh',
      });
      if (result === null || result.accessToken === '') throw new Unreachable('token: an empty answer');
      return result.accessToken;
    } catch (cause) {
      if (cause instanceof Unreachable || cause instanceof NoResponse) throw cause;
      // Entra's description may quote the request; its code and number do not.
      const word = wordOf(fieldOf(cause, 'errorCode'));
      const number = /AADSTS\d{1,10}/.exec(String(fieldOf(cause, 'errorMessage')))?.[0];
      throw new Unreachable(`token:${suffixOf(word)}${suffixOf(number)}`);
    }
  }

  async #open(): Promise<ConfidentialClientApplication> {
    const { ConfidentialClientApplication, LogLevel } = await import('@azure/msal-node');
    return new ConfidentialClientApplication({
      auth: {
        clientId: this.#options.appId,
        clientSecret: this.#options.secret,
        authority: `${this.#authority}/${this.#options.tenant}`,
        // The configured host is believed without asking Microsoft's public cloud about it.
        knownAuthorities: [new URL(this.#authority).host],
      },
      system: {
        networkClient: this.#network(),
        // HttpsClient has tried again already.
        disableInternalRetries: true,
        loggerOptions: { loggerCallback: () => {}, piiLoggingEnabled: false, logLevel: LogLevel.Error },
      },
    });
  }

  /** MSAL's way to the network, so that it trusts, bounds and repeats as all other calls do. */
  #network(): INetworkModule {
    const { budgetMs = BUDGET_MS } = this.#options;
    const send = async (method: 'GET' | 'POST', url: string, options: NetworkRequestOptions = {}) => {
      const response = await this.#client.send(
        {
          method,
          url,
          headers: options.headers ?? {},
          body: method === 'POST' ? (options.body ?? '') : undefined,
        },
        deadlineIn(budgetMs),
      );
      const body = jsonOf(response.body);
      if (typeof body !== 'object' || body === null) {
        throw new Unreachable(`token: HTTP ${response.status} without JSON`);
      }
      return { status: response.status, headers: { ...response.headers }, body: body as never };
    };
    return {
      sendGetRequestAsync: (url, options) => send('GET', url, options),
      sendPostRequestAsync: (url, options) => send('POST', url, options),
    };
  }
}
