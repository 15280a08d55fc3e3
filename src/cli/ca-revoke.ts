/** `leafgate ca revoke` and `release`: one certificate, or all that a search finds. */
import { createInterface } from 'node:readline/promises';
import { type Command, Option } from 'commander';
import type { CertificateAuthority } from '../ca/index.ts';
import { revocationReasons } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { CertificateCriteria, PkiStore, RevocationReason } from '../store/index.ts';
import {
  addSearch,
  certificateColumns,
  criteriaOf,
  factsOf,
  findCertificate,
  operator,
  type SearchOptions,
} from './ca-search.ts';
import { configOption, withAuthorities } from './context.ts';
import { isTerminal, printRows } from './output.ts';

/** Rows of what would be revoked that are shown before it is. */
const PREVIEW_ROWS = 10;
const BAR_CELLS = 30;

interface RevokeOptions extends SearchOptions {
  readonly config?: string;
  readonly reason: RevocationReason;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

/** Adds the commands. */
export function addCaRevoke(ca: Command): void {
  addSearch(
    ca
      .command('revoke')
      .description('revoke a certificate, or all that a search finds, and publish the CRL')
      .argument('[serialNumber]', 'one certificate')
      .option(...configOption),
  )
    .addOption(
      new Option('--reason <reason>', 'RFC 5280 §5.3.1; certificateHold can be released')
        .choices(Object.keys(revocationReasons))
        .default('unspecified'),
    )
    .option('--dry-run', 'say what would be revoked, and revoke nothing')
    .option('--yes', 'do not ask')
    .action(async (serialNumber: string | undefined, options: RevokeOptions) => {
      await withAuthorities(options.config, async ({ store, ca: authority }) => {
        if (isOne(serialNumber, options)) await revokeOne(store, authority, serialNumber, options);
        else await revokeMany(store, authority, serialNumber, options);
      });
    });
  ca.command('release')
    .description('release a certificate from hold, and publish the CRL')
    .argument('[serialNumber]')
    .option('--thumbprint <hash>', 'by its SHA-1 thumbprint')
    .option('--issuer <name>', 'of this issuing CA')
    .option(...configOption)
    .action(
      async (
        serialNumber: string | undefined,
        options: { readonly config?: string; readonly thumbprint?: string; readonly issuer?: string },
      ) => {
        await withAuthorities(options.config, async ({ store, ca: authority }) => {
          const { thumbprint, issuer } = options;
          const record = await findCertificate(store, { serialNumber, thumbprint, issuer });
          const result = await authority.release({
            issuer: record.issuer,
            serialNumber: record.serialNumber,
            actor: operator(),
            text: `released by ${operator()}`,
          });
          const crl = await publishedFor(authority, record);
          console.log(`${record.serialNumber}: ${result}; ${crl}`);
        });
      },
    );
}

/** Whether one certificate is named, by number or thumbprint, and nothing is searched. */
function isOne(serialNumber: string | undefined, options: RevokeOptions): boolean {
  const { issuer: _issuer, thumbprint, ...rest } = options;
  return (serialNumber !== undefined || thumbprint !== undefined) && criteriaOf(rest) === undefined;
}

async function revokeOne(
  store: PkiStore,
  authority: CertificateAuthority,
  serialNumber: string | undefined,
  { thumbprint, issuer, reason, dryRun }: RevokeOptions,
): Promise<void> {
  const record = await findCertificate(store, { serialNumber, thumbprint, issuer });
  if (dryRun === true) {
    printRows([factsOf(record)], certificateColumns, {});
    return;
  }
  const result = await authority.revoke({
    issuer: record.issuer,
    serialNumber: record.serialNumber,
    reason,
    actor: operator(),
    text: `revoked by ${operator()}`,
  });
  console.log(`${record.serialNumber}: ${result}; ${await publishedFor(authority, record)}`);
}

async function publishedFor(
  authority: CertificateAuthority,
  { issuer, crlPartition }: { readonly issuer: string; readonly crlPartition: number },
): Promise<string> {
  const own = (await authority.publishCrls(issuer)).filter(({ partition }) => partition === crlPartition);
  return own
    .map(({ kind, crlNumber }) => `${kind === 'full' ? 'CRL' : 'delta CRL'} number ${crlNumber}`)
    .join(', ');
}

async function revokeMany(
  store: PkiStore,
  authority: CertificateAuthority,
  serialNumber: string | undefined,
  options: RevokeOptions,
): Promise<void> {
  const criteria = criteriaOf(options);
  if (criteria === undefined || serialNumber !== undefined) {
    throw new PkiError(
      'command_invalid',
      'name one certificate by its serial number or --thumbprint, or search for many with the other options',
    );
  }
  const total = await preview(store, criteria);
  if (options.dryRun === true || total === 0) return;
  if (options.yes !== true && !(await isConfirmed(total))) {
    console.log('nothing was revoked');
    return;
  }
  let done = 0;
  for await (const revoked of authority.revokeAll(criteria, {
    reason: options.reason,
    actor: operator(),
    text: `revoked by ${operator()} with others`,
  })) {
    done += revoked;
    report(done, total);
  }
  if (isTerminal()) process.stdout.write('\n');
  for (const issuer of authority.issuers) {
    if (criteria.issuer !== undefined && criteria.issuer !== issuer.name) continue;
    for (const { partition, kind, crlNumber } of await authority.publishCrls(issuer.name))
      console.log(`${issuer.name}: ${kind} CRL of partition ${partition}: number ${crlNumber}`);
  }
}

/** Tells how many there are and shows the newest of them. */
async function preview(store: PkiStore, criteria: CertificateCriteria): Promise<number> {
  const issued = { ...criteria, status: 'issued' } as const;
  const total = await store.countCertificates(issued);
  console.log(`${total} ${total === 1 ? 'certificate' : 'certificates'} issued and not revoked`);
  if (total === 0) return 0;
  const rows = await store.certificates({ ...issued, limit: PREVIEW_ROWS });
  printRows(rows.map(factsOf), certificateColumns, {});
  if (total > rows.length) console.log(`and ${total - rows.length} more`);
  return total;
}

/**
 * Asks a person to type the number; a program must say --yes.
 *
 * @throws PkiError `command_invalid` if nobody can be asked.
 */
async function isConfirmed(total: number): Promise<boolean> {
  if (!isTerminal() || process.stdin.isTTY !== true)
    throw new PkiError('command_invalid', 'nobody is there to ask: add --yes, or --dry-run to look first');
  const dialogue = createInterface({ input: process.stdin, output: process.stdout });
  try {
    return (await dialogue.question(`Type ${total} to revoke them: `)).trim() === String(total);
  } finally {
    dialogue.close();
  }
}

/** A bar on a terminal, a line for each page elsewhere. */
function report(done: number, total: number): void {
  if (!isTerminal()) {
    console.log(`${done} of ${total} revoked`);
    return;
  }
  // Others may be revoked by someone else meanwhile.
  const filled = Math.min(BAR_CELLS, Math.round((done / Math.max(total, 1)) * BAR_CELLS));
  const bar = `${'█'.repeat(filled)}${'░'.repeat(BAR_CELLS - filled)}`;
  process.stdout.write(`\r${bar} ${done} of ${total} revoked`);
}
