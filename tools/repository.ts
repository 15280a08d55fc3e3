/** The files of the checkout, for tools and tests that look at all of them. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Absolute path of the checkout's root folder. */
export const repositoryRoot = fileURLToPath(new URL('..', import.meta.url));

/** What is made by installing, building or running, and is not the project's own text. */
const madeFolders: ReadonlySet<string> = new Set([
  'node_modules',
  '.git',
  'dist',
  'coverage',
  'leafgate-lab',
]);

/** Paths of all files below `root`, relative to it, with `/` on every system; sorted. */
export function repositoryFiles(root: string = repositoryRoot): string[] {
  const filesBelow = (folder: string): string[] =>
    readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory()) return madeFolders.has(entry.name) ? [] : filesBelow(path);
      return entry.isFile() ? [path] : [];
    });
  return filesBelow('').sort();
}

/** The text of one of them. */
export function repositoryText(path: string, root: string = repositoryRoot): string {
  return readFileSync(join(root, path), 'utf8');
}

/** The product's own sources: TypeScript below `src`, without tests. */
export function productSources(): string[] {
  return repositoryFiles().filter(
    (path) => path.startsWith('src/') && path.endsWith('.ts') && !path.endsWith('.test.ts'),
  );
}
