import assert from 'node:assert/strict';
import { constants, createCipheriv, createPublicKey, privateDecrypt, publicEncrypt } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  assertRefused,
  certificateFields,
  clientKey,
  deviceKey,
  encoded,
  nodesOf,
  raKey,
  type SpecimenKey,
  specimenRecipient,
  specimens,
  type Tree,
  treeOf,
} from '../../test/support/codec-fixture.ts';
import { type ErrorCode, PkiError } from '../errors.ts';
import {
  type Attribute,
  buildCertificate,
  buildCertsOnly,
  buildEnvelopedData,
  buildSignedData,
  type Certificate,
  type CipherName,
  ciphers,
  type Decrypt,
  der,
  digests,
  type EnvelopedData,
  hex,
  identifies,
  integer,
  type KeyTransport,
  objectIdentifier,
  octetString,
  oid,
  openEnvelopedData,
  parseCertificate,
  parseEnvelopedData,
  parseSignedData,
  printableString,
  type SignedData,
  type SignedDataFields,
  type SignerInfo,
  sequence,
  setOf,
  signedAttributeOf,
  signerCertificateOf,
  subjectKeyIdentifierOf,
  tag,
  verifySignedData,
  verifySigner,
} from './index.ts';

const octets = (text: string): Uint8Array => Buffer.from(text.replaceAll(' ', ''), 'hex');

const clientCertificate = parseCertificate(specimens.certificate);
const deviceCertificate = parseCertificate(
  await buildCertificate({ ...certificateFields, spki: deviceKey.spki, serialNumber: '03' }, raKey.sign),
);

// --- SignedData -------------------------------------------------------------------------------------------------------

/** The parts of a SignedData and of its SignerInfo, to be changed. */
function changed(
  bytes: Uint8Array,
  change: (signedData: Tree[], signerInfo: Tree[], encapsulated: Tree[]) => void,
): Uint8Array {
  const root = treeOf(bytes);
  const signedData = root.children?.[1]?.children?.[0]?.children as Tree[];
  const signerInfo = signedData.at(-1)?.children?.[0]?.children as Tree[];
  change(signedData, signerInfo, signedData[2]?.children as Tree[]);
  return encoded(root);
}
const signedWith = (change: Parameters<typeof changed>[1]): Uint8Array =>
  changed(specimens.signedData, change);
const times = (count: number, bytes: Uint8Array): Tree[] =>
  Array.from({ length: count }, () => treeOf(bytes));

describe('parseSignedData refuses', () => {
  const attribute = (arc: number, values = 1): Uint8Array =>
    sequence(objectIdentifier(`1.2.${arc}`), der(tag.set, ...new Array<Uint8Array>(values).fill(integer(1))));
  const rows: readonly (readonly [what: string, bytes: Uint8Array, ErrorCode, RegExp])[] = [
    [
      'another content type',
      specimens.envelopedData,
      'cms_malformed',
      /content type 1\.2\.840\.113549\.1\.7\.3/,
    ],
    [
      'data',
      sequence(objectIdentifier(oid.data), der(0xa0, octetString(octets('')))),
      'cms_malformed',
      /content type/,
    ],
    ['no content', sequence(objectIdentifier(oid.signedData)), 'cms_malformed', /expected tag a0/],
    [
      'two contents',
      sequence(objectIdentifier(oid.signedData), der(0xa0, sequence()), der(0xa0)),
      'cms_malformed',
      /./,
    ],
    ['no signers field', signedWith((data) => data.splice(-1, 1)), 'cms_malformed', /expected tag 31/],
    ['no version', signedWith((data) => data.splice(0, 1)), 'cms_malformed', /expected tag 02/],
    ['no digest algorithms', signedWith((data) => data.splice(1, 1)), 'cms_malformed', /expected tag 31/],
    [
      'a certificate that is none',
      signedWith((data) => data.splice(3, 1, treeOf(der(0xa0, sequence())))),
      'cms_malformed',
      /certificate: /,
    ],
    [
      'an attribute certificate',
      signedWith((data) => data.splice(3, 1, treeOf(der(0xa0, der(0xa2))))),
      'cms_malformed',
      /expected tag 30/,
    ],
    [
      'content that is no OCTET STRING',
      signedWith((_d, _s, inner) => inner.splice(1, 1, treeOf(der(0xa0, sequence())))),
      'cms_malformed',
      /expected tag 04/,
    ],
    [
      'two octet strings of content',
      signedWith((_d, _s, inner) => inner.splice(1, 1, treeOf(der(0xa0, octets('0400 0400'))))),
      'cms_malformed',
      /follow the last/,
    ],
    [
      'a signer without signature',
      signedWith((_, signer) => signer.splice(-1, 1)),
      'cms_malformed',
      /expected tag 04/,
    ],
    ['a signer without identifier', signedWith((_, signer) => signer.splice(1, 1)), 'cms_malformed', /./],
    [
      'an attribute twice',
      signedWith((_, signer) => signer[3]?.children?.push(signer[3].children[0] as Tree)),
      'cms_malformed',
      /occurs twice/,
    ],
    [
      'an attribute without values',
      signedWith((_, signer) => signer[3]?.children?.push(treeOf(sequence(objectIdentifier('1.2.3'))))),
      'cms_malformed',
      /expected tag 31/,
    ],
    [
      'seventeen certificates',
      signedWith((data) =>
        data.splice(3, 1, { tag: 0xa0, content: octets(''), children: times(17, specimens.certificate) }),
      ),
      'der_limit',
      /over 16 certificates/,
    ],
    [
      'seventeen CRLs',
      signedWith((data) =>
        data.splice(4, 0, { tag: 0xa1, content: octets(''), children: times(17, sequence()) }),
      ),
      'der_limit',
      /over 16 CRLs/,
    ],
    [
      'five signers',
      signedWith((data) =>
        data.at(-1)?.children?.push(...times(4, encoded(data.at(-1)?.children?.[0] as Tree))),
      ),
      'der_limit',
      /over 4 signers/,
    ],
    [
      'forty attributes',
      signedWith((_, signer) =>
        signer[3]?.children?.push(...Array.from({ length: 35 }, (_, arc) => treeOf(attribute(arc)))),
      ),
      'der_limit',
      /over 32 attributes/,
    ],
    [
      'forty values',
      signedWith((_, signer) => signer[3]?.children?.push(treeOf(attribute(1, 40)))),
      'der_limit',
      /over 32 values/,
    ],
  ];
  for (const [what, bytes, code, message] of rows) {
    test(what, () => {
      const error = assertRefused(() => parseSignedData(bytes), [code], what);
      assert.match(error.message, message);
    });
  }
});

describe('parseSignedData reads', () => {
  test('the specimen', () => {
    const signedData = parseSignedData(specimens.signedData);
    const [signerInfo] = signedData.signerInfos;
    assert.ok(signerInfo !== undefined);
    assert.equal(signedData.contentType, oid.data);
    assert.equal(hex(signedData.content ?? octets('')), hex(specimens.envelopedData));
    assert.deepEqual(
      signedData.certificates.map((certificate) => hex(certificate.raw)),
      [hex(specimens.certificate), hex(specimenRecipient.raw)],
    );
    assert.equal(signerCertificateOf(signedData, signerInfo), signedData.certificates[0]);
    assert.equal(
      hex(signedAttributeOf(signerInfo, oid.scepTransactionID) ?? octets('')),
      hex(printableString('6A1D3A50C5B5A5E2')),
    );
    assert.equal(signedAttributeOf(signerInfo, oid.scepFailInfo), undefined);
    assert.equal(verifySignedData(signedData, clientCertificate), true);
  });
  test('unsigned attributes and CRLs, which are carried or passed over', () => {
    const bytes = signedWith((data, signer) => {
      signer.push(treeOf(der(0xa1, sequence(objectIdentifier('1.2.3'), der(tag.set, integer(1))))));
      data.splice(4, 0, treeOf(der(0xa1, specimens.crl)));
    });
    const signedData = parseSignedData(bytes);
    assert.deepEqual(signedData.crls.map(hex), [hex(specimens.crl)]);
    assert.equal(verifySignedData(signedData, clientCertificate), true);
  });
  test('certificates alone', () => {
    const none = parseSignedData(buildCertsOnly([]));
    assert.deepEqual(
      [none.certificates, none.crls, none.signerInfos, 'content' in none],
      [[], [], [], false],
    );
    const some = parseSignedData(
      buildCertsOnly([specimens.certificate, specimenRecipient.raw], [specimens.crl]),
    );
    assert.deepEqual(
      some.certificates.map(({ serialNumber }) => serialNumber),
      [certificateFields.serialNumber, '02'],
    );
    assert.deepEqual(some.crls.map(hex), [hex(specimens.crl)]);
    assert.equal(verifySignedData(some, clientCertificate), false, 'nobody signed it');
  });
});

describe('a signature', () => {
  const good = parseSignedData(specimens.signedData);
  const signer = good.signerInfos[0] as SignerInfo;
  const withSigner = (change: Partial<SignerInfo>): SignedData => ({
    ...good,
    signerInfos: [{ ...signer, ...change }],
  });
  const signedAttrs = signer.signedAttrs as NonNullable<SignerInfo['signedAttrs']>;
  const without = (identifier: string): NonNullable<SignerInfo['signedAttrs']> => ({
    ...signedAttrs,
    attributes: signedAttrs.attributes.filter((attribute) => attribute.oid !== identifier),
  });
  const flipped = (bytes: Uint8Array): Uint8Array => {
    const copy = Uint8Array.from(bytes);
    copy[copy.length - 1] = (copy[copy.length - 1] as number) ^ 1;
    return copy;
  };
  const { content: _, ...contentless } = good;

  const rows: readonly (readonly [what: string, signedData: SignedData, certificate?: Certificate])[] = [
    ['over other content', { ...good, content: flipped(good.content ?? octets('')) }],
    ['over no content', contentless],
    [
      'over other attributes',
      withSigner({ signedAttrs: { ...signedAttrs, toBeSigned: flipped(signedAttrs.toBeSigned) } }),
    ],
    ['that is changed', withSigner({ signature: flipped(signer.signature) })],
    ['that is empty', withSigner({ signature: octets('') })],
    ['with attributes but no contentType', withSigner({ signedAttrs: without(oid.contentType) })],
    ['with attributes but no messageDigest', withSigner({ signedAttrs: without(oid.messageDigest) })],
    ['of content of another type', { ...good, contentType: oid.signedData }],
    ['whose digest is named otherwise', withSigner({ digestAlgorithm: { oid: oid.sha512 } })],
    ['by another certificate', good, specimenRecipient],
    ['by a certificate of the same name with another key', good, { ...clientCertificate, spki: raKey.spki }],
    [
      'by a certificate of the same key with another name',
      good,
      { ...clientCertificate, issuerAndSerialNumber: sequence() },
    ],
    ['by an elliptic curve key', good, { ...clientCertificate, spki: deviceKey.spki }],
    ['by two', { ...good, signerInfos: [signer, signer] }],
    ['by none', { ...good, signerInfos: [] }],
  ];
  for (const [what, signedData, certificate] of rows) {
    test(`${what} is none`, () =>
      assert.equal(verifySignedData(signedData, certificate ?? clientCertificate), false));
  }

  function withoutAttributes({ signedAttrs: _, ...rest }: SignerInfo): SignerInfo {
    return rest;
  }

  test('with an attribute of two values is refused', () => {
    const attributes = signedAttrs.attributes.map((attribute) =>
      attribute.oid === oid.messageDigest
        ? { ...attribute, values: [...attribute.values, ...attribute.values] }
        : attribute,
    );
    assertRefused(
      () => verifySignedData(withSigner({ signedAttrs: { ...signedAttrs, attributes } }), clientCertificate),
      ['cms_malformed'],
      'two values',
    );
    const empty: Attribute = { oid: oid.messageDigest, values: [] };
    assertRefused(
      () =>
        signedAttributeOf(
          { ...signer, signedAttrs: { ...signedAttrs, attributes: [empty] } },
          oid.messageDigest,
        ),
      ['cms_malformed'],
      'no value',
    );
  });
  test('with unknown or contradicting algorithms is refused', () => {
    for (const change of [
      { digestAlgorithm: { oid: oid.md5 } },
      { signatureAlgorithm: { oid: '1.2.840.113549.1.1.10' } },
      { signatureAlgorithm: { oid: oid.sha1WithRSAEncryption } },
    ]) {
      assertRefused(
        () => verifySignedData(withSigner(change), clientCertificate),
        ['algorithm_unsupported'],
        '',
      );
    }
  });
  test('without signed attributes is none, even where CMS allows it', async () => {
    const content = Buffer.from('content');
    const direct = { ...withoutAttributes(signer), signature: await clientKey.sign('rsa-sha256', content) };
    assert.equal(verifySignedData({ ...good, content, signerInfos: [direct] }, clientCertificate), false);
    // The signature over the attributes is a signature over content of the same octets: the reason for the above.
    const passedOff = { ...good, content: signedAttrs.toBeSigned, signerInfos: [withoutAttributes(signer)] };
    assert.equal(verifySignedData(passedOff, clientCertificate), false);
  });
  test('names its signer by key identifier too', () => {
    const identifier = subjectKeyIdentifierOf(clientCertificate) as Uint8Array;
    const sid = { type: 'subjectKeyIdentifier', identifier } as const;
    assert.equal(identifies(sid, clientCertificate), true);
    assert.equal(identifies({ ...sid, identifier: flipped(identifier) }, clientCertificate), false);
    assert.equal(identifies(sid, { ...clientCertificate, extensions: [] }), false);
    assert.equal(verifySignedData(withSigner({ sid }), clientCertificate), true);
    assert.equal(signerCertificateOf({ ...good, certificates: [] }, signer), undefined);
  });
});

describe('buildSignedData', () => {
  const base: SignedDataFields = {
    content: Buffer.from('content'),
    digest: 'sha256',
    signer: clientCertificate,
    certificates: [specimens.certificate],
    attributes: [],
  };
  test('what is built is read and verifies', async () => {
    const attributes = fc.uniqueArray(
      fc.record({
        oid: fc.nat(300).map((arc) => `1.2.${arc}`),
        values: fc.array(fc.uint8Array({ maxLength: 20 }).map(octetString), { minLength: 1, maxLength: 3 }),
      }),
      { selector: (attribute) => attribute.oid, maxLength: 6 },
    );
    const digestNames = fc.constantFrom(...(Object.keys(digests) as (keyof typeof digests)[]));
    const contents = fc.option(fc.uint8Array({ maxLength: 3_000 }), { nil: undefined });
    const signers = fc.constantFrom<readonly [Certificate, SpecimenKey]>(
      [clientCertificate, clientKey],
      [deviceCertificate, deviceKey],
    );
    await fc.assert(
      fc.asyncProperty(
        contents,
        digestNames,
        signers,
        attributes,
        async (content, digest, [signer, key], list) => {
          if (key === deviceKey && digest === 'sha1') return;
          const fields = {
            content,
            digest,
            signer,
            certificates: [specimenRecipient.raw, signer.raw],
            attributes: list,
          };
          const signedData = parseSignedData(await buildSignedData(fields, key.sign));
          assert.equal(
            signedData.content === undefined ? undefined : hex(signedData.content),
            content === undefined ? undefined : hex(content),
          );
          assert.deepEqual(
            signedData.certificates.map(({ raw }) => hex(raw)),
            fields.certificates.map(hex),
            'the order stays',
          );
          const [signerInfo] = signedData.signerInfos;
          assert.ok(signerInfo !== undefined);
          for (const attribute of list) {
            const have: Attribute | undefined = signerInfo.signedAttrs?.attributes.find(
              (candidate) => candidate.oid === attribute.oid,
            );
            assert.deepEqual(have?.values.map(hex), attribute.values.map(hex).sort(byOctets));
          }
          assert.equal(verifySignedData(signedData, signer), true);
          assert.equal(verifySigner(signedData, signerInfo, specimenRecipient), false);
        },
      ),
      { numRuns: 60 },
    );

    function byOctets(a: string, b: string): number {
      return Buffer.compare(Buffer.from(a, 'hex'), Buffer.from(b, 'hex'));
    }
  });
  test('the signed attributes are a SET OF in ascending order', async () => {
    const attributes: Attribute[] = [
      { oid: oid.scepTransactionID, values: [printableString('z')] },
      { oid: oid.scepMessageType, values: [printableString('3')] },
    ];
    const [signerInfo] = parseSignedData(
      await buildSignedData({ ...base, attributes }, clientKey.sign),
    ).signerInfos;
    const toBeSigned = signerInfo?.signedAttrs?.toBeSigned ?? octets('3100');
    const members = (treeOf(toBeSigned).children ?? []).map(encoded);
    assert.equal(members.length, 4);
    assert.equal(hex(setOf(members)), hex(toBeSigned));
  });
  test('signatureAlgorithm is plain rsaEncryption with RSA and the combined one with ECDSA', async () => {
    const rsa = parseSignedData(await buildSignedData(base, clientKey.sign));
    assert.equal(rsa.signerInfos[0]?.signatureAlgorithm.oid, oid.rsaEncryption);
    const ec = parseSignedData(await buildSignedData({ ...base, signer: deviceCertificate }, deviceKey.sign));
    assert.equal(ec.signerInfos[0]?.signatureAlgorithm.oid, oid.ecdsaWithSHA256);
  });
  test('refuses ECDSA with SHA-1, and passes on what the key says', async () => {
    await assert.rejects(
      buildSignedData({ ...base, digest: 'sha1', signer: deviceCertificate }, deviceKey.sign),
      {
        code: 'algorithm_unsupported',
      },
    );
    const failure = new PkiError('key_unavailable', 'gone');
    await assert.rejects(
      buildSignedData(base, async () => {
        throw failure;
      }),
      failure,
    );
  });
});

// --- EnvelopedData ----------------------------------------------------------------------------------------------------

/** As src/keys does it: PKCS #1 v1.5 with OpenSSL’s implicit rejection. */
const decryptForRa: Decrypt = async (transport, encryptedKey) =>
  transport.name === 'rsaes-pkcs1-v1_5'
    ? privateDecrypt({ key: raKey.privateKey, padding: constants.RSA_PKCS1_PADDING }, encryptedKey)
    : privateDecrypt(
        { key: raKey.privateKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: transport.digest },
        encryptedKey,
      );

/** The parts of an EnvelopedData, to be changed. */
function envelopedWith(
  change: (envelopedData: Tree[], recipient: Tree[], content: Tree[]) => void,
): Uint8Array {
  const root = treeOf(specimens.envelopedData);
  const envelopedData = root.children?.[1]?.children?.[0]?.children as Tree[];
  const recipient = envelopedData[1]?.children?.[0]?.children as Tree[];
  change(envelopedData, recipient, envelopedData[2]?.children as Tree[]);
  return encoded(root);
}

describe('parseEnvelopedData refuses', () => {
  const rows: readonly (readonly [what: string, bytes: Uint8Array, ErrorCode, RegExp])[] = [
    ['another content type', specimens.signedData, 'cms_malformed', /content type/],
    [
      'encrypted content of another type',
      envelopedWith((_d, _r, content) => content.splice(0, 1, treeOf(objectIdentifier(oid.signedData)))),
      'cms_malformed',
      /encrypted content of type/,
    ],
    [
      'no encrypted content',
      envelopedWith((_d, _r, content) => content.splice(2, 1)),
      'cms_malformed',
      /expected tag 80/,
    ],
    [
      'encrypted content in pieces that are none',
      envelopedWith((_d, _r, content) => content.splice(2, 1, treeOf(der(0xa0, integer(1))))),
      'cms_malformed',
      /expected tag 04/,
    ],
    [
      'encrypted content that is not tagged',
      envelopedWith((_d, _r, content) => content.splice(2, 1, treeOf(octetString(octets('00'))))),
      'cms_malformed',
      /expected tag 80/,
    ],
    [
      'a recipient without key',
      envelopedWith((_, recipient) => recipient.splice(-1, 1)),
      'cms_malformed',
      /expected tag 04/,
    ],
    [
      'a recipient without algorithm',
      envelopedWith((_, recipient) => recipient.splice(2, 1)),
      'cms_malformed',
      /expected tag 30/,
    ],
    [
      'a recipient with more',
      envelopedWith((_, recipient) => recipient.push(treeOf(octets('0500')))),
      'cms_malformed',
      /follow the last/,
    ],
    [
      'an unknown key transport',
      envelopedWith((_, recipient) => recipient.splice(2, 1, treeOf(sequence(objectIdentifier('1.2.3'))))),
      'algorithm_unsupported',
      /key transport 1\.2\.3/,
    ],
    [
      'an unknown cipher',
      envelopedWith((_d, _r, content) => content.splice(1, 1, treeOf(sequence(objectIdentifier('1.2.3'))))),
      'algorithm_unsupported',
      /content cipher 1\.2\.3/,
    ],
    [
      'seventeen recipients',
      envelopedWith((data) => data[1]?.children?.push(...times(16, encoded(data[1].children[0] as Tree)))),
      'der_limit',
      /over 16 recipients/,
    ],
    [
      'seventeen recipients of other kinds',
      envelopedWith((data) => data[1]?.children?.push(...times(16, der(0xa2)))),
      'der_limit',
      /over 16 recipients/,
    ],
    [
      'something after the attributes',
      envelopedWith((data) => data.push(treeOf(der(0xa1)), treeOf(octets('0500')))),
      'cms_malformed',
      /follow the last/,
    ],
  ];
  for (const [what, bytes, code, message] of rows) {
    test(what, () => {
      const error = assertRefused(() => parseEnvelopedData(bytes), [code], what);
      assert.match(error.message, message);
    });
  }
});

describe('parseEnvelopedData passes over', () => {
  const want = parseEnvelopedData(specimens.envelopedData);
  const rows: readonly (readonly [what: string, bytes: Uint8Array])[] = [
    ['originatorInfo', envelopedWith((data) => data.splice(1, 0, treeOf(der(0xa0))))],
    ['unprotectedAttrs', envelopedWith((data) => data.push(treeOf(der(0xa1, sequence()))))],
    [
      'recipients of other kinds',
      envelopedWith((data) => data[1]?.children?.unshift(treeOf(der(0xa1, integer(3))), treeOf(der(0xa4)))),
    ],
  ];
  for (const [what, bytes] of rows) test(what, () => assert.deepEqual(parseEnvelopedData(bytes), want));
});

describe('an envelope', () => {
  const transports: readonly KeyTransport[] = [
    { name: 'rsaes-pkcs1-v1_5' },
    { name: 'rsaes-oaep', digest: 'sha1' },
    { name: 'rsaes-oaep', digest: 'sha256' },
    { name: 'rsaes-oaep', digest: 'sha512' },
  ];
  for (const cipher of Object.keys(ciphers) as CipherName[]) {
    for (const keyTransport of transports) {
      test(`${cipher}, ${JSON.stringify(keyTransport)}: what is sealed is opened`, async () => {
        for (const length of [0, 1, 15, 16, 17, 3_000]) {
          const content = new Uint8Array(length).fill(length);
          const bytes = buildEnvelopedData({ content, recipient: specimenRecipient, cipher, keyTransport });
          const enveloped = parseEnvelopedData(bytes);
          assert.equal(enveloped.cipher.name, cipher);
          assert.deepEqual(enveloped.recipients[0]?.keyTransport, keyTransport);
          assert.equal(identifies(enveloped.recipients[0]?.rid ?? assert.fail(), specimenRecipient), true);
          assert.equal(hex(await openEnvelopedData(enveloped, decryptForRa)), hex(content));
        }
      });
    }
  }
  test('no two are alike', () => {
    const fields = {
      content: Buffer.from('content'),
      recipient: specimenRecipient,
      cipher: 'aes-256-cbc',
      keyTransport: { name: 'rsaes-pkcs1-v1_5' },
    } as const;
    const [one, other] = [
      parseEnvelopedData(buildEnvelopedData(fields)),
      parseEnvelopedData(buildEnvelopedData(fields)),
    ];
    assert.notEqual(hex(one.iv), hex(other.iv));
    assert.notEqual(hex(one.encryptedContent), hex(other.encryptedContent));
    assert.equal(
      nodesOf(treeOf(buildEnvelopedData(fields))).some((node) =>
        hex(node.content).includes(hex(fields.content)),
      ),
      false,
    );
  });
  test('has a key of its own, which nobody could guess', async () => {
    const keyTransport = { name: 'rsaes-pkcs1-v1_5' } as const;
    const keys = new Set<string>();
    for (let round = 0; round < 8; round += 1) {
      const bytes = buildEnvelopedData({
        content: octets('00'),
        recipient: specimenRecipient,
        cipher: 'aes-256-cbc',
        keyTransport,
      });
      const enveloped = parseEnvelopedData(bytes);
      const encryptedKey = enveloped.recipients[0]?.encryptedKey ?? assert.fail();
      const key = hex(await decryptForRa(keyTransport, encryptedKey));
      assert.ok(!key.includes(hex(enveloped.iv)), 'the vector stands in the clear');
      keys.add(key);
    }
    assert.equal(keys.size, 8);
    for (const key of keys) assert.ok(new Set(Buffer.from(key, 'hex')).size > 16, key);
  });
  test('for a key that cannot open it is refused', () => {
    for (const recipient of [deviceCertificate, { ...specimenRecipient, spki: sequence() }]) {
      assertRefused(
        () =>
          buildEnvelopedData({
            content: octets(''),
            recipient,
            cipher: 'aes-128-cbc',
            keyTransport: { name: 'rsaes-pkcs1-v1_5' },
          }),
        ['algorithm_unsupported'],
        '',
      );
    }
  });
});

// --- one answer for every failure -------------------------------------------------------------------------------------

describe('openEnvelopedData', () => {
  const raPublicKey = createPublicKey(raKey.privateKey);
  const modulus = Buffer.from(raPublicKey.export({ format: 'jwk' }).n ?? '', 'base64url');
  const content = Buffer.from('the content that an attacker would like to read');
  const key = new Uint8Array(32).fill(0x5a);
  const iv = new Uint8Array(16).fill(0x17);

  const raw = (block: Uint8Array): Uint8Array =>
    publicEncrypt({ key: raPublicKey, padding: constants.RSA_NO_PADDING }, block);
  const filler = (length: number): Uint8Array => new Uint8Array(length).fill(0xbb);
  /** A block of 256 octets: what is given, from the left and from the right, and padding octets between. */
  const block = (left: string, right: Uint8Array): Uint8Array => {
    const start = octets(left);
    return Buffer.concat([start, filler(256 - start.length - right.length), right]);
  };
  const padded = (message: Uint8Array): Uint8Array => block('0002', Uint8Array.of(0, ...message));
  const sealed = (plaintext: Uint8Array): Uint8Array => {
    const encryption = createCipheriv('aes-256-cbc', key, iv).setAutoPadding(false);
    return Buffer.concat([encryption.update(plaintext), encryption.final()]);
  };
  const pkcs7 = (plaintext: Uint8Array): Uint8Array => {
    const length = 16 - (plaintext.length % 16);
    return Buffer.concat([plaintext, Buffer.alloc(length, length)]);
  };
  const envelope = (
    encryptedKey: Uint8Array,
    encryptedContent: Uint8Array = sealed(pkcs7(content)),
    keyTransport: KeyTransport = { name: 'rsaes-pkcs1-v1_5' },
  ): EnvelopedData => ({
    recipients: [{ rid: { type: 'issuerAndSerialNumber', raw: sequence() }, keyTransport, encryptedKey }],
    cipher: ciphers['aes-256-cbc'],
    iv,
    encryptedContent,
  });
  const goodKey = raw(padded(key));
  const oaepKey = (digest: 'sha1' | 'sha256'): Uint8Array =>
    publicEncrypt({ key: raPublicKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: digest }, key);
  const lastBlock = (end: string): Uint8Array =>
    Buffer.concat([filler(32 - octets(end).length), octets(end)]);
  const oaep: KeyTransport = { name: 'rsaes-oaep', digest: 'sha256' };

  test('opens what is right: the blocks below are wrong for one reason each', async () => {
    for (const [right, transport] of [
      [goodKey, { name: 'rsaes-pkcs1-v1_5' }],
      [oaepKey('sha256'), oaep],
      [oaepKey('sha1'), { name: 'rsaes-oaep', digest: 'sha1' }],
    ] as const) {
      const opened = await openEnvelopedData(
        envelope(right, sealed(pkcs7(content)), transport),
        decryptForRa,
      );
      assert.equal(hex(opened), hex(content));
    }
  });

  /** Wrong in the key: the content is decrypted with some other key, and one in 256 of those seems to be padded. */
  const wrongKeys: Readonly<Record<string, EnvelopedData>> = {
    'block type 1': envelope(raw(block('0001', Uint8Array.of(0, ...key)))),
    'block type 0': envelope(raw(Buffer.concat([new Uint8Array(224), key]))),
    'block type 3': envelope(raw(block('0003', Uint8Array.of(0, ...key)))),
    'a first octet that is not zero': envelope(raw(block('0102', Uint8Array.of(0, ...key)))),
    'no zero octet': envelope(raw(block('0002', key))),
    'no zero octet and no key': envelope(raw(block('0002', octets('')))),
    'a zero at once': envelope(raw(block('000200', Uint8Array.of(0, ...key)))),
    'a zero as the seventh octet of padding': envelope(
      raw(block('0002bbbbbbbbbbbb00', Uint8Array.of(0, ...key))),
    ),
    'a zero as the eighth octet of padding': envelope(
      raw(block('0002bbbbbbbbbbbbbb00', Uint8Array.of(0, ...key))),
    ),
    'nothing after the zero': envelope(raw(padded(octets('')))),
    'a key of one octet': envelope(raw(padded(filler(1)))),
    'a key of 16 octets': envelope(raw(padded(filler(16)))),
    'a key of 24 octets': envelope(raw(padded(filler(24)))),
    'a key of 31 octets': envelope(raw(padded(filler(31)))),
    'a key of 33 octets': envelope(raw(padded(filler(33)))),
    'a key of 64 octets': envelope(raw(padded(filler(64)))),
    'a key of 245 octets': envelope(raw(padded(filler(245)))),
    'a key of 32 octets that is another': envelope(raw(padded(filler(32)))),
    'a block of zeros': envelope(raw(new Uint8Array(256))),
    'a block of 1': envelope(raw(Buffer.concat([new Uint8Array(255), octets('01')]))),
    'an encrypted key of other octets': envelope(Uint8Array.of(...filler(255), 1)),
  };

  /** Wrong beyond any chance. */
  const wrongForSure: Readonly<Record<string, EnvelopedData>> = {
    'an encrypted key that is empty': envelope(octets('')),
    'an encrypted key that is too short': envelope(goodKey.subarray(1)),
    'an encrypted key that is too long': envelope(Uint8Array.of(...goodKey, 0)),
    'an encrypted key with a zero before it': envelope(Uint8Array.of(0, ...goodKey)),
    'an encrypted key that is the modulus': envelope(modulus),
    'an encrypted key above the modulus': envelope(new Uint8Array(256).fill(0xff)),
    'PKCS #1 v1.5 that is said to be OAEP': envelope(goodKey, sealed(pkcs7(content)), oaep),
    'OAEP with another digest': envelope(oaepKey('sha1'), sealed(pkcs7(content)), oaep),
    'OAEP with a changed octet': envelope(
      Uint8Array.of(...oaepKey('sha256').subarray(0, 255), 0),
      sealed(pkcs7(content)),
      oaep,
    ),
    'OAEP of zeros': envelope(raw(new Uint8Array(256)), sealed(pkcs7(content)), oaep),
    'OAEP of a first octet that is not zero': envelope(raw(block('01', key)), sealed(pkcs7(content)), oaep),
    'content padded with 0': envelope(goodKey, sealed(lastBlock('00'))),
    'content padded with 17': envelope(goodKey, sealed(lastBlock('11'))),
    'content padded with 255': envelope(goodKey, sealed(lastBlock('ff'))),
    'content padded with 2 but once': envelope(goodKey, sealed(lastBlock('0302'))),
    'content whose padding is interrupted': envelope(goodKey, sealed(lastBlock('04040304'))),
    'content of no octets': envelope(goodKey, octets('')),
    'content of half a block': envelope(goodKey, sealed(pkcs7(content)).subarray(0, 40)),
    'content of one octet more': envelope(goodKey, Uint8Array.of(...sealed(pkcs7(content)), 1)),
    'no recipient': { ...envelope(goodKey), recipients: [] },
  };

  /** Everything of an error that could be told apart, the place that it was thrown from included. */
  async function failureOf(
    enveloped: EnvelopedData,
    decrypt: Decrypt = decryptForRa,
  ): Promise<string | Uint8Array> {
    try {
      return await openEnvelopedData(enveloped, decrypt);
    } catch (thrown) {
      assert.ok(thrown instanceof PkiError);
      const own = Object.fromEntries(
        Reflect.ownKeys(thrown).map((property) => [String(property), Reflect.get(thrown, property)]),
      );
      const place = /openEnvelopedData \([^)]*\)/.exec(thrown.stack ?? '')?.[0];
      return JSON.stringify({ ...own, stack: place, kind: thrown.kind, text: String(thrown) });
    }
  }

  test('fails in one and the same way, whatever is wrong', async () => {
    const failures = new Map<string, string>();
    for (const [what, enveloped] of Object.entries(wrongForSure)) {
      const failure = await failureOf(enveloped);
      assert.ok(typeof failure === 'string', `${what}: was opened`);
      failures.set(failure, what);
    }
    for (const [what, enveloped] of Object.entries(wrongKeys)) {
      let opened = 0;
      for (let round = 0; round < 8; round += 1) {
        const failure = await failureOf(enveloped);
        if (typeof failure === 'string') failures.set(failure, what);
        else {
          opened += 1;
          assert.notEqual(hex(failure), hex(content), what);
        }
      }
      // By chance one in 256; an implementation that takes the padding for good would open all of them.
      assert.ok(opened < 8, `${what}: was opened ${opened} times`);
    }
    assert.deepEqual([...failures.values()].length, 1, [...failures].join('\n'));
    const [only] = failures.keys();
    const properties = JSON.parse(only ?? '{}');
    assert.deepEqual(Object.keys(properties).sort(), ['code', 'kind', 'message', 'name', 'stack', 'text']);
    assert.equal(properties.code, 'scep_envelope');
    assert.match(properties.stack, /openEnvelopedData/);
  });

  test('fails in the same way when the key throws or answers nonsense', async () => {
    const reference = await failureOf(wrongForSure['no recipient'] ?? assert.fail());
    const answers: readonly Decrypt[] = [
      async () => {
        throw new Error('padding check failed');
      },
      async () => {
        throw new PkiError('der_malformed', 'a detail');
      },
      async () => {
        throw new TypeError('x is undefined');
      },
      () => {
        throw new RangeError('thrown at once');
      },
      async () => Buffer.alloc(31),
    ];
    for (const decrypt of answers) {
      for (let round = 0; ; round += 1) {
        const failure = await failureOf(envelope(goodKey), decrypt);
        if (typeof failure !== 'string' && round < 3) continue;
        assert.equal(failure, reference);
        break;
      }
    }
  });

  test('says so when it is the key that cannot be reached', async () => {
    for (const code of ['key_unavailable', 'key_capability', 'internal'] as const) {
      const failure = new PkiError(code, 'the token does not answer');
      await assert.rejects(
        openEnvelopedData(envelope(goodKey), async () => {
          throw failure;
        }),
        failure,
      );
    }
  });

  test('uses another substitute every time', async () => {
    // With one fixed substitute a sender who learns it could tell a wrong length from a right one.
    const short: Decrypt = async () => Buffer.alloc(31);
    const answers = new Set<string>();
    for (let round = 0; round < 3_000 && answers.size < 2; round += 1) {
      const failure = await failureOf(envelope(goodKey), short);
      if (typeof failure !== 'string') answers.add(hex(failure));
    }
    assert.equal(answers.size, 2);
  });
});
