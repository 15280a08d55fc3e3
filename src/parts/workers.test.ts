import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { sumOf } from '../metrics.ts';
import { openLog } from '../telemetry.ts';
import { COUNTS_MESSAGE, END_MESSAGE, launchThread, startWorkers } from './workers.ts';

const log = openLog('silent', 'test');

/** A module of its own in a URL; `data` is what the thread was given. */
const module = (source: string) =>
  new URL(
    `data:text/javascript,${encodeURIComponent(
      `import { parentPort, workerData as data } from 'node:worker_threads';\n${source}`,
    )}`,
  );

const serving = module(`
  parentPort.on('message', (message) => {
    if (message === data.end) parentPort.close();
  });
  parentPort.postMessage({ port: data.port });
`);
const data = { port: 4711, end: END_MESSAGE };

describe('workers on threads', () => {
  test('are there when all of them have reported, and end when they are asked to', async () => {
    let launched = 0;
    let ended = 0;
    const workers = await startWorkers({
      count: 3,
      launch: () => {
        launched += 1;
        const thread = launchThread(serving, data);
        thread.onEnd(() => {
          ended += 1;
        });
        return thread;
      },
      log,
      onDeath: () => assert.fail('nobody died'),
    });
    assert.equal(workers.port, 4711);
    assert.equal(launched, 3);
    await workers.close();
    assert.equal(ended, 3);
  });

  for (const { name, source, code, message } of [
    {
      name: 'that says why it cannot serve',
      source: `parentPort.postMessage({ code: 'key_capability', message: 'no such key' }); parentPort.close();`,
      code: 'key_capability',
      message: /^no such key$/,
    },
    {
      name: 'that throws',
      source: `throw new Error('broken in two');`,
      code: 'internal',
      message: /broken in two/,
    },
    {
      name: 'that ends without a word',
      source: 'process.exit(3);',
      code: 'internal',
      message: /code 3 before it served/,
    },
  ]) {
    test(`one ${name} fails the start, and none is left`, async () => {
      let living = 0;
      const modules = [serving, module(source)];
      await assert.rejects(
        startWorkers({
          count: 2,
          launch: () => {
            living += 1;
            const thread = launchThread(modules.pop() ?? serving, data);
            thread.onEnd(() => {
              living -= 1;
            });
            return thread;
          },
          log,
          onDeath: () => assert.fail('it never served'),
        }),
        { code, message },
      );
      for (let waited = 0; living > 0 && waited < 100; waited += 1) await pause(50);
      assert.equal(living, 0);
    });
  }

  test('tell what they have counted; what is known of one that falls silent or dies stays', async () => {
    /** Answers the first question, is silent at the second, and dies of the third. */
    const moody = module(`
      let asked = 0;
      parentPort.on('message', (message) => {
        if (message === data.end) parentPort.close();
        if (message !== data.counts) return;
        asked += 1;
        const row = [['worked'], [5]];
        if (asked === 1) parentPort.postMessage({ counts: { leafgate_pkcs_rounds_total: [row] } });
        if (asked === 3) throw new Error('asked too often');
      });
      parentPort.postMessage({ port: data.port });
    `);
    const modules = [moody, moody];
    const deaths: string[] = [];
    const workers = await startWorkers({
      count: 2,
      launch: () => launchThread(modules.pop() ?? serving, { ...data, counts: COUNTS_MESSAGE }),
      log,
      onDeath: () => deaths.push('one'),
    });
    try {
      const rounds = async () => sumOf(...(await workers.counts())).leafgate_pkcs_rounds_total;
      assert.deepEqual(await rounds(), [[['worked'], [10]]]);
      assert.deepEqual(await rounds(), [[['worked'], [10]]], 'silent');
      assert.deepEqual(await rounds(), [[['worked'], [10]]], 'dying');
      for (let waited = 0; deaths.length < 2 && waited < 100; waited += 1) await pause(50);
      assert.equal(deaths.length, 2);
      assert.deepEqual(await rounds(), [[['worked'], [10]]], 'dead');
    } finally {
      await workers.close();
    }
  });

  test('one that dies is replaced, and its death is told', async () => {
    const mortal = module(`
      parentPort.postMessage({ port: data.port });
      parentPort.on('message', () => {});
      setTimeout(() => { throw new Error('died at work'); }, 100);
    `);
    const modules = [mortal];
    const replaced = Promise.withResolvers<void>();
    let deaths = 0;
    let launched = 0;
    const workers = await startWorkers({
      count: 1,
      launch: () => {
        launched += 1;
        const thread = launchThread(modules.pop() ?? serving, data);
        if (launched === 2) thread.onReport(() => replaced.resolve());
        return thread;
      },
      log,
      onDeath: () => {
        deaths += 1;
      },
    });
    await replaced.promise;
    assert.equal(deaths, 1);
    await workers.close();
    assert.equal(launched, 2);
  });
});
