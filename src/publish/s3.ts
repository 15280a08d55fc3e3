/** A bucket of S3, or of whatever speaks its protocol. */
import { PkiError } from '../errors.ts';
import { readBody } from './bounded-body.ts';
import { OBJECT_BYTES_MAX } from './objects.ts';
import { factsFromMetadata, metadataOf, networkFault, sha256Of, type Target } from './target.ts';

/** What the target takes. */
export interface S3Options {
  readonly name: string;
  readonly bucket: string;
  readonly region: string;
  /** Base URL of the service; Amazon's own for the region if absent. */
  readonly endpoint?: string | undefined;
  /** `path`: the bucket stands in the path; `host`: it stands before the endpoint's name. */
  readonly addressing: 'path' | 'host';
  /** Before each key: empty, or a path that ends in `/`. */
  readonly prefix: string;
  /** May read and write objects, and list the bucket (without that S3 hides that a key is absent). */
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** An error of S3 is a few lines of XML. */
const ERROR_BYTES_MAX = 16_384;

/**
 * A bucket as a target. It must exist, and let anyone read objects (or something in front of it does). S3 replaces an
 * object at once; If-Match and If-None-Match make it refuse when somebody else was quicker. A service that does not know
 * them ignores them: there, let one server publish.
 *
 * @throws PkiError `config_invalid` if the endpoint is not a URL.
 */
export async function s3Target(options: S3Options): Promise<Target> {
  // Loaded here alone, and only if the configuration names a bucket.
  const { AwsV4Signer } = await import('aws4fetch');
  const { name, region, prefix, accessKeyId, secretAccessKey } = options;
  const base = baseOf(options);

  const send = async (
    method: 'HEAD' | 'GET' | 'PUT',
    object: string,
    signal: AbortSignal,
    headers: Readonly<Record<string, string>> = {},
    body?: Uint8Array<ArrayBuffer>,
  ): Promise<Response> => {
    const url = `${base}/${prefix}${object}`;
    const signed = await new AwsV4Signer({
      method,
      url,
      service: 's3',
      region,
      accessKeyId,
      secretAccessKey,
      // The signature covers the octets too, also where there is no TLS to keep them.
      headers: { ...headers, 'x-amz-content-sha256': sha256Of(body ?? new Uint8Array()) },
    }).sign();
    try {
      return await fetch(url, {
        method,
        headers: signed.headers,
        // A redirect (another region) would need another signature.
        redirect: 'manual',
        signal,
        ...(body === undefined ? {} : { body }),
      });
    } catch (thrown) {
      throw new PkiError('publish_failed', `${name}: ${base} cannot be reached: ${networkFault(thrown)}`);
    }
  };

  const refused = async (response: Response): Promise<PkiError> => {
    const text = await textOf(response);
    const code = /<Code>(\w{1,64})<\/Code>/.exec(text)?.[1];
    const home = response.headers.get('x-amz-bucket-region');
    const hint =
      home !== null && /^[a-z0-9-]{1,32}$/.test(home) && home !== region ? `; it is in ${home}` : '';
    return new PkiError(
      'publish_failed',
      `${name}: the bucket answers HTTP ${response.status}${code === undefined ? '' : ` ${code}`}${hint}`,
    );
  };

  const read = async (object: string, signal: AbortSignal): Promise<Uint8Array | undefined> => {
    const response = await send('GET', object, signal);
    if (response.ok) return await bodyOf(response, name);
    const fault = await refused(response);
    if (response.status === 404 && !fault.message.includes('NoSuchBucket')) return undefined;
    throw fault;
  };

  return {
    name,
    place: `${base}/${prefix}`,
    read,
    held: async (object, signal) => {
      const response = await send('HEAD', object, signal);
      if (response.status === 404) return undefined;
      if (!response.ok) {
        // The answer to HEAD has no body; the one to GET says what is wrong.
        const spoken = await send('GET', object, signal, { range: 'bytes=0-0' });
        if (spoken.ok) await spoken.body?.cancel();
        throw await refused(spoken.ok ? response : spoken);
      }
      const { headers } = response;
      const version = headers.get('etag');
      return {
        ...factsFromMetadata((key) => headers.get(`x-amz-meta-${key}`)),
        headers: {
          contentType: headers.get('content-type') ?? '',
          cacheControl: headers.get('cache-control') ?? '',
        },
        ...(version === null ? {} : { version }),
      };
    },
    replace: async (object, held, signal) => {
      const headers = {
        'content-type': object.headers.contentType,
        'cache-control': object.headers.cacheControl,
        ...Object.fromEntries(
          Object.entries(metadataOf(object)).map(([key, value]) => [`x-amz-meta-${key}`, value]),
        ),
      };
      const condition: Record<string, string> =
        held?.version === undefined ? { 'if-none-match': '*' } : { 'if-match': held.version };
      const body = new Uint8Array(object.bytes);
      let response = await send('PUT', object.name, signal, { ...headers, ...condition }, body);
      // Some services say that they cannot compare, instead of ignoring the condition.
      if (response.status === 501) {
        await textOf(response);
        response = await send('PUT', object.name, signal, headers, body);
      }
      if (response.ok) {
        await textOf(response);
        return 'replaced';
      }
      const fault = await refused(response);
      // 404 with If-Match: it was removed meanwhile. 409: somebody writes at this moment.
      if (response.status === 412 || response.status === 409) return 'changed';
      if (response.status === 404 && held !== undefined && fault.message.includes('NoSuchKey'))
        return 'changed';
      throw fault;
    },
  };
}

function baseOf({ name, bucket, region, endpoint, addressing }: S3Options): string {
  const service = endpoint ?? `https://s3.${region}.amazonaws.com`;
  if (!URL.canParse(service)) throw new PkiError('config_invalid', `${name}: the endpoint is not a URL`);
  const url = new URL(service);
  const path = url.pathname.replace(/\/+$/, '');
  return addressing === 'path'
    ? `${url.origin}${path}/${bucket}`
    : `${url.protocol}//${bucket}.${url.host}${path}`;
}

async function bodyOf(response: Response, name: string): Promise<Uint8Array> {
  try {
    const body = await readBody(response, OBJECT_BYTES_MAX);
    if (body !== undefined) return body;
  } catch (thrown) {
    throw new PkiError('publish_failed', `${name}: the answer was cut off: ${networkFault(thrown)}`);
  }
  throw new PkiError('publish_failed', `${name}: what is there is larger than anything that we publish`);
}

/** A short answer as text; empty if it is long or cut off. */
async function textOf(response: Response): Promise<string> {
  try {
    return (await readBody(response, ERROR_BYTES_MAX))?.toString() ?? '';
  } catch {
    return '';
  }
}
