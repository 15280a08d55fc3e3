/** `leafgate endpoint`: the SCEP endpoints of a configuration. */
import type { Command } from 'commander';
import { PkiError } from '../errors.ts';
import { type EndpointView, viewEndpoints } from '../parts/endpoints.ts';
import { systemClock } from '../telemetry.ts';
import { configOption, loadConfig } from './context.ts';
import { type ListingOptions, printRows } from './output.ts';

const columns = {
  endpoint: 'Endpoint',
  url: 'URL',
  ca: 'Issuing CA',
  template: 'Template',
  validators: 'Validators',
  client: 'Client',
  ra: 'RA',
  raEnds: 'RA ends',
  nextCa: 'Next CA',
};

/** Adds the command. */
export function addEndpoint(program: Command): void {
  program
    .command('endpoint')
    .description('the SCEP endpoints')
    .command('list')
    .description('each endpoint: where it is, what it issues, to whom, and when its RA certificates end')
    .option(...configOption)
    .option('--json', 'for machines: with all URLs and the keywords of GetCACaps')
    .action(async (options: ListingOptions & { readonly config?: string }) => {
      const { server } = loadConfig(options.config);
      if (server === undefined)
        throw new PkiError('config_invalid', 'the configuration has no `server` part');
      const views = await viewEndpoints(server, systemClock.now());
      const rows = options.json === true ? views.map((view) => ({ ...view })) : views.map(rowOf);
      printRows(rows, columns, options);
    });
}

function rowOf(view: EndpointView): Record<string, unknown> {
  const [url = '', ...more] = view.urls;
  return {
    ...view,
    url: more.length === 0 ? url : `${url} (+${more.length})`,
    // All of them must accept.
    validators: view.validators.join(' and '),
    raEnds: view.raEnds ?? 'not made yet',
  };
}
