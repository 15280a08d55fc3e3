import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeAnswer, runProgram, runToSuccess, startProgram } from './program.ts';

const script = (text: string, more: { readonly timeoutMs?: number; readonly input?: string } = {}) => ({
  program: process.execPath,
  args: ['-e', text],
  timeoutMs: 20_000,
  ...more,
});

const isAlive = (pid: number) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

async function untilDead(pid: number): Promise<boolean> {
  for (let tries = 0; tries < 100; tries += 1) {
    if (!isAlive(pid)) return true;
    await sleep(50);
  }
  return false;
}

describe('a program', () => {
  let folder = '';
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'leafgate-program-'));
  });
  after(() => rm(folder, { recursive: true, force: true }));

  test('that does not exist is an exception', async () => {
    await assert.rejects(
      runProgram({ program: '/nonexistent/program', args: [], timeoutMs: 1000 }),
      /cannot be started/,
    );
    await assert.rejects(
      startProgram({ program: '/nonexistent/program', args: [], logFile: join(folder, 'log') }),
      /cannot be started/,
    );
  });

  test('that fails answers its exit code and what it said', async () => {
    const answer = await runProgram(script('console.log("out"); console.error("err"); process.exit(3)'));
    assert.deepEqual(answer, { exitCode: 3, stdout: 'out\n', stderr: 'err\n', timedOut: false });
    assert.equal(describeAnswer(answer), 'exit code 3\nout\nerr');
    await assert.rejects(runToSuccess(script('console.error("no"); process.exit(1)')), /exit code 1\nno/);
  });

  test('that never ends is killed at its bound', async () => {
    const answer = await runProgram(script('setInterval(() => {}, 1000)', { timeoutMs: 300 }));
    assert.equal(answer.timedOut, true);
    assert.equal(answer.exitCode, undefined);
    assert.match(describeAnswer(answer), /time limit/);
  });

  test('leaves nothing behind: what it started dies with it', async () => {
    const spawnAnother = `
      const { spawn } = require('node:child_process');
      const other = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'inherit' });
      console.log(other.pid);
      other.unref();
    `;
    const answer = await runProgram(script(`${spawnAnother} process.exit(0)`));
    const pid = Number(answer.stdout);
    assert.ok(pid > 0, answer.stdout);
    assert.ok(await untilDead(pid), `${pid} still runs`);
  });

  test('reads its input', async () => {
    const answer = await runProgram(script('process.stdin.pipe(process.stdout)', { input: 'hello' }));
    assert.equal(answer.stdout, 'hello');
  });

  test('does not see our environment if it is given its own', async () => {
    const run = script('console.log(String(process.env.HOME), process.env.COLOUR)');
    const answer = await runProgram({ ...run, environment: { COLOUR: 'green' } });
    assert.equal(answer.stdout, 'undefined green\n');
  });

  test('that runs beside us is ended, even if it does not listen', async () => {
    const file = join(folder, 'ready');
    const running = await startProgram({
      program: process.execPath,
      args: [
        '-e',
        `process.on('SIGTERM', () => {}); setInterval(() => {}, 1000); console.log('up');
         require('node:fs').writeFileSync(${JSON.stringify(file)}, 'yes')`,
      ],
      logFile: join(folder, 'log'),
    });
    for (let tries = 0; tries < 200 && (await readFile(file, 'utf8').catch(() => '')) !== 'yes'; tries += 1)
      await sleep(50);
    assert.ok(isAlive(running.pid));
    await running.end();
    assert.ok(await untilDead(running.pid));
    assert.match(await running.log(), /up/);
  });
});
