/** `npm run chaos -- intune`: a service that a server depends on misbehaves, and the server is killed meanwhile. */
import { parseArgs } from 'node:util';
import { type ChaosRun, chaosRun } from './chaos-intune.ts';
import { calls, type Fault, faults, type Percentages } from './hostile-intune.ts';
import { runInFolder } from './in-folder.ts';
import { openTenant } from './tenant.ts';

/** Of a hundred calls, about two in five meet a fault. */
const percentages: Percentages = {
  unauthorized: 4,
  throttled: 4,
  failedBefore: 5,
  failedAfter: 5,
  cutAfter: 4,
  refused: 4,
  unknownCode: 2,
  slow: 8,
  mixedCase: 30,
  moved: 2,
  duplicated: 20,
};
const ENROLMENTS_MAX = 100_000;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    enrolments: { type: 'string', default: '1000' },
    clients: { type: 'string', default: '24' },
    kills: { type: 'string', default: '3' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 32) },
  },
});
const numbers = Object.entries(values).map(([name, text]) => [name, Number(text)] as const);
const wrong = numbers.find(([, value]) => !Number.isSafeInteger(value) || value < 0 || value > 2 ** 32);
if (positionals.join(' ') !== 'intune' || wrong !== undefined || Number(values.enrolments) > ENROLMENTS_MAX) {
  console.error('usage: npm run chaos -- intune [--enrolments 1000] [--clients 24] [--kills 3] [--seed n]');
  process.exit(2);
}

await runInFolder('leafgate-chaos-', async (folder) => {
  const begin = performance.now();
  const progress = (text: string) =>
    console.log(`  ${text} (${((performance.now() - begin) / 1000).toFixed(0)} s)`);
  console.log(`Hostile Intune, seed ${values.seed}`);
  const tenant = await openTenant(folder, { ports: 'any', progress: () => {}, issuingKey: 'rsa-2048' });
  const run = await chaosRun({
    tenant,
    enrolments: Number(values.enrolments),
    clients: Number(values.clients),
    kills: Number(values.kills),
    seed: Number(values.seed),
    percentages,
    progress,
  });
  print(run);
  for (const violation of run.violations.slice(0, 50)) console.log(`  FAIL  ${violation}`);
  console.log(`\nseed ${values.seed}: ${run.violations.length} violations`);
  return run.violations.length > 0 ? 1 : 0;
});

function print({ evidence, hostile, kills, unheardAtKill, retries, seconds }: ChaosRun): void {
  const row = (name: string, cells: readonly (string | number)[]) =>
    console.log(`  ${name.padEnd(21)}${cells.map((cell) => String(cell).padStart(9)).join('')}`);
  const shown = calls.filter((call) => hostile.count(call, 'calls') > 0);
  const short = {
    successNotification: 'success',
    failureNotification: 'failure',
    validateRequest: 'validate',
  };
  console.log('\nFaults');
  row(
    '',
    shown.map((call) => (call in short ? short[call as keyof typeof short] : call.slice(0, 8))),
  );
  row(
    'calls',
    shown.map((call) => hostile.count(call, 'calls')),
  );
  for (const fault of Object.keys(faults) as Fault[]) {
    const counts = shown.map((call) => hostile.count(call, fault));
    if (counts.some((count) => count > 0)) row(fault, counts);
  }

  const { devices, records } = evidence;
  const withStatus = (status: string) => records.filter((record) => record.status === status).length;
  const patient = devices.filter(({ patience }) => patience === 'keeps trying');
  const figures: readonly (readonly [string, string | number])[] = [
    ['devices', devices.length],
    ['… that keep trying', patient.length],
    ['… of them with a certificate', patient.filter(({ delivered }) => delivered.length > 0).length],
    [
      'messages sent again',
      Object.entries(retries)
        .map(([why, count]) => `${count} ${why}`)
        .join(', '),
    ],
    ['certificates signed', records.length],
    ['… live', withStatus('issued')],
    ['… withheld and revoked', withStatus('revoked')],
    ['… abandoned at a kill', withStatus('abandoned')],
    ['kill -9 of the server', kills],
    ['certificates that Intune had not heard of then', unheardAtKill],
    ['seconds', seconds.toFixed(0)],
  ];
  console.log('\nOutcome');
  for (const [name, value] of figures) console.log(`  ${name.padEnd(48)} ${value}`);
}
