/** What is published: names, octets, media types, and how long a cache may keep them. */
import {
  buildCertsOnly,
  buildPem,
  contextConstructed,
  DerReader,
  hex,
  oid,
  readExtensions,
  tag,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';

/** One file as relying parties fetch it. Everything in it is public. */
export interface PublishedObject {
  /** File name, unique among all that is published: `issuing.crl`. */
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Media type that it is served with. */
  readonly contentType: string;
  /** When it ends, if it does: a CRL's nextUpdate. No cache may keep it longer. */
  readonly nextUpdate?: Date;
  /** Only grows under one name: the CRL number. An object never replaces one with a higher number. */
  readonly number?: bigint;
}

/** More than a CRL with several million entries; what is read back is not read beyond it. */
export const OBJECT_BYTES_MAX = 268_435_456;

/** What a CRL says of itself before and after its entries. */
export interface CrlFacts {
  readonly nextUpdate?: Date;
  /** CRLNumber (RFC 5280 §5.2.3); absent if the CRL has none. */
  readonly crlNumber?: bigint;
}

/**
 * Number and end of a CRL, without reading its entries: a CRL with a million of them takes no longer than an empty one.
 * The signature is not looked at.
 *
 * @throws PkiError `crl_malformed`.
 */
export function readCrlFacts(crl: Uint8Array): CrlFacts {
  try {
    const outer = new DerReader(crl);
    const list = outer.enter(tag.sequence);
    outer.end();
    const tbsCertList = list.enter(tag.sequence);
    tbsCertList.smallInteger();
    tbsCertList.skip(tag.sequence);
    tbsCertList.skip(tag.sequence);
    tbsCertList.time();
    const hasNextUpdate = tbsCertList.nextTag === tag.utcTime || tbsCertList.nextTag === tag.generalizedTime;
    const nextUpdate = hasNextUpdate ? tbsCertList.time() : undefined;
    tbsCertList.optional(tag.sequence);
    const wrapper = tbsCertList.enterOptional(contextConstructed(0));
    const extensions = wrapper === undefined ? [] : readExtensions(wrapper.enter(tag.sequence));
    const value = extensions.find((extension) => extension.oid === oid.crlNumber)?.value;
    return {
      ...(nextUpdate === undefined ? {} : { nextUpdate }),
      ...(value === undefined ? {} : { crlNumber: BigInt(`0x${hex(new DerReader(value).integer())}`) }),
    };
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause;
    throw new PkiError('crl_malformed', `CRL: ${cause.message}`, { cause });
  }
}

/**
 * A full, delta or partitioned CRL as it is published.
 *
 * @param stem file name without its ending: the CA's name, with the partition's after it
 * @throws PkiError `crl_malformed`.
 */
export function crlObject(stem: string, crl: Uint8Array): PublishedObject {
  const { nextUpdate, crlNumber } = readCrlFacts(crl);
  return {
    name: `${stem}.crl`,
    bytes: crl,
    // RFC 5280 §4.2.1.13
    contentType: 'application/pkix-crl',
    ...(nextUpdate === undefined ? {} : { nextUpdate }),
    ...(crlNumber === undefined ? {} : { number: crlNumber }),
  };
}

/**
 * A CA's certificate, alone and with its issuers.
 *
 * @param stem file name without its ending: the CA's name
 * @param chain DER of the CA's certificate, then of its issuers up to the root
 */
export function caCertificateObjects(
  stem: string,
  chain: readonly [Uint8Array, ...Uint8Array[]],
): PublishedObject[] {
  return [
    // RFC 5280 §4.2.2.1: one certificate in DER, or a certs-only CMS message.
    { name: `${stem}.crt`, bytes: chain[0], contentType: 'application/pkix-cert' },
    { name: `${stem}.p7c`, bytes: buildCertsOnly(chain), contentType: 'application/pkcs7-mime' },
    {
      name: `${stem}-chain.pem`,
      bytes: Buffer.from(chain.map((der) => buildPem('CERTIFICATE', der)).join('')),
      // RFC 8555 §9.1
      contentType: 'application/pem-certificate-chain',
    },
  ];
}

/** The longest that a cache may keep a CRL, so that revocations are seen. Then ever shorter ones towards its end. */
const CRL_MAX_AGES_SECONDS = [3600, 1800, 900, 300, 60] as const;
const CERTIFICATE_MAX_AGE_SECONDS = 86_400;

/**
 * Cache-Control for an object at this moment: a tenth of what is left of it at most, and at most an hour. Storage serves
 * the header unchanged until it is written again; the steps of a tenth leave time for that, so that what a cache has
 * fetched ends before nextUpdate does. An object without an end may be kept for a day.
 */
export function cacheControlOf(object: Pick<PublishedObject, 'nextUpdate'>, now: Date): string {
  if (object.nextUpdate === undefined) return `public, max-age=${CERTIFICATE_MAX_AGE_SECONDS}`;
  const tenthSeconds = (object.nextUpdate.getTime() - now.getTime()) / 10_000;
  const maxAge = CRL_MAX_AGES_SECONDS.find((seconds) => seconds <= tenthSeconds);
  return maxAge === undefined ? 'no-cache' : `public, max-age=${maxAge}`;
}
