/** The connector's side of its contract with the MDM: take requests, bring PFX, acknowledge. See docs/pfx.md. */
import { z } from 'zod';
import { keyUsages } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { deadlineIn, HttpsClient, NoResponse } from '../ra/validators/https-client.ts';

const ticket = {
  requestId: z.guid(),
  attempt: z.int().min(1).max(1000),
  /** For how long the request is this connector's. */
  leaseMs: z.int().min(1000).max(3_600_000),
};
const name = z.string().max(1024);
const base64 = z.base64().transform((text): Uint8Array => Buffer.from(text, 'base64'));
const destination = {
  deviceId: z.guid(),
  /** Base64 of the DER of the certificate that the PFX is to be encrypted to. */
  recipient: z.base64().max(16 * 1024),
};

const task = z.discriminatedUnion('action', [
  z.object({
    action: z.literal('issue'),
    ...ticket,
    ...destination,
    order: z.object({
      certificationAuthorityName: name,
      certificateTemplateName: name,
      /** RFC 4514 text. */
      subject: name,
      subjectAltName: z
        .array(
          z.object({
            type: z.enum(['dNSName', 'rfc822Name', 'uniformResourceIdentifier', 'userPrincipalName']),
            value: name,
          }),
        )
        .max(100),
      keyUsage: z.array(z.enum(keyUsages)).max(9),
      extKeyUsage: z.array(z.string().max(200)).max(50),
      /** Bits of the RSA modulus. */
      keyLength: z.union([z.literal(2048), z.literal(3072), z.literal(4096)]),
    }),
  }),
  z.object({
    action: z.literal('deliver'),
    ...ticket,
    ...destination,
    imported: z.object({
      /** SHA-1 of the certificate, upper-case hexadecimal. */
      thumbprint: z.string().regex(/^[0-9A-F]{40}$/),
      userPrincipalName: name,
      /** Name of the key that the password is encrypted to, and how. */
      keyName: name,
      paddingScheme: z.enum(['oaepSha256', 'oaepSha384', 'oaepSha512']),
      encryptedPfxBlob: base64,
      encryptedPfxPassword: base64,
    }),
  }),
  z.object({ action: z.literal('acknowledge'), ...ticket }),
  z.object({ action: z.literal('withdraw'), ...ticket }),
]);

/** What the MDM asks of a connector. */
export type PkcsTask = z.output<typeof task>;

/** Which request, and which time that it was taken. */
export type Ticket = Pick<PkcsTask, 'requestId' | 'attempt'>;

/** What a connector brings. */
export interface Upload extends Ticket {
  /** DER of EnvelopedData around the PFX, and around its password. */
  readonly encryptedPfxBlob: Uint8Array;
  readonly encryptedPfxPassword: Uint8Array;
  /** SHA-1, upper-case hexadecimal. */
  readonly thumbprint: string;
  readonly serialNumber: string;
  readonly issuerName: string;
  readonly notAfter: Date;
}

/** What the queue is opened with. */
export interface PkcsQueueOptions {
  /** `https://host:port` of the MDM. */
  readonly url: string;
  /** The connector's token. */
  readonly secret: string;
  /** PEM; trusted beside the system's own certificates. */
  readonly extraCa?: string | undefined;
}

const downloaded = z.object({ requests: z.array(task).max(100) });
const problem = z.object({ error: z.string() });
/** For one exchange. */
const TIMEOUT_MS = 30_000;
/** With what is sent again after a failure to connect. */
const BUDGET_MS = 60_000;
/** An imported PFX takes up to 350 KB; the connector takes five requests at a time. */
const RESPONSE_BYTES_MAX = 4 * 1024 * 1024;

/** Requests that wait at the MDM, over an outbound HTTPS connection. Close it. */
export class PkcsQueue {
  readonly #client: HttpsClient;
  readonly #url: string;
  readonly #authorization: string;

  /** @throws PkiError `config_invalid` if the URL is not https. */
  constructor({ url, secret, extraCa }: PkcsQueueOptions) {
    if (!url.startsWith('https://'))
      throw new PkiError('config_invalid', `the MDM’s URL ${url} is not https`);
    this.#url = url.replace(/\/+$/, '');
    this.#authorization = `Bearer ${secret}`;
    this.#client = new HttpsClient({ timeoutMs: TIMEOUT_MS, responseBytesMax: RESPONSE_BYTES_MAX, extraCa });
  }

  /**
   * Takes up to `max` requests; each is ours for as long as it says.
   *
   * @throws PkiError `server_unreachable`, `server_answer`, `token_refused`.
   */
  async take(max: number): Promise<readonly PkcsTask[]> {
    const answer = downloaded.safeParse(await this.#post('download', { max }));
    if (!answer.success) {
      const [issue] = answer.error.issues;
      throw new PkiError('server_answer', `the MDM’s requests: ${issue?.path.join('.')}: ${issue?.message}`);
    }
    return answer.data.requests;
  }

  /** Brings a PFX. Throws PkiError `pfx_lease_over` if it is not wanted any more; as `take` besides. */
  async upload({ encryptedPfxBlob, encryptedPfxPassword, ...rest }: Upload): Promise<void> {
    await this.#post('upload', {
      ...rest,
      encryptedPfxBlob: Buffer.from(encryptedPfxBlob).toString('base64'),
      encryptedPfxPassword: Buffer.from(encryptedPfxPassword).toString('base64'),
    });
  }

  /** Says that our part is done. Throws as `upload`. */
  async acknowledge({ requestId, attempt }: Ticket, outcome: 'delivered' | 'withdrawn'): Promise<void> {
    await this.#post('acknowledge', { requestId, attempt, outcome });
  }

  /** Says that there will be no certificate; `error` is a code of `errorTable`. Throws as `take`. */
  async fail({ requestId, attempt }: Ticket, error: string): Promise<void> {
    await this.#post('fail', { requestId, attempt, error });
  }

  close(): void {
    this.#client.close();
  }

  async #post(operation: string, body: unknown): Promise<unknown> {
    const what = `the MDM’s ${operation}`;
    let response: Awaited<ReturnType<HttpsClient['send']>>;
    try {
      response = await this.#client.send(
        {
          method: 'POST',
          url: `${this.#url}/connector/pkcs/${operation}`,
          headers: { 'content-type': 'application/json', authorization: this.#authorization },
          body: JSON.stringify(body),
        },
        deadlineIn(BUDGET_MS),
      );
    } catch (cause) {
      if (!(cause instanceof NoResponse)) throw cause;
      throw new PkiError('server_unreachable', `${what}: ${cause.reason}`);
    }
    const { status } = response;
    if (status === 204) return undefined;
    if (status === 401) throw new PkiError('token_refused', `${what} refuses the connector’s token`);
    const json = jsonIn(response.body);
    if (status === 200) return json;
    const said = problem.safeParse(json);
    if (status === 409 && said.data?.error === 'pfx_lease_over')
      throw new PkiError('pfx_lease_over', `${what}: the request is no longer ours`);
    const code = status === 429 || status >= 500 ? 'server_unreachable' : 'server_answer';
    throw new PkiError(code, `${what}: HTTP ${status}${said.success ? `, ${said.data.error}` : ''}`);
  }
}

function jsonIn(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
