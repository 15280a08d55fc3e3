/** HTTP for a device: bounded in time and size, over kept connections, following no redirect. */
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import { createSecureContext, getCACertificates } from 'node:tls';
import { parseRetryAfter } from '../retry-after.ts';
import { type HResultName, hResults } from './h-result.ts';

/** One request. */
export interface HttpRequest {
  readonly method: 'GET' | 'POST';
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | undefined;
  /** A longer answer counts as none. */
  readonly answerBytesMax: number;
  readonly signal?: AbortSignal | undefined;
}

/** What came back. */
export type HttpAnswer =
  | {
      readonly answer: 'response';
      readonly status: number;
      /** In lower case, without parameters; empty if there was none. */
      readonly contentType: string;
      /** What Retry-After asks for, if it does. */
      readonly retryAfterMs?: number | undefined;
      /** Location of a redirect, which is never followed. */
      readonly location?: string | undefined;
      readonly body: Uint8Array;
    }
  /** No whole answer came; `detail` is for the event log and holds nothing of the request. */
  | { readonly answer: 'none'; readonly hResult: number; readonly detail: string };

/** What a client is opened with. */
export interface HttpClientOptions {
  /** For one whole exchange: connect, send, receive. */
  readonly timeoutMs: number;
  /** PEM of the roots that TLS servers must lead to; those of the system if absent. What is not PEM is passed over. */
  readonly tlsRoots?: readonly string[] | undefined;
}

/** Long enough for an edge that waits 60 seconds for the server behind it. */
export const HTTP_TIMEOUT_MS = 75_000;

/** The system's TLS roots and further ones, PEM: what a device trusts that got roots of its own by profile. */
export function systemTlsRootsAnd(more: readonly string[]): string[] {
  return [...getCACertificates('default'), ...more];
}

/** Sends requests. Close it, or its kept connections keep the process alive for some seconds. */
export class HttpClient {
  readonly #timeoutMs: number;
  readonly #tlsRoots: readonly string[] | undefined;
  readonly #http = new HttpAgent({ keepAlive: true });
  #https: HttpsAgent | undefined;

  constructor(options: HttpClientOptions) {
    this.#timeoutMs = options.timeoutMs;
    this.#tlsRoots = options.tlsRoots;
  }

  /**
   * Sends one request, once.
   *
   * No redirect is followed: a challenge or a device token must not travel on to a host that no profile names.
   *
   * @throws the signal's reason if it is aborted. Everything else that can go wrong is an answer.
   */
  send(request: HttpRequest): Promise<HttpAnswer> {
    request.signal?.throwIfAborted();
    const secure = request.url.protocol === 'https:';
    if (!secure && request.url.protocol !== 'http:') {
      return Promise.resolve(none('E_FAIL', `${request.url.protocol} is neither http nor https`));
    }
    return new Promise((resolve, reject) => {
      let settled = false;
      const outgoing = (secure ? httpsRequest : httpRequest)(request.url, {
        method: request.method,
        agent: secure ? this.#httpsAgent() : this.#http,
        headers: {
          'user-agent': 'leafgate-agent',
          ...request.headers,
          ...(request.body === undefined ? {} : { 'content-length': String(request.body.length) }),
        },
      });
      const settle = (outcome: () => void) => {
        if (settled) return;
        settled = true;
        clearTimeout(timer);
        request.signal?.removeEventListener('abort', abort);
        outcome();
      };
      const giveUp = (answer: HttpAnswer) => {
        settle(() => resolve(answer));
        outgoing.destroy();
      };
      const abort = () => {
        settle(() => reject(request.signal?.reason));
        outgoing.destroy();
      };
      const timer = setTimeout(
        () => giveUp(none('ERROR_WINHTTP_TIMEOUT', `no answer within ${this.#timeoutMs} ms`)),
        this.#timeoutMs,
      );
      request.signal?.addEventListener('abort', abort, { once: true });
      outgoing.on('error', (cause) => giveUp(failureOf(cause)));
      outgoing.on('response', (incoming) => {
        const chunks: Buffer[] = [];
        let length = 0;
        incoming.on('data', (chunk: Buffer) => {
          length += chunk.length;
          if (length > request.answerBytesMax) {
            giveUp(
              none(
                'ERROR_WINHTTP_INVALID_SERVER_RESPONSE',
                `an answer of more than ${request.answerBytesMax} octets`,
              ),
            );
          } else chunks.push(chunk);
        });
        incoming.on('error', (cause) => giveUp(failureOf(cause)));
        incoming.on('end', () => settle(() => resolve(responseOf(incoming, Buffer.concat(chunks)))));
      });
      outgoing.end(request.body);
    });
  }

  /** Ends all connections. */
  close(): void {
    this.#http.destroy();
    this.#https?.destroy();
  }

  /** Made when it is first needed, and once: to read some 150 roots takes longer than a handshake. */
  #httpsAgent(): HttpsAgent {
    this.#https ??= new HttpsAgent({
      keepAlive: true,
      minVersion: 'TLSv1.2',
      ...(this.#tlsRoots === undefined
        ? {}
        : { secureContext: createSecureContext({ ca: [...this.#tlsRoots], minVersion: 'TLSv1.2' }) }),
    });
    return this.#https;
  }
}

function responseOf(incoming: IncomingMessage, body: Uint8Array): HttpAnswer {
  const retryAfterMs = parseRetryAfter(incoming.headers['retry-after'], new Date());
  return {
    answer: 'response',
    status: incoming.statusCode ?? 0,
    contentType: (incoming.headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '',
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(incoming.headers.location === undefined ? {} : { location: incoming.headers.location }),
    body,
  };
}

/** Node's codes of what stops a connection. All others that a TLS handshake can end with mean that TLS failed. */
const hResultByCode: Readonly<Record<string, HResultName>> = {
  ENOTFOUND: 'ERROR_WINHTTP_NAME_NOT_RESOLVED',
  EAI_AGAIN: 'ERROR_WINHTTP_NAME_NOT_RESOLVED',
  ECONNREFUSED: 'ERROR_WINHTTP_CANNOT_CONNECT',
  EHOSTUNREACH: 'ERROR_WINHTTP_CANNOT_CONNECT',
  ENETUNREACH: 'ERROR_WINHTTP_CANNOT_CONNECT',
  EADDRNOTAVAIL: 'ERROR_WINHTTP_CANNOT_CONNECT',
  ETIMEDOUT: 'ERROR_WINHTTP_TIMEOUT',
  ECONNRESET: 'ERROR_WINHTTP_CONNECTION_ERROR',
  ECONNABORTED: 'ERROR_WINHTTP_CONNECTION_ERROR',
  EPIPE: 'ERROR_WINHTTP_CONNECTION_ERROR',
};

function failureOf(cause: Error): HttpAnswer {
  const { code = 'unknown' } = cause as { readonly code?: string };
  const name =
    hResultByCode[code] ??
    (code.startsWith('HPE_') ? 'ERROR_WINHTTP_INVALID_SERVER_RESPONSE' : 'ERROR_WINHTTP_SECURE_FAILURE');
  return none(name, code);
}

function none(name: HResultName, detail: string): HttpAnswer {
  return { answer: 'none', hResult: hResults[name].value, detail };
}
