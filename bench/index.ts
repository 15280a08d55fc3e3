/**
 * `npm run bench`: what an enrolment costs here, beside what the cryptography alone costs and what a peer needs, all in
 * one run on one machine. Quote the ratios; absolute figures belong to the machine.
 */
import { cpus } from 'node:os';
import { benchCa } from './ca.ts';
import { type BenchResult, benchEnrolment, type Measurement } from './enrolment.ts';
import { median } from './median.ts';
import { benchOracle } from './oracle.ts';
import { benchOverload } from './overload.ts';

const REQUESTS = Number(process.env.LEAFGATE_BENCH_REQUESTS ?? 2000);
/** V8 compiles what is hot in steps, and each process does so for itself; after so many requests it is done. */
const WARM_UP = 3000;
const ROUNDS = Number(process.env.LEAFGATE_BENCH_ROUNDS ?? 3);
const CONNECTIONS = 8;

function row(name: string, runs: readonly Measurement[]): Record<string, string> {
  const of = (pick: (run: Measurement) => number, digits: number) => median(runs.map(pick)).toFixed(digits);
  return {
    server: name,
    'enrolments/s': of((run) => run.perSecond, 0),
    'p50 ms': of((run) => run.p50Ms, 1),
    'p99 ms': of((run) => run.p99Ms, 1),
    'CPU ms each': of((run) => run.cpuMsEach, 2),
    'peak MiB': of((run) => run.peakMiB, 0),
    'generator ms each': of((run) => run.generatorCpuMsEach, 3),
  };
}

/** The two ratios that the project promises, each the median over the rounds. */
function ratiosOf(result: BenchResult): { readonly ofLimit: number; readonly overMicromdm: number } {
  const each = (top: readonly number[], bottom: readonly number[]) =>
    median(top.map((value, round) => value / (bottom[round] ?? Number.NaN)));
  const rate = (runs: readonly Measurement[]) => runs.map((run) => run.perSecond);
  return {
    ofLimit: each(rate(result.one), result.limitOne),
    overMicromdm: each(rate(result.two), rate(result.micromdm)),
  };
}

const OF_LIMIT_MIN = 0.7;
const OVER_MICROMDM_MIN = 4;

/** Enrolments through the whole server. */
async function benchScep(progress: (text: string) => void): Promise<0 | 1> {
  const result = await benchEnrolment({
    requests: REQUESTS,
    warmUp: WARM_UP,
    connections: CONNECTIONS,
    rounds: ROUNDS,
    progress,
  });
  console.log(
    `Node.js ${process.version}, OpenSSL ${process.versions.openssl}, ${cpus().length} × ${cpus()[0]?.model}`,
  );
  console.log(
    `${ROUNDS} rounds of ${REQUESTS} PKCSReqs on ${CONNECTIONS} connections; RSA-2048 everywhere, AES-128, SHA-256; durable commits\n`,
  );
  const afterwards = `from request ${WARM_UP + 1}`;
  console.table([
    row(`Leafgate, 1 process, ${afterwards}`, result.one),
    row(`Leafgate, 2 processes, ${afterwards}`, result.two),
    row(`micromdm scepserver 2.3.0, ${afterwards}`, result.micromdm),
    row(`micromdm scepserver 2.3.0, from request 1`, result.micromdmFirst),
  ]);
  console.log(
    `crypto limit, 1 process: ${median(result.limitOne).toFixed(0)}/s; 2 processes: ${median(result.limitTwo).toFixed(0)}/s`,
  );
  const { ofLimit, overMicromdm } = ratiosOf(result);
  const verdict = (value: number, bound: number) => `${value.toFixed(2)} (promised: at least ${bound})`;
  console.log(`one process / crypto limit:   ${verdict(ofLimit, OF_LIMIT_MIN)}`);
  console.log(`two processes / micromdm:     ${verdict(overMicromdm, OVER_MICROMDM_MIN)}`);
  return ofLimit >= OF_LIMIT_MIN && overMicromdm >= OVER_MICROMDM_MIN ? 0 : 1;
}

const runs: Readonly<Record<string, (progress: (text: string) => void) => Promise<0 | 1>>> = {
  enrolment: benchScep,
  ca: benchCa,
  overload: benchOverload,
  oracle: benchOracle,
};
const [, , what = 'enrolment'] = process.argv;
const run = runs[what];
if (run === undefined) throw new Error(`there is no benchmark “${what}”: ${Object.keys(runs).join(', ')}`);
process.exitCode = await run((text) => console.error(`- ${text}`));
