/** `leafgate pfx`: recovers archived keys, imports PFX into Intune. */
import { createPublicKey, randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { buildPkcs12, nameToString, parsePem, thumbprintOf } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { openKeyFile, secretFromReference } from '../keys/index.ts';
import { readText } from '../parts/identity.ts';
import { archivedIn, archivedKey } from '../parts/pfx.ts';
import { type IntendedPurpose, importPfx, intendedPurposes, openArchived } from '../pfx/index.ts';
import { operator } from './ca-search.ts';
import { configOption, loadServerConfig, withStore } from './context.ts';
import { type ListingOptions, printFacts, printRows } from './output.ts';

interface ConfigOptions extends ListingOptions {
  readonly config?: string;
}

interface RecoverOptions extends ConfigOptions {
  readonly key: readonly string[];
  readonly passphrase: readonly string[];
  readonly out: string;
  readonly outPassword?: string;
  readonly form: 'modern' | 'legacy';
}

interface ImportOptions extends ListingOptions {
  readonly password: string;
  readonly user: string;
  readonly purpose: IntendedPurpose;
  readonly provider: string;
  readonly keyName: string;
  readonly publicKey: string;
  readonly tenant: string;
  readonly appId: string;
  readonly secret: string;
  readonly graph: string;
  readonly authority: string;
  readonly extraCa?: string;
}

const several = (value: string, before: readonly string[]): readonly string[] => [...before, value];

/** Adds the commands. */
export function addPfx(program: Command): void {
  const pfx = program.command('pfx').description('the PKCS connector: archived keys, imported PFX');
  pfx
    .command('archived')
    .description('keys that were archived, by the request of their certificate')
    .option(...configOption)
    .option('--json', 'for machines')
    .action((options: ConfigOptions) => {
      const rows = archivedIn(archiveFolder(options.config)).map((requestID) => ({ requestID }));
      printRows(rows, { requestID: 'Request' }, options);
    });
  pfx
    .command('recover')
    .description('open an archived key with both recovery keys, and write it as a PFX')
    .argument('<requestID>', 'as `pfx archived` shows it')
    .option(...configOption)
    .requiredOption('--key <file>', 'a recovery key; twice, one for each', several, [])
    .requiredOption(
      '--passphrase <reference>',
      'what opens it, `file:PATH`; twice, in the same order',
      several,
      [],
    )
    .requiredOption('--out <file>', 'the PFX; must not exist yet')
    .option(
      '--out-password <reference>',
      '`file:PATH` or `env:NAME`; a random one is made and shown if absent',
    )
    .addOption(new Option('--form <form>', 'of the PFX').choices(['modern', 'legacy']).default('modern'))
    .option('--json', 'for machines')
    .action(recover);
  pfx
    .command('import')
    .description(
      'give a user’s PFX to Intune, which delivers it to the user’s devices (Graph userPfxCertificates)',
    )
    .argument('<file>', 'the PFX')
    .requiredOption('--password <reference>', 'that of the PFX: `file:PATH` or `env:NAME`')
    .requiredOption('--user <userPrincipalName>', 'whose it is')
    .requiredOption(
      '--public-key <file>',
      'PEM: public key that the certificate connector decrypts passwords with',
    )
    .requiredOption('--key-name <name>', 'its name on the connector’s machine')
    .option('--provider <name>', 'its key storage provider', 'Microsoft Software Key Storage Provider')
    .addOption(
      new Option('--purpose <purpose>', 'what the profile in Intune asks for')
        .choices(intendedPurposes)
        .default('unassigned'),
    )
    .requiredOption('--tenant <tenant>', 'GUID or domain name')
    .requiredOption('--app-id <id>', 'app registration with DeviceManagementConfiguration.ReadWrite.All')
    .requiredOption('--secret <reference>', 'its secret: `file:PATH` or `env:NAME`')
    .option('--graph <url>', 'Microsoft Graph of the cloud', 'https://graph.microsoft.com')
    .option('--authority <url>', 'sign-in of the cloud', 'https://login.microsoftonline.com')
    .option('--extra-ca <file>', 'PEM of a further CA to trust')
    .option('--json', 'for machines')
    .action(importFile);
}

async function recover(requestID: string, options: RecoverOptions): Promise<void> {
  const [first, second] = options.key;
  const [firstPassphrase, secondPassphrase] = options.passphrase;
  const isTwice = options.key.length === 2 && options.passphrase.length === 2;
  if (!isTwice || first === undefined || second === undefined || !firstPassphrase || !secondPassphrase)
    throw new PkiError('config_invalid', '--key and --passphrase: each twice, for the two recovery keys');
  const sealed = archivedKey(archiveFolder(options.config), requestID);
  const keys = [
    await openKeyFile({ path: first, passphrase: secretFromReference(firstPassphrase) }),
    await openKeyFile({ path: second, passphrase: secretFromReference(secondPassphrase) }),
  ] as const;
  const { pkcs12 } = await openArchived(sealed, [keys[0].decrypt, keys[1].decrypt]);
  const made = options.outPassword === undefined ? randomBytes(18).toString('base64url') : undefined;
  const password = made ?? secretFromReference(options.outPassword ?? '');
  const { certificate, privateKey } = pkcs12;
  try {
    const pfx = await buildPkcs12({ ...pkcs12, password, form: options.form });
    const thumbprint = thumbprintOf(certificate.raw);
    // On record before anybody has it.
    await withStore(options.config, (store) =>
      store.appendAudit({
        at: new Date(),
        event: 'pfx.recovered',
        actor: operator(),
        reference: '',
        code: '',
        text: 'an archived key was opened with both recovery keys',
        detail: { requestID, serialNumber: certificate.serialNumber, thumbprint },
      }),
    );
    writeNew(options.out, pfx);
    printFacts(
      {
        file: options.out,
        subject: nameToString(certificate.subject),
        thumbprint,
        ...(made === undefined ? {} : { password: made }),
      },
      options,
    );
  } finally {
    privateKey.fill(0);
  }
}

async function importFile(file: string, options: ImportOptions): Promise<void> {
  const certificate = await importPfx(
    {
      pfx: readFile(file),
      password: secretFromReference(options.password),
      userPrincipalName: options.user,
      intendedPurpose: options.purpose,
      providerName: options.provider,
      keyName: options.keyName,
      publicKey: publicKeyIn(options.publicKey),
      importedAt: new Date(),
    },
    {
      graph: options.graph,
      authority: options.authority,
      tenant: options.tenant,
      appId: options.appId,
      secret: secretFromReference(options.secret),
      extraCa: options.extraCa === undefined ? undefined : readText(options.extraCa),
    },
  );
  printFacts(
    {
      user: options.user,
      subject: nameToString(certificate.subject),
      thumbprint: thumbprintOf(certificate.raw),
      expires: certificate.notAfter,
    },
    options,
  );
}

function archiveFolder(path: string | undefined): string {
  const folder = loadServerConfig(path).pfx?.archive?.folder;
  if (folder === undefined)
    throw new PkiError('config_invalid', 'the configuration has no `server.pfx.archive`');
  return folder;
}

/** A PEM public key, or the certificate of one. */
function publicKeyIn(path: string): Uint8Array {
  const text = readText(path);
  try {
    if (text.includes('BEGIN CERTIFICATE')) parsePem(text, 'CERTIFICATE');
    return createPublicKey(text).export({ format: 'der', type: 'spki' });
  } catch (cause) {
    throw new PkiError('config_invalid', `${path} is not a PEM public key`, { cause });
  }
}

function readFile(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new PkiError('config_invalid', `cannot read ${path}`, { cause });
  }
}

function writeNew(path: string, content: Uint8Array): void {
  try {
    writeFileSync(path, content, { mode: 0o600, flag: 'wx' });
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code === 'EEXIST' ? 'file_exists' : 'file_unwritable';
    throw new PkiError(code, `${path} cannot be written`, { cause });
  }
}
