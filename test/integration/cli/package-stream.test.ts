import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Lab } from '../../../app/demo/lab.ts';
import { Site } from '../../../app/demo/site.ts';
import { ConsistencyPolicy } from '../../../gen/nfv/vnfd/v1/vnfd_pb.js';
import { mano, serveOverTcp } from '../../support/system/mano.ts';
import { tempFolder } from '../../support/temp-folder.ts';

test.serial(
  'mano: with --connect a package is exported to a file here, and imported from one',
  async (t) => {
    t.timeout(180_000);
    const folder = await tempFolder(t);
    const data = join(folder, 'data');
    const here = join(folder, 'here');
    await mkdir(here);
    await makePackage(t, data);
    const site = await serveOverTcp(data);
    t.teardown(site.stop);
    const remote = ['--connect', site.address, '--certs', join(data, 'pki'), '--json'];
    const run = async (...words: string[]) => {
      const done = await mano(...words, ...remote);
      t.is(done.code, 0, `${words.join(' ')}: ${done.stderr}`);
      return done.json as Record<string, unknown>;
    };
    const id = ((await run('package', 'list')).packages as { id: string }[])[0]!.id;

    const archive = join(here, 'gw.zip');
    await run('package', 'export', id, archive);
    t.deepEqual(await readdir(here), ['gw.zip'], 'nothing else is left');
    const shelf = join(data, 'plugins', 'vnfm', 'archives');
    t.deepEqual(await readdir(shelf), [], 'the server keeps no copy');
    const again = await mano('package', 'export', id, archive, ...remote);
    t.is(again.json.error?.reason, 'LOCATION_INVALID', 'what is there is not overwritten');

    await run('package', 'delete', id);
    await run('package', 'import', archive);
    const { packages } = (await run('package', 'list')) as { packages: { id: string }[] };
    t.deepEqual(
      packages.map((each) => each.id),
      [id],
    );
    t.deepEqual(await readdir(shelf), []);

    const bytes = await readFile(archive);
    await rm(archive);
    await writeFile(archive, bytes.subarray(0, bytes.length - 100));
    const cut = await mano('package', 'import', archive, ...remote);
    t.not(cut.code, 0, 'an archive that is not whole is not imported');
  },
);

/** A site with one package; it is stopped again. */
async function makePackage(t: ExecutionContext, folder: string): Promise<void> {
  const site = await Site.start('test', folder, { version: 1, drivers: ['wasmvm'] });
  t.teardown(() => site.stop());
  const lab = new Lab(site, () => {});
  const { id: vnfInstanceId } = await lab.instantiate('wasmvm', false);
  const consistency = ConsistencyPolicy.PREFERRED;
  const taken = await lab.lcm.createVnfSnapshot({ vnfInstanceId, consistency });
  await lab.follow(taken.lifecycleOperationOccurrenceId);
  const { vnfSnapshotInfoId } = taken;
  const packed = await lab.packages.createVnfSnapshotPackage({ vnfSnapshotInfoId });
  await lab.follow(packed.lifecycleOperationOccurrenceId);
  await lab.clean();
  await site.stop();
}
