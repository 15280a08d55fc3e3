/** A SCEP client for whoever waits for an answer: each operation of RFC 8894 is a method, and what goes wrong is thrown. */
import { randomBytes } from 'node:crypto';
import {
  type Certificate,
  type CipherName,
  type Crl,
  type DigestName,
  type KeyTransport,
  parseCrl,
  parsePublicKeyInfo,
  sameOctets,
  verifyCrlSignature,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { PrivateKey } from '../keys/index.ts';
import {
  buildInquiry,
  type CaCertificates,
  type CertRep,
  type IssuerAndSerialNumber,
  parseCertRep,
  parseNextCaCertificates,
} from '../scep/index.ts';
import { buildPollMessage, type EnrolmentMessage, transactionIDFor } from './enrolment-request.ts';
import type { HttpClient } from './http-client.ts';
import type { TrustedAuthority } from './registration-authority.ts';
import { type Capabilities, cipherFor, digestFor, type Exchange, ScepTransport } from './scep-transport.ts';

/** What a client may choose for its messages; what is absent follows from GetCACaps. */
export interface Manner {
  readonly digest?: DigestName;
  readonly cipher?: CipherName;
  readonly keyTransport?: KeyTransport;
}

/** Whom a message is signed by, and whom its answer is for. */
export interface ClientIdentity {
  readonly certificate: Certificate;
  readonly key: PrivateKey;
}

/** What a client is opened with. */
export interface ScepClientOptions {
  readonly url: string;
  readonly http: HttpClient;
  readonly signal?: AbortSignal;
  readonly manner?: Manner;
  /** See `CertRepExpectation`. */
  readonly recipientNonce?: 'required' | 'dangerOptional';
}

/** RFC 8894 §3.2.1.5. */
const NONCE_BYTES = 16;

/** One SCEP server. */
export class ScepClient {
  readonly #options: ScepClientOptions;
  readonly #transport: ScepTransport;
  #capabilities: Capabilities | undefined;

  /** @throws PkiError `server_answer` if the URL cannot be used. */
  constructor(options: ScepClientOptions) {
    this.#options = options;
    this.#transport = new ScepTransport(options.url, options.http, options.signal);
  }

  /** The URL that is really asked. */
  get url(): URL {
    return this.#transport.url;
  }

  /**
   * GetCACaps; asked once.
   *
   * @throws PkiError `server_unreachable`, `server_answer`.
   */
  async capabilities(): Promise<Capabilities> {
    this.#capabilities ??= this.#answered(await this.#transport.capabilities());
    return this.#capabilities;
  }

  /** GetCACert. What comes back is not trusted yet: see `checkAuthority`. Throws as `capabilities`. */
  async caCertificates(): Promise<CaCertificates> {
    return this.#answered(await this.#transport.caCertificates());
  }

  /** How a message to this server is made: as it was chosen, else the best that the server says it can. */
  async manner(): Promise<Required<Manner>> {
    const { digest, cipher, keyTransport = { name: 'rsaes-pkcs1-v1_5' } } = this.#options.manner ?? {};
    const capabilities = await this.capabilities();
    return {
      digest: digest ?? digestFor(capabilities),
      cipher: cipher ?? cipherFor(capabilities),
      keyTransport,
    };
  }

  /**
   * GetNextCACert: the certificates of the CA that takes over, verified by one that is trusted now (§4.7.1).
   *
   * @throws PkiError `server_unreachable`, `server_answer`, `scep_signature`, `cms_malformed`.
   */
  async nextCaCertificates(current: readonly Certificate[]): Promise<readonly Certificate[]> {
    const body = this.#answered(await this.#transport.nextCaCertificates());
    let failure: unknown;
    for (const certificate of current) {
      try {
        return parseNextCaCertificates(body, certificate);
      } catch (cause) {
        failure = cause;
      }
    }
    throw failure ?? new PkiError('scep_signature', 'there is no CA to verify the answer by');
  }

  /**
   * Sends a PKCSReq or RenewalReq as it was built, and reads the answer.
   *
   * @param password the challenge, for an identity whose key cannot be encrypted to
   * @throws PkiError `server_unreachable`, `server_answer`, and what `parseCertRep` throws.
   */
  async send(
    message: Pick<EnrolmentMessage, 'message' | 'transactionID' | 'senderNonce'>,
    identity: ClientIdentity,
    authority: TrustedAuthority,
    password?: string,
  ): Promise<CertRep> {
    const body = this.#answered(
      await this.#transport.pkiOperation(message.message, await this.capabilities()),
    );
    return await parseCertRep(body, {
      signers: authority.signers,
      transactionID: message.transactionID,
      senderNonce: message.senderNonce,
      decrypt: (keyTransport, encryptedKey) => identity.key.decrypt(keyTransport, encryptedKey),
      recipientNonce: this.#options.recipientNonce ?? 'required',
      ...(password === undefined ? {} : { password }),
    });
  }

  /**
   * CertPoll for a request that waits (§3.3.3). Throws as `send`.
   *
   * @param request subject and transactionID of the request; `identity` is what signed it
   */
  async poll(
    request: { readonly transactionID: string; readonly subject: Certificate['subject'] },
    identity: ClientIdentity,
    authority: TrustedAuthority,
  ): Promise<CertRep> {
    const message = await buildPollMessage({
      ...request,
      ...(await this.manner()),
      authority,
      signer: identity.certificate,
      key: identity.key,
    });
    return await this.send(message, identity, authority);
  }

  /** GetCert (§3.3.4): a certificate by issuer and serial number. Throws as `send`; `server_answer` if another came. */
  async certificate(
    about: IssuerAndSerialNumber,
    identity: ClientIdentity,
    authority: TrustedAuthority,
  ): Promise<CertRep | Certificate> {
    const certRep = await this.#inquire('GetCert', about, identity, authority);
    if (certRep.pkiStatus !== 'SUCCESS') return certRep;
    const found = certRep.certificates.find(
      ({ issuer, serialNumber }) =>
        sameOctets(issuer.raw, about.issuer.raw) && serialNumber === about.serialNumber,
    );
    if (found === undefined) throw new PkiError('server_answer', 'the certificate that came is another');
    return found;
  }

  /**
   * GetCRL (§3.3.4): the CRL for a certificate of `issuer`, which must have signed it. Throws as `send`;
   * `server_answer` if there is none or somebody else signed it.
   */
  async crl(
    about: IssuerAndSerialNumber,
    issuers: readonly Certificate[],
    identity: ClientIdentity,
    authority: TrustedAuthority,
  ): Promise<CertRep | Crl> {
    const certRep = await this.#inquire('GetCRL', about, identity, authority);
    if (certRep.pkiStatus !== 'SUCCESS') return certRep;
    const [bytes] = certRep.crls;
    if (bytes === undefined) throw new PkiError('server_answer', 'no CRL came');
    const crl = parseCrl(bytes);
    const issuer = issuers.find(({ subject }) => sameOctets(subject.raw, crl.issuer.raw));
    if (issuer === undefined || !verifyCrlSignature(crl, issuer.spki))
      throw new PkiError('server_answer', 'the CRL that came is not signed by the CA');
    return crl;
  }

  async #inquire(
    messageType: 'GetCert' | 'GetCRL',
    about: IssuerAndSerialNumber,
    identity: ClientIdentity,
    authority: TrustedAuthority,
  ): Promise<CertRep> {
    // RFC 8894 §3.1: an answer to such a key is encrypted under a challenge, of which these messages have none.
    if (!canBeEncryptedTo(identity.certificate))
      throw new PkiError(
        'answer_unencryptable',
        `${messageType} needs a certificate with an RSA key: no answer can be encrypted to this one`,
      );
    const senderNonce = randomBytes(NONCE_BYTES);
    const transactionID = transactionIDFor(senderNonce);
    const message = await buildInquiry(
      messageType,
      {
        ...(await this.manner()),
        signer: identity.certificate,
        recipient: authority.encryption,
        transactionID,
        senderNonce,
        about,
      },
      identity.key.sign,
    );
    return await this.send({ message, transactionID, senderNonce }, identity, authority);
  }

  #answered<T>(exchange: Exchange<T>): T {
    switch (exchange.exchange) {
      case 'answered':
        return exchange.value;
      case 'unavailable':
        throw new PkiError('server_unreachable', `${this.url.origin}: ${exchange.detail}`);
      case 'unusable':
        throw new PkiError('server_answer', `${this.url.href}: ${exchange.detail}`);
    }
  }
}

/** Whether an answer can be encrypted to the key of a certificate: to RSA alone. */
export function canBeEncryptedTo({ spki }: Certificate): boolean {
  return parsePublicKeyInfo(spki).type === 'rsa';
}
