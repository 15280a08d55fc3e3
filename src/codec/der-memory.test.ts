/** In a file of its own: other tests fill the memory of identifiers, which is full at a thousand. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { DerReader } from './der.ts';

test('an identifier that is remembered keeps nothing of the message that it stood in', async () => {
  const arrayBufferBytes = () => {
    collect();
    return process.memoryUsage().arrayBuffers;
  };
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const before = arrayBufferBytes();
  for (let index = 0; index < 64; index += 1) {
    const message = Buffer.alloc(1024 * 1024);
    message.set([0x06, 0x05, 0x2a, 0x86, 0x7b, 0x81, index]);
    assert.equal(new DerReader(message.subarray(0, 7)).oid(), `1.2.891.${128 + index}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(arrayBufferBytes() - before < 16 * 1024 * 1024, 'the messages are still in memory');
});
