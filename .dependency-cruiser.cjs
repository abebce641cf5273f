// The import rules of docs/architecture.md, one rule a line of its table.
const anything = { path: '^(app|bench|cli|kernel|plugins|sdk|test|wasm)/' };
const only = (folder, ...allowed) => ({
  name: `${folder.replaceAll(/[^a-z]+/g, '-')}-imports`,
  severity: 'error',
  from: { path: `^${folder}/` },
  to: { ...anything, pathNot: [folder, ...allowed].map((path) => `^${path}/`) },
});

module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    only('sdk'),
    only('kernel', 'sdk'),
    only('wasm'),
    only('plugins/nfvo', 'sdk'),
    only('plugins/vnfm', 'sdk'),
    only('plugins/vim', 'sdk'),
    only('plugins/repository', 'sdk', 'wasm/host'),
    only('plugins/drivers/wasmvm', 'sdk'),
    only('plugins/drivers/qemu', 'sdk'),
    only('cli', 'sdk', 'app'),
    {
      name: 'kernel-knows-no-interface-but-its-own',
      severity: 'error',
      from: { path: '^kernel/' },
      to: { path: '^gen/nfv/(?!kernel/|plugin/|meta/)' },
    },
    {
      name: 'no-unknown-packages',
      severity: 'error',
      from: { pathNot: '^(test|bench)/' },
      to: { dependencyTypes: ['npm-no-pkg', 'npm-unknown', 'npm-dev'] },
    },
    {
      name: 'resolvable',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true, pathNot: '^(gen|build)/' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '^(wasm/assembly|plugins/drivers/wasmvm/guests|build)/' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default'],
    },
  },
};
