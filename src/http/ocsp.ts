/** The OCSP door: requests by GET and POST in, responses out (RFC 6960 appendix A, RFC 5019 §5, §6). */
import { hash } from 'node:crypto';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { buildOcspError } from '../codec/index.ts';
import { errorCodeOf, errorTable } from '../errors.ts';
import type { Clock, Log } from '../telemetry.ts';

/** What answers: the OCSP responder of the CA. */
export interface OcspResponding {
  /** Takes any octets, and answers a DER OCSPResponse, whatever is wrong with them. */
  respond(request: Uint8Array): Promise<{
    readonly response: Uint8Array;
    /** Absent if nobody else may be given this answer. */
    readonly reusable?: { readonly thisUpdate: Date; readonly nextUpdate: Date };
  }>;
}

/** What the door needs. */
export interface OcspDoorOptions {
  readonly responder: OcspResponding;
  readonly clock: Clock;
  readonly log: Log;
}

/** Where the door is; a GET has the request below it. */
const OCSP_PATH = '/ocsp';
/** As the codec takes at most. */
const BODY_BYTES_MAX = 16 * 1024;
/** RFC 5019 §5: clients use POST from 255 characters on; RFC 6960 §A.1 says so too. Some do not keep to it. */
const ENCODED_CHARACTERS_MAX = 4096;
/** How long a cache on the way may hide a revocation, though the answer itself counts for longer. */
const MAX_AGE_SECONDS_MAX = 600;

/** Adds `POST /ocsp` and `GET /ocsp/{base64}` for all CAs: which one is meant stands in the request. */
export function addOcspDoor(app: FastifyInstance, options: OcspDoorOptions): void {
  app.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    // Clients send application/ocsp-request (RFC 6960 §A.1), another type or none; the octets are what counts.
    scope.addContentTypeParser(
      '*',
      { parseAs: 'buffer', bodyLimit: BODY_BYTES_MAX },
      (_request, body, done) => {
        done(null, body);
      },
    );
    // What the HTTP library refuses is refused in OCSP: a client of the protocol reads nothing else.
    scope.setErrorHandler((error: { readonly statusCode?: number }, _request, reply) => {
      const status = error.statusCode ?? errorTable[errorCodeOf(error)].http;
      if (status >= 500) options.log.error({ err: error }, 'an OCSP request failed');
      return send(reply, buildOcspError(status >= 500 ? 'internalError' : 'malformedRequest'));
    });
    for (const url of [OCSP_PATH, `${OCSP_PATH}/`]) {
      scope.route({
        method: 'POST',
        url,
        onRequest: forgetContentType,
        handler: async (request, reply) => {
          const body = request.body instanceof Uint8Array ? request.body : Uint8Array.of();
          const { response } = await options.responder.respond(body);
          return send(reply, response);
        },
      });
    }
    scope.get(`${OCSP_PATH}/*`, async (request, reply) => {
      const { response, reusable } = await options.responder.respond(requestIn(request.raw.url ?? ''));
      if (reusable === undefined) return send(reply, response);
      return sendReusable(request, reply, response, reusable, options.clock);
    });
  });
}

/** A content type that is none would be answered 415 before the door is asked. */
async function forgetContentType(request: FastifyRequest): Promise<void> {
  delete request.raw.headers['content-type'];
}

/**
 * The octets in a request target. RFC 6960 §A.1.1: URL encoding of base64; QUIRK OpenSSL, Windows: not every client
 * encodes `+`, `/` and `=`, so the target is read as it came, where a slash is a digit. Empty if there is no base64.
 */
function requestIn(target: string): Uint8Array {
  const none = Uint8Array.of();
  // A query would be some proxy's; no base64 has a question mark.
  const [path = ''] = target.split('?', 1);
  const encoded = path.slice(OCSP_PATH.length + 1);
  if (encoded.length > ENCODED_CHARACTERS_MAX) return none;
  let base64: string;
  try {
    base64 = decodeURIComponent(encoded);
  } catch {
    return none;
  }
  return /^[A-Za-z0-9+/]+={0,2}$/.test(base64) ? Buffer.from(base64, 'base64') : none;
}

/** An answer for this one client. RFC 5019 §6.2: without leave to keep it, so that no error stays in a cache. */
function send(reply: FastifyReply, response: Uint8Array): FastifyReply {
  // RFC 6960 §A.2: every answer is HTTP 200; what went wrong stands in it. Sent with its length, for HTTP/1.0.
  return reply
    .code(200)
    .header('content-type', 'application/ocsp-response')
    .header('cache-control', 'no-store')
    .send(bufferOver(response));
}

/** An answer for everybody who asks the same, with the headers of RFC 5019 §6.2. */
function sendReusable(
  request: FastifyRequest,
  reply: FastifyReply,
  response: Uint8Array,
  { thisUpdate, nextUpdate }: { readonly thisUpdate: Date; readonly nextUpdate: Date },
  clock: Clock,
): FastifyReply {
  const leftSeconds = Math.floor((nextUpdate.getTime() - clock.now().getTime()) / 1000);
  const maxAge = Math.max(0, Math.min(MAX_AGE_SECONDS_MAX, leftSeconds));
  const etag = `"${hash('sha256', response, 'hex')}"`;
  reply
    .header('content-type', 'application/ocsp-response')
    .header('last-modified', thisUpdate.toUTCString())
    .header('expires', nextUpdate.toUTCString())
    .header('etag', etag)
    .header('cache-control', `max-age=${maxAge}, public, no-transform, must-revalidate`);
  // RFC 9110 §13.1.2.
  if (request.headers['if-none-match'] === etag) return reply.code(304).send();
  return reply.code(200).send(bufferOver(response));
}

function bufferOver(octets: Uint8Array): Buffer {
  return Buffer.from(octets.buffer, octets.byteOffset, octets.byteLength);
}
