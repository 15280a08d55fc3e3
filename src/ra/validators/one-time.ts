/** One-time challenges: made by an operator or an API, pinned to a request, good for one key. */
import { createHmac, randomBytes } from 'node:crypto';
import {
  type CertificationRequest,
  extKeyUsageOf,
  generalNamesToString,
  nameToString,
  subjectAltNameOf,
} from '../../codec/index.ts';
import { PkiError } from '../../errors.ts';
import type { ChallengeRecord, RaStore } from '../../store/index.ts';
import type { Clock } from '../../telemetry.ts';
import type { DirectoryEntry, EnrolmentRequest, Validator, Verdict } from '../validator.ts';
import { type AskedChallenge, type ChallengeOrder, challengeOrderOf } from './challenge-order.ts';

/** What the book is opened with. */
export interface OneTimeChallengesOptions {
  readonly store: RaStore;
  /**
   * Key of the hash under which challenges are stored: who reads the database alone cannot use what is in it
   * (RFC 8894 §7.3 asks for a MAC or an iterated hash). At least 32 octets.
   */
  readonly hashKey: Uint8Array;
  readonly clock: Clock;
}

/** A challenge, told once. */
export interface ToldChallenge {
  readonly challenge: string;
  readonly expiresAt: Date;
}

/** RFC 8894 §7.3 asks for what cannot be guessed within its life. */
const CHALLENGE_OCTETS = 20;

/** Makes one-time challenges, and validates them. They are spent by the enrolment that the RA records under them. */
export class OneTimeChallenges {
  readonly #options: OneTimeChallengesOptions;

  constructor(options: OneTimeChallengesOptions) {
    this.#options = options;
  }

  /**
   * Makes the challenge that somebody asks for, and puts on record who did.
   *
   * @param actor who asks: an operator, or a program that is signed in
   * @throws PkiError `request_malformed`, `name_malformed`, `store_unavailable`.
   */
  async order(asked: AskedChallenge, actor: string): Promise<ToldChallenge> {
    const order = challengeOrderOf(asked);
    const at = this.#options.clock.now();
    const { endpoint, device, pinned, lifetimeMs } = order;
    const { extKeyUsage, ...names } = pinned;
    // Before the challenge: none is in the world that no entry tells of.
    await this.#options.store.appendAudit({
      at,
      event: 'challenge.created',
      actor,
      reference: '',
      code: '',
      text: `a challenge for ${endpoint}`,
      detail: {
        endpoint,
        device,
        expires: new Date(at.getTime() + lifetimeMs).toISOString(),
        ...names,
        ...(extKeyUsage === undefined ? {} : { extKeyUsage: extKeyUsage.join(' ') }),
      },
    });
    return await this.create(order);
  }

  /**
   * Makes a challenge of random bits, readable to people. It is told once and stored only as a hash.
   *
   * @throws PkiError `store_unavailable`.
   */
  async create(order: ChallengeOrder): Promise<ToldChallenge> {
    const challenge = randomBytes(order.octets ?? CHALLENGE_OCTETS)
      .toString('hex')
      .toUpperCase();
    const createdAt = this.#options.clock.now();
    const expiresAt = new Date(createdAt.getTime() + order.lifetimeMs);
    await this.#options.store.createChallenge({
      challengeHash: this.#hash(order.endpoint, challenge),
      endpoint: order.endpoint,
      expiresAt,
      pinned: order.pinned,
      device: order.device,
      createdAt,
    });
    return { challenge, expiresAt };
  }

  /** The validator that an endpoint names. */
  validator(): Validator {
    return {
      name: 'one-time',
      challengeUse: 'single',
      validate: async (request) => {
        try {
          return await this.#validate(request);
        } catch (cause) {
          if (!(cause instanceof PkiError)) throw cause;
          return cause.kind === 'malformed'
            ? refuse(cause.code, cause.message)
            : { verdict: 'unreachable', detail: cause.message };
        }
      },
    };
  }

  async #validate(request: EnrolmentRequest): Promise<Verdict> {
    // Looked up by a keyed hash: its timing tells nothing about a challenge that the sender does not have.
    const record = await this.#options.store.challenge(
      this.#hash(request.endpoint, request.challengePassword),
    );
    if (record === undefined)
      return refuse('challenge_unknown', 'no such one-time challenge on this endpoint');
    if (record.expiresAt <= this.#options.clock.now()) {
      return refuse('challenge_expired', `expired at ${record.expiresAt.toISOString()}`);
    }
    const { csr } = request;
    const { subject, subjectAltName, extKeyUsage } = record.pinned;
    if (subject !== undefined && nameToString(csr.subject) !== subject) {
      return refuse('subject_mismatch', `pinned to ${subject}`);
    }
    if (subjectAltName !== undefined && generalNamesToString(subjectAltNameOf(csr)) !== subjectAltName) {
      return refuse('san_mismatch', `pinned to ${subjectAltName}`);
    }
    // A request without purposes would get all of the template's, which may be more than the pinned ones.
    if (extKeyUsage !== undefined && !sameSet(extKeyUsageOf(csr) ?? [], extKeyUsage)) {
      return refuse('eku_mismatch', `pinned to ${extKeyUsage.join(', ')}`);
    }
    return {
      verdict: 'accept',
      names: subjectAltName === undefined ? 'claimed' : 'vouched',
      ...directoryEntryOf(csr, record.pinned),
      ...(record.device === '' ? {} : { device: record.device }),
    };
  }

  #hash(endpoint: string, challenge: string): string {
    return createHmac('sha256', this.#options.hashKey)
      .update(endpoint)
      .update('\0')
      .update(challenge)
      .digest('hex');
  }
}

/** What an operator wrote down for the challenge is what is known of who uses it. */
function directoryEntryOf(
  csr: CertificationRequest,
  { subject, subjectAltName, securityIdentifier }: ChallengeRecord['pinned'],
): { readonly directory?: DirectoryEntry } {
  const directory: DirectoryEntry = {
    ...(subject === undefined ? {} : { subject: csr.subject }),
    ...(subjectAltName === undefined ? {} : { subjectAltName: subjectAltNameOf(csr) }),
    ...(securityIdentifier === undefined ? {} : { securityIdentifier }),
  };
  return Object.keys(directory).length === 0 ? {} : { directory };
}

function refuse(code: Extract<Verdict, { verdict: 'refuse' }>['code'], detail: string): Verdict {
  return { verdict: 'refuse', code, detail };
}

function sameSet(a: readonly string[], b: readonly string[]): boolean {
  return a.every((item) => b.includes(item)) && b.every((item) => a.includes(item));
}
