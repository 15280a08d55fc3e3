/** `leafgate migrate`: from another PKI's own exports to a configuration. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { parseConfig } from '../config.ts';
import { PkiError } from '../errors.ts';
import {
  buildExpiryTable,
  buildMigrationReport,
  buildProposedConfiguration,
  caSettingsOf,
  connectorSettingsOf,
  type DateOrder,
  decodeWindowsText,
  ndesSettingsOf,
  parseIssuedDump,
  parseRegistryFile,
  parseTemplateDump,
  planMigration,
} from '../migrate/index.ts';
import { systemClock } from '../telemetry.ts';
import { fileOctets } from './input.ts';
import { type ListingOptions, printFacts } from './output.ts';

interface NdesOptions extends ListingOptions {
  readonly registry: readonly string[];
  readonly templates: string;
  readonly issued?: string;
  readonly dateOrder?: DateOrder;
  readonly output: string;
}

/** Adds the command. */
export function addMigrate(program: Command): void {
  program
    .command('migrate')
    .description('from another PKI to this one')
    .command('ndes')
    .description('propose a configuration from the text exports of an NDES server and its CA')
    .requiredOption(
      '--registry <files...>',
      'exports (.reg) of HKLM\\SOFTWARE\\Microsoft\\Cryptography\\MSCEP, the CA’s CertSvc\\Configuration, Intune’s connector',
    )
    .requiredOption('--templates <file>', 'output of: certutil -v -template (or -dstemplate)')
    .option('--issued <file>', 'output of: certutil -view, as text or csv')
    .addOption(new Option('--date-order <order>', 'of the dates in it').choices(['dmy', 'mdy', 'ymd']))
    .requiredOption('-o, --output <folder>', 'new folder for leafgate.yaml, report.md and certificates.csv')
    .option('--json', 'for machines')
    .action((options: NdesOptions) => {
      const now = systemClock.now();
      const values = options.registry.flatMap((path) => parsed(path, parseRegistryFile));
      const { issued, dateOrder } = options;
      const plan = planMigration(
        {
          ndes: ndesSettingsOf(values),
          cas: caSettingsOf(values),
          connector: connectorSettingsOf(values),
          templates: parsed(options.templates, parseTemplateDump),
          issued: issued === undefined ? [] : parsed(issued, (text) => parseIssuedDump(text, dateOrder)),
        },
        now,
      );
      const yaml = buildProposedConfiguration(plan);
      // What the server would refuse is no proposal.
      parseConfig(yaml, options.output);
      try {
        mkdirSync(options.output);
      } catch (cause) {
        throw new PkiError(
          'config_invalid',
          `cannot make the folder ${options.output}; it must be a new one`,
          { cause },
        );
      }
      const files = {
        'leafgate.yaml': yaml,
        'report.md': buildMigrationReport(plan, now),
        'certificates.csv': buildExpiryTable(plan),
      };
      for (const [name, content] of Object.entries(files)) writeFileSync(join(options.output, name), content);
      if (options.json === true) {
        console.log(JSON.stringify(plan, null, 2));
        return;
      }
      const count = (kind: string) => plan.notes.filter((note) => note.kind === kind).length;
      printFacts(
        {
          written: Object.keys(files)
            .map((name) => join(options.output, name))
            .join(', '),
          'not carried over': count('notCarried'),
          'done in another way': count('changed'),
          'to fill in or decide': count('todo'),
          'as before': count('kept'),
          'valid certificates': plan.certificates.length,
          'of NDES’s templates': plan.certificates.filter(({ byNdes }) => byNdes).length,
        },
        options,
      );
    });
}

/** What stands in a file; its name is in every complaint about it. */
function parsed<T>(path: string, parse: (text: string) => T): T {
  const octets = fileOctets(path);
  try {
    return parse(decodeWindowsText(octets));
  } catch (cause) {
    throw cause instanceof PkiError
      ? new PkiError(cause.code, `${path}: ${cause.message}`, { cause })
      : cause;
  }
}
