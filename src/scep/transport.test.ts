import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { PkiError } from '../errors.ts';
import { buildCapabilities, parseCapabilities, serverCapabilities } from './capabilities.ts';
import {
  buildMessageQuery,
  decodeMessageParameter,
  operationOf,
  operations,
  parseScepQuery,
} from './transport.ts';

describe('parseScepQuery', () => {
  const rows: readonly (readonly [name: string, query: string, want: object])[] = [
    ['nothing', '', {}],
    ['only separators', '&&&', {}],
    ['an operation', 'operation=GetCACaps', { operation: 'GetCACaps' }],
    [
      'what Windows sends',
      'operation=GetCACert&message=default',
      { operation: 'GetCACert', message: 'default' },
    ],
    ['the other order', 'message=x&operation=y', { operation: 'y', message: 'x' }],
    ['names in capitals', 'OPERATION=GetCACaps&Message=A', { operation: 'GetCACaps', message: 'A' }],
    ['an empty value', 'operation=&message=', { operation: '', message: '' }],
    ['no value', 'operation', { operation: '' }],
    ['a plus', 'message=a+b', { message: 'a+b' }],
    ['an escaped plus', 'message=a%2Bb%2fc%3D', { message: 'a+b/c=' }],
    ['an equals sign in the value', 'message=abc==', { message: 'abc==' }],
    ['a broken escape', 'message=a%2&operation=%zz%', { message: 'a%2', operation: '%zz%' }],
    ['an escape only once', 'message=%252B', { message: '%2B' }],
    ['the first of two', 'operation=GetCACert&operation=PKIOperation', { operation: 'GetCACert' }],
    ['others', 'x=1&operation=GetCACaps&__proto__=2&constructor=3', { operation: 'GetCACaps' }],
  ];
  for (const [name, query, want] of rows) {
    test(name, () => assert.deepEqual(parseScepQuery(query), want));
  }

  test('takes any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (query) => {
        const { operation, message } = parseScepQuery(query);
        for (const value of [operation, message]) assert.ok(value === undefined || typeof value === 'string');
      }),
    );
  });
});

describe('operationOf', () => {
  for (const operation of operations) {
    for (const spelling of [operation, operation.toLowerCase(), operation.toUpperCase()]) {
      test(spelling, () => assert.equal(operationOf({ operation: spelling }), operation));
    }
  }
  for (const operation of [
    undefined,
    '',
    'GetCACap',
    'GetCACaps ',
    ' PKIOperation',
    'toString',
    '__proto__',
  ]) {
    test(`none: ${JSON.stringify(operation)}`, () =>
      assert.equal(operationOf(operation === undefined ? {} : { operation }), undefined));
  }
});

describe('decodeMessageParameter', () => {
  // Chosen so that its base64 has every awkward character: +, / and two of padding.
  const octets = Buffer.from('fbefbefffffe3e3f00', 'hex');
  const base64 = octets.toString('base64');

  test('the octets are awkward indeed', () => {
    assert.match(base64, /\+/);
    assert.match(base64, /\//);
    assert.equal(Buffer.from('fbefbefffffe3e', 'hex').toString('base64').slice(-2), '==');
  });

  const forms: readonly (readonly [name: string, write: (text: string) => string])[] = [
    ['as it is', (text) => text],
    ['without padding', (text) => text.replaceAll('=', '')],
    ['spaces that were plus signs', (text) => text.replaceAll('+', ' ')],
    ['base64url', (text) => text.replaceAll('+', '-').replaceAll('/', '_')],
    [
      'base64url without padding',
      (text) => text.replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, ''),
    ],
    ['CRLF after every four', (text) => text.replaceAll(/.{4}/g, '$&\r\n')],
    ['a line feed at the end', (text) => `${text}\n`],
    ['tabs', (text) => `\t${text}\t`],
    ['too much padding', (text) => `${text}===`],
  ];
  for (const length of [octets.length, 8, 7]) {
    const part = octets.subarray(0, length);
    for (const [name, write] of forms) {
      test(`${name}, ${length} octets`, () => {
        const message = write(part.toString('base64'));
        assert.deepEqual(Buffer.from(decodeMessageParameter(message)), part);
      });
    }
  }

  const refused = [
    '',
    '=',
    '====',
    'A',
    'AAAAA',
    'AA=A',
    'AA*A',
    'AAAÄ',
    '%4',
    '%2541',
    'AA.A',
    '\u0000AAA',
    'ＡＡＡＡ',
  ];
  for (const message of refused) {
    test(`refuses ${JSON.stringify(message)}`, () => {
      assert.throws(
        () => decodeMessageParameter(message),
        (thrown) => thrown instanceof PkiError && thrown.code === 'scep_body',
      );
    });
  }

  test('what buildMessageQuery writes is read back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 200 }), (message) => {
        const query = parseScepQuery(buildMessageQuery(message));
        assert.equal(operationOf(query), 'PKIOperation');
        assert.deepEqual(Buffer.from(decodeMessageParameter(query.message ?? '')), Buffer.from(message));
      }),
    );
  });

  test('a message without escapes, as Apple sends it, is read back', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 200 }), (message) => {
        const unescaped = `operation=PKIOperation&message=${Buffer.from(message).toString('base64').replaceAll('=', '%3D')}`;
        assert.deepEqual(
          Buffer.from(decodeMessageParameter(parseScepQuery(unescaped).message ?? '')),
          Buffer.from(message),
        );
      }),
    );
  });
});

describe('capabilities', () => {
  test('are what RFC 8894 §2.9 obliges to, and nothing that is not served', () => {
    const offered = new Set<string>(serverCapabilities);
    for (const must of ['AES', 'POSTPKIOperation', 'SCEPStandard', 'SHA-256']) assert.ok(offered.has(must));
    for (const never of ['Renewal', 'GetNextCACert', 'Update', 'DES', 'MD5']) assert.ok(!offered.has(never));
  });

  test('are read back', () => {
    assert.deepEqual(
      parseCapabilities(buildCapabilities(serverCapabilities)),
      new Set<string>(serverCapabilities),
    );
  });

  test('are read with CRLF, blanks and unknown keywords', () => {
    assert.deepEqual(
      parseCapabilities('AES\r\n\r\n SHA-256 \r\nX-New'),
      new Set(['AES', 'SHA-256', 'X-New']),
    );
    assert.deepEqual(parseCapabilities(''), new Set());
  });
});
