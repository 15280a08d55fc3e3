/** `leafgate migrate`: from another PKI's own exports to a configuration. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Command, Option } from 'commander';
import { parseConfig } from '../config.ts';
import { PkiError } from '../errors.ts';
import {
  buildExpiryTable,
  buildMigrationReport,
  buildProposedConfiguration,
  type DateOrder,
  decodeWindowsText,
  ndesSettingsOf,
  parseIssuedDump,
  parseRegistryFile,
  parseTemplateDump,
  planMigration,
} from '../migrate/index.ts';
import { systemClock } from '../telemetry.ts';
import { type ListingOptions, printFacts } from './output.ts';

interface NdesOptions extends ListingOptions {
  readonly registry: string;
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
    .requiredOption('--registry <file>', 'export of HKLM\\SOFTWARE\\Microsoft\\Cryptography\\MSCEP (.reg)')
    .requiredOption('--templates <file>', 'output of: certutil -v -template')
    .option('--issued <file>', 'output of: certutil -view, as text or csv')
    .addOption(new Option('--date-order <order>', 'of the dates in it').choices(['dmy', 'mdy', 'ymd']))
    .requiredOption('-o, --output <folder>', 'new folder for leafgate.yaml, report.md and certificates.csv')
    .option('--json', 'for machines')
    .action((options: NdesOptions) => {
      const now = systemClock.now();
      const plan = planMigration(
        ndesSettingsOf(parseRegistryFile(textOf(options.registry))),
        parseTemplateDump(textOf(options.templates)),
        options.issued === undefined ? [] : parseIssuedDump(textOf(options.issued), options.dateOrder),
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
          'to fill in': count('todo'),
          'valid certificates': plan.certificates.length,
          'of NDES’s templates': plan.certificates.filter(({ byNdes }) => byNdes).length,
        },
        options,
      );
    });
}

function textOf(path: string): string {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    throw new PkiError('config_invalid', `cannot read ${path}`, { cause });
  }
  try {
    return decodeWindowsText(bytes);
  } catch (cause) {
    throw cause instanceof PkiError
      ? new PkiError(cause.code, `${path}: ${cause.message}`, { cause })
      : cause;
  }
}
