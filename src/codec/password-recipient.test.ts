import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  assertRefused,
  deviceKey,
  encoded,
  nodesOf,
  specimens,
  treeOf,
} from '../../test/support/codec-fixture.ts';
import { type ErrorCode, PkiError } from '../errors.ts';
import { type CipherName, ciphers } from './algorithm.ts';
import { buildPasswordEnvelopedData, openPasswordEnvelopedData, parseEnvelopedData } from './cms.ts';
import { hex, integer, nullValue, objectIdentifier, octetString, sequence } from './der.ts';
import { oid } from './oid.ts';
import {
  buildPasswordRecipient,
  openPasswordRecipient,
  type PasswordRecipient,
  PBKDF2_ITERATIONS_MAX,
  parsePasswordRecipient,
} from './password-recipient.ts';

const octets = (text: string): Uint8Array => Buffer.from(text.replaceAll(' ', ''), 'hex');

/** RFC 3211 §4, the second example: a 256-bit key under triple DES, 500 iterations of PBKDF2 with HMAC-SHA-1. */
const rfc3211: PasswordRecipient = {
  prf: 'sha1',
  salt: octets('12345678 78563412'),
  iterations: 500,
  cipher: ciphers['des-ede3-cbc'],
  iv: octets('baf1ca79 31213c4e'),
  encryptedKey: octets(
    'c03c514a bdb9e2c5 aac03857 2b5e2455 3876b377 aafb82ec a5a9d73f 8ab143d9 ec74e6ca d7db260c',
  ),
};
const rfc3211Password = 'All n-entities must communicate with other n-entities via n-1 entiteeheehees';
const rfc3211Key = '8c637d887223a2f965b566eb014b0fa5d52300a3f7ea40fffc577203c71baf3b';

/** `openssl cms -encrypt -binary -outform DER -pwri_password 'correct horse'` of OpenSSL 3.0, with the option that is named. */
const byOpenSsl: Readonly<Record<string, string>> = {
  '-aes128':
    'MIHWBgkqhkiG9w0BBwOggcgwgcUCAQMxcqNwAgEAoBsGCSqGSIb3DQEFDDAOBAhzMcTSSqKg/QICCAAwLAYLKoZIhvcNAQkQAwkwHQYJYIZIAWUDBAECBBCPU1Z5viYDWHDI7EfqywasBCBfodTDXVpDFhbe04auLq2UrsbfUaKqm79O35u9t6LBrzBMBgkqhkiG9w0BBwEwHQYJYIZIAWUDBAECBBBIg41jTVaPcsD7u6GQEHzlgCD6Estolyq0oM0P3SELPR+l7O35eO9a9LrdkaQOKTrj7g==',
  '-aes256':
    'MIHoBgkqhkiG9w0BBwOggdowgdcCAQMxgYOjgYACAQCgGwYJKoZIhvcNAQUMMA4ECCRTWTm3ZwfmAgIIADAsBgsqhkiG9w0BCRADCTAdBglghkgBZQMEASoEEGhqzqE1wg2UWilWyzsAnpIEMDMGXkwdpem0bpuGR58kQ9qlWUI9//qlfrWioWYAiOLzoYtuyBby0IpWs7qGoc+8YzBMBgkqhkiG9w0BBwEwHQYJYIZIAWUDBAEqBBACC49pUEUTcFuB+tt+s7JRgCBFLFDcxqWg7asQ+aZupL3SsZwEF+BdCFsnyiYubMRc7g==',
  '-des3':
    'MIHEBgkqhkiG9w0BBwOggbYwgbMCAQMxaaNnAgEAoBsGCSqGSIb3DQEFDDAOBAiDQfeOzJx6bgICCAAwIwYLKoZIhvcNAQkQAwkwFAYIKoZIhvcNAwcECN2q7sElKvC8BCCbwqLI68eqQfTi49gBQ29SrsBJIjqmRFUXxOK3yfJFfDBDBgkqhkiG9w0BBwEwFAYIKoZIhvcNAwcECKYz9DFSte2kgCCAS8Lbn2blG4yAQ9xrIB6HozvxMocr710IADcsR8Dtcg==',
};

const password = 'one-time sécret';
const key = new Uint8Array(32).fill(0x5a);
const recipient = await buildPasswordRecipient(key, password, 'aes-256-cbc');

async function refusalOf(act: () => Promise<unknown>): Promise<PkiError> {
  try {
    await act();
  } catch (thrown) {
    assert.ok(thrown instanceof PkiError, String(thrown));
    return thrown;
  }
  return assert.fail('was taken');
}

/** A recipient whose derivation and key encryption are those that are given. */
function recipientOf(parts: {
  readonly derivation?: Uint8Array;
  readonly salt?: Uint8Array;
  readonly iterations?: Uint8Array;
  readonly more?: Uint8Array;
  readonly wrap?: Uint8Array;
}): Uint8Array {
  const {
    salt = octetString(new Uint8Array(8)),
    iterations = integer(1000),
    more = new Uint8Array(0),
    derivation = sequence(objectIdentifier(oid.pbkdf2), sequence(salt, iterations, more)),
    wrap = sequence(
      objectIdentifier(oid.pwriKek),
      sequence(objectIdentifier(oid.aes128Cbc), octetString(new Uint8Array(16))),
    ),
  } = parts;
  const implicit = Buffer.from(derivation);
  if (implicit.length > 0) implicit[0] = 0xa0;
  const whole = Buffer.from(sequence(integer(0), implicit, wrap, octetString(new Uint8Array(32))));
  whole[0] = 0xa3;
  return whole;
}

describe('parsePasswordRecipient refuses', () => {
  const sha256Key = (bytes: number) =>
    Buffer.concat([integer(bytes), sequence(objectIdentifier(oid.hmacWithSHA256), nullValue)]);
  const rows: readonly (readonly [what: string, bytes: Uint8Array, ErrorCode, RegExp])[] = [
    [
      'one iteration more than the most',
      recipientOf({ iterations: integer(PBKDF2_ITERATIONS_MAX + 1) }),
      'der_limit',
      /iterations/,
    ],
    ['no iteration', recipientOf({ iterations: integer(0) }), 'der_limit', /iterations/],
    ['a negative number of iterations', recipientOf({ iterations: octets('0201ff') }), 'der_malformed', /./],
    [
      'a number of iterations beyond all bounds',
      recipientOf({ iterations: octets('02087fffffffffffffff') }),
      'der_malformed',
      /./,
    ],
    [
      'a salt of two kilobytes',
      recipientOf({ salt: octetString(new Uint8Array(2048)) }),
      'der_limit',
      /salt/,
    ],
    [
      'a salt from elsewhere',
      recipientOf({ salt: sequence(objectIdentifier('1.2.3')) }),
      'der_malformed',
      /./,
    ],
    [
      'no derivation',
      recipientOf({ derivation: new Uint8Array(0) }),
      'algorithm_unsupported',
      /without derivation/,
    ],
    [
      'scrypt',
      recipientOf({ derivation: sequence(objectIdentifier('1.3.6.1.4.1.11591.4.11'), sequence()) }),
      'algorithm_unsupported',
      /key derivation 1\.3/,
    ],
    [
      'HMAC with MD5',
      recipientOf({ more: sequence(objectIdentifier('1.2.840.113549.2.6')) }),
      'algorithm_unsupported',
      /pseudorandom/,
    ],
    [
      'a key of another length than the cipher’s',
      recipientOf({ more: sha256Key(24) }),
      'algorithm_unsupported',
      /24 octets for aes-128-cbc/,
    ],
    [
      'AES key wrap',
      recipientOf({ wrap: sequence(objectIdentifier('2.16.840.1.101.3.4.1.5')) }),
      'algorithm_unsupported',
      /key encryption/,
    ],
    [
      'PWRI-KEK without a cipher',
      recipientOf({ wrap: sequence(objectIdentifier(oid.pwriKek)) }),
      'algorithm_unsupported',
      /key encryption/,
    ],
    [
      'PWRI-KEK over RC2',
      recipientOf({ wrap: sequence(objectIdentifier(oid.pwriKek), sequence(objectIdentifier(oid.rc2Cbc))) }),
      'algorithm_unsupported',
      /RC2/,
    ],
    ['another kind of recipient', octets('a200'), 'der_malformed', /./],
  ];
  for (const [what, bytes, code, message] of rows) {
    test(what, () => {
      assert.match(assertRefused(() => parsePasswordRecipient(bytes), [code], what).message, message);
    });
  }
  test('what is cut off, wherever that is, or has something after it', () => {
    for (let length = 0; length < recipient.length; length += 1)
      assertRefused(
        () => parsePasswordRecipient(recipient.subarray(0, length)),
        ['der_malformed'],
        `${length}`,
      );
    assertRefused(
      () => parsePasswordRecipient(Buffer.concat([recipient, nullValue])),
      ['der_malformed'],
      'more',
    );
  });
  test('what is inside is taken: the rows above are wrong for one reason each', () => {
    const read = parsePasswordRecipient(recipientOf({ more: sha256Key(16) }));
    assert.deepEqual([read.prf, read.iterations, read.cipher.name], ['sha256', 1000, 'aes-128-cbc']);
    assert.equal(
      parsePasswordRecipient(recipientOf({ iterations: integer(PBKDF2_ITERATIONS_MAX) })).prf,
      'sha1',
    );
  });
});

describe('a key under a password', () => {
  test('RFC 3211 §4, as it stands there', async () => {
    assert.equal(hex(await openPasswordRecipient(rfc3211, rfc3211Password)), rfc3211Key);
  });
  for (const cipher of Object.keys(ciphers) as CipherName[]) {
    test(`${cipher}: what is wrapped is unwrapped, for every length`, async () => {
      for (const length of [3, 8, 16, 24, 32, 255]) {
        const wrapped = new Uint8Array(length).fill(length);
        const read = parsePasswordRecipient(await buildPasswordRecipient(wrapped, password, cipher));
        assert.equal(read.cipher.name, cipher);
        assert.equal(hex(await openPasswordRecipient(read, password)), hex(wrapped));
      }
    });
  }
  test('is not opened by another password, nor when any octet of it was changed or is missing', async () => {
    const good = parsePasswordRecipient(recipient);
    const quick = { ...rfc3211, iterations: 1 };
    const rows: [string, PasswordRecipient, string][] = [
      ['another password', good, 'one-time secret'],
      ['no password', good, ''],
      ['fewer iterations', quick, rfc3211Password],
      ['no key', { ...rfc3211, encryptedKey: new Uint8Array(0) }, rfc3211Password],
      ['one block', { ...rfc3211, encryptedKey: rfc3211.encryptedKey.subarray(0, 8) }, rfc3211Password],
      ['a block less', { ...rfc3211, encryptedKey: rfc3211.encryptedKey.subarray(0, 32) }, rfc3211Password],
      ['an octet less', { ...rfc3211, encryptedKey: rfc3211.encryptedKey.subarray(1) }, rfc3211Password],
      ['a megabyte', { ...rfc3211, encryptedKey: new Uint8Array(2 ** 20) }, rfc3211Password],
      ['another vector', { ...rfc3211, iv: new Uint8Array(8) }, rfc3211Password],
    ];
    for (const [what, damaged, guess] of rows) {
      const { code, message } = await refusalOf(() => openPasswordRecipient(damaged, guess));
      assert.deepEqual([code, message], ['scep_envelope', 'the envelope cannot be opened'], what);
    }
  });
});

describe('an envelope under a password', () => {
  for (const [option, base64] of Object.entries(byOpenSsl)) {
    test(`made by OpenSSL with ${option}`, async () => {
      const enveloped = parseEnvelopedData(Buffer.from(base64, 'base64'));
      assert.deepEqual(enveloped.recipients, []);
      const content = await openPasswordEnvelopedData(enveloped, 'correct horse');
      assert.equal(Buffer.from(content).toString(), 'hello password recipient');
      assert.equal(
        (await refusalOf(() => openPasswordEnvelopedData(enveloped, 'wrong'))).code,
        'scep_envelope',
      );
    });
  }
  for (const cipher of Object.keys(ciphers) as CipherName[]) {
    test(`${cipher}: what is sealed is opened, has version 3, and shows nothing`, async () => {
      const content = Buffer.from('a certificate that nobody else may read');
      const bytes = await buildPasswordEnvelopedData({ content, password, cipher });
      const tree = treeOf(bytes);
      assert.deepEqual(tree.children?.[1]?.children?.[0]?.children?.[0]?.content, Buffer.of(3));
      for (const node of nodesOf(tree)) assert.ok(!hex(node.content).includes(hex(content)));
      const opened = await openPasswordEnvelopedData(parseEnvelopedData(bytes), password);
      assert.equal(hex(opened), hex(content));
    });
  }
  test('what is no such envelope, or was cut, ends in one and the same error', async () => {
    const enveloped = parseEnvelopedData(
      await buildPasswordEnvelopedData({ content: deviceKey.spki, password, cipher: 'aes-128-cbc' }),
    );
    const rows = [
      parseEnvelopedData(specimens.envelopedData),
      { ...enveloped, encryptedContent: enveloped.encryptedContent.subarray(1) },
      { ...enveloped, encryptedContent: new Uint8Array(0) },
      { ...enveloped, cipher: ciphers['aes-256-cbc'] },
      { ...enveloped, passwordRecipient: encoded(treeOf(octets('a300'))) },
    ];
    for (const row of rows) {
      const { code, message } = await refusalOf(() => openPasswordEnvelopedData(row, password));
      assert.deepEqual([code, message], ['scep_envelope', 'the envelope cannot be opened']);
    }
  });
});
