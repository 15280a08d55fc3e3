import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { describe, test } from 'node:test';
import { Dialogue } from './dialogue.ts';

/** A dialogue whose answers are there already; and what it said, once it is closed. */
function dialogueOf(...answers: readonly string[]) {
  const input = new PassThrough();
  const output = new PassThrough();
  const dialogue = new Dialogue({ input, output });
  input.end(answers.map((answer) => `${answer}\n`).join(''));
  return {
    dialogue,
    said: async () => {
      dialogue.close();
      output.end();
      return await text(output);
    },
  };
}

describe('a dialogue', () => {
  test('refuses silence', async () => {
    const { dialogue } = dialogueOf('');
    await assert.rejects(dialogue.ask('Name'), {
      code: 'ceremony_answers',
      message: /Name: there is no answer/,
    });
    await assert.rejects(dialogue.ask('More'), { code: 'ceremony_answers', message: /nobody answers/ });
    dialogue.close();
  });

  test('refuses an empty secret and two that differ', async () => {
    const { dialogue } = dialogueOf('', 'one', 'two');
    await assert.rejects(dialogue.askSecret('Passphrase'), { code: 'ceremony_answers' });
    await assert.rejects(dialogue.askNewSecret('Passphrase'), { message: /the two answers differ/ });
    dialogue.close();
  });

  for (const answer of ['no', 'y', 'yes please']) {
    test(`does not take “${answer}” for a yes`, async () => {
      const { dialogue } = dialogueOf(answer);
      await assert.rejects(dialogue.confirm('Sign?'), {
        code: 'ceremony_answers',
        message: /The answer was no/,
      });
      dialogue.close();
    });
  }

  test('asks in order, proposes, and shows no secret', async () => {
    const { dialogue, said } = dialogueOf('Ada', '', 'sesame', 'sesame', 'YES');
    assert.equal(await dialogue.ask('Name'), 'Ada');
    assert.equal(await dialogue.ask('Years', '20'), '20');
    assert.equal(await dialogue.askNewSecret('Passphrase'), 'sesame');
    await dialogue.confirm('Sign?');
    const out = await said();
    assert.match(out, /^Name: Years \[20\]: Passphrase: \nPassphrase, again: \nSign\? Type yes to go on: $/);
    assert.ok(!out.includes('sesame'));
  });
});
