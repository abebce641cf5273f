import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import {
  configureFailpoints,
  FailpointError,
  failpoint,
  failpointHits,
  failpointSync,
  parseFailpoints,
} from '../../../sdk/failpoint.ts';
import { tempFolder } from '../../support/temp-folder.ts';

test.afterEach.always(() => configureFailpoints(undefined));

test.serial(
  'failpoint: without a configuration nothing happens and nothing is counted',
  async (t) => {
    await failpoint('a');
    failpointSync('a');
    t.deepEqual(failpointHits(), []);
  },
);

test.serial(
  'failpoint: actions follow one another by their counts, each name for itself',
  async (t) => {
    configureFailpoints('a=1*off->2*error(no; really (a) -> b)');
    await failpoint('a');
    await failpoint('b');
    const error = await t.throwsAsync(failpoint('a'), { instanceOf: FailpointError });
    t.is(error.message, 'no; really (a) -> b');
    t.is(error.failpoint, 'a');
    t.throws(() => failpointSync('a'), { instanceOf: FailpointError });
    await t.notThrowsAsync(failpoint('a'));
    t.deepEqual(failpointHits(), ['a', 'b', 'a', 'a', 'a']);
  },
);

test.serial('failpoint: "*" counts the hits of all names that have no entry', async (t) => {
  configureFailpoints('a=off;*=1*off->error');
  await failpoint('a');
  await failpoint('b');
  await failpoint('a');
  await t.throwsAsync(failpoint('c'), { instanceOf: FailpointError });
});

test.serial('failpoint: sleep takes its time, in both forms', async (t) => {
  configureFailpoints('a=sleep(20)');
  const before = performance.now();
  await failpoint('a');
  failpointSync('a');
  t.true(performance.now() - before >= 38);
});

for (const text of ['a', '=off', 'a=jump', 'a=sleep(x)', 'a=kill(1)', 'a=off;a=off', 'a=-1*off']) {
  test(`failpoint: "${text}" is refused with what is wrong`, (t) => {
    const error = t.throws(() => parseFailpoints(text));
    t.regex(error.message, /failpoint/);
  });
}

for (const call of ['await failpoint', 'failpointSync']) {
  test(`failpoint: ${call} kills the process at once, after the hit was logged`, async (t) => {
    const log = join(await tempFolder(t), 'hits');
    const url = new URL('../../../sdk/failpoint.ts', import.meta.url);
    const program = `const { failpoint, failpointSync } = await import('${url}');
      ${call}('a'); ${call}('a'); console.log('still here');`;
    const { signal, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
      env: { ...process.env, NFV_FAILPOINTS: 'a=1*off->kill', NFV_FAILPOINTS_LOG: log },
      encoding: 'utf8',
    });
    t.is(signal, 'SIGKILL');
    t.is(stdout, '');
    t.is(readFileSync(log, 'utf8'), 'a\na\n');
  });
}
