/** `leafgate config`: checks a configuration and explains its keys. */
import type { Command } from 'commander';
import { PkiError } from '../errors.ts';
import { configReference } from './config-reference.ts';
import { configOption, loadConfig } from './context.ts';

/** Places that are named for a key that is not there. */
const PLACES_MAX = 5;

/** Adds the command. */
export function addConfig(program: Command): void {
  const config = program.command('config').description('check and explain the configuration');
  config
    .command('check')
    .description('read the configuration and say whether it is valid')
    .option(...configOption)
    .action((options: { readonly config?: string }) => {
      const parts = Object.keys(loadConfig(options.config)).filter((key) => key !== 'log');
      console.log(`valid: ${parts.join(', ')}`);
    });
  config
    .command('explain')
    .description('say what a key means: leafgate config explain server.issuers.crlPeriod')
    .argument('[key]', 'key with dots; all keys if absent', '')
    .action((key: string) => {
      // The marks of lists may be left out: server.issuers.crlPeriod is server.issuers[].crlPeriod.
      const bare = (text: string) => text.replaceAll('[]', '');
      const wanted = bare(key);
      const known = configReference();
      const rows = known.filter((row) => wanted === '' || `${bare(row.key)}.`.startsWith(`${wanted}.`));
      if (rows.length === 0) {
        // Whoever remembers the last word alone finds where it stands.
        const word = wanted.split('.').at(-1);
        const places = new Set(
          known.flatMap((row) => {
            const steps = row.key.split('.');
            const at = steps.findIndex((step) => bare(step) === word);
            return at < 0 ? [] : [steps.slice(0, at + 1).join('.')];
          }),
        );
        const found = [...places].slice(0, PLACES_MAX).join(', ');
        throw new PkiError(
          'command_invalid',
          `there is no key “${key}”${found === '' ? '' : `; did you mean ${found}?`}`,
        );
      }
      for (const row of rows) {
        const fallback = row.fallback === undefined ? '' : ` (default ${row.fallback})`;
        console.log(
          `${row.key}${row.required ? '' : '?'}${fallback}${row.text === '' ? '' : `  ${row.text}`}`,
        );
      }
    });
}
