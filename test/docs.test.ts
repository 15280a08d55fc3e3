import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parse as parseYaml } from 'yaml';
import { builtInTemplates } from '../src/ca/index.ts';
import { buildProgram } from '../src/cli/index.ts';
import { oid } from '../src/codec/index.ts';
import { parseConfig } from '../src/config.ts';
import { errorTable } from '../src/errors.ts';
import { PROVIDER_NAME_AND_VERSION } from '../src/parts/validators.ts';
import { serverCapabilities } from '../src/scep/index.ts';
import { defaultAllowRules, judgeRequest } from '../src/tunnel/index.ts';
import { faultsOfDocuments } from '../tools/document-checks.ts';
import { errorsDocument } from '../tools/generated.ts';
import { anchorOf, readPage, table } from '../tools/markdown.ts';
import { remarksIn } from '../tools/remarks.ts';
import { repositoryFiles, repositoryText } from '../tools/repository.ts';

const packageFile = JSON.parse(repositoryText('package.json')) as {
  readonly version: string;
  readonly dependencies: Readonly<Record<string, string>>;
};

describe('faultsOfDocuments', () => {
  const known = {
    files: ['README.md', 'docs/a.md', 'docs/b.md', 'src/errors.ts', 'lab/tenant.ts'],
    scripts: ['start', 'test', 'check'],
    program: buildProgram(),
    configKeys: ['server', 'server.issuers', 'server.issuers.crlPeriod', 'edge', 'edge.http'],
  };
  const other = '# Other page\n\n## Two `words` & more\n\n## Same\n\n## Same\n';
  const rows: readonly (readonly [name: string, markdown: string, fault: RegExp | undefined])[] = [
    ['a link to a file that is not there', '[x](absent.md)', /absent\.md leads nowhere/],
    ['a link above the root', '[x](../../README.md)', /leads nowhere/],
    ['a link to a heading that is not there', '[x](b.md#absent)', /no such heading/],
    ['a link to an absent heading of its own', '# A\n[x](#b)', /no such heading/],
    ['a defined link to an absent file', '[x][y]\n\n[y]: absent.md', /leads nowhere/],
    ['an absent npm script', '`npm run absent`', /no npm script absent/],
    ['an absent npm script in a block', '```sh\nnpm run absent\n```', /no npm script absent/],
    ['an absent command', '`leafgate absent`', /no command leafgate absent/],
    ['an absent sub-command', '```sh\nnpx leafgate ca absent\n```', /no command leafgate ca absent/],
    ['an absent option', '`leafgate ca list --absent`', /leafgate ca list has no option --absent/],
    ['an option of another command', '`leafgate ca list --reason x`', /has no option --reason/],
    ['an absent configuration key', '`server.issuers[].absent`', /no configuration key/],
    ['an absent source', '`src/absent.ts`', /no file src\/absent\.ts/],
    ['a link to a file', '[x](b.md) ![y](../README.md "title")', undefined],
    ['a link to a folder', '[x](../lab/)', undefined],
    ['links to headings', '[x](b.md#two-words--more) [y](b.md#same-1) [z](#here)\n\n## Here', undefined],
    ['a link to the web', '[x](https://example.com/absent.md)', undefined],
    ['what only looks like a link', '`[x](absent.md)`\n\n```\n[x](absent.md)\n```', undefined],
    ['scripts', '`npm run check`, `npm test`, `npm ci`', undefined],
    ['commands', '`leafgate ca list --json --limit 5`, `leafgate ca`, `leafgate ca show SERIAL`', undefined],
    ['names that hold the word', '`leafgate.yaml`, `leafgate-lab/server`, `Leafgate absent`', undefined],
    ['keys', '`server.issuers[].crlPeriod`, `edge.http`, `server.lock`', undefined],
    ['sources', '`src/errors.ts`, `lab/`, `src/**/*.ts`', undefined],
  ];
  for (const [name, markdown, fault] of rows) {
    test(`${fault === undefined ? 'takes' : 'finds'} ${name}`, () => {
      const faults = faultsOfDocuments(
        new Map([
          ['docs/a.md', markdown],
          ['docs/b.md', other],
        ]),
        known,
      );
      if (fault === undefined) assert.deepEqual(faults, []);
      else {
        assert.equal(faults.length, 1, faults.join('\n'));
        assert.match(faults[0] ?? '', fault);
        assert.match(faults[0] ?? '', /^docs\/a\.md: /);
      }
    });
  }
});

describe('Markdown', () => {
  const headings: readonly (readonly [heading: string, anchor: string])[] = [
    ['Plain words', 'plain-words'],
    ['`challenge_expired`', 'challenge_expired'],
    ['`leafgate ca list`', 'leafgate-ca-list'],
    ['What is *not* defended?', 'what-is-not-defended'],
    ['A [link](x.md): there', 'a-link-there'],
  ];
  for (const [heading, anchor] of headings) {
    test(`the anchor of “${heading}”`, () => assert.equal(anchorOf(heading), anchor));
  }

  test('cells keep their bars', () => {
    const cells = ['a|b', '`c | d`', ''];
    assert.deepEqual(readPage(table(['1', '2', '3'], [cells])).rows, [['1', '2', '3'], cells]);
  });
});

describe('remarksIn', () => {
  const rows: readonly {
    readonly name: string;
    readonly source: string;
    readonly want: readonly (readonly [about: string, text: string, declaration: string | undefined])[];
  }[] = [
    {
      name: 'a line comment over two lines, up to the code',
      source: 'function f() {\n  // QUIRK Apple: sends it\n  // twice.\n  g();\n  // Not this.\n}',
      want: [['Apple', 'Sends it twice.', 'f']],
    },
    {
      name: 'a paragraph of a doc comment, up to the next',
      source:
        '/**\n * Reads.\n *\n * DEVIATION RFC 1 §2: takes\n * more.\n *\n * @throws Error\n */\nexport const c = 1;',
      want: [['RFC 1 §2', 'Takes more.', 'c']],
    },
    {
      name: 'two in one paragraph',
      source: '// DEVIATION RFC 1 §2: one. QUIRK Cisco IOS: two.\nconst c = 1;',
      want: [
        ['RFC 1 §2', 'One.', 'c'],
        ['Cisco IOS', 'Two.', 'c'],
      ],
    },
    {
      name: 'an aside',
      source: '/** First. A decoder would break it (QUIRK Apple, Cisco). Last. */\nfunction f() {}',
      want: [['Apple, Cisco', 'A decoder would break it.', 'f']],
    },
    { name: 'none', source: '// A deviation and a quirk.\nconst c = 1;', want: [] },
  ];
  for (const { name, source, want } of rows) {
    test(`reads ${name}`, () => {
      assert.deepEqual(
        remarksIn('x.ts', source).map(({ about, text, declaration }) => [about, text, declaration]),
        want,
      );
    });
  }

  const lost: readonly (readonly [name: string, source: string])[] = [
    ['behind code', 'const c = 1; // QUIRK Apple: sends it twice.'],
    ['without a client', '// QUIRK: sends it twice.'],
    ['in a text', "const c = 'QUIRK Apple: x';"],
  ];
  for (const [name, source] of lost) {
    test(`loses none in silence that stands ${name}`, () => {
      assert.throws(() => remarksIn('x.ts', source), /x\.ts: 1 markers, 0 read/);
    });
  }
});

describe('docs/errors.md', () => {
  const document = errorsDocument(errorTable);

  test('has every code, with cause and mend', () => {
    for (const [code, row] of Object.entries(errorTable)) {
      assert.ok(document.includes(`### \`${code}\`\n\n${row.cause}\n`), code);
      assert.ok(document.includes(row.mend), code);
    }
  });

  test('tells what goes over the wire', () => {
    const answerOf = (code: string) =>
      document.split(`### \`${code}\`\n`)[1]?.match(/- Answered as: (.*)/)?.[1] ?? '';
    assert.match(answerOf('challenge_expired'), /^SCEP FAILURE `badRequest`/);
    // Unavailable is never a verdict of the protocol.
    assert.equal(answerOf('validator_unreachable'), 'HTTP 503');
    assert.equal(answerOf('config_invalid'), 'exit status 1');
  });
});

describe('what is written twice agrees', () => {
  const scep = readPage(repositoryText('docs/scep.md'));

  test('the built-in templates', () => {
    const rows = scep.rows.filter((row) => row.length === 6 && row[0] !== 'name');
    assert.deepEqual(
      rows.map(([name = '', , purposes = '', keys = '', , life = '']) => [
        name,
        purposes,
        keys.slice(0, 3),
        life,
      ]),
      builtInTemplates.map(({ name, extKeyUsage, keyAlgorithms, validityMs }) => [
        `\`${name}\``,
        extKeyUsage
          .map((purpose) => Object.entries(oid).find(([, dotted]) => dotted === purpose)?.[0])
          .join(', '),
        keyAlgorithms.includes('rsa') ? 'RSA' : '',
        `${validityMs / 86_400_000} days`,
      ]),
    );
  });

  test('the keywords of GetCACaps', () => {
    const [, answer = ''] = scep.rows.find(([operation]) => operation === 'GetCACaps') ?? [];
    assert.deepEqual(
      [...answer.matchAll(/`([^`]+)`/g)].map((match) => match[1]),
      [...serverCapabilities],
    );
  });

  test('the customary paths pass the edge', () => {
    const rows = scep.rows.filter(([path]) => path?.startsWith('`/'));
    const paths = rows.flatMap(([cell = '']) =>
      [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? ''),
    );
    assert.ok(paths.length >= 4, paths.join());
    const passes = (target: string) =>
      judgeRequest(defaultAllowRules, { method: 'POST', target, bodyBytes: 4000 }).allowed;
    assert.deepEqual(
      paths.filter((path) => !passes(path)),
      [],
    );
    assert.ok(!passes('/certsrv/mscep_admin'));
  });

  test('the configurations in documents are valid', () => {
    const blocksIn = (path: string) =>
      [...repositoryText(path).matchAll(/^```yaml\n([\s\S]*?)^```$/gm)].map((match) => match[1] ?? '');
    const [inner = '', edge = '', ...more] = blocksIn('docs/operations.md');
    const [intune = '', byCertificate = '', ...others] = blocksIn('docs/intune.md');
    assert.deepEqual([more, others], [[], []]);
    assert.deepEqual(Object.keys(parseConfig(edge, '.')).sort(), ['edge', 'log']);
    const server = parseYaml(inner) as { server: { endpoints: unknown[] } };
    type Validators = { validators: { intune: Record<string, unknown> }[] }[];
    const { endpoints } = parseYaml(intune) as { endpoints: Validators };
    server.server.endpoints.push(...endpoints);
    const config = parseConfig(JSON.stringify(server), '.');
    assert.deepEqual(
      config.server?.endpoints.map(({ name }) => name),
      ['printers', 'intune'],
    );
    assert.notEqual(config.connector, undefined);
    // The certificate stands in the place of the secret.
    const validator = endpoints[0]?.validators[0];
    assert.ok(validator?.intune.secret !== undefined);
    const { secret: _, ...rest } = validator.intune;
    validator.intune = { ...rest, ...(parseYaml(byCertificate) as object) };
    assert.ok('clientCertificate' in validator.intune);
    parseConfig(JSON.stringify(server), '.');
  });

  test('the version', () => {
    assert.equal(buildProgram().version(), packageFile.version);
    assert.equal(PROVIDER_NAME_AND_VERSION, `Leafgate/${packageFile.version}`);
    assert.ok(readPage(repositoryText('CHANGELOG.md')).anchors.has(anchorOf(packageFile.version)));
  });

  test('every runtime dependency has its decision', () => {
    const decisions = repositoryFiles()
      .filter((path) => path.startsWith('docs/decisions/'))
      .map((path) => repositoryText(path).split('\n', 1)[0] ?? '');
    const undecided = Object.keys(packageFile.dependencies).filter(
      (name) => !decisions.some((title) => title.includes(name)),
    );
    assert.deepEqual(undecided, []);
  });
});
