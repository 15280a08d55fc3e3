/** The SCEP door: HTTP requests at NDES's own URLs in, CertReps out. It translates; it decides nothing. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import {
  buildCertsOnly,
  type Certificate,
  type CipherName,
  type Decrypt,
  randomOctets,
} from '../codec/index.ts';
import { type ErrorCode, errorCodeOf, errorTable, PkiError } from '../errors.ts';
import type { Refusal, RegistrationAuthority } from '../ra/index.ts';
import {
  type AnswerSigner,
  buildCapabilities,
  buildFailure,
  buildSuccess,
  contentTypes,
  decodeMessageParameter,
  type MessageType,
  openPkcsReq,
  operationOf,
  type PkiMessage,
  parseScepQuery,
  type ReceivedMessage,
  readPkiMessage,
  verifyPkiMessage,
} from '../scep/index.ts';
import type { Clock, Log } from '../telemetry.ts';
import { RETRY_AFTER_SECONDS } from './server.ts';

/** One SCEP endpoint: where it is, and the RA identity that serves it. */
export interface ScepEndpoint {
  readonly name: string;
  /** Paths without regard to case; everything below them is the same endpoint (clients append `/pkiclient.exe`). */
  readonly paths: readonly string[];
  /** Signs every answer. */
  readonly signer: AnswerSigner;
  /** What clients encrypt to. */
  readonly encryption: { readonly certificate: Certificate; readonly decrypt: Decrypt };
  readonly acceptedCiphers: readonly CipherName[];
  /** The keywords of GetCACaps. */
  readonly capabilities: readonly string[];
  /** DER of issuing CA up to root, served with the RA certificates. */
  readonly caChain: readonly Uint8Array[];
}

/** What the door needs. */
export interface ScepDoorOptions {
  readonly endpoints: readonly ScepEndpoint[];
  readonly ra: RegistrationAuthority;
  readonly clock: Clock;
  readonly log: Log;
}

/** §3.2.1.5. */
const NONCE_BYTES = 16;
/** As other SCEP servers have it; a real PKIMessage has a few kilobytes. */
const BODY_BYTES_MAX = 2 * 1024 * 1024;

/**
 * Message types that have a defined answer and never issue: only PKCSReq enrols. What asks for something by its
 * identifier hears that there is no such thing; the rest is refused by name (RFC 8894 §3.3.3, §4.4: a CertPoll without
 * a pending request MUST be rejected).
 */
const answersByType: Readonly<Record<Exclude<MessageType, 'PKCSReq'>, ErrorCode>> = {
  CertRep: 'message_type_unsupported',
  RenewalReq: 'message_type_unsupported',
  UpdateReq: 'message_type_unsupported',
  CertPoll: 'certificate_unknown',
  GetCert: 'certificate_unknown',
  GetCRL: 'certificate_unknown',
};

/** An answer on its way out. */
interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: Uint8Array | string;
  readonly retryAfterSeconds?: number;
}

/** Adds the routes of all endpoints. */
export function addScepDoor(app: FastifyInstance, options: ScepDoorOptions): void {
  app.removeAllContentTypeParsers();
  // Clients send application/x-pki-message, octet-stream, a form type, none or nonsense; the octets are what counts.
  app.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: BODY_BYTES_MAX }, (_request, body, done) => {
    done(null, body);
  });
  for (const endpoint of options.endpoints) {
    const handler = async (request: FastifyRequest, reply: FastifyReply) => {
      const answer = await serve(endpoint, options, request);
      if (answer.retryAfterSeconds !== undefined) reply.header('retry-after', answer.retryAfterSeconds);
      // Sent with its length and not in chunks: embedded clients speak HTTP/1.0.
      return reply.code(answer.status).header('content-type', answer.contentType).send(answer.body);
    };
    for (const path of endpoint.paths) {
      for (const url of [path, `${path}/*`]) {
        app.route({ method: ['GET', 'POST'], url, onRequest: forgetContentType, handler });
      }
    }
  }
}

/** A content type that is none would be answered 415 before the door is asked. */
async function forgetContentType(request: FastifyRequest): Promise<void> {
  request.raw.headers['content-type'] = 'application/octet-stream';
}

async function serve(
  endpoint: ScepEndpoint,
  options: ScepDoorOptions,
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
      return { status: 200, contentType: contentTypes.caAndRaCertificates, body: caCertificates(endpoint) };
    case 'PKIOperation':
      return await pkiOperation(endpoint, options, isPost ? request.body : scepQuery.message, request.ip);
    case 'GetNextCACert':
      return await nextCaCertificates();
    case undefined:
      return problem('scep_operation');
  }
}

/** QUIRK certmonger, jscep, Apple: want both RA certificates and the chain up to the root, found by their KeyUsage. */
function caCertificates(endpoint: ScepEndpoint): Uint8Array {
  return buildCertsOnly([
    endpoint.signer.certificate.raw,
    endpoint.encryption.certificate.raw,
    ...endpoint.caChain,
  ]);
}

/** §4.7: there is no next CA certificate to show. */
async function nextCaCertificates(): Promise<Answer> {
  return problem('operation_unsupported');
}

/** The way of one PKIMessage: read, verify, open, enrol, answer. */
async function pkiOperation(
  endpoint: ScepEndpoint,
  options: ScepDoorOptions,
  message: unknown,
  source: string,
): Promise<Answer> {
  let received: ReceivedMessage;
  try {
    received = readPkiMessage(octetsOf(message));
  } catch (cause) {
    // Without a transactionID no answer of the protocol can be built.
    const detail = cause instanceof Error ? cause.message : String(cause);
    options.log.warn({ endpoint: endpoint.name, source, detail }, errorTable.scep_body.text);
    return problem(errorCodeOf(cause));
  }
  let verified: PkiMessage | undefined;
  const context = { endpoint: endpoint.name, transactionID: received.transactionID, source };
  try {
    verified = verifyPkiMessage(received);
    if (verified.messageType !== 'PKCSReq') {
      const code =
        verified.messageType === undefined ? 'message_type_unsupported' : answersByType[verified.messageType];
      const refused = await options.ra.refuse(
        code,
        `messageType ${verified.messageType ?? 'undefined'}`,
        context,
      );
      return await failure(endpoint, verified, refused);
    }
    const opened = await openPkcsReq(verified, endpoint.encryption.decrypt, endpoint.acceptedCiphers);
    const outcome = await options.ra.enrol({
      ...context,
      csr: opened.csr,
      challengePassword: opened.csr.challengePassword ?? '',
      receivedAt: options.clock.now(),
    });
    if (outcome.outcome === 'pending') return problem('enrolment_busy');
    if (outcome.outcome !== 'issued') return await failure(endpoint, verified, outcome);
    return pkiMessage(
      await buildSuccess(verified, opened, outcome.certificate, endpoint.signer, randomOctets(NONCE_BYTES)),
    );
  } catch (cause) {
    const code = errorCodeOf(cause);
    const refused = await options.ra.refuse(
      code,
      cause instanceof Error ? cause.message : String(cause),
      context,
    );
    return await failure(endpoint, verified ?? received, refused);
  }
}

/** A no travels as a signed FAILURE; what is not available is HTTP 503, so that no client takes it for a verdict. */
async function failure(endpoint: ScepEndpoint, received: ReceivedMessage, outcome: Refusal): Promise<Answer> {
  const row = errorTable[outcome.code];
  const failInfoText = outcome.reference === '' ? row.text : `${row.text} (${outcome.reference})`;
  if (outcome.outcome === 'unavailable' || !('failInfo' in row)) {
    return { ...text(row.http, failInfoText), retryAfterSeconds: RETRY_AFTER_SECONDS };
  }
  const { failInfo = 'badRequest' } = row;
  return pkiMessage(
    await buildFailure(received, { failInfo, failInfoText }, endpoint.signer, randomOctets(NONCE_BYTES)),
  );
}

function octetsOf(message: unknown): Uint8Array {
  if (typeof message === 'string') return decodeMessageParameter(message);
  if (message instanceof Uint8Array && message.length > 0) return message;
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
