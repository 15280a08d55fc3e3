/** Tokens that open the admin API: `NAME.SECRET`, of which the store keeps the name and a hash. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { PkiError } from '../errors.ts';
import type { AdminTokenStore } from '../store/index.ts';
import type { Clock } from '../telemetry.ts';
import type { Actor, Role } from './authorise.ts';

const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;
const SECRET_OCTETS = 32;
/** A token that lives for ever is forgotten. */
const LIFETIME_MS_MAX = 5 * 366 * 24 * 60 * 60_000;

/** What a token is made for. */
export interface AdminTokenOrder {
  readonly name: string;
  readonly roles: readonly [Role, ...Role[]];
  readonly endpoints?: readonly string[] | undefined;
  readonly lifetimeMs: number;
}

/**
 * Makes a token of 256 random bits. It is told once.
 *
 * @param operator who makes it, for the audit list
 * @throws PkiError `request_malformed` if the name is not one, or is taken; `store_unavailable`.
 */
export async function createAdminToken(
  store: AdminTokenStore,
  clock: Clock,
  { name, roles, endpoints, lifetimeMs }: AdminTokenOrder,
  operator: string,
): Promise<{ readonly token: string; readonly expiresAt: Date }> {
  if (!NAME.test(name))
    throw new PkiError('request_malformed', 'a name has lower-case letters, digits and hyphens, at most 63');
  if (!(lifetimeMs > 0 && lifetimeMs <= LIFETIME_MS_MAX))
    throw new PkiError('request_malformed', 'a token lives for at most five years');
  const secret = randomBytes(SECRET_OCTETS).toString('base64url');
  const createdAt = clock.now();
  const expiresAt = new Date(createdAt.getTime() + lifetimeMs);
  const outcome = await store.createAdminToken(
    {
      name,
      secretHash: hashOf(secret).toString('hex'),
      roles,
      ...(endpoints === undefined ? {} : { endpoints }),
      createdAt,
      expiresAt,
    },
    {
      at: createdAt,
      event: 'admin.token-created',
      actor: operator,
      reference: '',
      code: '',
      text: `a token for ${name}`,
      detail: {
        token: name,
        roles: roles.join(' '),
        endpoints: endpoints?.join(' ') ?? '',
        expires: expiresAt.toISOString(),
      },
    },
  );
  if (outcome === 'taken')
    throw new PkiError(
      'request_malformed',
      `there is a token “${name}”: delete it first, or choose another name`,
    );
  return { token: `${name}.${secret}`, expiresAt };
}

/** The two parts of a token, as they are sent. */
export interface PresentedToken {
  readonly name: string;
  readonly secret: string;
}

/** The parts of `NAME.SECRET`; `undefined` if it is not of that form. */
export function splitToken(token: string): PresentedToken | undefined {
  const dot = token.indexOf('.');
  return dot < 0 ? undefined : { name: token.slice(0, dot), secret: token.slice(dot + 1) };
}

/**
 * Whom a token belongs to; `undefined` if it opens nothing. Takes as long for a name that is not there as for one that is.
 *
 * @throws PkiError `store_unavailable`.
 */
export async function actorOf(
  store: AdminTokenStore,
  clock: Clock,
  { name, secret }: PresentedToken,
): Promise<Actor | undefined> {
  const record = NAME.test(name) ? await store.adminToken(name) : undefined;
  const expected = Buffer.from(record?.secretHash ?? '', 'hex');
  const isRight = timingSafeEqual(
    hashOf(secret),
    expected.length === SECRET_OCTETS ? expected : Buffer.alloc(SECRET_OCTETS),
  );
  if (record === undefined || !isRight || record.expiresAt <= clock.now()) return undefined;
  const { roles, endpoints } = record;
  return { name: `token ${name}`, roles, ...(endpoints === undefined ? {} : { endpoints }) };
}

/** 256 random bits need no salt and no slow hash. */
function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret, 'utf8').digest();
}
