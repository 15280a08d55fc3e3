import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, test } from 'node:test';
import { errorTable } from '../../errors.ts';
import { type ResultCode, resultCodes } from '../../mdm/index.ts';
import { entraMends, entraNumberIn, intuneResultCodes, resultCodeIn } from './intune-codes.ts';

const document = await readFile(new URL('../../../docs/intune.md', import.meta.url), 'utf8');

describe('the table of Intune’s words', () => {
  test('has all 24 that are not Success, each with a cause and a mend', () => {
    assert.equal(Object.keys(intuneResultCodes).length, 24);
    for (const [word, { code, cause, mend }] of Object.entries(intuneResultCodes)) {
      assert.equal(errorTable[code].kind, 'refused', word);
      assert.ok(cause.endsWith('.') && mend.length > 10 && !mend.endsWith('.'), word);
    }
    for (const word of Object.keys(resultCodes) as ResultCode[])
      assert.equal(Object.hasOwn(intuneResultCodes, word), word !== 'Success', word);
  });

  test('is what the document says', () => {
    for (const [word, { code }] of Object.entries(intuneResultCodes)) {
      const row = document.split('\n').find((line) => line.startsWith('|') && line.includes(word));
      assert.ok(row?.includes(`errors.md#${code}`), `${word}: ${code}`);
    }
    for (const number of Object.keys(entraMends)) assert.ok(document.includes(number), number);
  });
});

test('what an audit entry says is recognised, and nothing else', () => {
  const details: readonly (readonly [detail: string, word: string | undefined])[] = [
    ['ChallengeExpired (client-request-id 0-1)', 'ChallengeExpired'],
    ['intune: SubjectNameMismatch (client-request-id 0-1)', 'SubjectNameMismatch'],
    ['ChallengeExpired', undefined],
    ['NotOnAnyList (client-request-id 0-1)', undefined],
    ['toString (client-request-id 0-1)', undefined],
    ['timeout from https://x.example (client-request-id 0-1)', undefined],
  ];
  for (const [detail, word] of details) assert.equal(resultCodeIn(detail), word, detail);
  assert.equal(entraNumberIn('token: invalid_client AADSTS7000222'), 'AADSTS7000222');
  assert.equal(entraNumberIn('token: invalid_client'), undefined);
});
