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
  baseCrlNumberOf,
  buildCrl,
  buildExtension,
  type CrlFields,
  crlDistributionPointsOf,
  crlNumberExtension,
  crlNumberOf,
  deltaCrlIndicatorExtension,
  der,
  type Extension,
  extensionValue,
  freshestCrlExtension,
  freshestCrlOf,
  hex,
  integer,
  issuingDistributionPointExtension,
  issuingDistributionPointOf,
  nextCrlPublishExtension,
  nextCrlPublishOf,
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
/** The specimen CRL with this extension alone. */
function crlHaving(extension: Extension): Uint8Array {
  const wrapper = der(0xa0, sequence(buildExtension(extension)));
  return changed((fields) => fields.splice(field.extensions, 1, treeOf(wrapper)));
}
const distributionPoint = (...parts: Uint8Array[]): Extension => ({
  oid: oid.issuingDistributionPoint,
  critical: true,
  value: sequence(...parts),
});
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
    ['a reason of delta CRLs', entryHaving(reason(octets('0a0108'))), /removeFromCRL in a CRL that is no/],
    ['a reason of two octets', entryHaving(reason(octets('0a020001'))), /unknown CRLReason/],
    ['a reason of no octets', entryHaving(reason(octets('0a00'))), /unknown CRLReason/],
    ['a reason that is an INTEGER', entryHaving(reason(integer(1))), /expected tag 0a/],
    ['a reason twice', entryHaving(reason(octets('0a0101')), reason(octets('0a0101'))), /occurs twice/],
    [
      'an invalidityDate that is no GeneralizedTime',
      entryHaving(
        buildExtension({ oid: oid.invalidityDate, critical: false, value: time(new Date('2026-01-01')) }),
      ),
      /no GeneralizedTime/,
    ],
    [
      'a critical extension that nobody knows',
      crlHaving({ oid: '1.2.3', critical: true, value: octets('0500') }),
      /critical extension 1\.2\.3/,
    ],
    [
      'a negative BaseCRLNumber',
      crlHaving({ oid: oid.deltaCRLIndicator, critical: true, value: octets('0201ff') }),
      /number out of range/,
    ],
    [
      'a BaseCRLNumber beyond 2^53',
      crlHaving({ oid: oid.deltaCRLIndicator, critical: true, value: octets('020720000000000000') }),
      /number out of range/,
    ],
    ['a CRL of some reasons', crlHaving(distributionPoint(octets('83020780'))), /limited to some reasons/],
    ['an indirect CRL', crlHaving(distributionPoint(octets('8401ff'))), /indirect/],
    ['a flag that is FALSE', crlHaving(distributionPoint(octets('810100'))), /bad flag/],
    ['two kinds of certificate', crlHaving(distributionPoint(octets('8101ff8201ff'))), /bad flag/],
    [
      'a distribution point name of no known form',
      crlHaving(distributionPoint(octets('a002a200'))),
      /of no known form/,
    ],
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
  test('an entry extension that nobody knows and is not critical, a reason that is', () => {
    const hint = buildExtension({ oid: '2.5.29.23', critical: false, value: octets('0500') });
    const [entry] = parseCrl(entryHaving(hint, reason(octets('0a0104'), true))).revoked;
    assert.equal(entry?.reason, 'superseded');
  });
  test('what a CRL of everything leaves out', () => {
    const crl = parseCrl(specimens.crl);
    assert.equal(crlNumberOf(crl), 300);
    assert.equal(baseCrlNumberOf(crl), undefined);
    assert.equal(issuingDistributionPointOf(crl), undefined);
    assert.equal(nextCrlPublishOf(crl), undefined);
    assert.deepEqual([freshestCrlOf(crl), crlDistributionPointsOf(crl)], [[], []]);
  });
  test('distribution points: URLs of those for all reasons, no relative names', () => {
    const url = (text: string) => der(0xa0, der(0xa0, der(0x86, Buffer.from(text))));
    const extensions: Extension[] = [
      {
        oid: oid.cRLDistributionPoints,
        critical: false,
        value: sequence(
          sequence(url('http://a.test/1.crl')),
          sequence(url('http://a.test/some-reasons.crl'), octets('81020780')),
          sequence(der(0xa0, der(0xa1, octets('3009060355040314026869')))),
          sequence(
            der(
              0xa0,
              der(0xa0, der(0x82, Buffer.from('a.test')), der(0x86, Buffer.from('http://a.test/2.crl'))),
            ),
          ),
        ),
      },
    ];
    assert.deepEqual(crlDistributionPointsOf({ extensions }), ['http://a.test/1.crl', 'http://a.test/2.crl']);
  });
  for (const [reasonName, code] of Object.entries(revocationReasons)) {
    test(`reason ${reasonName}`, () => {
      const [entry] = parseCrl(entryHaving(reason(der(tag.enumerated, Uint8Array.of(code))))).revoked;
      assert.equal(entry?.reason, reasonName);
    });
  }
});

describe('extensions of CRLs', () => {
  // DER written out by hand from RFC 5280 §4.2.1.13, §5.2.4, §5.2.5 and §5.2.6.
  const rows: readonly (readonly [what: string, have: Extension, critical: boolean, want: string])[] = [
    ['deltaCRLIndicator', deltaCrlIndicatorExtension(300), true, '0202012c'],
    [
      'issuingDistributionPoint with a URL, user certificates only',
      issuingDistributionPointExtension({ urls: ['http://a.test/c/'], onlyContains: 'userCerts' }),
      true,
      '3019a014a0128610687474703a2f2f612e746573742f632f8101ff',
    ],
    [
      'issuingDistributionPoint of CA certificates without a URL',
      issuingDistributionPointExtension({ urls: [], onlyContains: 'cACerts' }),
      true,
      '30038201ff',
    ],
    [
      'freshestCRL',
      freshestCrlExtension(['http://a.test/c/']),
      false,
      '30183016a014a0128610687474703a2f2f612e746573742f632f',
    ],
    [
      'Next CRL Publish',
      nextCrlPublishExtension(new Date('2026-02-08T00:00:00Z')),
      false,
      '170d3236303230383030303030305a',
    ],
  ];
  for (const [what, have, critical, want] of rows) {
    test(what, () => {
      assert.equal(hex(have.value), want);
      assert.equal(have.critical, critical);
    });
  }
  test('a delta CRL of one distribution point says all of it, and is read', async () => {
    const scope = {
      urls: ['http://a.test/3.crl', 'https://b.test/3.crl'],
      onlyContains: 'userCerts',
    } as const;
    const bytes = await buildCrl(
      {
        signatureAlgorithm: 'ecdsa-sha256',
        issuer: name,
        thisUpdate: new Date('2026-02-01T00:00:00Z'),
        nextUpdate: new Date('2026-02-02T00:00:00Z'),
        revoked: [
          { serialNumber: '01', revocationDate: new Date('2026-01-31T23:59:59Z'), reason: 'removeFromCRL' },
          {
            serialNumber: '02',
            revocationDate: new Date('2026-01-31T10:00:00Z'),
            reason: 'keyCompromise',
            invalidityDate: new Date('2026-01-30T09:08:07Z'),
          },
          {
            serialNumber: '03',
            revocationDate: new Date('2050-01-31T10:00:00Z'),
            reason: 'unspecified',
            invalidityDate: new Date('2050-01-30T09:08:07Z'),
          },
        ],
        extensions: [
          crlNumberExtension(12),
          deltaCrlIndicatorExtension(9),
          issuingDistributionPointExtension(scope),
          freshestCrlExtension(['http://a.test/3.delta.crl']),
          nextCrlPublishExtension(new Date('2026-02-01T12:00:00Z')),
        ],
      },
      deviceKey.sign,
    );
    const crl = parseCrl(bytes);
    assert.deepEqual([crlNumberOf(crl), baseCrlNumberOf(crl)], [12, 9]);
    assert.deepEqual(issuingDistributionPointOf(crl), scope);
    assert.deepEqual(freshestCrlOf(crl), ['http://a.test/3.delta.crl']);
    assert.equal(nextCrlPublishOf(crl)?.toISOString(), '2026-02-01T12:00:00.000Z');
    assert.deepEqual(
      crl.revoked.map(({ reason, invalidityDate }) => [reason, invalidityDate?.toISOString()]),
      [
        ['removeFromCRL', undefined],
        ['keyCompromise', '2026-01-30T09:08:07.000Z'],
        ['unspecified', '2050-01-30T09:08:07.000Z'],
      ],
    );
    assert.equal(verifyCrlSignature(crl, deviceKey.spki), true);
  });
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
          .uint8Array({ minLength: 1, maxLength: 19 })
          // No zero octet in front: the INTEGER, and so what is read, would not have it.
          .map((serial) => hex(Uint8Array.of((serial[0] as number) | 1, ...serial))),
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
  test('zero octets in front of a serial number are not its own', async () => {
    const revoked = ['0001', '0000', '0080'].map((serialNumber) => ({
      serialNumber,
      revocationDate: new Date(0),
      reason: 'unspecified' as const,
    }));
    const crl = parseCrl(await buildCrl({ ...base, revoked }, deviceKey.sign));
    assert.deepEqual(
      crl.revoked.map(({ serialNumber }) => serialNumber),
      ['01', '00', '80'],
    );
  });
  test('a quarter of a million entries, page by page', { timeout: 30_000 }, async () => {
    const date = new Date('2026-01-01T00:00:00Z');
    async function* revoked() {
      for (let page = 0; page < 250; page += 1) {
        yield Array.from({ length: 1000 }, (_, index) => ({
          serialNumber: (0x10_00_00_00 + page * 1000 + index).toString(16),
          revocationDate: date,
          reason: 'superseded' as const,
        }));
      }
    }
    const crl = parseCrl(await buildCrl({ ...base, revoked: revoked() }, deviceKey.sign));
    assert.equal(crl.revoked.length, 250_000);
    assert.equal(crl.revoked[249_999]?.serialNumber, '1003d08f');
    assert.equal(verifyCrlSignature(crl, deviceKey.spki), true);
  });
  test('refuses a serial number that it would have to guess', async () => {
    for (const serialNumber of ['', 'abc', '-01', 'zz', 'AB', '01'.repeat(21)]) {
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
