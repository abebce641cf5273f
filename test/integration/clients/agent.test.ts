import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import test from 'ava';
import { eventually } from '../../support/eventually.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const program = join(import.meta.dirname, '../../../cli/main.ts');
/** The first wait of the command, and what a busy machine may add. */
const firstWaitMs = 90_000;

test('vnf agent: it keeps trying when its first wait for the server has run out', async (t) => {
  t.timeout(2 * firstWaitMs);
  const options = ['vnf', 'agent', 'some-vnf', '--data', await tempFolder(t)];
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', program, ...options],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  const exited = once(child, 'exit');
  t.teardown(() => child.kill('SIGKILL'));
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const isTrying = () => /no Micromano answers at .*; trying on until interrupted/.test(said);
  await eventually(
    'it says that it goes on',
    () => isTrying() || child.exitCode !== null,
    firstWaitMs,
  );
  t.true(isTrying(), said);
  t.is(child.exitCode, null);
  child.kill('SIGINT');
  await exited;
});
