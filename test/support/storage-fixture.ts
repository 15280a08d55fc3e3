/** Storage that really speaks its protocol, in this process on 127.0.0.1: Azurite, and a server of S3. And CRLs to store. */
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BlobServiceClient, type ContainerClient } from '@azure/storage-blob';
import { buildCrl, crlNumberExtension } from '../../src/codec/index.ts';
import { certificates, keys } from './authorities-fixture.ts';

const require = createRequire(import.meta.url);

/** A server of storage that can be stopped, and started again with what it holds. */
export interface StorageServer {
  /** `http://127.0.0.1:PORT`; the same after each start. */
  readonly url: string;
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Stops it and removes what it holds. */
  remove(): Promise<void>;
}

/** Makes one start of a server out of its parts. */
type Launch = (port: number, folder: string) => Promise<{ readonly port: number; stop(): Promise<void> }>;

async function storageServer(launch: Launch): Promise<StorageServer> {
  const folder = await mkdtemp(join(tmpdir(), 'leafgate-storage-'));
  const first = await launch(0, folder);
  let running: typeof first | undefined = first;
  const stop = async () => {
    await running?.stop();
    running = undefined;
  };
  return {
    url: `http://127.0.0.1:${first.port}`,
    start: async () => {
      running ??= await launch(first.port, folder);
    },
    stop,
    remove: async () => {
      await stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

// --- Azurite --------------------------------------------------------------------------------------------------------

interface AzuriteServer {
  start(): Promise<void>;
  close(): Promise<void>;
  getHttpServerAddress(): string;
}

/** The account that every Azurite has, and its key, as its documentation prints it. */
export const azuriteAccount = 'devstoreaccount1';
/** See `azuriteAccount`. */
export const azuriteKey =
  'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==';

/** Starts Azurite's blob service. */
export function startAzurite(): Promise<StorageServer> {
  const { default: Server } = require('azurite/dist/src/blob/BlobServer.js') as {
    readonly default: new (configuration: unknown) => AzuriteServer;
  };
  const { default: Configuration } = require('azurite/dist/src/blob/BlobConfiguration.js') as {
    readonly default: new (...options: readonly unknown[]) => unknown;
  };
  return storageServer(async (port, folder) => {
    const blobs = [{ locationId: 'Default', locationPath: join(folder, 'blobs'), maxConcurrency: 10 }];
    const files = [join(folder, 'blobs.json'), join(folder, 'extents.json')];
    // Host, port, seconds of keep-alive, files, then: no access log, no debug log, strict, any API version.
    const server = new Server(
      new Configuration(
        '127.0.0.1',
        port,
        1,
        ...files,
        blobs,
        false,
        undefined,
        false,
        undefined,
        false,
        true,
      ),
    );
    await server.start();
    return { port: Number(new URL(server.getHttpServerAddress()).port), stop: () => server.close() };
  });
}

/** The connection string of Azurite's account. */
export function azuriteConnectionString(url: string, key = azuriteKey): string {
  return `DefaultEndpointsProtocol=http;AccountName=${azuriteAccount};AccountKey=${key};BlobEndpoint=${url}/${azuriteAccount};`;
}

/** A new container that anyone may read blobs of. */
export async function newContainer(url: string, name: string): Promise<ContainerClient> {
  const container = BlobServiceClient.fromConnectionString(azuriteConnectionString(url)).getContainerClient(
    name,
  );
  await container.create({ access: 'blob' });
  return container;
}

// --- S3 -------------------------------------------------------------------------------------------------------------

interface S3Server {
  readonly httpServer: import('node:http').Server;
  run(): Promise<AddressInfo>;
}

/** The access key that the S3 server takes, and its secret. */
export const s3Key = 'S3RVER';

/** Starts a server of S3 with the bucket `pki`. It checks signatures, lets anyone read, and knows no conditions. */
export function startS3(): Promise<StorageServer> {
  const Server = require('@20minutes/s3rver') as new (options: object) => S3Server;
  return storageServer(async (port, folder) => {
    const server = new Server({
      address: '127.0.0.1',
      port,
      silent: true,
      directory: folder,
      configureBuckets: [{ name: 'pki' }],
    });
    const address = await server.run();
    return {
      port: address.port,
      stop: () =>
        new Promise((resolve) => {
          server.httpServer.close(() => resolve());
          server.httpServer.closeAllConnections();
        }),
    };
  });
}

/**
 * Puts the conditions of S3's PutObject, which the server lacks, in front of it: If-Match, and If-None-Match with `*`. One
 * write at a time, so that nothing comes between comparison and write.
 */
export async function startConditionalS3(
  upstream: string,
): Promise<{ readonly url: string; stop(): Promise<void> }> {
  let last: Promise<unknown> = Promise.resolve();
  const server = createServer((request, response) => {
    const answer = async () => {
      const headers = Object.fromEntries(
        Object.entries(request.headers).flatMap(([name, value]) =>
          typeof value === 'string' ? [[name, value]] : [],
        ),
      );
      const pieces: Buffer[] = [];
      for await (const piece of request) pieces.push(piece as Buffer);
      const ask = (method: string, given: Record<string, string>, body?: Buffer) =>
        new Promise<{ status: number; headers: IncomingHttpHeaders; body: Buffer }>((resolve, reject) => {
          const url = new URL(request.url ?? '/', upstream);
          const outgoing = httpRequest(url, { method, headers: given, agent: false }, (incoming) => {
            const parts: Buffer[] = [];
            incoming.on('data', (part: Buffer) => parts.push(part));
            incoming.on('end', () =>
              resolve({
                status: incoming.statusCode ?? 0,
                headers: incoming.headers,
                body: Buffer.concat(parts),
              }),
            );
          });
          outgoing.on('error', reject).end(body);
        });
      if (request.method === 'PUT') {
        const { status, headers: held } = await ask('HEAD', {});
        const etag = status === 200 ? held.etag : undefined;
        const { 'if-match': match, 'if-none-match': noneMatch } = headers;
        if ((match !== undefined && match !== etag) || (noneMatch === '*' && etag !== undefined)) {
          response.writeHead(412).end('<Error><Code>PreconditionFailed</Code></Error>');
          return;
        }
      }
      const {
        status,
        headers: given,
        body,
      } = await ask(request.method ?? 'GET', headers, Buffer.concat(pieces));
      response.writeHead(status, given).end(request.method === 'HEAD' ? undefined : body);
    };
    last = last.then(answer).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

// --- CRLs -----------------------------------------------------------------------------------------------------------

/** A CRL of the fixture's issuing CA. */
export async function newCrl(
  crlNumber: number,
  options: { readonly endsInMs?: number; readonly entries?: number } = {},
): Promise<Uint8Array> {
  const { endsInMs = 7 * 86_400_000, entries = 1 } = options;
  const now = Math.floor(Date.now() / 1000) * 1000;
  return await buildCrl(
    {
      signatureAlgorithm: 'rsa-sha256',
      issuer: certificates.issuing.subject,
      thisUpdate: new Date(now - 3_600_000),
      nextUpdate: new Date(now + endsInMs),
      revoked: Array.from({ length: entries }, (_, index) => ({
        serialNumber: (0x1000000 + index).toString(16).padStart(8, '0'),
        revocationDate: new Date(now),
        reason: 'keyCompromise',
      })),
      extensions: [crlNumberExtension(crlNumber)],
    },
    keys.issuing.signs,
  );
}
