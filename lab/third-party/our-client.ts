/** Our own SCEP client, run as the other clients are: as a program that knows nothing of the server but its URL. */
import { createPrivateKey } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { ClientSession, type EnrolmentResult, type EnrolmentTask, type KeyPair } from './client-session.ts';
import type { ThirdParty } from './debian.ts';

const program = fileURLToPath(new URL('../../bin/leafgate.js', import.meta.url));
const POLL_SECONDS = '1';
const WAIT_MINUTES = '0.8';
/** Opens the key of a certificate that the client is handed for its renewal. */
const PASSPHRASE = 'handed over';

/**
 * Enrols with `leafgate scep`, or renews, and waits for an approval.
 *
 * @throws Error if the program cannot be started. A refusal is `ok: false`.
 */
export async function enrolWithLeafgate(
  _thirdParty: Pick<ThirdParty, 'openssl'>,
  task: EnrolmentTask,
): Promise<EnrolmentResult> {
  const session = await ClientSession.open(task);
  const root = await session.write('root.pem', task.caCertificatesPem.at(-1) ?? '');
  const { key = 'rsa-2048', renewalOf } = task;
  const challenge =
    task.challenge === '' ? [] : ['--challenge', `file:${await session.write('challenge', task.challenge)}`];
  const common = [
    ...challenge,
    '--key',
    key,
    '--wait',
    WAIT_MINUTES,
    '--poll-interval',
    POLL_SECONDS,
    '--folder',
    '.',
  ];
  if (renewalOf !== undefined)
    await handOver(session, task.url, renewalOf, task.caCertificatesPem.at(-1) ?? '');
  const names = [
    '--subject',
    `CN=${task.commonName},O=Lab`,
    ...(task.dnsName === undefined ? [] : ['--san', `DNS:${task.dnsName}`]),
  ];
  const answer = await session.run(process.execPath, [
    ...[program, 'scep'],
    ...(renewalOf === undefined ? ['enrol', task.url, '--root', root, ...names] : ['renew']),
    ...common,
  ]);
  if (answer.exitCode !== 0) return session.failed();
  const passphrase = (await session.read('key-passphrase')).trim();
  const opened = createPrivateKey({ key: await session.read('key.pem'), passphrase });
  return session.finished(
    await session.read('certificate.pem'),
    opened.export({ type: 'pkcs8', format: 'pem' }).toString(),
  );
}

/** The folder as an earlier enrolment would have left it. */
async function handOver(session: ClientSession, url: string, pair: KeyPair, rootPem: string): Promise<void> {
  const key = createPrivateKey(pair.keyPem);
  const cipher = { cipher: 'aes-256-cbc', passphrase: PASSPHRASE } as const;
  await session.write('key-passphrase', PASSPHRASE);
  await session.write('key.pem', key.export({ type: 'pkcs8', format: 'pem', ...cipher }).toString());
  await session.write('certificate.pem', pair.certificatePem);
  await session.write('trust.pem', rootPem);
  await session.write('server.json', JSON.stringify({ url, recipientNonce: 'required', manner: {} }));
}
