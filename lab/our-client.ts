/** The product's own SCEP client, `leafgate scep`, run as any other. */
import { createPrivateKey } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ClientSession, type EnrolmentResult, type EnrolmentTask } from './third-party/client-session.ts';

const program = fileURLToPath(new URL('../bin/leafgate.js', import.meta.url));
const WAIT_MINUTES = 0.9;
const POLL_SECONDS = '1';

/** How the messages are made; the best that the server offers where absent. */
export interface Manner {
  readonly digest?: string;
  readonly cipher?: string;
  readonly keyTransport?: string;
}

/**
 * Enrols with `leafgate scep enrol`, or renews with `leafgate scep renew` what an earlier task enrolled, and waits for an
 * approval.
 *
 * @throws Error if the program cannot be started. A refusal is `ok: false`.
 */
export async function enrolWithLeafgate(task: EnrolmentTask, manner: Manner = {}): Promise<EnrolmentResult> {
  const session = await ClientSession.open(task);
  const folder = join(task.renewalOf?.workFolder ?? task.workFolder, 'client');
  const challenge =
    task.challenge === '' ? [] : ['--challenge', `file:${await session.write('challenge', task.challenge)}`];
  const root = task.caCertificatesPem.at(-1);
  if (root === undefined) throw new Error('a client must be told whom to trust');
  const asked = await session.run(process.execPath, [
    ...[program, 'scep'],
    ...(task.renewalOf === undefined
      ? [
          ...['enrol', task.url, '--root', await session.write('root.pem', root)],
          ...['--subject', `CN=${task.commonName},O=Lab`],
          ...(task.dnsName === undefined ? [] : ['--san', `DNS:${task.dnsName}`]),
          ...(manner.digest === undefined ? [] : ['--digest', manner.digest]),
          ...(manner.cipher === undefined ? [] : ['--cipher', manner.cipher]),
          ...(manner.keyTransport === undefined ? [] : ['--key-transport', manner.keyTransport]),
        ]
      : ['renew']),
    ...challenge,
    ...['--folder', folder, '--key', task.key ?? 'rsa-2048'],
    ...['--wait', String(task.timeoutMs === undefined ? WAIT_MINUTES : (task.timeoutMs / 60_000) * 0.8)],
    ...['--poll-interval', POLL_SECONDS],
  ]);
  if (asked.exitCode !== 0) return session.failed();
  const read = (name: string) => readFile(join(folder, name), 'utf8');
  const key = createPrivateKey({
    key: await read('key.pem'),
    passphrase: (await read('key-passphrase')).trim(),
  });
  return session.finished(
    await read('certificate.pem'),
    key.export({ format: 'pem', type: 'pkcs8' }).toString(),
  );
}
