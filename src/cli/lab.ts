/** `leafgate lab`: a whole tenant on this machine. */
import type { Command } from 'commander';

/** Adds the commands. */
export function addLab(program: Command): void {
  const lab = program
    .command('lab')
    .description('a whole tenant on this machine, to try everything (never for production)');
  lab
    .command('start')
    .description('bring the tenant up, enrol a first device, and stay up until Ctrl-C')
    .argument('[folder]', 'where it lives', 'leafgate-lab')
    .action(async (folder: string) => {
      const { startLab } = await import('../../lab/start.ts');
      await startLab(folder);
    });
  lab
    .command('demo')
    .description('the same in a temporary folder, then prove use and refusal, and exit')
    .action(async () => {
      const { runDemo } = await import('../../lab/demo.ts');
      process.exitCode = await runDemo();
    });
}
