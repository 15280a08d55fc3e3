/** A static secret: one challenge that many devices share, for what can hold no other. */
import { createHmac, randomBytes, scrypt, timingSafeEqual } from 'node:crypto';
import { PkiError } from '../../errors.ts';
import type { Validator, Verdict } from '../validator.ts';

/** Parameters of scrypt (RFC 7914): 64 MiB and some 60 ms a guess. */
const SCRYPT = { N: 65_536, r: 8, p: 1, maxmem: 128 * 1024 * 1024 } as const;
const SALT_BYTES = 16;
const HASH_BYTES = 32;
/** Shorter ones are guessed. */
const SECRET_CHARACTERS_MIN = 12;
/** How many guesses are worked on at the same time, and how many wait for it. */
export interface GuessLimits {
  readonly atOnceMax: number;
  readonly waitingMax: number;
}

/** Guessing must not take all memory. */
const guessLimits: GuessLimits = { atOnceMax: 2, waitingMax: 64 };

/**
 * The form in which a static secret stands in the configuration: `scrypt:SALT:HASH`, base64url.
 *
 * @throws PkiError `config_invalid` if the secret is too short.
 */
export async function hashStaticSecret(secret: string): Promise<string> {
  if (secret.length < SECRET_CHARACTERS_MIN) {
    throw new PkiError(
      'config_invalid',
      `a static secret needs at least ${SECRET_CHARACTERS_MIN} characters`,
    );
  }
  const salt = randomBytes(SALT_BYTES);
  const hash = await derive(secret, salt);
  return `scrypt:${salt.toString('base64url')}:${hash.toString('base64url')}`;
}

function derive(secret: string, salt: Uint8Array): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(secret, salt, HASH_BYTES, SCRYPT, (error, key) => (error === null ? resolve(key) : reject(error)));
  });
}

/**
 * Validates against hashed secrets: one, or two while devices change over to a new one. A secret that was right once is
 * recognised by a fast hash under a key that only this process has; everything else costs the sender a full scrypt for
 * each. All comparisons take constant time.
 *
 * @throws PkiError `config_invalid` if one of `hashes` is not of the form that `hashStaticSecret` gives.
 */
export function staticSecretValidator(
  hashes: readonly [string, ...string[]],
  limits: GuessLimits = guessLimits,
): Validator {
  const secrets = hashes.map(parseHash);
  const processKey = randomBytes(32);
  const quick = (challenge: string) => createHmac('sha256', processKey).update(challenge).digest();
  /** Quick hashes of secrets that were right. */
  const known: Buffer[] = [];
  const turns = new Turns(limits);
  return {
    name: 'static-secret',
    challengeUse: 'shared',
    validate: async ({ challengePassword }): Promise<Verdict> => {
      const digest = quick(challengePassword);
      const isKnown = () => known.some((one) => timingSafeEqual(digest, one));
      if (isKnown()) return { verdict: 'accept', names: 'claimed' };
      if (!(await turns.take())) return { verdict: 'unreachable', detail: 'too many wrong secrets at once' };
      try {
        // Many devices may come at once after a start; the first one's work serves those that waited.
        if (isKnown()) return { verdict: 'accept', names: 'claimed' };
        for (const { salt, hash } of secrets) {
          if (!timingSafeEqual(await derive(challengePassword, salt), hash)) continue;
          known.push(digest);
          return { verdict: 'accept', names: 'claimed' };
        }
      } finally {
        turns.give();
      }
      return { verdict: 'refuse', code: 'challenge_unknown', detail: 'wrong static secret' };
    },
  };
}

function parseHash(hashed: string): { readonly salt: Buffer; readonly hash: Buffer } {
  const [scheme, ...parts] = hashed.split(':');
  const [salt = Buffer.alloc(0), hash = Buffer.alloc(0)] = parts.map((part) =>
    Buffer.from(part, 'base64url'),
  );
  if (scheme !== 'scrypt' || parts.length !== 2 || hash.length !== HASH_BYTES || salt.length !== SALT_BYTES) {
    throw new PkiError(
      'config_invalid',
      'a static secret stands as scrypt:SALT:HASH; make it with `leafgate challenge hash`',
    );
  }
  return { salt, hash };
}

/** Lets a few in at a time, and bounds the queue. */
class Turns {
  #free: number;
  readonly #waitingMax: number;
  readonly #waiting: (() => void)[] = [];

  constructor({ atOnceMax, waitingMax }: GuessLimits) {
    this.#free = atOnceMax;
    this.#waitingMax = waitingMax;
  }

  /** Resolves true when it is the caller's turn; false if the queue is full. */
  take(): Promise<boolean> {
    if (this.#free > 0) {
      this.#free -= 1;
      return Promise.resolve(true);
    }
    if (this.#waiting.length >= this.#waitingMax) return Promise.resolve(false);
    return new Promise((resolve) => {
      this.#waiting.push(() => resolve(true));
    });
  }

  give(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free += 1;
    else next();
  }
}
