/** Keys in Azure Key Vault or Managed HSM, through Microsoft's SDK. Digests are made here, the rest in the vault. */
import { createHash, randomBytes, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Agent } from 'node:https';
import type { LookupFunction } from 'node:net';
import { rootCertificates } from 'node:tls';
import type { TokenCredential } from '@azure/identity';
import type { CryptographyClient, KeyClientOptions, KeyVaultKey } from '@azure/keyvault-keys';
import {
  bufferOf,
  type KeyTransport,
  type PublicKeyInfo,
  parsePublicKeyInfo,
  publicKeyOf,
  type SignatureAlgorithmName,
  signatureAlgorithms,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { buildEcdsaSignature, curveBytes } from './ecdsa-signature.ts';
import {
  describePlace,
  type KeyUse,
  type KeyVaultCredential,
  type KeyVaultPlace,
  type PlacedKey,
  spkiOf,
} from './key-place.ts';
import { syntheticPlaintext, unopened } from './rsa-padding.ts';

/** Where a key is, with the secret itself where one is used. */
export interface KeyVaultKeyOptions extends KeyVaultPlace {
  readonly use: KeyUse;
  /** How host names are resolved; by the system if absent. */
  readonly lookup?: LookupFunction;
  /** The whole of one operation with its retries; 20 seconds if absent. */
  readonly timeoutMs?: number;
}

const TIMEOUT_MS = 20_000;
/** Retries of what is throttled (429) or failed in the vault (5xx); a `Retry-After` of the vault is obeyed. */
const retryOptions = { maxRetries: 4, retryDelayInMs: 400, maxRetryDelayInMs: 5_000 };
/** Beyond it, the vault's own limits (some thousands in ten seconds) are near: better to say no at once. */
const OPERATIONS_MAX = 256;
const PUBLIC_AUTHORITY = 'https://login.microsoftonline.com';

/** Key Vault's names (RFC 7518 §3.1, §4.1) for what it knows of ours. */
const signatureNames = {
  'rsa-sha256': 'RS256',
  'rsa-sha384': 'RS384',
  'rsa-sha512': 'RS512',
} as const satisfies Partial<Record<SignatureAlgorithmName, string>>;
const curveSignatures = {
  'P-256': { name: 'ecdsa-sha256', vault: 'ES256' },
  'P-384': { name: 'ecdsa-sha384', vault: 'ES384' },
} as const;

/**
 * Opens a version of a key in a vault. What the key cannot do is said here and not at the first request.
 *
 * @throws PkiError `key_locked` if the vault refuses us or has no such key, `key_capability` if the key cannot be used
 *   so, `key_unavailable` if the vault or the sign-in does not answer.
 */
export async function openKeyVaultKey(options: KeyVaultKeyOptions): Promise<PlacedKey> {
  const place = describePlace({ keyVault: options });
  const { KeyClient, CryptographyClient: Client, identity } = await loadSdk();
  const transport = transportOf(options);
  const credential = credentialOf(identity, options, transport);
  const timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
  const found = await new KeyClient(options.vault, credential, transport)
    .getKey(options.name, { version: options.version, abortSignal: AbortSignal.timeout(timeoutMs) })
    .catch((cause: unknown) => {
      throw openingError(place, cause);
    });
  const spki = spkiOfVaultKey(found, place);
  assertCapable(found, parsePublicKeyInfo(spki), options.use, place);
  return new VaultKey(new Client(found, credential, transport), spki, place, found, timeoutMs);
}

async function loadSdk() {
  try {
    const [keys, identity] = await Promise.all([import('@azure/keyvault-keys'), import('@azure/identity')]);
    return { ...keys, identity };
  } catch (cause) {
    throw new PkiError(
      'key_locked',
      'keys in Key Vault need @azure/keyvault-keys and @azure/identity: install Leafgate anew',
      { cause },
    );
  }
}

type AdditionalPolicies = NonNullable<KeyClientOptions['additionalPolicies']>;

type Transport = {
  readonly retryOptions: typeof retryOptions;
  readonly additionalPolicies?: AdditionalPolicies;
};

/** The SDK's own connections, unless the configuration trusts further CAs. */
function transportOf({ extraCa, lookup }: KeyVaultKeyOptions): Transport {
  if (extraCa === undefined && lookup === undefined) return { retryOptions };
  let ca: string | undefined;
  try {
    if (extraCa !== undefined) ca = readFileSync(extraCa, 'utf8');
  } catch (cause) {
    throw new PkiError('config_invalid', `cannot read ${extraCa}`, { cause });
  }
  const agent = new Agent({
    keepAlive: true,
    ...(ca === undefined ? {} : { ca: [...rootCertificates, ca] }),
    ...(lookup === undefined ? {} : { lookup }),
  });
  const policy: AdditionalPolicies[number] = {
    position: 'perRetry',
    policy: {
      name: 'connections',
      sendRequest: (request, next) => {
        request.agent = agent;
        return next(request);
      },
    },
  };
  return { retryOptions, additionalPolicies: [policy] };
}

function credentialOf(
  identity: typeof import('@azure/identity'),
  options: KeyVaultKeyOptions,
  transport: Transport,
): TokenCredential {
  const { credential, authority = PUBLIC_AUTHORITY } = options;
  const common = {
    ...transport,
    authorityHost: authority,
    // The list of known authorities is Microsoft's public one; the administrator vouches for any other.
    disableInstanceDiscovery: authority !== PUBLIC_AUTHORITY,
  };
  return makeCredential(identity, credential, common);
}

function makeCredential(
  identity: typeof import('@azure/identity'),
  credential: KeyVaultCredential,
  common: Transport & { readonly authorityHost: string; readonly disableInstanceDiscovery: boolean },
): TokenCredential {
  const { clientSecret, clientCertificate, workloadIdentity, managedIdentity } = credential;
  if (clientSecret !== undefined) {
    const { tenant, clientId, secret } = clientSecret;
    return new identity.ClientSecretCredential(tenant, clientId, secret, common);
  }
  if (clientCertificate !== undefined) {
    const { tenant, clientId, certificate } = clientCertificate;
    return new identity.ClientCertificateCredential(tenant, clientId, certificate, common);
  }
  if (workloadIdentity !== undefined) {
    const { tenant, clientId } = workloadIdentity;
    return new identity.WorkloadIdentityCredential({
      ...common,
      ...(tenant === undefined ? {} : { tenantId: tenant }),
      ...(clientId === undefined ? {} : { clientId }),
    });
  }
  // Its endpoint is on the machine itself: neither an authority nor a CA of ours matters to it.
  return new identity.ManagedIdentityCredential({
    retryOptions,
    ...(managedIdentity?.clientId === undefined ? {} : { clientId: managedIdentity.clientId }),
  });
}

function spkiOfVaultKey({ key }: KeyVaultKey, place: string): Uint8Array {
  const text = (octets: Uint8Array | undefined) => bufferOf(octets ?? new Uint8Array()).toString('base64url');
  if (key?.kty === 'RSA' || key?.kty === 'RSA-HSM')
    return spkiOf({ kty: 'RSA', n: text(key.n), e: text(key.e) }, place);
  if (key?.kty === 'EC' || key?.kty === 'EC-HSM')
    return spkiOf({ kty: 'EC', crv: key.crv ?? '', x: text(key.x), y: text(key.y) }, place);
  throw new PkiError(
    'key_capability',
    `${place}: it is neither RSA nor EC; create one with --kty RSA-HSM or EC-HSM`,
  );
}

function assertCapable(found: KeyVaultKey, info: PublicKeyInfo, use: KeyUse, place: string): void {
  const incapable = (what: string) => new PkiError('key_capability', `${place}: ${what}`);
  if (found.properties.enabled === false) throw incapable('this version is disabled; enable it in the vault');
  if (info.type === 'ec' && info.curve === 'P-521') throw incapable('it is on P-521; use P-256 or P-384');
  if (info.type === 'other') throw incapable('it is neither RSA nor on P-256 or P-384; use one of them');
  if (use === 'decrypt' && info.type !== 'rsa')
    throw incapable('a key on a curve cannot decrypt: SCEP clients encrypt to RSA; use an RSA key');
  if (found.keyOperations?.includes(use) !== true)
    throw incapable(`its operations do not include “${use}”: az keyvault key set-attributes --ops ${use}`);
}

class VaultKey implements PlacedKey {
  readonly spki: Uint8Array;
  readonly place: string;
  readonly exportable: boolean;
  readonly #client: CryptographyClient;
  readonly #info: PublicKeyInfo;
  readonly #timeoutMs: number;
  /** Keys the synthetic plaintexts. Of this process alone: there is nothing that only the vault's key could compute. */
  readonly #rejectionSecret = randomBytes(32);
  #running = 0;

  constructor(
    client: CryptographyClient,
    spki: Uint8Array,
    place: string,
    found: KeyVaultKey,
    timeoutMs: number,
  ) {
    this.#client = client;
    this.spki = spki;
    this.place = place;
    this.exportable = found.properties.exportable === true;
    this.#info = parsePublicKeyInfo(spki);
    this.#timeoutMs = timeoutMs;
  }

  async sign(name: SignatureAlgorithmName, data: Uint8Array): Promise<Uint8Array> {
    const { digest: digestName } = signatureAlgorithms[name];
    const vaultName = this.#signatureName(name);
    const digest = createHash(digestName).update(data).digest();
    let result: Uint8Array;
    try {
      result = (await this.#operate((abortSignal) => this.#client.sign(vaultName, digest, { abortSignal })))
        .result;
    } catch (cause) {
      throw this.#unavailable(cause);
    }
    const signature =
      this.#info.type === 'ec' && this.#info.curve !== 'P-521'
        ? buildEcdsaSignature(result, curveBytes[this.#info.curve])
        : result;
    // What another key or a faulty device signed must not leave; verifying costs little beside the way to the vault.
    if (!verify(digestName, data, publicKeyOf(this.spki), signature))
      throw new PkiError('key_unavailable', `${this.place}: the vault gave a signature that does not verify`);
    return signature;
  }

  #signatureName(name: SignatureAlgorithmName): 'RS256' | 'RS384' | 'RS512' | 'ES256' | 'ES384' {
    const info = this.#info;
    if (info.type === 'rsa' && name in signatureNames)
      return signatureNames[name as keyof typeof signatureNames];
    if (info.type === 'ec' && info.curve !== 'P-521' && curveSignatures[info.curve].name === name)
      return curveSignatures[info.curve].vault;
    throw new PkiError('key_capability', `${this.place}: Key Vault cannot sign by ${name} with it`);
  }

  async decrypt(transport: KeyTransport, encryptedKey: Uint8Array): Promise<Uint8Array> {
    const info = this.#info;
    if (info.type !== 'rsa')
      throw new PkiError('key_capability', `a key of type ${info.type} cannot decrypt`);
    const algorithm = vaultTransport(transport);
    if (algorithm === undefined)
      throw new PkiError('algorithm_unsupported', 'Key Vault opens OAEP with SHA-1 and SHA-256 alone');
    // RFC 8017 §7.1.2, §7.2.2: as long as the modulus, and below it.
    if (encryptedKey.length !== info.modulus.length) throw unopened();
    if (Buffer.compare(encryptedKey, info.modulus) >= 0) throw unopened();
    // Made each time, so that it costs the same whether it is needed or not.
    const rejected = syntheticPlaintext(this.#rejectionSecret, encryptedKey);
    try {
      const { result } = await this.#operate((abortSignal) =>
        this.#client.decrypt({ algorithm, ciphertext: encryptedKey }, { abortSignal }),
      );
      return result;
    } catch (cause) {
      // The vault says 400 to bad padding. That must not be told to whoever sent the ciphertext.
      if (statusOf(cause) !== 400) throw this.#unavailable(cause);
      if (transport.name === 'rsaes-oaep') throw unopened();
      return rejected;
    }
  }

  async #operate<T>(operation: (abortSignal: AbortSignal) => Promise<T>): Promise<T> {
    if (this.#running >= OPERATIONS_MAX) throw new Error('too many operations are under way');
    this.#running += 1;
    try {
      return await operation(AbortSignal.timeout(this.#timeoutMs));
    } finally {
      this.#running -= 1;
    }
  }

  #unavailable(cause: unknown): PkiError {
    return new PkiError('key_unavailable', `${this.place}: ${reasonOf(cause)}`, { cause });
  }
}

function vaultTransport(transport: KeyTransport): 'RSA1_5' | 'RSA-OAEP' | 'RSA-OAEP-256' | undefined {
  if (transport.name === 'rsaes-pkcs1-v1_5') return 'RSA1_5';
  if (transport.digest === 'sha1') return 'RSA-OAEP';
  return transport.digest === 'sha256' ? 'RSA-OAEP-256' : undefined;
}

/** The vault's own HTTP status; that of a sign-in is not the vault's. */
function statusOf(cause: unknown): number | undefined {
  return cause instanceof Error && cause.name === 'RestError'
    ? (cause as { readonly statusCode?: number }).statusCode
    : undefined;
}

/** The cause in a line, without addresses of our own or tokens: the SDK's messages hold whole answers. */
function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  const status = statusOf(cause);
  if (status === 429) return 'the vault throttles (429); spread the load or use a Managed HSM';
  if (status !== undefined) return `the vault answers ${status}`;
  if (cause.name === 'AbortError') return 'the vault did not answer in time';
  return cause.message.split('\n', 1)[0] ?? cause.name;
}

function openingError(place: string, cause: unknown): PkiError {
  const status = statusOf(cause);
  if (status === 404)
    return new PkiError('key_locked', `${place}: there is no such key or version`, { cause });
  if (status === 401 || status === 403) {
    return new PkiError(
      'key_locked',
      `${place}: the vault refuses (${status}): give our identity the role Key Vault Crypto User`,
      { cause },
    );
  }
  if (isSignInRefusal(cause))
    return new PkiError('key_locked', `${place}: the sign-in to Azure is refused: ${reasonOf(cause)}`, {
      cause,
    });
  return new PkiError('key_unavailable', `${place}: ${reasonOf(cause)}`, { cause });
}

/** Whether Entra said no, and not nothing (RFC 6749 §5.2). */
function isSignInRefusal(cause: unknown): boolean {
  const answer =
    cause instanceof Error ? (cause.cause as { readonly errorCode?: unknown } | undefined) : undefined;
  return ['invalid_client', 'unauthorized_client', 'invalid_grant'].includes(String(answer?.errorCode));
}
