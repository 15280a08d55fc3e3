import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as asn1js from 'asn1js';
import fc from 'fast-check';
import * as pkijs from 'pkijs';
import {
  assertRefused,
  certificateFields,
  clientKey,
  deviceKey,
  edited,
  edits,
  encoded,
  name,
  raKey,
  restructured,
  restructurings,
  type Tree,
  treeOf,
  valueUnlessRefused,
} from '../../test/support/codec-fixture.ts';
import {
  type BasicOcspResponse,
  buildCertID,
  buildCertificate,
  buildExtension,
  buildExtensions,
  buildOcspError,
  buildOcspRequest,
  buildOcspResponse,
  type CertID,
  certIDText,
  contextConstructed,
  type DigestName,
  der,
  extendedRevokeExtension,
  extKeyUsageExtension,
  hex,
  integer,
  nullValue,
  type OcspCertStatus,
  type OcspErrorName,
  type OcspResponseFields,
  ocspErrors,
  ocspNonceExtension,
  oid,
  parseCertificate,
  parseOcspRequest,
  parseOcspResponse,
  type RevocationReasonName,
  revocationReasons,
  sequence,
  tag,
  utf8String,
  verifyOcspResponse,
} from './index.ts';

const octets = (text: string): Uint8Array => Buffer.from(text.replaceAll(' ', ''), 'hex');
const at = new Date('2026-02-03T04:05:06Z');
const issuer = parseCertificate(
  await buildCertificate({ ...certificateFields, subject: name, spki: raKey.spki }, raKey.sign),
);
/** A responder's certificate as the CA would issue it, but for the changes. */
async function responderOf(
  changes: Partial<typeof certificateFields> = {},
  signer = raKey,
): Promise<Uint8Array> {
  return await buildCertificate(
    {
      ...certificateFields,
      issuer: issuer.subject,
      subject: certificateFields.issuer,
      spki: deviceKey.spki,
      extensions: [extKeyUsageExtension([oid.ocspSigning])],
      ...changes,
    },
    signer.sign,
  );
}
const responder = await responderOf();
const certID = (serialNumber = '0102', hashAlgorithm: DigestName = 'sha1') =>
  buildCertID(issuer, serialNumber, hashAlgorithm);

const fields: OcspResponseFields = {
  signerSpki: deviceKey.spki,
  signatureAlgorithm: 'ecdsa-sha256',
  producedAt: at,
  responses: [
    {
      certID: certID(),
      certStatus: { status: 'good' },
      thisUpdate: at,
      nextUpdate: new Date(at.getTime() + 1000),
    },
    {
      certID: certID('ff', 'sha256'),
      certStatus: { status: 'revoked', revocationTime: new Date(0), revocationReason: 'certificateHold' },
      thisUpdate: at,
    },
  ],
  extensions: [ocspNonceExtension(octets('0102030405')), extendedRevokeExtension()],
  certificates: [responder],
};
const specimenRequest = buildOcspRequest({
  certIDs: [certID(), certID('ff', 'sha256')],
  nonce: new Uint8Array(32).fill(7),
});
const specimenResponse = await buildOcspResponse(fields, deviceKey.sign);

function basicOf(raw: Uint8Array): BasicOcspResponse {
  const response = parseOcspResponse(raw);
  assert.ok(response.responseStatus === 'successful');
  return response.basic;
}

/** A request from its parts, right or wrong. */
function requestWith(...parts: Uint8Array[]): Uint8Array {
  return sequence(sequence(...parts));
}
const listOf = (...ids: CertID[]) => sequence(...ids.map(({ raw }) => sequence(raw)));
const requestExtensions = (...extensions: Uint8Array[]) =>
  der(contextConstructed(2), sequence(...extensions));
const nonceOf = (value: Uint8Array) => buildExtension({ oid: oid.ocspNonce, critical: false, value });
const unknownExtension = (critical: boolean) =>
  buildExtension({ oid: '1.2.3.4', critical, value: nullValue });
const sha1 = sequence(der(tag.oid, octets('2b0e03021a')), nullValue);
const bytes20 = der(tag.octetString, new Uint8Array(20));

describe('parseOcspRequest refuses', () => {
  const rows: readonly (readonly [what: string, bytes: Uint8Array, message: RegExp])[] = [
    ['nothing', Uint8Array.of(), /cut off|expected/],
    ['an empty list', requestWith(sequence()), /names no certificate/],
    ['no list', requestWith(), /expected tag 30/],
    ['version 2', requestWith(der(contextConstructed(0), integer(1)), listOf(certID())), /version/],
    ['33 certificates', requestWith(listOf(...Array<CertID>(33).fill(certID()))), /over 32/],
    [
      'a serial number of 65 octets',
      requestWith(
        sequence(sequence(sequence(sha1, bytes20, bytes20, der(tag.integer, new Uint8Array(65).fill(1))))),
      ),
      /65 octets/,
    ],
    [
      'a CertID without serial number',
      requestWith(sequence(sequence(sequence(sha1, bytes20, bytes20)))),
      /expected tag 02/,
    ],
    [
      'an empty nonce',
      requestWith(listOf(certID()), requestExtensions(nonceOf(octets('0400')))),
      /nonce of 0/,
    ],
    [
      'a nonce of 129 octets',
      requestWith(listOf(certID()), requestExtensions(nonceOf(der(tag.octetString, new Uint8Array(129))))),
      /nonce of 129/,
    ],
    [
      'a nonce in no OCTET STRING',
      requestWith(listOf(certID()), requestExtensions(nonceOf(octets('0101ff')))),
      /04/,
    ],
    [
      'a nonce with something behind it',
      requestWith(listOf(certID()), requestExtensions(nonceOf(octets('0401aa0500')))),
      /follow the last/,
    ],
    [
      'two nonces',
      requestWith(listOf(certID()), requestExtensions(nonceOf(octets('0401aa')), nonceOf(octets('0401aa')))),
      /occurs twice/,
    ],
    [
      'a critical extension that is unknown',
      requestWith(listOf(certID()), requestExtensions(unknownExtension(true))),
      /critical extension 1\.2\.3\.4/,
    ],
    [
      'a critical extension of one certificate',
      requestWith(
        sequence(sequence(certID().raw, der(contextConstructed(0), sequence(unknownExtension(true))))),
      ),
      /critical extension 1\.2\.3\.4/,
    ],
    ['something behind the request', Uint8Array.of(...specimenRequest, 0), /follow/],
    ['something behind the extensions', requestWith(listOf(certID()), nullValue), /follow/],
    ['a third part', sequence(sequence(listOf(certID())), nullValue), /follow/],
    ['more than 16 KiB', sequence(new Uint8Array(16 * 1024)), /over 16384/],
  ];
  for (const [what, bytes, message] of rows) {
    test(what, () => {
      const error = assertRefused(() => parseOcspRequest(bytes), ['ocsp_malformed'], what);
      assert.match(error.message, message);
    });
  }
  test('any end that comes too early', () => {
    for (let length = 0; length < specimenRequest.length; length += 1) {
      assertRefused(
        () => parseOcspRequest(specimenRequest.subarray(0, length)),
        ['ocsp_malformed'],
        `${length}`,
      );
    }
  });
});

describe('parseOcspRequest takes', () => {
  const rows: readonly (readonly [what: string, bytes: Uint8Array])[] = [
    ['a version that is written out', requestWith(der(contextConstructed(0), integer(0)), listOf(certID()))],
    [
      'the name of who asks',
      requestWith(der(contextConstructed(1), der(contextConstructed(4), name.raw)), listOf(certID())),
    ],
    [
      'a signature, whatever it is',
      sequence(sequence(listOf(certID())), der(contextConstructed(0), sequence(utf8String('signed')))),
    ],
    [
      'an extension that is unknown and not critical',
      requestWith(listOf(certID()), requestExtensions(unknownExtension(false))),
    ],
    [
      'the basic response as the only acceptable one, critical',
      requestWith(
        listOf(certID()),
        requestExtensions(
          buildExtension({
            oid: oid.ocspResponse,
            critical: true,
            value: sequence(der(tag.oid, octets('2b0601050507300101'))),
          }),
        ),
      ),
    ],
  ];
  for (const [what, bytes] of rows) {
    test(what, () => {
      const { certIDs, nonce } = parseOcspRequest(bytes);
      assert.deepEqual(certIDs.map(certIDText), [certIDText(certID())]);
      assert.equal(nonce, undefined);
    });
  }
  test('a digest that nobody knows', () => {
    const odd = sequence(sequence(der(tag.oid, octets('2a03'))), bytes20, bytes20, integer(1));
    const [first] = parseOcspRequest(requestWith(sequence(sequence(odd)))).certIDs;
    assert.equal(first?.hashAlgorithm, undefined);
    assert.equal(hex(first?.raw ?? octets('')), hex(odd));
  });
  test('a negative serial number', () => {
    const odd = sequence(sha1, bytes20, bytes20, octets('0201ff'));
    assert.equal(parseOcspRequest(requestWith(sequence(sequence(odd)))).certIDs[0]?.serialNumber, '-01');
  });
  test('a nonce of every length from 1 to 128', () => {
    for (let length = 1; length <= 128; length += 1) {
      const nonce = new Uint8Array(length).fill(length);
      const read = parseOcspRequest(buildOcspRequest({ certIDs: [certID()], nonce })).nonce;
      assert.equal(hex(read ?? octets('')), hex(nonce));
    }
  });
});

describe('parseOcspResponse refuses', () => {
  const basicTree = (change: (basic: Tree[]) => void): Uint8Array => {
    const outer = treeOf(specimenResponse);
    const bytes = outer.children?.[1]?.children?.[0];
    const inner = bytes?.children?.[1] as Tree;
    const basic = treeOf(inner.content);
    change(basic.children as Tree[]);
    inner.content = encoded(basic);
    return encoded(outer);
  };
  const dataOf = (basic: Tree[]) => basic[0]?.children as Tree[];
  const singleOf = (basic: Tree[]) => dataOf(basic)[2]?.children?.[0]?.children as Tree[];
  const rows: readonly (readonly [what: string, bytes: Uint8Array, message: RegExp])[] = [
    ['status 4, which is not used', octets('30030a0104'), /unknown responseStatus/],
    ['a status of two octets', octets('30040a020001'), /ENUMERATED/],
    ['an error with a body', octets('30050a01010500'), /follow/],
    ['a success without a body', octets('30030a0100'), /expected tag a0/],
    [
      'another type of response',
      sequence(
        octets('0a0100'),
        der(contextConstructed(0), sequence(der(tag.oid, octets('2a03')), der(tag.octetString))),
      ),
      /response type 1\.2\.3/,
    ],
    [
      'a UTCTime',
      basicTree((basic) => {
        dataOf(basic)[1] = treeOf(der(tag.utcTime, Buffer.from('260203040506Z')));
      }),
      /expected GeneralizedTime/,
    ],
    [
      'a fraction of a second',
      basicTree((basic) => {
        dataOf(basic)[1] = treeOf(der(tag.generalizedTime, Buffer.from('20260203040506.5Z')));
      }),
      /time|Time/,
    ],
    [
      'a fourth status',
      basicTree((basic) => {
        singleOf(basic)[1] = treeOf(der(0x83));
      }),
      /unknown CertStatus/,
    ],
    [
      'a good that is not empty',
      basicTree((basic) => {
        singleOf(basic)[1] = treeOf(der(0x80, octets('00')));
      }),
      /NULL with content/,
    ],
    [
      'an unknown reason',
      basicTree((basic) => {
        singleOf(basic)[1] = treeOf(
          der(
            contextConstructed(1),
            der(tag.generalizedTime, Buffer.from('20260203040506Z')),
            der(contextConstructed(0), octets('0a0107')),
          ),
        );
      }),
      /unknown CRLReason/,
    ],
    [
      'a critical extension that is unknown',
      basicTree((basic) => {
        dataOf(basic)[3] = treeOf(der(contextConstructed(1), sequence(unknownExtension(true))));
      }),
      /critical extension/,
    ],
    [
      'a third choice of responder',
      basicTree((basic) => {
        dataOf(basic)[0] = treeOf(der(contextConstructed(3), nullValue));
      }),
      /expected tag a2/,
    ],
    [
      'a certificate that is none',
      basicTree((basic) => {
        basic[3] = treeOf(der(contextConstructed(0), sequence(sequence())));
      }),
      /certificate/,
    ],
    ['something behind', Uint8Array.of(...specimenResponse, 0), /follow/],
  ];
  for (const [what, bytes, message] of rows) {
    test(what, () => {
      const error = assertRefused(() => parseOcspResponse(bytes), ['ocsp_malformed'], what);
      assert.match(error.message, message);
    });
  }
  test('any end that comes too early', () => {
    for (let length = 0; length < specimenResponse.length; length += 1) {
      assertRefused(
        () => parseOcspResponse(specimenResponse.subarray(0, length)),
        ['ocsp_malformed'],
        `${length}`,
      );
    }
  });
});

test('whatever the octets are, they are read or refused', () => {
  const subjects = [
    [specimenRequest, parseOcspRequest],
    [specimenResponse, parseOcspResponse],
  ] as const;
  let read = 0;
  let runs = 0;
  const tryOn = (parse: (bytes: Uint8Array) => unknown, bytes: Uint8Array) => {
    runs += 1;
    const value = valueUnlessRefused(() => parse(bytes), ['ocsp_malformed']);
    if (value === undefined) return;
    read += 1;
    // What is read can be written again, and says the same.
    if (parse === parseOcspRequest) {
      const request = value as ReturnType<typeof parseOcspRequest>;
      assert.deepEqual(parseOcspRequest(buildOcspRequest(request)), request);
    }
  };
  for (const [specimen, parse] of subjects) {
    fc.assert(
      fc.property(edits, (changes) => tryOn(parse, edited(specimen, changes))),
      { numRuns: 1500 },
    );
    fc.assert(
      fc.property(restructurings, (changes) => tryOn(parse, restructured(specimen, changes))),
      { numRuns: 1500 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => tryOn(parse, bytes)),
      { numRuns: 500 },
    );
    // Nesting without end costs nothing but a refusal.
    let nested: Uint8Array = Uint8Array.of(0x30, 0);
    for (let depth = 0; depth < 2000; depth += 1) nested = sequence(nested);
    assertRefused(() => parse(nested), ['ocsp_malformed'], 'nested');
  }
  assert.ok(read > 100 && read < runs, `${read} of ${runs} were read`);
});

describe('what is built is read', () => {
  const serials = fc
    .uint8Array({ minLength: 1, maxLength: 20 })
    .map((serial) => hex(Uint8Array.of(1, ...serial.subarray(1))));
  const digestNames = fc.constantFrom<DigestName[]>('sha1', 'sha256', 'sha384', 'sha512');
  const dates = fc
    .date({ min: new Date(0), max: new Date('9999-12-31T23:59:59Z'), noInvalidDate: true })
    .map((date) => new Date(Math.floor(date.getTime() / 1000) * 1000));
  const statuses: fc.Arbitrary<OcspCertStatus> = fc.oneof(
    fc.constant({ status: 'good' } as const),
    fc.constant({ status: 'unknown' } as const),
    fc.record(
      {
        status: fc.constant('revoked' as const),
        revocationTime: dates,
        revocationReason: fc.constantFrom(...(Object.keys(revocationReasons) as RevocationReasonName[])),
      },
      { noNullPrototype: true },
    ),
  );

  test('requests, and pkijs reads the same', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(serials, digestNames), { minLength: 1, maxLength: 32 }),
        fc.option(fc.uint8Array({ minLength: 1, maxLength: 128 }), { nil: undefined }),
        (asked, nonce) => {
          const certIDs = asked.map(([serial, digest]) => certID(serial, digest));
          const raw = buildOcspRequest({ certIDs, ...(nonce === undefined ? {} : { nonce }) });
          const read = parseOcspRequest(raw);
          assert.deepEqual(read.certIDs.map(certIDText), certIDs.map(certIDText));
          assert.deepEqual(
            read.certIDs.map(({ serialNumber, hashAlgorithm }) => [serialNumber, hashAlgorithm]),
            asked,
          );
          assert.equal(hex(read.nonce ?? octets('')), hex(nonce ?? octets('')));
          const theirs = pkijs.OCSPRequest.fromBER(Uint8Array.from(raw).buffer);
          assert.deepEqual(
            theirs.tbsRequest.requestList.map(({ reqCert }) => [
              hex(new Uint8Array(reqCert.issuerNameHash.valueBlock.valueHexView)),
              hex(new Uint8Array(reqCert.issuerKeyHash.valueBlock.valueHexView)),
            ]),
            certIDs.map((id) => [hex(id.issuerNameHash), hex(id.issuerKeyHash)]),
          );
        },
      ),
      { numRuns: 100 },
    );
  });

  test('responses, and pkijs reads the same', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record(
            {
              certID: fc.tuple(serials, digestNames).map(([serial, digest]) => certID(serial, digest)),
              certStatus: statuses,
              thisUpdate: dates,
              nextUpdate: dates,
            },
            { noNullPrototype: true, requiredKeys: ['certID', 'certStatus', 'thisUpdate'] },
          ),
          { minLength: 1, maxLength: 8 },
        ),
        dates,
        async (responses, producedAt) => {
          const raw = await buildOcspResponse({ ...fields, producedAt, responses }, deviceKey.sign);
          const basic = basicOf(raw);
          assert.deepEqual(
            basic.responses.map((response) => ({ ...response, certID: certIDText(response.certID) })),
            responses.map((response) => ({ ...response, certID: certIDText(response.certID) })),
          );
          assert.deepEqual(basic.producedAt, producedAt);
          assert.equal(hex(basic.nonce ?? octets('')), '0102030405');
          assert.equal(hex(basic.certificates[0]?.raw ?? octets('')), hex(responder));
          assert.equal(verifyOcspResponse(basic, issuer, at), true);
          const theirs = pkijs.OCSPResponse.fromBER(Uint8Array.from(raw).buffer);
          const inner = theirs.responseBytes?.response.valueBlock.valueHexView;
          assert.ok(inner !== undefined);
          const { tbsResponseData } = pkijs.BasicOCSPResponse.fromBER(Uint8Array.from(inner).buffer);
          assert.deepEqual(
            tbsResponseData.responses.map((single) => ({
              tag: single.certStatus.idBlock.tagNumber,
              thisUpdate: single.thisUpdate,
              nextUpdate: single.nextUpdate,
            })),
            responses.map((single) => ({
              tag: { good: 0, revoked: 1, unknown: 2 }[single.certStatus.status],
              thisUpdate: single.thisUpdate,
              nextUpdate: single.nextUpdate,
            })),
          );
        },
      ),
      { numRuns: 100 },
    );
  });

  test('what pkijs builds is read', async () => {
    const subject = pkijs.Certificate.fromBER(Uint8Array.from(responder).buffer);
    const authority = pkijs.Certificate.fromBER(Uint8Array.from(issuer.raw).buffer);
    const request = new pkijs.OCSPRequest();
    await request.createForCertificate(subject, { hashAlgorithm: 'SHA-256', issuerCertificate: authority });
    request.tbsRequest.requestExtensions = [
      new pkijs.Extension({
        extnID: oid.ocspNonce,
        extnValue: new asn1js.OctetString({ valueHex: Uint8Array.of(9, 8, 7).buffer }).toBER(),
      }),
    ];
    const read = parseOcspRequest(new Uint8Array(request.toSchema(true).toBER()));
    const expected = certID(certificateFields.serialNumber, 'sha256');
    assert.equal(read.certIDs[0]?.serialNumber, certificateFields.serialNumber);
    assert.equal(hex(read.certIDs[0]?.issuerNameHash ?? octets('')), hex(expected.issuerNameHash));
    assert.equal(hex(read.certIDs[0]?.issuerKeyHash ?? octets('')), hex(expected.issuerKeyHash));
    assert.equal(hex(read.nonce ?? octets('')), '090807');
  });

  for (const errorName of Object.keys(ocspErrors) as OcspErrorName[]) {
    test(errorName, () => {
      const raw = buildOcspError(errorName);
      assert.equal(hex(raw), `30030a010${ocspErrors[errorName]}`);
      assert.deepEqual(parseOcspResponse(raw), { responseStatus: errorName });
    });
  }

  test('a responder that is named by its subject', async () => {
    const root = treeOf(specimenResponse);
    const inner = root.children?.[1]?.children?.[0]?.children?.[1] as Tree;
    const basic = treeOf(inner.content);
    (basic.children?.[0]?.children as Tree[])[0] = treeOf(
      der(contextConstructed(1), certificateFields.issuer.raw),
    );
    const tbs = encoded(basic.children?.[0] as Tree);
    const signature = await deviceKey.sign('ecdsa-sha256', tbs);
    (basic.children as Tree[])[2] = treeOf(der(tag.bitString, Uint8Array.of(0), signature));
    inner.content = encoded(basic);
    const read = basicOf(encoded(root));
    assert.equal(read.responderKeyHash, undefined);
    assert.equal(hex(read.responderName ?? octets('')), hex(certificateFields.issuer.raw));
    assert.equal(verifyOcspResponse(read, issuer, at), true);
  });

  test('the extensions of a request stand in [2]', () => {
    const raw = buildOcspRequest({ certIDs: [certID()], nonce: octets('aa') });
    const parts = treeOf(raw).children?.[0]?.children ?? [];
    assert.deepEqual(
      parts.map((part) => part.tag),
      [0x30, 0xa2],
    );
    assert.equal(
      hex(encoded(parts[1]?.children?.[0] as Tree)),
      hex(buildExtensions([ocspNonceExtension(octets('aa'))])),
    );
  });
});

describe('verifyOcspResponse', () => {
  const basic = basicOf(specimenResponse);
  const signedWith = async (certificates: Uint8Array[], key = deviceKey) =>
    basicOf(
      await buildOcspResponse(
        {
          ...fields,
          signerSpki: key.spki,
          signatureAlgorithm: key === deviceKey ? 'ecdsa-sha256' : 'rsa-sha256',
          certificates,
        },
        key.sign,
      ),
    );

  test('believes a delegate and the CA itself', async () => {
    assert.equal(verifyOcspResponse(basic, issuer, at), true);
    assert.equal(verifyOcspResponse(await signedWith([], raKey), issuer, at), true);
  });
  test('believes nobody else', async () => {
    const rows: readonly (readonly [what: string, certificates: Uint8Array[]])[] = [
      ['no certificate', []],
      ['not for OCSP', [await responderOf({ extensions: [extKeyUsageExtension([oid.clientAuth])] })]],
      [
        'for any purpose',
        [await responderOf({ extensions: [extKeyUsageExtension([oid.anyExtendedKeyUsage])] })],
      ],
      ['for no purpose', [await responderOf({ extensions: [] })]],
      ['by another issuer’s name', [await responderOf({ issuer: certificateFields.issuer })]],
      ['by another issuer’s key', [await responderOf({}, clientKey)]],
      ['ended', [await responderOf({ notAfter: new Date('2026-02-03T04:05:05Z') })]],
      ['not begun', [await responderOf({ notBefore: new Date('2026-02-03T04:05:07Z') })]],
      ['of another key', [await responderOf({ spki: clientKey.spki })]],
    ];
    for (const [what, certificates] of rows)
      assert.equal(verifyOcspResponse(await signedWith(certificates), issuer, at), false, what);
    // A certificate of the CA that is not for OCSP, whoever it is named like.
    assert.equal(verifyOcspResponse(await signedWith([responder], clientKey), issuer, at), false);
  });
  test('believes no change', () => {
    const tbsResponseData = Uint8Array.from(basic.tbsResponseData);
    tbsResponseData[tbsResponseData.length - 1] = (tbsResponseData.at(-1) as number) ^ 1;
    assert.equal(verifyOcspResponse({ ...basic, tbsResponseData }, issuer, at), false);
  });
});
