import { spawn, spawnSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test, { type ExecutionContext } from 'ava';
import { codeBlock } from '../../support/clients/documents.ts';
import { commandMsMax, mano, run, serve } from '../../support/clients/served.ts';
import { eventually } from '../../support/eventually.ts';
import { skipUnless } from '../../support/require-tool.ts';
import { tempFolder } from '../../support/temp-folder.ts';

/** Debian's own Python, which has Debian's gRPC. */
const python = { PATH: '/usr/bin:/bin' };

function hasPython(t: ExecutionContext): boolean {
  if (!skipUnless(t, 'protoc', 'grpc_python_plugin')) return false;
  const { status } = spawnSync('python3', ['-c', 'import grpc, google.protobuf'], { env: python });
  return status === 0 || skipUnless(t, 'python3-grpcio');
}

/** Generates the code with the command of README.md, into a folder of the test. */
async function generate(t: ExecutionContext): Promise<{ folder: string; library: string }> {
  const folder = await tempFolder(t);
  const library = join(folder, 'python');
  const command = codeBlock('README.md', 'sh', 'protoc').replaceAll('build/python', library);
  const { code, stderr } = await run('sh', ['-ec', command], python);
  t.is(code, 0, stderr);
  return { folder, library };
}

test.serial(
  'a Python client from README.md alone takes a snapshot and watches it, locally and over TLS',
  async (t) => {
    t.timeout(commandMsMax);
    if (!hasPython(t)) return;
    const { folder, library } = await generate(t);
    const script = join(folder, 'snapshot.py');
    await writeFile(script, codeBlock('README.md', 'python', 'snapshot.py'));
    const data = join(folder, 'data');
    const address = await serve(t, data);
    const made = await mano('vnf', 'create', 'app/demo/vnfd-wasmvm.json', '--data', data);
    const vnf = made.stdout.trim();
    const started = await mano('vnf', 'instantiate', vnf, '--data', data);
    t.is(started.code, 0, started.stderr);

    const environment = { ...python, PYTHONPATH: library, PYTHONDONTWRITEBYTECODE: '1' };
    for (const where of [[], [address]]) {
      const ended = await run('python3', [script, data, vnf, ...where], environment);
      t.is(ended.code, 0, ended.stderr);
      t.regex(ended.stdout, /^OPERATION_STATE_PROCESSING \d+ of \d+ steps capture /m);
      t.regex(ended.stdout, /^OPERATION_STATE_COMPLETED (\d+) of \1 steps$/m);
      const [, id] = /^snapshot (\S+)$/m.exec(ended.stdout) ?? [];
      const shown = await mano('snapshot', 'show', String(id), '--json', '--data', data);
      t.is(JSON.parse(shown.stdout).snapshot.vnfSnapshot.name, 'from python');
    }
    const refused = await run('python3', [script, data, 'nobody'], environment);
    t.is(refused.code, 1);
    t.regex(refused.stderr, /NOT_FOUND/);
  },
);

test.serial(
  'the driver in Python that docs/writing-a-driver.md begins is taken in, and asked for work',
  async (t) => {
    t.timeout(commandMsMax);
    if (!hasPython(t)) return;
    const { folder, library } = await generate(t);
    const page = 'docs/writing-a-driver.md';
    const program = join(folder, 'driver.py');
    await writeFile(program, codeBlock(page, 'python', 'driver.py'));
    const settings = codeBlock(page, 'json', '"plugins"')
      .replace('build/python', library)
      .replace('"python3", "driver.py"', `"/usr/bin/python3", ${JSON.stringify(program)}`);
    await mkdir(join(folder, 'data'));
    await writeFile(join(folder, 'site.json'), settings);
    const data = join(folder, 'data');
    await serve(t, data, { more: ['--config', join(folder, 'site.json')] });

    const listed = await mano('plugin', 'show', 'mydriver', '--json', '--data', data);
    t.like(JSON.parse(listed.stdout).plugin, {
      name: 'mydriver',
      state: 'PLUGIN_STATE_READY',
      placement: 'PLUGIN_PLACEMENT_CHILD_PROCESS',
      services: ['nfv.driver.v1.DriverService'],
    });
    const vnfd = await run('sed', ['s/"wasmvm"/"mydriver"/', 'app/demo/vnfd-wasmvm.json']);
    await writeFile(join(folder, 'vnfd.json'), vnfd.stdout);
    const made = await mano('vnf', 'create', join(folder, 'vnfd.json'), '--data', data);
    const ended = await mano('vnf', 'instantiate', made.stdout.trim(), '--json', '--data', data);
    t.is(ended.code, 1);
    // What grpcio answers for a method that the class does not override.
    t.regex(JSON.parse(ended.stdout).operation.error.detail, /Method not implemented!/);
  },
);

/** Starts the agent of docs/writing-a-vnf-agent.md and waits until it watches; it ends with the test. */
async function startAgent(t: ExecutionContext, words: string[], environment: NodeJS.ProcessEnv) {
  const child = spawn('python3', words, { env: environment, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const stop = async () => {
    child.kill();
    await ended;
  };
  t.teardown(stop);
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on('line', (line) => lines.push(line));
  await eventually('the agent watches', () => lines.includes('watching'), commandMsMax);
  return { lines, stop };
}

test.serial(
  'the agent in Python of docs/writing-a-vnf-agent.md prepares, goes on, hears of a new run, and vetoes [6.5.1/6 6.5.1/11 6.5.2/6 6.5.2/10]',
  async (t) => {
    t.timeout(4 * commandMsMax);
    if (!hasPython(t)) return;
    const { folder, library } = await generate(t);
    const script = join(folder, 'agent.py');
    await writeFile(script, codeBlock('docs/writing-a-vnf-agent.md', 'python', 'agent.py'));
    const environment = { ...python, PYTHONPATH: library, PYTHONDONTWRITEBYTECODE: '1' };
    const data = join(folder, 'data');
    await serve(t, data);
    const made = await mano('vnf', 'create', 'app/demo/vnfd-wasmvm.json', '--data', data);
    const vnf = made.stdout.trim();
    t.is((await mano('vnf', 'instantiate', vnf, '--data', data)).code, 0);

    const { lines, stop } = await startAgent(t, [script, data, vnf], environment);
    const taken = await mano('snapshot', 'create', vnf, '--name', 'one', '--data', data);
    t.is(taken.code, 0, taken.stderr);
    t.regex(taken.stdout, /VNF_CONFIRMED/);
    const reverted = await mano('snapshot', 'revert', vnf, 'one', '--data', data);
    t.is(reverted.code, 0, reverted.stderr);
    t.deepEqual(lines, [
      'watching',
      'prepared gateway-0 database-0',
      'resumed success same run',
      'prepared database-0 gateway-0',
      'resumed success new run',
    ]);
    await stop();

    await startAgent(t, [script, data, vnf, '--veto'], environment);
    const refused = await mano('snapshot', 'create', vnf, '--data', data);
    t.is(refused.code, 1);
    t.regex(refused.stderr, /VNF_VETO.*an upgrade is going on/);
  },
);
