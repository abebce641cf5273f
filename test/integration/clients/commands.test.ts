import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { projectFolder } from '../../support/clients/documents.ts';
import { commandMsMax, mano, nodeArguments, serve } from '../../support/clients/served.ts';
import { tempFolder } from '../../support/temp-folder.ts';

/** Slows every step down, so that an operation can be met under way. */
const slowSteps = { NFV_FAILPOINTS: 'operations.step-begun=sleep(300)' };
const vnfd = 'app/demo/vnfd-wasmvm.json';

type Answer = { code: number; json: Record<string, unknown>; stderr: string };

/** Commands of one Micromano; every answer is the one line of JSON. */
function commands(folder: string) {
  return async (...parameters: string[]): Promise<Answer> => {
    const { code, stdout, stderr } = await mano(...parameters, '--data', folder, '--json');
    return { code, json: JSON.parse(stdout), stderr };
  };
}

/** Starts a command that something is done to while it runs. */
function start(t: ExecutionContext, ...parameters: string[]) {
  const child = spawn(process.execPath, [...nodeArguments, ...parameters], {
    cwd: projectFolder,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  t.teardown(() => child.kill('SIGKILL'));
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text) => {
      output[name] += text;
    });
  }
  const ended = once(child, 'close').then(([code]) => code as number | null);
  return { child, output, ended };
}

async function withVnf(t: ExecutionContext, environment: NodeJS.ProcessEnv = {}) {
  t.timeout(commandMsMax);
  const folder = await tempFolder(t);
  const address = await serve(t, folder, { environment });
  const ask = commands(folder);
  t.is((await ask('vnf', 'create', vnfd, '--name', 'gw')).code, 0);
  t.is((await ask('vnf', 'instantiate', 'gw')).code, 0);
  return { folder, address, ask };
}

test.serial('a command waits for a server that is starting, and says for what', async (t) => {
  t.timeout(commandMsMax);
  const folder = await tempFolder(t);
  const { child, output, ended } = start(t, 'plugin', 'list', '--data', folder);
  await once(child.stderr, 'data');
  t.is(output.stderr, `mano: waiting for Micromano at ${folder}/run/operator.sock\n`);
  await serve(t, folder);
  t.is(await ended, 0, output.stderr);
  t.regex(output.stdout, /^vnfm +vnfm .* READY$/m);
});

test.serial(
  'a command that finds no server says where it looked and what to do, with exit code 6',
  async (t) => {
    t.timeout(commandMsMax);
    const { code, json, stderr } = await commands(await tempFolder(t))('vnf', 'list');
    t.is(code, 6);
    t.like(json, { error: { reason: 'SERVER_UNREACHABLE' } });
    t.regex(stderr, /no Micromano answers at .*em\.sock .*start one with mano serve/);
  },
);

test.serial(
  '--connect: the certificates decide; those of another server are refused with advice',
  async (t) => {
    t.timeout(commandMsMax);
    const [folder, other] = [await tempFolder(t), await tempFolder(t)];
    const address = await serve(t, folder);
    await serve(t, other);
    const list = (...more: string[]) => mano('vnf', 'list', '--connect', address, ...more);
    t.is((await list('--certs', join(folder, 'pki'))).code, 0);
    const refused = await list('--certs', join(other, 'pki'));
    t.is(refused.code, 6);
    t.regex(refused.stderr, /--certs must name the pki folder of that server/);
    const without = await list('--certs', folder);
    t.is(without.code, 2);
    t.regex(without.stderr, /ca\.pem, clients\/em\.pem and clients\/em-key\.pem/);
    t.is((await list('--data', folder)).code, 2);
  },
);

test.serial(
  'snapshot create: without an agent "required" fails before anything is frozen',
  async (t) => {
    const { ask } = await withVnf(t);
    const { code, json, stderr } = await ask('snapshot', 'create', 'gw');
    t.is(code, 1);
    t.regex(stderr, /ROLLED_BACK: VNF_NOT_REACHABLE/);
    const { steps } = json.operation as { steps: { name: string; state: string }[] };
    const begun = steps.filter(({ state }) => state !== 'STEP_STATE_PENDING');
    t.deepEqual(
      begun.map(({ name }) => name),
      ['check', 'grant', 'notify start'],
    );
    t.deepEqual((await ask('snapshot', 'list')).json, { snapshots: [] });
  },
);

test.serial(
  'snapshot create --plan: says what would be done and what would fail, and does nothing [6.3/vim-expose 5.3-2/utilize]',
  async (t) => {
    const { ask } = await withVnf(t);
    const required = await ask('snapshot', 'create', 'gw', '--plan');
    t.is(required.code, 1, 'without an agent it would fail');
    const { plan } = required.json as { plan: { steps: { name: string }[]; fallbacks: object[] } };
    t.true(plan.steps.some(({ name }) => name === 'capture gateway-0'));
    t.like(plan.fallbacks[0], { what: 'ask the VNF to prepare', allowed: false });
    t.is((await ask('snapshot', 'create', 'gw', '--plan', '--consistency', 'preferred')).code, 0);
    t.deepEqual((await ask('snapshot', 'list')).json, { snapshots: [] });
  },
);

test.serial(
  'snapshot delete --filter, create --replace: those that match go, and no other [5.1.3.7/filter 5.1.3.4/update]',
  async (t) => {
    const { ask } = await withVnf(t);
    const take = async (...more: string[]) => {
      const flags = ['--consistency', 'none', '--cold', ...more];
      const { json, code, stderr } = await ask('snapshot', 'create', 'gw', ...flags);
      t.is(code, 0, stderr);
      return json.snapshot as string;
    };
    const [first, second] = [await take('--name', 'nightly'), await take('--name', 'nightly')];
    const kept = await take('--name', 'kept');
    const filter = ['--filter', '(eq,vnfSnapshot/name,nightly)'];
    const dry = await ask('snapshot', 'delete', ...filter, '--dry-run');
    t.deepEqual([...(dry.json.matching as string[])].sort(), [first, second].sort());
    t.deepEqual(dry.json.deleted, []);
    const gone = await ask('snapshot', 'delete', ...filter);
    t.is((gone.json.deleted as string[]).length, 2);
    const newest = await take('--replace', kept);
    const { snapshots } = (await ask('snapshot', 'list')).json as { snapshots: { id: string }[] };
    t.deepEqual(
      snapshots.map(({ id }) => id),
      [newest],
    );
    t.is((await ask('snapshot', 'delete')).code, 2);
  },
);

test.serial('ns: a snapshot and a reversion through the NFVO, by names', async (t) => {
  const { ask } = await withVnf(t);
  t.is((await ask('ns', 'create', 'gw', '--name', 'edge')).code, 0);
  const refused = await ask('ns', 'snapshot', 'edge', 'gw');
  t.regex(refused.stderr, /VNF_NOT_REACHABLE/, 'consistency is required, and no agent watches');
  const { json } = await ask(
    'snapshot',
    'create',
    'gw',
    '--consistency',
    'none',
    '--name',
    'night',
  );
  t.truthy(json.snapshot);
  t.is((await ask('ns', 'revert', 'edge', 'gw', 'night')).code, 0);
  t.is(((await ask('ns', 'list')).json.ns as object[]).length, 1);
  t.is((await ask('ns', 'delete', 'edge')).code, 0);
  t.is((await ask('ns', 'delete', 'edge')).code, 3);
});

test.serial('snapshot drift, diff: nothing has drifted, and a stopped VNF differs', async (t) => {
  const { ask } = await withVnf(t);
  const take = (name: string) =>
    ask('snapshot', 'create', 'gw', '--consistency', 'none', '--cold', '--name', name);
  t.is((await take('running')).code, 0);
  t.deepEqual((await ask('snapshot', 'drift', 'running')).json, { differences: [] });
  t.is((await ask('vnf', 'stop', 'gw')).code, 0);
  t.is((await take('stopped')).code, 0);
  const drift = (await ask('snapshot', 'drift', 'stopped')).json.differences as object[];
  t.deepEqual(drift, [
    { path: 'gateway-0/state', one: 'RUNNING', other: 'STOPPED' },
    { path: 'database-0/state', one: 'RUNNING', other: 'STOPPED' },
  ]);
  const { json } = await ask('snapshot', 'diff', 'running', 'stopped');
  const paths = (json.differences as { path: string }[]).map(({ path }) => path);
  t.true(paths.includes('vnfInstance/instantiatedVnfInfo/vnfState'), paths.join());
  t.true(paths.includes('vnfcSnapshots/gateway-0/instanceSnapshot/stateWhenTaken'), paths.join());
  t.deepEqual((await ask('snapshot', 'diff', 'running', 'running')).json, { differences: [] });
});

test.serial(
  'names: one thing is found by its name, two of a name are told apart by their ids',
  async (t) => {
    const { ask } = await withVnf(t);
    const create = () =>
      ask('snapshot', 'create', 'gw', '--consistency', 'none', '--name', 'night');
    const ids = [(await create()).json.snapshot];
    t.is((await ask('snapshot', 'show', 'night')).code, 0);
    t.is((await ask('package', 'create', 'night', '--name', 'p')).code, 0);
    t.like((await ask('package', 'show', 'p')).json, { package: { vnfSnapshotId: ids[0] } });
    ids.push((await create()).json.snapshot);
    const ambiguous = await ask('snapshot', 'revert', 'gw', 'night');
    t.is(ambiguous.code, 2);
    t.like(ambiguous.json, { error: { reason: 'NAME_AMBIGUOUS' } });
    for (const id of ids) t.true(ambiguous.stderr.includes(String(id)));
    t.is((await ask('snapshot', 'show', "o'clock")).code, 3);
  },
);

test.serial(
  'package import: an archive of a package that is still there changes nothing',
  async (t) => {
    const { folder, ask } = await withVnf(t);
    const archive = join(folder, 'p.zip');
    const create = ['snapshot', 'create', 'gw', '--consistency', 'none', '--name'];
    for (const name of ['one', 'two']) {
      t.is((await ask(...create, name)).code, 0);
      t.is((await ask('package', 'create', name, '--name', name)).code, 0);
    }
    // The second has a parent here, which the archive does not know.
    t.is((await ask('package', 'export', 'two', archive)).code, 0);
    const before = (await ask('package', 'list')).json;
    t.is((await ask('package', 'import', archive)).code, 0);
    t.deepEqual((await ask('package', 'list')).json, before);
  },
);

test.serial(
  'an interrupted command leaves its operation running and says how to go on',
  async (t) => {
    const { folder, ask } = await withVnf(t, slowSteps);
    const create = ['snapshot', 'create', 'gw', '--consistency', 'preferred'];
    const { child, output, ended } = start(t, ...create, '--data', folder);
    child.stdout.on('data', () => {
      if (output.stdout.includes('✓ grant')) child.kill('SIGINT');
    });
    t.is(await ended, 130, output.stderr);
    const [, id] = /Follow it: mano operation watch (\S+);/.exec(output.stderr) ?? [];
    const watched = await ask('operation', 'watch', String(id));
    t.is(watched.code, 0);
    t.like(watched.json, { operation: { operationState: 'OPERATION_STATE_COMPLETED' } });
  },
);

test.serial(
  'operation cancel: exit code 0 when it was undone; a final operation is a conflict',
  async (t) => {
    const { ask } = await withVnf(t, slowSteps);
    const create = ['snapshot', 'create', 'gw', '--consistency', 'preferred', '--no-wait'];
    const { id } = (await ask(...create)).json.operation as { id: string };
    const cancelled = await ask('operation', 'cancel', id);
    t.is(cancelled.code, 0, cancelled.stderr);
    t.like(cancelled.json, { operation: { operationState: 'OPERATION_STATE_ROLLED_BACK' } });
    t.is((await ask('operation', 'cancel', id)).code, 4);
    t.is((await ask('operation', 'watch', id)).code, 1);
  },
);

test.serial('serve: an address that is none, or is taken, ends it with the reason', async (t) => {
  t.timeout(commandMsMax);
  const folder = await tempFolder(t);
  const wrong = await mano('serve', '--data', folder, '--listen', '7443');
  t.is(wrong.code, 2);
  t.regex(wrong.stderr, /--listen "7443": must be HOST:PORT/);
  const taken = await serve(t, await tempFolder(t));
  const second = await mano('serve', '--data', folder, '--listen', taken);
  t.not(second.code, 0);
  t.regex(second.stderr, new RegExp(`cannot listen on ${taken}`));
});
