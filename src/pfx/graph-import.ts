/** Imported PFX: a user's certificate handed to Intune through Graph `userPfxCertificates`. */
import { constants, publicEncrypt } from 'node:crypto';
import { z } from 'zod';
import {
  type Certificate,
  parsePkcs12,
  parsePublicKeyInfo,
  publicKeyOf,
  thumbprintOf,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { deadlineIn, HttpsClient, NoResponse } from '../ra/validators/https-client.ts';

/** What Graph calls the uses of a certificate (`userPfxIntendedPurpose`). */
export const intendedPurposes = ['unassigned', 'smimeEncryption', 'smimeSigning', 'vpn', 'wifi'] as const;

/** One of `intendedPurposes`. */
export type IntendedPurpose = (typeof intendedPurposes)[number];

/** A PFX to be imported. */
export interface ImportedPfx {
  /** As it is to be delivered: Intune hands these octets on. */
  readonly pfx: Uint8Array;
  readonly password: string;
  readonly userPrincipalName: string;
  readonly intendedPurpose: IntendedPurpose;
  /** Names under which the certificate connector's machine keeps the private half of `publicKey`. */
  readonly providerName: string;
  readonly keyName: string;
  /** DER SubjectPublicKeyInfo of the connector's RSA key, which the password is encrypted to. */
  readonly publicKey: Uint8Array;
  readonly importedAt: Date;
}

/** How Graph is reached. */
export interface GraphAccess {
  /** `https://graph.microsoft.com`, or that of a national cloud. */
  readonly graph: string;
  /** Where tokens are had: `https://login.microsoftonline.com`. */
  readonly authority: string;
  /** GUID or domain name. */
  readonly tenant: string;
  readonly appId: string;
  readonly secret: string;
  /** PEM; trusted beside the system's own certificates. */
  readonly extraCa?: string | undefined;
}

/** Microsoft's own importer waits as long. */
const TIMEOUT_MS = 30_000;
/** Graph asks for a pause of a minute when it is busy; twice that, and the work itself. */
const BUDGET_MS = 180_000;
const KEY_BITS_MIN = 2048;
/** A PFX is base64 in JSON. */
const PFX_BYTES_MAX = 256 * 1024;

const tokenAnswer = z.object({ access_token: z.string().min(1) });
/** RFC 6749 §5.2. */
const tokenError = z.object({ error: z.string(), error_description: z.string().default('') });
const graphError = z.object({ error: z.object({ code: z.string(), message: z.string() }) });

/**
 * Imports one PFX: opens it first, so that a wrong password is found here and not on a device; encrypts the password to the
 * connector's key; sends both to Graph (beta).
 *
 * The app registration needs the application permission DeviceManagementConfiguration.ReadWrite.All.
 *
 * @returns the certificate that was imported
 * @throws PkiError `pkcs12_password`, `pkcs12_malformed`; `request_malformed` for a password that is not ASCII;
 *   `key_capability` if the connector's key is not RSA of 2048 bits and up; `token_refused`, `server_unreachable`;
 *   `import_refused` with Graph's own words; `server_answer` if it has none.
 */
export async function importPfx(imported: ImportedPfx, access: GraphAccess): Promise<Certificate> {
  const body = await importBody(imported);
  const client = new HttpsClient({ timeoutMs: TIMEOUT_MS, extraCa: access.extraCa });
  const send = async (what: string, request: Parameters<HttpsClient['send']>[0]) => {
    try {
      return await client.send(request, deadlineIn(BUDGET_MS));
    } catch (cause) {
      if (!(cause instanceof NoResponse)) throw cause;
      throw new PkiError('server_unreachable', `${what}: ${cause.reason}`);
    }
  };
  try {
    const token = await send('the token endpoint', {
      method: 'POST',
      url: `${withoutSlash(access.authority)}/${encodeURIComponent(access.tenant)}/oauth2/v2.0/token`,
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({
        grant_type: 'client_credentials',
        client_id: access.appId,
        client_secret: access.secret,
        scope: `${withoutSlash(access.graph)}/.default`,
      }).toString(),
    });
    const granted = tokenAnswer.safeParse(jsonIn(token.body));
    if (token.status !== 200 || !granted.success) {
      const said = tokenError.safeParse(jsonIn(token.body)).data;
      const detail = said === undefined ? '' : `: ${said.error}, ${said.error_description.slice(0, 500)}`;
      throw new PkiError('token_refused', `the token endpoint: HTTP ${token.status}${detail}`);
    }
    const answer = await send('Graph', {
      method: 'POST',
      url: `${withoutSlash(access.graph)}/beta/deviceManagement/userPfxCertificates`,
      headers: {
        'content-type': 'application/json',
        authorization: `Bearer ${granted.data.access_token}`,
      },
      body: JSON.stringify(body.json),
    });
    if (answer.status >= 200 && answer.status < 300) return body.certificate;
    const said = graphError.safeParse(jsonIn(answer.body)).data?.error;
    const detail = said === undefined ? '' : `: ${said.code}, ${said.message.slice(0, 500)}`;
    const isBusy = answer.status === 429 || answer.status >= 500;
    const code = isBusy ? 'server_unreachable' : said === undefined ? 'server_answer' : 'import_refused';
    throw new PkiError(code, `Graph: HTTP ${answer.status}${detail}`);
  } finally {
    client.close();
  }
}

async function importBody(imported: ImportedPfx) {
  const { pfx, password, userPrincipalName, intendedPurpose, providerName, keyName } = imported;
  if (pfx.length > PFX_BYTES_MAX) throw new PkiError('der_limit', `a PFX of ${pfx.length} octets`);
  // Microsoft's importer takes the low octet of each UTF-16 unit; only for ASCII is that what the connector reads.
  if (!/^[\x20-\x7e]{1,128}$/.test(password))
    throw new PkiError('request_malformed', 'password: 1 to 128 characters of ASCII');
  const { privateKey, certificate } = await parsePkcs12(pfx, password);
  privateKey.fill(0);
  const json = {
    '@odata.type': '#microsoft.graph.userPFXCertificate',
    thumbprint: thumbprintOf(certificate.raw).toLowerCase(),
    intendedPurpose,
    userPrincipalName,
    startDateTime: certificate.notBefore.toISOString(),
    expirationDateTime: certificate.notAfter.toISOString(),
    createdDateTime: imported.importedAt.toISOString(),
    lastModifiedDateTime: imported.importedAt.toISOString(),
    providerName,
    keyName,
    // The others that Graph knows are weaker, or not supported any more.
    paddingScheme: 'oaepSha512',
    encryptedPfxBlob: Buffer.from(pfx).toString('base64'),
    encryptedPfxPassword: encryptedPassword(password, imported.publicKey),
  };
  return { certificate, json };
}

function encryptedPassword(password: string, spki: Uint8Array): string {
  const info = parsePublicKeyInfo(spki);
  if (info.type !== 'rsa' || info.bits < KEY_BITS_MIN)
    throw new PkiError('key_capability', `the connector’s key must be RSA of ${KEY_BITS_MIN} bits and up`);
  const key = { key: publicKeyOf(spki), padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha512' };
  try {
    return publicEncrypt(key, Buffer.from(password, 'ascii')).toString('base64');
  } catch {
    throw new PkiError('request_malformed', 'password: too long for the connector’s key');
  }
}

function withoutSlash(url: string): string {
  return url.replace(/\/+$/, '');
}

function jsonIn(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
