/** The command line: one file a sub-command. */
import { Command } from 'commander';
import { addAdmin } from './admin.ts';
import { addAgent } from './agent.ts';
import { addAudit } from './audit.ts';
import { addCa } from './ca.ts';
import { addChallenge } from './challenge.ts';
import { addConfig } from './config.ts';
import { addEndpoint } from './endpoint.ts';
import { addExplain } from './explain.ts';
import { addHealth } from './health.ts';
import { addIntune } from './intune.ts';
import { addKey } from './key.ts';
import { addLab } from './lab.ts';
import { addMdm } from './mdm.ts';
import { addMigrate } from './migrate.ts';
import { printError } from './output.ts';
import { addPfx } from './pfx.ts';
import { addScep } from './scep.ts';
import { addServe } from './serve.ts';
import { addStore } from './store.ts';

/** The whole command tree, without running it. */
export function buildProgram(): Command {
  const program = new Command('leafgate')
    .description('A certificate from your own CA on every managed device, without NDES.')
    .version('0.1.0')
    // As errors of our own end: the whole help would push the error off the screen.
    .showHelpAfterError('hint: the same command with --help lists what it takes.');
  for (const add of [
    addServe,
    addConfig,
    addEndpoint,
    addCa,
    addKey,
    addAudit,
    addExplain,
    addHealth,
    addScep,
    addStore,
    addChallenge,
    addAdmin,
    addIntune,
    addMdm,
    addPfx,
    addAgent,
    addMigrate,
    addLab,
  ])
    add(program);
  return program;
}

/** Runs the command line; the process's exit status says how it went. */
export async function run(argv: readonly string[]): Promise<void> {
  try {
    await buildProgram().parseAsync(argv);
  } catch (thrown) {
    process.exitCode = printError(thrown);
  }
}
