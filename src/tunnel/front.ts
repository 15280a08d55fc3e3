/** The edge's outer side: HTTP listeners that anyone on the internet may speak to. */
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { Duplex } from 'node:stream';
import { type ErrorCode, errorTable } from '../errors.ts';
import type { TlsIdentity } from './sockets.ts';

/** Whom a front listener hands requests to. */
export interface FrontHandlers {
  /** A request with a readable head. Must answer it, and must not reject. */
  serve(request: IncomingMessage, response: ServerResponse): Promise<void>;
  /** A request that came without a response to answer it with; returns the reference for its sender. */
  refuseRaw(refused: {
    readonly reason: 'malformed' | 'method';
    readonly method: string;
    readonly source: string;
  }): string;
}

/** Time for a request's head and for the whole request: slow senders give up their connection (slowloris). */
const HEADERS_TIMEOUT_MS = 20_000;
const REQUEST_TIMEOUT_MS = 60_000;
/** How often both are checked. */
const CHECKING_INTERVAL_MS = 5_000;
const KEEP_ALIVE_TIMEOUT_MS = 30_000;
/** Open connections of one listener. Each costs some 20 KiB: 80 MiB when all are open. */
const CONNECTIONS_MAX = 4_096;
/** Header fields of one request: half of what an HTTP/2 peer takes by default, and what Node.js takes by default. */
const FIELDS_MAX = 64;
const FIELD_BYTES_MAX = 16_384;

const serverOptions = {
  // Twice the largest request target: Node.js counts the target and all fields, and allows only 16 KiB on its own.
  maxHeaderSize: 131_072,
  headersTimeout: HEADERS_TIMEOUT_MS,
  requestTimeout: REQUEST_TIMEOUT_MS,
  connectionsCheckingInterval: CHECKING_INTERVAL_MS,
  keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
  // Said here so that no command line switch can soften it: a lenient parser is how requests are smuggled.
  insecureHTTPParser: false,
};

/** TLS of the front listener. */
export function frontTls({ cert, key }: TlsIdentity) {
  return {
    cert,
    key,
    // QUIRK Windows: its SCEP client speaks at most TLS 1.2 and fails with 0x80072f8f where only TLS 1.3 is offered.
    minVersion: 'TLSv1.2' as const,
    // Some SCEP clients stop at a certificate request. Devices have no certificate yet anyway.
    requestCert: false,
    handshakeTimeout: HEADERS_TIMEOUT_MS,
  };
}

/** A front listener, not yet listening: HTTPS if it is given an identity, else HTTP. */
export function createFront(handlers: FrontHandlers, identity?: TlsIdentity): Server {
  const server: Server =
    identity === undefined
      ? createHttpServer(serverOptions)
      : createHttpsServer({ ...serverOptions, ...frontTls(identity) });
  server.maxConnections = CONNECTIONS_MAX;

  /** Sockets on which an answer is due: a raw answer there could land in the middle of it. */
  const answering = new WeakSet<Duplex>();
  const serve = (request: IncomingMessage, response: ServerResponse) => {
    answering.add(request.socket);
    response.once('close', () => answering.delete(request.socket));
    void handlers.serve(request, response);
  };
  server.on('request', serve);
  // A client that sent `Expect: 100-continue` is told to go on only after the allow-list has spoken.
  server.on('checkContinue', serve);
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    // What the parser says begins with HPE; the rest are lost and idle connections.
    if (answering.has(socket) || !socket.writable || !error.code?.startsWith('HPE_')) {
      socket.destroy();
      return;
    }
    const reference = handlers.refuseRaw({ reason: 'malformed', method: '-', source: sourceOf(socket) });
    const overflow = error.code === 'HPE_HEADER_OVERFLOW';
    const status = overflow ? '431 Request Header Fields Too Large' : '400 Bad Request';
    answerRaw(socket, status, `${errorTable.http_malformed.text} (${reference})\n`);
  });
  // There is no listener for `upgrade` on purpose: the offer is then ignored and the request served as it is
  // (RFC 9110 §7.8). Some HTTP libraries offer h2c with every request.
  server.on('connect', (_request, socket) => {
    const reference = handlers.refuseRaw({ reason: 'method', method: 'CONNECT', source: sourceOf(socket) });
    answerRaw(socket, '404 Not Found', `${errorTable.path_denied.text} (${reference})\n`);
  });
  return server;
}

function answerRaw(socket: Duplex, status: string, body: string): void {
  socket.on('error', () => socket.destroy());
  socket.end(
    `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    () => socket.destroy(),
  );
}

/**
 * Whether the head can be read in one way only, and fits the tunnel. Node.js itself refuses the worst (both lengths,
 * two lengths); this refuses what it lets through (RFC 9112 §6.1): other codings than `chunked`, and any coding in
 * HTTP/1.0. The header fields are bounded apart from the target, because HTTP/2 closes the whole connection, other
 * requests and all, over one field that is larger than it can carry.
 */
export function isWellFormed({ headers, httpVersion, rawHeaders }: IncomingMessage): boolean {
  const coding = headers['transfer-encoding'];
  if (coding !== undefined && !(coding.toLowerCase() === 'chunked' && httpVersion === '1.1')) return false;
  const fieldBytes = rawHeaders.reduce((bytes, part) => bytes + part.length, 0);
  return rawHeaders.length <= 2 * FIELDS_MAX && fieldBytes <= FIELD_BYTES_MAX;
}

/** The body's declared length; 0 if there is none, 1 ("at least one") if it is chunked. */
export function bodyBytesOf({ headers }: IncomingMessage): number {
  return headers['transfer-encoding'] === undefined ? Number(headers['content-length'] ?? 0) : 1;
}

/** IP address of the TCP peer, IPv4 in its own form; `-` if the peer is already gone. */
export function sourceOf(socket: Duplex & { readonly remoteAddress?: string | undefined }): string {
  return socket.remoteAddress?.replace(/^::ffff:(?=\d+\.)/, '') ?? '-';
}

/**
 * Answers with a row of the error table as one line of text. If an answer has begun already, cuts it instead, so that
 * nobody takes a part for the whole.
 */
export function answerError(
  response: ServerResponse,
  code: ErrorCode,
  extra: { readonly status?: number; readonly reference?: string; readonly retryAfterSeconds?: number } = {},
): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const row = errorTable[code];
  const body = Buffer.from(`${row.text}${extra.reference === undefined ? '' : ` (${extra.reference})`}\n`);
  response.writeHead(extra.status ?? row.http, {
    'content-type': 'text/plain; charset=utf-8',
    'content-length': body.length,
    ...(extra.retryAfterSeconds !== undefined && { 'retry-after': String(extra.retryAfterSeconds) }),
  });
  response.write(body);
  // The client may read only when it has sent all, and a connection that is closed under its hands loses the answer:
  // the rest of the request is read and dropped first. REQUEST_TIMEOUT_MS bounds it.
  const { req: request } = response;
  if (request.complete) response.end();
  else request.resume().once('close', () => response.end());
}
