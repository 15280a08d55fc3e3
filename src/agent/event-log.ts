/** The device's event log: JSON lines with the ids and words that administrators of Windows devices look for. */
import { appendFile, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { readTextIfThere } from '../keys/index.ts';
import type { Clock } from '../telemetry.ts';

/** Windows' name of the log. */
export const EVENT_SOURCE = 'DeviceManagement-Enterprise-Diagnostics-Provider';

/** How much an event matters, in Windows' words. */
export type EventLevel = 'Information' | 'Warning' | 'Error';

/**
 * Events by id.
 *
 * 32, 36, 39, 306 and 307 are Windows' own, as its log DeviceManagement-Enterprise-Diagnostics-Provider/Admin numbers them.
 * The others are ours, from 40001 on, where that log has none: a search for an id never finds the wrong thing.
 */
export const deviceEvents = {
  enrolFailed: { id: 32, level: 'Error' },
  requestGenerated: { id: 36, level: 'Information' },
  certificateInstalled: { id: 39, level: 'Information' },
  execAccepted: { id: 306, level: 'Information' },
  initializeFailed: { id: 307, level: 'Error' },
  joined: { id: 40001, level: 'Information' },
  trustedCertificateInstalled: { id: 40002, level: 'Information' },
  trustedCertificateRefused: { id: 40003, level: 'Error' },
  certificateRemoved: { id: 40004, level: 'Information' },
  checkInFailed: { id: 40005, level: 'Error' },
  retryLater: { id: 40006, level: 'Warning' },
  profileNotApplied: { id: 40007, level: 'Error' },
  requestResumed: { id: 40008, level: 'Information' },
  pfxInstalled: { id: 40009, level: 'Information' },
  pfxRefused: { id: 40010, level: 'Error' },
  pfxAwaited: { id: 40011, level: 'Information' },
  deviceRetired: { id: 40012, level: 'Warning' },
  deviceWiped: { id: 40013, level: 'Warning' },
} as const satisfies Record<string, { readonly id: number; readonly level: EventLevel }>;

/** Name of an event. */
export type DeviceEventName = keyof typeof deviceEvents;

/** Facts of an event, for programs. Never a challenge, a token or a passphrase. */
export type EventDetail = Readonly<Record<string, string | number | boolean | undefined>>;

/** One event. */
export interface DeviceEvent {
  readonly time: Date;
  readonly id: number;
  readonly level: EventLevel;
  readonly source: string;
  /** One sentence or two, in Windows' manner. */
  readonly message: string;
  readonly detail: EventDetail;
}

/** Which events are wanted; what is absent does not restrict. */
export interface EventFilter {
  readonly ids?: readonly number[] | undefined;
  readonly levels?: readonly EventLevel[] | undefined;
  readonly since?: Date | undefined;
  /** The newest so many. */
  readonly limit?: number | undefined;
}

/** About 10,000 events; Windows' log is of the same kind of size. One older file of that size is kept beside. */
const LOG_BYTES_MAX = 4 * 1024 * 1024;
const TEXT_CHARACTERS_MAX = 1000;

/**
 * The event log of one device.
 *
 * Promise: each event is one line and is added by one write to a file opened for appending, so that several processes
 * can write at once and no reader sees parts of two events mixed. An event may be lost if the machine loses power.
 */
export class EventLog {
  readonly #file: string;
  readonly #older: string;
  readonly #clock: Clock;

  constructor(folder: string, clock: Clock) {
    this.#file = join(folder, 'events.jsonl');
    this.#older = join(folder, 'events.1.jsonl');
    this.#clock = clock;
  }

  /** Adds an event and gives its id. */
  async write(name: DeviceEventName, message: string, detail: EventDetail = {}): Promise<number> {
    const { id, level } = deviceEvents[name];
    const line = JSON.stringify({
      time: this.#clock.now().toISOString(),
      id,
      level,
      source: EVENT_SOURCE,
      message: plainText(message),
      detail: Object.fromEntries(
        Object.entries(detail).map(([key, value]) => [
          key,
          typeof value === 'string' ? plainText(value) : value,
        ]),
      ),
    });
    await appendFile(this.#file, `${line}\n`, { mode: 0o600 });
    return id;
  }

  /** The events, newest last. A line that was cut by a crash is passed over. */
  async read(filter: EventFilter = {}): Promise<DeviceEvent[]> {
    const events: DeviceEvent[] = [];
    for (const file of [this.#older, this.#file]) {
      for (const line of (await textOf(file)).split('\n')) {
        const event = parseEvent(line);
        if (event !== undefined && matches(event, filter)) events.push(event);
      }
    }
    return filter.limit === undefined ? events : events.slice(Math.max(0, events.length - filter.limit));
  }

  /** Puts a log that is full aside, in place of the one before. To be called by one process at a time. */
  async rotate(): Promise<void> {
    const size = await stat(this.#file).then(
      (found) => found.size,
      () => 0,
    );
    if (size > LOG_BYTES_MAX) await rename(this.#file, this.#older);
  }
}

/** Text of one line and bounded length: servers have a say in what stands in events. */
function plainText(text: string): string {
  const plain = text.replaceAll(/[\p{C}\p{Zl}\p{Zp}]+/gu, ' ');
  return plain.length > TEXT_CHARACTERS_MAX ? `${plain.slice(0, TEXT_CHARACTERS_MAX)}…` : plain;
}

async function textOf(file: string): Promise<string> {
  return (await readTextIfThere(file, 'device_folder')) ?? '';
}

function parseEvent(line: string): DeviceEvent | undefined {
  try {
    const { time, ...rest } = JSON.parse(line) as Omit<DeviceEvent, 'time'> & { readonly time: string };
    return typeof rest.id === 'number' ? { time: new Date(time), ...rest } : undefined;
  } catch {
    return undefined;
  }
}

function matches(event: DeviceEvent, filter: EventFilter): boolean {
  return (
    (filter.ids === undefined || filter.ids.includes(event.id)) &&
    (filter.levels === undefined || filter.levels.includes(event.level)) &&
    (filter.since === undefined || event.time >= filter.since)
  );
}
