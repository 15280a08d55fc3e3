/** Cryptographic Message Syntax (RFC 5652): SignedData and EnvelopedData as SCEP uses them. */
import { constants, createCipheriv, createDecipheriv, hash, publicEncrypt, randomBytes } from 'node:crypto';
import { PkiError } from '../errors.ts';
import {
  type AlgorithmIdentifier,
  buildAlgorithmIdentifier,
  type Cipher,
  type CipherName,
  cipherOf,
  ciphers,
  type DigestName,
  digestOf,
  digests,
  type KeyTransport,
  keyTransportIdentifier,
  keyTransportOf,
  nodeCipherOf,
  publicKeyOf,
  readAlgorithmIdentifier,
  signatureAlgorithmIdentifier,
  signerAlgorithmOf,
  verifySignature,
} from './algorithm.ts';
import { joinOctetStrings, normalizeBer } from './ber.ts';
import { type Certificate, parseCertificate, type Sign } from './certificate.ts';
import {
  contextConstructed,
  contextPrimitive,
  type DerReader,
  der,
  integer,
  nullValue,
  objectIdentifier,
  octetString,
  readDer,
  sameOctets,
  sequence,
  setOf,
  tag,
} from './der.ts';
import { subjectKeyIdentifierOf } from './extension.ts';
import { oid } from './oid.ts';
import {
  buildPasswordRecipient,
  openPasswordRecipient,
  parsePasswordRecipient,
} from './password-recipient.ts';

/** Attribute (§5.3): its type and the DER of each value. */
export interface Attribute {
  readonly oid: string;
  readonly values: readonly Uint8Array[];
}

/** How a SignerInfo or RecipientInfo names a certificate (§5.3, §6.2.1). */
export type CertificateIdentifier =
  | { readonly type: 'issuerAndSerialNumber'; readonly raw: Uint8Array }
  | { readonly type: 'subjectKeyIdentifier'; readonly identifier: Uint8Array };

/** SignerInfo (§5.3). */
export interface SignerInfo {
  readonly sid: CertificateIdentifier;
  /** As it came: it may be one that is refused when the signature is checked. */
  readonly digestAlgorithm: AlgorithmIdentifier;
  readonly signatureAlgorithm: AlgorithmIdentifier;
  /** The signed attributes; without them the signature is over the content itself, and is not taken. */
  readonly signedAttrs?: {
    /** As they came, with the tag of SET OF that the signature covers (§5.4). */
    readonly toBeSigned: Uint8Array;
    readonly attributes: readonly Attribute[];
  };
  readonly signature: Uint8Array;
}

/** SignedData (§5.1). */
export interface SignedData {
  readonly contentType: string;
  /** eContent; absent in a degenerate message and in SCEP answers without one. */
  readonly content?: Uint8Array;
  readonly certificates: readonly Certificate[];
  /** DER of each CRL. */
  readonly crls: readonly Uint8Array[];
  readonly signerInfos: readonly SignerInfo[];
}

/** More than any SCEP message carries: RA, CA and root certificates, twice over. */
const CERTIFICATES_MAX = 16;
const CRLS_MAX = 16;
const SIGNERS_MAX = 4;
const RECIPIENTS_MAX = 16;
const ATTRIBUTES_MAX = 32;
const ATTRIBUTE_VALUES_MAX = 32;

function as<T>(read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (!(cause instanceof PkiError) || cause.code === 'algorithm_unsupported' || cause.code === 'der_limit')
      throw cause;
    throw new PkiError('cms_malformed', `CMS: ${cause.message}`, { cause });
  }
}

/** Opens the ContentInfo (§3) and hands over a reader of its content. */
function readContentInfo<T>(bytes: Uint8Array, contentType: string, read: (reader: DerReader) => T): T {
  return readDer(bytes, tag.sequence, (contentInfo) => {
    const type = contentInfo.oid();
    if (type !== contentType) throw new PkiError('cms_malformed', `content type ${type}`);
    const wrapper = contentInfo.enter(contextConstructed(0));
    const inner = wrapper.enter(tag.sequence);
    wrapper.end();
    const value = read(inner);
    inner.end();
    return value;
  });
}

/**
 * Reads a ContentInfo with SignedData, in BER or DER.
 *
 * @throws PkiError `cms_malformed`, `algorithm_unsupported`, `der_limit`.
 */
export function parseSignedData(bytes: Uint8Array): SignedData {
  return as(() => readContentInfo(normalizeBer(bytes), oid.signedData, readSignedData));
}

function readSignedData(reader: DerReader): SignedData {
  reader.smallInteger();
  reader.skip(tag.set);
  const encapsulated = reader.enter(tag.sequence);
  const contentType = encapsulated.oid();
  const wrapper = encapsulated.enterOptional(contextConstructed(0));
  const content = wrapper?.octetString();
  wrapper?.end();
  encapsulated.end();

  const certificates: Certificate[] = [];
  const certificateSet = reader.enterOptional(contextConstructed(0));
  while (certificateSet !== undefined && !certificateSet.done) {
    if (certificates.length >= CERTIFICATES_MAX)
      throw new PkiError('der_limit', `over ${CERTIFICATES_MAX} certificates`);
    certificates.push(parseCertificate(certificateSet.raw(tag.sequence)));
  }
  const crls: Uint8Array[] = [];
  const crlSet = reader.enterOptional(contextConstructed(1));
  while (crlSet !== undefined && !crlSet.done) {
    if (crls.length >= CRLS_MAX) throw new PkiError('der_limit', `over ${CRLS_MAX} CRLs`);
    crls.push(crlSet.raw(tag.sequence));
  }

  const signerInfos: SignerInfo[] = [];
  const signers = reader.enter(tag.set);
  while (!signers.done) {
    if (signerInfos.length >= SIGNERS_MAX) throw new PkiError('der_limit', `over ${SIGNERS_MAX} signers`);
    signerInfos.push(readSignerInfo(signers.enter(tag.sequence)));
  }
  const signedData = { contentType, certificates, crls, signerInfos };
  return content === undefined ? signedData : { ...signedData, content };
}

function readSignerInfo(reader: DerReader): SignerInfo {
  reader.smallInteger();
  const sid = readIdentifier(reader);
  const digestAlgorithm = readAlgorithmIdentifier(reader);
  const attributes = reader.nextTag === contextConstructed(0) ? reader.raw() : undefined;
  const signatureAlgorithm = readAlgorithmIdentifier(reader);
  const signature = reader.octetString();
  if (reader.nextTag === contextConstructed(1)) reader.skip();
  reader.end();
  const signerInfo = { sid, digestAlgorithm, signatureAlgorithm, signature };
  return attributes === undefined ? signerInfo : { ...signerInfo, signedAttrs: readSignedAttrs(attributes) };
}

function readSignedAttrs(raw: Uint8Array): NonNullable<SignerInfo['signedAttrs']> {
  // §5.4: the signature covers the attributes as a SET OF, not with the [0] that they travel with.
  const toBeSigned = Buffer.from(raw);
  toBeSigned[0] = tag.set;
  return { toBeSigned, attributes: readDer(toBeSigned, tag.set, readAttributes) };
}

function readAttributes(reader: DerReader): Attribute[] {
  const attributes: Attribute[] = [];
  while (!reader.done) {
    if (attributes.length >= ATTRIBUTES_MAX)
      throw new PkiError('der_limit', `over ${ATTRIBUTES_MAX} attributes`);
    const attribute = reader.enter(tag.sequence);
    const type = attribute.oid();
    const set = attribute.enter(tag.set);
    attribute.end();
    const values: Uint8Array[] = [];
    while (!set.done) {
      if (values.length >= ATTRIBUTE_VALUES_MAX)
        throw new PkiError('der_limit', `over ${ATTRIBUTE_VALUES_MAX} values of an attribute`);
      values.push(set.raw());
    }
    // §5.3: an attribute that occurs twice would let two readers see two values.
    if (attributes.some((other) => other.oid === type)) {
      throw new PkiError('cms_malformed', `attribute ${type} occurs twice`);
    }
    attributes.push({ oid: type, values });
  }
  return attributes;
}

function readIdentifier(reader: DerReader): CertificateIdentifier {
  return reader.nextTag === contextPrimitive(0)
    ? { type: 'subjectKeyIdentifier', identifier: reader.content() }
    : { type: 'issuerAndSerialNumber', raw: reader.raw(tag.sequence) };
}

/** Whether the identifier names this certificate. */
export function identifies(identifier: CertificateIdentifier, certificate: Certificate): boolean {
  if (identifier.type === 'issuerAndSerialNumber')
    return sameOctets(identifier.raw, certificate.issuerAndSerialNumber);
  const keyIdentifier = subjectKeyIdentifierOf(certificate);
  return keyIdentifier !== undefined && sameOctets(keyIdentifier, identifier.identifier);
}

/** The value of a signed attribute that must have exactly one; `undefined` if the attribute is absent. */
export function signedAttributeOf(signerInfo: SignerInfo, identifier: string): Uint8Array | undefined {
  const attribute = signerInfo.signedAttrs?.attributes.find((candidate) => candidate.oid === identifier);
  if (attribute === undefined) return undefined;
  const [value, ...more] = attribute.values;
  if (value === undefined || more.length > 0) {
    throw new PkiError('cms_malformed', `attribute ${identifier} must have exactly one value`);
  }
  return value;
}

/**
 * Whether the signer's signature is good (§5.6): the digest of the content stands in the signed attributes, and the
 * certificate's key signed them. Whether the certificate is to be trusted is not asked here.
 *
 * DEVIATION RFC 5652 §5.3: a signature without signed attributes is not taken. Whoever has signed attributes could pass
 * their octets off as content that was signed so; and every SCEP message has them (RFC 8894 §3.2.1).
 *
 * @throws PkiError `algorithm_unsupported`, `cms_malformed`.
 */
export function verifySigner(
  signedData: SignedData,
  signerInfo: SignerInfo,
  certificate: Certificate,
): boolean {
  const digestAlgorithm = digestOf(signerInfo.digestAlgorithm);
  const algorithm = signerAlgorithmOf(signerInfo.signatureAlgorithm, digestAlgorithm);
  if (signerInfo.signedAttrs === undefined) return false;
  // §11.1, §11.2: both attributes MUST be there and agree with the content.
  const contentType = signedAttributeOf(signerInfo, oid.contentType);
  const messageDigest = signedAttributeOf(signerInfo, oid.messageDigest);
  if (contentType === undefined || messageDigest === undefined) return false;
  if (!sameOctets(contentType, objectIdentifier(signedData.contentType))) return false;
  const digest = hash(digestAlgorithm.name, signedData.content ?? Uint8Array.of(), 'buffer');
  if (!sameOctets(messageDigest, octetString(digest))) return false;
  const key = publicKeyOf(certificate.spki);
  return verifySignature(algorithm, key, signerInfo.signedAttrs.toBeSigned, signerInfo.signature);
}

/** The certificate that a SignerInfo names, among those that the message carries. */
export function signerCertificateOf(signedData: SignedData, signerInfo: SignerInfo): Certificate | undefined {
  return signedData.certificates.find((certificate) => identifies(signerInfo.sid, certificate));
}

/** Whether `certificate` is the one signer of the message and its signature is good. */
export function verifySignedData(signedData: SignedData, certificate: Certificate): boolean {
  const [signerInfo, ...more] = signedData.signerInfos;
  return (
    signerInfo !== undefined &&
    more.length === 0 &&
    identifies(signerInfo.sid, certificate) &&
    verifySigner(signedData, signerInfo, certificate)
  );
}

/** What a SignedData with one signer is built from. */
export interface SignedDataFields {
  /** eContent; left out if undefined. */
  readonly content: Uint8Array | undefined;
  readonly digest: DigestName;
  /** Certificate of the signing key; it stands in the message only if `certificates` has it. */
  readonly signer: Certificate;
  /** DER of the certificates to carry; they are written in this order. */
  readonly certificates: readonly Uint8Array[];
  /** Signed attributes beside contentType and messageDigest. */
  readonly attributes: readonly Attribute[];
}

/** Builds and signs a ContentInfo with SignedData over content of type data. */
export async function buildSignedData(fields: SignedDataFields, sign: Sign): Promise<Uint8Array> {
  const digest = digests[fields.digest];
  const digestAlgorithm = buildAlgorithmIdentifier({ oid: digest.oid, parameters: nullValue });
  const content = fields.content ?? Uint8Array.of();
  const attributes = setOf([
    buildAttribute({ oid: oid.contentType, values: [objectIdentifier(oid.data)] }),
    buildAttribute({
      oid: oid.messageDigest,
      values: [octetString(hash(digest.name, content, 'buffer'))],
    }),
    ...fields.attributes.map(buildAttribute),
  ]);
  const rsa = isRsa(fields.signer.spki);
  const algorithm = rsa ? (`rsa-${digest.name}` as const) : ecdsaWith(digest.name);
  const signature = await sign(algorithm, attributes);
  const signedAttrs = Buffer.from(attributes);
  signedAttrs[0] = contextConstructed(0);
  const signerInfo = sequence(
    integer(1),
    fields.signer.issuerAndSerialNumber,
    digestAlgorithm,
    signedAttrs,
    // QUIRK strongSwan 5.9: wants plain rsaEncryption here (RFC 3370 §3.2 allows both forms).
    rsa
      ? buildAlgorithmIdentifier({ oid: oid.rsaEncryption, parameters: nullValue })
      : signatureAlgorithmIdentifier(algorithm),
    octetString(signature),
  );
  return contentInfo(
    oid.signedData,
    sequence(
      integer(1),
      der(tag.set, digestAlgorithm),
      fields.content === undefined
        ? sequence(objectIdentifier(oid.data))
        : sequence(objectIdentifier(oid.data), der(contextConstructed(0), octetString(fields.content))),
      // QUIRK Apple: takes the first certificate for its own, so the given order is kept instead of that of SET OF.
      ...(fields.certificates.length === 0 ? [] : [der(contextConstructed(0), ...fields.certificates)]),
      der(tag.set, signerInfo),
    ),
  );
}

function ecdsaWith(digest: DigestName): 'ecdsa-sha256' | 'ecdsa-sha384' | 'ecdsa-sha512' {
  if (digest === 'sha1') throw new PkiError('algorithm_unsupported', 'ECDSA with SHA-1 is not supported');
  return `ecdsa-${digest}`;
}

function isRsa(spki: Uint8Array): boolean {
  return readDer(spki, tag.sequence, (reader) => {
    const algorithm = readAlgorithmIdentifier(reader);
    reader.element();
    return algorithm.oid === oid.rsaEncryption;
  });
}

/** A degenerate SignedData: certificates and CRLs alone, no content and no signer (RFC 8894 §3.4). */
export function buildCertsOnly(
  certificates: readonly Uint8Array[],
  crls: readonly Uint8Array[] = [],
): Uint8Array {
  return contentInfo(
    oid.signedData,
    sequence(
      integer(1),
      der(tag.set),
      sequence(objectIdentifier(oid.data)),
      ...(certificates.length === 0 ? [] : [der(contextConstructed(0), ...certificates)]),
      ...(crls.length === 0 ? [] : [der(contextConstructed(1), ...crls)]),
      der(tag.set),
    ),
  );
}

function buildAttribute(attribute: Attribute): Uint8Array {
  return sequence(objectIdentifier(attribute.oid), setOf(attribute.values));
}

function contentInfo(contentType: string, content: Uint8Array): Uint8Array {
  return sequence(objectIdentifier(contentType), der(contextConstructed(0), content));
}

// --- EnvelopedData (§6) --------------------------------------------------------------------------------------------

/** KeyTransRecipientInfo (§6.2.1). */
export interface KeyTransRecipient {
  readonly rid: CertificateIdentifier;
  readonly keyTransport: KeyTransport;
  readonly encryptedKey: Uint8Array;
}

/** EnvelopedData. */
export interface EnvelopedData {
  readonly recipients: readonly KeyTransRecipient[];
  /** DER of the first PasswordRecipientInfo, which is read when it is opened; absent if there is none. */
  readonly passwordRecipient?: Uint8Array;
  readonly cipher: Cipher;
  readonly iv: Uint8Array;
  readonly encryptedContent: Uint8Array;
}

/**
 * Reads a ContentInfo with EnvelopedData, in BER or DER. Recipients of other kinds than key transport and password are
 * passed over.
 *
 * @throws PkiError `cms_malformed`, `algorithm_unsupported`, `der_limit`.
 */
export function parseEnvelopedData(bytes: Uint8Array): EnvelopedData {
  return as(() => readContentInfo(normalizeBer(bytes), oid.envelopedData, readEnvelopedData));
}

function readEnvelopedData(reader: DerReader): EnvelopedData {
  reader.smallInteger();
  if (reader.nextTag === contextConstructed(0)) reader.skip();
  const recipients: KeyTransRecipient[] = [];
  let passwordRecipient: Uint8Array | undefined;
  const recipientSet = reader.enter(tag.set);
  for (let count = 0; !recipientSet.done; count += 1) {
    if (count >= RECIPIENTS_MAX) throw new PkiError('der_limit', `over ${RECIPIENTS_MAX} recipients`);
    if (recipientSet.nextTag === tag.sequence)
      recipients.push(readRecipient(recipientSet.enter(tag.sequence)));
    else if (passwordRecipient === undefined && recipientSet.nextTag === contextConstructed(3))
      passwordRecipient = recipientSet.raw();
    else recipientSet.skip();
  }
  const encryptedContentInfo = reader.enter(tag.sequence);
  if (reader.nextTag === contextConstructed(1)) reader.skip();
  const contentType = encryptedContentInfo.oid();
  // RFC 8894 §3.2.2: the type of the content is data.
  if (contentType !== oid.data)
    throw new PkiError('cms_malformed', `encrypted content of type ${contentType}`);
  const { cipher, iv } = cipherOf(readAlgorithmIdentifier(encryptedContentInfo));
  const encryptedContent = readEncryptedContent(encryptedContentInfo);
  encryptedContentInfo.end();
  const enveloped = { recipients, cipher, iv, encryptedContent };
  return passwordRecipient === undefined ? enveloped : { ...enveloped, passwordRecipient };
}

function readRecipient(reader: DerReader): KeyTransRecipient {
  reader.smallInteger();
  const rid = readIdentifier(reader);
  const keyTransport = keyTransportOf(readAlgorithmIdentifier(reader));
  const encryptedKey = reader.octetString();
  reader.end();
  return { rid, keyTransport, encryptedKey };
}

/** QUIRK Apple: the content comes in pieces, as a constructed [0] with OCTET STRINGs inside (apple-ber). */
function readEncryptedContent(reader: DerReader): Uint8Array {
  if (reader.nextTag !== contextConstructed(0)) return reader.content(contextPrimitive(0));
  const pieces = reader.enter(contextConstructed(0));
  const list: Uint8Array[] = [];
  while (!pieces.done) list.push(pieces.raw());
  return joinOctetStrings(list);
}

/** Opens an encrypted content key: implicit rejection of bad padding is expected (see `PrivateKey.decrypt`). */
export type Decrypt = (keyTransport: KeyTransport, encryptedKey: Uint8Array) => Promise<Uint8Array>;

/**
 * Decrypts the content.
 *
 * Everything that can go wrong after the message was read ends in one and the same error, and a key of wrong length is
 * replaced by a random one instead of being reported: an answer that tells padding from content would make the caller
 * a decryption oracle (Bleichenbacher 1998; RFC 3218 §2.3.2).
 *
 * DEVIATION RFC 5652 §6.2.1: the recipient identifier is not compared with our certificate. QUIRK embedded clients:
 * they re-encode the issuer's name (embedded-recipient-written-anew), use a key identifier
 * (embedded-recipient-by-key-identifier), or name a certificate that was renewed since
 * (embedded-recipient-of-yesterday); only the key decides.
 *
 * @throws PkiError `scep_envelope`, always with the same message.
 */
export async function openEnvelopedData(enveloped: EnvelopedData, decrypt: Decrypt): Promise<Uint8Array> {
  const { cipher, iv, encryptedContent } = enveloped;
  const substitute = randomBytes(cipher.keyBytes);
  const [recipient] = enveloped.recipients;
  try {
    if (recipient === undefined) throw new Error('no key transport recipient');
    const key = await contentKeyOf(decrypt, recipient, substitute);
    const decipher = createDecipheriv(...nodeCipherOf(cipher, key), iv);
    return Buffer.concat([decipher.update(encryptedContent), decipher.final()]);
  } catch (cause) {
    // A key that cannot be reached is our fault and not the message's: it must not be answered as a bad message.
    if (cause instanceof PkiError && cause.kind !== 'malformed') throw cause;
    throw new PkiError('scep_envelope', 'the envelope cannot be opened');
  }
}

/** The content key, or the substitute: what comes afterwards is done with it all the same, and takes as long. */
async function contentKeyOf(
  decrypt: Decrypt,
  recipient: KeyTransRecipient,
  substitute: Uint8Array,
): Promise<Uint8Array> {
  try {
    const key = await decrypt(recipient.keyTransport, recipient.encryptedKey);
    return key.length === substitute.length ? key : substitute;
  } catch (cause) {
    if (cause instanceof PkiError && cause.kind !== 'malformed') throw cause;
    return substitute;
  }
}

/** What an EnvelopedData for one RSA recipient is built from. */
export interface EnvelopedDataFields {
  readonly content: Uint8Array;
  readonly recipient: Certificate;
  readonly cipher: CipherName;
  readonly keyTransport: KeyTransport;
}

/**
 * Builds a ContentInfo with EnvelopedData.
 *
 * @throws PkiError `algorithm_unsupported` if the recipient's key is not RSA.
 */
export function buildEnvelopedData(fields: EnvelopedDataFields): Uint8Array {
  const content = encryptContent(fields.content, fields.cipher);
  const recipientInfo = sequence(
    integer(0),
    fields.recipient.issuerAndSerialNumber,
    keyTransportIdentifier(fields.keyTransport),
    octetString(encryptKey(fields.recipient.spki, fields.keyTransport, content.key)),
  );
  return contentInfo(
    oid.envelopedData,
    sequence(integer(0), der(tag.set, recipientInfo), content.encryptedContentInfo),
  );
}

/**
 * Builds a ContentInfo with EnvelopedData for whoever knows the password (RFC 8894 §3.1: for a key that cannot encrypt).
 * The same cipher wraps the key that encrypts the content.
 */
export async function buildPasswordEnvelopedData(fields: {
  readonly content: Uint8Array;
  readonly password: string;
  readonly cipher: CipherName;
}): Promise<Uint8Array> {
  const content = encryptContent(fields.content, fields.cipher);
  const recipientInfo = await buildPasswordRecipient(content.key, fields.password, fields.cipher);
  return contentInfo(
    oid.envelopedData,
    // RFC 5652 §6.1: version 3 with a PasswordRecipientInfo.
    sequence(integer(3), der(tag.set, recipientInfo), content.encryptedContentInfo),
  );
}

/**
 * Decrypts the content with a password.
 *
 * @throws PkiError `scep_envelope` if there is no PasswordRecipientInfo, the password is wrong or something is damaged,
 *   always with the same message; `algorithm_unsupported`, `der_limit` for what stands in the clear.
 */
export async function openPasswordEnvelopedData(
  enveloped: EnvelopedData,
  password: string,
): Promise<Uint8Array> {
  const { cipher, iv, encryptedContent, passwordRecipient } = enveloped;
  try {
    if (passwordRecipient === undefined) throw new Error('no password recipient');
    const key = await openPasswordRecipient(parsePasswordRecipient(passwordRecipient), password);
    const decipher = createDecipheriv(...nodeCipherOf(cipher, key), iv);
    return Buffer.concat([decipher.update(encryptedContent), decipher.final()]);
  } catch (cause) {
    if (cause instanceof PkiError && (cause.code === 'algorithm_unsupported' || cause.code === 'der_limit'))
      throw cause;
    throw new PkiError('scep_envelope', 'the envelope cannot be opened');
  }
}

/** Encrypts under a fresh key: EncryptedContentInfo (§6.1), and the key for the recipients. */
function encryptContent(
  content: Uint8Array,
  cipherName: CipherName,
): { readonly key: Uint8Array; readonly encryptedContentInfo: Uint8Array } {
  const cipher = ciphers[cipherName];
  const random = randomBytes(cipher.keyBytes + cipher.ivBytes);
  const key = random.subarray(0, cipher.keyBytes);
  const iv = random.subarray(cipher.keyBytes);
  const encryption = createCipheriv(...nodeCipherOf(cipher, key), iv);
  const encryptedContent = Buffer.concat([encryption.update(content), encryption.final()]);
  const encryptedContentInfo = sequence(
    objectIdentifier(oid.data),
    buildAlgorithmIdentifier({ oid: cipher.oid, parameters: octetString(iv) }),
    der(contextPrimitive(0), encryptedContent),
  );
  return { key, encryptedContentInfo };
}

function encryptKey(spki: Uint8Array, transport: KeyTransport, key: Uint8Array): Uint8Array {
  const recipientKey = publicKeyOf(spki);
  if (recipientKey.asymmetricKeyType !== 'rsa') {
    throw new PkiError('algorithm_unsupported', 'key transport needs an RSA recipient');
  }
  return transport.name === 'rsaes-pkcs1-v1_5'
    ? publicEncrypt({ key: recipientKey, padding: constants.RSA_PKCS1_PADDING }, key)
    : publicEncrypt(
        { key: recipientKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: transport.digest },
        key,
      );
}
