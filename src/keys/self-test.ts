/** The start-up self-test: can this runtime open what SCEP clients send, without being an oracle? */
import {
  constants,
  createPrivateKey,
  createPublicKey,
  type KeyObject,
  privateDecrypt,
  publicEncrypt,
} from 'node:crypto';
import { PkiError } from '../errors.ts';

/** A throw-away key for the self-test alone, so that no start waits for a new one. It is public and protects nothing. */
const selfTestKey = {
  kty: 'RSA',
  n:
    '3r5sXDDcgeD0Nfa8_opVAL0iuEr2w3ZfoJ_wEzx1pBwB6jrFp0jIiZC8hZVOKpq9u1jzwAZSqsoBAUhiXM8REK7W7HNP' +
    'XsdPv0famjqOh5e1Ho4VxdX_75vC8vN5J3fO6mmO8MKuAwFNM1qLkPT3WPBpJnvzLwtxWzuXiGtn2E5XKuHK_1nhjRED' +
    'WW2ttZPCqBW2qBdVDuPkarvE50o4CallgAxTnU3bLPthnjMuRhM0-KaRrPnybWGW-x7KjeCtOKqvThQN06lgQJtIZwka' +
    '5iBm5ssMHQ__p8ZrvKnyFtgb2p3r1UIO0v6oMcBv97H0x617DWcYrBMZZdmp7S7dhQ',
  e: 'AQAB',
  d:
    'cwYAOo4oPPAgjrBDLXbvzYPrGZjKfGpQuSaWNyRE0D2Fff4ghkcrfCAfYZqCN4FR5Uq88JwRoYzGFaA2JKAYF0iobwxE' +
    'LRgYP2g_sN6WGtTOwbVLs7Tt9x5fvTou2yqO0ePvJgx2DgbNoN0B6fup7Uvp7SHwyZ2-SVzt2AmRuQ6jcsb1OquWv3za' +
    '-rvC2D29R2M2-yb0XmZo2Ylz9_paGdc3ruBt-c8T_RQ5s7TXGLZyVXbVNax4uM8ryhed2YL-nJHh_EvlRa7y8kBmpaDq' +
    'z8if1v6gQSbGgkn-PjputyacQuH6aZxRbndji2tUzVX0Xidmep_WidFLciZhXfBZ',
  p:
    '_3J6zMPUmHDUbKBQ1PByF-kglfyLgXSlY7tgD8kj6sV1YvtWS19-_a7I3Q8RA9nO9I47OCQy91LQy-UxChwBefT-PNTe' +
    'v1d7F51a9lyGY85ifOe2pgr1zDZLOkNy2Bpuim1IBST-bFMQHkzvvtj0VcTYCkUe8otW4klRZ7lzcWk',
  q:
    '3znTW1HzmF3EbRpPj6QLq02QdJpNE-Z4bjOzdFWPVKxjNZP1W5Wqwx86p_0ix3Xu9odET03gMF9zEnHpF6-6L_v8bLsG' +
    'MT4sF7nwcEca2knc0q5MleajyC3wi3hQl_qDYKOh4PPrLXwRDEl2La5jE-9rmCX3kX-VAIqPOUs7q70',
  dp:
    'pAZ8d7Nfdastm7qtbK4gdN4LQIPziGLAOHP-0OQVHhFAuRguZyOgxYBQFjIweMqJK1uRBxGncExLKkG25YjqIceA4MrH' +
    'ZRHlRlqSKBNtb_T8JLwc-i2be095qqXYvo7qYBSf5D3G6QPFG8_HOkLRUameF6oenxt95Luze-kHCdE',
  dq:
    'EPWAtDhmrFW7XZqZHs2UwV_0MJekcXWaAq1U3eq-J-2s394sztdxEL_noemeYc7456vhKbE97g7iXC1hSxZjq8-WHuCa' +
    'mNUjXm4W8UDFrn3cE_mAAgdyu_uZgc8TOGik4Iut-bwuStdZKDjQjKnqBxKydu2zgE9UD6V3OiAYGXU',
  qi:
    '-3EFeGR5sbbFPqtcj2a_xFVvB6-Sf01XJ4iqo69J2ws2q6uDPGoYmdh4dCsEdmp8pKNQmVxcpdlgXgzdp-Le_AHb2EXL' +
    'oJkdG9f_X6lE5Ayzc2d_pCkbNT4sw-KUIfxP8pzIteEn00JhS2Hzn17OZMy521ZbrzsUwfUw_jOBDfI',
};

/** Damaged ciphertexts that are tried. The chance that an honest runtime opens all of them to nothing is 2^-31. */
const DAMAGED_COUNT = 4;

/**
 * Proves that RSAES-PKCS1-v1_5 decryption works and that OpenSSL rejects bad padding implicitly (since 3.2): a damaged
 * ciphertext must neither throw, nor give the plaintext back, nor always give nothing. Node.js 20 refuses the padding
 * altogether. Takes about two milliseconds.
 *
 * @throws PkiError `runtime_unfit` with one sentence that says what to use.
 */
export function assertRuntimeFit(): void {
  const key = createPrivateKey({ key: selfTestKey, format: 'jwk' });
  const padding = constants.RSA_PKCS1_PADDING;
  assertImplicitRejection(createPublicKey(key), (ciphertext) => privateDecrypt({ key, padding }, ciphertext));
}

/**
 * The same for any way to decrypt.
 *
 * @throws PkiError `runtime_unfit`.
 */
export function assertImplicitRejection(
  publicKey: KeyObject,
  decrypt: (ciphertext: Uint8Array) => Uint8Array,
): void {
  const plaintext = Buffer.from('0123456789abcdef');
  const encrypt = () => publicEncrypt({ key: publicKey, padding: constants.RSA_PKCS1_PADDING }, plaintext);
  const opened = resultOf(decrypt, encrypt());
  if (opened === undefined) throw unfit('refuses PKCS #1 v1.5 decryption, which SCEP clients need');
  if (!plaintext.equals(opened)) throw unfit('decrypts PKCS #1 v1.5 wrongly');
  let octets = 0;
  for (let count = 0; count < DAMAGED_COUNT; count++) {
    const ciphertext = encrypt();
    ciphertext.writeUInt8(ciphertext.readUInt8(ciphertext.length - 1) ^ 1, ciphertext.length - 1);
    const damaged = resultOf(decrypt, ciphertext);
    if (damaged === undefined) throw oracle();
    if (plaintext.equals(damaged)) throw unfit('decrypts PKCS #1 v1.5 wrongly');
    octets += damaged.length;
  }
  if (octets === 0) throw oracle();
}

/** `undefined` if it throws, for whatever reason. */
function resultOf(decrypt: (ciphertext: Uint8Array) => Uint8Array, ciphertext: Uint8Array) {
  try {
    return decrypt(ciphertext);
  } catch {
    return undefined;
  }
}

function oracle(): PkiError {
  return unfit('reports bad PKCS #1 v1.5 padding, which would make the server a decryption oracle');
}

function unfit(what: string): PkiError {
  return new PkiError(
    'runtime_unfit',
    `Node.js ${process.versions.node} with OpenSSL ${process.versions.openssl} ${what}; use Node.js 24 or newer`,
  );
}
