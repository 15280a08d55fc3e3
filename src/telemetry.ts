/** What a part says while it runs: the log, the clock, references. A leaf that anyone may import. */
import { randomBytes } from 'node:crypto';
import { type Logger, pino } from 'pino';

/** A structured logger: `log.info({ transactionID }, 'issued')`. Secrets never go in. */
export type Log = Logger;

/** Levels a log can be opened with; `silent` writes nothing. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

/** Opens a log that writes one JSON line an event to standard error. */
export function openLog(level: LogLevel, part: string): Log {
  return pino(
    { level, base: { part }, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ dest: 2, sync: true }),
  );
}

/** Where time comes from. Every part takes one as an argument, so that a test can move it. */
export interface Clock {
  now(): Date;
}

/** The clock of the machine. */
export const systemClock: Clock = { now: () => new Date() };

/** Base32 of RFC 4648 §6, so that a person can read it out over the telephone. */
const base32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** A fresh reference, `LG-` and eight characters: told to whoever is refused, and found in the audit list. */
export function newReference(): string {
  const characters = Array.from(randomBytes(8), (octet) => base32.charAt(octet % base32.length));
  return `LG-${characters.join('')}`;
}
