/** Reads Markdown as far as checks need it: headings, links, code. */

/** One page. */
export interface Page {
  /** Anchors that the headings give, as GitHub makes them. */
  readonly anchors: ReadonlySet<string>;
  /** Targets of links and images, as they stand. */
  readonly links: readonly string[];
  /** Inline code, and each line of fenced code. */
  readonly code: readonly string[];
  /** Cells of all table rows but the ruler, by row; trimmed. */
  readonly rows: readonly (readonly string[])[];
}

const inlineCode = /(`+)(.+?)\1/g;
const inlineLink = /\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)/g;
const linkDefinition = /^\[[^\]]+\]:\s*(\S+)/;

/** Reads a page. */
export function readPage(markdown: string): Page {
  const anchors = new Set<string>();
  const seen = new Map<string, number>();
  const links: string[] = [];
  const code: string[] = [];
  const rows: string[][] = [];
  let fence = '';
  for (const line of markdown.split('\n')) {
    const mark = /^\s*(```+|~~~+)/.exec(line)?.[1] ?? '';
    if (fence === '' && mark !== '') {
      fence = mark;
      continue;
    }
    if (fence !== '') {
      if (mark.startsWith(fence)) fence = '';
      else code.push(line.trim());
      continue;
    }
    const heading = /^#{1,6}\s+(.+?)\s*#*$/.exec(line)?.[1];
    if (heading !== undefined) {
      const slug = anchorOf(heading);
      const count = seen.get(slug) ?? 0;
      seen.set(slug, count + 1);
      anchors.add(count === 0 ? slug : `${slug}-${count}`);
    }
    for (const match of line.matchAll(inlineCode)) code.push((match[2] ?? '').trim());
    const plain = line.replace(inlineCode, ' ');
    for (const match of plain.matchAll(inlineLink)) links.push(match[1] ?? '');
    const definition = linkDefinition.exec(plain)?.[1];
    if (definition !== undefined) links.push(definition);
    if (line.startsWith('|') && !/^\|[\s|:-]+\|?$/.test(line)) rows.push(cellsOf(line));
  }
  return { anchors, links, code, rows };
}

/** The anchor of a heading: GitHub's rule, without its numbering of equal ones. */
export function anchorOf(heading: string): string {
  return heading
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, '$1')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\p{M}_ -]/gu, '')
    .replaceAll(' ', '-');
}

/** The cells of a table row; `\|` is a bar inside of one. */
function cellsOf(row: string): string[] {
  return row
    .replace(/^\||\|\s*$/g, '')
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim().replaceAll('\\|', '|'));
}

/** A row of a table. Bars and line breaks in cells are taken care of. */
function tableRow(cells: readonly string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll(/\s*\n\s*/g, ' ')).join(' | ')} |`;
}

/** A whole table. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  return [tableRow(header), `|${header.map(() => '---|').join('')}`, ...rows.map(tableRow)].join('\n');
}
