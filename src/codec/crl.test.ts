import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  assertRefused,
  clientKey,
  deviceKey,
  encoded,
  name,
  raKey,
  specimens,
  type Tree,
  treeOf,
} from '../../test/support/codec-fixture.ts';
import {
  buildCrl,
  buildExtension,
  type CrlFields,
  crlNumberExtension,
  der,
  extensionValue,
  hex,
  integer,
  oid,
  parseCrl,
  type RevocationReasonName,
  revocationReasons,
  sequence,
  tag,
  time,
  verifyCrlSignature,
} from './index.ts';

const octets = (text: string): Uint8Array => Buffer.from(text.replaceAll(' ', ''), 'hex');
const field = {
  version: 0,
  signature: 1,
  issuer: 2,
  thisUpdate: 3,
  nextUpdate: 4,
  revoked: 5,
  extensions: 6,
};

/** The specimen CRL with one part changed; its signature no longer matters. */
function changed(change: (fields: Tree[], outer: Tree[]) => void): Uint8Array {
  const root = treeOf(specimens.crl);
  const outer = root.children as Tree[];
  change((outer[0] as Tree).children as Tree[], outer);
  return encoded(root);
}
/** The specimen CRL with one entry that has these extensions. */
function entryHaving(...extensions: Uint8Array[]): Uint8Array {
  const entry = sequence(integer(1), time(new Date(0)), sequence(...extensions));
  return changed((fields) => fields.splice(field.revoked, 1, treeOf(sequence(entry))));
}
const reason = (value: Uint8Array, critical = false): Uint8Array =>
  buildExtension({ oid: oid.reasonCode, critical, value });

describe('parseCrl refuses', () => {
  const rows: readonly (readonly [what: string, bytes: Uint8Array, message: RegExp])[] = [
    ['version 1 by its absence', changed((fields) => fields.splice(field.version, 1)), /expected tag 02/],
    [
      'version 1 written out',
      changed((fields) => fields.splice(field.version, 1, treeOf(integer(0)))),
      /not v2\(1\)/,
    ],
    ['version 3', changed((fields) => fields.splice(field.version, 1, treeOf(integer(2)))), /not v2\(1\)/],
    [
      'another algorithm inside',
      changed((fields) =>
        fields.splice(field.signature, 1, treeOf(sequence(octets('06092a864886f70d01010c0500')))),
      ),
      /signature algorithms differ/,
    ],
    ['no thisUpdate', changed((fields) => fields.splice(field.thisUpdate, 2)), /expected a time/],
    [
      'three times',
      changed((fields) => fields.splice(field.thisUpdate, 0, treeOf(time(new Date(0))))),
      /follow the last/,
    ],
    [
      'an entry without date',
      changed((fields) => fields.splice(field.revoked, 1, treeOf(sequence(sequence(integer(1)))))),
      /cut off/,
    ],
    [
      'an entry with two lists of extensions',
      changed((fields) =>
        fields.splice(
          field.revoked,
          1,
          treeOf(sequence(sequence(integer(1), time(new Date(0)), sequence(), sequence()))),
        ),
      ),
      /follow the last/,
    ],
    [
      'an entry without serial number',
      changed((fields) => fields.splice(field.revoked, 1, treeOf(sequence(sequence(time(new Date(0))))))),
      /expected tag 02/,
    ],
    ['an unknown reason', entryHaving(reason(octets('0a0107'))), /unknown CRLReason/],
    ['a reason of delta CRLs', entryHaving(reason(octets('0a0108'))), /unknown CRLReason/],
    ['a reason of two octets', entryHaving(reason(octets('0a020001'))), /unknown CRLReason/],
    ['a reason of no octets', entryHaving(reason(octets('0a00'))), /unknown CRLReason/],
    ['a reason that is an INTEGER', entryHaving(reason(integer(1))), /expected tag 0a/],
    ['a reason twice', entryHaving(reason(octets('0a0101')), reason(octets('0a0101'))), /occurs twice/],
    [
      'an entry of an indirect CRL',
      entryHaving(buildExtension({ oid: '2.5.29.29', critical: true, value: sequence() })),
      /critical extension 2\.5\.29\.29/,
    ],
    [
      'extensions in no wrapper',
      changed((fields) => fields.splice(field.extensions, 1, treeOf(sequence()))),
      /follow the last/,
    ],
    [
      'something after the extensions',
      changed((fields) => fields.push(treeOf(octets('0500')))),
      /follow the last/,
    ],
    ['a fourth part', changed((_, outer) => outer.push(treeOf(octets('0500')))), /follow the last/],
  ];
  for (const [what, bytes, message] of rows) {
    test(what, () => {
      const error = assertRefused(() => parseCrl(bytes), ['crl_malformed'], what);
      assert.match(error.message, message);
    });
  }
});

describe('parseCrl reads', () => {
  test('the specimen', () => {
    const crl = parseCrl(specimens.crl);
    assert.equal(hex(crl.issuer.raw), hex(name.raw));
    assert.equal(crl.thisUpdate.toISOString(), '2026-02-01T00:00:00.000Z');
    assert.equal(crl.nextUpdate?.toISOString(), '2026-02-08T00:00:00.000Z');
    assert.deepEqual(crl.revoked, [
      { serialNumber: '01', revocationDate: new Date('2026-01-15T10:20:30Z'), reason: 'keyCompromise' },
      { serialNumber: 'ff01', revocationDate: new Date('2026-01-16T10:20:30Z'), reason: 'unspecified' },
    ]);
    assert.equal(hex(extensionValue(crl, oid.crlNumber) ?? octets('')), '0202012c');
    assert.equal(crl.signatureAlgorithm.oid, oid.sha256WithRSAEncryption);
  });
  test('no nextUpdate, no entries, no extensions', () => {
    const crl = parseCrl(changed((fields) => fields.splice(field.nextUpdate, 3)));
    assert.equal('nextUpdate' in crl, false);
    assert.deepEqual(crl.revoked, []);
    assert.deepEqual(crl.extensions, []);
  });
  test('an entry extension that is not critical, a reason that is', () => {
    const invalidityDate = buildExtension({ oid: '2.5.29.24', critical: false, value: octets('0500') });
    const [entry] = parseCrl(entryHaving(invalidityDate, reason(octets('0a0104'), true))).revoked;
    assert.equal(entry?.reason, 'superseded');
  });
  for (const [reasonName, code] of Object.entries(revocationReasons)) {
    test(`reason ${reasonName}`, () => {
      const [entry] = parseCrl(entryHaving(reason(der(tag.enumerated, Uint8Array.of(code))))).revoked;
      assert.equal(entry?.reason, reasonName);
    });
  }
});

describe('buildCrl', () => {
  const base: CrlFields = {
    signatureAlgorithm: 'ecdsa-sha256',
    issuer: name,
    thisUpdate: new Date('2026-02-01T00:00:00Z'),
    nextUpdate: new Date('2026-02-08T00:00:00Z'),
    revoked: [],
    extensions: [crlNumberExtension(1)],
  };
  const entries = fc.array(
    fc.record(
      {
        serialNumber: fc
          .uint8Array({ minLength: 1, maxLength: 20 })
          .map((serial) => hex(Uint8Array.of(1, ...serial))),
        revocationDate: fc
          .date({
            min: new Date('1970-01-01T00:00:00Z'),
            max: new Date('2100-01-01T00:00:00Z'),
            noInvalidDate: true,
          })
          .map((date) => new Date(Math.floor(date.getTime() / 1000) * 1000)),
        reason: fc.constantFrom(...(Object.keys(revocationReasons) as RevocationReasonName[])),
      },
      { noNullPrototype: true },
    ),
    { maxLength: 20 },
  );

  test('what is built is read', async () => {
    await fc.assert(
      fc.asyncProperty(entries, fc.nat(), async (revoked, number) => {
        const bytes = await buildCrl(
          { ...base, revoked, extensions: [crlNumberExtension(number)] },
          deviceKey.sign,
        );
        const crl = parseCrl(bytes);
        assert.deepEqual(crl.revoked, revoked);
        assert.equal(hex(extensionValue(crl, oid.crlNumber) ?? octets('')), hex(integer(number)));
        assert.equal(verifyCrlSignature(crl, deviceKey.spki), true);
      }),
      { numRuns: 200 },
    );
  });
  test('a reason of unspecified is not written, an empty list neither, nor empty extensions', async () => {
    const crl = await buildCrl({ ...base, extensions: [] }, deviceKey.sign);
    const tbs = treeOf(crl).children?.[0]?.children ?? [];
    assert.deepEqual(
      tbs.map((node) => node.tag),
      [0x02, 0x30, 0x30, 0x17, 0x17],
    );
    const revoked = [{ serialNumber: '05', revocationDate: new Date(0), reason: 'unspecified' as const }];
    const one = await buildCrl({ ...base, revoked }, deviceKey.sign);
    const entry = treeOf(one).children?.[0]?.children?.[5]?.children?.[0];
    assert.deepEqual(
      entry?.children?.map((node) => node.tag),
      [0x02, 0x17],
    );
  });
  test('a quarter of a million entries', { timeout: 30_000 }, async () => {
    const date = new Date('2026-01-01T00:00:00Z');
    function* revoked() {
      for (let serial = 0; serial < 250_000; serial += 1) {
        yield {
          serialNumber: (0x10_00_00_00 + serial).toString(16),
          revocationDate: date,
          reason: 'superseded' as const,
        };
      }
    }
    const crl = parseCrl(await buildCrl({ ...base, revoked: revoked() }, deviceKey.sign));
    assert.equal(crl.revoked.length, 250_000);
    assert.equal(crl.revoked[249_999]?.serialNumber, '1003d08f');
    assert.equal(verifyCrlSignature(crl, deviceKey.spki), true);
  });
  test('refuses a serial number that it would have to guess', async () => {
    for (const serialNumber of ['', 'abc', '-01', 'zz', 'AB']) {
      const revoked = [{ serialNumber, revocationDate: new Date(0), reason: 'unspecified' as const }];
      await assert.rejects(buildCrl({ ...base, revoked }, deviceKey.sign), {
        name: 'PkiError',
        code: 'der_malformed',
      });
    }
  });
});

test('verifyCrlSignature says no to another key and to any change', () => {
  const crl = parseCrl(specimens.crl);
  assert.equal(verifyCrlSignature(crl, raKey.spki), true);
  assert.equal(verifyCrlSignature(crl, clientKey.spki), false);
  assert.equal(verifyCrlSignature(crl, deviceKey.spki), false);
  const tbsCertList = Uint8Array.from(crl.tbsCertList);
  tbsCertList[tbsCertList.length - 1] = (tbsCertList[tbsCertList.length - 1] as number) ^ 1;
  assert.equal(verifyCrlSignature({ ...crl, tbsCertList }, raKey.spki), false);
});
