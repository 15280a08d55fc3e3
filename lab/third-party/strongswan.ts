/** strongSwan's `pki` as a SCEP client. */
import { readdir } from 'node:fs/promises';
import {
  ClientSession,
  type Enrolled,
  type EnrolmentResult,
  type EnrolmentTask,
  rsaBits,
} from './client-session.ts';
import type { ThirdParty } from './debian.ts';

const POLL_SECONDS = '1';
const POLL_SECONDS_MAX = 50;

/** Which of strongSwan's releases: that of Debian 12, or that of Debian 13, whose SCEP was written anew. */
export type StrongSwan = Extract<keyof ThirdParty, 'pki' | 'pki6'>;

/**
 * Enrols with strongSwan's `pki --scepca` and `pki --scep`.
 *
 * It asks for the CA certificates first, as its manual tells, and takes the encryption and the signature certificate
 * from what the server gave; trust comes from `caCertificatesPem`. It renews with a new key (RenewalReq, RFC 8894
 * §3.3.1.2), and polls (CertPoll) until its time is over.
 *
 * @throws Error if a program cannot be started. A refusal is `ok: false`.
 */
export async function enrolWithStrongSwan(
  thirdParty: ThirdParty,
  task: EnrolmentTask,
  release: StrongSwan = 'pki',
): Promise<EnrolmentResult> {
  const session = await ClientSession.open(task);
  const fetched = await session.run(thirdParty[release], [
    ...['--scepca', '--url', task.url, '--caout', 'ca.der', '--raout', 'ra.der', '--force'],
  ]);
  if (fetched.exitCode !== 0) return session.failed();
  const served: ServedCertificate[] = [];
  for (const file of (await readdir(task.workFolder)).filter((name) => name.endsWith('.der')).sort()) {
    const text = await session.run(thirdParty.openssl, [
      ...['x509', '-inform', 'DER', '-in', file, '-noout', '-subject', '-issuer'],
      ...['-ext', 'keyUsage,basicConstraints'],
    ]);
    served.push(parseServedCertificate(file, text.stdout));
  }
  const roles = chooseScepCertificates(served);
  if (roles === undefined) return session.failed('the server gave no CA certificate');

  const trusted: string[] = [];
  for (const [index, pem] of task.caCertificatesPem.entries()) {
    trusted.push('--cacert', await session.write(`trusted-${index}.pem`, pem));
  }
  // `-traditional`: see `pkcs1`.
  const keyFile = 'key.pem';
  await session.run(thirdParty.openssl, ['genrsa', '-traditional', '-out', keyFile, rsaBits(task)]);
  const renewal =
    task.renewalOf === undefined
      ? ['--password', task.challenge]
      : [
          ...['--cert', await session.write('old-certificate.pem', task.renewalOf.certificatePem)],
          ...['--key', await session.write('old-key.pem', await pkcs1(session, thirdParty, task.renewalOf))],
        ];
  const enrolled = await session.run(thirdParty[release], [
    ...['--scep', '--url', task.url, '--in', keyFile, '--dn', `O=Lab, CN=${task.commonName}`],
    ...(task.dnsName === undefined ? [] : ['--san', task.dnsName]),
    ...renewal,
    ...['--interval', POLL_SECONDS, '--maxpolltime', pollSecondsMax(task)],
    ...['--cacert-enc', roles.encryption, '--cacert-sig', roles.signature, ...trusted, '--outform', 'pem'],
  ]);
  if (enrolled.exitCode !== 0) return session.failed();
  return session.finished(enrolled.stdout, await session.read(keyFile));
}

/** Within the time of the whole enrolment. */
function pollSecondsMax({ timeoutMs }: EnrolmentTask): string {
  return String(timeoutMs === undefined ? POLL_SECONDS_MAX : Math.floor((timeoutMs / 1000) * 0.8));
}

/** QUIRK strongSwan: reads RSA keys in the PKCS #1 form only. */
async function pkcs1(session: ClientSession, { openssl }: ThirdParty, { keyPem }: Enrolled): Promise<string> {
  const file = await session.write('old-key.pkcs8.pem', keyPem);
  return (await session.runQuietly(openssl, ['rsa', '-traditional', '-in', file])).stdout;
}

/** One certificate of a GetCACert answer, as `openssl x509` describes it. */
export interface ServedCertificate {
  readonly file: string;
  readonly isCa: boolean;
  readonly isSelfIssued: boolean;
  readonly keyUsage: readonly string[];
}

/** Reads the text of `openssl x509 -subject -issuer -ext keyUsage,basicConstraints`. */
export function parseServedCertificate(file: string, text: string): ServedCertificate {
  const usage = /X509v3 Key Usage:[^\n]*\n\s*([^\n]*)/.exec(text)?.[1] ?? '';
  const subject = /^subject=(.*)$/m.exec(text)?.[1];
  return {
    file,
    isCa: /CA:TRUE/.test(text),
    isSelfIssued: subject !== undefined && subject === /^issuer=(.*)$/m.exec(text)?.[1],
    keyUsage: usage
      .split(',')
      .map((name) => name.trim())
      .filter((name) => name !== ''),
  };
}

/**
 * Which file a SCEP client encrypts to and which it expects the answer to be signed by: the RA's certificates by their
 * keyUsage, else the CA that is not a root, else the root. `undefined` if there is none at all.
 */
export function chooseScepCertificates(
  served: readonly ServedCertificate[],
): { readonly encryption: string; readonly signature: string } | undefined {
  const preferred = [
    ...served.filter(({ isCa }) => !isCa),
    ...served.filter(({ isCa, isSelfIssued }) => isCa && !isSelfIssued),
    ...served.filter(({ isCa, isSelfIssued }) => isCa && isSelfIssued),
  ];
  const withUsage = (usage: string) =>
    preferred.find(({ isCa, keyUsage }) => !isCa && keyUsage.includes(usage)) ??
    preferred.find(({ isCa }) => isCa);
  const encryption = withUsage('Key Encipherment');
  const signature = withUsage('Digital Signature');
  return encryption && signature && { encryption: encryption.file, signature: signature.file };
}
