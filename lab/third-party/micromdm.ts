/** micromdm's scepclient. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ClientSession, type EnrolmentResult, type EnrolmentTask, rsaBits } from './client-session.ts';
import type { ThirdParty } from './debian.ts';

/**
 * Enrols with micromdm's scepclient.
 *
 * QUIRK micromdm scepclient: encrypts in single DES and signs over SHA-1, whatever GetCACaps says, and has no option for
 * anything else. A server that obeys RFC 8894 §2.9 (no DES) cannot serve it.
 *
 * @param task.recipients which of the served certificates the request is encrypted to: by default those for key
 *   encipherment, which a server with an RA needs; `all` for one whose CA certificate does not name that usage.
 * @throws Error if the program cannot be started. A refusal is `ok: false`.
 */
export async function enrolWithMicromdm(
  thirdParty: ThirdParty,
  task: EnrolmentTask & { readonly recipients?: 'keyEncipherment' | 'all' },
): Promise<EnrolmentResult> {
  const session = await ClientSession.open(task);
  // QUIRK micromdm scepclient: what it finds in its folder (key, request, own certificate) it takes as its own; with a
  // certificate there it sends a RenewalReq for the same key.
  await mkdir(join(task.workFolder, 'fresh'));
  if (task.renewalOf !== undefined) {
    await session.write('fresh/key.pem', task.renewalOf.keyPem);
    await session.write('fresh/certificate.pem', task.renewalOf.certificatePem);
  }
  const enrolled = await session.run(
    thirdParty.scepclient,
    [
      ...[
        '-server-url',
        task.url,
        '-challenge',
        task.challenge,
        '-cn',
        task.commonName,
        '-organization',
        'Lab',
      ],
      ...(task.dnsName === undefined ? [] : ['-dnsname', task.dnsName]),
      ...(task.recipients === 'all' ? [] : ['-key-encipherment-selector']),
      ...['-keySize', rsaBits(task), '-private-key', 'key.pem', '-certificate', 'certificate.pem'],
    ],
    join(task.workFolder, 'fresh'),
  );
  if (enrolled.exitCode !== 0) return session.failed();
  return session.finished(await session.read('fresh/certificate.pem'), await session.read('fresh/key.pem'));
}
