/** The vectors in test/vectors/codec, each read and compared field by field. */
import assert from 'node:assert/strict';
import { constants, privateDecrypt } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { assertRefused, clientKey, raKey } from '../../test/support/codec-fixture.ts';
import { textOf, vectorFiles } from '../../test/vectors/codec/generate.ts';
import { type ErrorCode, errorTable } from '../errors.ts';
import {
  digestOf,
  extensionValue,
  extKeyUsageOf,
  generalNamesToString,
  hex,
  keyUsageOf,
  nameFromString,
  nameToString,
  normalizeBer,
  oid,
  openEnvelopedData,
  parseCertificate,
  parseCertificationRequest,
  parseEnvelopedData,
  parseName,
  parseSignedData,
  signerCertificateOf,
  subjectAltNameOf,
  verifyCertificateSignature,
  verifyCertificationRequest,
  verifySignedData,
} from './index.ts';

const folder = new URL('../../test/vectors/codec/', import.meta.url);
const base64Of = (octets: Uint8Array): string => Buffer.from(octets).toString('base64');

/** What is read of each kind of object: every field that a vector's `result` may name. */
const kinds: Readonly<Record<string, (bytes: Uint8Array) => Readonly<Record<string, () => unknown>>>> = {
  certificate: (bytes) => {
    const certificate = parseCertificate(bytes);
    return {
      version: () => certificate.version,
      serialNumber: () => certificate.serialNumber,
      issuer: () => nameToString(certificate.issuer),
      subject: () => nameToString(certificate.subject),
      notBefore: () => certificate.notBefore.toISOString(),
      notAfter: () => certificate.notAfter.toISOString(),
      signatureAlgorithm: () => certificate.signatureAlgorithm.oid,
      critical: () =>
        certificate.extensions.filter((extension) => extension.critical).map(({ oid: id }) => id),
      keyUsage: () => keyUsageOf(certificate),
      extKeyUsage: () => extKeyUsageOf(certificate),
      subjectAltName: () => generalNamesToString(subjectAltNameOf(certificate)),
      verifiesWith: () =>
        verifyCertificateSignature(certificate, clientKey.spki)
          ? 'client'
          : verifyCertificateSignature(certificate, raKey.spki)
            ? 'ra'
            : undefined,
    };
  },
  certificationRequest: (bytes) => {
    const request = parseCertificationRequest(bytes);
    return {
      subject: () => nameToString(request.subject),
      challengePassword: () => request.challengePassword,
      extensions: () => request.extensions.map((extension) => extension.oid),
      keyUsage: () => keyUsageOf(request),
      extKeyUsage: () => extKeyUsageOf(request),
      subjectAltName: () =>
        extensionValue(request, oid.subjectAltName) === undefined
          ? undefined
          : generalNamesToString(subjectAltNameOf(request)),
      verifies: () => verifyCertificationRequest(request),
    };
  },
  signedData: (bytes) => {
    const signedData = parseSignedData(bytes);
    const [signerInfo] = signedData.signerInfos;
    assert.ok(signerInfo !== undefined);
    const signer = signerCertificateOf(signedData, signerInfo);
    assert.ok(signer !== undefined);
    return {
      content: () => base64Of(signedData.content ?? new Uint8Array()),
      certificates: () => signedData.certificates.map((certificate) => nameToString(certificate.subject)),
      digest: () => digestOf(signerInfo.digestAlgorithm).name,
      attributes: () => signerInfo.signedAttrs?.attributes.map((attribute) => attribute.oid),
      verifies: () => verifySignedData(signedData, signer),
    };
  },
  envelopedData: (bytes) => {
    const enveloped = parseEnvelopedData(bytes);
    const [recipient] = enveloped.recipients;
    assert.ok(recipient !== undefined);
    const { keyTransport } = recipient;
    return {
      keyTransport: () =>
        keyTransport.name === 'rsaes-oaep'
          ? `${keyTransport.name} ${keyTransport.digest}`
          : keyTransport.name,
      cipher: () => enveloped.cipher.name,
      rid: () => recipient.rid.type,
      content: async () => base64Of(await openEnvelopedData(enveloped, decryptForRa)),
    };
  },
  ber: (bytes) => {
    const normalized = normalizeBer(bytes);
    return { der: () => hex(normalized) };
  },
  name: (bytes) => {
    const name = parseName(bytes);
    return {
      text: () => {
        const text = nameToString(name);
        assert.deepEqual(nameFromString(text).rdns, name.rdns, 'the text read again');
        return text;
      },
    };
  },
};

const decryptForRa: Parameters<typeof openEnvelopedData>[1] = async (transport, encryptedKey) =>
  transport.name === 'rsaes-pkcs1-v1_5'
    ? privateDecrypt({ key: raKey.privateKey, padding: constants.RSA_PKCS1_PADDING }, encryptedKey)
    : privateDecrypt(
        { key: raKey.privateKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: transport.digest },
        encryptedKey,
      );

/** Fields of results that must be named whenever they are there: leaving one out is no way to pass. */
const neverLeftOut: Readonly<Record<string, readonly string[]>> = {
  certificate: [
    'version',
    'serialNumber',
    'issuer',
    'subject',
    'notBefore',
    'notAfter',
    'critical',
    'verifiesWith',
  ],
  certificationRequest: [
    'subject',
    'extensions',
    'verifies',
    'challengePassword',
    'keyUsage',
    'extKeyUsage',
    'subjectAltName',
  ],
  signedData: ['content', 'certificates', 'digest', 'verifies'],
  envelopedData: ['keyTransport', 'cipher', 'rid', 'content'],
  ber: ['der'],
  name: ['text'],
};

/** The object's entries; an unknown key is a failure, because it would test nothing. */
function strict(value: unknown, known: readonly string[], where: string): Readonly<Record<string, unknown>> {
  assert.ok(typeof value === 'object' && value !== null && !Array.isArray(value), `${where}: not an object`);
  for (const key of Object.keys(value)) assert.ok(known.includes(key), `${where}: unknown key “${key}”`);
  return value as Readonly<Record<string, unknown>>;
}

function text(value: unknown, where: string): string {
  assert.ok(typeof value === 'string' && value.length > 0, `${where}: not a text`);
  return value;
}

const files = readdirSync(folder).filter((name) => name.endsWith('.json') && name !== 'keys.json');

test('there is a file for every kind', () => {
  assert.deepEqual(files.sort(), Object.keys(vectorFiles).sort());
  assert.deepEqual(
    Object.values(vectorFiles)
      .map((file) => file.kind)
      .sort(),
    Object.keys(kinds).sort(),
  );
});

test('an unknown key is a failure', () => {
  assert.throws(() => strict({ name: 'a', reslut: 1 }, ['name', 'result'], 'x'), /unknown key “reslut”/);
});

for (const name of files) {
  const content = readFileSync(new URL(name, folder), 'utf8');
  const file = strict(JSON.parse(content), ['comment', 'source', 'rfc', 'kind', 'vectors'], name);
  const kind = text(file.kind, name);
  const read = kinds[kind];

  describe(name, () => {
    test('says where it comes from', () => {
      for (const key of ['comment', 'source', 'rfc']) text(file[key], `${name} ${key}`);
      assert.ok(read !== undefined, `unknown kind “${kind}”`);
    });

    test('is what its generator makes', () => {
      const made = vectorFiles[name];
      assert.ok(made !== undefined);
      assert.equal(content, textOf(made));
    });

    assert.ok(Array.isArray(file.vectors) && file.vectors.length > 0);
    for (const entry of file.vectors) {
      const vector = strict(entry, ['name', 'comment', 'hex', 'base64', 'result', 'error'], name);
      const title = text(vector.name, name);
      test(title, async () => {
        text(vector.comment, title);
        assert.ok('hex' in vector !== 'base64' in vector, 'hex or base64');
        assert.ok('result' in vector !== 'error' in vector, 'result or error');
        const bytes =
          'hex' in vector
            ? Buffer.from(String(vector.hex), 'hex')
            : Buffer.from(text(vector.base64, title), 'base64');
        assert.ok(read !== undefined);
        if ('error' in vector) {
          const code = text(vector.error, title);
          assert.ok(code in errorTable, `unknown error “${code}”`);
          assertRefused(() => read(bytes), [code as ErrorCode], title);
          return;
        }
        const have = read(bytes);
        const want = strict(vector.result, Object.keys(have), title);
        for (const [field, value] of Object.entries(want))
          assert.deepEqual(await have[field]?.(), value, field);
        for (const field of neverLeftOut[kind] ?? []) {
          if (!(field in want))
            assert.equal(await have[field]?.(), undefined, `${field} is not in the result`);
        }
      });
    }
  });
}
