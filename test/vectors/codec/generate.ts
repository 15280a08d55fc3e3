/**
 * Makes the vectors beside it: `node test/vectors/codec/generate.ts` writes them again, octet for octet the same.
 *
 * It encodes with its own few lines and never with src/codec, so that a vector can contradict the codec. Whatever is
 * random in the real world comes out of a hash here, and RSA encryption is done on blocks that are padded by hand.
 */
import {
  constants,
  createCipheriv,
  createHash,
  createPrivateKey,
  createPublicKey,
  publicEncrypt,
  sign,
} from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const folder = new URL('./', import.meta.url);
const keys: Record<'client' | 'ra', string> = JSON.parse(readFileSync(new URL('keys.json', folder), 'utf8'));

// --- encoding -------------------------------------------------------------------------------------------------------

export type Octets = Uint8Array;
export const octets = (hex: string): Octets => Buffer.from(hex.replaceAll(/\s/g, ''), 'hex');
export const concat = (...parts: Octets[]): Octets => Buffer.concat(parts);

export function tlv(tag: number, ...parts: Octets[]): Octets {
  const content = concat(...parts);
  const length = content.length.toString(16).padStart(content.length < 0x100 ? 2 : 4, '0');
  const prefix = content.length < 0x80 ? '' : content.length < 0x100 ? '81' : '82';
  return concat(octets(tag.toString(16).padStart(2, '0') + prefix + length), content);
}

/** Indefinite length, ended by two zero octets (X.690 §8.1.3.6). */
export const open = (tag: number, ...parts: Octets[]): Octets =>
  concat(Uint8Array.of(tag, 0x80), ...parts, Uint8Array.of(0, 0));

/** OCTET STRINGs of at most `size` octets that together hold `content`. */
export function pieces(content: Octets, size: number): Octets[] {
  const list: Octets[] = [];
  for (let at = 0; at < content.length; at += size) list.push(tlv(0x04, content.subarray(at, at + size)));
  return list;
}

export const seq = (...parts: Octets[]): Octets => tlv(0x30, ...parts);
export const set = (...parts: Octets[]): Octets => tlv(0x31, ...parts);
export const setOf = (...parts: Octets[]): Octets => tlv(0x31, ...parts.sort(Buffer.compare));
export const int = (hex: string): Octets => tlv(0x02, octets(hex));
export const octetString = (content: Octets): Octets => tlv(0x04, content);
export const bits = (content: Octets): Octets => tlv(0x03, Uint8Array.of(0), content);
export const utf8 = (text: string): Octets => tlv(0x0c, Buffer.from(text, 'utf8'));
export const printable = (text: string): Octets => tlv(0x13, Buffer.from(text, 'latin1'));
const ia5 = (text: string): Octets => tlv(0x16, Buffer.from(text, 'latin1'));
const t61 = (text: string): Octets => tlv(0x14, Buffer.from(text, 'latin1'));
export const bmp = (text: string): Octets => tlv(0x1e, Buffer.from(text, 'utf16le').swap16());
export const utcTime = (text: string): Octets => tlv(0x17, Buffer.from(text, 'latin1'));
const generalizedTime = (text: string): Octets => tlv(0x18, Buffer.from(text, 'latin1'));
export const nul = octets('0500');

export const type = {
  cn: octets('0603550403'),
  ou: octets('060355040b'),
  o: octets('060355040a'),
  c: octets('0603550406'),
  email: octets('06092a864886f70d010901'),
  ski: octets('0603551d0e'),
  keyUsage: octets('0603551d0f'),
  san: octets('0603551d11'),
  basicConstraints: octets('0603551d13'),
  aki: octets('0603551d23'),
  eku: octets('0603551d25'),
  clientAuth: octets('06082b06010505070302'),
  data: octets('06092a864886f70d010701'),
  signedData: octets('06092a864886f70d010702'),
  envelopedData: octets('06092a864886f70d010703'),
  contentType: octets('06092a864886f70d010903'),
  messageDigest: octets('06092a864886f70d010904'),
  challengePassword: octets('06092a864886f70d010907'),
  extensionRequest: octets('06092a864886f70d01090e'),
  microsoftExtensions: octets('060a2b06010401823702010e'),
  microsoftOsVersion: octets('060a2b0601040182370d0203'),
  microsoftNameValuePair: octets('060a2b0601040182370d0201'),
  upn: octets('060a2b060104018237140203'),
  messageType: octets('060a6086480186f845010902'),
  senderNonce: octets('060a6086480186f845010905'),
  transactionID: octets('060a6086480186f845010907'),
};
export const algorithm = {
  rsaEncryption: seq(octets('06092a864886f70d010101'), nul),
  sha1WithRSA: seq(octets('06092a864886f70d010105'), nul),
  sha256WithRSA: seq(octets('06092a864886f70d01010b'), nul),
  sha1: seq(octets('06052b0e03021a'), nul),
  sha256: seq(octets('0609608648016503040201'), nul),
  sha512: seq(octets('0609608648016503040203'), nul),
};
const oaep = octets('06092a864886f70d010107');
const mgf1 = octets('06092a864886f70d010108');
const pSpecified = octets('06092a864886f70d010109');

export const rdn = (attribute: Octets, value: Octets): Octets => set(seq(attribute, value));
export const extension = (identifier: Octets, value: Octets): Octets => seq(identifier, octetString(value));
export const criticalExtension = (identifier: Octets, value: Octets): Octets =>
  seq(identifier, octets('0101ff'), octetString(value));
const explicitlyUncritical = (identifier: Octets, value: Octets): Octets =>
  seq(identifier, octets('010100'), octetString(value));
export const attribute = (identifier: Octets, ...values: Octets[]): Octets => seq(identifier, set(...values));

// --- keys, and chance out of a hash ---------------------------------------------------------------------------------

type KeyName = keyof typeof keys;
const spkiOf = (name: KeyName): Octets => createPublicKey(keys[name]).export({ format: 'der', type: 'spki' });
const signWith = (name: KeyName, digest: string, data: Octets): Octets =>
  sign(digest, data, createPrivateKey(keys[name]));
export const digestOf = (digest: string, data: Octets): Octets => createHash(digest).update(data).digest();
const keyIdentifierOf = (name: KeyName): Octets => digestOf('sha1', spkiOf(name).subarray(24));

/** Octets that look random and are the same on every run; none of them is zero. */
export function chance(label: string, length: number): Octets {
  const out: number[] = [];
  for (let block = 0; out.length < length; block += 1) {
    for (const octet of digestOf('sha256', Buffer.from(`${label} ${block}`)))
      if (octet !== 0) out.push(octet);
  }
  return Uint8Array.from(out.slice(0, length));
}

const rawRsa = (name: KeyName, block: Octets): Octets =>
  publicEncrypt({ key: keys[name], padding: constants.RSA_NO_PADDING }, block);

/** RSAES-PKCS1-v1_5 (RFC 8017 §7.2.1) for a key of 256 octets. */
export const pkcs1Block = (label: string, message: Octets): Octets =>
  concat(octets('0002'), chance(label, 253 - message.length), octets('00'), message);

/** RSAES-OAEP (RFC 8017 §7.1.1) for a key of 256 octets and the empty label. */
export function oaepBlock(label: string, message: Octets, digest: string, maskDigest: string): Octets {
  const length = digestOf(digest, octets('')).length;
  const mask = (seed: Octets, size: number): Octets => {
    const blocks: Octets[] = [];
    for (let i = 0; i * digestOf(maskDigest, seed).length < size; i += 1) {
      blocks.push(digestOf(maskDigest, concat(seed, Uint8Array.of(0, 0, 0, i))));
    }
    return concat(...blocks).subarray(0, size);
  };
  const xor = (a: Octets, b: Octets): Octets => a.map((octet, i) => octet ^ (b[i] as number));
  const seed = chance(label, length);
  const padding = new Uint8Array(256 - message.length - 2 * length - 2);
  const block = concat(digestOf(digest, octets('')), padding, octets('01'), message);
  const maskedBlock = xor(block, mask(seed, block.length));
  return concat(octets('00'), xor(seed, mask(maskedBlock, length)), maskedBlock);
}

// --- certificates ---------------------------------------------------------------------------------------------------

interface CertificateParts {
  readonly version?: Octets;
  readonly serial: Octets;
  readonly inner: Octets;
  readonly outer?: Octets;
  readonly digest: string;
  readonly issuer: Octets;
  readonly validity: Octets;
  readonly subject: Octets;
  readonly key: KeyName;
  readonly signer: KeyName;
  readonly extensions: readonly Octets[];
}

function certificate(parts: CertificateParts): Octets {
  const tbs = seq(
    parts.version ?? octets('a003020102'),
    parts.serial,
    parts.inner,
    parts.issuer,
    parts.validity,
    parts.subject,
    spkiOf(parts.key),
    ...(parts.extensions.length === 0 ? [] : [tlv(0xa3, seq(...parts.extensions))]),
  );
  return seq(tbs, parts.outer ?? parts.inner, bits(signWith(parts.signer, parts.digest, tbs)));
}

const raIssuer = seq(
  rdn(type.c, printable('CH')),
  rdn(type.o, utf8('Example Lab')),
  rdn(type.cn, utf8('Lab Issuing CA')),
);
const raSerial = int('1f5a');
const raValidity = seq(utcTime('260101000000Z'), utcTime('270101000000Z'));
export const raIssuerAndSerial = seq(raIssuer, raSerial);

const windowsSubject = seq(rdn(type.cn, printable('SCEP Protocol Certificate')));
const windowsSerial = int('3d1c0f5a9b2e4c7786a1d2e3f4051627');
const windows: CertificateParts = {
  serial: windowsSerial,
  inner: algorithm.sha1WithRSA,
  digest: 'sha1',
  issuer: windowsSubject,
  validity: seq(utcTime('260301080000Z'), utcTime('270301080000Z')),
  subject: windowsSubject,
  key: 'client',
  signer: 'client',
  extensions: [
    extension(type.ski, octetString(keyIdentifierOf('client'))),
    criticalExtension(type.aki, seq(tlv(0x80, keyIdentifierOf('client')))),
  ],
};

const plain: CertificateParts = {
  ...windows,
  inner: algorithm.sha256WithRSA,
  digest: 'sha256',
  issuer: raIssuer,
  subject: seq(rdn(type.cn, utf8('device-1'))),
  serial: int('0a'),
  validity: raValidity,
  key: 'client',
  signer: 'ra',
  extensions: [],
};

// --- certification requests -----------------------------------------------------------------------------------------

function request(subject: Octets, attributes: Octets | undefined, digest = 'sha256'): Octets {
  const info = seq(int('00'), subject, spkiOf('client'), ...(attributes === undefined ? [] : [attributes]));
  const signature = digest === 'sha1' ? algorithm.sha1WithRSA : algorithm.sha256WithRSA;
  return seq(info, signature, bits(signWith('client', digest, info)));
}

const deviceSubject = seq(rdn(type.o, utf8('Example Lab')), rdn(type.cn, utf8('device-1')));
const challenge = attribute(type.challengePassword, printable('one-time-secret'));
const sanExtension = extension(type.san, seq(tlv(0x82, Buffer.from('device-1.lab.test'))));
const keyUsageExtension = criticalExtension(type.keyUsage, octets('030205a0'));
const ekuExtension = extension(type.eku, seq(type.clientAuth));
const appleRequest = request(
  seq(rdn(type.c, printable('CH')), rdn(type.o, utf8('Example Lab')), rdn(type.cn, utf8('iPad 7'))),
  tlv(0xa0, challenge, attribute(type.extensionRequest, seq(keyUsageExtension, sanExtension))),
);

// --- CMS ------------------------------------------------------------------------------------------------------------

export const cipherText = (cipher: string, key: Octets, iv: Octets, content: Octets): Octets => {
  // Node has no single DES; triple DES with one key three times is the same.
  const encryption =
    cipher === 'des-cbc'
      ? createCipheriv('des-ede3-cbc', concat(key, key, key), iv)
      : createCipheriv(cipher, key, iv);
  return concat(encryption.update(content), encryption.final());
};

export const des3 = octets('06082a864886f70d0307');
export const aes256 = octets('060960864801650304012a');
const rc2 = octets('06082a864886f70d0302');
export const des = octets('06052b0e030207');

interface EnvelopeParts {
  readonly label: string;
  readonly cipher: Octets;
  readonly cipherName: string;
  readonly keyBytes: number;
  readonly ivBytes: number;
  readonly keyTransport: Octets;
  readonly block: (label: string, key: Octets) => Octets;
  readonly rid: Octets;
  readonly content: Octets;
}

/** DER EnvelopedData. */
function envelope(parts: EnvelopeParts): Octets {
  const key = chance(`${parts.label} key`, parts.keyBytes);
  const iv = chance(`${parts.label} iv`, parts.ivBytes);
  const recipient = seq(
    int(parts.rid[0] === 0x80 ? '02' : '00'),
    parts.rid,
    parts.keyTransport,
    octetString(rawRsa('ra', parts.block(parts.label, key))),
  );
  const encrypted = cipherText(parts.cipherName, key, iv, parts.content);
  const content = seq(type.data, seq(parts.cipher, octetString(iv)), tlv(0x80, encrypted));
  return seq(type.envelopedData, tlv(0xa0, seq(int('00'), set(recipient), content)));
}

const aesEnvelope: EnvelopeParts = {
  label: 'aes',
  cipher: aes256,
  cipherName: 'aes-256-cbc',
  keyBytes: 32,
  ivBytes: 16,
  keyTransport: algorithm.rsaEncryption,
  block: pkcs1Block,
  rid: raIssuerAndSerial,
  content: Buffer.from('the content of an envelope'),
};
const oaepOf =
  (digest: string, maskDigest: string) =>
  (label: string, key: Octets): Octets =>
    oaepBlock(label, key, digest, maskDigest);

/** As Apple sends it: indefinite lengths throughout, the content in pieces, triple DES. */
function appleEnvelope(): Octets {
  const key = chance('apple key', 24);
  const iv = chance('apple iv', 8);
  const recipient = seq(
    int('00'),
    raIssuerAndSerial,
    algorithm.rsaEncryption,
    octetString(rawRsa('ra', pkcs1Block('apple', key))),
  );
  const encrypted = cipherText('des-ede3-cbc', key, iv, appleRequest);
  const content = open(0x30, type.data, seq(des3, octetString(iv)), open(0xa0, ...pieces(encrypted, 400)));
  return open(0x30, type.envelopedData, open(0xa0, open(0x30, int('00'), set(recipient), content)));
}

interface SignedParts {
  readonly attributes: readonly Octets[];
  readonly digest: string;
  readonly digestAlgorithm: Octets;
  readonly signatureAlgorithm: Octets;
}

function signerInfo(sid: Octets, parts: SignedParts): Octets {
  const attributes = setOf(...parts.attributes);
  const tagged = Uint8Array.from(attributes);
  tagged[0] = 0xa0;
  return seq(
    int(sid[0] === 0x80 ? '03' : '01'),
    sid,
    parts.digestAlgorithm,
    tagged,
    parts.signatureAlgorithm,
    octetString(signWith('client', parts.digest, attributes)),
  );
}

const scepAttributes = (digest: string, content: Octets): Octets[] => [
  attribute(type.contentType, type.data),
  attribute(type.messageDigest, octetString(digestOf(digest, content))),
  attribute(type.messageType, printable('19')),
  attribute(type.transactionID, printable('6A1D3A50C5B5A5E2')),
  attribute(type.senderNonce, octetString(chance('nonce', 16))),
];

const clientSid = seq(windowsSubject, windowsSerial);

function appleSignedData(): Octets {
  const content = appleEnvelope();
  const info = signerInfo(clientSid, {
    attributes: scepAttributes('sha512', content),
    digest: 'sha512',
    digestAlgorithm: algorithm.sha512,
    signatureAlgorithm: algorithm.rsaEncryption,
  });
  return open(
    0x30,
    type.signedData,
    open(
      0xa0,
      open(
        0x30,
        int('01'),
        set(algorithm.sha512),
        open(0x30, type.data, open(0xa0, open(0x24, ...pieces(content, 1000)))),
        open(0xa0, certificate(windows)),
        set(info),
      ),
    ),
  );
}

function signedData(attributes: (content: Octets) => Octets[], sid: Octets = clientSid): Octets {
  const content = Buffer.from('content');
  const info = signerInfo(sid, {
    attributes: attributes(content),
    digest: 'sha256',
    digestAlgorithm: algorithm.sha256,
    signatureAlgorithm: algorithm.sha256WithRSA,
  });
  return seq(
    type.signedData,
    tlv(
      0xa0,
      seq(
        int('01'),
        set(algorithm.sha256),
        seq(type.data, tlv(0xa0, octetString(content))),
        tlv(0xa0, certificate(windows)),
        set(info),
      ),
    ),
  );
}

// --- the files ------------------------------------------------------------------------------------------------------

/** One vector: `result` is what the codec must read, `error` the code it must refuse with. */
export interface Vector {
  readonly name: string;
  readonly comment: string;
  readonly hex?: string;
  readonly base64?: string;
  readonly result?: unknown;
  readonly error?: string;
}

/** One file of vectors. */
export interface VectorFile {
  readonly comment: string;
  readonly source: string;
  readonly rfc: string;
  readonly kind: string;
  readonly vectors: readonly Vector[];
}

const own = 'Made by generate.ts after the cited documents; not captured from a device.';
const base64 = (bytes: Octets): string => Buffer.from(bytes).toString('base64');
const hex = (bytes: Octets): string => Buffer.from(bytes).toString('hex');

const certificates: VectorFile = {
  comment: 'Certificates that are odd and must be read, or broken and must not be.',
  source: `${own} The Windows signer follows field reports of its critical authorityKeyIdentifier.`,
  rfc: 'RFC 5280 §4.1, §4.2',
  kind: 'certificate',
  vectors: [
    {
      name: 'Windows signer',
      comment:
        'QUIRK Windows: self-signed with SHA-1, authorityKeyIdentifier critical (§4.2.1.1 says it MUST NOT be).',
      base64: base64(certificate(windows)),
      result: {
        version: 3,
        serialNumber: '3d1c0f5a9b2e4c7786a1d2e3f4051627',
        issuer: 'CN=SCEP Protocol Certificate',
        subject: 'CN=SCEP Protocol Certificate',
        notBefore: '2026-03-01T08:00:00.000Z',
        notAfter: '2027-03-01T08:00:00.000Z',
        signatureAlgorithm: '1.2.840.113549.1.1.5',
        critical: ['2.5.29.35'],
        verifiesWith: 'client',
      },
    },
    {
      name: 'explicit critical FALSE',
      comment: 'A DEFAULT that is written (X.690 §11.5 forbids it) changes nothing; old software writes it.',
      base64: base64(
        certificate({
          ...plain,
          extensions: [
            explicitlyUncritical(type.keyUsage, octets('03020780')),
            explicitlyUncritical(type.eku, seq(type.clientAuth)),
          ],
        }),
      ),
      result: {
        version: 3,
        serialNumber: '0a',
        issuer: 'CN=Lab Issuing CA,O=Example Lab,C=CH',
        subject: 'CN=device-1',
        notBefore: '2026-01-01T00:00:00.000Z',
        notAfter: '2027-01-01T00:00:00.000Z',
        signatureAlgorithm: '1.2.840.113549.1.1.11',
        critical: [],
        keyUsage: ['digitalSignature'],
        extKeyUsage: ['1.3.6.1.5.5.7.3.2'],
        verifiesWith: 'ra',
      },
    },
    {
      name: 'negative serial number',
      comment: '§4.1.2.2: forbidden, but to be handled gracefully; its text must not be that of 255.',
      base64: base64(certificate({ ...plain, serial: int('ff') })),
      result: {
        version: 3,
        serialNumber: '-01',
        issuer: 'CN=Lab Issuing CA,O=Example Lab,C=CH',
        subject: 'CN=device-1',
        notBefore: '2026-01-01T00:00:00.000Z',
        notAfter: '2027-01-01T00:00:00.000Z',
        signatureAlgorithm: '1.2.840.113549.1.1.11',
        critical: [],
        verifiesWith: 'ra',
      },
    },
    {
      name: 'version 1 without extensions',
      comment: '§4.1.2.1: the default version is left out.',
      base64: base64(certificate({ ...plain, version: octets('') })),
      result: {
        version: 1,
        serialNumber: '0a',
        issuer: 'CN=Lab Issuing CA,O=Example Lab,C=CH',
        subject: 'CN=device-1',
        notBefore: '2026-01-01T00:00:00.000Z',
        notAfter: '2027-01-01T00:00:00.000Z',
        signatureAlgorithm: '1.2.840.113549.1.1.11',
        critical: [],
        verifiesWith: 'ra',
      },
    },
    {
      name: 'every string type, both time types',
      comment: '§4.1.2.4 string types, §4.1.2.5 GeneralizedTime from 2050 on, two-digit years from 50 on.',
      base64: base64(
        certificate({
          ...plain,
          validity: seq(utcTime('500101000000Z'), generalizedTime('20500101000000Z')),
          subject: seq(
            rdn(type.c, printable('CH')),
            rdn(type.o, t61('Müller')),
            rdn(type.ou, bmp('Zürich 🏔')),
            set(seq(type.cn, utf8('Łódź')), seq(type.email, ia5('a@lab.test'))),
          ),
          extensions: [
            extension(
              type.san,
              seq(
                tlv(0x82, Buffer.from('a.lab.test')),
                tlv(0x87, octets('7f000001')),
                tlv(0x87, octets('20010db8000000000000000000000001')),
                tlv(0xa0, type.upn, tlv(0xa0, utf8('a@lab.test'))),
              ),
            ),
          ],
        }),
      ),
      result: {
        version: 3,
        serialNumber: '0a',
        issuer: 'CN=Lab Issuing CA,O=Example Lab,C=CH',
        subject: 'CN=Łódź+E=a@lab.test,OU=Zürich 🏔,O=Müller,C=CH',
        notBefore: '1950-01-01T00:00:00.000Z',
        notAfter: '2050-01-01T00:00:00.000Z',
        signatureAlgorithm: '1.2.840.113549.1.1.11',
        critical: [],
        subjectAltName: 'DNS:a.lab.test, IP:127.0.0.1, IP:2001:db8:0:0:0:0:0:1, UPN:a@lab.test',
        verifiesWith: 'ra',
      },
    },
    {
      name: 'an extension twice',
      comment: '§4.2: MUST NOT include more than one instance.',
      base64: base64(
        certificate({
          ...plain,
          extensions: [keyUsageExtension, extension(type.keyUsage, octets('03020780'))],
        }),
      ),
      error: 'certificate_malformed',
    },
    {
      name: 'two signature algorithms',
      comment: '§4.1.1.2: the outer field MUST contain the same identifier as the inner.',
      base64: base64(certificate({ ...plain, outer: algorithm.sha1WithRSA })),
      error: 'certificate_malformed',
    },
    {
      name: 'extensions in version 1',
      comment: '§4.1.2.9: only in version 3.',
      base64: base64(certificate({ ...plain, version: octets(''), extensions: [keyUsageExtension] })),
      error: 'certificate_malformed',
    },
    {
      name: 'version 1 written out',
      comment: 'X.690 §11.5: a default is not written.',
      base64: base64(certificate({ ...plain, version: octets('a003020100') })),
      error: 'certificate_malformed',
    },
    {
      name: 'version 4',
      comment: '§4.1.2.1: there is none.',
      base64: base64(certificate({ ...plain, version: octets('a003020103') })),
      error: 'certificate_malformed',
    },
    {
      name: 'a serial number not in shortest form',
      comment: 'X.690 §8.3.2.',
      base64: base64(certificate({ ...plain, serial: int('0001') })),
      error: 'certificate_malformed',
    },
    {
      name: 'a day that does not exist',
      comment: '30 February.',
      base64: base64(
        certificate({ ...plain, validity: seq(utcTime('260101000000Z'), utcTime('270230000000Z')) }),
      ),
      error: 'certificate_malformed',
    },
    {
      name: 'a time without seconds',
      comment: '§4.1.2.5.1: MUST include seconds.',
      base64: base64(
        certificate({ ...plain, validity: seq(utcTime('2601010000Z'), utcTime('270101000000Z')) }),
      ),
      error: 'certificate_malformed',
    },
    {
      name: 'critical as BER writes TRUE',
      comment: 'X.690 §11.1: TRUE is FF.',
      base64: base64(
        certificate({
          ...plain,
          extensions: [seq(type.keyUsage, octets('010101'), octetString(octets('03020780')))],
        }),
      ),
      error: 'certificate_malformed',
    },
  ],
};

const requests: VectorFile = {
  comment: 'Certification requests as clients send them, and as nobody should.',
  source: `${own} The client quirks follow observations of the named clients.`,
  rfc: 'RFC 2986 §4, RFC 2985 §5.4',
  kind: 'certificationRequest',
  vectors: [
    {
      name: 'strongSwan: attributes out of order',
      comment:
        'QUIRK strongSwan: extensionRequest before challengePassword; the signature covers them as they stand.',
      base64: base64(
        request(deviceSubject, tlv(0xa0, attribute(type.extensionRequest, seq(sanExtension)), challenge)),
      ),
      result: {
        subject: 'CN=device-1,O=Example Lab',
        challengePassword: 'one-time-secret',
        extensions: ['2.5.29.17'],
        subjectAltName: 'DNS:device-1.lab.test',
        verifies: true,
      },
    },
    {
      name: 'Windows: Microsoft’s identifier for the extensions',
      comment: 'QUIRK Windows: 1.3.6.1.4.1.311.2.1.14, beside attributes that only Microsoft knows.',
      base64: base64(
        request(
          deviceSubject,
          tlv(
            0xa0,
            attribute(type.microsoftOsVersion, ia5('10.0.22631.2')),
            attribute(type.microsoftNameValuePair, seq(bmp('ValidityPeriodUnits'), bmp('365'))),
            challenge,
            attribute(type.microsoftExtensions, seq(keyUsageExtension, ekuExtension)),
          ),
        ),
      ),
      result: {
        subject: 'CN=device-1,O=Example Lab',
        challengePassword: 'one-time-secret',
        extensions: ['2.5.29.15', '2.5.29.37'],
        keyUsage: ['digitalSignature', 'keyEncipherment'],
        extKeyUsage: ['1.3.6.1.5.5.7.3.2'],
        verifies: true,
      },
    },
    {
      name: 'explicit critical FALSE, SHA-1, UTF-8 challenge',
      comment: 'Three things that are allowed or harmless.',
      base64: base64(
        request(
          deviceSubject,
          tlv(
            0xa0,
            attribute(type.challengePassword, utf8('Schlüssel')),
            attribute(type.extensionRequest, seq(explicitlyUncritical(type.keyUsage, octets('03020780')))),
          ),
          'sha1',
        ),
      ),
      result: {
        subject: 'CN=device-1,O=Example Lab',
        challengePassword: 'Schlüssel',
        extensions: ['2.5.29.15'],
        keyUsage: ['digitalSignature'],
        verifies: true,
      },
    },
    {
      name: 'empty attributes, empty subject',
      comment: 'RFC 2986 §4.1: the SET may be empty.',
      base64: base64(request(seq(), tlv(0xa0))),
      result: { subject: '', extensions: [], verifies: true },
    },
    {
      name: 'no attributes at all',
      comment: 'DEVIATION RFC 2986 §4.1: the field is not OPTIONAL; it is not missed.',
      base64: base64(request(deviceSubject, undefined)),
      result: { subject: 'CN=device-1,O=Example Lab', extensions: [], verifies: true },
    },
    {
      name: 'signed by nobody',
      comment: 'One bit of the signature is wrong: it is read, but it does not verify.',
      base64: base64(flipLastBit(request(deviceSubject, tlv(0xa0, challenge)))),
      result: {
        subject: 'CN=device-1,O=Example Lab',
        challengePassword: 'one-time-secret',
        extensions: [],
        verifies: false,
      },
    },
    {
      name: 'two challengePasswords',
      comment: 'RFC 2985 §5.4.1: SINGLE VALUE. Two readers would see two challenges.',
      base64: base64(
        request(deviceSubject, tlv(0xa0, challenge, attribute(type.challengePassword, printable('other')))),
      ),
      error: 'csr_malformed',
    },
    {
      name: 'a challengePassword of two values',
      comment: 'RFC 2985 §5.4.1: SINGLE VALUE.',
      base64: base64(
        request(deviceSubject, tlv(0xa0, attribute(type.challengePassword, printable('a'), printable('b')))),
      ),
      error: 'csr_malformed',
    },
    {
      name: 'a challengePassword of no value',
      comment: 'RFC 2986 §4.1: a SET of at least one value.',
      base64: base64(request(deviceSubject, tlv(0xa0, attribute(type.challengePassword)))),
      error: 'csr_malformed',
    },
    {
      name: 'two lists of extensions',
      comment: 'RFC 2985 §5.4.2: SINGLE VALUE; by the standard’s identifier and by Microsoft’s is twice too.',
      base64: base64(
        request(
          deviceSubject,
          tlv(
            0xa0,
            attribute(type.extensionRequest, seq(sanExtension)),
            attribute(type.microsoftExtensions, seq(ekuExtension)),
          ),
        ),
      ),
      error: 'csr_malformed',
    },
    {
      name: 'an extension twice',
      comment: 'RFC 5280 §4.2.',
      base64: base64(
        request(deviceSubject, tlv(0xa0, attribute(type.extensionRequest, seq(sanExtension, sanExtension)))),
      ),
      error: 'csr_malformed',
    },
  ],
};

function flipLastBit(bytes: Octets): Octets {
  const copy = Uint8Array.from(bytes);
  copy[copy.length - 1] = (copy[copy.length - 1] as number) ^ 1;
  return copy;
}

const signed: VectorFile = {
  comment: 'SignedData in DER and BER.',
  source: `${own} The Apple message follows Microsoft’s published description of one.`,
  rfc: 'RFC 5652 §5',
  kind: 'signedData',
  vectors: [
    {
      name: 'Apple: indefinite lengths, content in pieces, SHA-512',
      comment:
        'QUIRK Apple: BER everywhere but in the signed attributes. The content is the Apple vector of envelopedData.',
      base64: base64(appleSignedData()),
      result: {
        content: base64(appleEnvelope()),
        certificates: ['CN=SCEP Protocol Certificate'],
        digest: 'sha512',
        attributes: [
          '2.16.840.1.113733.1.9.2',
          '1.2.840.113549.1.9.3',
          '2.16.840.1.113733.1.9.5',
          '2.16.840.1.113733.1.9.7',
          '1.2.840.113549.1.9.4',
        ],
        verifies: true,
      },
    },
    {
      name: 'DER, signatureAlgorithm with its digest',
      comment: 'RFC 3370 §3.2 allows rsaEncryption and the combined identifier.',
      base64: base64(signedData((content) => scepAttributes('sha256', content))),
      result: {
        content: base64(Buffer.from('content')),
        certificates: ['CN=SCEP Protocol Certificate'],
        digest: 'sha256',
        verifies: true,
      },
    },
    {
      name: 'signer named by key identifier',
      comment: '§5.3: version 3 and [0] subjectKeyIdentifier.',
      base64: base64(
        signedData((content) => scepAttributes('sha256', content), tlv(0x80, keyIdentifierOf('client'))),
      ),
      result: {
        content: base64(Buffer.from('content')),
        certificates: ['CN=SCEP Protocol Certificate'],
        digest: 'sha256',
        verifies: true,
      },
    },
    {
      name: 'digest of other content',
      comment: '§5.6: the message digest does not match: no signature.',
      base64: base64(signedData(() => scepAttributes('sha256', Buffer.from('other')))),
      result: {
        content: base64(Buffer.from('content')),
        certificates: ['CN=SCEP Protocol Certificate'],
        digest: 'sha256',
        verifies: false,
      },
    },
    {
      name: 'no messageDigest',
      comment: '§11.2: it MUST be there if any attribute is.',
      base64: base64(
        signedData((content) => scepAttributes('sha256', content).filter((_, index) => index !== 1)),
      ),
      result: {
        content: base64(Buffer.from('content')),
        certificates: ['CN=SCEP Protocol Certificate'],
        digest: 'sha256',
        verifies: false,
      },
    },
    {
      name: 'an attribute twice',
      comment: '§5.3: MUST NOT include multiple instances.',
      base64: base64(
        signedData((content) => [
          ...scepAttributes('sha256', content),
          attribute(type.transactionID, printable('another')),
        ]),
      ),
      error: 'cms_malformed',
    },
    {
      name: 'EnvelopedData in its place',
      comment: '§3: the content type says what it is.',
      base64: base64(envelope(aesEnvelope)),
      error: 'cms_malformed',
    },
  ],
};

const opened = (keyTransport: string, cipher = 'aes-256-cbc', rid = 'issuerAndSerialNumber') => ({
  keyTransport,
  cipher,
  rid,
  content: base64(Buffer.from('the content of an envelope')),
});
const oaepVector = (name: string, comment: string, keyTransport: Octets, digest: string): Vector => ({
  name,
  comment,
  base64: base64(envelope({ ...aesEnvelope, label: name, keyTransport, block: oaepOf(digest, digest) })),
  result: opened(`rsaes-oaep ${digest}`),
});

const enveloped: VectorFile = {
  comment: 'EnvelopedData for the key “ra”, with everything that varies between clients.',
  source: `${own} The Apple message follows Microsoft’s published description of one.`,
  rfc: 'RFC 5652 §6, RFC 3370 §4.2, RFC 4055 §4.1',
  kind: 'envelopedData',
  vectors: [
    {
      name: 'Apple: indefinite lengths, content in pieces, triple DES',
      comment:
        'QUIRK Apple: [0] constructed with OCTET STRINGs inside. The content is a certification request.',
      base64: base64(appleEnvelope()),
      result: {
        keyTransport: 'rsaes-pkcs1-v1_5',
        cipher: 'des-ede3-cbc',
        rid: 'issuerAndSerialNumber',
        content: base64(appleRequest),
      },
    },
    {
      name: 'DER, AES-256, PKCS #1 v1.5',
      comment: 'What RFC 8894 §3.1 shows.',
      base64: base64(envelope(aesEnvelope)),
      result: opened('rsaes-pkcs1-v1_5'),
    },
    {
      name: 'recipient named by key identifier',
      comment: 'QUIRK embedded clients: §6.2.1 version 2 and [0] subjectKeyIdentifier.',
      base64: base64(envelope({ ...aesEnvelope, label: 'ski', rid: tlv(0x80, keyIdentifierOf('ra')) })),
      result: opened('rsaes-pkcs1-v1_5', 'aes-256-cbc', 'subjectKeyIdentifier'),
    },
    oaepVector('OAEP without parameters', 'QUIRK Windows: everything is SHA-1 then.', seq(oaep), 'sha1'),
    oaepVector(
      'OAEP with empty parameters',
      'RFC 4055 §4.1: every field has a default, SHA-1.',
      seq(oaep, seq()),
      'sha1',
    ),
    oaepVector(
      'OAEP with the defaults written out',
      'SHA-1, MGF1 with SHA-1 and the empty label, all explicit.',
      seq(
        oaep,
        seq(
          tlv(0xa0, algorithm.sha1),
          tlv(0xa1, seq(mgf1, algorithm.sha1)),
          tlv(0xa2, seq(pSpecified, octetString(octets('')))),
        ),
      ),
      'sha1',
    ),
    oaepVector(
      'OAEP with SHA-256',
      'Both digests SHA-256.',
      seq(oaep, seq(tlv(0xa0, algorithm.sha256), tlv(0xa1, seq(mgf1, algorithm.sha256)))),
      'sha256',
    ),
    {
      name: 'OAEP with two digests',
      comment: 'SHA-256 with the default mask of SHA-1 cannot be opened here and is refused by name.',
      base64: base64(
        envelope({
          ...aesEnvelope,
          label: 'mixed',
          keyTransport: seq(oaep, seq(tlv(0xa0, algorithm.sha256))),
          block: oaepOf('sha256', 'sha1'),
        }),
      ),
      error: 'algorithm_unsupported',
    },
    {
      name: 'OAEP with a label',
      comment: 'RFC 4055 §4.1: a label that is not empty is in no use.',
      base64: base64(
        envelope({
          ...aesEnvelope,
          label: 'label',
          keyTransport: seq(oaep, seq(tlv(0xa2, seq(pSpecified, octetString(octets('01')))))),
        }),
      ),
      error: 'algorithm_unsupported',
    },
    {
      name: 'single DES',
      comment:
        'RFC 8894 §2.9 forbids it; the codec can read it, and whoever reads it must have asked for it.',
      base64: base64(
        envelope({
          ...aesEnvelope,
          label: 'des',
          cipher: des,
          cipherName: 'des-cbc',
          keyBytes: 8,
          ivBytes: 8,
        }),
      ),
      result: opened('rsaes-pkcs1-v1_5', 'des-cbc'),
    },
    {
      name: 'RC2',
      comment: 'RFC 8894 §2.9.',
      base64: base64(
        envelope({
          ...aesEnvelope,
          label: 'rc2',
          cipher: rc2,
          cipherName: 'des-ede3-cbc',
          keyBytes: 24,
          ivBytes: 8,
        }),
      ),
      error: 'algorithm_unsupported',
    },
    {
      name: 'an initialisation vector of eight octets for AES',
      comment: 'RFC 3565 §4.1: AES-IV is 16 octets.',
      base64: base64(
        envelope({ ...aesEnvelope, label: 'iv', cipherName: 'des-ede3-cbc', keyBytes: 24, ivBytes: 8 }),
      ),
      error: 'cms_malformed',
    },
  ],
};

const berRow = (name: string, comment: string, ber: string, der: string): Vector => ({
  name,
  comment,
  hex: hex(octets(ber)),
  result: { der: hex(octets(der)) },
});
const berError = (name: string, comment: string, ber: string, error: string): Vector => ({
  name,
  comment,
  hex: hex(octets(ber)),
  error,
});

const ber: VectorFile = {
  comment: 'BER and the DER that it must become.',
  source: own,
  rfc: 'ITU-T X.690 §8.1.3, §8.7, §10',
  kind: 'ber',
  vectors: [
    berRow('DER stays', 'Nothing to do.', '3003 020101', '3003 020101'),
    berRow('long length', 'A length on more octets than needed.', '3081 03 020101', '3003 020101'),
    berRow('long length on four octets', 'The most that is read.', '30 84 00000003 020101', '3003 020101'),
    berRow('long length of a primitive', 'Inside a DER element.', '3004 02810101', '3003 020101'),
    berRow('indefinite length', '§8.1.3.6.', '3080 020101 0000', '3003 020101'),
    berRow(
      'indefinite in indefinite',
      'Two ends in a row.',
      '3080 3080 020101 0000 0000',
      '3005 3003 020101',
    ),
    berRow(
      'indefinite in definite',
      'The outer length counts the end-of-contents octets.',
      '3007 3080 020101 0000',
      '3005 3003 020101',
    ),
    berRow('nothing inside', 'An empty SEQUENCE.', '3080 0000', '3000'),
    berRow('OCTET STRING in pieces', '§8.7.3.', '2480 040101 040102 0000', '04020102'),
    berRow(
      'OCTET STRING in pieces, definite',
      'A constructed string is not DER even so.',
      '2406 040101 040102',
      '04020102',
    ),
    berRow(
      'pieces in pieces',
      '§8.7.3.2 allows it.',
      '2480 2480 040101 0000 2403 040102 0400 0000',
      '04020102',
    ),
    berRow('no pieces', 'The empty string.', '2480 0000', '0400'),
    berRow(
      'zeros inside a primitive',
      'They are content and end nothing.',
      '3080 04020000 0000',
      '3004 04020000',
    ),
    berError('end missing', '§8.1.5.', '3080 020101', 'der_malformed'),
    berError('half an end', 'One zero octet.', '3080 020101 00', 'der_malformed'),
    berError(
      'an end that nobody waits for',
      'Inside a definite length, 0000 is no element.',
      '3005 020101 0000',
      'der_malformed',
    ),
    berError(
      'an end of wrong length',
      '§8.1.5: 00 01 is neither end nor element.',
      '3080 0001ff 0000',
      'der_malformed',
    ),
    berError('an end of one octet too many', '§8.1.5: its length is zero.', '3080 0001', 'der_malformed'),
    berError(
      'indefinite primitive with an element in it',
      '§8.1.3.2: only constructed encodings may be.',
      '0480 040101 0000',
      'der_malformed',
    ),
    berError(
      'indefinite primitive',
      '§8.1.3.2: only constructed encodings may be.',
      '0480 01 0000',
      'der_malformed',
    ),
    berError('a piece that is no OCTET STRING', '§8.7.3.2.', '2480 020101 0000', 'der_malformed'),
    berError(
      'a length of five octets',
      'No message is that long.',
      '30 85 0000000003 020101',
      'der_malformed',
    ),
    berError('the reserved length', '§8.1.3.5: FF is not used.', '30ff 020101', 'der_malformed'),
    berError('longer than the rest', 'Truncated.', '3004 020101', 'der_malformed'),
    berError(
      'longer than its holder',
      'The outer element ends first.',
      '3003 02040101 0101',
      'der_malformed',
    ),
    berError('a multi-octet tag', '§8.1.2.4: nothing here has one.', '3f8101 00', 'der_malformed'),
    berError('two elements', 'One was asked for.', '3000 3000', 'der_malformed'),
    berError('nothing', 'Not even a tag.', '', 'der_malformed'),
  ],
};

const nameRow = (name: string, comment: string, der: Octets, text: string): Vector => ({
  name,
  comment,
  hex: hex(der),
  result: { text },
});
const nameError = (name: string, comment: string, der: Octets): Vector => ({
  name,
  comment,
  hex: hex(der),
  error: 'der_malformed',
});

const names: VectorFile = {
  comment: 'Names and the text that RFC 4514 gives them.',
  source: `${own} The first four are the cases of RFC 4514 §4 that concern strings.`,
  rfc: 'RFC 5280 §4.1.2.4, RFC 4514 §2',
  kind: 'name',
  vectors: [
    nameRow(
      'multi-valued RDN',
      'Attributes of one RDN are joined by +.',
      seq(set(seq(type.ou, utf8('Sales')), seq(type.cn, utf8('J.  Smith')))),
      'OU=Sales+CN=J.  Smith',
    ),
    nameRow(
      'escaped specials',
      'Comma, plus, quote, backslash, angle brackets, semicolon.',
      seq(rdn(type.cn, utf8('James "Jim" Smith, III+;<>\\'))),
      'CN=James \\"Jim\\" Smith\\, III\\+\\;\\<\\>\\\\',
    ),
    nameRow(
      'a control character',
      'A carriage return becomes a hexadecimal pair.',
      seq(rdn(type.cn, utf8('Before\rAfter'))),
      'CN=Before\\0dAfter',
    ),
    nameRow('beyond ASCII', 'UTF-8 stays as it is.', seq(rdn(type.cn, utf8('Lučić'))), 'CN=Lučić'),
    nameRow(
      'spaces and number sign',
      'Escaped where they would be lost.',
      seq(rdn(type.ou, utf8('#1')), rdn(type.cn, utf8('  a  '))),
      'CN=\\  a \\ ,OU=\\#1',
    ),
    nameRow(
      'one space',
      'Both at the beginning and at the end: escaped once.',
      seq(rdn(type.cn, utf8(' '))),
      'CN=\\ ',
    ),
    nameRow(
      'an unknown attribute',
      'Its identifier stands for it.',
      seq(rdn(octets('06032a0304'), utf8('x'))),
      '1.2.3.4=x',
    ),
    nameRow('the empty name', '§4.1.2.6 allows it for subjects.', seq(), ''),
    nameRow(
      'a byte order mark',
      'It is a character of the value like any other.',
      seq(rdn(type.cn, utf8('\uFEFFa'))),
      'CN=\uFEFFa',
    ),
    nameError('an empty RDN', 'SET SIZE (1..MAX).', seq(set())),
    nameError('UTF-8 cut off', 'RFC 3629.', seq(rdn(type.cn, octets('0c01c3')))),
    nameError(
      'UTF-8 in overlong form',
      'RFC 3629 §3: C0 AF is not a slash.',
      seq(rdn(type.cn, octets('0c02c0af'))),
    ),
    nameError('a surrogate in UTF-8', 'RFC 3629 §3.', seq(rdn(type.cn, octets('0c03eda080')))),
    nameError(
      'half a BMPString character',
      'X.690 §8.23.8: two octets each.',
      seq(rdn(type.cn, octets('1e03004100'))),
    ),
    nameError('half a surrogate pair', 'It is no character.', seq(rdn(type.cn, octets('1e02d800')))),
    nameError('a PrintableString that is not ASCII', 'X.680 §41.4.', seq(rdn(type.cn, octets('1301e9')))),
    nameError('a value that is no string', 'An INTEGER.', seq(rdn(type.cn, int('01')))),
    nameError(
      'a value too many',
      'AttributeTypeAndValue has two fields.',
      seq(set(seq(type.cn, utf8('a'), utf8('b')))),
    ),
    nameError('a missing value', 'AttributeTypeAndValue has two fields.', seq(set(seq(type.cn)))),
    nameError('an identifier padded with 80', 'X.690 §8.19.2.', seq(rdn(octets('060455048003'), utf8('a')))),
  ],
};

/** Every vector file by its name. */
export const vectorFiles: Readonly<Record<string, VectorFile>> = {
  'ber.json': ber,
  'certificate.json': certificates,
  'certification-request.json': requests,
  'enveloped-data.json': enveloped,
  'name.json': names,
  'signed-data.json': signed,
};

/** The text of a vector file. */
export const textOf = (file: VectorFile): string => `${JSON.stringify(file, null, 2)}\n`;

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  for (const [name, file] of Object.entries(vectorFiles)) writeFileSync(new URL(name, folder), textOf(file));
}
