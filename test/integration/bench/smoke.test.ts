import { join } from 'node:path';
import test from 'ava';
import type { Report } from '../../../bench/types.ts';
import { mano, manoFails, manoOk } from '../../support/cli/mano.ts';
import { skipUnless } from '../../support/require-tool.ts';
import { tempFolder } from '../../support/temp-folder.ts';

test.serial('bench --smoke: every case runs, ours first, and every result restores', async (t) => {
  if (!skipUnless(t, 'time', 'lz4', 'cmp')) return;
  const folder = await tempFolder(t);
  const files = ['--markdown', 'report.md', '--svg', 'plot.svg'];
  const args = ['bench', '--smoke', '--json', '--peers', 'lz4', '--work', join(folder, 'work')];
  const deadlineMs = 10 * 60 * 1000;
  t.timeout(deadlineMs);
  const result = await manoOk(t, folder, [...args, ...files], { deadlineMs });
  const report = result.json() as Report;
  t.deepEqual(
    report.cases.map(({ id }) => id),
    [
      'full',
      'incremental',
      'no-change',
      'restore',
      'restore-one',
      'verify',
      'memory',
      'sparse',
      'incompressible',
      'sizes',
    ],
  );
  for (const { id, contenders } of report.cases) {
    t.true(contenders[0]!.isOurs, id);
    for (const { runs } of contenders) t.is(runs.length, 1, id);
  }
  const increment = report.cases.find(({ id }) => id === 'incremental')!;
  const ids = increment.contenders.map(({ id }) => id);
  for (const id of ['mano', 'mano-map', 'mano-warm-map']) t.true(ids.includes(id), id);
  // The same bytes in the same place make the same blocks, whoever packs them.
  const [first, ...others] = increment.contenders.filter(({ id }) => /^mano(-.*map)?$/.test(id));
  for (const { summary } of others) {
    const difference = summary.storedBytes.median - first!.summary.storedBytes.median;
    t.true(Math.abs(difference) < 4096, `${difference}`);
  }
});

test.serial('bench: wrong cases, images and rounds are refused before anything runs', async (t) => {
  if (!skipUnless(t, 'time')) return;
  const folder = await tempFolder(t);
  const work = ['--work', join(folder, 'work')];
  await manoFails(t, folder, ['bench', '--smoke', '--cases', 'none', ...work], {
    code: 2,
    reason: 'CASE_UNKNOWN',
    text: /there is no case "none".*full/,
  });
  await manoFails(t, folder, ['bench', 'missing.raw', ...work], {
    code: 2,
    reason: 'SOURCE_UNREADABLE',
    text: /missing\.raw/,
  });
  t.is((await mano(folder, ['bench', '--rounds', '0'])).code, 2);
  t.is((await mano(folder, ['bench', 'a', 'b', 'c'])).code, 2);
});
