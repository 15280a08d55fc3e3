/** `leafgate ca list` and `ca failed`: the views of a CA administrator (certsrv.msc's nodes). */
import { Argument, type Command, InvalidArgumentError } from 'commander';
import { PkiError } from '../errors.ts';
import type { CertificateStatus, PkiStore, StoredAuditEntry } from '../store/index.ts';
import {
  addSearch,
  certificateColumns,
  criteriaOf,
  factsOf,
  revokedColumns,
  type SearchOptions,
} from './ca-search.ts';
import { configOption, withAuthorities, withStore } from './context.ts';
import { type ListingOptions, positiveInteger, printRows } from './output.ts';

/** The views, and the status that each shows. */
const statusByView = {
  all: undefined,
  issued: 'issued',
  revoked: 'revoked',
  unfinished: 'intent',
  abandoned: 'abandoned',
} as const satisfies Record<string, CertificateStatus | undefined>;

const views = [...Object.keys(statusByView), 'templates'];

/** Views of certsrv.msc that are commands here: they list requests and not certificates. */
const commandByView: Readonly<Record<string, string>> = { pending: 'ca pending', failed: 'ca failed' };

function viewOf(text: string): string {
  if (views.includes(text)) return text;
  const command = commandByView[text];
  throw new InvalidArgumentError(
    command === undefined
      ? `Allowed choices are ${views.join(', ')}.`
      : `Requests have a command of their own: leafgate ${command}`,
  );
}

const failedColumns = {
  number: 'Number',
  at: 'Time',
  code: 'Reason',
  reference: 'Reference',
  device: 'Device',
  text: 'Text',
};

const templateColumns = {
  name: 'Certificate template',
  displayName: 'Display name',
  keyAlgorithms: 'Keys',
  extKeyUsage: 'Purposes',
};

interface ViewOptions extends ListingOptions, SearchOptions {
  readonly config?: string;
  readonly limit: number;
  readonly after?: number;
}

interface Page {
  readonly limit: number;
  readonly after?: number;
}

/** Adds the commands. */
export function addCaViews(ca: Command): void {
  addSearch(
    ca
      .command('list')
      .description('certificates, newest first; or the templates')
      .addArgument(new Argument('[view]', 'what to list').choices(views).argParser(viewOf).default('all'))
      .option(...configOption),
  )
    .option('--after <id>', 'the next page: after the last Request ID of this one', positiveInteger)
    .option('--limit <n>', 'at most this many', positiveInteger, 50)
    .option('--json', 'for machines')
    .action(async (view: string, options: ViewOptions) => {
      await withAuthorities(options.config, async ({ store, ca: authority }) => {
        const criteria = criteriaOf(options);
        const page = {
          limit: options.limit,
          ...(options.after === undefined ? {} : { after: options.after }),
        };
        if (view === 'templates') {
          if (criteria !== undefined)
            throw new PkiError('command_invalid', `the view ${view} takes no search for certificates`);
          printRows(authority.templates as unknown as Record<string, unknown>[], templateColumns, options);
          return;
        }
        const status = statusByView[view as keyof typeof statusByView];
        const records = await store.certificates({
          ...criteria,
          ...page,
          ...(status === undefined ? {} : { status }),
        });
        printRows(records.map(factsOf), view === 'revoked' ? revokedColumns : certificateColumns, options);
      });
    });
  ca.command('failed')
    .description('requests that were refused, denied or failed, newest first')
    .option(...configOption)
    .option('--after <number>', 'the next page: after the last Number of this one', positiveInteger)
    .option('--limit <n>', 'at most this many', positiveInteger, 50)
    .option('--json', 'for machines')
    .action(async (options: ListingOptions & Page & { readonly config?: string }) => {
      await withStore(options.config, async (store) => {
        printRows((await failed(store, options)).map(failedRow), failedColumns, options);
      });
    });
}

/** Requests that were denied or failed, from the audit log. */
async function failed(store: PkiStore, { limit, after }: Page): Promise<StoredAuditEntry[]> {
  const found: StoredAuditEntry[] = [];
  let from = after;
  while (found.length < limit) {
    const entries = await store.auditEntries({
      event: 'enrolment.',
      limit,
      ...(from === undefined ? {} : { after: from }),
    });
    found.push(...entries.filter(({ code }) => code !== ''));
    if (entries.length < limit) break;
    from = entries.at(-1)?.number;
  }
  return found.slice(0, limit);
}

function failedRow({ detail, ...entry }: StoredAuditEntry): Record<string, unknown> {
  return { ...entry, device: detail.device ?? '', detail };
}
