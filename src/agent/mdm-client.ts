/** What a device says to its MDM: join, check in, report. */
import { z } from 'zod';
import { keyUsages, parseCertificate, parsePem } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { hResultText } from './h-result.ts';
import { HTTP_TIMEOUT_MS, type HttpAnswer, HttpClient } from './http-client.ts';
import { type Platform, profileId } from './state.ts';

/** What a device says of itself to join. */
export interface JoinRequest {
  /** Enrolment token from the administrator. */
  readonly token: string;
  readonly deviceName: string;
  readonly platform: Platform;
  readonly serialNumber: string;
  /** The same for each attempt to join until one is answered. Secret like the token. */
  readonly joinId?: string | undefined;
}

const joined = z.object({
  deviceId: z.guid(),
  azureADDeviceId: z.guid(),
  deviceName: z.string(),
  deviceToken: z.string().regex(/^[\w.~+/=-]{16,4096}$/),
});

/** What a device is after joining. */
export type Joined = z.output<typeof joined>;

/** A certificate that the device has, as a check-in names it. */
export interface InstalledCertificate {
  readonly profileId: string;
  readonly version: number;
  readonly thumbprint: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
}

const thumbprint = z.string().regex(/^[0-9A-F]{40}$/);
const head = { profileId, version: z.int(), displayName: z.string() };

const trustedCertificateProfile = z.object({
  kind: z.literal('trustedCertificate'),
  ...head,
  destinationStore: z.enum([
    'computerCertStoreRoot',
    'computerCertStoreIntermediate',
    'userCertStoreIntermediate',
  ]),
  certificate: z.base64().transform((text): Uint8Array => Buffer.from(text, 'base64')),
  thumbprint,
});

/** A profile that puts one CA certificate into a store of the device. */
export type TrustedCertificateProfile = z.output<typeof trustedCertificateProfile>;

const scepProfile = z.object({
  kind: z.literal('scep'),
  ...head,
  /** RFC 4514 text; the validation service compares it as text. */
  subject: z.string(),
  subjectAltName: z.array(
    z.object({
      type: z.enum(['dNSName', 'rfc822Name', 'uniformResourceIdentifier', 'iPAddress', 'userPrincipalName']),
      value: z.string(),
    }),
  ),
  keyUsage: z.array(z.enum(keyUsages)),
  extKeyUsage: z.array(z.string()),
  /** Bits of the RSA modulus. */
  keyLength: z.union([z.literal(2048), z.literal(3072), z.literal(4096)]),
  renewalThresholdPercentage: z.int().min(1).max(99),
  scepServerUrls: z.array(z.string()).min(1).max(20),
  /** profileId of the trusted certificate that must stand behind the SCEP server. */
  rootCertificate: profileId,
  caThumbprint: thumbprint,
  /** Present exactly if the MDM wants the device to enrol now. Secret: whoever has it can ask for this certificate. */
  challenge: z.string().optional(),
});

/** A profile that lets the device get a certificate, made out for this device. */
export type ScepProfile = z.output<typeof scepProfile>;

const pfxFields = {
  ...head,
  rootCertificate: profileId,
  /** `recipientWanted`: the device is to name a certificate to encrypt to. `ready`: the rest is here. */
  pfx: z.enum(['recipientWanted', 'pending', 'ready', 'none']),
  /** CMS EnvelopedData around the PFX, and around its password. */
  encryptedPfxBlob: z
    .base64()
    .transform((text): Uint8Array => Buffer.from(text, 'base64'))
    .optional(),
  encryptedPfxPassword: z
    .base64()
    .transform((text): Uint8Array => Buffer.from(text, 'base64'))
    .optional(),
};

const pkcsProfile = z.object({ kind: z.literal('pkcs'), ...pfxFields });
const importedPfxProfile = z.object({ kind: z.literal('importedPfx'), ...pfxFields });

/** A profile that brings a key and a certificate which a connector has made for this device, or which were imported. */
export type PfxProfile = z.output<typeof pkcsProfile> | z.output<typeof importedPfxProfile>;

const failedProfile = z.object({ kind: z.literal('failed'), ...head, error: z.string() });

const anyProfile = z.object({ kind: z.string(), ...head });

/** A profile as it came; `unknown` is a kind, or a field, of a newer MDM than this device understands. */
export type DeviceProfile =
  | TrustedCertificateProfile
  | ScepProfile
  | PfxProfile
  | z.output<typeof failedProfile>
  | (Omit<z.output<typeof anyProfile>, 'kind'> & { readonly kind: 'unknown'; readonly error: string });

const deviceStates = ['enrolled', 'lost', 'retired', 'wiped'] as const;

const checkedIn = z.object({
  state: z.enum(deviceStates),
  profiles: z.array(z.unknown()).max(1000),
});

/** What a check-in answers: the whole of what the device shall have. */
export interface CheckIn {
  readonly state: (typeof deviceStates)[number];
  readonly profiles: readonly DeviceProfile[];
}

/** States of a profile that a device reports, in Intune's words. */
export type ReportedState =
  | 'requestCreationFailed'
  | 'requestSubmitFailed'
  | 'responseProcessingFailed'
  | 'responsePending'
  | 'installFailed'
  | 'installed'
  | 'deleted';

/** What a device tells of a profile. */
export interface ProfileReport {
  readonly profileId: string;
  readonly issuanceState: string;
  readonly thumbprint?: string | undefined;
  readonly serialNumber?: string | undefined;
  readonly notAfter?: Date | undefined;
  /** HRESULT. */
  readonly errorCode?: number | undefined;
  /** Id of the event in the device's log. */
  readonly eventId?: number | undefined;
}

/** What an MDM client is opened with. */
export interface MdmClientOptions {
  /** `https://host:port`; plain http is for loopback alone. */
  readonly url: string;
  /** PEM of the one root that the MDM's TLS certificate must lead to; those of the system if absent. */
  readonly caPem?: string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Overload and outage, of the MDM or of what stands before it. */
const comeBack: ReadonlySet<number> = new Set([408, 429, 502, 503, 504]);

/** Profiles with their challenges take some 5 KiB each. */
const ANSWER_BYTES_MAX = 8 * 1024 * 1024;

/** One device's connection to its MDM. Close it. */
export class MdmClient {
  readonly #url: string;
  readonly #http: HttpClient;
  readonly #signal: AbortSignal | undefined;

  /**
   * @throws PkiError `config_invalid` if the URL is not https (or http to loopback), or the root is not PEM.
   */
  constructor(options: MdmClientOptions) {
    this.#url = mdmUrlOf(options.url);
    if (options.caPem !== undefined) assertCertificates(options.caPem);
    this.#http = new HttpClient({
      timeoutMs: HTTP_TIMEOUT_MS,
      tlsRoots: options.caPem === undefined ? undefined : [options.caPem],
    });
    this.#signal = options.signal;
  }

  /**
   * Joins. The token may be spent even if this throws: the same attempt again, by its `joinId`, is then answered alike.
   *
   * @throws PkiError `token_refused`, `server_unreachable`, `server_answer`.
   */
  async join(request: JoinRequest): Promise<Joined> {
    return parsed(joined, await this.#post('/enrolment', request, undefined));
  }

  /**
   * Says what the device has and learns what it shall have.
   *
   * @throws PkiError `token_refused`, `server_unreachable`, `server_answer`.
   */
  async checkIn(deviceToken: string, installed: readonly InstalledCertificate[]): Promise<CheckIn> {
    const { state, profiles } = parsed(checkedIn, await this.#post('/checkin', { installed }, deviceToken));
    return { state, profiles: profiles.map(profileFrom) };
  }

  /**
   * Tells how far a profile has come.
   *
   * @throws PkiError `token_refused`, `server_unreachable`; `server_answer` if the MDM will never take it.
   */
  async report(deviceToken: string, report: ProfileReport): Promise<void> {
    await this.#post('/report', report, deviceToken);
  }

  /**
   * Names the certificate that keys from elsewhere are to be encrypted to.
   *
   * @throws PkiError `token_refused`, `server_unreachable`; `server_answer` if the MDM does not take it.
   */
  async nameRecipient(deviceToken: string, certificate: Uint8Array): Promise<void> {
    await this.#post(
      '/pkcs/recipient',
      { certificate: Buffer.from(certificate).toString('base64') },
      deviceToken,
    );
  }

  /** Ends its connections. */
  close(): void {
    this.#http.close();
  }

  async #post(path: string, body: unknown, deviceToken: string | undefined): Promise<unknown> {
    const answer = await this.#http.send({
      method: 'POST',
      url: new URL(`${this.#url}${path}`),
      headers: {
        'content-type': 'application/json',
        ...(deviceToken === undefined ? {} : { authorization: `Bearer ${deviceToken}` }),
      },
      body: Buffer.from(JSON.stringify(body), 'utf8'),
      answerBytesMax: ANSWER_BYTES_MAX,
      signal: this.#signal,
    });
    return jsonOf(answer, `the MDM’s ${path}`);
  }
}

/**
 * The MDM's URL without a slash at its end.
 *
 * @throws PkiError `config_invalid`. A device token over plain http could be read and used by anyone on the way.
 */
export function mdmUrlOf(url: string): string {
  const parsedUrl = URL.canParse(url) ? new URL(url) : undefined;
  const loopback = /^(127\.\d+\.\d+\.\d+|\[::1\]|localhost)$/.test(parsedUrl?.hostname ?? '');
  if (parsedUrl?.protocol !== 'https:' && !(parsedUrl?.protocol === 'http:' && loopback)) {
    throw new PkiError('config_invalid', `the MDM’s URL ${url} is not https`);
  }
  return url.replace(/\/+$/, '');
}

/** TLS passes over what it cannot read, and would then trust nobody, or less than was meant. */
function assertCertificates(pem: string): void {
  try {
    for (const der of parsePem(pem, 'CERTIFICATE')) parseCertificate(der);
  } catch (cause) {
    throw new PkiError('config_invalid', 'the root for the MDM is not a PEM certificate', { cause });
  }
}

function jsonOf(answer: HttpAnswer, what: string): unknown {
  if (answer.answer === 'none') {
    throw new PkiError('server_unreachable', `${what}: ${answer.detail}. ${hResultText(answer.hResult)}`);
  }
  const { status } = answer;
  if (status === 401) throw new PkiError('token_refused', `${what} refuses the token`);
  if (comeBack.has(status))
    throw new PkiError('server_unreachable', `${what}: HTTP ${status}${reasonIn(answer)}`);
  if (status === 204) return undefined;
  if (status >= 300 || answer.contentType !== 'application/json') {
    const contentType = answer.contentType || 'no content type';
    throw new PkiError('server_answer', `${what}: HTTP ${status}, ${contentType}${reasonIn(answer)}`);
  }
  try {
    return JSON.parse(Buffer.from(answer.body).toString('utf8'));
  } catch {
    throw new PkiError('server_answer', `${what}: an answer that is not JSON`);
  }
}

/** What our own MDM says of an error: a code and a public sentence. */
const problem = z.object({ error: z.string().max(100), message: z.string().max(300) });

function reasonIn(answer: Extract<HttpAnswer, { answer: 'response' }>): string {
  try {
    const { error, message } = problem.parse(JSON.parse(Buffer.from(answer.body).toString('utf8')));
    return `: ${error}, ${message}`;
  } catch {
    return '';
  }
}

function parsed<S extends z.ZodType>(schema: S, value: unknown): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new PkiError('server_answer', `the MDM’s answer: ${faultIn(result.error)}`);
}

type AnyProfileSchema =
  | typeof trustedCertificateProfile
  | typeof scepProfile
  | typeof pkcsProfile
  | typeof importedPfxProfile
  | typeof failedProfile;

const profileSchemas: ReadonlyMap<string, AnyProfileSchema> = new Map<string, AnyProfileSchema>([
  ['trustedCertificate', trustedCertificateProfile],
  ['scep', scepProfile],
  ['pkcs', pkcsProfile],
  ['importedPfx', importedPfxProfile],
  ['failed', failedProfile],
]);

/** A profile that cannot be read must not keep the device from those that can. */
function profileFrom(value: unknown): DeviceProfile {
  const { kind, ...rest } = parsed(anyProfile, value);
  const schema = profileSchemas.get(kind);
  if (schema === undefined)
    return { ...rest, kind: 'unknown', error: `profiles of kind ${kind} are not known here` };
  const result = schema.safeParse(value);
  return result.success ? result.data : { ...rest, kind: 'unknown', error: faultIn(result.error) };
}

function faultIn(error: z.ZodError): string {
  const [issue] = error.issues;
  return `${issue?.path.join('.') || 'it'}: ${issue?.message ?? 'not valid'}`;
}
