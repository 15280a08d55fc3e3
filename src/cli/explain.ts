/** `leafgate explain`: from a reference, or from what a device shows, to the reason and the way out. */
import type { Command } from 'commander';
import { type ClientError, type ClientErrorMatch, explainClientError } from '../client-errors.ts';
import { type ErrorCode, errorTable, PkiError } from '../errors.ts';
import {
  ENTRA_ERRORS,
  entraMends,
  entraNumberIn,
  intuneResultCodes,
  resultCodeIn,
} from '../ra/validators/intune-codes.ts';
import type { PkiStore, StoredAuditEntry } from '../store/index.ts';
import { configOption, withAuthorities } from './context.ts';
import { type ListingOptions, printable } from './output.ts';

/** As `newReference` makes them; what was read aloud or typed may differ in case. */
const reference = /^LG-[0-9A-Z]+$/i;
/** A transaction's events are looked for among this many before and after the refusal: retries come within minutes. */
const NEIGHBOURS_MAX = 2000;

/** Adds the command. */
export function addExplain(program: Command): void {
  program
    .command('explain')
    .description('why a request was refused, or what a device’s error means')
    .argument(
      '<what...>',
      'a reference (LG-…), an HRESULT, an event id, an error code or sentence of a client, a code of Intune or Entra',
    )
    .option(...configOption)
    .option('--json', 'for machines')
    .action(async (words: readonly string[], options: ListingOptions & { readonly config?: string }) => {
      const what = words.join(' ').trim();
      if (reference.test(what)) {
        const explained = await withAuthorities(options.config, ({ store }) =>
          explainReference(store, what.toUpperCase()),
        );
        print(explained, linesOfReference(explained), options);
        return;
      }
      if (Object.hasOwn(errorTable, what)) {
        const row = { code: what, ...errorTable[what as ErrorCode] };
        print(row, linesOfCode(what as ErrorCode), options);
        return;
      }
      const said = explainIntune(what);
      if (said !== undefined) {
        print(said, linesOfIntune(said), options);
        return;
      }
      const match = explainClientError(what);
      print(match, linesOfMatch(what, match), options);
      if (match.exact.length === 0) process.exitCode = 1;
    });
}

/** A word of Intune or a number of Entra. */
interface ExplainedIntune {
  readonly word: string;
  /** What it is here; absent if it is Entra's. */
  readonly code?: ErrorCode;
  readonly cause?: string;
  readonly mend: string;
}

function explainIntune(word: string): ExplainedIntune | undefined {
  if (Object.hasOwn(intuneResultCodes, word)) {
    const row = intuneResultCodes[word];
    return row === undefined ? undefined : { word, ...row };
  }
  if (entraNumberIn(word) !== word) return undefined;
  return { word, mend: entraMends[word] ?? `Look it up at ${ENTRA_ERRORS}` };
}

/** A refusal with all that belongs to it. */
interface ExplainedReference {
  readonly entry: StoredAuditEntry;
  /** Cause and mend, if the reason is one of ours. */
  readonly cause?: string;
  readonly mend?: string;
  /** What Intune or Entra said, if it was they who said no. */
  readonly intune?: ExplainedIntune;
  /** Other events of the same transaction, oldest first. */
  readonly others: readonly StoredAuditEntry[];
  /** Certificates that the device has, newest first. */
  readonly certificates: readonly {
    readonly serialNumber: string;
    readonly status: string;
    readonly subject: string;
  }[];
}

async function explainReference(store: PkiStore, wanted: string): Promise<ExplainedReference> {
  const [entry] = await store.auditEntries({ reference: wanted, limit: 1 });
  if (entry === undefined) {
    throw new PkiError(
      'reference_unknown',
      `there is no event with the reference ${wanted}: it is mistyped, was pruned, or is another server’s`,
    );
  }
  const { transactionID, endpoint, device = '' } = entry.detail;
  const around =
    transactionID === undefined
      ? []
      : await store.auditEntries({ after: entry.number + NEIGHBOURS_MAX + 1, limit: 2 * NEIGHBOURS_MAX });
  const others = around
    .filter(
      ({ number, detail }) =>
        number !== entry.number && detail.transactionID === transactionID && detail.endpoint === endpoint,
    )
    .toReversed();
  const certificates = device === '' ? [] : await store.certificates({ device, limit: 10 });
  const row = Object.hasOwn(errorTable, entry.code) ? errorTable[entry.code as ErrorCode] : undefined;
  const { detail = '' } = entry.detail;
  const intune = explainIntune(resultCodeIn(detail) ?? entraNumberIn(detail) ?? '');
  return {
    entry,
    ...(row === undefined ? {} : { cause: row.cause, mend: row.mend }),
    ...(intune === undefined ? {} : { intune }),
    others,
    certificates: certificates.map(({ serialNumber, status, subject }) => ({
      serialNumber,
      status,
      subject,
    })),
  };
}

/** Facts whose own names are wider than the column. */
const labels: Readonly<Record<string, string>> = { transactionID: 'transaction', publicKeyHash: 'key' };

/** As wide as the longest name of a fact, `transactionID`. */
const label = (name: string): string => name.padEnd(13);

function linesOfReference({
  entry,
  cause,
  mend,
  intune,
  others,
  certificates,
}: ExplainedReference): string[] {
  const { detail: why = '', ...facts } = entry.detail;
  // What Intune says of its own no is nearer to the matter than what our table says of all such.
  const nearest = intune === undefined ? mend : `${intune.mend}.`;
  return [
    `${entry.reference}: ${entry.text}`,
    '',
    `${label('Reason')} ${entry.code}`,
    ...(why === '' ? [] : [`${label('Detail')} ${why}`]),
    ...(cause === undefined ? [] : [`${label('Cause')} ${cause}`]),
    ...(intune?.cause === undefined ? [] : [`${label('Intune')} ${intune.word}: ${intune.cause}`]),
    ...(nearest === undefined ? [] : [`${label('What to do')} ${nearest}`]),
    '',
    `${label('When')} ${entry.at.toISOString()}`,
    ...Object.entries(facts)
      .filter(([, value]) => value !== '')
      .map(([name, value]) => `${label(labels[name] ?? name)} ${value}`),
    '',
    others.length === 0
      ? 'No other event of this transaction is on record.'
      : 'Other events of this transaction:',
    ...others.map(
      ({ at, event, code, reference: other, text }) =>
        `  ${at.toISOString()}  ${event}  ${code === '' ? text : code}${other === '' ? '' : `  ${other}`}`,
    ),
    ...(certificates.length === 0
      ? []
      : [
          'Certificates of the device:',
          ...certificates.map(
            ({ serialNumber, status, subject }) => `  ${serialNumber}  ${status}  ${subject}`,
          ),
        ]),
  ];
}

function linesOfCode(code: ErrorCode): string[] {
  const { kind, text, cause, mend } = errorTable[code];
  return [`${code} (${kind}): ${text}`, '', `Cause        ${cause}`, `What to do   ${mend}`];
}

function linesOfIntune({ word, code, cause, mend }: ExplainedIntune): string[] {
  return [
    `${code === undefined ? 'Entra' : 'Intune'} ${word}`,
    '',
    ...(cause === undefined ? [] : [`Cause        ${cause}`]),
    `What to do   ${mend}.`,
    ...(code === undefined ? [] : [`Our code     ${code} (leafgate explain ${code})`]),
  ];
}

function linesOfMatch(what: string, { exact, near, anatomy }: ClientErrorMatch): string[] {
  const parts = anatomy === undefined ? [] : [anatomy, ''];
  if (exact.length > 0)
    return [...parts, ...exact.flatMap((row, index) => [...(index === 0 ? [] : ['']), ...linesOf(row)])];
  return [
    ...parts,
    `“${what}” is not in Leafgate’s table of client errors.`,
    near.length === 0
      ? 'Nothing in it looks alike. The refusals that the server gave at that time: leafgate audit list --event enrolment.'
      : 'What looks alike, which need not be what is meant:',
    ...near.map(({ client, code, name, means }) => `  ${client} ${code}${nameOf(name)}: ${means}`),
  ];
}

const nameOf = (name: string | undefined): string => (name === undefined ? '' : ` (${name})`);

function linesOf({ client, code, name, means, causes, look, ours = [], basis }: ClientError): string[] {
  return [
    `${client} ${code}${nameOf(name)}`,
    `  Means        ${means}`,
    ...causes.map((cause, index) => `  ${index === 0 ? 'Cause  ' : 'or     '}      ${cause}`),
    ...look.map((place, index) => `  ${index === 0 ? 'Look at' : 'then   '}      ${place}`),
    ...(ours.length === 0 ? [] : [`  Our codes    ${ours.join(', ')} (leafgate explain CODE)`]),
    ...(basis === 'reported' ? ['  Basis        reports of users; other causes are possible'] : []),
  ];
}

function print(value: unknown, lines: readonly string[], options: ListingOptions): void {
  console.log(options.json === true ? JSON.stringify(value, null, 2) : lines.map(printable).join('\n'));
}
