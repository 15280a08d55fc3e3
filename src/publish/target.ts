/** Where objects go, and the one rule by which they get there: an older one never replaces a newer one. */
import { hash } from 'node:crypto';
import { sameOctets } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { cacheControlOf, type PublishedObject } from './objects.ts';

/** What a target holds under a name, as far as it tells. */
export interface HeldObject {
  /** SHA-256 of the octets, lower-case hexadecimal; absent if the target cannot tell, so that they are written anew. */
  readonly sha256?: string;
  readonly number?: bigint;
  readonly nextUpdate?: Date;
  /** Headers that it is served with; absent where somebody else serves it (a folder). */
  readonly headers?: ObjectHeaders;
  /** The target's own mark of this version (an ETag), for a replacement that must meet it unchanged. */
  readonly version?: string;
}

/** Headers that storage keeps with an object. */
export interface ObjectHeaders {
  readonly contentType: string;
  readonly cacheControl: string;
}

/** An object as it is written. */
export interface ObjectToWrite extends PublishedObject {
  readonly sha256: string;
  readonly headers: ObjectHeaders;
}

/**
 * A place that relying parties fetch from.
 *
 * Promise of every method: it ends when `signal` does, and throws PkiError `publish_failed` for whatever the target
 * refuses or fails, in words that hold no secret, without a cause that could hold one. Nobody retries inside.
 */
export interface Target {
  /** The name in the configuration. */
  readonly name: string;
  /** Where it is, for people: a path, or a URL without credentials. */
  readonly place: string;
  /** What it holds; `undefined`: nothing. */
  held(name: string, signal: AbortSignal): Promise<HeldObject | undefined>;
  /**
   * Puts the object in place of `held`, at once: a reader gets the old octets or the new ones, whole. It is durable when
   * `replaced` is answered. `changed`: something else is there meanwhile, and nothing was written. A target that cannot
   * compare while it writes (a folder) never says so.
   */
  replace(
    object: ObjectToWrite,
    held: HeldObject | undefined,
    signal: AbortSignal,
  ): Promise<'replaced' | 'changed'>;
  /** The octets that it holds; `undefined`: none. */
  read(name: string, signal: AbortSignal): Promise<Uint8Array | undefined>;
}

/** How the publication of one object to one target went. */
export interface Publication {
  readonly target: string;
  readonly object: string;
  readonly outcome:
    | 'published'
    /** It was there already. */
    | 'unchanged'
    /** It differs, or is not there; said by a check, which writes nothing. */
    | 'different'
    | 'failed';
  /** Of the object that is there now, as far as it is known. */
  readonly number?: bigint;
  readonly nextUpdate?: Date;
  /** Why it failed, or what is there instead. */
  readonly text?: string;
}

/** Who publishes beside us makes way in less. */
const ATTEMPTS_MAX = 3;

/** SHA-256, lower-case hexadecimal. */
export const sha256Of = (bytes: Uint8Array): string => hash('sha256', bytes, 'hex');

/**
 * Brings one object to one target, unless it is there.
 *
 * @throws PkiError `publish_failed`, also if the target holds a higher number.
 */
export async function publishObject(
  target: Target,
  object: PublishedObject,
  now: Date,
  signal: AbortSignal,
): Promise<'published' | 'unchanged'> {
  const headers = { contentType: object.contentType, cacheControl: cacheControlOf(object, now) };
  const toWrite = { ...object, headers, sha256: sha256Of(object.bytes) };
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    const held = await target.held(object.name, signal);
    if (held !== undefined && isSame(held, toWrite)) return 'unchanged';
    // RFC 5280 §5.2.3: numbers tell which CRL supersedes which; going back would undo revocations.
    if (held?.number !== undefined && object.number !== undefined && held.number > object.number) {
      throw new PkiError(
        'publish_failed',
        `${target.name}: ${object.name} has the number ${held.number} there, ours is ${object.number}; it is not replaced`,
      );
    }
    if ((await target.replace(toWrite, held, signal)) === 'replaced') return 'published';
  }
  throw new PkiError('publish_failed', `${target.name}: ${object.name} is being changed by somebody else`);
}

/** Brings all objects to one target, in their order; one that fails does not hold up the others. */
export async function publishAll(
  target: Target,
  objects: readonly PublishedObject[],
  now: Date,
  signal: AbortSignal,
): Promise<Publication[]> {
  const publications: Publication[] = [];
  for (const object of objects) {
    publications.push(
      await settled(target, object, async () => ({
        ...factsOf(object),
        outcome: await publishObject(target, object, now, signal),
      })),
    );
  }
  return publications;
}

/** Reads all objects back from one target, and compares them octet for octet. Writes nothing. */
export async function compareAll(
  target: Target,
  objects: readonly PublishedObject[],
  signal: AbortSignal,
): Promise<Publication[]> {
  const publications: Publication[] = [];
  for (const object of objects) {
    publications.push(
      await settled(target, object, async () => {
        const there = await target.read(object.name, signal);
        if (there === undefined) return { outcome: 'different', text: 'it is not there' };
        if (sameOctets(there, object.bytes)) return { ...factsOf(object), outcome: 'unchanged' };
        const held = await target.held(object.name, signal);
        return { ...factsOf(held ?? {}), outcome: 'different', text: 'something else is there' };
      }),
    );
  }
  return publications;
}

async function settled(
  target: Target,
  object: PublishedObject,
  work: () => Promise<Omit<Publication, 'target' | 'object'>>,
): Promise<Publication> {
  const names = { target: target.name, object: object.name };
  try {
    return { ...names, ...(await work()) };
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause;
    return { ...names, outcome: 'failed', text: cause.message };
  }
}

function factsOf({ number, nextUpdate }: Pick<PublishedObject, 'number' | 'nextUpdate'>) {
  return {
    ...(number === undefined ? {} : { number }),
    ...(nextUpdate === undefined ? {} : { nextUpdate }),
  };
}

function isSame(held: HeldObject, wanted: ObjectToWrite): boolean {
  return (
    held.sha256 === wanted.sha256 &&
    (held.headers === undefined ||
      (held.headers.contentType === wanted.headers.contentType &&
        held.headers.cacheControl === wanted.headers.cacheControl))
  );
}

/** Names of the facts that storage keeps beside an object; lower-case letters and digits suit every kind. */
const keys = { sha256: 'sha256', number: 'crlnumber', nextUpdate: 'nextupdate' } as const;

/** Facts about an object, as storage keeps them beside it. */
export function metadataOf(object: ObjectToWrite): Record<string, string> {
  return {
    [keys.sha256]: object.sha256,
    ...(object.number === undefined ? {} : { [keys.number]: String(object.number) }),
    ...(object.nextUpdate === undefined ? {} : { [keys.nextUpdate]: object.nextUpdate.toISOString() }),
  };
}

/**
 * Reads them back. Whoever may write to the storage may write anything here: what is not in our form counts as absent.
 *
 * @param entry the value of one fact
 */
export function factsFromMetadata(
  entry: (name: string) => string | null | undefined,
): Pick<HeldObject, 'sha256' | 'number' | 'nextUpdate'> {
  const sha256 = entry(keys.sha256) ?? '';
  const number = entry(keys.number) ?? '';
  const nextUpdate = new Date(entry(keys.nextUpdate) ?? Number.NaN);
  return {
    ...(/^[0-9a-f]{64}$/.test(sha256) ? { sha256 } : {}),
    // RFC 5280 §5.2.3: up to 20 octets, which are 49 digits.
    ...(/^\d{1,49}$/.test(number) ? { number: BigInt(number) } : {}),
    ...(Number.isNaN(nextUpdate.getTime()) ? {} : { nextUpdate }),
  };
}

/** What kept a connection from being made, in the system's word, such as ECONNREFUSED; never a URL or a header. */
export function networkFault(thrown: unknown): string {
  for (let cause = thrown, depth = 0; cause instanceof Error && depth < 5; cause = cause.cause, depth += 1) {
    if (cause.name === 'TimeoutError' || cause.name === 'AbortError') return 'no answer in time';
    const { code } = cause as NodeJS.ErrnoException;
    if (typeof code === 'string' && /^[A-Z][A-Z0-9_]{2,63}$/.test(code)) return code;
    if (cause instanceof AggregateError && cause.errors[0] instanceof Error) cause.cause ??= cause.errors[0];
  }
  return 'the connection failed';
}
