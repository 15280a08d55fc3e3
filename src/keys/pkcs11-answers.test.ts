import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { answerOf, type Pkcs11Answer, pauseAfterMs, returnValueOf } from './pkcs11-answers.ts';

describe('a return value', () => {
  const rows: readonly (readonly [string, Pkcs11Answer])[] = [
    ['CKR_SESSION_HANDLE_INVALID', 'lost'],
    ['CKR_SESSION_CLOSED', 'lost'],
    ['CKR_DEVICE_REMOVED', 'lost'],
    ['CKR_DEVICE_ERROR', 'lost'],
    ['CKR_TOKEN_NOT_PRESENT', 'lost'],
    ['CKR_USER_NOT_LOGGED_IN', 'lost'],
    ['CKR_CRYPTOKI_NOT_INITIALIZED', 'lost'],
    ['CKR_KEY_HANDLE_INVALID', 'lost'],
    ['CKR_ENCRYPTED_DATA_INVALID', 'input'],
    ['CKR_ENCRYPTED_DATA_LEN_RANGE', 'input'],
    ['CKR_PIN_INCORRECT', 'pin'],
    ['CKR_PIN_LOCKED', 'pin'],
    ['CKR_PIN_EXPIRED', 'pin'],
    ['CKR_MECHANISM_INVALID', 'incapable'],
    ['CKR_KEY_FUNCTION_NOT_PERMITTED', 'incapable'],
    ['CKR_SESSION_COUNT', 'unavailable'],
    ['CKR_HOST_MEMORY', 'unavailable'],
    ['CKR_VENDOR_DEFINED', 'unavailable'],
  ];
  for (const [value, answer] of rows) {
    test(`${value} is ${answer}`, () => {
      assert.equal(answerOf(new Error(value)), answer);
      assert.equal(answerOf(new Error(`${value}:123`)), answer);
      assert.equal(returnValueOf(new Error(`${value}:123\n    at C_Sign`)), value);
    });
  }

  test('that is none is unavailable, and named as it is', () => {
    assert.equal(answerOf(new TypeError('wrong argument')), 'unavailable');
    assert.equal(returnValueOf(new TypeError('wrong argument')), 'wrong argument');
    assert.equal(returnValueOf('text'), 'text');
  });

  test('that only begins like one is another', () => {
    assert.equal(answerOf(new Error('CKR_PIN_INCORRECT_EVER')), 'unavailable');
  });
});

test('the first loss is mended at once, later ones after a wait that doubles up to a bound', () => {
  const pauses = Array.from({ length: 12 }, (_, losses) => pauseAfterMs(losses));
  assert.deepEqual(pauses.slice(0, 5), [0, 0, 500, 1000, 2000]);
  assert.ok(pauses.every((pause, index) => pause >= (pauses[index - 1] ?? 0)));
  assert.equal(pauses.at(-1), 15_000);
  assert.equal(pauseAfterMs(1e9), 15_000);
});
