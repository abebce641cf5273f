import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'ava';
import fc from 'fast-check';
import { readConfiguration } from '../../app/configuration.ts';
import { readChangeMap } from '../../app/store/change-map-file.ts';
import { readVnfd } from '../../cli/commands/vnf.ts';
import { mappedBlocks } from '../../plugins/repository/store/change-map.ts';
import { RpcError } from '../../sdk/errors.ts';
import { seed } from '../support/block-shapes.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { editJson, jsonEdits } from './mutate-json.ts';

const megabyte = 1024 * 1024;
const vnfd = new URL('../../app/demo/vnfd-qemu.json', import.meta.url);
const plugin = { instanceId: 'mine', role: 'driver', command: ['node', 'driver.js'] };

/** Documents that a user writes, and who reads them. */
const documents = [
  {
    name: 'change map',
    body: async () => ({ disk: [{ start: 0, length: 65536 }], data: [{ start: 7, length: 9 }] }),
    read: async (path: string) => {
      const { byName, onlyImage } = await readChangeMap(path);
      for (const ranges of [...byName.values(), onlyImage ?? []]) {
        mappedBlocks(ranges, megabyte, 'disk');
      }
    },
  },
  {
    name: 'VNFD',
    body: async () => JSON.parse(await readFile(vnfd, 'utf8')),
    read: async (path: string) => void readVnfd(path),
  },
  {
    name: 'configuration',
    body: async () => ({ version: 1, vnfm: {}, drivers: ['wasmvm'], plugins: [plugin] }),
    read: async (path: string) => void (await readConfiguration(path)),
  },
];

for (const { name, body, read } of documents) {
  test(`${name}: with parts changed it is read or refused with an RpcError`, async (t) => {
    const path = join(await tempFolder(t), 'document.json');
    const valid = await body();
    await writeFile(path, JSON.stringify(valid));
    await t.notThrowsAsync(read(path));
    let refused = 0;
    const texts = fc.oneof(
      { arbitrary: jsonEdits.map((edits) => JSON.stringify(editJson(valid, edits))), weight: 9 },
      { arbitrary: fc.string({ unit: 'binary' }), weight: 1 },
    );
    const property = fc.asyncProperty(texts, async (text) => {
      await writeFile(path, text);
      try {
        await read(path);
      } catch (error) {
        if (!(error instanceof RpcError)) throw error;
        refused += 1;
      }
    });
    await fc.assert(property, { seed, numRuns: 500 });
    t.log(`seed ${seed}: ${refused} refused`);
    t.true(refused > 100);
  });
}
