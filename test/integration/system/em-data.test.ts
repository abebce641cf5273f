import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import { Lab } from '../../../app/demo/lab.ts';
import { Site } from '../../../app/demo/site.ts';
import { manoFails, manoOk } from '../../support/cli/mano.ts';
import { tempFolder } from '../../support/temp-folder.ts';

test.serial(
  'mano: the EM captures, is told VIM and file paths, adds a dump, and reads it back from an archive elsewhere [capture/1 capture/2 capture/3 capture/4 capture/5 capture/6 capture/7 capture/8]',
  async (t) => {
    t.timeout(240_000);
    const root = await tempFolder(t);
    const open = async (name: string) => {
      const folder = join(root, name);
      const site = await Site.start(name, folder, { version: 1, drivers: ['wasmvm'] });
      t.teardown(() => site.stop());
      const run = async (...args: string[]) => {
        const { stdout } = await manoOk(t, folder, [...args, '--data', folder, '--json']);
        return JSON.parse(stdout.trim().split('\n').at(-1)!);
      };
      return { site, folder, run };
    };
    const here = await open('a');
    const lab = new Lab(here.site, () => {});
    t.teardown(() => lab.clean());
    const { id: vnf } = await lab.instantiate('wasmvm', false);
    await lab.agent(await lab.vnf(vnf));

    const taken = await here.run('snapshot', 'create', vnf, '--warm', '--name', 'one');
    const { result } = taken.operation;
    t.is(result['gateway-0/vim'], 'vim');
    t.true((await stat(result['gateway-0/memory'])).isFile());
    const { snapshot } = await here.run('snapshot', 'show', 'one');
    for (const vnfc of snapshot.captureReport.vnfcs) {
      t.is(vnfc.snapshotResource.vimConnectionId, 'vim');
      t.is(vnfc.unknownReason, '');
      for (const { file, sizeBytes } of vnfc.images) {
        t.is(String((await stat(file.path)).size), sizeBytes, file.path);
      }
    }
    t.notRegex(JSON.stringify(snapshot.vnfSnapshot), /\.img"/, 'what is kept names no path');

    await mkdir(join(root, 'em'));
    const dump = join(root, 'em', 'config.json');
    const content = Buffer.from(Array.from({ length: 70_000 }, (_, at) => (at * 7) % 251));
    await writeFile(dump, content);
    await here.run('snapshot', 'attach', 'one', dump, '--media-type', 'application/json');
    const { files } = await here.run('snapshot', 'files', 'one');
    t.like(files[0], { name: 'config.json', sizeBytes: '70000', mediaType: 'application/json' });
    const bad = ['snapshot', 'attach', 'one', dump, '--name', '../x', '--data', here.folder];
    await manoFails(t, here.folder, bad, { code: 2, reason: 'FIELD_VIOLATION', text: /name/ });

    const archive = join(root, 'p.zip');
    const packed = await here.run('package', 'create', 'one');
    await here.run('package', 'export', packed.package, archive);
    const text = (await readFile(archive)).toString('latin1');
    t.true(text.includes('vnf-snapshot.json'), 'small files stand in it as they are');
    const paths = [...text.matchAll(/"[^"\n]*"/g)].flatMap(([word]) =>
      word.includes(here.folder) ? [word] : [],
    );
    t.deepEqual(
      paths.filter((path) => !path.includes('.sock')),
      [],
      'it names no file of here',
    );

    const there = await open('b');
    await there.run('package', 'import', archive);
    const extracted = await there.run('package', 'extract', packed.package);
    const back = join(root, 'em', 'back');
    await there.run('snapshot', 'read', extracted.snapshot, 'config.json', '--output', back);
    t.deepEqual(await readFile(back), content);
    const { snapshot: copy } = await there.run('snapshot', 'show', extracted.snapshot);
    const [first] = copy.captureReport.vnfcs;
    t.true(first.imported);
    t.true(first.images[0].file.path.startsWith(there.folder), 'it lies where it was extracted');
    await there.run('snapshot', 'detach', extracted.snapshot, 'config.json');
    t.deepEqual((await there.run('snapshot', 'files', extracted.snapshot)).files, []);
  },
);
