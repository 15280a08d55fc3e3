/** Everything that `leafgate scep decode` may find in a message: once, with its place in a standard and the way out. */

/** `error`: it cannot be served. `warning`: it is served, or may be, though a standard says otherwise. `note`: odd and harmless. */
export type Severity = 'error' | 'warning' | 'note';

/** One rule. */
export interface FindingRule {
  readonly severity: Severity;
  /** The standard and its section. */
  readonly citation: string;
  /** What is wrong. */
  readonly text: string;
  /** What the client, or whoever looks after it, does about it. */
  readonly mend: string;
}

const FETCH_AGAIN = 'Let the client fetch GetCACert again, and see that no cache stands before it.';
const POST = 'Let the client use POST, which GetCACaps offers as POSTPKIOperation.';

/** The rules, by name. */
export const findingRules = {
  // --- how it travelled ---------------------------------------------------------------------------------------------
  base64Url: {
    severity: 'warning',
    citation: 'RFC 8894 §4.1',
    text: 'the URL-safe alphabet of base64 (`-`, `_`) instead of the ordinary one',
    mend: 'Let the client encode by RFC 4648 §4 and then percent-escape. It is served.',
  },
  plusAsSpace: {
    severity: 'warning',
    citation: 'RFC 8894 §4.1',
    text: '`+` was not percent-escaped, and something on the way made spaces of it',
    mend: 'Let the client escape `+` as `%2B`. It is served.',
  },
  unescaped: {
    severity: 'note',
    citation: 'RFC 8894 §4.1',
    text: '`+` or `/` of the base64 is not percent-escaped',
    mend: 'Let the client escape all reserved characters. Apple and Cisco never do; it is served.',
  },
  doubleEscaped: {
    severity: 'warning',
    citation: 'RFC 3986 §2.4',
    text: 'the message was percent-escaped twice',
    mend: 'A proxy escapes what is escaped already: let it pass the query as it is. It is served.',
  },
  base64Padding: {
    severity: 'note',
    citation: 'RFC 4648 §3.2',
    text: 'the padding (`=`) of the base64 is missing',
    mend: 'Nothing; it is served.',
  },
  base64Broken: {
    severity: 'error',
    citation: 'RFC 8894 §4.1',
    text: 'the message is not base64',
    mend: 'Something on the way cut or changed it. Compare what the client sent with what arrived.',
  },
  operationCase: {
    severity: 'note',
    citation: 'RFC 8894 §4.1',
    text: 'the operation is not spelt as the RFC spells it',
    mend: 'Nothing; case is not minded.',
  },
  operationUnknown: {
    severity: 'error',
    citation: 'RFC 8894 §4.1',
    text: 'the URL has no operation, or one that does not exist',
    mend: 'Look at the URL in the client’s profile: it must not carry a query of its own.',
  },
  longUrl: {
    severity: 'note',
    citation: 'RFC 8894 §4.1',
    text: 'the URL is longer than many proxies let pass',
    mend: POST,
  },
  cut: {
    severity: 'error',
    citation: 'X.690 §8.1.3, RFC 8894 §4.1',
    text: 'the message is cut off',
    mend: `A proxy with a short limit for URLs or bodies is the usual cause: allow 40 KB and 2 MiB. ${POST}`,
  },
  trailing: {
    severity: 'error',
    citation: 'RFC 5652 §3',
    text: 'octets follow the message',
    mend: 'The client, or a proxy, appends something; often a line break in a binary body.',
  },
  indefinite: {
    severity: 'note',
    citation: 'X.690 §8.1.3.6',
    text: 'indefinite lengths: BER and not DER',
    mend: 'Nothing: CMS permits BER outside signed parts (RFC 5652 §2). Apple and Bouncy Castle send it.',
  },
  pieces: {
    severity: 'note',
    citation: 'X.690 §8.7.3',
    text: 'an OCTET STRING in pieces: BER and not DER',
    mend: 'Nothing: CMS permits it. Apple sends it.',
  },
  longLength: {
    severity: 'note',
    citation: 'X.690 §10.1',
    text: 'a length is not in its shortest form',
    mend: 'Nothing; it is served outside signed parts.',
  },
  notAsn1: {
    severity: 'error',
    citation: 'RFC 8894 §3.2',
    text: 'this is no ASN.1',
    mend: 'Look at its first octets: a page, a redirect or a sign-in form of something that answered in the server’s place.',
  },
  html: {
    severity: 'error',
    citation: 'RFC 8894 §4.1',
    text: 'this is a web page',
    mend: 'Something answers in the server’s place: a proxy’s error page, a sign-in page, another site. Windows shows 0x800700ce for it.',
  },
  tooDeep: {
    severity: 'error',
    citation: 'X.690 §8',
    text: 'the structure has a reserved tag, or is larger than any real message',
    mend: 'It is no SCEP message, or was damaged.',
  },
  // --- SignedData ------------------------------------------------------------------------------------------------------
  notSignedData: {
    severity: 'error',
    citation: 'RFC 8894 §3.2',
    text: 'the message is not a SignedData',
    mend: 'The client sends its envelope, or its request, without signing it.',
  },
  cmsUnreadable: {
    severity: 'error',
    citation: 'RFC 5652',
    text: 'the strict reader does not take this CMS',
    mend: 'The client is faulty, or the message was changed on its way.',
  },
  contentType: {
    severity: 'error',
    citation: 'RFC 8894 §3.2',
    text: 'eContentType is not data',
    mend: 'The client is faulty.',
  },
  noContent: {
    severity: 'error',
    citation: 'RFC 8894 §3.2',
    text: 'a request without pkcsPKIEnvelope',
    mend: 'The client is faulty: only a CertRep may lack it.',
  },
  signers: {
    severity: 'error',
    citation: 'RFC 8894 §3.2',
    text: 'not exactly one signer',
    mend: 'The client is faulty.',
  },
  signerCertificate: {
    severity: 'error',
    citation: 'RFC 8894 §2.3',
    text: 'the signer’s certificate is not in the message',
    mend: 'The client must enclose the certificate that it signs with.',
  },
  noSignedAttributes: {
    severity: 'error',
    citation: 'RFC 8894 §3.2.1',
    text: 'the signature has no signed attributes',
    mend: 'The client is faulty.',
  },
  attributeTwice: {
    severity: 'error',
    citation: 'RFC 5652 §5.3',
    text: 'a signed attribute occurs twice, or has not exactly one value',
    mend: 'The client is faulty.',
  },
  attributesOrder: {
    severity: 'note',
    citation: 'RFC 5652 §5.4',
    text: 'the signed attributes are not in the order of DER',
    mend: 'Nothing: the signature is verified over the octets as they came.',
  },
  digestMismatch: {
    severity: 'error',
    citation: 'RFC 5652 §11.2',
    text: 'messageDigest is not the digest of the content',
    mend: 'The content was changed after it was signed: a proxy, or a faulty client.',
  },
  signatureWrong: {
    severity: 'error',
    citation: 'RFC 8894 §3.2',
    text: 'the signature does not verify with the enclosed certificate',
    mend: 'The attributes were changed after they were signed, or the client encloses another certificate than its own.',
  },
  requiredAttribute: {
    severity: 'error',
    citation: 'RFC 5652 §11',
    text: 'contentType or messageDigest is missing among the signed attributes',
    mend: 'The client is faulty.',
  },
  digestRefused: {
    severity: 'error',
    citation: 'RFC 8894 §2.9',
    text: 'the digest is MD5 or one that is not known',
    mend: 'Let the client use SHA-256.',
  },
  digestIsSignature: {
    severity: 'error',
    citation: 'RFC 5652 §10.1.1',
    text: 'digestAlgorithm names a signature algorithm',
    mend: 'The client is faulty; iOS refuses answers like this too.',
  },
  sha1: {
    severity: 'warning',
    citation: 'RFC 8894 §3.5.2',
    text: 'the message is signed over SHA-1',
    mend: 'Let the client use SHA-256. It is served unless the endpoint refuses SHA-1.',
  },
  signatureAlgorithm: {
    severity: 'error',
    citation: 'RFC 3370 §3.2',
    text: 'the signature algorithm is not one that is taken',
    mend: 'Let the client sign by RSASSA-PKCS1-v1_5 or ECDSA.',
  },
  // --- attributes ---------------------------------------------------------------------------------------------------------
  transactionID: {
    severity: 'error',
    citation: 'RFC 8894 §3.2.1.1',
    text: 'there is no transactionID, or one that is empty, too long or not printable',
    mend: 'The client is faulty. Without it no answer can be built but HTTP 400.',
  },
  transactionIDType: {
    severity: 'warning',
    citation: 'RFC 8894 §3.2.1.1',
    text: 'the transactionID is not a PrintableString',
    mend: 'Nothing if it is served; else the client must be mended.',
  },
  messageType: {
    severity: 'error',
    citation: 'RFC 8894 §3.2.1.2',
    text: 'there is no messageType, or it is not the decimal number of one, in a PrintableString',
    mend: 'The client is faulty.',
  },
  messageTypeDraft: {
    severity: 'error',
    citation: 'RFC 8894 §3.2.1.2',
    text: 'UpdateReq is a type of the drafts that the RFC does not have',
    mend: 'Let the client renew by PKCSReq or RenewalReq.',
  },
  noSenderNonce: {
    severity: 'warning',
    citation: 'RFC 8894 §3.2.1.5',
    text: 'there is no senderNonce',
    mend: 'It is served, and its answer has no recipientNonce: the client cannot know that it is fresh.',
  },
  nonceType: {
    severity: 'error',
    citation: 'RFC 8894 §3.2.1.5',
    text: 'a nonce is not an OCTET STRING of 1 to 64 octets',
    mend: 'The client is faulty.',
  },
  nonceSize: {
    severity: 'note',
    citation: 'RFC 8894 §3.2.1.5',
    text: 'a nonce has not 16 octets',
    mend: 'Nothing: it is given back as it came.',
  },
  nonceConstant: {
    severity: 'warning',
    citation: 'RFC 8894 §3.2.1.5',
    text: 'a nonce whose octets are all the same protects from nothing',
    mend: 'The client’s random numbers are none; distrust its keys too.',
  },
  statusInRequest: {
    severity: 'note',
    citation: 'RFC 8894 §3.2.1',
    text: 'a request carries an attribute of answers',
    mend: 'Nothing; it is not read.',
  },
  pkiStatus: {
    severity: 'error',
    citation: 'RFC 8894 §3.2.1.3',
    text: 'the answer has no pkiStatus, or an undefined one',
    mend: 'The server is faulty.',
  },
  failInfo: {
    severity: 'error',
    citation: 'RFC 8894 §3.2.1.4',
    text: 'a FAILURE has no failInfo, or an undefined one',
    mend: 'The server is faulty.',
  },
  failInfoTextType: {
    severity: 'note',
    citation: 'RFC 8894 §3.2.1',
    text: 'failInfoText is not a UTF8String',
    mend: 'Nothing; it is meant for people.',
  },
  noRecipientNonce: {
    severity: 'warning',
    citation: 'RFC 8894 §3.2.1.5',
    text: 'the answer has no recipientNonce',
    mend: 'A client that sent a senderNonce must refuse it. If the request had none, all is well.',
  },
  envelopeInRefusal: {
    severity: 'warning',
    citation: 'RFC 8894 §3.3.2.2, §3.3.2.3',
    text: 'an answer that is not SUCCESS has an envelope',
    mend: 'The server is faulty.',
  },
  emptyContent: {
    severity: 'note',
    citation: 'RFC 8894 §3.3.2.2',
    text: 'an answer that is not SUCCESS has empty content instead of none',
    mend: 'Nothing: Leafgate and other servers answer so, because certmonger asks again without.',
  },
  // --- certificates ------------------------------------------------------------------------------------------------------
  certificateUnreadable: {
    severity: 'error',
    citation: 'RFC 5280 §4.1',
    text: 'a certificate cannot be read',
    mend: 'Whoever made it is faulty, or it was damaged.',
  },
  criticalAki: {
    severity: 'note',
    citation: 'RFC 5280 §4.2.1.1',
    text: 'authorityKeyIdentifier is critical',
    mend: 'Nothing: Windows signs so, with a certificate that it throws away. It is served.',
  },
  validityOrder: {
    severity: 'warning',
    citation: 'RFC 5280 §4.1.2.5',
    text: 'notAfter is before notBefore',
    mend: 'Of a signer’s own certificate nothing: its dates are not asked, some Android builds swap them.',
  },
  certificateExpired: {
    severity: 'warning',
    citation: 'RFC 5280 §4.1.2.5',
    text: 'a certificate is not valid now',
    mend: 'Of a CA or RA: renew it. Of a device that renews: it has to enrol with a challenge.',
  },
  signerKey: {
    severity: 'error',
    citation: 'RFC 8894 §3.1',
    text: 'no answer can be encrypted: the signer’s key is not RSA, and the message has no challenge',
    mend: 'Let the client enrol or renew with a challenge, or use RSA.',
  },
  signerCurve: {
    severity: 'note',
    citation: 'RFC 8894 §3.1',
    text: 'the signer’s key is on a curve: the answer is encrypted under the challenge of the request',
    mend: 'Nothing, if there is a challenge inside, and if the client can read such an answer (PasswordRecipientInfo).',
  },
  weakKey: {
    severity: 'warning',
    citation: 'NIST SP 800-131A',
    text: 'an RSA key of fewer than 2048 bits',
    mend: 'Set the key size of the profile to 2048 at least.',
  },
  // --- EnvelopedData ------------------------------------------------------------------------------------------------------
  notEnvelopedData: {
    severity: 'error',
    citation: 'RFC 8894 §3.2.2',
    text: 'the content is not an EnvelopedData',
    mend: 'The client is faulty: the request must be encrypted.',
  },
  encryptedType: {
    severity: 'error',
    citation: 'RFC 8894 §3.2.2',
    text: 'the encrypted content is not of type data',
    mend: 'The client is faulty.',
  },
  noRecipient: {
    severity: 'error',
    citation: 'RFC 8894 §3.1',
    text: 'no recipient by key transport or password',
    mend: 'The client is faulty.',
  },
  recipients: {
    severity: 'note',
    citation: 'RFC 5652 §6.1',
    text: 'more than one recipient; the first one counts',
    mend: 'Nothing.',
  },
  keyTransport: {
    severity: 'error',
    citation: 'RFC 3370 §4.2.1',
    text: 'the key transport is not one that is taken',
    mend: 'Let the client use RSAES-PKCS1-v1_5, or OAEP with one digest and no label.',
  },
  des: {
    severity: 'error',
    citation: 'RFC 8894 §2.9',
    text: 'single DES',
    mend: 'Let the client use AES. An endpoint can be told to take it (`dangerAllowSingleDes`); anyone can break it.',
  },
  des3: {
    severity: 'warning',
    citation: 'RFC 8894 §3.5.2',
    text: 'triple DES',
    mend: 'Let the client use AES-128. It is served unless the endpoint refuses it.',
  },
  cipher: {
    severity: 'error',
    citation: 'RFC 8894 §2.9',
    text: 'the content cipher is not one that is taken',
    mend: 'Let the client use AES-128 in CBC.',
  },
  iv: {
    severity: 'error',
    citation: 'RFC 3565 §2.1',
    text: 'the initialisation vector has not the size of a block',
    mend: 'The client is faulty.',
  },
  blockSize: {
    severity: 'error',
    citation: 'RFC 5652 §6.3',
    text: 'the encrypted content is no whole number of blocks',
    mend: 'It was cut off, or the client is faulty.',
  },
  recipientOther: {
    severity: 'warning',
    citation: 'RFC 5652 §6.2.1',
    text: 'the recipient is not named as the RA certificate that was given here',
    mend: `${FETCH_AGAIN} Some embedded clients write the name anew; only the key decides.`,
  },
  envelopeClosed: {
    severity: 'error',
    citation: 'RFC 8894 §3.2.2',
    text: 'the key does not open the envelope',
    mend: `It was encrypted to another certificate, most often to one that was replaced. ${FETCH_AGAIN}`,
  },
  // --- what is inside ---------------------------------------------------------------------------------------------------
  csrUnreadable: {
    severity: 'error',
    citation: 'RFC 2986 §4, RFC 8894 §3.3.1',
    text: 'what is inside is not a certification request',
    mend: 'The client is faulty, or the messageType is wrong (RFC 8894 §3.2.2: both must agree).',
  },
  csrSignature: {
    severity: 'error',
    citation: 'RFC 2986 §3',
    text: 'the request is not signed by its own key',
    mend: 'The client is faulty, or the request was changed.',
  },
  noSubject: {
    severity: 'warning',
    citation: 'RFC 8894 §3.3.1',
    text: 'the request has no subject',
    mend: 'Correct the subject name format of the profile, unless the template takes names from elsewhere.',
  },
  noChallenge: {
    severity: 'warning',
    citation: 'RFC 8894 §3.3.1',
    text: 'a PKCSReq without challengePassword',
    mend: 'Give the client a challenge. Only a renewal that is signed with the old certificate may do without.',
  },
  otherKey: {
    severity: 'note',
    citation: 'RFC 8894 §2.3',
    text: 'the message is signed by another key than that of the request',
    mend: 'Nothing: Windows signs with a key that it throws away, a renewal with the old one.',
  },
  otherSubject: {
    severity: 'note',
    citation: 'RFC 8894 §2.3',
    text: 'the self-signed signer has another subject than the request',
    mend: 'Nothing: the RFC asks for the same, and many clients do not.',
  },
  swappedValidity: {
    severity: 'note',
    citation: 'MS-WCCE §2.2.2.7.10',
    text: 'name and value of the wished validity are swapped',
    mend: 'Nothing: Android by Intune sends it so. The template’s validity counts.',
  },
  insideOther: {
    severity: 'error',
    citation: 'RFC 8894 §3.2.2',
    text: 'what is inside does not fit the messageType',
    mend: 'The client is faulty.',
  },
  degenerateContent: {
    severity: 'warning',
    citation: 'RFC 8894 §3.4',
    text: 'a certs-only message has content',
    mend: 'Whoever made it is faulty.',
  },
  noCertificates: {
    severity: 'error',
    citation: 'RFC 8894 §3.3.2.1',
    text: 'a SUCCESS without certificate or CRL',
    mend: 'The server is faulty.',
  },
  leafNotFirst: {
    severity: 'warning',
    citation: 'RFC 8894 §3.4',
    text: 'the first certificate of the answer is a CA’s',
    mend: 'Apple pairs its key with the first one (22008): the server must put the device’s first, or alone.',
  },
  // --- GetCACert ---------------------------------------------------------------------------------------------------------
  noEncryption: {
    severity: 'error',
    citation: 'RFC 8894 §2.1.2',
    text: 'no served certificate may be used for keyEncipherment',
    mend: 'Clients have nothing to encrypt to: issue RA certificates.',
  },
  noSigning: {
    severity: 'warning',
    citation: 'RFC 8894 §2.1.2',
    text: 'no served certificate may be used for digitalSignature',
    mend: 'Apple and Windows look for one: serve the RA’s signing certificate.',
  },
  noRaPurpose: {
    severity: 'warning',
    citation: 'Windows (reports of users)',
    text: 'the RA certificates have neither the purpose Certificate Request Agent nor serverAuth',
    mend: 'Windows ends with 0x8010002c: issue them from the templates ra-signing and ra-encryption.',
  },
  noRoot: {
    severity: 'note',
    citation: 'RFC 8894 §4.2.1.2',
    text: 'the root is not served',
    mend: 'Android profiles name the root’s thumbprint: serve it there.',
  },
  raNotRsa: {
    severity: 'error',
    citation: 'RFC 8894 §3.1',
    text: 'the key that clients encrypt to is not RSA',
    mend: 'No client in the field can encrypt to it: issue an RSA certificate.',
  },
  chainBroken: {
    severity: 'error',
    citation: 'RFC 5280 §6.1',
    text: 'a served certificate is not signed by the one that its issuer names',
    mend: 'Serve the certificates of one hierarchy; after a renewal of the CA issue RA certificates anew.',
  },
  // --- GetCACaps ---------------------------------------------------------------------------------------------------------
  capsCase: {
    severity: 'warning',
    citation: 'RFC 8894 §3.5.2',
    text: 'a keyword is not in the RFC’s case',
    mend: 'The server must use it; some clients compare exactly.',
  },
  capsUnknown: {
    severity: 'note',
    citation: 'RFC 8894 §3.5.2',
    text: 'a keyword that the RFC does not have',
    mend: 'Nothing: clients ignore it. SHA-384 is there for strongSwan 5.9.',
  },
  capsWeak: {
    severity: 'warning',
    citation: 'RFC 8894 §2.9',
    text: 'no AES and SHA-256: clients fall back to triple DES and SHA-1, or give up',
    mend: 'Apple says “does not have the required capability”. Offer AES, SHA-256 and SCEPStandard; see that no proxy changes the answer.',
  },
  capsNoPost: {
    severity: 'warning',
    citation: 'RFC 8894 §2.9',
    text: 'POST is not offered: clients send everything in URLs of 10 to 40 KB',
    mend: 'Offer POSTPKIOperation.',
  },
  capsEmpty: {
    severity: 'warning',
    citation: 'RFC 8894 §3.5.2',
    text: 'there is nothing in it: no capability at all, if it is an answer to GetCACaps',
    mend: 'Clients take it for a server of the year 2000: DES and MD5. If it should be something else, it was not captured.',
  },
} as const satisfies Record<string, FindingRule>;

/** Name of a rule. */
export type FindingName = keyof typeof findingRules;

/** One finding in one message. */
export interface Finding extends FindingRule {
  readonly rule: FindingName;
  /** What it was in this message; empty if the rule says it all. */
  readonly detail: string;
}

/** The findings of one message; a rule counts once. */
export class Findings {
  readonly #found = new Map<FindingName, Finding>();

  /** Adds one, unless it is there. */
  add(rule: FindingName, detail = ''): void {
    if (!this.#found.has(rule)) this.#found.set(rule, { rule, ...findingRules[rule], detail });
  }

  /** Whether a rule was broken. */
  has(rule: FindingName): boolean {
    return this.#found.has(rule);
  }

  /** Errors first, then warnings, then notes; among themselves as they were found. */
  list(): readonly Finding[] {
    const order: readonly Severity[] = ['error', 'warning', 'note'];
    return [...this.#found.values()].toSorted(
      (a, b) => order.indexOf(a.severity) - order.indexOf(b.severity),
    );
  }
}
