/** What a part says while it runs: the log and the clock. A leaf that anyone may import. */
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
