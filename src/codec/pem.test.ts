import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { assertRefused, pem, specimens } from '../../test/support/codec-fixture.ts';
import { buildPem, hex, type PemLabel, parsePem } from './index.ts';

const begin = '-----BEGIN CERTIFICATE-----';
const end = '-----END CERTIFICATE-----';

describe('parsePem refuses', () => {
  const rows: readonly (readonly [what: string, text: string])[] = [
    ['nothing', ''],
    ['text without a block', 'certificate'],
    ['a block of another label', buildPem('PUBLIC KEY', Uint8Array.of(1))],
    ['a block that is not closed', `${begin}\nMAA=\n`],
    ['a block that is closed by another label', `${begin}\nMAA=\n-----END PUBLIC KEY-----`],
    ['a block in a block', `${begin}\n${begin}\nMAA=\n${end}`],
    ['an empty block', `${begin}\n${end}`],
    ['a header inside', `${begin}\nProc-Type: 4,ENCRYPTED\n\nMAA=\n${end}`],
    ['a letter that is no base64', `${begin}\nM*A=\n${end}`],
    ['base64url', `${begin}\n_-__\n${end}`],
    ['one letter', `${begin}\nM\n${end}`],
    ['missing padding', `${begin}\nMAA\n${end}`],
    ['padding in the middle', `${begin}\nMA==MAA=\n${end}`],
    ['too much padding', `${begin}\nMAAA=\n${end}`],
    ['bits in the padding', `${begin}\nMAB=\n${end}`],
    ['a second block that is broken', `${begin}\nMAA=\n${end}\n${begin}\nM\n${end}`],
    ['a comment beyond ASCII inside', `${begin}\nMAA=ü\n${end}`],
  ];
  for (const [what, text] of rows) {
    test(what, () => void assertRefused(() => parsePem(text, 'CERTIFICATE'), ['pem_malformed'], what));
  }
  test('a message of megabytes, at once', { timeout: 10_000 }, () => {
    for (const inside of [
      'A'.repeat(2 ** 24),
      `${'A'.repeat(2 ** 24)}*`,
      '\n'.repeat(2 ** 22),
      begin.repeat(1e5),
    ]) {
      assertRefused(
        () => parsePem(`${begin}${inside}${end.slice(1)}`, 'CERTIFICATE'),
        ['pem_malformed'],
        'open',
      );
    }
    assertRefused(
      () => parsePem(`${begin}${'A'.repeat(2 ** 24)}*${end}`, 'CERTIFICATE'),
      ['pem_malformed'],
      '*',
    );
  });
});

describe('parsePem reads', () => {
  test('every block with the label, in order, and passes over the rest', () => {
    const text = `${pem}${buildPem('PRIVATE KEY', Uint8Array.of(9))}trailing text`;
    const blocks = parsePem(text, 'CERTIFICATE');
    assert.equal(blocks.length, 2);
    assert.equal(hex(blocks[0]), hex(specimens.certificate));
    assert.deepEqual([...parsePem(text, 'PRIVATE KEY')[0]], [9]);
  });
  test('lines of any length and ending', () => {
    for (const text of [
      `${begin}MAA=${end}`,
      `${begin}\r\nMA\r\nA=\r\n${end}\r\n`,
      `  ${begin}  \n M A A = \n${end}`,
    ]) {
      assert.equal(hex(parsePem(text, 'CERTIFICATE')[0]), '3000');
    }
  });
  test('what buildPem writes', () => {
    const labels: readonly PemLabel[] = ['CERTIFICATE', 'CERTIFICATE REQUEST', 'X509 CRL', 'PUBLIC KEY'];
    fc.assert(
      fc.property(
        fc.constantFrom(...labels),
        fc.uint8Array({ minLength: 1, maxLength: 200 }),
        (label, bytes) => {
          const text = buildPem(label, bytes);
          assert.equal(hex(parsePem(text, label)[0]), hex(bytes));
          assert.ok(text.split('\n').every((line) => line.length <= 64));
          assert.ok(text.endsWith(`-----END ${label}-----\n`));
        },
      ),
    );
  });
  test('what node writes, and node what buildPem writes', () => {
    const certificate = new X509Certificate(specimens.certificate);
    assert.equal(hex(parsePem(certificate.toString(), 'CERTIFICATE')[0]), hex(specimens.certificate));
    assert.equal(buildPem('CERTIFICATE', specimens.certificate), certificate.toString());
  });
});
