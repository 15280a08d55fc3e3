/** `leafgate backup`, `restore`, `prune`, `export`: what an operator does to the store. */
import { createWriteStream, existsSync } from 'node:fs';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import type { Command } from 'commander';
import { PkiError } from '../errors.ts';
import { databaseOf, type ServerConfig } from '../parts/authorities.ts';
import {
  backupStore,
  CRL_NUMBER_STEP,
  lockDataFolder,
  openPkiStore,
  type PkiStore,
  restoreStore,
} from '../store/index.ts';
import { operator } from './ca-search.ts';
import { configOption, loadServerConfig, withStore } from './context.ts';
import { type ListingOptions, positiveInteger, printFacts } from './output.ts';

interface ConfigChoice extends ListingOptions {
  readonly config?: string;
}

const jsonOption = ['--json', 'for machines'] as const;

const DAY_MS = 86_400_000;
const EXPORT_PAGE = 1000;

/** Adds the commands. */
export function addStore(program: Command): void {
  program
    .command('backup')
    .description('copy the database while the server runs, and verify the copy')
    .argument('<file>', 'a new file; its manifest is put beside it as FILE.json')
    .option(...configOption)
    .option(...jsonOption)
    .action(async (file: string, options: ConfigChoice) => {
      const database = databaseOf(loadServerConfig(options.config));
      if ('postgres' in database) {
        const { host, port, database: name, user } = database.postgres;
        throw new PkiError(
          'backup_failed',
          `PostgreSQL has its own: pg_dump --format=custom --host=${host} --port=${port} --username=${user} --file=${file} ${name}`,
        );
      }
      printFacts({ file, ...(await backupStore(database.sqlite, file, new Date())) }, options);
    });
  program
    .command('restore')
    .description('put a backup in the place of the database; the server must be stopped')
    .argument('[file]', 'what `backup` has written; for PostgreSQL nothing: run this after pg_restore')
    .option(...configOption)
    .option('--set-aside', 'a database that is there is renamed, and kept')
    .option(...jsonOption)
    .action(async (file: string | undefined, options: ConfigChoice & { readonly setAside?: boolean }) => {
      const config = loadServerConfig(options.config);
      const lock = lockDataFolder(join(config.dataFolder, 'server.lock'));
      try {
        const existing = options.setAside === true ? 'set-aside' : 'refuse';
        printFacts(await restore(config, file, existing), options);
      } finally {
        lock.release();
      }
    });
  program
    .command('prune')
    .description('remove what is long expired; only counts it, unless told to')
    .option(...configOption)
    .option('--expired-days <n>', 'certificates that expired so long ago', positiveInteger, 365)
    .option('--audit-days <n>', 'audit entries before a checkpoint of that age', positiveInteger, 3650)
    .option('--delete', 'do it')
    .option(...jsonOption)
    .action(
      async (
        options: ConfigChoice & {
          readonly expiredDays: number;
          readonly auditDays: number;
          readonly delete?: boolean;
        },
      ) => {
        await withStore(options.config, async (store) => {
          const now = Date.now();
          const rule = {
            expiredBefore: new Date(now - options.expiredDays * DAY_MS),
            auditBefore: new Date(now - options.auditDays * DAY_MS),
          };
          if (options.delete !== true) {
            printFacts({ ...(await store.prunable(rule)), removed: false }, options);
            if (options.json !== true) console.log('nothing was removed; --delete does it');
            return;
          }
          const pruned = await store.prune(rule);
          await store.appendAudit({
            at: new Date(),
            event: 'store.pruned',
            actor: operator(),
            reference: '',
            code: '',
            text: 'what the retention policy lets go was removed',
            detail: {
              expiredBefore: rule.expiredBefore.toISOString(),
              auditBefore: rule.auditBefore.toISOString(),
              ...Object.fromEntries(Object.entries(pruned).map(([what, count]) => [what, String(count)])),
            },
          });
          printFacts({ ...pruned, removed: true }, options);
        });
      },
    );
  program
    .command('export')
    .description('all certificates and audit entries, one JSON object a line')
    .argument('<file>', 'a new file')
    .option(...configOption)
    .option(...jsonOption)
    .action(async (file: string, options: ConfigChoice) => {
      await withStore(options.config, async (store) => {
        if (existsSync(file))
          throw new PkiError('backup_failed', `${file} exists; an export replaces nothing`);
        const output = createWriteStream(file, { flags: 'wx', mode: 0o600 });
        const done = finished(output);
        const counts = { certificate: 0, audit: 0 };
        for await (const line of linesOf(store)) {
          counts[line.type] += 1;
          showProgress(counts);
          if (!output.write(`${JSON.stringify(line)}\n`) && output.errored === null)
            await Promise.race([new Promise((resolve) => output.once('drain', resolve)), done]);
        }
        output.end();
        await done;
        if (process.stderr.isTTY) process.stderr.write('\n');
        const { certificate: certificates, audit: auditEntries } = counts;
        printFacts({ file, certificates, auditEntries, octets: output.bytesWritten }, options);
      });
    });
}

async function restore(
  config: ServerConfig,
  file: string | undefined,
  existing: 'refuse' | 'set-aside',
): Promise<Record<string, unknown>> {
  const issuers = config.issuers.map(({ name }) => name);
  const database = databaseOf(config);
  const at = new Date();
  if ('sqlite' in database) {
    if (file === undefined) throw new PkiError('backup_failed', 'which file?');
    const request = { file, database: database.sqlite, existing, issuers, at, actor: operator() };
    const { manifest, setAside } = await restoreStore(request);
    return { ...manifest, crlNumberStep: CRL_NUMBER_STEP, ...(setAside === undefined ? {} : { setAside }) };
  }
  if (file !== undefined)
    throw new PkiError('backup_failed', 'restore PostgreSQL by pg_restore, then run this without a file');
  const store = await openPkiStore(database);
  try {
    await store.resumeAfterRestore({
      issuers,
      crlNumberStep: CRL_NUMBER_STEP,
      audit: {
        at,
        event: 'store.restored',
        actor: operator(),
        reference: '',
        code: '',
        text: 'the store was restored by pg_restore; what happened after its backup is not known to it',
        detail: { crlNumberStep: String(CRL_NUMBER_STEP) },
      },
    });
    return { issuers, crlNumberStep: CRL_NUMBER_STEP };
  } finally {
    await store.close();
  }
}

/** On a terminal, now and then; what is written goes elsewhere. */
function showProgress({
  certificate,
  audit,
}: {
  readonly certificate: number;
  readonly audit: number;
}): void {
  if (process.stderr.isTTY && (certificate + audit) % EXPORT_PAGE === 0)
    process.stderr.write(`\r${certificate} certificates, ${audit} audit entries`);
}

async function* linesOf(
  store: PkiStore,
): AsyncGenerator<{ readonly type: 'certificate' | 'audit'; readonly [key: string]: unknown }> {
  let after: number | undefined;
  for (;;) {
    const page = await store.certificates({ limit: EXPORT_PAGE, ...(after === undefined ? {} : { after }) });
    for (const { certificate, ...record } of page) {
      const der =
        certificate === undefined ? {} : { certificate: Buffer.from(certificate).toString('base64') };
      yield { type: 'certificate', ...record, ...der };
    }
    if (page.length < EXPORT_PAGE) break;
    after = page.at(-1)?.id;
  }
  let number = (await store.auditStart()).number;
  for (;;) {
    const page = await store.auditChain({ after: number, limit: EXPORT_PAGE });
    for (const { detailJson, hash, ...entry } of page) {
      yield {
        type: 'audit',
        ...entry,
        detail: JSON.parse(detailJson),
        hash: Buffer.from(hash).toString('hex'),
      };
    }
    if (page.length < EXPORT_PAGE) return;
    number = page.at(-1)?.number ?? number;
  }
}
