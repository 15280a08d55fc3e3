/** `npm start`: a whole tenant on this machine, with a first device and its certificate. */
import { resolve } from 'node:path';
import { styleText } from 'node:util';
import type { DeviceStep } from '../src/agent/index.ts';
import { assignProfiles, deviceNamed } from './fleet.ts';
import { type RunningTenant, startTenant } from './processes.ts';
import { openTenant, type Tenant } from './tenant.ts';
import { tellWay } from './way.ts';

const FIRST_DEVICE = 'laptop-1';

/** A tenant that is up, with its first device enrolled. */
export interface Lab {
  readonly tenant: Tenant;
  readonly running: RunningTenant;
}

/** Makes or finds the tenant, starts its parts, enrols the first device, and tells how. */
export async function bringUp(folder: string, ports: 'preferred' | 'any'): Promise<Lab> {
  const start = performance.now();
  const say = (text: string) =>
    console.log(`  ${text} (${((performance.now() - start) / 1000).toFixed(1)} s)`);
  heading('Leafgate lab – NOT TRUSTED, for trying out only');
  const tenant = await openTenant(folder, { ports, progress: say });
  const running = await startTenant(tenant);
  try {
    say(`up: ${running.parts.map((part) => `${part.name} (pid ${part.pid})`).join(', ')}`);
    await assignProfiles(tenant);
    const device = await deviceNamed(tenant, FIRST_DEVICE);
    const steps: DeviceStep[] = [];
    const result = await device.sync({ onStep: (step) => steps.push(step) });
    if (steps.some(({ step }) => step === 'install')) {
      heading('The way of the first certificate');
      await tellWay(tenant, device, result, steps);
    } else {
      heading('The first device has its certificate already');
      for (const { certificate, notAfter } of await device.identities()) {
        console.log(
          `  serial number ${certificate.serialNumber}, valid until ${notAfter.toISOString().slice(0, 10)}`,
        );
      }
    }
    return { tenant, running };
  } catch (cause) {
    await running.stop();
    throw cause;
  }
}

/** Brings the lab up in `folder` and stays until Ctrl-C. */
export async function startLab(path: string): Promise<void> {
  const folder = resolve(path);
  let stopping = false;
  const stop = new Promise<void>((done) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.once(signal, () => {
        stopping = true;
        done();
      });
    }
  });
  const { tenant, running } = await bringUp(folder, 'preferred');
  heading('Where things are');
  const rows = [
    ['SCEP URL, as in a profile', tenant.urls.scep],
    ['  one-time challenges', tenant.urls.oneTime],
    ['  static secret', `${tenant.urls.staticSecret} (secret in ${folder}/static-secret.txt)`],
    ['CRL', tenant.urls.crl],
    ['MDM', tenant.urls.mdm],
    ['edge, HTTPS', `https://127.0.0.1:${tenant.ports.edgeHttps}`],
    ['folder', folder],
    ['logs', `${folder}/logs`],
  ] as const;
  for (const [what, where] of rows) console.log(`  ${what.padEnd(27)} ${where}`);
  heading('Next');
  for (const command of [
    `ca list --config ${tenant.configs.server}`,
    `audit list --config ${tenant.configs.server}`,
    `challenge create one-time --config ${tenant.configs.server}`,
    `mdm token --config ${tenant.configs.mdm}`,
    `agent join --mdm ${tenant.urls.mdm} --ca ${tenant.rootFile} --token TOKEN`,
    `agent events --folder ${folder}/devices/${FIRST_DEVICE}`,
  ]) {
    console.log(`  npx leafgate ${command}`);
  }
  console.log('\n  Ctrl-C ends the lab; the next start finds its data again.');
  const fallen = await Promise.race([
    stop.then(() => undefined),
    ...running.parts.map((part) => part.ended.then(() => part)),
  ]);
  // Ctrl-C in a terminal reaches the parts too; only one that fell while nobody asked is worth a word.
  if (fallen !== undefined && !stopping) {
    console.error(`\n  ${fallen.name} ended by itself; its log is ${fallen.logFile}`);
    process.exitCode = 1;
  }
  console.log('\n  stopping');
  await running.stop();
}

function heading(text: string): void {
  console.log(`\n${process.stdout.isTTY ? styleText('bold', text) : text}`);
}
