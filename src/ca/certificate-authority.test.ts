import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { afterEach, describe, test } from 'node:test';
import * as pkijs from 'pkijs';
import {
  auditIn,
  certificates,
  clientTemplate,
  DAY_MS,
  FixtureClock,
  type FixtureKey,
  type FixtureOptions,
  inDays,
  issuer,
  keys,
  newEcKey,
  openTestAuthorities,
  publishedCrl,
  type RequestFields,
  recordsIn,
  requestOf,
  type TestAuthorities,
} from '../../test/support/authorities-fixture.ts';
import {
  authorityKeyIdentifierOf,
  basicConstraintsOf,
  type Certificate,
  type Extension,
  extKeyUsageExtension,
  extKeyUsageOf,
  type GeneralName,
  keyIdentifier,
  keyUsageExtension,
  keyUsageOf,
  nameFromString,
  nameToString,
  octetString,
  oid,
  parseCertificate,
  parseCertificationRequest,
  parseCrl,
  sequence,
  subjectAltNameOf,
  subjectKeyIdentifierOf,
  thumbprintOf,
  verifyCertificateSignature,
  verifyCrlSignature,
} from '../codec/index.ts';
import { type ErrorCode, PkiError } from '../errors.ts';
import { type Approval, ApprovedRequest } from './approved-request.ts';
import { createIssuing, signatureAlgorithmFor } from './hierarchy.ts';
import type { Issuer } from './issuer.ts';
import { builtInTemplates, type CertificateTemplate } from './template.ts';

let opened: TestAuthorities | undefined;
async function open(options: FixtureOptions = {}): Promise<TestAuthorities> {
  opened = await openTestAuthorities(options);
  return opened;
}
afterEach(async () => {
  await opened?.close();
  opened = undefined;
});

let requests = 0;
/** An approval of a fresh request. */
async function approvalOf(changes: Partial<Approval> = {}, fields: RequestFields = {}): Promise<Approval> {
  const csr = parseCertificationRequest(await requestOf(fields));
  requests += 1;
  return {
    requestID: `request-${requests}`,
    issuer: 'issuing',
    template: 'client-authentication',
    csr,
    subject: csr.subject,
    subjectAltName: [],
    requester: 'TEST\\svc-ra',
    device: 'device-1',
    ...changes,
  };
}

async function issueWith(
  { ca }: TestAuthorities,
  changes: Partial<Approval> = {},
  fields: RequestFields = {},
): Promise<Certificate> {
  const certificate = await ca.issue(ApprovedRequest.mint(await approvalOf(changes, fields)));
  assert.ok(certificate !== undefined);
  return certificate;
}

/** Asserts that issuing is refused with this code and left nothing on record. */
async function refusedAs(
  code: ErrorCode,
  authorities: TestAuthorities,
  changes: Partial<Approval>,
  fields: RequestFields = {},
): Promise<void> {
  const before = (await recordsIn(authorities)).length;
  const approved = ApprovedRequest.mint(await approvalOf(changes, fields));
  await assert.rejects(authorities.ca.issue(approved), (thrown) => {
    assert.ok(thrown instanceof PkiError, String(thrown));
    assert.equal(thrown.code, code, thrown.message);
    return true;
  });
  assert.equal((await recordsIn(authorities)).length, before);
}

const template = (name: string) =>
  builtInTemplates.find((candidate) => candidate.name === name) as CertificateTemplate;
const everything: CertificateTemplate = {
  ...clientTemplate,
  name: 'everything',
  subject: 'optional',
  keyUsage: ['digitalSignature', 'keyEncipherment'],
  extKeyUsage: [oid.clientAuth, oid.serverAuth],
  keyAlgorithms: ['rsa', 'P-256', 'P-384'],
  subjectAltNameTypes: [
    'dNSName',
    'rfc822Name',
    'uniformResourceIdentifier',
    'iPAddress',
    'userPrincipalName',
  ],
};

describe('issue', () => {
  test('makes the certificate of the template and nothing else', async () => {
    const authorities = await open();
    const before = Date.now();
    const certificate = await issueWith(authorities, {
      subjectAltName: [{ type: 'dNSName', value: 'device-1.test' }],
    });
    assert.equal(nameToString(certificate.subject), 'CN=device-1,O=Test');
    assert.equal(nameToString(certificate.issuer), nameToString(certificates.issuing.subject));
    assert.deepEqual(Buffer.from(certificate.spki), Buffer.from(keys.device.spki));
    assert.ok(verifyCertificateSignature(certificate, keys.issuing.spki));
    assert.match(certificate.serialNumber, /^[4-7][0-9a-f]{31}$/);
    assert.deepEqual(basicConstraintsOf(certificate), { ca: false });
    assert.deepEqual(keyUsageOf(certificate), clientTemplate.keyUsage);
    assert.deepEqual(extKeyUsageOf(certificate), clientTemplate.extKeyUsage);
    assert.deepEqual(subjectAltNameOf(certificate), [{ type: 'dNSName', value: 'device-1.test' }]);
    assert.deepEqual(
      Buffer.from(subjectKeyIdentifierOf(certificate) ?? []),
      Buffer.from(keyIdentifier(keys.device.spki)),
    );
    assert.deepEqual(
      Buffer.from(authorityKeyIdentifierOf(certificate) ?? []),
      Buffer.from(keyIdentifier(keys.issuing.spki)),
    );
    const backdatedMs = before - certificate.notBefore.getTime();
    assert.ok(Math.abs(backdatedMs - clientTemplate.backdateMs) < 10_000, String(backdatedMs));
    assert.deepEqual(
      certificate.extensions.map((extension) => extension.oid),
      [
        oid.basicConstraints,
        oid.keyUsage,
        oid.extKeyUsage,
        oid.subjectAltName,
        oid.subjectKeyIdentifier,
        oid.authorityKeyIdentifier,
        oid.cRLDistributionPoints,
        oid.authorityInfoAccess,
      ],
    );
    // Somebody else reads it too.
    const seen = new X509Certificate(certificate.raw);
    assert.ok(seen.verify(new X509Certificate(certificates.issuing.raw).publicKey));
    assert.ok(seen.checkIssued(new X509Certificate(certificates.issuing.raw)));
    assert.equal(seen.ca, false);
    assert.match(seen.infoAccess ?? '', /http:\/\/pki\.test\/aia\/issuing\.crt/);
  });

  test('leaves a record and an audit entry with everything that an auditor asks for', async () => {
    const authorities = await open();
    const certificate = await issueWith(authorities, {
      subjectAltName: [{ type: 'uniformResourceIdentifier', value: 'urn:device:1' }],
    });
    const [record, ...more] = await recordsIn(authorities);
    assert.deepEqual(more, []);
    assert.equal(record?.status, 'issued');
    assert.equal(record.serialNumber, certificate.serialNumber);
    assert.deepEqual(Buffer.from(record.certificate ?? []), Buffer.from(certificate.raw));
    assert.equal(record.thumbprint, thumbprintOf(certificate.raw));
    assert.equal(record.subject, 'CN=device-1,O=Test');
    assert.equal(record.subjectAltName, 'URI:urn:device:1');
    assert.equal(record.requester, 'TEST\\svc-ra');
    assert.equal(record.device, 'device-1');
    assert.deepEqual(record.notAfter, certificate.notAfter);
    const [entry] = await auditIn(authorities);
    assert.equal(entry?.event, 'certificate.issued');
    assert.equal(entry.actor, 'TEST\\svc-ra');
    assert.equal(entry.detail.serialNumber, certificate.serialNumber);
    assert.equal(entry.detail.requestID, record.requestID);
  });

  test('nothing of the request gets in that was not approved', async () => {
    const authorities = await open();
    const extension = (identifier: string, value: Uint8Array, critical = true): Extension => ({
      oid: identifier,
      critical,
      value,
    });
    const certificate = await issueWith(
      authorities,
      {},
      {
        extensions: [
          extension(oid.basicConstraints, sequence(Uint8Array.of(1, 1, 0xff))),
          keyUsageExtension(['keyCertSign', 'cRLSign']),
          extKeyUsageExtension([oid.anyExtendedKeyUsage, oid.codeSigning]),
          extension(oid.microsoftSecurityIdentifier, octetString(Buffer.from('S-1-5-21-1-2-3-500')), false),
        ],
      },
    );
    assert.deepEqual(basicConstraintsOf(certificate), { ca: false });
    assert.deepEqual(keyUsageOf(certificate), clientTemplate.keyUsage);
    assert.deepEqual(extKeyUsageOf(certificate), clientTemplate.extKeyUsage);
    assert.ok(!certificate.extensions.some(({ oid: type }) => type === oid.microsoftSecurityIdentifier));
  });

  test('a part of the template may be approved', async () => {
    const authorities = await open({ templates: [everything] });
    const certificate = await issueWith(authorities, {
      template: 'everything',
      keyUsage: ['keyEncipherment'],
      extKeyUsage: [oid.serverAuth],
    });
    assert.deepEqual(keyUsageOf(certificate), ['keyEncipherment']);
    assert.deepEqual(extKeyUsageOf(certificate), [oid.serverAuth]);
  });

  const upn: GeneralName = { type: 'userPrincipalName', value: 'a@test' };
  const dns: GeneralName = { type: 'dNSName', value: 'a.test' };
  const beyond: readonly (readonly [
    name: string,
    code: ErrorCode,
    changes: Partial<Approval>,
    fields?: () => Promise<RequestFields>,
  ])[] = [
    ['another template', 'template_denied', { template: 'absent' }],
    ['another issuing CA', 'template_denied', { issuer: 'absent' }],
    ['a purpose beyond the template', 'eku_mismatch', { extKeyUsage: [oid.clientAuth, oid.serverAuth] }],
    ['any purpose', 'eku_mismatch', { extKeyUsage: [oid.anyExtendedKeyUsage] }],
    ['no purpose', 'lint_failed', { extKeyUsage: [] }],
    ['a bit beyond the template', 'key_usage_mismatch', { keyUsage: ['digitalSignature', 'nonRepudiation'] }],
    ['a CA’s bit', 'key_usage_mismatch', { keyUsage: ['keyCertSign'] }],
    ['no bit', 'lint_failed', { keyUsage: [] }],
    [
      'an address where names alone are allowed',
      'san_mismatch',
      { subjectAltName: [dns, { type: 'iPAddress', value: '192.0.2.1' }] },
    ],
    [
      'a directory name',
      'san_mismatch',
      { subjectAltName: [{ type: 'directoryName', name: nameFromString('CN=a') }] },
    ],
    [
      'a name of another kind',
      'san_mismatch',
      { subjectAltName: [{ type: 'other', raw: Uint8Array.of(0x88, 1, 42) }] },
    ],
    [
      'a user where servers alone are named',
      'san_mismatch',
      { template: 'web-server', subjectAltName: [dns, upn] },
    ],
    ['no subject', 'subject_missing', { subject: nameFromString(''), subjectAltName: [dns] }],
    ['no subjectAltName where one must be', 'san_missing', { template: 'web-server' }],
    ['a subject that is too long', 'subject_mismatch', { subject: nameFromString(`CN=${'a'.repeat(65)}`) }],
    ['a DNS name that is none', 'san_mismatch', { subjectAltName: [{ type: 'dNSName', value: 'a b' }] }],
    [
      'a key on a curve where RSA alone is allowed',
      'key_algorithm',
      {},
      async () => ({ key: await newEcKey() }),
    ],
    [
      'a key on a curve that no template lists',
      'key_algorithm',
      { template: 'web-server', subjectAltName: [dns] },
      async () => ({ key: await newEcKey('P-521') }),
    ],
  ];
  for (const [name, code, changes, fields] of beyond) {
    test(`refuses ${name} although the RA approved it`, async () => {
      await refusedAs(code, await open(), changes, await fields?.());
    });
  }

  test('refuses a request that is not signed by its key', async () => {
    const der = Buffer.from(await requestOf({}));
    der[der.length - 1] = (der.at(-1) as number) ^ 1;
    await refusedAs('csr_signature', await open(), { csr: parseCertificationRequest(der) });
  });

  test('a request has one certificate', async () => {
    const authorities = await open();
    const approval = await approvalOf();
    await authorities.ca.issue(ApprovedRequest.mint(approval));
    await refusedAs('enrolment_busy', authorities, { requestID: approval.requestID });
    assert.equal((await authorities.ca.certificateOf(approval.requestID))?.status, 'issued');
  });

  test('twenty at once have twenty serials', async () => {
    const authorities = await open();
    const approvals = await Promise.all(Array.from({ length: 20 }, () => approvalOf()));
    const issued = await Promise.all(
      approvals.map((approval) => authorities.ca.issue(ApprovedRequest.mint(approval))),
    );
    assert.equal(new Set(issued.map((certificate) => certificate?.serialNumber)).size, 20);
  });

  test('a key on a curve enciphers nothing, whatever the template says', async () => {
    const authorities = await open();
    const key = await newEcKey('P-384');
    const subjectAltName: GeneralName[] = [{ type: 'dNSName', value: 'server.test' }];
    const changes = { template: 'web-server', subjectAltName };
    assert.deepEqual(template('web-server').keyUsage, ['digitalSignature', 'keyEncipherment']);
    assert.deepEqual(keyUsageOf(await issueWith(authorities, changes, { key })), ['digitalSignature']);
    assert.deepEqual(keyUsageOf(await issueWith(authorities, changes)), [
      'digitalSignature',
      'keyEncipherment',
    ]);
    await refusedAs('lint_failed', authorities, { ...changes, keyUsage: ['keyEncipherment'] }, { key });
  });
});

describe('validity', () => {
  /** The fixture's issuing CA with another certificate. */
  async function issuerValid(
    notBefore: Date,
    notAfter: Date,
    key: FixtureKey = keys.issuing,
  ): Promise<Issuer> {
    const certificate = await createIssuing(
      { certificate: certificates.root, key: keys.root },
      key.spki,
      certificates.issuing.subject,
      { notBefore, notAfter },
      { crlUrls: ['http://pki.test/r.crl'], caIssuersUrls: ['http://pki.test/r.crt'] },
    );
    return {
      ...issuer,
      certificate,
      chain: [certificate.raw, certificates.root.raw],
      key,
      signatureAlgorithm: signatureAlgorithmFor(key),
    };
  }

  test('ends with the issuing CA if that ends first', async () => {
    const end = inDays(10);
    const certificate = await issueWith(await open({ issuer: await issuerValid(inDays(-5), end) }));
    assert.deepEqual(certificate.notAfter, end);
  });

  test('begins with the issuing CA if that began last', async () => {
    const begin = new Date(inDays(0).getTime() - 3_600_000);
    const certificate = await issueWith(await open({ issuer: await issuerValid(begin, inDays(900)) }));
    assert.deepEqual(certificate.notBefore, begin);
  });

  test('is the template’s otherwise', async () => {
    const { notBefore, notAfter } = await issueWith(await open());
    const days = (notAfter.getTime() - notBefore.getTime() - clientTemplate.backdateMs) / DAY_MS;
    assert.equal(days, clientTemplate.validityMs / DAY_MS);
  });

  test('an issuing CA that has ended issues nothing', async () => {
    const authorities = await open({ issuer: await issuerValid(inDays(-100), inDays(-1 / 24)) });
    await refusedAs('lint_failed', authorities, {});
    authorities.clock.offsetMs = -DAY_MS;
    await issueWith(authorities);
  });

  for (const curve of ['P-256', 'P-384'] as const) {
    test(`an issuing CA on ${curve} issues to an RSA key`, async () => {
      const key = await newEcKey(curve);
      const authorities = await open({ issuer: await issuerValid(inDays(-5), inDays(500), key) });
      const certificate = await issueWith(authorities);
      assert.ok(verifyCertificateSignature(certificate, key.spki));
      const crl = await publishedCrl(authorities.ca);
      assert.ok(verifyCrlSignature(parseCrl(crl.crl), key.spki));
    });
  }
});

describe('revocation and CRLs', () => {
  const revoke = (authorities: TestAuthorities, serialNumber: string, reason = 'keyCompromise' as const) =>
    authorities.ca.revoke({ issuer: 'issuing', serialNumber, reason, actor: 'operator test', text: 'lost' });
  const listed = async (authorities: TestAuthorities) =>
    parseCrl((await publishedCrl(authorities.ca)).crl).revoked.map(({ serialNumber }) => serialNumber);

  test('a certificate is revoked once, and what does not exist never', async () => {
    const authorities = await open();
    const { serialNumber } = await issueWith(authorities);
    assert.equal(await revoke(authorities, 'aa'.repeat(16)), 'unknown');
    assert.equal(await revoke(authorities, serialNumber.toUpperCase()), 'unknown');
    assert.equal(await revoke(authorities, serialNumber), 'revoked');
    const [entry] = await auditIn(authorities);
    assert.deepEqual(
      [entry?.event, entry?.actor, entry?.detail.serialNumber, entry?.detail.reason],
      ['certificate.revoked', 'operator test', serialNumber, 'keyCompromise'],
    );
    const entries = (await auditIn(authorities)).length;
    assert.equal(await revoke(authorities, serialNumber), 'already');
    assert.equal((await auditIn(authorities)).length, entries);
    assert.deepEqual(await listed(authorities), [serialNumber]);
  });

  test('a CRL is made if one is due, and only then', async () => {
    const authorities = await open();
    const { ca, clock } = authorities;
    await assert.rejects(ca.publishCrls('absent'), (thrown) => thrown instanceof PkiError);
    assert.equal(await ca.latestCrl('issuing'), undefined);
    const first = await publishedCrl(ca);
    assert.equal(first.crlNumber, 1);
    const moments: readonly (readonly [name: string, act: () => unknown, due: boolean])[] = [
      ['nothing happened', () => {}, false],
      ['a certificate was issued', () => issueWith(authorities), false],
      ['a revocation of nothing', () => revoke(authorities, 'bb'.repeat(16)), false],
      ['a revocation', async () => revoke(authorities, (await issueWith(authorities)).serialNumber), true],
      [
        'the same revocation again',
        async () => revoke(authorities, (await recordsIn(authorities))[0]?.serialNumber ?? ''),
        false,
      ],
      [
        'its period is nearly over',
        () => {
          clock.offsetMs += issuer.crlPeriodMs - 60_000;
        },
        false,
      ],
      [
        'its period is over, its overlap has begun',
        () => {
          clock.offsetMs += 120_000;
        },
        true,
      ],
      ['nothing happened since', () => {}, false],
      [
        'it ended long ago',
        () => {
          clock.offsetMs += 100 * DAY_MS;
        },
        true,
      ],
    ];
    let last = first;
    for (const [name, act, due] of moments) {
      await act();
      const crl = await publishedCrl(ca);
      assert.equal(crl.crlNumber, last.crlNumber + (due ? 1 : 0), name);
      assert.deepEqual(Buffer.from((await ca.latestCrl('issuing'))?.crl ?? []), Buffer.from(crl.crl), name);
      last = crl;
    }
  });

  test('a CRL begins ten minutes back and ends an overlap after its period', async () => {
    const { ca, clock } = await open();
    const now = clock.now().getTime();
    const record = await publishedCrl(ca);
    const { thisUpdate, nextUpdate } = parseCrl(record.crl);
    assert.ok(Math.abs(now - 600_000 - thisUpdate.getTime()) < 10_000);
    assert.ok(
      Math.abs(now + issuer.crlPeriodMs + issuer.crlOverlapMs - (nextUpdate?.getTime() ?? 0)) < 10_000,
    );
  });

  test('another implementation verifies it and finds what is revoked, abandoned too', async () => {
    const authorities = await open();
    const { ca, store, clock } = authorities;
    const good = await issueWith(authorities);
    const revoked = await issueWith(authorities);
    await revoke(authorities, revoked.serialNumber);
    // A process that died between the intent and the record.
    const lost = 'cc'.repeat(16);
    await store.reserveSerial({
      requestID: 'lost',
      issuer: 'issuing',
      serialNumber: lost,
      template: 'client-authentication',
      subject: 'CN=lost',
      subjectAltName: '',
      requester: '',
      device: '',
      publicKeyHash: '',
      notBefore: inDays(-1),
      notAfter: inDays(100),
      crlPartition: 0,
      tbsCertificate: Uint8Array.of(0x30, 0),
      reservedAt: clock.now(),
    });
    assert.equal(await ca.abandonDeadIntents('while-running'), 0);
    assert.equal(await ca.abandonDeadIntents('at-start'), 1);
    assert.equal(await revoke(authorities, lost), 'already');
    const { crl } = await publishedCrl(ca);

    const buffer = (bytes: Uint8Array) => Uint8Array.from(bytes).buffer;
    const list = pkijs.CertificateRevocationList.fromBER(buffer(crl));
    const certificateOf = ({ raw }: { readonly raw: Uint8Array }) => pkijs.Certificate.fromBER(buffer(raw));
    assert.equal(await list.verify({ issuerCertificate: certificateOf(certificates.issuing) }), true);
    assert.equal(list.isCertificateRevoked(certificateOf(revoked)), true);
    assert.equal(list.isCertificateRevoked(certificateOf(good)), false);
    assert.deepEqual(
      (list.revokedCertificates ?? [])
        .map(({ userCertificate }) =>
          Buffer.from(userCertificate.valueBlock.valueHexView).toString('hex').replace(/^00/, ''),
        )
        .sort(),
      [revoked.serialNumber, lost].sort(),
    );
    const parsed = parseCrl(crl);
    assert.ok(verifyCrlSignature(parsed, keys.issuing.spki));
    assert.deepEqual(
      new Map(parsed.revoked.map((entry) => [entry.serialNumber, entry.reason])),
      new Map([
        [revoked.serialNumber, 'keyCompromise'],
        [lost, 'cessationOfOperation'],
      ]),
    );
  });

  test('dead intents: the young ones of a running server are left alone', async () => {
    const clock = new FixtureClock();
    const slow: Issuer = {
      ...issuer,
      key: { ...keys.issuing, sign: () => Promise.reject(new PkiError('key_unavailable', 'gone')) },
    };
    const stuck = await open({ clock, issuer: slow });
    await assert.rejects(
      issueWith(stuck),
      (thrown) => thrown instanceof PkiError && thrown.code === 'key_unavailable',
    );
    assert.equal((await recordsIn(stuck))[0]?.status, 'intent');
    clock.offsetMs += 119_000;
    assert.equal(await stuck.ca.abandonDeadIntents('while-running'), 0);
    clock.offsetMs += 2_000;
    assert.equal(await stuck.ca.abandonDeadIntents('while-running'), 1);
    assert.equal((await recordsIn(stuck))[0]?.status, 'abandoned');
  });

  // RFC 5280 §3.3: not removed until it appeared on one CRL that was issued after the certificate's end.
  test('an entry outlives its certificate by one CRL', async () => {
    const authorities = await open({
      issuer: { ...issuer, crlPeriodMs: DAY_MS, crlOverlapMs: 3_600_000 },
      templates: [{ ...clientTemplate, validityMs: DAY_MS }],
    });
    const { clock } = authorities;
    const { serialNumber, notAfter } = await issueWith(authorities);
    await revoke(authorities, serialNumber);
    assert.deepEqual(await listed(authorities), [serialNumber]);
    clock.offsetMs += 1.5 * DAY_MS;
    assert.ok(clock.now() > notAfter);
    assert.deepEqual(await listed(authorities), [serialNumber]);
    clock.offsetMs += 1.5 * DAY_MS;
    assert.deepEqual(await listed(authorities), []);
  });

  test('a certificate that ended before the CRL that would have listed it is listed all the same', async () => {
    const authorities = await open({ templates: [{ ...clientTemplate, validityMs: DAY_MS }] });
    const { clock } = authorities;
    assert.deepEqual(await listed(authorities), []);
    const { serialNumber } = await issueWith(authorities);
    await revoke(authorities, serialNumber);
    clock.offsetMs += 2 * DAY_MS;
    assert.deepEqual(await listed(authorities), [serialNumber]);
  });
});

test('a record that is read back is the certificate', async () => {
  const authorities = await open();
  const { raw } = await issueWith(authorities);
  const [record] = await authorities.store.certificates({ limit: 1, template: 'client-authentication' });
  assert.deepEqual(Buffer.from(parseCertificate(record?.certificate as Uint8Array).raw), Buffer.from(raw));
});
