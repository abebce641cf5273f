import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { blockSize, noise } from '../../support/cli/disk-images.ts';
import { mano, manoOk } from '../../support/cli/mano.ts';
import { tempFolder } from '../../support/temp-folder.ts';

test('forget: keeps the newest and what is labelled, says so, and gc frees the rest', async (t) => {
  const folder = await tempFolder(t);
  for (const id of ['a', 'b', 'c']) {
    await writeFile(join(folder, 'disk.raw'), noise(id, 8 * blockSize));
    const labels = id === 'a' ? ['--label', 'hold=legal'] : [];
    await manoOk(t, folder, ['pack', 'disk.raw', '--store', 's', '--id', id, ...labels]);
  }
  const forget = ['forget', '--store', 's', '--keep-last', '1', '--keep-label', 'hold=legal'];
  const planned = (await manoOk(t, folder, [...forget, '--dry-run', '--json'])).json();
  t.is((await manoOk(t, folder, ['list', '--store', 's', '--json'])).json().packages.length, 3);
  t.like(planned, {
    dryRun: true,
    kept: [
      { package: 'c', reasons: ['last'] },
      { package: 'a', reasons: ['label hold=legal'] },
    ],
    forgotten: [{ package: 'b', reasons: [] }],
  });
  t.true(planned.uniqueBytes >= 8 * blockSize);
  const done = (await manoOk(t, folder, [...forget, '--gc', '--json'])).json();
  t.like(done, { dryRun: false, uniqueBytes: planned.uniqueBytes, forgotten: planned.forgotten });
  t.true(done.gc.freedBytes > planned.uniqueBytes);
  const { packages } = (await manoOk(t, folder, ['list', '--store', 's', '--json'])).json();
  t.deepEqual(
    packages.map((item: { package: string }) => item.package),
    ['a', 'c'],
  );
  await manoOk(t, folder, ['verify', '--store', 's']);
});

test('forget: without a rule it is wrong usage, and nothing is deleted', async (t) => {
  const folder = await tempFolder(t);
  await writeFile(join(folder, 'disk.raw'), noise('x', blockSize));
  await manoOk(t, folder, ['pack', 'disk.raw', '--store', 's', '--id', 'x']);
  const refused = await mano(folder, ['forget', '--store', 's', '--json']);
  t.is(refused.code, 2);
  t.is(refused.json().error.reason, 'POLICY_INVALID');
  for (const option of ['--keep-last=0', '--keep-within=7', '--keep-label=x', '--keep-daily=-1']) {
    t.is((await mano(folder, ['forget', '--store', 's', option])).code, 2, option);
  }
  t.is((await manoOk(t, folder, ['list', '--store', 's', '--json'])).json().packages.length, 1);
});
