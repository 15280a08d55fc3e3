/**
 * What the edge refused: counted at the edge, reported to the connector, which stands where the audit log is.
 *
 * Trust: a report comes from the edge, which stands in a DMZ. Who takes it over can write false rows, never more than
 * `REFUSALS_MAX` a report, and nothing but the narrow characters that `parseRefusals` lets through.
 */
import { isIP } from 'node:net';
import { newReference } from '../telemetry.ts';
import type { DenialReason } from './allow-list.ts';

/** Why a request was refused; `malformed` is what HTTP itself cannot accept. */
export type RefusalReason = DenialReason | 'malformed';

/** Requests of one kind that were refused between two reports. */
export interface Refusal {
  /** When the first of them came. */
  readonly at: Date;
  readonly reason: RefusalReason;
  /** As it was sent; `-` if it could not be read. */
  readonly method: string;
  /** Without the query: at most 120 characters, others than printable ASCII as `?`; `-` if it could not be read. */
  readonly path: string;
  /** IP address of the TCP peer; `-` for the row that counts what had no room of its own. */
  readonly source: string;
  readonly count: number;
  /** `LG-` and eight characters; the refused client was told it. */
  readonly reference: string;
}

/** The path of a report. Begins with `/.`, which no allow-list lets in from outside. */
export const REFUSALS_PATH = '/.leafgate/refusals';

/**
 * Rows in one report, the overflow row included. At the default interval an attacker who varies every path writes 32
 * rows a second into the audit log, not thousands.
 */
export const REFUSALS_MAX = 64;

/** Bytes of one report: `REFUSALS_MAX` rows of at most 500. */
export const REPORT_BYTES_MAX = 32 * 1024;

const PATH_CHARACTERS_MAX = 120;
const reasons: readonly RefusalReason[] = ['path', 'method', 'target-size', 'body-size', 'malformed'];

/** Counts refusals until they are reported. Bounded: what has no room left is counted in one row. */
export class RefusalLedger {
  #rows = new Map<string, Refusal>();

  /** Counts one refused request and tells the row that it went to, with the reference for the client. */
  record(refused: {
    readonly at: Date;
    readonly reason: RefusalReason;
    readonly method: string;
    readonly target: string;
    readonly source: string;
  }): Refusal {
    const { at, reason, method, source } = refused;
    const path = printablePath(refused.target);
    const own = JSON.stringify([reason, method, path, source]);
    const key = this.#rows.has(own) || this.#rows.size < REFUSALS_MAX - 1 ? own : 'overflow';
    const fresh =
      key === own
        ? { at, reason, method, path, source, count: 0, reference: newReference() }
        : { at, reason, method: '-', path: '-', source: '-', count: 0, reference: newReference() };
    const before = this.#rows.get(key) ?? fresh;
    const row = { ...before, count: before.count + 1 };
    this.#rows.set(key, row);
    return row;
  }

  /** Empties the ledger. */
  take(): Refusal[] {
    const taken = [...this.#rows.values()];
    this.#rows = new Map();
    return taken;
  }
}

/** A report, as the edge sends it. */
export function buildRefusals(refusals: readonly Refusal[]): string {
  return JSON.stringify(refusals);
}

/** A report, as the connector reads it; `undefined` if it is not exactly what `buildRefusals` makes. */
export function parseRefusals(bytes: Uint8Array): Refusal[] | undefined {
  if (bytes.length > REPORT_BYTES_MAX) return undefined;
  let rows: unknown;
  try {
    rows = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
  if (!Array.isArray(rows) || rows.length === 0 || rows.length > REFUSALS_MAX) return undefined;
  const refusals = rows.map(parseRefusal);
  return refusals.every((refusal) => refusal !== undefined) ? refusals : undefined;
}

function parseRefusal(row: unknown): Refusal | undefined {
  if (typeof row !== 'object' || row === null || Object.keys(row).length !== 7) return undefined;
  const { at, reason, method, path, source, count, reference } = row as Record<string, unknown>;
  if (typeof at !== 'string' || !/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(at)) return undefined;
  if (Number.isNaN(Date.parse(at))) return undefined;
  const known = reasons.find((candidate) => candidate === reason);
  if (known === undefined) return undefined;
  if (typeof method !== 'string' || !/^[A-Z-]{1,32}$/.test(method)) return undefined;
  if (typeof path !== 'string' || !/^[ -~]{1,120}$/.test(path)) return undefined;
  if (typeof source !== 'string' || source.length > 64) return undefined;
  if (isIP(source) === 0 && source !== '-') return undefined;
  if (typeof count !== 'number' || !Number.isSafeInteger(count) || count < 1) return undefined;
  if (typeof reference !== 'string' || !/^LG-[A-Z2-7]{8}$/.test(reference)) return undefined;
  return { at: new Date(at), reason: known, method, path, source, count, reference };
}

/** The part of a target that may be written down: a query can hold a challenge or a name. */
function printablePath(target: string): string {
  const path = target.split('?', 1)[0] ?? '';
  return path.slice(0, PATH_CHARACTERS_MAX).replace(/[^ -~]/g, '?') || '-';
}
