/** SoftHSM2, a PKCS #11 token in software, on a Debian machine. */
import { randomBytes } from 'node:crypto';
import { access, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runProgram, runToSuccess } from './program.ts';

/** Its library, as Debian installs it. */
export const softHsmModule = '/usr/lib/softhsm/libsofthsm2.so';

const INSTALL_TIMEOUT_MS = 300_000;
const TOKEN_TIMEOUT_MS = 30_000;

/**
 * Installs SoftHSM2 if it is missing, which takes root.
 *
 * @throws Error that says what is missing: never a reason to skip what needs it.
 */
export async function ensureSoftHsm(): Promise<void> {
  const isThere = () => access(softHsmModule).then(...([() => true, () => false] as const));
  if (await isThere()) return;
  if (process.getuid?.() !== 0)
    throw new Error('SoftHSM2 is missing; as root: apt-get install --no-install-recommends softhsm2');
  console.error('- installing softhsm2');
  const apt = (...args: readonly string[]) => ({
    program: '/usr/bin/apt-get',
    args: ['-o', 'DPkg::Lock::Timeout=120', '--quiet=2', ...args],
    timeoutMs: INSTALL_TIMEOUT_MS,
    environment: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  const install = apt('install', '--yes', '--no-install-recommends', 'softhsm2');
  // Package lists that are old or absent are brought in, once.
  if ((await runProgram(install)).exitCode !== 0) {
    await runToSuccess(apt('update'));
    await runToSuccess(install);
  }
  if (!(await isThere())) throw new Error(`softhsm2 is installed but ${softHsmModule} is not there`);
}

/**
 * Makes a token whose objects are files below `folder`, and points SoftHSM2 to it: for this process and those that it
 * starts from then on.
 *
 * @returns the user PIN.
 */
export async function newSoftToken(folder: string, label: string): Promise<string> {
  const tokens = join(folder, 'tokens');
  await mkdir(tokens, { recursive: true, mode: 0o700 });
  const conf = join(folder, 'softhsm2.conf');
  await writeFile(conf, `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\n`);
  process.env.SOFTHSM2_CONF = conf;
  const pin = randomBytes(8).toString('hex');
  await runToSuccess({
    program: '/usr/bin/softhsm2-util',
    args: [
      ...['--init-token', '--free', '--label', label],
      ...['--so-pin', randomBytes(8).toString('hex'), '--pin', pin],
    ],
    timeoutMs: TOKEN_TIMEOUT_MS,
  });
  return pin;
}
