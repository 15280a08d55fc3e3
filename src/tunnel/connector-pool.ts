/** The edge's inner side: where connectors dial in, and which of them carries the next request. */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type OutgoingHttpHeaders,
} from 'node:http2';
import type { Socket } from 'node:net';
import { createServer, type TLSSocket } from 'node:tls';
import { PkiError } from '../errors.ts';
import type { Log } from '../telemetry.ts';
import {
  CONNECTION_WINDOW_BYTES,
  checkAuthority,
  checkTlsIdentity,
  HANDSHAKE_TIMEOUT_MS,
  type Listen,
  listen,
  sessionOptions,
  type TlsIdentity,
  TUNNEL_ALPN,
  watchHeartbeat,
} from './sockets.ts';

/** Who may dial in. */
export interface ConnectorPoolOptions extends Listen, TlsIdentity {
  /** PEM of the CA that connector certificates come from. */
  readonly connectorCa: string;
  /** Common names of the certificates that may connect; the CA's other certificates may not. */
  readonly connectors: readonly string[];
  readonly pingMs: number;
  readonly log: Log;
}

/** Far more than two connectors with two connections each; a bound for a stolen certificate. */
const CONNECTIONS_MAX = 64;
/** Time for a GOAWAY to be sent. */
const GOODBYE_MS = 1_000;

interface Connection {
  readonly name: string;
  readonly session: ClientHttp2Session;
  inFlight: number;
}

/** The connections that are up now. */
export interface ConnectorPool {
  readonly port: number;
  /** Common names of the connectors that are connected, each once, in order. */
  names(): string[];
  /**
   * Opens a stream on the connection that carries the fewest. Its `error` events are already logged; `close` always
   * comes.
   *
   * @throws PkiError `tunnel_unavailable` if no connector is connected, `tunnel_busy` if each carries as many as it
   *   takes.
   */
  openStream(headers: OutgoingHttpHeaders, body: 'with-body' | 'without-body'): ClientHttp2Stream;
  replaceCertificate(identity: TlsIdentity): void;
  /** Stops listening and says goodbye to every connector. Streams should have ended by then; they are cut. */
  close(): Promise<void>;
}

/**
 * Listens for connectors with mutual TLS 1.3. Over each connection that a connector dials, the edge is the HTTP/2
 * client.
 *
 * @throws PkiError `listen_failed`, `key_capability`, `config_invalid`
 */
export async function openConnectorPool(options: ConnectorPoolOptions): Promise<ConnectorPool> {
  const { log } = options;
  checkTlsIdentity('tunnel', options);
  checkAuthority('tunnel.connectorCa', options.connectorCa);
  const connections = new Set<Connection>();
  const sockets = new Set<Socket>();

  const tlsOptions = ({ cert, key }: TlsIdentity) => ({
    cert,
    key,
    ca: options.connectorCa,
    minVersion: 'TLSv1.3' as const,
  });
  const server = createServer({
    ...tlsOptions(options),
    requestCert: true,
    rejectUnauthorized: true,
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    ALPNProtocols: [TUNNEL_ALPN],
  });
  server.maxConnections = CONNECTIONS_MAX;
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.on('secureConnection', admit);
  server.on('tlsClientError', (error, socket) => {
    log.warn(
      { source: socket.remoteAddress, cause: error.message },
      'connection refused: no valid certificate',
    );
  });
  const port = await listen(server, options);

  function admit(socket: TLSSocket): void {
    socket.on('error', (error) => log.debug({ cause: error.message }, 'tunnel socket failed'));
    const name = socket.getPeerCertificate().subject?.CN;
    if (typeof name !== 'string' || !options.connectors.includes(name)) {
      log.warn({ connector: name, source: socket.remoteAddress }, 'connection refused: connector not listed');
      socket.destroy();
      return;
    }
    if (socket.alpnProtocol !== TUNNEL_ALPN) {
      log.warn({ connector: name, source: socket.remoteAddress }, 'connection refused: not a tunnel');
      socket.destroy();
      return;
    }
    socket.setNoDelay(true);
    startSession(name, socket);
  }

  function startSession(name: string, socket: TLSSocket): void {
    const session = connect('http://connector.invalid', {
      ...sessionOptions,
      createConnection: () => socket,
    });
    const connection: Connection = { name, session, inFlight: 0 };
    const source = socket.remoteAddress;
    const silent = setTimeout(
      () => session.destroy(new Error('no HTTP/2 settings came')),
      HANDSHAKE_TIMEOUT_MS,
    );
    session.once('remoteSettings', () => {
      clearTimeout(silent);
      session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
      connections.add(connection);
      log.info({ connector: name, source }, 'connector connected');
    });
    // RFC 9113 §6.8: after GOAWAY no new stream may be opened; the running ones go on.
    session.once('goaway', () => connections.delete(connection));
    session.on('error', (error) => log.warn({ connector: name, cause: error.message }, 'connection failed'));
    session.once('close', () => {
      clearTimeout(silent);
      connections.delete(connection);
      log.info({ connector: name, source }, 'connector disconnected');
    });
    watchHeartbeat(session, options.pingMs);
  }

  return {
    port,
    names: () => [...new Set([...connections].map(({ name }) => name))].sort(),
    openStream(headers, body) {
      const usable = [...connections].filter(({ session }) => !session.closed && !session.destroyed);
      if (usable.length === 0) throw new PkiError('tunnel_unavailable', 'no connector is connected');
      const idlest = usable.filter(hasRoom).sort((a, b) => a.inFlight - b.inFlight)[0];
      if (idlest === undefined) throw new PkiError('tunnel_busy', 'no connection has room for a stream');
      const endStream = body === 'without-body';
      const stream = idlest.session.request(headers, { endStream, waitForTrailers: !endStream });
      idlest.inFlight += 1;
      stream.once('close', () => {
        idlest.inFlight -= 1;
      });
      stream.on('error', (error) =>
        log.debug({ connector: idlest.name, cause: error.message }, 'stream failed'),
      );
      return stream;
    },
    replaceCertificate(identity) {
      checkTlsIdentity('tunnel', identity);
      server.setSecureContext(tlsOptions(identity));
    },
    async close() {
      const stopped = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const { session } of connections) session.close();
      const cut = setTimeout(() => {
        for (const socket of sockets) socket.destroy();
      }, GOODBYE_MS);
      await stopped;
      clearTimeout(cut);
    },
  };
}

function hasRoom({ session, inFlight }: Connection): boolean {
  return inFlight < (session.remoteSettings.maxConcurrentStreams ?? Number.POSITIVE_INFINITY);
}
