/** A raw HTTPS server in the place of Entra, Graph and Intune: tokens and discovery come right, the rest as it is told. */
import type { IncomingHttpHeaders } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tlsServer } from './mdm-fixture.ts';

/** What it answers; `drop` ends the connection, `hang` answers nothing or stops within an answer that began well. */
export type PeerReply =
  | { readonly status: number; readonly headers?: Readonly<Record<string, string>>; readonly body: string }
  | 'hang'
  | 'hang in the middle'
  | 'drop';

/** A request that came. */
export interface PeerRequest {
  readonly path: string;
  readonly method: string | undefined;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** A JSON reply. */
export function json(
  status: number,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): PeerReply {
  return { status, headers, body: typeof body === 'string' ? body : JSON.stringify(body) };
}

/** The server. */
export class IntunePeer {
  readonly seen: PeerRequest[] = [];
  /** Answers calls of Intune's services, which lie at `/scep` and `/pki`. */
  respond: (path: string, body: string) => PeerReply = () => json(404, '');
  /** Answers for tokens and discovery; what it leaves open comes right. */
  respondFirst: (path: string, body: string) => PeerReply | undefined = () => undefined;
  url = '';
  readonly #server: Server;

  constructor() {
    this.#server = createServer(tlsServer, (request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const path = new URL(request.url ?? '/', this.url).pathname;
        const body = Buffer.concat(chunks).toString();
        this.seen.push({ path, method: request.method, headers: request.headers, body });
        const reply = this.respondFirst(path, body) ?? this.#usual(path, body) ?? this.respond(path, body);
        if (reply === 'hang') return;
        if (reply === 'drop') {
          request.socket.destroy();
          return;
        }
        if (reply === 'hang in the middle') {
          response.writeHead(200, { 'content-type': 'application/json' });
          response.write('{"code":"Success",');
          return;
        }
        response.writeHead(reply.status, { 'content-type': 'application/json', ...reply.headers });
        response.end(reply.body);
      });
    });
  }

  /** Listens on 127.0.0.1. */
  async open(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.url = `https://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    return this;
  }

  /** Ends it with all connections. */
  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** The requests whose path ends so. */
  calls(end: string): PeerRequest[] {
    return this.seen.filter(({ path }) => path.endsWith(end));
  }

  #usual(path: string, body: string): PeerReply | undefined {
    if (path.includes('openid-configuration')) {
      const base = `${this.url}/tenant`;
      return json(200, {
        issuer: `${base}/v2.0`,
        authorization_endpoint: `${base}/authorize`,
        token_endpoint: `${base}/token`,
        jwks_uri: `${base}/keys`,
      });
    }
    if (path.endsWith('/token')) {
      const scope = new URLSearchParams(body).get('scope') ?? '';
      return json(200, { token_type: 'Bearer', expires_in: 3600, access_token: tokenFor(scope) });
    }
    if (path.endsWith('/endpoints'))
      return json(200, {
        value: [
          { providerName: 'scepREQUESTvalidationFEService', uri: `${this.url}/scep/` },
          { providerName: 'PKIconnectorFEService', uri: `${this.url}/pki` },
        ],
      });
    return undefined;
  }
}

/** An access token with roles, as Entra's have them; signed by nobody. */
export function tokenFor(
  scope: string,
  roles: readonly string[] = [scope.includes('manage') ? 'scep_challenge_provider' : 'Application.Read.All'],
): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ typ: 'JWT', alg: 'none' })}.${part({ aud: scope, roles })}.x`;
}
