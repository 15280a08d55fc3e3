/** The door for devices: join, check in, report. JSON over HTTPS, authenticated by the device's own token. */
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { type ErrorCode, errorCodeOf, errorTable, PkiError } from '../errors.ts';
import { RETRY_AFTER_SECONDS } from '../retry-after.ts';
import type { Log } from '../telemetry.ts';
import { claimPattern, type Device, platforms } from './device.ts';
import type { Mdm } from './mdm.ts';
import { deviceReportedStates } from './mdm-store.ts';

/** A name or number that a device claims: text without control characters, short enough for a certificate's field. */
const claim = z.string().regex(claimPattern, 'at most 64 characters, none of them a control character');
const profileId = z.string().max(64);
const instant = z.iso.datetime({ offset: true }).transform((text) => new Date(text));
const thumbprint = z.string().regex(/^[0-9A-Fa-f]{40}$/, '40 hexadecimal digits');
const int32 = z.int().min(-0x8000_0000).max(0xffff_ffff);

/** Body of `POST /enrolment`. */
const joinBody = z.strictObject({
  token: z.string().max(256),
  deviceName: claim,
  platform: z.enum(platforms),
  serialNumber: claim,
  /** Chosen by the device, as hard to guess as a token. */
  joinId: z
    .string()
    .regex(/^[\w-]{22,128}$/)
    .optional(),
});

/** Body of `POST /checkin`: what the device has. */
const checkInBody = z.strictObject({
  installed: z
    .array(
      z.strictObject({
        profileId,
        version: z.int(),
        thumbprint,
        notBefore: instant.optional(),
        notAfter: instant,
      }),
    )
    .max(100)
    .default([]),
});

/** Body of `POST /report`. */
const reportBody = z.strictObject({
  profileId,
  issuanceState: z.enum(deviceReportedStates),
  thumbprint: thumbprint.optional(),
  serialNumber: z
    .string()
    .regex(/^[0-9A-Fa-f]{1,40}$/)
    .optional(),
  notAfter: instant.optional(),
  errorCode: int32.optional(),
  eventId: z.int().min(0).max(0xffff).optional(),
});

/** Adds the routes of the device door. */
export function addDeviceDoor(app: FastifyInstance, mdm: Mdm, log: Log): void {
  app.setErrorHandler((error: FastifyError, request, reply) => answerError(error, request, reply, log));

  app.post('/enrolment', async (request, reply) => {
    const { device, deviceToken } = await mdm.join(bodyOf(request, joinBody));
    return reply.code(201).send({
      deviceId: device.deviceId,
      azureADDeviceId: device.azureADDeviceId,
      deviceName: device.deviceName,
      deviceToken,
    });
  });

  app.post('/checkin', async (request) => {
    const device = deviceOf(request, mdm);
    return mdm.checkIn(device, bodyOf(request, checkInBody).installed);
  });

  app.post('/report', async (request, reply) => {
    const device = deviceOf(request, mdm);
    await mdm.report(device, bodyOf(request, reportBody));
    return reply.code(204).send();
  });
}

/** The device that sent a request. Throws PkiError `token_refused`. */
export function deviceOf(request: FastifyRequest, mdm: Mdm): Device {
  const token = bearerTokenOf(request);
  if (token === undefined) throw new PkiError('token_refused', 'no bearer token');
  return mdm.authenticate(token);
}

/** The token of an Authorization header (RFC 6750 §2.1); `undefined` if there is none of that form. */
export function bearerTokenOf(request: FastifyRequest): string | undefined {
  return /^Bearer +([\w.~+/=-]{1,4096})$/i.exec(request.headers.authorization ?? '')?.[1];
}

/**
 * The body, checked.
 *
 * @throws PkiError `request_malformed` naming the field.
 */
export function bodyOf<S extends z.ZodType>(request: FastifyRequest, schema: S): z.output<S> {
  const parsed = schema.safeParse(request.body);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  // The issue names the field and what it takes, never the value that was sent.
  throw new PkiError(
    'request_malformed',
    `${issue?.path.join('.') || 'body'}: ${issue?.message ?? 'not valid'}`,
  );
}

/** Our code for whatever a route or Fastify itself threw. */
export function codeOfFailure(error: FastifyError): ErrorCode {
  if (error instanceof PkiError) return error.code;
  if (error.statusCode === 413) return 'request_too_large';
  if (error.statusCode !== undefined && error.statusCode < 500) return 'request_malformed';
  return errorCodeOf(error);
}

/** Logs a failure; expected refusals quietly, broken worlds loudly. */
export function logFailure(log: Log, error: FastifyError, request: FastifyRequest, code: ErrorCode): void {
  const fields = { code, reason: error.message, method: request.method, path: request.routeOptions.url };
  const { kind } = errorTable[code];
  if (kind === 'bug') log.error({ ...fields, stack: error.stack }, 'request failed');
  else if (kind === 'unavailable') log.error(fields, 'request failed');
  else log.info(fields, 'request refused');
}

function answerError(
  error: FastifyError,
  request: FastifyRequest,
  reply: FastifyReply,
  log: Log,
): FastifyReply {
  const code = codeOfFailure(error);
  logFailure(log, error, request, code);
  const row = errorTable[code];
  if (row.http === 503) reply.header('retry-after', RETRY_AFTER_SECONDS);
  if (row.http === 401) reply.header('www-authenticate', 'Bearer');
  return reply.code(row.http).send({ error: code, message: row.text });
}
