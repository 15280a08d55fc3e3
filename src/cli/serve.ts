/** `leafgate serve`: runs every part that the configuration names, until it is told to stop. */
import cluster from 'node:cluster';
import type { Command } from 'commander';
import { serveAsWorker, start } from '../main.ts';
import { configOption, loadConfig } from './context.ts';

/** Adds the command. */
export function addServe(program: Command): void {
  program
    .command('serve')
    .description('run the parts that the configuration names: server, edge, connector, mdm')
    .option(...configOption)
    .action(async (options: { readonly config?: string }) => {
      const config = loadConfig(options.config);
      if (cluster.isWorker) {
        await serveAsWorker(config);
        return;
      }
      const running = await start(config);
      // Listened for before anybody hears that we are ready, and may ask us to stop.
      const stop = new Promise<void>((resolve) => {
        for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
        // Started by a parent that talks to us: when it is gone, so are we.
        process.once('disconnect', () => resolve());
        if (process.send !== undefined && !process.connected) resolve();
      });
      for (const part of running.parts) console.log(`${part.name}: ${part.addresses.join(', ')}`);
      console.log('ready');
      // A parent that started us over a channel hears it there.
      process.send?.('ready');
      await stop;
      await running.close();
      process.disconnect?.();
    });
}
