/** What the listeners of few clients have in common, and how every HTTP listener takes its port. A leaf. */
import { type AddressInfo, createServer } from 'node:net';
import { type FastifyInstance, type FastifyServerOptions, fastify } from 'fastify';
import { PkiError } from './errors.ts';

/** A TLS server's certificate chain and private key, both PEM. */
export interface TlsServerCertificate {
  readonly cert: string;
  readonly key: string;
}

/** Who listens, and what is too much for it. */
export interface BoundedServerOptions {
  /** For messages: `the MDM`. */
  readonly name: string;
  /** Without it the server speaks plain HTTP, which is for loopback alone. */
  readonly tls: TlsServerCertificate | undefined;
  readonly bodyBytesMax: number;
  readonly connectionsMax: number;
}

/**
 * Whether other threads of this program listen on the same port: `alone` shares with nobody, `first` makes the port one
 * that can be shared and finds out whether a stranger has it, `shared` joins.
 */
export type PortSharing = 'alone' | 'first' | 'shared';

/** Where to listen. */
export interface ListenAddress {
  readonly host: string;
  /** 0 for any free port. */
  readonly port: number;
}

const REQUEST_TIMEOUT_MS = 30_000;
const IDLE_TIMEOUT_MS = 60_000;

/**
 * A server that is bounded in time, size and number; it does not listen yet. `more` are further options of Fastify's.
 *
 * @throws PkiError `config_invalid` if the TLS certificate or key cannot be used.
 */
export function boundedServer(
  { name, tls, bodyBytesMax, connectionsMax }: BoundedServerOptions,
  more: FastifyServerOptions = {},
): FastifyInstance {
  const options = {
    logger: false,
    bodyLimit: bodyBytesMax,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: IDLE_TIMEOUT_MS,
    forceCloseConnections: true,
    ...more,
  };
  let app: FastifyInstance;
  try {
    app =
      tls === undefined
        ? fastify(options)
        : fastify({ ...options, https: { ...tls, minVersion: 'TLSv1.2' } } as FastifyServerOptions);
  } catch (cause) {
    throw new PkiError('config_invalid', `the TLS certificate or key of ${name} cannot be used`, { cause });
  }
  app.server.maxConnections = connectionsMax;
  return app;
}

/**
 * Listens.
 *
 * @returns the address that it has, with its port.
 * @throws PkiError `listen_failed`.
 */
export async function listen(
  app: FastifyInstance,
  name: string,
  { host, port }: ListenAddress,
  sharing: PortSharing = 'alone',
): Promise<ListenAddress> {
  try {
    if (sharing === 'first') await assertPortFree(host, port);
    await app.listen({ host, port, ...(sharing !== 'alone' && { reusePort: true }) });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new PkiError('listen_failed', `${name} cannot listen on ${host}:${port}: ${reason}`, { cause });
  }
  const bound = app.server.address() as AddressInfo;
  return { host: bound.address, port: bound.port };
}

/** Two servers that both share their port would take each other's requests; so the first looks whether it is free. */
async function assertPortFree(host: string, port: number): Promise<void> {
  const probe = createServer();
  await new Promise<void>((resolve, reject) => {
    probe.once('error', reject);
    probe.listen({ host, port }, () => probe.close(() => resolve()));
  });
}
