import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { access, cp, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { tempFolder } from '../../support/temp-folder.ts';
import { taken } from './taken.ts';

/**
 * Steps are left out of the code one by one, in a copy of it, and the test that compares the
 * procedures with the report has to turn red: a step that it would not miss is a step that it does
 * not test.
 */
const project = join(import.meta.dirname, '../../..');
const copied = [
  'app',
  'cli',
  'gen',
  'kernel',
  'plugins',
  'sdk',
  'test',
  'wasm',
  'package.json',
  'ava.config.js',
];
const linked = ['node_modules', 'build', 'proto'];
const runMsMax = 120_000;
/** Comparisons that run side by side: each waits more than it computes. */
const lanes = 2;

/** What the copy has instead: a switch that the product has not. Indirect mode has its own numbers. */
const switches = [
  {
    path: 'plugins/vnfm/procedures/define.ts',
    whole: 'procedure.plan(input).map((item) => withFailpoints(name, item))',
    switched:
      'procedure.plan(input).flatMap((item) => remaining(item)).map((item) => withFailpoints(name, item))',
  },
  {
    path: 'plugins/vnfm/procedures/indirect-mode.ts',
    whole: 'definition.plan(input).map(item)',
    switched: 'definition.plan(input).map(item).flatMap((planned) => remaining(planned))',
  },
];
const switchCode = `
function remaining(item: any): any[] {
  const off = process.env.SWITCHED_OFF ?? '';
  const isOff = (step: any) => step.clauseStep.split(', ').some((number: string) => step.clause + '/' + number === off);
  if ('chains' in item) {
    const chains = item.chains.map((chain: any[]) => chain.flatMap((step) => remaining(step)));
    return [{ chains: chains.filter((chain: any[]) => chain.length > 0) }];
  }
  if (item.clauseStep && isOff(item)) {
    appendFileSync(process.env.SWITCHED_OFF_LOG!, off + String.fromCharCode(10));
    return [];
  }
  if (item.extend === undefined) return [item];
  const extend = (output: any, input: any) => item.extend(output, input).flatMap(remaining);
  return [{ ...item, extend }];
}
`;

async function copyWithSwitch(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const name of copied) await cp(join(project, name), join(folder, name), { recursive: true });
  for (const name of linked) await symlink(join(project, name), join(folder, name));
  for (const { path, whole, switched } of switches) {
    const source = await readFile(join(folder, path), 'utf8');
    if (!source.includes(whole)) throw new Error(`${path} has no "${whole}" any more`);
    const code = `import { appendFileSync } from 'node:fs';\n${source.replace(whole, switched)}`;
    await writeFile(join(folder, path), code + switchCode);
  }
}

/** A step to leave out, and the comparison that has to miss it, by the beginning of its title. */
type Row = { off: string; title: string };

/** Runs the comparison in the copy; what it printed, and whether it was green. */
async function compare(folder: string, { off, title }: Row) {
  const log = join(folder, `${off.replace('/', '-')}.log`);
  const child = spawn(
    join(project, 'node_modules/.bin/ava'),
    ['test/integration/procedures/sequence.test.ts', `--match=${title}*`],
    {
      cwd: folder,
      env: { ...process.env, SWITCHED_OFF: off, SWITCHED_OFF_LOG: log, FORCE_COLOR: '0' },
    },
  );
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data) => {
      output += data;
    });
  }
  const [code] = await once(child, 'close');
  // Red for another reason than the step would prove nothing.
  const wasLeftOut = await access(log).then(
    () => true,
    () => false,
  );
  await rm(log, { force: true });
  return { green: code === 0, wasLeftOut, output };
}

const titles = {
  direct: {
    whole: 'procedures on wasmvm, direct: what',
    powered: 'procedures on wasmvm, direct: a VNFC is powered',
    alone: 'procedures on wasmvm, direct: the EM asks',
    detached: 'procedures on wasmvm, direct: disks are detached',
  },
  indirect: {
    whole: 'procedures on wasmvm, indirect: what',
    powered: 'procedures on wasmvm, indirect: a VNFC is powered',
    alone: 'procedures on wasmvm, indirect: the EM asks',
    detached: 'procedures on wasmvm, indirect: disks are detached',
  },
};

const ofOneMode = {
  direct: ['6.4.1', '6.4.3', '6.6.1', '6.6.3'],
  indirect: ['6.4.2', '6.4.4', '6.6.2', '6.6.4'],
};
const ownRows = (mode: keyof typeof titles): Row[] =>
  rowsOf(mode, (clause) => ofOneMode[mode].includes(clause));
const commonRows = (mode: keyof typeof titles): Row[] =>
  rowsOf(mode, (clause) => !Object.values(ofOneMode).flat().includes(clause));

function rowsOf(mode: keyof typeof titles, wanted: (clause: string) => boolean): Row[] {
  return Object.entries(taken)
    .filter(([clause]) => wanted(clause))
    .flatMap(([clause, numbers]) =>
      numbers.map((number) => ({ off: `${clause}/${number}`, title: titles[mode].whole })),
    );
}

/** Optional steps that a snapshot of a running VNF does not take. */
const optional = {
  direct: [
    { off: '6.4.1/5', title: titles.direct.powered },
    { off: '6.4.1/34', title: titles.direct.powered },
    { off: '6.4.3/5', title: titles.direct.alone },
    { off: '6.4.3/25', title: titles.direct.alone },
    { off: '6.4.1/9', title: titles.direct.detached },
    { off: '6.4.1/30', title: titles.direct.detached },
    { off: '6.4.3/9', title: titles.direct.detached },
    { off: '6.4.3/21', title: titles.direct.detached },
  ],
  indirect: [
    { off: '6.4.2/5', title: titles.indirect.powered },
    { off: '6.4.2/48', title: titles.indirect.powered },
    { off: '6.4.4/5', title: titles.indirect.alone },
    { off: '6.4.4/35', title: titles.indirect.alone },
    { off: '6.4.2/11', title: titles.indirect.detached },
    { off: '6.4.2/42', title: titles.indirect.detached },
    { off: '6.4.4/11', title: titles.indirect.detached },
    { off: '6.4.4/29', title: titles.indirect.detached },
  ],
};
/** `NFV_SWITCHED_OFF=all`: in indirect mode all that is common to both modes too, not every fourth. */
const isThorough = process.env.NFV_SWITCHED_OFF === 'all';
const rows = {
  direct: [...ownRows('direct'), ...commonRows('direct'), ...optional.direct],
  indirect: [
    ...ownRows('indirect'),
    ...commonRows('indirect').filter((_, index) => isThorough || index % 4 === 0),
    ...optional.indirect,
  ],
};

for (const mode of ['direct', 'indirect'] as const) {
  test.serial(
    `switched off, ${mode}: every step that the comparison knows is missed when it is left out`,
    async (t) => {
      t.timeout(runMsMax * (rows[mode].length + 1));
      const folder = join(await tempFolder(t), 'copy');
      await copyWithSwitch(folder);
      for (const title of new Set(rows[mode].map((row) => row.title))) {
        const control = await compare(folder, { off: '', title });
        t.true(control.green, `with nothing left out it is green: ${control.output.slice(-2000)}`);
      }
      const wrong: string[] = [];
      const left = [...rows[mode]];
      const lane = async () => {
        for (let row = left.shift(); row; row = left.shift()) {
          const { green, wasLeftOut } = await compare(folder, row);
          if (green) wrong.push(`${row.off} is not missed`);
          if (!wasLeftOut) wrong.push(`${row.off} was never there to be left out`);
        }
      };
      await Promise.all(Array.from({ length: lanes }, lane));
      t.deepEqual(wrong, []);
      const all = rows[mode].map(({ off }) => off);
      t.log(`${all.length} steps left out, each missed: ${all.join(' ')}`);
    },
  );
}
