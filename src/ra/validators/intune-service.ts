/** A connection to Intune as a registered application: tokens, where its services are, calls to them. */
import { hash, randomUUID } from 'node:crypto';
import type { ConfidentialClientApplication, INetworkModule, NetworkRequestOptions } from '@azure/msal-node';
import { parsePem } from '../../codec/index.ts';
import { PkiError } from '../../errors.ts';
import { type Clock, systemClock } from '../../telemetry.ts';
import {
  type Deadline,
  deadlineIn,
  HttpsClient,
  type HttpsRequest,
  type HttpsResponse,
  NoResponse,
} from './https-client.ts';
import { entraNumberIn } from './intune-codes.ts';

/** Microsoft's clouds: who signs in, who knows where Intune is, and Intune's name in tokens. */
export const intuneClouds = {
  public: {
    authority: 'https://login.microsoftonline.com',
    graph: 'https://graph.microsoft.com',
    intuneResource: 'https://api.manage.microsoft.com',
  },
  /** GCC High. GCC itself is in the public cloud. */
  usGov: {
    authority: 'https://login.microsoftonline.us',
    graph: 'https://graph.microsoft.us',
    intuneResource: 'https://api.manage.microsoft.us',
  },
  usGovDoD: {
    authority: 'https://login.microsoftonline.us',
    graph: 'https://dod-graph.microsoft.us',
    intuneResource: 'https://api.manage.microsoft.us',
  },
  /** Operated by 21Vianet. Its Intune resource is published nowhere that we know of: `intuneResource` says another one. */
  china: {
    authority: 'https://login.partner.microsoftonline.cn',
    graph: 'https://microsoftgraph.chinacloudapi.cn',
    intuneResource: 'https://api.manage.microsoftonline.cn',
  },
} as const;

/** One of `intuneClouds`. */
export type IntuneCloud = keyof typeof intuneClouds;

/** By what the application proves itself: a client secret, or a certificate that Entra knows with its key. Both PEM. */
export type IntuneCredential =
  | { readonly secret: string }
  | { readonly certificate: string; readonly privateKey: string };

/** Who calls Intune, and where. */
export interface IntuneConnection {
  /** GUID or domain name of the tenant. */
  readonly tenant: string;
  /** Client id of the app registration; it holds `scep_challenge_provider` and Graph `Application.Read.All`. */
  readonly appId: string;
  readonly credential: IntuneCredential;
  /** Default `public`. The three URLs below go before it. */
  readonly cloud?: IntuneCloud | undefined;
  /** Where tokens come from. */
  readonly authority?: string | undefined;
  /** Microsoft Graph: resource and address in one. */
  readonly graph?: string | undefined;
  /** A name for tokens; the address comes by discovery. */
  readonly intuneResource?: string | undefined;
  /** PEM certificates to trust beside the system's own, for a stand-in or an inspecting proxy. */
  readonly extraCa?: string | undefined;
  /** Bound of one HTTP attempt; default 20 s. */
  readonly timeoutMs?: number | undefined;
  readonly clock?: Clock | undefined;
}

/** A service of Intune, as discovery names it, with the version that its API wants in a header. */
export const intuneServices = {
  scepValidation: { provider: 'ScepRequestValidationFEService', apiVersion: '2018-02-20' },
  // The year is no slip of ours: Microsoft's own clients send it.
  pkiConnector: { provider: 'PkiConnectorFEService', apiVersion: '5019-05-05' },
} as const;

/** One of `intuneServices`. */
export type IntuneServiceName = keyof typeof intuneServices;

/** One call. */
export interface IntuneCall {
  readonly service: IntuneServiceName;
  /** Below the service's address: `ScepActions/validateRequest`. */
  readonly path: string;
  readonly body: unknown;
  /** `client-request-id`: the same for all attempts, and what Microsoft's support asks for. */
  readonly activityId: string;
  readonly deadline: Deadline;
}

/** Why there is no answer, in words that are fit for log and audit. */
export class Unreachable extends Error {
  /** Where it came to an end, so that a check can name it. */
  readonly stage: 'token' | 'discovery' | 'service';
  /** The word or system code of a connection that brought nothing; absent if somebody answered. */
  readonly silence: string | undefined;

  constructor(stage: Unreachable['stage'], message: string, silence?: string) {
    super(message);
    this.name = 'Unreachable';
    this.stage = stage;
    this.silence = silence;
  }
}

/** No response, and from whom: whoever opens a firewall has to know. */
class NoResponseFrom extends NoResponse {
  readonly origin: string;

  constructor(reason: string, origin: string) {
    super(reason);
    this.origin = origin;
  }
}

const TIMEOUT_MS = 20_000;
/** A question for a token is shared by many: it is bounded by itself, and those who ask by their own deadlines. */
const TOKEN_BUDGET_MS = 40_000;
/** The services move between scale units now and then. */
const DISCOVERY_LIFETIME_MS = 24 * 60 * 60 * 1000;
/** Intune's own application id, whose endpoints Graph lists. */
const INTUNE_APP_ID = '0000000a-0000-0000-c000-000000000000';
/** No connection came about, so nobody has heard the call: the address may be an old one. */
const nobodyThere = new Set(['ENOTFOUND', 'EAI_AGAIN', 'ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH']);

// --- reading answers --------------------------------------------------------------------------------------------------

/** What a body says as JSON; `undefined` if it is none. */
export function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A member of an object; `undefined` of anything else. */
export function fieldOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

/** The value if it is a plain word such as `ChallengeExpired`: what others send is not quoted unless it is. */
export function wordOf(value: unknown): string | undefined {
  return typeof value === 'string' && /^[A-Za-z0-9_.-]{1,64}$/.test(value) ? value : undefined;
}

/** The word behind a space, if there is one. */
function suffixOf(word: string | undefined): string {
  return word === undefined ? '' : ` ${word}`;
}

/** Why a call has no answer, in words that are fit for log and audit. */
export function reasonOf(cause: unknown): string {
  if (cause instanceof Unreachable || cause instanceof PkiError) return cause.message;
  if (cause instanceof NoResponseFrom) return `${cause.reason} from ${cause.origin}`;
  if (cause instanceof NoResponse) return cause.reason;
  return `unexpected ${cause instanceof Error ? cause.name : typeof cause}`;
}

/** The word or system code of a connection that brought nothing; `undefined` if somebody answered. */
export function silenceOf(cause: unknown): string | undefined {
  return cause instanceof Unreachable
    ? cause.silence
    : cause instanceof NoResponse
      ? cause.reason
      : undefined;
}

/** What an answer that is not HTTP 200 says. */
export function statusOf({ status, body }: HttpsResponse): string {
  return `HTTP ${status}${suffixOf(wordOf(fieldOf(fieldOf(jsonOf(body), 'error'), 'code')))}`;
}

// --- the service ------------------------------------------------------------------------------------------------------

/** Intune's services: finds them by discovery and calls them with a fresh enough token. */
export class IntuneService {
  readonly #client: HttpsClient;
  readonly #clock: Clock;
  readonly #graph: string;
  readonly #scopes: { readonly graph: string; readonly intune: string };
  readonly #tokens: Tokens;
  /** By provider, in lower case. */
  #found: { readonly uris: ReadonlyMap<string, string>; readonly at: number } | undefined;
  #discovery: Promise<ReadonlyMap<string, string>> | undefined;

  /** @throws PkiError `config_invalid` if a base URL is not https, or the certificate cannot be read. */
  constructor(connection: IntuneConnection) {
    const cloud = intuneClouds[connection.cloud ?? 'public'];
    this.#client = new HttpsClient({
      extraCa: connection.extraCa,
      timeoutMs: connection.timeoutMs ?? TIMEOUT_MS,
    });
    this.#clock = connection.clock ?? systemClock;
    this.#graph = baseUrlOf('graph', connection.graph ?? cloud.graph);
    // The double slash is real: the resource's own name ends in a slash.
    const resource = baseUrlOf('intuneResource', connection.intuneResource ?? cloud.intuneResource);
    this.#scopes = { graph: `${this.#graph}/.default`, intune: `${resource}//.default` };
    const authority = baseUrlOf('authority', connection.authority ?? cloud.authority);
    this.#tokens = new Tokens(connection, authority, this.#client);
  }

  /** Ends its connections. */
  close(): void {
    this.#client.close();
  }

  /**
   * Calls a service. One that has moved is looked up anew and asked where it is now, once; whatever else speaks against the
   * address makes the next call look it up.
   *
   * @throws Unreachable or NoResponse if there is no response at all.
   */
  async post(call: IntuneCall): Promise<HttpsResponse> {
    for (let lookedUp: 'before' | 'again' = 'before'; ; lookedUp = 'again') {
      const uri = await this.discover(call.service, call.deadline);
      const outcome = await this.#send(uri, call).catch((failure: unknown) => failure);
      if (isDoubtful(outcome)) this.#found = undefined;
      const isElsewhere = lookedUp === 'before' && hasMoved(outcome) && (await this.#uriNow(call)) !== uri;
      if (isElsewhere) continue;
      if (outcome instanceof Error) throw outcome;
      return outcome as HttpsResponse;
    }
  }

  /**
   * The address of a service: from memory for a day, else from Graph; many that ask at a time share one question.
   *
   * @throws Unreachable or NoResponse.
   */
  async discover(service: IntuneServiceName, deadline: Deadline): Promise<string> {
    const { provider } = intuneServices[service];
    const uri = (await this.#directory(deadline)).get(provider.toLowerCase());
    if (uri !== undefined) return uri;
    // A list without it is not remembered.
    this.#found = undefined;
    throw new Unreachable('discovery', `service discovery: no https endpoint of ${provider}`);
  }

  /**
   * An access token as it is sent.
   *
   * @throws Unreachable or NoResponse.
   */
  async token(resource: 'graph' | 'intune', deadline: Deadline): Promise<string> {
    return await this.#tokens.token(this.#scopes[resource], 'cached', deadline);
  }

  async #uriNow({ service, deadline }: IntuneCall): Promise<string | undefined> {
    return await this.discover(service, deadline).catch(() => undefined);
  }

  async #send(
    uri: string,
    { service, path, body, activityId, deadline }: IntuneCall,
  ): Promise<HttpsResponse> {
    return await this.#withToken(this.#scopes.intune, deadline, (token) =>
      sendBy(
        this.#client,
        {
          method: 'POST',
          url: `${uri}/${path}`,
          headers: {
            authorization: `Bearer ${token}`,
            'content-type': 'application/json; charset=utf-8',
            accept: 'application/json',
            'api-version': intuneServices[service].apiVersion,
            'client-request-id': activityId,
          },
          body: JSON.stringify(body),
        },
        deadline,
      ),
    );
  }

  async #directory(deadline: Deadline): Promise<ReadonlyMap<string, string>> {
    const now = this.#clock.now().getTime();
    if (this.#found !== undefined && now - this.#found.at < DISCOVERY_LIFETIME_MS) return this.#found.uris;
    this.#discovery ??= this.#askGraph(deadline)
      .then((uris) => {
        this.#found = { uris, at: now };
        return uris;
      })
      .finally(() => {
        this.#discovery = undefined;
      });
    return await before(deadline, this.#discovery);
  }

  async #askGraph(deadline: Deadline): Promise<ReadonlyMap<string, string>> {
    const response = await this.#withToken(this.#scopes.graph, deadline, (token) =>
      sendBy(
        this.#client,
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
    if (response.status !== 200)
      throw new Unreachable('discovery', `service discovery: ${statusOf(response)}`);
    const listed = fieldOf(jsonOf(response.body), 'value');
    const uris = new Map<string, string>();
    // Microsoft's own client looks for providerName, in any case of letters, and then for serviceName.
    for (const field of ['providerName', 'serviceName']) {
      for (const endpoint of Array.isArray(listed) ? (listed as readonly unknown[]) : []) {
        const name = String(fieldOf(endpoint, field)).toLowerCase();
        const uri = fieldOf(endpoint, 'uri');
        // The token for Intune goes to this address: never in the clear.
        if (typeof uri !== 'string' || !URL.canParse(uri) || new URL(uri).protocol !== 'https:') continue;
        if (!uris.has(name)) uris.set(name, uri.replace(/\/+$/, ''));
      }
    }
    return uris;
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

/** As `HttpsClient.send`; who does not answer is named. */
async function sendBy(
  client: HttpsClient,
  request: HttpsRequest,
  deadline: Deadline,
): Promise<HttpsResponse> {
  return await client.send(request, deadline).catch((cause: unknown) => {
    throw cause instanceof NoResponse ? new NoResponseFrom(cause.reason, new URL(request.url).origin) : cause;
  });
}

/** Whether the service is perhaps not where we think. */
function isDoubtful(outcome: unknown): boolean {
  return outcome instanceof NoResponse || (isResponse(outcome) && outcome.status >= 500) || hasMoved(outcome);
}

/** Whether the service is most likely not where we think, and has done nothing: a 401 comes from a unit that does not know us. */
function hasMoved(outcome: unknown): boolean {
  if (outcome instanceof NoResponse) return nobodyThere.has(outcome.reason);
  if (!isResponse(outcome)) return false;
  const { status } = outcome;
  return status === 401 || status === 404 || status === 410 || (status >= 300 && status < 400);
}

function isResponse(outcome: unknown): outcome is HttpsResponse {
  return !(outcome instanceof Error);
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
  readonly #connection: IntuneConnection;
  readonly #client: HttpsClient;
  readonly #authority: string;
  readonly #asked = new Map<string, Promise<string>>();
  #application: Promise<ConfidentialClientApplication> | undefined;
  /**
   * Why the last exchange brought nothing. Before MSAL asks for a token it looks up where tokens are, and what goes wrong
   * there it calls by a word of its own, whether the name is not resolved, the certificate not trusted or the tenant unknown.
   */
  #obstacle: Unreachable | undefined;
  readonly #credential: ReturnType<typeof msalCredential>;

  constructor(connection: IntuneConnection, authority: string, client: HttpsClient) {
    this.#connection = connection;
    this.#client = client;
    this.#authority = authority;
    this.#credential = msalCredential(connection.credential);
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
    this.#obstacle = undefined;
    try {
      this.#application ??= this.#open();
      const application = await this.#application;
      const result = await application.acquireTokenByClientCredential({
        scopes: [scope],
        skipCache: freshness === 'fresh',
      });
      if (result === null || result.accessToken === '')
        throw new Unreachable('token', 'token: an empty answer');
      return result.accessToken;
    } catch (cause) {
      // After one HTTP 500 MSAL asks nobody for a minute, and every device would wait for it. HttpsClient pauses as the
      // service asks; a new application remembers nothing.
      this.#application = undefined;
      if (cause instanceof Unreachable || cause instanceof NoResponse) throw cause;
      // Entra's description may quote the request; its code and number do not.
      const word = wordOf(fieldOf(cause, 'errorCode'));
      const number = entraNumberIn(String(fieldOf(cause, 'errorMessage')));
      if (number === undefined && this.#obstacle !== undefined) throw this.#obstacle;
      throw new Unreachable('token', `token:${suffixOf(word)}${suffixOf(number)}`);
    }
  }

  async #open(): Promise<ConfidentialClientApplication> {
    const { ConfidentialClientApplication, LogLevel } = await import('@azure/msal-node');
    return new ConfidentialClientApplication({
      auth: {
        clientId: this.#connection.appId,
        ...this.#credential,
        authority: `${this.#authority}/${this.#connection.tenant}`,
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
    const send = async (method: 'GET' | 'POST', url: string, options: NetworkRequestOptions = {}) => {
      const response = await sendBy(
        this.#client,
        {
          method,
          url,
          headers: options.headers ?? {},
          body: method === 'POST' ? (options.body ?? '') : undefined,
        },
        deadlineIn(TOKEN_BUDGET_MS),
      ).catch((cause: unknown) => {
        this.#obstacle = new Unreachable('token', `token: ${reasonOf(cause)}`, silenceOf(cause));
        throw cause;
      });
      const body = jsonOf(response.body);
      if (response.status >= 400) {
        const number = suffixOf(entraNumberIn(String(fieldOf(body, 'error_description'))));
        const word = suffixOf(wordOf(fieldOf(body, 'error')));
        this.#obstacle = new Unreachable('token', `token: HTTP ${response.status}${word}${number}`);
      }
      if (typeof body !== 'object' || body === null) {
        throw new Unreachable('token', `token: HTTP ${response.status} without JSON`);
      }
      return { status: response.status, headers: { ...response.headers }, body: body as never };
    };
    return {
      sendGetRequestAsync: (url, options) => send('GET', url, options),
      sendPostRequestAsync: (url, options) => send('POST', url, options),
    };
  }
}

/** The credential as MSAL takes it. Throws PkiError `config_invalid`. */
function msalCredential(credential: IntuneCredential) {
  if ('secret' in credential) return { clientSecret: credential.secret };
  const { certificate, privateKey } = credential;
  let der: Uint8Array | undefined;
  try {
    [der] = parsePem(certificate, 'CERTIFICATE');
  } catch (cause) {
    throw new PkiError('config_invalid', 'the certificate of the Intune application cannot be read', {
      cause,
    });
  }
  return {
    clientCertificate: {
      // RFC 7517 §4.9: x5t#S256, over the DER. Entra finds the certificate by it.
      thumbprintSha256: hash('sha256', der, 'hex'),
      privateKey,
      x5c: certificate,
    },
  };
}
