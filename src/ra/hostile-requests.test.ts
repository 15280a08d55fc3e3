import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { openTestAuthorities, type TestAuthorities } from '../../test/support/authorities-fixture.ts';
import { builtInTemplates, type CertificateTemplate, resolveTemplates } from '../ca/index.ts';
import {
  bitString,
  buildExtensions,
  type Certificate,
  caBasicConstraintsExtension,
  der,
  derOf,
  type Extension,
  extensionValue,
  extKeyUsageExtension,
  extKeyUsageOf,
  type GeneralName,
  generalNamesToString,
  integer,
  keyUsageExtension,
  keyUsageOf,
  nameFromString,
  nameToString,
  nullValue,
  objectIdentifier,
  octetString,
  oid,
  parseCertificate,
  parseCertificationRequest,
  printableString,
  sameOctets,
  securityIdentifierExtension,
  securityIdentifierOf,
  sequence,
  setOf,
  subjectAltNameExtension,
  subjectAltNameOf,
  tag,
  templateInformationExtension,
  unsignedInteger,
  utf8String,
} from '../codec/index.ts';
import { type ErrorCode, PkiError } from '../errors.ts';
import type { Verdict } from './validator.ts';

// --- requests, octet by octet ---------------------------------------------------------------------------------------

interface Key {
  readonly spki: Uint8Array;
  /** AlgorithmIdentifier and signature over octets. */
  readonly signs: (data: Uint8Array) => readonly [algorithm: Uint8Array, signature: Uint8Array];
}

const rsaAlgorithm = (identifier: string) => sequence(objectIdentifier(identifier), nullValue);

function keyOf(
  privateKey: KeyObject,
  publicKey: KeyObject,
  algorithm: Uint8Array,
  digest: string | null,
): Key {
  return {
    spki: publicKey.export({ format: 'der', type: 'spki' }),
    signs: (data) => [algorithm, sign(digest, data, privateKey)],
  };
}

function rsaKey(
  bits: number,
  publicExponent = 65_537,
  algorithm: string = oid.sha256WithRSAEncryption,
  digest = 'sha256',
): Key {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: bits, publicExponent });
  return keyOf(privateKey, publicKey, rsaAlgorithm(algorithm), digest);
}

function ecKey(namedCurve: string): Key {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve });
  return keyOf(privateKey, publicKey, sequence(objectIdentifier(oid.ecdsaWithSHA256)), 'sha256');
}

function ed25519Key(): Key {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return keyOf(privateKey, publicKey, sequence(objectIdentifier('1.3.101.112')), null);
}

/** A key that is none: its signature means nothing, or, for the exponent 1, is the padded digest itself. */
function madeRsaKey(modulus: Uint8Array, exponent: number): Key {
  const key = sequence(unsignedInteger(modulus), integer(exponent));
  return {
    spki: sequence(rsaAlgorithm(oid.rsaEncryption), bitString(key)),
    signs: () => [rsaAlgorithm(oid.sha256WithRSAEncryption), randomBytes(modulus.length).fill(0, 0, 1)],
  };
}

const good = rsaKey(2048);
const other = rsaKey(2048);
const modulus = Buffer.concat([Buffer.of(0xc0), randomBytes(255)]);
modulus[255] = (modulus[255] as number) | 1;

interface Fields {
  readonly version?: Uint8Array;
  readonly subject?: Uint8Array | string;
  readonly key?: Key;
  readonly extensions?: readonly Extension[] | Uint8Array;
  readonly attributes?: readonly Uint8Array[];
  readonly signer?: Key;
  readonly damage?: (request: Buffer) => void;
}

const attribute = (type: string, ...values: readonly Uint8Array[]) =>
  sequence(objectIdentifier(type), derOf(tag.set, values));

function requestOctets(fields: Fields): Uint8Array {
  const { subject = 'CN=device-1,O=Test', key = good, extensions = [], attributes = [] } = fields;
  const list = extensions instanceof Uint8Array ? extensions : buildExtensions(extensions);
  const info = sequence(
    fields.version ?? integer(0),
    typeof subject === 'string' ? nameFromString(subject).raw : subject,
    key.spki,
    setOf(
      [
        attribute(oid.challengePassword, printableString('challenge')),
        ...(list.length > 2 ? [attribute(oid.extensionRequest, list)] : []),
        ...attributes,
      ],
      0xa0,
    ),
  );
  const [algorithm, signature] = (fields.signer ?? key).signs(info);
  const request = Buffer.from(sequence(info, algorithm, bitString(signature)));
  fields.damage?.(request);
  return request;
}

const extension = (identifier: string, value: Uint8Array, critical = false): Extension => ({
  oid: identifier,
  critical,
  value,
});
const rdn = (type: string, value: Uint8Array) => der(tag.set, sequence(objectIdentifier(type), value));
const commonName = (value: Uint8Array) => sequence(rdn(oid.commonName, value));
const text = (tagOctet: number, octets: Uint8Array) => der(tagOctet, octets);
const names = (...list: GeneralName[]): Fields => ({
  extensions: [subjectAltNameExtension(list, { rdns: [1] })],
});
const dns = (value: string): GeneralName => ({ type: 'dNSName', value });
const rawNames = (...octets: Uint8Array[]): Fields => ({
  extensions: [extension(oid.subjectAltName, sequence(...octets))],
});
const uri = (value: string): GeneralName => ({ type: 'uniformResourceIdentifier', value });

// --- what becomes of them -------------------------------------------------------------------------------------------

const adminSid = 'S-1-5-21-1-2-3-500';
const accept: Verdict = {
  verdict: 'accept',
  names: 'vouched',
  directory: 'as-requested',
  device: 'device-1',
};
const claimed: Verdict = { verdict: 'accept', names: 'claimed', device: 'device-1' };

/** What is issued: beside it only what the template gives. */
interface Issued {
  readonly subject?: string;
  readonly names?: string;
  readonly sid?: string;
  /** That the log says was dropped. */
  readonly dropped?: readonly string[];
}

type Row = readonly [
  name: string,
  fields: Fields | (() => Fields),
  want: ErrorCode | Issued,
  options?: { readonly template?: string; readonly verdict?: Verdict },
];

const rows: readonly Row[] = [
  // extensions that would make it another certificate
  ['an honest request', {}, {}],
  ['CA:TRUE', { extensions: [caBasicConstraintsExtension()] }, { dropped: [oid.basicConstraints] }],
  [
    'CA:TRUE with a path length',
    { extensions: [caBasicConstraintsExtension(3)] },
    { dropped: [oid.basicConstraints] },
  ],
  ['keyCertSign alone', { extensions: [keyUsageExtension(['keyCertSign'])] }, 'key_usage_mismatch'],
  ['cRLSign alone', { extensions: [keyUsageExtension(['cRLSign'])] }, 'key_usage_mismatch'],
  [
    'keyCertSign and cRLSign beside a good bit',
    { extensions: [keyUsageExtension(['digitalSignature', 'keyCertSign', 'cRLSign'])] },
    { dropped: ['keyCertSign', 'cRLSign'] },
  ],
  ['any purpose', { extensions: [extKeyUsageExtension([oid.anyExtendedKeyUsage])] }, 'eku_mismatch'],
  ['OCSP signing', { extensions: [extKeyUsageExtension([oid.ocspSigning])] }, 'eku_mismatch'],
  [
    'an enrolment agent',
    { extensions: [extKeyUsageExtension([oid.clientAuth, oid.certificateRequestAgent])] },
    'eku_mismatch',
  ],
  ['smart-card logon', { extensions: [extKeyUsageExtension([oid.smartcardLogon])] }, 'eku_mismatch'],
  ['OCSP-nocheck', { extensions: [extension(oid.ocspNoCheck, nullValue)] }, { dropped: [oid.ocspNoCheck] }],
  [
    'a foreign SID extension',
    { extensions: [securityIdentifierExtension(adminSid)] },
    { dropped: [oid.microsoftSecurityIdentifier] },
  ],
  [
    'a SID extension beside what the directory says',
    { extensions: [securityIdentifierExtension(adminSid)] },
    { sid: 'S-1-5-21-1-2-3-1104', dropped: [oid.microsoftSecurityIdentifier] },
    { verdict: { ...claimed, directory: { securityIdentifier: 'S-1-5-21-1-2-3-1104' } } as Verdict },
  ],
  [
    'a SID as URI that nobody vouches for',
    names(uri(`tag:microsoft.com,2022-09-14:sid:${adminSid}`)),
    'san_mismatch',
    { verdict: claimed },
  ],
  [
    'two SIDs as URIs, vouched for or not',
    names(
      uri(`tag:microsoft.com,2022-09-14:sid:${adminSid}`),
      uri('tag:microsoft.com,2022-09-14:sid:S-1-5-21-1-2-3-1104'),
    ),
    'identity_unvouched',
  ],
  [
    'a user principal name that nobody vouches for',
    names({ type: 'userPrincipalName', value: 'administrator@corp.example' }),
    'san_mismatch',
    { verdict: claimed },
  ],
  [
    'the identifier of another template',
    {
      extensions: [
        templateInformationExtension({ oid: '1.3.6.1.4.1.311.21.8.1.2', majorVersion: 100, minorVersion: 1 }),
      ],
    },
    { dropped: [oid.microsoftTemplateInformation] },
  ],
  [
    'the name of another template',
    {
      extensions: [
        extension(oid.microsoftTemplateName, text(tag.bmpString, Buffer.from('\0S\0u\0b\0C\0A', 'latin1'))),
      ],
    },
    { dropped: [oid.microsoftTemplateName] },
  ],
  [
    'a critical extension that nobody knows',
    { extensions: [extension('1.2.3.4.5', nullValue, true)] },
    { dropped: ['1.2.3.4.5'] },
  ],
  [
    'name constraints',
    { extensions: [extension(oid.nameConstraints, sequence(), true)] },
    { dropped: [oid.nameConstraints] },
  ],
  [
    'policies',
    { extensions: [extension(oid.certificatePolicies, sequence(sequence(objectIdentifier('2.5.29.32.0'))))] },
    { dropped: [oid.certificatePolicies] },
  ],
  [
    'CRL distribution points of its own',
    { extensions: [extension(oid.cRLDistributionPoints, sequence())] },
    { dropped: [oid.cRLDistributionPoints] },
  ],
  [
    'an extension twice',
    {
      extensions: sequence(
        ...[1, 2].map(() =>
          sequence(
            objectIdentifier(oid.keyUsage),
            octetString(keyUsageExtension(['digitalSignature']).value),
          ),
        ),
      ),
    },
    'csr_malformed',
  ],
  [
    'a hundred and one extensions',
    { extensions: Array.from({ length: 101 }, (_, n) => extension(`1.2.3.${n}`, nullValue)) },
    'csr_malformed',
  ],
  // attributes
  [
    'two challenges',
    { attributes: [attribute(oid.challengePassword, printableString('other'))] },
    'csr_malformed',
  ],
  [
    'two lists of extensions',
    {
      extensions: [keyUsageExtension(['digitalSignature'])],
      attributes: [
        attribute(oid.microsoftCertificateExtensions, buildExtensions([caBasicConstraintsExtension()])),
      ],
    },
    'csr_malformed',
  ],
  [
    'a list of extensions with two values',
    {
      attributes: [
        attribute(oid.extensionRequest, sequence(), buildExtensions([caBasicConstraintsExtension()])),
      ],
    },
    'csr_malformed',
  ],
  [
    'a challenge of 70,000 characters',
    { attributes: [attribute('1.2.3', printableString('a'.repeat(70_000)))] },
    'csr_malformed',
  ],
  [
    'thirty-three attributes',
    { attributes: Array.from({ length: 33 }, (_, n) => attribute(`1.2.3.${n}`, nullValue)) },
    'csr_malformed',
  ],
  // subjectAltName
  [
    '10,000 names',
    () => names(...Array.from({ length: 10_000 }, (_, n) => dns(`a${n}.test`))),
    'csr_malformed',
  ],
  [
    'a hundred and one names',
    () => names(...Array.from({ length: 101 }, (_, n) => dns(`a${n}.test`))),
    'der_limit',
  ],
  ['a name with a NUL', rawNames(der(0x82, Buffer.from('good.test\0.evil.test', 'latin1'))), 'der_malformed'],
  ['a name beyond ASCII', rawNames(der(0x82, Buffer.from('münchen.test', 'utf8'))), 'der_malformed'],
  ['an empty DNS name', rawNames(der(0x82)), 'san_mismatch'],
  ['a wildcard', names(dns('*.corp.example')), 'san_mismatch'],
  ['a star within a label', names(dns('a*.corp.example')), 'san_mismatch'],
  ['an international name', names(dns('xn--mnchen-3ya.example')), { names: 'DNS:xn--mnchen-3ya.example' }],
  ['an international name that decodes to nothing', names(dns('xn--a.example')), 'san_mismatch'],
  ['a dot at the end', names(dns('corp.example.')), 'san_mismatch'],
  ['an address as DNS name', names(dns('192.0.2.1')), 'san_mismatch'],
  ['a DNS name with a space', names(dns('corp.example evil')), 'san_mismatch'],
  ['a label of 64 characters', names(dns(`${'a'.repeat(64)}.example`)), 'san_mismatch'],
  ['an empty list of names', { extensions: [extension(oid.subjectAltName, sequence())] }, 'der_malformed'],
  ['an address', names({ type: 'iPAddress', value: '192.0.2.1' }), 'san_mismatch'],
  ['an address of five octets', rawNames(der(0x87, Buffer.of(192, 0, 2, 1, 0))), 'der_malformed'],
  [
    'a directory name',
    names({ type: 'directoryName', name: nameFromString('CN=administrator') }),
    'san_mismatch',
  ],
  ['a registered identifier', rawNames(der(0x88, Buffer.of(42))), 'san_mismatch'],
  [
    'another other name',
    rawNames(der(0xa0, objectIdentifier('1.3.6.1.5.2.2'), der(0xa0, sequence()))),
    'san_mismatch',
  ],
  [
    'a mailbox with two @',
    names({ type: 'rfc822Name', value: 'a@corp.example@evil.example' }),
    'san_mismatch',
  ],
  ['a quoted mailbox', names({ type: 'rfc822Name', value: '"a b"@corp.example' }), 'san_mismatch'],
  ['a URI without scheme', names(uri('//evil.example')), 'san_mismatch'],
  ['a URI with an authority that names no host', names(uri('http:///x')), 'san_mismatch'],
  ['a URI with a user and a port, and no host', names(uri('https://user@:8443/x')), 'san_mismatch'],
  ['a URI of HTTP without an authority', names(uri('http:x')), 'san_mismatch'],
  ['a URI with a host', names(uri('https://host.example/x')), { names: 'URI:https://host.example/x' }],
  // names beyond the patterns of a template
  [
    'a name within the pattern',
    names(dns('web-1.corp.example')),
    { names: 'DNS:web-1.corp.example' },
    { template: 'patterned' },
  ],
  ['a name below the pattern', names(dns('a.web-1.corp.example')), 'san_mismatch', { template: 'patterned' }],
  [
    'a name beside the pattern',
    names(dns('web-1.corp.example.evil.test')),
    'san_mismatch',
    { template: 'patterned' },
  ],
  [
    'a wildcard as the pattern has it',
    names(dns('*.corp.example')),
    'san_mismatch',
    { template: 'patterned' },
  ],
  [
    'one name within and one beyond',
    names(dns('web-1.corp.example'), dns('evil.test')),
    'san_mismatch',
    { template: 'patterned' },
  ],
  // names that the request may not say
  [
    'a mail address of its own choice',
    names({ type: 'rfc822Name', value: 'ceo@corp.example' }),
    'identity_unvouched',
    { template: 'smime', verdict: claimed },
  ],
  [
    'a mail address beside what the directory says',
    names({ type: 'rfc822Name', value: 'ceo@corp.example' }),
    { subject: '', names: 'email:jo@corp.example', dropped: ['subject', 'subjectAltName'] },
    {
      template: 'smime',
      verdict: {
        ...claimed,
        directory: { subjectAltName: [{ type: 'rfc822Name', value: 'jo@corp.example' }] },
      } as Verdict,
    },
  ],
  [
    'a domain controller of its own choice',
    names(dns('dc1.corp.example')),
    'identity_unvouched',
    { template: 'kerberos-authentication', verdict: claimed },
  ],
  // the subject
  ['an empty subject', { subject: '' }, 'subject_missing'],
  ['an empty common name', { subject: commonName(utf8String('')) }, 'subject_mismatch'],
  ['a common name of 65 characters', { subject: `CN=${'a'.repeat(65)}` }, 'subject_mismatch'],
  [
    '300 RDNs',
    {
      subject: derOf(
        tag.sequence,
        Array.from({ length: 300 }, () => rdn(oid.organizationalUnitName, utf8String('a'))),
      ),
    },
    'csr_malformed',
  ],
  [
    'an RDN of two attributes',
    { subject: 'CN=device-1+UID=7,O=Test' },
    { subject: 'CN=device-1+UID=7,O=Test' },
  ],
  [
    'an attribute that nobody knows',
    { subject: '1.2.3.4=admin,CN=device-1' },
    { subject: 'CN=device-1', dropped: ['subject 1.2.3.4'] },
  ],
  ['only attributes that nobody knows', { subject: '1.2.3.4=admin' }, 'subject_missing'],
  [
    'a BMPString',
    { subject: commonName(text(tag.bmpString, Buffer.from('\0d\0e\0v', 'latin1'))) },
    { subject: 'CN=dev' },
  ],
  [
    'a BMPString of an odd length',
    { subject: commonName(text(tag.bmpString, Buffer.from('\0de', 'latin1'))) },
    'csr_malformed',
  ],
  [
    'a TeletexString',
    { subject: commonName(text(tag.t61String, Buffer.from('dev'))) },
    { subject: 'CN=dev' },
  ],
  [
    'a UniversalString',
    { subject: commonName(text(tag.universalString, Buffer.from('\0\0\0d', 'latin1'))) },
    'csr_malformed',
  ],
  [
    'UTF-8 that is too long',
    { subject: commonName(text(tag.utf8String, Buffer.of(0xc0, 0xaf))) },
    'csr_malformed',
  ],
  ['a NUL in the common name', { subject: commonName(utf8String('admin\0.test')) }, 'subject_mismatch'],
  ['a line feed in the common name', { subject: commonName(utf8String('admin\nCN=x')) }, 'subject_mismatch'],
  [
    'a turn of the direction of writing',
    { subject: commonName(utf8String('admin\u202etset')) },
    'subject_mismatch',
  ],
  ['a character that nobody sees', { subject: commonName(utf8String('ad\u200bmin')) }, 'subject_mismatch'],
  ['a country of three letters', { subject: 'CN=device-1,C=CHE' }, 'subject_mismatch'],
  // keys
  ['RSA-512', () => ({ key: rsaKey(512) }), 'key_size_mismatch'],
  ['RSA-1024', () => ({ key: rsaKey(1024) }), 'key_size_mismatch'],
  ['the exponent 3', () => ({ key: rsaKey(2048, 3) }), 'key_weak'],
  ['the exponent 1', { key: madeRsaKey(modulus, 1) }, 'csr_signature'],
  [
    'an even modulus',
    () => ({ key: madeRsaKey(Buffer.concat([modulus.subarray(0, 255), Buffer.of(2)]), 65_537) }),
    'csr_signature',
  ],
  ['P-224', () => ({ key: ecKey('secp224r1') }), 'key_algorithm', { template: 'web-server' }],
  ['secp256k1', () => ({ key: ecKey('secp256k1') }), 'key_algorithm', { template: 'web-server' }],
  ['P-256 where RSA alone is allowed', () => ({ key: ecKey('prime256v1') }), 'key_algorithm'],
  ['Ed25519', () => ({ key: ed25519Key() }), 'algorithm_unsupported'],
  // signatures
  [
    'a damaged signature',
    { damage: (octets) => octets.writeUInt8(octets.readUInt8(octets.length - 1) ^ 1, octets.length - 1) },
    'csr_signature',
  ],
  ['a signature by another key', { signer: other }, 'csr_signature'],
  [
    'a signature with MD5',
    () => ({ key: rsaKey(2048, 65_537, oid.md5WithRSAEncryption, 'md5') }),
    'algorithm_unsupported',
  ],
  // RFC 8894 clients still sign so; it proves possession, and goes into no certificate.
  ['a signature with SHA-1', () => ({ key: rsaKey(2048, 65_537, oid.sha1WithRSAEncryption, 'sha1') }), {}],
  // the outer form
  ['a negative version', { version: Uint8Array.of(2, 1, 0xff) }, 'csr_malformed'],
  ['version 2', { version: integer(1) }, 'csr_malformed'],
  [
    'octets after the end',
    { damage: (octets) => octets.writeUInt16BE(octets.readUInt16BE(2) - 1, 2) },
    'csr_malformed',
  ],
];

const patterned: CertificateTemplate = (() => {
  const { templates, faults } = resolveTemplates([
    {
      name: 'patterned',
      extend: 'client-authentication',
      subjectAltNamePatterns: { dNSName: ['*.corp.example'] },
    },
  ]);
  assert.deepEqual(faults, []);
  return templates.find(({ name }) => name === 'patterned') as CertificateTemplate;
})();
const templates = [...builtInTemplates, patterned];

describe('hostile requests', () => {
  const open = new Map<string, TestAuthorities>();
  before(async () => {
    for (const template of templates) {
      // The endpoint of the fixture enrols for one name: each template takes it in turn.
      const own = { ...template, name: 'client-authentication' };
      if (rows.some(([, , , options]) => (options?.template ?? 'client-authentication') === template.name))
        open.set(template.name, await openTestAuthorities({ templates: [own] }));
    }
  });
  after(async () => {
    for (const authorities of open.values()) await authorities.close();
  });

  /** The request's own way: parsed, then RA and CA on a store. */
  async function enrol(
    row: Row,
  ): Promise<{ code: ErrorCode } | { certificate: Certificate; logged: string }> {
    const [name, fields, , options] = row;
    const authorities = open.get(options?.template ?? 'client-authentication') as TestAuthorities;
    authorities.scripted.verdict = options?.verdict ?? accept;
    const logged = authorities.logged.length;
    try {
      const csr = parseCertificationRequest(requestOctets(typeof fields === 'function' ? fields() : fields));
      const outcome = await authorities.ra.enrol({
        endpoint: 'scripted',
        transactionID: name,
        csr,
        // Each row its own, or the second would be taken for the first again.
        challengePassword: `${csr.challengePassword} ${name}`,
        source: '192.0.2.1',
        receivedAt: authorities.clock.now(),
      });
      assert.ok(outcome.outcome !== 'pending', 'nobody was to be asked');
      return outcome.outcome === 'issued'
        ? {
            certificate: parseCertificate(outcome.certificate),
            logged: authorities.logged.slice(logged).join(''),
          }
        : { code: outcome.code };
    } catch (thrown) {
      assert.ok(thrown instanceof PkiError, String(thrown));
      return { code: thrown.code };
    }
  }

  for (const row of rows) {
    const [name, fields, want, options] = row;
    test(
      typeof want === 'string' ? `${name}: ${want}` : `${name}: only what the template gives`,
      async () => {
        const result = await enrol(row);
        if (typeof want === 'string') {
          assert.deepEqual(result, { code: want });
          return;
        }
        assert.ok('certificate' in result, JSON.stringify(result));
        const { certificate, logged } = result;
        const template = templates.find(
          (item) => item.name === (options?.template ?? 'client-authentication'),
        );
        assert.ok(template);
        assert.equal(nameToString(certificate.subject), want.subject ?? 'CN=device-1,O=Test');
        assert.equal(generalNamesToString(subjectAltNameOf(certificate)), want.names ?? '');
        assert.deepEqual(keyUsageOf(certificate), template.keyUsage);
        assert.deepEqual(extKeyUsageOf(certificate), template.extKeyUsage);
        // Nothing that the template does not give: these, in this order, and no other.
        assert.deepEqual(
          certificate.extensions.map((each) => each.oid),
          [
            oid.basicConstraints,
            oid.keyUsage,
            oid.extKeyUsage,
            ...(want.names === undefined ? [] : [oid.subjectAltName]),
            oid.subjectKeyIdentifier,
            oid.authorityKeyIdentifier,
            oid.cRLDistributionPoints,
            oid.authorityInfoAccess,
            ...(want.sid === undefined ? [] : [oid.microsoftSecurityIdentifier]),
          ],
        );
        assert.ok(sameOctets(extensionValue(certificate, oid.basicConstraints) ?? Buffer.of(), sequence()));
        assert.equal(securityIdentifierOf(certificate), want.sid);
        assert.equal(certificate.signatureAlgorithm.oid, oid.sha256WithRSAEncryption);
        const key = typeof fields === 'function' ? undefined : (fields.key ?? good);
        if (key !== undefined) assert.ok(sameOctets(certificate.spki, key.spki));
        // What is dropped, the operator can read.
        const lines = logged.split('\n').filter((line) => line.includes('"dropped"'));
        assert.deepEqual(
          lines.flatMap((line) => (JSON.parse(line) as { dropped: string[] }).dropped),
          want.dropped ?? [],
        );
      },
    );
  }

  test('are at least forty', () => assert.ok(rows.length >= 40, String(rows.length)));
});
