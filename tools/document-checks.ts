/** What can rot in a hand-written document: links, commands, options, configuration keys, paths. */
import { posix } from 'node:path';
import type { Command } from 'commander';
import { type Page, readPage } from './markdown.ts';

/** What documents may name. */
export interface KnownThings {
  /** Paths of all files, relative to the root. */
  readonly files: readonly string[];
  /** Names of the npm scripts. */
  readonly scripts: readonly string[];
  readonly program: Command;
  /** Configuration keys, with dots and without `[]`. */
  readonly configKeys: readonly string[];
}

/**
 * What is wrong with the documents; empty if all is well.
 *
 * @param documents text by path
 */
export function faultsOfDocuments(documents: ReadonlyMap<string, string>, known: KnownThings): string[] {
  const pages = new Map([...documents].map(([path, text]) => [path, readPage(text)]));
  return [...pages].flatMap(([path, page]) =>
    [
      ...linkFaults(path, page, pages, known),
      ...page.code.flatMap((code) => [
        ...scriptFaults(code, known),
        ...commandFaults(code, known),
        ...keyFaults(code, known),
        ...pathFaults(code, known),
      ]),
    ].map((fault) => `${path}: ${fault}`),
  );
}

function linkFaults(
  path: string,
  page: Page,
  pages: ReadonlyMap<string, Page>,
  { files }: KnownThings,
): string[] {
  return page.links.flatMap((link) => {
    if (/^[a-z][a-z0-9+.-]*:/i.test(link)) return [];
    const [target = '', anchor] = link.split('#', 2);
    const resolved = target === '' ? path : posix.normalize(posix.join(posix.dirname(path), target));
    const folder = resolved.endsWith('/') ? resolved : `${resolved}/`;
    if (!files.includes(resolved) && !files.some((file) => file.startsWith(folder)))
      return [`the link ${link} leads nowhere`];
    if (anchor === undefined) return [];
    return pages.get(resolved)?.anchors.has(anchor) === true
      ? []
      : [`the link ${link} has no such heading behind it`];
  });
}

function scriptFaults(code: string, { scripts }: KnownThings): string[] {
  const named = [
    ...[...code.matchAll(/\bnpm run ([\w:.-]+)/g)].map((match) => match[1] ?? ''),
    ...[...code.matchAll(/\bnpm (test|start)\b/g)].map((match) => match[1] ?? ''),
  ];
  return named
    .filter((script) => !scripts.includes(script))
    .map((script) => `there is no npm script ${script}`);
}

/** `leafgate` as a command: at the beginning, or after a prompt, a variable, an operator or `npx`. */
const invocation = /(?:^|[$;&|(] ?|[A-Z_]=\S+ |npx |Usage: |: )leafgate(?= |$)([^;&|)`]*)/g;

function commandFaults(code: string, { program }: KnownThings): string[] {
  return [...code.matchAll(invocation)].flatMap((match) => {
    const words = (match[1] ?? '').trim().split(/\s+/).filter(Boolean);
    let command = program;
    let path = 'leafgate';
    for (const word of words) {
      if (command.commands.length === 0 || !/^[a-z][\w-]*$/.test(word) || word === 'help') break;
      const below = command.commands.find((child) => child.name() === word || child.aliases().includes(word));
      if (below === undefined) return [`there is no command ${path} ${word}`];
      command = below;
      path += ` ${word}`;
    }
    const options = ['--help', '--version', ...command.options.map((option) => option.long)];
    return words
      .map((word) => /^--[a-z][a-z0-9-]*/.exec(word)?.[0])
      .filter((option) => option !== undefined && !options.includes(option))
      .map((option) => `${path} has no option ${option}`);
  });
}

function keyFaults(code: string, { configKeys }: KnownThings): string[] {
  const tops = new Set(configKeys.map((key) => key.split('.')[0]));
  const form = /^([a-z]\w*)(?:\[\])?(?:\.\w+(?:\[\])?)+$/;
  const top = form.exec(code)?.[1];
  if (top === undefined || !tops.has(top) || /\.(ts|js|pem|sqlite|yaml|md|log|lock|key)$/.test(code))
    return [];
  return configKeys.includes(code.replaceAll('[]', '')) ? [] : [`there is no configuration key ${code}`];
}

function pathFaults(code: string, { files }: KnownThings): string[] {
  const path = /^(?:src|lab|bench|test|tools|docs|bin)\/[\w./-]+$/.exec(code)?.[0];
  if (path === undefined || files.includes(path)) return [];
  const folder = path.endsWith('/') ? path : `${path}/`;
  return files.some((file) => file.startsWith(folder)) ? [] : [`there is no file ${path}`];
}
