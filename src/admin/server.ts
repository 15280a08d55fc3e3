/** The listener of the admin API: signs in, authorises, translates. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { type ErrorCode, errorCodeOf, errorTable, PkiError } from '../errors.ts';
import { boundedServer, type ListenAddress, listen, type TlsServerCertificate } from '../listener.ts';
import { RETRY_AFTER_SECONDS } from '../retry-after.ts';
import type { AdminTokenStore, AuditEntry } from '../store/index.ts';
import { type Log, newReference } from '../telemetry.ts';
import { type Actor, authorise } from './authorise.ts';
import { buildNdesPage, type NdesPageForm } from './ndes-page.ts';
import { adminOpenApi } from './openapi.ts';
import {
  ADMIN_PREFIX,
  type AdminParts,
  type AdminRoute,
  adminRoutes,
  orderChallenge,
  type SignInScheme,
} from './routes.ts';
import { actorOf, type PresentedToken, splitToken } from './tokens.ts';

export type { AdminParts } from './routes.ts';

/** Slows down a source of failed sign-ins. */
export interface SignInLimits {
  /** 0, or the milliseconds after which the source may try again. */
  admit(source: string): number;
  recordFailure(source: string): void;
}

/** A page as NDES has one, for tools that read challenges from it. */
export interface NdesPage extends NdesPageForm {
  /** `/certsrv/mscep_admin`; case does not matter, and what tools append to it neither. */
  readonly path: string;
  readonly endpoint: string;
  /** DER of the CA's certificate whose thumbprint is shown. */
  readonly caCertificate: Uint8Array;
  readonly lifetimeMs: number;
}

/** The page that monitoring reads. */
export interface MetricsPage {
  /** `token`: for who may read the health. `listener`: for whoever reaches the listener. */
  readonly access: 'token' | 'listener';
  readonly mediaType: string;
  readonly text: () => Promise<string>;
}

/** What the listener is opened with. */
export interface AdminServerOptions extends AdminParts, ListenAddress {
  /** Without it the API speaks plain HTTP, which is for loopback alone. */
  readonly tls?: TlsServerCertificate | undefined;
  readonly tokens: AdminTokenStore;
  readonly signInLimits: SignInLimits;
  readonly ndesPages: readonly NdesPage[];
  /** There is none if absent. */
  readonly metrics?: MetricsPage;
  readonly log: Log;
}

/** A listener at work. */
export interface AdminServer {
  readonly address: ListenAddress;
  /** Takes no more connections, ends those that are idle. */
  close(): Promise<void>;
}

/** Bodies are names and comments. */
const BODY_BYTES_MAX = 64 * 1024;
const CONNECTIONS_MAX = 200;
/** NDES challenges have 16 digits; tools take up to 32: 128 bits. */
const NDES_CHALLENGE_OCTETS = 16;

/** What proxies write. Whoever is an administrator here comes without one; what the connector carries never does. */
const forwardedFields = ['forwarded', 'x-forwarded-for', 'via'];

/**
 * Opens the listener.
 *
 * @throws PkiError `listen_failed`, `config_invalid` if the TLS certificate or key cannot be used.
 */
export async function openAdminServer(options: AdminServerOptions): Promise<AdminServer> {
  const { log } = options;
  const name = 'the admin API';
  const app = boundedServer(
    { name, tls: options.tls, bodyBytesMax: BODY_BYTES_MAX, connectionsMax: CONNECTIONS_MAX },
    {
      exposeHeadRoutes: false,
      routerOptions: { caseSensitive: false, ignoreTrailingSlash: true },
      frameworkErrors: (_error, _request, reply) => {
        answerError(reply, 'http_malformed');
      },
    },
  );
  app.addHook('onRequest', (request, reply, done) => {
    // Also of a connector that is pointed here by mistake: this API is never reached through the edge.
    if (forwardedFields.some((field) => request.headers[field] !== undefined)) {
      log.warn({ source: sourceOf(request) }, 'a forwarded request to the admin API was turned away');
      answerError(reply, 'path_denied');
      return;
    }
    reply.header('cache-control', 'no-store').header('x-content-type-options', 'nosniff');
    done();
  });
  // What is not JSON is refused as what it is.
  app.removeContentTypeParser('text/plain');
  app.setNotFoundHandler((_request, reply) => answerError(reply, 'path_denied'));
  app.setErrorHandler((thrown, request, reply) => answerThrown(thrown, request, reply, log));
  for (const route of adminRoutes) addRoute(app, route, options);
  app.get(`${ADMIN_PREFIX}/openapi.json`, async (request) => {
    authorise(await signIn(request, ['Bearer'], options), 'description.read');
    return adminOpenApi();
  });
  const { metrics } = options;
  if (metrics !== undefined)
    app.get('/metrics', async (request, reply) => {
      if (metrics.access === 'token') authorise(await signIn(request, ['Bearer'], options), 'health.read');
      return await reply.type(metrics.mediaType).send(await metrics.text());
    });
  await app.register(async (scope) => addNdesPages(scope, options));
  return { address: await listen(app, name, options), close: () => app.close() };
}

/** Sign in, authorise, parse, do, answer: in that order. */
function addRoute(app: FastifyInstance, route: AdminRoute, options: AdminServerOptions): void {
  app.route({
    method: route.method,
    url: route.path.replaceAll(/\{(\w+)\}/g, ':$1'),
    handler: async (request, reply) => {
      const actor = await signIn(request, route.schemes, options);
      try {
        authorise(actor, route.action);
        const input = {
          params: parsed(route.params, request.params),
          query: parsed(route.query, request.query),
          body: route.body === undefined ? {} : parsed(route.body, request.body ?? {}),
        };
        const answer = await route.handle(input, actor, options);
        return await reply.code(route.status).type(`${route.mediaType}; charset=utf-8`).send(answer);
      } catch (cause) {
        await recordDenial(cause, actor, request, options);
        throw cause;
      }
    },
  });
}

function addNdesPages(app: FastifyInstance, options: AdminServerOptions): void {
  // Some tools post a form that nobody reads.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, _body, done) => done(null, undefined));
  for (const page of options.ndesPages) {
    for (const url of [page.path, `${page.path}/mscep.dll`]) {
      app.route({
        method: ['GET', 'POST'],
        url,
        handler: async (request, reply) => {
          // A page of another site must not have a signed-in browser make challenges.
          const site = request.headers['sec-fetch-site'];
          if (site !== undefined && site !== 'none' && site !== 'same-origin')
            throw new PkiError('access_denied', 'another site asked for the page');
          const actor = await signIn(request, ['Basic'], options);
          try {
            const { endpoint, lifetimeMs, caCertificate } = page;
            const made = await orderChallenge(options, actor, {
              endpoint,
              lifetimeMs,
              octets: NDES_CHALLENGE_OCTETS,
            });
            const { contentType, body } = buildNdesPage(page, {
              caCertificate,
              challenge: made.challenge,
              minutes: Math.floor(lifetimeMs / 60_000),
            });
            return await reply.header('content-type', contentType).send(body);
          } catch (cause) {
            await recordDenial(cause, actor, request, options);
            throw cause;
          }
        },
      });
    }
  }
}

// --- sign-in ----------------------------------------------------------------------------------------------------------

/**
 * Who calls.
 *
 * @throws PkiError `token_refused`, `rate_limited`, `store_unavailable`.
 */
async function signIn(
  request: FastifyRequest,
  schemes: readonly SignInScheme[],
  options: AdminServerOptions,
): Promise<Actor> {
  const { tokens, signInLimits, clock, log } = options;
  const source = sourceOf(request);
  const waitMs = signInLimits.admit(source);
  // Before anything is looked at: a right token would tell that it is one.
  if (waitMs > 0) throw new SignInLimited(waitMs);
  const presented = presentedToken(request.headers.authorization, schemes);
  const actor = presented && (await actorOf(tokens, clock, presented));
  if (actor !== undefined) return actor;
  if (presented !== undefined) {
    signInLimits.recordFailure(source);
    const reference = newReference();
    log.warn({ source, reference }, 'a sign-in to the admin API failed');
    await record(options, {
      at: clock.now(),
      event: 'admin.sign-in-refused',
      actor: 'unknown',
      reference,
      code: 'token_refused',
      text: 'a token is wrong or expired',
      detail: { source, name: /^[a-z0-9-]{1,63}$/.test(presented.name) ? presented.name : '' },
    });
  }
  throw new NotSignedIn(schemes);
}

/** The token of an Authorization field (RFC 6750 §2.1, RFC 7617 §2): of Basic, name and password are its two parts. */
function presentedToken(
  field: string | undefined,
  schemes: readonly SignInScheme[],
): PresentedToken | undefined {
  const [word = '', credentials = '', ...more] = (field ?? '').split(' ');
  const scheme = schemes.find((one) => one.toLowerCase() === word.toLowerCase());
  if (scheme === undefined || credentials === '' || more.length > 0) return undefined;
  if (scheme === 'Bearer') return splitToken(credentials) ?? { name: '', secret: credentials };
  const text = Buffer.from(credentials, 'base64').toString('utf8');
  const colon = text.indexOf(':');
  return { name: text.slice(0, Math.max(colon, 0)), secret: text.slice(colon + 1) };
}

class NotSignedIn extends PkiError {
  readonly schemes: readonly SignInScheme[];

  constructor(schemes: readonly SignInScheme[]) {
    super('token_refused', 'no valid token');
    this.schemes = schemes;
  }
}

class SignInLimited extends PkiError {
  readonly waitMs: number;

  constructor(waitMs: number) {
    super('rate_limited', 'too many failed sign-ins from this address');
    this.waitMs = waitMs;
  }
}

/** Who is signed in and tries what he may not is worth an entry. */
async function recordDenial(
  cause: unknown,
  actor: Actor,
  request: FastifyRequest,
  options: AdminServerOptions,
): Promise<void> {
  if (errorCodeOf(cause) !== 'access_denied') return;
  await record(options, {
    at: options.clock.now(),
    event: 'admin.denied',
    actor: actor.name,
    reference: newReference(),
    code: 'access_denied',
    text: cause instanceof Error ? cause.message : '',
    detail: { source: sourceOf(request), method: request.method, path: request.routeOptions.url ?? '' },
  });
}

/**
 * Puts a no on record. It stays a no where nothing can be written, as on a standby: what a token opens must not show in
 * whether the answer is 401 or 503. Then the log alone has it.
 */
async function record({ tokens, log }: AdminServerOptions, entry: AuditEntry): Promise<void> {
  try {
    await tokens.appendAudit(entry);
  } catch (cause) {
    if (!(cause instanceof PkiError) || cause.kind !== 'unavailable') throw cause;
    const { event, actor, reference, detail } = entry;
    log.error({ event, actor, reference, ...detail, err: cause }, 'the audit list could not be written');
  }
}

/** The other end of the connection: what header fields say about it is a claim. */
function sourceOf(request: FastifyRequest): string {
  return request.socket.remoteAddress ?? '';
}

// --- translation ------------------------------------------------------------------------------------------------------

/** @throws PkiError `request_malformed` naming the field. */
function parsed(schema: z.ZodObject, value: unknown): Readonly<Record<string, unknown>> {
  const result = schema.safeParse(value, { error: inPlainWords });
  if (result.success) return result.data;
  const text = result.error.issues.map(
    ({ path, message }) => `${path.join('.') || 'the request'}: ${message}`,
  );
  throw new PkiError('request_malformed', text.join('; '));
}

/** What is wrong with a value, for what callers get wrong most often; the library's own words for the rest. */
function inPlainWords(issue: z.core.$ZodRawIssue): string | undefined {
  const oneOf = (values: readonly unknown[]) => `one of ${values.join(', ')}`;
  const isMissing = issue.input === undefined;
  switch (issue.code) {
    case 'unrecognized_keys':
      return `has no field ${issue.keys.map((key) => `“${key}”`).join(', ')}`;
    case 'invalid_value':
      return isMissing ? `is missing: ${oneOf(issue.values)}` : `must be ${oneOf(issue.values)}`;
    case 'invalid_type':
      return isMissing ? 'is missing' : `must be of type ${issue.expected}`;
    default:
      return undefined;
  }
}

function answerThrown(thrown: unknown, request: FastifyRequest, reply: FastifyReply, log: Log): FastifyReply {
  if (thrown instanceof NotSignedIn)
    reply.header(
      'www-authenticate',
      thrown.schemes.map((scheme) => `${scheme} realm="Leafgate admin"`),
    );
  if (thrown instanceof SignInLimited) {
    reply.header('retry-after', Math.ceil(thrown.waitMs / 1000));
    return answerError(reply, thrown.code);
  }
  const code = codeOfThrown(thrown);
  const { kind } = errorTable[code];
  if (kind === 'unavailable') reply.header('retry-after', RETRY_AFTER_SECONDS);
  if (errorTable[code].http >= 500)
    log.error(
      { err: thrown, method: request.method, path: request.routeOptions.url },
      'an admin request failed',
    );
  // Whoever is signed in is told what is wrong with what he sent; what is wrong with us stays in the log.
  const isTold = thrown instanceof PkiError && kind === 'malformed';
  return answerError(reply, code, isTold ? thrown.message : bodyProblem(thrown));
}

/** Why a body was not even looked at, if that is it. */
function bodyProblem(thrown: unknown): string | undefined {
  switch ((thrown as { readonly code?: unknown } | null)?.code) {
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return 'a body must be JSON, with the header Content-Type: application/json';
    case 'FST_ERR_CTP_EMPTY_JSON_BODY':
    case 'FST_ERR_CTP_INVALID_JSON_BODY':
      return 'the body is not JSON';
    default:
      return undefined;
  }
}

/** Our own errors by their code, those of the HTTP library by their status. */
function codeOfThrown(thrown: unknown): ErrorCode {
  if (thrown instanceof PkiError) return thrown.code;
  const status = (thrown as { readonly statusCode?: unknown } | null)?.statusCode;
  if (status === 413) return 'request_too_large';
  return typeof status === 'number' && status < 500 ? 'request_malformed' : 'internal';
}

function answerError(reply: FastifyReply, code: ErrorCode, message?: string): FastifyReply {
  const { http, text } = errorTable[code];
  return reply
    .code(http)
    .type('application/json; charset=utf-8')
    .send({ error: code, message: message ?? text });
}
