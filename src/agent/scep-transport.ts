/** SCEP over HTTP as a client speaks it (RFC 8894 §4): one exchange a call, with everything that may come back instead. */
import type { CipherName, DigestName } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import {
  buildMessageQuery,
  type CaCertificates,
  contentTypes,
  parseCaCertificates,
  parseCapabilities,
} from '../scep/index.ts';
import { hResultOfHttpStatus, hResults } from './h-result.ts';
import type { HttpAnswer, HttpClient } from './http-client.ts';

/** What one exchange came to. */
export type Exchange<T> =
  | { readonly exchange: 'answered'; readonly value: T }
  /** No answer, or one that says to come back: the same may be sent again. */
  | {
      readonly exchange: 'unavailable';
      readonly hResult: number;
      readonly detail: string;
      readonly retryAfterMs?: number | undefined;
    }
  /** Something else than SCEP answered, or the server has nothing for us: to send the same again is of no use. */
  | { readonly exchange: 'unusable'; readonly hResult: number; readonly detail: string };

/** What a server said of itself in GetCACaps. Nobody signed it: it may make a message weaker, but never weak. */
export type Capabilities = ReadonlySet<string>;

/** GetCACaps answers are below 200 octets, chains below 20 KiB, CertReps below 10 KiB. */
const CAPABILITIES_BYTES_MAX = 16 * 1024;
const CA_CERTIFICATES_BYTES_MAX = 512 * 1024;
const PKI_MESSAGE_BYTES_MAX = 512 * 1024;
/** Overload and outage, of the server or of what stands before it. */
const comeBack: ReadonlySet<number> = new Set([408, 429, 502, 503, 504]);
/** What servers without GetCACaps answer (RFC 8894 §3.5.2). */
const noSuchOperation: ReadonlySet<number> = new Set([400, 403, 404, 405, 501]);

/**
 * The URL that a device really asks.
 *
 * QUIRK Windows: appends `/pkiclient.exe` to a URL that ends in `mscep.dll`; servers, rules of proxies and administrators
 * who read the event log know it so.
 *
 * @throws PkiError `server_answer` if it is no http or https URL.
 */
export function scepUrlOf(serverUrl: string): URL {
  const url = URL.canParse(serverUrl) ? new URL(serverUrl) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw new PkiError('server_answer', `the SCEP URL ${serverUrl} is no http or https URL`);
  }
  url.search = '';
  url.hash = '';
  if (/\/mscep\.dll\/?$/i.test(url.pathname))
    url.pathname = `${url.pathname.replace(/\/$/, '')}/pkiclient.exe`;
  return url;
}

/** AES-128 where it is offered, else 3DES (RFC 8894 §2.9, §3.5.2); single DES never, whoever asks for it (§7.5). */
export function cipherFor(capabilities: Capabilities): CipherName {
  return capabilities.has('AES') || capabilities.has('SCEPStandard') ? 'aes-128-cbc' : 'des-ede3-cbc';
}

/** SHA-256 where it is offered, else SHA-1, which protects the message's attributes and no certificate; MD5 never. */
export function digestFor(capabilities: Capabilities): DigestName {
  return capabilities.has('SHA-256') || capabilities.has('SCEPStandard') ? 'sha256' : 'sha1';
}

function offersPost(capabilities: Capabilities): boolean {
  return capabilities.has('POSTPKIOperation') || capabilities.has('SCEPStandard');
}

/**
 * One SCEP server, by its URL.
 *
 * QUIRK NDES: wants a `message` in GetCACaps and GetCACert too (RFC 8894 §3.5.1, §4.2 leave it out). QUIRK Windows: writes
 * `default` there, and rules of proxies know it.
 */
export class ScepTransport {
  /** As it stands in events. */
  readonly url: URL;
  readonly #http: HttpClient;
  readonly #signal: AbortSignal | undefined;

  /** @throws PkiError `server_answer` if the URL cannot be used. */
  constructor(serverUrl: string, http: HttpClient, signal?: AbortSignal) {
    this.url = scepUrlOf(serverUrl);
    this.#http = http;
    this.#signal = signal;
  }

  /** GetCACaps (§3.5). A server that does not know the operation has no capabilities. */
  async capabilities(): Promise<Exchange<Capabilities>> {
    const answer = await this.#query('operation=GetCACaps&message=default', CAPABILITIES_BYTES_MAX);
    if (answer.answer === 'response' && noSuchOperation.has(answer.status)) {
      return { exchange: 'answered', value: new Set() };
    }
    // DEVIATION RFC 8894 §3.5.2: NDES sends no content type, so none is asked for; a web page is told by its own.
    return read(answer, isAnything, (body) => {
      const text = Buffer.from(body).toString('latin1');
      if (!/^[\x20-\x7e\r\n\t]*$/.test(text))
        throw new PkiError('server_answer', 'capabilities that are not text');
      return parseCapabilities(text);
    });
  }

  /** GetCACert (§4.2). What comes back is not trusted yet. */
  async caCertificates(): Promise<Exchange<CaCertificates>> {
    const answer = await this.#query('operation=GetCACert&message=default', CA_CERTIFICATES_BYTES_MAX);
    const wanted = [contentTypes.caCertificate, contentTypes.caAndRaCertificates] as readonly string[];
    return read(
      answer,
      (contentType) => wanted.includes(contentType),
      (body, contentType) => parseCaCertificates(body, contentType),
    );
  }

  /** GetNextCACert (§4.7): the octets, whose signature is the caller's to check. */
  async nextCaCertificates(): Promise<Exchange<Uint8Array>> {
    const answer = await this.#query('operation=GetNextCACert&message=default', CA_CERTIFICATES_BYTES_MAX);
    return read(
      answer,
      (contentType) => contentType === contentTypes.nextCaCertificates,
      (body) => body,
    );
  }

  /** PKIOperation (§4.3): by POST where it is offered, else by GET. The answer is not verified yet. */
  async pkiOperation(message: Uint8Array, capabilities: Capabilities): Promise<Exchange<Uint8Array>> {
    const answer = offersPost(capabilities)
      ? await this.#http.send({
          method: 'POST',
          url: this.#target('operation=PKIOperation'),
          headers: { 'content-type': contentTypes.pkiMessage },
          body: message,
          answerBytesMax: PKI_MESSAGE_BYTES_MAX,
          signal: this.#signal,
        })
      : await this.#query(buildMessageQuery(message), PKI_MESSAGE_BYTES_MAX);
    return read(
      answer,
      (contentType) => contentType === contentTypes.pkiMessage,
      (body) => body,
    );
  }

  #query(query: string, answerBytesMax: number): Promise<HttpAnswer> {
    return this.#http.send({ method: 'GET', url: this.#target(query), answerBytesMax, signal: this.#signal });
  }

  #target(query: string): URL {
    const target = new URL(this.url);
    target.search = `?${query}`;
    return target;
  }
}

function isAnything(contentType: string): boolean {
  return !isWebPage(contentType);
}

function read<T>(
  answer: HttpAnswer,
  expects: (contentType: string) => boolean,
  parse: (body: Uint8Array, contentType: string) => T,
): Exchange<T> {
  if (answer.answer === 'none') {
    return { exchange: 'unavailable', hResult: answer.hResult, detail: answer.detail };
  }
  const { status, contentType, body } = answer;
  if (comeBack.has(status)) {
    return {
      exchange: 'unavailable',
      hResult: hResultOfHttpStatus(status),
      detail: describe(answer),
      ...(answer.retryAfterMs === undefined ? {} : { retryAfterMs: answer.retryAfterMs }),
    };
  }
  if (status !== 200)
    return { exchange: 'unusable', hResult: hResultOfHttpStatus(status), detail: describe(answer) };
  if (!expects(contentType)) {
    const hResult = hResults.ERROR_WINHTTP_INVALID_SERVER_RESPONSE.value;
    return { exchange: 'unusable', hResult, detail: describe(answer) };
  }
  try {
    return { exchange: 'answered', value: parse(body, contentType) };
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause;
    const name = cause.code === 'key_capability' ? 'SCARD_E_NO_SUCH_CERTIFICATE' : 'CRYPT_E_ASN1_BADTAG';
    return { exchange: 'unusable', hResult: hResults[name].value, detail: cause.message };
  }
}

function isWebPage(contentType: string): boolean {
  return contentType === 'text/html' || contentType === 'application/xhtml+xml';
}

/** Says what came instead of SCEP, so that an administrator knows who answered. */
function describe(answer: Extract<HttpAnswer, { answer: 'response' }>): string {
  const { status, contentType, location, body } = answer;
  if (location !== undefined)
    return `HTTP ${status}, a redirect to ${originOf(location)}, which is not followed`;
  const text = Buffer.from(body.subarray(0, 64 * 1024)).toString('utf8');
  if (isWebPage(contentType)) {
    const title = /<title[^>]*>([^<]*)</i.exec(text)?.[1]?.trim();
    const named = title === undefined || title === '' ? '' : ` titled “${title.slice(0, 100)}”`;
    return `HTTP ${status}, a web page${named}: a sign-in page, a proxy or the server’s own error page, not a SCEP answer`;
  }
  const said = contentType === 'text/plain' ? `: ${text.trim().slice(0, 200)}` : '';
  const kind = contentType === '' ? 'without content type' : `of type ${contentType.slice(0, 100)}`;
  return `HTTP ${status}, an answer ${kind}${said}`;
}

function originOf(location: string): string {
  return URL.canParse(location) ? new URL(location).origin : 'another place on the same server';
}
