/** Other people's eyes: pkijs and node read what the codec builds, and the codec reads what pkijs builds. */
import assert from 'node:assert/strict';
import { constants, privateDecrypt, X509Certificate } from 'node:crypto';
import { describe, test } from 'node:test';
import * as asn1js from 'asn1js';
import fc from 'fast-check';
import * as pkijs from 'pkijs';
import {
  certificateFields,
  clientKey,
  deviceKey,
  generalNames,
  name,
  raKey,
  type SpecimenKey,
  specimenRecipient,
  specimens,
} from '../../test/support/codec-fixture.ts';
import {
  buildCertificate,
  buildCertificationRequest,
  buildCertsOnly,
  buildCrl,
  buildEnvelopedData,
  buildName,
  buildSignedData,
  type CertificateFields,
  commonNameOf,
  crlNumberExtension,
  type Decrypt,
  DerReader,
  extKeyUsageExtension,
  extKeyUsageOf,
  hex,
  keyUsageExtension,
  keyUsageOf,
  type Name,
  nameFromString,
  nameToString,
  oid,
  openEnvelopedData,
  parseCertificate,
  parseCertificationRequest,
  parseCrl,
  parseEnvelopedData,
  parseSignedData,
  printableString,
  signedAttributeOf,
  signerCertificateOf,
  subjectAltNameExtension,
  subjectAltNameOf,
  thumbprintOf,
  verifyCertificateSignature,
  verifyCertificationRequest,
  verifyCrlSignature,
  verifySignedData,
} from './index.ts';

// --- between the two worlds -------------------------------------------------------------------------------------------

/** pkijs wants its octets in an ArrayBuffer of their own. */
const buffer = (bytes: Uint8Array): ArrayBuffer => Uint8Array.from(bytes).buffer;
const bytesOf = (value: { toBER(): ArrayBuffer }): Uint8Array => new Uint8Array(value.toBER());
const hexOf = (value: ArrayBuffer | Uint8Array): string => hex(new Uint8Array(value));

const rsa = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
const ecdsa = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
/** The same key as WebCrypto wants it. */
interface WebKeyPair {
  readonly privateKey: CryptoKey;
  readonly publicKey: CryptoKey;
}

async function webKeyPair(key: SpecimenKey): Promise<WebKeyPair> {
  const algorithm = key === deviceKey ? ecdsa : rsa;
  const pkcs8 = key.privateKey.export({ format: 'der', type: 'pkcs8' });
  return {
    privateKey: await crypto.subtle.importKey('pkcs8', buffer(pkcs8), algorithm, true, ['sign']),
    publicKey: await crypto.subtle.importKey('spki', buffer(key.spki), algorithm, true, ['verify']),
  };
}
const clientPair = await webKeyPair(clientKey);
const devicePair = await webKeyPair(deviceKey);
const raPair = await webKeyPair(raKey);

/** The attributes of a name in order, as pkijs sees them. */
const attributesOf = (value: pkijs.RelativeDistinguishedNames): string[][] =>
  value.typesAndValues.map((attribute) => [attribute.type, String(attribute.value.valueBlock.value)]);
/** The same of ours; pkijs flattens the RDNs. */
const flat = (value: Name): string[][] =>
  value.rdns.flat().map((attribute) => [attribute.oid, attribute.value]);

const extensionsOf = (extensions: readonly pkijs.Extension[] | undefined): unknown[] =>
  (extensions ?? []).map((extension) => [
    extension.extnID,
    extension.critical,
    hexOf(extension.extnValue.valueBlock.valueHexView),
  ]);
const ours = (extensions: CertificateFields['extensions']): unknown[] =>
  extensions.map((extension) => [extension.oid, extension.critical, hex(extension.value)]);

const decryptForRa: Decrypt = async (transport, encryptedKey) =>
  privateDecrypt(
    transport.name === 'rsaes-oaep'
      ? { key: raKey.privateKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: transport.digest }
      : { key: raKey.privateKey, padding: constants.RSA_PKCS1_PADDING },
    encryptedKey,
  );

// --- random things that both sides can hold ---------------------------------------------------------------------------

const text = fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 });
const names = fc
  .array(
    fc.record({
      oid: fc.constantFrom(
        oid.commonName,
        oid.organizationName,
        oid.organizationalUnitName,
        oid.userId,
        oid.title,
      ),
      value: text,
    }),
    { minLength: 1, maxLength: 4 },
  )
  .map((attributes) => buildName(attributes.map((attribute) => [attribute])));
const seconds = fc
  .date({ min: new Date('1951-01-01T00:00:00Z'), max: new Date('2200-01-01T00:00:00Z'), noInvalidDate: true })
  .map((date) => new Date(Math.floor(date.getTime() / 1000) * 1000));
const certificates: fc.Arbitrary<CertificateFields> = fc.record({
  serialNumber: fc
    .uint8Array({ minLength: 8, maxLength: 18 })
    .map((serial) => hex(Uint8Array.of(1, ...serial))),
  signatureAlgorithm: fc.constant('rsa-sha256'),
  issuer: names,
  notBefore: seconds,
  notAfter: seconds,
  subject: names,
  spki: fc.constantFrom(clientKey.spki, deviceKey.spki),
  extensions: fc.subarray([...certificateFields.extensions]),
});

describe('node agrees with the codec', () => {
  test('on certificates that the codec builds', async () => {
    await fc.assert(
      fc.asyncProperty(certificates, async (fields) => {
        const bytes = await buildCertificate(fields, raKey.sign);
        const have = parseCertificate(bytes);
        const want = new X509Certificate(bytes);
        assert.equal(have.serialNumber.toUpperCase(), want.serialNumber);
        assert.equal(have.notBefore.getTime(), Date.parse(want.validFrom));
        assert.equal(have.notAfter.getTime(), Date.parse(want.validTo));
        assert.equal(hex(have.spki), hexOf(want.publicKey.export({ format: 'der', type: 'spki' })));
        assert.equal(thumbprintOf(bytes), want.fingerprint.replaceAll(':', ''));
        // What node calls keyUsage is the extended one.
        assert.deepEqual(extKeyUsageOf(have), want.keyUsage);
        assert.equal(
          want.ca,
          have.extensions.some((extension) => extension.oid === oid.basicConstraints),
        );
        assert.equal(
          verifyCertificateSignature(have, raKey.spki),
          want.verify(new X509Certificate(specimenRecipient.raw).publicKey),
        );
      }),
      { numRuns: 100 },
    );
  });
  test('on subjects, in its own notation', async () => {
    for (const [subject, lines] of [
      ['CN=device-1,O=Example Lab,C=CH', ['C=CH', 'O=Example Lab', 'CN=device-1']],
      ['CN=Zürich 😀', ['CN=Zürich 😀']],
      ['E=a@lab.test,DC=lab,DC=test', ['DC=test', 'DC=lab', 'emailAddress=a@lab.test']],
    ] as const) {
      const fields = { ...certificateFields, subject: nameFromString(subject), extensions: [] };
      const bytes = await buildCertificate(fields, raKey.sign);
      assert.deepEqual(new X509Certificate(bytes).subject?.split('\n'), lines);
      assert.equal(nameToString(parseCertificate(bytes).subject), subject);
    }
  });
  test('on alternative names', async () => {
    const subjectAltName = subjectAltNameExtension(generalNames.slice(0, 5), name);
    const bytes = await buildCertificate({ ...certificateFields, extensions: [subjectAltName] }, raKey.sign);
    assert.equal(
      new X509Certificate(bytes).subjectAltName,
      'DNS:laptop.lab.test, email:laptop@lab.test, URI:urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8, ' +
        'IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1',
    );
  });
  test('on negative serial numbers', async () => {
    const [, tail] = hex(specimens.certificate).split('02105fa1b2c3d4e5f60718293a4b5c6d7e8f');
    assert.ok(tail !== undefined);
    const negative = Buffer.from(hex(specimens.certificate).replace('02105fa1b2c3', '0210dfa1b2c3'), 'hex');
    assert.equal(
      parseCertificate(negative).serialNumber.toUpperCase(),
      new X509Certificate(negative).serialNumber,
    );
  });
});

describe('pkijs reads what the codec builds', () => {
  test('certificates', async () => {
    await fc.assert(
      fc.asyncProperty(certificates, async (fields) => {
        const certificate = pkijs.Certificate.fromBER(buffer(await buildCertificate(fields, raKey.sign)));
        assert.equal(certificate.version, 2);
        assert.equal(hexOf(certificate.serialNumber.valueBlock.valueHexView), fields.serialNumber);
        assert.deepEqual(attributesOf(certificate.issuer), flat(fields.issuer));
        assert.deepEqual(attributesOf(certificate.subject), flat(fields.subject));
        assert.deepEqual(certificate.notBefore.value, fields.notBefore);
        assert.deepEqual(certificate.notAfter.value, fields.notAfter);
        assert.equal(hexOf(certificate.subjectPublicKeyInfo.toSchema().toBER()), hex(fields.spki));
        assert.deepEqual(extensionsOf(certificate.extensions), ours(fields.extensions));
        assert.equal(certificate.signatureAlgorithm.algorithmId, oid.sha256WithRSAEncryption);
        assert.equal(
          await certificate.verify(pkijs.Certificate.fromBER(buffer(specimenRecipient.raw))),
          true,
        );
      }),
      { numRuns: 50 },
    );
  });

  test('certification requests', async () => {
    for (const [key, signatureAlgorithm] of [
      [clientKey, 'rsa-sha256'],
      [deviceKey, 'ecdsa-sha256'],
    ] as const) {
      const extensions = [
        subjectAltNameExtension([{ type: 'dNSName', value: 'a.lab.test' }], name),
        keyUsageExtension(['digitalSignature', 'keyEncipherment']),
      ];
      const fields = {
        subject: name,
        spki: key.spki,
        challengePassword: 'Schlüssel',
        extensions,
        signatureAlgorithm,
      };
      const bytes = await buildCertificationRequest(fields, key.sign);
      const request = pkijs.CertificationRequest.fromBER(buffer(bytes));
      assert.equal(request.version, 0);
      assert.deepEqual(attributesOf(request.subject), flat(name));
      assert.equal(hexOf(request.subjectPublicKeyInfo.toSchema().toBER()), hex(key.spki));
      const attributes = new Map(
        (request.attributes ?? []).map((attribute) => [attribute.type, attribute.values]),
      );
      assert.deepEqual([...attributes.keys()].sort(), [oid.extensionRequest, oid.challengePassword].sort());
      assert.equal(attributes.get(oid.challengePassword)?.[0]?.valueBlock.value, 'Schlüssel');
      const list = new pkijs.Extensions({ schema: attributes.get(oid.extensionRequest)?.[0] });
      assert.deepEqual(extensionsOf(list.extensions), ours(extensions));
      assert.equal(await request.verify(), true);
    }
  });

  test('CRLs', async () => {
    const fields = {
      signatureAlgorithm: 'ecdsa-sha256' as const,
      issuer: name,
      thisUpdate: new Date('2026-02-01T00:00:00Z'),
      nextUpdate: new Date('2052-02-08T00:00:00Z'),
      revoked: [
        {
          serialNumber: '0a',
          revocationDate: new Date('2026-01-15T10:20:30Z'),
          reason: 'keyCompromise' as const,
        },
        {
          serialNumber: 'f001',
          revocationDate: new Date('2051-01-16T10:20:30Z'),
          reason: 'unspecified' as const,
        },
      ],
      extensions: [crlNumberExtension(4711)],
    };
    const list = pkijs.CertificateRevocationList.fromBER(buffer(await buildCrl(fields, deviceKey.sign)));
    assert.equal(list.version, 1);
    assert.deepEqual(attributesOf(list.issuer), flat(name));
    assert.deepEqual([list.thisUpdate.value, list.nextUpdate?.value], [fields.thisUpdate, fields.nextUpdate]);
    const entries = (list.revokedCertificates ?? []).map((entry) => [
      hexOf(entry.userCertificate.valueBlock.valueHexView),
      entry.revocationDate.value,
      extensionsOf(entry.crlEntryExtensions?.extensions),
    ]);
    assert.deepEqual(entries, [
      ['0a', fields.revoked[0]?.revocationDate, [[oid.reasonCode, false, '0a0101']]],
      ['00f001', fields.revoked[1]?.revocationDate, []],
    ]);
    assert.deepEqual(extensionsOf(list.crlExtensions?.extensions), [[oid.crlNumber, false, '02021267']]);
    const publicKeyInfo = new pkijs.PublicKeyInfo();
    await publicKeyInfo.importKey(devicePair.publicKey);
    assert.equal(await list.verify({ publicKeyInfo }), true);
  });

  test('SignedData', async () => {
    const content = Buffer.from('content that is signed');
    const certificate = parseCertificate(specimens.certificate);
    const bytes = await buildSignedData(
      {
        content,
        digest: 'sha256',
        signer: certificate,
        certificates: [certificate.raw, specimenRecipient.raw],
        attributes: [{ oid: oid.scepTransactionID, values: [printableString('4711')] }],
      },
      clientKey.sign,
    );
    const signedData = new pkijs.SignedData({ schema: pkijs.ContentInfo.fromBER(buffer(bytes)).content });
    assert.equal(signedData.version, 1);
    assert.equal(signedData.encapContentInfo.eContentType, oid.data);
    assert.equal(hexOf(signedData.encapContentInfo.eContent?.getValue() ?? new ArrayBuffer()), hex(content));
    assert.equal(signedData.certificates?.length, 2);
    const attributes = signedData.signerInfos[0]?.signedAttrs?.attributes ?? [];
    const transactionID = attributes.find((attribute) => attribute.type === oid.scepTransactionID);
    assert.equal(transactionID?.values[0]?.valueBlock.value, '4711');
    assert.equal(await signedData.verify({ signer: 0, checkChain: false }), true);
  });

  test('certificates alone', () => {
    const bytes = buildCertsOnly([specimens.certificate, specimenRecipient.raw], [specimens.crl]);
    const signedData = new pkijs.SignedData({ schema: pkijs.ContentInfo.fromBER(buffer(bytes)).content });
    assert.equal(signedData.certificates?.length, 2);
    assert.equal(signedData.crls?.length, 1);
    assert.equal(signedData.signerInfos.length, 0);
    assert.equal(signedData.encapContentInfo.eContent, undefined);
  });

  test('EnvelopedData, and opens it', async () => {
    const content = Buffer.from('content that is encrypted');
    const pkcs8 = buffer(raKey.privateKey.export({ format: 'der', type: 'pkcs8' }));
    for (const cipher of ['aes-128-cbc', 'aes-256-cbc'] as const) {
      for (const digest of ['sha1', 'sha256', 'sha512'] as const) {
        const keyTransport = { name: 'rsaes-oaep', digest } as const;
        const bytes = buildEnvelopedData({ content, recipient: specimenRecipient, cipher, keyTransport });
        const enveloped = new pkijs.EnvelopedData({
          schema: pkijs.ContentInfo.fromBER(buffer(bytes)).content,
        });
        const parameters = {
          recipientCertificate: pkijs.Certificate.fromBER(buffer(specimenRecipient.raw)),
          recipientPrivateKey: pkcs8,
        };
        assert.equal(hexOf(await enveloped.decrypt(0, parameters)), hex(content));
      }
    }
    // WebCrypto has no PKCS #1 v1.5 encryption: the fields alone.
    const keyTransport = { name: 'rsaes-pkcs1-v1_5' } as const;
    const bytes = buildEnvelopedData({
      content,
      recipient: specimenRecipient,
      cipher: 'des-ede3-cbc',
      keyTransport,
    });
    const enveloped = new pkijs.EnvelopedData({ schema: pkijs.ContentInfo.fromBER(buffer(bytes)).content });
    const recipient = enveloped.recipientInfos[0]?.value as pkijs.KeyTransRecipientInfo;
    assert.deepEqual([enveloped.version, recipient.version], [0, 0]);
    assert.equal(recipient.keyEncryptionAlgorithm.algorithmId, oid.rsaEncryption);
    const rid = recipient.rid as pkijs.IssuerAndSerialNumber;
    assert.equal(hexOf(rid.serialNumber.valueBlock.valueHexView), specimenRecipient.serialNumber);
    const { contentType, contentEncryptionAlgorithm } = enveloped.encryptedContentInfo;
    assert.deepEqual([contentType, contentEncryptionAlgorithm.algorithmId], [oid.data, oid.desEde3Cbc]);
  });
});

describe('the codec reads what pkijs builds', () => {
  const attribute = (type: string, value: string): pkijs.AttributeTypeAndValue =>
    new pkijs.AttributeTypeAndValue({ type, value: new asn1js.Utf8String({ value }) });
  const keyUsage = (critical: boolean): pkijs.Extension =>
    new pkijs.Extension({
      extnID: oid.keyUsage,
      critical,
      extnValue: new asn1js.BitString({ valueHex: Uint8Array.of(0xa0).buffer, unusedBits: 5 }).toBER(),
    });
  const alternativeName = (): pkijs.Extension =>
    new pkijs.Extension({
      extnID: oid.subjectAltName,
      critical: false,
      extnValue: new pkijs.GeneralNames({
        names: [
          new pkijs.GeneralName({ type: 2, value: 'a.lab.test' }),
          new pkijs.GeneralName({ type: 1, value: 'a@lab.test' }),
        ],
      })
        .toSchema()
        .toBER(),
    });

  async function certificateBy(pair: WebKeyPair, serial: number): Promise<pkijs.Certificate> {
    const certificate = new pkijs.Certificate();
    certificate.version = 2;
    certificate.serialNumber = new asn1js.Integer({ value: serial });
    for (const part of [certificate.issuer, certificate.subject]) {
      part.typesAndValues.push(attribute(oid.organizationName, 'Läb'), attribute(oid.commonName, 'pkijs'));
    }
    certificate.notBefore.value = new Date('2026-01-01T00:00:00Z');
    certificate.notAfter.value = new Date('2027-06-01T12:30:15Z');
    certificate.extensions = [keyUsage(true), alternativeName()];
    await certificate.subjectPublicKeyInfo.importKey(pair.publicKey);
    await certificate.sign(pair.privateKey, 'SHA-256');
    return certificate;
  }

  test('certificates', async () => {
    for (const [pair, key] of [
      [clientPair, clientKey],
      [devicePair, deviceKey],
    ] as const) {
      const have = parseCertificate(bytesOf((await certificateBy(pair, 4711)).toSchema(true)));
      assert.equal(have.version, 3);
      assert.equal(have.serialNumber, '1267');
      // pkijs puts all attributes of a name into one RDN.
      assert.equal(nameToString(have.subject), 'O=Läb+CN=pkijs');
      assert.equal(commonNameOf(have.issuer), 'pkijs');
      assert.equal(have.notBefore.toISOString(), '2026-01-01T00:00:00.000Z');
      assert.equal(have.notAfter.toISOString(), '2027-06-01T12:30:15.000Z');
      assert.equal(hex(have.spki), hex(key.spki));
      assert.deepEqual(keyUsageOf(have), ['digitalSignature', 'keyEncipherment']);
      assert.deepEqual(subjectAltNameOf(have), [
        { type: 'dNSName', value: 'a.lab.test' },
        { type: 'rfc822Name', value: 'a@lab.test' },
      ]);
      assert.deepEqual(
        have.extensions.map(({ critical }) => critical),
        [true, false],
      );
      assert.equal(verifyCertificateSignature(have, key.spki), true);
      assert.equal(verifyCertificateSignature(have, raKey.spki), false);
    }
  });

  test('certification requests', async () => {
    const request = new pkijs.CertificationRequest();
    request.subject.typesAndValues.push(attribute(oid.commonName, 'pkijs'));
    await request.subjectPublicKeyInfo.importKey(devicePair.publicKey);
    request.attributes = [
      new pkijs.Attribute({
        type: oid.extensionRequest,
        values: [new pkijs.Extensions({ extensions: [keyUsage(false), alternativeName()] }).toSchema()],
      }),
      new pkijs.Attribute({
        type: oid.challengePassword,
        values: [new asn1js.Utf8String({ value: 'pässword' })],
      }),
    ];
    await request.sign(devicePair.privateKey, 'SHA-256');
    const have = parseCertificationRequest(bytesOf(request.toSchema(true)));
    assert.equal(nameToString(have.subject), 'CN=pkijs');
    assert.equal(have.challengePassword, 'pässword');
    assert.deepEqual(keyUsageOf(have), ['digitalSignature', 'keyEncipherment']);
    assert.equal(subjectAltNameOf(have).length, 2);
    assert.equal(hex(have.spki), hex(deviceKey.spki));
    assert.equal(verifyCertificationRequest(have), true);
  });

  test('CRLs', async () => {
    const list = new pkijs.CertificateRevocationList();
    list.version = 1;
    list.issuer.typesAndValues.push(attribute(oid.commonName, 'pkijs'));
    list.thisUpdate = new pkijs.Time({ type: 0, value: new Date('2026-02-01T00:00:00Z') });
    list.nextUpdate = new pkijs.Time({ type: 1, value: new Date('2050-02-01T00:00:00Z') });
    const reason = new pkijs.Extension({
      extnID: oid.reasonCode,
      extnValue: new asn1js.Enumerated({ value: 5 }).toBER(),
    });
    list.revokedCertificates = [
      new pkijs.RevokedCertificate({
        userCertificate: new asn1js.Integer({ value: 200 }),
        revocationDate: new pkijs.Time({ type: 0, value: new Date('2026-01-15T10:20:30Z') }),
        crlEntryExtensions: new pkijs.Extensions({ extensions: [reason] }),
      }),
    ];
    const number = new pkijs.Extension({
      extnID: oid.crlNumber,
      extnValue: new asn1js.Integer({ value: 9 }).toBER(),
    });
    list.crlExtensions = new pkijs.Extensions({ extensions: [number] });
    await list.sign(raPair.privateKey, 'SHA-256');
    const have = parseCrl(bytesOf(list.toSchema(true)));
    assert.equal(nameToString(have.issuer), 'CN=pkijs');
    assert.equal(have.thisUpdate.toISOString(), '2026-02-01T00:00:00.000Z');
    assert.equal(have.nextUpdate?.toISOString(), '2050-02-01T00:00:00.000Z');
    assert.deepEqual(have.revoked, [
      {
        serialNumber: 'c8',
        revocationDate: new Date('2026-01-15T10:20:30Z'),
        reason: 'cessationOfOperation',
      },
    ]);
    assert.deepEqual(ours(have.extensions), [[oid.crlNumber, false, '020109']]);
    assert.equal(verifyCrlSignature(have, raKey.spki), true);
    assert.equal(verifyCrlSignature(have, clientKey.spki), false);
  });

  test('SignedData', async () => {
    const content = Buffer.from('content that pkijs signed');
    const certificate = await certificateBy(clientPair, 12);
    const digest = await crypto.subtle.digest('SHA-256', content);
    const attributes = [
      new pkijs.Attribute({
        type: oid.contentType,
        values: [new asn1js.ObjectIdentifier({ value: oid.data })],
      }),
      new pkijs.Attribute({
        type: oid.messageDigest,
        values: [new asn1js.OctetString({ valueHex: digest })],
      }),
      new pkijs.Attribute({
        type: oid.scepMessageType,
        values: [new asn1js.PrintableString({ value: '19' })],
      }),
    ];
    const signedData = new pkijs.SignedData({
      version: 1,
      encapContentInfo: new pkijs.EncapsulatedContentInfo({
        eContentType: oid.data,
        // pkijs cuts the content into pieces: a constructed OCTET STRING, which is BER.
        eContent: new asn1js.OctetString({ valueHex: buffer(content) }),
      }),
      signerInfos: [
        new pkijs.SignerInfo({
          version: 1,
          sid: new pkijs.IssuerAndSerialNumber({
            issuer: certificate.issuer,
            serialNumber: certificate.serialNumber,
          }),
          signedAttrs: new pkijs.SignedAndUnsignedAttributes({ type: 0, attributes }),
        }),
      ],
      certificates: [certificate],
    });
    await signedData.sign(clientPair.privateKey, 0, 'SHA-256');
    const contentInfo = new pkijs.ContentInfo({
      contentType: oid.signedData,
      content: signedData.toSchema(true),
    });
    const have = parseSignedData(bytesOf(contentInfo.toSchema()));
    assert.equal(hex(have.content ?? new Uint8Array()), hex(content));
    const [signerInfo] = have.signerInfos;
    assert.ok(signerInfo !== undefined);
    const messageType = signedAttributeOf(signerInfo, oid.scepMessageType);
    assert.equal(new DerReader(messageType ?? new Uint8Array()).text(), '19');
    const signer = signerCertificateOf(have, signerInfo);
    assert.ok(signer !== undefined);
    assert.equal(signer.serialNumber, '0c');
    assert.equal(verifySignedData(have, signer), true);
    assert.equal(verifySignedData({ ...have, content: Buffer.from('other') }, signer), false);
  });

  test('EnvelopedData', async () => {
    const content = Buffer.from('content that pkijs encrypted');
    for (const oaepHashAlgorithm of ['SHA-1', 'SHA-256', 'SHA-512']) {
      for (const length of [128, 256]) {
        const enveloped = new pkijs.EnvelopedData();
        const recipient = pkijs.Certificate.fromBER(buffer(specimenRecipient.raw));
        enveloped.addRecipientByCertificate(recipient, { oaepHashAlgorithm });
        await enveloped.encrypt(
          { name: 'AES-CBC', length } as pkijs.ContentEncryptionAesCbcParams,
          buffer(content),
        );
        const contentInfo = new pkijs.ContentInfo({
          contentType: oid.envelopedData,
          content: enveloped.toSchema(),
        });
        const have = parseEnvelopedData(bytesOf(contentInfo.toSchema()));
        assert.equal(have.cipher.name, `aes-${length}-cbc`);
        const digest = oaepHashAlgorithm.toLowerCase().replace('-', '');
        assert.deepEqual(have.recipients[0]?.keyTransport, { name: 'rsaes-oaep', digest });
        assert.equal(hex(await openEnvelopedData(have, decryptForRa)), hex(content));
      }
    }
  });

  test('purposes', async () => {
    const purposes = new pkijs.ExtKeyUsage({ keyPurposes: [oid.clientAuth, oid.emailProtection] });
    const value = bytesOf(purposes.toSchema());
    assert.deepEqual(extKeyUsageOf({ extensions: [{ oid: oid.extKeyUsage, critical: false, value }] }), [
      oid.clientAuth,
      oid.emailProtection,
    ]);
    assert.equal(hex(extKeyUsageExtension([oid.clientAuth, oid.emailProtection]).value), hex(value));
  });
});
