/** How commands speak: tables for people, JSON for machines, errors with a hint. */
import { styleText } from 'node:util';
import { InvalidArgumentError } from 'commander';
import { errorTable, PkiError } from '../errors.ts';

/** Reads the number of an option such as `--limit`. */
export function positiveInteger(text: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 1)
    throw new InvalidArgumentError('It must be a positive whole number.');
  return number;
}

/** Whether a person is likely to read standard output. */
export const isTerminal = (): boolean => process.stdout.isTTY === true;

/** Options that every listing command has. */
export interface ListingOptions {
  readonly json?: boolean;
}

/** Prints rows as an aligned table, or as JSON. Rows keep their order; long cells are cut on a terminal only. */
export function printRows(
  rows: readonly Readonly<Record<string, unknown>>[],
  columns: Readonly<Record<string, string>>,
  options: ListingOptions,
): void {
  if (options.json === true) {
    console.log(JSON.stringify(rows, null, 2));
    return;
  }
  if (rows.length === 0) {
    console.log('none');
    return;
  }
  const keys = Object.keys(columns);
  const cellOf = (row: Readonly<Record<string, unknown>>, key: string) => {
    const text = valueText(row[key]);
    return isTerminal() && text.length > 60 ? `${text.slice(0, 59)}…` : text;
  };
  const widths = keys.map((key) =>
    Math.max((columns[key] ?? '').length, ...rows.map((row) => cellOf(row, key).length)),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, index) => cell.padEnd(widths[index] ?? 0))
      .join('  ')
      .trimEnd();
  const header = line(keys.map((key) => columns[key] ?? ''));
  console.log(isTerminal() ? styleText('bold', header) : header);
  for (const row of rows) console.log(line(keys.map((key) => cellOf(row, key))));
}

function valueText(value: unknown): string {
  if (value === undefined || value === null) return '';
  if (value instanceof Date) return `${value.toISOString().slice(0, 16).replace('T', ' ')}Z`;
  if (Array.isArray(value)) return value.map(valueText).join(', ');
  if (typeof value === 'object')
    return Object.entries(value)
      .map(([name, item]) => `${printable(name)}=${valueText(item)}`)
      .join('; ');
  return printable(String(value));
}

/** A line as it may be shown: names and transactionIDs are a device's own words, and none may steer the terminal. */
export function printable(text: string): string {
  return text.replaceAll(
    /\p{Cc}/gu,
    (control) => `\\x${control.charCodeAt(0).toString(16).padStart(2, '0')}`,
  );
}

/** Prints one thing as `name: value` lines, or as JSON. */
export function printFacts(facts: Readonly<Record<string, unknown>>, options: ListingOptions): void {
  if (options.json === true) {
    console.log(JSON.stringify(facts, null, 2));
    return;
  }
  const width = Math.max(...Object.keys(facts).map((key) => key.length));
  for (const [key, value] of Object.entries(facts))
    console.log(`${`${key}:`.padEnd(width + 2)}${valueText(value)}`);
}

/**
 * Does what a command asks. What a program would be told by `request_malformed` was typed by a person here, and is about
 * no version of anything: it is `command_invalid`, in the same words.
 */
export async function asCommand<Result>(work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof PkiError && cause.code === 'request_malformed')
      throw new PkiError('command_invalid', cause.message, { cause });
    throw cause;
  }
}

/** Prints what went wrong and what to do, and gives the exit status. */
export function printError(thrown: unknown): number {
  const lines = (thrown instanceof Error ? thrown.message : String(thrown)).split('\n');
  // Servers and devices have a say in it.
  const message = lines.map(printable).join('\n');
  const paint = (style: 'red' | 'yellow', text: string) =>
    process.stderr.isTTY ? styleText(style, text) : text;
  console.error(`${paint('red', 'error:')} ${message}`);
  if (thrown instanceof PkiError)
    console.error(`${paint('yellow', 'hint:')} ${errorTable[thrown.code].mend}`);
  return 1;
}
