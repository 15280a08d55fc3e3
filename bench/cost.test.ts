import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { describe, test } from 'node:test';
import { cpuMsOf, peakMemoryMiB, processTree } from './cost.ts';

/** A program that starts a child of its own, says its pid, works a second, and then waits to be killed. */
const WORKER = `
  const { spawn } = require('node:child_process');
  const child = spawn(process.execPath, ['-e', 'process.stdin.resume()'], { stdio: ['pipe', 'ignore', 'inherit'] });
  const memory = Buffer.alloc(100 * 1024 * 1024, 1);
  const until = Date.now() + 1000;
  while (Date.now() < until) {}
  console.log(child.pid, memory.length);
  process.stdin.resume();
`;

describe('the cost of processes', () => {
  test('that do not run cannot be told', async () => {
    const ended = spawn(process.execPath, ['-e', '']);
    const pid = ended.pid ?? 0;
    await new Promise((resolve) => ended.once('close', resolve));
    assert.deepEqual(await processTree(pid), []);
    await assert.rejects(cpuMsOf([pid]), /has ended/);
    await assert.rejects(peakMemoryMiB([process.pid, pid]), /has ended/);
  });

  test('that worked is seen, with their children', async (context) => {
    const worker = spawn(process.execPath, ['-e', WORKER], { stdio: ['pipe', 'pipe', 'inherit'] });
    // Its child reads from it and ends with it.
    context.after(() => worker.kill('SIGKILL'));
    const pid = worker.pid ?? 0;
    const child = Number.parseInt(
      await new Promise<string>((resolve) =>
        worker.stdout.once('data', (chunk: Buffer) => resolve(chunk.toString())),
      ),
      10,
    );
    assert.deepEqual(await processTree(pid), [pid, child]);
    const own = await cpuMsOf([pid]);
    // It was busy for a second of wall time; a crowded machine may have given it less than that of CPU time.
    assert.ok(own >= 100, `${own} ms`);
    assert.ok((await cpuMsOf([pid, child])) >= own);
    const peak = await peakMemoryMiB([pid]);
    assert.ok(peak > 100 && peak < 1000, `${peak} MiB`);
    assert.ok((await peakMemoryMiB([pid, child])) > peak);
  });
});
