// The direction of data, as rules. Seed a violation (`import '../ra/index.ts'` in src/ca) to see one caught.
const only = (name, from, ...allowed) => ({
  name,
  severity: 'error',
  comment: `${from} may import only: ${allowed.join(', ')}`,
  from: { path: `^src/${from}/`, pathNot: '\\.test\\.ts$' },
  to: { path: '^src/', pathNot: [`^src/${from}/`, ...allowed.map((folder) => `^src/${folder}`)] },
});

module.exports = {
  forbidden: [
    { name: 'no-circles', severity: 'error', from: {}, to: { circular: true } },
    only('codec-is-the-ground', 'codec', 'errors.ts'),
    only('keys', 'keys', 'codec', 'errors.ts'),
    only('scep-is-pure', 'scep', 'codec', 'errors.ts'),
    only('store-remembers', 'store', 'codec', 'errors.ts'),
    only('ca-makes', 'ca', 'codec', 'keys', 'store', 'errors.ts', 'telemetry.ts'),
    only('ra-decides', 'ra', 'codec', 'ca', 'store', 'errors.ts', 'telemetry.ts'),
    only('publish-shows', 'publish', 'codec', 'store', 'errors.ts', 'telemetry.ts'),
    only('mdm-stands-alone', 'mdm', 'codec', 'store', 'errors.ts', 'telemetry.ts'),
    only('tunnel-holds-no-pki', 'tunnel', 'errors.ts', 'telemetry.ts'),
    only('agent-is-a-client', 'agent', 'codec', 'keys', 'scep', 'errors.ts', 'telemetry.ts'),
    only('pfx-is-a-door', 'pfx', 'codec', 'keys', 'ra', 'errors.ts', 'telemetry.ts'),
    only('migrate-reads-and-writes-text', 'migrate', 'codec', 'errors.ts'),
    only('admin-is-a-door', 'admin', 'ra', 'ca', 'store', 'publish', 'mdm', 'errors.ts', 'telemetry.ts'),
    only('http-is-a-door', 'http', 'codec', 'scep', 'ra', 'errors.ts', 'telemetry.ts'),
    {
      name: 'codec-uses-crypto-alone',
      severity: 'error',
      from: { path: '^src/codec/', pathNot: '\\.test\\.ts$' },
      to: { dependencyTypes: ['core', 'npm'], pathNot: '^(node:)?crypto$' },
    },
    {
      name: 'scep-touches-nothing',
      severity: 'error',
      from: { path: '^src/scep/', pathNot: '\\.test\\.ts$' },
      to: { dependencyTypes: ['core', 'npm'] },
    },
    {
      name: 'only-the-ra-mints-approvals',
      severity: 'error',
      from: { path: '^(src|lab|bench)/', pathNot: ['^src/ca/', '^src/ra/registration-authority\\.ts$'] },
      to: { path: '^src/ca/approved-request\\.ts$' },
    },
    {
      name: 'sources-do-not-know-the-lab',
      severity: 'error',
      from: { path: '^src/', pathNot: ['\\.test\\.ts$', '^src/cli/lab\\.ts$'] },
      to: { path: '^(lab|bench|test)/' },
    },
    {
      name: 'runtime-dependencies-are-declared',
      severity: 'error',
      from: { path: '^src/', pathNot: '\\.test\\.ts$' },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'unknown'] },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
    },
  },
};
