import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import test from 'ava';

const program = join(import.meta.dirname, '../../load/load.ts');

test.serial(
  'load: a short run of the load test loses nothing, and everybody has turns',
  async (t) => {
    t.timeout(180_000);
    const options = ['--vnfs', '24', '--minutes', '0.2', '--workers', '12'];
    const child = spawn(
      process.execPath,
      ['--disable-warning=ExperimentalWarning', program, ...options],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    const ended = new Promise((resolve) => child.once('exit', resolve));
    const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
    t.is(await ended, 0, out + err);
    const { operations, stuck, failed, faults, turnsOfAVnf } = JSON.parse(out);
    t.true(operations > 24 * 2, 'more than the instantiations');
    t.deepEqual({ stuck, failed, faults }, { stuck: 0, failed: {}, faults: [] });
    t.true(turnsOfAVnf.least > 0);
  },
);
