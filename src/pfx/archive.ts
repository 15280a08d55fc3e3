/** Key archival under dual control: what is archived opens with both recovery keys, and with neither alone. */
import {
  buildEnvelopedData,
  type Certificate,
  type Decrypt,
  octetString,
  openEnvelopedData,
  type Pkcs12,
  parseEnvelopedData,
  parsePkcs12,
  readDer,
  sequence,
  tag,
  utf8String,
  utf8Text,
} from '../codec/index.ts';
import { PkiError } from '../errors.ts';

/** How keys travel everywhere in this folder. */
export const transport = {
  cipher: 'aes-256-cbc',
  keyTransport: { name: 'rsaes-oaep', digest: 'sha256' },
} as const;

/**
 * Seals a PFX and its password for two people: encrypted to the first, and what comes of it to the second.
 *
 * @returns DER of a ContentInfo with EnvelopedData
 * @throws PkiError `algorithm_unsupported` if a recovery certificate is not RSA.
 */
export function sealForArchive(
  pfx: Uint8Array,
  password: string,
  recovery: readonly [Certificate, Certificate],
): Uint8Array {
  const content = sequence(utf8String(password), octetString(pfx));
  const inner = buildEnvelopedData({ content, recipient: recovery[0], ...transport });
  content.fill(0);
  return buildEnvelopedData({ content: inner, recipient: recovery[1], ...transport });
}

/**
 * Opens what `sealForArchive` made, with both keys in either order.
 *
 * @throws PkiError `pfx_unopened` if these are not the two keys, or the archive was changed: it does not tell which.
 */
export async function openArchived(
  sealed: Uint8Array,
  keys: readonly [Decrypt, Decrypt],
): Promise<{ readonly pkcs12: Pkcs12; readonly pfx: Uint8Array; readonly password: string }> {
  for (const [outer, inner] of [keys, [keys[1], keys[0]]] as const) {
    try {
      const between = await openEnvelopedData(parseEnvelopedData(sealed), outer);
      const content = await openEnvelopedData(parseEnvelopedData(between), inner);
      const { password, pfx } = readDer(content, tag.sequence, (reader) => ({
        password: utf8Text(reader.content(tag.utf8String)),
        pfx: reader.octetString(),
      }));
      return { pkcs12: await parsePkcs12(pfx, password), pfx, password };
    } catch (cause) {
      if (!(cause instanceof PkiError) || cause.kind === 'unavailable' || cause.kind === 'bug') throw cause;
    }
  }
  throw new PkiError('pfx_unopened', 'the archive does not open with these two keys');
}
