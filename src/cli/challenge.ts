/** `leafgate challenge`: one-time challenges and the hash of a static secret. */
import { text } from 'node:stream/consumers';
import type { Command } from 'commander';
import { isSecurityIdentifier } from '../ca/index.ts';
import { generalNameFromString, generalNamesToString, nameFromString, nameToString } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { hashStaticSecret } from '../ra/index.ts';
import { configOption, withAuthorities } from './context.ts';
import { type ListingOptions, positiveInteger, printFacts } from './output.ts';

const MINUTE_MS = 60_000;
/** A challenge that is older lies forgotten somewhere. */
const MINUTES_MAX = 366 * 24 * 60;

/** Adds the commands. */
export function addChallenge(program: Command): void {
  const challenge = program.command('challenge').description('challenges for devices that no MDM manages');
  challenge
    .command('create')
    .description('make a one-time challenge; it is shown once')
    .argument('<endpoint>', 'endpoint with the oneTime validator')
    .option(...configOption)
    .option('--device <device>', 'the device it is for, as views show it', '')
    .option('--subject <name>', 'pin the subject: CN=printer-7,O=Example')
    .option('--san <names>', 'pin the subject alternative name: DNS:printer-7.example')
    .option('--sid <sid>', 'the account that the certificate is mapped to: S-1-5-21-…')
    .option('--minutes <n>', 'lifetime', positiveInteger, 60)
    .option('--json', 'for machines')
    .action(
      async (
        endpoint: string,
        options: ListingOptions & {
          config?: string;
          device: string;
          subject?: string;
          san?: string;
          sid?: string;
          minutes: number;
        },
      ) => {
        if (options.minutes > MINUTES_MAX)
          throw new PkiError('config_invalid', `--minutes: at most ${MINUTES_MAX}, a year`);
        if (options.sid !== undefined && !isSecurityIdentifier(options.sid))
          throw new PkiError('config_invalid', `--sid: “${options.sid}” is not a security identifier`);
        await withAuthorities(options.config, async ({ oneTime }, config) => {
          const named = config.endpoints.find(({ name }) => name === endpoint);
          if (named?.validators.some((validator) => validator.oneTime !== undefined) !== true) {
            throw new PkiError(
              'config_invalid',
              `there is no endpoint “${endpoint}” with the oneTime validator`,
            );
          }
          const made = await oneTime.create({
            endpoint,
            device: options.device,
            lifetimeMs: options.minutes * MINUTE_MS,
            pinned: {
              ...(options.subject === undefined
                ? {}
                : { subject: nameToString(nameFromString(options.subject)) }),
              ...(options.san === undefined ? {} : { subjectAltName: canonicalNames(options.san) }),
              ...(options.sid === undefined ? {} : { securityIdentifier: options.sid }),
            },
          });
          printFacts({ challenge: made.challenge, expires: made.expiresAt }, options);
        });
      },
    );
  challenge
    .command('hash')
    .description('read a static secret from standard input and print the hash for the configuration')
    .action(async () => {
      console.log(await hashStaticSecret((await text(process.stdin)).replace(/\r?\n$/, '')));
    });
}

/** In the very form that requests are compared in. A comma within a name is written `\,`. */
function canonicalNames(list: string): string {
  return generalNamesToString(list.split(/(?<!\\), */).map(generalNameFromString));
}
