/** A service that knows its clients by their certificates: mutual TLS against the tenant's root, and a list of names. */
import { readFileSync } from 'node:fs';
import { createServer, type RequestOptions, request } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';

/** What the service is opened with. */
export interface MutualTlsServiceOptions {
  /** PEM chain and key of the service. */
  readonly cert: string;
  readonly key: string;
  /** PEM of the roots that client certificates must lead to. */
  readonly ca: string;
  /** PEM of the CRLs of every CA on the way; a revoked client does not get in. */
  readonly crl: readonly string[];
  /** Common names that may come in. */
  readonly names: readonly string[];
}

/** The service at work. */
export interface MutualTlsService {
  readonly port: number;
  close(): Promise<void>;
}

/** Opens the service on a free loopback port. */
export async function openMutualTlsService(options: MutualTlsServiceOptions): Promise<MutualTlsService> {
  const { cert, key, ca, crl, names } = options;
  const sockets = new Set<Socket>();
  const server = createServer(
    { cert, key, ca, crl: [...crl], requestCert: true, rejectUnauthorized: true },
    (incoming, answer) => {
      const { subject } = (incoming.socket as TLSSocket).getPeerCertificate();
      const name = [subject?.CN].flat()[0];
      const known = name !== undefined && names.includes(name);
      answer.writeHead(known ? 200 : 403).end(known ? `welcome, ${name}` : 'not on the list');
    },
  );
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** What a client shows. */
export interface ClientIdentity {
  /** PEM of leaf and chain. */
  readonly cert: string;
  /** PEM; encrypted if there is a passphrase. */
  readonly key: string;
  readonly passphrase?: string;
}

/** Visits the service. Answers status and body; @throws Error if TLS itself refuses. */
export function visit(
  service: MutualTlsService,
  rootFile: string,
  identity: ClientIdentity | undefined,
): Promise<{ readonly status: number; readonly body: string }> {
  return new Promise((resolve, reject) => {
    const options: RequestOptions = {
      host: '127.0.0.1',
      port: service.port,
      servername: 'localhost',
      ca: readFileSync(rootFile, 'utf8'),
      agent: false,
      ...identity,
    };
    const outgoing = request(options, (answer) => {
      let body = '';
      answer.setEncoding('utf8').on('data', (chunk: string) => {
        body += chunk;
      });
      answer.once('end', () => resolve({ status: answer.statusCode ?? 0, body }));
      answer.once('error', reject);
    });
    outgoing.once('error', reject);
    outgoing.end();
  });
}
