/** `leafgate admin`: who may sign in to the admin API. */
import { type Command, Option } from 'commander';
import { createAdminToken, type Role, roles } from '../admin/index.ts';
import { PkiError } from '../errors.ts';
import { systemClock } from '../telemetry.ts';
import { operator } from './ca-search.ts';
import { configOption, withAuthorities } from './context.ts';
import { asCommand, type ListingOptions, positiveInteger, printFacts, printRows } from './output.ts';

const DAY_MS = 86_400_000;

const columns = {
  name: 'Name',
  roles: 'Roles',
  endpoints: 'Endpoints',
  createdAt: 'Made',
  expiresAt: 'Expires',
};

interface TokenOptions extends ListingOptions {
  readonly config?: string;
  readonly role: readonly Role[];
  readonly endpoint?: readonly string[];
  readonly days: number;
}

/** Adds the commands. */
export function addAdmin(program: Command): void {
  const token = program
    .command('admin')
    .description('the admin API')
    .command('token')
    .description('tokens that open the admin API');
  token
    .command('create')
    .description('make a token; it is shown once')
    .argument('<name>', 'who signs in by it, as the audit list shows: lower-case letters, digits, hyphens')
    .addOption(new Option('--role <role...>', 'what it may do').choices(roles).makeOptionMandatory())
    .option('--endpoint <name...>', 'make challenges for these endpoints alone')
    .option('--days <n>', 'lifetime', positiveInteger, 365)
    .option(...configOption)
    .option('--json', 'for machines')
    .action(async (name: string, options: TokenOptions) => {
      const [first, ...more] = options.role;
      if (first === undefined) throw new PkiError('command_invalid', '--role: at least one');
      await withAuthorities(options.config, async ({ store }, config) => {
        for (const endpoint of options.endpoint ?? []) {
          if (!config.endpoints.some((item) => item.name === endpoint))
            throw new PkiError('command_invalid', `there is no endpoint “${endpoint}”`);
        }
        const made = await asCommand(() =>
          createAdminToken(
            store,
            systemClock,
            { name, roles: [first, ...more], endpoints: options.endpoint, lifetimeMs: options.days * DAY_MS },
            operator(),
          ),
        );
        printFacts({ token: made.token, expires: made.expiresAt }, options);
      });
    });
  token
    .command('list')
    .description('all tokens, without their secrets')
    .option(...configOption)
    .option('--json', 'for machines')
    .action(async (options: ListingOptions & { readonly config?: string }) => {
      await withAuthorities(options.config, async ({ store }) => {
        const rows = (await store.adminTokens()).map(({ secretHash: _, ...facts }) => facts);
        printRows(rows, columns, options);
      });
    });
  token
    .command('delete')
    .description('delete a token; it opens nothing from then on')
    .argument('<name>')
    .option(...configOption)
    .action(async (name: string, options: { readonly config?: string }) => {
      await withAuthorities(options.config, async ({ store }) => {
        const outcome = await store.deleteAdminToken(name, {
          at: systemClock.now(),
          event: 'admin.token-deleted',
          actor: operator(),
          reference: '',
          code: '',
          text: `the token ${name} opens nothing any more`,
          detail: { token: name },
        });
        if (outcome === 'unknown') throw new PkiError('command_invalid', `there is no token “${name}”`);
        console.log(`${name}: ${outcome}`);
      });
    });
}
