import { spawn } from 'node:child_process';
import { cp, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
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

const definition = 'plugins/vnfm/procedures/define.ts';
const whole = 'procedure.plan(input).map((item) => withFailpoints(name, item))';
/** What the copy has instead: a switch that the product has not. */
const switched = `procedure.plan(input).flatMap((item) => remaining(item)).map((item) => withFailpoints(name, item))`;
const switchCode = `
function remaining(item: any): any[] {
  const off = process.env.SWITCHED_OFF ?? '';
  const isOff = (step: any) => step.clauseStep.split(', ').some((number: string) => step.clause + '/' + number === off);
  if ('chains' in item) {
    const chains = item.chains.map((chain: any[]) => chain.flatMap((step) => remaining(step)));
    return [{ chains: chains.filter((chain: any[]) => chain.length > 0) }];
  }
  if (item.clauseStep && isOff(item)) return [];
  if (item.extend === undefined) return [item];
  const extend = (output: any, input: any) => item.extend(output, input).flatMap(remaining);
  return [{ ...item, extend }];
}
`;

async function copyWithSwitch(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const name of copied) await cp(join(project, name), join(folder, name), { recursive: true });
  for (const name of linked) await symlink(join(project, name), join(folder, name));
  const path = join(folder, definition);
  const source = await readFile(path, 'utf8');
  if (!source.includes(whole)) throw new Error(`${definition} has no "${whole}" any more`);
  await writeFile(path, source.replace(whole, switched) + switchCode);
}

/** Runs the comparison in the copy; what it printed, and whether it was green. */
function compare(folder: string, off: string): Promise<{ green: boolean; output: string }> {
  const match = '--match=procedures on wasmvm, direct: what*';
  const child = spawn(
    join(project, 'node_modules/.bin/ava'),
    ['test/integration/procedures/sequence.test.ts', match],
    { cwd: folder, env: { ...process.env, SWITCHED_OFF: off, FORCE_COLOR: '0' } },
  );
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data) => {
      output += data;
    });
  }
  return new Promise((resolve) =>
    child.once('exit', (code) => resolve({ green: code === 0, output })),
  );
}

/** Direct mode: indirect mode has other numbers for the same steps. */
const ofIndirectMode: readonly string[] = ['6.4.2', '6.4.4', '6.6.2', '6.6.4'];
const rows = Object.entries(taken)
  .filter(([clause]) => !ofIndirectMode.includes(clause))
  .flatMap(([clause, numbers]) => numbers.map((number) => `${clause}/${number}`));

test.serial(
  'switched off: every step that the comparison knows is missed when it is left out',
  async (t) => {
    t.timeout(runMsMax * (rows.length + 1));
    const folder = join(await tempFolder(t), 'copy');
    await copyWithSwitch(folder);
    const control = await compare(folder, '');
    t.true(control.green, `with nothing left out it is green: ${control.output.slice(-2000)}`);
    const unnoticed: string[] = [];
    for (const row of rows) {
      if ((await compare(folder, row)).green) unnoticed.push(row);
    }
    t.deepEqual(unnoticed, []);
    t.log(`${rows.length} steps left out, each missed: ${rows.join(' ')}`);
  },
);
