/** `leafgate ca publish`: brings CRLs and CA certificates to every target now, or checks what is there. */
import type { Command } from 'commander';
import type { Config } from '../config.ts';
import { PkiError } from '../errors.ts';
import type { Authorities } from '../parts/authorities.ts';
import { openTargets, publishedNow, publishedUrls } from '../parts/publishing.ts';
import { checkUrls, compareAll, type Publication, publishAll } from '../publish/index.ts';
import { systemClock } from '../telemetry.ts';
import { configOption, withAuthorities } from './context.ts';
import { type ListingOptions, printRows } from './output.ts';

const columns = {
  target: 'Target',
  object: 'Object',
  outcome: 'Outcome',
  number: 'Number',
  nextUpdate: 'Next update',
  text: 'Detail',
};

type Row = { readonly [key in keyof typeof columns]?: string | number | Date };

/** Bound of the work on one target. */
const TARGET_MS_MAX = 120_000;

/** Adds the command below `ca`. */
export function addCaPublish(ca: Command): void {
  ca.command('publish')
    .description('bring CRLs and CA certificates to every target now; exit status 1 if one failed')
    .option(...configOption)
    .option('--check', 'write nothing: compare what targets hold and what the URLs in certificates serve')
    .option('--json', 'for machines')
    .action(async (options: ListingOptions & { readonly config?: string; readonly check?: boolean }) => {
      await withAuthorities(options.config, async (authorities, config) => {
        const rows =
          options.check === true ? await check(authorities, config) : await publish(authorities, config);
        printRows(rows, columns, options);
        const good = ['published', 'unchanged', 'served', 'older'];
        if (rows.some(({ outcome }) => !good.includes(String(outcome)))) process.exitCode = 1;
      });
    });
}

async function publish(authorities: Authorities, config: NonNullable<Config['server']>): Promise<Row[]> {
  if (config.publish === undefined) {
    throw new PkiError('config_invalid', 'server.publish: there is no target to publish to');
  }
  for (const { name } of authorities.issuers) await authorities.ca.publishCrls(name);
  const objects = (await publishedNow(config, authorities)).map(({ object }) => object);
  const now = systemClock.now();
  const publications = await Promise.all(
    (await openTargets(config)).map((target) =>
      publishAll(target, objects, now, AbortSignal.timeout(TARGET_MS_MAX)),
    ),
  );
  return publications.flat().map(rowOf);
}

async function check(authorities: Authorities, config: NonNullable<Config['server']>): Promise<Row[]> {
  const shown = await publishedNow(config, authorities);
  const objects = shown.map(({ object }) => object);
  const publications = await Promise.all(
    (await openTargets(config)).map((target) =>
      compareAll(target, objects, AbortSignal.timeout(TARGET_MS_MAX)),
    ),
  );
  const findings = await checkUrls(publishedUrls(shown), systemClock.now());
  return [
    ...publications.flat().map(rowOf),
    ...findings.map(({ url, object, verdict, text }) => ({
      target: url,
      object,
      outcome: verdict,
      ...(text === undefined ? {} : { text }),
    })),
  ];
}

function rowOf({ number, ...rest }: Publication): Row {
  if (number === undefined) return rest;
  // A root's CRL number may be of up to 20 octets; JSON knows no such numbers.
  return { ...rest, number: number <= Number.MAX_SAFE_INTEGER ? Number(number) : String(number) };
}
