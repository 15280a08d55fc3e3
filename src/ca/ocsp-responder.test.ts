import assert from 'node:assert/strict';
import { afterEach, describe, test } from 'node:test';
import { pino } from 'pino';
import {
  certificates,
  FixtureClock,
  inDays,
  keys,
  newEcKey,
  openTestAuthorities,
  requestOf,
  type TestAuthorities,
} from '../../test/support/authorities-fixture.ts';
import {
  type BasicOcspResponse,
  buildCertID,
  buildOcspRequest,
  type CertID,
  certIDText,
  type DigestName,
  extensionValue,
  hex,
  keyIdentifier,
  nameFromString,
  type OcspErrorName,
  oid,
  parseCertificationRequest,
  parseOcspRequest,
  parseOcspResponse,
  sequence,
  verifyOcspResponse,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { RevocationReason } from '../store/index.ts';
import { type OcspAnswer, OcspResponder, type OcspResponderOptions } from './ocsp-responder.ts';
import type { OcspSigner } from './ocsp-signer.ts';

const log = pino({ level: 'silent' });
const HOUR_MS = 3_600_000;
const NEVER_ISSUED = '0badc0de';
const signerKey = await newEcKey();

interface Bench {
  readonly authorities: TestAuthorities;
  readonly clock: FixtureClock;
  readonly responder: OcspResponder;
  readonly signer: OcspSigner;
  /** How often the signer's key was used. */
  signatures(): number;
  /** Has a certificate issued and answers its serial number. */
  issue(): Promise<string>;
  /** The body of a successful answer, whose signature holds. */
  ask(certIDs: readonly CertID[], nonce?: Uint8Array): Promise<BasicOcspResponse>;
  /** The status of one certificate. */
  status(serialNumber: string): Promise<string>;
}

let opened: TestAuthorities | undefined;
afterEach(async () => {
  await opened?.close();
  opened = undefined;
});

async function open(changes: Partial<OcspResponderOptions> = {}): Promise<Bench> {
  const clock = new FixtureClock();
  const authorities = await openTestAuthorities({ clock });
  opened = authorities;
  const certificate = await authorities.ra.enrolService({
    issuer: 'issuing',
    template: 'ocsp-signing',
    csr: parseCertificationRequest(await requestOf({ key: signerKey, subject: 'CN=Test OCSP' })),
    operator: 'test',
  });
  let signatures = 0;
  const signer: OcspSigner = {
    certificate,
    key: {
      ...signerKey,
      sign: async (algorithm, data) => {
        signatures += 1;
        return await signerKey.sign(algorithm, data);
      },
    },
    signatureAlgorithm: 'ecdsa-sha256',
  };
  const responder = new OcspResponder({
    issuers: [{ name: 'issuing', certificate: certificates.issuing, signer: async () => signer }],
    store: authorities.store,
    neverIssued: 'unknown',
    lifetimeMs: HOUR_MS,
    clock,
    log,
    ...changes,
  });
  const ask = async (certIDs: readonly CertID[], nonce?: Uint8Array) => {
    const request = buildOcspRequest({ certIDs, ...(nonce === undefined ? {} : { nonce }) });
    const basic = basicOf(await responder.respond(request));
    assert.equal(verifyOcspResponse(basic, certificates.issuing, clock.now()), true);
    return basic;
  };
  return {
    authorities,
    clock,
    responder,
    signer,
    signatures: () => signatures,
    issue: async () => {
      const issued = await authorities.ra.enrolService({
        issuer: 'issuing',
        template: 'client-authentication',
        csr: parseCertificationRequest(await requestOf({})),
        operator: 'test',
      });
      return issued.serialNumber;
    },
    ask,
    status: async (serialNumber) => {
      const [single] = (await ask([idOf(serialNumber)])).responses;
      assert.ok(single !== undefined);
      return single.certStatus.status === 'revoked'
        ? `revoked ${single.certStatus.revocationReason}`
        : single.certStatus.status;
    },
  };
}

function basicOf({ response }: OcspAnswer): BasicOcspResponse {
  const parsed = parseOcspResponse(response);
  assert.ok(parsed.responseStatus === 'successful', parsed.responseStatus);
  return parsed.basic;
}

const idOf = (serialNumber: string, digest: DigestName = 'sha1') =>
  buildCertID(certificates.issuing, serialNumber, digest);

async function revoke({ ca }: TestAuthorities, serialNumber: string, reason: RevocationReason) {
  await ca.revoke({ issuer: 'issuing', serialNumber, reason, actor: 'test', text: '' });
}

/** An intent that nobody finishes. */
async function reserveIntent({ store, clock }: TestAuthorities, serialNumber: string): Promise<void> {
  const outcome = await store.reserveSerial({
    requestID: `request-of-${serialNumber}`,
    issuer: 'issuing',
    serialNumber,
    template: 'client-authentication',
    subject: 'CN=nobody',
    subjectAltName: '',
    requester: 'test',
    device: '',
    publicKeyHash: '00'.repeat(32),
    notBefore: inDays(-1),
    notAfter: inDays(30),
    crlPartition: 0,
    tbsCertificate: Uint8Array.of(1),
    reservedAt: clock.now(),
  });
  assert.equal(outcome, 'reserved');
}

describe('what cannot be answered', () => {
  const otherName = { subject: nameFromString('CN=Other'), spki: keys.issuing.spki };
  const otherKey = { subject: certificates.issuing.subject, spki: keys.other.spki };
  const rows: readonly (readonly [what: string, request: Uint8Array, want: OcspErrorName])[] = [
    ['nothing', Uint8Array.of(), 'malformedRequest'],
    ['noise', Buffer.from('GET / HTTP/1.1'), 'malformedRequest'],
    ['an empty list', sequence(sequence(sequence())), 'malformedRequest'],
    [
      'an empty nonce',
      buildOcspRequest({ certIDs: [idOf('01')], nonce: Uint8Array.of() }),
      'malformedRequest',
    ],
    [
      'a nonce of 129 octets',
      buildOcspRequest({ certIDs: [idOf('01')], nonce: new Uint8Array(129) }),
      'malformedRequest',
    ],
    [
      'the root’s own certificates',
      buildOcspRequest({ certIDs: [buildCertID(certificates.root, '01', 'sha1')] }),
      'unauthorized',
    ],
    [
      'another name over our key',
      buildOcspRequest({ certIDs: [buildCertID(otherName, '01', 'sha1')] }),
      'unauthorized',
    ],
    [
      'our name over another key',
      buildOcspRequest({ certIDs: [buildCertID(otherKey, '01', 'sha256')] }),
      'unauthorized',
    ],
    [
      'a stranger among ours',
      buildOcspRequest({ certIDs: [idOf('01'), buildCertID(otherKey, '01', 'sha1')] }),
      'unauthorized',
    ],
  ];
  for (const [what, request, want] of rows) {
    test(what, async () => {
      const { responder, signatures } = await open();
      const answer = await responder.respond(request);
      assert.equal(parseOcspResponse(answer.response).responseStatus, want);
      assert.equal(answer.reusable, undefined);
      assert.equal(signatures(), 0);
    });
  }
  test('a digest that nobody knows', async () => {
    const { responder } = await open();
    const request = Buffer.from(buildOcspRequest({ certIDs: [idOf('01')] }));
    // The arc 26 of SHA-1 becomes 27.
    const place = request.indexOf(Buffer.from('2b0e03021a', 'hex'));
    assert.ok(place > 0);
    request[place + 4] = 0x1b;
    assert.equal(parseOcspRequest(request).certIDs[0]?.hashAlgorithm, undefined);
    assert.equal(
      parseOcspResponse((await responder.respond(request)).response).responseStatus,
      'unauthorized',
    );
  });

  const failures: readonly (readonly [
    what: string,
    changes: Partial<OcspResponderOptions>,
    want: OcspErrorName,
  ])[] = [
    [
      'nobody to sign',
      { issuers: [{ name: 'issuing', certificate: certificates.issuing, signer: async () => undefined }] },
      'tryLater',
    ],
    [
      'a key that is out of reach',
      {
        issuers: [
          {
            name: 'issuing',
            certificate: certificates.issuing,
            signer: () => Promise.reject(new PkiError('key_unavailable', 'gone')),
          },
        ],
      },
      'tryLater',
    ],
    [
      'a key that cannot be opened',
      {
        issuers: [
          {
            name: 'issuing',
            certificate: certificates.issuing,
            signer: () => Promise.reject(new PkiError('key_locked', 'wrong passphrase')),
          },
        ],
      },
      'internalError',
    ],
  ];
  for (const [what, changes, want] of failures) {
    test(what, async () => {
      const { responder, issue } = await open(changes);
      const request = buildOcspRequest({ certIDs: [idOf(await issue())] });
      // Twice: what failed is not kept.
      for (let time = 0; time < 2; time += 1)
        assert.equal(parseOcspResponse((await responder.respond(request)).response).responseStatus, want);
    });
  }
  const stores: readonly (readonly [what: string, failure: Error, want: OcspErrorName])[] = [
    ['a store that is out of reach', new PkiError('store_unavailable', 'gone'), 'tryLater'],
    ['a store that is broken', new TypeError('undefined is not a function'), 'internalError'],
  ];
  for (const [what, failure, want] of stores) {
    test(what, async () => {
      const { responder, signatures } = await open({
        store: { certificateBySerial: () => Promise.reject(failure) },
      });
      const answer = await responder.respond(buildOcspRequest({ certIDs: [idOf('01')] }));
      assert.equal(parseOcspResponse(answer.response).responseStatus, want);
      assert.equal(signatures(), 0);
    });
  }
});

describe('what is said of a certificate', () => {
  test('good', async () => {
    const { issue, status } = await open();
    assert.equal(await status(await issue()), 'good');
  });
  const reasons: readonly RevocationReason[] = [
    'unspecified',
    'keyCompromise',
    'affiliationChanged',
    'superseded',
    'cessationOfOperation',
    'certificateHold',
    'privilegeWithdrawn',
  ];
  test('revoked, with reason and time', async () => {
    const { authorities, issue, status, ask } = await open();
    for (const reason of reasons) {
      const serialNumber = await issue();
      await revoke(authorities, serialNumber, reason);
      assert.equal(await status(serialNumber), `revoked ${reason}`);
      const record = await authorities.store.certificateBySerial('issuing', serialNumber);
      const [single] = (await ask([idOf(serialNumber)])).responses;
      assert.ok(single?.certStatus.status === 'revoked' && record?.revokedAt !== undefined);
      const seconds = Math.floor(record.revokedAt.getTime() / 1000);
      assert.equal(single.certStatus.revocationTime.getTime(), seconds * 1000);
    }
  });
  test('unknown if it was never issued, and no such word of extended revocation', async () => {
    const { ask } = await open();
    const basic = await ask([idOf(NEVER_ISSUED)]);
    assert.deepEqual(basic.responses[0]?.certStatus, { status: 'unknown' });
    assert.equal(extensionValue(basic, oid.ocspExtendedRevoke), undefined);
  });
  test('on hold since 1970 if it was never issued and so configured (RFC 6960 §2.2, §4.4.8)', async () => {
    const { ask, responder } = await open({ neverIssued: 'revoked' });
    const basic = await ask([idOf(NEVER_ISSUED)]);
    assert.deepEqual(basic.responses[0]?.certStatus, {
      status: 'revoked',
      revocationTime: new Date('1970-01-01T00:00:00Z'),
      revocationReason: 'certificateHold',
    });
    assert.equal(hex(extensionValue(basic, oid.ocspExtendedRevoke) ?? Uint8Array.of()), '0500');
    // It may be issued any time: nobody may keep this.
    const answer = await responder.respond(buildOcspRequest({ certIDs: [idOf(NEVER_ISSUED)] }));
    assert.equal(answer.reusable, undefined);
  });
  test('a serial number is another CA’s concern even if we used it', async () => {
    const { issue, responder } = await open();
    const request = buildOcspRequest({ certIDs: [buildCertID(certificates.root, await issue(), 'sha1')] });
    assert.equal(
      parseOcspResponse((await responder.respond(request)).response).responseStatus,
      'unauthorized',
    );
  });
  for (const neverIssued of ['unknown', 'revoked'] as const) {
    test(`an intent is unknown, abandoned it is revoked as in the CRL (never issued: ${neverIssued})`, async () => {
      const { authorities, status } = await open({ neverIssued });
      await reserveIntent(authorities, '4a00000000000001');
      assert.equal(await status('4a00000000000001'), 'unknown');
      await authorities.ca.abandonDeadIntents('at-start');
      assert.equal(await status('4a00000000000001'), 'revoked cessationOfOperation');
    });
  }
});

describe('the answer', () => {
  test('repeats every CertID octet for octet and in order, whatever its digest', async () => {
    const { issue, ask, authorities } = await open();
    const [first, second] = [await issue(), await issue()];
    await revoke(authorities, second, 'superseded');
    const certIDs = [
      idOf(second, 'sha256'),
      idOf(first, 'sha1'),
      idOf(NEVER_ISSUED, 'sha512'),
      idOf(second, 'sha384'),
    ];
    const { responses } = await ask(certIDs);
    assert.deepEqual(
      responses.map(({ certID }) => certIDText(certID)),
      certIDs.map(certIDText),
    );
    assert.deepEqual(
      responses.map(({ certStatus }) => certStatus.status),
      ['revoked', 'good', 'unknown', 'revoked'],
    );
  });
  test('names its signer by key, carries its certificate, and says when', async () => {
    const { issue, ask, clock } = await open();
    const before = clock.now();
    const basic = await ask([idOf(await issue())]);
    assert.equal(hex(basic.responderKeyHash ?? Uint8Array.of()), hex(keyIdentifier(signerKey.spki)));
    assert.equal(basic.certificates.length, 1);
    assert.ok(Math.abs(basic.producedAt.getTime() - before.getTime()) < 5000);
    const [single] = basic.responses;
    assert.ok(single?.nextUpdate !== undefined);
    assert.equal(basic.producedAt.getTime() - single.thisUpdate.getTime(), 10 * 60 * 1000);
    assert.equal(single.nextUpdate.getTime() - basic.producedAt.getTime(), HOUR_MS);
  });
  test('does not outlive the certificate of its signer', async () => {
    const { issue, ask, signer } = await open({ lifetimeMs: 400 * 24 * HOUR_MS });
    const [single] = (await ask([idOf(await issue())])).responses;
    assert.deepEqual(single?.nextUpdate, signer.certificate.notAfter);
  });
  test('repeats a nonce, and is made for it', async () => {
    const { issue, ask, responder, signatures } = await open();
    const certIDs = [idOf(await issue())];
    for (const nonce of [Uint8Array.of(1), new Uint8Array(32).fill(2), new Uint8Array(128).fill(3)]) {
      const basic = await ask(certIDs, nonce);
      assert.equal(hex(basic.nonce ?? Uint8Array.of()), hex(nonce));
    }
    const made = signatures();
    assert.equal(made, 3);
    const request = buildOcspRequest({ certIDs, nonce: Uint8Array.of(1) });
    assert.equal((await responder.respond(request)).reusable, undefined);
    assert.equal(signatures(), made + 1);
    assert.equal((await ask(certIDs)).nonce, undefined);
  });
});

describe('an answer that was signed before', () => {
  test('is given again, and dropped at once when the status changes', async () => {
    const { authorities, issue, responder, signatures } = await open();
    const serialNumber = await issue();
    const request = buildOcspRequest({ certIDs: [idOf(serialNumber)] });
    const first = await responder.respond(request);
    const again = await Promise.all([1, 2, 3].map(() => responder.respond(request)));
    assert.ok(first.reusable !== undefined);
    for (const answer of again) assert.equal(hex(answer.response), hex(first.response));
    assert.equal(signatures(), 1);
    await revoke(authorities, serialNumber, 'keyCompromise');
    const revoked = await responder.respond(request);
    assert.equal(basicOf(revoked).responses[0]?.certStatus.status, 'revoked');
    assert.equal(hex((await responder.respond(request)).response), hex(revoked.response));
    assert.equal(signatures(), 2);
  });
  test('is signed once for many who ask at once', async () => {
    const { issue, responder, signatures } = await open();
    const request = buildOcspRequest({ certIDs: [idOf(await issue())] });
    await Promise.all(Array.from({ length: 50 }, () => responder.respond(request)));
    assert.equal(signatures(), 1);
  });
  test('is made anew from half of its life on, and when the clock went back', async () => {
    const { issue, responder, signatures, clock } = await open();
    const request = buildOcspRequest({ certIDs: [idOf(await issue())] });
    const steps: readonly (readonly [offsetMs: number, signatures: number])[] = [
      [0, 1],
      [HOUR_MS / 2 - 60_000, 1],
      [HOUR_MS / 2 + 1000, 2],
      [0, 3],
    ];
    for (const [offsetMs, want] of steps) {
      clock.offsetMs = offsetMs;
      const answer = await responder.respond(request);
      assert.equal(signatures(), want, `${offsetMs}`);
      assert.ok((answer.reusable?.nextUpdate ?? 0) > clock.now());
    }
  });
  test('is kept apart by digest, since its CertID is', async () => {
    const { issue, responder, signatures } = await open();
    const serialNumber = await issue();
    for (const digest of ['sha1', 'sha256'] as const) {
      const certID = idOf(serialNumber, digest);
      const answer = basicOf(await responder.respond(buildOcspRequest({ certIDs: [certID] })));
      assert.equal(certIDText(answer.responses[0]?.certID ?? idOf('01')), certIDText(certID));
    }
    assert.equal(signatures(), 2);
  });
});
