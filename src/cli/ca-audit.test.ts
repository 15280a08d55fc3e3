import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  issuer,
  keys,
  newEcKey,
  openTestAuthorities,
  requestOf,
  type TestAuthorities,
} from '../../test/support/authorities-fixture.ts';
import { intentOf, issuedOf } from '../../test/support/store-fixture.ts';
import type { Issuer } from '../ca/index.ts';
import {
  authorityKeyIdentifierExtension,
  buildCertificate,
  type Certificate,
  keyIdentifier,
  parseCertificate,
  parseCertificationRequest,
  type Sign,
  thumbprintOf,
} from '../codec/index.ts';
import { type AuditFinding, auditOf } from './ca-audit.ts';

async function withStore(
  work: (authorities: TestAuthorities, good: Certificate) => Promise<void>,
): Promise<void> {
  const authorities = await openTestAuthorities();
  try {
    const good = await authorities.ra.enrolService({
      issuer: issuer.name,
      template: 'ra-signing',
      csr: parseCertificationRequest(await requestOf({})),
      operator: 'test',
    });
    await authorities.ca.publishCrls(issuer.name);
    await work(authorities, good);
  } finally {
    await authorities.close();
  }
}

async function findingsIn(
  { store }: TestAuthorities,
  issuers: readonly Issuer[] = [issuer],
  former: readonly Certificate[] = [],
): Promise<AuditFinding[]> {
  const all: AuditFinding[] = [];
  let count = 0;
  for await (const findings of auditOf(store, issuers, former)) {
    count += 1;
    all.push(...findings);
  }
  assert.ok(count >= 4, `only ${count} looked at`);
  return all;
}

/** Puts a certificate like a good one, with changes, on record as if the CA had made it. */
async function record(
  { store }: TestAuthorities,
  like: Certificate,
  changes: Partial<Parameters<typeof buildCertificate>[0]> = {},
  sign: Sign = keys.issuing.signs,
  facts: Partial<Parameters<typeof intentOf>[0]> = {},
): Promise<void> {
  const certificate = await buildCertificate(
    {
      signatureAlgorithm: 'rsa-sha256',
      issuer: like.issuer,
      notBefore: like.notBefore,
      notAfter: like.notAfter,
      subject: like.subject,
      spki: like.spki,
      extensions: like.extensions,
      ...changes,
      serialNumber: '51'.repeat(16),
    },
    sign,
  );
  const intent = intentOf({
    requestID: 'hand-made',
    serialNumber: '51'.repeat(16),
    issuer: issuer.name,
    subject: 'CN=device-1,O=Test',
    notAfter: parseCertificate(certificate).notAfter,
    ...facts,
  });
  await store.reserveSerial(intent);
  await store.recordCertificate({ ...issuedOf(intent), certificate, thumbprint: thumbprintOf(certificate) });
}

const rulesOf = (findings: readonly AuditFinding[]) => findings.map(({ kind, rule }) => [kind, rule]);

describe('leafgate ca audit', () => {
  test('finds nothing in what the CA made: chain, certificates, CRL', () =>
    withStore(async (authorities, good) => {
      assert.deepEqual(await findingsIn(authorities), []);
      await record(authorities, good);
      assert.deepEqual(await findingsIn(authorities), []);
    }));

  test('names the certificate that breaks a rule', () =>
    withStore(async (authorities, good) => {
      const extensions = good.extensions.slice(1);
      await record(authorities, good, { extensions });
      const findings = await findingsIn(authorities);
      assert.deepEqual(rulesOf(findings), [['certificate', 'basic_constraints']]);
      assert.equal(findings[0]?.serialNumber, '51'.repeat(16));
    }));

  test('finds a signature that is not the issuer’s', () =>
    withStore(async (authorities, good) => {
      await record(authorities, good, {}, keys.other.signs);
      assert.match((await findingsIn(authorities))[0]?.detail ?? '', /signature is not/);
    }));

  test('finds a record that says otherwise than its certificate', () =>
    withStore(async (authorities, good) => {
      await record(authorities, good, {}, keys.issuing.signs, { subject: 'CN=somebody else' });
      assert.deepEqual(rulesOf(await findingsIn(authorities)), [['certificate', 'record']]);
    }));

  test('finds a CA certificate that breaks a rule', () =>
    withStore(async (authorities) => {
      const [own = Uint8Array.of()] = issuer.chain;
      const mixed = await findingsIn(authorities, [{ ...issuer, chain: [own, own, own] }]);
      assert.ok(mixed.some(({ kind, rule }) => kind === 'CA certificate' && rule === 'issuer_name'));
    }));

  test('wants the former certificate of a CA that got another key', () =>
    withStore(async (authorities, good) => {
      const former = await newEcKey();
      const extensions = good.extensions.map((extension) =>
        extension.oid === authorityKeyIdentifierExtension(Uint8Array.of()).oid
          ? authorityKeyIdentifierExtension(keyIdentifier(former.spki))
          : extension,
      );
      await record(authorities, good, { extensions });
      assert.match((await findingsIn(authorities))[0]?.detail ?? '', /--former/);
    }));
});
