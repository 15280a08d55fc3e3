/** A SCEP message of any kind in words, with what is wrong with it: as far as it can be read, and also if it is broken. */
import {
  basicConstraintsOf,
  type Certificate,
  ciphers,
  type Decrypt,
  DerReader,
  digestOf,
  type EnvelopedData,
  extKeyUsageOf,
  hex,
  keyTransportOf,
  keyUsageOf,
  nameToString,
  normalizeBer,
  objectIdentifier,
  oid,
  openEnvelopedData,
  parseCertificate,
  parseCertificationRequest,
  parseCrl,
  parseEnvelopedData,
  parseName,
  parsePublicKeyInfo,
  parseSignedData,
  publicKeyOf,
  readAlgorithmIdentifier,
  type SignedData,
  sameOctets,
  serialNumberText,
  signerAlgorithmOf,
  signerCertificateOf,
  tag,
  verifyCertificateSignature,
  verifyCertificationRequest,
  verifySignature,
  verifySigner,
} from '../../codec/index.ts';
import { PkiError } from '../../errors.ts';
import { rfcCapabilities } from '../capabilities.ts';
import { failInfos, messageTypes, pkiStatuses } from '../message.ts';
import {
  attempt,
  type BerFlaw,
  type BerNode,
  childOf,
  childWithTag,
  kindOf,
  octetsOf,
  oidName,
  oidOf,
  readBerTree,
  shortHex,
  textOf,
} from './ber-tree.ts';
import {
  describeCertificate,
  describeCrl,
  describeRequest,
  factsOf,
  judgeCertificate,
  judgeKey,
  type Section,
} from './describe.ts';
import { type Finding, Findings } from './findings.ts';
import { unpackInput } from './input.ts';

/** A key that may open an envelope, with its certificate if that is known. */
export interface RecipientKey {
  readonly decrypt: Decrypt;
  readonly certificate?: Certificate;
}

/** What a message is read with. */
export interface ExplainOptions {
  readonly now: Date;
  /** Keys that may open the envelope: the RA's for requests, the client's for answers. */
  readonly keys: readonly RecipientKey[];
  /** The challenge password lets whoever reads it enrol; it is masked unless asked for by this name. */
  readonly challenge: 'masked' | 'danger-shown';
}

/** A message in words. */
export interface Explanation {
  /** `PKCSReq`, `CertRep FAILURE`, `GetCACert answer`, …; `unreadable` if it is nothing of SCEP's. */
  readonly kind: string;
  /** What it was wrapped in, outermost first. */
  readonly wrappings: readonly string[];
  readonly sizeBytes: number;
  readonly sections: readonly Section[];
  readonly findings: readonly Finding[];
}

/**
 * Explains a message: its octets, PEM, base64 with whatever escaping, or the URL that carried it; or an answer to
 * GetCACert, GetNextCACert or GetCACaps. Never throws for what is in it, save `key_unavailable` from the key.
 */
export async function explainScep(input: Uint8Array, options: ExplainOptions): Promise<Explanation> {
  const findings = new Findings();
  const { wrappings, octets, text, pemLabel } = unpackInput(input, findings);
  const reading = new Reading(findings, options);
  const { kind, sections } =
    octets.length === 0 && text !== undefined
      ? reading.text(text, wrappings)
      : await reading.octets(octets, pemLabel);
  return {
    kind,
    wrappings,
    sizeBytes: octets.length === 0 ? input.length : octets.length,
    sections,
    findings: findings.list(),
  };
}

interface Read {
  readonly kind: string;
  readonly sections: readonly Section[];
}

const flawFindings = {
  cut: 'cut',
  trailing: 'trailing',
  indefinite: 'indefinite',
  pieces: 'pieces',
  longLength: 'longLength',
  tag: 'tooDeep',
  limit: 'tooDeep',
} as const satisfies Record<BerFlaw, string>;

const typeNames: ReadonlyMap<string, string> = new Map(
  Object.entries(messageTypes).map(([name, number]) => [String(number), name]),
);
const statusNames: ReadonlyMap<string, string> = new Map(
  Object.entries(pkiStatuses).map(([name, number]) => [String(number), name]),
);
const failInfoNames: ReadonlyMap<string, string> = new Map(
  Object.entries(failInfos).map(([name, number]) => [String(number), name]),
);
/** `hash` algorithms that are mistaken for digests. */
const signatureNames = /RSAEncryption$|^ecdsa/i;
const NONCE_BYTES = 16;
const NONCE_BYTES_MAX = 64;
const TRANSACTION_ID_CHARACTERS_MAX = 255;
const MICROSOFT_NAME_VALUE_PAIR = '1.3.6.1.4.1.311.13.2.1';

/** The signed attributes that SCEP knows, as they could be read. */
interface ReadAttributes {
  readonly section: Section;
  readonly messageType: string | undefined;
  readonly pkiStatus: string | undefined;
}

class Reading {
  readonly #findings: Findings;
  readonly #options: ExplainOptions;

  constructor(findings: Findings, options: ExplainOptions) {
    this.#findings = findings;
    this.#options = options;
  }

  /** A text without a message in it: GetCACaps, a page, a query. */
  text(text: string, wrappings: readonly string[]): Read {
    const findings = this.#findings;
    if (wrappings[0]?.startsWith('URL') === true)
      return { kind: 'request without a message', sections: [{ title: 'Query', facts: [['', text]] }] };
    if (findings.has('html'))
      return { kind: 'unreadable', sections: [{ title: 'Begins with', facts: [['', text.slice(0, 200)]] }] };
    const words = text
      .split(/\r?\n/)
      .map((line) => line.trim())
      .filter((line) => line !== '');
    const known = [
      'AES',
      'DES3',
      'GetNextCACert',
      'POSTPKIOperation',
      'Renewal',
      'SCEPStandard',
      ...rfcCapabilities,
    ];
    const byLowerCase = new Map(known.map((word) => [word.toLowerCase(), word]));
    if (words.length > 0 && !words.some((word) => byLowerCase.has(word.toLowerCase()))) {
      findings.add('notAsn1');
      return { kind: 'unreadable', sections: [{ title: 'Begins with', facts: [['', text.slice(0, 200)]] }] };
    }
    const meant = new Set<string>();
    for (const word of words) {
      const spelt = byLowerCase.get(word.toLowerCase());
      if (spelt === undefined) findings.add('capsUnknown', word);
      else if (spelt !== word) findings.add('capsCase', word);
      meant.add(spelt ?? word);
    }
    if (words.length === 0) findings.add('capsEmpty');
    else if (!meant.has('SCEPStandard')) {
      if (!meant.has('AES') || !(meant.has('SHA-256') || meant.has('SHA-512'))) findings.add('capsWeak');
      if (!meant.has('POSTPKIOperation')) findings.add('capsNoPost');
    }
    return {
      kind: 'GetCACaps answer',
      sections: [{ title: 'Capabilities', facts: words.map((word) => ['', word]) }],
    };
  }

  /** A message or a part of one. */
  async octets(octets: Uint8Array, pemLabel?: string): Promise<Read> {
    const findings = this.#findings;
    const { root, flaws } = readBerTree(octets);
    if (root === undefined || root.tag !== tag.sequence) {
      findings.add('notAsn1', `it begins with ${shortHex(octets.subarray(0, 8))}`);
      return { kind: 'unreadable', sections: [] };
    }
    for (const [flaw, { detail }] of flaws) findings.add(flawFindings[flaw], detail);
    const type = oidOf(childOf(root, 0));
    const content = childOf(childWithTag(root, 0xa0), 0);
    if (type === oid.signedData && content !== undefined) return await this.#signedData(octets, content);
    if (type === oid.envelopedData && content !== undefined) {
      findings.add('notSignedData', 'an EnvelopedData alone');
      return {
        kind: 'EnvelopedData',
        sections: (await this.#envelope(octets, undefined, undefined)).sections,
      };
    }
    const certificate = attempt(() => parseCertificate(octets));
    if (certificate !== undefined) return this.#caCertificates([certificate], 'one certificate');
    const isRequest =
      pemLabel?.includes('REQUEST') === true ||
      attempt(() => parseCertificationRequest(octets)) !== undefined;
    if (isRequest) {
      findings.add('notSignedData', 'a certification request alone');
      return { kind: 'certification request', sections: [this.#request(octets, 'PKCSReq', undefined)] };
    }
    const crl = attempt(() => parseCrl(octets));
    if (crl !== undefined) return { kind: 'CRL', sections: [describeCrl(crl, 'CRL')] };
    findings.add(
      'notSignedData',
      type === undefined ? 'it is another structure' : `content type ${oidName(type)}`,
    );
    return { kind: 'unreadable', sections: [] };
  }

  async #signedData(octets: Uint8Array, content: BerNode): Promise<Read> {
    const findings = this.#findings;
    const strict = this.#strict(octets);
    const encapsulated = content.children.find((child, index) => index > 0 && child.tag === tag.sequence);
    const eContentType = oidOf(childOf(encapsulated, 0));
    const eContent = octetsOf(childOf(childWithTag(encapsulated, 0xa0), 0));
    const certificates = this.#certificates(childWithTag(content, 0xa0));
    const crls = (childWithTag(content, 0xa1)?.children ?? []).map(({ raw }) =>
      attempt(() => parseCrl(normalizeBer(raw))),
    );
    const signers = content.children.findLast(
      (child) => child.tag === tag.set && child !== childOf(content, 1),
    );
    const [signer, ...more] = signers?.children ?? [];
    if (signer === undefined && eContent !== undefined && findings.has('cut')) {
      const inside = await this.#envelope(eContent, undefined, undefined);
      return {
        kind: 'the beginning of a message',
        sections: [
          ...certificates.map((certificate) => describeCertificate(certificate, 'Certificate')),
          ...inside.sections,
        ],
      };
    }
    if (signer === undefined) {
      // §3.4: no signer at all is the degenerate form.
      if (eContent !== undefined) findings.add('degenerateContent');
      return this.#certsOnly(certificates, crls);
    }
    if (more.length > 0) findings.add('signers', `${more.length + 1}`);
    if (eContentType !== oid.data) findings.add('contentType', oidName(eContentType));
    const attributes = this.#attributes(signer);
    if (
      attributes.messageType === undefined &&
      attributes.section.facts.every(([name]) => !name.startsWith('transaction'))
    ) {
      const next = eContent === undefined ? undefined : attempt(() => parseSignedData(eContent));
      if (next !== undefined && next.signerInfos.length === 0)
        return this.#nextCa(strict, next, signer, certificates);
    }
    this.#judgeAttributes(attributes, eContent);
    const signerCertificate = this.#signature(strict, certificates, signer);
    const { messageType, pkiStatus } = attributes;
    const kind =
      messageType === 'CertRep'
        ? `CertRep ${pkiStatus ?? 'without status'}`
        : (messageType ?? 'unknown message');
    const inside =
      eContent === undefined || eContent.length === 0
        ? []
        : (await this.#envelope(eContent, messageType, signerCertificate)).sections;
    return {
      kind,
      sections: [
        this.#describeSigner(signer, strict),
        attributes.section,
        ...certificates.map((certificate, index) =>
          describeCertificate(
            certificate,
            certificate === signerCertificate ? 'Certificate of the signer' : `Certificate ${index + 1}`,
          ),
        ),
        ...inside,
      ],
    };
  }

  #strict(octets: Uint8Array): SignedData | undefined {
    try {
      return parseSignedData(octets);
    } catch (cause) {
      if (!(cause instanceof PkiError)) throw cause;
      this.#findings.add('cmsUnreadable', cause.message);
      return undefined;
    }
  }

  #certificates(set: BerNode | undefined): Certificate[] {
    return (set?.children ?? []).flatMap(({ raw }) => {
      try {
        const certificate = parseCertificate(normalizeBer(raw));
        judgeCertificate(certificate, this.#options.now, this.#findings);
        return [certificate];
      } catch (cause) {
        if (!(cause instanceof PkiError)) throw cause;
        this.#findings.add('certificateUnreadable', cause.message);
        return [];
      }
    });
  }

  // --- the signer -----------------------------------------------------------------------------------------------------

  #describeSigner(signer: BerNode, strict: SignedData | undefined): Section {
    const [digest, signature] = this.#signerAlgorithms(signer);
    const info = strict?.signerInfos[0];
    return {
      title: 'SignedData',
      facts: factsOf([
        ['digest', oidName(digest)],
        ['signature', oidName(signature)],
        ['signer named by', info?.sid.type],
        ['signature is', this.#verdict],
      ]),
    };
  }

  #verdict = 'not checked: the message cannot be read whole';

  /** Identifiers of digestAlgorithm and signatureAlgorithm, by their places. */
  #signerAlgorithms(signer: BerNode): readonly [digest: string | undefined, signature: string | undefined] {
    const algorithms = signer.children.filter((child) => oidOf(childOf(child, 0)) !== undefined);
    return [oidOf(childOf(algorithms.at(0), 0)), oidOf(childOf(algorithms.at(1), 0))];
  }

  /** Verifies, says why not, and answers the signer's certificate. */
  #signature(
    strict: SignedData | undefined,
    certificates: readonly Certificate[],
    signer: BerNode,
  ): Certificate | undefined {
    const findings = this.#findings;
    const [digestOid, signatureOid] = this.#signerAlgorithms(signer);
    if (digestOid !== undefined && signatureNames.test(oidName(digestOid)))
      findings.add('digestIsSignature', oidName(digestOid));
    const info = strict?.signerInfos[0];
    if (strict === undefined || info === undefined) return certificates[0];
    const digest = attempt(() => digestOf(info.digestAlgorithm));
    if (digest === undefined) {
      if (!findings.has('digestIsSignature')) findings.add('digestRefused', oidName(digestOid));
    } else if (digest.name === 'sha1') findings.add('sha1');
    if (
      digest !== undefined &&
      attempt(() => signerAlgorithmOf(info.signatureAlgorithm, digest)) === undefined
    )
      findings.add('signatureAlgorithm', oidName(signatureOid));
    const certificate = signerCertificateOf(strict, info);
    if (certificate === undefined) {
      findings.add('signerCertificate');
      this.#verdict = 'not checked: its certificate is not there';
      return undefined;
    }
    const same = certificates.find(({ raw }) => sameOctets(raw, certificate.raw)) ?? certificate;
    if (info.signedAttrs === undefined) {
      findings.add('noSignedAttributes');
      this.#verdict = 'not taken';
      return same;
    }
    const good = attempt(() => verifySigner(strict, info, certificate));
    if (good === true) {
      this.#verdict = 'good: the sender has the key of the enclosed certificate; that proves no identity';
      return same;
    }
    this.#verdict = good === undefined ? 'not checked: an algorithm is not supported' : 'wrong';
    if (good === undefined || digest === undefined) return same;
    // Which half is wrong (RFC 5652 §5.6): the signature over the attributes, or what they say of the content.
    const value = (type_: string) =>
      info.signedAttrs?.attributes.find((attribute) => attribute.oid === type_)?.values[0];
    const statedType = value(oid.contentType);
    const algorithm = attempt(() => signerAlgorithmOf(info.signatureAlgorithm, digest));
    if (value(oid.messageDigest) === undefined || statedType === undefined) findings.add('requiredAttribute');
    else if (!sameOctets(statedType, objectIdentifier(strict.contentType)))
      findings.add('requiredAttribute', 'contentType names another type');
    else if (
      algorithm !== undefined &&
      attempt(() =>
        verifySignature(
          algorithm,
          publicKeyOf(certificate.spki),
          info.signedAttrs?.toBeSigned ?? Uint8Array.of(),
          info.signature,
        ),
      ) === true
    )
      findings.add('digestMismatch');
    else findings.add('signatureWrong');
    return same;
  }

  // --- the signed attributes ------------------------------------------------------------------------------------------

  #attributes(signer: BerNode): ReadAttributes {
    const findings = this.#findings;
    const set = childWithTag(signer, 0xa0);
    const facts: [string, string][] = [];
    let messageType: string | undefined;
    let pkiStatus: string | undefined;
    if (set === undefined) return { section: { title: 'Signed attributes', facts }, messageType, pkiStatus };
    const seen = new Set<string>();
    for (const attribute of set.children) {
      const type = oidOf(childOf(attribute, 0));
      const values = childOf(attribute, 1)?.children ?? [];
      if (type === undefined) continue;
      const [value] = values;
      if (seen.has(type) || values.length !== 1) findings.add('attributeTwice', oidName(type));
      seen.add(type);
      const told = this.#attribute(type, value);
      facts.push([told.name, told.value]);
      if (type === oid.scepMessageType) messageType ??= told.meaning;
      if (type === oid.scepPkiStatus) pkiStatus ??= told.meaning;
    }
    const encodings = set.children.map(({ raw }) => raw);
    if (encodings.some((raw, index) => index > 0 && Buffer.compare(encodings[index - 1] ?? raw, raw) > 0))
      findings.add('attributesOrder');
    return { section: { title: 'Signed attributes', facts }, messageType, pkiStatus };
  }

  #attribute(
    type: string,
    value: BerNode | undefined,
  ): { readonly name: string; readonly value: string; readonly meaning?: string } {
    const findings = this.#findings;
    const name = oidName(type).replace(/^scep([A-Z])/, (_, letter: string) => letter.toLowerCase());
    if (value === undefined) return { name, value: '(no value)' };
    const text = textOf(value);
    const numbered = (names: ReadonlyMap<string, string>) => {
      const meaning = value.tag === tag.printableString && text !== undefined ? names.get(text) : undefined;
      const shown = text ?? `${kindOf(value)} ${shortHex(value.content)}`;
      const encoding = value.tag === tag.printableString ? '' : ` (as ${kindOf(value)})`;
      return {
        name,
        value: `${shown}${encoding}${meaning === undefined ? '' : ` = ${meaning}`}`,
        ...(meaning === undefined ? {} : { meaning }),
      };
    };
    switch (type) {
      case oid.scepMessageType:
        return numbered(typeNames);
      case oid.scepPkiStatus:
        return numbered(statusNames);
      case oid.scepFailInfo:
        return numbered(failInfoNames);
      case oid.scepSenderNonce:
      case oid.scepRecipientNonce: {
        const nonce = value.tag === tag.octetString ? value.content : undefined;
        if (nonce === undefined || nonce.length === 0 || nonce.length > NONCE_BYTES_MAX)
          findings.add('nonceType', `${name}: ${kindOf(value)} of ${value.content.length} octets`);
        else {
          if (nonce.length !== NONCE_BYTES) findings.add('nonceSize', `${name}: ${nonce.length} octets`);
          if (nonce.length > 1 && nonce.every((octet) => octet === nonce[0]))
            findings.add('nonceConstant', name);
        }
        return {
          name,
          value: `${shortHex(value.content, NONCE_BYTES_MAX)} (${value.content.length} octets)`,
        };
      }
      case oid.scepTransactionID: {
        if (
          text === undefined ||
          text === '' ||
          text.length > TRANSACTION_ID_CHARACTERS_MAX ||
          !/^[\x20-\x7e]+$/.test(text)
        )
          findings.add('transactionID', text === undefined ? kindOf(value) : `${text.length} characters`);
        else if (value.tag !== tag.printableString) findings.add('transactionIDType', kindOf(value));
        return { name, value: text ?? shortHex(value.content) };
      }
      case oid.scepFailInfoText:
        if (value.tag !== tag.utf8String) findings.add('failInfoTextType', kindOf(value));
        return { name, value: text ?? shortHex(value.content) };
      case oid.contentType:
        return { name, value: oidName(oidOf(value)) };
      case oid.signingTime: {
        const at = attempt(() => new DerReader(value.raw).time());
        return { name, value: at?.toISOString() ?? 'unreadable' };
      }
      default:
        return { name, value: text ?? shortHex(value.content) };
    }
  }

  #judgeAttributes(
    { section, messageType, pkiStatus }: ReadAttributes,
    content: Uint8Array | undefined,
  ): void {
    const findings = this.#findings;
    const has = (name: string) => section.facts.some(([fact]) => fact === name);
    if (section.facts.length === 0) findings.add('noSignedAttributes');
    if (!has('transactionID')) findings.add('transactionID', 'absent');
    if (messageType === undefined)
      findings.add('messageType', has('messageType') ? factIn(section, 'messageType') : 'absent');
    if (messageType === 'UpdateReq') findings.add('messageTypeDraft');
    if (messageType !== 'CertRep') {
      if (!has('senderNonce')) findings.add('noSenderNonce');
      if (has('pkiStatus') || has('failInfo') || has('recipientNonce')) findings.add('statusInRequest');
      if (content === undefined || content.length === 0) findings.add('noContent');
      return;
    }
    if (!has('recipientNonce')) findings.add('noRecipientNonce');
    if (pkiStatus === undefined)
      findings.add('pkiStatus', has('pkiStatus') ? factIn(section, 'pkiStatus') : 'absent');
    if (pkiStatus === 'FAILURE' && !/ = /.test(factIn(section, 'failInfo')))
      findings.add('failInfo', factIn(section, 'failInfo') || 'absent');
    if (pkiStatus === 'SUCCESS' && (content === undefined || content.length === 0))
      findings.add('noCertificates');
    if (pkiStatus === 'FAILURE' || pkiStatus === 'PENDING') {
      if (content !== undefined && content.length > 0) findings.add('envelopeInRefusal');
      else if (content !== undefined) findings.add('emptyContent');
    }
  }

  // --- the envelope ---------------------------------------------------------------------------------------------------

  async #envelope(
    octets: Uint8Array,
    messageType: string | undefined,
    signer: Certificate | undefined,
  ): Promise<{ readonly sections: readonly Section[] }> {
    const findings = this.#findings;
    const { root, flaws } = readBerTree(octets);
    for (const [flaw, { detail }] of flaws) findings.add(flawFindings[flaw], `envelope: ${detail}`);
    const type = oidOf(childOf(root, 0));
    const enveloped = childOf(childWithTag(root, 0xa0), 0);
    if (type !== oid.envelopedData || enveloped === undefined) {
      findings.add('notEnvelopedData', type === undefined ? '' : oidName(type));
      return { sections: [] };
    }
    const recipients = childWithTag(enveloped, tag.set)?.children ?? [];
    const content = enveloped.children.findLast((child) => child.tag === tag.sequence);
    if (recipients.length > 1) findings.add('recipients', `${recipients.length}`);
    const [recipient] = recipients;
    const isPassword = recipient?.tag === 0xa3;
    if (recipient === undefined || (recipient.tag !== tag.sequence && !isPassword))
      findings.add('noRecipient', recipient === undefined ? '' : kindOf(recipient));
    const keyType = signer === undefined ? undefined : attempt(() => parsePublicKeyInfo(signer.spki))?.type;
    if (messageType !== 'CertRep' && !isPassword && keyType !== undefined && keyType !== 'rsa') {
      const isEnrolment = messageType === 'PKCSReq' || messageType === 'RenewalReq';
      findings.add(keyType === 'ec' && isEnrolment ? 'signerCurve' : 'signerKey');
    }
    const encryptedType = oidOf(childOf(content, 0));
    if (encryptedType !== oid.data) findings.add('encryptedType', oidName(encryptedType));
    const cipherOid = oidOf(childOf(childOf(content, 1), 0));
    const cipher = Object.values(ciphers).find((row) => row.oid === cipherOid);
    if (cipher === undefined) findings.add('cipher', oidName(cipherOid));
    else if (cipher.name === 'des-cbc') findings.add('des');
    else if (cipher.name === 'des-ede3-cbc') findings.add('des3');
    const iv = octetsOf(childOf(childOf(content, 1), 1));
    if (cipher !== undefined && iv?.length !== cipher.ivBytes)
      findings.add('iv', `${iv?.length ?? 0} octets`);
    const encrypted = octetsOf(content?.children[2]);
    if (
      cipher !== undefined &&
      (encrypted === undefined || encrypted.length === 0 || encrypted.length % cipher.ivBytes !== 0)
    )
      findings.add('blockSize', `${encrypted?.length ?? 0} octets`);
    const transport = isPassword
      ? 'by the challenge password (RFC 8894 §3.1)'
      : this.#keyTransport(recipient);
    const sections: Section[] = [
      {
        title: 'EnvelopedData',
        facts: factsOf([
          ['recipient', isPassword ? 'whoever knows the challenge' : this.#recipient(recipient)],
          ['key transport', transport],
          ['cipher', cipher?.name ?? oidName(cipherOid)],
          ['encrypted', `${encrypted?.length ?? 0} octets`],
        ]),
      },
    ];
    if (this.#options.keys.length === 0 || isPassword) return { sections };
    const inside = await this.#open(octets);
    if (inside === undefined) return { sections };
    sections.push(...this.#inside(inside, messageType, signer));
    return { sections };
  }

  #recipient(recipient: BerNode | undefined): string | undefined {
    const rid = childOf(recipient, 1);
    if (rid === undefined) return undefined;
    const candidates = this.#options.keys.flatMap(({ certificate }) => certificate ?? []);
    const raw = attempt(() => normalizeBer(rid.raw)) ?? rid.raw;
    if (rid.tag === tag.sequence) {
      if (candidates.length > 0 && !candidates.some((known) => sameOctets(known.issuerAndSerialNumber, raw)))
        this.#findings.add('recipientOther');
      return issuerAndSerial(rid);
    }
    return `subjectKeyIdentifier ${hex(rid.content)}`;
  }

  #keyTransport(recipient: BerNode | undefined): string | undefined {
    const algorithm = childOf(recipient, 2);
    if (algorithm === undefined) return undefined;
    const named = oidName(oidOf(childOf(algorithm, 0)));
    try {
      const transport = keyTransportOf(readAlgorithmIdentifier(new DerReader(normalizeBer(algorithm.raw))));
      return transport.name === 'rsaes-oaep' ? `RSAES-OAEP, ${transport.digest}` : 'RSAES-PKCS1-v1_5';
    } catch (cause) {
      if (!(cause instanceof PkiError)) throw cause;
      this.#findings.add('keyTransport', named);
      return named;
    }
  }

  /** The content, or `undefined` if no key opens it: then nobody can say why. */
  async #open(octets: Uint8Array): Promise<Uint8Array | undefined> {
    let enveloped: EnvelopedData;
    try {
      enveloped = parseEnvelopedData(octets);
    } catch (cause) {
      if (!(cause instanceof PkiError)) throw cause;
      this.#findings.add('cmsUnreadable', cause.message);
      return undefined;
    }
    // A wrong key opens nothing, but one time in a hundred its padding looks right: what is a SEQUENCE is preferred.
    let opened: Uint8Array | undefined;
    for (const { decrypt } of this.#options.keys) {
      try {
        const content = await openEnvelopedData(enveloped, decrypt);
        if (readBerTree(content).root?.raw.length === content.length) return content;
        opened ??= content;
      } catch (cause) {
        if (!(cause instanceof PkiError) || cause.kind !== 'malformed') throw cause;
      }
    }
    if (opened === undefined) this.#findings.add('envelopeClosed');
    return opened;
  }

  // --- what is inside -------------------------------------------------------------------------------------------------

  #inside(
    content: Uint8Array,
    messageType: string | undefined,
    signer: Certificate | undefined,
  ): readonly Section[] {
    switch (messageType) {
      case 'PKCSReq':
      case 'RenewalReq':
      case 'UpdateReq':
      case undefined:
        return [this.#request(content, messageType, signer)];
      case 'CertPoll':
        return [this.#named(content, 'IssuerAndSubject', ['issuer', 'subject'])];
      case 'GetCert':
      case 'GetCRL':
        return [this.#named(content, 'IssuerAndSerialNumber', ['issuer', 'serial number'])];
      default: {
        const { root } = readBerTree(content);
        const inner = childOf(childWithTag(root, 0xa0), 0);
        if (oidOf(childOf(root, 0)) !== oid.signedData || inner === undefined) {
          this.#findings.add('insideOther', 'not a certs-only SignedData');
          return [];
        }
        return this.#delivered(inner);
      }
    }
  }

  /** A pair of names, or of a name and a number. */
  #named(content: Uint8Array, title: string, names: readonly [string, string]): Section {
    const { root } = readBerTree(content);
    const [first, second] = root?.children ?? [];
    const nameIn = (node: BerNode | undefined) =>
      node === undefined ? undefined : attempt(() => nameToString(parseName(node.raw)));
    const issuer = nameIn(first);
    const other = second?.tag === tag.integer ? serialNumberText(second.content) : nameIn(second);
    const fits = (second?.tag === tag.integer) === (names[1] === 'serial number');
    if (issuer === undefined || other === undefined || !fits || root?.children.length !== 2)
      this.#findings.add('insideOther', `not an ${title}`);
    return {
      title: `Inside: ${title}`,
      facts: factsOf([
        [names[0], issuer],
        [names[1], other],
      ]),
    };
  }

  #request(octets: Uint8Array, messageType: string | undefined, signer: Certificate | undefined): Section {
    const findings = this.#findings;
    let request: ReturnType<typeof parseCertificationRequest>;
    try {
      request = parseCertificationRequest(octets);
    } catch (cause) {
      if (!(cause instanceof PkiError)) throw cause;
      findings.add('csrUnreadable', cause.message);
      return { title: 'Inside: unreadable', facts: [['begins with', shortHex(octets.subarray(0, 16))]] };
    }
    const proven = attempt(() => verifyCertificationRequest(request));
    if (proven !== true)
      findings.add('csrSignature', proven === undefined ? 'its algorithm is not supported' : '');
    if (request.subject.rdns.length === 0) findings.add('noSubject');
    judgeKey(request.spki, findings, 'the request');
    const { challengePassword } = request;
    if (challengePassword === undefined && messageType === 'PKCSReq') findings.add('noChallenge');
    // The answer has nothing to be encrypted under.
    if (challengePassword === undefined && findings.has('signerCurve')) findings.add('signerKey');
    if (signer !== undefined) {
      if (!sameOctets(signer.spki, request.spki)) findings.add('otherKey');
      const isSelfSigned = sameOctets(signer.subject.raw, signer.issuer.raw);
      if (isSelfSigned && !sameOctets(signer.subject.raw, request.subject.raw)) findings.add('otherSubject');
    }
    return {
      title: 'Inside: certification request',
      facts: [
        ...describeRequest(request),
        ...factsOf([['proof of possession', proven === true ? 'good' : 'missing']]),
        ...this.#requestAttributes(octets),
        ['challenge password', this.#challenge(challengePassword)],
      ],
    };
  }

  #challenge(challenge: string | undefined): string {
    if (challenge === undefined) return 'none';
    if (this.#options.challenge === 'danger-shown') return challenge;
    return `${challenge.length} characters, not shown`;
  }

  /** What Microsoft's clients wish for in attributes of their own. */
  #requestAttributes(octets: Uint8Array): (readonly [string, string])[] {
    const attributes = childWithTag(childOf(readBerTree(octets).root, 0), 0xa0)?.children ?? [];
    return attributes.flatMap((attribute): (readonly [string, string])[] => {
      if (oidOf(childOf(attribute, 0)) !== MICROSOFT_NAME_VALUE_PAIR) return [];
      const pair = childOf(childOf(attribute, 1), 0);
      const [name = '', value = ''] = [textOf(childOf(pair, 0)), textOf(childOf(pair, 1))];
      // QUIRK Android: name and value of the wished validity change places (android-swapped-validity).
      if (/^ValidityPeriod/.test(value) || /^\d+$/.test(name)) this.#findings.add('swappedValidity');
      return [[`wish ${name}`, value]];
    });
  }

  #delivered(inner: BerNode): readonly Section[] {
    const findings = this.#findings;
    const certificates = this.#certificates(childWithTag(inner, 0xa0));
    const crls = (childWithTag(inner, 0xa1)?.children ?? []).flatMap(
      ({ raw }) => attempt(() => parseCrl(normalizeBer(raw))) ?? [],
    );
    if (certificates.length + crls.length === 0) findings.add('noCertificates');
    const [first] = certificates;
    if (
      first !== undefined &&
      certificates.length > 1 &&
      attempt(() => basicConstraintsOf(first))?.ca === true
    )
      findings.add('leafNotFirst');
    return [
      ...certificates.map((certificate, index) =>
        describeCertificate(certificate, `Inside: certificate ${index + 1}`),
      ),
      ...crls.map((crl, index) => describeCrl(crl, `Inside: CRL ${index + 1}`)),
    ];
  }

  // --- GetCACert, GetNextCACert ---------------------------------------------------------------------------------------

  #certsOnly(
    certificates: readonly Certificate[],
    crls: readonly (ReturnType<typeof parseCrl> | undefined)[],
  ): Read {
    if (certificates.length === 0 && crls.length > 0) {
      return {
        kind: 'CRL in a certs-only SignedData',
        sections: crls.flatMap((crl, index) =>
          crl === undefined ? [] : [describeCrl(crl, `CRL ${index + 1}`)],
        ),
      };
    }
    return this.#caCertificates(certificates, 'certificates of CA and RA');
  }

  #caCertificates(certificates: readonly Certificate[], what: string): Read {
    const findings = this.#findings;
    for (const certificate of certificates) judgeCertificate(certificate, this.#options.now, findings);
    const isCa = (certificate: Certificate) => attempt(() => basicConstraintsOf(certificate))?.ca === true;
    const usage = (certificate: Certificate) => attempt(() => keyUsageOf(certificate));
    const may = (certificate: Certificate, bit: 'keyEncipherment' | 'digitalSignature') =>
      usage(certificate)?.includes(bit) ?? true;
    const encryption = certificates.find((certificate) => may(certificate, 'keyEncipherment'));
    if (encryption === undefined) findings.add('noEncryption');
    else if (attempt(() => parsePublicKeyInfo(encryption.spki))?.type !== 'rsa') findings.add('raNotRsa');
    if (!certificates.some((certificate) => may(certificate, 'digitalSignature'))) findings.add('noSigning');
    const ras = certificates.filter((certificate) => !isCa(certificate));
    const purposes = ras.flatMap((certificate) => attempt(() => extKeyUsageOf(certificate)) ?? []);
    const wanted: readonly string[] = [oid.certificateRequestAgent, oid.serverAuth];
    if (ras.length > 0 && !purposes.some((purpose) => wanted.includes(purpose))) findings.add('noRaPurpose');
    const isRoot = ({ subject, issuer }: Certificate) => sameOctets(subject.raw, issuer.raw);
    if (!certificates.some(isRoot)) findings.add('noRoot');
    for (const certificate of certificates) {
      const issuers = certificates.filter(({ subject }) => sameOctets(subject.raw, certificate.issuer.raw));
      if (
        issuers.length > 0 &&
        !issuers.some(({ spki }) => attempt(() => verifyCertificateSignature(certificate, spki)) === true)
      )
        findings.add('chainBroken', nameToString(certificate.subject));
    }
    const role = (certificate: Certificate) => {
      if (isRoot(certificate)) return 'root';
      if (isCa(certificate)) return 'issuing CA';
      const roles = [
        ...(may(certificate, 'digitalSignature') ? ['signing'] : []),
        ...(may(certificate, 'keyEncipherment') ? ['encryption'] : []),
      ];
      return `RA: ${roles.join(' and ') || 'no use'}`;
    };
    return {
      kind: `GetCACert answer: ${what}`,
      sections: certificates.map((certificate, index) =>
        describeCertificate(certificate, `Certificate ${index + 1} (${role(certificate)})`),
      ),
    };
  }

  #nextCa(
    strict: SignedData | undefined,
    next: SignedData,
    signer: BerNode,
    certificates: readonly Certificate[],
  ): Read {
    this.#signature(strict, certificates, signer);
    return {
      kind: 'GetNextCACert answer',
      sections: [
        this.#describeSigner(signer, strict),
        ...certificates.map((certificate) => describeCertificate(certificate, 'Signed by the current CA')),
        ...next.certificates.map((certificate, index) =>
          describeCertificate(certificate, `Next certificate ${index + 1}`),
        ),
      ],
    };
  }
}

/** A name with a serial number, for a line. */
function issuerAndSerial(node: BerNode): string {
  const [issuer, serial] = node.children;
  const name = issuer === undefined ? undefined : attempt(() => nameToString(parseName(issuer.raw)));
  return `${name ?? 'unreadable'}, serial number ${serial === undefined ? '?' : serialNumberText(serial.content)}`;
}

const factIn = (section: Section, name: string): string =>
  section.facts.find(([fact]) => fact === name)?.[1] ?? '';
