/**
 * A load generator that costs next to nothing itself: it replays prebuilt requests over keep-alive connections in a
 * closed loop. Run as a program it is the child that `replayInChild` starts, so that its CPU time is its own:
 * `node bench/load.ts RECORDS-FILE OPTIONS-AS-JSON`, which prints a `LoadResult` as JSON.
 */
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';

/** Where the load goes and how it is made. */
export interface LoadOptions {
  readonly host: string;
  readonly port: number;
  /** Path and query. */
  readonly path: string;
  /** How many connections, each with one request at a time. */
  readonly connections: number;
  /** `POST` if absent. With `GET` the requests are empty buffers: only their number counts. */
  readonly method?: 'POST' | 'GET';
  /** Media type of the bodies; that of a SCEP PKIMessage if absent. */
  readonly contentType?: string;
  /** Of every so many requests the answer is kept, the first included; none if absent. */
  readonly sampleEvery?: number;
  /**
   * Requests a second that come by chance (Poisson) whether or not earlier ones are answered: an open loop. A closed loop,
   * each connection sending its next request when it has its answer, if absent.
   */
  readonly arrivalsPerSecond?: number;
  /** The run fails if so long no answer at all comes; 30 seconds if absent. */
  readonly stallTimeoutMs?: number;
}

/** One answer of the server. */
export interface LoadSample {
  /** Which request it answers: its place in the list. */
  readonly index: number;
  readonly status: number;
  readonly body: Buffer;
}

/** How long answers took: in a closed loop since the request was sent, in an open one since it was due. */
export interface Latency {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** What a run measured. */
export interface LoadResult {
  readonly requests: number;
  /** From the first request's first byte to the last answer's last; connecting is not counted. */
  readonly seconds: number;
  /** Answers a second, whatever their status. */
  readonly perSecond: number;
  /** Latency of the median answer, of the 99th percentile and of the slowest. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** How many answers had which HTTP status. */
  readonly statuses: Readonly<Record<string, number>>;
  /** The latency of those answers. */
  readonly latencies: Readonly<Record<string, Latency>>;
  /** The status of each request's answer; 0 where the connection broke. */
  readonly statusOf: readonly number[];
  /** The latency of each request's answer; 0 where the connection broke. */
  readonly latencyMsOf: readonly number[];
  /** Requests whose connection broke before the answer was complete. Each request is sent once, these too. */
  readonly broken: number;
  readonly samples: readonly LoadSample[];
  /** CPU time, user and system, of the generator's process during the run. */
  readonly generatorCpuMs: number;
}

/** How often an open loop sends what is due and takes the answers that came: as exact are its latencies. */
const OPEN_LOOP_STEP_MS = 1;
const STALL_TIMEOUT_MS = 30_000;
const READ_BUFFER_BYTES = 64 * 1024;
const RECORD_BYTES_MAX = 16 * 1024 * 1024;

/**
 * Sends every request once, as fast as the answers of its connection come, and measures.
 *
 * @param options.onResponse sees every answer; its time counts as the generator's.
 * @throws Error if the server cannot be reached, breaks HTTP/1.1, or stalls.
 */
export async function replay(
  options: LoadOptions & {
    readonly requests: readonly Uint8Array[];
    readonly onResponse?: (answer: LoadSample) => void;
  },
): Promise<LoadResult> {
  const messages = options.requests.map((body) => buildHttpRequest(options, body));
  const latenciesMs = new Float64Array(messages.length);
  const statusOf = new Array<number>(messages.length).fill(0);
  const samples: LoadSample[] = [];
  const count = Math.min(options.connections, messages.length);
  const lines = Array.from({ length: count }, () => new Connection(options.host, options.port));
  await Promise.all(lines.map((line) => line.open()));

  const cpuBefore = process.cpuUsage();
  const startMs = performance.now();
  let lastMs = startMs;
  const send = async (line: Connection, index: number, dueMs: number) => {
    const message = messages[index];
    if (message === undefined) return;
    if (line.isClosed) await line.open();
    const answer = await line.exchange(message);
    lastMs = performance.now();
    if (answer === undefined) return;
    latenciesMs[index] = lastMs - dueMs;
    statusOf[index] = answer.status;
    const isKept = options.sampleEvery !== undefined && index % options.sampleEvery === 0;
    if (!isKept && options.onResponse === undefined) return;
    const sample = { index, status: answer.status, body: bodyOf(answer) };
    if (isKept) samples.push(sample);
    options.onResponse?.(sample);
  };
  const { arrivalsPerSecond } = options;
  const work =
    arrivalsPerSecond === undefined
      ? closedLoop(lines, messages.length, send)
      : openLoop(lines, messages.length, arrivalsPerSecond, send);
  const stallTimeoutMs = options.stallTimeoutMs ?? STALL_TIMEOUT_MS;
  const stall = Promise.withResolvers<never>();
  const watch = setInterval(
    () => {
      if (performance.now() - lastMs > stallTimeoutMs)
        stall.reject(new Error(`no answer for ${stallTimeoutMs} ms`));
    },
    Math.min(1_000, stallTimeoutMs),
  );
  try {
    await Promise.race([work, stall.promise]);
  } finally {
    clearInterval(watch);
    for (const line of lines) line.close();
  }
  const cpu = process.cpuUsage(cpuBefore);
  const seconds = (lastMs - startMs) / 1000;
  const answered = statusOf.filter((status) => status > 0).length;
  const latencyOf = (status?: number) => {
    const sorted = latenciesMs
      .filter((_, index) => (status === undefined ? statusOf[index] !== 0 : statusOf[index] === status))
      .sort();
    return {
      p50Ms: percentile(sorted, 0.5),
      p99Ms: percentile(sorted, 0.99),
      maxMs: percentile(sorted, 1),
    };
  };
  const kinds = [...new Set(statusOf)].filter((status) => status > 0);
  return {
    requests: messages.length,
    seconds,
    perSecond: seconds === 0 ? 0 : answered / seconds,
    ...latencyOf(),
    statuses: Object.fromEntries(
      kinds.map((kind) => [kind, statusOf.filter((status) => status === kind).length]),
    ),
    latencies: Object.fromEntries(kinds.map((kind) => [kind, latencyOf(kind)])),
    statusOf,
    latencyMsOf: [...latenciesMs],
    broken: messages.length - answered,
    samples: samples.sort((a, b) => a.index - b.index),
    generatorCpuMs: (cpu.user + cpu.system) / 1000,
  };
}

type SendOne = (line: Connection, index: number, dueMs: number) => Promise<void>;

/** Each connection sends its next request when it has its answer. */
async function closedLoop(lines: readonly Connection[], requests: number, send: SendOne): Promise<void> {
  let next = 0;
  const serve = async (line: Connection) => {
    for (let index = next++; index < requests; index = next++) await send(line, index, performance.now());
  };
  await Promise.all(lines.map(serve));
}

/** Requests fall due by chance; one that finds no free connection waits for one, which counts as its latency. */
async function openLoop(
  lines: readonly Connection[],
  requests: number,
  perSecond: number,
  send: SendOne,
): Promise<void> {
  const free = [...lines];
  let failure: Error | undefined;
  let dueMs = performance.now();
  let next = 0;
  let left = requests;
  const sendDue = () => {
    while (next < requests && dueMs <= performance.now()) {
      const line = free.shift();
      if (line === undefined) return;
      send(line, next, dueMs).then(
        () => {
          free.push(line);
          left -= 1;
        },
        (cause: Error) => {
          failure = cause;
        },
      );
      next += 1;
      dueMs += (-Math.log(1 - Math.random()) / perSecond) * 1000;
    }
  };
  // Asleep between two looks, so that not every answer wakes this process on a core that the server needs.
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  while (left > 0) {
    sendDue();
    Atomics.wait(sleeper, 0, 0, OPEN_LOOP_STEP_MS);
    await nextTurn();
    if (failure !== undefined) throw failure;
  }
}

/**
 * The same in a child process, so that neither the caller's work nor its memory is in the generator's figures.
 *
 * @throws Error with what the child said, if it fails.
 */
export async function replayInChild(
  options: LoadOptions & { readonly requests: readonly Uint8Array[] },
): Promise<LoadResult> {
  const { requests, ...rest } = options;
  const folder = await mkdtemp(join(tmpdir(), 'leafgate-load-'));
  try {
    const file = join(folder, 'requests');
    await writeFile(file, buildRecords(requests));
    return await replayFileInChild(file, rest);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The same with requests that are in a file already, as `buildRecords` makes it. */
async function replayFileInChild(file: string, options: LoadOptions): Promise<LoadResult> {
  const child = spawn(process.execPath, [import.meta.filename, file, JSON.stringify(options)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const stdout: Buffer[] = [];
  const stderr: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => stderr.push(chunk));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  if (code !== 0)
    throw new Error(`the load generator failed: ${Buffer.concat(stderr).toString('utf8').trim()}`);
  return parseLoadResult(Buffer.concat(stdout).toString('utf8'));
}

/** Records, each a length of four octets (big-endian) and so many octets. */
export function buildRecords(records: readonly Uint8Array[]): Buffer {
  return Buffer.concat(
    records.flatMap((record) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(record.length);
      return [length, record];
    }),
  );
}

/** The reverse of `buildRecords`; the records share the memory of `bytes`. @throws Error if the last one is cut. */
export function parseRecords(bytes: Buffer): Buffer[] {
  const records: Buffer[] = [];
  for (let offset = 0; offset < bytes.length; ) {
    if (offset + 4 > bytes.length) throw new Error('the records end within a length');
    const length = bytes.readUInt32BE(offset);
    const end = offset + 4 + length;
    if (length > RECORD_BYTES_MAX || end > bytes.length) throw new Error('the records end within a record');
    records.push(bytes.subarray(offset + 4, end));
    offset = end;
  }
  return records;
}

/** The value at or above the given share of the sorted values (nearest rank); 0 if there are none. */
export function percentile(sorted: Float64Array, share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}

/** An HTTP/1.1 answer within received bytes; `bytes` may be overwritten by the next one. */
interface HttpAnswer {
  readonly status: number;
  readonly bytes: Buffer;
  readonly bodyStart: number;
  /** Where the answer ends. */
  readonly end: number;
  readonly isChunked: boolean;
  /** The server will close the connection after it. */
  readonly isLast: boolean;
}

/**
 * One keep-alive connection with one request at a time. It reads into one buffer that stays, and copies only what came
 * in more than one piece: that is what makes it cheap.
 */
class Connection {
  readonly #host: string;
  readonly #port: number;
  #socket: Socket | undefined;
  /** What has come of an answer that is not complete yet. */
  #partial: Buffer | undefined;
  #waiting: PromiseWithResolvers<HttpAnswer | undefined> | undefined;

  constructor(host: string, port: number) {
    this.#host = host;
    this.#port = port;
  }

  get isClosed(): boolean {
    return this.#socket === undefined;
  }

  /** Connects. @throws Error if nobody listens. */
  open(): Promise<void> {
    return new Promise((resolve, reject) => {
      const socket = connect({
        host: this.#host,
        port: this.#port,
        noDelay: true,
        onread: {
          buffer: Buffer.allocUnsafe(READ_BUFFER_BYTES),
          callback: (size, buffer) => {
            this.#receive((buffer as Buffer).subarray(0, size));
            return true;
          },
        },
      });
      socket.once('connect', () => {
        this.#socket = socket;
        resolve();
      });
      socket.once('error', reject);
      // Before `connect` an error has told; afterwards a closed connection breaks the request that waits on it.
      socket.once('close', () => {
        if (this.#socket === socket) this.#settle(undefined);
      });
    });
  }

  /** Sends a request. @returns its answer, or `undefined` if the connection broke. @throws Error if it is not HTTP. */
  exchange(message: Buffer): Promise<HttpAnswer | undefined> {
    this.#waiting = Promise.withResolvers();
    this.#socket?.write(message);
    return this.#waiting.promise;
  }

  close(): void {
    this.#socket?.destroy();
    this.#socket = undefined;
  }

  #receive(bytes: Buffer): void {
    const all = this.#partial === undefined ? bytes : Buffer.concat([this.#partial, bytes]);
    try {
      const answer = parseHttpAnswer(all);
      if (answer === undefined) {
        this.#partial = this.#partial === undefined ? Buffer.from(bytes) : all;
        return;
      }
      if (answer.end !== all.length || this.#waiting === undefined)
        throw new Error('more bytes than one answer');
      this.#settle(answer);
    } catch (cause) {
      const waiting = this.#waiting;
      this.#waiting = undefined;
      this.close();
      waiting?.reject(cause);
    }
  }

  #settle(answer: HttpAnswer | undefined): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    this.#partial = undefined;
    if (answer === undefined || answer.isLast) this.close();
    waiting?.resolve(answer);
  }
}

function buildHttpRequest(options: LoadOptions, body: Uint8Array): Buffer {
  const method = options.method ?? 'POST';
  const host = options.host.includes(':') ? `[${options.host}]` : options.host;
  const head = [`${method} ${options.path} HTTP/1.1`, `Host: ${host}:${options.port}`];
  if (method === 'POST') {
    head.push(
      `Content-Type: ${options.contentType ?? 'application/x-pki-message'}`,
      `Content-Length: ${body.length}`,
    );
  }
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`, 'latin1'), body]);
}

/** @returns `undefined` while the answer is not complete. @throws Error if it is no answer with a length. */
function parseHttpAnswer(bytes: Buffer): HttpAnswer | undefined {
  const headEnd = bytes.indexOf('\r\n\r\n');
  if (headEnd < 0) return undefined;
  const head = bytes.toString('latin1', 0, headEnd);
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1]);
  if (Number.isNaN(status)) throw new Error('the answer is not HTTP/1.1');
  const bodyStart = headEnd + 4;
  const isLast = /\r\nconnection: *close/i.test(head);
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
  if (length !== undefined) {
    const end = bodyStart + Number(length);
    return bytes.length < end ? undefined : { status, bytes, bodyStart, end, isChunked: false, isLast };
  }
  // A Go server sends an answer of more than 2 KiB in chunks.
  if (/\r\ntransfer-encoding: *chunked/i.test(head)) {
    const end = walkChunks(bytes, bodyStart);
    return end === undefined ? undefined : { status, bytes, bodyStart, end, isChunked: true, isLast };
  }
  if (status === 204) return { status, bytes, bodyStart, end: bodyStart, isChunked: false, isLast };
  throw new Error('the answer has no length');
}

/** Calls `visit` with the bounds of every chunk (RFC 9112 §7.1). @returns where the body ends, if it is complete. */
function walkChunks(
  bytes: Buffer,
  start: number,
  visit?: (from: number, to: number) => void,
): number | undefined {
  for (let offset = start; ; ) {
    const lineEnd = bytes.indexOf('\r\n', offset);
    if (lineEnd < 0) return undefined;
    const size = Number.parseInt(bytes.toString('latin1', offset, lineEnd), 16);
    if (!(size >= 0)) throw new Error('the answer has a chunk without a length');
    const from = lineEnd + 2;
    const end = from + size + 2;
    if (end > bytes.length) return undefined;
    if (size === 0) return end;
    visit?.(from, from + size);
    offset = end;
  }
}

/** A copy of the answer's body. */
function bodyOf(answer: HttpAnswer): Buffer {
  if (!answer.isChunked) return Buffer.from(answer.bytes.subarray(answer.bodyStart, answer.end));
  const chunks: Buffer[] = [];
  walkChunks(answer.bytes, answer.bodyStart, (from, to) => chunks.push(answer.bytes.subarray(from, to)));
  return Buffer.concat(chunks);
}

/** JSON has no bytes: bodies travel as base64. */
function buildLoadResult(result: LoadResult): string {
  const samples = result.samples.map((sample) => ({ ...sample, body: sample.body.toString('base64') }));
  return JSON.stringify({ ...result, samples });
}

function parseLoadResult(json: string): LoadResult {
  const result = JSON.parse(json) as Omit<LoadResult, 'samples'> & {
    readonly samples: readonly { readonly index: number; readonly status: number; readonly body: string }[];
  };
  const samples = result.samples.map((sample) => ({ ...sample, body: Buffer.from(sample.body, 'base64') }));
  return { ...result, samples };
}

if (import.meta.main) {
  const [file, json] = process.argv.slice(2);
  if (file === undefined || json === undefined) {
    process.stderr.write('usage: load.ts RECORDS-FILE OPTIONS-AS-JSON\n');
    process.exit(2);
  }
  try {
    const requests = parseRecords(await readFile(file));
    const result = await replay({ ...(JSON.parse(json) as LoadOptions), requests });
    process.stdout.write(buildLoadResult(result));
  } catch (thrown) {
    process.stderr.write(`${thrown instanceof Error ? thrown.message : String(thrown)}\n`);
    process.exitCode = 1;
  }
}
