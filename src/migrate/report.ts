/** The plan as documents: the proposed configuration, the report, the table of certificates. */
import { stringify } from 'yaml';
import type { ExpiringCertificate, MigrationNote, MigrationPlan } from './plan.ts';

const headings: readonly (readonly [kind: MigrationNote['kind'], heading: string])[] = [
  ['notCarried', 'What could not be carried over'],
  ['changed', 'What is done in another way'],
  ['todo', 'What you fill in'],
];

/** The proposed configuration: YAML that `parseConfig` takes, which knows no aliases. */
export function buildProposedConfiguration({ configuration }: MigrationPlan): string {
  const yaml = stringify(configuration, { aliasDuplicateObjects: false });
  return `# A proposal, made from exports of NDES. report.md says what is to be filled in.\n${yaml}`;
}

/** The report: Markdown. */
export function buildMigrationReport({ notes, certificates }: MigrationPlan, now: Date): string {
  const lines = ['# From NDES to Leafgate', ''];
  for (const [kind, heading] of headings) {
    const of = notes.filter((note) => note.kind === kind);
    lines.push(`## ${heading}`, '', ...of.map(({ about, text }) => `- **${about}**: ${text}.`));
    lines.push(...(of.length === 0 ? ['Nothing.', ''] : ['']));
  }
  lines.push('## Certificates that are out', '', ...expiryLines(certificates, now));
  return `${lines.join('\n')}\n`;
}

function expiryLines(certificates: readonly ExpiringCertificate[], now: Date): string[] {
  const byNdes = certificates.filter((certificate) => certificate.byNdes);
  const last = certificates.at(-1);
  const lastOfNdes = byNdes.at(-1);
  if (last === undefined) return [`None is valid at ${now.toISOString()}.`];
  const months = new Map<string, { ndes: number; others: number }>();
  for (const { notAfter, byNdes: own } of certificates) {
    const month = notAfter.toISOString().slice(0, 7);
    const counts = months.get(month) ?? { ndes: 0, others: 0 };
    counts[own ? 'ndes' : 'others'] += 1;
    months.set(month, counts);
  }
  return [
    `${certificates.length} are valid, ${byNdes.length} of them of NDES’s templates. Each device gets its next one from Leafgate, when its`,
    'profile is changed or its certificate is due; none has to be replaced at once.',
    '',
    '| month | of NDES’s templates end | others end |',
    '|---|---|---|',
    ...[...months].map(([month, { ndes, others }]) => `| ${month} | ${ndes} | ${others} |`),
    '',
    ...(lastOfNdes === undefined
      ? []
      : [
          `The last of NDES’s ends on ${day(lastOfNdes)}: until then the way back is open, and NDES may stay off.`,
        ]),
    `The last of all ends on ${day(last)}: until then the old CA must publish its CRLs.`,
  ];
}

const day = ({ notAfter }: ExpiringCertificate) => notAfter.toISOString().slice(0, 10);

/** All valid certificates as CSV (RFC 4180), those that end first before the others. */
export function buildExpiryTable({ certificates }: MigrationPlan): string {
  const rows = certificates.map(({ notAfter, commonName, serialNumber, templateName, byNdes, requester }) => [
    notAfter.toISOString(),
    commonName,
    serialNumber,
    templateName,
    byNdes ? 'ndes' : 'other',
    requester,
  ]);
  const header = ['expires', 'common name', 'serial number', 'template', 'enrolled by', 'requester'];
  return `${[header, ...rows].map((cells) => cells.map(cellText).join(',')).join('\r\n')}\r\n`;
}

/** Names are devices' own words: none may be taken for a formula by the program that opens the table. */
function cellText(text: string): string {
  const harmless = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}
