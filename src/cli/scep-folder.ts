/** The folder of a SCEP client: its server, whom it trusts, its key and certificate, and a request that waits. */
import { randomBytes } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import type { ClientIdentity } from '../agent/index.ts';
import { buildPem, type Certificate, parseCertificate, parsePem } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import {
  generateKeyFile,
  type KeyAlgorithm,
  openKeyFile,
  type PrivateKey,
  readTextIfThere,
  replaceFile,
  secretFromReference,
} from '../keys/index.ts';

const base64 = z.base64().transform((text): Uint8Array => Buffer.from(text, 'base64'));
const digest = z.enum(['sha1', 'sha256', 'sha384', 'sha512']);

const server = z.object({
  url: z.string(),
  recipientNonce: z.enum(['required', 'dangerOptional']),
  /** PEM of the TLS root; the system's if absent. */
  tlsCaPem: z.string().optional(),
  manner: z.object({
    digest: digest.optional(),
    cipher: z.enum(['aes-128-cbc', 'aes-192-cbc', 'aes-256-cbc', 'des-ede3-cbc']).optional(),
    keyTransport: z
      .union([
        z.object({ name: z.literal('rsaes-pkcs1-v1_5') }),
        z.object({ name: z.literal('rsaes-oaep'), digest }),
      ])
      .optional(),
  }),
});

/** The server that a folder belongs to, and how messages to it are made. */
export type ScepServer = z.output<typeof server>;

const waiting = z.object({
  transactionID: z.string(),
  senderNonce: base64,
  /** The PKIMessage, octet for octet as it is sent, however often. */
  message: base64,
  /** DER of the certification request. */
  csr: base64,
  /** DER of the certificate that signed the message. */
  signer: base64,
  /** Whose key that is: the one of this request, or the present one, which is being renewed. */
  signedBy: z.enum(['request-key', 'key']),
  /** What an answer to a key that cannot be encrypted to is encrypted under. A secret. */
  password: z.string().optional(),
});

/** A request that was made and not yet answered for good. */
export type WaitingRequest = z.output<typeof waiting>;

/**
 * One folder, one server, one certificate.
 *
 * ```
 * server.json         URL and algorithms
 * trust.pem           the CA certificates that are believed
 * key-passphrase      opens both keys                                   secret
 * key.pem             the key of the certificate, encrypted PKCS #8     secret
 * certificate.pem     the certificate
 * chain.pem           its issuers
 * request.json        a request that waits; it may hold a challenge     secret
 * request-key.pem     its key                                           secret
 * ```
 *
 * Promises: every file is written whole or not at all, with mode 0600. A request and its key go only after the certificate
 * is there: a command that was interrupted is taken up by `poll`.
 */
export class ScepFolder {
  readonly path: string;

  constructor(path: string) {
    this.path = resolve(path);
  }

  /** Path of a file, for people. */
  pathOf(name: 'key.pem' | 'key-passphrase' | 'certificate.pem' | 'chain.pem'): string {
    return join(this.path, name);
  }

  /**
   * Takes the folder for a server.
   *
   * @throws PkiError `scep_folder` if it holds a certificate or a request already.
   */
  async begin(known: ScepServer, trusted: readonly Certificate[]): Promise<void> {
    if ((await this.#read('request.json')) !== undefined)
      throw new PkiError('scep_folder', `${this.path} holds a request that waits: leafgate scep poll`);
    if ((await this.#read('certificate.pem')) !== undefined)
      throw new PkiError('scep_folder', `${this.path} holds a certificate: leafgate scep renew`);
    await mkdir(this.path, { recursive: true, mode: 0o700 });
    if ((await this.#read('key-passphrase')) === undefined)
      await this.#write('key-passphrase', `${randomBytes(32).toString('base64url')}\n`);
    await this.#write('trust.pem', pemOf(trusted));
    await this.#write('server.json', `${JSON.stringify(known, null, 2)}\n`);
  }

  /** The server, and whom the folder trusts. Throws PkiError `scep_folder` if it holds none. */
  async server(): Promise<{ readonly server: ScepServer; readonly trusted: readonly Certificate[] }> {
    const text = await this.#read('server.json');
    const trusted = await this.#read('trust.pem');
    if (text === undefined || trusted === undefined)
      throw new PkiError('scep_folder', `${this.path} belongs to no server yet: leafgate scep enrol`);
    return { server: this.#parse('server.json', text, server), trusted: certificatesOf(trusted) };
  }

  /** The certificate with its key; `undefined` before the first enrolment. */
  async identity(): Promise<ClientIdentity | undefined> {
    const text = await this.#read('certificate.pem');
    if (text === undefined) return undefined;
    const [certificate] = certificatesOf(text);
    if (certificate === undefined) throw this.#damaged('certificate.pem');
    return { certificate, key: await this.#openKey('key.pem') };
  }

  /** Makes the key of a new request. One of a request that never came to be is replaced. */
  async createRequestKey(algorithm: KeyAlgorithm): Promise<PrivateKey> {
    await rm(join(this.path, 'request-key.pem'), { force: true });
    return await generateKeyFile({ ...this.#keyFile('request-key.pem'), algorithm });
  }

  /** Keeps a request before it is sent. */
  async keep(request: WaitingRequest): Promise<void> {
    const { senderNonce, message, csr, signer, ...rest } = request;
    const text = (octets: Uint8Array) => Buffer.from(octets).toString('base64');
    const written = {
      ...rest,
      senderNonce: text(senderNonce),
      message: text(message),
      csr: text(csr),
      signer: text(signer),
    };
    await this.#write('request.json', `${JSON.stringify(written, null, 2)}\n`);
  }

  /** The request that waits, with its key and what signed it; `undefined` if none does. */
  async waiting(): Promise<
    | {
        readonly request: WaitingRequest;
        readonly key: PrivateKey;
        readonly identity: ClientIdentity;
      }
    | undefined
  > {
    const text = await this.#read('request.json');
    if (text === undefined) return undefined;
    const request = this.#parse('request.json', text, waiting);
    const key = await this.#openKey('request-key.pem');
    const signerKey = request.signedBy === 'key' ? await this.#openKey('key.pem') : key;
    return { request, key, identity: { certificate: parseCertificate(request.signer), key: signerKey } };
  }

  /** Drops a request that came to nothing. */
  async drop(): Promise<void> {
    await rm(join(this.path, 'request.json'), { force: true });
    await rm(join(this.path, 'request-key.pem'), { force: true });
  }

  /** The request has its certificate: key first, then certificate and chain, then the request goes. */
  async install(certificate: Certificate, chain: readonly Certificate[]): Promise<void> {
    const key = await this.#read('request-key.pem');
    if (key === undefined) throw this.#damaged('request-key.pem');
    await this.#write('key.pem', key);
    await this.#write('chain.pem', pemOf(chain));
    await this.#write('certificate.pem', pemOf([certificate]));
    await this.drop();
  }

  #keyFile(name: 'key.pem' | 'request-key.pem') {
    return {
      path: join(this.path, name),
      passphrase: secretFromReference(`file:${this.pathOf('key-passphrase')}`),
    };
  }

  #openKey(name: 'key.pem' | 'request-key.pem'): Promise<PrivateKey> {
    return openKeyFile(this.#keyFile(name));
  }

  async #write(name: string, text: string): Promise<void> {
    await replaceFile(join(this.path, name), text);
  }

  #read(name: string): Promise<string | undefined> {
    return readTextIfThere(join(this.path, name), 'scep_folder');
  }

  #parse<S extends z.ZodType>(name: string, text: string, schema: S): z.output<S> {
    try {
      return schema.parse(JSON.parse(text));
    } catch {
      throw this.#damaged(name);
    }
  }

  #damaged(name: string): PkiError {
    return new PkiError('scep_folder', `${join(this.path, name)} is missing or damaged`);
  }
}

function pemOf(certificates: readonly Certificate[]): string {
  return certificates.map(({ raw }) => buildPem('CERTIFICATE', raw)).join('');
}

/** The certificates of a PEM text. Throws PkiError `pem_malformed`, `certificate_malformed`. */
export function certificatesOf(text: string): Certificate[] {
  return parsePem(text, 'CERTIFICATE').map(parseCertificate);
}
