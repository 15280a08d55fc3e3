import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { certificates, inDays, keys } from '../../test/support/authorities-fixture.ts';
import { newCrl } from '../../test/support/storage-fixture.ts';
import { buildCrl, parseCrl, parsePem, parseSignedData } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { caCertificateObjects, cacheControlOf, crlObject, readCrlFacts } from './objects.ts';

const crl = await newCrl(7, { entries: 3 });

describe('readCrlFacts', () => {
  const malformed = (bytes: Uint8Array) =>
    assert.throws(
      () => readCrlFacts(bytes),
      (thrown) => thrown instanceof PkiError && thrown.code === 'crl_malformed',
    );

  test('refuses what is cut off anywhere', () => {
    for (let length = 0; length < crl.length; length += 1) malformed(crl.subarray(0, length));
  });
  test('refuses an octet more', () => malformed(Buffer.concat([crl, Uint8Array.of(0)])));
  test('refuses a certificate', () => malformed(certificates.issuing.raw));
  test('refuses text', () => malformed(Buffer.from('-----BEGIN X509 CRL-----')));

  test('reads number and end', () => {
    assert.deepEqual(readCrlFacts(crl), { crlNumber: 7n, nextUpdate: parseCrl(crl).nextUpdate });
  });
  test('reads a CRL without entries', async () => {
    assert.equal(readCrlFacts(await newCrl(0x7fff_ffff, { entries: 0 })).crlNumber, 0x7fff_ffffn);
  });
  test('reads a CRL without number', async () => {
    const bare = await buildCrl(
      {
        signatureAlgorithm: 'rsa-sha256',
        issuer: certificates.root.subject,
        thisUpdate: inDays(-1),
        nextUpdate: inDays(1),
        revoked: [],
        extensions: [],
      },
      keys.root.signs,
    );
    assert.deepEqual(readCrlFacts(bare), { nextUpdate: parseCrl(bare).nextUpdate });
  });
});

describe('objects', () => {
  test('a CRL', () => {
    const { nextUpdate } = parseCrl(crl);
    assert.deepEqual(crlObject('issuing', crl), {
      name: 'issuing.crl',
      bytes: crl,
      contentType: 'application/pkix-crl',
      number: 7n,
      nextUpdate,
    });
  });

  test('a CA’s certificate, alone and with its issuers', () => {
    const chain = [certificates.issuing.raw, certificates.root.raw] as const;
    const [certificate, bundle, pem, ...others] = caCertificateObjects('issuing', [...chain]);
    assert.deepEqual(others, []);
    assert.equal(certificate?.name, 'issuing.crt');
    assert.equal(certificate.contentType, 'application/pkix-cert');
    assert.deepEqual(certificate.bytes, chain[0]);
    assert.equal(bundle?.name, 'issuing.p7c');
    assert.equal(bundle.contentType, 'application/pkcs7-mime');
    const held = parseSignedData(bundle.bytes).certificates.map(({ raw }) =>
      Buffer.from(raw).toString('hex'),
    );
    assert.deepEqual(held.toSorted(), chain.map((raw) => Buffer.from(raw).toString('hex')).toSorted());
    assert.equal(pem?.name, 'issuing-chain.pem');
    assert.equal(pem.contentType, 'application/pem-certificate-chain');
    assert.deepEqual(
      parsePem(Buffer.from(pem.bytes).toString(), 'CERTIFICATE').map((raw) => Buffer.from(raw)),
      chain.map((raw) => Buffer.from(raw)),
    );
  });
});

describe('cacheControlOf', () => {
  const now = new Date('2026-01-01T00:00:00Z');
  const rows: readonly (readonly [name: string, leftMs: number | undefined, want: string])[] = [
    ['no end', undefined, 'public, max-age=86400'],
    ['a week', 7 * 86_400_000, 'public, max-age=3600'],
    ['ten hours', 36_000_000, 'public, max-age=3600'],
    ['a millisecond less', 35_999_999, 'public, max-age=1800'],
    ['an hour', 3_600_000, 'public, max-age=300'],
    ['ten minutes', 600_000, 'public, max-age=60'],
    ['nine minutes', 540_000, 'no-cache'],
    ['none', 0, 'no-cache'],
    ['over', -1000, 'no-cache'],
  ];
  for (const [name, leftMs, want] of rows) {
    test(name, () => {
      const object = leftMs === undefined ? {} : { nextUpdate: new Date(now.getTime() + leftMs) };
      assert.equal(cacheControlOf(object, now), want);
    });
  }
  test('never beyond the end, whenever it was written', () => {
    for (let leftMs = 0; leftMs < 86_400_000; leftMs += 61_001) {
      const text = cacheControlOf({ nextUpdate: new Date(now.getTime() + leftMs) }, now);
      assert.ok(Number(/\d+/.exec(text)?.[0] ?? 0) * 10_000 <= leftMs, `${text} with ${leftMs} ms left`);
    }
  });
});
