/** Sockets, TLS and HTTP/2 sessions as both ends of the tunnel want them. */
import type { Http2Session, ServerOptions } from 'node:http2';
import type { AddressInfo, Server } from 'node:net';
import { createSecureContext } from 'node:tls';
import { PkiError } from '../errors.ts';

/** Where a listener stands. Port 0 takes a free one. */
export interface Listen {
  readonly host: string;
  readonly port: number;
}

/** Who a TLS endpoint is: PEM certificate (leaf first, then its chain) and PEM private key. */
export interface TlsIdentity {
  readonly cert: string;
  readonly key: string;
}

/** ALPN name of the tunnel (RFC 7301). Not `h2`: the end that listens is the HTTP/2 client. */
export const TUNNEL_ALPN = 'leafgate-tunnel/1';

/** A connection that is not a working tunnel after this time is dropped. */
export const HANDSHAKE_TIMEOUT_MS = 10_000;

/** Requests that one connection carries at once. */
export const STREAMS_MAX = 256;

/** A request target of 64 KiB, with room for the other fields. */
const HEADER_BLOCK_BYTES_MAX = 128 * 1024;

/** HTTP/2 options that both ends share. */
export const sessionOptions = {
  maxSendHeaderBlockLength: HEADER_BLOCK_BYTES_MAX,
  // In MB. STREAMS_MAX streams with full windows both ways are 64; beyond the limit HTTP/2 refuses new streams.
  maxSessionMemory: 128,
  settings: {
    enablePush: false,
    maxConcurrentStreams: STREAMS_MAX,
    maxHeaderListSize: HEADER_BLOCK_BYTES_MAX,
    // What one stalled reader can hold in memory. 128 KiB still carry 2.5 MB/s over a round trip of 50 ms.
    initialWindowSize: 128 * 1024,
  },
} satisfies ServerOptions;

/**
 * Opens a listener and tells its port.
 *
 * @throws PkiError `listen_failed`
 */
export function listen(server: Server, { host, port }: Listen): Promise<number> {
  return new Promise((resolve, reject) => {
    const fail = (cause: Error) =>
      reject(new PkiError('listen_failed', `cannot listen on ${host}:${port}: ${cause.message}`, { cause }));
    server.once('error', fail);
    server.listen(port, host, () => {
      server.off('error', fail);
      resolve((server.address() as AddressInfo).port);
    });
  });
}

/**
 * Checks that a certificate and a key can be read and belong together.
 *
 * @throws PkiError `key_capability`; `where` is the part of the configuration that it names.
 */
export function checkTlsIdentity(where: string, { cert, key }: TlsIdentity): void {
  try {
    createSecureContext({ cert, key });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new PkiError('key_capability', `${where}: certificate and key do not fit: ${why}`, { cause });
  }
}

/**
 * Ends a session whose peer stops answering. A peer that lost power or its network says nothing, and TCP alone would
 * wait for minutes.
 */
export function watchHeartbeat(session: Http2Session, intervalMs: number): void {
  let answered = true;
  const timer = setInterval(() => {
    if (!answered) {
      session.destroy(new Error(`the peer did not answer a ping within ${intervalMs} ms`));
      return;
    }
    answered = false;
    session.ping((error) => {
      answered = error === null;
    });
  }, intervalMs);
  session.once('close', () => clearInterval(timer));
}
