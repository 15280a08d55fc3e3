/**
 * The edge: stands in the DMZ, speaks HTTP to devices, and hands what the allow-list lets through to a connector that
 * has dialled in. It opens no connection of its own and holds no key but those of its TLS listeners.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Server as HttpsServer } from 'node:https';
import { type ErrorCode, errorCodeOf, PkiError } from '../errors.ts';
import type { Clock, Log } from '../telemetry.ts';
import { type AllowRule, bodyBytesMaxOf, checkAllowRules, judgeRequest } from './allow-list.ts';
import { openConnectorPool } from './connector-pool.ts';
import { forward } from './forward.ts';
import { answerError, bodyBytesOf, createFront, frontTls, isWellFormed, sourceOf } from './front.ts';
import { forwardedHeaders } from './headers.ts';
import { startRefusalReports } from './refusal-reports.ts';
import { RefusalLedger, type RefusalReason } from './refusals.ts';
import { checkTlsIdentity, type Listen, listen, type TlsIdentity } from './sockets.ts';

/** What an edge is made of. */
export interface EdgeOptions {
  /** Plain HTTP for devices. SCEP protects its own messages (RFC 8894 §2.1), so both are equally good. */
  readonly http?: Listen;
  /** HTTPS for devices: TLS 1.2 and up, no client certificates. */
  readonly https?: Listen & TlsIdentity;
  /** Where connectors dial in; see `ConnectorPoolOptions`. */
  readonly tunnel: Listen &
    TlsIdentity & { readonly connectorCa: string; readonly connectors: readonly string[] };
  /** What may pass; see `defaultAllowRules`. */
  readonly allow: readonly AllowRule[];
  /** Time until an answer must begin, and longest standstill in it. Default 85,000, as in Entra Application Proxy. */
  readonly timeoutMs?: number;
  /** Requests that are carried at once; more are answered 429. Default 256. */
  readonly inFlightMax?: number;
  /** Interval of pings to each connector; one without an answer by the next is cut off. Default 15,000. */
  readonly pingMs?: number;
  /** Interval of refusal reports to a connector. Default 2,000. */
  readonly refusalReportMs?: number;
  readonly log: Log;
  readonly clock: Clock;
}

/** A running edge. */
export interface Edge {
  readonly http?: { readonly port: number };
  readonly https?: { readonly port: number };
  readonly tunnel: { readonly port: number };
  /** Common names of the connectors that are connected now, each once, in order. */
  connectors(): string[];
  /**
   * New certificate for the HTTPS front: from the next connection on, without a break.
   *
   * @throws PkiError `key_capability`; the old one stays.
   */
  replaceCertificate(identity: TlsIdentity): void;
  /** The same for the listener that connectors dial. */
  replaceTunnelCertificate(identity: TlsIdentity): void;
  /** Takes no more requests, lets running ones end for at most 10 s, then closes everything. */
  close(): Promise<void>;
}

const GRACE_MS = 10_000;
/** A connector that lost its connection is back within its longest wait, 30 s, and mostly much earlier. */
const RETRY_AFTER_UNAVAILABLE_SECONDS = 15;
const RETRY_AFTER_BUSY_SECONDS = 5;

/**
 * Opens an edge.
 *
 * @throws PkiError `config_invalid`, `key_capability`, `listen_failed`
 */
export async function openEdge(options: EdgeOptions): Promise<Edge> {
  const { log, clock, allow, timeoutMs = 85_000, inFlightMax = 256, pingMs = 15_000 } = options;
  checkAllowRules(allow);
  if (options.https !== undefined) checkTlsIdentity('https', options.https);

  const ledger = new RefusalLedger();
  const pool = await openConnectorPool({ ...options.tunnel, pingMs, log });
  const reports = startRefusalReports(ledger, pool, options.refusalReportMs ?? 2_000, log);
  let inFlight = 0;

  const fronts: Server[] = [];
  const http = options.http && (await openFront('http', options.http));
  const https = options.https && (await openFront('https', options.https, options.https));

  async function openFront(scheme: 'http' | 'https', where: Listen, identity?: TlsIdentity) {
    const front = createFront(
      {
        serve: (request, response) => serve(scheme, request, response),
        refuseRaw: ({ reason, method, source }) => recordRefusal(reason, { method, target: '', source }),
      },
      identity,
    );
    fronts.push(front);
    try {
      return { server: front, port: await listen(front, where) };
    } catch (error) {
      await close();
      throw error;
    }
  }

  /** Carries a request, or answers why not. */
  async function serve(
    scheme: 'http' | 'https',
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    try {
      await carry(scheme, request, response);
    } catch (error) {
      const code = errorCodeOf(error);
      const cause = error instanceof Error ? error.message : String(error);
      log[code === 'internal' ? 'error' : 'info']({ code, cause }, 'not carried to the end');
      if (!response.destroyed) answerError(response, code, retryAfter(code));
    } finally {
      // What is still to come of a body is read and dropped, so that the client gets to reading its answer.
      request.resume();
    }
  }

  /** The whole way of a request. */
  async function carry(
    scheme: 'http' | 'https',
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const { method = '', url: target = '' } = request;
    const source = sourceOf(request.socket);
    const refuse = (reason: RefusalReason) =>
      answerRefusal(response, reason, recordRefusal(reason, { method, target, source }));

    // 1. Judge.
    if (!isWellFormed(request)) return refuse('malformed');
    const bodyBytes = bodyBytesOf(request);
    const judgement = judgeRequest(allow, { method, target, bodyBytes });
    if (!judgement.allowed) return refuse(judgement.reason);

    // 2. Choose a connector.
    if (inFlight >= inFlightMax) throw new PkiError('tunnel_busy', `${inFlight} requests are in flight`);
    const headers = forwardedHeaders(request.headers, { source, scheme });
    const stream = pool.openStream(
      { ...headers, ':method': method, ':path': target, ':scheme': scheme },
      bodyBytes > 0 ? 'with-body' : 'without-body',
    );

    // 3. Carry.
    inFlight += 1;
    const startedAtMs = performance.now();
    try {
      await forward({
        request,
        response,
        stream,
        bodyBytesMax: bodyBytesMaxOf(judgement.rule, method),
        timeoutMs,
      });
    } catch (error) {
      if (errorCodeOf(error) === 'request_too_large' && !response.headersSent) refuse('body-size');
      else throw error;
    } finally {
      inFlight -= 1;
      const durationMs = Math.round(performance.now() - startedAtMs);
      log.debug(
        { rule: judgement.rule.name, method, source, status: response.statusCode, durationMs },
        'carried',
      );
    }
  }

  function recordRefusal(
    reason: RefusalReason,
    refused: { readonly method: string; readonly target: string; readonly source: string },
  ): string {
    const { reference, method, path, source } = ledger.record({ ...refused, at: clock.now(), reason });
    log.info({ reference, reason, method, path, source }, 'refused');
    return reference;
  }

  async function close(): Promise<void> {
    reports.stop();
    await Promise.all(fronts.map((front) => closeFront(front, GRACE_MS)));
    await pool.close();
  }

  return {
    ...(http && { http: { port: http.port } }),
    ...(https && { https: { port: https.port } }),
    tunnel: { port: pool.port },
    connectors: () => pool.names(),
    replaceCertificate(identity) {
      checkTlsIdentity('https', identity);
      (https?.server as HttpsServer | undefined)?.setSecureContext(frontTls(identity));
    },
    replaceTunnelCertificate: (identity) => pool.replaceCertificate(identity),
    close,
  };
}

/** Path and method are answered alike: what exists behind the edge is nobody's business. */
const refusalAnswers: Record<RefusalReason, { readonly code: ErrorCode; readonly status?: number }> = {
  path: { code: 'path_denied' },
  method: { code: 'path_denied' },
  'target-size': { code: 'request_too_large', status: 414 },
  'body-size': { code: 'request_too_large' },
  malformed: { code: 'http_malformed' },
};

function answerRefusal(response: ServerResponse, reason: RefusalReason, reference: string): void {
  // Where the next request would begin is not certain.
  if (reason === 'malformed') response.setHeader('connection', 'close');
  const { code, ...status } = refusalAnswers[reason];
  answerError(response, code, { ...status, reference });
}

function retryAfter(code: ErrorCode): { retryAfterSeconds?: number } {
  if (code === 'tunnel_unavailable') return { retryAfterSeconds: RETRY_AFTER_UNAVAILABLE_SECONDS };
  if (code === 'tunnel_busy') return { retryAfterSeconds: RETRY_AFTER_BUSY_SECONDS };
  return {};
}

async function closeFront(front: Server, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => front.close(() => resolve()));
  // A connection that is kept alive becomes idle when its last answer is out.
  const idle = setInterval(() => front.closeIdleConnections(), 100);
  const cut = setTimeout(() => front.closeAllConnections(), graceMs);
  await closed;
  clearInterval(idle);
  clearTimeout(cut);
}
