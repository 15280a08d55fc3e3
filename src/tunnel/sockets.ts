/** Sockets, TLS and HTTP/2 sessions as both ends of the tunnel want them. */
import { X509Certificate } from 'node:crypto';
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
const STREAMS_MAX = 256;

/** A request target of 64 KiB, with room for the other fields. */
const HEADER_BLOCK_BYTES_MAX = 128 * 1024;

/**
 * What one connection may have on its way, for `session.setLocalWindowSize`: 80 MB/s over a round trip of 50 ms, where
 * HTTP/2's own 64 KiB would be 1.3. It bounds no memory: Node.js gives it back as bytes arrive; the stream's window is
 * what holds back a sender.
 */
export const CONNECTION_WINDOW_BYTES = 4 * 1024 * 1024;

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
 * Checks that a PEM text holds a certificate to trust. Node.js takes an empty one as "trust every public CA".
 *
 * @throws PkiError `config_invalid`; `where` is the part of the configuration that it names.
 */
export function checkAuthority(where: string, pem: string): void {
  try {
    new X509Certificate(pem);
  } catch (cause) {
    throw new PkiError('config_invalid', `${where}: no PEM certificate of a CA can be read from it`, {
      cause,
    });
  }
}

/**
 * Ends a session whose peer stops answering. A peer that lost power or its network says nothing, and TCP alone would
 * wait for minutes.
 */
export function watchHeartbeat(session: Http2Session, intervalMs: number): void {
  let answered = true;
  const timer = setInterval(() => {
    if (session.destroyed) return;
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
