import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { certificates, issuer, keys } from '../../test/support/authorities-fixture.ts';
import { parseSignedData, sameOctets } from '../codec/index.ts';
import { buildNextCaCertificates, parseNextCaCertificates } from './next-ca.ts';

const current = { certificate: certificates.issuing, sign: keys.issuing.signs };

describe('GetNextCACert', () => {
  test('the next certificates, under the current CA’s signature', async () => {
    const body = await buildNextCaCertificates(issuer.chain, current);
    const read = parseNextCaCertificates(body, certificates.issuing);
    assert.equal(read.length, issuer.chain.length);
    for (const [index, raw] of issuer.chain.entries())
      assert.ok(sameOctets(read[index]?.raw ?? Uint8Array.of(), raw));
    // §4.7.1: the outer message is signed, the inner one is degenerate.
    const outer = parseSignedData(body);
    assert.equal(outer.signerInfos.length, 1);
    assert.equal(parseSignedData(outer.content ?? Uint8Array.of()).signerInfos.length, 0);
  });

  test('another key’s signature is not believed', async () => {
    const forged = await buildNextCaCertificates(issuer.chain, { ...current, sign: keys.other.signs });
    assert.throws(() => parseNextCaCertificates(forged, certificates.issuing), { code: 'scep_signature' });
  });

  test('nor is another certificate’s', async () => {
    const body = await buildNextCaCertificates(issuer.chain, {
      certificate: certificates.raSigning,
      sign: keys.raSigning.signs,
    });
    assert.throws(() => parseNextCaCertificates(body, certificates.issuing), { code: 'scep_signature' });
  });

  test('nothing but whole messages can be read', async () => {
    const body = await buildNextCaCertificates(issuer.chain, current);
    for (let length = 0; length < body.length; length += 7)
      assert.throws(() => parseNextCaCertificates(body.subarray(0, length), certificates.issuing));
  });
});
