/** Retry-After (RFC 9110 §10.2.3): when to come back, as doors say it and clients read it. A leaf. */

/** What a door says where nothing better is known: most outages are over by then. */
export const RETRY_AFTER_SECONDS = 10;

/** More than a day is a mistake of the server's. */
const PAUSE_MS_MAX = 24 * 60 * 60 * 1000;

/** The pause in milliseconds, 0 to a day, from seconds or an HTTP date; `undefined` if the field is absent or neither. */
export function parseRetryAfter(field: string | undefined, now: Date): number | undefined {
  if (field === undefined) return undefined;
  const ms = /^\d{1,9}$/.test(field) ? Number(field) * 1000 : Date.parse(field) - now.getTime();
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), PAUSE_MS_MAX);
}
