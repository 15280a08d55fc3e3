/** One HTTP listener with the doors that are given to it. */
import { type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify';
import { type ErrorRow, errorTable, PkiError } from '../errors.ts';
import { type ListenAddress, listen, type PortSharing } from '../listener.ts';
import { RETRY_AFTER_SECONDS } from '../retry-after.ts';
import type { Log } from '../telemetry.ts';

/** GET PKIOperation of Intune devices is up to 40 KB long; Node's own limit of 16 KiB would answer 431. */
const HEADER_BYTES_MAX = 128 * 1024;
const REQUEST_TIMEOUT_MS = 60_000;
/** Longer than a connector or a proxy keeps its side, so that it is never us who cut a reused connection. */
const KEEP_ALIVE_MS = 75_000;
/**
 * Each may hold a head of 128 KiB. A thread serves some hundred requests a second, and a client that comes without a
 * connector leaves its connection open for as long as `KEEP_ALIVE_MS`.
 */
const CONNECTIONS_MAX = 10_000;
/** How long a request may go on once we are to end: one that never comes to its end must not hold us up. */
const GRACE_MS = 10_000;

/** Whatever was thrown while a request was served. */
interface ThrownError {
  readonly statusCode?: number;
}

function answerText(reply: FastifyReply, row: ErrorRow): FastifyReply {
  return reply.code(row.http).header('content-type', 'text/plain; charset=utf-8').send(`${row.text}\n`);
}

/** What a door did not catch: our own errors by their row, those of the HTTP library by their status. */
function rowOf(error: ThrownError): ErrorRow {
  if (error instanceof PkiError) return errorTable[error.code];
  const { statusCode = 500 } = error;
  if (statusCode === 413) return errorTable.request_too_large;
  return statusCode < 500 ? errorTable.http_malformed : errorTable.internal;
}

/** What a listener is opened with. */
export interface HttpServerOptions extends ListenAddress {
  /** Addresses and networks whose X-Forwarded-For is believed, beside this machine's own; none if absent. */
  readonly forwarders?: readonly string[];
  /** `alone` if absent. */
  readonly sharing?: PortSharing;
  /** What comes beyond is hung up on; 10,000 if absent. */
  readonly connectionsMax?: number;
  readonly log: Log;
  /** Adds the routes. */
  readonly doors: (app: FastifyInstance) => void;
}

/** A listener at work. */
export interface HttpServer {
  readonly address: ListenAddress;
  /** Takes no more connections, lets running requests end for at most 10 s. */
  close(): Promise<void>;
}

/**
 * Opens a listener.
 *
 * @throws PkiError `listen_failed`.
 */
export async function openHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { log } = options;
  const answerError = (error: ThrownError, request: FastifyRequest, reply: FastifyReply) => {
    const row = rowOf(error);
    if (row.http >= 500) log.error({ err: error, method: request.method }, 'a request failed');
    if (row.kind === 'unavailable') reply.header('retry-after', RETRY_AFTER_SECONDS);
    return answerText(reply, row);
  };
  const app = fastify({
    http: { maxHeaderSize: HEADER_BYTES_MAX },
    requestTimeout: REQUEST_TIMEOUT_MS,
    // Limits count by it: from anybody else than a connector, X-Forwarded-For is a claim that nobody checked.
    trustProxy: ['loopback', ...(options.forwarders ?? [])],
    keepAliveTimeout: KEEP_ALIVE_MS,
    routerOptions: {
      caseSensitive: false,
      // The query is read as it came, by the door: the usual parser would turn + into a space.
      querystringParser: () => ({}),
    },
    // A URL that cannot be decoded, which the library would give back with words of its own.
    frameworkErrors: answerError,
    exposeHeadRoutes: true,
    return503OnClosing: true,
  });
  app.setNotFoundHandler((_request, reply) => answerText(reply, errorTable.path_denied));
  app.setErrorHandler(answerError);
  app.get('/healthz', (_request, reply) => reply.send({ status: 'ok' }));
  options.doors(app);
  app.server.maxConnections = options.connectionsMax ?? CONNECTIONS_MAX;
  const address = await listen(app, 'the server', options, options.sharing);
  return {
    address,
    close: async () => {
      const timer = setTimeout(() => app.server.closeAllConnections(), GRACE_MS);
      await app.close();
      clearTimeout(timer);
    },
  };
}
