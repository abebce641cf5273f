import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import test from 'ava';
import {
  identify,
  isAlive,
  killProcess,
  runTool,
  spawnDetached,
  waitForExit,
} from '../../../../plugins/drivers/qemu/host/process.ts';
import { Code } from '../../../../sdk/errors.ts';
import { tempFolder } from '../../../support/temp-folder.ts';
import { throwsRpc } from '../../../support/throws-rpc.ts';

test('isAlive: a process with the same number and another start is another process', (t) => {
  const me = identify(process.pid)!;
  t.true(isAlive(me));
  t.false(isAlive({ ...me, startTicks: me.startTicks - 1 }));
  t.false(isAlive({ ...me, bootId: 'another boot' }));
});

test('killProcess: it never ends a process that only has the number', async (t) => {
  const child = spawn('sleep', ['60']);
  t.teardown(() => child.kill('SIGKILL'));
  await once(child, 'spawn');
  const identity = identify(child.pid!)!;
  await killProcess({ ...identity, startTicks: identity.startTicks + 1 });
  t.true(isAlive(identity));
  await killProcess(identity);
  t.false(isAlive(identity));
});

test('spawnDetached: the process leads a session of its own', async (t) => {
  const folder = await tempFolder(t);
  const options = { cwd: folder, logFile: join(folder, 'log') };
  const identity = await spawnDetached('sleep', ['60'], options);
  t.teardown(() => killProcess(identity));
  const output = await runTool('ps', ['-o', 'sid=', '-p', String(identity.pid)], 5000);
  t.is(Number(output), identity.pid);
  await killProcess(identity);
  t.true(await waitForExit(identity, 1000));
});

test('spawnDetached: a missing program is TOOL_MISSING and names what installs it', async (t) => {
  const folder = await tempFolder(t);
  const options = { cwd: folder, logFile: join(folder, 'log') };
  const error = await throwsRpc(t, spawnDetached('no-such-program', [], options), {
    code: Code.UNAVAILABLE,
    reason: 'TOOL_MISSING',
  });
  t.regex(error.message, /no-such-program.*mano setup/);
});

test('runTool: a tool that hangs is ended at its deadline', async (t) => {
  const start = performance.now();
  await t.throwsAsync(runTool('sleep', ['60'], 100), { message: /no answer within 100 ms/ });
  t.true(performance.now() - start < 5000);
});
