/** Tells the way of one certificate, a to f, with what really happened: from the device, the server's log and its lists. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { styleText } from 'node:util';
import type { Device, DeviceStep, SyncResult } from '../src/agent/index.ts';
import { commonNameOf, nameToString, thumbprintOf } from '../src/codec/index.ts';
import { leafgateJson } from './command.ts';
import { asMdmAdministrator, SCEP_PROFILE } from './fleet.ts';
import type { Tenant } from './tenant.ts';

interface CertificateRow {
  readonly serialNumber: string;
  readonly requester: string;
  readonly template: string;
  readonly device: string;
}

interface WorkedLine {
  readonly transactionID: string;
  readonly requestID: string;
  readonly validateMs: number;
  readonly issueMs: number;
  readonly notifyMs: number;
}

/** One line of the way. */
interface Station {
  readonly letter: string;
  readonly what: string;
  readonly ms: number | undefined;
  readonly facts: readonly string[];
}

/** Prints the way that the certificate of this check-in took. @throws Error if the check-in brought none. */
export async function tellWay(
  tenant: Tenant,
  device: Device,
  result: SyncResult,
  steps: readonly DeviceStep[],
): Promise<void> {
  if (result.outcome !== 'completed') throw new Error(`the device could not check in: ${describe(result)}`);
  const enrolled = result.profiles.find((profile) => profile.profileId === SCEP_PROFILE);
  if (enrolled?.outcome !== 'installed' || !('transactionID' in enrolled)) {
    throw new Error(`the device got no certificate: ${describe(enrolled)}`);
  }
  const { certificate, chain, transactionID } = enrolled;
  const msOf = (step: DeviceStep['step']) => steps.find((one) => one.step === step)?.durationMs;
  const worked = await workedLine(tenant, transactionID);
  const [row] = await leafgateJson<CertificateRow[]>(
    ...[
      'ca',
      'list',
      '--config',
      tenant.configs.server,
      '--limit',
      '1',
      '--device',
      commonNameOf(certificate.subject) ?? '',
    ],
  );
  const [notification] = await asMdmAdministrator(tenant, async (mdm) => mdm.notifications());
  const stations: Station[] = [
    {
      letter: 'a',
      what: 'the SCEP profile reaches the device; it makes its key and the CSR with the challenge',
      ms: (msOf('check-in') ?? 0) + (msOf('key') ?? 0),
      facts: [
        `device ${commonNameOf(certificate.subject)}, checked in at ${tenant.urls.mdm}`,
        `RSA-2048 key, kept in ${join(device.folder.path, 'keys')}`,
        `subject ${nameToString(certificate.subject)}`,
      ],
    },
    {
      letter: 'b',
      what: 'the edge takes the request and hands it to the connector, which dialled out to it',
      ms: undefined,
      facts: [
        `published: ${tenant.urls.scep}`,
        `tunnel: connector-1 → 127.0.0.1:${tenant.ports.tunnel} (mutual TLS, HTTP/2) → 127.0.0.1:${tenant.ports.server}`,
      ],
    },
    {
      letter: 'c',
      what: 'the SCEP server takes GetCACaps, GetCACert and PKIOperation',
      ms: (msOf('GetCACert') ?? 0) + (msOf('request') ?? 0),
      facts: [`transactionID ${transactionID}`, `request ${worked.requestID}`],
    },
    {
      letter: 'd',
      what: 'the policy module has it validated',
      ms: worked.validateMs,
      facts: ['endpoint intune, template client-authentication'],
    },
    {
      letter: 'e',
      what: 'Intune (here: the built-in MDM) checks signature, payload and integrity, and hears of the certificate',
      ms: worked.notifyMs,
      facts: [
        'validateRequest: Success',
        `successNotification: thumbprint ${notification?.kind === 'success' ? notification.notification.certificateThumbprint : 'none'}`,
      ],
    },
    {
      letter: 'f',
      what: 'the RA signs it off, the CA issues, the device installs leaf and whole chain',
      ms: worked.issueMs + (msOf('install') ?? 0),
      facts: [
        `serial number ${certificate.serialNumber}, requester ${row?.requester}, template ${row?.template}`,
        `thumbprint ${thumbprintOf(certificate.raw)}, valid until ${certificate.notAfter.toISOString().slice(0, 10)}`,
        `chain: ${chain.map((one) => commonNameOf(one.subject)).join(' → ')}`,
      ],
    },
  ];
  for (const station of stations) print(station);
}

function print({ letter, what, ms, facts }: Station): void {
  const bold = (text: string) => (process.stdout.isTTY ? styleText('bold', text) : text);
  console.log(`  ${bold(letter)}  ${what}${ms === undefined ? '' : ` (${Math.round(ms)} ms)`}`);
  for (const fact of facts) console.log(`       ${fact}`);
}

/** What the server's log says of a transaction. */
async function workedLine(tenant: Tenant, transactionID: string): Promise<WorkedLine> {
  const log = await readFile(join(tenant.folder, 'logs', 'server.log'), 'utf8');
  for (const line of log.trimEnd().split('\n').reverse()) {
    if (!line.startsWith('{') || !line.includes(transactionID)) continue;
    const entry = JSON.parse(line) as WorkedLine & { readonly msg: string };
    if (entry.transactionID === transactionID && entry.msg === 'enrolment worked') return entry;
  }
  throw new Error(`the server’s log does not know transaction ${transactionID}`);
}

function describe(thing: object | undefined): string {
  if (thing === undefined) return 'nothing happened';
  return 'detail' in thing ? String(thing.detail) : JSON.stringify(thing);
}
