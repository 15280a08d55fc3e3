/** Sends what the edge refused to a connector, at an interval. */
import { constants } from 'node:http2';
import { Readable } from 'node:stream';
import type { Log } from '../telemetry.ts';
import type { ConnectorPool } from './connector-pool.ts';
import { buildRefusals, REFUSALS_PATH, type Refusal, type RefusalLedger } from './refusals.ts';
import { sayWhenWhole } from './whole-body.ts';

/** A report that is not acknowledged by then is sent again. */
const ACKNOWLEDGE_TIMEOUT_MS = 10_000;

/**
 * Starts reporting. A report is kept and sent again until a connector acknowledges it, so that a row reaches the audit
 * log at least once if a connector ever comes; meanwhile the ledger counts on.
 */
export function startRefusalReports(
  ledger: RefusalLedger,
  pool: ConnectorPool,
  intervalMs: number,
  log: Log,
): { stop(): void } {
  let unacknowledged: Refusal[] = [];
  let sending = false;

  async function report(): Promise<void> {
    if (sending) return;
    if (unacknowledged.length === 0) unacknowledged = ledger.take();
    if (unacknowledged.length === 0) return;
    sending = true;
    const status = await sendReport(pool, buildRefusals(unacknowledged)).catch(() => 0);
    sending = false;
    if (status === 204 || status === 400) unacknowledged = [];
    if (status !== 204) log.debug({ status, rows: unacknowledged.length }, 'refusals not yet reported');
  }

  const timer = setInterval(() => void report(), intervalMs);
  return { stop: () => clearInterval(timer) };
}

/** Status of the connector's answer; 0 if there was none. Rejects if no connector is there. */
function sendReport(pool: ConnectorPool, body: string): Promise<number> {
  return new Promise((resolve) => {
    const head = { ':method': 'POST', ':path': REFUSALS_PATH, ':scheme': 'https' };
    const stream = pool.openStream(head, 'with-body');
    stream.setTimeout(ACKNOWLEDGE_TIMEOUT_MS, () => stream.close(constants.NGHTTP2_CANCEL));
    stream.once('response', (answer) => {
      resolve(answer[':status'] ?? 0);
      stream.close(constants.NGHTTP2_CANCEL);
    });
    stream.once('close', () => resolve(0));
    const whole = Readable.from([Buffer.from(body)]);
    sayWhenWhole(stream, whole);
    whole.pipe(stream);
  });
}
