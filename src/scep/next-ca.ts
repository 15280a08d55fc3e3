/** GetNextCACert (RFC 8894 §4.7): the certificates that take over, under the signature of the CA that clients know. */
import {
  buildCertsOnly,
  buildSignedData,
  type Certificate,
  parseSignedData,
  type Sign,
  verifySignedData,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';

/**
 * Builds the answer (§4.7.1): a degenerate SignedData with the next CA's certificates inside one that the current CA signs.
 *
 * @param next DER of the next CA's certificate and of its issuers
 */
export async function buildNextCaCertificates(
  next: readonly Uint8Array[],
  current: { readonly certificate: Certificate; readonly sign: Sign },
): Promise<Uint8Array> {
  return await buildSignedData(
    {
      content: buildCertsOnly(next),
      digest: 'sha256',
      signer: current.certificate,
      certificates: [current.certificate.raw],
      attributes: [],
    },
    current.sign,
  );
}

/**
 * Reads the answer, and verifies before anything in it is believed that the current CA has signed it (§4.7.1).
 *
 * @returns the next CA's certificates, in the order in which they came.
 * @throws PkiError `scep_signature` if somebody else signed it, `cms_malformed`.
 */
export function parseNextCaCertificates(body: Uint8Array, current: Certificate): readonly Certificate[] {
  const signedData = parseSignedData(body);
  if (!verifySignedData(signedData, current))
    throw new PkiError('scep_signature', 'the next CA’s certificates are not signed by the current CA');
  if (signedData.content === undefined)
    throw new PkiError('cms_malformed', 'the answer holds no certificates of a next CA');
  return parseSignedData(signedData.content).certificates;
}
