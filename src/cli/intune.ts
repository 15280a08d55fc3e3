/** `leafgate intune`: the connection of the endpoints to Microsoft Intune. */
import type { Command } from 'commander';
import { PkiError } from '../errors.ts';
import { intuneConnectionOf, PROVIDER_NAME_AND_VERSION } from '../parts/validators.ts';
import { configOption, loadServerConfig } from './context.ts';
import { type ListingOptions, printable, printRows } from './output.ts';

const columns = { endpoint: 'Endpoint', step: 'Check', outcome: 'Outcome', detail: 'Detail' };

/** Adds the command. */
export function addIntune(program: Command): void {
  program
    .command('intune')
    .description('the connection to Microsoft Intune')
    .command('check')
    .argument('[endpoint]', 'one endpoint; all that ask Intune if absent')
    .description('tries sign-in, permissions, discovery and Intune’s services, and says what to mend')
    .option(...configOption)
    .option('--json', 'for machines')
    .action(async (endpoint: string | undefined, options: ListingOptions & { readonly config?: string }) => {
      const rows = await checkEndpoints(endpoint, options.config);
      printRows(rows, columns, options);
      const failed = rows.filter(({ outcome }) => outcome === 'failed');
      if (options.json !== true)
        // Whole, for on a terminal the table cuts what is long.
        for (const { endpoint: name, step, detail, mend } of failed)
          console.log(`\n${printable(`${name}, ${step}: ${detail}`)}\nhint: ${printable(mend)}.`);
      if (options.json !== true && failed.length === 0) console.log('all is well');
      if (failed.length > 0) process.exitCode = 1;
    });
}

async function checkEndpoints(endpoint: string | undefined, path: string | undefined) {
  const { checkIntune } = await import('../ra/validators/intune-check.ts');
  const asking = loadServerConfig(path).endpoints.flatMap(({ name, validators }) =>
    validators.flatMap(({ intune }) => (intune === undefined ? [] : [{ name, intune }])),
  );
  if (asking.length === 0) throw new PkiError('command_invalid', 'no endpoint has the intune validator');
  const wanted = asking.filter(({ name }) => endpoint === undefined || name === endpoint);
  if (wanted.length === 0)
    throw new PkiError(
      'command_invalid',
      `there is no endpoint “${endpoint}” with the intune validator; there is ${asking.map(({ name }) => `“${name}”`).join(', ')}`,
    );
  const rows = [];
  for (const { name, intune } of wanted) {
    const results = await checkIntune({
      ...intuneConnectionOf(intune),
      revocation: intune.revocation === undefined ? 'unwanted' : 'wanted',
      providerNameAndVersion: PROVIDER_NAME_AND_VERSION,
    });
    rows.push(...results.map((result) => ({ endpoint: name, ...result })));
  }
  return rows;
}
