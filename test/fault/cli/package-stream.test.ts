import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { CuttingProxy, type Direction } from '../../support/cutting-proxy.ts';
import { mano, serveOverTcp, startMano } from '../../support/system/mano.ts';
import { tempFolder } from '../../support/temp-folder.ts';

const megabyte = 1_000_000;
/** Where a transfer of more than four is broken, and what a repetition need not carry then. */
const brokenAfter = 2 * megabyte;
const spared = megabyte;

/** A site with a package of more than four megabytes, reached through a port that can break. */
async function open(t: ExecutionContext) {
  t.timeout(300_000);
  const folder = await tempFolder(t);
  const data = join(folder, 'data');
  const here = join(folder, 'here');
  await mkdir(here);
  const site = await serveOverTcp(data);
  t.teardown(site.stop);
  const proxy = await CuttingProxy.open(t, site.address);
  const remote = ['--connect', proxy.address, '--certs', join(data, 'pki'), '--json'];
  const run = async (...words: string[]) => {
    const done = await mano(...words, ...remote);
    t.is(done.code, 0, `${words.join(' ')}: ${done.stderr}`);
    return done.json as Record<string, unknown>;
  };
  const vnfd = join(import.meta.dirname, '../../../app/demo/vnfd-wasmvm.json');
  const dump = join(folder, 'dump.bin');
  await writeFile(dump, randomBytes(4 * megabyte));
  await run('vnf', 'create', vnfd, '--name', 'gw');
  await run('vnf', 'instantiate', 'gw', '--driver', 'wasmvm');
  await run('snapshot', 'create', 'gw', '--consistency', 'preferred', '--name', 'one');
  await run('snapshot', 'attach', 'one', dump);
  await run('package', 'create', 'one');
  const [{ id }] = (await run('package', 'list')).packages as [{ id: string }];
  const archive = join(here, 'gw.zip');
  const shelf = join(data, 'plugins', 'vnfm', 'archives');
  return { run, remote, proxy, id, here, archive, shelf };
}

/** Runs a command, and kills it in the midst of its transfer. */
async function killedAt(proxy: CuttingProxy, direction: Direction, words: string[]) {
  const met = proxy.break(direction, brokenAfter, 'hang');
  const command = startMano(...words);
  await met;
  command.kill('SIGKILL');
  proxy.count();
}

test.serial(
  'mano: an import that is killed in the midst of its upload goes on where it was',
  async (t) => {
    const { run, remote, proxy, id, archive, shelf } = await open(t);
    await run('package', 'export', id, archive);
    await run('package', 'delete', id);
    await killedAt(proxy, 'up', ['package', 'import', archive, ...remote]);
    await run('package', 'import', archive);
    const { size } = await stat(archive);
    t.true(proxy.bytes.up < size - spared, `${proxy.bytes.up} of ${size} bytes`);
    const { packages } = (await run('package', 'list')) as { packages: { id: string }[] };
    t.deepEqual(
      packages.map((each) => each.id),
      [id],
    );
    t.deepEqual(await readdir(shelf), []);
  },
);

test.serial(
  'mano: an export that is killed in the midst of its download goes on where it was',
  async (t) => {
    const { run, remote, proxy, id, here, archive, shelf } = await open(t);
    await killedAt(proxy, 'down', ['package', 'export', id, archive, ...remote]);
    t.deepEqual(await readdir(here), ['gw.zip.part', 'gw.zip.part.json']);
    await run('package', 'export', id, archive);
    const { size } = await stat(archive);
    t.true(proxy.bytes.down < size - spared, `${proxy.bytes.down} of ${size} bytes`);
    t.deepEqual(await readdir(here), ['gw.zip']);
    t.deepEqual(await readdir(shelf), []);
    await run('package', 'delete', id);
    await run('package', 'import', archive);
  },
);

test.serial('mano: a transfer whose connection breaks goes on by itself', async (t) => {
  const { run, proxy, id, here, archive } = await open(t);
  let broken = proxy.break('down', brokenAfter, 'cut');
  await run('package', 'export', id, archive);
  await broken;
  const { size } = await stat(archive);
  t.true(proxy.bytes.down < 2 * size - spared, `${proxy.bytes.down} of ${size} bytes`);
  t.deepEqual(await readdir(here), ['gw.zip']);
  await run('package', 'delete', id);
  broken = proxy.break('up', brokenAfter, 'cut');
  await run('package', 'import', archive);
  await broken;
  t.true(proxy.bytes.up < 2 * size - spared, `${proxy.bytes.up} of ${size} bytes`);
});

test.serial(
  'mano: a part of another archive is not taken for the beginning of this one',
  async (t) => {
    const { run, remote, proxy, id, here, archive } = await open(t);
    await killedAt(proxy, 'down', ['package', 'export', id, archive, ...remote]);
    const part = join(here, 'gw.zip.part');
    const bytes = await readFile(part);
    bytes[1000] = bytes[1000]! ^ 1;
    await writeFile(`${part}.new`, bytes);
    await rename(`${part}.new`, part);
    const damaged = await mano('package', 'export', id, archive, ...remote);
    t.is(damaged.json.error?.reason, 'CHECKSUM_MISMATCH');
    t.false((await readdir(here)).includes('gw.zip'), 'what is damaged gets no name');
    await run('package', 'export', id, archive);
    await run('package', 'delete', id);
    await run('package', 'import', archive);
  },
);
