/** `leafgate ca pending`, `approve`, `deny`: what a certificate manager does. None of them opens a key. */
import { type Command, InvalidArgumentError } from 'commander';
import { PkiError } from '../errors.ts';
import { decideAbout } from '../ra/index.ts';
import type { HeldRecord, PkiStore } from '../store/index.ts';
import { operator } from './ca-search.ts';
import { configOption, withStore } from './context.ts';
import { type ListingOptions, positiveInteger, printFacts, printRows } from './output.ts';

const statuses = ['pending', 'approved', 'denied', 'issued', 'expired', 'all'] as const;
type Status = (typeof statuses)[number];

/** Characters of a comment: an audit entry is not a file. */
const COMMENT_CHARACTERS_MAX = 1000;

const pendingColumns = {
  id: 'ID',
  status: 'Status',
  acceptedAt: 'Received',
  endpoint: 'Endpoint',
  template: 'Certificate template',
  device: 'Device',
  subject: 'Subject',
  subjectAltName: 'Subject alternative name',
  expiresAt: 'Waits until',
};

interface PendingOptions extends ListingOptions {
  readonly config?: string;
  readonly status: Status;
  readonly endpoint?: string;
  readonly after?: number;
  readonly limit: number;
}

/** Adds the commands. */
export function addCaApproval(ca: Command): void {
  ca.command('pending')
    .description('requests that wait for a certificate manager, newest first; or everything about one')
    .argument('[id]', 'this one', positiveInteger)
    .option(...configOption)
    .option('--status <status>', `one of ${statuses.join(', ')}`, status, 'pending')
    .option('--endpoint <name>', 'only those that came to this endpoint')
    .option('--after <id>', 'the next page: after the last ID of this one', positiveInteger)
    .option('--limit <n>', 'at most this many', positiveInteger, 50)
    .option('--json', 'for machines')
    .action(async (id: number | undefined, options: PendingOptions) => {
      await withStore(options.config, async (store) => {
        if (id === undefined) {
          printRows((await requestsIn(store, options, new Date())).map(factsOf), pendingColumns, options);
          return;
        }
        const held = await store.heldRequest({ id });
        if (held === undefined) throw new PkiError('request_unknown', `there is no request ${id}`);
        printFacts(factsOf({ ...held, status: statusOf(held, new Date()) }), options);
      });
    });
  ca.command('approve')
    .description('let a request through that waits; its certificate is made when the device asks next')
    .argument('<id>', 'as `ca pending` lists it', positiveInteger)
    .option(...configOption)
    .option('--comment <text>', 'why, for the audit list', comment, '')
    .option('--json', 'for machines')
    .action(
      async (
        id: number,
        options: ListingOptions & { readonly config?: string; readonly comment: string },
      ) => {
        await decide(id, 'approved', options.comment, options);
      },
    );
  ca.command('deny')
    .description('refuse a request that waits, for good')
    .argument('<id>', 'as `ca pending` lists it', positiveInteger)
    .option(...configOption)
    .requiredOption('--reason <text>', 'why, for the audit list; the device is not told', reason)
    .option('--json', 'for machines')
    .action(
      async (id: number, options: ListingOptions & { readonly config?: string; readonly reason: string }) => {
        await decide(id, 'denied', options.reason, options);
      },
    );
}

async function decide(
  id: number,
  decision: 'approved' | 'denied',
  words: string,
  options: ListingOptions & { readonly config?: string },
): Promise<void> {
  await withStore(options.config, async (store) => {
    const by = operator();
    const held = await decideAbout(store, { id, status: decision, by, comment: words, at: new Date() });
    if (options.json === true) printFacts(factsOf(held), options);
    else {
      const what = [held.subject, held.subjectAltName].filter((part) => part !== '').join('; ');
      printFacts(
        { [`request ${id}`]: decision, for: what, device: held.device, endpoint: held.endpoint },
        {},
      );
    }
  });
}

/** A request as it is shown; `expired` is one that nobody can decide about any more. */
type Shown = Omit<HeldRecord, 'status'> & { readonly status: HeldRecord['status'] | 'expired' };

/** A page of requests. Whether a pending one has expired the clock says, and not the store. */
async function requestsIn(
  store: PkiStore,
  { status: wanted, endpoint, after, limit }: PendingOptions,
  now: Date,
): Promise<Shown[]> {
  const found: Shown[] = [];
  let from = after;
  while (found.length < limit) {
    const page = await store.heldRequests({
      limit,
      ...(wanted === 'all' ? {} : { status: wanted === 'expired' ? 'pending' : wanted }),
      ...(endpoint === undefined ? {} : { endpoint }),
      ...(from === undefined ? {} : { after: from }),
    });
    const shown = page.map((held) => ({ ...held, status: statusOf(held, now) }));
    found.push(...shown.filter((held) => wanted === 'all' || held.status === wanted));
    if (page.length < limit) break;
    from = page.at(-1)?.id;
  }
  return found.slice(0, limit);
}

function statusOf(held: HeldRecord, now: Date): Shown['status'] {
  return held.status === 'pending' && held.expiresAt <= now ? 'expired' : held.status;
}

/** What is shown of a request: everything but what is sealed, and what only the RA compares. */
function factsOf(held: Shown): Record<string, unknown> {
  const { sealed: _sealed, replayKey: _replayKey, requestHash: _requestHash, ...facts } = held;
  return facts;
}

function status(text: string): Status {
  const known = statuses.find((item) => item === text);
  if (known === undefined) throw new InvalidArgumentError(`one of ${statuses.join(', ')}`);
  return known;
}

function comment(text: string): string {
  if (text.length > COMMENT_CHARACTERS_MAX)
    throw new InvalidArgumentError(`at most ${COMMENT_CHARACTERS_MAX} characters`);
  return text;
}

function reason(text: string): string {
  if (text.trim() === '') throw new InvalidArgumentError('say why');
  return comment(text);
}
