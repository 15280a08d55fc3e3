/** `leafgate health`: how the server on this machine is. */
import type { Command } from 'commander';
import { healthBeside } from '../parts/health.ts';
import { openLog, systemClock } from '../telemetry.ts';
import { configOption, withAuthorities } from './context.ts';
import { type ListingOptions, printable, printRows } from './output.ts';

const columns = { what: 'What', state: 'State', until: 'Until' };

/** Adds the command. */
export function addHealth(program: Command): void {
  program
    .command('health')
    .description(
      'CRLs, publishing, OCSP and RA certificates, self-tests, Intune, and what is wrong; exit status 1 if anything is',
    )
    .option(...configOption)
    .option('--json', 'for machines')
    .action(async (options: ListingOptions & { readonly config?: string }) => {
      await withAuthorities(options.config, async (authorities, config) => {
        const health = await healthBeside(config, authorities, openLog('silent', 'cli'), systemClock);
        if (options.json === true) console.log(JSON.stringify(health, null, 2));
        else {
          const { issuers, crls, targets, ocspSigners, raCertificates, problems } = health;
          const { selfTests, revocationRequests, notificationsWaiting } = health;
          const state = (notAfter: Date | undefined) => (notAfter === undefined ? 'missing' : 'there');
          const rows = [
            ...issuers.map(({ issuer, notAfter }) => ({
              what: `CA ${issuer}`,
              state: 'there',
              until: notAfter,
            })),
            ...crls.map(({ issuer, partition, kind, crlNumber, overdue, nextUpdate }) => ({
              what: `${kind} CRL ${crlNumber} of ${issuer}${partition === 0 ? '' : `, partition ${partition}`}`,
              state: overdue ? 'overdue' : 'current',
              until: nextUpdate,
            })),
            ...targets.map(({ target, status, objects }) => ({
              what: `target ${target}`,
              state: `${status}, ${objects} objects`,
            })),
            ...ocspSigners.map(({ issuer, notAfter }) => ({
              what: `OCSP signer of ${issuer}`,
              state: state(notAfter),
              until: notAfter,
            })),
            ...raCertificates.map(({ endpoint, notAfter }) => ({
              what: `RA certificates of ${endpoint}`,
              state: state(notAfter),
              until: notAfter,
            })),
            ...selfTests.map(({ endpoint, outcome, step, at }) => ({
              what: `self-test of ${endpoint}`,
              state: `${outcome}${step === undefined ? '' : ` at ${step}`} since ${minuteOf(at)}`,
            })),
            ...revocationRequests.map(({ source, backlog, oldest }) => ({
              what: `Intune, revocation for ${shortSource(source)}`,
              state: oldest === undefined ? 'nothing waits' : `${backlog} wait since ${minuteOf(oldest)}`,
            })),
            ...(notificationsWaiting === 0
              ? []
              : [{ what: 'certificates that Intune has to hear of', state: `${notificationsWaiting} wait` }]),
          ];
          printRows(rows, columns, options);
          for (const problem of problems) console.log(`problem: ${printable(problem)}`);
          if (problems.length === 0) console.log('all is well');
        }
        if (health.problems.length > 0) process.exitCode = 1;
      });
    });
}

const minuteOf = (at: Date): string => `${at.toISOString().slice(0, 16).replace('T', ' ')}Z`;

/** Tenant and application; of GUIDs what tells them apart, for a table has no room for two. */
const shortSource = (source: string): string =>
  source
    .split('/')
    .map((part) => (part.length > 30 ? `${part.slice(0, 8)}…` : part))
    .join('/');
