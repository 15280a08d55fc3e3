/** Keys in PKCS #11 tokens: they are made there, and never leave. */
import { createHash, randomBytes, verify } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Attribute, Handle, Mechanism, Template, TokenInfo } from 'pkcs11js';
import {
  bufferOf,
  type DigestName,
  hex,
  type KeyTransport,
  parsePublicKeyInfo,
  publicKeyOf,
  type SignatureAlgorithmName,
  sameOctets,
  signatureAlgorithms,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { buildEcdsaSignature, curveBytes, digestForCurve } from './ecdsa-signature.ts';
import type { KeyAlgorithm } from './file-key.ts';
import { describePlace, type KeyUse, type PlacedKey, spkiOf, type TokenPlace } from './key-place.ts';
import { answerOf, pauseAfterMs, returnValueOf } from './pkcs11-answers.ts';
import { type Binding, Pkcs11Module, StaleHandles } from './pkcs11-module.ts';
import { buildDigestInfo, openOaep, openPkcs1v15, syntheticPlaintext, unopened } from './rsa-padding.ts';

/** Where a key is, with the PIN itself. */
export interface TokenKeyOptions extends Omit<TokenPlace, 'pin'> {
  readonly pin: string;
  readonly use: KeyUse;
}

/** The mechanisms (§6) that a key is used by. */
const usedMechanisms = [
  'CKM_RSA_PKCS',
  'CKM_SHA1_RSA_PKCS',
  'CKM_SHA256_RSA_PKCS',
  'CKM_SHA384_RSA_PKCS',
  'CKM_SHA512_RSA_PKCS',
  'CKM_RSA_X_509',
  'CKM_RSA_PKCS_OAEP',
  'CKM_ECDSA',
] as const;
type MechanismName = (typeof usedMechanisms)[number];

const digestThenSign: Readonly<Record<DigestName, MechanismName>> = {
  sha1: 'CKM_SHA1_RSA_PKCS',
  sha256: 'CKM_SHA256_RSA_PKCS',
  sha384: 'CKM_SHA384_RSA_PKCS',
  sha512: 'CKM_SHA512_RSA_PKCS',
};

/** Named curves: DER of their object identifiers, as CKA_EC_PARAMS has them. */
const curves = [
  { name: 'P-256', parameters: '06082a8648ce3d030107' },
  { name: 'P-384', parameters: '06052b81040022' },
] as const;

/** CKZ_DATA_SPECIFIED: the label of OAEP stands in the parameter, where it is empty. */
const DATA_SPECIFIED = 1;

/**
 * How often a key that is opened for the first time is looked for. A token can be out of sight for a moment: SoftHSM hides
 * one while another process logs in to it.
 */
const FIRST_STARTS_MAX = 3;
const FIRST_PAUSE_MS = 300;

/** What is known of a key once it was found. */
interface FoundKey {
  readonly handle: Handle;
  readonly spki: Uint8Array;
  readonly exportable: boolean;
  /** Mechanisms that the token has and that the key lets be used. */
  readonly signs: ReadonlySet<MechanismName>;
  readonly decrypts: ReadonlySet<MechanismName>;
}

/** An open way to the key. All of it is worth nothing after the module was started again. */
interface Way {
  readonly generation: number;
  readonly slot: Handle;
  readonly key: FoundKey;
  /** Sessions that nobody uses. One operation a session at a time (§5.7). */
  readonly idle: Handle[];
}

/**
 * Opens a key in a token. What the key cannot do is said here and not at the first request. A session or a device that
 * is lost later is opened again by itself; while it is away every operation is `key_unavailable`.
 *
 * @throws PkiError `key_locked` if the PIN is refused or there is no such key, `key_capability` if the key cannot be
 *   used so, `key_unavailable` if the token does not answer.
 */
export async function openTokenKey(options: TokenKeyOptions): Promise<PlacedKey> {
  const module = await Pkcs11Module.load(options.module);
  const key = new TokenKey(module, options);
  await key.open();
  return key;
}

/**
 * Makes a key in a token: sensitive and not extractable. Only one for decryption decrypts; both kinds sign, since a
 * certification request has to be signed.
 *
 * @throws PkiError `key_exists` if a key with the label is there already; as `openTokenKey` besides.
 */
export async function generateTokenKey(
  options: Omit<TokenKeyOptions, 'label'> & { readonly label: string; readonly algorithm: KeyAlgorithm },
): Promise<PlacedKey> {
  const module = await Pkcs11Module.load(options.module);
  await new TokenKey(module, options).generate(options.label, options.algorithm);
  return await openTokenKey(options);
}

class TokenKey implements PlacedKey {
  readonly place: string;
  readonly #module: Pkcs11Module;
  readonly #options: TokenKeyOptions;
  readonly #constants: Binding;
  #way: Way | undefined;
  #opening: Promise<Way> | undefined;
  /** Losses since the last operation that succeeded. */
  #losses = 0;
  /** When to try again, of `performance.now()`. */
  #tryAgainAt = 0;
  #spki: Uint8Array | undefined;
  #exportable = false;
  /** Keys the synthetic plaintexts. */
  #rejectionSecret: Uint8Array = randomBytes(32);

  constructor(module: Pkcs11Module, options: TokenKeyOptions) {
    this.#module = module;
    this.#options = options;
    this.#constants = module.constants;
    this.place = describePlace({ pkcs11: options });
  }

  get spki(): Uint8Array {
    if (this.#spki === undefined) throw new PkiError('internal', 'the key was not opened');
    return this.#spki;
  }

  get exportable(): boolean {
    return this.#exportable;
  }

  /** Opens it for the first time; see `openTokenKey`. */
  async open(): Promise<void> {
    const { key } = await this.#open();
    this.#exportable = key.exportable;
    const info = parsePublicKeyInfo(key.spki);
    if (this.#options.use === 'sign') this.#assertSigns(key, info.type);
    else await this.#assertDecrypts(key, info);
  }

  #assertSigns({ signs: mechanisms }: FoundKey, type: 'rsa' | 'ec' | 'other'): void {
    const signs =
      type === 'rsa'
        ? mechanisms.has('CKM_RSA_PKCS') || mechanisms.has('CKM_SHA256_RSA_PKCS')
        : type === 'ec' && mechanisms.has('CKM_ECDSA');
    if (signs) return;
    throw this.#incapable(
      'it cannot sign: CKA_SIGN is not set, or the token has neither CKM_RSA_PKCS nor CKM_ECDSA; ' +
        'generate a key with `leafgate key generate --use sign`',
    );
  }

  async #assertDecrypts(
    { decrypts: mechanisms }: FoundKey,
    info: ReturnType<typeof parsePublicKeyInfo>,
  ): Promise<void> {
    if (info.type !== 'rsa') {
      throw this.#incapable('a key on a curve cannot decrypt: SCEP clients encrypt to RSA; use an RSA key');
    }
    if (mechanisms.has('CKM_RSA_X_509')) {
      // Processes that share the key reject alike, so that asking twice tells nothing: what only the key can compute
      // is their common secret. The number is below the modulus, and its decryption is never shown to anyone.
      const number = Buffer.alloc(
        info.modulus.length,
        createHash('sha256').update('leafgate rejection').digest(),
      );
      number.writeUInt8(0, 0);
      const power = await this.#decryptRaw(number);
      this.#rejectionSecret = createHash('sha256').update(power).digest();
    } else if (!mechanisms.has('CKM_RSA_PKCS')) {
      throw this.#incapable(
        'it cannot decrypt: CKA_DECRYPT is not set, or the token has neither CKM_RSA_X_509 nor CKM_RSA_PKCS ' +
          '(some devices forbid both); generate a key with `leafgate key generate --use decrypt`, or keep the RA ' +
          'encryption key elsewhere: a file or Key Vault',
      );
    }
  }

  async sign(name: SignatureAlgorithmName, data: Uint8Array): Promise<Uint8Array> {
    const algorithm = signatureAlgorithms[name];
    const info = parsePublicKeyInfo(this.spki);
    if (algorithm.keyType !== info.type)
      throw this.#incapable(`a key of type ${info.type} cannot sign by ${name}`);
    const digest = createHash(algorithm.digest).update(data).digest();
    let signature: Uint8Array;
    if (info.type === 'rsa') {
      const input = buildDigestInfo(algorithm.digest, digest);
      // RFC 8017 §9.2: a short modulus has no room for a long digest.
      if (input.length > info.modulus.length - 11) throw this.#incapable(`it is too short for ${name}`);
      signature = await this.#operate(info.modulus.length, ({ signs }) =>
        signs.has('CKM_RSA_PKCS')
          ? { verb: 'Sign', mechanism: 'CKM_RSA_PKCS', input }
          : { verb: 'Sign', mechanism: digestThenSign[algorithm.digest], input: data },
      );
    } else {
      const numberBytes = info.type === 'ec' && info.curve !== 'P-521' ? curveBytes[info.curve] : 0;
      const rs = await this.#operate(2 * numberBytes, () => ({
        verb: 'Sign',
        mechanism: 'CKM_ECDSA',
        input: digestForCurve(digest, numberBytes),
      }));
      signature = buildEcdsaSignature(rs, numberBytes);
    }
    // A faulty RSA signature gives the key away (Boneh, DeMillo, Lipton 1997), one by another key deceives: neither may
    // leave. Verifying costs little beside the way to the token.
    if (!verify(algorithm.digest, data, publicKeyOf(this.spki), signature))
      throw new PkiError('key_unavailable', `${this.place}: the token gave a signature that does not verify`);
    return signature;
  }

  async decrypt(transport: KeyTransport, encryptedKey: Uint8Array): Promise<Uint8Array> {
    const info = parsePublicKeyInfo(this.spki);
    if (info.type !== 'rsa') throw this.#incapable(`a key of type ${info.type} cannot decrypt`);
    // RFC 8017 §7.1.2, §7.2.2: as long as the modulus, and below it. What the token itself would refuse never reaches it.
    if (encryptedKey.length !== info.modulus.length) throw unopened();
    if (Buffer.compare(encryptedKey, info.modulus) >= 0) throw unopened();
    const { key } = await this.#opened();
    if (key.decrypts.has('CKM_RSA_X_509')) {
      const block = await this.#decryptRaw(encryptedKey);
      return transport.name === 'rsaes-pkcs1-v1_5'
        ? openPkcs1v15(block, encryptedKey, this.#rejectionSecret)
        : openOaep(block, transport.digest);
    }
    return await this.#decryptPadded(transport, encryptedKey, info.modulus.length);
  }

  /** The block as the padding left it: whether it is right is decided here, not by the token, whose error would tell. */
  async #decryptRaw(encryptedKey: Uint8Array): Promise<Uint8Array> {
    const block = await this.#operate(encryptedKey.length, () => ({
      verb: 'Decrypt',
      mechanism: 'CKM_RSA_X_509',
      input: encryptedKey,
    }));
    // Some tokens leave out the zeros in front.
    return Buffer.concat([Buffer.alloc(Math.max(0, encryptedKey.length - block.length)), block]);
  }

  /**
   * For tokens without raw decryption. The token tells bad padding by an error; it becomes the synthetic plaintext here,
   * by the same steps as a good one, but the token's own time may differ.
   */
  async #decryptPadded(
    transport: KeyTransport,
    encryptedKey: Uint8Array,
    modulusBytes: number,
  ): Promise<Uint8Array> {
    const rejected = syntheticPlaintext(this.#rejectionSecret, encryptedKey);
    const opened = await this.#operate(modulusBytes, () => ({
      verb: 'Decrypt',
      mechanism: transport.name === 'rsaes-pkcs1-v1_5' ? 'CKM_RSA_PKCS' : 'CKM_RSA_PKCS_OAEP',
      ...(transport.name === 'rsaes-oaep' ? { parameter: this.#oaepParameter(transport.digest) } : {}),
      input: encryptedKey,
      errorIsAnswer: true,
    }));
    // No decryption is as long as the modulus: it stands for the token's error.
    const failed = opened.length === modulusBytes;
    if (transport.name === 'rsaes-oaep' && failed) throw unopened();
    return failed ? rejected : opened;
  }

  #oaepParameter(digest: DigestName): Mechanism['parameter'] {
    const c = this.#constants;
    const rows = {
      sha1: [c.CKM_SHA_1, c.CKG_MGF1_SHA1],
      sha256: [c.CKM_SHA256, c.CKG_MGF1_SHA256],
      sha384: [c.CKM_SHA384, c.CKG_MGF1_SHA384],
      sha512: [c.CKM_SHA512, c.CKG_MGF1_SHA512],
    } as const;
    const [hashAlg, mgf] = rows[digest];
    return {
      type: c.CK_PARAMS_RSA_OAEP,
      hashAlg,
      mgf,
      source: DATA_SPECIFIED,
    } as Mechanism['parameter'];
  }

  // --- operations ---------------------------------------------------------------------------------------------------

  /** One operation in a session of its own; lost sessions and devices are opened again once. */
  async #operate(
    outputBytes: number,
    choose: (key: FoundKey) => {
      readonly verb: 'Sign' | 'Decrypt';
      readonly mechanism: MechanismName;
      readonly parameter?: Mechanism['parameter'];
      readonly input: Uint8Array;
      /** An error of the operation itself becomes output as long as the modulus, unless the session is gone as well. */
      readonly errorIsAnswer?: boolean;
    },
  ): Promise<Uint8Array> {
    const { pkcs11 } = this.#module;
    for (let attempt = 0; ; attempt += 1) {
      const way = await this.#opened();
      const { verb, mechanism, parameter, input, errorIsAnswer } = choose(way.key);
      const bytes = Buffer.alloc(input.length);
      bytes.set(input);
      const output = Buffer.alloc(outputBytes);
      try {
        const result = await this.#module.run(way.generation, [bytes, output], async () => {
          const session = way.idle.pop() ?? this.#openSession(way.slot);
          try {
            const what = {
              mechanism: this.#constants[mechanism],
              ...(parameter === undefined ? {} : { parameter }),
            };
            if (verb === 'Sign') pkcs11.C_SignInit(session, what, way.key.handle);
            else pkcs11.C_DecryptInit(session, what, way.key.handle);
            const call =
              verb === 'Sign'
                ? pkcs11.C_SignAsync(session, bytes, output)
                : pkcs11.C_DecryptAsync(session, bytes, output);
            const answer = errorIsAnswer === true ? await this.#answered(session, call, output) : await call;
            if (this.#way === way) way.idle.push(session);
            else this.#closeSession(session);
            return answer;
          } catch (cause) {
            // An operation may still be under way in it.
            this.#closeSession(session);
            throw cause;
          }
        });
        this.#losses = 0;
        return Uint8Array.from(result);
      } catch (cause) {
        if (cause instanceof PkiError) throw cause;
        const stale = cause instanceof StaleHandles;
        if (!stale && answerOf(cause) !== 'lost') throw this.#failed(cause);
        this.#lose(way, stale);
        if (attempt > 0) throw this.#unavailable(cause);
      }
    }
  }

  /** Asks after the session whether the call failed or not, so that both take the same calls. */
  async #answered(session: Handle, call: Promise<Buffer>, failure: Buffer): Promise<Buffer> {
    const [settled] = await Promise.allSettled([call]);
    this.#module.pkcs11.C_GetSessionInfo(session);
    return settled.status === 'fulfilled' ? settled.value : failure;
  }

  #lose(way: Way, stale: boolean): void {
    if (this.#way !== way) return;
    this.#way = undefined;
    for (const session of way.generation === this.#module.generation ? way.idle : [])
      this.#closeSession(session);
    // Another key's restart is no fault of this one's.
    if (!stale) this.#countLoss();
  }

  #countLoss(): void {
    this.#losses += 1;
    this.#tryAgainAt = performance.now() + pauseAfterMs(this.#losses);
  }

  async #opened(): Promise<Way> {
    if (this.#way?.generation === this.#module.generation) return this.#way;
    return await this.#open();
  }

  /** One opening for all who wait for it. */
  async #open(): Promise<Way> {
    if (this.#opening === undefined && performance.now() < this.#tryAgainAt)
      throw this.#unavailable(undefined);
    this.#opening ??= this.#openNow().finally(() => {
      this.#opening = undefined;
    });
    return await this.#opening;
  }

  async #openNow(): Promise<Way> {
    let { generation } = this.#module;
    try {
      // A new session is the cheap mend, and most often enough.
      if (this.#losses < 2) return this.#openWay();
    } catch (cause) {
      if (cause instanceof PkiError && cause.code !== 'key_unavailable' && this.#spki === undefined)
        throw cause;
    }
    for (let start = 1; ; start += 1) {
      try {
        // The dear mend: modules look for their devices only when they start.
        await this.#module.restart(generation);
        return this.#openWay();
      } catch (cause) {
        // Nobody waits yet for a key that is opened for the first time.
        const isFirst = this.#spki === undefined && cause instanceof PkiError;
        if (isFirst && cause.code === 'key_unavailable' && start < FIRST_STARTS_MAX) {
          await sleep(FIRST_PAUSE_MS);
          generation = this.#module.generation;
          continue;
        }
        this.#countLoss();
        if (isFirst) throw cause;
        throw this.#unavailable(cause);
      }
    }
  }

  /** Finds the token, logs in, and finds the key. */
  #openWay(): Way {
    try {
      const { slot, info } = this.#findToken();
      const session = this.#openSession(slot);
      try {
        this.#logIn(session, info);
        const key = this.#findKey(session, slot);
        if (this.#spki !== undefined && !sameOctets(this.#spki, key.spki))
          throw new PkiError('key_unavailable', `${this.place} is another key than before`);
        this.#spki = key.spki;
        this.#way = { generation: this.#module.generation, slot, key, idle: [session] };
        return this.#way;
      } catch (cause) {
        this.#closeSession(session);
        throw cause;
      }
    } catch (cause) {
      throw cause instanceof PkiError ? cause : this.#failed(cause);
    }
  }

  #findToken(): { readonly slot: Handle; readonly info: TokenInfo } {
    const { pkcs11 } = this.#module;
    const { token, serial } = this.#options;
    const tokens = pkcs11.C_GetSlotList(true).flatMap((slot) => {
      try {
        return [{ slot, info: pkcs11.C_GetTokenInfo(slot) }];
      } catch {
        // Pulled out between the two calls.
        return [];
      }
    });
    const found = tokens.filter(
      ({ info }) =>
        (token === undefined || info.label.trimEnd() === token) &&
        (serial === undefined || info.serialNumber.trimEnd() === serial),
    );
    const [one] = found;
    if (one !== undefined && found.length === 1) return one;
    const there = tokens.map(({ info }) => `“${info.label.trimEnd()}” (${info.serialNumber.trimEnd()})`);
    const name = [token, serial].filter((part) => part !== undefined).join(', ');
    throw new PkiError(
      'key_unavailable',
      `${found.length === 0 ? 'there is no token' : 'there are several tokens'} ${name}; present: ${there.join(', ') || 'none'}`,
    );
  }

  #openSession(slot: Handle): Handle {
    return this.#module.pkcs11.C_OpenSession(slot, this.#constants.CKF_SERIAL_SESSION);
  }

  #closeSession(session: Handle): void {
    try {
      this.#module.pkcs11.C_CloseSession(session);
    } catch {
      // It was gone already.
    }
  }

  /** Each PIN is tried once, and the last try that a token grants is left to a person: beyond it the token is locked. */
  #logIn(session: Handle, info: TokenInfo): void {
    const { refusedPins, pkcs11 } = this.#module;
    const { pin } = this.#options;
    const tried = createHash('sha256').update(`${info.serialNumber}\0${pin}`).digest('hex');
    if (refusedPins.has(tried)) throw new PkiError('key_locked', `${this.place}: the PIN was refused before`);
    if ((info.flags & this.#constants.CKF_USER_PIN_LOCKED) !== 0)
      throw new PkiError(
        'key_locked',
        `${this.place}: the token’s PIN is locked; its security officer can reset it`,
      );
    if ((info.flags & this.#constants.CKF_USER_PIN_FINAL_TRY) !== 0) {
      throw new PkiError(
        'key_locked',
        `${this.place}: the token grants one last try of its PIN; log in once with its maker’s own tool`,
      );
    }
    try {
      pkcs11.C_Login(session, this.#constants.CKU_USER, pin);
    } catch (cause) {
      const value = returnValueOf(cause);
      if (value === 'CKR_USER_ALREADY_LOGGED_IN') return;
      if (answerOf(cause) !== 'pin') throw cause;
      refusedPins.add(tried);
      throw new PkiError('key_locked', `${this.place}: the token refuses the PIN (${value})`, { cause });
    }
  }

  #find(session: Handle, template: Template): Handle[] {
    const { pkcs11 } = this.#module;
    pkcs11.C_FindObjectsInit(session, template);
    try {
      return pkcs11.C_FindObjects(session, 4);
    } finally {
      pkcs11.C_FindObjectsFinal(session);
    }
  }

  #search(objectClass: number): Template {
    const { label, id } = this.#options;
    return [
      { type: this.#constants.CKA_CLASS, value: objectClass },
      ...(label === undefined ? [] : [{ type: this.#constants.CKA_LABEL, value: label }]),
      ...(id === undefined ? [] : [{ type: this.#constants.CKA_ID, value: Buffer.from(id, 'hex') }]),
    ];
  }

  #findKey(session: Handle, slot: Handle): FoundKey {
    const c = this.#constants;
    const found = this.#find(session, this.#search(c.CKO_PRIVATE_KEY));
    const [handle] = found;
    if (handle === undefined || found.length > 1) {
      throw new PkiError(
        'key_locked',
        `${this.place}: ${found.length === 0 ? 'there is no such private key' : 'several private keys have this name; add the id'}`,
      );
    }
    if (this.#flag(session, handle, c.CKA_ALWAYS_AUTHENTICATE) === true) {
      throw this.#incapable(
        'it wants its PIN at every use (CKA_ALWAYS_AUTHENTICATE), which a server cannot give; generate one without',
      );
    }
    return {
      handle,
      spki: this.#publicKey(session, handle),
      // What the token does not say is taken for no protection.
      exportable:
        this.#flag(session, handle, c.CKA_EXTRACTABLE) !== false ||
        this.#flag(session, handle, c.CKA_SENSITIVE) !== true,
      signs:
        this.#flag(session, handle, c.CKA_SIGN) === true ? this.#mechanisms(slot, c.CKF_SIGN) : new Set(),
      decrypts:
        this.#flag(session, handle, c.CKA_DECRYPT) === true
          ? this.#mechanisms(slot, c.CKF_DECRYPT)
          : new Set(),
    };
  }

  /** Mechanisms of the token for one purpose, a CKF_… flag. */
  #mechanisms(slot: Handle, purpose: number): ReadonlySet<MechanismName> {
    const { pkcs11 } = this.#module;
    const listed = new Set(pkcs11.C_GetMechanismList(slot));
    return new Set(
      usedMechanisms.filter((name) => {
        const mechanism = this.#constants[name];
        return listed.has(mechanism) && (pkcs11.C_GetMechanismInfo(slot, mechanism).flags & purpose) !== 0;
      }),
    );
  }

  #attribute(session: Handle, object: Handle, type: number): Buffer | undefined {
    try {
      return this.#module.pkcs11.C_GetAttributeValue(session, object, [{ type }])[0]?.value;
    } catch (cause) {
      if (['CKR_ATTRIBUTE_TYPE_INVALID', 'CKR_ATTRIBUTE_SENSITIVE'].includes(returnValueOf(cause)))
        return undefined;
      throw cause;
    }
  }

  #flag(session: Handle, object: Handle, type: number): boolean | undefined {
    const value = this.#attribute(session, object, type);
    return value === undefined || value.length === 0 ? undefined : value[0] !== 0;
  }

  /** From the private key's own attributes if it shows them, else from the public key with the same CKA_ID. */
  #publicKey(session: Handle, handle: Handle): Uint8Array {
    const c = this.#constants;
    const id = this.#attribute(session, handle, c.CKA_ID);
    const publicHandles =
      id === undefined || id.length === 0
        ? this.#find(session, this.#search(c.CKO_PUBLIC_KEY))
        : this.#find(session, [
            { type: c.CKA_CLASS, value: c.CKO_PUBLIC_KEY },
            { type: c.CKA_ID, value: id },
          ]);
    const from = (type: number): Buffer | undefined => {
      for (const object of [handle, ...publicHandles]) {
        const value = this.#attribute(session, object, type);
        if (value !== undefined && value.length > 0) return value;
      }
      return undefined;
    };
    const modulus = from(c.CKA_MODULUS);
    const exponent = from(c.CKA_PUBLIC_EXPONENT);
    if (modulus !== undefined && exponent !== undefined) {
      const number = (octets: Buffer) => octets.subarray(octets.findIndex((octet) => octet !== 0));
      return spkiOf(
        { kty: 'RSA', n: number(modulus).toString('base64url'), e: number(exponent).toString('base64url') },
        this.place,
      );
    }
    const parameters = from(c.CKA_EC_PARAMS);
    const point = from(c.CKA_EC_POINT);
    const curve = curves.find((row) => parameters !== undefined && row.parameters === hex(parameters));
    if (parameters !== undefined && curve === undefined)
      throw this.#incapable('it is neither RSA nor on P-256 or P-384; use one of them');
    if (curve === undefined || point === undefined) {
      throw this.#incapable(
        'its public half is not in the token: import the public key with the same CKA_ID beside it',
      );
    }
    const numberBytes = curveBytes[curve.name];
    // §6.3.3: the point within an OCTET STRING; some tokens leave that out.
    const octets = point.subarray(point.length - 2 * numberBytes);
    return spkiOf(
      {
        kty: 'EC',
        crv: curve.name,
        x: octets.subarray(0, numberBytes).toString('base64url'),
        y: octets.subarray(numberBytes).toString('base64url'),
      },
      this.place,
    );
  }

  // --- making a key -------------------------------------------------------------------------------------------------

  /** Makes the key that the options name. */
  async generate(label: string, algorithm: KeyAlgorithm): Promise<void> {
    const { pkcs11 } = this.#module;
    const c = this.#constants;
    const rsa = algorithm.startsWith('rsa');
    if (!rsa && this.#options.use === 'decrypt')
      throw this.#incapable('a key on a curve cannot decrypt: SCEP clients encrypt to RSA; make an RSA key');
    const { slot, info } = this.#findToken();
    const session = pkcs11.C_OpenSession(slot, c.CKF_SERIAL_SESSION | c.CKF_RW_SESSION);
    try {
      this.#logIn(session, info);
      const named: Template = [
        { type: c.CKA_CLASS, value: c.CKO_PRIVATE_KEY },
        { type: c.CKA_LABEL, value: label },
      ];
      if (this.#find(session, named).length > 0)
        throw new PkiError(
          'key_exists',
          `a private key ${label} is in the token already and is not replaced`,
        );
      const id = this.#options.id === undefined ? randomBytes(16) : Buffer.from(this.#options.id, 'hex');
      const both: Attribute[] = [
        { type: c.CKA_TOKEN, value: true },
        { type: c.CKA_LABEL, value: label },
        { type: c.CKA_ID, value: id },
      ];
      const sign = this.#options.use === 'sign';
      const publicKey: Attribute[] = [
        ...both,
        { type: c.CKA_VERIFY, value: true },
        { type: c.CKA_ENCRYPT, value: !sign },
        ...(rsa
          ? [
              { type: c.CKA_MODULUS_BITS, value: Number(algorithm.slice(4)) },
              { type: c.CKA_PUBLIC_EXPONENT, value: Buffer.of(1, 0, 1) },
            ]
          : [{ type: c.CKA_EC_PARAMS, value: curveParameters(algorithm) }]),
      ];
      const privateKey: Attribute[] = [
        ...both,
        { type: c.CKA_PRIVATE, value: true },
        { type: c.CKA_SENSITIVE, value: true },
        { type: c.CKA_EXTRACTABLE, value: false },
        // A key that decrypts signs as well: its certification request must prove that we have it.
        { type: c.CKA_SIGN, value: true },
        { type: c.CKA_DECRYPT, value: !sign },
        { type: c.CKA_UNWRAP, value: false },
      ];
      const mechanism = { mechanism: rsa ? c.CKM_RSA_PKCS_KEY_PAIR_GEN : c.CKM_EC_KEY_PAIR_GEN };
      pkcs11.C_GenerateKeyPair(session, mechanism, publicKey, privateKey);
    } catch (cause) {
      throw cause instanceof PkiError ? cause : this.#failed(cause);
    } finally {
      this.#closeSession(session);
    }
  }

  // --- errors -------------------------------------------------------------------------------------------------------

  #incapable(what: string): PkiError {
    return new PkiError('key_capability', `${this.place}: ${what}`);
  }

  #unavailable(cause: unknown): PkiError {
    const why = cause === undefined ? 'it was lost and is tried again soon' : returnValueOf(cause);
    return new PkiError('key_unavailable', `${this.place}: the token is not available: ${why}`, { cause });
  }

  /** What is not lost: it will not get better by opening again. */
  #failed(cause: unknown): PkiError {
    const value = returnValueOf(cause);
    if (answerOf(cause) === 'incapable')
      return new PkiError('key_capability', `${this.place}: the token says ${value}`, { cause });
    return new PkiError('key_unavailable', `${this.place}: the token says ${value}`, { cause });
  }
}

function curveParameters(algorithm: KeyAlgorithm): Buffer {
  const curve = curves.find(({ name }) => name.toLowerCase() === algorithm);
  if (curve === undefined) throw new PkiError('internal', `there is no curve ${algorithm}`);
  return bufferOf(Buffer.from(curve.parameters, 'hex'));
}
