/** The door for a directory or an inventory that keeps users and devices up to date: the same rows as in the CSV files. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { PkiError } from '../errors.ts';
import { bodyOf } from './device-door.ts';
import { deviceRows, userRows } from './directory.ts';
import type { Mdm } from './mdm.ts';

/** What the door works with. */
export interface DirectoryDoorParts {
  readonly mdm: Pick<Mdm, 'users' | 'importUsers' | 'devices' | 'importDevices'>;
  /** Whether the caller may; if not, he has his answer. */
  readonly isCaller: (request: FastifyRequest, reply: FastifyReply) => boolean;
}

const HOUR_MS = 3_600_000;

const usersBody = z.strictObject({ users: userRows });
const devicesBody = z.strictObject({
  devices: deviceRows,
  /** Lifetime of enrolment tokens. */
  hours: z
    .number()
    .positive()
    .max(365 * 24)
    .default(24),
});

const pageQuery = z.strictObject({ after: z.string().max(256).optional() });

/** Adds the routes. Who may call them can obtain any certificate that a profile names. */
export function addDirectoryDoor(app: FastifyInstance, { mdm, isCaller }: DirectoryDoorParts): void {
  app.get('/directory/users', async (request, reply) =>
    isCaller(request, reply) ? { users: mdm.users(pageOf(request)) } : reply,
  );

  app.post('/directory/users', async (request, reply) => {
    if (!isCaller(request, reply)) return reply;
    return { users: await mdm.importUsers(bodyOf(request, usersBody).users) };
  });

  app.get('/directory/devices', async (request, reply) =>
    isCaller(request, reply) ? { devices: mdm.devices(pageOf(request)) } : reply,
  );

  app.post('/directory/devices', async (request, reply) => {
    if (!isCaller(request, reply)) return reply;
    const { devices, hours } = bodyOf(request, devicesBody);
    const tokens = await mdm.importDevices(devices, { lifetimeMs: hours * HOUR_MS });
    // They are shown once, and no proxy is to keep them.
    reply.header('cache-control', 'no-store');
    return { tokens, changed: devices.length - tokens.length };
  });
}

/** From behind which one a listing begins. Throws PkiError `request_malformed`. */
function pageOf(request: FastifyRequest): z.output<typeof pageQuery> {
  const parsed = pageQuery.safeParse(request.query);
  if (parsed.success) return parsed.data;
  throw new PkiError('request_malformed', 'the query may hold one after=…, and nothing else');
}
