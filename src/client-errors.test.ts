import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { deviceEvents } from './agent/event-log.ts';
import { hResults } from './agent/h-result.ts';
import { clientErrors, explainClientError, hResultOf } from './client-errors.ts';
import { errorTable } from './errors.ts';

/** `client code` of each row that was found. */
const found = (text: string) => explainClientError(text).exact.map(({ client, code }) => `${client} ${code}`);

describe('hResultOf', () => {
  const rows: readonly (readonly [text: string, value: number | undefined])[] = [
    ['', undefined],
    ['32', undefined],
    ['0x', undefined],
    ['0x123456789', undefined],
    ['-67731', undefined],
    ['99999999999', undefined],
    ['-2147483649', undefined],
    ['4294967296', undefined],
    ['LG-ABCDEFGH', undefined],
    ['0x8010002c', 0x8010002c],
    ['0X8010002C', 0x8010002c],
    ['8010002C', 0x8010002c],
    ['-2146435028', 0x8010002c],
    ['2148532268', 0x8010002c],
    ['0x411', 0x411],
  ];
  for (const [text, value] of rows) test(`“${text}”`, () => assert.equal(hResultOf(text), value));
});

describe('explainClientError', () => {
  const known: readonly (readonly [text: string, first: string])[] = [
    ['0x8010002c', 'Windows 0x8010002c'],
    ['8010002C', 'Windows 0x8010002c'],
    ['-2146435028', 'Windows 0x8010002c'],
    ['SCARD_E_NO_SUCH_CERTIFICATE', 'Windows 0x8010002c'],
    ['0x80091007', 'Windows 0x80091007'],
    ['0x80072f8f', 'Windows 0x80072f8f'],
    ['0x80072f78', 'Windows 0x80072f78'],
    ['0x800700ce', 'Windows 0x800700ce'],
    ['0x80190194', 'any HTTP client 404'],
    ['HTTP 404', 'any HTTP client 404'],
    ['32', 'Windows event log 32'],
    ['307', 'Windows event log 307'],
    ['29', 'NDES event log 29'],
    ['4002', 'Intune Certificate Connector 4002'],
    ['22013', 'Apple 22013'],
    ['MCSCEPErrorDomain 22006', 'Apple 22006'],
    ['-67731', 'Apple -67731'],
    ['badrequest', 'any SCEP client badRequest'],
    ['failInfo 2', 'any SCEP client badRequest'],
    ['CA_UNREACHABLE', 'certmonger CA_UNREACHABLE'],
    ['hash value is not correct', 'Windows 0x80091007'],
    ["The server's answer is not valid.", 'Windows 0x80072f78'],
    [
      'sscep: reason: Transaction not permitted or supported',
      'sscep reason: Transaction not permitted or supported',
    ],
    [
      'transaction ID of scep response does not match',
      'strongSwan transaction ID of scep response does not match',
    ],
    [
      'java.security.cert.CertPathValidatorException: Trust anchor for certification path not found.',
      'Android Trust anchor for certification path not found',
    ],
  ];
  for (const [text, first] of known) test(`knows ${text}`, () => assert.equal(found(text)[0], first));

  test('a number that two logs use finds both', () => {
    assert.deepEqual(found('31'), ['Windows event log 31', 'NDES event log 31']);
  });

  test('what is not known is not made up: what looks alike, and what the number says', () => {
    const { exact, near, anatomy } = explainClientError('0x8010002d');
    assert.deepEqual(exact, []);
    assert.equal(near[0]?.code, '0x8010002c');
    assert.match(anatomy ?? '', /^0x8010002d: FACILITY_SCARD.*code 0x2d$/);
    assert.match(explainClientError('0x80070578').anatomy ?? '', /Windows error 1400/);
    assert.match(explainClientError('0x87d1fde8').anatomy ?? '', /not one that we know/);
    assert.deepEqual(explainClientError('a sentence of nobody'), { exact: [], near: [] });
    assert.deepEqual(explainClientError(''), { exact: [], near: [] });
  });
});

describe('the table of client errors', () => {
  test('says each thing once', () => {
    const keys = clientErrors.map(({ client, code }) => `${client} ${code.toLowerCase()}`);
    assert.deepEqual(
      keys.filter((key, index) => keys.indexOf(key) !== index),
      [],
    );
  });

  for (const row of clientErrors) {
    test(`${row.client} ${row.code} is whole`, () => {
      assert.ok(row.means !== '' && row.causes.length > 0 && row.look.length > 0);
      for (const code of row.ours ?? []) assert.ok(Object.hasOwn(errorTable, code), code);
      assert.ok(explainClientError(row.code).exact.includes(row), 'is found by its code');
    });
  }

  test('knows whatever our own device writes', () => {
    for (const { value } of Object.values(hResults)) {
      if (value !== 0)
        assert.notDeepEqual(explainClientError(`0x${value.toString(16)}`).exact, [], String(value));
    }
    for (const { id } of Object.values(deviceEvents)) {
      if (id < 40_000) assert.ok(found(String(id)).includes(`Windows event log ${id}`), String(id));
    }
  });
});
