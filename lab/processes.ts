/** The parts of a tenant as processes of their own, as they would run on hosts of their own. */
import { type ChildProcess, fork } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PkiError } from '../src/errors.ts';
import type { Tenant } from './tenant.ts';

/** How a process ended: with an exit status, or by a signal. */
export interface PartEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A running part. */
export interface PartProcess {
  readonly name: string;
  readonly pid: number;
  readonly logFile: string;
  /** Resolves when the process has ended, however. */
  readonly ended: Promise<PartEnd>;
  /** Asks it to end, and waits. */
  stop(): Promise<void>;
  /** Ends it as a power cut would. */
  kill(): Promise<void>;
}

const program = fileURLToPath(new URL('../bin/leafgate.js', import.meta.url));
/** A part opens keys, store and listeners within a second or two; more means that something is wrong. */
const READY_MS_MAX = 30_000;
/** Running requests have ten seconds to end; more means that something is wrong. */
const STOP_MS_MAX = 30_000;

/**
 * Starts `leafgate serve` on one configuration and resolves when it serves.
 *
 * @throws PkiError `internal` with the end of its log if it ends or hangs before.
 */
export async function startPart(name: string, config: string, folder: string): Promise<PartProcess> {
  const part = launchPart(name, config, folder);
  await part.ready;
  return part;
}

/** The same without waiting: `ready` resolves when it serves, or rejects as `startPart` throws. */
export function launchPart(
  name: string,
  config: string,
  folder: string,
): PartProcess & { readonly ready: Promise<void> } {
  const logs = join(folder, 'logs');
  mkdirSync(logs, { recursive: true, mode: 0o700 });
  const logFile = join(logs, `${name}.log`);
  const log = openSync(logFile, 'a', 0o600);
  const child = fork(program, ['serve', '--config', config], { stdio: ['ignore', log, log, 'ipc'] });
  closeSync(log);
  const ended = new Promise<PartEnd>((resolve) =>
    child.once('exit', (code, signal) => resolve({ code, signal })),
  );
  const ready = untilReady(child, name, logFile);
  // Whoever ends it before it is ready need not handle the rejection.
  ready.catch(() => {});
  const stop = async (signal: 'SIGTERM' | 'SIGKILL') => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS_MAX);
    await ended;
    clearTimeout(timer);
  };
  return {
    name,
    pid: child.pid ?? 0,
    logFile,
    ended,
    ready,
    stop: () => stop('SIGTERM'),
    kill: () => stop('SIGKILL'),
  };
}

function untilReady(child: ChildProcess, name: string, logFile: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (what: string) => {
      child.kill('SIGKILL');
      const said = readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-3).join('\n');
      reject(new PkiError('internal', `${name} ${what}:\n${said}`));
    };
    const timer = setTimeout(() => fail('did not get ready in time'), READY_MS_MAX);
    const onExit = () => {
      clearTimeout(timer);
      fail('ended before it was ready');
    };
    child.once('exit', onExit);
    child.once('message', () => {
      clearTimeout(timer);
      child.off('exit', onExit);
      resolve();
    });
  });
}

/** All parts of a tenant: the MDM, the edge, and the server with its connector. */
export interface RunningTenant {
  readonly parts: readonly PartProcess[];
  stop(): Promise<void>;
}

/** Starts all parts; resolves when a device could come. */
export async function startTenant(tenant: Tenant): Promise<RunningTenant> {
  const parts: PartProcess[] = [];
  const stop = async () => {
    for (const part of parts.toReversed()) await part.stop();
  };
  try {
    // The server's connector dials the edge, so the edge comes first. All that is launched is ended if one does not come up.
    const first = [
      launchPart('mdm', tenant.configs.mdm, tenant.folder),
      launchPart('edge', tenant.configs.edge, tenant.folder),
    ];
    parts.push(...first);
    await Promise.all(first.map(({ ready }) => ready));
    parts.push(await startPart('server', tenant.configs.server, tenant.folder));
    return { parts, stop };
  } catch (cause) {
    await stop();
    throw cause;
  }
}
