/** Collects what the sources confess: deviations from a standard, and quirks of clients that are served. */
import { declarationAt, parseSource } from './sources.ts';

/** One confession. */
export interface Remark {
  readonly kind: 'DEVIATION' | 'QUIRK';
  /** The standard with its section, or the client. */
  readonly about: string;
  /** What is done, beginning with a capital letter. */
  readonly text: string;
  /** File that says so, relative to the root. */
  readonly file: string;
  /** What it says it of: a function, a type, a constant; `undefined` if of the whole file. */
  readonly declaration: string | undefined;
}

/** `QUIRK Apple: …`; what follows the colon belongs to it up to the next of its kind. */
const marker = /(?<![(\w])(DEVIATION|QUIRK) ([^:()]+): /g;
/** `(QUIRK Apple, Cisco)`; what belongs to it is the sentence before. */
const aside = / ?\((DEVIATION|QUIRK) ([^:()]+)\)/g;

/**
 * The confessions in the comments of one source file, in its order.
 *
 * @throws Error if a marker stands where this cannot read it: none may be lost in silence.
 */
export function remarksIn(file: string, text: string): Remark[] {
  const source = parseSource(file, text);
  const remarks = paragraphsOf(text).flatMap(({ position, text: paragraph }) => {
    const declaration = declarationAt(source, position);
    return sayingsOf(paragraph).map((saying): Remark => ({ ...saying, file, declaration }));
  });
  const count = text.match(/\b(DEVIATION|QUIRK)\b/g)?.length ?? 0;
  if (count !== remarks.length) {
    throw new Error(
      `${file}: ${count} markers, ${remarks.length} read; write “// QUIRK Client: …” on lines of its own`,
    );
  }
  return remarks;
}

type Saying = Pick<Remark, 'kind' | 'about' | 'text'>;

function sayingsOf(paragraph: string): Saying[] {
  const asides = [...paragraph.matchAll(aside)].map((match) => {
    const before = paragraph.slice(0, match.index);
    return saying(match, `${before.slice(before.lastIndexOf('. ') + 1)}.`);
  });
  const matches = [...paragraph.matchAll(marker)];
  const marked = matches.map((match, index) => {
    const end = matches[index + 1]?.index ?? paragraph.length;
    return saying(match, paragraph.slice(match.index + match[0].length, end));
  });
  return [...asides, ...marked];
}

function saying([, kind, about = '']: RegExpMatchArray, text: string): Saying {
  const trimmed = text.trim();
  return {
    kind: kind === 'QUIRK' ? 'QUIRK' : 'DEVIATION',
    about: about.trim(),
    text: trimmed.charAt(0).toUpperCase() + trimmed.slice(1),
  };
}

/** A paragraph of a comment, joined to one line, and where in the source it begins. */
interface Paragraph {
  readonly position: number;
  readonly text: string;
}

/** The paragraphs of all comments that have lines of their own. */
function paragraphsOf(source: string): Paragraph[] {
  const paragraphs: { readonly position: number; readonly lines: string[] }[] = [];
  let kind: 'none' | 'line' | 'block' = 'none';
  let position = 0;
  const begin = () => paragraphs.push({ position, lines: [] });
  const add = (text: string) => {
    // A blank line or a tag ends a paragraph.
    if (text === '' || text.startsWith('@')) begin();
    else paragraphs.at(-1)?.lines.push(text);
  };
  for (const raw of source.split('\n')) {
    const line = raw.trim();
    if (kind !== 'block' && line.startsWith('/*')) {
      kind = 'block';
      begin();
    } else if (kind !== 'block' && line.startsWith('//')) {
      if (kind === 'none') begin();
      kind = 'line';
    } else if (kind !== 'block') kind = 'none';
    if (kind === 'line') add(line.slice(2).trim());
    if (kind === 'block') {
      add(
        line
          .replace(/^(\/\*+|\*+(?!\/))/, '')
          .replace(/\*+\/$/, '')
          .trim(),
      );
      if (line.endsWith('*/')) kind = 'none';
    }
    position += raw.length + 1;
  }
  return paragraphs
    .filter(({ lines }) => lines.length > 0)
    .map((paragraph) => ({ position: paragraph.position, text: paragraph.lines.join(' ') }));
}
