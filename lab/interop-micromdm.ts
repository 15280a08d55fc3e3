/** Our client at a server that is not ours: micromdm's. Part of `npm run interop`. */
import { createHash, X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { type Checks, demand } from './checks.ts';
import { leafgate, leafgateJson } from './command.ts';
import { enrolWithLeafgate } from './our-client.ts';
import { startRecorder } from './recorder.ts';
import type { ThirdParty } from './third-party/index.ts';
import { startMicromdm } from './third-party/scepserver.ts';

/** How each thing that was tried came out, by operation; for the table of docs/interop.md. */
export type ForeignServerResults = Readonly<Record<string, 'ok' | 'failed'>>;

/**
 * Capabilities, CA certificate, enrolment, renewal and refusal at micromdm's scepserver 2.3.0, whose CA is its own RA and
 * has a certificate for signing alone. It knows no CertPoll, GetCert, GetCRL and GetNextCACert.
 */
export async function proveOurClient(
  checks: Checks,
  { thirdParty, folder }: { readonly thirdParty: ThirdParty; readonly folder: string },
): Promise<ForeignServerResults> {
  checks.section('our client at micromdm scepserver');
  const results: Record<string, 'ok' | 'failed'> = {};
  const check = async (operation: string, title: string, work: () => Promise<string | undefined>) => {
    results[operation] = 'failed';
    await checks.check(title, async () => {
      const said = await work();
      results[operation] = 'ok';
      return said;
    });
  };
  const peer = await startMicromdm(thirdParty);
  const recorder = await startRecorder(peer.url);
  /** What the client's last message was, and what the server made of it. */
  const demandExchange = (messageType: string, pkiStatus: string) => {
    const seen = recorder.messages.at(-1);
    const found = `${seen?.messageType}, ${seen?.answer?.pkiStatus}`;
    demand(found === `${messageType}, ${pkiStatus}`, `the exchange was ${found}`);
  };
  try {
    const fingerprint = createHash('sha256').update(peer.caCertificateDer).digest('hex');
    const task = {
      url: recorder.url,
      challenge: peer.challenge,
      commonName: 'ours-at-micromdm',
      caCertificatesPem: [peer.caCertificatePem],
    };
    await check('GetCACaps', 'reads the capabilities', async () => {
      const caps = await leafgateJson<{ capabilities: string }>('scep', 'caps', peer.url);
      demand(caps.capabilities.includes('POSTPKIOperation'), caps.capabilities);
      return caps.capabilities;
    });
    await check('GetCACert', 'finds the CA by its fingerprint, and trusts no other', async () => {
      await leafgate('scep', 'ca', peer.url, '--ca-fingerprint', fingerprint);
      const refused = await leafgate('scep', 'ca', peer.url, '--ca-fingerprint', '00'.repeat(32)).then(
        () => false,
        () => true,
      );
      demand(refused, 'a foreign fingerprint was taken');
      return fingerprint.slice(0, 16);
    });
    const enrolled = await enrolWithLeafgate({
      ...task,
      workFolder: join(folder, 'micromdm-enrol'),
    });
    await check('enrol', 'enrols', async () => {
      if (!enrolled.ok) throw new Error(enrolled.log.slice(-600));
      demandExchange('PKCSReq', 'SUCCESS');
      const { serialNumber, subject } = new X509Certificate(enrolled.certificatePem);
      demand(subject.split('\n').includes('CN=ours-at-micromdm'), subject);
      return `${subject.replace('\n', ', ')}, serial number ${serialNumber}`;
    });
    await check(
      'renew',
      'renews with a new key (RenewalReq); this server wants the challenge again',
      async () => {
        if (!enrolled.ok) throw new Error('there is nothing to renew');
        const workFolder = join(folder, 'micromdm-renew');
        const renewed = await enrolWithLeafgate({ ...task, workFolder, renewalOf: enrolled });
        if (!renewed.ok) throw new Error(renewed.log.slice(-600));
        demandExchange('RenewalReq', 'SUCCESS');
        const [before, after] = [enrolled, renewed].map((each) => new X509Certificate(each.certificatePem));
        demand(before?.serialNumber !== after?.serialNumber, 'the same certificate came back');
        demand(before?.publicKey.equals(after?.publicKey as never) === false, 'the key is the same');
        return `serial number ${after?.serialNumber}`;
      },
    );
    await check('refuse', 'is refused with a wrong challenge', async () => {
      const workFolder = join(folder, 'micromdm-refused');
      const refused = await enrolWithLeafgate({ ...task, challenge: 'wrong', workFolder });
      demand(!refused.ok, 'a certificate was issued');
      demand(/the SCEP server refused, badRequest/.test(refused.log), refused.log.slice(-600));
      demandExchange('PKCSReq', 'FAILURE');
      return 'badRequest';
    });
  } finally {
    await recorder.close();
    await peer.close();
  }
  return results;
}
