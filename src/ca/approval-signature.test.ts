/** What a CA does with the RA's signature, and without it. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  certificates,
  clientTemplate,
  FixtureClock,
  keys,
  newRsaKey,
  openTestAuthorities,
  recordsIn,
  requestOf,
  type TestAuthorities,
} from '../../test/support/authorities-fixture.ts';
import {
  buildCertificate,
  buildSignedData,
  type Certificate,
  endEntityBasicConstraintsExtension,
  extKeyUsageExtension,
  type KeyUsage,
  keyIdentifier,
  keyUsageExtension,
  nameFromString,
  oid,
  parseCertificate,
  parseCertificationRequest,
  subjectKeyIdentifierExtension,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { signApproval } from './approval-signature.ts';
import { type Approval, ApprovedRequest } from './approved-request.ts';
import { CertificateAuthority } from './certificate-authority.ts';
import { resolveTemplates } from './template-definition.ts';

const csr = parseCertificationRequest(await requestOf({}));
const otherCsr = parseCertificationRequest(await requestOf({ key: keys.other }));

const { templates, faults } = resolveTemplates([
  { name: 'signed', extend: clientTemplate.name, raSignature: 'required' },
]);
assert.deepEqual(faults, []);

const approval: Approval = {
  requestID: 'request-1',
  issuer: 'issuing',
  template: 'signed',
  csr,
  subject: nameFromString('CN=device-1'),
  subjectAltName: [{ type: 'dNSName', value: 'device-1.example' }],
  requester: 'ra',
  device: 'device-1',
};

interface RaCertificate {
  readonly key?: typeof keys.raSigning;
  readonly purpose?: string;
  readonly usage?: KeyUsage;
  readonly notBefore?: Date;
  readonly notAfter?: Date;
}

const DAY_MS = 86_400_000;
const day = (days: number) => new Date(Math.floor(Date.now() / 1000) * 1000 + days * DAY_MS);

let serial = 0;
/** A certificate that is an RA's but for what a row says. */
async function raCertificate(own: RaCertificate = {}): Promise<Certificate> {
  const { key = keys.raSigning, purpose = oid.certificateRequestAgent, usage = 'digitalSignature' } = own;
  serial += 1;
  const raw = await buildCertificate(
    {
      serialNumber: `7b${serial.toString(16).padStart(4, '0')}`,
      signatureAlgorithm: 'rsa-sha256',
      issuer: certificates.issuing.subject,
      subject: nameFromString('CN=An RA'),
      notBefore: own.notBefore ?? day(-1),
      notAfter: own.notAfter ?? day(30),
      spki: key.spki,
      extensions: [
        endEntityBasicConstraintsExtension(),
        keyUsageExtension([usage]),
        extKeyUsageExtension([purpose]),
        subjectKeyIdentifierExtension(keyIdentifier(key.spki)),
      ],
    },
    keys.issuing.signs,
  );
  return parseCertificate(raw);
}

const ra = await raCertificate();
const signedBy = (
  certificate: Certificate,
  what: Approval = approval,
  key = keys.raSigning,
): Promise<Uint8Array> => signApproval(what, { certificate, sign: key.signs });

async function withCa(
  work: (ca: CertificateAuthority, authorities: TestAuthorities) => Promise<void>,
  raCertificates: readonly Certificate[] | undefined = [ra],
): Promise<void> {
  const authorities = await openTestAuthorities({ templates });
  try {
    const { store, clock } = authorities;
    const ca = new CertificateAuthority({
      issuers: authorities.ca.issuers,
      templates,
      store,
      clock,
      ...(raCertificates === undefined ? {} : { raCertificates }),
    });
    await work(ca, authorities);
  } finally {
    await authorities.close();
  }
}

const refused = (detail: RegExp) => (thrown: unknown) => {
  assert.ok(thrown instanceof PkiError, String(thrown));
  assert.equal(thrown.code, 'ra_signature');
  assert.match(thrown.message, detail);
  return true;
};

/** Asks for the certificate and sees it refused, with nothing left behind. */
async function assertRefused(
  raSignature: Uint8Array | undefined,
  detail: RegExp,
  raCertificates: readonly Certificate[] | undefined = [ra],
  asked: Approval = approval,
): Promise<void> {
  await withCa(async (ca, authorities) => {
    const minted = ApprovedRequest.mint({ ...asked, ...(raSignature === undefined ? {} : { raSignature }) });
    await assert.rejects(ca.issue(minted), refused(detail));
    assert.deepEqual(await recordsIn(authorities), []);
  }, raCertificates);
}

describe('a template that asks for the RA’s signature is refused', () => {
  test('without one', () => assertRefused(undefined, /has not signed/));
  test('where the configuration names no RA', async () => assertRefused(await signedBy(ra), /names/, []));
  test('with octets that are none', () => assertRefused(Buffer.from('yes'), /cannot be read/));
  test('with an empty one', () => assertRefused(Uint8Array.of(), /cannot be read/));

  test('by another certificate of the same CA, with all that an RA’s has', async () => {
    const key = await newRsaKey();
    await assertRefused(await signedBy(await raCertificate({ key }), approval, key), /names/);
  });

  test('by another certificate over the RA’s own key', async () =>
    assertRefused(await signedBy(await raCertificate()), /names/));

  test('by another key in the name of the RA’s certificate', async () =>
    assertRefused(await signedBy(ra, approval, await newRsaKey()), /names/));

  test('over something else', async () =>
    assertRefused(
      await buildSignedData(
        {
          content: Buffer.from('anything'),
          digest: 'sha256',
          signer: ra,
          certificates: [ra.raw],
          attributes: [],
        },
        keys.raSigning.signs,
      ),
      /something else/,
    ));

  test('at any octet that was altered', async () => {
    const good = await signedBy(ra);
    const authorities = await openTestAuthorities({ templates });
    const ca = new CertificateAuthority({
      issuers: authorities.ca.issuers,
      templates,
      store: authorities.store,
      clock: authorities.clock,
      raCertificates: [ra],
    });
    const tails = { content: Buffer.from(good).indexOf('request-1'), signature: good.length - 100 };
    assert.ok(tails.content > 0);
    for (const at of [...Object.values(tails), good.length - 1]) {
      const altered = Buffer.from(good);
      altered[at] = (altered[at] ?? 0) ^ 1;
      await assert.rejects(
        ca.issue(ApprovedRequest.mint({ ...approval, raSignature: altered })),
        refused(/./),
      );
    }
    for (const raSignature of [good.subarray(0, -1), Buffer.concat([good, Uint8Array.of(0)])])
      await assert.rejects(ca.issue(ApprovedRequest.mint({ ...approval, raSignature })), refused(/./));
    assert.deepEqual(await recordsIn(authorities), []);
    await authorities.close();
  });

  for (const [name, own, detail] of [
    ['by a certificate that has ended', { notAfter: day(-0.5) }, /not valid now/],
    ['by a certificate that has not begun', { notBefore: day(1) }, /not valid now/],
    [
      'by a certificate without the purpose of an enrolment agent',
      { purpose: oid.clientAuth },
      /no certificate of an enrolment agent/,
    ],
    ['by a certificate that is not for signatures', { usage: 'keyEncipherment' }, /not for signatures/],
  ] as const) {
    test(name, async () => {
      const certificate = await raCertificate(own);
      await assertRefused(await signedBy(certificate), detail, [certificate]);
    });
  }

  test('by a certificate that was revoked', () =>
    withCa(async (_, authorities) => {
      const issued = await authorities.ra.enrolService({
        issuer: 'issuing',
        template: 'ra-signing',
        csr: parseCertificationRequest(await requestOf({ key: keys.raSigning })),
        operator: 'operator',
      });
      const { store, clock } = authorities;
      const ca = new CertificateAuthority({
        issuers: authorities.ca.issuers,
        templates,
        store,
        clock,
        raCertificates: [issued],
      });
      const mint = async (requestID: string) =>
        ApprovedRequest.mint({
          ...approval,
          requestID,
          raSignature: await signedBy(issued, { ...approval, requestID }),
        });
      assert.ok(await ca.issue(await mint('before')));
      const { serialNumber } = issued;
      const how = { issuer: 'issuing', serialNumber, actor: 'operator', text: '' };
      await ca.revoke({ ...how, reason: 'certificateHold' });
      await assert.rejects(ca.issue(await mint('after')), refused(/is revoked/));
      await ca.release(how);
      assert.ok(await ca.issue(await mint('released')));
    }));

  const changes: readonly (readonly [name: string, change: Partial<Approval>])[] = [
    ['another request', { requestID: 'request-2' }],
    ['another template', { template: 'signed-too' }],
    ['another requester', { requester: 'somebody' }],
    ['another device', { device: 'device-2' }],
    ['another approver', { approvedBy: 'operator anna' }],
    ['another key', { csr: otherCsr }],
    ['another subject', { subject: nameFromString('CN=admin') }],
    ['another subjectAltName', { subjectAltName: [{ type: 'dNSName', value: 'admin.example' }] }],
    ['no subjectAltName', { subjectAltName: [] }],
    ['a SID', { securityIdentifier: 'S-1-5-21-1-2-3-500' }],
    ['a key usage', { keyUsage: ['digitalSignature'] }],
    ['a purpose', { extKeyUsage: [oid.clientAuth] }],
  ];
  const both = resolveTemplates([
    { name: 'signed', extend: clientTemplate.name, raSignature: 'required' },
    { name: 'signed-too', extend: 'signed' },
  ]).templates;
  for (const [name, change] of changes) {
    test(`for ${name} than was signed`, async () => {
      const authorities = await openTestAuthorities({ templates: both });
      const ca = new CertificateAuthority({
        issuers: authorities.ca.issuers,
        templates: both,
        store: authorities.store,
        clock: authorities.clock,
        raCertificates: [ra],
      });
      const raSignature = await signedBy(ra);
      await assert.rejects(
        ca.issue(ApprovedRequest.mint({ ...approval, ...change, raSignature })),
        refused(/something else/),
      );
      assert.deepEqual(await recordsIn(authorities), []);
      assert.ok(await ca.issue(ApprovedRequest.mint({ ...approval, raSignature })), 'and it was good');
      await authorities.close();
    });
  }
});

describe('a template that asks for the RA’s signature', () => {
  test('is issued with it', () =>
    withCa(async (ca) => {
      const raSignature = await signedBy(ra);
      const certificate = await ca.issue(ApprovedRequest.mint({ ...approval, raSignature }));
      assert.deepEqual(certificate?.spki, csr.spki);
    }));

  test('gets one certificate for one signature', () =>
    withCa(async (ca) => {
      const raSignature = await signedBy(ra);
      await ca.issue(ApprovedRequest.mint({ ...approval, raSignature }));
      await assert.rejects(
        ca.issue(ApprovedRequest.mint({ ...approval, raSignature })),
        (thrown) => thrown instanceof PkiError && thrown.code === 'enrolment_busy',
      );
    }));

  const signedTemplates = resolveTemplates([
    { name: clientTemplate.name, extend: clientTemplate.name, raSignature: 'required' },
  ]).templates;
  const enrol = ({ ra: authority, clock }: TestAuthorities) =>
    authority.enrol({
      endpoint: 'scripted',
      transactionID: 't',
      csr,
      challengePassword: 'x',
      source: 'test',
      receivedAt: clock.now(),
    });

  test('is served by an RA that signs what it approves', async () => {
    const authorities = await openTestAuthorities({ templates: signedTemplates });
    const outcome = await enrol(authorities);
    assert.equal(outcome.outcome, 'issued', JSON.stringify(outcome));
    await authorities.close();
  });

  test('is not served by an RA with another key', async () => {
    const key = await newRsaKey();
    const certificate = await raCertificate({ key });
    const authorities = await openTestAuthorities({
      templates: signedTemplates,
      approvalSigner: { certificate, sign: key.signs },
    });
    const outcome = await enrol(authorities);
    assert.equal(outcome.outcome === 'refused' && outcome.code, 'ra_signature');
    assert.deepEqual(await recordsIn(authorities), []);
    await authorities.close();
  });

  test('is not served once the certificate of the RA has ended', async () => {
    const clock = new FixtureClock();
    const authorities = await openTestAuthorities({ templates: signedTemplates, clock });
    clock.offsetMs = 366 * DAY_MS;
    const outcome = await enrol(authorities);
    assert.equal(outcome.outcome === 'refused' && outcome.code, 'ra_signature');
    await authorities.close();
  });
});

test('a template that does not ask for it pays nothing for it', async () => {
  let signed = 0;
  const authorities = await openTestAuthorities({
    approvalSigner: {
      certificate: certificates.raSigning,
      sign: (algorithm, data) => {
        signed += 1;
        return keys.raSigning.sign(algorithm, data);
      },
    },
  });
  const outcome = await authorities.ra.enrol({
    endpoint: 'scripted',
    transactionID: 't',
    csr,
    challengePassword: 'x',
    source: 'test',
    receivedAt: authorities.clock.now(),
  });
  assert.equal(outcome.outcome, 'issued');
  assert.equal(signed, 0);
  await authorities.close();
});
