/**
 * `node tools/docs.ts` writes the documents that are made from the sources. `node tools/docs.ts --check` writes nothing:
 * it names those that are stale, and whatever in any document leads nowhere, and ends with status 1 if there is any.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { adminOpenApi } from '../src/admin/index.ts';
import { certificateRules, crlRules, keyRules } from '../src/ca/index.ts';
import { configReference } from '../src/cli/config-reference.ts';
import { buildProgram } from '../src/cli/index.ts';
import { clientErrors } from '../src/client-errors.ts';
import { errorTable } from '../src/errors.ts';
import { metricTable } from '../src/metrics.ts';
import { clientProfiles } from '../src/scep/index.ts';
import { faultsOfDocuments } from './document-checks.ts';
import { endpointsDocument } from './endpoints-document.ts';
import {
  adminDescription,
  cliDocument,
  clientErrorsDocument,
  configurationDocument,
  conformanceDocument,
  errorsDocument,
  lintDocument,
} from './generated.ts';
import { metricsDocument } from './metrics-document.ts';
import { remarksIn } from './remarks.ts';
import { productSources, repositoryFiles, repositoryRoot, repositoryText } from './repository.ts';

const program = buildProgram();
const keys = configReference();
const generated: ReadonlyMap<string, string> = new Map([
  ['docs/admin-openapi.yaml', adminDescription(adminOpenApi())],
  ['docs/cli.md', cliDocument(program)],
  ['docs/client-errors.md', clientErrorsDocument(clientErrors)],
  ['docs/configuration.md', configurationDocument(keys)],
  [
    'docs/conformance.md',
    conformanceDocument(productSources().flatMap((path) => remarksIn(path, repositoryText(path)))),
  ],
  ['docs/endpoints.md', endpointsDocument(clientProfiles)],
  ['docs/errors.md', errorsDocument(errorTable)],
  ['docs/lint.md', lintDocument(certificateRules, crlRules, keyRules)],
  ['docs/metrics.md', metricsDocument(metricTable)],
]);
const files = repositoryFiles();
const stale = [...generated].filter(([path, text]) => !files.includes(path) || repositoryText(path) !== text);

if (process.argv.includes('--check')) {
  const { scripts = {} } = JSON.parse(repositoryText('package.json')) as {
    readonly scripts?: Readonly<Record<string, string>>;
  };
  const documents = files.filter((path) => path.endsWith('.md'));
  const faults = [
    ...stale.map(([path]) => `${path}: stale; write it anew with: npm run docs`),
    ...faultsOfDocuments(new Map(documents.map((path) => [path, repositoryText(path)])), {
      files,
      scripts: Object.keys(scripts),
      program,
      configKeys: keys.map(({ key }) => key.replaceAll('[]', '')),
    }),
  ];
  for (const fault of faults) console.error(fault);
  if (faults.length === 0) console.log(`${documents.length} documents: fresh, and all that they name exists`);
  process.exitCode = faults.length === 0 ? 0 : 1;
} else {
  for (const [path, text] of stale) {
    writeFileSync(join(repositoryRoot, path), text);
    console.log(`written: ${path}`);
  }
  if (stale.length === 0) console.log('nothing to write: all documents are fresh');
}
