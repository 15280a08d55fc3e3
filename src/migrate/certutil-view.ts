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
  /** Absent if the dump does not show it. */
  readonly notBefore?: Date;
  readonly notAfter: Date;
  /** 20 issued, 21 revoked; absent if the dump does not show it. */
  readonly disposition?: number;
}

/** How dates are written, which is a setting of the account that made the dump. */
export type DateOrder = 'dmy' | 'mdy' | 'ymd';

/** Columns by what we call them: the names of the schema (MS-CSRA §3.1.1.1.1), and those that certutil shows in English. */
const columns = {
  requestID: ['requestid', 'request.requestid', 'request id', 'issued request id'],
  requester: ['requestername', 'request.requestername', 'requester name'],
  commonName: ['commonname', 'issued common name'],
  askedCommonName: ['request.commonname', 'request common name'],
  serialNumber: ['serialnumber', 'serial number'],
  template: ['certificatetemplate', 'certificate template'],
  notBefore: ['notbefore', 'certificate effective date'],
  notAfter: ['notafter', 'certificate expiration date'],
  disposition: ['disposition', 'request.disposition', 'request disposition'],
} as const;

type Column = keyof typeof columns;
type Row = Partial<Record<Column, string>>;

/** Columns of the command that migrate-from-ndes.md names, in its order: for CSV, whose headings have no names but local ones. */
const documentedOrder: readonly Column[] = [
  'requestID',
  'requester',
  'commonName',
  'serialNumber',
  'notBefore',
  'notAfter',
  'template',
  'disposition',
];

/** `Row 7:`, in any language; no value stands behind it. */
const rowHeading = /^[ \t]*\p{L}+ *\d+ *:[ \t]*$/mu;

/**
 * Reads a dump of either form. Dates are local times of the CA, taken as UTC: for a plan of months that is enough.
 *
 * Text names its columns in a schema at its head, and can be of any language. CSV has local headings alone: English ones
 * are known, others must be in the order of the documented command.
 *
 * @param text as `decodeWindowsText` gives it
 * @param order of the parts of a date; inferred from the dates themselves if absent
 * @throws PkiError `config_invalid` if there is no row, a needed column is missing, a row has more or fewer cells than the
 *   heading, or dates can be read in two ways.
 */
export function parseIssuedDump(text: string, order?: DateOrder): IssuedCertificate[] {
  // Windows marks the direction of dates in some languages, and sets narrow spaces into times.
  const plain = text.replaceAll(/[\u200e\u200f]/g, '').replaceAll(/[\u00a0\u202f]/g, ' ');
  const rows = rowHeading.test(plain) ? rowsOfText(plain) : rowsOfCsv(plain);
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
  const how = order ?? orderOf(issued.flatMap((row) => [row.notBefore ?? '', row.notAfter ?? '']));
  return issued.map((row): IssuedCertificate => {
    const disposition = isEmpty(row.disposition) ? undefined : numberIn(row.disposition ?? '');
    return {
      requestID: numberIn(row.requestID ?? ''),
      requester: textIn(row.requester),
      commonName: textIn(row.commonName) || textIn(row.askedCommonName),
      serialNumber: textIn(row.serialNumber).replaceAll(/\s/g, '').toLowerCase(),
      template: templateIn(row.template),
      ...(isEmpty(row.notBefore) ? {} : { notBefore: dateIn(row.notBefore ?? '', how) }),
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

/** Local names by column, as the schema at the head of the text has them: `  NotAfter   Ablaufdatum   Date   8`. */
function schemaOf(head: string): ReadonlyMap<string, Column> {
  const names = new Map<string, Column>();
  const lines = head.split('\n');
  const rule = lines.findIndex((line) => /^\s*-{5,}( +-+)+\s*$/.test(line));
  for (const line of rule < 0 ? [] : lines.slice(rule + 1)) {
    const match = /^\s*(\S+) {2,}(\S.*?) {2,}/.exec(line);
    const column = columnOf(match?.[1] ?? '');
    if (column !== undefined) names.set((match?.[2] ?? '').toLowerCase(), column);
  }
  return names;
}

function rowsOfText(text: string): Row[] {
  const [head = '', ...blocks] = text.split(new RegExp(rowHeading, 'gmu'));
  const schema = schemaOf(head);
  const columnNamed = (name: string) => schema.get(name.trim().toLowerCase()) ?? columnOf(name);
  return blocks.map((block) => {
    const row: Row = {};
    for (const line of block.split('\n')) {
      // A local name may have a colon of its own: “Ausgestellt: Anforderungs-ID”.
      for (const { index } of line.matchAll(/:(?=\s|$)/g)) {
        const column = columnNamed(line.slice(0, index));
        if (column === undefined) continue;
        if (isEmpty(row[column])) row[column] = line.slice(index + 1).trim();
        break;
      }
    }
    return row;
  });
}

function rowsOfCsv(text: string): Row[] {
  const [header, ...lines] = csvLines(text);
  if (header === undefined) return [];
  const named = header.cells.map(columnOf);
  const isForeign = named.every((column) => column === undefined);
  const at = isForeign && named.length === documentedOrder.length ? documentedOrder : named;
  return lines.map(({ cells, number }) => {
    if (cells.length !== header.cells.length)
      throw new PkiError(
        'config_invalid',
        `the view, line ${number}: ${cells.length} cells below a heading of ${header.cells.length}`,
      );
    const row: Row = {};
    for (const [index, cell] of cells.entries()) {
      const column = at[index];
      if (column !== undefined && isEmpty(row[column])) row[column] = cell;
    }
    return row;
  });
}

interface CsvLine {
  readonly cells: readonly string[];
  /** From 1, of its first line. */
  readonly number: number;
}

/** RFC 4180: quotation marks are doubled within quotation marks. Lines of one cell, as certutil's last words, go. */
function csvLines(text: string): CsvLine[] {
  const lines: CsvLine[] = [];
  let cells: string[] = [];
  let [number, next] = [1, 1];
  for (const [all, separator, quoted, plain] of text.matchAll(/(^|,|\n)(?:"((?:[^"]|"")*)"|([^,\n"]*))/g)) {
    if (separator === '\n') {
      lines.push({ cells, number });
      cells = [];
      number = next + 1;
    }
    next += all.split('\n').length - 1;
    cells.push(quoted === undefined ? (plain ?? '').trim() : quoted.replaceAll('""', '"'));
  }
  lines.push({ cells, number });
  return lines.filter((line) => line.cells.length > 1);
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

/** `"1.3.6.…" Friendly name`, `"Machine" Computer`, `1.3.6.… Friendly name`: the identifier, if there is one, else the name. */
function templateIn(cell = ''): string {
  if (isEmpty(cell)) return '';
  const word = /^"([^"]*)"/.exec(cell)?.[1] ?? cell;
  return /^\d+(\.\d+){2,}/.exec(word)?.[0] ?? word.trim();
}

const YEAR_MAX = 2199;
const datePattern =
  /^"?(\d{1,4})[./-] ?(\d{1,2})[./-] ?(\d{1,4})\.?(?:,?[ T]+(\d{1,2})[:.](\d{2})(?:[:.]\d{2})? ?([AP]M)?)?/i;

function orderOf(dates: readonly string[]): DateOrder {
  const parts = dates.map((date) => datePattern.exec(date)).filter((match) => match !== null);
  if (parts.some((match) => match[1]?.length === 4)) return 'ymd';
  if (parts.some((match) => Number(match[1]) > 12)) return 'dmy';
  if (parts.some((match) => Number(match[2]) > 12)) return 'mdy';
  // With points, the day is first in every language that writes so. AM and PM tell nothing: Australia has them, too.
  if (parts.length > 0 && parts.every((match) => /^"?\d+\./.test(match[0]))) return 'dmy';
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
    // Other calendars count other years.
    date.getUTCFullYear() > YEAR_MAX ||
    Number.isNaN(date.getTime()) ||
    date.getUTCDate() !== day
  )
    throw new PkiError('config_invalid', `the view: “${text.slice(0, 40)}” is no date in the order ${order}`);
  return date;
}
