import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { leafgate, newSite } from '../../test/support/cli-fixture.ts';
import { PkiError } from '../errors.ts';

let folder: string;
let config: string;
before(async () => {
  ({ folder, config } = await newSite());
});
after(() => rm(folder, { recursive: true, force: true }));

const run = (...words: string[]) => leafgate(...words, '--config', config);

/** That a command is refused as one: the hint of `command_invalid` speaks to the person who typed it. */
async function refused(words: readonly string[], message: RegExp): Promise<void> {
  await assert.rejects(run(...words), (thrown) => {
    assert.ok(thrown instanceof PkiError, String(thrown));
    assert.equal(thrown.code, 'command_invalid', thrown.message);
    assert.match(thrown.message, message);
    return true;
  });
}

describe('leafgate challenge create', () => {
  test('names the endpoints that take challenges, where one does not', async () => {
    await refused(['challenge', 'create', 'absent'], /no endpoint “absent”; .*oneTime validator: one-time$/);
    await refused(['challenge', 'create', 'static'], /taken by the endpoint “static”; .*: one-time$/);
  });

  test('a purpose that is none was typed, and not sent by a program', async () => {
    await refused(['challenge', 'create', 'one-time', '--eku', 'clientauth'], /clientAuth, serverAuth/);
  });

  test('makes one, for the lifetime that it is told', async () => {
    const made = await run(
      'challenge',
      'create',
      'one-time',
      '--eku',
      'clientAuth',
      '--minutes',
      '5',
      '--json',
    );
    const { challenge, expires } = JSON.parse(made) as { challenge: string; expires: string };
    assert.match(challenge, /^[0-9A-F]{40}$/);
    const leftMs = Date.parse(expires) - Date.now();
    assert.ok(leftMs > 4 * 60_000 && leftMs <= 5 * 60_000, expires);
  });
});

test('leafgate admin token create: a name that is taken is said to the person who typed it', async () => {
  const words = ['admin', 'token', 'create', 'jamf', '--role', 'challenge-issuer'];
  assert.match(await run(...words), /^token: +jamf\./);
  await refused(words, /there is a token “jamf”/);
});
