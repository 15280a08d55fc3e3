/** The SCEP door: HTTP requests at NDES's own URLs in, CertReps out. It translates; it decides nothing. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { type Certificate, type Decrypt, randomOctets } from '../codec/index.ts';
import { type ErrorCode, errorCodeOf, errorTable, PkiError } from '../errors.ts';
import type { Metrics } from '../metrics.ts';
import type { Refusal, RegistrationAuthority } from '../ra/index.ts';
import { RETRY_AFTER_SECONDS } from '../retry-after.ts';
import {
  type AnswerSigner,
  answerNonceBytes,
  buildCapabilities,
  buildCrlSuccess,
  buildFailure,
  buildPending,
  buildSuccess,
  contentTypes,
  decodeMessageParameter,
  operationOf,
  type PkiMessage,
  parseScepQuery,
  type ReceivedMessage,
  type RefusedAlgorithms,
  readPkiMessage,
  verifyPkiMessage,
  weakAlgorithmsIn,
} from '../scep/index.ts';
import type { Clock, Log } from '../telemetry.ts';
import { BodyMemory, type NoBody } from './body-memory.ts';
import { type Dispatched, dispatch } from './dispatch.ts';
import { Gate, type TurnedAway } from './gate.ts';
import { Admission, type EndpointLimits, sourceKey } from './limits.ts';
import { WeakUse } from './weak-use.ts';

/** The RA's certificates and keys, as a client of GetCACert knows them. */
export interface RaIdentity {
  /** Signs every answer. */
  readonly signer: AnswerSigner;
  /** What clients encrypt to. */
  readonly encryption: { readonly certificate: Certificate; readonly decrypt: Decrypt };
  /** The answer to GetCACert. */
  readonly caCertificates: { readonly contentType: string; readonly body: Uint8Array };
}

/** One SCEP endpoint: where it is, and how it serves. */
export interface ScepEndpoint {
  readonly name: string;
  /** Paths without regard to case; everything below them is the same endpoint (clients append `/pkiclient.exe`). */
  readonly paths: readonly string[];
  /**
   * The identity that a message was meant for, as long as it is valid: a client may have fetched GetCACert before the RA's
   * certificates were renewed. The present one for any other message, and for none.
   */
  readonly ra: (received?: ReceivedMessage) => RaIdentity;
  readonly refusedAlgorithms: RefusedAlgorithms;
  /** The keywords of GetCACaps. */
  readonly capabilities: readonly string[];
  /** The answer to GetNextCACert while the issuing CA is being succeeded; absent if it is not. */
  readonly nextCaCertificates?: Uint8Array;
  /** None if absent. */
  readonly limits?: EndpointLimits;
}

/** What the door needs. */
export interface ScepDoorOptions {
  readonly endpoints: readonly ScepEndpoint[];
  readonly ra: RegistrationAuthority;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

/** As other SCEP servers have it; a real PKIMessage has a few kilobytes. */
const BODY_BYTES_MAX = 2 * 1024 * 1024;

/** The options, and what the door itself keeps. */
interface Door extends ScepDoorOptions {
  readonly weakUse: WeakUse;
  readonly bodies: BodyMemory;
}

/** An answer on its way out. */
interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: Uint8Array | string;
  readonly retryAfterSeconds?: number;
  /** Why nothing was given. */
  readonly refused?: ErrorCode;
  /** The rest of the request was not read: the connection can serve no other. */
  readonly isLast?: true;
}

/** Adds the routes of all endpoints. */
export function addScepDoor(app: FastifyInstance, options: ScepDoorOptions): void {
  app.removeAllContentTypeParsers();
  // Clients send application/x-pki-message, octet-stream, a form type, none or nonsense; the octets are what counts. They are
  // read where it is known that they are wanted, and within what memory there is.
  app.addContentTypeParser('*', (_request, _body, done) => done(null));
  const admission = new Admission();
  const door: Door = {
    ...options,
    weakUse: new WeakUse(options.log, options.clock, options.metrics),
    bodies: new BodyMemory(),
  };
  for (const endpoint of options.endpoints) {
    const gate = new Gate(endpoint.name, endpoint.limits, admission, options.log);
    countOperation(door, endpoint, 'PKCSReq', { outcome: 'issued' }, 0);
    const onRequest = async (request: FastifyRequest, reply: FastifyReply) => {
      // A content type that is none would be answered 415 before the door is asked.
      request.raw.headers['content-type'] = 'application/octet-stream';
      // Before its body is read; of a GET it is not known yet what it asks for.
      const turnedAway = request.method === 'POST' ? gate.check(sourceKey(request.ip)) : undefined;
      if (turnedAway === undefined) return;
      return send(reply, turnAway(door, endpoint, turnedAway));
    };
    const handler = async (request: FastifyRequest, reply: FastifyReply) =>
      send(reply, await serve(endpoint, door, gate, request));
    for (const path of endpoint.paths) {
      for (const url of [path, `${path}/*`]) {
        app.route({ method: ['GET', 'POST'], url, onRequest, handler });
      }
    }
  }
}

/** Sent with its length and not in chunks: embedded clients speak HTTP/1.0. */
function send(reply: FastifyReply, answer: Answer): FastifyReply {
  const { status, contentType, body, retryAfterSeconds, isLast } = answer;
  if (retryAfterSeconds !== undefined) reply.header('retry-after', retryAfterSeconds);
  if (isLast === true) reply.header('connection', 'close');
  return reply.code(status).header('content-type', contentType).send(body);
}

async function serve(
  endpoint: ScepEndpoint,
  options: Door,
  gate: Gate,
  request: FastifyRequest,
): Promise<Answer> {
  const [, query = ''] = splitOnce(request.raw.url ?? '', '?');
  const scepQuery = parseScepQuery(query);
  const isPost = request.method === 'POST';
  // NDES with a policy module answers a visit without an operation in exactly this way; administrators test for it.
  if (scepQuery.operation === undefined && !isPost)
    return text(403, 'Forbidden: this is a SCEP server for devices.');
  // RFC 8894 §4.3: a POST can only be a PKIOperation; clients that leave the parameter out are served.
  const operation = isPost && scepQuery.operation === undefined ? 'PKIOperation' : operationOf(scepQuery);
  switch (operation) {
    case 'GetCACaps':
      return {
        status: 200,
        contentType: contentTypes.capabilities,
        body: buildCapabilities(endpoint.capabilities),
      };
    case 'GetCACert':
      return { status: 200, ...endpoint.ra().caCertificates };
    case 'PKIOperation': {
      const source = sourceKey(request.ip);
      let beginMs = performance.now();
      const perform = (message: Uint8Array | string | undefined) => {
        // How long a client takes to send is not how long we take.
        beginMs = performance.now();
        return gate.pass(source, request.raw.socket, () =>
          pkiOperation(endpoint, options, message, request.ip),
        );
      };
      const answer = isPost
        ? await options.bodies.hold(request.raw, source, BODY_BYTES_MAX, perform)
        : (gate.check(source) ?? (await perform(scepQuery.message)));
      if (typeof answer === 'string') return withoutBody(answer, gate, source, options, endpoint);
      if ('code' in answer) return turnAway(options, endpoint, answer);
      const label = { endpoint: endpoint.name };
      options.metrics.observe('leafgate_pki_operation_duration_seconds', label, performance.now() - beginMs);
      return answer;
    }
    case 'GetNextCACert':
      return nextCaCertificates(endpoint);
    case undefined:
      return problem('scep_operation');
  }
}

/** What a POST is told whose body was not taken; who has gone hears nothing. */
function withoutBody(
  why: NoBody,
  gate: Gate,
  source: string,
  options: ScepDoorOptions,
  endpoint: ScepEndpoint,
): Answer {
  const answer =
    why === 'no memory'
      ? turnAway(options, endpoint, gate.noMemory(source))
      : problem(why === 'too large' ? 'request_too_large' : 'http_malformed');
  return { ...answer, isLast: true };
}

/** RFC 8894 §4.7. Signed beforehand: nobody may have the CA's key used as often as he likes. */
function nextCaCertificates({ nextCaCertificates: body }: ScepEndpoint): Answer {
  return body === undefined
    ? problem('operation_unsupported')
    : { status: 200, contentType: contentTypes.nextCaCertificates, body };
}

/** The way of one PKIMessage: read, verify, dispatch, answer. */
async function pkiOperation(
  endpoint: ScepEndpoint,
  options: Door,
  message: Uint8Array | string | undefined,
  source: string,
): Promise<Answer> {
  let received: ReceivedMessage;
  try {
    received = readPkiMessage(octetsOf(message));
  } catch (cause) {
    // Without a transactionID no answer of the protocol can be built.
    const detail = cause instanceof Error ? cause.message : String(cause);
    options.log.warn({ endpoint: endpoint.name, source, detail }, errorTable.scep_body.text);
    const code = errorCodeOf(cause);
    countOperation(options, endpoint, undefined, { outcome: 'refused', code });
    return problem(code);
  }
  let verified: PkiMessage | undefined;
  const ra = endpoint.ra(received);
  const context = { endpoint: endpoint.name, transactionID: received.transactionID, source };
  try {
    verified = verifyPkiMessage(received);
    const way = { ra: options.ra, clock: options.clock, decrypt: ra.encryption.decrypt };
    const { refusedAlgorithms } = endpoint;
    const dispatched = await dispatch(verified, context, { ...way, refusedAlgorithms });
    if (dispatched.manner !== undefined)
      options.weakUse.note(
        endpoint.name,
        weakAlgorithmsIn({ digest: verified.digest, ...dispatched.manner }),
      );
    const answer = await answerTo(verified, dispatched, ra);
    countOperation(options, endpoint, verified.messageType, dispatched.outcome);
    return answer;
  } catch (cause) {
    const code = errorCodeOf(cause);
    const refused = await options.ra.refuse(
      code,
      cause instanceof Error ? cause.message : String(cause),
      context,
    );
    countOperation(options, endpoint, verified?.messageType, refused);
    return await failure(ra, verified ?? received, refused);
  }
}

/** The CertRep of what became of a message (§3.3.2). */
async function answerTo(message: PkiMessage, dispatched: Dispatched, ra: RaIdentity): Promise<Answer> {
  const nonce = randomOctets(answerNonceBytes(message));
  const { outcome, manner } = dispatched;
  if (manner === undefined) return await failure(ra, message, outcome);
  switch (outcome.outcome) {
    case 'issued':
      return pkiMessage(await buildSuccess(message, manner, outcome.certificate, ra.signer, nonce));
    case 'crl':
      return pkiMessage(await buildCrlSuccess(message, manner, outcome.crl, ra.signer, nonce));
    case 'pending':
      return pkiMessage(await buildPending(message, ra.signer, nonce));
    case 'refused':
    case 'unavailable':
      return await failure(ra, message, outcome);
  }
}

/** A no travels as a signed FAILURE; what is not available is HTTP 503, so that no client takes it for a verdict. */
async function failure(ra: RaIdentity, received: ReceivedMessage, outcome: Refusal): Promise<Answer> {
  const row = errorTable[outcome.code];
  const failInfoText = outcome.reference === '' ? row.text : `${row.text} (${outcome.reference})`;
  if (outcome.outcome === 'unavailable' || !('failInfo' in row)) {
    return { ...text(row.http, failInfoText), retryAfterSeconds: RETRY_AFTER_SECONDS };
  }
  const { failInfo = 'badRequest' } = row;
  const nonce = randomOctets(answerNonceBytes(received));
  const body = await buildFailure(received, { failInfo, failInfoText }, ra.signer, nonce);
  return { ...pkiMessage(body), refused: outcome.code };
}

function turnAway(
  { metrics }: ScepDoorOptions,
  endpoint: ScepEndpoint,
  { code, retryAfterSeconds }: TurnedAway,
): Answer {
  const labels = { endpoint: endpoint.name, message_type: '', outcome: 'turned_away', code };
  metrics.count('leafgate_pki_operations_total', labels);
  return { ...problem(code), retryAfterSeconds };
}

/** Counts what a message came to, under its type if that is known. */
function countOperation(
  { metrics }: ScepDoorOptions,
  { name: endpoint }: ScepEndpoint,
  messageType: PkiMessage['messageType'],
  { outcome, code }: { readonly outcome: string; readonly code?: ErrorCode },
  by = 1,
): void {
  const labels = { endpoint, message_type: messageType ?? '', outcome, code: code ?? '' };
  metrics.count('leafgate_pki_operations_total', labels, by);
}

function octetsOf(message: Uint8Array | string | undefined): Uint8Array {
  if (typeof message === 'string') return decodeMessageParameter(message);
  if (message !== undefined && message.length > 0) return message;
  throw new PkiError('scep_body', 'the request carries no message');
}

function pkiMessage(body: Uint8Array): Answer {
  return { status: 200, contentType: contentTypes.pkiMessage, body };
}

function problem(code: ErrorCode): Answer {
  return text(errorTable[code].http, errorTable[code].text);
}

function text(status: number, body: string): Answer {
  return { status, contentType: 'text/plain; charset=utf-8', body: `${body}\n` };
}

function splitOnce(whole: string, separator: string): [string, string?] {
  const at = whole.indexOf(separator);
  return at < 0 ? [whole] : [whole.slice(0, at), whole.slice(at + separator.length)];
}
