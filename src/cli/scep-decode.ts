/** `leafgate scep decode`: a SCEP message as a person would read it, with everything that is wrong with it. */
import { buffer } from 'node:stream/consumers';
import type { Command } from 'commander';
import { PkiError } from '../errors.ts';
import { openKey } from '../keys/index.ts';
import { openEncryptionKeys } from '../parts/ra-identities.ts';
import { type Explanation, explainScep, type RecipientKey, type Section } from '../scep/explain/index.ts';
import { openLog, systemClock } from '../telemetry.ts';
import { configOption, withAuthorities } from './context.ts';
import { fileOctets } from './input.ts';
import { type PlaceOptions, placeOf, withPlace } from './key-place.ts';
import { type ListingOptions, printable } from './output.ts';

/** More than any message: a bigger file is the wrong one. */
const INPUT_BYTES_MAX = 8 * 1024 * 1024;

type DecodeOptions = ListingOptions &
  PlaceOptions & { readonly config?: string; readonly dangerShowChallenge?: boolean };

/** Adds the command. */
export function addScepDecode(scep: Command): void {
  const decode = scep
    .command('decode')
    .description('print a SCEP message as a person would read it, and what is wrong with it by RFC section')
    .argument(
      '<file>',
      'message, answer or log line: DER, PEM, base64, or the URL of a GET; - is standard input',
    )
    .option(configOption[0], 'open the envelope with the RA keys of this configuration');
  withPlace(decode)
    .option('--danger-show-challenge', 'print the challenge password, which lets whoever reads it enrol')
    .option('--json', 'for machines')
    .action(async (file: string, options: DecodeOptions) => {
      const explanation = await explainScep(await inputOf(file), {
        now: systemClock.now(),
        keys: await keysOf(options),
        challenge: options.dangerShowChallenge === true ? 'danger-shown' : 'masked',
      });
      console.log(
        options.json === true
          ? JSON.stringify(explanation, null, 2)
          : linesOf(explanation).map(printable).join('\n'),
      );
      if (explanation.findings.some(({ severity }) => severity === 'error')) process.exitCode = 1;
    });
}

/** The octets of a file, of standard input, or of the URL itself if it stands in the file's place. */
async function inputOf(file: string): Promise<Uint8Array> {
  if (/[?&]operation=/i.test(file)) return Buffer.from(file);
  const input = file === '-' ? await buffer(process.stdin) : fileOctets(file);
  if (input.length > INPUT_BYTES_MAX)
    throw new PkiError('der_limit', `${file} has ${input.length} octets: it is no SCEP message`);
  return input;
}

/** The keys of a configuration, or the one that the options name; none if there is neither. */
async function keysOf(options: DecodeOptions): Promise<readonly RecipientKey[]> {
  if (options.config !== undefined) {
    return await withAuthorities(options.config, async (authorities, server) => {
      const keys = await openEncryptionKeys(server, authorities, openLog('warn', 'cli'), systemClock);
      return keys.map(
        ({ certificate, key }): RecipientKey => ({
          certificate,
          decrypt: (transport, encryptedKey) => key.decrypt(transport, encryptedKey),
        }),
      );
    });
  }
  if ((options.file ?? options.module) === undefined) return [];
  const opened = await openKey(placeOf(options), 'decrypt');
  return [{ decrypt: (transport, encryptedKey) => opened.decrypt(transport, encryptedKey) }];
}

function linesOf({ kind, wrappings, sizeBytes, sections, findings }: Explanation): string[] {
  const found = findings.flatMap(({ severity, text, detail, citation, mend }) => [
    `  ${severity.padEnd(8)} ${text}${detail === '' ? '' : ` (${detail})`}`,
    `           ${citation}`,
    `           ${mend}`,
  ]);
  return [
    `${kind}, ${sizeBytes} octets${wrappings.length === 0 ? '' : `, in ${wrappings.join(', ')}`}`,
    '',
    ...sections.flatMap((section) => [...linesOfSection(section), '']),
    findings.length === 0 ? nothingWrong(sections) : 'Findings',
    ...found,
  ];
}

function nothingWrong(sections: readonly Section[]): string {
  const has = (title: string) => sections.some((section) => section.title.startsWith(title));
  return has('EnvelopedData') && !has('Inside')
    ? 'Nothing is wrong with what is not encrypted. --config opens a request, --file an answer or a request.'
    : 'Nothing is wrong with it.';
}

function linesOfSection({ title, facts }: Section): string[] {
  const width = Math.max(0, ...facts.map(([name]) => name.length));
  return [
    title,
    ...facts.map(([name, value]) => `  ${width === 0 ? '' : `${name.padEnd(width)}  `}${value}`),
  ];
}
