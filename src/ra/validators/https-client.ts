/** A small HTTPS client: bounded in time, size and number of attempts; follows no redirect. */
import { Agent, request as httpsRequest } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';
import { createSecureContext, getCACertificates, type SecureContext } from 'node:tls';
import { PkiError } from '../../errors.ts';
import { parseRetryAfter } from '../../retry-after.ts';

/** One request. */
export interface HttpsRequest {
  readonly method: 'GET' | 'POST';
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | undefined;
}

/** A whole response. Header names are in lower case. */
export interface HttpsResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** No response came. `reason` is a word or a system code such as `ECONNREFUSED`: it holds nothing of the request. */
export class NoResponse extends Error {
  readonly reason: string;

  constructor(reason: string) {
    super(`no response: ${reason}`);
    this.name = 'NoResponse';
    this.reason = reason;
  }
}

/** When an operation must have ended, as `performance.now()` counts: a clock that nobody sets. */
export type Deadline = number;

/** The deadline `budgetMs` from now. */
export function deadlineIn(budgetMs: number): Deadline {
  return performance.now() + budgetMs;
}

/** Answers of Microsoft's services are below 10 KiB. */
const RESPONSE_BYTES_MAX = 1024 * 1024;
const RETRIES_MAX = 2;
/** First pause where the server names none; it doubles. */
const PAUSE_MS = 500;
/** Sockets to one host: more requests than that at a time wait for a free one. */
const SOCKETS_MAX = 64;

/** Failures to connect, or of a connection that was kept and has died meanwhile. */
const connectFailures = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EPIPE',
]);
const retriedStatuses = new Set([429, 502, 503, 504]);

/** What the client is opened with. */
export interface HttpsClientOptions {
  /** PEM; trusted beside the system's own certificates. */
  readonly extraCa?: string | undefined;
  /** Shown to a server that asks for one; both PEM. */
  readonly clientCertificate?: { readonly cert: string; readonly key: string } | undefined;
  /** Bounds each attempt. */
  readonly timeoutMs: number;
  /** Bounds the body of a response; 1 MiB if absent. */
  readonly responseBytesMax?: number | undefined;
}

/** Sends requests over kept connections. */
export class HttpsClient {
  readonly #agent: Agent;
  readonly #timeoutMs: number;
  readonly #responseBytesMax: number;

  /** @throws PkiError `config_invalid` if the client certificate or the additional CA cannot be used. */
  constructor(options: HttpsClientOptions) {
    this.#timeoutMs = options.timeoutMs;
    this.#responseBytesMax = options.responseBytesMax ?? RESPONSE_BYTES_MAX;
    // Made once: to read some 150 roots for each connection takes longer than its handshake.
    const secureContext = secureContextOf(options);
    this.#agent = new Agent({ keepAlive: true, maxSockets: SOCKETS_MAX, secureContext });
  }

  /**
   * Sends a request that may be sent again: on a failure to connect and on 429, 502, 503, 504 up to two more times, after
   * the pause that the server asks for (Retry-After), and never beyond the deadline.
   *
   * @throws NoResponse; PkiError `config_invalid` if the URL is not https.
   */
  async send(request: HttpsRequest, deadline: Deadline): Promise<HttpsResponse> {
    for (let retries = 0; ; retries += 1) {
      const outcome = await this.#attempt(request, deadline).catch((failure: unknown) => failure);
      const retryAfterMs = retries < RETRIES_MAX ? pauseAfter(outcome, retries) : undefined;
      if (retryAfterMs === undefined || performance.now() + retryAfterMs >= deadline) {
        if (isResponse(outcome)) return outcome;
        throw outcome;
      }
      await sleep(retryAfterMs);
    }
  }

  /** Ends all connections. */
  close(): void {
    this.#agent.destroy();
  }

  #attempt(request: HttpsRequest, deadline: Deadline): Promise<HttpsResponse> {
    const url = new URL(request.url);
    if (url.protocol !== 'https:') {
      return Promise.reject(new PkiError('config_invalid', `${url.origin} is not an https URL`));
    }
    const timeoutMs = Math.max(1, Math.floor(Math.min(this.#timeoutMs, deadline - performance.now())));
    return new Promise((resolve, reject) => {
      const outgoing = httpsRequest(url, {
        method: request.method,
        agent: this.#agent,
        headers: {
          ...request.headers,
          ...(request.body === undefined ? {} : { 'content-length': Buffer.byteLength(request.body) }),
        },
      });
      const timer = setTimeout(() => giveUp('timeout'), timeoutMs);
      const fail = (cause: unknown) => {
        clearTimeout(timer);
        reject(new NoResponse(reasonOf(cause)));
      };
      // Rejects first: what ends a connection in the middle would otherwise name itself a reset, and be repeated.
      const giveUp = (reason: string) => {
        clearTimeout(timer);
        reject(new NoResponse(reason));
        outgoing.destroy();
      };
      outgoing.on('error', fail);
      outgoing.on('response', (incoming) => {
        const chunks: Buffer[] = [];
        let length = 0;
        incoming.on('data', (chunk: Buffer) => {
          length += chunk.length;
          if (length > this.#responseBytesMax) giveUp('response too large');
          else chunks.push(chunk);
        });
        incoming.on('error', fail);
        incoming.on('end', () => {
          clearTimeout(timer);
          resolve({
            status: incoming.statusCode ?? 0,
            headers: Object.fromEntries(
              Object.entries(incoming.headers).map(([name, value]) => [name, String(value)]),
            ),
            body: Buffer.concat(chunks).toString('utf8'),
          });
        });
      });
      outgoing.end(request.body);
    });
  }
}

function secureContextOf({ extraCa, clientCertificate }: HttpsClientOptions): SecureContext {
  const trust = extraCa === undefined ? {} : { ca: [...getCACertificates('default'), extraCa] };
  try {
    return createSecureContext({ minVersion: 'TLSv1.2', ...trust, ...clientCertificate });
  } catch (cause) {
    const what = clientCertificate === undefined ? 'the additional CA' : 'the client certificate and its key';
    throw new PkiError('config_invalid', `${what} cannot be used`, { cause });
  }
}

function isResponse(outcome: unknown): outcome is HttpsResponse {
  return !(outcome instanceof Error);
}

/** How long to wait before the next attempt; `undefined` means that another one is of no use. */
function pauseAfter(outcome: unknown, retries: number): number | undefined {
  // Half as much again at random, so that many that failed together do not come back together.
  const pauseMs = PAUSE_MS * 2 ** retries * (1 + Math.random() / 2);
  if (outcome instanceof NoResponse) return connectFailures.has(outcome.reason) ? pauseMs : undefined;
  if (!isResponse(outcome) || !retriedStatuses.has(outcome.status)) return undefined;
  return parseRetryAfter(outcome.headers['retry-after'], new Date()) ?? pauseMs;
}

/** The system's code of an error: never its message, which may quote. */
function reasonOf(cause: unknown): string {
  const code = (cause as { readonly code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : 'connection failed';
}
