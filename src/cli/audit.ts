/** `leafgate audit`: what happened, and why something was refused. */
import type { Command } from 'commander';
import { verifySignedAuditLog } from '../parts/audit-signer.ts';
import { assertWhole } from '../store/index.ts';
import { configOption, withAuthorities } from './context.ts';
import { type ListingOptions, positiveInteger, printFacts, printRows } from './output.ts';

const columns = {
  at: 'Time',
  event: 'Event',
  code: 'Reason',
  reference: 'Reference',
  actor: 'Actor',
  text: 'Text',
  detail: 'Detail',
};

/** Adds the command. */
export function addAudit(program: Command): void {
  const audit = program.command('audit').description('the audit list');
  audit
    .command('list')
    .description('events, newest first')
    .option(...configOption)
    .option('--event <prefix>', 'only events that begin so: enrolment.refused, certificate., edge.')
    .option('--reference <LG-…>', 'the event that a refused device was told about')
    .option('--limit <n>', 'at most this many', positiveInteger, 50)
    .option('--json', 'for machines')
    .action(
      async (
        options: ListingOptions & { config?: string; event?: string; reference?: string; limit: number },
      ) => {
        await withAuthorities(options.config, async ({ store }) => {
          const { event, reference, limit } = options;
          const entries = await store.auditEntries({
            limit,
            ...(event === undefined ? {} : { event }),
            ...(reference === undefined ? {} : { reference }),
          });
          printRows(entries as unknown as Record<string, unknown>[], columns, options);
        });
      },
    );
  audit
    .command('verify')
    .description('recompute the chain of hashes and the signed checkpoints; names the first damaged entry')
    .option(...configOption)
    .option('--json', 'for machines')
    .action(async (options: ListingOptions & { config?: string }) => {
      await withAuthorities(options.config, async ({ store, issuers }) => {
        const found = await verifySignedAuditLog(store, issuers);
        if (options.json === true) printFacts({ ...found }, options);
        assertWhole(found);
        if (options.json !== true)
          console.log(
            `${found.entries} entries up to number ${found.last} and ${found.checkpoints} checkpoints are whole`,
          );
      });
    });
}
