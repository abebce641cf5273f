import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test, { type ExecutionContext } from 'ava';
import { tempFolder } from '../../support/temp-folder.ts';

const program = fileURLToPath(new URL('./operation-process.ts', import.meta.url));
/** More hits than the operation has; the loop ends by itself before. */
const hitsMax = 300;
const runMsMax = 30_000;

/** Points at which a death looks on the disk like one at the point before. */
const same = ['records.before-commit', 'operations.step-begun', 'operations.undo-begun'];

type Outcome = { state: string; reason: string; snapshot: string; operations: number };

/** Runs the operation in a folder. Returns what it printed, or undefined when it was killed at its failpoint. */
async function run(folder: string, mode: string, failpoints: string): Promise<Outcome | undefined> {
  const child = spawn(process.execPath, [program, folder, mode], {
    env: {
      ...process.env,
      NFV_FAILPOINTS: failpoints,
      NODE_COMPILE_CACHE: join(folder, '../cache'),
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: runMsMax,
    killSignal: 'SIGTERM',
  });
  let output = '';
  let errors = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    errors += text;
  });
  const { code, signal } = await new Promise<{ code: number | null; signal: string | null }>(
    (resolve) => child.once('close', (code, signal) => resolve({ code, signal })),
  );
  if (signal === 'SIGKILL') return undefined;
  if (code !== 0) throw new Error(`exit code ${code}, signal ${signal}: ${output} ${errors}`);
  return JSON.parse(output);
}

/** Kills at every hit of a failpoint in turn, restarts, and has each outcome checked. */
async function killEverywhere(
  t: ExecutionContext,
  mode: string,
  restart: (hit: number) => string[],
  check: (outcome: Outcome, folder: string, hit: number) => void,
): Promise<number> {
  const root = await tempFolder(t);
  for (let hit = 1; hit <= hitsMax; hit++) {
    const folder = mkdtempSync(join(root, `${hit}-`));
    mkdirSync(join(folder, 'effects'));
    const first = await run(folder, mode, killAt(hit));
    let outcome = first;
    for (const failpoints of [...restart(hit), '']) outcome ??= await run(folder, mode, failpoints);
    if (outcome === undefined) throw new Error(`hit ${hit}: killed without a failpoint`);
    check(outcome, folder, hit);
    if (first !== undefined) return hit - 1;
  }
  throw new Error(`still killed at hit ${hitsMax}`);
}

function killAt(hit: number): string {
  return [...same.map((name) => `${name}=off`), `*=${hit - 1}*off->1*kill`].join(';');
}

function effectsOf(folder: string): string[] {
  return readdirSync(join(folder, 'effects')).toSorted();
}

function checkWholeOrNone(t: ExecutionContext, outcome: Outcome, folder: string, hit: number) {
  const { state, snapshot, operations } = outcome;
  const where = `killed at hit ${hit}: ${JSON.stringify(outcome)}`;
  t.is(operations, 1, where);
  if (state === 'COMPLETED') {
    t.deepEqual(effectsOf(folder), ['capture-a', 'capture-b', 'finish', 'prepare'], where);
    t.is(snapshot, 'whole', where);
  } else {
    t.is(state, 'ROLLED_BACK', where);
    t.deepEqual(effectsOf(folder), [], where);
    t.is(snapshot, 'none', where);
  }
  const lines = readFileSync(join(folder, 'applied.log'), { encoding: 'utf8', flag: 'a+' });
  const applied = lines.split('\n').filter((line) => line !== '');
  t.is(new Set(applied).size, applied.length, `${where}: an effect was applied twice: ${lines}`);
}

test('operations: killed at any point, a restart ends with each effect once or with none', async (t) => {
  const states = new Set<string>();
  const hits = await killEverywhere(
    t,
    '',
    () => [],
    (outcome, folder, hit) => {
      states.add(outcome.state);
      if (outcome.state === 'ROLLED_BACK') t.is(outcome.reason, 'INTERRUPTED');
      checkWholeOrNone(t, outcome, folder, hit);
    },
  );
  t.log(`killed at ${hits} points`);
  t.true(hits > 30, `only ${hits} points were killed at`);
  // Killed while holding: undone. Killed elsewhere: resumed.
  t.deepEqual([...states].toSorted(), ['COMPLETED', 'ROLLED_BACK']);
});

test('operations: killed at any point of a failing operation, and once more while recovering, nothing is left', async (t) => {
  const again = (hit: number) => [killAt((hit % 9) + 1)];
  const hits = await killEverywhere(t, 'fail', again, (outcome, folder, hit) => {
    t.is(outcome.state, 'ROLLED_BACK');
    checkWholeOrNone(t, outcome, folder, hit);
  });
  t.log(`killed at ${hits} points`);
  t.true(hits > 40, `only ${hits} points were killed at`);
});
