/** `certutil -view`: the certificates that a CA has issued, as text or CSV. */
import { PkiError } from '../errors.ts';

/** A certificate of the CA's database. */
export interface IssuedCertificate {
  readonly requestID: number;
  readonly requester: string;
  readonly commonName: string;
  readonly serialNumber: string;
  /** As the database has it: a name, or an object identifier. */
  readonly template: string;
  readonly notAfter: Date;
  /** 20 issued, 21 revoked; absent if the dump does not show it. */
  readonly disposition?: number;
}

/** How dates are written, which is a setting of the account that made the dump. */
export type DateOrder = 'dmy' | 'mdy' | 'ymd';

/** Columns by what we call them: the names of the schema, and those that certutil shows. */
const columns = {
  requestID: ['requestid', 'request id', 'issued request id'],
  requester: ['requestername', 'requester name', 'request.requestername'],
  commonName: ['commonname', 'issued common name', 'request common name', 'request.commonname'],
  serialNumber: ['serialnumber', 'serial number'],
  template: ['certificatetemplate', 'certificate template'],
  notAfter: ['notafter', 'certificate expiration date'],
  disposition: ['disposition', 'request disposition', 'request.disposition'],
} as const;

type Column = keyof typeof columns;
type Row = Partial<Record<Column, string>>;

/**
 * Reads a dump of either form. Dates are local times of the CA, taken as UTC: for a plan of months that is enough.
 *
 * @param text as `decodeWindowsText` gives it
 * @param order of the parts of a date; inferred from the dates themselves if absent
 * @throws PkiError `config_invalid` if there is no row, a needed column is missing, or dates can be read in two ways.
 */
export function parseIssuedDump(text: string, order?: DateOrder): IssuedCertificate[] {
  const rows = /^\s*Row \d+:\s*$/m.test(text) ? rowsOfText(text) : rowsOfCsv(text);
  if (rows.length === 0)
    throw new PkiError('config_invalid', 'no certificate in the view: make it with `certutil -view`');
  for (const column of ['requestID', 'notAfter', 'template'] as const) {
    if (rows.every((row) => row[column] === undefined))
      throw new PkiError(
        'config_invalid',
        `the view has no column ${columns[column][0]}: see migrate-from-ndes.md`,
      );
  }
  // A request that was denied or has failed has no certificate.
  const issued = rows.filter((row) => !isEmpty(row.notAfter));
  const how = order ?? orderOf(issued.map((row) => row.notAfter ?? ''));
  return issued.map((row): IssuedCertificate => {
    const disposition = row.disposition === undefined ? undefined : numberIn(row.disposition);
    return {
      requestID: numberIn(row.requestID ?? ''),
      requester: textIn(row.requester),
      commonName: textIn(row.commonName),
      serialNumber: textIn(row.serialNumber).replaceAll(/\s/g, '').toLowerCase(),
      template: templateIn(textIn(row.template)),
      notAfter: dateIn(row.notAfter ?? '', how),
      ...(disposition === undefined ? {} : { disposition }),
    };
  });
}

function columnOf(name: string): Column | undefined {
  const lower = name.trim().toLowerCase();
  const found = Object.entries(columns).find(([, names]) => (names as readonly string[]).includes(lower));
  return found?.[0] as Column | undefined;
}

function rowsOfText(text: string): Row[] {
  return text
    .split(/^\s*Row \d+:\s*$/m)
    .slice(1)
    .map((block) => {
      const row: Row = {};
      for (const line of block.split('\n')) {
        const colon = line.indexOf(':');
        const column = colon < 0 ? undefined : columnOf(line.slice(0, colon));
        if (column !== undefined) row[column] ??= line.slice(colon + 1).trim();
      }
      return row;
    });
}

function rowsOfCsv(text: string): Row[] {
  const [header = [], ...lines] = csvLines(text);
  const at = header.map(columnOf);
  return lines
    .filter((cells) => cells.length === header.length)
    .map((cells) => {
      const row: Row = {};
      for (const [index, cell] of cells.entries()) {
        const column = at[index];
        if (column !== undefined) row[column] ??= cell;
      }
      return row;
    });
}

/** RFC 4180: quotation marks are doubled within quotation marks. Lines without a cell, and certutil's last words, go. */
function csvLines(text: string): string[][] {
  const lines: string[][] = [];
  let cells: string[] = [];
  for (const [, separator, quoted, plain] of text.matchAll(/(^|,|\n)(?:"((?:[^"]|"")*)"|([^,\n"]*))/g)) {
    if (separator === '\n') {
      lines.push(cells);
      cells = [];
    }
    cells.push(quoted === undefined ? (plain ?? '').trim() : quoted.replaceAll('""', '"'));
  }
  lines.push(cells);
  return lines.filter((line) => line.length > 1);
}

const isEmpty = (text = 'EMPTY') => text === '' || text === 'EMPTY';

function textIn(text = ''): string {
  return isEmpty(text) ? '' : text.replace(/^"(.*)"(.*)$/s, '$1$2').trim();
}

/** `0x14 (20) -- Issued`, `20 -- Issued`, `20`. */
function numberIn(text: string): number {
  const [, bracketed] = /\((\d+)\)/.exec(text) ?? [];
  const number = Number.parseInt(
    bracketed ?? textIn(text),
    bracketed === undefined && /^0x/i.test(text) ? 16 : 10,
  );
  if (!Number.isSafeInteger(number))
    throw new PkiError('config_invalid', `the view: “${text.slice(0, 40)}” is no number`);
  return number;
}

/** The identifier, if there is one, else the name. */
function templateIn(text: string): string {
  return /^\d+(\.\d+){2,}/.exec(text)?.[0] ?? text;
}

const datePattern =
  /^"?(\d{1,4})[./-] ?(\d{1,2})[./-] ?(\d{1,4})(?:,?[ T]+(\d{1,2})[:.](\d{2})(?:[:.]\d{2})? ?([AP]M)?)?/i;

function orderOf(dates: readonly string[]): DateOrder {
  const parts = dates.map((date) => datePattern.exec(date)).filter((match) => match !== null);
  if (parts.some((match) => match[1]?.length === 4)) return 'ymd';
  if (parts.some((match) => Number(match[1]) > 12)) return 'dmy';
  if (parts.some((match) => Number(match[2]) > 12)) return 'mdy';
  // With points, the day is first in every language that writes so; AM and PM are American.
  if (dates.some((date) => /[AP]M/i.test(date))) return 'mdy';
  if (parts.length > 0 && dates.every((date) => date.includes('.'))) return 'dmy';
  throw new PkiError(
    'config_invalid',
    'the dates of the view can be read in two ways: say --date-order dmy or mdy',
  );
}

function dateIn(text: string, order: DateOrder): Date {
  const match = datePattern.exec(text);
  const [first, second, third] = [Number(match?.[1]), Number(match?.[2]), Number(match?.[3])];
  const [year, month, day] =
    order === 'ymd'
      ? [first, second, third]
      : order === 'dmy'
        ? [third, second, first]
        : [third, first, second];
  const half = match?.[6]?.toUpperCase();
  const hour = (Number(match?.[4] ?? 0) % (half === undefined ? 24 : 12)) + (half === 'PM' ? 12 : 0);
  const date = new Date(
    Date.UTC(year < 100 ? 2000 + year : year, month - 1, day, hour, Number(match?.[5] ?? 0)),
  );
  if (
    match === null ||
    !(month >= 1 && month <= 12) ||
    Number.isNaN(date.getTime()) ||
    date.getUTCDate() !== day
  )
    throw new PkiError('config_invalid', `the view: “${text.slice(0, 40)}” is no date in the order ${order}`);
  return date;
}
