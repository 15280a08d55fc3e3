/**
 * The connector: stands beside the SCEP server, dials out to the edge, and forwards what the edge sends to one target.
 * It listens nowhere.
 *
 * Trust: the edge is believed only that it is the edge. Each request is judged again by the connector's own rules, and
 * the target is configured here.
 */
import {
  constants,
  type IncomingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import { setTimeout as pause } from 'node:timers/promises';
import { connect, type TLSSocket } from 'node:tls';
import { PkiError } from '../errors.ts';
import type { Clock, Log } from '../telemetry.ts';
import { type AllowRule, bodyBytesMaxOf, checkAllowRules, judgeRequest } from './allow-list.ts';
import { parseRefusals, REFUSALS_PATH, REPORT_BYTES_MAX, type Refusal } from './refusals.ts';
import {
  CONNECTION_WINDOW_BYTES,
  checkAuthority,
  checkTlsIdentity,
  HANDSHAKE_TIMEOUT_MS,
  sessionOptions,
  type TlsIdentity,
  TUNNEL_ALPN,
  watchHeartbeat,
} from './sockets.ts';
import { answerStreamError, openTarget } from './target.ts';

/** What a connector is made of. */
export interface ConnectorOptions {
  /** Where to dial, and whom to expect there: a certificate for `servername` from `ca` (PEM), and no other. */
  readonly edge: {
    readonly host: string;
    readonly port: number;
    readonly servername: string;
    readonly ca: string;
  };
  /** The connector's client certificate; the edge knows it by its CA and its common name. */
  readonly identity: TlsIdentity;
  /** The one server that is forwarded to, as `http://127.0.0.1:8080`: on this machine or in a private network. */
  readonly target: string;
  /** What may pass; normally the same rules as at the edge. */
  readonly allow: readonly AllowRule[];
  /** Connections that are held at once, so that one that is lost does not stop the service. Default 2. */
  readonly connections?: number;
  /** Time until the target's answer must begin. Default 80,000, so that it comes before the edge gives up. */
  readonly timeoutMs?: number;
  /** Interval of pings to the edge; if one is not answered by the next, the connection is dialled anew. Default 15,000. */
  readonly pingMs?: number;
  /** Wait after the first failed try; doubles with each further one up to `reconnectMsMax`. Default 500. */
  readonly reconnectMsMin?: number;
  /** Default 30,000. */
  readonly reconnectMsMax?: number;
  /**
   * Takes what the edge has refused. When it resolves the rows are acknowledged; if it rejects, the edge sends them
   * again. Rows can come twice.
   */
  readonly onRefusals?: (refusals: readonly Refusal[]) => void | Promise<void>;
  readonly log: Log;
  readonly clock: Clock;
}

/** A running connector. */
export interface Connector {
  /** How many connections to the edge are up now. */
  connected(): number;
  /** Resolves when the first connection is up; rejects with PkiError `tunnel_unavailable` if closed before. */
  readonly ready: Promise<void>;
  /**
   * New client certificate, from the next dial on.
   *
   * @throws PkiError `key_capability`; the old one stays.
   */
  replaceCertificate(identity: TlsIdentity): void;
  /** Takes no more requests, lets running ones end for at most 10 s, then closes everything. */
  close(): Promise<void>;
}

const GRACE_MS = 10_000;

/** A report that comes sooner after the last is put off: an edge gone bad fills the audit log no faster. */
const REFUSALS_INTERVAL_MS_MIN = 500;

/**
 * Starts a connector, which dials until it is closed.
 *
 * @throws PkiError `config_invalid`, `key_capability`
 */
export function openConnector(options: ConnectorOptions): Connector {
  const { edge, allow, log, clock, connections = 2, pingMs = 15_000 } = options;
  checkAllowRules(allow);
  checkAuthority('edge.ca', edge.ca);
  checkTlsIdentity('identity', options.identity);
  let identity = options.identity;

  const target = openTarget(options.target, { timeoutMs: options.timeoutMs ?? 80_000, log });
  /** Every dialled socket, with its session once that is up. */
  const dialled = new Map<TLSSocket, ServerHttp2Session | 'not-yet'>();
  const stopping = new AbortController();
  const ready = Promise.withResolvers<void>();
  ready.promise.catch(() => {}); // Whoever does not wait for it need not handle its rejection.
  let refusalsTakenAtMs = 0;

  const slots = Array.from({ length: connections }, keepConnected);

  async function keepConnected(): Promise<void> {
    let failures = 0;
    while (!stopping.signal.aborted) {
      await holdConnection(() => {
        failures = 0;
        ready.resolve();
      });
      const waitMs = reconnectMs(failures, options);
      failures += 1;
      await pause(waitMs, undefined, { signal: stopping.signal }).catch(() => {});
    }
  }

  /** Dials once; resolves when that connection has ended, however it ended. */
  function holdConnection(onUp: () => void): Promise<void> {
    const socket = connect({
      host: edge.host,
      port: edge.port,
      servername: edge.servername,
      ca: edge.ca,
      ...identity,
      minVersion: 'TLSv1.3',
      rejectUnauthorized: true,
      ALPNProtocols: [TUNNEL_ALPN],
    });
    dialled.set(socket, 'not-yet');
    const silent = setTimeout(
      () => socket.destroy(new Error(`no tunnel within ${HANDSHAKE_TIMEOUT_MS} ms`)),
      HANDSHAKE_TIMEOUT_MS,
    );
    socket.on('error', (error) => log.warn({ cause: error.message }, 'connection to the edge failed'));
    socket.once('secureConnect', () => {
      if (socket.alpnProtocol !== TUNNEL_ALPN) socket.destroy(new Error('the peer is not an edge'));
      else serveSession(socket, onUp, silent);
    });
    return new Promise((resolve) => {
      socket.once('close', () => {
        clearTimeout(silent);
        dialled.delete(socket);
        resolve();
      });
    });
  }

  function serveSession(socket: TLSSocket, onUp: () => void, silent: NodeJS.Timeout): void {
    socket.setNoDelay(true);
    const session = performServerHandshake(socket, sessionOptions);
    // Up is what has seen the edge's settings: in TLS 1.3 a client's handshake ends before its certificate is accepted.
    let up = false;
    session.once('remoteSettings', () => {
      up = true;
      clearTimeout(silent);
      session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
      dialled.set(socket, session);
      log.info({ edge: edge.host }, 'connected to the edge');
      onUp();
    });
    session.once('close', () => {
      if (up) log.info({ edge: edge.host }, 'disconnected from the edge');
      else
        log.warn(
          { edge: edge.host },
          'refused by the edge: is this certificate from its CA, and its name listed?',
        );
      socket.destroy();
    });
    session.on('error', (error) => log.warn({ cause: error.message }, 'connection to the edge failed'));
    session.on('stream', (stream, headers) => {
      stream.on('error', (error) => log.debug({ cause: error.message }, 'stream failed'));
      try {
        serveStream(stream, headers);
      } catch (error) {
        log.error({ cause: error instanceof Error ? error.message : '' }, 'a request broke the connector');
        answerStreamError(stream, 'internal');
      }
    });
    watchHeartbeat(session, pingMs);
  }

  /** The whole way of a request. */
  function serveStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void {
    const method = headers[':method'] ?? '';
    const path = headers[':path'] ?? '';
    if (method === 'POST' && path === REFUSALS_PATH) {
      takeRefusals(stream).catch((error: Error) => {
        log.warn({ cause: error.message }, 'refusals not taken');
        answerStreamError(stream, 'tunnel_unavailable');
      });
      return;
    }

    const bodyBytes = stream.endAfterHeaders ? 0 : Number(headers['content-length'] ?? 1);
    const judgement = judgeRequest(allow, { method, target: path, bodyBytes });
    if (judgement.allowed) {
      target.forward(stream, headers, bodyBytesMaxOf(judgement.rule, method));
      return;
    }
    const { reason } = judgement;
    log.warn(
      { reason, method, path: path.split('?', 1)[0]?.slice(0, 120) },
      'the edge sent what is not allowed here',
    );
    const tooLarge = reason === 'target-size' || reason === 'body-size';
    answerStreamError(stream, tooLarge ? 'request_too_large' : 'path_denied');
  }

  async function takeRefusals(stream: ServerHttp2Stream): Promise<void> {
    const refusals = parseRefusals(await readBody(stream, REPORT_BYTES_MAX));
    if (refusals === undefined) {
      log.warn('a report of the edge was dropped: it is not what an edge sends');
      stream.respond({ ':status': 400 }, { endStream: true });
      return;
    }
    const now = clock.now().getTime();
    if (Math.abs(now - refusalsTakenAtMs) < REFUSALS_INTERVAL_MS_MIN) {
      stream.respond({ ':status': 429 }, { endStream: true });
      return;
    }
    refusalsTakenAtMs = now;
    await options.onRefusals?.(refusals);
    stream.respond({ ':status': 204 }, { endStream: true });
  }

  return {
    connected: () => [...dialled.values()].filter((session) => session !== 'not-yet').length,
    ready: ready.promise,
    replaceCertificate(next) {
      checkTlsIdentity('identity', next);
      identity = next;
    },
    async close() {
      stopping.abort();
      ready.reject(new PkiError('tunnel_unavailable', 'closed before the edge was reached'));
      for (const [socket, session] of dialled) {
        if (session === 'not-yet') socket.destroy();
        else session.close();
      }
      const cut = setTimeout(() => {
        for (const socket of dialled.keys()) socket.destroy();
      }, GRACE_MS);
      await Promise.all(slots);
      clearTimeout(cut);
      target.close();
    },
  };
}

/**
 * Exponential, between half and all of the step: after an outage of the edge not every connector comes back in the
 * same moment.
 */
function reconnectMs(
  failures: number,
  { reconnectMsMin = 500, reconnectMsMax = 30_000 }: ConnectorOptions,
): number {
  const step = Math.min(reconnectMsMax, reconnectMsMin * 2 ** Math.min(failures, 30));
  return step * (0.5 + Math.random() / 2);
}

/** All of a stream's body; what is longer than `bytesMax` is not read and the stream is reset. */
async function readBody(stream: ServerHttp2Stream, bytesMax: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bytesMax) {
      stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
      throw new PkiError('request_too_large', `a report of more than ${bytesMax} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
