/** Fuzzes one target for a while, on a thread of its own: whoever started it can end it in the middle of an input. */
import './instrument.ts';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { parentPort, workerData } from 'node:worker_threads';
import { readCorpus } from './corpus.ts';
import { type Crash, Fuzzer } from './engine.ts';
import { counterCount, counters } from './instrument.ts';
import { randomFrom } from './mutate.ts';
import { type FuzzOrder, type FuzzReport, SHARED_HEAD_BYTES } from './order.ts';

/** How often the clock is looked at, and others may have their turn. */
const STEPS_PER_LOOK = 256;

async function fuzz(order: FuzzOrder): Promise<FuzzReport> {
  const { targets, isExpected } = await import('./targets.ts');
  const run = targets[order.target];
  if (run === undefined) throw new Error(`there is no target “${order.target}”`);
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const heapBytes = () => {
    collect();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  const head = new Int32Array(order.shared, 0, 2);
  const copy = new Uint8Array(order.shared, SHARED_HEAD_BYTES);
  const fuzzer = new Fuzzer({
    target: (input) => {
      copy.set(input.subarray(0, copy.length));
      Atomics.store(head, 1, input.length);
      Atomics.add(head, 0, 1);
      return run(input);
    },
    isExpected,
    coverage: { counters, count: counterCount },
    random: randomFrom(order.seed),
  });

  // Most inputs are refused: to note for each of them where would take longer than to fuzz.
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 0;
  const startMs = performance.now();
  let crash: Crash | undefined;
  const corpus = readCorpus(order.target);
  for (const input of [...corpus, Uint8Array.of()]) crash ??= await fuzzer.run(input);
  const branchesBefore = fuzzer.branches;
  for (const input of order.seeds) crash ??= await fuzzer.run(input);

  const endMs = startMs + order.seconds * 1000;
  const fifthMs = startMs + order.seconds * 200;
  let heapAtFifth: number | undefined;
  while (crash === undefined && performance.now() < endMs) {
    for (let count = 0; count < STEPS_PER_LOOK && crash === undefined; count += 1)
      crash = await fuzzer.step();
    await setImmediate();
    if (heapAtFifth === undefined && performance.now() > fifthMs)
      heapAtFifth = heapBytes() - fuzzer.corpusBytes;
  }
  if (crash !== undefined) {
    Error.stackTraceLimit = stackTraceLimit;
    crash = (await fuzzer.run(crash.input)) ?? crash;
  }
  const heapGrowthBytes =
    heapAtFifth === undefined ? 0 : Math.max(0, heapBytes() - fuzzer.corpusBytes - heapAtFifth);
  return {
    executions: fuzzer.executions,
    seconds: (performance.now() - startMs) / 1000,
    branches: fuzzer.branches,
    newBranches: fuzzer.branches - branchesBefore,
    counters: counterCount(),
    corpusSize: fuzzer.corpusSize,
    minimized: fuzzer.minimized(),
    slowestMs: fuzzer.slowestMs,
    heapGrowthBytes,
    ...(crash === undefined
      ? {}
      : {
          crash: {
            input: crash.input,
            text:
              crash.cause instanceof Error ? (crash.cause.stack ?? crash.cause.message) : String(crash.cause),
          },
        }),
  };
}

if (parentPort !== null) parentPort.postMessage(await fuzz(workerData as FuzzOrder));
