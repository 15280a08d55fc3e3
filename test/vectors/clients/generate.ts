/**
 * Makes the exchanges beside it: `node test/vectors/clients/generate.ts` writes them again, octet for octet the same.
 *
 * Each is what a client sends over its connection, as the named source describes it, and what it needs for an answer.
 * None was captured from a device. Encoding is done with the few lines of the codec's generator, never with src.
 */
import { constants, createPrivateKey, createPublicKey, publicEncrypt, sign } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import {
  aes256,
  algorithm,
  attribute,
  bits,
  bmp,
  chance,
  cipherText,
  concat,
  criticalExtension,
  des,
  des3,
  digestOf,
  extension,
  int,
  nul,
  oaepBlock,
  type Octets,
  octetString,
  octets,
  open,
  pieces,
  pkcs1Block,
  printable,
  raIssuerAndSerial,
  rdn,
  seq,
  set,
  setOf,
  tlv,
  type,
  utcTime,
  utf8,
} from '../codec/generate.ts';

const folder = new URL('./', import.meta.url);
type KeyName = 'device' | 'throwAway' | 'ra' | 'old' | 'issuing';
const keys: Record<KeyName, string> = JSON.parse(readFileSync(new URL('keys.json', folder), 'utf8'));

/** The challenge in every request: the secret of the endpoint that the exchanges go to. */
export const CHALLENGE = 'correct-horse-battery-staple';
/** Where that endpoint is: at NDES's paths and at one of its own. */
export const PATHS = ['/certsrv/mscep/mscep.dll', '/certsrv/mscep', '/cgi-bin/pkiclient.exe', '/scep'] as const;
const [NDES, NDES_FOLDER, CGI, SCEP] = PATHS;

const spkiOf = (name: KeyName): Octets => createPublicKey(keys[name]).export({ format: 'der', type: 'spki' });
const keyIdentifierOf = (name: KeyName): Octets => digestOf('sha1', spkiOf(name).subarray(24));
const signWith = (name: KeyName, digest: string, data: Octets): Octets =>
  sign(digest, data, createPrivateKey(keys[name]));

// --- requests -------------------------------------------------------------------------------------------------------

const nameOf = (...parts: Octets[]): Octets => seq(...parts);
const commonName = (text: string): Octets => rdn(type.cn, utf8(text));
const challenge = attribute(type.challengePassword, printable(CHALLENGE));
const sidExtension = extension(
  octets('06092b0601040182371902'),
  octets(
    '3040a03e060a2b060104018237190201a030042e532d312d352d32312d313131313131313131312d323232323232323232322d333333333333333333332d31313034',
  ),
);
const nameValuePair = (name: string, value: string): Octets =>
  attribute(type.microsoftNameValuePair, seq(bmp(name), bmp(value)));

interface RequestParts {
  readonly subject: Octets;
  readonly attributes: readonly Octets[];
  readonly digest?: 'sha1' | 'sha256';
}

/** A certification request of the device's key. */
function request({ subject, attributes, digest = 'sha256' }: RequestParts): Octets {
  const info = seq(int('00'), subject, spkiOf('device'), tlv(0xa0, ...attributes));
  const signature = digest === 'sha1' ? algorithm.sha1WithRSA : algorithm.sha256WithRSA;
  return seq(info, signature, bits(signWith('device', digest, info)));
}

// --- signers --------------------------------------------------------------------------------------------------------

interface Signer {
  readonly key: KeyName;
  readonly certificate: Octets;
  readonly issuerAndSerialNumber: Octets;
}

interface SignerParts {
  readonly key: KeyName;
  readonly subject: Octets;
  readonly serial: string;
  readonly digest?: 'sha1' | 'sha256';
  readonly validity?: Octets;
  readonly extensions?: readonly Octets[];
}

/** A self-signed certificate. */
function selfSigned(parts: SignerParts): Signer {
  const { key, subject, digest = 'sha256', extensions = [] } = parts;
  const serial = int(parts.serial);
  const signature = digest === 'sha1' ? algorithm.sha1WithRSA : algorithm.sha256WithRSA;
  const tbs = seq(
    octets('a003020102'),
    serial,
    signature,
    subject,
    parts.validity ?? seq(utcTime('261101000000Z'), utcTime('271101000000Z')),
    subject,
    spkiOf(key),
    ...(extensions.length === 0 ? [] : [tlv(0xa3, seq(...extensions))]),
  );
  return {
    key,
    certificate: seq(tbs, signature, bits(signWith(key, digest, tbs))),
    issuerAndSerialNumber: seq(subject, serial),
  };
}

const windowsSigner = selfSigned({
  key: 'throwAway',
  subject: nameOf(rdn(type.cn, printable('SCEP Protocol Certificate'))),
  serial: '3d1c0f5a9b2e4c7786a1d2e3f4051627',
  digest: 'sha1',
  extensions: [
    extension(type.ski, octetString(keyIdentifierOf('throwAway'))),
    criticalExtension(type.aki, seq(tlv(0x80, keyIdentifierOf('throwAway')))),
  ],
});

/** The subject of the CA that has issued what is renewed: the endpoint's. */
const issuingCa = seq(rdn(type.o, utf8('Test')), rdn(type.cn, utf8('Test Issuing CA')));

/** A certificate that the CA has issued, for decades, so that the exchanges do not age; and who signs under it. */
function issued(parts: Omit<SignerParts, 'digest' | 'extensions'>): Signer {
  const { key, subject, validity = seq(utcTime('250101000000Z'), utcTime('491231235959Z')) } = parts;
  const serial = int(parts.serial);
  const tbs = seq(
    octets('a003020102'),
    serial,
    algorithm.sha256WithRSA,
    issuingCa,
    validity,
    subject,
    spkiOf(key),
    tlv(
      0xa3,
      seq(
        criticalExtension(type.keyUsage, octets('03020780')),
        extension(type.eku, seq(type.clientAuth)),
        extension(type.ski, octetString(keyIdentifierOf(key))),
        extension(type.aki, seq(tlv(0x80, keyIdentifierOf('issuing')))),
      ),
    ),
  );
  return {
    key,
    certificate: seq(tbs, algorithm.sha256WithRSA, bits(signWith('issuing', 'sha256', tbs))),
    issuerAndSerialNumber: seq(issuingCa, serial),
  };
}

const deviceSigner = selfSigned({ key: 'device', subject: nameOf(commonName('device-1')), serial: '01' });

// --- CMS ------------------------------------------------------------------------------------------------------------

const sha256 = seq(octets('0609608648016503040201'), nul);
const digests = { sha1: algorithm.sha1, sha256, sha512: algorithm.sha512 } as const;
const contentCiphers = {
  'aes-128-cbc': { identifier: octets('0609608648016503040102'), keyBytes: 16, ivBytes: 16 },
  'aes-256-cbc': { identifier: aes256, keyBytes: 32, ivBytes: 16 },
  'des-ede3-cbc': { identifier: des3, keyBytes: 24, ivBytes: 8 },
  'des-cbc': { identifier: des, keyBytes: 8, ivBytes: 8 },
} as const;

const oaepSha1 = seq(octets('06092a864886f70d010107'), seq());
const oaepSha256 = seq(
  octets('06092a864886f70d010107'),
  seq(tlv(0xa0, sha256), tlv(0xa1, seq(octets('06092a864886f70d010108'), sha256))),
);

interface MessageParts {
  /** Names the message: it is its transactionID too, unless told otherwise, and its randomness. */
  readonly label: string;
  readonly csr: Octets;
  readonly signer?: Signer;
  readonly digest?: keyof typeof digests;
  readonly cipher?: keyof typeof contentCiphers;
  readonly transport?: 'pkcs1v15' | 'oaepSha1' | 'oaepSha256';
  /** RecipientIdentifier; the RA's issuer and serial number unless told otherwise. */
  readonly rid?: Octets;
  readonly nonceBytes?: number;
  readonly transactionID?: Octets;
  readonly messageType?: Octets;
  /** `apple`: indefinite lengths and pieces throughout. `outer`: of the outermost ContentInfo alone. */
  readonly encoding?: 'der' | 'apple' | 'outer';
  readonly moreAttributes?: readonly Octets[];
}

const rawRsa = (block: Octets): Octets =>
  publicEncrypt({ key: keys.ra, padding: constants.RSA_NO_PADDING }, block);

function envelopeOf(parts: MessageParts): Octets {
  const { label, csr, cipher = 'aes-128-cbc', transport = 'pkcs1v15', rid = raIssuerAndSerial } = parts;
  const { identifier, keyBytes, ivBytes } = contentCiphers[cipher];
  const key = chance(`${label} key`, keyBytes);
  const iv = chance(`${label} iv`, ivBytes);
  const block =
    transport === 'pkcs1v15'
      ? pkcs1Block(label, key)
      : oaepBlock(label, key, transport === 'oaepSha1' ? 'sha1' : 'sha256', transport === 'oaepSha1' ? 'sha1' : 'sha256');
  const transportIdentifier =
    transport === 'pkcs1v15' ? algorithm.rsaEncryption : transport === 'oaepSha1' ? oaepSha1 : oaepSha256;
  const recipient = seq(int(rid[0] === 0x80 ? '02' : '00'), rid, transportIdentifier, octetString(rawRsa(block)));
  const encrypted = cipherText(cipher, key, iv, csr);
  const cipherIdentifier = seq(identifier, octetString(iv));
  if (parts.encoding !== 'apple') {
    const content = seq(type.data, cipherIdentifier, tlv(0x80, encrypted));
    return seq(type.envelopedData, tlv(0xa0, seq(int('00'), set(recipient), content)));
  }
  const content = open(0x30, type.data, cipherIdentifier, open(0xa0, ...pieces(encrypted, 400)));
  return open(0x30, type.envelopedData, open(0xa0, open(0x30, int('00'), set(recipient), content)));
}

/** A PKIMessage. */
function message(parts: MessageParts): Octets {
  const { label, signer = deviceSigner, digest = 'sha256', nonceBytes = 16 } = parts;
  const content = envelopeOf(parts);
  const attributes = setOf(
    attribute(type.contentType, type.data),
    attribute(type.messageDigest, octetString(digestOf(digest, content))),
    attribute(type.messageType, parts.messageType ?? printable('19')),
    attribute(type.transactionID, parts.transactionID ?? printable(label)),
    ...(nonceBytes === 0 ? [] : [attribute(type.senderNonce, octetString(nonceOf(label, nonceBytes)))]),
    ...(parts.moreAttributes ?? []),
  );
  const tagged = Uint8Array.from(attributes);
  tagged[0] = 0xa0;
  const info = seq(
    int('01'),
    signer.issuerAndSerialNumber,
    digests[digest],
    tagged,
    algorithm.rsaEncryption,
    octetString(signWith(signer.key, digest, attributes)),
  );
  if (parts.encoding === 'apple') {
    const inner = open(
      0x30,
      int('01'),
      set(digests[digest]),
      open(0x30, type.data, open(0xa0, open(0x24, ...pieces(content, 1000)))),
      open(0xa0, signer.certificate),
      set(info),
    );
    return open(0x30, type.signedData, open(0xa0, inner));
  }
  const inner = seq(
    int('01'),
    set(digests[digest]),
    seq(type.data, tlv(0xa0, octetString(content))),
    tlv(0xa0, signer.certificate),
    set(info),
  );
  return parts.encoding === 'outer'
    ? open(0x30, type.signedData, open(0xa0, inner))
    : seq(type.signedData, tlv(0xa0, inner));
}

const nonceOf = (label: string, size: number): Octets => chance(`${label} nonce`, size);

// --- HTTP -----------------------------------------------------------------------------------------------------------

/** One exchange: what is sent, and what must come back. */
export interface Exchange {
  readonly name: string;
  readonly comment: string;
  /** Where the behaviour is described. */
  readonly source: string;
  readonly rfc: string;
  /** The source file whose QUIRK names this exchange; absent if nothing special is done for it. */
  readonly quirk?: string;
  /** Request line and header, each line ended by CR LF, and an empty line. */
  readonly head: string;
  readonly body?: string;
  readonly answer: ExchangeAnswer;
  /** What `leafgate scep decode` finds in the message beside notes; absent if there is no message. */
  readonly findings?: readonly string[];
}

/** What the client needs. What is not named is not asked, except that the length is always known. */
export interface ExchangeAnswer {
  readonly status: number;
  readonly contentType: string;
  /** Parts that a text has. */
  readonly text?: readonly string[];
  readonly pkiStatus?: 'SUCCESS' | 'FAILURE';
  readonly failInfo?: string;
  /** Of the entry in the audit list. */
  readonly code?: string;
  /** The answer is made as the request was. */
  readonly digest?: string;
  readonly cipher?: string;
  readonly keyTransport?: string;
  readonly transactionID?: string;
  /** Hexadecimal; `null` if the answer must have none. */
  readonly recipientNonce?: string | null;
  readonly subject?: string;
  /** Extensions that the certificate must not have. */
  readonly without?: readonly string[];
}

/** One file of exchanges. */
export interface ExchangeFile {
  readonly comment: string;
  readonly source: string;
  readonly kind: 'exchange';
  readonly vectors: readonly Exchange[];
}

const base64 = (bytes: Octets): string => Buffer.from(bytes).toString('base64');
const hexOf = (bytes: Octets): string => Buffer.from(bytes).toString('hex');
const headOf = (line: string, ...headers: string[]): string => `${[line, ...headers].join('\r\n')}\r\n\r\n`;
const CLOSE = 'Connection: close';
const HOST = 'Host: scep.test';

function get(target: string, ...headers: string[]): Pick<Exchange, 'head'> {
  return { head: headOf(`GET ${target} HTTP/1.1`, HOST, ...headers, CLOSE) };
}

function post(target: string, body: Octets, ...headers: string[]): Pick<Exchange, 'head' | 'body'> {
  return {
    head: headOf(`POST ${target} HTTP/1.1`, HOST, ...headers, `Content-Length: ${body.length}`, CLOSE),
    body: base64(body),
  };
}

const pkiType = 'Content-Type: application/x-pki-message';

interface SuccessParts {
  readonly label: string;
  readonly digest?: string;
  readonly cipher?: string;
  readonly keyTransport?: string;
  readonly nonceBytes?: number;
  readonly subject?: string;
  readonly without?: readonly string[];
  readonly transactionID?: string;
}

const success = (parts: SuccessParts): ExchangeAnswer => ({
  status: 200,
  contentType: 'application/x-pki-message',
  pkiStatus: 'SUCCESS',
  digest: parts.digest ?? 'sha256',
  cipher: parts.cipher ?? 'aes-128-cbc',
  keyTransport: parts.keyTransport ?? 'rsaes-pkcs1-v1_5',
  transactionID: parts.transactionID ?? parts.label,
  recipientNonce: parts.nonceBytes === 0 ? null : hexOf(nonceOf(parts.label, parts.nonceBytes ?? 16)),
  subject: parts.subject ?? 'CN=device-1',
  ...(parts.without === undefined ? {} : { without: parts.without }),
});

const failure = (label: string, failInfo: string, parts: Partial<ExchangeAnswer> = {}): ExchangeAnswer => ({
  status: 200,
  contentType: 'application/x-pki-message',
  pkiStatus: 'FAILURE',
  failInfo,
  transactionID: label,
  recipientNonce: hexOf(nonceOf(label, 16)),
  ...parts,
});

const capabilities: ExchangeAnswer = {
  status: 200,
  contentType: 'text/plain',
  text: ['AES\n', 'POSTPKIOperation\n', 'SCEPStandard\n', 'SHA-1\n', 'SHA-256\n', 'SHA-512\n', 'DES3\n'],
};
const caCertificates: ExchangeAnswer = { status: 200, contentType: 'application/x-x509-ca-ra-cert' };

const plainCsr = request({ subject: nameOf(commonName('device-1')), attributes: [challenge] });
/** The plainest message of all. */
const plain = (label: string): Octets => message({ label, csr: plainCsr });
const escaped = (bytes: Octets): string => encodeURIComponent(base64(bytes));

const own = 'Made by generate.ts after the source of each; none was captured from a device.';

// --- Windows --------------------------------------------------------------------------------------------------------

const windowsAgent = 'User-Agent: Mozilla/4.0 (compatible; Win32; NDES client)';
const windowsUrl = `${NDES}/pkiclient.exe`;
const windowsCsr = (...more: Octets[]): Octets =>
  request({
    subject: nameOf(commonName('device-1')),
    attributes: [
      attribute(type.microsoftOsVersion, tlv(0x16, Buffer.from('10.0.26100.2'))),
      challenge,
      attribute(
        type.microsoftExtensions,
        seq(criticalExtension(type.keyUsage, octets('030205a0')), extension(type.eku, seq(type.clientAuth)), ...more),
      ),
    ],
  });

const windows: ExchangeFile = {
  comment: 'Windows 10 and 11 under Intune or another MDM (dmcertinst).',
  source: own,
  kind: 'exchange',
  vectors: [
    {
      name: 'windows-getcacaps',
      comment: 'First of the three calls: `/pkiclient.exe` is appended, and message is always “default”.',
      source: 'NDES logs in public threads; packetfence#6927',
      rfc: 'RFC 8894 §3.5.1',
      ...get(`${windowsUrl}?operation=GetCACaps&message=default`, windowsAgent),
      answer: capabilities,
    },
    {
      name: 'windows-getcacert',
      comment: 'Second of the three calls.',
      source: 'NDES logs in public threads; packetfence#6927',
      rfc: 'RFC 8894 §4.2',
      ...get(`${windowsUrl}?operation=GetCACert&message=default`, windowsAgent),
      answer: caCertificates,
    },
    {
      name: 'windows-throw-away-signer',
      comment: 'QUIRK Windows: signed by a key made for this attempt alone, under a certificate by SHA-1 whose authorityKeyIdentifier is critical. Who wants signer = requester refuses every Windows.',
      source: 'SimpleSCEP documentation; failures of Go 1.23 to read the certificate (smallstep/certificates)',
      rfc: 'RFC 8894 §2.3, RFC 5280 §4.2.1.1',
      quirk: 'src/scep/server.ts',
      ...post(`${windowsUrl}?operation=PKIOperation`, message({ label: 'windows-1', csr: windowsCsr(), signer: windowsSigner }), windowsAgent, pkiType),
      answer: success({ label: 'windows-1' }),
      findings: [],
    },
    {
      name: 'windows-oaep',
      comment: 'QUIRK Windows: RSAES-OAEP with the default parameters (SHA-1), which are not encoded.',
      source: 'bcgit/bc-java#953, smallstep/certificates#1300',
      rfc: 'RFC 4055 §4.1, RFC 8017 §7.1',
      quirk: 'src/codec/algorithm.ts',
      ...post(`${windowsUrl}?operation=PKIOperation`, message({ label: 'windows-2', csr: windowsCsr(), signer: windowsSigner, transport: 'oaepSha1', cipher: 'des-ede3-cbc' }), windowsAgent, pkiType),
      answer: success({ label: 'windows-2', keyTransport: 'rsaes-oaep sha1', cipher: 'des-ede3-cbc' }),
      findings: ['des3'],
    },
    {
      name: 'windows-oaep-sha256',
      comment: 'RSAES-OAEP with SHA-256 in both places.',
      source: 'NeySlim/ultimate-ca-manager#228',
      rfc: 'RFC 4055 §4.1',
      ...post(`${windowsUrl}?operation=PKIOperation`, message({ label: 'windows-3', csr: windowsCsr(), signer: windowsSigner, transport: 'oaepSha256', cipher: 'aes-256-cbc' }), windowsAgent, pkiType),
      answer: success({ label: 'windows-3', keyTransport: 'rsaes-oaep sha256', cipher: 'aes-256-cbc' }),
      findings: [],
    },
    {
      name: 'windows-sha1',
      comment: 'A profile whose hash algorithm is SHA-1: the answer is signed by it too.',
      source: 'ClientCertificateInstall CSP, HashAlgorithm',
      rfc: 'RFC 8894 §3.5.2',
      ...post(`${windowsUrl}?operation=PKIOperation`, message({ label: 'windows-4', csr: windowsCsr(), signer: windowsSigner, digest: 'sha1' }), windowsAgent, pkiType),
      answer: success({ label: 'windows-4', digest: 'sha1' }),
      findings: ['sha1'],
    },
    {
      name: 'windows-get',
      comment: 'By GET, as it does where POST is not offered; every reserved character escaped.',
      source: 'Microsoft, URL limits of IIS for NDES',
      rfc: 'RFC 8894 §4.1',
      ...get(`${windowsUrl}?operation=PKIOperation&message=${escaped(message({ label: 'windows-5', csr: windowsCsr(), signer: windowsSigner }))}`, windowsAgent),
      answer: success({ label: 'windows-5' }),
      findings: [],
    },
    {
      name: 'windows-wrong-path',
      comment: 'A path that is none of ours: Windows shows 0x80190194 for the status, and 0x800700ce for a page of HTML.',
      source: 'micromdm/scep#238; SimpleSCEP documentation',
      rfc: 'RFC 9110 §15.5.5',
      ...get('/certsrv/mscep_admin/?operation=GetCACaps&message=default', windowsAgent),
      answer: { status: 404, contentType: 'text/plain', text: ['not found\n'] },
    },
    {
      name: 'windows-own-sid',
      comment: 'A request that names a SID for itself: Intune does not compare it, so it must not come into the certificate.',
      source: 'D. Mollema 2025; SCEPman on SID spoofing',
      rfc: 'MS-WCCE §2.2.2.7.7.4',
      ...post(`${windowsUrl}?operation=PKIOperation`, message({ label: 'windows-6', csr: windowsCsr(sidExtension), signer: windowsSigner }), windowsAgent, pkiType),
      answer: success({ label: 'windows-6', without: ['1.3.6.1.4.1.311.25.2'] }),
      findings: [],
    },
  ],
};

// --- Apple ----------------------------------------------------------------------------------------------------------

const appleAgent = 'User-Agent: profiled/1.0 CFNetwork/1494.0.7 Darwin/23.4.0';
const appleSigner = selfSigned({ key: 'device', subject: nameOf(commonName('iPad 7')), serial: '01' });
const appleCsr = request({
  subject: nameOf(rdn(type.o, utf8('Example Lab')), commonName('iPad 7')),
  attributes: [challenge, attribute(type.extensionRequest, seq(criticalExtension(type.keyUsage, octets('030205a0'))))],
});
const appleParts = { csr: appleCsr, signer: appleSigner, digest: 'sha512', cipher: 'des-ede3-cbc' } as const;
const appleSuccess = (label: string) =>
  success({ label, digest: 'sha512', cipher: 'des-ede3-cbc', subject: 'CN=iPad 7,O=Example Lab' });

const apple: ExchangeFile = {
  comment: 'iOS, iPadOS and macOS (profiled, mdmclient).',
  source: own,
  kind: 'exchange',
  vectors: [
    {
      name: 'apple-getcacert',
      comment: 'First of the three calls; message is the Name of the payload, which Intune sets to “SCEP Authority”.',
      source: 'Apple, com.apple.security.scep; server logs in public threads',
      rfc: 'RFC 8894 §4.2',
      ...get(`${NDES}?operation=GetCACert&message=SCEP%20Authority`, appleAgent),
      answer: caCertificates,
    },
    {
      name: 'apple-getcacaps',
      comment: 'Needs a digest and a cipher that it knows, or says “does not have the required capability”.',
      source: 'micromdm/scep#23, smallstep/certificates#2405',
      rfc: 'RFC 8894 §3.5',
      ...get(`${NDES}?operation=GetCACaps&message=SCEP%20Authority`, appleAgent),
      answer: capabilities,
    },
    {
      name: 'apple-ber',
      comment: 'QUIRK Apple: BER with indefinite lengths, and OCTET STRINGs in pieces, down to the encrypted content; SHA-512, triple DES.',
      source: 'Microsoft’s published description of an iOS message; micromdm/scep#79, #105',
      rfc: 'RFC 5652 §2, X.690 §8.1.3.6, §8.7.3',
      quirk: 'src/codec/cms.ts',
      ...post(`${NDES}?operation=PKIOperation`, message({ label: 'apple-1', encoding: 'apple', ...appleParts }), appleAgent, pkiType),
      answer: appleSuccess('apple-1'),
      findings: ['des3'],
    },
    {
      name: 'apple-unescaped-base64',
      comment: 'QUIRK Apple: by GET, `+` and `/` as they are and only `=` escaped: a form decoder would make spaces of `+`.',
      source: 'smallstep/certificates#1570',
      rfc: 'RFC 8894 §4.1, RFC 3986 §2.2',
      quirk: 'src/scep/transport.ts',
      ...get(`${NDES}?operation=PKIOperation&message=${base64(message({ label: 'apple-2', encoding: 'apple', ...appleParts })).replaceAll('=', '%3D')}`, appleAgent),
      answer: appleSuccess('apple-2'),
      findings: ['des3'],
    },
    {
      name: 'apple-leaf-alone',
      comment: 'QUIRK Apple: pairs its key with the first certificate of the answer; anything else there is “mismatching public keys” (22008).',
      source: 'NeySlim/ultimate-ca-manager#228',
      rfc: 'RFC 8894 §3.3.2.1',
      quirk: 'src/scep/server.ts',
      ...post(`${NDES}?operation=PKIOperation`, message({ label: 'apple-3', csr: appleCsr, signer: appleSigner }), appleAgent, pkiType),
      answer: success({ label: 'apple-3', subject: 'CN=iPad 7,O=Example Lab' }),
      findings: [],
    },
  ],
};

// --- Android --------------------------------------------------------------------------------------------------------

const androidAgent = 'User-Agent: Dalvik/2.1.0 (Linux; U; Android 15)';
const androidSigner = selfSigned({ key: 'device', subject: nameOf(commonName('user')), serial: '01' });
const androidTransaction = '9f2c4e6b8d0a1c3e5f7092b4d6f8a0c2e4160837';
const android: ExchangeFile = {
  comment: 'Android under Intune (Company Portal, built on jscep).',
  source: own,
  kind: 'exchange',
  vectors: [
    {
      name: 'android-getcacert',
      comment: 'message is “ca”.',
      source: 'server logs in public threads',
      rfc: 'RFC 8894 §4.2',
      ...get(`${NDES}?operation=GetCACert&message=ca`, androidAgent),
      answer: caCertificates,
    },
    {
      name: 'android-swapped-validity',
      comment: 'QUIRK Android: wishes for a validity in Microsoft’s attribute, with name and value in each other’s place. The template’s validity counts.',
      source: 'microsoft/Intune-Resource-Access#162',
      rfc: 'MS-WCCE §2.2.2.7.10',
      quirk: 'src/scep/explain/message.ts',
      ...post(
        `${NDES}?operation=PKIOperation`,
        message({
          label: 'android-1',
          csr: request({
            subject: nameOf(commonName('device-1')),
            attributes: [challenge, nameValuePair('Years', 'ValidityPeriod'), nameValuePair('10', 'ValidityPeriodUnits')],
          }),
          signer: androidSigner,
          transactionID: printable(androidTransaction),
        }),
        androidAgent,
        pkiType,
      ),
      answer: success({ label: 'android-1', transactionID: androidTransaction }),
      findings: [],
    },
    {
      name: 'android-validity-in-order',
      comment: 'The same wish as Windows writes it: ten years are not given either.',
      source: 'MS-WCCE; protocol observations of Windows',
      rfc: 'MS-WCCE §2.2.2.7.10',
      ...post(
        `${NDES}?operation=PKIOperation`,
        message({
          label: 'android-2',
          csr: request({
            subject: nameOf(commonName('device-1')),
            attributes: [challenge, nameValuePair('ValidityPeriod', 'Years'), nameValuePair('ValidityPeriodUnits', '10')],
          }),
          signer: androidSigner,
        }),
        androidAgent,
        pkiType,
      ),
      answer: success({ label: 'android-2' }),
      findings: [],
    },
    {
      name: 'android-dates-of-signer',
      comment: 'A signer whose notAfter is before its notBefore: its own dates prove nothing and are not asked.',
      source: 'embedded clients without a clock',
      rfc: 'RFC 8894 §2.3',
      ...post(
        `${NDES}?operation=PKIOperation`,
        message({
          label: 'android-3',
          csr: plainCsr,
          signer: selfSigned({
            key: 'device',
            subject: nameOf(commonName('user')),
            serial: '01',
            validity: seq(utcTime('271101000000Z'), utcTime('261101000000Z')),
          }),
        }),
        androidAgent,
        pkiType,
      ),
      answer: success({ label: 'android-3' }),
      findings: ['validityOrder'],
    },
  ],
};

// --- HTTP -----------------------------------------------------------------------------------------------------------

const spaced = (bytes: Octets): string => base64(bytes).replaceAll('+', '%20').replaceAll('=', '%3D');
const inLines = (text: string): string => (text.match(/.{1,64}/g) ?? []).join('%0A');
const http: ExchangeFile = {
  comment: 'What clients, and what stands between them and the server, do to HTTP.',
  source: own,
  kind: 'exchange',
  vectors: [
    {
      name: 'http-1.0-getcacaps',
      comment: 'HTTP/1.0 without Host: the answer has a length and no chunks.',
      source: 'OpenXPKI documentation',
      rfc: 'RFC 9112 §2.5',
      head: headOf(`GET ${CGI}?operation=GetCACaps HTTP/1.0`),
      answer: capabilities,
    },
    {
      name: 'http-1.0-enrol',
      comment: 'HTTP/1.0 without Host, POST.',
      source: 'OpenXPKI documentation',
      rfc: 'RFC 9112 §2.5',
      head: headOf(`POST ${CGI}?operation=PKIOperation HTTP/1.0`, `Content-Length: ${plain('http-1').length}`),
      body: base64(plain('http-1')),
      answer: success({ label: 'http-1' }),
      findings: [],
    },
    {
      name: 'operation-in-lower-case',
      comment: 'The operation, and its parameter, in another case.',
      source: 'SCEPman 3.0.1639 reverted strict checks',
      rfc: 'RFC 8894 §4.1',
      ...get(`${SCEP}?OPERATION=getcacert&Message=x`),
      answer: caCertificates,
    },
    {
      name: 'trailing-slash',
      comment: 'A slash after the path.',
      source: 'NDES’s virtual directory',
      rfc: 'RFC 8894 §4.1',
      ...get(`${NDES_FOLDER}/?operation=GetCACaps`),
      answer: capabilities,
    },
    {
      name: 'path-in-another-case',
      comment: 'Paths of NDES are written in many ways.',
      source: 'micromdm/scep#238',
      rfc: 'RFC 8894 §4.1',
      ...get('/CertSrv/MSCEP/mscep.dll/PKIClient.exe?operation=GetCACaps&message=default'),
      answer: capabilities,
    },
    {
      name: 'pkiclient-below-any-path',
      comment: 'Cisco and Windows append a segment to whatever URL they were given.',
      source: 'smallstep/certificates#843, #846',
      rfc: 'RFC 8894 §4.1',
      ...get(`${SCEP}/pkiclient.exe?operation=GetCACaps`),
      answer: capabilities,
    },
    {
      name: 'more-parameters',
      comment: 'Parameters that SCEP does not have, before and after, and operation twice.',
      source: 'sscep `-M`; SCEPman 3.0.1639',
      rfc: 'RFC 8894 §4.1',
      ...get(`${SCEP}?hostname=a%20b&operation=PKIOperation&x=&message=${escaped(plain('http-2'))}&operation=GetCACaps&=`),
      answer: success({ label: 'http-2' }),
      findings: [],
    },
    {
      name: 'empty-message',
      comment: 'message without a value, and none at all, ask for the same.',
      source: 'micromdm/scep#155',
      rfc: 'RFC 8894 §3.5.1',
      ...get(`${SCEP}?operation=GetCACaps&message=`),
      answer: capabilities,
    },
    {
      name: 'plus-as-space',
      comment: 'QUIRK proxies: decode the query as a form, so that each `+` arrives as a space.',
      source: 'smallstep/certificates#1570',
      rfc: 'RFC 8894 §4.1',
      quirk: 'src/scep/transport.ts',
      ...get(`${SCEP}?operation=PKIOperation&message=${spaced(plain('http-3'))}`),
      answer: success({ label: 'http-3' }),
      findings: ['plusAsSpace'],
    },
    {
      name: 'padding-missing',
      comment: 'QUIRK Cisco: base64 without its padding, `+` and `/` as they are.',
      source: 'smallstep/certificates#916, #2100',
      rfc: 'RFC 4648 §3.2',
      quirk: 'src/scep/transport.ts',
      ...get(`${CGI}?operation=PKIOperation&message=${base64(plain('http-4')).replace(/=+$/, '')}`),
      answer: success({ label: 'http-4' }),
      findings: [],
    },
    {
      name: 'base64url',
      comment: 'The URL-safe alphabet, which the RFC rules out.',
      source: 'RFC 8894 §4.1 warns of it',
      rfc: 'RFC 8894 §4.1',
      ...get(`${SCEP}?operation=PKIOperation&message=${Buffer.from(plain('http-5')).toString('base64url')}`),
      answer: success({ label: 'http-5' }),
      findings: ['base64Url'],
    },
    {
      name: 'base64-in-lines',
      comment: 'QUIRK strongSwan: a line break, escaped, after every 64 characters; of the rest only `+` is escaped.',
      source: 'strongSwan, src/pki/scep/scep.c (escape_http_request)',
      rfc: 'RFC 4648 §3.1',
      quirk: 'src/scep/transport.ts',
      ...get(`${SCEP}?operation=PKIOperation&message=${inLines(base64(plain('http-6'))).replaceAll('+', '%2B')}`),
      answer: success({ label: 'http-6' }),
      findings: [],
    },
    {
      name: 'escaped-twice',
      comment: 'QUIRK proxies: escape a query that is escaped already. IIS has a setting for it (allowDoubleEscaping), which NDES switches on.',
      source: 'NDES’s request filtering',
      rfc: 'RFC 3986 §2.4',
      quirk: 'src/scep/transport.ts',
      ...get(`${NDES}?operation=PKIOperation&message=${encodeURIComponent(escaped(plain('http-7')))}`),
      answer: success({ label: 'http-7' }),
      findings: ['doubleEscaped'],
    },
    {
      name: 'message-cut-off',
      comment: 'A URL that a proxy cut: no answer of the protocol can be built, and HTTP says so.',
      source: 'RFC 8894 §4.1 on truncated messages',
      rfc: 'RFC 8894 §4.1',
      ...get(`${SCEP}?operation=PKIOperation&message=${escaped(plain('http-8')).slice(0, 2048)}`),
      answer: { status: 400, contentType: 'text/plain', text: ['no PKIMessage could be read from the request\n'] },
      findings: ['base64Broken', 'certificateUnreadable', 'cmsUnreadable', 'cut'],
    },
    {
      name: 'post-without-operation',
      comment: 'With POST only one operation is possible, and some clients leave it out.',
      source: 'RFC 8894 §4.3',
      rfc: 'RFC 8894 §4.3',
      ...post(SCEP, plain('http-9'), pkiType),
      answer: success({ label: 'http-9' }),
      findings: [],
    },
    {
      name: 'post-without-body',
      comment: 'What old releases of macOS send after a redirect: no message at all.',
      source: 'micromdm/micromdm#436, micromdm/scep#155',
      rfc: 'RFC 8894 §4.3',
      ...post(`${SCEP}?operation=PKIOperation`, octets(''), pkiType),
      answer: { status: 400, contentType: 'text/plain', text: ['no PKIMessage could be read from the request\n'] },
    },
    {
      name: 'expect-continue',
      comment: 'curl asks before it sends a body of more than 1024 octets.',
      source: 'scripts around curl; strongSwan removes the field for servers that cannot',
      rfc: 'RFC 9110 §10.1.1',
      ...post(`${SCEP}?operation=PKIOperation`, plain('http-14'), pkiType, 'Expect: 100-continue'),
      answer: success({ label: 'http-14' }),
      findings: [],
    },
    {
      name: 'content-type-of-a-form',
      comment: 'The content type of curl’s default.',
      source: 'scripts around curl',
      rfc: 'RFC 8894 §4.3',
      ...post(`${SCEP}?operation=PKIOperation`, plain('http-10'), 'Content-Type: application/x-www-form-urlencoded'),
      answer: success({ label: 'http-10' }),
      findings: [],
    },
    {
      name: 'content-type-of-nonsense',
      comment: 'A content type that is none.',
      source: 'embedded clients',
      rfc: 'RFC 8894 §4.3',
      ...post(`${SCEP}?operation=PKIOperation`, plain('http-11'), 'Content-Type: pkimessage;;='),
      answer: success({ label: 'http-11' }),
      findings: [],
    },
    {
      name: 'content-type-missing',
      comment: 'strongSwan sends none.',
      source: 'strongSwan, src/pki/scep/scep.c',
      rfc: 'RFC 8894 §4.3',
      ...post(`${SCEP}?operation=PKIOperation`, plain('http-12')),
      answer: success({ label: 'http-12' }),
      findings: [],
    },
    {
      name: 'chunked-body',
      comment: 'A body in chunks, as embedded clients and some proxies send it.',
      source: 'NeySlim/ultimate-ca-manager, its list of embedded clients',
      rfc: 'RFC 9112 §7.1',
      head: headOf(`POST ${SCEP}?operation=PKIOperation HTTP/1.1`, HOST, pkiType, 'Transfer-Encoding: chunked', CLOSE),
      body: base64(
        concat(
          ...[0, 1, 2, 3].map((part) => {
            const whole = plain('http-13');
            const size = Math.ceil(whole.length / 4);
            const piece = whole.subarray(part * size, (part + 1) * size);
            return concat(Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from('\r\n'));
          }),
          Buffer.from('0\r\n\r\n'),
        ),
      ),
      answer: success({ label: 'http-13' }),
    },
    {
      name: 'visit-without-operation',
      comment: 'What administrators of NDES try in a browser: 403 is the sign that all is well.',
      source: 'Microsoft, troubleshooting of NDES for Intune',
      rfc: 'RFC 8894 §4.1',
      ...get(NDES),
      answer: { status: 403, contentType: 'text/plain', text: ['Forbidden'] },
    },
  ],
};

// --- attributes -----------------------------------------------------------------------------------------------------

const attributes: ExchangeFile = {
  comment: 'Nonces, transactionIDs and message types as small clients write them.',
  source: own,
  kind: 'exchange',
  vectors: [
    {
      name: 'nonce-of-8-octets',
      comment: 'QUIRK clients with nonces of 8 octets get them back as they are.',
      source: 'NeySlim/ultimate-ca-manager, its list of embedded clients',
      rfc: 'RFC 8894 §3.2.1.5',
      quirk: 'src/scep/server.ts',
      ...post(`${SCEP}?operation=PKIOperation`, message({ label: 'nonce-8', csr: plainCsr, nonceBytes: 8 }), pkiType),
      answer: success({ label: 'nonce-8', nonceBytes: 8 }),
      findings: [],
    },
    {
      name: 'nonce-of-32-octets',
      comment: 'The same with 32.',
      source: 'OpenXPKI mirrors the size',
      rfc: 'RFC 8894 §3.2.1.5',
      ...post(`${SCEP}?operation=PKIOperation`, message({ label: 'nonce-32', csr: plainCsr, nonceBytes: 32 }), pkiType),
      answer: success({ label: 'nonce-32', nonceBytes: 32 }),
      findings: [],
    },
    {
      name: 'nonce-missing',
      comment: 'DEVIATION RFC 8894 §3.2.1.5: without a senderNonce the answer has no recipientNonce, but a senderNonce of its own: MikroTik demands it.',
      source: 'micromdm/scep#104',
      rfc: 'RFC 8894 §3.2.1.5',
      quirk: 'src/scep/server.ts',
      ...post(`${SCEP}?operation=PKIOperation`, message({ label: 'nonce-0', csr: plainCsr, nonceBytes: 0 }), pkiType),
      answer: success({ label: 'nonce-0', nonceBytes: 0 }),
      findings: ['noSenderNonce'],
    },
    {
      name: 'nonce-of-65-octets',
      comment: 'More than anyone sends.',
      source: 'own limit',
      rfc: 'RFC 8894 §3.2.1.5',
      ...post(`${SCEP}?operation=PKIOperation`, message({ label: 'nonce-65', csr: plainCsr, nonceBytes: 65 }), pkiType),
      answer: failure('nonce-65', 'badMessageCheck', { recipientNonce: null }),
      findings: ['nonceType'],
    },
    {
      name: 'message-type-as-number',
      comment: 'An INTEGER in the place of a PrintableString: no two readers agree on it, so it means nothing.',
      source: 'CVE-2026-30836 shows what an unforeseen type may lead to',
      rfc: 'RFC 8894 §3.2.1.2',
      ...post(`${SCEP}?operation=PKIOperation`, message({ label: 'type-1', csr: plainCsr, messageType: int('13') }), pkiType),
      answer: failure('type-1', 'badMessageCheck'),
      findings: ['messageType'],
    },
    {
      name: 'message-type-in-utf8',
      comment: 'A UTF8String.',
      source: 'as above',
      rfc: 'RFC 8894 §3.2.1.2',
      ...post(`${SCEP}?operation=PKIOperation`, message({ label: 'type-2', csr: plainCsr, messageType: utf8('19') }), pkiType),
      answer: failure('type-2', 'badMessageCheck'),
      findings: ['messageType'],
    },
    {
      name: 'message-type-with-zero',
      comment: '“019”: for some readers PKCSReq, for others nothing. It never issues.',
      source: 'as above',
      rfc: 'RFC 8894 §3.2.1.2',
      ...post(`${SCEP}?operation=PKIOperation`, message({ label: 'type-3', csr: plainCsr, messageType: printable('019') }), pkiType),
      answer: failure('type-3', 'badRequest'),
      findings: ['messageType'],
    },
    {
      name: 'update-request',
      comment: 'UpdateReq of the drafts: the type by which certificates were issued without any authorisation elsewhere.',
      source: 'CVE-2026-30836 (GHSA-q4r8-xm5f-56gw)',
      rfc: 'RFC 8894 §3.2.1.2',
      ...post(`${SCEP}?operation=PKIOperation`, message({ label: 'type-4', csr: plainCsr, messageType: printable('18') }), pkiType),
      answer: failure('type-4', 'badRequest'),
      findings: ['messageTypeDraft'],
    },
    {
      name: 'transaction-in-utf8',
      comment: 'A transactionID in UTF8String comes back, as a PrintableString.',
      source: 'embedded clients',
      rfc: 'RFC 8894 §3.2.1.1',
      ...post(`${SCEP}?operation=PKIOperation`, message({ label: 'transaction-1', csr: plainCsr, transactionID: utf8('transaction-1') }), pkiType),
      answer: success({ label: 'transaction-1' }),
      findings: ['transactionIDType'],
    },
  ],
};

// --- others ---------------------------------------------------------------------------------------------------------

const ciscoName = nameOf(commonName('router.lab.test'), rdn(octets('06092a864886f70d010902'), printable('router.lab.test')));
const otherName = nameOf(rdn(type.c, utf8('CH')), rdn(type.o, printable('Example Lab')), rdn(type.cn, printable('Lab Issuing CA')));
const others: ExchangeFile = {
  comment: 'Cisco IOS, sscep, strongSwan, jscep, certmonger, scepclient and embedded clients.',
  source: own,
  kind: 'exchange',
  vectors: [
    {
      name: 'cisco-get',
      comment: 'By GET at the path of the RFC, HTTP/1.0, base64 unescaped, SHA-1 and triple DES, its names as unstructuredName.',
      source: 'smallstep/certificates#916, #2100; OpenXPKI documentation',
      rfc: 'RFC 8894 §4.1',
      head: headOf(
        `GET ${CGI}?operation=PKIOperation&message=${base64(message({ label: 'cisco-1', csr: request({ subject: ciscoName, attributes: [challenge], digest: 'sha1' }), signer: selfSigned({ key: 'device', subject: ciscoName, serial: '01', digest: 'sha1' }), digest: 'sha1', cipher: 'des-ede3-cbc' }))} HTTP/1.0`,
        'User-Agent: Cisco PKI',
        HOST,
      ),
      answer: success({ label: 'cisco-1', digest: 'sha1', cipher: 'des-ede3-cbc', subject: '1.2.840.113549.1.9.2=router.lab.test,CN=router.lab.test' }),
      findings: ['sha1', 'des3'],
    },
    {
      name: 'cisco-single-des',
      comment: 'Single DES, the default of old releases and of micromdm’s scepclient: refused by the RFC, with an answer that says why.',
      source: 'smallstep/certificates#908; micromdm scepclient 2.1',
      rfc: 'RFC 8894 §2.9',
      ...post(`${CGI}?operation=PKIOperation`, message({ label: 'cisco-2', csr: plainCsr, cipher: 'des-cbc' }), pkiType),
      answer: failure('cisco-2', 'badAlg'),
      findings: ['des'],
    },
    {
      name: 'sscep-getca',
      comment: 'HTTP/1.1 with Connection: close, message=CAIdentifier.',
      source: 'certnanny/sscep#159',
      rfc: 'RFC 8894 §4.2',
      head: headOf(`GET ${CGI}?operation=GetCACert&message=CAIdentifier HTTP/1.1`, 'Host: scep.test:8080', CLOSE),
      answer: caCertificates,
    },
    {
      name: 'sscep-enrol',
      comment: 'The transactionID is a hash in upper case; the signer has the subject of the request.',
      source: 'certnanny/sscep#144, #167',
      rfc: 'RFC 8894 §3.2.1.1',
      ...post(`${CGI}?operation=PKIOperation`, message({ label: 'sscep-1', csr: plainCsr, transactionID: printable('5C4E9F9BC67E4BE960D7362E2454A01F') }), pkiType),
      answer: success({ label: 'sscep-1', transactionID: '5C4E9F9BC67E4BE960D7362E2454A01F' }),
      findings: [],
    },
    {
      name: 'strongswan-attribute-order',
      comment: 'QUIRK strongSwan: the attributes of its request are not in the order of DER; its signature covers them as they are.',
      source: 'seen with pki 5.9.8',
      rfc: 'RFC 2986 §4.1, X.690 §11.6',
      quirk: 'src/codec/csr.ts',
      ...post(
        `${SCEP}?operation=PKIOperation`,
        message({
          label: 'strongswan-1',
          csr: request({
            subject: nameOf(commonName('device-1')),
            attributes: [attribute(type.extensionRequest, seq(extension(type.san, seq(tlv(0x82, Buffer.from('d.lab.test')))))), challenge],
          }),
        }),
      ),
      answer: success({ label: 'strongswan-1' }),
      findings: [],
    },
    {
      name: 'jscep-getcacaps',
      comment: 'message is the profile’s name, or absent; NDES wants some message.',
      source: 'jscep#49',
      rfc: 'RFC 8894 §3.5.1',
      ...get(`${NDES}?operation=GetCACaps&message=CA`, 'User-Agent: Java/21'),
      answer: capabilities,
    },
    {
      name: 'certmonger-refused',
      comment: 'QUIRK certmonger: takes a FAILURE without eContent for an unreadable answer and asks again: it is there, and empty.',
      source: 'seen with certmonger 0.79.17',
      rfc: 'RFC 8894 §3.3.2.2',
      quirk: 'src/scep/server.ts',
      ...post(
        `${SCEP}?operation=PKIOperation`,
        message({
          label: 'certmonger-1',
          csr: request({ subject: nameOf(commonName('device-1')), attributes: [attribute(type.challengePassword, printable('a wrong one'))] }),
        }),
        pkiType,
      ),
      answer: failure('certmonger-1', 'badRequest', { digest: 'sha256' }),
      findings: [],
    },
    {
      name: 'embedded-recipient-by-key-identifier',
      comment: 'QUIRK embedded clients: the recipient is named by a subjectKeyIdentifier.',
      source: 'NeySlim/ultimate-ca-manager, its list of embedded clients',
      rfc: 'RFC 5652 §6.2.1',
      quirk: 'src/codec/cms.ts',
      ...post(`${SCEP}?operation=PKIOperation`, message({ label: 'embedded-1', csr: plainCsr, rid: tlv(0x80, keyIdentifierOf('ra')) }), pkiType),
      answer: success({ label: 'embedded-1' }),
      findings: [],
    },
    {
      name: 'embedded-recipient-written-anew',
      comment: 'QUIRK embedded clients: the issuer’s name in other string types than the certificate has.',
      source: 'NeySlim/ultimate-ca-manager, its list of embedded clients',
      rfc: 'RFC 5652 §6.2.1',
      quirk: 'src/codec/cms.ts',
      ...post(`${SCEP}?operation=PKIOperation`, message({ label: 'embedded-2', csr: plainCsr, rid: seq(otherName, int('1f5a')) }), pkiType),
      answer: success({ label: 'embedded-2' }),
      findings: ['recipientOther'],
    },
    {
      name: 'embedded-recipient-of-yesterday',
      comment: 'QUIRK embedded clients: the recipient is the CA’s certificate, or one that was renewed since with the same key; only the key decides.',
      source: 'NeySlim/ultimate-ca-manager, its list of embedded clients',
      rfc: 'RFC 5652 §6.2.1',
      quirk: 'src/codec/cms.ts',
      ...post(`${SCEP}?operation=PKIOperation`, message({ label: 'embedded-3', csr: plainCsr, rid: seq(nameOf(commonName('Old CA')), int('07')) }), pkiType),
      answer: success({ label: 'embedded-3' }),
      findings: ['recipientOther'],
    },
    {
      name: 'embedded-signing-time',
      comment: 'A signingTime of 1970, from a device without a clock: it is not compared.',
      source: 'NeySlim/ultimate-ca-manager, its list of embedded clients',
      rfc: 'RFC 8894 §3.2.1.4',
      ...post(
        `${SCEP}?operation=PKIOperation`,
        message({ label: 'embedded-4', csr: plainCsr, moreAttributes: [attribute(octets('06092a864886f70d010905'), utcTime('700101000000Z'))] }),
        pkiType,
      ),
      answer: success({ label: 'embedded-4' }),
      findings: [],
    },
    {
      name: 'pan-os-outer-ber',
      comment: 'An indefinite length around what is DER inside.',
      source: 'micromdm/scep#20, Keyfactor/ejbca-ce#924',
      rfc: 'X.690 §8.1.3.6',
      ...post(`${SCEP}?operation=PKIOperation`, message({ label: 'pan-os-1', csr: plainCsr, encoding: 'outer' }), pkiType),
      answer: success({ label: 'pan-os-1' }),
      findings: [],
    },
  ],
};

// --- renewals -------------------------------------------------------------------------------------------------------

/** What the devices hold already. The CA has all of them on record, but for the one that is forged. */
const held = {
  cisco: issued({ key: 'old', subject: ciscoName, serial: '6f0001' }),
  ciscoSameKey: issued({ key: 'device', subject: ciscoName, serial: '6f0002' }),
  jscep: issued({ key: 'old', subject: nameOf(commonName('jscep')), serial: '6f0003' }),
  sscep: issued({ key: 'old', subject: nameOf(commonName('sscep')), serial: '6f0004' }),
  sscepSameKey: issued({ key: 'device', subject: nameOf(commonName('sscep')), serial: '6f0005' }),
  certmonger: issued({ key: 'old', subject: nameOf(commonName('certmonger')), serial: '6f0006' }),
  strongswan: issued({ key: 'old', subject: nameOf(commonName('strongswan')), serial: '6f0007' }),
  windows: issued({ key: 'old', subject: nameOf(commonName('windows')), serial: '6f0008' }),
  ended: issued({
    key: 'old',
    subject: nameOf(commonName('device-1')),
    serial: '6f0009',
    validity: seq(utcTime('240101000000Z'), utcTime('250101000000Z')),
  }),
};
const forged = issued({ key: 'old', subject: nameOf(commonName('device-1')), serial: '6f000a' });
const renewalReq = printable('17');
const renewalOf = (subject: Octets, digest: 'sha1' | 'sha256' = 'sha256'): Octets =>
  request({ subject, attributes: [], digest });
const deviceRenewal = renewalOf(nameOf(commonName('device-1')));

const renewals: ExchangeFile = {
  comment:
    'Renewals in the dialects of each client, at an endpoint that takes the old certificate for a proof. The old certificates are made from fixed keys, and put on record by the test as what an earlier key of the CA has issued.',
  source: own,
  kind: 'exchange',
  vectors: [
    {
      name: 'strongswan-renewal-capability',
      comment: 'strongSwan’s pki and certmonger renew by the old certificate only where GetCACaps says Renewal.',
      source: 'strongSwan, src/pki/commands/scep.c; certmonger, src/scep.c',
      rfc: 'RFC 8894 §3.5.2',
      ...get(`${SCEP}?operation=GetCACaps`),
      answer: { ...capabilities, text: ['Renewal\n'] },
    },
    {
      name: 'cisco-renewal',
      comment: 'QUIRK Cisco IOS, auto-enroll with regenerate: a PKCSReq for the new key, without a challenge, signed with the old certificate and its key.',
      source: 'dogtagpki/pki#3413 (tried with a Cisco client); openxpki/openxpki#360 for the names',
      rfc: 'RFC 8894 §3.3.1.2, §2.3',
      quirk: 'src/http/dispatch.ts',
      head: headOf(
        `GET ${CGI}?operation=PKIOperation&message=${base64(message({ label: 'renewal-1', csr: renewalOf(ciscoName, 'sha1'), signer: held.cisco, digest: 'sha1', cipher: 'des-ede3-cbc' }))} HTTP/1.0`,
        'User-Agent: Cisco PKI',
        HOST,
      ),
      answer: success({ label: 'renewal-1', digest: 'sha1', cipher: 'des-ede3-cbc', subject: '1.2.840.113549.1.9.2=router.lab.test,CN=router.lab.test' }),
      findings: ['sha1', 'des3', 'noChallenge'],
    },
    {
      name: 'cisco-renewal-same-key',
      comment: 'The same without regenerate: for the key that it has.',
      source: 'dogtagpki/pki#3413; openxpki/openxpki#360',
      rfc: 'RFC 8894 §3.3.1.2',
      head: headOf(
        `GET ${CGI}?operation=PKIOperation&message=${base64(message({ label: 'renewal-2', csr: renewalOf(ciscoName, 'sha1'), signer: held.ciscoSameKey, digest: 'sha1', cipher: 'des-ede3-cbc' }))} HTTP/1.0`,
        'User-Agent: Cisco PKI',
        HOST,
      ),
      answer: success({ label: 'renewal-2', digest: 'sha1', cipher: 'des-ede3-cbc', subject: '1.2.840.113549.1.9.2=router.lab.test,CN=router.lab.test' }),
      findings: ['sha1', 'des3', 'noChallenge'],
    },
    {
      name: 'jscep-renewal',
      comment: 'A PKCSReq too, with the strongest digest that is offered: jscep knows no other type.',
      source: 'jscep#303, jscep#74; OmniTrustILM/core#1901',
      rfc: 'RFC 8894 §3.3.1.2, §2.3',
      ...post(`${NDES}?operation=PKIOperation`, message({ label: 'renewal-3', csr: renewalOf(nameOf(commonName('jscep'))), signer: held.jscep, digest: 'sha512' }), 'User-Agent: Java/21', pkiType),
      answer: success({ label: 'renewal-3', digest: 'sha512', subject: 'CN=jscep' }),
      findings: ['noChallenge'],
    },
    {
      name: 'sscep-renewal',
      comment: 'With -O and -K: a PKCSReq that is signed with the old certificate and its key.',
      source: 'certnanny/sscep, src/pkcs7.c, #123; OmniTrustILM/core#1901',
      rfc: 'RFC 8894 §3.3.1.2, §2.3',
      ...post(`${CGI}?operation=PKIOperation`, message({ label: 'renewal-4', csr: renewalOf(nameOf(commonName('sscep'))), signer: held.sscep }), pkiType),
      answer: success({ label: 'renewal-4', subject: 'CN=sscep' }),
      findings: ['noChallenge'],
    },
    {
      name: 'sscep-renewal-same-key',
      comment: 'The same for the key that it has: it needs a new certificate, and not the old one again.',
      source: 'certnanny/sscep#189',
      rfc: 'RFC 8894 §3.3.1.2',
      ...post(`${CGI}?operation=PKIOperation`, message({ label: 'renewal-5', csr: renewalOf(nameOf(commonName('sscep'))), signer: held.sscepSameKey }), pkiType),
      answer: success({ label: 'renewal-5', subject: 'CN=sscep' }),
      findings: ['noChallenge'],
    },
    {
      name: 'certmonger-renewal',
      comment: 'By GET, every reserved character escaped; a PKCSReq for the new key: it has no RenewalReq.',
      source: 'certmonger, src/scepgen-o.c, src/scep.c; seen with certmonger 0.79.17',
      rfc: 'RFC 8894 §3.3.1.2, §4.1',
      ...get(`${SCEP}?operation=PKIOperation&message=${escaped(message({ label: 'renewal-6', csr: renewalOf(nameOf(commonName('certmonger'))), signer: held.certmonger, cipher: 'aes-256-cbc' }))}`),
      answer: success({ label: 'renewal-6', cipher: 'aes-256-cbc', subject: 'CN=certmonger' }),
      findings: ['noChallenge'],
    },
    {
      name: 'strongswan-renewal',
      comment: 'A RenewalReq for the new key, with the subject of the old certificate, without a content type.',
      source: 'strongSwan, src/pki/commands/scep.c; seen with pki 5.9.8 and 6.0.1',
      rfc: 'RFC 8894 §3.3.1.2',
      ...post(`${SCEP}?operation=PKIOperation`, message({ label: 'renewal-7', csr: renewalOf(nameOf(commonName('strongswan'))), signer: held.strongswan, messageType: renewalReq })),
      answer: success({ label: 'renewal-7', subject: 'CN=strongswan' }),
      findings: [],
    },
    {
      name: 'windows-renewal',
      comment: 'A new key, a new challenge, and a PKCSReq under a throw-away key: nothing in it says that there is an older certificate. Windows has no RenewalReq: its X509SCEPMessageType knows no 17.',
      source: 'SCEPman documentation; certpol.h of the Windows SDK',
      rfc: 'RFC 8894 §3.3.1.1',
      ...post(
        `${windowsUrl}?operation=PKIOperation`,
        message({ label: 'renewal-8', csr: request({ subject: nameOf(commonName('windows')), attributes: [challenge] }), signer: windowsSigner }),
        windowsAgent,
        pkiType,
      ),
      answer: success({ label: 'renewal-8', subject: 'CN=windows' }),
      findings: [],
    },
    {
      name: 'renewal-for-another',
      comment: 'A good certificate speaks for its own names alone.',
      source: 'own limit',
      rfc: 'RFC 8894 §2.3',
      ...post(`${SCEP}?operation=PKIOperation`, message({ label: 'renewal-9', csr: deviceRenewal, signer: held.strongswan, messageType: renewalReq }), pkiType),
      answer: failure('renewal-9', 'badRequest', { code: 'renewal_names' }),
      findings: [],
    },
    {
      name: 'renewal-of-what-has-ended',
      comment: 'The old certificate has expired: a challenge does not help where it does not hold.',
      source: 'own limit',
      rfc: 'RFC 8894 §2.3',
      ...post(`${SCEP}?operation=PKIOperation`, message({ label: 'renewal-10', csr: plainCsr, signer: held.ended }), pkiType),
      answer: failure('renewal-10', 'badRequest', { code: 'renewal_expired' }),
      findings: ['certificateExpired'],
    },
    {
      name: 'renewal-off-the-record',
      comment: 'In the CA’s name, and signed by its earlier key: but nobody knows of it.',
      source: 'own limit',
      rfc: 'RFC 8894 §2.3',
      ...post(`${SCEP}?operation=PKIOperation`, message({ label: 'renewal-11', csr: deviceRenewal, signer: forged }), pkiType),
      answer: failure('renewal-11', 'badRequest', { code: 'renewal_foreign' }),
      findings: ['noChallenge'],
    },
    {
      name: 'renewal-self-signed',
      comment: 'A RenewalReq that is signed with no certificate of ours proves nothing.',
      source: 'micromdm/scep#117',
      rfc: 'RFC 8894 §2.3',
      ...post(`${SCEP}?operation=PKIOperation`, message({ label: 'renewal-12', csr: deviceRenewal, messageType: renewalReq }), pkiType),
      answer: failure('renewal-12', 'badRequest', { code: 'renewal_foreign' }),
      findings: [],
    },
  ],
};

/** DER of the certificates that must be on record beforehand. */
export const heldCertificates: readonly Octets[] = Object.values(held).map(({ certificate }) => certificate);

/** The files by name. */
export const exchangeFiles: Readonly<Record<string, ExchangeFile>> = {
  'android.json': android,
  'apple.json': apple,
  'attributes.json': attributes,
  'http.json': http,
  'others.json': others,
  'renewals.json': renewals,
  'windows.json': windows,
};

/** The text of a file. */
export const textOf = (file: ExchangeFile): string => `${JSON.stringify(file, null, 2)}\n`;

/** The private keys: the RA's opens the requests, the devices' the answers; `issuing` was the CA's once. */
export const keyOf = (name: KeyName): string => keys[name];

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  for (const [name, file] of Object.entries(exchangeFiles)) writeFileSync(new URL(name, folder), textOf(file));
}
