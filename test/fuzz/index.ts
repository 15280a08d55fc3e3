/**
 * `npm run fuzz -- [--seconds N] [--target NAME] [--seed N] [--keep]`: coverage-guided fuzzing of everything that reads
 * octets of strangers. Ends with 1 if an input crashes a target, hangs it, or makes memory grow; that input is then in a
 * file. `--keep` writes what was found worth keeping to the corpus.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import { readCorpus, writeCorpus } from './corpus.ts';
import { type FuzzOrder, type FuzzReport, SHARED_BYTES, SHARED_HEAD_BYTES, targetNames } from './order.ts';
import { seedsOf } from './seeds.ts';

/** No input of 8 KiB takes a hundredth of this on an idle machine. */
const HANG_MS = 3_000;
const LOOK_MS = 250;
/** Loading and compiling the modules, which counts as no input. */
const START_MS = 30_000;
/** Caches of V8 and OpenSSL fill for a while. */
const HEAP_GROWTH_BYTES_MAX = 24 * 2 ** 20;

type Ending = FuzzReport | { readonly hang: Uint8Array } | { readonly failed: string };

function fuzzOnThread(order: FuzzOrder): Promise<Ending> {
  const head = new Int32Array(order.shared, 0, 2);
  const worker = new Worker(new URL('./worker.ts', import.meta.url), { workerData: order });
  return new Promise((resolve) => {
    let last = 0;
    let sinceMs = performance.now() + START_MS;
    const watch = setInterval(() => {
      const now = Atomics.load(head, 0);
      if (now !== last) {
        last = now;
        sinceMs = performance.now();
      } else if (performance.now() - sinceMs > HANG_MS && performance.now() - startMs < endOf(order)) {
        const length = Atomics.load(head, 1);
        end({ hang: new Uint8Array(order.shared.slice(SHARED_HEAD_BYTES, SHARED_HEAD_BYTES + length)) });
      }
    }, LOOK_MS);
    const startMs = performance.now();
    const end = (ending: Ending) => {
      clearInterval(watch);
      resolve(ending);
      void worker.terminate();
    };
    worker.once('message', (report: FuzzReport) => end(report));
    worker.once('error', (cause) =>
      end({ failed: cause instanceof Error ? (cause.stack ?? '') : String(cause) }),
    );
  });
}

/** When a run must be over, its last garbage collection and minimisation included. */
function endOf({ seconds }: FuzzOrder): number {
  return START_MS + seconds * 1000;
}

function keepFinding(target: string, what: string, input: Uint8Array): string {
  const folder = join(tmpdir(), 'leafgate-fuzz');
  mkdirSync(folder, { recursive: true });
  const file = join(
    folder,
    `${target}-${what}-${createHash('sha256').update(input).digest('hex').slice(0, 12)}`,
  );
  writeFileSync(file, input);
  return file;
}

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '30' },
    target: { type: 'string' },
    seed: { type: 'string', default: String(Date.now() & 0x7fffffff) },
    keep: { type: 'boolean', default: false },
  },
});
const chosen = values.target === undefined ? targetNames : [values.target];
const seconds = Number(values.seconds);
if (!(seconds > 0) || chosen.some((name) => !targetNames.includes(name))) {
  console.error(
    `usage: npm run fuzz -- [--seconds N] [--target NAME] [--seed N] [--keep]\ntargets: ${targetNames.join(', ')}`,
  );
  process.exit(2);
}
console.log(`seed ${values.seed}, ${seconds} s for each target`);
const rows: Record<string, string | number>[] = [];
let failed = false;
for (const target of chosen) {
  const order: FuzzOrder = {
    target,
    seconds,
    seed: Number(values.seed),
    seeds: readCorpus(target).length === 0 || values.keep ? await seedsOf(target) : [],
    shared: new SharedArrayBuffer(SHARED_BYTES),
  };
  const ending = await fuzzOnThread(order);
  const fault = (text: string) => {
    failed = true;
    console.error(`${target}: ${text}`);
  };
  if ('failed' in ending) fault(`the fuzzer failed: ${ending.failed}`);
  else if ('hang' in ending) fault(`no end after ${HANG_MS} ms: ${keepFinding(target, 'hang', ending.hang)}`);
  else {
    const { crash, heapGrowthBytes } = ending;
    if (crash !== undefined) fault(`${crash.text}\nby ${keepFinding(target, 'crash', crash.input)}`);
    if (heapGrowthBytes > HEAP_GROWTH_BYTES_MAX)
      fault(`memory grew by ${(heapGrowthBytes / 2 ** 20).toFixed(0)} MiB`);
    rows.push({
      target,
      executions: ending.executions,
      'per second': Math.round(ending.executions / ending.seconds),
      branches: ending.branches,
      'new branches': ending.newBranches,
      corpus: ending.corpusSize,
      minimized: ending.minimized.length,
      'slowest ms': ending.slowestMs.toFixed(1),
      'heap growth MiB': (heapGrowthBytes / 2 ** 20).toFixed(1),
    });
    if (values.keep && crash === undefined) writeCorpus(target, ending.minimized);
  }
}
console.table(rows);
console.log(failed ? 'FAILED' : 'no crash, no hang, no growth of memory');
process.exitCode = failed ? 1 : 0;
