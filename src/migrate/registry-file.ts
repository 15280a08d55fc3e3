/** Registry exports: `reg export` and regedit's `.reg` files. */
import { PkiError } from '../errors.ts';

/** A value. */
export interface RegistryValue {
  /** Of the key, as it is written: `HKEY_LOCAL_MACHINE\SOFTWARE\…`. */
  readonly key: string;
  /** Empty for the default value of the key. */
  readonly name: string;
  readonly data: string | number | readonly string[] | Uint8Array;
}

const LINES_MAX = 1_000_000;
/** Types of `hex(n):` that are text. */
const REG_SZ = 1;
const REG_EXPAND_SZ = 2;
const REG_MULTI_SZ = 7;

/**
 * Reads a registry export, of version 5.00 or 4 (`REGEDIT4`).
 *
 * @param text as `decodeWindowsText` gives it
 * @throws PkiError `config_invalid` naming the line.
 */
export function parseRegistryFile(text: string): RegistryValue[] {
  const lines = text.replace(/^\u{feff}/u, '').split('\n');
  const header = (lines[0] ?? '').trim();
  if (header !== 'Windows Registry Editor Version 5.00' && header !== 'REGEDIT4')
    throw new PkiError('config_invalid', 'not a registry export: its first line is another');
  if (lines.length > LINES_MAX) throw new PkiError('config_invalid', 'the registry export is too long');
  const values: RegistryValue[] = [];
  let key: string | undefined;
  for (let index = 1; index < lines.length; index += 1) {
    let line = (lines[index] ?? '').trim();
    const number = index + 1;
    const invalid = (why: string) =>
      new PkiError('config_invalid', `registry export, line ${number}: ${why}`);
    // Binary data goes on in the next line after a backslash.
    const pieces: string[] = [];
    while (/^[^"]*=?hex|^"(?:[^"\\]|\\.)*"=hex|^@=hex/.test(pieces[0] ?? line) && line.endsWith('\\')) {
      pieces.push(line.slice(0, -1));
      index += 1;
      line = (lines[index] ?? '').trim();
    }
    if (pieces.length > 0) line = pieces.join('') + line;
    if (line === '' || line.startsWith(';')) continue;
    const section = /^\[(-?)(.+)\]$/.exec(line);
    if (section !== null) {
      key = section[1] === '-' ? undefined : section[2];
      continue;
    }
    if (key === undefined) throw invalid('a value outside of a key');
    const value = /^(?:@|"((?:[^"\\]|\\.)*)")=(.*)$/s.exec(line);
    if (value === null) throw invalid('neither a key nor a value');
    const data = dataOf(value[2] ?? '', invalid);
    if (data !== undefined) values.push({ key, name: unescaped(value[1] ?? ''), data });
  }
  return values;
}

function unescaped(text: string): string {
  return text.replaceAll(/\\(.)/gs, '$1');
}

function dataOf(text: string, invalid: (why: string) => PkiError): RegistryValue['data'] | undefined {
  // A value that an import would delete.
  if (text === '-') return undefined;
  const string = /^"((?:[^"\\]|\\.)*)"$/s.exec(text);
  if (string !== null) return unescaped(string[1] ?? '');
  const dword = /^dword:([0-9a-f]{1,8})$/i.exec(text);
  if (dword !== null) return Number.parseInt(dword[1] ?? '', 16);
  const binary = /^hex(?:\(([0-9a-f]+)\))?:((?:[0-9a-f]{2},?)*)$/i.exec(text.replaceAll(/\s/g, ''));
  if (binary === null) throw invalid('data of an unknown form');
  const octets = Buffer.from((binary[2] ?? '').replaceAll(',', ''), 'hex');
  const type = Number.parseInt(binary[1] ?? '3', 16);
  if (type !== REG_SZ && type !== REG_EXPAND_SZ && type !== REG_MULTI_SZ) return octets;
  const decoded = octets.toString('utf16le');
  if (type !== REG_MULTI_SZ) return decoded.replace(/\0+$/, '');
  return decoded.split('\0').filter((part) => part !== '');
}
