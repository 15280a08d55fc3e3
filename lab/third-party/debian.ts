/** Makes sure that the third-party programs which the lab measures itself against are on this Debian machine. */
import { constants } from 'node:fs';
import { access, mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeAnswer, type ProgramAnswer, runProgram, runToSuccess } from './program.ts';

/** Absolute paths of the third-party programs. */
export interface ThirdParty {
  readonly openssl: string;
  /** strongSwan's `pki`, a SCEP client: that of Debian 12, and that of Debian 13, whose SCEP was written anew. */
  readonly pki: string;
  readonly pki6: string;
  /** The certmonger daemon, and `getcert`, which talks to it: a SCEP client. */
  readonly certmonger: string;
  readonly getcert: string;
  /** micromdm's SCEP client. */
  readonly scepclient: string;
  /** micromdm's SCEP server, the peer that the benchmark compares with. */
  readonly scepserver: string;
  /** A linter for certificates and CRLs. */
  readonly zlint: string;
  /** An 802.1X authentication server, and what asks it. */
  readonly freeradius: string;
  readonly eapolTest: string;
  /** A web server with mutual TLS. */
  readonly nginx: string;
}

/** What Debian 12 itself has, by package. `pki` finds no OpenSSL and no curl without the two plugin packages. */
const bookwormPackages = [
  'openssl',
  'strongswan-pki',
  'libstrongswan-standard-plugins',
  'libstrongswan-extra-plugins',
  'certmonger',
  'freeradius',
  'eapoltest',
  'nginx-light',
] as const;

const bookwormPrograms = {
  openssl: '/usr/bin/openssl',
  pki: '/usr/bin/pki',
  certmonger: '/usr/sbin/certmonger',
  getcert: '/usr/bin/getcert',
  freeradius: '/usr/sbin/freeradius',
  eapolTest: '/usr/bin/eapol_test',
  nginx: '/usr/sbin/nginx',
} as const;

/**
 * What Debian 12 has too old or not at all: micromdm's 2.1.0 fails under load, zlint is missing. Both are Go programs
 * without libraries of their own, so those of the next release run here; they are unpacked, never installed.
 */
const trixiePackages = ['scep', 'zlint'] as const;

const trixiePrograms = {
  scepclient: 'usr/bin/scepclient',
  scepserver: 'usr/bin/scepserver',
  zlint: 'usr/bin/zlint',
} as const;

/**
 * strongSwan 6 is written in C: it needs the libraries of its own release, all of which are unpacked beside it, and sees
 * them as the root of the file system.
 */
const strongSwan6Packages = [
  'strongswan-pki',
  'libstrongswan-standard-plugins',
  'libstrongswan-extra-plugins',
] as const;

/** Runs the `pki` beside it in a mount namespace of its own, which goes with it: nothing is left mounted. */
const PKI6 = `#!/bin/sh
exec unshare --mount --propagation private -- /bin/sh -c '
  root=$1
  shift
  mkdir -p "$root$PWD" "$root/dev" &&
    mount --bind "$PWD" "$root$PWD" &&
    mount --bind /dev "$root/dev" &&
    exec unshare --root="$root" --wd="$PWD" -- /usr/bin/pki "$@"
' sh "$(dirname "$0")/root" "$@"
`;

const ATTEMPTS_MAX = 3;
const UPDATE_TIMEOUT_MS = 180_000;
const INSTALL_TIMEOUT_MS = 600_000;
/** Somebody else's apt may be at work: wait for its lock instead of failing at once. */
const LOCK_OPTIONS = ['-o', 'DPkg::Lock::Timeout=120'] as const;
const DEBIAN_KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/**
 * Answers where the third-party programs are; whatever is missing is installed (Debian 12's own packages, which takes
 * root) or unpacked into the cache folder (those of Debian 13), with progress lines on standard error.
 * With everything present it takes a fraction of a second and does not touch the network. May be called by several
 * processes at once.
 *
 * @throws Error that names the package and what apt said, when a program cannot be had. A missing client is a failure
 *   of the run, never a reason to skip it.
 */
export async function ensureThirdParty(): Promise<ThirdParty> {
  await demandBookworm();
  await ensureBookwormPackages();
  const folder = await ensureTrixiePrograms();
  const thirdParty: ThirdParty = {
    ...bookwormPrograms,
    pki6: await ensureStrongSwan6(),
    scepclient: join(folder, trixiePrograms.scepclient),
    scepserver: join(folder, trixiePrograms.scepserver),
    zlint: join(folder, trixiePrograms.zlint),
  };
  for (const path of Object.values(thirdParty)) {
    if (!(await isExecutable(path)))
      throw new Error(`third-party program missing after installation: ${path}`);
  }
  return thirdParty;
}

/** What each program says its version is, by name. @throws Error if one of them does not run. */
export async function versionsOf(thirdParty: ThirdParty): Promise<Readonly<Record<string, string>>> {
  const version = async (program: string, args: readonly string[]) => {
    const stdout = await runToSuccess({ program, args, timeoutMs: 10_000 });
    return /\d+\.\d+(\.\d+)*/.exec(stdout)?.[0] ?? 'unknown';
  };
  const packages = await installedPackages();
  const packageVersion = (name: string) => packages.get(name) ?? 'unknown';
  return {
    openssl: await version(thirdParty.openssl, ['version']),
    'strongSwan pki': packageVersion('strongswan-pki'),
    'strongSwan 6 pki': await version(thirdParty.pki6, ['--help']),
    certmonger: packageVersion('certmonger'),
    FreeRADIUS: packageVersion('freeradius'),
    eapol_test: packageVersion('eapoltest'),
    nginx: packageVersion('nginx-light'),
    'micromdm scepclient': await version(thirdParty.scepclient, ['-version']),
    'micromdm scepserver': await version(thirdParty.scepserver, ['-version']),
    zlint: await version(thirdParty.zlint, ['-version']),
  };
}

/** Where unpacked programs are kept: in the user's own cache. What others may write is never run. */
function cacheFolder(): string {
  const base = process.env.XDG_CACHE_HOME;
  return join(
    base === undefined || base === '' ? join(homedir(), '.cache') : base,
    'leafgate',
    'third-party',
  );
}

async function demandBookworm(): Promise<void> {
  const release = await readFile('/etc/os-release', 'utf8').catch(() => '');
  if (/^ID=debian$/m.test(release) && /^VERSION_ID="12"$/m.test(release)) return;
  throw new Error('the third-party clients are proven on Debian 12 only: run this in a Debian 12 container');
}

async function ensureBookwormPackages(): Promise<void> {
  const missing = await missingPackages();
  if (missing.length === 0) return;
  if (process.getuid?.() !== 0) {
    throw new Error(
      `missing packages; as root: apt-get install --no-install-recommends ${missing.join(' ')}`,
    );
  }
  await withAttempts(`installing ${missing.join(', ')}`, async () => {
    // A source of the machine that does not answer need not be the one that has the packages: the installation decides.
    await aptGet(['update'], UPDATE_TIMEOUT_MS);
    return aptGet(['install', '--yes', '--no-install-recommends', ...missing], INSTALL_TIMEOUT_MS);
  });
}

async function missingPackages(): Promise<readonly string[]> {
  const installed = await installedPackages();
  return bookwormPackages.filter((name) => !installed.has(name));
}

/** The version of every package of the list that is installed, by name. */
async function installedPackages(): Promise<ReadonlyMap<string, string>> {
  const query = await runProgram({
    program: '/usr/bin/dpkg-query',
    args: ['--status', ...bookwormPackages],
    timeoutMs: 10_000,
  });
  return parsePackageStatus(query.stdout);
}

/** Reads the stanzas of `dpkg-query --status`; a package that is half installed, or only configured, does not count. */
export function parsePackageStatus(stanzas: string): ReadonlyMap<string, string> {
  const versions = new Map<string, string>();
  for (const stanza of stanzas.split(/\n\n/)) {
    const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(stanza)?.[1];
    const name = field('Package');
    if (name !== undefined && field('Status') === 'install ok installed') {
      versions.set(name, field('Version') ?? 'unknown');
    }
  }
  return versions;
}

/** @returns the folder that the programs of Debian 13 are unpacked in. */
async function ensureTrixiePrograms(): Promise<string> {
  const folder = join(cacheFolder(), 'trixie');
  const paths = Object.values(trixiePrograms).map((path) => join(folder, path));
  if ((await Promise.all(paths.map(isExecutable))).every(Boolean)) return folder;
  await unpackTrixie(folder, trixiePackages, 'alone', async () => {});
  return folder;
}

/** @returns the program that runs strongSwan 6's `pki`; it takes root. */
async function ensureStrongSwan6(): Promise<string> {
  const folder = join(cacheFolder(), 'strongswan-6');
  const program = join(folder, 'pki');
  if (await isExecutable(program)) return program;
  if (process.getuid?.() !== 0) throw new Error('strongSwan 6 runs in a root of its own: run this as root');
  await unpackTrixie(folder, strongSwan6Packages, 'with all that they need', async (unpacked) => {
    const root = join(unpacked, 'root');
    await mkdir(root);
    for (const name of ['etc', 'usr', 'var']) await rename(join(unpacked, name), join(root, name));
    // A package of its own makes these where Debian is installed.
    for (const name of ['bin', 'lib', 'lib64', 'sbin']) await symlink(join('usr', name), join(root, name));
    await writeFile(join(unpacked, 'pki'), PKI6, { mode: 0o755 });
  });
  return program;
}

/** Unpacks packages of Debian 13 into a folder, and arranges them there before anybody sees it. */
async function unpackTrixie(
  folder: string,
  packages: readonly string[],
  extent: 'alone' | 'with all that they need',
  arrange: (unpacked: string) => Promise<void>,
): Promise<void> {
  await mkdir(cacheFolder(), { recursive: true });
  const work = await mkdtemp(join(tmpdir(), 'leafgate-apt-'));
  try {
    await withAttempts(`fetching ${packages.join(', ')} of Debian 13`, () =>
      downloadTrixiePackages(work, packages, extent),
    );
    // Unpacked beside its place and renamed into it: another process sees all of it or nothing.
    const unpacked = await mkdtemp(join(cacheFolder(), 'unpack-'));
    try {
      for (const file of (await readdir(work)).filter((name) => name.endsWith('.deb'))) {
        await runToSuccess({
          program: '/usr/bin/dpkg-deb',
          args: ['--extract', join(work, file), unpacked],
          timeoutMs: 60_000,
        });
      }
      await arrange(unpacked);
      await rm(folder, { recursive: true, force: true });
      // A process that was quicker has put the same programs there.
      await rename(unpacked, folder).catch(() => {});
    } finally {
      await rm(unpacked, { recursive: true, force: true });
    }
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/**
 * Downloads into `work`, with an apt state of its own there: the machine's sources, lists and packages stay as they are.
 * apt checks the packages against Debian's signed lists as always.
 */
async function downloadTrixiePackages(
  work: string,
  packages: readonly string[],
  extent: 'alone' | 'with all that they need',
): Promise<ProgramAnswer> {
  const lists = join(work, 'lists');
  const parts = join(work, 'parts');
  const config = join(work, 'apt.conf');
  const status = join(work, 'status');
  await mkdir(join(lists, 'partial'), { recursive: true });
  await mkdir(join(work, 'partial'));
  await mkdir(parts, { recursive: true });
  // Nothing counts as installed: what the machine has is of another release.
  await writeFile(status, '');
  const sources = ['Types: deb', `URIs: ${await debianMirror()}`, 'Suites: trixie', 'Components: main'];
  await writeFile(
    join(parts, 'trixie.sources'),
    `${[...sources, `Signed-By: ${DEBIAN_KEYRING}`].join('\n')}\n`,
  );
  await writeFile(
    config,
    [
      'Dir::Etc::sourcelist "/dev/null";',
      `Dir::Etc::sourceparts "${parts}";`,
      `Dir::State::lists "${lists}";`,
      `Dir::State::status "${status}";`,
      'Dir::Cache::pkgcache "";',
      'Dir::Cache::srcpkgcache "";',
      `Dir::Cache::archives "${work}";`,
      // The temporary folder is ours alone; apt's unprivileged user could not write into it.
      'APT::Sandbox::User "root";',
      '',
    ].join('\n'),
  );
  // Without this option apt calls an update that reached nobody a success, and the cause is lost.
  const update = await aptGet(['update', '--error-on=any'], UPDATE_TIMEOUT_MS, { folder: work, config });
  if (update.exitCode !== 0) return update;
  const args =
    extent === 'alone'
      ? ['download', ...packages]
      : ['install', '--download-only', '--yes', '--no-install-recommends', ...packages];
  return aptGet(args, INSTALL_TIMEOUT_MS, { folder: work, config });
}

/** The mirror that this machine takes Debian 12 from, as apt itself reads its sources. */
async function debianMirror(): Promise<string> {
  const targets = async () => {
    const stdout = await runToSuccess({
      program: '/usr/bin/apt-get',
      args: ['indextargets', '--format', '$(RELEASE) $(COMPONENT) $(REPO_URI)', 'Created-By: Packages'],
      timeoutMs: 30_000,
    });
    return parseMirror(stdout);
  };
  let mirror = await targets();
  if (mirror === undefined) {
    // apt answers only for lists that it has: a fresh machine has none yet.
    await aptGet(['update'], UPDATE_TIMEOUT_MS);
    mirror = await targets();
  }
  if (mirror === undefined)
    throw new Error('the apt sources of this machine name no mirror of Debian 12 (bookworm main)');
  return mirror;
}

/** The first URI of lines `release component URI` that has Debian 12's main archive. */
export function parseMirror(lines: string): string | undefined {
  for (const line of lines.split('\n')) {
    const [release, component, uri] = line.trim().split(' ');
    if (release === 'bookworm' && component === 'main' && uri !== undefined) return uri;
  }
  return undefined;
}

/** apt-get, never asking questions. */
function aptGet(
  args: readonly string[],
  timeoutMs: number,
  isolated?: { readonly folder: string; readonly config: string },
): Promise<ProgramAnswer> {
  return runProgram({
    program: '/usr/bin/apt-get',
    args: [...LOCK_OPTIONS, '--quiet=2', ...args],
    environment: {
      ...process.env,
      DEBIAN_FRONTEND: 'noninteractive',
      LC_ALL: 'C.UTF-8',
      ...(isolated && { APT_CONFIG: isolated.config }),
    },
    ...(isolated && { folder: isolated.folder }),
    timeoutMs,
  });
}

async function withAttempts(what: string, attempt: () => Promise<ProgramAnswer>): Promise<void> {
  let answer: ProgramAnswer | undefined;
  for (let count = 1; count <= ATTEMPTS_MAX; count += 1) {
    process.stderr.write(count === 1 ? `${what} …\n` : `${what} (attempt ${count} of ${ATTEMPTS_MAX}) …\n`);
    answer = await attempt();
    if (answer.exitCode === 0) return;
    if (count < ATTEMPTS_MAX) await sleep(count * 3_000);
  }
  throw new Error(
    `${what} failed ${ATTEMPTS_MAX} times; a missing client is a failure, not a skip. apt said: ${
      answer === undefined ? 'nothing' : describeAnswer(answer)
    }`,
  );
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
