/** Access tokens of the stand-in for Entra: one audience each, short-lived, checked without a look-up. */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import type { Clock } from '../telemetry.ts';

/** What a token opens: Graph, which is discovery, imported PFX and the directory; or the validation service. Never both. */
export type Audience = 'graph' | 'intune';

/** Entra's tokens live about an hour. */
const LIFETIME_MS = 60 * 60 * 1000;

const claims = z.strictObject({
  aud: z.enum(['graph', 'intune']),
  appid: z.string(),
  roles: z.array(z.string()),
  exp: z.number(),
});

/** The application permissions that an RA needs, by audience: Intune's own, and Graph's for service discovery. */
export const neededRoles = {
  intune: 'scep_challenge_provider',
  graph: 'Application.Read.All',
} as const satisfies Record<Audience, string>;

/** The application permission that importing PFX needs. No app registration has it that is not said to have it. */
export const importRole = 'DeviceManagementConfiguration.ReadWrite.All';

/** The application permission that importing users and devices needs. As `importRole`, it has to be given. */
export const directoryRole = 'Directory.ReadWrite.All';

/** The application permissions that are known here. */
export const knownRoles = [neededRoles.intune, neededRoles.graph, importRole, directoryRole] as const;

/** What a token of each audience can name. */
const rolesFor: Readonly<Record<Audience, readonly string[]>> = {
  intune: [neededRoles.intune],
  graph: [neededRoles.graph, importRole, directoryRole],
};

/** Who may ask for tokens: an app registration with one client secret. */
export interface ApplicationRegistration {
  readonly appId: string;
  readonly secret: string;
  /** Application permissions that an administrator has consented to; both of `neededRoles` if absent. */
  readonly roles?: readonly string[] | undefined;
  /** From then on the secret opens nothing; never if absent. */
  readonly secretEnds?: Date | undefined;
}

/** The head of a token: a JWT (RFC 7519), so that who gets one can read the roles in it. */
const HEAD = Buffer.from(JSON.stringify({ typ: 'JWT', alg: 'HS256' })).toString('base64url');

/**
 * Makes and checks access tokens. The key is made anew at each start: a restart invalidates all tokens, and a client
 * asks for new ones when it meets HTTP 401.
 */
export class AccessTokens {
  readonly #key = randomBytes(32);
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A token and its lifetime in seconds. */
  create(
    audience: Audience,
    { appId, roles = Object.values(neededRoles) }: Omit<ApplicationRegistration, 'secret'>,
  ): { readonly accessToken: string; readonly expiresInSeconds: number } {
    const body = Buffer.from(
      JSON.stringify({
        aud: audience,
        appid: appId,
        // A token names the roles of its own audience alone.
        roles: roles.filter((role) => rolesFor[audience].includes(role)),
        exp: Math.floor((this.#clock.now().getTime() + LIFETIME_MS) / 1000),
      }),
    ).toString('base64url');
    return {
      accessToken: `${HEAD}.${body}.${this.#mac(body).toString('base64url')}`,
      expiresInSeconds: LIFETIME_MS / 1000,
    };
  }

  /** The application that the token was made for, with its roles; `undefined` if it is not a live token for this audience. */
  verify(
    token: string,
    audience: Audience,
  ): { readonly appId: string; readonly roles: readonly string[] } | undefined {
    const [head, body = '', mac = '', ...more] = token.split('.');
    const given = Buffer.from(mac, 'base64url');
    const expected = this.#mac(body);
    if (
      head !== HEAD ||
      more.length > 0 ||
      given.length !== expected.length ||
      !timingSafeEqual(given, expected)
    )
      return undefined;
    const parsed = claims.safeParse(JSON.parse(Buffer.from(body, 'base64url').toString('utf8')));
    if (!parsed.success || parsed.data.aud !== audience) return undefined;
    const { appid, roles, exp } = parsed.data;
    return exp * 1000 > this.#clock.now().getTime() ? { appId: appid, roles } : undefined;
  }

  #mac(body: string): Buffer {
    return createHmac('sha256', this.#key).update(`${HEAD}.${body}`).digest();
  }
}

/** Whether two secrets are the same, in a time that tells nothing of where they differ. */
export function sameSecret(a: string, b: string): boolean {
  const hash = (text: string) => createHash('sha256').update(text, 'utf8').digest();
  return timingSafeEqual(hash(a), hash(b));
}

/** A secret of 256 random bits, base64url. */
export function randomToken(): string {
  return randomBytes(32).toString('base64url');
}

/** What a store keeps of a random token: its SHA-256, lower-case hexadecimal. 256 random bits need no salt. */
export function tokenHashOf(token: string): string {
  return createHash('sha256').update(token, 'utf8').digest('hex');
}
