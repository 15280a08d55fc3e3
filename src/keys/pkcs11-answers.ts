/** What a token's return values (PKCS #11 v3.1 §5.1, CKR_…) mean for whoever uses a key in it. */

/** What to do about a return value. */
export type Pkcs11Answer =
  /** The session, the login, the device or its library is gone: open everything again, then repeat. */
  | 'lost'
  /** The input is not what the key could have been given; nothing is wrong with the token. */
  | 'input'
  /** The PIN is wrong, expired or locked. Trying again may lock the token for good. */
  | 'pin'
  /** The token, the key or its policy does not let this be done; repeating does not help. */
  | 'incapable'
  /** Too many sessions, no memory, cancelled, or anything else: not now. */
  | 'unavailable';

const answers: Readonly<Record<string, Pkcs11Answer>> = {
  CKR_SLOT_ID_INVALID: 'lost',
  CKR_GENERAL_ERROR: 'lost',
  CKR_FUNCTION_FAILED: 'lost',
  CKR_DEVICE_ERROR: 'lost',
  CKR_DEVICE_REMOVED: 'lost',
  CKR_TOKEN_NOT_PRESENT: 'lost',
  CKR_TOKEN_NOT_RECOGNIZED: 'lost',
  CKR_SESSION_CLOSED: 'lost',
  CKR_SESSION_HANDLE_INVALID: 'lost',
  CKR_KEY_HANDLE_INVALID: 'lost',
  CKR_OBJECT_HANDLE_INVALID: 'lost',
  CKR_USER_NOT_LOGGED_IN: 'lost',
  CKR_OPERATION_ACTIVE: 'lost',
  CKR_OPERATION_NOT_INITIALIZED: 'lost',
  CKR_CRYPTOKI_NOT_INITIALIZED: 'lost',
  CKR_ENCRYPTED_DATA_INVALID: 'input',
  CKR_ENCRYPTED_DATA_LEN_RANGE: 'input',
  CKR_DATA_INVALID: 'input',
  CKR_DATA_LEN_RANGE: 'input',
  CKR_PIN_INCORRECT: 'pin',
  CKR_PIN_INVALID: 'pin',
  CKR_PIN_LEN_RANGE: 'pin',
  CKR_PIN_EXPIRED: 'pin',
  CKR_PIN_LOCKED: 'pin',
  CKR_USER_PIN_NOT_INITIALIZED: 'pin',
  CKR_MECHANISM_INVALID: 'incapable',
  CKR_MECHANISM_PARAM_INVALID: 'incapable',
  CKR_KEY_FUNCTION_NOT_PERMITTED: 'incapable',
  CKR_KEY_TYPE_INCONSISTENT: 'incapable',
  CKR_KEY_SIZE_RANGE: 'incapable',
  CKR_FUNCTION_NOT_SUPPORTED: 'incapable',
  CKR_ATTRIBUTE_TYPE_INVALID: 'incapable',
  CKR_ATTRIBUTE_VALUE_INVALID: 'incapable',
  CKR_TEMPLATE_INCONSISTENT: 'incapable',
  CKR_TOKEN_WRITE_PROTECTED: 'incapable',
};

/**
 * The name of the return value that a call ended with, for the log: `CKR_…`; the message of any other error.
 *
 * @param thrown what the binding threw
 */
export function returnValueOf(thrown: unknown): string {
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  return /CKR_[A-Z0-9_]+/.exec(text)?.[0] ?? text;
}

/** What the end of a call means. What is not known is `unavailable`. */
export function answerOf(thrown: unknown): Pkcs11Answer {
  return answers[returnValueOf(thrown)] ?? 'unavailable';
}

/** The first wait after the token was found gone a second time. */
const PAUSE_MS_MIN = 500;
/** How long a token that came back may stay unnoticed. */
const PAUSE_MS_MAX = 15_000;

/**
 * How long to leave a token alone that was lost so many times in a row: not at all after the first, since most losses
 * are a session that the device let go.
 */
export function pauseAfterMs(losses: number): number {
  return losses < 2 ? 0 : Math.min(PAUSE_MS_MAX, PAUSE_MS_MIN * 2 ** Math.min(losses - 2, 20));
}
