/** PKCS #12 (RFC 7292): one private key with its certificate and chain, under a password. */
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createPrivateKey,
  createPublicKey,
  hash,
  pbkdf2,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';
import { PkiError } from '../errors.ts';
import {
  type AlgorithmIdentifier,
  buildAlgorithmIdentifier,
  cipherOf,
  ciphers,
  type Digest,
  type DigestName,
  digestOf,
  digests,
  nodeCipherOf,
  readAlgorithmIdentifier,
} from './algorithm.ts';
import { joinOctetStrings, normalizeBer } from './ber.ts';
import { type Certificate, parseCertificate } from './certificate.ts';
import {
  contextConstructed,
  contextPrimitive,
  DerReader,
  der,
  derOf,
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
import { oid } from './oid.ts';
import { PBKDF2_ITERATIONS, prfOids, readPbkdf2 } from './password-recipient.ts';

/** What a PFX holds. */
export interface Pkcs12 {
  /** DER PKCS #8 (RFC 5958) in the clear. The caller overwrites it when it is no longer needed. */
  readonly privateKey: Uint8Array;
  /** The certificate of that key. */
  readonly certificate: Certificate;
  /** The other certificates, as they come. */
  readonly chain: readonly Certificate[];
  /** What Windows shows as the name of the key; absent if there is none. */
  readonly friendlyName?: string;
}

/** What a PFX is built from. */
export interface Pkcs12Fields {
  /** DER PKCS #8 in the clear. */
  readonly privateKey: Uint8Array;
  readonly certificate: Certificate;
  readonly chain: readonly Certificate[];
  readonly friendlyName?: string;
  readonly password: string;
  /**
   * `modern`: PBES2 with AES-256-CBC and PBKDF2-HMAC-SHA-256, a MAC with SHA-256. `legacy`: three-key Triple DES and SHA-1,
   * for importers before Windows 10 1709, macOS 15 and Java 8u301, which read nothing else.
   */
  readonly form: 'modern' | 'legacy';
}

/** A chain of sixteen certificates takes some 30 KiB. */
const PFX_BYTES_MAX = 1024 * 1024;
const CERTIFICATES_MAX = 32;
const SAFES_MAX = 4;
const SALT_BYTES_MAX = 1024;
/**
 * RFC 7292 appendix B is one hash after the other, on the calling thread: a quarter of a second at the most for each of
 * the three keys that the sender can ask for. Windows writes 2,000, OpenSSL 2,048.
 */
const ITERATIONS_MAX = 100_000;
const LEGACY_ITERATIONS = 2048;
const SALT_BYTES = 16;
/** What OpenSSL has always written into the legacy form, whose importers may have seen nothing else. RFC 8018 §4.1: at least eight. */
const LEGACY_SALT_BYTES = 8;

/** RFC 7292 §B.3: what is derived. */
const keyMaterial = 1;
const initialValue = 2;
const macMaterial = 3;
/** The block that the hash function works in, which appendix B pads to. */
const blockBytes: Readonly<Record<DigestName, number>> = { sha1: 64, sha256: 64, sha384: 128, sha512: 128 };

/**
 * Opens a PFX under its password, in BER or DER: the MAC first, then what it protects.
 *
 * @throws PkiError `pkcs12_password` if the MAC does not agree; `pkcs12_malformed`; `der_limit` for sizes and iterations
 *   that no exporter writes; `algorithm_unsupported` for RC2, PBMAC1, and a PFX that is signed instead.
 */
export async function parsePkcs12(bytes: Uint8Array, password: string): Promise<Pkcs12> {
  if (bytes.length > PFX_BYTES_MAX) throw new PkiError('der_limit', `a PFX of ${bytes.length} octets`);
  try {
    return await opened(bytes, password);
  } catch (cause) {
    const passes = ['algorithm_unsupported', 'der_limit', 'pkcs12_password', 'pkcs12_malformed'];
    if (!(cause instanceof PkiError) || cause.kind === 'bug' || passes.includes(cause.code)) throw cause;
    throw malformed(cause.message);
  }
}

async function opened(bytes: Uint8Array, password: string): Promise<Pkcs12> {
  const { authSafe, mac } = readDer(normalizeBer(bytes), tag.sequence, (pfx) => {
    if (pfx.smallInteger() !== 3) throw malformed('a version that is not 3');
    const content = readContentInfo(pfx.enter(tag.sequence));
    // RFC 7292 §4: signedData is the public-key integrity mode, which nobody writes.
    if (content.type !== oid.data) throw unsupported(`a PFX of content type ${content.type}`);
    if (pfx.done) throw malformed('there is no MAC');
    return { authSafe: dataIn(content.content), mac: readMac(pfx.enter(tag.sequence)) };
  });
  if (!timingSafeEqual(Buffer.from(mac.value), macOver(authSafe, password, mac))) {
    throw new PkiError('pkcs12_password', 'the MAC of the PFX does not agree with the password');
  }
  const keys: Bag[] = [];
  const certificates: Bag[] = [];
  for (const safe of safesIn(authSafe)) {
    const contents =
      safe.type === oid.data
        ? dataIn(safe.content)
        : safe.type === oid.encryptedData
          ? await decryptedData(safe.content, password)
          : undefined;
    if (contents === undefined) throw unsupported(`a safe of type ${safe.type}`);
    for (const bag of bagsIn(contents)) {
      if (bag.type === oid.certBag) certificates.push(bag);
      else if (bag.type === oid.keyBag || bag.type === oid.pkcs8ShroudedKeyBag) keys.push(bag);
      // CRLs and secrets are not ours to read.
    }
    if (certificates.length > CERTIFICATES_MAX)
      throw new PkiError('der_limit', `over ${CERTIFICATES_MAX} certificates`);
  }
  const [key] = keys;
  if (key === undefined || keys.length > 1) throw malformed(`${keys.length} private keys`);
  const privateKey =
    key.type === oid.keyBag ? Uint8Array.from(key.value) : await unshrouded(key.value, password);
  const spki = spkiOf(privateKey);
  const all = certificates.map((bag) => parseCertificate(certificateIn(bag.value)));
  // The key decides, and not localKeyID, which some exporters leave out and others copy to the whole chain.
  const certificate = all.find((each) => sameOctets(each.spki, spki));
  if (certificate === undefined) throw malformed('there is no certificate for the private key');
  return {
    privateKey,
    certificate,
    chain: all.filter((each) => each !== certificate),
    ...(key.friendlyName === undefined ? {} : { friendlyName: key.friendlyName }),
  };
}

/**
 * Builds a PFX: the certificates in one encrypted safe, the key shrouded in another, a MAC over both.
 *
 * @throws PkiError `pkcs12_malformed` if the key is not the certificate's.
 */
export async function buildPkcs12(fields: Pkcs12Fields): Promise<Uint8Array> {
  const { privateKey, certificate, chain, friendlyName, password, form } = fields;
  if (!sameOctets(spkiOf(privateKey), certificate.spki))
    throw malformed('the private key is not the certificate’s');
  // RFC 2985 §5.5.2: the same octets at both; OpenSSL takes the fingerprint.
  const attributes = setOf([
    attribute(oid.localKeyID, octetString(hash('sha1', certificate.raw, 'buffer'))),
    ...(friendlyName === undefined
      ? []
      : [attribute(oid.friendlyName, der(tag.bmpString, bmpOctets(friendlyName)))]),
  ]);
  const certBag = ({ raw }: Certificate, ...more: Uint8Array[]) =>
    sequence(
      objectIdentifier(oid.certBag),
      explicit(sequence(objectIdentifier(oid.x509Certificate), explicit(octetString(raw)))),
      ...more,
    );
  const certificates = sequence(certBag(certificate, attributes), ...chain.map((each) => certBag(each)));
  const encrypted = await encryptedUnder(password, form, certificates);
  const certificateSafe = sequence(
    objectIdentifier(oid.encryptedData),
    explicit(
      sequence(
        integer(0),
        sequence(objectIdentifier(oid.data), encrypted.algorithm, der(contextPrimitive(0), encrypted.octets)),
      ),
    ),
  );
  const shrouded = await encryptedUnder(password, form, privateKey);
  const keySafe = dataContentInfo(
    sequence(
      sequence(
        objectIdentifier(oid.pkcs8ShroudedKeyBag),
        explicit(sequence(shrouded.algorithm, octetString(shrouded.octets))),
        attributes,
      ),
    ),
  );
  const authSafe = sequence(certificateSafe, keySafe);
  const mac = {
    digest: digests[form === 'modern' ? 'sha256' : 'sha1'],
    salt: randomBytes(saltBytesOf(form)),
    iterations: LEGACY_ITERATIONS,
  };
  return sequence(
    integer(3),
    dataContentInfo(authSafe),
    sequence(
      sequence(
        buildAlgorithmIdentifier({ oid: mac.digest.oid, parameters: nullValue }),
        octetString(macOver(authSafe, password, mac)),
      ),
      octetString(mac.salt),
      integer(mac.iterations),
    ),
  );
}

// --- the layers -----------------------------------------------------------------------------------------------------

/** A ContentInfo (RFC 5652 §3): its type, and the DER of what is in it. */
interface Content {
  readonly type: string;
  readonly content: Uint8Array;
}

interface Bag {
  readonly type: string;
  /** DER of the bag's value. */
  readonly value: Uint8Array;
  readonly friendlyName?: string;
}

interface Mac {
  readonly digest: Digest;
  readonly salt: Uint8Array;
  readonly iterations: number;
}

function readContentInfo(reader: DerReader): Content {
  const type = reader.oid();
  const wrapper = reader.enter(contextConstructed(0));
  const content = wrapper.raw();
  wrapper.end();
  reader.end();
  return { type, content };
}

function dataIn(content: Uint8Array): Uint8Array {
  const reader = new DerReader(content);
  const octets = reader.octetString();
  reader.end();
  return octets;
}

/** MacData (RFC 7292 §4). */
function readMac(reader: DerReader): Mac & { readonly value: Uint8Array } {
  const info = reader.enter(tag.sequence);
  const algorithm = readAlgorithmIdentifier(info);
  const digest = digestOf(algorithm);
  const value = info.octetString();
  info.end();
  const salt = reader.octetString();
  // RFC 7292 §4: one, if it is not there.
  const iterations = reader.done ? 1 : reader.smallInteger();
  reader.end();
  assertBounded(salt, iterations);
  if (value.length !== hash(digest.name, '', 'buffer').length) throw malformed('a MAC of wrong length');
  return { digest, salt, iterations, value };
}

function assertBounded(salt: Uint8Array, iterations: number): void {
  if (salt.length > SALT_BYTES_MAX) throw new PkiError('der_limit', `a salt of ${salt.length} octets`);
  if (iterations < 1 || iterations > ITERATIONS_MAX)
    throw new PkiError('der_limit', `${iterations} iterations; at most ${ITERATIONS_MAX}`);
}

function macOver(authSafe: Uint8Array, password: string, { digest, salt, iterations }: Mac): Buffer {
  const length = hash(digest.name, '', 'buffer').length;
  const key = derived(digest.name, macMaterial, password, salt, iterations, length);
  return createHmac(digest.name, key).update(authSafe).digest();
}

function safesIn(authSafe: Uint8Array): Content[] {
  return readDer(normalizeBer(authSafe), tag.sequence, (reader) => {
    const safes: Content[] = [];
    while (!reader.done) {
      if (safes.length >= SAFES_MAX) throw new PkiError('der_limit', `over ${SAFES_MAX} safes`);
      safes.push(readContentInfo(reader.enter(tag.sequence)));
    }
    return safes;
  });
}

/** SafeContents (RFC 7292 §4.2). */
function bagsIn(contents: Uint8Array): Bag[] {
  return readDer(normalizeBer(contents), tag.sequence, (reader) => {
    const bags: Bag[] = [];
    while (!reader.done) {
      if (bags.length > CERTIFICATES_MAX) throw new PkiError('der_limit', `over ${CERTIFICATES_MAX} bags`);
      const bag = reader.enter(tag.sequence);
      const type = bag.oid();
      const wrapper = bag.enter(contextConstructed(0));
      const value = wrapper.raw();
      wrapper.end();
      const friendlyName = bag.done ? undefined : friendlyNameIn(bag.enter(tag.set));
      bag.end();
      bags.push({ type, value, ...(friendlyName === undefined ? {} : { friendlyName }) });
    }
    return bags;
  });
}

function friendlyNameIn(attributes: DerReader): string | undefined {
  let found: string | undefined;
  while (!attributes.done) {
    const one = attributes.enter(tag.sequence);
    const type = one.oid();
    const values = one.enter(tag.set);
    if (type === oid.friendlyName && !values.done) found = values.text();
    one.end();
  }
  return found;
}

function certificateIn(value: Uint8Array): Uint8Array {
  return readDer(value, tag.sequence, (reader) => {
    const type = reader.oid();
    if (type !== oid.x509Certificate) throw unsupported(`a certificate of type ${type}`);
    const wrapper = reader.enter(contextConstructed(0));
    const raw = wrapper.octetString();
    wrapper.end();
    return raw;
  });
}

/** EncryptedData (RFC 5652 §8). */
async function decryptedData(content: Uint8Array, password: string): Promise<Uint8Array> {
  const { algorithm, octets } = readDer(content, tag.sequence, (reader) => {
    reader.smallInteger();
    const info = reader.enter(tag.sequence);
    const type = info.oid();
    if (type !== oid.data) throw malformed(`encrypted content of type ${type}`);
    const algorithm = readAlgorithmIdentifier(info);
    let octets: Uint8Array;
    if (info.nextTag === contextConstructed(0)) {
      const pieces = info.enter(contextConstructed(0));
      const list: Uint8Array[] = [];
      while (!pieces.done) list.push(pieces.raw());
      octets = joinOctetStrings(list);
    } else octets = info.content(contextPrimitive(0));
    info.end();
    return { algorithm, octets };
  });
  return await decryptedUnder(password, algorithm, octets);
}

/** EncryptedPrivateKeyInfo (RFC 5958 §3). */
async function unshrouded(value: Uint8Array, password: string): Promise<Uint8Array> {
  const { algorithm, octets } = readDer(value, tag.sequence, (reader) => ({
    algorithm: readAlgorithmIdentifier(reader),
    octets: reader.octetString(),
  }));
  return await decryptedUnder(password, algorithm, octets);
}

// --- passwords ------------------------------------------------------------------------------------------------------

async function decryptedUnder(
  password: string,
  algorithm: AlgorithmIdentifier,
  octets: Uint8Array,
): Promise<Uint8Array> {
  const { cipher, key, iv } = await schemeOf(password, algorithm);
  try {
    const decipher = createDecipheriv(...nodeCipherOf(cipher, key), iv);
    return Buffer.concat([decipher.update(octets), decipher.final()]);
  } catch {
    // The MAC agreed: whoever knows the password wrote it like this.
    throw malformed('a part that does not decrypt');
  }
}

async function schemeOf(password: string, { oid: scheme, parameters }: AlgorithmIdentifier) {
  if (parameters === undefined) throw malformed('an encryption scheme without parameters');
  if (scheme === oid.pbeWithSHAAnd3KeyTripleDESCBC) {
    const { salt, iterations } = readDer(parameters, tag.sequence, (reader) => ({
      salt: reader.octetString(),
      iterations: reader.smallInteger(),
    }));
    assertBounded(salt, iterations);
    return legacyScheme(password, salt, iterations);
  }
  if (scheme !== oid.pbes2) throw unsupported(`encryption scheme ${scheme}`);
  return await readDer(parameters, tag.sequence, async (reader) => {
    const derivation = reader.enter(tag.sequence);
    const derivationOid = derivation.oid();
    if (derivationOid !== oid.pbkdf2) throw unsupported(`key derivation ${derivationOid}`);
    const { prf, salt, iterations, keyBytes } = readPbkdf2(derivation.enter(tag.sequence));
    derivation.end();
    const { cipher, iv } = cipherOf(readAlgorithmIdentifier(reader));
    reader.end();
    if (keyBytes !== undefined && keyBytes !== cipher.keyBytes)
      throw unsupported(`a derived key of ${keyBytes} octets for ${cipher.name}`);
    return { cipher, iv, key: await stretched(password, salt, iterations, cipher.keyBytes, prf) };
  });
}

function saltBytesOf(form: Pkcs12Fields['form']): number {
  return form === 'legacy' ? LEGACY_SALT_BYTES : SALT_BYTES;
}

function legacyScheme(password: string, salt: Uint8Array, iterations: number) {
  const cipher = ciphers['des-ede3-cbc'];
  return {
    cipher,
    key: derived('sha1', keyMaterial, password, salt, iterations, cipher.keyBytes),
    iv: derived('sha1', initialValue, password, salt, iterations, cipher.ivBytes),
  };
}

async function encryptedUnder(
  password: string,
  form: Pkcs12Fields['form'],
  octets: Uint8Array,
): Promise<{ readonly algorithm: Uint8Array; readonly octets: Uint8Array }> {
  const salt = randomBytes(saltBytesOf(form));
  const { cipher, key, iv, algorithm } =
    form === 'legacy'
      ? {
          ...legacyScheme(password, salt, LEGACY_ITERATIONS),
          algorithm: buildAlgorithmIdentifier({
            oid: oid.pbeWithSHAAnd3KeyTripleDESCBC,
            parameters: sequence(octetString(salt), integer(LEGACY_ITERATIONS)),
          }),
        }
      : await modernScheme(password, salt);
  const encryption = createCipheriv(...nodeCipherOf(cipher, key), iv);
  return { algorithm, octets: Buffer.concat([encryption.update(octets), encryption.final()]) };
}

async function modernScheme(password: string, salt: Uint8Array) {
  const cipher = ciphers['aes-256-cbc'];
  const iv = randomBytes(cipher.ivBytes);
  const key = await stretched(password, salt, PBKDF2_ITERATIONS, cipher.keyBytes, 'sha256');
  const derivation = buildAlgorithmIdentifier({
    oid: oid.pbkdf2,
    parameters: sequence(
      octetString(salt),
      integer(PBKDF2_ITERATIONS),
      buildAlgorithmIdentifier({ oid: prfOids.sha256, parameters: nullValue }),
    ),
  });
  const encryption = buildAlgorithmIdentifier({ oid: cipher.oid, parameters: octetString(iv) });
  const algorithm = buildAlgorithmIdentifier({
    oid: oid.pbes2,
    parameters: sequence(derivation, encryption),
  });
  return { cipher, iv, key, algorithm };
}

/** PBKDF2 takes the password as UTF-8, as every exporter does; on the thread pool. */
function stretched(
  password: string,
  salt: Uint8Array,
  iterations: number,
  keyBytes: number,
  prf: DigestName,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    pbkdf2(Buffer.from(password, 'utf8'), salt, iterations, keyBytes, prf, (failure, key) => {
      if (failure === null) resolve(key);
      else reject(failure);
    });
  });
}

/** RFC 7292 appendix B.2. The password is a BMPString with two octets of zero behind it (§B.1). */
function derived(
  digest: DigestName,
  purpose: number,
  password: string,
  salt: Uint8Array,
  iterations: number,
  length: number,
): Buffer {
  const size = blockBytes[digest];
  const diversifier = Buffer.alloc(size, purpose);
  const input = Buffer.concat([
    filled(salt, size),
    filled(Buffer.concat([bmpOctets(password), Buffer.alloc(2)]), size),
  ]);
  const out: Buffer[] = [];
  for (let have = 0; have < length; ) {
    let block: Buffer = hash(digest, Buffer.concat([diversifier, input]), 'buffer');
    for (let round = 1; round < iterations; round += 1) block = hash(digest, block, 'buffer');
    out.push(block);
    have += block.length;
    // §B.2 step 6 C: every block of the input grows by the block that was made, and one.
    const addend = filled(block, size);
    for (let at = 0; at < input.length; at += size) {
      let carry = 1;
      for (let index = size - 1; index >= 0; index -= 1) {
        carry += (input[at + index] as number) + (addend[index] as number);
        input[at + index] = carry & 0xff;
        carry >>= 8;
      }
    }
  }
  return Buffer.concat(out).subarray(0, length);
}

/** Repeats octets until they fill whole blocks (§B.2 steps 2 and 3), exactly one for what is shorter. */
function filled(octets: Uint8Array, size: number): Buffer {
  const length = octets.length === 0 ? 0 : size * Math.ceil(octets.length / size);
  const out = Buffer.alloc(length);
  for (let index = 0; index < length; index += 1) out[index] = octets[index % octets.length] as number;
  return out;
}

function bmpOctets(text: string): Buffer {
  return Buffer.from(text, 'utf16le').swap16();
}

// --- small things ---------------------------------------------------------------------------------------------------

function dataContentInfo(content: Uint8Array): Uint8Array {
  return sequence(objectIdentifier(oid.data), explicit(octetString(content)));
}

function attribute(type: string, value: Uint8Array): Uint8Array {
  return sequence(objectIdentifier(type), setOf([value]));
}

function explicit(inner: Uint8Array): Uint8Array {
  return derOf(contextConstructed(0), [inner]);
}

function spkiOf(privateKey: Uint8Array): Uint8Array {
  try {
    const key = createPrivateKey({ key: Buffer.from(privateKey), format: 'der', type: 'pkcs8' });
    return createPublicKey(key).export({ type: 'spki', format: 'der' });
  } catch {
    // The library's own message may quote the key.
    throw malformed('a private key that cannot be read');
  }
}

function malformed(why: string): PkiError {
  return new PkiError('pkcs12_malformed', `PKCS #12: ${why}`);
}

function unsupported(what: string): PkiError {
  return new PkiError('algorithm_unsupported', `${what} is not supported`);
}
