/** Certificates and CRLs to be linted: good ones, and ones that break what a test wants broken. Nobody can sign by these keys. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type CertificateRole, CertificateUnderLint } from '../../src/ca/lint/certificate-under-lint.ts';
import { CrlUnderLint } from '../../src/ca/lint/crl-under-lint.ts';
import { type CertificateRule, type CrlRule, findingOf } from '../../src/ca/lint/rule.ts';
import {
  authorityInfoAccessExtension,
  authorityKeyIdentifierExtension,
  bitString,
  buildExtension,
  type Certificate,
  caBasicConstraintsExtension,
  contextConstructed,
  crlDistributionPointsExtension,
  crlNumberExtension,
  der,
  type Extension,
  endEntityBasicConstraintsExtension,
  extKeyUsageExtension,
  integer,
  keyIdentifier,
  keyUsageExtension,
  nameFromString,
  oid,
  parseCertificate,
  sequence,
  signatureAlgorithmIdentifier,
  subjectAltNameExtension,
  subjectKeyIdentifierExtension,
  tag,
  time,
  unsignedInteger,
} from '../../src/codec/index.ts';

/** Public keys whose private halves are gone. */
export const publicKeys = {
  issuing: Buffer.from(
    [
      'MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAwZFMdf4qCH94Qk4Z7waUoItvs51AnAU9LfEcNG67el3qNOr8V6uI',
      'DokTPoWeR183un-ySECkC2AVEKpkyuXrwmq7wm_b7CSGwWGifRJApSzSz2LGy0aDHMX97lkSl-yZU-9cMciD3-ko8t4WN_Sg',
      '-1S2LjnNL387bh9zC4xTAkfBh1dlpbvJYu_IdQBPRPQgrwriXC2sSaXrbMOsWboeLiYzwYbXtIo3er664YCxasDWm3xxfaHE',
      'x5Z7JgpopdPicAOMlq00s5NzxC0gweNId2N-wGoOz2Ci-5UkbnbGrH6JfNSFUWzU3F2hH_pS_T20ieF6hwRtc1OEX-JcMxtB',
      '6QIDAQAB',
    ].join(''),
    'base64url',
  ),
  device: Buffer.from(
    [
      'MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAhjdScfCllO8kreefwZHPvYtxorSRhUhMzCg_BlZMQ-MWHbpUBG2K',
      'xjl00wYzZRw834gzJpb3fsJoPNTolJRSA9HOSZ60rvgZYDRocC4rU2g9gqWbQnKmjc1mpG_lELYMcYiSvpu4NGHcRCHn0of1',
      'hS30wdCnX922-qDSsBhC-0AMAnlQ5A5_EKJEf7kjzbQL7krpq6J9yxYRnhSBHMgvu3XLJuYv5hnTUoaEfhMj8L_P7jaSBEDc',
      '3idrp6EkpE5h7Ib4uh5dLG43Skgw9xA6lFAGme7Rp19INko3EgVZmep3UMBov6JV1aHz_fifSd-bJ2DOVyC1-7LbfLPvnHuM',
      'ZQIDAQAB',
    ].join(''),
    'base64url',
  ),
  curve: Buffer.from(
    [
      'MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAENv0LGZcTIbZuPKpzppsVnuC7RJ5jyaioxRUYLXviZo4fZqVf-gNtfp84vsK6',
      '4Zgs_wTKP3f4kt7U7dLWn-TTlg',
    ].join(''),
    'base64url',
  ),
  root: Buffer.from(
    [
      'MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEcHB6xjOlq0fcVLofFDvLAE9hTYYmP7OEtLCCuVqlgVHCusZnYHEeUiD5n3qZusov',
      'B12OHwIOWHvIswvrVgQZtnxukcOtPTa4u8BKVxf6wCJ720p5rdqbw0ss3lBW7ny3',
    ].join(''),
    'base64url',
  ),
} as const;

const second = Math.floor(Date.now() / 1000) * 1000;
/** A moment so many days from now, to the second. */
export const daysFromNow = (days: number): Date => new Date(second + days * 86_400_000);

/** Raw parts of a certificate; a test replaces those that it wants broken, `undefined` leaves one out. */
export interface CertificateParts {
  readonly version?: Uint8Array | undefined;
  readonly serialNumber?: Uint8Array;
  readonly innerAlgorithm?: Uint8Array;
  readonly outerAlgorithm?: Uint8Array;
  readonly issuerName?: Uint8Array;
  readonly notBefore?: Uint8Array;
  readonly notAfter?: Uint8Array;
  readonly subject?: Uint8Array;
  readonly spki?: Uint8Array;
  /** After the key: unique identifiers. */
  readonly more?: readonly Uint8Array[];
  /** By name, in place of the good one or beside it; `undefined` leaves it out. */
  readonly extensions?: Readonly<Record<string, Extension | Uint8Array | undefined>>;
  /** `false`: no extensions at all. */
  readonly hasExtensions?: boolean;
  readonly role?: CertificateRole;
  readonly issuer?: Certificate;
}

const rsaSha256 = signatureAlgorithmIdentifier('rsa-sha256');
const ecdsaSha384 = signatureAlgorithmIdentifier('ecdsa-sha384');
const rootName = nameFromString('CN=Test Root,O=Test');
const issuingName = nameFromString('CN=Test Issuing CA,O=Test');
const deviceName = nameFromString('CN=device-1,O=Test');
const serial = unsignedInteger(Buffer.alloc(16, 0x77));
const crl = crlDistributionPointsExtension(['http://pki.test/crl/ca.crl']);
const access = authorityInfoAccessExtension(['http://pki.test/aia/ca.crt']);

/** What a good certificate of each role is made of. */
const good = {
  root: {
    innerAlgorithm: ecdsaSha384,
    issuerName: rootName.raw,
    subject: rootName.raw,
    spki: publicKeys.root,
    notBefore: time(daysFromNow(-100)),
    notAfter: time(daysFromNow(7000)),
    extensions: {
      basicConstraints: caBasicConstraintsExtension(),
      keyUsage: keyUsageExtension(['keyCertSign', 'cRLSign']),
      subjectKeyIdentifier: subjectKeyIdentifierExtension(keyIdentifier(publicKeys.root)),
    },
  },
  ca: {
    innerAlgorithm: ecdsaSha384,
    issuerName: rootName.raw,
    subject: issuingName.raw,
    spki: publicKeys.issuing,
    notBefore: time(daysFromNow(-50)),
    notAfter: time(daysFromNow(3000)),
    extensions: {
      basicConstraints: caBasicConstraintsExtension(0),
      keyUsage: keyUsageExtension(['keyCertSign', 'cRLSign', 'digitalSignature']),
      subjectKeyIdentifier: subjectKeyIdentifierExtension(keyIdentifier(publicKeys.issuing)),
      authorityKeyIdentifier: authorityKeyIdentifierExtension(keyIdentifier(publicKeys.root)),
      crl,
      access,
    },
  },
  'end-entity': {
    innerAlgorithm: rsaSha256,
    issuerName: issuingName.raw,
    subject: deviceName.raw,
    spki: publicKeys.device,
    notBefore: time(daysFromNow(-1)),
    notAfter: time(daysFromNow(365)),
    extensions: {
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
        deviceName,
      ),
      subjectKeyIdentifier: subjectKeyIdentifierExtension(keyIdentifier(publicKeys.device)),
      authorityKeyIdentifier: authorityKeyIdentifierExtension(keyIdentifier(publicKeys.issuing)),
      crl,
      access,
    },
  },
} as const;

/** DER of the TBSCertificate of a good certificate with these parts in place of its own. */
export function tbsCertificateOf(parts: CertificateParts = {}): Uint8Array {
  const whole = { version: integer(2), serialNumber: serial, ...good[parts.role ?? 'end-entity'], ...parts };
  const extensions = Object.values({ ...good[parts.role ?? 'end-entity'].extensions, ...parts.extensions })
    .filter((extension) => extension !== undefined)
    .map((extension) => (extension instanceof Uint8Array ? extension : buildExtension(extension)));
  return sequence(
    ...(whole.version === undefined ? [] : [der(contextConstructed(0), whole.version)]),
    whole.serialNumber,
    whole.innerAlgorithm,
    whole.issuerName,
    sequence(whole.notBefore, whole.notAfter),
    whole.subject,
    whole.spki,
    ...(parts.more ?? []),
    ...(parts.hasExtensions === false ? [] : [der(contextConstructed(3), sequence(...extensions))]),
  );
}

/** DER of a good certificate with these parts in place of its own, and a signature that means nothing. */
export function certificateOf(parts: CertificateParts = {}): Uint8Array {
  const inner = parts.innerAlgorithm ?? good[parts.role ?? 'end-entity'].innerAlgorithm;
  return sequence(tbsCertificateOf(parts), parts.outerAlgorithm ?? inner, bitString(Uint8Array.of(0)));
}

/** The two CAs, good. */
export const authorities = {
  root: parseCertificate(certificateOf({ role: 'root' })),
  issuing: parseCertificate(certificateOf({ role: 'ca' })),
};

/** Who signs a certificate of this role. */
export function issuerOf(role: CertificateRole): Certificate | undefined {
  if (role === 'root') return undefined;
  return role === 'ca' ? authorities.root : authorities.issuing;
}

/** A certificate to ask a rule about. */
export function underLint(parts: CertificateParts): CertificateUnderLint {
  const role = parts.role ?? 'end-entity';
  return new CertificateUnderLint(certificateOf(parts), role, parts.issuer ?? issuerOf(role), 'quick');
}

/** Raw parts of a CRL, like `CertificateParts`. */
export interface CrlParts {
  readonly version?: Uint8Array | undefined;
  readonly innerAlgorithm?: Uint8Array;
  readonly outerAlgorithm?: Uint8Array;
  readonly issuerName?: Uint8Array;
  readonly thisUpdate?: Uint8Array;
  readonly nextUpdate?: Uint8Array | undefined;
  /** Raw entries; `undefined` leaves the list out. */
  readonly entries?: readonly Uint8Array[] | undefined;
  readonly extensions?: Readonly<Record<string, Extension | Uint8Array | undefined>>;
  readonly hasExtensions?: boolean;
  readonly issuer?: Certificate;
}

/** An entry of a CRL. */
export function crlEntry(parts: {
  readonly serialNumber?: Uint8Array;
  readonly date?: Uint8Array;
  readonly extensions?: readonly (Extension | Uint8Array)[];
}): Uint8Array {
  const extensions = (parts.extensions ?? []).map((extension) =>
    extension instanceof Uint8Array ? extension : buildExtension(extension),
  );
  return sequence(
    parts.serialNumber ?? serial,
    parts.date ?? time(daysFromNow(-3)),
    ...(parts.extensions === undefined ? [] : [sequence(...extensions)]),
  );
}

/** The reasonCode of an entry. */
export const reasonCode = (code: number): Extension => ({
  oid: oid.reasonCode,
  critical: false,
  value: der(tag.enumerated, Uint8Array.of(code)),
});

const goodCrlExtensions = {
  authorityKeyIdentifier: authorityKeyIdentifierExtension(keyIdentifier(publicKeys.issuing)),
  crlNumber: crlNumberExtension(7),
};

/** DER of a good CRL with these parts in place of its own, and a signature that means nothing. */
export function crlOf(parts: CrlParts = {}): Uint8Array {
  const inner = parts.innerAlgorithm ?? rsaSha256;
  return sequence(tbsCertListOf(parts), parts.outerAlgorithm ?? inner, bitString(Uint8Array.of(0)));
}

/** DER of the TBSCertList of a good CRL with these parts in place of its own. */
export function tbsCertListOf(parts: CrlParts = {}): Uint8Array {
  const whole = {
    version: integer(1),
    innerAlgorithm: rsaSha256,
    issuerName: issuingName.raw,
    thisUpdate: time(daysFromNow(-1)),
    nextUpdate: time(daysFromNow(6)),
    entries: [crlEntry({}), crlEntry({ extensions: [reasonCode(1)] })],
    ...parts,
  };
  const extensions = Object.values({ ...goodCrlExtensions, ...parts.extensions })
    .filter((extension) => extension !== undefined)
    .map((extension) => (extension instanceof Uint8Array ? extension : buildExtension(extension)));
  return sequence(
    ...(whole.version === undefined ? [] : [whole.version]),
    whole.innerAlgorithm,
    whole.issuerName,
    whole.thisUpdate,
    ...(whole.nextUpdate === undefined ? [] : [whole.nextUpdate]),
    ...(whole.entries === undefined ? [] : [sequence(...whole.entries)]),
    ...(parts.hasExtensions === false ? [] : [der(contextConstructed(0), sequence(...extensions))]),
  );
}

/** A CRL to ask a rule about. */
export function crlUnderLint(parts: CrlParts): CrlUnderLint {
  const outerAlgorithm = parts.outerAlgorithm ?? parts.innerAlgorithm ?? rsaSha256;
  return new CrlUnderLint(tbsCertListOf(parts), outerAlgorithm, parts.issuer ?? authorities.issuing);
}

/** What keeps a rule and what breaks it, each with a name. */
export interface Vectors<Parts> {
  readonly keeps: readonly (readonly [name: string, parts: Parts])[];
  readonly breaks: readonly (readonly [name: string, parts: Parts])[];
}

/** Asks a rule for certificates about its vectors, and about good certificates of every role. */
export function testCertificateRule(
  rule: CertificateRule,
  { keeps, breaks }: Vectors<CertificateParts>,
): void {
  testRule(rule.name, (parts) => findingOf(rule, underLint(parts)), {
    keeps: [
      ['a good certificate', {}],
      ['a good CA', { role: 'ca' }],
      ['a good root', { role: 'root' }],
      ...keeps,
    ],
    breaks,
  });
}

/** Asks a rule for CRLs about its vectors, and about a good CRL. */
export function testCrlRule(rule: CrlRule, { keeps, breaks }: Vectors<CrlParts>): void {
  testRule(rule.name, (parts) => findingOf(rule, crlUnderLint(parts)), {
    keeps: [['a good CRL', {}], ...keeps],
    breaks,
  });
}

function testRule<Parts>(
  name: string,
  find: (parts: Parts) => string | undefined,
  { keeps, breaks }: Vectors<Parts>,
): void {
  assert.ok(breaks.length > 0, 'a rule that nothing breaks');
  describe(name, () => {
    for (const [what, parts] of breaks) test(`finds ${what}`, () => assert.notEqual(find(parts), undefined));
    for (const [what, parts] of keeps) test(`takes ${what}`, () => assert.equal(find(parts), undefined));
  });
}
