/** The doors for PKCS profiles: devices name whom to encrypt to, connectors take requests and bring PFX. See docs/pfx.md. */
import { hash, timingSafeEqual } from 'node:crypto';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { PkiError } from '../errors.ts';
import { bearerTokenOf, bodyOf } from './device-door.ts';
import type { PkcsRequests } from './pkcs-requests.ts';

/** A connector that may take requests. */
export interface PkcsConnector {
  readonly name: string;
  /** Shown as a bearer token. Who has it can order every certificate that a PKCS profile asks for, and keep its key. */
  readonly secret: string;
}

const ticket = { requestId: z.guid(), attempt: z.int().min(1).max(1000) };
/** A PFX with its chain takes some 10 KiB; the base64 of what is encrypted a third more. */
const envelope = z.base64().max(512 * 1024);

const recipientBody = z.strictObject({ certificate: z.base64().max(16 * 1024) });
const downloadBody = z.strictObject({ max: z.int().min(1).max(100).default(10) });
const uploadBody = z.strictObject({
  ...ticket,
  encryptedPfxBlob: envelope,
  encryptedPfxPassword: envelope,
  thumbprint: z.string().regex(/^[0-9A-F]{40}$/, '40 hexadecimal digits in upper case'),
  serialNumber: z.string().regex(/^[0-9A-F]{1,40}$/, 'hexadecimal in upper case'),
  issuerName: z.string().min(1).max(1024),
  notAfter: z.iso.datetime({ offset: true }).transform((text) => new Date(text)),
});
const acknowledgeBody = z.strictObject({ ...ticket, outcome: z.enum(['delivered', 'withdrawn']) });
const failBody = z.strictObject({ ...ticket, error: z.string().regex(/^[a-z0-9_]{1,64}$/, 'a code') });

/**
 * Adds the routes.
 *
 * @param deviceIdOf the device that a request comes from; throws PkiError `token_refused`
 */
export function addPkcsDoor(
  app: FastifyInstance,
  requests: PkcsRequests,
  connectors: readonly PkcsConnector[],
  deviceIdOf: (request: FastifyRequest) => string,
): void {
  app.post('/pkcs/recipient', async (request, reply) => {
    await requests.nameRecipient(deviceIdOf(request), bodyOf(request, recipientBody).certificate);
    return reply.code(204).send();
  });

  app.post('/connector/pkcs/download', async (request) => {
    assertConnector(request, connectors);
    return { requests: await requests.take(bodyOf(request, downloadBody).max) };
  });

  app.post('/connector/pkcs/upload', async (request, reply) => {
    assertConnector(request, connectors);
    const { requestId, attempt, encryptedPfxBlob, encryptedPfxPassword, ...certificate } = bodyOf(
      request,
      uploadBody,
    );
    await requests.upload({ requestId, attempt }, { encryptedPfxBlob, encryptedPfxPassword }, certificate);
    return reply.code(204).send();
  });

  app.post('/connector/pkcs/acknowledge', async (request, reply) => {
    assertConnector(request, connectors);
    const { outcome, ...ticketOf } = bodyOf(request, acknowledgeBody);
    await requests.acknowledge(ticketOf, outcome);
    return reply.code(204).send();
  });

  app.post('/connector/pkcs/fail', async (request, reply) => {
    assertConnector(request, connectors);
    const { error, ...ticketOf } = bodyOf(request, failBody);
    await requests.fail(ticketOf, error);
    return reply.code(204).send();
  });
}

function assertConnector(request: FastifyRequest, connectors: readonly PkcsConnector[]): void {
  const shown = hash('sha256', bearerTokenOf(request) ?? '', 'buffer');
  const known = connectors.some(({ secret }) => timingSafeEqual(hash('sha256', secret, 'buffer'), shown));
  if (!known) throw new PkiError('token_refused', 'no connector has this token');
}
