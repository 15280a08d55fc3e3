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
        for (const { endpoint: name, step, mend } of failed)
          console.log(`\n${printable(`${name}, ${step}: ${mend}.`)}`);
      if (failed.length > 0) process.exitCode = 1;
    });
}

async function checkEndpoints(endpoint: string | undefined, path: string | undefined) {
  const { checkIntune } = await import('../ra/validators/intune-check.ts');
  const rows = [];
  for (const { name, validators } of loadServerConfig(path).endpoints) {
    if (endpoint !== undefined && endpoint !== name) continue;
    for (const { intune } of validators) {
      if (intune === undefined) continue;
      const results = await checkIntune({
        ...intuneConnectionOf(intune),
        revocation: intune.revocation === undefined ? 'unwanted' : 'wanted',
        providerNameAndVersion: PROVIDER_NAME_AND_VERSION,
      });
      rows.push(...results.map((result) => ({ endpoint: name, ...result })));
    }
  }
  if (rows.length === 0)
    throw new PkiError(
      'config_invalid',
      endpoint === undefined
        ? 'no endpoint asks Intune'
        : `there is no endpoint “${endpoint}” that asks Intune`,
    );
  return rows;
}
