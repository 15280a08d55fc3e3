/** Runs one program of the machine, bounded in time, and says what it answered. */
import { spawn } from 'node:child_process';
import { open, readFile } from 'node:fs/promises';

/** How to run a program. */
export interface ProgramRun {
  /** Absolute path of the program. */
  readonly program: string;
  readonly args: readonly string[];
  /** Working folder; that of this process if absent. */
  readonly folder?: string;
  /** The whole environment of the program; that of this process if absent. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Written to its standard input, which is closed afterwards; empty if absent. */
  readonly input?: string;
  /** At this bound the program and everything that it started are killed. */
  readonly timeoutMs: number;
}

/** What a program answered. */
export interface ProgramAnswer {
  /** Its exit code; `undefined` if a signal ended it. */
  readonly exitCode: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
  /** `true` if it was killed at the bound. */
  readonly timedOut: boolean;
}

/** More output than this is cut: a program that loops must not fill the memory of the lab. */
const OUTPUT_BYTES_MAX = 8 * 1024 * 1024;

/** How long output may still come after a program has ended. */
const PIPE_GRACE_MS = 2_000;

/**
 * Runs the program to its end and answers whatever the exit code is.
 *
 * The program is the leader of its own process group, and whatever of the group is left when it ends, or at the bound,
 * is killed: a client that leaves a daemon behind cannot disturb the next one.
 *
 * @throws Error if the program cannot be started at all.
 */
export function runProgram(run: ProgramRun): Promise<ProgramAnswer> {
  return new Promise((resolve, reject) => {
    const child = spawn(run.program, run.args, {
      cwd: run.folder,
      env: { ...(run.environment ?? process.env) },
      detached: true,
      stdio: 'pipe',
    });
    let timedOut = false;
    const stdout = collect(child.stdout);
    const stderr = collect(child.stderr);
    const timer = setTimeout(() => {
      timedOut = true;
      killGroup(child.pid);
    }, run.timeoutMs);
    child.once('error', (cause) => {
      clearTimeout(timer);
      reject(new Error(`${run.program} cannot be started: ${cause.message}`, { cause }));
    });
    child.once('exit', () => {
      killGroup(child.pid);
      // Something that left the group may still hold the pipes open; nobody waits for it.
      setTimeout(() => {
        child.stdout.destroy();
        child.stderr.destroy();
      }, PIPE_GRACE_MS).unref();
    });
    child.once('close', (code) => {
      clearTimeout(timer);
      resolve({ exitCode: code ?? undefined, stdout: stdout(), stderr: stderr(), timedOut });
    });
    // A program that does not read its input closes the pipe; that is no failure of ours.
    child.stdin.on('error', () => {});
    child.stdin.end(run.input ?? '');
  });
}

/** A program that runs until it is ended. */
export interface RunningProgram {
  readonly pid: number;
  /** Everything that it has said so far, both streams as they came. */
  log(): Promise<string>;
  /** Resolves when it has ended, by itself or by `end`. */
  readonly ended: Promise<void>;
  /** Asks it to end (SIGTERM), kills it after a grace time, and resolves when it is gone. */
  end(): Promise<void>;
}

/** How to start a program that runs beside this one. */
export interface ProgramStart extends Omit<ProgramRun, 'input' | 'timeoutMs'> {
  /** Where everything goes that it says; overwritten. */
  readonly logFile: string;
}

/** How long a program has to end itself before it is killed. */
const END_GRACE_MS = 3_000;

/**
 * Starts a program that runs beside this one, as the leader of its own process group. It is killed when this process
 * exits; a process that is interrupted by a signal must therefore leave through `process.exit`.
 *
 * @throws Error if it cannot be started at all.
 */
export async function startProgram(run: ProgramStart): Promise<RunningProgram> {
  // A file and no pipe: a server under load must not wait for, nor pay, a reader of its log.
  const file = await open(run.logFile, 'w', 0o600);
  const child = spawn(run.program, run.args, {
    cwd: run.folder,
    env: { ...(run.environment ?? process.env) },
    detached: true,
    stdio: ['ignore', file.fd, file.fd],
  });
  const pid = await new Promise<number>((resolve, reject) => {
    child.once('spawn', () => resolve(child.pid ?? 0));
    child.once('error', (cause) => {
      reject(new Error(`${run.program} cannot be started: ${cause.message}`, { cause }));
    });
  }).finally(() => file.close());
  const killAtExit = () => killGroup(pid);
  process.once('exit', killAtExit);
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => {
      killGroup(pid);
      process.removeListener('exit', killAtExit);
      resolve();
    });
  });
  const end = async () => {
    const timer = setTimeout(killAtExit, END_GRACE_MS);
    child.kill('SIGTERM');
    await ended;
    clearTimeout(timer);
  };
  return { pid, log: () => readFile(run.logFile, 'utf8'), ended, end };
}

/** Runs the program and answers its standard output. @throws Error, with its output, if it does not exit with 0. */
export async function runToSuccess(run: ProgramRun): Promise<string> {
  const answer = await runProgram(run);
  if (answer.exitCode !== 0) throw new Error(`${run.program} failed: ${describeAnswer(answer)}`);
  return answer.stdout;
}

/** An answer as text for a log: how it ended, then everything that it said. */
export function describeAnswer(answer: ProgramAnswer): string {
  const end = answer.timedOut
    ? 'killed at its time limit'
    : `exit code ${answer.exitCode ?? 'none (signal)'}`;
  return [end, answer.stdout.trim(), answer.stderr.trim()].filter((part) => part !== '').join('\n');
}

/** Kills a process group that this process started; nothing happens if it is gone already. */
function killGroup(pid: number | undefined): void {
  // 0 would be the group of this process.
  if (pid === undefined || pid === 0) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // ESRCH: all of it has ended.
  }
}

function collect(stream: NodeJS.ReadableStream): () => string {
  const chunks: Buffer[] = [];
  let size = 0;
  stream.on('data', (chunk: Buffer) => {
    if (size < OUTPUT_BYTES_MAX) chunks.push(chunk);
    size += chunk.length;
  });
  return () => Buffer.concat(chunks).toString('utf8');
}
