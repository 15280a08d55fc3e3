/** The plan as documents: the proposed configuration, the report, the table of certificates. */
import { stringify } from 'yaml';
import type { ExpiringCertificate, MigrationNote, MigrationPlan, Remainder } from './plan.ts';

const headings: readonly (readonly [kind: MigrationNote['kind'], heading: string])[] = [
  ['notCarried', 'What could not be carried over'],
  ['changed', 'What is done in another way'],
  ['todo', 'What you fill in or decide'],
  ['kept', 'What is as before'],
];

/** The proposed configuration: YAML that `parseConfig` takes, which knows no aliases. */
export function buildProposedConfiguration({ configuration }: MigrationPlan): string {
  const yaml = stringify(configuration, { aliasDuplicateObjects: false });
  return `# A proposal, made from exports of NDES. report.md says what is to be filled in.\n${yaml}`;
}

/**
 * The report: Markdown.
 *
 * @param now the time that the plan was made for
 */
export function buildMigrationReport({ notes, certificates, remainder }: MigrationPlan, now: Date): string {
  const lines = ['# From NDES to Leafgate', '', `Made on ${day(now)} from the exports of that time.`, ''];
  for (const [kind, heading] of headings) {
    const of = notes.filter((note) => note.kind === kind);
    lines.push(`## ${heading}`, '', ...of.map(({ about, text }) => `- **${about}**: ${text}.`));
    lines.push(...(of.length === 0 ? ['Nothing.', ''] : ['']));
  }
  lines.push('## Certificates that are out', '', ...expiryLines(certificates, now), '');
  lines.push('## What must go on at the old CA', '', ...remainderLines(remainder, certificates));
  return `${lines.join('\n')}\n`;
}

function expiryLines(certificates: readonly ExpiringCertificate[], now: Date): string[] {
  const byNdes = certificates.filter((certificate) => certificate.byNdes);
  if (certificates.length === 0)
    return [`The exports show none that is valid on ${day(now)}: without \`--issued\` there is no plan.`];
  const months = new Map<string, { due: number; ndes: number; others: number }>();
  const countIn = (date: Date) => {
    const month = date.toISOString().slice(0, 7);
    const counts = months.get(month) ?? { due: 0, ndes: 0, others: 0 };
    months.set(month, counts);
    return counts;
  };
  for (const { notAfter, renewalDue, byNdes: own } of certificates) {
    countIn(notAfter)[own ? 'ndes' : 'others'] += 1;
    // Those that were due long ago ask at their next sync.
    if (own && renewalDue !== undefined) countIn(renewalDue < now ? now : renewalDue).due += 1;
  }
  const sorted = [...months].sort(([a], [b]) => (a < b ? -1 : 1));
  return [
    `${certificates.length} are valid, ${byNdes.length} of them of NDES’s templates. None has to be replaced at once. A device whose certificate is`,
    'due asks where its profile says: at NDES, until you have moved it. If nobody answers there, it is out on the day its certificate ends.',
    '',
    '| month | of NDES’s templates: due for renewal | of NDES’s templates: end | others: end |',
    '|---|---|---|---|',
    ...sorted.map(([month, { due, ndes, others }]) => `| ${month} | ${due} | ${ndes} | ${others} |`),
    '',
    'Due is the last fifth of a certificate’s life, Intune’s usual threshold; zeros, if the view has no column NotBefore.',
  ];
}

function remainderLines(
  { crlUrls, caIssuersUrls, ocspUrls, raCertificates }: Remainder,
  certificates: readonly ExpiringCertificate[],
): string[] {
  const last = certificates.at(-1);
  const lastOfNdes = certificates.findLast(({ byNdes }) => byNdes);
  const lines = [
    last === undefined
      ? '- Publish its CRLs until its last certificate has ended; the exports do not tell when.'
      : `- Publish its CRLs until **${day(last.notAfter)}**, when the last of its certificates ends.`,
  ];
  if (lastOfNdes !== undefined)
    lines.push(
      `- The last certificate of NDES’s templates ends on **${day(lastOfNdes.notAfter)}**: until then relying parties need the old root as well as the new one.`,
    );
  const urls = [...crlUrls, ...caIssuersUrls, ...ocspUrls];
  lines.push(
    ...(urls.length === 0
      ? ['- The exports do not tell where its CRLs are: look into a certificate.']
      : [
          '- These stand in its certificates, and must be reachable as long:',
          ...urls.map((url) => `  - \`${url}\``),
        ]),
  );
  const [first] = raCertificates;
  lines.push(
    first === undefined
      ? '- NDES’s own certificates (Enrollment Agent, CEP Encryption) are not in the view: look when they end. Without them NDES answers nobody, and the way back is closed.'
      : '- NDES’s own certificates, without which it answers nobody and the way back is closed. Nothing renews them by itself:',
    ...raCertificates.map(
      ({ templateName, notAfter, serialNumber }) =>
        `  - ${templateName}, ${serialNumber}, ends on **${day(notAfter)}**`,
    ),
  );
  return lines;
}

const day = (date: Date) => date.toISOString().slice(0, 10);

/** All valid certificates as CSV (RFC 4180), those that end first before the others. */
export function buildExpiryTable({ certificates }: MigrationPlan): string {
  const rows = certificates.map((certificate) => {
    const { notAfter, renewalDue, commonName, serialNumber, templateName, byNdes, requester } = certificate;
    return [
      notAfter.toISOString(),
      renewalDue?.toISOString() ?? '',
      commonName,
      serialNumber,
      templateName,
      byNdes ? 'ndes' : 'other',
      requester,
    ];
  });
  const header = [
    'expires',
    'due for renewal',
    'common name',
    'serial number',
    'template',
    'enrolled by',
    'requester',
  ];
  return `${[header, ...rows].map((cells) => cells.map(cellText).join(',')).join('\r\n')}\r\n`;
}

/** Names are devices' own words: none may be taken for a formula by the program that opens the table. */
function cellText(text: string): string {
  const harmless = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}
