import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { describe, test } from 'node:test';
import { errorTable } from '../src/errors.ts';
import { readPage } from '../tools/markdown.ts';
import { productSources, repositoryFiles, repositoryText } from '../tools/repository.ts';
import {
  declarationAt,
  leadingDocComment,
  namesIn,
  parseSource,
  undocumentedExports,
} from '../tools/sources.ts';

const sourcePaths = productSources();
const sources = new Map(sourcePaths.map((path) => [path, parseSource(path, repositoryText(path))]));
const codePaths = repositoryFiles().filter((path) => /\.(ts|js|cjs|mjs)$/.test(path));
/** This file spells out what it looks for. */
const thisFile = 'test/architecture.test.ts';

// --- (a) the one-minute table ------------------------------------------------------------------------------------

/** Types of the language and of Node.js, which no file of ours declares. */
const givenTypes: ReadonlySet<string> = new Set(['Uint8Array', 'IncomingMessage', 'Date']);

/** What is wrong with a row `# | step | in → out | where | can end here with`; empty if all that it names exists. */
function faultsOfRow([number = '', , types = '', where = '', ends = '']: readonly string[]): string[] {
  const codeIn = (cell: string) => [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? '');
  const names = codeIn(where);
  const path = names.find((name) => name.includes('/')) ?? '';
  const source = sources.get(path);
  if (source === undefined) return [`row ${number}: there is no source file “${path}”`];
  const declared = namesIn(source);
  const functions = names.filter((name) => name !== path);
  const missing = (name: string) => `row ${number}: ${path} has no ${name}`;
  return [
    ...(functions.length === 0 ? [`row ${number}: names no function`] : []),
    ...functions.filter((name) => !declared.has(name)).map(missing),
    ...codeIn(types)
      .filter((name) => !declared.has(name) && !givenTypes.has(name))
      .map(missing),
    ...codeIn(ends)
      .filter((code) => !Object.hasOwn(errorTable, code))
      .map((code) => `row ${number}: there is no error code ${code}`),
  ];
}

describe('the one-minute table of docs/architecture.md', () => {
  const rows = readPage(repositoryText('docs/architecture.md')).rows.filter(([first]) =>
    /^\d+$/.test(first ?? ''),
  );

  test('follows a request from the edge to the answer', () => {
    assert.deepEqual(
      rows.map(([number]) => number),
      rows.map((_, index) => String(index + 1)),
    );
    assert.ok(rows.length >= 10, `${rows.length} rows`);
    assert.match(rows[0]?.join(' ') ?? '', /src\/tunnel\//);
    assert.match(
      rows.map((row) => row.join(' ')).join(' '),
      /src\/http\/.*src\/scep\/.*src\/ra\/.*src\/ca\//,
    );
  });
  for (const row of rows) {
    test(`row ${row[0]} names only what exists`, () => assert.deepEqual(faultsOfRow(row), []));
  }

  const wrong: readonly (readonly [name: string, row: readonly string[], fault: RegExp])[] = [
    ['an absent file', ['1', 's', '', '`f` in `src/scep/absent.ts`', ''], /no source file/],
    ['an absent function', ['1', 's', '', '`absent` in `src/scep/server.ts`', ''], /has no absent/],
    [
      'a type that the file does not know',
      ['1', 's', '`Edge` → `PkiMessage`', '`verifyPkiMessage` in `src/scep/server.ts`', ''],
      /has no Edge/,
    ],
    [
      'an absent error code',
      ['1', 's', '', '`verifyPkiMessage` in `src/scep/server.ts`', '`scep_absent`'],
      /no error code scep_absent/,
    ],
    ['no function at all', ['1', 's', '', '`src/scep/server.ts`', ''], /names no function/],
  ];
  for (const [name, row, fault] of wrong) {
    test(`would not pass with ${name}`, () => assert.match(faultsOfRow(row).join(), fault));
  }
});

// --- the table of directions -------------------------------------------------------------------------------------

describe('the table of directions in docs/architecture.md', () => {
  interface Rule {
    readonly from: { readonly path?: string };
    readonly to: { readonly path?: string; readonly pathNot?: readonly string[] };
  }
  const { forbidden } = createRequire(import.meta.url)('../.dependency-cruiser.cjs') as {
    readonly forbidden: readonly Rule[];
  };
  /** By folder: the other folders that the rules let it import. */
  const enforced = new Map(
    forbidden.flatMap(({ from, to }) => {
      const folder = /^\^src\/(\w+)\/$/.exec(String(from.path))?.[1];
      if (folder === undefined || to.path !== '^src/' || !Array.isArray(to.pathNot)) return [];
      const others = to.pathNot.map((path) => path.replace(/^\^src\/|\/$/g, ''));
      return [[folder, others.filter((other) => other !== folder && !other.endsWith('.ts')).sort()] as const];
    }),
  );
  const documented = new Map(
    readPage(repositoryText('docs/architecture.md')).rows.flatMap(([folder = '', may = '', never = '']) => {
      const name = /^`(\w+)`$/.exec(folder)?.[1];
      if (name === undefined || never === '') return [];
      return [[name, may === '–' ? [] : may.split(', ').sort()] as const];
    }),
  );

  test('is the one that is enforced', () => {
    assert.ok(enforced.size >= 9, `${enforced.size} rules`);
    assert.deepEqual(Object.fromEntries(documented), Object.fromEntries(enforced));
  });
});

// --- (b) a folder is a role ---------------------------------------------------------------------------------------

/** Roles joined by “and”: two verbs, or two things with their articles. A gentle check of the part before the first comma or colon. */
function joinsTwoRoles(sentence: string): boolean {
  const [role = ''] = sentence.split(/[:,;]/);
  return /^\S+s\b.*\band \p{L}+s\b/u.test(role) || /\b(the|an?) .*\band (the|an?) /iu.test(role);
}

describe('a folder is a role', () => {
  const folders = [...new Set(sourcePaths.map((path) => path.split('/')[1] ?? ''))].filter(
    (name) => !name.endsWith('.ts'),
  );

  test('there are folders', () => assert.ok(folders.length >= 9, folders.join()));
  for (const folder of folders) {
    test(`src/${folder} says what it is in one sentence`, () => {
      const path = `src/${folder}/index.ts`;
      assert.ok(sourcePaths.includes(path), `${path} is missing`);
      const sentence = leadingDocComment(repositoryText(path)) ?? '';
      assert.match(sentence, /^\p{L}.*\.$/u);
      assert.doesNotMatch(sentence.slice(0, -1), /[.!?] \p{Lu}/u, 'more than one sentence');
      assert.ok(!joinsTwoRoles(sentence), `two roles: ${sentence}`);
    });
  }

  const sentences: readonly (readonly [sentence: string, two: boolean])[] = [
    ['Makes certificates and publishes them.', true],
    ['The store and the publisher of CRLs.', true],
    ['Makes certificates: templates, and the two tiers of CAs.', false],
    ['Bytes to values and back.', false],
  ];
  for (const [sentence, two] of sentences) {
    test(`“${sentence}” has ${two ? 'two roles' : 'one role'}`, () => {
      assert.equal(joinsTwoRoles(sentence), two);
    });
  }
});

// --- (c), (f) comments ---------------------------------------------------------------------------------------------

describe('comments', () => {
  test('every source begins with one', () => {
    assert.ok(sourcePaths.length > 50, `${sourcePaths.length} sources`);
    assert.deepEqual(
      sourcePaths.filter((path) => leadingDocComment(repositoryText(path)) === undefined),
      [],
    );
  });

  test('every export of a source has one', () => {
    const bare = [...sources].flatMap(([path, source]) =>
      undocumentedExports(source).map((name) => `${path}: ${name}`),
    );
    assert.deepEqual(bare, []);
  });

  const rows: readonly (readonly [name: string, text: string, bare: readonly string[]])[] = [
    ['a documented function', '/** Does it. */\nexport function f() {}', []],
    ['a bare function', 'export function f() {}', ['f']],
    ['a bare class', 'export class C {}', ['C']],
    ['a bare interface', '/** File. */\nimport "x";\nexport interface I {}', ['I']],
    ['a bare type', 'export type T = 1;', ['T']],
    ['a bare constant', 'export const a = 1, b = 2;', ['a, b']],
    ['a line comment', '// Does it.\nexport function f() {}', ['f']],
    ['a comment at a distance', '/** File. */\n\nexport function f() {}', ['f']],
    ['what is not exported', 'function f() {}\nexport { f };\nexport * from "x";', []],
  ];
  for (const [name, text, bare] of rows) {
    test(`${name} is ${bare.length === 0 ? 'taken' : 'found'}`, () => {
      assert.deepEqual(undocumentedExports(parseSource('x.ts', text)), bare);
    });
  }

  test('a comment belongs to the declaration that it stands in or above', () => {
    const text =
      '/** File. */\nimport "x";\n// One\nconst c = 1;\nclass C {\n  // Two\n  m() {\n    // Three\n    const d = 1;\n  }\n}';
    const source = parseSource('x.ts', text);
    const at = (mark: string) => declarationAt(source, text.indexOf(mark));
    assert.deepEqual([at('// One'), at('// Two'), at('// Three')], ['c', 'm', 'm']);
  });
});

// --- (d), (e) what must not be there --------------------------------------------------------------------------------

describe('nowhere in the checkout is', () => {
  const word = (...parts: readonly string[]) => parts.join('');
  const registries = [
    word('registry.', 'npmjs'),
    word('deb.', 'debian.org'),
    word('proxy.', 'golang.org'),
    word('py', 'pi.org'),
    word('crates', '.io'),
  ].map((host) => host.replaceAll('.', '\\.'));
  const rows: readonly {
    readonly name: string;
    readonly paths: readonly string[];
    readonly pattern: RegExp;
    readonly example: string;
  }[] = [
    {
      name: 'something left for later',
      paths: codePaths,
      pattern: new RegExp(`\\b(${word('TO', 'DO')}|${word('FIX', 'ME')})\\b`),
      example: word('// TO', 'DO: later'),
    },
    {
      name: 'a test that is skipped, alone or left for later',
      paths: codePaths.filter((path) => path.endsWith('.test.ts')),
      pattern: new RegExp(
        `\\b(test|it|describe|suite)\\.(${word('sk', 'ip')}|${word('on', 'ly')}|${word('to', 'do')})\\(|\\b(${word('sk', 'ip')}|${word('on', 'ly')}|${word('to', 'do')}): *true`,
      ),
      example: word('test.sk', 'ip("x", () => {})'),
    },
    {
      name: 'the host of a package registry',
      paths: repositoryFiles(),
      pattern: new RegExp(registries.join('|')),
      example: word('https://registry.', 'npmjs.org/x'),
    },
    {
      name: 'a path of somebody’s machine',
      paths: repositoryFiles(),
      pattern: /(?<![\w.~/-])\/(home|Users|root|work|mnt|media|Volumes)\/[\w.-]|\b[A-Za-z]:\\Users\\/,
      example: word('/ho', 'me/me/leafgate'),
    },
  ];
  for (const { name, paths, pattern, example } of rows) {
    test(name, () => {
      assert.match(example, pattern);
      assert.ok(paths.length > 0);
      assert.deepEqual(
        paths.filter((path) => path !== thisFile && pattern.test(repositoryText(path))),
        [],
      );
    });
  }
});
