import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { readCorpus } from './corpus.ts';
import { type Coverage, Fuzzer } from './engine.ts';
import { INPUT_BYTES_MAX, mutate, randomFrom } from './mutate.ts';
import { targetNames } from './order.ts';
import { isExpected, targets } from './targets.ts';

describe('the corpus', () => {
  test('has a file for each target, and a target for each name', () => {
    assert.deepEqual(Object.keys(targets), [...targetNames]);
    for (const name of targetNames) assert.ok(readCorpus(name).length > 5, name);
  });

  for (const [name, target] of Object.entries(targets)) {
    test(`${name}: every input is read, or refused with a PkiError`, async () => {
      let read = 0;
      for (const input of readCorpus(name)) {
        try {
          await target(input);
          read += 1;
        } catch (thrown) {
          assert.ok(isExpected(thrown), `${Buffer.from(input).toString('base64')}: ${thrown}`);
        }
      }
      assert.ok(read > 0, 'nothing in the corpus is right');
    });
  }
});

describe('mutation', () => {
  const certificates = readCorpus('certificate');

  test('is the same for the same seed, and bounded', () => {
    const series = (seed: number) => {
      const random = randomFrom(seed);
      let input = certificates.at(-1) ?? new Uint8Array();
      return Array.from({ length: 200 }, () => {
        input = mutate(input, certificates[random(certificates.length)] ?? input, random);
        assert.ok(input.length <= INPUT_BYTES_MAX);
        return Buffer.from(input).toString('base64');
      });
    };
    assert.deepEqual(series(7), series(7));
    assert.notDeepEqual(series(7), series(8));
  });

  test('of DER is often DER again, with the lengths of what is around it corrected', () => {
    const whole = certificates.at(-1) ?? new Uint8Array();
    const random = randomFrom(3);
    let fits = 0;
    for (let count = 0; count < 500; count += 1) {
      const changed = mutate(whole, whole, random);
      if (changed.length !== whole.length && changed[0] === 0x30 && changed[1] === 0x82)
        fits += ((changed[2] ?? 0) << 8) + (changed[3] ?? 0) + 4 === changed.length ? 1 : 0;
    }
    assert.ok(fits > 50, `${fits} of 500`);
  });
});

describe('the fuzzer', () => {
  /** A target with its counters written by hand: it fails on the octets of the word, each behind a branch of its own. */
  function wordTarget(word: string): { coverage: Coverage; target: (input: Uint8Array) => void } {
    const counters = new Uint8Array(word.length + 1);
    const wanted = Buffer.from(word);
    return {
      coverage: { counters, count: () => counters.length },
      target: (input) => {
        for (const [index, octet] of wanted.entries()) {
          if (input[index] !== octet) throw new TypeError('refused');
          counters[index] = (counters[index] ?? 0) + 1;
        }
        throw new RangeError('the bug');
      },
    };
  }
  const fuzzerOf = (word: string) =>
    new Fuzzer({
      ...wordTarget(word),
      isExpected: (thrown) => thrown instanceof TypeError,
      random: randomFrom(11),
    });

  test('finds step by step what no chance would find at once', async () => {
    const fuzzer = fuzzerOf('fuzzed');
    let crash = await fuzzer.run(Buffer.from('aaaaaa'));
    for (let count = 0; count < 300_000 && crash === undefined; count += 1) crash = await fuzzer.step();
    assert.ok(crash !== undefined, `not in ${fuzzer.executions} executions`);
    assert.equal(Buffer.from(crash.input.subarray(0, 6)).toString(), 'fuzzed');
    assert.match(String(crash.cause), /the bug/);
    assert.equal(fuzzer.branches, 5);
  });

  test('keeps the smallest inputs that reach all that was reached', async () => {
    const fuzzer = fuzzerOf('abc');
    for (const input of ['a', 'a and more', 'ab', 'ab?']) await fuzzer.run(Buffer.from(input));
    assert.deepEqual(
      fuzzer.minimized().map((input) => Buffer.from(input).toString()),
      ['a', 'ab'],
    );
  });
});
