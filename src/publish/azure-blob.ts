/** A container of Azure Blob Storage. */
import type { ContainerClient } from '@azure/storage-blob';
import { PkiError } from '../errors.ts';
import { OBJECT_BYTES_MAX } from './objects.ts';
import { factsFromMetadata, metadataOf, networkFault, type Target } from './target.ts';

/** What opens the container; whoever holds it can replace every CRL in it. */
export type AzureCredential =
  /** Connection string of the storage account. */
  | { readonly type: 'connectionString'; readonly connectionString: string; readonly container: string }
  /** URL of the container with a shared access signature: read, create and write on its blobs. */
  | { readonly type: 'sasUrl'; readonly sasUrl: string }
  /** A client of Entra ID with the role Storage Blob Data Contributor on the container. */
  | {
      readonly type: 'entra';
      /** URL of the account: `https://NAME.blob.core.windows.net`. */
      readonly accountUrl: string;
      readonly container: string;
      readonly tenant: string;
      readonly appId: string;
      readonly secret: string;
      /** Token authority; Microsoft’s public cloud if absent. */
      readonly authority?: string | undefined;
    };

/** What the target takes. */
export interface AzureBlobOptions {
  readonly name: string;
  readonly credential: AzureCredential;
  /** Before the name of each blob: empty, or a path that ends in `/`. */
  readonly prefix: string;
}

/**
 * A container as a target. It must exist, and let anyone read blobs (or something in front of it does). A blob is
 * replaced by one Put Blob on the condition that it is still the version that was looked at, so that of two who publish
 * at the same moment the later one sees the other's number first.
 *
 * @throws PkiError `config_invalid` if the credential cannot be read.
 */
export async function azureBlobTarget({ name, credential, prefix }: AzureBlobOptions): Promise<Target> {
  const container = await openContainer(name, credential);
  const { origin, pathname } = new URL(container.url);
  const failing = async <T>(work: () => Promise<T>): Promise<T> => {
    try {
      return await work();
    } catch (thrown) {
      if (thrown instanceof PkiError) throw thrown;
      // The SDK's own errors carry the request with its headers, and with a SAS its signature: none of it goes on.
      throw new PkiError('publish_failed', `${name}: ${faultOf(thrown)}`);
    }
  };
  const blobOf = (object: string) => container.getBlockBlobClient(`${prefix}${object}`);
  return {
    name,
    place: `${origin}${pathname}/${prefix}`,
    held: (object, signal) =>
      failing(async () => {
        try {
          const properties = await blobOf(object).getProperties({ abortSignal: signal });
          return {
            // Metadata comes in the case that a client wrote it in.
            ...factsFromMetadata((key) => properties.metadata?.[key]),
            headers: {
              contentType: properties.contentType ?? '',
              cacheControl: properties.cacheControl ?? '',
            },
            ...(properties.etag === undefined ? {} : { version: properties.etag }),
          };
        } catch (thrown) {
          // With a container that is not there, writing says so.
          if (statusOf(thrown) === 404) return undefined;
          throw thrown;
        }
      }),
    replace: (object, held, signal) =>
      failing(async () => {
        try {
          await blobOf(object.name).upload(Buffer.from(object.bytes), object.bytes.length, {
            blobHTTPHeaders: {
              blobContentType: object.headers.contentType,
              blobCacheControl: object.headers.cacheControl,
            },
            metadata: metadataOf(object),
            conditions: held?.version === undefined ? { ifNoneMatch: '*' } : { ifMatch: held.version },
            abortSignal: signal,
          });
          return 'replaced';
        } catch (thrown) {
          if (statusOf(thrown) === 412 || codeOf(thrown) === 'BlobAlreadyExists') return 'changed';
          throw thrown;
        }
      }),
    read: (object, signal) =>
      failing(async () => {
        try {
          // One request: downloadToBuffer asks for the length first, and may then get the octets of another version.
          const { readableStreamBody, contentLength = 0 } = await blobOf(object).download(0, undefined, {
            abortSignal: signal,
          });
          if (contentLength > OBJECT_BYTES_MAX)
            throw new PkiError(
              'publish_failed',
              `${name}: what is there is larger than anything that we publish`,
            );
          const pieces: Uint8Array[] = [];
          for await (const piece of readableStreamBody ?? []) pieces.push(Buffer.from(piece));
          return Buffer.concat(pieces);
        } catch (thrown) {
          if (statusOf(thrown) === 404) return undefined;
          throw thrown;
        }
      }),
  };
}

async function openContainer(name: string, credential: AzureCredential): Promise<ContainerClient> {
  // Loaded here alone, and only if the configuration names a container.
  const { BlobServiceClient, ContainerClient } = await import('@azure/storage-blob');
  // The publisher retries by itself, with the newest CRL.
  const options = { retryOptions: { maxTries: 1 } };
  try {
    if (credential.type === 'connectionString') {
      return BlobServiceClient.fromConnectionString(credential.connectionString, options).getContainerClient(
        credential.container,
      );
    }
    if (credential.type === 'sasUrl') return new ContainerClient(credential.sasUrl, undefined, options);
    const { ClientSecretCredential } = await import('@azure/identity');
    const { tenant, appId, secret, authority } = credential;
    const tokens = new ClientSecretCredential(tenant, appId, secret, {
      ...(authority === undefined ? {} : { authorityHost: authority }),
      retryOptions: { maxRetries: 1 },
    });
    return new BlobServiceClient(credential.accountUrl, tokens, options).getContainerClient(
      credential.container,
    );
  } catch {
    // What was thrown may repeat the credential.
    throw new PkiError('config_invalid', `${name}: the ${credential.type} cannot be read`);
  }
}

const statusOf = (thrown: unknown): unknown => (thrown as { readonly statusCode?: unknown }).statusCode;

const codeOf = (thrown: unknown): unknown => (thrown as { readonly code?: unknown }).code;

function faultOf(thrown: unknown): string {
  const status = statusOf(thrown);
  const code = codeOf(thrown);
  if (typeof status === 'number') {
    const word = typeof code === 'string' && /^\w{3,64}$/.test(code) ? ` ${code}` : '';
    return `the storage account answers HTTP ${status}${word}`;
  }
  if ((thrown as Error | undefined)?.name === 'AuthenticationError') return 'Entra ID gives no token';
  return typeof code === 'string' && /^E[A-Z0-9_]{2,63}$/.test(code)
    ? `the storage account cannot be reached: ${code}`
    : `the storage account cannot be reached: ${networkFault(thrown)}`;
}
