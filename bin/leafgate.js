#!/usr/bin/env node
// Says one clear sentence on a Node.js that is too old to read the rest; then starts the command line.
import { existsSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';

const major = Number.parseInt(process.versions.node, 10);
if (major < 24) {
  console.error(
    `error: Leafgate needs Node.js 24 or newer, and this is ${process.versions.node}.\n` +
      'hint: after `npm ci`, the right one is in node_modules/.bin; npm scripts use it by themselves.',
  );
  process.exit(1);
}
// A request leaves some 100 KiB behind, and what stays is small: with V8's usual step the whole heap would be marked every
// few hundred requests. Memory is cheaper than that: at most some 100 MiB.
setFlagsFromString('--heap-growing-percent=400');
// A checkout runs its sources; the published package has them compiled.
const sources = new URL('../src/cli/index.ts', import.meta.url);
const { run } = await import(existsSync(sources) ? sources.href : '../dist/src/cli/index.js');
await run(process.argv);
