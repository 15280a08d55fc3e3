/** `leafgate endpoint`: the SCEP endpoints of a configuration. */
import type { Command } from 'commander';
import { PkiError } from '../errors.ts';
import { type EndpointView, viewEndpoints } from '../parts/endpoints.ts';
import { selfTestUrl, testEndpoint } from '../parts/self-test.ts';
import { openLog, systemClock } from '../telemetry.ts';
import { configOption, loadConfig, withAuthorities } from './context.ts';
import { type ListingOptions, printFacts, printRows } from './output.ts';

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
  const endpoint = program.command('endpoint').description('the SCEP endpoints');
  endpoint
    .command('test')
    .description('enrol at an endpoint of the running server as its self-test does, and say how it went')
    .argument('<endpoint>', 'name of the endpoint')
    .option(...configOption)
    .option('--json', 'for machines')
    .action(async (name: string, options: ListingOptions & { readonly config?: string }) => {
      const result = await withAuthorities(options.config, async (authorities, server) => {
        const tested = server.endpoints.find((item) => item.name === name);
        if (tested === undefined) throw new PkiError('config_invalid', `there is no endpoint “${name}”`);
        const log = openLog('error', 'cli');
        const url = selfTestUrl(server, tested);
        return await testEndpoint(server, tested, url, authorities, { clock: systemClock, log });
      });
      printFacts({ ...result }, options);
      if (result.outcome === 'fails') process.exitCode = 1;
    });
  endpoint
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
