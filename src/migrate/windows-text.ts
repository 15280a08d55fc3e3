/** Text as Windows writes it. */
import { PkiError } from '../errors.ts';

/** A view of a CA's database may be long: this is one of 140,000 certificates as text, or 400,000 as CSV. */
const MEBIBYTES_MAX = 128;

/**
 * The text of a file: UTF-16LE or UTF-8 with a byte order mark, UTF-16LE without one, else UTF-8. Lines end in `\n`.
 *
 * @throws PkiError `config_invalid` if it is none of them, or too long.
 */
export function decodeWindowsText(bytes: Uint8Array): string {
  const invalid = (why: string, cause?: unknown) =>
    new PkiError('config_invalid', `the file ${why}`, { cause });
  if (bytes.length > MEBIBYTES_MAX * 1024 * 1024)
    throw invalid(
      `is longer than ${MEBIBYTES_MAX} MiB: take \`certutil -view\` with \`csv\`, or of fewer certificates`,
    );
  // Windows text has a line feed or an ASCII character early on, whose second octet is zero in UTF-16LE.
  const isUtf16 = (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes.length >= 2 && bytes[1] === 0);
  try {
    const text = new TextDecoder(isUtf16 ? 'utf-16le' : 'utf-8', { fatal: true }).decode(bytes);
    return text.replaceAll(/\r\n?/g, '\n');
  } catch (cause) {
    throw invalid(
      'is neither UTF-16 nor UTF-8: make it in PowerShell, whose files are, or save it as one of them',
      cause,
    );
  }
}
