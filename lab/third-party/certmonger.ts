/** certmonger as a SCEP client. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ClientSession, type EnrolmentResult, type EnrolmentTask, rsaBits } from './client-session.ts';
import type { ThirdParty } from './debian.ts';
import { startProgram } from './program.ts';

const REFRESH_MS = 1_000;

/**
 * Enrols with certmonger: a daemon of this enrolment alone, with every folder, its lock and its socket in private
 * places, so that neither a message bus nor the machine's own certmonger is touched.
 *
 * @throws Error if a program cannot be started. A refusal is `ok: false`.
 */
export async function enrolWithCertmonger(
  thirdParty: ThirdParty,
  task: EnrolmentTask,
): Promise<EnrolmentResult> {
  const session = await ClientSession.open(task);
  // A socket's path is at most 107 bytes, which that of a work folder may exceed.
  const shortFolder = await mkdtemp(join(tmpdir(), 'lg-cm-'));
  const socket = join(shortFolder, 'bus');
  const folder = async (name: string) => {
    const path = join(task.workFolder, name);
    await mkdir(path, { recursive: true });
    return path;
  };
  session.environment = {
    ...process.env,
    HOME: await folder('home'),
    LC_ALL: 'C.UTF-8',
    CERTMONGER_CONFIG_DIR: await folder('config'),
    CERTMONGER_REQUESTS_DIR: await folder('requests'),
    CERTMONGER_CAS_DIR: await folder('cas'),
    CERTMONGER_LOCAL_CA_DIR: await folder('local'),
    CERTMONGER_TMPDIR: await folder('tmp'),
    CERTMONGER_SYSTEM_LOCK_FILE: join(task.workFolder, 'lock'),
    CERTMONGER_PVT_ADDRESS: `unix:path=${socket}`,
    DBUS_SESSION_BUS_ADDRESS: undefined,
  };
  const daemon = await startProgram({
    program: thirdParty.certmonger,
    args: ['-n', '-L', '-P', socket, '-d', '2'],
    folder: task.workFolder,
    environment: session.environment,
    logFile: join(task.workFolder, 'daemon.log'),
  });
  try {
    const [issuingCa] = task.caCertificatesPem;
    if (issuingCa === undefined) return session.failed('certmonger needs the CA certificate');
    // QUIRK certmonger: a blank in the path of a CA file breaks the command line of its own helper.
    const caFile = join(shortFolder, 'issuing-ca.pem');
    await writeFile(caFile, issuingCa);
    if (
      !(await session.until(
        async () => (await session.runQuietly(thirdParty.getcert, ['list-cas'])).exitCode === 0,
      ))
    ) {
      return session.failed('the certmonger daemon did not start');
    }
    const added = await session.run(thirdParty.getcert, [
      // -N: who issued the certificate that signs CertRep. Without it certmonger believes no answer.
      ...['add-scep-ca', '-c', 'lab', '-u', task.url, '-R', caFile, '-N', caFile],
    ]);
    if (added.exitCode !== 0) return session.failed();
    // A request made before the daemon holds the CA's certificates would be put off for minutes.
    let listed = '';
    const hasCaCertificates = await session.until(async () => {
      const list = await session.runQuietly(thirdParty.getcert, ['list-cas', '-c', 'lab']);
      if (!list.timedOut) listed = list.stdout;
      return /SCEP CA certificate thumb/.test(listed);
    });
    if (!hasCaCertificates) return session.failed(`certmonger did not get the CA certificates\n${listed}`);
    const keyFile = join(task.workFolder, 'key.pem');
    const certificateFile = join(task.workFolder, 'certificate.pem');
    const old = task.renewalOf;
    if (old !== undefined) {
      await session.write('key.pem', old.keyPem);
      await session.write('certificate.pem', old.certificatePem);
    }
    const files = ['-I', 'enrolment', '-c', 'lab', '-k', keyFile, '-f', certificateFile];
    const requested = await session.run(
      thirdParty.getcert,
      old === undefined
        ? [
            ...['request', ...files],
            ...['-N', `CN=${task.commonName},O=Lab`, '-L', task.challenge, '-g', rsaBits(task)],
            ...(task.dnsName === undefined ? [] : ['-D', task.dnsName]),
          ]
        : ['start-tracking', ...files, ...(task.challenge === '' ? [] : ['-L', task.challenge])],
    );
    if (requested.exitCode !== 0) return session.failed();
    let state: CertmongerState = 'working';
    const settled = async (): Promise<boolean> => {
      const list = await session.runQuietly(thirdParty.getcert, ['list', '-i', 'enrolment']);
      state = parseCertmongerState(list.stdout);
      // Left alone it asks again in hours.
      if (state === 'waiting') {
        await session.runQuietly(thirdParty.getcert, ['refresh', '-i', 'enrolment']);
        await sleep(REFRESH_MS);
      }
      if (state === 'working' || state === 'waiting') return false;
      session.note(list.stdout);
      return true;
    };
    await session.until(settled);
    if (old !== undefined && (state as CertmongerState) === 'issued') {
      const rekeyed = await session.run(thirdParty.getcert, [
        'rekey',
        '-i',
        'enrolment',
        '-g',
        rsaBits(task),
      ]);
      if (rekeyed.exitCode !== 0) return session.failed();
      // It goes on calling the old one tracked for a moment.
      await session.until(
        async () =>
          (await settled()) &&
          (state === 'failed' || (await session.read('certificate.pem')) !== old.certificatePem),
      );
    }
    // TypeScript does not see that the callback has written.
    if ((state as CertmongerState) !== 'issued') return session.failed(`certmonger: ${state}`);
    return session.finished(await session.read('certificate.pem'), await session.read('key.pem'));
  } finally {
    await daemon.end();
    await rm(shortFolder, { recursive: true, force: true });
  }
}

/** What certmonger says about a request: still at it, put off by the CA, done, or given up. */
export type CertmongerState = 'working' | 'waiting' | 'issued' | 'failed';

/** Reads `getcert list`. A request that certmonger would put off, to try again in hours, has failed. */
export function parseCertmongerState(list: string): CertmongerState {
  const status = /^\s*status: (\S+)/m.exec(list)?.[1];
  if (status === 'MONITORING') return 'issued';
  if (status === 'CA_WORKING') return 'waiting';
  const stuck = /^\s*stuck: yes$/m.test(list);
  return stuck || status === 'CA_REJECTED' || status === 'CA_UNREACHABLE' ? 'failed' : 'working';
}
