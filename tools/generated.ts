/** The documents that are made from the sources, as texts. */
import type { Command } from 'commander';
import { stringify } from 'yaml';
import type { KeyRule, Rule } from '../src/ca/index.ts';
import type { ConfigKey } from '../src/cli/config-reference.ts';
import { type ClientError, errorClients } from '../src/client-errors.ts';
import type { ErrorKind, ErrorRow } from '../src/errors.ts';
import { anchorOf, table } from './markdown.ts';
import type { Remark } from './remarks.ts';

const HELP_WIDTH = 100;
const made = (from: string) => `<!-- Made from ${from} by \`npm run docs\`. Do not edit. -->\n`;

const kinds: Readonly<Record<ErrorKind, { readonly title: string; readonly text: string }>> = {
  malformed: {
    title: 'Malformed: the bytes break a standard',
    text: 'The sender is faulty, or something on the way damages messages.',
  },
  refused: {
    title: 'Refused: policy says no',
    text: 'Nothing is broken. The same request will be refused again until the request or the configuration changes.',
  },
  unavailable: {
    title: 'Unavailable: something that Leafgate depends on does not answer',
    text: 'Nothing was decided, and never is a certificate given out. The client may try again.',
  },
  misconfigured: {
    title: 'Misconfigured: refuses to start',
    text: 'Seen by who starts the program, never by a client.',
  },
  bug: { title: 'Bug: an invariant of the program broke', text: 'Please report it.' },
};

/** `docs/admin-openapi.yaml`. */
export function adminDescription(description: Readonly<Record<string, unknown>>): string {
  return `# Made from \`src/admin/routes.ts\` by \`npm run docs\`. Do not edit.\n${stringify(description, { aliasDuplicateObjects: false, lineWidth: 110 })}`;
}

/** `docs/errors.md`. */
export function errorsDocument(rows: Readonly<Record<string, ErrorRow>>): string {
  const sections = Object.entries(kinds).map(([kind, { title, text }]) => {
    const codes = Object.entries(rows).filter(([, row]) => row.kind === kind);
    return `## ${title}\n\n${text}\n\n${codes.map(([code, row]) => errorSection(code, row)).join('\n')}`;
  });
  return `${made('`src/errors.ts`')}
# Errors

Every code that Leafgate can answer with. A client gets the public text; the code, the detail and the reference stand
in the log and in the audit list (\`leafgate audit list\`). A refused SCEP client that shows its \`failInfoText\` shows
the reference too: \`leafgate explain LG-…\` finds the reason. What clients show is in
[client-errors.md](client-errors.md).

${sections.join('\n')}`;
}

function errorSection(code: string, row: ErrorRow): string {
  return `### \`${code}\`

${row.cause}

- Public text: “${row.text}”
- Answered as: ${answeredAs(row)}
- What to do: ${row.mend}
`;
}

/** What goes over which wire; the SCEP door answers 503 for everything that is unavailable, whatever the row says. */
function answeredAs({ kind, http, failInfo }: ErrorRow): string {
  if (kind === 'misconfigured') return 'exit status 1';
  return kind === 'unavailable' || failInfo === undefined
    ? `HTTP ${http}`
    : `SCEP FAILURE \`${failInfo}\`; HTTP ${http} where no SCEP answer can be made`;
}

const bases: Readonly<Record<ClientError['basis'], string>> = {
  documented: 'documented',
  seen: 'seen with the client, or in its source',
  reported: 'reported by users',
};

/** `docs/client-errors.md`. */
export function clientErrorsDocument(rows: readonly ClientError[]): string {
  const sections = errorClients.map((client) => {
    const list = rows
      .filter((row) => row.client === client)
      .map(({ code, name, means, causes, look, ours = [], basis }) => [
        `\`${code}\`${name === undefined ? '' : ` ${name}`}`,
        means,
        [...causes, ...(ours.length === 0 ? [] : [`Our codes: ${ours.map(errorLink).join(', ')}.`])].join(
          ' ',
        ),
        look.join(' '),
        bases[basis],
      ]);
    return `## ${client}\n\n${table(['It shows', 'It means', 'Usual causes', 'Look at', 'Basis'], list)}\n`;
  });
  return `${made('`src/client-errors.ts`')}
# Errors of clients

What devices and SCEP clients show when an enrolment fails, and where its cause is to be looked for. \`leafgate explain\`
finds a row by its code in any spelling (\`0x8010002c\`, \`-2146435028\`), by its name, or by a part of its sentence; and
it takes apart an HRESULT that is not in the table. The other way, from Leafgate’s own codes, is in
[errors.md](errors.md); the way through an investigation in [troubleshooting.md](troubleshooting.md).

“Reported by users” means just that: the sentence or number was seen with this cause in public threads, and may have others.

${sections.join('\n')}`;
}

const errorLink = (code: string): string => `[\`${code}\`](errors.md#${anchorOf(code)})`;

/** What the tables of rules show of a rule. */
type RuleRow = Pick<Rule<never>, 'name' | 'citation' | 'requires'> & Partial<Pick<Rule<never>, 'severity'>>;

/** `docs/lint.md`. */
export function lintDocument(
  certificateRules: readonly RuleRow[],
  crlRules: readonly RuleRow[],
  keyRules: readonly Pick<KeyRule, 'name' | 'citation' | 'requires' | 'code'>[],
): string {
  const rows = (rules: readonly RuleRow[]) =>
    table(
      ['Rule', 'Severity', 'What it demands', 'Where it stands'],
      rules.map(({ name, severity = 'error', requires, citation }) => [
        `\`${name}\``,
        severity,
        requires,
        citation,
      ]),
    );
  return `${made('the rules in `src/ca/lint` and `src/ca/key-policy.ts`')}
# Lint

Before the CA signs a certificate or a CRL it reads back the very octets that are to be signed, with a signature beside
them that means nothing, and asks every rule below. One broken rule of severity \`error\` and the key is not used: the
request ends with \`lint_failed\`, and the log names the rule. Rules of severity \`warning\` are recommendations that
devices in the field do not keep; they stop nothing.

\`leafgate ca audit\` asks all of them, warnings too, about everything that is stored: the certificates of the CAs,
every certificate they issued, every CRL that counts. It also verifies each signature and compares each record with its
certificate (\`record\`). Progress goes to standard error, and the exit status is 1 if anything was found. A certificate
from before its CA got another key needs the CA's former certificate: \`--former\`.

## Certificates

A rule that speaks of a CA holds for issuing CAs and roots; one for services (RA, OCSP) is one for end entities.

${rows(certificateRules)}

## CRLs

${rows(crlRules)}

## Key policy

Asked when a request arrives, again by the CA, and once more by the rule \`public_key_strength\`; the answer for a key is
kept between the three. The rules are asked in this order and the first that is broken decides.

${table(
  ['Rule', 'Refused as', 'What it demands', 'Where it stands'],
  keyRules.map(({ name, code, requires, citation }) => [`\`${name}\``, `\`${code}\``, requires, citation]),
)}

An issuance looks for small factors and close primes as far as some ten microseconds go; an audit goes further. Not
looked for are the weak keys of Debian's OpenSSL of 2006 to 2008 (CVE-2008-0166): their lists are many times larger than
Leafgate, and a machine that made such a key has not been maintained for longer than most have existed.
`;
}

/** `docs/configuration.md`. */
export function configurationDocument(keys: readonly ConfigKey[]): string {
  const top = keys.filter(({ key }) => !key.includes('.'));
  const sections = top.map(({ key, text, required, fallback }) => {
    const below = keys.filter((other) => other.key.startsWith(`${key}.`));
    const rows = below.map((row) => [
      `\`${row.key}\``,
      row.required ? 'yes' : '',
      row.fallback === undefined ? '' : `\`${row.fallback}\``,
      row.text,
    ]);
    const note = fallback === undefined ? '' : ` Default: \`${fallback}\`.`;
    const inside = rows.length === 0 ? '' : `\n${table(['Key', 'Required', 'Default', 'Meaning'], rows)}\n`;
    return `## \`${key}\`\n\n${text}${note}${required ? ' Required.' : ''}\n${inside}`;
  });
  return `${made('the schema in `src/config.ts`')}
# Configuration

One YAML file, read by every command. It is looked for at \`--config\`, then in the variable \`LEAFGATE_CONFIG\`, then at
\`leafgate.yaml\` in the working folder, then in the lab below it, then at \`/etc/leafgate/leafgate.yaml\`.
\`leafgate config check\` reads it and says what is wrong; \`leafgate config explain\` prints what stands below.

- A file may name one part or several: ${top
    .filter(({ fallback }) => fallback === undefined)
    .map(({ key }) => `[\`${key}\`](#${anchorOf(key)})`)
    .join(', ')}. At least one.
- “Required” holds inside its object: a part that is absent requires nothing.
- \`[]\` marks a list.
- Durations carry a unit: \`500ms\`, \`30s\`, \`10m\`, \`12h\`, \`90d\`.
- Paths are relative to the folder of the file.
- Secrets never stand in the file. A secret is a reference: \`file:PATH\` (mode 0600) or \`env:NAME\`.
- An unknown key is an error that names the nearest known key.

${sections.join('\n')}`;
}

/** `docs/cli.md`. */
export function cliDocument(program: Command): string {
  const sections = commandsBelow(program).map(
    ({ path, command }) => `## \`${path}\`\n\n\`\`\`text\n${helpOf(command)}\n\`\`\`\n`,
  );
  return `${made('the help texts in `src/cli`')}
# Command line

Errors go to standard error as \`error: …\` with a \`hint: …\`; the exit status is then 1. Listing commands take
\`--json\`, for machines.

${sections.join('\n')}`;
}

/** A command and all below it that do something or list what does, by the order of their making. */
function commandsBelow(
  command: Command,
  path: string = command.name(),
): { readonly path: string; readonly command: Command }[] {
  const below = command.commands.flatMap((child) => commandsBelow(child, `${path} ${child.name()}`));
  return [{ path, command }, ...below];
}

function helpOf(command: Command): string {
  const help = command.createHelp();
  // A fixed width, or the document would depend on the terminal that it was made in.
  help.prepareContext({ helpWidth: HELP_WIDTH, outputHasColors: false });
  return help.formatHelp(command, help).trimEnd();
}

/** `docs/conformance.md`. */
export function conformanceDocument(remarks: readonly Remark[]): string {
  const rowsOf = (kind: Remark['kind']) =>
    remarks
      .filter((remark) => remark.kind === kind)
      .toSorted((a, b) => compare(a.about, b.about) || compare(a.file, b.file))
      .map(({ about, text, file, declaration }) => [
        about,
        text,
        `${declaration === undefined ? '' : `\`${declaration}\` in `}[${file}](../${file})`,
      ]);
  return `${made('the comments `DEVIATION` and `QUIRK` in `src`')}
# Conformance

Where Leafgate departs from a standard on purpose, and which clients it makes room for. Each row is a comment beside the
code that does it.

## Deviations

${table(['Standard', 'What is done', 'Where'], rowsOf('DEVIATION'))}

## Quirks that are served

${table(['Who', 'What they do, and what is done about it', 'Where'], rowsOf('QUIRK'))}
`;
}

/** By code unit: the same on every system, whatever its language. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
