/** From what a person has (a file, a URL out of a log, base64 out of a mail) to the octets of a message. */
import { parseCapabilities } from '../capabilities.ts';
import { operationOf, parseScepQuery } from '../transport.ts';
import { attempt } from './ber-tree.ts';
import type { Findings } from './findings.ts';

/** What was in the input. */
export interface UnpackedInput {
  /** The wrappings that were taken off, outermost first. */
  readonly wrappings: readonly string[];
  readonly octets: Uint8Array;
  /** The text, if it is one and no message is in it. */
  readonly text?: string;
  /** Label of a PEM block. */
  readonly pemLabel?: string;
}

/** Longer request lines than many proxies take. */
const URL_CHARACTERS_USUAL = 8192;

/** Takes the wrappings off. Never throws. */
export function unpackInput(input: Uint8Array, findings: Findings): UnpackedInput {
  const text = asText(input);
  if (text === undefined) return { wrappings: [], octets: input };
  const trimmed = text.trim();
  if (/^(<!doctype|<html|<\?xml)/i.test(trimmed)) {
    findings.add('html');
    return { wrappings: ['text'], octets: Uint8Array.of(), text: trimmed };
  }
  const pem = /-----BEGIN ([A-Z0-9 ]+)-----([\s\S]*?)-----END/.exec(trimmed);
  if (pem !== null) {
    const [, label = '', body = ''] = pem;
    return { ...fromBase64(body, ['PEM'], findings), pemLabel: label };
  }
  const query = /[?&]operation=|^operation=|[?&]message=/i.test(trimmed) ? queryIn(trimmed) : undefined;
  if (query !== undefined) return fromQuery(trimmed, query, findings);
  if (looksLikeCapabilities(trimmed)) return { wrappings: ['text'], octets: Uint8Array.of(), text: trimmed };
  if (/^[A-Za-z0-9+/\-_=%\s]+$/.test(trimmed) && trimmed.length >= 16)
    return fromBase64(trimmed, [], findings);
  return { wrappings: ['text'], octets: Uint8Array.of(), text: trimmed };
}

/** The query of a URL, of a request line, or of a line of a log. */
function queryIn(text: string): string {
  const target = /(?:GET|POST|HEAD) (\S+)/.exec(text)?.[1] ?? /\S*[?&]?operation=.*/i.exec(text)?.[0] ?? text;
  const [line = ''] = target.replace(/\s+HTTP\/\d.*$/i, '').split(/\r?\n/, 1);
  return line.slice(line.indexOf('?') + 1);
}

function fromQuery(whole: string, query: string, findings: Findings): UnpackedInput {
  const parsed = parseScepQuery(query);
  const operation = operationOf(parsed);
  if (operation === undefined) findings.add('operationUnknown', parsed.operation ?? '');
  else if (parsed.operation !== operation) findings.add('operationCase', parsed.operation);
  if (whole.length > URL_CHARACTERS_USUAL) findings.add('longUrl', `${whole.length} characters`);
  const wrappings = [`URL of ${operation ?? 'an unknown operation'}`];
  const raw = /(?:^|&)message=([^&]*)/i.exec(query)?.[1] ?? '';
  if (operation !== 'PKIOperation' || raw === '')
    return {
      wrappings,
      octets: Uint8Array.of(),
      text: `operation ${operation ?? parsed.operation}, message “${raw}”`,
    };
  return fromBase64(raw, wrappings, findings);
}

function fromBase64(text: string, before: readonly string[], findings: Findings): UnpackedInput {
  const wrappings = [...before];
  let base64 = text.trim();
  for (let times = 0; /%[0-9A-Fa-f]{2}/.test(base64) && times < 3; times += 1) {
    base64 = base64.replaceAll(/%([0-9A-Fa-f]{2})/g, (_, octet: string) =>
      String.fromCharCode(Number.parseInt(octet, 16)),
    );
    wrappings.push('percent-escaping');
    if (times === 1) findings.add('doubleEscaped');
  }
  const isUrl = before[0]?.startsWith('URL') === true;
  if (isUrl && /[+/]/.test(text)) findings.add('unescaped');
  if (isUrl && /[A-Za-z0-9] [A-Za-z0-9]/.test(base64)) findings.add('plusAsSpace');
  if (/[-_]/.test(base64)) findings.add('base64Url');
  const isSpaced = !isUrl && plusBecameSpace(base64);
  if (isSpaced) findings.add('plusAsSpace');
  const plain = base64
    .replaceAll(/[\r\n\t]/g, '')
    .replaceAll(/ /g, isUrl || isSpaced ? '+' : '')
    .replaceAll('-', '+')
    .replaceAll('_', '/');
  const unpadded = plain.replace(/=+$/, '');
  if (plain.length % 4 !== 0) findings.add('base64Padding');
  if (!/^[A-Za-z0-9+/]+$/.test(unpadded) || unpadded.length % 4 === 1) findings.add('base64Broken');
  wrappings.push('base64');
  return { wrappings, octets: Buffer.from(unpadded, 'base64') };
}

/**
 * Whether the blanks of a base64 out of a log were `+` once. With them it has whole groups of four; so it may have without
 * them, and then they are ends of lines only if they stand at equal distances.
 */
function plusBecameSpace(base64: string): boolean {
  const line = base64.replaceAll(/[\r\n\t]/g, '');
  if (!line.includes(' ') || line.length % 4 !== 0) return false;
  const lines = line.split(/ +/);
  return lines.join('').length % 4 !== 0 || new Set(lines.slice(0, -1).map(({ length }) => length)).size > 1;
}

/** The input as a text, if it is one: printable ASCII or UTF-8 without control characters. */
function asText(input: Uint8Array): string | undefined {
  const text = Buffer.from(input)
    .toString('utf8')
    .replace(/^\uFEFF/, '');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what tells octets from a text.
  return /[\u0000-\u0008\u000b\u000e-\u001f\ufffd]/.test(text) ? undefined : text;
}

function looksLikeCapabilities(text: string): boolean {
  const keywords = attempt(() => parseCapabilities(text)) ?? new Set();
  return (
    text === '' ||
    [...keywords].some((word) =>
      /^(AES|DES3|GetNextCACert|POSTPKIOperation|Renewal|SCEPStandard|SHA-\d+)$/i.test(word),
    )
  );
}
