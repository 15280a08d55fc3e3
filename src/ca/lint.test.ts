import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import { certificates, DAY_MS, inDays, keys, newEcKey } from '../../test/support/authorities-fixture.ts';
import {
  authorityKeyIdentifierExtension,
  bitString,
  buildAlgorithmIdentifier,
  buildName,
  buildSigned,
  buildTbsCertificate,
  type CertificateFields,
  caBasicConstraintsExtension,
  crlDistributionPointsExtension,
  der,
  type Extension,
  endEntityBasicConstraintsExtension,
  extKeyUsageExtension,
  keyIdentifier,
  keyUsageExtension,
  nameFromString,
  objectIdentifier,
  oid,
  sequence,
  subjectAltNameExtension,
  subjectKeyIdentifierExtension,
  unsignedInteger,
  utf8String,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { lintBeforeSigning, serialNumberFrom } from './lint.ts';

const subject = nameFromString('CN=device-1,O=Test');
const curveKey = await newEcKey();

/** Extensions of a good certificate, by name. */
const extensions = {
  basicConstraints: endEntityBasicConstraintsExtension(),
  keyUsage: keyUsageExtension(['digitalSignature', 'keyEncipherment']),
  extKeyUsage: extKeyUsageExtension([oid.clientAuth]),
  subjectAltName: subjectAltNameExtension(
    [
      { type: 'dNSName', value: 'device-1.test' },
      { type: 'rfc822Name', value: 'device-1@test' },
      { type: 'uniformResourceIdentifier', value: 'urn:device:1' },
      { type: 'iPAddress', value: '192.0.2.1' },
      { type: 'userPrincipalName', value: 'device-1@test' },
    ],
    subject,
  ),
  subjectKeyIdentifier: subjectKeyIdentifierExtension(keyIdentifier(keys.device.spki)),
  authorityKeyIdentifier: authorityKeyIdentifierExtension(keyIdentifier(keys.issuing.spki)),
  crl: crlDistributionPointsExtension(['http://pki.test/crl/issuing.crl']),
};

type Changes = Partial<Omit<CertificateFields, 'extensions'>> & {
  readonly extensions?: Partial<Record<keyof typeof extensions, Extension | undefined>>;
};

/** A TBSCertificate that breaks no rule but those of `changes`; `undefined` leaves an extension out. */
function tbs({ extensions: changed = {}, ...fields }: Changes = {}): Uint8Array {
  return buildTbsCertificate({
    serialNumber: serialNumberFrom(Buffer.alloc(16, 0x77)),
    signatureAlgorithm: 'rsa-sha256',
    issuer: certificates.issuing.subject,
    notBefore: inDays(-1),
    notAfter: inDays(365),
    subject,
    spki: keys.device.spki,
    ...fields,
    extensions: Object.entries({ ...extensions, ...changed }).flatMap(([, extension]) =>
      extension === undefined ? [] : [extension],
    ),
  });
}

const lint = (octets: Uint8Array) =>
  lintBeforeSigning(
    octets,
    (inner) => buildSigned(inner, 'rsa-sha256', Uint8Array.of(0)),
    certificates.issuing,
  );

const name = (value: string, type: string = oid.commonName) => buildName([[{ oid: type, value }]]);
const names = (...list: Parameters<typeof subjectAltNameExtension>[0]): Changes => ({
  extensions: { subjectAltName: subjectAltNameExtension(list, subject) },
});
const other = (extension: Extension, value: Uint8Array): Extension => ({ ...extension, value });

describe('lintBeforeSigning', () => {
  const kept: readonly (readonly [name: string, changes: Changes])[] = [
    ['a good certificate', {}],
    ['the bounds of names', { subject: nameFromString(`CN=${'ä'.repeat(64)},C=CH,ST=${'s'.repeat(128)}`) }],
    [
      'no subject with a critical subjectAltName',
      {
        subject: nameFromString(''),
        extensions: {
          subjectAltName: subjectAltNameExtension([{ type: 'dNSName', value: 'a.test' }], nameFromString('')),
        },
      },
    ],
    ['no subjectAltName', { extensions: { subjectAltName: undefined } }],
    ['a wildcard', names({ type: 'dNSName', value: '*.a.test' })],
    ['one label', names({ type: 'dNSName', value: 'laptop' })],
    [
      'a P-256 key',
      {
        spki: curveKey.spki,
        extensions: { keyUsage: keyUsageExtension(['digitalSignature']) },
      },
    ],
    ['the end of the issuer', { notAfter: certificates.issuing.notAfter }],
    ['the longest serial', { serialNumber: `7f${'ff'.repeat(19)}` }],
    ['a serial with a high first octet', { serialNumber: 'ff'.repeat(19) }],
    ['the shortest serial', { serialNumber: '01'.repeat(9) }],
  ];
  for (const [what, changes] of kept) test(`takes ${what}`, () => lint(tbs(changes)));

  const broken: readonly (readonly [rule: string, what: string, changes: Changes | Uint8Array])[] = [
    ['readable', 'octets that are no certificate', Uint8Array.of(0x30, 0)],
    [
      'readable',
      'an extension twice',
      tbs({
        extensions: { crl: extensions.keyUsage },
      }),
    ],
    [
      'readable',
      'over 64 KiB',
      names({ type: 'uniformResourceIdentifier', value: `urn:${'x'.repeat(65_536)}` }),
    ],
    ['serial_number', 'zero', { serialNumber: '00' }],
    ['serial_number', 'a short serial', { serialNumber: '01'.repeat(8) }],
    ['serial_number', 'a long serial', { serialNumber: '01'.repeat(21) }],
    ['serial_number', '20 octets that need a 21st', { serialNumber: 'ff'.repeat(20) }],
    ['serial_number', 'a negative serial', withNegativeSerial()],
    ['issuer_matches', 'another issuer', { issuer: certificates.root.subject }],
    [
      'issuer_matches',
      'the issuer in another string type',
      {
        issuer: {
          ...certificates.issuing.subject,
          raw: Buffer.from(
            Buffer.from(certificates.issuing.subject.raw).toString('latin1').replaceAll('\x0c', '\x13'),
            'latin1',
          ),
        },
      },
    ],
    ['validity', 'an end before the beginning', { notBefore: inDays(2), notAfter: inDays(1) }],
    ['validity', 'an end at the beginning', { notBefore: inDays(1), notAfter: inDays(1) }],
    [
      'validity',
      'an end after the issuer’s',
      {
        notAfter: new Date(certificates.issuing.notAfter.getTime() + 1000),
      },
    ],
    ['validity', 'ten years', { notAfter: new Date(Date.now() + 3650 * DAY_MS) }],
    [
      'public_key',
      'RSA with parameters of its own',
      {
        spki: withParameters(oid.rsaEncryption, utf8String('anything')),
      },
    ],
    ['public_key', 'RSA without parameters', { spki: withParameters(oid.rsaEncryption) }],
    ['public_key', 'another kind of key', { spki: withParameters('1.3.101.112') }],
    [
      'public_key',
      'another curve',
      {
        spki: withParameters(oid.ecPublicKey, objectIdentifier('1.3.132.0.10')),
      },
    ],
    [
      'subject_or_alternative',
      'neither',
      {
        subject: nameFromString(''),
        extensions: { subjectAltName: undefined },
      },
    ],
    [
      'subject_or_alternative',
      'no subject and a subjectAltName that is not critical',
      {
        subject: nameFromString(''),
      },
    ],
    ['name_lengths', 'a common name of 65 characters', { subject: name('a'.repeat(65)) }],
    [
      'name_lengths',
      'an organisation of 65 characters',
      { subject: name('a'.repeat(65), oid.organizationName) },
    ],
    [
      'name_lengths',
      'a unit of 65 characters',
      { subject: name('a'.repeat(65), oid.organizationalUnitName) },
    ],
    ['name_lengths', 'a place of 129 characters', { subject: name('a'.repeat(129), oid.localityName) }],
    [
      'name_lengths',
      'a state of 129 characters',
      { subject: name('a'.repeat(129), oid.stateOrProvinceName) },
    ],
    ['name_lengths', 'a serial number of 65 characters', { subject: name('a'.repeat(65), oid.serialNumber) }],
    ['name_lengths', 'an empty attribute', { subject: name('') }],
    ['name_lengths', 'a country by its name', { subject: name('Switzerland', oid.countryName) }],
    ['name_lengths', 'a country in small letters', { subject: name('ch', oid.countryName) }],
    ['name_lengths', 'NUL in a name', { subject: name('administrator\0.evil.test') }],
    ['name_lengths', 'a line feed in a name', { subject: name('a\nb') }],
    ['name_lengths', 'an escape sequence in a name', { subject: name('\u009b31m', oid.title) }],
    [
      'alternative_names',
      'no name in subjectAltName',
      {
        extensions: { subjectAltName: other(extensions.subjectAltName, sequence()) },
      },
    ],
    ...[
      '',
      '.',
      'a..b',
      '-a.test',
      'a-.test',
      'a b.test',
      'a.test.',
      '*',
      '*.test.*',
      'a.*.test',
      '*a.test',
      'a/b',
      'ä.test',
      `${'a'.repeat(64)}.test`,
      `${'a.'.repeat(127)}a`,
    ].map(
      (value) => ['alternative_names', `the DNS name “${value.slice(0, 20)}”`, rawName(0x82, value)] as const,
    ),
    ...['', 'a', '@', 'a@', '@b', 'a@b@c', 'a b@c'].map(
      (value) => ['alternative_names', `the mailbox “${value}”`, rawName(0x81, value)] as const,
    ),
    ...['', 'device', '/path', 'urn:', '1a:b', '//host/path'].map(
      (value) => ['alternative_names', `the URI “${value}”`, rawName(0x86, value)] as const,
    ),
    ['alternative_names', 'NUL in a URI', rawName(0x86, 'urn:a\0b')],
    [
      'alternative_names',
      'NUL in a user principal name',
      names({ type: 'userPrincipalName', value: 'a\0@b' }),
    ],
    ['alternative_names', 'an empty user principal name', names({ type: 'userPrincipalName', value: '' })],
    ['key_identifiers', 'no authority key identifier', { extensions: { authorityKeyIdentifier: undefined } }],
    [
      'key_identifiers',
      'the authority key identifier of another',
      {
        extensions: {
          authorityKeyIdentifier: authorityKeyIdentifierExtension(keyIdentifier(keys.root.spki)),
        },
      },
    ],
    ['key_identifiers', 'no subject key identifier', { extensions: { subjectKeyIdentifier: undefined } }],
    ['basic_constraints', 'none', { extensions: { basicConstraints: undefined } }],
    ['basic_constraints', 'a CA', { extensions: { basicConstraints: caBasicConstraintsExtension() } }],
    [
      'basic_constraints',
      'a CA without CAs below',
      { extensions: { basicConstraints: caBasicConstraintsExtension(0) } },
    ],
    ['key_usage', 'none', { extensions: { keyUsage: undefined } }],
    ['key_usage', 'no bit', { extensions: { keyUsage: keyUsageExtension([]) } }],
    [
      'key_usage',
      'keyCertSign',
      { extensions: { keyUsage: keyUsageExtension(['digitalSignature', 'keyCertSign']) } },
    ],
    [
      'key_usage',
      'cRLSign',
      { extensions: { keyUsage: keyUsageExtension(['digitalSignature', 'cRLSign']) } },
    ],
    ['key_usage', 'keyEncipherment with a curve', { spki: curveKey.spki }],
    ['extended_key_usage', 'none', { extensions: { extKeyUsage: undefined } }],
    ['extended_key_usage', 'an empty list', { extensions: { extKeyUsage: extKeyUsageExtension([]) } }],
    [
      'extended_key_usage',
      'any purpose',
      {
        extensions: { extKeyUsage: extKeyUsageExtension([oid.clientAuth, oid.anyExtendedKeyUsage]) },
      },
    ],
    ['revocation_pointer', 'none', { extensions: { crl: undefined } }],
  ];
  for (const [rule, what, changes] of broken) {
    test(`${rule}: refuses ${what}`, () => {
      const octets = changes instanceof Uint8Array ? changes : tbs(changes);
      assert.throws(
        () => lint(octets),
        (thrown) => {
          assert.ok(thrown instanceof PkiError, String(thrown));
          assert.equal(thrown.code, 'lint_failed');
          assert.equal(thrown.message.split(':')[0], rule, thrown.message);
          return true;
        },
      );
    });
  }
});

/** A subjectAltName with one name whose octets nobody checked. */
function rawName(tagOctet: number, value: string): Changes {
  const octets = sequence(der(tagOctet, Buffer.from(value, 'latin1')));
  return { extensions: { subjectAltName: { oid: oid.subjectAltName, critical: false, value: octets } } };
}

/** The device's key with other algorithm parameters. */
function withParameters(algorithm: string, parameters?: Uint8Array): Uint8Array {
  const key = sequence(
    unsignedInteger(createHash('sha512').update('n').digest()),
    unsignedInteger(Uint8Array.of(3)),
  );
  return sequence(
    buildAlgorithmIdentifier({ oid: algorithm, ...(parameters === undefined ? {} : { parameters }) }),
    bitString(key),
  );
}

/** The builder writes no negative number, so its sign bit is set afterwards. */
function withNegativeSerial(): Uint8Array {
  const octets = Buffer.from(tbs());
  const at = octets.indexOf(Buffer.alloc(15, 0x77));
  octets[at] = 0x80;
  return octets;
}

describe('serialNumberFrom', () => {
  test('makes sixteen octets, positive, of the same length whatever the random octets', () => {
    for (let first = 0; first < 256; first += 1) {
      const text = serialNumberFrom(Buffer.concat([Uint8Array.of(first), Buffer.alloc(15, 0xff)]));
      assert.match(text, /^[4-7][0-9a-f]f{30}$/);
    }
  });

  test('keeps 126 random bits and its argument', () => {
    const random = Buffer.alloc(16, 0xff);
    serialNumberFrom(random);
    assert.deepEqual(random, Buffer.alloc(16, 0xff));
    const seen = new Set(Array.from({ length: 64 }, (_, n) => serialNumberFrom(Buffer.alloc(16, n))));
    assert.equal(seen.size, 64);
  });
});
