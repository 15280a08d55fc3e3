/** Whether the URLs in the certificates really serve what was published. */
import { sameOctets } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { readBody } from './bounded-body.ts';
import { OBJECT_BYTES_MAX, type PublishedObject, readCrlFacts } from './objects.ts';
import { networkFault } from './target.ts';

/** A URL that stands in certificates, and what relying parties must get from it. */
export interface PublishedUrl {
  readonly url: string;
  readonly object: PublishedObject;
}

/** What a URL serves. */
export interface UrlFinding {
  readonly url: string;
  readonly object: string;
  readonly verdict: /** Octet for octet what was published. */
    | 'served'
    /** An older CRL that still holds: a cache has not let go of it, or a newer one is on its way. */
    | 'older'
    | 'wrong';
  /** What is wrong, or old. */
  readonly text?: string;
}

/** As long as relying parties wait, or longer. */
const TIMEOUT_MS = 15_000;

/** Fetches every URL as a relying party does, and compares. Never throws: what fails, or is ended by `signal`, is `wrong`. */
export async function checkUrls(
  urls: readonly PublishedUrl[],
  now: Date,
  signal: AbortSignal = AbortSignal.timeout(TIMEOUT_MS),
): Promise<UrlFinding[]> {
  return await Promise.all(
    urls.map(async ({ url, object }) => ({
      url,
      object: object.name,
      ...(await findingOf(url, object, now, signal)),
    })),
  );
}

async function findingOf(
  url: string,
  object: PublishedObject,
  now: Date,
  ending: AbortSignal,
): Promise<Pick<UrlFinding, 'verdict' | 'text'>> {
  try {
    const response = await fetch(url, { signal: AbortSignal.any([ending, AbortSignal.timeout(TIMEOUT_MS)]) });
    if (!response.ok) {
      await response.body?.cancel();
      return { verdict: 'wrong', text: `answers HTTP ${response.status}` };
    }
    const body = await readBody(response, OBJECT_BYTES_MAX);
    if (body === undefined) return { verdict: 'wrong', text: 'serves more than anything that we publish' };
    if (sameOctets(body, object.bytes)) return { verdict: 'served' };
    return otherThan(object, body, now);
  } catch (thrown) {
    return { verdict: 'wrong', text: `cannot be fetched: ${networkFault(thrown)}` };
  }
}

function otherThan(
  { number }: PublishedObject,
  body: Uint8Array,
  now: Date,
): Pick<UrlFinding, 'verdict' | 'text'> {
  if (number === undefined) return { verdict: 'wrong', text: 'serves something else' };
  try {
    const { crlNumber, nextUpdate } = readCrlFacts(body);
    if (crlNumber === undefined || crlNumber === number)
      return { verdict: 'wrong', text: 'serves another CRL' };
    if (crlNumber > number)
      return { verdict: 'wrong', text: `serves the CRL number ${crlNumber}, ours is ${number}` };
    const isOver = nextUpdate === undefined || nextUpdate <= now;
    return {
      verdict: isOver ? 'wrong' : 'older',
      text: `serves the CRL number ${crlNumber}, ${isOver ? 'which has ended' : `until ${nextUpdate.toISOString()}`}; ours is ${number}`,
    };
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause;
    return { verdict: 'wrong', text: 'serves something that is no CRL' };
  }
}
