/** `leafgate agent`: a device on this machine. */
import { hostname } from 'node:os';
import { type Command, Option } from 'commander';
import {
  joinDevice,
  openDevice,
  type Platform,
  platforms,
  runDevice,
  type SyncResult,
} from '../agent/index.ts';
import { nameToString, thumbprintOf } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { secretFromReference } from '../keys/index.ts';
import { fileText } from './input.ts';
import { type ListingOptions, printRows } from './output.ts';

interface FolderOptions extends ListingOptions {
  readonly folder: string;
}

const folderOption = ['-f, --folder <folder>', 'the device’s folder', 'leafgate-device'] as const;

/** Adds the commands. */
export function addAgent(program: Command): void {
  const agent = program.command('agent').description('a device: join, check in, certificates, event log');
  agent
    .command('join')
    .description('join an MDM and check in for the first time')
    .requiredOption('--mdm <url>', 'https://host:port')
    .requiredOption(
      '--token <token>',
      'enrolment token, or file:PATH or env:NAME, which keeps it out of the process list',
    )
    .option(...folderOption)
    .addOption(new Option('--name <name>', 'device name').default(hostname(), 'the name of this computer'))
    .option('--serial <number>', 'serial number', 'none')
    .addOption(new Option('--platform <platform>', 'what it is').choices(platforms).default('linux'))
    .option(
      '--ca <file>',
      'PEM of the root that the MDM’s certificate leads to; those of the system if absent',
    )
    .action(
      async (
        options: FolderOptions & {
          mdm: string;
          token: string;
          name: string;
          serial: string;
          platform: Platform;
          ca?: string;
        },
      ) => {
        const device = await joinDevice({
          folder: options.folder,
          mdmUrl: options.mdm,
          token: /^(file|env):/.test(options.token) ? secretFromReference(options.token) : options.token,
          deviceName: options.name,
          serialNumber: options.serial,
          platform: options.platform,
          ...(options.ca === undefined ? {} : { mdmCaPem: fileText(options.ca) }),
        });
        console.log(`joined ${options.mdm}`);
        report(await device.sync());
      },
    );
  agent
    .command('sync')
    .description('check in once')
    .option(...folderOption)
    .action(async (options: FolderOptions) => {
      report(await (await openDevice(options.folder)).sync());
    });
  agent
    .command('run')
    .description('check in again and again until stopped')
    .option(...folderOption)
    .option('--minutes <n>', 'between check-ins', Number, 480)
    .action(async (options: FolderOptions & { readonly minutes: number }) => {
      if (!(options.minutes > 0)) throw new PkiError('command_invalid', '--minutes: a positive number');
      const stop = new AbortController();
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
      await runDevice(options.folder, {
        intervalMs: options.minutes * 60_000,
        signal: stop.signal,
        onSync: report,
      });
    });
  agent
    .command('certs')
    .description('certificates of the device (certlm.msc’s Personal store)')
    .option(...folderOption)
    .option('--json', 'for machines')
    .action(async (options: FolderOptions) => {
      const identities = await (await openDevice(options.folder)).identities();
      const rows = identities.map(({ profileId, certificate, chain, notAfter, keyPath }) => ({
        profileId,
        subject: nameToString(certificate.subject),
        issuer: nameToString(certificate.issuer),
        thumbprint: thumbprintOf(certificate.raw),
        serialNumber: certificate.serialNumber,
        notAfter,
        chain: chain.length,
        keyPath,
      }));
      const columns = {
        subject: 'Issued to',
        issuer: 'Issued by',
        notAfter: 'Expires',
        thumbprint: 'Thumbprint',
        chain: 'Chain',
      };
      printRows(rows, columns, options);
    });
  agent
    .command('events')
    .description('the device’s event log, oldest first')
    .option(...folderOption)
    .option('--limit <n>', 'the newest so many', Number, 50)
    .option('--json', 'for machines')
    .action(async (options: FolderOptions & { readonly limit: number }) => {
      const device = await openDevice(options.folder);
      const events = await device.events.read({ limit: options.limit });
      printRows(
        events.map((event) => ({ ...event })),
        { time: 'Time', id: 'Event', level: 'Level', message: 'Message' },
        options,
      );
    });
}

/** Says what a check-in came to; a failure gives the exit status 1. */
function report(result: SyncResult): void {
  if (result.outcome !== 'completed') {
    process.exitCode = 1;
    console.log(
      result.outcome === 'busy'
        ? 'another process works on this device'
        : `${result.outcome}: ${result.detail}`,
    );
    return;
  }
  for (const profile of result.profiles) {
    const detail = 'detail' in profile ? `: ${profile.detail}` : '';
    if (profile.outcome === 'failed') process.exitCode = 1;
    console.log(`${profile.displayName}: ${profile.outcome}${detail}`);
  }
}
