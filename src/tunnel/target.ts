/** The connector's inner side: the one server that it forwards to. */
import { Agent, type IncomingMessage, request } from 'node:http';
import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import { BlockList, isIP } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type ErrorCode, errorCodeOf, errorTable, PkiError } from '../errors.ts';
import type { Log } from '../telemetry.ts';
import { endToEndHeaders } from './headers.ts';
import { limitBytes } from './limit-bytes.ts';
import { hearWhetherWhole, sayWhenWhole } from './whole-body.ts';

/** The server that a connector forwards to. */
export interface Target {
  /** Sends a stream's request on and its answer back. Always answers or ends the stream. */
  forward(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, bodyBytesMax: number): void;
  /** Closes idle connections. */
  close(): void;
}

/**
 * Idle connections are closed before the server does it (Node.js after 5 s, Fastify 72 s, IIS 120 s), so that no
 * request is sent into a connection that is just being closed.
 */
const IDLE_MS = 4_000;
/** Connections at once; what is more waits its turn. */
const SOCKETS_MAX = 256;
const RETRY_AFTER_SECONDS = '15';

/**
 * A target at a base URL such as `http://127.0.0.1:8080`.
 *
 * @throws PkiError `config_invalid` if the URL is more than scheme, host and port, or if the host is not on this
 *   machine or in a private network.
 */
export function openTarget(
  baseUrl: string,
  options: { readonly timeoutMs: number; readonly log: Log },
): Target {
  const { timeoutMs, log } = options;
  const { hostname, port, host } = parseTarget(baseUrl);
  const agent = new Agent({ keepAlive: true, timeout: IDLE_MS, maxSockets: SOCKETS_MAX });

  function forward(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, bodyBytesMax: number): void {
    const upstream = request({
      agent,
      hostname,
      port,
      method: headers[':method'],
      path: headers[':path'],
      // The target's own name: whoever holds the edge must not choose among virtual hosts.
      headers: { ...endToEndHeaders(headers), host },
    });
    const fail = (error: unknown) => {
      clearTimeout(deadline);
      const code = errorCodeOf(error) === 'internal' ? 'tunnel_unavailable' : errorCodeOf(error);
      if (!stream.destroyed)
        log.warn({ code, cause: error instanceof Error ? error.message : '' }, 'not forwarded');
      answerStreamError(stream, code);
    };
    const deadline = setTimeout(
      () => upstream.destroy(new PkiError('tunnel_timeout', `no answer within ${timeoutMs} ms`)),
      timeoutMs,
    );
    // The edge, or the client behind it, is gone.
    stream.once('close', () => upstream.destroy());
    upstream.on('error', fail);
    upstream.once('close', () => clearTimeout(deadline));
    upstream.once('response', (answer) => {
      clearTimeout(deadline);
      relay(answer, stream).catch(fail);
    });
    const isWhole = stream.endAfterHeaders ? () => true : hearWhetherWhole(stream);
    const limited = limitBytes(bodyBytesMax);
    limited.once('error', (error) => upstream.destroy(error));
    stream.pipe(limited, { end: false }).pipe(upstream);
    // A request that broke off must not reach the target as a complete one.
    stream.once('end', () => (isWhole() ? limited.end() : upstream.destroy()));
  }

  async function relay(answer: IncomingMessage, stream: ServerHttp2Stream): Promise<void> {
    stream.setTimeout(timeoutMs, () => stream.close(constants.NGHTTP2_CANCEL));
    stream.respond(
      { ':status': answer.statusCode, ...endToEndHeaders(answer.headers) },
      { waitForTrailers: true },
    );
    sayWhenWhole(stream, answer);
    await pipeline(answer, stream);
  }

  return { forward, close: () => agent.destroy() };
}

/** Answers a stream with a row of the error table as one line of text; resets it if an answer has begun already. */
export function answerStreamError(stream: ServerHttp2Stream, code: ErrorCode): void {
  if (stream.destroyed || stream.closed) return;
  if (stream.headersSent) {
    stream.close(constants.NGHTTP2_INTERNAL_ERROR);
    return;
  }
  const row = errorTable[code];
  const body = Buffer.from(`${row.text}\n`);
  stream.respond(
    {
      ':status': row.http,
      'content-type': 'text/plain; charset=utf-8',
      'content-length': body.length,
      ...(row.http === 503 && { 'retry-after': RETRY_AFTER_SECONDS }),
    },
    { waitForTrailers: true },
  );
  const whole = Readable.from([body]);
  sayWhenWhole(stream, whole);
  whole.pipe(stream);
  // What is still to come of the request is dropped until the edge, which has its answer, closes the stream.
  stream.unpipe();
  stream.resume();
}

/** This machine (RFC 1122 §3.2.1.3, RFC 4291 §2.5.3) and private networks (RFC 1918, RFC 4193). */
const nearNetworks = new BlockList();
nearNetworks.addSubnet('127.0.0.0', 8);
nearNetworks.addSubnet('10.0.0.0', 8);
nearNetworks.addSubnet('172.16.0.0', 12);
nearNetworks.addSubnet('192.168.0.0', 16);
nearNetworks.addAddress('::1', 'ipv6');
nearNetworks.addSubnet('fc00::', 7, 'ipv6');

/** Other names than localhost are refused: what they point to can change after it was checked. */
function parseTarget(baseUrl: string): { hostname: string; port: number; host: string } {
  const refuse = (why: string) => new PkiError('config_invalid', `target ${baseUrl}: ${why}`);
  const url = URL.parse(baseUrl);
  if (url === null || url.protocol !== 'http:') throw refuse('must be a URL like http://127.0.0.1:8080');
  if (url.href !== `http://${url.host}/`) throw refuse('must be scheme, host and port, nothing else');
  const hostname = url.hostname.replace(/^\[(.*)\]$/, '$1');
  const family = isIP(hostname) === 6 ? 'ipv6' : 'ipv4';
  const near = hostname === 'localhost' || (isIP(hostname) !== 0 && nearNetworks.check(hostname, family));
  if (!near) throw refuse('must be localhost or an address of this machine or of a private network');
  return { hostname, port: Number(url.port || 80), host: url.host };
}
