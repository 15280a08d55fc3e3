/** `leafgate challenge`: one-time challenges and the hash of a static secret. */
import { text } from 'node:stream/consumers';
import type { Command } from 'commander';
import { PkiError } from '../errors.ts';
import { hashStaticSecret } from '../ra/index.ts';
import { operator } from './ca-search.ts';
import { configOption, withAuthorities } from './context.ts';
import { asCommand, type ListingOptions, positiveInteger, printFacts } from './output.ts';

const MINUTE_MS = 60_000;

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
    .option('--eku <purposes>', 'pin the purposes: clientAuth,1.3.6.1.5.5.7.3.4')
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
          eku?: string;
          sid?: string;
          minutes: number;
        },
      ) => {
        await withAuthorities(options.config, async ({ oneTime }, config) => {
          const named = config.endpoints.find(({ name }) => name === endpoint);
          if (named?.validators.some((validator) => validator.oneTime !== undefined) !== true) {
            const able = config.endpoints.filter(({ validators }) =>
              validators.some((validator) => validator.oneTime !== undefined),
            );
            throw new PkiError(
              'command_invalid',
              `${named === undefined ? 'there is no endpoint' : 'no one-time challenge is taken by the endpoint'} “${endpoint}”; endpoints with the oneTime validator: ${able.map(({ name }) => name).join(', ') || 'none'}`,
            );
          }
          const { device, subject, san, eku, sid, minutes } = options;
          const made = await asCommand(() =>
            oneTime.order(
              {
                endpoint,
                device,
                subject,
                // A comma within a name is written `\,`.
                subjectAltName: san?.split(/(?<!\\), */),
                extKeyUsage: eku?.split(/, */),
                securityIdentifier: sid,
                lifetimeMs: minutes * MINUTE_MS,
              },
              operator(),
            ),
          );
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
